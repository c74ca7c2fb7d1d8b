//! What is said of a segfault, a stack overflow or an illegal instruction: one report to stderr, and then the process dies of
//! that very signal, so that supervisors and core dumps see it.
//!
//! Nothing in here allocates, locks or frees: the code that crashed may have been about to. Where the crash is, the maps of
//! the process tell, in which a library is named by its subsystem and generation.

use std::{
    cell::{Cell, UnsafeCell},
    ffi::{CStr, c_int, c_void},
    io, mem, ptr,
    sync::atomic::{AtomicBool, Ordering},
};

/// The signals, which the processor raises for the thread that runs.
const SIGNALS: [(c_int, &str); 4] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
];

/// So near to the stack's pointer lies what a function that overflows it touches first.
const NEAR_STACK: usize = 64 * 1024;

/// Tells what the calling thread does, from plain memory alone.
pub trait Describe {
    /// Adds to the report, without allocating or waiting for anything.
    fn describe(&self, report: &mut Line);
}

thread_local! {
    static DOING: Cell<Option<*const dyn Describe>> = const { Cell::new(None) };
}

/// Text of a bounded length; what is too long is cut.
pub struct Line {
    bytes: [u8; 1024],
    length: usize,
}

/// What a report is made in: the stack of a handler has room for little more than the registers.
struct Rooms(UnsafeCell<(Line, Line, [u8; 512])>);

// SAFETY: only the thread that has set `IS_CRASHING` touches them.
unsafe impl Sync for Rooms {}

static ROOMS: Rooms = Rooms(UnsafeCell::new((Line::new(), Line::new(), [0; 512])));
static IS_CRASHING: AtomicBool = AtomicBool::new(false);

