//! Counts what a plugin's handlers take, in instructions: `benches/instructions.rs` of a plugin, in a few lines.
//!
//! The one place that names the tool, and what makes counts the same everywhere.

use crate::{Kit, Request, instance::Prepared};
use iai_callgrind::{Callgrind, LibraryBenchmarkConfig};
use mycelia_plugin::{Export, Result};
use std::{any::Any, env, path::PathBuf, process};

pub use iai_callgrind as tool;

/// Messages that one bench counts.
pub const MESSAGES: usize = 1_000;

/// Requests that wait to be handled, in batches as a host hands them over; see [`Kit::load`].
#[must_use = "nothing is handled before `run`"]
pub struct Load {
    prepared: Prepared,
    /// Its data folder is removed with it.
    _kit: Box<dyn Any>,
}

impl<S: Export> Kit<S> {
    /// Makes [`MESSAGES`] requests, each by `ask` with its number, and leaves them to be handled and counted.
    ///
    /// # Errors
    /// What `ask` says.
    pub fn load(
        self,
        ask: impl for<'k> Fn(&'k Kit<S>, usize) -> Result<Request<'k, S>>,
    ) -> Result<Load> {
        self.run();
        (0..MESSAGES).try_for_each(|number| ask(&self, number).map(drop))?;
        let prepared = self.prepare();
        Ok(Load { prepared, _kit: Box::new(self) })
    }
}

impl Load {
    /// Hands all batches over: this is what a bench counts.
    ///
    /// Counted are the plugin's shim, handlers, replies and commits, and what the kit does when a handler calls its host:
    /// little for a reply, a thousand instructions and more for a send.
    #[must_use = "whether all went well shows `finish`"]
    pub fn run(mut self) -> Load {
        self.prepared.run();
        self
    }

    /// Ends the subsystem.
    ///
    /// # Panics
    /// If a handler or a commit failed: then something else was counted than what was meant.
    pub fn finish(self) {
        self.prepared.finish();
    }
}

/// The version of the runner that the tool talks to.
const RUNNER: &str = "0.16.1";

/// What makes counts the same in every run, folder and environment, and on every processor.
///
/// Ends the process where the runner is missing: the tool's own words name no remedy.
#[must_use]
pub fn config() -> LibraryBenchmarkConfig {
    if !has_runner() {
        eprintln!(
            "error: iai-callgrind-runner is not in the search path; install it, and valgrind, by \
             `cargo install iai-callgrind-runner --version {RUNNER} --locked`, or name it in IAI_CALLGRIND_RUNNER"
        );
        process::exit(1);
    }
    // Copies by one variant for all processors; and each larger buffer on pages of its own, since copying asks how the places
    // of both sides lie to each other within a page.
    let tunables = "glibc.malloc.mmap_threshold=512:glibc.cpu.hwcaps=-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";
    // A child process is not measured, and nobody compares the caches of a simulated processor.
    let callgrind = Callgrind::with_args(["--trace-children=no", "--cache-sim=no"]);
    LibraryBenchmarkConfig::default().env("GLIBC_TUNABLES", tunables).tool(callgrind).clone()
}

/// Whether there is one; the process that is counted was started by it.
fn has_runner() -> bool {
    let is_counted = env::args().any(|argument| argument == "--iai-run");
    let folders = env::var_os("PATH").unwrap_or_default();
    let in_path = |folder: PathBuf| folder.join("iai-callgrind-runner").is_file();
    is_counted
        || env::var_os("IAI_CALLGRIND_RUNNER").is_some()
        || env::split_paths(&folders).any(in_path)
}

/// The whole of a plugin's `benches/instructions.rs`, behind the functions that make its [`Load`]s:
/// `instruction_benches!(get, put)`.
///
/// Each becomes a bench of its name in the group `handlers`.
#[macro_export]
macro_rules! instruction_benches {
    ($($name:ident),+ $(,)?) => {
        mod benches {
            // What the tool's own macros write names it like this.
            pub use $crate::instructions::tool as iai_callgrind;
            use $crate::instructions::Load;

            mod loads {
                $(
                    pub fn $name() -> super::Load {
                        let load = super::super::$name();
                        load.unwrap_or_else(|error| panic!("{}: {error}", stringify!($name)))
                    }
                )+
            }

            $(
                #[iai_callgrind::library_benchmark(setup = loads::$name, teardown = Load::finish)]
                fn $name(load: Load) -> Load {
                    load.run()
                }
            )+

            iai_callgrind::library_benchmark_group!(name = handlers; benchmarks = $($name),+);
        }

        use benches::{handlers, iai_callgrind};

        iai_callgrind::main!(
            config = $crate::instructions::config();
            library_benchmark_groups = handlers
        );
    };
}
