//! Starting: every subsystem is loaded, checked and created; one table is published; then they start.

use super::{
    Runtime, Slot,
    lifecycle::{Caretaker, create},
    slot::Source,
};
use crate::{
    abi::Message,
    config::{self, Config, Mistakes},
    loader::{self, Library},
    status::Phase,
};
use mycelia_kernel::{
    ids::{RouteId, SubsystemId},
    pattern::Pattern,
    scope::Grants,
    table::{Edit, Reach, Route},
};
use mycelia_plugin::{
    Error, ErrorCode, Kind,
    abi::{
        Envelope,
        host::{CreateError, Guest},
        manifest::{Manifest, ManifestRoute},
    },
};
use std::path::{Path, PathBuf};

/// A subsystem whose library is loaded.
pub struct Loaded<'c> {
    name: &'c str,
    settings: &'c config::Subsystem,
    /// Leaked: a library is unloaded only by way of a reload.
    library: &'static Library,
}

/// Why the host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The config, or what it names, is wrong.
    #[error("{0}")]
    Config(Mistakes),
    /// A required subsystem did not start.
    #[error("the subsystem `{name}` did not start: {error}")]
    Start {
        /// Whose.
        name: String,
        /// Why.
        error: Error,
    },
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Runtime {
    /// A host with every subsystem created but not started. It stays for the rest of the process, since plugins refer to it.
    ///
    /// # Errors
    /// Every mistake of the config and of what it names. Optional subsystems that cannot be loaded are logged and left out.
    pub fn create(
        config: &Config,
        file: &Path,
        cache_seed: u64,
    ) -> Result<&'static Runtime, StartError> {
        let mut mistakes = config.mistakes();
        let loaded = load_all(config, file, &mut mistakes);
        check_scopes(config, &loaded, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(StartError::Config(mistakes));
        }
        let runtime: &'static Runtime = Box::leak(Box::new(Runtime::new(config, cache_seed)?));
        let published = runtime.tables.update(|edit| {
            edit.grants(SubsystemId::OPERATOR, grants(&config.control.grants));
            // In the order of the config, which is that of the slots; what is not loaded keeps its number without routes.
            for (name, settings) in &config.subsystems {
                let loaded = loaded.iter().find(|loaded| loaded.name == name);
                runtime.enter(edit, name, settings, loaded, &config.data, &mut mistakes);
            }
            if mistakes.is_empty() { Ok(()) } else { Err(()) }
        });
        match published {
            Ok(()) => Ok(runtime),
            Err(()) => {
                runtime.destroy_all();
                Err(StartError::Config(mistakes))
            }
        }
    }

    /// Enters a subsystem into the table and creates its instance.
    fn enter(
        &'static self,
        edit: &mut Edit,
        name: &str,
        settings: &config::Subsystem,
        loaded: Option<&Loaded<'_>>,
        data: &Path,
        mistakes: &mut Mistakes,
    ) {
        let manifest = loaded.map(|loaded| loaded.library.manifest());
        let routes =
            manifest.into_iter().flat_map(|manifest| &manifest.routes).map(kernel_route).collect();
        let entered = match routes {
            Ok(routes) => edit
                .subsystem(name, grants(&settings.grants), routes)
                .map_err(|error| error.to_string()),
            Err(text) => Err(text),
        };
        let id = match entered {
            Ok(id) => id,
            Err(text) => {
                return mistakes.add(
                    settings.places.plugin.clone(),
                    text,
                    "mend the plugin's route table",
                );
            }
        };
        let slot = self.slot(id);
        let Some(loaded) = loaded else {
            edit.remove(id);
            slot.info().phase = Phase::Stopped;
            return;
        };
        let source = source(edit, id, loaded, &data.join(name));
        self.describe(slot, loaded, source.clone());
        match create(self, id, &source) {
            Ok(guest) => slot.cell().guest = Some(guest),
            Err(error) => self.refuse(edit, slot, settings, &error, mistakes),
        }
    }

    fn describe(&self, slot: &Slot, loaded: &Loaded<'_>, source: Source) {
        let manifest = loaded.library.manifest();
        let mut info = slot.info();
        info.plugin = manifest.name.clone();
        info.version = manifest.version.clone();
        info.hash = loaded.library.hash().to_owned();
        info.generation = 1;
        info.source = Some(source);
    }

    /// A config that the plugin does not take is the operator's mistake, at its place in the file.
    fn refuse(
        &self,
        edit: &mut Edit,
        slot: &Slot,
        settings: &config::Subsystem,
        refused: &CreateError,
        mistakes: &mut Mistakes,
    ) {
        let (name, error) = (&slot.name, &refused.error.text);
        let (text, help) = if refused.error.code == ErrorCode::Panicked {
            (format!("`{name}` fails in `create` with {error}"), "mend the plugin")
        } else {
            (
                format!("`{name}` does not take its config: {error}"),
                "see the plugin's documentation for what it takes",
            )
        };
        if !settings.required {
            tracing::error!(subsystem = slot.name, "the host runs without it: {text}");
            slot.note_error(&text);
            slot.info().phase = Phase::Stopped;
            return edit.remove(slot.id);
        }
        let whole = 0..settings.config.text.len();
        let place = settings.config.place(refused.span.clone().unwrap_or(whole));
        mistakes.add(place, text, help);
    }

    /// Destroys every instance, none of which was started.
    pub fn destroy_all(&self) {
        for slot in self.subsystems() {
            if let Some(guest) = slot.cell().guest.take() {
                discard(slot, guest);
            }
        }
    }

    /// Takes every subsystem out of circulation, before there are workers: queues accept, and nothing runs yet.
    pub(super) fn hold_all(&self) {
        for slot in self.subsystems() {
            let held = slot.queue.try_hold();
            debug_assert!(held, "nobody runs a subsystem before it was started");
        }
    }

    /// Starts every subsystem, in the order of the config.
    pub(super) fn start_all(&self, caretaker: &mut Caretaker) -> Result<(), StartError> {
        for slot in self.subsystems() {
            let guest = slot.cell().guest.take();
            if let Some(Err(error)) = guest.map(|guest| caretaker.begin(slot, guest)) {
                slot.note_error(&error.to_string());
                // If it is leaked, that is in the log.
                let _leaked = caretaker.end(slot, None);
                if slot.settings.required {
                    return Err(StartError::Start { name: slot.name.clone(), error });
                }
                caretaker.give_up(slot, &error);
            }
            caretaker.release(slot);
        }
        Ok(())
    }

    /// Sets the timers of a subsystem's table, in place of those that an older instance had.
    pub(super) fn arm_timers(&self, slot: &Slot) {
        let every =
            slot.info().source.as_ref().map(|source| source.every.clone()).unwrap_or_default();
        if slot.timers_armed.swap(true, std::sync::atomic::Ordering::AcqRel) {
            return;
        }
        let now = self.now();
        for (route, period) in every {
            let message = Message(Envelope { route, sender: slot.id.0.into(), ..Envelope::EMPTY });
            let armed = slot.timers().arm_every(now, period, message);
            debug_assert!(armed.is_ok(), "a table has fewer timers than a subsystem may have");
            self.plan_for(slot, now + period);
        }
    }

    /// Ends outcomes that nobody takes any more.
    pub(super) fn take_all(&self, outcomes: Vec<Message>) {
        outcomes.iter().for_each(|outcome| self.take_back(outcome));
    }
}

