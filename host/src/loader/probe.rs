//! Step 4: a trial in a child process, so that a library which ends whoever loads it ends the child.
//!
//! The child inherits the very bytes that the host would load, loads them by the same code, and leaves a verdict in a
//! file that the host lent it; how it ends tells the rest. `trial.rs` is its side.

use super::{LoadError, sealed::Sealed, trial};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a library may take to load, constructors and relocations included; a millisecond is usual.
const LIMIT: Duration = Duration::from_secs(5);
/// How many hashes are kept of those that passed.
const KEPT: usize = 4096;

/// Tries libraries in a child process, and remembers by hash those that passed.
pub struct Prober {
    program: PathBuf,
    limit: Duration,
    /// The oldest first.
    passed: Mutex<VecDeque<Arc<str>>>,
}

impl Prober {
    /// `program` is started as `program probe`, and must begin with [`answer_probe`](super::answer_probe).
    pub fn new(program: PathBuf) -> Prober {
        Prober { program, limit: LIMIT, passed: Mutex::default() }
    }

    /// The same with another limit than five seconds on the time that a library takes to load.
    pub fn with_limit(self, limit: Duration) -> Prober {
        Prober { limit, ..self }
    }

    /// With this very program if it answers, else with the `mycelia` beside it or in the folder above, as for a test in
    /// `deps`; nothing if there is none.
    pub fn find() -> Option<Prober> {
        if trial::is_answered() {
            // The program that runs, also after its file was replaced.
            return Some(Prober::new("/proc/self/exe".into()));
        }
        let own = std::env::current_exe().ok()?;
        let folders = own.ancestors().skip(1).take(2);
        let program = folders.map(|folder| folder.join("mycelia")).find(|path| path.is_file())?;
        Some(Prober::new(program))
    }

    pub(super) fn probe(
        &self,
        sealed: &Sealed,
        hash: &Arc<str>,
        path: &Path,
    ) -> Result<(), LoadError> {
        if self.has_passed(hash) {
            return Ok(());
        }
        let attempt = self.attempt(sealed).map_err(|cause| self.no_probe(path, cause))?;
        self.judge(path, attempt)?;
        self.keep(hash);
        Ok(())
    }

    fn has_passed(&self, hash: &Arc<str>) -> bool {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).contains(hash)
    }

    fn keep(&self, hash: &Arc<str>) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.len() == KEPT {
            passed.pop_front();
        }
        passed.push_back(Arc::clone(hash));
    }

    /// Files take what the child writes, since a pipe that nobody reads would hold it up.
    fn attempt(&self, sealed: &Sealed) -> io::Result<Attempt> {
        let (mut verdict, mut said) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let (input, path) = sealed.for_child()?;
        let mut command = Command::new(&self.program);
        // The service is the host, not whoever tries a library for it.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"] {
            command.env_remove(name);
        }
        let child = command
            .arg(trial::WORD)
            .args(path)
            .stdin(input)
            .stdout(verdict.try_clone()?)
            .stderr(said.try_clone()?)
            .spawn()?;
        let status = Running(child).wait(self.limit)?;
        let said = last_line(&read_end(&mut said)?);
        Ok(Attempt { status, verdict: read_end(&mut verdict)?, said })
    }

    fn judge(&self, path: &Path, attempt: Attempt) -> Result<(), LoadError> {
        let Attempt { status, verdict, said } = attempt;
        let path = path.to_owned();
        let Some(status) = status else { return Err(LoadError::Hangs { path, limit: self.limit }) };
        let Some(verdict) = verdict.strip_prefix(trial::BEGUN) else {
            let cause = io::Error::other(format!("it ended too early, with {status}{said}"));
            return Err(self.no_probe(&path, cause));
        };
        match (status.signal().and_then(Signal::from_named_raw), status.code()) {
            (Some(Signal::ABORT), _) => Err(LoadError::Aborts { path, said }),
            (Some(signal), _) => Err(LoadError::Crashes { path, signal: name(signal), said }),
            (None, Some(0)) if verdict == trial::PASSED => Ok(()),
            (None, Some(code)) => Err(match trial::fault(verdict, &path) {
                Some(fault) => LoadError::Probed(Box::new(fault)),
                None => LoadError::Exits { path, code, said },
            }),
            (None, None) => Err(LoadError::Crashes { path, signal: status.to_string(), said }),
        }
    }

    fn no_probe(&self, path: &Path, cause: io::Error) -> LoadError {
        LoadError::NoProbe { path: path.into(), program: self.program.clone(), cause }
    }
}

/// What came of a child.
struct Attempt {
    /// Nothing if it had to be ended.
    status: Option<ExitStatus>,
    verdict: String,
    said: String,
}

/// A child that is gone when this is.
struct Running(Child);

impl Running {
    /// How it ended, if it did within the limit.
    fn wait(mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        let end = match pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()) {
            Ok(end) => end,
            // Valgrind 3.19 does not know it, nor do systems before 5.3.
            Err(Errno::NOSYS) => return self.look_until(deadline),
            Err(error) => return Err(error.into()),
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&timeout)) {
                Ok(0) if left.is_zero() => return Ok(None),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.0.wait().map(Some),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Running {
    /// As `wait`, by looking again and again.
    fn look_until(mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        const LOOK: Duration = Duration::from_micros(500);
        loop {
            let ended = self.0.try_wait()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing to a child whose end was seen.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The end of a file that the child wrote; a verdict is shorter.
fn read_end(file: &mut File) -> io::Result<String> {
    const MOST: u64 = 1 << 16;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(MOST)))?;
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last thing that a child said, for the end of an error.
fn last_line(text: &str) -> String {
    const MOST: usize = 300;
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    let line = line.map(|line| line.replace(char::is_control, "\u{fffd}"));
    line.map_or(String::new(), |line| {
        format!(" (it said: {})", line.chars().take(MOST).collect::<String>())
    })
}

fn name(signal: Signal) -> String {
    match signal {
        Signal::SEGV => "SIGSEGV".into(),
        Signal::BUS => "SIGBUS".into(),
        Signal::ILL => "SIGILL".into(),
        Signal::FPE => "SIGFPE".into(),
        Signal::TRAP => "SIGTRAP".into(),
        Signal::SYS => "SIGSYS".into(),
        Signal::KILL => "SIGKILL".into(),
        Signal::XCPU => "SIGXCPU".into(),
        Signal::XFSZ => "SIGXFSZ".into(),
        signal => format!("signal {}", signal.as_raw()),
    }
}
