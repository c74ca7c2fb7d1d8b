//! The kernel's parts alone: the bare ring, a queue under its policy, and the ways to resolve a path.

use crate::{
    BURST, MESSAGE,
    harness::{Run, timed},
};
use mycelia::abi::{Magazine, Pool};
use mycelia_kernel::{
    cache::{CacheLimits, PathCache},
    ids::SubsystemId,
    path::Path,
    pattern::Pattern,
    queue::{Lane, Limits, Policy, Queue},
    ring::Ring,
    scope::Grants,
    table::{Reach, Route, Table},
};
use mycelia_plugin::abi::Envelope;
use std::hint::black_box;

/// A burst in by so many at a time, and out by 64, on one thread.
pub fn ring<const RUN: usize>() -> Result<Run, String> {
    let ring = Ring::new(1024, 64);
    let (messages, mut batch) = ([MESSAGE; RUN], Vec::with_capacity(64));
    Ok(timed(move |bursts| {
        let (mut sum, mut count) = (0, 0);
        for _ in 0..bursts {
            put_burst(&ring, &messages);
            while ring.claim(64, &mut batch) > 0 {
                count += batch.len() as u64;
                sum += batch.drain(..).map(|message| message[0]).sum::<u64>();
            }
        }
        black_box(sum);
        assert_eq!(count, bursts * BURST, "every message is received");
    }))
}

fn put_burst(ring: &Ring<[u64; 8]>, messages: &[[u64; 8]]) {
    let mut left = BURST as usize;
    while left > 0 {
        let run = black_box(&messages[..messages.len().min(left)]);
        left -= match run {
            [message] => usize::from(ring.try_push_copy(message)),
            _ => ring.try_push_many(run),
        };
    }
}

fn queue(policy: Policy, capacity: usize) -> Queue<[u64; 8]> {
    Queue::new(Limits { policy, capacity, batch: 64, outcomes: 1, timers: 1 })
}

/// Messages one by one into a full queue of 1,024 that drops the oldest.
pub fn drop_oldest() -> Result<Run, String> {
    let queue = queue(Policy::DropOldest, 1024);
    let send = move |count: u64| {
        let mut dropped = 0;
        for _ in 0..count {
            let sent = queue.send(black_box(MESSAGE), &mut |_, _| dropped += 1);
            let _never_listed = sent.expect("it never refuses");
        }
        dropped
    };
    assert_eq!(send(1024), 0, "so many fit");
    Ok(timed(move |bursts| assert_eq!(send(bursts * BURST), bursts * BURST, "it is full")))
}

/// The original's pair: one in and one out of a queue of 1,000 that is half full.
pub fn half_full() -> Result<Run, String> {
    let queue = queue(Policy::DropOldest, 1000);
    for _ in 0..500 {
        let _never_listed = queue.send(MESSAGE, &mut |_, _| unreachable!("it is half full"));
    }
    let mut batch = Vec::with_capacity(1);
    Ok(timed(move |bursts| {
        for _ in 0..bursts * BURST {
            let _never_listed = queue.send(MESSAGE, &mut |_, _| unreachable!("it is half full"));
            batch.clear();
            assert_eq!(queue.claim(Lane::Queue, 1, &mut batch), 1);
            black_box(&batch);
        }
    }))
}

/// One in and one out of a ring that holds so many.
pub fn holding<const COUNT: usize>() -> Result<Run, String> {
    let ring = Ring::new(COUNT + 1, 1);
    (0..COUNT).for_each(|_| assert!(ring.try_push_copy(&MESSAGE)));
    Ok(timed(move |bursts| {
        for _ in 0..bursts * BURST {
            assert!(ring.try_push_copy(&black_box(MESSAGE)), "there is room for one");
            black_box(ring.pop());
        }
    }))
}

/// A block of the pool lent for a content of 256 bytes, filled, and given back.
pub fn block() -> Result<Run, String> {
    const BYTES: [u8; 256] = [1; 256];
    let pool = Pool::new(1 << 30, [1 << 30]).map_err(|error| error.to_string())?;
    let mut own = Magazine::new();
    Ok(timed(move |bursts| {
        for _ in 0..bursts * BURST {
            let mut envelope = Envelope::EMPTY;
            let to = SubsystemId::OPERATOR;
            let filled = pool.fill_by(&mut own, &mut envelope, to, black_box(&BYTES));
            filled.expect("there is room for one");
            pool.release_by(&mut own, [black_box(&envelope)]);
        }
        assert_eq!(pool.used(), 0, "every block is back");
    }))
}

/// The table and the paths of the rows on lookup.
pub struct Routes {
    pub subsystems: usize,
    /// Of each of them, with a parameter each.
    pub routes: usize,
}

