//! A gateway's map and a request: lines of `METHOD PATH TO`, an empty line, and `METHOD TARGET`.

use http::Uri;
use mycelia_http::{Entry, destination};
use serde_json::json;

/// Entries of a map, at most.
const MOST: usize = 16;

/// No request must reach a subsystem that no entry names, nor leave the segments that an entry without a tail gives it.
pub fn one(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Some((map, request)) = text.split_once("\n\n") else { return false };
    let lines: Vec<[&str; 3]> = map.lines().take(MOST).filter_map(words).collect();
    let Some((method, target)) = request.split_once(' ') else { return false };
    let Ok(uri) = target.parse::<Uri>() else { return false };
    let entries = lines.iter().map(|line| entry(*line)).collect();
    let Ok(Some(to)) = destination(entries, method, uri.path()) else { return false };
    let allowed = |[_, path, template]: &[&str; 3]| {
        let (subsystem, inner) = template.split_once("://").expect("an entry names a subsystem");
        let rest = to.strip_prefix(subsystem).and_then(|rest| rest.strip_prefix("://"));
        let segments = |text: &str| text.matches('/').count();
        rest.is_some_and(|rest| path.contains("{*") || segments(rest) == segments(inner))
    };
    assert!(lines.iter().any(allowed), "{to}");
    true
}

fn words(line: &str) -> Option<[&str; 3]> {
    let mut words = line.splitn(3, ' ');
    Some([words.next()?, words.next()?, words.next()?])
}

/// As the config's RON would make it.
fn entry([method, path, to]: [&str; 3]) -> Entry {
    serde_json::from_value(json!({ "method": method, "path": path, "to": to }))
        .expect("an entry has these fields, and others have defaults")
}
