//! What is worse than before, and whether that is too much.

use crate::Counts;
use std::{collections::BTreeSet, fmt::Write};

/// Old and new counts, bench by bench, the worst first.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// A bench that is on one side alone comes before all others.
    pub rows: Vec<Row>,
    /// Messages that each bench handles.
    pub messages: u64,
}

/// One bench.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub bench: String,
    /// Its instructions in the baseline, if it is there.
    pub old: Option<u64>,
    /// Its instructions in this tree, if it is there.
    pub new: Option<u64>,
}

/// What is to be said of a bench, or of all: the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// The same to the instruction.
    Same,
    /// Less, but not by as much as a regression would be more.
    SlightlyLess,
    /// More, but by less than 1% or by less than half an instruction a message.
    SlightlyMore,
    /// Better by what would be a regression if it were worse: the baseline is too lax.
    Better,
    /// On one side alone.
    Missing,
    /// At least 1% more, and at least half an instruction a message.
    Regressed,
}

impl Judgement {
    /// The exit code for a run whose worst this is.
    pub fn exit_code(self) -> u8 {
        match self {
            Judgement::Regressed => 3,
            Judgement::Missing => 4,
            _ => 0,
        }
    }

    fn to_text(self) -> &'static str {
        match self {
            Judgement::Same => "same",
            Judgement::SlightlyLess => "slightly less",
            Judgement::SlightlyMore => "slightly more",
            Judgement::Better => "better",
            Judgement::Missing => "**missing**",
            Judgement::Regressed => "**regressed**",
        }
    }
}

impl Comparison {
    /// Compares two sets of counts, of benches that handle this many messages each.
    pub fn new(old: &Counts, new: &Counts, messages: u64) -> Comparison {
        let benches: BTreeSet<&String> = old.0.keys().chain(new.0.keys()).collect();
        let mut rows: Vec<Row> = benches
            .into_iter()
            .map(|bench| Row {
                bench: bench.clone(),
                old: old.0.get(bench).copied(),
                new: new.0.get(bench).copied(),
            })
            .collect();
        // The sort is stable: benches that changed alike stay in the order of their names.
        rows.sort_by(|one, other| other.change().total_cmp(&one.change()));
        Comparison { rows, messages }
    }

    /// Of one bench.
    pub fn judge(&self, row: &Row) -> Judgement {
        let Some((old, new)) = row.old.zip(row.new) else { return Judgement::Missing };
        let difference = old.abs_diff(new);
        let is_much = u128::from(difference) * 100 >= u128::from(old)
            && u128::from(difference) * 2 >= u128::from(self.messages);
        match (new.cmp(&old), is_much) {
            (std::cmp::Ordering::Equal, _) => Judgement::Same,
            (std::cmp::Ordering::Greater, true) => Judgement::Regressed,
            (std::cmp::Ordering::Greater, false) => Judgement::SlightlyMore,
            (std::cmp::Ordering::Less, true) => Judgement::Better,
            (std::cmp::Ordering::Less, false) => Judgement::SlightlyLess,
        }
    }

    /// Of all benches: the worst that is said of one.
    pub fn worst(&self) -> Judgement {
        self.rows.iter().map(|row| self.judge(row)).max().unwrap_or(Judgement::Same)
    }

    /// How many benches this is said of.
    pub fn count(&self, judgement: Judgement) -> usize {
        self.rows.iter().filter(|row| self.judge(row) == judgement).count()
    }

    /// The table.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from(
            "| bench | old | new | change | a message | |\n|---|---:|---:|---:|---:|---|\n",
        );
        for row in &self.rows {
            let shown = |count: Option<u64>| count.map_or_else(|| "-".into(), grouped);
            let change = row.old.zip(row.new).map_or_else(
                || "- | -".into(),
                |(old, new)| {
                    let difference = new as f64 - old as f64;
                    format!("{:+.2}% | {:+.2}", row.change(), difference / self.messages as f64)
                },
            );
            let judgement = self.judge(row).to_text();
            // Writing to a text cannot fail.
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {change} | {judgement} |",
                row.bench,
                shown(row.old),
                shown(row.new)
            );
        }
        text
    }
}

