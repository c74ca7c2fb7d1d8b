//! `reload`: a plugin's new build takes over, or the operator hears why not.

use super::exit::Failure;
use super::output::{self, visible};
use super::reach::Reach;
use crate::control::ClientError;
use crate::report::ReloadReport;
use clap::Args;

/// `mycelia reload`.
#[derive(Args, Debug)]
pub(super) struct Reload {
    /// The subsystem, as the config names it.
    name: String,

    /// Print the outcome as JSON: a report, or an error.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

impl Reload {
    pub fn execute(&self) -> Result<(), Failure> {
        let json = self.reach.client()?.reload(&self.name).map_err(|error| self.refused(error))?;
        if self.json {
            return output::json(&json);
        }
        let report: ReloadReport = serde_json::from_slice(&json).map_err(|error| {
            Failure::failed(format!("{} tells no report: {error}", self.reach.control))
        })?;
        output::note(&visible(&format!("{}: {report}", report.subsystem)));
        Ok(())
    }

    /// The text says what serves on, which is more than whether it was handled.
    fn refused(&self, error: ClientError) -> Failure {
        match error {
            ClientError::Refused(error) if self.json => Failure::told(&error),
            ClientError::Refused(error) => Failure::failed(error.text),
            error => error.into(),
        }
    }
}
