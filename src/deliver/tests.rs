//! The machine against a simulated broker, dead letter, sources and time, with crashes between any two steps (P).
//!
//! Allowed faults: a lane hangs, refuses its topic, loses its partition count; a record is too large (its whole batch is
//! refused and nobody accused) or invalid (named, or everybody accused); the producer dies with the fate of what is in flight
//! unknown, its reports arriving late; the dead letter is full; the process crashes and the sources start again from their
//! last committed position. Not allowed: reordering within a partition by the producer, and a refused topic that takes what
//! comes behind the refused records before their refusal is told (I3's counted exception: the records in between).
//!
//! `SIM_SEED=n` replays one run; `SIM_SEEDS=n` sets how many there are.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::machine::{Action, LaneKey, Limits, Machine, Offered};
use crate::ack::Watermark;
use crate::batch::{Place, Position, Settled, Share};
use crate::output::{Fault, Parcel, RecordFault, TopicFault};

const WINDOW_BYTES: u64 = 4_000;
const RECORD_BYTES: u64 = 10;
const BATCH_LINES_MAX: u64 = 60;
const LINES_PER_SOURCE: u64 = 400;
const PARTITIONS: u32 = 3;

/// SplitMix64: the same numbers for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A line of a source.
type Line = (usize, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Up,
    Hangs,
    Refuses(TopicFault),
}

/// What of the world goes wrong in a run.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// One line in so many is too large; 0: none.
    too_large_every: u64,
    invalid_every: u64,
    /// The broker says which record of a batch is invalid.
    names_guilty: bool,
}

struct Source {
    lanes: Vec<LaneKey>,
    mark: Watermark,
    committed: u64,
    next_line: u64,
    parked: bool,
    /// Parts not settled, and whether one was abandoned, by the number of the batch.
    batches: HashMap<u64, (usize, bool)>,
}

struct Parcelled {
    source: usize,
    seq: u64,
    lane: LaneKey,
    /// By record number.
    lines: BTreeMap<u32, Line>,
}

type Report = (u64, Parcel, Range<u32>, Result<(), Fault>);

struct World {
    seed: u64,
    dice: Dice,
    faults: Faults,
    now: Duration,
    machine: Machine<u64>,
    epoch: u64,
    sources: Vec<Source>,
    parcels: HashMap<Parcel, Parcelled>,
    conditions: HashMap<LaneKey, Condition>,
    /// Handed over and not taken by the broker, with the epoch of the producer.
    queues: HashMap<LaneKey, VecDeque<(u64, Parcel, u32)>>,
    reports: VecDeque<Report>,
    logs: HashMap<LaneKey, Vec<Line>>,
    dead: BTreeSet<Line>,
    dead_letter_full: bool,
    burials: VecDeque<(Parcel, u32)>,
    topic_known: bool,
    must_rebuild: bool,
    must_look_up: bool,
}

fn topic() -> Arc<str> {
    Arc::from("t")
}

fn lane(partition: i32) -> LaneKey {
    LaneKey { topic: topic(), partition }
}

fn limits() -> Limits {
    Limits {
        window_bytes_max: WINDOW_BYTES,
        sticky_bytes: 1_000,
        stalled_after: Duration::from_secs(2),
        probe_first: Duration::from_secs(1),
        probe_longest: Duration::from_secs(60),
        topic_kept: Duration::from_secs(600),
    }
}

impl World {
    fn new(seed: u64, faults: Faults, feeds: &[&[i32]]) -> Self {
        let sources = feeds
            .iter()
            .map(|lanes| Source {
                lanes: lanes.iter().map(|partition| lane(*partition)).collect(),
                mark: Watermark::new(Position::default()),
                committed: 0,
                next_line: 0,
                parked: false,
                batches: HashMap::new(),
            })
            .collect();
        Self {
            seed,
            dice: Dice(seed),
            faults,
            now: Duration::ZERO,
            machine: Machine::new(limits()),
            epoch: 0,
            sources,
            parcels: HashMap::new(),
            conditions: HashMap::new(),
            queues: HashMap::new(),
            reports: VecDeque::new(),
            logs: HashMap::new(),
            dead: BTreeSet::new(),
            dead_letter_full: false,
            burials: VecDeque::new(),
            topic_known: false,
            must_rebuild: false,
            must_look_up: false,
        }
    }

    fn lane_of(&self, (source, line): Line) -> LaneKey {
        let lanes = &self.sources[source].lanes;
        lanes[usize::try_from(line).expect("small") % lanes.len()].clone()
    }

