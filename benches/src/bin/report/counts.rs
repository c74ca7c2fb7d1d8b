//! Instructions: those of the committed baseline, and those of a count that this command has made since.

use crate::environment::modified;
use mycelia_gate::{Baseline, Counts, Fingerprint, Tools, Workspace};
use std::path::{Path, PathBuf};

/// The file of the last count, in the form of a baseline.
pub const FILE: &str = "instructions.ron";
/// The package whose instructions are counted.
pub const PACKAGE: &str = "mycelia-benches";
/// The bench that is counted.
pub const BENCH: &str = "instructions";

/// What was counted.
pub struct Instructions {
    /// The tools with which the old ones were counted.
    pub fingerprint: Fingerprint,
    /// Those of the baseline.
    pub old: Counts,
    /// Those of a count since by the same tools.
    pub new: Option<Counts>,
    /// The tools of a count since that cannot be compared, since they are others.
    pub other: Option<Fingerprint>,
    /// When the committed file was written, as far as this working copy knows.
    pub blessed: u64,
    /// When that count was made.
    pub counted: u64,
}

/// What is known; nothing without a baseline.
///
/// # Errors
/// A file that cannot be read.
pub fn read(workspace: &Workspace, folder: &Path) -> Result<Option<Instructions>, String> {
    let (path, fresh) = (baseline(workspace), folder.join(FILE));
    let times = (modified(&path), modified(&fresh));
    let counted = sections(&fresh)?.0.pop_first();
    Ok(choose(sections(&path)?, counted, || own(workspace).ok(), times))
}

/// The section to compare with: by the tools of the count, without one by those of this machine, else the last.
fn choose(
    mut sections: Baseline,
    fresh: Option<(Fingerprint, Counts)>,
    own: impl FnOnce() -> Option<Fingerprint>,
    (blessed, counted): (u64, u64),
) -> Option<Instructions> {
    let wanted = fresh.as_ref().map(|(print, _)| print.clone()).or_else(own);
    let same = wanted.and_then(|print| sections.0.remove_entry(&print));
    let is_same = same.is_some();
    let (fingerprint, old) = same.or_else(|| sections.0.pop_last())?;
    let (new, other) = match fresh {
        Some((_, counts)) if is_same => (Some(counts), None),
        Some((print, _)) => (None, Some(print)),
        None => (None, None),
    };
    Some(Instructions { fingerprint, old, new, other, blessed, counted })
}

fn baseline(workspace: &Workspace) -> PathBuf {
    workspace.package(PACKAGE).map_or_else(PathBuf::new, mycelia_gate::Package::baseline)
}

fn sections(path: &Path) -> Result<Baseline, String> {
    Ok(Baseline::read(path).map_err(|error| error.to_string())?.unwrap_or_default())
}

fn own(workspace: &Workspace) -> Result<Fingerprint, mycelia_gate::Error> {
    Fingerprint::find(workspace, &Tools::find(workspace)?)
}

/// Counts, and keeps what came of it.
///
/// # Errors
/// A tool that is missing, with the command that installs it, or a bench that does not build.
pub fn count(workspace: &Workspace, folder: &Path) -> Result<(), String> {
    let counted = || {
        let tools = Tools::find(workspace)?;
        let [package] = workspace.guarded(&[PACKAGE.into()])?[..] else { return Ok(()) };
        let fingerprint = Fingerprint::find(workspace, &tools)?;
        let counts = tools.count(workspace, package, &workspace.target)?;
        Baseline([(fingerprint, counts)].into()).write(&folder.join(FILE))
    };
    counted().map_err(|error: mycelia_gate::Error| format!("no instructions were counted: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(rustc: &str) -> Fingerprint {
        let text = |text: &str| text.to_owned();
        Fingerprint {
            rustc: rustc.into(),
            valgrind: text("3.19.0"),
            iai_callgrind: text("0.16.1"),
            glibc: text("2.36"),
            profile: String::new(),
            target_cpu: text("generic"),
        }
    }

    fn counts(count: u64) -> Counts {
        Counts([("stages::parse".to_owned(), count)].into())
    }

    #[test]
    fn only_counts_of_the_same_tools_are_compared() {
        let baseline = || Baseline([1, 2].map(|n| (fingerprint(&n.to_string()), counts(n))).into());
        let chosen = |fresh: Option<&str>, own: Option<&str>| {
            let fresh = fresh.map(|rustc| (fingerprint(rustc), counts(9)));
            choose(baseline(), fresh, || own.map(fingerprint), (5, 6)).unwrap()
        };
        let same = chosen(Some("1"), Some("2"));
        assert_eq!((same.old, same.new, same.other), (counts(1), Some(counts(9)), None));
        let other = chosen(Some("3"), None);
        assert_eq!((other.old, other.new, other.other), (counts(2), None, Some(fingerprint("3"))));
        assert_eq!(chosen(None, Some("1")).old, counts(1));
        assert_eq!(chosen(None, None).old, counts(2));
        assert!(choose(Baseline::default(), None, || None, (0, 0)).is_none());
    }
}
