// The context comes first.
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
    fn add(&mut self, _name: Param<String>, _ctx: &mut Context) -> Result<()> {
        Ok(())
    }
}

export_subsystem!(Plugin);

fn main() {}
