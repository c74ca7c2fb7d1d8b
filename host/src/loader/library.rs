//! Steps 4 and 6: the library in the process, its functions at hand, and out of the process again.
#![allow(unsafe_code, reason = "a library is detached and unloaded behind the lock that says when")]

use super::{
    Checked, LoadError, Prober,
    code::{self, Code},
    elf::Elf,
    sealed::Sealed,
};
use mycelia_plugin::abi::{Holds, Module_Ref, manifest::Manifest};
use std::{
    fs, mem,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// The bytes of a checked plugin where nobody can change them any more. Nothing of it has run in this process.
pub struct Staged {
    sealed: Sealed,
    manifest: Manifest,
    hash: Arc<str>,
    path: Arc<Path>,
}

/// A plugin in this process, whose functions have the layout that the host compiled against.
///
/// 1. Every thread of the host that has entered it leaves it for good, by [`Library::detach_thread`] or a [`Detacher`].
/// 2. [`Library::holds`] tells whether threads or destructors of it are left.
/// 3. [`Library::unload`] takes it out of the process, or gives it back.
///
/// One that is dropped instead stays in the process for ever, unless nothing of it was ever entered.
///
/// It may be shared and sent: what it gives is plain data and functions that any thread may call, and what ends it takes
/// the lock that every detaching thread holds.
pub struct Library {
    // Before `sealed`, so that the descriptor is closed after dlclose: while the library is mapped, dlopen answers
    // the descriptor's path with it, whatever file has got that number. Both are there until it is unloaded or leaked.
    code: Option<Code>,
    sealed: Option<Sealed>,
    gate: Arc<Gate>,
    is_entered: AtomicBool,
    manifest: Manifest,
    hash: Arc<str>,
    path: Arc<Path>,
}

/// The functions of a library until it is unloaded, which waits for no one: it takes the lock only if it is free.
struct Gate(RwLock<Option<Module_Ref>>);

/// Lets a thread leave a library that is kept elsewhere.
#[derive(Clone)]
pub struct Detacher(Arc<Gate>);

/// What an unload left.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Unloaded {
    /// Blocks that the library had not freed itself, and which were freed with it.
    pub blocks_freed: u64,
    /// Their bytes.
    pub bytes_freed: u64,
    /// The system has kept its code, for good or until some thread ends; its place is not used again.
    pub is_mapped: bool,
}

impl Checked {
    /// Seals the bytes that were checked; nothing of them runs yet. `label`, such as `kv@1`, names them in the process's
    /// maps.
    ///
    /// # Errors
    /// [`LoadError::Stage`].
    pub fn seal(self, label: &str) -> Result<Staged, LoadError> {
        let length = Elf::parse(self.path(), self.image.bytes())?.loaded_length()?;
        let sealed = Sealed::new(label, &self.image.bytes()[..length]);
        let sealed =
            sealed.map_err(|cause| LoadError::Stage { path: self.path().into(), cause })?;
        Ok(self.staged(sealed))
    }

    pub(super) fn staged(self, sealed: Sealed) -> Staged {
        Staged { sealed, manifest: self.manifest, hash: self.image.hash, path: self.image.path }
    }

    /// [Seals](Checked::seal) and [loads](Staged::load) it, without a trial in another process.
    ///
    /// # Errors
    /// Those of the step `load`.
    pub fn load(self, label: &str) -> Result<Library, LoadError> {
        self.seal(label)?.load()
    }
}

impl Staged {
    /// Tries these very bytes in a child process, unless `prober` has seen them pass.
    ///
    /// # Errors
    /// Those of the step `probe`.
    pub fn probe(&self, prober: &Prober) -> Result<(), LoadError> {
        prober.probe(&self.sealed, &self.hash, &self.path)
    }

    /// Loads exactly these bytes, and attaches the library to this process.
    ///
    /// This executes code of the library, which can do anything, ending the process included.
    ///
    /// # Errors
    /// Those of the step `load`.
    pub fn load(self) -> Result<Library, LoadError> {
        let Staged { mut sealed, manifest, hash, path } = self;
        // One that dlclose could not unmap, while its descriptor was closed and the number given to another file.
        while code::is_loaded(&sealed.path()) {
            sealed = sealed
                .renumber()
                .map_err(|cause| LoadError::Stage { path: path.as_ref().into(), cause })?;
        }
        let code = Code::load(&sealed.path(), &path)?;
        sealed.unlink();
        Ok(Library {
            gate: Arc::new(Gate(RwLock::new(Some(code.module())))),
            code: Some(code),
            sealed: Some(sealed),
            is_entered: AtomicBool::new(false),
            manifest,
            hash,
            path,
        })
    }
}

