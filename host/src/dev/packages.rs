//! What `cargo metadata` says of a workspace: which package makes a library, from which files, into which folder.

use super::{real, sources::Sources};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The packages of one workspace.
#[derive(Clone, Debug, Deserialize)]
pub struct Workspace {
    /// Its folder.
    #[serde(rename = "workspace_root")]
    pub root: PathBuf,
    /// Where cargo writes.
    #[serde(rename = "target_directory")]
    pub target: PathBuf,
    packages: Vec<Package>,
}

/// One package.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    /// As `cargo build --package` takes it.
    pub name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
struct Dependency {
    kind: Option<String>,
    path: Option<PathBuf>,
}

/// The folder that cargo writes with one profile, `target/release` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The folder.
    pub folder: PathBuf,
    /// The profile, by the name that `--profile` takes.
    pub profile: String,
    /// The target triple, where the folder is one of a triple's own.
    pub triple: Option<String>,
}

impl Workspace {
    /// The package whose shared library has this name, without `lib` and `.so`.
    pub fn package_of(&self, library: &str) -> Option<&Package> {
        let is_it = |target: &Target| {
            target.is("cdylib") && target.name.replace('-', "_") == library.replace('-', "_")
        };
        self.packages.iter().find(|package| package.targets.iter().any(is_it))
    }

    /// Where cargo writes this file; `None` when it is not one that cargo writes.
    pub fn output(&self, library: &Path) -> Option<Output> {
        let file = real(library);
        let folder = file.parent()?;
        let folder = if folder.ends_with("deps") { folder.parent()? } else { folder };
        let below = folder.strip_prefix(real(&self.target)).ok()?;
        let names: Vec<&str> = below.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
        let (triple, profile) = match names[..] {
            [profile] => (None, profile),
            [triple, profile] => (Some(triple.to_owned()), profile),
            _ => return None,
        };
        // The one profile whose folder has another name.
        let profile = if profile == "debug" { "dev" } else { profile }.to_owned();
        Some(Output { folder: folder.to_owned(), profile, triple })
    }

    /// What a package is made of: its own files, and those of the packages that it depends on by path.
    /// Outside of the workspace only the package that is named is known, not those that it depends on in turn.
    pub fn sources(&self, package: &Package) -> Sources {
        let mut sources = Sources::default();
        sources.add_folder(&self.root);
        self.collect(package.folder(), &mut sources);
        sources
    }

    fn collect(&self, folder: &Path, sources: &mut Sources) {
        // Dependencies in common, or a package that is the workspace's root.
        if sources.has_package(folder) {
            return;
        }
        sources.add_package(folder);
        let Some(package) = self.packages.iter().find(|package| package.folder() == folder) else {
            return;
        };
        package.trees().for_each(|tree| sources.add_tree(tree));
        package.dependencies().for_each(|folder| self.collect(folder, sources));
    }
}

impl Package {
    fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("/"))
    }

    /// The folders of its library and its build script, but for the package's own.
    fn trees(&self) -> impl Iterator<Item = &Path> {
        let apart = ["bin", "test", "bench", "example"];
        let built =
            self.targets.iter().filter(move |target| !apart.iter().any(|kind| target.is(kind)));
        built.filter_map(|target| target.src_path.parent()).filter(|tree| *tree != self.folder())
    }

    /// The folders of what goes into it, or into its build script.
    fn dependencies(&self) -> impl Iterator<Item = &Path> {
        let built =
            self.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        built.filter_map(|dependency| dependency.path.as_deref())
    }
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}
