//! Giving space back: cursors, segments without live frames, segments that are mostly dead, the oldest on demand; and finding
//! out that somebody removed what was there.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::frame::{self, Prologue, Seat};
use super::lanes::Size;
use super::log::{Log, is_full, timed};
use super::scan::{self, Found};
use super::segments::{Part, Tally, path_of, temporary_path_of};
use super::{FrameId, Topic};
use crate::batch::LaneKey;
use crate::disk::DiskFile;

/// Cursors are written this often while frames are acknowledged...
const CURSORS_EVERY: Duration = Duration::from_secs(1);
/// ... and after this many bytes of them.
const CURSORS_BYTES: u64 = 4 << 20;
/// A write while rewriting.
const REWRITE_BYTES: usize = 1 << 20;

/// Frames of a lane that are gone without having been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub lane: LaneKey,
    /// Those of the lane's frames with ids from here...
    pub first_id: FrameId,
    /// ... to here that were not acknowledged.
    pub last_id: FrameId,
    pub frames: u64,
    pub records: u64,
    /// What they took on disk.
    pub bytes: u64,
}

impl Dropped {
    /// A frame is acknowledged after all, before its owner has heard that it is gone: it is none of those any more.
    pub fn acknowledged(&mut self, lane: &LaneKey, id: FrameId) {
        if self.lane == *lane && (self.first_id..=self.last_id).contains(&id) {
            self.frames = self.frames.saturating_sub(1);
        }
    }
}

impl Log {
    /// What has to be done now and then; call it every 100 ms or so. `now`: from a monotonic clock. Writes the cursors (each
    /// second or 4 MiB acknowledged), removes segments without live frames, rewrites one that is less than half alive,
    /// restores the spare segment, looks whether the directory is still there.
    ///
    /// # Errors
    /// The first one; the rest was still tried. Nothing is lost by it, and the next call tries again.
    pub fn tick(&mut self, now: Duration) -> io::Result<()> {
        let due = self.cursors_at.is_none_or(|at| now >= at + CURSORS_EVERY);
        let mut result = Ok(());
        let mut note = |done: io::Result<()>| {
            if result.is_ok() {
                result = done;
            }
        };
        if due {
            note(self.look_whether_it_is_there());
        }
        if due || self.acked_bytes >= CURSORS_BYTES {
            self.cursors_at = Some(now);
            note(self.write_cursors());
        }
        note(self.remove_dead());
        note(self.rewrite_one());
        if due {
            note(self.heal_spare());
            if !std::mem::take(&mut self.buf_is_used) {
                self.buf = Vec::new();
            }
            for path in std::mem::take(&mut self.garbage) {
                self.discard(path);
            }
        }
        result
    }

    /// Writes cursors and partition counts, if they changed, and fsyncs.
    pub(super) fn write_cursors(&mut self) -> io::Result<()> {
        if !self.cursors_dirty && !self.partitions_dirty {
            return Ok(());
        }
        let cursors = self.cursors(false);
        let mut buf = Vec::new();
        // Their size does not depend on where they stand.
        frame::put_cursors(&mut buf, Seat { segment: 0, offset: 0 }, 0, &cursors);
        let cursors_bytes = buf.len();
        self.put_partitions(&mut buf, 0, 0);
        let had = self.last_number();
        self.make_room(buf.len() as u64, true)?;
        if self.last_number() != had {
            // A segment opens with all of it.
            return Ok(());
        }
        let (number, offset) = (self.last_segment().number, self.last_segment().len);
        let proven = u32::try_from(offset).unwrap_or(u32::MAX);
        buf.clear();
        frame::put_cursors(&mut buf, Seat { segment: number, offset }, proven, &cursors);
        debug_assert_eq!(buf.len(), cursors_bytes, "seats have one size");
        self.put_partitions(&mut buf, number, offset);
        self.write(&buf)?;
        self.cursors_are_written();
        self.partitions_dirty = false;
        Ok(())
    }

    fn put_partitions(&self, buf: &mut Vec<u8>, segment: u64, offset: u64) {
        if self.partitions_dirty {
            let seat = Seat { segment, offset: offset + buf.len() as u64 };
            let proven = u32::try_from(offset).unwrap_or(u32::MAX);
            let counts = self.partitions.iter().map(|(topic, count): (&Topic, &u32)| (&**topic, *count));
            frame::put_partitions(buf, seat, proven, counts);
        }
    }

