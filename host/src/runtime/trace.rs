//! What plugins trace, as events and spans of the host's own subscriber.
//!
//! A site is a place in a plugin's source as one subsystem runs it. The subscriber keeps metadata for good, so every
//! site is copied and kept once by its content: however often a plugin is reloaded, its sites are the same.

use super::Slot;
use mycelia_plugin::abi::{
    host::SiteRef,
    trace::{Value, decode, what},
};
use std::{
    collections::HashMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};
use tracing_core::{
    Callsite, Dispatch, Event, Interest, Level, Metadata,
    callsite::{self, Identifier},
    dispatcher::get_default,
    field::{self, DisplayValue, FieldSet},
    metadata::Kind,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Registry, registry::LookupSpan};

/// The most sites that are kept; a plugin of a hundred thousand lines has some hundreds.
const MOST_SITES: usize = 16 * 1024;

/// What the metadata of a plugin's site has in place of a module's path: the subsystem as an address, which no module is.
const SUBSYSTEM: &str = "://";

/// The subsystem that a site is of, if it is a plugin's.
pub fn subsystem_of<'m>(metadata: &Metadata<'m>) -> Option<&'m str> {
    metadata.module_path()?.strip_suffix(SUBSYSTEM)
}

struct Site {
    metadata: OnceLock<Metadata<'static>>,
    interest: AtomicU8,
}

const NEVER: u8 = 0;
const SOMETIMES: u8 = 1;
const ALWAYS: u8 = 2;

impl Callsite for Site {
    fn set_interest(&self, interest: Interest) {
        let word = match interest {
            _ if interest.is_always() => ALWAYS,
            _ if interest.is_sometimes() => SOMETIMES,
            _ => NEVER,
        };
        self.interest.store(word, Ordering::Relaxed);
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.known()
    }
}

impl Site {
    fn known(&self) -> &Metadata<'static> {
        self.metadata.get().expect("a site gets its metadata where it is made")
    }

    fn is_wanted(&self, dispatch: &Dispatch) -> bool {
        match self.interest.load(Ordering::Relaxed) {
            NEVER => false,
            ALWAYS => true,
            _ => dispatch.enabled(self.known()),
        }
    }

    /// Makes one for good.
    fn leak(subsystem: &str, site: &SiteRef<'_>) -> &'static Site {
        let leaked: &'static Site =
            Box::leak(Box::new(Site { metadata: OnceLock::new(), interest: AtomicU8::new(NEVER) }));
        let mut names: Vec<&'static str> = copy(site.fields).split_terminator('\0').collect();
        if !site.is_span {
            names.extend(OWN_FIELDS);
        }
        let metadata = Metadata::new(
            copy(site.name),
            copy(site.target),
            level(site.level),
            (!site.file.is_empty()).then(|| copy(site.file)),
            (site.line > 0).then_some(site.line),
            Some(copy(&format!("{subsystem}{SUBSYSTEM}"))),
            FieldSet::new(names.leak(), Identifier(leaked)),
            if site.is_span { Kind::SPAN } else { Kind::EVENT },
        );
        leaked.metadata.set(metadata).expect("nobody else has it yet");
        callsite::register(leaked);
        leaked
    }
}

