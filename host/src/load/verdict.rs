//! What the figures of a load test are worth: each is met, acceptable, missed, or undecided.
//!
//! Pure: evidence goes in, verdicts come out, and no clock or host is asked.

use super::scenario::Rate;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Whether a figure is asked about, and what of it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Deserialize)]
pub enum Limit {
    /// What the plan asks.
    #[default]
    Plan,
    /// It is not.
    Off,
    /// This target and this acceptable value, in the unit of the figure.
    At(f64, f64),
}

/// What is asked, figure by figure. That every drop is counted and queues empty themselves is always asked.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Messages handled of those offered, in percent.
    pub held: Limit,
    /// Milliseconds from the intended send until handled, which 95% do not exceed.
    pub latency: Limit,
    /// The highest rate that was held, in messages a second.
    pub throughput: Limit,
    /// What goes into queues and out of them at that rate, a second.
    pub queue_operations: Limit,
    /// Megabytes an hour.
    pub memory: Limit,
    /// Percent of one core.
    pub cpu: Limit,
}

/// What a load test found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// How fast messages were to be sent.
    pub rate: Rate,
    /// Messages that the schedule has; of the best trial, where the highest rate is searched for.
    pub scheduled: u64,
    /// Those that were sent, or refused when they were.
    pub offered: u64,
    /// Those whose handler returned Ok.
    pub handled: u64,
    /// Whether a queue that is sent to makes its senders wait: a generator that is late is that queue's doing then.
    pub blocks: bool,
    /// 95% of the messages took no longer, in milliseconds.
    pub latency_p95: f64,
    /// 95% of the messages left the generator no later after their time, in milliseconds.
    pub late_p95: f64,
    /// The highest rate that was held, if it was searched for and found.
    pub best: Option<u64>,
    /// Whether the test was ended before its time.
    pub ended_early: bool,
    /// How long messages were sent.
    pub took: Duration,
    /// See [`super::Scenario::warm_up`].
    pub warm_up: Duration,
    /// Growth of resident memory: between what it is, in MB an hour.
    pub growth: Option<(f64, f64)>,
    /// Percent of one core that the whole process took.
    pub cpu: f64,
    /// What does not add up between the ledger and what the generator was told; empty is good.
    pub uncounted: Vec<String>,
    /// How long after the last message every queue was empty and every request answered.
    pub drained: Option<Duration>,
}

/// How a figure compares with what is asked.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the words say it")]
pub enum Word {
    Met,
    Acceptable,
    Missed,
    Undecided,
}

impl Word {
    /// The word, as in JSON.
    pub fn text(self) -> &'static str {
        match self {
            Word::Met => "met",
            Word::Acceptable => "acceptable",
            Word::Missed => "missed",
            Word::Undecided => "undecided",
        }
    }
}

/// One figure, and what it is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The figure.
    pub figure: &'static str,
    /// What it is worth.
    pub verdict: Word,
    /// What was found; for people.
    pub found: String,
    /// What is aimed at; for people.
    pub target: String,
    /// What is good enough; for people.
    pub acceptable: String,
    /// Why it is undecided or missed; else empty.
    pub why: String,
}

/// A figure with what it lies between, or why there is none.
type Found = Result<(f64, f64), String>;

struct Measure {
    figure: &'static str,
    unit: &'static str,
    /// Target and acceptable value.
    plan: (f64, f64),
    more_is_better: bool,
    limit: fn(&Limits) -> Limit,
    find: fn(&Evidence) -> Found,
}

const MEASURES: [Measure; 6] = [
    Measure {
        figure: "rate held",
        unit: "% handled",
        plan: (99.0, 99.0),
        more_is_better: true,
        limit: |limits| limits.held,
        find: held,
    },
    Measure {
        figure: "latency p95",
        unit: "ms",
        plan: (1.0, 5.0),
        more_is_better: false,
        limit: |limits| limits.latency,
        find: latency,
    },
    Measure {
        figure: "throughput",
        unit: "msg/s",
        plan: (10_000.0, 5000.0),
        more_is_better: true,
        limit: |limits| limits.throughput,
        find: |evidence| highest(evidence, 1.0),
    },
    Measure {
        figure: "queue operations",
        unit: "/s",
        plan: (50_000.0, 20_000.0),
        more_is_better: true,
        limit: |limits| limits.queue_operations,
        // One into the queue and one out of it.
        find: |evidence| highest(evidence, 2.0),
    },
    Measure {
        figure: "memory growth",
        unit: "MB/h",
        plan: (5.0, 20.0),
        more_is_better: false,
        limit: |limits| limits.memory,
        find: growth,
    },
    Measure {
        figure: "CPU",
        unit: "% of a core",
        plan: (50.0, 80.0),
        more_is_better: false,
        limit: |limits| limits.cpu,
        find: cpu,
    },
];

