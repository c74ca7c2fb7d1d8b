//! Sends and swallows messages, for measurements: one instance pumps into others.
#![forbid(unsafe_code)]

mod workloads;

use mycelia_plugin::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use workloads::{Latency, Stream};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Where to pump.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The path of another instance's route; `{}` in it stands for the number of a sink.
    to: Option<String>,
    /// How many sinks there are, counted from 0; 1 if it is not said.
    sinks: Option<u64>,
    /// The most messages of a rally that are sent at a time.
    burst: u64,
    /// Whether a rally addresses by the text of the path.
    by_text: bool,
}

/// A body of several fields.
#[derive(Serialize, Deserialize, Schema)]
pub struct Fields {
    number: u64,
    amount: i32,
    ratio: f32,
    kind: u8,
    is_open: bool,
    tag: u16,
}

/// Pumps, or swallows.
pub struct Pump {
    to: Recipient,
    /// All of them, the one above included.
    sinks: Vec<Recipient>,
    /// The one whose turn it is.
    turn: usize,
    burst: u64,
    by_text: bool,
    sum: u64,
    answered: u64,
    /// Requests that are still to be made.
    left: u64,
    /// Requests that are open.
    open: u64,
    /// Messages that a full queue gave back.
    refused: u64,
    stream: Stream,
    latency: Option<Latency>,
}

impl Subsystem for Pump {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] = &[
        on("kept/{count}", Self::kept),
        on("text/{count}", Self::text),
        on("constant/{count}", Self::constant),
        on("spread/{count}/{run}", Self::spread),
        on("sized/{count}/{bytes}", Self::sized),
        on("ask/{count}", Self::ask),
        on("asktext/{count}", Self::ask_text),
        on("take", Self::take).scope("fill", "to be measured"),
        on("rally/{count}", Self::serve),
        on("volley", Self::volley).scope("fill", "to be measured"),
        on("asks/{count}", Self::asks),
        on("swallow", Self::swallow).scope("fill", "to be measured"),
        on("fields", Self::fields).scope("fill", "to be measured"),
        on("nothing", Self::nothing).scope("fill", "to be measured"),
        on("swallowed", Self::swallowed),
        on("allocations", Self::allocations),
        on("allocated", Self::allocated),
        on_reply("answered", Self::answered),
        on_reply("returned", Self::returned),
        on("typed/{count}", Self::typed),
        on("swallow/typed", Self::swallow_typed).scope("fill", "to be measured"),
        on("raw/{count}", Self::raw),
        on("swallow/raw", Self::swallow_raw).scope("fill", "to be measured"),
        on("record/{count}", Self::record),
        on("swallow/record", Self::swallow_record).scope("fill", "to be measured"),
        on("large/{count}/{bytes}", Self::large),
        on("flood/{count}", Self::flood),
        on("refused", Self::refused),
        on("relay/{count}", Self::relay),
        on("relayed", Self::relayed).scope("fill", "to be measured"),
        on("stream/{count}/{at}", Self::stream),
        on("swallow/mark", Self::mark).scope("fill", "to be measured"),
        on("took", Self::took),
        on("latency/{count}", Self::latency),
        on_reply("came", Self::came),
        on("gets/{count}", Self::gets),
        on("users/{count}/{first}/{ids}", Self::users),
        on("echo", Self::echo).scope("fill", "to be measured"),
        on("of/{id}", Self::of).scope("fill", "to be measured"),
        on_reply("got", Self::got),
    ];

    fn create(settings: Settings) -> Result<Self> {
        let Settings { to, sinks, burst, by_text } = settings;
        let to = to.unwrap_or_default();
        let sink = |number: u64| Recipient::new(to.replace("{}", &number.to_string()));
        let sinks = (0..sinks.unwrap_or(1)).map(sink).collect();
        Ok(Pump {
            to: sink(0),
            sinks,
            turn: 0,
            burst,
            by_text,
            sum: 0,
            answered: 0,
            left: 0,
            open: 0,
            refused: 0,
            stream: Stream::default(),
            latency: None,
        })
    }
}

impl Pump {
    /// Sends to a kept recipient.
    fn kept(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for number in 0..count.0 {
            ctx.send(&self.to, Pod([number, 1, 2]))?;
        }
        Ok(())
    }

    /// Sends by the text of the path.
    fn text(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for number in 0..count.0 {
            ctx.send(self.to.path(), Pod([number, 1, 2]))?;
        }
        Ok(())
    }

