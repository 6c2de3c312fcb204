//! From a tree to a matcher that finds the leftmost match in linear time (P).
//!
//! First the fast program, with little patience. Where all ways failed behind a text that every match has (see `literals`),
//! wherever it is, the search ends. At the first way that fails at the end of the text, or after a few others, it is looked
//! whether the text has what every match has, and where: a lazy automaton without captures goes backwards from the first such
//! text that was not reached, and dies where the line is broken. From then on only places that have the first bytes of a match are
//! tried ([`Fronts`]). After as many ways as failed before the matches of late, one
//! over the whole line says whether there can be a match. So a line that does not match costs about what one that does. Then
//! the fast program goes on for as many steps as a line that is not out to hurt needs, and last the plain program with its notes
//! starts over: it takes each instruction at each place once.
//!
//! Not here: names and types of fields.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Class, Hir, Look, Repetition};

use super::ast::{Assert, Choice, Node};
use super::bytes::Next;
use super::fronts::Fronts;
use super::literals::{Literals, Marker, Required};
use super::program::{Program, TooLarge};
use super::vm::{self, Patience, Ran, Space};

/// Bytes that notes may take for one text; beyond that the matcher gives up.
const NOTES_BYTES_MAX: usize = 64 << 20;
/// Ways that failed before it is looked for what every match has; and then at places with the first bytes of one, which are few.
const FAILURES_BEFORE_LOOKING: u32 = 3;
/// Ways that failed before the lazy automata are asked, at most, and one more for so many bytes: they take as long as about so
/// many.
const FAILURES_BEFORE_ASKING: u32 = 24;
const BYTES_FOR_A_FAILURE: usize = 8;
/// Places of a text at which it is looked whether a match can be there.
const PLACES_MAX: usize = 8;
/// Steps for each byte before the notes begin.
const STEPS_BEFORE_NOTES: u64 = 24;
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
    required: Required,
    /// With the marks of the fast program; what the automata are made of.
    root: Node,
    /// Made when they are first asked, as the automata are.
    fronts: OnceLock<Option<Fronts>>,
    /// Of a whole match.
    automaton: OnceLock<Option<Automaton>>,
    /// In the order of the pattern.
    marks: Box<[Mark]>,
    /// Ways that failed before a match, of late: so much patience is worth it.
    usual_failures: AtomicU32,
    groups: usize,
}

