//! Sending from threads of a plugin's own, such as those of a gateway.

use crate::{
    Counter, Error, ErrorCode, Level, Parts, Payload, Result,
    abi::{Envelope, Link, RawBody, flags},
    body::decode,
    counter::Counters,
    message::outcome_error,
    time::{IntoDuration, Time},
};
use serde::de::DeserializeOwned;
use std::{
    collections::HashMap,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

/// Sends and asks from any thread. Messages of one clone to one queue stay in order.
///
/// It holds good as long as the generation that made it; after that every call answers `gone`.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

struct Inner {
    link: Link,
    next: AtomicU64,
    replies: Mutex<Replies>,
    counters: Counters,
}

#[derive(Default)]
struct Replies {
    waiting: HashMap<u64, Arc<Waiter>>,
    reader: Option<thread::JoinHandle<()>>,
}

/// One open request of an own thread.
#[derive(Default)]
pub(crate) struct Waiter {
    pub state: Mutex<WaiterState>,
    pub done: Condvar,
}

#[derive(Default)]
pub(crate) struct WaiterState {
    pub answer: Option<Result<Answer>>,
    /// Whether parts of the answer wait at the host.
    pub has_parts: bool,
    pub waker: Option<Waker>,
}

impl WaiterState {
    pub fn has_come(&self) -> bool {
        self.has_parts || self.answer.is_some()
    }
}

/// The reply to a request of an own thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The bytes as the handler gave them.
    pub body: Vec<u8>,
    flags: u16,
}

impl Answer {
    pub(crate) fn new(body: &[u8], flags: u16) -> Self {
        Answer { body: body.to_owned(), flags }
    }

    /// Whether it is no part, but says that there are no more.
    pub(crate) fn is_end(&self) -> bool {
        self.flags & flags::END != 0
    }

    /// Whether the bytes are JSON.
    pub fn is_json(&self) -> bool {
        self.flags & flags::ENCODING == flags::JSON
    }

    /// The typed value.
    ///
    /// # Errors
    /// `invalid` if the bytes are not that.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        decode(&self.body, self.flags)
    }
}

impl Sender {
    pub(crate) fn new(link: Link) -> Self {
        Sender(Arc::new(Inner {
            link,
            next: AtomicU64::new(1),
            replies: Mutex::default(),
            counters: Counters::default(),
        }))
    }

    pub(crate) fn link(&self) -> Link {
        self.0.link
    }

    /// Sends a message. At a full queue that blocks it waits as long as the queue's policy says.
    ///
    /// # Errors
    /// As for [`crate::Context::send`], and `gone` once the generation has ended. The body stays the caller's.
    pub fn send<P: Payload>(&self, path: impl AsRef<str>, body: P) -> Result<()> {
        let mut scratch = Vec::new();
        let (bytes, flags) = body.encoded(&mut scratch)?;
        self.0.link.outside_send(path.as_ref(), RawBody::new(bytes, flags, P::SCHEMA.hash))
    }

    /// As [`crate::Context::publish`]; but at a full queue that blocks it waits as long as the queue's policy says, at each.
    ///
    /// # Errors
    /// As for [`crate::Context::publish`], and `gone` once the generation has ended. The body stays the caller's.
    pub fn publish<P: Payload>(&self, path: impl AsRef<str>, body: P) -> Result<()> {
        let mut scratch = Vec::new();
        let (bytes, flags) = body.encoded(&mut scratch)?;
        let body = RawBody::new(bytes, flags | flags::EVENT, P::SCHEMA.hash);
        self.0.link.outside_send(path.as_ref(), body)
    }

    /// Begins a request; it is sent by `.await` or [`OutsideAsk::wait`].
    #[must_use = "the request is sent by `.await` or `wait`"]
    pub fn ask<A: AsRef<str>, P: Payload>(&self, path: A, body: P) -> OutsideAsk<'_, A, P> {
        OutsideAsk { sender: self, path, body, within: 0 }
    }

    /// The time on the host's clock.
    pub fn now(&self) -> Time {
        Time(self.0.link.now())
    }

    /// What the subsystem counts under this name. See [`Counter`].
    pub fn counter(&self, name: &str) -> Counter {
        self.0.counters.get(self.0.link, name)
    }

    /// Writes a line to the host's log, if its level is on; that costs one load when it is not.
    pub fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        if self.0.link.is_logged(level as u8) {
            self.0.link.log(level as u8, "", &text.to_string());
        }
    }

    /// Waits for the thread that takes replies, which ends when the host has closed the generation's completions.
    pub(crate) fn join(&self) {
        let reader = lock(&self.0.replies).reader.take();
        if let Some(reader) = reader {
            // It catches nothing that panics: it only moves bytes.
            let _ = reader.join();
        }
    }

    /// Nobody waits for this token's outcome any more.
    pub(crate) fn forget(&self, token: u64) {
        lock(&self.0.replies).waiting.remove(&token);
    }

    /// Sends a request: its token and number, and where its outcome is waited for.
    fn begin(&self, path: &str, body: RawBody, within: u64) -> Result<(u64, u64, Arc<Waiter>)> {
        let token = self.0.next.fetch_add(1, Ordering::Relaxed);
        let waiter = Arc::<Waiter>::default();
        let mut replies = lock(&self.0.replies);
        if replies.reader.is_none() {
            replies.reader = Some(self.start_reader()?);
        }
        replies.waiting.insert(token, waiter.clone());
        drop(replies);
        let begun = self.0.link.outside_ask(path, body, within, token);
        let request = begun.inspect_err(|_| self.forget(token))?;
        Ok((token, request, waiter))
    }

    fn start_reader(&self) -> Result<thread::JoinHandle<()>> {
        let inner = self.0.clone();
        thread::Builder::new()
            .name("mycelia-replies".into())
            .spawn(move || inner.read_replies())
            .map_err(|error| {
                Error::failed(format!("cannot start the thread that takes replies: {error}"))
            })
    }
}

