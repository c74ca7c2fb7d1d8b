//! Why a path was not resolved, told to its sender with the remedy.

use std::fmt::Write as _;

use crate::path::{PathError, excerpt};
use crate::scope::Scope;

/// A path that leads nowhere, or not for this sender.
///
/// Texts from outside are shortened and escaped when it is made, so that it can be logged as it is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The text is no path.
    #[error(transparent)]
    BadPath(#[from] PathError),
    /// Nobody has that name, or no longer.
    #[error("no subsystem `{name}`{}", remedy(.nearest.as_deref()))]
    NoSubsystem {
        /// The name in the path.
        name: Box<str>,
        /// A name that is there and written much like it.
        nearest: Option<Box<str>>,
    },
    /// The subsystem is there, and none of its routes matches.
    #[error("`{subsystem}` has no route for `{rest}`; {}", listing(.routes, *.total))]
    NoRoute {
        /// The subsystem's name.
        subsystem: Box<str>,
        /// The path after `://`.
        rest: Box<str>,
        /// A few of the routes that anyone can reach, the likeliest first.
        routes: Box<[Box<str>]>,
        /// How many routes anyone can reach.
        total: usize,
    },
    /// The route is there, and is no address for senders; answered as [`NoRoute`](Self::NoRoute) is.
    #[error(
        "`{subsystem}` has no route for `{rest}` that can be sent to; only the host reaches `{pattern}`, for outcomes and timers"
    )]
    HostOnly {
        /// The subsystem's name.
        subsystem: Box<str>,
        /// The path after `://`.
        rest: Box<str>,
        /// The pattern that matched.
        pattern: Box<str>,
    },
    /// The path is an event's, which is listened to; answered as [`NoRoute`](Self::NoRoute) is.
    #[error(
        "`{subsystem}://{rest}` is an event, which nobody sends to; listen to it with `on_event(\"{subsystem}://{pattern}\", …)`"
    )]
    Event {
        /// The subsystem's name.
        subsystem: Box<str>,
        /// The path after `://`.
        rest: Box<str>,
        /// The pattern that matched.
        pattern: Box<str>,
    },
    /// The subsystem declares no such event; answered as [`NoRoute`](Self::NoRoute) is.
    #[error(
        "`{subsystem}` declares no event for `{rest}`; declare it in the route table: `event(\"…\")`"
    )]
    NoEvent {
        /// The subsystem's name.
        subsystem: Box<str>,
        /// The path after `://`.
        rest: Box<str>,
    },
    /// The sender lacks the scope.
    #[error(
        "`{lacks}` lacks the scope `{scope}`; grant it in the config: {}grants: [\"{scope}\"]{}",
        section(lacks).0, section(lacks).1
    )]
    Denied {
        /// What the route requires.
        scope: Scope,
        /// The name of the sender who lacks it.
        lacks: Box<str>,
    },
    /// The sender's type of body has another schema than the route's.
    #[error(
        "`{subsystem}` takes another body for `{pattern}`: its schema is {wants:016x}, the sender's {sent:016x}; build both against the same message types"
    )]
    Schema {
        /// The subsystem's name.
        subsystem: Box<str>,
        /// The route's pattern.
        pattern: Box<str>,
        /// The hash that the route declares.
        wants: u64,
        /// The hash that the sender declares.
        sent: u64,
    },
}

/// How many routes a refusal lists.
const LISTED: usize = 3;
/// How many routes a refusal looks at, so that refusing stays cheap.
const CONSIDERED: usize = 64;

impl Refusal {
    pub(crate) fn no_subsystem<'t>(name: &str, names: impl Iterator<Item = &'t str>) -> Self {
        Self::NoSubsystem {
            name: excerpt(name).into(),
            nearest: nearest(name, names).map(Into::into),
        }
    }

    pub(crate) fn no_route<'t>(
        subsystem: &str,
        rest: &str,
        patterns: impl Iterator<Item = &'t str> + Clone,
    ) -> Self {
        let wanted = first_segment(rest);
        let mut likely: Vec<&str> = patterns.clone().take(CONSIDERED).collect();
        likely.sort_by_cached_key(|pattern| {
            distance(wanted, first_segment(pattern)).unwrap_or(usize::MAX)
        });
        Self::NoRoute {
            subsystem: subsystem.into(),
            rest: excerpt(rest).into(),
            routes: likely
                .into_iter()
                .take(LISTED)
                .map(|pattern| excerpt(pattern).into())
                .collect(),
            total: patterns.count(),
        }
    }

    pub(crate) fn event(subsystem: &str, rest: &str, pattern: &str) -> Self {
        Self::Event {
            subsystem: subsystem.into(),
            rest: excerpt(rest).into(),
            pattern: excerpt(pattern).into(),
        }
    }

    pub(crate) fn no_event(subsystem: &str, rest: &str) -> Self {
        Self::NoEvent { subsystem: subsystem.into(), rest: excerpt(rest).into() }
    }

    pub(crate) fn host_only(subsystem: &str, rest: &str, pattern: &str) -> Self {
        Self::HostOnly {
            subsystem: subsystem.into(),
            rest: excerpt(rest).into(),
            pattern: excerpt(pattern).into(),
        }
    }
}

fn remedy(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; it must be in the config, and running".into(),
    }
}

fn listing(routes: &[Box<str>], total: usize) -> String {
    if routes.is_empty() {
        return "no route of it can be sent to".into();
    }
    let mut text = String::from(if total == 1 { "its route is " } else { "its routes are " });
    let quoted: Vec<_> = routes.iter().map(|route| format!("`{route}`")).collect();
    text.push_str(&quoted.join(", "));
    if total > routes.len() {
        let _ = write!(text, " and {} more", total - routes.len());
    }
    text
}

fn first_segment(text: &str) -> &str {
    text.split('/').next().unwrap_or_default()
}

/// The candidate written most like a name, if any is close enough to be meant.
fn nearest<'t>(name: &str, candidates: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    let scored = candidates.filter_map(|candidate| Some((distance(name, candidate)?, candidate)));
    scored.min().map(|(_, candidate)| candidate)
}

/// Edits between two words regardless of case, when they are few for the length of the words.
fn distance(one: &str, other: &str) -> Option<usize> {
    let most = (one.len().min(other.len()) / 2).clamp(1, 2);
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    Some(levenshtein(one.as_bytes(), other.as_bytes())).filter(|edits| *edits <= most)
}

fn levenshtein(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, byte) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (column, candidate) in other.iter().enumerate() {
            let substituted = diagonal + usize::from(!byte.eq_ignore_ascii_case(candidate));
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// What stands around the grants of a sender in the config; the operator's are those of `control`.
fn section(lacks: &str) -> (&'static str, &'static str) {
    if lacks == "operator" { ("control: (", ")") } else { ("", "") }
}
