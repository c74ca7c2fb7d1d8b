//! Addresses: a path as text, or a recipient that was resolved once and is kept.

use crate::{
    Result,
    abi::{RawRecipient, call::Turn},
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
    kept: RefCell<Kept>,
}

/// What the path was resolved to, and its encoded parameters.
#[derive(Debug, Clone)]
struct Kept {
    recipient: RawRecipient,
    prefix: Vec<u8>,
}

impl Recipient {
    /// A recipient for this path: `Recipient::new("kv://put/total")`.
    pub fn new(path: impl Into<String>) -> Self {
        let kept = Kept { recipient: RawRecipient::UNRESOLVED, prefix: Vec::new() };
        Recipient { path: path.into(), kept: RefCell::new(kept) }
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }

    #[cold]
    fn resolve(&self, turn: &mut Turn) -> Result<()> {
        let mut kept = self.kept.borrow_mut();
        kept.recipient = turn.resolve(&self.path, &mut kept.prefix)?;
        Ok(())
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

    /// Runs `then` with the resolved recipient and its encoded parameters, which may lie in `prefix`.
    #[doc(hidden)]
    #[allow(
        private_interfaces,
        private_bounds,
        reason = "authors name addresses, they do not resolve them"
    )]
    #[inline]
    fn with_resolved<R>(
        &self,
        turn: &mut Turn,
        prefix: &mut Vec<u8>,
        then: impl FnOnce(&mut Turn, &RawRecipient, &[u8]) -> Result<R>,
    ) -> Result<R> {
        let recipient = turn.resolve(self.path(), prefix)?;
        then(turn, &recipient, prefix)
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
    #[inline]
    fn with_resolved<R>(
        &self,
        turn: &mut Turn,
        prefix: &mut Vec<u8>,
        then: impl FnOnce(&mut Turn, &RawRecipient, &[u8]) -> Result<R>,
    ) -> Result<R> {
        (**self).with_resolved(turn, prefix, then)
    }
}

impl Address for Recipient {
    fn path(&self) -> &str {
        &self.path
    }

    #[allow(private_interfaces, private_bounds, reason = "as in the trait")]
    #[inline]
    fn with_resolved<R>(
        &self,
        turn: &mut Turn,
        _: &mut Vec<u8>,
        then: impl FnOnce(&mut Turn, &RawRecipient, &[u8]) -> Result<R>,
    ) -> Result<R> {
        let mut kept = self.kept.borrow();
        if kept.recipient.version != turn.version() {
            drop(kept);
            self.resolve(turn)?;
            kept = self.kept.borrow();
        }
        then(turn, &kept.recipient, &kept.prefix)
    }
}
