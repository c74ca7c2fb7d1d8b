use std::sync::Arc;

use mycelia_kernel::ids::{RouteId, SubsystemId, Version};
use mycelia_kernel::path::PathErrorKind;
use mycelia_kernel::scope::Grants;
use mycelia_kernel::table::{Edit, Refusal, Route, Table, TableError, Tables};

use crate::{host_only, matched, resolve, route, routes, scoped, table_of};

const OPERATOR: SubsystemId = SubsystemId::OPERATOR;

fn refused(table: &Table, path: &str) -> String {
    resolve(table, OPERATOR, path).unwrap_err().to_string()
}

#[test]
fn an_empty_table_has_the_operator_alone() {
    let table = Table::empty();
    assert_eq!((table.id("operator"), table.name(OPERATOR)), (Some(OPERATOR), Some("operator")));
    assert_eq!(table.subsystems().count(), 0);
    assert!(table.grants(OPERATOR).unwrap().is_all());
    let refusal = resolve(&table, OPERATOR, "operator://x").unwrap_err();
    assert!(matches!(refusal, Refusal::NoSubsystem { .. }));
}

#[test]
fn refusals_name_cause_and_remedy() {
    let mut edit = Table::empty().edit();
    edit.subsystem("kv", Grants::none(), routes(&["get/{key}", "list", "scan/*", "put/{key}"]))
        .unwrap();
    edit.subsystem("users", Grants::none(), vec![host_only("tick"), host_only("stored/{id}")])
        .unwrap();
    edit.subsystem("one", Grants::none(), routes(&["only"])).unwrap();
    let table = edit.finish();
    let check = |path: &str, expect: &str| assert_eq!(refused(&table, path), expect);
    check("kvv://x", "no subsystem `kvv`; did you mean `kv`?");
    check("KV://x", "no subsystem `KV`; did you mean `kv`?");
    check("user://x", "no subsystem `user`; did you mean `users`?");
    check("orders://x", "no subsystem `orders`; it must be in the config, and running");
    check(
        "kv://putt/x",
        "`kv` has no route for `putt/x`; its routes are `put/{key}`, `get/{key}`, `list` and 1 more",
    );
    check("one://x", "`one` has no route for `x`; its route is `only`");
    check("users://x", "`users` has no route for `x`; no route of it can be sent to");
    check(
        "users://stored/7",
        "`users` has no route for `stored/7` that can be sent to; only the host reaches `stored/{id}`, for outcomes and timers",
    );
    check(
        "kv//x",
        "`://` is missing after the subsystem's name; a path reads `subsystem://segment/segment` (at byte 2)",
    );
    let long = format!("one://{}\u{202e}", "y".repeat(500));
    check(&long, &format!("`one` has no route for `{}…`; its route is `only`", "y".repeat(60)));
    check("one://\u{202e}", "`one` has no route for `\\u{202e}`; its route is `only`");
}

#[test]
fn errors_of_an_edit_name_both_sides() {
    let check = |name: &str, routes: Vec<Route>, expect: &str| {
        let error = Table::empty().edit().subsystem(name, Grants::none(), routes).unwrap_err();
        assert_eq!(error.to_string(), expect);
    };
    check(
        "s",
        routes(&["a/{x}", "b", "a/{y}"]),
        "`s` declares `a/{x}` and `a/{y}`, which match the same paths; remove one",
    );
    check(
        "s",
        routes(&["a", "a"]),
        "`s` declares `a` and `a`, which match the same paths; remove one",
    );
    check(
        "s",
        vec![route("a/*"), host_only("a/{*r}")],
        "`s` declares `a/*` and `a/{*r}`, which match the same paths; remove one",
    );
    check(
        "kernel",
        vec![],
        "`kernel` cannot name a subsystem: this name is reserved; choose another than kernel, operator, query, channel, request and event (at byte 0)",
    );
    check(
        "a b",
        vec![],
        "`a b` cannot name a subsystem: ' ' cannot be in a subsystem's name; use letters, digits, `_`, `.` and `-` (at byte 1)",
    );
    check(
        "s",
        vec![scoped("a", "re ad")],
        "`s` guards `a` with a scope that has no proper name: `s:re ad` is not a scope; write `subsystem:scope`, such as `kv:read`, since only `*` alone grants more than one",
    );
}

