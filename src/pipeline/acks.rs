//! What became of each source's batches: its watermarks, one an output, and the ledger of positions to be committed.
//!
//! A receipt settles here, on deliver's thread or a worker's. A watermark that moves goes into the [`Ledger`]; the
//! checkpoint thread commits the ledger every second, in one transaction.
//!
//! Every batch has a number at all required outputs, also at those that get nothing of it, so that their watermarks agree on
//! numbers. The source as a whole is settled up to the least of them: there it is read from again, and each output leaves out
//! what is before its own ([`SourceAck::haves`]). An output that is not required has no watermark: what it takes is told to
//! [`Unwatched`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::sources::Sources;
use crate::ack::{OUTSTANDING_MAX, Watermark};
use crate::batch::{OutputId, Position, Receipt, SettleSink, Settled, SourceKey};
use crate::input::source::{Host, Token};
use crate::telemetry::Histogram;

/// How long an abandoned source rests before it is read again.
const ABANDONED_PAUSE: Duration = Duration::from_millis(100);

/// A ticket is the number of a batch, and above it that of a watermark.
const TICKET_MARK_SHIFT: u32 = 56;

/// One source's watermarks.
pub struct SourceAck {
    token: Token,
    key: SourceKey,
    sources: Weak<Sources>,
    ledger: Arc<Ledger>,
    plan: Arc<Plan>,
    state: Mutex<State>,
}

struct State {
    /// One for each output that the plan watches, in its order; at least one. They are issued, retracted and rewound together.
    marks: Vec<Mark>,
    /// What is outstanding at any of them, in the order of the numbers.
    flights: VecDeque<Flight>,
    /// Receipts that are out: neither settled nor abandoned.
    receipts: u64,
    /// Something was abandoned: the next turn starts with a rewind.
    rewind: bool,
    /// The source is no longer read by anybody who would answer for it: nothing is noted any more.
    is_retired: bool,
    /// What the source is to be woken for.
    awaits: Awaits,
}

/// What one output has of the source.
struct Mark {
    output: OutputId,
    mark: Watermark,
    /// Records of each outstanding batch that go to it.
    records: VecDeque<u32>,
    /// It has everything before this; what is read again from before it is not for this output.
    have: Position,
}

/// What a source at rest is woken for, beside new data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Nothing,
    /// Anything settles: it has as many batches outstanding as it may.
    Room,
    /// Everything is settled: it may be finished, and whoever shows its state should know.
    All,
}

/// One outstanding batch.
#[derive(Clone, Copy)]
pub struct Flight {
    pub read_at: Instant,
    /// How long before that its oldest line was appended.
    pub age_when_read: Duration,
    /// Raw bytes consumed.
    pub bytes: u64,
    pub records: u64,
}

/// The positions that are to be committed, and what a crash now would repeat.
#[derive(Default)]
pub struct Ledger {
    positions: Mutex<HashMap<(SourceKey, OutputId), Position>>,
    /// Raw bytes read and not settled.
    outstanding_bytes: AtomicU64,
    /// Raw bytes settled whose position is not committed.
    settled_bytes: AtomicU64,
    /// Why the last commit failed.
    trouble: Mutex<Option<String>>,
}

impl SourceAck {
    /// Everything before `position` is settled, and what is before those of `haves` for their outputs.
    pub fn new(
        token: Token,
        key: SourceKey,
        position: Position,
        haves: &[(OutputId, Position)],
        sources: Weak<Sources>,
        ledger: Arc<Ledger>,
        plan: Arc<Plan>,
    ) -> Self {
        let mark = |output: OutputId| {
            let own = haves.iter().find(|(id, _)| *id == output).map_or(position, |(_, own)| *own);
            let have = later(position, own);
            Mark { output, mark: Watermark::new(have), records: VecDeque::new(), have }
        };
        let state = State {
            marks: plan.watched().map(|target| mark(target.id)).collect(),
            flights: VecDeque::new(),
            receipts: 0,
            rewind: false,
            is_retired: false,
            awaits: Awaits::Nothing,
        };
        Self { token, key, sources, ledger, plan, state: Mutex::new(state) }
    }

