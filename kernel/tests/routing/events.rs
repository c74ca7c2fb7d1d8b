//! Events: who is tied to whom, who is told, and how an edit changes that.

use mycelia_kernel::ids::SubsystemId;
use mycelia_kernel::pattern::{Pattern, PatternErrorKind};
use mycelia_kernel::scope::Grants;
use mycelia_kernel::table::{Reach, Route, Table, TableError, Verdict};

use super::{resolve, route, table_of};

fn event(pattern: &str) -> Route {
    Route { reach: Reach::Event, scope: Some("read".into()), ..route(pattern) }
}

fn listens(pattern: &str) -> Route {
    let pattern = Pattern::parse_listened(pattern).unwrap();
    Route { pattern, reach: Reach::Listener, ..route("") }
}

/// `orders` publishes; `audit` may listen, and `spy` may not.
fn shop(published: Vec<Route>, heard: &str) -> Table {
    let mut edit = Table::empty().edit();
    let granted = Grants::parse(["orders:read"]).unwrap();
    edit.subsystem("audit", granted, vec![listens(heard)]).unwrap();
    edit.subsystem("orders", Grants::none(), published).unwrap();
    edit.subsystem("spy", Grants::none(), vec![listens(heard)]).unwrap();
    edit.finish()
}

/// `name: verdict` of whoever is tied to the event at this path.
fn told(table: &Table, rest: &str) -> Vec<String> {
    let orders = table.id("orders").unwrap();
    let event = table.resolve_event(orders, rest).unwrap();
    let listeners = table.listeners(orders, event.route).iter();
    listeners
        .map(|one| format!("{}: {:?}", table.name(one.subsystem).unwrap(), one.verdict))
        .collect()
}

#[test]
fn listeners_are_tied_by_what_a_pattern_matches() {
    for (published, heard, is_tied) in [
        ("created/{id}", "orders://created/{id}", true),
        ("created/{id}", "orders://created/{number}", true),
        ("created/{id}", "orders://created/{*rest}", false),
        ("created/{id}", "orders://created/7", false),
        ("created/{id}", "others://created/{id}", false),
        ("files/{*path}", "orders://files/{*rest}", true),
        ("files/{*path}", "orders://files/*", false),
        ("", "orders://", true),
    ] {
        let table = shop(vec![event(published)], heard);
        let path = published.replace("{id}", "7").replace("{*path}", "a/b");
        let expect = ["audit: Told", "spy: Denied"];
        let expect = if is_tied { &expect[..] } else { &[] };
        assert_eq!(told(&table, &path), expect, "{published} and {heard}");
    }
}

#[test]
fn what_is_no_event_is_not_listened_to() {
    let heard = "orders://created/{id}";
    for other in [route("created/{id}"), event("gone/{id}")] {
        let table = shop(vec![other], heard);
        let pattern = Pattern::parse_listened(heard).unwrap();
        assert_eq!(table.event(&pattern), None);
        let orders = table.id("orders").unwrap();
        let refusal = table.resolve_event(orders, "created/7").unwrap_err().to_string();
        assert!(refusal.contains("declares no event"), "{refusal}");
    }
}

#[test]
fn nobody_sends_to_an_event_nor_to_who_listens() {
    let table = shop(vec![event("created/{id}")], "orders://created/{id}");
    let orders = table.id("orders").unwrap();
    for sender in [SubsystemId::OPERATOR, orders] {
        let refusal = resolve(&table, sender, "orders://created/7").unwrap_err().to_string();
        assert!(refusal.contains("on_event(\"orders://created/{id}\""), "{refusal}");
        assert!(table.resolve_text(sender, "orders://created/7").is_err());
        for path in ["audit://created/7", "audit://orders", "audit://"] {
            assert!(resolve(&table, sender, path).is_err(), "{path}");
        }
    }
    assert!(table.resolve_own(orders, "created/7").is_err(), "nor does a timer or an outcome");
    let audit = table.id("audit").unwrap();
    assert!(table.resolve_own(audit, "orders://created/7").is_err());
}

#[test]
fn one_who_is_told_is_found_by_the_whole_path() {
    let table = shop(vec![event("created/{id}")], "orders://created/{id}");
    let [audit, spy] = ["audit", "spy"].map(|name| table.id(name).unwrap());
    let found = table.resolve_listener(audit, "orders://created/7").unwrap();
    assert_eq!((found.subsystem, found.params.get(0)), (audit, Some("7")));
    let pattern = table.pattern(audit, found.route);
    assert_eq!(pattern, Some("orders://created/{id}"));
    let refused = |listener, path| table.resolve_listener(listener, path).unwrap_err().to_string();
    assert!(refused(spy, "orders://created/7").contains("lacks the scope `orders:read`"));
    assert!(refused(audit, "orders://gone/7").contains("declares no event"));
    assert!(refused(table.id("orders").unwrap(), "orders://created/7").contains("is an event"));
}

