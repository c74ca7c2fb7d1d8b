//! Handlers: their arguments, and what they may do.

use mycelia_plugin::prelude::*;
use mycelia_testkit::{Kit, subsystem};
use std::time::Duration;

/// Does a little of everything, and keeps a list of it.
#[derive(Default, Serialize, Deserialize)]
struct Probe {
    seen: Vec<String>,
    #[serde(skip)]
    commits: u32,
    total: Option<Recipient>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    #[serde(rename = "break")]
    broken: bool,
}

impl Subsystem for Probe {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] = &[
        on("", Self::nothing),
        on("numbers/{a}/{b}", Self::numbers),
        on("text/{*rest}", Self::text),
        on("who", Self::who).scope("who", "to be asked"),
        on("send/{count}", Self::send),
        on("hot/{count}", Self::hot),
        on("ask", Self::ask),
        on("later/{name}", Self::later),
        on("fail/{code}", Self::fail),
        on("commits", Self::commits).scope("commits", "to be asked"),
        on("to-itself", Self::own_route),
        on_reply("asked/{name}", Self::asked),
        every("10s", "tick", Self::tick),
    ];

    const NEEDS: &'static [Need] = &[need("kv:write", "to keep it")];
    const COMMITS: bool = true;

    fn create(settings: Settings) -> Result<Self> {
        if settings.broken { Err(Error::invalid("`break` is set")) } else { Ok(Self::default()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.commits += 1;
        if self.seen.iter().any(|seen| seen == "poison") {
            Err(Error::failed("the disk is full"))
        } else {
            Ok(())
        }
    }
}

impl Probe {
    fn nothing(&mut self) -> Result<()> {
        Ok(())
    }

    fn numbers(&mut self, a: Param<u8>, b: Param<i64>) -> Result<i64> {
        Ok(i64::from(a.0) + b.0)
    }

    fn text(&mut self, rest: ParamText) -> Result<String> {
        Ok(rest.to_string())
    }

    fn who(&mut self, caller: Caller) -> Result<String> {
        Ok(caller.0)
    }

    fn send(&mut self, ctx: &mut Context, count: Param<u32>, body: Raw) -> Result<()> {
        (0..count.0).try_for_each(|_| ctx.send("kv://put/total", Raw::from(&*body)))
    }

    fn hot(&mut self, ctx: &mut Context, count: Param<u32>) -> Result<()> {
        let total = self.total.get_or_insert_with(|| Recipient::new("kv://put/total"));
        (0..count.0).try_for_each(|at| ctx.send(&*total, &at))
    }

    fn ask(&mut self, ctx: &mut Context, name: Body<String>) -> Result<()> {
        ctx.ask("kv://get/total", &name.0).within("2s").reply_to(format!("asked/{}", name.0))
    }

    fn asked(&mut self, name: ParamText, outcome: Outcome<i64>) -> Result<()> {
        self.seen.push(match outcome.0 {
            Ok(total) => format!("{}={total}", &*name),
            Err(error) => format!("{}: {} {}", &*name, error.code, error.handled.word()),
        });
        Ok(())
    }

    fn later(&mut self, ctx: &mut Context, name: ParamText) -> Result<()> {
        if self.seen.iter().any(|seen| **seen == *name) {
            return Err(Error::conflict("that was seen"));
        }
        self.seen.push(name.to_string());
        ctx.after("1s", format!("later/{}", &*name), Raw::from(""))
    }

    fn fail(&mut self, code: Param<u8>) -> Result<()> {
        Err(Error::new(ErrorCode::from_number(code.0), "as asked")
            .retry_after(Duration::from_millis(5)))
    }

    fn commits(&mut self, poison: Body<bool>) -> Result<u32> {
        if poison.0 {
            self.seen.push("poison".into());
        }
        Ok(self.commits)
    }

    fn own_route(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.send("probe://numbers/1/x", Raw::from(""))
    }

    fn tick(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.log(
            Level::Info,
            format_args!("tick at {}", ctx.now().as_nanos() / 1_000_000_000 % 3600),
        );
        Ok(())
    }
}

subsystem!(Probe, state = Self);

fn kit() -> Kit<Probe> {
    Kit::new("()").unwrap()
}

fn seen(kit: &Kit<Probe>) -> Vec<String> {
    kit.saved::<Probe>().unwrap().seen
}

#[test]
fn parameters_come_in_their_order_parsed_and_decoded() {
    let kit = kit();
    assert_eq!(kit.ask::<i64>("numbers/7/-9", Raw::from("")).unwrap(), -2);
    assert_eq!(kit.ask::<String>("text/a%2Fb/%C3%A9", Raw::from("")).unwrap(), "a/b/é");
    kit.ask::<()>("", Raw::from("")).unwrap();
    for bad in ["numbers/300/1", "numbers/1/x", "text/%ff"] {
        let error = kit.request(bad, Raw::from("")).unwrap().bytes().unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid, "{bad}: {error}");
    }
}

