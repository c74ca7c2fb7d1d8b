// A responder that is dropped is a warning, here an error.
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
        self.take(ctx);
        Ok(())
    }

    fn take(&mut self, _: &mut Context) -> Responder<u64> {
        unimplemented!()
    }
}

export_subsystem!(Plugin);

fn main() {}
