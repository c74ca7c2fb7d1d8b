//! What a request's query says: which path, and within what time; which subsystem; or which dead letters.

use crate::config::amounts::{parse_duration, show_duration};
use crate::letters::Filter;
use percent_encoding::percent_decode_str;
use std::time::Duration;

const NO_PATH: &str = "the query names no path; write ?path=kv://put/x, percent-encoded";

/// The parameters of a message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Query {
    /// Decoded once.
    pub path: String,
    /// How long a request may take.
    pub within: Option<Duration>,
}

impl Query {
    /// Reads `path=…`, and `within=…` where a request may have it.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub fn parse(query: &str, takes_within: bool) -> Result<Self, String> {
        let (mut path, mut within) = (None, None);
        for pair in pairs(query) {
            let (name, value) = pair?;
            match name {
                "path" => set(&mut path, name, value)?,
                "within" if takes_within => set(&mut within, name, duration(name, &value)?)?,
                _ => return Err(unknown(name)),
            }
        }
        Ok(Self { path: path.ok_or(NO_PATH)?, within })
    }
}

/// Reads `subsystem=…`.
///
/// # Errors
/// What is wrong with it, in one sentence.
pub(super) fn subsystem(query: &str) -> Result<String, String> {
    let mut subsystem = None;
    for pair in pairs(query) {
        match pair? {
            ("subsystem", value) => set(&mut subsystem, "subsystem", value)?,
            (name, _) => return Err(unknown(name)),
        }
    }
    subsystem.ok_or_else(|| "the query names no subsystem; write ?subsystem=kv".into())
}

/// Reads `path=…`, and `as=…` where the sender is not the operator.
///
/// # Errors
/// What is wrong with it, in one sentence.
pub(super) fn path_and_sender(query: &str) -> Result<(String, String), String> {
    let (mut path, mut sender) = (None, None);
    for pair in pairs(query) {
        match pair? {
            ("path", value) => set(&mut path, "path", value)?,
            ("as", value) => set(&mut sender, "as", value)?,
            (name, _) => return Err(unknown(name)),
        }
    }
    Ok((path.ok_or(NO_PATH)?, sender.unwrap_or("operator".into())))
}

/// Reads which dead letters are meant: `id=…`, which may come again, `subsystem=…`, `route=…`, `reason=…` and `age=…`.
///
/// # Errors
/// What is wrong with it, in one sentence.
pub(super) fn letters(query: &str) -> Result<Filter, String> {
    match of_query(query)? {
        (filter, None) => Ok(filter),
        (_, Some(_)) => Err(unknown("limit")),
    }
}

/// Reads the same and `limit=…`, how many of them are wanted at most.
///
/// # Errors
/// What is wrong with it, in one sentence.
pub(super) fn newest_letters(query: &str) -> Result<(Filter, usize), String> {
    of_query(query).map(|(filter, limit)| (filter, limit.unwrap_or(usize::MAX)))
}

fn of_query(query: &str) -> Result<(Filter, Option<usize>), String> {
    let (mut filter, mut limit) = (Filter::default(), None);
    for pair in pairs(query) {
        let (name, value) = pair?;
        match name {
            "limit" => set(&mut limit, name, number(name, &value)?)?,
            "id" => filter.ids.push(letter(&value)?),
            "subsystem" => set(&mut filter.subsystem, name, value)?,
            "route" => set(&mut filter.route, name, value)?,
            "reason" => set(&mut filter.reason, name, value.parse()?)?,
            "age" => set(&mut filter.age, name, duration(name, &value)?)?,
            _ => return Err(unknown(name)),
        }
    }
    Ok((filter, limit))
}

fn number(name: &str, value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("{name}={value:?} is no number"))
}

/// The number of a dead letter.
///
/// # Errors
/// It is none, in one sentence.
pub(super) fn letter(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number of a dead letter"))
}

/// What [`letters`] reads.
pub(super) fn of_letters(filter: &Filter) -> Vec<(&'static str, String)> {
    let Filter { ids, subsystem, route, reason, age } = filter;
    let ids = ids.iter().map(|id| ("id", id.to_string()));
    let others = [
        ("subsystem", subsystem.clone()),
        ("route", route.clone()),
        ("reason", reason.map(|reason| reason.word().to_owned())),
        ("age", age.map(show_duration)),
    ];
    ids.chain(others.into_iter().filter_map(|(name, value)| Some((name, value?)))).collect()
}

/// The parameters, each with its value decoded.
fn pairs(query: &str) -> impl Iterator<Item = Result<(&str, String), String>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((name, decode(value)?))
    })
}

fn unknown(name: &str) -> String {
    format!("the query has an unknown parameter {name:?}")
}

fn set<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match slot.replace(value) {
        Some(_) => Err(format!("the query gives {name} twice")),
        None => Ok(()),
    }
}

fn duration(name: &str, value: &str) -> Result<Duration, String> {
    parse_duration(value).map_err(|help| format!("{name}={value:?} is no duration: {help}"))
}

