//! From RON text to a [`Config`]: which fields there are, their ranges and their defaults.
//!
//! Reading never stops: what is missing or wrong becomes the default, and what is wrong is also a mistake.

use super::amounts;
use super::fields;
use super::mistakes::{Complaint, Mistakes};
use super::value::{Fields, Value};
use super::words;
use super::{
    Aside, Config, Control, DeadLetters, Defaults, Fragment, OnReload, OnRestart, Places, Policy,
    Probation, Queue, Restart, Subsystem,
};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

const ZERO: Duration = Duration::ZERO;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The port that the command line tries when it is told none.
const CONTROL_PORT: u16 = 7070;

pub(super) fn config(document: Value<'_>, defaults: &Defaults, mistakes: &mut Mistakes) -> Config {
    let source = Aside(mistakes.source());
    let mut fields = Fields::new("", Some(document), &fields::CONFIG, mistakes);
    let (pool, pool_limit) = pool(&mut fields);
    Config {
        workers: fields.whole("workers", 1..=1024, defaults.workers),
        control: control(fields.group("control", &fields::CONTROL)),
        data: fields.read("data", data, defaults.data.clone()),
        pool,
        ask_deadline: fields.duration("ask_deadline", MILLISECOND..=HOUR, 5 * SECOND),
        drain_timeout: fields.duration("drain_timeout", ZERO..=HOUR, 10 * SECOND),
        spin: fields.duration("spin", ZERO..=SECOND, Duration::from_micros(50)),
        dead_letters: dead_letters(fields.group("dead_letters", &fields::DEAD_LETTERS)),
        subsystems: subsystems(&mut fields, pool_limit),
        source,
    }
}

/// The pool, and how large a quota may be: where the pool itself is wrong, no quota is blamed for it.
fn pool(fields: &mut Fields<'_, '_>) -> (u64, u64) {
    let mistakes = fields.mistakes().len();
    let pool = fields.size("pool", MIB..=TIB, 256 * MIB);
    let is_wrong = fields.mistakes().len() > mistakes;
    (pool, if is_wrong { TIB } else { pool })
}

fn data(value: Value<'_>) -> Result<PathBuf, Complaint> {
    words::text(value, "\"mycelia-data\"").map(PathBuf::from)
}

fn control(mut fields: Fields<'_, '_>) -> Control {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, CONTROL_PORT));
    Control {
        listen: fields.read("listen", words::address, listen),
        grants: fields.list("grants", words::scope_or_all).map_or_else(
            || vec!["*".into()],
            |grants| grants.into_iter().map(|(grant, _)| grant).collect(),
        ),
    }
}

fn dead_letters(mut fields: Fields<'_, '_>) -> DeadLetters {
    DeadLetters {
        count: fields.whole("count", 0..=10_000_000, 10_000),
        bytes: fields.size("bytes", 0..=TIB, 64 * MIB),
        file: fields.option("file", letters_file, None),
    }
}

fn letters_file(value: Value<'_>) -> Result<PathBuf, Complaint> {
    words::text(value, "\"dead.letters\"").map(PathBuf::from)
}

fn subsystems(fields: &mut Fields<'_, '_>, pool: u64) -> Vec<(String, Subsystem)> {
    let Some(value) = fields.take("subsystems") else { return Vec::new() };
    let Some(entries) = value.entries() else {
        let example = "{ \"kv\": (plugin: \"mycelia_kv\") }";
        let complaint =
            words::wrong(value, &format!("a map such as {example}"), format!("write {example}"));
        fields.complain("subsystems", value, complaint);
        return Vec::new();
    };
    let mut names = Names::default();
    let read = |(key, value)| {
        let name = names.add(key, fields.mistakes());
        let subsystem = subsystem(&name, key.span(), value, pool, fields.mistakes());
        (name, subsystem)
    };
    entries.into_iter().map(read).collect()
}

/// The names so far, and where each was given.
#[derive(Default)]
struct Names(HashMap<String, Range<usize>>);

impl Names {
    fn add(&mut self, key: Value<'_>, mistakes: &mut Mistakes) -> String {
        let name = match words::name(key) {
            Ok(name) => name,
            Err(complaint) => {
                mistakes.push(key.span(), complaint);
                return key.shown();
            }
        };
        match self.0.entry(name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(key.span());
            }
            Entry::Occupied(first) => {
                let message = format!("there are two subsystems `{name}`");
                let complaint =
                    Complaint::new(message, "given again", "give one of them another name");
                mistakes.push_pair(key.span(), complaint, (first.get().clone(), "given first"));
            }
        }
        name
    }
}

