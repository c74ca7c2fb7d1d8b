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

#[doc(hidden)]
pub use mycelia_plugin;

/// Makes a type testable that no library exports: a stub in a test, of which one binary may hold many.
///
/// It takes what `export_subsystem!` takes, which already makes a plugin's own subsystem testable.
#[macro_export]
macro_rules! subsystem {
    ($($subsystem:tt)+) => {
        $crate::mycelia_plugin::__subsystem!($($subsystem)+);
    };
}
