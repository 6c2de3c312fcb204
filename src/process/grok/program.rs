//! A tree compiled to the instructions of the matcher (P).
//!
//! Two programs come from one tree. The *fast* one looks at the next byte before it chooses: where one way only can go on,
//! nothing is noted to come back to; runs of characters are one instruction, and so are pieces that a table can have. The *plain* one is the automaton as the textbook
//! has it: each of its joints can be noted as visited, which is what keeps it linear.
//!
//! Not here: names of patterns. What is fast is found by what can follow what.

use std::collections::HashMap;

use super::ast::{Assert, Choice, Node, Set, only_char};
use super::bytes::{ByteClass, Next, Scan, Wide};
use super::literals::Literal;
use super::simplify::{factored, simplify};
use super::table::{Budget, End, Table as Piece};

/// Index of an instruction.
pub(super) type Pc = u32;

/// Instructions of a program: what bounds memory and the time to compile.
pub(super) const INSTRUCTIONS_MAX: usize = 60_000;

/// The place of an instruction that is patched later.
const LATER: Pc = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inst {
    Fail,
    Match,
    Jump(Pc),
    Byte {
        byte: u8,
        next: Pc,
    },
    /// These bytes of `literals`.
    Literal {
        start: u32,
        length: u32,
        next: Pc,
    },
    Set {
        set: u32,
        next: Pc,
    },
    /// The piece that is this table, or what it is made of where the table is not sure.
    Piece {
        table: u32,
        slow: Pc,
        next: Pc,
    },
    /// As many characters as there are; gives back one by one where `follow` (of `follows`) says that `next` can go on.
    Run {
        set: u32,
        counts: u32,
        follow: u32,
        next: Pc,
    },
    /// As many characters as there are, for good.
    RunPossessive {
        set: u32,
        counts: u32,
        next: Pc,
    },
    /// As few as `next` can go on with, as `follow` (of `follows`) says.
    RunLazy {
        set: u32,
        counts: u32,
        follow: u32,
        next: Pc,
    },
    /// By the next byte: 0 fail, 1 first, 2 second, 3 first and then second.
    Split {
        table: u32,
        first: Pc,
        second: Pc,
    },
    /// First, then second.
    Push {
        first: Pc,
        second: Pc,
    },
    /// By the next byte one of the targets from `targets` on.
    Switch {
        table: u32,
        targets: u32,
    },
    Save {
        slot: u32,
        next: Pc,
    },
    /// The byte, between what one capture ends with and another begins with: two `Save` and a `Byte`.
    Between {
        end: u32,
        byte: u8,
        start: u32,
        next: Pc,
    },
    /// On at a place where it was not yet.
    Passed {
        mark: u32,
        next: Pc,
    },
    Assert {
        assert: Assert,
        next: Pc,
    },
    /// The next character is in the set, or not; it is not consumed.
    Ahead {
        set: u32,
        is_negative: bool,
        next: Pc,
    },
    /// The character before is in the set, or not.
    Behind {
        set: u32,
        is_negative: bool,
        next: Pc,
    },
    AtomicStart {
        next: Pc,
    },
    AtomicEnd {
        next: Pc,
    },
    /// `back` characters before, `body` up to its `LookEnd`.
    Look {
        is_negative: bool,
        captures: bool,
        back: u32,
        body: Pc,
        next: Pc,
    },
    LookEnd,
    /// A turn of a loop begins that can match the empty text.
    TurnStart {
        turn: u32,
        next: Pc,
    },
    /// It ends: on to another turn, unless it was empty.
    TurnEnd {
        turn: u32,
        is_lazy: bool,
        again: Pc,
        next: Pc,
    },
}

/// How often a run's character may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub min: u32,
    pub max: u32,
}

/// What stands behind a run that has a choice.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    /// By the next byte, as in [`Table`].
    pub table: [bool; 257],
    /// The only bytes to look for, if they are few and ASCII.
    pub stops: Option<Scan>,
    /// What must come behind the byte, if that is certain.
    pub then: Option<u8>,
    /// Where it is noted from where to where the run was tried, all of which failed: where there is no other run of it around,
    /// and all ways through it are tried.
    pub tried: Option<u32>,
}

/// A table by the next byte; the last entry is for the end of the text.
pub(super) type Table = [u8; 257];

