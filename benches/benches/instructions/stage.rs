//! Stages of the hot path, each alone: a thousand times, or for a thousand messages.
//!
//! A function that is counted has no closures and calls none of this file, since one that is not inlined there would stop
//! the count as it is entered.

use crate::{
    iai_callgrind::{self, library_benchmark, library_benchmark_group},
    plugin::Plugin,
};
use mycelia::abi::{Magazine, Message, Pool};
use mycelia_kernel::{
    asks::{AskId, Asks, End},
    cache::{CacheLimits, PathCache},
    ids::SubsystemId,
    path::Path,
    pattern::Pattern,
    queue::{Begin, Dropped, Lane, Leave, Limits, Policy, Queue, Wake},
    ready::Ready,
    recipient::Recipient,
    scope::{Grants, Scope},
    table::{Reach, Route, Table},
};
use mycelia_plugin::abi::{Envelope, flags};
use std::hint::black_box;

const MESSAGES: usize = 1_000;
const BATCH: usize = 64;
const PATH: &str = "stock://items/17/reserve";
const SENDER: SubsystemId = SubsystemId(2);

const MESSAGE: Message = Message(Envelope::EMPTY);

/// A table with a receiver and a sender, and a cache that has seen one path.
struct Routing {
    table: Table,
    cache: PathCache,
    /// Never seen.
    paths: Vec<String>,
}

fn routing() -> Routing {
    let route = |pattern| Route {
        pattern: Pattern::parse(pattern).expect("a pattern"),
        scope: Some("write".into()),
        reach: Reach::Anyone,
        body: 0,
        reply: 0,
    };
    let patterns = ["items", "items/{id}", "items/{id}/reserve", "items/{id}/release"];
    let grants = Grants::parse(["stock:write"]).expect("a scope");
    let mut edit = Table::empty().edit();
    let routes = patterns.map(route).to_vec();
    edit.subsystem("stock", Grants::none(), routes).expect("a new name");
    let sender = edit.subsystem("orders", grants, Vec::new()).expect("a new name");
    assert_eq!(sender, SENDER, "it is the second one");
    let table = edit.finish();
    let mut cache = PathCache::new(CacheLimits { entries: 4096, bytes: 1 << 20 }, 1);
    cache.resolve(&table, SENDER, PATH).expect("the sender may");
    let paths = (0..MESSAGES).map(|id| format!("stock://items/{id}/release")).collect();
    Routing { table, cache, paths }
}

#[library_benchmark]
fn parse() {
    for _ in 0..MESSAGES {
        let _ = black_box(Path::parse(black_box(PATH)));
    }
}

#[library_benchmark(setup = routing)]
fn resolve_hit(mut routing: Routing) -> Routing {
    for _ in 0..MESSAGES {
        let _ = black_box(routing.cache.resolve(&routing.table, SENDER, black_box(PATH)));
    }
    routing
}

// With the entry that is made for the next time.
#[library_benchmark(setup = routing)]
fn resolve_miss(mut routing: Routing) -> Routing {
    for path in &routing.paths {
        let _ = black_box(routing.cache.resolve(&routing.table, SENDER, path));
    }
    routing
}

fn verdict() -> (Grants, Scope) {
    let grants = ["kv:read", "kv:write", "stock:read", "stock:write"];
    (Grants::parse(grants).expect("scopes"), Scope::parse("stock:write").expect("a scope"))
}

#[library_benchmark(setup = verdict)]
fn permit_by_scope((grants, scope): (Grants, Scope)) -> (Grants, Scope) {
    for _ in 0..MESSAGES {
        black_box(black_box(&grants).allows(black_box(&scope)));
    }
    (grants, scope)
}

fn kept() -> (Recipient, Table) {
    let Routing { table, .. } = routing();
    let path = Path::parse(PATH).expect("a path");
    let recipient = table.resolve(SENDER, &path).expect("the sender may").to_recipient();
    (recipient, table)
}

#[library_benchmark(setup = kept)]
fn permit_kept((recipient, table): (Recipient, Table)) -> (Recipient, Table) {
    for _ in 0..MESSAGES {
        black_box(black_box(&recipient).is_current(black_box(&table).version()));
    }
    (recipient, table)
}

