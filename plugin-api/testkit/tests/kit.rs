//! The kit itself: what it complains of, and what it does not let pass.
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use mycelia_plugin::prelude::*;
use mycelia_testkit::{Kit, subsystem};
use serde::{Deserializer, Serializer};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// Does what it is told.
#[derive(Default, Serialize, Deserialize)]
struct Stub {
    #[serde(skip)]
    kept: Vec<Responder<()>>,
    #[serde(skip)]
    counting: Option<(StreamWriter<u64>, u64, u64)>,
}

impl Subsystem for Stub {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("raw", Self::raw),
        on("send", Self::send),
        on("ask", Self::ask),
        on("keep", Self::keep),
        on("fail-later", Self::fail_later),
        on("failing", Self::failing),
        on("hang", Self::hang),
        on("ask-outside", Self::ask_outside),
        on("sets", Self::sets),
        on("maps", Self::maps),
        on("lossy", Self::lossy),
        on("small", Self::small),
        on("half", Self::half),
        on("listen", Self::listen),
        on("data", Self::data),
        on("count/{end}", Self::count),
        on("more", Self::more),
        on("counted/{name}", Self::counted),
        on_reply("asked", Self::asked),
    ];

    fn create((): ()) -> Result<Self> {
        Ok(Self::default())
    }
}

/// Equal to anything that it is read from, and so never what it was.
#[derive(Schema)]
struct Lossy(u8);

impl Serialize for Lossy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(|value| Lossy(value.wrapping_add(1)))
    }
}

impl Stub {
    fn count(
        &mut self,
        ctx: &mut Context,
        end: Param<u64>,
        writer: StreamWriter<u64>,
    ) -> Result<()> {
        self.counting = Some((writer, 0, end.0));
        self.more(ctx)
    }

    fn more(&mut self, ctx: &mut Context) -> Result<()> {
        let Some((mut writer, mut next, end)) = self.counting.take() else { return Ok(()) };
        while next < end {
            match writer.part(&next) {
                Ok(()) => next += 1,
                Err(error) if error.code == ErrorCode::Full => {
                    self.counting = Some((writer, next, end));
                    return ctx.after("10ms", "more", &());
                }
                Err(error) => return Err(error),
            }
        }
        writer.end();
        Ok(())
    }

    fn send(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.send("kv://put/x", &1_u8)
    }

    fn ask(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.ask("kv://get/x", &1_u8).reply_to("asked")
    }

    fn asked(&mut self, outcome: Outcome<u8>) -> Result<()> {
        outcome.0.map(drop)
    }

    fn keep(&mut self, responder: Responder<()>) -> Result<()> {
        self.kept.push(responder);
        Ok(())
    }

    fn fail_later(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.after("1s", "failing", Raw::from(""))
    }

    fn failing(&mut self) -> Result<()> {
        Err(Error::failed("as told"))
    }

    fn hang(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.spawn("hangs", |_, stop| {
            stop.wait(Duration::from_secs(60));
            Ok(())
        })
    }

    /// Its thread waits for an answer that never comes.
    fn ask_outside(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.spawn("asks", |outside, _| match outside.ask("kv://get/x", &1_u8).wait() {
            Err(error) if error.code == ErrorCode::Deadline => Ok(()),
            other => Err(Error::failed(format!("{other:?}"))),
        })
    }

    fn sets(&mut self, numbers: Body<HashSet<u32>>) -> Result<HashSet<u32>> {
        Ok(numbers.0)
    }

    fn maps(&mut self, map: Body<HashMap<u64, f64>>) -> Result<BTreeMap<String, Option<f64>>> {
        Ok(map.0.into_iter().map(|(key, value)| (key.to_string(), Some(value))).collect())
    }

    fn lossy(&mut self, _: Body<Lossy>) -> Result<()> {
        Ok(())
    }

    fn small(&mut self, number: Body<u8>) -> Result<u8> {
        Ok(number.0)
    }

    fn half(&mut self, number: Body<f32>) -> Result<f32> {
        Ok(number.0 / 2.0)
    }

