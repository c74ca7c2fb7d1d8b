#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod codec;
mod directory;
mod expect;
mod host;
mod instance;
mod kit;
mod world;

pub use codec::{Sample, Typed};
pub use expect::{Asked, Request, Sent};
pub use kit::{Caller, Kit, Setup};
pub use mycelia_kernel::{asks::Requests, ledger::LedgerCounts};
pub use world::Log;
