//! What a service manager hears of the binary.

use crate::{
    client::Client,
    process::{Served, mycelia, private_folder, start, write_config},
    support::{PATIENCE, eventually},
};
use rustix::process::Signal;
use std::{
    ffi::OsString,
    net::SocketAddr,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixDatagram},
    },
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// The manager's end.
pub struct Manager {
    socket: UnixDatagram,
    pub address: OsString,
}

impl Manager {
    /// One with an abstract name.
    pub fn named() -> Manager {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mycelia-test-{}-{count}", process::id());
        let address = UnixAddress::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Manager { socket, address: format!("@{name}").into() }
    }

    /// One in this folder.
    fn in_folder(folder: &Path) -> Manager {
        let path = folder.join("notify");
        Manager { socket: UnixDatagram::bind(&path).unwrap(), address: path.into() }
    }

    /// The next message, if one comes in time.
    fn next(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).unwrap();
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    /// All that comes for so long.
    pub fn listen(&self, for_: Duration) -> Vec<String> {
        let until = Instant::now() + for_;
        let left = || until.saturating_duration_since(Instant::now());
        let mut heard = Vec::new();
        while !left().is_zero() {
            heard.extend(self.next(left()));
        }
        heard
    }

    /// What comes up to a message that begins so, that one included.
    pub fn wait_for(&self, start: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while Instant::now() < until {
            heard.extend(self.next(Duration::from_millis(100)));
            if heard.last().is_some_and(|last: &String| last.starts_with(start)) {
                return heard;
            }
        }
        panic!("waited in vain for {start:?}, and heard {heard:?}");
    }
}

/// Status and body of a resource.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut client = Client::connect(address);
    client.write(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes());
    let response = client.read().unwrap_or_else(|| panic!("{path}: the connection was closed"));
    (response.status, response.text().to_owned())
}

/// A host that is to be fed to a manager ten times a second.
fn managed(in_folder: bool, watchdog_pid: Option<&str>) -> (Manager, Served) {
    let folder = private_folder();
    write_config(
        folder.path(),
        r#""f": (plugin: "mycelia_faulty"), "gone": (plugin: "none", required: false)"#,
    );
    let manager = if in_folder { Manager::in_folder(folder.path()) } else { Manager::named() };
    let mut command = mycelia(folder.path(), &["run", "host.ron"]);
    command.env("NOTIFY_SOCKET", &manager.address).env("WATCHDOG_USEC", "300000");
    if let Some(pid) = watchdog_pid {
        command.env("WATCHDOG_PID", pid);
    }
    (manager, start(command, folder))
}

fn is_fed(heard: &[String]) -> bool {
    heard.iter().any(|message| message == "WATCHDOG=1\n")
}

#[test]
fn a_manager_hears_of_a_whole_life() {
    for in_folder in [true, false] {
        let (manager, host) = managed(in_folder, None);
        let heard = manager.wait_for("READY=1\n");
        assert!(!is_fed(&heard), "{heard:?}");
        manager.wait_for("STATUS=1 of 2 subsystems run; gone is stopped\n");
        assert_eq!(get(host.control(), "/readyz"), (200, "ready\n".into()));
        (0..3).for_each(|_| drop(manager.wait_for("WATCHDOG=1\n")));

        for _ in 0..2 {
            host.hang_up();
            let reloading = manager.wait_for("RELOADING=1\n").pop().unwrap();
            let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
            assert!(micros.unwrap().trim_end().parse::<u64>().unwrap() > 0, "{reloading}");
            let heard = manager.wait_for("READY=1\n");
            assert!(!heard.iter().any(|message| message.starts_with("RELOADING")), "{heard:?}");
        }
        manager.wait_for("WATCHDOG=1\n");

        // Queues drain meanwhile, so it stops for as long as this runs.
        assert_eq!(host.run(&["send", "f://hold/gate"]).code, Some(0));
        host.signal(Signal::TERM);
        let stopping = manager.wait_for("STOPPING=1\n").pop().unwrap();
        assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000\n", "3 × 10 s, 2 × 5 s");
        let fed = manager.wait_for("WATCHDOG=1\n");
        assert!(!fed.iter().any(|message| message.starts_with("READY")), "{fed:?}");
        std::fs::write(host.folder.path().join("mycelia-data/f/gate"), "").unwrap();
        let (code, err, _) = host.ended();
        assert_eq!(code, Some(0), "{err}");
        assert!(!err.contains("#token="), "a journal must not have the token: {err}");
    }
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let (manager, host) = managed(true, Some("1"));
    manager.wait_for("READY=1\n");
    host.signal(Signal::TERM);
    assert!(!is_fed(&manager.wait_for("STOPPING=1\n")));
    assert_eq!(host.ended().0, Some(0));
}

/// A stop by the operator is told as well, and a manager that has gone away is nobody's trouble.
#[test]
fn a_manager_may_go_away() {
    let (manager, host) = managed(true, None);
    manager.wait_for("READY=1\n");
    assert_eq!(host.run(&["stop"]).code, Some(0));
    manager.wait_for("STOPPING=1\n");
    assert_eq!(host.ended().0, Some(0));

    let (manager, host) = managed(false, None);
    manager.wait_for("READY=1\n");
    drop(manager);
    eventually("it says so", || host.err().contains("the service manager was not told"));
    assert_eq!(get(host.control(), "/livez"), (200, "ok\n".into()));
    host.signal(Signal::TERM);
    assert_eq!(host.ended().0, Some(0));
}

/// A host that a command only tries is no service, nor is one that does not start.
#[test]
fn nobody_else_speaks_to_the_manager() {
    let folder = private_folder();
    let manager = Manager::in_folder(folder.path());
    write_config(folder.path(), r#""f": (plugin: "mycelia_faulty")"#);
    let mut checked = mycelia(folder.path(), &["check", "host.ron"]);
    assert!(checked.env("NOTIFY_SOCKET", &manager.address).status().unwrap().success());
    write_config(folder.path(), r#""f": (plugin: "none")"#);
    let mut refused = mycelia(folder.path(), &["run", "host.ron"]);
    let refused = refused.env("NOTIFY_SOCKET", &manager.address).status().unwrap();
    assert_eq!(refused.code(), Some(78));
    assert_eq!(manager.listen(Duration::from_millis(10)), Vec::<String>::new());
}
