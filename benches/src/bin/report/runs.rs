//! Runs what was not measured yet, as far as the user wants it; whatever fails is said, and the rest is run.

use crate::{
    counts, criterion, loads,
    plan::{self, SUBJECTS},
};
use clap::ValueEnum;
use mycelia_benches::memory;
use mycelia_gate::Workspace;
use std::{env, path::Path, process::Command};

/// What the command measures before it reports.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Run {
    /// Nothing: the report is made of what there is.
    Nothing,
    /// Two load tests of about 75 s, where there is none.
    Load,
    /// Whatever is missing: criterion's benches for a glance, memory, load tests, and instructions.
    Missing,
    /// The same, whatever there is.
    All,
}

/// Runs, and says what went wrong.
pub fn run(run: Run, with_loads: bool, workspace: &Workspace, folder: &Path) -> Vec<String> {
    let mut done = Vec::new();
    if run >= Run::Missing {
        let figures = criterion::read(&workspace.target.join("criterion")).0;
        let wanted =
            plan::benches().into_iter().filter(|bench| run == Run::All || lacks(&figures, bench));
        done.extend(wanted.map(|bench| cargo_bench(workspace, &[bench, "--", "--quick"])));
        if run == Run::All || !folder.join(memory::FILE).exists() {
            done.push(cargo_bench(workspace, &[plan::MEMORY]));
        }
    }
    if run >= Run::Load && with_loads {
        let wanted = loads::OWN.iter().filter(|own| run == Run::All || !own.file(folder).exists());
        done.extend(wanted.map(|own| own.run(folder)));
    }
    if run == Run::All || (run == Run::Missing && !folder.join(counts::FILE).exists()) {
        done.push(counts::count(workspace, folder));
    }
    done.into_iter().filter_map(Result::err).collect()
}

/// Whether a group of this bench has no figures.
fn lacks(figures: &[criterion::Figure], bench: &str) -> bool {
    let groups = SUBJECTS.iter().flat_map(|subject| subject.groups);
    let mut own = groups.filter(|group| group.bench() == bench);
    own.any(|group| figures.iter().all(|figure| figure.group != group.name))
}

/// What cargo and criterion print goes to stderr, since stdout is the report's.
fn cargo_bench(workspace: &Workspace, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["bench", "-p", "mycelia-benches", "--bench"]).args(arguments);
    command.current_dir(&workspace.root).stdout(std::io::stderr());
    let shown = plan::bench_command(&arguments.join(" "));
    eprintln!("{shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}; run it alone to see why")),
        Err(error) => Err(format!("cargo does not start: {error}; run `{shown}`")),
    }
}