#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub insts: Vec<Inst>,
    pub start: Pc,
    pub sets: Vec<ByteClass>,
    pub tables: Vec<Table>,
    pub targets: Vec<Pc>,
    pub literals: Vec<u8>,
    pub pieces: Vec<Piece>,
    pub counts: Vec<Counts>,
    pub follows: Vec<Follow>,
    /// Runs that note where they were tried.
    pub tried: u32,
    /// Of each mark, the text before it.
    pub marks: Vec<Literal>,
    /// There are look-arounds of more than one character.
    pub has_looks: bool,
    /// Loops that can turn without consuming.
    pub turns: u32,
    /// Of the plain program: by instruction, its memo.
    pub memo: Vec<Memo>,
    /// Bits of the memo for each place.
    pub bits_per_place: usize,
    /// Bytes of the memo for each place: for what is in atomic groups and look-arounds.
    pub bytes_per_place: usize,
}

/// Where it is noted that an instruction was tried at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memo {
    /// Only one way leads here, so it is tried as often as that one.
    None,
    Bit {
        index: u32,
        turns: Turns,
    },
    Byte {
        index: u32,
        turns: Turns,
    },
}

/// The loops around an instruction that can turn without consuming: whether they just did belongs to the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turns {
    pub turns: [u32; TURNS_MAX],
    pub count: u8,
}

/// Loops within loops that can turn without consuming, for which that is exact.
const TURNS_MAX: usize = 3;

/// The program is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Program {
    /// With runs and tables; `marks` are the texts before the marks of `root`.
    pub(super) fn fast(root: Node, marks: Vec<Literal>) -> Result<Self, TooLarge> {
        let mut compiler = Compiler::new(true);
        compiler.compile(&simplify(root))?;
        compiler.program.marks = marks;
        Ok(compiler.program)
    }

    /// As the textbook has it, with its memo.
    pub(super) fn plain(root: &Node) -> Result<Self, TooLarge> {
        let mut compiler = Compiler::new(false);
        compiler.compile(root)?;
        let mut program = compiler.program;
        program.note_joints(&compiler.context);
        Ok(program)
    }

    fn note_joints(&mut self, context: &[Context]) {
        let mut ways = vec![0_u32; self.insts.len()];
        ways[self.start as usize] = 2;
        for inst in &self.insts {
            for to in successors_mut(&mut inst.clone()).into_iter().flatten().map(|pc| *pc) {
                ways[to as usize] = ways[to as usize].saturating_add(1);
            }
        }
        let (mut bits, mut bytes) = (0_u32, 0_u32);
        self.memo = std::iter::zip(ways, context)
            .map(|(ways, context)| {
                if ways < 2 {
                    return Memo::None;
                }
                let variants = 1_u32 << context.turns.count;
                if context.is_inner {
                    bytes += variants;
                    Memo::Byte { index: bytes - variants, turns: context.turns }
                } else {
                    bits += variants;
                    Memo::Bit { index: bits - variants, turns: context.turns }
                }
            })
            .collect();
        (self.bits_per_place, self.bytes_per_place) = (bits as usize, bytes as usize);
    }
}

/// Where an instruction goes on, in order, so that it can be changed.
fn successors_mut(inst: &mut Inst) -> [Option<&mut Pc>; 2] {
    match inst {
        Inst::Fail | Inst::Match | Inst::LookEnd | Inst::Switch { .. } => [None, None],
        Inst::Jump(next)
        | Inst::Byte { next, .. }
        | Inst::Literal { next, .. }
        | Inst::Set { next, .. }
        | Inst::Run { next, .. }
        | Inst::RunPossessive { next, .. }
        | Inst::RunLazy { next, .. }
        | Inst::Save { next, .. }
        | Inst::Between { next, .. }
        | Inst::Passed { next, .. }
        | Inst::Assert { next, .. }
        | Inst::Ahead { next, .. }
        | Inst::Behind { next, .. }
        | Inst::AtomicStart { next }
        | Inst::AtomicEnd { next }
        | Inst::TurnStart { next, .. } => [Some(next), None],
        Inst::Split { first, second, .. } | Inst::Push { first, second } => [Some(first), Some(second)],
        Inst::Piece { slow, next, .. } => [Some(slow), Some(next)],
        Inst::Look { body, next, .. } => [Some(body), Some(next)],
        Inst::TurnEnd { again, next, .. } => [Some(again), Some(next)],
    }
}

