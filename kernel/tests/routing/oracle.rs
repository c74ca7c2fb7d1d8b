//! Every verdict against an oracle that knows nothing of scopes but their texts: all triples of the scope that a route
//! declares, the scopes that its caller was granted and the route that is called, among names written much alike, and
//! while declarations and grants change.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use mycelia_kernel::cache::{CacheLimits, PathCache};
use mycelia_kernel::ids::SubsystemId;
use mycelia_kernel::scope::{Grants, Scope};
use mycelia_kernel::table::{Edit, Recipient, Refusal, Resolved, Table, TableError, Tables};

use crate::{resolve, route, scoped};

/// Each of them a prefix, an ending, another case or a part of another one.
const OWNERS: [&str; 6] = ["kv", "kv2", "KV", "k", "kv.read", "v"];
/// The routes of each owner, and the scopes that those declare; the last is a route for everyone.
const SHORTS: [&str; 7] = ["read", "Read", "rea", "reader", "read.all", "write", ""];
/// Senders that serve nothing: one with the grants, one without any.
const OTHERS: [&str; 2] = ["caller", "kv-caller"];
const LIMITS: CacheLimits = CacheLimits { entries: 1024, bytes: 400 << 10 };

/// What a table is made from; the oracle sees this and never the table.
#[derive(Clone, Copy)]
struct World<'g> {
    /// How far the scopes are from the routes whose names they have.
    turn: usize,
    /// Who has the grants; nobody else has any.
    grantee: &'g str,
    grants: &'g [String],
}

/// The verdict by the rules: an open route, one's own, `*`, or the very text.
fn oracle(world: World<'_>, sender: &str, owner: &str, called: usize) -> bool {
    let required = SHORTS[(called + world.turn) % SHORTS.len()];
    let full = [owner, ":", required].concat();
    let has = |grant: &String| grant == "*" || *grant == full;
    required.is_empty()
        || sender == owner
        || sender == world.grantee && world.grants.iter().any(has)
}

impl World<'_> {
    fn put(self, edit: &mut Edit) -> Result<(), TableError> {
        let grants = |name| match name == self.grantee {
            true => Grants::parse(self.grants.iter().map(String::as_str)).unwrap(),
            false => Grants::none(),
        };
        edit.grants(SubsystemId::OPERATOR, grants("operator"));
        for owner in OWNERS {
            let routes = SHORTS.iter().enumerate().map(|(at, _)| {
                match SHORTS[(at + self.turn) % SHORTS.len()] {
                    "" => route(&pattern(at)),
                    short => scoped(&pattern(at), short),
                }
            });
            edit.subsystem(owner, grants(owner), routes.collect())?;
        }
        for other in OTHERS {
            edit.subsystem(other, grants(other), vec![])?;
        }
        Ok(())
    }

    fn table(self) -> Table {
        let mut edit = Table::empty().edit();
        self.put(&mut edit).unwrap();
        edit.finish()
    }
}

/// The open route is named like none of the scopes.
fn pattern(called: usize) -> String {
    match SHORTS[called] {
        "" => "open/{id}".into(),
        short => format!("{short}/{{id}}"),
    }
}

fn path(owner: &str, called: usize) -> String {
    format!("{owner}://{}", pattern(called).replace("{id}", "7"))
}

fn senders() -> impl Iterator<Item = &'static str> + Clone {
    ["operator"].into_iter().chain(OWNERS).chain(OTHERS)
}

/// Nothing, everything, each scope that is declared or written like one, and all but one of those.
fn grants() -> Vec<Vec<String>> {
    let shorts = SHORTS.into_iter().filter(|short| !short.is_empty());
    let declared: Vec<String> = OWNERS
        .iter()
        .flat_map(|owner| shorts.clone().map(move |short| format!("{owner}:{short}")))
        .collect();
    let alike = ["kv.read:kv", "read:kv", "kv:reads", "kv:r", "kv3:read", "Kv:read", "kv:open"];
    let singles = declared.iter().cloned().chain(alike.map(str::to_owned)).map(|one| vec![one]);
    let without = |at: usize| {
        let kept = declared.iter().enumerate().filter(move |(other, _)| *other != at);
        kept.map(|(_, scope)| scope.clone()).collect()
    };
    let fixed = [vec![], vec!["*".to_owned()], vec!["v:rea".to_owned(), "*".to_owned()]];
    fixed.into_iter().chain(singles).chain((0..declared.len()).map(without)).collect()
}

/// Fails unless the verdict is the oracle's, and a denial names who lacks what.
#[track_caller]
fn agrees(
    world: World<'_>,
    (sender, owner, called): (&str, &str, usize),
    verdict: &Result<Resolved<'_>, Refusal>,
) {
    let said = match verdict {
        Ok(_) => true,
        Err(Refusal::Denied { scope, lacks }) => {
            let required = SHORTS[(called + world.turn) % SHORTS.len()];
            assert_eq!((&**lacks, scope.as_str()), (sender, &*format!("{owner}:{required}")));
            false
        }
        Err(refusal) => panic!("{refusal}"),
    };
    let World { turn, grantee, grants } = world;
    assert_eq!(
        said,
        oracle(world, sender, owner, called),
        "`{sender}` to {} at turn {turn}, `{grantee}` has {grants:?}",
        path(owner, called)
    );
}

