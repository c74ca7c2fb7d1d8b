//! The threads that the library started. One has ended only when the kernel says so, since destructors of thread-locals
//! run after its function has returned.

use super::{
    is_attached,
    libc::{self, Routine},
    list::{self, List},
};
use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    fs::File,
    io::{self, ErrorKind, Read, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

thread_local! {
    // No destructor.
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is one that the library started.
pub fn is_own() -> bool {
    IS_OWN.get()
}

struct Threads {
    /// Created and not begun; with them those that began without memory for a note, which count for ever.
    unnoted: u32,
    begun: List<Begun>,
    /// No less than there are in `begun`.
    noted: u32,
    /// With so many noted it is time to look which have ended.
    look_at: u32,
}

const LOOK_AT_LEAST: u32 = 64;

static THREADS: Mutex<Threads> =
    Mutex::new(Threads { unnoted: 0, begun: List::new(), noted: 0, look_at: LOOK_AT_LEAST });

fn threads() -> MutexGuard<'static, Threads> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many have not ended.
pub fn alive() -> u32 {
    let mut threads = threads();
    threads.drop_ended();
    threads.unnoted + threads.noted
}

/// Frees the notes of threads that have ended.
pub fn forget() {
    let mut threads = threads();
    threads.noted = threads.begun.retain(|_| false);
}

impl Threads {
    fn drop_ended(&mut self) {
        self.noted = self.begun.retain(Begun::may_run);
        self.look_at = (self.noted * 2).max(LOOK_AT_LEAST);
    }

    /// Looking only when there are twice as many as were alive keeps the cost of each thread constant.
    fn note(&mut self, begun: Begun) {
        if self.noted >= self.look_at {
            self.drop_ended();
        }
        if self.begun.push(begun).is_ok() {
            self.noted += 1;
            self.unnoted -= 1;
        }
    }
}

type Create = unsafe extern "C" fn(*mut c_void, *const c_void, Routine, *mut c_void) -> c_int;

struct Start {
    routine: Routine,
    argument: *mut c_void,
}

/// Stands before libc's.
///
/// # Safety
/// As for libc's.
pub unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: this is its type.
    let Some(create) = (unsafe { libc::PTHREAD_CREATE.get::<Create>() }) else {
        return libc::ENOSYS;
    };
    if !is_attached() {
        // SAFETY: the caller vouches.
        return unsafe { create(thread, attributes, routine, argument) };
    }
    let Ok(start) = list::keep(Start { routine, argument }) else { return libc::EAGAIN };
    threads().unnoted += 1;
    // SAFETY: the caller vouches; the thread takes the start.
    let status = unsafe { create(thread, attributes, begin, start.cast()) };
    if status != 0 {
        threads().unnoted -= 1;
        // SAFETY: there is no thread that would take it.
        let Start { .. } = unsafe { list::take(start) };
    }
    status
}

/// What every thread of the library's own runs first. `pthread_exit` unwinds through it, so nothing here is left to drop.
unsafe extern "C-unwind" fn begin(start: *mut c_void) -> *mut c_void {
    IS_OWN.set(true);
    threads().note(Begun(Identity::of_this_thread()));
    // SAFETY: `pthread_create` kept it for this thread.
    let Start { routine, argument } = unsafe { list::take(start.cast::<Start>()) };
    // SAFETY: whoever created the thread vouches.
    unsafe { routine(argument) }
}

/// A thread that has begun. One that could not read who it is may run for ever.
struct Begun(Option<Identity>);

/// What tells a thread from a later one that got its number.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Identity {
    /// As `/proc` numbers threads.
    thread: u32,
    /// In ticks of the kernel since the machine started.
    started: u64,
}

impl Begun {
    /// Whether it may still run, for all that `/proc` tells.
    fn may_run(&self) -> bool {
        let Some(identity) = self.0 else { return true };
        match Identity::of(identity.thread) {
            Ok(found) => found.is_none_or(|found| found == identity),
            Err(error) => !(is_gone(&error) && Identity::of_this_thread().is_some()),
        }
    }
}

