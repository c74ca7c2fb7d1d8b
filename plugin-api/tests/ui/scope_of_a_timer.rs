// A scope for what nobody can send to.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[every("10s", "tick", Self::tick).scope("read", "to see it")];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
    fn tick(&mut self) -> Result<()> {
        Ok(())
    }
}

export_subsystem!(Plugin);

fn main() {}