impl Inner {
    /// Blocks in one host call at a time, and wakes whoever asked.
    fn read_replies(&self) {
        while self.link.completion(|token, outcome, content| self.complete(token, outcome, content))
        {
        }
        let gone = Error::new(ErrorCode::Gone, "the subsystem has stopped")
            .handled(crate::Handled::Unknown);
        let waiting = std::mem::take(&mut lock(&self.replies).waiting);
        waiting.into_values().for_each(|waiter| waiter.finish(Err(gone.clone())));
    }

    fn complete(&self, token: u64, outcome: &Envelope, content: &[u8]) {
        let mut replies = lock(&self.replies);
        if outcome.flags & flags::PART != 0 {
            let waiter = replies.waiting.get(&token).cloned();
            drop(replies);
            return waiter.into_iter().for_each(|waiter| waiter.has_parts());
        }
        let Some(waiter) = replies.waiting.remove(&token) else { return };
        drop(replies);
        waiter.finish(outcome_error(outcome, content).map(|body| Answer::new(body, outcome.flags)));
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiter {
    fn finish(&self, answer: Result<Answer>) {
        let mut state = lock(&self.state);
        state.answer = Some(answer);
        self.tell(state);
    }

    fn has_parts(&self) {
        let mut state = lock(&self.state);
        state.has_parts = true;
        self.tell(state);
    }

    fn tell(&self, mut state: MutexGuard<'_, WaiterState>) {
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        self.done.notify_all();
    }

    fn wait(&self) -> Result<Answer> {
        let mut state = lock(&self.state);
        loop {
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Result<Answer>> {
        let mut state = lock(&self.state);
        if let Some(answer) = state.answer.take() {
            return Poll::Ready(answer);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A request of an own thread that is being put together.
#[must_use = "the request is sent by `.await` or `wait`"]
pub struct OutsideAsk<'s, A, P> {
    sender: &'s Sender,
    path: A,
    body: P,
    within: u64,
}

impl<A: AsRef<str>, P: Payload> OutsideAsk<'_, A, P> {
    /// The deadline, from now; the host's `ask_deadline` without it.
    pub fn within(mut self, limit: impl IntoDuration) -> Self {
        self.within = limit.into_nanos();
        self
    }

    /// Sends the request and blocks until its outcome, which comes by the deadline at the latest.
    /// `.await` instead never blocks the thread: at a full queue that blocks it is refused at once.
    ///
    /// # Errors
    /// As for [`Sender::send`], and whatever the outcome is.
    pub fn wait(self) -> Result<Answer> {
        self.begin(flags::MAY_WAIT)?.wait()
    }

    /// Sends the request for an answer that may come in parts, and does not wait for any; at a full queue that blocks it is
    /// refused at once. The deadline holds for the time between two parts.
    ///
    /// # Errors
    /// As for [`Sender::send`].
    pub fn parts(self) -> Result<Parts> {
        let sender = self.sender.clone();
        let (token, request, waiter) = self.begin_with(flags::PART)?;
        Ok(Parts::new(sender, token, request, waiter))
    }

    fn begin(self, may_wait: u16) -> Result<Arc<Waiter>> {
        self.begin_with(may_wait).map(|(_, _, waiter)| waiter)
    }

    fn begin_with(self, how: u16) -> Result<(u64, u64, Arc<Waiter>)> {
        let mut scratch = Vec::new();
        let (bytes, flags) = self.body.encoded(&mut scratch)?;
        let body = RawBody::new(bytes, flags | how, P::SCHEMA.hash);
        self.sender.begin(self.path.as_ref(), body, self.within)
    }
}

impl<A: AsRef<str>, P: Payload> IntoFuture for OutsideAsk<'_, A, P> {
    type Output = Result<Answer>;
    type IntoFuture = Pending;

    fn into_future(self) -> Pending {
        Pending(Some(self.begin(0)))
    }
}

/// The outcome of a request, to come.
#[must_use = "futures do nothing unless awaited"]
pub struct Pending(Option<Result<Arc<Waiter>>>);

impl Future for Pending {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Answer>> {
        match self.0.take().expect("a future is not polled after it has ended") {
            Err(error) => Poll::Ready(Err(error)),
            Ok(waiter) => {
                let polled = waiter.poll(context);
                self.0 = Some(Ok(waiter));
                polled
            }
        }
    }
}
