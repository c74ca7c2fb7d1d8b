//! How a command ends: the exit codes, and the texts that go with them.

use super::output;
use crate::control::{Address, ClientError, ErrorBody};
use serde_json::json;
use std::process::ExitCode;

/// The exit codes, after sysexits where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command did not succeed.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// No host answers.
    Unreachable = 69,
    /// The config is wrong.
    BadConfig = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// For the user; further lines explain the first. Empty when everything is said already.
    pub text: String,
}

impl Failure {
    /// The command did not succeed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, text: text.into() }
    }

    /// The command, or its environment, is wrong.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, text: text.into() }
    }

    /// Everything is said already.
    pub fn silent(exit: Exit) -> Self {
        Self { exit, text: String::new() }
    }

    /// The host's refusal is printed as JSON: with `--json` it is the outcome, and so data.
    pub fn told(error: &ErrorBody) -> Self {
        let told = output::json(json!(error).to_string().as_bytes());
        told.err().unwrap_or(Self::silent(Exit::Failed))
    }

    /// Says so on stderr.
    pub fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            output::error(&self.text);
        }
        self.exit.into()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unreachable(address) => unreachable_host(&address),
            ClientError::Unauthorized(error) => Self::failed(without_token(&error)),
            ClientError::Refused(error) => Self::failed(refused(&error)),
            ClientError::Broken(text) => Self::failed(text),
        }
    }
}

fn unreachable_host(address: &Address) -> Failure {
    let text = format!(
        "no host answers at {address}; \
         start one with `mycelia run FILE`, or name another with --control"
    );
    Failure { exit: Exit::Unreachable, text }
}

fn without_token(error: &ErrorBody) -> String {
    format!(
        "{}\n  run this as the user who runs the host, or give the token: \
         --token FILE, or MYCELIA_TOKEN with the token itself",
        error.text
    )
}

fn refused(error: &ErrorBody) -> String {
    let ErrorBody { error: code, text, handled, retry_after_ms } = error;
    let meaning = match handled.as_str() {
        "no" => "it is safe to repeat",
        "yes" => "a handler decided it",
        _ => "it may or may not have taken effect",
    };
    let retry = retry_after_ms.map(|delay| format!("\n  try again in {delay} ms"));
    format!("{code}: {text}\n  handled: {handled}, {meaning}{}", retry.unwrap_or_default())
}
