//! The loading ladder: from a file's name to the functions of a plugin, and the way out again.
//!
//! Each step has errors of its own, and a file that fails one never reaches the next:
//! [`find`] names the file; [`Image::read`] reads it once; [`Image::preflight`] checks the bytes without executing any;
//! [`Checked::seal`] puts exactly those bytes where nobody can change them; [`Staged::probe`] tries them in a child;
//! [`Staged::load`] maps them here and checks the layout of what they export; [`Library::unload`] takes them out.
//! dlopen is nowhere else, and abi_stable's own loading is not used: it keeps pointers into the newest library,
//! and one library per type for ever.

mod code;
mod dynamic;
mod elf;
mod error;
mod find;
mod image;
mod inspect;
mod library;
mod preflight;
mod probe;
mod sealed;
mod segments;
#[cfg(test)]
mod tests;
mod trial;

pub use error::LoadError;
pub use find::{find, search_path};
pub use image::Image;
pub use inspect::{Inspection, InspectionNeed, InspectionRoute, inspect};
pub use library::{Detacher, Library, Staged, Unloaded};
pub use preflight::Checked;
pub use probe::Prober;
pub use trial::{answer_probe, probe_main};
