//! Events as an author declares, publishes and hears them, on the testkit.

use mycelia_kernel::pattern::Pattern;
use mycelia_plugin::{Kind, prelude::*};
use mycelia_testkit::Kit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Order {
    item: String,
    count: u32,
}

/// Publishes what it is told to, and notes what it hears.
#[derive(Default)]
struct Orders {
    heard: Vec<String>,
}

impl Subsystem for Orders {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[
        on("place/{id}", Self::place),
        on("outside/{id}", Self::outside),
        on("wrong", Self::wrong),
        on("undeclared", Self::undeclared),
        on("heard", Self::heard),
        event("placed/{id}").scope("read", "to know of orders").body::<Order>(),
        event("told"),
        on_event("stock://gone/{item}", Self::gone),
        on_event("kernel://event/fault/{name}", Self::fault),
        on_event("orders://told", Self::told),
    ];
    fn create((): ()) -> Result<Self> {
        Ok(Orders::default())
    }
}

fn order(item: &str) -> Order {
    Order { item: item.into(), count: 2 }
}

impl Orders {
    fn place(&mut self, ctx: &mut Context, id: ParamText, item: Body<String>) -> Result<()> {
        ctx.send("log://before", &0u8)?;
        ctx.publish(format!("placed/{}", id.0), &order(&item.0))?;
        ctx.publish("told", &"once".to_owned())
    }

    fn outside(&mut self, ctx: &mut Context, id: ParamText) -> Result<()> {
        let path = format!("placed/{}", id.0);
        ctx.spawn("publisher", move |outside, _| outside.publish(path, &order("x")))
    }

    fn wrong(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.publish("placed/1", &7u32)
    }

    fn undeclared(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.publish("place/1", &order("x"))
    }

    fn gone(&mut self, item: ParamText, count: Body<u32>, by: Caller) -> Result<()> {
        self.heard.push(format!("{} {} from {}", count.0, item.0, by.0));
        if count.0 == 0 { Err(Error::failed("none")) } else { Ok(()) }
    }

    fn fault(&mut self, name: ParamText, fault: Body<mycelia_plugin::KernelEvent>) -> Result<()> {
        self.heard.push(format!("{}: {}", name.0, fault.0.text));
        Ok(())
    }

    fn told(&mut self, text: Body<String>) -> Result<()> {
        self.heard.push(text.0);
        Ok(())
    }

    fn heard(&mut self) -> Result<Vec<String>> {
        Ok(std::mem::take(&mut self.heard))
    }
}

mycelia_plugin::__subsystem!(Orders);

fn kit() -> Kit<Orders> {
    Kit::<Orders>::new("()").unwrap()
}

#[test]
fn what_is_published_is_seen() {
    let kit = kit();
    let long = "of a name that does not go within an envelope";
    for (id, item) in [("1", "nail"), ("2", long)] {
        kit.send(&format!("place/{id}"), &item.to_owned()).unwrap();
        kit.expect_send("log://before");
        let published = kit.expect_publish(&format!("placed/{id}"));
        assert_eq!(published.body::<Order>(), order(item));
        kit.expect_publish("told");
    }
    assert_eq!(kit.ask::<Vec<String>>("heard", &()).unwrap(), ["once", "once"], "its own, too");
}

#[test]
fn a_thread_publishes_too() {
    let kit = kit();
    kit.send("outside/7", &()).unwrap();
    assert_eq!(kit.expect_publish("placed/7").body::<Order>(), order("x"));
}

#[test]
fn an_event_has_its_body_and_is_declared() {
    let kit = kit();
    assert_eq!(kit.send("wrong", &()).unwrap_err().code, ErrorCode::Invalid);
    let refused = kit.send("undeclared", &()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoRoute);
    assert!(refused.text.contains("declares no event for `place/1`"), "{refused}");
    let sent = kit.send("placed/1", &order("x")).unwrap_err();
    assert!(sent.text.contains("is an event, which nobody sends to"), "{sent}");
}

#[test]
fn what_is_listened_to_is_heard() {
    let kit = kit();
    kit.event("stock://gone/nails", &3u32).unwrap();
    let fault = mycelia_plugin::KernelEvent {
        subsystem: "kv".into(),
        generation: 1,
        text: "a panic".into(),
    };
    kit.event("kernel://event/fault/kv", &fault).unwrap();
    let heard = kit.ask::<Vec<String>>("heard", &()).unwrap();
    assert_eq!(heard, ["3 nails from stock", "kv: a panic"]);
    assert!(kit.event("stock://gone/nails", &0u32).is_err(), "the test sees how it fails");
    assert_eq!(
        kit.event("stock://gone/nails", &"x".to_owned()).unwrap_err().code,
        ErrorCode::Invalid
    );
    for path in ["stock://come/nails", "other://gone/nails", "gone"] {
        assert!(kit.event(path, &3u32).is_err(), "{path}");
    }
}

#[test]
fn a_scope_guards_an_event() {
    let kit = Kit::<Orders>::setup().name("orders").grants(&["other:read"]).start().unwrap();
    kit.guard("stock://gone/{item}", "read");
    let denied = kit.event("stock://gone/nails", &3u32).unwrap_err();
    assert_eq!(denied.code, ErrorCode::Denied);
    let kit = Kit::<Orders>::setup().name("orders").grants(&["stock:read"]).start().unwrap();
    kit.guard("stock://gone/{item}", "read");
    kit.event("stock://gone/nails", &3u32).unwrap();
    assert_eq!(kit.ledger().handled, 1);
}

#[test]
#[should_panic(expected = "it published `orders://placed/1`, which the test did not expect")]
fn what_nobody_looked_at_is_a_complaint() {
    let kit = kit();
    kit.send("place/1", &"nail".to_owned()).unwrap();
    kit.expect_send("log://before");
    kit.expect_publish("told");
}

/// A pattern that the compiler takes for a listener is one to the kernel.
#[test]
fn what_is_declared_is_listened_to() {
    let manifest = mycelia_plugin::abi::manifest::Manifest::of::<Orders>(super::manifest::ABOUT);
    let listened = manifest.routes.iter().filter(|route| route.kind == Kind::OnEvent);
    let parsed: Vec<_> =
        listened.map(|route| Pattern::parse_listened(&route.pattern).unwrap()).collect();
    assert_eq!(parsed.len(), 3);
}
