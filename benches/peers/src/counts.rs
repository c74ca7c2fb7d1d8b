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
        let count = count(counted.case.name, BURSTS)
            .and_then(|once| Ok((count(counted.case.name, 2 * BURSTS)? - once) as f64));
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

fn count(case: &str, bursts: u64) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["--count", case, &bursts.to_string()])
        // Variants of glibc that depend on the processor would make the counts differ between machines.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM")
        .output()
        .map_err(|error| {
            format!("cannot run valgrind: {error}; install it with `apt-get install valgrind`")
        })?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok());
    match collected {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("callgrind counted nothing:\n{text}")),
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
