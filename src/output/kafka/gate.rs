//! What waits in front of librdkafka: nothing is given to it that it would not send (P).
//!
//! With idempotence librdkafka sends nothing more of a partition until all of it that is under way is acknowledged: its bound
//! of five counts records where it means requests (`rd_kafka_toppar_producer_serve`, 2.12). What it has beyond that, older
//! than `linger.ms`, makes the broker's thread ask `poll` without a pause until the broker answers: a quarter of the agent's CPU on a broker
//! that takes 50 ms, and a whole core where it takes long. So records wait here: a partition's go over once nothing of it is
//! under way, one request's worth at a time, in the order in which they came.
//!
//! Therefore lingering is done here too. What librdkafka lingers ([`INNER_LINGER`]) only covers the moment in which
//! one request's records are handed over to it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Encoded;

/// What librdkafka waits for more records of a request: handing over 1 MB takes less.
pub(super) const INNER_LINGER: Duration = Duration::from_millis(1);

/// What the protocol adds to a record at most, beside its key, value and headers.
const OVERHEAD_BYTES: u64 = 36;
/// And to each header.
const HEADER_OVERHEAD_BYTES: u64 = 10;

type Partition = (Arc<str>, i32);

/// Records of one hand-over that wait.
struct Waiting {
    slot: u32,
    encoded: Arc<Encoded>,
    records: Range<u32>,
}

#[derive(Default)]
struct Lane {
    /// Records that librdkafka has and has not reported.
    under_way: u64,
    waiting: VecDeque<Waiting>,
    /// Of what waits, as the protocol counts.
    bytes: u64,
    /// When it may go over, if it may: nothing is under way.
    due: Option<Instant>,
    /// When the first of what waits came.
    since: Option<Instant>,
}

/// Records that may go over now.
pub(super) struct Pass {
    pub topic: Arc<str>,
    pub partition: i32,
    pub slot: u32,
    pub encoded: Arc<Encoded>,
    pub records: Range<u32>,
}

/// The partitions of one producer that have records.
pub(super) struct Gate {
    lanes: HashMap<Partition, Lane>,
    /// Those with a time, in the order of that.
    due: BTreeSet<(Instant, Partition)>,
    /// What one request takes.
    batch_bytes: u64,
    /// How long the first record waits for others.
    linger: Duration,
    /// Until when whoever lets through sleeps; `None`: it does not sleep, or is woken already.
    sleeps_until: Option<Instant>,
}

impl Gate {
    /// `batch_bytes`: what one request for a partition holds before compression; `linger`: how long a batch may wait to be filled.
    pub fn new(batch_bytes: usize, linger: Duration) -> Self {
        Self {
            lanes: HashMap::new(),
            due: BTreeSet::new(),
            batch_bytes: batch_bytes as u64,
            linger: linger.saturating_sub(INNER_LINGER),
            sleeps_until: None,
        }
    }

    /// Adds the records of a hand-over behind all others of the partition. Whether the one who lets through is to be woken.
    pub fn push(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        slot: u32,
        encoded: &Arc<Encoded>,
        records: Range<u32>,
        now: Instant,
    ) -> bool {
        let key = (Arc::clone(topic), partition);
        let lane = self.lanes.entry(key.clone()).or_default();
        lane.bytes += records.clone().map(|record| wire_bytes(encoded, record)).sum::<u64>();
        lane.since.get_or_insert(now);
        lane.waiting.push_back(Waiting { slot, encoded: Arc::clone(encoded), records });
        self.set_due(&key, now);
        let due = self.due.first().map(|(due, _)| *due);
        let wakes = due.zip(self.sleeps_until).is_some_and(|(due, until)| due < until);
        if wakes {
            self.sleeps_until = None;
        }
        wakes
    }

