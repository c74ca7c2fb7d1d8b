//! The table of subsystems and routes: immutable snapshots, edited by copy and published whole.
//!
//! Ids are append-only: an edit never changes what an id handed out before refers to, so a queued message keeps its meaning.

use std::collections::HashMap;
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::FixedState;

use crate::ids::{RouteId, SubsystemId, Version};
use crate::matcher::{Clash, Matcher};
pub use crate::params::Params;
use crate::params::Spans;
use crate::path::{Path, PathError, check_name, check_rest, excerpt, has_many_segments, split};
use crate::pattern::Pattern;
pub use crate::recipient::{Recipient, Resolved};
pub use crate::refusal::Refusal;
use crate::scope::{Grants, Scope, ScopeError};
use crate::words::{Word, Words};

/// A route as its subsystem declares it.
#[derive(Clone, Debug)]
pub struct Route {
    /// The paths it answers.
    pub pattern: Pattern,
    /// The short name of the scope that it requires of others, such as `read`; nothing is open to all.
    pub scope: Option<String>,
    /// Who can address it.
    pub reach: Reach,
    /// The schema hash of the body, 0 for any.
    pub body: u64,
    /// The schema hash of the reply, 0 for any.
    pub reply: u64,
}

/// Who can address a route.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Every sender, within its grants.
    Anyone,
    /// Outcomes and timers, which the host delivers.
    HostOnly,
    /// Nobody: it is an event, which its subsystem publishes and others listen to.
    Event,
    /// The events that its pattern, [as listened to](Pattern::parse_listened), names, which the host delivers.
    Listener,
}

/// Who is to be told of an event.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    /// Who listens.
    pub subsystem: SubsystemId,
    /// By which of its routes.
    pub route: RouteId,
    /// Whether it is told.
    pub verdict: Verdict,
}

/// Whether a listener is told of an event, judged when the table was edited.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is.
    Told,
    /// It lacks the scope that the event requires.
    Denied,
    /// It takes another type of body than the event has.
    OtherBody,
}

/// One snapshot: every name, route and grant at one version.
///
/// The operator is in each; it sends and is not addressed.
#[derive(Clone, Debug)]
pub struct Table {
    version: Version,
    /// By id, removed ones included.
    subsystems: Vec<Arc<Subsystem>>,
    /// Of all that ever were.
    ids: Words,
    /// By publisher and event.
    listeners: Arc<HashMap<(SubsystemId, RouteId), Vec<Listener>, FixedState>>,
}

#[derive(Clone, Debug)]
struct Subsystem {
    name: Arc<str>,
    is_present: bool,
    grants: Grants,
    /// By route id, dropped ones included.
    slots: Vec<Slot>,
    route_ids: HashMap<Arc<str>, RouteId, FixedState>,
    matcher: Matcher,
}

/// What a route id stands for.
#[derive(Clone, Debug)]
struct Slot {
    pattern: Arc<str>,
    live: Option<Live>,
}

#[derive(Clone, Debug)]
struct Live {
    route: Route,
    scope: Option<Scope>,
}

impl Default for Table {
    fn default() -> Self {
        Self::empty()
    }
}

impl Table {
    /// The operator with all grants, and nobody to send to.
    pub fn empty() -> Self {
        let operator =
            Subsystem { is_present: true, grants: Grants::all(), ..Subsystem::absent("operator") };
        let mut ids = Words::default();
        ids.insert(0, &operator.name, u32::from(SubsystemId::OPERATOR.0));
        let (version, listeners) = Default::default();
        Self { version, subsystems: vec![Arc::new(operator)], ids, listeners }
    }

    /// Starts the next snapshot from this one.
    pub fn edit(&self) -> Edit {
        Edit { table: self.clone() }
    }

    /// Which snapshot this is.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The id of a name that is present, `operator` included.
    pub fn id(&self, name: &str) -> Option<SubsystemId> {
        let id = self.known(Word::new(name))?;
        self.subsystems[id.index()].is_present.then_some(id)
    }

