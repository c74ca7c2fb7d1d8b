//! The ladder with real plugins, which cargo leaves beside the test's own executable, and with files that are none.

use super::{sealed::Sealed, *};
use mycelia_plugin::abi::{HAS_STATE, manifest::MAGIC};
use object::{LittleEndian as LE, elf, read::elf::*};
use std::{
    ffi::OsString,
    fs,
    ops::Range,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

mod dynamic;

type Header = elf::FileHeader64<LE>;

const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Library>();
    is_shared::<Detacher>();
    is_shared::<Prober>();
};

fn plugin(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    find(name, Path::new(""), &search_path(None, &own)).unwrap_or_else(|error| panic!("{error}"))
}

fn echo() -> Vec<u8> {
    fs::read(plugin("mycelia_echo")).unwrap()
}

fn folder_with(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn climb(path: &Path) -> Result<Library, LoadError> {
    Image::read(path)?.preflight()?.load("test@1")
}

fn load(path: &Path) -> Library {
    climb(path).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(path: &Path) -> LoadError {
    climb(path).map(drop).expect_err("it is refused")
}

/// That the ladder refuses a file with these bytes, at this step, with a text that has this in it.
#[track_caller]
fn check(bytes: &[u8], step: &str, text: &str) {
    let folder = folder_with(&[("lib.so", bytes)]);
    check_path(&folder.path().join("lib.so"), step, text);
}

#[track_caller]
fn check_path(path: &Path, step: &str, text: &str) {
    let error = refusal(path);
    let said = error.to_string().replace(path.to_str().unwrap(), "FILE");
    assert!(error.step() == step && said.contains(text), "{}: {said}", error.step());
}

/// Everything that reads `old` reads `new`, which is as long.
fn patched(old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = echo();
    let places: Vec<usize> = places(&bytes, old.as_bytes()).collect();
    assert!(!places.is_empty(), "{old} is in the library");
    for place in places {
        bytes[place..][..new.len()].copy_from_slice(new.as_bytes());
    }
    bytes
}

fn places(bytes: &[u8], text: &[u8]) -> impl Iterator<Item = usize> {
    bytes
        .windows(text.len())
        .enumerate()
        .filter(move |(_, window)| *window == text)
        .map(|(place, _)| place)
}

/// The sections that preflight reads, and those that the system's loader reads, which must not reach it damaged.
const READ: [&str; 13] = [
    ".mycelia",
    ".shstrtab",
    ".dynsym",
    ".dynstr",
    ".dynamic",
    ".gnu.hash",
    ".gnu.version",
    ".gnu.version_r",
    ".rela.dyn",
    ".rela.plt",
    ".init_array",
    ".fini_array",
    ".note.gnu.build-id",
];

/// Where the file has its headers and those sections.
fn read_by_preflight(bytes: &[u8]) -> Vec<Range<usize>> {
    let header = Header::parse(bytes).unwrap();
    let sections = header.sections(LE, bytes).unwrap();
    let names = READ.map(str::as_bytes);
    let range = |start: u64, size: u64| start as usize..(start + size) as usize;
    let read = sections
        .iter()
        .filter(|section| names.contains(&sections.section_name(LE, section).unwrap()));
    let read =
        read.filter_map(|section| section.file_range(LE)).map(|(start, size)| range(start, size));
    let headers = [range(0, 64 + 56 * 16), range(header.e_shoff(LE), 64 * sections.len() as u64)];
    headers.into_iter().chain(read).collect()
}

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

#[test]
fn loads_real_plugins() {
    let (echo, counter) = (load(&plugin("mycelia_echo")), load(&plugin("mycelia_counter")));
    assert_eq!(echo.manifest().name, "mycelia-echo");
    assert_eq!(counter.manifest().name, "mycelia-counter");
    assert_eq!(echo.module().abilities() & HAS_STATE, 0);
    assert_eq!(counter.module().abilities() & HAS_STATE, HAS_STATE);
    assert_eq!(echo.hash(), blake3::hash(&fs::read(echo.path()).unwrap()).to_hex().as_str());
}

#[test]
fn two_loads_of_one_library_are_independent() {
    let path = plugin("mycelia_counter");
    let (one, two) = (load(&path), load(&path));
    assert_eq!(one.hash(), two.hash());
    assert_ne!(one.module().create() as usize, two.module().create() as usize);
}

#[test]
fn the_label_is_in_the_maps() {
    let checked = Image::read(&plugin("mycelia_echo")).unwrap().preflight().unwrap();
    let _library = checked.load("label\0led@7").unwrap();
    assert!(fs::read_to_string("/proc/self/maps").unwrap().contains("labelled@7"));
}

#[test]
fn a_replaced_file_gives_the_new_library() {
    let folder = folder_with(&[("lib.so", &echo())]);
    let path = folder.path().join("lib.so");
    let old = load(&path);
    fs::copy(plugin("mycelia_counter"), &path).unwrap();
    let overwritten = load(&path);
    fs::write(folder.path().join("new"), echo()).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    let renamed = load(&path);
    let names = [&old, &overwritten, &renamed].map(|library| &*library.manifest().name);
    assert_eq!(names, ["mycelia-echo", "mycelia-counter", "mycelia-echo"]);
    assert_eq!(
        [&old, &overwritten, &renamed].map(|library| library.module().abilities()),
        [0, HAS_STATE, 0]
    );
}

#[test]
fn what_was_checked_is_loaded() {
    let folder = folder_with(&[("lib.so", &echo())]);
    let path = folder.path().join("lib.so");
    let checked = Image::read(&path).unwrap().preflight().unwrap();
    fs::copy(plugin("mycelia_counter"), &path).unwrap();
    assert_eq!(checked.load("echo@1").unwrap().module().abilities(), 0);
}

#[test]
fn a_dropped_library_leaves_its_path_to_the_next() {
    for name in ["mycelia_echo", "mycelia_counter", "mycelia_echo", "mycelia_counter"] {
        let library = load(&plugin(name));
        assert_eq!(library.module().abilities() != 0, name == "mycelia_counter");
    }
}

#[test]
fn a_path_that_dlopen_answers_with_an_older_library_is_passed_over() {
    // A system that executes no memory has no such paths.
    let Ok(older) = Sealed::in_memory("older@1", &echo()) else { return };
    let taken = older.path();
    let _mapped = code::open(&taken, Path::new("older")).unwrap();
    drop(older);
    let counter = plugin("mycelia_counter");
    // Other tests open files meanwhile, so the number may be free only later, or never.
    let mut others: Vec<Sealed> = Vec::new();
    let again = (0..8).find_map(|_| {
        let sealed = Sealed::in_memory("newer@1", &fs::read(&counter).unwrap()).unwrap();
        if sealed.path() == taken {
            Some(sealed)
        } else {
            others.push(sealed);
            None
        }
    });
    let Some(again) = again else { return };
    let newer = Image::read(&counter).unwrap().preflight().unwrap().staged(again).load().unwrap();
    assert_eq!(newer.module().abilities(), HAS_STATE);
}

#[test]
fn a_file_serves_where_memory_is_not_executed() {
    let sealed = Sealed::in_file("kv/1@1", &echo()).unwrap();
    let (file, folder) = (sealed.path(), sealed.path().parent().unwrap().to_owned());
    assert_eq!(file.file_name().unwrap(), "kv_1@1.so");
    let checked = Image::read(&plugin("mycelia_echo")).unwrap().preflight().unwrap();
    let library = checked.staged(sealed).load().unwrap();
    assert_eq!(library.module().abilities(), 0);
    assert!(!file.exists() && !folder.exists());
}

#[test]
fn a_child_gets_the_memory_or_the_path_of_the_file() {
    let sealed = Sealed::in_file("file@1", &echo()).unwrap();
    assert_eq!(sealed.for_child().unwrap().1, Some(&*sealed.path()));
    if let Ok(sealed) = Sealed::in_memory("memory@1", &echo()) {
        assert!(sealed.for_child().unwrap().1.is_none());
    }
}

#[test]
fn an_unloaded_library_is_not_mapped_and_a_loaded_one_is() {
    for sealed in [Sealed::in_memory("maps@1", &echo()), Sealed::in_file("maps@1", &echo())] {
        let Ok(sealed) = sealed else { continue };
        assert!(!sealed.is_executable_mapped());
        let code = code::Code::load(&sealed.path(), Path::new("lib.so")).unwrap();
        assert!(sealed.is_executable_mapped() && code::is_loaded(&sealed.path()));
        code.unload();
        assert!(!sealed.is_executable_mapped() && !code::is_loaded(&sealed.path()));
    }
}

#[test]
fn a_file_that_is_refused_is_removed() {
    let sealed = Sealed::in_file("bad@1", b"no library").unwrap();
    let folder = sealed.path().parent().unwrap().to_owned();
    let checked = Image::read(&plugin("mycelia_echo")).unwrap().preflight().unwrap();
    assert_eq!(checked.staged(sealed).load().map(drop).unwrap_err().step(), "load");
    assert!(!folder.exists());
}

#[test]
fn what_is_no_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    let _socket = UnixListener::bind(path("socket")).unwrap();
    check_path(&path("none.so"), "read", "cannot read FILE: No such file");
    check_path(folder.path(), "read", "FILE is a folder, not a file");
    check_path(&path("pipe"), "read", "FILE is a pipe, not a file");
    check_path(&path("socket"), "read", "FILE is a socket or a device, not a file");
    check_path(Path::new("/dev/zero"), "read", "FILE is a socket or a device, not a file");
}

#[test]
fn a_huge_file_is_not_read() {
    let folder = folder_with(&[("lib.so", b"")]);
    let path = folder.path().join("lib.so");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    check_path(&path, "read", "has 1099511627776 bytes, more than the 1073741824 that are read");
}

#[test]
fn what_is_no_library_says_what_it_is() {
    check(b"", "read", "FILE is empty; it is being written");
    check(b"fn main() {}\n", "preflight", "FILE is a text file, not a shared library");
    check("é".repeat(400).as_bytes(), "preflight", "FILE is a text file");
    check(b"PK\x03\x04\0\0", "preflight", "FILE is not a shared library: it has no ELF header");
    check(&[0; 4096], "preflight", "FILE is not complete: its header is still blank");
    check(b"\x7fE", "preflight", "FILE is not complete: its header ends at byte 64 of 2;");
    check_path(
        &std::env::current_exe().unwrap(),
        "preflight",
        "is an executable, not a shared library",
    );
}

#[test]
fn other_kinds_of_elf_are_refused() {
    let with = |place: usize, value: &[u8]| {
        let mut bytes = echo();
        bytes[place..][..value.len()].copy_from_slice(value);
        bytes
    };
    check(
        &with(18, &[183, 0]),
        "preflight",
        "is built for aarch64, this host is x86_64; build it with --target x86_64-",
    );
    check(&with(4, &[1]), "preflight", "is built for another machine (32-bit, number 62)");
    check(&with(5, &[2]), "preflight", "is built for another machine (64-bit, number 15872)");
    check(
        &with(16, &[1]),
        "preflight",
        "is an object file, not a shared library; build it with crate-type",
    );
    check(&with(16, &[2]), "preflight", "is an executable");
    check(&with(16, &[4]), "preflight", "is a core dump");
    check(&with(40, &[0xff; 8]), "preflight", "the section headers end beyond any file");
    check(&with(58, &[1]), "preflight", "Invalid ELF section header entry size");
}

#[test]
fn a_library_that_is_no_plugin_is_refused() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = maps
        .split_whitespace()
        .find(|word| word.contains("/libc.so"))
        .expect("the tests are linked with libc");
    check_path(
        Path::new(libc),
        "preflight",
        "FILE has no Mycelia manifest: it is a library but no plugin; does it call",
    );
    check(
        &patched("_1as_0lib_1header", "_1as_0lib_1footer"),
        "preflight",
        "does not export its functions, `_1as_0lib_1h",
    );
}

