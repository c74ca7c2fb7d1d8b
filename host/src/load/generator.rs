//! Sends messages at their intended times, on a thread of its own, and waits for no answer.
//!
//! Each is a request of the operator, so it takes the way of any message: path, permission, queue, worker, handler, and
//! an answer that says when it was handled. A message that is late is sent all the same, at once, and counts from its time.

use super::{
    recorder::Recorder,
    scenario::{Planned, order},
    schedule::Schedule,
};
use crate::operator::Done;
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How late the last message may be sent after the end of the schedule.
const GRACE: Duration = Duration::from_millis(100);
/// How often a generator that waits looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// The messages, in the order in which they come over and over.
pub struct Mix {
    /// Every kind.
    pub kinds: Vec<Planned>,
    order: Vec<u16>,
    /// Whether the path of a kind has a number in it.
    numbered: Vec<bool>,
}

/// Stands for the message's number in a path.
const NUMBER: &str = "{n}";

impl Mix {
    /// A mix by weight.
    pub fn new(kinds: Vec<Planned>) -> Mix {
        let weights: Vec<u32> = kinds.iter().map(|kind| kind.weight).collect();
        let numbered = kinds.iter().map(|kind| kind.path.contains(NUMBER)).collect();
        Mix { order: order(&weights), kinds, numbered }
    }

    /// The path of a kind, for the message of this number.
    pub fn path(&self, kind: u16, number: u64) -> std::borrow::Cow<'_, str> {
        let path = &self.kinds[usize::from(kind)].path;
        match self.numbered[usize::from(kind)] {
            true => path.replace(NUMBER, &number.to_string()).into(),
            false => path.into(),
        }
    }
}

/// Asks what the schedule has, from `begin` on, until it ends or `stop` is raised; answers with the CPU time that it took.
pub fn generate(
    ask: impl Fn(&str, &[u8], Done),
    mix: &Mix,
    schedule: Schedule,
    begin: Instant,
    recorder: &Arc<Recorder>,
    stop: &AtomicBool,
) -> Duration {
    let end = begin + schedule.length() + GRACE;
    for (number, due) in (0..).zip(schedule) {
        let due = begin + Duration::from_nanos(due);
        if !wait_until(due, stop) {
            break;
        }
        let now = Instant::now();
        if now > end {
            break;
        }
        let kind = mix.order[(number % mix.order.len() as u64) as usize];
        recorder.offer(kind, (now - due).as_nanos() as u64);
        let recorder = Arc::clone(recorder);
        let done = move |told: Result<_, _>| {
            recorder.end(kind, due.elapsed().as_nanos() as u64, &told);
        };
        ask(&mix.path(kind, number), &mix.kinds[usize::from(kind)].body, Box::new(done));
    }
    let took = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(took.tv_sec as u64, took.tv_nsec as u32)
}

/// Waits until then; answers whether one is to go on.
fn wait_until(due: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(LOOK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::Taken;
    use crate::operator::OperatorReply;
    use std::cell::RefCell;

    fn kinds() -> Vec<Planned> {
        let kind = |path: &str, weight| Planned { path: path.into(), body: Vec::new(), weight };
        vec![kind("kv://put/{n}", 2), kind("kv://keys", 1)]
    }

    /// Sends 200 messages in 200 ms by this, and answers with the recorder.
    fn send(ask: impl Fn(&str, &[u8], Done)) -> Arc<Recorder> {
        let (mix, recorder) = (Mix::new(kinds()), Arc::new(Recorder::new(2)));
        let schedule = Schedule::new(&[1000], Duration::from_millis(200));
        generate(ask, &mix, schedule, Instant::now(), &recorder, &AtomicBool::new(false));
        recorder
    }

    fn answer(done: Done) {
        done(Ok(OperatorReply { body: Vec::new(), is_json: false }));
    }

    #[test]
    fn a_host_that_stands_still_shows_in_every_message_of_that_time() {
        let stood = RefCell::new(false);
        let recorder = send(|_, _, done| {
            if !stood.replace(true) {
                thread::sleep(Duration::from_millis(100));
            }
            answer(done);
        });
        // Those due in the first 50 of the 100 ms took 50 ms or more, however fast the machine is.
        let mut taken = Taken::default();
        recorder.take(&mut taken);
        let slow =
            taken.latencies.iter_recorded().filter(|value| value.value_iterated_to() >= 49_000_000);
        let slow: u64 = slow.map(|value| value.count_at_value()).sum();
        assert!(slow >= 50, "{slow} of {} are slow", taken.latencies.len());
    }

    #[test]
    fn kinds_and_numbers_alternate() {
        let paths = RefCell::new(Vec::new());
        send(|path, _, done| {
            paths.borrow_mut().push(path.to_owned());
            answer(done);
        });
        assert_eq!(paths.borrow()[..4], ["kv://put/0", "kv://keys", "kv://put/2", "kv://put/3"]);
    }
}
