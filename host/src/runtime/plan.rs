//! Time: which subsystem has a timer or a deadline next, and what is due.

use super::{Runtime, Slot};
use crate::abi::Message;
use mycelia_kernel::ids::SubsystemId;
use mycelia_plugin::{Error, ErrorCode, Handled};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The next look at each subsystem's timers and deadlines.
pub struct Plan {
    next: AtomicU64,
    due: Mutex<BinaryHeap<Reverse<(u64, SubsystemId)>>>,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { next: AtomicU64::new(u64::MAX), due: Mutex::default() }
    }
}

impl Plan {
    /// When something is due next; `u64::MAX` is never.
    pub fn next(&self) -> u64 {
        // SeqCst: the look for work before parking, and `add_to_plan` is the publication (see the kernel's `idle`).
        self.next.load(Ordering::SeqCst)
    }
}

impl Runtime {
    /// Sees to it that a subsystem is looked at when `due` has come.
    #[inline]
    pub(super) fn plan_for(&self, slot: &Slot, due: u64) {
        // A look that is planned earlier will plan this one.
        if due < slot.planned.load(Ordering::Acquire)
            && due < slot.planned.fetch_min(due, Ordering::AcqRel)
        {
            self.add_to_plan(slot.id, due);
        }
    }

    fn add_to_plan(&self, id: SubsystemId, due: u64) {
        let mut heap = self.plan.due.lock().unwrap_or_else(PoisonError::into_inner);
        heap.push(Reverse((due, id)));
        let sooner = due < self.plan.next.fetch_min(due, Ordering::SeqCst);
        drop(heap);
        if sooner {
            // A parked worker counts on the time that was next before.
            self.workers.wake_one();
        }
    }

    /// Fires what is due at `now`.
    pub(super) fn fire_due(&self, now: u64) {
        while let Some(id) = self.take_due(now) {
            self.look_at(self.slot(id), now);
        }
    }

    fn take_due(&self, now: u64) -> Option<SubsystemId> {
        let mut heap = self.plan.due.lock().unwrap_or_else(PoisonError::into_inner);
        let due =
            heap.peek().is_some_and(|Reverse((due, _))| *due <= now).then(|| heap.pop()).flatten();
        let next = heap.peek().map_or(u64::MAX, |Reverse((due, _))| *due);
        self.plan.next.store(next, Ordering::SeqCst);
        due.map(|Reverse((_, id))| id)
    }

    /// Fires a subsystem's timers and ends its requests that are overdue, and plans the next look.
    fn look_at(&self, slot: &Slot, now: u64) {
        slot.planned.store(u64::MAX, Ordering::Release);
        let timers =
            if self.quiet.load(Ordering::Relaxed) { u64::MAX } else { self.fire_timers(slot, now) };
        let overdue = |id, template| {
            let text = "no answer came before the deadline";
            let error = Error::new(ErrorCode::Deadline, text).handled(Handled::Unknown);
            self.deliver(id, template, &self.error_outcome(slot.id, &error));
        };
        let asks = slot.asks.expire(now, &mut { overdue });
        self.plan_for(slot, timers.min(asks));
    }

    fn fire_timers(&self, slot: &Slot, now: u64) -> u64 {
        let ring = |message: Message| match slot.queue.ring_timer(message) {
            Ok(wake) => {
                self.wake(slot.id, wake);
                true
            }
            Err(_) => false,
        };
        slot.timers().fire(now, &mut { ring })
    }
}
