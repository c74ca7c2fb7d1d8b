//! The process dies, and says of what.

use crate::process::serve;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;

#[test]
fn an_exhausted_stack_is_reported_with_its_place_and_message() {
    let served = serve(r#""f": (plugin: "mycelia_faulty"), "other": (plugin: "mycelia_faulty")"#);
    served.run(&["send", "f://end/overflow"]);
    let (status, err) = served.died();
    assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()), "{err}");
    let report = err.lines().find(|line| line.starts_with("mycelia: SIGSEGV")).expect(&err);
    for part in [
        "(the stack is exhausted)",
        "by code f@1+0x",
        "in the thread `mycelia-worker-",
        "while it handled `f://end/{how}`, message 1 of 1 in its batch",
    ] {
        assert!(report.contains(part), "{report}");
    }
}

#[test]
fn each_signal_is_what_the_host_dies_of() {
    for (signal, name) in [
        (Signal::SEGV, "SIGSEGV"),
        (Signal::BUS, "SIGBUS"),
        (Signal::ILL, "SIGILL"),
        (Signal::FPE, "SIGFPE"),
    ] {
        let served = serve(r#""f": (plugin: "mycelia_faulty")"#);
        served.signal(signal);
        let (status, err) = served.died();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{err}");
        assert!(err.contains(&format!("mycelia: {name}, sent by a process")), "{err}");
    }
}
