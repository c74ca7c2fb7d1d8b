//! How a kit comes to be.

use crate::{
    Kit,
    directory::Directory,
    instance::{Instance, Plan, SavedState},
    world::{Message, State, World},
};
use mycelia_kernel::scope::Grants;
use mycelia_plugin::{
    Error, Export, IntoDuration, Kind, Result,
    abi::{
        Envelope,
        manifest::{About, Manifest},
    },
};
use serde::Serialize;
use std::marker::PhantomData;

/// A kit that is being put together.
#[must_use = "the subsystem runs from `start`"]
pub struct Setup<S> {
    name: String,
    config: String,
    data: Option<String>,
    grants: Option<Vec<String>>,
    state: Option<SavedState>,
    ask_deadline: u64,
    subsystem: PhantomData<S>,
}

impl<S: Export> Setup<S> {
    pub(crate) fn new() -> Self {
        let path = std::any::type_name::<S>();
        let name = path.rsplit("::").next().unwrap_or(path).to_lowercase();
        Setup {
            name,
            config: "()".into(),
            data: None,
            grants: None,
            state: None,
            ask_deadline: "5s".into_nanos(),
            subsystem: PhantomData,
        }
    }

    /// The subsystem's name in the config; the name of its type in lower case without it.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Its config, as the RON file would have it; `()` without it.
    pub fn config(mut self, ron: &str) -> Self {
        self.config = ron.into();
        self
    }

    /// The folder for its files; one that is removed with the kit without it.
    pub fn data(mut self, folder: &str) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// The scopes it is granted: full names, or `*`. Without it whatever its `NEEDS` declare.
    pub fn grants(mut self, scopes: &[&str]) -> Self {
        self.grants = Some(scopes.iter().map(|scope| scope.to_string()).collect());
        self
    }

    /// The state that another build saved, with the number of its form: to test `migrate`.
    ///
    /// # Panics
    /// If it cannot be encoded.
    pub fn state(mut self, schema: u32, state: &impl Serialize) -> Self {
        let bytes = rmp_serde::to_vec_named(state).expect("a state can be encoded as MessagePack");
        self.state = Some((schema, bytes));
        self
    }

    /// The deadline of requests that name none; 5 s without it.
    pub fn ask_deadline(mut self, deadline: impl IntoDuration) -> Self {
        self.ask_deadline = deadline.into_nanos();
        self
    }

    /// Creates the subsystem and starts it.
    ///
    /// # Errors
    /// A bad config, name or scope, and what `create`, `restore` and `start` say.
    pub fn start(self) -> Result<Kit<S>> {
        let manifest = manifest::<S>();
        let grants = self.granted(&manifest)?;
        let directory = Directory::new(&self.name, grants, &manifest)?;
        let routes = directory.numbers(&manifest);
        // As the ABI demands of a host, it lives as long as the process.
        let world: &'static World = Box::leak(Box::new(World::new(directory, self.ask_deadline)));
        let own_folder = if self.data.is_none() { Some(tempfile::tempdir()?) } else { None };
        let folder = own_folder
            .as_ref()
            .map(|folder| folder.path().join(&self.name).to_string_lossy().into_owned());
        let data = self.data.or(folder).unwrap_or_default();
        let plan = Plan { name: self.name, config: self.config, data, routes };
        let instance = Instance::begin::<S>(world, &plan, self.state.as_ref())?;
        set_timers(&mut world.lock(), &manifest)?;
        Ok(Kit::of(world, instance, plan, own_folder))
    }

    fn granted(&self, manifest: &Manifest) -> Result<Grants> {
        let needs = manifest.needs.iter().map(|need| need.scope.as_str());
        let grants = match &self.grants {
            None => Grants::parse(needs),
            Some(scopes) => Grants::parse(scopes.iter().map(String::as_str)),
        };
        grants.map_err(|error| Error::invalid(error.to_string()))
    }
}

fn manifest<S: Export>() -> Manifest {
    Manifest::of::<S>(About {
        name: "",
        version: "",
        state: S::SCHEMA,
        unwinds: true,
        unloads: false,
    })
}

fn set_timers(state: &mut State, manifest: &Manifest) -> Result<()> {
    let (subject, name) =
        (state.directory.subject, state.directory.name(state.directory.subject).to_owned());
    for route in &manifest.routes {
        let Kind::Every(period) = route.kind else { continue };
        let id = state
            .directory
            .table
            .route_id(subject, &route.pattern)
            .expect("every route has a number");
        let envelope = Envelope { route: id.0, sender: subject.0.into(), ..Envelope::EMPTY };
        let path = format!("{name}://{}", route.pattern);
        state.schedule(period, Message::new(envelope, Vec::new(), path), true)?;
    }
    Ok(())
}
