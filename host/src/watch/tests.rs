//! Real files that are replaced in every way we know of, with notifications alone and with polling alone.
//!
//! That nothing is reported is shown by what comes next: another change is made, and exactly that one arrives.

use super::*;
use crate::loader::{find, search_path};
use notify::event::Flag;
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::symlink,
    process::Command,
    sync::{OnceLock, mpsc},
    thread::sleep,
};
use tempfile::TempDir;

/// For what must happen.
const SOON: Duration = Duration::from_secs(20);
/// For what must not.
const A_WHILE: Duration = Duration::from_millis(100);
/// For what must not happen while the test lasts.
const NEVER: Duration = Duration::from_secs(3600);

const NOTIFIED: fn() -> Pace = || Pace { poll: NEVER, patience: NEVER, is_notified: true };
const POLLED: fn() -> Pace =
    || Pace { poll: Duration::from_millis(5), patience: NEVER, is_notified: false };
const BOTH: fn() -> Pace = || Pace { is_notified: true, ..POLLED() };

/// A plugin of which there are 255 builds, none of them as long as another.
fn build(number: u8) -> Vec<u8> {
    static ECHO: OnceLock<Vec<u8>> = OnceLock::new();
    let echo = ECHO.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        fs::read(find("mycelia_echo", Path::new(""), &search_path(None, &own)).unwrap()).unwrap()
    });
    [echo.as_slice(), &vec![number; usize::from(number)]].concat()
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// `plugins/lib.so` in a folder of its own, of which build 0 was loaded, and whoever watches it.
struct Bench {
    folder: TempDir,
    changes: mpsc::Receiver<Change>,
    watch: Watch,
}

impl Bench {
    fn new(pace: Pace) -> Self {
        Self::with(pace, |folder| {
            fs::create_dir(folder.join("plugins")).unwrap();
            fs::write(folder.join("plugins/lib.so"), build(0)).unwrap();
        })
    }

    fn with(pace: Pace, prepare: impl Fn(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let (path, hash) = (folder.path().join("plugins/lib.so"), hash(&build(0)));
        let (changed, changes) = mpsc::channel();
        let send = move |change| changed.send(change).unwrap();
        let watch = Watch::start_with(vec![Watched { path, hash }], pace, send).unwrap();
        Bench { folder, changes, watch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn library(&self) -> PathBuf {
        self.path("plugins/lib.so")
    }

    fn write(&self, bytes: &[u8]) {
        fs::write(self.library(), bytes).unwrap();
    }

    /// Runs a command line in the library's folder.
    #[track_caller]
    fn run(&self, line: &str) {
        let mut shell = Command::new("sh");
        let status = shell.args(["-ec", line]).current_dir(self.path("plugins")).status();
        assert!(status.unwrap().success(), "{line}");
    }

    #[track_caller]
    fn next(&self, case: &str) -> Change {
        let change = self.changes.recv_timeout(SOON);
        let change = change.unwrap_or_else(|_| panic!("{case}: nothing is reported"));
        assert_eq!(change.path, self.library(), "{case}");
        change
    }

    /// That the next report is of these bytes.
    #[track_caller]
    fn expect(&self, case: &str, bytes: &[u8]) {
        match self.next(case).result {
            Ok(image) => assert!(image.hash() == hash(bytes), "{case}: it has other bytes"),
            Err(error) => panic!("{case}: {error}"),
        }
    }

    /// That the next report is this error.
    #[track_caller]
    fn expect_error(&self, case: &str, text: &str) {
        let error = self.next(case).result.map(drop).expect_err(case).to_string();
        assert!(error.contains(text), "{case}: {error}");
    }

    /// That there was no report which is not expected, and the watch still works.
    #[track_caller]
    fn finish(self) {
        sleep(A_WHILE);
        self.write(&build(255));
        self.expect("the end", &build(255));
        drop(self.watch);
        assert!(self.changes.recv().is_err(), "there is one report too many");
    }
}

/// The ways of replacing `lib.so` by `../new`, and both are on one file system.
const REPLACEMENTS: &[&str] = &[
    "cp ../new lib.so",
    "cat ../new > lib.so",
    "dd if=../new of=lib.so bs=64k status=none",
    "cp ../new lib.so.part; mv lib.so.part lib.so",
    "mv ../new lib.so",
    "ln -f ../new lib.so",
    "rm lib.so; sleep 0.05; ln ../new lib.so",
    "install -m 755 ../new lib.so",
    "rm lib.so; cp ../new lib.so",
    "rm lib.so; sleep 0.02; cp ../new lib.so",
    "cp -p ../new lib.so; touch -d 2001-01-01 lib.so",
    "cp ../new target.so; ln -sf target.so lib.so",
];

#[test]
fn every_replacement_is_reported_once() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::new(pace());
        for (line, number) in REPLACEMENTS.iter().zip(1..) {
            fs::write(bench.path("fresh"), build(number)).unwrap();
            fs::rename(bench.path("fresh"), bench.path("new")).unwrap();
            bench.run(line);
            bench.expect(line, &build(number));
            // Nobody writes through what a case has linked.
            bench.run("rm -f ../new; cp lib.so copy; mv copy lib.so");
        }
        bench.finish();
    }
}

#[test]
fn a_slow_write_is_reported_once_and_whole() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::new(pace());
        let bytes = build(1);
        let mut file = fs::File::create(bench.library()).unwrap();
        for chunk in bytes.chunks(bytes.len().div_ceil(20)) {
            file.write_all(chunk).unwrap();
            sleep(Duration::from_millis(8));
        }
        drop(file);
        bench.expect("slow", &bytes);
        bench.finish();
    }
}