/// What is around an instruction.
#[derive(Clone, Copy, Debug, Default)]
struct Context {
    /// In an atomic group or a look-around.
    is_inner: bool,
    /// In a repetition.
    is_repeated: bool,
    turns: Turns,
}

struct Compiler {
    program: Program,
    /// Of each instruction.
    context: Vec<Context>,
    around: Context,
    is_fast: bool,
    sets: HashMap<Vec<(char, char)>, u32>,
    tables: HashMap<Table, u32>,
    alternatives: u32,
    budget: Budget,
    /// Pieces that were tried, and their tables.
    pieces: Vec<(Vec<Node>, Next, Option<u32>)>,
    /// Within what a table stands for: the instructions for where it is not sure.
    is_in_piece: bool,
    is_too_large: bool,
}

impl Compiler {
    fn new(is_fast: bool) -> Self {
        Self {
            program: Program::default(),
            context: Vec::new(),
            around: Context::default(),
            is_fast,
            sets: HashMap::new(),
            tables: HashMap::new(),
            alternatives: 0,
            budget: Budget::default(),
            pieces: Vec::new(),
            is_in_piece: false,
            is_too_large: false,
        }
    }

    fn compile(&mut self, root: &Node) -> Result<(), TooLarge> {
        if root.size() > INSTRUCTIONS_MAX / 2 {
            return Err(TooLarge);
        }
        self.push(Inst::Fail);
        let end = self.push(Inst::Match);
        self.program.start = self.node(root, end, &Next::ANY);
        if self.is_too_large {
            return Err(TooLarge);
        }
        self.skip_jumps();
        Ok(())
    }

    fn push(&mut self, inst: Inst) -> Pc {
        let pc = self.program.insts.len();
        if pc >= INSTRUCTIONS_MAX {
            self.is_too_large = true;
            return 0;
        }
        self.program.insts.push(inst);
        self.context.push(self.around);
        pc as Pc
    }

    fn set(&mut self, set: &Set) -> u32 {
        let key: Vec<(char, char)> = set.ranges().iter().map(|range| (range.start(), range.end())).collect();
        let sets = &mut self.program.sets;
        *self.sets.entry(key).or_insert_with(|| {
            sets.push(ByteClass::new(set));
            sets.len() as u32 - 1
        })
    }

    fn table(&mut self, table: Table) -> u32 {
        let tables = &mut self.program.tables;
        *self.tables.entry(table).or_insert_with(|| {
            tables.push(table);
            tables.len() as u32 - 1
        })
    }

    /// Compiles `node` so that it goes on at `next`, where what `follow` says can stand.
    fn node(&mut self, node: &Node, next: Pc, follow: &Next) -> Pc {
        if self.is_too_large {
            return 0;
        }
        if let Some(pc) = self.piece(std::slice::from_ref(node), next, follow) {
            return pc;
        }
        match node {
            Node::Empty => next,
            Node::Set(set) => self.single(set, next),
            Node::Concat(nodes) => self.concat(nodes, next, follow),
            Node::Alt(nodes) => self.alt(nodes, next, follow),
            Node::Repeat { node, min, max, choice } => self.repeat(node, *min, *max, *choice, next, follow),
            Node::Capture(index, node) => {
                let end = self.save_end(*index as u32 * 2 + 1, next);
                let body = self.node(node, end, follow);
                self.push(Inst::Save { slot: *index as u32 * 2, next: body })
            }
            Node::Atomic(node) => self.atomic(node, next),
            Node::Look { is_behind, is_negative, node } => self.look(*is_behind, *is_negative, node, next),
            Node::Assert(assert) => self.push(Inst::Assert { assert: *assert, next }),
            Node::Passed(mark) => self.push(Inst::Passed { mark: *mark, next }),
            Node::Keep => self.push(Inst::Save { slot: KEEP_SLOT, next }),
            // The parser lets it through for another engine only.
            Node::Backreference(_) => {
                self.is_too_large = true;
                0
            }
        }
    }

