//! A config as RON with nothing left out: what `check --effective` prints.

use super::amounts::{show_duration, show_size};
use super::fields::{self, Group};
use super::{Config, Control, DeadLetters, Policy, Probation, Queue, Restart, Subsystem};
use std::time::Duration;

/// Column where the explanations stand, unless a value is longer.
const DOC_COLUMN: usize = 46;

pub(super) fn text(config: &Config) -> String {
    let mut page = Page { out: String::from("(\n"), depth: 1, has_docs: true };
    let group = &fields::CONFIG;
    page.field(group, "workers", &config.workers.to_string());
    page.group(group, "control", &fields::CONTROL, &control(&config.control));
    page.field(group, "data", &quoted(&config.data.to_string_lossy()));
    page.field(group, "pool", &size(config.pool));
    page.field(group, "ask_deadline", &duration(config.ask_deadline));
    page.field(group, "drain_timeout", &duration(config.drain_timeout));
    page.field(group, "spin", &duration(config.spin));
    page.group(group, "dead_letters", &fields::DEAD_LETTERS, &dead_letters(&config.dead_letters));
    page.open("subsystems: {", doc(group, "subsystems"));
    for (name, subsystem) in &config.subsystems {
        page.subsystem(name, subsystem);
        // Once is enough to read.
        page.has_docs = false;
    }
    page.close("},");
    page.out + ")\n"
}

type Pairs = Vec<(&'static str, String)>;

fn control(control: &Control) -> Pairs {
    vec![("listen", quoted(&control.listen.to_string())), ("grants", list(&control.grants))]
}

fn dead_letters(dead_letters: &DeadLetters) -> Pairs {
    let file = dead_letters.file.as_ref();
    vec![
        ("count", dead_letters.count.to_string()),
        ("bytes", size(dead_letters.bytes)),
        ("file", or_none(file, |file| quoted(&file.to_string_lossy()))),
    ]
}

fn queue(queue: &Queue) -> Pairs {
    vec![("capacity", queue.capacity.to_string()), ("policy", policy(queue.policy))]
}

fn restart(restart: &Restart) -> Pairs {
    vec![
        ("max", restart.max.to_string()),
        ("within", duration(restart.within)),
        ("backoff", duration(restart.backoff)),
    ]
}

fn probation(probation: &Probation) -> Pairs {
    vec![
        ("messages", probation.messages.to_string()),
        ("for", duration(probation.for_)),
        ("panics", probation.panics.to_string()),
    ]
}

fn policy(policy: Policy) -> String {
    match policy {
        Policy::Block(time) => format!("Block({})", duration(time)),
        other => format!("{other:?}"),
    }
}

fn duration(duration: Duration) -> String {
    quoted(&show_duration(duration))
}

fn size(bytes: u64) -> String {
    quoted(&show_size(bytes))
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

fn quoted(text: &str) -> String {
    ron::to_string(text).expect("text is always RON")
}

fn or_none<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "None".into(), show)
}

fn doc(group: &Group, name: &str) -> &'static str {
    group.field(name).expect("whatever is shown is a field").doc
}

struct Page {
    out: String,
    depth: usize,
    has_docs: bool,
}

impl Page {
    fn subsystem(&mut self, name: &str, subsystem: &Subsystem) {
        let group = &fields::SUBSYSTEM;
        self.open(&format!("{}: (", quoted(name)), "");
        self.field(group, "plugin", &quoted(&subsystem.plugin));
        self.group(group, "queue", &fields::QUEUE, &queue(&subsystem.queue));
        self.field(group, "batch", &subsystem.batch.to_string());
        self.field(group, "weight", &subsystem.weight.to_string());
        self.field(group, "required", &subsystem.required.to_string());
        self.field(group, "handler_limit", &duration(subsystem.handler_limit));
        self.field(group, "max_asks", &subsystem.max_asks.to_string());
        self.group(group, "restart", &fields::RESTART, &restart(&subsystem.restart));
        self.field(group, "snapshot", &or_none(subsystem.snapshot, duration));
        self.field(group, "on_restart", &format!("{:?}", subsystem.on_restart));
        self.field(group, "on_reload", &format!("{:?}", subsystem.on_reload));
        self.group(group, "probation", &fields::PROBATION, &probation(&subsystem.probation));
        self.field(group, "grants", &list(&subsystem.grants));
        self.field(group, "pool_quota", &size(subsystem.pool_quota));
        self.field(group, "memory", &or_none(subsystem.memory, size));
        self.field(group, "config", &subsystem.config.text);
        self.close("),");
    }

    fn group(&mut self, within: &Group, name: &str, group: &Group, pairs: &Pairs) {
        self.open(&format!("{name}: ("), doc(within, name));
        for (name, value) in pairs {
            self.field(group, name, value);
        }
        self.close("),");
    }

    fn field(&mut self, group: &Group, name: &str, value: &str) {
        self.line(&format!("{name}: {value},"), doc(group, name));
    }

    fn open(&mut self, text: &str, doc: &str) {
        self.line(text, doc);
        self.depth += 1;
    }

    fn close(&mut self, text: &str) {
        self.depth -= 1;
        self.line(text, "");
    }

    /// One field; of a value of many lines the last one carries the explanation.
    fn line(&mut self, text: &str, doc: &str) {
        self.out += &"    ".repeat(self.depth);
        self.out += text;
        if self.has_docs && !doc.is_empty() {
            let start = self.out.rfind('\n').map_or(0, |at| at + 1);
            let width = self.out[start..].chars().count();
            self.out += &" ".repeat(DOC_COLUMN.saturating_sub(width).max(2));
            self.out += &format!("// {doc}");
        }
        self.out.push('\n');
    }
}
