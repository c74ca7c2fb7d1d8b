//! The path table of a test: the subsystem under test, its callers, and the outside world, which takes anything.

use mycelia_kernel::{
    ids::{RouteId, SubsystemId},
    path::Path,
    pattern::Pattern,
    scope::Grants,
    table::{Reach, Resolved, Route, Table},
};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Kind, Result,
    abi::manifest::{Manifest, ManifestRoute},
};
use std::collections::BTreeMap;

pub(crate) struct Directory {
    pub table: Table,
    /// The subsystem under test.
    pub subject: SubsystemId,
    others: BTreeMap<String, Other>,
}

/// A subsystem that the test plays.
struct Other {
    grants: Grants,
    routes: Vec<Route>,
}

impl Directory {
    pub fn new(name: &str, grants: Grants, manifest: &Manifest) -> Result<Self> {
        let routes: Vec<Route> = manifest.routes.iter().map(own_route).collect::<Result<_>>()?;
        let listened: Vec<Pattern> = routes
            .iter()
            .filter(|route| route.reach == Reach::Listener)
            .map(|route| route.pattern.clone())
            .collect();
        let mut edit = Table::empty().edit();
        let subject = edit
            .subsystem(name, grants, routes)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let mut directory = Directory { table: edit.finish(), subject, others: BTreeMap::new() };
        for pattern in listened.iter().filter(|pattern| pattern.publisher() != Some(name)) {
            directory.publisher(pattern)?;
        }
        Ok(directory)
    }

    /// Lets somebody outside publish what the subject listens to.
    fn publisher(&mut self, listened: &Pattern) -> Result<()> {
        let (name, pattern) = split(listened.text())?;
        self.put(name, Route { reach: Reach::Event, ..open_route(pattern)? })
    }

    /// Adds a route of the outside world, in place of one that matches the same paths.
    fn put(&mut self, name: &str, route: Route) -> Result<()> {
        let other = self.other(name)?;
        other.routes.retain(|other| !other.pattern.conflicts_with(&route.pattern));
        other.routes.push(route);
        self.publish(name).map(drop)
    }

    /// The host's number of each route, in the order of the manifest.
    pub fn numbers(&self, manifest: &Manifest) -> Vec<u16> {
        let number = |route: &ManifestRoute| self.table.route_id(self.subject, &route.pattern);
        manifest.routes.iter().filter_map(number).map(|RouteId(number)| number).collect()
    }

    /// Resolves a path, as the real table does; a subsystem that nobody named yet comes to be.
    pub fn resolve<'p>(&mut self, sender: SubsystemId, path: &'p str) -> Result<Resolved<'p>> {
        let path = Path::parse(path).map_err(|error| refused(ErrorCode::BadPath, error))?;
        self.ensure(path.subsystem())?;
        self.table.resolve(sender, &path).map_err(refusal)
    }

    /// Lets a caller be known, with these grants.
    pub fn caller(&mut self, name: &str, grants: Grants) -> Result<SubsystemId> {
        self.other(name)?.grants = grants;
        self.publish(name)
    }

    /// Makes a route, or an event, of the outside world require a scope.
    pub fn guard(&mut self, path: &str, scope: &str) -> Result<()> {
        let (name, pattern) = split(path)?;
        let route = Route { scope: Some(scope.to_owned()), ..open_route(pattern)? };
        let is_same = |other: &&Route| other.pattern.conflicts_with(&route.pattern);
        let reach = self.other(name)?.routes.iter().find(is_same).map(|other| other.reach);
        self.put(name, Route { reach: reach.unwrap_or(Reach::Anyone), ..route })
    }

    /// Makes kept recipients resolve again.
    pub fn touch(&mut self, name: &str) -> Result<SubsystemId> {
        self.other(name)?;
        self.publish(name)
    }

    /// The path that leads to a route with these parameters.
    pub fn path_of(&self, subsystem: SubsystemId, route: RouteId, parameters: &[&str]) -> String {
        let mut values = parameters.iter();
        let fill = |segment| {
            if str::starts_with(segment, '{') {
                values.next().copied().unwrap_or("?")
            } else {
                segment
            }
        };
        let pattern = self.table.pattern(subsystem, route).unwrap_or("?");
        let rest: Vec<&str> = pattern.split('/').map(fill).collect();
        let rest = rest.join("/");
        // What is listened to names its publisher.
        if rest.contains("://") { rest } else { format!("{}://{rest}", self.name(subsystem)) }
    }

    pub fn name(&self, subsystem: SubsystemId) -> &str {
        self.table.name(subsystem).unwrap_or("?")
    }

    fn ensure(&mut self, name: &str) -> Result<()> {
        if self.table.id(name).is_none() {
            self.touch(name)?;
        }
        Ok(())
    }

    fn other(&mut self, name: &str) -> Result<&mut Other> {
        if self.table.name(self.subject) == Some(name) {
            return Err(Error::invalid(format!("`{name}` is the subsystem under test")));
        }
        if !self.others.contains_key(name) {
            // `{*rest}` rather than `*`, so that the whole path can be told.
            let routes = vec![open_route("")?, open_route("{*rest}")?];
            self.others.insert(name.to_owned(), Other { grants: Grants::none(), routes });
        }
        Ok(self.others.get_mut(name).expect("it was put there if it was not"))
    }

    fn publish(&mut self, name: &str) -> Result<SubsystemId> {
        let other = &self.others[name];
        let mut edit = self.table.edit();
        let id = match name {
            "kernel" => edit.kernel(other.routes.clone()),
            _ => edit.subsystem(name, other.grants.clone(), other.routes.clone()),
        };
        let id = id.map_err(|error| refused(ErrorCode::NoRoute, error))?;
        self.table = edit.finish();
        Ok(id)
    }
}

fn own_route(route: &ManifestRoute) -> Result<Route> {
    let reach = match route.kind {
        Kind::On => Reach::Anyone,
        Kind::OnReply | Kind::Every(_) => Reach::HostOnly,
        Kind::Event => Reach::Event,
        Kind::OnEvent => Reach::Listener,
    };
    let pattern = match reach {
        Reach::Listener => Pattern::parse_listened(&route.pattern),
        _ => Pattern::parse(&route.pattern),
    };
    Ok(Route {
        pattern: pattern.map_err(|error| Error::invalid(error.to_string()))?,
        scope: (!route.scope.is_empty()).then(|| route.scope.clone()),
        reach,
        body: route.body.1,
        reply: route.reply.1,
    })
}

fn split(path: &str) -> Result<(&str, &str)> {
    path.split_once("://").ok_or_else(|| Error::invalid("a path has a `://`"))
}

fn open_route(pattern: &str) -> Result<Route> {
    let pattern = Pattern::parse(pattern).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(Route { pattern, scope: None, reach: Reach::Anyone, body: 0, reply: 0 })
}

fn refused(code: ErrorCode, error: impl std::fmt::Display) -> Error {
    Error::new(code, error.to_string()).handled(Handled::No)
}

/// The code and text of a refusal, which no handler saw.
pub(crate) fn refusal(error: mycelia_kernel::table::Refusal) -> Error {
    use mycelia_kernel::table::Refusal;
    let code = match error {
        Refusal::BadPath(_) => ErrorCode::BadPath,
        Refusal::Denied { .. } => ErrorCode::Denied,
        Refusal::Schema { .. } => ErrorCode::Invalid,
        _ => ErrorCode::NoRoute,
    };
    refused(code, error)
}
