// A word that the macro does not know.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

export_subsystem!(Plugin, heap = none);

fn main() {}