    /// librdkafka has said of so many records what became of them.
    pub fn reported(&mut self, topic: &Arc<str>, partition: i32, records: u32, now: Instant) {
        let key = (Arc::clone(topic), partition);
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.under_way = lane.under_way.saturating_sub(u64::from(records));
        if lane.under_way == 0 && lane.waiting.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.set_due(&key, now);
        }
    }

    /// Takes out what may go over now.
    pub fn let_through(&mut self, now: Instant, passes: &mut Vec<Pass>) {
        while let Some((due, _)) = self.due.first()
            && *due <= now
            && let Some((_, key)) = self.due.pop_first()
        {
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.due = None;
            lane.pass(&key, self.batch_bytes, passes);
            lane.since = (!lane.waiting.is_empty()).then_some(now);
        }
    }

    /// Says that whoever lets through is about to sleep until `limit`. How long it may.
    pub fn sleep(&mut self, now: Instant, limit: Instant) -> Duration {
        let until = self.due.first().map_or(limit, |(due, _)| limit.min(*due));
        self.sleeps_until = Some(until);
        until.saturating_duration_since(now)
    }

    /// It is awake.
    pub fn wake(&mut self) {
        self.sleeps_until = None;
    }

    /// Notes when what waits in a lane may go over.
    fn set_due(&mut self, key: &Partition, now: Instant) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let Some(since) = lane.since.filter(|_| lane.under_way == 0) else { return };
        let due = if lane.bytes >= self.batch_bytes { now } else { since + self.linger };
        match lane.due {
            // Later than that it is not: it only fills up.
            Some(before) if before <= due => return,
            Some(before) => _ = self.due.remove(&(before, key.clone())),
            None => {}
        }
        lane.due = Some(due);
        self.due.insert((due, key.clone()));
    }
}

impl Lane {
    /// Takes out a request's worth, at least one record.
    fn pass(&mut self, (topic, partition): &Partition, batch_bytes: u64, passes: &mut Vec<Pass>) {
        let mut room = batch_bytes;
        while let Some(first) = self.waiting.front_mut() {
            let start = first.records.start;
            while first.records.start < first.records.end {
                let bytes = wire_bytes(&first.encoded, first.records.start);
                if bytes > room && self.under_way > 0 {
                    break;
                }
                room = room.saturating_sub(bytes);
                self.bytes = self.bytes.saturating_sub(bytes);
                self.under_way += 1;
                first.records.start += 1;
            }
            let (topic, partition, slot) = (Arc::clone(topic), *partition, first.slot);
            let records = start..first.records.start;
            let is_done = first.records.is_empty();
            if !records.is_empty() {
                passes.push(Pass { topic, partition, slot, encoded: Arc::clone(&first.encoded), records });
            }
            if !is_done {
                return;
            }
            self.waiting.pop_front();
        }
    }
}

