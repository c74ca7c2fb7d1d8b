//! `inspect`: what a library says of itself.

use super::Inspected;
use super::exit::Failure;
use super::output;
use clap::Args;
use std::path::{Path, PathBuf};

/// `mycelia inspect`.
#[derive(Args, Debug)]
pub(super) struct Inspect {
    /// The shared library of a plugin.
    library: PathBuf,

    /// Print its manifest as JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn execute(&self, inspect: fn(&Path) -> anyhow::Result<Inspected>) -> Result<(), Failure> {
        let Inspected { text, json } = inspect(&self.library)?;
        match self.json {
            true => output::json(json.to_string().as_bytes()),
            false => output::data(format!("{}\n", text.trim_end()).as_bytes()),
        }
    }
}
