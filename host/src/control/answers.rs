//! Answers that refuse: an error as JSON, with the status of its code.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use mycelia_plugin::{Error, ErrorCode, Handled};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An error as it is written in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The word of its code.
    pub error: String,
    /// Cause and remedy.
    pub text: String,
    /// `yes`, `no` or `unknown`.
    pub handled: String,
    /// When it is worth trying again.
    pub retry_after_ms: Option<u64>,
}

impl From<&Error> for ErrorBody {
    fn from(error: &Error) -> Self {
        Self {
            error: error.code.word().into(),
            text: error.text.clone(),
            handled: error.handled.word().into(),
            retry_after_ms: error.retry_after.map(milliseconds),
        }
    }
}

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: Error,
}

impl Refusal {
    /// The server's own: no subsystem has seen the request.
    pub fn new(status: StatusCode, code: ErrorCode, text: impl Into<String>) -> Self {
        Self { status, error: Error::new(code, text).handled(Handled::No) }
    }

    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Invalid, text)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let number = error.code.http_status(error.handled == Handled::Yes);
        let status = StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody::from(&self.error))).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, retry_after(self.error.retry_after));
            }
            _ => {}
        }
        response
    }
}

/// HTTP knows whole seconds only.
fn retry_after(delay: Option<Duration>) -> HeaderValue {
    let delay = milliseconds(delay.unwrap_or_default());
    HeaderValue::from(delay.div_ceil(1000).max(1))
}

fn milliseconds(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}
