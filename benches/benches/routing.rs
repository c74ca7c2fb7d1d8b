//! From the text of a path to its recipient: parsing, lookup of the subsystem, matching, the cache, scopes, and paths that
//! somebody made up to cost much.
//!
//! Every verdict is looked at: what should be found is found, and what should be refused is refused.

mod settings;

use criterion::{BenchmarkId, Criterion};
use mycelia_kernel::{
    cache::{CacheLimits, PathCache},
    ids::SubsystemId,
    path::{MAX_PATH, MAX_SEGMENTS, Path},
    pattern::Pattern,
    scope::{Grants, Scope},
    table::{Edit, Reach, Refusal, Resolved, Route, Table},
};
use std::hint::black_box;

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Routes of one subsystem, which numbers them with 16 bits: the largest table has two of them.
const MOST: usize = 50_000;
const OPERATOR: SubsystemId = SubsystemId::OPERATOR;

/// A kind of route: the pattern of its number, and a path that fits it.
struct Kind {
    name: &'static str,
    pattern: fn(usize) -> String,
    rest: fn(usize) -> String,
}

/// A table has as many routes of each.
const KINDS: [Kind; 3] = [
    Kind {
        name: "literal",
        pattern: |number| format!("items/item{number}/show"),
        rest: |number| format!("items/item{number}/show"),
    },
    Kind {
        name: "parameters",
        pattern: |number| format!("users{number}/{{id}}/orders/{{order}}"),
        rest: |number| format!("users{number}/{}/orders/{number}", number * 7),
    },
    Kind {
        name: "tail",
        pattern: |number| format!("files{number}/{{*rest}}"),
        rest: |number| format!("files{number}/images/{number}/large.png"),
    },
];

fn main() {
    let mut criterion = settings::criterion();
    parse(&mut criterion);
    subsystem(&mut criterion);
    for size in SIZES {
        let table = table(size);
        for (index, kind) in KINDS.iter().enumerate() {
            let paths = paths(index, kind, size);
            resolve(&mut criterion, kind, size, &table, &paths);
            cached(&mut criterion, kind, size, &table, &paths);
        }
    }
    scope(&mut criterion);
    hostile(&mut criterion);
    criterion.final_summary();
}

fn route(pattern: &str) -> Route {
    let pattern = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    Route { pattern, scope: None, reach: Reach::Anyone, body: 0, reply: 0 }
}

fn enter(edit: &mut Edit, name: &str, grants: Grants, routes: Vec<Route>) -> SubsystemId {
    edit.subsystem(name, grants, routes).unwrap_or_else(|error| panic!("{error}"))
}

fn table(size: usize) -> Table {
    let mut edit = Table::empty().edit();
    let numbers: Vec<usize> = (0..size).collect();
    for (subsystem, numbers) in numbers.chunks(MOST).enumerate() {
        let pattern = |number: &usize| route(&(KINDS[number % KINDS.len()].pattern)(*number));
        let routes = numbers.iter().map(pattern).collect();
        enter(&mut edit, &format!("s{subsystem}"), Grants::none(), routes);
    }
    edit.finish()
}

/// Paths to routes of this kind from all over the table.
fn paths(index: usize, kind: &Kind, size: usize) -> Vec<String> {
    let fitting: Vec<usize> = (index..size).step_by(KINDS.len()).collect();
    let step = fitting.len().div_ceil(1_024);
    let path = |number: &usize| format!("s{}://{}", number / MOST, (kind.rest)(*number));
    fitting.iter().step_by(step).map(path).collect()
}

fn find<'p>(table: &Table, sender: SubsystemId, path: &'p str) -> Result<Resolved<'p>, Refusal> {
    table.resolve(sender, &Path::parse(path)?)
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing/parse");
    let segments = format!("users://{}x", "x/".repeat(MAX_SEGMENTS - 1));
    let longest = format!("users://{}", "x".repeat(MAX_PATH - "users://".len()));
    for (name, path) in [
        ("short", "kv://list"),
        ("usual", "users://users/42/orders/17"),
        ("most segments", &segments),
        ("longest", &longest),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Path::parse(black_box(path)).expect("it is a path"));
        });
    }
}

/// The number of a name.
fn subsystem(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing/subsystem");
    for count in [1, 50, 1_000, 10_000] {
        let mut edit = Table::empty().edit();
        let names: Vec<String> = (0..count).map(|number| format!("subsystem{number}")).collect();
        for name in &names {
            enter(&mut edit, name, Grants::none(), Vec::new());
        }
        let (table, mut names) = (edit.finish(), names.iter().cycle());
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| names.next().and_then(|name| table.id(name)).expect("it is there"));
        });
    }
}

