//! One load test against a host that serves: legs of load, a reading a second, and the wait until all is done.

use super::{
    DRAIN, Scenario,
    generator::{Mix, generate},
    recorder::{Recorder, Taken, Tally, Times, times},
    sample::{Event, Reading, Sample, millis},
    scenario::Rate,
    schedule::Schedule,
    search::Search,
    slope::Slope,
    verdict::share,
};
use crate::{
    figures::happened,
    operator::Operator,
    runtime::{cpu, rss},
    status::Status,
};
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Told of each sample as it comes.
pub type Watch<'a> = &'a mut dyn FnMut(&Sample);

/// How often it is looked whether a leg has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long an answer is waited for: so long that a slow one is measured, and not given up.
const WITHIN: Duration = Duration::from_secs(60);
/// Between samples.
const SECOND: Duration = Duration::from_secs(1);
/// A shorter time says nothing of rates.
const SHORT: Duration = Duration::from_millis(300);
/// How many readings memory is judged by, at most and about.
const READINGS: u32 = 1000;
/// Memory is read no more often.
const READ: Duration = Duration::from_millis(100);

/// A stretch of load, and what came of it.
pub struct Leg {
    /// Messages that its schedule has.
    pub scheduled: u64,
    /// How its messages ended.
    pub tally: Tally,
    /// From the intended send until handled.
    pub latencies: Times,
    /// From the intended send until sent.
    pub late: Times,
    /// How long after the last message all was done; none if it was not.
    pub drained: Option<Duration>,
    /// How long messages were sent.
    pub took: Duration,
    /// CPU time of the process meanwhile, of which the generator took its part.
    pub cpu: Duration,
    /// The generator's part.
    pub generator_cpu: Duration,
}

impl Leg {
    fn of(schedule: &Schedule) -> Leg {
        Leg {
            scheduled: schedule.total(),
            tally: Tally::default(),
            latencies: times(),
            late: times(),
            drained: None,
            took: Duration::ZERO,
            cpu: Duration::ZERO,
            generator_cpu: Duration::ZERO,
        }
    }
}

/// One trial of the search for the highest rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Messages a second.
    pub rate: u64,
    /// Whether they were handled, fast enough.
    pub held: bool,
    /// What 99% did not exceed, in milliseconds.
    pub p99_ms: f64,
    /// Percent of the schedule that the generator offered.
    pub offered: f64,
    /// Percent of those that were handled.
    pub handled: f64,
}

/// A load test under way.
pub struct Conductor<'a> {
    operator: &'a dyn Operator,
    mix: &'a Mix,
    recorder: Arc<Recorder>,
    stop: &'a AtomicBool,
    begun: Instant,
    last: Reading,
    /// Used again each second.
    taken: Taken,
    /// Once a second.
    pub samples: Vec<Sample>,
    /// What happened to subsystems.
    pub events: Vec<Event>,
    /// What was tried in search of the highest rate.
    pub trials: Vec<Trial>,
    /// Resident memory against time, in bytes and seconds, since the warm-up.
    memory: Slope,
    read_every: Duration,
    /// When memory is read next.
    read_next: Duration,
}

