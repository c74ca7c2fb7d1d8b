//! What can go wrong on the ladder, step by step; every text is the cause and what to do about it.

use mycelia_plugin::abi::ABI_VERSION;
use std::{io, path::PathBuf, time::Duration};

/// Why a plugin was not loaded. The variants are in the order of the steps.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No such file in any of the folders.
    #[error("cannot find the plugin `{plugin}`: {}{}", looked(file, folders), suggested(suggestion.as_deref()))]
    NotFound {
        /// As the config has it.
        plugin: String,
        /// The file's name that was looked for.
        file: String,
        /// Where.
        folders: Vec<PathBuf>,
        /// What to write instead, if a similar file is there.
        suggestion: Option<String>,
    },

    /// The system refuses to open or read it.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It is no regular file.
    #[error("{path} is {kind}, not a file; name the shared library itself")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// It has no bytes.
    #[error("{path} is empty; it is being written, or its build failed")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It has more bytes than are read.
    #[error("{path} has {size} bytes, more than the {limit} that are read; is it a plugin at all?")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// It was written to meanwhile, so that the bytes may be half old and half new.
    #[error("{path} changed while it was read; try again when it is written")]
    Changed {
        /// The file.
        path: PathBuf,
    },

    /// It is text.
    #[error("{path} is a text file, not a shared library; name the .so that cargo built")]
    Text {
        /// The file.
        path: PathBuf,
    },
    /// It is something else than ELF.
    #[error("{path} is not a shared library: it has no ELF header; name the .so that cargo built")]
    NotElf {
        /// The file.
        path: PathBuf,
    },
    /// It ends too early.
    #[error("{path} is not complete: {what}; it is being written, or was cut")]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// Its headers contradict each other.
    #[error("{path} is a damaged library: {what}; build it again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It is for another machine.
    #[error(
        "{path} is built for {built_for}, this host is {host}; build it with --target {host}-unknown-linux-gnu"
    )]
    Architecture {
        /// The file.
        path: PathBuf,
        /// The machine it is for.
        built_for: String,
        /// The machine of this host.
        host: &'static str,
    },
    /// It is ELF, but of another kind.
    #[error(
        "{path} is {kind}, not a shared library; build it with crate-type = [\"cdylib\", \"rlib\"]"
    )]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// It is a library like any other.
    #[error(
        "{path} has no Mycelia manifest: it is a library but no plugin; does it call export_subsystem!?"
    )]
    NoManifest {
        /// The file.
        path: PathBuf,
    },
    /// Its manifest cannot be read.
    #[error("{path} is a plugin, but its manifest is damaged: {what}; build it again")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It speaks another version of the ABI.
    #[error(
        "{path} was built for ABI {}.{}, this host speaks {}.{}; build it with mycelia-plugin {}",
        built_for.0, built_for.1, ABI_VERSION.0, ABI_VERSION.1, env!("CARGO_PKG_VERSION")
    )]
    AbiVersion {
        /// The file.
        path: PathBuf,
        /// Major and minor version.
        built_for: (u16, u16),
    },
    /// A panic in it would end the host.
    #[error(
        "{path} was built with panic = \"abort\" and cannot be contained; \
         build it with panic = \"unwind\" in its profile"
    )]
    PanicAborts {
        /// The file.
        path: PathBuf,
    },
    /// Its linker was told to keep it in the process.
    #[error(
        "{path} was linked with -z nodelete and could never be unloaded; link it without that flag"
    )]
    NoDelete {
        /// The file.
        path: PathBuf,
    },
    /// It shares a symbol with every other library, so the system keeps it in the process.
    #[error(
        "{path} defines `{symbol}` as a symbol that is unique in the process, and could never be unloaded; \
         compile its C++ with -fno-gnu-unique"
    )]
    UniqueSymbol {
        /// The file.
        path: PathBuf,
        /// The first such symbol.
        symbol: String,
    },
    /// What it leaves in the process could not be taken back.
    #[error(
        "{path} was built without the hooks that let it be unloaded{}; \
         build it with export_subsystem! of mycelia-plugin {}",
        bound_outside(*symbol), env!("CARGO_PKG_VERSION")
    )]
    NoHooks {
        /// The file.
        path: PathBuf,
        /// A function of the system that it calls instead of a hook.
        symbol: Option<&'static str>,
    },
    /// It exports no root module.
    #[error(
        "{path} has a manifest but does not export its functions, `{symbol}`; does a version script hide it?"
    )]
    NoRootModule {
        /// The file.
        path: PathBuf,
        /// What it should export.
        symbol: &'static str,
    },

    /// The host has no place to load from.
    #[error(
        "cannot put {path} where it can be executed: {cause}; is {} full, or mounted noexec?",
        std::env::temp_dir().display()
    )]
    Stage {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// No child can be started to try it in, or it ends before it has begun.
    #[error(
        "cannot start `{program} probe` to try {path}: {cause}; is it the `mycelia` that belongs to this host?"
    )]
    NoProbe {
        /// The file.
        path: PathBuf,
        /// What was to be started.
        program: PathBuf,
        /// What the system says, or how it ended.
        cause: io::Error,
    },
    /// The child found what the host would have found when it loads it.
    #[error(transparent)]
    Probed(Box<LoadError>),
    /// The child was ended by a signal.
    #[error(
        "{path} ends the process that loads it, with {signal}{said}; \
         build it again, and look at what it links that runs by itself, such as constructors of C or C++"
    )]
    Crashes {
        /// The file.
        path: PathBuf,
        /// The signal's name.
        signal: String,
        /// The last line that the child wrote, in brackets, or nothing.
        said: String,
    },
    /// The child called `abort`.
    #[error(
        "{path} aborts the process that loads it{said}; \
         mend what it links that runs by itself, such as constructors of C or C++"
    )]
    Aborts {
        /// The file.
        path: PathBuf,
        /// The last line that the child wrote, in brackets, or nothing.
        said: String,
    },
    /// The child ended in order, before it had loaded the library.
    #[error(
        "{path} ends the process that loads it, with exit code {code}{said}; \
         build it again, and look at what it links that runs by itself, such as constructors of C or C++"
    )]
    Exits {
        /// The file.
        path: PathBuf,
        /// The exit code.
        code: i32,
        /// The last line that the child wrote, in brackets, or nothing.
        said: String,
    },
    /// The child did not end in time.
    #[error(
        "{path} was not loaded within {limit:?}; \
         mend what it links that runs by itself and does not return, such as constructors of C or C++"
    )]
    Hangs {
        /// The file.
        path: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// dlopen says no.
    #[error("{path} cannot be loaded; the loader refused it: {cause}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// The text of dlerror.
        cause: String,
    },
    /// Its header is of another abi_stable.
    #[error(
        "{path} was built with another abi_stable than this host: {cause}; build it with mycelia-plugin {}",
        env!("CARGO_PKG_VERSION")
    )]
    Header {
        /// The file.
        path: PathBuf,
        /// What abi_stable says.
        cause: String,
    },
    /// Its types differ although its version does not.
    #[error(
        "{path} has another layout of the ABI's types than this host although it names the same version; \
         build both from one source: {difference}"
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// What abi_stable says.
        difference: String,
    },
    /// It does not give its functions.
    #[error(
        "{path} was loaded, but does not give its functions: {cause}; build it with mycelia-plugin {}",
        env!("CARGO_PKG_VERSION")
    )]
    RootModule {
        /// The file.
        path: PathBuf,
        /// What abi_stable says.
        cause: String,
    },
}

