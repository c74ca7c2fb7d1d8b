//! Restarts: a fresh instance in place of one that failed, as often as the config allows.

use super::{
    Slot,
    generation::{Build, Instance},
    lifecycle::{Called, Caretaker},
    reload::State,
};
use crate::status::Phase;
use mycelia_plugin::{Error, Result, abi::host::CreateError};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

impl Caretaker {
    /// Replaces the instance of a subsystem if it has failed and waits for that; whether it did.
    pub fn restart_failed(&mut self, slot: &'static Slot) -> bool {
        // One that is not held has been dealt with, or its worker has yet to let go of it and then asks again.
        if !slot.queue.is_held() {
            return false;
        }
        let failed = slot.cell().failed.take();
        failed.is_some_and(|text| {
            self.restart(slot, &text);
            true
        })
    }

    /// Replaces an instance that failed, unless it fails too often, and puts its subsystem, which is held, back.
    pub fn restart(&mut self, slot: &'static Slot, text: &str) {
        slot.cell().failed = None;
        slot.info().phase = Phase::Restarting;
        slot.note_error(text);
        tracing::error!(subsystem = slot.name, "the subsystem failed with {text}");
        self.runtime.announce("fault", slot, text);
        if !self.restart_on_probation(slot) {
            self.replace(slot, None);
        }
        self.release(slot);
    }

    /// Ends the present instance of a held subsystem, and lets new ones of the present build serve, as often as the config
    /// allows; then it is stopped for good.
    pub fn replace(&mut self, slot: &'static Slot, state: Option<&State>) {
        if let Err(error) = self.try_replace(slot, state) {
            self.give_up(slot, &error);
        }
    }

    fn try_replace(&mut self, slot: &'static Slot, state: Option<&State>) -> Result<()> {
        let spent = self.spend_restart(slot);
        // Before the old one goes, so that requests it holds find who holds them next.
        let made = spent.is_ok().then(|| self.make(slot, state));
        let ended = self.end(slot, None);
        let Some(mut made) = made else { return spent.map(drop) };
        if let Err(error) = ended {
            if let Ok(instance) = made {
                self.destroy_silently(slot, instance);
            }
            return Err(error);
        }
        while let Err(error) = made.and_then(|instance| self.begin(slot, instance)) {
            tracing::error!(subsystem = slot.name, "the new instance failed too: {error}");
            slot.note_error(&error.to_string());
            self.spend_restart(slot)?;
            made = self.make(slot, state);
        }
        let (restarts, lost) = (slot.info().restarts, lost(state));
        tracing::warn!(subsystem = slot.name, restarts, "restarted; {lost}");
        self.runtime.announce("restart", slot, lost);
        Ok(())
    }

    /// Makes an instance of the present build, with this state.
    pub fn make(&mut self, slot: &'static Slot, state: Option<&State>) -> Result<Instance> {
        let build = slot.info().build.clone().expect("a slot with an instance has its build");
        self.make_of(slot, &build, state)
    }

    /// Makes an instance of a build, with this state.
    pub fn make_of(
        &mut self,
        slot: &'static Slot,
        build: &Arc<Build>,
        state: Option<&State>,
    ) -> Result<Instance> {
        let instance = self.create(slot, build).map_err(|error| error.error)?;
        match state {
            Some(state) => self.restore(slot, instance, state, true),
            None => Ok(instance),
        }
    }

    /// Makes an instance, within the subsystem's limit.
    pub fn create(
        &mut self,
        slot: &'static Slot,
        build: &Arc<Build>,
    ) -> Result<Instance, CreateError> {
        let (runtime, work) = (self.runtime, Arc::clone(build));
        let created = runtime.attend(
            Some(&build.generation),
            slot.settings.limit,
            move |_| Instance::create(runtime, slot.id, &work),
            move |caretaker, late| {
                if let Ok(instance) = late {
                    caretaker.destroy_silently(slot, instance);
                }
            },
        );
        created.unwrap_or_else(|| {
            let limit = slot.settings.limit;
            let reason = format!("its `create` has not returned within {limit:?}");
            self.retain(slot, Arc::clone(&build.generation), reason.clone());
            Err(CreateError { error: Error::failed(reason), span: None })
        })
    }

    /// Lets a new instance start and serve; the subsystem is held, or was never released.
    ///
    /// # Errors
    /// What its `start` says; it is gone then.
    pub fn begin(&mut self, slot: &'static Slot, instance: Instance) -> Result<()> {
        let incarnation = instance.incarnation;
        match self.start(slot, instance, None) {
            Called::Returned(instance, Ok(())) => {
                self.seat(slot, instance);
                slot.info().phase = Phase::Running;
                Ok(())
            }
            Called::Returned(instance, Err(error)) => {
                self.discard(slot, instance);
                Err(error)
            }
            Called::Hangs => {
                self.cut_off(slot, incarnation);
                Err(hangs("start", slot.settings.limit))
            }
        }
    }

    /// Ends an instance that was created, and perhaps started in vain.
    pub fn discard(&mut self, slot: &'static Slot, instance: Instance) {
        let left = self.quiesce(&instance, Instant::now() + slot.settings.limit);
        self.cut_off(slot, instance.incarnation);
        self.destroy_silently(slot, instance);
        if left > 0 {
            let text = format!("{left} threads of the instance ignore their stop token");
            tracing::error!(subsystem = slot.name, "{text}");
            slot.note_error(&text);
        }
    }

    /// Counts a restart, and answers how many there were; an error when the budget is used up.
    fn spend_restart(&self, slot: &Slot) -> Result<u64> {
        let (max, within) = slot.settings.restarts;
        let mut info = slot.info();
        let now = Instant::now();
        while info.recent.front().is_some_and(|then| now.duration_since(*then) > within) {
            info.recent.pop_front();
        }
        if info.recent.len() >= max as usize {
            return Err(Error::failed(format!("{max} restarts within {within:?} were not enough")));
        }
        info.recent.push_back(now);
        info.restarts += 1;
        Ok(info.restarts)
    }

    /// Stops one subsystem for good; what comes to it from now on is dead.
    pub fn give_up(&mut self, slot: &'static Slot, why: &Error) {
        tracing::error!(subsystem = slot.name, "the subsystem is stopped: {why}; the others go on");
        let removed: Result<(), std::convert::Infallible> = self.runtime.tables.update(|edit| {
            edit.remove(slot.id);
            Ok(())
        });
        removed.unwrap_or_else(|never| match never {});
        self.runtime.retire(slot);
        self.runtime.announce("stopped", slot, &why.text);
    }
}

fn lost(state: Option<&State>) -> &'static str {
    match state {
        Some(_) => "what changed since its state was saved is lost",
        None => "what the old instance held in memory is lost",
    }
}

/// What is said of a call that has not returned.
pub(super) fn hangs(what: &str, limit: Duration) -> Error {
    Error::failed(format!("its `{what}` has not returned within {limit:?}, its `handler_limit`"))
}
