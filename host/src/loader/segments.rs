//! What the system's loader maps of a file, and where: the addresses that everything else in it refers to.

use super::elf::{Elf, LE, Segment};
use object::{
    elf,
    pod::{self, Pod},
    read::elf::ProgramHeader,
};

/// The smallest page there is: whatever shares one is mapped together.
const PAGE: u64 = 0x1000;
/// The most address space that a library takes, and the largest alignment; linkers use 2 MiB at most.
const MOST_SPAN: u64 = 1 << 32;
const MOST_ALIGNMENT: u64 = 1 << 26;
/// The most memory that a thread pays for a library's thread-local variables.
const MOST_THREAD_LOCAL: u64 = 1 << 26;

/// A part of a library's memory.
#[derive(Copy, Clone)]
struct Load {
    start: u64,
    /// Where its bytes from the file end; zeros follow.
    file_end: u64,
    end: u64,
    offset: u64,
    flags: elf::ProgramFlags,
}

/// The memory of a library as its loader lays it out: parts in order, apart, and of a bounded span.
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    loads: Vec<Load>,
}

impl<'a> Segments<'a> {
    /// Checks the segments, which must lie within the file. A text says what is wrong.
    pub fn check(elf: &Elf<'a>, headers: &[Segment]) -> Result<Self, String> {
        if usize::from(elf.header.e_phnum.get(LE)) != headers.len() {
            return Err("its number of segments is out of range".into());
        }
        let loads = headers.iter().filter(|segment| segment.p_type(LE) == elf::PT_LOAD);
        let loads = loads.map(Load::new).collect::<Option<Vec<Load>>>();
        let segments =
            Segments { bytes: elf.bytes, loads: loads.ok_or("a segment is out of range")? };
        segments.check_order()?;
        headers.iter().try_for_each(|segment| segments.check_other(elf, segment))?;
        Ok(segments)
    }

    /// The loader reserves the span from the first part to the last, and maps each over whatever is there.
    fn check_order(&self) -> Result<(), String> {
        let is_apart = |pair: &[Load]| page_after(pair[0].end) <= page_of(pair[1].start);
        let (Some(first), Some(last)) = (self.loads.first(), self.loads.last()) else {
            return Err("it has no segment to load".into());
        };
        match () {
            () if !self.loads.windows(2).all(is_apart) => {
                Err("its segments overlap, or are out of order".into())
            }
            () if last.end - page_of(first.start) > MOST_SPAN => {
                Err(format!("its segments span more than {MOST_SPAN} bytes"))
            }
            () => Ok(()),
        }
    }

    /// A segment that describes a part of the others.
    fn check_other(&self, elf: &Elf<'a>, segment: &Segment) -> Result<(), String> {
        let kind = segment.p_type(LE);
        let (name, is_writable) = match kind {
            elf::PT_PHDR => ("program header", false),
            elf::PT_DYNAMIC => ("dynamic", segment.p_flags(LE).0 & elf::PF_W.0 != 0),
            elf::PT_TLS => ("thread-local", false),
            elf::PT_GNU_RELRO => ("relocated read-only", true),
            elf::PT_GNU_EH_FRAME => ("unwind", false),
            elf::PT_NOTE | elf::PT_GNU_PROPERTY => ("note", false),
            _ => return Ok(()),
        };
        let (start, size) = (segment.p_vaddr(LE), segment.p_filesz(LE));
        let is_where_it_says = self.offset(start, size) == Some(segment.p_offset(LE))
            && (!is_writable || self.is_writable(start, size));
        let is_sound = match kind {
            elf::PT_PHDR => segment.p_offset(LE) == elf.header.e_phoff.get(LE),
            elf::PT_TLS => is_thread_local_sound(segment),
            // What lies behind its bytes is made read-only with them, up to the end of a page.
            elf::PT_GNU_RELRO => self.loads.iter().any(|load| {
                (load.start..load.end).contains(&start)
                    && start
                        .checked_add(segment.p_memsz(LE))
                        .is_some_and(|end| end <= page_after(load.end))
            }),
            _ => true,
        };
        match is_where_it_says && is_sound {
            true => Ok(()),
            false => Err(format!("its {name} segment lies where it cannot")),
        }
    }

    /// Whether all of these addresses are memory of one segment. An empty range may lie at its end.
    pub fn is_mapped(&self, start: u64, size: u64) -> bool {
        self.load(start, size).is_some()
    }

    /// Whether all of these addresses may be written.
    pub fn is_writable(&self, start: u64, size: u64) -> bool {
        self.load(start, size).is_some_and(|load| load.flags.0 & elf::PF_W.0 != 0)
    }

    /// Whether code can lie at this address.
    pub fn is_code(&self, address: u64) -> bool {
        self.load(address, 1).is_some_and(|load| load.flags.0 & elf::PF_X.0 != 0)
    }

    fn load(&self, start: u64, size: u64) -> Option<&Load> {
        let end = start.checked_add(size)?;
        self.loads.iter().find(|load| load.start <= start && end <= load.end)
    }

    /// Where in the file the bytes of these addresses are.
    pub fn offset(&self, start: u64, size: u64) -> Option<u64> {
        let end = start.checked_add(size)?;
        let load = self.loads.iter().find(|load| load.start <= start && end <= load.file_end)?;
        Some(load.offset + (start - load.start))
    }

    /// The bytes of these addresses, all of which are in the file.
    pub fn bytes(&self, start: u64, size: u64) -> Option<&'a [u8]> {
        let offset = usize::try_from(self.offset(start, size)?).ok()?;
        self.bytes.get(offset..)?.get(..usize::try_from(size).ok()?)
    }

    /// As many values as fit into the size.
    pub fn table<T: Pod>(&self, start: u64, size: u64) -> Option<&'a [T]> {
        let bytes = self.bytes(start, size)?;
        Some(pod::slice_from_bytes(bytes, bytes.len() / size_of::<T>()).ok()?.0)
    }

    /// One value.
    pub fn value<T: Pod>(&self, address: u64) -> Option<&'a T> {
        self.table(address, size_of::<T>() as u64)?.first()
    }
}

impl Load {
    fn new(segment: &Segment) -> Option<Load> {
        let (start, offset) = (segment.p_vaddr(LE), segment.p_offset(LE));
        let (filled, size, alignment) =
            (segment.p_filesz(LE), segment.p_memsz(LE), segment.p_align(LE));
        let is_sound = filled <= size
            && alignment.is_power_of_two()
            && (PAGE..=MOST_ALIGNMENT).contains(&alignment)
            && start % alignment == offset % alignment;
        let end = start.checked_add(size).filter(|end| end.checked_add(PAGE).is_some())?;
        is_sound.then_some(Load {
            start,
            file_end: start + filled,
            end,
            offset,
            flags: segment.p_flags(LE),
        })
    }
}

fn is_thread_local_sound(segment: &Segment) -> bool {
    let alignment = segment.p_align(LE).max(1);
    segment.p_filesz(LE) <= segment.p_memsz(LE)
        && segment.p_memsz(LE) <= MOST_THREAD_LOCAL
        && alignment.is_power_of_two()
        && alignment <= MOST_ALIGNMENT
}

fn page_of(address: u64) -> u64 {
    address & !(PAGE - 1)
}

/// The end of the page that ends at or after this address, which is not in the last page there is.
fn page_after(address: u64) -> u64 {
    page_of(address + (PAGE - 1))
}
