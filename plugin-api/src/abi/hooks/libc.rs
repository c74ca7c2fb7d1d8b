//! The functions of libc that the hooks need, declared by hand so that plugins get no further dependency.

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    ptr,
    sync::atomic::{AtomicPtr, Ordering::Relaxed},
};

/// There is no memory, or no thread to be had.
pub const EAGAIN: c_int = 11;
/// There is no memory.
pub const ENOMEM: c_int = 12;
/// There is no such function.
pub const ENOSYS: c_int = 38;
/// `prctl`: the name of the calling thread, up to 16 bytes with the zero.
pub const PR_GET_NAME: c_int = 16;

const SIGKILL: c_int = 9;

pub type Key = c_uint;
/// Runs at the end of a thread, with a thread-local or the value of a key.
pub type Destructor = unsafe extern "C" fn(*mut c_void);
/// What a thread runs. It may be unwound by `pthread_exit`.
pub type Routine = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

unsafe extern "C" {
    pub fn malloc(size: usize) -> *mut c_void;
    pub fn calloc(count: usize, size: usize) -> *mut c_void;
    pub fn realloc(memory: *mut c_void, size: usize) -> *mut c_void;
    pub fn posix_memalign(memory: *mut *mut c_void, align: usize, size: usize) -> c_int;
    pub fn free(memory: *mut c_void);
    pub fn prctl(option: c_int, ...) -> c_int;
    /// glibc's other name of `pthread_key_create`, which no hook hides.
    pub fn __pthread_key_create(key: *mut Key, destructor: Option<Destructor>) -> c_int;
    pub fn pthread_getspecific(key: Key) -> *mut c_void;
    pub fn pthread_setspecific(key: Key, value: *const c_void) -> c_int;
    /// What this name is bound to; to be compared, not called.
    pub fn pthread_create();
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn getpid() -> c_int;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// A function of libc that a hook hides, looked up when it is first wanted. The lookup sees no hidden symbol.
pub struct Hidden {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

pub static PTHREAD_CREATE: Hidden = Hidden::new(c"pthread_create");
pub static ABORT: Hidden = Hidden::new(c"abort");
pub static EXIT: Hidden = Hidden::new(c"exit");
pub static UNDERSCORE_EXIT: Hidden = Hidden::new(c"_exit");
pub static PTHREAD_KEY_DELETE: Hidden = Hidden::new(c"pthread_key_delete");
pub static CXA_THREAD_ATEXIT_IMPL: Hidden = Hidden::new(c"__cxa_thread_atexit_impl");

/// Ends the process where even `abort` is not found.
pub fn raise_abort() -> ! {
    loop {
        // SAFETY: the process is to end here, and this ends it.
        unsafe { kill(getpid(), SIGKILL) };
    }
}

impl Hidden {
    const fn new(name: &'static CStr) -> Self {
        Hidden { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    fn address(&self) -> *mut c_void {
        // Relaxed: the address is all there is, and every thread finds the same.
        let mut found = self.found.load(Relaxed);
        if found.is_null() {
            // SAFETY: the name ends with a zero; a null handle is the default order of search.
            found = unsafe { dlsym(ptr::null_mut(), self.name.as_ptr()) };
            self.found.store(found, Relaxed);
        }
        found
    }

    /// The function, where there is one.
    ///
    /// # Safety
    /// `F` must be the type of the function.
    pub unsafe fn get<F: Copy>(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>(), "`F` is a function pointer") };
        let address = self.address();
        // SAFETY: the address is not null; the caller vouches for the type.
        (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
    }

    /// Whether a caller who is bound to `address` does not reach it directly.
    pub fn is_hidden_by(&self, address: *const ()) -> bool {
        address != self.address().cast_const().cast()
    }
}
