//! The matcher: a backtracker that answers as Ruby's does, and notes where it was so that it stays linear (P).
//!
//! A way that was not taken is a *frame*; captures are a *trail* that a frame remembers the length of, so that going back is
//! cutting it. An atomic group that matched drops its frames.
//!
//! With `NOTES`, an instruction and a place are tried once. Outside of atomic groups and look-arounds a bit says so: who comes
//! again fails, for the first visit did. Inside, a visit may have *succeeded* as far as the group goes, and what followed
//! failed; so a byte notes how many groups it got out of (and for the body of a look-around, which is the same wherever it is
//! looked from, that it matched). Who comes again takes that as the answer (after Fujinami and Hasuo, "Efficient Matching
//! with Memoization for Regexes with Look-around and Atomic Grouping", 2024).
//!
//! Not here: the search for where to start (see `search`), the meaning of captures.

use super::ast::Assert;
use super::bytes::{back, decode, stands_at};
use super::program::{Counts, Inst, KEEP_SLOT, Memo, Pc, Program, Turns, is_mixed};
use super::table::Found;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    Match {
        end: usize,
    },
    NoMatch,
    /// Nor can there be one from anywhere else: what every match has was tried wherever the text has it.
    NoMatchAnywhere,
    /// More steps or failures than were granted; it can go on.
    OutOfPatience,
}

/// How long a search goes on, counted from the begin of the search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub steps: u64,
    /// Ways that failed.
    pub failures: u32,
    /// Up to the first that fails here: at the end of the text, for the line was cut, most likely.
    pub end: usize,
}

impl Patience {
    pub(super) const ENDLESS: Self = Self { steps: u64::MAX, failures: u32::MAX, end: usize::MAX };
}

/// What is kept from one match to the next, so that none allocates.
#[derive(Clone, Debug, Default)]
pub(super) struct Space {
    frames: Vec<Frame>,
    /// Of a run that can go on: the innermost mark.
    paused: u32,
    pub trail: Vec<Entry>,
    bits: Vec<u64>,
    bytes: Vec<u8>,
    /// Where the marks of the fast program were passed, the first few.
    passed: Vec<Passed>,
    /// Index of the innermost of `passed` behind which there are ways to try still, and how many frames were there then.
    open: u32,
    open_frames: u32,
    /// From where to where the runs of the fast program were tried last.
    tried: Vec<(u32, u32)>,
    /// Instructions run, and characters that runs went over, by eights.
    pub steps: u64,
    /// Ways that failed.
    pub failures: u32,
}

/// A mark of the fast program that was passed.
#[derive(Clone, Copy, Debug)]
struct Passed {
    mark: u32,
    pos: u32,
    /// The mark around, as in `Space`.
    open: u32,
    open_frames: u32,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    pc: Pc,
    pos: u32,
    trail: u32,
    extra: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Go on at `pc`, `pos`.
    Branch,
    /// The run at `pc` can give back, down to `extra`.
    GiveBack,
    /// The lazy run at `pc` can take more: `extra` characters.
    TakeMore,
    /// An atomic group or a look-around begins; `extra` is the mark around it.
    Mark,
    /// What is noted when this is gone back over: `extra` is level and variant.
    Note,
}

/// One thing of the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// A slot, or a turn, or a look-around whose captures are still to be found.
    pub key: u32,
    pub pos: u32,
}

/// In `Entry::key`: the turn of a loop.
const TURN: u32 = 1 << 30;
/// In `Entry::key`: the look-around at this instruction.
pub(super) const LOOK: u32 = 1 << 31;

/// Places that are noted.
const PASSED_MAX: usize = 32;

const NO_MARK: u32 = u32::MAX;

/// In `Space::open`: no mark is.
const NONE_OPEN: u32 = u32::MAX;

/// In a byte of the memo.
const FAILED: u8 = 1;
const LOOK_MATCHED: u8 = u8::MAX;
const LEVEL_SHIFT: u32 = 8;

impl Space {
    /// Before a search in a text.
    pub(super) fn begin(&mut self, fast: &Program) {
        self.steps = 0;
        self.failures = 0;
        self.passed.clear();
        self.tried.clear();
        self.tried.resize(fast.tried as usize, (u32::MAX, 0));
    }