/// What a record takes in a request, at most.
fn wire_bytes(encoded: &Encoded, record: u32) -> u64 {
    let record = &encoded.records[record as usize];
    let headers = encoded.headers_of(record).len() as u64;
    encoded.payload_bytes(record) as u64 + OVERHEAD_BYTES + HEADER_OVERHEAD_BYTES * headers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{NONE, Position, Record, SourceKey};
    use crate::budget::Budget;

    const LINGER: Duration = Duration::from_millis(20);
    /// Of a test's requests: ten of its records.
    const BATCH_BYTES: usize = 10 * (100 + OVERHEAD_BYTES as usize);

    /// A batch of records of 100 bytes.
    fn batch(count: u32) -> Arc<Encoded> {
        let record = |index: u32| Record {
            value_start: index * 100,
            value_len: 100,
            key_start: NONE,
            key_len: 0,
            timestamp_ms: 0,
            headers: NONE,
            offset: 0,
        };
        Arc::new(Encoded {
            buf: vec![b'x'; count as usize * 100],
            records: (0..count).map(record).collect(),
            headers: Vec::new(),
            shares: Vec::new(),
            source: SourceKey(1),
            resume: Position::default(),
            permit: Budget::new(1).try_take(0).expect("nothing is asked for"),
        })
    }

    struct World {
        gate: Gate,
        now: Instant,
        topic: Arc<str>,
    }

    impl World {
        fn new() -> Self {
            Self { gate: Gate::new(BATCH_BYTES, LINGER), now: Instant::now(), topic: "t".into() }
        }

        fn push(&mut self, partition: i32, slot: u32, count: u32) -> bool {
            self.gate.push(&self.topic, partition, slot, &batch(count), 0..count, self.now)
        }

        fn reported(&mut self, partition: i32, records: u32) {
            self.gate.reported(&self.topic, partition, records, self.now);
        }

        /// What goes over after so many milliseconds: partition, slot, records.
        fn after(&mut self, ms: u64) -> Vec<(i32, u32, Range<u32>)> {
            self.now += Duration::from_millis(ms);
            let mut passes = Vec::new();
            self.gate.let_through(self.now, &mut passes);
            passes.into_iter().map(|pass| (pass.partition, pass.slot, pass.records)).collect()
        }
    }

    /// Scenario: a few records come, then more than a request takes, in several hand-overs. Guarantee: they wait for others as long as
    /// they should, and no longer once a request is full; one request's worth goes, across hand-overs, and nothing more before all of
    /// it is reported; then the next, at once.
    #[test]
    fn one_request_at_a_time_is_let_through() {
        let mut world = World::new();
        world.push(0, 1, 3);
        assert_eq!(world.after(18), []);
        assert_eq!(world.after(1), [(0, 1, 0..3)]);
        world.push(0, 2, 4);
        world.push(0, 3, 20);
        assert_eq!(world.after(100), []);
        world.reported(0, 2);
        assert_eq!(world.after(100), []);
        world.reported(0, 1);
        assert_eq!(world.after(0), [(0, 2, 0..4), (0, 3, 0..6)]);
        world.reported(0, 10);
        assert_eq!(world.after(0), [(0, 3, 6..16)]);
        world.reported(0, 10);
        // What is left has waited meanwhile.
        assert_eq!(world.after(19), [(0, 3, 16..20)]);
        world.reported(0, 4);
        assert!(world.gate.lanes.is_empty() && world.gate.due.is_empty());
    }

    /// Guarantee: a record that is larger than a request goes alone.
    #[test]
    fn what_is_too_large_for_a_request_goes_alone() {
        let mut gate = Gate::new(50, LINGER);
        let (topic, now): (Arc<str>, _) = ("t".into(), Instant::now());
        gate.push(&topic, 0, 1, &batch(3), 0..3, now);
        for at in 0..3 {
            let mut passes = Vec::new();
            gate.let_through(now, &mut passes);
            assert_eq!(
                passes.iter().map(|pass| (pass.records.start, pass.records.end)).collect::<Vec<_>>(),
                [(at, at + 1)]
            );
            gate.reported(&topic, 0, 1, now);
        }
    }

    /// Scenario: whoever lets through sleeps. Guarantee: it is woken for what is due sooner than it would wake up, once, and
    /// for nothing else; and it sleeps no longer than the first lane waits.
    #[test]
    fn it_is_woken_for_what_is_due_sooner() {
        let mut world = World::new();
        let limit = world.now + Duration::from_millis(100);
        assert_eq!(world.gate.sleep(world.now, limit), Duration::from_millis(100));
        assert!(world.push(0, 1, 1), "19 ms are less");
        assert!(!world.push(1, 2, 1), "it is awake");
        assert_eq!(world.gate.sleep(world.now, limit), Duration::from_millis(19));
        world.now += Duration::from_millis(1);
        assert!(!world.push(2, 3, 1), "that is due later");
        assert!(world.push(2, 4, 9), "a request is full");
        world.gate.wake();
        assert_eq!(world.after(0), [(2, 3, 0..1), (2, 4, 0..9)]);
        assert!(!world.push(2, 5, 10), "it is awake");
        world.gate.sleep(world.now, limit);
        assert!(!world.push(2, 6, 10), "what is under way is waited for");
    }

    proptest! {
        /// Scenario: hand-overs of any size for some partitions, reports of any part of what is under way, time. Guarantee: each
        /// partition's records go over in order, each once, at most a request's worth before all of it is reported; in the end nothing
        /// is left.
        #[test]
        fn everything_goes_over_once_and_in_order(steps in proptest::collection::vec((0u8..4, 0i32..3, 1u32..40), 1..80)) {
            let mut world = World::new();
            let mut expected: HashMap<i32, VecDeque<(u32, u32)>> = HashMap::new();
            let mut under_way: HashMap<i32, u32> = HashMap::new();
            // At the end all of it is reported again and again.
            let closing = (0..1_000).flat_map(|_| [(2, 0, 0), (2, 1, 0), (2, 2, 0), (3, 0, 40)]);
            for (slot, (what, partition, count)) in (0..).zip(steps.into_iter().chain(closing)) {
                match what {
                    0 => {
                        world.push(partition, slot, count);
                        expected.entry(partition).or_default().extend((0..count).map(|record| (slot, record)));
                    }
                    1 | 2 => {
                        let part = under_way.entry(partition).or_default();
                        let records = if what == 1 { count.min(*part) } else { *part };
                        *part -= records;
                        if records > 0 {
                            world.reported(partition, records);
                        }
                    }
                    _ => {
                        let before = under_way.clone();
                        for (partition, slot, records) in world.after(u64::from(count)) {
                            prop_assert_eq!(before.get(&partition).copied().unwrap_or(0), 0);
                            *under_way.entry(partition).or_default() += records.end - records.start;
                            for record in records {
                                let next = expected.get_mut(&partition).and_then(VecDeque::pop_front);
                                prop_assert_eq!(next, Some((slot, record)));
                            }
                        }
                        prop_assert!(under_way.values().all(|records| *records <= 10));
                    }
                }
            }
            prop_assert!(expected.values().all(VecDeque::is_empty));
            prop_assert!(world.gate.lanes.is_empty() && world.gate.due.is_empty());
        }
    }
}