    fn listen(&mut self, ctx: &mut Context) -> Result<u16> {
        Ok(ctx.listen("127.0.0.1:0")?.local_addr()?.port())
    }

    fn counted(&mut self, ctx: &mut Context, name: Param<String>) -> Result<()> {
        ctx.counter(&name.0).inc();
        ctx.sender().counter(&name.0).add(10);
        Ok(())
    }

    fn data(&mut self, ctx: &mut Context) -> Result<String> {
        Ok(ctx.data()?.to_string_lossy().into_owned())
    }

    fn raw(&mut self, body: Raw) -> Result<Raw<'static>> {
        Ok(body.into_vec().into())
    }
}

subsystem!(Stub, state = Self);

fn kit() -> Kit<Stub> {
    Kit::new("()").unwrap()
}

#[test]
fn a_text_goes_as_it_stands_to_a_route_of_bytes() {
    let answer = kit().request("raw", "a line").unwrap().bytes().unwrap();
    assert_eq!(answer, b"a line");
}

fn nothing() -> Raw<'static> {
    Raw::from(Vec::new())
}

/// The text with which the work panics.
fn complaint(work: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(work)).expect_err("it should have panicked");
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[track_caller]
fn check_unsettled(path: &str, expect: &str) {
    let kit = kit();
    let request = kit.request(path, nothing()).unwrap();
    let told = complaint(|| kit.assert_settled());
    assert!(told.contains(expect), "{path}: {told}");
    drop(request);
    let told = complaint(|| drop(kit));
    assert!(told.contains(expect), "{path}: {told}");
}

#[test]
fn what_is_left_is_named_at_the_latest_when_the_kit_is_dropped() {
    check_unsettled("send", "it sent to `kv://put/x`");
    check_unsettled("ask", "it asked `kv://get/x`");
    check_unsettled("keep", "it owes 1 requests an answer");
}

#[test]
fn a_request_that_was_expected_and_not_answered_is_open() {
    let kit = kit();
    kit.send("ask", nothing()).unwrap();
    let asked = kit.expect_ask("kv://get/x");
    assert!(complaint(|| kit.assert_settled()).contains("1 of its requests are open"));
    drop(asked);
    kit.advance("5s");
    assert_eq!(kit.expect_failure("asked").code, ErrorCode::Deadline);
}

#[test]
fn a_failure_that_nobody_saw_is_named() {
    let kit = kit();
    kit.send("fail-later", nothing()).unwrap();
    kit.advance("1s");
    assert!(complaint(|| kit.assert_settled()).contains("`stub://failing` failed"));
    kit.expect_failure("failing");
}

#[test]
fn an_expectation_that_fails_tells_what_did_happen() {
    let kit = kit();
    kit.send("send", nothing()).unwrap();
    let told = complaint(|| drop(kit.expect_send("kv://put/y")));
    assert_eq!(told, "the subsystem did not send to `kv://put/y`; it sent to `kv://put/x`");
    let told = complaint(|| drop(kit.expect_ask("kv://put/x")));
    assert!(told.starts_with("the subsystem did not ask"), "{told}");
    kit.abandon();
}

#[test]
fn an_ask_that_is_not_answered_says_what_to_do() {
    let kit = kit();
    let told = complaint(|| kit.ask::<()>("keep", nothing()).unwrap());
    assert!(told.contains("`keep` has not been answered"), "{told}");
    kit.abandon();
}

#[test]
fn an_answer_of_another_type_is_refused() {
    let kit = kit();
    kit.send("ask", nothing()).unwrap();
    let asked = kit.expect_ask("kv://get/x");
    assert!(complaint(|| asked.answer(&"text".to_owned())).contains("is a `String`"));
    kit.abandon();
}

#[test]
fn equal_sets_and_maps_are_equal_however_they_are_ordered() {
    let kit = kit();
    let numbers: HashSet<u32> = (0..100).collect();
    assert_eq!(kit.ask::<HashSet<u32>>("sets", &numbers).unwrap(), numbers);
    let map = HashMap::from([(1_u64, 0.1), (2, 1e300), (3, -0.0)]);
    assert_eq!(kit.ask::<BTreeMap<String, Option<f64>>>("maps", &map).unwrap().len(), 3);
}