    fn save_end(&mut self, slot: u32, next: Pc) -> Pc {
        if self.is_fast
            && let Some(Inst::Byte { byte, next }) = self.program.insts.get(next as usize)
            && let Some(Inst::Save { slot: start, next }) = self.program.insts.get(*next as usize)
        {
            let (byte, start, next) = (*byte, *start, *next);
            return self.push(Inst::Between { end: slot, byte, start, next });
        }
        self.push(Inst::Save { slot, next })
    }

    fn single(&mut self, set: &Set, next: Pc) -> Pc {
        match only_char(set) {
            Some(c) if c.is_ascii() => self.push(Inst::Byte { byte: c as u8, next }),
            Some(c) if self.is_fast => {
                let mut bytes = [0; 4];
                let bytes = c.encode_utf8(&mut bytes).as_bytes().to_vec();
                self.literal(&bytes, next)
            }
            _ => {
                let set = self.set(set);
                self.push(Inst::Set { set, next })
            }
        }
    }

    fn literal(&mut self, bytes: &[u8], next: Pc) -> Pc {
        let start = self.program.literals.len() as u32;
        self.program.literals.extend_from_slice(bytes);
        self.push(Inst::Literal { start, length: bytes.len() as u32, next })
    }

    fn concat(&mut self, nodes: &[Node], mut next: Pc, follow: &Next) -> Pc {
        let mut follow = *follow;
        let mut end = nodes.len();
        while end > 0 {
            // Characters in a row are compared at once.
            let text: Vec<char> = if self.is_fast {
                let chars = nodes[..end].iter().rev().map_while(|node| match node {
                    Node::Set(set) => only_char(set),
                    _ => None,
                });
                chars.collect()
            } else {
                Vec::new()
            };
            if text.len() >= 2 {
                let bytes: String = text.iter().rev().collect();
                next = self.literal(bytes.as_bytes(), next);
                end -= text.len();
                follow = Next::before(&nodes[end], &follow);
                continue;
            }
            let start = piece_start(&nodes[..end]);
            if let Some(pc) = self.piece(&nodes[start..end], next, &follow) {
                next = pc;
                follow = Next::before_all(&nodes[start..end], &follow);
                end = start;
                continue;
            }
            end -= 1;
            next = self.node(&nodes[end], next, &follow);
            if self.is_fast {
                follow = Next::before(&nodes[end], &follow);
            }
        }
        next
    }

    /// These nodes as a table, if there can be one and it is worth it.
    fn piece(&mut self, nodes: &[Node], next: Pc, follow: &Next) -> Option<Pc> {
        let is_sequence = matches!(nodes, [Node::Concat(_)]);
        let cost: u32 = nodes.iter().map(cost).sum();
        // Of a sequence it is for `concat` to say where the piece begins.
        if !self.is_fast || self.is_in_piece || is_sequence || cost < PIECE_COST_MIN {
            return None;
        }
        let known = self.pieces.iter().find(|(known, behind, _)| behind == follow && known == nodes);
        let table = match known {
            Some((.., table)) => *table,
            None => {
                let table = self.table_of(nodes, follow);
                self.pieces.push((nodes.to_vec(), *follow, table));
                table
            }
        }?;
        let slow = if self.program.pieces[table as usize].is_sure() {
            0
        } else {
            self.is_in_piece = true;
            let slow = self.concat(nodes, next, follow);
            self.is_in_piece = false;
            slow
        };
        Some(self.push(Inst::Piece { table, slow, next }))
    }

    fn table_of(&mut self, nodes: &[Node], follow: &Next) -> Option<u32> {
        let budget = &mut self.budget;
        let mut table = |nodes: &[Node], end| Piece::new(nodes, end, budget);
        let table = match nodes {
            [Node::Atomic(node)] => {
                let node = std::slice::from_ref(&**node);
                table(node, End::Longest(follow)).or_else(|| table(node, End::First))
            }
            nodes => table(nodes, End::Only(follow)),
        }?;
        self.budget.keep(&table)?;
        self.program.pieces.push(table);
        Some(self.program.pieces.len() as u32 - 1)
    }

