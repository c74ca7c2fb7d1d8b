//! Numbers in place of names: what messages carry, and what slots are indexed by.

/// The index of a subsystem, given by the table when its name first enters.
///
/// It belongs to that name for as long as the host runs: it is never given to another one.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct SubsystemId(pub u16);

impl SubsystemId {
    /// The sender that the CLI and the dashboard are; present in every table, addressed by none.
    pub const OPERATOR: Self = Self(0);

    /// The place in a slice with one element for each subsystem.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The number of a pattern within its subsystem, append-only while the host runs.
///
/// Holding one does not prove that the pattern is still served: see [`Table::is_live`](crate::table::Table::is_live).
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct RouteId(pub u16);

impl RouteId {
    /// The place in a slice with one element for each pattern.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which snapshot of the table a verdict was taken from; every published edit makes another.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Version(pub u32);

impl Version {
    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}
