//! Why a sender may send to a path or may not. Nothing is sent, and nothing is counted as denied.

use super::{Runtime, Slot, operate::no_subsystem, send::refused};
use crate::{
    status::Phase,
    why::{Addressee, Matched, Why},
};
use mycelia_kernel::{
    ids::SubsystemId,
    path::Path,
    recipient::Resolved,
    refusal::Refusal,
    scope::{Grants, Scope},
    table::Table,
};
use mycelia_plugin::Result;

/// What decides, and what would decide otherwise.
struct Reason {
    because: String,
    remedy: Option<String>,
}

impl Reason {
    fn new(because: impl Into<String>) -> Self {
        Self { because: because.into(), remedy: None }
    }
}

impl Runtime {
    /// Explains a path to whoever may look at the host.
    ///
    /// # Errors
    /// When there is no such sender.
    pub(super) fn explain(&self, path: &str, sender: &str) -> Result<Why> {
        let from = self.sender(sender)?;
        let table = self.tables.load();
        let verdict = table.resolve_text(from, path);
        let named = Path::parse(path)
            .ok()
            .and_then(|path| self.slots[1..].iter().find(|slot| slot.name == path.subsystem()));
        // As a sender to itself, so that the route is found whatever its scope.
        let found = named.and_then(|slot| table.resolve_text(slot.id, path).ok());
        let route = found.as_ref().and_then(|found| matched(&table, found));
        let reason = match &verdict {
            Ok(found) => allowed(&table, from, found.subsystem, route.as_ref()),
            Err(Refusal::Denied { scope, .. }) => denied(&table, from, sender, scope),
            Err(refusal @ Refusal::Event { .. }) => heard(&table, from, sender, path, refusal),
            Err(refusal) => {
                named.and_then(stopped).unwrap_or_else(|| Reason::new(refusal.to_string()))
            }
        };
        Ok(Why {
            path: path.into(),
            sender: sender.into(),
            verdict: verdict
                .map_or_else(|refusal| refused(&refusal).code.word(), |_| Why::ALLOWED)
                .into(),
            because: reason.because,
            remedy: reason.remedy,
            subsystem: named.map(addressee),
            route,
        })
    }

    fn sender(&self, name: &str) -> Result<SubsystemId> {
        match self.slots.iter().find(|slot| slot.name == name) {
            Some(slot) => Ok(slot.id),
            None => Err(no_subsystem(name, self.slots.iter().map(|slot| &*slot.name))),
        }
    }
}

fn addressee(slot: &Slot) -> Addressee {
    let status = slot.status();
    Addressee {
        name: slot.name.clone(),
        plugin: status.plugin,
        version: status.version,
        phase: status.phase,
        queue: status.queue,
    }
}

fn matched(table: &Table, found: &Resolved<'_>) -> Option<Matched> {
    let route = table.route(found.subsystem, found.route)?;
    let names = route.pattern.parameters().map(str::to_owned);
    let owner = table.name(found.subsystem)?;
    Some(Matched {
        pattern: route.pattern.text().into(),
        parameters: names.zip(found.params.iter().map(str::to_owned)).collect(),
        scope: route.scope.as_ref().map(|short| format!("{owner}:{short}")),
    })
}

fn allowed(table: &Table, from: SubsystemId, to: SubsystemId, route: Option<&Matched>) -> Reason {
    let name = table.name(from).unwrap_or_default();
    Reason::new(match route.and_then(|route| route.scope.as_deref()) {
        None => "the route requires no scope, so that everybody may send to it".into(),
        Some(_) if from == to => "a subsystem may send to all routes of its own".into(),
        Some(_) if table.grants(from).is_some_and(Grants::is_all) => {
            format!("`{name}` is granted `*`, which is every scope")
        }
        Some(scope) => format!("`{name}` is granted `{scope}`"),
    })
}

/// Nobody sends to an event, but the sender may listen to it.
fn heard(table: &Table, from: SubsystemId, sender: &str, path: &str, refusal: &Refusal) -> Reason {
    match table.resolve_listener(from, path) {
        Ok(_) => Reason::new(format!("{refusal}; `{sender}` listens to it, and is told")),
        Err(Refusal::Denied { scope, .. }) => denied(table, from, sender, &scope),
        Err(_) => Reason::new(refusal.to_string()),
    }
}

fn denied(table: &Table, from: SubsystemId, sender: &str, scope: &Scope) -> Reason {
    let has: Vec<&str> =
        table.grants(from).into_iter().flat_map(Grants::scopes).map(Scope::as_str).collect();
    let granted = if has.is_empty() { "nothing".into() } else { format!("`{}`", has.join("`, `")) };
    let line = format!("grants: [\"{}\"]", [has, vec![scope.as_str()]].concat().join("\", \""));
    let remedy = match from {
        SubsystemId::OPERATOR => format!("control: ({line})"),
        _ => format!("\"{sender}\": (plugin: …, {line})"),
    };
    Reason {
        because: format!("`{sender}` is granted {granted}, and not `{scope}`"),
        remedy: Some(remedy),
    }
}

/// The routes of a stopped subsystem are gone, which is not the path's fault.
fn stopped(slot: &Slot) -> Option<Reason> {
    let status = slot.status();
    let error = status.last_error.map(|error| format!(": {error}")).unwrap_or_default();
    (status.phase == Phase::Stopped)
        .then(|| Reason::new(format!("`{}` has stopped{error}", slot.name)))
}
