//! Answers in parts: where they wait until whoever asked takes them.
//!
//! Parts have no lane of their own. Of each request one message at most, the *ticket*, is on its way to its asker, in the
//! lane or the list of outcomes, which have room for one of every request. Whoever claims it draws what waits by then. The
//! request's slot stays in use until its end was drawn, so that all of it is bounded by `max_asks`.

use super::{Runtime, Slot, completions::Room, outcome::pool_error, template::Template};
use crate::abi::Message;
use mycelia_kernel::{
    asks::{AskId, End},
    ids::SubsystemId,
};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Result,
    abi::{Envelope, flags, host::BodyRef},
};
use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Parts of one answer that wait at most: enough that writer and reader need not take turns for each.
const WINDOW: usize = 16;
/// When it is worth trying again where as many wait.
const RETRY: Duration = Duration::from_millis(10);

/// The requests of one asker that it takes the answers of in parts.
#[derive(Default)]
pub struct Streams {
    open: Mutex<HashMap<AskId, Stream>>,
    count: AtomicUsize,
    /// Own threads of others that wait until a part was taken.
    room: Room,
}

struct Stream {
    /// Where its parts go; its parameters are its own until `is_over`.
    to: Template,
    /// The longest time between two parts, in nanoseconds.
    patience: u64,
    waiting: VecDeque<Message>,
    /// Its ticket is on the way.
    is_announced: bool,
    /// Nothing more is added.
    is_over: bool,
}

impl Streams {
    fn open(&self) -> MutexGuard<'_, HashMap<AskId, Stream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, open: &mut HashMap<AskId, Stream>, id: AskId) -> Option<Stream> {
        let stream = open.remove(&id);
        self.count.fetch_sub(usize::from(stream.is_some()), Ordering::Relaxed);
        stream
    }

    /// Whether there may be tickets in what was claimed.
    #[inline]
    pub fn are_open(&self) -> bool {
        // Relaxed: it was counted before its ticket was published.
        self.count.load(Ordering::Relaxed) > 0
    }
}

impl Stream {
    /// Whether a ticket has to be sent for what was added.
    fn announce(&mut self) -> bool {
        !mem::replace(&mut self.is_announced, true)
    }
}

/// Whether a message is a part of an answer, or the ticket of one.
#[inline]
pub fn is_part(message: &Envelope) -> bool {
    const A_PART: u16 = flags::OUTCOME | flags::PART;
    message.flags & A_PART == A_PART
}

fn nobody() -> Error {
    let text = "nobody waits for the answer any more";
    Error::new(ErrorCode::Gone, text).handled(Handled::No)
}

