//! Other builds of `mycelia-faulty`, good and bad, made from the bytes of its one library: hot reload is tested with many
//! builds and cargo runs once. No plugin itself, and for tests only.
//!
//! All functions are pure and take a 64-bit little-endian ELF library; one that lacks what is to be changed makes them panic.
#![forbid(unsafe_code)]

use object::{
    LittleEndian as LE,
    elf::{self, Dyn64, FileHeader64, Rela64, SectionHeader64},
    read::elf::{FileHeader, SectionHeader, SectionTable, Sym},
};
use std::ops::Range;

/// What the stamp of a library begins with.
const MARKER: &str = "MYCELIA-FAULTY-BUILD:";
/// Bytes of a stamp, with its marker.
const STAMP: usize = 96;
/// The first line of a manifest, up to the major version of the ABI.
const MANIFEST: &str = "mycelia-manifest\t";

/// The library with another stamp: `good 2 panic_first`.
///
/// # Panics
/// If the marker is not there exactly once, or the text is longer than 75 bytes.
pub fn stamped(library: &[u8], text: &str) -> Vec<u8> {
    let [marker] = places(library, ".rodata", MARKER)[..] else {
        panic!("the library has one stamp")
    };
    let mut bytes = library.to_owned();
    let room = &mut bytes[marker..][..STAMP][MARKER.len()..];
    assert!(text.len() <= room.len(), "the stamp `{text}` is longer than {} bytes", room.len());
    room.fill(b' ');
    room[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// The first `length` bytes, as of a library that is still being written.
pub fn truncated(library: &[u8], length: usize) -> Vec<u8> {
    library[..length].to_owned()
}

/// The library with one byte changed; the seed decides which, and which of its bits.
pub fn flipped(library: &[u8], seed: u64) -> Vec<u8> {
    let random = mix(seed);
    let place = random % library.len() as u64;
    let bits = (random >> 56) as u8;
    let mut bytes = library.to_owned();
    bytes[place as usize] ^= bits.max(1);
    bytes
}

/// The library cut off somewhere, or with a byte changed anywhere, or with up to eight changed where loaders look before they
/// run anything; the seed decides how and where.
pub fn damaged(library: &[u8], seed: u64) -> Vec<u8> {
    let random = mix(seed);
    let changes = match random % 4 {
        0 => return truncated(library, (mix(random) % library.len() as u64) as usize),
        1 => return flipped(library, random),
        2 => 1,
        _ => 1 + (random >> 8) % 8,
    };
    let mut bytes = library.to_owned();
    let looked_at = Elf::parse(library).looked_at();
    for change in 0..changes {
        let random = mix(random ^ (change + 1));
        let range = &looked_at[random as usize % looked_at.len()];
        let byte = &mut bytes[range.start + mix(random) as usize % range.len()];
        *byte = match random >> 61 {
            0 => 0,
            1 => 0xff,
            bit => *byte ^ (1 << bit),
        };
    }
    bytes
}

/// SplitMix64: neighbouring seeds give unrelated numbers.
fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The manifest tells of another major version of the ABI.
pub fn other_abi(library: &[u8]) -> Vec<u8> {
    let [manifest] = places(library, ".mycelia", MANIFEST)[..] else {
        panic!("the library has one manifest")
    };
    let mut bytes = library.to_owned();
    let major = &mut bytes[manifest + MANIFEST.len()];
    *major = if *major == b'9' { b'8' } else { b'9' };
    bytes
}

/// A field of the root module has another name in the layout that the loader compares.
pub fn other_layout(library: &[u8]) -> Vec<u8> {
    replaced(library, ".rodata", "abilities", "abilitieS")
}

/// The manifest says that panics abort.
pub fn panicking_abort(library: &[u8]) -> Vec<u8> {
    replaced(library, ".mycelia", "panic\tunwind", "panic\tabort\0")
}

/// Loading the library calls `std::process::abort`.
///
/// # Panics
/// Also if the library has no symbols, or its linker packed its relocations into `.relr.dyn`.
pub fn aborting_constructor(library: &[u8]) -> Vec<u8> {
    with_constructor(library, "abort")
}

/// Loading the library calls `std::process::exit`, with how many arguments the process has as its code.
///
/// # Panics
/// As for [`aborting_constructor`].
pub fn exiting_constructor(library: &[u8]) -> Vec<u8> {
    with_constructor(library, "exit")
}

/// The last constructor is this function of `std::process`. Its address is the addend of a relocation, which the loader of
/// the system writes into the table of constructors.
fn with_constructor(library: &[u8], function: &str) -> Vec<u8> {
    let elf = Elf::parse(library);
    let constructors = elf.section(".init_array");
    let start = constructors.sh_addr.get(LE);
    let addresses = start..start + constructors.sh_size.get(LE);
    let (place, relocations) = elf.array::<Rela64<LE>>(".rela.dyn");
    let is_constructor =
        |entry: &Rela64<LE>| addresses.contains(&entry.r_offset.get(LE)) && is_relative(entry);
    let index = relocations
        .iter()
        .rposition(is_constructor)
        .expect("a relocation in .rela.dyn, not in .relr.dyn, gives the address of a constructor");
    // The addend is the last of three words.
    let addend = place + index * size_of::<Rela64<LE>>() + 16;
    with_word(library, addend, elf.address_of(function))
}

/// Whether it adds the library's own address to the addend, and not a symbol's.
fn is_relative(relocation: &Rela64<LE>) -> bool {
    relocation.r_info.get(LE) >> 32 == 0
}

/// The library is never unmapped once it was loaded: it has the flag `NODELETE`.
///
/// # Panics
/// If it has no flags of this kind at all; rustc links with `-z now`, which is one.
pub fn nodelete(library: &[u8]) -> Vec<u8> {
    let (place, entries) = Elf::parse(library).array::<Dyn64<LE>>(".dynamic");
    let index = entries
        .iter()
        .position(|entry| entry.d_tag.get(LE) == elf::DT_FLAGS_1)
        .expect("the library has DT_FLAGS_1");
    let flags = entries[index].d_val.get(LE) | elf::DF_1_NODELETE.0;
    // The value is the second of two words.
    with_word(library, place + index * size_of::<Dyn64<LE>>() + 8, flags)
}

/// Where the text begins in the file, within this section: most of a library is debug information.
fn places(library: &[u8], section: &str, text: &str) -> Vec<usize> {
    let (start, bytes) = Elf::parse(library).array::<u8>(section);
    let windows = bytes.windows(text.len()).enumerate();
    let found = windows.filter(|(_, window)| *window == text.as_bytes());
    found.map(|(place, _)| start + place).collect()
}

/// What reads `old` in this section reads `new`, which is as long.
fn replaced(library: &[u8], section: &str, old: &str, new: &str) -> Vec<u8> {
    let places = places(library, section, old);
    assert!(!places.is_empty(), "`{old}` is in the library");
    let mut bytes = library.to_owned();
    for place in places {
        bytes[place..][..old.len()].copy_from_slice(new.as_bytes());
    }
    bytes
}

fn with_word(library: &[u8], place: usize, word: u64) -> Vec<u8> {
    let mut bytes = library.to_owned();
    bytes[place..][..size_of::<u64>()].copy_from_slice(&word.to_le_bytes());
    bytes
}

struct Elf<'l> {
    library: &'l [u8],
    sections: SectionTable<'l, FileHeader64<LE>>,
}

impl<'l> Elf<'l> {
    fn parse(library: &'l [u8]) -> Self {
        let header = FileHeader64::<LE>::parse(library).expect("the library is 64-bit ELF");
        let sections = header.sections(LE, library).expect("the library is complete");
        Elf { library, sections }
    }

    fn section(&self, name: &str) -> &'l SectionHeader64<LE> {
        let found = self.sections.section_by_name(LE, name.as_bytes());
        found.unwrap_or_else(|| panic!("the library has no section {name}")).1
    }

    /// Where the file has its headers, and what is mapped and not executed; none is empty.
    fn looked_at(&self) -> Vec<Range<usize>> {
        let flags = |section: &SectionHeader64<LE>| section.sh_flags(LE).0;
        let is_data = |section: &&SectionHeader64<LE>| {
            flags(section) & elf::SHF_ALLOC.0 != 0 && flags(section) & elf::SHF_EXECINSTR.0 == 0
        };
        let header = FileHeader64::<LE>::parse(self.library).expect("it was parsed before");
        let segments = size_of::<elf::ProgramHeader64<LE>>() * header.e_phnum.get(LE) as usize;
        let table = header.e_shoff.get(LE) as usize;
        let sections = table..table + size_of::<SectionHeader64<LE>>() * self.sections.len();
        let data = self.sections.iter().filter(is_data).filter_map(|data| data.file_range(LE));
        let data = data.map(|(start, size)| start as usize..(start + size) as usize);
        let headers = size_of::<FileHeader64<LE>>();
        let all = [0..headers, headers..headers + segments, sections].into_iter().chain(data);
        all.filter(|range| !range.is_empty()).collect()
    }

    /// Where the section begins in the file, and what is in it.
    fn array<T: object::Pod>(&self, name: &str) -> (usize, &'l [T]) {
        let section = self.section(name);
        let entries = section.data_as_array(LE, self.library);
        let start = section.sh_offset.get(LE) as usize;
        (start, entries.unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    /// The address of a function of `std::process`, within the library.
    fn address_of(&self, function: &str) -> u64 {
        // Both of rustc's manglings have the path in this form.
        let wanted = format!("3std7process{}{function}", function.len());
        let symbols = self.sections.symbols(LE, self.library, elf::SHT_SYMTAB);
        let symbols = symbols.expect("the library's symbols are whole");
        let is_wanted = |name: &[u8]| name.windows(wanted.len()).any(|it| it == wanted.as_bytes());
        let found = symbols.iter().find(|symbol| {
            !symbol.is_undefined(LE) && symbols.symbol_name(LE, symbol).is_ok_and(is_wanted)
        });
        found.unwrap_or_else(|| panic!("the library has no std::process::{function}")).st_value(LE)
    }
}

#[cfg(test)]
mod tests;
