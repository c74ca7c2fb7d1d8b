use mycelia_kernel::path::{MAX_PARAMETERS, MAX_PATH, MAX_SEGMENTS};
use mycelia_kernel::pattern::PatternErrorKind::*;
use mycelia_kernel::pattern::{Pattern, PatternErrorKind};

fn check(text: &str, expect: Result<&str, (PatternErrorKind, usize)>) {
    let parameters = |pattern: Pattern| pattern.parameters().collect::<Vec<_>>().join(" ");
    let parsed = Pattern::parse(text).map(parameters).map_err(|e| (e.kind, e.at));
    assert_eq!(parsed, expect.map(String::from), "{:?}", &text[..text.len().min(80)]);
}

#[test]
fn patterns_that_parse() {
    check("", Ok(""));
    check("users", Ok(""));
    check("users/{id}", Ok("id"));
    check("{a}/{_b9}/x", Ok("a _b9"));
    check("files/{*rest}", Ok("rest"));
    check("{a}/{*b}", Ok("a b"));
    check("files/*", Ok(""));
    check("*", Ok(""));
    check("a.b?c#d%2F", Ok(""));
    check("a:b", Ok(""));
    check("ü/日本 x", Ok(""));
}

#[test]
fn patterns_that_do_not_parse_point_at_the_place() {
    check("/users", Err((EmptySegment, 0)));
    check("users/", Err((EmptySegment, 5)));
    check("a//b", Err((EmptySegment, 2)));
    check("s://u/{id}", Err((Absolute, 1)));
    check("s://", Err((Absolute, 1)));
    check("s:///x", Err((Absolute, 1)));
    check(":id", Err((ColonParameter, 0)));
    check("u/:id/x", Err((ColonParameter, 2)));
    check("{}", Err((MissingParameterName, 1)));
    check("u/{*}", Err((MissingParameterName, 4)));
    check("u/{my-id}", Err((ParameterCharacter('-'), 5)));
    check("u/{9a}", Err((ParameterCharacter('9'), 3)));
    check("u/{id:int}", Err((ParameterCharacter(':'), 5)));
    check("u/{ü}", Err((ParameterCharacter('ü'), 3)));
    check("u/{{id}}", Err((PartialParameter, 7)));
    check("u/{a{b}", Err((ParameterCharacter('{'), 4)));
    check("u/{id", Err((UnclosedBrace, 2)));
    check("u/{id/x}", Err((UnclosedBrace, 2)));
    check("u/id}", Err((UnopenedBrace, 4)));
    check("{id}-{k}", Err((PartialParameter, 4)));
    check("u/x{id}", Err((PartialParameter, 3)));
    check("u/{id}x", Err((PartialParameter, 6)));
    check("u/{id}/{id}", Err((DuplicateParameter, 7)));
    check("u/{id}/{*id}", Err((DuplicateParameter, 7)));
    check("*/end", Err((TailNotLast, 1)));
    check("u/{*rest}/x", Err((TailNotLast, 9)));
    check("u/*/", Err((TailNotLast, 3)));
    check("u/a*", Err((PartialTail, 3)));
    check("u/**", Err((PartialTail, 2)));
    check("u/*a", Err((PartialTail, 2)));
    check("u/a\nb", Err((ControlCharacter('\n'), 3)));
    check("u/{a\0}", Err((ControlCharacter('\0'), 4)));
    check("\u{85}", Err((ControlCharacter('\u{85}'), 0)));
}

#[test]
fn limits_are_exact() {
    let deep = |segments: usize| vec!["a"; segments].join("/");
    let wide = |count: usize| {
        let names: Vec<_> = (0..count).map(|index| format!("{{p{index}}}")).collect();
        names.join("/")
    };
    check(&"x".repeat(MAX_PATH), Ok(""));
    check(&"x".repeat(MAX_PATH + 1), Err((TooLong(MAX_PATH + 1), MAX_PATH)));
    check(&deep(MAX_SEGMENTS), Ok(""));
    check(&deep(MAX_SEGMENTS + 1), Err((TooManySegments, 2 * MAX_SEGMENTS)));
    check(&wide(MAX_PARAMETERS), Ok("p0 p1 p2 p3 p4 p5 p6 p7"));
    check(&wide(MAX_PARAMETERS + 1), Err((TooManyParameters, 5 * MAX_PARAMETERS)));
    check(&(wide(MAX_PARAMETERS) + "/{*rest}"), Err((TooManyParameters, 5 * MAX_PARAMETERS)));
    check(&(wide(MAX_PARAMETERS) + "/*"), Ok("p0 p1 p2 p3 p4 p5 p6 p7"));
}

#[test]
fn conflicts_are_between_patterns_that_match_the_same_paths() {
    let check = |one: &str, other: &str, expect: bool| {
        let [one, other] = [one, other].map(|text| Pattern::parse(text).unwrap());
        assert_eq!(one.conflicts_with(&other), expect, "{one:?} {other:?}");
        assert_eq!(other.conflicts_with(&one), expect, "{other:?} {one:?}");
    };
    check("a", "a", true);
    check("", "", true);
    check("a/{x}", "a/{y}", true);
    check("a/*", "a/{*rest}", true);
    check("{a}/b/{*c}", "{x}/b/*", true);
    check("a/{x}", "a/b", false);
    check("a/{x}", "a/{*x}", false);
    check("a/{x}", "a/*", false);
    check("a/{x}", "{y}/b", false);
    check("a", "A", false);
    check("a", "a/b", false);
    check("", "*", false);
}

#[test]
fn errors_name_cause_and_remedy() {
    let check = |text: &str, error: &str, pointer: &str| {
        let found = Pattern::parse(text).unwrap_err();
        assert_eq!((found.to_string().as_str(), found.pointer(text).as_str()), (error, pointer));
    };
    check(
        "u/:id",
        "a segment cannot start with `:`; a parameter is written `{id}` (at byte 2)",
        "u/:id\n  ^",
    );
    check(
        "u/x{a}",
        "a parameter takes a whole segment; put a `/` between it and the rest, or take the segment apart in the handler (at byte 3)",
        "u/x{a}\n   ^",
    );
}
