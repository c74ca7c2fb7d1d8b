//! The binary as a process, with a runtime and a working directory of its own.

use crate::support::{PATIENCE, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, Permissions},
    io::Read,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};
use tempfile::{Builder, TempDir};

/// What a run of the binary came to.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Where cargo leaves the plugins that it built for this test.
pub fn plugins() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// The file of a plugin.
pub fn library(name: &str) -> PathBuf {
    plugins().join(format!("libmycelia_{name}.so"))
}

/// A folder that is safe for a token.
pub fn private_folder() -> TempDir {
    Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// The binary in this folder, which is its runtime directory as well.
pub fn mycelia(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mycelia"));
    for name in ["MYCELIA_CONTROL", "MYCELIA_TOKEN", "MYCELIA_LOG", "MYCELIA_LOG_FORMAT"] {
        command.env_remove(name);
    }
    for name in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"] {
        command.env_remove(name);
    }
    command.env("MYCELIA_PLUGIN_PATH", plugins()).env("XDG_RUNTIME_DIR", folder);
    command.env("NO_COLOR", "1").env("RUST_BACKTRACE", "0").env_remove("STATE_DIRECTORY");
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Ended {
    let mut child = mycelia(folder, arguments);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = Process { err: Arc::default(), child };
    let output = process.wait_with_output();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Writes a config that listens on a free port for control.
pub fn write_config(folder: &Path, subsystems: &str) {
    let text =
        format!("(workers: 2, control: (listen: \"127.0.0.1:0\"), subsystems: {{ {subsystems} }})");
    fs::write(folder.join("host.ron"), text).unwrap();
}

/// A process that ends with its test.
struct Process {
    child: Child,
    err: Arc<Mutex<String>>,
}

impl Process {
    fn wait_with_output(mut self) -> std::process::Output {
        let (mut out, mut err) =
            (self.child.stdout.take().unwrap(), self.child.stderr.take().unwrap());
        let reader = thread::spawn(move || read_all(&mut out));
        let stderr = read_all(&mut err);
        let stdout = reader.join().unwrap();
        std::process::Output { status: self.child.wait().unwrap(), stdout, stderr }
    }
}

fn read_all(pipe: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).unwrap();
    bytes
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, but in a test that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A host that serves `host.ron` of a folder.
pub struct Served {
    process: Process,
    pub folder: TempDir,
    reader: Option<thread::JoinHandle<()>>,
}

/// Runs a host with these subsystems, and waits until it serves.
pub fn serve(subsystems: &str) -> Served {
    let folder = private_folder();
    write_config(folder.path(), subsystems);
    serve_in(folder)
}

/// Runs the host of this folder.
pub fn serve_in(folder: TempDir) -> Served {
    let served = start_in(folder);
    eventually("the host serves", || {
        assert!(served.is_running(), "it ended: {}", served.err());
        served.err().contains("Try, from a second terminal")
    });
    served
}

fn start_in(folder: TempDir) -> Served {
    let command = mycelia(folder.path(), &["run", "host.ron"]);
    start(command, folder)
}

/// Starts a host by this command, and does not wait for it.
pub fn start(mut command: Command, folder: TempDir) -> Served {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut pipe, err) = (child.stderr.take().unwrap(), Arc::<Mutex<String>>::default());
    let shared = err.clone();
    let reader = thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
    });
    Served { process: Process { child, err }, folder, reader: Some(reader) }
}

impl Served {
    /// What it has said so far.
    pub fn err(&self) -> String {
        self.process.err.lock().unwrap().clone()
    }

    fn is_running(&self) -> bool {
        let pid = Pid::from_child(&self.process.child);
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
    }

    /// Where the control server listens.
    pub fn control(&self) -> SocketAddr {
        self.address_after("control      http://")
    }

    /// Where the gateway listens.
    pub fn http(&self) -> SocketAddr {
        self.address_after("listens on http://")
    }

    fn address_after(&self, words: &str) -> SocketAddr {
        let mut found = None;
        eventually(words, || {
            let err = self.err();
            let place = err.find(words).map(|at| &err[at + words.len()..]);
            let end = |text: &str| text.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit());
            found = place.and_then(|text| text[..end(text)?].parse().ok());
            found.is_some()
        });
        found.unwrap()
    }

    /// The token that actions need.
    pub fn token(&self) -> String {
        let err = self.err();
        err.split("#token=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }

    /// Runs a command of the user who runs the host.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let control = self.control().to_string();
        run(self.folder.path(), &[arguments, &["--control", &control]].concat())
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.child), signal).unwrap();
    }

    /// Signals a hangup, and waits until the host has taken it.
    pub fn hang_up(&self) {
        let taken = || self.err().matches("SIGHUP: ").count();
        let before = taken();
        self.signal(Signal::HUP);
        eventually("the hangup is taken", || taken() > before);
    }

    /// Waits until it has ended; answers its exit code, what it said, and its folder.
    pub fn ended(self) -> (Option<i32>, String, TempDir) {
        let (status, err, folder) = self.wait();
        (status.code(), err, folder)
    }

    /// As `ended`, of which signal.
    pub fn died(self) -> (ExitStatus, String) {
        let (status, err, _) = self.wait();
        (status, err)
    }

    fn wait(mut self) -> (ExitStatus, String, TempDir) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {}", self.err());
            thread::sleep(std::time::Duration::from_millis(2));
        };
        self.reader.take().unwrap().join().unwrap();
        (status, self.err(), self.folder)
    }
}
