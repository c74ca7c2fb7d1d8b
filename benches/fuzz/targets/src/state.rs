//! A saved state, of this schema or of another: the first byte is its number.

use mycelia_plugin::{prelude::*, restore_state, save_state};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq)]
struct Counter(Now);

/// What is saved today.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Now {
    counts: BTreeMap<String, i64>,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    seen: Vec<(u8, char)>,
}

/// What the first schema had.
#[derive(Deserialize)]
struct Before {
    counts: Vec<(String, i64)>,
}

impl State<Counter> for Now {
    const SCHEMA: u32 = 2;

    fn save(counter: &Counter) -> impl Serialize {
        &counter.0
    }

    fn restore(self, counter: &mut Counter) -> Result<()> {
        counter.0 = self;
        Ok(())
    }

    fn migrate(from: u32, old: Saved<'_>) -> Result<Self> {
        match from {
            1 => {
                let counts = old.read::<Before>()?.counts.into_iter().collect();
                Ok(Now { counts, ..Now::default() })
            }
            _ => Err(Error::invalid("nobody saved that")),
        }
    }
}

/// What was restored must be the same once it was saved and restored again.
pub fn one(data: &[u8]) -> bool {
    let Some((schema, state)) = data.split_first() else { return false };
    let mut counter = Counter::default();
    let restored = restore_state::<Counter, Now>(&mut counter, u32::from(*schema), state);
    if restored.is_err() {
        assert_eq!(counter, Counter::default(), "a state that is refused changes nothing");
        return false;
    }
    let saved = save_state::<Counter, Now>(&counter).expect("it has no map with keys of its own");
    let mut again = Counter::default();
    restore_state::<Counter, Now>(&mut again, Now::SCHEMA, &saved).expect("it was just saved");
    assert_eq!(again, counter);
    true
}
