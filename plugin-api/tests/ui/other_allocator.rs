// An allocator that the macro does not make.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

export_subsystem!(Plugin, allocator = jemalloc);

fn main() {}