    /// The name an id was given to, present or removed.
    pub fn name(&self, id: SubsystemId) -> Option<&str> {
        Some(&self.subsystem(id)?.name)
    }

    /// The pattern a route id was given to, live or dropped.
    pub fn pattern(&self, id: SubsystemId, route: RouteId) -> Option<&str> {
        Some(&self.subsystem(id)?.slots.get(route.index())?.pattern)
    }

    /// The id that a pattern's text has, live or dropped.
    pub fn route_id(&self, id: SubsystemId, pattern: &str) -> Option<RouteId> {
        self.subsystem(id)?.route_ids.get(pattern).copied()
    }

    /// A route that is served now, with all that was declared of it.
    pub fn route(&self, id: SubsystemId, route: RouteId) -> Option<&Route> {
        Some(&self.subsystem(id)?.live(route)?.route)
    }

    /// Whether the route is served now; a message for one that is not is a dead letter.
    pub fn is_live(&self, id: SubsystemId, route: RouteId) -> bool {
        self.route(id, route).is_some()
    }

    /// The routes served now, in the order of their ids.
    pub fn routes(&self, id: SubsystemId) -> impl Iterator<Item = (RouteId, &Route)> {
        self.subsystem(id).into_iter().flat_map(Subsystem::routes)
    }

    /// The subsystems that are present, in the order of their ids; the operator is none.
    pub fn subsystems(&self) -> impl Iterator<Item = (SubsystemId, &str)> + Clone {
        let all = (0..=u16::MAX).map(SubsystemId).zip(&self.subsystems).skip(1);
        all.filter(|(_, subsystem)| subsystem.is_present)
            .map(|(id, subsystem)| (id, &*subsystem.name))
    }

    /// What a sender was granted.
    pub fn grants(&self, id: SubsystemId) -> Option<&Grants> {
        Some(&self.subsystem(id)?.grants)
    }

