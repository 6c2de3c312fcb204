//! A spool as the machine sees it: frames that survive crashes, a writer that is late or fails, one reader in the order of
//! the log.

use std::collections::{BTreeMap, HashMap, VecDeque};

use logferry::batch::LaneKey;
use logferry::output::Parcel;
use logferry::spool::FrameId;

use crate::broker::Line;

/// What is to be written.
pub struct Job {
    pub parcel: Parcel,
    pub frame: Frame,
}

/// A parcel in the log, less what was done when it was written.
#[derive(Clone)]
pub struct Frame {
    pub lane: LaneKey,
    pub source: usize,
    pub lines: Vec<Line>,
    pub bytes: u64,
}

/// The log.
pub struct Log {
    pub queue: VecDeque<Job>,
    pub frames: BTreeMap<FrameId, Frame>,
    next: u64,
    /// The reader has met everything before.
    pub position: FrameId,
    pub skipped: HashMap<LaneKey, FrameId>,
    /// Bytes that fit.
    pub bytes_max: u64,
    pub broken: bool,
}

impl Log {
    pub fn new(bytes_max: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            frames: BTreeMap::new(),
            next: 0,
            position: FrameId(0),
            skipped: HashMap::new(),
            bytes_max,
            broken: false,
        }
    }

    /// Makes the next job durable.
    pub fn write(&mut self) -> Option<(Parcel, LaneKey, FrameId)> {
        let job = self.queue.pop_front()?;
        let id = FrameId(self.next);
        self.next += 1;
        let lane = job.frame.lane.clone();
        self.frames.insert(id, job.frame);
        Some((job.parcel, lane, id))
    }

    pub fn room(&self) -> u64 {
        let used: u64 = self.frames.values().map(|frame| frame.bytes).sum();
        self.bytes_max.saturating_sub(used)
    }

    pub fn has(&self, line: Line) -> bool {
        self.frames.values().any(|frame| frame.lines.contains(&line))
    }

    /// The lane flows again.
    pub fn again(&mut self, lane: &LaneKey) {
        if let Some(at) = self.skipped.remove(lane) {
            self.position = self.position.min(at);
        }
    }

    /// Frames by lane.
    pub fn lanes(&self) -> Vec<(LaneKey, u64)> {
        let mut lanes: BTreeMap<LaneKey, u64> = BTreeMap::new();
        self.frames.values().for_each(|frame| *lanes.entry(frame.lane.clone()).or_default() += 1);
        lanes.into_iter().collect()
    }

    /// The process died: what was not written is gone, the reader starts over.
    pub fn crash(&mut self) {
        self.queue.clear();
        self.skipped.clear();
        self.position = FrameId(0);
    }
}