    /// Numbers a batch that ends at `resume`; there must be room ([`SourceAck::has_room`]). `records`: how many of it go to each
    /// watched output. A receipt of each is to be made, by [`SourceAck::receipt`].
    pub fn issue(&self, resume: Position, flight: Flight, records: impl Iterator<Item = u32>) -> u64 {
        let mut state = self.lock();
        let mut seq = 0;
        for (mark, records) in state.marks.iter_mut().zip(records) {
            let issued = mark.mark.issue(later(resume, mark.have));
            seq = issued.expect("the worker asked whether there is room, and only it issues");
            mark.records.push_back(records);
        }
        state.receipts += state.marks.len() as u64;
        // A turn may outlast the wait for its source: what it still hands over is read again by somebody else, who counts it.
        if !state.is_retired {
            state.flights.push_back(flight);
            self.ledger.outstanding_bytes.fetch_add(flight.bytes, Ordering::Relaxed);
        }
        seq
    }

    /// The receipt of batch `seq` for the watched output of this number.
    pub fn receipt(self: &Arc<Self>, seq: u64, mark: usize) -> Receipt {
        let ticket = (mark as u64) << TICKET_MARK_SHIFT | seq;
        Receipt::new(Arc::clone(self) as Arc<dyn SettleSink>, ticket)
    }

    /// The batch was held: its number goes back. `receipts`: all of it.
    pub fn retract(&self, receipts: impl Iterator<Item = Receipt>) {
        let mut state = self.lock();
        for receipt in receipts {
            let (at, seq) = of_ticket(receipt.retract());
            let mark = &mut state.marks[at];
            mark.mark.retract(seq);
            mark.records.pop_back();
            state.receipts -= 1;
        }
        if let Some(flight) = state.flights.pop_back() {
            self.ledger.outstanding_bytes.fetch_sub(flight.bytes, Ordering::Relaxed);
        }
    }

    /// Whether one more batch may be outstanding. If not, the source is woken when one settles.
    pub fn has_room(&self) -> bool {
        let mut state = self.lock();
        let room = (state.flights.len() as u64) < OUTSTANDING_MAX;
        if !room {
            state.awaits = Awaits::Room;
        }
        room
    }

    /// The source is woken once everything that is outstanding now is settled. Whether something is: if not, nobody wakes it.
    pub fn wake_when_settled(&self) -> bool {
        let mut state = self.lock();
        let is_outstanding = !state.flights.is_empty();
        state.awaits = if is_outstanding { Awaits::All } else { Awaits::Nothing };
        is_outstanding
    }

    /// Where to read from again, if something was abandoned. What was outstanding counts no more.
    pub fn take_rewind(&self) -> Option<Position> {
        let mut state = self.lock();
        if !std::mem::take(&mut state.rewind) {
            return None;
        }
        let bytes: u64 = state.flights.drain(..).map(|flight| flight.bytes).sum();
        self.ledger.outstanding_bytes.fetch_sub(bytes, Ordering::Relaxed);
        for mark in &mut state.marks {
            mark.have = mark.mark.rewind();
            mark.records.clear();
        }
        Some(state.position())
    }

    /// What each watched output has already of what is read from now on: everything before this offset.
    pub fn haves(&self, haves: &mut Vec<u64>) {
        haves.clear();
        haves.extend(self.lock().marks.iter().map(|mark| mark.have.offset));
    }

    /// Everything before this is settled, at all outputs.
    pub fn position(&self) -> Position {
        self.lock().position()
    }

    /// Batches not settled.
    pub fn outstanding(&self) -> u64 {
        self.lock().flights.len() as u64
    }

    /// Batches whose fate is open.
    pub fn receipts(&self) -> u64 {
        self.lock().receipts
    }

    /// The number of its source.
    pub fn key(&self) -> SourceKey {
        self.key
    }

    /// What is outstanding counts no more, and what becomes of it is not noted: somebody else reads the source from its last
    /// committed position. How many raw bytes that repeats at most.
    pub fn retire(&self) -> u64 {
        let mut state = self.lock();
        state.is_retired = true;
        let bytes: u64 = state.flights.drain(..).map(|flight| flight.bytes).sum();
        self.ledger.outstanding_bytes.fetch_sub(bytes, Ordering::Relaxed);
        bytes
    }

