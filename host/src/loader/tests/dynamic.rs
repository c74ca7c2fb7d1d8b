//! Libraries whose loading would read, write or call what is not theirs: each number of a good one, replaced.

use super::*;

/// The bytes of a section.
fn section(bytes: &[u8], name: &str) -> Range<usize> {
    let sections = Header::parse(bytes).unwrap().sections(LE, bytes).unwrap();
    let (_, section) = sections.section_by_name(LE, name.as_bytes()).unwrap();
    let (start, size) = section.file_range(LE).unwrap();
    start as usize..(start + size) as usize
}

fn write<const N: usize>(bytes: &mut [u8], place: usize, value: [u8; N]) {
    bytes[place..][..N].copy_from_slice(&value);
}

/// The library with another number in a section.
fn with<const N: usize>(name: &str, offset: usize, value: [u8; N]) -> Vec<u8> {
    let mut bytes = echo();
    let place = section(&bytes, name).start + offset;
    write(&mut bytes, place, value);
    bytes
}

/// The library with another value of an entry of its dynamic section.
fn with_entry(tag: elf::DynamicTag, value: u64) -> Vec<u8> {
    let mut bytes = echo();
    let entries = section(&bytes, ".dynamic");
    let is_it = |place: &usize| bytes[*place..][..8] == tag.0.to_le_bytes();
    let place = entries.step_by(16).find(is_it).expect("the library has such an entry");
    write(&mut bytes, place + 8, value.to_le_bytes());
    bytes
}

/// The library with another number in the header of its n-th segment of a kind.
fn with_segment(kind: elf::ProgramType, nth: usize, field: usize, value: u64) -> Vec<u8> {
    let mut bytes = echo();
    let headers = Header::parse(&*bytes).unwrap().program_headers(LE, &*bytes).unwrap();
    let mut places = headers.iter().enumerate().filter(|(_, header)| header.p_type(LE) == kind);
    let (number, _) = places.nth(nth).expect("the library has such a segment");
    write(&mut bytes, 64 + 56 * number + field, value.to_le_bytes());
    bytes
}

/// That preflight refuses it for this.
#[track_caller]
fn refuses(bytes: &[u8], text: &str) {
    let error = preflight::check(Path::new("lib.so"), bytes).expect_err("it is refused");
    let said = error.to_string();
    assert!(error.step() == "preflight" && said.contains(text), "{said}");
}

const OFFSET: usize = 8;
const ADDRESS: usize = 16;
const FILE_SIZE: usize = 32;
const SIZE: usize = 40;
const ALIGNMENT: usize = 48;