impl Row {
    /// In percent of the old count; infinite where there is nothing to compare with.
    pub fn change(&self) -> f64 {
        match self.old.zip(self.new) {
            Some((old, new)) if old == new => 0.0,
            Some((old, new)) => (new as f64 / old as f64 - 1.0) * 100.0,
            None => f64::INFINITY,
        }
    }
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for start in (first..digits.len()).step_by(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&digits[start..start + 3]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use Judgement::*;

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        Counts(pairs.iter().map(|(bench, count)| ((*bench).into(), *count)).collect())
    }

    #[test]
    fn one_percent_and_half_an_instruction_a_message_is_a_regression() {
        for (old, new, messages, expected) in [
            (100_000, 100_000, 1_000, Same),
            (100_000, 101_000, 1_000, Regressed),
            (100_000, 100_999, 1_000, SlightlyMore),
            (100_000, 99_000, 1_000, Better),
            (100_000, 99_001, 1_000, SlightlyLess),
            // 1% and more, but 0.4, 0.499 and 0.5 instructions a message.
            (20_000, 20_400, 1_000, SlightlyMore),
            (20_000, 20_499, 1_000, SlightlyMore),
            (20_000, 20_500, 1_000, Regressed),
            (20_000, 19_600, 1_000, SlightlyLess),
            (20_000, 19_500, 1_000, Better),
            // An old count that is no multiple of 100: 1% of 100,001 is more than 1,000.
            (100_001, 101_001, 1_000, SlightlyMore),
            (100_001, 101_002, 1_000, Regressed),
            (0, 0, 1_000, Same),
            (0, 499, 1_000, SlightlyMore),
            (0, 500, 1_000, Regressed),
            (500, 0, 1_000, Better),
            (10, 11, 1, Regressed),
            (u64::MAX, u64::MAX - 1, 1_000, SlightlyLess),
        ] {
            let comparison =
                Comparison::new(&counts(&[("a", old)]), &counts(&[("a", new)]), messages);
            assert_eq!(comparison.worst(), expected, "{old} to {new} by {messages}");
        }
    }

    #[test]
    fn a_bench_on_one_side_alone_is_missing() {
        let both = counts(&[("a", 1), ("b", 1)]);
        let one = counts(&[("a", 1)]);
        for (old, new) in [(&both, &one), (&one, &both)] {
            let comparison = Comparison::new(old, new, 1_000);
            assert_eq!(comparison.worst(), Missing);
            assert_eq!(comparison.worst().exit_code(), 4);
            assert_eq!(comparison.count(Missing), 1);
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let old = counts(&[("a", 100_000), ("b", 100_000), ("gone", 1)]);
        let new = counts(&[("a", 102_000), ("b", 50_000)]);
        assert_eq!(Comparison::new(&old, &new, 1_000).worst().exit_code(), 3);
        for fine in [Same, SlightlyLess, SlightlyMore, Better] {
            assert_eq!(fine.exit_code(), 0);
        }
    }

    #[test]
    fn the_table_has_the_worst_first() {
        let old = counts(&[("a", 1_000), ("b", 2_000_000), ("c", 300_000), ("d", 100), ("e", 5)]);
        let new = counts(&[("a", 1_000), ("b", 1_000_000), ("c", 306_000), ("d", 101)]);
        let expected = "\
| bench | old | new | change | a message | |
|---|---:|---:|---:|---:|---|
| `e` | 5 | - | - | - | **missing** |
| `c` | 300,000 | 306,000 | +2.00% | +6.00 | **regressed** |
| `d` | 100 | 101 | +1.00% | +0.00 | slightly more |
| `a` | 1,000 | 1,000 | +0.00% | +0.00 | same |
| `b` | 2,000,000 | 1,000,000 | -50.00% | -1000.00 | better |
";
        assert_eq!(Comparison::new(&old, &new, 1_000).to_markdown(), expected);
    }
}
