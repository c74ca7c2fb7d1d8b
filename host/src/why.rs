//! What `mycelia why --json` and `GET /why` say: where a path leads for one sender, and what allows or denies it.

use crate::status::{Phase, QueueStatus};
use serde::{Deserialize, Serialize};

/// A path that was resolved for a sender, and not sent to. Its JSON form is a stable interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// As it was asked for.
    pub path: String,
    /// Who would send.
    #[serde(rename = "as")]
    pub sender: String,
    /// `allowed`, or the code of the error that the sender would get.
    pub verdict: String,
    /// The scope, grant or rule that decides.
    pub because: String,
    /// What to write into the config, where that would help.
    pub remedy: Option<String>,
    /// Whom the path names, if the config has such a subsystem.
    pub subsystem: Option<Addressee>,
    /// Which of its routes matches, if one does.
    pub route: Option<Matched>,
}

impl Why {
    /// The verdict of a path that may be sent to.
    pub const ALLOWED: &str = "allowed";

    /// Whether the sender may send there.
    pub fn is_allowed(&self) -> bool {
        self.verdict == Self::ALLOWED
    }
}

/// A subsystem that a path names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Addressee {
    /// As the config names it.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Where the message would wait.
    pub queue: QueueStatus,
}

/// A route that matches a path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matched {
    /// As the plugin declares it.
    pub pattern: String,
    /// What it captures, by name and in order.
    pub parameters: Vec<(String, String)>,
    /// The scope that it requires of others, by its full name.
    pub scope: Option<String>,
}
