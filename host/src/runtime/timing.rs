//! What is timed: of each worker at most one batch a millisecond, and as many of the messages that come from outside.
//!
//! A batch that is timed stamps what it sends, and marks the recipients, whose holders look for stamps only then.
//! So a message that is not timed pays nothing for it.

use super::{Runtime, Slot, Turn, slot::looks};
use crate::abi::Message;
use mycelia_kernel::cache::PathCache;
use mycelia_plugin::{
    Result,
    abi::{
        Envelope,
        host::{OutboxBuffer, ReportBuffer},
    },
};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};

/// Nanoseconds between two that are timed.
const PACE: u64 = 1_000_000;
/// Stamps count 256 ns, so that they hold times of up to 18 minutes.
const TICK: u32 = 8;

/// When something outside of a handler is timed next, and what workers have told of their caches.
#[derive(Default)]
pub struct Timing {
    next: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// When a worker times a batch next, and what it has told of its cache.
#[derive(Default)]
pub struct Sampler {
    next: u64,
    hits: u64,
    misses: u64,
}

/// What a message is stamped with at this time; never 0.
fn stamp(now: u64) -> u32 {
    ((now >> TICK) as u32).max(1)
}

impl Sampler {
    /// The stamp for a batch that begins now; 0, unless it is to be timed.
    #[inline]
    pub fn begin(&mut self, now: u64, report: &ReportBuffer) -> u32 {
        if now < self.next { 0 } else { self.begin_timed(now, report) }
    }

    #[cold]
    fn begin_timed(&mut self, now: u64, report: &ReportBuffer) -> u32 {
        report.set_timed(true);
        // A turn without an end gives no other sign.
        report.beat();
        self.next = now + PACE;
        stamp(now)
    }
}

impl Timing {
    /// How often caches answered, and how often they had to ask the table.
    pub fn caches(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }

    /// Takes what has come since this was told last.
    pub fn tell(&self, sampler: &mut Sampler, cache: &PathCache) {
        let (hits, misses) = (cache.hits(), cache.misses());
        if (hits, misses) != (sampler.hits, sampler.misses) {
            self.hits.fetch_add(hits - sampler.hits, Relaxed);
            self.misses.fetch_add(misses - sampler.misses, Relaxed);
            (sampler.hits, sampler.misses) = (hits, misses);
        }
    }
}

impl Runtime {
    /// The beginning of something from outside that is to be timed; nothing most of the time.
    pub(super) fn time_outside(&self) -> Option<u64> {
        let (now, next) = (self.now(), self.timing.next.load(Relaxed));
        let is_due = now >= next
            && self.timing.next.compare_exchange(next, now + PACE, Relaxed, Relaxed).is_ok();
        is_due.then_some(now)
    }

    /// Sends a message from outside by `send`, timed if it has a beginning.
    pub(super) fn send_outside(
        &self,
        to: &Slot,
        message: Message,
        began: Option<u64>,
        send: impl FnOnce(&Message) -> Result<()>,
    ) -> Result<()> {
        let Some(began) = began else { return send(&message) };
        let sent = send(&Message(Envelope { stamp: stamp(self.now()), ..message.0 }));
        // Behind the message: a queue that blocks its sender has no room for it before.
        to.looks.fetch_or(looks::STAMPS, Relaxed);
        if sent.is_ok() {
            to.tally.routing.note(self.now() - began, 1);
        }
        sent
    }

    /// As [`Runtime::publish`], in a batch that is timed.
    #[cold]
    pub(super) fn publish_timed(&self, turn: &Turn, outbox: &mut OutboxBuffer) {
        let mut rest = outbox.messages();
        while let [first, ..] = &*rest {
            let to = first.sender;
            let run = rest.iter().take_while(|message| message.sender == to).count();
            let (run, others) = rest.split_at_mut(run);
            let count = run.len() as u64;
            for message in &mut *run {
                (message.sender, message.stamp) = (turn.caller.0.into(), turn.stamp);
            }
            let began = self.now();
            let slot = self.slot_of(to);
            if let Some(slot) = slot {
                slot.looks.fetch_or(looks::STAMPS, Relaxed);
            }
            self.publish_run(to, Message::from_envelopes(run));
            slot.inspect(|slot| slot.tally.routing.note((self.now() - began) / count, count));
            rest = others;
        }
        outbox.truncate(0);
    }

    /// Sends a message singly, in a batch that is timed. If it does not go, its content stays the caller's.
    #[cold]
    #[inline(never)]
    pub(super) fn send_timed(&self, to: &Slot, turn: &Turn, message: &mut Envelope) -> Result<()> {
        (message.sender, message.stamp) = (turn.caller.0.into(), turn.stamp);
        to.looks.fetch_or(looks::STAMPS, Relaxed);
        let began = self.now();
        let sent = self.try_enqueue(to, Message::from_envelope(message));
        to.tally.routing.note(self.now() - began, 1);
        sent
    }

    /// Notes how long the stamped messages of a batch from the queue have waited.
    #[cold]
    pub(super) fn note_waits(&self, slot: &Slot, batch: &mut [Message]) {
        let now = stamp(self.now());
        let mut found = false;
        for message in batch.iter_mut().filter(|message| message.stamp != 0) {
            let ticks = now.wrapping_sub(std::mem::take(&mut message.stamp));
            // A stamp that another processor has set just now may be ahead by a tick.
            let ticks = if ticks > u32::MAX / 2 { 0 } else { ticks };
            slot.tally.wait.note(u64::from(ticks) << TICK, 1);
            found = true;
        }
        // Others may still wait; one whose message was dropped is given up with the next that is found.
        if found && slot.queue.is_empty() {
            slot.looks.fetch_and(!looks::STAMPS, Acquire);
        }
    }

    /// Notes how long a batch took that began `now`, of which so many messages ran.
    #[cold]
    pub(super) fn note_handled(&self, slot: &Slot, now: u64, ran: usize) {
        if ran > 0 {
            slot.tally.handle.note((self.now() - now) / ran as u64, ran as u64);
        }
    }
}
