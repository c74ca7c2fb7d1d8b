//! Where a load test ran: what one must know to compare its figures with others.

use serde::Serialize;
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

/// The machine and the build.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Environment {
    /// The host's version.
    pub version: String,
    /// Whether it was built without optimisation: its figures say little then.
    pub is_debug_build: bool,
    /// The processor's own name.
    pub processor: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// The system's kernel.
    pub kernel: String,
    /// Processes that ran or wanted to in the last minute, before the test began.
    pub load_average: f64,
    /// Worker threads of the host.
    pub workers: usize,
    /// Seconds since 1970 when the test began.
    pub began_unix_s: u64,
}

impl Environment {
    /// That of this process. What the system does not tell is empty.
    pub fn read(workers: usize) -> Environment {
        let text = |file| fs::read_to_string(file).unwrap_or_default();
        let processors = text("/proc/cpuinfo");
        let name =
            processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = text("/proc/loadavg");
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Environment {
            version: env!("CARGO_PKG_VERSION").into(),
            is_debug_build: cfg!(debug_assertions),
            processor: name.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: text("/proc/sys/kernel/osrelease").trim().into(),
            load_average: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            workers,
            began_unix_s: began.as_secs(),
        }
    }
}
