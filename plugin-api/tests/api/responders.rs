//! Responders: every request is answered exactly once, whatever becomes of the right to answer it.

use mycelia_plugin::prelude::*;
use mycelia_testkit::{Kit, subsystem};
use std::collections::BTreeMap;

#[derive(Default, Serialize, Deserialize)]
struct Desk {
    kept: BTreeMap<String, Responder<i64>>,
    #[serde(skip)]
    not_saved: Vec<Responder<i64>>,
}

impl Subsystem for Desk {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("keep/{name}", Self::keep),
        on("keep-unsaved", Self::keep_unsaved),
        on("answer/{name}", Self::answer),
        on("drop", Self::drop_it),
        on("drop-later", Self::drop_later),
        on("fail", Self::fail),
        on("keep-and-fail/{name}", Self::keep_and_fail),
        on("at-once", Self::at_once),
        on("thread", Self::thread),
        on("forward", Self::forward),
        on("body", Self::body),
    ];

    fn create((): ()) -> Result<Self> {
        Ok(Self::default())
    }
}

impl Desk {
    fn keep(&mut self, name: Param<String>, responder: Responder<i64>) -> Result<()> {
        self.kept.insert(name.0, responder);
        Ok(())
    }

    fn keep_unsaved(&mut self, responder: Responder<i64>) -> Result<()> {
        self.not_saved.push(responder);
        Ok(())
    }

    fn answer(&mut self, name: Param<String>, reply: Body<i64>) -> Result<()> {
        let kept = self.kept.remove(&name.0).ok_or_else(|| Error::not_found("nobody waits"))?;
        kept.answer(reply.0);
        Ok(())
    }

    fn drop_it(&mut self, _: Responder<i64>) -> Result<()> {
        Ok(())
    }

    fn drop_later(&mut self) -> Result<()> {
        self.kept.clear();
        Ok(())
    }

    fn fail(&mut self, _responder: Responder<i64>) -> Result<()> {
        Err(Error::conflict("not today"))
    }

    fn keep_and_fail(&mut self, name: Param<String>, responder: Responder<i64>) -> Result<()> {
        self.kept.insert(name.0, responder);
        Err(Error::conflict("not today"))
    }

    fn at_once(&mut self, responder: Responder<i64>) -> Result<()> {
        responder.answer(1);
        Ok(())
    }

    fn thread(&mut self, ctx: &mut Context, responder: Responder<i64>) -> Result<()> {
        ctx.spawn("answers", move |outside, _| {
            let reply = outside.ask("kv://get", &1_u8).wait()?;
            responder.answer(reply.read()?);
            Ok(())
        })
    }

    fn forward(&mut self, ctx: &mut Context, responder: Responder<i64>) -> Result<()> {
        ctx.forward("kv://get", &2_u8, responder)
    }

    fn body(&mut self, responder: Responder<i64>, _: Body<u8>) -> Result<()> {
        responder.answer(3);
        Ok(())
    }
}

subsystem!(Desk, state = Self);

fn kit() -> Kit<Desk> {
    Kit::new("()").unwrap()
}

fn nothing() -> Raw<'static> {
    Raw::from(Vec::new())
}

#[track_caller]
fn check(kit: &Kit<Desk>, path: &str, expect: Result<i64, ErrorCode>) {
    let outcome = kit.request(path, nothing()).unwrap().outcome::<i64>();
    assert_eq!(outcome.map_err(|error| error.code), expect, "{path}");
}

#[test]
fn the_answer_of_a_responder_is_the_reply() {
    let kit = kit();
    check(&kit, "at-once", Ok(1));
    let kept = kit.request("keep/a", nothing()).unwrap();
    assert!(kept.is_open());
    kit.ask::<()>("answer/a", &5).unwrap();
    assert_eq!(kept.outcome::<i64>().unwrap(), 5);
}

#[test]
fn one_that_is_dropped_answers_unanswered() {
    let kit = kit();
    check(&kit, "drop", Err(ErrorCode::Unanswered));
    let kept = kit.request("keep/a", nothing()).unwrap();
    kit.send("drop-later", nothing()).unwrap();
    assert_eq!(kept.outcome::<i64>().unwrap_err().code, ErrorCode::Unanswered);
    assert_eq!(kit.ledger().failed, 1, "the handler that kept it was fine");
}

#[test]
fn the_handlers_own_error_is_the_better_answer() {
    let kit = kit();
    check(&kit, "fail", Err(ErrorCode::Conflict));
    check(&kit, "keep-and-fail/a", Err(ErrorCode::Conflict));
    kit.ask::<()>("answer/a", &5).unwrap();
}

#[test]
fn a_bad_body_after_the_responder_is_the_callers_error() {
    check(&kit(), "body", Err(ErrorCode::Invalid));
}

#[test]
fn a_message_that_wants_no_answer_is_handled_all_the_same() {
    let kit = kit();
    for path in ["keep/a", "drop", "at-once"] {
        kit.send(path, nothing()).unwrap();
    }
    assert_eq!(kit.ledger().handled, 3);
}

#[test]
fn one_in_saved_state_answers_after_the_reload() {
    let kit = kit();
    let kept = kit.request("keep/a", nothing()).unwrap();
    kit.reload().unwrap();
    kit.reload().unwrap();
    assert!(kept.is_open());
    kit.ask::<()>("answer/a", &5).unwrap();
    assert_eq!(kept.outcome::<i64>().unwrap(), 5);
}

#[test]
fn one_that_was_not_saved_answers_reloading() {
    let kit = kit();
    let (lost, kept) = (
        kit.request("keep-unsaved", nothing()).unwrap(),
        kit.request("keep/a", nothing()).unwrap(),
    );
    kit.reload().unwrap();
    assert_eq!(lost.outcome::<i64>().unwrap_err().code, ErrorCode::Reloading);
    assert!(kept.is_open());
    kit.ask::<()>("answer/a", &5).unwrap();
}

#[test]
fn one_that_a_restart_lost_answers_restarted() {
    let kit = kit();
    let early = kit.request("keep/early", nothing()).unwrap();
    kit.snapshot().unwrap();
    let late = kit.request("keep/late", nothing()).unwrap();
    assert!(late.is_open());
    kit.restart().unwrap();
    assert_eq!(late.outcome::<i64>().unwrap_err().code, ErrorCode::Restarted);
    kit.ask::<()>("answer/early", &5).unwrap();
    assert_eq!(early.outcome::<i64>().unwrap(), 5);
}

#[test]
fn a_thread_may_answer() {
    let kit = kit();
    let request = kit.request("thread", nothing()).unwrap();
    kit.expect_ask("kv://get").answer(&9_i64);
    assert_eq!(request.outcome::<i64>().unwrap(), 9);
}

#[test]
fn a_request_that_is_passed_on_is_answered_by_the_other() {
    let kit = kit();
    let request = kit.request("forward", nothing()).unwrap();
    kit.expect_ask("kv://get").answer(&9_i64);
    assert_eq!(request.outcome::<i64>().unwrap(), 9);
    kit.refuse("kv", Error::full("its queue is full"));
    check(&kit, "forward", Err(ErrorCode::Full));
}

#[test]
fn an_asker_that_gave_up_gets_its_deadline_and_the_answer_is_late() {
    let kit = kit();
    let kept = kit.request("keep/a", nothing()).unwrap();
    kit.advance("5s");
    kit.ask::<()>("answer/a", &5).unwrap();
    assert_eq!(kept.outcome::<i64>().unwrap_err().code, ErrorCode::Deadline);
}