impl Line {
    const fn new() -> Line {
        Line { bytes: [0; 1024], length: 0 }
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for (place, byte) in self.bytes[self.length..].iter_mut().zip(bytes) {
            *place = *byte;
            self.length += 1;
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: usize) -> &mut Self {
        self.digits(number, 10)
    }

    fn address(&mut self, address: usize) -> &mut Self {
        self.text("0x").digits(address, 16)
    }

    fn digits(&mut self, mut number: usize, base: usize) -> &mut Self {
        let mut room = [b'0'; 20];
        let mut at = room.len();
        while at == room.len() || number > 0 {
            at -= 1;
            room[at] = b"0123456789abcdef"[number % base];
            number /= base;
        }
        self.bytes(&room[at..])
    }

    fn write(&self) {
        // SAFETY: the bytes are there; a closed stderr is nobody's loss.
        unsafe { libc::write(2, self.bytes.as_ptr().cast(), self.length) };
    }
}

/// Runs `work` of the calling thread, which a crash in it is described by.
pub fn described<D: Describe + 'static, R>(doing: &mut D, work: impl FnOnce(&mut D) -> R) -> R {
    let doing_now: &(dyn Describe + 'static) = doing;
    DOING.set(Some(ptr::from_ref(doing_now)));
    let result = work(doing);
    DOING.set(None);
    result
}

/// From here on a crash is reported. Threads that the process has begun through std have a stack of their own for that.
///
/// # Errors
/// What the system says.
pub fn report_crashes() -> io::Result<()> {
    for (signal, _) in SIGNALS {
        // SAFETY: all zero is an action, which is filled in here; the handler is of the type that SA_SIGINFO asks for.
        let status = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = crashed as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, ptr::null_mut())
        };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

unsafe extern "C" fn crashed(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if IS_CRASHING.swap(true, Ordering::Acquire) {
        loop {
            // SAFETY: another thread has crashed, too; the process ends with its report.
            unsafe { libc::pause() };
        }
    }
    // First, so that a crash of the report itself ends the process, too.
    // SAFETY: setting the default action and raising are allowed in a handler; the signal waits until this returns.
    unsafe {
        for (signal, _) in SIGNALS {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::raise(signal);
    }
    // SAFETY: this thread has set the flag, and nobody resets it.
    let (line, mapping, chunk) = unsafe { &mut *ROOMS.0.get() };
    let name =
        SIGNALS.iter().find(|(known, _)| *known == signal).map_or("a signal", |(_, name)| name);
    line.text("mycelia: ").text(name);
    // SAFETY: the system passes both for a handler with SA_SIGINFO.
    let (info, place) = unsafe { (&*info, Place::of(context)) };
    // SAFETY: as above.
    let address = unsafe { info.si_addr() }.addr();
    // What another process sends has no address, and no place of its own.
    if info.si_code <= 0 {
        line.text(", sent by a process");
    } else {
        line.text(" at ").address(address);
        if address.abs_diff(place.stack) < NEAR_STACK {
            line.text(" (the stack is exhausted)");
        }
        line.text(", by code ");
        place.describe(line, mapping, chunk);
    }
    line.text(", in the thread `");
    thread_name(line);
    line.text("`");
    if let Some(doing) = DOING.get() {
        // SAFETY: it is of a `described` that this thread is in, and only read.
        unsafe { (*doing).describe(line) };
    }
    line.text("\n");
    line.write();
}

/// Where the thread was.
struct Place {
    code: usize,
    stack: usize,
}

impl Place {
    /// # Safety
    /// `context` must be what the system passed to a handler.
    #[cfg(target_arch = "x86_64")]
    unsafe fn of(context: *mut c_void) -> Place {
        // SAFETY: the caller vouches.
        let registers = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        Place {
            code: registers[libc::REG_RIP as usize] as usize,
            stack: registers[libc::REG_RSP as usize] as usize,
        }
    }

    /// # Safety
    /// As above.
    #[cfg(target_arch = "aarch64")]
    unsafe fn of(context: *mut c_void) -> Place {
        // SAFETY: the caller vouches.
        let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
        Place { code: registers.pc as usize, stack: registers.sp as usize }
    }

    /// The file or library and the offset in it, as `objdump` and `addr2line` count.
    fn describe(&self, line: &mut Line, mapping: &mut Line, chunk: &mut [u8]) {
        let found = each_mapping(mapping, chunk, |mapping| {
            let (start, end, offset, name) = parse(mapping)?;
            (start..end).contains(&self.code).then(|| {
                line.bytes(name).text("+").address(self.code - start + offset);
            })
        });
        if found.is_none() {
            line.text("at ").address(self.code);
        }
    }
}

/// Hands the lines of the process's maps over until there is an answer.
fn each_mapping<T>(
    line: &mut Line,
    chunk: &mut [u8],
    mut look: impl FnMut(&[u8]) -> Option<T>,
) -> Option<T> {
    let path: &CStr = c"/proc/self/maps";
    // SAFETY: the path ends with a zero.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    loop {
        // SAFETY: there is room for so many bytes.
        let length = unsafe { libc::read(file, chunk.as_mut_ptr().cast(), chunk.len()) };
        let read = chunk.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
        if read.is_empty() {
            return None;
        }
        for &byte in read {
            if byte != b'\n' {
                line.bytes(&[byte]);
                continue;
            }
            let found = look(&line.bytes[..line.length]);
            if found.is_some() {
                return found;
            }
            line.length = 0;
        }
    }
}

/// Start, end, offset and name of `start-end permissions offset device inode name`.
fn parse(mapping: &[u8]) -> Option<(usize, usize, usize, &[u8])> {
    let mut fields = mapping.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let (range, _, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let name = fields.nth(2).unwrap_or(b"memory without a file");
    let mut ends = range.split(|byte| *byte == b'-');
    let name = name.strip_prefix(b"/memfd:").unwrap_or(name);
    Some((number(ends.next()?)?, number(ends.next()?)?, number(offset)?, name))
}

fn number(digits: &[u8]) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn thread_name(line: &mut Line) {
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes 16 bytes at most.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    line.bytes(&name[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_read_as_the_kernel_writes_it() {
        let text = b"7f00a000-7f00c000 r-xp 0001f000 00:01 1042   /memfd:f@2 (deleted)";
        assert_eq!(parse(text), Some((0x7f00_a000, 0x7f00_c000, 0x1f000, &b"f@2"[..])));
        let none = b"7ffc0000-7ffc1000 rw-p 00000000 00:00 0 ";
        assert_eq!(parse(none).unwrap().3, b"memory without a file");
        assert_eq!(parse(b"no mapping"), None);
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let mut line = Line::new();
        line.number(0).text(" ").number(120).text(" ").address(0xbeef);
        assert_eq!(&line.bytes[..line.length], b"0 120 0xbeef");
        for _ in 0..200 {
            line.text("0123456789");
        }
        assert_eq!(line.length, 1024);
    }

    #[test]
    fn this_code_is_found_in_the_maps() {
        let place = Place { code: parse as *const () as usize, stack: 0 };
        let mut line = Line::new();
        place.describe(&mut line, &mut Line::new(), &mut [0; 512]);
        let text = String::from_utf8(line.bytes[..line.length].to_vec()).unwrap();
        assert!(text.contains("mycelia") && text.contains("+0x"), "{text}");
    }
}
