//! What the kernel must know of a message; everything else about it belongs to the host.

use crate::ids::RouteId;

/// A message as the kernel sees it: where it goes, until when, and whether its latency is measured.
///
/// The host implements it for its envelope, and testkit for its own; the kernel never looks inside.
pub trait Message {
    /// The route of the receiving subsystem, as given by the route table.
    fn route(&self) -> RouteId;

    /// When the message is no longer wanted, in nanoseconds of the host's monotonic clock; 0 is never.
    fn deadline(&self) -> u64;

    /// Whether this message is one of the sample whose latency is measured.
    fn is_sampled(&self) -> bool;

    /// Whether the deadline has passed at `now`; a message is still good at its deadline itself.
    #[inline]
    fn is_expired(&self, now: u64) -> bool {
        let deadline = self.deadline();
        deadline != 0 && deadline < now
    }
}
