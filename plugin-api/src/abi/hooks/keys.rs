//! The library's pthread keys. A process has 1,024 of them, and one whose destructor lies in an unloaded library crashes
//! the next thread that ends.

use super::{
    is_attached,
    libc::{self, Destructor, Key},
    list::List,
};
use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Copy, Clone)]
struct Noted {
    key: Key,
    destructor: Option<Destructor>,
}

static KEYS: Mutex<List<Noted>> = Mutex::new(List::new());

fn keys() -> MutexGuard<'static, List<Noted>> {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands before libc's.
///
/// # Safety
/// As for libc's.
pub unsafe extern "C" fn pthread_key_create(
    key: *mut Key,
    destructor: Option<Destructor>,
) -> c_int {
    // SAFETY: the caller vouches.
    let status = unsafe { libc::__pthread_key_create(key, destructor) };
    if status != 0 || !is_attached() {
        return status;
    }
    // SAFETY: libc has written the key there.
    let key = unsafe { *key };
    match keys().push(Noted { key, destructor }) {
        Ok(()) => 0,
        Err(Noted { key, .. }) => {
            delete(key);
            libc::ENOMEM
        }
    }
}

/// Stands before libc's. The note goes first: once the key is deleted, its number may be another library's.
///
/// # Safety
/// As for libc's.
pub unsafe extern "C" fn pthread_key_delete(key: Key) -> c_int {
    keys().retain(|noted| noted.key != key);
    delete(key)
}

fn delete(key: Key) -> c_int {
    // SAFETY: this is its type.
    let real = unsafe { libc::PTHREAD_KEY_DELETE.get::<unsafe extern "C" fn(Key) -> c_int>() };
    // SAFETY: any number may be passed; one that is no key is refused.
    real.map_or(libc::ENOSYS, |real| unsafe { real(key) })
}

/// Runs the destructors of the calling thread's values, as at its end: they are how std drops its handle of a thread.
pub fn run_destructors() {
    /// `PTHREAD_DESTRUCTOR_ITERATIONS`: a destructor that sets its value again waits for the others.
    const ROUNDS: usize = 4;
    for _ in 0..ROUNDS {
        if !run_round() {
            break;
        }
    }
}

/// Whether any ran. The lock is not held meanwhile, since a destructor may make and delete keys.
fn run_round() -> bool {
    let mut ran = false;
    let mut index = 0;
    while let Some(noted) = { keys().nth(index) } {
        let value = take_value(noted.key);
        if let Some(destructor) = noted.destructor.filter(|_| !value.is_null()) {
            // SAFETY: it was created with the key for values like this one, which is taken.
            unsafe { destructor(value) };
            ran = true;
        }
        index += 1;
    }
    ran
}

fn take_value(key: Key) -> *mut c_void {
    // SAFETY: any number may be passed; one that is no key has no value.
    unsafe {
        let value = libc::pthread_getspecific(key);
        libc::pthread_setspecific(key, ptr::null());
        value
    }
}

/// Deletes the keys that are left; no destructor runs.
pub fn delete_all() {
    let mut keys = keys();
    while let Some(Noted { key, .. }) = keys.pop() {
        delete(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::hooks::ATTACHED;
    use std::{cell::RefCell, sync::atomic::Ordering::Relaxed, thread};

    thread_local! {
        static RUN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    unsafe extern "C" fn note(value: *mut c_void) {
        RUN.with_borrow_mut(|run| run.push(value.addr()));
    }

    /// As std's own: it puts itself off to the next round.
    unsafe extern "C" fn defer(value: *mut c_void) {
        RUN.with_borrow_mut(|run| run.push(value.addr()));
        if value.addr() == 1 {
            let own = keys().nth(0).unwrap().key;
            assert_eq!(set(own, 2), 0);
        }
    }

    fn create(destructor: Destructor) -> Key {
        let mut key = 0;
        // SAFETY: there is a place for the key.
        assert_eq!(unsafe { pthread_key_create(&mut key, Some(destructor)) }, 0);
        key
    }

    fn set(key: Key, value: usize) -> c_int {
        // SAFETY: the value is taken for a number alone.
        unsafe { libc::pthread_setspecific(key, ptr::without_provenance(value)) }
    }

    /// The only test of keys that are noted, since the list is the library's.
    #[test]
    fn keys_run_where_they_are_set_and_are_deleted_once() {
        ATTACHED.store(true, Relaxed);
        let (other, deferring) = (create(note), create(defer));
        assert_eq!((set(other, 7), set(deferring, 1)), (0, 0));
        thread::spawn(run_destructors).join().unwrap();
        assert!(RUN.take().is_empty(), "another thread has values of its own");
        run_destructors();
        assert_eq!(RUN.take(), [1, 7, 2]);

        // SAFETY: the key is not used as its own again.
        assert_eq!(unsafe { pthread_key_delete(other) }, 0);
        let mut foreign = 0;
        // SAFETY: there is a place for the key.
        assert_eq!(unsafe { libc::__pthread_key_create(&mut foreign, None) }, 0);
        delete_all();
        assert_eq!(set(foreign, 1), 0, "the key of another library was deleted");
        assert_ne!(set(deferring, 1), 0, "the key was not deleted");
        delete(foreign);
    }
}