/// Forms write a space as `+`, everything else writes a plus as `%2B`, so this reads both.
fn decode(value: &str) -> Result<String, String> {
    if !has_whole_escapes(value) {
        return Err(format!("{value:?} is not percent-encoded: a % needs two hex digits after it"));
    }
    let spaced = value.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| format!("{value:?} decodes to something that is not UTF-8"))
}

fn has_whole_escapes(value: &str) -> bool {
    value
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expect: Result<(&str, Option<u64>), &str>) {
        let found = Query::parse(query, true);
        match (found, expect) {
            (Ok(found), Ok((path, within))) => {
                assert_eq!(
                    (found.path.as_str(), found.within),
                    (path, within.map(Duration::from_millis))
                );
            }
            (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
            (found, expect) => panic!("{query}: {found:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        check("path=kv://put/x", Ok(("kv://put/x", None)));
        check("path=kv%3A%2F%2Fput%2Fx&within=2s", Ok(("kv://put/x", Some(2000))));
        check("path=kv://put/a%252Fb", Ok(("kv://put/a%2Fb", None)));
        check("path=kv://put/a+b%2Bc", Ok(("kv://put/a b+c", None)));
        check("path=kv://q%3Fx=1", Ok(("kv://q?x=1", None)));
        check("path=kv://%C3%A4", Ok(("kv://ä", None)));
        check("path=", Ok(("", None)));
    }

    #[test]
    fn what_is_malformed_is_named() {
        check("", Err("names no path"));
        check("within=2s", Err("names no path"));
        check("path=a&path=b", Err("twice"));
        check("path=a&witin=2s", Err("unknown parameter \"witin\""));
        check("path=a&within=soon", Err("is no duration"));
        check("path=a%2", Err("two hex digits"));
        check("path=a%zz", Err("two hex digits"));
        check("path=%FF", Err("not UTF-8"));
    }

    #[test]
    fn a_path_is_explained_to_a_sender() {
        let read = |query| path_and_sender(query);
        let pair = |path: &str, sender: &str| Ok((path.to_owned(), sender.to_owned()));
        assert_eq!(read("path=kv%3A%2F%2Fput/x&as=http"), pair("kv://put/x", "http"));
        assert_eq!(read("path=a://b"), pair("a://b", "operator"));
        for (query, part) in
            [("as=kv", "names no path"), ("path=a&as=b&as=c", "twice"), ("path=a&to=b", "unknown")]
        {
            assert!(read(query).is_err_and(|text| text.contains(part)), "{query}");
        }
    }

    #[test]
    fn a_reload_names_a_subsystem() {
        assert_eq!(subsystem("subsystem=kv").as_deref(), Ok("kv"));
        assert_eq!(subsystem("subsystem=a%26b%20c").as_deref(), Ok("a&b c"));
        let check = |query: &str, expect: &str| {
            let text = subsystem(query).unwrap_err();
            assert!(text.contains(expect), "{query}: {text}");
        };
        check("", "names no subsystem");
        check("subsystem=a&subsystem=b", "twice");
        check("subsystem=a&path=b", "unknown parameter \"path\"");
        check("subsystem=%zz", "two hex digits");
    }

    #[test]
    fn letters_are_meant_as_they_are_written() {
        let query = |filter: &Filter| {
            let pairs =
                of_letters(filter).into_iter().map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>().join("&")
        };
        let all = Filter {
            ids: vec![1, 2],
            subsystem: Some("kv".into()),
            route: Some("put/{key}".into()),
            reason: Some(crate::letters::Reason::NoRoute),
            age: Some(Duration::from_secs(300)),
        };
        assert_eq!(query(&all), "id=1&id=2&subsystem=kv&route=put/{key}&reason=no_route&age=5m");
        assert_eq!(letters(&query(&all)), Ok(all));
        assert_eq!(letters(""), Ok(Filter::default()));
        for (query, part) in [
            ("id=x", "no number of a dead letter"),
            ("reason=dead", "the reasons are"),
            ("age=old", "age=\"old\" is no duration"),
            ("subsystem=a&subsystem=b", "twice"),
            ("all", "unknown parameter"),
        ] {
            let text = letters(query).unwrap_err();
            assert!(text.contains(part), "{query}: {text}");
        }
        let named = Filter { subsystem: Some("kv".into()), ..Filter::default() };
        assert_eq!(newest_letters("subsystem=kv&limit=5"), Ok((named.clone(), 5)));
        assert_eq!(newest_letters("subsystem=kv"), Ok((named, usize::MAX)));
        assert!(newest_letters("limit=few").is_err_and(|text| text.contains("is no number")));
        assert!(letters("limit=5").is_err_and(|text| text.contains("unknown parameter")));
    }

    #[test]
    fn a_message_has_no_deadline() {
        assert!(Query::parse("path=a&within=2s", false).is_err());
    }
}
