//! The rows: what is measured beside what, and what is promised.

use crate::{
    BURST, across, actix,
    harness::{Case, Row, Run, Target, Than, case, reported, target},
    kameo, kernel, matchit, nats, queues, ractor, tokio_mpsc, us, wasm,
};

/// A row on one thread.
const fn row(
    name: &'static str,
    title: &'static str,
    cases: &'static [Case],
    targets: &'static [Target],
) -> Row {
    Row { name, title, cases, targets, crosses: false }
}

/// A row whose messages cross cores.
const fn crossing(
    name: &'static str,
    title: &'static str,
    cases: &'static [Case],
    targets: &'static [Target],
) -> Row {
    Row { name, title, cases, targets, crosses: true }
}

/// Against a figure of the original, in nanoseconds.
const fn original(text: &'static str, ours: &'static str, nanos: f64) -> Target {
    Target { text, ours, than: Than::Nanos(nanos), most: None }
}

const ACTIX: Case = case("actix do_send", BURST, actix::tell);
const TOKIO: Case = case("tokio task + mpsc", BURST, tokio_mpsc::tell::<1>);
/// What tokio can do at its best: up to 64 in one receive, and a sender that knows of the room.
const TOKIO_MANY: Case = case("tokio try_send + recv_many", BURST, tokio_mpsc::try_tell::<64>);
const RACTOR: Case = case("ractor cast", BURST, ractor::tell);
const KAMEO: Case = case("kameo tell", BURST, kameo::tell);
const OUTBOX: Case = case("kept recipient, outbox", BURST, us::outbox);
const SINGLY: Case = case("kept recipient, singly", BURST, us::singly);
const FASTER: &[&str] = &[ACTIX.name, TOKIO.name];

fn bare_ring<const RUN: usize>() -> Result<Run, String> {
    Ok(Box::new(across::ring(RUN)))
}

