//! What became of each source's batches: its watermark, and the ledger of positions to be committed.
//!
//! A receipt settles here, on deliver's thread or a worker's. A watermark that moves goes into the [`Ledger`]; the
//! checkpoint thread commits the ledger every second, in one transaction.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::sources::Sources;
use crate::ack::{OUTSTANDING_MAX, Watermark};
use crate::batch::{Position, Receipt, SettleSink, Settled, SourceKey};
use crate::input::source::{Host, Token};

/// How long an abandoned source rests before it is read again.
const ABANDONED_PAUSE: Duration = Duration::from_millis(100);

/// One source's watermark.
pub struct SourceAck {
    token: Token,
    key: SourceKey,
    sources: Weak<Sources>,
    ledger: Arc<Ledger>,
    plan: Arc<Plan>,
    state: Mutex<State>,
}

struct State {
    mark: Watermark,
    /// What is outstanding, in the order of the watermark.
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
    positions: Mutex<HashMap<SourceKey, Position>>,
    /// Raw bytes read and not settled.
    outstanding_bytes: AtomicU64,
    /// Raw bytes settled whose position is not committed.
    settled_bytes: AtomicU64,
}

impl SourceAck {
    /// Everything before `position` is settled.
    pub fn new(
        token: Token,
        key: SourceKey,
        position: Position,
        sources: Weak<Sources>,
        ledger: Arc<Ledger>,
        plan: Arc<Plan>,
    ) -> Self {
        let state = State {
            mark: Watermark::new(position),
            flights: VecDeque::new(),
            receipts: 0,
            rewind: false,
            is_retired: false,
            awaits: Awaits::Nothing,
        };
        Self { token, key, sources, ledger, plan, state: Mutex::new(state) }
    }

    /// A receipt for a batch that ends at `resume`; there must be room ([`SourceAck::has_room`]).
    pub fn issue(self: &Arc<Self>, resume: Position, flight: Flight) -> Receipt {
        let mut state = self.lock();
        let seq = state.mark.issue(resume).expect("the worker asked whether there is room, and only it issues");
        state.receipts += 1;
        // A turn may outlast the wait for its source: what it still hands over is read again by somebody else, who counts it.
        if !state.is_retired {
            state.flights.push_back(flight);
            self.ledger.outstanding_bytes.fetch_add(flight.bytes, Ordering::Relaxed);
        }
        Receipt::new(Arc::clone(self) as Arc<dyn SettleSink>, seq)
    }

    /// The batch was held: its number goes back.
    pub fn retract(&self, receipt: Receipt) {
        let mut state = self.lock();
        state.mark.retract(receipt.retract());
        state.receipts -= 1;
        if let Some(flight) = state.flights.pop_back() {
            self.ledger.outstanding_bytes.fetch_sub(flight.bytes, Ordering::Relaxed);
        }
    }

    /// Whether one more batch may be outstanding. If not, the source is woken when one settles.
    pub fn has_room(&self) -> bool {
        let mut state = self.lock();
        let room = state.mark.outstanding() < OUTSTANDING_MAX;
        if !room {
            state.awaits = Awaits::Room;
        }
        room
    }

    /// The source is woken once everything that is outstanding now is settled; not at all if nothing is.
    pub fn wake_when_settled(&self) {
        let mut state = self.lock();
        state.awaits = if state.mark.outstanding() > 0 { Awaits::All } else { Awaits::Nothing };
    }

    /// Where to read from again, if something was abandoned. What was outstanding counts no more.
    pub fn take_rewind(&self) -> Option<Position> {
        let mut state = self.lock();
        if !std::mem::take(&mut state.rewind) {
            return None;
        }
        let bytes: u64 = state.flights.drain(..).map(|flight| flight.bytes).sum();
        self.ledger.outstanding_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(state.mark.rewind())
    }

    /// Everything before this is settled.
    pub fn position(&self) -> Position {
        self.lock().mark.position()
    }

