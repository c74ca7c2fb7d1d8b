//! The inside of a library: what the system's loader reads, calls and writes while it loads it.
//!
//! The loader trusts all of it. A wrong address there crashes the process or, worse, writes into memory of somebody else,
//! which a trial in another process need not show; so every address is held against the library's own memory.

use super::{
    LoadError,
    elf::{Elf, LE, malformed},
    segments::Segments,
};
use object::{
    LittleEndian, U16, U32, U64,
    elf::{self, DynamicTag, RelocationType},
    pod::Pod,
    read::elf::{Dyn, ProgramHeader, SectionHeader, Sym},
};
use std::borrow::Cow;

type Entry = elf::Dyn64<LittleEndian>;
type Symbol = elf::Sym64<LittleEndian>;
type Relocation = elf::Rela64<LittleEndian>;

/// A text says what is wrong with a table.
type Checks = Result<(), String>;

/// The tables of a library.
pub(super) struct Dynamic<'a> {
    segments: Segments<'a>,
    entries: &'a [Entry],
    strings: &'a [u8],
    symbols: &'a [Symbol],
}

impl<'a> Dynamic<'a> {
    /// Checks that loading the library touches no memory but its own, and that the system would unload it.
    pub fn check(elf: &Elf<'a>) -> Result<Self, LoadError> {
        let dynamic = Dynamic::parse(elf)?;
        dynamic.check_unloads(elf)?;
        dynamic.check_tables().map_err(|what| malformed(elf.path, what))?;
        Ok(dynamic)
    }

    /// Whether it takes a function of this name from another library.
    pub fn imports(&self, name: &str) -> bool {
        let mut outside =
            self.symbols.iter().filter(|symbol| symbol.st_shndx(LE) == elf::SHN_UNDEF);
        outside.any(|symbol| self.string(symbol.st_name.get(LE)) == name)
    }

    fn parse(elf: &Elf<'a>) -> Result<Self, LoadError> {
        let headers = elf.segments()?;
        let sections = elf.sections()?;
        let parsed = Segments::check(elf, headers).and_then(|segments| {
            let dynamic =
                headers.iter().rev().find(|segment| segment.p_type(LE) == elf::PT_DYNAMIC);
            let dynamic = dynamic.ok_or("it has no dynamic segment")?;
            let entries = entries(&segments, dynamic.p_vaddr(LE), dynamic.p_filesz(LE))
                .ok_or("its dynamic segment has no end")?;
            let mut parsed = Dynamic { segments, entries, strings: &[], symbols: &[] };
            parsed.strings = parsed.strings()?;
            let table = (sections.iter())
                .find(|section| section.sh_type(LE) == elf::SHT_DYNSYM)
                .ok_or("it has no section of dynamic symbols")?;
            parsed.symbols = parsed.symbols(table.sh_offset(LE), table.sh_size(LE))?;
            Ok(parsed)
        });
        parsed.map_err(|what| malformed(elf.path, what))
    }

    /// The last entry of a kind, as the loader has it.
    fn entry(&self, tag: DynamicTag) -> Option<u64> {
        let entry = self.entries.iter().rev().find(|entry| entry.d_tag(LE) == tag)?;
        Some(entry.d_val(LE))
    }

    fn entry_or_zero(&self, tag: DynamicTag) -> u64 {
        self.entry(tag).unwrap_or(0)
    }

