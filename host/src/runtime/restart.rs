//! Restarts: a fresh instance in place of one that failed, as often as the config allows.
//!
//! 1. The failed instance ends at once: its threads are asked to end, and it is dropped.
//! 2. The subsystem stays held for the wait that its config asks for, while its queue goes on accepting.
//! 3. The next instance is created, gets the last snapshot, and starts; one that fails at that waits again, and longer.

use super::{
    Slot,
    generation::{Build, Instance},
    lifecycle::{Called, Caretaker},
    reload::{State, load_error},
};
use crate::{config::Restart, status::Phase};
use mycelia_kernel::ids::SubsystemId;
use mycelia_plugin::{Error, Result, abi::host::CreateError};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// The restarts that wait for their time, by the number of their subsystem, which is held meanwhile and has no instance.
#[derive(Default)]
pub struct Restarts(HashMap<u16, Waiting>);

struct Waiting {
    until: Instant,
    /// What the next instance is to have.
    state: Option<State>,
}

impl Restarts {
    /// Whether this subsystem waits.
    pub fn contains(&self, slot: &Slot) -> bool {
        self.0.contains_key(&slot.id.0)
    }

    /// What its next instance is to have.
    pub fn state(&self, slot: &Slot) -> Option<State> {
        self.0.get(&slot.id.0)?.state.clone()
    }

    /// It need not wait any more; whether it did.
    pub fn take(&mut self, slot: &Slot) -> bool {
        self.0.remove(&slot.id.0).is_some()
    }

