//! `validate`: whether a plugin keeps to what every plugin promises.

use super::exit::{Exit, Failure};
use super::output::{self, visible};
use crate::validate::{Check, in_child, validate};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// `mycelia validate`.
#[derive(Args, Debug)]
pub(super) struct Validate {
    /// The plugin's library.
    library: PathBuf,

    /// A file with the config that the plugin takes, in RON; `()` without it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print the report as JSON.
    #[arg(long)]
    json: bool,

    /// The config's text: this process runs the checks, and is ended by whoever started it.
    #[arg(long, hide = true, allow_hyphen_values = true)]
    in_child: Option<String>,
}

impl Validate {
    pub fn execute(&self) -> Result<(), Failure> {
        if let Some(config) = &self.in_child {
            in_child(&self.library, config);
            return Ok(());
        }
        let config = self.config()?;
        let checks = validate(&self.library, &config)
            .map_err(|error| Failure::failed(format!("cannot start the checks: {error}")))?;
        let passed = checks.iter().all(|check| check.passed);
        match self.json {
            true => {
                output::json(json!({ "passed": passed, "checks": checks }).to_string().as_bytes())?
            }
            false => output::data(visible(&text(&checks)).as_bytes())?,
        }
        if passed { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
    }

    fn config(&self) -> Result<String, Failure> {
        let Some(file) = &self.config else { return Ok("()".into()) };
        std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))
    }
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for Check { name, passed, found, remedy } in checks {
        let word = if *passed { "pass" } else { "FAIL" };
        text += &format!("{word}  {name:<9} {}\n", found.replace('\n', "\n                "));
        text.extend(remedy.iter().map(|remedy| format!("                remedy: {remedy}\n")));
    }
    text
}
