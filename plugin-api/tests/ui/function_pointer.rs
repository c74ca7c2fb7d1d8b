// A handler is an item that the compiler can name, not a value.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on("add", ADD)];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
    fn add(&mut self) -> Result<()> {
        Ok(())
    }
}

const ADD: fn(&mut Plugin) -> Result<()> = Plugin::add;

impl Plugin {
}

export_subsystem!(Plugin);

fn main() {}
