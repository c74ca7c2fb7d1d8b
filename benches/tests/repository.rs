//! The rules of the repository that a change can break without breaking a build: who depends on whom, where unsafe code
//! and the ABI's own crate may stand, what lies at the top, and that the documents name what there is.

use proc_macro2::{TokenStream, TokenTree};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Besides dot files.
const TOP_LEVEL: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "host",
    "kernel",
    "plugin-api",
    "plugins",
    "rust-toolchain.toml",
];

/// Where unsafe code stands; a folder ends with `/`. Tests may have some anywhere.
const HOMES_OF_UNSAFE: &[&str] = &[
    "kernel/src/ring.rs",
    "plugin-api/src/abi/",
    // A handler is a function item, made from nothing.
    // The attributes of what the export macro exports.
    "plugin-api/src/lib.rs",
    "host/src/abi/",
    "host/src/loader/",
];

/// Where abi_stable is named: its types stay at the boundary.
const HOMES_OF_ABI_STABLE: &[&str] =
    &["plugin-api/src/abi/", "plugin-api/src/lib.rs", "host/src/loader/"];

/// The most crates in the tree of a package with these flags, itself included.
const BUDGETS: &[(&str, usize)] =
    &[("mycelia-plugin", 60), ("mycelia --no-default-features", 160), ("mycelia", 190)];

/// What no document names: folders of one machine, and hosts of registries.
const FOREIGN: &[&str] = &["/work/", "/root", "/home/", "/tmp/", "crates.io"];

const CARGO_COMMANDS: &[&str] =
    &["bench", "build", "clippy", "doc", "fmt", "fuzz", "install", "new", "run", "test", "tree"];

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("the package lies in the repository").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with all of what is wrong.
fn expect_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn cargo(arguments: &str) -> String {
    let output =
        Command::new(env!("CARGO")).args(arguments.split(' ')).current_dir(root()).output();
    let output = output.expect("cargo runs this test");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

// Dependencies

struct Package {
    name: String,
    /// Within the repository.
    folder: String,
    is_library_to_load: bool,
    normal: Vec<String>,
    all: Vec<String>,
}

impl Package {
    fn is_plugin(&self) -> bool {
        self.folder.starts_with("plugins/") && self.is_library_to_load
    }
}

/// Every package of the workspace, with its dependencies within the workspace.
fn packages() -> Vec<Package> {
    let metadata = cargo("metadata --format-version 1 --no-deps --frozen");
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo prints JSON");
    let listed = list(&metadata["packages"]);
    let names: BTreeSet<&str> = listed.iter().map(|package| text(&package["name"])).collect();
    listed.iter().map(|package| self::package(package, &names)).collect()
}

fn package(value: &Value, names: &BTreeSet<&str>) -> Package {
    let manifest = Path::new(text(&value["manifest_path"]));
    let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root()).ok());
    let within = |is_wanted: fn(&Value) -> bool| {
        let wanted =
            list(&value["dependencies"]).iter().filter(|dependency| is_wanted(&dependency["kind"]));
        let named = wanted.map(|dependency| text(&dependency["name"]));
        named.filter(|name| names.contains(name)).map(str::to_owned).collect()
    };
    let kinds = list(&value["targets"])
        .iter()
        .filter(|target| list(&target["kind"]).contains(&"cdylib".into()));
    Package {
        name: text(&value["name"]).into(),
        folder: folder.expect("the workspace lies in the repository").display().to_string(),
        is_library_to_load: kinds.count() > 0,
        normal: within(|kind| kind != "dev"),
        all: within(|_| true),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a package may depend on within the workspace, but for its tests; `None` is anything.
fn allowed(package: &Package) -> Option<&'static [&'static str]> {
    match package.folder.as_str() {
        "kernel" | "plugin-api" => Some(&[]),
        "plugin-api/testkit" | "host" => Some(&["mycelia-kernel", "mycelia-plugin"]),
        folder if folder.starts_with("plugins/") => {
            Some(&["mycelia-plugin", "mycelia-http-message"])
        }
        folder if folder.starts_with("benches") => None,
        folder => panic!("{folder}: say in `allowed` whom `{}` may know", package.name),
    }
}

#[test]
fn dependencies_go_one_way() {
    let packages = packages();
    let mut wrong = Vec::new();
    for package in &packages {
        let Some(allowed) = allowed(package) else { continue };
        let too_many = package.normal.iter().filter(|name| !allowed.contains(&name.as_str()));
        wrong.extend(too_many.map(|name| format!("{} depends on {name}", package.name)));
        let benches = package.all.iter().filter(|name| name.starts_with("mycelia-benches"));
        wrong
            .extend(benches.map(|name| format!("{} depends on {name}: nothing may", package.name)));
    }
    expect_none(&wrong);
}

