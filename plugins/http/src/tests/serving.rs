//! The server over loopback.

use super::wire::Gateway;
use std::{
    io::{Read, Write},
    thread::sleep,
    time::{Duration, Instant},
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn answers_come_back_in_kind() {
    let gateway = Gateway::new("");
    let got = gateway.ask("POST /echo HTTP/1.1\nhost: a\ncontent-length: 5\n\nhello");
    assert_eq!(
        (got.status, got.text(), got.header("content-type")),
        (200, "hello", Some("application/octet-stream"))
    );
    let got = gateway.ask("GET /json?a=b HTTP/1.1\nhost: a");
    assert_eq!(
        (got.status, got.text(), got.header("content-type")),
        (200, r#"{"n":1}"#, Some("application/json"))
    );
    let got = gateway.ask("PUT /none HTTP/1.1\nhost: a\ncontent-length: 1\n\nx");
    assert_eq!(
        (got.status, got.header("content-type"), got.header("content-length")),
        (204, None, None)
    );
    let got = gateway.ask("POST /echo HTTP/1.1\nhost: a");
    assert_eq!((got.status, got.text(), got.header("content-length")), (200, "", Some("0")));
    assert_eq!(gateway.ask("GET /within HTTP/1.1\nhost: a").text(), "Some(1.5s)");
}

#[test]
fn paths_go_on_as_they_were_sent() {
    let gateway = Gateway::new("");
    for (path, expect) in [
        ("/path/a%2Fb%20%C3%A9", "test://path/a%2Fb%20%C3%A9"),
        ("/path/a/../b;c=%zz?query", "test://path/a/../b;c=%zz"),
        ("http://other/path/x", "test://path/x"),
    ] {
        assert_eq!(gateway.ask(&format!("GET {path} HTTP/1.1\nhost: a")).text(), expect);
    }
}

#[test]
fn errors_have_their_status_and_a_text() {
    let gateway = Gateway::new("");
    for (path, status, word, retry_after) in [
        ("/fail/full", 429, "full", Some("1")),
        ("/refuse/full", 503, "full", Some("1")),
        ("/fail/panicked", 502, "panicked", None),
        ("/refuse/denied", 403, "denied", None),
        ("/elsewhere", 404, "no_route", None),
        ("/echo", 405, "no_method", None),
    ] {
        let got = gateway.ask(&format!("GET {path} HTTP/1.1\nhost: a"));
        assert_eq!(
            (got.status, got.error().as_str(), got.header("retry-after")),
            (status, word, retry_after),
            "{path}"
        );
    }
    let got = gateway.ask("DELETE /json HTTP/1.1\nhost: a");
    assert_eq!((got.status, got.header("allow")), (405, Some("GET, HEAD")));
    let got = gateway.ask("OPTIONS * HTTP/1.1\nhost: a");
    assert_eq!(got.status, 404);
    let got = gateway.ask("CONNECT a:1 HTTP/1.1\nhost: a");
    assert_eq!(got.status, 404);
}

#[test]
fn parts_are_chunks_or_events() {
    const END: &str = "event: end\ndata: \n\n";
    let gateway = Gateway::new("");
    let mut client = gateway.connect();
    for (request, content_type, body) in [
        ("/parts/3/end", "application/x-ndjson", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n".to_owned()),
        ("/parts/0/end", "application/octet-stream", String::new()),
        ("/events/2/end", "text/event-stream", format!("data: {{\"n\":1}}\n\ndata: {{\"n\":2}}\n\n{END}")),
        (
            "/events/1/restarted",
            "text/event-stream",
            "data: {\"n\":1}\n\nevent: error\ndata: {\"error\":\"restarted\",\"text\":\"on request\"}\n\n".to_owned(),
        ),
    ] {
        client.send(&format!("GET {request} HTTP/1.1\nhost: a"));
        let got = client.got();
        let told = (got.status, got.header("content-type"), got.text());
        assert_eq!(told, (200, Some(content_type), &*body), "{request}");
    }
    client.send("GET /parts/1/end HTTP/1.1\nhost: a\naccept: text/html, Text/Event-Stream");
    assert_eq!(client.got().text(), format!("data: {{\"n\":1}}\n\n{END}"));
    // An error behind the first part leaves no other way to tell.
    client.send("GET /parts/2/full HTTP/1.1\nhost: a");
    assert_eq!(client.got().text(), "{\"n\":1}\n{\"n\":2}\n<cut>");
    client.closed();
}

#[test]
fn a_stream_is_not_idle_and_ends_with_its_client() {
    let gateway = Gateway::new("idle_timeout: \"200ms\", connections: 1");
    let mut client = gateway.connect();
    client.send("GET /parts/1/never HTTP/1.1\nhost: a");
    sleep(ms(600));
    assert_eq!(gateway.ask("GET /json HTTP/1.1\nhost: a").status, 503, "it is still served");
    drop(client);
    let since = Instant::now();
    while gateway.ask("GET /json HTTP/1.1\nhost: a").status == 503 {
        assert!(since.elapsed() < ms(5000), "the connection is held");
        sleep(ms(5));
    }
}

#[test]
fn a_guard_is_asked_before_the_body_is_read() {
    let gateway = Gateway::new("");
    let passed = gateway.ask("POST /passed HTTP/1.1\nhost: a\ncontent-length: 5\n\nhello");
    assert_eq!((passed.status, passed.text()), (200, "hello"));
    for (path, status, word, retry_after) in [
        ("/guarded/full", 429, "full", Some("1")),
        ("/guarded/denied", 403, "denied", None),
        ("/guarded/no_route", 404, "no_route", None),
        ("/unguarded", 503, "gone", Some("1")),
    ] {
        // The body is announced, and never sent.
        let got = gateway.ask(&format!("POST {path} HTTP/1.1\nhost: a\ncontent-length: 5"));
        assert_eq!(
            (got.status, got.error().as_str(), got.header("retry-after")),
            (status, word, retry_after),
            "{path}"
        );
        assert_eq!(got.header("connection"), Some("close"), "{path}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let gateway = Gateway::new("");
    let mut client = gateway.connect();
    client.send("HEAD /json HTTP/1.1\nhost: a");
    let got = client.got_for("HEAD");
    assert_eq!((got.status, got.header("content-length")), (200, Some("7")));
    client.send("GET /json HTTP/1.1\nhost: a");
    assert_eq!(client.got().text(), r#"{"n":1}"#);
}

#[test]
fn a_whole_request_is_passed_and_a_whole_response_taken() {
    let gateway = Gateway::new("");
    let mut client = gateway.connect();
    client.send_bytes(b"POST /whole/a%20b?503 HTTP/1.1\r\nHost: a\r\nX-Odd: \xff\xfe!\r\ncontent-length: 2\r\n\r\n\x00\x01");
    let got = client.got();
    assert_eq!((got.status, got.header("x-made")), (503, Some("by hand")));
    let client_address = client.stream.local_addr().unwrap();
    assert_eq!(
        got.text(),
        format!(
            "Request {{ method: \"POST\", path: \"/whole/a%20b\", query: \"503\", headers: [(\"host\", \"a\"), \
             (\"x-odd\", \"\u{fffd}\u{fffd}!\"), (\"content-length\", \"2\")], client: \"{client_address}\", body: [0, 1] }}"
        )
    );
    client.send("POST /whole/x?7 HTTP/1.1\nhost: a");
    let got = client.got();
    assert_eq!((got.status, got.error().as_str()), (502, "unanswered"));
}

#[test]
fn a_connection_carries_many_requests() {
    let gateway = Gateway::new("");
    let mut client = gateway.connect();
    for body in ["one", "", "three"] {
        client.send(&format!(
            "POST /echo HTTP/1.1\nhost: a\ncontent-length: {}\n\n{body}",
            body.len()
        ));
        assert_eq!(client.got().text(), body);
    }
    client.send("POST /echo HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.got().text(), "abcde");
    client.send_bytes(
        "GET /path/1 HTTP/1.1\r\nhost: a\r\n\r\nGET /path/2 HTTP/1.1\r\nhost: a\r\n\r\n".as_bytes(),
    );
    assert_eq!(client.got().text(), "test://path/1");
    assert_eq!(client.got().text(), "test://path/2");
    client.send("GET /elsewhere HTTP/1.1\nhost: a");
    assert_eq!(client.got().status, 404);
    client.send("GET /path/3 HTTP/1.1\nhost: a\nconnection: close");
    assert_eq!(client.got().text(), "test://path/3");
    client.closed();
    let mut client = gateway.connect();
    client.send("GET /path/1 HTTP/1.0");
    assert_eq!(client.got().text(), "test://path/1");
    client.closed();
}

#[test]
fn bodies_have_a_limit() {
    let gateway = Gateway::new("body_limit: \"1KiB\"");
    let body = "x".repeat(1024);
    let got = gateway.ask(&format!("POST /echo HTTP/1.1\nhost: a\ncontent-length: 1024\n\n{body}"));
    assert_eq!((got.status, got.body.len()), (200, 1024));
    let got = gateway.ask(&format!(
        "POST /echo HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n400\r\n{body}\r\n0\r\n\r\n"
    ));
    assert_eq!((got.status, got.body.len()), (200, 1024));

    // Announced: answered at once, with no byte of it sent.
    let mut client = gateway.connect();
    client.send("POST /echo HTTP/1.1\nhost: a\ncontent-length: 1025\nexpect: 100-continue");
    let got = client.got();
    assert_eq!(
        (got.status, got.error().as_str(), got.header("connection")),
        (413, "too_large", Some("close"))
    );
    client.end_writing();
    assert!(client.closed() < ms(900), "a client that is done is not waited for");

    // Not announced, and far more than the buffers hold: the answer arrives all the same.
    let mut client = gateway.connect();
    client.send("POST /echo HTTP/1.1\nhost: a\ntransfer-encoding: chunked");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..128 {
        if client.stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let got = client.got();
    assert_eq!((got.status, got.error().as_str()), (413, "too_large"));
    client.closed();
}

#[test]
fn an_unread_body_ends_the_connection() {
    let gateway = Gateway::new("");
    let mut client = gateway.connect();
    client.send("POST /elsewhere HTTP/1.1\nhost: a\ncontent-length: 100000000");
    client.send_bytes(&vec![b'x'; 8 << 20]);
    let got = client.got();
    assert_eq!((got.status, got.header("connection")), (404, Some("close")));
    client.closed();
}

#[test]
fn bad_heads_are_refused() {
    let gateway = Gateway::new("header_limit: \"8KiB\"");
    let long = "x".repeat(20_000);
    for (request, status) in [
        (format!("GET /json HTTP/1.1\nhost: a\nlong: {long}"), 431),
        (format!("GET /json HTTP/1.1\nhost: a{}", "\na: b".repeat(200)), 431),
        ("GARBAGE".into(), 400),
        ("GET /json HTTP/9.9\nhost: a".into(), 400),
        ("GET /json HTTP/1.1\nbad header: a".into(), 400),
        ("POST /echo HTTP/1.1\ncontent-length: x".into(), 400),
        ("POST /echo HTTP/1.1\ncontent-length: -1".into(), 400),
        ("POST /echo HTTP/1.1\ncontent-length: 1\ncontent-length: 2".into(), 400),
        ("GET /a\u{7f} HTTP/1.1\nhost: a".into(), 400),
    ] {
        let mut client = gateway.connect();
        client.send(&request);
        assert_eq!(client.got().status, status, "{request:.60}");
        client.end_writing();
        client.closed();
    }
    let got = gateway.ask(&format!("GET /{long} HTTP/1.1\nhost: a"));
    assert!(matches!(got.status, 414 | 431), "{}", got.status);
    let got = gateway.ask("POST /echo HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\nzz\r\n");
    assert_eq!((got.status, got.error().as_str()), (400, "invalid"));
}

#[test]
fn hostile_bytes_do_no_harm() {
    let gateway = Gateway::new("header_timeout: \"500ms\"");
    let mut seed = 7_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let good = b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for _ in 0..300 {
        let mut bytes = good.to_vec();
        for _ in 0..random() % 8 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(random() as usize % (bytes.len() + 1));
        let mut client = gateway.connect();
        // The server may have closed it already.
        let _ = client.stream.write_all(&bytes);
        if random() % 2 == 0 {
            let _ = client.stream.shutdown(std::net::Shutdown::Write);
        }
    }
    assert_eq!(gateway.ask("GET /json HTTP/1.1\nhost: a").status, 200);
}

#[test]
fn connections_have_a_limit() {
    let gateway = Gateway::new("connections: 2");
    let mut first = gateway.connect();
    let mut second = gateway.connect();
    for client in [&mut first, &mut second] {
        client.send("GET /json HTTP/1.1\nhost: a");
        assert_eq!(client.got().status, 200);
    }
    let mut third = gateway.connect();
    third.send("GET /json HTTP/1.1\nhost: a");
    let got = third.got();
    assert_eq!(
        (got.status, got.error().as_str(), got.header("retry-after")),
        (503, "busy", Some("1"))
    );
    third.end_writing();
    assert!(third.closed() < ms(900));
    drop(first);
    // The place is free as soon as the server has seen the close.
    let since = Instant::now();
    while gateway.ask("GET /json HTTP/1.1\nhost: a").status == 503 {
        assert!(since.elapsed() < ms(5000));
        sleep(ms(5));
    }
    second.send("GET /json HTTP/1.1\nhost: a");
    assert_eq!(second.got().status, 200);
}

#[test]
fn slow_heads_are_closed() {
    let gateway = Gateway::new("header_timeout: \"300ms\"");
    let mut silent = gateway.connect();
    assert!((ms(200)..ms(3000)).contains(&silent.closed()));
    let mut dribbling = gateway.connect();
    let since = Instant::now();
    for byte in b"GET /json HTTP/1.1\r\nhost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle()
    {
        if dribbling.stream.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(since.elapsed() < ms(3000), "a dribbling client is not closed");
        sleep(ms(10));
    }
    assert!(since.elapsed() > ms(200));
    // The same for a later request, counted from its first byte.
    let mut later = gateway.connect();
    later.send("GET /json HTTP/1.1\nhost: a");
    assert_eq!(later.got().status, 200);
    sleep(ms(400));
    later.send("GET /json HTTP/1.1\nhost: a");
    assert_eq!(later.got().status, 200);
    later.send_bytes(b"GET /js");
    assert!((ms(200)..ms(3000)).contains(&later.closed()));
}

#[test]
fn slow_bodies_are_refused() {
    let gateway = Gateway::new("body_timeout: \"200ms\"");
    let mut client = gateway.connect();
    client.send("POST /echo HTTP/1.1\nhost: a\ncontent-length: 100\n\nsome");
    let got = client.got();
    assert_eq!(
        (got.status, got.error().as_str(), got.header("connection")),
        (408, "deadline", Some("close"))
    );
    assert!(client.closed() < ms(3000));
}

#[test]
fn idle_connections_are_closed() {
    let gateway = Gateway::new("idle_timeout: \"200ms\", header_timeout: \"5s\"");
    let mut client = gateway.connect();
    client.send("GET /slow/400 HTTP/1.1\nhost: a");
    assert_eq!(client.got().text(), "late", "a request is not idle");
    assert!((ms(100)..ms(3000)).contains(&client.closed()));
}

#[test]
fn a_client_that_reads_no_answer_is_closed() {
    let gateway = Gateway::new("idle_timeout: \"200ms\", connections: 1");
    let mut client = gateway.connect();
    for _ in 0..8 {
        client.send("GET /big HTTP/1.1\nhost: a");
    }
    let since = Instant::now();
    while gateway.ask("GET /json HTTP/1.1\nhost: a").status == 503 {
        assert!(since.elapsed() < ms(5000), "the connection is held");
        sleep(ms(20));
    }
    drop(client);
    // One that reads steadily gets everything, however long it takes.
    let gateway = Gateway::new("idle_timeout: \"300ms\"");
    let got = gateway.ask("GET /big HTTP/1.1\nhost: a");
    assert_eq!(got.body.len(), 32 << 20);
}

#[test]
fn a_hang_up_harms_nobody_else() {
    let gateway = Gateway::new("");
    let mut other = gateway.connect();
    other.send("GET /slow/300 HTTP/1.1\nhost: a");
    for request in [
        "GET /slow/200 HTTP/1.1\nhost: a",
        "POST /echo HTTP/1.1\nhost: a\ncontent-length: 9\n\nab",
        "GET /big HTTP/1.1\nhost: a",
    ] {
        let mut client = gateway.connect();
        client.send(request);
        sleep(ms(30));
    }
    assert_eq!(other.got().text(), "late");
    assert_eq!(gateway.ask("GET /json HTTP/1.1\nhost: a").status, 200);
}

#[test]
fn stopping_lets_requests_finish() {
    let mut gateway = Gateway::new("");
    let mut idle = gateway.connect();
    idle.send("GET /json HTTP/1.1\nhost: a");
    idle.got();
    let mut busy = gateway.connect();
    busy.send("GET /slow/400 HTTP/1.1\nhost: a");
    let mut uploading = gateway.connect();
    uploading.send("POST /echo HTTP/1.1\nhost: a\ncontent-length: 4\n\nab");
    let mut fresh = gateway.connect();
    sleep(ms(100));
    gateway.begin_stop();
    // A request that is under way when the stop comes is answered, on whatever connection.
    fresh.send("GET /json HTTP/1.1\nhost: a");
    idle.send("GET /json HTTP/1.1\nhost: a");
    assert_eq!(fresh.got().status, 200);
    assert_eq!(idle.got().status, 200);
    uploading.send_bytes(b"cd");
    assert_eq!(uploading.got().text(), "abcd");
    let got = busy.got();
    assert_eq!((got.text(), got.header("connection")), ("late", Some("close")));
    for client in [&mut fresh, &mut idle, &mut uploading, &mut busy] {
        assert!(client.closed() < ms(1000));
    }
    assert!(gateway.join() < ms(1000));
}

#[test]
fn stopping_is_bounded() {
    let mut gateway = Gateway::new("drain_timeout: \"300ms\", linger: \"60s\"");
    let mut busy = gateway.connect();
    busy.send("GET /slow/60000 HTTP/1.1\nhost: a");
    let mut half = gateway.connect();
    half.send_bytes(b"GET /js");
    sleep(ms(100));
    gateway.begin_stop();
    assert!((ms(200)..ms(2000)).contains(&gateway.join()));
    busy.closed();
    half.closed();
}

#[test]
fn an_idle_connection_may_bring_one_more_request() {
    let mut gateway = Gateway::new("linger: \"2s\"");
    let mut client = gateway.connect();
    client.send("GET /json HTTP/1.1\nhost: a");
    assert_eq!(client.got().header("connection"), None);
    gateway.begin_stop();
    sleep(ms(300));
    client.send("GET /json HTTP/1.1\nhost: a");
    let got = client.got();
    assert_eq!((got.status, got.header("connection")), (200, Some("close")));
    client.closed();
    assert!(gateway.join() < ms(1000), "nobody else is waited for");
}

#[test]
fn new_connections_are_served_while_idle_ones_linger() {
    let mut gateway = Gateway::new("linger: \"2s\"");
    let mut idle = gateway.connect();
    idle.send("GET /json HTTP/1.1\nhost: a");
    idle.got();
    gateway.begin_stop();
    sleep(ms(100));
    let got = gateway.ask("GET /json HTTP/1.1\nhost: a");
    assert_eq!((got.status, got.header("connection")), (200, Some("close")));
    idle.closed();
    gateway.join();
}

#[test]
fn a_first_request_is_waited_for() {
    let mut gateway = Gateway::new("linger: \"1ms\"");
    let mut fresh = gateway.connect();
    sleep(ms(100));
    gateway.begin_stop();
    sleep(ms(300));
    fresh.send("GET /json HTTP/1.1\nhost: a");
    assert_eq!(fresh.got().status, 200);
    gateway.join();
}

#[test]
fn requests_behind_the_last_one_do_not_cost_its_answer() {
    let mut gateway = Gateway::new("");
    let mut client = gateway.connect();
    client.send("GET /slow/300 HTTP/1.1\nhost: a");
    sleep(ms(100));
    gateway.begin_stop();
    // More than the server reads ahead; closing over unread bytes would reset the connection.
    client.send_bytes("GET /json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3000).as_bytes());
    let got = client.got();
    assert_eq!((got.text(), got.header("connection")), ("late", Some("close")));
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0, "an end, not a reset");
    drop(client);
    assert!(gateway.join() < ms(1000));
}

#[test]
fn stopping_waits_for_nobody_who_is_gone() {
    let mut gateway = Gateway::new("linger: \"60s\", drain_timeout: \"60s\"");
    gateway.begin_stop();
    gateway.join();
    let mut gateway = Gateway::new("linger: \"60s\", drain_timeout: \"60s\"");
    let mut idle = gateway.connect();
    idle.send("GET /json HTTP/1.1\nhost: a");
    idle.got();
    gateway.begin_stop();
    drop(idle);
    gateway.join();
}

#[test]
fn stopping_waits_only_so_long_for_the_silent() {
    let mut gateway = Gateway::new("");
    let mut idle = gateway.connect();
    idle.send("GET /json HTTP/1.1\nhost: a");
    idle.got();
    let _fresh = gateway.connect();
    sleep(ms(50));
    gateway.begin_stop();
    assert!(gateway.join() < ms(2000));
    idle.closed();
}
