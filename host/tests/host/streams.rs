//! Answers in parts: between plugins, to own threads, and what becomes of them when either side ends.

use crate::{
    client::{Client, request},
    shelf::{faulty, reloading},
    support::{Host, eventually, host, host_with, ledger, refusal, tally},
};
use mycelia::status::{LedgerStatus, RequestsStatus};
use mycelia_plugin::{ErrorCode, Handled};
use std::time::Duration;

/// What of one answer waits at most.
const WINDOW: u64 = 16;

/// `a` takes parts, `b` writes them.
fn pair(a: &str) -> Host {
    host_with(
        "ask_deadline: \"60s\",",
        &format!(
            r#""a": (plugin: "mycelia_faulty", {a}),
            "b": (plugin: "mycelia_faulty", queue: (capacity: 64, policy: Reject))"#
        ),
    )
}

fn taken(host: &Host) -> Vec<String> {
    host.value("a://parts_taken", "")
}

fn refused(host: &Host, name: &str) -> Vec<String> {
    host.value(&format!("{name}://refused"), "")
}

/// Waits for so many words of what `a` took.
fn takes(host: &Host, count: usize) -> Vec<String> {
    eventually("the parts came", || taken(host).len() >= count);
    taken(host)
}

fn numbers(count: u64) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn and(mut words: Vec<String>, last: &str) -> Vec<String> {
    words.push(last.to_owned());
    words
}

fn ask(host: &Host, path: &str) {
    host.ask("a://ask_parts/1000000", path).unwrap();
}

#[test]
fn parts_come_in_order_and_then_the_end() {
    for batch in [1, 3, 64] {
        let host = pair(&format!("batch: {batch}"));
        ask(&host, "b://parts/10");
        assert_eq!(takes(&host, 11), and(numbers(10), "end"), "batches of {batch}");
        let expect = RequestsStatus { asked: 1, answered: 1, ..Default::default() };
        assert_eq!(host.requests("a"), expect);
        host.rest("b");
        assert_eq!(host.ledger("b"), ledger(LedgerStatus { handled: 1, ..Default::default() }));
        host.stop();
    }
}

#[test]
fn a_whole_answer_is_one_part_and_the_end() {
    let host = pair("");
    ask(&host, "b://note/7");
    assert_eq!(takes(&host, 2), ["7", "end"]);
    ask(&host, "b://drop");
    assert_eq!(takes(&host, 3)[2..], ["unanswered yes"]);
    ask(&host, "b://parts/0");
    assert_eq!(takes(&host, 4)[3..], ["end"]);
    let expect = RequestsStatus { asked: 3, answered: 2, failed: 1, ..Default::default() };
    assert_eq!(host.requests("a"), expect);
    host.stop();
}

#[test]
fn who_takes_one_outcome_gets_no_parts() {
    let host = pair("");
    let error = host.ask("b://parts/3", "").unwrap_err();
    assert_eq!((error.code, error.handled), (ErrorCode::Invalid, Handled::No));
    assert!(error.text.contains("answers in parts, but `operator` takes one outcome"), "{error}");
    assert_eq!(host.tally("a://ask/1", "b://parts"), tally([("invalid no", 1)]));
    assert_eq!(host.requests("a"), RequestsStatus::default());
    host.stop();
}

#[test]
fn a_reader_that_takes_nothing_holds_its_writers_back() {
    let host = pair("");
    host.ask("a://ask_parts/1000000", "b://open_parts").unwrap();
    eventually("it is open", || host.ledger("b").handled == 1);
    host.block("a", "gate");
    host.sends("b://add_parts/1000");
    host.rest("b");
    assert_eq!(refused(&host, "b"), ["full no"]);
    for _ in 0..1000 {
        host.sends("b://add_parts/1");
        host.rest("b");
    }
    assert_eq!(refused(&host, "b").len(), 1001);
    assert_eq!(host.requests("a").pending, 1);
    host.open("a", "gate");
    assert_eq!(takes(&host, WINDOW as usize), numbers(WINDOW));
    host.sends("b://add_parts/4");
    assert_eq!(takes(&host, WINDOW as usize + 4), numbers(WINDOW + 4));
    host.sends("b://end_parts");
    assert_eq!(takes(&host, WINDOW as usize + 5), and(numbers(WINDOW + 4), "end"));
    host.stop();
}

