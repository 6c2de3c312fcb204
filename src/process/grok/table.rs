//! Pieces of a pattern that capture nothing, as small deterministic automata: a byte costs one look-up (P).
//!
//! An address, a date, a number can be written in many ways, and a backtracker goes through them one by one. A table goes
//! through all of them at once. It is exact where nobody could tell the difference:
//!
//! - [`End::Only`]: where the piece can end in one place at most, given what can come next. Then there is no other way to
//!   come back for. Whether that is so is decided when the table is made: where the piece may end and what follows may begin
//!   with the next byte, the piece must not be able to go on with that byte.
//! - [`End::Longest`]: the same of an atomic group that prefers to go on wherever it may end. Then the end that it takes is that one,
//!   or what follows fails there.
//! - [`End::First`]: in another atomic group, where the end that a backtracker would find first is the only one that counts. The
//!   states are *ordered* sets; what stands behind an end that was found is dropped.
//!
//! Edges of words and single characters around a place are known from the byte before, which belongs to the state, and the
//! byte that comes. Only ASCII is in the tables. Where a character beyond it decides (`\b` before `é`), the table says
//! [`Found::Unsure`], and the instructions do it.
//!
//! Not here: which pieces (see `program`).

use std::collections::HashMap;

use super::ast::{Assert, Choice, Node, Set, contains};
use super::bytes::{ByteClass, Next, Wide};

/// States of the automaton that a table is made from: those of one piece.
const NODES_MAX: usize = 800;
/// States and classes of bytes, multiplied. What is below has the flag free.
const ENTRIES_MAX: usize = 1 << 13;
/// Ways that are gone to make one table; what needs more is left to the instructions.
const WORK_MAX: usize = 150_000;
/// Sets and kinds of edges that a state must know of the byte before.
const LOOKS_MAX: usize = 24;

/// No way goes on.
const FAIL: u16 = 0xffff;
/// The piece ends before this byte.
const DONE: u16 = 0xfffe;
/// A character beyond ASCII decides.
const UNSURE: u16 = 0xfffd;
/// The piece may end before this byte; the rest is the state that may find a longer one.
const MAY_END: u16 = 0x8000;

/// The class of the end of the text, and of its start as the byte before.
const EDGE: usize = 256;

/// Which of several ends counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End<'a> {
    /// There is one at most, as what follows begins so.
    Only(&'a Next),
    /// The same, and it is the one that a backtracker finds first, or that one is no good: for atomic groups.
    Longest(&'a Next),
    /// The one that a backtracker finds first.
    First,
}

/// What a table says of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The piece ends here.
    End(usize),
    /// No match; so many bytes were looked at.
    Not(usize),
    Unsure,
}

/// A piece, ready to be looked up.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// By byte; the last is the edge of the text.
    classes: [u8; 257],
    /// By the class of the byte before: where to begin. Where nothing depends on it, they are all the same.
    starts: Vec<u16>,
    /// By state, which is its first index, and class.
    entries: Vec<u16>,
}

/// What is left to spend on the tables of one pattern.
#[derive(Debug)]
pub(super) struct Budget {
    /// Ways that may be gone.
    work: usize,
    /// Entries that may be kept.
    entries: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { work: 3_000_000, entries: 1 << 16 }
    }
}

impl Budget {
    /// Keeps `table`, if there is room.
    pub(super) fn keep(&mut self, table: &Table) -> Option<()> {
        self.entries = self.entries.checked_sub(table.entries.len())?;
        Some(())
    }
}

impl Table {
    /// A table for these nodes in a row, or none: too large, more ends than one, or of what tables don't know.
    pub(super) fn new(nodes: &[Node], end: End<'_>, budget: &mut Budget) -> Option<Self> {
        let mut automaton = Automaton { states: Vec::new(), looks: Vec::new(), budget };
        let accept = automaton.push(State::Accept)?;
        let follow = match end {
            End::Only(follow) | End::Longest(follow) => *follow,
            End::First => Next::ANY,
        };
        let start = automaton.sequence(nodes, accept, &follow)?;
        let mut subsets = Subsets::new(&automaton, end);
        let table = subsets.build(start);
        let work = subsets.work;
        budget.work = budget.work.saturating_sub(work);
        table
    }

