//! Sets of characters as tables over bytes, and what the next byte can be (P).

use std::sync::Arc;

use regex_syntax::hir::ClassUnicode;

use super::ast::{Assert, Node, Set, contains};

/// What of the characters beyond ASCII is in a set.
#[derive(Clone, Debug)]
pub(super) enum Wide {
    None,
    All,
    Some(Arc<ClassUnicode>),
}

/// How the end of a run is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scan {
    /// No byte ends it.
    Everything,
    /// These bytes end it.
    Until1(u8),
    Until2(u8, u8),
    Until3(u8, u8, u8),
    Table,
}

impl Scan {
    /// For these bytes, if they are few enough to be found faster than one by one.
    pub(super) fn until(ends: impl Fn(u8) -> bool) -> Option<Self> {
        let mut ends = (0..=255).filter(|byte| ends(*byte));
        match (ends.next(), ends.next(), ends.next(), ends.next()) {
            (None, ..) => Some(Self::Everything),
            (Some(a), None, ..) => Some(Self::Until1(a)),
            (Some(a), Some(b), None, _) => Some(Self::Until2(a, b)),
            (Some(a), Some(b), Some(c), None) => Some(Self::Until3(a, b, c)),
            _ => None,
        }
    }

    /// Where the first of them is; not for `Table`.
    #[inline]
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        match *self {
            Self::Until1(a) => memchr::memchr(a, text),
            Self::Until2(a, b) => memchr::memchr2(a, b, text),
            Self::Until3(a, b, c) => memchr::memchr3(a, b, c, text),
            Self::Everything | Self::Table => None,
        }
    }

    /// Where the last of them is; not for `Table`.
    #[inline]
    pub(super) fn rfind(&self, text: &[u8]) -> Option<usize> {
        match *self {
            Self::Until1(a) => memchr::memrchr(a, text),
            Self::Until2(a, b) => memchr::memrchr2(a, b, text),
            Self::Until3(a, b, c) => memchr::memrchr3(a, b, c, text),
            Self::Everything | Self::Table => None,
        }
    }
}

/// A set of characters, ready to be looked up.
#[derive(Clone, Debug)]
pub(super) struct ByteClass {
    /// By byte; those of characters beyond ASCII are all in it or none, exact unless `wide` is `Some`.
    pub table: [bool; 256],
    pub wide: Wide,
    pub scan: Scan,
}

impl ByteClass {
    pub(super) fn new(set: &Set) -> Self {
        let mut table = [false; 256];
        for (byte, slot) in table.iter_mut().enumerate().take(128) {
            *slot = contains(set, char::from(byte as u8));
        }
        let mut wide_part = super::ast::class_of(&[('\u{80}', char::MAX)]);
        let all = wide_part.clone();
        wide_part.intersect(set);
        let wide = if wide_part.ranges().is_empty() {
            Wide::None
        } else if wide_part == all {
            Wide::All
        } else {
            Wide::Some(Arc::new(wide_part))
        };
        if !matches!(wide, Wide::None) {
            table[128..].fill(true);
        }
        let scan = match wide {
            Wide::All => Scan::until(|byte| !table[usize::from(byte)]),
            _ => None,
        };
        let scan = scan.unwrap_or(Scan::Table);
        Self { table, wide, scan }
    }

    /// The end of the character at `at`, if it is in the set.
    #[inline]
    pub(super) fn step(&self, text: &[u8], at: usize) -> Option<usize> {
        let byte = *text.get(at)?;
        if byte < 0x80 {
            return self.table[usize::from(byte)].then_some(at + 1);
        }
        match &self.wide {
            Wide::None => None,
            Wide::All => Some(at + decode(text, at).1),
            Wide::Some(set) => {
                let (c, length) = decode(text, at);
                contains(set, c).then_some(at + length)
            }
        }
    }

    /// The end of the run of bytes of the set; not for `Wide::Some`.
    #[inline]
    pub(super) fn run(&self, text: &[u8], at: usize) -> usize {
        let rest = text.get(at..).unwrap_or_default();
        let length = match self.scan {
            Scan::Table => rest.iter().position(|byte| !self.table[usize::from(*byte)]),
            scan => scan.find(rest),
        };
        at + length.unwrap_or(rest.len())
    }
}

/// The literal is at `pos`. Most have two or three bytes, for which calling memcmp would be most of the work.
#[inline]
pub(super) fn stands_at(text: &[u8], pos: usize, literal: &[u8]) -> bool {
    let Some(there) = text.get(pos..pos + literal.len()) else { return false };
    match literal.len() {
        0..=8 => std::iter::zip(there, literal).all(|(there, byte)| there == byte),
        _ => there == literal,
    }
}

