//! What is watched: how a host fares between two readings, as `GET /figures` streams it to the dashboard and to `mycelia top`.
//!
//! Only differences and percentiles are made here; whatever is counted stands in the [`Status`] that each look carries.

use crate::{
    readings::{Readings, SubsystemReadings, Times},
    status::{Phase, Status, SubsystemStatus},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How far back percentiles look, so that they are of more than a handful of samples.
const WINDOW: Duration = Duration::from_secs(10);

/// One look at a host, and what has come since the look before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The time that rates are of, in seconds; 0 for a first look, which has none.
    pub interval_s: f64,
    /// Whether every required subsystem runs and the host does not stop.
    pub ready: bool,
    /// Cores that the process used.
    pub cpu: f64,
    /// Bytes that the pool may lend.
    pub pool_bytes: u64,
    /// Bytes of it that are lent.
    pub pool_used_bytes: u64,
    /// Of all subsystems together.
    pub total: Flow,
    /// Of each, by name.
    pub subsystems: BTreeMap<String, Flow>,
    /// What has happened to them.
    pub events: Vec<Happened>,
    /// The host as `mycelia status` tells it.
    pub status: Status,
}

/// What goes through a queue: rates a second, and percentiles of the last seconds.
#[derive(Copy, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Messages accepted.
    pub accepted: f64,
    /// Messages handled.
    pub handled: f64,
    /// Messages that failed, expired or died.
    pub errors: f64,
    /// Messages that a full queue dropped.
    pub dropped: f64,
    /// Messages that were given back: the queue was full, or a scope was missing.
    pub refused: f64,
    /// From a send until the message was in the queue.
    pub routing: Option<Percentiles>,
    /// In the queue.
    pub wait: Option<Percentiles>,
    /// In the handler.
    pub handle: Option<Percentiles>,
}

/// Percentiles of times in nanoseconds, each by at most a quarter too high.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
}

impl Percentiles {
    /// Those of these times; none of none.
    pub fn of(times: &Times) -> Option<Percentiles> {
        let at = |share| times.quantile(share);
        Some(Percentiles { p50: at(0.5)?, p95: at(0.95)?, p99: at(0.99)? })
    }
}

/// Something that happened to a subsystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// To whom.
    pub subsystem: String,
    /// What.
    pub what: String,
}

/// The last looks at a host, from which the next one is made.
#[derive(Debug, Default)]
pub struct Watch {
    looks: VecDeque<Look>,
}

#[derive(Debug)]
struct Look {
    at: Duration,
    readings: Readings,
}

impl Watch {
    /// Forgets the looks so far: nobody has watched since, and rates over that time would tell of no moment.
    pub fn pause(&mut self) {
        self.looks.clear();
    }

    /// The figures of these readings; `at` is a time that only goes on, and `time_ms` the time of day.
    pub fn figures(
        &mut self,
        readings: Readings,
        ready: bool,
        at: Duration,
        time_ms: u64,
    ) -> Figures {
        while self.looks.len() > 1 && self.looks[1].at + WINDOW <= at {
            self.looks.pop_front();
        }
        let since = self.looks.back();
        let seconds = since.map_or(0.0, |look| at.saturating_sub(look.at).as_secs_f64());
        // A first look has nothing before it: it is compared with itself, so that all of its rates are 0.
        let before = since.map_or(&readings, |look| &look.readings);
        let window = self.looks.front().map_or(&readings, |look| &look.readings);
        let figures = Figures {
            time_ms,
            interval_s: seconds,
            ready,
            cpu: rate(readings.cpu.saturating_sub(before.cpu).as_secs_f64(), 0.0, seconds),
            pool_bytes: readings.pool_bytes,
            pool_used_bytes: readings.pool_used_bytes,
            total: total(&readings, before, window, seconds),
            subsystems: flows(&readings, before, window, seconds),
            events: happened(&before.status, &readings.status),
            status: readings.status.clone(),
        };
        self.looks.push_back(Look { at, readings });
        figures
    }
}

