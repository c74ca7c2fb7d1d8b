//! Gates: files by which a test lets a blocked handler or thread go on.

use mycelia_plugin::{Error, Result};
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The longest that anything waits, so that a test that failed ends all the same.
const LIMIT: Duration = Duration::from_secs(30);

/// The gates of a subsystem: a file of that name in its data folder opens one.
#[derive(Clone, Default)]
pub(crate) struct Gates(PathBuf);

impl Gates {
    pub fn of(folder: &Path) -> Self {
        Gates(folder.to_owned())
    }

    pub fn is_open(&self, gate: &str) -> bool {
        self.0.join(gate).exists()
    }

    /// Blocks until the gate is open.
    pub fn wait(&self, gate: &str) -> Result<()> {
        let until = Instant::now() + LIMIT;
        while !self.is_open(gate) {
            if Instant::now() > until {
                return Err(Error::failed(format!("nobody opened the gate `{gate}`")));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
