//! The one reader of a log: in the order of ids, over the lanes that wait, and back to where they were left.

use std::io;

use super::frame::{self, Kind, Names};
use super::lanes::{Hint, Lane, Size};
use super::scan::{self, Found};
use super::segments::{Part, Segment, path_of};
use super::{Frame, FrameId, Log, Meta, Turn};
use crate::batch::LaneKey;

/// Where the reader is.
#[derive(Default)]
pub(super) struct Reader {
    /// All frames with smaller ids have been met, or belong to lanes that know better.
    pub pos: u64,
    /// The number of the segment that it is in; the next higher one if that is gone.
    number: u64,
    /// Where in it; 0 is its beginning, before the prologue.
    offset: u64,
    /// The segment as opened for reading.
    open: Option<scan::Segment>,
    /// A lane has to be gone back for.
    wanted: bool,
    names: Names,
}

impl Reader {
    /// The segment was rewritten, or is gone: offsets in it mean nothing any more.
    pub fn forget(&mut self, number: u64) {
        if self.number == number {
            self.offset = 0;
            self.open = None;
        }
    }

    fn go_to(&mut self, number: u64, offset: u64) {
        if self.number != number {
            self.open = None;
        }
        (self.number, self.offset) = (number, offset);
    }
}

/// What there is to do with a frame, as decided from its head.
enum Step {
    Over,
    Stop,
    Take(Meta, u32),
}

/// A records frame's head, and what else the reader needs of it.
struct Met {
    head_bytes: u32,
    body_bytes: u32,
    step: Step,
}

impl Log {
    /// Reads the next frame that `judge` takes, in the order of ids. It is asked for each frame that is not acknowledged, but not
    /// for those of a lane that it has skipped. `None`: there is nothing more now.
    ///
    /// # Errors
    /// What the disk says. Nothing is passed over: the next call begins with the same frame.
    pub fn next(&mut self, judge: &mut dyn FnMut(&Meta) -> Turn) -> io::Result<Option<Frame>> {
        self.go_back();
        loop {
            let number = self.reader.number;
            let index = self.segments.partition_point(|segment| segment.number < number);
            let Some(segment) = self.segments.get(index) else { return Ok(None) };
            if segment.number != number {
                self.reader.go_to(segment.number, 0);
            }
            if self.reader.offset == 0 && !self.is_worth_reading(segment) {
                self.reader.pos = self.reader.pos.max(segment.last_id + 1);
                self.reader.offset = segment.len;
            }
            if self.reader.offset >= segment.len {
                let Some(next) = self.segments.get(index + 1) else { return Ok(None) };
                self.reader.go_to(next.number, 0);
                continue;
            }
            match self.next_in(index, judge) {
                Ok(Some(Step::Take(meta, lane))) => {
                    if let Some(frame) = self.take(meta, lane)? {
                        return Ok(Some(frame));
                    }
                }
                Ok(Some(_)) => return Ok(None),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.notice_what_is_gone()?,
                Err(error) => {
                    // The handle may be what is broken.
                    self.reader.open = None;
                    return Err(error);
                }
            }
        }
    }

    /// The lane flows again: the reader goes back to the first frame of it that was skipped.
    pub fn again(&mut self, lane: &LaneKey) {
        if let Some(number) = self.lanes.number_of(lane) {
            let lane = self.lanes.get_mut(number);
            if lane.skipped {
                lane.wanted = true;
                self.reader.wanted = true;
            }
        }
    }

    /// The frame is no longer in memory: the reader must meet it again (at once if its lane is not skipped).
    pub fn unread(&mut self, lane: &LaneKey, id: FrameId) {
        if let Some(number) = self.lanes.number_of(lane) {
            let lane = self.lanes.get_mut(number);
            if lane.unread(id.0, self.reader.pos) {
                self.reader.wanted |= lane.wanted;
            }
        }
    }

    /// Goes back for the lanes that are wanted again.
    fn go_back(&mut self) {
        if !std::mem::take(&mut self.reader.wanted) {
            return;
        }
        let pos = self.reader.pos;
        let (mut back_to, mut hint) = (pos, None);
        for lane in self.lanes.iter_mut() {
            lane.settle_next(pos);
            if std::mem::take(&mut lane.wanted) {
                let first = lane.first_unread(pos);
                lane.skipped = false;
                if first < back_to {
                    back_to = first;
                    hint = lane.hint.filter(|hint| hint.id == first);
                }
            }
        }
        if back_to == pos {
            return;
        }
        self.reader.pos = back_to;
        let index = self.segments.partition_point(|segment| segment.first_id <= back_to).saturating_sub(1);
        let Some(segment) = self.segments.get(index) else { return };
        let offset = match hint {
            Some(hint) if (hint.segment, hint.generation) == (segment.number, segment.generation) => hint.offset,
            _ => 0,
        };
        let number = segment.number;
        self.reader.go_to(number, offset);
    }

    /// Whether a lane that is not skipped has frames in the segment that were not met.
    fn is_worth_reading(&self, segment: &Segment) -> bool {
        let has_some = |(number, part): (&u32, &Part)| {
            let lane = self.lanes.get(*number);
            part.live.frames > 0
                && !lane.skipped
                && (part.last_id >= lane.met_below(self.reader.pos)
                    || lane.reread.range(segment.first_id..=part.last_id).next().is_some())
        };
        segment.live.frames > 0 && segment.parts.iter().any(has_some)
    }

