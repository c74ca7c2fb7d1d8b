//! `GET /metrics`: what the host has counted, for a Prometheus server. Everything is read when it is asked for.

mod process;
mod text;

pub use text::Form;

use crate::{
    readings::{Distribution, Readings, RouteReading, SubsystemReadings},
    status::SubsystemStatus,
};
use std::collections::BTreeMap;
use text::{Kind, Page};

/// The bounds of times, as powers of two of nanoseconds: 256 ns, and from each to the next four times as much.
const TIMES: [u32; 15] = [8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36];
/// The bounds of sizes: one less than these powers of two.
const SIZES: [u32; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];

/// A subsystem with all that is known of it.
struct One<'r> {
    name: &'r str,
    status: &'r SubsystemStatus,
    readings: &'r SubsystemReadings,
}

/// The page of these readings.
pub fn page(readings: &Readings, form: Form) -> String {
    let nothing = SubsystemReadings::default();
    let all: Vec<One<'_>> = readings
        .status
        .subsystems
        .iter()
        .map(|(name, status)| {
            let readings = readings.subsystems.get(name).unwrap_or(&nothing);
            One { name, status, readings }
        })
        .collect();
    let mut page = Page::new(form);
    messages(&mut page, &all);
    requests(&mut page, &all);
    times(&mut page, &all);
    lives(&mut page, &all);
    host(&mut page, readings);
    plugins(&mut page, &all);
    process::write(&mut page, readings);
    page.end()
}

