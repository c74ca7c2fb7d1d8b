//! What the plan's report consists of: its sections, the groups of criterion in each, and the instructions beside them.
//!
//! No figure stands here, and no limit: those come from files, and from the verdicts of the load test.

/// Runs whatever was not measured yet.
pub const RUN: &str = "cargo run --release -p mycelia-benches --bin report -- --run";
/// Runs everything, whatever was measured already.
pub const RUN_ALL: &str = "cargo run --release -p mycelia-benches --bin report -- --run all";
/// Measures allocations and resident memory.
pub const MEMORY: &str = "memory";

/// The command that measures a bench.
pub fn bench_command(bench: &str) -> String {
    format!("cargo bench -p mycelia-benches --bench {bench}")
}

/// One subject of the report.
pub struct Subject {
    /// Its name.
    pub title: &'static str,
    /// What one must know to read it.
    pub note: &'static str,
    /// What criterion measures of it.
    pub groups: &'static [Group],
    /// The title of a chart of those groups by their numbers; empty where there is none.
    pub chart: &'static str,
    /// How the names of instruction benches begin that belong here.
    pub counted: &'static [&'static str],
    /// What else belongs here.
    pub beside: Beside,
}

/// What a section has beside figures of criterion and instructions.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// How load tests went.
    Load,
    /// What messages allocate, and what memory grows by.
    Memory,
    /// How long single messages took in load tests.
    Latency,
}

/// A group of criterion.
pub struct Group {
    /// Its name, which begins with that of its bench.
    pub name: &'static str,
    /// What is measured.
    pub says: &'static str,
    /// What the plan asks of it.
    pub asked: Asked,
    /// Whether it is in the chart.
    pub is_drawn: bool,
}

/// What the plan asks of a figure.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// So many queue operations a second.
    QueueOperations,
    /// So many messages a second.
    Throughput,
    /// A path within this time, 95 times in 100.
    Routing,
}

impl Asked {
    /// The figure of the load test whose limits these are.
    pub fn figure(self) -> &'static str {
        match self {
            Asked::Nothing => "",
            Asked::QueueOperations => "queue operations",
            Asked::Throughput => "throughput",
            Asked::Routing => "latency p95",
        }
    }
}

impl Group {
    /// The bench that has it.
    pub fn bench(&self) -> &'static str {
        self.name.split('/').next().unwrap_or_default()
    }
}

const fn group(name: &'static str, says: &'static str, asked: Asked) -> Group {
    Group { name, says, asked, is_drawn: false }
}

const fn drawn(name: &'static str, says: &'static str, asked: Asked) -> Group {
    Group { name, says, asked, is_drawn: true }
}

