#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod caller;
mod codec;
mod directory;
mod expect;
mod host;
mod instance;
#[cfg(feature = "instructions")]
pub mod instructions;
mod kit;
mod setup;
mod world;

pub use caller::Caller;
pub use codec::{Sample, Typed};
pub use expect::{Asked, Request, Sent};
pub use kit::Kit;
pub use mycelia_kernel::{asks::Requests, ledger::LedgerCounts};
pub use setup::Setup;
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
