//! The report of a load test: one page that needs nothing else, and is read offline.

use super::{
    Outcome, Percentiles, Sample,
    chart::{Along, Chart, Line},
    html::{drawn, escape, frame, pairs, row, section, table},
    verdict::show,
};

/// The page.
pub fn page(outcome: &Outcome) -> String {
    let early = if outcome.ended_early { "; ended early" } else { "" };
    let mut main = verdicts(outcome) + &latencies(outcome) + &messages(outcome);
    charts(outcome).iter().for_each(|(title, chart)| main += &drawn(title, chart));
    for part in [trials(outcome), events(outcome), ledgers(outcome), environment(outcome)] {
        main += &part;
    }
    let title = format!("Load test: {}", outcome.scenario);
    frame(&title, "", &format!("{}{early}", escape(&outcome.load)), &main)
}

fn charts(outcome: &Outcome) -> Vec<(&'static str, Chart)> {
    let over_time = |title, is_log, lines: Vec<Line>| {
        let events = outcome.events.iter().map(|event| event.at_s).collect();
        (title, Chart { name: String::from(title), lines, events, is_log, along: Along::Seconds })
    };
    let line = |name: &str, value: fn(&Sample) -> Option<f64>| Line {
        name: name.into(),
        points: outcome
            .samples
            .iter()
            .filter_map(|sample| Some((sample.at_s, value(sample)?)))
            .collect(),
    };
    let shares = Line { name: "latency".into(), points: outcome.distribution.clone() };
    vec![
        over_time(
            "Throughput, messages a second",
            false,
            vec![
                line("offered", |sample| Some(sample.offered)),
                line("handled", |sample| Some(sample.handled)),
                line("not handled", |sample| Some(sample.errors)),
            ],
        ),
        over_time(
            "Latency from the intended send until handled, ms",
            true,
            vec![
                line("p50", |sample| sample.latency_ms.map(|latency| latency.p50)),
                line("p95", |sample| sample.latency_ms.map(|latency| latency.p95)),
                line("p99", |sample| sample.latency_ms.map(|latency| latency.p99)),
                line("max", |sample| sample.latency_ms.map(|latency| latency.max)),
                line("generator late, max", |sample| Some(sample.late_ms)),
            ],
        ),
        (
            "Latency that a share of the messages did not exceed, ms",
            Chart {
                name: "Latency by share of the messages, ms".into(),
                lines: vec![shares],
                events: Vec::new(),
                is_log: true,
                along: Along::Share,
            },
        ),
        over_time(
            "Queue depth, messages",
            false,
            vec![
                line("in all queues", |sample| Some(sample.queued as f64)),
                line("in the deepest", |sample| Some(sample.deepest as f64)),
            ],
        ),
        over_time(
            "Resident memory, MB",
            false,
            vec![line("memory", |sample| Some(sample.memory as f64 / 1e6))],
        ),
        over_time(
            "CPU of the process, % of a core",
            false,
            vec![line("CPU", |sample| Some(sample.cpu))],
        ),
    ]
}

fn verdicts(outcome: &Outcome) -> String {
    let rows = outcome.verdicts.iter().map(|verdict| {
        let word = verdict.verdict.text();
        format!(
            "<tr><td>{}</td><td class=\"text word {word}\">{word}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"text\">{}</td></tr>\n",
            verdict.figure,
            escape(&verdict.found),
            verdict.target,
            verdict.acceptable,
            escape(&verdict.why)
        )
    });
    let rows: String = rows.collect();
    let head = "<th>Figure</th><th class=\"text\">Verdict</th><th>Found</th><th>Target</th><th>Acceptable</th><th class=\"text\">Because</th>";
    section("wide", "Verdicts", &table(head, &rows))
}

fn latencies(outcome: &Outcome) -> String {
    let percentiles = |name: &str, percentiles: Option<Percentiles>| {
        let Percentiles { p50, p95, p99, p99_9, max } = percentiles?;
        let cells = [p50, p95, p99, p99_9, max].map(|ms| format!("{ms:.3}"));
        Some(row(name, &cells))
    };
    let rows = [
        percentiles("from intended send until handled", outcome.latency_ms),
        percentiles("of it the generator's own delay", outcome.late_ms),
    ];
    let rows: String = rows.into_iter().flatten().collect();
    let head = "<th></th><th>p50</th><th>p95</th><th>p99</th><th>p99.9</th><th>max</th>";
    section("", "Latency, ms", &table(head, &rows))
}

