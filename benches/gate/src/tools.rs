//! The tools that count, and one run of them.
//!
//! A run gets a folder of its own for what iai-callgrind writes, so that nothing of an earlier run can be read, and
//! an environment in which the processor does not choose between variants of glibc's functions.

use crate::{Counts, Error, Package, Workspace, workspace::cargo};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// Without these, glibc's memory functions are the same on every x86-64.
/// With AVX2 a comparison takes another way when it is near the end of a page: 1.4% were seen from another folder.
/// A bench that sets the variable itself has its way.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// Valgrind and the runner of iai-callgrind; holding one proves that they are there and of the right version.
#[derive(Debug)]
pub struct Tools {
    valgrind: PathBuf,
    runner: PathBuf,
    /// The toolchain of this workspace, which also builds other commits of it.
    pub(crate) sysroot: String,
    /// Has the `valgrind` that iai-callgrind finds first.
    shim: TempDir,
}

impl Tools {
    /// Finds the tools that the benches of this workspace need.
    ///
    /// # Errors
    /// If one is missing or of another version than Cargo.lock asks for, with the command that installs it.
    pub fn find(workspace: &Workspace) -> Result<Tools, Error> {
        let version = workspace.iai_callgrind()?;
        let valgrind = in_search_path("valgrind").ok_or(Error::NoValgrind)?;
        let runner = runner(&version)?;
        check_version(&runner, &version)?;
        let sysroot =
            said(Command::new("rustc").args(["--print", "sysroot"]).current_dir(&workspace.root))?;
        Ok(Tools { shim: shim(&valgrind)?, valgrind, runner, sysroot: sysroot.trim().into() })
    }

    /// What valgrind says of its version.
    pub(crate) fn valgrind_version(&self) -> Result<String, Error> {
        said(Command::new(&self.valgrind).arg("--version"))
    }

    /// Builds and counts the benches of a package, in this folder for what is built.
    /// What cargo says goes to stderr, and what iai-callgrind says as well if it fails.
    ///
    /// # Errors
    /// If they do not build or run, or a bench was not counted.
    ///
    /// # Panics
    /// Never: the search path consists of its own parts.
    pub fn count(
        &self,
        workspace: &Workspace,
        package: &Package,
        target: &Path,
    ) -> Result<Counts, Error> {
        let home = tempfile::tempdir().map_err(Error::file("create", env::temp_dir()))?;
        let mut command = cargo();
        command
            .args(["bench", "--package", &package.name, "--bench", &workspace.bench])
            .current_dir(&workspace.root)
            .stderr(Stdio::inherit());
        // A filter, a limit or another baseline from outside would change what is counted.
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"IAI_CALLGRIND_") {
                command.env_remove(name);
            }
        }
        let search = env::var_os("PATH").unwrap_or_default();
        let search = [self.shim.path().to_owned()].into_iter().chain(env::split_paths(&search));
        command
            .env_remove("LD_PRELOAD")
            .env("PATH", env::join_paths(search).expect("parts of a search path make one"))
            .env("CARGO_TARGET_DIR", target)
            .env("RUSTUP_TOOLCHAIN", &self.sysroot)
            .env("IAI_CALLGRIND_RUNNER", &self.runner)
            .env("IAI_CALLGRIND_HOME", home.path())
            .env("IAI_CALLGRIND_SAVE_SUMMARY", "json")
            // Containers forbid to switch it off, and under valgrind addresses do not depend on it.
            .env("IAI_CALLGRIND_ALLOW_ASLR", "true");
        run(&mut command)?;
        Counts::read(&package.name, home.path())
    }
}

/// The program of this name, as a shell would find it.
fn in_search_path(name: &str) -> Option<PathBuf> {
    let search = env::var_os("PATH")?;
    env::split_paths(&search).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn runner(version: &str) -> Result<PathBuf, Error> {
    let missing = |place: String| Error::NoRunner { place, version: version.into() };
    let Some(path) = env::var_os("IAI_CALLGRIND_RUNNER").filter(|path| !path.is_empty()) else {
        return in_search_path("iai-callgrind-runner")
            .ok_or_else(|| missing("iai-callgrind-runner is not in the search path".into()));
    };
    // Cargo runs benches in the folder of their package.
    let path = std::path::absolute(&path).map_err(Error::file("find", &path))?;
    match path.is_file() {
        true => Ok(path),
        false => {
            Err(missing(format!("IAI_CALLGRIND_RUNNER is {}, which is no file", path.display())))
        }
    }
}

/// The runner has no option for its version: it compares itself with its first argument, and says what it is when the
/// others are missing.
fn check_version(runner: &Path, version: &str) -> Result<(), Error> {
    let output = Command::new(runner)
        .arg(version)
        .env_remove("IAI_CALLGRIND_LOG")
        .env_remove("RUST_LOG")
        .output()
        .map_err(Error::file("run", runner))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains(&format!("Detected version of iai-callgrind-runner is {version}.")) {
        return Ok(());
    }
    let found = text.lines().next().unwrap_or("it says nothing").trim_end_matches('.').into();
    Err(Error::WrongRunner { path: runner.into(), found, version: version.into() })
}

/// iai-callgrind clears the environment of what it counts, so the tunables are set behind its back: by a script that it
/// takes for valgrind.
fn shim(valgrind: &Path) -> Result<TempDir, Error> {
    let folder = tempfile::tempdir().map_err(Error::file("create", env::temp_dir()))?;
    let script = folder.path().join("valgrind");
    let quoted = valgrind.to_string_lossy().replace('\'', r"'\''");
    let text = format!(
        "#!/bin/sh\nGLIBC_TUNABLES=\"${{GLIBC_TUNABLES-{TUNABLES}}}\" exec '{quoted}' \"$@\"\n"
    );
    fs::write(&script, text).map_err(Error::file("write", &script))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .map_err(Error::file("make executable", &script))?;
    Ok(folder)
}

/// What a command prints.
pub(crate) fn said(command: &mut Command) -> Result<String, Error> {
    let output = command.stderr(Stdio::piped()).output().map_err(|cause| failed(command, cause))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(command, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// Runs a command whose stderr the reader sees; what it prints is shown if it fails.
fn run(command: &mut Command) -> Result<(), Error> {
    let output = command.output().map_err(|cause| failed(command, cause))?;
    if output.status.success() {
        return Ok(());
    }
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
    Err(failed(command, format_args!("{}; what it said stands above", output.status)))
}

fn failed(command: &Command, text: impl std::fmt::Display) -> Error {
    let words: Vec<&OsStr> =
        [command.get_program()].into_iter().chain(command.get_args()).collect();
    let program = Path::new(words[0]).file_name().unwrap_or(words[0]);
    let mut shown = OsString::from(program);
    for word in &words[1..] {
        shown.push(" ");
        shown.push(word);
    }
    Error::Failed { command: shown.to_string_lossy().into_owned(), text: text.to_string() }
}
