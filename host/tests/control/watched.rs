//! The page, and the looks at a host that it is made of.

use crate::fake::Host;
use crate::http::{Request, get, post};
use mycelia::control::{Client, Limits};
use mycelia::figures::Figures;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn client(host: &Host) -> Client {
    Client::new(host.address().to_string().parse().unwrap(), None)
}

fn looks(host: &Host) -> impl Iterator<Item = Figures> {
    client(host).figures().unwrap().map(|look| look.unwrap())
}

fn page(host: &Host, accept: &str) -> (Option<String>, String) {
    let page = Request::new(host, "GET /").header("Accept", accept).call();
    assert_eq!(page.status, 200);
    (page.header("content-type").map(Into::into), String::from_utf8(page.body).unwrap())
}

#[test]
fn a_browser_gets_the_page_and_others_the_list() {
    let host = Host::start();
    let (kind, html) = page(&host, "text/html,application/xhtml+xml,*/*;q=0.8");
    assert_eq!(kind.as_deref(), Some("text/html; charset=utf-8"));
    assert!(html.contains("/page.js") && html.contains("/page.css"));
    let (kind, list) = page(&host, "*/*");
    assert_eq!(kind.as_deref(), Some("text/plain; charset=utf-8"));
    assert!(list.contains("GET  /figures") && !list.contains('<'), "{list}");
}

#[test]
fn the_page_needs_this_host_alone_and_takes_nobodys_markup() {
    let host = Host::start();
    let mut texts = vec![page(&host, "text/html").1];
    for (file, kind) in [("/page.js", "text/javascript"), ("/page.css", "text/css")] {
        let answer = get(&host, file);
        assert_eq!(answer.header("content-type"), Some(format!("{kind}; charset=utf-8").as_str()));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        texts.push(String::from_utf8(answer.body).unwrap());
    }
    let text = texts.concat().replace("http://www.w3.org/2000/svg", "");
    for stranger in ["http://", "https://", "innerHTML", "insertAdjacentHTML", "eval(", "@import"] {
        assert!(!text.contains(stranger), "the page has {stranger}");
    }
    let reply = post(&host, "/ask?path=kv://get/x", b"<script>");
    let policy = reply.header("content-security-policy");
    assert_eq!(policy, Some("default-src 'none'; frame-ancestors 'none'"));
}

#[test]
fn a_stream_looks_at_the_host_each_second() {
    let host = Host::start();
    let mut looks = looks(&host);
    let first = looks.next().unwrap();
    assert_eq!((first.interval_s, first.ready), (0.0, false));
    host.fake.is_ready.store(true, Ordering::SeqCst);
    let second = looks.next().unwrap();
    assert!(second.interval_s > 0.5 && second.ready, "{second:?}");
    assert!(second.time_ms > first.time_ms);
    assert_eq!(second.status.subsystems["kv"].plugin, "mycelia_kv");
    assert!(second.subsystems.contains_key("kv"));
}

#[test]
fn all_watchers_share_one_look_and_nobody_costs_none() {
    let host = Host::start();
    assert_eq!(host.fake.looks.load(Ordering::SeqCst), 0);
    let mut watchers: Vec<_> = (0..10).map(|_| looks(&host)).collect();
    let last: Vec<u64> = watchers.iter_mut().map(|looks| looks.nth(1).unwrap().time_ms).collect();
    assert!(last.iter().all(|time| time - last[0] < 3000), "{last:?}");
    let seen = host.fake.looks.load(Ordering::SeqCst);
    assert!((2..10).contains(&seen), "{seen} looks for ten watchers");
    drop(watchers);
    // The host hears of the end when it writes the next look, and of ten ends by the one after.
    let settled = || {
        let before = host.fake.looks.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2500));
        host.fake.looks.load(Ordering::SeqCst) == before
    };
    let until = Instant::now() + Duration::from_secs(30);
    while !settled() {
        assert!(Instant::now() < until, "the host looks on though nobody watches");
    }
    assert!(looks(&host).next().is_some(), "a later watcher is served as well");
}

#[test]
fn a_later_watcher_is_told_of_the_past() {
    let host = Host::start();
    let seen = looks(&host).nth(1).unwrap().time_ms;
    let mut stream = crate::http::connect(&host);
    let request = format!("GET /figures HTTP/1.1\r\nHost: {}\r\n\r\n", host.address());
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(stream));
    let text: Vec<String> = lines.map_while(Result::ok).take(30).collect();
    let past = text.iter().filter(|line| *line == "event: past").count();
    assert!(past >= 2, "{text:#?}");
    assert!(text.iter().any(|line| line.contains(&format!("\"time_ms\":{seen}"))), "{text:#?}");
}

#[test]
fn a_stop_ends_the_streams() {
    let stop = Duration::from_secs(60);
    let host = Host::start_at("127.0.0.1:0", Limits { stop, ..Limits::default() });
    let mut looks = client(&host).figures().unwrap();
    assert!(looks.next().unwrap().is_ok());
    let began = Instant::now();
    host.server.stop();
    assert!(looks.all(|look| look.is_ok()), "the stream ends in order");
    assert!(began.elapsed() < stop, "the stop waited for the stream");
}

#[test]
fn routes_are_told_with_their_counts() {
    let host = Host::start();
    let routes = get(&host, "/routes?subsystem=kv").json();
    assert_eq!((&routes[0]["pattern"], &routes[0]["dead"]), (&"put/{key}".into(), &0.into()));
    assert_eq!(get(&host, "/routes?subsystem=vk").status, 404);
    assert_eq!(get(&host, "/routes").status, 400);
}

#[test]
fn the_newest_letters_alone() {
    let host = Host::start();
    let letters = |target: &str| {
        let answer = Request::new(&host, &format!("GET {target}")).token().call();
        (answer.status, answer.json()["letters"].as_array().map(Vec::len))
    };
    for (limit, expect) in [("", 1), ("?limit=1000", 1), ("?limit=1", 1), ("?limit=0", 0)] {
        assert_eq!(letters(&format!("/dead-letters{limit}")), (200, Some(expect)), "{limit}");
    }
    assert_eq!(letters("/dead-letters?limit=-1").0, 400);
}
