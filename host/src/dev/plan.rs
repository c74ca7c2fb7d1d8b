//! From a config to the builds that make its plugins.
//!
//! A plugin is built only if cargo writes the very file that the host loads; whoever loads another one is told so.

use super::{
    cargo::CargoError,
    packages::{Output, Workspace},
    real,
    sources::Sources,
};
use crate::{config::Config, loader};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    rc::Rc,
};

/// What is built for a config.
#[derive(Debug, Default)]
pub struct Plan {
    /// One for each workspace and profile.
    pub builds: Vec<Build>,
    /// What is served without being built, for the user.
    pub remarks: Vec<String>,
}

/// What one call of `cargo build` makes. It is the same call each time: other packages might give their common
/// dependencies other features, so that those are built anew.
#[derive(Debug)]
pub struct Build {
    /// Where cargo is called.
    pub root: PathBuf,
    /// Where cargo writes, for all profiles.
    pub target: PathBuf,
    /// Where it writes with this profile.
    pub output: Output,
    /// Packages, each with the file that the host loads.
    pub packages: Vec<(String, PathBuf)>,
    /// What it is made of.
    pub sources: Sources,
}

/// Where plugins and packages are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The config's folder.
    pub base: &'a Path,
    /// The plugin path.
    pub search: &'a [PathBuf],
    /// Where the workspaces may be that plugins are built in; those of their libraries come first.
    pub folders: &'a [PathBuf],
}

/// What is to be built, and what is not.
pub fn plan(config: &Config, place: &Place<'_>, metadata: Metadata<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut workspaces = Workspaces { metadata, known: HashMap::new() };
    for (name, subsystem) in &config.subsystems {
        if let Err(why) = plan.add(&subsystem.plugin, place, &mut workspaces) {
            plan.remarks.push(format!("{name} is served but not watched: {why}"));
        }
    }
    plan
}

/// Reads the workspace of a folder.
type Metadata<'a> = &'a dyn Fn(&Path) -> Result<Workspace, CargoError>;

impl Plan {
    fn add(
        &mut self,
        plugin: &str,
        place: &Place<'_>,
        workspaces: &mut Workspaces<'_>,
    ) -> Result<(), String> {
        let files = files(plugin, place);
        let library = library_name(plugin);
        let folders = files.iter().take(1).chain(place.folders);
        let mut why = format!(
            "no package has the library `{library}` in the workspaces around the config, this folder and this \
             program; name the file that cargo writes, as in plugin: \"FOLDER/target/release/lib{library}.so\""
        );
        for folder in folders {
            let workspace = match workspaces.of(folder) {
                Some(Ok(workspace)) => workspace,
                Some(Err(error)) => {
                    why = error;
                    continue;
                }
                None => continue,
            };
            let Some(package) = workspace.package_of(&library) else { continue };
            if let Some(output) = files.iter().find_map(|file| workspace.output(file)) {
                let library = output.folder.join(format!("lib{library}.so"));
                let build = self.build(&workspace, output);
                build.add(&package.name, library, &workspace.sources(package));
                return Ok(());
            }
            why = format!(
                "the host loads {}, but cargo writes to {target} (its target-dir, or CARGO_TARGET_DIR); \
                 write plugin: \"{target}/release/lib{library}.so\", or have cargo write there",
                files.first().map_or(plugin.into(), |file| file.display().to_string()),
                target = workspace.target.display()
            );
        }
        Err(why)
    }

    fn build(&mut self, workspace: &Workspace, output: Output) -> &mut Build {
        let known = self.builds.iter().position(|build| build.output == output);
        let index = known.unwrap_or(self.builds.len());
        if index == self.builds.len() {
            self.builds.push(Build {
                root: workspace.root.clone(),
                target: workspace.target.clone(),
                output,
                packages: Vec::new(),
                sources: Sources::default(),
            });
        }
        &mut self.builds[index]
    }
}

impl Build {
    fn add(&mut self, package: &str, library: PathBuf, sources: &Sources) {
        if !self.packages.iter().any(|(name, _)| name == package) {
            self.packages.push((package.to_owned(), library));
            self.sources.extend(sources);
        }
    }
}

/// The file that the host loads; for a name that is found nowhere yet, every file that it would load.
fn files(plugin: &str, place: &Place<'_>) -> Vec<PathBuf> {
    match loader::find(plugin, place.base, place.search) {
        Ok(file) => vec![real(&file)],
        Err(_) if is_path(plugin) => vec![real(&place.base.join(plugin))],
        Err(_) => {
            place.search.iter().map(|folder| folder.join(format!("lib{plugin}.so"))).collect()
        }
    }
}

fn is_path(plugin: &str) -> bool {
    plugin.contains('/') || plugin.ends_with(".so")
}

fn library_name(plugin: &str) -> String {
    if !is_path(plugin) {
        return plugin.to_owned();
    }
    let stem = Path::new(plugin).file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix("lib").unwrap_or(&stem).to_owned()
}

/// The workspaces by the folder of the nearest manifest, so that cargo is asked once for each.
struct Workspaces<'a> {
    metadata: Metadata<'a>,
    known: HashMap<PathBuf, Result<Rc<Workspace>, String>>,
}

impl Workspaces<'_> {
    /// The workspace around a path, if there is one.
    fn of(&mut self, path: &Path) -> Option<Result<Rc<Workspace>, String>> {
        let path = real(path);
        let folder = path.ancestors().find(|folder| folder.join("Cargo.toml").is_file())?;
        let read = || (self.metadata)(folder).map(Rc::new).map_err(|error| error.to_string());
        Some(self.known.entry(folder.to_owned()).or_insert_with(read).clone())
    }
}
