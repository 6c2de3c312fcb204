//! The spool of the model: the real log on a disk that loses what was not synced, and beside it what the world knows of it.
//!
//! What the spool's thread does is done here one step at a time, so that anything may happen between two of them: what the
//! machine says of frames waits while a frame is on its way from the disk to the machine.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logferry::batch::{Encoded, LaneKey, NONE, Position, Record, SourceKey};
use logferry::budget::Budget;
use logferry::deliver::spill::Trouble;
use logferry::disk::sim::SimDisk;
use logferry::output::Parcel;
use logferry::spool::{self, AppendError, FrameId, NewFrame, Options, Recovered};

use crate::broker::Line;
use crate::random::Random;

const DIR: &str = "/data/spool/main";
const SEGMENT_BYTES: u64 = 4096;
const ROOMY: u64 = 1 << 20;
/// More calls than a step makes.
const CALLS: u64 = 40;

/// What is to be written.
pub struct Job {
    pub parcel: Parcel,
    pub frame: Frame,
}

/// A parcel in the log, less what was done when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub lane: LaneKey,
    pub source: usize,
    /// Each line and its bytes.
    pub lines: Vec<(Line, u64)>,
}

/// What the machine said of frames.
pub enum Mark {
    Done(LaneKey, FrameId),
    Unread(LaneKey, FrameId),
    Again(LaneKey),
}

/// The log.
pub struct Log {
    disk: SimDisk,
    log: spool::Log,
    options: Options,
    pub queue: VecDeque<Job>,
    pub marks: Vec<Mark>,
    /// Read, and not handed over yet.
    pub on_its_way: Option<(FrameId, Frame)>,
    /// Those that count as durable, are not done, and are known to the world.
    pub frames: BTreeMap<FrameId, Frame>,
    pub trouble: Option<Trouble>,
    /// The disk has failed: after that even what was cut off may be there again, in pieces.
    has_failed: bool,
}

impl Log {
    pub fn new(seed: u64, segments: u64) -> Self {
        let options = Options { segment_bytes: SEGMENT_BYTES, max_bytes: segments * SEGMENT_BYTES, clock: None };
        let disk = SimDisk::new(seed, ROOMY);
        let (log, _) = open(&disk, options);
        Self {
            disk,
            log,
            options,
            queue: VecDeque::new(),
            marks: Vec::new(),
            on_its_way: None,
            frames: BTreeMap::new(),
            trouble: None,
            has_failed: false,
        }
    }

    /// Makes the first `count` jobs durable, all of them or none; their frames.
    pub fn write(
        &mut self,
        count: usize,
        partitions: &HashMap<Arc<str>, u32>,
        now_ms: u64,
    ) -> Result<Vec<(Job, FrameId)>, AppendError> {
        self.mark();
        let group = self.queue.range(..count);
        for topic in group.clone().map(|job| &job.frame.lane.topic) {
            if let Some(count) = partitions.get(topic) {
                self.log.set_partitions(topic, *count);
            }
        }
        let encoded: Vec<Encoded> = group.clone().map(|job| job.frame.encoded()).collect();
        let new = |(job, encoded): (&'_ Job, _)| -> (LaneKey, SourceKey, _) {
            (job.frame.lane.clone(), SourceKey(job.frame.source as u64), encoded)
        };
        let parts: Vec<(LaneKey, SourceKey, &Encoded)> = group.zip(&encoded).map(new).collect();
        let frames: Vec<NewFrame<'_>> = parts
            .iter()
            .map(|(lane, source, encoded)| NewFrame {
                lane,
                source: *source,
                resume: Position::default(),
                encoded,
                records: 0..encoded.records.len() as u32,
                skip: &[],
            })
            .collect();
        let ids = self.log.append(&frames, now_ms)?;
        drop(frames);
        self.trouble = None;
        let written: Vec<(Job, FrameId)> = self.queue.drain(..count).zip(ids).collect();
        self.frames.extend(written.iter().map(|(job, id)| (*id, job.frame.clone())));
        Ok(written)
    }

    /// What was said of frames reaches the log.
    pub fn mark(&mut self) {
        for mark in self.marks.drain(..) {
            match mark {
                Mark::Done(lane, frame) => self.log.done(&lane, frame),
                Mark::Unread(lane, frame) => self.log.unread(&lane, frame),
                Mark::Again(lane) => self.log.again(&lane),
            }
        }
    }