    fn last_number(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.number)
    }

    /// Removes segments without live frames; the last one stays, it has the cursors.
    fn remove_dead(&mut self) -> io::Result<()> {
        let Some((last, others)) = self.segments.split_last() else { return Ok(()) };
        let last_is_a_burden = last.live.frames == 0 && last.len >= self.options.segment_bytes / 4;
        if last_is_a_burden {
            self.close_current();
            self.new_segment(true)?;
        } else if others.iter().all(|segment| segment.live.frames > 0) {
            return Ok(());
        }
        let mut index = 0;
        while index + 1 < self.segments.len() {
            if self.segments[index].live.frames > 0 {
                index += 1;
                continue;
            }
            self.remove_file(self.segments[index].number)?;
            self.remove_segment(index);
        }
        // Undone by a crash it is only repeated.
        self.disk.sync_dir(&self.dir)
    }

    fn remove_file(&self, number: u64) -> io::Result<()> {
        match self.disk.remove(&path_of(&self.dir, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets a segment. What was alive in it, by lane.
    pub(super) fn remove_segment(&mut self, index: usize) -> Vec<Dropped> {
        let segment = self.segments.remove(index);
        self.reader.forget(segment.number);
        let mut gone = Vec::new();
        for (number, part) in segment.parts {
            let lane = self.lanes.get_mut(number);
            lane.live.take(part.live);
            if part.live.frames > 0 {
                let ids = segment.first_id..=segment.last_id;
                lane.out.retain(|id, _| !ids.contains(id));
                lane.reread.retain(|id, _| !ids.contains(id));
                lane.dirty = true;
                self.cursors_dirty = true;
                gone.push(Dropped {
                    lane: lane.key.clone(),
                    first_id: FrameId(segment.first_id),
                    last_id: FrameId(part.last_id),
                    frames: part.live.frames,
                    records: part.live.records,
                    bytes: part.live.bytes,
                });
            }
            self.lanes.release(number);
        }
        gone.sort_by(|a, b| a.lane.cmp(&b.lane));
        gone
    }

    /// Gives up the oldest segment that has live frames (`when_full: drop_oldest`). What was in it; empty if nothing is alive.
    /// Frames of it that are in the owner's memory are gone from the log too: [`Log::done`] of them does nothing.
    ///
    /// # Errors
    /// Nothing was given up then.
    pub fn drop_oldest(&mut self) -> io::Result<Vec<Dropped>> {
        let Some(index) = self.segments.iter().position(|segment| segment.live.frames > 0) else {
            return Ok(Vec::new());
        };
        if index + 1 == self.segments.len() {
            self.close_current();
            self.new_segment(true)?;
        }
        if self.segments[index].is_guessed {
            // If it can't be read, the guess has to do.
            drop(self.recount(index));
        }
        self.remove_file(self.segments[index].number)?;
        let dropped = self.remove_segment(index);
        for lane in &dropped {
            self.totals.dropped_frames += lane.frames;
            self.totals.dropped_records += lane.records;
        }
        // Undone by a crash, they are sent after all: that is no loss.
        drop(self.disk.sync_dir(&self.dir));
        Ok(dropped)
    }

    /// The frames that are gone because somebody removed their files, since the last call.
    pub fn take_lost(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.lost)
    }

    fn look_whether_it_is_there(&mut self) -> io::Result<()> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        if self.is_there(&path_of(&self.dir, last.number))? {
            return Ok(());
        }
        self.notice_what_is_gone()
    }

    /// Finds out which segments somebody removed, and counts what was alive in them.
    pub(super) fn notice_what_is_gone(&mut self) -> io::Result<()> {
        let names: BTreeSet<String> = match self.disk.list(&self.dir) {
            Ok(entries) => entries.into_iter().map(|entry| entry.name).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        let name_of = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let is_there = |number| name_of(&path_of(&self.dir, number)).is_some_and(|name| names.contains(&name));
        let gone: Vec<u64> =
            self.segments.iter().map(|segment| segment.number).filter(|number| !is_there(*number)).collect();
        self.spare &= names.contains(SPARE);
        let mut total = Tally::default();
        for number in &gone {
            let index = self.segments.partition_point(|segment| segment.number < *number);
            if index + 1 == self.segments.len() {
                self.current = None;
                // The cursors went with it.
                self.cursors_dirty = true;
                self.partitions_dirty = !self.partitions.is_empty();
            }
            for lost in self.remove_segment(index) {
                total.add(Tally { frames: lost.frames, records: lost.records, bytes: lost.bytes });
                self.lost.push(lost);
            }
        }
        self.totals.lost_frames += total.frames;
        self.totals.lost_records += total.records;
        if !gone.is_empty() {
            tracing::error!(
                dir = %self.dir.display(),
                segments = gone.len(),
                frames = total.frames,
                records = total.records,
                "segments of the spool were removed by somebody: what was alive in them is lost"
            );
        }
        Ok(())
    }

    /// Rewrites the first segment that is less than half alive.
    fn rewrite_one(&mut self) -> io::Result<()> {
        let mostly_dead = |segment: &super::segments::Segment| {
            segment.live.frames > 0
                && segment.live.bytes < segment.len / 2
                && segment.live.bytes < segment.left_at_bytes
        };
        let older = self.segments.len().saturating_sub(1);
        let Some(index) = self.segments[..older].iter().position(mostly_dead) else { return Ok(()) };
        if self.current.is_none() {
            // Its cursors go: there must be newer ones.
            self.new_segment(true)?;
        }
        let number = self.segments[index].number;
        // Not again and again, if it fails or wins nothing.
        self.segments[index].left_at_bytes = self.segments[index].live.bytes;
        let path = temporary_path_of(&self.dir, number);
        let rewritten = self.rewrite(index, &path).and_then(|copied| {
            self.disk.rename(&path, &path_of(&self.dir, number))?;
            Ok(copied)
        });
        let copied = match rewritten {
            Ok(copied) => copied,
            Err(error) => {
                self.discard(path);
                return Err(error);
            }
        };
        self.segments[index].len = copied.len;
        self.segments[index].generation += 1;
        self.segments[index].damaged_at.clear();
        self.replace_parts(index, copied.parts);
        self.reader.forget(number);
        self.totals.rewritten_segments += 1;
        // Until then a crash may bring the old one back: the same frames, and cursors for those that are not in the new one.
        timed(&mut self.totals, self.options.clock, || self.disk.sync_dir(&self.dir))
    }

    /// Copies what is alive into a new file, durably.
    fn rewrite(&mut self, index: usize, path: &Path) -> io::Result<Copied> {
        let (number, end) = (self.segments[index].number, self.segments[index].len);
        let mut source = scan::Segment::open(&*self.disk, &path_of(&self.dir, number), number)?;
        let mut file = self.create_temporary(path, self.segments[index].live.bytes)?;
        let mut copied = Copied { len: 0, parts: HashMap::new() };
        let mut buf = frame::prologue().to_vec();
        let mut offset = scan::first_frame(&mut source)?;
        while offset < end {
            let head = match source.at(offset, end)? {
                Found::Frame(head) => head,
                Found::Damage { bytes } => {
                    self.count_damage(number, offset, bytes);
                    offset += bytes;
                    continue;
                }
            };
            let (frame_bytes, head_bytes, body_bytes) = (head.frame_bytes(), head.head_bytes, head.body_bytes);
            if let Some(records) = head.records
                && let Some(lane) = self.lanes.find(records.topic, records.partition)
                && self.lanes.get(lane).is_live(records.id, self.reader.pos)
            {
                let size = Size { records: records.records, bytes: frame_bytes };
                copied.count(lane, records.id, records.written_ms, size);
                let at = buf.len();
                let seat = Seat { segment: number, offset: copied.len + at as u64 };
                buf.extend_from_slice(source.bytes(offset, head_bytes as usize)?);
                frame::reseat(&mut buf[at..], seat);
                buf.extend_from_slice(&source.body(offset, head_bytes, body_bytes)?);
            }
            offset += frame_bytes;
            if buf.len() >= REWRITE_BYTES {
                file.append(&buf)?;
                copied.len += buf.len() as u64;
                buf.clear();
            }
        }
        // Not in the loop: what stands last may be damage.
        file.append(&buf)?;
        copied.len += buf.len() as u64;
        // What was allocated for more is given back.
        file.truncate(copied.len)?;
        timed(&mut self.totals, self.options.clock, || file.sync())?;
        Ok(copied)
    }

    /// The file that a segment is rewritten into, with room for `bytes`.
    fn create_temporary(&mut self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        self.discard(path.to_owned());
        let mut file = self.disk.append(path)?;
        match file.reserve(bytes) {
            Err(error) if is_full(&error) && self.spare && bytes <= self.options.segment_bytes => {
                drop(file);
                let file = self.take_spare(path)?;
                // Else a crash could leave the spare's name on what is about to be a segment.
                self.disk.sync_dir(&self.dir)?;
                Ok(file)
            }
            Err(error) => {
                drop(file);
                Err(error)
            }
            Ok(()) => Ok(file),
        }
    }

    /// The spare segment, under this name.
    pub(super) fn take_spare(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.spare = false;
        self.disk.rename(&self.dir.join(SPARE), path)?;
        self.disk.append(path)
    }

    /// Sees to it that one segment's space is allocated.
    pub(super) fn heal_spare(&mut self) -> io::Result<()> {
        if self.spare {
            return Ok(());
        }
        let path = self.dir.join(SPARE);
        // What has the name may be half allocated, or (after a crash) something else.
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = match self.disk.append(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.notice_what_is_gone()?;
                super::log::make_directory(&*self.disk, &self.dir)?;
                self.disk.append(&path)?
            }
            file => file?,
        };
        match file.reserve(self.options.segment_bytes) {
            Ok(()) => {
                self.spare = true;
                Ok(())
            }
            Err(error) => {
                drop(file);
                self.discard(path);
                Err(error)
            }
        }
    }

    /// Counts a segment anew, after frames in it have turned out to be damaged.
    pub(super) fn recount(&mut self, index: usize) -> io::Result<()> {
        let (number, end) = (self.segments[index].number, self.segments[index].len);
        let mut source = scan::Segment::open(&*self.disk, &path_of(&self.dir, number), number)?;
        let mut found = Copied { len: 0, parts: HashMap::new() };
        let mut offset = scan::first_frame(&mut source)?;
        while offset < end {
            let head = match source.at(offset, end)? {
                Found::Frame(head) => head,
                Found::Damage { bytes } => {
                    offset += bytes;
                    continue;
                }
            };
            offset += head.frame_bytes();
            if let Some(records) = head.records
                && let Some(lane) = self.lanes.find(records.topic, records.partition)
            {
                let size = Size { records: records.records, bytes: head.frame_bytes() };
                let live = self.lanes.get(lane).is_live(records.id, self.reader.pos);
                found.count_if(lane, records.id, records.written_ms, size, live);
            }
        }
        self.replace_parts(index, found.parts);
        Ok(())
    }

    fn replace_parts(&mut self, index: usize, parts: HashMap<u32, Part>) {
        let mut live = Tally::default();
        for (number, part) in &parts {
            live.add(part.live);
            let lane = self.lanes.get_mut(*number);
            lane.live.add(part.live);
            lane.segments += 1;
        }
        let segment = &mut self.segments[index];
        segment.live = live;
        segment.is_guessed = false;
        for (number, part) in std::mem::replace(&mut segment.parts, parts) {
            self.lanes.get_mut(number).live.take(part.live);
            self.lanes.release(number);
        }
    }
}

/// The name of the spare segment.
pub(super) const SPARE: &str = "spare";

/// What a segment holds, as counted frame by frame.
struct Copied {
    len: u64,
    parts: HashMap<u32, Part>,
}

impl Copied {
    fn count(&mut self, lane: u32, id: u64, written_ms: u64, size: Size) {
        self.count_if(lane, id, written_ms, size, true);
    }

    fn count_if(&mut self, lane: u32, id: u64, written_ms: u64, size: Size, live: bool) {
        let new = Part { last_id: id, oldest_ms: u64::MAX, live: Tally::default() };
        let part = self.parts.entry(lane).or_insert(new);
        part.last_id = part.last_id.max(id);
        if live {
            part.live.add(Tally { frames: 1, records: size.records.into(), bytes: size.bytes });
            part.oldest_ms = part.oldest_ms.min(written_ms);
        }
    }
}

/// Whether this agent can read the segment: `Err` is the version it has.
pub(super) fn check_version(segment: &mut scan::Segment) -> io::Result<Result<(), u32>> {
    Ok(match frame::parse_prologue(segment.bytes(0, frame::PROLOGUE_BYTES)?) {
        Prologue::Version(version) if version > frame::VERSION => Err(version),
        _ => Ok(()),
    })
}
