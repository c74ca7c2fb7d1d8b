//! What a plugin's own heap holds, against what the config allows.

use super::{Slot, lifecycle::Caretaker};
use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);
/// How long a look waits for the batch that runs; the next look tries again.
const PATIENCE: Duration = Duration::from_millis(5);

/// When it is looked next; never where no config sets a limit.
pub struct MemoryLook(Option<Instant>);

impl MemoryLook {
    /// For these subsystems.
    pub fn of<'a>(mut slots: impl Iterator<Item = &'a Slot>) -> Self {
        MemoryLook(slots.any(|slot| slot.settings.memory.is_some()).then(Instant::now))
    }

    /// How long it is not.
    pub fn next(&self) -> Duration {
        self.0.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()))
    }
}

impl Caretaker {
    /// Restarts whatever holds more than it may, from another copy of its library: what it has leaked goes with this one.
    pub fn look_at_memory(&mut self) {
        if self.memory.0.is_none_or(|next| next > Instant::now()) {
            return;
        }
        let runtime = self.runtime;
        for slot in runtime.subsystems().filter(|slot| slot.incarnation() != 0) {
            if let Some(most) = slot.settings.memory {
                self.look_at_memory_of(slot, most);
            }
        }
        self.memory.0 = Some(Instant::now() + LOOK);
    }

    fn look_at_memory_of(&mut self, slot: &'static Slot, most: u64) {
        let held = slot.memory();
        if held <= most || !self.hold_until(slot, Instant::now() + PATIENCE) {
            return;
        }
        if slot.cell().failed.is_some() || slot.cell().instance.is_none() {
            // It is held because it failed; its restart has been asked for.
            return;
        }
        if let Some(build) = &slot.info().build {
            build.generation.abandon();
        }
        let text = format!(
            "{held} bytes in its heap, more than the {most} of its `memory`; let it keep less, or allow it more"
        );
        self.restart(slot, &text);
    }
}