#[test]
fn an_edit_that_fails_changes_nothing() {
    let table = table_of(&["a"]);
    let id = table.id("s").unwrap();
    let mut edit = table.edit();
    edit.subsystem("s", Grants::none(), routes(&["b", "c", "c"])).unwrap_err();
    edit.subsystem("t", Grants::none(), routes(&["c", "c"])).unwrap_err();
    let next = edit.finish();
    assert_eq!(matched(&next, "s://a").as_deref(), Some("a"));
    assert_eq!((next.route_id(id, "b"), next.id("t")), (None, None));
}

#[test]
fn a_pattern_keeps_its_id_over_replacements() {
    let mut table = table_of(&["a", "b/{x}"]);
    let s = table.id("s").unwrap();
    let mut replace = |patterns: &[&str]| {
        let mut edit = table.edit();
        assert_eq!(edit.subsystem("s", Grants::none(), routes(patterns)), Ok(s));
        table = edit.finish();
        let ids = ["a", "b/{x}", "c"].map(|text| table.route_id(s, text).map(|id| id.0));
        let live = [0, 1, 2].map(|id| table.is_live(s, RouteId(id)));
        assert_eq!(table.routes(s).count(), patterns.len());
        (ids, live)
    };
    let (old, all) = ([Some(0), Some(1), None], [Some(0), Some(1), Some(2)]);
    assert_eq!(replace(&["b/{x}"]), (old, [false, true, false]));
    assert_eq!(replace(&["c", "a"]), (all, [true, false, true]));
    assert_eq!(replace(&["c", "b/{x}", "a"]), (all, [true, true, true]));
    assert_eq!(replace(&[]), (all, [false, false, false]));
    assert_eq!(table.pattern(s, RouteId(1)), Some("b/{x}"));
    assert_eq!(matched(&table, "s://a"), None);
}

#[test]
fn a_removed_name_is_gone_and_its_ids_stay_its_own() {
    let table = table_of(&["a", "b"]);
    let s = table.id("s").unwrap();
    let mut edit = table.edit();
    edit.remove(s);
    let other = edit.subsystem("t", Grants::none(), vec![]).unwrap();
    let removed = edit.finish();
    assert_ne!(other, s);
    assert_eq!((removed.id("s"), removed.name(s)), (None, Some("s")));
    assert_eq!(removed.pattern(s, RouteId(1)), Some("b"));
    assert!(!removed.is_live(s, RouteId(1)));
    assert!(matches!(resolve(&removed, OPERATOR, "s://a"), Err(Refusal::NoSubsystem { .. })));
    assert!(matches!(removed.resolve_own(s, "a"), Err(Refusal::NoSubsystem { .. })));
    let mut edit = removed.edit();
    assert_eq!(edit.subsystem("s", Grants::none(), routes(&["b", "a"])), Ok(s));
    assert_eq!(edit.table().route_id(s, "b"), Some(RouteId(1)));
    edit.remove(OPERATOR);
    edit.remove(SubsystemId(999));
    assert!(edit.finish().grants(OPERATOR).unwrap().is_all());
}

#[test]
fn the_kernel_is_addressed_by_its_routes() {
    let mut edit = Table::empty().edit();
    let kernel = edit.kernel(vec![scoped("query/status", "read")]).unwrap();
    let echo = edit.subsystem("echo", Grants::none(), vec![]).unwrap();
    let table = edit.finish();
    assert!(table.has_scope("kernel:read"));
    assert_eq!(resolve(&table, OPERATOR, "kernel://query/status").unwrap().subsystem, kernel);
    assert!(matches!(resolve(&table, echo, "kernel://query/status"), Err(Refusal::Denied { .. })));
}

#[test]
fn ones_own_routes_are_all_reached() {
    let mut edit = Table::empty().edit();
    let own = vec![host_only("stored/{key}"), scoped("put/{key}", "write"), route("")];
    let s = edit.subsystem("s", Grants::none(), own).unwrap();
    let table = edit.finish();
    let check = |rest: &str, expect: Result<&str, &str>| match table.resolve_own(s, rest) {
        Ok(resolved) => {
            assert_eq!(Ok(resolved.params.get(0).unwrap_or("-")), expect, "{rest}");
        }
        Err(refusal) => assert_eq!(Err(refusal.to_string().as_str()), expect, "{rest}"),
    };
    check("stored/x", Ok("x"));
    check("put/x", Ok("x"));
    check("", Ok("-"));
    check("stored", Err("`s` has no route for `stored`; its routes are `put/{key}`, ``"));
    check("stored/", Err("a segment is empty; remove the extra `/` (at byte 6)"));
    check("s://put/x", Err("a segment is empty; remove the extra `/` (at byte 3)"));
    assert!(matches!(
        table.resolve_own(s, &"x".repeat(2049)),
        Err(Refusal::BadPath(error)) if error.kind == PathErrorKind::TooLong(2049)
    ));
    assert!(matches!(table.resolve_own(SubsystemId(9), "x"), Err(Refusal::NoSubsystem { .. })));
}

