//! Whether a host goes on: what counts as that, and what does not.

use crate::{
    process::serve,
    service::{Manager, get},
    support::{Host, eventually, host_with},
};
use mycelia::{
    control::{Folders, Server, Token, serve as serve_control},
    operator::Operator,
    service::Service,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use std::{
    net::TcpListener,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Longer than a worker may give no sign.
const WHILE: Duration = Duration::from_secs(11);
const LIMIT: &str = "handler_limit: \"400ms\", ";

/// One subsystem that has a timer, and others that go on.
fn three(settings: &str) -> Host {
    host_with(
        "workers: 3,",
        &format!(
            r#""f": (plugin: "mycelia_faulty", {settings}),
            "slow": (plugin: "mycelia_faulty", handler_limit: "60s"),
            "other": (plugin: "mycelia_faulty")"#
        ),
    )
}

fn stuck(host: &Host) -> String {
    let mut stuck = String::new();
    eventually("something is stuck", || {
        stuck = host.runtime.live().err().unwrap_or_default();
        !stuck.is_empty()
    });
    stuck
}

/// A control server before a host of this process.
fn control(host: &Host) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folders = Folders::new(None, host.folder.path());
    let token = Token::create_in(&folders, listener.local_addr().unwrap().port()).unwrap();
    serve_control(listener, token, Arc::new(host.runtime)).unwrap()
}

/// One handler is within its limit, one is past it, one subsystem is without a pause, and a worker parks.
#[test]
fn busy_idle_and_hung_handlers_are_no_stuck_workers() {
    let host = three(LIMIT);
    host.block("slow", "gate");
    host.sends("f://hold/never");
    let until = Instant::now() + WHILE;
    while Instant::now() < until {
        assert_eq!(host.runtime.live(), Ok(()));
        for _ in 0..50 {
            // One that is refused found a full queue.
            let _ = host.send("other://note/1", "");
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(host.status_of("f").hung, 1);
    host.open("slow", "gate");
    host.open("f", "never");
    host.rest("other");
    host.stop();
}

/// The timers of a subsystem are locked, and the worker that is to fire one waits for them.
#[test]
fn a_worker_that_does_not_come_back_is_stuck_and_the_manager_is_not_fed() {
    let host = three(LIMIT);
    let manager = Manager::named();
    let every = Some(Duration::from_millis(90));
    let service = Service::start(&manager.address, every, host.runtime).unwrap();
    service.teller().started();
    manager.wait_for("WATCHDOG=1\n");
    let server = control(&host);
    assert_eq!(get(server.address(), "/livez"), (200, "ok\n".into()));

    let timers = host.runtime.named("f").unwrap().timers();
    let stuck = stuck(&host);
    assert!(stuck.contains("has neither handled a message nor come back for one"), "{stuck}");
    assert_eq!(get(server.address(), "/livez"), (503, format!("stuck: {stuck}\n")));
    assert_eq!(get(server.address(), "/readyz").0, 200, "the subsystems are as they should be");
    manager.wait_for(&format!("STATUS=stuck: {stuck}\n"));
    assert_eq!(manager.listen(Duration::from_secs(1)), Vec::<String>::new(), "it is not fed");
    let reply = host.ask("other://noted", "").unwrap();
    assert_eq!(reply.body, b"[]", "the other workers go on");

    drop(timers);
    eventually("it goes on", || host.runtime.live().is_ok());
    manager.wait_for("WATCHDOG=1\n");
    assert_eq!(get(server.address(), "/livez"), (200, "ok\n".into()));
    drop(service);
    manager.wait_for("STOPPING=1\n");
    host.stop();
}

/// The lifecycle thread waits for a lock in the middle of a reload.
#[test]
fn a_lifecycle_thread_that_does_not_come_back_is_stuck() {
    let host = host_with("", &format!(r#""f": (plugin: "mycelia_faulty", {LIMIT})"#));
    let info = host.runtime.named("f").unwrap().info();
    host.runtime.reload("f", Box::new(drop));
    let stuck = stuck(&host);
    assert!(stuck.starts_with("the lifecycle thread has been at one step"), "{stuck}");
    drop(info);
    eventually("it goes on", || host.runtime.live().is_ok());
    host.stop();
}

/// The watchdog is to count a handler that hangs, and waits for the lock of the count.
#[test]
fn a_watchdog_that_does_not_look_is_found_out() {
    let host = host_with("", &format!(r#""f": (plugin: "mycelia_faulty", {LIMIT})"#));
    let info = host.runtime.named("f").unwrap().info();
    host.sends("f://hold/never");
    assert_eq!(stuck(&host), "the watchdog does not look any more");
    drop(info);
    eventually("it goes on", || host.runtime.live().is_ok());
    host.open("f", "never");
    host.stop();
}

/// A process that was stopped for long goes on, and nobody takes its pause for theirs.
#[test]
fn a_pause_of_the_process_is_no_silence() {
    let host = serve(r#""f": (plugin: "mycelia_faulty")"#);
    let control = host.control();
    assert_eq!(get(control, "/livez"), (200, "ok\n".into()));
    host.signal(Signal::STOP);
    thread::sleep(WHILE);
    host.signal(Signal::CONT);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        assert_eq!(get(control, "/livez"), (200, "ok\n".into()));
    }
    host.signal(Signal::TERM);
    let (code, err, _) = host.ended();
    assert_eq!(code, Some(0), "{err}");
    assert!(!err.contains("stuck"), "{err}");
}

/// The system has no thread to put in the place of one that hangs, and later it has.
#[test]
fn a_seat_that_stays_empty_is_stuck_until_it_is_filled() {
    let host = serve(&format!(r#""f": (plugin: "mycelia_faulty", {LIMIT})"#));
    let control = host.control();
    let limit = |bytes: Option<u64>| {
        let pid = Pid::from_raw(host.id().cast_signed());
        prlimit(pid, Resource::As, Rlimit { current: bytes, maximum: None }).unwrap();
    };
    // What answers this stays, and answers the next ones.
    assert_eq!(get(control, "/livez"), (200, "ok\n".into()));
    assert_eq!(host.run(&["send", "f://hold/never"]).code, Some(0));
    limit(Some(1 << 20));
    let mut told = String::new();
    eventually("a worker is missing", || {
        let (status, text) = get(control, "/livez");
        told = text;
        status == 503
    });
    assert!(told.starts_with("stuck: worker ") && told.ends_with(" has no thread\n"), "{told}");
    limit(None);
    eventually("it has a thread", || get(control, "/livez").0 == 200);
    for line in ["has no thread until the system has one", "there is a thread for worker"] {
        assert_eq!(host.err().matches(line).count(), 1, "{line}: {}", host.err());
    }
    host.signal(Signal::TERM);
    assert_eq!(host.ended().0, Some(0));
}
