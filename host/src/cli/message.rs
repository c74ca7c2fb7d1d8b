//! `send` and `ask`: a message from the command line.

use super::exit::Failure;
use super::output;
use super::reach::Reach;
use crate::config::amounts::parse_duration;
use crate::control::{BODY_LIMIT, ClientError};
use crate::operator::OperatorReply;
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

#[derive(Args, Debug)]
struct Message {
    /// The address, such as kv://put/x.
    path: String,

    /// The body: text, `-` for stdin, or `@FILE`; empty if absent.
    #[arg(allow_negative_numbers = true)]
    body: Option<String>,
}

/// `mycelia send`.
#[derive(Args, Debug)]
pub(super) struct Send {
    #[command(flatten)]
    message: Message,

    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

/// `mycelia ask`.
#[derive(Args, Debug)]
pub(super) struct Ask {
    #[command(flatten)]
    message: Message,

    /// Time for the answer, such as 250ms [default: the host's ask_deadline].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    within: Option<Duration>,

    /// Print the outcome as JSON: a reply, or an error.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

impl Send {
    pub fn execute(&self) -> Result<(), Failure> {
        let body = self.message.bytes()?;
        let sent = self.reach.client()?.send(&self.message.path, &body);
        match sent {
            Ok(accepted) if self.json => output::json(&accepted),
            Ok(_) => Ok(()),
            Err(error) => Err(refused(error, self.json)),
        }
    }
}

impl Ask {
    pub fn execute(&self) -> Result<(), Failure> {
        let body = self.message.bytes()?;
        let outcome = self.reach.client()?.ask(&self.message.path, &body, self.within);
        match outcome {
            Ok(reply) if self.json => output::json(&reply_json(&reply)),
            Ok(reply) => output::data_line(&reply.body),
            Err(error) => Err(refused(error, self.json)),
        }
    }
}

impl Message {
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        match self.body.as_deref() {
            None => Ok(Vec::new()),
            Some("-") => limited(io::stdin().lock(), "stdin"),
            Some(text) => match text.strip_prefix('@') {
                Some(file) => limited(open(file)?, file),
                None => Ok(text.as_bytes().to_vec()),
            },
        }
    }
}

fn open(file: &str) -> Result<File, Failure> {
    File::open(file).map_err(|error| Failure::failed(format!("cannot read {file}: {error}")))
}

fn limited(source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let limit = BODY_LIMIT as u64;
    let read = source.take(limit + 1).read_to_end(&mut body);
    read.map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
    match body.len() > BODY_LIMIT {
        true => Err(Failure::failed(format!(
            "too_large: {name} has over {limit} bytes, the most that is taken from here"
        ))),
        false => Ok(body),
    }
}

fn refused(error: ClientError, is_json: bool) -> Failure {
    match error {
        ClientError::Refused(error) if is_json => Failure::told(&error),
        error => error.into(),
    }
}

/// A JSON reply as it came, other text as a string, other bytes in hex.
fn reply_json(reply: &OperatorReply) -> Vec<u8> {
    let OperatorReply { body, is_json } = reply;
    let raw = is_json.then(|| serde_json::from_slice::<&RawValue>(body).ok()).flatten();
    match (raw, std::str::from_utf8(body)) {
        (Some(raw), _) => format!(r#"{{"reply":{}}}"#, raw.get()).into_bytes(),
        (None, Ok(text)) => json!({ "reply_text": text }).to_string().into_bytes(),
        (None, Err(_)) => json!({ "reply_hex": hex(body) }).to_string().into_bytes(),
    }
}

fn hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_as_json() {
        let check = |body: &[u8], is_json, expect: &str| {
            let found = reply_json(&OperatorReply { body: body.to_vec(), is_json });
            assert_eq!(String::from_utf8(found).unwrap(), expect);
        };
        check(br#"{"b": 1.0, "a": 2}"#, true, r#"{"reply":{"b": 1.0, "a": 2}}"#);
        check(b"{", true, r#"{"reply_text":"{"}"#);
        check(b"a\n", false, r#"{"reply_text":"a\n"}"#);
        check(b"", false, r#"{"reply_text":""}"#);
        check(&[0, 255], false, r#"{"reply_hex":"00ff"}"#);
    }
}
