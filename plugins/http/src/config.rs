//! The config as it is written, and its limits as they are used.

use mycelia_plugin::{Error, Result, parse_nanos};
use serde::Deserialize;
use std::{ops::RangeInclusive, time::Duration};

/// The `config` of the RON file; the crate's documentation shows it.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port.
    pub listen: String,
    /// What becomes of which request.
    pub map: Vec<Entry>,
    /// The largest body of a request.
    pub body_limit: Size,
    /// The largest head of a request.
    pub header_limit: Size,
    /// The most connections at a time.
    pub connections: usize,
    /// How long the head of a request may take.
    pub header_timeout: Span,
    /// How long its body may take.
    pub body_timeout: Span,
    /// How long a connection may do nothing.
    pub idle_timeout: Span,
    /// How long an idle connection may still bring a request when the gateway stops.
    pub linger: Span,
    /// How long running requests may take when the gateway stops.
    pub drain_timeout: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: String::new(),
            map: Vec::new(),
            body_limit: Size(1 << 20),
            header_limit: Size(16 << 10),
            connections: 1024,
            header_timeout: Span(Duration::from_secs(5)),
            body_timeout: Span(Duration::from_secs(30)),
            idle_timeout: Span(Duration::from_secs(60)),
            // More than a round trip between continents: who sends a request after each answer is not cut off.
            linger: Span(Duration::from_millis(300)),
            drain_timeout: Span(Duration::from_secs(3)),
        }
    }
}

/// One row of the map.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// In capitals: `GET`.
    pub method: String,
    /// Which paths: `/kv/{key}`.
    pub path: String,
    /// Where the message goes: `kv://get/{key}`.
    pub to: String,
    /// Who is asked first, and may refuse: `limiter://take/{client}`.
    #[serde(default)]
    pub guard: Option<String>,
    /// What the message holds.
    #[serde(default)]
    pub pass: Pass,
    /// How an answer in parts goes out.
    #[serde(default)]
    pub reply: ReplyAs,
    /// The request's deadline, and that of each part of an answer in parts; the host's `ask_deadline` without it.
    #[serde(default)]
    pub within: Option<Span>,
}

/// What of a request becomes the message's body.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Pass {
    /// Its body, byte for byte.
    #[default]
    Body,
    /// All of it, as a [`mycelia_http_message::Request`].
    Request,
}

/// How an answer in parts becomes a response.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ReplyAs {
    /// Chunk by chunk, or as server-sent events if the client accepts those.
    #[default]
    Chunks,
    /// As server-sent events.
    Events,
}

/// A duration, written as `"250ms"`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match parse_nanos(&text) {
            Some(nanos) => Ok(Span(Duration::from_nanos(nanos))),
            None => Err(format!(
                "`{text}` is no duration: write a number and a unit, such as \"250ms\""
            )),
        }
    }
}

/// A size, written as `"64KiB"`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub usize);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_size(&text)
            .map(Size)
            .ok_or_else(|| format!("`{text}` is no size: write a number and a unit (B, KiB, MiB, GiB), such as \"64KiB\""))
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let digits =
        text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(scale)
}

/// What the gateway holds its clients to. Each is within its range.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Limits {
    pub body: usize,
    pub header: usize,
    pub connections: usize,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    pub idle_timeout: Duration,
    pub linger: Duration,
    pub drain_timeout: Duration,
}

/// hyper reads a head into a buffer of at least this size.
const HEADER: RangeInclusive<usize> = (8 << 10)..=(1 << 20);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

impl Settings {
    pub(crate) fn limits(&self) -> Result<Limits> {
        check_address(&self.listen)?;
        if self.connections == 0 {
            return Err(Error::invalid("`connections` is 0; write 1 or more"));
        }
        if !HEADER.contains(&self.header_limit.0) {
            return Err(Error::invalid(
                "`header_limit` is out of range; write \"8KiB\" to \"1MiB\"",
            ));
        }
        Ok(Limits {
            body: self.body_limit.0,
            header: self.header_limit.0,
            connections: self.connections,
            header_timeout: timeout("header_timeout", self.header_timeout)?,
            body_timeout: timeout("body_timeout", self.body_timeout)?,
            idle_timeout: timeout("idle_timeout", self.idle_timeout)?,
            linger: timeout("linger", self.linger)?,
            drain_timeout: timeout("drain_timeout", self.drain_timeout)?,
        })
    }
}

fn timeout(name: &str, given: Span) -> Result<Duration> {
    if TIMEOUT.contains(&given.0) {
        return Ok(given.0);
    }
    Err(Error::invalid(format!("`{name}` is out of range; write \"1ms\" to \"24h\"")))
}

fn check_address(listen: &str) -> Result<()> {
    let parts = listen
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match parts {
        Some(_) => Ok(()),
        None => Err(Error::invalid(format!(
            "`listen` is `{listen}`, which is no address; write one with a port, such as \"127.0.0.1:8080\""
        ))),
    }
}
