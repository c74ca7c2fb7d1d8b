//! Each build differs from the real library in what it says, and in nothing else.

use super::*;
use std::{collections::BTreeSet, fs};

/// The library that cargo leaves beside the test's own executable.
fn library() -> Vec<u8> {
    let own = std::env::current_exe().unwrap();
    let path = own.with_file_name("libmycelia_faulty.so");
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The places of the bytes that differ; pages that are equal are skipped as a whole.
fn changes(one: &[u8], other: &[u8]) -> Vec<usize> {
    assert_eq!(one.len(), other.len());
    let pages = one.chunks(4096).zip(other.chunks(4096)).enumerate();
    let places = pages.filter(|(_, (one, other))| one != other).flat_map(|(page, (one, other))| {
        let differ = (0..one.len()).filter(|place| one[*place] != other[*place]);
        differ.map(|place| page * 4096 + place).collect::<Vec<_>>()
    });
    places.collect()
}

fn section<'l>(library: &'l [u8], name: &str) -> &'l [u8] {
    Elf::parse(library).section(name).data(LE, library).unwrap()
}

fn manifest(library: &[u8]) -> &str {
    std::str::from_utf8(section(library, ".mycelia")).unwrap()
}

fn has(library: &[u8], section: &str, text: &str) -> bool {
    !places(library, section, text).is_empty()
}

#[test]
fn a_stamp_is_written_over_another() {
    let library = library();
    assert_eq!(stamped(&library, "good 1"), library, "which is what cargo builds");
    let second = stamped(&library, "good 2 panic_first leak:100");
    let places = changes(&library, &second);
    assert!(!places.is_empty() && places[places.len() - 1] - places[0] < STAMP);
    assert!(has(&second, ".rodata", "MYCELIA-FAULTY-BUILD:good 2 panic_first leak:100  "));
    assert_eq!(stamped(&second, "good 3"), stamped(&library, "good 3"));
    assert_eq!(stamped(&second, "good 1"), library);
    stamped(&library, &"x".repeat(75));
}

#[test]
#[should_panic(expected = "is longer than 75 bytes")]
fn a_stamp_has_an_end() {
    stamped(&library(), &"x".repeat(76));
}

#[test]
#[should_panic(expected = "the library has one stamp")]
fn another_library_has_no_stamp() {
    let library = library();
    let [marker] = places(&library, ".rodata", MARKER)[..] else { panic!("one stamp") };
    stamped(&with_word(&library, marker, 0), "good 2");
}

#[test]
fn a_truncation_is_a_beginning() {
    let library = library();
    assert_eq!(truncated(&library, 1000), library[..1000]);
}

#[test]
fn a_seed_flips_one_byte() {
    let library = library();
    let places = (0..100).map(|seed| {
        let flipped = flipped(&library, seed);
        let [place] = changes(&library, &flipped)[..] else { panic!("{seed}: one byte") };
        place
    });
    let places: BTreeSet<usize> = places.collect();
    assert!(places.len() > 90, "{} places", places.len());
    assert_eq!(flipped(&library, 7), flipped(&library, 7));
}

#[test]
fn the_manifest_tells_of_another_abi() {
    let library = library();
    let major = |library: &[u8]| manifest(library).split('\t').nth(1).unwrap().parse::<u16>();
    let other = other_abi(&library);
    assert_ne!(major(&other).unwrap(), major(&library).unwrap());
    assert_eq!(changes(&library, &other).len(), 1);
}

#[test]
fn the_manifest_says_that_panics_abort() {
    let library = library();
    let other = panicking_abort(&library);
    assert!(has(&library, ".mycelia", "\npanic\tunwind\n"));
    assert!(manifest(&other).lines().any(|line| line == "panic\tabort\0"));
    assert!(changes(&library, &other).len() <= "unwind".len());
}

#[test]
fn the_layout_has_a_field_of_another_name() {
    let library = library();
    let other = other_layout(&library);
    assert!(!has(&other, ".rodata", "abilities"));
    assert!(has(&other, ".rodata", "abilitieS"));
    assert_eq!(changes(&library, &other).len(), places(&library, ".rodata", "abilities").len());
}

/// What the loader of the system puts into the table of constructors.
fn constructors(library: &[u8]) -> Vec<u64> {
    let elf = Elf::parse(library);
    let table = elf.section(".init_array");
    let start = table.sh_addr.get(LE);
    let addresses = start..start + table.sh_size.get(LE);
    let (_, relocations) = elf.array::<Rela64<LE>>(".rela.dyn");
    let entries = relocations.iter().filter(|entry| addresses.contains(&entry.r_offset.get(LE)));
    entries.map(|entry| entry.r_addend.get(LE) as u64).collect()
}

#[test]
fn a_constructor_ends_the_process() {
    let library = library();
    let elf = Elf::parse(&library);
    for (other, function) in
        [(aborting_constructor(&library), "abort"), (exiting_constructor(&library), "exit")]
    {
        let address = elf.address_of(function);
        assert!(!constructors(&library).contains(&address));
        let (first, last) = (constructors(&library)[0], constructors(&other).pop().unwrap());
        assert_eq!((constructors(&other)[0], last), (first, address), "{function}");
        let places = changes(&library, &other);
        assert!(places[places.len() - 1] - places[0] < 8, "{places:?}");
    }
    assert_ne!(elf.address_of("abort"), elf.address_of("exit"));
}

#[test]
fn the_library_stays_mapped() {
    let library = library();
    let other = nodelete(&library);
    let flags = |library: &[u8]| {
        let (_, entries) = Elf::parse(library).array::<Dyn64<LE>>(".dynamic");
        let of_kind = entries.iter().find(|entry| entry.d_tag.get(LE) == elf::DT_FLAGS_1);
        of_kind.unwrap().d_val.get(LE)
    };
    assert_eq!(flags(&other), flags(&library) | 8);
    assert_eq!(changes(&library, &other).len(), 1);
}
