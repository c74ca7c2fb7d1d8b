//! What a build leaves in its process, so that unloading it has something to find.

use crate::stamp::hang;
use std::{cell::Cell, hint::black_box, path::PathBuf, sync::mpsc, thread};

/// Never freed; written, so that it is memory.
pub(crate) fn leak(bytes: usize) {
    std::mem::forget(black_box(vec![1_u8; bytes]));
}

/// Threads that the host knows nothing of. They end when this is dropped, and nobody waits for that.
#[derive(Default)]
pub(crate) struct Threads(
    #[expect(dead_code, reason = "dropping it is its use")] Vec<mpsc::Sender<()>>,
);

impl Threads {
    pub fn start(count: usize) -> Self {
        Threads((0..count).map(|_| until_dropped()).collect())
    }
}

fn until_dropped() -> mpsc::Sender<()> {
    let (alive, dropped) = mpsc::channel::<()>();
    thread::spawn(move || dropped.recv());
    alive
}

/// A thread that goes on, whatever becomes of its subsystem, until the file is there.
pub(crate) fn stray(release: Option<PathBuf>) {
    thread::spawn(move || hang(release.as_deref()));
}

struct Touched(Cell<u64>);

impl Drop for Touched {
    fn drop(&mut self) {
        black_box(self.0.get());
    }
}

thread_local! {
    static TOUCHED: Touched = const { Touched(Cell::new(0)) };
}

/// Leaves a destructor to the thread that calls this, and std's own handle of the thread.
pub(crate) fn touch() {
    TOUCHED.with(|touched| touched.0.set(touched.0.get() + 1));
    black_box(thread::current().id());
}
