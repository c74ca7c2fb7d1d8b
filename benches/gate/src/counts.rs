//! The instructions of every bench of one run, as iai-callgrind's summaries tell them.

use crate::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// Instructions by bench, such as `journeys::kept_recipient::batch_64`: group, function and id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(pub BTreeMap<String, u64>);

impl Counts {
    /// Reads every `summary.json` below a folder that nothing but one run has written to.
    ///
    /// # Errors
    /// If there is none, or one has no count of callgrind.
    pub fn read(package: &str, folder: &Path) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        counts.collect(package, folder)?;
        match counts.0.is_empty() {
            true => Err(not_counted(package, "no summary was written".into())),
            false => Ok(counts),
        }
    }

    fn collect(&mut self, package: &str, folder: &Path) -> Result<(), Error> {
        for entry in fs::read_dir(folder).map_err(Error::file("read", folder))? {
            let path = entry.map_err(Error::file("read", folder))?.path();
            if path.is_dir() {
                self.collect(package, &path)?;
            } else if path.ends_with("summary.json") {
                let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
                let (bench, count) = parse(&text).ok_or_else(|| {
                    not_counted(package, format!("{} has no instructions", path.display()))
                })?;
                self.0.insert(bench, count);
            }
        }
        Ok(())
    }
}

fn not_counted(package: &str, what: String) -> Error {
    Error::NotCounted { package: package.into(), what }
}

/// The name of a bench and its instructions, from a summary of schema 6.
fn parse(summary: &str) -> Option<(String, u64)> {
    let summary: Value = serde_json::from_str(summary).ok()?;
    let profiles = summary["profiles"].as_array()?;
    let callgrind = profiles.iter().find(|profile| profile["tool"] == "Callgrind")?;
    let instructions = &callgrind["summaries"]["total"]["summary"]["Callgrind"]["Ir"];
    // `Left` alone is a run without one before it; `Both` would be a folder that is not fresh.
    let count = instructions["metrics"]["Left"]["Int"].as_u64()?;
    Some((name(summary["module_path"].as_str()?, summary["id"].as_str()), count))
}

/// The first part of the path is the file, which is the same for all.
fn name(module_path: &str, id: Option<&str>) -> String {
    let bench = module_path.split_once("::").map_or(module_path, |(_, rest)| rest);
    id.map_or_else(|| bench.into(), |id| format!("{bench}::{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(tool: &str, metrics: &str) -> String {
        format!(
            r#"{{"module_path": "instructions::stages::parse", "id": "short", "profiles": [{{"tool": "{tool}",
            "summaries": {{"total": {{"summary": {{"{tool}": {{"Ir": {{"metrics": {metrics}}}}}}}}}}}}}]}}"#
        )
    }

    #[test]
    fn a_summary_is_a_name_and_a_count() {
        let good = summary("Callgrind", r#"{"Left": {"Int": 14014}}"#);
        assert_eq!(parse(&good), Some(("stages::parse::short".into(), 14014)));
        let without_id = good.replace(r#""short""#, "null");
        assert_eq!(parse(&without_id), Some(("stages::parse".into(), 14014)));
    }

    #[test]
    fn what_is_no_fresh_count_of_callgrind_is_refused() {
        let compared = r#"{"Both": [{"Int": 14014}, {"Int": 14014}]}"#;
        for bad in [
            summary("Callgrind", compared),
            summary("DHAT", r#"{"Left": {"Int": 1}}"#),
            "{}".into(),
            "no JSON".into(),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn no_summary_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = Counts::read("kv", folder.path()).unwrap_err();
        assert!(error.to_string().starts_with("`kv` was counted, but no summary"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
