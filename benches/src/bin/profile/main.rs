//! Where the instructions of a journey go: the top functions of each library, and a flame graph.
//!
//! `cargo run --release -p mycelia-benches --bin profile -- JOURNEY [--svg FILE]`; without a journey it lists them. Callgrind
//! counts a run of this same program. The graph is made of calls, not of stacks: what a function takes is spread over its
//! callers as their shares of it say.

mod calls;
mod symbols;

use calls::{Calls, Function};
use mycelia_benches::{
    Bench,
    journey::{ALL, Journey, MESSAGES},
};
use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};
use symbols::Symbols;

/// Messages a batch and a burst.
const BATCH: u64 = 64;
/// Times that a journey is counted.
const ROUNDS: u64 = 10;
/// Functions that are shown of a library.
const SHOWN: usize = 12;
/// The function below which is counted, by the name that callgrind gives it.
const COUNTED: &str = "profile::counted";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["--run", name] => find(name).map(run),
        [name] => find(name).map(|journey| profile(journey, &default_svg(name))),
        [name, "--svg", file] => find(name).map(|journey| profile(journey, Path::new(file))),
        _ => None,
    };
    match done {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        None => {
            let names: Vec<&str> = ALL.iter().map(|journey| journey.name).collect();
            eprintln!("usage: profile JOURNEY [--svg FILE]\njourneys: {}", names.join(", "));
            ExitCode::from(2)
        }
    }
}

fn find(name: &str) -> Option<&'static Journey> {
    ALL.iter().find(|journey| journey.name == name)
}

fn default_svg(name: &str) -> PathBuf {
    format!("target/profile/{name}.svg").into()
}

/// The run that is counted. Its maps tell where which library lies.
fn run(journey: &Journey) -> Result<(), Box<dyn Error>> {
    let bench = journey.host(BATCH, BATCH);
    bench.run(&journey.path());
    print!("{}", fs::read_to_string("/proc/self/maps")?);
    counted(&bench, &journey.path());
    Ok(())
}

#[inline(never)]
fn counted(bench: &Bench, path: &str) {
    (0..ROUNDS).for_each(|_| bench.run(path));
}

fn profile(journey: &Journey, svg: &Path) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--trace-children=no", "--dump-instr=yes", "--dump-line=no"])
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args(["--run", journey.name])
        .output()
        .map_err(|error| {
            format!("cannot run valgrind: {error}; install it with `apt-get install valgrind`")
        })?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let symbols = Symbols::new(&String::from_utf8_lossy(&output.stdout))?;
    let calls = Calls::parse(&fs::read_to_string(&file)?, &symbols);
    print_libraries(&calls);
    let mut stacks = Vec::new();
    calls.stacks(COUNTED, &mut |stack, own| stacks.push(format!("{stack} {own}")));
    draw(journey, &stacks, svg)?;
    println!("\nflame graph: {}", svg.display());
    Ok(())
}

fn print_libraries(calls: &Calls) {
    let mut libraries: BTreeMap<&str, Vec<(&Function, u64)>> = BTreeMap::new();
    for (function, own) in calls.own() {
        libraries.entry(&function.library).or_default().push((function, own));
    }
    let sum = |functions: &[(&Function, u64)]| functions.iter().map(|(_, own)| own).sum::<u64>();
    let mut libraries: Vec<_> = libraries.into_iter().collect();
    libraries.sort_by_key(|(_, functions)| std::cmp::Reverse(sum(functions)));
    for (library, mut functions) in libraries {
        println!("\n{:>9.1}  {library}: instructions a message", a_message(sum(&functions)));
        functions.sort_by_key(|(_, own)| std::cmp::Reverse(*own));
        let worth_showing = |(_, own): &&(&Function, u64)| a_message(*own) >= 0.05;
        for (function, own) in functions.iter().filter(worth_showing).take(SHOWN) {
            println!("{:>9.1}  {}", a_message(*own), function.name);
        }
    }
}

fn a_message(instructions: u64) -> f64 {
    instructions as f64 / (ROUNDS * MESSAGES) as f64
}

fn draw(journey: &Journey, stacks: &[String], svg: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(svg.parent().unwrap_or(Path::new(".")))?;
    let mut options = inferno::flamegraph::Options::default();
    options.title = format!("{}: instructions of {} messages", journey.name, ROUNDS * MESSAGES);
    options.count_name = "instructions".into();
    let lines = stacks.iter().map(String::as_str);
    inferno::flamegraph::from_lines(&mut options, lines, fs::File::create(svg)?)?;
    Ok(())
}