    fn is_too_large(&self, (_, line): Line) -> bool {
        self.faults.too_large_every > 0 && line % self.faults.too_large_every == 7
    }

    fn is_invalid(&self, (_, line): Line) -> bool {
        self.faults.invalid_every > 0 && line % self.faults.invalid_every == 3
    }

    /// A source reads its next lines and offers them.
    fn turn(&mut self, at: usize) {
        let len = 1 + self.dice.below(BATCH_LINES_MAX);
        let source = &self.sources[at];
        let lines = source.next_line..(source.next_line + len).min(LINES_PER_SOURCE);
        if source.parked || lines.is_empty() {
            return;
        }
        let mut by_lane: BTreeMap<LaneKey, Vec<Line>> = BTreeMap::new();
        for line in lines.clone() {
            by_lane.entry(self.lane_of((at, line))).or_default().push((at, line));
        }
        let mut start = 0;
        let mut shares = Vec::new();
        for (key, lines) in &by_lane {
            let end = start + u32::try_from(lines.len()).expect("small");
            let place = if self.topic_known { Place::At(key.partition) } else { Place::Unknown };
            let bytes = u64::from(end - start) * RECORD_BYTES;
            shares.push(Share { topic: topic(), place, records: start..end, bytes });
            start = end;
        }
        let source = &mut self.sources[at];
        let Some(seq) = source.mark.issue(Position { offset: lines.end, check: 0 }) else { return };
        match self.machine.offer(at as u64, &shares, self.now) {
            Offered::Held(_) => {
                source.mark.retract(seq);
                source.parked = true;
            }
            Offered::Taken(parcels) => {
                source.next_line = lines.end;
                source.batches.insert(seq, (parcels.len(), false));
                for ((parcel, share), (key, lines)) in parcels.iter().zip(&shares).zip(by_lane) {
                    let lines = share.records.clone().zip(lines).collect();
                    self.parcels.insert(*parcel, Parcelled { source: at, seq, lane: key, lines });
                }
            }
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.machine.action() {
            match action {
                Action::Produce { parcel, topic, partition, records } => {
                    let queue = self.queues.entry(LaneKey { topic, partition }).or_default();
                    queue.extend(records.map(|record| (self.epoch, parcel, record)));
                }
                Action::Settle { parcel, how } => self.settle(parcel, how),
                Action::Bury { parcel, record, .. } => self.burials.push_back((parcel, record)),
                Action::Wake(who) => self.sources[usize::try_from(who).expect("small")].parked = false,
                Action::Lookup { .. } => self.must_look_up = true,
                Action::Rebuild { .. } => self.must_rebuild = true,
            }
        }
        let bound = WINDOW_BYTES + BATCH_LINES_MAX * RECORD_BYTES;
        assert!(self.machine.bytes_used() <= bound, "seed {}: the window is passed", self.seed);
    }

    fn settle(&mut self, parcel: Parcel, how: Settled) {
        let parcelled = self.parcels.remove(&parcel).unwrap_or_else(|| panic!("seed {}: settled twice", self.seed));
        if how != Settled::Abandoned {
            for line in parcelled.lines.values() {
                let is_there =
                    self.dead.contains(line) || self.logs.get(&parcelled.lane).is_some_and(|log| log.contains(line));
                assert!(is_there, "seed {}: {line:?} is settled and nowhere", self.seed);
            }
        }
        let source = &mut self.sources[parcelled.source];
        let Some((parts, abandoned)) = source.batches.get_mut(&parcelled.seq) else { return };
        *parts -= 1;
        *abandoned |= how == Settled::Abandoned;
        if *parts > 0 {
            return;
        }
        if *abandoned {
            source.next_line = source.mark.rewind().offset;
            source.batches.clear();
        } else {
            source.batches.remove(&parcelled.seq);
            source.mark.settle(parcelled.seq);
        }
    }

    /// The broker takes a batch from the front of a lane.
    fn broker(&mut self, partition: i32) {
        let key = lane(partition);
        let condition = self.conditions.get(&key).copied().unwrap_or(Condition::Up);
        let wanted = 1 + usize::try_from(self.dice.below(40)).expect("small");
        let queue = self.queues.entry(key.clone()).or_default();
        let take = match condition {
            Condition::Hangs => 0,
            Condition::Up => wanted.min(queue.len()),
            // librdkafka fails what it has for a partition that is refused.
            Condition::Refuses(_) => queue.len(),
        };
        let batch: Vec<(u64, Parcel, u32)> = queue.drain(..take).collect();
        let lines: Vec<Option<Line>> = batch
            .iter()
            .map(|(_, parcel, record)| {
                self.parcels.get(parcel).and_then(|parcelled| parcelled.lines.get(record).copied())
            })
            .collect();
        let any = |test: &dyn Fn(Line) -> bool| lines.iter().flatten().any(|line| test(*line));
        let (too_large, invalid) = (any(&|line| self.is_too_large(line)), any(&|line| self.is_invalid(line)));
        let message: Arc<str> = Arc::from("refused");
        let names = self.faults.names_guilty && batch.len() > 1;
        let mut results = Vec::new();
        for ((epoch, parcel, record), line) in batch.into_iter().zip(lines) {
            let guilty = line.is_some_and(|line| self.is_invalid(line));
            let result = match condition {
                Condition::Refuses(reason) => Err(Fault::Topic { reason, message: Arc::clone(&message) }),
                _ if too_large => Err(Fault::Record { reason: RecordFault::TooLarge, message: Arc::clone(&message) }),
                _ if invalid && names && !guilty => Err(Fault::Neighbour),
                _ if invalid => Err(Fault::Record { reason: RecordFault::Invalid, message: Arc::clone(&message) }),
                _ => {
                    self.logs.entry(key.clone()).or_default().extend(line);
                    Ok(())
                }
            };
            results.push((epoch, parcel, record..record + 1, result));
        }
        self.reports.extend(results);
    }

    fn report(&mut self) {
        if let Some((epoch, parcel, records, result)) = self.reports.pop_front() {
            self.machine.report(epoch, parcel, records, result, self.now);
            self.act();
        }
    }

    /// A refusal ends only when nothing is left that it is to be told of: see the header.
    fn tell_refusals(&mut self) {
        for partition in 0..3 {
            while matches!(self.conditions.get(&lane(partition)), Some(Condition::Refuses(_)))
                && self.queues.get(&lane(partition)).is_some_and(|queue| !queue.is_empty())
            {
                self.broker(partition);
                while !self.reports.is_empty() {
                    self.report();
                }
            }
        }
        while !self.reports.is_empty() {
            self.report();
        }
    }

    fn bury(&mut self) {
        if let Some((parcel, record)) = self.burials.pop_front() {
            let line = self.parcels.get(&parcel).and_then(|parcelled| parcelled.lines.get(&record).copied());
            let ok = !self.dead_letter_full;
            self.dead.extend(line.filter(|_| ok));
            self.machine.buried(parcel, record, ok, self.now);
            self.act();
        }
    }

    fn errands(&mut self) {
        if std::mem::take(&mut self.must_look_up) {
            self.topic_known = true;
            self.machine.topic(&topic(), Ok(PARTITIONS), self.now);
            self.act();
        }
        if std::mem::take(&mut self.must_rebuild) {
            // Some of what the old one had is written, and nobody will say so.
            for partition in 0..3 {
                if self.conditions.get(&lane(partition)).is_none_or(|condition| *condition == Condition::Up) {
                    self.broker(partition);
                }
            }
            self.queues.clear();
            self.epoch += 1;
            self.machine.rebuilt(self.epoch, self.now);
            self.act();
        }
    }

    fn crash(&mut self) {
        self.machine = Machine::new(limits());
        self.epoch = 0;
        self.parcels.clear();
        self.queues.clear();
        self.reports.clear();
        self.burials.clear();
        self.topic_known = false;
        for source in &mut self.sources {
            source.next_line = source.committed;
            source.mark = Watermark::new(Position { offset: source.committed, check: 0 });
            source.batches.clear();
            source.parked = false;
        }
    }

    fn step(&mut self, with_faults: bool) {
        let partition = i32::try_from(self.dice.below(u64::from(PARTITIONS))).expect("small");
        match self.dice.below(if with_faults { 100 } else { 80 }) {
            0..20 => {
                let at = usize::try_from(self.dice.below(self.sources.len() as u64)).expect("small");
                self.turn(at);
            }
            20..40 => self.broker(partition),
            40..65 => (0..10).for_each(|_| self.report()),
            65..70 => self.bury(),
            70..78 => {
                self.now += Duration::from_millis(self.dice.below(400));
                self.machine.tick(self.now);
                self.act();
            }
            78..80 => self.sources.iter_mut().for_each(|source| source.committed = source.mark.position().offset),
            80..88 => {
                self.tell_refusals();
                let condition = match self.dice.below(5) {
                    0 => Condition::Hangs,
                    1 => Condition::Refuses(TopicFault::NotAuthorized),
                    2 => Condition::Refuses(TopicFault::Missing),
                    _ => Condition::Up,
                };
                self.conditions.insert(lane(partition), condition);
            }
            88 => {
                self.machine.lost(Arc::from("fatal"));
                self.act();
            }
            89 => self.dead_letter_full = !self.dead_letter_full,
            90 => self.crash(),
            _ => {}
        }
        self.errands();
    }

    fn is_done(&self, at: usize) -> bool {
        self.sources[at].mark.position().offset == LINES_PER_SOURCE
    }

    /// Every fault ends; everything must arrive.
    fn drain(&mut self) {
        self.tell_refusals();
        self.conditions.clear();
        self.dead_letter_full = false;
        for _ in 0..400_000 {
            if (0..self.sources.len()).all(|at| self.is_done(at)) {
                return;
            }
            self.step(false);
        }
        let lanes = self.machine.lanes(self.now);
        panic!("seed {}: it does not drain: {lanes:?}", self.seed);
    }

    fn check_arrived(&self) {
        for at in 0..self.sources.len() {
            for line in (0..LINES_PER_SOURCE).map(|line| (at, line)) {
                let in_log = self.logs.get(&self.lane_of(line)).is_some_and(|log| log.contains(&line));
                assert!(in_log || self.dead.contains(&line), "seed {}: {line:?} is lost", self.seed);
                let guilty = self.is_too_large(line) || self.is_invalid(line);
                assert_eq!(in_log, !guilty, "seed {}: {line:?} is in the wrong place", self.seed);
            }
        }
    }

    fn check_order(&self) {
        for (key, log) in &self.logs {
            let mut seen = BTreeSet::new();
            let mut last: HashMap<usize, u64> = HashMap::new();
            for (source, line) in log {
                if seen.insert((*source, *line)) {
                    let before = last.insert(*source, *line);
                    assert!(
                        before.is_none_or(|before| before < *line),
                        "seed {}: {key:?} is out of order at {line} of {source} after {before:?}",
                        self.seed
                    );
                }
            }
        }
    }
}

fn seeds(default: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(default),
    }
}