    /// Looks at the frame at the reader's place, and steps over it if it is not to be read or waited for.
    fn next_in(&mut self, index: usize, judge: &mut dyn FnMut(&Meta) -> Turn) -> io::Result<Option<Step>> {
        let (number, end, generation) = {
            let segment = &self.segments[index];
            (segment.number, segment.len, segment.generation)
        };
        if self.reader.open.is_none() {
            let opened = scan::Segment::open(&*self.disk, &path_of(&self.dir, number), number)?;
            self.reader.open = Some(opened);
        }
        let open = self.reader.open.as_mut().expect("opened above");
        let mut offset = self.reader.offset;
        if offset == 0 {
            offset = scan::first_frame(open)?;
        }
        let head = match open.at(offset, end)? {
            Found::Damage { bytes } => {
                self.reader.offset = offset + bytes;
                self.count_damage(number, offset, bytes);
                self.recount(index)?;
                return Ok(None);
            }
            Found::Frame(head) => head,
        };
        self.reader.offset = offset;
        let (head_bytes, body_bytes) = (head.head_bytes, head.body_bytes);
        let step = match head.records {
            Some(records) if head.kind == Kind::Records && records.id >= self.reader.pos => {
                let place = Hint { id: records.id, segment: number, generation, offset };
                match self.lanes.find(records.topic, records.partition) {
                    None => {
                        self.reader.pos = records.id + 1;
                        Step::Over
                    }
                    Some(lane_number) => {
                        let pos = self.reader.pos;
                        let lane = self.lanes.get_mut(lane_number);
                        let step = meet(lane, lane_number, &head, pos, place, judge);
                        if matches!(step, Step::Over) {
                            self.reader.pos = records.id + 1;
                        }
                        step
                    }
                }
            }
            _ => Step::Over,
        };
        let met = Met { head_bytes, body_bytes, step };
        if let Step::Over = met.step {
            self.reader.offset += u64::from(met.head_bytes) + u64::from(met.body_bytes);
            return Ok(None);
        }
        Ok(Some(met.step))
    }

    /// Reads the records of the frame at the reader's place. `None` if they are damaged: then they are given up.
    fn take(&mut self, meta: Meta, number: u32) -> io::Result<Option<Frame>> {
        let offset = self.reader.offset;
        let open = self.reader.open.as_mut().expect("its head was just read");
        let bytes = open.bytes(offset, frame::HEAD_BYTES)?;
        // Lengths only; the head as a whole was checked.
        let head_bytes = u32::from(u16::from_le_bytes([bytes[10], bytes[11]]));
        let body_crc = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        let body_bytes = u32::try_from(meta.frame_bytes - u64::from(head_bytes)).expect("the head says so");
        let body = open.body(offset, head_bytes, body_bytes)?;
        let content = if crc32c::crc32c(&body) == body_crc {
            frame::decode_records(body, meta.records, &mut self.reader.names)
        } else {
            Err(frame::Fault::Damaged("the checksum of the frame's body does not fit"))
        };
        self.reader.pos = meta.id.0 + 1;
        self.reader.offset += meta.frame_bytes;
        let size = Size { records: meta.records, bytes: meta.frame_bytes };
        let lane = self.lanes.get_mut(number);
        lane.reread.remove(&meta.id.0);
        lane.out.insert(meta.id.0, size);
        match content {
            Ok(content) => Ok(Some(Frame { meta, content })),
            Err(_) => {
                let segment = self.reader.number;
                self.count_damage(segment, offset, meta.frame_bytes);
                self.bury(number, meta.id.0);
                Ok(None)
            }
        }
    }

    /// Counts and tells of bytes that are not what was written.
    pub(super) fn count_damage(&mut self, segment: u64, offset: u64, bytes: u64) {
        let index = self.segments.partition_point(|known| known.number < segment);
        if self.segments.get_mut(index).is_some_and(|known| !known.damaged_at.insert(offset)) {
            return;
        }
        self.totals.damaged_frames += 1;
        self.totals.damaged_bytes += bytes;
        tracing::warn!(
            file = %path_of(&self.dir, segment).display(),
            offset,
            bytes,
            "the spool is damaged here: what stood there is lost"
        );
    }
}

/// Decides what to do with a frame.
fn meet(
    lane: &mut Lane,
    number: u32,
    head: &frame::Head<'_>,
    pos: u64,
    place: Hint,
    judge: &mut dyn FnMut(&Meta) -> Turn,
) -> Step {
    let Some(records) = head.records else { return Step::Over };
    if lane.skipped {
        return Step::Over;
    }
    let id = records.id;
    // As if the reader were here already: frames of other lanes between are none of this one's business.
    let met = id < lane.next.max(pos);
    if met && !lane.reread.contains_key(&id) || !met && lane.ahead.remove(&id) {
        return Step::Over;
    }
    let meta = Meta {
        id: FrameId(id),
        lane: lane.key.clone(),
        source: records.source,
        resume: records.resume,
        records: records.records,
        payload_bytes: records.payload_bytes.into(),
        frame_bytes: head.frame_bytes(),
        written_ms: records.written_ms,
    };
    match judge(&meta) {
        Turn::Take => Step::Take(meta, number),
        Turn::Wait => Step::Stop,
        Turn::Skip => {
            lane.settle_next(id);
            (lane.skipped, lane.wanted) = (true, false);
            lane.hint = Some(place);
            Step::Over
        }
        Turn::Have => {
            lane.reread.remove(&id);
            lane.out.insert(id, Size { records: meta.records, bytes: meta.frame_bytes });
            Step::Over
        }
    }
}
