//! Who sends to the subsystem under test.

use crate::{
    Kit, Request, Sample, Typed, codec::Encoded, directory::refusal, host::encode, world::Message,
};
use mycelia_kernel::{ids::SubsystemId, table::Resolved};
use mycelia_plugin::{
    ErrorCode, Export, Result,
    abi::{Envelope, flags},
};
use std::collections::VecDeque;

/// Somebody who sends to the subsystem.
pub struct Caller<'k, S: Export> {
    pub(crate) kit: &'k Kit<S>,
    pub(crate) id: SubsystemId,
}

impl<'k, S: Export> Caller<'k, S> {
    /// As [`Kit::ask`], under this name.
    ///
    /// # Errors
    /// As for [`Kit::ask`].
    ///
    /// # Panics
    /// As for [`Kit::ask`].
    #[track_caller]
    pub fn ask<R: Typed>(&self, path: &str, body: impl Sample) -> Result<R> {
        let request = self.request(path, body)?;
        request.expect_schema::<R>(path)?;
        request.outcome()
    }

    /// As [`Kit::send`], under this name.
    ///
    /// # Errors
    /// As for [`Kit::send`].
    pub fn send(&self, path: &str, body: impl Sample) -> Result<()> {
        self.deliver(self.message(path, &body)?)
    }

    /// Posts a message and waits for its handler.
    fn deliver(&self, message: Message) -> Result<()> {
        let key = self.kit.state().post(Message { is_watched: true, ..message })?;
        self.kit.run();
        self.kit.state().results.remove(&key).map_or(Ok(()), Err)
    }

    /// As [`Kit::event`].
    pub(crate) fn event<P: Sample>(&self, path: &str, body: P) -> Result<()> {
        let encoded = Encoded::new(&body)?;
        let state = self.kit.state();
        let table = &state.directory.table;
        let resolved = table.resolve_listener(state.directory.subject, path).map_err(refusal)?;
        let publisher = path.split_once("://").and_then(|(name, _)| table.id(name));
        let wanted = table.route(resolved.subsystem, resolved.route).map_or(0, |route| route.body);
        let encoded = encoded.fit(wanted);
        table.check_body(resolved.subsystem, resolved.route, encoded.schema).map_err(refusal)?;
        let message = addressed(publisher.unwrap_or(self.id), &resolved, encoded, path);
        drop(state);
        self.deliver(message)
    }

    /// As [`Kit::request`], under this name.
    ///
    /// # Errors
    /// As for [`Kit::request`].
    pub fn request(&self, path: &str, body: impl Sample) -> Result<Request<'k, S>> {
        self.begin(path, body, 0)
    }

    /// As [`Kit::ask_parts`], under this name.
    ///
    /// # Errors
    /// As for [`Kit::ask_parts`].
    #[track_caller]
    pub fn ask_parts<R: Typed>(&self, path: &str, body: impl Sample) -> Result<Vec<R>> {
        let request = self.begin(path, body, flags::PART)?;
        request.expect_schema::<R>(path)?;
        request.parts()
    }

    fn begin(&self, path: &str, body: impl Sample, how: u16) -> Result<Request<'k, S>> {
        let mut message = self.message(path, &body)?;
        let mut state = self.kit.state();
        let deadline = state.now + state.ask_deadline;
        let id =
            state.asked_by_test.begin(deadline, ()).expect("a test has fewer open requests").pack();
        (message.envelope.reply, message.envelope.deadline) = (id, deadline);
        state.answers.insert(id, None);
        if how & flags::PART != 0 {
            message.envelope.flags |= flags::PART;
            state.parts.insert(id, VecDeque::new());
        }
        state.post(message)?;
        Ok(Request::new(self.kit, id, path))
    }

    fn message<P: Sample>(&self, path: &str, body: &P) -> Result<Message> {
        let encoded = Encoded::new(body)?;
        let full = format!("{}://{path}", self.kit.name());
        let mut state = self.kit.state();
        let resolved = state.directory.resolve(self.id, &full).inspect_err(|error| {
            if error.code == ErrorCode::Denied {
                state.ledger.deny(1);
            }
        })?;
        let encoded = encoded.fit(resolved.body);
        let checked =
            state.directory.table.check_body(resolved.subsystem, resolved.route, encoded.schema);
        checked.map_err(refusal)?;
        Ok(addressed(self.id, &resolved, encoded, &full))
    }
}

fn addressed(sender: SubsystemId, to: &Resolved<'_>, body: Encoded, path: &str) -> Message {
    let mut content = encode(to.params);
    content.extend(body.bytes);
    let flags = body.flags | to.params.len() as u16;
    let envelope =
        Envelope { route: to.route.0, sender: sender.0.into(), flags, ..Envelope::EMPTY };
    Message::new(envelope, content, path.to_owned())
}
