//! What the server gives, refuses and survives.

use crate::fake::{Host, report};
use crate::http::{Request, answer, connect, get, post};
use mycelia::control::{BODY_LIMIT, Client, Limits};
use mycelia::report::ReloadReport;
use mycelia_plugin::ErrorCode;
use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

fn hasty() -> Limits {
    let [head, body, stop] = [300, 300, 500].map(Duration::from_millis);
    Limits { head, body, stop, ..Limits::default() }
}

#[test]
fn looks_begin_with_those_of_before() {
    let host = Host::start();
    let client = || Client::new(host.address().to_string().parse().unwrap(), None);
    let mut first = client().looks().unwrap().map(Result::unwrap);
    let (is_past, figures) = first.next().unwrap();
    assert_eq!((is_past, figures.status.workers), (false, 2));
    let mut second = client().looks().unwrap().map(Result::unwrap);
    assert_eq!(second.next(), Some((true, figures.clone())));
    let live = second.find(|(is_past, _)| !is_past).unwrap();
    assert!(live.1.time_ms > figures.time_ms);
    assert!(client().figures().unwrap().next().unwrap().unwrap().time_ms > figures.time_ms);
}

#[test]
fn looking_is_free_on_loopback() {
    let host = Host::start();
    let said = |target: &str| {
        let response = get(&host, target);
        (response.status, String::from_utf8(response.body).unwrap())
    };
    assert_eq!(said("/livez"), (200, "ok\n".into()));
    host.fake.is_stuck.store(true, Ordering::SeqCst);
    assert_eq!(said("/livez"), (503, "stuck: worker 1 has no thread\n".into()));
    assert_eq!(said("/readyz"), (503, "not ready: `kv` is restarting\n".into()));
    host.fake.is_ready.store(true, Ordering::SeqCst);
    assert_eq!(get(&host, "/readyz").status, 200);
    let status = get(&host, "/status");
    assert_eq!(status.header("content-type"), Some("application/json"));
    assert_eq!(status.json()["subsystems"]["kv"]["phase"], "starting");
    let page = get(&host, "/");
    assert!(String::from_utf8(page.body.clone()).unwrap().contains("/status"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
}

#[test]
fn elsewhere_everything_needs_the_token() {
    let host = Host::start_at("0.0.0.0:0", Limits::default());
    for target in
        ["/", "/page.js", "/livez", "/readyz", "/status", "/figures", "/routes", "/nowhere"]
    {
        assert_eq!(get(&host, target).status, 401, "{target}");
    }
    assert_eq!(Request::new(&host, "GET /livez").token().call().status, 200);
    let page = host.server.page();
    assert!(page.starts_with(&format!("http://127.0.0.1:{}/#token=", host.address().port())));
}

#[test]
fn acting_needs_the_token() {
    let host = Host::start();
    for line in [
        "POST /send?path=a://b",
        "POST /ask?path=a://b",
        "GET /dead-letters",
        "GET /dead-letters/5",
        "POST /dead-letters/replay?id=5",
        "POST /dead-letters/purge",
        "POST /reload?subsystem=kv",
        "PUT /log",
        "POST /stop",
    ] {
        let request = || Request::new(&host, line).body(b"");
        let missing = request().call();
        assert_eq!((missing.status, missing.header("www-authenticate")), (401, Some("Bearer")));
        let (code, text) = missing.error();
        assert_eq!(code, "denied");
        assert!(text.contains(host.server.token().file().to_str().unwrap()), "{text}");
        assert!(!text.contains(host.secret()));

        let wrong = host.secret().replace(|_: char| true, "0");
        for value in [wrong.as_str(), &host.secret()[1..], "", "ä"] {
            let value = format!("Bearer {value}");
            assert_eq!(request().header("Authorization", &value).call().status, 401, "{value}");
        }
        let basic = format!("Basic {}", host.secret());
        assert_eq!(request().header("Authorization", &basic).call().status, 401);
        assert_eq!(request().token().token().call().status, 401, "two are none");
        assert!(request().token().call().status < 300);
    }
    assert!(host.fake.has_stopped.load(Ordering::SeqCst));
}

#[test]
fn messages_arrive_as_they_are() {
    let host = Host::start();
    let body = [0, 255, b'\n'];
    let sent = post(&host, "/send?path=kv%3A%2F%2Fput%2Fa%252Fb", &body);
    assert_eq!((sent.status, sent.json()["accepted"].as_bool()), (202, Some(true)));
    assert_eq!(*host.fake.sent.lock().unwrap(), [("kv://put/a%2Fb".into(), body.to_vec())]);

    let reply = post(&host, "/ask?path=kv://get/x&within=250ms", &body);
    assert_eq!((reply.status, reply.body.as_slice()), (200, body.as_slice()));
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    let reply = post(&host, "/ask?path=json://x", b"[1]");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let asked = host.fake.asked.lock().unwrap().clone();
    let within = Some(Duration::from_millis(250));
    assert_eq!(asked, [("kv://get/x".into(), within), ("json://x".into(), None)]);
}

#[test]
fn a_reload_is_reported() {
    let host = Host::start();
    let reloaded = post(&host, "/reload?subsystem=kv", b"");
    assert_eq!((reloaded.status, reloaded.json()["state"].as_str()), (200, Some("kept")));
    assert_eq!(serde_json::from_slice::<ReloadReport>(&reloaded.body).unwrap(), report());
    let unknown = post(&host, "/reload?subsystem=v%26k", b"");
    assert_eq!((unknown.status, unknown.error().0.as_str()), (404, "not_found"));
    assert!(unknown.error().1.contains("no subsystem `v&k`; there are `kv`"), "{unknown:?}");
}

#[test]
fn a_reload_that_takes_its_time_holds_up_nobody() {
    let host = Host::start_at("127.0.0.1:0", hasty());
    thread::scope(|scope| {
        let reload = scope.spawn(|| post(&host, "/reload?subsystem=never", b"").status);
        let begun = Instant::now();
        let done = loop {
            if let Some(done) = host.fake.reloading.lock().unwrap().pop() {
                break done;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "no reload begins");
            thread::yield_now();
        };
        assert_eq!(get(&host, "/livez").status, 200);
        assert_eq!(get(&host, "/status").status, 200);
        // Longer than any limit that a client has to keep.
        thread::sleep(hasty().body + hasty().head);
        assert!(!reload.is_finished());
        done(Ok(report()));
        assert_eq!(reload.join().unwrap(), 200);
    });
}

#[test]
fn pages_of_others_are_refused() {
    let host = Host::start();
    let own = format!("http://{}", host.address());
    let ask = |origin: &str| {
        let request = Request::new(&host, "POST /ask?path=a://b").token().body(b"");
        request.header("Origin", origin).call().status
    };
    assert_eq!(ask(&own), 200);
    let foreign = ["http://evil.example", "null", "", "https://127.0.0.1", "http://127.0.0.1:1"];
    for origin in foreign {
        assert_eq!(ask(origin), 403, "{origin}");
    }
    let looked = Request::new(&host, "GET /status").header("Origin", "http://evil.example").call();
    assert_eq!((looked.status, looked.error().0.as_str()), (403, "denied"));
}

#[test]
fn other_names_are_refused() {
    let host = Host::start();
    let port = host.address().port();
    let ask = |name: &str| {
        Request::new(&host, "GET /livez").without("Host").header("Host", name).call().status
    };
    for own in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
        assert_eq!(ask(&format!("{own}:{port}")), 200, "{own}");
    }
    for foreign in ["evil.example", "localhost", "localhost:1", "127.0.0.2", ""] {
        assert_eq!(ask(foreign), 421, "{foreign}");
    }
    assert_eq!(ask(&format!("evil.example:{port}")), 421);
    let none = Request::new(&host, "GET /livez").without("Host").call();
    assert_eq!(none.status, 421);
    let two = Request::new(&host, "GET /livez").header("Host", "evil.example").call();
    assert_eq!(two.status, 421);
    let proxied = Request::new(&host, "GET http://evil.example/livez").call();
    assert_eq!(proxied.status, 421);
}

#[test]
fn bodies_are_limited() {
    let host = Host::start();
    let largest = vec![7; BODY_LIMIT];
    assert_eq!(post(&host, "/ask?path=a://b", &largest).body, largest);
    let over = post(&host, "/ask?path=a://b", &vec![7; BODY_LIMIT + 1]);
    assert_eq!((over.status, over.error().0.as_str()), (413, "too_large"));
    assert!(over.error().1.contains("1048576"));
    assert_eq!(post(&host, "/ask?path=a://b", &vec![7; 4 * BODY_LIMIT]).status, 413);

    let chunk = format!("{:x}\r\n{}\r\n", BODY_LIMIT, "7".repeat(BODY_LIMIT));
    let mut request = Request::new(&host, "POST /ask?path=a://b").token();
    request = request.header("Transfer-Encoding", "chunked");
    assert_eq!(request.raw(format!("{chunk}{chunk}0\r\n\r\n").as_bytes()).call().status, 413);
}

#[test]
fn what_is_wrong_is_said_in_json() {
    let host = Host::start();
    let check = |line: &str, status, part: &str| {
        let answer = Request::new(&host, line).token().body(b"").call();
        assert_eq!(answer.status, status, "{line}");
        assert!(answer.error().1.contains(part), "{line}: {answer:?}");
        assert_eq!(answer.json()["handled"], "no");
    };
    check("POST /send", 400, "names no path");
    check("POST /send?path=a&within=2s", 400, "unknown parameter");
    check("POST /ask?path=%zz", 400, "hex digits");
    check("POST /ask?path=a&within=2", 400, "duration");
    check("GET /why", 400, "names no path");
    check("POST /why?path=a", 405, "does not take POST");
    check("GET /dead-letters?reason=dead", 400, "the reasons are");
    check("GET /dead-letters?path=a", 400, "unknown parameter");
    check("GET /dead-letters/6", 404, "no dead letter 6");
    check("GET /dead-letters/x", 400, "no number");
    check("POST /dead-letters/replay?id=x", 400, "no number");
    check("GET /dead-letters/replay?id=5", 405, "does not take GET");
    check("POST /reload", 400, "names no subsystem");
    check("POST /reload?subsystem=kv&path=a", 400, "unknown parameter");
    check("GET /reload?subsystem=kv", 405, "does not take GET");
    check("GET /nowhere", 404, "/nowhere");
    check("GET /send?path=a", 405, "does not take GET");
    check("POST /status", 405, "does not take POST");
    check("DELETE /", 405, "does not take DELETE");
    let wrong = Request::new(&host, "GET /send").call();
    assert_eq!(wrong.header("allow"), Some("POST"));
}

#[test]
fn errors_of_the_host_keep_their_code() {
    let host = Host::start();
    for code in ErrorCode::ALL {
        for handled in ["yes", "no", "unknown"] {
            let target = format!("/ask?path=error://{code}/{handled}/1500");
            let answer = post(&host, &target, b"");
            assert_eq!(answer.status, code.http_status(handled == "yes"), "{target}");
            let json = answer.json();
            assert_eq!((&json["error"], &json["handled"]), (&code.word().into(), &handled.into()));
            assert_eq!(json["retry_after_ms"], 1500);
            let is_later = matches!(answer.status, 429 | 503);
            assert_eq!(answer.header("retry-after"), is_later.then_some("2"), "{target}");
        }
        let refused = post(&host, &format!("/reload?subsystem=error://{code}/no"), b"");
        assert_eq!(refused.status, code.http_status(false));
        assert_eq!(refused.error().0, code.word());
        // A message that was refused was not handled, even where the error says so.
        let sent = post(&host, &format!("/send?path=error://{code}/yes"), b"");
        assert_eq!(sent.status, code.http_status(false));
        assert_eq!(sent.json()["handled"], "no");
        assert!(sent.json()["retry_after_ms"].is_null());
    }
}

#[test]
fn a_lost_outcome_is_an_error() {
    let host = Host::start();
    for target in ["/ask?path=lost://x", "/ask?path=panic://x", "/reload?subsystem=lost"] {
        let answer = post(&host, target, b"");
        assert_eq!((answer.status, &answer.json()["handled"]), (500, &"unknown".into()));
    }
    assert_eq!(get(&host, "/livez").status, 200);
}

#[test]
fn a_call_that_waits_holds_up_nobody() {
    let host = Host::start();
    thread::scope(|scope| {
        let slow = scope.spawn(|| post(&host, "/send?path=slow://x", b"").status);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(get(&host, "/livez").status, 200);
        assert_eq!(get(&host, "/status").status, 200);
        assert!(!slow.is_finished());
        assert_eq!(slow.join().unwrap(), 202);
    });
}

#[test]
fn a_client_that_hangs_up_frees_its_place() {
    let host = Host::start_at("127.0.0.1:0", Limits { connections: 1, ..Limits::default() });
    let head = format!("Host: {}\r\nAuthorization: Bearer {}", host.address(), host.secret());
    for request in [
        "POST /ask".into(),
        format!("POST /ask?path=a://b HTTP/1.1\r\n{head}\r\nContent-Length: 100\r\n\r\nhalf"),
        format!("POST /ask?path=never://b HTTP/1.1\r\n{head}\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let mut stream = connect(&host);
        stream.write_all(request.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(100));
        drop(stream);
        let start = Instant::now();
        assert_eq!(get(&host, "/livez").status, 200);
        assert!(start.elapsed() < Duration::from_secs(2), "{request}");
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let host = Host::start_at("127.0.0.1:0", Limits { connections: 1, ..hasty() });
    let mut stream = connect(&host);
    let head = format!("Host: {}\r\nAuthorization: Bearer {}", host.address(), host.secret());
    write!(stream, "POST /ask?path=large://x HTTP/1.1\r\n{head}\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(get(&host, "/livez").status, 200);
    drop(stream);
}

#[test]
fn more_connections_than_places_wait() {
    let host = Host::start_at("127.0.0.1:0", Limits { connections: 2, ..Limits::default() });
    let held: Vec<_> = (0..2).map(|_| connect(&host)).collect();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| get(&host, "/livez").status);
        thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        drop(held);
        assert_eq!(waiting.join().unwrap(), 200);
    });
}

#[test]
fn who_dribbles_is_cut_off() {
    let host = Host::start_at("127.0.0.1:0", hasty());
    let start = Instant::now();
    let mut stream = connect(&host);
    while stream.write_all(b"G").is_ok() && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() < Duration::from_secs(2));

    let mut silent = connect(&host);
    assert!(answer(&mut silent).is_none());

    let mut idle = connect(&host);
    write!(idle, "GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", host.address()).unwrap();
    assert_eq!(answer(&mut idle).unwrap().status, 200);

    let mut slow = connect(&host);
    let head = format!("Host: {}\r\nAuthorization: Bearer {}", host.address(), host.secret());
    write!(slow, "POST /ask?path=a://b HTTP/1.1\r\n{head}\r\nContent-Length: 9\r\n\r\nx").unwrap();
    let answer = answer(&mut slow).unwrap();
    assert_eq!((answer.status, answer.error().0.as_str()), (408, "deadline"));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn nonsense_does_no_harm() {
    let host = Host::start_at("127.0.0.1:0", hasty());
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
    for nonsense in ["\r\n\r\n", "\u{16}\u{3}\u{1}", "GET\r\n\r\n", &long, &many] {
        let mut stream = connect(&host);
        stream.write_all(nonsense.as_bytes()).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let status = answer(&mut stream).map(|answer| answer.status);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?}");
    }
    assert_eq!(get(&host, "/livez").status, 200);
}

