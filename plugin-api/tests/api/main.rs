//! The plugin API as its authors and its hosts see it.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod abi_layout;
mod addresses;
mod bodies;
mod compile_fail;
mod dependencies;
mod events;
mod handlers;
mod manifest;
mod patterns;
mod readme;
mod responders;
mod unwinding;

use std::{cell::Cell, panic, sync::Once};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs what is meant to panic without a report: thousands of backtraces take minutes.
fn quietly<R>(work: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                report(info);
            }
        }));
    });
    QUIET.set(true);
    let result = work();
    QUIET.set(false);
    result
}
