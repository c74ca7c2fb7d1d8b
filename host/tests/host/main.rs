//! The running host end to end: real plugins from real libraries, in this process and as the binary.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod author;
mod balance;
mod binary;
mod bodies;
#[cfg(feature = "browser-tests")]
mod browser;
mod client;
mod crash;
mod dead_letters;
mod dev;
mod ends;
mod events;
mod faults;
mod figures;
mod gateway;
mod gateway_reload;
mod hung;
mod kernel;
mod life;
mod live;
mod load;
mod memory;
mod metrics;
mod policies;
mod probation;
mod process;
mod reload;
mod requests;
mod restarts;
mod retire;
mod scopes;
mod scraped;
mod seen;
mod service;
mod shelf;
mod streams;
mod support;
mod traced;
mod traffic;
mod validated;
