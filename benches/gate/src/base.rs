//! Another commit of the repository, to be counted where no section of the baseline has this fingerprint.

use crate::{Error, tools::said};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// What the main branch may be called; the first that there is counts.
const MAIN: &[&str] = &["main", "origin/main", "master", "origin/master"];

/// A commit in a worktree of its own, which is removed when this is dropped.
#[derive(Debug)]
pub struct Base {
    /// The commit.
    pub commit: String,
    repository: PathBuf,
    /// The workspace's folder within the repository.
    prefix: String,
    folder: TempDir,
}

impl Base {
    /// The commit to compare the workspace at `root` with: `against`, or where HEAD left the main branch, or on that
    /// branch the one before HEAD.
    ///
    /// # Errors
    /// [`Error::NoBase`] if there is none.
    pub fn find(root: &Path, against: Option<&str>) -> Result<String, Error> {
        let found = match against {
            Some(revision) => {
                commit(root, revision).ok_or_else(|| format!("git knows no commit `{revision}`"))
            }
            None => before(root),
        };
        found.map_err(|why| {
            let is_shallow = git(root, &["rev-parse", "--is-shallow-repository"]);
            let hint = match is_shallow.as_deref() {
                Ok("true") => {
                    ", and its history is shallow: fetch all of it with `git fetch --unshallow`, or with `fetch-depth: 0` of actions/checkout"
                }
                _ => "",
            };
            Error::NoBase(format!("{why}{hint}"))
        })
    }

    /// Checks a commit out.
    ///
    /// # Errors
    /// If git refuses to.
    pub fn check_out(root: &Path, commit: String) -> Result<Base, Error> {
        let folder = tempfile::tempdir().map_err(Error::file("create", env::temp_dir()))?;
        let prefix = git(root, &["rev-parse", "--show-prefix"])?;
        let base = Base { commit, repository: root.into(), prefix, folder };
        let place = base.tree().display().to_string();
        git(root, &["worktree", "prune"])?;
        // Hooks are written for the worktree of the person who works there.
        let add = ["-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach"];
        git(root, &[&add[..], &[&place, &base.commit]].concat())?;
        Ok(base)
    }

    /// The workspace in it.
    pub fn root(&self) -> PathBuf {
        self.tree().join(&self.prefix)
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("base")
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let place = self.tree().display().to_string();
        // What is left is a folder that the system clears, and an entry that the next run prunes.
        let _ = git(&self.repository, &["worktree", "remove", "--force", &place]);
    }
}

/// The commit before the change that is in this tree, or why there is none.
fn before(root: &Path) -> Result<String, String> {
    let head = git(root, &["rev-parse", "--verify", "HEAD^{commit}"])
        .map_err(|error| format!("there is no commit to compare with ({error})"))?;
    let main = MAIN.iter().find(|name| commit(root, name).is_some());
    let main = main.ok_or_else(|| format!("no branch is called {}", MAIN.join(", ")))?;
    let left = git(root, &["merge-base", &head, main])
        .map_err(|_| format!("HEAD and `{main}` have no commit in common"))?;
    if left != head {
        return Ok(left);
    }
    commit(root, "HEAD^").ok_or_else(|| "HEAD has no parent".into())
}

fn commit(root: &Path, revision: &str) -> Option<String> {
    git(
        root,
        &[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &format!("{revision}^{{commit}}"),
        ],
    )
    .ok()
}

fn git(root: &Path, arguments: &[&str]) -> Result<String, Error> {
    let mut command = Command::new("git");
    // A hook has these from the git that runs it, and they would lead away from the worktree.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    said(command.args(arguments).current_dir(root)).map(|text| text.trim().into())
}
