//! A host that does what the path says, and a control server before it.

use mycelia::control::{Folders, Limits, Server, Token, serve_with};
use mycelia::letters::{Filter, Letter, Reason, ReplayReport};
use mycelia::operator::{Done, Operator, OperatorReply, ReloadDone};
use mycelia::readings::Readings;
use mycelia::report::{ReloadReport, ReloadTimes, StateFate};
use mycelia::status::{RouteCounts, RouteStatus, Status, SubsystemStatus};
use mycelia::why::Why;
use mycelia_plugin::{Error, ErrorCode, Handled};
use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::{Builder, TempDir};

/// An operator whose subsystems are named after what they do.
#[derive(Default)]
pub struct Fake {
    pub is_ready: AtomicBool,
    pub is_stuck: AtomicBool,
    pub has_stopped: AtomicBool,
    pub sent: Mutex<Vec<(String, Vec<u8>)>>,
    pub asked: Mutex<Vec<(String, Option<Duration>)>>,
    pub reloading: Mutex<Vec<ReloadDone>>,
    /// How often it was looked at.
    pub looks: AtomicUsize,
    kept: Mutex<Vec<Done>>,
}

impl Operator for Fake {
    fn status(&self) -> Status {
        let kv = SubsystemStatus { plugin: "mycelia_kv".into(), ..Default::default() };
        Status { workers: 2, subsystems: [("kv".into(), kv)].into(), ..Default::default() }
    }

    fn readings(&self) -> Readings {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Readings { status: self.status(), ..Default::default() }
    }

    fn routes(&self, name: &str) -> Result<Vec<RouteCounts>, Error> {
        match name {
            "kv" => {
                let route = RouteStatus { pattern: "put/{key}".into(), ..Default::default() };
                Ok(vec![RouteCounts { route, ..Default::default() }])
            }
            _ => Err(error("not_found")),
        }
    }

    fn live(&self) -> Result<(), String> {
        match self.is_stuck.load(Ordering::SeqCst) {
            true => Err("worker 1 has no thread".into()),
            false => Ok(()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        match self.is_ready.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("`kv` is restarting".into()),
        }
    }

    fn send(&self, path: &str, body: &[u8]) -> Result<(), Error> {
        match split(path) {
            ("error", code) => Err(error(code)),
            ("slow", _) => {
                thread::sleep(Duration::from_secs(2));
                Ok(())
            }
            _ => {
                self.sent.lock().unwrap().push((path.into(), body.into()));
                Ok(())
            }
        }
    }

    fn ask(&self, path: &str, body: &[u8], within: Option<Duration>, done: Done) {
        self.asked.lock().unwrap().push((path.into(), within));
        let body = body.to_vec();
        match split(path) {
            ("error", code) => done(Err(error(code))),
            ("json", _) => done(Ok(OperatorReply { body, is_json: true })),
            ("large", _) => done(Ok(OperatorReply { body: vec![0; 64 << 20], is_json: false })),
            ("never", _) => self.kept.lock().unwrap().push(done),
            ("lost", _) => drop(done),
            ("panic", _) => panic!("as it was told to"),
            ("slow", _) => drop(thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                done(Ok(OperatorReply { body, is_json: false }));
            })),
            _ => done(Ok(OperatorReply { body, is_json: false })),
        }
    }

    fn reload(&self, name: &str, done: ReloadDone) {
        match split(name) {
            ("error", code) => done(Err(error(code))),
            ("never", _) => self.reloading.lock().unwrap().push(done),
            ("lost", _) => drop(done),
            ("kv", _) => done(Ok(report())),
            _ => done(Err(Error::not_found(format!(
                "there is no subsystem `{name}`; there are `kv`"
            )))),
        }
    }

    fn log(&self) -> String {
        "info".into()
    }

    fn set_log(&self, directives: &str) -> Result<String, Error> {
        match directives {
            "wrong" => Err(Error::invalid("no directive")),
            directives => Ok(format!("info,{directives}")),
        }
    }

    fn why(&self, path: &str, sender: &str) -> Result<Why, Error> {
        match split(path) {
            ("error", code) => Err(error(code)),
            (name, _) => Ok(why(path, sender, name)),
        }
    }

    fn dead_letters(&self, filter: &Filter) -> Vec<Arc<Letter>> {
        let letter = letter();
        if filter.takes(&letter, u64::MAX) { vec![Arc::new(letter)] } else { Vec::new() }
    }

    fn replay(&self, filter: &Filter) -> ReplayReport {
        let mut report = ReplayReport::default();
        for &id in &filter.ids {
            report.note(id, if id == 5 { Ok(()) } else { Err(error("denied/no")) });
        }
        report
    }

    fn purge(&self, filter: &Filter) -> u64 {
        self.dead_letters(filter).len() as u64
    }

    fn stop(&self) {
        self.has_stopped.store(true, Ordering::SeqCst);
    }
}

