//! Addresses: a path as text, or a recipient that was resolved once and is kept.

use crate::{
    Result,
    abi::call::{Kept, Turn},
};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// A path that is resolved once and kept: what a hot sender holds.
///
/// Holding one proves nothing about the path: it is resolved at its first send, and again whenever routes or grants have
/// changed, so a send to it may fail as one to a text may. In saved state it is its path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Recipient {
    path: String,
    /// What the path was resolved to.
    kept: Kept,
    /// Its encoded parameters.
    prefix: RefCell<Vec<u8>>,
}

impl Recipient {
    /// A recipient for this path: `Recipient::new("kv://put/total")`.
    pub fn new(path: impl Into<String>) -> Self {
        Recipient { path: path.into(), kept: Kept::unresolved(), prefix: RefCell::default() }
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }

    #[cold]
    fn resolve(&self, turn: &mut Turn) -> Result<()> {
        turn.resolve(&self.path, &mut self.prefix.borrow_mut(), &self.kept)
    }

    fn copy_prefix(&self, scratch: &mut Vec<u8>) {
        scratch.clear();
        scratch.extend_from_slice(&self.prefix.borrow());
    }
}

impl From<String> for Recipient {
    fn from(path: String) -> Self {
        Recipient::new(path)
    }
}

impl From<Recipient> for String {
    fn from(recipient: Recipient) -> Self {
        recipient.path
    }
}

/// Where a message can be sent: a path as text, or a [`Recipient`].
pub trait Address {
    /// The path as text.
    fn path(&self) -> &str;

    /// The resolved recipient, which may lie in `own`; `scratch` then begins with its encoded parameters, if it has any.
    #[doc(hidden)]
    #[allow(
        private_interfaces,
        private_bounds,
        reason = "authors name addresses, they do not resolve them"
    )]
    #[inline]
    fn resolved<'r>(
        &'r self,
        turn: &mut Turn,
        scratch: &mut Vec<u8>,
        own: &'r Kept,
    ) -> Result<&'r Kept> {
        turn.resolve(self.path(), scratch, own)?;
        Ok(own)
    }
}

impl Address for str {
    fn path(&self) -> &str {
        self
    }
}

impl Address for String {
    fn path(&self) -> &str {
        self
    }
}

impl<A: Address + ?Sized> Address for &A {
    fn path(&self) -> &str {
        (**self).path()
    }

    #[allow(private_interfaces, private_bounds, reason = "as in the trait")]
    #[inline(always)]
    fn resolved<'r>(
        &'r self,
        turn: &mut Turn,
        scratch: &mut Vec<u8>,
        own: &'r Kept,
    ) -> Result<&'r Kept> {
        (**self).resolved(turn, scratch, own)
    }
}

impl Address for Recipient {
    fn path(&self) -> &str {
        &self.path
    }

    #[allow(private_interfaces, private_bounds, reason = "as in the trait")]
    // Always inlined, as a part of `Context::send`.
    #[inline(always)]
    fn resolved<'r>(
        &'r self,
        turn: &mut Turn,
        scratch: &mut Vec<u8>,
        _: &'r Kept,
    ) -> Result<&'r Kept> {
        if !self.kept.is_current(turn) {
            self.resolve(turn)?;
        }
        if self.kept.has_prefix() {
            self.copy_prefix(scratch);
        }
        Ok(&self.kept)
    }
}
