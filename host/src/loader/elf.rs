//! The outside of an ELF file: what it is for, whether all of it is there, and where its parts lie.
//!
//! Every number in the file is taken for a claim: arithmetic is checked, and each range is held against the file's end.

use super::LoadError;
use object::{
    LittleEndian, elf,
    read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable},
};
use std::{env::consts::ARCH, path::Path};

pub(super) type Header = elf::FileHeader64<LittleEndian>;
pub(super) type Segment = elf::ProgramHeader64<LittleEndian>;

/// The order of bytes, which [`Elf::parse`] has checked.
pub(super) const LE: LittleEndian = LittleEndian;

/// A file with the header of a 64-bit little-endian ELF for this machine.
pub(super) struct Elf<'a> {
    pub path: &'a Path,
    pub bytes: &'a [u8],
    pub header: &'a Header,
}

impl<'a> Elf<'a> {
    pub fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self, LoadError> {
        check_magic(path, bytes)?;
        let built_for = built_for(bytes).ok_or_else(|| no_header(path, bytes))?;
        if built_for != ARCH {
            return Err(LoadError::Architecture { path: path.into(), built_for, host: ARCH });
        }
        if bytes.len() < size_of::<Header>() {
            return Err(no_header(path, bytes));
        }
        let header = Header::parse(bytes).map_err(|error| malformed(path, error))?;
        Ok(Elf { path, bytes, header })
    }

    /// Everything that the headers name lies within the file. More may follow it.
    pub fn check_complete(&self) -> Result<(), LoadError> {
        for segment in self.segments()? {
            let (start, size) = segment.file_range(LE);
            self.check_range("a segment ends", start, size)?;
        }
        for (start, size) in self.sections()?.iter().filter_map(|section| section.file_range(LE)) {
            self.check_range("a section ends", start, size)?;
        }
        Ok(())
    }

    fn check_range(&self, what: &str, start: u64, size: u64) -> Result<(), LoadError> {
        let length = self.bytes.len() as u64;
        match start.checked_add(size) {
            Some(end) if end <= length => Ok(()),
            Some(end) => Err(LoadError::Incomplete {
                path: self.path.into(),
                what: format!("{what} at byte {end} of {length}"),
            }),
            None => Err(malformed(self.path, format!("{what} beyond any file"))),
        }
    }

    pub fn segments(&self) -> Result<&'a [Segment], LoadError> {
        let count =
            self.header.phnum(LE, self.bytes).map_err(|error| malformed(self.path, error))?;
        let size = u64::from(count) * size_of::<Segment>() as u64;
        self.check_range("the program headers end", self.header.e_phoff(LE), size)?;
        self.header.program_headers(LE, self.bytes).map_err(|error| malformed(self.path, error))
    }

    /// How many bytes from the beginning the system's loader reads: all but the names of sections, symbols and lines, which
    /// are most of a library that was built with them.
    pub fn loaded_length(&self) -> Result<usize, LoadError> {
        let headers = (size_of::<Header>() as u64)
            .max(self.header.e_phoff(LE) + size_of_val(self.segments()?) as u64);
        let ends = self.segments()?.iter().map(|segment| {
            let (start, size) = segment.file_range(LE);
            start + size
        });
        Ok(ends.fold(headers, u64::max) as usize)
    }

    pub fn sections(&self) -> Result<SectionTable<'a, Header>, LoadError> {
        const EACH: u64 = size_of::<elf::SectionHeader64<LittleEndian>>() as u64;
        let start = self.header.e_shoff(LE);
        // The count itself may lie in the first of them.
        self.check_range("the section headers end", start, if start == 0 { 0 } else { EACH })?;
        let count =
            self.header.shnum(LE, self.bytes).map_err(|error| malformed(self.path, error))?;
        self.check_range("the section headers end", start, u64::from(count) * EACH)?;
        self.header.sections(LE, self.bytes).map_err(|error| malformed(self.path, error))
    }

    /// It is something to dlopen. Position-independent executables are of the libraries' type and have a flag.
    pub fn check_kind(&self) -> Result<(), LoadError> {
        let kind = match self.header.e_type(LE) {
            elf::ET_DYN => match self.dynamic_flags()? {
                None => "a library without a dynamic section",
                Some(flags) if flags & elf::DF_1_PIE.0 != 0 => "an executable",
                Some(_) => return Ok(()),
            },
            elf::ET_EXEC => "an executable",
            elf::ET_REL => "an object file",
            elf::ET_CORE => "a core dump",
            _ => "an ELF file of an unknown type",
        };
        Err(LoadError::NotALibrary { path: self.path.into(), kind })
    }

    /// `DT_FLAGS_1`, 0 if it has none; nothing if there is no dynamic section.
    fn dynamic_flags(&self) -> Result<Option<u64>, LoadError> {
        for segment in self.segments()? {
            if let Some(entries) =
                segment.dynamic(LE, self.bytes).map_err(|error| malformed(self.path, error))?
            {
                let flags = entries.iter().find(|entry| entry.d_tag(LE) == elf::DT_FLAGS_1);
                return Ok(Some(flags.map_or(0, |entry| entry.d_val(LE))));
            }
        }
        Ok(None)
    }
}