    /// It never says [`Found::Unsure`].
    pub(super) fn is_sure(&self) -> bool {
        !self.entries.contains(&UNSURE)
    }

    /// Goes over the piece that begins at `at`.
    #[inline]
    pub(super) fn find(&self, text: &[u8], at: usize) -> Found {
        let before = at.checked_sub(1).map_or(EDGE, |before| usize::from(text[before]));
        let mut entry = self.starts[usize::from(self.classes[before])];
        let mut last = None;
        let mut pos = at;
        loop {
            if entry >= MAY_END {
                // Of the byte before `pos`: it was not consumed.
                let before = pos - 1;
                match entry {
                    FAIL => return last.map_or(Found::Not(before - at), Found::End),
                    DONE => return Found::End(before),
                    UNSURE => return Found::Unsure,
                    _ => last = Some(before),
                }
                entry &= !MAY_END;
            }
            let class = text.get(pos).map_or(self.classes[EDGE], |byte| self.classes[usize::from(*byte)]);
            // By the class first: then all that the next look-up waits for is a load.
            entry = self.entries[usize::from(class)..][usize::from(entry)];
            pos += 1;
        }
    }
}

/// A state of the automaton that has many at once.
#[derive(Clone, Debug)]
enum State {
    Accept,
    /// A byte of the set, then on. `wide`: characters beyond ASCII are in it too.
    Byte {
        set: u128,
        wide: bool,
        next: usize,
    },
    /// One after the other.
    Ways(Vec<usize>),
    /// On, if that holds.
    If {
        look: usize,
        next: usize,
    },
}

/// What can be asked of a place.
#[derive(Clone, Debug, PartialEq)]
enum Look {
    Assert(Assert),
    Ahead { set: Set, is_negative: bool },
    Behind { set: Set, is_negative: bool },
}

/// What is on one side of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Edge,
    Ascii(u8),
    Wide,
}

impl Side {
    fn new(index: usize) -> Self {
        match u8::try_from(index) {
            Err(_) => Self::Edge,
            Ok(byte) if byte < 0x80 => Self::Ascii(byte),
            Ok(_) => Self::Wide,
        }
    }

    fn is(self, byte: u8) -> bool {
        self == Self::Ascii(byte)
    }

    /// `None`: the character itself must be known.
    fn is_word(self) -> Option<bool> {
        match self {
            Self::Edge => Some(false),
            Self::Ascii(byte) => Some(byte.is_ascii_alphanumeric() || byte == b'_'),
            Self::Wide => None,
        }
    }

    fn is_in(self, set: &Set) -> Option<bool> {
        match self {
            Self::Edge => Some(false),
            Self::Ascii(byte) => Some(contains(set, char::from(byte))),
            Self::Wide => match ByteClass::new(set).wide {
                Wide::None => Some(false),
                Wide::All => Some(true),
                Wide::Some(_) => None,
            },
        }
    }
}

impl Look {
    /// Whether it holds between these; `None`: that can't be said.
    fn holds(&self, before: Side, after: Side) -> Option<bool> {
        match self {
            Self::Ahead { set, is_negative } => Some(after.is_in(set)? != *is_negative),
            Self::Behind { set, is_negative } => Some(before.is_in(set)? != *is_negative),
            Self::Assert(assert) => match assert {
                Assert::TextStart => Some(before == Side::Edge),
                Assert::TextEnd => Some(after == Side::Edge),
                Assert::LineStart => Some(before == Side::Edge || before.is(b'\n') && after != Side::Edge),
                Assert::LineEnd => Some(after == Side::Edge || after.is(b'\n')),
                Assert::WordEdge => Some(before.is_word()? != after.is_word()?),
                Assert::NoWordEdge => Some(before.is_word()? == after.is_word()?),
                // Two bytes ahead decide.
                Assert::TextEndNewline => None,
            },
        }
    }
}

