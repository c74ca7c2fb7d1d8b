//! What a plugin says of itself, written into its own section at compile time and read without executing anything.
//!
//! Lines of UTF-8 with tabs between the fields; unknown lines are passed over, so that a minor version may add some.

use super::ABI_VERSION;
use crate::{
    Route, Subsystem,
    route::{Kind, Schema},
};

/// The section of the library that holds the manifest.
pub const SECTION: &str = ".mycelia";
/// What a manifest begins with.
pub const MAGIC: &str = "mycelia-manifest";

/// What the export macro knows of a plugin beside its type.
#[derive(Copy, Clone)]
pub struct About {
    /// The package's name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The schema number of its saved state; 0 saves none.
    pub state: u32,
    /// Whether a panic unwinds; one that aborts cannot be contained.
    pub unwinds: bool,
    /// Whether the library has the hooks by which it can be unloaded.
    pub unloads: bool,
}

/// A manifest as read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The ABI it was built for.
    pub abi: (u16, u16),
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The schema number of its saved state; 0 saves none.
    pub state: u32,
    /// Whether a panic unwinds.
    pub unwinds: bool,
    /// Whether the library has the hooks by which it can be unloaded.
    pub unloads: bool,
    /// Its routes, in the order of the table.
    pub routes: Vec<ManifestRoute>,
    /// What it wants to be granted.
    pub needs: Vec<ManifestNeed>,
}

/// A route as a manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRoute {
    /// How messages get to it.
    pub kind: Kind,
    /// Its pattern.
    pub pattern: String,
    /// The short name of the scope it requires, or nothing.
    pub scope: String,
    /// Why.
    pub reason: String,
    /// Name and hash of its body's type.
    pub body: (String, u64),
    /// Name and hash of its reply's type.
    pub reply: (String, u64),
}

/// A need as a manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestNeed {
    /// The full name of the scope.
    pub scope: String,
    /// Why.
    pub reason: String,
}

/// Writes text into an array, or only counts it where the array is empty.
struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Writer<N> {
    const fn text(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if N > 0 {
                self.bytes[self.length] = bytes[at];
            }
            self.length += 1;
            at += 1;
        }
        self
    }

    const fn number(self, number: u64) -> Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let (_, digits) = digits.split_at(at);
        match std::str::from_utf8(digits) {
            Ok(text) => self.text(text),
            Err(_) => panic!("digits are UTF-8"),
        }
    }

    const fn schema(self, schema: Schema) -> Self {
        self.text("\t").text(schema.name).text("\t").number(schema.hash)
    }
}

const fn write<S: Subsystem, const N: usize>(about: About) -> Writer<N> {
    let mut out = Writer { bytes: [0; N], length: 0 }
        .text(MAGIC)
        .text("\t")
        .number(ABI_VERSION.0 as u64)
        .text("\t")
        .number(ABI_VERSION.1 as u64)
        .text("\nname\t")
        .text(about.name)
        .text("\nversion\t")
        .text(about.version)
        .text("\nstate\t")
        .number(about.state as u64)
        .text("\npanic\t")
        .text(if about.unwinds { "unwind" } else { "abort" })
        .text(if about.unloads { "\nunload\thooks\n" } else { "\n" });
    let mut at = 0;
    while at < S::ROUTES.len() {
        let route = &S::ROUTES[at];
        out = match route.kind {
            Kind::On => out.text("on"),
            Kind::OnReply => out.text("on_reply"),
            Kind::Every(nanos) => out.text("every ").number(nanos),
            Kind::Event => out.text("event"),
            Kind::OnEvent => out.text("on_event"),
        };
        out = out
            .text("\t")
            .text(route.pattern)
            .text("\t")
            .text(route.scope)
            .text("\t")
            .text(route.reason);
        out = out.schema(route.body).schema(route.reply).text("\n");
        at += 1;
    }
    at = 0;
    while at < S::NEEDS.len() {
        out = out
            .text("need\t")
            .text(S::NEEDS[at].scope)
            .text("\t")
            .text(S::NEEDS[at].reason)
            .text("\n");
        at += 1;
    }
    out.text("end\n")
}

