//! A repository with one package and two benches, of which one takes what a number in its source says.

use mycelia_gate::{Baseline, Counts};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// Rounds a message: one more is 1.1%.
const ROUNDS: &str = "const ROUNDS: u64 = 90;";
const PLANTED: &str = "const ROUNDS: u64 = 91;";

const LIBRARY: &str = "\
const ROUNDS: u64 = 90;

pub fn handle(messages: u64) -> u64 {
    (0..messages * ROUNDS).fold(0, |sum, round| std::hint::black_box(sum + round))
}
";

const BENCHES: &str = "\
use iai_callgrind::{library_benchmark, library_benchmark_group, main};

// What the C library may do must not depend on the processor, and the bench does not have to know.
fn messages() -> u64 {
    let tunables = std::env::var(\"GLIBC_TUNABLES\").expect(\"the gate sets the tunables\");
    assert!(tunables.contains(\"-AVX2\"), \"{tunables}\");
    1_000
}

#[library_benchmark]
#[bench::thousand(setup = messages)]
fn handle(messages: u64) -> u64 {
    LIBRARY::handle(messages)
}

#[library_benchmark]
fn constant() -> u64 {
    std::hint::black_box(7)
}

library_benchmark_group!(name = stages; benchmarks = handle, constant);
main!(library_benchmark_groups = stages);
";

/// The repository; its folder is gone when it is dropped.
pub struct Fixture {
    folder: TempDir,
    name: &'static str,
}

impl Fixture {
    /// One commit on `main`, with a baseline that has no section. What is built is shared, so the name must be that of no other fixture.
    pub fn new(name: &'static str) -> Fixture {
        let fixture = Fixture { folder: tempfile::tempdir().unwrap(), name };
        let manifest = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n\n[dev-dependencies]\niai-callgrind = \"0.16\"\n\n\
             [lib]\nbench = false\n\n[[bench]]\nname = \"instructions\"\nharness = false\n\n[profile.bench]\ndebug = true\n\n[workspace]\n"
        );
        fixture.write("Cargo.toml", &manifest);
        // The versions of this workspace, which are there already.
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
        fixture.write("Cargo.lock", &fs::read_to_string(lock).unwrap());
        // As good as one whose sections other compilers have written.
        fixture.write("benches/baseline.ron", "{}");
        fixture.write("src/lib.rs", LIBRARY);
        fixture.write("benches/instructions.rs", &BENCHES.replace("LIBRARY", name));
        fixture.command("cargo", &["metadata", "--format-version", "1"]);
        fixture.git(&["init", "--quiet", "--initial-branch", "main"]);
        fixture.commit("One");
        fixture
    }

    /// The same with a baseline, committed as well.
    pub fn blessed(name: &'static str) -> Fixture {
        let fixture = Fixture::new(name);
        fixture.gate(&["--bless"]).exits_with(0);
        fixture.commit("Baseline");
        fixture
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a text that must be there.
    pub fn replace(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "{name} has no {old:?}");
        self.write(name, &text.replace(old, new));
    }

    /// Makes the benched function 1.1% dearer.
    pub fn plant(&self) {
        self.replace("src/lib.rs", ROUNDS, PLANTED);
    }

    /// Takes the plant back.
    pub fn unplant(&self) {
        self.replace("src/lib.rs", PLANTED, ROUNDS);
    }

    pub fn commit(&self, subject: &str) {
        self.git(&["add", "--all"]);
        let author = ["-c", "user.name=Test", "-c", "user.email=test@localhost"];
        self.git(&[&author[..], &["commit", "--quiet", "-m", subject]].concat());
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        self.command("git", arguments)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).current_dir(self.path("")).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The gate in this repository; nothing but the registry's crates is shared between fixtures in the target.
    pub fn gate(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.gate_command(arguments).output().unwrap())
    }

    pub fn gate_command(&self, arguments: &[&str]) -> Command {
        gate_command(&self.path(""), "fixtures", arguments)
    }

    /// What is counted, by way of a baseline that is thrown away.
    pub fn counts(&self, prepare: impl FnOnce(&mut Command)) -> Counts {
        let baseline = self.path("counts.ron");
        let mut command = self.gate_command(&["--bless", "--baseline", baseline.to_str().unwrap()]);
        prepare(&mut command);
        Ran::new(command.output().unwrap()).exits_with(0);
        only_section(&baseline)
    }

    /// The name of the package.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// The counts of a baseline that was just written, which is then removed.
pub fn only_section(path: &Path) -> Counts {
    let baseline = Baseline::read(path).unwrap().unwrap();
    assert_eq!(baseline.0.len(), 1);
    fs::remove_file(path).unwrap();
    baseline.0.into_values().next().unwrap()
}

/// The folder of this name for what is built.
pub fn built(target: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(target)
}

/// The gate in this folder, with this folder for what it builds.
pub fn gate_command(folder: &Path, target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mycelia-gate"));
    command.args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", built(target));
    // Set for this test by whoever runs it, and no business of the repository that is guarded.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_INCREMENTAL");
    command
}

/// What the gate said.
pub struct Ran {
    code: Option<i32>,
    /// The report.
    pub out: String,
    /// Errors, and what cargo says.
    pub err: String,
}

impl Ran {
    pub fn new(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails with all that was said, also when a tool is missing.
    #[track_caller]
    pub fn exits_with(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        let all = format!("{}\n{}", self.out, self.err);
        assert!(all.contains(text), "{text:?} is not in\n{all}");
        self
    }
}
