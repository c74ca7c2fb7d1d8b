//! The instance under test: its life, and its batches.

use crate::{
    host::Turn,
    world::{BATCH, Batch, Content, Failure, Message, World},
};
use mycelia_kernel::{ledger::Ends, queue::Lane};
use mycelia_plugin::{
    Error, ErrorCode, Export, Handled, Result,
    abi::{
        BLOCK_UNIT, Envelope, INLINE,
        host::{BatchEnd, CallSpec, CreateSpec, Guest, OutboxBuffer, ReportBuffer, module_of},
    },
};
use std::{
    sync::atomic::AtomicU8,
    time::{Duration, Instant},
};

/// How long threads of the subsystem may take for what a test waits for, in real time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long one that ends may wait for an answer that will not come.
const COURTESY: Duration = Duration::from_millis(200);

/// Everything is logged.
static LEVEL: AtomicU8 = AtomicU8::new(5);

/// What an instance is created from.
pub(crate) struct Plan {
    pub name: String,
    pub config: String,
    pub data: String,
    /// The host's number of each route.
    pub routes: Vec<u16>,
}

/// State as it was saved, with the number of its form.
pub(crate) type SavedState = (u32, Vec<u8>);

/// A running instance.
pub(crate) struct Instance {
    world: &'static World,
    guest: Guest,
}

impl Instance {
    /// Creates an instance, gives it its state, and starts it.
    pub fn begin<S: Export>(
        world: &'static World,
        plan: &Plan,
        state: Option<&SavedState>,
    ) -> Result<Self> {
        let handle = world.change(|state| {
            state.generation += 1;
            state.generation
        });
        let Plan { name, config, data, routes } = plan;
        let spec = CreateSpec { name, config, data, routes, handle };
        let created = Guest::create(module_of::<S>(), world, &LEVEL, &spec);
        let guest = created.map_err(|created| {
            let place =
                created.span.and_then(|span| config.get(span)).filter(|place| !place.is_empty());
            let place = place.map_or_else(String::new, |place| format!(", at `{place}`"));
            let mut error = created.error;
            error.text.push_str(&place);
            error
        })?;
        let mut instance = Instance { world, guest };
        match instance.wake(state) {
            Ok(()) => Ok(instance),
            Err(error) => {
                instance.end();
                Err(error)
            }
        }
    }

    fn wake(&mut self, state: Option<&SavedState>) -> Result<()> {
        if let Some((schema, state)) = state {
            self.guest.restore(*schema, state)?;
        }
        self.lifecycle(Guest::start)
    }

    /// How many threads of its own run.
    pub fn threads(&self) -> u32 {
        self.guest.threads().running()
    }

    /// What it would keep now.
    pub fn save<S: Export>(&mut self) -> Result<Option<SavedState>> {
        if !self.guest.has_state() {
            return Ok(None);
        }
        Ok(Some((S::SCHEMA, self.guest.save()?)))
    }

    /// Ends its threads, then stops it; what is wrong with that is a failure of `stop`.
    pub fn stop(&mut self) {
        self.join();
        if let Err(error) = self.lifecycle(Guest::stop) {
            let path = "stop".to_owned();
            self.world.lock().failures.push_back(Failure { path, error });
        }
    }

    /// Asks its threads to end, and waits for them.
    ///
    /// # Panics
    /// If they do not.
    fn join(&self) {
        self.guest.threads().quiesce();
        let begun = Instant::now();
        while self.threads() > 0 {
            self.world.wait(Duration::from_millis(1));
            if begun.elapsed() > COURTESY {
                self.world.change(|state| state.expire_threads());
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "its threads still run {PATIENCE:?} after their stop token was raised"
            );
        }
    }

    /// Drops it. From here on its host calls are stale.
    pub fn end(self) {
        self.join();
        self.world.change(|state| {
            state.cancel_threads();
            state.generation += 1;
        });
        if let Err(error) = self.guest.destroy() {
            let path = "drop".to_owned();
            self.world.lock().failures.push_back(Failure { path, error });
        }
    }