const FEEDS: [&[i32]; 4] = [&[0], &[1], &[0, 1, 2], &[2, 0]];

/// Scenario: hanging and refused lanes, dying producers, crashes, in any order. Guarantee: what is settled has arrived,
/// nothing is lost, first occurrences are in order, and it drains once the faults end.
#[test]
fn nothing_is_lost_and_order_holds_whatever_fails() {
    for seed in seeds(150) {
        let mut world = World::new(seed, Faults::default(), &FEEDS);
        (0..1_500).for_each(|_| world.step(true));
        world.drain();
        world.check_arrived();
        world.check_order();
    }
}

/// Scenario: the same, and records that the broker refuses: too large, invalid and named, invalid and nobody named.
/// Guarantee: the guilty, and only they, are in the dead letter; everything else arrives.
#[test]
fn the_guilty_are_found_and_only_they_are_buried() {
    for seed in seeds(150) {
        let faults = match seed % 3 {
            0 => Faults { too_large_every: 50, ..Faults::default() },
            1 => Faults { invalid_every: 40, names_guilty: true, ..Faults::default() },
            _ => Faults { invalid_every: 40, too_large_every: 70, names_guilty: false },
        };
        let mut world = World::new(seed, faults, &FEEDS);
        (0..1_500).for_each(|_| world.step(true));
        world.drain();
        world.check_arrived();
    }
}

