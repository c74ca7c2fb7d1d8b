//! `GET /metrics`: read by a parser of Prometheus' forms, and compared with the status, the docs and the Grafana file.

use crate::{
    client::Client,
    process::serve,
    shelf::{faulty, reloading},
    support::{Host, eventually, host},
};
use mycelia::{
    metrics::{Form, page},
    operator::Operator,
    status::SubsystemStatus,
};
use openmetrics_parser::{openmetrics::parse_openmetrics, prometheus::parse_prometheus};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

/// Samples by name and labels.
type Samples = BTreeMap<String, f64>;

fn scrape(host: &Host) -> Samples {
    samples(&page(&host.runtime.readings(), Form::Prometheus))
}

fn samples(page: &str) -> Samples {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    });
    let (count, samples) =
        (page.lines().filter(|line| !line.starts_with('#')).count(), parsed.collect::<Samples>());
    assert_eq!(samples.len(), count, "a series is there twice");
    samples
}

fn value(samples: &Samples, series: &str) -> u64 {
    *samples.get(series).unwrap_or_else(|| panic!("no {series} in {samples:#?}")) as u64
}

/// The sum of all series of this beginning.
fn sum(samples: &Samples, beginning: &str, holds: &str) -> u64 {
    let meant = samples
        .iter()
        .filter(|(series, _)| series.starts_with(beginning) && series.contains(holds));
    meant.map(|(_, value)| *value as u64).sum()
}

fn agrees(samples: &Samples, name: &str, status: &SubsystemStatus) {
    let one = |family: &str| value(samples, &format!("mycelia_{family}{{subsystem=\"{name}\"}}"));
    let ledger = status.ledger;
    assert_eq!(one("messages_accepted_total"), ledger.accepted);
    assert_eq!(one("messages_rejected_total"), ledger.rejected);
    assert_eq!(one("permission_denied_total"), ledger.denied);
    assert_eq!(one("queue_depth"), ledger.queued);
    assert_eq!(one("restarts_total"), status.restarts);
    assert_eq!(one("generation"), u64::from(status.generation));
    let subsystem = format!("subsystem=\"{name}\"");
    let ended = |outcome: &str| {
        let beginning = format!("mycelia_messages_handled_total{{{subsystem}");
        sum(samples, &beginning, &format!("outcome=\"{outcome}\""))
    };
    let ends = ["handled", "failed", "expired", "dead"].map(ended);
    assert_eq!(ends, [ledger.handled, ledger.failed, ledger.expired, ledger.dead]);
    let dropped = |policy: &str| {
        value(
            samples,
            &format!("mycelia_messages_dropped_total{{{subsystem},policy=\"{policy}\"}}"),
        )
    };
    assert_eq!(dropped("DropOldest"), ledger.dropped_oldest);
    assert_eq!(dropped("DropNewest"), ledger.dropped_newest);
    let reloads = |result: &str| {
        value(samples, &format!("mycelia_reloads_total{{{subsystem},result=\"{result}\"}}"))
    };
    assert_eq!(reloads("committed"), status.reloads.committed);
    assert_eq!(reloads("refused"), status.reloads.refused);
}

/// Sends what ends in every way that a message can.
fn trouble(host: &Host) {
    host.block("f", "gate");
    let late = host.ask_within("f://note/1", "", Some(Duration::from_millis(100)));
    late.recv().unwrap().unwrap_err();
    host.sends("f://note/2");
    host.sends("f://fail/failed");
    host.sends("f://fail/conflict");
    host.sends("f://panic");
    host.sends("f://note/3");
    host.open("f", "gate");
    eventually("it has restarted", || host.status_of("f").restarts == 1);
    host.rest("f");
}

