// A reply that cannot be encoded.
struct Receipt;

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
    fn add(&mut self) -> Result<Receipt> {
        Ok(Receipt)
    }
}

export_subsystem!(Plugin);

fn main() {}