/// Scenario: one partition hangs for ever, another refuses its topic for ever. Guarantee: a source that feeds neither gets
/// everything through, and the window keeps room for it (I6).
#[test]
fn a_lane_in_trouble_holds_only_those_who_feed_it() {
    for seed in seeds(100) {
        let mut world = World::new(seed, Faults::default(), &[&[0], &[1], &[2], &[0, 2]]);
        world.conditions.insert(lane(0), Condition::Hangs);
        world.conditions.insert(lane(1), Condition::Refuses(TopicFault::NotAuthorized));
        for _ in 0..60_000 {
            if world.is_done(2) {
                break;
            }
            world.step(false);
        }
        assert!(world.is_done(2), "seed {seed}: the healthy lane is held up: {:?}", world.machine.lanes(world.now));
        assert!(!world.is_done(0) && !world.is_done(1), "seed {seed}: the lanes in trouble took everything");
        world.drain();
        world.check_arrived();
        world.check_order();
    }
}

fn share(place: Place, records: Range<u32>, bytes: u64) -> Share {
    Share { topic: topic(), place, records, bytes }
}

fn known() -> Machine<u64> {
    let mut machine = Machine::new(limits());
    machine.topic(&topic(), Ok(PARTITIONS), Duration::ZERO);
    machine
}