/// A family with a value of every subsystem.
fn each(
    page: &mut Page,
    all: &[One<'_>],
    (kind, name, help): (Kind, &str, &str),
    value: impl Fn(&One<'_>) -> u64,
) {
    page.family(kind, name, help);
    for one in all {
        page.value(&[("subsystem", one.name)], value(one));
    }
}

/// A family with values of every subsystem, each under a word.
fn each_of<'w, const N: usize>(
    page: &mut Page,
    all: &[One<'_>],
    (name, help, label): (&str, &str, &str),
    values: impl Fn(&One<'_>) -> [(&'w str, u64); N],
) {
    page.family(Kind::Counter, name, help);
    for one in all {
        for (word, value) in values(one) {
            page.value(&[("subsystem", one.name), (label, word)], value);
        }
    }
}

fn messages(page: &mut Page, all: &[One<'_>]) {
    let accepted = "Messages that were accepted for a subsystem.";
    each(page, all, (Kind::Counter, "mycelia_messages_accepted", accepted), |one| {
        one.status.ledger.accepted
    });
    let handled =
        "Messages that left the queue, by the pattern of their route and by how they ended.";
    page.family(Kind::Counter, "mycelia_messages_handled", handled);
    for one in all {
        for (route, ends) in &one.readings.routes {
            let RouteReading { handled, failed, expired, dead } = *ends;
            let ends =
                [("handled", handled), ("failed", failed), ("expired", expired), ("dead", dead)];
            for (outcome, count) in ends {
                let labels = [("subsystem", one.name), ("route", route), ("outcome", outcome)];
                page.value(&labels, count);
            }
        }
    }
    let dropped = "Messages that a full queue dropped, by the policy that did.";
    each_of(page, all, ("mycelia_messages_dropped", dropped, "policy"), |one| {
        let ledger = one.status.ledger;
        [("DropOldest", ledger.dropped_oldest), ("DropNewest", ledger.dropped_newest)]
    });
    let rejected = "Messages that a full queue gave back to their senders; they were not accepted.";
    each(page, all, (Kind::Counter, "mycelia_messages_rejected", rejected), |one| {
        one.status.ledger.rejected
    });
    let denied = "Messages that were refused for want of a scope; they were not accepted.";
    each(page, all, (Kind::Counter, "mycelia_permission_denied", denied), |one| {
        one.status.ledger.denied
    });
    let letters = "Messages that became dead letters, kept or not, by reason.";
    page.family(Kind::Counter, "mycelia_dead_letters", letters);
    for one in all {
        for (reason, count) in &one.readings.letters {
            page.value(&[("subsystem", one.name), ("reason", reason.word())], *count);
        }
    }
    let depth = "Messages that wait in a queue.";
    each(page, all, (Kind::Gauge, "mycelia_queue_depth", depth), |one| one.status.queue.depth);
    let capacity = "Messages that a queue has room for.";
    each(page, all, (Kind::Gauge, "mycelia_queue_capacity", capacity), |one| {
        one.status.queue.capacity
    });
    let flight = "Messages that were taken from a queue and have not ended yet.";
    each(page, all, (Kind::Gauge, "mycelia_messages_in_flight", flight), |one| {
        one.status.ledger.in_flight
    });
}

fn requests(page: &mut Page, all: &[One<'_>]) {
    let ended = "Requests that a subsystem asked, by how they ended.";
    each_of(page, all, ("mycelia_requests", ended, "outcome"), |one| {
        let requests = one.status.requests;
        [
            ("answered", requests.answered),
            ("failed", requests.failed),
            ("timed_out", requests.timed_out),
            ("cancelled", requests.cancelled),
        ]
    });
    let pending = "Requests that a subsystem asked and that have not ended.";
    each(page, all, (Kind::Gauge, "mycelia_requests_pending", pending), |one| {
        one.status.requests.pending
    });
    let published = "Events that a subsystem published.";
    each(page, all, (Kind::Counter, "mycelia_events_published", published), |one| {
        one.status.published
    });
}

fn times(page: &mut Page, all: &[One<'_>]) {
    type Of = fn(&SubsystemReadings) -> &crate::readings::Times;
    let families: [(&str, &str, Of); 4] = [
        (
            "mycelia_routing_seconds",
            "From a send until the message was in the queue, of at most 1,000 a second of each worker and of all own threads.",
            |one| &one.routing,
        ),
        (
            "mycelia_queue_wait_seconds",
            "In the queue, of the messages whose routing was timed.",
            |one| &one.wait,
        ),
        (
            "mycelia_handle_seconds",
            "In the handler: the mean of a batch, of at most 1,000 batches a second of each worker.",
            |one| &one.handle,
        ),
        (
            "mycelia_reload_pause_seconds",
            "In which a committed reload let nothing of a subsystem run.",
            |one| &one.pauses,
        ),
    ];
    for (name, help, of) in families {
        page.family(Kind::Histogram, name, help);
        for one in all {
            let times = of(one.readings);
            let bounds = TIMES.map(|bound| (seconds(1 << bound), times.below(bound)));
            page.histogram(one.name, &bounds, times.count(), seconds(times.sum));
        }
    }
    page.family(Kind::Histogram, "mycelia_batch_size", "Messages of a batch from the queue.");
    for one in all {
        let sizes: &Distribution<_> = &one.readings.batches;
        let bounds = SIZES.map(|bound| (((1u64 << bound) - 1) as f64, sizes.below(bound)));
        page.histogram(one.name, &bounds, sizes.count(), sizes.sum as f64);
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn lives(page: &mut Page, all: &[One<'_>]) {
    let up = "Whether a subsystem runs: 1, also while it is reloaded, or 0.";
    each(page, all, (Kind::Gauge, "mycelia_subsystem_up", up), |one| {
        one.status.phase.serves().into()
    });
    let generation = "The build that serves, from 1.";
    each(page, all, (Kind::Gauge, "mycelia_generation", generation), |one| {
        one.status.generation.into()
    });
    let reloads = "Reloads, by what came of them.";
    each_of(page, all, ("mycelia_reloads", reloads, "result"), |one| {
        let reloads = one.status.reloads;
        [
            ("committed", reloads.committed),
            ("refused", reloads.refused),
            ("rolled_back", reloads.rolled_back),
        ]
    });
    let restarts = "Restarts after a fault.";
    each(page, all, (Kind::Counter, "mycelia_restarts", restarts), |one| one.status.restarts);
    let hung = "Handlers that ran past `handler_limit`.";
    each(page, all, (Kind::Counter, "mycelia_handlers_hung", hung), |one| one.status.hung);
    let memory = "Bytes that the plugin's own heap holds; 0 where it has an allocator of its own.";
    each(page, all, (Kind::Gauge, "mycelia_plugin_memory_bytes", memory), |one| one.status.memory);
}

fn host(page: &mut Page, readings: &Readings) {
    let Readings { status, .. } = readings;
    let retained = "Builds that no longer serve and are not unloaded yet.";
    for (kind, name, help, value) in [
        (
            Kind::Counter,
            "mycelia_route_cache_hits",
            "Path texts that a worker's cache knew.",
            readings.cache_hits,
        ),
        (
            Kind::Counter,
            "mycelia_route_cache_misses",
            "Path texts for which the table was asked.",
            readings.cache_misses,
        ),
        (
            Kind::Gauge,
            "mycelia_generations_retained",
            retained,
            status.retained_generations.len() as u64,
        ),
        (Kind::Gauge, "mycelia_pool_bytes", "Bytes that the pool may lend.", readings.pool_bytes),
        (
            Kind::Gauge,
            "mycelia_pool_used_bytes",
            "Bytes of the pool that are lent.",
            readings.pool_used_bytes,
        ),
        (Kind::Gauge, "mycelia_workers", "Worker threads.", status.workers as u64),
        (
            Kind::Gauge,
            "mycelia_lost_threads",
            "Threads that are lost in subsystems.",
            status.lost_threads,
        ),
        (
            Kind::Gauge,
            "mycelia_dead_letters_kept",
            "Dead letters that are kept.",
            status.dead_letters.kept,
        ),
    ] {
        page.family(kind, name, help);
        page.value(&[], value);
    }
    page.family(Kind::Gauge, "mycelia_uptime_seconds", "Since the host started.");
    page.value(&[], status.uptime_s);
    page.family(Kind::Info, "mycelia_build", "The host's version.");
    page.value(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}

/// What plugins count by themselves, each a family of its own.
fn plugins(page: &mut Page, all: &[One<'_>]) {
    let mut families: BTreeMap<String, Vec<(&str, &str, u64)>> = BTreeMap::new();
    for one in all {
        for (name, value) in &one.status.metrics {
            families.entry(family_name(name)).or_default().push((one.name, name, *value));
        }
    }
    for (family, values) in families {
        page.family(Kind::Counter, &family, "Counted by plugins themselves.");
        for (subsystem, name, value) in values {
            page.value(&[("subsystem", subsystem), ("name", name)], value);
        }
    }
}

/// A plugin's name for what it counts, as Prometheus takes it; `name` tells two apart that become the same.
fn family_name(name: &str) -> String {
    let stem = name.strip_suffix("_total").unwrap_or(name);
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let stem: String = stem.chars().map(plain).collect();
    // The host's own family of this name.
    let stem = if stem == "memory_bytes" { "memory_bytes_" } else { &stem };
    format!("mycelia_plugin_{stem}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_plugins_become_names_of_families() {
        for (name, family) in [
            ("orders", "mycelia_plugin_orders"),
            ("orders_total", "mycelia_plugin_orders"),
            ("größe.2/x", "mycelia_plugin_gr__e_2_x"),
            ("memory_bytes", "mycelia_plugin_memory_bytes_"),
        ] {
            assert_eq!(family_name(name), family);
        }
    }
}
