//! Texts that every match of a pattern has: what a line without them is told by (P).
//!
//! They are looked for from the end of the line, for a line that was cut lacks the last ones. Behind some of them the fast
//! program has a *mark*: where it was passed and what follows failed, it need not be passed again, and if that was the last
//! place of its text, no match is left.
//!
//! Not here: when they are looked for (see `search`).

use super::ast::{Node, only_char};
use super::bytes::{Next, Scan, stands_at};

/// Texts of a pattern that are looked for, the last ones: each takes as long as to match a few bytes.
const LITERALS_MAX: usize = 6;
/// Marks of a program.
const MARKS_MAX: usize = 4;
/// What is at least as common is in every line.
const COMMONNESS_MAX: u8 = 8;

/// A text that every match has.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    pub bytes: Vec<u8>,
    /// Where its rarest byte is.
    rare: usize,
}

impl Literal {
    pub(super) fn new(text: &str) -> Self {
        let bytes = text.as_bytes().to_vec();
        let rare = (0..bytes.len()).min_by_key(|at| commonness(bytes[*at])).unwrap_or(0);
        Self { bytes, rare }
    }

    fn commonness(&self) -> u8 {
        commonness(self.bytes[self.rare])
    }

    /// Its last place in `text`.
    pub(super) fn rfind(&self, text: &[u8]) -> Option<usize> {
        let behind = self.bytes.len() - self.rare - 1;
        let mut end = text.len().checked_sub(behind)?;
        loop {
            let at = memchr::memrchr(self.bytes[self.rare], &text[..end])?;
            let start = at.checked_sub(self.rare)?;
            if stands_at(text, start, &self.bytes) {
                return Some(start);
            }
            end = at;
        }
    }
}

/// How often a byte is in lines, roughly.
fn commonness(byte: u8) -> u8 {
    match byte {
        b' ' => 10,
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b'0' | b'1' => 8,
        b'a'..=b'z' | b'0'..=b'9' => 6,
        b'-' | b'.' | b'/' | b':' => 5,
        b'A'..=b'Z' | b',' | b'_' | b'=' => 3,
        b'"' | b'[' | b']' | b'(' | b')' => 2,
        _ => 1,
    }
}

/// The last of what every match has, in this order, and how many bytes are between at least.
#[derive(Debug)]
pub(super) struct Required {
    needles: Vec<Needle>,
    /// Bytes behind the last of them.
    behind: usize,
    /// Bytes of a whole match.
    pub length_min: usize,
}

#[derive(Debug)]
struct Needle {
    /// Bytes between the one before, or the start of the match, and this one.
    before: usize,
    kind: Kind,
    length: usize,
}

#[derive(Debug)]
enum Kind {
    Literal(Literal),
    /// One of few bytes, such as quotes.
    OneOf(Scan),
}

impl Required {
    /// The last place a match can start at: before what every match has. `None`: there is no match.
    pub(super) fn last_start(&self, text: &[u8]) -> Option<usize> {
        let mut end = text.len().checked_sub(self.behind)?;
        for Needle { before, kind, .. } in self.needles.iter().rev() {
            let at = match kind {
                Kind::Literal(literal) => literal.rfind(&text[..end]),
                Kind::OneOf(bytes) => bytes.rfind(&text[..end]),
            };
            end = at?.checked_sub(*before)?;
        }
        Some(end)
    }
}

/// Finds what every match has.
#[derive(Default)]
pub(super) struct Literals {
    run: String,
    found: Vec<Found>,
    /// Repetitions and atomic groups around.
    around: usize,
    /// Bytes since what was found last, at least.
    gap: usize,
}

struct Found {
    what: What,
    /// Bytes between the one before and this, at least.
    before: usize,
}

enum What {
    /// Characters in a row; `is_once`: they are in no repetition and no atomic group.
    Run {
        text: String,
        is_once: bool,
    },
    OneOf(Next),
}

impl Literals {
    pub(super) fn of(root: &Node) -> Self {
        let mut literals = Self::default();
        literals.visit(root);
        literals.end_run();
        literals
    }

    fn visit(&mut self, node: &Node) {
        match node {
            Node::Set(set) => match only_char(set) {
                Some(c) => self.run.push(c),
                None => self.skip(node),
            },
            Node::Concat(nodes) => nodes.iter().for_each(|node| self.visit(node)),
            Node::Capture(_, node) => self.visit(node),
            Node::Atomic(node) => self.visit_inner(node),
            Node::Empty | Node::Assert(_) | Node::Keep | Node::Passed(_) | Node::Look { .. } => {}
            Node::Repeat { node, min, .. } if *min > 0 => {
                self.visit_inner(node);
                self.gap = self.gap.saturating_add(node.length_min().saturating_mul(*min as usize - 1));
            }
            _ => self.skip(node),
        }
    }