/// Bytes that the manifest of `S` takes.
pub const fn length<S: Subsystem>(about: About) -> usize {
    write::<S, 0>(about).length
}

/// The manifest of `S`; `N` is its [`length`].
pub const fn bytes<S: Subsystem, const N: usize>(about: About) -> [u8; N] {
    write::<S, N>(about).bytes
}

impl Manifest {
    /// The manifest of a subsystem that is linked in, as its library's section would have it.
    pub fn of<S: Subsystem>(about: About) -> Manifest {
        Manifest {
            abi: ABI_VERSION,
            name: about.name.into(),
            version: about.version.into(),
            state: about.state,
            unwinds: about.unwinds,
            unloads: about.unloads,
            routes: S::ROUTES.iter().map(ManifestRoute::of).collect(),
            needs: S::NEEDS
                .iter()
                .map(|need| ManifestNeed { scope: need.scope.into(), reason: need.reason.into() })
                .collect(),
        }
    }

    /// Reads a manifest; a text says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))?;
        let mut lines = text.trim_end_matches('\0').lines();
        let mut manifest = Manifest::start(lines.next().unwrap_or_default())?;
        for line in lines.by_ref() {
            if line == "end" {
                return Ok(manifest);
            }
            manifest
                .line(line)
                .ok_or_else(|| format!("its line `{}` is malformed", line.escape_debug()))?;
        }
        Err("it ends too early".into())
    }

    fn start(line: &str) -> Result<Manifest, String> {
        let mut fields = line.split('\t');
        let magic = fields.next().unwrap_or_default();
        let mut number = || fields.next()?.parse().ok();
        match (magic, number(), number()) {
            (MAGIC, Some(major), Some(minor)) => Ok(Manifest {
                abi: (major, minor),
                name: String::new(),
                version: String::new(),
                state: 0,
                unwinds: false,
                unloads: false,
                routes: Vec::new(),
                needs: Vec::new(),
            }),
            _ => Err("it does not begin as a manifest does".into()),
        }
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields[..] {
            ["name", name] => self.name = name.into(),
            ["version", version] => self.version = version.into(),
            ["state", state] => self.state = state.parse().ok()?,
            ["panic", panic] => self.unwinds = panic == "unwind",
            ["unload", by] => self.unloads = by == "hooks",
            ["need", scope, reason] => {
                self.needs.push(ManifestNeed { scope: scope.into(), reason: reason.into() })
            }
            [kind, pattern, scope, reason, body, body_hash, reply, reply_hash] => {
                let Some(kind) = parse_kind(kind) else { return Some(()) };
                self.routes.push(ManifestRoute {
                    kind,
                    pattern: pattern.into(),
                    scope: scope.into(),
                    reason: reason.into(),
                    body: (body.into(), body_hash.parse().ok()?),
                    reply: (reply.into(), reply_hash.parse().ok()?),
                });
            }
            [
                "name" | "version" | "state" | "panic" | "unload" | "need" | "on" | "on_reply"
                | "every" | "event" | "on_event",
                ..,
            ] => return None,
            _ => {}
        }
        Some(())
    }
}

impl ManifestRoute {
    fn of<S>(route: &Route<S>) -> Self {
        ManifestRoute {
            kind: route.kind,
            pattern: route.pattern.into(),
            scope: route.scope.into(),
            reason: route.reason.into(),
            body: (route.body.name.into(), route.body.hash),
            reply: (route.reply.name.into(), route.reply.hash),
        }
    }
}

fn parse_kind(word: &str) -> Option<Kind> {
    match word.split_once(' ') {
        None if word == "on" => Some(Kind::On),
        None if word == "on_reply" => Some(Kind::OnReply),
        None if word == "event" => Some(Kind::Event),
        None if word == "on_event" => Some(Kind::OnEvent),
        Some(("every", nanos)) => nanos.parse().ok().map(Kind::Every),
        _ => None,
    }
}
