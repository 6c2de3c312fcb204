//! The spool: the log of one output on disk, for what Kafka does not take and can't wait where it is. [`Log`] appends frames,
//! reads them in order, remembers which are acknowledged, and gives the space of those back. One owner, one thread, no locks;
//! time comes in as a parameter; all I/O goes through [`crate::disk::Disk`].
//!
//! ```text
//! DIR/00000000000000000001.seg     a segment; the number only grows. 16 MiB, more if one group of frames is
//! DIR/00000000000000000001.tmp     a segment being rewritten; means nothing after a restart
//! DIR/spare                        one segment's space, allocated: for cursors and rewriting on a full disk
//!
//! segment   prologue, partitions, cursors (full), then frames of any kind, to the end
//!
//! prologue  0 "LFSPOOL\n"   8 version u32 = 1   12 crc32c of 0..12                                  (all little-endian)
//!
//! frame     0 magic F5 4C 46 FA     4 crc32c of: segment's number u64, offset in the segment u64, bytes 8..h of the frame
//!           8 kind u8: 1 records, 2 cursors, 3 partitions     9 flags u8 = 0     10 h u16: bytes of the head
//!          12 bytes of the body u32  16 crc32c of the body    20 "proven" u32: all below it in this segment was fsynced before
//!   head of records:
//!          24 id u64     32 source u64   40 resume offset u64    48 resume check u64     56 written, ms since the epoch u64
//!          64 partition i32 (-1: the topic's count was not known)    68 records u32     72 payload bytes u32      76 topic
//!   body of records, each:
//!           timestamp ms i64, offset in the source u64, key's length u32 (FFFFFFFF: none), value's length u32,
//!           headers' length u32, key, value, headers: each name's length u16, value's length u32, name, value
//!   body of cursors:
//!           full u8, next id u64, lanes u32, each: topic's length u16, topic, partition i32, below u64, not acknowledged, acknowledged
//!           (both: count, then ids ascending, each as the step from the one before, LEB128)
//!           A lane's frames below `below` are acknowledged, but for those listed; from it on they are not, but for those
//!           listed. Full: a lane that is not listed has all below the next id acknowledged. Else it replaces what the
//!           cursors before said of the lanes it lists.
//!   body of partitions:
//!           each: topic's length u16, topic, count u32; replaces the one before
//! ```
//!
//! # What holds
//! - Appended is what [`Log::append`] returned Ok for: fsynced, and its segment's name too. It is there after any crash until
//!   [`Log::done`] was called for it. A lost cursor repeats, it never loses.
//! - Ids grow, over restarts too, and are never used twice. What an append that failed may have left on the disk counts as
//!   acknowledged, and the segment that the next append goes to says so before anything else: no ghost appears between or
//!   before the frames written in its stead.
//! - A file whose write or fsync failed is never written or fsynced again.
//! - At start the newest segment is cut where its frames stop being whole, unless a later frame proves that what is broken
//!   had been fsynced: then, and in all older segments, it is damage: passed over to the next head whose checksum fits, counted.
//!   A frame's checksum covers where it stands, so a copy of one in a log line is not taken for one.
//! - An I/O error is an error, never damage.
//! - Memory: for each segment and lane 48 bytes, for each lane its cursor, and the ids of frames that the owner has in memory.
//!
//! Deliberately absent: an index of frames, compression (the records' own producer does it), several readers, memory maps.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::{Encoded, Header, LaneKey, Position, Record, SourceKey};

pub mod frame;
pub mod inspect;
mod lanes;
mod log;
mod reader;
mod recover;
mod scan;
mod segments;
#[cfg(test)]
mod tests;
mod upkeep;

pub use log::{AppendError, Log};
pub use recover::{OpenError, Recovered, RecoveredLane};
pub use upkeep::Dropped;

/// The number of a records frame: grows with each, over restarts too. Appends that failed leave gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u64);

/// What is known of a frame without its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub id: FrameId,
    /// Partition -1: the topic's partition count was not known.
    pub lane: LaneKey,
    pub source: SourceKey,
    /// Where the source resumes after this frame's batch.
    pub resume: Position,
    pub records: u32,
    /// Keys, values, header names and values.
    pub payload_bytes: u64,
    /// What it takes on disk.
    pub frame_bytes: u64,
    /// When it was appended, in milliseconds since the epoch.
    pub written_ms: u64,
}