/// Messages below which a percentile says little.
const FEW: u64 = 200;
/// The rate at which CPU is judged.
const CPU_RATE: u64 = 5000;
/// What the generator must have offered of the schedule, as what must be handled of that.
const SHARE: f64 = 99.0;
/// Warm-ups after which memory is judged.
const WARM_UPS: u32 = 4;

/// What each figure is worth.
pub fn judge(evidence: &Evidence, limits: &Limits) -> Vec<Verdict> {
    let measured = MEASURES.iter().filter_map(|measure| {
        let (target, acceptable) = match (measure.limit)(limits) {
            Limit::Off => return None,
            Limit::Plan => measure.plan,
            Limit::At(target, acceptable) => (target, acceptable),
        };
        Some(measure.judge((measure.find)(evidence), target, acceptable))
    });
    measured.chain([counted(evidence), drained(evidence)]).collect()
}

/// What this figure of the plan is worth where something else than a load test has found it, between these two values.
/// None of another name than those of [`Verdict::figure`].
pub fn against_plan(figure: &str, between: (f64, f64)) -> Option<Verdict> {
    let measure = MEASURES.iter().find(|measure| measure.figure == figure)?;
    let (target, acceptable) = measure.plan;
    Some(measure.judge(Ok(between), target, acceptable))
}

/// What a figure that lies between two values is worth.
pub fn compare(
    (low, high): (f64, f64),
    target: f64,
    acceptable: f64,
    more_is_better: bool,
) -> Word {
    // With less being better: what it is at worst, and at best.
    let sign = if more_is_better { -1.0 } else { 1.0 };
    let (best, worst) = if more_is_better { (-high, -low) } else { (low, high) };
    match (worst <= sign * target, worst <= sign * acceptable, best > sign * acceptable) {
        (true, _, _) => Word::Met,
        (_, true, _) => Word::Acceptable,
        (_, _, true) => Word::Missed,
        _ => Word::Undecided,
    }
}

impl Measure {
    fn judge(&self, found: Found, target: f64, acceptable: f64) -> Verdict {
        let amount = |value: f64| match value.is_finite() {
            true => format!("{} {}", show(value), self.unit),
            false => "nothing was handled".into(),
        };
        let (verdict, found, why) = match found {
            Err(why) => (Word::Undecided, "-".into(), why),
            Ok((low, high)) => {
                let verdict = compare((low, high), target, acceptable, self.more_is_better);
                let found = match low == high {
                    true => amount(low),
                    false => format!("{} to {}", show(low), amount(high)),
                };
                let why = match verdict {
                    Word::Undecided => "what it lies between is too wide; load for longer".into(),
                    _ => String::new(),
                };
                (verdict, found, why)
            }
        };
        let (target, acceptable) = (amount(target), amount(acceptable));
        Verdict { figure: self.figure, verdict, found, target, acceptable, why }
    }
}

fn exactly(value: f64) -> Found {
    Ok((value, value))
}

fn held(evidence: &Evidence) -> Found {
    if let Rate::Max(_) = evidence.rate {
        return Err("the rate was searched for".into());
    }
    // What a queue made its senders wait for counts as not handled; what the generator did not manage is not known.
    let of = if evidence.blocks { evidence.scheduled } else { evidence.offered };
    match share(evidence.offered, evidence.scheduled) {
        offered if offered < SHARE && !evidence.blocks => Err(format!(
            "the generator lagged, and offered only {} of {} messages",
            evidence.offered, evidence.scheduled
        )),
        _ => exactly(share(evidence.handled, of)),
    }
}

fn latency(evidence: &Evidence) -> Found {
    match evidence.rate {
        Rate::Max(limit) => {
            return Err(format!("the rate was searched for that holds a p99 of {limit:?}"));
        }
        _ if evidence.offered < FEW => {
            return Err(format!("only {} messages; send {FEW} or more", evidence.offered));
        }
        _ => {}
    }
    // With nothing handled there is no latency to be proud of.
    if evidence.handled == 0 {
        return exactly(f64::INFINITY);
    }
    let own = if evidence.blocks { 0.0 } else { evidence.late_p95 };
    // What the generator was late itself may not be the host's.
    Ok(((evidence.latency_p95 - own).max(0.0), evidence.latency_p95))
}

