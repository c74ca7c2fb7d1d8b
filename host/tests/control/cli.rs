//! The binary as its users call it.

use crate::fake::{Host, report};
use mycelia::report::ReloadReport;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// What a run of the binary came to.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mycelia"));
    let own = ["MYCELIA_CONTROL", "MYCELIA_TOKEN", "MYCELIA_LOG", "MYCELIA_LOG_FORMAT"];
    for name in own {
        command.env_remove(name);
    }
    // A proxy must not stand between a user and the own host.
    command.env("http_proxy", "http://127.0.0.1:1").env("XDG_RUNTIME_DIR", "/nonexistent");
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

fn run(arguments: &str) -> Ended {
    command(arguments).output().unwrap().into()
}

/// A command of a user who finds the token of this host.
fn at(host: &Host, arguments: &str) -> Command {
    let mut command = command(arguments);
    command.env("MYCELIA_CONTROL", host.address().to_string());
    command.env("XDG_RUNTIME_DIR", host.folder.path());
    command
}

fn run_at(host: &Host, arguments: &str) -> Ended {
    at(host, arguments).output().unwrap().into()
}

#[test]
fn usage_is_exit_2() {
    for arguments in
        ["", "fly", "send", "reload", "why", "status --control nowhere", "ask a://b --within x"]
    {
        let ended = run(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments}: {ended:?}");
    }
    for (name, value) in [("MYCELIA_LOG", "debgu"), ("MYCELIA_LOG_FORMAT", "xml")] {
        let ended: Ended = command("status").env(name, value).output().unwrap().into();
        assert_eq!(ended.code, Some(2));
        assert!(ended.err.contains(name), "{ended:?}");
    }
}

#[test]
fn help_fits_a_terminal() {
    for command in [
        "",
        "run",
        "dev",
        "new",
        "check",
        "inspect",
        "status",
        "send",
        "ask",
        "dead-letters",
        "dead-letters list",
        "dead-letters show",
        "dead-letters replay",
        "dead-letters purge",
        "reload",
        "why",
        "log",
        "validate",
        "stop",
        "completions",
        "restart",
        "load-test",
        "man",
        #[cfg(feature = "top")]
        "top",
    ] {
        let ended = run(&format!("{command} --help"));
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{command}");
        assert!(ended.out.lines().all(|line| line.chars().count() <= 100), "{}", ended.out);
    }
    assert!(run("completions bash").out.contains("_mycelia"));
}

#[test]
fn no_host_is_exit_69() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for arguments in
        ["status", "why a://b", "send a://b", "ask a://b x --json", "reload kv --json", "stop"]
    {
        let ended = run(&format!("{arguments} --control {address}"));
        assert_eq!((ended.code, ended.out.as_str()), (Some(69), ""), "{ended:?}");
        let text = format!("no host answers at {address}; start one with `mycelia run FILE`");
        assert!(ended.err.contains(&text), "{ended:?}");
    }
}

/// It needs no host to say so.
#[test]
#[cfg(feature = "top")]
fn top_is_for_terminals() {
    let ended = run("top --control 127.0.0.1:1");
    assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{ended:?}");
    assert!(ended.err.contains("`mycelia status --json`"), "{ended:?}");
    assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
}

#[test]
fn something_else_at_the_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nhi").unwrap();
            thread::sleep(Duration::from_millis(200));
        });
        let ended = run(&format!("status --control {address}"));
        assert_eq!(ended.code, Some(1));
        assert!(ended.err.contains("is no Mycelia host"), "{ended:?}");
    });
}

