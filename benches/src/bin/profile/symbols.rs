//! Names of functions in plugins, which callgrind cannot find: what is mapped of a library is a sealed memory file that ends
//! before its symbols. The file on disk has them.

use mycelia::{loader::find, runtime::search_path};
use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};
use std::{error::Error, fs, path::Path};

/// The plugins of a process, with their symbols.
pub struct Symbols {
    plugins: Vec<Plugin>,
}

struct Plugin {
    label: String,
    /// Where the lowest byte of its memory lies.
    base: u64,
    end: u64,
    functions: Vec<Named>,
}

struct Named {
    start: u64,
    end: u64,
    name: String,
}

impl Symbols {
    /// For a process with these maps, in the form of `/proc/self/maps`, whose plugins are the pump under several names.
    pub fn new(maps: &str) -> Result<Symbols, Box<dyn Error>> {
        let file = find("mycelia_pump", Path::new("."), &search_path())?;
        let bytes = fs::read(&file)?;
        let mut plugins: Vec<Plugin> = Vec::new();
        for (start, end, label) in maps.lines().filter_map(memory_file) {
            match plugins.iter_mut().find(|plugin| plugin.label == label) {
                Some(plugin) => plugin.end = end,
                None => {
                    let functions = functions(&bytes)?;
                    plugins.push(Plugin { label: label.into(), base: start, end, functions });
                }
            }
        }
        Ok(Symbols { plugins })
    }

    /// The plugin in which this address lies, and its function there.
    pub fn at(&self, address: u64) -> Option<(&str, &str)> {
        let plugin =
            self.plugins.iter().find(|plugin| (plugin.base..plugin.end).contains(&address))?;
        let offset = address - plugin.base;
        let place = plugin.functions.partition_point(|function| function.start <= offset);
        let function = place.checked_sub(1).map(|place| &plugin.functions[place]);
        let name = function.filter(|function| offset < function.end);
        Some((&plugin.label, name.map_or("(stub)", |function| &function.name)))
    }
}

/// Start, end and label of a line of the maps that is of a sealed library.
fn memory_file(line: &str) -> Option<(u64, u64, &str)> {
    let label = line.split("/memfd:").nth(1)?.trim_end_matches(" (deleted)");
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?, label))
}

/// The functions of a library in the order of their places, counted from its lowest byte.
fn functions(bytes: &[u8]) -> Result<Vec<Named>, Box<dyn Error>> {
    let file = object::File::parse(bytes)?;
    let lowest = file.segments().map(|segment| segment.address()).min().unwrap_or(0);
    let is_function = |symbol: &object::Symbol<'_, '_>| {
        symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.size() > 0
    };
    let named = |symbol: object::Symbol<'_, '_>| {
        let start = symbol.address() - lowest;
        let name = symbol.name().unwrap_or("?");
        // Without the hash.
        let name = format!("{:#}", rustc_demangle::demangle(name));
        Named { start, end: start + symbol.size(), name }
    };
    let mut functions: Vec<Named> = file.symbols().filter(is_function).map(named).collect();
    functions.sort_by_key(|function| function.start);
    Ok(functions)
}
