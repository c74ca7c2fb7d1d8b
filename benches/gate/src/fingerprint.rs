//! What a count depends on beside the code: each part is found out by asking the tool, or by reading what cargo reads.

use crate::{Error, Tools, Workspace, tools::said};
use serde::{Deserialize, Serialize};
use std::{
    env,
    fmt::{self, Display, Formatter},
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use toml::{Table, Value};

/// Counts of two runs may be compared when these are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Version, commit and platform.
    pub rustc: String,
    /// Its version.
    pub valgrind: String,
    /// Its version in Cargo.lock.
    pub iai_callgrind: String,
    /// The version of the C library.
    pub glibc: String,
    /// The settings of the bench profile that are not default, and flags of the compiler but for the target CPU.
    pub profile: String,
    /// As in `-C target-cpu`.
    pub target_cpu: String,
}

impl Display for Fingerprint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Fingerprint { rustc, valgrind, iai_callgrind, glibc, profile, target_cpu } = self;
        write!(
            f,
            "rustc {rustc}, valgrind {valgrind}, iai-callgrind {iai_callgrind}, glibc {glibc}, \
             profile ({profile}), target CPU {target_cpu}"
        )
    }
}

impl Fingerprint {
    /// Asks the tools that count in this workspace.
    ///
    /// # Errors
    /// If one does not answer, or a configuration of cargo cannot be read.
    pub fn find(workspace: &Workspace, tools: &Tools) -> Result<Fingerprint, Error> {
        let rustc = said(Command::new("rustc").arg("-vV").current_dir(&workspace.root))?;
        let glibc = said(Command::new("ldd").arg("--version"))?;
        let configs = configs(&workspace.root)?;
        let (target_cpu, flags) = split(&flags(&configs));
        Ok(Fingerprint {
            rustc: compiler(&rustc),
            valgrind: tools.valgrind_version()?.trim().trim_start_matches("valgrind-").into(),
            iai_callgrind: workspace.iai_callgrind()?,
            glibc: last_word(glibc.lines().next().unwrap_or_default()).into(),
            profile: [profile(&workspace.root, &configs)?]
                .into_iter()
                .chain(flags)
                .collect::<Vec<_>>()
                .join(", "),
            target_cpu,
        })
    }
}

/// `1.95.0 (59807616e 2026-04-14) x86_64-unknown-linux-gnu`, from what `rustc -vV` says.
fn compiler(said: &str) -> String {
    let version = said.lines().next().unwrap_or_default().trim_start_matches("rustc ");
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    format!("{version} {host}")
}

fn last_word(line: &str) -> &str {
    line.rsplit(' ').next().unwrap_or_default()
}

/// The configuration files that cargo reads for this folder, the nearest first.
fn configs(root: &Path) -> Result<Vec<Table>, Error> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let folders = root.ancestors().map(|folder| folder.join(".cargo")).chain(home);
    let mut files: Vec<PathBuf> = folders.map(|folder| folder.join("config.toml")).collect();
    files.dedup();
    files.iter().filter(|file| file.is_file()).map(|file| read(file)).collect()
}

fn read(path: &Path) -> Result<Table, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    text.parse().map_err(|cause| Error::BadToml { path: path.into(), cause })
}

