//! The thread that enters plugins for their lifecycle calls, so that one that hangs there holds up nobody.

use super::{Desk, Runtime, generation::Generation, lifecycle::Caretaker, lost};
use std::{
    mem,
    sync::{
        Arc, Condvar, Mutex, PoisonError, Weak,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

pub type Call = Box<dyn FnOnce(&mut Seat) + Send>;

/// The way to the thread; `None` until it is needed, and after it was given up.
pub type Attendant = Mutex<Option<Sender<Call>>>;

/// What the thread has of its own.
pub struct Seat {
    desk: Desk,
    /// Whose thread-local variables may lie on this thread.
    entered: Vec<Weak<Generation>>,
}

impl Seat {
    fn enter(&mut self, generation: &Arc<Generation>) {
        self.entered.retain(|known| known.strong_count() > 0);
        let entering = Arc::downgrade(generation);
        if !self.entered.iter().any(|known| known.ptr_eq(&entering)) {
            self.entered.push(entering);
        }
    }
}

/// A call on its way: the one who waits and the thread agree here on who has the result.
struct Ticket<T> {
    state: Mutex<TicketState<T>>,
    done: Condvar,
}

enum TicketState<T> {
    Waiting,
    Done(T),
    /// The thread never comes back, and why.
    Lost(String),
    /// Nobody waits any more.
    Abandoned,
}

impl<T> Ticket<T> {
    /// Hands the result over; it comes back if nobody waits any more.
    fn finish(&self, result: T) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let TicketState::Abandoned = *state {
            return Some(result);
        }
        *state = TicketState::Done(result);
        self.done.notify_one();
        None
    }

    fn lose(&self, why: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let TicketState::Waiting = *state {
            *state = TicketState::Lost(why);
            self.done.notify_one();
        }
    }

    /// Waits for the result, for as long as `limit`; else why there is none.
    fn wait(&self, limit: Duration) -> Result<T, String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut TicketState<T>| matches!(state, TicketState::Waiting);
        let waited = self.done.wait_timeout_while(state, limit, waits);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match mem::replace(&mut *state, TicketState::Abandoned) {
            TicketState::Done(result) => Ok(result),
            TicketState::Lost(why) => Err(why),
            _ => Err(format!("has not returned within {limit:?}, its `handler_limit`")),
        }
    }
}

impl Runtime {
    /// Runs a call into a plugin on the thread for that, and waits for it as long as `limit`.
    ///
    /// When it has not returned by then, the thread is left to it, another one takes its place, and the result goes to
    /// `late` when it comes; so it is at once when the call ends the thread. The error says which.
    pub(super) fn attend<T: Send + 'static>(
        &'static self,
        generation: Option<&Arc<Generation>>,
        limit: Duration,
        work: impl FnOnce(&mut Desk) -> T + Send + 'static,
        late: impl FnOnce(&mut Caretaker, T) + Send + 'static,
    ) -> Result<T, String> {
        self.lifecycle.step();
        let ticket =
            Arc::new(Ticket { state: Mutex::new(TicketState::Waiting), done: Condvar::new() });
        let (theirs, generation) = (Arc::clone(&ticket), generation.cloned());
        self.hand_in(Box::new(move |seat| {
            if let Some(generation) = &generation {
                seat.enter(generation);
            }
            let ticket = Arc::clone(&theirs);
            let lose = move |why| {
                generation.iter().for_each(|generation| generation.lose_thread());
                ticket.lose(why);
            };
            let result = lost::in_call(lose, || work(&mut seat.desk));
            if let Some(result) = theirs.finish(result) {
                self.lifecycle.late(Box::new(move |caretaker| late(caretaker, result)));
            }
        }));
        let result = ticket.wait(limit);
        if result.is_err() {
            *self.attendant() = None;
        }
        result
    }

    fn attendant(&self) -> std::sync::MutexGuard<'_, Option<Sender<Call>>> {
        self.attendant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_in(&'static self, call: Call) {
        let calls = self.attendant().get_or_insert_with(|| self.start_attendant()).clone();
        calls.send(call).expect("the thread lives as long as someone may call");
    }

    fn start_attendant(&'static self) -> Sender<Call> {
        let (calls, inbox) = channel();
        let name = "mycelia-lifecycle".to_owned();
        let started = thread::Builder::new().name(name).spawn(move || self.attend_calls(&inbox));
        started.expect("the system has a thread for lifecycle calls");
        calls
    }

    fn attend_calls(&'static self, inbox: &Receiver<Call>) {
        let mut seat = Seat { desk: Desk::new(self, 1), entered: Vec::new() };
        while let Ok(call) = inbox.recv() {
            call(&mut seat);
        }
        // A thread that was given up and has come back: what it left in the libraries would keep them.
        for generation in seat.entered.iter().filter_map(Weak::upgrade) {
            generation.library.detach_thread();
        }
    }
}