    /// Sends by a constant path, to `sink` whatever the settings say.
    fn constant(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for number in 0..count.0 {
            ctx.send(path!("sink://swallow"), Pod([number, 1, 2]))?;
        }
        Ok(())
    }

    /// Sends to one kept recipient after the other, a run of messages to each.
    fn spread(&mut self, ctx: &mut Context, count: Param<u64>, run: Param<u64>) -> Result<()> {
        for _ in 0..count.0 / run.0 {
            let sink = &self.sinks[self.turn];
            for number in 0..run.0 {
                ctx.send(sink, Pod([number, 1, 2]))?;
            }
            self.turn = (self.turn + 1) % self.sinks.len();
        }
        Ok(())
    }

    /// Sends so many bytes to a kept recipient's `take`.
    fn sized(&mut self, ctx: &mut Context, count: Param<u64>, bytes: Param<usize>) -> Result<()> {
        let body = vec![1; bytes.0];
        for _ in 0..count.0 {
            ctx.send(&self.to, Raw::from(&body[..]))?;
        }
        Ok(())
    }

    /// Asks a kept recipient.
    fn ask(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for number in 0..count.0 {
            ctx.ask(&self.to, Pod([number, 1, 2])).reply_to("answered")?;
        }
        Ok(())
    }

    /// Asks by the text of the path.
    fn ask_text(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for number in 0..count.0 {
            ctx.ask(self.to.path(), Pod([number, 1, 2])).reply_to("answered")?;
        }
        Ok(())
    }

    /// Begins a rally of two instances: each answers the last message of a burst with a burst.
    fn serve(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        self.send_burst(ctx, count.0)
    }

    fn volley(&mut self, ctx: &mut Context, body: Pod<[u64; 3]>) -> Result<()> {
        let [behind, left, _] = body.0;
        if behind > 0 || left == 0 {
            return Ok(());
        }
        self.send_burst(ctx, left)
    }

    /// A message says how many of its burst are behind it, and how many are left after that.
    fn send_burst(&mut self, ctx: &mut Context, left: u64) -> Result<()> {
        let burst = left.min(self.burst);
        let bodies = (0..burst).rev().map(|behind| Pod([behind, left - burst, 0]));
        if self.by_text {
            return bodies.into_iter().try_for_each(|body| ctx.send(self.to.path(), body));
        }
        bodies.into_iter().try_for_each(|body| ctx.send(&self.to, body))
    }

    /// Asks a kept recipient in bursts, each after the last outcome of the one before.
    fn asks(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        self.left = count.0;
        self.ask_burst(ctx)
    }

    fn ask_burst(&mut self, ctx: &mut Context) -> Result<()> {
        self.open = self.left.min(self.burst);
        self.left -= self.open;
        for number in 0..self.open {
            ctx.ask(&self.to, Pod([number, 1, 2])).reply_to("returned")?;
        }
        Ok(())
    }

    fn returned(&mut self, ctx: &mut Context, outcome: Outcome<()>) -> Result<()> {
        outcome.0?;
        self.open -= 1;
        if self.open == 0 { self.ask_burst(ctx) } else { Ok(()) }
    }

    fn swallow(&mut self, body: Pod<[u64; 3]>) -> Result<()> {
        let [number, one, two] = body.0;
        self.sum = self.sum.wrapping_add(number ^ one ^ two);
        Ok(())
    }

    /// Sums up the bytes that came.
    fn take(&mut self, body: Raw) -> Result<()> {
        self.sum = self.sum.wrapping_add(body.len() as u64);
        Ok(())
    }

    fn fields(&mut self, body: Body<Fields>) -> Result<()> {
        let Fields { number, amount, ratio, kind, is_open, tag } = body.0;
        let small = amount as u64 ^ ratio as u64 ^ u64::from(kind) ^ u64::from(tag);
        self.sum = self.sum.wrapping_add(number ^ small ^ u64::from(is_open));
        Ok(())
    }

    fn nothing(&mut self) -> Result<()> {
        Ok(())
    }

    fn swallowed(&mut self) -> Result<u64> {
        Ok(self.sum)
    }

    fn answered(&mut self, outcome: Outcome<()>) -> Result<()> {
        self.answered += u64::from(outcome.0.is_ok());
        outcome.0
    }

    fn allocations(&mut self) -> Result<u64> {
        Ok(ALLOCATOR.stats().allocations as u64 + ALLOCATOR.stats().reallocations as u64)
    }

    /// Bytes that were ever allocated.
    fn allocated(&mut self) -> Result<u64> {
        Ok(ALLOCATOR.stats().bytes_allocated as u64)
    }
}

export_subsystem!(Pump, allocator = none);
