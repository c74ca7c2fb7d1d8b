//! An envelope as the kernel sees it.

use mycelia_kernel::{ids::RouteId, message};
use mycelia_plugin::abi::Envelope;
use std::ops::{Deref, DerefMut};

/// A message on its way. Whoever holds it owns its block, and ends it or passes it on; it is `Copy` only for the ring.
#[repr(transparent)]
#[derive(Copy, Clone, Debug)]
pub struct Message(pub Envelope);

impl message::Message for Message {
    fn route(&self) -> RouteId {
        RouteId(self.0.route)
    }

    fn deadline(&self) -> u64 {
        self.0.deadline
    }

    fn is_sampled(&self) -> bool {
        self.0.stamp != 0
    }
}

impl Deref for Message {
    type Target = Envelope;

    fn deref(&self) -> &Envelope {
        &self.0
    }
}

impl DerefMut for Message {
    fn deref_mut(&mut self) -> &mut Envelope {
        &mut self.0
    }
}

impl Message {
    /// A batch as it crosses the boundary.
    pub fn envelopes(batch: &[Message]) -> &[Envelope] {
        // SAFETY: `Message` is a transparent wrapper.
        unsafe { std::slice::from_raw_parts(batch.as_ptr().cast(), batch.len()) }
    }

    /// A plugin's envelope as a message.
    pub fn from_envelope(envelope: &Envelope) -> &Message {
        // SAFETY: as above.
        unsafe { &*std::ptr::from_ref(envelope).cast() }
    }

    /// An outbox's envelopes as messages.
    pub fn from_envelopes(envelopes: &[Envelope]) -> &[Message] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(envelopes.as_ptr().cast(), envelopes.len()) }
    }

    /// The answers that a plugin wrote as messages.
    pub fn from_envelopes_mut(envelopes: &mut [Envelope]) -> &mut [Message] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(envelopes.as_mut_ptr().cast(), envelopes.len()) }
    }
}
