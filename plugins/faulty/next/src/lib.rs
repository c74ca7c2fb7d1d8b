//! A successor of `mycelia-faulty` with other routes and another state, for the host's tests. A plugin of its own, since
//! routes and the schema of the state are constants of a build.
//!
//! Of the routes it has `note` and `noted`, and `largest` is new; it takes over the notes and no waiting request.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;

/// The `config` of the RON file: it takes that of `mycelia-faulty` and reads nothing of it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Settings {}

/// The subsystem.
#[derive(Default)]
pub struct Next {
    kept: Kept,
}

/// The state in its second form.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    numbers: Vec<u64>,
    largest: Option<u64>,
}

/// What is read of the first form.
#[derive(Default, Deserialize)]
#[serde(default)]
struct First {
    notes: Vec<u64>,
}

impl State<Next> for Kept {
    const SCHEMA: u32 = 2;

    fn save(subsystem: &Next) -> impl Serialize {
        &subsystem.kept
    }

    fn restore(self, subsystem: &mut Next) -> Result<()> {
        subsystem.kept = self;
        Ok(())
    }

    fn migrate(from: u32, old: Saved<'_>) -> Result<Self> {
        match from {
            1 => Ok(from_first(old.read()?)),
            _ => Err(Error::invalid(format!("there is no way from the schema {from} to 2"))),
        }
    }
}

fn from_first(first: First) -> Kept {
    Kept { largest: first.notes.iter().copied().max(), numbers: first.notes }
}

impl Subsystem for Next {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] =
        &[on("note/{number}", Self::note), on("noted", Self::noted), on("largest", Self::largest)];

    fn create(_: Settings) -> Result<Self> {
        Ok(Next::default())
    }
}

impl Next {
    fn note(&mut self, number: Param<u64>) -> Result<u64> {
        self.kept.numbers.push(number.0);
        self.kept.largest = self.kept.largest.max(Some(number.0));
        Ok(number.0)
    }

    fn noted(&mut self) -> Result<Vec<u64>> {
        Ok(self.kept.numbers.clone())
    }

    fn largest(&mut self) -> Result<Option<u64>> {
        Ok(self.kept.largest)
    }
}

export_subsystem!(Next, state = Kept);

#[cfg(test)]
mod tests {
    use super::*;
    use mycelia_plugin::{ErrorCode, Export};

    /// `{"ticks": 3, "notes": [1, 9, 2]}` in MessagePack.
    const FIRST: &[u8] = b"\x82\xa5ticks\x03\xa5notes\x93\x01\x09\x02";

    #[test]
    fn the_first_form_is_migrated() {
        let mut next = Next::create(Settings {}).unwrap();
        Export::restore(&mut next, 1, FIRST).unwrap();
        assert_eq!((next.noted().unwrap(), next.largest().unwrap()), (vec![1, 9, 2], Some(9)));
        let saved = Export::save(&next).unwrap();
        let mut again = Next::create(Settings {}).unwrap();
        Export::restore(&mut again, 2, &saved).unwrap();
        assert_eq!((again.kept.numbers, again.kept.largest), (vec![1, 9, 2], Some(9)));
    }

    #[test]
    fn other_forms_are_refused() {
        let mut next = Next::create(Settings {}).unwrap();
        for (schema, state) in [(3, FIRST), (2, FIRST), (1, &b"\x93\x01"[..])] {
            let error = Export::restore(&mut next, schema, state).unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid, "{schema}");
        }
    }
}
