// Events that are listened to without the name of who publishes them.
use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on_event("created/{id}", Self::created)];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
    fn created(&mut self, _id: Param<u64>) -> Result<()> {
        Ok(())
    }
}

export_subsystem!(Plugin);

fn main() {}
