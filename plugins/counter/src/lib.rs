//! Counts by name, kept in the subsystem's own state.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;
use std::collections::BTreeMap;

/// The counts. Being its own state, they outlive a reload, and a fault but for the last seconds, though not the host.
#[derive(Default, Serialize, Deserialize)]
pub struct Counter {
    values: BTreeMap<String, i64>,
}

impl Subsystem for Counter {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("values", Self::values).scope("read", "to list the counts"),
        on("value/{name}", Self::value).scope("read", "to show a count"),
        on("add/{name}", Self::add).scope("write", "to count"),
    ];

    fn create((): ()) -> Result<Self> {
        Ok(Self::default())
    }
}

impl Counter {
    fn values(&mut self) -> Result<BTreeMap<String, i64>> {
        Ok(self.values.clone())
    }

    /// A name that nobody has counted yet stands at 0.
    fn value(&mut self, name: ParamText) -> Result<i64> {
        Ok(self.values.get(&*name).copied().unwrap_or(0))
    }

    /// Answers with the new count.
    fn add(&mut self, name: Param<String>, amount: Body<i64>) -> Result<i64> {
        let value = self.values.entry(name.0).or_default();
        *value = value
            .checked_add(amount.0)
            .ok_or_else(|| Error::conflict("the count would overflow"))?;
        Ok(*value)
    }
}

export_subsystem!(Counter, state = Self);