#[test]
fn an_interrupted_write_is_waited_for() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::new(pace());
        let bytes = build(1);
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        let mut file = fs::File::create(bench.library()).unwrap();
        file.write_all(first).unwrap();
        // More than all short steps together.
        sleep(Duration::from_millis(1000));
        file.write_all(rest).unwrap();
        drop(file);
        bench.expect("interrupted", &bytes);
        bench.finish();
    }
}

#[test]
fn half_a_file_that_is_left_alone_is_reported_and_so_is_its_rest() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::new(Pace { patience: Duration::from_millis(300), ..pace() });
        let bytes = build(1);
        bench.write(&bytes[..bytes.len() / 2]);
        bench.expect_error("half", "is not complete");
        sleep(A_WHILE);
        let mut file = fs::OpenOptions::new().append(true).open(bench.library()).unwrap();
        file.write_all(&bytes[bytes.len() / 2..]).unwrap();
        drop(file);
        bench.expect("the rest", &bytes);
        bench.write(&[]);
        bench.expect_error("empty", "is empty");
        bench.finish();
    }
}

#[test]
fn the_same_content_is_no_change() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::new(pace());
        let lines = ["touch lib.so", "cp lib.so ../same; cp ../same lib.so", "mv ../same lib.so"];
        let away = ["mv lib.so ../away", "mv ../away lib.so", "rm lib.so"];
        for line in lines.iter().chain(&away) {
            bench.run(line);
            sleep(A_WHILE / 5);
        }
        bench.write(&build(0));
        sleep(A_WHILE);
        bench.run("rm lib.so");
        bench.write(&build(1));
        bench.expect("other content", &build(1));
        bench.write(&build(0));
        bench.expect("the first content again", &build(0));
        bench.finish();
    }
}

#[test]
fn what_was_tried_by_other_means_is_no_change() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::new(pace());
        bench.watch.tried(&bench.library(), &hash(&build(1)));
        bench.write(&build(1));
        sleep(A_WHILE);
        bench.write(&build(2));
        // A first look may come so late that build 0 is not what was tried last, either.
        let image = || bench.next("not tried").result.unwrap_or_else(|error| panic!("{error}"));
        let mut reported = image();
        if reported.hash() == hash(&build(0)) {
            reported = image();
        }
        assert!(reported.hash() == hash(&build(2)), "it has other bytes");
        bench.finish();
    }
}