    /// Every scope that a live route requires, by subsystem, repeated when several routes share it.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.subsystems
            .iter()
            .flat_map(|subsystem| subsystem.lives())
            .filter_map(|(_, live)| live.scope.as_ref())
    }

    /// Whether any live route requires this scope: a grant of another one is a mistake in the config.
    pub fn has_scope(&self, full: &str) -> bool {
        self.scopes().any(|scope| scope.as_str() == full)
    }

    /// Finds where a path leads for a sender, and judges whether it may go there.
    ///
    /// A route's scope guards it from others: the subsystem itself may send to it without a grant.
    /// A route that only the host reaches hides a less literal one that matches the same path.
    /// A sender that the table does not know has no grants.
    ///
    /// # Errors
    /// [`Refusal`] names the cause and the remedy; whatever cannot be decided is refused.
    pub fn resolve<'p>(
        &self,
        sender: SubsystemId,
        path: &Path<'p>,
    ) -> Result<Resolved<'p>, Refusal> {
        let (id, subsystem) =
            self.recipient(path.name()).ok_or_else(|| self.no_subsystem(path.subsystem()))?;
        let mut spans = Spans::default();
        let (route, live) = subsystem
            .served(path.text(), path.rest_start(), &mut spans)
            .ok_or_else(|| subsystem.no_route(path.rest()))?;
        let (name, pattern) = (&subsystem.name, live.route.pattern.text());
        match live.route.reach {
            Reach::Anyone => self.permit(sender, id, live)?,
            Reach::Event => return Err(Refusal::event(name, path.rest(), pattern)),
            Reach::HostOnly | Reach::Listener => {
                return Err(Refusal::host_only(name, path.rest(), pattern));
            }
        }
        Ok(self.resolved(id, route, Params::new(path.text(), spans), live))
    }

    /// As [`Path::parse`] and then [`resolve`](Self::resolve), but what the table itself vouches for is not checked again.
    ///
    /// # Errors
    /// As both of them.
    pub fn resolve_text<'p>(
        &self,
        sender: SubsystemId,
        text: &'p str,
    ) -> Result<Resolved<'p>, Refusal> {
        let mut spans = Spans::default();
        if let Some((name, rest)) = split(text)
            && let Some((id, subsystem)) = self.recipient(name)
            && let Some((route, live)) = subsystem.served(text, rest, &mut spans)
            && live.route.reach == Reach::Anyone
            && spans.are_plain(text)
            && !has_many_segments(&text.as_bytes()[rest..])
        {
            self.permit(sender, id, live)?;
            return Ok(self.resolved(id, route, Params::new(text, spans), live));
        }
        self.resolve_slowly(sender, text)
    }

    /// Says what is wrong, if anything is.
    #[cold]
    fn resolve_slowly<'p>(
        &self,
        sender: SubsystemId,
        text: &'p str,
    ) -> Result<Resolved<'p>, Refusal> {
        self.resolve(sender, &Path::parse(text)?)
    }

    /// Finds a route of one's own for an outcome or a timer: every route but events is reached, and no scope is asked for.
    ///
    /// `rest` is what would follow `://`.
    ///
    /// # Errors
    /// [`Refusal`], when `rest` is malformed, no route matches it, or the owner was removed.
    pub fn resolve_own<'p>(
        &self,
        owner: SubsystemId,
        rest: &'p str,
    ) -> Result<Resolved<'p>, Refusal> {
        check_rest(rest)?;
        let subsystem =
            self.present(owner).ok_or_else(|| self.no_subsystem(&self.display_name(owner)))?;
        let mut spans = Spans::default();
        let (route, live) =
            subsystem.served(rest, 0, &mut spans).ok_or_else(|| subsystem.no_route(rest))?;
        if live.route.reach == Reach::Event {
            return Err(Refusal::event(&subsystem.name, rest, live.route.pattern.text()));
        }
        Ok(self.resolved(owner, route, Params::new(rest, spans), live))
    }

    /// Finds an event of one's own, to publish it to its [`listeners`](Self::listeners).
    ///
    /// `rest` is what would follow `://`.
    ///
    /// # Errors
    /// [`Refusal`], when `rest` is malformed, the owner declares no such event, or it was removed.
    pub fn resolve_event<'p>(
        &self,
        owner: SubsystemId,
        rest: &'p str,
    ) -> Result<Resolved<'p>, Refusal> {
        check_rest(rest)?;
        let subsystem =
            self.present(owner).ok_or_else(|| self.no_subsystem(&self.display_name(owner)))?;
        let mut spans = Spans::default();
        let (route, live) = subsystem
            .served(rest, 0, &mut spans)
            .filter(|(_, live)| live.route.reach == Reach::Event)
            .ok_or_else(|| Refusal::no_event(&subsystem.name, rest))?;
        Ok(self.resolved(owner, route, Params::new(rest, spans), live))
    }

    /// Finds the route by which a subsystem listens to an event, which is named by its whole path.
    ///
    /// # Errors
    /// [`Refusal`], when the path is none or no event's, or the subsystem is not told of it.
    pub fn resolve_listener<'p>(
        &self,
        listener: SubsystemId,
        text: &'p str,
    ) -> Result<Resolved<'p>, Refusal> {
        let path = Path::parse(text)?;
        let (publisher, subsystem) =
            self.recipient(path.name()).ok_or_else(|| self.no_subsystem(path.subsystem()))?;
        let mut spans = Spans::default();
        let (event, live) = subsystem
            .served(text, path.rest_start(), &mut spans)
            .filter(|(_, live)| live.route.reach == Reach::Event)
            .ok_or_else(|| Refusal::no_event(&subsystem.name, path.rest()))?;
        self.permit(listener, publisher, live)?;
        let is_it = |one: &&Listener| one.subsystem == listener && one.verdict == Verdict::Told;
        let found = self.listeners(publisher, event).iter().find(is_it);
        let found = found.ok_or_else(|| {
            let pattern = live.route.pattern.text();
            Refusal::event(&subsystem.name, path.rest(), pattern)
        })?;
        Ok(self.resolved(listener, found.route, Params::new(text, spans), live))
    }

    /// Who listens to an event of this subsystem, in the order of their ids.
    pub fn listeners(&self, publisher: SubsystemId, event: RouteId) -> &[Listener] {
        self.listeners.get(&(publisher, event)).map_or(&[], Vec::as_slice)
    }

    /// The event that a listener's pattern names: the one that matches the same paths and captures as much of them.
    pub fn event(&self, listened: &Pattern) -> Option<(SubsystemId, RouteId)> {
        let (publisher, event, _) = self.live_event(listened)?;
        Some((publisher, event))
    }

    fn live_event(&self, listened: &Pattern) -> Option<(SubsystemId, RouteId, &Live)> {
        let (publisher, subsystem) = self.recipient(Word::new(listened.publisher()?))?;
        let is_it = |(_, live): &(RouteId, &Live)| {
            live.route.reach == Reach::Event && listened.is_alike(&live.route.pattern)
        };
        let (event, live) = subsystem.lives().find(is_it)?;
        Some((publisher, event, live))
    }

    /// Ties every listener to its event.
    fn tie(&mut self) {
        let mut listeners: HashMap<_, Vec<Listener>, FixedState> = HashMap::default();
        for (id, subsystem) in (0..=u16::MAX).map(SubsystemId).zip(&self.subsystems) {
            for (route, live) in subsystem.lives().filter(|(_, live)| is_listener(live)) {
                let Some((publisher, event, declared)) = self.live_event(&live.route.pattern)
                else {
                    continue;
                };
                let verdict = self.hears(id, publisher, &live.route, declared);
                let listener = Listener { subsystem: id, route, verdict };
                listeners.entry((publisher, event)).or_default().push(listener);
            }
        }
        self.listeners = Arc::new(listeners);
    }

    fn hears(
        &self,
        listener: SubsystemId,
        publisher: SubsystemId,
        takes: &Route,
        event: &Live,
    ) -> Verdict {
        let (sent, wanted) = (event.route.body, takes.body);
        match self.permit(listener, publisher, event) {
            Err(_) => Verdict::Denied,
            Ok(()) if sent != wanted && sent != 0 && wanted != 0 => Verdict::OtherBody,
            Ok(()) => Verdict::Told,
        }
    }

    /// Compares the schema of a sender's body with the one that a live route declares; 0 on either side fits all.
    ///
    /// # Errors
    /// [`Refusal::Schema`] names both; a route that is not live takes nothing.
    pub fn check_body(&self, id: SubsystemId, route: RouteId, sent: u64) -> Result<(), Refusal> {
        let subsystem =
            self.present(id).ok_or_else(|| self.no_subsystem(&self.display_name(id)))?;
        let pattern = self.pattern(id, route).unwrap_or_default();
        let live = subsystem.live(route).ok_or_else(|| subsystem.no_route(pattern))?;
        let wants = live.route.body;
        if sent == wants || sent == 0 || wants == 0 {
            return Ok(());
        }
        Err(Refusal::Schema {
            subsystem: (&*subsystem.name).into(),
            pattern: pattern.into(),
            wants,
            sent,
        })
    }

    fn subsystem(&self, id: SubsystemId) -> Option<&Subsystem> {
        Some(self.subsystems.get(id.index())?)
    }

    fn present(&self, id: SubsystemId) -> Option<&Subsystem> {
        self.subsystem(id).filter(|subsystem| subsystem.is_present)
    }

    /// The id that a name was given, present or removed.
    #[inline]
    fn known(&self, name: Word<'_>) -> Option<SubsystemId> {
        Some(SubsystemId(self.ids.get(0, name)? as u16))
    }

    #[inline]
    fn recipient(&self, name: Word<'_>) -> Option<(SubsystemId, &Subsystem)> {
        let id = self.known(name).filter(|id| *id != SubsystemId::OPERATOR)?;
        Some((id, self.present(id)?))
    }

    #[inline]
    fn permit(&self, sender: SubsystemId, owner: SubsystemId, live: &Live) -> Result<(), Refusal> {
        match &live.scope {
            Some(scope) if sender != owner => self.permit_scope(sender, scope),
            _ => Ok(()),
        }
    }

    fn permit_scope(&self, sender: SubsystemId, scope: &Scope) -> Result<(), Refusal> {
        if self.allows(sender, scope) {
            return Ok(());
        }
        Err(Refusal::Denied { scope: scope.clone(), lacks: self.display_name(sender).into() })
    }

    fn allows(&self, sender: SubsystemId, scope: &Scope) -> bool {
        self.present(sender).is_some_and(|sender| sender.grants.allows(scope))
    }

    fn resolved<'p>(
        &self,
        subsystem: SubsystemId,
        route: RouteId,
        params: Params<'p>,
        live: &Live,
    ) -> Resolved<'p> {
        let Route { body, reply, .. } = live.route;
        Resolved { subsystem, route, version: self.version, params, body, reply }
    }

    fn no_subsystem(&self, name: &str) -> Refusal {
        Refusal::no_subsystem(name, self.subsystems().map(|(_, name)| name))
    }

    fn display_name(&self, id: SubsystemId) -> String {
        self.name(id).map_or_else(|| format!("#{}", id.0), Into::into)
    }
}

