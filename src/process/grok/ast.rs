//! What a pattern means, after parsing: a tree over sets of characters (P).
//!
//! Characters, not bytes: a set knows nothing of UTF-8. Groups without a name do not appear, for grok hands over named ones
//! only. What no linear engine can have (backreferences) is there for `engine: backtracking` alone.

use std::sync::Arc;

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// A set of characters.
pub(super) type Set = Arc<ClassUnicode>;

/// How a repetition chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Greedy,
    Lazy,
    /// Greedy, and nothing is given back. Of single characters only; the rest is an atomic group.
    Possessive,
}

/// A place between characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assert {
    /// `^`: the start, or after a newline that is not the last byte.
    LineStart,
    /// `$`: the end, or before a newline.
    LineEnd,
    /// `\A`
    TextStart,
    /// `\z`
    TextEnd,
    /// `\Z`: the end, or before a newline that ends the text.
    TextEndNewline,
    /// `\b`
    WordEdge,
    /// `\B`
    NoWordEdge,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Empty,
    /// One character of the set.
    Set(Set),
    Concat(Vec<Node>),
    Alt(Vec<Node>),
    Repeat {
        node: Box<Node>,
        min: u32,
        max: Option<u32>,
        choice: Choice,
    },
    /// The group with this index into the list of groups.
    Capture(usize, Box<Node>),
    Atomic(Box<Node>),
    Look {
        is_behind: bool,
        is_negative: bool,
        node: Box<Node>,
    },
    Assert(Assert),
    /// `\K`: the match starts here.
    Keep,
    /// Matches everywhere, at each place once: who comes again fails as the first did. Not in a repetition, nor in an atomic
    /// group.
    Passed(u32),
    /// `\k<name>`, `\1`: the same text as one of these groups (the last that is set). `engine: backtracking` only.
    Backreference(Vec<usize>),
}

impl Node {
    pub(super) fn concat(mut nodes: Vec<Node>) -> Node {
        nodes.retain(|node| *node != Node::Empty);
        match nodes.len() {
            0 => Node::Empty,
            1 => nodes.remove(0),
            _ => Node::Concat(nodes),
        }
    }

    pub(super) fn alt(mut nodes: Vec<Node>) -> Node {
        if nodes.len() == 1 { nodes.remove(0) } else { Node::Alt(nodes) }
    }

    pub(super) fn char(c: char) -> Node {
        Node::Set(set_of(&[(c, c)]))
    }

    /// It can match the empty text.
    pub(super) fn is_nullable(&self) -> bool {
        match self {
            Node::Set(_) => false,
            Node::Empty
            | Node::Look { .. }
            | Node::Assert(_)
            | Node::Keep
            | Node::Passed(_)
            | Node::Backreference(_) => true,
            Node::Concat(nodes) => nodes.iter().all(Node::is_nullable),
            Node::Alt(nodes) => nodes.iter().any(Node::is_nullable),
            Node::Repeat { node, min, .. } => *min == 0 || node.is_nullable(),
            Node::Capture(_, node) | Node::Atomic(node) => node.is_nullable(),
        }
    }

    /// It holds a group that is captured.
    pub(super) fn captures(&self) -> bool {
        match self {
            Node::Capture(..) | Node::Keep => true,
            Node::Empty | Node::Set(_) | Node::Assert(_) | Node::Passed(_) | Node::Backreference(_) => false,
            Node::Concat(nodes) | Node::Alt(nodes) => nodes.iter().any(Node::captures),
            Node::Repeat { node, .. } | Node::Atomic(node) | Node::Look { node, .. } => node.captures(),
        }
    }

    /// How many single characters it has when repetitions are written out: the size of its automaton.
    pub(super) fn size(&self) -> usize {
        match self {
            Node::Empty | Node::Assert(_) | Node::Keep | Node::Passed(_) | Node::Set(_) | Node::Backreference(_) => 1,
            Node::Concat(nodes) | Node::Alt(nodes) => {
                nodes.iter().map(Node::size).fold(1, |sum, size| sum.saturating_add(size))
            }
            Node::Repeat { node, min, max, .. } => {
                let times = max.unwrap_or(*min).max(*min).max(1) as usize;
                node.size().saturating_mul(times).saturating_add(1)
            }
            Node::Capture(_, node) | Node::Atomic(node) | Node::Look { node, .. } => node.size().saturating_add(2),
        }
    }

    /// How many bytes it matches at the least; a malformed one is a character.
    pub(super) fn length_min(&self) -> usize {
        match self {
            Node::Set(_) => 1,
            Node::Concat(nodes) => nodes.iter().map(Node::length_min).fold(0, usize::saturating_add),
            Node::Alt(nodes) => nodes.iter().map(Node::length_min).min().unwrap_or(0),
            Node::Repeat { node, min, .. } => node.length_min().saturating_mul(*min as usize),
            Node::Capture(_, node) | Node::Atomic(node) => node.length_min(),
            Node::Empty
            | Node::Look { .. }
            | Node::Assert(_)
            | Node::Keep
            | Node::Passed(_)
            | Node::Backreference(_) => 0,
        }
    }

    /// The number of characters it matches, if that is always the same.
    pub(super) fn fixed_len(&self) -> Option<u32> {
        match self {
            Node::Empty | Node::Assert(_) | Node::Look { .. } | Node::Keep | Node::Passed(_) => Some(0),
            Node::Set(_) => Some(1),
            Node::Backreference(_) => None,
            Node::Concat(nodes) => nodes.iter().try_fold(0_u32, |sum, node| sum.checked_add(node.fixed_len()?)),
            Node::Alt(nodes) => {
                let first = nodes.first()?.fixed_len()?;
                nodes.iter().all(|node| node.fixed_len() == Some(first)).then_some(first)
            }
            Node::Repeat { node, min, max, .. } => {
                if *max == Some(*min) {
                    node.fixed_len()?.checked_mul(*min)
                } else {
                    None
                }
            }
            Node::Capture(_, node) | Node::Atomic(node) => node.fixed_len(),
        }
    }
}

/// The set of these ranges, ends included.
pub(super) fn set_of(ranges: &[(char, char)]) -> Set {
    Arc::new(class_of(ranges))
}

pub(super) fn class_of(ranges: &[(char, char)]) -> ClassUnicode {
    ClassUnicode::new(ranges.iter().map(|(from, to)| ClassUnicodeRange::new(*from, *to)))
}

/// The only character of the set.
pub(super) fn only_char(set: &Set) -> Option<char> {
    match set.ranges() {
        [range] if range.start() == range.end() => Some(range.start()),
        _ => None,
    }
}

/// Whether `c` is in the set.
pub(super) fn contains(set: &ClassUnicode, c: char) -> bool {
    let ranges = set.ranges();
    let at = ranges.partition_point(|range| range.end() < c);
    ranges.get(at).is_some_and(|range| range.start() <= c)
}
