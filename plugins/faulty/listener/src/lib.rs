//! Listens to events, for the host's tests: to those of a subsystem `teller` and of the kernel. It also asks the kernel, as
//! any plugin may that is granted it.
#![forbid(unsafe_code)]

use mycelia_plugin::{KernelEvent, prelude::*};
use std::{path::PathBuf, thread, time::Duration};

/// The subsystem. What it has heard outlives a reload.
#[derive(Default, Serialize, Deserialize)]
pub struct Listener {
    heard: Vec<String>,
    #[serde(skip)]
    data: PathBuf,
}

/// What the kernel answers to an order, as far as it is looked at.
#[derive(Serialize, Deserialize, Schema)]
struct Ordered {
    subsystem: String,
    phase: String,
}

impl Subsystem for Listener {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("heard", Self::heard),
        on("hold/{gate}", Self::hold),
        on("panic", Self::panic),
        on("pass_on", Self::pass_on),
        on("order", Self::order),
        on("order_outside", Self::order_outside),
        on_reply("ordered", Self::ordered),
        on_event("teller://told/{number}", Self::told),
        on_event("kernel://event/fault/{name}", Self::happened),
        on_event("kernel://event/restart/{name}", Self::happened),
        on_event("kernel://event/reload/{name}", Self::happened),
        on_event("kernel://event/refused/{name}", Self::happened),
        on_event("kernel://event/stopped/{name}", Self::happened),
    ];

    fn create((): ()) -> Result<Self> {
        Ok(Listener::default())
    }

    fn start(&mut self, ctx: &mut Context) -> Result<()> {
        self.data = ctx.data()?.to_owned();
        Ok(())
    }
}

impl Listener {
    fn told(&mut self, number: Param<u64>, text: Body<String>, by: Caller) -> Result<()> {
        self.heard.push(format!("{} told {}: {} bytes", by.0, number.0, text.0.len()));
        Ok(())
    }

    fn happened(&mut self, name: ParamText, what: Body<KernelEvent>, by: Caller) -> Result<()> {
        let KernelEvent { subsystem, generation, text } = what.0;
        self.heard.push(format!("{} told of {}: {subsystem} {generation}: {text}", by.0, name.0));
        Ok(())
    }

    /// What it has heard so far, in its order.
    fn heard(&mut self) -> Result<Vec<String>> {
        Ok(self.heard.clone())
    }

    /// Blocks until a file of that name is in the data folder, for half a minute at most.
    fn hold(&mut self, gate: ParamText) -> Result<()> {
        let gate = self.data.join(&*gate.0);
        for _ in 0..30_000 {
            if gate.exists() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(Error::failed("nobody opened the gate"))
    }

    fn panic(&mut self) -> Result<()> {
        panic!("a listener panics as it was told to")
    }

    /// Asks the path in the body, in the name of whoever asked.
    fn pass_on(
        &mut self,
        ctx: &mut Context,
        to: Body<String>,
        answer: Responder<Raw<'static>>,
    ) -> Result<()> {
        ctx.forward(&*to.0, Raw::from(""), answer)
    }

    /// Asks the path in the body in its own name.
    fn order(&mut self, ctx: &mut Context, to: Body<String>) -> Result<()> {
        ctx.ask(&*to.0, Raw::from("")).reply_to("ordered")
    }

    /// As `order`, from a thread of its own.
    fn order_outside(&mut self, ctx: &mut Context, to: Body<String>) -> Result<()> {
        ctx.spawn("order", move |outside, _| outside.ask(&*to.0, Raw::from("")).wait().map(drop))
    }

    fn ordered(&mut self, outcome: Outcome<Ordered>) -> Result<()> {
        self.heard.push(match outcome.0 {
            Ok(ordered) => format!("ordered: {} {}", ordered.subsystem, ordered.phase),
            Err(error) => format!("refused: {}", error.code.word()),
        });
        Ok(())
    }
}

export_subsystem!(Listener, state = Self);
