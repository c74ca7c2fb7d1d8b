//! The report of a load test: one page that needs nothing else, and is read offline.

use super::{
    Outcome, Percentiles, Sample,
    chart::{Chart, Line, class},
    verdict::show,
};
use std::fmt::Write;

const STYLE: &str = include_str!("report.css");

/// The page.
pub fn page(outcome: &Outcome) -> String {
    let name = escape(&outcome.scenario);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Load test: {name}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Load test: {name}</h1>\n<p>{}{}</p>\n<main>\n",
        escape(&outcome.load),
        if outcome.ended_early { "; ended early" } else { "" }
    );
    for part in [verdicts(outcome), latencies(outcome), messages(outcome)] {
        page += &part;
    }
    charts(outcome).iter().for_each(|(title, chart)| page += &drawn(title, chart));
    for part in [trials(outcome), events(outcome), ledgers(outcome), environment(outcome)] {
        page += &part;
    }
    page + "</main>\n</body>\n</html>\n"
}

fn charts(outcome: &Outcome) -> Vec<(&'static str, Chart)> {
    let over_time = |title, is_log, lines: Vec<Line>| {
        let events = outcome.events.iter().map(|event| event.at_s).collect();
        (title, Chart { name: title, lines, events, is_log, is_share: false })
    };
    let line = |name, value: fn(&Sample) -> Option<f64>| Line {
        name,
        points: outcome
            .samples
            .iter()
            .filter_map(|sample| Some((sample.at_s, value(sample)?)))
            .collect(),
    };
    let shares = Line { name: "latency", points: outcome.distribution.clone() };
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
                name: "Latency by share of the messages, ms",
                lines: vec![shares],
                events: Vec::new(),
                is_log: true,
                is_share: true,
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

fn drawn(title: &str, chart: &Chart) -> String {
    let body = chart.to_svg().unwrap_or_else(|| "<p>Nothing was measured.</p>".into());
    let mut legend = String::new();
    for (index, line) in chart.lines.iter().enumerate().filter(|_| chart.lines.len() > 1) {
        let _ = write!(legend, "<span><i class=\"{}\"></i>{}</span>", class(index), line.name);
    }
    if !chart.events.is_empty() {
        legend += "<span><i class=\"event\"></i>events</span>";
    }
    section("", title, &format!("<p class=\"legend\">{legend}</p>\n{body}"))
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
    let row = |name: &str, percentiles: Option<Percentiles>| {
        let Percentiles { p50, p95, p99, p99_9, max } = percentiles?;
        let cells = [p50, p95, p99, p99_9, max].map(|ms| format!("{ms:.3}"));
        Some(cells_of(name, &cells))
    };
    let rows = [
        row("from intended send until handled", outcome.latency_ms),
        row("of it the generator's own delay", outcome.late_ms),
    ];
    let rows: String = rows.into_iter().flatten().collect();
    let head = "<th></th><th>p50</th><th>p95</th><th>p99</th><th>p99.9</th><th>max</th>";
    section("", "Latency, ms", &table(head, &rows))
}

fn messages(outcome: &Outcome) -> String {
    let messages = &outcome.messages;
    let rate = messages.handled as f64 / outcome.took_s.max(1e-3);
    let mut rows = vec![
        ("offered".to_owned(), messages.offered.to_string()),
        ("handled".to_owned(), messages.handled.to_string()),
    ];
    rows.extend(
        messages.errors.iter().map(|(code, count)| (format!("ended as {code}"), count.to_string())),
    );
    rows.push(("messages a second".into(), format!("{rate:.0}")));
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
        cells_of(name, &cells.map(|count| count.to_string()))
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
    .map(|(name, value)| (name.to_owned(), escape(&value)));
    // The reader's browser knows the zone and the form of times.
    let script = "<script>const t=document.querySelector('time');t.textContent=new Date(1000*t.dataset.s).toLocaleString()</script>";
    let time = format!("<p><time data-s=\"{began}\">{began} s after 1970</time></p>{script}");
    section("", "Environment", &(time + &pairs(&rows)))
}

fn section(class: &str, title: &str, body: &str) -> String {
    format!("<section class=\"{class}\">\n<h2>{title}</h2>\n{body}\n</section>\n")
}

fn table(head: &str, rows: &str) -> String {
    format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>")
}

/// Names and texts that are HTML already.
fn pairs(rows: &[(String, String)]) -> String {
    let rows =
        rows.iter().map(|(name, value)| format!("<tr><td>{name}</td><td>{value}</td></tr>\n"));
    format!("<table>\n<tbody>\n{}</tbody>\n</table>", rows.collect::<String>())
}

fn cells_of(name: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    format!("<tr><td>{}</td>{cells}</tr>\n", escape(name))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_not_html() {
        assert_eq!(escape("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
    }
}
