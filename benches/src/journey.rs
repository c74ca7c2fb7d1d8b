//! Journeys: two instances of `plugins/pump` that send bursts to and fro, or ask, through the whole host.

use crate::Bench;

/// Messages of a journey, or requests with their outcomes.
pub const MESSAGES: u64 = 1_000;

/// How messages go.
#[derive(Copy, Clone)]
pub struct Journey {
    /// For the command line.
    pub name: &'static str,
    begin: &'static str,
    to: &'static str,
    by_text: bool,
    policy: &'static str,
}

/// The policy of queues for which messages wait in the outbox.
const OUTBOX: &str = "DropOldest";
/// The policy of queues to which each message is sent at once.
const SINGLY: &str = "Reject";

/// To a kept recipient, through the outbox.
pub const KEPT: Journey =
    Journey { name: "kept", begin: "rally", to: "volley", by_text: false, policy: OUTBOX };
/// To a kept recipient, one by one.
pub const KEPT_SINGLY: Journey = Journey { name: "kept-singly", policy: SINGLY, ..KEPT };
/// By the text of a path, through the outbox.
pub const TEXT: Journey = Journey { name: "text", by_text: true, ..KEPT };
/// By the text of a path, one by one.
pub const TEXT_SINGLY: Journey = Journey { name: "text-singly", policy: SINGLY, ..TEXT };
/// Requests to a kept recipient through the outbox, and their outcomes.
pub const ASK: Journey = Journey { name: "ask", begin: "asks", to: "swallow", ..KEPT };
/// Requests to a kept recipient one by one, and their outcomes.
pub const ASK_SINGLY: Journey = Journey { name: "ask-singly", policy: SINGLY, ..ASK };

/// Every journey.
pub const ALL: &[Journey] = &[KEPT, KEPT_SINGLY, TEXT, TEXT_SINGLY, ASK, ASK_SINGLY];

impl Journey {
    /// A host for it, with batches and bursts of these sizes.
    ///
    /// # Panics
    /// If it does not start.
    pub fn host(&self, batch: u64, burst: u64) -> Bench {
        let Journey { to, by_text, policy, .. } = self;
        let side = |name, other| {
            format!(
                r#""{name}": (
                    plugin: "mycelia_pump", batch: {batch}, max_asks: 1024,
                    queue: (capacity: 1024, policy: {policy}), grants: ["{other}:fill"],
                    config: (to: "{other}://{to}", burst: {burst}, by_text: {by_text}),
                )"#
            )
        };
        let sides = [side("left", "right"), side("right", "left")].join(",");
        Bench::new(&format!(r#"(workers: 1, ask_deadline: "1h", subsystems: {{ {sides} }})"#))
    }

    /// The message that begins it: [`MESSAGES`] then follow by themselves.
    pub fn path(&self) -> String {
        format!("left://{}/{MESSAGES}", self.begin)
    }
}

/// How many messages both sides have handled.
pub fn handled(bench: &Bench) -> u64 {
    ["left", "right"].map(|name| bench.ledger(name).handled).iter().sum()
}
