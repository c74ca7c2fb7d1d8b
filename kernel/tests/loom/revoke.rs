//! The agreement of the plugin API's `ReportBuffer`: a batch whose handler hangs is taken away, or has moved on and is not.
//! What the host makes other threads pass by `membarrier` is a fence on both sides here.

use crate::{Unguarded, Word, explore};
use loom::{
    sync::{
        Arc, Mutex,
        atomic::{
            Ordering::{Acquire, Relaxed, Release, SeqCst},
            fence,
        },
    },
    thread,
};

const BATCH: u32 = 2;
const REVOKED: u32 = 1;

struct Report {
    begun: Word,
    cursor: Word,
    flags: Word,
    lost: Mutex<Option<u32>>,
    /// How often each message was handled, by whoever had it.
    handled: [Unguarded<u32>; BATCH as usize],
    barrier: fn(),
}

impl Report {
    fn new(barrier: fn()) -> Arc<Report> {
        let handled = std::array::from_fn(|_| Unguarded::new(0));
        let (begun, cursor, flags) = (Word::new(1), Word::new(0), Word::new(0));
        Arc::new(Report { begun, cursor, flags, lost: Mutex::new(None), handled, barrier })
    }

    fn handle(&self, message: u32) {
        let handled = &self.handled[message as usize].0;
        handled.set(handled.get() + 1);
    }

    /// The shim and its worker, which settle whose the batch is before anything else is done with it.
    fn work(&self) {
        let mut at = 0;
        while at < BATCH {
            self.cursor.touched().store(at, Release);
            (self.barrier)();
            if self.flags.touched().load(Relaxed) != 0 {
                break;
            }
            self.handle(at);
            at += 1;
        }
        self.cursor.touched().store(at, Release);
        self.begun.touched().store(0, Release);
        (self.barrier)();
        let is_asked = self.flags.touched().load(Acquire) != 0;
        if is_asked && self.lost.lock().unwrap().is_some() {
            return;
        }
        // What is left of it runs first next time.
        (at..BATCH).for_each(|message| self.handle(message));
    }

    fn progress(&self) -> Option<u32> {
        let begun = self.begun.touched().load(Acquire);
        let cursor = self.cursor.touched().load(Acquire);
        (begun != 0).then_some(cursor)
    }

    /// The watchdog, which has seen the same message for too long.
    fn revoke(&self) {
        let Some(seen) = self.progress() else { return };
        let mut lost = self.lost.lock().unwrap();
        self.flags.touched().store(REVOKED, SeqCst);
        (self.barrier)();
        if self.progress() != Some(seen) {
            return self.flags.touched().store(0, Release);
        }
        *lost = Some(seen);
        for decided in 0..seen {
            assert_eq!(self.handled[decided as usize].0.get(), 1, "what was decided was handled");
        }
        // The later ones go to another instance.
        (seen + 1..BATCH).for_each(|message| self.handle(message));
    }
}

fn revoke_against_end_by(race: &str, barrier: fn()) {
    explore(race, Some(3), move || {
        let report = Report::new(barrier);
        let watchdog = thread::spawn({
            let report = report.clone();
            move || report.revoke()
        });
        report.work();
        watchdog.join().unwrap();
        let lost = *report.lost.lock().unwrap();
        for (message, handled) in (0..).zip(&report.handled) {
            let handled = handled.0.get();
            // The one that hung may have been handled or not: nobody is told that it was.
            let is_right = if lost == Some(message) { handled <= 1 } else { handled == 1 };
            assert!(is_right, "message {message} was handled {handled} times");
        }
    });
}

#[test]
fn revoke_against_end() {
    revoke_against_end_by("revoke_against_end", || fence(SeqCst));
}

/// The same without the barrier: the flag and the cursor pass each other, and two threads have the batch.
#[test]
#[should_panic]
fn revoke_without_a_barrier() {
    revoke_against_end_by("revoke_without_a_barrier", || ());
}
