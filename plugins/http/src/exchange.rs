//! One request and its response.

use crate::{
    Plan,
    body::Form,
    config::{Limits, Pass, ReplyAs},
    host::{Answer, Host},
    map::{Found, Rule},
    respond::{self, Response, problem},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, ALLOW},
    request::Parts,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use mycelia_http_message::Request;
use mycelia_plugin::{Error, ErrorCode, Handled};
use std::{net::SocketAddr, sync::Arc};

/// What all connections share.
pub(crate) struct Gateway<H> {
    pub plan: Arc<Plan>,
    pub host: H,
}

/// A response, and what is to become of the connection.
pub(crate) struct Exchanged {
    pub response: Response,
    /// Whether a part of the request's body was never read, so that no further request can follow it.
    pub is_cut: bool,
}

impl<H: Host> Gateway<H> {
    /// Answers a request.
    pub async fn exchange(
        &self,
        request: http::Request<Incoming>,
        client: SocketAddr,
    ) -> Exchanged {
        let (parts, body) = request.into_parts();
        let mut upload = Upload { body, is_read: false };
        let response =
            self.answer(parts, &mut upload, client).await.unwrap_or_else(|refusal| refusal);
        Exchanged { response, is_cut: !upload.is_read && !upload.body.is_end_stream() }
    }

    async fn answer(
        &self,
        parts: Parts,
        upload: &mut Upload,
        client: SocketAddr,
    ) -> Result<Response, Response> {
        let (rule, paths) = match self.plan.map.find(&parts.method, parts.uri.path(), client.ip()) {
            Found::Rule(rule, paths) => (rule, paths),
            Found::OtherMethods(allow) => return Err(no_method(&parts, &allow)),
            Found::Nothing => return Err(no_route(&parts)),
        };
        if let Some(guard) = &paths.guard {
            self.pass_guard(guard, rule).await.map_err(|error| respond::of_error(&error))?;
        }
        let body = upload.read(&self.plan.limits).await?;
        let answered = self.ask(rule, &paths.to, parts, body, client).await;
        answered.map_err(|error| respond::of_error(&error))
    }

    /// Asks a guard, which lets the request pass by any answer that is no error.
    async fn pass_guard(&self, guard: &str, rule: &Rule) -> mycelia_plugin::Result<()> {
        let passed = self.host.ask_body(guard, Bytes::new(), rule.within).await;
        // What the client asked for may well be there: that its guard is not, is no 404.
        let is_missing =
            |error: &Error| error.code == ErrorCode::NoRoute && error.handled == Handled::No;
        passed.map(drop).map_err(|error| match is_missing(&error) {
            true => Error::new(ErrorCode::Gone, format!("the guard is not there: {}", error.text))
                .handled(Handled::No),
            false => error,
        })
    }

    async fn ask(
        &self,
        rule: &Rule,
        to: &str,
        parts: Parts,
        body: Bytes,
        client: SocketAddr,
    ) -> mycelia_plugin::Result<Response> {
        match rule.pass {
            Pass::Body => Ok(match self.host.ask_body(to, body, rule.within).await? {
                Answer::Whole(reply) => respond::of_reply(reply),
                Answer::Parts(first, rest) => respond::of_parts(first, rest, form(rule, &parts)),
            }),
            Pass::Request => {
                let request = whole(parts, body, client);
                respond::of_message(self.host.ask_request(to, request, rule.within).await?)
            }
        }
    }
}

/// How parts go out: as the map says, or as the client asks.
fn form(rule: &Rule, parts: &Parts) -> Form {
    let accepted = parts.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_event_source = |value: &str| value.to_ascii_lowercase().contains("text/event-stream");
    if rule.reply == ReplyAs::Events || accepted.into_iter().any(is_event_source) {
        return Form::Events;
    }
    Form::Chunks
}

/// The body of a request while it comes in.
struct Upload {
    body: Incoming,
    is_read: bool,
}

impl Upload {
    /// All of it; a client that announces more than the limit is not asked to send it.
    async fn read(&mut self, limits: &Limits) -> Result<Bytes, Response> {
        if self.body.size_hint().lower() > limits.body as u64 {
            return Err(too_large(limits));
        }
        let collected = Limited::new(&mut self.body, limits.body).collect();
        let body = match tokio::time::timeout(limits.body_timeout, collected).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large(limits)),
            Ok(Err(_)) => {
                return Err(problem(
                    StatusCode::BAD_REQUEST,
                    "invalid",
                    "the body ended early or is broken",
                ));
            }
            Err(_) => return Err(too_slow(limits)),
        };
        self.is_read = true;
        Ok(body)
    }
}

fn whole(parts: Parts, body: Bytes, client: SocketAddr) -> Request {
    Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: texts(&parts.headers),
        client: client.to_string(),
        body: body.into(),
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn no_route(parts: &Parts) -> Response {
    problem(
        StatusCode::NOT_FOUND,
        "no_route",
        &format!("nothing is mapped to {}", parts.uri.path()),
    )
}

fn no_method(parts: &Parts, allow: &str) -> Response {
    let text = format!("{} takes {allow}, not {}", parts.uri.path(), parts.method);
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "no_method", &text);
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn too_large(limits: &Limits) -> Response {
    let text = format!("the body has more than {} bytes", limits.body);
    problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &text)
}

fn too_slow(limits: &Limits) -> Response {
    let text = format!("the body took longer than {:?}", limits.body_timeout);
    problem(StatusCode::REQUEST_TIMEOUT, "deadline", &text)
}