fn subsystem(
    name: &str,
    place: Range<usize>,
    value: Value<'_>,
    pool: u64,
    mistakes: &mut Mistakes,
) -> Subsystem {
    let mut fields = Fields::new("", Some(value), &fields::SUBSYSTEM, mistakes);
    let (plugin, plugin_place) = plugin(name, &place, &mut fields);
    let (grants, grant_places) =
        fields.list("grants", words::scope).unwrap_or_default().into_iter().unzip();
    Subsystem {
        plugin,
        queue: queue(fields.group("queue", &fields::QUEUE)),
        batch: fields.whole("batch", 1..=4096, 64),
        weight: fields.whole("weight", 1..=1000, 1),
        required: fields.read("required", words::flag, true),
        handler_limit: fields.duration("handler_limit", MILLISECOND..=HOUR, 5 * SECOND),
        max_asks: fields.whole("max_asks", 1..=65_535, 1024),
        restart: restart(fields.group("restart", &fields::RESTART)),
        snapshot: fields.option("snapshot", duration(10 * MILLISECOND..=DAY), Some(10 * SECOND)),
        on_restart: fields.read("on_restart", on_restart, OnRestart::Snapshot),
        on_reload: fields.read("on_reload", on_reload, OnReload::Keep),
        probation: probation(fields.group("probation", &fields::PROBATION)),
        grants,
        pool_quota: pool_quota(&mut fields, pool),
        memory: fields.option("memory", size(64 * KIB..=TIB), None),
        config: fragment(fields.take("config"), place.start),
        places: Aside(Places { name: place, plugin: plugin_place, grants: grant_places }),
    }
}

/// The plugin and its place, which is the name's if there is none.
fn plugin(name: &str, place: &Range<usize>, fields: &mut Fields<'_, '_>) -> (String, Range<usize>) {
    if let Some(value) = fields.take("plugin") {
        let read = |value| words::text(value, "\"mycelia_kv\"");
        return (fields.item("plugin", value, read).unwrap_or_default(), value.span());
    }
    if fields.is_group() {
        let message = format!("subsystem `{name}` has no plugin");
        let help = "add plugin: \"mycelia_kv\", a name in the plugin path or the path of a library";
        fields.mistakes().push(place.clone(), Complaint::new(message, "has no `plugin`", help));
    }
    (String::new(), place.clone())
}

fn queue(mut fields: Fields<'_, '_>) -> Queue {
    Queue {
        capacity: fields.whole("capacity", 1..=1 << 24, 1024),
        policy: fields.read("policy", words::policy, Policy::Reject),
    }
}

fn restart(mut fields: Fields<'_, '_>) -> Restart {
    Restart {
        max: fields.whole("max", 0..=1_000_000, 5),
        within: fields.duration("within", MILLISECOND..=DAY, 30 * SECOND),
        backoff: fields.duration("backoff", ZERO..=HOUR, 100 * MILLISECOND),
    }
}

fn on_restart(value: Value<'_>) -> Result<OnRestart, Complaint> {
    words::word(value, &[("Snapshot", OnRestart::Snapshot), ("Fresh", OnRestart::Fresh)])
}

fn on_reload(value: Value<'_>) -> Result<OnReload, Complaint> {
    let words = [
        ("Keep", OnReload::Keep),
        ("Reset", OnReload::Reset),
        ("RefuseIfLost", OnReload::RefuseIfLost),
    ];
    words::word(value, &words)
}

fn probation(mut fields: Fields<'_, '_>) -> Probation {
    Probation {
        messages: fields.whole("messages", 0..=1 << 32, 1000),
        for_: fields.duration("for", ZERO..=DAY, 10 * SECOND),
        panics: fields.whole("panics", 0..=1_000_000, 3),
    }
}

/// The quota, which is within the pool; the default is, too, when the pool is small.
fn pool_quota(fields: &mut Fields<'_, '_>, pool: u64) -> u64 {
    let within = |value: Value<'_>| {
        let quota = amounts::size(value, &(4 * KIB..=TIB))?;
        if quota <= pool {
            return Ok(quota);
        }
        let pool = amounts::show_size(pool);
        let message = format!("must be within `pool`, which is \"{pool}\", not {}", value.shown());
        Err(Complaint::new(
            message,
            "more than the pool",
            format!("write \"{pool}\" at most, or make `pool` larger"),
        ))
    };
    fields.read("pool_quota", within, pool.min(64 * MIB))
}

fn fragment(value: Option<Value<'_>>, otherwise: usize) -> Fragment {
    match value {
        Some(value) => Fragment { text: value.text.into(), offset: value.offset },
        None => Fragment { text: "()".into(), offset: otherwise },
    }
}

fn duration<'a>(
    range: RangeInclusive<Duration>,
) -> impl Fn(Value<'a>) -> Result<Duration, Complaint> {
    move |value| amounts::duration(value, &range)
}

fn size<'a>(range: RangeInclusive<u64>) -> impl Fn(Value<'a>) -> Result<u64, Complaint> {
    move |value| amounts::size(value, &range)
}

impl Fields<'_, '_> {
    fn whole<N>(&mut self, name: &'static str, range: RangeInclusive<N>, default: N) -> N
    where
        N: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        self.read(name, |value| amounts::whole(value, &range), default)
    }

    fn duration(
        &mut self,
        name: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.read(name, duration(range), default)
    }

    fn size(&mut self, name: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.read(name, size(range), default)
    }
}