#[test]
fn dead_letters_are_listed_shown_replayed_and_purged() {
    let host = Host::start();
    let list = run_at(&host, "dead-letters list");
    assert_eq!((list.code, list.err.as_str()), (Some(0), ""));
    let row = list.out.lines().nth(1).unwrap();
    for part in ["5  failed", "http", "6  kv://put/x  failed: the disk is full\u{fffd}[2J"] {
        assert!(row.contains(part), "{row}");
    }
    assert_eq!(list.out.lines().count(), 2, "{}", list.out);
    let json: serde_json::Value =
        serde_json::from_str(&run_at(&host, "dead-letters list --json").out).unwrap();
    assert_eq!(
        (&json["letters"][0]["id"], &json["letters"][0]["body_text"]),
        (&5.into(), &().into())
    );
    for (filter, lines) in
        [("--subsystem kv --reason failed", 2), ("--reason gone", 0), ("--age 1h", 2)]
    {
        let listed = run_at(&host, &format!("dead-letters list {filter}"));
        assert_eq!((listed.code, listed.out.lines().count()), (Some(0), lines), "{filter}");
    }

    let show = run_at(&host, "dead-letters show 5");
    assert_eq!((show.code, show.out.as_str()), (Some(0), "secret"));
    assert!(show.err.contains("path: kv://put/x") && show.err.contains("6 bytes, raw"), "{show:?}");
    let json: serde_json::Value =
        serde_json::from_str(&run_at(&host, "dead-letters show 5 --json").out).unwrap();
    assert_eq!(json["body_text"], "secret");
    let unknown = run_at(&host, "dead-letters show 6");
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("no dead letter 6"), "{unknown:?}");

    let replay = run_at(&host, "dead-letters replay 5");
    assert_eq!((replay.code, replay.out.as_str()), (Some(0), ""));
    assert!(replay.err.contains("sent again: 1"), "{replay:?}");
    let refused = run_at(&host, "dead-letters replay 5 6");
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("6: denied: because of denied"), "{refused:?}");
    let refused = run_at(&host, "dead-letters replay 5 6 --json");
    let json: serde_json::Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(
        (refused.code, &json["replayed"], &json["refused"][0]["id"]),
        (Some(1), &vec![5].into(), &6.into())
    );

    let purge = run_at(&host, "dead-letters purge --reason failed --json");
    assert_eq!((purge.code, purge.out.as_str()), (Some(0), "{\"purged\":1}\n"));
    assert!(run_at(&host, "dead-letters purge 6").err.contains("thrown away: 0"));
}

#[test]
fn status_is_a_table_or_json() {
    let host = Host::start();
    let ended = run_at(&host, "status");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.contains("\nkv         starting  mycelia_kv"), "{}", ended.out);
    assert!(!ended.out.contains('\u{1b}'));
    let json: serde_json::Value =
        serde_json::from_str(&run_at(&host, "status --json").out).unwrap();
    assert_eq!(json["workers"], 2);
}

#[test]
fn messages_take_their_body_from_anywhere() {
    let host = Host::start();
    let file = host.folder.path().join("body");
    fs::write(&file, "from a file").unwrap();
    let sends = [
        "kv://1".into(),
        "kv://2 text".into(),
        format!("kv://3 @{}", file.display()),
        "kv://4 -5".into(),
    ];
    for send in sends {
        let ended = run_at(&host, &format!("send {send}"));
        assert_eq!((ended.code, ended.out + &ended.err), (Some(0), String::new()));
    }
    let mut child = at(&host, "send kv://x%2Fy?a=b&c - --json")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"from stdin").unwrap();
    assert_eq!(Ended::from(child.wait_with_output().unwrap()).out, "{\"accepted\":true}\n");

    let sent = host.fake.sent.lock().unwrap().clone();
    let sent: Vec<_> = sent.iter().map(|(path, body)| (path.as_str(), body.as_slice())).collect();
    let expected: [(&str, &[u8]); 5] = [
        ("kv://1", b""),
        ("kv://2", b"text"),
        ("kv://3", b"from a file"),
        ("kv://4", b"-5"),
        ("kv://x%2Fy?a=b&c", b"from stdin"),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn bodies_that_are_too_large_or_missing_are_named() {
    let host = Host::start();
    let file = host.folder.path().join("large");
    fs::write(&file, vec![0; (1 << 20) + 1]).unwrap();
    let ended = run_at(&host, &format!("send kv://x @{}", file.display()));
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("1048576"), "{ended:?}");
    let ended = run_at(&host, "send kv://x @/nonexistent");
    assert!(ended.err.contains("cannot read /nonexistent"), "{ended:?}");
}

#[test]
fn ask_prints_the_reply_as_it_is() {
    let host = Host::start();
    let ended = run_at(&host, "ask echo://x hello --within 2s");
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), "hello", ""));
    let within = Some(Duration::from_secs(2));
    assert_eq!(*host.fake.asked.lock().unwrap(), [("echo://x".into(), within)]);
    assert_eq!(run_at(&host, "ask json://x [1] --json").out, "{\"reply\":[1]}\n");
    assert_eq!(run_at(&host, "ask echo://x hi --json").out, "{\"reply_text\":\"hi\"}\n");
}

#[test]
fn ask_explains_an_error() {
    let host = Host::start();
    let check = |path: &str, expect: &str| {
        let ended = run_at(&host, &format!("ask {path}"));
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
        assert_eq!(ended.err, expect);
    };
    check(
        "error://full/no/250",
        "error: full: because of full\u{fffd}[2J\n  handled: no, it is safe to repeat\n  try again in 250 ms\n",
    );
    check(
        "error://deadline/unknown",
        "error: deadline: because of deadline\u{fffd}[2J\n  handled: unknown, it may or may not have taken effect\n",
    );
    let ended = run_at(&host, "ask error://not_found/yes --json");
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""));
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&json["error"], &json["handled"]), (&"not_found".into(), &"yes".into()));
}