#[test]
fn a_manifest_decides() {
    let with_abi =
        |version: &str| patched(&format!("{MAGIC}\t1\t0\n"), &format!("{MAGIC}\t{version}\n"));
    let built = "FILE was built for ABI";
    check(
        &with_abi("1\t9"),
        "preflight",
        &format!("{built} 1.9, this host speaks 1.0; build it with mycelia-plugin 0.1"),
    );
    check(&with_abi("0\t1"), "preflight", &format!("{built} 0.1, this host speaks 1.0"));
    check(
        &patched("panic\tunwind", "panic\tabort\0"),
        "preflight",
        "panic = \"abort\" and cannot be contained; build it",
    );
    check(
        &patched("unload\thooks", "unload\tnever"),
        "preflight",
        "FILE was built without the hooks that let it be unloaded; build it with export_subsystem! of",
    );
    check(
        &patched(MAGIC, "mycelia-manifesT"),
        "preflight",
        "manifest is damaged: it does not begin as a manifest does",
    );
    check(&patched("\nend\n", "\nEnd\n"), "preflight", "manifest is damaged: it ends too early");
    check(
        &patched("name\tmycelia-echo", "nama\tmycelia-echo"),
        "preflight",
        "damaged: it has no name or no version",
    );
    check(
        &patched("name\tmycelia-echo", "name\tmycelia\techo"),
        "preflight",
        "damaged: its line `name",
    );
}

