//! Step 4: the library in the process, its layout checked, its functions at hand.
#![allow(unsafe_code, reason = "dlopen runs foreign code, and what it gives is typed by us")]

use super::{Checked, LoadError, sealed::Sealed};
use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals},
    library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME, ROOT_MODULE_LOADER_NAME_WITH_NUL},
};
use libc::{RTLD_LAZY, RTLD_LOCAL, RTLD_NOLOAD, RTLD_NOW};
use libloading::os::unix::Library as Handle;
use mycelia_plugin::abi::{Module_Ref, manifest::Manifest};
use std::path::{Path, PathBuf};

/// A plugin in this process, whose functions have the layout that the host compiled against.
///
/// Dropping it unmaps the code. Nothing of it may be in use then: no instance, no thread that entered it, no copy of
/// [`Library::module`]. A Rust library holds on to every thread that ever entered it, and nothing here undoes that,
/// so the runtime leaks each library that it has entered; only one that was merely loaded can be dropped.
pub struct Library {
    module: Module_Ref,
    // Before `_sealed`, so that the descriptor is closed after dlclose: while the library is mapped, dlopen answers
    // the descriptor's path with it, whatever file has got that number.
    _handle: Handle,
    _sealed: Sealed,
    manifest: Manifest,
    hash: String,
    path: PathBuf,
}

impl Checked {
    /// Loads exactly the bytes that were checked. `label`, such as `kv@1`, names them in the process's maps.
    ///
    /// This executes code of the library, which can do anything, ending the process included.
    ///
    /// # Errors
    /// Those of the step `load`.
    pub fn load(self, label: &str) -> Result<Library, LoadError> {
        let stage = |cause| LoadError::Stage { path: self.path().into(), cause };
        let sealed = Sealed::new(label, &self.image.bytes).map_err(stage)?;
        self.load_sealed(sealed)
    }

    pub(super) fn load_sealed(self, mut sealed: Sealed) -> Result<Library, LoadError> {
        while is_loaded(&sealed.path()) {
            sealed = sealed
                .renumber()
                .map_err(|cause| LoadError::Stage { path: self.path().into(), cause })?;
        }
        // Declared after `sealed`, so that it is dropped before it on the way out, too.
        let handle = open(&sealed.path(), self.path())?;
        sealed.unlink();
        let module = module(&handle, self.path())?;
        let (hash, path) = (self.hash().into(), self.path().into());
        Ok(Library {
            module,
            _handle: handle,
            _sealed: sealed,
            manifest: self.manifest,
            hash,
            path,
        })
    }
}

impl Library {
    /// Its functions, valid until the library is dropped.
    pub fn module(&self) -> Module_Ref {
        self.module
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// BLAKE3 of the file's bytes, in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Where the file was read; another one may be there by now.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether the process has a library under this very path: one that dlclose could not unmap, while its descriptor was
/// closed and the number given to another file.
fn is_loaded(path: &Path) -> bool {
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
