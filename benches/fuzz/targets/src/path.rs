//! Routes and a path: lines with patterns, and then one with a path.

use mycelia_kernel::{
    cache::{CacheLimits, PathCache},
    ids::SubsystemId,
    path::Path,
    pattern::Pattern,
    recipient::Resolved,
    scope::Grants,
    table::{Reach, Route, Table},
};

/// Routes of a table, at most.
const MOST: usize = 16;
const LIMITS: CacheLimits = CacheLimits { entries: 16, bytes: 16 << 10 };

/// The path must resolve alike however it is asked, and what was captured, put into the pattern, must make the path.
pub fn one(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let (patterns, path) = text.rsplit_once('\n').unwrap_or(("", text));
    let patterns = patterns.split('\n').take(MOST).filter_map(|text| Pattern::parse(text).ok());
    let route = |pattern| Route { pattern, scope: None, reach: Reach::Anyone, body: 0, reply: 0 };
    let mut edit = Table::empty().edit();
    if edit.subsystem("s", Grants::none(), patterns.map(route).collect()).is_err() {
        return false;
    }
    let (table, sender) = (edit.finish(), SubsystemId::OPERATOR);
    let parsed = Path::parse(path).map_err(Into::into);
    let found = parsed.and_then(|path| table.resolve(sender, &path));
    assert_eq!(found, table.resolve_text(sender, path));
    let mut cache = PathCache::new(LIMITS, 1);
    for _ in 0..3 {
        assert_eq!(found, cache.resolve(&table, sender, path));
    }
    match found {
        Ok(found) => {
            check(&table, &found, path);
            assert_eq!(cache.hits() > 0, path.len() < LIMITS.bytes / 2 - 4096);
            true
        }
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            false
        }
    }
}

fn check(table: &Table, found: &Resolved<'_>, path: &str) {
    let pattern = table.pattern(found.subsystem, found.route).expect("the route is in the table");
    let (_, rest) = path.split_once("://").expect("a path that resolves is one");
    let mut captures = found.params.iter();
    let mut rest = rest.split('/');
    for segment in pattern.split('/') {
        match segment {
            "*" => return,
            tail if tail.starts_with("{*") => {
                let tail = rest.by_ref().collect::<Vec<_>>().join("/");
                assert_eq!(captures.next(), Some(&*tail));
            }
            one if one.starts_with('{') => assert_eq!(captures.next(), rest.next()),
            literal => assert_eq!(Some(literal), rest.next()),
        }
    }
    assert_eq!((captures.next(), rest.next()), (None, None));
}
