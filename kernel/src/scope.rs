//! Scopes and grants: who may send where.
//!
//! A scope is compared exactly, and whatever is not granted is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::path::{excerpt, is_name_character};

/// The full name of a permission, `subsystem:scope`, such as `kv:read`.
///
/// Holding one proves its form alone: neither that a route requires it nor that anybody has it.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Scope(Arc<str>);

impl Scope {
    /// Checks a full name.
    ///
    /// # Errors
    /// When the text is not two names of `[A-Za-z0-9_.-]+` with a `:` between them.
    pub fn parse(full: &str) -> Result<Self, ScopeError> {
        match full.split_once(':') {
            Some((subsystem, short)) if is_part(subsystem) && is_part(short) => {
                Ok(Self(full.into()))
            }
            _ => Err(ScopeError { scope: excerpt(full) }),
        }
    }

    /// The scope that a route of a subsystem names shortly, such as `read`.
    ///
    /// # Errors
    /// When either name has a character outside `[A-Za-z0-9_.-]`, or is empty.
    pub fn of(subsystem: &str, short: &str) -> Result<Self, ScopeError> {
        Self::parse(&format!("{subsystem}:{short}"))
    }

    /// The full name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A text that is no scope.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{scope}` is not a scope; write `subsystem:scope`, such as `kv:read`, since only `*` alone grants more than one"
)]
pub struct ScopeError {
    /// What was given instead.
    pub scope: String,
}

/// What a sender may reach: a set of scopes, or all of them.
///
/// The default, and whatever was not said, is nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grants {
    all: bool,
    scopes: BTreeSet<Scope>,
}

impl Grants {
    /// Nothing but routes without a scope.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything: `*`, which the operator has unless told otherwise.
    pub fn all() -> Self {
        Self { all: true, scopes: BTreeSet::new() }
    }

    /// Grants as the config lists them: full names, or `*` for all.
    ///
    /// # Errors
    /// The first text that is neither; there is no other wildcard.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, ScopeError> {
        let mut grants = Self::none();
        for text in texts {
            match text {
                "*" => grants.all = true,
                _ => grants.insert(Scope::parse(text)?),
            }
        }
        Ok(grants)
    }

    /// Adds one scope.
    pub fn insert(&mut self, scope: Scope) {
        self.scopes.insert(scope);
    }

    /// Whether this very scope is granted, by its full name or by `*`.
    pub fn allows(&self, scope: &Scope) -> bool {
        self.all || self.scopes.contains(scope)
    }

    /// Whether `*` was granted.
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// The scopes granted by name, in order.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.iter()
    }
}

fn is_part(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_character)
}