fn flows(
    now: &Readings,
    before: &Readings,
    window: &Readings,
    seconds: f64,
) -> BTreeMap<String, Flow> {
    let none = (SubsystemStatus::default(), SubsystemReadings::default());
    let of = |(name, one): (&String, &SubsystemStatus)| {
        let was = before.status.subsystems.get(name).unwrap_or(&none.0);
        let readings = |from: &Readings| from.subsystems.get(name).cloned().unwrap_or_default();
        let flow = flow(Sums::of([one]), Sums::of([was]), seconds);
        (name.clone(), flow.timed(&readings(now), &readings(window)))
    };
    now.status.subsystems.iter().map(of).collect()
}

fn total(now: &Readings, before: &Readings, window: &Readings, seconds: f64) -> Flow {
    let sums = |readings: &Readings| Sums::of(readings.status.subsystems.values());
    let times = |readings: &Readings| {
        let mut all = SubsystemReadings::default();
        for one in readings.subsystems.values() {
            all.routing = all.routing.and(&one.routing);
            all.wait = all.wait.and(&one.wait);
            all.handle = all.handle.and(&one.handle);
        }
        all
    };
    flow(sums(now), sums(before), seconds).timed(&times(now), &times(window))
}

/// The counts that rates are made of.
#[derive(Default)]
struct Sums {
    accepted: u64,
    handled: u64,
    errors: u64,
    dropped: u64,
    refused: u64,
}

impl Sums {
    fn of<'s>(all: impl IntoIterator<Item = &'s SubsystemStatus>) -> Sums {
        all.into_iter().fold(Sums::default(), |sums, one| {
            let ledger = &one.ledger;
            Sums {
                accepted: sums.accepted + ledger.accepted,
                handled: sums.handled + ledger.handled,
                errors: sums.errors + ledger.failed + ledger.expired + ledger.dead,
                dropped: sums.dropped + ledger.dropped_oldest + ledger.dropped_newest,
                refused: sums.refused + ledger.rejected + ledger.denied,
            }
        })
    }
}

fn flow(now: Sums, before: Sums, seconds: f64) -> Flow {
    let rate = |now: u64, before: u64| rate(now as f64, before as f64, seconds);
    Flow {
        accepted: rate(now.accepted, before.accepted),
        handled: rate(now.handled, before.handled),
        errors: rate(now.errors, before.errors),
        dropped: rate(now.dropped, before.dropped),
        refused: rate(now.refused, before.refused),
        ..Flow::default()
    }
}

impl Flow {
    fn timed(self, now: &SubsystemReadings, window: &SubsystemReadings) -> Flow {
        Flow {
            routing: Percentiles::of(&now.routing.since(&window.routing)),
            wait: Percentiles::of(&now.wait.since(&window.wait)),
            handle: Percentiles::of(&now.handle.since(&window.handle)),
            ..self
        }
    }
}

fn rate(now: f64, before: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { (now - before).max(0.0) / seconds } else { 0.0 }
}

/// What happened to the subsystems between two statuses.
pub fn happened(before: &Status, now: &Status) -> Vec<Happened> {
    let pairs = now
        .subsystems
        .iter()
        .filter_map(|(name, one)| before.subsystems.get(name).map(|before| (name, before, one)));
    pairs
        .flat_map(|(name, before, one)| {
            let happened = changes(before, one).into_iter();
            happened.map(|what| Happened { subsystem: name.clone(), what })
        })
        .collect()
}

fn changes(before: &SubsystemStatus, now: &SubsystemStatus) -> Vec<String> {
    let mut changes = Vec::new();
    if now.reloads.committed > before.reloads.committed {
        changes.push(format!("reloaded: generation {}", now.generation));
    }
    if now.phase != before.phase && now.phase != Phase::Running {
        changes.push(now.phase.word().to_owned());
    }
    if is_restarted_on_request(before, now) {
        changes.push("restarted on request".to_owned());
    }
    for (count, was, what) in [
        (now.reloads.refused, before.reloads.refused, "a reload was refused"),
        (now.reloads.rolled_back, before.reloads.rolled_back, "a reload was rolled back"),
        (now.restarts, before.restarts, "restarted"),
        (now.hung, before.hung, "a handler hung"),
    ] {
        if count > was {
            changes.push(what.to_owned());
        }
    }
    changes
}

