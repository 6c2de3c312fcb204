//! Looking into a spool from outside: nothing is changed, so it works beside an agent that runs.
//!
//! What such an agent removes or writes meanwhile is passed over. Damage is told, never fatal. Bytes behind the last whole frame
//! are told apart from it: an agent may be writing them, or was when it or the machine stopped; but a frame that was damaged
//! there later looks the same.

use std::io;
use std::path::{Path, PathBuf};

use super::frame::{self, Names};
use super::recover::{self, survey};
use super::scan::{self, Found};
use super::segments::{Segment, path_of};
use super::{Frame, FrameId, Meta, OpenError, RecoveredLane, Topic};
use crate::batch::LaneKey;
use crate::disk::Disk;

/// What a spool's directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub segments: Vec<ListedSegment>,
    /// With frames that are not acknowledged, in the order of their names.
    pub lanes: Vec<RecoveredLane>,
    pub partitions: Vec<(Topic, u32)>,
    pub flaws: Flaws,
}

/// Bytes of a spool that are no frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// Where frames were.
    pub damage: Vec<Damage>,
    /// Behind the last frame that is whole: being written, or torn, or damaged.
    pub torn: Vec<Damage>,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSegment {
    pub path: PathBuf,
    pub bytes: u64,
    /// Not acknowledged.
    pub live_frames: u64,
    pub live_records: u64,
    pub live_bytes: u64,
    /// When the oldest of them was written, in milliseconds since the epoch.
    pub oldest_ms: Option<u64>,
}

/// Bytes that should be a frame and are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: u64,
}

/// Lists the spool in `dir`. Frames are looked at by their heads; [`frames`] also checks what is in them. `now_ms`: since the
/// epoch.
///
/// # Errors
/// If it can't be read, or a later version wrote it.
pub fn list(disk: &dyn Disk, dir: &Path, now_ms: u64) -> Result<Listing, OpenError> {
    let survey = survey(disk, dir)?;
    let listed = |segment: &Segment| ListedSegment {
        path: path_of(dir, segment.number),
        bytes: segment.len,
        live_frames: segment.live.frames,
        live_records: segment.live.records,
        live_bytes: segment.live.bytes,
        oldest_ms: segment.oldest_ms(),
    };
    let damage = |damage: &recover::Damage| damage_in(dir, damage);
    Ok(Listing {
        segments: survey.segments.iter().map(listed).collect(),
        lanes: recover::lanes_of(&survey, now_ms),
        flaws: Flaws {
            damage: survey.damage.iter().map(damage).collect(),
            torn: survey.torn.iter().map(damage).collect(),
        },
        partitions: survey.partitions,
    })
}

fn damage_in(dir: &Path, damage: &recover::Damage) -> Damage {
    Damage { path: path_of(dir, damage.segment), offset: damage.offset, bytes: damage.bytes }
}

/// Reads the frames of the spool in `dir` for which `wanted` says so (given whether it is not acknowledged), in the order of ids,
/// and gives them to `visit`. What is no frame.
///
/// # Errors
/// As [`list`]; and what `visit` says, as [`OpenError::Io`].
pub fn frames(
    disk: &dyn Disk,
    dir: &Path,
    wanted: &mut dyn FnMut(&Meta, bool) -> bool,
    visit: &mut dyn FnMut(Frame) -> io::Result<()>,
) -> Result<Flaws, OpenError> {
    let survey = survey(disk, dir)?;
    let torn = survey.torn.iter().map(|torn| damage_in(dir, torn)).collect();
    let mut damage = Vec::new();
    for segment in &survey.segments {
        let path = path_of(dir, segment.number);
        let mut is_live = |topic: &str, partition: i32, id: u64| {
            survey.lanes.find(topic, partition).is_some_and(|lane| survey.lanes.get(lane).is_live(id, 0))
        };
        let read = read_segment(disk, &path, segment, &mut is_live, wanted, visit, &mut damage);
        match read {
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read.map_err(|cause| OpenError::Io { path, cause })?,
        }
    }
    Ok(Flaws { damage, torn })
}

fn read_segment(
    disk: &dyn Disk,
    path: &Path,
    segment: &Segment,
    is_live: &mut dyn FnMut(&str, i32, u64) -> bool,
    wanted: &mut dyn FnMut(&Meta, bool) -> bool,
    visit: &mut dyn FnMut(Frame) -> io::Result<()>,
    damage: &mut Vec<Damage>,
) -> io::Result<()> {
    let mut names = Names::default();
    let mut file = scan::Segment::open(disk, path, segment.number)?;
    let mut offset = scan::first_frame(&mut file)?;
    while offset < segment.len {
        let head = match file.at(offset, segment.len)? {
            Found::Frame(head) => head,
            Found::Damage { bytes } => {
                damage.push(Damage { path: path.to_owned(), offset, bytes });
                offset += bytes;
                continue;
            }
        };
        let meta = head.records.map(|records| {
            let lane = LaneKey { topic: records.topic.into(), partition: records.partition };
            let meta = Meta {
                id: FrameId(records.id),
                source: records.source,
                resume: records.resume,
                records: records.records,
                payload_bytes: records.payload_bytes.into(),
                frame_bytes: head.frame_bytes(),
                written_ms: records.written_ms,
                lane,
            };
            (is_live(records.topic, records.partition, records.id), meta)
        });
        let (head_bytes, body_bytes, body_crc) = (head.head_bytes, head.body_bytes, head.body_crc);
        let frame_bytes = head.frame_bytes();
        let body = file.body(offset, head_bytes, body_bytes)?;
        let is_whole = crc32c::crc32c(&body) == body_crc;
        let content = match meta {
            Some((live, meta)) if is_whole && wanted(&meta, live) => {
                Some(frame::decode_records(body, meta.records, &mut names).map(|content| Frame { meta, content }))
            }
            _ => None,
        };
        match content {
            Some(Ok(frame)) => visit(frame)?,
            Some(Err(_)) => damage.push(Damage { path: path.to_owned(), offset, bytes: frame_bytes }),
            None if !is_whole => damage.push(Damage { path: path.to_owned(), offset, bytes: frame_bytes }),
            None => {}
        }
        offset += frame_bytes;
    }
    Ok(())
}
