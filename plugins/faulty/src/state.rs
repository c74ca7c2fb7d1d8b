//! What outlives a reload.

use crate::{Faulty, Waiting, sequence::Sequences, streams::Feed};
use mycelia_plugin::{Error, Result, State};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
    ser,
};
use std::{collections::BTreeMap, fmt};

/// The state of the subsystem.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub notes: Vec<u64>,
    pub outcomes: Vec<(u64, String)>,
    pub ticks: u64,
    pub later: BTreeMap<u64, Waiting>,
    pub waiting: Vec<Waiting>,
    pub sequences: Sequences,
    pub ballast: Ballast,
    pub feeds: Vec<Feed>,
    pub parts: Vec<String>,
    pub refused: Vec<String>,
}

impl State<Faulty> for Kept {
    fn save(subsystem: &Faulty) -> impl Serialize {
        Saving(subsystem.stamp.happen("save").map(|()| &subsystem.kept))
    }

    fn restore(self, subsystem: &mut Faulty) -> Result<()> {
        subsystem.stamp.happen("restore")?;
        self.ballast.check()?;
        subsystem.kept = self;
        Ok(())
    }
}

/// A state, or why there is none: only the serializer can tell an error.
struct Saving<'a>(Result<&'a Kept>);

impl Serialize for Saving<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(kept) => kept.serialize(serializer),
            Err(error) => Err(ser::Error::custom(error)),
        }
    }
}

/// Bytes that make a state large and show whether it came whole.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Ballast {
    bytes: Bytes,
    checksum: u64,
}

impl Ballast {
    /// The same bytes each time: xorshift.
    pub fn of(length: usize) -> Self {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(length + size_of::<u64>());
        while bytes.len() < length {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes.extend(random.to_le_bytes());
        }
        bytes.truncate(length);
        Ballast { checksum: checksum(&bytes), bytes: Bytes(bytes) }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.0.is_empty()
    }

    fn check(&self) -> Result<()> {
        if self.is_empty() || checksum(&self.bytes.0) == self.checksum {
            return Ok(());
        }
        let length = self.bytes.0.len();
        Err(Error::invalid(format!("the {length} bytes of ballast are not those that were saved")))
    }
}

/// FNV-1a by words of 8 bytes, since byte by byte is slow where nothing is optimized.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x0100_0000_01b3);
    words.chain(rest.iter().map(|byte| u64::from(*byte))).fold(bytes.len() as u64, mix)
}

/// Bytes as such: serde takes a vector of them for a sequence of numbers.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_owned()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use mycelia_plugin::{Export, Subsystem};

    fn faulty() -> Faulty {
        Faulty::create(Settings::default()).unwrap()
    }

    #[test]
    fn changed_ballast_is_noticed() {
        let mut old = faulty();
        old.kept.ballast = Ballast::of(100_001);
        let mut state = Export::save(&old).unwrap();
        assert!((100_001..100_300).contains(&state.len()), "bytes take one byte each");
        let mut new = faulty();
        Export::restore(&mut new, 1, &state).unwrap();
        assert_eq!(new.kept.ballast.bytes.0, old.kept.ballast.bytes.0);
        state[50_000] ^= 1;
        let error = Export::restore(&mut new, 1, &state).unwrap_err();
        assert!(error.text.contains("the 100001 bytes of ballast are not those"), "{error}");
    }
}
