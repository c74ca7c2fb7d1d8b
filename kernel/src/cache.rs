//! The path cache: from sender and path text to what the table resolved, without parsing or matching again.
//!
//! A path is kept when it is resolved for the second time, so that invented ones, each seen once, leave the good ones where they are.
//! Two entries share a set; a newcomer takes the place of one that was not used since the last newcomer found both in use.
//! Every comparison is of the full text. Refusals are not kept: refusing is bounded work.

use std::ops::RangeInclusive;

use crate::ids::{RouteId, SubsystemId, Version};
use crate::params::{Params, Spans};
use crate::path::MAX_PATH;
use crate::recipient::Resolved;
use crate::refusal::Refusal;
use crate::table::Table;
use crate::words::{hash, keys, same};

/// How large a cache may grow.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct CacheLimits {
    /// The most entries, rounded down to a power of two; fewer than two are none.
    pub entries: usize,
    /// The most bytes, of which at most half are the array of entries and the rest is for long path texts and marks of what was seen.
    pub bytes: usize,
}

/// What a cache answers: its parameters are slices of the path that was asked for.
pub type Hit<'p> = Resolved<'p>;

/// Paths that one worker or outside sender resolved, all against one version of the table.
#[derive(Debug)]
pub struct PathCache {
    sets: Box<[Set]>,
    /// For each set, apart from it so that a path that is not kept touches no entry.
    marks: Box<[Marks]>,
    keys: [u64; 2],
    /// Of the table that every entry was resolved against.
    version: Version,
    /// The most bytes that long texts may take.
    text_limit: usize,
    text_bytes: usize,
    entries: usize,
    /// The entry that is evicted next for its bytes.
    hand: usize,
    hits: u64,
    misses: u64,
}

const WAYS: usize = 2;
/// Paths that a set remembers of those that it did not keep.
const SEEN: usize = 6;

type Set = [Option<Entry>; WAYS];

/// What is told of paths by sixteen bits of their hashes; 0 may also be none.
#[derive(Clone, Debug, Default)]
#[repr(align(16))]
struct Marks {
    kept: [u16; WAYS],
    /// The latest first. They outlive a version of the table: what was seen before it is kept at once after it.
    seen: [u16; SEEN],
}

/// Two cache lines.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    sender: SubsystemId,
    length: u16,
    subsystem: SubsystemId,
    route: RouteId,
    body: u64,
    reply: u64,
    spans: Spans,
    /// Whether it answered since it was last considered for eviction.
    used: bool,
    text: Text,
}

/// What fills an entry up to its two cache lines.
const SHORT: usize = 62;
/// Lengths of paths that are hashed by whole words and compared within an entry.
const USUAL: RangeInclusive<usize> = 8..=SHORT;

#[derive(Debug)]
enum Text {
    Short([u8; SHORT]),
    Long(Box<[u8]>),
}

impl PathCache {
    /// An empty cache; the seed decides which paths share a set, so where strangers choose paths it must be unknown to them.
    pub fn new(limits: CacheLimits, seed: u64) -> Self {
        let most = limits.entries.min(limits.bytes / 2 / size_of::<Set>() * WAYS) / WAYS;
        let count = most.checked_ilog2().map_or(0, |exponent| 1 << exponent);
        let sets: Box<[Set]> = std::iter::repeat_with(Set::default).take(count).collect();
        let marks = vec![Marks::default(); count].into_boxed_slice();
        Self {
            text_limit: limits.bytes - size_of_val(&*sets) - size_of_val(&*marks),
            sets,
            marks,
            keys: keys(seed),
            version: Version::default(),
            text_bytes: 0,
            entries: 0,
            hand: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// Answers from an entry, or asks the table and, the second time, keeps what it answers.
    ///
    /// A hit neither allocates nor parses. A table of another version empties the cache first.
    ///
    /// # Errors
    /// As [`Table::resolve_text`].
    #[inline]
    pub fn resolve<'p>(
        &mut self,
        table: &Table,
        sender: SubsystemId,
        path: &'p str,
    ) -> Result<Hit<'p>, Refusal> {
        if self.version != table.version() || !USUAL.contains(&path.len()) {
            return self.resolve_unusual(table, sender, path);
        }
        self.answer(table, sender, path)
    }

