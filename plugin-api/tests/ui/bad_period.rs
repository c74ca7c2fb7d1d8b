// A period that is no duration.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[every("10 seconds", "tick", Self::tick)];
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