#[test]
fn what_is_no_library_is_reported_once() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::new(pace());
        bench.write(b"make: *** no rule");
        let image = bench.next("text").result.unwrap_or_else(|error| panic!("{error}"));
        let error = image.preflight().map(drop).unwrap_err().to_string();
        assert!(error.contains("is a text file"), "{error}");
        bench.run("touch lib.so");
        sleep(A_WHILE);
        bench.write(&build(0));
        bench.expect("good again", &build(0));
        bench.finish();
    }
}

#[test]
fn what_cannot_be_read_is_reported_once() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::new(pace());
        bench.run("mv lib.so ../away; mkdir lib.so");
        bench.expect_error("folder", "is a folder, not a file");
        sleep(A_WHILE);
        bench.run("rmdir lib.so; mv ../away lib.so");
        sleep(A_WHILE);
        bench.write(&build(1));
        bench.expect("other content", &build(1));
        bench.finish();
    }
}

#[test]
fn a_file_that_changed_before_the_watch_is_reported() {
    for pace in [NOTIFIED, POLLED] {
        let bench = Bench::with(pace(), |folder| {
            fs::create_dir(folder.join("plugins")).unwrap();
            fs::write(folder.join("plugins/lib.so"), build(1)).unwrap();
        });
        bench.expect("changed before", &build(1));
        bench.finish();
    }
}

#[test]
fn a_folder_may_come_and_go() {
    for pace in [BOTH, POLLED] {
        let bench = Bench::with(pace(), |_| {});
        fs::create_dir(bench.path("plugins")).unwrap();
        bench.write(&build(1));
        bench.expect("made later", &build(1));

        fs::remove_dir_all(bench.path("plugins")).unwrap();
        sleep(A_WHILE);
        fs::create_dir(bench.path("plugins")).unwrap();
        bench.write(&build(2));
        bench.expect("made again", &build(2));

        fs::create_dir(bench.path("other")).unwrap();
        fs::write(bench.path("other/lib.so"), build(3)).unwrap();
        fs::rename(bench.path("plugins"), bench.path("old")).unwrap();
        fs::rename(bench.path("other"), bench.path("plugins")).unwrap();
        bench.expect("replaced", &build(3));
        fs::write(bench.path("old/lib.so"), build(4)).unwrap();
        bench.finish();
    }
}

#[test]
fn a_symlink_may_be_pointed_elsewhere() {
    for pace in [BOTH, POLLED] {
        let bench = Bench::with(pace(), |folder| {
            for number in [0, 1, 2] {
                let build_folder = folder.join(format!("build-{number}"));
                fs::create_dir(&build_folder).unwrap();
                fs::write(build_folder.join("lib.so"), build(number)).unwrap();
            }
            symlink("build-0", folder.join("plugins")).unwrap();
        });
        for number in [1, 2] {
            symlink(format!("build-{number}"), bench.path("next")).unwrap();
            fs::rename(bench.path("next"), bench.path("plugins")).unwrap();
            bench.expect("the folder", &build(number));
        }
        bench.run("mv lib.so ../target.so; ln -s ../target.so lib.so");
        sleep(A_WHILE);
        fs::write(bench.path("target.so"), build(3)).unwrap();
        bench.expect("what the file points to", &build(3));
        bench.finish();
    }
}

#[test]
fn of_many_files_each_is_reported_once() {
    for pace in [NOTIFIED, POLLED] {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: usize| folder.path().join(format!("{number}.so"));
        let files = (0..100).chain(0..100).map(|number| {
            fs::write(path(number), "old").unwrap();
            Watched { path: path(number), hash: hash(b"old") }
        });
        let (changed, changes) = mpsc::channel();
        let send = move |change| changed.send(change).unwrap();
        let watch = Watch::start_with(files.collect(), pace(), send).unwrap();
        // Renamed, since text is reported while it is written.
        let write = |number: usize| {
            fs::write(folder.path().join("new"), format!("new {number}")).unwrap();
            fs::rename(folder.path().join("new"), path(number)).unwrap();
        };
        (0..100).rev().for_each(write);
        let mut reported: Vec<PathBuf> =
            (0..100).map(|_| changes.recv_timeout(SOON).unwrap().path).collect();
        reported.sort_unstable();
        reported.dedup();
        assert_eq!(reported.len(), 100);
        sleep(A_WHILE);
        drop(watch);
        assert!(changes.recv().is_err(), "there is one report too many");
    }
}