    fn visit_inner(&mut self, node: &Node) {
        self.end_run();
        self.around += 1;
        self.visit(node);
        self.end_run();
        self.around -= 1;
    }

    /// What is no run may yet begin or end with one of few bytes.
    fn skip(&mut self, node: &Node) {
        self.end_run();
        let mut length = node.length_min();
        if length > 0 {
            length -= usize::from(self.one_of(edge(node, Edge::First)));
        }
        let last = edge(node, Edge::Last);
        if length > 0 && is_few(&last) {
            self.gap = self.gap.saturating_add(length - 1);
            self.one_of(last);
        } else {
            self.gap = self.gap.saturating_add(length);
        }
    }

    fn one_of(&mut self, bytes: Next) -> bool {
        if is_few(&bytes) {
            self.found.push(Found { what: What::OneOf(bytes), before: std::mem::take(&mut self.gap) });
        }
        is_few(&bytes)
    }

    fn end_run(&mut self) {
        if !self.run.is_empty() {
            let what = What::Run { text: std::mem::take(&mut self.run), is_once: self.around == 0 };
            self.found.push(Found { what, before: std::mem::take(&mut self.gap) });
        }
    }

    /// The runs that are least common in lines and tell something: their numbers among the runs, and their texts. Of
    /// several the last, for it is what a line lacks that was cut.
    pub(super) fn rarest(&self) -> (Vec<usize>, Vec<Literal>) {
        let runs = self.found.iter().filter_map(|found| match &found.what {
            What::Run { text, is_once } => Some((text, *is_once)),
            What::OneOf(_) => None,
        });
        let mut once: Vec<(usize, Literal)> = runs
            .enumerate()
            .filter(|(_, (_, is_once))| *is_once)
            .map(|(index, (text, _))| (index, Literal::new(text)))
            .filter(|(_, literal)| literal.commonness() < 6 || literal.bytes.len() >= 3)
            .collect();
        let rank = |(index, literal): &(usize, Literal)| {
            (literal.commonness(), std::cmp::Reverse(literal.bytes.len()), std::cmp::Reverse(*index))
        };
        once.sort_by_key(rank);
        once.truncate(MARKS_MAX);
        once.into_iter().unzip()
    }

    /// What is not in every line, if there is such.
    pub(super) fn required(self) -> Required {
        let is_any_rare = self.found.iter().any(|found| found.what.commonness() < COMMONNESS_MAX);
        let (mut needles, mut behind, mut length_min) = (Vec::new(), 0_usize, self.gap);
        for Found { what, before } in &self.found {
            let (between, length) = (behind.saturating_add(*before), what.length());
            length_min = length_min.saturating_add(*before).saturating_add(length);
            let is_rare = what.commonness() < COMMONNESS_MAX;
            match what.kind() {
                Some(kind) if is_rare || !is_any_rare => {
                    needles.push(Needle { before: between, kind, length });
                    behind = 0;
                }
                _ => behind = between.saturating_add(length),
            }
        }
        let looked_for = needles.split_off(needles.len().saturating_sub(LITERALS_MAX));
        let before = needles.iter().fold(0_usize, |sum, one| sum.saturating_add(one.before).saturating_add(one.length));
        needles = looked_for;
        if let Some(first) = needles.first_mut() {
            first.before = first.before.saturating_add(before);
        }
        Required { needles, behind: behind.saturating_add(self.gap), length_min }
    }
}

impl What {
    fn length(&self) -> usize {
        match self {
            Self::Run { text, .. } => text.len(),
            Self::OneOf(_) => 1,
        }
    }

    fn commonness(&self) -> u8 {
        match self {
            Self::Run { text, .. } => Literal::new(text).commonness(),
            Self::OneOf(bytes) => bytes.bytes().map(commonness).max().unwrap_or(0),
        }
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Run { text, .. } => Some(Kind::Literal(Literal::new(text))),
            Self::OneOf(bytes) => Scan::until(|byte| bytes.has(byte)).map(Kind::OneOf),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    First,
    Last,
}

/// The bytes that what `node` matches begins or ends with, if it is not empty: never too few.
fn edge(node: &Node, which: Edge) -> Next {
    match node {
        Node::Set(set) => Next::of_set(set),
        Node::Concat(nodes) => {
            let mut bytes = Next::NONE;
            let mut at = 0..nodes.len();
            while let Some(index) = if which == Edge::First { at.next() } else { at.next_back() } {
                bytes = bytes.or(&edge(&nodes[index], which));
                if !nodes[index].is_nullable() {
                    break;
                }
            }
            bytes
        }
        Node::Alt(nodes) => nodes.iter().fold(Next::NONE, |bytes, node| bytes.or(&edge(node, which))),
        Node::Repeat { node, .. } | Node::Capture(_, node) | Node::Atomic(node) => edge(node, which),
        Node::Empty | Node::Assert(_) | Node::Keep | Node::Passed(_) | Node::Look { .. } => Next::NONE,
        Node::Backreference(_) => Next::ANY,
    }
}

/// There are so few of them that one can be looked for; beyond ASCII it would be part of a character.
fn is_few(bytes: &Next) -> bool {
    (1..=3).contains(&bytes.bytes().count()) && bytes.bytes().all(|byte| byte.is_ascii())
}

/// Puts marks behind some of the runs that `Literals` finds.
pub(super) struct Marker {
    run: usize,
    is_in_run: bool,
    /// The run of each mark.
    chosen: Vec<usize>,
}

impl Marker {
    pub(super) fn new(chosen: Vec<usize>) -> Self {
        Self { run: 0, is_in_run: false, chosen }
    }

