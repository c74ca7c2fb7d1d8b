// A config that cannot be read from RON.
use mycelia_plugin::prelude::*;

struct Plugin;

struct Settings;

impl Subsystem for Plugin {
    type Config = Settings;
    const ROUTES: &'static [Route<Self>] = &[];
    fn create(_: Settings) -> Result<Self> {
        Ok(Plugin)
    }
}

export_subsystem!(Plugin);

fn main() {}
