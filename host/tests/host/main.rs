//! The running host end to end: real plugins from real libraries, in this process and as the binary.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod client;
mod process;
mod shelf;
mod support;

mod author;
mod balance;
mod binary;
mod bodies;
mod dead_letters;
mod dev;
mod faults;
mod gateway;
mod gateway_reload;
mod metrics;
mod policies;
mod probation;
mod reload;
mod requests;
mod retire;
mod scopes;
mod seen;
mod traced;
mod traffic;
mod validated;
