//! The spool against a plain list, on a disk that loses what was not synced.
//!
//! The model knows which frames were appended, and which of those are acknowledged, given up or in memory. Failures may
//! come at any call of the disk, and a crash at any call or between; what the log may do about them is little: repeat.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logferry::batch::{Encoded, LaneKey, NONE, Position, Record, SourceKey};
use logferry::budget::Budget;
use logferry::disk::sim::SimDisk;
use logferry::spool::{Frame, FrameId, Log, Meta, NewFrame, Options, Turn};

use crate::random::Random;
use crate::seeds::for_seeds;

const DIR: &str = "/data/spool/main";
const OPTIONS: Options = Options { segment_bytes: 4096, max_bytes: 64 << 10, clock: None };
const ROOMY: u64 = 1 << 20;
const LANES: u64 = 4;

/// A frame as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// On disk, to be met by the reader.
    Unread,
    /// In the owner's memory.
    Held,
    Done,
    Dropped,
}

struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    log: Log,
    /// What each frame says, by id, and what became of it. Appended, or found after a crash.
    frames: BTreeMap<u64, (u64, String, State)>,
    /// What was ever given to the log.
    given: BTreeSet<String>,
    waiting: BTreeSet<u64>,
    seconds: u64,
    said: u64,
    /// Something that the log wanted of the disk has failed in this life, or has left its trace in an earlier one.
    has_failed: bool,
}

fn key(lane: u64) -> LaneKey {
    LaneKey { topic: format!("topic-{}", lane / 2).into(), partition: lane as i32 % 2 }
}

fn lane_of(key: &LaneKey) -> u64 {
    (0..LANES).find(|lane| self::key(*lane) == *key).expect("only these lanes are written")
}

/// The log, and how many frames it counts as damaged.
fn open(disk: &SimDisk) -> (Log, u64) {
    let opened = Log::open(Arc::new(disk.clone()), Path::new(DIR), OPTIONS, 1);
    opened.map(|(log, recovered)| (log, recovered.damaged_frames)).expect("a healthy disk")
}

fn encoded(values: &[String]) -> Encoded {
    let permit = Budget::new(usize::MAX).try_take(0).expect("nothing is taken");
    let (mut buf, mut records) = (Vec::new(), Vec::new());
    for value in values {
        let (value_start, value_len) = (buf.len() as u32, value.len() as u32);
        let offset = value_start.into();
        records.push(Record {
            value_start,
            value_len,
            key_start: NONE,
            key_len: 0,
            timestamp_ms: 1,
            headers: NONE,
            offset,
        });
        buf.extend_from_slice(value.as_bytes());
    }
    Encoded {
        buf,
        records,
        headers: Vec::new(),
        shares: Vec::new(),
        source: SourceKey(1),
        resume: Position::default(),
        permit,
    }
}