/// Both export the same symbol, so no binary links two; tests of a plugin count too.
#[test]
fn no_plugin_depends_on_another() {
    let packages = packages();
    let plugins: Vec<&Package> = packages.iter().filter(|package| package.is_plugin()).collect();
    assert!(plugins.len() >= 5, "only {} plugins were found", plugins.len());
    let mut wrong = Vec::new();
    for plugin in &plugins {
        let others = plugins.iter().filter(|other| plugin.all.contains(&other.name));
        wrong.extend(others.map(|other| format!("{} depends on {}", plugin.name, other.name)));
    }
    expect_none(&wrong);
}

#[test]
fn trees_stay_within_their_budgets() {
    let mut wrong = Vec::new();
    for (package, most) in BUDGETS {
        let tree =
            cargo(&format!("tree -p {package} -e normal --prefix none --no-dedupe --frozen"));
        let crates: BTreeSet<&str> = tree.lines().collect();
        println!("{package}: {} crates of at most {most}", crates.len());
        if crates.len() > *most {
            wrong.push(format!(
                "{package} has {} crates in its tree, at most {most} are allowed",
                crates.len()
            ));
        }
    }
    expect_none(&wrong);
}

// Source

/// Every file with this ending, by its path within the repository, but for what is built.
fn files(ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in TOP_LEVEL {
        collect(name, ending, &mut found);
    }
    found.sort();
    found
}

fn collect(path: &str, ending: &str, found: &mut Vec<String>) {
    let place = root().join(path);
    if place.is_dir() && !path.ends_with("/target") {
        names_in(&place).iter().for_each(|name| collect(&format!("{path}/{name}"), ending, found));
    } else if path.ends_with(ending) && place.is_file() {
        found.push(path.into());
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whether this word stands in the code, rather than in a comment or a text.
fn has_word(code: TokenStream, word: &str) -> bool {
    code.into_iter().any(|token| match token {
        TokenTree::Ident(found) => found == word,
        TokenTree::Group(group) => has_word(group.stream(), word),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// The files that have this word outside of `homes` and of tests.
fn strays(word: &str, homes: &[&str]) -> Vec<String> {
    let is_home = |file: &str| {
        homes.iter().any(|home| file == *home || (home.ends_with('/') && file.starts_with(home)))
    };
    let outside =
        files(".rs").into_iter().filter(|file| !is_home(file) && !file.contains("/tests/"));
    outside
        .filter(|file| {
            let code = read(file).parse().unwrap_or_else(|error| panic!("{file}: {error}"));
            has_word(code, word)
        })
        .map(|file| {
            format!("{file} has the word `{word}`, which stands only in {}", homes.join(", "))
        })
        .collect()
}

#[test]
fn unsafe_code_has_few_homes() {
    expect_none(&strays("unsafe", HOMES_OF_UNSAFE));
}

#[test]
fn the_abi_crate_stays_at_the_boundary() {
    expect_none(&strays("abi_stable", HOMES_OF_ABI_STABLE));
}

#[test]
fn plugins_forbid_unsafe_code() {
    let packages = packages();
    let plugins = packages.iter().filter(|package| package.folder.starts_with("plugins/"));
    let sources = plugins.map(|package| format!("{}/src/lib.rs", package.folder));
    let without = sources.filter(|file| !read(file).contains("#![forbid(unsafe_code)]"));
    let wrong: Vec<String> =
        without.map(|file| format!("{file} lacks `#![forbid(unsafe_code)]`")).collect();
    expect_none(&wrong);
}

#[test]
fn nothing_else_lies_at_the_top() {
    let ignored = read(".gitignore");
    let is_ignored =
        |name: &str| ignored.lines().any(|pattern| fits(pattern.trim_end_matches('/'), name));
    let names = names_in(&root());
    let extra = names.iter().filter(|name| {
        !name.starts_with('.') && !is_ignored(name) && !TOP_LEVEL.contains(&name.as_str())
    });
    let missing = TOP_LEVEL.iter().filter(|name| !names.iter().any(|found| found == *name));
    let extra = extra.map(|name| format!("{name} does not belong at the top level"));
    expect_none(&extra.chain(missing.map(|name| format!("{name} is missing"))).collect::<Vec<_>>());
}

/// A pattern of .gitignore with at most one `*`.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => name == pattern,
    }
}

// Documents

/// What the relative links of a Markdown text point at.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|target| {
        !target.contains("::") && !target.contains("//") && !target.starts_with('#')
    });
    files.map(|target| target.split('#').next().unwrap_or_default())
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for file in files(".md") {
        let folder = root().join(&file).parent().expect("a file lies in a folder").to_owned();
        let text = read(&file);
        let broken = links(&text).filter(|link| !folder.join(link).exists());
        wrong.extend(broken.map(|link| format!("{file} links to {link}, which does not exist")));
    }
    expect_none(&wrong);
}

