//! The plugin alone, from its real library, behind a host that does nothing: what the boundary and the dispatch take.

use mycelia::{
    abi::Message,
    loader::{Image, Library, find},
    runtime::search_path,
};
use mycelia_plugin::{
    Error, Result,
    abi::{
        Envelope, PathKind, RawBlock, RawRecipient, flags,
        host::{
            AnswerRef, AskSpec, BatchEnd, BodyRef, CallSpec, CreateSpec, Guest, Host, OutboxBuffer,
            ReportBuffer,
        },
    },
};
use std::{path::Path, sync::atomic::AtomicU8};

static NOBODY: Nobody = Nobody;
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// An instance, and one batch for it.
pub struct Plugin {
    guest: Guest,
    /// Its code stays loaded.
    _library: Library,
    batch: Vec<Message>,
    outbox: OutboxBuffer,
    replies: OutboxBuffer,
    report: ReportBuffer,
}

impl Plugin {
    /// A batch of so many messages for a route of the pump, none of which wants an answer.
    pub fn new(route: &str, length: usize, content: &[u8], encoding: u16) -> Plugin {
        let library = load().unwrap_or_else(|error| panic!("{error}"));
        let patterns: Vec<&str> =
            library.manifest().routes.iter().map(|route| &*route.pattern).collect();
        let number = patterns.iter().position(|pattern| *pattern == route);
        let numbers: Vec<u16> = (0..).take(patterns.len()).collect();
        let spec = CreateSpec { name: "pump", config: "()", data: "", routes: &numbers, handle: 1 };
        let guest = Guest::create(library.module(), &NOBODY, &LEVEL, &spec);
        let mut envelope = Envelope {
            route: number.expect("the pump has the route") as u16,
            flags: encoding,
            length: content.len() as u32,
            ..Envelope::EMPTY
        };
        envelope.inline[..content.len()].copy_from_slice(content);
        let replies = OutboxBuffer::new(length, 0);
        Plugin {
            guest: guest.expect("the pump takes an empty config"),
            _library: library,
            batch: vec![Message(envelope); length],
            outbox: OutboxBuffer::new(64, 1 << 16),
            report: ReportBuffer::new(length, &replies),
            replies,
        }
    }

    /// A batch for the handler that does nothing.
    pub fn nothing(length: usize) -> Plugin {
        Plugin::new("nothing", length, &[], flags::RAW)
    }

    /// One call with the batch.
    #[inline]
    pub fn handle(&mut self) -> BatchEnd {
        self.guest.handle(CallSpec {
            turn: &mut (),
            outbox: &mut self.outbox,
            replies: &mut self.replies,
            report: &self.report,
            messages: Message::envelopes(&self.batch),
            pool: std::ptr::null(),
            version: 1,
            now: 1,
        })
    }

    /// Asserts that the last call handled the whole batch.
    pub fn check(self) {
        let outcomes = self.report.outcomes(self.report.cursor());
        assert_eq!(outcomes, vec![0; self.batch.len()], "each message was handled well");
    }
}

fn load() -> Result<Library, mycelia::loader::LoadError> {
    let file = find("mycelia_pump", Path::new("."), &search_path())?;
    Image::read(&file)?.preflight()?.load("pump@1")
}

/// A host that has nothing to offer.
struct Nobody;

fn refused<T>() -> Result<T> {
    Err(Error::failed("this host does nothing"))
}

impl Host for Nobody {
    type Turn = ();

    fn resolve(&self, (): &mut (), _: &str, _: PathKind, _: &mut Vec<u8>) -> Result<RawRecipient> {
        refused()
    }
    fn reserve(&self, (): &mut (), _: usize) -> Result<RawBlock> {
        refused()
    }
    fn publish(&self, (): &mut (), outbox: &mut OutboxBuffer) {
        outbox.truncate(0);
    }
    fn send(&self, (): &mut (), _: &mut Envelope) -> Result<()> {
        refused()
    }
    fn ask(
        &self,
        (): &mut (),
        _: &mut OutboxBuffer,
        _: &mut Envelope,
        _: AskSpec<'_>,
    ) -> Result<()> {
        refused()
    }
    fn after(&self, (): &mut (), _: u64, _: &str, _: BodyRef<'_>) -> Result<()> {
        refused()
    }
    fn respond(&self, _: Option<(&mut (), &mut OutboxBuffer)>, _: u64, _: u64, _: AnswerRef<'_>) {}
    fn name_of(&self, _: u32) -> String {
        String::new()
    }
    fn now(&self) -> u64 {
        1
    }
    fn log(&self, _: u64, _: u8, _: &str, _: &str) {}
    fn fault(&self, _: u64, _: &str) {}
    fn listen(&self, _: u64, _: &str) -> Result<i32> {
        refused()
    }
    fn outside_send(&self, _: u64, _: &str, _: BodyRef<'_>) -> Result<()> {
        refused()
    }
    fn outside_ask(&self, _: u64, _: &str, _: BodyRef<'_>, _: u64, _: u64) -> Result<u64> {
        refused()
    }
    fn completion(&self, _: u64, _: &mut dyn FnMut(u64, &Envelope, &[u8])) -> bool {
        false
    }
}
