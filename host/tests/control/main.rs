//! The control server and the command line against a host that is only an `Operator`.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod cli;
mod fake;
mod http;
mod server;
mod table;
mod token;
mod watched;
