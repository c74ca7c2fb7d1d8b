//! The gate on a copy of this workspace: its own benches, through the host and a plugin from a library.

use crate::{
    fixture::{Ran, built, gate_command, only_section},
    repeat::{other_environment, under_load},
};
use mycelia_gate::Counts;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const JOURNEYS: &str = "benches/benches/instructions/journey.rs";
const BENCHES: &str = "benches/benches/instructions/main.rs";
const PLUGIN: &str = "plugins/pump/src/lib.rs";

/// Where it is built at first, and where that is moved to: a longer name, so that more than texts moves.
const TARGET: &str = "tree";
const ELSEWHERE: &str = "the_tree_where_it_was_moved_to/whose_name_is_longer";

struct Tree {
    folder: TempDir,
    target: &'static str,
}

impl Tree {
    /// What git knows of this workspace and what it would take up, without its history.
    fn copy() -> Tree {
        let tree = Tree { folder: tempfile::tempdir().unwrap(), target: TARGET };
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&workspace)
            .output()
            .unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let names = String::from_utf8(listed.stdout).unwrap();
        for name in names.split_terminator('\0').filter(|name| workspace.join(name).is_file()) {
            let place = tree.path(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(workspace.join(name), place).unwrap();
        }
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("tree").join(name)
    }

    /// Replaces what lies between two texts that must be there.
    fn rewrite(&self, name: &str, after: &str, until: &str, text: &str) {
        let old = fs::read_to_string(self.path(name)).unwrap();
        let start = old.find(after).unwrap_or_else(|| panic!("{name} has no {after:?}"));
        let start = start + after.len();
        let length = old[start..].find(until);
        let length = length.unwrap_or_else(|| panic!("{name} has no {until:?} after {after:?}"));
        let new = format!("{}{text}{}", &old[..start], &old[start + length..]);
        fs::write(self.path(name), new).unwrap();
    }

    fn select(&self, benches: &str) {
        self.rewrite(
            JOURNEYS,
            "name = journeys;\n",
            ");",
            &format!("    benchmarks = {benches}\n"),
        );
    }

    /// Makes every message of the journeys dearer, as the README tells its readers to.
    fn plant(&self) {
        let readme = fs::read_to_string(self.path("benches/README.md")).unwrap();
        let line = readme.lines().find(|line| line.starts_with("sed -i")).unwrap();
        let before = fs::read_to_string(self.path(PLUGIN)).unwrap();
        let done = Command::new("sh").args(["-c", line]).current_dir(self.path("")).status();
        assert!(done.unwrap().success(), "{line}");
        let after = fs::read_to_string(self.path(PLUGIN)).unwrap();
        assert_ne!(
            before, after,
            "{PLUGIN} has changed: write another plant into benches/README.md"
        );
    }

    fn gate(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.gate_command(arguments).output().unwrap())
    }

    fn gate_command(&self, arguments: &[&str]) -> Command {
        let arguments = [&["--package", "mycelia-benches"][..], arguments].concat();
        let mut command = gate_command(&self.path(""), self.target, &arguments);
        // Names and lines take a third of the time of building, and change no instruction.
        command.env("CARGO_PROFILE_BENCH_DEBUG", "0");
        command
    }

    /// Moves what is built to another folder, where cargo finds it as fresh as it was.
    fn move_built(&mut self, to: &'static str) {
        let [from, to_path] = [self.target, to].map(built);
        // What a run that failed has left.
        let _ = fs::remove_dir_all(&to_path);
        fs::create_dir_all(to_path.parent().unwrap()).unwrap();
        fs::rename(from, to_path).unwrap();
        self.target = to;
    }

    fn counts(&self, prepare: impl FnOnce(&mut Command)) -> Counts {
        let file = self.folder.path().join("counts.ron");
        let mut command = self.gate_command(&["--bless", "--baseline", file.to_str().unwrap()]);
        prepare(&mut command);
        Ran::new(command.output().unwrap()).exits_with(0);
        only_section(&file)
    }
}

/// One test, since each step builds on what the one before has built.
#[test]
fn the_gate_guards_the_journeys_of_this_workspace() {
    let mut tree = Tree::copy();
    // There is nothing to compare with.
    fs::remove_file(tree.path("benches/baseline.ron")).unwrap();
    tree.gate(&[]).exits_with(4).says("no usable baseline");

    let first = tree.counts(|_| {});
    assert!(first.0.len() > 50, "{first:?}");
    tree.move_built(ELSEWHERE);
    assert_eq!(under_load(|| tree.counts(other_environment)), first);
    tree.move_built(TARGET);

    // The others count no more than they need.
    tree.select("kept_recipient, kept_recipient_singly");
    tree.rewrite(BENCHES, "library_benchmark_groups =", ");", " journeys");
    tree.gate(&["--bless"]).exits_with(0);
    let sound = fs::read_to_string(tree.path(PLUGIN)).unwrap();
    tree.plant();
    let planted = tree.gate(&[]).exits_with(3);
    let row = |bench: &str| planted.out.lines().find(|line| line.contains(bench));
    let row = row("`journeys::kept_recipient::batch_64`").unwrap();
    assert!(row.ends_with("| **regressed** |"), "{row}");
    fs::write(tree.path(PLUGIN), sound).unwrap();
    tree.gate(&[]).exits_with(0);

    tree.select("kept_recipient");
    tree.gate(&[]).exits_with(4).says("| `journeys::kept_recipient_singly::batch_64` |");
}
