use mycelia_kernel::cache::{CacheLimits, PathCache};
use mycelia_kernel::ids::SubsystemId;
use mycelia_kernel::path::PathErrorKind;
use mycelia_kernel::scope::Grants;
use mycelia_kernel::table::{Refusal, Table};

use crate::{resolve, route, scoped, table_of};

const OPERATOR: SubsystemId = SubsystemId::OPERATOR;
const LIMITS: CacheLimits = CacheLimits { entries: 1024, bytes: 200 << 10 };

#[test]
fn a_hit_says_what_the_table_says() {
    let table = table_of(&["u/{id}", "f/{*rest}", ""]);
    let mut cache = PathCache::new(LIMITS, 7);
    for turn in 0..3 {
        for path in ["s://u/1", "s://u/2", "s://f/a/b", "s://"] {
            assert_eq!(cache.resolve(&table, OPERATOR, path), resolve(&table, OPERATOR, path));
        }
        assert_eq!((cache.len(), cache.misses(), cache.hits()), (4, 4, turn * 4));
    }
}

#[test]
fn a_verdict_is_of_one_sender() {
    let mut edit = Table::empty().edit();
    edit.subsystem("kv", Grants::none(), vec![scoped("put", "write")]).unwrap();
    let echo = edit.subsystem("echo", Grants::none(), vec![]).unwrap();
    let table = edit.finish();
    let mut cache = PathCache::new(LIMITS, 7);
    for _ in 0..2 {
        assert!(cache.resolve(&table, OPERATOR, "kv://put").is_ok());
        let denied = cache.resolve(&table, echo, "kv://put");
        assert!(matches!(denied, Err(Refusal::Denied { .. })));
    }
}

#[test]
fn refusals_are_not_kept() {
    let table = table_of(&["a"]);
    let mut cache = PathCache::new(LIMITS, 7);
    for _ in 0..3 {
        assert!(cache.resolve(&table, OPERATOR, "s://b").is_err());
        assert!(cache.resolve(&table, OPERATOR, "t://b").is_err());
        let long = cache.resolve(&table, OPERATOR, &"x".repeat(1 << 20)).unwrap_err();
        assert!(
            matches!(long, Refusal::BadPath(error) if error.kind == PathErrorKind::TooLong(1 << 20))
        );
    }
    assert_eq!((cache.len(), cache.misses(), cache.hits()), (0, 9, 0));
}

#[test]
fn another_version_empties_it() {
    let mut edit = Table::empty().edit();
    edit.subsystem("kv", Grants::none(), vec![scoped("put", "write"), route("ping")]).unwrap();
    let echo = edit.subsystem("echo", Grants::all(), vec![]).unwrap();
    let before = edit.finish();
    let mut edit = before.edit();
    edit.grants(echo, Grants::none());
    let after = edit.finish();
    let mut cache = PathCache::new(LIMITS, 7);
    let empty = cache.bytes();
    assert!(cache.resolve(&before, echo, "kv://put").is_ok());
    assert!(cache.resolve(&before, echo, "kv://ping").is_ok());
    assert!(matches!(cache.resolve(&after, echo, "kv://put"), Err(Refusal::Denied { .. })));
    assert_eq!((cache.len(), cache.bytes()), (0, empty));
    let ping = cache.resolve(&after, echo, "kv://ping").unwrap();
    assert_eq!(ping.version, after.version());
}

#[test]
fn a_million_invented_paths_stay_within_the_limits() {
    let table = table_of(&["u/{id}/{*rest}"]);
    let mut cache = PathCache::new(LIMITS, 7);
    let empty = cache.bytes();
    let long = "x".repeat(1900);
    let count = if cfg!(miri) { 2_000 } else { 1_000_000_u64 };
    for number in 0..count {
        let filler = &long[..((number * 31 % 1900) as usize >> (2 + number % 4)) + 1];
        let path = format!("s://u/{number}/{filler}");
        let hit = cache.resolve(&table, OPERATOR, &path).unwrap();
        assert!(hit.params.iter().eq([number.to_string().as_str(), filler]));
        assert!(cache.bytes() <= LIMITS.bytes && cache.len() <= LIMITS.entries);
    }
    assert_eq!((cache.misses(), cache.hits()), (count, 0));
    assert!(cache.len() > LIMITS.entries / 4 && cache.bytes() > empty);
}

#[test]
fn limits_that_hold_nothing_still_resolve() {
    let table = table_of(&["u/{id}"]);
    let check = |entries: usize, bytes: usize, kept: usize| {
        let limits = CacheLimits { entries, bytes };
        let mut cache = PathCache::new(limits, 7);
        for _ in 0..2 {
            let hit = cache.resolve(&table, OPERATOR, "s://u/1").unwrap();
            assert_eq!(hit.params.get(0), Some("1"));
        }
        assert_eq!(cache.len(), kept, "{limits:?}");
        assert!(cache.bytes() <= bytes);
    };
    check(0, 0, 0);
    check(0, 1 << 20, 0);
    check(1, 1 << 20, 0);
    check(1024, 100, 0);
    check(2, 1 << 20, 1);
    check(3, 1 << 20, 1);
    check(usize::MAX, 1 << 16, 1);
}

#[test]
fn the_same_seed_gives_the_same_cache() {
    let table = table_of(&["u/{id}"]);
    let run = |seed| {
        let mut cache = PathCache::new(CacheLimits { entries: 64, ..LIMITS }, seed);
        for number in 0..500 {
            let path = format!("s://u/{}", number * 7 % 90);
            cache.resolve(&table, OPERATOR, &path).unwrap();
        }
        cache.hits()
    };
    assert_eq!(run(1), run(1));
}
