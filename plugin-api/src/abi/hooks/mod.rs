//! What makes a library unloadable: it notes what it leaves in the process, and takes it back.
//!
//! A Rust library has its own copy of std, which makes pthread keys that it never deletes, and leaves destructors of
//! thread-locals on the threads of the host. The export macro therefore defines hidden symbols in the library, to which
//! its std and all else that is linked into it binds: they lead here, and from here to libc.
//! Two more hooks keep it from ending the process.
//! Until the host attaches the library they only pass through, as they do for good in a test that links a plugin.
//!
//! What is noted lies in libc's heap, so that no hook enters the library's allocator, and freeing that frees nothing of ours.
//! Threads that libc starts by itself (C11's `thrd_create`, timers that notify by a thread) are not seen.

mod destructors;
pub(super) mod ends;
pub mod heap;
mod keys;
mod libc;
mod list;
mod panic;
mod threads;

pub use destructors::__cxa_thread_atexit_impl;
pub use ends::{_exit, abort, exit};
pub use keys::{pthread_key_create, pthread_key_delete};
pub use threads::pthread_create;

use super::Holds;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Relaxed throughout: the host attaches before any other thread can be in the library.
static ATTACHED: AtomicBool = AtomicBool::new(false);

pub(super) fn is_attached() -> bool {
    ATTACHED.load(Relaxed)
}

/// What the library holds now; nothing before it was attached.
pub fn held() -> Holds {
    let (blocks, bytes) = heap::HEAP.held();
    Holds {
        threads: threads::alive(),
        destructors: destructors::waiting(),
        blocks,
        bytes,
        ..Holds::default()
    }
}

/// Whether the calls of this program or library to libc lead here, as those of an exported library do.
pub fn are_bound() -> bool {
    libc::PTHREAD_CREATE.is_hidden_by(libc::pthread_create as *const ())
}

pub(super) unsafe extern "C" fn attach() {
    ATTACHED.store(true, Relaxed);
    ends::attach();
    heap::HEAP.attach();
    panic::install();
}

/// In libc's order for a thread that ends; destructors of keys may leave more of the others.
pub(super) unsafe extern "C" fn detach() {
    destructors::run();
    keys::run_destructors();
    destructors::run();
}

pub(super) unsafe extern "C" fn holds(holds: *mut Holds) {
    // SAFETY: the host passes room for the answer.
    unsafe { holds.write(held()) };
}

pub(super) unsafe extern "C" fn heap_bytes() -> u64 {
    heap::HEAP.held().1
}

/// The heap comes last: dropping the panic hook still frees into it, and after it nothing of the library runs.
pub(super) unsafe extern "C" fn unload() {
    panic::remove();
    keys::delete_all();
    threads::forget();
    // SAFETY: the host calls this last, when no thread runs code of the library any more.
    unsafe { heap::HEAP.free_all() };
}
