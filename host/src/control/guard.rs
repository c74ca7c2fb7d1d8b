//! Who may come in: `Host`, `Origin` and the token are checked here and nowhere else.

use super::answers::Refusal;
use super::routes::Control;
use super::token::Token;
use axum::extract::{Extension, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mycelia_plugin::ErrorCode;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// The address of this machine that a connection came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached(pub SocketAddr);

/// What is checked of every request.
#[derive(Debug)]
pub(super) struct Guard {
    listen: SocketAddr,
    /// Compared in place of the secret itself: equality of hashes takes the same time for all of them.
    secret: blake3::Hash,
    token_file: PathBuf,
}

impl Guard {
    pub fn new(listen: SocketAddr, token: &Token) -> Self {
        let secret = blake3::hash(token.secret().as_bytes());
        Self { listen, secret, token_file: token.file().into() }
    }

    fn admit(&self, request: &Request, reached: Reached) -> Result<(), Refusal> {
        let host = self.check_host(request, reached)?;
        check_origin(request.headers(), host)?;
        if is_loopback(self.listen.ip()) { Ok(()) } else { self.authorize(request.headers()) }
    }

    /// The request's host, which is this one.
    fn check_host<'r>(&self, request: &'r Request, reached: Reached) -> Result<&'r str, Refusal> {
        let host = only(request.headers(), &header::HOST).unwrap_or_default();
        let is_own = |name: &str| self.is_own(name, reached);
        match is_own(host) && authority(request.uri()).is_none_or(is_own) {
            true => Ok(host),
            false => Err(self.misdirected(host)),
        }
    }

    /// A name could be pointed at this machine by anybody; a number, and `localhost`, could not.
    fn is_own(&self, host: &str, reached: Reached) -> bool {
        let port = self.listen.port();
        let host = host.to_ascii_lowercase();
        let host = if has_port(&host) { host } else { format!("{host}:80") };
        [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")]
            .into_iter()
            .chain([self.listen.to_string(), canonical(reached.0).to_string()])
            .any(|own| own == host)
    }

    fn misdirected(&self, host: &str) -> Refusal {
        let text = format!("this host is not {host:?}; address it as {}", self.listen);
        Refusal::new(StatusCode::MISDIRECTED_REQUEST, ErrorCode::Denied, text)
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let given = only(headers, &header::AUTHORIZATION).and_then(bearer);
        match given.is_some_and(|given| blake3::hash(given.as_bytes()) == self.secret) {
            true => Ok(()),
            false => Err(self.unauthorized(given.is_some())),
        }
    }

    fn unauthorized(&self, has_given: bool) -> Refusal {
        let what = if has_given { "this is not the token" } else { "this needs the token" };
        let file = self.token_file.display();
        let text =
            format!("{what} of the host: send `Authorization: Bearer …` with what is in {file}");
        Refusal::new(StatusCode::UNAUTHORIZED, ErrorCode::Denied, text)
    }
}

/// Proof that a request brought the token.
pub(super) struct Authorized;

impl FromRequestParts<Arc<Control>> for Authorized {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        control: &Arc<Control>,
    ) -> Result<Self, Refusal> {
        control.guard.authorize(&parts.headers).map(|()| Authorized)
    }
}

/// Admits a request or answers in its place.
pub(super) async fn guard(
    State(control): State<Arc<Control>>,
    Extension(reached): Extension<Reached>,
    request: Request,
    next: Next,
) -> Response {
    match control.guard.admit(&request, reached) {
        Ok(()) => hardened(next.run(request).await),
        Err(refusal) => hardened(refusal.into_response()),
    }
}

/// Replies are whatever a plugin says: a browser must neither guess their type, nor run, frame or keep them. The dashboard
/// alone says for itself what it may load.
fn hardened(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CACHE_CONTROL, "no-store");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    response
}

fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let origin = only(headers, &header::ORIGIN).unwrap_or_default();
    let is_same = origin.strip_prefix("http://").is_some_and(|own| own.eq_ignore_ascii_case(host));
    match is_same {
        true => Ok(()),
        false => {
            let text = format!("pages of {origin:?} may not use this host");
            Err(Refusal::new(StatusCode::FORBIDDEN, ErrorCode::Denied, text))
        }
    }
}

/// The text of a header that is there exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The host that the request line itself names, as it does for a proxy.
fn authority(uri: &Uri) -> Option<&str> {
    uri.authority().map(|authority| authority.as_str())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