impl Runtime {
    /// Begins a request whose answer may come in parts, with this deadline for the first of them.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_stream(
        &self,
        asker: &Slot,
        now: u64,
        deadline: u64,
        to: Template,
    ) -> Result<AskId> {
        // Locked meanwhile: the deadline may pass at once.
        let mut open = asker.streams.open();
        let begun = self.begin_request(asker, deadline, Template::STREAM);
        let id = begun.inspect_err(|_| self.end_template(to))?;
        let stream = Stream {
            to,
            patience: deadline.saturating_sub(now),
            waiting: VecDeque::new(),
            is_announced: false,
            is_over: false,
        };
        open.insert(id, stream);
        asker.streams.count.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    /// Adds a part, and waits for room if the writer wants to.
    pub(super) fn add_part(&self, writer: &Slot, request: u64, body: &BodyRef<'_>) -> Result<()> {
        let id = self.ask_id(request).ok_or_else(nobody)?;
        let asker = self.slot(id.asker());
        if let Some(added) = self.try_add_part(writer.id, asker, id, body) {
            return added;
        }
        let patience = asker.streams.open().get(&id).map_or(0, |stream| stream.patience);
        let until = Instant::now() + Duration::from_nanos(patience);
        let added = match body.flags & flags::MAY_WAIT {
            0 => None,
            _ => asker.streams.room.wait(until, || self.try_add_part(writer.id, asker, id, body)),
        };
        added.unwrap_or_else(|| {
            let text = format!("`{}` has not taken the last {WINDOW} parts", asker.name);
            Err(Error::full(text).handled(Handled::No).retry_after(RETRY))
        })
    }

    /// Adds a part; nothing where as many wait as may.
    fn try_add_part(
        &self,
        writer: SubsystemId,
        asker: &Slot,
        id: AskId,
        body: &BodyRef<'_>,
    ) -> Option<Result<()>> {
        let mut open = asker.streams.open();
        let Some(stream) = open.get_mut(&id).filter(|stream| !stream.is_over) else {
            return Some(Err(nobody()));
        };
        if stream.waiting.len() >= WINDOW {
            return None;
        }
        let how = flags::PART | body.flags & flags::ENCODING;
        let part = match self.part(writer, id, &stream.to, how, body.bytes) {
            Ok(part) => part,
            Err(error) => return Some(Err(error)),
        };
        stream.waiting.push_back(part);
        // The slot is not free: only what takes the stream out of the map releases it.
        asker.asks.renew(id, self.now().saturating_add(stream.patience));
        let (to, is_new) = (stream.to, stream.announce());
        drop(open);
        if is_new {
            self.send_ticket(asker, id, to);
        }
        Some(Ok(()))
    }

    /// A part as it goes to its asker. It holds the request where an outcome has no deadline.
    fn part(
        &self,
        writer: SubsystemId,
        id: AskId,
        to: &Template,
        how: u16,
        body: &[u8],
    ) -> Result<Message> {
        let parameters = to.parameters();
        let prefix = parameters.as_ref().map_or(&[][..], |content| self.pool.content(content));
        let count = parameters.as_ref().map_or(0, |content| content.parameters() as u16);
        let mut part = Message(Envelope {
            route: to.number(),
            flags: flags::OUTCOME | how | count,
            sender: writer.0.into(),
            deadline: id.pack(),
            ..Envelope::EMPTY
        });
        let filled = self.pool.fill(&mut part, writer, prefix, body);
        filled.map(|()| part).map_err(|error| pool_error(error, "the part"))
    }

    /// Sends the ticket of a stream on its way.
    fn send_ticket(&self, asker: &Slot, id: AskId, to: Template) {
        let ticket = Message(Envelope {
            flags: flags::OUTCOME | flags::PART,
            deadline: id.pack(),
            ..Envelope::EMPTY
        });
        match to.waiter() {
            Some((incarnation, token)) => {
                if asker.completions.push(incarnation, token, ticket).is_err() {
                    // Not `cancel_stream`: whoever adds the part may be the one who waits for room.
                    self.abandon(asker, id);
                }
            }
            None => {
                let delivered = asker.queue.deliver(ticket);
                let wake = delivered.expect("the lane has room for a ticket of every request");
                self.wake(asker.id, wake);
            }
        }
    }

    /// Adds the outcome with which a request ended: the last that its asker gets.
    pub(super) fn finish_stream(&self, id: AskId, outcome: &Message) {
        let asker = self.slot(id.asker());
        let mut open = asker.streams.open();
        let Some(stream) = open.get_mut(&id).filter(|stream| !stream.is_over) else {
            return self.pool.release(outcome);
        };
        let to = stream.to;
        if to.waiter().is_some() && !stream.is_announced {
            // Nothing waits, so that it needs no ticket.
            asker.streams.remove(&mut open, id);
            drop(open);
            self.deliver(id, to, outcome);
            return asker.streams.room.freed();
        }
        stream.is_over = true;
        let last = match to.waiter() {
            Some(_) => *outcome,
            None => self.addressed(&to, self.split_whole(stream, id, *outcome), id.asker()),
        };
        stream.waiting.push_back(last);
        let is_new = stream.announce();
        drop(open);
        if is_new {
            self.send_ticket(asker, id, to);
        }
        asker.streams.room.freed();
    }

    /// The outcome for a route; of a whole answer its end, behind the one part that the answer is.
    fn split_whole(&self, stream: &mut Stream, id: AskId, outcome: Message) -> Message {
        if outcome.stamp != 0 || outcome.flags & flags::END != 0 {
            return outcome;
        }
        let (writer, encoding) =
            (SubsystemId(outcome.sender as u16), outcome.flags & flags::ENCODING);
        let content = self.pool.content(&outcome);
        let part = self.part(writer, id, &stream.to, flags::PART | encoding, content);
        self.pool.release(&outcome);
        match part {
            Ok(part) => {
                stream.waiting.push_back(part);
                let flags = flags::OUTCOME | flags::END;
                Message(Envelope { flags, sender: outcome.sender, ..Envelope::EMPTY })
            }
            Err(error) => self.error_outcome(writer, &error.handled(Handled::Yes)),
        }
    }

    /// Puts what the tickets of a batch stand for in their place.
    #[cold]
    pub(super) fn draw_batch(&self, slot: &Slot, batch: &mut Vec<Message>) {
        let mut tickets = Vec::new();
        batch.retain(|message| {
            let is_ticket = is_part(message);
            tickets.extend(is_ticket.then_some(message.deadline));
            !is_ticket
        });
        for id in tickets.into_iter().filter_map(AskId::unpack) {
            let room = slot.settings.batch - batch.len();
            self.draw(slot, id, room, batch);
        }
    }

    /// For whoever claimed the ticket of a stream: takes up to `room` of what waits.
    pub(super) fn draw(&self, slot: &Slot, id: AskId, room: usize, into: &mut Vec<Message>) {
        let mut open = slot.streams.open();
        let Some(stream) = open.get_mut(&id) else { return };
        let to = stream.to;
        let count = room.min(stream.waiting.len());
        into.extend(stream.waiting.drain(..count));
        let is_left = !stream.waiting.is_empty();
        stream.is_announced = is_left;
        if !is_left && stream.is_over {
            slot.streams.remove(&mut open, id);
            slot.asks.release(id);
        }
        drop(open);
        if is_left {
            self.send_ticket(slot, id, to);
        }
        slot.streams.room.freed();
    }

    /// Ends a request whose asker wants no more of its answer.
    #[cold]
    pub(super) fn cancel_stream(&self, asker: &Slot, id: AskId) {
        if asker.streams.open().contains_key(&id) {
            self.abandon(asker, id);
            asker.streams.room.freed();
        }
    }

    /// As [`Self::cancel_stream`], without a word to those who wait for room.
    fn abandon(&self, asker: &Slot, id: AskId) {
        // If it has just ended otherwise, the outcome finds nobody.
        let _other = asker.asks.end(id, End::Cancelled);
        self.close_stream(asker, id);
    }

    /// Throws away what waits for the asker of a request that has ended.
    pub(super) fn close_stream(&self, asker: &Slot, id: AskId) {
        let mut open = asker.streams.open();
        let Some(stream) = open.get_mut(&id) else { return };
        stream.waiting.drain(..).for_each(|part| self.pool.release(&part));
        if !mem::replace(&mut stream.is_over, true) {
            self.end_template(stream.to);
        }
        // A ticket in the lane has the slot's place there; own threads have a list that grows.
        if !stream.is_announced || stream.to.waiter().is_some() {
            asker.streams.remove(&mut open, id);
            asker.asks.release(id);
        }
    }

    /// Ends the requests of an instance's own threads that are answered in parts.
    pub(super) fn cancel_streams_of(&self, asker: &Slot, incarnation: u32) {
        let is_its = |stream: &Stream| {
            stream.to.waiter().is_some_and(|(of_instance, _)| of_instance == incarnation)
        };
        let open = asker.streams.open();
        let ids: Vec<AskId> =
            open.iter().filter(|(_, stream)| is_its(stream)).map(|(id, _)| *id).collect();
        drop(open);
        ids.into_iter().for_each(|id| self.cancel_stream(asker, id));
    }
}
