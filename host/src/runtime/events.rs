//! Events: from who publishes to the queues of those who listen.
//!
//! The table says who is told; what is told is one content, which all their messages share.

use super::{
    Runtime, Slot, Turn,
    guests::no_recipient,
    send::{encode, header, refused},
};
use crate::abi::Message;
use mycelia_kernel::{
    ids::{RouteId, SubsystemId},
    table::{Listener, Reach, Table, Verdict},
};
use mycelia_plugin::{
    KernelEvent, Result,
    abi::{Envelope, LISTENERS, RawRecipient, flags, host::BodyRef},
};
use std::sync::atomic::Ordering;

impl Runtime {
    /// Finds an event for its publisher; what it captured goes to `prefix`.
    pub(super) fn event(
        &self,
        table: &Table,
        publisher: SubsystemId,
        path: &str,
        prefix: &mut Vec<u8>,
    ) -> Result<RawRecipient> {
        let event = self.permit(table, table.resolve_event(publisher, path))?;
        encode(&event.params, prefix);
        Ok(RawRecipient { subsystem: LISTENERS, direct: 1, ..self.recipient(&event) })
    }

    /// Publishes what a handler sends to the listeners of an event; what else is no subsystem's was never resolved.
    #[cold]
    pub(super) fn send_to_listeners(&self, turn: &Turn, message: &Envelope) -> Result<()> {
        if message.sender != LISTENERS || turn.report.is_taken() {
            self.pool.release(message);
            return Err(no_recipient(turn));
        }
        // What has happened stays true when whoever made it happen no longer waits: it has no deadline.
        let sender = turn.caller.0.into();
        let event = Message(Envelope { sender, stamp: 0, deadline: 0, ..*message });
        self.tell(&turn.table, turn.caller, &event, false);
        Ok(())
    }

    /// Publishes an event from outside of a handler; if `is_patient`, waits at queues that block.
    pub(super) fn publish_outside(
        &self,
        publisher: SubsystemId,
        path: &str,
        body: &BodyRef<'_>,
        is_patient: bool,
    ) -> Result<()> {
        let table = self.tables.snapshot();
        let event = self.permit(&table, table.resolve_event(publisher, path))?;
        let fits = table.check_body(publisher, event.route, body.schema);
        fits.map_err(|refusal| refused(&refusal))?;
        let mut prefix = Vec::new();
        encode(&event.params, &mut prefix);
        let message = self.message(header(publisher, &event), &prefix, body)?;
        self.tell(&table, publisher, &message, is_patient);
        Ok(())
    }

    /// Puts an event into the queue of each listener that is to be told; its content is theirs from here on.
    fn tell(&self, table: &Table, publisher: SubsystemId, event: &Message, is_patient: bool) {
        let publisher = self.slot(publisher);
        publisher.published.fetch_add(1, Ordering::Relaxed);
        let listeners = table.listeners(publisher.id, RouteId(event.route));
        let told = listeners.iter().filter(|one| one.verdict == Verdict::Told);
        match told.clone().count() {
            0 => self.pool.release(event),
            holders => self.pool.share(event, holders),
        }
        for listener in told {
            let message = Message(Envelope { route: listener.route.0, ..event.0 });
            let to = self.slot(listener.subsystem);
            let _counted_there = match is_patient {
                true => self.enqueue_or_wait(to, &message),
                false => self.enqueue_now(to, &message),
            };
        }
        for untold in listeners {
            match untold.verdict {
                Verdict::Told => {}
                Verdict::Denied => publisher.ledger.deny(1),
                Verdict::OtherBody => self.slot(untold.subsystem).ledger.reject(1),
            }
        }
    }

    /// Publishes what has happened to a subsystem, as one of the kernel's events.
    pub(super) fn announce(&self, what: &str, slot: &Slot, text: &str) {
        let (subsystem, text) = (slot.name.clone(), text.to_owned());
        let event = KernelEvent { subsystem, generation: slot.info().generation, text };
        let json = serde_json::to_vec(&event).expect("two texts and a number are JSON");
        let body = BodyRef { bytes: &json, schema: 0, flags: flags::JSON };
        let path = format!("event/{what}/{}", slot.name);
        if let Err(error) = self.publish_outside(self.kernel().id, &path, &body, false) {
            tracing::warn!(subsystem = slot.name, "`kernel://{path}` was not published: {error}");
        }
    }
}

/// A route that is not told of what it listens to.
pub(super) struct Deaf<'t> {
    pub listener: SubsystemId,
    /// The event as the listener names it.
    pub pattern: &'t str,
    /// Who publishes it.
    pub publisher: &'t str,
    pub because: Because,
}

/// Why a listener is not told.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Because {
    /// Nobody has the publisher's name, or its plugin is not loaded.
    NoPublisher,
    /// The publisher has no such event, but these.
    NoEvent(Vec<String>),
    /// It lacks this scope.
    Denied(String),
    /// The event's body is of another type.
    OtherBody,
}

impl Deaf<'_> {
    /// What is wrong, behind the listener's name.
    pub fn text(&self) -> String {
        let Deaf { pattern, publisher, .. } = self;
        let why = match &self.because {
            Because::NoPublisher => format!("there is no subsystem `{publisher}`"),
            Because::NoEvent(others) if others.is_empty() => {
                format!("`{publisher}` declares no event")
            }
            Because::NoEvent(others) => {
                format!("`{publisher}` declares no such event, but `{}`", others.join("`, `"))
            }
            Because::Denied(scope) => format!("the scope `{scope}` is not granted"),
            Because::OtherBody => "that has a body of another type".into(),
        };
        format!("listens to `{pattern}`, but {why}")
    }
}

/// Every route that is not told of what it listens to.
pub(super) fn deaf(table: &Table) -> Vec<Deaf<'_>> {
    let all = table.subsystems().flat_map(|(id, _)| {
        let listening = table.routes(id).filter(|(_, route)| route.reach == Reach::Listener);
        listening.map(move |(route, declared)| (id, route, declared))
    });
    let judged = all.filter_map(|(listener, route, declared)| {
        let because = judge(table, listener, route, declared)?;
        let publisher = declared.pattern.publisher()?;
        Some(Deaf { listener, pattern: declared.pattern.text(), publisher, because })
    });
    judged.collect()
}

fn judge(
    table: &Table,
    subsystem: SubsystemId,
    route: RouteId,
    declared: &mycelia_kernel::table::Route,
) -> Option<Because> {
    let name = declared.pattern.publisher()?;
    let Some(publisher) = table.id(name) else { return Some(Because::NoPublisher) };
    let Some((_, event)) = table.event(&declared.pattern) else {
        let events = table.routes(publisher).filter(|(_, route)| route.reach == Reach::Event);
        return Some(Because::NoEvent(events.map(|(_, one)| one.pattern.text().into()).collect()));
    };
    let is_it = |one: &&Listener| (one.subsystem, one.route) == (subsystem, route);
    match table.listeners(publisher, event).iter().find(is_it)?.verdict {
        Verdict::Told => None,
        Verdict::OtherBody => Some(Because::OtherBody),
        Verdict::Denied => {
            let scope = table.route(publisher, event)?.scope.as_deref()?;
            Some(Because::Denied(format!("{name}:{scope}")))
        }
    }
}
