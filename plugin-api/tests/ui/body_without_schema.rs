// The type of a body derives too little.
#[derive(serde::Deserialize)]
struct Order;

use mycelia_plugin::prelude::*;

struct Plugin;

impl Subsystem for Plugin {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on("add", Self::add)];
    fn create((): ()) -> Result<Self> {
        Ok(Plugin)
    }
}

impl Plugin {
    fn add(&mut self, _order: Body<Order>) -> Result<()> {
        Ok(())
    }
}

export_subsystem!(Plugin);

fn main() {}
