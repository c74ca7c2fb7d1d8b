//! Cases, rows of cases with their targets, and the verdict: the median of interleaved ratios, the best of a few attempts.
//!
//! Every case of a row runs once a round, and the rounds rotate who begins. A ratio is taken within a round, since the
//! core's clock has modes 1.5 apart that change within seconds and move all cases together.

use crate::across;
use std::time::{Duration, Instant};

/// Does so many bursts and answers how many nanoseconds they took.
pub type Run = Box<dyn FnMut(u64) -> f64>;

/// Something that is measured.
pub struct Case {
    /// Unique in its row.
    pub name: &'static str,
    /// Messages a burst.
    pub messages: u64,
    /// Sets it up; the error says why it is skipped.
    pub make: fn() -> Result<Run, String>,
}

/// A case of `messages` a burst.
pub const fn case(name: &'static str, messages: u64, make: fn() -> Result<Run, String>) -> Case {
    Case { name, messages, make }
}

/// What one case's time is divided by.
pub enum Than {
    /// The fastest of these cases in the same round; those that are skipped do not count.
    Fastest(&'static [&'static str]),
    /// A figure from elsewhere, in nanoseconds.
    Nanos(f64),
}

/// A promise about one ratio.
pub struct Target {
    /// In words.
    pub text: &'static str,
    /// The case.
    pub ours: &'static str,
    /// The others.
    pub than: Than,
    /// The largest ratio that passes; without one it is only reported.
    pub most: Option<f64>,
}

/// A target against the fastest of others.
pub const fn target(
    text: &'static str,
    ours: &'static str,
    than: &'static [&'static str],
    most: f64,
) -> Target {
    Target { text, ours, than: Than::Fastest(than), most: Some(most) }
}

/// A ratio that is only reported.
pub const fn reported(
    text: &'static str,
    ours: &'static str,
    than: &'static [&'static str],
) -> Target {
    Target { text, ours, than: Than::Fastest(than), most: None }
}

/// What is compared in one run.
pub struct Row {
    pub name: &'static str,
    pub title: &'static str,
    pub cases: &'static [Case],
    pub targets: &'static [Target],
    /// Whether messages cross cores, whose distance has modes 8 apart.
    pub crosses: bool,
}

/// How a target fared.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Pass,
    Miss,
    Reported,
    Skipped,
}

/// One line of the table.
pub struct Line {
    pub target: String,
    pub figure: String,
    pub spread: String,
    pub verdict: Verdict,
}

/// Every case runs this long at least in a round, so that a context switch is little of it.
const LEAST: Duration = Duration::from_millis(8);
const ATTEMPTS: usize = 3;
/// How far the control loop may vary within a round whose ratio counts.
const STEADY: f64 = 0.2;

/// A case that is set up.
struct Ready {
    name: &'static str,
    messages: u64,
    bursts: u64,
    run: Run,
    /// Nanoseconds a message, by round.
    rounds: Vec<f64>,
}

impl Ready {
    /// Warms the case up, and finds how many bursts take long enough.
    fn new(case: &Case) -> Result<Ready, String> {
        let (mut run, mut bursts) = ((case.make)()?, 1);
        loop {
            let begin = Instant::now();
            run(bursts);
            if begin.elapsed() >= LEAST {
                let Case { name, messages, .. } = *case;
                return Ok(Ready { name, messages, bursts, run, rounds: Vec::new() });
            }
            bursts *= 2;
        }
    }

    fn round(&mut self) {
        let nanos = (self.run)(self.bursts);
        self.rounds.push(nanos / (self.bursts * self.messages) as f64);
    }
}

