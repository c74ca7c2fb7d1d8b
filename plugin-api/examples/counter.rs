//! Counts by name, tells a key-value store, and keeps its counts across reloads.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;
use std::collections::BTreeMap;

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    values: BTreeMap<String, i64>,
}

impl Subsystem for Counter {
    type Config = ();

    const ROUTES: &'static [Route<Self>] = &[
        on("value/{name}", Self::value).scope("read", "to show a count"),
        on("add/{name}", Self::add).scope("write", "to count"),
        on_reply("stored/{name}", Self::stored),
    ];

    const NEEDS: &'static [Need] = &[need("kv:write", "to keep the counts")];

    fn create((): ()) -> Result<Self> {
        Ok(Self::default())
    }
}

impl Counter {
    fn value(&mut self, name: Param<String>) -> Result<i64> {
        Ok(self.values.get(&name.0).copied().unwrap_or_default())
    }

    fn add(&mut self, ctx: &mut Context, name: Param<String>, amount: Body<i64>) -> Result<i64> {
        let total = self.values.get(&name.0).copied().unwrap_or_default() + amount.0;
        ctx.ask(format!("kv://put/{}", name.0), &total)
            .within("2s")
            .reply_to(format!("stored/{}", name.0))?;
        self.values.insert(name.0, total);
        Ok(total)
    }

    fn stored(
        &mut self,
        ctx: &mut Context,
        name: Param<String>,
        outcome: Outcome<()>,
    ) -> Result<()> {
        if let Err(error) = outcome.0 {
            ctx.log(Level::Warn, format_args!("{} was not stored: {error}", name.0));
        }
        Ok(())
    }
}

export_subsystem!(Counter, state = Self);

#[cfg(test)]
mod tests {
    use super::*;
    use mycelia_testkit::Kit;

    #[test]
    fn it_counts_across_a_reload() {
        let kit = Kit::<Counter>::new("()").unwrap();
        let total: i64 = kit.ask("add/visits", &1).unwrap();
        assert_eq!(total, 1);
        kit.expect_ask("kv://put/visits").answer(&());

        kit.reload().unwrap();
        assert_eq!(kit.ask::<i64>("value/visits", &()).unwrap(), 1);
    }
}