    fn alt(&mut self, nodes: &[Node], next: Pc, follow: &Next) -> Pc {
        if !self.is_fast {
            let pcs: Vec<Pc> = nodes.iter().rev().map(|node| self.node(node, next, follow)).collect();
            let chained = pcs.into_iter().reduce(|second, first| self.push(Inst::Push { first, second }));
            return chained.unwrap_or(0);
        }
        let pcs: Vec<Pc> = nodes.iter().map(|node| self.node(node, next, follow)).collect();
        let nexts: Vec<Next> = nodes.iter().map(|node| Next::before(node, follow)).collect();
        match (pcs.as_slice(), nexts.as_slice()) {
            ([first, second], [first_next, second_next]) => self.split(*first, first_next, *second, second_next),
            _ if nodes.len() > 64 => {
                let all = std::iter::zip(pcs, nexts).rev();
                let chained = all.reduce(|(second, second_next), (first, first_next)| {
                    (self.split(first, &first_next, second, &second_next), first_next.or(&second_next))
                });
                chained.map_or(0, |(pc, _)| pc)
            }
            _ => self.switch(nodes, &pcs, &nexts, next, follow),
        }
    }

    fn split(&mut self, first: Pc, first_next: &Next, second: Pc, second_next: &Next) -> Pc {
        let mut table = [0; 257];
        for (byte, slot) in table.iter_mut().enumerate().take(256) {
            *slot = u8::from(first_next.has(byte as u8)) + 2 * u8::from(second_next.has(byte as u8));
        }
        table[256] = u8::from(first_next.end) + 2 * u8::from(second_next.end);
        let table = self.table(table);
        self.push(Inst::Split { table, first, second })
    }

    /// Of many alternatives, those that the next byte leaves, in their order.
    fn switch(&mut self, nodes: &[Node], pcs: &[Pc], nexts: &[Next], next: Pc, follow: &Next) -> Pc {
        let mask = |has: &dyn Fn(&Next) -> bool| {
            nexts.iter().enumerate().fold(0_u64, |mask, (index, next)| mask | u64::from(has(next)) << index)
        };
        let mut known: Vec<u64> = vec![0];
        let mut targets: Vec<Pc> = vec![0];
        let mut table = [0_u8; 257];
        for (at, slot) in table.iter_mut().enumerate() {
            let mask = if at < 256 { mask(&|next| next.has(at as u8)) } else { mask(&|next| next.end) };
            let index = match known.iter().position(|other| *other == mask) {
                Some(index) => index,
                None if known.len() == 255 => return self.chain(u64::MAX, pcs),
                None => {
                    known.push(mask);
                    let target = self.subset(mask, nodes, pcs, next, follow);
                    targets.push(target);
                    known.len() - 1
                }
            };
            *slot = index as u8;
        }
        let table = self.table(table);
        let start = self.program.targets.len() as u32;
        self.program.targets.extend(targets);
        self.push(Inst::Switch { table, targets: start })
    }

    fn subset(&mut self, mask: u64, nodes: &[Node], pcs: &[Pc], next: Pc, follow: &Next) -> Pc {
        let is_in = |index: &usize| mask >> index & 1 == 1;
        let chosen: Vec<Node> = (0..nodes.len()).filter(is_in).map(|index| nodes[index].clone()).collect();
        if chosen.len() > 1 && self.alternatives < 200 {
            let count = chosen.len();
            let joined = factored(chosen);
            // Sharing a beginning pays for compiling them again.
            if !matches!(&joined, Node::Alt(left) if left.len() == count) {
                self.alternatives += 1;
                return self.node(&joined, next, follow);
            }
        }
        self.chain(mask, pcs)
    }

