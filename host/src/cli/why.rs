//! `why`: where a path leads for a sender, and what allows or denies it.

use super::exit::{Exit, Failure};
use super::output::{self, visible};
use super::reach::Reach;
use crate::control::ClientError;
use crate::status::QueueStatus;
use crate::why::{Addressee, Matched, Why};
use clap::Args;

/// `mycelia why`.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// The address, such as kv://put/x.
    path: String,

    /// The sender: the command line is the operator.
    #[arg(long = "as", value_name = "SUBSYSTEM", default_value = "operator")]
    sender: String,

    /// Print the explanation as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

impl Explain {
    pub fn execute(&self) -> Result<(), Failure> {
        let json = self.reach.client()?.why(&self.path, &self.sender);
        let json = json.map_err(|error| self.refused(error))?;
        let why: Why = serde_json::from_slice(&json).map_err(|error| {
            Failure::failed(format!("{} explains nothing: {error}", self.reach.control))
        })?;
        match self.json {
            true => output::json(&json)?,
            false => output::data(visible(&text(&why)).as_bytes())?,
        }
        if why.is_allowed() { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
    }

    /// That nothing was handled goes without saying.
    fn refused(&self, error: ClientError) -> Failure {
        match error {
            ClientError::Refused(error) if self.json => Failure::told(&error),
            ClientError::Refused(error) => Failure::failed(error.text),
            error => error.into(),
        }
    }
}

fn text(why: &Why) -> String {
    let mut text = format!("{} as {}: {}\n", why.path, why.sender, why.verdict);
    let mut line = |head: &str, rest: &str| text += &format!("  {head:<10} {rest}\n");
    if let Some(Addressee { name, plugin, version, phase, queue }) = &why.subsystem {
        line("subsystem", &format!("{name}, {plugin} {version}, {}", phase.word()));
        let QueueStatus { depth, capacity, policy } = queue;
        line("queue", &format!("{depth} of {capacity} wait; {}", when_full(policy)));
    }
    if let Some(Matched { pattern, parameters, scope }) = &why.route {
        line("route", if pattern.is_empty() { "the empty one" } else { pattern });
        for (name, value) in parameters {
            line("", &format!("{name} = {value}"));
        }
        line("scope", scope.as_deref().unwrap_or("none"));
    }
    line("because", &why.because);
    if let Some(remedy) = &why.remedy {
        line("remedy", &format!("write into the config: {remedy}"));
    }
    text
}

/// What a policy does with one message too many.
fn when_full(policy: &str) -> String {
    let does = match policy {
        "DropOldest" => "drops the one that has waited longest",
        "DropNewest" => "drops the new one",
        "Reject" => "gives the new one back with an error",
        _ => "lets threads outside of handlers wait, and gives the new one back with an error",
    };
    format!("when it is full, {policy} {does}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Phase;

    #[test]
    fn an_explanation_as_text() {
        let queue = QueueStatus { depth: 3, capacity: 64, policy: "Reject".into() };
        let why = Why {
            path: "kv://put/x".into(),
            sender: "http".into(),
            verdict: "denied".into(),
            because: "`http` is granted nothing, and not `kv:write`".into(),
            remedy: Some("\"http\": (plugin: …, grants: [\"kv:write\"])".into()),
            subsystem: Some(Addressee {
                name: "kv".into(),
                plugin: "mycelia-kv".into(),
                version: "0.1.0".into(),
                phase: Phase::Running,
                queue,
            }),
            route: Some(Matched {
                pattern: "put/{key}".into(),
                parameters: vec![("key".into(), "x".into())],
                scope: Some("kv:write".into()),
            }),
        };
        let expect = "\
kv://put/x as http: denied
  subsystem  kv, mycelia-kv 0.1.0, running
  queue      3 of 64 wait; when it is full, Reject gives the new one back with an error
  route      put/{key}
             key = x
  scope      kv:write
  because    `http` is granted nothing, and not `kv:write`
  remedy     write into the config: \"http\": (plugin: …, grants: [\"kv:write\"])
";
        assert_eq!(text(&why), expect);
        let nowhere = Why { subsystem: None, route: None, remedy: None, ..why };
        assert_eq!(text(&nowhere).lines().count(), 2);
    }
}
