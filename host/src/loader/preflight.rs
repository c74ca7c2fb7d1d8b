//! Step 2: what can be known of a file without executing any of it.
//!
//! A half-written or foreign library crashes the loader of the system, and with it the host; so it never gets there.

use super::{
    Image, LoadError,
    dynamic::Dynamic,
    elf::{Elf, LE, malformed},
};
use mycelia_plugin::abi::{
    ABI_VERSION,
    manifest::{Manifest, SECTION},
};
use object::{
    elf,
    read::elf::{SectionHeader, Sym},
};
use std::path::Path;

/// What a plugin exports for its host.
const ROOT_MODULE: &str = abi_stable::library::ROOT_MODULE_LOADER_NAME;

/// An image that is a complete plugin for this host, as far as its bytes tell. A clone shares them.
#[derive(Clone)]
pub struct Checked {
    pub(super) image: Image,
    pub(super) manifest: Manifest,
}

impl Image {
    /// Checks that the image is a complete library for this machine, and a plugin that this host can run and unload.
    ///
    /// # Errors
    /// Those of the step `preflight`.
    pub fn preflight(&self) -> Result<Checked, LoadError> {
        let manifest = check(self.path(), self.bytes())?;
        Ok(Checked { image: self.clone(), manifest })
    }

    /// Checks that the image is all of an ELF file for this machine; one that is not may still be being written, which
    /// [`LoadError::is_incomplete`] tells. It need not be a plugin.
    ///
    /// # Errors
    /// Those of the step `preflight`.
    pub fn check_complete(&self) -> Result<(), LoadError> {
        Elf::parse(self.path(), self.bytes())?.check_complete()
    }
}

impl Checked {
    /// What the plugin says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// BLAKE3 of the file's bytes, in hex.
    pub fn hash(&self) -> &str {
        self.image.hash()
    }

    /// Where the file was read.
    pub fn path(&self) -> &Path {
        self.image.path()
    }
}

/// The manifest of a complete plugin that this host can run and unload.
pub(super) fn check(path: &Path, bytes: &[u8]) -> Result<Manifest, LoadError> {
    let manifest = examine(path, bytes)?;
    admit(path, &manifest)?;
    let dynamic = Dynamic::check(&Elf::parse(path, bytes)?)?;
    check_hooks(path, &manifest, &dynamic)?;
    Ok(manifest)
}

/// The manifest of a complete plugin, whether this host can run it or not.
pub(super) fn examine(path: &Path, bytes: &[u8]) -> Result<Manifest, LoadError> {
    let elf = Elf::parse(path, bytes)?;
    elf.check_complete()?;
    elf.check_kind()?;
    let manifest = manifest(&elf)?;
    check_root_module(&elf)?;
    Ok(manifest)
}

/// Whether this host can run it.
fn admit(path: &Path, manifest: &Manifest) -> Result<(), LoadError> {
    match manifest.abi {
        built_for if !is_spoken(built_for) => {
            Err(LoadError::AbiVersion { path: path.into(), built_for })
        }
        _ if !manifest.unwinds => Err(LoadError::PanicAborts { path: path.into() }),
        _ => Ok(()),
    }
}

/// Whether the library notes what it leaves in the process: threads, thread-local destructors and pthread keys, whose
/// functions it would otherwise take from the system.
fn check_hooks(path: &Path, manifest: &Manifest, dynamic: &Dynamic<'_>) -> Result<(), LoadError> {
    const HOOKED: [&str; 3] = ["pthread_create", "pthread_key_create", "__cxa_thread_atexit_impl"];
    let unhooked = HOOKED.into_iter().find(|name| dynamic.imports(name));
    match manifest.unloads && unhooked.is_none() {
        true => Ok(()),
        false => Err(LoadError::NoHooks { path: path.into(), symbol: unhooked }),
    }
}

/// A minor version only adds, so an older plugin finds all that it knows.
fn is_spoken((major, minor): (u16, u16)) -> bool {
    major == ABI_VERSION.0 && minor <= ABI_VERSION.1
}

fn manifest(elf: &Elf<'_>) -> Result<Manifest, LoadError> {
    let (_, section) = (elf.sections()?.section_by_name(LE, SECTION.as_bytes()))
        .ok_or_else(|| LoadError::NoManifest { path: elf.path.into() })?;
    let text = section.data(LE, elf.bytes).map_err(|error| malformed(elf.path, error))?;
    parse_manifest(text).map_err(|fault| match fault {
        ManifestFault::OtherAbi(built_for) => {
            LoadError::AbiVersion { path: elf.path.into(), built_for }
        }
        ManifestFault::Damaged(what) => LoadError::Manifest { path: elf.path.into(), what },
    })
}

fn check_root_module(elf: &Elf<'_>) -> Result<(), LoadError> {
    let symbols = elf.sections()?.symbols(LE, elf.bytes, elf::SHT_DYNSYM);
    let symbols = symbols.map_err(|error| malformed(elf.path, error))?;
    let is_exported = symbols.iter().any(|symbol| {
        symbol.name(LE, symbols.strings()) == Ok(ROOT_MODULE.as_bytes())
            && symbol.st_type() == elf::STT_OBJECT
            && symbol.st_shndx(LE) != elf::SHN_UNDEF
            && symbol.st_size(LE) >= size_of::<abi_stable::library::AbiHeader>() as u64
    });
    match is_exported {
        true => Ok(()),
        false => Err(LoadError::NoRootModule { path: elf.path.into(), symbol: ROOT_MODULE }),
    }
}

enum ManifestFault {
    OtherAbi((u16, u16)),
    Damaged(String),
}

/// One that cannot be read may be of a later version, which its first line tells in every version.
fn parse_manifest(text: &[u8]) -> Result<Manifest, ManifestFault> {
    let manifest = Manifest::parse(text).map_err(|what| match abi_of(text) {
        Some(abi) if !is_spoken(abi) => ManifestFault::OtherAbi(abi),
        _ => ManifestFault::Damaged(what),
    })?;
    match manifest.name.is_empty() || manifest.version.is_empty() {
        true => Err(ManifestFault::Damaged("it has no name or no version".into())),
        false => Ok(manifest),
    }
}

fn abi_of(text: &[u8]) -> Option<(u16, u16)> {
    let first = text.split(|&byte| byte == b'\n').next()?;
    Manifest::parse(&[first, b"\nend\n"].concat()).ok().map(|manifest| manifest.abi)
}