fn actions(machine: &mut Machine<u64>) -> Vec<Action<u64>> {
    std::iter::from_fn(|| machine.action()).collect()
}

/// Scenario: one lane takes all it can get. Guarantee: it gets half of the window, and another lane still has room.
#[test]
fn a_lane_takes_half_of_what_the_others_leave() {
    let mut machine = known();
    let mut taken = 0;
    while let Offered::Taken(_) = machine.offer(taken, &[share(Place::At(0), 0..1, 100)], Duration::ZERO) {
        taken += 1;
    }
    assert_eq!(taken * 100, WINDOW_BYTES / 2);
    let other = machine.offer(99, &[share(Place::At(1), 0..1, 900)], Duration::ZERO);
    assert!(matches!(other, Offered::Taken(_)), "{other:?}");
}

/// Scenario: a topic that is not authorised, then is. Guarantee: probes come 1, 2, 4 … 60 s apart, one record each, and the
/// rest follows the first that is taken.
#[test]
fn probes_back_off_and_the_lane_goes_on_by_itself() {
    let mut machine = known();
    let Offered::Taken(parcels) = machine.offer(1, &[share(Place::At(0), 0..10, 100)], Duration::ZERO) else {
        panic!("an empty window takes a batch")
    };
    let refused = || Err(Fault::Topic { reason: TopicFault::NotAuthorized, message: Arc::from("no") });
    machine.report(0, parcels[0], 0..10, refused(), Duration::ZERO);
    actions(&mut machine);
    let mut now = Duration::ZERO;
    let mut waits = Vec::new();
    while waits.len() < 8 {
        let since = now;
        loop {
            now += Duration::from_millis(100);
            machine.tick(now);
            let probes = actions(&mut machine);
            if let Some(Action::Produce { records, .. }) = probes.first() {
                assert_eq!(*records, 0..1);
                break;
            }
        }
        waits.push((now - since).as_secs_f64().round() as u64);
        machine.report(0, parcels[0], 0..1, refused(), now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    now += Duration::from_secs(60);
    machine.tick(now);
    machine.report(0, parcels[0], 0..1, Ok(()), now);
    let rest = actions(&mut machine);
    assert!(
        rest.iter().any(|action| matches!(action, Action::Produce { records, .. } if *records == (1..10))),
        "{rest:?}"
    );
}

/// Scenario: a topic is created anew with fewer partitions. Guarantee: what waits for a partition that is gone is read again
/// from its source.
#[test]
fn records_of_a_partition_that_is_gone_are_abandoned() {
    let mut machine = known();
    let Offered::Taken(parcels) = machine.offer(1, &[share(Place::At(2), 0..10, 100)], Duration::ZERO) else {
        panic!("an empty window takes a batch")
    };
    let gone = Err(Fault::Topic { reason: TopicFault::PartitionGone, message: Arc::from("gone") });
    machine.report(0, parcels[0], 0..10, gone, Duration::ZERO);
    machine.topic(&topic(), Ok(2), Duration::ZERO);
    let settled = actions(&mut machine);
    assert!(settled.contains(&Action::Settle { parcel: parcels[0], how: Settled::Abandoned }), "{settled:?}");
    assert!(machine.is_idle());
}

/// Scenario: many narrow batches and one over all lanes wait for the window. Guarantee: who came first is woken first, and
/// the credit that it waits for is not given to those behind it.
#[test]
fn a_wide_batch_does_not_starve() {
    let mut machine = known();
    let narrow = |partition| [share(Place::At(partition), 0..1, 500)];
    let mut in_flight = Vec::new();
    for partition in (0..3).cycle().take(12) {
        if let Offered::Taken(parcels) = machine.offer(in_flight.len() as u64, &narrow(partition), Duration::ZERO) {
            in_flight.extend(parcels);
        }
    }
    let wide: Vec<Share> = (0..3).map(|partition| share(Place::At(partition), 0..1, 400)).collect();
    assert!(matches!(machine.offer(100, &wide, Duration::ZERO), Offered::Held(_)));
    let mut woken = false;
    for parcel in in_flight {
        machine.report(0, parcel, 0..1, Ok(()), Duration::ZERO);
        woken |= actions(&mut machine).contains(&Action::Wake(100));
    }
    assert!(woken, "everything was acknowledged, so there is room");
    assert!(matches!(machine.offer(100, &wide, Duration::ZERO), Offered::Taken(_)));
}
