// A body that is not borrowed.
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
        ctx.send("kv://put/total", vec![1_u8])
    }
}

export_subsystem!(Plugin);

fn main() {}
