//! `check`: whether a config is good, and what it says with every default filled in.

use super::exit::{Exit, Failure};
use super::output;
use crate::config::{Mistake, Mistakes};
use crate::run::Checked;
use clap::Args;
use serde_json::{Value, json};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// `mycelia check`.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// The RON file.
    file: PathBuf,

    /// Print the config with every default filled in and explained.
    #[arg(long)]
    effective: bool,

    /// Print the outcome as JSON: the subsystems, and every mistake with its place.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn execute(&self, check: fn(&Path) -> Result<Checked, Mistakes>) -> Result<(), Failure> {
        let checked = check(&self.file);
        match &checked {
            _ if self.json => {
                output::json(self.to_json(checked.as_ref()).to_string().as_bytes())?;
            }
            Ok(checked) => self.show(checked)?,
            Err(mistakes) => report_mistakes(mistakes),
        }
        checked.map(drop).map_err(|_| Failure::silent(Exit::BadConfig))
    }

    fn show(&self, checked: &Checked) -> Result<(), Failure> {
        let Checked { config, ungranted } = checked;
        let count = config.subsystems.len();
        let noun = if count == 1 { "subsystem" } else { "subsystems" };
        let lacks = match ungranted {
            0 => String::new(),
            1 => "; 1 scope that a plugin needs is not granted, see above".into(),
            _ => format!("; {ungranted} scopes that plugins need are not granted, see above"),
        };
        output::note(&format!("{}: no mistakes, {count} {noun}{lacks}", self.file.display()));
        if self.effective { output::data(config.effective().as_bytes()) } else { Ok(()) }
    }

    fn to_json(&self, checked: Result<&Checked, &Mistakes>) -> Value {
        let mut value = match checked {
            Ok(Checked { config, ungranted }) => {
                let names: Vec<&String> = config.subsystems.iter().map(|(name, _)| name).collect();
                json!({ "ok": true, "subsystems": names, "mistakes": [], "ungranted": ungranted })
            }
            Err(mistakes) => {
                let mistakes: Vec<Value> = mistakes.iter().map(mistake_json).collect();
                json!({ "ok": false, "subsystems": [], "mistakes": mistakes })
            }
        };
        if let (true, Ok(checked)) = (self.effective, checked) {
            value["effective"] = checked.config.effective().into();
        }
        value
    }
}

/// Shows the mistakes of a config on stderr: with excerpts at a terminal, a line each elsewhere.
pub fn report_mistakes(mistakes: &Mistakes) {
    let text = match io::stderr().is_terminal() {
        true => mistakes.render(output::has_color()),
        false => mistakes.to_plain(),
    };
    output::note(text.trim_end());
}

fn mistake_json(mistake: &Mistake) -> Value {
    let (line, column) = mistake.position().unzip();
    json!({ "message": mistake.message(), "help": mistake.help(), "line": line, "column": column })
}