fn highest(evidence: &Evidence, each: f64) -> Found {
    match (&evidence.rate, evidence.best) {
        (Rate::Max(_), _) if evidence.ended_early => {
            Err("the search was ended before it was done".into())
        }
        (Rate::Max(_), best) => exactly(best.unwrap_or(0) as f64 * each),
        _ => Err("judged at --rate max alone".into()),
    }
}

fn growth(evidence: &Evidence) -> Found {
    let least = evidence.warm_up * WARM_UPS;
    if evidence.took < least {
        let (least, warm_up) = (least.as_secs_f64(), evidence.warm_up.as_secs_f64());
        return Err(format!("judged from {least} s of load on, after {warm_up} s of warm-up"));
    }
    evidence.growth.ok_or_else(|| "too few readings".into())
}

fn cpu(evidence: &Evidence) -> Found {
    match evidence.rate {
        Rate::Steady(CPU_RATE) if share(evidence.offered, evidence.scheduled) >= SHARE => {
            exactly(evidence.cpu)
        }
        _ => Err(format!("judged where {CPU_RATE} msg/s are offered")),
    }
}

fn counted(evidence: &Evidence) -> Verdict {
    let good = evidence.uncounted.is_empty();
    Verdict {
        figure: "every drop counted",
        verdict: if good { Word::Met } else { Word::Missed },
        found: if good { "yes" } else { "no" }.into(),
        target: "yes".into(),
        acceptable: "yes".into(),
        why: evidence.uncounted.join("; "),
    }
}

fn drained(evidence: &Evidence) -> Verdict {
    let limit = format!("{} s", show(super::DRAIN.as_secs_f64()));
    let (verdict, found, why) = match evidence.drained {
        Some(after) => (Word::Met, format!("{} s", show(after.as_secs_f64())), ""),
        None => (Word::Missed, "no".into(), "messages still wait, or requests are still open"),
    };
    let (target, why) = (limit.clone(), why.into());
    Verdict { figure: "queues empty after", verdict, found, target, acceptable: limit, why }
}