#[test]
fn a_host_only_route_hides_a_less_literal_one() {
    let mut edit = Table::empty().edit();
    edit.subsystem("s", Grants::none(), vec![host_only("stored/{key}"), route("{*rest}")]).unwrap();
    let table = edit.finish();
    assert!(matches!(resolve(&table, OPERATOR, "s://stored/x"), Err(Refusal::HostOnly { .. })));
    assert_eq!(matched(&table, "s://stored/x/y").as_deref(), Some("{*rest} stored/x/y"));
}

#[test]
fn schemas_are_compared() {
    let mut edit = Table::empty().edit();
    let typed = Route { body: 7, reply: 8, ..route("typed") };
    let s = edit.subsystem("s", Grants::none(), vec![typed, route("any")]).unwrap();
    let table = edit.finish();
    let resolved = resolve(&table, OPERATOR, "s://typed").unwrap();
    assert_eq!((resolved.body, resolved.reply), (7, 8));
    assert_eq!(table.check_body(s, RouteId(0), 7), Ok(()));
    assert_eq!(table.check_body(s, RouteId(0), 0), Ok(()));
    assert_eq!(table.check_body(s, RouteId(1), 9), Ok(()));
    assert_eq!(
        table.check_body(s, RouteId(0), 9).unwrap_err().to_string(),
        "`s` takes another body for `typed`: its schema is 0000000000000007, the sender's 0000000000000009; build both against the same message types"
    );
    assert!(table.check_body(s, RouteId(2), 7).is_err());
}

#[test]
fn a_recipient_keeps_its_parameters() {
    let table = table_of(&["{a}/x/{*rest}"]);
    let path = String::from("s://1/x/ü/3");
    let kept = resolve(&table, OPERATOR, &path).unwrap().to_recipient();
    drop(path);
    assert!(kept.params().iter().eq(["1", "ü/3"]));
    assert_eq!((kept.params().len(), kept.params().get(2)), (2, None));
}

#[test]
fn ids_run_out_with_an_error() {
    let many: Vec<Route> = (0..u16::MAX).map(|index| route(&format!("r{index}"))).collect();
    let mut edit = Table::empty().edit();
    edit.subsystem("s", Grants::none(), many).unwrap();
    let error = edit.subsystem("s", Grants::none(), vec![route("more")]).unwrap_err();
    assert!(matches!(error, TableError::TooManyRoutes { .. }));
    for index in 2..u16::MAX {
        edit.subsystem(&format!("s{index}"), Grants::none(), vec![]).unwrap();
    }
    let error = edit.subsystem("more", Grants::none(), vec![]).unwrap_err();
    assert_eq!(error, TableError::TooManySubsystems);
}

fn add(edit: &mut Edit, name: &str) -> Result<SubsystemId, TableError> {
    edit.subsystem(name, Grants::none(), routes(&["a"]))
}

#[test]
fn a_failed_update_publishes_nothing() {
    let tables = Tables::default();
    let before = tables.snapshot();
    let failed: Result<(), &str> =
        tables.update(|edit| add(edit, "s").map_err(|_| "s").and(Err("no")));
    assert_eq!(failed, Err("no"));
    assert!(Arc::ptr_eq(&before, &tables.load()));
    tables.update(|edit| add(edit, "s")).unwrap();
    assert_eq!((before.version(), tables.load().version()), (Version(0), Version(1)));
    assert_eq!((before.id("s"), tables.load().id("s").is_some()), (None, true));
}

#[test]
fn concurrent_editors_lose_no_edit() {
    let tables = Tables::default();
    let (tables, editors, each) = (&tables, 4, if cfg!(miri) { 2 } else { 50 });
    std::thread::scope(|scope| {
        for editor in 0..editors {
            scope.spawn(move || {
                for turn in 0..each {
                    tables.update(|edit| add(edit, &format!("s{editor}-{turn}"))).unwrap();
                }
            });
        }
    });
    assert_eq!(tables.load().subsystems().count(), editors * each);
    assert_eq!(tables.load().version(), Version((editors * each) as u32));
}
