//! `stop`: ends a running host in order, or one of its subsystems.

use super::exit::Failure;
use super::output;
use super::reach::Reach;
use super::restart::order;
use clap::Args;

/// `mycelia stop`.
#[derive(Args, Debug)]
pub(super) struct Stop {
    /// Stop this subsystem alone; `restart` or `reload` starts it again.
    #[arg(long, value_name = "NAME")]
    subsystem: Option<String>,

    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

impl Stop {
    pub fn execute(&self) -> Result<(), Failure> {
        if let Some(name) = &self.subsystem {
            return order(&self.reach, name, "stop", self.json);
        }
        let stopping = self.reach.client()?.stop()?;
        if self.json {
            return output::json(&stopping);
        }
        output::note(&format!("the host at {} drains its queues and stops", self.reach.control));
        Ok(())
    }
}
