//! A host that is killed under load and started again, over and over, on the same files.
//!
//! The host is a child process. It tells on a pipe which puts into its database were answered, and after each start what
//! the database and the file of dead letters have. Whatever was told before a kill must be there after it.

use crate::{library_file, serving::Serving};
use mycelia::{letters::Filter, operator::Operator, status::Phase};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The word that a program is started with as the host that is killed.
const WORD: &str = "host";
/// Senders of a host, each with so many keys of its own.
const WRITERS: u32 = 4;
const KEYS: u32 = 16;
/// The longest wait for anything that a host says.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is sent there becomes a letter.
const FAILS: &str = "f://fail/failed";
/// A host lives for less than this under load.
const LONGEST: u64 = 120;

/// What came of it.
pub struct Killed {
    /// How often a host was killed.
    pub kills: u32,
    /// Puts that were answered.
    pub puts: u64,
    /// Dead letters that there were, by the last number.
    pub letters: u64,
    took: Duration,
    /// What is wrong; nothing, if it went well.
    pub faults: Vec<String>,
}

/// Runs the host in this process if that is what it was started for, until it is killed. It comes first in the main
/// function of the program that is given to [`run`].
pub fn answer() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = &words[..]
        && word == WORD
    {
        host(Path::new(folder));
    }
}

/// Kills hosts that `program` runs; the seed decides when.
///
/// # Errors
/// If there is no folder for their files, or `program` cannot be started.
pub fn run(program: &Path, kills: u32, seed: u64) -> io::Result<Killed> {
    let folder = tempfile::Builder::new().prefix("mycelia-kills-").tempdir()?;
    let mut storm = Storm {
        program: program.to_owned(),
        folder,
        answered: BTreeMap::new(),
        killed: Killed { kills: 0, puts: 0, letters: 0, took: Duration::ZERO, faults: Vec::new() },
    };
    let (began, mut random) = (Instant::now(), seed | 1);
    while storm.killed.kills < kills && storm.killed.faults.is_empty() {
        // Xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        storm.round(Duration::from_millis(random % LONGEST))?;
        storm.killed.kills += 1;
    }
    // What the last one left.
    storm.round(Duration::ZERO)?;
    storm.killed.took = began.elapsed();
    Ok(storm.killed)
}

struct Storm {
    program: PathBuf,
    folder: TempDir,
    /// By key, the last put that was answered.
    answered: BTreeMap<String, u64>,
    killed: Killed,
}

impl Storm {
    /// Starts a host, holds what it has against what was told before, and kills it some time into its load.
    fn round(&mut self, load: Duration) -> io::Result<()> {
        let mut host = Host::start(&self.program, self.folder.path())?;
        if !self.greet(&host) {
            let said = host.said();
            self.fault(format!("the host does not start: {said}"));
            return Ok(());
        }
        thread::sleep(load);
        host.kill();
        // All that it said before its end; half a line is none.
        for line in host.lines.iter() {
            if let Some((key, number)) = word_and_number(&line, "put ") {
                self.answered.insert(key.to_owned(), number);
                self.killed.puts += 1;
            }
        }
        Ok(())
    }

    /// Whether it got as far as to serve.
    fn greet(&mut self, host: &Host) -> bool {
        let mut found = BTreeMap::new();
        while let Ok(line) = host.lines.recv_timeout(PATIENCE) {
            if let Some((key, number)) = word_and_number(&line, "has ") {
                found.insert(key.to_owned(), number);
            } else if let Some((_, last)) = word_and_number(&line, "letters ") {
                if last < self.killed.letters {
                    let before = self.killed.letters;
                    self.fault(format!("letter {last} is the last, and {before} was"));
                }
                self.killed.letters = last;
            } else if line == "ready" {
                self.compare(&found);
                return true;
            } else {
                self.fault(line);
            }
        }
        false
    }

    /// Every key has at least what was answered, and at most the one number more that its writer may have sent.
    fn compare(&mut self, found: &BTreeMap<String, u64>) {
        for (key, answered) in self.answered.clone() {
            let number = found.get(&key).copied();
            let most = self.last_of(&key) + 1;
            if !number.is_some_and(|number| (answered..=most).contains(&number)) {
                self.fault(format!(
                    "`{key}` has {number:?}, and {answered} was answered, {most} sent"
                ));
            }
        }
        self.answered.clone_from(found);
    }

    /// The last number of the writer of this key that is known.
    fn last_of(&self, key: &str) -> u64 {
        let writer = |key: &str| key.split('-').next().map(str::to_owned);
        let same = self.answered.iter().filter(|(other, _)| writer(other) == writer(key));
        same.map(|(_, number)| *number).max().unwrap_or(0)
    }

    fn fault(&mut self, fault: String) {
        let after = self.killed.kills;
        self.killed.faults.push(format!("after {after} kills: {fault}"));
    }
}

