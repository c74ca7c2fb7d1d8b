//! Libraries that were entered leave the process again, as often as one likes.

use crate::support::{eventually, small_plugin};
use mycelia::loader::{Image, Library, Unloaded};
use mycelia_plugin::{
    Error, Result,
    abi::{
        Envelope, Module_Ref, PathKind, RawBlock, RawRecipient,
        host::{
            AnswerRef, AskSpec, BodyRef, CallSpec, CreateError, CreateSpec, Guest, GuestThreads,
            Host, OutboxBuffer, ReportBuffer,
        },
    },
};
use std::{
    fs,
    path::Path,
    sync::{atomic::AtomicU8, mpsc},
    thread,
};
use tempfile::TempDir;

/// A host that has nothing to offer.
struct Nobody;

impl Host for Nobody {
    type Turn = ();
    fn resolve(&self, _: &mut (), _: &str, _: PathKind, _: &mut Vec<u8>) -> Result<RawRecipient> {
        Err(Error::failed("nobody is here"))
    }
    fn reserve(&self, _: &mut (), _: usize) -> Result<RawBlock> {
        Err(Error::failed("nobody is here"))
    }
    fn publish(&self, _: &mut (), _: &mut OutboxBuffer) {}
    fn send(&self, _: &mut (), _: &mut Envelope) -> Result<()> {
        Err(Error::failed("nobody is here"))
    }
    fn ask(
        &self,
        _: &mut (),
        _: &mut OutboxBuffer,
        _: &mut Envelope,
        _: AskSpec<'_>,
    ) -> Result<()> {
        Err(Error::failed("nobody is here"))
    }
    fn after(&self, _: &mut (), _: u64, _: &str, _: BodyRef<'_>) -> Result<()> {
        Err(Error::failed("nobody is here"))
    }
    fn respond(&self, _: Option<(&mut (), &mut OutboxBuffer)>, _: u64, _: u64, _: AnswerRef<'_>) {}
    fn name_of(&self, _: u32) -> String {
        String::new()
    }
    fn now(&self) -> u64 {
        0
    }
    fn log(&self, _: u64, _: u8, _: &str, _: &str) {}
    fn fault(&self, _: u64, _: &str) {}
    fn listen(&self, _: u64, _: &str) -> Result<i32> {
        Err(Error::failed("nobody is here"))
    }
    fn outside_send(&self, _: u64, _: &str, _: BodyRef<'_>) -> Result<()> {
        Err(Error::failed("nobody is here"))
    }
    fn outside_ask(&self, _: u64, _: &str, _: BodyRef<'_>, _: u64, _: u64) -> Result<u64> {
        Err(Error::failed("nobody is here"))
    }
    fn completion(&self, _: u64, _: &mut dyn FnMut(u64, &Envelope, &[u8])) -> bool {
        false
    }
}

/// One file, to be loaded again and again.
struct Plugin {
    label: &'static str,
    image: Image,
    folder: TempDir,
}

impl Plugin {
    fn new(name: &str, label: &'static str) -> Plugin {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.so");
        fs::write(&path, small_plugin(name)).unwrap();
        Plugin { label, image: Image::read(&path).unwrap(), folder }
    }

    fn load(&self) -> Library {
        let library = self.image.preflight().and_then(|checked| checked.load(self.label));
        library.unwrap_or_else(|error| panic!("{error}"))
    }