#[test]
fn writers_go_on_when_there_is_room() {
    let host = pair("batch: 4");
    for path in ["b://parts_in_turns/500", "b://parts_by_thread/500"] {
        ask(&host, path);
    }
    let words = takes(&host, 1002);
    let mut sorted: Vec<_> = words.iter().filter(|word| *word != "end").collect();
    assert_eq!(words.len() - sorted.len(), 2, "two ends");
    sorted.sort();
    let mut expect: Vec<_> = [numbers(500), numbers(500)].concat();
    expect.sort();
    assert!(sorted.into_iter().eq(&expect));
    let expect = RequestsStatus { asked: 2, answered: 2, ..Default::default() };
    assert_eq!(host.requests("a"), expect);
    host.stop();
}

#[test]
fn many_answers_at_once_stay_apart_and_bounded() {
    let host = pair("max_asks: 8, batch: 2");
    for _ in 0..8 {
        ask(&host, "b://parts_by_thread/200");
    }
    let words = takes(&host, 8 * 201);
    for number in 0..200 {
        assert_eq!(words.iter().filter(|word| **word == number.to_string()).count(), 8, "{number}");
    }
    assert_eq!(host.requests("a").answered, 8);
    host.stop();
}

#[test]
fn an_asker_that_cancels_is_told_no_more() {
    let host = pair("");
    host.ask("a://ask_parts/3", "b://open_parts").unwrap();
    eventually("it is open", || host.ledger("b").handled == 1);
    for count in 1..=3 {
        host.sends("b://add_parts/1");
        takes(&host, count);
    }
    let expect = RequestsStatus { asked: 1, cancelled: 1, ..Default::default() };
    eventually("it is cancelled", || host.requests("a") == expect);
    host.sends("b://add_parts/1");
    host.rest("b");
    assert_eq!(refused(&host, "b"), ["gone no"]);
    assert_eq!(taken(&host), numbers(3));
    host.sends("b://end_parts");
    host.stop();
}

#[test]
fn the_deadline_holds_between_two_parts() {
    let host = pair("");
    host.ask("a://ask_parts_within/200", "b://open_parts").unwrap();
    eventually("it is open", || host.ledger("b").handled == 1);
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(60));
        host.sends("b://add_parts/1");
    }
    assert_eq!(takes(&host, 7), and(numbers(6), "deadline unknown"));
    let expect = RequestsStatus { asked: 1, timed_out: 1, ..Default::default() };
    assert_eq!(host.requests("a"), expect);
    host.sends("b://add_parts/1");
    host.rest("b");
    assert_eq!(refused(&host, "b"), ["gone no"]);
    host.stop();
}

#[test]
fn a_writer_that_ends_fails_its_answers() {
    let host = pair("");
    ask(&host, "b://open_parts");
    host.sends("b://add_parts/2");
    assert_eq!(takes(&host, 2), numbers(2));
    let told = refusal(host.ask("b://panic", ""));
    assert_eq!(told.0, ErrorCode::Panicked);
    assert_eq!(takes(&host, 3), and(numbers(2), "restarted unknown"));
    assert_eq!(host.requests("a").failed, 1);
    host.stop();
}

#[test]
fn a_writer_that_is_dropped_or_fails_says_so() {
    // On one worker nobody takes parts while the writer's handler runs.
    let host = host_with(
        "workers: 1,",
        r#""a": (plugin: "mycelia_faulty"), "b": (plugin: "mycelia_faulty")"#,
    );
    ask(&host, "b://parts/100");
    assert_eq!(takes(&host, 17), and(numbers(16), "full yes"));
    host.stop();
}

#[test]
fn a_reader_that_is_restarted_leaves_its_answers_to_the_next() {
    let host = pair("");
    ask(&host, "b://open_parts");
    host.sends("b://add_parts/2");
    takes(&host, 2);
    assert_eq!(refusal(host.ask("a://panic", "")).0, ErrorCode::Panicked);
    eventually("the next one serves", || taken(&host).is_empty());
    host.sends("b://add_parts/1");
    host.sends("b://end_parts");
    assert_eq!(takes(&host, 2), ["2", "end"], "as outcomes do, parts come to the route");
    host.stop();
}