#[test]
fn a_later_abi_with_another_manifest_is_told_as_such() {
    let mut bytes = patched(&format!("{MAGIC}\t1\t0\n"), &format!("{MAGIC}\t2\t0\n"));
    let place = places(&bytes, b"\nend\n").next().unwrap();
    bytes[place + 1] = b'x';
    check(&bytes, "preflight", "FILE was built for ABI 2.0, this host speaks 1.0");
}

#[test]
fn what_the_loader_refuses_is_told_in_its_words() {
    check(
        &patched("libc.so.6\0", "libx.so.6\0"),
        "load",
        "the loader refused it: libx.so.6: cannot open shared object",
    );
}

#[test]
fn another_abi_stable_is_refused() {
    let magic =
        String::from_utf8(abi_stable::library::AbiHeader::VALUE.magic_string.to_vec()).unwrap();
    check(
        &patched(&magic, &magic.replacen('a', "A", 1)),
        "load",
        "FILE was built with another abi_stable than this host",
    );
}

#[test]
fn another_layout_under_the_same_version_is_refused() {
    let bytes = patched("abilities", "abilitieS");
    check(&bytes, "load", "FILE has another layout of the ABI's types than this host although it");
    check(&bytes, "load", "one source: Error:unexpected field Expected: field_name:abilities type");
}

