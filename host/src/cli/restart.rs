//! `restart`, and `stop` of one subsystem: what the kernel does to it at `kernel://subsystem/…`.

use super::exit::Failure;
use super::output::{self, visible};
use super::reach::Reach;
use crate::control::{Client, ClientError};
use crate::operator::OperatorReply;
use crate::status::Ordered;
use clap::Args;
use std::time::Duration;

/// Time for an instance to end and another one to start.
const WITHIN: Duration = Duration::from_secs(60);

/// `mycelia restart`.
#[derive(Args, Debug)]
pub(super) struct Restart {
    /// The subsystem, as the config names it.
    name: String,

    /// Print the outcome as JSON: what it is by then, or an error.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

impl Restart {
    pub fn execute(&self) -> Result<(), Failure> {
        order(&self.reach, &self.name, "restart", self.json)
    }
}

/// Has the kernel do something to a subsystem; the reply is what it is by then, [`Ordered`] as JSON.
pub(super) fn ask(client: &Client, name: &str, what: &str) -> Result<OperatorReply, ClientError> {
    client.ask(&format!("kernel://subsystem/{name}/{what}"), b"", Some(WITHIN))
}

/// Has the kernel do something to a subsystem, and says what it is by then.
pub(super) fn order(reach: &Reach, name: &str, what: &str, json: bool) -> Result<(), Failure> {
    let reply = ask(&reach.client()?, name, what).map_err(|error| match error {
        ClientError::Refused(error) if json => Failure::told(&error),
        error => error.into(),
    })?;
    if json {
        return output::json(&reply.body);
    }
    let Ordered { subsystem, phase, generation } =
        serde_json::from_slice(&reply.body).map_err(|error| {
            Failure::failed(format!("{} does not say what it did: {error}", reach.control))
        })?;
    let word = phase.word();
    output::note(&visible(&format!("{subsystem}: {word}, generation {generation}")));
    Ok(())
}