/// A mark of the fast program.
#[derive(Debug)]
struct Mark {
    index: u32,
    /// Of what a match has up to here, and behind it; made when they are first asked.
    before: OnceLock<Option<Automaton>>,
    behind: OnceLock<Option<Automaton>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    Behind,
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
        let literals = Literals::of(root);
        let (chosen, texts) = literals.rarest();
        let mut order: Vec<(usize, u32)> = chosen.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let marks = order
            .into_iter()
            .map(|(_, index)| Mark { index, before: OnceLock::new(), behind: OnceLock::new() })
            .collect();
        let marked = Marker::new(chosen).marked(root.clone());
        Ok(Self {
            fast: Program::fast(marked.clone(), texts)?,
            plain,
            starts: starts(root),
            required: literals.required(),
            root: marked,
            fronts: OnceLock::new(),
            automaton: OnceLock::new(),
            marks,
            usual_failures: AtomicU32::new(0),
            groups,
        })
    }

    /// The leftmost match; its captures are in `slots`, two for each group, `u32::MAX` where there is none.
    pub(super) fn find(
        &self,
        text: &[u8],
        space: &mut Space,
        slots: &mut Vec<u32>,
        way: Way,
    ) -> Result<Option<Span>, GaveUp> {
        space.begin(&self.fast);
        let tried = match way {
            Way::Best => self.fast(text, space),
            #[cfg(test)]
            Way::FastOnly => self.try_starts::<false>(
                text,
                space,
                From::Start(0),
                text.len(),
                Patience { steps: 100_000, failures: u32::MAX, end: usize::MAX },
                None,
            ),
            #[cfg(test)]
            Way::NotesOnly => Tried::OutOfPatience { start: 0 },
        };
        let (span, program) = match tried {
            Tried::Match(span) => (span, &self.fast),
            Tried::NoMatch | Tried::NoMatchAnywhere => return Ok(None),
            Tried::OutOfPatience { start } => {
                let bytes = self.plain.bits_per_place / 8 + 1 + self.plain.bytes_per_place;
                if bytes.saturating_mul(text.len() + 1) > NOTES_BYTES_MAX {
                    return Err(GaveUp);
                }
                space.clear_notes(&self.plain, text.len());
                match self.try_starts::<true>(text, space, From::Start(start), text.len(), Patience::ENDLESS, None) {
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
        let rarest = self.fast.marks.first();
        if text.len() < self.required.length_min || rarest.is_some_and(|literal| literal.rfind(text).is_none()) {
            return Tried::NoMatchAnywhere;
        }
        let length = text.len() as u64 + 64;
        let Some(first) = self.next_start(text, 0) else { return Tried::NoMatchAnywhere };
        let few = Patience { steps: length, failures: FAILURES_BEFORE_LOOKING, end: text.len() };
        let mut tried = self.try_starts::<false>(text, space, From::Start(first), first, few, None);
        if let Tried::Match(_) | Tried::NoMatchAnywhere = tried {
            return tried;
        }
        let Some(last) = self.required.last_start(text) else { return Tried::NoMatchAnywhere };
        let is_utf8 = simdutf8::basic::from_utf8(text).is_ok();
        if is_utf8 && self.is_broken_at_a_mark(text, space) {
            return Tried::NoMatchAnywhere;
        }
        let at_most = FAILURES_BEFORE_ASKING + u32::try_from(text.len() / BYTES_FOR_A_FAILURE).unwrap_or(u32::MAX);
        let usual = self.usual_failures.load(Ordering::Relaxed);
        let failures = usual.clamp(FAILURES_BEFORE_LOOKING, at_most);
        let some = Patience { steps: length, failures, end: usize::MAX };
        if let Tried::OutOfPatience { start } = tried {
            tried = self.try_starts::<false>(text, space, From::Paused(start), first, some, None);
        }
        let fronts = if is_utf8 { self.fronts() } else { None };
        if let Tried::NoMatch = tried {
            let more = if fronts.is_some() { space.failures + FAILURES_BEFORE_LOOKING } else { 0 };
            let some = Patience { failures: failures.max(more), ..some };
            tried = self.try_starts::<false>(text, space, From::Start(first + 1), last, some, fronts);
        }
        if let Tried::OutOfPatience { start } = tried {
            if is_utf8 && self.is_excluded(text) {
                // What one odd line needed is forgotten after a while.
                self.usual_failures.store(usual - usual / 16, Ordering::Relaxed);
                return Tried::NoMatchAnywhere;
            }
            let many = Patience { steps: STEPS_BEFORE_NOTES * length, failures: u32::MAX, end: usize::MAX };
            tried = self.try_starts::<false>(text, space, From::Paused(start), last, many, fronts);
        }
        if matches!(tried, Tried::Match(_)) && space.failures > usual {
            self.usual_failures.store(space.failures.min(at_most), Ordering::Relaxed);
        }
        tried
    }

    /// There is certainly no match in this text (UTF-8): at no place of a mark's text stands what a match has there. Of the first
    /// behind those that were passed what is before it, for the line is broken there; of the last, if it was passed, what is behind
    /// it.
    fn is_broken_at_a_mark(&self, text: &[u8], space: &Space) -> bool {
        let passed = self.marks.iter().rposition(|mark| space.has_passed(mark.index));
        let (mark, side) = match (self.marks.get(passed.map_or(0, |at| at + 1)), self.marks.last()) {
            (Some(missed), _) => (missed, Side::Before),
            (None, Some(last)) => (last, Side::Behind),
            (None, None) => return false,
        };
        let kept = if side == Side::Before { &mark.before } else { &mark.behind };
        let Some(automaton) = kept.get_or_init(|| Automaton::beside(&self.root, mark.index, side)) else {
            return false;
        };
        let literal = &self.fast.marks[mark.index as usize];
        let mut end = text.len();
        for _ in 0..PLACES_MAX {
            let Some(at) = literal.rfind(&text[..end]) else { return true };
            let behind = at + literal.bytes.len();
            if !automaton.excludes_at(text, behind, side) {
                return false;
            }
            end = behind - 1;
        }
        false
    }

    /// Where they tell more than a table of first bytes.
    fn fronts(&self) -> Option<&Fronts> {
        let Starts::Before(_) = self.starts else { return None };
        let make = || {
            let mut parts = Vec::new();
            flatten(&self.root, &mut parts);
            Fronts::of(parts.into_iter().map(hir))
        };
        self.fronts.get_or_init(make).as_ref()
    }

    /// There is certainly no match in this text (UTF-8).
    fn is_excluded(&self, text: &[u8]) -> bool {
        let automaton = self.automaton.get_or_init(|| Automaton::whole(&self.root));
        automaton.as_ref().is_some_and(|automaton| automaton.excludes(text))
    }

    /// Tries from each place a match can start at, up to `last`; with `fronts`, from those that they find.
    fn try_starts<const NOTES: bool>(
        &self,
        text: &[u8],
        space: &mut Space,
        from: From,
        last: usize,
        patience: Patience,
        fronts: Option<&Fronts>,
    ) -> Tried {
        let program = if NOTES { &self.plain } else { &self.fast };
        let (mut start, mut is_paused) = match from {
            From::Start(start) => (start, false),
            From::Paused(start) => (start, true),
        };
        loop {
            let next = match fronts {
                // It need not be one that the other way would find.
                _ if is_paused => Some(start),
                Some(fronts) => fronts.find(text, start),
                None => self.next_start(text, start),
            };
            let Some(at) = next.filter(|at| *at <= last) else { break };
            let pc = (!is_paused).then_some((program.start, at));
            if !std::mem::take(&mut is_paused) {
                space.trail.clear();
            }
            match vm::run::<NOTES>(program, text, pc, space, patience) {
                Ran::Match { end } => return Tried::Match(Span { start: at, end }),
                Ran::NoMatch => start = at + 1,
                Ran::NoMatchAnywhere => return Tried::NoMatchAnywhere,
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
    /// From where it was tried.
    NoMatch,
    NoMatchAnywhere,
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

/// What is matched one after the other.
fn flatten<'a>(node: &'a Node, into: &mut Vec<&'a Node>) {
    match node {
        Node::Concat(nodes) => nodes.iter().for_each(|node| flatten(node, into)),
        Node::Capture(_, node) | Node::Atomic(node) => flatten(node, into),
        node => into.push(node),
    }
}

impl Automaton {
    /// Of a whole match.
    fn whole(root: &Node) -> Option<Self> {
        Self::new(&hir(root), false)
    }

    /// Of what a match has on this side of the mark.
    fn beside(root: &Node, mark: u32, side: Side) -> Option<Self> {
        Self::new(&hir_beside(root, mark, side)?, side == Side::Before)
    }

    fn new(hir: &Hir, is_backwards: bool) -> Option<Self> {
        let config = thompson::Config::new()
            .nfa_size_limit(Some(4 << 20))
            .which_captures(thompson::WhichCaptures::None)
            .reverse(is_backwards);
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(hir).ok()?;
        let config = DFA::config().cache_capacity(AUTOMATON_BYTES_MAX).minimum_cache_clear_count(Some(4));
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let for_cache = dfa.clone();
        let new_cache: NewCache = Box::new(move || for_cache.create_cache());
        Some(Self { dfa, caches: Pool::new(new_cache) })
    }

    /// There is certainly no match.
    fn excludes(&self, text: &[u8]) -> bool {
        let mut cache = self.caches.get();
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        matches!(self.dfa.try_search_fwd(&mut cache, &input), Ok(None))
    }

    /// There is certainly none on this side of `at`.
    fn excludes_at(&self, text: &[u8], at: usize, side: Side) -> bool {
        let mut cache = self.caches.get();
        let input = Input::new(text).anchored(Anchored::Yes).earliest(true);
        let found = match side {
            Side::Before => self.dfa.try_search_rev(&mut cache, &input.range(..at)),
            Side::Behind => self.dfa.try_search_fwd(&mut cache, &input.range(at..)),
        };
        matches!(found, Ok(None))
    }
}

/// What a match has on one side of the mark, as [`hir`] has it.
fn hir_beside(node: &Node, mark: u32, side: Side) -> Option<Hir> {
    match node {
        Node::Passed(index) => (*index == mark).then(Hir::empty),
        Node::Capture(_, node) => hir_beside(node, mark, side),
        Node::Concat(nodes) => {
            let (at, inner) =
                nodes.iter().enumerate().find_map(|(at, node)| Some((at, hir_beside(node, mark, side)?)))?;
            Some(Hir::concat(match side {
                Side::Before => nodes[..at].iter().map(hir).chain([inner]).collect(),
                Side::Behind => [inner].into_iter().chain(nodes[at + 1..].iter().map(hir)).collect(),
            }))
        }
        _ => None,
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
