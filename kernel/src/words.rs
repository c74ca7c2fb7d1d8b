//! Texts by words of eight bytes: cut out of a path, hashed, compared, and looked up without touching the heap.
//!
//! What is looked up most is shorter than sixteen bytes, where a call to a hasher or to `memcmp` costs more than its work.

/// The lowest bit of every byte.
pub(crate) const LOWS: u64 = u64::MAX / 255;
/// The highest bit of every byte.
pub(crate) const HIGHS: u64 = LOWS << 7;
const WIDTH: usize = size_of::<u64>();

/// A word with one byte all over.
pub(crate) const fn filled(byte: u8) -> u64 {
    LOWS * byte as u64
}

/// The bytes from a place on, the first one lowest, with zeros beyond the end.
#[inline(always)]
pub(crate) fn load(text: &[u8], from: usize) -> u64 {
    let rest = &text[from..];
    match (rest.first_chunk(), text.last_chunk()) {
        (Some(first), _) => u64::from_le_bytes(*first),
        // In two steps, since a shift by all 64 bits is none.
        (None, Some(last)) => u64::from_le_bytes(*last) >> (8 * (WIDTH - 1 - rest.len())) >> 8,
        (None, None) => load_each(rest),
    }
}

#[cold]
fn load_each(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A name or a segment, never empty, in the form in which [`Words`] compares it.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Word<'t> {
    /// Its first bytes, with zeros beyond its end.
    first: u64,
    bytes: &'t [u8],
}

impl<'t> Word<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self::cut(text, text.len())
    }

    /// The first `length` bytes of a text.
    #[inline]
    pub(crate) fn cut(text: &'t str, length: usize) -> Self {
        let unused = 8 * WIDTH.saturating_sub(length) as u32;
        let first = load(text.as_bytes(), 0) & u64::MAX.unbounded_shr(unused);
        Self { first, bytes: &text.as_bytes()[..length] }
    }

    /// What stands from a place to a delimiter, or to the text's end.
    // Always inlined: a word is three registers, and goes through memory otherwise.
    #[inline(always)]
    pub(crate) fn until(text: &'t str, start: usize, delimiter: u8) -> Self {
        let text = text.as_bytes();
        let word = load(text, start);
        let found = zeros(word ^ filled(delimiter));
        if found != 0 {
            let bits = found.trailing_zeros() & !7;
            let end = start + bits as usize / 8;
            return Self { first: word & !(u64::MAX << bits), bytes: &text[start..end] };
        }
        if text.len() - start <= WIDTH {
            return Self { first: word, bytes: &text[start..] };
        }
        Self { first: word, bytes: &text[start..find(text, start + WIDTH, delimiter)] }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn is_short(&self) -> bool {
        self.len() <= WIDTH
    }

    #[inline(always)]
    fn hash(&self, parent: u32) -> usize {
        let content = if self.is_short() { self.first } else { hash(KEYS, 0, self.bytes) };
        let place = u64::from(parent) << 32 | self.len() as u64;
        fold(content ^ KEYS[0], place ^ KEYS[1]) as usize
    }
}

/// The place of a byte at or after another place, or the end.
#[inline(never)]
fn find(text: &[u8], mut from: usize, byte: u8) -> usize {
    while from < text.len() {
        let found = zeros(load(text, from) ^ filled(byte));
        if found != 0 {
            return from + found.trailing_zeros() as usize / 8;
        }
        from += WIDTH;
    }
    text.len()
}

/// The highest bit of the first byte that is zero; those above it mean nothing.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOWS) & !word & HIGHS
}

/// Fixed, for texts that no stranger adds.
const KEYS: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03];

/// Two keys that tell nothing of each other to whom the seed is unknown.
pub(crate) const fn keys(seed: u64) -> [u64; 2] {
    let first = fold(seed ^ KEYS[0], KEYS[1]);
    [first, fold(first ^ KEYS[1], seed ^ KEYS[0])]
}

/// Hashes bytes, and a number beside them, by two keys.
///
/// Where strangers choose the bytes, both keys must be unknown to them: whoever knows the second can make a factor zero.
#[inline]
pub(crate) fn hash(keys: [u64; 2], number: u16, bytes: &[u8]) -> u64 {
    let start = keys[0] ^ (u64::from(number) << 32 | bytes.len() as u64);
    let mix = |state: u64, low: u64, high: u64| fold(low ^ state, high ^ keys[1]);
    let Some(last) = bytes.last_chunk() else {
        return mix(start, load(bytes, 0), load(bytes, bytes.len().saturating_sub(WIDTH)));
    };
    let halves = |chunk: &[u8; 16]| {
        let both = u128::from_le_bytes(*chunk);
        (both as u64, (both >> 64) as u64)
    };
    let mut state = start;
    for chunk in bytes.as_chunks().0 {
        let (low, high) = halves(chunk);
        state = mix(state, low, high);
    }
    // The last sixteen bytes overlap those before, so that none are left over.
    let (low, high) = halves(last);
    mix(state, low, high)
}

/// Both halves of a product, in one word.
#[inline]
const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    product as u64 ^ (product >> 64) as u64
}