/// Measures a row and prints it; the lines of its targets.
pub fn measure(row: &Row, rounds: usize) -> Vec<Line> {
    let mut cases = Vec::new();
    for case in row.cases {
        match Ready::new(case) {
            Ok(ready) => cases.push(ready),
            Err(why) => println!("  {:<44} skipped: {why}", case.name),
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    for _ in 0..ATTEMPTS {
        let is_steady = attempt(&mut cases, rounds, row.crosses);
        let judged = row.targets.iter().map(|target| judge(target, &cases, &is_steady));
        lines = match lines.is_empty() {
            true => judged.collect(),
            false => lines.into_iter().zip(judged).map(|(one, other)| better(one, other)).collect(),
        };
        if lines.iter().all(|line| line.verdict != Verdict::Miss) {
            break;
        }
    }
    for case in &cases {
        let (median, spread) = summary(case.rounds.iter().copied());
        println!("  {:<44} {median:>10.1} ns {:>5.0}%", case.name, spread * 100.0);
    }
    lines
}

/// All rounds once; which of them had a steady control loop.
fn attempt(cases: &mut [Ready], rounds: usize, crosses: bool) -> Vec<bool> {
    cases.iter_mut().for_each(|case| case.rounds.clear());
    let control = || if crosses { across::control() } else { 1.0 };
    let mut before = control();
    let mut is_steady = Vec::new();
    for round in 0..rounds {
        let count = cases.len().max(1);
        (0..cases.len()).for_each(|index| cases[(index + round) % count].round());
        let after = control();
        is_steady.push((after / before).max(before / after) <= 1.0 + STEADY);
        before = after;
    }
    is_steady
}

/// The better of two attempts; one that could not be judged does not undo a miss.
fn better(one: Line, other: Line) -> Line {
    let is_better = |line: &Line| matches!(line.verdict, Verdict::Pass | Verdict::Miss);
    match one.verdict {
        Verdict::Miss | Verdict::Reported if is_better(&other) => other,
        _ => one,
    }
}

fn judge(target: &Target, cases: &[Ready], is_steady: &[bool]) -> Line {
    let find = |name: &str| cases.iter().find(|case| case.name == name);
    let line = |figure: String, spread: String, verdict| Line {
        target: target.text.into(),
        figure,
        spread,
        verdict,
    };
    let Some(ours) = find(target.ours) else {
        return line("-".into(), "-".into(), Verdict::Skipped);
    };
    let others: Vec<&Ready> = match target.than {
        Than::Fastest(names) => names.iter().filter_map(|name| find(name)).collect(),
        Than::Nanos(_) => Vec::new(),
    };
    let than = |round: usize| match target.than {
        Than::Nanos(nanos) => nanos,
        Than::Fastest(_) => {
            others.iter().map(|other| other.rounds[round]).fold(f64::INFINITY, f64::min)
        }
    };
    if matches!(target.than, Than::Fastest(_)) && others.is_empty() {
        return line("-".into(), "-".into(), Verdict::Skipped);
    }
    let steady: Vec<usize> = (0..is_steady.len()).filter(|round| is_steady[*round]).collect();
    // Where the control loop moved in half of the rounds, the machine was measured and not the program.
    let is_judged = steady.len() * 2 > is_steady.len();
    let counted = if is_judged { steady } else { (0..is_steady.len()).collect() };
    let (ratio, spread) =
        summary(counted.into_iter().map(|round| ours.rounds[round] / than(round)));
    let verdict = match target.most {
        Some(most) if is_judged && ratio <= most => Verdict::Pass,
        Some(_) if is_judged => Verdict::Miss,
        _ => Verdict::Reported,
    };
    line(figure(ratio), format!("{:.0}%", spread * 100.0), verdict)
}

/// A ratio as one reads it: small ones as a fraction.
fn figure(ratio: f64) -> String {
    match ratio {
        _ if ratio < 0.005 => format!("1/{:.0}", 1.0 / ratio),
        _ if ratio < 0.5 => format!("{ratio:.3} (1/{:.1})", 1.0 / ratio),
        _ => format!("{ratio:.2}"),
    }
}

/// The median, and the distance of the quartiles as a share of it.
fn summary(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    (at(0.5), (at(0.75) - at(0.25)) / at(0.5))
}

/// Times what does so many bursts.
pub fn timed(mut work: impl FnMut(u64) + 'static) -> Run {
    Box::new(move |bursts| {
        let begin = Instant::now();
        work(bursts);
        begin.elapsed().as_nanos() as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(name: &'static str, rounds: &[f64]) -> Ready {
        Ready { name, messages: 1, bursts: 1, run: Box::new(|_| 0.0), rounds: rounds.into() }
    }

    #[test]
    fn a_target_is_judged_by_the_median_of_its_rounds() {
        let cases = [
            ready("ours", &[10.0, 30.0, 12.0, 90.0, 11.0]),
            ready("one", &[20.0, 60.0, 20.0, 20.0, 20.0]),
            ready("other", &[40.0, 50.0, 40.0, 40.0, 40.0]),
        ];
        let steady = [true; 5];
        // Round by round against the faster one: 0.5, 0.6, 0.6, 4.5, 0.55.
        let both: &[&str] = &["one", "other"];
        for (than, most, is_steady, expected, figure) in [
            (both, 0.6, steady, Verdict::Pass, "0.60"),
            (both, 0.59, steady, Verdict::Miss, "0.60"),
            (both, 0.56, [true, false, false, true, true], Verdict::Pass, "0.55"),
            (both, 0.1, [true, true, false, false, false], Verdict::Reported, "0.60"),
            (&["other", "absent"], 0.3, steady, Verdict::Pass, "0.300 (1/3.3)"),
            (&["absent"], 9.0, steady, Verdict::Skipped, "-"),
        ] {
            let line = judge(&target("", "ours", than, most), &cases, &is_steady);
            assert_eq!((line.verdict, &*line.figure), (expected, figure), "{than:?} {most}");
        }
    }

    #[test]
    fn the_best_of_the_attempts_counts() {
        let line = |verdict| Line {
            target: String::new(),
            figure: String::new(),
            spread: String::new(),
            verdict,
        };
        use Verdict::{Miss, Pass, Reported};
        for (one, other, expected) in
            [(Miss, Pass, Pass), (Pass, Miss, Pass), (Miss, Miss, Miss), (Miss, Reported, Miss)]
        {
            assert_eq!(better(line(one), line(other)).verdict, expected, "{one:?}, {other:?}");
        }
    }
}