#[test]
fn own_threads_take_parts_at_their_own_pace() {
    let host = pair("");
    let told = |count: usize| {
        eventually("the thread has told", || refused(&host, "a").len() >= count);
        refused(&host, "a")
    };
    host.ask("a://take_parts/1000000", "b://parts_by_thread/300").unwrap();
    assert_eq!(told(301), and(numbers(300), "taken"));
    host.ask("a://take_parts/1000000", "b://note/5").unwrap();
    assert_eq!(told(303)[301..], ["5", "whole"]);
    host.ask("a://take_parts/1000000", "b://fail/full").unwrap();
    assert_eq!(told(305)[303..], ["full yes", "taken"]);
    let expect = RequestsStatus { asked: 3, answered: 2, failed: 1, ..Default::default() };
    assert_eq!(host.requests("a"), expect);
    host.stop();
}

#[test]
fn a_thread_that_takes_no_more_cancels() {
    let host = pair("");
    host.ask("a://take_parts/3", "b://parts_by_thread/1000000").unwrap();
    let expect = RequestsStatus { asked: 1, cancelled: 1, ..Default::default() };
    eventually("it is cancelled", || host.requests("a") == expect);
    eventually("the writer was told", || refused(&host, "b") == ["gone no"]);
    // Before the first part as well.
    host.ask("a://take_parts/0", "b://open_parts").unwrap();
    eventually("it is cancelled", || host.requests("a").cancelled == 2);
    host.sends("b://add_parts/1");
    host.rest("b");
    assert_eq!(refused(&host, "b"), ["gone no", "gone no"]);
    host.sends("b://end_parts");
    host.stop();
}

#[test]
fn answers_to_a_thread_end_with_its_instance() {
    let host = pair("");
    host.ask("a://take_parts/1000000", "b://open_parts").unwrap();
    eventually("it is open", || host.ledger("b").handled == 1);
    host.sends("b://add_parts/2");
    host.sends("a://panic");
    let expect = RequestsStatus { asked: 1, cancelled: 1, ..Default::default() };
    eventually("it is cancelled", || host.requests("a") == expect);
    host.sends("b://add_parts/1");
    host.rest("b");
    assert_eq!(refused(&host, "b"), ["gone no"]);
    host.sends("b://end_parts");
    host.stop();
}

#[test]
fn a_stopped_reader_is_gone() {
    let host = pair("restart: (max: 0, within: \"10s\")");
    ask(&host, "b://open_parts");
    host.sends("b://add_parts/1");
    takes(&host, 1);
    host.sends("a://panic");
    eventually("it is stopped", || host.status_of("a").phase == mycelia::status::Phase::Stopped);
    host.sends("b://add_parts/1");
    host.rest("b");
    eventually("nobody takes the part", || host.requests("a").pending == 0);
    host.sends("b://add_parts/1");
    host.rest("b");
    assert_eq!(refused(&host, "b"), ["gone no"]);
    host.sends("b://end_parts");
    host.stop();
}

#[test]
fn a_host_that_stops_ends_what_is_open() {
    let host = host_with(
        "ask_deadline: \"60s\", drain_timeout: \"100ms\",",
        r#""a": (plugin: "mycelia_faulty"), "b": (plugin: "mycelia_faulty")"#,
    );
    ask(&host, "b://open_parts");
    host.ask("a://take_parts/1000000", "b://open_parts").unwrap();
    eventually("they are open", || host.ledger("b").handled == 2);
    host.sends("b://add_parts/20");
    host.rest("b");
    let (status, _) = host.stop();
    let requests = &status.subsystems["a"].requests;
    assert_eq!((requests.asked, requests.answered, requests.pending), (2, 0, 0), "{requests:?}");
}

