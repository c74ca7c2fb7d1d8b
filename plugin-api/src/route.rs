//! The constant route table of a subsystem.

use crate::{
    abi::shim::no_route,
    body::schema_of,
    handler::{Call, Handler},
    time::parse_nanos,
};
use postcard_schema::Schema as HasSchema;

/// One row of [`crate::Subsystem::ROUTES`]: a pattern, who may reach it, and the handler.
///
/// Holding one proves that the pattern is well formed and captures as many parameters as the handler takes:
/// both are checked when the plugin is compiled.
pub struct Route<S> {
    pub(crate) pattern: &'static str,
    pub(crate) kind: Kind,
    pub(crate) scope: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) body: Schema,
    pub(crate) reply: Schema,
    pub(crate) call: Call<S>,
}

/// How messages get to a route.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anyone with the scope sends to it.
    On,
    /// Outcomes of the subsystem's own requests; only the host reaches it.
    OnReply,
    /// A timer, with its period in nanoseconds; only the host reaches it.
    Every(u64),
    /// An event, which the subsystem publishes; nobody sends to it, and those who listen with the scope are told.
    Event,
    /// Events of somebody else, or its own; only the host reaches it.
    OnEvent,
}

/// The name and hash of a body's type; hash 0 is any body.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The type's own name, for messages to people.
    pub name: &'static str,
    /// The hash that two sides compare; 0 takes anything.
    pub hash: u64,
}

impl Schema {
    /// Any body.
    pub const ANY: Schema = Schema { name: "", hash: 0 };
}

/// A route that anyone may send to: `on("users/{id}", Self::user)`.
///
/// The pattern is relative to the subsystem: literal segments, `{id}` for one segment, `{*rest}` or `*` for a tail.
pub const fn on<S, A, H: Handler<S, A>>(pattern: &'static str, handler: H) -> Route<S> {
    row::<S, A, H>(pattern, pattern, Kind::On, &handler)
}

/// A route for the outcomes of the subsystem's own requests; nobody else can address it.
pub const fn on_reply<S, A, H: Handler<S, A>>(pattern: &'static str, handler: H) -> Route<S> {
    row::<S, A, H>(pattern, pattern, Kind::OnReply, &handler)
}

/// Events that are listened to: `on_event("orders://created/{id}", Self::created)`.
///
/// The pattern is the one that the publisher declares with [`event`], behind the publisher's name; the parameters may have
/// other names. The events of the kernel are `kernel://event/fault/{name}` and the like, with a [`crate::KernelEvent`].
pub const fn on_event<S, A, H: Handler<S, A>>(pattern: &'static str, handler: H) -> Route<S> {
    row::<S, A, H>(pattern, listened(pattern), Kind::OnEvent, &handler)
}

/// An event that the subsystem publishes by [`crate::Context::publish`]: `event("created/{id}").body::<Order>()`.
///
/// It is no route: nobody sends to it. Who listens needs its scope, if it has one.
pub const fn event<S>(pattern: &'static str) -> Route<S> {
    check_pattern(pattern);
    check_text(pattern);
    let (body, reply) = (Schema::ANY, Schema::ANY);
    Route { pattern, kind: Kind::Event, scope: "", reason: "", body, reply, call: no_route::<S> }
}

/// A timer: `every("10s", "report", Self::report)`. It starts with the subsystem; one that falls behind fires once.
pub const fn every<S, A, H: Handler<S, A>>(
    period: &'static str,
    pattern: &'static str,
    handler: H,
) -> Route<S> {
    let nanos = match parse_nanos(period) {
        Some(0) | None => {
            panic!("the period is no duration: write a number and a unit, such as \"10s\"")
        }
        Some(nanos) => nanos,
    };
    assert!(captures(pattern) == 0, "a timer's pattern has no parameters");
    row::<S, A, H>(pattern, pattern, Kind::Every(nanos), &handler)
}

/// `within` is the pattern without a publisher's name.
const fn row<S, A, H: Handler<S, A>>(
    pattern: &'static str,
    within: &'static str,
    kind: Kind,
    _: &H,
) -> Route<S> {
    assert!(
        size_of::<H>() == 0,
        "a handler is a plain method, not a closure with captures or a function pointer"
    );
    check_pattern(within);
    assert!(
        H::PARAMS <= captures(within),
        "the handler takes more `Param`s than the pattern has parameters"
    );
    check_text(pattern);
    Route { pattern, kind, scope: "", reason: "", body: H::BODY, reply: H::REPLY, call: H::CALL }
}

impl<S> Route<S> {
    /// Requires a scope of its sender. The short name here; its full name is `<subsystem>:<scope>`.
    pub const fn scope(self, scope: &'static str, reason: &'static str) -> Self {
        assert!(
            matches!(self.kind, Kind::On | Kind::Event),
            "only routes that others reach, and events, have a scope"
        );
        check_scope(scope);
        check_text(reason);
        Route { scope, reason, ..self }
    }

    /// Says what an event carries, so that nobody listens who takes another type. A route's is that of its handler.
    pub const fn body<T: HasSchema + ?Sized>(self) -> Self {
        assert!(matches!(self.kind, Kind::Event), "the body of a route is what its handler takes");
        Route { body: schema_of::<T>(), ..self }
    }
}

/// A scope that the subsystem wants to be granted, with the reason why: `need("kv:write", "to keep the totals")`.
pub struct Need {
    pub(crate) scope: &'static str,
    pub(crate) reason: &'static str,
}

/// Declares a [`Need`]. The scope is a full name: `<subsystem>:<scope>`.
pub const fn need(scope: &'static str, reason: &'static str) -> Need {
    check_text(scope);
    check_text(reason);
    Need { scope, reason }
}