pub(super) fn malformed(path: &Path, what: impl ToString) -> LoadError {
    LoadError::Malformed { path: path.into(), what: what.to_string() }
}

fn no_header(path: &Path, bytes: &[u8]) -> LoadError {
    let what = format!("its header ends at byte {} of {}", size_of::<Header>(), bytes.len());
    LoadError::Incomplete { path: path.into(), what }
}

fn check_magic(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    let magic = &bytes[..bytes.len().min(elf::ELFMAG.len())];
    match () {
        () if magic.is_empty() => Err(LoadError::Empty { path: path.into() }),
        () if elf::ELFMAG.starts_with(magic) => Ok(()),
        // Some linkers write the header last.
        () if magic.iter().all(|&byte| byte == 0) => Err(LoadError::Incomplete {
            path: path.into(),
            what: "its header is still blank".into(),
        }),
        () if is_text(bytes) => Err(LoadError::Text { path: path.into() }),
        () => Err(LoadError::NotElf { path: path.into() }),
    }
}

/// Whether the beginning reads as text.
fn is_text(bytes: &[u8]) -> bool {
    let beginning = &bytes[..bytes.len().min(512)];
    let is_utf8 = match std::str::from_utf8(beginning) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => error.error_len().is_none(),
    };
    is_utf8 && !beginning.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace())
}

/// The machine of an ELF file as rustc names it, if the header reaches that far.
fn built_for(bytes: &[u8]) -> Option<String> {
    let (&class, &order) = (bytes.get(4)?, bytes.get(5)?);
    let machine = bytes.get(18..20)?.try_into().ok()?;
    let (machine, is_little) = match elf::DataEncoding(order) {
        elf::ELFDATA2MSB => (u16::from_be_bytes(machine), false),
        _ => (u16::from_le_bytes(machine), true),
    };
    let bits = if elf::FileClass(class) == elf::ELFCLASS64 { 64 } else { 32 };
    let name = match (elf::Machine(machine), bits, is_little) {
        (elf::EM_X86_64, 64, true) => "x86_64",
        (elf::EM_386, 32, true) => "x86",
        (elf::EM_AARCH64, 64, true) => "aarch64",
        (elf::EM_ARM, 32, true) => "arm",
        (elf::EM_RISCV, 64, true) => "riscv64",
        (elf::EM_PPC64, 64, _) => "powerpc64",
        (elf::EM_S390, 64, false) => "s390x",
        (elf::EM_LOONGARCH, 64, true) => "loongarch64",
        _ => return Some(format!("another machine ({bits}-bit, number {machine})")),
    };
    Some(name.into())
}
