//! The one place that chooses between std and loom, so that the modules under it read the same for both.
//!
//! Not a portability layer: nothing is here that the queueing modules do not use.

#[cfg(loom)]
pub(crate) use self::explored::{AtomicU32, AtomicU64};
#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::{Mutex, MutexGuard},
};

#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64},
    },
};

use std::sync::PoisonError;
pub(crate) use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// The std cell in loom's shape; the pointer is for use inside the closure.
#[cfg(not(loom))]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// Stands between the two accesses of each side of the sleep handshake (see `queue`).
///
/// Both accesses are SeqCst, which is enough and costs no fence a send.
/// Loom treats SeqCst accesses as AcqRel, so for loom alone a fence says the same.
#[inline(always)]
pub(crate) fn handshake_fence() {
    #[cfg(loom)]
    loom::sync::atomic::fence(SeqCst);
}

/// Locks for a copy of plain data; a poisoned lock is as good as any, since such a copy cannot be half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loom's atomics, each with a companion that is touched before every access.
///
/// Loom 0.7 remembers one last access of an atomic, so a thread that loads and then stores hides that another thread
/// loaded before it, and that order is never reversed: without this the model `push_against_drain` has one interleaving.
/// A touch is an RMW, hence dependent on every other touch; it is Relaxed and of another object, hence orders nothing.
#[cfg(loom)]
#[allow(dead_code, reason = "not every access is used of both widths")]
mod explored {
    use super::Relaxed;
    use loom::sync::atomic;
    use std::sync::atomic::Ordering;

    macro_rules! explored {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name(atomic::$name, atomic::AtomicU32);

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(atomic::$name::new(value), atomic::AtomicU32::new(0))
                }

                fn touched(&self) -> &atomic::$name {
                    self.1.fetch_add(1, Relaxed);
                    &self.0
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.touched().load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.touched().store(value, order);
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.touched().swap(value, order)
                }

                pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                    self.touched().fetch_add(value, order)
                }

                pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.touched().fetch_or(value, order)
                }

                pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                    self.touched().fetch_and(value, order)
                }

                pub(crate) fn fetch_min(&self, value: $value, order: Ordering) -> $value {
                    self.touched().fetch_min(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.touched().compare_exchange(current, new, success, failure)
                }

                pub(crate) fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.compare_exchange(current, new, success, failure)
                }
            }
        };
    }

    explored!(AtomicU32, u32);
    explored!(AtomicU64, u64);
}
