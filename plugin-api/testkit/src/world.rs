//! What stands in for the host: queue, requests, timers and clock of one subsystem, and all that it does outside of itself.
//!
//! Matching, lanes, the request table, timers and the ledger are the kernel's own. Nothing here calls into the plugin, so
//! its threads may come at any time.

use crate::directory::Directory;
use mycelia_kernel::{
    asks::{AskId, Asks, End},
    ids::{RouteId, SubsystemId},
    ledger::{Ends, Ledger},
    queue::{Full, Lane, Limits, Policy, Queue},
    timers::Timers,
};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Level, Result,
    abi::{Envelope, flags, host::Counters},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::TcpListener,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The most messages of one batch.
pub(crate) const BATCH: usize = 64;
/// The most messages that wait, requests that are open, and timers that are set.
const ROOM: u16 = 1024;
/// Parts of one answer that wait at most, as in a host.
const WINDOW: usize = 16;
/// Where the clock begins: not at 0, which is what a time that was never set has.
const MORNING: u64 = 3_600_000_000_000;

pub(crate) struct World {
    state: Mutex<State>,
    changed: Condvar,
}

impl World {
    pub fn new(directory: Directory, ask_deadline: u64) -> Self {
        World { state: Mutex::new(State::new(directory, ask_deadline)), changed: Condvar::new() }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes whoever waits for that.
    pub fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits a little for another thread to change the state.
    pub fn wait(&self, limit: Duration) {
        drop(self.changed.wait_timeout(self.lock(), limit));
    }

    /// Waits for outcomes of requests of the generation's own threads; `None` when it has ended.
    pub fn completions(&self, handle: u64) -> Option<VecDeque<Completion>> {
        let mut state = self.lock();
        while state.generation == handle && state.completions.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (state.generation == handle).then(|| std::mem::take(&mut state.completions))
    }
}

/// An answer on its way.
pub(crate) type Answer = Result<Content>;

/// A body as it travels.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub bytes: Vec<u8>,
    pub flags: u16,
}

/// A message for the subsystem.
#[derive(Clone)]
pub(crate) struct Message {
    pub key: u64,
    /// Its content lies beside it.
    pub envelope: Envelope,
    pub content: Vec<u8>,
    /// For people.
    pub path: String,
    /// The request whose outcome this is: its slot is free when it is claimed.
    pub outcome_of: Option<AskId>,
    /// The test asks how it ended.
    pub is_watched: bool,
}

/// Messages that are handled in one call.
pub(crate) struct Batch {
    pub lane: Lane,
    pub messages: Vec<Message>,
}

/// What the subsystem sent to somebody else.
pub(crate) struct Outgoing {
    pub path: String,
    pub content: Content,
    /// 0 where no answer is wanted.
    pub request: u64,
    pub deadline: u64,
    /// Whether it was published rather than sent.
    pub is_event: bool,
}

impl Outgoing {
    /// What the subsystem did, to be followed by the path.
    pub fn deed(&self) -> &'static str {
        match self {
            Outgoing { is_event: true, .. } => "published",
            Outgoing { request: 0, .. } => "sent to",
            _ => "asked",
        }
    }
}

/// Where the outcome of one of the subsystem's requests goes.
pub(crate) enum Target {
    /// To a route of its own.
    Route { route: RouteId, parameters: u16, prefix: Vec<u8>, path: String },
    /// To one of its threads.
    Thread(u64),
}

pub(crate) struct Completion {
    pub token: u64,
    pub outcome: Envelope,
    pub content: Vec<u8>,
}

/// A message whose handler failed with nobody waiting for an answer, and whom the test did not ask about.
pub(crate) struct Failure {
    pub path: String,
    pub error: Error,
}

/// A line that the subsystem logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub text: String,
}