fn discard(slot: &Slot, guest: Guest) {
    if let Err(error) = guest.destroy() {
        tracing::error!(subsystem = slot.name, "the subsystem's drop failed: {error}");
    }
}

/// Loads the library of every subsystem; what cannot be loaded is a mistake, or, if optional, a line in the log.
fn load_all<'c>(config: &'c Config, file: &Path, mistakes: &mut Mistakes) -> Vec<Loaded<'c>> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let search = search_path();
    let mut loaded = Vec::new();
    for (name, settings) in &config.subsystems {
        match load(folder, &search, name, settings) {
            Ok(library) => {
                loaded.push(Loaded { name, settings, library: Box::leak(Box::new(library)) })
            }
            Err(error) if settings.required => {
                let help = "or say `required: false`, and the host runs without it";
                mistakes.add(settings.places.plugin.clone(), error.to_string(), help);
            }
            Err(error) => tracing::error!(subsystem = name, "the host runs without it: {error}"),
        }
    }
    loaded
}

fn load(
    folder: &Path,
    search: &[PathBuf],
    name: &str,
    settings: &config::Subsystem,
) -> Result<Library, loader::LoadError> {
    let path = loader::find(&settings.plugin, folder, search)?;
    loader::Image::read(&path)?.preflight()?.load(&format!("{name}@1"))
}