#[test]
fn every_truncation_is_refused_as_incomplete() {
    let (path, bytes) = (Path::new("lib.so"), echo());
    for part in 1..200 {
        let error =
            preflight::check(path, &bytes[..bytes.len() * part / 200]).expect_err("it is cut");
        assert!(error.is_incomplete(), "at {part}/200: {error}");
    }
    assert!(
        preflight::check(path, &bytes[..bytes.len() - 1]).is_err_and(|error| error.is_incomplete())
    );
    assert!(preflight::check(path, &[&bytes, &b"more"[..]].concat()).is_ok());
}

#[test]
fn flipped_bytes_never_panic() {
    let (path, mut bytes, mut number) = (Path::new("lib.so"), echo(), numbers());
    let ranges = read_by_preflight(&bytes);
    let mut refused = 0;
    for _ in 0..2_000 {
        let range = &ranges[number(ranges.len())];
        let place = range.start + number(range.len());
        let old = std::mem::replace(&mut bytes[place], number(256) as u8);
        refused += usize::from(preflight::check(path, &bytes).is_err());
        bytes[place] = old;
    }
    assert!(preflight::check(path, &bytes).is_ok());
    assert!((200..2_000).contains(&refused), "{refused} were refused");
}

#[test]
fn many_flipped_bytes_never_panic() {
    let (path, good, mut number) = (Path::new("lib.so"), echo(), numbers());
    let (ranges, mut bytes) = (read_by_preflight(&good), good.clone());
    for _ in 0..500 {
        for range in &ranges {
            for _ in 0..number(4) {
                bytes[range.start + number(range.len())] = [0, 0xff, 0x80, 1][number(4)];
            }
        }
        let _ = preflight::check(path, &bytes);
        for range in &ranges {
            bytes[range.clone()].copy_from_slice(&good[range.clone()]);
        }
    }
}

#[test]
fn names_are_found_in_order() {
    let (one, two) =
        (folder_with(&[("libkv.so", b"")]), folder_with(&[("libkv.so", b""), ("libhttp.so", b"")]));
    let search = [one.path().to_owned(), two.path().to_owned()];
    assert_eq!(find("kv", Path::new("/"), &search).unwrap(), one.path().join("libkv.so"));
    assert_eq!(find("http", Path::new("/"), &search).unwrap(), two.path().join("libhttp.so"));
    assert_eq!(find("./libhttp.so", two.path(), &[]).unwrap(), two.path().join("./libhttp.so"));
    assert_eq!(
        find("libhttp.so", two.path(), &search[..1]).unwrap(),
        two.path().join("libhttp.so")
    );
    let absolute = two.path().join("libhttp.so");
    assert_eq!(find(absolute.to_str().unwrap(), Path::new("/none"), &[]).unwrap(), absolute);
}