/// The textbook's automaton of a piece.
#[derive(Debug)]
struct Automaton<'a> {
    states: Vec<State>,
    looks: Vec<Look>,
    /// For the tables of atomic groups within.
    budget: &'a mut Budget,
}

impl Automaton<'_> {
    fn push(&mut self, state: State) -> Option<usize> {
        self.states.push(state);
        (self.states.len() <= NODES_MAX).then(|| self.states.len() - 1)
    }

    fn sequence(&mut self, nodes: &[Node], mut next: usize, follow: &Next) -> Option<usize> {
        let mut follow = *follow;
        for node in nodes.iter().rev() {
            next = self.node(node, next, &follow)?;
            follow = Next::before(node, &follow);
        }
        Some(next)
    }

    /// `node`, and on at `next`, where what `follow` says can stand. `None`: a table can't have that.
    fn node(&mut self, node: &Node, next: usize, follow: &Next) -> Option<usize> {
        match node {
            // A mark says that this place was tried: who comes again fails, and nobody comes again here.
            Node::Empty | Node::Passed(_) => Some(next),
            Node::Set(set) => match ByteClass::new(set).wide {
                Wide::None => self.push(State::Byte { set: ascii(set), wide: false, next }),
                Wide::Some(_) => self.push(State::Byte { set: ascii(set), wide: true, next }),
                // Text of any kind, in which no table would be sure for long.
                Wide::All => None,
            },
            Node::Concat(nodes) => self.sequence(nodes, next, follow),
            Node::Alt(nodes) => {
                let ways = nodes.iter().map(|node| self.node(node, next, follow)).collect::<Option<_>>()?;
                self.push(State::Ways(ways))
            }
            Node::Repeat { node, min, max, choice } => self.repeat(node, (*min, *max), *choice, next, follow),
            // If there is one end only, and it is the first, there is nothing to be atomic about.
            Node::Atomic(inner) => {
                Table::new(std::slice::from_ref(inner), End::Longest(follow), self.budget)?;
                self.node(inner, next, follow)
            }
            Node::Assert(Assert::TextEndNewline) => None,
            Node::Assert(assert) => self.look(Look::Assert(*assert), next),
            Node::Look { is_behind, is_negative, node } => match &**node {
                Node::Set(set) if *is_behind => {
                    self.look(Look::Behind { set: set.clone(), is_negative: *is_negative }, next)
                }
                Node::Set(set) => self.look(Look::Ahead { set: set.clone(), is_negative: *is_negative }, next),
                // What must not come can't come here.
                node if *is_negative && !is_behind && Next::before(node, &Next::ANY).is_disjoint(follow) => Some(next),
                _ => None,
            },
            Node::Capture(..) | Node::Keep | Node::Backreference(_) => None,
        }
    }

    fn look(&mut self, look: Look, next: usize) -> Option<usize> {
        let index = match self.looks.iter().position(|known| *known == look) {
            Some(index) => index,
            None => {
                self.looks.push(look);
                self.looks.len() - 1
            }
        };
        if index >= LOOKS_MAX {
            return None;
        }
        self.push(State::If { look: index, next })
    }

    fn repeat(
        &mut self,
        node: &Node,
        (min, max): (u32, Option<u32>),
        choice: Choice,
        next: usize,
        follow: &Next,
    ) -> Option<usize> {
        // What an empty turn does to the turns after it is for the instructions.
        if node.is_nullable() && max != Some(min) {
            return None;
        }
        if choice == Choice::Possessive {
            // Giving back is of no use if what follows can't begin with what was taken.
            let Node::Set(set) = node else { return None };
            if Next::of_set(set).shares_a_byte(follow) {
                return None;
            }
        }
        let choose = |body, next| if choice == Choice::Lazy { vec![next, body] } else { vec![body, next] };
        let inside = follow.or(&Next::before(node, follow));
        let mut at = next;
        match max {
            None => {
                let joint = self.push(State::Ways(Vec::new()))?;
                let body = self.node(node, joint, &inside)?;
                self.states[joint] = State::Ways(choose(body, next));
                at = joint;
            }
            Some(max) => {
                for _ in min..max {
                    let body = self.node(node, at, &inside)?;
                    at = self.push(State::Ways(choose(body, next)))?;
                }
            }
        }
        for _ in 0..min {
            at = self.node(node, at, &inside)?;
        }
        Some(at)
    }
}

