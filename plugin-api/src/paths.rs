//! The paths that an instance sends to, as they were resolved: the cache in front of the host's.

use crate::{
    Result,
    abi::{
        PathKind,
        call::{Kept, Turn},
    },
    recipient::Site,
};

/// What one instance keeps of paths that were given as text.
pub(crate) struct Paths {
    /// What they are paths of.
    kind: PathKind,
    /// By hash, one a place; made at the first text.
    places: Option<Box<[Place; PLACES]>>,
    /// By the number of the site; 0 is none.
    sites: Vec<Kept>,
    /// A path that is not kept.
    once: Option<Kept>,
}

/// A power of two: what an instance sends to as text is a few paths, or too many to keep.
const PLACES: usize = 128;
/// Longer paths are not kept.
const LONGEST: usize = 256;

#[derive(Default)]
struct Place {
    path: String,
    /// The hash of the last path that was asked for in vain: at its second time it is kept, so that paths which come once,
    /// as strangers invent them, push nothing out.
    candidate: u64,
    kept: Option<Kept>,
}

impl Paths {
    /// None yet.
    pub fn new(kind: PathKind) -> Paths {
        Paths { kind, places: None, sites: Vec::new(), once: None }
    }

    /// What was kept of a path.
    #[inline(always)]
    pub fn find(&self, path: &str) -> Option<&Kept> {
        let place = &self.places.as_ref()?[place_of(hash(path.as_bytes()))];
        place.kept.as_ref().filter(|_| place.path == path)
    }

    /// What was kept of the site with this number.
    #[inline(always)]
    pub fn site(&self, number: u32) -> Option<&Kept> {
        self.sites.get(number as usize)
    }

    /// A path as the host resolves it, which is kept if it is not the first time.
    pub fn resolve(&mut self, turn: &mut Turn, path: &str) -> Result<&Kept> {
        let hash = hash(path.as_bytes());
        let place = &mut self.places.get_or_insert_with(no_places)[place_of(hash)];
        if place.path == path {
            let kept = place.kept.get_or_insert_with(Kept::unresolved);
            if !kept.is_current(turn) {
                turn.resolve(path, self.kind, kept)?;
            }
            return Ok(kept);
        }
        // Resolved apart, so that a path that is refused pushes nothing out.
        let once = self.once.take().unwrap_or_else(Kept::unresolved);
        let resolved = turn.resolve(path, self.kind, &once);
        if resolved.is_err() || place.candidate != hash || path.len() > LONGEST {
            place.candidate = hash;
            let once = self.once.insert(once);
            return resolved.map(|()| &*once);
        }
        place.path.clear();
        place.path.push_str(path);
        Ok(place.kept.insert(once))
    }

    /// A site, resolved and kept.
    pub fn resolve_site(&mut self, turn: &mut Turn, site: &Site) -> Result<&Kept> {
        let number = site.number() as usize;
        if number >= self.sites.len() {
            self.sites.resize_with(number + 1, Kept::unresolved);
        }
        let kept = &self.sites[number];
        if !kept.is_current(turn) {
            turn.resolve(crate::Address::path(site), PathKind::Whole, kept)?;
        }
        Ok(kept)
    }
}

fn no_places() -> Box<[Place; PLACES]> {
    Box::new(std::array::from_fn(|_| Place::default()))
}

#[inline(always)]
fn place_of(hash: u64) -> usize {
    (hash >> 57) as usize
}

/// Eight bytes at a time. What collides is looked up by the host instead, so nothing is won by making it so.
// Always inlined, so that the hash of a constant path is constant.
#[inline(always)]
fn hash(path: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: [u8; 8]| {
        let mixed = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MIX);
        mixed ^ mixed >> 32
    };
    let (words, rest) = path.as_chunks::<8>();
    let hash = words.iter().fold(path.len() as u64, |hash, &word| mix(hash, word));
    let last = match path.last_chunk::<8>() {
        Some(last) => *last,
        None => {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            last
        }
    };
    mix(hash, last).wrapping_mul(MIX)
}