    /// Since when the oldest outstanding batch is.
    pub fn oldest(&self) -> Option<Instant> {
        self.lock().flights.front().map(|flight| flight.read_at)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn position(&self) -> Position {
        let positions = self.marks.iter().map(|mark| mark.mark.position());
        positions.min_by_key(|position| position.offset).expect("a source has at least one watermark")
    }

    /// The oldest batch that some output has not settled.
    fn base(&self) -> u64 {
        self.marks.iter().map(|mark| mark.mark.base()).min().expect("a source has at least one watermark")
    }
}

/// The position that is further on.
fn later(one: Position, other: Position) -> Position {
    if other.offset > one.offset { other } else { one }
}

fn of_ticket(ticket: u64) -> (usize, u64) {
    let mark = usize::try_from(ticket >> TICKET_MARK_SHIFT).expect("8 bits");
    (mark, ticket & ((1 << TICKET_MARK_SHIFT) - 1))
}

impl SettleSink for SourceAck {
    fn settled(&self, ticket: u64, how: Settled) {
        let (at, seq) = of_ticket(ticket);
        let mut state = self.lock();
        state.receipts -= 1;
        if state.is_retired {
            return;
        }
        if how == Settled::Abandoned {
            state.rewind = true;
            drop(state);
            if let Some(sources) = self.sources.upgrade() {
                sources.wake_later(self.token, ABANDONED_PAUSE);
            }
            return;
        }
        let base = state.base();
        let flight = seq.checked_sub(base).and_then(|index| state.flights.get(usize::try_from(index).ok()?).copied());
        let mark = &mut state.marks[at];
        let own_base = mark.mark.base();
        let index = seq.checked_sub(own_base).and_then(|index| usize::try_from(index).ok());
        let records = index.and_then(|index| mark.records.get(index)).copied().unwrap_or(0);
        if let Some(flight) = flight.filter(|_| records > 0 && how == Settled::Delivered) {
            let seconds = flight.read_at.elapsed().as_secs_f64();
            self.plan.watched_at(at).delivery_seconds.observe_many(seconds, u64::from(records));
            let age = flight.age_when_read.as_secs_f64() + seconds;
            self.plan.counters.append_to_ack.observe_many(age, u64::from(records));
        }
        let (moved, output) = (mark.mark.settle(seq), mark.output);
        let own_done = usize::try_from(mark.mark.base() - own_base).unwrap_or(usize::MAX);
        mark.records.drain(..own_done);
        let done = usize::try_from(state.base() - base).unwrap_or(usize::MAX);
        let (bytes, records) = state
            .flights
            .drain(..done)
            .fold((0, 0), |(bytes, records), flight| (bytes + flight.bytes, records + flight.records));
        let wake = match state.awaits {
            Awaits::Nothing => false,
            Awaits::Room => done > 0,
            Awaits::All => state.flights.is_empty(),
        };
        if wake {
            state.awaits = Awaits::Nothing;
        }
        if let Some(position) = moved {
            self.ledger.note(&self.plan, self.key, output, position, bytes);
        }
        drop(state);
        self.plan.counters.acked_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.plan.counters.acked_records.fetch_add(records, Ordering::Relaxed);
        if wake && let Some(sources) = self.sources.upgrade() {
            sources.wake(self.token);
        }
    }
}

impl Ledger {
    fn note(&self, plan: &Plan, key: SourceKey, output: OutputId, position: Position, bytes: u64) {
        self.outstanding_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if plan.is_durable {
            let mut positions = self.lock();
            self.settled_bytes.fetch_add(bytes, Ordering::Relaxed);
            positions.insert((key, output), position);
        }
    }

    /// Where an output begins in a source: committed before anything that it settles, so that an output which settles nothing
    /// is not taken for one that is new.
    pub fn begin(&self, key: SourceKey, output: OutputId, position: Position) {
        self.lock().entry((key, output)).or_insert(position);
    }

