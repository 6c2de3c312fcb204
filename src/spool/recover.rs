//! The start: what the directory holds, which of it is torn, damaged, acknowledged.
//!
//! [`survey`] only looks; [`Log::open`] acts on what it found. What they can't read is an error; what they can't
//! understand is damage, passed over and counted.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Cursor, Cursors, Kind};
use super::lanes::{Lanes, Size};
use super::log::make_directory;
use super::scan::{self, Found};
use super::segments::{Segment, number_of, path_of};
use super::upkeep::{SPARE, check_version};
use super::{Log, Options, Topic};
use crate::batch::LaneKey;
use crate::disk::Disk;

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk or the system refused; worth another try.
    #[error("the spool {} can't be read: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    /// A later version of the agent wrote it.
    #[error(
        "the spool segment {} has format version {found}, this agent knows versions up to {known}; start the newer agent again \
         until the spool is empty, or move the directory away (what is in it is then not sent)",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
}

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// With frames that are not acknowledged, in the order of their names.
    pub lanes: Vec<RecoveredLane>,
    /// The partition counts last remembered.
    pub partitions: Vec<(Topic, u32)>,
    /// Gaps where frames stood that are damaged, and how long they are.
    pub damaged_frames: u64,
    pub damaged_bytes: u64,
    /// Cut from the end of the newest segment: what was being written when the machine stopped.
    pub torn_bytes: u64,
}

/// What is not acknowledged of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredLane {
    pub lane: LaneKey,
    pub frames: u64,
    pub records: u64,
    /// What the frames take on disk.
    pub bytes: u64,
    /// When the oldest was written, in milliseconds since the epoch.
    pub oldest_ms: u64,
}

/// What a directory holds.
pub(super) struct Survey {
    pub segments: Vec<Segment>,
    pub lanes: Lanes,
    pub partitions: Vec<(Topic, u32)>,
    pub next_id: u64,
    /// Higher than that of any file.
    pub next_number: u64,
    pub damage: Vec<Damage>,
    /// Beyond what counts of the newest segment, and segments of which nothing counts.
    pub torn: Vec<Damage>,
    /// Frames in there that are whole; they do not count.
    ghosts: Vec<(LaneKey, u64)>,
    /// Segments that were made and never used.
    pub unused: Vec<u64>,
}

/// Bytes of a segment that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
}

/// More ids than a life can give in vain.
const ID_GAP: u64 = 1 << 32;

impl Log {
    /// Opens the log in `dir`, or makes it. Nothing is written before the first append, done or partition count, but the
    /// newest segment is cut where it is torn. `now_ms`: since the epoch.
    ///
    /// # Errors
    /// [`OpenError::Newer`] leaves everything as it is.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options, now_ms: u64) -> Result<(Log, Recovered), OpenError> {
        make_directory(&*disk, dir).map_err(|cause| OpenError::Io { path: dir.to_owned(), cause })?;
        let survey = survey(&*disk, dir)?;
        let mut log = Log::new(disk, dir, options);
        let recovered = Recovered {
            lanes: lanes_of(&survey, now_ms),
            partitions: survey.partitions.clone(),
            damaged_frames: survey.damage.len() as u64,
            damaged_bytes: survey.damage.iter().map(|damage| damage.bytes).sum(),
            torn_bytes: survey.segments.last().map_or(0, |newest| torn_bytes(&survey.torn, newest.number)),
        };
        log.segments = survey.segments;
        for damage in &survey.damage {
            log.count_damage(damage.segment, damage.offset, damage.bytes);
        }
        log.lanes = survey.lanes;
        log.partitions = survey.partitions.into_iter().collect();
        // What an earlier life wrote in vain and cut off may be there again after a power cut, whole, with ids that it had
        // given: those of this life are beyond them, so that none is taken for another.
        log.next_id = if log.segments.is_empty() { survey.next_id } else { survey.next_id + ID_GAP };
        log.next_number = survey.next_number;
        for (lane, id) in survey.ghosts {
            if let Some(number) = log.lanes.number_of(&lane) {
                log.lanes.get_mut(number).disown(id);
            }
        }
        log.tidy(&survey.unused, &survey.torn);
        Ok((log, recovered))
    }

    /// Removes what means nothing, and cuts the torn tail. What can't be removed now is tried again; what can't be cut is
    /// disowned by the next segment.
    fn tidy(&mut self, unused: &[u64], torn: &[Damage]) {
        for number in unused {
            let (path, bytes) = (path_of(&self.dir, *number), torn_bytes(torn, *number));
            if bytes > 0 {
                tracing::warn!(
                    file = %path.display(), bytes,
                    "a segment of the spool without a whole frame is removed: it was being begun when the machine stopped, or it is damaged"
                );
            }
            self.discard(path);
        }
        let left = |name: &str| name == SPARE || name.ends_with(".tmp");
        for entry in self.disk.list(&self.dir).unwrap_or_default() {
            if left(&entry.name) && !entry.is_dir {
                self.discard(self.dir.join(entry.name));
            }
        }
        let Some(last) = self.segments.last() else { return };
        let (path, len, torn_bytes) = (path_of(&self.dir, last.number), last.len, torn_bytes(torn, last.number));
        let cut = self.disk.append(&path).and_then(|mut file| {
            // Also gives back what was allocated ahead.
            file.truncate(len)?;
            // Also if nothing is torn: an earlier life may have cut it, and nobody has made that durable.
            file.sync()
        });
        match cut {
            Ok(()) if torn_bytes > 0 => {
                tracing::info!(file = %path.display(), bytes = torn_bytes, "the torn end of the spool was cut off");
            }
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the torn end of the spool can't be cut off; it is passed over");
            }
        }
    }
}

