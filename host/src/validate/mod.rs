//! `mycelia validate`: whether a plugin keeps to what every plugin promises, whatever it is for.
//!
//! The checks run in a child process, in a real host with the plugin as its only subsystem, since a plugin that is checked
//! may do anything. The child tells of each check as it ends, and its log tells the rest; this side puts the report together,
//! and knows by itself of a child that dies or says nothing any more.

mod bodies;
mod checks;

pub use checks::in_child;

use crate::{loader, runtime::search_path};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    env,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

/// What one check came to; its JSON form is a stable interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The check, in a word.
    pub name: String,
    /// Whether the plugin passed.
    pub passed: bool,
    /// What was seen: how much was tried, or what is wrong.
    pub found: String,
    /// What to do where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn pass(name: &str, found: impl Into<String>) -> Check {
        Check { name: name.into(), passed: true, found: found.into(), remedy: None }
    }

    fn fail(name: &str, found: impl Into<String>, remedy: &str) -> Check {
        Check { name: name.into(), passed: false, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// What the child tells, a line each after [`MARK`].
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// This check begins.
    Begin(String),
    Done(Check),
    /// All are done; the subsystems of which the plugin declares needs.
    End {
        needs: BTreeSet<String>,
    },
}

/// What a line of the child begins with, since a plugin may write to the same pipe.
const MARK: &str = "mycelia-validate\t";

/// The longest that the child may say nothing: a hundred reloads on a busy machine take some seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// Heap that a build may leave behind: std's buffers and the like are some kilobytes.
const LEFT: u64 = 64 * 1024;

/// What the child logs for this side: nothing but what the checks go by.
const LOG: &str = "error,mycelia::refused=debug,mycelia::runtime::retire=debug";
/// The target of a send to a subsystem that is not there.
pub(crate) const REFUSED: &str = "mycelia::refused";

/// The word by which this program is started as the child.
pub const CHILD: &str = "--in-child";

/// Checks a plugin's library, with this RON value as its config.
///
/// # Errors
/// If the library is not found, or the system does not start the child.
pub fn validate(library: &Path, config: &str) -> io::Result<Vec<Check>> {
    let library = match library.exists() {
        true => library.canonicalize()?,
        false => loader::find(&library.to_string_lossy(), Path::new("."), &search_path())
            .map_err(io::Error::other)?,
    };
    let mut child = Command::new(env::current_exe()?)
        .args(["validate".as_ref(), library.as_os_str(), CHILD.as_ref(), config.as_ref()])
        .env("MYCELIA_LOG", LOG)
        .env("MYCELIA_LOG_FORMAT", "json")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().expect("it was piped");
    let listener = thread::spawn(move || Log::read(stderr));
    let checks = follow(&mut child);
    // One that is done may still be held up by a handler.
    let _ = child.kill();
    child.wait()?;
    let log = listener.join().expect("it reads lines");
    Ok(conclude(checks, &log, config))
}

/// The checks of a child, and the needs that it told of at its end.
type Followed = (Vec<Check>, Option<BTreeSet<String>>);

fn follow(child: &mut Child) -> Followed {
    let stdout = child.stdout.take().expect("it was piped");
    let (tell, told) = channel();
    thread::spawn(move || read_told(stdout, &tell));
    let (mut checks, mut begun) = (Vec::new(), "load".to_owned());
    loop {
        match told.recv_timeout(SILENCE) {
            Ok(Told::Begin(name)) => begun = name,
            Ok(Told::Done(check)) => checks.push(check),
            Ok(Told::End { needs }) => return (checks, Some(needs)),
            Err(RecvTimeoutError::Timeout) => {
                let found = format!("nothing has happened for {SILENCE:?}");
                checks.push(Check::fail(&begun, found, "look for what waits without a limit"));
                return (checks, None);
            }
            Err(RecvTimeoutError::Disconnected) => {
                let how = child.wait().map_or_else(|error| error.to_string(), |it| it.to_string());
                let found = format!("the plugin ended the process: {how}");
                let remedy = "return an error or panic; neither exit nor abort the host";
                checks.push(Check::fail(&begun, found, remedy));
                return (checks, None);
            }
        }
    }
}

fn read_told(stdout: impl Read, tell: &Sender<Told>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let told = line.split_once(MARK).and_then(|(_, told)| serde_json::from_str(told).ok());
        if told.is_some_and(|told| tell.send(told).is_err()) {
            return;
        }
    }
}

/// What the child's log says.
#[derive(Debug, Default)]
struct Log {
    /// Subsystems that are not there, and were sent to.
    strangers: BTreeSet<String>,
    /// Heap that unloaded builds had left, by build.
    left: Vec<u64>,
}

impl Log {
    fn read(stderr: impl Read) -> Log {
        let mut log = Log::default();
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let Ok(line) = serde_json::from_slice::<serde_json::Value>(&line) else { continue };
            if line["target"] == REFUSED {
                log.strangers.extend(line["name"].as_str().map(str::to_owned));
            }
            log.left.extend(line["bytes"].as_u64().filter(|_| line["message"] == "unloaded"));
        }
        log
    }
}

/// Adds the checks that go by the log.
fn conclude((mut checks, needs): Followed, log: &Log, config: &str) -> Vec<Check> {
    let Some(needs) = needs else { return checks };
    let most = log.left.iter().max().copied().unwrap_or_default();
    checks.push(match most {
        ..=LEFT => {
            Check::pass("heap", format!("{} builds left at most {most} bytes", log.left.len()))
        }
        _ => Check::fail(
            "heap",
            format!("a build left {most} bytes of its heap, which the host had to free"),
            "drop what `create` and `start` make; leak nothing, and keep nothing in statics",
        ),
    });
    // A path in the config is its operator's choice, who knows of it.
    let is_chosen = |name: &&str| config.contains(&format!("{name}://"));
    let undeclared = log.strangers.difference(&needs).map(String::as_str);
    let undeclared: Vec<&str> = undeclared.filter(|name| !is_chosen(name)).collect();
    checks.push(match undeclared[..] {
        [] => Check::pass("needs", format!("it sends to {} other subsystems", log.strangers.len())),
        _ => Check::fail(
            "needs",
            format!("it sends to `{}`, of which it declares no need", undeclared.join("`, `")),
            "add `need(\"NAME:SCOPE\", \"why\")` to its NEEDS, so that its operator knows what to grant",
        ),
    });
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_of_strangers_and_of_what_is_left() {
        let text = r#"{"target":"mycelia::refused","name":"stock"}
a line that is none
{"target":"mycelia::runtime::retire","message":"unloaded","bytes":70000}"#;
        let log = Log::read(text.as_bytes());
        let needs = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        let failed = |needs, config| {
            let checks = conclude((Vec::new(), needs), &log, config);
            checks.into_iter().filter(|check| !check.passed).map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(failed(needs(&["stock"]), "()"), ["heap"]);
        assert_eq!(failed(needs(&["shop"]), "()"), ["heap", "needs"]);
        assert_eq!(failed(needs(&[]), "(to: \"stock://put\")"), ["heap"]);
        assert!(failed(None, "()").is_empty(), "a child that died says it all");
    }

    #[test]
    fn a_child_that_ends_fails_the_check_that_it_was_at() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo 'a plugin speaks; mycelia-validate\t{\"Begin\":\"routes\"}'; exit 3",
        ]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (checks, needs) = follow(&mut child);
        assert_eq!((checks.len(), needs), (1, None));
        assert_eq!((&*checks[0].name, checks[0].passed), ("routes", false));
        assert!(checks[0].found.contains("exit status: 3"), "{checks:?}");
    }
}