/// By parsing and matching.
fn resolve(criterion: &mut Criterion, kind: &Kind, size: usize, table: &Table, paths: &[String]) {
    let mut group = criterion.benchmark_group(format!("routing/resolve/{}", kind.name));
    group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
        let mut paths = paths.iter().cycle();
        bencher.iter(|| {
            let path = paths.next().map_or("", String::as_str);
            find(table, OPERATOR, path).expect("a route fits")
        });
    });
}

/// Paths in use at a time: few, so that none of them share a set of the cache.
const HOT: usize = 64;

/// By the cache that a worker has.
fn cached(criterion: &mut Criterion, kind: &Kind, size: usize, table: &Table, paths: &[String]) {
    let mut group = criterion.benchmark_group(format!("routing/cached/{}", kind.name));
    group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
        let mut cache = PathCache::new(CacheLimits { entries: 4_096, bytes: 1 << 20 }, 1);
        let hot = &paths[..paths.len().min(HOT)];
        for path in hot.iter().chain(hot) {
            cache.resolve(table, OPERATOR, path).expect("a route fits");
        }
        let misses = cache.misses();
        let mut paths = hot.iter().cycle();
        bencher.iter(|| {
            let path = paths.next().map_or("", String::as_str);
            cache.resolve(table, OPERATOR, path).expect("a route fits")
        });
        assert_eq!(cache.misses(), misses, "every path is in the cache");
    });
}

/// What judging costs beyond finding.
fn scope(criterion: &mut Criterion) {
    let mut edit = Table::empty().edit();
    let guarded = Route { scope: Some("write".into()), ..route("guarded/{id}") };
    enter(&mut edit, "s", Grants::none(), vec![guarded, route("open/{id}")]);
    let scope = |name: &str| Scope::of(name, "write").expect("the names are good");
    let mut grants = Grants::none();
    let none = enter(&mut edit, "none", grants.clone(), Vec::new());
    grants.insert(scope("s"));
    let one = enter(&mut edit, "one", grants.clone(), Vec::new());
    (0..99).for_each(|number| grants.insert(scope(&format!("t{number}"))));
    let hundred = enter(&mut edit, "hundred", grants, Vec::new());
    let table = edit.finish();

    let mut group = criterion.benchmark_group("routing/scope");
    for (name, sender, path, is_allowed) in [
        ("no scope", none, "s://open/1", true),
        ("operator", OPERATOR, "s://guarded/1", true),
        ("granted", one, "s://guarded/1", true),
        ("granted with 99 others", hundred, "s://guarded/1", true),
        ("denied", none, "s://guarded/1", false),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let found = find(&table, sender, black_box(path));
                assert_eq!(found.is_ok(), is_allowed, "{path}");
                found
            });
        });
    }
}

/// Paths that a stranger would choose: each is answered with bounded work, however long it is and however many routes there are.
fn hostile(criterion: &mut Criterion) {
    let mut edit = table(10_000).edit();
    enter(&mut edit, "deep", Grants::none(), near_misses());
    enter(&mut edit, "any", Grants::none(), vec![route("{*rest}")]);
    (0..1_000).for_each(|number| {
        enter(&mut edit, &format!("subsystem{number}"), Grants::none(), Vec::new());
    });
    let table = edit.finish();

    let filled = |end: &str| {
        let start = "any://";
        format!("{start}{}{end}", "x".repeat(MAX_PATH - start.len() - end.len()))
    };
    let segments = |count: usize| format!("any://{}x", "x/".repeat(count - 1));
    let mut group = criterion.benchmark_group("routing/hostile");
    for (name, path, is_found) in [
        ("longest", filled(""), true),
        ("most segments", segments(MAX_SEGMENTS), true),
        ("one byte too long", filled("") + "x", false),
        ("a megabyte", "any://".to_owned() + &"x".repeat(1 << 20), false),
        ("a thousand segments", segments(1_000), false),
        ("empty segment at the end", filled("/"), false),
        ("control character at the end", filled("\u{7}"), false),
        ("foreign letters", "any://".to_owned() + &"\u{fc}".repeat(1_000), true),
        ("near misses", "deep://a/a/a/a/a/a/a/a/y".into(), false),
        ("no route of 10000", "s0://items/item/show".into(), false),
        ("no subsystem of 1000", "subsysten://x".into(), false),
        ("no subsystem, longest", "x".repeat(MAX_PATH - 3) + "://", false),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let found = find(&table, OPERATOR, black_box(&path));
                assert_eq!(found.is_ok(), is_found, "{name}");
                found
            });
        });
    }
}

/// Every way to have a literal or a parameter in eight places, and then another end than the path has: all are tried.
fn near_misses() -> Vec<Route> {
    let pattern = |choice: u32| {
        let place = |bit: u32| match choice >> bit & 1 {
            0 => "a/".to_owned(),
            _ => format!("{{p{bit}}}/"),
        };
        route(&format!("{}x", (0..8).map(place).collect::<String>()))
    };
    (0..256).map(pattern).collect()
}
