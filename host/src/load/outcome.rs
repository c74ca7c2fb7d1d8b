//! What a load test came to: its figures and their verdicts, for people and for programs.

use super::{
    DRAIN, Rate, Scenario,
    conductor::{Conductor, Leg, Trial},
    environment::Environment,
    generator::Mix,
    recorder::{Tally, Times},
    sample::{Event, Percentiles, Sample, millis},
    scenario::{ECHO, Planned},
    verdict::{Evidence, Limits, Verdict, Word, judge},
};
use crate::{
    config::amounts::{show_duration, show_size},
    status::{LedgerStatus, Status},
};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// What a load test came to. Its JSON form is a stable interface.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// What was sent, in words.
    pub load: String,
    /// Where.
    pub environment: Environment,
    /// How long messages were sent, in seconds; of the best trial, where the highest rate was searched for.
    pub took_s: f64,
    /// Seconds after the last message until all was done; none where something still waited when that was given up.
    pub drained_s: Option<f64>,
    /// Whether it was ended before its time.
    pub ended_early: bool,
    /// The highest rate that was held, if it was searched for and found.
    pub highest_rate: Option<u64>,
    /// What was tried in search of it.
    pub trials: Vec<Trial>,
    /// How messages ended; of the best trial, too, as the latencies are.
    pub messages: Tally,
    /// From the intended send until handled, in milliseconds.
    pub latency_ms: Option<Percentiles>,
    /// From the intended send until sent: what of that is the generator's.
    pub late_ms: Option<Percentiles>,
    /// CPU time of the process, in percent of one core, of which the generator took `generator_cpu`.
    pub cpu: f64,
    /// See `cpu`.
    pub generator_cpu: f64,
    /// What memory grew by, in MB an hour: between what.
    pub memory_growth: Option<(f64, f64)>,
    /// What the ledgers of the subsystems that were sent to have counted during the test.
    pub ledgers: BTreeMap<String, LedgerStatus>,
    /// What each figure is worth.
    pub verdicts: Vec<Verdict>,
    /// Once a second.
    pub samples: Vec<Sample>,
    /// What happened to subsystems.
    pub events: Vec<Event>,
    /// The latency in milliseconds that a share of the messages did not exceed.
    #[serde(rename = "distribution_ms", serialize_with = "points")]
    pub distribution: Vec<(f64, f64)>,
    #[serde(skip)]
    evidence: Evidence,
    #[serde(skip)]
    limits: Limits,
}

/// What is known before the test begins.
pub struct Before {
    /// The name of the scenario.
    pub name: String,
    /// The machine.
    pub environment: Environment,
    /// The host.
    pub status: Status,
}

impl Outcome {
    /// What came of a leg, as the host stands after it.
    pub fn new(
        before: Before,
        scenario: &Scenario,
        mix: &Mix,
        conducted: &Conductor<'_>,
        (leg, highest_rate): (Leg, Option<u64>),
        after: &Status,
    ) -> Outcome {
        let Before { name, environment, status } = before;
        let ledgers = ledgers(&mix.kinds, &status, after);
        let seconds = leg.took.as_secs_f64().max(1e-3);
        let (latency_ms, late_ms) = (Percentiles::of(&leg.latencies), Percentiles::of(&leg.late));
        let cpu = 100.0 * leg.cpu.as_secs_f64() / seconds;
        let memory_growth = conducted.growth();
        let evidence = Evidence {
            rate: scenario.rate.clone(),
            scheduled: leg.scheduled,
            offered: leg.tally.offered,
            handled: leg.tally.handled,
            blocks: ledgers
                .keys()
                .any(|name| after.subsystems[name].queue.policy.starts_with("Block")),
            latency_p95: latency_ms.unwrap_or_default().p95,
            late_p95: late_ms.unwrap_or_default().p95,
            best: highest_rate,
            ended_early: conducted.is_stopped(),
            took: leg.took,
            warm_up: scenario.warm_up,
            growth: memory_growth,
            cpu,
            uncounted: uncounted(&mix.kinds, &conducted.tallies(), &ledgers),
            drained: leg.drained,
        };
        Outcome {
            scenario: name,
            load: describe(scenario, &mix.kinds),
            environment,
            ended_early: conducted.is_stopped(),
            took_s: leg.took.as_secs_f64(),
            drained_s: leg.drained.map(|drained| drained.as_secs_f64()),
            highest_rate,
            trials: conducted.trials.clone(),
            messages: leg.tally,
            latency_ms,
            late_ms,
            cpu,
            generator_cpu: 100.0 * leg.generator_cpu.as_secs_f64() / seconds,
            memory_growth,
            ledgers,
            verdicts: judge(&evidence, &scenario.verdicts),
            samples: conducted.samples.clone(),
            events: conducted.events.clone(),
            distribution: distribution(&leg.latencies),
            limits: scenario.verdicts.clone(),
            evidence,
        }
    }

