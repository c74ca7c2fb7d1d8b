//! `stop`: ends a running host in order.

use super::exit::Failure;
use super::output;
use super::reach::Reach;
use clap::Args;

/// `mycelia stop`.
#[derive(Args, Debug)]
pub(super) struct Stop {
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

impl Stop {
    pub fn execute(&self) -> Result<(), Failure> {
        let stopping = self.reach.client()?.stop()?;
        if self.json {
            return output::json(&stopping);
        }
        output::note(&format!("the host at {} drains its queues and stops", self.reach.control));
        Ok(())
    }
}