#[test]
fn a_path_from_which_two_contents_were_loaded_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lib.so");
    fs::write(&path, build(1)).unwrap();
    let file = |number| Watched { path: path.clone(), hash: hash(&build(number)) };
    let (changed, changes) = mpsc::channel();
    let send = move |change| changed.send(change).unwrap();
    let _watch = Watch::start(vec![file(1), file(0), file(1)], send).unwrap();
    assert_eq!(changes.recv_timeout(SOON).unwrap().path, path);
}

#[test]
fn every_file_is_looked_at_when_events_are_lost() {
    let lost = [
        Ok(Event::new(notify::EventKind::Other).set_flag(Flag::Rescan)),
        Err(notify::Error::generic("broken")),
    ];
    for event in lost {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lib.so");
        fs::write(&path, build(0)).unwrap();
        let files = tracked(vec![Watched { path: path.clone(), hash: hash(&build(0)) }]);
        let (mut reported, now) = (0, Instant::now());
        let changed = |_| reported += 1;
        let pace = Pace { poll: NEVER, ..POLLED() };
        let mut watcher =
            Watcher { files, folders: Folders::polled(), changed, pace, next_poll: now };
        watcher.look(now);
        fs::write(&path, build(1)).unwrap();
        watcher.look(Instant::now());
        assert!(watcher.take(Signal::Event { at: Instant::now(), event }).is_continue());
        watcher.look(Instant::now());
        drop(watcher);
        assert_eq!(reported, 1);
    }
}

/// With notifications alone; what the poll finds would hide that there are none.
#[test]
fn a_folder_is_watched_again_after_it_was_replaced() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let (signals, inbox) = channel();
    ["one", "two"].iter().for_each(|name| fs::create_dir(path(name)).unwrap());
    symlink("one", path("current")).unwrap();
    let watched = BTreeSet::from(["current", "one", "two", "late", ""].map(path));
    let mut folders = Folders::notified(watched, notifier(&signals));
    let expect_events = |name: &str, folders: &mut Folders| {
        folders.keep();
        fs::write(path(name).join("lib.so"), name).unwrap();
        loop {
            match inbox.recv_timeout(SOON).unwrap_or_else(|_| panic!("{name} has no events")) {
                Signal::Event { event: Ok(event), .. } if !event.paths.is_empty() => {
                    let is_gone = matches!(event.kind, Remove(_) | Modify(ModifyKind::Name(_)));
                    if is_gone && folders.contains(&event.paths[0]) {
                        folders.forget();
                        folders.keep();
                        fs::write(path(name).join("lib.so"), name).unwrap();
                    }
                    // Two paths to one folder have their events under one of them.
                    let file = fs::canonicalize(&event.paths[0]).unwrap_or_default();
                    let is_written = matches!(event.kind, Access(_));
                    if is_written && file == fs::canonicalize(path(name)).unwrap().join("lib.so") {
                        return;
                    }
                }
                _ => {}
            }
        }
    };
    for name in ["one", "two", "current"] {
        expect_events(name, &mut folders);
    }
    fs::create_dir(path("late")).unwrap();
    expect_events("late", &mut folders);

    // The folder that both paths led to keeps its watch when one of them leads elsewhere.
    symlink("two", path("next")).unwrap();
    fs::rename(path("next"), path("current")).unwrap();
    for name in ["current", "one", "two"] {
        expect_events(name, &mut folders);
    }
    fs::rename(path("one"), path("old")).unwrap();
    fs::create_dir(path("one")).unwrap();
    expect_events("one", &mut folders);

    // Its parent is watched too, so notify gives up on the folder, which has the number that it had.
    fs::rename(path("one"), path("away")).unwrap();
    fs::rename(path("away"), path("one")).unwrap();
    // More often than there can be events from before notify did.
    for _ in 0..20 {
        expect_events("one", &mut folders);
    }
    expect_events("one", &mut folders);
}