    /// Adds what the stopped host says: its ledgers balance, or something is not counted.
    pub fn stopped(&mut self, status: &Status) {
        let crooked = status.subsystems.iter().filter(|(_, one)| !one.ledger.balances());
        let crooked = crooked.map(|(name, one)| {
            format!("the ledger of `{name}` does not balance: {:?}", one.ledger)
        });
        self.evidence.uncounted.extend(crooked);
        self.verdicts = judge(&self.evidence, &self.limits);
    }

    /// Seconds until all was done: what still waited after the last message was sent is handled in that time, too.
    pub fn seconds(&self) -> f64 {
        (self.took_s + self.drained_s.unwrap_or(DRAIN.as_secs_f64())).max(1e-3)
    }

    /// Messages handled, a second.
    pub fn rate(&self) -> f64 {
        self.messages.handled as f64 / self.seconds()
    }

    /// Whether a figure missed what is asked.
    pub fn is_missed(&self) -> bool {
        self.verdicts.iter().any(|verdict| verdict.verdict == Word::Missed)
    }
}

/// What is sent, how fast and for how long.
fn describe(scenario: &Scenario, kinds: &[Planned]) -> String {
    let rate = match &scenario.rate {
        Rate::Steady(rate) => format!("{rate} msg/s"),
        Rate::Steps(rates) => {
            let rates: Vec<String> = rates.iter().map(u64::to_string).collect();
            format!("{} msg/s", rates.join(", "))
        }
        Rate::Max(limit) => {
            format!("the highest rate that holds a p99 of {}", show_duration(*limit))
        }
    };
    let sizes: BTreeSet<usize> = kinds.iter().map(|kind| kind.body.len()).collect();
    let size = |bytes: usize| match bytes {
        ..1024 => format!("{bytes} bytes"),
        _ => show_size(bytes as u64),
    };
    let sizes: Vec<String> = sizes.into_iter().map(size).collect();
    let (own, added): (Vec<&Planned>, Vec<&Planned>) =
        kinds.iter().partition(|kind| !kind.path.starts_with(ECHO));
    let mut to: Vec<String> = own.iter().map(|kind| kind.path.clone()).collect();
    if !added.is_empty() {
        let noun = if added.len() == 1 { "subsystem" } else { "subsystems" };
        to.push(format!("{} added {noun}", added.len()));
    }
    let (time, to, sizes) = (show_duration(scenario.for_), to.join(", "), sizes.join(", "));
    format!("{rate} for {time} to {to}, bodies of {sizes}")
}

/// What the ledgers of those that are sent to have counted in between.
fn ledgers(kinds: &[Planned], before: &Status, after: &Status) -> BTreeMap<String, LedgerStatus> {
    let names: BTreeSet<&str> = kinds.iter().map(Planned::subsystem).collect();
    let pairs = names.into_iter().filter_map(|name| {
        let (before, after) = (before.subsystems.get(name)?, after.subsystems.get(name)?);
        Some((name.to_owned(), counted(&before.ledger, &after.ledger)))
    });
    pairs.collect()
}

