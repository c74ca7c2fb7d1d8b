use std::collections::BTreeSet;

use mycelia_kernel::ids::SubsystemId;
use mycelia_kernel::path::{MAX_SEGMENTS, Path};
use mycelia_kernel::pattern::Pattern;
use mycelia_kernel::scope::Grants;
use mycelia_kernel::table::{Table, TableError};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{matched, resolve, routes, table_of};

/// What one pattern makes of a path: the kind of each segment, the smaller the better, and the values.
fn naive<'p>(pattern: &str, path: &[&'p str]) -> Option<(Vec<u8>, Vec<String>)> {
    let mut kinds = Vec::new();
    let mut values = Vec::new();
    let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    for (index, part) in parts.iter().enumerate() {
        let segment: &'p str = path.get(index)?;
        if part.starts_with("{*") || *part == "*" {
            kinds.push(2);
            values.extend((*part != "*").then(|| path[index..].join("/")));
            return Some((kinds, values));
        }
        match part.starts_with('{') {
            true => values.push(segment.into()),
            false if *part == segment => {}
            false => return None,
        }
        kinds.push(u8::from(part.starts_with('{')));
    }
    (parts.len() == path.len()).then_some((kinds, values))
}

fn model(patterns: &BTreeSet<String>, path: &str) -> Option<String> {
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let all = patterns.iter().filter_map(|pattern| Some((naive(pattern, &path)?, pattern)));
    let ((_, values), pattern) = all.min()?;
    Some([pattern.clone()].into_iter().chain(values).collect::<Vec<_>>().join(" "))
}

/// Patterns over few literals, so that they overlap; parameters are named by their place, so that equal shapes are equal texts.
fn a_pattern(tails: &'static [&'static str]) -> impl Strategy<Value = String> {
    let part = select(vec!["a", "b", "ab", "{}"]);
    let parts = prop::collection::vec(part, 0..5);
    (parts, select(tails)).prop_map(|(mut parts, tail)| {
        parts.extend((!tail.is_empty()).then_some(tail));
        let name = |(place, part): (usize, &str)| match part {
            "{}" => format!("{{p{place}}}"),
            other => other.into(),
        };
        parts.into_iter().enumerate().map(name).collect::<Vec<_>>().join("/")
    })
}

fn a_path() -> impl Strategy<Value = String> {
    let part = select(vec!["a", "b", "ab", "c", "{*t}", "%2F"]);
    prop::collection::vec(part, 0..7).prop_map(|parts| parts.join("/"))
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 1000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_matcher_agrees_with_the_model(
        patterns in prop::collection::btree_set(a_pattern(&["", "", "{*t}"]), 0..16),
        paths in prop::collection::vec(a_path(), 1..16),
    ) {
        let table = table_of(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
        for path in paths {
            prop_assert_eq!(matched(&table, &format!("s://{path}")), model(&patterns, &path));
        }
    }

    /// On the patterns that it takes: it refuses `{x}` beside `{*t}`.
    #[test]
    fn the_matcher_agrees_with_matchit(
        patterns in prop::collection::btree_set(a_pattern(&["", "", "{*t}"]), 0..16),
        paths in prop::collection::vec(a_path(), 1..16),
    ) {
        let mut router = matchit::Router::new();
        let mut shared = Vec::new();
        for pattern in &patterns {
            if router.insert(format!("/{pattern}"), pattern.clone()).is_ok() {
                shared.push(pattern.as_str());
            }
        }
        let table = table_of(&shared);
        for path in paths {
            let theirs = router.at(&format!("/{path}")).ok().map(|found| {
                let values = found.params.iter().map(|(_, value)| value.to_owned());
                [found.value.clone()].into_iter().chain(values).collect::<Vec<_>>().join(" ")
            });
            prop_assert_eq!(matched(&table, &format!("s://{path}")), theirs);
        }
    }

    #[test]
    fn the_table_refuses_exactly_the_conflicts(
        one in a_pattern(&["", "*", "{*t}"]),
        other in a_pattern(&["", "*", "{*u}"]),
    ) {
        let [first, second] = [&one, &other].map(|text| Pattern::parse(text).unwrap());
        let added = Table::empty().edit().subsystem("s", Grants::none(), routes(&[&one, &other]));
        let refused = matches!(added, Err(TableError::Conflict { .. }));
        prop_assert_eq!(refused, first.conflicts_with(&second));
        prop_assert_eq!(added.is_err(), refused);
    }

    /// Though it takes another way through the table.
    #[test]
    fn a_text_is_resolved_as_its_path_is(
        patterns in prop::collection::btree_set(a_pattern(&["", "", "{*t}"]), 0..16),
        text in "(s|s|s|t|operator|)(://|://|:/|)((a|b|ab|c)(/|//|)){0,6}(\n|ü|\u{7f}|/|)(|(/a){0,2}|(/a){28,34})",
    ) {
        let table = table_of(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
        let directly = table.resolve_text(SubsystemId::OPERATOR, &text);
        prop_assert_eq!(directly, resolve(&table, SubsystemId::OPERATOR, &text));
    }

    #[test]
    fn the_parser_agrees_with_the_model(
        text in "[a-z]{0,20}(://|:/)(([ -~]|[./0 ~]|a/|ü|/|\u{1f}|\u{7f}|\u{80}|\u{a0}){0,40}|(a/){28,36}a{0,2})",
    ) {
        let is_right = |(name, rest): (&str, &str)| {
            let segments: Vec<&str> = rest.split('/').collect();
            !name.is_empty()
                && (rest.is_empty() || segments.iter().all(|segment| !segment.is_empty()))
                && segments.len() <= MAX_SEGMENTS
                && !rest.chars().any(char::is_control)
        };
        prop_assert_eq!(Path::parse(&text).is_ok(), text.split_once("://").is_some_and(is_right));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "[a{}*:/\u{85}\n ü-]{0,12}") {
        if let Err(error) = Path::parse(&text) {
            prop_assert!(error.at <= text.len() && error.pointer(&text).lines().count() == 2);
        }
        if let Err(error) = Pattern::parse(&text) {
            prop_assert!(error.at < text.len() && error.pointer(&text).lines().count() == 2);
        }
    }
}
