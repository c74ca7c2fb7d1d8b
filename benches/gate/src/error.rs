//! What can go wrong, with the remedy, and the exit code that says who must act.

use std::{io, path::PathBuf};

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No valgrind in the search path.
    #[error("valgrind is not installed; install it with `apt-get install valgrind`")]
    NoValgrind,
    /// Neither `IAI_CALLGRIND_RUNNER` nor the search path leads to the runner.
    #[error("{place}; install it with `{}`", install(version))]
    NoRunner {
        /// Where it was looked for.
        place: String,
        /// The version that the benches need.
        version: String,
    },
    /// The runner is of another version than the library that the benches link.
    #[error(
        "{path} is not iai-callgrind-runner {version}, which Cargo.lock asks for ({found}); install it with `{}`",
        install(version)
    )]
    WrongRunner {
        /// The runner.
        path: PathBuf,
        /// What it said.
        found: String,
        /// The version that the benches need.
        version: String,
    },
    /// Cargo.lock is missing, or has no iai-callgrind.
    #[error(
        "{path} names no iai-callgrind; add it with `cargo add --dev iai-callgrind` to the package to guard, and commit the file"
    )]
    NoLibrary {
        /// Cargo.lock.
        path: PathBuf,
    },
    /// No package has such a bench.
    #[error("no package{} has a bench `{bench}`; {}", named(name.as_deref()), others(candidates))]
    NoBench {
        /// The package that was asked for.
        name: Option<String>,
        /// The bench target.
        bench: String,
        /// The packages that have it.
        candidates: Vec<String>,
    },
    /// `--baseline` with more than one package.
    #[error("`--baseline` is one file, but {0} packages are guarded; name one with `--package`")]
    OneBaseline(usize),
    /// A command failed.
    #[error("`{command}` failed: {text}")]
    Failed {
        /// The command.
        command: String,
        /// What it said, or where to look.
        text: String,
    },
    /// A bench ran, and no count came of it.
    #[error(
        "`{package}` was counted, but {what}; the bench must call `iai_callgrind::main!` and keep callgrind as its tool"
    )]
    NotCounted {
        /// The package.
        package: String,
        /// What is missing.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {verb} {path}: {cause}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A configuration file of cargo is not TOML.
    #[error("{path} is not TOML: {cause}")]
    BadToml {
        /// The file.
        path: PathBuf,
        /// Where, and why not.
        cause: toml::de::Error,
    },
    /// The baseline is no baseline.
    #[error(
        "{path} is no baseline: {cause}; restore the file, or delete it and write another with `mycelia-gate --bless`"
    )]
    BadBaseline {
        /// The file.
        path: PathBuf,
        /// Where, and why not.
        cause: Box<ron::error::SpannedError>,
    },
    /// A package has a baseline, and nothing to compare with it.
    #[error(
        "`{package}` has a baseline, but no bench `{bench}`; put the bench back, or delete {baseline}"
    )]
    BenchGone {
        /// The package.
        package: String,
        /// The bench target.
        bench: String,
        /// Its baseline.
        baseline: String,
    },
    /// Nothing to compare with.
    #[error(
        "no usable baseline: {0}; count one with `mycelia-gate --bless` at a commit that is known to be good and commit it, or name a commit to compare with by `--against REV`"
    )]
    NoBase(String),
}

impl Error {
    /// The exit code: 4 where a baseline is missing, 2 where a tool is broken or misused.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NoBase(_) | Error::BadBaseline { .. } | Error::BenchGone { .. } => 4,
            _ => 2,
        }
    }

    /// For `map_err` on files.
    pub(crate) fn file(
        verb: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |cause| Error::File { verb, path, cause }
    }
}

fn install(version: &str) -> String {
    format!("cargo install iai-callgrind-runner --version {version} --locked")
}

fn named(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(" `{name}`"))
}

fn others(candidates: &[String]) -> String {
    match candidates {
        [] => "write one, or name another target with `--bench`".into(),
        names => format!("these have: {}", names.join(", ")),
    }
}
