//! The binary: the command line, wired to the parts of the host.

use mycelia::cli::{self, Inspected, Seams};
use mycelia::config::Config;
use mycelia::loader;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(&Seams { run, check: |file| Config::read(file), inspect })
}

fn run(_: &Path) -> ExitCode {
    cli::Failure::failed("this build has no runtime").report()
}

fn inspect(library: &Path) -> anyhow::Result<Inspected> {
    let inspection = loader::inspect(library)?;
    Ok(Inspected { text: inspection.to_text(), json: serde_json::to_value(&inspection)? })
}