    /// Whether this search has passed the mark somewhere, as far as that is noted.
    pub(super) fn has_passed(&self, mark: u32) -> bool {
        self.passed.iter().any(|passed| passed.mark == mark)
    }

    /// Forgets what was noted; the text has `length` bytes.
    pub(super) fn clear_notes(&mut self, program: &Program, length: usize) {
        let places = length + 1;
        let words = (places * program.bits_per_place).div_ceil(64);
        renew(&mut self.bits, words);
        renew(&mut self.bytes, places * program.bytes_per_place);
    }
}

/// `length` zeroes. A large table is made anew, for then the system zeroes only what is touched.
fn renew<T: Clone + Default>(table: &mut Vec<T>, length: usize) {
    const KEPT_MAX: usize = 1 << 16;
    if length > KEPT_MAX || table.capacity() > KEPT_MAX {
        *table = vec![T::default(); length];
        return;
    }
    table.clear();
    table.resize(length, T::default());
}

/// Runs `program` from `from`, or goes on with the run that was out of patience. With `NOTES` it must be the plain program, its notes cleared once for the text.
#[expect(clippy::too_many_lines, reason = "one instruction after the other")]
pub(super) fn run<const NOTES: bool>(
    program: &Program,
    text: &[u8],
    from: Option<(Pc, usize)>,
    space: &mut Space,
    patience: Patience,
) -> Ran {
    let mut vm = Vm { program, text, space, mark: NO_MARK, is_hopeless: false };
    let (mut pc, mut pos) = match from {
        Some(from) => {
            vm.space.frames.clear();
            (vm.space.open, vm.space.open_frames) = (NONE_OPEN, 0);
            from
        }
        None => {
            vm.mark = vm.space.paused;
            match vm.go_back::<NOTES>() {
                Some(from) => from,
                None => return vm.no_match(),
            }
        }
    };
    let insts = program.insts.as_slice();
    let mut steps = vm.space.steps;
    'next: loop {
        steps += 1;
        // What is between here and the end of the block fails by falling out of it.
        'fail: {
            if NOTES {
                match vm.visit(pc, pos) {
                    Visit::First => {}
                    Visit::Failed => break 'fail,
                    Visit::LookMatched => {
                        match vm.look_matched_before() {
                            Some((next, at)) => (pc, pos) = (next, at),
                            None => break 'fail,
                        }
                        continue 'next;
                    }
                }
            }
            match insts[pc as usize] {
                Inst::Byte { byte, next } => {
                    if text.get(pos) == Some(&byte) {
                        pos += 1;
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::Literal { start, length, next } => {
                    let literal = &program.literals[start as usize..(start + length) as usize];
                    if stands_at(text, pos, literal) {
                        pos += literal.len();
                        pc = next;
                        continue 'next;
                    }
                    pos += literal.len() - 1;
                }
                Inst::Set { set, next } => {
                    if let Some(end) = program.sets[set as usize].step(text, pos) {
                        pos = end;
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::Piece { table, slow, next } => match program.pieces[table as usize].find(text, pos) {
                    Found::End(end) => {
                        steps += (end - pos) as u64 / 8;
                        pos = end;
                        pc = next;
                        continue 'next;
                    }
                    Found::Not(bytes) => {
                        steps += bytes as u64 / 8;
                        pos += bytes;
                    }
                    Found::Unsure => {
                        pc = slow;
                        continue 'next;
                    }
                },
                Inst::RunPossessive { set, counts, next } => {
                    if let Some((_, end)) = vm.run_over(set, counts, pos) {
                        steps += (end - pos) as u64 / 8;
                        pos = end;
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::Run { set, counts, follow, next } => {
                    if let Some((low, end)) = vm.run_over(set, counts, pos) {
                        steps += (end - pos) as u64 / 8;
                        if vm.is_untried(follow, pos, end)
                            && let Some(at) = vm.last_follow(set, follow, low, end)
                        {
                            if at > low {
                                vm.push(Kind::GiveBack, pc, at, low as u32);
                            }
                            pos = at;
                            pc = next;
                            continue 'next;
                        }
                        pos = end;
                    }
                }
                Inst::RunLazy { set, counts, follow, next } => {
                    let Counts { min, max } = program.counts[counts as usize];
                    if vm.is_untried(follow, pos, text.len())
                        && let Some(low) = vm.step_times(set, min, pos)
                        && let Some((at, left)) =
                            vm.first_follow(set, follow, low, if max == u32::MAX { max } else { max - min })
                    {
                        steps += (at - pos) as u64 / 8;
                        if left > 0 {
                            vm.push(Kind::TakeMore, pc, at, left);
                        }
                        pos = at;
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::Split { table, first, second } => {
                    let table = &program.tables[table as usize];
                    match table[text.get(pos).map_or(256, |byte| usize::from(*byte))] {
                        0 => break 'fail,
                        1 => pc = first,
                        2 => pc = second,
                        _ => {
                            vm.push(Kind::Branch, second, pos, 0);
                            pc = first;
                        }
                    }
                    continue 'next;
                }
                Inst::Push { first, second } => {
                    vm.push(Kind::Branch, second, pos, 0);
                    pc = first;
                    continue 'next;
                }
                Inst::Switch { table, targets } => {
                    let table = &program.tables[table as usize];
                    let index = table[text.get(pos).map_or(256, |byte| usize::from(*byte))];
                    pc = program.targets[targets as usize + usize::from(index)];
                    continue 'next;
                }
                Inst::Save { slot, next } => {
                    vm.space.trail.push(Entry { key: slot, pos: pos as u32 });
                    pc = next;
                    continue 'next;
                }
                Inst::Between { end, byte, start, next } => {
                    if text.get(pos) == Some(&byte) {
                        let pair = [Entry { key: end, pos: pos as u32 }, Entry { key: start, pos: pos as u32 + 1 }];
                        vm.space.trail.extend_from_slice(&pair);
                        pos += 1;
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::Passed { mark, next } => {
                    if vm.is_new_at(mark, pos as u32) {
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::Assert { assert, next } => {
                    if holds(assert, text, pos) {
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::Ahead { set, is_negative, next } => {
                    if program.sets[set as usize].step(text, pos).is_some() != is_negative {
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::Behind { set, is_negative, next } => {
                    let is_in = back(text, pos).is_some_and(|at| program.sets[set as usize].step(text, at).is_some());
                    if is_in != is_negative {
                        pc = next;
                        continue 'next;
                    }
                }
                Inst::AtomicStart { next } => {
                    vm.push_mark(pc, pos);
                    pc = next;
                    continue 'next;
                }
                Inst::AtomicEnd { next } => {
                    vm.drop_ways::<NOTES>();
                    pc = next;
                    continue 'next;
                }
                Inst::Look { is_negative, back: count, body, next, .. } => match vm.step_back(count, pos) {
                    Some(at) => {
                        vm.push_mark(pc, pos);
                        pos = at;
                        pc = body;
                        continue 'next;
                    }
                    None if is_negative => {
                        pc = next;
                        continue 'next;
                    }
                    None => {}
                },
                Inst::LookEnd => {
                    if vm.mark == NO_MARK {
                        // The run is of this body alone.
                        vm.space.steps = steps;
                        return Ran::Match { end: pos };
                    }
                    if let Some((next, at)) = vm.look_matched::<NOTES>() {
                        (pc, pos) = (next, at);
                        if steps <= patience.steps {
                            continue 'next;
                        }
                        // Nothing need fail for this to take long: what a look-around goes over, the next one does again.
                        vm.push(Kind::Branch, pc, pos, 0);
                    }
                }
                Inst::TurnStart { turn, next } => {
                    vm.space.trail.push(Entry { key: TURN | turn, pos: pos as u32 });
                    pc = next;
                    continue 'next;
                }
                Inst::TurnEnd { turn, is_lazy, again, next } => {
                    if vm.turn_start(turn) == pos as u32 {
                        pc = next;
                    } else {
                        let (first, second) = if is_lazy { (next, again) } else { (again, next) };
                        vm.push(Kind::Branch, second, pos, 0);
                        pc = first;
                    }
                    continue 'next;
                }
                Inst::Jump(next) => {
                    pc = next;
                    continue 'next;
                }
                Inst::Match => {
                    vm.space.steps = steps;
                    return Ran::Match { end: pos };
                }
                Inst::Fail => {}
            }
        }
        vm.space.failures = vm.space.failures.saturating_add(1);
        if steps > patience.steps || vm.space.failures > patience.failures || pos >= patience.end {
            vm.space.steps = steps;
            vm.space.paused = vm.mark;
            return Ran::OutOfPatience;
        }
        match vm.go_back::<NOTES>() {
            Some((next, at)) => (pc, pos) = (next, at),
            None => {
                vm.space.steps = steps;
                return vm.no_match();
            }
        }
    }
}

enum Visit {
    First,
    Failed,
    /// In the body of a look-around that matches from here.
    LookMatched,
}

struct Vm<'a> {
    program: &'a Program,
    text: &'a [u8],
    space: &'a mut Space,
    /// Index of the innermost mark among the frames.
    mark: u32,
    /// No start has a match.
    is_hopeless: bool,
}

impl Vm<'_> {
    #[inline]
    fn push(&mut self, kind: Kind, pc: Pc, pos: usize, extra: u32) {
        let trail = self.space.trail.len() as u32;
        self.space.frames.push(Frame { kind, pc, pos: pos as u32, trail, extra });
    }

    /// Whether the mark was not passed here before; if it was, what follows has failed.
    #[inline]
    fn is_new_at(&mut self, mark: u32, pos: u32) -> bool {
        let space = &mut *self.space;
        if space.passed.iter().any(|passed| passed.mark == mark && passed.pos == pos) {
            return false;
        }
        if space.passed.len() < PASSED_MAX {
            let passed = Passed { mark, pos, open: space.open, open_frames: space.open_frames };
            (space.open, space.open_frames) = (space.passed.len() as u32, space.frames.len() as u32);
            space.passed.push(passed);
        }
        true
    }

    /// All ways behind the innermost mark have failed. Whether the text has no place left where it can be passed: no match
    /// then, from no start. Each path passes a mark once, so what passed this one elsewhere has failed as well.
    #[cold]
    fn was_last_place(&mut self) -> bool {
        let Some(failed) = self.space.passed.get(self.space.open as usize).copied() else { return false };
        (self.space.open, self.space.open_frames) = (failed.open, failed.open_frames);
        let Some(literal) = self.program.marks.get(failed.mark as usize) else { return false };
        let mut end = self.text.len();
        while let Some(at) = literal.rfind(&self.text[..end]) {
            let behind = at + literal.bytes.len();
            if !self.space.passed.iter().any(|passed| passed.mark == failed.mark && passed.pos as usize == behind) {
                return false;
            }
            end = behind - 1;
        }
        true
    }

    /// After the last way: what the marks say of the other starts.
    fn no_match(&mut self) -> Ran {
        while !self.is_hopeless && self.space.open != NONE_OPEN {
            self.is_hopeless = self.was_last_place();
        }
        if self.is_hopeless { Ran::NoMatchAnywhere } else { Ran::NoMatch }
    }

    /// Whether a run from `start` to `end` at the most was not tried from before there.
    #[inline]
    fn is_untried(&mut self, follow: u32, start: usize, end: usize) -> bool {
        let Some(slot) = self.program.follows[follow as usize].tried else { return true };
        let Some(tried) = self.space.tried.get_mut(slot as usize) else { return true };
        if tried.0 as usize <= start && start <= tried.1 as usize {
            return false;
        }
        *tried = (start as u32, end as u32);
        true
    }

    fn push_mark(&mut self, pc: Pc, pos: usize) {
        let around = self.mark;
        self.mark = self.space.frames.len() as u32;
        self.push(Kind::Mark, pc, pos, around);
    }

    /// The next way to try.
    fn go_back<const NOTES: bool>(&mut self) -> Option<(Pc, usize)> {
        loop {
            let frame = self.space.frames.pop()?;
            while self.space.frames.len() < self.space.open_frames as usize {
                if self.was_last_place() {
                    self.is_hopeless = true;
                    return None;
                }
            }
            self.space.trail.truncate(frame.trail as usize);
            let pos = frame.pos as usize;
            match frame.kind {
                Kind::Branch => return Some((frame.pc, pos)),
                Kind::GiveBack => {
                    let Inst::Run { set, follow, next, .. } = self.program.insts[frame.pc as usize] else { continue };
                    let low = frame.extra as usize;
                    let Some(before) = self.step_in_run_back(set, pos) else { continue };
                    if before < low {
                        continue;
                    }
                    let Some(at) = self.last_follow(set, follow, low, before) else { continue };
                    if at > low {
                        self.push(Kind::GiveBack, frame.pc, at, frame.extra);
                    }
                    return Some((next, at));
                }
                Kind::TakeMore => {
                    let Inst::RunLazy { set, follow, next, .. } = self.program.insts[frame.pc as usize] else {
                        continue;
                    };
                    let Some(more) = self.program.sets[set as usize].step(self.text, pos) else { continue };
                    let left = if frame.extra == u32::MAX { u32::MAX } else { frame.extra - 1 };
                    let Some((at, left)) = self.first_follow(set, follow, more, left) else { continue };
                    if left > 0 {
                        self.push(Kind::TakeMore, frame.pc, at, left);
                    }
                    return Some((next, at));
                }
                Kind::Mark => {
                    self.mark = frame.extra;
                    if let Inst::Look { is_negative: true, next, .. } = self.program.insts[frame.pc as usize] {
                        return Some((next, pos));
                    }
                }
                Kind::Note if NOTES => {
                    if let Some(slot) = self.byte_slot(frame.pc, pos, frame.extra & 0xff) {
                        let level = (frame.extra >> LEVEL_SHIFT).min(u32::from(LOOK_MATCHED - 2)) as u8;
                        self.space.bytes[slot] = FAILED + level;
                    }
                }
                Kind::Note => {}
            }
        }
    }

    /// The innermost atomic group matched: its other ways are dropped.
    fn drop_ways<const NOTES: bool>(&mut self) {
        let mark = self.mark as usize;
        let Some(frame) = self.space.frames.get(mark).copied() else { return };
        self.mark = frame.extra;
        if !NOTES {
            self.space.frames.truncate(mark);
            return;
        }
        let mut kept = mark;
        for index in mark + 1..self.space.frames.len() {
            let mut frame = self.space.frames[index];
            if frame.kind == Kind::Note {
                frame.extra += 1 << LEVEL_SHIFT;
                self.space.frames[kept] = frame;
                kept += 1;
            }
        }
        self.space.frames.truncate(kept);
    }

    /// The body of the innermost look-around matched. Where to go on; `None`: it must not.
    fn look_matched<const NOTES: bool>(&mut self) -> Option<(Pc, usize)> {
        let mark = self.mark as usize;
        let frame = self.space.frames.get(mark).copied()?;
        self.mark = frame.extra;
        if NOTES {
            for index in mark + 1..self.space.frames.len() {
                let note = self.space.frames[index];
                if note.kind == Kind::Note
                    && let Some(slot) = self.byte_slot(note.pc, note.pos as usize, note.extra & 0xff)
                {
                    self.space.bytes[slot] = LOOK_MATCHED;
                }
            }
        }
        self.space.frames.truncate(mark);
        let Inst::Look { is_negative, next, .. } = self.program.insts[frame.pc as usize] else { return None };
        if is_negative {
            self.space.trail.truncate(frame.trail as usize);
            return None;
        }
        Some((next, frame.pos as usize))
    }

    /// The same, known from an earlier visit; its captures are found later.
    fn look_matched_before(&mut self) -> Option<(Pc, usize)> {
        loop {
            let frame = self.space.frames.get(self.mark as usize).copied()?;
            if let Inst::Look { captures, .. } = self.program.insts[frame.pc as usize] {
                if captures {
                    self.space.trail.truncate(frame.trail as usize);
                    self.space.trail.push(Entry { key: LOOK | frame.pc, pos: frame.pos });
                }
                return self.look_matched::<true>();
            }
            self.drop_ways::<true>();
        }
    }

    fn visit(&mut self, pc: Pc, pos: usize) -> Visit {
        match self.program.memo[pc as usize] {
            Memo::None => Visit::First,
            Memo::Bit { index, turns } => {
                let variant = self.variant(turns, pos);
                let at = pos * self.program.bits_per_place + (index + variant) as usize;
                let (word, bit) = (&mut self.space.bits[at / 64], 1_u64 << (at % 64));
                if *word & bit != 0 {
                    return Visit::Failed;
                }
                *word |= bit;
                Visit::First
            }
            Memo::Byte { turns, .. } => {
                let variant = self.variant(turns, pos);
                let Some(slot) = self.byte_slot(pc, pos, variant) else { return Visit::First };
                match self.space.bytes[slot] {
                    0 => {
                        self.space.bytes[slot] = FAILED;
                        self.push(Kind::Note, pc, pos, variant);
                        Visit::First
                    }
                    LOOK_MATCHED => Visit::LookMatched,
                    level => {
                        // It got out of so many groups, and failed behind them.
                        (FAILED..level).for_each(|_| self.drop_ways::<true>());
                        Visit::Failed
                    }
                }
            }
        }
    }

    fn byte_slot(&self, pc: Pc, pos: usize, variant: u32) -> Option<usize> {
        match self.program.memo[pc as usize] {
            Memo::Byte { index, .. } => Some(pos * self.program.bytes_per_place + (index + variant) as usize),
            _ => None,
        }
    }

    /// Which of the loops around have consumed nothing in this turn.
    fn variant(&self, turns: Turns, pos: usize) -> u32 {
        let turns = turns.turns.iter().take(usize::from(turns.count)).enumerate();
        turns.fold(0, |variant, (index, turn)| variant | u32::from(self.turn_start(*turn) == pos as u32) << index)
    }

    fn turn_start(&self, turn: u32) -> u32 {
        let entry = self.space.trail.iter().rev().find(|entry| entry.key == TURN | turn);
        entry.map_or(u32::MAX, |entry| entry.pos)
    }

    fn step_back(&self, count: u32, mut pos: usize) -> Option<usize> {
        for _ in 0..count {
            pos = back(self.text, pos)?;
        }
        Some(pos)
    }

    fn step_times(&self, set: u32, times: u32, mut pos: usize) -> Option<usize> {
        let set = &self.program.sets[set as usize];
        for _ in 0..times {
            pos = set.step(self.text, pos)?;
        }
        Some(pos)
    }

    /// Where a run from `pos` may end: at the least, at the most.
    #[inline]
    fn run_over(&self, set: u32, counts: u32, pos: usize) -> Option<(usize, usize)> {
        let Counts { min, max } = self.program.counts[counts as usize];
        let class = &self.program.sets[set as usize];
        if max == u32::MAX && min <= 1 && !is_mixed(class) {
            let low = if min == 1 { class.step(self.text, pos)? } else { pos };
            return Some((low, class.run(self.text, low)));
        }
        let low = self.step_times(set, min, pos)?;
        let (mut end, mut left) = (low, max - min);
        while left > 0
            && let Some(next) = class.step(self.text, end)
        {
            end = next;
            left -= 1;
        }
        Some((low, end))
    }

    /// The last place between `low` and `end` where what follows can go on.
    #[inline]
    fn last_follow(&self, set: u32, follow: u32, low: usize, mut end: usize) -> Option<usize> {
        let follow = &self.program.follows[follow as usize];
        let is_then = |at: usize| follow.then.is_none_or(|then| self.text.get(at + 1) == Some(&then));
        if follow.table[self.text.get(end).map_or(256, |byte| usize::from(*byte))] && is_then(end) {
            return Some(end);
        }
        if let Some(stops) = &follow.stops {
            loop {
                end = low + stops.rfind(&self.text[low..end])?;
                if is_then(end) {
                    return Some(end);
                }
            }
        }
        while end > low {
            end = self.step_in_run_back(set, end)?;
            if follow.table[usize::from(self.text[end])] {
                return Some(end);
            }
        }
        None
    }

    /// The start of the last character of a run of the set.
    #[inline]
    fn step_in_run_back(&self, set: u32, pos: usize) -> Option<usize> {
        match self.program.sets[set as usize].wide {
            super::bytes::Wide::None => pos.checked_sub(1),
            _ => back(self.text, pos),
        }
    }

    /// The first place from `pos` on where what follows can go on, at most `left` characters away; how many are left.
    #[inline]
    fn first_follow(&self, set: u32, follow: u32, mut pos: usize, mut left: u32) -> Option<(usize, u32)> {
        let follow = &self.program.follows[follow as usize];
        let class = &self.program.sets[set as usize];
        if left == u32::MAX
            && let Some(stops) = &follow.stops
        {
            loop {
                let rest = self.text.get(pos..)?;
                pos += stops.find(rest).unwrap_or(rest.len());
                let byte = self.text.get(pos);
                if !follow.table[byte.map_or(256, |byte| usize::from(*byte))] {
                    return None;
                }
                if follow.then.is_none_or(|then| self.text.get(pos + 1) == Some(&then)) {
                    return Some((pos, left));
                }
                pos = class.step(self.text, pos)?;
            }
        }
        loop {
            match self.text.get(pos) {
                None => return follow.table[256].then_some((pos, 0)),
                Some(byte) if follow.table[usize::from(*byte)] => return Some((pos, left)),
                Some(_) if left == 0 => return None,
                Some(_) => {
                    pos = class.step(self.text, pos)?;
                    if left != u32::MAX {
                        left -= 1;
                    }
                }
            }
        }
    }
}

fn holds(assert: Assert, text: &[u8], pos: usize) -> bool {
    let before = pos.checked_sub(1).map(|at| text[at]);
    let next = text.get(pos);
    match assert {
        Assert::LineStart => before.is_none_or(|byte| byte == b'\n' && next.is_some()),
        Assert::LineEnd => next.is_none_or(|byte| *byte == b'\n'),
        Assert::TextStart => pos == 0,
        Assert::TextEnd => next.is_none(),
        Assert::TextEndNewline => next.is_none_or(|byte| *byte == b'\n' && pos + 1 == text.len()),
        Assert::WordEdge => is_word_edge(text, pos),
        Assert::NoWordEdge => !is_word_edge(text, pos),
    }
}

const WORD: [bool; 128] = {
    let mut table = [false; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

#[inline]
fn is_word_edge(text: &[u8], pos: usize) -> bool {
    let before = match pos.checked_sub(1).map(|at| text[at]) {
        None => false,
        Some(byte) if byte < 0x80 => WORD[usize::from(byte)],
        Some(_) => back(text, pos).is_some_and(|at| is_wide_word(text, at)),
    };
    let after = match text.get(pos) {
        None => false,
        Some(byte) if *byte < 0x80 => WORD[usize::from(*byte)],
        Some(_) => is_wide_word(text, pos),
    };
    before != after
}

/// Beyond ASCII, `\b` counts Unicode's word characters, though `\w` does not.
fn is_wide_word(text: &[u8], at: usize) -> bool {
    let (c, length) = decode(text, at);
    (length > 1 || c.is_ascii()) && regex_syntax::is_word_character(c)
}

/// The captures of a trail into `slots`; those of look-arounds that were known to match are found now.
pub(super) fn replay(program: &Program, text: &[u8], space: &mut Space, slots: &mut [u32]) -> Option<u32> {
    slots.fill(u32::MAX);
    let mut kept = None;
    let trail = std::mem::take(&mut space.trail);
    // The last ones count; a bound on them keeps this linear.
    const LOOKS_MAX: usize = 16;
    let looks = if program.has_looks { trail.iter().filter(|entry| entry.key & LOOK != 0).count() } else { 0 };
    let mut skipped = looks.saturating_sub(LOOKS_MAX);
    for entry in &trail {
        if entry.key & LOOK != 0 {
            if skipped > 0 {
                skipped -= 1;
                continue;
            }
            replay_look(program, text, space, *entry, slots);
        } else if entry.key == KEEP_SLOT {
            kept = Some(entry.pos);
        } else if entry.key & TURN == 0
            && let Some(slot) = slots.get_mut(entry.key as usize)
        {
            *slot = entry.pos;
        }
    }
    space.trail = trail;
    kept
}

fn replay_look(program: &Program, text: &[u8], space: &mut Space, look: Entry, slots: &mut [u32]) {
    let Inst::Look { body, back: count, .. } = program.insts[(look.key & !LOOK) as usize] else { return };
    space.clear_notes(program, text.len());
    space.trail.clear();
    let vm = Vm { program, text, space: &mut *space, mark: NO_MARK, is_hopeless: false };
    let Some(start) = vm.step_back(count, look.pos as usize) else { return };
    if let Ran::Match { .. } = run::<true>(program, text, Some((body, start)), space, Patience::ENDLESS) {
        for entry in &space.trail {
            if let Some(slot) = slots.get_mut(entry.key as usize) {
                *slot = entry.pos;
            }
        }
    }
}
