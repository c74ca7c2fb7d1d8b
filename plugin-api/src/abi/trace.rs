//! Tracing across the boundary: what a plugin's own copy of `tracing` collects goes to the host's subscriber.
//!
//! A library has its own statics of `tracing`, so its events would reach nobody. The first instance that is created sets a
//! subscriber there that passes on everything by one host call, as plain data: sites, values and numbers of spans. Which
//! sites are wanted is asked once each and kept by `tracing` itself, so an event that is not wanted costs what it costs in
//! any program; `ask_again` is how the host says that it wants others. Nothing of the library stays in the host.
//!
//! `Span::current()` is not known on the plugin's side.

use super::{Link, RawSite, hooks};
use std::{fmt, sync::OnceLock};
use tracing_core::{
    Dispatch, Event, Interest, Level, LevelFilter, Metadata, Subscriber, callsite, dispatcher,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// What a host call is about, and what it answers; 0 where nothing is said.
pub mod what {
    /// Whether the site is wanted: 1 or 0.
    pub const IS_WANTED: u32 = 0;
    /// An event of the site with these values; `id` is the span it belongs to, or as below.
    pub const EVENT: u32 = 1;
    /// A new span, likewise; the answer is its number.
    pub const SPAN: u32 = 2;
    /// Further values of the span `id`; without a site.
    pub const RECORD: u32 = 3;
    /// The thread enters the span `id`. Without a site and values, as those below.
    pub const ENTER: u32 = 4;
    /// The thread leaves it.
    pub const EXIT: u32 = 5;
    /// One more handle to it.
    pub const CLONE: u32 = 6;
    /// One handle less; 1 if that closed it.
    pub const CLOSE: u32 = 7;

    /// As the span of an event or a new span: the one that the thread is in.
    pub const CURRENT: u64 = 0;
    /// None.
    pub const ROOT: u64 = u64::MAX;
}

/// A value as it crosses: its tag, then length and bytes of its field's name, then length and bytes of itself.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A boolean.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A number with a fraction.
    Float(f64),
    /// A text, to be shown in quotes.
    Text(&'a str),
    /// Anything else as its own words, to be shown as they are.
    Words(&'a str),
}

/// Appends a value.
pub fn encode(values: &mut Vec<u8>, name: &str, value: Value<'_>) {
    let number;
    let (tag, bytes): (u8, &[u8]) = match value {
        Value::Bool(value) => (0, if value { &[1] } else { &[0] }),
        Value::Int(value) => {
            number = value.to_le_bytes();
            (1, &number)
        }
        Value::Uint(value) => {
            number = value.to_le_bytes();
            (2, &number)
        }
        Value::Float(value) => {
            number = value.to_le_bytes();
            (3, &number)
        }
        Value::Text(text) => (4, text.as_bytes()),
        Value::Words(words) => (5, words.as_bytes()),
    };
    values.push(tag);
    for part in [name.as_bytes(), bytes] {
        values.extend((part.len() as u32).to_le_bytes());
        values.extend(part);
    }
}

/// The fields' names and values, as far as they can be read.
pub fn decode(mut values: &[u8]) -> impl Iterator<Item = (&str, Value<'_>)> {
    std::iter::from_fn(move || {
        let (tag, rest) = values.split_first()?;
        let (name, rest) = part(rest)?;
        let (bytes, rest) = part(rest)?;
        values = rest;
        let number = || bytes.try_into().ok();
        let text = || std::str::from_utf8(bytes).ok();
        let value = match tag {
            0 => Value::Bool(bytes == [1]),
            1 => Value::Int(i64::from_le_bytes(number()?)),
            2 => Value::Uint(u64::from_le_bytes(number()?)),
            3 => Value::Float(f64::from_le_bytes(number()?)),
            4 => Value::Text(text()?),
            5 => Value::Words(text()?),
            _ => return None,
        };
        Some((std::str::from_utf8(name).ok()?, value))
    })
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// The host of the library. Its subsystem is the same for every instance, and the log asks for no more.
static LINK: OnceLock<Link> = OnceLock::new();

/// Passes on what is traced in this library from here on. A plugin that is linked into a test is left alone.
pub(super) fn forward_to(link: Link) {
    if hooks::is_attached() && LINK.set(link).is_ok() {
        // One that the plugin has set by itself stays.
        let _ = dispatcher::set_global_default(Dispatch::new(Forwarder));
        ask_again();
    }
}

/// Asks the host for every site whether it is wanted.
pub(super) fn ask_again() {
    callsite::rebuild_interest_cache();
}

struct Forwarder;

fn call(what: u32, id: u64, values: &[u8]) -> u64 {
    LINK.get().map_or(0, |link| link.trace(what, id, None, values))
}

fn call_of_site(what: u32, id: u64, metadata: &Metadata<'_>, values: &[u8]) -> u64 {
    let fields: String = metadata.fields().iter().flat_map(|field| [field.name(), "\0"]).collect();
    let site = RawSite {
        level: number(*metadata.level()),
        is_span: metadata.is_span().into(),
        target: metadata.target().into(),
        name: metadata.name().into(),
        file: metadata.file().unwrap_or_default().into(),
        fields: fields.as_str().into(),
        line: metadata.line().unwrap_or_default(),
        reserved: 0,
    };
    LINK.get().map_or(0, |link| link.trace(what, id, Some(&site), values))
}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The span that an event or a new span belongs to.
fn parent(is_contextual: bool, parent: Option<&Id>) -> u64 {
    match parent {
        _ if is_contextual => what::CURRENT,
        Some(id) => id.into_u64(),
        None => what::ROOT,
    }
}

impl Subscriber for Forwarder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        call_of_site(what::IS_WANTED, 0, metadata, &[]) != 0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LINK.get().map_or(0, Link::level) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut values = Values::default();
        event.record(&mut values);
        let parent = parent(event.is_contextual(), event.parent());
        call_of_site(what::EVENT, parent, event.metadata(), &values.0);
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut values = Values::default();
        span.record(&mut values);
        let parent = parent(span.is_contextual(), span.parent());
        let id = call_of_site(what::SPAN, parent, span.metadata(), &values.0);
        Id::from_u64(if id == 0 { what::ROOT } else { id })
    }

    fn record(&self, span: &Id, record: &Record<'_>) {
        let mut values = Values::default();
        record.record(&mut values);
        call(what::RECORD, span.into_u64(), &values.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, span: &Id) {
        call(what::ENTER, span.into_u64(), &[]);
    }

    fn exit(&self, span: &Id) {
        call(what::EXIT, span.into_u64(), &[]);
    }

    fn clone_span(&self, span: &Id) -> Id {
        call(what::CLONE, span.into_u64(), &[]);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        call(what::CLOSE, span.into_u64(), &[]) != 0
    }
}

/// The values of an event or a span, encoded.
#[derive(Default)]
struct Values(Vec<u8>);

impl Visit for Values {
    fn record_bool(&mut self, field: &Field, value: bool) {
        encode(&mut self.0, field.name(), Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        encode(&mut self.0, field.name(), Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        encode(&mut self.0, field.name(), Value::Uint(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        encode(&mut self.0, field.name(), Value::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        encode(&mut self.0, field.name(), Value::Text(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        encode(&mut self.0, field.name(), Value::Words(&format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cross_as_they_are() {
        let sent = [
            ("message", Value::Words("a line with \0 in it")),
            ("yes", Value::Bool(true)),
            ("no", Value::Bool(false)),
            ("least", Value::Int(i64::MIN)),
            ("most", Value::Uint(u64::MAX)),
            ("half", Value::Float(0.5)),
            ("", Value::Text("")),
        ];
        let mut encoded = Vec::new();
        sent.iter().for_each(|(name, value)| encode(&mut encoded, name, *value));
        assert_eq!(decode(&encoded).collect::<Vec<_>>(), sent);
        for cut in 0..encoded.len() {
            let read: Vec<_> = decode(&encoded[..cut]).collect();
            assert_eq!(read, sent[..read.len()], "what is whole can be read of {cut} bytes");
        }
        assert!(decode(&[9, 0, 0, 0, 0, 0, 0, 0, 0]).next().is_none(), "no such tag");
        assert!(decode(&[1, 0, 0, 0, 0, 1, 0, 0, 0, 7]).next().is_none(), "a short number");
    }
}