/// `put KEY NUMBER` as its key and its number.
fn word_and_number<'l>(line: &'l str, word: &str) -> Option<(&'l str, u64)> {
    let (key, number) = line.strip_prefix(word)?.split_once(' ')?;
    Some((key, number.parse().ok()?))
}

/// A host in a process of its own, which ends with this.
struct Host {
    child: Child,
    lines: Receiver<String>,
}

impl Host {
    fn start(program: &Path, folder: &Path) -> io::Result<Host> {
        let mut child = Command::new(program)
            .arg(WORD)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (tell, lines) = mpsc::channel();
        let mut pipe = BufReader::new(child.stdout.take().expect("it is piped"));
        thread::spawn(move || {
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|length| length > 0) {
                if let Some(whole) = line.strip_suffix('\n') {
                    let _gone = tell.send(whole.to_owned());
                }
                line.clear();
            }
        });
        Ok(Host { child, lines })
    }

    fn kill(&mut self) {
        // Both do nothing to a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it wrote for people.
    fn said(&mut self) -> String {
        self.kill();
        let mut text = String::new();
        let _read = self.child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut text));
        text
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The child's side.
fn host(folder: &Path) -> ! {
    // Whoever kills it holds the other end, and may be killed itself.
    thread::spawn(|| {
        let _end = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let serving = Serving::start(&config(folder));
    let serving = &serving;
    let rounds = tell_what_is_there(serving);
    println!("ready");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let next = rounds.get(&writer).map_or(1, |last| last + 1);
            scope.spawn(move || write(serving, writer, next));
        }
    });
    unreachable!("writers have no end")
}

fn config(folder: &Path) -> String {
    let library = |name| library_file(name).unwrap_or_else(|error| panic!("{error}"));
    let (data, letters) = (folder.join("data"), folder.join("dead.letters"));
    fs::create_dir_all(&data).expect("the folder for temporary files has room");
    format!(
        r#"(workers: 2, pool: "64MiB", data: {data:?}, dead_letters: (count: 500, bytes: "256KiB", file: {letters:?}),
            subsystems: {{ "kv": (plugin: {:?}), "f": (plugin: {:?}) }})"#,
        library("mycelia_kv"),
        library("mycelia_faulty"),
    )
}

/// Says what the files have, or what is wrong with it; answers the last number of each writer.
fn tell_what_is_there(serving: &Serving) -> BTreeMap<u32, u64> {
    let mut last = BTreeMap::new();
    for (name, status) in serving.runtime.status().subsystems {
        if status.phase != Phase::Running || status.last_error.is_some() {
            println!("`{name}` is {:?}: {:?}", status.phase, status.last_error);
        }
    }
    for (writer, key) in (0..WRITERS).flat_map(|writer| (0..KEYS).map(move |key| (writer, key))) {
        let name = format!("{writer}-{key}");
        let outcome = serving.request(&format!("kv://get/{name}"), b"").recv();
        let Ok(Ok(reply)) = outcome else { continue };
        let text = String::from_utf8(reply.body).ok();
        let number: Option<u64> = text.and_then(|text| text.parse().ok());
        let Some(number) = number else {
            println!("the value of `{name}` is no number");
            continue;
        };
        println!("has {name} {number}");
        let most = last.entry(writer).or_insert(0);
        *most = number.max(*most);
    }
    let letters = serving.runtime.dead_letters(&Filter::default());
    if !letters.windows(2).all(|pair| pair[0].id < pair[1].id) {
        println!("letters are out of order");
    }
    if let Some(bad) = letters.iter().find(|letter| letter.body != letter_of(&letter.path)) {
        println!("letter {} to {} has another body", bad.id, bad.path);
    }
    println!("letters last {}", letters.last().map_or(0, |letter| letter.id));
    last
}

/// What is sent to a path that fails.
fn letter_of(path: &str) -> Vec<u8> {
    format!("the body to {path}").repeat(10).into_bytes()
}

/// Puts the next number into every key of a writer, tells of each that was answered, and sends what becomes a letter.
fn write(serving: &Serving, writer: u32, first: u64) {
    for number in first.. {
        let put = |key| {
            let body = number.to_string();
            serving.request(&format!("kv://put/{writer}-{key}"), body.as_bytes())
        };
        let outcomes: Vec<_> = (0..KEYS).map(put).collect();
        for (key, outcome) in outcomes.iter().enumerate() {
            if let Ok(Ok(_)) = outcome.recv() {
                println!("put {writer}-{key} {number}");
            }
        }
        // One that is refused at a full queue is no letter, and nobody counts them.
        let _refused = serving.runtime.send(FAILS, &letter_of(FAILS));
    }
}

impl Killed {
    /// What it was, for people.
    pub fn to_text(&self) -> String {
        let Killed { kills, puts, letters, took, faults } = self;
        let faults: String = faults.iter().map(|fault| format!("FAULT: {fault}\n")).collect();
        format!(
            "{kills} kills in {:.1} s, {puts} puts answered, {letters} dead letters\n{faults}",
            took.as_secs_f64()
        )
    }
}
