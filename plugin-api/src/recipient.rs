//! Addresses: a path as text, one that is constant, or a recipient that was resolved once and is kept.

use crate::{
    Result,
    abi::{
        PathKind,
        call::{Kept, Turn},
    },
    paths::Paths,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU32, Ordering};

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
}

impl Recipient {
    /// A recipient for this path: `Recipient::new("kv://put/total")`.
    pub fn new(path: impl Into<String>) -> Self {
        Recipient { path: path.into(), kept: Kept::unresolved() }
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

/// A constant path at one place of the source, as [`path!`](crate::path) makes it.
///
/// Each instance keeps what it was resolved to, so a send costs hardly more than one to a [`Recipient`].
#[derive(Debug)]
pub struct Site {
    path: &'static str,
    /// Its place among the library's sites; 0 until it is first used.
    number: AtomicU32,
}

/// How many sites of this library were used.
static SITES: AtomicU32 = AtomicU32::new(0);

impl Site {
    #[doc(hidden)]
    pub const fn new(path: &'static str) -> Site {
        Site { path, number: AtomicU32::new(0) }
    }

    /// Its number, from 1; of two threads that use it first at the same time, one wastes a number.
    pub(crate) fn number(&self) -> u32 {
        let own = match self.number.load(Ordering::Relaxed) {
            0 => SITES.fetch_add(1, Ordering::Relaxed) + 1,
            number => return number,
        };
        let first = self.number.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed);
        first.map_or_else(|number| number, |_| own)
    }
}

/// A constant path, resolved once an instance where it stands: `ctx.send(path!("kv://put/total"), &total)`.
///
/// A text that is no path does not compile.
#[macro_export]
macro_rules! path {
    ($path:expr) => {{
        const _: () = $crate::check_path($path);
        static SITE: $crate::Site = $crate::Site::new($path);
        &SITE
    }};
}

/// Panics if a text is no path; for [`path!`](crate::path), so that the compiler says so.
#[doc(hidden)]
pub const fn check_path(path: &str) {
    let text = path.as_bytes();
    let mut name = 0;
    while name < text.len() && text[name] != b':' {
        let is_name =
            text[name].is_ascii_alphanumeric() || matches!(text[name], b'_' | b'.' | b'-');
        assert!(is_name, "a subsystem's name has only letters, digits, `_`, `.` and `-`");
        name += 1;
    }
    assert!(
        name > 0 && name + 2 < text.len() && text[name + 1] == b'/' && text[name + 2] == b'/',
        "a path reads `subsystem://segment/segment`"
    );
    let mut at = name + 3;
    while at < text.len() {
        let is_empty = text[at] == b'/' && (text[at - 1] == b'/' || at + 1 == text.len());
        assert!(!is_empty, "a segment is empty; remove the extra `/`");
        assert!(!text[at].is_ascii_control(), "percent-encode control characters in a path");
        at += 1;
    }
}

/// Where a message can be sent: a path as text, a constant one by [`path!`](crate::path), or a [`Recipient`].
pub trait Address {
    /// The path as text.
    fn path(&self) -> &str;

    /// What was kept of it, which may be no longer current, or of nothing at all.
    #[doc(hidden)]
    #[allow(
        private_interfaces,
        private_bounds,
        reason = "authors name addresses, they do not resolve them"
    )]
    #[inline(always)]
    fn kept<'a>(&'a self, paths: &'a Paths) -> Option<&'a Kept> {
        paths.find(self.path())
    }

    /// What it is resolved to, by asking the host where nothing current is kept.
    #[doc(hidden)]
    #[allow(private_interfaces, private_bounds, reason = "as above")]
    fn resolved<'a>(&'a self, turn: &mut Turn, paths: &'a mut Paths) -> Result<&'a Kept> {
        paths.resolve(turn, self.path())
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

#[allow(private_interfaces, private_bounds, reason = "as in the trait")]
impl<A: Address + ?Sized> Address for &A {
    fn path(&self) -> &str {
        (**self).path()
    }

    #[inline(always)]
    fn kept<'a>(&'a self, paths: &'a Paths) -> Option<&'a Kept> {
        (**self).kept(paths)
    }

    fn resolved<'a>(&'a self, turn: &mut Turn, paths: &'a mut Paths) -> Result<&'a Kept> {
        (**self).resolved(turn, paths)
    }
}

#[allow(private_interfaces, private_bounds, reason = "as in the trait")]
impl Address for Recipient {
    fn path(&self) -> &str {
        &self.path
    }

    #[inline(always)]
    fn kept<'a>(&'a self, _: &'a Paths) -> Option<&'a Kept> {
        Some(&self.kept)
    }

    fn resolved<'a>(&'a self, turn: &mut Turn, _: &'a mut Paths) -> Result<&'a Kept> {
        if !self.kept.is_current(turn) {
            turn.resolve(&self.path, PathKind::Whole, &self.kept)?;
        }
        Ok(&self.kept)
    }
}

#[allow(private_interfaces, private_bounds, reason = "as in the trait")]
impl Address for Site {
    fn path(&self) -> &str {
        self.path
    }

    #[inline(always)]
    fn kept<'a>(&'a self, paths: &'a Paths) -> Option<&'a Kept> {
        paths.site(self.number.load(Ordering::Relaxed))
    }

    fn resolved<'a>(&'a self, turn: &mut Turn, paths: &'a mut Paths) -> Result<&'a Kept> {
        paths.resolve_site(turn, self)
    }
}