pub const THOUSAND: Routes = Routes { subsystems: 50, routes: 20 };
pub const HUNDRED_THOUSAND: Routes = Routes { subsystems: 100, routes: 1000 };

impl Routes {
    fn table(&self) -> Table {
        let mut edit = Table::empty().edit();
        for subsystem in 0..self.subsystems {
            let routes = (0..self.routes).map(|route| Route {
                pattern: Pattern::parse(&format!("r{route}/{{id}}")).expect("it is a pattern"),
                scope: Some("read".into()),
                reach: Reach::Anyone,
                body: 0,
                reply: 0,
            });
            let added = edit.subsystem(&format!("s{subsystem}"), Grants::none(), routes.collect());
            added.expect("every name is new");
        }
        edit.finish()
    }

    /// The patterns, for a router that takes all of them as one table.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        let all = move |subsystem| {
            (0..self.routes).map(move |route| format!("/s{subsystem}/r{route}/{{id}}"))
        };
        (0..self.subsystems).flat_map(all)
    }

    /// So many paths all over the table, `form` of the subsystem, the route and an id: each its own, or one for all.
    pub fn paths(&self, count: usize, form: fn(usize, usize, usize) -> String) -> Paths {
        let mut paths = Paths { text: String::new(), ends: Vec::new(), next: 0 };
        for id in 0..count {
            // The step is a prime that shares no factor with the sizes, so every route is met.
            let route = id * 7919 % (self.subsystems * self.routes);
            paths.text += &form(route / self.routes, route % self.routes, id);
            paths.ends.push(paths.text.len());
        }
        paths
    }
}

/// Paths one after the other in memory, so that both sides read them at the same small cost.
pub struct Paths {
    text: String,
    ends: Vec<usize>,
    next: usize,
}

impl Paths {
    /// The next one, round and round.
    pub fn next(&mut self) -> &str {
        let begin = if self.next == 0 { 0 } else { self.ends[self.next - 1] };
        let path = &self.text[begin..self.ends[self.next]];
        self.next = if self.next + 1 == self.ends.len() { 0 } else { self.next + 1 };
        path
    }
}

/// Paths that are met again and again.
pub const HOT: usize = 100;
/// Paths of which each is new to the cache when its turn comes: five times its entries.
pub const NEW: usize = 20_000;

fn paths(routes: &Routes, count: usize) -> Paths {
    routes.paths(count, |subsystem, route, id| format!("s{subsystem}://r{route}/{id}"))
}

/// As large as a worker's.
const CACHE: CacheLimits = CacheLimits { entries: 4096, bytes: 1 << 20 };

fn through_cache(routes: &Routes, count: usize) -> Run {
    let (table, mut paths) = (routes.table(), paths(routes, count));
    let mut cache = PathCache::new(CACHE, 1);
    timed(move |bursts| {
        for _ in 0..bursts * BURST {
            let hit = cache.resolve(&table, SubsystemId::OPERATOR, black_box(paths.next()));
            black_box(hit.expect("the operator may reach every route").params.get(0));
        }
    })
}

pub fn cached() -> Result<Run, String> {
    Ok(through_cache(&THOUSAND, HOT))
}

/// By the cache, which has never seen the path.
pub fn new_paths() -> Result<Run, String> {
    Ok(through_cache(&THOUSAND, NEW))
}

fn uncached(routes: &Routes) -> Run {
    let (table, mut paths) = (routes.table(), paths(routes, NEW));
    timed(move |bursts| {
        for _ in 0..bursts * BURST {
            let path = Path::parse(black_box(paths.next())).expect("it is a path");
            let resolved = table.resolve(SubsystemId::OPERATOR, &path);
            black_box(resolved.expect("the operator may reach every route").params.get(0));
        }
    })
}

/// By the table, without a cache, as senders outside of handlers do.
pub fn uncached_paths() -> Result<Run, String> {
    Ok(uncached(&THOUSAND))
}

pub fn hundred_thousand() -> Result<Run, String> {
    Ok(uncached(&HUNDRED_THOUSAND))
}

/// A recipient that is kept: a comparison of versions.
pub fn kept() -> Result<Run, String> {
    let table = THOUSAND.table();
    let path = Path::parse("s1://r1/1").map_err(|error| error.to_string())?;
    let resolved = table.resolve(SubsystemId::OPERATOR, &path);
    let recipient = resolved.map_err(|refusal| refusal.to_string())?.to_recipient();
    Ok(timed(move |bursts| {
        for _ in 0..bursts * BURST {
            let recipient = black_box(&recipient);
            assert!(recipient.is_current(black_box(&table).version()));
            black_box(recipient.params().get(0));
        }
    }))
}