    fn chain(&mut self, mask: u64, pcs: &[Pc]) -> Pc {
        let chosen = pcs.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1).map(|(_, pc)| *pc);
        let chained = chosen.rev().reduce(|second, first| self.push(Inst::Push { first, second }));
        chained.unwrap_or(0)
    }

    fn repeat(&mut self, node: &Node, min: u32, max: Option<u32>, choice: Choice, next: Pc, follow: &Next) -> Pc {
        if max == Some(0) {
            return next;
        }
        if self.is_fast
            && let Node::Set(set) = node
        {
            return self.run(set, Counts { min, max: max.unwrap_or(u32::MAX) }, choice, next, follow);
        }
        if choice == Choice::Possessive {
            let greedy = Node::Repeat { node: Box::new(node.clone()), min, max, choice: Choice::Greedy };
            return self.atomic(&greedy, next);
        }
        let is_repeated = self.around.is_repeated;
        self.around.is_repeated |= max != Some(1);
        let pc = self.turns(node, min, max, choice, next, follow);
        self.around.is_repeated = is_repeated;
        pc
    }

    fn turns(&mut self, node: &Node, min: u32, max: Option<u32>, choice: Choice, next: Pc, follow: &Next) -> Pc {
        let is_lazy = choice == Choice::Lazy;
        let mut next = next;
        let mut left = min;
        let turn_next = if self.is_fast { Next::before(node, follow) } else { Next::ANY };
        let mut inside = follow.or(&turn_next);
        match max {
            None if node.is_nullable() => {
                // The last of the turns that must be is the first of the loop.
                left = min.saturating_sub(1);
                let entry = self.nullable_loop(node, is_lazy, next);
                next = if min == 0 { self.either(entry, next, is_lazy) } else { entry };
                inside = Next::ANY;
            }
            None => {
                let joint = self.push(Inst::Fail);
                let body = self.node(node, joint, &inside);
                let split = self.choose(body, &turn_next, next, follow, is_lazy);
                self.replace(joint, split);
                if min == 0 {
                    next = joint;
                } else {
                    left = min - 1;
                    next = body;
                }
            }
            Some(max) => {
                let mut after = next;
                for _ in min..max {
                    let body = self.node(node, after, &inside);
                    after = self.choose_now(body, &turn_next, next, follow, is_lazy);
                }
                next = after;
                if max == min {
                    inside = *follow;
                }
            }
        }
        for _ in 0..left {
            next = self.node(node, next, &inside);
            // Of the turns that must be, one more follows.
            inside = if node.is_nullable() { inside.or(&turn_next) } else { turn_next };
        }
        next
    }

    fn nullable_loop(&mut self, node: &Node, is_lazy: bool, next: Pc) -> Pc {
        let turn = self.program.turns;
        self.program.turns += 1;
        let around = self.around;
        if usize::from(self.around.turns.count) < TURNS_MAX {
            self.around.turns.turns[usize::from(self.around.turns.count)] = turn;
            self.around.turns.count += 1;
        }
        let end = self.push(Inst::TurnEnd { turn, is_lazy, again: LATER, next });
        let body = self.node(node, end, &Next::ANY);
        self.around = around;
        let start = self.push(Inst::TurnStart { turn, next: body });
        self.program.insts[end as usize] = Inst::TurnEnd { turn, is_lazy, again: start, next };
        start
    }

    fn either(&mut self, body: Pc, next: Pc, is_lazy: bool) -> Pc {
        let (first, second) = if is_lazy { (next, body) } else { (body, next) };
        self.push(Inst::Push { first, second })
    }

    /// The choice between another turn and what follows, not yet placed.
    fn choose(&mut self, body: Pc, body_next: &Next, next: Pc, follow: &Next, is_lazy: bool) -> Inst {
        let pc = self.choose_now(body, body_next, next, follow, is_lazy);
        self.program.insts[pc as usize]
    }

    fn choose_now(&mut self, body: Pc, body_next: &Next, next: Pc, follow: &Next, is_lazy: bool) -> Pc {
        match (self.is_fast, is_lazy) {
            (false, _) => self.either(body, next, is_lazy),
            (true, false) => self.split(body, body_next, next, follow),
            (true, true) => self.split(next, follow, body, body_next),
        }
    }

    /// Puts the instruction at `joint`, which was reserved.
    fn replace(&mut self, joint: Pc, inst: Inst) {
        self.program.insts[joint as usize] = inst;
        // The one it was made as is reached by nobody.
        if self.program.insts.len() > joint as usize + 1 && self.program.insts.last() == Some(&inst) {
            self.program.insts.pop();
            self.context.pop();
        }
    }

    fn run(&mut self, set: &Set, counts: Counts, choice: Choice, next: Pc, follow: &Next) -> Pc {
        let bytes = Next::of_set(set);
        let is_greedy = choice == Choice::Greedy;
        if counts.min == counts.max {
            if counts.max == 1 {
                return self.single(set, next);
            }
            return self.push_run(set, counts, |set, counts| Inst::RunPossessive { set, counts, next });
        }
        // What is given back would stand before `next`, which can't begin with it.
        if choice == Choice::Possessive || is_greedy && !bytes.shares_a_byte(follow) {
            return self.push_run(set, counts, |set, counts| Inst::RunPossessive { set, counts, next });
        }
        let mut table = [false; 257];
        (0..=255).for_each(|byte| table[usize::from(byte)] = follow.has(byte));
        table[256] = follow.end;
        // A lazy run stops before what follows, or what it can't have; a greedy one goes back to what follows within it.
        let is_stop = |byte: u8| match is_greedy {
            true => bytes.has(byte) && follow.has(byte),
            false => !bytes.has(byte) || follow.has(byte),
        };
        let is_exact = match ByteClass::new(set).wide {
            Wide::All => true,
            Wide::None => is_greedy,
            Wide::Some(_) => false,
        };
        let stops = Scan::until(is_stop).filter(|_| is_exact && !(128..=255).any(is_stop));
        let then = self.second_byte(next);
        let tried = self.tried(set, counts, choice);
        self.program.follows.push(Follow { table, stops, then, tried });
        let follow = self.program.follows.len() as u32 - 1;
        self.push_run(set, counts, |set, counts| match is_greedy {
            true => Inst::Run { set, counts, follow, next },
            false => Inst::RunLazy { set, counts, follow, next },
        })
    }

    /// The byte behind the first that `next` matches.
    fn second_byte(&self, mut next: Pc) -> Option<u8> {
        loop {
            match self.program.insts[next as usize] {
                Inst::Save { next: behind, .. } | Inst::Passed { next: behind, .. } => next = behind,
                Inst::Literal { start, length, .. } if length >= 2 => {
                    return Some(self.program.literals[start as usize + 1]);
                }
                _ => return None,
            }
        }
    }

    /// A place to note where a run was tried. A path comes to it once, and what ends it has then failed: from any place within
    /// that it reached it can reach nothing else.
    fn tried(&mut self, set: &Set, counts: Counts, choice: Choice) -> Option<u32> {
        let is_everything = matches!(ByteClass::new(set).scan, Scan::Everything);
        let is_endless = counts.max == u32::MAX && (choice == Choice::Greedy || is_everything);
        if self.around.is_inner || self.around.is_repeated || !is_endless || self.program.tried == TRIED_MAX {
            return None;
        }
        self.program.tried += 1;
        Some(self.program.tried - 1)
    }

    fn push_run(&mut self, set: &Set, counts: Counts, inst: impl FnOnce(u32, u32) -> Inst) -> Pc {
        let set = self.set(set);
        self.program.counts.push(counts);
        self.push(inst(set, self.program.counts.len() as u32 - 1))
    }

    fn atomic(&mut self, node: &Node, next: Pc) -> Pc {
        let around = self.around;
        self.around.is_inner = true;
        let end = self.push(Inst::AtomicEnd { next });
        // What follows does not matter to the choices inside.
        let body = self.node(node, end, &Next::ANY);
        let is_single_way = self.is_fast && !(end as usize..self.program.insts.len()).any(|pc| self.chooses(pc));
        self.around = around;
        if is_single_way {
            self.program.insts[end as usize] = Inst::Jump(next);
            return body;
        }
        let start = self.push(Inst::AtomicStart { next: body });
        match node {
            // Most of the time a byte tells that there is nothing to be atomic about.
            Node::Repeat { node, min: 0, choice: Choice::Greedy, .. } if self.is_fast && !node.is_nullable() => {
                let body_next = Next::before(node, &Next::NONE);
                self.split(start, &body_next, next, &body_next.complement())
            }
            _ => start,
        }
    }

    /// The instruction may note another way to try.
    fn chooses(&self, pc: usize) -> bool {
        match self.program.insts[pc] {
            Inst::Push { .. } | Inst::Run { .. } | Inst::RunLazy { .. } | Inst::TurnEnd { .. } => true,
            Inst::Split { table, .. } => self.program.tables[table as usize].contains(&3),
            _ => false,
        }
    }

    fn look(&mut self, is_behind: bool, is_negative: bool, node: &Node, next: Pc) -> Pc {
        if let Node::Set(set) = node {
            let set = self.set(set);
            return self.push(match is_behind {
                true => Inst::Behind { set, is_negative, next },
                false => Inst::Ahead { set, is_negative, next },
            });
        }
        if !is_behind {
            let pc = self.look_body(node, 0, is_negative, next);
            if !self.is_fast {
                return pc;
            }
            // A byte tells most of the time.
            let body_next = Next::before(node, &Next::ANY);
            let other = body_next.complement();
            return match is_negative {
                true => self.split(pc, &body_next, next, &other),
                false => self.split(pc, &body_next, 0, &Next::NONE),
            };
        }
        let branches = match node {
            Node::Alt(branches) if node.fixed_len().is_none() => branches.as_slice(),
            node => std::slice::from_ref(node),
        };
        if is_negative {
            // None of them.
            return branches
                .iter()
                .fold(next, |next, branch| self.look_body(branch, branch.fixed_len().unwrap_or(0), true, next));
        }
        let looks: Vec<Pc> = branches
            .iter()
            .rev()
            .map(|branch| self.look_body(branch, branch.fixed_len().unwrap_or(0), false, next))
            .collect();
        looks.into_iter().reduce(|second, first| self.push(Inst::Push { first, second })).unwrap_or(0)
    }

    fn look_body(&mut self, node: &Node, back: u32, is_negative: bool, next: Pc) -> Pc {
        let around = self.around;
        self.around.is_inner = true;
        let end = self.push(Inst::LookEnd);
        let body = self.node(node, end, &Next::ANY);
        self.around = around;
        self.program.has_looks = true;
        self.push(Inst::Look { is_negative, captures: !is_negative && node.captures(), back, body, next })
    }

    /// Jumps are followed once, here.
    fn skip_jumps(&mut self) {
        let insts = self.program.insts.clone();
        let target = |mut pc: Pc| {
            while let Some(Inst::Jump(next)) = insts.get(pc as usize) {
                pc = *next;
            }
            pc
        };
        self.program.start = target(self.program.start);
        self.program.targets.iter_mut().for_each(|pc| *pc = target(*pc));
        for inst in &mut self.program.insts {
            // A jump itself is left as it is: nothing goes there any more.
            if !matches!(inst, Inst::Jump(_)) {
                successors_mut(inst).into_iter().flatten().for_each(|pc| *pc = target(*pc));
            }
        }
    }
}