/// Whether another instance serves that no fault and no reload has brought.
fn is_restarted_on_request(before: &SubsystemStatus, now: &SubsystemStatus) -> bool {
    let is_another = now.incarnation != before.incarnation && now.incarnation != 0;
    // After a fault it is counted before the next instance is there, which may be some looks later.
    let has_served = before.incarnation != 0 || before.phase == Phase::Stopped;
    is_another && has_served && now.restarts == before.restarts && now.reloads == before.reloads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        readings::bucket,
        status::{LedgerStatus, ReloadsStatus},
    };

    fn readings(handled: u64, failed: u64, waits: &[u64]) -> Readings {
        let accepted = handled + failed;
        let ledger = LedgerStatus { accepted, handled, failed, ..LedgerStatus::default() };
        let one = SubsystemStatus { phase: Phase::Running, ledger, ..SubsystemStatus::default() };
        let mut measured = SubsystemReadings::default();
        for wait in waits {
            measured.wait.counts[bucket(*wait, usize::MAX)] += 1;
        }
        let status = Status { subsystems: [("a".into(), one)].into(), ..Status::default() };
        let cpu = Duration::from_millis(handled);
        let subsystems = [("a".into(), measured)].into();
        Readings { status, cpu, subsystems, ..Readings::default() }
    }

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn rates_are_of_the_time_since_the_look_before() {
        let mut watch = Watch::default();
        let first = watch.figures(readings(100, 5, &[]), true, second(10), 7);
        assert_eq!((first.interval_s, first.total, first.cpu), (0.0, Flow::default(), 0.0));
        assert_eq!((first.time_ms, first.status.subsystems["a"].ledger.handled), (7, 100));
        let next = watch.figures(readings(350, 9, &[]), true, second(12), 9);
        assert_eq!((next.interval_s, next.total.handled, next.total.errors), (2.0, 125.0, 2.0));
        assert_eq!(
            (next.total.accepted, next.cpu, next.subsystems["a"]),
            (127.0, 0.125, next.total)
        );
        watch.pause();
        let again = watch.figures(readings(900, 9, &[]), true, second(60), 9);
        assert_eq!((again.interval_s, again.total.handled), (0.0, 0.0));
    }

    #[test]
    fn percentiles_are_of_the_last_seconds() {
        let mut watch = Watch::default();
        let p50 = |figures: Figures| figures.total.wait.map(|wait| wait.p50);
        let slow = [1 << 20; 9];
        watch.figures(readings(0, 0, &[]), true, second(0), 0);
        assert_eq!(p50(watch.figures(readings(0, 0, &slow), true, second(1), 0)), Some(5 << 18));
        for at in 2..=10 {
            assert!(p50(watch.figures(readings(0, 0, &slow), true, second(at), 0)).is_some());
        }
        assert_eq!(p50(watch.figures(readings(0, 0, &slow), true, second(11), 0)), None);
    }

    #[test]
    fn events_are_what_changed() {
        let (before, mut now) = (readings(0, 0, &[]).status, readings(0, 0, &[]).status);
        assert_eq!(happened(&before, &now), []);
        let one = now.subsystems.get_mut("a").unwrap();
        one.reloads = ReloadsStatus { committed: 1, ..ReloadsStatus::default() };
        (one.generation, one.restarts, one.phase) = (2, 1, Phase::Restarting);
        let what: Vec<String> =
            happened(&before, &now).into_iter().map(|happened| happened.what).collect();
        assert_eq!(what, ["reloaded: generation 2", "restarting", "restarted"]);
        let fresh = |status: &Status, incarnation| {
            let mut status = status.clone();
            status.subsystems.get_mut("a").unwrap().incarnation = incarnation;
            status
        };
        let requested = happened(&fresh(&before, 1), &fresh(&before, 2));
        assert_eq!(requested.len(), 1, "{requested:?}");
        assert_eq!(requested[0].what, "restarted on request");
        assert_eq!(happened(&fresh(&before, 1), &fresh(&before, 0)), []);
        let mut waiting = fresh(&before, 0);
        waiting.subsystems.get_mut("a").unwrap().phase = Phase::Restarting;
        assert_eq!(happened(&waiting, &fresh(&before, 2)), [], "a fault's restart after its wait");
    }
}
