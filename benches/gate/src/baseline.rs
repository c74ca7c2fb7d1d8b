//! The committed file: what was counted, for each set of tools that counted it.

use crate::{Counts, Error, Fingerprint};
use ron::ser::PrettyConfig;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

const HEAD: &str = "// Instructions of each bench, by the tools that counted them; written by `mycelia-gate --bless`.\n";

/// Sections by fingerprint. The text has one bench a line and is sorted, so that a difference reads well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Baseline(pub BTreeMap<Fingerprint, Counts>);

impl Baseline {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or is no baseline.
    pub fn read(path: &Path) -> Result<Option<Baseline>, Error> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(Error::file("read", path))?,
        };
        ron::from_str(&text)
            .map(Some)
            .map_err(|cause| Error::BadBaseline { path: path.into(), cause: Box::new(cause) })
    }

    /// Writes the file anew.
    ///
    /// # Errors
    /// If it cannot be written.
    ///
    /// # Panics
    /// Never: texts and numbers can always be written as RON.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let style = PrettyConfig::new().new_line("\n");
        let text = ron::ser::to_string_pretty(self, style).expect("texts and numbers are RON");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        }
        fs::write(path, format!("{HEAD}{text}\n")).map_err(Error::file("write", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(rustc: &str) -> Fingerprint {
        Fingerprint {
            rustc: rustc.into(),
            valgrind: "3.19.0".into(),
            iai_callgrind: "0.16.1".into(),
            glibc: "2.36".into(),
            profile: "codegen-units = 1".into(),
            target_cpu: "generic".into(),
        }
    }

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        Counts(pairs.iter().map(|(bench, count)| ((*bench).into(), *count)).collect())
    }

    #[test]
    fn it_is_written_one_bench_a_line_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("benches/baseline.ron");
        let sections = [
            (fingerprint("1.96.0"), counts(&[("b::one", 2)])),
            (fingerprint("1.95.0"), counts(&[("b::two", 7), ("a::three::x", 1_000)])),
        ];
        let baseline = Baseline(BTreeMap::from(sections));
        baseline.write(&path).unwrap();
        assert_eq!(Baseline::read(&path).unwrap(), Some(baseline));
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let place = |line| lines.iter().position(|found| *found == line);
        assert!(place(r#""a::three::x": 1000,"#) < place(r#""b::two": 7,"#), "{text}");
        assert!(place(r#"rustc: "1.95.0","#) < place(r#"rustc: "1.96.0","#), "{text}");
        assert!(place(r#""b::one": 2,"#).is_some(), "{text}");
    }

    #[test]
    fn a_missing_file_is_none_and_a_damaged_one_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.ron");
        assert_eq!(Baseline::read(&path).unwrap(), None);
        fs::write(&path, "{ (rustc: 1").unwrap();
        let error = Baseline::read(&path).unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
    }
}
