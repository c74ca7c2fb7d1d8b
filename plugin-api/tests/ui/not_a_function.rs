// Not a function at all.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on("add", ADD)];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
}

const AMOUNT: &u64 = &1;
const ADD: Adding = Adding(AMOUNT);

#[derive(Clone, Copy)]
struct Adding(&'static u64);

impl Plugin {
}

export_subsystem!(Plugin);

fn main() {}