/// Every flag that may reach the compiler, also those that cargo would not take because others go before them: too
/// many make another fingerprint, too few would compare what cannot be compared.
fn flags(configs: &[Table]) -> Vec<String> {
    let from_variables = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"]
        .into_iter()
        .flat_map(|name| words(&env::var(name).unwrap_or_default()));
    from_variables.chain(configs.iter().flat_map(configured_flags)).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split([' ', '\u{1f}']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn configured_flags(config: &Table) -> Vec<String> {
    let targets = config.get("target").and_then(Value::as_table);
    let sections =
        config.get("build").into_iter().chain(targets.into_iter().flat_map(Table::values));
    sections
        .filter_map(|section| section.get("rustflags"))
        .flat_map(|flags| match flags {
            Value::Array(flags) => flags.iter().filter_map(Value::as_str).flat_map(words).collect(),
            flags => words(flags.as_str().unwrap_or_default()),
        })
        .collect()
}

/// The target CPU, and all other flags.
fn split(flags: &[String]) -> (String, Vec<String>) {
    let mut cpu = "generic".to_owned();
    let mut rest = Vec::new();
    for flag in flags {
        match flag.trim_start_matches("-C").strip_prefix("target-cpu=") {
            Some(name) => cpu = name.into(),
            // `-C target-cpu=native` is two words.
            None if flag == "-C" => {}
            None => rest.push(flag.clone()),
        }
    }
    (cpu, rest)
}

/// The settings of `[profile.bench]` over those of `[profile.release]`: from the manifest, then from cargo's own files,
/// then from the environment.
fn profile(root: &Path, configs: &[Table]) -> Result<String, Error> {
    let manifest = read(&root.join("Cargo.toml"))?;
    let mut settings = Table::new();
    for name in ["release", "bench"] {
        for table in [&manifest].into_iter().chain(configs.iter().rev()) {
            let profile = table.get("profile").and_then(|profiles| profiles.get(name));
            settings.extend(profile.and_then(Value::as_table).cloned().unwrap_or_default());
        }
        let prefix = format!("CARGO_PROFILE_{}_", name.to_uppercase());
        for (variable, value) in env::vars_os() {
            let variable = variable.to_string_lossy();
            if let Some(key) = variable.strip_prefix(&prefix) {
                let key = key.to_lowercase().replace('_', "-");
                settings.insert(key, parsed(&value.to_string_lossy()));
            }
        }
    }
    Ok(settings
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect::<Vec<_>>()
        .join(", "))
}

/// As TOML would have it, so that `1` from the environment is `1` from a file.
fn parsed(text: &str) -> Value {
    let number = text.parse().map(Value::Integer);
    let truth = text.parse().map(Value::Boolean);
    number.ok().or(truth.ok()).unwrap_or_else(|| Value::String(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_named_with_commit_and_platform() {
        let said =
            "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n";
        assert_eq!(compiler(said), "1.95.0 (59807616e 2026-04-14) x86_64-unknown-linux-gnu");
        assert_eq!(last_word("ldd (Debian GLIBC 2.36-9+deb12u14) 2.36"), "2.36");
    }

    #[test]
    fn the_target_cpu_is_found_among_the_flags_however_it_is_written() {
        for (flags, cpu, rest) in [
            ("", "generic", ""),
            ("-C target-cpu=native", "native", ""),
            ("-Ctarget-cpu=x86-64-v3 -Copt-level=1", "x86-64-v3", "-Copt-level=1"),
            ("--cfg fast -C target-cpu=one -C target-cpu=two", "two", "--cfg fast"),
            ("-C opt-level=1", "generic", "opt-level=1"),
        ] {
            assert_eq!(split(&words(flags)), (cpu.into(), words(rest)), "{flags}");
        }
    }

    #[test]
    fn flags_of_every_section_count() {
        let config = "[build]\nrustflags = \"-Ca -Cb\"\n[target.x86_64-unknown-linux-gnu]\nrustflags = [\"-C\", \"c\"]\n\
                      [target.'cfg(unix)']\nrustflags = [\"-Cd\"]\n[term]\nquiet = true\n";
        let mut flags = configured_flags(&config.parse().unwrap());
        flags.sort();
        assert_eq!(flags, ["-C", "-Ca", "-Cb", "-Cd", "c"]);
    }

    #[test]
    fn the_bench_profile_is_that_of_release_with_its_own_over_it() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = "[profile.release]\ncodegen-units = 1\ndebug = \"line-tables-only\"\nlto = \"fat\"\n\
                        [profile.bench]\ndebug = true\n";
        fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
        let near = "[profile.bench]\nlto = \"thin\"\n".parse().unwrap();
        let far = "[profile.bench]\nlto = \"off\"\nopt-level = 2\n".parse().unwrap();
        assert_eq!(
            profile(folder.path(), &[]).unwrap(),
            "codegen-units = 1, debug = true, lto = \"fat\""
        );
        assert_eq!(
            profile(folder.path(), &[near, far]).unwrap(),
            "codegen-units = 1, debug = true, lto = \"thin\", opt-level = 2"
        );
    }
}