#[test]
fn a_path_is_refused_as_the_host_does() {
    let kit = kit();
    for (path, code) in [
        ("nowhere", ErrorCode::NoRoute),
        ("asked/x", ErrorCode::NoRoute),
        ("tick", ErrorCode::NoRoute),
        ("a//b", ErrorCode::BadPath),
    ] {
        assert_eq!(kit.send(path, Raw::from("")).unwrap_err().code, code, "{path}");
    }
    assert_eq!(
        kit.caller("orders", &[]).send("who", Raw::from("")).unwrap_err().code,
        ErrorCode::Denied
    );
    assert_eq!((kit.ledger().accepted, kit.ledger().denied), (0, 1));
}

#[test]
fn the_caller_is_who_the_host_says() {
    let kit = kit();
    assert_eq!(kit.ask::<String>("who", Raw::from("")).unwrap(), "operator");
    let orders = kit.caller("orders", &["probe:who"]);
    assert_eq!(orders.ask::<String>("who", Raw::from("")).unwrap(), "orders");
}

#[test]
fn what_is_sent_arrives_in_order_past_the_room_of_an_outbox() {
    let kit = kit();
    kit.send("hot/200", Raw::from("")).unwrap();
    let bodies: Vec<u32> = (0..200).map(|_| kit.expect_send("kv://put/total").body()).collect();
    assert!(bodies.into_iter().eq(0..200));
    let large = "x".repeat(40_000);
    kit.send("send/3", Raw::from(large.as_str())).unwrap();
    (0..3).for_each(|_| assert_eq!(kit.expect_send("kv://put/total").bytes(), large.as_bytes()));
}

#[test]
fn a_kept_recipient_sees_new_permissions() {
    let kit = kit();
    kit.send("hot/1", Raw::from("")).unwrap();
    kit.expect_send("kv://put/total");
    kit.guard("kv://put/{key}", "admin");
    assert_eq!(kit.send("hot/1", Raw::from("")).unwrap_err().code, ErrorCode::Denied);
    kit.guard("kv://put/{key}", "write");
    kit.send("hot/1", Raw::from("")).unwrap();
    kit.expect_send("kv://put/total");
}

#[test]
fn a_receiver_that_refuses_is_an_error_at_once() {
    let kit = kit();
    kit.refuse("kv", Error::full("its queue is full"));
    let error = kit.send("hot/1", Raw::from("")).unwrap_err();
    // What the handler sent was not handled, but the message that it passes the error on for was.
    assert_eq!((error.code, error.handled), (ErrorCode::Full, Handled::Yes));
    assert_eq!(kit.send("ask", &"a".to_owned()).unwrap_err().code, ErrorCode::Full);
    kit.accept("kv");
    kit.send("hot/1", Raw::from("")).unwrap();
    kit.expect_send("kv://put/total");
    assert_eq!(kit.requests().cancelled, 1);
}

