//! What the kernel publishes.

use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

/// The body of the kernel's events, which are told under the scope `kernel:read`:
///
/// | event | when |
/// |---|---|
/// | `kernel://event/fault/{name}` | an instance failed, and `text` says how |
/// | `kernel://event/restart/{name}` | another instance serves in its place |
/// | `kernel://event/reload/{name}` | another build serves, or an older one again |
/// | `kernel://event/refused/{name}` | a new build was refused, and `text` says why |
/// | `kernel://event/stopped/{name}` | the subsystem is stopped, and `text` says why |
///
/// It comes as JSON, which a handler that takes `Body<KernelEvent>` need not know. A later version may add fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct KernelEvent {
    /// Whom it is about.
    pub subsystem: String,
    /// The number of the build that serves it, or served it last.
    pub generation: u32,
    /// What happened, for people.
    pub text: String,
}