#[test]
fn a_name_that_is_not_found_is_told_with_what_is_there() {
    let folder =
        folder_with(&[("libmycelia_kv.so", b""), ("libmycelia_http.so", b""), ("notes.txt", b"")]);
    let search = [PathBuf::from("/nowhere"), folder.path().to_owned()];
    let said = |name: &str| {
        let error = find(name, folder.path(), &search).unwrap_err();
        assert_eq!(error.step(), "find");
        error.to_string().replace(folder.path().to_str().unwrap(), "FOLDER")
    };
    assert_eq!(
        said("mycelia_vk"),
        "cannot find the plugin `mycelia_vk`: there is no libmycelia_vk.so in /nowhere, FOLDER; \
         did you mean `mycelia_kv`?"
    );
    assert!(said("kv").ends_with("did you mean `mycelia_kv`?"));
    assert!(said("mycelia-http").ends_with("did you mean `mycelia_http`?"));
    assert!(
        said("mycelia_echo").ends_with("; build it, or name its folder in MYCELIA_PLUGIN_PATH")
    );
    assert!(
        said("./libmycelia_htp.so").ends_with("in FOLDER; did you mean `./libmycelia_http.so`?")
    );
    assert!(
        find("kv", Path::new("/"), &[])
            .unwrap_err()
            .to_string()
            .contains("set MYCELIA_PLUGIN_PATH")
    );
}

#[test]
fn the_search_path_begins_with_the_environment() {
    let folders =
        |env: Option<&str>| search_path(env.map(OsString::from), Path::new("/opt/bin/mycelia"));
    assert_eq!(folders(None), ["/opt/bin", "/opt/bin/deps"].map(PathBuf::from));
    assert_eq!(
        folders(Some("/a::/b")),
        ["/a", "/b", "/opt/bin", "/opt/bin/deps"].map(PathBuf::from)
    );
}

#[test]
fn inspect_tells_what_a_library_says() {
    let path = plugin("mycelia_echo");
    let inspection = inspect(&path).unwrap();
    let hash = blake3::hash(&echo()).to_hex();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        serde_json::to_string(&inspection).unwrap(),
        format!(
            r#"{{"name":"mycelia-echo","version":"{version}","abi":"1.0","hash":"{hash}",{}{}}}"#,
            r#""routes":[{"pattern":"","scope":null},{"pattern":"{*path}","scope":null}],"#,
            r#""events":[],"listens":[],"needs":[],"state_schema":0,"panic":"unwind""#
        )
    );
    assert_eq!(
        inspection.to_text(),
        format!(
            "mycelia-echo {version}\n  abi    1.0\n  hash   {hash}\n  state  none\n  panic  unwind\n\
             routes\n  (empty)  -\n  {{*path}}  -\n"
        )
    );
}

#[test]
fn inspect_shows_a_plugin_that_the_host_refuses() {
    let folder = folder_with(&[("lib.so", &patched("panic\tunwind", "panic\tabort\0"))]);
    assert_eq!(inspect(&folder.path().join("lib.so")).unwrap().panic, "abort");
}

#[test]
fn a_table_is_safe_for_a_terminal() {
    let route = |pattern: &str, scope: Option<&str>, note: &str| InspectionRoute {
        pattern: pattern.into(),
        scope: scope.map(Into::into),
        note: note.into(),
    };
    let inspection = Inspection {
        name: "evil\x1b[2J".into(),
        version: "1.0.0".into(),
        abi: "1.0".into(),
        hash: "ab".into(),
        routes: vec![
            route("add/{name}", Some("write"), "to count"),
            route("r", None, "every 10s, by its own timer"),
        ],
        events: vec![route("counted/{name}", Some("read"), "to follow it")],
        listens: vec!["orders://placed\u{7}/{id}".into()],
        needs: vec![InspectionNeed {
            scope: "kv:write".into(),
            reason: "to keep the totals".into(),
        }],
        state_schema: 2,
        panic: "unwind",
    };
    let text = "evil\u{fffd}[2J 1.0.0
  abi    1.0
  hash   ab
  state  schema 2
  panic  unwind
routes
  add/{name}  write  to count
  r           -      every 10s, by its own timer
events
  counted/{name}  read  to follow it
listens to
  orders://placed\u{fffd}/{id}
needs
  kv:write  to keep the totals
";
    assert_eq!(inspection.to_text(), text);
}
