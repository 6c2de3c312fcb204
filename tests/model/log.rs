//! The spool of the model: the real log on a disk that loses what was not synced, and beside it what the world knows of it.
//!
//! What the spool's thread does is done here one step at a time, so that anything may happen between two of them: what the
//! machine says of frames waits while a frame is on its way from the disk to the machine.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use logferry::batch::{Encoded, LaneKey, NONE, Position, Record, SourceKey};
use logferry::budget::Budget;
use logferry::deliver::spill::Trouble;
use logferry::disk::Disk;
use logferry::disk::sim::SimDisk;
use logferry::output::Parcel;
use logferry::spool::{self, AppendError, Dropped, FrameId, NewFrame, Options, Recovered, Turn};

use crate::broker::Line;
use crate::random::Random;

const DIR: &str = "/data/spool/main";
const SEGMENT_BYTES: u64 = 4096;
const ROOMY: u64 = 1 << 20;
/// More calls than a step makes.
const CALLS: u64 = 40;
/// What was acknowledged so long before the log's last chores is in its cursors.
const CURSORS_EVERY: Duration = Duration::from_secs(1);

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
    /// Those that count as durable, are not done, and were not given up.
    pub frames: BTreeMap<FrameId, Frame>,
    /// Those of them that a start has found, and that no append had promised: its fsync may have failed, and what is read is
    /// only in memory then. They prove nothing, and a power cut may take them.
    ghosts: BTreeSet<FrameId>,
    /// Those that were given up, and the machine has not heard of it.
    pub untold: BTreeSet<FrameId>,
    /// Lines of frames that are gone because the spool was full, or somebody removed it. They may come all the same: what was
    /// in memory is sent, and what was removed is there again if that was not synced.
    pub given_up: HashSet<Line>,
    pub trouble: Option<Trouble>,
    /// When the log heard of frames that they are done.
    done: BTreeMap<FrameId, Duration>,
    ticked_at: Duration,
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
            ghosts: BTreeSet::new(),
            untold: BTreeSet::new(),
            given_up: HashSet::new(),
            trouble: None,
            done: BTreeMap::new(),
            ticked_at: Duration::ZERO,
            has_failed: false,
        }
    }

    /// Makes the first `count` jobs durable, all of them or none; their frames.
    pub fn write(
        &mut self,
        count: usize,
        partitions: &HashMap<Arc<str>, u32>,
        now: Duration,
        now_ms: u64,
    ) -> Result<Vec<(Job, FrameId)>, AppendError> {
        self.mark(now);
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
    pub fn mark(&mut self, now: Duration) {
        for mark in self.marks.drain(..) {
            match mark {
                Mark::Done(lane, frame) => {
                    self.log.done(&lane, frame);
                    self.done.insert(frame, now);
                }
                Mark::Unread(lane, frame) => self.log.unread(&lane, frame),
                Mark::Again(lane) => self.log.again(&lane),
            }
        }
    }

    /// Frames of which something was said that the log has not heard.
    pub fn marked(&self) -> HashSet<FrameId> {
        let frame = |mark: &Mark| match mark {
            Mark::Done(_, frame) | Mark::Unread(_, frame) => Some(*frame),
            Mark::Again(_) => None,
        };
        self.marks.iter().filter_map(frame).collect()
    }

    /// The next frame that `judge` takes; `None` also if the disk fails.
    pub fn next(&mut self, judge: &mut dyn FnMut(&spool::Meta) -> spool::Turn) -> io::Result<Option<(FrameId, Frame)>> {
        let Some(frame) = self.log.next(judge)? else { return Ok(None) };
        let (id, frame) = known(frame);
        assert_eq!(self.frames.get(&id), Some(&frame), "it is read as it was written, and not after it was done");
        Ok(Some((id, frame)))
    }

    /// The spool is full, and its oldest frames go: which.
    pub fn drop_oldest(&mut self) -> Vec<Dropped> {
        let before = self.log.stats().dropped_records;
        let dropped = self.log.drop_oldest().unwrap_or_default();
        for one in &dropped {
            let records = self.forget(one);
            assert!(self.has_failed || records == one.records, "{records} records are gone, not {one:?}");
        }
        let counted = self.log.stats().dropped_records - before;
        assert_eq!(counted, dropped.iter().map(|one| one.records).sum::<u64>(), "what is dropped is counted");
        dropped
    }

    /// Somebody removes the directory, or one file in it.
    pub fn remove(&mut self, random: &mut Random) {
        let dir = Path::new(DIR);
        let names: Vec<String> = self.disk.list(dir).unwrap_or_default().into_iter().map(|entry| entry.name).collect();
        let removed = match names.get(random.index(2 * names.len())) {
            Some(name) => self.disk.remove(&dir.join(name)),
            None => self.disk.remove_tree(dir),
        };
        if removed.is_ok() {
            self.has_failed = true;
            self.given_up.extend(self.frames.values().flat_map(Frame::lines));
        }
    }

    /// The machine hears that these are gone: not those of which it has said meanwhile that they are done.
    pub fn tell_gone(&mut self, frames: &mut [Dropped]) {
        self.untold.clear();
        for mark in &self.marks {
            if let Mark::Done(lane, frame) = mark {
                frames.iter_mut().for_each(|one| one.acknowledged(lane, *frame));
            }
        }
    }

    /// Forgets what is gone; how many records that were known.
    fn forget(&mut self, gone: &Dropped) -> u64 {
        let is_gone = |(_, frame): &(&FrameId, &Frame)| frame.lane == gone.lane;
        let ids: Vec<FrameId> =
            self.frames.range(gone.first_id..=gone.last_id).filter(is_gone).map(|(id, _)| *id).collect();
        assert!(ids.len() as u64 <= gone.frames, "more is gone than is counted: {ids:?}, {gone:?}");
        self.untold.extend(&ids);
        let frames = ids.iter().filter_map(|id| self.frames.remove(id));
        let lines: Vec<Line> = frames.flat_map(|frame| frame.lines).map(|(line, _)| line).collect();
        self.given_up.extend(&lines);
        lines.len() as u64
    }

    pub fn has_unread(&self, lane: &LaneKey) -> bool {
        self.log.has_unread(lane)
    }

    pub fn holds_too_much(&self, lane: &LaneKey) -> bool {
        self.log.holds_too_much(lane)
    }

    /// What is found to be gone with files that somebody removed.
    pub fn tick(&mut self, now: Duration) -> Vec<Dropped> {
        self.mark(now);
        // Whatever it could not do it tries again.
        drop(self.log.tick(now));
        self.ticked_at = now;
        let lost = self.log.take_lost();
        for one in &lost {
            self.forget(one);
        }
        lost
    }

    pub fn room(&self) -> u64 {
        self.log.room()
    }

    pub fn has(&self, line: Line) -> bool {
        let promised = self.frames.iter().filter(|(id, _)| !self.ghosts.contains(id));
        self.given_up.contains(&line) || promised.flat_map(|(_, frame)| frame.lines()).any(|other| other == line)
    }

    /// All lines in the log, as often as they are in it.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        self.frames.values().flat_map(Frame::lines)
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
    /// at the next start: everything that counted as durable, and hardly anything that was done.
    pub fn crash(&mut self, random: &mut Random, now: Duration, now_ms: u64) -> Recovered {
        if random.chance(50) {
            if random.chance(50) {
                self.has_failed = true;
                let after = random.below(6);
                (after..after + CALLS).for_each(|call| self.disk.fail_after(call, io::ErrorKind::Other));
                // Frames that are written half, and whole ones that nobody hears of.
                let count = random.index(self.queue.len() + 1);
                drop(self.write(count, &HashMap::new(), now, now_ms));
                drop(self.log.tick(Duration::from_millis(random.below(10_000))));
            }
            self.disk.crash();
        }
        self.heal();
        self.queue.clear();
        self.marks.clear();
        self.untold.clear();
        (self.on_its_way, self.trouble) = (None, None);
        let (log, recovered) = open(&self.disk, self.options);
        self.log = log;
        assert!(self.has_failed || recovered.damaged_frames == 0, "nothing that was synced was changed");
        self.look();
        recovered
    }

    /// Compares what there is with what there was before a crash.
    fn look(&mut self) {
        // What the reader does here is no business of the log that goes on.
        let (mut log, recovered) = open(&self.disk.as_seen(), self.options);
        let mut found = BTreeMap::new();
        while let Some(frame) = log.next(&mut |_| Turn::Take).expect("a healthy disk") {
            found.extend([known(frame)]);
        }
        let is_given_up = |frame: &Frame| frame.lines().all(|line| self.given_up.contains(&line));
        for (id, frame) in &self.frames {
            let is_excused = self.ghosts.contains(id) || is_given_up(frame);
            assert!(found.get(id) == Some(frame) || is_excused, "{id:?} was durable and is lost: {frame:?}");
        }
        let counted: u64 = recovered.lanes.iter().map(|lane| lane.frames).sum();
        assert!(self.has_failed || counted == found.len() as u64, "{counted} frames are counted: {found:?}");
        for id in found.keys() {
            let done_at = self.done.get(id).filter(|_| !self.has_failed);
            let is_late = done_at.is_none_or(|at| *at + CURSORS_EVERY > self.ticked_at);
            assert!(is_late, "{id:?} was done at {done_at:?}, cursors were due until {:?}", self.ticked_at);
        }
        let was_promised = |id: &FrameId| self.frames.contains_key(id) && !self.ghosts.contains(id);
        self.ghosts = found.keys().filter(|id| !was_promised(id)).copied().collect();
        self.frames = found;
        self.done.clear();
        self.ticked_at = Duration::ZERO;
    }
}

impl Frame {
    fn lines(&self) -> impl Iterator<Item = Line> {
        self.lines.iter().map(|(line, _)| *line)
    }

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

/// A frame as it was read.
fn known(spool::Frame { meta, content }: spool::Frame) -> (FrameId, Frame) {
    let lines = content.records.iter().map(|record: &Record| line_of(record.value_in(&content.buf))).collect();
    (meta.id, Frame { lane: meta.lane, source: meta.source.0 as usize, lines })
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
