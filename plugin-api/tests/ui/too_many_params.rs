// More parameters than the pattern has.
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
    fn add(&mut self, _name: Param<String>, _amount: Param<i64>) -> Result<()> {
        Ok(())
    }
}

export_subsystem!(Plugin);

fn main() {}