    /// Batches not settled.
    pub fn outstanding(&self) -> u64 {
        self.lock().mark.outstanding()
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

impl SettleSink for SourceAck {
    fn settled(&self, seq: u64, how: Settled) {
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
        let (base, outstanding) = (state.mark.base(), state.mark.outstanding());
        let flight = seq.checked_sub(base).and_then(|index| state.flights.get(usize::try_from(index).ok()?).copied());
        if let Some(flight) = flight.filter(|flight| flight.records > 0 && how == Settled::Delivered) {
            let seconds = flight.read_at.elapsed().as_secs_f64();
            self.plan.delivery_seconds.observe_many(seconds, flight.records);
            let age = flight.age_when_read.as_secs_f64() + seconds;
            self.plan.counters.append_to_ack.observe_many(age, flight.records);
        }
        let moved = state.mark.settle(seq);
        let done = usize::try_from(outstanding - state.mark.outstanding()).unwrap_or(usize::MAX);
        let (bytes, records) = state
            .flights
            .drain(..done)
            .fold((0, 0), |(bytes, records), flight| (bytes + flight.bytes, records + flight.records));
        let wake = match state.awaits {
            Awaits::Nothing => false,
            Awaits::Room => moved.is_some(),
            Awaits::All => state.mark.outstanding() == 0,
        };
        if wake {
            state.awaits = Awaits::Nothing;
        }
        if let Some(position) = moved {
            self.ledger.note(&self.plan, self.key, position, bytes);
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
    fn note(&self, plan: &Plan, key: SourceKey, position: Position, bytes: u64) {
        self.outstanding_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if plan.is_durable {
            let mut positions = self.lock();
            self.settled_bytes.fetch_add(bytes, Ordering::Relaxed);
            positions.insert(key, position);
        }
    }

    /// Takes what is to be committed, and how many settled bytes that covers.
    pub fn take(&self) -> (Vec<(SourceKey, Position)>, u64) {
        let mut positions = self.lock();
        let bytes = self.settled_bytes.load(Ordering::Relaxed);
        (positions.drain().collect(), bytes)
    }

    /// The commit is done.
    pub fn committed(&self, bytes: u64) {
        self.settled_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The commit failed: what has not moved on meanwhile is to be committed again.
    pub fn put_back(&self, positions: Vec<(SourceKey, Position)>) {
        let mut newer = self.lock();
        for (key, position) in positions {
            newer.entry(key).or_insert(position);
        }
    }

    /// What a `kill -9` now would repeat, in raw bytes.
    pub fn duplicates_bound_bytes(&self) -> u64 {
        self.outstanding_bytes.load(Ordering::Relaxed) + self.settled_bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SourceKey, Position>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::Route;
    use crate::encode::Codec;
    use crate::process::Chain;
    use crate::route::Template;

    fn at(offset: u64) -> Position {
        Position { offset, check: 0 }
    }

    fn flight(bytes: u64) -> Flight {
        Flight { read_at: Instant::now(), age_when_read: Duration::from_secs(100), bytes, records: 1 }
    }

    fn ack(ledger: &Arc<Ledger>) -> Arc<SourceAck> {
        let topic = Template::parse("t").expect("a template");
        let route = Route { topic, key: None, headers: Vec::new(), codec: Codec::Raw };
        let plan = Arc::new(Plan::new("in", Chain::new(Vec::new()), route, "fallback", 1_000));
        Arc::new(SourceAck::new(Token(1), SourceKey(1), at(0), Weak::new(), Arc::clone(ledger), plan))
    }

    /// Scenario: an input is changed while a worker has a turn of one of its sources, and the wait for it is over before the turn
    /// is. Guarantee: what the turn still hands over is neither noted nor counted for ever as what a crash would repeat.
    #[test]
    fn what_a_retired_source_still_hands_over_counts_no_more() {
        let ledger = Arc::new(Ledger::default());
        let ack = ack(&ledger);
        let before = ack.issue(at(10), flight(10));
        assert_eq!((ack.retire(), ledger.duplicates_bound_bytes()), (10, 0));
        let (after, held) = (ack.issue(at(30), flight(20)), ack.issue(at(40), flight(10)));
        ack.retract(held);
        assert_eq!((ack.receipts(), ledger.duplicates_bound_bytes()), (2, 0));
        before.settle(Settled::Delivered);
        after.settle(Settled::Delivered);
        assert_eq!((ack.receipts(), ledger.duplicates_bound_bytes()), (0, 0));
        assert!(ledger.take().0.is_empty(), "somebody else answers for the source");
    }

    /// Guarantee: a record counts from its append on, not from when it was read.
    #[test]
    fn the_age_at_reading_is_part_of_append_to_acknowledged() {
        let ack = ack(&Arc::default());
        ack.issue(at(10), flight(10)).settle(Settled::Delivered);
        let ages = ack.plan.counters.append_to_ack.status();
        assert_eq!(ages.count(), 1);
        assert!(ages.sum_seconds >= 100.0, "{ages:?}");
        assert!(ack.plan.delivery_seconds.status().sum_seconds < 100.0);
    }
}
