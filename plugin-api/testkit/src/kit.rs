//! The kit: what a test holds.

use crate::{
    Asked, Caller, Log, Request, Sample, Sent, Setup, Typed,
    instance::{Instance, PATIENCE, Plan, SavedState},
    world::{Answer, Failure, Outgoing, State, Target, World},
};
use mycelia_kernel::{asks::Requests, ids::SubsystemId, ledger::LedgerCounts, scope::Grants};
use mycelia_plugin::{Error, ErrorCode, Export, Handled, IntoDuration, Result};
use serde::de::DeserializeOwned;
use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
    sync::MutexGuard,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// One subsystem, running in process, on a clock that moves only when the test says so.
///
/// Dropped, it asserts that everything is settled, unless the test panics already: see [`Kit::assert_settled`].
pub struct Kit<S: Export> {
    world: &'static World,
    /// `None` only after a restart that failed.
    instance: RefCell<Option<Instance>>,
    plan: Plan,
    /// The state for a restart.
    snapshot: RefCell<Option<SavedState>>,
    is_abandoned: Cell<bool>,
    _data: Option<TempDir>,
    subsystem: PhantomData<S>,
}

impl<S: Export> Kit<S> {
    /// Starts the subsystem with this config, written as in the RON file: `Kit::<Limiter>::new("(rate: 2.0)")`.
    ///
    /// # Errors
    /// As for [`Setup::start`].
    pub fn new(config: &str) -> Result<Self> {
        Self::setup().config(config).start()
    }

    /// Begins a kit that needs more than a config.
    pub fn setup() -> Setup<S> {
        Setup::new()
    }

    pub(crate) fn of(
        world: &'static World,
        instance: Instance,
        plan: Plan,
        data: Option<TempDir>,
    ) -> Self {
        Kit {
            world,
            instance: RefCell::new(Some(instance)),
            plan,
            snapshot: RefCell::default(),
            is_abandoned: Cell::new(false),
            _data: data,
            subsystem: PhantomData,
        }
    }

    /// Asks a route of the subsystem, as the operator, and gives the reply: `kit.ask("add/x", &1)`.
    ///
    /// # Errors
    /// What resolving the path says, and the error that came instead of a reply.
    ///
    /// # Panics
    /// If the handler kept its responder: see [`Kit::request`].
    #[track_caller]
    pub fn ask<R: Typed>(&self, path: &str, body: impl Sample) -> Result<R> {
        self.operator().ask(path, body)
    }

    /// Asks a route of the subsystem, as the operator, and takes its answer in parts: those that came, up to the end.
    ///
    /// As a host does, it keeps up to 16 parts at a time and refuses the next one, until the test has taken them; while none
    /// comes, the clock moves on by milliseconds. A whole answer is the one part.
    ///
    /// # Errors
    /// What resolving the path says, and the error that the answer ended with, `deadline` at the latest.
    #[track_caller]
    pub fn ask_parts<R: Typed>(&self, path: &str, body: impl Sample) -> Result<Vec<R>> {
        self.operator().ask_parts(path, body)
    }

    /// Sends to a route of the subsystem, as the operator, and waits for the handler.
    ///
    /// # Errors
    /// What resolving the path says. Other than on a host the sender also gets the error of the handler.
    pub fn send(&self, path: &str, body: impl Sample) -> Result<()> {
        self.operator().send(path, body)
    }

