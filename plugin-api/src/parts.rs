//! An answer in parts as a thread of a plugin's own takes it.

use crate::{
    Answer, Result, Sender,
    abi::flags,
    message::outcome_error,
    sender::{Waiter, lock},
};
use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

/// The parts of an answer, in order; see [`OutsideAsk::parts`](crate::OutsideAsk::parts).
///
/// As an iterator it blocks until the next one; [`Parts::poll_part`] never does. It ends after the last part or after an
/// error, and takes parts from the host as it goes, so that whoever writes them is held back by whoever reads them here.
/// Dropped before its end, it cancels the request.
#[must_use = "the request is cancelled when this is dropped"]
pub struct Parts {
    sender: Sender,
    token: u64,
    request: u64,
    waiter: Arc<Waiter>,
    /// Taken from the host, and not yet given out.
    came: VecDeque<Result<Answer>>,
    is_over: bool,
    is_whole: bool,
}

impl Parts {
    pub(crate) fn new(sender: Sender, token: u64, request: u64, waiter: Arc<Waiter>) -> Self {
        let came = VecDeque::new();
        Parts { sender, token, request, waiter, came, is_over: false, is_whole: false }
    }

    /// Whether the answer came whole, as that of a handler without a [`StreamWriter`](crate::StreamWriter): it is the one part that there is.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The next part, without waiting for it; `None` behind the last one.
    ///
    /// # Errors
    /// What the answer ended with.
    pub fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Answer>>> {
        loop {
            if let Some(part) = self.came.pop_front() {
                return Poll::Ready(Some(part));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            let mut state = lock(&self.waiter.state);
            if !state.has_come() {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            drop(state);
            self.take();
        }
    }

    /// Takes what has come.
    fn take(&mut self) {
        let mut state = lock(&self.waiter.state);
        state.has_parts = false;
        let answer = state.answer.take();
        drop(state);
        match answer {
            Some(Ok(answer)) if answer.is_end() => self.is_over = true,
            Some(answer) => {
                (self.is_over, self.is_whole) = (true, answer.is_ok());
                self.came.push_back(answer);
            }
            None => self.take_parts(),
        }
    }

    fn take_parts(&mut self) {
        let Parts { sender, request, came, is_over, .. } = self;
        sender.link().parts(*request, |_, outcome, content| {
            *is_over |= outcome.flags & flags::PART == 0;
            if outcome.flags & flags::END == 0 {
                came.push_back(
                    outcome_error(outcome, content).map(|body| Answer::new(body, outcome.flags)),
                );
            }
        });
    }
}

impl Iterator for Parts {
    type Item = Result<Answer>;

    fn next(&mut self) -> Option<Result<Answer>> {
        loop {
            if let Some(part) = self.came.pop_front() {
                return Some(part);
            }
            if self.is_over {
                return None;
            }
            let state = lock(&self.waiter.state);
            let came = self.waiter.done.wait_while(state, |state| !state.has_come());
            drop(came.unwrap_or_else(PoisonError::into_inner));
            self.take();
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.sender.forget(self.token);
        if !self.is_over {
            self.sender.link().cancel(self.request);
        }
    }
}
