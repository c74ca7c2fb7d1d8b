//! The matcher of one subsystem: its patterns as a tree by segment, in flat vectors, walked without allocating.
//!
//! A literal wins over a parameter and a parameter over a tail, from the left; where the winner leads nowhere, the next is tried.
//! Every node has one parent and so one depth: a search enters no node twice, whatever the path, and so its work is bounded by the patterns.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::ids::RouteId;
use crate::params::{Params, Span, Spans};
use crate::pattern::{Pattern, Segment};

/// The patterns of one subsystem, immutable, no two of which match the same paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    /// The root is the first; none at all match nothing.
    nodes: Vec<Node>,
    literals: Vec<Literal>,
    /// What the literals' ranges refer to.
    text: String,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Literal children, sorted.
    literals: Range<u32>,
    parameter: Option<u32>,
    tail: Option<Tail>,
    /// The route that ends here.
    end: Option<RouteId>,
}

#[derive(Clone, Debug)]
struct Literal {
    /// The first eight bytes, so that most comparisons are of two integers.
    prefix: u64,
    start: u32,
    length: u32,
    node: u32,
}

#[derive(Copy, Clone, Debug)]
struct Tail {
    route: RouteId,
    captured: bool,
}

/// Two routes that match the same paths.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Clash(pub RouteId, pub RouteId);

impl Matcher {
    pub(crate) fn build<'r>(
        routes: impl Iterator<Item = (RouteId, &'r Pattern)>,
    ) -> Result<Self, Clash> {
        let mut root = Branch::default();
        for (route, pattern) in routes {
            root.insert(route, pattern.segments())?;
        }
        let mut matcher = Self::default();
        matcher.flatten(root);
        Ok(matcher)
    }

    /// The route of a checked path whose segments start at `from`, and what it captured.
    pub(crate) fn find<'p>(&self, text: &'p str, from: usize) -> Option<(RouteId, Params<'p>)> {
        self.search(text, from, |_| {})
    }

    fn search<'p>(
        &self,
        text: &'p str,
        from: usize,
        entered: impl FnMut(u32),
    ) -> Option<(RouteId, Params<'p>)> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut search = Search { matcher: self, text, spans: Spans::default(), entered };
        let start = (from < text.len()).then_some(from);
        let route = search.enter(0, start)?;
        Some((route, Params::new(text, search.spans)))
    }

    fn literal(&self, node: &Node, segment: &[u8]) -> Option<u32> {
        let children = &self.literals[node.literals.start as usize..node.literals.end as usize];
        if children.is_empty() {
            return None;
        }
        let prefix = prefix(segment);
        let order = |child: &Literal| {
            child.prefix.cmp(&prefix).then_with(|| self.bytes(child).cmp(segment))
        };
        let found = children.binary_search_by(order).ok()?;
        Some(children[found].node)
    }

    fn bytes(&self, literal: &Literal) -> &[u8] {
        let start = literal.start as usize;
        &self.text.as_bytes()[start..start + literal.length as usize]
    }

    /// Lays a branch out after the nodes that are there; its literal children stay side by side.
    fn flatten(&mut self, branch: Branch) -> u32 {
        let index = self.nodes.len() as u32;
        let first = self.literals.len() as u32;
        self.nodes.push(Node {
            literals: first..first + branch.literals.len() as u32,
            parameter: None,
            tail: branch.tail,
            end: branch.end,
        });
        for text in branch.literals.keys() {
            self.push_literal(text);
        }
        for (offset, child) in branch.literals.into_values().enumerate() {
            let node = self.flatten(child);
            self.literals[first as usize + offset].node = node;
        }
        let parameter = branch.parameter.map(|child| self.flatten(*child));
        self.nodes[index as usize].parameter = parameter;
        index
    }

    fn push_literal(&mut self, text: &str) {
        self.literals.push(Literal {
            prefix: prefix(text.as_bytes()),
            start: self.text.len() as u32,
            length: text.len() as u32,
            node: 0,
        });
        self.text.push_str(text);
    }
}

/// The first eight bytes in the order of comparison; the padding is a control character, which no segment has.
#[inline]
fn prefix(segment: &[u8]) -> u64 {
    if let Some(first) = segment.first_chunk() {
        return u64::from_be_bytes(*first);
    }
    let read = segment.iter().fold(0, |read, byte| read << 8 | u64::from(*byte));
    read << (8 * (8 - segment.len()))
}

struct Search<'m, 'p, F> {
    matcher: &'m Matcher,
    text: &'p str,
    spans: Spans,
    /// Told of every node that is entered, which is how the bound on the work is tested.
    entered: F,
}

