//! `new`: a plugin that builds, passes its test, is counted and runs, for its author to change.
//!
//! Its code is that of `plugins/counter` under another name: what an author begins with is built, tested and counted
//! with everything else. Only what ties it to its place is written here, and it appears whole or not at all.

use super::exit::Failure;
use super::output;
use crate::run::runnable;
use clap::Args;
use mycelia_kernel::path::check_name;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What both kinds of plugin have, by their places in the folder.
const FILES: [(&str, &str); 3] = [
    ("src/lib.rs", include_str!("../../../plugins/counter/src/lib.rs")),
    ("tests/counter.rs", include_str!("../../../plugins/counter/tests/counter.rs")),
    ("benches/instructions.rs", include_str!("../../../plugins/counter/benches/instructions.rs")),
];

const IN_A_CLONE: &str = include_str!("../../../plugins/counter/Cargo.toml");
const ON_ITS_OWN: &str = include_str!("new/package.toml");
const CONFIG: &str = include_str!("new/plugin.ron");
const README: &str = include_str!("new/README.md");

/// The package `mycelia-plugin` of the clone that this binary was built from.
const OWN_PLUGIN_API: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-api");

/// What a plugin depends on where that clone is gone.
const VERSION: &str = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");

/// The longest name: the files that are called after it may add to theirs.
const MAX_NAME: usize = 64;

/// Words that no crate can have as its name, and crates that every plugin links.
const TAKEN: [&str; 55] = [
    "abstract", "alloc", "as", "async", "await", "become", "box", "break", "const", "continue",
    "core", "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen",
    "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv",
    "pub", "ref", "return", "self", "serde", "static", "std", "struct", "super", "test", "trait",
    "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "yield",
];

/// `mycelia new`.
#[derive(Args, Debug)]
pub(super) struct New {
    /// The name of the plugin's package and of its subsystem, such as rate-limiter.
    #[arg(value_parser = parse_name)]
    name: String,

    /// Folder of the package mycelia-plugin to depend on [default: the clone's].
    #[arg(long, value_name = "PATH")]
    plugin_api: Option<PathBuf>,
}

/// What ties a plugin to the place where it is written.
struct Place {
    folder: PathBuf,
    /// The manifest of the clone's workspace with the plugin among its members, and where it lies.
    workspace: Option<(PathBuf, String)>,
    manifest: String,
    /// As a config names it.
    library: String,
    guide: String,
}

impl New {
    pub fn execute(&self) -> Result<(), Failure> {
        let here = env::current_dir()
            .map_err(|error| Failure::failed(format!("cannot tell the current folder: {error}")))?;
        let place = match (&self.plugin_api, clone_around(&here)) {
            (None, Some(clone)) => self.in_clone(&clone)?,
            (given, _) => self.on_its_own(&here, given.as_deref())?,
        };
        if place.folder.exists() {
            let folder = place.folder.display();
            return Err(Failure::failed(format!(
                "{folder} is there already; choose another name, or remove it"
            )));
        }
        self.write(&place).map_err(|error| {
            let folder = place.folder.display();
            Failure::failed(format!(
                "cannot write {folder}: {error}; run this where you may write, nothing was changed"
            ))
        })?;
        output::note(&self.next(place.folder.strip_prefix(&here).unwrap_or(&place.folder)));
        Ok(())
    }

    /// A member of the workspace, with the workspace's dependencies.
    fn in_clone(&self, clone: &Path) -> Result<Place, Failure> {
        let file = clone.join("Cargo.toml");
        let workspace = fs::read_to_string(&file).ok().and_then(|text| self.with_member(&text));
        let workspace = workspace.ok_or_else(|| {
            let file = file.display();
            Failure::failed(format!(
                "{file} has no `members = [` with a line for each, to which the plugin would be added; \
                 give --plugin-api {}/plugin-api for a plugin on its own",
                clone.display()
            ))
        })?;
        Ok(Place {
            folder: clone.join("plugins").join(&self.name),
            workspace: Some((file, workspace)),
            manifest: self.named(IN_A_CLONE),
            library: self.library(),
            guide: "`../../plugin-api/README.md`".into(),
        })
    }

