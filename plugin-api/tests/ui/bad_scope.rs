// A scope with the name of its subsystem, which only the config knows.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on("add", Self::add).scope("counter:write", "to count")];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
    fn add(&mut self) -> Result<()> {
        Ok(())
    }
}

export_subsystem!(Plugin);

fn main() {}
