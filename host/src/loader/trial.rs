//! The child's side of a probe: load what was inherited, unload it, and say how it went.
//!
//! It does what the host will do, by the same code, in the same environment, under limits.
#![allow(unsafe_code, reason = "a process ends without the functions that a library registered")]

use super::{
    LoadError,
    code::{self, Code},
};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// The word that a program is started with.
pub(super) const WORD: &str = "probe";
/// What a verdict begins with, before anything of the library runs.
pub(super) const BEGUN: &str = "mycelia-probe\n";
/// The rest of it for a library that can be loaded and unloaded; else a word for the fault, a tab and the cause.
pub(super) const PASSED: &str = "passed";

/// What a child inherits as its standard input.
const INHERITED: &str = "/proc/self/fd/0";

/// This program has begun with [`answer_probe`], and its child would too.
static IS_ANSWERED: AtomicBool = AtomicBool::new(false);

/// Runs the probe if that is what this process was started for. It comes first in the main function of a program, which
/// by it declares that it can be started as a [`Prober`](super::Prober)'s: `if let Some(code) = answer_probe() { return code; }`.
pub fn answer_probe() -> Option<ExitCode> {
    IS_ANSWERED.store(true, Relaxed);
    let is_probe = std::env::args_os().nth(1).is_some_and(|word| word == WORD);
    is_probe.then(probe_main)
}

pub(super) fn is_answered() -> bool {
    IS_ANSWERED.load(Relaxed)
}

/// Runs in the child: `mycelia probe [FILE]`, without a file for what is its standard input. Answers the process's exit
/// code, for one that could not even begin; else the process ends here.
pub fn probe_main() -> ExitCode {
    let path = std::env::args_os().nth(2).unwrap_or_else(|| OsString::from(INHERITED));
    match run(&PathBuf::from(path)) {
        // SAFETY: it ends the process at once; what the library has registered for its end does not run.
        Ok(()) => unsafe { libc::_exit(0) },
        Err(error) => {
            eprintln!("cannot probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path) -> io::Result<()> {
    limit()?;
    let mut verdict = take_output()?;
    verdict.write_all(BEGUN.as_bytes())?;
    match Code::load(path, path) {
        Ok(code) => {
            unload(code);
            verdict.write_all(PASSED.as_bytes())
        }
        Err(error) => verdict.write_all(told(&error).as_bytes()),
    }
}

/// Runs what the library does at its end, which would otherwise first run in the host. One that holds on to something has
/// it until its host takes it back.
fn unload(code: Code) {
    // SAFETY: the library is loaded, and no call of it runs.
    unsafe { code::detach(code.module()) };
    let holds = code.holds();
    match holds.threads == 0 && holds.destructors == 0 {
        true => code.unload(),
        false => std::mem::forget(code),
    }
}

/// A library may hang, fill the memory or crash; nothing of that is to outlive the host, or to be kept.
fn limit() -> io::Result<()> {
    const SECONDS: u64 = 60;
    const MEMORY: u64 = 1 << 36;
    const FILE: u64 = 1 << 24;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Cpu, SECONDS),
        (Resource::As, MEMORY),
        (Resource::Fsize, FILE),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// The file for the verdict, which is the standard output; what the library prints goes elsewhere.
fn take_output() -> io::Result<File> {
    let verdict = io::stdout().as_fd().try_clone_to_owned()?;
    // SAFETY: both descriptors are the process's own, and nothing has been written yet.
    match unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(verdict.into()),
    }
}

/// A fault for the host, which knows the path.
fn told(error: &LoadError) -> String {
    match error {
        LoadError::Refused { cause, .. } => format!("refused\t{cause}"),
        LoadError::Header { cause, .. } => format!("header\t{cause}"),
        LoadError::Layout { difference, .. } => format!("layout\t{difference}"),
        LoadError::RootModule { cause, .. } => format!("module\t{cause}"),
        other => format!("module\t{other}"),
    }
}

/// The fault that a verdict tells, if it tells one.
pub(super) fn fault(verdict: &str, path: &Path) -> Option<LoadError> {
    let (word, cause) = verdict.split_once('\t')?;
    let (path, cause) = (path.to_owned(), cause.to_owned());
    match word {
        "refused" => Some(LoadError::Refused { path, cause }),
        "header" => Some(LoadError::Header { path, cause }),
        "layout" => Some(LoadError::Layout { path, difference: cause }),
        "module" => Some(LoadError::RootModule { path, cause }),
        _ => None,
    }
}
