//! The host's side of a subsystem's own metrics: numbers by name, in memory that the plugin adds to by itself.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The most names that a subsystem may count under.
const MOST: usize = 64;
/// The most characters of a name.
const LONGEST: usize = 64;

/// Where everything is counted that has no place of its own; no plugin can give this name.
pub const OVERFLOW: &str = "_overflow";

/// The counters of one subsystem. Each is leaked, since a plugin may keep its place for as long as the process lives;
/// there are only so many.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<String, &'static AtomicU64>>);

impl Counters {
    /// Where this name is counted, and once what is wrong with the first name that has no place of its own.
    pub fn get(&self, name: &str) -> (&'static AtomicU64, Option<String>) {
        let mut counters = self.lock();
        if let Some(counter) = counters.get(name).filter(|_| name != OVERFLOW) {
            return (counter, None);
        }
        let refused = refusal(name, &counters);
        let place = if refused.is_some() { OVERFLOW } else { name };
        if let Some(counter) = counters.get(place) {
            return (counter, None);
        }
        let counter: &'static AtomicU64 = Box::leak(Box::default());
        counters.insert(place.to_owned(), counter);
        (counter, refused)
    }

    /// What they have counted so far.
    pub fn values(&self) -> BTreeMap<String, u64> {
        let value = |(name, counter): (&String, &&AtomicU64)| {
            (name.clone(), counter.load(Ordering::Relaxed))
        };
        self.lock().iter().map(value).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, &'static AtomicU64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a name gets no counter of its own.
fn refusal(name: &str, present: &BTreeMap<String, &'static AtomicU64>) -> Option<String> {
    let is_inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
    if !begins || name.len() > LONGEST || !name.bytes().all(is_inner) {
        let shown: String = name.chars().take(LONGEST).collect();
        return Some(format!(
            "`{}` is no name of a counter: write up to {LONGEST} of a-z, 0-9 and _, beginning with a letter; it is \
             counted in `{OVERFLOW}`",
            shown.escape_debug()
        ));
    }
    (present.keys().filter(|name| *name != OVERFLOW).count() >= MOST).then(|| {
        format!("there are {MOST} counters, so that `{name}` is counted in `{OVERFLOW}`; use fewer names")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_places_of_their_own_up_to_a_limit() {
        let counters = Counters::default();
        for number in 0..MOST {
            let (counter, complaint) = counters.get(&format!("n{number}"));
            counter.fetch_add(1 + number as u64, Ordering::Relaxed);
            assert_eq!(complaint, None);
        }
        let (one_too_many, complaint) = counters.get("n64");
        assert!(complaint.unwrap().contains("use fewer names"));
        one_too_many.fetch_add(7, Ordering::Relaxed);
        let (again, complaint) = counters.get("n65");
        assert_eq!((again.as_ptr(), complaint), (one_too_many.as_ptr(), None), "told once");
        let values = counters.values();
        assert_eq!((values.len(), values["n0"], values["n63"]), (MOST + 1, 1, 64));
        assert_eq!(values[OVERFLOW], 7);
        assert_eq!(counters.get("n3").0.load(Ordering::Relaxed), 4, "those there are stay");
    }

    #[test]
    fn what_is_no_name_is_counted_all_the_same() {
        let longest = "a".repeat(LONGEST);
        for name in ["a", "orders_placed", "a_1", &longest] {
            assert_eq!(Counters::default().get(name).1, None, "{name}");
        }
        let longer = "a".repeat(LONGEST + 1);
        for name in ["", "A", "1a", "_a", "a-b", "ä", "a b", OVERFLOW, &longer] {
            let counters = Counters::default();
            let (counter, complaint) = counters.get(name);
            assert!(complaint.unwrap().contains("beginning with a letter"), "{name}");
            counter.fetch_add(2, Ordering::Relaxed);
            assert_eq!(counters.values(), BTreeMap::from([(OVERFLOW.to_owned(), 2)]), "{name}");
        }
    }
}