/// A frame to be appended: a range of encoded records.
#[derive(Clone)]
pub struct NewFrame<'a> {
    /// Partition -1: the topic's partition count is not known.
    pub lane: &'a LaneKey,
    pub source: SourceKey,
    pub resume: Position,
    pub encoded: &'a Encoded,
    /// Which of its records.
    pub records: Range<u32>,
    /// Which of those are left out, because they are done already.
    pub skip: &'a [Range<u32>],
}

impl<'a> NewFrame<'a> {
    /// The records that it keeps.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &'a Record> + use<'a> {
        let (encoded, skip) = (self.encoded, self.skip);
        self.records
            .clone()
            .filter(move |index| !skip.iter().any(|range| range.contains(index)))
            .map(move |index| &encoded.records[index as usize])
    }

    /// What it will take on disk, in bytes.
    pub fn frame_bytes(&self) -> u64 {
        frame::records_bytes(self)
    }
}

/// Records, and the buffer that they are ranges of: what [`Encoded`] is made of.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub buf: Vec<u8>,
    pub records: Vec<Record>,
    pub headers: Vec<Vec<Header>>,
}

/// A frame that was read.
#[derive(Clone, Debug)]
pub struct Frame {
    pub meta: Meta,
    pub content: Content,
}

/// What the reader does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Reads it: the owner has it in memory from then on.
    Take,
    /// Its lane waits: the reader passes over this and all later frames of it, until [`Log::again`].
    Skip,
    /// Nothing more now: the same frame is asked for again.
    Wait,
    /// The owner has it in memory already: steps over it.
    Have,
}

/// How a log behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment is closed before it grows over this; 64 KiB to 1 GiB. A group of frames that is longer gets one of its own.
    pub segment_bytes: u64,
    /// What the directory may take, the spare segment included; at least four segments.
    pub max_bytes: u64,
    /// A monotonic clock, to measure fsyncs with. `None`: they take no time.
    pub clock: Option<fn() -> std::time::Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, max_bytes: 1 << 30, clock: None }
    }
}

/// The upper bounds, in milliseconds, of the buckets of [`Stats::fsync_buckets`]; the last bucket has none.
pub const FSYNC_BUCKETS_MS: [u64; 11] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];

/// The log in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Of all segments, as long as they are; what is allocated ahead is not in it.
    pub bytes_on_disk: u64,
    pub segments: u64,
    /// Not acknowledged.
    pub live_frames: u64,
    pub live_records: u64,
    /// What the live frames take on disk. Exact but for frames that were acknowledged before the reader met them: those
    /// count as the average of their lane in their segment.
    pub live_bytes: u64,
    /// When the oldest live frame was written, within the precision of a segment, in milliseconds since the epoch.
    pub oldest_ms: Option<u64>,
    /// Frames, appended since the log was opened, in bytes.
    pub appended_bytes_total: u64,
    pub appended_frames_total: u64,
    pub appended_records_total: u64,
    pub fsyncs_total: u64,
    pub fsync_time_total: std::time::Duration,
    /// How many took up to the bound of [`FSYNC_BUCKETS_MS`] and more than the one before; not cumulated.
    pub fsync_buckets: [u64; FSYNC_BUCKETS_MS.len() + 1],
    /// Since the log was opened, what recovery found included. Frames whose head was broken count as one per gap.
    pub damaged_frames: u64,
    pub damaged_bytes: u64,
    /// Gone with the directory, or with segments in it, while the log was open.
    pub lost_frames: u64,
    pub lost_records: u64,
    /// By [`Log::drop_oldest`].
    pub dropped_frames: u64,
    pub dropped_records: u64,
    pub rewritten_segments: u64,
}

/// What the log holds of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStats {
    pub lane: LaneKey,
    /// Not acknowledged.
    pub frames: u64,
    pub records: u64,
    pub bytes: u64,
}

pub(crate) type Topic = Arc<str>;