    /// Apart, so that the usual case makes no call that it returns from, and saves no registers.
    #[inline(never)]
    fn resolve_unusual<'p>(
        &mut self,
        table: &Table,
        sender: SubsystemId,
        path: &'p str,
    ) -> Result<Hit<'p>, Refusal> {
        if self.version != table.version() {
            self.clear(table.version());
        }
        self.answer(table, sender, path)
    }

    #[inline(always)]
    fn answer<'p>(
        &mut self,
        table: &Table,
        sender: SubsystemId,
        path: &'p str,
    ) -> Result<Hit<'p>, Refusal> {
        // What is too long to be a path is not read.
        let hash = hash(self.keys, sender.0, &path.as_bytes()[..path.len().min(MAX_PATH)]);
        let set = self.set(hash);
        if let Some(marks) = self.marks.get(set)
            && let Some(way) = marks.way(mark(hash))
            && let Some(Some(entry)) = self.sets.get_mut(set).map(|set| &mut set[way])
            && entry.is_of(sender, path)
        {
            entry.used = true;
            self.hits += 1;
            return Ok(entry.resolved(self.version, path));
        }
        self.miss(table, sender, path, hash)
    }

    /// Beyond the last where there are none.
    #[inline]
    fn set(&self, hash: u64) -> usize {
        hash as usize & self.sets.len().wrapping_sub(1)
    }

    /// The bytes in use: the arrays of entries and marks, used or not, and the texts that are too long for an entry.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.sets) + size_of_val(&*self.marks) + self.text_bytes
    }

    /// How many paths are kept.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether no path is kept.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How often an entry answered.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// How often the table had to be asked, refusals included.
    pub fn misses(&self) -> u64 {
        self.misses
    }

    #[cold]
    fn clear(&mut self, version: Version) {
        self.sets.fill_with(Set::default);
        self.marks.iter_mut().for_each(|marks| marks.kept = [0; WAYS]);
        self.text_bytes = 0;
        self.entries = 0;
        self.version = version;
    }

    #[inline(never)]
    fn miss<'p>(
        &mut self,
        table: &Table,
        sender: SubsystemId,
        path: &'p str,
        hash: u64,
    ) -> Result<Hit<'p>, Refusal> {
        self.misses += 1;
        let resolved = table.resolve_text(sender, path);
        if let Ok(resolved) = &resolved {
            let set = self.set(hash);
            if self.marks.get_mut(set).is_some_and(|marks| marks.see(mark(hash))) {
                self.keep(sender, path, hash, resolved);
            }
        }
        resolved
    }

    #[cold]
    fn keep(&mut self, sender: SubsystemId, path: &str, hash: u64, resolved: &Resolved<'_>) {
        let entry = Entry::new(sender, path, resolved);
        if entry.long() > self.text_limit {
            return;
        }
        let set = hash as usize & (self.sets.len() - 1);
        // A way of the same mark hides behind it any other one.
        let way = self.marks[set].way(mark(hash)).unwrap_or_else(|| spare(&mut self.sets[set]));
        self.evict(set, way);
        while self.text_bytes + entry.long() > self.text_limit {
            self.evict_at_hand();
        }
        self.text_bytes += entry.long();
        self.entries += 1;
        self.sets[set][way] = Some(entry);
        self.marks[set].kept[way] = mark(hash);
    }

    /// Long texts have nearly half of the bytes and at most [`MAX_PATH`] each,
    /// so that where they run out, one entry in some twenty has one: the hand never goes far.
    fn evict_at_hand(&mut self) {
        let hand = self.hand;
        self.hand = (hand + 1) % (self.sets.len() * WAYS);
        let (set, way) = (hand / WAYS, hand % WAYS);
        if self.sets[set][way].as_ref().is_some_and(|entry| entry.long() > 0) {
            self.evict(set, way);
        }
    }

    fn evict(&mut self, set: usize, way: usize) {
        if let Some(entry) = self.sets[set][way].take() {
            self.marks[set].kept[way] = 0;
            self.text_bytes -= entry.long();
            self.entries -= 1;
        }
    }
}

