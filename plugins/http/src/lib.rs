//! An HTTP/1.1 gateway: requests become messages, answers become responses.
//!
//! # Config
//!
//! ```ron
//! (
//!     listen: "127.0.0.1:8080",
//!     map: [
//!         (method: "PUT", path: "/kv/{key}", to: "kv://put/{key}", pass: Body),
//!         (method: "POST", path: "/orders/{id}", to: "orders://place/{id}", guard: "limiter://take/{client}"),
//!         (method: "GET", path: "/orders", to: "orders://watch", reply: Events),
//!         (method: "GET", path: "/site/{*page}", to: "site://page", pass: Request, within: "2s"),
//!     ],
//!     // Limits, with their defaults:
//!     body_limit: "1MiB",       // of a request's body: 413
//!     header_limit: "16KiB",    // of its head: 431
//!     connections: 1024,        // at a time: 503
//!     header_timeout: "5s",     // from a connection's start, or a later request's first byte, to the end of its head: closed
//!     body_timeout: "30s",      // for the whole of a body: 408
//!     idle_timeout: "60s",      // between requests, and for a client that does not read its answer: closed
//!     linger: "300ms",          // for a further request on an idle connection when the gateway stops: closed
//!     drain_timeout: "3s",      // from then on for everything, `linger` included; keep it below its `handler_limit`
//! )
//! ```
//!
//! Bodies are held in memory while they come in: at most `connections` times `body_limit`.
//!
//! **`path`** has literal segments, `{name}` for one segment and `{*name}` for a tail of one or more. It is compared with the
//! request's path as it was sent, without the query. Of the entries with the request's method the most specific is taken: a
//! literal before a parameter before a tail, segment by segment. A `GET` entry serves `HEAD`, too.
//!
//! **`to`** is the message's path. `{name}` in it stands for what `path` captured, still percent-encoded: it is decoded once,
//! by the handler's `Param`.
//!
//! **`guard`** is a path that is asked first, with an empty body, before the request's own is read. It has the parameters of
//! `to`, and `{client}`, the client's IP address without its port. What it answers lets the request pass, and an error of it
//! is the response: `full` from its handler is a 429 with `Retry-After`, and a guard that is not there a 503. `within` holds
//! for the guard and for the request, each from its own start.
//!
//! **`pass: Body`** (the default) sends the body's bytes. A raw handler gets and gives bytes unchanged, as
//! `application/octet-stream`; a typed one reads JSON and answers with JSON. Query and headers are not passed.
//! The status is 200, or 204 for the `null` of a handler that returns nothing.
//!
//! **`pass: Request`** sends a [`mycelia_http_message::Request`], and the handler answers with a
//! [`mycelia_http_message::Response`]; any other answer is a 502.
//!
//! **Answers in parts** of a `pass: Body` entry go out as they come, as fast as the client reads: raw ones as chunks of
//! `application/octet-stream`, typed ones as lines of JSON. With `reply: Events`, or for a client that accepts
//! `text/event-stream`, each is a server-sent event; behind the last one comes an event `end`, or an event `error` with the
//! JSON of the error. Chunks are cut short by an error. `within` holds for the time between two parts, and a client that
//! hangs up cancels the request.
//!
//! **Errors** are `{"error": word, "text": …}` with the status of [`ErrorCode::http_status`]; 429 and 503 carry `Retry-After`.
//! The gateway's own words are `no_route` (404), `no_method` (405, with `Allow`), `too_large` (413), `deadline` (408) and
//! `busy` (503). A head that is no HTTP is answered by a bare 400, 414 or 431.
//!
//! **When it stops**, for a reload too, every answer says `Connection: close`, and requests that have begun are finished for up
//! to `drain_timeout`. An idle connection is answered one more request within `linger`, and then closed; one that has brought
//! none yet has a second from its start for the first. Meanwhile new connections are served as well. From then on they wait
//! in the socket, which the host keeps, and are served by the next generation: none is refused, however long the change
//! takes. No connection outlives its generation. A client that begins a request at the very instant at which its idle
//! connection is closed has to send it again on another one, as with every server, and so has one that sent requests behind
//! the one answered with `Connection: close` ([RFC 9112, 9.3](https://www.rfc-editor.org/rfc/rfc9112#section-9.3)).
//!
//! The gateway needs the scopes of all routes it maps to, in the `grants` of its RON block. Let their queues `Reject`: at a
//! full queue that blocks, every request of the gateway would wait.
#![forbid(unsafe_code)]

mod body;
mod config;
mod connection;
mod exchange;
mod host;
mod map;
mod pattern;
mod respond;
mod server;
#[cfg(test)]
mod tests;

use config::Limits;
pub use config::{Entry, Pass, ReplyAs, Settings, Size, Span};
use http::Method;
use map::{Found, Map};
use mycelia_plugin::prelude::*;
use std::{net::Ipv4Addr, sync::Arc};

/// The subsystem. It has no routes: everything it does happens in a thread of its own.
pub struct Http {
    listen: String,
    plan: Arc<Plan>,
}

/// What the config asks for, checked.
struct Plan {
    map: Map,
    limits: Limits,
}

impl Subsystem for Http {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] = &[];

    fn create(settings: Settings) -> Result<Self> {
        let limits = settings.limits()?;
        let map = Map::new(settings.map)?;
        Ok(Http { listen: settings.listen, plan: Arc::new(Plan { map, limits }) })
    }

    fn start(&mut self, ctx: &mut Context) -> Result<()> {
        let listener = ctx.listen(&self.listen)?;
        ctx.log(Level::Info, format_args!("listens on http://{}", listener.local_addr()?));
        let plan = self.plan.clone();
        ctx.spawn("http", move |sender, stop| server::run(listener, plan, sender, stop.raised()))
    }
}

/// Where a map sends a request with this path, without its query: the message's path, or nothing where no entry serves it.
///
/// # Errors
/// `invalid`, naming every entry that is wrong.
pub fn destination(map: Vec<Entry>, method: &str, path: &str) -> Result<Option<String>> {
    let map = Map::new(map)?;
    let client = Ipv4Addr::LOCALHOST.into();
    let method = Method::from_bytes(method.as_bytes()).ok();
    let found = method.map(|method| map.find(&method, path, client));
    Ok(match found {
        Some(Found::Rule(_, paths)) => Some(paths.to),
        _ => None,
    })
}

export_subsystem!(Http);
