//! From a tree to a matcher that finds the leftmost match in linear time (P).
//!
//! First the fast program, with as much patience as a line that matches needs. After a few ways that failed it is looked whether
//! the text has what every match has, and where; after some more, a lazy automaton without captures is asked whether there can
//! be a match: so a line that does not match costs about what one that does. Then the fast program goes on for as many steps as
//! a line that is not out to hurt needs, and last the plain program with its notes starts over: it takes each instruction at each
//! place once.
//!
//! Not here: names and types of fields.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Class, Hir, Look, Repetition};

use super::ast::{Assert, Choice, Node, only_char};
use super::bytes::Next;
use super::program::{Program, TooLarge};
use super::vm::{self, Patience, Ran, Space};

/// Bytes that notes may take for one text; beyond that the matcher gives up.
const NOTES_BYTES_MAX: usize = 64 << 20;
/// Ways that failed before it is looked for what every match has.
const FAILURES_BEFORE_LOOKING: u32 = 6;
/// Ways that failed before the lazy automaton is asked: it takes as long as about so many.
const FAILURES_BEFORE_ASKING: u32 = 24;
/// Steps for each byte before the notes begin.
const STEPS_BEFORE_NOTES: u64 = 24;
/// Texts that are looked for.
const LITERALS_MAX: usize = 24;
/// Marks of a program.
const MARKS_MAX: usize = 4;
/// Memory for the lazy automaton of a pattern.
const AUTOMATON_BYTES_MAX: usize = 1 << 20;

/// A match of the whole expression: bytes of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
}

/// The notes for this text would need more than 64 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GaveUp;

/// Where a match can start.
#[derive(Clone, Debug)]
enum Starts {
    /// At the start of the text only.
    Text,
    /// At the start of a line.
    Line,
    /// Before one of these bytes; the last: at the end.
    Before(Box<[bool; 257]>),
    Anywhere,
}

#[derive(Debug)]
pub(super) struct Matcher {
    fast: Program,
    plain: Program,
    starts: Starts,
    /// What every match has, in this order.
    literals: Vec<Literal>,
    /// Some of them, behind which the fast program has a mark.
    marked: Vec<Literal>,
    automaton: Option<Automaton>,
    groups: usize,
}

/// A text that every match has.
#[derive(Clone, Debug)]
struct Literal {
    bytes: Vec<u8>,
    /// Where its rarest byte is.
    rare: usize,
}

