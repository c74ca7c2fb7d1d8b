//! The code of a library in this process: dlopen, the layout check, and what is asked of every library.
#![allow(unsafe_code, reason = "dlopen runs foreign code, and what it gives is typed by us")]

use super::LoadError;
use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals},
    library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME, ROOT_MODULE_LOADER_NAME_WITH_NUL},
};
use libc::{RTLD_LAZY, RTLD_LOCAL, RTLD_NOLOAD, RTLD_NOW};
use libloading::os::unix::Library as Handle;
use mycelia_plugin::abi::{Holds, Module_Ref};
use std::path::Path;

/// A library that is mapped, whose functions have the layout that the host compiled against, and which was told so.
pub(super) struct Code {
    module: Module_Ref,
    handle: Handle,
}

impl Code {
    /// Loads what lies at `sealed`, and attaches it; `path` is for the errors.
    ///
    /// This executes code of the library, which can do anything, ending the process included.
    pub fn load(sealed: &Path, path: &Path) -> Result<Code, LoadError> {
        let handle = open(sealed, path)?;
        let module = module(&handle, path)?;
        // SAFETY: the module is of the library that `handle` keeps, and this is the first call of one of its functions.
        unsafe { module.attach()() };
        Ok(Code { module, handle })
    }

    /// Its functions, valid as long as this.
    pub fn module(&self) -> Module_Ref {
        self.module
    }

    /// What the library holds in the process.
    pub fn holds(&self) -> Holds {
        let mut holds = Holds::default();
        // SAFETY: the library is loaded, and there is room for the answer.
        unsafe { self.module.holds()(&mut holds) };
        holds
    }

    /// How many bytes its heap holds.
    pub fn heap(&self) -> u64 {
        // SAFETY: the library is loaded.
        unsafe { self.module.heap()() }
    }

    /// Lets the library ask anew which of its events and spans are wanted.
    pub fn log_changed(&self) {
        // SAFETY: the library is loaded, and this may be called beside any other call.
        unsafe { self.module.log_changed()() };
    }

    /// Ends the library. It must hold neither threads nor destructors, and no call of it may run or follow.
    pub fn unload(self) {
        // SAFETY: the library is loaded, and this is the last call of one of its functions.
        unsafe { self.module.unload()() };
        // An error of dlclose leaves it mapped, which its caller looks for in any case.
        let _ = self.handle.close();
    }
}

/// Runs the thread-local destructors that a library left on this thread.
///
/// # Safety
/// The library must be loaded until this returns, and no call of it may run on this thread.
pub(super) unsafe fn detach(module: Module_Ref) {
    // SAFETY: the caller vouches for it.
    unsafe { module.detach()() };
}

/// Whether the process has a library under this very path.
pub(super) fn is_loaded(path: &Path) -> bool {
    // SAFETY: nothing is loaded, so nothing runs; the count that this raises is lowered at once.
    unsafe { Handle::open(Some(path), RTLD_LAZY | RTLD_NOLOAD) }.is_ok()
}

pub(super) fn open(sealed: &Path, path: &Path) -> Result<Handle, LoadError> {
    // SAFETY: loading runs the initialisers of a plugin, which is trusted code, built by the ordinary toolchain.
    let handle = unsafe { Handle::open(Some(sealed), RTLD_NOW | RTLD_LOCAL) };
    handle.map_err(|error| {
        let text = std::error::Error::source(&error).unwrap_or(&error).to_string();
        LoadError::Refused {
            path: path.into(),
            cause: text.replace(&*sealed.to_string_lossy(), "it"),
        }
    })
}

/// The root module of a library. Errors are made into text here: they point into the library, which may go.
fn module(handle: &Handle, path: &Path) -> Result<Module_Ref, LoadError> {
    let header = header(handle, path)?;
    check_layout(header)
        .map_err(|difference| LoadError::Layout { path: path.into(), difference })?;
    // SAFETY: the layout was checked in the line before.
    let module = unsafe { header.init_root_module_with_unchecked_layout::<Module_Ref>() };
    module.map_err(|error| LoadError::RootModule { path: path.into(), cause: error.to_string() })
}

fn header(handle: &Handle, path: &Path) -> Result<&'static LibHeader, LoadError> {
    // SAFETY: preflight found an object of a header's size under this name, and `upgrade` compares its magic text.
    // A symbol can resolve to null, which the option takes up.
    let symbol = unsafe { handle.get::<Option<AbiHeaderRef>>(ROOT_MODULE_LOADER_NAME_WITH_NUL) };
    let header = symbol.ok().and_then(|symbol| *symbol);
    let header = header
        .ok_or(LoadError::NoRootModule { path: path.into(), symbol: ROOT_MODULE_LOADER_NAME })?;
    header
        .upgrade()
        .map_err(|error| LoadError::Header { path: path.into(), cause: error.to_string() })
}

/// The globals are thrown away: abi_stable's own would keep pointers into the library beyond its life.
fn check_layout(header: &LibHeader) -> Result<(), String> {
    let layout = header.layout().ok_or("it was built without one")?;
    let globals = CheckingGlobals::new();
    check_layout_compatibility_with_globals(<Module_Ref as StableAbi>::LAYOUT, layout, &globals)
        .map_err(|errors| summary(&errors.to_string()))
}

/// The first differences, in a line: the whole text describes both modules, over pages.
fn summary(text: &str) -> String {
    const MOST: usize = 400;
    let errors = text.find("\nError:").map_or(text, |start| &text[start..]);
    let words: Vec<&str> = errors.split_whitespace().collect();
    words.join(" ").chars().take(MOST).collect()
}