/// In percent; of nothing, everything.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// A number with three digits or more that count.
pub fn show(value: f64) -> String {
    let text = match value.abs() {
        100.0.. => return format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" | "-" => "0".into(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Evidence {
        Evidence {
            rate: Rate::Steady(5000),
            scheduled: 1_500_000,
            offered: 1_500_000,
            handled: 1_500_000,
            blocks: false,
            latency_p95: 0.2,
            late_p95: 0.1,
            best: None,
            ended_early: false,
            took: Duration::from_secs(300),
            warm_up: Duration::from_secs(30),
            growth: Some((-0.5, 2.0)),
            cpu: 20.0,
            uncounted: Vec::new(),
            drained: Some(Duration::ZERO),
        }
    }

    fn check(evidence: &Evidence, figure: &str, expect: Word) {
        let verdicts = judge(evidence, &Limits::default());
        let found = verdicts.iter().find(|verdict| verdict.figure == figure).unwrap();
        assert_eq!(found.verdict, expect, "{found:?}");
        assert!(expect != Word::Undecided || !found.why.is_empty(), "{found:?}");
    }

    #[test]
    fn what_others_found_is_held_against_the_plan() {
        let word = |figure, value| Some(against_plan(figure, (value, value))?.verdict);
        assert_eq!(word("queue operations", 50_000.0), Some(Word::Met));
        assert_eq!(word("queue operations", 20_000.0), Some(Word::Acceptable));
        assert_eq!(word("queue operations", 19_999.0), Some(Word::Missed));
        assert_eq!(word("latency p95", 5.1), Some(Word::Missed));
        assert_eq!(word("sweetness", 1.0), None);
    }

    #[test]
    fn a_good_run_is_met_and_the_rest_undecided() {
        for (figure, word) in [
            ("rate held", Word::Met),
            ("latency p95", Word::Met),
            ("throughput", Word::Undecided),
            ("queue operations", Word::Undecided),
            ("memory growth", Word::Met),
            ("CPU", Word::Met),
            ("every drop counted", Word::Met),
            ("queues empty after", Word::Met),
        ] {
            check(&good(), figure, word);
        }
    }

    #[test]
    fn less_is_better_or_more_is() {
        for (between, word) in [
            ((0.0, 1.0), Word::Met),
            ((0.5, 1.1), Word::Acceptable),
            ((2.0, 5.0), Word::Acceptable),
            ((4.0, 6.0), Word::Undecided),
            ((5.1, 6.0), Word::Missed),
        ] {
            assert_eq!(compare(between, 1.0, 5.0, false), word, "{between:?}");
            let (low, high) = between;
            assert_eq!(compare((-high, -low), -1.0, -5.0, true), word, "{between:?}");
        }
    }

    #[test]
    fn a_fixed_rate_is_held_or_not() {
        let held = |handled| Evidence { handled, ..good() };
        check(&held(1_485_000), "rate held", Word::Met);
        check(&held(1_484_999), "rate held", Word::Missed);
        let lagged = Evidence { offered: 1_000_000, handled: 1_000_000, ..good() };
        check(&lagged, "rate held", Word::Undecided);
        check(&Evidence { blocks: true, ..lagged }, "rate held", Word::Missed);
        let searched = Evidence { rate: Rate::Max(Duration::from_millis(1)), ..good() };
        check(&searched, "rate held", Word::Undecided);
    }

    #[test]
    fn a_slow_handler_shows_in_the_latency() {
        let slow = |latency_p95| Evidence { latency_p95, ..good() };
        check(&slow(1.0), "latency p95", Word::Met);
        check(&slow(4.9), "latency p95", Word::Acceptable);
        check(&slow(5.2), "latency p95", Word::Missed);
        // The generator was late by more than what is too much.
        let late = Evidence { late_p95: 4.0, ..slow(6.0) };
        check(&late, "latency p95", Word::Undecided);
        check(&Evidence { blocks: true, ..late }, "latency p95", Word::Missed);
        check(&Evidence { handled: 0, ..good() }, "latency p95", Word::Missed);
        check(&Evidence { offered: 199, ..good() }, "latency p95", Word::Undecided);
    }

    #[test]
    fn throughput_is_judged_where_it_is_searched_for() {
        let found = |best| Evidence { rate: Rate::Max(Duration::from_millis(10)), best, ..good() };
        for (best, throughput, operations) in [
            (Some(25_000), Word::Met, Word::Met),
            (Some(10_000), Word::Met, Word::Acceptable),
            (Some(5000), Word::Acceptable, Word::Missed),
            (None, Word::Missed, Word::Missed),
        ] {
            check(&found(best), "throughput", throughput);
            check(&found(best), "queue operations", operations);
        }
        check(&Evidence { ended_early: true, ..found(None) }, "throughput", Word::Undecided);
    }

    #[test]
    fn a_leak_shows_from_two_minutes_on() {
        let grown = |low, high| Evidence { growth: Some((low, high)), ..good() };
        check(&grown(4.0, 6.0), "memory growth", Word::Acceptable);
        check(&grown(10.0, 30.0), "memory growth", Word::Undecided);
        check(&grown(21.0, 22.0), "memory growth", Word::Missed);
        let short = Evidence { took: Duration::from_secs(119), ..grown(900.0, 901.0) };
        check(&short, "memory growth", Word::Undecided);
        let long = Evidence { took: Duration::from_secs(120), ..grown(900.0, 901.0) };
        check(&long, "memory growth", Word::Missed);
        check(&Evidence { growth: None, ..good() }, "memory growth", Word::Undecided);
    }

    #[test]
    fn cpu_is_judged_at_its_rate() {
        let busy = |cpu| Evidence { cpu, ..good() };
        check(&busy(50.0), "CPU", Word::Met);
        check(&busy(79.0), "CPU", Word::Acceptable);
        check(&busy(81.0), "CPU", Word::Missed);
        check(&Evidence { rate: Rate::Steady(1000), ..busy(81.0) }, "CPU", Word::Undecided);
        check(&Evidence { offered: 1_000_000, ..busy(81.0) }, "CPU", Word::Undecided);
    }

    #[test]
    fn a_drop_that_nobody_counted_and_a_queue_that_stays_full() {
        let uncounted = Evidence { uncounted: vec!["one too few".into()], ..good() };
        check(&uncounted, "every drop counted", Word::Missed);
        check(&Evidence { drained: None, ..good() }, "queues empty after", Word::Missed);
    }

    #[test]
    fn limits_of_ones_own() {
        let off = Limits { cpu: Limit::Off, latency: Limit::At(0.01, 0.02), ..Limits::default() };
        let verdicts = judge(&Evidence { late_p95: 0.0, ..good() }, &off);
        assert!(verdicts.iter().all(|verdict| verdict.figure != "CPU"));
        assert_eq!(verdicts[1].verdict, Word::Missed, "{verdicts:?}");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.1234, 5.0, 1.2, 99.0, 12.34, 100.0, 1234.4].map(show);
        assert_eq!(shown, ["0", "0.123", "5", "1.2", "99", "12.3", "100", "1234"]);
    }
}