/// What is torn of a segment.
fn torn_bytes(torn: &[Damage], segment: u64) -> u64 {
    torn.iter().find(|torn| torn.segment == segment).map_or(0, |torn| torn.bytes)
}

pub(super) fn lanes_of(survey: &Survey, now_ms: u64) -> Vec<RecoveredLane> {
    let mut oldest: HashMap<u32, u64> = HashMap::new();
    for segment in &survey.segments {
        for (number, part) in segment.parts.iter().filter(|(_, part)| part.live.frames > 0) {
            // The clock may have been ahead then.
            oldest.entry(*number).or_insert(part.oldest_ms.min(now_ms));
        }
    }
    let lane_of = |(number, oldest_ms): (u32, u64)| {
        let lane = survey.lanes.get(number);
        RecoveredLane {
            lane: lane.key.clone(),
            frames: lane.live.frames,
            records: lane.live.records,
            bytes: lane.live.bytes,
            oldest_ms,
        }
    };
    let mut lanes: Vec<RecoveredLane> = oldest.into_iter().map(lane_of).collect();
    lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
    lanes
}

/// Looks at everything in the directory and changes nothing.
pub(super) fn survey(disk: &dyn Disk, dir: &Path) -> Result<Survey, OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |cause| OpenError::Io { path, cause }
    };
    let entries = disk.list(dir).map_err(io(dir))?;
    let numbers: Vec<u64> =
        entries.iter().filter(|entry| entry.is_file).filter_map(|entry| number_of(&entry.name)).collect();
    // What is no file has a number too that no segment can have.
    let last_number = entries.iter().filter_map(|entry| number_of(&entry.name)).max();
    let mut survey = Survey {
        segments: Vec::new(),
        lanes: Lanes::default(),
        partitions: Vec::new(),
        next_id: 1,
        next_number: last_number.map_or(1, |last| last + 1),
        damage: Vec::new(),
        torn: Vec::new(),
        ghosts: Vec::new(),
        unused: Vec::new(),
    };
    let mut files = Vec::new();
    for number in numbers {
        let path = path_of(dir, number);
        let opened = match scan::Segment::open(disk, &path, number) {
            // Removed since it was listed, by the agent that runs.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(io(&path))?,
        };
        let (mut opened, known) = (opened, frame::VERSION);
        if let Err(found) = check_version(&mut opened).map_err(io(&path))? {
            return Err(OpenError::Newer { path, found, known });
        }
        let len = opened.len().map_err(io(&path))?;
        files.push((number, len));
    }
    survey.find_newest(disk, dir, &mut files)?;
    let known = survey.read_cursors(disk, dir, &files)?;
    survey.count(disk, dir, &files, &known)?;
    Ok(survey)
}

/// What the cursors say of lanes.
#[derive(Default)]
struct Known {
    /// A lane that is not listed has all below acknowledged.
    below: u64,
    lanes: HashMap<LaneKey, Cursor>,
}