fn pool(body: usize) -> (Pool, Vec<u8>) {
    let pool = Pool::new(1 << 30, [1 << 30; 3]).expect("the system maps memory");
    // Both its size class and its memory are warm.
    let block = pool.lend(SENDER, body.max(1)).expect("there is room");
    pool.free(block);
    (pool, vec![7; body])
}

// In the envelope, and in a block that is freed again.
#[library_benchmark]
#[bench::inline(setup = pool, args = (24))]
#[bench::block(setup = pool, args = (1024))]
fn write((pool, body): (Pool, Vec<u8>)) -> (Pool, Vec<u8>) {
    for _ in 0..MESSAGES {
        let mut message = black_box(MESSAGE);
        let _ = black_box(pool.fill(&mut message, SENDER, &[], black_box(&body)));
        pool.release(black_box(&message));
    }
    (pool, body)
}

fn at_hand(body: usize) -> (Pool, Magazine, Vec<u8>) {
    let (pool, body) = pool(body);
    let mut magazine = Magazine::new();
    let block = pool.lend_by(&mut magazine, SENDER, body.len()).expect("there is room");
    pool.free(block);
    (pool, magazine, body)
}

// In a block that the thread has at hand, as a worker does.
#[library_benchmark]
#[bench::block(setup = at_hand, args = (1024))]
fn write_at_hand(
    (pool, mut magazine, body): (Pool, Magazine, Vec<u8>),
) -> (Pool, Magazine, Vec<u8>) {
    for _ in 0..MESSAGES {
        let mut message = black_box(MESSAGE);
        let _ = black_box(pool.fill_by(&mut magazine, &mut message, SENDER, black_box(&body)));
        pool.release_by(&mut magazine, [&black_box(&message).0]);
    }
    (pool, magazine, body)
}

fn queue(policy: Policy, queued: usize) -> Queue<Message> {
    let limits = Limits { policy, capacity: 1024, batch: BATCH, outcomes: 1024, timers: 1 };
    let queue = Queue::new(limits);
    for _ in 0..queued {
        let sent = queue.try_send(&MESSAGE);
        assert!(sent.is_some(), "there is room");
    }
    queue
}

/// Awake, so that no sender wakes it.
fn with_room(policy: Policy) -> Queue<Message> {
    let queue = queue(policy, 1);
    queue.claim(Lane::Queue, 1, &mut Vec::with_capacity(1));
    queue
}

fn full(policy: Policy) -> Queue<Message> {
    queue(policy, 1024)
}

fn forget(_: Message, _: Dropped) {}

#[library_benchmark]
#[bench::drop_oldest(setup = with_room, args = (Policy::DropOldest))]
#[bench::drop_newest(setup = with_room, args = (Policy::DropNewest))]
#[bench::reject(setup = with_room, args = (Policy::Reject))]
#[bench::block(setup = with_room, args = (Policy::Block(1)))]
#[bench::drop_oldest_full(setup = full, args = (Policy::DropOldest))]
#[bench::drop_newest_full(setup = full, args = (Policy::DropNewest))]
#[bench::reject_full(setup = full, args = (Policy::Reject))]
#[bench::block_full(setup = full, args = (Policy::Block(1)))]
fn enqueue(queue: Queue<Message>) -> Queue<Message> {
    let message = black_box(MESSAGE);
    for _ in 0..MESSAGES {
        let _ = black_box(queue.send(message, &mut forget));
    }
    queue
}

// What the host publishes of an outbox for one queue.
#[library_benchmark]
#[bench::drop_oldest(setup = with_room, args = (Policy::DropOldest))]
#[bench::drop_newest(setup = with_room, args = (Policy::DropNewest))]
#[bench::drop_oldest_full(setup = full, args = (Policy::DropOldest))]
fn publish_outbox(queue: Queue<Message>) -> Queue<Message> {
    let outbox = black_box([MESSAGE; BATCH]);
    for _ in 0..MESSAGES / BATCH {
        let _ = black_box(queue.send_many(&outbox, &mut forget));
    }
    let _ = black_box(queue.send_many(&outbox[..MESSAGES % BATCH], &mut forget));
    queue
}

