// A request that is never sent is a warning, here an error.
#![deny(unused_must_use)]

use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on("add", Self::add)];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
    fn add(&mut self, ctx: &mut Context) -> Result<()> {
        ctx.ask("kv://get/total", &1_u8).within("2s");
        Ok(())
    }
}

export_subsystem!(Plugin);

fn main() {}