#[test]
fn every_edit_ties_anew() {
    let table = shop(vec![event("created/{id}")], "orders://created/{id}");
    let [audit, orders, spy] = ["audit", "orders", "spy"].map(|name| table.id(name).unwrap());
    let all = Grants::all();

    let mut edit = table.edit();
    edit.grants(spy, all.clone());
    edit.grants(audit, Grants::none());
    assert_eq!(told(&edit.finish(), "created/7"), ["audit: Denied", "spy: Told"]);

    let mut edit = table.edit();
    edit.remove(spy);
    assert_eq!(told(&edit.finish(), "created/7"), ["audit: Told"]);

    let mut edit = table.edit();
    edit.subsystem("audit", all, Vec::new()).unwrap();
    assert_eq!(told(&edit.preview(), "created/7"), ["spy: Denied"], "before it is published, too");

    let mut edit = table.edit();
    edit.remove(orders);
    let without = edit.finish();
    let event = table.resolve_event(orders, "created/7").unwrap().route;
    assert_eq!(without.listeners(orders, event), []);
    let mut edit = without.edit();
    edit.subsystem("orders", Grants::none(), vec![event_of("created/{n}", 7)]).unwrap();
    assert_eq!(told(&edit.finish(), "created/7"), ["audit: Told", "spy: Denied"]);
}

fn event_of(pattern: &str, body: u64) -> Route {
    Route { body, ..event(pattern) }
}

#[test]
fn another_body_is_not_heard() {
    for (sent, taken, verdict) in
        [(1, 1, Verdict::Told), (1, 2, Verdict::OtherBody), (0, 2, Verdict::Told)]
    {
        let mut edit = Table::empty().edit();
        let orders = edit.subsystem("orders", Grants::none(), vec![event_of("created", sent)]);
        let taker = Route { body: taken, ..listens("orders://created") };
        edit.subsystem("audit", Grants::all(), vec![taker]).unwrap();
        let table = edit.finish();
        let orders = orders.unwrap();
        let event = table.resolve_event(orders, "created").unwrap();
        assert_eq!(event.body, sent);
        let listeners = table.listeners(orders, event.route);
        assert_eq!(listeners.iter().map(|one| one.verdict).collect::<Vec<_>>(), [verdict]);
    }
}

#[test]
fn ones_own_events_need_no_grant() {
    let mut edit = Table::empty().edit();
    let routes = vec![event("created"), listens("orders://created"), route("orders")];
    let orders = edit.subsystem("orders", Grants::none(), routes).unwrap();
    let table = edit.finish();
    assert_eq!(told(&table, "created"), ["orders: Told"]);
    assert_eq!(table.routes(orders).count(), 3);
}

#[test]
fn an_event_comes_by_one_route() {
    let mut edit = Table::empty().edit();
    let twice = vec![listens("orders://created/{a}"), listens("orders://created/{b}")];
    let refused = edit.subsystem("audit", Grants::none(), twice).unwrap_err();
    assert!(matches!(refused, TableError::Conflict { .. }), "{refused}");
    let two = vec![listens("orders://created/{a}"), listens("stock://created/{a}")];
    assert!(edit.subsystem("audit", Grants::none(), two).is_ok());
    let both = vec![event("created/{a}"), route("created/{b}")];
    assert!(edit.subsystem("orders", Grants::none(), both).is_err());
}

#[test]
fn the_kernel_publishes_too() {
    let mut edit = Table::empty().edit();
    let kernel = edit.kernel(vec![event("event/fault/{name}")]).unwrap();
    let granted = Grants::parse(["kernel:read"]).unwrap();
    edit.subsystem("watch", granted, vec![listens("kernel://event/fault/{name}")]).unwrap();
    let table = edit.finish();
    let event = table.resolve_event(kernel, "event/fault/kv").unwrap();
    assert_eq!(event.params.get(0), Some("kv"));
    assert_eq!(table.listeners(kernel, event.route).len(), 1);
}

#[test]
fn a_listened_pattern_names_its_publisher() {
    let parse = |text| Pattern::parse_listened(text);
    assert_eq!(parse("orders://created/{id}").unwrap().publisher(), Some("orders"));
    assert_eq!(Pattern::parse("created/{id}").unwrap().publisher(), None);
    for text in ["created/{id}", "://created", "or ders://created", "operator://x", ""] {
        assert_eq!(parse(text).unwrap_err().kind, PatternErrorKind::NoPublisher, "{text}");
    }
    let error = parse("orders://created//x").unwrap_err();
    assert_eq!((error.kind, error.at), (PatternErrorKind::EmptySegment, 17));
    assert!(table_of(&["created"]).id("s").is_some());
}
