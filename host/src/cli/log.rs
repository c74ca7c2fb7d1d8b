//! `log`: what a running host logs, and at which levels.

use super::exit::Failure;
use super::output::{self, visible};
use super::reach::Reach;
use crate::control::ClientError;
use clap::Args;
use serde::Deserialize;

/// `mycelia log`.
#[derive(Args, Debug)]
pub(super) struct Log {
    /// SUBSYSTEM=LEVEL, TARGET=LEVEL, or a level for all else, comma-separated.
    directives: Option<String>,

    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Told {
    log: String,
}

impl Log {
    pub fn execute(&self) -> Result<(), Failure> {
        let client = self.reach.client()?;
        let told = match &self.directives {
            Some(directives) => client.set_log(directives).map_err(|error| self.refused(error))?,
            None => client.log()?,
        };
        if self.json {
            return output::json(&told);
        }
        let Told { log } = serde_json::from_slice(&told).map_err(|error| {
            Failure::failed(format!("{} tells no log: {error}", self.reach.control))
        })?;
        output::data(format!("{}\n", visible(&log)).as_bytes())
    }

    /// That nothing was changed goes without saying.
    fn refused(&self, error: ClientError) -> Failure {
        match error {
            ClientError::Refused(error) if self.json => Failure::told(&error),
            ClientError::Refused(error) => Failure::failed(error.text),
            error => error.into(),
        }
    }
}
