//! Panics end at the boundary, on the plugin's side, and cost one message.

use mycelia_plugin::prelude::*;
use mycelia_testkit::{Kit, subsystem};
use std::panic::panic_any;

#[derive(Default, Serialize, Deserialize)]
struct Fragile {
    count: u32,
    #[serde(skip)]
    ends_badly: bool,
}

/// Panics again when its panic is over.
struct Spiteful;

impl Drop for Spiteful {
    fn drop(&mut self) {
        panic!("even the payload panics");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.ends_badly, "dropping panics too");
    }
}

impl Subsystem for Fragile {
    type Config = bool;

    const ROUTES: &'static [Route<Self>] = &[
        on("count", Self::count),
        on("panic", Self::panic),
        on("panic/any", Self::panic_any),
        on("panic/spiteful", Self::panic_spiteful),
        on("panic/after-sending", Self::panic_after_sending),
        on("end-badly", Self::end_badly),
        on("thread", Self::thread),
    ];

    fn create(panics: bool) -> Result<Self> {
        assert!(!panics, "creating panics");
        Ok(Self::default())
    }
}

impl Fragile {
    fn count(&mut self) -> Result<u32> {
        self.count += 1;
        Ok(self.count)
    }

    fn panic(&mut self) -> Result<()> {
        panic!("the number is {}", self.count)
    }

    fn panic_any(&mut self) -> Result<()> {
        panic_any(7_u8)
    }

    fn panic_spiteful(&mut self) -> Result<()> {
        panic_any(Spiteful)
    }

    fn panic_after_sending(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.send("kv://put/lost", Raw::from("body"))?;
        ctx.ask("kv://get/lost", Raw::from("body")).reply_to("count")?;
        panic!("after sending")
    }

    fn end_badly(&mut self) -> Result<()> {
        self.ends_badly = true;
        Ok(())
    }

    fn thread(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.spawn("fragile", |_, _| panic!("a thread"))
    }
}

subsystem!(Fragile, state = Self);

fn kit() -> Kit<Fragile> {
    Kit::new("false").unwrap()
}

fn nothing() -> Raw<'static> {
    Raw::from(Vec::new())
}

fn count(kit: &Kit<Fragile>) -> u32 {
    kit.ask("count", nothing()).unwrap()
}

#[test]
fn a_panic_is_an_error_with_its_text() {
    let kit = kit();
    for (path, text) in [
        ("panic", "the number is 0"),
        ("panic/any", "a panic without text"),
        ("panic/spiteful", "a panic without text"),
    ] {
        let error = kit.ask::<()>(path, nothing()).unwrap_err();
        assert_eq!(error.code, ErrorCode::Panicked);
        assert!(error.text.contains(text), "{error}");
    }
    assert_eq!(kit.ledger().dead, 3);
    assert_eq!(count(&kit), 1);
}

#[test]
fn the_cursor_tells_the_message_that_panicked() {
    let kit = kit();
    let paths = ["count", "count", "panic", "count", "panic/spiteful", "count"];
    let requests: Vec<_> = paths.iter().map(|path| kit.request(path, nothing()).unwrap()).collect();
    let outcomes: Vec<Result<Vec<u8>, ErrorCode>> =
        requests.into_iter().map(|request| request.bytes().map_err(|error| error.code)).collect();
    let panicked = || Err(ErrorCode::Panicked);
    assert_eq!(
        outcomes,
        [Ok(vec![1]), Ok(vec![2]), panicked(), Ok(vec![1]), panicked(), Ok(vec![1])]
    );
    let ledger = kit.ledger();
    assert_eq!((ledger.accepted, ledger.handled, ledger.dead), (6, 4, 2));
}

#[test]
fn a_restart_goes_back_to_the_last_snapshot() {
    let kit = kit();
    assert_eq!((count(&kit), count(&kit)), (1, 2));
    kit.snapshot().unwrap();
    assert_eq!(count(&kit), 3);
    assert!(kit.send("panic", nothing()).is_err());
    assert_eq!(count(&kit), 3);
}

#[test]
fn what_a_handler_sent_before_it_panicked_is_discarded() {
    let kit = kit();
    let requests = [
        kit.request("count", nothing()).unwrap(),
        kit.request("panic/after-sending", nothing()).unwrap(),
    ];
    assert!(requests.map(|request| request.bytes().is_ok()) == [true, false]);
    kit.assert_settled();
    assert_eq!(kit.requests().cancelled, 1);
}

#[test]
fn lifecycle_calls_catch_panics_too() {
    let error = Kit::<Fragile>::new("true").err().unwrap();
    assert_eq!((error.code, &*error.text), (ErrorCode::Panicked, "a panic: creating panics"));
    let kit = kit();
    kit.send("end-badly", nothing()).unwrap();
    kit.reload().unwrap();
    assert!(kit.expect_failure("drop").text.contains("dropping panics too"));
}

#[test]
fn a_thread_that_panics_is_a_fault() {
    let kit = kit();
    kit.send("thread", nothing()).unwrap();
    assert!(kit.expect_fault().contains("a panic: a thread"));
}