/// What of the set is ASCII, as bits.
fn ascii(set: &Set) -> u128 {
    bits(|byte| contains(set, char::from(byte)))
}

fn bits(is: impl Fn(u8) -> bool) -> u128 {
    (0..128).fold(0, |bits, byte| bits | u128::from(is(byte)) << byte)
}

/// Ways and the side before: what a state of the table stands for.
type Key = (Vec<usize>, u64);

/// Makes a table's states of sets of the automaton's.
struct Subsets<'a> {
    automaton: &'a Automaton<'a>,
    end: End<'a>,
    classes: [u8; 257],
    /// A byte of each class, or [`EDGE`].
    samples: Vec<usize>,
    known: HashMap<Key, u16>,
    /// The states whose entries are still to be found, with a side that is before them.
    open: Vec<(Key, usize)>,
    entries: Vec<u16>,
    work: usize,
    work_max: usize,
    seen: Vec<bool>,
}

/// Where the ways lead before a byte.
struct Closure {
    /// In order, those that want a byte.
    ways: Vec<usize>,
    ends: bool,
    /// On the byte that comes, or that was before.
    depends: bool,
    /// The end comes before a way that goes on.
    ends_early: bool,
}

/// A character beyond ASCII decides.
struct Unsure;

impl<'a> Subsets<'a> {
    fn new(automaton: &'a Automaton<'a>, end: End<'a>) -> Self {
        let (classes, samples) = classes(automaton, end);
        Self {
            automaton,
            end,
            classes,
            samples,
            known: HashMap::new(),
            open: Vec::new(),
            entries: Vec::new(),
            work: 0,
            work_max: automaton.budget.work.min(WORK_MAX),
            seen: vec![false; automaton.states.len()],
        }
    }

    fn build(&mut self, start: usize) -> Option<Table> {
        let mut starts = Vec::with_capacity(self.samples.len());
        for class in 0..self.samples.len() {
            let before = self.samples[class];
            starts.push(self.state(vec![start], before)?);
        }
        while let Some(((ways, _), before)) = self.open.pop() {
            let first = usize::from(self.known[&(ways.clone(), self.signature(before))]);
            let mut same = None;
            for class in 0..self.samples.len() {
                let after = self.samples[class];
                let closure = match same.take() {
                    Some(closure) => Ok(closure),
                    None => self.closure(&ways, Side::new(before), Side::new(after)),
                };
                self.entries[first + class] = match &closure {
                    Ok(closure) => self.entry(closure, after)?,
                    Err(Unsure) => UNSURE,
                };
                same = closure.ok().filter(|closure| !closure.depends);
            }
        }
        Some(Table { classes: self.classes, starts, entries: std::mem::take(&mut self.entries) })
    }

    /// The state for these ways behind `before`; its entries come later.
    fn state(&mut self, ways: Vec<usize>, before: usize) -> Option<u16> {
        let key = (ways, self.signature(before));
        if let Some(state) = self.known.get(&key) {
            return Some(*state);
        }
        let first = self.entries.len();
        if first + self.samples.len() > ENTRIES_MAX {
            return None;
        }
        self.entries.resize(first + self.samples.len(), FAIL);
        let state = first as u16;
        self.known.insert(key.clone(), state);
        self.open.push((key, before));
        Some(state)
    }