fn messages(outcome: &Outcome) -> String {
    let messages = &outcome.messages;
    let mut rows = vec![
        ("offered".to_owned(), messages.offered.to_string()),
        ("handled".to_owned(), messages.handled.to_string()),
    ];
    rows.extend(
        messages.errors.iter().map(|(code, count)| (format!("ended as {code}"), count.to_string())),
    );
    rows.push(("messages a second".into(), format!("{:.0}", outcome.rate())));
    rows.push(("CPU, % of a core".into(), show(outcome.cpu)));
    rows.push(("of it the generator".into(), show(outcome.generator_cpu)));
    if let Some((low, high)) = outcome.memory_growth {
        rows.push(("memory growth, MB/h".into(), format!("{low:.1} to {high:.1}")));
    }
    section("", "Messages", &pairs(&rows))
}

fn trials(outcome: &Outcome) -> String {
    let rows = outcome.trials.iter().map(|trial| {
        let (word, held) = if trial.held { ("met", "held") } else { ("missed", "not held") };
        format!(
            "<tr><td>{}</td><td class=\"text word {word}\">{held}</td><td>{:.3}</td><td>{:.1}</td><td>{:.1}</td></tr>\n",
            trial.rate, trial.p99_ms, trial.offered, trial.handled
        )
    });
    let rows: String = rows.collect();
    let head = "<th>Messages a second</th><th class=\"text\">Was</th><th>p99, ms</th><th>% offered</th><th>% handled</th>";
    if rows.is_empty() { rows } else { section("", "What was tried", &table(head, &rows)) }
}

fn events(outcome: &Outcome) -> String {
    let rows = outcome.events.iter().map(|event| {
        let (who, what) = (escape(&event.happened.subsystem), escape(&event.happened.what));
        format!(
            "<tr><td>{:.1} s</td><td class=\"text\">{who}</td><td class=\"text\">{what}</td></tr>\n",
            event.at_s
        )
    });
    let rows: String = rows.collect();
    let head = "<th>At</th><th class=\"text\">Subsystem</th><th class=\"text\">What</th>";
    if rows.is_empty() { rows } else { section("", "Events", &table(head, &rows)) }
}

fn ledgers(outcome: &Outcome) -> String {
    let rows = outcome.ledgers.iter().map(|(name, ledger)| {
        let dropped = ledger.dropped_oldest + ledger.dropped_newest;
        let cells = [
            ledger.accepted,
            ledger.handled,
            ledger.failed,
            dropped,
            ledger.expired,
            ledger.dead,
            ledger.rejected,
            ledger.denied,
        ];
        row(name, &cells.map(|count| count.to_string()))
    });
    let rows: String = rows.collect();
    let head = "<th>Subsystem</th><th>Accepted</th><th>Handled</th><th>Failed</th><th>Dropped</th><th>Expired</th><th>Dead</th><th>Rejected</th><th>Denied</th>";
    section("wide", "Ledgers", &table(head, &rows))
}

fn environment(outcome: &Outcome) -> String {
    let environment = &outcome.environment;
    let build = if environment.is_debug_build { "debug: figures say little" } else { "release" };
    let began = environment.began_unix_s;
    let rows = [
        ("mycelia", environment.version.clone()),
        ("build", build.into()),
        ("processor", environment.processor.clone()),
        ("cores", environment.cores.to_string()),
        ("workers", environment.workers.to_string()),
        ("system's kernel", environment.kernel.clone()),
        ("load average before", show(environment.load_average)),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    // The reader's browser knows the zone and the form of times.
    let script = "<script>const t=document.querySelector('time');t.textContent=new Date(1000*t.dataset.s).toLocaleString()</script>";
    let time = format!("<p><time data-s=\"{began}\">{began} s after 1970</time></p>{script}");
    section("", "Environment", &(time + &pairs(&rows)))
}