/// The character at `at` and its length; malformed bytes are U+FFFD, one each.
pub(super) fn decode(text: &[u8], at: usize) -> (char, usize) {
    let rest = text.get(at..).unwrap_or_default();
    let Some(first) = rest.first() else { return (char::REPLACEMENT_CHARACTER, 0) };
    if *first < 0x80 {
        return (char::from(*first), 1);
    }
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let decoded =
        rest.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|text| text.chars().next());
    match decoded {
        Some(c) => (c, length),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// The start of the character that ends at `at`.
pub(super) fn back(text: &[u8], at: usize) -> Option<usize> {
    let mut start = at.checked_sub(1)?;
    if text[start] < 0x80 {
        return Some(start);
    }
    while start > 0 && at - start < 4 && text[start] & 0xc0 == 0x80 {
        start -= 1;
    }
    if start + decode(text, start).1 == at { Some(start) } else { Some(at - 1) }
}

/// What can come next: bytes, or the end of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Next {
    bits: [u64; 4],
    pub end: bool,
}

impl Next {
    pub(super) const NONE: Self = Self { bits: [0; 4], end: false };
    pub(super) const ANY: Self = Self { bits: [u64::MAX; 4], end: true };

    pub(super) fn of_set(set: &Set) -> Self {
        let class = ByteClass::new(set);
        let mut next = Self::NONE;
        for byte in 0..=255 {
            if class.table[usize::from(byte)] {
                next.insert(byte);
            }
        }
        next
    }

    pub(super) fn insert(&mut self, byte: u8) {
        self.bits[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.bits[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    #[must_use]
    pub(super) fn or(mut self, other: &Self) -> Self {
        self.bits.iter_mut().zip(other.bits).for_each(|(mine, theirs)| *mine |= theirs);
        self.end |= other.end;
        self
    }

    #[must_use]
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.bits.iter_mut().zip(other.bits).for_each(|(mine, theirs)| *mine &= theirs);
        self.end &= other.end;
        self
    }

    /// Without the bytes of `other`; the end stays.
    #[must_use]
    pub(super) fn without(mut self, other: &Self) -> Self {
        self.bits.iter_mut().zip(other.bits).for_each(|(mine, theirs)| *mine &= !theirs);
        self
    }

    pub(super) fn complement(mut self) -> Self {
        self.bits.iter_mut().for_each(|bits| *bits = !*bits);
        self.end = !self.end;
        self
    }

    pub(super) fn is_disjoint(&self, other: &Self) -> bool {
        self.and(other) == Self::NONE
    }

    pub(super) fn shares_a_byte(&self, other: &Self) -> bool {
        self.and(other).bits != [0; 4]
    }

    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> {
        (0..=255).filter(|byte| self.has(*byte))
    }

    /// The same for nodes in a row.
    pub(super) fn before_all(nodes: &[Node], follow: &Self) -> Self {
        nodes.iter().rev().fold(*follow, |follow, node| Self::before(node, &follow))
    }

    /// What can come next where `node` and then `follow` is to match: never too little.
    pub(super) fn before(node: &Node, follow: &Self) -> Self {
        match node {
            Node::Empty | Node::Keep | Node::Passed(_) | Node::Backreference(_) => *follow,
            Node::Set(set) => Self::of_set(set),
            Node::Concat(nodes) => Self::before_all(nodes, follow),
            Node::Alt(nodes) => nodes.iter().fold(Self::NONE, |next, node| next.or(&Self::before(node, follow))),
            Node::Repeat { max: Some(0), .. } => *follow,
            Node::Repeat { node, min, .. } => {
                let next = Self::before(node, follow);
                if *min == 0 { next.or(follow) } else { next }
            }
            Node::Capture(_, node) | Node::Atomic(node) => Self::before(node, follow),
            Node::Look { is_behind: true, .. } => *follow,
            Node::Look { is_negative: false, node, .. } => Self::before(node, &Self::ANY).and(follow),
            Node::Look { is_negative: true, node, .. } => match &**node {
                Node::Set(set) => {
                    let mut excluded = Self::of_set(set);
                    if !matches!(ByteClass::new(set).wide, Wide::All) {
                        excluded.bits[2] = 0;
                        excluded.bits[3] = 0;
                    }
                    follow.without(&excluded)
                }
                _ => *follow,
            },
            Node::Assert(assert) => match assert {
                Assert::LineEnd | Assert::TextEndNewline => {
                    let mut allowed = Self { bits: [0; 4], end: true };
                    allowed.insert(b'\n');
                    follow.and(&allowed)
                }
                Assert::TextEnd => follow.and(&Self { bits: [0; 4], end: true }),
                _ => *follow,
            },
        }
    }
}
