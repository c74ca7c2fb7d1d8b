//! Sends and swallows messages, for measurements: one instance pumps into others.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Where to pump.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The path of another instance's `swallow`.
    to: Option<String>,
}

/// Pumps, or swallows.
pub struct Pump {
    to: Recipient,
    sum: u64,
    answered: u64,
}

impl Subsystem for Pump {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] = &[
        on("kept/{count}", Self::kept),
        on("text/{count}", Self::text),
        on("ask/{count}", Self::ask),
        on("swallow", Self::swallow).scope("fill", "to be measured"),
        on("swallowed", Self::swallowed),
        on("allocations", Self::allocations),
        on_reply("answered", Self::answered),
    ];

    fn create(settings: Settings) -> Result<Self> {
        Ok(Pump { to: Recipient::new(settings.to.unwrap_or_default()), sum: 0, answered: 0 })
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

    /// Asks a kept recipient.
    fn ask(&mut self, ctx: &mut Context, count: Param<u64>) -> Result<()> {
        for number in 0..count.0 {
            ctx.ask(&self.to, Pod([number, 1, 2])).reply_to("answered")?;
        }
        Ok(())
    }

    fn swallow(&mut self, body: Pod<[u64; 3]>) -> Result<()> {
        let [number, one, two] = body.0;
        self.sum = self.sum.wrapping_add(number ^ one ^ two);
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
}

export_subsystem!(Pump, allocator = none);