fn said_by(frame: &Frame) -> String {
    let values: Vec<&[u8]> = frame.content.records.iter().map(|record| record.value_in(&frame.content.buf)).collect();
    String::from_utf8(values.concat()).expect("as it was written")
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed, ROOMY);
        let (log, _) = open(&disk);
        let random = Random::new(seed);
        let (frames, given, waiting) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { seed, random, disk, log, frames, given, waiting, seconds: 0, said: 0, has_failed: false }
    }

    fn act(&mut self) {
        match self.random.below(20) {
            0..=5 => self.append(),
            6..=8 => self.read(5),
            9..=11 => self.acknowledge(),
            12 => self.give_back(),
            13 => {
                let lane = self.random.below(LANES);
                if self.waiting.remove(&lane) {
                    self.log.again(&key(lane));
                } else {
                    self.waiting.insert(lane);
                }
            }
            14..=16 => self.tick(),
            17 => self.log.set_partitions(&key(self.random.below(LANES)).topic, self.random.below(9) as u32 + 1),
            18 if self.random.chance(30) => self.drop_oldest(),
            _ => {}
        }
        let live = self.frames.values().filter(|(.., state)| matches!(state, State::Unread | State::Held)).count();
        assert_eq!(self.log.stats().live_frames, live as u64, "seed {}", self.seed);
    }

    fn append(&mut self) {
        let count = 1 + self.random.below(4);
        let lanes: Vec<LaneKey> = (0..count).map(|_| key(self.random.below(LANES))).collect();
        let mut values = Vec::new();
        for _ in 0..count {
            self.said += 1;
            let filler = "x".repeat(self.random.below(900) as usize);
            values.push(format!("{}:{filler}", self.said));
        }
        self.given.extend(values.iter().cloned());
        let encoded = encoded(&values);
        let resume = Position { offset: 1, check: 2 };
        let new = |(index, lane)| NewFrame {
            lane,
            source: SourceKey(1),
            resume,
            encoded: &encoded,
            records: index..index + 1,
            skip: &[],
        };
        let frames: Vec<NewFrame<'_>> = (0u32..).zip(&lanes).map(new).collect();
        // Who is refused tries again, now or never.
        for _ in 0..1 + self.random.below(2) {
            if let Ok(ids) = self.log.append(&frames, 1) {
                for ((FrameId(id), lane), value) in ids.into_iter().zip(&lanes).zip(&values) {
                    let last = self.frames.last_key_value().map_or(0, |(last, _)| *last);
                    assert!(id > last, "seed {}: id {id} after {last}", self.seed);
                    self.frames.insert(id, (lane_of(lane), value.clone(), State::Unread));
                }
                return;
            }
            self.has_failed = true;
        }
    }

    /// The frame that the reader must meet first of those in this lane.
    fn expected(&self, lane: u64) -> Option<u64> {
        let of_lane = |(_, (of, _, state)): &(&u64, &(u64, String, State))| *of == lane && *state == State::Unread;
        self.frames.iter().find(of_lane).map(|(id, _)| *id)
    }

    fn read(&mut self, max: u64) {
        for _ in 0..max {
            let (frames, waiting) = (&self.frames, &self.waiting);
            let mut judge = |meta: &Meta| match frames.get(&meta.id.0) {
                Some((.., State::Held)) => Turn::Have,
                _ if waiting.contains(&lane_of(&meta.lane)) => Turn::Skip,
                _ => Turn::Take,
            };
            let Ok(frame) = self.log.next(&mut judge) else { return };
            let Some(frame) = frame else {
                for lane in (0..LANES).filter(|lane| !self.waiting.contains(lane)) {
                    assert_eq!(self.expected(lane), None, "seed {}: lane {lane} was not read to its end", self.seed);
                    assert!(!self.log.has_unread(&key(lane)), "seed {}: lane {lane}", self.seed);
                }
                return;
            };
            let (id, lane) = (frame.meta.id.0, lane_of(&frame.meta.lane));
            assert_eq!(Some(id), self.expected(lane), "seed {}: out of order in lane {lane}", self.seed);
            let known = self.frames.get_mut(&id).expect("it was expected");
            assert_eq!((known.0, &known.1), (lane, &said_by(&frame)), "seed {}", self.seed);
            known.2 = State::Held;
        }
    }

    /// An id in this state, of those first in line or of any.
    fn some(&mut self, state: State) -> Option<u64> {
        let ids: Vec<u64> = self.frames.iter().filter(|(_, known)| known.2 == state).map(|(id, _)| *id).collect();
        let among = if self.random.chance(60) { ids.len().min(2) } else { ids.len() };
        ids.get(self.random.index(among)).copied()
    }

    fn acknowledge(&mut self) {
        for _ in 0..1 + self.random.below(6) {
            // Also of what the reader has not met: it was in flight when it was appended.
            let state = if self.random.chance(85) { State::Held } else { State::Unread };
            if let Some(id) = self.some(state) {
                let known = self.frames.get_mut(&id).expect("it was chosen from them");
                known.2 = State::Done;
                self.log.done(&key(known.0), FrameId(id));
            }
        }
    }

    fn give_back(&mut self) {
        // One frame, or all of a lane.
        let Some(id) = self.some(State::Held) else { return };
        let (lane, all) = (self.frames[&id].0, self.random.chance(50));
        for (other, known) in &mut self.frames {
            if known.0 == lane && known.2 == State::Held && (all || *other == id) {
                known.2 = State::Unread;
                self.log.unread(&key(lane), FrameId(*other));
            }
        }
    }

    fn tick(&mut self) {
        self.seconds += 1;
        self.has_failed |= self.log.tick(Duration::from_secs(self.seconds)).is_err();
    }

    fn drop_oldest(&mut self) {
        for dropped in self.log.drop_oldest().unwrap_or_default() {
            let lane = lane_of(&dropped.lane);
            let mut count = 0;
            for (_, known) in self.frames.range_mut(dropped.first_id.0..=dropped.last_id.0) {
                if known.0 == lane && matches!(known.2, State::Unread | State::Held) {
                    known.2 = State::Dropped;
                    count += 1;
                }
            }
            assert_eq!(count, dropped.frames, "seed {}", self.seed);
        }
    }

    /// Opens the log again and reads it to its end. `closed`: in order, so nothing may be repeated. Whether some of it is damaged.
    fn reopen(&mut self, closed: bool) -> bool {
        let damaged;
        (self.log, damaged) = open(&self.disk);
        // What was synced is never changed. But an append that failed leaves a part of a frame where its end could not be cut off, or
        // where a loss of power undid that: a start can't tell whether it was ever whole, and says so. It stays until its segment goes.
        assert!(self.has_failed || damaged == 0, "seed {}: {damaged} frames are damaged without a failure", self.seed);
        self.waiting.clear();
        let mut found = BTreeMap::new();
        let newest = self.frames.last_key_value().map_or(0, |(id, _)| *id);
        let mut last = BTreeMap::new();
        while let Some(frame) = self.log.next(&mut |_| Turn::Take).expect("a healthy disk") {
            let (id, lane, said) = (frame.meta.id.0, lane_of(&frame.meta.lane), said_by(&frame));
            assert!(last.insert(lane, id).is_none_or(|before| before < id), "seed {}: lane {lane}", self.seed);
            match self.frames.get(&id) {
                Some((of, what, state)) => {
                    assert_eq!((*of, what), (lane, &said), "seed {}: frame {id}", self.seed);
                    let again = matches!(state, State::Done | State::Dropped);
                    assert!(!(closed && again), "seed {}: frame {id} is repeated", self.seed);
                }
                None => {
                    assert!(self.given.contains(&said), "seed {}: frame {id} is invented", self.seed);
                    assert!(id > newest, "seed {}: ghost {id} before {newest}", self.seed);
                }
            }
            found.insert(id, (lane, said, State::Held));
        }
        for (id, (lane, _, state)) in &self.frames {
            let must_be_there = matches!(state, State::Unread | State::Held);
            assert!(!must_be_there || found.contains_key(id), "seed {}: frame {id} of lane {lane} is lost", self.seed);
        }
        for known in self.frames.values_mut() {
            if known.2 != State::Dropped {
                known.2 = State::Done;
            }
        }
        self.frames.extend(found);
        damaged > 0
    }

    fn crash(&mut self) {
        self.disk.crash();
        self.disk.set_capacity_bytes(ROOMY);
        // What is there now stays as it is. Without a loss of power, what an append that failed has left whole is not synced: the
        // next one may tear it.
        self.has_failed = self.reopen(false);
    }

    /// From some call on nothing reaches the disk; then the power goes.
    fn crash_within(&mut self) {
        let first = self.random.below(12);
        for later in 0..200 {
            self.disk.fail_after(first + later, io::ErrorKind::Other);
        }
        for _ in 0..1 + self.random.below(3) {
            self.act();
        }
        self.crash();
    }

    fn trouble(&mut self) {
        match self.random.below(10) {
            0 => self.crash(),
            1..=3 => self.crash_within(),
            4..=6 => {
                let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied];
                let kind = kinds[self.random.index(kinds.len())];
                self.disk.fail_after(self.random.below(15), kind);
            }
            7 => {
                let capacity_bytes = self.disk.used_bytes() + self.random.below(9000);
                self.disk.set_capacity_bytes(capacity_bytes);
            }
            8 => self.disk.set_capacity_bytes(ROOMY),
            _ => {
                self.disk.heal();
                self.disk.set_capacity_bytes(ROOMY);
                let log = std::mem::replace(&mut self.log, open(&SimDisk::new(0, ROOMY)).0);
                let closed = log.close().is_ok();
                self.has_failed |= self.reopen(closed);
            }
        }
    }

    /// With a healthy disk everything can be read and acknowledged, and its space comes back.
    fn end(&mut self) {
        self.disk.heal();
        self.disk.set_capacity_bytes(ROOMY);
        for lane in std::mem::take(&mut self.waiting) {
            self.log.again(&key(lane));
        }
        self.read(u64::MAX);
        let held: Vec<(u64, u64)> =
            self.frames.iter().filter(|(_, known)| known.2 == State::Held).map(|(id, known)| (*id, known.0)).collect();
        for (id, lane) in held {
            self.log.done(&key(lane), FrameId(id));
        }
        for _ in 0..3 {
            self.seconds += 1;
            self.log.tick(Duration::from_secs(self.seconds)).expect("a healthy disk");
        }
        let stats = self.log.stats();
        assert_eq!((stats.live_frames, stats.live_bytes), (0, 0), "seed {}", self.seed);
        assert!(stats.segments <= 1, "seed {}: {stats:?}", self.seed);
    }
}

/// Scenario: appends, reads, acknowledgements out of order, lanes that wait, and at any call of the disk an error, a full
/// disk or a loss of power, with torn writes, undone truncations and lost names. Guarantee: what was appended is there until
/// it is acknowledged or given up; each lane is read in order, each frame once a run; nothing is invented; what an append
/// that failed has left never appears once a later one has succeeded; a log closed in order repeats nothing.
#[test]
fn the_spool_agrees_with_a_plain_list() {
    for_seeds(150, |seed| {
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.act();
            if world.random.chance(6) {
                world.trouble();
            }
        }
        world.end();
    });
}