#[test]
fn every_plugin_passes() {
    for name in ["echo", "counter", "kv", "http", "faulty", "faulty_commits"] {
        let path = plugin(&format!("mycelia_{name}"));
        preflight::check(&path, &fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn segments_lie_apart_and_within_bounds() {
    let load = |nth, field, value| with_segment(elf::PT_LOAD, nth, field, value);
    let out = "a damaged library: a segment is out of range; build it again";
    refuses(&load(1, SIZE, 1), out);
    refuses(&load(1, SIZE, u64::MAX - 0x2000), out);
    refuses(&load(1, ALIGNMENT, 0x1800), out);
    refuses(&load(1, ALIGNMENT, 1), out);
    refuses(&load(1, ALIGNMENT, 1 << 40), out);
    refuses(&load(1, OFFSET, 1), out);
    refuses(&load(0, SIZE, 1 << 30), "its segments overlap, or are out of order");
    let bytes = echo();
    let headers = Header::parse(&*bytes).unwrap().program_headers(LE, &*bytes).unwrap();
    let second = headers.iter().filter(|header| header.p_type(LE) == elf::PT_LOAD).nth(1).unwrap();
    let low = second.p_offset(LE) % 0x1000;
    refuses(&load(1, ADDRESS, low), "its segments overlap, or are out of order");
    refuses(&load(3, SIZE, 1 << 40), "its segments span more than 4294967296 bytes");
}

#[test]
fn other_segments_lie_within_those() {
    for (kind, name) in [
        (elf::PT_PHDR, "program header"),
        (elf::PT_DYNAMIC, "dynamic"),
        (elf::PT_TLS, "thread-local"),
        (elf::PT_GNU_RELRO, "relocated read-only"),
        (elf::PT_GNU_EH_FRAME, "unwind"),
        (elf::PT_NOTE, "note"),
    ] {
        let text = format!("its {name} segment lies where it cannot");
        refuses(&with_segment(kind, 0, ADDRESS, 1 << 40), &text);
        refuses(&with_segment(kind, 0, ADDRESS, 0x8000), &text);
    }
    refuses(&with_segment(elf::PT_GNU_RELRO, 0, SIZE, 1 << 30), "its relocated read-only segment");
    refuses(&with_segment(elf::PT_TLS, 0, SIZE, 1 << 30), "its thread-local segment");
    refuses(&with_segment(elf::PT_TLS, 0, ALIGNMENT, 3), "its thread-local segment");
    refuses(&with_segment(elf::PT_DYNAMIC, 0, FILE_SIZE, 16), "its dynamic segment has no end");
}

#[test]
fn tables_lie_within_the_library() {
    const FAR: u64 = 1 << 40;
    refuses(&with_entry(elf::DT_STRTAB, FAR), "its table of strings is out of range");
    refuses(&with_entry(elf::DT_STRSZ, FAR), "its table of strings is out of range");
    refuses(&with_entry(elf::DT_STRSZ, 2), "its table of strings is out of range");
    refuses(&with_entry(elf::DT_SYMTAB, 0x2d8), "its table of symbols is out of range");
    refuses(&with_entry(elf::DT_SYMENT, 8), "its symbols are of another size");
    refuses(&with_entry(elf::DT_NEEDED, FAR), "the name of a library that it needs");
    refuses(&with_entry(elf::DT_GNU_HASH, FAR), "its table of hashes is out of range");
    refuses(&with_entry(elf::DT_VERSYM, FAR), "its versions of symbols are out of range");
    refuses(&with_entry(elf::DT_VERNEED, FAR), "its versions of symbols are out of range");
    for tag in [elf::DT_RELA, elf::DT_RELASZ, elf::DT_JMPREL, elf::DT_PLTRELSZ] {
        refuses(&with_entry(tag, FAR), "its relocations are out of range");
    }
    refuses(&with_entry(elf::DT_RELASZ, 25), "its relocations are out of range");
    refuses(&with_entry(elf::DT_RELAENT, 16), "its relocations are of another kind");
    refuses(&with_entry(elf::DT_PLTREL, 17), "its relocations are of another kind");
    for tag in [
        elf::DT_INIT,
        elf::DT_FINI,
        elf::DT_INIT_ARRAY,
        elf::DT_INIT_ARRAYSZ,
        elf::DT_FINI_ARRAY,
        elf::DT_FINI_ARRAYSZ,
        elf::DT_PLTGOT,
    ] {
        refuses(&with_entry(tag, FAR), "its functions for begin and end are out of range");
    }
    refuses(&with_entry(elf::DT_FINI, 0x10), "its functions for begin and end are out of range");
    refuses(&with_entry(elf::DT_PLTGOT, 0x10), "its functions for begin and end are out of range");
}

#[test]
fn what_is_in_tables_stays_within_them() {
    refuses(&with(".dynsym", 24, [0xff; 4]), "its symbol 1 is out of range");
    let exported = {
        let bytes = echo();
        let table = section(&bytes, ".dynsym");
        let last = table.len() / 24 - 1;
        refuses(
            &with(".dynsym", last * 24 + 8, [0xff; 8]),
            &format!("its symbol {last} is out of"),
        );
        last * 24
    };
    let mut unique = with(".dynsym", exported + 4, [(10 << 4) | 1]);
    refuses(
        &unique,
        "defines `_1as_0lib_1header_0root_bmodule_bloader` as a symbol that is unique",
    );
    let place = section(&unique, ".dynsym").start + exported + 4;
    unique[place] = (1 << 4) | 1;
    preflight::check(Path::new("lib.so"), &unique).unwrap();

    let hashes = "its table of hashes is out of range";
    refuses(&with(".gnu.hash", 0, [0; 4]), hashes);
    refuses(&with(".gnu.hash", 0, [0xff; 4]), hashes);
    refuses(&with(".gnu.hash", 4, [0xff; 4]), hashes);
    refuses(&with(".gnu.hash", 8, [3, 0, 0, 0]), hashes);
    let chain = section(&echo(), ".gnu.hash").len() - 4;
    refuses(&with(".gnu.hash", chain, [0; 4]), hashes);

    let versions = "its versions of symbols are out of range";
    refuses(&with(".gnu.version", 2, [0xff, 0x7f]), versions);
    refuses(&with(".gnu.version_r", 4, [0xff; 4]), versions);
    refuses(&with(".gnu.version_r", 8, [0xff; 4]), versions);
    refuses(&with(".gnu.version_r", 12, [0xff; 4]), versions);
    refuses(&with(".gnu.version_r", 12, [1, 0, 0, 0]), versions);
}

#[test]
fn relocations_write_to_the_library_alone() {
    let place = |value: u64| with(".rela.dyn", 0, value.to_le_bytes());
    let end = {
        let bytes = echo();
        let header = Header::parse(&*bytes).unwrap();
        let headers = header.program_headers(LE, &*bytes).unwrap();
        let last = headers.iter().rfind(|header| header.p_type(LE) == elf::PT_LOAD).unwrap();
        last.p_vaddr(LE) + last.p_memsz(LE)
    };
    for value in [0x10, end, end - 7, 1 << 40, u64::MAX - 3] {
        refuses(&place(value), &format!("its relocation at {value:#x} is out of range"));
    }
    preflight::check(Path::new("lib.so"), &place(end - 8)).unwrap();
    refuses(&with(".rela.dyn", 12, [0xff; 4]), "its relocation at ");
    let kind = |kind: elf::RelocationType| with(".rela.dyn", 8, kind.0.to_le_bytes());
    refuses(&kind(elf::R_X86_64_COPY), "its relocation at ");
    let mut called = kind(elf::R_X86_64_IRELATIVE);
    let addend = section(&called, ".rela.dyn").start + 16;
    write(&mut called, addend, 0x10_u64.to_le_bytes());
    refuses(&called, "its relocation at ");
}

#[test]
fn packed_relocations_write_to_the_library_alone() {
    // Its linker packed none, so some bytes of its own stand for a table of them.
    let packed = |words: [u64; 2]| {
        let mut bytes = with_entry(elf::DT_RELACOUNT, 0);
        let entries = section(&bytes, ".dynamic");
        let tags = [(elf::DT_RELACOUNT, elf::DT_RELR), (elf::DT_PLTGOT, elf::DT_RELRSZ)];
        let table = section(&bytes, ".note.gnu.build-id");
        for ((old, new), value) in tags.into_iter().zip([table.start as u64, 16]) {
            let is_it = |place: &usize| bytes[*place..][..8] == old.0.to_le_bytes();
            let entry = entries.clone().step_by(16).find(is_it).unwrap();
            write(&mut bytes, entry, new.0.to_le_bytes());
            write(&mut bytes, entry + 8, value.to_le_bytes());
        }
        write(&mut bytes, table.start, words[0].to_le_bytes());
        write(&mut bytes, table.start + 8, words[1].to_le_bytes());
        bytes
    };
    let data = {
        let bytes = echo();
        let sections = Header::parse(&*bytes).unwrap().sections(LE, &*bytes).unwrap();
        sections.section_by_name(LE, b".data.rel.ro").unwrap().1.sh_addr(LE)
    };
    preflight::check(Path::new("lib.so"), &packed([data, u64::MAX])).unwrap();
    refuses(&packed([0x10, 1]), "its relocation at 0x10 is out of range");
    refuses(&packed([u64::MAX, 1]), "its relocation at 0x0 is out of range");
    refuses(&packed([data, 1 << 40]), "its relocation at 0x");
}
