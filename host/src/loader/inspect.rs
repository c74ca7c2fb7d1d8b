//! What a library says of itself, for people and programs, read without executing anything.

use super::{Image, LoadError, preflight};
use mycelia_plugin::{
    Kind,
    abi::manifest::{Manifest, ManifestNeed, ManifestRoute},
};
use serde::Serialize;
use std::{path::Path, time::Duration};

/// A plugin as `mycelia inspect` shows it; its serialized form is a stable interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The ABI it was built for, `major.minor`.
    pub abi: String,
    /// BLAKE3 of the file, in hex.
    pub hash: String,
    /// Its routes, in the order of its table.
    pub routes: Vec<InspectionRoute>,
    /// The events that it publishes, which are patterns with scopes like routes.
    pub events: Vec<InspectionRoute>,
    /// The events that it listens to.
    pub listens: Vec<String>,
    /// What it wants to be granted.
    pub needs: Vec<InspectionNeed>,
    /// The schema number of its saved state; 0 saves none.
    pub state_schema: u32,
    /// `unwind` or `abort`.
    pub panic: &'static str,
}

/// A route as `mycelia inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InspectionRoute {
    /// Its pattern.
    pub pattern: String,
    /// The short name of the scope it requires.
    pub scope: Option<String>,
    /// Why, or how else a message gets there.
    #[serde(skip)]
    pub note: String,
}

/// A need as `mycelia inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InspectionNeed {
    /// The full name of the scope.
    pub scope: String,
    /// Why.
    pub reason: String,
}

/// Reads what a library says of itself. One that this host cannot run, for its ABI or its panics, is shown too.
///
/// # Errors
/// Those of the steps `read` and `preflight`, when it is no complete plugin.
pub fn inspect(path: &Path) -> Result<Inspection, LoadError> {
    Image::read(path)?.inspect()
}

impl Image {
    /// As [`inspect`], of bytes that were read already.
    ///
    /// # Errors
    /// Those of the step `preflight`, when it is no complete plugin.
    pub fn inspect(&self) -> Result<Inspection, LoadError> {
        let manifest = preflight::examine(self.path(), self.bytes())?;
        Ok(Inspection::new(manifest, self.hash()))
    }
}

impl Inspection {
    fn new(manifest: Manifest, hash: &str) -> Self {
        let route = |ManifestRoute { kind, pattern, scope, reason, .. }| InspectionRoute {
            pattern,
            scope: Some(scope).filter(|scope: &String| !scope.is_empty()),
            note: note(kind, reason),
        };
        let (events, routes): (Vec<_>, Vec<_>) =
            manifest.routes.into_iter().partition(|route| route.kind == Kind::Event);
        let (listens, routes): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|route| route.kind == Kind::OnEvent);
        let need = |ManifestNeed { scope, reason }| InspectionNeed { scope, reason };
        Inspection {
            name: manifest.name,
            version: manifest.version,
            abi: format!("{}.{}", manifest.abi.0, manifest.abi.1),
            hash: hash.into(),
            routes: routes.into_iter().map(route).collect(),
            events: events.into_iter().map(route).collect(),
            listens: listens.into_iter().map(|route| route.pattern).collect(),
            needs: manifest.needs.into_iter().map(need).collect(),
            state_schema: manifest.state,
            panic: if manifest.unwinds { "unwind" } else { "abort" },
        }
    }

    /// The same as a table for people.
    pub fn to_text(&self) -> String {
        let state = match self.state_schema {
            0 => "none".into(),
            schema => format!("schema {schema}"),
        };
        let head =
            [("abi", &*self.abi), ("hash", &self.hash), ("state", &state), ("panic", self.panic)];
        let head = head.iter().map(|(word, value)| [word, *value, ""].map(str::to_owned));
        let row = |route: &InspectionRoute| {
            [
                shown(&route.pattern),
                shown(route.scope.as_deref().unwrap_or("-")),
                route.note.clone(),
            ]
        };
        let listens =
            self.listens.iter().map(|event| [event.clone(), String::new(), String::new()]);
        let needs =
            self.needs.iter().map(|need| [shown(&need.scope), need.reason.clone(), String::new()]);
        let mut text =
            format!("{} {}\n{}", printable(&self.name), printable(&self.version), table(head));
        text += &titled("routes", table(self.routes.iter().map(row)));
        text += &titled("events", table(self.events.iter().map(row)));
        text += &titled("listens to", table(listens));
        text += &titled("needs", table(needs));
        text
    }
}

fn note(kind: Kind, reason: String) -> String {
    match kind {
        Kind::On | Kind::Event | Kind::OnEvent => reason,
        Kind::OnReply => "outcomes of its own requests".into(),
        Kind::Every(nanos) => format!("every {:?}, by its own timer", Duration::from_nanos(nanos)),
    }
}

fn shown(word: &str) -> String {
    if word.is_empty() { "(empty)".into() } else { word.into() }
}

fn titled(title: &str, table: String) -> String {
    if table.is_empty() { String::new() } else { format!("{title}\n{table}") }
}

/// Indented rows, each column as wide as its widest cell.
fn table(rows: impl Iterator<Item = [String; 3]>) -> String {
    let rows: Vec<[String; 3]> = rows.map(|row| row.map(|cell| printable(&cell))).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let line = |[one, two, three]: &[String; 3]| {
        format!("  {one:first$}  {two:second$}  {three}").trim_end().to_owned()
    };
    rows.iter().map(|row| line(row) + "\n").collect()
}

/// The text comes from a file that nobody vouches for, and goes to a terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