    /// Asks a route of the subsystem without waiting for the answer.
    ///
    /// The request waits in the queue until the test looks at anything, so that requests made in a row are one batch.
    ///
    /// # Errors
    /// What resolving the path says.
    pub fn request(&self, path: &str, body: impl Sample) -> Result<Request<'_, S>> {
        self.operator().request(path, body)
    }

    fn operator(&self) -> Caller<'_, S> {
        Caller { kit: self, id: SubsystemId::OPERATOR }
    }

    /// Another subsystem that calls this one, with the scopes it was granted: `kit.caller("orders", &["stock:write"])`.
    ///
    /// # Panics
    /// If the name or a scope is none.
    pub fn caller(&self, name: &str, grants: &[&str]) -> Caller<'_, S> {
        let grants = Grants::parse(grants.iter().copied()).expect("scopes are full names");
        let id =
            self.world.lock().directory.caller(name, grants).expect("a caller has a proper name");
        Caller { kit: self, id }
    }

    /// Expects that the subsystem has asked this path, or that a thread of its own soon does.
    ///
    /// # Panics
    /// If it has not.
    #[track_caller]
    pub fn expect_ask(&self, path: &str) -> Asked<'_, S> {
        let is_it = |out: &Outgoing| out.request != 0 && out.path == path;
        match self.await_thing(|state| take(&mut state.outgoing, is_it)) {
            Some(out) => Asked::new(self, out),
            None => panic!("the subsystem did not ask `{path}`{}", self.told()),
        }
    }

    /// Expects that the subsystem has sent to this path, or that a thread of its own soon does.
    ///
    /// # Panics
    /// If it has not.
    #[track_caller]
    pub fn expect_send(&self, path: &str) -> Sent {
        let is_it = |out: &Outgoing| out.deed() == "sent to" && out.path == path;
        match self.await_thing(|state| take(&mut state.outgoing, is_it)) {
            Some(out) => Sent::new(out),
            None => panic!("the subsystem did not send to `{path}`{}", self.told()),
        }
    }

    /// Expects that the subsystem has published this event, or that a thread of its own soon does.
    ///
    /// # Panics
    /// If it has not. The path is the subsystem's own: `created/7`, not `orders://created/7`.
    #[track_caller]
    pub fn expect_publish(&self, path: &str) -> Sent {
        let full = format!("{}://{path}", self.plan.name);
        let is_it = |out: &Outgoing| out.is_event && out.path == full;
        match self.await_thing(|state| take(&mut state.outgoing, is_it)) {
            Some(out) => Sent::new(out),
            None => panic!("the subsystem did not publish `{path}`{}", self.told()),
        }
    }

    /// Publishes an event that the subsystem listens to, and waits for its handler: `kit.event("orders://created/1", &order)`.
    ///
    /// # Errors
    /// `no_route` if it does not listen, `denied` if a scope is required that it was not granted. Other than on a host
    /// the publisher also gets the error of the handler.
    pub fn event(&self, path: &str, body: impl Sample) -> Result<()> {
        self.operator().event(path, body)
    }

    /// Expects that a handler failed for a message that wanted no answer: a timer's, an outcome, or one of its own.
    ///
    /// # Panics
    /// If none has. The path is the subsystem's own: `report`, not `counter://report`.
    #[track_caller]
    pub fn expect_failure(&self, path: &str) -> Error {
        let full = format!("{}://{path}", self.plan.name);
        let is_it = |failure: &Failure| failure.path == full || failure.path == path;
        let found = self.await_thing(|state| {
            let index = state.failures.iter().position(is_it)?;
            state.failures.remove(index)
        });
        match found {
            Some(failure) => failure.error,
            None => panic!("nothing failed at `{path}`{}", self.told()),
        }
    }

    /// Expects that a thread of the subsystem's own failed, and gives the text.
    ///
    /// A host restarts the subsystem then; here the test does, by [`Kit::restart`].
    ///
    /// # Panics
    /// If none did.
    #[track_caller]
    pub fn expect_fault(&self) -> String {
        match self.await_thing(|state| state.faults.pop_front()) {
            Some(text) => text,
            None => panic!("no thread of the subsystem failed{}", self.told()),
        }
    }

    /// Moves the clock: timers fire and deadlines pass, each at its time.
    pub fn advance(&self, time: impl IntoDuration) {
        self.run();
        let end = self.state().now.saturating_add(time.into_nanos());
        loop {
            let next = self.state().next_event();
            self.world.change(|state| {
                state.now = next.clamp(state.now, end);
                state.fire();
                state.expire();
            });
            self.run();
            if next >= end {
                return;
            }
        }
    }

    /// Replaces the instance by a new one of the same build, as a reload does: stop, save, create, restore, start.
    ///
    /// # Errors
    /// What any of these says; the subsystem does not run then.
    pub fn reload(&self) -> Result<()> {
        self.run();
        let mut old = self.take_instance();
        old.stop();
        let state = old.save::<S>();
        old.end();
        self.begin(state?.as_ref())?;
        self.world.change(|state| {
            state.end_unheld(ErrorCode::Reloading, "a reload did not carry the request over")
        });
        Ok(())
    }

    /// The state that the subsystem would save now.
    ///
    /// # Errors
    /// What `save` says, and `invalid` if the state is no `T`.
    pub fn saved<T: DeserializeOwned>(&self) -> Result<T> {
        self.run();
        let (_, state) =
            self.save()?.ok_or_else(|| Error::invalid("the subsystem saves no state"))?;
        Ok(rmp_serde::from_slice(&state)?)
    }

    fn save(&self) -> Result<Option<SavedState>> {
        self.instance.borrow_mut().as_mut().expect("the subsystem runs").save::<S>()
    }

    /// Takes the state to which a panic, or [`Kit::restart`], goes back.
    ///
    /// # Errors
    /// What `save` says.
    pub fn snapshot(&self) -> Result<()> {
        self.run();
        self.snapshot.replace(self.save()?);
        Ok(())
    }

    /// Replaces the instance as a host does after a panic: without `stop` and `save`, from the last snapshot if there is one.
    ///
    /// # Errors
    /// What `create`, `restore` and `start` say; the subsystem does not run then.
    pub fn restart(&self) -> Result<()> {
        self.take_instance().end();
        let begun = self.begin(self.snapshot.borrow().as_ref());
        let text = "the instance that held the request ended";
        self.world.change(|state| state.end_unheld(ErrorCode::Restarted, text));
        begun
    }

    fn begin(&self, state: Option<&SavedState>) -> Result<()> {
        let instance = Instance::begin::<S>(self.world, &self.plan, state)?;
        self.instance.replace(Some(instance));
        Ok(())
    }

    fn take_instance(&self) -> Instance {
        self.instance.take().expect("the subsystem runs; its last restart or reload failed")
    }

    /// Makes a path of the outside world require a scope, by its short name: `kit.guard("kv://put/{key}", "write")`.
    ///
    /// Then the subsystem reaches it only if its `NEEDS` declare `kv:write`. Without it the outside world takes anything.
    ///
    /// # Panics
    /// If path or scope is none.
    pub fn guard(&self, path: &str, scope: &str) {
        let guarded = self.world.lock().directory.guard(path, scope);
        guarded.unwrap_or_else(|error| panic!("`{path}` cannot be guarded: {error}"));
    }

    /// Makes another subsystem refuse whatever is sent to it, as a full queue does.
    ///
    /// # Panics
    /// If the name is none.
    pub fn refuse(&self, name: &str, error: Error) {
        let mut state = self.world.lock();
        let id = state.directory.touch(name).expect("a subsystem has a proper name");
        state.refusals.insert(id, error.handled(Handled::No));
    }

    /// Ends [`Kit::refuse`].
    ///
    /// # Panics
    /// If the name is none.
    pub fn accept(&self, name: &str) {
        let mut state = self.world.lock();
        let id = state.directory.touch(name).expect("a subsystem has a proper name");
        state.refusals.remove(&id);
    }

    /// What the subsystem has logged.
    pub fn logs(&self) -> Vec<Log> {
        self.run();
        self.state().logs.clone()
    }

    /// How much the subsystem has counted under this name.
    pub fn counter(&self, name: &str) -> u64 {
        self.run();
        self.state().counters.values().get(name).copied().unwrap_or_default()
    }

    /// How the messages of the subsystem's queue ended.
    pub fn ledger(&self) -> LedgerCounts {
        self.run();
        let state = self.state();
        state.ledger.snapshot(&state.queue)
    }

    /// How the subsystem's own requests ended.
    pub fn requests(&self) -> Requests {
        self.run();
        self.state().own.counts()
    }

    /// Asserts that nothing is left: no send or request that the test did not expect, no request without an answer
    /// on either side, no failure that nobody saw, and a ledger that balances.
    ///
    /// # Panics
    /// If anything is.
    #[track_caller]
    pub fn assert_settled(&self) {
        self.run();
        let complaints = self.state().complaints();
        assert!(
            complaints.is_empty(),
            "the subsystem is not settled:\n- {}",
            complaints.join("\n- ")
        );
    }

    /// Ends the kit without asserting that everything is settled.
    pub fn abandon(self) {
        self.is_abandoned.set(true);
    }

    /// Gives the instance up, with what waits for it.
    #[cfg(feature = "instructions")]
    pub(crate) fn prepare(&self) -> crate::instance::Prepared {
        self.is_abandoned.set(true);
        let batches = std::iter::from_fn(|| self.state().claim());
        crate::instance::Prepared::new(self.take_instance(), batches)
    }

    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.world.lock()
    }

    /// Handles whatever waits. After a panic the subsystem is restarted, and goes on with what is left.
    pub(crate) fn run(&self) {
        loop {
            let Some(batch) = self.state().claim() else { return };
            let mut instance = self.take_instance();
            let handled = instance.handle(batch);
            self.instance.replace(Some(instance));
            if let Err(panic) = handled {
                eprintln!("{panic}; the subsystem is restarted");
                self.restart()
                    .unwrap_or_else(|error| panic!("the subsystem did not start again: {error}"));
            }
        }
    }

    /// Looks for something, and waits for it as long as threads of the subsystem run.
    pub(crate) fn await_thing<T>(&self, look: impl Fn(&mut State) -> Option<T>) -> Option<T> {
        let begun = Instant::now();
        loop {
            self.run();
            // Before the look: a thread that ended by now has done what it does.
            let threads = self.instance.borrow().as_ref().map_or(0, Instance::threads);
            self.run();
            let found = look(&mut self.state());
            if found.is_some() || threads == 0 || begun.elapsed() > PATIENCE {
                return found;
            }
            self.world.wait(Duration::from_millis(1));
        }
    }

    /// Answers one of the subsystem's requests.
    pub(crate) fn answer(&self, request: u64, answer: Answer, path: &str) {
        self.world.change(|state| {
            let by = path.split_once("://").and_then(|(name, _)| state.directory.table.id(name));
            state.answer(request, answer, by.unwrap_or(SubsystemId::OPERATOR));
        });
        self.run();
    }

    /// What did happen, for the message of an expectation that did not.
    fn told(&self) -> String {
        let state = self.state();
        let sent = state.outgoing.iter().map(|out| format!("{} `{}`", out.deed(), out.path));
        let failed = state
            .failures
            .iter()
            .map(|failure| format!("failed at `{}`: {}", failure.path, failure.error));
        let all: Vec<String> = sent.chain(failed).chain(state.faults.iter().cloned()).collect();
        if all.is_empty() { "; it did nothing".into() } else { format!("; it {}", all.join(", ")) }
    }
}