impl Subsystem {
    fn absent(name: &str) -> Self {
        Self {
            name: name.into(),
            is_present: false,
            grants: Grants::none(),
            slots: Vec::new(),
            route_ids: HashMap::default(),
            matcher: Matcher::default(),
        }
    }

    fn live(&self, route: RouteId) -> Option<&Live> {
        self.slots.get(route.index())?.live.as_ref()
    }

    fn lives(&self) -> impl Iterator<Item = (RouteId, &Live)> + Clone {
        (0..=u16::MAX)
            .map(RouteId)
            .zip(&self.slots)
            .filter_map(|(id, slot)| Some((id, slot.live.as_ref()?)))
    }

    fn routes(&self) -> impl Iterator<Item = (RouteId, &Route)> + Clone {
        self.lives().map(|(id, live)| (id, &live.route))
    }

    #[inline]
    fn served(&self, text: &str, from: usize, spans: &mut Spans) -> Option<(RouteId, &Live)> {
        let route = self.matcher.find(text, from, spans)?;
        Some((route, self.live(route)?))
    }

    fn no_route(&self, rest: &str) -> Refusal {
        let open = self.routes().filter(|(_, route)| route.reach == Reach::Anyone);
        Refusal::no_route(&self.name, rest, open.map(|(_, route)| route.pattern.text()))
    }