#[test]
fn figures_agree_with_the_status_to_the_message() {
    let host = host(r#""f": (plugin: "mycelia_faulty"), "echo": (plugin: "mycelia_echo")"#);
    let before = scrape(&host);
    // Series are there before anything happens.
    assert_eq!(sum(&before, "mycelia_dead_letters_total", ""), 0);
    assert_eq!(
        value(
            &before,
            "mycelia_messages_handled_total{subsystem=\"echo\",route=\"\",outcome=\"dead\"}"
        ),
        0
    );
    trouble(&host);
    (0..500).for_each(|_| host.sends("f://note/4"));
    (0..50).for_each(|_| drop(host.ask("echo://", "x").unwrap()));
    host.rest("f");
    host.rest("echo");
    let samples = scrape(&host);
    for name in ["f", "echo"] {
        agrees(&samples, name, &host.status_of(name));
    }
    let f = host.ledger("f");
    assert_eq!((f.failed, f.expired, f.dead), (1, 1, 1));
    let handled = |route: &str, outcome: &str| {
        value(
            &samples,
            &format!(
                "mycelia_messages_handled_total{{subsystem=\"f\",route=\"{route}\",outcome=\"{outcome}\"}}"
            ),
        )
    };
    assert_eq!(handled("note/{number}", "handled"), 502);
    assert_eq!(handled("note/{number}", "expired"), 1);
    assert_eq!(handled("fail/{code}", "failed"), 1);
    assert_eq!(handled("fail/{code}", "handled"), 1);
    assert_eq!(handled("panic", "dead"), 1);
    for reason in ["expired", "failed", "panicked"] {
        let series = format!("mycelia_dead_letters_total{{subsystem=\"f\",reason=\"{reason}\"}}");
        assert_eq!(value(&samples, &series), 1);
    }
    let in_batches = value(&samples, "mycelia_batch_size_sum{subsystem=\"echo\"}");
    assert_eq!(in_batches, host.ledger("echo").handled);
    for family in ["routing", "queue_wait", "handle"] {
        let count = format!("mycelia_{family}_seconds_count{{subsystem=\"f\"}}");
        assert!(value(&samples, &count) > 0, "{family} was never sampled");
        let all = format!("mycelia_{family}_seconds_bucket{{subsystem=\"f\",le=\"+Inf\"}}");
        assert_eq!(value(&samples, &count), value(&samples, &all));
    }
    host.stop();
}

/// What waited in a queue is told to have waited as long.
#[test]
fn waits_are_as_long_as_they_were() {
    let host = host(r#""f": (plugin: "mycelia_faulty")"#);
    host.block("f", "gate");
    std::thread::sleep(Duration::from_millis(5));
    host.sends("f://note/1");
    std::thread::sleep(Duration::from_millis(300));
    host.open("f", "gate");
    host.rest("f");
    let readings = host.runtime.readings();
    let wait = &readings.subsystems["f"].wait;
    let longest = Duration::from_nanos(wait.quantile(1.0).unwrap());
    assert!(longest >= Duration::from_millis(300), "{longest:?}");
    let handle = &readings.subsystems["f"].handle;
    let longest = Duration::from_nanos(handle.quantile(1.0).unwrap());
    assert!(longest >= Duration::from_millis(300), "{longest:?}");
    host.stop();
}

#[test]
fn nothing_goes_backwards_over_a_reload() {
    let reloading = reloading("", "");
    let host = &reloading.host;
    let mut before = scrape(host);
    for build in 2..5 {
        (0..200).for_each(|_| host.sends("f://note/1"));
        reloading.reload(&faulty(&format!("good {build}")));
        (0..200).for_each(|_| host.sends("f://note/2"));
        host.rest("f");
        let after = scrape(host);
        for (series, value) in &before {
            let name = series.split('{').next().unwrap();
            let only_grows =
                ["_total", "_count", "_bucket", "_sum"].iter().any(|end| name.ends_with(end));
            let now = after.get(series).unwrap_or_else(|| panic!("{series} is gone"));
            assert!(!only_grows || now >= value, "{series} was {value} and is {now}");
        }
        agrees(&after, "f", &host.status_of("f"));
        before = after;
    }
    assert_eq!(value(&before, "mycelia_reload_pause_seconds_count{subsystem=\"f\"}"), 3);
    assert_eq!(value(&before, "mycelia_generation{subsystem=\"f\"}"), 4);
}

#[test]
fn both_forms_are_valid_and_each_is_what_its_header_says() {
    let served =
        serve(r#""echo": (plugin: "mycelia_echo"), "counter": (plugin: "mycelia_counter")"#);
    let get = |accept: &str| {
        let mut client = Client::connect(served.control());
        let head = "GET /metrics HTTP/1.1\r\nhost: localhost:PORT\r\naccept: ACCEPT\r\n\r\n";
        let port = served.control().port().to_string();
        client.write(head.replace("PORT", &port).replace("ACCEPT", accept).as_bytes());
        let response = client.read().unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        (response.head.clone(), response.text().to_owned())
    };
    let (head, plain) = get("*/*");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let (head, open) = get("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    let families = parse_prometheus(&plain).unwrap_or_else(|error| panic!("{error:?}\n{plain}"));
    let others = parse_openmetrics(&open).unwrap_or_else(|error| panic!("{error:?}\n{open}"));
    assert!(families.families.len() > 30, "{}", families.families.len());
    assert_eq!(families.families.len(), others.families.len());
    // A page of the one form is none of the other: the parsers do tell them apart.
    assert!(parse_openmetrics(&plain).is_err());
}

/// The names of the families of a page, as samples have them.
fn names(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn docs(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file)).unwrap()
}

/// The words of a text that begin like a metric.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let words = words.filter(|word| word.starts_with("mycelia_") || word.starts_with("process_"));
    words.map(str::to_owned).collect()
}

#[test]
fn the_docs_and_the_grafana_file_name_what_there_is() {
    let host = host(r#""echo": (plugin: "mycelia_echo")"#);
    let names = names(&page(&host.runtime.readings(), Form::Prometheus));
    host.stop();
    let described = mentioned(&docs("metrics.md"));
    for name in &names {
        assert!(described.contains(name), "metrics.md does not tell of {name}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&docs("grafana.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);
    for name in mentioned(&dashboard.to_string()) {
        let stem = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        assert!(
            names.contains(&name) || stem.is_some_and(|stem| names.contains(stem)),
            "there is no {name}"
        );
    }
}
