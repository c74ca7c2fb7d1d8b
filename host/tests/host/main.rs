//! The running host end to end: real plugins from real libraries, in this process and as the binary.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod client;
mod process;
mod support;

mod balance;
mod binary;
mod bodies;
mod faults;
mod gateway;
mod policies;
mod requests;
mod scopes;
mod traffic;