    /// The same name with no grants and no routes; its ids stay taken.
    fn emptied(&self) -> Self {
        let dropped = |slot: &Slot| Slot { pattern: slot.pattern.clone(), live: None };
        Self {
            slots: self.slots.iter().map(dropped).collect(),
            route_ids: self.route_ids.clone(),
            ..Self::absent(&self.name)
        }
    }

    fn serving(&self, grants: Grants, routes: Vec<Route>) -> Result<Self, TableError> {
        let mut next = Self { is_present: true, grants, ..self.emptied() };
        for route in routes {
            next.serve(route)?;
        }
        next.matcher = next.match_routes()?;
        next.check_listeners()?;
        Ok(next)
    }

    /// An event comes by one route.
    fn check_listeners(&self) -> Result<(), TableError> {
        let mut seen: Vec<(RouteId, &Pattern)> = Vec::new();
        for (id, live) in self.lives().filter(|(_, live)| is_listener(live)) {
            let pattern = &live.route.pattern;
            let is_same = |(_, other): &&(RouteId, &Pattern)| {
                other.publisher() == pattern.publisher() && other.conflicts_with(pattern)
            };
            if let Some((other, _)) = seen.iter().find(is_same) {
                return Err(self.conflict(Clash(*other, id)));
            }
            seen.push((id, pattern));
        }
        Ok(())
    }

    fn serve(&mut self, route: Route) -> Result<(), TableError> {
        let scope = self.scope_of(&route)?;
        let id = self.route_id(route.pattern.text())?;
        let live = &mut self.slots[id.index()].live;
        if live.is_some() {
            return Err(self.conflict(Clash(id, id)));
        }
        *live = Some(Live { route, scope });
        Ok(())
    }

