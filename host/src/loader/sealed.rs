//! Where a library's bytes lie for dlopen: in memory that nobody can change any more.
//!
//! A file that is mapped must never be written again, even with the same bytes, and dlopen answers a path or inode
//! that it knows with the old code; so the operator's own file is never mapped.
#![allow(unsafe_code, reason = "the system calls for sealed memory have no safe form in std")]

use std::{
    env,
    ffi::CString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    ptr,
    sync::Once,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The bytes of one library, under a path of their own.
pub(super) enum Sealed {
    /// A sealed memfd. It must outlive the library: once it is closed, its number, and so its path, can name another.
    Memory(File),
    /// A file in a folder that only this user can enter, for systems that execute no memory.
    File { folder: Option<TempDir>, path: PathBuf },
}

impl Sealed {
    /// Seals the bytes, in memory if the system executes it. `label` is shown in the process's maps.
    pub fn new(label: &str, bytes: &[u8]) -> io::Result<Sealed> {
        match Sealed::in_memory(label, bytes) {
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) =>
            {
                Sealed::in_file(label, bytes)
            }
            result => result,
        }
    }

    pub fn in_memory(label: &str, bytes: &[u8]) -> io::Result<Sealed> {
        let mut memory = create_memory(label)?;
        memory.write_all(bytes)?;
        seal(&memory)?;
        check_executable(&memory)?;
        let sealed = Sealed::Memory(memory);
        match sealed.path().exists() {
            true => Ok(sealed),
            false => Err(io::Error::new(ErrorKind::Unsupported, "/proc is not mounted")),
        }
    }

    pub fn in_file(label: &str, bytes: &[u8]) -> io::Result<Sealed> {
        let folder = tempfile::Builder::new()
            .prefix("mycelia-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let path = folder.path().join(format!("{}.so", label.replace('\0', "").replace('/', "_")));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o500)
            .open(&path)?
            .write_all(bytes)?;
        Ok(Sealed::File { folder: Some(folder), path })
    }

    /// What to dlopen.
    pub fn path(&self) -> PathBuf {
        match self {
            Sealed::Memory(memory) => format!("/proc/self/fd/{}", memory.as_raw_fd()).into(),
            Sealed::File { path, .. } => path.clone(),
        }
    }

    /// What a child gets as its standard input, and what it is told to load: the very same memory, or the file.
    pub fn for_child(&self) -> io::Result<(Stdio, Option<&Path>)> {
        match self {
            Sealed::Memory(memory) => Ok((memory.try_clone()?.into(), None)),
            Sealed::File { path, .. } => Ok((Stdio::null(), Some(path))),
        }
    }

    /// Whether code of it is mapped in this process. Other mappings of it do not count: symbolising a backtrace leaves some.
    pub fn is_executable_mapped(&self) -> bool {
        // What cannot be looked up is taken for mapped.
        let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return true };
        let mut executable = maps.lines().filter(|line| {
            line.split_whitespace().nth(1).is_some_and(|permissions| permissions.contains('x'))
        });
        match self {
            Sealed::Memory(memory) => memory.metadata().map_or(true, |metadata| {
                let device = metadata.dev();
                let device = format!("{:02x}:{:02x}", libc::major(device), libc::minor(device));
                let inode = metadata.ino().to_string();
                executable
                    .any(|line| line.split_whitespace().skip(3).take(2).eq([&*device, &*inode]))
            }),
            // The device of a file in the maps is another than its own in some file systems; the name is unique.
            Sealed::File { path, .. } => {
                let name = path.to_string_lossy();
                executable.any(|line| line.trim_end_matches(" (deleted)").ends_with(&*name))
            }
        }
    }

    /// Takes the file's name away, which only dlopen needs.
    pub fn unlink(&mut self) {
        if let Sealed::File { folder, .. } = self {
            drop(folder.take());
        }
    }

    /// The same bytes in memory, under a path of a higher number.
    pub fn renumber(self) -> io::Result<Sealed> {
        let Sealed::Memory(memory) = &self else { return Err(ErrorKind::AlreadyExists.into()) };
        let number = memory.as_raw_fd();
        // SAFETY: the descriptor is open.
        let copy = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, number + 1) })?;
        // SAFETY: the system just made it, for us.
        Ok(Sealed::Memory(unsafe { File::from_raw_fd(copy) }))
    }
}

/// Has blocks of a megabyte and more mapped apart, for the whole process.
///
/// Once such a block was freed, glibc takes the next ones from its arenas, which libraries of many megabytes then leave
/// full of holes: 10 KB of memory a reload were measured. Whoever has set that threshold in `GLIBC_TUNABLES` keeps it.
pub(super) fn give_large_blocks_back() {
    static ONCE: Once = Once::new();
    let is_set = |tunables: String| tunables.contains("glibc.malloc.mmap_threshold=");
    ONCE.call_once(|| {
        if !env::var("GLIBC_TUNABLES").is_ok_and(is_set) {
            // SAFETY: it only sets a parameter of the allocator, which takes it at any time.
            unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20) };
        }
    });
}

fn create_memory(label: &str) -> io::Result<File> {
    // The system allows 249 bytes.
    let name: Vec<u8> = label.bytes().filter(|&byte| byte != 0).take(200).collect();
    let name = CString::new(name).expect("it has no zero byte");
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name ends with a zero byte.
    let create = |flags| check(unsafe { libc::memfd_create(name.as_ptr(), flags) });
    // Systems before 6.3 do not know the last flag, and execute any memfd.
    let descriptor =
        create(flags | libc::MFD_EXEC).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => create(flags),
            _ => Err(error),
        })?;
    // SAFETY: the system just made it, for us.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// How long the system may hold on to a page of what was just written, as it does when it is busy with its memory.
const PINNED: Duration = Duration::from_secs(2);

fn seal(memory: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    let until = Instant::now() + PINNED;
    loop {
        // SAFETY: the descriptor is open.
        match check(unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) }) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < until => {
                thread::sleep(Duration::from_millis(1));
            }
            sealed => return sealed.map(drop),
        }
    }
}

/// Maps its first bytes as dlopen would, since a security module may only refuse then.
fn check_executable(memory: &File) -> io::Result<()> {
    const LENGTH: usize = 1;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: the system chooses the place, so nothing that is mapped is replaced.
    let place = unsafe {
        libc::mmap(ptr::null_mut(), LENGTH, protection, libc::MAP_PRIVATE, memory.as_raw_fd(), 0)
    };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was mapped above, and nobody else knows of it.
    check(unsafe { libc::munmap(place, LENGTH) }).map(drop)
}

fn check(status: i32) -> io::Result<i32> {
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(status) }
}