impl Survey {
    /// Finds the newest segment that was used, and where it is torn. Leaves out of `files` what was never used.
    fn find_newest(&mut self, disk: &dyn Disk, dir: &Path, files: &mut Vec<(u64, u64)>) -> Result<(), OpenError> {
        while let Some((number, len)) = files.last_mut() {
            let path = path_of(dir, *number);
            let tail = tail_of(disk, &path, *number, *len).map_err(|cause| OpenError::Io { path, cause })?;
            let torn = |offset, bytes| (bytes > 0).then_some(Damage { segment: *number, offset, bytes });
            self.next_id = self.next_id.max(tail.last_id + 1);
            if tail.was_used {
                self.torn.extend(torn(tail.end, *len - tail.end));
                *len = tail.end;
                self.ghosts = tail.ghosts;
                return Ok(());
            }
            self.torn.extend(torn(0, *len));
            self.unused.push(*number);
            files.pop();
        }
        Ok(())
    }

    /// The cursors and partition counts, from the newest segment whose beginning is whole on.
    fn read_cursors(&mut self, disk: &dyn Disk, dir: &Path, files: &[(u64, u64)]) -> Result<Known, OpenError> {
        let mut known = Known::default();
        let mut found = Vec::new();
        for (number, end) in files.iter().rev() {
            let path = path_of(dir, *number);
            let states = states_of(disk, &path, *number, *end).map_err(|cause| OpenError::Io { path, cause })?;
            let is_whole = states.iter().any(|state| matches!(state, State::Cursors(cursors) if cursors.full))
                && states.iter().any(|state| matches!(state, State::Partitions(_)));
            found.push(states);
            if is_whole {
                break;
            }
        }
        for state in found.into_iter().rev().flatten() {
            match state {
                State::Partitions(partitions) => self.partitions = partitions,
                State::Cursors(cursors) => {
                    self.next_id = self.next_id.max(cursors.next_id);
                    if cursors.full {
                        known = Known { below: cursors.next_id, lanes: HashMap::new() };
                    }
                    known.lanes.extend(cursors.lanes);
                }
            }
        }
        Ok(known)
    }

    /// Counts what is alive, segment by segment.
    fn count(&mut self, disk: &dyn Disk, dir: &Path, files: &[(u64, u64)], known: &Known) -> Result<(), OpenError> {
        let mut last_id = 0;
        for (number, end) in files {
            let path = path_of(dir, *number);
            let mut segment = Segment::new(*number, last_id + 1);
            segment.len = *end;
            self.count_segment(disk, &path, &mut segment, known).map_err(|cause| OpenError::Io { path, cause })?;
            last_id = segment.last_id;
            self.segments.push(segment);
        }
        self.next_id = self.next_id.max(last_id + 1);
        for lane in self.lanes.iter_mut() {
            // Ids that cursors name and no segment has.
            lane.reread.retain(|_, size| size.bytes > 0);
        }
        Ok(())
    }

    fn count_segment(&mut self, disk: &dyn Disk, path: &Path, segment: &mut Segment, known: &Known) -> io::Result<()> {
        let (number, end) = (segment.number, segment.len);
        let mut file = scan::Segment::open(disk, path, number)?;
        let mut offset = scan::first_frame(&mut file)?;
        while offset < end {
            let head = match file.at(offset, end)? {
                Found::Frame(head) => head,
                Found::Damage { bytes } => {
                    self.damage.push(Damage { segment: number, offset, bytes });
                    offset += bytes;
                    continue;
                }
            };
            let bytes = head.frame_bytes();
            if let Some(records) = head.records {
                if records.id <= segment.last_id {
                    // Ids only grow: this was not written here.
                    self.damage.push(Damage { segment: number, offset, bytes });
                    offset += bytes;
                    continue;
                }
                let lane = match self.lanes.find(records.topic, records.partition) {
                    Some(lane) => lane,
                    None => {
                        let new = self.lanes.number_or_new(records.topic, records.partition, known.below);
                        let lane = self.lanes.get_mut(new);
                        if let Some(cursor) = known.lanes.get(&lane.key) {
                            lane.resume(cursor);
                        }
                        new
                    }
                };
                let size = Size { records: records.records, bytes };
                let state = self.lanes.get_mut(lane);
                state.last_id = records.id;
                let live = state.is_live(records.id, 0);
                if live {
                    state.live.add(super::segments::Tally { frames: 1, records: size.records.into(), bytes });
                    if let Some(known) = state.reread.get_mut(&records.id) {
                        *known = size;
                    }
                }
                if segment.count(lane, records.id, records.written_ms, size, live) {
                    state.segments += 1;
                }
            }
            offset += bytes;
        }
        Ok(())
    }
}