fn copy(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn level(number: u8) -> Level {
    match number {
        1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

/// What the host adds to each event.
const OWN_FIELDS: [&str; 2] = ["subsystem", "generation"];

/// The site of this content; none if there are too many, of which nothing is traced then.
fn intern(subsystem: &str, site: &SiteRef<'_>) -> Option<&'static Site> {
    static SITES: Mutex<Option<HashMap<String, &'static Site>>> = Mutex::new(None);
    let SiteRef { level, is_span, target, name, file, line, fields } = site;
    let key =
        format!("{subsystem}\n{level}\n{is_span}\n{target}\n{name}\n{file}\n{line}\n{fields}");
    let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
    let sites = sites.get_or_insert_default();
    if let Some(known) = sites.get(&key) {
        return Some(known);
    }
    if sites.len() >= MOST_SITES {
        return None;
    }
    let site = Site::leak(subsystem, site);
    sites.insert(key, site);
    Some(site)
}

/// Does what a plugin's `tracing` says, as [`what`] lists it.
pub(super) fn trace(
    slot: &Slot,
    what: u32,
    id: u64,
    site: Option<SiteRef<'_>>,
    values: &[u8],
) -> u64 {
    match site {
        Some(site) => intern(&slot.name, &site).map_or(0, |site| {
            get_default(|dispatch| at_site(dispatch, slot, what, id, site, values))
        }),
        // A span that was not made has no number of its own.
        None if id == what::ROOT || id == 0 => 0,
        None => get_default(|dispatch| of_span(dispatch, what, &Id::from_u64(id), values)),
    }
}

fn at_site(
    dispatch: &Dispatch,
    slot: &Slot,
    what: u32,
    parent: u64,
    site: &'static Site,
    values: &[u8],
) -> u64 {
    if !site.is_wanted(dispatch) {
        return 0;
    }
    let metadata = site.known();
    let parent_id = (parent != what::ROOT && parent != 0).then(|| Id::from_u64(parent));
    match what {
        what::IS_WANTED => 1,
        what::EVENT => {
            let generation = u64::from(slot.info().generation);
            let own = [Given::Text(&slot.name), Given::Uint(generation)];
            with_values(metadata.fields(), values, &own, |values| match parent {
                what::CURRENT => dispatch.event(&Event::new(metadata, values)),
                _ => dispatch.event(&Event::new_child_of(parent_id.clone(), metadata, values)),
            });
            0
        }
        what::SPAN => with_values(metadata.fields(), values, &[], |values| {
            let attributes = match &parent_id {
                Some(id) => Attributes::child_of(id.clone(), metadata, values),
                None if parent == what::ROOT => Attributes::new_root(metadata, values),
                None => Attributes::new(metadata, values),
            };
            dispatch.new_span(&attributes).into_u64()
        }),
        _ => 0,
    }
}

fn of_span(dispatch: &Dispatch, what: u32, id: &Id, values: &[u8]) -> u64 {
    match what {
        what::RECORD => {
            let span = dispatch.downcast_ref::<Registry>().and_then(|spans| spans.span_data(id));
            if let Some(span) = span {
                let fields = tracing_subscriber::registry::SpanData::metadata(&span).fields();
                with_values(fields, values, &[], |values| {
                    dispatch.record(id, &Record::new(values));
                });
            }
        }
        what::ENTER => dispatch.enter(id),
        what::EXIT => dispatch.exit(id),
        what::CLONE => drop(dispatch.clone_span(id)),
        what::CLOSE => return dispatch.try_close(id.clone()).into(),
        _ => {}
    }
    0
}

/// A value as the subscriber takes it.
enum Given<'v> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(&'v str),
    Words(DisplayValue<&'v str>),
}

impl Given<'_> {
    fn value(&self) -> &dyn field::Value {
        match self {
            Given::Bool(value) => value,
            Given::Int(value) => value,
            Given::Uint(value) => value,
            Given::Float(value) => value,
            Given::Text(value) => value,
            Given::Words(value) => value,
        }
    }
}

/// Puts values to their fields, the host's own to the last ones.
fn with_values<R>(
    fields: &FieldSet,
    values: &[u8],
    own: &[Given<'_>],
    then: impl FnOnce(&field::ValueSet<'_>) -> R,
) -> R {
    let mut given: Vec<Option<Given<'_>>> = (0..fields.len()).map(|_| None).collect();
    for (name, value) in decode(values) {
        if let Some(field) = fields.field(name) {
            given[field.index()] = Some(match value {
                Value::Bool(value) => Given::Bool(value),
                Value::Int(value) => Given::Int(value),
                Value::Uint(value) => Given::Uint(value),
                Value::Float(value) => Given::Float(value),
                Value::Text(text) => Given::Text(text),
                Value::Words(words) => Given::Words(field::display(words)),
            });
        }
    }
    let others = fields.len() - own.len();
    let given = given[..others].iter().map(|given| given.as_ref().map(Given::value));
    let own = own.iter().map(|own| Some(own.value()));
    let all: Vec<Option<&dyn field::Value>> = given.chain(own).collect();
    then(&fields.value_set_all(&all))
}
