//! Loaded builds of plugins, what instances are made from, and the instances.

use super::{Runtime, slot::Handle};
use crate::loader::Library;
use mycelia_kernel::{
    ids::SubsystemId,
    pattern::Pattern,
    table::{Edit, Reach, Route},
};
use mycelia_plugin::{
    Kind,
    abi::{
        host::{CreateError, CreateSpec, Guest},
        manifest::{Manifest, ManifestRoute},
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// One loaded build of a subsystem's plugin. Whoever holds one keeps its code in the process.
pub struct Generation {
    /// Counts the builds of its subsystem, from 1.
    pub number: u32,
    /// The code.
    pub library: Library,
    is_abandoned: AtomicBool,
    has_lost_thread: AtomicBool,
}

impl Generation {
    /// A build that was loaded.
    pub fn new(number: u32, library: Library) -> Generation {
        let (is_abandoned, has_lost_thread) = (AtomicBool::new(false), AtomicBool::new(false));
        Generation { number, library, is_abandoned, has_lost_thread }
    }

    /// No instance is to be made from it any more, but from another copy of the library.
    pub fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Release);
    }

    /// A thread is lost in it for good, and may hold its locks: as `abandon`, and nobody enters it to leave it.
    pub fn lose_thread(&self) {
        self.has_lost_thread.store(true, Ordering::Release);
        self.abandon();
    }

    /// Whether a thread is lost in it for good.
    pub fn has_lost_thread(&self) -> bool {
        self.has_lost_thread.load(Ordering::Acquire)
    }

    /// Whether it was abandoned.
    pub fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Acquire)
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        self.library.manifest()
    }
}

/// What instances of a generation are made from.
#[derive(Clone)]
pub struct Build {
    /// The code.
    pub generation: Arc<Generation>,
    /// The subsystem's part of the config.
    pub config: String,
    /// The folder of its files.
    pub data: String,
    /// Its routes, as the table takes them.
    pub served: Vec<Route>,
    /// Their numbers, in the order of the manifest.
    pub routes: Vec<u16>,
    /// Route and period of each timer of the table.
    pub every: Vec<(u16, u64)>,
}

impl Build {
    /// A build whose routes have been entered into the table.
    pub fn new(
        edit: &Edit,
        id: SubsystemId,
        generation: Arc<Generation>,
        served: Vec<Route>,
        config: String,
        data: String,
    ) -> Build {
        let number = |route: &ManifestRoute| {
            edit.table().route_id(id, &route.pattern).expect("the route was just entered").0
        };
        let manifest = &generation.manifest().routes;
        let every = manifest.iter().filter_map(|route| match route.kind {
            Kind::Every(period) => Some((number(route), period)),
            _ => None,
        });
        let (every, routes) = (every.collect(), manifest.iter().map(number).collect());
        Build { generation, config, data, served, routes, every }
    }
}

/// The routes of a manifest as the table takes them.
///
/// # Errors
/// Which route is none.
pub fn served(manifest: &Manifest) -> Result<Vec<Route>, String> {
    manifest.routes.iter().map(kernel_route).collect()
}

fn kernel_route(route: &ManifestRoute) -> Result<Route, String> {
    let reach = match route.kind {
        Kind::On => Reach::Anyone,
        Kind::OnReply | Kind::Every(_) => Reach::HostOnly,
        Kind::Event => Reach::Event,
        Kind::OnEvent => Reach::Listener,
    };
    let pattern = match reach {
        Reach::Listener => Pattern::parse_listened(&route.pattern),
        _ => Pattern::parse(&route.pattern),
    };
    Ok(Route {
        pattern: pattern.map_err(|error| {
            format!("its route `{}` is no pattern: {error}", route.pattern.escape_debug())
        })?,
        scope: (!route.scope.is_empty()).then(|| route.scope.clone()),
        reach,
        body: route.body.1,
        reply: route.reply.1,
    })
}

/// One created subsystem. It is ended by [`Guest::destroy`]; merely dropped it is leaked, and its code stays.
pub struct Instance {
    /// Its functions and itself.
    pub guest: Guest,
    /// Names it in host calls; never given twice.
    pub incarnation: u32,
    /// Its code.
    pub generation: Arc<Generation>,
}

impl Instance {
    /// Makes an instance, which is not live yet.
    ///
    /// # Errors
    /// What the plugin's `create` says.
    pub fn create(
        runtime: &'static Runtime,
        id: SubsystemId,
        build: &Build,
    ) -> Result<Instance, CreateError> {
        let slot = runtime.slot(id);
        let incarnation = runtime.incarnations.fetch_add(1, Ordering::Relaxed) + 1;
        let spec = CreateSpec {
            name: &slot.name,
            config: &build.config,
            data: &build.data,
            routes: &build.routes,
            handle: Handle { id, incarnation }.pack(),
        };
        let generation = Arc::clone(&build.generation);
        let guest = Guest::create(generation.library.module(), runtime, &slot.level, &spec)?;
        Ok(Instance { guest, incarnation, generation })
    }
}