impl<S: Export> Drop for Kit<S> {
    fn drop(&mut self) {
        let asserts = !std::thread::panicking() && !self.is_abandoned.get();
        if asserts {
            self.assert_settled();
        }
        let Some(mut instance) = self.instance.take() else { return };
        if !asserts && std::thread::panicking() {
            // It is leaked, with its threads: whatever made the test panic might make its end hang.
            return;
        }
        instance.stop();
        instance.end();
        if asserts {
            self.assert_ended();
        }
    }
}

impl<S: Export> Kit<S> {
    /// What is wrong with the end itself.
    fn assert_ended(&self) {
        let failures = std::mem::take(&mut self.state().failures);
        let texts: Vec<String> =
            failures.iter().map(|failure| format!("{}: {}", failure.path, failure.error)).collect();
        assert!(texts.is_empty(), "the subsystem did not end well:\n- {}", texts.join("\n- "));
    }
}

fn take(outgoing: &mut Vec<Outgoing>, is_it: impl Fn(&Outgoing) -> bool) -> Option<Outgoing> {
    let index = outgoing.iter().position(is_it)?;
    Some(outgoing.remove(index))
}

impl<S: Export> Kit<S> {
    /// The schema of a route's replies.
    pub(crate) fn reply_schema(&self, path: &str) -> u64 {
        let state = self.state();
        let found = state.directory.table.resolve_own(state.directory.subject, path);
        found.map_or(0, |resolved| resolved.reply)
    }

    /// The schema that the outcome of a request must have.
    pub(crate) fn outcome_schema(&self, request: u64) -> u64 {
        let state = self.state();
        let Some(Target::Route { route, .. }) = state.targets.get(&request) else {
            return 0;
        };
        state.directory.table.route(state.directory.subject, *route).map_or(0, |route| route.body)
    }
}