/// Runs that note where they were tried: the notes are made anew for each line.
const TRIED_MAX: u32 = 64;

/// A table costs about as much as so many instructions.
const PIECE_COST_MIN: u32 = 4;

/// How many instructions a node takes, roughly, one way through it; most of all for what must be tried.
fn cost(node: &Node) -> u32 {
    match node {
        Node::Empty | Node::Passed(_) | Node::Keep | Node::Backreference(_) => 0,
        Node::Set(_) | Node::Assert(_) | Node::Look { .. } => 1,
        Node::Concat(nodes) => nodes.iter().map(cost).sum(),
        Node::Alt(nodes) => 1 + nodes.iter().map(cost).sum::<u32>(),
        Node::Repeat { node, .. } => match &**node {
            Node::Set(_) => 1,
            node => 2 + cost(node),
        },
        Node::Capture(_, node) | Node::Atomic(node) => cost(node),
    }
}

/// Where the piece begins that ends with the last of these nodes: characters and runs at its edges are no part of it, for
/// these are one instruction each.
fn piece_start(nodes: &[Node]) -> usize {
    let is_simple = |node: &Node| match node {
        Node::Set(_) | Node::Passed(_) | Node::Empty => true,
        Node::Repeat { node, .. } => matches!(**node, Node::Set(_)),
        _ => false,
    };
    if nodes.last().is_none_or(is_simple) {
        return nodes.len();
    }
    let fit = nodes.iter().rev().take_while(|node| !node.captures()).count();
    let start = nodes.len() - fit;
    start + nodes[start..].iter().take_while(|node| is_simple(node)).count()
}

/// The slot of `\K`: where the match starts after all.
pub(super) const KEEP_SLOT: u32 = u32::MAX >> 2;

/// Whether the set has characters that need to be decoded.
pub(super) fn is_mixed(class: &ByteClass) -> bool {
    matches!(class.wide, Wide::Some(_))
}
