//! Snapshots: the state of a subsystem, saved every so often, from which a restart continues.

use super::{Runtime, Slot, lifecycle::Caretaker};
use std::time::{Duration, Instant};

/// How long a snapshot waits for the batch that runs; after that it is tried again later.
const PATIENCE: Duration = Duration::from_millis(5);
/// How much later.
const LATER: Duration = Duration::from_millis(100);

/// When the next snapshots are due.
pub struct Snapshots(Vec<Due>);

struct Due {
    slot: &'static Slot,
    every: Duration,
    at: Instant,
    /// How much it had claimed at the last one.
    claimed: u64,
}

impl Snapshots {
    /// Those that the config asks for.
    pub fn of(runtime: &'static Runtime) -> Self {
        let due = |slot: &'static Slot| {
            let every = slot.settings.snapshot?;
            Some(Due { slot, every, at: Instant::now() + every, claimed: 0 })
        };
        Snapshots(runtime.subsystems().filter_map(due).collect())
    }

    /// How long none is due.
    pub fn next_look(&self) -> Duration {
        let next = self.0.iter().map(|due| due.at).min();
        next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()))
    }
}

impl Caretaker {
    /// Takes those that are due.
    pub fn take_snapshots(&mut self) {
        let mut all = std::mem::take(&mut self.snapshots.0);
        for due in all.iter_mut().filter(|due| due.at <= Instant::now()) {
            let wait = if self.take_snapshot(due) { due.every } else { LATER };
            due.at = Instant::now() + wait;
        }
        self.snapshots.0 = all;
    }

    /// Whether there is nothing more to do for this time.
    fn take_snapshot(&mut self, due: &mut Due) -> bool {
        let slot = due.slot;
        let build = slot.info().build.clone();
        let has_state = build.is_some_and(|build| build.generation.manifest().state != 0);
        if !has_state || slot.incarnation() == 0 || slot.queue.claimed_in_all() == due.claimed {
            return true;
        }
        if !self.hold_until(slot, Instant::now() + PATIENCE) {
            return false;
        }
        if slot.cell().failed.is_some() {
            // It is held because it failed; its restart has been asked for.
            return true;
        }
        let claimed = slot.queue.claimed_in_all();
        match self.save_held(slot) {
            Ok(state) => {
                let (bytes, took) = (state.bytes.len(), self.took);
                tracing::debug!(subsystem = slot.name, bytes, "snapshot taken in {took:.1?}");
                slot.info().snapshot = Some(state);
                due.claimed = claimed;
            }
            Err(error) => self.complain(slot, "snapshot", Err(error)),
        }
        true
    }
}
