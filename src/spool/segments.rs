//! The segments of a log as numbers: how long they are, and what of which lane is alive in them. No I/O.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::lanes::Size;

/// Frames that are alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub frames: u64,
    pub records: u64,
    pub bytes: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.frames += other.frames;
        self.records += other.records;
        self.bytes += other.bytes;
    }

    /// Takes away what may have been estimated.
    pub fn take(&mut self, other: Tally) {
        self.frames = self.frames.saturating_sub(other.frames);
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// What a segment holds of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The highest id, dead or alive.
    pub last_id: u64,
    /// When the first live frame was written.
    pub oldest_ms: u64,
    pub live: Tally,
}

pub(super) struct Segment {
    pub number: u64,
    /// The part of the file that counts, in bytes.
    pub len: u64,
    /// No frame in it has a smaller id, none in the segments before has one that is not.
    pub first_id: u64,
    /// [`Segment::first_id`] - 1 if it has no frames.
    pub last_id: u64,
    pub parts: HashMap<u32, Part>,
    pub live: Tally,
    /// Changes with a rewriting: offsets are others.
    pub generation: u32,
    /// What it had when it was last rewritten without success, or there was nothing to win.
    pub left_at_bytes: u64,
    /// Where damage was found: it is counted once.
    pub damaged_at: BTreeSet<u64>,
    /// Frames were acknowledged whose sizes are not known: what is left is a guess.
    pub is_guessed: bool,
}

impl Segment {
    pub fn new(number: u64, first_id: u64) -> Self {
        Self {
            number,
            len: 0,
            first_id,
            last_id: first_id - 1,
            parts: HashMap::new(),
            live: Tally::default(),
            generation: 0,
            left_at_bytes: u64::MAX,
            damaged_at: BTreeSet::new(),
            is_guessed: false,
        }
    }

    /// Counts a frame. Whether the lane is new here.
    pub fn count(&mut self, lane: u32, id: u64, written_ms: u64, size: Size, live: bool) -> bool {
        let mut new = false;
        let part = self.parts.entry(lane).or_insert_with(|| {
            new = true;
            Part { last_id: id, oldest_ms: u64::MAX, live: Tally::default() }
        });
        part.last_id = part.last_id.max(id);
        self.last_id = self.last_id.max(id);
        if live {
            let tally = Tally { frames: 1, records: size.records.into(), bytes: size.bytes };
            part.live.add(tally);
            part.oldest_ms = part.oldest_ms.min(written_ms);
            self.live.add(tally);
        }
        new
    }

    /// A frame of the lane is acknowledged. What goes off; an unknown size is taken for the average.
    pub fn bury(&mut self, lane: u32, size: Option<Size>) -> Tally {
        let Some(part) = self.parts.get_mut(&lane) else { return Tally::default() };
        let live = part.live;
        let gone = match size {
            _ if live.frames <= 1 => live,
            Some(size) => Tally {
                frames: 1,
                records: u64::from(size.records).min(live.records),
                bytes: size.bytes.min(live.bytes),
            },
            None => {
                self.is_guessed = true;
                Tally { frames: 1, records: live.records / live.frames, bytes: live.bytes / live.frames }
            }
        };
        part.live.take(gone);
        self.live.take(gone);
        gone
    }

    pub fn oldest_ms(&self) -> Option<u64> {
        self.parts.values().filter(|part| part.live.frames > 0).map(|part| part.oldest_ms).min()
    }
}

/// The path of a segment.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.seg"))
}

/// Where a segment is rewritten.
pub(super) fn temporary_path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.tmp"))
}

/// What no log ever comes to: a file with a higher number is none of ours, and no number can overflow.
const NUMBER_MAX: u64 = u64::MAX >> 1;

/// The number of the segment of this name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| (1..=NUMBER_MAX).contains(number))
}
