//! Looking a path up allocates nothing: neither a hit of the cache, nor a miss that is not kept, nor a match.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::alloc::System;

use mycelia_kernel::cache::{CacheLimits, PathCache};
use mycelia_kernel::ids::SubsystemId;
use mycelia_kernel::path::Path;
use mycelia_kernel::pattern::Pattern;
use mycelia_kernel::scope::Grants;
use mycelia_kernel::table::{Reach, Route, Table};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Attempts, of which one must do: the thread that runs the tests may allocate meanwhile.
const ATTEMPTS: usize = 5;

/// The only test of its program: another one would allocate meanwhile.
#[test]
fn lookups_do_not_allocate() {
    let route = |pattern: &str| Route {
        pattern: Pattern::parse(pattern).unwrap(),
        scope: None,
        reach: Reach::Anyone,
        body: 0,
        reply: 0,
    };
    let patterns = ["", "literal", "{a}/{b}/{c}", "a-long-literal-here/x", "{a}/{*rest}"];
    let mut edit = Table::empty().edit();
    edit.subsystem("s", Grants::none(), patterns.map(route).into()).unwrap();
    let table = edit.finish();
    let long = format!("s://a/b/c/{}", "x".repeat(1000));
    let paths =
        ["s://", "s://literal", "s://a/b/c", "s://a-long-literal-here/x", "s://a/ü/c", &long];
    let counts = || {
        let mut cache = PathCache::new(CacheLimits { entries: 64, bytes: 1 << 16 }, 7);
        [1, 1, 100].map(|rounds| {
            let before = Region::new(ALLOCATOR);
            for path in paths.iter().cycle().take(rounds * paths.len()) {
                let hit = cache.resolve(&table, SubsystemId::OPERATOR, path).unwrap();
                let path = Path::parse(path).unwrap();
                assert_eq!(table.resolve(SubsystemId::OPERATOR, &path).as_ref(), Ok(&hit));
            }
            (before.change().allocations, cache.hits())
        })
    };
    // Seen for the first time; kept, the long one with a text of its own; answered by the cache.
    let expect = [(0, 0), (1, 0), (0, 600)];
    let attempts: Vec<_> = (0..ATTEMPTS).map(|_| counts()).collect();
    assert!(attempts.contains(&expect), "{attempts:?}");
}