#[test]
fn a_stop_lets_open_requests_end() {
    let host = Host::start();
    let (address, file) = (host.address(), host.server.token().file().to_owned());
    thread::scope(|scope| {
        let line = "POST /ask?path=slow://x";
        let mut stream = connect(&host);
        let head = format!("Host: {address}\r\nAuthorization: Bearer {}", host.secret());
        write!(stream, "{line} HTTP/1.1\r\n{head}\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        let reply = scope.spawn(move || answer(&mut stream).unwrap().body);
        thread::sleep(Duration::from_millis(100));
        host.server.stop();
        assert_eq!(reply.join().unwrap(), b"hi");
    });
    assert!(!file.exists());
    assert!(TcpListener::bind(address).is_ok());
}

#[test]
fn a_stop_waits_for_nobody_for_long() {
    let host = Host::start_at("127.0.0.1:0", hasty());
    let head = format!("Host: {}\r\nAuthorization: Bearer {}", host.address(), host.secret());
    let open = |target: &str| {
        let mut stream = connect(&host);
        let line = format!("POST {target} HTTP/1.1");
        write!(stream, "{line}\r\n{head}\r\nContent-Length: 0\r\n\r\n").unwrap();
        stream
    };
    let _held = [open("/ask?path=never://x"), open("/send?path=slow://x"), connect(&host)];
    thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    host.server.stop();
    assert!(start.elapsed() < Duration::from_millis(1800), "{:?}", start.elapsed());
}
