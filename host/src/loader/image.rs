//! Step 1: a file's bytes, read whole and once, so that what was checked is what runs.

use super::{LoadError, sealed};
use std::{
    fs::{File, FileType, Metadata, OpenOptions},
    io::{self, Read},
    mem,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The most bytes that are read; a debug build of a large plugin has a tenth of it.
const LIMIT: u64 = 1 << 30;

/// The bytes of a file as they were at one moment. Nothing is known of them yet. A clone shares them.
#[derive(Clone)]
pub struct Image {
    bytes: Arc<Buffer>,
    pub(super) hash: Arc<str>,
    pub(super) path: Arc<Path>,
}

impl Image {
    /// Bytes that were read already; errors name this path.
    pub fn of(path: &Path, bytes: Vec<u8>) -> Image {
        let hash = blake3::hash(&bytes).to_hex().as_str().into();
        Image { bytes: Arc::new(Buffer(bytes)), hash, path: path.into() }
    }

    /// Reads a file. A pipe, a device or a folder is refused, and never waited for.
    ///
    /// # Errors
    /// Those of the step `read`.
    pub fn read(path: &Path) -> Result<Image, LoadError> {
        sealed::give_large_blocks_back();
        let (file, before) = open(path)?;
        let bytes = read_all(&file).map_err(|cause| unreadable(path, cause))?;
        let after = file.metadata().map_err(|cause| unreadable(path, cause))?;
        match bytes.len() as u64 {
            0 => return Err(LoadError::Empty { path: path.into() }),
            size if size > LIMIT => return Err(too_large(path, after.len())),
            size if size != after.len() || !is_same(&before, &after) => {
                return Err(LoadError::Changed { path: path.into() });
            }
            _ => {}
        }
        Ok(Image::of(path, bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    /// BLAKE3 of the bytes, in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Where they were read.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn open(path: &Path) -> Result<(File, Metadata), LoadError> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let file = file.map_err(|cause| match cause.raw_os_error() {
        Some(libc::ENXIO) => {
            LoadError::NotAFile { path: path.into(), kind: "a socket or a device" }
        }
        _ => unreadable(path, cause),
    })?;
    let metadata = file.metadata().map_err(|cause| unreadable(path, cause))?;
    match kind(metadata.file_type()) {
        Some(kind) => Err(LoadError::NotAFile { path: path.into(), kind }),
        None if metadata.len() > LIMIT => Err(too_large(path, metadata.len())),
        None => Ok((file, metadata)),
    }
}

fn kind(file: FileType) -> Option<&'static str> {
    match () {
        () if file.is_file() => None,
        () if file.is_dir() => Some("a folder"),
        () if file.is_fifo() => Some("a pipe"),
        () => Some("a socket or a device"),
    }
}

/// The bytes of an image, kept for the next one when it is gone: fresh memory for 10 MB costs more than reading them.
struct Buffer(Vec<u8>);

/// The largest buffer that is kept.
const MOST_SPARE: usize = 64 << 20;

/// One at most: a second image at the same time is rare, and its memory would stay for it.
static SPARE: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<u8>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = spare();
        if (spare.capacity()..=MOST_SPARE).contains(&self.0.capacity()) {
            mem::swap(&mut *spare, &mut self.0);
        }
    }
}

/// Reads one byte beyond the limit, so that a file that grew over it shows.
fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = mem::take(&mut *spare());
    bytes.clear();
    // With room for one byte more, so that the end is found without growing.
    bytes.reserve_exact(file.metadata()?.len().min(LIMIT) as usize + 1);
    file.take(LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_same(before: &Metadata, after: &Metadata) -> bool {
    before.len() == after.len() && before.modified().ok() == after.modified().ok()
}

fn unreadable(path: &Path, cause: io::Error) -> LoadError {
    LoadError::Unreadable { path: path.into(), cause }
}

fn too_large(path: &Path, size: u64) -> LoadError {
    LoadError::TooLarge { path: path.into(), size, limit: LIMIT }
}
