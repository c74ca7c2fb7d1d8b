//! Damaged files never reach dlopen in this process unless they have passed preflight and the probe.

use crate::support::{Fake, prober, small_plugin, staged};
use mycelia::loader::{Image, LoadError, Prober};
use object::{LittleEndian as LE, elf, read::elf::*};
use std::{fs, ops::Range, path::Path};

/// Numbers that look random and are the same each time: xorshift.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    }
}

/// Where the file has what the system's loader reads and runs: its headers, and the sections that are mapped.
fn mapped(bytes: &[u8]) -> Vec<Range<usize>> {
    let header = elf::FileHeader64::<LE>::parse(bytes).unwrap();
    let sections = header.sections(LE, bytes).unwrap();
    let mapped = sections
        .iter()
        .filter(|section| section.sh_flags(LE).0 & elf::SHF_ALLOC.0 != 0)
        .filter_map(|section| section.file_range(LE))
        .map(|(start, size)| start as usize..(start + size) as usize)
        .filter(|range| !range.is_empty());
    std::iter::once(0..64 + 56 * 12).chain(mapped).collect()
}

fn climb(bytes: &[u8], folder: &Path, prober: &Prober) -> Result<(), LoadError> {
    let path = folder.join("lib.so");
    fs::write(&path, bytes).unwrap();
    let staged = staged(&path)?;
    staged.probe(prober)?;
    staged.load().map(drop)
}

#[test]
fn nothing_that_is_cut_passes_preflight() {
    let (good, folder) = (small_plugin("mycelia_echo"), tempfile::tempdir().unwrap());
    let path = folder.path().join("lib.so");
    for part in (1..100).map(|part| good.len() * part / 100).chain([good.len() - 1]) {
        fs::write(&path, &good[..part]).unwrap();
        let image = Image::read(&path).unwrap();
        assert!(image.check_complete().is_err_and(|error| error.is_incomplete()), "{part}");
        assert!(image.preflight().is_err_and(|error| error.is_incomplete()), "{part}");
    }
    fs::write(&path, good).unwrap();
    Image::read(&path).unwrap().check_complete().unwrap();
}

#[test]
fn a_flipped_byte_never_ends_this_process() {
    let (prober, folder) = (prober(), tempfile::tempdir().unwrap());
    let (mut bytes, mut number) = (small_plugin("mycelia_echo"), numbers());
    let ranges = mapped(&bytes);
    let mut steps = std::collections::BTreeMap::new();
    for _ in 0..400 {
        let range = &ranges[number(ranges.len())];
        let place = range.start + number(range.len());
        let old = bytes[place];
        bytes[place] ^= 1 << number(8);
        let step =
            climb(&bytes, folder.path(), &prober).map_or_else(|error| error.step(), |()| "loaded");
        *steps.entry(step).or_insert(0) += 1;
        bytes[place] = old;
    }
    climb(&bytes, folder.path(), &prober).unwrap();
    assert!(steps["preflight"] > 40 && steps["probe"] > 4 && steps["loaded"] > 100, "{steps:?}");
}

#[test]
fn what_can_never_be_unloaded_is_refused() {
    let said = |fake: Fake| match staged(&fake.path()) {
        Err(error) if error.step() == "preflight" => error.to_string(),
        Err(error) => panic!("{}: {error}", error.step()),
        Ok(_) => panic!("it passes"),
    };
    let pinned = said(Fake::new("", &["-Wl,-z,nodelete"]));
    assert!(pinned.contains("was linked with -z nodelete and could never be unloaded"), "{pinned}");
    let threads = "#include <pthread.h>\nAT_LOAD { pthread_create(0, 0, 0, 0); }";
    let unhooked = said(Fake::new(threads, &[]));
    assert!(unhooked.contains("unloaded (it calls the system's `pthread_create`); build it"));
    let unique =
        "__asm__(\".globl only\\n.type only, @gnu_unique_object\\n.data\\nonly: .quad 0\\n\");";
    let unique = said(Fake::new(unique, &[]));
    assert!(unique.contains("defines `only` as a symbol that is unique"), "{unique}");
}