/// A verdict that is the name of the path, on a sender.
fn why(path: &str, sender: &str, verdict: &str) -> Why {
    Why {
        path: path.into(),
        sender: sender.into(),
        verdict: verdict.into(),
        because: "it is so\u{1b}[2J".into(),
        remedy: None,
        subsystem: None,
        route: None,
    }
}

/// The only dead letter that there is.
fn letter() -> Letter {
    Letter {
        id: 5,
        subsystem: "kv".into(),
        route: "put/{key}".into(),
        path: "kv://put/x".into(),
        sender: "http".into(),
        reason: Reason::Failed,
        text: "failed: the disk\nis full\u{1b}[2J".into(),
        time_ms: 0,
        flags: 0,
        schema: 0,
        body: b"secret".to_vec(),
    }
}

/// The report of the only subsystem that there is.
pub fn report() -> ReloadReport {
    let micros = Duration::from_micros;
    ReloadReport {
        subsystem: "kv".into(),
        plugin: "mycelia-kv".into(),
        version: "0.2.0".into(),
        generation: 2,
        hash: "0123456789abcdef".into(),
        state: StateFate::Kept,
        state_bytes: 42,
        times: ReloadTimes {
            total: micros(30_000),
            probe: micros(5000),
            snapshot: micros(200),
            pause: micros(1300),
            stop: micros(1000),
            ..ReloadTimes::default()
        },
    }
}

fn split(path: &str) -> (&str, &str) {
    path.split_once("://").unwrap_or((path, ""))
}

/// `CODE/HANDLED` or `CODE/HANDLED/MILLISECONDS`.
fn error(words: &str) -> Error {
    let mut words = words.split('/');
    let word = words.next().unwrap();
    let code = ErrorCode::ALL.iter().find(|code| code.word() == word).unwrap();
    let handled = match words.next() {
        Some("no") => Handled::No,
        Some("unknown") => Handled::Unknown,
        _ => Handled::Yes,
    };
    let error = Error::new(*code, format!("because of {word}\u{1b}[2J")).handled(handled);
    match words.next() {
        Some(delay) => error.retry_after(Duration::from_millis(delay.parse().unwrap())),
        None => error,
    }
}

/// A folder that is safe for a token.
pub fn private_folder() -> TempDir {
    Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A control server before a [`Fake`], with its token in a folder of its own.
pub struct Host {
    pub fake: Arc<Fake>,
    pub server: Server,
    pub folder: TempDir,
}

impl Host {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0", Limits::default())
    }

    pub fn start_at(listen: &str, limits: Limits) -> Self {
        let listener = TcpListener::bind(listen).unwrap();
        let folder = private_folder();
        let fake = Arc::new(Fake::default());
        let port = listener.local_addr().unwrap().port();
        let folders = Folders::new(Some(folder.path().into()), folder.path());
        let token = Token::create_in(&folders, port).unwrap();
        let server = serve_with(listener, token, fake.clone(), limits).unwrap();
        Self { fake, server, folder }
    }

    /// Where a client on this machine finds it.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.server.address().port()).into()
    }

    pub fn secret(&self) -> &str {
        self.server.token().secret()
    }
}
