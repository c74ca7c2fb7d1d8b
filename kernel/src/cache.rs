//! The path cache: from sender and path text to what the table resolved, without parsing or matching again.
//!
//! Two entries share a set; a newcomer takes the place of the one that was not used last.
//! Every comparison is of the full text. Refusals are not kept: refusing is bounded work, and invented paths shall not push out good ones.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::FixedState;

use crate::ids::{RouteId, SubsystemId, Version};
use crate::params::{Params, Spans};
use crate::path::Path;
use crate::recipient::Resolved;
use crate::refusal::Refusal;
use crate::table::Table;

/// How large a cache may grow.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct CacheLimits {
    /// The most entries, rounded down to a power of two; fewer than two are none.
    pub entries: usize,
    /// The most bytes, of which at most half are the array of entries and the rest is for path texts.
    pub bytes: usize,
}

/// What a cache answers: its parameters are slices of the path that was asked for.
pub type Hit<'p> = Resolved<'p>;

/// Paths that one worker or outside sender resolved, all against one version of the table.
#[derive(Debug)]
pub struct PathCache {
    sets: Box<[Set]>,
    hasher: FixedState,
    /// Of the table that every entry was resolved against.
    version: Version,
    /// The most bytes that path texts may take.
    text_limit: usize,
    text_bytes: usize,
    entries: usize,
    /// The entry that is evicted next for its bytes.
    hand: usize,
    hits: u64,
    misses: u64,
}

const WAYS: usize = 2;

#[derive(Debug, Default)]
struct Set {
    ways: [Option<Entry>; WAYS],
    /// The way that was used last.
    recent: usize,
}

#[derive(Debug)]
struct Entry {
    sender: SubsystemId,
    path: Box<str>,
    subsystem: SubsystemId,
    route: RouteId,
    body: u64,
    reply: u64,
    spans: Spans,
}

impl PathCache {
    /// An empty cache; the seed decides which paths share a set, so where strangers choose paths it must be unknown to them.
    pub fn new(limits: CacheLimits, seed: u64) -> Self {
        let most = limits.entries.min(limits.bytes / 2 / size_of::<Set>() * WAYS) / WAYS;
        let count = most.checked_ilog2().map_or(0, |exponent| 1 << exponent);
        let sets: Box<[Set]> = std::iter::repeat_with(Set::default).take(count).collect();
        Self {
            text_limit: limits.bytes - size_of_val(&*sets),
            sets,
            hasher: FixedState::with_seed(seed),
            version: Version::default(),
            text_bytes: 0,
            entries: 0,
            hand: 0,
            hits: 0,
            misses: 0,
        }
    }

    /// Answers from an entry, or asks the table and keeps what it answers.
    ///
    /// A hit neither allocates nor parses. A table of another version empties the cache first.
    ///
    /// # Errors
    /// As [`Path::parse`] and [`Table::resolve`].
    #[inline]
    pub fn resolve<'p>(
        &mut self,
        table: &Table,
        sender: SubsystemId,
        path: &'p str,
    ) -> Result<Hit<'p>, Refusal> {
        if self.version != table.version() {
            self.clear(table.version());
        }
        let index = self.index(sender, path);
        let version = self.version;
        if let Some(entry) = self.sets.get_mut(index).and_then(|set| set.find(sender, path)) {
            let hit = entry.resolved(version, path);
            self.hits += 1;
            return Ok(hit);
        }
        self.miss(table, sender, path, index)
    }

    /// The bytes in use: the array of entries, used or not, and the texts of the paths in it.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.sets) + self.text_bytes
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

    #[inline]
    fn index(&self, sender: SubsystemId, path: &str) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u16(sender.0);
        hasher.write(path.as_bytes());
        hasher.finish() as usize & self.sets.len().wrapping_sub(1)
    }

    #[cold]
    fn clear(&mut self, version: Version) {
        self.sets.fill_with(Set::default);
        self.text_bytes = 0;
        self.entries = 0;
        self.version = version;
    }

    #[cold]
    fn miss<'p>(
        &mut self,
        table: &Table,
        sender: SubsystemId,
        path: &'p str,
        index: usize,
    ) -> Result<Hit<'p>, Refusal> {
        self.misses += 1;
        let resolved = table.resolve(sender, &Path::parse(path)?)?;
        if index < self.sets.len() && path.len() <= self.text_limit {
            self.keep(index, Entry::new(sender, path, &resolved));
        }
        Ok(resolved)
    }

    fn keep(&mut self, index: usize, entry: Entry) {
        let way = self.sets[index].spare();
        self.evict(index, way);
        while self.text_bytes + entry.path.len() > self.text_limit {
            self.evict_at_hand();
        }
        self.text_bytes += entry.path.len();
        self.entries += 1;
        let set = &mut self.sets[index];
        set.ways[way] = Some(entry);
        set.recent = way;
    }

    /// Texts have at least half of the bytes and at most [`MAX_PATH`](crate::path::MAX_PATH) each,
    /// so that where they run out, one entry in some twenty is in use: the hand never goes far.
    fn evict_at_hand(&mut self) {
        let hand = self.hand;
        self.hand = (hand + 1) % (self.sets.len() * WAYS);
        self.evict(hand / WAYS, hand % WAYS);
    }

    fn evict(&mut self, index: usize, way: usize) {
        if let Some(entry) = self.sets[index].ways[way].take() {
            self.text_bytes -= entry.path.len();
            self.entries -= 1;
        }
    }
}

impl Set {
    #[inline]
    fn find(&mut self, sender: SubsystemId, path: &str) -> Option<&Entry> {
        let is_asked = |way: &Option<Entry>| {
            way.as_ref().is_some_and(|entry| entry.sender == sender && *entry.path == *path)
        };
        let found = self.ways.iter().position(is_asked)?;
        self.recent = found;
        self.ways[found].as_ref()
    }

    /// A free way, or the one that was not used last.
    fn spare(&self) -> usize {
        self.ways.iter().position(Option::is_none).unwrap_or(WAYS - 1 - self.recent)
    }
}

impl Entry {
    fn new(sender: SubsystemId, path: &str, resolved: &Resolved<'_>) -> Self {
        let Resolved { subsystem, route, body, reply, .. } = *resolved;
        Self {
            sender,
            path: path.into(),
            subsystem,
            route,
            body,
            reply,
            spans: resolved.params.spans(),
        }
    }

    /// `path` is the text that the spans are of.
    #[inline]
    fn resolved<'p>(&self, version: Version, path: &'p str) -> Resolved<'p> {
        let Self { subsystem, route, body, reply, spans, .. } = *self;
        Resolved { subsystem, route, version, params: Params::new(path, spans), body, reply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use crate::scope::Grants;
    use crate::table::{Reach, Route};

    fn texts(cache: &PathCache) -> Vec<usize> {
        let entries = cache.sets.iter().flat_map(|set| set.ways.iter().flatten());
        entries.map(|entry| entry.path.len()).collect()
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
            cache.resolve(&table, SubsystemId::OPERATOR, &path).unwrap();
            let texts = texts(&cache);
            assert_eq!(cache.len(), texts.len());
            assert_eq!(cache.bytes(), size_of_val(&*cache.sets) + texts.iter().sum::<usize>());
            assert!(cache.bytes() <= limits.bytes);
        }
    }
}
