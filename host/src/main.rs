//! The binary: the command line, wired to the parts of the host.

use mycelia::{
    cli::{self, Inspected, Seams},
    dev, load, loader, run,
    runtime::search_path,
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    if let Some(code) = loader::answer_probe() {
        return code;
    }
    cli::main(&Seams { run: run::run, dev: dev::dev, check: run::check, inspect, load: load::run })
}

fn inspect(library: &Path) -> anyhow::Result<Inspected> {
    let inspection = loader::inspect(&located(library)?)?;
    Ok(Inspected { text: inspection.to_text(), json: serde_json::to_value(&inspection)? })
}

/// The file that is meant: a path, or a plugin's name as a config has it.
fn located(library: &Path) -> anyhow::Result<PathBuf> {
    if library.exists() {
        return Ok(library.to_owned());
    }
    Ok(loader::find(&library.to_string_lossy(), Path::new("."), &search_path())?)
}
