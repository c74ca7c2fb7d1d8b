//! Misbehaves in its commit, for the host's tests. A plugin of its own, since only a plugin with a commit loses a batch.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;
use std::{path::PathBuf, process, thread, time::Duration};

/// The subsystem. What the next commit does is decided by the messages of its batch.
pub struct Committing {
    data: PathBuf,
    batch: Vec<u64>,
    committed: Vec<u64>,
    next: Commit,
}

enum Commit {
    Succeeds,
    Fails,
    Panics,
    Hangs,
    Aborts,
}

impl Subsystem for Committing {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("note/{number}", Self::note),
        on("committed", Self::committed),
        on("fail_commit", Self::fail_commit),
        on("panic_commit", Self::panic_commit),
        on("hang_commit", Self::hang_commit),
        on("abort_commit", Self::abort_commit),
        on("abort", Self::abort),
        on("panic", Self::panic),
        on("fail", Self::fail),
        on("hold/{gate}", Self::hold),
    ];

    const COMMITS: bool = true;

    fn create((): ()) -> Result<Self> {
        let data = PathBuf::new();
        Ok(Committing { data, batch: Vec::new(), committed: Vec::new(), next: Commit::Succeeds })
    }

    fn start(&mut self, ctx: &mut Context) -> Result<()> {
        self.data = ctx.data()?.to_owned();
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.next, Commit::Succeeds) {
            Commit::Succeeds => self.committed.append(&mut self.batch),
            Commit::Fails => {
                self.batch.clear();
                return Err(Error::failed("the commit fails as it was told to"));
            }
            Commit::Panics => panic!("the commit panics as it was told to"),
            Commit::Hangs => self.wait("commit_gate"),
            Commit::Aborts => process::abort(),
        }
        Ok(())
    }
}

impl Committing {
    fn note(&mut self, number: Param<u64>) -> Result<u64> {
        self.batch.push(number.0);
        Ok(number.0)
    }

    fn committed(&mut self) -> Result<Vec<u64>> {
        Ok(self.committed.clone())
    }

    fn fail_commit(&mut self) -> Result<()> {
        self.next = Commit::Fails;
        Ok(())
    }

    fn panic_commit(&mut self) -> Result<()> {
        self.next = Commit::Panics;
        Ok(())
    }

    fn hang_commit(&mut self) -> Result<()> {
        self.next = Commit::Hangs;
        Ok(())
    }

    fn abort_commit(&mut self) -> Result<()> {
        self.next = Commit::Aborts;
        Ok(())
    }

    fn abort(&mut self) -> Result<()> {
        process::abort();
    }

    fn panic(&mut self) -> Result<()> {
        panic!("as it was told to");
    }

    fn fail(&mut self) -> Result<()> {
        Err(Error::failed("as it was told to"))
    }

    /// Keeps its worker until there is a file of that name in the data folder.
    fn hold(&mut self, gate: Param<String>) -> Result<()> {
        self.wait(&gate.0);
        Ok(())
    }

    fn wait(&self, gate: &str) {
        while !self.data.join(gate).exists() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

export_subsystem!(Committing);