pub const ROWS: &[Row] = &[
    row(
        "kept",
        "a kept recipient, one sender, one plugin, one thread",
        &[OUTBOX, SINGLY, ACTIX, TOKIO, TOKIO_MANY, RACTOR, KAMEO],
        &[
            target("outbox: 1/5 of the faster of actix and tokio", OUTBOX.name, FASTER, 1.0 / 5.0),
            target("singly: 1/3 of the faster of actix and tokio", SINGLY.name, FASTER, 1.0 / 3.0),
            reported("outbox, of tokio by recv_many", OUTBOX.name, &[TOKIO_MANY.name]),
            target("outbox: 1/15 of ractor", OUTBOX.name, &[RACTOR.name], 1.0 / 15.0),
            target("outbox: 1/20 of kameo", OUTBOX.name, &[KAMEO.name], 1.0 / 20.0),
        ],
    ),
    row(
        "path",
        "by path text, hot, one thread",
        &[
            case("path text, outbox", BURST, us::text),
            case("path text, singly", BURST, us::text_singly),
            case("constant path", BURST, us::constant),
            OUTBOX,
            ACTIX,
            TOKIO,
        ],
        &[
            target(
                "text: 1/2 of the faster of actix and tokio",
                "path text, outbox",
                FASTER,
                1.0 / 2.0,
            ),
            target("constant: 1.15 of a kept recipient", "constant path", &[OUTBOX.name], 1.15),
            reported("text, singly", "path text, singly", FASTER),
        ],
    ),
    row(
        "typed",
        "typed handlers, one thread",
        &[
            case("four integers, postcard", BURST, us::typed),
            case("six fields, postcard", BURST, us::record),
            case("24 raw bytes", BURST, us::raw),
            case("24 bytes as Pod", BURST, us::outbox),
            ACTIX,
            TOKIO,
            RACTOR,
            KAMEO,
        ],
        &[
            target(
                "four integers: 1/2 of the fastest framework",
                "four integers, postcard",
                &[ACTIX.name, TOKIO.name, RACTOR.name, KAMEO.name],
                1.0 / 2.0,
            ),
            target("Pod: 1.1 of raw", "24 bytes as Pod", &["24 raw bytes"], 1.1),
            reported(
                "six fields, of raw: the rest is the codec's",
                "six fields, postcard",
                &["24 raw bytes"],
            ),
        ],
    ),
    crossing(
        "cross",
        "across two cores",
        &[
            case("outbox to the other core", across::BURST, us::stream_outbox),
            case("singly to the other core", across::BURST, us::stream_singly),
            case("bare ring by 64", across::BURST, bare_ring::<64>),
            case("bare ring singly", across::BURST, bare_ring::<1>),
            case("tokio mpsc, two threads", across::BURST, tokio_mpsc::threads),
        ],
        &[
            target(
                "by 64: 1.3 of the bare ring by 64",
                "outbox to the other core",
                &["bare ring by 64"],
                1.3,
            ),
            target(
                "by 64: 1/5 of tokio mpsc",
                "outbox to the other core",
                &["tokio mpsc, two threads"],
                1.0 / 5.0,
            ),
            target(
                "singly: 1/3 of tokio mpsc",
                "singly to the other core",
                &["tokio mpsc, two threads"],
                1.0 / 3.0,
            ),
            reported(
                "singly, of the bare ring singly",
                "singly to the other core",
                &["bare ring singly"],
            ),
        ],
    ),
    row(
        "many",
        "subsystems round robin, against one, one thread",
        &[
            case("1, runs of 64", us::ROUND, us::round::<1, 64>),
            case("50, runs of 64", us::ROUND, us::round::<50, 64>),
            case("1,000, runs of 64", us::ROUND, us::round::<1_000, 64>),
            case("10,000, runs of 64", us::ROUND, us::round::<10_000, 64>),
            case("1, single messages", us::ROUND, us::round::<1, 1>),
            case("50, single messages", us::ROUND, us::round::<50, 1>),
            case("1,000, single messages", us::ROUND, us::round::<1_000, 1>),
            case("10,000, single messages", us::ROUND, us::round::<10_000, 1>),
        ],
        &[
            target("50, runs of 64: 1.2", "50, runs of 64", &["1, runs of 64"], 1.2),
            target("1,000, runs of 64: 1.6", "1,000, runs of 64", &["1, runs of 64"], 1.6),
            target("10,000, runs of 64: 2.5", "10,000, runs of 64", &["1, runs of 64"], 2.5),
            target("50, single: 1.3", "50, single messages", &["1, single messages"], 1.3),
            target("1,000, single: 3", "1,000, single messages", &["1, single messages"], 3.0),
            target("10,000, single: 5", "10,000, single messages", &["1, single messages"], 5.0),
        ],
    ),
    crossing(
        "asks",
        "ask and reply across threads, one at a time",
        &[
            case("spinning, p50", crate::ASKS, us::asks::<50, true>),
            case("spinning, p99", crate::ASKS, us::asks::<99, true>),
            case("parked, p50", crate::ASKS, us::asks::<50, false>),
            case("parked, p99", crate::ASKS, us::asks::<99, false>),
            case("tokio, spinning, p50", crate::ASKS, tokio_mpsc::asks::<50, true>),
            case("tokio, spinning, p99", crate::ASKS, tokio_mpsc::asks::<99, true>),
            case("tokio, parked, p50", crate::ASKS, tokio_mpsc::asks::<50, false>),
            case("tokio, parked, p99", crate::ASKS, tokio_mpsc::asks::<99, false>),
        ],
        &[
            target(
                "spinning, p50: 1.25 of tokio mpsc + oneshot",
                "spinning, p50",
                &["tokio, spinning, p50"],
                1.25,
            ),
            reported("spinning, p99", "spinning, p99", &["tokio, spinning, p99"]),
            reported("parked, p50", "parked, p50", &["tokio, parked, p50"]),
            reported("parked, p99", "parked, p99", &["tokio, parked, p99"]),
        ],
    ),
    row(
        "full",
        "a full queue under each policy, against one with room, one thread",
        &[
            case("DropOldest, full", us::FLOOD, us::drop_oldest_full),
            case("DropOldest, room", us::FLOOD, us::drop_oldest_room),
            case("DropNewest, full", us::FLOOD, us::drop_newest_full),
            case("DropNewest, room", us::FLOOD, us::drop_newest_room),
            case("Reject, full", us::FLOOD, us::reject_full),
            case("Reject, room", us::FLOOD, us::reject_room),
            case("Block, full", us::FLOOD, us::block_full),
            case("Block, room", us::FLOOD, us::block_room),
            case("the queue alone, DropOldest, full", BURST, kernel::drop_oldest),
            case("ArrayQueue force_push", BURST, queues::force_push),
        ],
        &[
            target("DropOldest: 2", "DropOldest, full", &["DropOldest, room"], 2.0),
            target("DropNewest: 2", "DropNewest, full", &["DropNewest, room"], 2.0),
            target("Reject: 2", "Reject, full", &["Reject, room"], 2.0),
            target("Block: 2", "Block, full", &["Block, room"], 2.0),
            target(
                "the queue, DropOldest: 0.75 of force_push",
                "the queue alone, DropOldest, full",
                &["ArrayQueue force_push"],
                0.75,
            ),
        ],
    ),
    row(
        "whole",
        "the whole path against the bare multi-producer ring, one thread",
        &[
            OUTBOX,
            SINGLY,
            case("bare ring by 64", BURST, kernel::ring::<64>),
            case("bare ring singly", BURST, kernel::ring::<1>),
        ],
        &[
            target("singly: 2 of the ring singly", SINGLY.name, &["bare ring singly"], 2.0),
            target("outbox: 2.5 of the ring by 64", OUTBOX.name, &["bare ring by 64"], 2.5),
        ],
    ),
    row(
        "lookup",
        "lookup, against matchit on the same table",
        &[
            case("cached, 1,000 routes", BURST, kernel::cached),
            case("new parameters, 1,000 routes", BURST, kernel::new_paths),
            case("new parameters, no cache", BURST, kernel::uncached_paths),
            case("100,000 routes, no cache", BURST, kernel::hundred_thousand),
            case("matchit, cached paths", BURST, matchit::hot),
            case("matchit, new parameters", BURST, matchit::new_paths),
            case("matchit, 100,000 routes", BURST, matchit::hundred_thousand),
        ],
        &[
            target("cached: 1/3", "cached, 1,000 routes", &["matchit, cached paths"], 1.0 / 3.0),
            target(
                "a parameter always different: 2/3",
                "new parameters, 1,000 routes",
                &["matchit, new parameters"],
                2.0 / 3.0,
            ),
            reported(
                "the same without the cache",
                "new parameters, no cache",
                &["matchit, new parameters"],
            ),
            target(
                "100,000 routes: 1",
                "100,000 routes, no cache",
                &["matchit, 100,000 routes"],
                1.0,
            ),
        ],
    ),
    crossing(
        "two",
        "two sending subsystems on two cores into one",
        &[
            case("two senders by 64", across::BURST, us::two_outbox),
            case("one sender by 64", across::BURST, us::stream_outbox),
            case("two senders singly", across::BURST, us::two_singly),
            case("one sender singly", across::BURST, us::stream_singly),
        ],
        &[
            target("by 64: 1.1 of one sender", "two senders by 64", &["one sender by 64"], 1.1),
            reported("singly", "two senders singly", &["one sender singly"]),
        ],
    ),
    row(
        "parts",
        "what each part brings, one thread",
        &[
            case("outbox, batches of 64", BURST, us::outbox),
            case("outbox, batches of 1", BURST, us::unbatched),
            case("singly, batches of 1", BURST, us::unbatched_singly),
            case("a block of the pool for 256 bytes", BURST, kernel::block),
            case("malloc and free for 256 bytes", BURST, queues::heap),
            case("body of 24 bytes", BURST, us::large::<24>),
            case("body of 256 bytes", BURST, us::large::<256>),
            case("body of 4 KiB", BURST, us::large::<4096>),
            case("kept recipient", BURST, kernel::kept),
            case("path in the cache", BURST, kernel::cached),
            case("path resolved by the table", BURST, kernel::uncached_paths),
            case("by path text", BURST, us::text),
            case("ring of 100", BURST, kernel::holding::<100>),
            case("ring of 1,000", BURST, kernel::holding::<1_000>),
            case("ring of 10,000", BURST, kernel::holding::<10_000>),
            case("shifting array of 100", BURST, queues::shifting::<100>),
            case("shifting array of 1,000", BURST, queues::shifting::<1_000>),
            case("shifting array of 10,000", BURST, queues::shifting::<10_000>),
        ],
        &[
            reported(
                "batching at both ends (promised 0.7 to 0.8)",
                "outbox, batches of 64",
                &["singly, batches of 1"],
            ),
            reported(
                "batching at the recipient",
                "outbox, batches of 64",
                &["outbox, batches of 1"],
            ),
            reported(
                "pooling: the block (promised 0.8 to 0.9)",
                "a block of the pool for 256 bytes",
                &["malloc and free for 256 bytes"],
            ),
            reported("256 bytes of body, of 24", "body of 256 bytes", &["body of 24 bytes"]),
            reported("4 KiB of body, of 24 bytes", "body of 4 KiB", &["body of 24 bytes"]),
            reported(
                "caching: lookup (promised 0.9 to 0.95)",
                "path in the cache",
                &["path resolved by the table"],
            ),
            reported("keeping: lookup", "kept recipient", &["path in the cache"]),
            reported("keeping: whole message", "outbox, batches of 64", &["by path text"]),
            reported(
                "the ring of 100 (promised 1/10 to 1/100)",
                "ring of 100",
                &["shifting array of 100"],
            ),
            reported("the ring of 1,000", "ring of 1,000", &["shifting array of 1,000"]),
            reported("the ring of 10,000", "ring of 10,000", &["shifting array of 10,000"]),
        ],
    ),
    // Its figures were measured for this table: medians of version 1.6.8 on Node.js 20 on the same kind of machine, with
    // every handler really run; the ones that it publishes count sends that end in an error.
    row(
        "original",
        "the JavaScript original's workloads, against its figures (version 1.6.8)",
        &[
            case("queue pair, half full", BURST, kernel::half_full),
            case("full queue, drop-oldest", BURST, kernel::drop_oldest),
            case("echo, static path, a reply each", BURST, us::echo),
            case("1,000 paths with a parameter", BURST, us::users),
            case("paths all distinct", BURST, us::new_users),
            case("50 subsystems", us::ROUND, us::round::<50, 1>),
            case("queued, one subsystem", BURST, us::outbox),
            case("request across threads, p50", crate::ASKS, us::asks::<50, true>),
        ],
        &[
            original("queue pair: 251 M operations/s", "queue pair, half full", 2e9 / 251e6),
            original("full queue: 17.7 M/s", "full queue, drop-oldest", 1e9 / 17.7e6),
            original("echo: 93.7 k/s", "echo, static path, a reply each", 1e9 / 93.7e3),
            original("1,000 paths: 92.8 k/s", "1,000 paths with a parameter", 1e9 / 92.8e3),
            original("distinct paths: 61.5 k/s", "paths all distinct", 1e9 / 61.5e3),
            original("50 subsystems: 123 k/s", "50 subsystems", 1e9 / 123e3),
            original("queued, by hand: 133 k/s", "queued, one subsystem", 1e9 / 133e3),
            original("queued, its scheduler: 166/s", "queued, one subsystem", 1e9 / 166.0),
            original("one-shot request: 10.8 k/s", "request across threads, p50", 1e9 / 10.8e3),
        ],
    ),
    row(
        "instead",
        "what one would use instead, one thread and loopback",
        &[
            OUTBOX,
            SINGLY,
            case("wasmtime call", BURST, wasm::call::<1>),
            case("wasmtime call by 64", BURST, wasm::call::<64>),
            case("NATS publish to subscriber", BURST, nats::publish),
        ],
        &[
            reported("singly, of a wasmtime call", SINGLY.name, &["wasmtime call"]),
            reported("outbox, of a wasmtime call by 64", OUTBOX.name, &["wasmtime call by 64"]),
            reported("outbox, of NATS", OUTBOX.name, &["NATS publish to subscriber"]),
        ],
    ),
    row(
        "queues",
        "queues alone, 256 in and out, one thread",
        &[
            case("our ring", queues::BURST, queues::ring),
            case("rtrb (single producer)", queues::BURST, queues::rtrb),
            case("ArrayQueue", queues::BURST, queues::array_queue),
            case("crossbeam-channel", queues::BURST, queues::crossbeam),
            case("flume", queues::BURST, queues::flume),
            case("kanal", queues::BURST, queues::kanal),
            case("tokio mpsc", queues::BURST, queues::tokio),
        ],
        &[
            reported("of rtrb", "our ring", &["rtrb (single producer)"]),
            reported("of ArrayQueue", "our ring", &["ArrayQueue"]),
            reported("of crossbeam-channel", "our ring", &["crossbeam-channel"]),
            reported("of flume", "our ring", &["flume"]),
            reported("of kanal", "our ring", &["kanal"]),
            reported("of tokio mpsc", "our ring", &["tokio mpsc"]),
        ],
    ),
];

/// A case that is counted under callgrind, and the most instructions a message; peers have none.
pub struct Counted {
    pub case: Case,
    pub most: Option<f64>,
}

const fn counted(
    name: &'static str,
    make: fn() -> Result<Run, String>,
    most: Option<f64>,
) -> Counted {
    Counted { case: case(name, BURST, make), most }
}

pub const COUNTED: &[Counted] = &[
    counted("kept recipient, outbox", us::outbox, Some(100.0)),
    counted("kept recipient, singly", us::singly, Some(130.0)),
    counted("path text", us::text, Some(190.0)),
    counted("one lone message", us::lone, Some(260.0)),
    counted("ask and reply", us::ask, Some(280.0)),
    counted("actix do_send", actix::tell, None),
    counted("tokio send, recv", tokio_mpsc::tell::<1>, None),
    counted("tokio send, recv_many", tokio_mpsc::tell::<64>, None),
    counted("tokio try_send, recv", tokio_mpsc::try_tell::<1>, None),
    counted("tokio try_send, recv_many", tokio_mpsc::try_tell::<64>, None),
    counted("tokio mpsc + oneshot, ask", tokio_mpsc::ask, None),
];
