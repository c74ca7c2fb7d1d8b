//! What callgrind counted: who called whom, and what each took itself.

use crate::symbols::Symbols;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// A function of a library.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Function {
    /// The file's name, or the label of a plugin.
    pub library: String,
    /// Demangled.
    pub name: String,
}

/// Instructions by function and by call.
#[derive(Default)]
pub struct Calls {
    nodes: BTreeMap<Function, Node>,
}

#[derive(Default)]
struct Node {
    own: u64,
    /// By the called function, with all that it called.
    calls: BTreeMap<Function, u64>,
}

impl Node {
    fn all(&self) -> u64 {
        self.own + self.calls.values().sum::<u64>()
    }
}

/// Stacks deeper than this are cut.
const DEEPEST: usize = 64;

impl Calls {
    /// Reads what was written with instruction addresses, and with neither names nor positions shortened.
    pub fn parse(text: &str, symbols: &Symbols) -> Calls {
        let mut calls = Calls::default();
        let function = |library: &str, name: &str, address: u64| {
            let (library, name) = symbols.at(address).unwrap_or((library, name));
            Function { library: library.into(), name: name.into() }
        };
        let (mut library, mut name) = ("?", "?");
        let (mut called_library, mut called_name) = (None, "?");
        // Of the line that says how often, behind which comes the one with the cost.
        let mut called = None;
        for line in text.lines() {
            match line.split_once('=') {
                Some(("ob", text)) => library = file_name(text),
                Some(("fn", text)) => name = text,
                Some(("cob", text)) => called_library = Some(file_name(text)),
                Some(("cfn", text)) => called_name = text,
                Some(("calls", text)) => {
                    let target = text.split(' ').nth(1).and_then(hexadecimal).unwrap_or(0);
                    let library = called_library.take().unwrap_or(library);
                    called = Some(function(library, called_name, target));
                }
                Some(_) => {}
                None => {
                    let Some((address, cost)) = cost(line) else { continue };
                    let node = calls.nodes.entry(function(library, name, address)).or_default();
                    match called.take() {
                        Some(called) => *node.calls.entry(called).or_default() += cost,
                        None => node.own += cost,
                    }
                }
            }
        }
        calls
    }

    /// What each function took itself.
    pub fn own(&self) -> impl Iterator<Item = (&Function, u64)> {
        self.nodes.iter().map(|(function, node)| (function, node.own))
    }

    /// Stacks below a function, as a flame graph wants them.
    pub fn stacks(&self, root: &str, take: &mut impl FnMut(&str, u64)) {
        let Some((function, node)) = self.nodes.iter().find(|(function, _)| function.name == root)
        else {
            return;
        };
        self.stack(function, node.all() as f64, &mut Vec::new(), &mut BTreeSet::new(), take);
    }

    /// `share` is what the function takes when it is called in this way.
    fn stack<'c>(
        &'c self,
        function: &'c Function,
        share: f64,
        above: &mut Vec<&'c str>,
        seen: &mut BTreeSet<&'c Function>,
        take: &mut impl FnMut(&str, u64),
    ) {
        let node = self.nodes.get(function).filter(|node| node.all() > 0);
        let is_new = above.len() < DEEPEST && seen.insert(function);
        let (Some(node), true) = (node, is_new && share >= 1.0) else { return };
        above.push(&function.name);
        let scale = share / node.all() as f64;
        take(&above.join(";").replace(' ', "\u{a0}"), (node.own as f64 * scale) as u64);
        for (called, cost) in &node.calls {
            self.stack(called, *cost as f64 * scale, above, seen, take);
        }
        above.pop();
        seen.remove(function);
    }
}

fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// Address and instructions of a line such as `0x1234 56`.
fn cost(line: &str) -> Option<(u64, u64)> {
    let (address, cost) = line.split_once(' ')?;
    Some((hexadecimal(address)?, cost.trim().parse().ok()?))
}