/// In the order of the plan.
pub const SUBJECTS: &[Subject] = &[
    Subject {
        title: "Queue operations",
        note: "The bounded queue alone, on one thread: one message of 64 bytes in, out, or into a full queue. In the kernel `Block` answers as `Reject` does.",
        groups: &[
            drawn(
                "queue/enqueue",
                "into a queue with room, by policy and capacity",
                Asked::QueueOperations,
            ),
            drawn(
                "queue/dequeue",
                "out of it by batches of 64, by capacity",
                Asked::QueueOperations,
            ),
            group(
                "queue/full",
                "into a full queue, by policy and capacity",
                Asked::QueueOperations,
            ),
        ],
        chart: "A message into and out of a queue by its capacity, ns",
        counted: &[
            "stages::enqueue",
            "stages::claim",
            "stages::schedule",
            "stages::publish_outbox",
        ],
        beside: Beside::Nothing,
    },
    Subject {
        title: "Routing: plain",
        note: "From the text of a path without parameters to its recipient, by the number of routes.",
        groups: &[
            group("routing/parse", "the text alone", Asked::Routing),
            group(
                "routing/subsystem",
                "the subsystem's number, by how many there are",
                Asked::Routing,
            ),
            drawn("routing/resolve/literal", "parsed and matched, by routes", Asked::Routing),
            drawn("routing/cached/literal", "by the worker's cache, by routes", Asked::Routing),
            group("routing/hostile", "paths that somebody made up to cost much", Asked::Routing),
        ],
        chart: "A literal path by the number of routes, ns",
        counted: &["stages::parse"],
        beside: Beside::Nothing,
    },
    Subject {
        title: "Routing: with parameters",
        note: "Routes such as `users/{id}/orders/{order}`, and tails such as `files/{*rest}`.",
        groups: &[
            drawn("routing/resolve/parameters", "parsed and matched, by routes", Asked::Routing),
            drawn("routing/cached/parameters", "by the worker's cache, by routes", Asked::Routing),
            drawn("routing/resolve/tail", "a tail, parsed and matched, by routes", Asked::Routing),
            drawn(
                "routing/cached/tail",
                "a tail, by the worker's cache, by routes",
                Asked::Routing,
            ),
        ],
        chart: "A path with parameters by the number of routes, ns",
        counted: &["stages::resolve"],
        beside: Beside::Nothing,
    },
    Subject {
        title: "Routing: with scopes",
        note: "A kept recipient has its verdict with it, so a permission costs a hot message one comparison.",
        groups: &[group("routing/scope", "found and judged, by who sends", Asked::Routing)],
        chart: "",
        counted: &["stages::permit"],
        beside: Beside::Nothing,
    },
    Subject {
        title: "Messages: a single subsystem",
        note: "From a handler of one plugin through the whole host to a handler of another, on one thread.",
        groups: &[
            drawn(
                "dispatch/batch/outbox",
                "through the outbox, by the receiver's batch",
                Asked::Throughput,
            ),
            drawn(
                "dispatch/batch/singly",
                "one by one, by the receiver's batch",
                Asked::Throughput,
            ),
            group("dispatch/body", "by the bytes of the body", Asked::Throughput),
        ],
        chart: "A message by the receiver's batch, ns",
        counted: &[
            "journeys::",
            "stages::write",
            "stages::boundary",
            "stages::dispatch",
            "stages::outcome",
        ],
        beside: Beside::Nothing,
    },
    Subject {
        title: "Messages: several subsystems",
        note: "One sender and up to 1,000 receivers in turn, by kept recipients and through the outbox, on one thread.",
        groups: &[
            drawn(
                "dispatch/subsystems/runs of 64",
                "64 messages to each, by receivers",
                Asked::Throughput,
            ),
            drawn("dispatch/subsystems/runs of 1", "one to each, by receivers", Asked::Throughput),
        ],
        chart: "A message by the number of receivers, ns",
        counted: &[],
        beside: Beside::Nothing,
    },
    Subject {
        title: "Under load",
        note: "Load tests send at a fixed rate to a whole host with its workers; criterion's figures are of several threads that send without pause.",
        groups: &[
            drawn(
                "queue/producers",
                "against one that claims, by sending threads and capacity",
                Asked::QueueOperations,
            ),
            group(
                "journey/http",
                "an order over HTTP through four subsystems, by clients",
                Asked::Nothing,
            ),
        ],
        chart: "A message by the capacity, for 1 to 4 sending threads, ns",
        counted: &[],
        beside: Beside::Load,
    },
    Subject {
        title: "Memory",
        note: "What a message allocates once everything is warm, in the host and in both plugins, and what resident memory grows by.",
        groups: &[],
        chart: "",
        counted: &[],
        beside: Beside::Memory,
    },
    Subject {
        title: "Latency percentiles",
        note: "Load tests time every single message, from when it was due until its answer was there. Criterion does not: its percentiles are over samples, each of which is the mean of many iterations, so they show how the machine drifts and no single slow message.",
        groups: &[
            group("ask/threads", "a request and its reply, from another thread", Asked::Nothing),
            group(
                "ask",
                "a request and its reply on one thread; kept and by text in bursts of 1,000",
                Asked::Nothing,
            ),
            group(
                "journey/operator",
                "an order through four subsystems, one at a time",
                Asked::Nothing,
            ),
        ],
        chart: "",
        counted: &[],
        beside: Beside::Latency,
    },
];

/// The benches of all groups.
pub fn benches() -> Vec<&'static str> {
    let groups = SUBJECTS.iter().flat_map(|subject| subject.groups);
    let mut benches: Vec<&str> = groups.map(Group::bench).collect();
    benches.sort_unstable();
    benches.dedup();
    benches
}
