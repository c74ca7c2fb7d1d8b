//! The ends of the process that the library asks for: `abort`, which std calls for a panic that cannot unwind, and `exit`.
//!
//! The host is told instead, and keeps the thread that called: neither may return. It is asked only in the process that
//! attached the library, since std calls `_exit` in a child that it has forked.

use super::{is_attached, libc};
use crate::abi::{Link, link};
use std::{
    ffi::c_int,
    io::Write,
    process, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// The process that the library was attached in.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// Of the first instance: the way to the host for a thread that is in no call.
static LINK: OnceLock<Link> = OnceLock::new();

pub fn attach() {
    PROCESS.store(process::id(), Relaxed);
}

/// An instance is created with this link.
pub fn created(link: Link) {
    let _first = LINK.set(link);
}

/// Stands before libc's.
///
/// # Safety
/// As for libc's.
pub unsafe extern "C" fn abort() -> ! {
    tell("abort()");
    type Real = unsafe extern "C" fn() -> !;
    // SAFETY: this is its type; the caller vouches.
    unsafe { libc::ABORT.get::<Real>().map_or_else(|| libc::raise_abort(), |real| real()) }
}

/// Stands before libc's.
///
/// # Safety
/// As for libc's.
pub unsafe extern "C" fn exit(code: c_int) -> ! {
    tell_code("exit", code);
    // SAFETY: the caller vouches.
    unsafe { end(&libc::EXIT, code) }
}

/// Stands before libc's.
///
/// # Safety
/// As for libc's.
pub unsafe extern "C" fn _exit(code: c_int) -> ! {
    tell_code("_exit", code);
    // SAFETY: the caller vouches.
    unsafe { end(&libc::UNDERSCORE_EXIT, code) }
}

/// # Safety
/// As for the function.
unsafe fn end(function: &libc::Hidden, code: c_int) -> ! {
    type Real = unsafe extern "C" fn(c_int) -> !;
    // SAFETY: this is its type; the caller vouches.
    unsafe { function.get::<Real>().map_or_else(|| libc::raise_abort(), |real| real(code)) }
}

/// Without memory of the heap, which may be what there is none of.
fn tell_code(function: &str, code: c_int) {
    let mut room = [0; 32];
    let mut rest = &mut room[..];
    let _fits = write!(rest, "{function}({code})");
    let left = rest.len();
    let length = room.len() - left;
    tell(std::str::from_utf8(&room[..length]).unwrap_or(function));
}

/// Returns only when there is no host to tell, or it has no use for the thread.
fn tell(what: &str) {
    if !is_attached() || PROCESS.load(Relaxed) != process::id() {
        return;
    }
    match (link::current(), LINK.get()) {
        (Some(current), _) => current.link.lost(current.turn, true, what),
        (None, Some(link)) => link.lost(ptr::null_mut(), false, what),
        (None, None) => {}
    }
}