#[test]
fn a_writer_that_is_saved_goes_on_in_the_next_build() {
    let one = reloading("", r#""a": (plugin: "mycelia_faulty")"#);
    ask(&one.host, "f://open_parts");
    one.host.sends("f://add_parts/2");
    takes(&one.host, 2);
    one.reload(&faulty("good 2"));
    one.host.sends("f://add_parts/1");
    one.host.sends("f://end_parts");
    assert_eq!(takes(&one.host, 4), and(numbers(3), "end"));
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn a_writer_that_is_not_saved_ends_with_its_build() {
    let one = reloading("on_reload: Reset", r#""a": (plugin: "mycelia_faulty")"#);
    ask(&one.host, "f://open_parts");
    one.host.sends("f://add_parts/2");
    takes(&one.host, 2);
    one.reload(&faulty("good 2"));
    assert_eq!(takes(&one.host, 3), and(numbers(2), "reloading unknown"));
    assert_eq!(one.host.requests("a").failed, 1);
    one.is_unloaded(1);
    one.host.stop();
}

#[test]
fn a_reader_that_is_reloaded_gets_the_rest() {
    let one = reloading("", r#""b": (plugin: "mycelia_faulty")"#);
    let taken = |count: usize| {
        let words = || one.host.value::<Vec<String>>("f://parts_taken", "");
        eventually("the parts came", || words().len() >= count);
        words()
    };
    one.host.ask("f://ask_parts/1000000", "b://open_parts").unwrap();
    one.host.sends("b://add_parts/2");
    taken(2);
    one.reload(&faulty("good 2"));
    one.host.sends("b://add_parts/1");
    one.host.sends("b://end_parts");
    assert_eq!(taken(4), and(numbers(3), "end"));
    one.is_unloaded(1);
    one.host.stop();
}

/// `b` behind a gateway.
fn behind_http() -> (Host, Client) {
    let host = host(
        r#""b": (plugin: "mycelia_faulty", queue: (capacity: 64, policy: Reject)),
        "http": (plugin: "mycelia_http", config: (listen: "127.0.0.1:0", map: [
            (method: "GET", path: "/chunks/{*path}", to: "b://{path}", within: "60s"),
            (method: "GET", path: "/events/{*path}", to: "b://{path}", reply: Events),
        ]))"#,
    );
    let client = Client::connect(host.address("http"));
    (host, client)
}

#[test]
fn http_passes_parts_on_while_they_come() {
    let (host, mut client) = behind_http();
    client.write(request("GET", "/chunks/open_parts", "").as_bytes());
    eventually("it is open", || host.ledger("b").handled == 1);
    host.sends("b://add_parts/1");
    let head = client.read_through("\r\n\r\n").to_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked"),
        "{head}"
    );
    assert!(head.contains("content-type: application/x-ndjson"), "{head}");
    assert_eq!(client.read_through("\n\r\n"), "2\r\n0\n\r\n");
    host.sends("b://add_parts/1");
    assert_eq!(client.read_through("\n\r\n"), "2\r\n1\n\r\n");
    host.sends("b://end_parts");
    assert_eq!(client.read_through("\r\n\r\n"), "0\r\n\r\n");

    client.write(request("GET", "/events/parts/2", "").as_bytes());
    let response = client.read_through("0\r\n\r\n");
    assert!(response.contains("content-type: text/event-stream"), "{response}");
    for event in ["data: 0\n\n", "data: 1\n\n", "event: end\ndata: \n\n"] {
        assert!(response.contains(event), "{response}");
    }
    assert_eq!(client.exchange("GET", "/chunks/note/7", "").text(), "7", "a whole answer is whole");
    let expect = RequestsStatus { asked: 3, answered: 3, ..Default::default() };
    assert_eq!(host.requests("http"), expect);
    host.stop();
}

#[test]
fn a_client_that_reads_nothing_holds_the_writer_back_and_one_that_leaves_ends_it() {
    let (host, mut client) = behind_http();
    client.write(request("GET", "/chunks/parts_by_thread/100000000", "").as_bytes());
    client.read_through("\r\n0\n");
    // What the socket's buffers do not take waits for the client.
    let used = host.runtime.pool.used();
    std::thread::sleep(Duration::from_millis(200));
    assert!(host.runtime.pool.used() <= used + (1 << 20));
    assert_eq!(host.requests("http").pending, 1);
    drop(client);
    let expect = RequestsStatus { asked: 1, cancelled: 1, ..Default::default() };
    eventually("it is cancelled", || host.requests("http") == expect);
    eventually("the writer was told", || refused(&host, "b") == ["gone no"]);
    // Before the first part as well.
    let mut client = Client::connect(host.address("http"));
    client.write(request("GET", "/chunks/open_parts", "").as_bytes());
    eventually("it is open", || host.requests("http").pending == 1);
    drop(client);
    eventually("it is cancelled", || host.requests("http").cancelled == 2);
    host.sends("b://end_parts");
    host.stop();
}