/// Whether `/proc` has no such thread, either when its file is opened or when it is read.
fn is_gone(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

impl Identity {
    fn of_this_thread() -> Option<Identity> {
        Identity::read("/proc/thread-self/stat").ok().flatten()
    }

    fn of(thread: u32) -> io::Result<Option<Identity>> {
        let mut path = [0; 32];
        let mut rest = &mut path[..];
        write!(rest, "/proc/self/task/{thread}/stat")?;
        let left = rest.len();
        let path = &path[..path.len() - left];
        Identity::read(std::str::from_utf8(path).expect("digits are UTF-8"))
    }

    /// `None` where the text is not as expected.
    fn read(path: &str) -> io::Result<Option<Identity>> {
        // The kernel gives the whole of it at once; 52 fields of up to 20 digits do not fit, but the first 22 do.
        let mut text = [0; 512];
        let length = File::open(path)?.read(&mut text)?;
        Ok(Identity::parse(&text[..length]))
    }

    /// The number is the first field and the start the 22nd; the second is a name in brackets, with anything in it.
    fn parse(stat: &[u8]) -> Option<Identity> {
        let end = stat.iter().rposition(|&byte| byte == b')')?;
        let (before, after) = (stat.get(..end)?, stat.get(end + 2..)?);
        Some(Identity { thread: number(before, 0)?, started: number(after, 22 - 3)? })
    }
}

fn number<T: std::str::FromStr>(text: &[u8], field: usize) -> Option<T> {
    let field = text.split(|&byte| byte == b' ').nth(field)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::hooks::ATTACHED;
    use std::{
        ptr,
        sync::{atomic::Ordering::Relaxed, mpsc},
        thread,
        time::{Duration, Instant},
    };

    unsafe extern "C" {
        fn pthread_attr_init(attributes: *mut c_void) -> c_int;
        fn pthread_attr_setstacksize(attributes: *mut c_void, size: usize) -> c_int;
        fn pthread_detach(thread: usize) -> c_int;
    }

    unsafe extern "C-unwind" {
        fn pthread_exit(value: *mut c_void) -> !;
    }

    fn eventually(is_so: impl Fn() -> bool) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while !is_so() && Instant::now() < until {
            thread::yield_now();
        }
        is_so()
    }

    /// Says that it has begun, and ends without returning when it is told to.
    unsafe extern "C-unwind" fn wait(channel: *mut c_void) -> *mut c_void {
        assert!(is_own());
        {
            // SAFETY: the test passes a box of this type.
            let channel = unsafe { Box::from_raw(channel.cast::<mpsc::Receiver<()>>()) };
            let _ = channel.recv();
        }
        // SAFETY: this thread was made by pthread_create, and nothing here is left to drop.
        unsafe { pthread_exit(ptr::null_mut()) }
    }

    fn create(attributes: *const c_void) -> (c_int, mpsc::Sender<()>) {
        let (end, ended) = mpsc::channel::<()>();
        let ended = Box::into_raw(Box::new(ended));
        let mut thread = 0_usize;
        // SAFETY: there is a place for the thread, and the argument is what `wait` takes.
        let status = unsafe {
            let place = ptr::from_mut(&mut thread).cast();
            pthread_create(place, attributes, wait, ended.cast())
        };
        // SAFETY: a thread that was created takes its argument, and is not joined.
        unsafe {
            if status == 0 {
                pthread_detach(thread);
            } else {
                drop(Box::from_raw(ended));
            }
        }
        (status, end)
    }

    /// The only test that creates any, since the count is the library's.
    #[test]
    fn threads_count_from_creation_to_their_end() {
        ATTACHED.store(true, Relaxed);
        let mut attributes = [0_u64; 16];
        let attributes = attributes.as_mut_ptr().cast();
        // SAFETY: glibc's attributes take 56 bytes.
        unsafe {
            assert_eq!(pthread_attr_init(attributes), 0);
            assert_eq!(pthread_attr_setstacksize(attributes, 1 << 50), 0);
        }
        assert_ne!(create(attributes).0, 0, "there is no room for such a stack");
        assert_eq!(alive(), 0);

        let many: Vec<_> = (0..LOOK_AT_LEAST + 10).map(|_| create(ptr::null())).collect();
        assert!(many.iter().all(|(status, _)| *status == 0));
        assert_eq!(alive(), LOOK_AT_LEAST + 10);
        assert!(!is_own());
        drop(many);
        assert!(eventually(|| alive() == 0));
        forget();
    }

    const STAT: &[u8] =
        b"4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 215 0 0 0 7 8 9 10 20 0 1 0 998877 11096064 \
        312 18446744073709551615 1 1 0 0 0 0 0";

    #[test]
    fn a_thread_is_known_by_number_and_start() {
        let known = Identity::parse(STAT).unwrap();
        assert_eq!(known, Identity { thread: 4711, started: 998_877 });
        for length in 0..STAT.len() - b" 11096064".len() {
            let cut = Identity::parse(&STAT[..length]);
            assert!(cut.is_none_or(|cut| cut.thread == 4711 && cut.started <= 998_877), "{length}");
        }
        assert_eq!(Identity::parse(b"no thread at all"), None);
    }

    #[test]
    fn a_thread_has_ended_when_the_kernel_says_so() {
        let (told, identity) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            told.send(Identity::of_this_thread().unwrap()).unwrap();
            let _ = ended.recv();
        });
        let identity = identity.recv().unwrap();
        let begun = Begun(Some(identity));
        assert!(begun.may_run());
        let reused = Identity { started: identity.started + 1, ..identity };
        assert!(!Begun(Some(reused)).may_run(), "a later thread has its number");
        drop(end);
        other.join().unwrap();
        assert!(eventually(|| !begun.may_run()));
    }

    #[test]
    fn one_that_could_not_be_identified_counts_as_running() {
        assert!(Begun(None).may_run());
    }
}