/// What stands between backquotes, outside of blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_code_map_is_true() {
    let map = read("ARCHITECTURE.md");
    let named: BTreeSet<&str> = quoted(&map).into_iter().collect();
    let is_path = |name: &str| {
        TOP_LEVEL.iter().chain(&[".ci", ".github"]).any(|top| name.starts_with(&format!("{top}/")))
    };
    let paths = named.iter().filter(|name| is_path(name) && !name.contains(['*', ' ']));
    let mut wrong: Vec<String> = paths
        .filter(|path| !root().join(path).exists())
        .map(|path| format!("ARCHITECTURE.md names {path}, which does not exist"))
        .collect();
    for folder in [
        "kernel/src",
        "plugin-api/src",
        "plugin-api/src/abi",
        "host/src",
        "host/src/runtime",
        "host/src/loader",
        "plugins",
    ] {
        let parts = names_in(&root().join(folder))
            .into_iter()
            .filter(|name| !["lib.rs", "main.rs", "mod.rs"].contains(&name.as_str()));
        let parts = parts.map(|name| format!("{folder}/{name}"));
        let missing = parts.filter(|path| {
            !named.contains(path.as_str()) && !named.contains(format!("{path}/").as_str())
        });
        wrong.extend(missing.map(|path| format!("ARCHITECTURE.md does not say what {path} is")));
    }
    expect_none(&wrong);
}

#[test]
fn documents_name_no_machine() {
    let mut wrong = Vec::new();
    for file in files(".md") {
        let text = read(&file);
        let found = FOREIGN.iter().filter(|foreign| text.contains(**foreign));
        wrong.extend(found.map(|foreign| format!("{file} names {foreign}")));
    }
    expect_none(&wrong);
}

/// The commands of the binary, from its source: `DeadLetters` is `dead-letters`.
fn commands() -> Vec<String> {
    let source = read("host/src/cli/mod.rs");
    let (_, variants) =
        source.split_once("enum Command {\n").expect("the command line has its commands");
    let variants = variants.split("\n}").next().unwrap_or_default().lines();
    let names =
        variants.filter_map(|line| line.strip_prefix("    ")?.split(['(', ' ', ',']).next());
    let names = names.filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase()));
    let kebab = |name: &str| {
        name.chars()
            .flat_map(|c| c.is_uppercase().then_some('-').into_iter().chain([c]))
            .collect::<String>()
    };
    names.map(|name| kebab(name)[1..].to_ascii_lowercase()).collect()
}

/// The lines of a document that are typed into a shell, and what stands between backquotes.
fn typed(text: &str) -> Vec<&str> {
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| {
        let is_script = block.starts_with("sh\n");
        block.lines().filter_map(move |line| line.strip_prefix("$ ").or(is_script.then_some(line)))
    });
    lines.chain(quoted(text)).collect()
}

#[test]
fn the_commands_of_the_documents_exist() {
    let known = commands();
    assert!(known.len() >= 8, "only {known:?} were found");
    let mut wrong = Vec::new();
    for file in files(".md") {
        for line in typed(&read(&file)) {
            let mut words = line
                .split(' ')
                .filter(|word| !word.contains('='))
                .map(|word| word.rsplit('/').next().unwrap_or(word));
            let good = match (words.next(), words.next()) {
                (Some("cargo"), Some(word)) => CARGO_COMMANDS.contains(&word),
                (Some("mycelia"), Some(word)) => known.iter().any(|known| known == word),
                _ => true,
            };
            wrong.extend((!good).then(|| format!("{file}: `{line}` is no command")));
        }
    }
    let readme = read("README.md");
    let untold = known.iter().filter(|command| !readme.contains(&format!("`mycelia {command}")));
    wrong.extend(untold.map(|command| format!("README.md does not tell of `mycelia {command}`")));
    expect_none(&wrong);
}

/// What a reader pastes is what is built here, but for the comments.
#[test]
fn the_readme_shows_the_counter() {
    let readme = read("README.md");
    let shown = readme
        .split("```rust\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap_or_default();
    let source = read("plugins/counter/src/lib.rs");
    let code = |text: &str| {
        text.lines().filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(code(shown), code(&source));
}