    /// The next frame that `judge` takes; `None` also if the disk fails.
    pub fn next(&mut self, judge: &mut dyn FnMut(&spool::Meta) -> spool::Turn) -> io::Result<Option<(FrameId, Frame)>> {
        let Some(spool::Frame { meta, content }) = self.log.next(judge)? else { return Ok(None) };
        let line = |record: &Record| line_of(record.value_in(&content.buf));
        let lines = content.records.iter().map(line).collect();
        let frame = Frame { lane: meta.lane, source: meta.source.0 as usize, lines };
        let known = self.frames.entry(meta.id).or_insert_with(|| frame.clone());
        assert_eq!(*known, frame, "it is read as it was written");
        Ok(Some((meta.id, frame)))
    }

    pub fn has_unread(&self, lane: &LaneKey) -> bool {
        self.log.has_unread(lane)
    }

    pub fn holds_too_much(&self, lane: &LaneKey) -> bool {
        self.log.holds_too_much(lane)
    }

    pub fn tick(&mut self, now: Duration) {
        self.mark();
        // Whatever it could not do it tries again.
        drop(self.log.tick(now));
        assert_eq!(self.log.take_lost(), [], "nobody deletes anything");
    }

    pub fn room(&self) -> u64 {
        self.log.room()
    }

    pub fn has(&self, line: Line) -> bool {
        self.frames.values().any(|frame| frame.lines.iter().any(|(other, _)| *other == line))
    }

    /// The disk begins to fail, fills up, or is well again.
    pub fn change_disk(&mut self, random: &mut Random) {
        let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied];
        let (kind, after) = (kinds[random.index(kinds.len())], random.below(12));
        self.has_failed = true;
        match random.below(6) {
            0 | 1 => self.disk.fail_after(after, kind),
            2 => (after..after + random.below(CALLS)).for_each(|call| self.disk.fail_after(call, kind)),
            3 => self.disk.set_capacity_bytes(self.disk.used_bytes() + random.below(6_000)),
            _ => self.heal(),
        }
    }

    pub fn heal(&mut self) {
        self.disk.heal();
        self.disk.set_capacity_bytes(ROOMY);
    }

    /// The process died, or the power was cut, perhaps in the middle of a write: what was not written is gone. What is found
    /// at the next start.
    pub fn crash(&mut self, random: &mut Random, now_ms: u64) -> Recovered {
        if random.chance(50) {
            if random.chance(50) {
                self.has_failed = true;
                let after = random.below(6);
                (after..after + CALLS).for_each(|call| self.disk.fail_after(call, io::ErrorKind::Other));
                // Frames that are written half, and whole ones that nobody hears of.
                let count = random.index(self.queue.len() + 1);
                drop(self.write(count, &HashMap::new(), now_ms));
                drop(self.log.tick(Duration::from_millis(random.below(10_000))));
            }
            self.disk.crash();
        }
        self.heal();
        self.queue.clear();
        self.marks.clear();
        (self.on_its_way, self.trouble) = (None, None);
        let (log, recovered) = open(&self.disk, self.options);
        self.log = log;
        assert!(self.has_failed || recovered.damaged_frames == 0, "nothing that was synced was changed");
        recovered
    }
}

impl Frame {
    fn encoded(&self) -> Encoded {
        let (mut buf, mut records) = (Vec::new(), Vec::new());
        for ((source, number), bytes) in &self.lines {
            let value_start = buf.len() as u32;
            buf.extend_from_slice(format!("{source} {number} {bytes} ").as_bytes());
            // No shorter than it says; a line of a few bytes is a little longer here.
            buf.resize(buf.len().max(value_start as usize + *bytes as usize), b'x');
            records.push(Record {
                value_start,
                value_len: buf.len() as u32 - value_start,
                key_start: NONE,
                key_len: 0,
                timestamp_ms: 1,
                headers: NONE,
                offset: u64::from(*number),
            });
        }
        let permit = Budget::new(usize::MAX).try_take(0).expect("nothing is taken");
        let (source, resume) = (SourceKey(self.source as u64), Position::default());
        Encoded { buf, records, headers: Vec::new(), shares: Vec::new(), source, resume, permit }
    }
}

/// The line that a record is, and its bytes.
fn line_of(value: &[u8]) -> (Line, u64) {
    let text = std::str::from_utf8(value).expect("as it was written");
    let mut words = text.split(' ').map(|word| word.parse::<u64>().ok());
    let mut number = || words.next().flatten().expect("three numbers");
    let line = (number() as usize, number() as u32);
    (line, number())
}

fn open(disk: &SimDisk, options: Options) -> (spool::Log, Recovered) {
    spool::Log::open(Arc::new(disk.clone()), Path::new(DIR), options, 1).expect("a healthy disk")
}
