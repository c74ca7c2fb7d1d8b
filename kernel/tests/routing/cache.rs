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
    let long = format!("s://f/{}", "x".repeat(100));
    let paths = ["s://u/1", "s://u/2", "s://f/a/b", "s://", &long];
    for expect in [(0, 5, 0), (5, 10, 0), (5, 10, 5), (5, 10, 10)] {
        for path in paths {
            assert_eq!(cache.resolve(&table, OPERATOR, path), resolve(&table, OPERATOR, path));
        }
        assert_eq!((cache.len(), cache.misses(), cache.hits()), expect);
    }
}

#[test]
fn a_verdict_is_of_one_sender() {
    let mut edit = Table::empty().edit();
    edit.subsystem("kv", Grants::none(), vec![scoped("put", "write")]).unwrap();
    let echo = edit.subsystem("echo", Grants::none(), vec![]).unwrap();
    let table = edit.finish();
    let mut cache = PathCache::new(LIMITS, 7);
    for _ in 0..3 {
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
    for _ in 0..3 {
        assert!(cache.resolve(&before, echo, "kv://put").is_ok());
        assert!(cache.resolve(&before, echo, "kv://ping").is_ok());
    }
    assert_eq!((cache.len(), cache.hits()), (2, 2));
    assert!(matches!(cache.resolve(&after, echo, "kv://put"), Err(Refusal::Denied { .. })));
    assert_eq!((cache.len(), cache.bytes()), (0, empty));
    let ping = cache.resolve(&after, echo, "kv://ping").unwrap();
    assert_eq!(ping.version, after.version());
    assert_eq!(cache.len(), 1, "what was seen before is kept at once");
}

const MANY: u64 = if cfg!(miri) { 2_000 } else { 1_000_000 };

#[test]
fn a_million_paths_stay_within_the_limits() {
    let table = table_of(&["u/{id}/{*rest}"]);
    let mut cache = PathCache::new(LIMITS, 7);
    let empty = cache.bytes();
    let long = "x".repeat(1900);
    for number in 0..MANY / 2 {
        let filler = &long[..((number * 31 % 1900) as usize >> (2 + number % 4)) + 1];
        let path = format!("s://u/{number}/{filler}");
        for _ in 0..2 {
            let hit = cache.resolve(&table, OPERATOR, &path).unwrap();
            assert!(hit.params.iter().eq([number.to_string().as_str(), filler]));
        }
        assert!(cache.bytes() <= LIMITS.bytes && cache.len() <= LIMITS.entries);
    }
    assert_eq!(cache.misses() + cache.hits(), MANY);
    // Some are taken for one that was seen, and kept at once.
    assert!(cache.hits() < MANY / 1000);
    assert!(cache.len() > LIMITS.entries / 4 && cache.bytes() > empty);
}

/// The share of hits of a hundred paths in turn, with `invented` ones, each seen once, between two of them.
fn hot_hits(invented: u64) -> f64 {
    let table = table_of(&["u/{id}", "hot/{id}"]);
    let mut cache = PathCache::new(CacheLimits { entries: 4096, bytes: 1 << 20 }, 7);
    for turn in 0..MANY / invented {
        cache.resolve(&table, OPERATOR, &format!("s://hot/{}", turn % 100)).unwrap();
        for number in 0..invented {
            let path = format!("s://u/{}", turn * invented + number);
            cache.resolve(&table, OPERATOR, &path).unwrap();
        }
    }
    let asked = MANY / invented;
    assert_eq!(cache.hits() + cache.misses(), asked + asked * invented);
    assert!(cache.len() < 400, "a mark takes some hundred for seen: {}", cache.len());
    cache.hits() as f64 / asked as f64
}

#[test]
fn a_million_invented_paths_leave_the_hot_ones() {
    if cfg!(miri) {
        return;
    }
    for invented in [1, 10, 50] {
        let share = hot_hits(invented);
        assert!(share > 0.95, "{invented} invented between two: {share}");
    }
}

#[test]
fn limits_that_hold_nothing_still_resolve() {
    let table = table_of(&["u/{id}"]);
    let check = |entries: usize, bytes: usize, kept: usize| {
        let limits = CacheLimits { entries, bytes };
        let mut cache = PathCache::new(limits, 7);
        for _ in 0..3 {
            let hit = cache.resolve(&table, OPERATOR, "s://u/1").unwrap();
            assert_eq!(hit.params.get(0), Some("1"));
        }
        assert_eq!((cache.len(), cache.hits()), (kept, kept as u64), "{limits:?}");
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
fn paths_that_count_up_spread_over_the_sets() {
    let table = table_of(&["u/{id}", "user/{id}/more/of/the/same"]);
    let forms = [|id| format!("s://u/{id}"), |id: usize| format!("s://user/{id}/more/of/the/same")];
    for (seed, form) in (0..8).flat_map(|seed| forms.map(|form| (seed, form))) {
        let limits = CacheLimits { entries: 1024, bytes: 1 << 20 };
        let mut cache = PathCache::new(limits, seed);
        for path in (0..512).map(form).flat_map(|path| [path.clone(), path]) {
            cache.resolve(&table, OPERATOR, &path).unwrap();
        }
        // Thrown at random into 512 sets of two, 459 find a place.
        assert!(cache.len() > 430, "{seed}: {}", cache.len());
    }
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