    fn scope_of(&self, route: &Route) -> Result<Option<Scope>, TableError> {
        let full = route.scope.as_ref().map(|short| Scope::of(&self.name, short));
        full.transpose().map_err(|error| TableError::Scope {
            subsystem: (&*self.name).into(),
            pattern: route.pattern.text().into(),
            error,
        })
    }

    fn route_id(&mut self, pattern: &str) -> Result<RouteId, TableError> {
        if let Some(id) = self.route_ids.get(pattern) {
            return Ok(*id);
        }
        let next = u16::try_from(self.slots.len()).ok().filter(|next| *next < u16::MAX);
        let id = RouteId(
            next.ok_or_else(|| TableError::TooManyRoutes { subsystem: (&*self.name).into() })?,
        );
        let pattern: Arc<str> = pattern.into();
        self.slots.push(Slot { pattern: pattern.clone(), live: None });
        self.route_ids.insert(pattern, id);
        Ok(id)
    }

    fn match_routes(&self) -> Result<Matcher, TableError> {
        let addressed = self.lives().filter(|(_, live)| !is_listener(live));
        let patterns = addressed.map(|(id, live)| (id, &live.route.pattern));
        Matcher::build(patterns).map_err(|clash| self.conflict(clash))
    }

    fn conflict(&self, Clash(first, second): Clash) -> TableError {
        let text = |id: RouteId| (&*self.slots[id.index()].pattern).into();
        TableError::Conflict {
            subsystem: (&*self.name).into(),
            first: text(first),
            second: text(second),
        }
    }
}

fn is_listener(live: &Live) -> bool {
    live.route.reach == Reach::Listener
}

/// Why an edit was refused: the config's mistake, or a plugin's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TableError {
    /// No subsystem may have that name.
    #[error("`{name}` cannot name a subsystem: {error}")]
    Name {
        /// The name, shortened and escaped.
        name: Box<str>,
        /// What is wrong with it.
        error: PathError,
    },
    /// Two patterns match the same paths.
    #[error(
        "`{subsystem}` declares `{first}` and `{second}`, which match the same paths; remove one"
    )]
    Conflict {
        /// The subsystem's name.
        subsystem: Box<str>,
        /// One of the patterns.
        first: Box<str>,
        /// The other.
        second: Box<str>,
    },
    /// A route's scope is misnamed.
    #[error("`{subsystem}` guards `{pattern}` with a scope that has no proper name: {error}")]
    Scope {
        /// The subsystem's name.
        subsystem: Box<str>,
        /// The route's pattern.
        pattern: Box<str>,
        /// What is wrong with the scope.
        error: ScopeError,
    },
    /// Ids are 16 bits wide and never given again.
    #[error("no id is left for another subsystem; restart the host")]
    TooManySubsystems,
    /// Ids are 16 bits wide and never given again, over all reloads.
    #[error(
        "no id is left for another route of `{subsystem}`; take parameters in place of literals, or restart the host"
    )]
    TooManyRoutes {
        /// The subsystem's name.
        subsystem: Box<str>,
    },
}

/// The next snapshot in the making; dropped, it never was.
#[derive(Debug)]
#[must_use = "an edit that is not finished changes nothing"]
pub struct Edit {
    table: Table,
}

impl Edit {
    /// Adds a subsystem, or replaces what it was granted and serves.
    ///
    /// A name keeps its id for good, also when it was removed, and a pattern keeps its route id.
    ///
    /// # Errors
    /// [`TableError`]; the edit is as before then.
    pub fn subsystem(
        &mut self,
        name: &str,
        grants: Grants,
        routes: Vec<Route>,
    ) -> Result<SubsystemId, TableError> {
        check_name(name).map_err(|error| TableError::Name { name: excerpt(name).into(), error })?;
        self.put(name, grants, routes)
    }

    /// Adds or replaces the kernel's own routes, which `kernel://` addresses; its scopes are `kernel:…`.
    ///
    /// # Errors
    /// [`TableError`]; the edit is as before then.
    pub fn kernel(&mut self, routes: Vec<Route>) -> Result<SubsystemId, TableError> {
        self.put("kernel", Grants::none(), routes)
    }

