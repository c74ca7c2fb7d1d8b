//! From a plugin's name to its file.

use super::LoadError;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The folders in which plugins are looked for, first match first: those of `MYCELIA_PLUGIN_PATH`, the binary's own,
/// and its `deps`, where `cargo test` leaves fresh libraries and nowhere else.
pub fn search_path(env: Option<OsString>, binary: &Path) -> Vec<PathBuf> {
    let named =
        env.iter().flat_map(std::env::split_paths).filter(|folder| !folder.as_os_str().is_empty());
    let own =
        binary.parent().into_iter().flat_map(|folder| [folder.to_owned(), folder.join("deps")]);
    named.chain(own).collect()
}

/// The file of a plugin: `lib{plugin}.so` in the first of the `search` folders that has it.
/// With a `/` or ending in `.so` it is a path instead, relative to `base`, the config's folder.
///
/// # Errors
/// [`LoadError::NotFound`] with the folders looked in, and the most similar plugin that is there.
pub fn find(plugin: &str, base: &Path, search: &[PathBuf]) -> Result<PathBuf, LoadError> {
    if plugin.contains('/') || plugin.ends_with(".so") {
        return find_path(plugin, &base.join(plugin));
    }
    let file = format!("lib{plugin}.so");
    let found = search.iter().map(|folder| folder.join(&file)).find(|path| path.exists());
    found.ok_or_else(|| {
        not_found(plugin, &file, search, |name| plugin_name(name).map(str::to_owned))
    })
}

fn find_path(plugin: &str, path: &Path) -> Result<PathBuf, LoadError> {
    if path.exists() {
        return Ok(path.to_owned());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = |name: &str| {
        plugin_name(name).map(|_| Path::new(plugin).with_file_name(name).display().to_string())
    };
    Err(not_found(plugin, &file, &[folder.to_owned()], beside))
}

fn not_found(
    plugin: &str,
    file: &str,
    folders: &[PathBuf],
    suggest: impl Fn(&str) -> Option<String>,
) -> LoadError {
    let there = folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    let names = there.filter_map(|entry| entry.file_name().into_string().ok());
    let suggestion = names
        .filter_map(|name| Some((likeness(&name, file), suggest(&name)?)))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, suggestion)| suggestion);
    LoadError::NotFound {
        plugin: plugin.into(),
        file: file.into(),
        folders: folders.to_vec(),
        suggestion,
    }
}

/// Above it a name is taken for a mistyped other one; `mycelia_echo` and `mycelia_http` are below it.
const ALIKE: f64 = 0.75;

/// From 0 to 1; a name that has the whole of the other in it, `mycelia_kv` for `kv`, is nearly equal.
fn likeness(name: &str, wanted: &str) -> f64 {
    let (name, wanted) = (stem(name), stem(wanted));
    let contains = !wanted.is_empty() && name.split('_').any(|word| word == wanted);
    if contains { 0.95 } else { strsim::normalized_damerau_levenshtein(&name, &wanted) }
}

fn stem(file: &str) -> String {
    let stem = plugin_name(file).unwrap_or_else(|| file.trim_end_matches(".so"));
    stem.replace('-', "_").to_lowercase()
}

fn plugin_name(file: &str) -> Option<&str> {
    file.strip_prefix("lib")?.strip_suffix(".so")
}