    fn strings(&self) -> Result<&'a [u8], String> {
        let (start, size) = (self.entry(elf::DT_STRTAB), self.entry(elf::DT_STRSZ));
        let strings = start.zip(size).and_then(|(start, size)| self.segments.bytes(start, size));
        let strings = strings.filter(|strings| strings.last() == Some(&0));
        strings.ok_or_else(|| "its table of strings is out of range".into())
    }

    /// Only the section tells how many there are.
    fn symbols(&self, offset: u64, size: u64) -> Result<&'a [Symbol], String> {
        const EACH: u64 = size_of::<Symbol>() as u64;
        let start = self.entry(elf::DT_SYMTAB);
        let is_same = |&start: &u64| {
            size.is_multiple_of(EACH) && self.segments.offset(start, size) == Some(offset)
        };
        let symbols =
            start.filter(is_same).and_then(|start| self.segments.table::<Symbol>(start, size));
        match self.entry(elf::DT_SYMENT) == Some(EACH) {
            true => symbols.ok_or_else(|| "its table of symbols is out of range".into()),
            false => Err("its symbols are of another size".into()),
        }
    }

    /// The text at a place in the table of strings.
    fn string(&self, place: u32) -> Cow<'a, str> {
        let text = self.strings.get(place as usize..).unwrap_or_default();
        String::from_utf8_lossy(text.split(|&byte| byte == 0).next().unwrap_or_default())
    }

    /// Nothing in it keeps it in the process for ever.
    fn check_unloads(&self, elf: &Elf<'_>) -> Result<(), LoadError> {
        if self.entry_or_zero(elf::DT_FLAGS_1) & elf::DF_1_NODELETE.0 != 0 {
            return Err(LoadError::NoDelete { path: elf.path.into() });
        }
        let unique = self.symbols.iter().find(|symbol| {
            symbol.st_bind() == elf::STB_GNU_UNIQUE && symbol.st_shndx(LE) != elf::SHN_UNDEF
        });
        match unique {
            Some(symbol) => Err(LoadError::UniqueSymbol {
                path: elf.path.into(),
                symbol: self.string(symbol.st_name.get(LE)).into_owned(),
            }),
            None => Ok(()),
        }
    }

    fn check_tables(&self) -> Checks {
        self.check_names()?;
        self.check_symbols()?;
        self.check_hashes().ok_or("its table of hashes is out of range")?;
        self.check_versions().ok_or("its versions of symbols are out of range")?;
        self.check_functions().ok_or("its functions for begin and end are out of range")?;
        self.check_relocations()
    }

    fn is_string(&self, place: u64) -> bool {
        place < self.strings.len() as u64
    }

    fn check_names(&self) -> Checks {
        const NAMES: [DynamicTag; 8] = [
            elf::DT_NEEDED,
            elf::DT_SONAME,
            elf::DT_RPATH,
            elf::DT_RUNPATH,
            elf::DT_AUDIT,
            elf::DT_DEPAUDIT,
            elf::DT_AUXILIARY,
            elf::DT_FILTER,
        ];
        let mut names = self.entries.iter().filter(|entry| NAMES.contains(&entry.d_tag(LE)));
        match names.all(|entry| self.is_string(entry.d_val(LE))) {
            true => Ok(()),
            false => Err("the name of a library that it needs is out of range".into()),
        }
    }

    fn check_symbols(&self) -> Checks {
        let is_sound = |symbol: &Symbol| {
            let (value, size) = (symbol.st_value(LE), symbol.st_size(LE));
            self.is_string(symbol.st_name.get(LE).into())
                && match (symbol.st_shndx(LE), symbol.st_type()) {
                    (elf::SHN_UNDEF | elf::SHN_ABS, _) | (_, elf::STT_TLS) => true,
                    // The loader calls it.
                    (_, elf::STT_GNU_IFUNC) => self.segments.is_code(value),
                    _ => self.segments.is_mapped(value, size),
                }
        };
        match self.symbols.iter().position(|symbol| !is_sound(symbol)) {
            Some(number) => Err(format!("its symbol {number} is out of range")),
            None => Ok(()),
        }
    }

    /// The loader follows a chain from its bucket to the first value that is odd.
    fn check_hashes(&self) -> Option<()> {
        type Word = U32<LittleEndian>;
        const WORD: u64 = size_of::<Word>() as u64;
        let start = self.entry(elf::DT_GNU_HASH)?;
        let header = self.segments.value::<elf::GnuHashHeader<LittleEndian>>(start)?;
        let filters = header.bloom_count.get(LE);
        let count = u64::from(header.bucket_count.get(LE));
        let first = header.symbol_base.get(LE) as usize;
        let start = start + size_of_val(header) as u64;
        self.segments.bytes(start, u64::from(filters) * 8)?;
        let start = start + u64::from(filters) * 8;
        let buckets = self.segments.table::<Word>(start, count * WORD)?;
        let used = || buckets.iter().map(|bucket| bucket.get(LE) as usize).filter(|&at| at != 0);
        let is_sound = filters.is_power_of_two()
            && count > 0
            && used().all(|at| (first..self.symbols.len()).contains(&at));
        if is_sound && used().next().is_some() {
            let hashed = (self.symbols.len() - first) as u64;
            let chains = self.segments.table::<Word>(start + count * WORD, hashed * WORD)?;
            return (chains.last()?.get(LE) % 2 == 1).then_some(());
        }
        is_sound.then_some(())
    }

    /// Each symbol names one of the versions that the library lists.
    fn check_versions(&self) -> Option<()> {
        let Some(start) = self.entry(elf::DT_VERSYM) else { return Some(()) };
        let numbers = self.segments.table::<U16<LittleEndian>>(
            start,
            self.symbols.len() as u64 * size_of::<u16>() as u64,
        )?;
        let most = self.needed_versions()?.max(self.defined_versions()?)?;
        let is_listed = |number: &U16<LittleEndian>| number.get(LE) & elf::VERSYM_VERSION <= most;
        numbers.iter().all(is_listed).then_some(())
    }

    /// The highest number of a version of another library; nothing inside if there is none.
    fn needed_versions(&self) -> Option<Option<u16>> {
        let Some(start) = self.entry(elf::DT_VERNEED) else { return Some(None) };
        let mut most = None;
        let files = self.list(start, |file: &elf::Verneed<LittleEndian>| file.vn_next.get(LE))?;
        for (place, file) in files {
            let names = place.checked_add(file.vn_aux.get(LE).into())?;
            let names =
                self.list(names, |name: &elf::Vernaux<LittleEndian>| name.vna_next.get(LE))?;
            let numbers = names.iter().map(|(_, name)| name.vna_other.get(LE).0);
            most = most.max(numbers.map(|number| number & elf::VERSYM_VERSION).max());
            let are_named =
                names.iter().all(|(_, name)| self.is_string(name.vna_name.get(LE).into()));
            (are_named && self.is_string(file.vn_file.get(LE).into())).then_some(())?;
        }
        Some(most)
    }

    /// The highest number of a version of its own; nothing inside if there is none.
    fn defined_versions(&self) -> Option<Option<u16>> {
        let Some(start) = self.entry(elf::DT_VERDEF) else { return Some(None) };
        let mut most = None;
        let versions = self.list(start, |own: &elf::Verdef<LittleEndian>| own.vd_next.get(LE))?;
        for (place, own) in versions {
            let name = place.checked_add(own.vd_aux.get(LE).into())?;
            let name = self.segments.value::<elf::Verdaux<LittleEndian>>(name)?;
            self.is_string(name.vda_name.get(LE).into()).then_some(())?;
            most = most.max(Some(own.vd_ndx.get(LE).0 & elf::VERSYM_VERSION));
        }
        Some(most)
    }

    /// The parts of a linked list with their addresses; each tells how far away the next is, the last one 0.
    fn list<T: Pod>(&self, mut place: u64, next: fn(&T) -> u32) -> Option<Vec<(u64, &'a T)>> {
        /// More than any library lists.
        const MOST: usize = 1 << 10;
        let mut parts = Vec::new();
        loop {
            let part = self.segments.value::<T>(place)?;
            parts.push((place, part));
            match next(part) {
                0 => return Some(parts),
                _ if parts.len() == MOST => return None,
                distance => place = place.checked_add(distance.into())?,
            }
        }
    }

    /// What runs when it is loaded and unloaded, and what the loader writes for the functions of others.
    fn check_functions(&self) -> Option<()> {
        for function in [elf::DT_INIT, elf::DT_FINI] {
            let is_code = self.entry(function).is_none_or(|start| self.segments.is_code(start));
            is_code.then_some(())?;
        }
        for (array, size) in
            [(elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ), (elf::DT_FINI_ARRAY, elf::DT_FINI_ARRAYSZ)]
        {
            let Some(start) = self.entry(array) else { continue };
            let size = self.entry(size)?;
            let is_sound = size.is_multiple_of(8)
                && start.is_multiple_of(8)
                && self.segments.is_mapped(start, size);
            is_sound.then_some(())?;
        }
        /// Three words are the loader's.
        const RESERVED: u64 = 3 * 8;
        let slots = self.entry(elf::DT_PLTGOT);
        slots.is_none_or(|start| self.segments.is_writable(start, RESERVED)).then_some(())
    }

    fn check_relocations(&self) -> Checks {
        const EACH: u64 = size_of::<Relocation>() as u64;
        if self.entry(elf::DT_RELAENT).is_some_and(|size| size != EACH)
            || self.entry(elf::DT_PLTREL).is_some_and(|kind| kind != elf::DT_RELA.0 as u64)
            || self.entry(elf::DT_REL).is_some()
        {
            return Err("its relocations are of another kind".into());
        }
        for (table, size) in [(elf::DT_RELA, elf::DT_RELASZ), (elf::DT_JMPREL, elf::DT_PLTRELSZ)] {
            for relocation in self.table::<Relocation>(table, size)? {
                self.check_relocation(relocation)?;
            }
        }
        self.check_relative()
    }

    fn table<T: Pod>(&self, start: DynamicTag, size: DynamicTag) -> Result<&'a [T], String> {
        let Some(start) = self.entry(start) else { return Ok(&[]) };
        let table = self.entry(size).filter(|size| size.is_multiple_of(size_of::<T>() as u64));
        let table = table.and_then(|size| self.segments.table(start, size));
        table.ok_or_else(|| "its relocations are out of range".into())
    }

    fn check_relocation(&self, relocation: &Relocation) -> Checks {
        let (place, kind) = (relocation.r_offset.get(LE), relocation.r_type(LE, false));
        let symbol = relocation.r_sym(LE, false) as usize;
        let width = if kind == KINDS.pair { 16 } else { 8 };
        let is_sound = kind == KINDS.none
            || kind != KINDS.copy
                && symbol < self.symbols.len()
                && self.segments.is_writable(place, width)
                && (kind != KINDS.called
                    || self.segments.is_code(relocation.r_addend.get(LE) as u64));
        match is_sound {
            true => Ok(()),
            false => Err(format!("its relocation at {place:#x} is out of range")),
        }
    }

    /// The packed form: an address, or a bitmap of the 63 words that follow the last one.
    fn check_relative(&self) -> Checks {
        const WORD: u64 = 8;
        if self.entry(elf::DT_RELRENT).is_some_and(|size| size != WORD) {
            return Err("its relocations are of another kind".into());
        }
        let mut next = 0_u64;
        for word in self.table::<U64<LittleEndian>>(elf::DT_RELR, elf::DT_RELRSZ)? {
            let word = word.get(LE);
            let (first, words) = match word % 2 {
                0 => (word, 1),
                _ => (next, u64::from(u64::BITS - 1 - word.leading_zeros())),
            };
            if words > 0 && !self.segments.is_writable(first, words * WORD) {
                return Err(format!("its relocation at {first:#x} is out of range"));
            }
            let passed = if word % 2 == 0 { 1 } else { u64::from(u64::BITS) - 1 };
            next = first.wrapping_add(passed * WORD);
        }
        Ok(())
    }
}

/// The entries before the one that ends them.
fn entries<'a>(segments: &Segments<'a>, start: u64, size: u64) -> Option<&'a [Entry]> {
    let entries = segments.table::<Entry>(start, size)?;
    let end = entries.iter().position(|entry| entry.d_tag(LE) == elf::DT_NULL)?;
    Some(&entries[..end])
}

/// The kinds of relocations that are more than a word of the library's own.
struct Kinds {
    none: RelocationType,
    /// Copies from another library.
    copy: RelocationType,
    /// Calls its addend.
    called: RelocationType,
    /// Writes two words.
    pair: RelocationType,
}

const KINDS: Kinds = match cfg!(target_arch = "aarch64") {
    true => Kinds {
        none: elf::R_AARCH64_NONE,
        copy: elf::R_AARCH64_COPY,
        called: elf::R_AARCH64_IRELATIVE,
        pair: elf::R_AARCH64_TLSDESC,
    },
    false => Kinds {
        none: elf::R_X86_64_NONE,
        copy: elf::R_X86_64_COPY,
        called: elf::R_X86_64_IRELATIVE,
        pair: elf::R_X86_64_TLSDESC,
    },
};