pub(crate) struct State {
    pub now: u64,
    pub directory: Directory,
    /// Host calls with another number are of an instance that has ended.
    pub generation: u64,
    pub ask_deadline: u64,
    pub queue: Queue<u64>,
    pub ledger: Ledger,
    pub messages: BTreeMap<u64, Message>,
    /// What a handler that panicked left of its batch.
    pub left: Option<Batch>,
    pub timers: Timers<u64>,
    /// The messages of timers, and whether they come again.
    pub scheduled: BTreeMap<u64, (Message, bool)>,
    /// The subsystem's own requests.
    pub own: Asks<()>,
    pub targets: BTreeMap<u64, Target>,
    /// The test's requests, and their answers once they are there.
    pub asked_by_test: Asks<()>,
    pub answers: BTreeMap<u64, Option<Answer>>,
    /// The parts that wait for the test, of those of its requests that take parts.
    pub parts: BTreeMap<u64, VecDeque<Content>>,
    /// Requests that were handled and not answered.
    pub taken: BTreeSet<u64>,
    /// Those of them whose responders a new instance restored.
    pub held: BTreeSet<u64>,
    pub completions: VecDeque<Completion>,
    pub outgoing: Vec<Outgoing>,
    /// What subsystems outside answer at once to whatever is sent to them.
    pub refusals: BTreeMap<SubsystemId, Error>,
    pub failures: VecDeque<Failure>,
    /// How watched messages failed.
    pub results: BTreeMap<u64, Error>,
    pub faults: VecDeque<String>,
    pub logs: Vec<Log>,
    pub counters: Counters,
    pub blocks: BTreeMap<u32, crate::host::Block>,
    pub listeners: BTreeMap<String, TcpListener>,
    keys: u64,
}

impl State {
    fn new(directory: Directory, ask_deadline: u64) -> Self {
        let room = usize::from(ROOM);
        let limits = Limits {
            policy: Policy::Reject,
            capacity: room,
            batch: BATCH,
            outcomes: room,
            timers: room,
        };
        State {
            now: MORNING,
            generation: 0,
            ask_deadline,
            queue: Queue::new(limits),
            ledger: Ledger::new(),
            messages: BTreeMap::new(),
            left: None,
            timers: Timers::new(room),
            scheduled: BTreeMap::new(),
            own: Asks::new(directory.subject, ROOM),
            targets: BTreeMap::new(),
            asked_by_test: Asks::new(SubsystemId::OPERATOR, ROOM),
            answers: BTreeMap::new(),
            parts: BTreeMap::new(),
            taken: BTreeSet::new(),
            held: BTreeSet::new(),
            completions: VecDeque::new(),
            outgoing: Vec::new(),
            refusals: BTreeMap::new(),
            failures: VecDeque::new(),
            results: BTreeMap::new(),
            faults: VecDeque::new(),
            logs: Vec::new(),
            counters: Counters::default(),
            blocks: BTreeMap::new(),
            listeners: BTreeMap::new(),
            keys: 0,
            directory,
        }
    }

    pub fn next_key(&mut self) -> u64 {
        self.keys += 1;
        self.keys
    }

    /// Puts a message into the subsystem's queue.
    pub fn post(&mut self, mut message: Message) -> Result<u64> {
        let key = self.next_key();
        message.key = key;
        self.messages.insert(key, message);
        match self.queue.send(key, &mut |_, _| {}) {
            Ok(_) => Ok(key),
            Err(Full(_)) => {
                self.messages.remove(&key);
                self.ledger.reject(1);
                Err(Error::full("the subsystem's queue is full").handled(Handled::No))
            }
        }
    }

    /// The next batch: what a panic left, outcomes, timers, then the queue.
    pub fn claim(&mut self) -> Option<Batch> {
        if let Some(batch) = self.left.take() {
            return Some(batch);
        }
        [Lane::Outcomes, Lane::Timers, Lane::Queue]
            .into_iter()
            .find_map(|lane| self.claim_from(lane))
    }

