//! The whole of an HTTP request, and the whole of its response, as typed bodies.
//!
//! The HTTP gateway sends a [`Request`] from every entry of its map that says `pass: Request`, and takes a [`Response`] as the
//! answer, so that the handler decides status, headers and body:
//!
//! ```
//! use mycelia_http_message::{Request, Response};
//!
//! /// What a handler `fn page(&mut self, request: Body<Request>) -> Result<Response>` does.
//! fn page(request: &Request) -> Response {
//!     let text = match request.header("accept-language") {
//!         Some("de") => "Hallo",
//!         _ => "Hello",
//!     };
//!     Response::new(200).header("content-type", "text/plain").body(text)
//! }
//!
//! let headers = vec![("accept-language".into(), "de".into())];
//! assert_eq!(page(&Request { headers, ..Request::default() }).body, b"Hallo");
//! ```
//!
//! A handler's error becomes a status as everywhere. Any other answer than a [`Response`] is a 502.
#![forbid(unsafe_code)]

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

/// A request as it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Request {
    /// In capitals, as sent: `GET`.
    pub method: String,
    /// As sent, still percent-encoded, without the query.
    pub path: String,
    /// What follows the `?`, as sent; empty if there is none.
    pub query: String,
    /// Names in lower case, in the order of arrival; a value that is not UTF-8 has `U+FFFD` in place of what is wrong.
    pub headers: Vec<(String, String)>,
    /// Address and port of the other end of the connection, which is a proxy's where there is one.
    pub client: String,
    /// The body, within the gateway's `body_limit`.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The response that a handler wants sent.
///
/// Headers that belong to the connection (`connection`, `content-length`, `date`, `keep-alive`, `transfer-encoding`, `upgrade`,
/// `trailer`, `te`, `proxy-connection`) are the gateway's and are left out of what is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Response {
    /// From 200 to 599.
    pub status: u16,
    /// Sent in this order; a name may come more than once.
    pub headers: Vec<(String, String)>,
    /// Sent as it is; without a `content-type` header it is `application/octet-stream`.
    pub body: Vec<u8>,
}

impl Response {
    /// A response with this status, no headers and no body.
    pub fn new(status: u16) -> Self {
        Response { status, headers: Vec::new(), body: Vec::new() }
    }

    /// The same with one more header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case() {
        let headers = vec![
            ("accept".into(), "a".into()),
            ("x-id".into(), "7".into()),
            ("accept".into(), "b".into()),
        ];
        let request = Request { headers, ..Request::default() };
        assert_eq!(request.header("Accept"), Some("a"));
        assert_eq!(request.header("X-ID"), Some("7"));
        assert_eq!(request.header("cookie"), None);
    }

    #[test]
    fn both_cross_as_postcard() {
        let request = Request {
            method: "PUT".into(),
            path: "/a%20b".into(),
            body: vec![0, 255],
            ..Request::default()
        };
        let bytes = postcard::to_stdvec(&request).unwrap();
        assert_eq!(postcard::from_bytes::<Request>(&bytes).unwrap(), request);
        let response = Response::new(201).header("location", "/x").body("made");
        let bytes = postcard::to_stdvec(&response).unwrap();
        assert_eq!(postcard::from_bytes::<Response>(&bytes).unwrap(), response);
    }
}