/// Bits of a hash that do not choose the set.
#[inline]
const fn mark(hash: u64) -> u16 {
    (hash >> 48) as u16
}

impl Marks {
    #[inline]
    fn way(&self, mark: u16) -> Option<usize> {
        self.kept.iter().position(|kept| *kept == mark)
    }

    /// Whether a path was seen before, as far as its mark tells; remembers it.
    #[inline]
    fn see(&mut self, mark: u16) -> bool {
        let was_seen = self.seen.contains(&mark);
        self.seen.copy_within(..SEEN - 1, 1);
        self.seen[0] = mark;
        was_seen
    }
}

/// A free way, or else one that was not used of late; where both were, that is forgotten.
fn spare(set: &mut Set) -> usize {
    if let Some(way) = set.iter().position(Option::is_none) {
        return way;
    }
    let unused = set.iter().flatten().position(|entry| !entry.used);
    unused.unwrap_or_else(|| {
        set.iter_mut().flatten().for_each(|entry| entry.used = false);
        0
    })
}

impl Entry {
    fn new(sender: SubsystemId, path: &str, resolved: &Resolved<'_>) -> Self {
        let Resolved { subsystem, route, body, reply, .. } = *resolved;
        Self {
            sender,
            length: path.len() as u16,
            subsystem,
            route,
            body,
            reply,
            spans: resolved.params.spans(),
            used: false,
            text: Text::of(path.as_bytes()),
        }
    }

    /// The bytes of its text that are not in the entry.
    fn long(&self) -> usize {
        match &self.text {
            Text::Short(_) => 0,
            Text::Long(text) => text.len(),
        }
    }

    #[inline]
    fn is_of(&self, sender: SubsystemId, path: &str) -> bool {
        if (self.sender, usize::from(self.length)) != (sender, path.len()) {
            return false;
        }
        match &self.text {
            Text::Short(text) => {
                text.get(..path.len()).is_some_and(|text| same(text, path.as_bytes()))
            }
            Text::Long(text) => path.len() > SHORT && **text == *path.as_bytes(),
        }
    }

    /// `path` is the text that the spans are of.
    #[inline]
    fn resolved<'p>(&self, version: Version, path: &'p str) -> Resolved<'p> {
        let Self { subsystem, route, body, reply, spans, .. } = *self;
        Resolved { subsystem, route, version, params: Params::new(path, spans), body, reply }
    }
}

impl Text {
    fn of(path: &[u8]) -> Self {
        let mut short = [0; SHORT];
        let Some(text) = short.get_mut(..path.len()) else {
            return Self::Long(path.into());
        };
        text.copy_from_slice(path);
        Self::Short(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use crate::scope::Grants;
    use crate::table::{Reach, Route};

    #[test]
    fn an_entry_fills_two_cache_lines() {
        assert_eq!((size_of::<Set>(), align_of::<Set>()), (256, 64));
    }

    fn long_texts(cache: &PathCache) -> Vec<usize> {
        cache.sets.iter().flatten().flatten().map(Entry::long).collect()
    }

    #[test]
    fn the_account_is_that_of_the_entries() {
        let pattern = Pattern::parse("{*rest}").unwrap();
        let route = Route { pattern, scope: None, reach: Reach::Anyone, body: 0, reply: 0 };
        let mut edit = Table::empty().edit();
        edit.subsystem("s", Grants::none(), vec![route]).unwrap();
        let table = edit.finish();
        let limits = CacheLimits { entries: 64, bytes: 16 << 10 };
        let mut cache = PathCache::new(limits, 1);
        for number in 0..2_000_usize {
            let path = format!("s://{number}/{}", "x".repeat(number * 7 % 2000 + 1));
            for _ in 0..2 {
                cache.resolve(&table, SubsystemId::OPERATOR, &path).unwrap();
            }
            let texts = long_texts(&cache);
            let arrays = size_of_val(&*cache.sets) + size_of_val(&*cache.marks);
            assert_eq!(cache.len(), texts.len());
            assert_eq!(cache.bytes(), arrays + texts.iter().sum::<usize>());
            assert!(cache.bytes() <= limits.bytes);
        }
    }
}