fn idle() -> (Ready, Queue<Message>) {
    (Ready::new(8), queue(Policy::Reject, 0))
}

// Woken, listed, taken, begun and left again; a system bit stands for the message.
#[library_benchmark(setup = idle)]
fn schedule((ready, queue): (Ready, Queue<Message>)) -> (Ready, Queue<Message>) {
    for _ in 0..MESSAGES {
        if queue.raise(mycelia_kernel::queue::HEALTH) == Wake::Ready {
            let _ = black_box(ready.push(SENDER));
        }
        let woken = ready.pop();
        assert!(woken.is_some() && queue.begin() == Begin::Run);
        black_box(queue.take_bits());
        assert!(queue.leave() == Leave::Idle);
    }
    (ready, queue)
}

fn claimable(batch: usize) -> (Queue<Message>, Vec<Message>, usize) {
    (queue(Policy::Reject, MESSAGES), Vec::with_capacity(BATCH), batch)
}

#[library_benchmark(setup = claimable)]
#[bench::batch_1(1)]
#[bench::batch_64(64)]
fn claim(
    (queue, mut batch, length): (Queue<Message>, Vec<Message>, usize),
) -> (Queue<Message>, Vec<Message>) {
    while queue.claim(Lane::Queue, length, &mut batch) > 0 {
        batch.clear();
    }
    (queue, batch)
}

type Requests = (Asks<u64>, Queue<Message>, Vec<AskId>, Vec<Message>);

fn requests() -> Requests {
    let asks = Asks::new(SENDER, 1024);
    let begin = |_| asks.begin(1, 7).expect("a slot is free");
    let ids = (0..MESSAGES).map(begin).collect();
    (asks, with_room(Policy::Reject), ids, Vec::with_capacity(1))
}

// The end of a request: won, delivered and claimed one by one, its slot free again.
#[library_benchmark(setup = requests)]
fn outcome((asks, queue, ids, mut batch): Requests) -> Requests {
    for id in &ids {
        if let Some(target) = asks.end(*id, End::Answered) {
            let outcome = Message(Envelope { trace: target, ..MESSAGE.0 });
            let _ = black_box(queue.deliver(outcome));
        }
        queue.claim(Lane::Outcomes, 1, &mut batch);
        batch.clear();
        black_box(asks.release(*id));
    }
    (asks, queue, ids, batch)
}

fn boundary_of(length: usize) -> (Plugin, usize) {
    (Plugin::nothing(length), MESSAGES / length)
}

fn check((plugin, _): (Plugin, usize)) {
    plugin.check();
}

// Into the library and back, with a handler that does nothing; the sizes divide a thousand.
#[library_benchmark(setup = boundary_of, teardown = check)]
#[bench::batch_1(1)]
#[bench::batch_8(8)]
#[bench::batch_50(50)]
#[bench::batch_250(250)]
fn boundary((mut plugin, calls): (Plugin, usize)) -> (Plugin, usize) {
    for _ in 0..calls {
        black_box(plugin.handle());
    }
    (plugin, calls)
}

fn for_nothing() -> Plugin {
    Plugin::nothing(MESSAGES)
}

fn for_pod() -> Plugin {
    Plugin::new("swallow", MESSAGES, &[1; 24], flags::RAW)
}

fn for_postcard() -> Plugin {
    // In the order of the fields: varints, a float in four bytes, and the small ones in one.
    Plugin::new("fields", MESSAGES, &[200, 1, 9, 0, 0, 128, 63, 3, 1, 77], flags::POSTCARD)
}

// One batch of them all, so that hardly anything but handlers and their arguments is counted.
#[library_benchmark(teardown = Plugin::check)]
#[bench::nothing(setup = for_nothing)]
#[bench::pod(setup = for_pod)]
#[bench::postcard(setup = for_postcard)]
fn dispatch(mut plugin: Plugin) -> Plugin {
    black_box(plugin.handle());
    plugin
}

library_benchmark_group!(
    name = stages;
    benchmarks =
        parse,
        resolve_hit,
        resolve_miss,
        permit_by_scope,
        permit_kept,
        write,
        write_at_hand,
        enqueue,
        publish_outbox,
        schedule,
        claim,
        boundary,
        dispatch,
        outcome
);