    fn lifecycle(
        &mut self,
        call: impl FnOnce(&mut Guest, CallSpec<'_, Turn>) -> Result<()>,
    ) -> Result<()> {
        let mut turn = Turn::default();
        let mut buffers = Buffers::new();
        let spec = self.spec(&mut turn, &mut buffers, &[], &[]);
        let result = call(&mut self.guest, spec);
        turn.take_replies(&mut buffers.replies);
        self.send_out(&mut buffers.outbox);
        self.answer_all(turn.answers);
        result
    }

    fn spec<'a>(
        &self,
        turn: &'a mut Turn,
        buffers: &'a mut Buffers,
        messages: &'a [Envelope],
        pool: &'a [u8],
    ) -> CallSpec<'a, Turn> {
        let state = self.world.lock();
        let (version, now) = (state.directory.table.version().0, state.now);
        let Buffers { outbox, replies, report } = buffers;
        CallSpec { turn, outbox, replies, report, messages, pool: pool.as_ptr(), version, now }
    }

    /// Handles a batch. An error is a panic, after which the instance must only be ended.
    pub fn handle(&mut self, batch: Batch) -> Result<()> {
        let mut turn = Turn::default();
        let mut buffers = Buffers::new();
        let (envelopes, pool) = lay_out(&batch.messages);
        let spec = self.spec(&mut turn, &mut buffers, &envelopes, &pool);
        let end = self.guest.handle(spec);
        turn.take_replies(&mut buffers.replies);
        let Buffers { mut outbox, report, .. } = buffers;
        let codes: Vec<u8> = report.outcomes(report.cursor()).to_vec();
        match end {
            BatchEnd::Returned => {
                self.send_out(&mut outbox);
                let committed = self.commit();
                self.settle(batch, &codes, turn, committed);
                Ok(())
            }
            BatchEnd::Panicked(error) => {
                let panicked = envelopes.get(report.cursor());
                let keep = panicked.map_or(0, |message| outbox.sent_before(message));
                self.drop_unsent(&mut outbox, keep);
                self.lose(batch, &codes, turn, &error);
                Err(error)
            }
        }
    }

    fn commit(&mut self) -> Result<()> {
        if self.guest.commits() { self.guest.commit() } else { Ok(()) }
    }

    fn send_out(&self, outbox: &mut OutboxBuffer) {
        use mycelia_plugin::abi::host::Host;
        self.world.publish(&mut Turn::default(), outbox);
    }

    fn drop_unsent(&self, outbox: &mut OutboxBuffer, mark: usize) {
        let mark = mark.min(outbox.len());
        let unsent = outbox.messages()[mark..].to_vec();
        outbox.truncate(mark);
        self.send_out(outbox);
        self.world.change(|state| unsent.into_iter().for_each(|message| state.discard(message)));
    }

    fn answer_all(&self, answers: Vec<(u64, Result<Content>)>) {
        self.world.change(|state| {
            let subject = state.directory.subject;
            answers
                .into_iter()
                .for_each(|(request, answer)| state.answer(request, answer, subject));
        });
    }

    /// Enters how the messages that ran ended, and lets their answers go.
    fn settle(&self, batch: Batch, codes: &[u8], turn: Turn, committed: Result<()>) {
        let uncommitted = committed.err();
        let mut failures = turn.failures.into_iter();
        let mut ends = Ends::default();
        for (message, &code) in batch.messages.iter().zip(codes) {
            let is_fine = code == 0 || ErrorCode::from_number(code).is_callers();
            if is_fine && uncommitted.is_none() {
                ends.handled += 1
            } else {
                ends.failed += 1
            }
            let unasked = message.envelope.reply == 0;
            let own = if unasked && code != 0 { failures.next() } else { None };
            if let Some(error) = own.or_else(|| uncommitted.clone()).filter(|_| unasked) {
                self.fail(message, error);
            }
        }
        self.enter(batch.lane, ends);
        let answers = turn.answers.into_iter().map(|(request, answer)| {
            let answer = answer.and_then(|content| uncommitted.clone().map_or(Ok(content), Err));
            (request, answer)
        });
        self.answer_all(answers.collect());
        self.note_taken(&batch.messages[..codes.len()]);
    }

    /// Enters a batch of which a handler panicked: the message at the cursor is dead, those behind it run first next time.
    fn lose(&self, mut batch: Batch, codes: &[u8], turn: Turn, error: &Error) {
        let mut later = batch.messages.split_off(codes.len());
        let dead = later.remove(0);
        let lane = batch.lane;
        let uncommitted = Error::new(
            ErrorCode::Restarted,
            "a later message of its batch panicked before the commit",
        );
        let committed =
            if self.guest.commits() { Err(uncommitted.handled(Handled::Unknown)) } else { Ok(()) };
        self.settle(batch, codes, turn, committed);
        self.enter(lane, Ends { dead: 1, ..Ends::default() });
        match dead.envelope.reply {
            0 => self.fail(&dead, error.clone()),
            request => self.answer_all(vec![(request, Err(error.clone()))]),
        }
        self.world.lock().left = (!later.is_empty()).then_some(Batch { lane, messages: later });
    }

    fn enter(&self, lane: Lane, ends: Ends) {
        if lane == Lane::Queue {
            self.world.lock().ledger.end(ends);
        }
    }

    fn fail(&self, message: &Message, error: Error) {
        let mut state = self.world.lock();
        match message.is_watched {
            true => drop(state.results.insert(message.key, error)),
            false => state.failures.push_back(Failure { path: message.path.clone(), error }),
        }
    }

    /// Whoever was not answered now has a responder somewhere.
    fn note_taken(&self, messages: &[Message]) {
        let mut state = self.world.lock();
        let requests = messages.iter().map(|message| message.envelope.reply);
        let open: Vec<u64> =
            requests.filter(|request| matches!(state.answers.get(request), Some(None))).collect();
        let forwarded = |request: &u64| state.outgoing.iter().any(|out| out.request == *request);
        let taken: Vec<u64> = open.into_iter().filter(|request| !forwarded(request)).collect();
        state.taken.extend(taken);
    }
}