#[test]
fn an_outcome_comes_to_a_route_of_ones_own_exactly_once() {
    let kit = kit();
    for name in ["a", "b", "c"] {
        kit.send("ask", &name.to_owned()).unwrap();
    }
    let [a, b, c] = [(); 3].map(|()| kit.expect_ask("kv://get/total"));
    assert_eq!((a.body::<String>(), a.within()), ("a".into(), Duration::from_secs(2)));
    b.fail(Error::not_found("no such total"));
    a.answer(&7_i64);
    kit.advance("2s");
    c.answer(&8_i64);
    assert_eq!(seen(&kit), ["b: not_found yes", "a=7", "c: deadline unknown"]);
    let counts = kit.requests();
    assert_eq!((counts.answered, counts.failed, counts.timed_out, counts.late), (1, 1, 1, 1));
}

#[test]
fn an_inherited_deadline_holds() {
    let kit = Kit::<Probe>::setup().ask_deadline("500ms").start().unwrap();
    let request = kit.request("ask", &"a".to_owned()).unwrap();
    let asked = kit.expect_ask("kv://get/total");
    assert_eq!(asked.within(), Duration::from_millis(500));
    request.outcome::<()>().unwrap();
    kit.advance("500ms");
    assert_eq!(seen(&kit), ["a: deadline unknown"]);
}

#[test]
fn timers_fire_at_their_times() {
    let kit = kit();
    kit.send("later/x", Raw::from("")).unwrap();
    kit.advance("999ms");
    assert_eq!(kit.logs().len(), 0);
    kit.advance("1ms");
    assert_eq!(kit.expect_failure("later/x").code, ErrorCode::Conflict);
    kit.advance("30s");
    let logs: Vec<String> = kit.logs().into_iter().map(|log| log.text).collect();
    assert_eq!(logs, ["tick at 10", "tick at 20", "tick at 30"]);
}

#[test]
fn a_timer_survives_a_reload_in_its_phase() {
    let kit = kit();
    kit.advance("9s");
    kit.reload().unwrap();
    kit.advance("1s");
    assert_eq!(kit.logs().len(), 1);
}

#[test]
fn an_error_crosses_with_all_that_it_says() {
    let kit = kit();
    for code in ErrorCode::ALL {
        let path = format!("fail/{}", *code as u8);
        let error = kit.ask::<()>(&path, Raw::from("")).unwrap_err();
        assert_eq!((error.code, &*error.text, error.handled), (*code, "as asked", Handled::Yes));
        assert_eq!(error.retry_after, Some(Duration::from_millis(5)));
    }
    let ledger = kit.ledger();
    assert_eq!((ledger.handled, ledger.failed), (3, ErrorCode::ALL.len() as u64 - 3));
}

#[test]
fn requests_in_a_row_are_one_batch_and_one_commit() {
    let kit = kit();
    let requests: Vec<_> = (0..3).map(|_| kit.request("commits", &false).unwrap()).collect();
    let counts: Vec<u32> = requests.into_iter().map(|request| request.outcome().unwrap()).collect();
    assert_eq!(counts, [0, 0, 0]);
    assert_eq!(kit.ask::<u32>("commits", &false).unwrap(), 1);
}

#[test]
fn a_commit_that_fails_fails_its_batch() {
    let kit = kit();
    let (one, two) =
        (kit.request("commits", &true).unwrap(), kit.request("commits", &false).unwrap());
    for request in [one, two] {
        assert_eq!(request.outcome::<u32>().unwrap_err().text, "the disk is full");
    }
    assert_eq!(kit.ledger().failed, 2);
}

#[test]
fn a_message_to_itself_is_handled_after_this_one() {
    let kit = kit();
    kit.send("to-itself", Raw::from("")).unwrap();
    assert_eq!(kit.expect_failure("numbers/1/x").code, ErrorCode::Invalid);
    assert_eq!(kit.ledger().accepted, 2);
}

#[test]
fn a_bad_config_names_its_place() {
    let error = |config| Kit::<Probe>::new(config).err().unwrap();
    assert_eq!(error("(break: true)").text, "`break` is set");
    assert!(error("(break: 7)").text.contains("at `7`"), "{}", error("(break: 7)"));
}

#[test]
fn every_answer_is_typed_as_the_route_is() {
    let kit = kit();
    assert_eq!(kit.ask::<i32>("numbers/1/2", Raw::from("")).unwrap_err().code, ErrorCode::Invalid);
}
