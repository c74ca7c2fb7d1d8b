//! Whether the threads that everything depends on still go on, judged by what they note anyway.
//!
//! It looks at nothing and at no clock: the watchdog hands in what it sees, and how much of the time counts.
//!
//! A worker that handles a message goes on: `handler_limit` is for that one. Any other is to give a sign: once a second
//! the roll is called by the errands, which a worker looks at each time it comes back for work, and in a turn that does
//! not end it gives one with each batch that is timed. So a message pays nothing for it.

use std::time::Duration;

/// How long a worker may give no sign; between two messages it needs microseconds.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How often the roll is called.
const CALL: Duration = Duration::from_secs(1);

/// What is seen of a worker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It handles a message.
    Handles,
    /// It does not, and has given so many signs.
    Beats(u32),
    /// Its thread was lost, and no other has come yet.
    Gone,
}

/// What is known of all of them.
pub struct Pulse {
    workers: Vec<Silence<Sign>>,
    lifecycle: Silence<u64>,
    /// How long one step of the lifecycle thread may take.
    step: Duration,
    since_call: Duration,
}

/// The last sign, and for how long it has been the same.
struct Silence<T> {
    last: Option<T>,
    for_: Duration,
}

impl<T: PartialEq> Silence<T> {
    const NONE: Silence<T> = Silence { last: None, for_: Duration::ZERO };

    /// Notes a sign; none where none is expected.
    fn note(&mut self, sign: Option<T>, passed: Duration) {
        let is_same = sign.is_some() && sign == self.last;
        self.for_ = if is_same { self.for_ + passed } else { Duration::ZERO };
        self.last = sign;
    }
}

impl Pulse {
    /// For so many workers, and handlers of at most this limit.
    pub fn new(workers: usize, limit: Duration) -> Pulse {
        Pulse {
            workers: (0..workers).map(|_| Silence::NONE).collect(),
            lifecycle: Silence::NONE,
            // From one call of a plugin to the next it waits for a batch and for threads, and tries or reads a library.
            step: 2 * limit + PATIENCE,
            since_call: CALL,
        }
    }

    /// Whether the roll is to be called, after so much time has passed.
    pub fn is_call_due(&mut self, passed: Duration) -> bool {
        self.since_call += passed;
        let is_due = self.since_call >= CALL;
        if is_due {
            self.since_call = Duration::ZERO;
        }
        is_due
    }

    /// Notes what is seen of a worker.
    pub fn note_worker(&mut self, worker: u16, sign: Sign, passed: Duration) {
        let expected = (sign != Sign::Handles).then_some(sign);
        self.workers[usize::from(worker)].note(expected, passed);
    }

    /// Notes the step that the lifecycle thread is at; none while it waits for something to do.
    pub fn note_lifecycle(&mut self, step: Option<u64>, passed: Duration) {
        self.lifecycle.note(step, passed);
    }

    /// Who does not go on any more; nobody, as it should be.
    pub fn stuck(&self) -> Option<String> {
        let workers = (0..).zip(&self.workers).filter(|(_, silence)| silence.for_ >= PATIENCE);
        let workers = workers.map(|(number, silence): (u16, _)| match silence.last {
            Some(Sign::Gone) => format!("worker {number} has no thread"),
            _ => format!(
                "worker {number} has neither handled a message nor come back for one for {PATIENCE:?}"
            ),
        });
        let lifecycle = (self.lifecycle.for_ >= self.step)
            .then(|| format!("the lifecycle thread has been at one step for {:?}", self.step));
        let all: Vec<String> = workers.chain(lifecycle).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(100);

    /// One worker that shows `sign` at each of 30 s of looks; what is said in the end.
    fn after(sign: impl Fn(u32) -> Sign) -> Option<String> {
        let mut pulse = Pulse::new(2, Duration::from_secs(5));
        for look in 0..300 {
            pulse.note_worker(0, Sign::Beats(look), LOOK);
            pulse.note_worker(1, sign(look), LOOK);
        }
        pulse.stuck()
    }

    #[test]
    fn a_worker_that_shows_anything_goes_on() {
        assert_eq!(after(|_| Sign::Handles), None, "its limit is for that");
        assert_eq!(after(Sign::Beats), None);
        assert_eq!(after(|look| Sign::Beats(look / 90)), None, "every 9 s");
        assert_eq!(after(|look| if look % 90 == 0 { Sign::Handles } else { Sign::Beats(7) }), None);
        assert_eq!(after(|look| if look < 250 { Sign::Gone } else { Sign::Beats(0) }), None);
    }

    #[test]
    fn a_worker_that_shows_nothing_is_named() {
        let silent = after(|_| Sign::Beats(7)).unwrap();
        assert!(silent.starts_with("worker 1 has neither handled a message"), "{silent}");
        assert_eq!(after(|_| Sign::Gone).unwrap(), "worker 1 has no thread");
    }

    /// Each look after a pause counts as two at most, and by then everybody has had a turn.
    #[test]
    fn a_pause_of_the_process_is_nobodys_silence() {
        let mut pulse = Pulse::new(1, Duration::from_secs(5));
        for pauses in 0..1000 {
            pulse.note_worker(0, Sign::Beats(pauses), 2 * LOOK);
            pulse.note_worker(0, Sign::Beats(pauses), 2 * LOOK);
        }
        assert_eq!(pulse.stuck(), None);
    }

    #[test]
    fn the_lifecycle_thread_has_time_for_a_step_and_no_more() {
        let steps = |longest: u64| {
            let mut pulse = Pulse::new(0, Duration::from_secs(5));
            for look in 0..1000 {
                pulse.note_lifecycle(Some(look / longest), LOOK);
            }
            pulse.stuck()
        };
        assert_eq!(steps(199), None);
        assert_eq!(steps(1000).unwrap(), "the lifecycle thread has been at one step for 20s");
        let mut pulse = Pulse::new(0, Duration::from_secs(5));
        (0..1000).for_each(|_| pulse.note_lifecycle(None, LOOK));
        assert_eq!(pulse.stuck(), None, "it waits for something to do");
    }

    #[test]
    fn the_roll_is_called_once_a_second() {
        let mut pulse = Pulse::new(0, Duration::from_secs(5));
        let calls = (0..100).filter(|_| pulse.is_call_due(LOOK)).count();
        assert_eq!(calls, 10);
    }
}
