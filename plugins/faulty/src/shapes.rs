//! Typed bodies of different schemas.

use mycelia_plugin::prelude::*;

#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Circle {
    pub radius: u64,
}

impl Circle {
    /// Of a circle with a corner at each hour, more or less.
    pub fn area(&self) -> u64 {
        3 * self.radius * self.radius
    }
}

#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Square {
    pub side: u64,
}