    /// How long none is due.
    pub fn next_look(&self) -> Duration {
        let next = self.0.values().map(|waiting| waiting.until).min();
        next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()))
    }
}

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

    /// Ends the present instance of a held subsystem and plans the next, from this state or else from the last snapshot,
    /// as often as the config allows; then it is stopped for good. The subsystem stays held until its time has come.
    pub fn replace(&mut self, slot: &'static Slot, state: Option<State>) {
        let state = state.or_else(|| slot.info().snapshot.clone());
        if state.is_some() {
            // The next instance may restore the requests that this one holds.
            slot.handover().left.get_or_insert_default();
        }
        let planned = self.end(slot, None).and_then(|()| self.plan_restart(slot, state));
        if let Err(error) = planned {
            self.give_up(slot, &error);
        }
    }

    fn plan_restart(&mut self, slot: &Slot, state: Option<State>) -> Result<()> {
        let wait = self.spend_restart(slot)?;
        self.restarts.0.insert(slot.id.0, Waiting { until: Instant::now() + wait, state });
        Ok(())
    }

    /// Lets those restart whose time has come.
    pub fn restart_due(&mut self) {
        let now = Instant::now();
        let due = self.restarts.0.extract_if(|_, waiting| waiting.until <= now);
        for (id, Waiting { state, .. }) in due.collect::<Vec<_>>() {
            let slot = self.runtime.slot(SubsystemId(id));
            self.restart_with(slot, state);
            self.release(slot);
        }
    }

    fn restart_with(&mut self, slot: &'static Slot, state: Option<State>) {
        let made = self.make(slot, state.as_ref());
        // A state that an instance did not take is no use to the next.
        let state = state.filter(|_| made.is_ok());
        let begun = made.and_then(|instance| self.begin(slot, instance));
        let Err(error) = begun else {
            self.runtime.answer_left(slot);
            let (restarts, lost) = (slot.info().restarts, lost(state.as_ref()));
            tracing::warn!(subsystem = slot.name, restarts, "restarted; {lost}");
            return self.runtime.announce("restart", slot, &lost);
        };
        tracing::error!(subsystem = slot.name, "the new instance failed too: {error}");
        slot.note_error(&error.to_string());
        if state.is_none() {
            slot.info().snapshot = None;
        }
        if let Err(error) = self.plan_restart(slot, state) {
            self.give_up(slot, &error);
        }
    }

    /// Gives those up that wait, for a host that stops.
    pub fn bury_waiting(&mut self) {
        for (id, _) in std::mem::take(&mut self.restarts.0) {
            let slot = self.runtime.slot(SubsystemId(id));
            self.runtime.answer_left(slot);
            self.release(slot);
        }
    }

    /// Makes an instance of the present build, with this state.
    pub fn make(&mut self, slot: &'static Slot, state: Option<&State>) -> Result<Instance> {
        let mut build = slot.info().build.clone().expect("a slot with an instance has its build");
        if build.generation.is_abandoned() {
            build = self.load_anew(slot, &build)?;
        }
        self.make_of(slot, &build, state)
    }

    /// Puts another copy of the same library in the place of one that was abandoned.
    fn load_anew(&mut self, slot: &'static Slot, old: &Arc<Build>) -> Result<Arc<Build>> {
        let number = slot.info().generations + 1;
        let staged = old.generation.library.stage_again(&format!("{}@{number}", slot.name));
        let generation = self.load_staged(slot, number, staged.map_err(load_error)?)?;
        let build = Arc::new(Build { generation, ..Build::clone(old) });
        let mut info = slot.info();
        info.describe(&build.generation);
        info.build = Some(Arc::clone(&build));
        drop(info);
        self.retire(slot, Arc::clone(&old.generation));
        Ok(build)
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
        created.unwrap_or_else(|left| {
            let reason = format!("its `create` {left}");
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
            Called::Left(left) => {
                self.runtime.cut_off(slot, incarnation);
                Err(is_left("start", &left))
            }
        }
    }

    /// Ends an instance that was created, and perhaps started in vain.
    pub fn discard(&mut self, slot: &'static Slot, instance: Instance) {
        let left = self.quiesce_within_limit(slot, &instance);
        self.runtime.cut_off(slot, instance.incarnation);
        self.destroy_silently(slot, instance);
        if left > 0 {
            let text = format!("{left} threads of the instance ignore their stop token");
            tracing::error!(subsystem = slot.name, "{text}");
            slot.note_error(&text);
        }
    }

    /// Counts a restart, and answers how long to wait with it; an error when the budget is used up.
    fn spend_restart(&self, slot: &Slot) -> Result<Duration> {
        let restart = &slot.settings.restart;
        let Restart { max, within, .. } = *restart;
        let mut info = slot.info();
        let now = Instant::now();
        while info.recent.front().is_some_and(|then| now.duration_since(*then) > within) {
            info.recent.pop_front();
        }
        if info.recent.len() >= max as usize {
            return Err(Error::failed(format!("{max} restarts within {within:?} were not enough")));
        }
        if info.serves_since.take().is_some_and(|since| now.duration_since(since) > within) {
            info.streak = 0;
        }
        let wait = wait_before(restart, info.streak);
        info.streak += 1;
        info.recent.push_back(now);
        info.restarts += 1;
        Ok(wait)
    }

    /// Stops one subsystem for good, since it cannot serve any more.
    pub fn give_up(&mut self, slot: &'static Slot, why: &Error) {
        let name = &slot.name;
        tracing::error!(
            subsystem = name,
            "the subsystem is stopped: {why}; the others go on, `mycelia restart {name}` starts it anew"
        );
        self.take_out(slot, why);
    }

    /// Takes a subsystem out of the table; what comes to it from now on is dead.
    pub fn take_out(&mut self, slot: &'static Slot, why: &Error) {
        let removed: Result<(), std::convert::Infallible> = self.runtime.tables.update(|edit| {
            edit.remove(slot.id);
            Ok(())
        });
        removed.unwrap_or_else(|never| match never {});
        self.runtime.answer_left(slot);
        self.runtime.retire(slot);
        self.runtime.announce("stopped", slot, &why.text);
    }
}

/// Doubles with every restart of a streak, up to 32 times the first, and never above the budget's time.
fn wait_before(restart: &Restart, streak: u32) -> Duration {
    restart.backoff.saturating_mul(1 << streak.min(5)).min(restart.within)
}

fn lost(state: Option<&State>) -> String {
    match state {
        Some(state) => {
            let age = state.taken.elapsed();
            format!("what changed since the snapshot {age:.1?} ago is lost")
        }
        None => "what the old instance held in memory is lost".into(),
    }
}

/// What is said of a call that has not returned, or never will.
pub(super) fn is_left(what: &str, left: &str) -> Error {
    Error::failed(format!("its `{what}` {left}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limits() {
        let (millis, wait) = (Duration::from_millis, |backoff, within, streak| {
            let restart = Restart { max: 5, within: Duration::from_millis(within), backoff };
            wait_before(&restart, streak).as_millis()
        });
        let waits = [0, 1, 2, 4, 5, 6, u32::MAX].map(|streak| wait(millis(100), 60_000, streak));
        assert_eq!(waits, [100, 200, 400, 1600, 3200, 3200, 3200]);
        assert_eq!([0, 1, 5].map(|streak| wait(millis(100), 150, streak)), [100, 150, 150]);
        assert_eq!(wait(Duration::ZERO, 150, 9), 0);
        assert_eq!(wait(Duration::MAX, 150, 9), 150);
    }
}
