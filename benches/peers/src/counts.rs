//! Instructions and allocations a message, counted in child processes: of this program under callgrind, and of the one
//! beside it that has a counting allocator, which would slow the peers down here.

use crate::{
    BURST,
    harness::{Line, Verdict},
    rows::COUNTED,
};
use std::process::Command;

/// Bursts counted once and twice: the difference is theirs alone.
const BURSTS: u64 = 10;

/// The lines of the row on instructions.
pub fn instructions() -> Vec<Line> {
    let line = |counted: &crate::rows::Counted| {
        let target = match counted.most {
            Some(most) => format!("{}: {most}", counted.case.name),
            None => counted.case.name.into(),
        };
        let count = |bursts: u64| {
            mycelia_benches::instructions(&["--count", counted.case.name, &bursts.to_string()])
        };
        let count =
            count(BURSTS).and_then(|once| Ok((count(2 * BURSTS)?.saturating_sub(once)) as f64));
        match count.map(|count| count / (BURSTS * BURST) as f64) {
            Ok(count) => {
                let is_passed = counted.most.map(|most| count <= most);
                line(target, format!("{count:.1}"), verdict(is_passed))
            }
            Err(why) => {
                println!("  {} is skipped: {why}", counted.case.name);
                line(target, "-".into(), Verdict::Skipped)
            }
        }
    };
    COUNTED.iter().map(line).collect()
}

fn line(target: String, figure: String, verdict: Verdict) -> Line {
    Line { target, figure, spread: "-".into(), verdict }
}

fn verdict(is_passed: Option<bool>) -> Verdict {
    match is_passed {
        Some(true) => Verdict::Pass,
        Some(false) => Verdict::Miss,
        None => Verdict::Reported,
    }
}

/// What the child does: a case, so many bursts.
pub fn run(case: &str, bursts: u64) -> Result<(), String> {
    let counted = COUNTED.iter().find(|counted| counted.case.name == case);
    let mut run = (counted.ok_or("there is no such case")?.case.make)()?;
    run(bursts);
    Ok(())
}

/// The lines of the row on allocations.
pub fn allocations() -> Vec<Line> {
    let program = std::env::current_exe().map(|own| own.with_file_name("allocations"));
    let output = program.and_then(|program| Command::new(program).output());
    let Ok(output) = output.map_err(|error| println!("  skipped: {error}")) else {
        return vec![line("none".into(), "-".into(), Verdict::Skipped)];
    };
    print!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = text.lines().filter_map(|line| line.split_once('\t'));
    let lines = counts.map(|(name, count)| {
        line(format!("{name}: 0"), count.into(), verdict(Some(count.parse() == Ok(0.0))))
    });
    let lines: Vec<Line> = lines.collect();
    match output.status.success() && !lines.is_empty() {
        true => lines,
        false => vec![line("the count itself".into(), "failed".into(), Verdict::Miss)],
    }
}
