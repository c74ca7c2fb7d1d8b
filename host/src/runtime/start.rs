//! Starting: every subsystem is loaded, checked and created; one table is published; then they start.

use super::{
    Runtime, Slot,
    generation::{Build, Generation, Instance, served},
    kernel,
    lifecycle::Caretaker,
    scopes::{check_listeners, check_scopes},
    slot::{OPEN_REQUESTS, grants},
};
use crate::{
    abi::Message,
    config::{self, Config, Mistakes},
    loader::{self, Image, Library, Prober},
    status::Phase,
    watch::{Watch, Watched},
};
use mycelia_kernel::{ids::SubsystemId, table::Edit};
use mycelia_plugin::{
    Error, ErrorCode,
    abi::{Envelope, host::CreateError, manifest::Manifest},
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

/// A subsystem of the config, and what of its library was found.
pub(super) struct Found<'c> {
    pub name: &'c str,
    settings: &'c config::Subsystem,
    file: Option<PathBuf>,
    generation: Option<Arc<Generation>>,
}

impl Found<'_> {
    /// What its library says of itself.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.generation.as_ref().map(|generation| generation.manifest())
    }
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
        Runtime::create_with(config, file, cache_seed, OPEN_REQUESTS)
    }

    /// As [`Runtime::create`], with so many requests that the operator may have open.
    ///
    /// # Errors
    /// As there.
    pub fn create_with(
        config: &Config,
        file: &Path,
        cache_seed: u64,
        open_requests: usize,
    ) -> Result<&'static Runtime, StartError> {
        let mut mistakes = config.mistakes();
        let prober = Prober::find();
        let found = load_all(config, file, prober.as_ref(), &mut mistakes);
        check_scopes(config, &found, &mut mistakes);
        let runtime: &'static Runtime =
            Box::leak(Box::new(Runtime::new(config, file, prober, cache_seed, open_requests)?));
        let mut caretaker = Caretaker::new(runtime);
        let published = runtime.tables.update(|edit| {
            edit.grants(SubsystemId::OPERATOR, grants(&config.control.grants));
            // In the order of the config, which is that of the slots; what is not loaded keeps its number without routes.
            for found in &found {
                caretaker.enter_first(edit, found, &mut mistakes);
            }
            let kernel = edit.kernel(kernel::routes());
            debug_assert_eq!(kernel.as_ref().ok(), Some(&runtime.kernel().id));
            check_listeners(config, &found, &edit.preview(), &mut mistakes);
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

    /// Destroys every instance, none of which was started.
    pub fn destroy_all(&self) {
        for slot in self.subsystems() {
            if let Some(instance) = slot.cell().instance.take() {
                discard(slot, instance);
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
    pub(super) fn start_all(&'static self, caretaker: &mut Caretaker) -> Result<(), StartError> {
        for slot in self.subsystems() {
            let instance = slot.cell().instance.take();
            if let Some(Err(error)) = instance.map(|instance| caretaker.begin(slot, instance)) {
                slot.note_error(&error.to_string());
                if slot.settings.required {
                    return Err(StartError::Start { name: slot.name.clone(), error });
                }
                caretaker.give_up(slot, &error);
            }
            caretaker.release(slot);
        }
        Ok(())
    }

    /// Watches the files of all plugins.
    pub(super) fn start_watch(&'static self) -> std::io::Result<()> {
        let files = self.subsystems().filter_map(|slot| {
            let info = slot.info();
            let path = info.file.clone()?;
            // One that could not be loaded is tried again when it changes.
            let hash = match info.hash.is_empty() {
                true => {
                    Image::read(&path).map_or_else(|_| String::new(), |image| image.hash().into())
                }
                false => info.hash.clone(),
            };
            Some(Watched { path, hash })
        });
        let watch = Watch::start(files.collect(), |change| self.lifecycle.changed(change))?;
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        Ok(())
    }

    pub(super) fn stop_watch(&self) {
        drop(self.watch.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Sets the timers of the table of a subsystem's present build; those that an older one had, too, go on.
    pub(super) fn arm_timers(&self, slot: &Slot) {
        let build = slot.info().build.clone();
        let every = build.as_ref().map_or(&[][..], |build| &build.every);
        let mut armed = slot.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut timers = slot.timers();
        armed.retain(|timer, id| every.contains(timer) || !timers.cancel(*id));
        let now = self.now();
        for &(route, period) in every {
            armed.entry((route, period)).or_insert_with(|| {
                let envelope = Envelope { route, sender: slot.id.0.into(), ..Envelope::EMPTY };
                let id = timers.arm_every(now, period, Message(envelope));
                self.plan_for(slot, now + period);
                id.expect("a table has fewer timers than a subsystem may have")
            });
        }
    }

    /// Ends outcomes that nobody takes any more.
    pub(super) fn take_all(&self, outcomes: Vec<Message>) {
        outcomes.iter().for_each(|outcome| self.take_back(outcome));
    }
}

impl Caretaker {
    /// Enters a subsystem into the table and creates its first instance.
    fn enter_first(&mut self, edit: &mut Edit, found: &Found<'_>, mistakes: &mut Mistakes) {
        let Found { name, settings, file, generation } = found;
        let routes = found.manifest().map_or(Ok(Vec::new()), served);
        let entered = routes.and_then(|routes| {
            let id = edit.subsystem(name, grants(&settings.grants), routes.clone());
            id.map(|id| (id, routes)).map_err(|error| error.to_string())
        });
        let (id, routes) = match entered {
            Ok(entered) => entered,
            Err(text) => {
                let place = settings.places.plugin.clone();
                return mistakes.add(place, text, "mend the plugin's route table");
            }
        };
        let slot = self.runtime.slot(id);
        slot.info().file = file.clone();
        let Some(generation) = generation else {
            edit.remove(id);
            slot.info().phase = Phase::Stopped;
            return;
        };
        let (config, data) = (slot.settings.config.clone(), slot.settings.data.clone());
        let build = Arc::new(Build::new(edit, id, Arc::clone(generation), routes, config, data));
        self.describe_first(slot, &build);
        match self.create(slot, &build) {
            Ok(instance) => slot.cell().instance = Some(instance),
            Err(error) => refuse(edit, slot, settings, &error, mistakes),
        }
    }

    fn describe_first(&self, slot: &Slot, build: &Arc<Build>) {
        let mut info = slot.info();
        info.describe(&build.generation);
        info.generations = build.generation.number;
        info.loaded.push(build.generation.number);
        info.build = Some(Arc::clone(build));
    }
}

/// A config that the plugin does not take is the operator's mistake, at its place in the file.
fn refuse(
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

fn discard(slot: &Slot, instance: Instance) {
    if let Err(error) = instance.guest.destroy() {
        tracing::error!(subsystem = slot.name, "the subsystem's drop failed: {error}");
    }
}

/// Loads the library of every subsystem; what cannot be loaded is a mistake, or, if optional, a line in the log.
fn load_all<'c>(
    config: &'c Config,
    file: &Path,
    prober: Option<&Prober>,
    mistakes: &mut Mistakes,
) -> Vec<Found<'c>> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let search = search_path();
    let mut all = Vec::new();
    for (name, settings) in &config.subsystems {
        let mut found = Found { name, settings, file: None, generation: None };
        match load(folder, &search, &mut found, prober) {
            Ok(library) => found.generation = Some(Arc::new(Generation::new(1, library))),
            Err(error) if settings.required => {
                let help = "or say `required: false`, and the host runs without it";
                mistakes.add(settings.places.plugin.clone(), error.to_string(), help);
            }
            Err(error) => tracing::error!(subsystem = name, "the host runs without it: {error}"),
        }
        all.push(found);
    }
    all
}

fn load(
    folder: &Path,
    search: &[PathBuf],
    found: &mut Found<'_>,
    prober: Option<&Prober>,
) -> Result<Library, loader::LoadError> {
    let path = loader::find(&found.settings.plugin, folder, search)?;
    let path = &*found.file.insert(path);
    let staged = Image::read(path)?.preflight()?.seal(&format!("{}@1", found.name))?;
    if let Some(prober) = prober {
        staged.probe(prober)?;
    }
    staged.load()
}

/// Where plugins are looked for.
pub fn search_path() -> Vec<PathBuf> {
    let binary = std::env::current_exe().unwrap_or_default();
    loader::search_path(std::env::var_os("MYCELIA_PLUGIN_PATH"), &binary)
}