impl<F: FnMut(u32)> Search<'_, '_, F> {
    /// `at` is where the next segment starts, or nothing when there is none.
    fn enter(&mut self, index: u32, at: Option<usize>) -> Option<RouteId> {
        (self.entered)(index);
        let node = &self.matcher.nodes[index as usize];
        let Some(start) = at else {
            return node.end;
        };
        let end = segment_end(self.text, start);
        let next = (end < self.text.len()).then_some(end + 1);
        self.through_literal(node, start..end, next)
            .or_else(|| self.through_parameter(node, start..end, next))
            .or_else(|| self.through_tail(node, start))
    }

    fn through_literal(
        &mut self,
        node: &Node,
        segment: Range<usize>,
        next: Option<usize>,
    ) -> Option<RouteId> {
        let child = self.matcher.literal(node, &self.text.as_bytes()[segment])?;
        self.enter(child, next)
    }

    fn through_parameter(
        &mut self,
        node: &Node,
        segment: Range<usize>,
        next: Option<usize>,
    ) -> Option<RouteId> {
        let child = node.parameter?;
        self.spans.push(Span::from(segment));
        let found = self.enter(child, next);
        if found.is_none() {
            self.spans.pop();
        }
        found
    }

    fn through_tail(&mut self, node: &Node, start: usize) -> Option<RouteId> {
        let tail = node.tail?;
        if tail.captured {
            self.spans.push(Span::from(start..self.text.len()));
        }
        Some(tail.route)
    }
}

#[inline]
fn segment_end(text: &str, start: usize) -> usize {
    let rest = &text.as_bytes()[start..];
    rest.iter().position(|byte| *byte == b'/').map_or(text.len(), |length| start + length)
}

/// The tree while it grows.
#[derive(Default)]
struct Branch<'r> {
    literals: BTreeMap<&'r str, Branch<'r>>,
    parameter: Option<Box<Branch<'r>>>,
    tail: Option<Tail>,
    end: Option<RouteId>,
}

impl<'r> Branch<'r> {
    fn insert(&mut self, route: RouteId, segments: &'r [Segment]) -> Result<(), Clash> {
        match segments {
            [] => take(&mut self.end, route, route, |earlier| *earlier),
            [Segment::Literal(text), rest @ ..] => {
                self.literals.entry(text).or_default().insert(route, rest)
            }
            [Segment::Parameter(_), rest @ ..] => {
                self.parameter.get_or_insert_default().insert(route, rest)
            }
            [Segment::Tail(name), ..] => {
                let tail = Tail { route, captured: name.is_some() };
                take(&mut self.tail, tail, route, |earlier| earlier.route)
            }
        }
    }
}

fn take<T>(
    place: &mut Option<T>,
    value: T,
    route: RouteId,
    taken_by: impl Fn(&T) -> RouteId,
) -> Result<(), Clash> {
    if let Some(earlier) = place {
        return Err(Clash(taken_by(earlier), route));
    }
    *place = Some(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of `{a,{x}}^depth/end`, so that every path of `a` offers two ways at each segment.
    fn hostile(depth: usize) -> Vec<Pattern> {
        let name = |place: usize| format!("{{p{place}}}");
        let text = |choice: usize| {
            let part =
                |place: usize| if choice >> place & 1 == 1 { name(place) } else { "a".into() };
            (0..depth).map(part).chain(["end".into()]).collect::<Vec<_>>().join("/")
        };
        (0..1 << depth).map(|choice| Pattern::parse(&text(choice)).unwrap()).collect()
    }

    #[test]
    fn no_node_is_entered_twice() {
        let patterns = hostile(8);
        let ids = (0..).map(RouteId);
        let matcher = Matcher::build(ids.zip(&patterns)).unwrap();
        let mut entered = vec![0; matcher.nodes.len()];
        let path = "a/".repeat(8) + "miss";
        assert!(matcher.search(&path, 0, |node| entered[node as usize] += 1).is_none());
        assert_eq!(entered.iter().max(), Some(&1));
        assert_eq!(entered.iter().sum::<u32>(), (1 << 9) - 1, "every way was tried");
    }

    #[test]
    fn a_miss_leaves_no_capture_behind() {
        let patterns = ["{x}/{y}/c", "{*rest}"].map(|text| Pattern::parse(text).unwrap());
        let matcher = Matcher::build((0..).map(RouteId).zip(&patterns)).unwrap();
        let (route, params) = matcher.find("a/b/d", 0).unwrap();
        assert_eq!(route, RouteId(1));
        assert!(params.iter().eq(["a/b/d"]));
    }
}