impl<'a> Conductor<'a> {
    /// A test of this scenario, which begins now and ends early when `stop` is raised.
    pub fn new(
        operator: &'a dyn Operator,
        mix: &'a Mix,
        scenario: &Scenario,
        stop: &'a AtomicBool,
    ) -> Conductor<'a> {
        let status = operator.status();
        // In memory from the start, since that is measured.
        let mut samples = vec![Sample::default(); scenario.for_.as_secs() as usize + 60];
        samples.clear();
        Conductor {
            operator,
            mix,
            recorder: Arc::new(Recorder::new(mix.kinds.len())),
            stop,
            begun: Instant::now(),
            last: Reading {
                at_s: 0.0,
                cpu_s: cpu().as_secs_f64(),
                status,
                tally: Tally::default(),
            },
            taken: Taken::default(),
            samples,
            events: Vec::new(),
            trials: Vec::new(),
            memory: Slope::default(),
            read_every: (scenario.for_ / READINGS).max(READ),
            read_next: scenario.warm_up,
        }
    }

    /// How messages ended so far, by kind.
    pub fn tallies(&self) -> Vec<Tally> {
        self.recorder.tallies()
    }

    /// The whole test; the leg whose figures count, and the highest rate, where that was searched for and found.
    pub fn conduct(&mut self, scenario: &Scenario, watch: Watch<'_>) -> (Leg, Option<u64>) {
        match (&scenario.rate, Schedule::of(&scenario.rate, scenario.for_)) {
            (Rate::Max(limit), _) => self.search(*limit, scenario.for_, watch),
            (_, Some(schedule)) => (self.leg(schedule, watch), None),
            (_, None) => unreachable!("only the highest rate has no schedule"),
        }
    }

    fn search(&mut self, limit: Duration, whole: Duration, watch: Watch<'_>) -> (Leg, Option<u64>) {
        let each = whole / Search::TRIALS;
        let (mut search, mut best, mut last) = (Search::new(), None, None);
        while let Some(rate) = search.next() {
            let leg = self.leg(Schedule::new(&[rate], each), watch);
            let mut trial = trial(rate, &leg, limit);
            // One that was cut short tells nothing.
            trial.held &= !self.is_stopped();
            search.tell(rate, trial.held);
            match trial.held {
                true => best = Some((leg, Some(rate))),
                false => last = Some((leg, None)),
            }
            self.trials.push(trial);
            if self.is_stopped() {
                break;
            }
        }
        best.or(last).expect("a search tries something")
    }

    /// Whether the test is to end early.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends what a schedule has, and waits until all is done.
    fn leg(&mut self, schedule: Schedule, watch: Watch<'_>) -> Leg {
        let mut leg = Leg::of(&schedule);
        let (before, cpu_before, begin) = (self.recorder.total(), cpu(), Instant::now());
        let (operator, mix, stop) = (self.operator, self.mix, self.stop);
        let recorder = Arc::clone(&self.recorder);
        thread::scope(|scope| {
            let generator =
                thread::Builder::new().name("mycelia-load".into()).spawn_scoped(scope, move || {
                    let ask = |path: &str, body: &[u8], done| {
                        operator.ask(path, body, Some(WITHIN), done)
                    };
                    generate(ask, mix, schedule, begin, &recorder, stop)
                });
            let generator = generator.expect("the system starts a thread");
            while !generator.is_finished() {
                thread::sleep(LOOK);
                self.look(&mut leg, watch);
            }
            leg.took = begin.elapsed();
            leg.cpu = cpu() - cpu_before;
            leg.generator_cpu = generator.join().expect("the generator does not panic");
        });
        leg.drained = self.drain(&mut leg, watch);
        self.sample(&mut leg, watch);
        leg.tally = difference(&self.recorder.total(), &before);
        if self.is_stopped() {
            leg.scheduled = leg.tally.offered;
        }
        leg
    }

    /// Waits until nothing waits and every request is answered; how long that took.
    fn drain(&mut self, leg: &mut Leg, watch: Watch<'_>) -> Option<Duration> {
        let begin = Instant::now();
        loop {
            let total = self.recorder.total();
            let status = self.operator.status();
            let waits = |status: &Status| status.subsystems.values().any(|one| one.queue.depth > 0);
            if total.ended() == total.offered && !waits(&status) {
                return Some(begin.elapsed());
            }
            if begin.elapsed() >= DRAIN {
                return None;
            }
            thread::sleep(LOOK);
            self.look(leg, watch);
        }
    }

    /// Reads what is due.
    fn look(&mut self, leg: &mut Leg, watch: Watch<'_>) {
        let at = self.begun.elapsed();
        if at >= self.read_next {
            self.read_next = at + self.read_every;
            self.memory.add(at.as_secs_f64(), rss() as f64);
        }
        if at.as_secs_f64() >= self.last.at_s + SECOND.as_secs_f64() {
            self.sample(leg, watch);
        }
    }

    fn sample(&mut self, leg: &mut Leg, watch: Watch<'_>) {
        self.recorder.take(&mut self.taken);
        let reading = Reading {
            at_s: self.begun.elapsed().as_secs_f64(),
            cpu_s: cpu().as_secs_f64(),
            status: self.operator.status(),
            tally: self.recorder.total(),
        };
        leg.latencies.add(&self.taken.latencies).expect("both have the same bounds");
        leg.late.add(&self.taken.late).expect("both have the same bounds");
        let is_short = reading.at_s < self.last.at_s + SHORT.as_secs_f64();
        if is_short && !self.samples.is_empty() {
            return;
        }
        let sample = reading.since(&self.last, &self.taken);
        let happened = happened(&self.last.status, &reading.status);
        let at_s = reading.at_s;
        self.events.extend(happened.into_iter().map(|happened| Event { at_s, happened }));
        watch(&sample);
        self.samples.push(sample);
        self.last = reading;
    }

    /// Growth of resident memory, in MB an hour: what it is between.
    pub fn growth(&self) -> Option<(f64, f64)> {
        let scale = 3600.0 / 1e6;
        self.memory.interval().map(|(low, high)| (low * scale, high * scale))
    }
}

fn trial(rate: u64, leg: &Leg, limit: Duration) -> Trial {
    let p99_ms = millis(leg.latencies.value_at_quantile(0.99));
    let offered = share(leg.tally.offered, leg.scheduled);
    let handled = share(leg.tally.handled, leg.tally.offered);
    let is_fast = p99_ms <= limit.as_secs_f64() * 1e3;
    let held = is_fast && offered >= 99.0 && handled >= 99.0 && leg.drained.is_some();
    Trial { rate, held, p99_ms, offered, handled }
}

fn difference(now: &Tally, before: &Tally) -> Tally {
    let errors = now
        .errors
        .iter()
        .map(|(code, count)| (*code, count - before.errors.get(code).copied().unwrap_or(0)));
    Tally {
        offered: now.offered - before.offered,
        handled: now.handled - before.handled,
        rejected: now.rejected - before.rejected,
        dropped: now.dropped - before.dropped,
        errors: errors.filter(|(_, count)| *count > 0).collect(),
    }
}
