//! The routing half of the kernel at its boundary: texts in, verdicts out.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "routing/cache.rs"]
mod cache;
#[path = "routing/events.rs"]
mod events;
#[path = "routing/matching.rs"]
mod matching;
#[path = "routing/model.rs"]
mod model;
#[path = "routing/oracle.rs"]
mod oracle;
#[path = "routing/paths.rs"]
mod paths;
#[path = "routing/patterns.rs"]
mod patterns;
#[path = "routing/scopes.rs"]
mod scopes;
#[path = "routing/tables.rs"]
mod tables;

use mycelia_kernel::ids::SubsystemId;
use mycelia_kernel::path::Path;
use mycelia_kernel::pattern::Pattern;
use mycelia_kernel::scope::Grants;
use mycelia_kernel::table::{Reach, Refusal, Resolved, Route, Table};

fn route(pattern: &str) -> Route {
    let pattern = Pattern::parse(pattern).unwrap();
    Route { pattern, scope: None, reach: Reach::Anyone, body: 0, reply: 0 }
}

fn scoped(pattern: &str, scope: &str) -> Route {
    Route { scope: Some(scope.into()), ..route(pattern) }
}

fn host_only(pattern: &str) -> Route {
    Route { reach: Reach::HostOnly, ..route(pattern) }
}

fn routes(patterns: &[&str]) -> Vec<Route> {
    patterns.iter().map(|pattern| route(pattern)).collect()
}

/// A table with one subsystem `s`.
fn table_of(patterns: &[&str]) -> Table {
    let mut edit = Table::empty().edit();
    edit.subsystem("s", Grants::none(), routes(patterns)).unwrap();
    edit.finish()
}

fn resolve<'p>(table: &Table, sender: SubsystemId, path: &'p str) -> Result<Resolved<'p>, Refusal> {
    table.resolve(sender, &Path::parse(path)?)
}

/// `pattern value value`, or nothing when there is no route.
fn matched(table: &Table, path: &str) -> Option<String> {
    let resolved = resolve(table, SubsystemId::OPERATOR, path).ok()?;
    let pattern = table.pattern(resolved.subsystem, resolved.route).unwrap();
    let words: Vec<&str> = std::iter::once(pattern).chain(resolved.params.iter()).collect();
    Some(words.join(" "))
}