    fn data(&self) -> &Path {
        self.folder.path()
    }
}

fn create(module: Module_Ref, config: &str, data: &Path) -> Guest {
    try_create(module, config, data).unwrap_or_else(|fault| panic!("{}", fault.error))
}

fn try_create(
    module: Module_Ref,
    config: &str,
    data: &Path,
) -> std::result::Result<Guest, CreateError> {
    static LEVEL: AtomicU8 = AtomicU8::new(0);
    let routes = [0; 64];
    let data = data.to_str().unwrap();
    Guest::create(
        module,
        &Nobody,
        &LEVEL,
        &CreateSpec { name: "test", config, data, routes: &routes, handle: 1 },
    )
}

/// Starts an instance, which may begin threads.
fn start(guest: &mut Guest) -> GuestThreads {
    let (mut outbox, mut replies) = (OutboxBuffer::new(1, 1), OutboxBuffer::new(1, 0));
    let report = ReportBuffer::new(1, &replies);
    let spec = CallSpec {
        turn: &mut (),
        outbox: &mut outbox,
        replies: &mut replies,
        report: &report,
        messages: &[],
        pool: std::ptr::null(),
        version: 0,
        now: 0,
    };
    guest.start(spec).unwrap();
    guest.threads()
}

fn unload(library: Library) -> Unloaded {
    library.unload().unwrap_or_else(|(_, holds)| panic!("it is held: {holds:?}"))
}

/// The whole life of a library on this thread, with a thread of its own.
fn live(plugin: &Plugin) -> Unloaded {
    let library = plugin.load();
    let mut guest = create(library.module(), "()", plugin.data());
    let threads = start(&mut guest);
    threads.quiesce();
    eventually("its thread has ended", || threads.running() == 0);
    guest.destroy().unwrap();
    library.detach_thread();
    eventually("the system has seen it end", || library.holds().threads == 0);
    unload(library)
}

/// How many mappings there are of a library.
fn mappings(label: &str) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(label)).count()
}

/// Resident memory in bytes.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A process has 1,024 pthread keys, and a library that is kept takes more than half a megabyte; other tests run meanwhile.
#[test]
fn two_thousand_loads_leave_nothing() {
    let plugin = Plugin::new("mycelia_faulty", "many@1");
    live(&plugin);
    let before = resident();
    for round in 0..2_000 {
        assert!(!live(&plugin).is_mapped, "{round}");
    }
    assert_eq!(mappings("many@1"), 0);
    let grown = resident().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes are left");
}

#[test]
fn a_library_whose_thread_runs_comes_back() {
    let plugin = Plugin::new("mycelia_faulty", "busy@1");
    let library = plugin.load();
    let mut guest = create(library.module(), "()", plugin.data());
    let threads = start(&mut guest);
    let Err((library, holds)) = library.unload() else { panic!("it is unloaded under its thread") };
    assert_eq!(holds.threads, 1);
    threads.quiesce();
    eventually("its thread has ended", || threads.running() == 0);
    guest.destroy().unwrap();
    library.detach_thread();
    eventually("the system has seen it end", || library.holds().threads == 0);
    assert!(!unload(library).is_mapped);
    assert_eq!(mappings("busy@1"), 0);
}

#[test]
fn a_thread_of_the_host_that_entered_it_lets_go() {
    let plugin = Plugin::new("mycelia_faulty", "entered@1");
    let library = plugin.load();
    let (module, data) = (library.module(), plugin.data());
    let detacher = library.detacher();
    let (left, is_left) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let library = thread::scope(|scope| {
        scope.spawn(move || {
            let failed = try_create(module, "(create: Panic)", data).is_err();
            left.send(failed).unwrap();
            may_go.recv().unwrap();
            detacher.detach();
            left.send(true).unwrap();
            // It is here while the library goes.
            may_go.recv().unwrap();
            detacher.detach();
        });
        assert!(is_left.recv().unwrap());
        let before = library.holds().destructors;
        let library = match before {
            0 => library,
            _ => library.unload().expect_err("the thread has yet to let go").0,
        };
        go.send(()).unwrap();
        assert!(is_left.recv().unwrap());
        assert_eq!(library.holds().destructors, 0);
        let unloaded = unload(library);
        go.send(()).unwrap();
        unloaded
    });
    assert!(!library.is_mapped);
    assert_eq!(mappings("entered@1"), 0);
}

#[test]
fn one_that_is_dropped_goes_unless_it_was_entered() {
    let plugin = Plugin::new("mycelia_echo", "dropped@1");
    drop(plugin.load());
    assert_eq!(mappings("dropped@1"), 0);
    let library = plugin.load();
    let module = library.module();
    drop(library);
    assert!(mappings("dropped@1") > 0);
    assert_eq!(module.abilities(), 0);
}
