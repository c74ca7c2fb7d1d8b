//! The token: whoever can read its file may act on the host.
//!
//! It is new at each start and lies in a folder that only the user can write to, under the port of the host,
//! so that the CLI of the same user finds it without being told.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// More than any token has; what is longer is no token file.
const LONGEST: u64 = 1024;

/// A running host's token, in its file.
///
/// Dropping it removes the file, unless another host has replaced it.
pub struct Token {
    secret: String,
    file: PathBuf,
}

impl Token {
    /// A new token for the host at this port, in the user's folder.
    ///
    /// # Errors
    /// No folder is safe to write to, or writing fails.
    pub fn create(port: u16) -> io::Result<Self> {
        Self::create_in(&Folders::of_user(), port)
    }

    /// A new token for the host at this port, in one of these folders.
    ///
    /// # Errors
    /// Those of [`Token::create`].
    pub fn create_in(folders: &Folders, port: u16) -> io::Result<Self> {
        let folder = folders.writable()?;
        let secret = random_hex()?;
        let file = folder.join(file_name(port));
        write_atomically(&folder, &file, &secret)?;
        Ok(Self { secret, file })
    }

    /// What a request must bring.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Where it can be read.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if read(&self.file).is_ok_and(|secret| secret == self.secret) {
            let _ = fs::remove_file(&self.file);
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The folders where a user's tokens may lie.
#[derive(Clone, Debug)]
pub struct Folders {
    runtime: Option<PathBuf>,
    own: PathBuf,
}

impl Folders {
    /// Those of the user of this process.
    pub fn of_user() -> Self {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self::new(runtime, &std::env::temp_dir())
    }

    /// Those for this value of `$XDG_RUNTIME_DIR` and this temporary folder.
    pub fn new(runtime: Option<PathBuf>, temporary: &Path) -> Self {
        let own = temporary.join(format!("mycelia-{}", user()));
        Self { runtime: runtime.filter(|folder| folder.is_absolute()), own }
    }

    /// Every file where the token of the host at this port may lie.
    pub fn files(&self, port: u16) -> Vec<PathBuf> {
        let folders = self.runtime.iter().chain([&self.own]);
        folders.map(|folder| folder.join(file_name(port))).collect()
    }

    /// The secret of the host at this port, if it can be read; of two, the newer, as the older must be left over.
    pub fn find(&self, port: u16) -> Option<String> {
        let safe = self.files(port).into_iter().filter(|file| file.parent().is_some_and(is_safe));
        let found = safe.filter_map(|file| Some((modified(&file)?, read(&file).ok()?)));
        found.max_by_key(|(modified, _)| *modified).map(|(_, secret)| secret)
    }

    fn writable(&self) -> io::Result<PathBuf> {
        match &self.runtime {
            Some(folder) if is_safe(folder) => Ok(folder.clone()),
            _ => self.own_folder(),
        }
    }

    fn own_folder(&self) -> io::Result<PathBuf> {
        match DirBuilder::new().mode(0o700).create(&self.own) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(explained(&error, &self.own))
            }
            _ if is_safe(&self.own) => Ok(self.own.clone()),
            _ => Err(foreign(&self.own)),
        }
    }
}

/// Reads a token from a file that is no symlink.
///
/// # Errors
/// It cannot be read, or is no token.
pub fn read(file: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(file)?;
    read_open(file)
}

/// Reads a token from a file that the operator named.
///
/// # Errors
/// It cannot be read, or is no token.
pub fn read_named(file: &Path) -> io::Result<String> {
    read_open(File::open(file)?)
}

/// The token in this text.
///
/// # Errors
/// It cannot be one.
pub fn parse(text: &str) -> io::Result<String> {
    let secret = text.trim();
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no token in it"));
    }
    Ok(secret.to_owned())
}

fn read_open(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    parse(&text)
}

fn write_atomically(folder: &Path, file: &Path, secret: &str) -> io::Result<()> {
    // A temporary file is created exclusively and with mode 0600.
    let mut fresh = tempfile::Builder::new()
        .prefix(".mycelia-")
        .tempfile_in(folder)
        .map_err(|error| explained(&error, folder))?;
    writeln!(fresh, "{secret}")?;
    fresh.persist(file).map_err(|error| explained(&error.error, file))?;
    Ok(())
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn file_name(port: u16) -> String {
    format!("mycelia-{port}.token")
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether only this user, or root, can put a file there.
fn is_safe(folder: &Path) -> bool {
    fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == user() && found.mode() & 0o077 == 0)
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(file).ok()?.modified().ok()
}

fn explained(error: &io::Error, place: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write the token to {}: {error}", place.display()))
}

fn foreign(folder: &Path) -> io::Error {
    let text = format!(
        "cannot keep the token in {}: it is not a folder of this user alone (mode 0700); \
         remove it, or set XDG_RUNTIME_DIR to a folder that is",
        folder.display()
    );
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}