    /// What the looks see of the byte before: two of the same signature are one to them.
    fn signature(&self, before: usize) -> u64 {
        let side = Side::new(before);
        let bit = |look: &Look| match look {
            Look::Ahead { .. } => 0,
            // What is before matters only by these; what comes after stands in for both answers.
            Look::Behind { set, .. } => side.is_in(set).map_or(2, u64::from),
            Look::Assert(Assert::WordEdge | Assert::NoWordEdge) => side.is_word().map_or(2, u64::from),
            Look::Assert(Assert::LineStart) => match side {
                Side::Edge => 1,
                side if side.is(b'\n') => 2,
                _ => 0,
            },
            Look::Assert(Assert::TextStart) => u64::from(side == Side::Edge),
            Look::Assert(_) => 0,
        };
        self.automaton.looks.iter().fold(0, |signature, look| signature * 3 + bit(look))
    }

    /// What comes of it before a byte; `None`: no table.
    fn entry(&mut self, closure: &Closure, after: usize) -> Option<u16> {
        if self.work > self.work_max {
            return None;
        }
        let mut on = Vec::new();
        self.work += closure.ways.len() / 4;
        for way in &closure.ways {
            let State::Byte { set, wide, next } = self.automaton.states[*way] else { continue };
            match Side::new(after) {
                Side::Wide if wide => return Some(UNSURE),
                Side::Ascii(byte) if set >> byte & 1 == 1 && !on.contains(&next) => on.push(next),
                _ => {}
            }
        }
        match self.end {
            End::Longest(_) if closure.ends_early => None,
            End::Only(follow) | End::Longest(follow) => {
                let may_follow = match Side::new(after) {
                    Side::Edge => follow.end,
                    Side::Ascii(byte) => follow.has(byte),
                    // All of them are one class.
                    Side::Wide => true,
                };
                match (closure.ends && may_follow, on.is_empty()) {
                    (true, true) => Some(DONE),
                    // There may be another end.
                    (true, false) => None,
                    (false, true) => Some(FAIL),
                    (false, false) => self.state(on, after),
                }
            }
            End::First => match (closure.ends, on.is_empty()) {
                (true, true) => Some(DONE),
                (true, false) => Some(self.state(on, after)? | MAY_END),
                (false, true) => Some(FAIL),
                (false, false) => self.state(on, after),
            },
        }
    }

    /// Follows what needs no byte.
    fn closure(&mut self, ways: &[usize], before: Side, after: Side) -> Result<Closure, Unsure> {
        let mut closure = Closure { ways: Vec::new(), ends: false, depends: false, ends_early: false };
        let mut stack: Vec<usize> = ways.iter().rev().copied().collect();
        self.seen.fill(false);
        self.work += self.seen.len() / 16;
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut self.seen[at], true) {
                continue;
            }
            self.work += 1;
            match &self.automaton.states[at] {
                State::Byte { .. } => {
                    closure.ends_early |= closure.ends;
                    closure.ways.push(at);
                }
                State::Ways(ways) => stack.extend(ways.iter().rev()),
                State::If { look, next } => {
                    closure.depends = true;
                    if self.automaton.looks[*look].holds(before, after).ok_or(Unsure)? {
                        stack.push(*next);
                    }
                }
                State::Accept => {
                    closure.ends = true;
                    if self.end == End::First {
                        break;
                    }
                }
            }
        }
        Ok(closure)
    }
}

