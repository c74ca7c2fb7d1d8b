//! Where threads wait that are not the host's: plugins' own threads, for outcomes and for room in a queue.

use crate::abi::Message;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

/// An outcome and the token of its request.
type Completion = (u64, Message);

/// Outcomes for a plugin's own threads, by the instance that asked.
#[derive(Default)]
pub struct Completions {
    open: Mutex<HashMap<u32, VecDeque<Completion>>>,
    came: Condvar,
}

impl Completions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, VecDeque<Completion>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on outcomes for this instance are taken; one that was open stays as it is.
    pub fn open(&self, incarnation: u32) {
        self.lock().entry(incarnation).or_default();
    }

    /// Takes no more of them; what waited comes back.
    pub fn close(&self, incarnation: u32) -> Vec<Message> {
        let waiting = self.lock().remove(&incarnation);
        self.came.notify_all();
        waiting.into_iter().flatten().map(|(_, outcome)| outcome).collect()
    }

    /// Adds an outcome, which comes back if its instance takes no more.
    pub fn push(&self, incarnation: u32, token: u64, outcome: Message) -> Result<(), Message> {
        let mut open = self.lock();
        let Some(waiting) = open.get_mut(&incarnation) else { return Err(outcome) };
        waiting.push_back((token, outcome));
        self.came.notify_all();
        Ok(())
    }

    /// Waits for outcomes; `None` when the instance takes no more.
    pub fn take(&self, incarnation: u32) -> Option<VecDeque<Completion>> {
        let mut open = self.lock();
        loop {
            let waiting = open.get_mut(&incarnation)?;
            if !waiting.is_empty() {
                return Some(std::mem::take(waiting));
            }
            open = self.came.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Where outside senders wait for room in a queue that blocks.
#[derive(Default)]
pub struct Room {
    waiters: AtomicU32,
    lock: Mutex<()>,
    freed: Condvar,
}

impl Room {
    /// Tries until `until`; whether it worked in time.
    pub fn wait<T>(&self, until: Instant, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        // SeqCst: pairs with `freed`, so that either the waiter finds the room or the holder finds the waiter.
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let result = loop {
            if let Some(done) = attempt() {
                break Some(done);
            }
            let Some(left) =
                until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                break None;
            };
            guard = self.freed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(guard);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Tells those who wait that messages were claimed.
    #[inline]
    pub fn freed(&self) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        // Locked, so that a waiter is either before its attempt or in its wait.
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.freed.notify_all();
    }
}