/// As `one == other`, without the call that this is.
#[inline]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let (Some(last), Some(other_last)) = (one.last_chunk::<16>(), other.last_chunk::<16>()) else {
        let start = one.len().saturating_sub(WIDTH);
        return load(one, 0) == load(other, 0) && load(one, start) == load(other, start);
    };
    let (chunks, others) = (one.as_chunks::<16>().0, other.as_chunks::<16>().0);
    last == other_last && chunks.iter().zip(others).all(|(chunk, other)| chunk == other)
}

/// From words, each below a parent, to numbers: open addressing in one flat vector, at most half full.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    /// As many as a power of two, or none.
    slots: Vec<Slot>,
    used: usize,
    /// What the slots refer to.
    text: String,
}

#[derive(Copy, Clone, Debug, Default)]
struct Slot {
    /// The first bytes of the word, so that most comparisons are of integers.
    first: u64,
    parent: u32,
    start: u32,
    /// 0 where nothing is.
    length: u32,
    value: u32,
}

impl Words {
    #[inline(always)]
    pub(crate) fn get(&self, parent: u32, word: Word<'_>) -> Option<u32> {
        if word.is_short() {
            return self.find(parent, word, |_| true);
        }
        self.get_long(parent, word.first, word.bytes)
    }

    /// Apart, and by plain arguments, so that short words, which most are, stay in registers.
    #[inline(never)]
    fn get_long(&self, parent: u32, first: u64, bytes: &[u8]) -> Option<u32> {
        self.find(parent, Word { first, bytes }, |slot| same(self.bytes(slot), bytes))
    }

    #[inline(always)]
    fn find(&self, parent: u32, word: Word<'_>, is_it: impl Fn(&Slot) -> bool) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut index = word.hash(parent) & mask;
        loop {
            let slot = self.slots.get(index)?;
            if slot.length == 0 {
                return None;
            }
            let looks_like_it =
                (slot.first, slot.length, slot.parent) == (word.first, word.len() as u32, parent);
            if looks_like_it && is_it(slot) {
                return Some(slot.value);
            }
            index = (index + 1) & mask;
        }
    }

    /// Adds a word that is not there yet.
    pub(crate) fn insert(&mut self, parent: u32, text: &str, value: u32) {
        if 2 * (self.used + 1) > self.slots.len() {
            self.grow();
        }
        self.used += 1;
        let start = self.text.len() as u32;
        self.text.push_str(text);
        let Word { first, .. } = Word::new(text);
        self.place(Slot { first, parent, start, length: text.len() as u32, value });
    }

    fn grow(&mut self) {
        let larger = vec![Slot::default(); (2 * self.slots.len()).max(4)];
        let slots = std::mem::replace(&mut self.slots, larger);
        slots.into_iter().filter(|slot| slot.length > 0).for_each(|slot| self.place(slot));
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let word = Word { first: slot.first, bytes: self.bytes(&slot) };
        let mut index = word.hash(slot.parent) & mask;
        while self.slots[index].length > 0 {
            index = (index + 1) & mask;
        }
        self.slots[index] = slot;
    }

    #[inline]
    fn bytes(&self, slot: &Slot) -> &[u8] {
        let start = slot.start as usize;
        &self.text.as_bytes()[start..start + slot.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of every length up to forty that differ in one place.
    fn alike() -> Vec<String> {
        let text = "abcdefghijklmnopqrstuvwxyz0123456789ABCD";
        let changed = |length: usize, place: usize| {
            let mut bytes = text.as_bytes()[..length].to_vec();
            bytes[place] = b'_';
            String::from_utf8(bytes).unwrap()
        };
        let of_length = |length| (0..length).map(move |place| changed(length, place));
        (1..=text.len()).flat_map(of_length).collect()
    }

    #[test]
    fn every_word_has_its_number_below_its_parent() {
        let texts = alike();
        let mut words = Words::default();
        assert_eq!(words.get(0, Word::new("a")), None);
        for (value, text) in (0..).zip(&texts) {
            words.insert(value % 3, text, value);
        }
        for (value, text) in (0..).zip(&texts) {
            for parent in 0..3 {
                let expect = (parent == value % 3).then_some(value);
                assert_eq!(words.get(parent, Word::new(text)), expect, "{text} below {parent}");
            }
        }
        assert_eq!(words.get(0, Word::new("")), None);
        assert!(words.slots.len() >= 2 * texts.len());
    }

    #[test]
    fn a_word_is_the_same_wherever_it_stands() {
        for word in alike() {
            let texts = [word.clone(), format!("{word}/"), format!("{word}/more/and/more")];
            for before in ["", "x/", "s://xxxxxxxxx/"] {
                for text in &texts {
                    let text = format!("{before}{text}");
                    let found = Word::until(&text, before.len(), b'/');
                    let expect = Word::new(&word);
                    assert_eq!((found.first, found.bytes), (expect.first, expect.bytes), "{text}");
                }
            }
            let cut = Word::cut(&texts[2], word.len());
            assert_eq!((cut.first, cut.bytes), (Word::new(&word).first, word.as_bytes()));
        }
    }

    #[test]
    fn texts_are_told_apart_wherever_they_differ() {
        let texts = alike();
        for one in &texts {
            for other in &texts {
                let (one, other) = (one.as_bytes(), other.as_bytes());
                assert_eq!(same(one, other), one == other);
                assert_eq!(hash([3, 5], 7, one) == hash([3, 5], 7, other), one == other);
            }
        }
        assert_ne!(hash([3, 5], 7, b"a"), hash([3, 5], 8, b"a"));
    }
}