#[test]
fn a_host_that_does_not_answer_is_left() {
    let host = Host::start();
    let ended = run_at(&host, "ask never://x --within 100ms");
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("did not answer within 2100ms"), "{ended:?}");
}

#[test]
fn tokens_are_found_or_given() {
    let host = Host::start();
    let without = || {
        let mut command = at(&host, "send kv://x");
        command.env("XDG_RUNTIME_DIR", "/nonexistent");
        command
    };
    let ended: Ended = without().output().unwrap().into();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("needs the token") && ended.err.contains("--token FILE"),
        "{ended:?}"
    );
    let ended: Ended = without().env("MYCELIA_TOKEN", "wrong").output().unwrap().into();
    assert!(ended.err.contains("this is not the token"), "{ended:?}");
    let ended: Ended = without().env("MYCELIA_TOKEN", host.secret()).output().unwrap().into();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut named = without();
    named.arg("--token").arg(host.server.token().file()).env("MYCELIA_TOKEN", "wrong");
    assert_eq!(Ended::from(named.output().unwrap()).code, Some(0));
    let ended: Ended = without().args(["--token", "/nonexistent"]).output().unwrap().into();
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("cannot take the token from /nonexistent"), "{ended:?}");
}

#[test]
fn reload_tells_what_serves() {
    let host = Host::start();
    let ended = run_at(&host, "reload kv");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""));
    assert_eq!(
        ended.err,
        "kv: reloaded: generation 2 (mycelia-kv 0.2.0, 0123456789ab) serves after 30.00 ms; \
         state kept (42 bytes); paused 1.50 ms, of which the host's 0.50 ms; probed in 5.00 ms\n"
    );
    let ended = run_at(&host, "reload kv --json");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert_eq!(serde_json::from_str::<ReloadReport>(&ended.out).unwrap(), report());
}

#[test]
fn reload_explains_a_refusal() {
    let host = Host::start();
    let check = |name: &str, expect: &str| {
        let ended = run_at(&host, &format!("reload {name}"));
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
        assert_eq!(ended.err, expect);
    };
    check("error://invalid/no", "error: because of invalid\u{fffd}[2J\n");
    check("vk", "error: there is no subsystem `vk`; there are `kv`\n");
    let ended = run_at(&host, "reload error://busy/no --json");
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""));
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&json["error"], &json["handled"]), (&"busy".into(), &"no".into()));
}

#[test]
fn why_is_a_text_or_json_with_an_exit_code() {
    let host = Host::start();
    let ended = run_at(&host, "why allowed://x%2Fy?a=b&c --as http");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let expect = "allowed://x%2Fy?a=b&c as http: allowed\n  because    it is so\u{fffd}[2J\n";
    assert_eq!(ended.out, expect);
    let ended = run_at(&host, "why denied://x --json");
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""));
    let json: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&json["as"], &json["verdict"]), (&"operator".into(), &"denied".into()));
    let ended = run_at(&host, "why error://not_found/no");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert_eq!(ended.err, "error: because of not_found\u{fffd}[2J\n");
}

#[test]
fn stop_stops() {
    let host = Host::start();
    assert_eq!(run_at(&host, "stop --json").out, "{\"stopping\":true}\n");
    let ended = run_at(&host, "stop");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""));
    assert!(ended.err.contains("drains its queues"));
    assert!(host.fake.has_stopped.load(Ordering::SeqCst));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let host = Host::start();
    let mut child =
        at(&host, "status").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn a_bad_config_is_exit_78() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("host.ron");
    fs::write(&file, "(subsystems: { \"kv\": (plugin: \"mycelia_kv\") }, wrokers: 2)").unwrap();
    let check = |options: &str| run(&format!("check {} {options}", file.display()));
    let ended = check("");
    assert_eq!((ended.code, ended.out.as_str()), (Some(78), ""));
    assert!(ended.err.contains("host.ron:1:") && ended.err.contains("wrokers"), "{ended:?}");
    let json: serde_json::Value = serde_json::from_str(&check("--json").out).unwrap();
    assert_eq!((&json["ok"], &json["mistakes"][0]["line"]), (&false.into(), &1.into()));

    fs::write(&file, "(subsystems: {})").unwrap();
    let ended = check("");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
    assert!(check("--effective").out.contains("workers"));
    let json: serde_json::Value = serde_json::from_str(&check("--effective --json").out).unwrap();
    assert!(json["effective"].as_str().unwrap().contains("workers"));
    assert_eq!(run("check /nonexistent.ron").code, Some(78));
}

#[test]
fn a_library_that_is_none_is_exit_1() {
    let ended = run("inspect /nonexistent.so");
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert!(ended.err.starts_with("error: "), "{ended:?}");
}
