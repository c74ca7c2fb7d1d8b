//! The loading ladder: from a file's name to the functions of a plugin.
//!
//! Each step has errors of its own, and a file that fails one never reaches the next:
//! [`find`] names the file; [`Image::read`] reads it once; [`Image::preflight`] checks the bytes without executing any;
//! [`Checked::load`] maps exactly those bytes and checks the layout of what they export.
//! dlopen is nowhere else, and abi_stable's own loading is not used: it keeps pointers into the newest library,
//! and one library per type for ever.

mod error;
mod find;
mod image;
mod inspect;
mod library;
mod preflight;
mod sealed;
#[cfg(test)]
mod tests;

pub use error::LoadError;
pub use find::{find, search_path};
pub use image::Image;
pub use inspect::{Inspection, InspectionNeed, InspectionRoute, inspect};
pub use library::Library;
pub use preflight::Checked;
