// An argument that is no extractor.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on("add/{name}", Self::add)];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
    fn add(&mut self, _name: String) -> Result<()> {
        Ok(())
    }
}

export_subsystem!(Plugin);

fn main() {}
