//! The pattern check of the compiler and the kernel's parser accept the same set.

use crate::quietly;
use mycelia_kernel::pattern::Pattern;
use mycelia_plugin::check_pattern;
use proptest::prelude::*;
use std::panic::catch_unwind;

/// Whether the const check, which panics where it refuses, accepts a pattern.
fn is_accepted(pattern: &str) -> bool {
    quietly(|| catch_unwind(|| check_pattern(pattern)).is_ok())
}

fn check(pattern: &str) {
    let kernel = Pattern::parse(pattern);
    assert_eq!(is_accepted(pattern), kernel.is_ok(), "{pattern:?}: the kernel says {kernel:?}");
}

#[test]
fn the_two_agree_on_a_table() {
    for (pattern, expect) in [
        ("", true),
        ("users", true),
        ("users/{id}", true),
        ("users/{id}/files/{*rest}", true),
        ("files/*", true),
        ("*", true),
        ("{*rest}", true),
        ("{_}", true),
        ("{a1}/{_2}", true),
        ("a:b", true),
        ("a b/ü", true),
        ("100%", true),
        ("/", false),
        ("/users", false),
        ("users/", false),
        ("a//b", false),
        ("users://users", false),
        ("{}", false),
        ("{*}", false),
        ("{1a}", false),
        ("{a-b}", false),
        ("{ü}", false),
        ("{a", false),
        ("a}", false),
        ("a{b}", false),
        ("{a}b", false),
        ("{a}{b}", false),
        ("{a/b}", false),
        ("{{a}}", false),
        ("{", false),
        ("}", false),
        ("{*", false),
        ("{**a}", false),
        ("{a*}", false),
        ("{*rest}/a", false),
        ("*/a", false),
        ("**", false),
        ("a*", false),
        (":id", false),
        ("a/:id", false),
        ("{id}/{id}", false),
        ("{id}/{*id}", false),
        ("{id}/{idd}", true),
        ("a\tb", false),
        ("a\u{7f}", false),
        ("a\u{85}", false),
    ] {
        assert_eq!(is_accepted(pattern), expect, "{pattern:?}");
        check(pattern);
    }
}

#[test]
fn the_two_agree_on_limits() {
    let parameters =
        |count| (0..count).map(|at| format!("{{p{at}}}")).collect::<Vec<_>>().join("/");
    for (pattern, expect) in [
        ("a".repeat(2048), true),
        ("a".repeat(2049), false),
        (["a"; 32].join("/"), true),
        (["a"; 33].join("/"), false),
        (parameters(8), true),
        (parameters(9), false),
        (parameters(8) + "/*", true),
        (parameters(8) + "/{*rest}", false),
    ] {
        assert_eq!(is_accepted(&pattern), expect, "{pattern:?}");
        check(&pattern);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_two_agree_on_what_nobody_thought_of(pattern in "[a1_{}*/: %\u{7f}\u{85}ü]{0,12}") {
        check(&pattern);
    }

    #[test]
    fn the_two_agree_on_what_looks_right(pattern in r"(a|\{[ab1_]{0,2}\}|\{\*[ab]?\}|\*|:a)(/(a|\{[ab1_]{0,2}\}|\{\*[ab]?\}|\*)){0,4}") {
        check(&pattern);
    }
}