/// Bytes that nothing in the automaton tells apart are one class; one byte of each.
fn classes(automaton: &Automaton<'_>, end: End<'_>) -> ([u8; 257], Vec<usize>) {
    let mut sets: Vec<u128> = Vec::new();
    for state in &automaton.states {
        if let State::Byte { set, .. } = state
            && !sets.contains(set)
        {
            sets.push(*set);
        }
    }
    for look in &automaton.looks {
        sets.push(match look {
            Look::Ahead { set, .. } | Look::Behind { set, .. } => ascii(set),
            Look::Assert(Assert::WordEdge | Assert::NoWordEdge) => {
                bits(|byte| Side::Ascii(byte).is_word() == Some(true))
            }
            Look::Assert(_) => bits(|byte| byte == b'\n'),
        });
    }
    if let End::Only(follow) | End::Longest(follow) = end {
        sets.push(bits(|byte| follow.has(byte)));
    }
    let mut classes = [0; 257];
    let mut known: HashMap<Vec<bool>, u8> = HashMap::new();
    let mut samples = Vec::new();
    for (byte, class) in classes.iter_mut().enumerate().take(128) {
        let traits: Vec<bool> = sets.iter().map(|set| set >> byte & 1 == 1).collect();
        *class = *known.entry(traits).or_insert_with(|| {
            samples.push(byte);
            samples.len() as u8 - 1
        });
    }
    classes[128..EDGE].fill(samples.len() as u8);
    samples.push(128);
    classes[EDGE] = samples.len() as u8;
    samples.push(EDGE);
    (classes, samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::grok::syntax;

    fn table(pattern: &str, end: End<'_>) -> Option<Table> {
        let root = syntax::parse(pattern, false).expect("a good pattern").root;
        Table::new(std::slice::from_ref(&root), end, &mut Budget::default())
    }

    fn next(bytes: &str) -> Next {
        let mut next = Next::NONE;
        bytes.bytes().for_each(|byte| next.insert(byte));
        next
    }

    /// Scenario: what follows can begin with what the piece could go on with, or not.
    /// Guarantee: there is a table only where nobody can want another end.
    #[test]
    fn a_piece_with_two_ends_has_no_table() {
        for (pattern, follow, is_table) in [
            ("[0-9]+(?:\\.[0-9]+)?", " ", true),
            ("[0-9]+(?:\\.[0-9]+)?", ".", false),
            ("[0-9]+(?:\\.[0-9]+)?", "5", false),
            ("(?:a|ab)", "c", true),
            ("(?:a|ab)", "b", false),
            ("(?>a|ab)", "c", false),
            ("(?>ab|a)", "c", true),
            ("(?>[0-9]+(?:\\.[0-9]+)?)", " ", true),
            ("(?:ab?)*", "c", true),
            ("(?:b?)*", "c", false),
            ("(?:[^ ]|x)", " ", false),
        ] {
            assert_eq!(table(pattern, End::Only(&next(follow))).is_some(), is_table, "{pattern} before {follow}");
        }
    }

    /// Scenario: texts, from a place on.
    /// Guarantee: the end is the one that a backtracker finds; what a character beyond ASCII decides is left open.
    #[test]
    fn ends_are_those_of_a_backtracker() {
        let space = next(" ");
        for (pattern, end, text, at, found) in [
            ("(?:a|ab)", End::Only(&space), "ab ", 0, Found::End(2)),
            ("(?:a|ab)", End::Only(&space), "ac ", 0, Found::Not(1)),
            ("(?:a|ab)(?:c|bcd)?", End::First, "abcd", 0, Found::End(4)),
            ("(?:a|ab)(?:c|bce)?", End::First, "abcd", 0, Found::End(1)),
            ("(?:a|ab)", End::First, "ab", 0, Found::End(1)),
            ("(?:a|ab)??", End::First, "ab", 0, Found::End(0)),
            ("a*", End::First, "xaaay", 1, Found::End(4)),
            ("\\bab?\\b", End::Only(&space), "ab ", 0, Found::End(2)),
            ("\\bab?\\b", End::Only(&space), "xab ", 1, Found::Not(0)),
            ("\\bab?\\b", End::Only(&space), "abé", 0, Found::Unsure),
            ("\\bab?", End::Only(&space), "éa ", 2, Found::Unsure),
            ("(?:a|é)b", End::Only(&space), "éb ", 0, Found::Unsure),
            ("(?<![0-9])1(?![0-9])", End::First, "212", 1, Found::Not(0)),
            ("(?<![0-9])1(?![0-9])", End::First, "x1", 1, Found::End(2)),
            ("^a$", End::First, "b\na\nb", 2, Found::End(3)),
        ] {
            let table = table(pattern, end).unwrap_or_else(|| panic!("{pattern} has a table"));
            assert_eq!(table.find(text.as_bytes(), at), found, "{pattern} in {text} at {at}");
        }
    }
}
