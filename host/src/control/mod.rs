//! The control server: health, status, live figures, the dashboard and actions over HTTP for the operator, and the client
//! that the CLI uses.
//!
//! One thread with one current-thread runtime serves it, so that nothing here touches the message path.
//! Three things keep others out: the token for whatever acts, the `Host` header against names that are
//! pointed at this machine, and `Origin` against pages of other sites in the operator's browser.

mod answers;
mod client;
mod guard;
mod live;
mod page;
mod query;
mod routes;
mod server;
pub mod token;

pub use answers::ErrorBody;
pub use client::{Address, Client, ClientError};
pub use server::{Limits, Server, serve, serve_with};
pub use token::{Folders, Token};

/// Most bytes of a message's body that the control server takes.
pub const BODY_LIMIT: usize = 1 << 20;