    /// Replaces what a sender was granted, the operator included; a removed one stays without grants.
    pub fn grants(&mut self, id: SubsystemId, grants: Grants) {
        let Some(place) =
            self.table.subsystems.get_mut(id.index()).filter(|found| found.is_present)
        else {
            return;
        };
        let next = Subsystem { grants, ..(**place).clone() };
        *place = Arc::new(next);
    }

    /// Removes a subsystem: its name answers [`Refusal::NoSubsystem`], its routes and grants are gone, its ids stay taken.
    ///
    /// The operator cannot be removed.
    pub fn remove(&mut self, id: SubsystemId) {
        let place = self.table.subsystems.get_mut(id.index());
        if let Some(place) = place.filter(|_| id != SubsystemId::OPERATOR) {
            *place = Arc::new(place.emptied());
        }
    }

    /// The table as edited so far, to look things up in; its version is still that of the snapshot it started from, and
    /// so are the listeners.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What [`finish`](Self::finish) would answer at this point, but of the version it started from.
    pub fn preview(&self) -> Table {
        let mut table = self.table.clone();
        table.tie();
        table
    }

    /// The snapshot, one version on.
    #[must_use = "a table that is not published changes nothing"]
    pub fn finish(mut self) -> Table {
        self.table.tie();
        self.table.version = self.table.version.next();
        self.table
    }

    fn put(
        &mut self,
        name: &str,
        grants: Grants,
        routes: Vec<Route>,
    ) -> Result<SubsystemId, TableError> {
        if let Some(id) = self.table.known(Word::new(name)) {
            let next = self.table.subsystems[id.index()].serving(grants, routes)?;
            self.table.subsystems[id.index()] = Arc::new(next);
            return Ok(id);
        }
        let next = u16::try_from(self.table.subsystems.len()).ok().filter(|next| *next < u16::MAX);
        let id = SubsystemId(next.ok_or(TableError::TooManySubsystems)?);
        let subsystem = Subsystem::absent(name).serving(grants, routes)?;
        self.table.ids.insert(0, name, u32::from(id.0));
        self.table.subsystems.push(Arc::new(subsystem));
        Ok(id)
    }
}

/// The published snapshot: readers take no lock, editors take turns.
#[derive(Debug, Default)]
pub struct Tables {
    published: ArcSwap<Table>,
    /// Of the snapshot that is published: what readers who keep one ask first.
    version: AtomicU32,
    /// Held from reading the snapshot to publishing the next, so that no edit is lost.
    editor: Mutex<()>,
}

impl Tables {
    /// Publishes a first snapshot.
    pub fn new(table: Table) -> Self {
        let version = AtomicU32::new(table.version.0);
        Self { published: ArcSwap::from_pointee(table), version, editor: Mutex::default() }
    }

    /// The snapshot of this moment, cheap and for a short while: take one for each batch.
    pub fn load(&self) -> Guard<Arc<Table>> {
        self.published.load()
    }

    /// Its version, and no more. A snapshot taken after that is of this version or a later one.
    #[inline]
    pub fn version(&self) -> Version {
        // Acquire pairs with the Release of `update`.
        Version(self.version.load(Acquire))
    }

    /// The snapshot of this moment, to be kept.
    pub fn snapshot(&self) -> Arc<Table> {
        self.published.load_full()
    }

    /// Edits the snapshot and publishes the result in one step.
    ///
    /// # Errors
    /// Whatever `change` fails with; nothing is published then.
    pub fn update<T, E>(&self, change: impl FnOnce(&mut Edit) -> Result<T, E>) -> Result<T, E> {
        // A panic in an earlier `change` published nothing, so there is nothing to distrust.
        let _turn = self.editor.lock().unwrap_or_else(PoisonError::into_inner);
        let mut edit = self.load().edit();
        let changed = change(&mut edit)?;
        let table = edit.finish();
        let version = table.version.0;
        self.published.store(Arc::new(table));
        self.version.store(version, Release);
        Ok(changed)
    }
}
