// A function that is no method of the subsystem.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on("add", add)];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
}

fn add(_name: Param<String>) -> Result<()> {
    Ok(())
}

export_subsystem!(Plugin);

fn main() {}
