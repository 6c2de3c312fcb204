//! The log itself: appending, acknowledging, and what both need. Reading is in `reader`, giving space back in `upkeep`, the
//! start in `recover`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::frame::{self, BODY_BYTES_MAX, Cursors, Seat};
use super::lanes::{Lanes, Size};
use super::reader::Reader;
use super::segments::{Segment, Tally, path_of};
use super::upkeep::Dropped;
use super::{FSYNC_BUCKETS_MS, FrameId, LaneStats, NewFrame, Options, Stats, Topic};
use crate::batch::LaneKey;
use crate::disk::{Disk, DiskFile};

/// A buffer that grew over this for one group is not kept, and none that was not used for a while: a group of 4 MiB, the last
/// batch of it and their heads fit, so that a stream of them asks the system for no memory.
const BUF_BYTES_KEPT: usize = 6 << 20;

/// The log of one output.
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    /// Ascending, by number and by ids.
    pub(super) segments: Vec<Segment>,
    /// The last segment, if it may still be written.
    pub(super) current: Option<Current>,
    pub(super) lanes: Lanes,
    pub(super) partitions: BTreeMap<Topic, u32>,
    pub(super) partitions_dirty: bool,
    /// What the next frame gets; ids of appends that failed are not used again.
    pub(super) next_id: u64,
    /// What the next segment gets; never used twice either.
    pub(super) next_number: u64,
    pub(super) reader: Reader,
    /// The spare segment is there.
    pub(super) spare: bool,
    /// Frames on their way to the disk.
    pub(super) buf: Vec<u8>,
    pub(super) buf_is_used: bool,
    /// Acknowledged since the last cursors, in bytes.
    pub(super) acked_bytes: u64,
    pub(super) cursors_dirty: bool,
    pub(super) cursors_at: Option<Duration>,
    /// What the last segment began with, in bytes.
    opening_bytes: u64,
    pub(super) lost: Vec<Dropped>,
    /// Files that could not be removed yet.
    pub(super) garbage: Vec<PathBuf>,
    /// Without the parts that are found by looking.
    pub(super) totals: Stats,
}

/// The segment that is being written.
pub(super) struct Current {
    pub file: Box<dyn DiskFile>,
    /// There is nothing in it but what it opened with.
    pub fresh: bool,
}

/// Why frames were not appended. None of them counts; the same call may be repeated, and goes to a new segment.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// `spool.max_bytes` is reached.
    #[error(
        "the spool {} is full: {needed_bytes} bytes more would pass spool.max_bytes ({max_bytes}); it empties when Kafka takes \
         records again, or raise spool.max_bytes",
        dir.display()
    )]
    Full { dir: PathBuf, needed_bytes: u64, max_bytes: u64 },
    /// The disk is full, or the quota used up.
    #[error("the disk of the spool {} is full: {source}; make room on it, or move data_dir to a larger one", dir.display())]
    DiskFull { dir: PathBuf, source: io::Error },
    /// A frame is longer than the format allows.
    #[error(
        "a batch of {bytes} bytes does not fit into a spool frame, which holds {BODY_BYTES_MAX}; lower batch sizes"
    )]
    TooLarge { bytes: u64 },
    /// The disk or the system refused.
    #[error("the spool {} can't be written: {source}; it is tried again", dir.display())]
    Io { dir: PathBuf, source: io::Error },
}

impl AppendError {
    /// Whether `when_full` applies.
    pub fn is_full(&self) -> bool {
        matches!(self, AppendError::Full { .. } | AppendError::DiskFull { .. })
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Log {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            options,
            segments: Vec::new(),
            current: None,
            lanes: Lanes::default(),
            partitions: BTreeMap::new(),
            partitions_dirty: false,
            next_id: 1,
            next_number: 1,
            reader: Reader::default(),
            spare: false,
            buf: Vec::new(),
            buf_is_used: false,
            acked_bytes: 0,
            cursors_dirty: false,
            cursors_at: None,
            opening_bytes: 0,
            lost: Vec::new(),
            garbage: Vec::new(),
            totals: Stats::default(),
        }
    }