/// The most parameters a pattern captures.
const MAX_PARAMETERS: usize = 8;
/// The most segments it has.
const MAX_SEGMENTS: usize = 32;
/// The most bytes it has.
const MAX_PATTERN: usize = 2048;

/// Whether the pattern is one that the kernel's parser accepts; panics with the reason if not.
///
/// A test of the host holds the two against each other.
#[doc(hidden)]
pub const fn check_pattern(pattern: &str) {
    let bytes = pattern.as_bytes();
    assert!(bytes.len() <= MAX_PATTERN, "a pattern has at most 2048 bytes");
    if bytes.is_empty() {
        return;
    }
    let mut segments = 0;
    let mut start = 0;
    while start <= bytes.len() {
        let end = segment_end(bytes, start);
        let last = end == bytes.len();
        check_segment(bytes, start, end, last);
        check_twice(bytes, start, end);
        segments += 1;
        start = end + 1;
    }
    assert!(segments <= MAX_SEGMENTS, "a pattern has at most 32 segments");
    assert!(captures(pattern) <= MAX_PARAMETERS, "a pattern has at most 8 parameters");
}

/// What follows the publisher's name in the pattern of an event that is listened to.
const fn listened(pattern: &'static str) -> &'static str {
    let bytes = pattern.as_bytes();
    let mut at = 0;
    while at < bytes.len() && is_name(bytes[at]) {
        at += 1;
    }
    let is_named = at > 0
        && at + 2 < bytes.len()
        && bytes[at] == b':'
        && bytes[at + 1] == b'/'
        && bytes[at + 2] == b'/';
    assert!(
        is_named,
        "an event is listened to under the name of who publishes it: `orders://created/{{id}}`"
    );
    pattern.split_at(at + 3).1
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

const fn segment_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    while end < bytes.len() && bytes[end] != b'/' {
        end += 1;
    }
    end
}

const fn check_segment(bytes: &[u8], start: usize, end: usize, last: bool) {
    assert!(start < end, "a pattern has no empty segments, and does not begin or end with a slash");
    if bytes[start] == b'{' {
        assert!(bytes[end - 1] == b'}', "a parameter is a whole segment: `{{id}}`");
        let tail = bytes[start + 1] == b'*';
        assert!(!tail || last, "a tail is the last segment");
        check_parameter(bytes, if tail { start + 2 } else { start + 1 }, end - 1);
    } else if bytes[start] == b'*' {
        assert!(end - start == 1, "`*` is a whole segment");
        assert!(last, "a tail is the last segment");
    } else {
        check_literal(bytes, start, end);
    }
}

const fn check_parameter(bytes: &[u8], start: usize, end: usize) {
    assert!(start < end, "a parameter has a name");
    assert!(!bytes[start].is_ascii_digit(), "a parameter's name does not begin with a digit");
    let mut at = start;
    while at < end {
        assert!(
            bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_',
            "a parameter's name has letters, digits and underscores"
        );
        at += 1;
    }
}

const fn check_literal(bytes: &[u8], start: usize, end: usize) {
    assert!(bytes[start] != b':', "a parameter is written `{{id}}`, not `:id`");
    let mut at = start;
    while at < end {
        assert!(!is_control(bytes, at), "a pattern has no control characters");
        assert!(
            bytes[at] != b'{' && bytes[at] != b'}' && bytes[at] != b'*',
            "a parameter or a tail is a whole segment: `{{id}}`, `{{*rest}}`, `*`"
        );
        at += 1;
    }
}

/// Whether a control character begins here, those of Latin-1 included, which are two bytes.
const fn is_control(bytes: &[u8], at: usize) -> bool {
    match bytes[at] {
        0xc2 => at + 1 < bytes.len() && bytes[at + 1] < 0xa0,
        byte => byte < b' ' || byte == 0x7f,
    }
}

/// The same parameter may not come again behind this one.
const fn check_twice(bytes: &[u8], start: usize, end: usize) {
    let (name, length) = parameter_name(bytes, start, end);
    let mut other = end + 1;
    while length > 0 && other < bytes.len() {
        let other_end = segment_end(bytes, other);
        let (other_name, other_length) = parameter_name(bytes, other, other_end);
        let mut same = length == other_length;
        let mut at = 0;
        while same && at < length {
            same = bytes[name + at] == bytes[other_name + at];
            at += 1;
        }
        assert!(!same, "a pattern has each parameter once");
        other = other_end + 1;
    }
}

/// Start and length of a segment's parameter name; length 0 if it has none.
const fn parameter_name(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    if bytes[start] != b'{' || end < start + 3 {
        return (0, 0);
    }
    let name = if bytes[start + 1] == b'*' { start + 2 } else { start + 1 };
    (name, end - 1 - name)
}

/// How many parameters the pattern captures.
const fn captures(pattern: &str) -> usize {
    let bytes = pattern.as_bytes();
    let mut count = 0;
    let mut at = 0;
    while at < bytes.len() {
        count += (bytes[at] == b'{') as usize;
        at += 1;
    }
    count
}

/// Texts of the manifest are lines with tabs between them.
const fn check_text(text: &str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        assert!(bytes[at] >= b' ' && bytes[at] != 0x7f, "no control characters here");
        at += 1;
    }
}

const fn check_scope(scope: &str) {
    assert!(!scope.is_empty(), "a scope has a name");
    let bytes = scope.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        assert!(
            is_name(bytes[at]),
            "a scope's name has letters, digits, `_`, `-` and `.`; the subsystem's own name is put before it"
        );
        at += 1;
    }
}