    fn claim_from(&mut self, lane: Lane) -> Option<Batch> {
        let mut keys = Vec::new();
        self.queue.claim(lane, BATCH, &mut keys);
        let messages: Vec<Message> =
            keys.iter().filter_map(|key| self.messages.remove(key)).collect();
        for id in messages.iter().filter_map(|message| message.outcome_of) {
            self.own.release(id);
        }
        let (expired, messages): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| self.is_expired(message));
        self.ledger.end(Ends { expired: expired.len() as u64, ..Ends::default() });
        (!keys.is_empty()).then_some(Batch { lane, messages })
    }

    /// An outcome's deadline is not one.
    fn is_expired(&self, message: &Message) -> bool {
        let Envelope { deadline, flags, .. } = message.envelope;
        flags & flags::OUTCOME == 0 && deadline != 0 && deadline < self.now
    }

    /// Begins a request of the subsystem's own; `within` 0 is the default.
    pub fn begin(&mut self, within: u64, inherited: u64, target: Target) -> Result<(u64, u64)> {
        let within = if within == 0 { self.ask_deadline } else { within };
        let deadline =
            self.now.saturating_add(within).min(if inherited == 0 { u64::MAX } else { inherited });
        let id = self.own.begin(deadline, ()).map_err(busy)?;
        self.targets.insert(id.pack(), target);
        Ok((id.pack(), deadline))
    }

    /// Ends a request with its answer. One that has ended already is late, and nothing happens.
    pub fn answer(&mut self, request: u64, answer: Answer, by: SubsystemId) {
        let Some(id) = AskId::unpack(request) else { return };
        let how = if answer.is_ok() { End::Answered } else { End::Failed };
        let asks =
            if id.asker() == SubsystemId::OPERATOR { &self.asked_by_test } else { &self.own };
        if asks.end(id, how).is_some() {
            self.deliver(id, answer, by);
        }
    }

    /// Adds a part to the answer of a request of the test's, if that takes parts and has room.
    pub fn add_part(&mut self, request: u64, part: Content) -> Result<()> {
        let is_open = matches!(self.answers.get(&request), Some(None));
        let Some(waiting) = self.parts.get_mut(&request).filter(|_| is_open) else {
            let text = "nobody waits for the answer any more";
            return Err(Error::new(ErrorCode::Gone, text).handled(Handled::No));
        };
        if waiting.len() >= WINDOW {
            let text = format!("the test has not taken the last {WINDOW} parts");
            let retry = Duration::from_millis(10);
            return Err(Error::full(text).handled(Handled::No).retry_after(retry));
        }
        waiting.push_back(part);
        Ok(())
    }

    /// Ends what should have been answered by now.
    pub fn expire(&mut self) -> u64 {
        let mut expired = Vec::new();
        let mut note = |id, ()| expired.push(id);
        let next = self
            .own
            .expire(self.now, &mut note)
            .min(self.asked_by_test.expire(self.now, &mut note));
        for id in expired {
            let error = Error::new(ErrorCode::Deadline, "no answer came before the deadline")
                .handled(Handled::Unknown);
            self.deliver(id, Err(error), SubsystemId::OPERATOR);
        }
        next
    }

    /// Gives the answer of a request that has just ended to whoever asked.
    fn deliver(&mut self, id: AskId, answer: Answer, by: SubsystemId) {
        let request = id.pack();
        self.taken.remove(&request);
        if id.asker() == SubsystemId::OPERATOR {
            self.asked_by_test.release(id);
            self.answers.entry(request).and_modify(|slot| *slot = Some(answer));
            return;
        }
        let (mut envelope, content) = outcome(answer);
        envelope.sender = by.0.into();
        match self.targets.remove(&request) {
            Some(Target::Thread(token)) => {
                self.own.release(id);
                self.completions.push_back(Completion { token, outcome: envelope, content });
            }
            Some(Target::Route { route, parameters, mut prefix, path }) => {
                envelope.route = route.0;
                envelope.flags |= parameters;
                prefix.extend(content);
                self.deliver_outcome(Message::new(envelope, prefix, path), id);
            }
            None => {
                self.own.release(id);
            }
        }
    }

    fn deliver_outcome(&mut self, message: Message, id: AskId) {
        let key = self.next_key();
        self.messages.insert(key, Message { key, outcome_of: Some(id), ..message });
        self.queue
            .deliver(key)
            .map(drop)
            .expect("the lane of outcomes is as large as the table of requests");
    }

    /// Ends requests that nobody will deliver an outcome for.
    pub fn cancel(&mut self, request: u64) {
        let Some(id) = AskId::unpack(request).filter(|id| id.asker() == self.directory.subject)
        else {
            return;
        };
        if self.own.end(id, End::Cancelled).is_some() {
            self.own.release(id);
            self.targets.remove(&request);
        }
    }

    /// Ends the requests of own threads that match, as the host does when their generation stops.
    pub fn cancel_threads(&mut self) {
        let of_thread = |(request, target): (&u64, &Target)| {
            matches!(target, Target::Thread(_)).then_some(*request)
        };
        let requests: Vec<u64> = self.targets.iter().filter_map(of_thread).collect();
        requests.into_iter().for_each(|request| self.cancel(request));
        self.completions.clear();
    }

    /// The same, with an outcome that their threads still get.
    pub fn expire_threads(&mut self) {
        let of_thread = |(request, target): (&u64, &Target)| {
            matches!(target, Target::Thread(_)).then_some(*request)
        };
        let requests: Vec<u64> = self.targets.iter().filter_map(of_thread).collect();
        let error =
            Error::new(ErrorCode::Deadline, "the subsystem stops").handled(Handled::Unknown);
        requests
            .into_iter()
            .for_each(|request| self.answer(request, Err(error.clone()), SubsystemId::OPERATOR));
    }

    /// Answers the requests that the instance before this one held, and that it did not restore.
    pub fn end_unheld(&mut self, code: ErrorCode, text: &str) {
        let held = std::mem::take(&mut self.held);
        let (kept, lost) =
            std::mem::take(&mut self.taken).into_iter().partition(|request| held.contains(request));
        self.taken = kept;
        let error = Error::new(code, text).handled(Handled::Unknown);
        let lost: BTreeSet<u64> = lost;
        lost.into_iter()
            .for_each(|request| self.answer(request, Err(error.clone()), self.directory.subject));
    }

    /// When the next timer or deadline is.
    pub fn next_event(&self) -> u64 {
        self.timers.next_due().min(self.own.earliest()).min(self.asked_by_test.earliest())
    }

    /// Puts the messages of timers that are due on their way.
    pub fn fire(&mut self) {
        let mut due = Vec::new();
        self.timers.fire(self.now, &mut |key| {
            due.push(key);
            true
        });
        due.into_iter().for_each(|key| self.ring(key));
    }

    fn ring(&mut self, timer: u64) {
        let Some((message, again)) = self.scheduled.remove(&timer) else { return };
        if again {
            self.scheduled.insert(timer, (message.clone(), true));
        }
        let key = self.next_key();
        self.messages.insert(key, Message { key, ..message });
        self.queue
            .ring_timer(key)
            .map(drop)
            .expect("no more timers are set than the lane has room for");
    }

    /// Sets a timer that puts `message` on its way.
    pub fn schedule(&mut self, delay: u64, message: Message, again: bool) -> Result<()> {
        let key = self.next_key();
        let armed = match again {
            true => self.timers.arm_every(self.now, delay, key),
            false => self.timers.arm_after(self.now.saturating_add(delay), key),
        };
        armed.map_err(busy)?;
        self.scheduled.insert(key, (message, again));
        Ok(())
    }

    /// What is open or was not looked at, for a test that should have.
    pub fn complaints(&self) -> Vec<String> {
        let outgoing = self
            .outgoing
            .iter()
            .map(|out| format!("it {} `{}`, which the test did not expect", out.deed(), out.path));
        let failures = self.failures.iter().map(|Failure { path, error }| {
            format!("`{path}` failed where nobody waits for an answer, with {error}; see `expect_failure`")
        });
        let faults = self.faults.iter().map(|text| format!("{text}; see `expect_fault`"));
        let mut complaints: Vec<String> = outgoing.chain(failures).chain(faults).collect();
        complaints.extend(self.open_complaints());
        complaints
    }

    fn open_complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let unexpected = self.outgoing.iter().filter(|out| out.request != 0).count() as u64;
        let open = self.own.counts().pending.saturating_sub(unexpected);
        if open > 0 {
            complaints.push(format!(
                "{open} of its requests are open; answer them, or advance past their deadline"
            ));
        }
        if !self.taken.is_empty() {
            complaints.push(format!("it owes {} requests an answer", self.taken.len()));
        }
        let ledger = self.ledger.snapshot(&self.queue);
        if !ledger.balances() || ledger.queued + ledger.in_flight > 0 {
            complaints.push(format!("its ledger does not balance: {ledger:?}"));
        }
        complaints
    }
}

impl Message {
    pub fn new(envelope: Envelope, content: Vec<u8>, path: String) -> Self {
        let envelope = Envelope { length: content.len() as u32, ..envelope };
        Message { key: 0, envelope, content, path, outcome_of: None, is_watched: false }
    }
}

fn busy(error: mycelia_kernel::asks::Busy) -> Error {
    Error::new(ErrorCode::Busy, error.to_string()).handled(Handled::No)
}

/// An answer in the form in which a plugin gets it.
fn outcome(answer: Answer) -> (Envelope, Vec<u8>) {
    match answer {
        Ok(content) => {
            let flags = content.flags & (flags::ENCODING | flags::EDGE) | flags::OUTCOME;
            (Envelope { flags, ..Envelope::EMPTY }, content.bytes)
        }
        Err(error) => {
            let stamp = u32::from_le_bytes([error.code as u8, error.handled as u8, 0, 0]);
            let deadline = error.retry_after.map_or(0, |delay| delay.as_nanos() as u64);
            (
                Envelope { flags: flags::OUTCOME, stamp, deadline, ..Envelope::EMPTY },
                error.text.clone().into_bytes(),
            )
        }
    }
}
