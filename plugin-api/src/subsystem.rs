//! The trait that a plugin implements.

use crate::{Context, Error, Need, Result, Route};
use serde::{Serialize, de::DeserializeOwned};

/// A subsystem: its routes, and its life.
///
/// 1. [`create`](Self::create) builds it from its config, and touches nothing else.
/// 2. [`State::restore`] gives it the state that an older instance saved, if there is one.
/// 3. [`start`](Self::start) takes files, ports and threads.
/// 4. Handlers run, one at a time; after each batch [`commit`](Self::commit).
/// 5. [`stop`](Self::stop) gives back what `start` took, and [`State::save`] hands the state on.
pub trait Subsystem: Sized + Send + 'static {
    /// The `config` of the RON file. `()` for none.
    type Config: DeserializeOwned;

    /// What it handles: `&[on("add/{name}", Self::add), …]`.
    const ROUTES: &'static [Route<Self>];

    /// The scopes of others that it wants, with reasons; `mycelia check` compares them with the grants.
    const NEEDS: &'static [Need] = &[];

    /// Whether [`commit`](Self::commit) is to be called. Without it a batch costs one call less.
    const COMMITS: bool = false;

    /// Builds the subsystem. It is pure: no file, port or thread, since it runs also when a config is only checked.
    ///
    /// # Errors
    /// An error here is shown at the config's place in the RON file.
    fn create(config: Self::Config) -> Result<Self>;

    /// Takes files, ports and threads. It may run again on the same instance after [`stop`](Self::stop).
    ///
    /// # Errors
    /// The subsystem does not start.
    fn start(&mut self, ctx: &mut Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// Makes a batch durable before its replies leave.
    ///
    /// # Errors
    /// Every message of the batch then counts as failed, and its requesters get this error.
    fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    /// Gives back what [`start`](Self::start) took. Threads begun by [`Context::spawn`] have ended by then.
    ///
    /// # Errors
    /// Logged; the subsystem ends all the same.
    fn stop(&mut self, ctx: &mut Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }
}

/// The state of `S` that outlives an instance: saved before a reload or a restart, restored into the next one.
///
/// It is kept as MessagePack with the names of its fields, so a field can be added with `#[serde(default)]`.
/// `export_subsystem!(Counter, state = Self)` implements it for a subsystem that is its own state.
pub trait State<S>: DeserializeOwned {
    /// The number of this form of the state; another number goes through [`migrate`](Self::migrate).
    const SCHEMA: u32 = 1;

    /// What to keep of a subsystem.
    fn save(subsystem: &S) -> impl Serialize;

    /// Puts it into a new instance.
    ///
    /// # Errors
    /// The state is refused.
    fn restore(self, subsystem: &mut S) -> Result<()>;

    /// Makes this state of an older one.
    ///
    /// # Errors
    /// The state is refused; so it is without this function.
    fn migrate(from: u32, old: Saved<'_>) -> Result<Self> {
        let _ = old;
        let wanted = Self::SCHEMA;
        Err(Error::invalid(format!(
            "the state has the schema {from}, this build takes {wanted} and has no `migrate`"
        )))
    }
}

/// A state as it was saved by another build.
pub struct Saved<'b>(pub(crate) &'b [u8]);

impl Saved<'_> {
    /// Reads it as the type it once was.
    ///
    /// # Errors
    /// `invalid` if it is not that.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        rmp_serde::from_slice(self.0)
            .map_err(|error| Error::invalid(format!("the saved state does not read: {error}")))
    }
}

/// What the export macro tells of a subsystem's state.
#[doc(hidden)]
pub trait Export: Subsystem {
    /// 0 saves none.
    const SCHEMA: u32;
    fn save(&self) -> Result<Vec<u8>>;
    fn restore(&mut self, schema: u32, state: &[u8]) -> Result<()>;
}

#[doc(hidden)]
pub fn save_state<S, T: State<S>>(subsystem: &S) -> Result<Vec<u8>> {
    Ok(rmp_serde::to_vec_named(&T::save(subsystem))?)
}

#[doc(hidden)]
pub fn restore_state<S, T: State<S>>(subsystem: &mut S, schema: u32, state: &[u8]) -> Result<()> {
    let saved = Saved(state);
    let state: T = if schema == T::SCHEMA { saved.read()? } else { T::migrate(schema, saved)? };
    state.restore(subsystem)
}