impl Literal {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes().to_vec();
        let rare = (0..bytes.len()).min_by_key(|at| commonness(bytes[*at])).unwrap_or(0);
        Self { bytes, rare }
    }

    fn commonness(&self) -> u8 {
        commonness(self.bytes[self.rare])
    }

    /// Its last place in `text`.
    fn rfind(&self, text: &[u8]) -> Option<usize> {
        let behind = self.bytes.len() - self.rare - 1;
        let mut end = text.len().checked_sub(behind)?;
        loop {
            let at = memchr::memrchr(self.bytes[self.rare], &text[..end])?;
            let start = at.checked_sub(self.rare)?;
            if text[start..].starts_with(&self.bytes) {
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

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

#[derive(Debug)]
struct Automaton {
    dfa: DFA,
    caches: Pool<Cache, NewCache>,
}

/// How to search: tests compare the ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As described above.
    Best,
    /// The fast program alone, as long as that takes no ages.
    #[cfg(test)]
    FastOnly,
    /// The plain program with its notes.
    #[cfg(test)]
    NotesOnly,
}

impl Matcher {
    pub(super) fn new(root: &Node, groups: usize) -> Result<Self, TooLarge> {
        let plain = Program::plain(root)?;
        let mut finder = Literals::default();
        finder.visit(root);
        finder.end_run();
        let chosen = finder.rarest();
        let marked = chosen.iter().map(|index| Literal::new(&finder.found[*index].text)).collect();
        let fast = Program::fast(&Marker { run: 0, is_in_run: false, chosen }.marked(root.clone()))?;
        let (literals, automaton) = (finder.best(), Automaton::new(root));
        Ok(Self { fast, plain, starts: starts(root), literals, marked, automaton, groups })
    }

    /// The leftmost match; its captures are in `slots`, two for each group, `u32::MAX` where there is none.
    pub(super) fn find(
        &self,
        text: &[u8],
        space: &mut Space,
        slots: &mut Vec<u32>,
        way: Way,
    ) -> Result<Option<Span>, GaveUp> {
        space.steps = 0;
        space.failures = 0;
        space.passed.clear();
        let tried = match way {
            Way::Best => self.fast(text, space),
            #[cfg(test)]
            Way::FastOnly => self.try_starts::<false>(
                text,
                space,
                From::Start(0),
                text.len(),
                Patience { steps: 100_000, failures: u32::MAX },
            ),
            #[cfg(test)]
            Way::NotesOnly => Tried::OutOfPatience { start: 0 },
        };
        let (span, program) = match tried {
            Tried::Match(span) => (span, &self.fast),
            Tried::NoMatch => return Ok(None),
            Tried::OutOfPatience { start } => {
                let bytes = self.plain.bits_per_place / 8 + 1 + self.plain.bytes_per_place;
                if bytes.saturating_mul(text.len() + 1) > NOTES_BYTES_MAX {
                    return Err(GaveUp);
                }
                space.clear_notes(&self.plain, text.len());
                match self.try_starts::<true>(text, space, From::Start(start), text.len(), Patience::ENDLESS) {
                    Tried::Match(span) => (span, &self.plain),
                    _ => return Ok(None),
                }
            }
        };
        slots.resize(self.groups * 2, u32::MAX);
        let kept = vm::replay(program, text, space, slots);
        Ok(Some(Span { start: kept.map_or(span.start, |kept| kept as usize), end: span.end }))
    }

    fn fast(&self, text: &[u8], space: &mut Space) -> Tried {
        if self.marked.first().is_some_and(|literal| literal.rfind(text).is_none()) {
            return Tried::NoMatch;
        }
        let length = text.len() as u64 + 64;
        let Some(first) = self.next_start(text, 0) else { return Tried::NoMatch };
        let few = Patience { steps: length, failures: FAILURES_BEFORE_LOOKING };
        let mut tried = self.try_starts::<false>(text, space, From::Start(first), first, few);
        if let Tried::Match(_) = tried {
            return tried;
        }
        let some = Patience { steps: length, failures: FAILURES_BEFORE_ASKING };
        if let Tried::OutOfPatience { start } = tried {
            if self.marked.iter().skip(1).any(|literal| literal.rfind(text).is_none()) {
                return Tried::NoMatch;
            }
            tried = self.try_starts::<false>(text, space, From::Paused(start), first, some);
        }
        let mut last = text.len();
        if let Tried::NoMatch = tried {
            if self.all_passed(text, space) {
                return Tried::NoMatch;
            }
            match self.last_start(text) {
                Some(found) => last = found,
                None => return Tried::NoMatch,
            }
            tried = self.try_starts::<false>(text, space, From::Start(first + 1), last, some);
        }
        let Tried::OutOfPatience { start } = tried else { return tried };
        if self.automaton.as_ref().is_some_and(|automaton| automaton.excludes(text)) {
            return Tried::NoMatch;
        }
        let many = Patience { steps: STEPS_BEFORE_NOTES * length, failures: u32::MAX };
        self.try_starts::<false>(text, space, From::Paused(start), last, many)
    }

    /// Tries from each place a match can start at, up to `last`.
    fn try_starts<const NOTES: bool>(
        &self,
        text: &[u8],
        space: &mut Space,
        from: From,
        last: usize,
        patience: Patience,
    ) -> Tried {
        let program = if NOTES { &self.plain } else { &self.fast };
        let (mut start, mut is_paused) = match from {
            From::Start(start) => (start, false),
            From::Paused(start) => (start, true),
        };
        while let Some(at) = self.next_start(text, start) {
            if at > last {
                break;
            }
            let pc = (!is_paused).then_some((program.start, at));
            if !std::mem::take(&mut is_paused) {
                space.trail.clear();
            }
            match vm::run::<NOTES>(program, text, pc, space, patience) {
                Ran::Match { end } => return Tried::Match(Span { start: at, end }),
                Ran::NoMatch => start = at + 1,
                Ran::OutOfPatience => return Tried::OutOfPatience { start: at },
            }
        }
        Tried::NoMatch
    }

    fn next_start(&self, text: &[u8], from: usize) -> Option<usize> {
        if from > text.len() {
            return None;
        }
        match &self.starts {
            Starts::Text => (from == 0).then_some(0),
            Starts::Line if from == 0 => Some(0),
            Starts::Line => Some(from + memchr::memchr(b'\n', &text[from - 1..])?),
            Starts::Before(table) => {
                let found = text[from..].iter().position(|byte| table[usize::from(*byte)]);
                found.map(|at| from + at).or_else(|| table[256].then_some(text.len()))
            }
            Starts::Anywhere => {
                let is_inner = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
                (from..=text.len()).find(|at| !is_inner(*at))
            }
        }
    }

    /// Each place of a marked literal was tried already, and what follows it failed: no other start will change that.
    fn all_passed(&self, text: &[u8], space: &Space) -> bool {
        self.marked.iter().zip(0..).any(|(literal, mark)| {
            let mut end = text.len();
            while let Some(at) = literal.rfind(&text[..end]) {
                if !space.passed.contains(&(mark, (at + literal.bytes.len()) as u32)) {
                    return false;
                }
                end = at + literal.bytes.len() - 1;
            }
            true
        })
    }

    /// The last place a match can start at: before what every match has.
    fn last_start(&self, text: &[u8]) -> Option<usize> {
        let mut end = text.len();
        for literal in self.literals.iter().rev() {
            end = literal.rfind(&text[..end])?;
        }
        Some(end)
    }
}

/// Where to try from.
#[derive(Clone, Copy, Debug)]
enum From {
    Start(usize),
    /// The run that started here goes on.
    Paused(usize),
}

#[derive(Clone, Copy, Debug)]
enum Tried {
    Match(Span),
    NoMatch,
    /// The run that started here can go on.
    OutOfPatience {
        start: usize,
    },
}

fn starts(root: &Node) -> Starts {
    match first_part(root) {
        Some(Node::Assert(Assert::TextStart)) => return Starts::Text,
        Some(Node::Assert(Assert::LineStart)) => return Starts::Line,
        // From the start it reaches every place that a later start would.
        Some(Node::Repeat { node, min: 0, max: None, choice: Choice::Greedy | Choice::Lazy }) if matches!(&**node, Node::Set(set) if *set == super::ast::set_of(&[('\0', char::MAX)])) =>
        {
            return Starts::Text;
        }
        _ => {}
    }
    let next = Next::before(root, &Next::ANY);
    if next == Next::ANY {
        return Starts::Anywhere;
    }
    let mut table = Box::new([false; 257]);
    // Within a character no match starts.
    next.bytes().filter(|byte| byte & 0xc0 != 0x80).for_each(|byte| table[usize::from(byte)] = true);
    table[256] = next.end;
    Starts::Before(table)
}

/// What a match begins with, whatever it is.
fn first_part(node: &Node) -> Option<&Node> {
    match node {
        Node::Concat(nodes) => first_part(nodes.first()?),
        Node::Capture(_, node) => first_part(node),
        node => Some(node),
    }
}

/// Finds texts that every match has.
#[derive(Default)]
struct Literals {
    run: String,
    found: Vec<Found>,
    /// Repetitions and atomic groups around.
    around: usize,
}

struct Found {
    text: String,
    /// It is in no repetition and no atomic group.
    is_once: bool,
}

impl Literals {
    fn visit(&mut self, node: &Node) {
        match node {
            Node::Set(set) => match only_char(set) {
                Some(c) => self.run.push(c),
                None => self.end_run(),
            },
            Node::Concat(nodes) => nodes.iter().for_each(|node| self.visit(node)),
            Node::Capture(_, node) => self.visit(node),
            Node::Atomic(node) => {
                self.end_run();
                self.around += 1;
                self.visit(node);
                self.end_run();
                self.around -= 1;
            }
            Node::Empty | Node::Assert(_) | Node::Keep | Node::Passed(_) | Node::Look { .. } => {}
            Node::Repeat { node, min, .. } if *min > 0 => {
                self.end_run();
                self.around += 1;
                self.visit(node);
                self.end_run();
                self.around -= 1;
            }
            _ => self.end_run(),
        }
    }

    fn end_run(&mut self) {
        if !self.run.is_empty() {
            let text = std::mem::take(&mut self.run);
            self.found.push(Found { text, is_once: self.around == 0 });
        }
    }

    /// Those that are least common in lines and tell something.
    fn rarest(&self) -> Vec<usize> {
        let rank = |index: &usize| {
            let text = &self.found[*index].text;
            (Literal::new(text).commonness(), std::cmp::Reverse(text.len()))
        };
        let mut once: Vec<usize> = (0..self.found.len()).filter(|index| self.found[*index].is_once).collect();
        once.retain(|index| rank(index).0 < 6);
        once.sort_by_key(rank);
        once.truncate(MARKS_MAX);
        once
    }

    /// Those that are not in every line, in their order.
    fn best(self) -> Vec<Literal> {
        let literals =
            self.found.iter().map(|found| Literal::new(&found.text)).filter(|literal| literal.commonness() < 8);
        literals.take(LITERALS_MAX).collect()
    }
}

/// Puts marks behind some of the runs that `Literals` finds.
struct Marker {
    run: usize,
    is_in_run: bool,
    /// The run of each mark.
    chosen: Vec<usize>,
}

impl Marker {
    fn marked(&mut self, node: Node) -> Node {
        match node {
            Node::Set(ref set) if only_char(set).is_some() => {
                self.is_in_run = true;
                node
            }
            Node::Concat(nodes) => {
                let mut marked = Vec::with_capacity(nodes.len() + 1);
                for node in nodes {
                    if self.is_in_run && ends_run(&node) {
                        marked.extend(self.end_run().map(Node::Passed));
                    }
                    marked.push(self.marked(node));
                }
                Node::Concat(marked)
            }
            Node::Capture(index, inner) => Node::Capture(index, Box::new(self.marked(*inner))),
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

/// The node is no part of a run, nor can begin with one.
fn ends_run(node: &Node) -> bool {
    match node {
        Node::Set(set) => only_char(set).is_none(),
        Node::Repeat { .. } | Node::Alt(_) | Node::Atomic(_) | Node::Backreference(_) => true,
        _ => false,
    }
}

impl Automaton {
    fn new(root: &Node) -> Option<Self> {
        let hir = hir(root);
        let config =
            thompson::Config::new().nfa_size_limit(Some(4 << 20)).which_captures(thompson::WhichCaptures::None);
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(&hir).ok()?;
        let config = DFA::config().cache_capacity(AUTOMATON_BYTES_MAX).minimum_cache_clear_count(Some(4));
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let for_cache = dfa.clone();
        let new_cache: NewCache = Box::new(move || for_cache.create_cache());
        Some(Self { dfa, caches: Pool::new(new_cache) })
    }

    /// There is certainly no match.
    fn excludes(&self, text: &[u8]) -> bool {
        if std::str::from_utf8(text).is_err() {
            return false;
        }
        let mut cache = self.caches.get();
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        matches!(self.dfa.try_search_fwd(&mut cache, &input), Ok(None))
    }
}

/// `node` without look-around, atomic groups, word edges: it matches whatever `node` does, and more.
fn hir(node: &Node) -> Hir {
    match node {
        Node::Empty | Node::Look { .. } | Node::Keep | Node::Passed(_) | Node::Backreference(_) => Hir::empty(),
        Node::Set(set) => Hir::class(Class::Unicode((**set).clone())),
        Node::Concat(nodes) => Hir::concat(nodes.iter().map(hir).collect()),
        Node::Alt(nodes) => Hir::alternation(nodes.iter().map(hir).collect()),
        Node::Repeat { node, min, max, .. } => {
            Hir::repetition(Repetition { min: *min, max: *max, greedy: true, sub: Box::new(hir(node)) })
        }
        Node::Capture(_, node) | Node::Atomic(node) => hir(node),
        Node::Assert(assert) => match assert {
            Assert::TextStart => Hir::look(Look::Start),
            Assert::TextEnd => Hir::look(Look::End),
            Assert::LineStart => Hir::look(Look::StartLF),
            Assert::LineEnd | Assert::TextEndNewline => Hir::look(Look::EndLF),
            Assert::WordEdge | Assert::NoWordEdge => Hir::empty(),
        },
    }
}
