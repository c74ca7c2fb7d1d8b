//! Scopes that a config names and plugins declare, compared.

use super::{
    Runtime, Slot,
    events::{Because, Deaf, deaf},
    start::Found,
};
use crate::config::{Config, Mistakes};
use mycelia_kernel::{scope::Grants, table::Table};
use mycelia_plugin::abi::manifest::{Manifest, ManifestNeed};

/// Grants must name scopes that exist; needs that are not granted are worth a line.
pub(super) fn check_scopes(config: &Config, found: &[Found<'_>], mistakes: &mut Mistakes) {
    for (name, settings) in &config.subsystems {
        for (grant, place) in settings.grants.iter().zip(&settings.places.grants) {
            if let Some(text) = unknown_scope(config, found, grant) {
                mistakes.add(
                    place.clone(),
                    text,
                    "see `mycelia inspect` for the scopes of a plugin",
                );
            }
        }
        let needs = manifest_of(found, name).into_iter().flat_map(|manifest| &manifest.needs);
        for need in needs.filter(|need| !settings.grants.contains(&need.scope)) {
            warn_of_need(name, need);
        }
    }
}

/// What is listened to must be an event of somebody's; a scope that is not granted for it is worth a line, and so is a
/// publisher that is optional and could not be loaded. One that is needed and could not be is a mistake already.
pub(super) fn check_listeners(
    config: &Config,
    found: &[Found<'_>],
    table: &Table,
    mistakes: &mut Mistakes,
) {
    for one in deaf(table) {
        let name = table.name(one.listener).unwrap_or_default();
        let is_left_out = one.because == Because::NoPublisher
            && config.subsystem(one.publisher).is_some_and(|publisher| {
                !publisher.required || manifest_of(found, one.publisher).is_none()
            });
        match config.subsystem(name) {
            Some(settings) if !is_left_out && !matches!(one.because, Because::Denied(_)) => {
                let help = match one.because {
                    Because::NoPublisher => &format!(
                        "add a subsystem `{}` to the config, whose plugin declares that event",
                        one.publisher
                    ),
                    _ => "see `mycelia inspect` for the events of a plugin",
                };
                let text = format!("`{name}` {}", one.text());
                mistakes.add(settings.places.plugin.clone(), text, help);
            }
            _ => warn_of(name, &one),
        }
    }
}

fn warn_of(subsystem: &str, one: &Deaf<'_>) {
    tracing::warn!(subsystem, "it {}", one.text());
}

fn warn_of_need(subsystem: &str, need: &ManifestNeed) {
    let ManifestNeed { scope, reason } = need;
    tracing::warn!(
        subsystem,
        "it needs the scope `{scope}` {reason}, which is not granted: what it sends there is denied; \
         to allow it, write grants: [\"{scope}\"] into `{subsystem}`"
    );
}

impl Runtime {
    /// How many scopes the loaded plugins need that the config does not grant.
    pub fn ungranted(&self) -> usize {
        let lacks = |slot: &Slot| {
            let build = slot.info().build.clone();
            build.map_or(0, |build| {
                let needs = &build.generation.manifest().needs;
                needs.iter().filter(|need| !is_granted(&slot.settings.grants, &need.scope)).count()
            })
        };
        self.subsystems().map(lacks).sum()
    }

    /// Tells which listeners are not told of events that this subsystem, a new build of which serves, publishes or hears.
    pub(super) fn warn_of_deaf(&self, slot: &Slot) {
        let table = self.tables.load();
        for one in deaf(&table) {
            if one.listener == slot.id || one.publisher == slot.name {
                warn_of(table.name(one.listener).unwrap_or_default(), &one);
            }
        }
    }

    /// Tells what the config does not grant to a new build, and what it grants to others that this build does not have.
    pub(super) fn warn_of_scopes(&self, slot: &Slot, old: Option<&Manifest>, new: &Manifest) {
        for need in &new.needs {
            let is_known = old.is_some_and(|old| old.needs.contains(need));
            if !is_known && !is_granted(&slot.settings.grants, &need.scope) {
                warn_of_need(&slot.name, need);
            }
        }
        let (old, new) = (old.map(scopes_of).unwrap_or_default(), scopes_of(new));
        for scope in old.iter().filter(|scope| !new.contains(scope)) {
            let full = format!("{}:{scope}", slot.name);
            let named =
                |other: &&Slot| other.settings.grants.scopes().any(|scope| scope.as_str() == full);
            for other in self.subsystems().filter(named) {
                let (subsystem, other) = (&slot.name, &other.name);
                tracing::warn!(
                    subsystem,
                    "`{other}` is granted `{full}`, which the new build does not have"
                );
            }
        }
    }
}

fn is_granted(grants: &Grants, full: &str) -> bool {
    grants.is_all() || grants.scopes().any(|scope| scope.as_str() == full)
}

fn manifest_of<'f>(found: &'f [Found<'_>], name: &str) -> Option<&'f Manifest> {
    found.iter().find(|found| found.name == name)?.manifest()
}

/// What is wrong with a grant, if its scope does not exist.
fn unknown_scope(config: &Config, found: &[Found<'_>], grant: &str) -> Option<String> {
    let (subsystem, scope) = grant.rsplit_once(':')?;
    if subsystem == "kernel" {
        return (!["read", "control"].contains(&scope))
            .then(|| format!("the kernel has no scope `{scope}`"));
    }
    if config.subsystem(subsystem).is_none() {
        return Some(format!(
            "`{grant}` is a scope of `{subsystem}`, but there is no such subsystem"
        ));
    }
    let manifest = manifest_of(found, subsystem)?;
    if manifest.routes.iter().any(|route| route.scope == scope) {
        return None;
    }
    let scopes = scopes_of(manifest);
    let known =
        if scopes.is_empty() { "none".into() } else { format!("`{}`", scopes.join("`, `")) };
    Some(format!("`{subsystem}` has no scope `{scope}`; it has {known}"))
}

/// The short names of the scopes that a plugin declares.
fn scopes_of(manifest: &Manifest) -> Vec<&str> {
    let mut scopes: Vec<&str> = manifest.routes.iter().map(|route| route.scope.as_str()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.retain(|scope| !scope.is_empty());
    scopes
}