/// Where plugins are looked for.
pub fn search_path() -> Vec<PathBuf> {
    let binary = std::env::current_exe().unwrap_or_default();
    loader::search_path(std::env::var_os("MYCELIA_PLUGIN_PATH"), &binary)
}

/// Grants must name scopes that exist; needs that are not granted are worth a line.
fn check_scopes(config: &Config, loaded: &[Loaded<'_>], mistakes: &mut Mistakes) {
    for (name, settings) in &config.subsystems {
        for (grant, place) in settings.grants.iter().zip(&settings.places.grants) {
            if let Some(text) = unknown_scope(config, loaded, grant) {
                mistakes.add(
                    place.clone(),
                    text,
                    "see `mycelia inspect` for the scopes of a plugin",
                );
            }
        }
        let manifest = loaded
            .iter()
            .find(|loaded| loaded.name == name)
            .map(|loaded| loaded.library.manifest());
        for need in manifest.into_iter().flat_map(|manifest| &manifest.needs) {
            if !settings.grants.contains(&need.scope) {
                let (scope, reason) = (&need.scope, &need.reason);
                tracing::warn!(
                    subsystem = name,
                    "it needs the scope `{scope}` {reason}, which is not granted"
                );
            }
        }
    }
}

/// What is wrong with a grant, if its scope does not exist.
fn unknown_scope(config: &Config, loaded: &[Loaded<'_>], grant: &str) -> Option<String> {
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
    let manifest = loaded.iter().find(|loaded| loaded.name == subsystem)?.library.manifest();
    if manifest.routes.iter().any(|route| route.scope == scope) {
        return None;
    }
    let known = scopes_of(manifest);
    Some(format!("`{subsystem}` has no scope `{scope}`; it has {known}"))
}

fn scopes_of(manifest: &Manifest) -> String {
    let mut scopes: Vec<&str> = manifest.routes.iter().map(|route| route.scope.as_str()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.retain(|scope| !scope.is_empty());
    if scopes.is_empty() { "none".into() } else { format!("`{}`", scopes.join("`, `")) }
}

fn grants(scopes: &[String]) -> Grants {
    Grants::parse(scopes.iter().map(String::as_str)).expect("the config's grants are scopes")
}

fn kernel_route(route: &ManifestRoute) -> Result<Route, String> {
    let pattern = Pattern::parse(&route.pattern).map_err(|error| {
        format!("its route `{}` is no pattern: {error}", route.pattern.escape_debug())
    })?;
    Ok(Route {
        pattern,
        scope: (!route.scope.is_empty()).then(|| route.scope.clone()),
        reach: if route.kind == Kind::On { Reach::Anyone } else { Reach::HostOnly },
        body: route.body.1,
        reply: route.reply.1,
    })
}

/// What instances of a subsystem are made from.
fn source(edit: &Edit, id: SubsystemId, loaded: &Loaded<'_>, data: &Path) -> Source {
    let number = |route: &ManifestRoute| -> RouteId {
        edit.table().route_id(id, &route.pattern).expect("the route was just entered")
    };
    let routes = &loaded.library.manifest().routes;
    let every = routes.iter().filter_map(|route| match route.kind {
        Kind::Every(period) => Some((number(route).0, period)),
        _ => None,
    });
    Source {
        module: loaded.library.module(),
        config: loaded.settings.config.text.clone(),
        data: data.display().to_string(),
        every: every.collect(),
        routes: routes.iter().map(|route| number(route).0).collect(),
    }
}