    /// Takes what is to be committed, and how many settled bytes that covers.
    pub fn take(&self) -> (Vec<(SourceKey, OutputId, Position)>, u64) {
        let mut positions = self.lock();
        let bytes = self.settled_bytes.load(Ordering::Relaxed);
        (positions.drain().map(|((key, output), position)| (key, output, position)).collect(), bytes)
    }

    /// The commit is done. Whether the one before had failed.
    pub fn committed(&self, bytes: u64) -> bool {
        self.settled_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Why the last commit failed; `None`: it did not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The commit failed, for this reason: what has not moved on meanwhile is to be committed again.
    pub fn put_back(&self, positions: Vec<(SourceKey, OutputId, Position)>, trouble: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        let mut newer = self.lock();
        for (key, output, position) in positions {
            newer.entry((key, output)).or_insert(position);
        }
    }

    /// What a `kill -9` now would repeat, in raw bytes.
    pub fn duplicates_bound_bytes(&self) -> u64 {
        self.outstanding_bytes.load(Ordering::Relaxed) + self.settled_bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(SourceKey, OutputId), Position>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who hears what became of a portion that an output has and does not have to have: nothing waits for it.
pub struct Unwatched {
    pub read_at: Instant,
    pub records: u64,
    pub delivery_seconds: Arc<Histogram>,
}

impl SettleSink for Unwatched {
    fn settled(&self, _seq: u64, how: Settled) {
        if how == Settled::Delivered {
            self.delivery_seconds.observe_many(self.read_at.elapsed().as_secs_f64(), self.records);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Target;
    use super::*;
    use crate::config::checked::Route;
    use crate::encode::Codec;
    use crate::event::Template;
    use crate::process::Chain;

    const A: OutputId = OutputId(3);
    const B: OutputId = OutputId(5);

    fn at(offset: u64) -> Position {
        Position { offset, check: offset * 7 }
    }

    fn ack(required: [bool; 2], haves: &[(OutputId, Position)]) -> (Arc<SourceAck>, Arc<Ledger>) {
        let target = |(id, required)| {
            let topic = Template::parse("t").expect("a template");
            let (headers, record_bytes_max, codec) = (Vec::new(), 1_000, Codec::Raw);
            let output = "out".to_owned();
            let route = Route { output, required, when: None, record_bytes_max, topic, key: None, headers, codec };
            Target { id, ..Target::new(route) }
        };
        let targets = [A, B].into_iter().zip(required).map(target).collect();
        let plan = Arc::new(Plan::new("in", Chain::new(Vec::new()), targets, "fallback"));
        let ledger = Arc::new(Ledger::default());
        let (key, sources) = (SourceKey(9), Weak::new());
        let ack = SourceAck::new(Token(1), key, at(10), haves, sources, Arc::clone(&ledger), plan);
        (Arc::new(ack), ledger)
    }

    /// A batch of ten bytes up to `end`, with a record for each watched output: its receipts.
    fn issue(ack: &Arc<SourceAck>, end: u64, outputs: usize) -> Vec<Receipt> {
        let age_when_read = Duration::from_secs(100);
        let flight = Flight { read_at: Instant::now(), age_when_read, bytes: 10, records: 1 };
        let seq = ack.issue(at(end), flight, std::iter::repeat_n(1, outputs));
        (0..outputs).map(|mark| ack.receipt(seq, mark)).collect()
    }

    fn taken(ledger: &Ledger) -> Vec<(OutputId, u64)> {
        let (mut rows, bytes) = ledger.take();
        ledger.committed(bytes);
        rows.sort_by_key(|(_, output, _)| *output);
        rows.into_iter().map(|(_, output, position)| (output, position.offset)).collect()
    }

    /// Scenario: one output settles three batches, the other none, then one; something is abandoned.
    /// Guarantee: each has its own position; the source's is the lesser one, and the batches between count as outstanding; after
    /// the rewind what the first has is known, and its position does not go back.
    #[test]
    fn each_output_has_its_own_watermark_and_the_source_the_least() {
        let (ack, ledger) = ack([true, true], &[]);
        let mut batches: Vec<Vec<Receipt>> = [20, 30, 40].iter().map(|end| issue(&ack, *end, 2)).collect();
        let mut of_b: Vec<Receipt> = batches.iter_mut().filter_map(Vec::pop).collect();
        batches.into_iter().flatten().for_each(|receipt| receipt.settle(Settled::Delivered));
        assert_eq!((ack.position(), ack.outstanding(), ledger.duplicates_bound_bytes()), (at(10), 3, 30));
        assert_eq!(taken(&ledger), [(A, 40)]);
        of_b.remove(0).settle(Settled::Delivered);
        assert_eq!((ack.position(), ack.outstanding()), (at(20), 2));
        assert_eq!(taken(&ledger), [(B, 20)]);
        drop(of_b.pop());
        assert_eq!(ack.take_rewind(), Some(at(20)));
        let mut haves = Vec::new();
        ack.haves(&mut haves);
        assert_eq!((haves, ledger.duplicates_bound_bytes()), (vec![40, 20], 0));
        of_b.pop().expect("one is left").settle(Settled::Delivered);
        assert_eq!(ack.position(), at(20), "what is told of the time before changes nothing");
        let again = issue(&ack, 35, 2);
        again.into_iter().for_each(|receipt| receipt.settle(Settled::Delivered));
        assert_eq!((ack.position(), ack.outstanding(), ack.receipts()), (at(35), 0, 0));
        assert_eq!(taken(&ledger), [(A, 40), (B, 35)]);
    }

    #[test]
    fn a_restart_begins_with_what_each_output_has() {
        let (ack, _) = ack([true, true], &[(B, at(25)), (A, at(10))]);
        let mut haves = Vec::new();
        ack.haves(&mut haves);
        assert_eq!((haves, ack.position()), (vec![10, 25], at(10)));
        let receipts = issue(&ack, 20, 2);
        ack.retract(receipts.into_iter());
        assert_eq!((ack.outstanding(), ack.receipts()), (0, 0));
    }

    #[test]
    fn an_output_that_is_not_required_is_not_watched_unless_all_are_so() {
        let watched = |required| {
            let (ack, _) = ack(required, &[]);
            let mut haves = Vec::new();
            ack.haves(&mut haves);
            (haves.len(), ack.plan.watched_at(0).id)
        };
        assert_eq!([watched([true, false]), watched([false, true]), watched([false, false])], [(1, A), (1, B), (1, A)]);
    }

    /// Scenario: an input is changed while a worker has a turn of one of its sources, and the wait for it is over before the turn
    /// is. Guarantee: what the turn still hands over is neither noted nor counted for ever as what a crash would repeat.
    #[test]
    fn what_a_retired_source_still_hands_over_counts_no_more() {
        let (ack, ledger) = ack([true, true], &[]);
        let before = issue(&ack, 20, 2);
        assert_eq!((ack.retire(), ledger.duplicates_bound_bytes()), (10, 0));
        let (after, held) = (issue(&ack, 30, 2), issue(&ack, 40, 2));
        ack.retract(held.into_iter());
        assert_eq!((ack.receipts(), ledger.duplicates_bound_bytes()), (4, 0));
        before.into_iter().chain(after).for_each(|receipt| receipt.settle(Settled::Delivered));
        assert_eq!((ack.receipts(), ledger.duplicates_bound_bytes()), (0, 0));
        assert!(ledger.take().0.is_empty(), "somebody else answers for the source");
    }

    /// Guarantee: a record counts from its append on, not from when it was read.
    #[test]
    fn the_age_at_reading_is_part_of_append_to_acknowledged() {
        let (ack, _) = ack([true, false], &[]);
        issue(&ack, 20, 1).into_iter().for_each(|receipt| receipt.settle(Settled::Delivered));
        let ages = ack.plan.counters.append_to_ack.status();
        assert_eq!(ages.count(), 1);
        assert!(ages.sum_seconds >= 100.0, "{ages:?}");
        assert!(ack.plan.watched_at(0).delivery_seconds.status().sum_seconds < 100.0);
    }
}