    /// A workspace of its own, with dependencies by path while there is one.
    fn on_its_own(&self, here: &Path, given: Option<&Path>) -> Result<Place, Failure> {
        let plugin_api = match given {
            Some(given) => Some(plugin_api(given).ok_or_else(|| {
                let given = given.display();
                Failure::usage(format!(
                    "--plugin-api: {given} does not hold the package mycelia-plugin; \
                     name the folder plugin-api of a clone"
                ))
            })?),
            None => plugin_api(Path::new(OWN_PLUGIN_API)),
        };
        let guide =
            plugin_api.as_ref().map(|folder| format!("`{}`", folder.join("README.md").display()));
        // What is a string in JSON is one in TOML.
        let by_path = |folder: PathBuf| format!("path = {}", json!(folder.to_string_lossy()));
        let source = plugin_api.as_ref().map(|folder| folder.join("testkit")).map(by_path);
        let testkit = source.unwrap_or(VERSION.into());
        let source = plugin_api.map_or(VERSION.into(), by_path);
        let manifest = self.named(ON_ITS_OWN);
        Ok(Place {
            folder: here.join(&self.name),
            workspace: None,
            manifest: manifest.replace("PLUGIN_API", &source).replace("TESTKIT", &testkit),
            library: format!("target/release/lib{}.so", self.library()),
            guide: guide.unwrap_or("The documentation of `mycelia-plugin`".into()),
        })
    }

    /// Prepares everything beside the place, and moves it there at once.
    fn write(&self, place: &Place) -> io::Result<()> {
        let around = place.folder.parent().unwrap_or(&place.folder);
        let draft = tempfile::Builder::new().prefix(".mycelia-new-").tempdir_in(around)?;
        let folder = draft.path().join(&self.name);
        let put = |file: &str, text: &str| {
            let file = folder.join(file);
            fs::create_dir_all(file.parent().unwrap_or(&folder))?;
            fs::write(file, text)
        };
        for (file, text) in FILES {
            put(file, &self.named(text))?;
        }
        put("Cargo.toml", &place.manifest)?;
        put("README.md", &self.named(README).replace("GUIDE", &place.guide))?;
        put(&format!("{}.ron", self.name), &self.named(CONFIG).replace("LIBRARY", &place.library))?;
        let Some((file, text)) = &place.workspace else {
            put(".gitignore", "/target\n")?;
            return fs::rename(&folder, &place.folder);
        };
        let workspace = draft.path().join("Cargo.toml");
        fs::write(&workspace, text)?;
        fs::rename(&folder, &place.folder)?;
        fs::rename(&workspace, file).inspect_err(|_| drop(fs::remove_dir_all(&place.folder)))
    }

    /// A text of a template, with this plugin's names.
    fn named(&self, text: &str) -> String {
        let text = text.replace("mycelia-counter", &self.name).replace("my-plugin", &self.name);
        text.replace("mycelia_counter", &self.library())
    }

    /// The name of the library, without `lib` and `.so`; also that of the crate.
    fn library(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The manifest of a workspace with the plugin as its last member.
    fn with_member(&self, manifest: &str) -> Option<String> {
        let members = manifest.find("\nmembers = [\n")?;
        let end = members + manifest[members..].find("\n]")?;
        let (before, after) = manifest.split_at(end);
        before.ends_with(',').then(|| format!("{before}\n    \"plugins/{}\",{after}", self.name))
    }

    fn next(&self, folder: &Path) -> String {
        let (name, shown) = (&self.name, folder.display());
        let dev = runnable(&format!("mycelia dev {shown}/{name}.ron"));
        let ask = runnable(&format!("mycelia ask {name}://add/visits 2"));
        format!(
            "{shown} is a plugin that counts by name; test it, serve it, \
             and ask it from a second terminal:\n  \
             cargo test --manifest-path {shown}/Cargo.toml\n  {dev}\n  {ask}"
        )
    }
}

fn parse_name(name: &str) -> Result<String, String> {
    let is_well_formed = name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if !is_well_formed {
        return Err(format!(
            "write up to {MAX_NAME} of a-z, 0-9, - and _, beginning with a letter, such as rate-limiter"
        ));
    }
    check_name(name).map_err(|error| error.kind.to_string())?;
    if TAKEN.contains(&name) || name.starts_with("mycelia") {
        return Err("Rust, or the host itself, has this name; choose another".into());
    }
    Ok(name.into())
}

/// The root of the clone around a folder: a workspace in which mycelia-plugin lies.
fn clone_around(folder: &Path) -> Option<PathBuf> {
    let is_clone = |root: &&Path| {
        root.join("Cargo.toml").is_file() && plugin_api(&root.join("plugin-api")).is_some()
    };
    folder.ancestors().find(is_clone).map(Path::to_owned)
}

/// The folder, by its full name, if it holds mycelia-plugin and its testkit.
fn plugin_api(folder: &Path) -> Option<PathBuf> {
    let holds = |folder: &Path, package: &str| {
        let manifest = fs::read_to_string(folder.join("Cargo.toml"));
        manifest.is_ok_and(|text| text.contains(&format!("\nname = \"{package}\"\n")))
    };
    let holds_both =
        holds(folder, "mycelia-plugin") && holds(&folder.join("testkit"), "mycelia-testkit");
    holds_both.then(|| folder.canonicalize().ok()).flatten()
}
