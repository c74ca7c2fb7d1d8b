use mycelia_kernel::ids::SubsystemId;
use mycelia_kernel::path::MAX_SEGMENTS;

use crate::{matched, resolve, table_of};

fn check(patterns: &[&str], path: &str, expect: &str) {
    let found = matched(&table_of(patterns), path);
    assert_eq!(found.as_deref().unwrap_or("no route"), expect, "{patterns:?} {path}");
}

#[test]
fn nothing_is_normalised_or_decoded() {
    check(&["a/b"], "s://a/b", "a/b");
    check(&["a/b"], "s://A/b", "no route");
    check(&["a/b"], "s://a/b/", "no route");
    check(&["a/b"], "s://a//b", "no route");
    check(&["a/b"], "s://a/b?q", "no route");
    check(&["a/b"], "s://a/b#f", "no route");
    check(&["a/b"], "s://a%2Fb", "no route");
    check(&["u/{id}"], "s://u/%2F", "u/{id} %2F");
    check(&["u/{id}"], "s://u/a-b-c", "u/{id} a-b-c");
    check(&["u/{id}"], "s://u/1?q#f", "u/{id} 1?q#f");
    check(&["u/{id}"], "s://u/日本", "u/{id} 日本");
    check(&["u/{id}"], "s://u/e\u{301}", "u/{id} e\u{301}");
    check(&["é"], "s://e\u{301}", "no route");
    check(&["u/{id}"], "s://u/{id}", "u/{id} {id}");
    check(&["u/.+(x)"], "s://u/.+(x)", "u/.+(x)");
    check(&["u/.+(x)"], "s://u/ab(x)", "no route");
}

#[test]
fn a_parameter_is_one_segment_and_never_empty() {
    check(&["u/{id}"], "s://u/42", "u/{id} 42");
    check(&["u/{id}"], "s://u", "no route");
    check(&["u/{id}"], "s://u/", "no route");
    check(&["u/{id}"], "s://u/1/", "no route");
    check(&["u/{id}"], "s://u/1/2", "no route");
    check(&["u/{id}"], "s://u/1\n2", "no route");
    check(&["{a}/{b}"], "s://x/y", "{a}/{b} x y");
    check(&["{a}"], "s://", "no route");
}

#[test]
fn a_tail_is_one_segment_or_more() {
    check(&["p/*"], "s://p/a/b", "p/*");
    check(&["p/*"], "s://p/a", "p/*");
    check(&["p/*"], "s://p/", "no route");
    check(&["p/*"], "s://p", "no route");
    check(&["p/{*rest}"], "s://p/a/b", "p/{*rest} a/b");
    check(&["{*rest}"], "s://a", "{*rest} a");
    check(&["{*rest}"], "s://", "no route");
    check(&["{a}/{*rest}"], "s://x/y/z", "{a}/{*rest} x y/z");
}

#[test]
fn the_empty_route_is_an_address() {
    check(&[""], "s://", "");
    check(&[""], "s://a", "no route");
    check(&["", "*"], "s://", "");
    check(&["", "*"], "s://a", "*");
    check(&["a"], "s://", "no route");
    check(&[], "s://", "no route");
    check(&[], "s://a", "no route");
}

#[test]
fn the_more_literal_wins_from_the_left() {
    check(&["u/{identifier}", "u/profile"], "s://u/profile", "u/profile");
    check(&["u/{x}", "u/profile"], "s://u/other", "u/{x} other");
    check(&["a/*", "a/{x}"], "s://a/b", "a/{x} b");
    check(&["a/*", "a/{x}"], "s://a/b/c", "a/*");
    check(&["{y}/b", "a/{x}"], "s://a/b", "a/{x} b");
    check(&["a/{*r}", "{x}/b"], "s://a/b", "a/{*r} b");
}

#[test]
fn a_way_that_leads_nowhere_is_left() {
    check(&["a/{x}/c", "a/b/d"], "s://a/b/c", "a/{x}/c b");
    check(&["a/{x}/c", "a/b/d"], "s://a/b/d", "a/b/d");
    check(&["a/b/d", "{x}/{y}/c"], "s://a/b/c", "{x}/{y}/c a b");
    check(&["{x}/{y}/c", "{*r}"], "s://a/b/d", "{*r} a/b/d");
    check(&["a/b", "a/*"], "s://a/b/c", "a/*");
    check(&["a/b/c", "*"], "s://a/b", "*");
    check(&["a/{x}/c/d", "a/{*r}", "a/b/c/e"], "s://a/b/c/f", "a/{*r} b/c/f");
}

#[test]
fn literals_with_a_common_beginning_are_told_apart() {
    let patterns = ["subsystem-a", "subsystem-b", "subsyste", "subsystem", "s", "", "subsystem-aa"];
    for pattern in patterns {
        check(&patterns, &format!("s://{pattern}"), pattern);
    }
    check(&patterns, "s://subsystem-c", "no route");
    check(&patterns, "s://subsys", "no route");
    check(&patterns, "s://subsystem-", "no route");
}

#[test]
fn a_thousand_routes_are_told_apart() {
    let texts: Vec<String> =
        (0..1000).map(|index| format!("group{}/item{index}", index % 7)).collect();
    let table = table_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    for text in &texts {
        assert_eq!(matched(&table, &format!("s://{text}")).as_ref(), Some(text));
    }
    assert_eq!(matched(&table, "s://group1/item0"), None);
}

/// Naive backtracking would take 2^31 steps here.
#[test]
fn a_hostile_path_costs_no_more_than_the_patterns() {
    let place = |depth: usize, parameter: usize| if depth == parameter { "{x}" } else { "a" };
    let pattern = |parameter| {
        let parts: Vec<_> = (0..MAX_SEGMENTS - 1).map(|depth| place(depth, parameter)).collect();
        parts.join("/") + "/end"
    };
    let texts: Vec<String> = (0..MAX_SEGMENTS - 1).map(pattern).collect();
    let table = table_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    let path = format!("s://{}/miss", vec!["a"; MAX_SEGMENTS - 1].join("/"));
    for _ in 0..1000 {
        assert!(resolve(&table, SubsystemId::OPERATOR, &path).is_err());
    }
}
