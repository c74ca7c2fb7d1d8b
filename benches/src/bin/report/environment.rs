//! Where and when: the machine, the compiler, the commit, and how old each figure is.

use crate::sheet::{Head, Part, Table};
use mycelia::load::{Environment, show};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::UNIX_EPOCH,
};

/// Figures that lie further apart are not of one session.
const SESSION: u64 = DAY;
const DAY: u64 = 24 * 3600;
/// What is measured is made of these; a commit to anything else changes no figure.
const CODE: &[&str] = &["*.rs", "*.toml", "Cargo.lock"];

/// The repository, as git and the compiler know it.
pub struct Place {
    root: PathBuf,
    /// When the last commit to the code was made, in seconds since 1970; 0 if git does not tell.
    committed: u64,
}

/// When figures were measured: first and last, in seconds since 1970.
pub type Span = (u64, u64);

/// When a file was written, in seconds since 1970; 0 if the system does not tell.
pub fn modified(path: &Path) -> u64 {
    let time = fs::metadata(path).and_then(|metadata| metadata.modified());
    let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.unwrap_or_default().as_secs()
}

/// The span of several times; none of none.
pub fn span(times: impl Iterator<Item = u64>) -> Option<Span> {
    times.fold(None, |span, time| {
        let (first, last) = span.unwrap_or((time, time));
        Some((first.min(time), last.max(time)))
    })
}

/// A time as `2026-11-30 23:05 UTC`.
pub fn date(unix_s: u64) -> String {
    let (days, minutes) = (unix_s / DAY, unix_s % DAY / 60);
    // Years that begin in March have their leap day at the end; this one began 719,468 days before 1970.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// Both ends of a span, as short as they can be.
fn dates(first: u64, last: u64) -> String {
    let (begin, end) = (date(first), date(last));
    match (&begin, end.rsplit_once(' ')) {
        _ if begin == end => begin,
        (_, Some((end, zone))) if first / DAY == last / DAY => {
            let time = end.rsplit(' ').next().unwrap_or_default();
            format!("{} to {time} {zone}", begin.trim_end_matches(zone).trim_end())
        }
        _ => format!("{begin} to {end}"),
    }
}

impl Place {
    /// The one whose root this is.
    pub fn new(root: &Path) -> Place {
        let place = Place { root: root.into(), committed: 0 };
        let committed = place
            .said("git", &[&["log", "-1", "--format=%ct", "--"], CODE].concat())
            .and_then(|text| text.parse().ok());
        Place { committed: committed.unwrap_or(0), ..place }
    }

    fn said(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(program).args(arguments).current_dir(&self.root).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    }

    /// The last commit that there was at a time.
    fn commit_at(&self, unix_s: u64) -> Option<String> {
        let before = format!("--before=@{unix_s}");
        self.said("git", &["log", "-1", "--format=%h", &before, "HEAD"])
    }

    /// When figures were measured, and what the last commit was then.
    pub fn when(&self, (first, last): Span) -> String {
        let dates = dates(first, last);
        match (self.commit_at(first), self.commit_at(last)) {
            (Some(one), Some(other)) if one == other => {
                format!("{dates}, when the last commit was {one}")
            }
            (Some(one), Some(other)) => {
                format!("{dates}, when the last commit was {one} to {other}")
            }
            _ => dates,
        }
    }

    /// Why figures of these spans must not be compared, if something speaks against it.
    pub fn warnings(&self, spans: &[(String, Span)]) -> Vec<String> {
        let mut warnings = Vec::new();
        let old: Vec<&str> = spans
            .iter()
            .filter(|(_, (first, _))| *first < self.committed)
            .map(|(name, _)| name.as_str())
            .collect();
        if !old.is_empty() {
            warnings.push(format!(
                "These were measured before the last commit to the code, and may be of other code: {}. `{}` measures all of them anew.",
                old.join(", "),
                crate::plan::RUN_ALL
            ));
        }
        let whole = span(spans.iter().flat_map(|(_, (first, last))| [*first, *last]));
        if let Some((first, last)) = whole.filter(|(first, last)| last - first > SESSION) {
            warnings.push(format!(
                "The figures are of different days, from {} to {}: compare within a table alone.",
                date(first),
                date(last)
            ));
        }
        warnings
    }

    /// The machine and the build, as a table.
    pub fn table(&self) -> Part {
        let Environment { version, is_debug_build, processor, cores, kernel, load_average, .. } =
            Environment::read(0);
        let commit = self.said("git", &["log", "-1", "--format=%h, %cs: %s"]);
        let is_changed = self.said("git", &["status", "--porcelain"]).is_some();
        let changed = if is_changed { " (files are changed since)" } else { "" };
        let rows = [
            ("mycelia", version),
            ("build of this command", if is_debug_build { "debug" } else { "release" }.into()),
            (
                "commit",
                commit.map_or("unknown: git does not tell".into(), |commit| commit + changed),
            ),
            ("compiler", self.said("rustc", &["--version"]).unwrap_or_default()),
            ("processor", processor),
            ("cores", cores.to_string()),
            ("system's kernel", kernel),
            ("load average when this was made", show(load_average)),
        ];
        let rows = rows.into_iter().map(|(name, value)| vec![name.into(), value]).collect();
        let head = vec![Head::text("what"), Head::text("is")];
        Part::Table(Table {
            title: "Where this was made".into(),
            head,
            rows,
            source: None,
            is_wide: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (1_709_251_200, "2024-03-01 00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(unix_s), expected);
        }
    }

    #[test]
    fn spans_name_their_day_once() {
        assert_eq!(dates(0, 59), "1970-01-01 00:00 UTC");
        assert_eq!(dates(0, 3_600), "1970-01-01 00:00 to 01:00 UTC");
        assert_eq!(dates(0, DAY), "1970-01-01 00:00 UTC to 1970-01-02 00:00 UTC");
    }

    #[test]
    fn what_is_older_than_the_code_or_of_other_days_is_said() {
        let place = Place { root: ".".into(), committed: 1_000_000 };
        let warned = |spans: &[(&str, Span)]| {
            let spans: Vec<(String, Span)> =
                spans.iter().map(|(name, span)| ((*name).into(), *span)).collect();
            place.warnings(&spans)
        };
        assert_eq!(warned(&[("queue", (1_000_000, 1_000_100))]), [""; 0]);
        let old = warned(&[("queue", (999_999, 1_000_100)), ("ask", (1_000_001, 1_000_002))]);
        assert!(old.len() == 1 && old[0].contains("other code: queue."), "{old:?}");
        let days = warned(&[("queue", (1_000_000, 1_000_000)), ("ask", (1_000_000, 1_100_000))]);
        assert!(days.len() == 1 && days[0].contains("different days"), "{days:?}");
    }
}