#[test]
fn a_type_that_changes_on_its_way_is_an_error() {
    let kit = kit();
    assert!(kit.send("lossy", &Lossy(1)).unwrap_err().text.contains("changes on its way"));
    let not_in_json = HashMap::from([(1_u64, f64::NAN)]);
    assert!(kit.send("maps", &not_in_json).unwrap_err().text.contains("does not survive JSON"));
}

#[test]
fn a_number_literal_is_of_the_routes_own_type() {
    let kit = kit();
    assert_eq!(kit.ask::<u8>("small", &200).unwrap(), 200);
    assert_eq!(kit.ask::<f32>("half", &3.0).unwrap(), 1.5);
    assert_eq!(kit.ask::<u8>("small", &300).unwrap_err().code, ErrorCode::Invalid);
    kit.send("ask", nothing()).unwrap();
    kit.expect_ask("kv://get/x").answer(&7);
}

#[test]
fn threads_end_with_the_instance() {
    let kit = kit();
    kit.send("hang", nothing()).unwrap();
    kit.reload().unwrap();
    kit.send("hang", nothing()).unwrap();
}

#[test]
fn a_thread_that_waits_for_an_answer_is_let_go_at_the_end() {
    let kit = kit();
    kit.send("ask-outside", nothing()).unwrap();
    kit.expect_ask("kv://get/x");
    kit.abandon();
}

#[test]
fn a_thread_gets_its_deadline_by_the_clock_of_the_test() {
    let kit = kit();
    kit.send("ask-outside", nothing()).unwrap();
    let asked = kit.expect_ask("kv://get/x");
    kit.advance("5s");
    asked.answer(&7_u8);
    assert_eq!((kit.requests().timed_out, kit.requests().late), (1, 1));
}

#[test]
fn the_world_has_sockets_and_a_folder() {
    let kit = kit();
    let port = kit.ask::<u16>("listen", nothing()).unwrap();
    assert_eq!(kit.ask::<u16>("listen", nothing()).unwrap(), port);
    let folder = kit.ask::<String>("data", nothing()).unwrap();
    assert!(std::fs::exists(&folder).unwrap());
    drop(kit);
    assert!(!std::fs::exists(&folder).unwrap());
}

#[test]
fn names_and_grants_can_be_set() {
    let kit = Kit::<Stub>::setup().name("other").grants(&["kv:read"]).start().unwrap();
    kit.guard("kv://put/{key}", "write");
    assert_eq!(kit.send("send", nothing()).unwrap_err().code, ErrorCode::Denied);
    assert!(Kit::<Stub>::setup().name("kernel").start().is_err());
    assert!(Kit::<Stub>::setup().grants(&["no scope"]).start().is_err());
}

#[test]
fn an_answer_in_parts_comes_as_the_test_takes_it() {
    let kit = Kit::<Stub>::new("()").unwrap();
    assert_eq!(kit.ask_parts::<u64>("count/100", "").unwrap(), (0..100).collect::<Vec<u64>>());
    assert_eq!(kit.ask_parts::<u64>("count/0", "").unwrap(), Vec::<u64>::new());
    let error = kit.ask::<u64>("count/1", "").unwrap_err();
    assert!(error.text.contains("`operator` takes one outcome"), "{error}");
}

#[test]
fn what_a_subsystem_counts_goes_on_over_restarts() {
    let kit = Kit::<Stub>::new("()").unwrap();
    assert_eq!(kit.counter("orders_placed"), 0);
    for round in 1..=3 {
        kit.ask::<()>("counted/orders_placed", &()).unwrap();
        kit.ask::<()>("counted/Orders", &()).unwrap();
        assert_eq!(kit.counter("orders_placed"), 11 * round);
        assert_eq!((kit.counter("Orders"), kit.counter("_overflow")), (0, 11 * round));
        if round == 1 { kit.reload().unwrap() } else { kit.restart().unwrap() }
    }
    let complaints: Vec<_> = kit.logs().into_iter().map(|log| log.text).collect();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("`Orders` is no name of a counter"));
}