#[test]
fn every_triple_is_as_the_oracle_says() {
    let (sets, mut verdicts) = (grants(), [0, 0]);
    let paths: Vec<_> = OWNERS
        .iter()
        .flat_map(|owner| (0..SHORTS.len()).map(|called| (*owner, called, path(owner, called))))
        .collect();
    for (number, set) in sets.iter().enumerate() {
        for turn in 0..SHORTS.len() {
            // The operator and the owners take turns.
            let other = [OWNERS[(number + turn) % OWNERS.len()], "operator"][(number + turn) % 2];
            let grantees = ["caller", other];
            for world in grantees.map(|grantee| World { turn, grantee, grants: set }) {
                let table = world.table();
                let mut cache = PathCache::new(LIMITS, 7);
                for sender in [world.grantee, OTHERS[1], OWNERS[(number + turn + 1) % OWNERS.len()]]
                {
                    let id = table.id(sender).unwrap();
                    for (owner, called, path) in &paths {
                        let call = (sender, *owner, *called);
                        agrees(world, call, &resolve(&table, id, path));
                        let text = table.resolve_text(id, path);
                        agrees(world, call, &text);
                        // Asked of the table, kept, and answered from what is kept.
                        for _ in 0..3 {
                            agrees(world, call, &cache.resolve(&table, id, path));
                        }
                        verdicts[usize::from(text.is_ok())] += 1;
                    }
                }
                assert!(cache.hits() > 0);
            }
        }
    }
    assert!(verdicts.iter().all(|count| *count > 20_000), "{verdicts:?}");
}

/// Whom the table does not know, or no longer, has what everyone has.
#[test]
fn strangers_reach_what_is_open() {
    let all = [String::from("*")];
    let table = World { turn: 0, grantee: "caller", grants: &all }.table();
    let gone = table.id("caller").unwrap();
    let mut edit = table.edit();
    edit.remove(gone);
    let table = edit.finish();
    for sender in [gone, SubsystemId(999), SubsystemId(u16::MAX)] {
        for (called, short) in SHORTS.iter().enumerate() {
            let path = path("kv", called);
            assert_eq!(resolve(&table, sender, &path).is_ok(), short.is_empty(), "{path}");
            assert_eq!(table.resolve_text(sender, &path).is_ok(), short.is_empty(), "{path}");
        }
    }
}

/// What is granted or declared is a name and nothing that stands for several.
#[test]
fn only_one_text_stands_for_many() {
    const PARTS: [&str; 9] = ["*", "", "kv", "k*", "read", "re ad", "réad", "a:b", "a/b"];
    for owner in PARTS {
        for short in PARTS {
            let is_name = |text: &str| matches!(text, "kv" | "read");
            let full = format!("{owner}:{short}");
            let is_scope = is_name(owner) && is_name(short);
            assert_eq!(Scope::parse(&full).is_ok(), is_scope, "{full}");
            assert_eq!(Scope::of(owner, short).is_ok(), is_scope, "{full}");
            assert_eq!(Grants::parse(["kv:read", &full]).is_ok(), is_scope, "{full}");
            let declared =
                Table::empty().edit().subsystem("kv", Grants::none(), vec![scoped("r", short)]);
            assert_eq!(declared.is_ok(), is_name(short), "{short}");
        }
    }
}

/// Threads resolve through caches of their own while another publishes: each verdict is that of the version it says it
/// is from, which is none before the question and none after the answer.
#[test]
fn verdicts_follow_the_tables_that_are_published() {
    const VERSIONS: u32 = 600;
    const THREADS: usize = 3;
    let sets = grants();
    // Each version is known before it is there.
    let world = |version: u32| World {
        turn: (version / 5) as usize % SHORTS.len(),
        grantee: ["caller", "operator", "kv2"][version as usize % 3],
        grants: &sets[version as usize * 7 % sets.len()],
    };
    let mut edit = Table::empty().edit();
    world(1).put(&mut edit).unwrap();
    let (tables, is_over) = (Tables::new(edit.finish()), AtomicBool::new(false));
    let ask = |thread: usize| {
        let (mut cache, mut seen) = (PathCache::new(LIMITS, thread as u64), [0, 0]);
        let mut kept: Option<(Recipient, (&str, &str, usize))> = None;
        let senders: Vec<_> = senders().collect();
        let mut number = thread;
        while !is_over.load(Relaxed) || seen[0] == 0 || seen[1] == 0 {
            number += 1;
            // Each call some times in a row, so that it is kept and found.
            let step = number / 4;
            let call = (
                senders[step % senders.len()],
                OWNERS[step / 3 % OWNERS.len()],
                step / 7 % SHORTS.len(),
            );
            let path = path(call.1, call.2);
            let before = tables.version();
            let table = tables.load();
            let sender = table.id(call.0).unwrap();
            let verdict = cache.resolve(&table, sender, &path);
            let after = tables.version();
            let version = table.version();
            // A table is there a moment before its version is told.
            assert!((before.0..=after.0 + 1).contains(&version.0), "{version:?}");
            agrees(world(version.0), call, &verdict);
            seen[usize::from(verdict.is_ok())] += 1;
            if let Some((kept, call)) = &kept
                && kept.is_current(version)
            {
                assert!(oracle(world(version.0), call.0, call.1, call.2), "kept for {version:?}");
            }
            if let Ok(found) = verdict {
                assert_eq!(found.version, version);
                kept = Some((found.to_recipient(), call));
            }
        }
        cache.hits()
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let asking: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || ask(thread))).collect();
        for version in 2..=VERSIONS {
            tables.update(|edit| world(version).put(edit)).unwrap();
            assert_eq!(tables.version().0, version);
            std::thread::yield_now();
        }
        is_over.store(true, Relaxed);
        for thread in asking {
            assert!(thread.join().unwrap() > 0, "nothing was answered from a cache");
        }
    });
}