/// A folder that takes the place of another often gets its number, and must not pass for it.
#[test]
fn a_folder_made_anew_is_watched_without_a_poll() {
    let bench = Bench::new(NOTIFIED());
    bench.write(&build(1));
    bench.expect("before", &build(1));
    let path = bench.path("plugins");
    // It is noticed that it is gone before or after it is there again; either way the next event finds it.
    fs::create_dir(bench.path("next")).unwrap();
    fs::write(bench.path("next/lib.so"), build(2)).unwrap();
    fs::remove_file(bench.library()).unwrap();
    fs::rename(bench.path("next"), &path).unwrap();
    bench.expect("in its place", &build(2));
    bench.finish();
}

#[test]
fn what_leaves_no_trace_is_found_by_another_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lib.so");
    fs::write(&path, "new").unwrap();
    let (mut file, now) = (File::new(path.clone(), String::new()), Instant::now());
    assert!(file.look(now, &NOTIFIED()).is_some());
    assert_eq!(file.due(), Some(now + NEVER), "a second write may have left the same times");
    assert!(file.look(now + NEVER, &NOTIFIED()).is_none());
    assert_eq!(file.due(), None);
    file.compare(now);
    assert_eq!(file.due(), None);

    let mut file = File::new(folder.path().into(), String::new());
    assert!(file.look(now, &NOTIFIED()).is_some());
    assert!(file.look(now + NEVER, &NOTIFIED()).is_none());
    file.compare(now + NEVER);
    assert_eq!(file.due(), Some(now + NEVER), "what kept it from being read may be over");
}

#[test]
fn a_change_was_seen_at_its_event_or_at_the_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lib.so");
    let (mut file, start) = (File::new(path.clone(), String::new()), Instant::now());
    let later = start + Duration::from_secs(1);
    fs::write(&path, "one").unwrap();
    file.replaced(start);
    assert_eq!(file.look(later, &NOTIFIED()).unwrap().seen, start);
    fs::write(&path, "two").unwrap();
    assert_eq!(file.look(later, &NOTIFIED()).unwrap().seen, later);
}

#[test]
fn patience_begins_with_the_last_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lib.so");
    let (mut file, start) = (File::new(path.clone(), String::new()), Instant::now());
    let pace = Pace { patience: Duration::from_secs(10), ..NOTIFIED() };
    let mut is_reported = |length: usize, second: u64| {
        fs::write(&path, &build(0)[..length]).unwrap();
        file.look(start + Duration::from_secs(second), &pace).is_some()
    };
    let cases = [(100, 0), (100, 9), (200, 9), (200, 18)];
    assert!(!cases.into_iter().any(|(length, second)| is_reported(length, second)));
    assert!(is_reported(200, 19));
}

/// How often a file is read when this happens to it 10,000 times in a second.
fn looks(file: &mut File, happens: impl Fn(&mut File, Instant)) -> usize {
    let (start, mut looks) = (Instant::now(), 0);
    for step in 0..10_000_u32 {
        let now = start + step * Duration::from_micros(100);
        happens(file, now);
        if file.due().is_some_and(|due| due <= now) {
            looks += 1;
            assert!(file.look(now, &NOTIFIED()).is_none());
        }
    }
    looks
}

#[test]
fn a_file_is_not_read_at_every_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lib.so");
    let half = build(1)[..100].to_vec();
    fs::write(&path, &half).unwrap();
    let file = || File::new(path.clone(), String::new());
    // At 0, 5, 15, 35, 85, 185, 385 and 885 ms.
    let written = looks(&mut file(), File::written);
    assert!((5..=8).contains(&written), "{written}");
    // Every second pause is cut short, so that the close which completes a file is not kept waiting.
    let replaced = looks(&mut file(), File::replaced);
    assert!((50..=401).contains(&replaced), "{replaced}");
    // What is known is read again, for it may have changed.
    let known = looks(&mut File::new(path.clone(), hash(&half)), File::written);
    assert!((50..=200).contains(&known), "{known}");
}
