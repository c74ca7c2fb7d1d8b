//! Addresses: a path as text, or a recipient that was resolved once and is kept.

use crate::{Context, Result, abi::RawRecipient};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};

/// A path that is resolved once and kept: what a hot sender holds.
///
/// Holding one proves nothing about the path: it is resolved at its first send, and again whenever routes or grants have
/// changed, so a send to it may fail as one to a text may. In saved state it is its path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Recipient {
    path: String,
    resolved: Cell<RawRecipient>,
    prefix: RefCell<Vec<u8>>,
}

impl Recipient {
    /// A recipient for this path: `Recipient::new("kv://put/total")`.
    pub fn new(path: impl Into<String>) -> Self {
        let resolved = Cell::new(RawRecipient::UNRESOLVED);
        Recipient { path: path.into(), resolved, prefix: RefCell::default() }
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
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

    /// Runs `then` with the resolved recipient and its encoded parameters.
    #[doc(hidden)]
    fn with_resolved<R>(
        &self,
        context: &mut Context,
        then: impl FnOnce(&mut Context, &RawRecipient, &[u8]) -> Result<R>,
    ) -> Result<R> {
        // Taken out and put back, so that the context stays free for `then` and no send allocates.
        let mut prefix = std::mem::take(&mut context.prefix);
        let result = match context.turn.resolve(self.path(), &mut prefix) {
            Ok(recipient) => then(context, &recipient, &prefix),
            Err(error) => Err(error),
        };
        context.prefix = prefix;
        result
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

    fn with_resolved<R>(
        &self,
        context: &mut Context,
        then: impl FnOnce(&mut Context, &RawRecipient, &[u8]) -> Result<R>,
    ) -> Result<R> {
        (**self).with_resolved(context, then)
    }
}

impl Address for Recipient {
    fn path(&self) -> &str {
        &self.path
    }

    #[inline]
    fn with_resolved<R>(
        &self,
        context: &mut Context,
        then: impl FnOnce(&mut Context, &RawRecipient, &[u8]) -> Result<R>,
    ) -> Result<R> {
        if self.resolved.get().version != context.turn.version() {
            let mut prefix = self.prefix.borrow_mut();
            self.resolved.set(context.turn.resolve(&self.path, &mut prefix)?);
        }
        then(context, &self.resolved.get(), &self.prefix.borrow())
    }
}