/// What the newest segment ends with.
struct Tail {
    /// Something was written to it, or could have been: it opens with cursors.
    was_used: bool,
    end: u64,
    /// The highest id in it.
    last_id: u64,
    ghosts: Vec<(LaneKey, u64)>,
}

/// Where the frames of the newest segment stop being whole, bodies included.
fn tail_of(disk: &dyn Disk, path: &Path, number: u64, len: u64) -> io::Result<Tail> {
    let mut file = scan::Segment::open(disk, path, number)?;
    let mut tail = Tail { was_used: false, end: len, last_id: 0, ghosts: Vec::new() };
    // Places that are not whole and not proven to have been.
    let mut broken: Vec<u64> = Vec::new();
    let mut after: Vec<(u64, LaneKey, u64)> = Vec::new();
    let mut full = false;
    let mut offset = scan::first_frame(&mut file)?;
    while offset < len {
        let head = match file.at(offset, len)? {
            Found::Damage { bytes } => {
                broken.push(offset);
                offset += bytes;
                continue;
            }
            Found::Frame(head) => head,
        };
        let (head_bytes, body_bytes, body_crc) = (head.head_bytes, head.body_bytes, head.body_crc);
        let (kind, proven, frame_bytes) = (head.kind, u64::from(head.proven), head.frame_bytes());
        let records = head.records.map(|records| {
            // Only those that may turn out to be ghosts are kept.
            let lane =
                (!broken.is_empty()).then(|| LaneKey { topic: records.topic.into(), partition: records.partition });
            (records.id, lane)
        });
        let body = file.body(offset, head_bytes, body_bytes)?;
        if crc32c::crc32c(&body) != body_crc {
            broken.push(offset);
            offset += frame_bytes;
            continue;
        }
        broken.retain(|place| *place >= proven);
        if broken.is_empty() {
            after.clear();
        }
        full |= kind == Kind::Cursors && broken.is_empty() && frame::decode_cursors(&body).is_ok_and(|it| it.full);
        if let Some((id, lane)) = records {
            tail.last_id = tail.last_id.max(id);
            if let (Some(lane), false) = (lane, broken.is_empty()) {
                after.push((offset, lane, id));
            }
        }
        offset += frame_bytes;
    }
    tail.end = broken.first().copied().unwrap_or(len);
    tail.was_used = full || tail.last_id > 0;
    tail.ghosts = after.into_iter().filter(|(at, ..)| *at >= tail.end).map(|(_, lane, id)| (lane, id)).collect();
    Ok(tail)
}

enum State {
    Cursors(Cursors),
    Partitions(Vec<(Topic, u32)>),
}

/// The cursors and partition counts of a segment, in order. Those that are damaged are left out: they are counted as frames.
fn states_of(disk: &dyn Disk, path: &Path, number: u64, end: u64) -> io::Result<Vec<State>> {
    let mut file = scan::Segment::open(disk, path, number)?;
    let mut states = Vec::new();
    let mut offset = scan::first_frame(&mut file)?;
    while offset < end {
        let head = match file.at(offset, end)? {
            Found::Damage { bytes } => {
                offset += bytes;
                continue;
            }
            Found::Frame(head) => head,
        };
        let (kind, frame_bytes, body_crc) = (head.kind, head.frame_bytes(), head.body_crc);
        let (head_bytes, body_bytes) = (head.head_bytes, head.body_bytes);
        if kind != Kind::Records {
            let body = file.body(offset, head_bytes, body_bytes)?;
            if crc32c::crc32c(&body) == body_crc {
                match kind {
                    Kind::Cursors => states.extend(frame::decode_cursors(&body).ok().map(State::Cursors)),
                    _ => states.extend(frame::decode_partitions(&body).ok().map(State::Partitions)),
                }
            }
        }
        offset += frame_bytes;
    }
    Ok(states)
}
