//! The library's panic hook: one line, without a backtrace. Symbolising one within the library leaks 35 MB of debug
//! information a time, with the files that it maps.

use super::libc;
use crate::abi::link;
use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    mem::ManuallyDrop,
    os::fd::FromRawFd,
    panic::{self, PanicHookInfo},
};

pub fn install() {
    panic::set_hook(Box::new(report));
}

/// Whatever hook there is by now.
pub fn remove() {
    drop(panic::take_hook());
}

fn report(info: &PanicHookInfo<'_>) {
    const ERROR: u8 = 1;
    let line = describe(info);
    match link::current() {
        Some(current) if current.link.is_logged(ERROR) => {
            current.link.log(ERROR, "panic", line.trim_end());
        }
        Some(_) => {}
        None => write_to_stderr(&line),
    }
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("a panic without text").replace('\n', "\\n");
    let mut name = [0; 16];
    let mut line = format!("thread `{}` panicked", thread_name(&mut name));
    if let Some(place) = info.location() {
        let _ = write!(line, " at {place}");
    }
    let _ = writeln!(line, ": {text}");
    line
}

/// As the kernel knows it: std's own name may be gone, or never have been in this copy of std.
fn thread_name(name: &mut [u8; 16]) -> &str {
    // SAFETY: the kernel writes 16 bytes at most.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    std::str::from_utf8(&name[..length]).unwrap_or("?")
}

/// Past std's `stderr`, whose lock the panicking code may hold.
fn write_to_stderr(line: &str) {
    // SAFETY: it is not dropped, so descriptor 2 is not closed.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    let _ = stderr.write_all(line.as_bytes());
}
