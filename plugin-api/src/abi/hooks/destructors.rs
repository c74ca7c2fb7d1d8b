//! Destructors of the library's thread-locals on threads of the host: glibc would keep the library mapped for them until
//! those threads end, so they are kept here, and run when the host detaches the thread.

use super::{
    is_attached,
    libc::{self, Destructor},
    list::List,
    threads,
};
use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

struct Registered {
    destructor: Destructor,
    object: *mut c_void,
}

thread_local! {
    // No destructor of its own.
    static REGISTERED: Cell<List<Registered>> = const { Cell::new(List::new()) };
}

/// Over all threads of the host.
static WAITING: AtomicU32 = AtomicU32::new(0);

/// How many have not run yet. Acquire: pairs with `run`, so that the effects of those that have run are seen.
pub fn waiting() -> u32 {
    WAITING.load(Acquire)
}

/// Stands before libc's. On a thread of the library's own it passes on, since that ends before the library does.
///
/// # Safety
/// As for libc's.
pub unsafe extern "C" fn __cxa_thread_atexit_impl(
    destructor: Destructor,
    object: *mut c_void,
    library: *mut c_void,
) -> c_int {
    if is_attached() && !threads::is_own() && register(Registered { destructor, object }) {
        return 0;
    }
    type Real = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> c_int;
    // SAFETY: this is its type.
    let real = unsafe { libc::CXA_THREAD_ATEXIT_IMPL.get::<Real>() };
    // SAFETY: the caller vouches.
    real.map_or(libc::ENOSYS, |real| unsafe { real(destructor, object, library) })
}

/// `false` when there is no memory for it; libc's then keeps the library mapped.
fn register(registered: Registered) -> bool {
    let mut list = REGISTERED.take();
    let is_registered = list.push(registered).is_ok();
    REGISTERED.set(list);
    WAITING.fetch_add(u32::from(is_registered), Relaxed);
    is_registered
}

/// Runs those of the calling thread, the newest first, and whatever they register meanwhile.
pub fn run() {
    while let Some(Registered { destructor, object }) = newest() {
        // SAFETY: it was registered for this object and this thread, and is run once.
        unsafe { destructor(object) };
        // Release: pairs with `waiting`.
        WAITING.fetch_sub(1, Release);
    }
}

fn newest() -> Option<Registered> {
    let mut list = REGISTERED.take();
    let newest = list.pop();
    REGISTERED.set(list);
    newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, ptr};

    thread_local! {
        static RUN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    unsafe extern "C" fn note(object: *mut c_void) {
        RUN.with_borrow_mut(|run| run.push(object.addr()));
    }

    unsafe extern "C" fn register_another(object: *mut c_void) {
        RUN.with_borrow_mut(|run| run.push(object.addr()));
        assert!(register(registered(note, object.addr() + 1)));
    }

    fn registered(destructor: Destructor, object: usize) -> Registered {
        Registered { destructor, object: ptr::without_provenance_mut(object) }
    }

    /// The only test that registers, since the count is the library's.
    #[test]
    fn they_run_newest_first_on_the_thread_that_detaches() {
        assert!(register(registered(note, 1)));
        assert!(register(registered(register_another, 20)));
        assert!(register(registered(note, 3)));
        assert_eq!(waiting(), 3);
        std::thread::spawn(run).join().unwrap();
        assert_eq!((waiting(), RUN.take()), (3, Vec::new()));
        run();
        assert_eq!((waiting(), RUN.take()), (0, vec![3, 20, 21, 1]));
        run();
        assert!(RUN.take().is_empty());
    }
}