impl LoadError {
    /// The step of the ladder at which the file failed: `find`, `read`, `preflight`, `probe` or `load`.
    pub fn step(&self) -> &'static str {
        use LoadError::*;
        match self {
            NotFound { .. } => "find",
            Unreadable { .. }
            | NotAFile { .. }
            | Empty { .. }
            | TooLarge { .. }
            | Changed { .. } => "read",
            NoProbe { .. }
            | Probed(_)
            | Crashes { .. }
            | Aborts { .. }
            | Exits { .. }
            | Hangs { .. } => "probe",
            Stage { .. } | Refused { .. } | Header { .. } | Layout { .. } | RootModule { .. } => {
                "load"
            }
            _ => "preflight",
        }
    }

    /// Whether the file looks like one that is being written, so that it is worth reading again in a moment.
    pub fn is_incomplete(&self) -> bool {
        matches!(
            self,
            LoadError::Empty { .. } | LoadError::Changed { .. } | LoadError::Incomplete { .. }
        )
    }
}

fn bound_outside(symbol: Option<&str>) -> String {
    symbol.map_or(String::new(), |symbol| format!(" (it calls the system's `{symbol}`)"))
}

fn looked(file: &str, folders: &[PathBuf]) -> String {
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    match folders.is_empty() {
        true => format!("there is no folder to look for {file} in; set MYCELIA_PLUGIN_PATH"),
        false => format!("there is no {file} in {}", folders.join(", ")),
    }
}

fn suggested(suggestion: Option<&str>) -> String {
    match suggestion {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; build it, or name its folder in MYCELIA_PLUGIN_PATH".into(),
    }
}