    pub(super) fn marked(&mut self, node: Node) -> Node {
        match node {
            Node::Set(ref set) if only_char(set).is_some() => {
                self.is_in_run = true;
                node
            }
            Node::Concat(nodes) => {
                let mut marked = Vec::with_capacity(nodes.len() + 1);
                for node in nodes {
                    if self.is_in_run && ends_run(&node) && !matches!(node, Node::Capture(..)) {
                        marked.extend(self.end_run().map(Node::Passed));
                    }
                    marked.push(self.marked(node));
                }
                Node::Concat(marked)
            }
            Node::Capture(index, inner) => {
                // Within the capture, so that what ends one and begins the next stays one instruction.
                let mark = if ends_run(&inner) { self.end_run() } else { None };
                let inner = self.marked(*inner);
                let inner = mark.map(Node::Passed).into_iter().chain([inner]).collect();
                Node::Capture(index, Box::new(Node::concat(inner)))
            }
            Node::Atomic(node) => {
                self.end_run();
                let node = Box::new(self.marked(*node));
                self.end_run();
                Node::Atomic(node)
            }
            Node::Repeat { node, min, max, choice } if min > 0 => {
                self.end_run();
                let node = Box::new(self.marked(*node));
                self.end_run();
                Node::Repeat { node, min, max, choice }
            }
            Node::Empty | Node::Assert(_) | Node::Keep | Node::Passed(_) | Node::Look { .. } => node,
            node => {
                self.end_run();
                node
            }
        }
    }

    /// The run ended, if there was one; its mark.
    fn end_run(&mut self) -> Option<u32> {
        if !std::mem::take(&mut self.is_in_run) {
            return None;
        }
        self.run += 1;
        let mark = self.chosen.iter().position(|chosen| chosen + 1 == self.run)?;
        u32::try_from(mark).ok()
    }
}

/// The node begins with what is no part of a run.
fn ends_run(node: &Node) -> bool {
    match node {
        Node::Set(set) => only_char(set).is_none(),
        Node::Repeat { .. } | Node::Alt(_) | Node::Atomic(_) | Node::Backreference(_) => true,
        Node::Capture(_, node) => ends_run(node),
        Node::Concat(nodes) => nodes.iter().find(|node| !has_no_width(node)).is_some_and(ends_run),
        Node::Empty | Node::Assert(_) | Node::Keep | Node::Passed(_) | Node::Look { .. } => false,
    }
}

/// It is nothing to a run.
fn has_no_width(node: &Node) -> bool {
    match node {
        Node::Empty | Node::Assert(_) | Node::Keep | Node::Passed(_) | Node::Look { .. } => true,
        Node::Capture(_, node) => has_no_width(node),
        Node::Concat(nodes) => nodes.iter().all(has_no_width),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::grok::syntax;

    fn required(pattern: &str) -> Required {
        Literals::of(&syntax::parse(pattern, false).expect("a good pattern").root).required()
    }

    /// Scenario: what a pattern's matches have, and lines with all of it, with less, in another order, too close together.
    /// Guarantee: the last place at which a match can start, or that there is none.
    #[test]
    fn the_last_start_is_before_all_that_is_required() {
        for (pattern, text, start) in [
            (r"\w+=\w+;", "a=b;", Some(0)),
            (r"\w+=\w+;", "a=b; cc=dd;", Some(6)),
            (r"\w+=\w+;", "a=b", None),
            (r"\w+=\w+;", ";a=b", None),
            (r"\w+=\w+;", "a=;", None),
            (r"\w+=\w+;", "=b;", None),
            ("(?:'a*'|`b*`) x", "'' x", Some(0)),
            ("(?:'a*'|`b*`) x", "' x", None),
            (r"(?:=a){3}-", "=a=a=a-", Some(0)),
            (r"(?:=a){3}-", "=a=a-", None),
            // Blanks alone count where there is nothing else.
            (r"\d+ \w+ ", "1 a ", Some(0)),
            (r"\d+ \w+ ", "1  a", None),
            (r"(?:é|ü)=", "é=", Some(1)),
            ("a?", "", Some(0)),
        ] {
            assert_eq!(required(pattern).last_start(text.as_bytes()), start, "{pattern} in {text}");
        }
    }
}