    /// Writes the frames, in this order, and fsyncs once (and the directory, if the segment is new). `now_ms`: since the epoch.
    ///
    /// # Errors
    /// None of them counts then, and what may have been written of them never will. The same call may be repeated at once
    /// or later; it goes to a new segment.
    pub fn append(&mut self, frames: &[NewFrame<'_>], now_ms: u64) -> Result<Vec<FrameId>, AppendError> {
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = self.check_room(frames)?;
        self.heal_spare().and_then(|()| self.make_room(bytes, false)).map_err(|error| self.append_error(error))?;
        let offset = self.last_segment().len;
        let seat = |buf: &[u8], segment| Seat { segment, offset: offset + buf.len() as u64 };
        let number = self.last_segment().number;
        let proven = u32::try_from(offset).unwrap_or(u32::MAX);
        let mut buf = std::mem::take(&mut self.buf);
        self.buf_is_used = true;
        buf.clear();
        buf.reserve(usize::try_from(bytes).unwrap_or(0));
        if self.partitions_dirty {
            let partitions = self.partitions.iter().map(|(topic, count)| (&**topic, *count));
            frame::put_partitions(&mut buf, seat(&[], number), proven, partitions);
        }
        let first_id = self.next_id;
        let mut sizes = Vec::with_capacity(frames.len());
        for (id, new) in (first_id..).zip(frames) {
            let at = seat(&buf, number);
            let written = frame::put_records(&mut buf, at, proven, id, now_ms, new);
            sizes.push(Size { records: written.records, bytes: written.frame_bytes });
        }
        self.next_id += frames.len() as u64;
        let written = self.write(&buf);
        buf.clear();
        buf.shrink_to(BUF_BYTES_KEPT);
        self.buf = buf;
        if let Err(error) = written {
            self.disown(first_id, frames);
            return Err(self.append_error(error));
        }
        self.partitions_dirty = false;
        for ((id, new), size) in (first_id..).zip(frames).zip(&sizes) {
            self.count_appended(id, new.lane, now_ms, *size);
        }
        Ok((first_id..self.next_id).map(FrameId).collect())
    }

    /// How much the frames take at most; whether it fits under `max_bytes`.
    fn check_room(&self, frames: &[NewFrame<'_>]) -> Result<u64, AppendError> {
        let mut bytes = 0;
        for new in frames {
            let frame_bytes = new.frame_bytes();
            if frame_bytes > BODY_BYTES_MAX {
                return Err(AppendError::TooLarge { bytes: frame_bytes });
            }
            bytes += frame_bytes;
        }
        if bytes > self.room() {
            let (dir, max_bytes) = (self.dir.clone(), self.options.max_bytes);
            return Err(AppendError::Full { dir, needed_bytes: bytes, max_bytes });
        }
        Ok(bytes)
    }

    fn append_error(&self, source: io::Error) -> AppendError {
        let dir = self.dir.clone();
        if is_full(&source) { AppendError::DiskFull { dir, source } } else { AppendError::Io { dir, source } }
    }

    fn count_appended(&mut self, id: u64, key: &LaneKey, now_ms: u64, size: Size) {
        let number = self.lanes.number_or_new(&key.topic, key.partition, id);
        let lane = self.lanes.get_mut(number);
        lane.last_id = id;
        // The cursors before may say of the lane that it has nothing left.
        lane.dirty = true;
        let tally = Tally { frames: 1, records: size.records.into(), bytes: size.bytes };
        lane.live.add(tally);
        let segment = self.segments.last_mut().expect("frames are written to a segment");
        if segment.count(number, id, now_ms, size, true) {
            lane.segments += 1;
        }
        self.totals.appended_frames_total += 1;
        self.totals.appended_records_total += tally.records;
        self.totals.appended_bytes_total += tally.bytes;
    }

    /// What an append that failed may have left on the disk counts as acknowledged: the next segment opens with that.
    fn disown(&mut self, first_id: u64, frames: &[NewFrame<'_>]) {
        for (id, new) in (first_id..).zip(frames) {
            if let Some(number) = self.lanes.number_of(new.lane) {
                self.lanes.get_mut(number).disown(id);
            }
        }
        self.cursors_dirty = true;
    }

    /// Bytes that may still be appended under `max_bytes`: what frames take ([`NewFrame::frame_bytes`]), which is the payload
    /// and 28 bytes a record, 6 a header, 76 and the topic's name a frame.
    pub fn room(&self) -> u64 {
        let taken = self.bytes_on_disk() + self.options.segment_bytes + self.opening_bytes;
        self.options.max_bytes.saturating_sub(taken)
    }

    /// Another bound. Where more is on the disk, there is no room until it is less.
    pub fn set_max_bytes(&mut self, max_bytes: u64) {
        self.options.max_bytes = max_bytes;
    }

    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    pub(super) fn last_segment(&self) -> &Segment {
        self.segments.last().expect("there is room in one")
    }

    /// Sees to it that the last segment takes so many bytes more. `upkeep`: the spare segment may be used.
    pub(super) fn make_room(&mut self, bytes: u64, upkeep: bool) -> io::Result<()> {
        if let Some(current) = &self.current
            && (current.fresh || self.last_segment().len + bytes <= self.options.segment_bytes)
        {
            return Ok(());
        }
        self.close_current();
        self.new_segment(upkeep)
    }

    /// Nothing more is written to it; what was allocated ahead is given back, if that works.
    pub(super) fn close_current(&mut self) {
        if let Some(mut current) = self.current.take() {
            let len = self.last_segment().len;
            // Bytes beyond what counts are disowned in any case.
            drop(current.file.truncate(len));
        }
    }

    /// Writes to the last segment and fsyncs. After an error it is closed.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.try_write(bytes);
        match &written {
            Ok(()) => self.segments.last_mut().expect("it was written").len += bytes.len() as u64,
            Err(error) => {
                self.close_current();
                if error.kind() == io::ErrorKind::NotFound {
                    // The write has failed in any case; what can't be looked at now is noticed later.
                    drop(self.notice_what_is_gone());
                }
            }
        }
        written
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let current = self.current.as_mut().expect("there is room in one");
        current.fresh = false;
        current.file.append(bytes)?;
        timed(&mut self.totals, self.options.clock, || current.file.sync())?;
        // A file whose name is gone takes bytes as before, for nobody.
        let path = path_of(&self.dir, self.last_segment().number);
        if self.is_there(&path)? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{} was removed by somebody", path.display())))
    }

    pub(super) fn is_there(&self, path: &Path) -> io::Result<bool> {
        match self.disk.open(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the next segment, with all cursors and partition counts, durable with its name.
    pub(super) fn new_segment(&mut self, upkeep: bool) -> io::Result<()> {
        let number = self.next_number;
        let path = path_of(&self.dir, number);
        // Whatever is in the way of this one (a directory, say) is not in the way of the next.
        self.next_number += 1;
        let file = self.create(&path)?;
        if !file.is_empty()? {
            // Nothing of ours has this number. It is left alone.
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is in the way", path.display())));
        }
        match self.fill_segment(file, number, upkeep) {
            Ok((file, len)) => {
                let mut segment = Segment::new(number, self.next_id);
                segment.len = len;
                self.segments.push(segment);
                self.current = Some(Current { file, fresh: true });
                self.opening_bytes = len;
                self.cursors_are_written();
                self.partitions_dirty = false;
                Ok(())
            }
            Err(error) => {
                self.discard(path);
                Err(error)
            }
        }
    }

    /// Creates a file, and the directory if it is gone.
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self.disk.append(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.notice_what_is_gone()?;
                make_directory(&*self.disk, &self.dir)?;
                self.disk.append(path)
            }
            result => result,
        }
    }

    fn fill_segment(
        &mut self,
        mut file: Box<dyn DiskFile>,
        number: u64,
        upkeep: bool,
    ) -> io::Result<(Box<dyn DiskFile>, u64)> {
        match file.reserve(self.options.segment_bytes) {
            Err(error) if upkeep && self.spare && is_full(&error) => {
                drop(file);
                file = self.take_spare(&path_of(&self.dir, number))?;
            }
            result => result?,
        }
        let mut buf = frame::prologue().to_vec();
        let seat = |buf: &[u8]| Seat { segment: number, offset: buf.len() as u64 };
        let partitions = self.partitions.iter().map(|(topic, count)| (&**topic, *count));
        let at = seat(&buf);
        frame::put_partitions(&mut buf, at, 0, partitions);
        let at = seat(&buf);
        frame::put_cursors(&mut buf, at, 0, &self.cursors(true));
        file.append(&buf)?;
        timed(&mut self.totals, self.options.clock, || file.sync())?;
        timed(&mut self.totals, self.options.clock, || self.disk.sync_dir(&self.dir))?;
        Ok((file, buf.len() as u64))
    }

    /// Removes a file that means nothing, now or later.
    pub(super) fn discard(&mut self, path: PathBuf) {
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.garbage.push(path),
            _ => {}
        }
    }

    pub(super) fn cursors(&self, full: bool) -> Cursors {
        let lanes = self
            .lanes
            .iter()
            .filter(|lane| if full { lane.live.frames > 0 } else { lane.dirty })
            .map(|lane| (lane.key.clone(), lane.cursor(self.reader.pos)))
            .collect();
        Cursors { full, next_id: self.next_id, lanes }
    }

    pub(super) fn cursors_are_written(&mut self) {
        self.cursors_dirty = false;
        self.acked_bytes = 0;
        for lane in self.lanes.iter_mut() {
            lane.dirty = false;
        }
    }

    /// Every record of the frame is acknowledged. May come in any order, and twice.
    pub fn done(&mut self, lane: &LaneKey, id: FrameId) {
        self.lost.iter_mut().for_each(|lost| lost.acknowledged(lane, id));
        let Some(number) = self.lanes.number_of(lane) else { return };
        self.bury(number, id.0);
    }

    pub(super) fn bury(&mut self, number: u32, id: u64) {
        let lane = self.lanes.get_mut(number);
        let Some(size) = lane.done(id, self.reader.pos) else { return };
        let index = self.segments.partition_point(|segment| segment.first_id <= id);
        let segment = index.checked_sub(1).and_then(|index| self.segments.get_mut(index));
        // Its own segment may be gone: no other is emptied for it.
        let Some(segment) = segment.filter(|segment| id <= segment.last_id) else { return };
        let gone = segment.bury(number, size);
        lane.live.take(gone);
        self.acked_bytes += gone.bytes;
        self.cursors_dirty = true;
    }

    /// Remembers a topic's partition count, with the next write; 0 forgets the topic.
    pub fn set_partitions(&mut self, topic: &Topic, count: u32) {
        let before = match count {
            0 => self.partitions.remove(topic),
            _ => self.partitions.insert(Topic::clone(topic), count),
        };
        self.partitions_dirty |= before.unwrap_or(0) != count;
    }

    /// Whether `max_bytes` is used to three quarters and the lane alone holds over half of it: then it gets no more.
    pub fn holds_too_much(&self, lane: &LaneKey) -> bool {
        let max_bytes = self.options.max_bytes;
        let used = self.bytes_on_disk() + self.options.segment_bytes;
        let held = self.lanes.number_of(lane).map_or(0, |number| self.lanes.get(number).live.bytes);
        used > max_bytes - max_bytes / 4 && held > max_bytes / 2
    }

    /// Whether the reader has frames of the lane ahead: not acknowledged, not in the owner's memory. Those that somebody removed
    /// count until [`Log::take_lost`] tells of them: else the owner would take them off twice.
    pub fn has_unread(&self, lane: &LaneKey) -> bool {
        self.lost.iter().any(|lost| lost.lane == *lane)
            || self.lanes.number_of(lane).is_some_and(|number| self.lanes.get(number).has_unread(self.reader.pos))
    }

    /// What the log holds of each lane that has frames left, in the order of their names.
    pub fn lanes(&self) -> Vec<LaneStats> {
        let stats = |lane: &super::lanes::Lane| LaneStats {
            lane: lane.key.clone(),
            frames: lane.live.frames,
            records: lane.live.records,
            bytes: lane.live.bytes,
        };
        let mut lanes: Vec<LaneStats> = self.lanes.iter().filter(|lane| lane.live.frames > 0).map(stats).collect();
        lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
        lanes
    }

    /// The log in numbers. Costs a look at each segment.
    pub fn stats(&self) -> Stats {
        let mut live = Tally::default();
        for segment in &self.segments {
            live.add(segment.live);
        }
        Stats {
            bytes_on_disk: self.bytes_on_disk(),
            segments: self.segments.len() as u64,
            live_frames: live.frames,
            live_records: live.records,
            live_bytes: live.bytes,
            oldest_ms: self.segments.iter().find_map(Segment::oldest_ms),
            ..self.totals.clone()
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Writes the cursors, so that nothing is repeated.
    ///
    /// # Errors
    /// The cursors are those of the last successful write then: what was acknowledged since is repeated.
    pub fn close(mut self) -> io::Result<()> {
        let written = self.write_cursors();
        self.close_current();
        written
    }
}

/// Creates the directory, durably.
pub(super) fn make_directory(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.create_dir(dir).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => io::Error::new(
            error.kind(),
            "something that is no directory is in its place, or in that of a directory above it: move it away",
        ),
        _ => error,
    })?;
    match dir.parent() {
        Some(above) if above.as_os_str().is_empty() => disk.sync_dir(Path::new(".")),
        Some(above) => disk.sync_dir(above),
        None => Ok(()),
    }
}

/// Syncs, and counts how long it took.
pub(super) fn timed(
    totals: &mut Stats,
    clock: Option<fn() -> Duration>,
    sync: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let before = clock.map(|clock| clock());
    let result = sync();
    let took = match (before, clock) {
        (Some(before), Some(clock)) => clock().saturating_sub(before),
        _ => Duration::ZERO,
    };
    let bucket = FSYNC_BUCKETS_MS.partition_point(|bound_ms| Duration::from_millis(*bound_ms) < took);
    totals.fsync_buckets[bucket] += 1;
    totals.fsyncs_total += 1;
    totals.fsync_time_total += took;
    result
}
