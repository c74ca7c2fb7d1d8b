//! The other end: a small blocking client of a host's control server.

use super::answers::ErrorBody;
use super::query::of_letters;
use crate::config::amounts::show_duration;
use crate::figures::Figures;
use crate::letters::Filter;
use crate::operator::OperatorReply;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;
use ureq::http::uri::Authority;
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, Timeout};

const CONNECT: Duration = Duration::from_secs(2);

/// For an answer that the host gives at once.
const SOON: Duration = Duration::from_secs(10);

/// For a reload: its lifecycle calls may each take the `handler_limit`, 5 s by default.
const RELOAD: Duration = Duration::from_secs(60);

/// For an answer whose limit the host keeps; a host that hangs is noticed after this.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Added to a deadline, so that the host's own answer arrives.
const GRACE: Duration = Duration::from_secs(2);

/// No reply is larger: the host's whole pool rarely is.
const REPLY_LIMIT: u64 = 1 << 30;

/// The address of a control server, `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    authority: Authority,
    port: u16,
}

impl Address {
    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether nobody but this machine can be there.
    pub fn is_loopback(&self) -> bool {
        let host = self.authority.host().trim_matches(['[', ']']);
        let ip = host.parse::<IpAddr>().map(|ip| ip.to_canonical());
        host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let authority = text.parse::<Authority>().ok().filter(|_| !text.contains('@'));
        let port = authority.as_ref().and_then(Authority::port_u16);
        match (authority, port) {
            (Some(authority), Some(port)) if !authority.host().is_empty() => {
                Ok(Self { authority, port })
            }
            _ => Err("write HOST:PORT, such as 127.0.0.1:7070".into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authority.fmt(f)
    }
}

/// Why a host did not do what it was asked to.
#[derive(Debug)]
pub enum ClientError {
    /// Nothing answers at this address.
    Unreachable(Address),
    /// The host does not accept the token, or misses one.
    Unauthorized(ErrorBody),
    /// The host's own error.
    Refused(ErrorBody),
    /// The connection, or what answered there, is at fault.
    Broken(String),
}

/// A client of one host.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    address: Address,
    token: Option<String>,
}

impl Client {
    /// A client that has this token, if any; connecting is left to the first request.
    pub fn new(address: Address, token: Option<String>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy of the environment is not for this machine's own host.
            .proxy(None)
            .user_agent(concat!("mycelia/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .build();
        Self { agent: config.into(), address, token }
    }

    /// The host's status, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&self) -> Result<Vec<u8>, ClientError> {
        self.get("/status", &[])
    }

    /// Looks at the host as they come, one a second, until it stops.
    ///
    /// # Errors
    /// See [`ClientError`]; those of the iterator are that the connection broke.
    pub fn figures(
        &self,
    ) -> Result<impl Iterator<Item = Result<Figures, ClientError>> + Send + use<>, ClientError>
    {
        let looks = self.looks()?.filter_map(|look| match look {
            Ok((true, _)) => None,
            Ok((false, figures)) => Some(Ok(figures)),
            Err(error) => Some(Err(error)),
        });
        Ok(looks)
    }

    /// The same after those that the host keeps from before; each with whether it is one of these.
    ///
    /// # Errors
    /// Those of [`Client::figures`].
    pub fn looks(
        &self,
    ) -> Result<
        impl Iterator<Item = Result<(bool, Figures), ClientError>> + Send + use<>,
        ClientError,
    > {
        let request = self.authorized(self.agent.get(self.url("/figures")));
        let request = request.config().timeout_recv_response(Some(SOON)).build();
        let body = self.accepted(request.call(), SOON)?.into_body().into_reader();
        let mut is_past = false;
        let address = self.address.clone();
        let looks = BufReader::new(body).lines().filter_map(move |line| {
            let broken = |error: &dyn fmt::Display| {
                ClientError::Broken(format!("the host at {address} broke off: {error}"))
            };
            let line = match line {
                Ok(line) => line,
                Err(error) => return Some(Err(broken(&error))),
            };
            if let Some(event) = line.strip_prefix("event: ") {
                // Those that are `past` came before anybody asked.
                is_past = event == "past";
            }
            let figures = serde_json::from_str(line.strip_prefix("data: ")?);
            Some(figures.map(|figures| (is_past, figures)).map_err(|error| broken(&error)))
        });
        Ok(looks)
    }

    /// The newest dead letters that are meant, at most so many, as JSON, without their bodies.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn newest_dead_letters(
        &self,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<u8>, ClientError> {
        let mut query = of_letters(filter);
        query.push(("limit", limit.to_string()));
        self.get("/dead-letters", &pairs(&query))
    }

    /// What a subsystem serves, and how the messages of each route ended, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn routes(&self, subsystem: &str) -> Result<Vec<u8>, ClientError> {
        self.get("/routes", &[("subsystem", subsystem)])
    }

    /// Where a path leads for a sender and why, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn why(&self, path: &str, sender: &str) -> Result<Vec<u8>, ClientError> {
        self.get("/why", &[("path", path), ("as", sender)])
    }

