//! Threads of a plugin's own, and the token that asks them to end.

use crate::{Error, Result, Sender, abi::link};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

/// Asks a thread of the subsystem's own to end.
#[derive(Clone)]
pub struct Stop(Arc<Token>);

#[derive(Default)]
struct Token {
    state: Mutex<TokenState>,
    raised: Condvar,
}

#[derive(Default)]
struct TokenState {
    raised: bool,
    wakers: Vec<Waker>,
}

impl Token {
    fn lock(&self) -> MutexGuard<'_, TokenState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stop {
    /// Whether the thread should end.
    pub fn is_raised(&self) -> bool {
        self.0.lock().raised
    }

    /// Waits for as long as `limit`; whether the thread should end.
    pub fn wait(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.0.lock();
        while !state.raised {
            let Some(left) =
                until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                break;
            };
            state =
                self.0.raised.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.raised
    }

    /// Ends when the thread should: for threads that run an async runtime.
    pub async fn raised(&self) {
        std::future::poll_fn(|context| self.poll_raised(context)).await;
    }

    fn poll_raised(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.raised {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn raise(&self) {
        let mut state = self.0.lock();
        state.raised = true;
        state.wakers.drain(..).for_each(Waker::wake);
        self.0.raised.notify_all();
    }
}

/// The threads of one instance.
pub(crate) struct Threads {
    /// A fresh one for each start: an instance whose successor failed is started again.
    stop: Mutex<Stop>,
    running: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Threads {
    pub fn new() -> Self {
        Threads { stop: Mutex::new(Stop(Arc::default())), running: Mutex::default() }
    }

    fn stop(&self) -> MutexGuard<'_, Stop> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Threads that begin from now on are not asked to end.
    pub fn renew(&self) {
        *self.stop() = Stop(Arc::default());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<thread::JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn spawn<F>(&self, name: &str, sender: Sender, work: F) -> Result<()>
    where
        F: FnOnce(Sender, Stop) -> Result<()> + Send + 'static,
    {
        let stop = self.stop().clone();
        let label = name.to_owned();
        let handle = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&label, sender, stop, work))
            .map_err(|error| Error::failed(format!("cannot start the thread `{name}`: {error}")))?;
        self.lock().push(handle);
        Ok(())
    }

    /// Asks every thread to end.
    pub fn quiesce(&self) {
        self.stop().raise();
    }

    /// How many still run; those that ended are joined.
    pub fn running(&self) -> usize {
        let mut running = self.lock();
        for ended in running.extract_if(.., |thread| thread.is_finished()) {
            // The thread reported its own failure.
            let _ = ended.join();
        }
        running.len()
    }
}

fn run(name: &str, sender: Sender, stop: Stop, work: impl FnOnce(Sender, Stop) -> Result<()>) {
    let link = sender.link();
    let ending = stop.clone();
    let work = || link::within(link, ptr::null_mut(), || work(sender, stop));
    let text = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(payload) => Some(crate::abi::shim::panic_text(payload)),
    };
    match text {
        Some(text) if ending.is_raised() => {
            link.log(2, name, &format!("the thread `{name}` ended with {text}"))
        }
        Some(text) => link.fault(&format!("the thread `{name}` ended with {text}")),
        None => {}
    }
}
