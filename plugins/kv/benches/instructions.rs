//! What storing and reading take, in instructions: `cargo bench -p mycelia-kv --bench instructions`.

use mycelia_kv::Kv;
use mycelia_plugin::{Raw, Result};
use mycelia_testkit::{Kit, instruction_benches, instructions::Load};

fn put() -> Result<Load> {
    let kit = Kit::<Kv>::new("()")?;
    kit.load(|kit, number| kit.request(&format!("put/{number:04}"), Raw::from(&b"a value"[..])))
}

fn get() -> Result<Load> {
    let kit = Kit::<Kv>::new("()")?;
    for number in 0..100 {
        kit.send(&format!("put/{number:04}"), Raw::from(&b"a value"[..]))?;
    }
    kit.load(|kit, number| kit.request(&format!("get/{:04}", number % 100), Raw::from(&b""[..])))
}

instruction_benches!(get, put);