    /// What is logged, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn log(&self) -> Result<Vec<u8>, ClientError> {
        self.get("/log", &[])
    }

    /// Changes what is logged, and answers with what holds from here on, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn set_log(&self, directives: &str) -> Result<Vec<u8>, ClientError> {
        let request = self.authorized(self.agent.put(self.url("/log")));
        let request = request.config().timeout_recv_response(Some(SOON)).build();
        let mut response = self.accepted(request.send(directives), SOON)?;
        self.bytes(&mut response)
    }

    /// The dead letters that are meant, as JSON, without their bodies.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn dead_letters(&self, filter: &Filter) -> Result<Vec<u8>, ClientError> {
        let query = of_letters(filter);
        self.get("/dead-letters", &pairs(&query))
    }

    /// A dead letter with its body, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn dead_letter(&self, id: u64) -> Result<Vec<u8>, ClientError> {
        self.get(&format!("/dead-letters/{id}"), &[])
    }

    /// Sends dead letters again, and answers with the report as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn replay(&self, filter: &Filter) -> Result<Vec<u8>, ClientError> {
        self.post_letters("/dead-letters/replay", filter)
    }

    /// Throws dead letters away, and answers how many, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn purge(&self, filter: &Filter) -> Result<Vec<u8>, ClientError> {
        self.post_letters("/dead-letters/purge", filter)
    }

    fn post_letters(&self, endpoint: &str, filter: &Filter) -> Result<Vec<u8>, ClientError> {
        let query = of_letters(filter);
        let mut response = self.post(endpoint, &pairs(&query), &[], PATIENCE)?;
        self.bytes(&mut response)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn send(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        let mut response = self.post("/send", &[("path", path)], body, PATIENCE)?;
        self.bytes(&mut response)
    }

    /// Sends a request and waits for its outcome.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn ask(
        &self,
        path: &str,
        body: &[u8],
        within: Option<Duration>,
    ) -> Result<OperatorReply, ClientError> {
        let shown = within.map(show_duration);
        let mut query = vec![("path", path)];
        query.extend(shown.as_deref().map(|within| ("within", within)));
        let patience = within.map_or(PATIENCE, |within| within.saturating_add(GRACE));
        let mut response = self.post("/ask", &query, body, patience)?;
        let is_json = response.body().mime_type() == Some("application/json");
        Ok(OperatorReply { body: self.bytes(&mut response)?, is_json })
    }

    /// Reloads a subsystem and waits for the report, as JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn reload(&self, subsystem: &str) -> Result<Vec<u8>, ClientError> {
        let mut response = self.post("/reload", &[("subsystem", subsystem)], &[], RELOAD)?;
        self.bytes(&mut response)
    }

    /// Stops the host in order.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stop(&self) -> Result<Vec<u8>, ClientError> {
        let mut response = self.post("/stop", &[], &[], SOON)?;
        self.bytes(&mut response)
    }

    fn get(&self, endpoint: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, ClientError> {
        let request = self.agent.get(self.url(endpoint)).query_pairs(query.iter().copied());
        let request = self.authorized(request).config().timeout_recv_response(Some(SOON)).build();
        let mut response = self.accepted(request.call(), SOON)?;
        self.bytes(&mut response)
    }

    fn post(
        &self,
        endpoint: &str,
        query: &[(&str, &str)],
        body: &[u8],
        patience: Duration,
    ) -> Result<Response<Body>, ClientError> {
        let request = self.agent.post(self.url(endpoint)).query_pairs(query.iter().copied());
        let request = self.authorized(request).config().timeout_recv_response(Some(patience));
        self.accepted(request.build().send(body), patience)
    }

    fn url(&self, endpoint: &str) -> String {
        format!("http://{}{endpoint}", self.address)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// The response, if it is a good one.
    fn accepted(
        &self,
        response: Result<Response<Body>, ureq::Error>,
        patience: Duration,
    ) -> Result<Response<Body>, ClientError> {
        let mut response = response.map_err(|error| self.broken(error, patience))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.bytes(&mut response)?;
        match serde_json::from_slice(&body) {
            Ok(error) if status == StatusCode::UNAUTHORIZED => {
                Err(ClientError::Unauthorized(error))
            }
            Ok(error) => Err(ClientError::Refused(error)),
            Err(_) => Err(self.stranger(status)),
        }
    }

    fn bytes(&self, response: &mut Response<Body>) -> Result<Vec<u8>, ClientError> {
        let body = response.body_mut().with_config().limit(REPLY_LIMIT).read_to_vec();
        body.map_err(|error| self.broken(error, SOON))
    }

    fn broken(&self, error: ureq::Error, patience: Duration) -> ClientError {
        let address = &self.address;
        if is_unreachable(&error) {
            return ClientError::Unreachable(address.clone());
        }
        ClientError::Broken(match error {
            ureq::Error::Timeout(_) => {
                format!("the host at {address} did not answer within {}", show_duration(patience))
            }
            error => format!("the host at {address} broke off: {error}"),
        })
    }

    fn stranger(&self, status: StatusCode) -> ClientError {
        let address = &self.address;
        ClientError::Broken(format!(
            "what answers at {address} is no Mycelia host (HTTP {status}); name one with --control"
        ))
    }
}

fn pairs<'q>(query: &'q [(&'static str, String)]) -> Vec<(&'static str, &'q str)> {
    query.iter().map(|(name, value)| (*name, &**value)).collect()
}

fn is_unreachable(error: &ureq::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(u16, bool)>) {
        let found = text.parse::<Address>().ok();
        assert_eq!(found.map(|found| (found.port(), found.is_loopback())), expect, "{text}");
    }

    #[test]
    fn addresses() {
        check("127.0.0.1:7070", Some((7070, true)));
        check("localhost:1", Some((1, true)));
        check("[::1]:7070", Some((7070, true)));
        check("10.0.0.1:7070", Some((7070, false)));
        check("localhost.example.org:7070", Some((7070, false)));
        for bad in [
            "",
            "7070",
            ":7070",
            "localhost",
            "http://localhost:7070",
            "a@localhost:7070",
            "a:99999",
        ] {
            check(bad, None);
        }
    }
}
