//! Probation: after a reload the old build stands by, and comes back if the new one panics too often.

use super::{
    Slot,
    generation::{Build, Generation, Instance},
    lifecycle::Caretaker,
    reload::State,
};
use crate::{report::ReloadTimes, status::Phase};
use mycelia_kernel::ids::SubsystemId;
use mycelia_plugin::Result;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often it is looked whether a new build has handled enough messages.
const LOOK: Duration = Duration::from_millis(20);

/// The builds that stand by, by the number of their subsystem.
#[derive(Default)]
pub struct Probations(HashMap<u16, Probation>);

/// One build that stands by.
struct Probation {
    old: Arc<Build>,
    /// As it was handed on.
    state: Option<State>,
    until: Instant,
    /// Over when so many messages have ended.
    messages: u64,
    panics: u32,
}

impl Probations {
    /// How long nothing can end.
    pub fn next_look(&self) -> Duration {
        if self.0.is_empty() { Duration::MAX } else { LOOK }
    }

    /// Their code.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.0.values().map(|one| &*one.old.generation)
    }
}

impl Caretaker {
    /// The builds that stand by.
    pub fn builds_standing_by(&self) -> Vec<(&'static Slot, Arc<Build>)> {
        let slot = |number: &u16| self.runtime.slot(SubsystemId(*number));
        self.probations.0.iter().map(|(id, one)| (slot(id), Arc::clone(&one.old))).collect()
    }

    /// The build that stands by after a reload: the one that has just been replaced. An older one is no longer needed.
    pub fn begin_probation(
        &mut self,
        slot: &'static Slot,
        old: Option<Arc<Build>>,
        state: Option<State>,
    ) {
        self.end_probation(slot);
        let Some(old) = old else { return };
        let settings = &slot.settings.probation;
        let probation = Probation {
            old,
            state,
            until: Instant::now() + settings.for_,
            messages: ended(slot).saturating_add(settings.messages),
            panics: 0,
        };
        self.probations.0.insert(slot.id.0, probation);
        self.end_probations();
    }

    /// Lets go of the build that stands by.
    pub fn end_probation(&mut self, slot: &'static Slot) {
        if let Some(probation) = self.probations.0.remove(&slot.id.0) {
            self.retire(slot, Arc::clone(&probation.old.generation));
        }
    }

    /// Lets go of every build whose successor has proved itself.
    pub fn end_probations(&mut self) {
        let now = Instant::now();
        let runtime = self.runtime;
        let proved: Vec<&'static Slot> = runtime
            .subsystems()
            .filter(|slot| {
                let probation = self.probations.0.get(&slot.id.0);
                probation.is_some_and(|one| now >= one.until || ended(slot) >= one.messages)
            })
            .collect();
        proved.into_iter().for_each(|slot| self.end_probation(slot));
    }

    /// What a panic means for a build on probation: another instance from the state that it was given, or its end.
    /// Whether it was on probation at all.
    pub fn restart_on_probation(&mut self, slot: &'static Slot) -> bool {
        let Some(mut probation) = self.probations.0.remove(&slot.id.0) else { return false };
        probation.panics += 1;
        let (panics, most) = (probation.panics, slot.settings.probation.panics);
        if panics <= most {
            let Err(error) = self.try_again(slot, probation.state.as_ref()) else {
                slot.info().restarts += 1;
                let text = "what changed since the reload is lost";
                tracing::warn!(subsystem = slot.name, panics, "restarted on probation; {text}");
                self.runtime.announce("restart", slot, text);
                self.probations.0.insert(slot.id.0, probation);
                return true;
            };
            slot.note_error(&error.to_string());
            tracing::error!(subsystem = slot.name, "the new instance failed too: {error}");
        }
        self.roll_back(slot, probation);
        true
    }

    fn try_again(&mut self, slot: &'static Slot, state: Option<&State>) -> Result<()> {
        let made = self.make(slot, state)?;
        let instance = self.end_for(slot, made)?;
        self.begin(slot, instance)
    }

    /// Ends the present instance before its successor starts, which may need what it has; the successor goes, too, if that
    /// is kept.
    fn end_for(&mut self, slot: &'static Slot, successor: Instance) -> Result<Instance> {
        match self.end(slot, None) {
            Ok(()) => Ok(successor),
            Err(error) => {
                self.destroy_silently(slot, successor);
                Err(error)
            }
        }
    }

    /// Puts the old build back, with the state that it handed on.
    fn roll_back(&mut self, slot: &'static Slot, probation: Probation) {
        let Probation { old, state, panics, .. } = probation;
        let bad = slot.info().build.clone().expect("a build on probation serves");
        let began = Instant::now();
        let back = self.bring_back(slot, &old, state.as_ref());
        slot.info().reloads.rolled_back += 1;
        self.retire(slot, Arc::clone(&bad.generation));
        let (from, to) = (bad.generation.number, old.generation.number);
        let text = format!("generation {from} panicked {panics} times on probation");
        slot.note_error(&text);
        match back {
            Ok(()) => {
                tracing::error!(
                    subsystem = slot.name,
                    "rolled back: {text}; generation {to} serves again after {:.1?}, with the state that it handed on; \
                     what changed since is lost",
                    began.elapsed()
                );
                let text = format!("rolled back: {text}; generation {to} serves again");
                self.runtime.announce("reload", slot, &text);
            }
            Err(error) => {
                tracing::error!(
                    subsystem = slot.name,
                    "{text}, and generation {to} fails: {error}"
                );
                self.replace(slot, state);
            }
        }
    }

    fn bring_back(
        &mut self,
        slot: &'static Slot,
        old: &Arc<Build>,
        state: Option<&State>,
    ) -> Result<()> {
        let made = self.make_of(slot, old, state)?;
        let instance = self.end_for(slot, made)?;
        self.take_over(slot, old, instance, &mut ReloadTimes::default())?;
        self.describe(slot, old, state);
        slot.info().phase = Phase::Running;
        Ok(())
    }
}

/// How many messages of a subsystem have ended.
fn ended(slot: &Slot) -> u64 {
    let ledger = slot.ledger();
    ledger.handled + ledger.failed + ledger.dead
}
