//! Which frames of which lane are acknowledged, in memory, and have been met by the reader. Pure bookkeeping.
//!
//! The reader meets the frames of a lane in order, so all that were met and are not held in memory are acknowledged: what is
//! kept are the exceptions, which the owner's window bounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Topic;
use super::frame::Cursor;
use super::segments::Tally;
use crate::batch::LaneKey;

/// What a frame counts for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub records: u32,
    pub bytes: u64,
}

/// Where the reader left a frame: a hint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    pub id: u64,
    pub segment: u64,
    pub generation: u32,
    pub offset: u64,
}

pub(super) struct Lane {
    pub key: LaneKey,
    /// The reader has met all frames below this (and, if the lane is not skipped, below its own position).
    pub next: u64,
    /// The reader passes over the lane.
    pub skipped: bool,
    /// It is to stop doing so, at the next read.
    pub wanted: bool,
    /// The first frame that was skipped.
    pub hint: Option<Hint>,
    /// Met, and in the owner's memory.
    pub out: BTreeMap<u64, Size>,
    /// Met, but not in memory any more: to be met again.
    pub reread: BTreeMap<u64, Size>,
    /// Acknowledged and not met. Ids of appends that failed are here too.
    pub ahead: BTreeSet<u64>,
    /// The highest id acknowledged.
    acked_max: u64,
    /// The highest id appended.
    pub last_id: u64,
    /// Not acknowledged, over all segments.
    pub live: Tally,
    /// Segments that hold frames of it, dead or alive.
    pub segments: u32,
    /// Changed since the last cursors.
    pub dirty: bool,
}

impl Lane {
    fn new(key: LaneKey, next: u64) -> Self {
        Self {
            key,
            next,
            skipped: false,
            wanted: false,
            hint: None,
            out: BTreeMap::new(),
            reread: BTreeMap::new(),
            ahead: BTreeSet::new(),
            acked_max: 0,
            last_id: 0,
            live: Tally::default(),
            segments: 0,
            dirty: false,
        }
    }

    /// All frames below this have been met. `pos`: the reader's.
    pub fn met_below(&self, pos: u64) -> u64 {
        if self.skipped { self.next } else { self.next.max(pos) }
    }

    /// What recovery found in the cursors.
    pub fn resume(&mut self, cursor: &Cursor) {
        self.next = cursor.below;
        self.reread = cursor.unacked.iter().map(|id| (*id, Size::default())).collect();
        self.ahead = cursor.acked.iter().copied().collect();
        self.acked_max = cursor.acked.last().copied().unwrap_or(0).max(cursor.below.saturating_sub(1));
    }

    /// The frame, which is not whole or not told of, counts as acknowledged for ever.
    pub fn disown(&mut self, id: u64) {
        self.ahead.insert(id);
        self.acked_max = self.acked_max.max(id);
        self.dirty = true;
    }

    pub fn is_live(&self, id: u64, pos: u64) -> bool {
        if id < self.met_below(pos) {
            self.out.contains_key(&id) || self.reread.contains_key(&id)
        } else {
            !self.ahead.contains(&id)
        }
    }

    /// The first id that the reader may have to go back to.
    pub fn first_unread(&self, pos: u64) -> u64 {
        let next = self.met_below(pos);
        self.reread.keys().next().map_or(next, |first| next.min(*first))
    }

    /// Whether the reader has frames of it ahead.
    pub fn has_unread(&self, pos: u64) -> bool {
        !self.reread.is_empty() || (self.last_id >= self.met_below(pos) && self.live.frames > self.out.len() as u64)
    }

    /// The reader's position is about to change: remembers what it has met.
    pub fn settle_next(&mut self, pos: u64) {
        self.next = self.met_below(pos);
        self.ahead = self.ahead.split_off(&self.next);
    }

    /// Marks the frame as acknowledged. `None` if it was before, or is not known; `Some(None)`: its size is not known.
    pub fn done(&mut self, id: u64, pos: u64) -> Option<Option<Size>> {
        let size = if let Some(size) = self.out.remove(&id).or_else(|| self.reread.remove(&id)) {
            Some(size)
        } else if id >= self.met_below(pos) && id <= self.last_id && self.ahead.insert(id) {
            None
        } else {
            return None;
        };
        self.acked_max = self.acked_max.max(id);
        self.dirty = true;
        Some(size)
    }

    /// The frame is not in memory any more. Whether the reader must meet it again.
    pub fn unread(&mut self, id: u64, pos: u64) -> bool {
        let Some(size) = self.out.remove(&id) else { return false };
        self.reread.insert(id, size);
        if !self.skipped {
            self.settle_next(pos);
            (self.skipped, self.wanted) = (true, true);
        }
        self.hint = None;
        // The usual case, a lane that failed: all from here on is to be met again.
        if let Some((first, _)) = self.reread.first_key_value()
            && self.out.is_empty()
            && *first > self.acked_max
        {
            self.next = self.next.min(*first);
            self.reread.clear();
        }
        true
    }

    pub fn cursor(&self, pos: u64) -> Cursor {
        let below = self.met_below(pos);
        let mut unacked: Vec<u64> = self.out.keys().chain(self.reread.keys()).copied().collect();
        unacked.sort_unstable();
        // A frame that the owner has kept while the position went back behind it is simply not acknowledged.
        unacked.retain(|id| *id < below);
        Cursor { below, unacked, acked: self.ahead.range(below..).copied().collect() }
    }
}

/// The lanes of a log, by small numbers.
#[derive(Default)]
pub(super) struct Lanes {
    numbers: HashMap<Topic, BTreeMap<i32, u32>>,
    slots: Vec<Option<Lane>>,
    free: Vec<u32>,
}

impl Lanes {
    pub fn find(&self, topic: &str, partition: i32) -> Option<u32> {
        self.numbers.get(topic)?.get(&partition).copied()
    }

    pub fn number_of(&self, key: &LaneKey) -> Option<u32> {
        self.find(&key.topic, key.partition)
    }

    /// The lane's number; if it is new, `first_id` is the id of its first frame.
    pub fn number_or_new(&mut self, topic: &str, partition: i32, first_id: u64) -> u32 {
        if let Some(number) = self.find(topic, partition) {
            return number;
        }
        let topic: Topic = match self.numbers.get_key_value(topic) {
            Some((known, _)) => Topic::clone(known),
            None => topic.into(),
        };
        let lane = Lane::new(LaneKey { topic: Topic::clone(&topic), partition }, first_id);
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("lanes are fewer than frames in memory")
            }
        };
        self.slots[number as usize] = Some(lane);
        self.numbers.entry(topic).or_default().insert(partition, number);
        number
    }

    pub fn get(&self, number: u32) -> &Lane {
        self.slots[number as usize].as_ref().expect("a number in use has its lane")
    }

    pub fn get_mut(&mut self, number: u32) -> &mut Lane {
        self.slots[number as usize].as_mut().expect("a number in use has its lane")
    }

    /// A segment with frames of the lane is gone; a lane without segments is forgotten.
    pub fn release(&mut self, number: u32) {
        let lane = self.get_mut(number);
        lane.segments -= 1;
        if lane.segments > 0 {
            return;
        }
        if let Some(lane) = self.slots[number as usize].take()
            && let Some(partitions) = self.numbers.get_mut(&lane.key.topic)
        {
            partitions.remove(&lane.key.partition);
            if partitions.is_empty() {
                self.numbers.remove(&lane.key.topic);
            }
        }
        self.free.push(number);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.slots.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        self.slots.iter_mut().flatten()
    }
}
