//! The matcher of one subsystem: its patterns as a tree by segment, in flat vectors, walked without allocating.
//!
//! A literal wins over a parameter and a parameter over a tail, from the left; where the winner leads nowhere, the next is tried.
//! Every node has one parent and so one depth: a search enters no node twice, whatever the path, and so its work is bounded by the patterns.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::ids::RouteId;
use crate::params::{Span, Spans};
use crate::path::check_rest;
use crate::pattern::{Pattern, Segment};
use crate::words::{Word, Words};

/// The patterns of one subsystem, immutable, no two of which match the same paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matcher {
    /// The root is the first; none at all match nothing.
    nodes: Vec<Node>,
    /// From a node and a literal below it to the next node.
    literals: Words,
}

#[derive(Clone, Debug, Default)]
struct Node {
    has_literals: bool,
    parameter: Option<NonZeroU32>,
    tail: Option<Tail>,
    /// The route that ends here.
    end: Option<RouteId>,
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

    /// The route of a path whose segments start at `from`; what it captured is left in `spans`, also when nothing is found.
    #[inline]
    pub(crate) fn find(&self, text: &str, from: usize, spans: &mut Spans) -> Option<RouteId> {
        self.search(text, from, spans, |_| {})
    }

    #[inline]
    fn search(
        &self,
        text: &str,
        from: usize,
        spans: &mut Spans,
        entered: impl FnMut(u32),
    ) -> Option<RouteId> {
        if self.nodes.is_empty() {
            return None;
        }
        Search { matcher: self, text, spans, entered }.enter(0, from)
    }

    /// Lays a branch out after the nodes that are there.
    fn flatten(&mut self, branch: Branch) -> u32 {
        let index = self.nodes.len() as u32;
        self.nodes.push(Node {
            has_literals: !branch.literals.is_empty(),
            parameter: None,
            tail: branch.tail,
            end: branch.end,
        });
        for (text, child) in branch.literals {
            let node = self.flatten(child);
            self.literals.insert(index, text, node);
        }
        let parameter = branch.parameter.map(|child| self.flatten(*child));
        self.nodes[index as usize].parameter = parameter.and_then(NonZeroU32::new);
        index
    }
}

struct Search<'m, 'p, F> {
    matcher: &'m Matcher,
    text: &'p str,
    spans: &'p mut Spans,
    /// Told of every node that is entered, which is how the bound on the work is tested.
    entered: F,
}

impl<F: FnMut(u32)> Search<'_, '_, F> {
    /// `at` is where the next segment starts, beyond the text's end when there is none.
    ///
    /// Only a node with several ways on is entered by a call of its own; the last way is always taken by the loop.
    fn enter(&mut self, mut index: u32, mut at: usize) -> Option<RouteId> {
        loop {
            (self.entered)(index);
            let node = &self.matcher.nodes[index as usize];
            if at >= self.text.len() {
                return node.end;
            }
            let segment = Word::until(self.text, at, b'/');
            let end = at + segment.len();
            if node.has_literals
                && let Some(child) = self.matcher.literals.get(index, segment)
            {
                if node.parameter.is_none() && node.tail.is_none() {
                    (index, at) = (child, end + 1);
                    continue;
                }
                if let Some(found) = self.attempt(child, end + 1) {
                    return Some(found);
                }
            }
            let Some(child) = node.parameter else {
                return self.take_tail(node, at);
            };
            self.spans.push(Span::from(at..end));
            if node.tail.is_none() {
                (index, at) = (child.get(), end + 1);
                continue;
            }
            if let Some(found) = self.attempt(child.get(), end + 1) {
                return Some(found);
            }
            self.spans.pop();
            return self.take_tail(node, at);
        }
    }

    /// One way of several: what it captured is forgotten when it leads nowhere.
    fn attempt(&mut self, index: u32, at: usize) -> Option<RouteId> {
        let captured = self.spans.len();
        let found = self.enter(index, at);
        if found.is_none() {
            self.spans.truncate(captured);
        }
        found
    }

    fn take_tail(&mut self, node: &Node, start: usize) -> Option<RouteId> {
        let tail = node.tail?;
        if tail.captured {
            self.spans.push(Span::from(start..self.text.len()));
            return Some(tail.route);
        }
        // Whoever did not check the whole path checks what was captured, which this is not.
        check_rest(&self.text[start..]).is_ok().then_some(tail.route)
    }
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
    use crate::params::Params;

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
        let found =
            matcher.search(&path, 0, &mut Spans::default(), |node| entered[node as usize] += 1);
        assert!(found.is_none());
        assert_eq!(entered.iter().max(), Some(&1));
        assert_eq!(entered.iter().sum::<u32>(), (1 << 9) - 1, "every way was tried");
    }

    #[test]
    fn a_miss_leaves_no_capture_behind() {
        let patterns = ["{x}/{y}/c", "{*rest}"].map(|text| Pattern::parse(text).unwrap());
        let matcher = Matcher::build((0..).map(RouteId).zip(&patterns)).unwrap();
        let mut spans = Spans::default();
        assert_eq!(matcher.find("a/b/d", 0, &mut spans), Some(RouteId(1)));
        assert!(Params::new("a/b/d", spans).iter().eq(["a/b/d"]));
    }
}
