//! Where a message goes: a path resolved, for one use or to be kept.

use crate::ids::{RouteId, SubsystemId, Version};
use crate::params::{OwnedParams, Params};

/// A path resolved for one sender: the route exists, and that sender may reach it, as of `version`.
///
/// The parameters are slices of the path's text.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Resolved<'p> {
    /// Who receives.
    pub subsystem: SubsystemId,
    /// Which of its routes.
    pub route: RouteId,
    /// The table that said so.
    pub version: Version,
    /// What the pattern captured.
    pub params: Params<'p>,
    /// The schema hash of the body, 0 for any.
    pub body: u64,
    /// The schema hash of the reply, 0 for any.
    pub reply: u64,
}

impl Resolved<'_> {
    /// The same to be kept, with its own copy of the parameters.
    pub fn to_recipient(&self) -> Recipient {
        Recipient {
            subsystem: self.subsystem,
            route: self.route,
            version: self.version,
            body: self.body,
            reply: self.reply,
            params: self.params.into(),
        }
    }
}

/// What a hot sender keeps of a path: using it again costs one comparison of versions.
///
/// Its verdict belongs to the one sender it was resolved for, and holds while `version` is the table's; after that, resolve again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// Who receives.
    pub subsystem: SubsystemId,
    /// Which of its routes.
    pub route: RouteId,
    /// The table that said so.
    pub version: Version,
    /// The schema hash of the body, 0 for any.
    pub body: u64,
    /// The schema hash of the reply, 0 for any.
    pub reply: u64,
    params: OwnedParams,
}

impl Recipient {
    /// What the pattern captured.
    pub fn params(&self) -> Params<'_> {
        self.params.borrow()
    }

    /// Whether the verdict still holds, given the version of the table now.
    #[inline]
    pub fn is_current(&self, now: Version) -> bool {
        self.version == now
    }
}
