//! The benchmark report of the plan, as text and as a page: queue operations, routing, messages, load, memory, latency.
//!
//! `cargo run --release -p mycelia-benches --bin report [-- --run]`. No figure stands in its source: each comes from a file
//! that a bench, a load test or the gate has written, or from a run of this command, and what is missing is named.

mod beside;
mod counts;
mod criterion;
mod environment;
mod loads;
mod page;
mod plan;
mod rows;
mod runs;
mod sections;
mod sheet;
mod summary;
mod text;

use clap::Parser;
use mycelia_benches::memory;
use mycelia_gate::Workspace;
use runs::Run;
use sections::Found;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Reports what the benches, the load tests and the gate have measured, as text and as a page that opens offline.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
struct Arguments {
    /// Where the page is written [default: report.html in the folder of what cargo builds]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// What `mycelia load-test --json` printed, in place of this command's own load tests; may be repeated
    #[arg(long, value_name = "FILE")]
    load: Vec<PathBuf>,
    /// What is measured first; `--run` alone is `--run missing`
    #[arg(long, value_enum, value_name = "WHAT", default_value = "load", num_args = 0..=1, default_missing_value = "missing")]
    run: Run,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  the report was made, also when figures are missing or a target is missed
  1  it was made, but a file is damaged or a run has failed
  2  it could not be made";

fn main() -> ExitCode {
    // The host of a load test tries plugins in child processes, which are this program.
    if let Some(code) = mycelia::loader::answer_probe().or_else(loads::answer_child) {
        return code;
    }
    match report(&Arguments::parse()) {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Makes the report, and gives what went wrong meanwhile.
fn report(arguments: &Arguments) -> Result<Vec<String>, String> {
    let workspace =
        Workspace::open(Path::new("."), counts::BENCH).map_err(|error| error.to_string())?;
    let folder = workspace.target.join(memory::FOLDER);
    fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let mut wrong = runs::run(arguments.run, arguments.load.is_empty(), &workspace, &folder);
    let found = find(arguments, &workspace, &folder, &mut wrong);
    let sheet = found.sheet(&environment::Place::new(&workspace.root), &wrong);
    wrong.iter().for_each(|wrong| eprintln!("error: {wrong}"));
    let html = arguments.html.clone().unwrap_or_else(|| workspace.target.join("report.html"));
    fs::write(&html, page::page(&sheet)).map_err(|error| {
        format!("cannot write {}: {error}; name another file with --html", html.display())
    })?;
    let text =
        format!("{}\nThe same with charts: {}\n", text::text(&sheet), workspace.shown(&html));
    // A reader that has seen enough, as `head` has, is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(wrong)
}

/// Reads what there is.
fn find(
    arguments: &Arguments,
    workspace: &Workspace,
    folder: &Path,
    wrong: &mut Vec<String>,
) -> Found {
    let (figures, damaged) = criterion::read(&workspace.target.join("criterion"));
    wrong.extend(damaged);
    let mut loads = Vec::new();
    let given = arguments.load.iter().map(|file| loads::read(file).map(Some));
    let own = loads::OWN.iter().filter(|_| arguments.load.is_empty()).map(|own| own.read(folder));
    for load in given.chain(own) {
        loads.extend(taken(load, wrong));
    }
    Found {
        figures,
        instructions: taken(counts::read(workspace, folder), wrong),
        loads,
        memory: taken(sections::memory(&folder.join(memory::FILE)), wrong),
    }
}

/// What was read; or notes what is wrong with it.
fn taken<T>(read: Result<Option<T>, String>, wrong: &mut Vec<String>) -> Option<T> {
    read.unwrap_or_else(|error| {
        wrong.push(error);
        None
    })
}
