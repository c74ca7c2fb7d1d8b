//! One reload of the counter in a running host: of the same build when it is asked for, and of another build that is put
//! in place of its file.
//!
//! Every reload was committed, and what was counted before is still there after it.

mod settings;

use mycelia::{
    operator::Operator,
    report::{ReloadReport, ReloadTimes, StateFate},
};
use mycelia_benches::{bare_library, serving::Serving};
use std::{
    cell::Cell,
    fs,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const FILE: &str = "libcounter.so";
/// The longest wait for a reload.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a build serves; the figures are the host's own.
const LOOK: Duration = Duration::from_micros(200);

fn main() -> ExitCode {
    // The host tries each build in a child process, which is this program.
    if let Some(code) = mycelia::loader::answer_probe() {
        return code;
    }
    let mut criterion = settings::criterion();
    let shelf = Shelf::new();
    let mut group = criterion.benchmark_group("reload");
    group.bench_function("asked for, the same build", |bencher| {
        bencher.iter_custom(|times| shelf.times(times, Shelf::again, |times| times.total));
    });
    for (name, phase) in PHASES {
        group.bench_function(format!("another build, {name}"), |bencher| {
            bencher.iter_custom(|times| shelf.times(times, Shelf::another, phase));
        });
    }
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}

type Phase = fn(&ReloadTimes) -> Duration;

const PHASES: [(&str, Phase); 4] = [
    ("whole until it serves", |times| times.total),
    ("tried in a child", |times| times.probe),
    ("loaded and rehearsed", |times| times.check + times.load + times.rehearsal + times.create),
    ("paused", |times| times.pause + times.snapshot),
];

/// A host, and the file of its one plugin.
struct Shelf {
    host: Serving,
    folder: TempDir,
    build: Vec<u8>,
    /// Of the last build.
    number: Cell<u64>,
    counted: Cell<i64>,
}

impl Shelf {
    fn new() -> Shelf {
        let folder = TempDir::new().expect("there is room for temporary files");
        let build = bare_library("mycelia_counter").unwrap_or_else(|error| panic!("{error}"));
        let file = folder.path().join(FILE);
        fs::write(&file, &build).expect("there is room for temporary files");
        let host = Serving::start(&format!(
            r#"(workers: 1, subsystems: {{
                "counter": (plugin: {:?}, probation: (messages: 1, for: "1ms", panics: 1)),
            }})"#,
            file.display().to_string()
        ));
        Shelf { host, folder, build, number: Cell::new(0), counted: Cell::new(0) }
    }

    /// The sum of a phase of so many reloads.
    fn times(&self, times: u64, reload: fn(&Shelf) -> ReloadReport, phase: Phase) -> Duration {
        let committed = || {
            let reloads = self.slot().status().reloads;
            assert_eq!((reloads.refused, reloads.rolled_back), (0, 0));
            reloads.committed
        };
        let before = committed();
        let took = (0..times).map(|_| phase(&self.counting(reload).times)).sum();
        assert_eq!(committed() - before, times, "each reload is one");
        took
    }

    fn slot(&self) -> &'static mycelia::runtime::Slot {
        self.host.runtime.named("counter").expect("it is in the config")
    }

    /// Counts on before the reload and after it.
    fn counting(&self, reload: fn(&Shelf) -> ReloadReport) -> ReloadReport {
        self.count();
        let report = reload(self);
        assert_eq!(report.state, StateFate::Kept);
        self.count();
        report
    }

    fn count(&self) {
        self.counted.set(self.counted.get() + 1);
        let count = self.host.ask("counter://add/reloads", b"1");
        assert_eq!(String::from_utf8_lossy(&count), self.counted.get().to_string());
    }

    fn again(&self) -> ReloadReport {
        let (done, told) = mpsc::channel();
        // Nobody is told after the host gave up, and then this has panicked.
        self.host.runtime.reload("counter", Box::new(move |result| drop(done.send(result))));
        let told = told.recv_timeout(PATIENCE).expect("a reload ends");
        told.unwrap_or_else(|error| panic!("{error}"))
    }

    /// What follows the end of a library belongs to its bytes and changes nothing in it.
    fn another(&self) -> ReloadReport {
        self.number.set(self.number.get() + 1);
        let build = [&self.build[..], &self.number.get().to_le_bytes()].concat();
        let new = self.folder.path().join("new");
        let before = self.slot().status().generation;
        let put =
            fs::write(&new, build).and_then(|()| fs::rename(&new, self.folder.path().join(FILE)));
        put.expect("there is room for temporary files");
        self.await_build(before)
    }

    fn await_build(&self, before: u32) -> ReloadReport {
        let until = Instant::now() + PATIENCE;
        loop {
            let last = self.host.runtime.last_reload("counter");
            match last.filter(|report| report.generation > before) {
                Some(report) => return report,
                None => assert!(Instant::now() < until, "the build does not serve"),
            }
            thread::sleep(LOOK);
        }
    }
}
