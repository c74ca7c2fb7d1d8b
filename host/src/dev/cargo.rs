//! Calling cargo as a shell would: in the workspace's folder, and without what an outer cargo left in the environment.

use super::{packages::Workspace, plan::Build};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{
    env, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Why a workspace is not known.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// It did not run.
    #[error("cannot run cargo: {0}; install Rust, or name it in CARGO")]
    Run(#[from] io::Error),
    /// It found something wrong.
    #[error("cargo cannot read the workspace at {}: {text}", folder.display())]
    Refused {
        /// Where it was called.
        folder: PathBuf,
        /// What it said.
        text: String,
    },
    /// It said something else than expected.
    #[error("cargo describes the workspace at {} in an unknown form: {error}", folder.display())]
    Form {
        /// Where it was called.
        folder: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

/// The workspace around this folder.
///
/// # Errors
/// If cargo does not run, or does not read it.
pub fn metadata(folder: &Path) -> Result<Workspace, CargoError> {
    let arguments = ["metadata", "--format-version", "1", "--no-deps"];
    let output = cargo(folder).args(arguments).output()?;
    let folder = folder.to_owned();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CargoError::Refused { folder, text });
    }
    serde_json::from_slice(&output.stdout).map_err(|error| CargoError::Form { folder, error })
}

fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_an_outer_cargo) {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Whether `cargo run` sets this variable for the program, of which build scripts would take notice.
/// What users set for cargo itself stays: `CARGO`, `CARGO_HOME`, `CARGO_TARGET_DIR`, `RUSTUP_TOOLCHAIN`.
pub fn is_of_an_outer_cargo(name: &str) -> bool {
    let groups = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CDYLIB_"];
    let others = ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"];
    groups.iter().any(|group| name.starts_with(group)) || others.contains(&name)
}

/// A cargo that builds; it ends when this is dropped, with every compiler that it started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    started: Instant,
}

impl Running {
    /// Begins to build. What cargo says goes to stderr, only warnings and errors if `is_quiet`.
    ///
    /// # Errors
    /// If cargo cannot be started.
    pub fn start(build: &Build, is_quiet: bool) -> io::Result<Running> {
        let mut command = cargo(&build.root);
        command.args(arguments(build, is_quiet)).stdout(Stdio::null());
        // A group of its own, so that compilers end with it.
        let child = command.process_group(0).spawn()?;
        Ok(Running { child, started: Instant::now() })
    }

    /// Names this process to [`until_ended`].
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for its end; answers how it ended and how long it ran.
    pub fn wait(mut self) -> io::Result<(ExitStatus, Duration)> {
        Ok((self.child.wait()?, self.started.elapsed()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may just have ended.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Waits until this child has ended, which stays to be waited for: until then its number names nobody else.
pub fn until_ended(pid: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
}

/// The arguments of this build.
pub fn arguments(build: &Build, is_quiet: bool) -> Vec<String> {
    let mut arguments = vec!["build".to_owned()];
    if is_quiet {
        arguments.push("--quiet".into());
    }
    // One broken plugin does not hold up the others.
    arguments.push("--keep-going".into());
    let mut add = |option: &str, value: &str| arguments.extend([option.into(), value.into()]);
    add("--profile", &build.output.profile);
    build.output.triple.iter().for_each(|triple| add("--target", triple));
    add("--target-dir", &build.target.to_string_lossy());
    build.packages.iter().for_each(|(package, _)| add("--package", package));
    arguments
}