impl Library {
    /// Its functions, valid until the library is unloaded. From here on it counts as entered.
    pub fn module(&self) -> Module_Ref {
        self.is_entered.store(true, Relaxed);
        self.code().module()
    }

    /// What keeps it from being unloaded, and the heap that it has taken.
    pub fn holds(&self) -> Holds {
        self.code().holds()
    }

    /// How many bytes its heap holds, for any thread to ask; 0 where the plugin has an allocator of its own.
    pub fn heap(&self) -> u64 {
        self.code().heap()
    }

    /// Lets it ask anew which of its events and spans are wanted; for a library that instances were made of.
    pub fn log_changed(&self) {
        self.code().log_changed();
    }

    /// Runs the thread-local destructors that it left on the calling thread, which must not enter it again and is in no
    /// call of it now. May be asked on any thread, and more than once.
    pub fn detach_thread(&self) {
        self.gate.detach();
    }

    /// What other threads detach by.
    pub fn detacher(&self) -> Detacher {
        Detacher(Arc::clone(&self.gate))
    }

    /// Takes the library out of the process. Every instance of it must have been destroyed, and no call of it may run.
    /// Its code is executed once more, to give back what it holds.
    ///
    /// # Errors
    /// The library comes back with what it holds while threads or destructors of it are left, and while a thread is
    /// detaching.
    #[expect(clippy::result_large_err, reason = "an unload is rare, and the library comes back")]
    pub fn unload(mut self) -> Result<Unloaded, (Library, Holds)> {
        self.end().map_err(|holds| (self, holds))
    }

    /// The same bytes once more, to be loaded beside this copy.
    ///
    /// # Errors
    /// [`LoadError::Stage`]; also where the system executes no memory, since the file has no name any more.
    pub fn stage_again(&self, label: &str) -> Result<Staged, LoadError> {
        let sealed = self.sealed.as_ref().expect("a library is sealed until it is unloaded");
        let again = fs::read(sealed.path()).and_then(|bytes| Sealed::new(label, &bytes));
        Ok(Staged {
            sealed: again
                .map_err(|cause| LoadError::Stage { path: self.path.as_ref().into(), cause })?,
            manifest: self.manifest.clone(),
            hash: Arc::clone(&self.hash),
            path: Arc::clone(&self.path),
        })
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

    fn code(&self) -> &Code {
        self.code.as_ref().expect("a library has its code until it is unloaded")
    }

    fn end(&mut self) -> Result<Unloaded, Holds> {
        let holds = self.holds();
        if holds.threads > 0 || holds.destructors > 0 || !self.gate.close() {
            return Err(holds);
        }
        if let Some(code) = self.code.take() {
            code.unload();
        }
        // While the descriptor is open, its path names this library and no other.
        let sealed = self.sealed.take();
        let is_mapped = sealed
            .as_ref()
            .is_some_and(|sealed| code::is_loaded(&sealed.path()) || sealed.is_executable_mapped());
        if is_mapped {
            mem::forget(sealed);
        }
        Ok(Unloaded { blocks_freed: holds.blocks, bytes_freed: holds.bytes, is_mapped })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if self.code.is_none() {
            return;
        }
        if !*self.is_entered.get_mut() {
            self.detach_thread();
        }
        if *self.is_entered.get_mut() || self.end().is_err() {
            mem::forget((self.code.take(), self.sealed.take()));
        }
    }
}

impl Detacher {
    /// Runs the thread-local destructors that the library left on the calling thread, which must not enter it again and
    /// is in no call of it now. After the library was unloaded there are none, and nothing happens.
    pub fn detach(&self) {
        self.0.detach();
    }
}

impl Gate {
    fn detach(&self) {
        let module = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = *module {
            // SAFETY: the library is loaded as long as the lock is held: `close` comes before dlclose. Entering it is what
            // is unsafe, and whoever does promises that the thread detaches outside of the call.
            unsafe { code::detach(module) };
        }
    }

    /// Whether nobody is detaching now; nobody will from here on.
    fn close(&self) -> bool {
        self.0.try_write().is_ok_and(|mut module| module.take().is_some())
    }
}
