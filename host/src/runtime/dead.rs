//! From messages that cannot be handled to dead letters, and back.

use super::{
    Runtime, Slot,
    operate::no_subsystem,
    send::{Header, encode, header, refused},
};
use crate::{
    abi::Message,
    letters::{Filter, Letter, Reason, ReplayReport, now_ms},
};
use mycelia_kernel::{ids::RouteId, table::Table};
use mycelia_plugin::{
    Error, Handled, Result,
    abi::{flags, host::BodyRef},
};

impl Runtime {
    /// Keeps a copy of a message of this subsystem that ends here; the message stays the caller's.
    #[cold]
    pub(super) fn keep_letter(&self, slot: &Slot, message: &Message, reason: Reason, text: &str) {
        slot.tally.letter(reason);
        let content = self.pool.content(message);
        self.letters.add(content.len(), || {
            let table = self.tables.load();
            letter(&table, slot, self.sender_of(message), message, content, reason, text)
        });
    }

    fn sender_of(&self, message: &Message) -> &str {
        self.slots.get(message.sender as usize).map_or("", |slot| &slot.name)
    }

    /// Sends letters again.
    pub(super) fn replay_letters(&self, filter: &Filter) -> ReplayReport {
        let mut report = ReplayReport::default();
        // Those that become letters again meanwhile are new ones, so this comes to an end.
        let meant: Vec<u64> = self.letters.find(filter).iter().map(|letter| letter.id).collect();
        for &id in filter.ids.iter().filter(|id| !meant.contains(id)) {
            report.note(id, Err(no_letter(id)));
        }
        for id in meant {
            let sent = self.letters.replay(id, |letter| self.send_letter(letter));
            report.note(id, sent.unwrap_or_else(|| Err(no_letter(id))));
        }
        report
    }

    /// Sends what is in a letter as a new message of its sender.
    fn send_letter(&self, letter: &Letter) -> Result<()> {
        let find = |name: &str| {
            let names = || self.slots.iter().map(|slot| &*slot.name);
            let found = self.slots.iter().find(|slot| slot.name == name);
            found.ok_or_else(|| no_subsystem(name, names()))
        };
        let sender = find(&letter.sender)?;
        let (header, prefix) = match is_listened(&letter.route) {
            // To this listener alone: the others have had the event.
            true => self.resolve_listener(sender, find(&letter.subsystem)?, letter)?,
            false => self.resolve_outside(sender, &letter.path, letter.schema)?,
        };
        let to = self.slot(header.to);
        // What is kept here must not be dropped there, nor push out what came since.
        if !to.is_direct() && to.queue.depth() >= to.queue.capacity() {
            return Err(self.full(to));
        }
        let body = BodyRef { bytes: &letter.body, schema: letter.schema, flags: letter.flags };
        self.enqueue_or_wait(to, &self.message(header, &prefix, &body)?)
    }
}

impl Runtime {
    /// Finds the route by which a listener heard of the event that is in a letter.
    fn resolve_listener(
        &self,
        publisher: &Slot,
        listener: &Slot,
        letter: &Letter,
    ) -> Result<(Header, Vec<u8>)> {
        let table = self.tables.load();
        let resolved = self.permit(&table, table.resolve_listener(listener.id, &letter.path))?;
        let fits = table.check_body(resolved.subsystem, resolved.route, letter.schema);
        fits.map_err(|refusal| refused(&refusal))?;
        let mut prefix = Vec::new();
        encode(&resolved.params, &mut prefix);
        Ok((header(publisher.id, &resolved), prefix))
    }
}

fn letter(
    table: &Table,
    slot: &Slot,
    sender: &str,
    message: &Message,
    content: &[u8],
    reason: Reason,
    text: &str,
) -> Letter {
    let (id, route) = (slot.id, RouteId(message.route));
    let pattern = table.pattern(id, route).unwrap_or_default();
    let (path, body) = addressed(&slot.name, pattern, message.parameters(), content);
    // A body from the edge was compared with no schema, nor were plain bytes.
    let is_typed = message.flags & flags::ENCODING == flags::POSTCARD;
    let schema = table.route(id, route).filter(|_| is_typed).map_or(0, |route| route.body);
    Letter {
        id: 0,
        subsystem: slot.name.clone(),
        route: pattern.to_owned(),
        path,
        sender: sender.to_owned(),
        reason,
        text: text.to_owned(),
        time_ms: now_ms(),
        flags: message.flags & (flags::ENCODING | flags::EDGE),
        schema,
        body: body.to_vec(),
    }
}

/// The path that a message was sent to, and its body: what `send::encode` wrote, in place of the pattern's parameters.
fn addressed<'c>(
    name: &str,
    pattern: &str,
    parameters: usize,
    content: &'c [u8],
) -> (String, &'c [u8]) {
    let (lengths, mut rest) = content.split_at_checked(2 * parameters).unwrap_or_default();
    let mut lengths = lengths.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let mut next = || {
        let (value, others) = rest.split_at_checked(lengths.next()?.into())?;
        rest = others;
        Some(String::from_utf8_lossy(value))
    };
    let segments = pattern.split('/').map(|segment| match segment.starts_with('{') {
        true => next().unwrap_or_else(|| segment.into()),
        false => segment.into(),
    });
    let segments: Vec<_> = segments.collect();
    let path = segments.join("/");
    (if is_listened(pattern) { path } else { format!("{name}://{path}") }, rest)
}

/// Whether the pattern is that of events, which names their publisher.
fn is_listened(pattern: &str) -> bool {
    pattern.contains("://")
}

fn no_letter(id: u64) -> Error {
    let text = format!(
        "there is no dead letter {id}, or it is being sent again already; `mycelia dead-letters list` shows what there is"
    );
    Error::not_found(text).handled(Handled::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_together_again() {
        let check = |pattern: &str, parameters: &[&str], expect: &str| {
            let mut content = Vec::new();
            for parameter in parameters {
                content.extend((parameter.len() as u16).to_le_bytes());
            }
            parameters.iter().for_each(|parameter| content.extend(parameter.as_bytes()));
            content.extend(b"body");
            let (path, body) = addressed("a", pattern, parameters.len(), &content);
            assert_eq!((&*path, body), (expect, &b"body"[..]));
        };
        check("", &[], "a://");
        check("put", &[], "a://put");
        check("put/{key}", &["x"], "a://put/x");
        check("{a}/of/{b}", &["ö", "2"], "a://ö/of/2");
        check("files/{*rest}", &["b/c/d"], "a://files/b/c/d");
        check("files/*", &[], "a://files/*");
        check("b://put/{key}", &["x"], "b://put/x");
    }
}
