//! Responses of answers and of errors. Pure.

use crate::{
    body::{Body, Form, told},
    host::{Parts, Reply},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{self, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use mycelia_http_message as message;
use mycelia_plugin::{Error, ErrorCode, Handled, Result};

/// A response as it goes to hyper.
pub(crate) type Response = http::Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JSON_LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Headers that a handler does not decide: they say how the connection goes on, or are made by hyper.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The response of a `pass: Body` entry.
pub(crate) fn of_reply(reply: Reply) -> Response {
    if reply.is_json && reply.body == b"null" {
        return response(StatusCode::NO_CONTENT, HeaderMap::new(), Bytes::new());
    }
    let content_type = if reply.is_json { JSON } else { BYTES };
    response(
        StatusCode::OK,
        HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
        reply.body.into(),
    )
}

/// The response of a `pass: Body` entry whose handler answers in parts.
pub(crate) fn of_parts(first: Option<Reply>, rest: Parts, form: Form) -> Response {
    let is_json = first.as_ref().is_some_and(|first| first.is_json);
    let content_type = match form {
        Form::Chunks if is_json => JSON_LINES,
        Form::Chunks => BYTES,
        Form::Events => EVENTS,
    };
    let mut response = Response::new(Body::parts(first, rest, form));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    if form == Form::Events {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// The response that a handler put together.
///
/// # Errors
/// `unanswered` where it cannot be sent.
pub(crate) fn of_message(message: message::Response) -> Result<Response> {
    let unusable = |what: String| {
        Error::new(ErrorCode::Unanswered, format!("the handler's response has {what}"))
    };
    let status = StatusCode::from_u16(message.status)
        .ok()
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| {
            unusable(format!("the status {}, but 200 to 599 can be sent", message.status))
        })?;
    let mut headers = HeaderMap::new();
    for (name, value) in &message.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| unusable(format!("the bad header name `{name}`")))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| unusable(format!("a bad value of the header `{name}`")))?;
        if !OF_THE_CONNECTION.contains(&name) {
            headers.try_append(name, value).map_err(|_| unusable("too many headers".into()))?;
        }
    }
    if !message.body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, BYTES);
    }
    Ok(response(status, headers, message.body.into()))
}

/// The response of an error.
pub(crate) fn of_error(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.code.http_status(error.handled == Handled::Yes));
    let mut response = problem(
        status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        error.code.word(),
        &error.text,
    );
    if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    {
        response.headers_mut().insert(RETRY_AFTER, seconds(error).into());
    }
    response
}

/// Whole seconds, rounded up, at least 1.
fn seconds(error: &Error) -> u64 {
    let delay = error.retry_after.unwrap_or_default();
    (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)
}

/// A response that tells what is wrong.
pub(crate) fn problem(status: StatusCode, word: &str, text: &str) -> Response {
    response(status, HeaderMap::from_iter([(CONTENT_TYPE, JSON)]), told(word, text).into())
}

fn response(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
