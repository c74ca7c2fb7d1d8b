//! Follows a growing file in a thread of its own and sends each line on: once across a reload, again after a crash.
#![forbid(unsafe_code)]

use mycelia_plugin::prelude::*;
use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

/// The file to follow, and the path that gets its lines.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    file: PathBuf,
    to: String,
}

struct LogTailer {
    settings: Settings,
    /// How many bytes of the file were sent on.
    position: Arc<AtomicU64>,
}

/// What outlives a reload.
#[derive(Serialize, Deserialize)]
struct Position(u64);

impl Subsystem for LogTailer {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] =
        &[on("position", Self::position).scope("read", "to see how far it is")];

    fn create(settings: Settings) -> Result<Self> {
        Ok(LogTailer { settings, position: Arc::default() })
    }

    fn start(&mut self, ctx: &mut Context) -> Result<()> {
        let (settings, position) = (self.settings.clone(), self.position.clone());
        ctx.spawn("tail", move |outside, stop| follow(&settings, &position, &outside, &stop))
    }
}

impl LogTailer {
    fn position(&mut self) -> Result<u64> {
        Ok(self.position.load(SeqCst))
    }
}

fn follow(settings: &Settings, position: &AtomicU64, outside: &Sender, stop: &Stop) -> Result<()> {
    let mut lines = BufReader::new(File::open(&settings.file)?);
    lines.seek(SeekFrom::Start(position.load(SeqCst)))?;
    let mut line = String::new();
    while !stop.is_raised() {
        lines.read_line(&mut line)?;
        if !line.ends_with('\n') {
            // Not complete yet; what is there stays in `line`.
            stop.wait(Duration::from_millis(50));
            continue;
        }
        outside.send(&settings.to, line.trim_end())?;
        position.fetch_add(line.len() as u64, SeqCst);
        line.clear();
    }
    Ok(())
}

impl State<LogTailer> for Position {
    fn save(tailer: &LogTailer) -> impl Serialize {
        Position(tailer.position.load(SeqCst))
    }

    fn restore(self, tailer: &mut LogTailer) -> Result<()> {
        tailer.position.store(self.0, SeqCst);
        Ok(())
    }
}

export_subsystem!(LogTailer, state = Position);

#[cfg(test)]
mod tests {
    use super::*;
    use mycelia_testkit::Kit;
    use std::{fs::OpenOptions, io::Write, path::Path};

    fn kit(file: &Path) -> Kit<LogTailer> {
        Kit::new(&format!("(file: {file:?}, to: \"audit://line\")")).unwrap()
    }

    fn append(file: &Path, text: &str) {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn next(kit: &Kit<LogTailer>) -> String {
        kit.expect_send("audit://line").body()
    }

    #[test]
    fn each_line_is_sent_once_across_a_reload() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.log");
        append(&file, "one\ntwo\nthr");
        let kit = kit(&file);
        assert_eq!((next(&kit), next(&kit)), ("one".into(), "two".into()));
        kit.reload().unwrap();
        append(&file, "ee\nfour\n");
        assert_eq!((next(&kit), next(&kit)), ("three".into(), "four".into()));
        // The position follows the line: only where the thread has ended is it certain.
        kit.reload().unwrap();
        assert_eq!(kit.ask::<u64>("position", &()).unwrap(), 19);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.log");
        let kit = kit(&file);
        let fault = kit.expect_fault();
        assert!(fault.contains("No such file"), "{fault}");
        append(&file, "one\n");
        kit.restart().unwrap();
        assert_eq!(next(&kit), "one");
    }

    #[test]
    fn lines_come_again_after_a_restart_rather_than_never() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.log");
        append(&file, "one\n");
        let kit = kit(&file);
        assert_eq!(next(&kit), "one");
        kit.refuse("audit", Error::full("its queue is full"));
        append(&file, "two\n");
        kit.expect_fault();
        kit.accept("audit");
        kit.restart().unwrap();
        assert_eq!((next(&kit), next(&kit)), ("one".into(), "two".into()));
    }
}