fn counted(before: &LedgerStatus, after: &LedgerStatus) -> LedgerStatus {
    LedgerStatus {
        accepted: after.accepted - before.accepted,
        handled: after.handled - before.handled,
        failed: after.failed - before.failed,
        dropped_oldest: after.dropped_oldest - before.dropped_oldest,
        dropped_newest: after.dropped_newest - before.dropped_newest,
        expired: after.expired - before.expired,
        dead: after.dead - before.dead,
        queued: after.queued,
        in_flight: after.in_flight,
        rejected: after.rejected - before.rejected,
        denied: after.denied - before.denied,
    }
}

/// Where the ledgers fall short of what the generator was told. Nobody else sends to the subsystems that were added, so
/// theirs have to be equal.
pub fn uncounted(
    kinds: &[Planned],
    tallies: &[Tally],
    ledgers: &BTreeMap<String, LedgerStatus>,
) -> Vec<String> {
    let mut told: BTreeMap<&str, Tally> = BTreeMap::new();
    for (kind, tally) in kinds.iter().zip(tallies) {
        told.entry(kind.subsystem()).or_default().add(tally);
    }
    let mut wrong = Vec::new();
    for (name, told) in told {
        let Some(ledger) = ledgers.get(name) else { continue };
        let is_ours = name.starts_with(ECHO);
        let dropped = ledger.dropped_oldest + ledger.dropped_newest;
        let columns = [
            ("handled", told.handled, ledger.handled, is_ours),
            ("dropped", told.dropped, dropped, true),
            ("rejected", told.rejected, ledger.rejected, true),
        ];
        for (column, told, counted, is_judged) in columns {
            let differs = if is_ours { counted != told } else { counted < told };
            if is_judged && differs {
                wrong.push(format!(
                    "`{name}` has counted {counted} as {column}, and the generator was told of {told}"
                ));
            }
        }
    }
    wrong
}

/// The latency at each share of the messages, finer towards the end.
fn distribution(times: &Times) -> Vec<(f64, f64)> {
    if times.is_empty() {
        return Vec::new();
    }
    let quantiles = times
        .iter_quantiles(5)
        .map(|value| (value.quantile_iterated_to(), millis(value.value_iterated_to())));
    quantiles.collect()
}

fn points<S: Serializer>(points: &[(f64, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Point {
        share: f64,
        ms: f64,
    }
    serializer.collect_seq(points.iter().map(|&(share, ms)| Point { share, ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(path: &str) -> Planned {
        Planned { path: path.into(), body: Vec::new(), weight: 1 }
    }

    fn check(name: &str, told: (u64, u64, u64), counted: (u64, u64, u64), expect: usize) {
        let (handled, dropped, rejected) = told;
        let tally = Tally { handled, dropped, rejected, ..Tally::default() };
        let (handled, dropped_oldest, rejected) = counted;
        let ledger = LedgerStatus { handled, dropped_oldest, rejected, ..LedgerStatus::default() };
        let kinds = [kind(&format!("{name}://a"))];
        let found = uncounted(&kinds, &[tally], &[(name.to_owned(), ledger)].into());
        assert_eq!(found.len(), expect, "{name} {told:?} {counted:?}: {found:?}");
    }

    #[test]
    fn a_drop_that_is_not_in_the_ledger_is_found() {
        check("kv", (5, 1, 2), (5, 1, 2), 0);
        check("kv", (5, 2, 2), (5, 1, 2), 1);
        check("kv", (5, 1, 2), (5, 1, 1), 1);
        // Others send there, too.
        check("kv", (5, 1, 2), (9, 3, 7), 0);
        // Nobody else sends there.
        check("load-echo-1", (5, 1, 2), (5, 1, 2), 0);
        check("load-echo-1", (5, 1, 2), (6, 2, 3), 3);
    }

    #[test]
    fn the_distribution_ends_at_the_slowest() {
        let mut times = super::super::recorder::times();
        (1..=1000).for_each(|millis| times.saturating_record(millis * 1_000_000));
        let points = distribution(&times);
        assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        let last = points.last().unwrap();
        assert!(last.0 == 1.0 && (last.1 - 1000.0).abs() < 1.0, "{last:?}");
    }
}
