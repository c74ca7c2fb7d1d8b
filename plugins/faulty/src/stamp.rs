//! What this build does wrong, as words in the library's own bytes: another build is made by writing other words there.
//!
//! The text is `good N`, where N is the build's number, and then any of the words that [`Word::parse`] takes.
//! They hold for every instance whatever its config, so that two generations differ under one config.

use crate::{end::end, leftovers};
use mycelia_plugin::{Error, Result};
use std::{
    hint::black_box,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const MARKER: &str = "MYCELIA-FAULTY-BUILD:";
/// Where the text begins. A constant, since code that measures the marker has a second copy of it in the library.
const TEXT: usize = MARKER.len();

/// `mycelia-faulty-builds` knows the marker and this length, and writes over what follows the marker.
static STAMP: [u8; 96] = stamp("good 1");

const fn stamp<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [b' '; N];
    let (marker, rest) = bytes.split_at_mut(TEXT);
    marker.copy_from_slice(MARKER.as_bytes());
    rest.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
    bytes
}

/// The calls of a subsystem's life in which something may go wrong.
const PLACES: &[&str] = &["create", "restore", "start", "save", "stop", "drop"];

/// The build's faults, as one instance is to have them.
pub(crate) struct Stamp {
    text: &'static str,
    words: Vec<Word>,
    /// The file that ends whatever hangs.
    release: Option<PathBuf>,
    handled: u64,
}

enum Word {
    /// The message of this number panics; each instance counts from 1.
    PanicAt(u64),
    At(&'static str, Fault),
    Leak(usize),
    Threads(usize),
    Stray,
    Stranger,
    Tls,
}

enum Fault {
    Panic,
    Fail,
    Abort,
    Hang,
    Slow(Duration),
}

impl Stamp {
    /// # Errors
    /// The text has a word that is none.
    pub fn read(release: Option<PathBuf>) -> Result<Self> {
        // Behind a black box, since the compiler knows the bytes of the static and would read none.
        let text = str::from_utf8(&black_box(&STAMP)[TEXT..])?.trim_end();
        let mut words = text.split(' ');
        let (good, number) = (words.next(), words.next().map(str::parse::<u64>));
        if !matches!((good, number), (Some("good"), Some(Ok(_)))) {
            return Err(Error::failed(format!("the stamp `{text}` does not begin with `good N`")));
        }
        let unknown = |word| Error::failed(format!("the stamp `{text}` has no word `{word}`"));
        let words = words.map(|word| Word::parse(word).ok_or_else(|| unknown(word)));
        Ok(Stamp { text, words: words.collect::<Result<_>>()?, release, handled: 0 })
    }

    pub fn text(&self) -> &'static str {
        self.text
    }

    /// Does what goes wrong in this call, one of [`PLACES`].
    pub fn happen(&self, place: &str) -> Result<()> {
        for word in &self.words {
            match word {
                Word::At(at, fault) if *at == place => fault.happen(place, self.release())?,
                Word::Leak(bytes) if place == "create" => leftovers::leak(*bytes),
                Word::Stray if place == "start" => leftovers::stray(self.release.clone()),
                Word::Tls => leftovers::touch(),
                _ => {}
            }
        }
        Ok(())
    }

    /// One of the messages that count has come: `note`, `sequence`, `count`, `keep`, `later`, `length`, `burst` or `ask`.
    /// Questions, ticks and outcomes do not count, so that a test may look on without setting anything off.
    pub fn arrive(&mut self) {
        self.handled += 1;
        for word in &self.words {
            match word {
                Word::PanicAt(number) if *number == self.handled => {
                    panic!("message {number} panics as this build was told to")
                }
                Word::Tls => leftovers::touch(),
                _ => {}
            }
        }
    }

    /// How many threads a start begins.
    pub fn threads(&self) -> usize {
        let counts =
            self.words.iter().map(|word| if let Word::Threads(count) = word { *count } else { 0 });
        counts.sum()
    }

    /// Whether a start sends to a subsystem of which no need is declared.
    pub fn sends_to_a_stranger(&self) -> bool {
        self.words.iter().any(|word| matches!(word, Word::Stranger))
    }

    fn release(&self) -> Option<&Path> {
        self.release.as_deref()
    }
}

impl Word {
    fn parse(word: &'static str) -> Option<Word> {
        let parts: Vec<&str> = word.split(':').collect();
        Some(match parts[..] {
            ["panic_first"] => Word::PanicAt(1),
            ["panic_at", number] => Word::PanicAt(number.parse().ok()?),
            ["refuse_state"] => Word::At("restore", Fault::Fail),
            ["panic", place] => Word::At(known(place)?, Fault::Panic),
            // A drop cannot tell an error.
            ["fail", place] if place != "drop" => Word::At(known(place)?, Fault::Fail),
            ["abort", place] => Word::At(known(place)?, Fault::Abort),
            ["hang", place] => Word::At(known(place)?, Fault::Hang),
            ["slow", place, millis] => {
                let time = Duration::from_millis(millis.parse().ok()?);
                Word::At(known(place)?, Fault::Slow(time))
            }
            ["leak", bytes] => Word::Leak(bytes.parse().ok()?),
            ["threads", count] => Word::Threads(count.parse().ok()?),
            ["stray"] => Word::Stray,
            ["stranger"] => Word::Stranger,
            ["tls"] => Word::Tls,
            _ => return None,
        })
    }
}

fn known(place: &str) -> Option<&'static str> {
    PLACES.iter().find(|known| **known == place).copied()
}

impl Fault {
    fn happen(&self, place: &str, release: Option<&Path>) -> Result<()> {
        match self {
            Fault::Panic => panic!("`{place}` panics as this build was told to"),
            Fault::Fail => {
                return Err(Error::failed(format!("`{place}` fails as this build was told to")));
            }
            Fault::Abort => return end("abort"),
            Fault::Hang => hang(release),
            Fault::Slow(time) => thread::sleep(*time),
        }
        Ok(())
    }
}

/// Returns when the file is there; without one never.
pub(crate) fn hang(release: Option<&Path>) {
    while !release.is_some_and(Path::exists) {
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_or_refused() {
        for (word, is_known) in [
            ("panic_first", true),
            ("panic_at:7", true),
            ("panic_at:x", false),
            ("refuse_state", true),
            ("panic:drop", true),
            ("fail:save", true),
            ("fail:drop", false),
            ("abort:save", true),
            ("hang:handle", false),
            ("slow:stop:20", true),
            ("slow:stop", false),
            ("leak:100", true),
            ("threads:2", true),
            ("stray", true),
            ("stranger", true),
            ("tls", true),
            ("good", false),
            ("", false),
        ] {
            assert_eq!(Word::parse(word).is_some(), is_known, "{word}");
        }
    }

    #[test]
    fn this_build_is_good() {
        let stamp = Stamp::read(None).unwrap();
        assert_eq!((stamp.text(), stamp.words.len()), ("good 1", 0));
    }
}
