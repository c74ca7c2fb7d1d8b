//! What counting takes, in instructions: `cargo bench -p mycelia-counter --bench instructions`.

use mycelia_counter::Counter;

use mycelia_plugin::Result;
use mycelia_testkit::{Kit, instruction_benches, instructions::Load};

fn add() -> Result<Load> {
    Kit::<Counter>::new("()")?.load(|kit, _| kit.request("add/apples", &1_i64))
}

fn value() -> Result<Load> {
    let kit = Kit::<Counter>::new("()")?;
    kit.send("add/apples", &1_i64)?;
    kit.load(|kit, _| kit.request("value/apples", ""))
}

instruction_benches!(add, value);
