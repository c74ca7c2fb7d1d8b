use mycelia_kernel::path::PathErrorKind::*;
use mycelia_kernel::path::{MAX_PATH, Path, PathErrorKind, RESERVED, check_name};

fn check(text: &str, expect: Result<(&str, &str), (PathErrorKind, usize)>) {
    let parsed = Path::parse(text);
    let parts = parsed.map(|path| (path.subsystem(), path.rest())).map_err(|e| (e.kind, e.at));
    assert_eq!(parts, expect, "{:?}", &text[..text.len().min(80)]);
}

#[test]
fn paths_that_parse() {
    check("kv://put/x", Ok(("kv", "put/x")));
    check("kv://", Ok(("kv", "")));
    check("KV://Put/X", Ok(("KV", "Put/X")));
    check("a.b_c-9://x", Ok(("a.b_c-9", "x")));
    check("kernel://query/status", Ok(("kernel", "query/status")));
    check("s://u?q=1", Ok(("s", "u?q=1")));
    check("s://u#f", Ok(("s", "u#f")));
    check("s://u/%2F", Ok(("s", "u/%2F")));
    check("s://u/ü/日本 x", Ok(("s", "u/ü/日本 x")));
    check("s://u/{id}/*", Ok(("s", "u/{id}/*")));
    check("s://a:b", Ok(("s", "a:b")));
    check("s://./..", Ok(("s", "./..")));
}

#[test]
fn paths_that_do_not_parse_point_at_the_place() {
    check("", Err((MissingName, 0)));
    check("://x", Err((MissingName, 0)));
    check("/users/42", Err((MissingName, 0)));
    check("nopath", Err((MissingSeparator, 6)));
    check("users/42", Err((MissingSeparator, 5)));
    check("a:/b", Err((MissingSeparator, 1)));
    check("a:b://c", Err((MissingSeparator, 1)));
    check("a/b://c", Err((MissingSeparator, 1)));
    check("a:", Err((MissingSeparator, 1)));
    check("a b://c", Err((NameCharacter(' '), 1)));
    check(" a://c", Err((NameCharacter(' '), 0)));
    check("aü://c", Err((NameCharacter('ü'), 1)));
    check("a\n://c", Err((NameCharacter('\n'), 1)));
    check("a:///", Err((EmptySegment, 4)));
    check("a:///b", Err((EmptySegment, 4)));
    check("s://a/b/", Err((EmptySegment, 7)));
    check("s://a//b", Err((EmptySegment, 6)));
    check("s://u/", Err((EmptySegment, 5)));
    check("s://u/1\n2", Err((ControlCharacter('\n'), 7)));
    check("s://u/\0", Err((ControlCharacter('\0'), 6)));
    check("s://ü\u{7f}", Err((ControlCharacter('\u{7f}'), 6)));
    check("s://\u{85}", Err((ControlCharacter('\u{85}'), 4)));
}

#[test]
fn limits_are_exact() {
    let long = |bytes: usize| format!("s://{}", "x".repeat(bytes - 4));
    let deep = |segments: usize| format!("s://{}", vec!["a"; segments].join("/"));
    assert!(Path::parse(&long(MAX_PATH)).is_ok());
    check(&long(MAX_PATH + 1), Err((TooLong(MAX_PATH + 1), MAX_PATH)));
    check(&long(1 << 20), Err((TooLong(1 << 20), MAX_PATH)));
    check(&"/".repeat(1 << 20), Err((TooLong(1 << 20), MAX_PATH)));
    check(&"日".repeat(1000), Err((TooLong(3000), 2046)));
    assert_eq!(Path::parse(&deep(32)).unwrap().segments().count(), 32);
    check(&deep(33), Err((TooManySegments, 4 + 2 * 32)));
    check(&(deep(32) + "/"), Err((EmptySegment, 4 + 2 * 32 - 1)));
}

#[test]
fn segments_are_the_parts_of_the_rest() {
    let segments = |text| Path::parse(text).unwrap().segments().collect::<Vec<_>>();
    assert_eq!(segments("s://a/b%2Fc/d"), ["a", "b%2Fc", "d"]);
    assert!(segments("s://").is_empty());
}

#[test]
fn names() {
    let check = |name: &str, expect: Result<(), (PathErrorKind, usize)>| {
        assert_eq!(check_name(name).map_err(|e| (e.kind, e.at)), expect, "{name:?}");
    };
    check("kv", Ok(()));
    check("Kernel", Ok(()));
    check("a.b_c-9", Ok(()));
    check("", Err((MissingName, 0)));
    check("a/b", Err((NameCharacter('/'), 1)));
    check("a:b", Err((NameCharacter(':'), 1)));
    check("kvé", Err((NameCharacter('é'), 2)));
    check(".", Err((DotsOnly, 0)));
    check("..", Err((DotsOnly, 0)));
    check(&"x".repeat(255), Ok(()));
    check(&"x".repeat(256), Err((NameTooLong(256), 255)));
    for name in RESERVED {
        check(name, Err((ReservedName, 0)));
    }
}

#[test]
fn pointers_stand_below_the_place() {
    let check = |text: &str, expect: &str| {
        assert_eq!(Path::parse(text).unwrap_err().pointer(text), expect);
    };
    check("s://a//b", "s://a//b\n      ^");
    check("nopath", "nopath\n      ^");
    check("", "\n^");
    check("s://a\tb\nc", "s://a\\tb\\nc\n     ^");
    check("ü://a", "ü://a\n^");
    let deep = format!("s://{}//{}", "x".repeat(100), "y".repeat(100));
    let shown = format!("…{}//{}…\n{:31}^", "x".repeat(29), "y".repeat(30), "");
    check(&deep, &shown);
    let huge = "x".repeat(1 << 20);
    check(&huge, &format!("…{}…\n{:31}^", "x".repeat(61), ""));
}

#[test]
fn errors_are_one_line() {
    let shown = |text: &str| Path::parse(text).unwrap_err().to_string();
    assert_eq!(shown("s://a//b"), "a segment is empty; remove the extra `/` (at byte 6)");
    assert_eq!(
        shown("a\nb://c"),
        "'\\n' cannot be in a subsystem's name; use letters, digits, `_`, `.` and `-` (at byte 1)"
    );
}

/// What a tail matches is checked whether it is captured or not, however the path is resolved.
#[test]
fn what_no_parameter_captures_is_checked_too() {
    for pattern in ["*", "{*rest}", "a/*", "{one}/*"] {
        let table = crate::table_of(&[pattern]);
        for (rest, is_path) in [
            ("a/b", true),
            ("a/b/é", true),
            ("a/b%20c", true),
            ("a//b", false),
            ("a/b//c", false),
            ("a/b/\n", false),
            ("a/\u{7f}/c", false),
            ("a/b/", false),
        ] {
            let path = format!("s://{rest}");
            let sender = mycelia_kernel::ids::SubsystemId::OPERATOR;
            let found = crate::resolve(&table, sender, &path);
            assert_eq!(found.is_ok(), is_path, "{path:?} to {pattern}");
            assert_eq!(table.resolve_text(sender, &path), found, "{path:?} to {pattern}");
        }
    }
}