/// What the plugin's side of a call writes into.
struct Buffers {
    outbox: OutboxBuffer,
    replies: OutboxBuffer,
    report: ReportBuffer,
}

impl Buffers {
    fn new() -> Buffers {
        let replies = OutboxBuffer::new(BATCH, 0);
        Buffers {
            outbox: OutboxBuffer::new(64, 64 << 10),
            report: ReportBuffer::new(BATCH, &replies),
            replies,
        }
    }
}

/// Messages as a plugin gets them: small content within the envelope, other content in the pool.
fn lay_out(messages: &[Message]) -> (Vec<Envelope>, Vec<u8>) {
    let mut pool = Vec::new();
    let lay = |message: &Message| {
        let mut envelope = message.envelope;
        if message.content.len() <= INLINE {
            envelope.inline[..message.content.len()].copy_from_slice(&message.content);
            return envelope;
        }
        pool.resize(pool.len().next_multiple_of(BLOCK_UNIT), 0);
        envelope.set_block((pool.len() / BLOCK_UNIT) as u32);
        pool.extend(&message.content);
        envelope
    };
    let envelopes = messages.iter().map(lay).collect();
    (envelopes, pool)
}

/// Batches laid out beforehand, for an instance that a kit has given up.
#[cfg(feature = "instructions")]
pub(crate) struct Prepared {
    instance: Instance,
    calls: Vec<Call>,
}

/// One batch with all that its call needs.
#[cfg(feature = "instructions")]
struct Call {
    messages: Vec<Envelope>,
    pool: Vec<u8>,
    turn: Turn,
    buffers: Buffers,
    end: Result<()>,
}

#[cfg(feature = "instructions")]
impl Prepared {
    pub fn new(instance: Instance, batches: impl Iterator<Item = Batch>) -> Self {
        let call = |batch: Batch| {
            let (messages, pool) = lay_out(&batch.messages);
            let (turn, buffers) = (Turn::default(), Buffers::new());
            Call { messages, pool, turn, buffers, end: Ok(()) }
        };
        Prepared { instance, calls: batches.map(call).collect() }
    }

    /// Handles and commits each batch.
    pub fn run(&mut self) {
        for Call { messages, pool, turn, buffers, end } in &mut self.calls {
            let spec = self.instance.spec(turn, buffers, messages, pool);
            *end = match self.instance.guest.handle(spec) {
                BatchEnd::Returned => self.instance.commit(),
                BatchEnd::Panicked(error) => Err(error),
            };
        }
    }

    /// Ends the instance.
    ///
    /// # Panics
    /// If a message, a commit or the end itself failed.
    pub fn finish(mut self) {
        for Call { messages, buffers, end, turn, .. } in &self.calls {
            let failed = turn.answers.iter().find_map(|(_, answer)| answer.as_ref().err());
            if let Some(error) = end.as_ref().err().or(failed) {
                panic!("not every message was handled well: {error}");
            }
            assert_eq!(buffers.report.cursor(), messages.len(), "every message was handled");
        }
        self.instance.stop();
        self.instance.end();
    }
}
