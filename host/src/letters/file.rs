//! The file of letters: records that are only ever appended, each with its length and a checksum.
//!
//! After a kill the last record may be torn: it is cut off at the next start. One in the middle that its disk has spoilt is
//! passed over. What is kept no longer still takes room, so a file that grows too long is written anew and put in place of
//! the old one.

use super::Letter;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// How a file begins; the number is that of the records' form.
pub(super) const MAGIC: &[u8] = b"mycelia dead letters 1\n";

/// Bytes of BLAKE3 that a record carries: enough against accidents, which is all that it is for.
const CHECKSUM: usize = 8;

/// Bytes before a record's content: its length and its checksum.
const HEAD: usize = 4 + CHECKSUM;

/// What a file says, in the form of postcard.
#[derive(Serialize, Deserialize)]
pub(super) enum Record<'l> {
    /// This letter is kept.
    Letter(Cow<'l, Letter>),
    /// These are not any more.
    Struck(Vec<u64>),
    /// Letters up to `gone` had to make room, and numbers up to `last` have been given.
    Range { gone: u64, last: u64 },
}

/// An open file, which no other host writes meanwhile.
pub(super) struct Log {
    path: PathBuf,
    /// None after a failure: what lies there may end in half a record, so it is written anew.
    file: Option<File>,
    length: u64,
}

impl Log {
    /// Opens or creates a file, and hands over what it says. A torn end is cut off.
    ///
    /// # Errors
    /// It cannot be read or written, is another program's, or another host has it open.
    pub fn open(path: &Path, mut apply: impl FnMut(Record<'_>)) -> io::Result<Log> {
        let explained = |error: io::Error| {
            let text = format!("cannot keep dead letters in {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(explained)?;
        }
        let file = options().open(path).and_then(locked).map_err(explained)?;
        let length = read_all(&file, path, &mut apply).map_err(explained)?;
        Ok(Log { path: path.to_owned(), file: Some(file), length })
    }

    /// Whether it is to be written anew: it has more bytes than these, or its end is not known.
    pub fn is_longer_than(&self, bytes: u64) -> bool {
        self.file.is_none() || self.length > bytes
    }

    /// Appends records; a failure is logged, and what is there is written anew with the next ones.
    pub fn append<'l>(&mut self, records: impl Iterator<Item = Record<'l>>) {
        let Some(file) = &mut self.file else { return };
        match write_all(file, records) {
            Ok(length) => self.length += length,
            Err(error) => self.fail(&error),
        }
    }

    /// Puts a file with these records in place of this one; a failure leaves the old one.
    pub fn rewrite<'l>(&mut self, records: impl Iterator<Item = Record<'l>>) {
        match self.replaced(records) {
            Ok((file, length)) => (self.file, self.length) = (Some(file), length),
            Err(error) => self.fail(&error),
        }
    }

    fn replaced<'l>(&self, records: impl Iterator<Item = Record<'l>>) -> io::Result<(File, u64)> {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        let mut file = options().truncate(true).open(&name).and_then(locked)?;
        file.write_all(MAGIC)?;
        let length = write_all(&mut file, records)?;
        fs::rename(&name, &self.path)?;
        Ok((file, MAGIC.len() as u64 + length))
    }

    /// Once for each time that writing begins to fail.
    fn fail(&mut self, error: &io::Error) {
        if self.file.take().is_some() {
            let path = self.path.display();
            tracing::error!(
                "dead letters are kept in memory alone until {path} can be written: {error}"
            );
        }
    }
}

/// Bodies are nobody else's to read.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn locked(file: File) -> io::Result<File> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let text = "another host writes it; give this one another `dead_letters: (file: …)`";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Writes records and waits until the disk has them; answers their bytes.
fn write_all<'l>(file: &mut File, records: impl Iterator<Item = Record<'l>>) -> io::Result<u64> {
    let mut length = 0;
    for record in records.filter(|record| !matches!(record, Record::Struck(ids) if ids.is_empty()))
    {
        let content = postcard::to_stdvec(&record).map_err(io::Error::other)?;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let head = [&size.to_le_bytes()[..], &checksum(&content)].concat();
        // In one write, so that less of it can be torn.
        file.write_all(&[head, content].concat())?;
        length += HEAD as u64 + u64::from(size);
    }
    file.sync_data()?;
    Ok(length)
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let mut checksum = [0; CHECKSUM];
    checksum.copy_from_slice(&blake3::hash(content).as_bytes()[..CHECKSUM]);
    checksum
}

/// Reads records up to the last that is whole, cuts the rest off, and answers how many bytes are left.
fn read_all(mut file: &File, path: &Path, apply: &mut impl FnMut(Record<'_>)) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut magic = Vec::new();
    reader.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    if !MAGIC.starts_with(&magic) {
        let text = "it is no file of dead letters of this version; move it away, or name another";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut good = if magic == MAGIC { MAGIC.len() as u64 } else { 0 };
    let (mut at, mut spoilt) = (good, 0_u64);
    while good > 0
        && let Some((record, bytes)) = next(&mut reader, length - at)?
    {
        at += bytes;
        let Some(record) = record else { continue };
        spoilt += at - good - bytes;
        good = at;
        apply(record);
    }
    if spoilt > 0 {
        let path = path.display();
        tracing::warn!(
            "{spoilt} bytes within {path} are no whole dead letters, and are passed over"
        );
    }
    if good < length {
        let (torn, path) = (length - good, path.display());
        tracing::warn!("the last {torn} bytes of {path} are no whole dead letter, and are cut off");
        file.set_len(good)?;
    }
    file.seek(SeekFrom::Start(good))?;
    if good == 0 {
        file.write_all(MAGIC)?;
        good = MAGIC.len() as u64;
    }
    Ok(good)
}

/// The next record, if it is as it was written, and how many of the `left` bytes of the file it takes; nothing if it takes
/// more.
fn next(reader: &mut impl Read, left: u64) -> io::Result<Option<(Option<Record<'static>>, u64)>> {
    if left < HEAD as u64 {
        return Ok(None);
    }
    let (mut size, mut sum) = ([0; 4], [0; CHECKSUM]);
    reader.read_exact(&mut size)?;
    reader.read_exact(&mut sum)?;
    let size = u32::from_le_bytes(size);
    if u64::from(size) > left - HEAD as u64 {
        return Ok(None);
    }
    let mut content = vec![0; size as usize];
    reader.read_exact(&mut content)?;
    let record = (checksum(&content) == sum).then(|| postcard::from_bytes(&content).ok()).flatten();
    Ok(Some((record, HEAD as u64 + u64::from(size))))
}
