//! The thread of one output's spool: writes what the machine wants copied, reads back what it has room for.
//!
//! It alone touches the log, outside the machine's lock: a disk that hangs holds up nobody who needs no disk. What it is to do
//! comes in the order in which the machine said it ([`ToSpool`]); what it has done, it says to the machine, a group at a time.
//!
//! Group commit: at once when the last sync is a while ago, else every [`GROUP_EVERY`], so that a stream of small batches costs
//! few syncs; and before that when so much waits that who brings more would have to wait, too ([`Machine::presses`]): the next
//! group comes in while this one is written, so it is the disk that sets the pace, and not the clock.
//!
//! [`Machine::presses`]: super::machine::Machine::presses

use std::collections::{HashSet, VecDeque};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::driver::Deliver;
use super::machine::WhenFull;
use super::spill::Trouble;
use crate::batch::{Encoded, LaneKey, Place, RECORD_BYTES, Record, Share};
use crate::budget::{Budget, BytePermit};
use crate::output::Parcel;
use crate::spool::{self, AppendError, Dropped, Frame, FrameId, Log, NewFrame, Turn};

/// Syncs are so far apart while there is a lot to write.
const GROUP_EVERY: Duration = Duration::from_millis(50);
/// Bytes written with one sync.
const GROUP_BYTES: u64 = 4 << 20;
/// Frames read before what is to be written has its turn.
const READ_FRAMES: usize = 64;
/// The log's own chores, and the time after which a reader that is told to wait asks again.
const TICK: Duration = Duration::from_millis(200);
/// The same while the spool is empty.
const TICK_IDLE: Duration = Duration::from_secs(1);
/// The first and the longest wait after a failed write.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// What the spool's thread is to do, in order.
#[derive(Default)]
pub(super) struct ToSpool {
    pub appends: VecDeque<Job>,
    pub marks: Vec<Mark>,
    /// The reader stopped for want of room, and some was freed.
    pub has_room: bool,
    /// The reader stopped for want of room.
    pub waits: bool,
    /// The thread waits for the time at which it writes the appends: more of them are no reason to wake it.
    pub is_timed: bool,
    /// Other bounds: the most that it may take on the disk, and what happens then.
    pub bounds: Option<(u64, WhenFull)>,
}

impl ToSpool {
    /// Whether the machine has said what became of the frame, and the log does not know yet. To the log the frame is in memory until
    /// then: read now, it would be sent again, and count as one less that waits.
    fn has_mark_of(&self, frame: FrameId) -> bool {
        self.marks.iter().any(|mark| mark.is_of(frame))
    }

    /// How many of these frames the machine has called done, and the log does not know yet.
    fn done_among(&self, lane: &LaneKey, ids: &RangeInclusive<FrameId>) -> u64 {
        let is_one = |mark: &&Mark| matches!(mark, Mark::Done { lane: of, frame } if of == lane && ids.contains(frame));
        self.marks.iter().filter(is_one).count() as u64
    }

    /// Whether there is something to do that the thread does not know of. `presses`: appends can't wait for their time.
    pub(super) fn is_due(&self, presses: bool) -> bool {
        let writes = !self.appends.is_empty() && (presses || !self.is_timed);
        writes || !self.marks.is_empty() || self.has_room || self.bounds.is_some()
    }
}

impl Mark {
    fn is_of(&self, id: FrameId) -> bool {
        matches!(self, Self::Done { frame, .. } | Self::Unread { frame, .. } if *frame == id)
    }
}

/// A parcel to write.
pub(super) struct Job {
    pub parcel: Parcel,
    pub lane: LaneKey,
    pub encoded: Arc<Encoded>,
    pub records: Range<u32>,
    pub done: Vec<Range<u32>>,
}

/// What became of a frame.
pub(super) enum Mark {
    Done { lane: LaneKey, frame: FrameId },
    Unread { lane: LaneKey, frame: FrameId },
    Again { lane: LaneKey },
}

/// What the spool's thread works with.
pub struct Spool {
    pub log: Log,
    /// The most that it may take on the disk.
    pub bytes_max: u64,
    pub when_full: WhenFull,
    pub budget: Budget,
    /// The partition of a key, among so many.
    pub place: fn(&[u8], u32) -> u32,
}

/// The spool of an output, for status.
#[derive(Clone, Debug, Default)]
pub struct SpoolStatus {
    pub stats: spool::Stats,
    /// Why it can't be written now.
    pub trouble: Option<Arc<str>>,
    /// Why it can't be read now.
    pub unreadable: Option<Arc<str>>,
    /// The most that it may take on the disk.
    pub bytes_max: u64,
}

/// The thread's own.
pub(super) struct Spooler {
    deliver: Arc<Deliver>,
    spool: Spool,
    jobs: VecDeque<Job>,
    synced_at: Instant,
    retry_at: Option<Instant>,
    retry_after: Duration,
    ticked_at: Instant,
    trouble: Option<Trouble>,
    /// The reader has more to read at once.
    has_more: bool,
    /// Why the reader does not go on.
    unreadable: Option<Arc<str>>,
    /// Nothing was in the spool when that was last looked at.
    is_empty: bool,
}

impl Spooler {
    pub(super) fn new(deliver: Arc<Deliver>, spool: Spool) -> Self {
        let now = Instant::now();
        Self {
            deliver,
            spool,
            jobs: VecDeque::new(),
            synced_at: now,
            retry_at: None,
            retry_after: RETRY_FIRST,
            ticked_at: now,
            trouble: None,
            has_more: true,
            unreadable: None,
            is_empty: false,
        }
    }

    /// Until the output is stopped and everything that was asked for is written, or can't be.
    pub(super) fn run(mut self) {
        loop {
            let is_stopping = self.take();
            if self.deliver.is_aborting() {
                return;
            }
            if self.retry_at.is_none_or(|at| at <= Instant::now()) {
                self.write();
            }
            if is_stopping {
                break;
            }
            self.place_waiting();
            self.read();
            self.tick();
            self.tell();
        }
        if let Err(error) = self.spool.log.close() {
            tracing::warn!(output = %self.deliver.name, %error, "the spool can't be closed; what was acknowledged last is sent again after the restart");
        }
    }

    /// Waits for something to do, and takes it. Whether the output is being stopped.
    fn take(&mut self) -> bool {
        let mut core = self.deliver.lock();
        let until = Instant::now() + self.pause();
        loop {
            let due = !core.to_spool.marks.is_empty() || core.to_spool.has_room || core.to_spool.bounds.is_some();
            let writes = !core.to_spool.appends.is_empty() && self.retry_at.is_none();
            let is_stopping = self.deliver.is_stopping();
            let now = Instant::now();
            let grouped = self.synced_at + GROUP_EVERY <= now || core.machine.presses();
            if due || (writes && grouped) || is_stopping || now >= until {
                let to_spool = &mut core.to_spool;
                if grouped || is_stopping {
                    self.jobs.append(&mut to_spool.appends);
                }
                let marks = std::mem::take(&mut to_spool.marks);
                self.has_more |= std::mem::take(&mut to_spool.has_room);
                let bounds = to_spool.bounds.take();
                drop(core);
                if let Some((bytes_max, when_full)) = bounds {
                    self.bound(bytes_max, when_full);
                }
                self.mark(marks);
                return is_stopping;
            }
            let wait = if writes { (self.synced_at + GROUP_EVERY).min(until) } else { until } - now;
            core.to_spool.is_timed = writes;
            core = self.deliver.wait_for_spool(core, wait);
            core.to_spool.is_timed = false;
        }
    }

    fn bound(&mut self, bytes_max: u64, when_full: WhenFull) {
        (self.spool.bytes_max, self.spool.when_full) = (bytes_max, when_full);
        self.spool.log.set_max_bytes(bytes_max);
        // What did not fit may fit now.
        (self.retry_at, self.retry_after) = (None, RETRY_FIRST);
        self.trouble = self.trouble.take().filter(|trouble| !trouble.is_full);
    }

    fn pause(&self) -> Duration {
        if self.has_more {
            return Duration::ZERO;
        }
        let left = |at: Instant| at.saturating_duration_since(Instant::now());
        match self.retry_at {
            Some(at) => left(at).min(TICK),
            None if !self.jobs.is_empty() => Duration::ZERO,
            None if self.is_empty => TICK_IDLE,
            None => TICK,
        }
    }

    fn mark(&mut self, marks: Vec<Mark>) {
        for mark in marks {
            match mark {
                Mark::Done { lane, frame } => self.spool.log.done(&lane, frame),
                Mark::Unread { lane, frame } => {
                    self.spool.log.unread(&lane, frame);
                    self.has_more = true;
                }
                Mark::Again { lane } => {
                    self.spool.log.again(&lane);
                    self.has_more = true;
                }
            }
        }
    }

    /// Writes what is to be written, a group and a sync at a time.
    fn write(&mut self) {
        while !self.jobs.is_empty() {
            self.drop_unwanted();
            let mut bytes = 0;
            let group: Vec<&Job> = self
                .jobs
                .iter()
                .take_while(|job| {
                    let fits = bytes < GROUP_BYTES;
                    bytes += job.payload_bytes();
                    fits
                })
                .collect();
            let count = group.len();
            for job in &group {
                if let Some(partitions) = self.deliver.partitions(&job.lane.topic) {
                    self.spool.log.set_partitions(&job.lane.topic, partitions);
                }
            }
            let frames: Vec<NewFrame<'_>> = group.iter().map(|job| job.frame()).collect();
            let result = self.spool.log.append(&frames, now_ms());
            drop((frames, group));
            match result {
                Ok(ids) => {
                    self.synced_at = Instant::now();
                    // Their batches are let go first: who takes back the buffers must be the last to have them.
                    let written = self.jobs.drain(..count).zip(ids);
                    let written = written.map(|(job, id)| (job.parcel, job.lane, id)).collect();
                    self.written(written);
                    self.has_more = true;
                }
                Err(error) => {
                    if !self.failed(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// While nothing can be written: what was taken before the partitions of its keys were known is taken apart once they are, and
    /// sent.
    fn place_waiting(&self) {
        if self.trouble.is_none() {
            return;
        }
        loop {
            let next = self.deliver.lock().machine.next_to_place(self.deliver.now());
            // What is not here yet comes with the next group.
            let Some((parcel, partitions)) = next else { return };
            let Some(job) = self.jobs.iter().find(|job| job.parcel == parcel) else { return };
            // It is in memory twice until it is written.
            let bytes = memory_of(job.encoded.buf.len() as u64, job.records.end - job.records.start);
            let Some(permit) = self.spool.budget.try_take(bytes) else { return };
            let encoded = Arc::new(job.placed(partitions, self.spool.place, permit));
            if !self.deliver.hand_back(parcel, &encoded) {
                return;
            }
        }
    }

    /// What was acknowledged, or given up, since it was asked for need not be written.
    fn drop_unwanted(&mut self) {
        let mut core = self.deliver.lock();
        self.jobs.retain(|job| core.machine.wants_copy(job.parcel));
    }

    fn written(&mut self, written: Vec<(Parcel, LaneKey, FrameId)>) {
        if self.trouble.take().is_some() {
            tracing::info!(output = %self.deliver.name, "the spool can be written again");
        }
        (self.retry_at, self.retry_after) = (None, RETRY_FIRST);
        self.deliver.with_machine(|machine| {
            for (parcel, lane, frame) in &written {
                machine.committed(*parcel, lane, *frame);
            }
        });
    }

    /// The group was not written. Whether to try again at once.
    fn failed(&mut self, error: &AppendError) -> bool {
        let is_full = error.is_full();
        if is_full && self.spool.when_full == WhenFull::DropOldest && self.drop_oldest() {
            return true;
        }
        let message: Arc<str> = error.to_string().into();
        if self.trouble.as_ref().is_none_or(|trouble| trouble.message != message) {
            tracing::error!(output = %self.deliver.name, %error, "the spool can't be written; what should be spooled is held in its source");
        }
        self.trouble = Some(Trouble { is_full, message });
        self.retry_at = Some(Instant::now() + self.retry_after);
        self.retry_after = (self.retry_after * 2).min(RETRY_LONGEST);
        self.tell();
        false
    }

    /// Gives up the oldest segment. Whether there was one.
    fn drop_oldest(&mut self) -> bool {
        match self.spool.log.drop_oldest() {
            Ok(dropped) if dropped.is_empty() => false,
            Ok(dropped) => {
                for one in &dropped {
                    tracing::warn!(
                        output = %self.deliver.name, topic = %one.lane.topic, partition = one.lane.partition,
                        records = one.records, bytes = one.bytes,
                        "the spool is full: its oldest records are dropped, as when_full: drop_oldest says"
                    );
                }
                self.gone(&dropped);
                true
            }
            Err(error) => {
                tracing::warn!(output = %self.deliver.name, %error, "the oldest segment of the spool can't be removed");
                false
            }
        }
    }

    fn gone(&self, frames: &[Dropped]) {
        let now = self.deliver.now();
        let mut core = self.deliver.lock();
        for one in frames {
            let ids = one.first_id..=one.last_id;
            // Done, which the log did not know when it counted them: the machine does not wait for those.
            let done = core.to_spool.done_among(&one.lane, &ids);
            core.machine.frames_gone(&one.lane, ids, one.frames.saturating_sub(done), now);
        }
        self.deliver.act_and_finish(core);
    }

    /// Reads on, while the machine has room.
    fn read(&mut self) {
        self.has_more = false;
        for _ in 0..READ_FRAMES {
            let mut permit = None;
            let (deliver, Spool { log, budget, .. }) = (&self.deliver, &mut self.spool);
            let next = log.next(&mut |meta| {
                let bytes = meta.payload_bytes + u64::from(meta.records) * RECORD_BYTES;
                let now = deliver.now();
                let mut core = deliver.lock();
                if core.to_spool.has_mark_of(meta.id) {
                    return Turn::Have;
                }
                let turn = match core.machine.may_read(&meta.lane, meta.id, bytes, now) {
                    Turn::Take => {
                        permit = budget.try_take(memory_of(meta.frame_bytes, meta.records));
                        if permit.is_some() { Turn::Take } else { Turn::Wait }
                    }
                    turn => turn,
                };
                core.to_spool.waits = turn == Turn::Wait;
                turn
            });
            match (next, permit) {
                (Ok(Some(frame)), Some(permit)) => self.hand_over(frame, permit),
                (Ok(_), _) => {
                    if self.unreadable.take().is_some() {
                        tracing::info!(output = %self.deliver.name, "the spool can be read again");
                    }
                    return self.settle_count();
                }
                (Err(error), _) => return self.cant_read(&error),
            }
        }
        self.has_more = true;
    }

    /// Frames that turn out to be damaged are never met: what the machine waits for must be what the log has.
    fn settle_count(&self) {
        let mut core = self.deliver.lock();
        if core.machine.spooled_lanes().next().is_none() || !core.to_spool.marks.is_empty() {
            return;
        }
        let log = &self.spool.log;
        let none: Vec<LaneKey> = core.machine.spooled_lanes().filter(|lane| !log.has_unread(lane)).cloned().collect();
        let now = self.deliver.now();
        none.iter().for_each(|lane| core.machine.nothing_unread(lane, now));
        self.deliver.act_and_finish(core);
    }

    fn cant_read(&mut self, error: &io::Error) {
        if self.unreadable.is_some() {
            return;
        }
        tracing::error!(output = %self.deliver.name, %error, "the spool can't be read; trying again");
        let directory = self.spool.log.directory().display();
        self.unreadable = Some(format!("the spool {directory} can't be read: {error}; it is tried again").into());
    }

    /// A frame becomes parcels again.
    fn hand_over(&mut self, frame: Frame, permit: BytePermit) {
        let Frame { meta, content } = frame;
        let partitions = self.deliver.partitions(&meta.lane.topic);
        let mut encoded = Encoded {
            buf: content.buf,
            records: content.records,
            headers: content.headers,
            shares: Vec::new(),
            source: meta.source,
            resume: meta.resume,
            permit,
        };
        place(&mut encoded, &meta.lane, partitions, self.spool.place);
        let encoded = Arc::new(encoded);
        self.deliver.hand_over(&meta.lane, meta.id, &encoded);
    }

    /// The log's own chores.
    fn tick(&mut self) {
        if self.ticked_at.elapsed() < TICK {
            return;
        }
        self.ticked_at = Instant::now();
        if let Err(error) = self.spool.log.tick(self.deliver.now()) {
            tracing::debug!(output = %self.deliver.name, %error, "the spool can't be tidied up; trying again");
        }
        let lost = self.spool.log.take_lost();
        if !lost.is_empty() {
            self.gone(&lost);
        }
    }

    /// Says how the spool is.
    fn tell(&mut self) {
        let log = &self.spool.log;
        let drops_oldest = self.spool.when_full == WhenFull::DropOldest;
        // There is always room then: the log says when it has to be made.
        let room = if drops_oldest { u64::MAX / 2 } else { log.room() };
        let (stats, trouble) = (log.stats(), self.trouble.clone());
        self.is_empty = stats.live_frames == 0 && trouble.is_none();
        let mut core = self.deliver.lock();
        let greedy: HashSet<LaneKey> =
            core.machine.spooled_lanes().filter(|lane| !drops_oldest && log.holds_too_much(lane)).cloned().collect();
        core.spool = Some(SpoolStatus {
            stats,
            trouble: trouble.as_ref().map(|trouble| Arc::clone(&trouble.message)),
            unreadable: self.unreadable.clone(),
            bytes_max: self.spool.bytes_max,
        });
        core.machine.set_when_full(self.spool.when_full);
        core.machine.spool(room, greedy, trouble);
        self.deliver.act_and_finish(core);
    }
}

impl Job {
    fn payload_bytes(&self) -> u64 {
        let records = &self.encoded.records[self.records.start as usize..self.records.end as usize];
        records.iter().map(|record| self.encoded.payload_bytes(record) as u64).sum()
    }

    /// Its records, grouped by the partitions of their keys.
    fn placed(&self, partitions: u32, of_key: fn(&[u8], u32) -> u32, permit: BytePermit) -> Encoded {
        let mut encoded = Encoded {
            buf: self.encoded.buf.clone(),
            records: self.encoded.records[self.records.start as usize..self.records.end as usize].to_vec(),
            headers: self.encoded.headers.clone(),
            shares: Vec::new(),
            source: self.encoded.source,
            resume: self.encoded.resume,
            permit,
        };
        place(&mut encoded, &self.lane, Some(partitions), of_key);
        encoded
    }

    fn frame(&self) -> NewFrame<'_> {
        NewFrame {
            lane: &self.lane,
            source: self.encoded.source,
            resume: self.encoded.resume,
            encoded: &self.encoded,
            records: self.records.clone(),
            skip: &self.done,
        }
    }
}

/// What a frame takes in memory: its buffer, the tables beside it, and what the client keeps for each record.
fn memory_of(frame_bytes: u64, records: u32) -> usize {
    let tables = u64::from(records) * (size_of::<Record>() as u64 + RECORD_BYTES);
    usize::try_from(frame_bytes + tables).unwrap_or(usize::MAX)
}

/// Groups the records of a frame by their place: the frame's own partition, if its topic has it; else each key's.
fn place(encoded: &mut Encoded, lane: &LaneKey, partitions: Option<u32>, of_key: fn(&[u8], u32) -> u32) {
    let own = u32::try_from(lane.partition).ok().filter(|own| partitions.is_none_or(|count| *own < count));
    let place_of = |record: &Record| match (own, encoded.key(record), partitions) {
        (Some(_), ..) => Place::At(lane.partition),
        (None, Some(key), Some(count)) => Place::At(i32::try_from(of_key(key, count)).unwrap_or(i32::MAX)),
        (None, ..) => Place::Any,
    };
    let mut groups: Vec<(Place, Vec<Record>)> = Vec::new();
    for record in &encoded.records {
        let place = place_of(record);
        match groups.iter_mut().find(|(other, _)| *other == place) {
            Some((_, records)) => records.push(*record),
            None => groups.push((place, vec![*record])),
        }
    }
    let (mut records, mut shares) = (Vec::with_capacity(encoded.records.len()), Vec::new());
    for (place, group) in groups {
        let start = records.len() as u32;
        let payload_bytes: u64 = group.iter().map(|record| encoded.payload_bytes(record) as u64).sum();
        let bytes = payload_bytes + group.len() as u64 * RECORD_BYTES;
        records.extend(group);
        let topic = Arc::clone(&lane.topic);
        shares.push(Share { topic, place, records: start..records.len() as u32, payload_bytes, bytes });
    }
    (encoded.records, encoded.shares) = (records, shares);
}

/// The time that frames are stamped with: milliseconds since the epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::offer_all::tests::Pair;
    use super::*;
    use crate::disk::RealDisk;
    use crate::disk::sim::SimDisk;

    /// Scenario: a batch in flight is copied to the spool, and acknowledged before the reader meets its frame and before the log is
    /// told. Guarantee: it is not sent a second time, and what arrives later is not handed over as if a frame less waited.
    #[test]
    fn a_frame_that_is_done_and_not_marked_is_not_read() {
        let (pair, dir) = (Pair::new(), tempfile::tempdir().expect("a directory"));
        let deliver = &pair.delivers[0];
        pair.know(0, "t");
        let (log, _) = Log::open(Arc::new(RealDisk), dir.path(), spool::Options::default(), now_ms()).expect("a log");
        let spool = Spool {
            log,
            bytes_max: 1 << 30,
            when_full: WhenFull::Block,
            budget: Budget::new(1 << 20),
            place: |_, _| 0,
        };
        let mut spooler = Spooler::new(Arc::clone(deliver), spool);
        spooler.tell();
        assert!(pair.offers(0, 1, 100, true));
        assert_eq!(deliver.spill_urgent(), 1);
        // A group that is not due yet is left where it is.
        while spooler.jobs.is_empty() {
            spooler.take();
        }
        spooler.write();
        assert_eq!(spooler.spool.log.stats().live_frames, 1, "the copy is written");
        let (parcel, records) = pair.desks[0].produced.lock().expect("unpoisoned").first().cloned().expect("one");
        deliver.with_machine(|machine| machine.report(0, parcel, records, Ok(()), Duration::ZERO));
        spooler.read();
        assert_eq!(pair.desks[0].produced.lock().expect("unpoisoned").len(), 1, "it was acknowledged");
        spooler.take();
        spooler.read();
        assert_eq!(spooler.spool.log.stats().live_frames, 0, "the log has been told by now");
    }

    /// Scenario: a frame waits in the spool, and the disk gives an error instead of it; then the disk is well again.
    /// Guarantee: while nothing can be read, the status says so, and of what directory; then the frame is sent.
    #[test]
    fn a_spool_that_can_not_be_read_says_so_until_it_can() {
        let (disk, dir) = (SimDisk::new(1, 1 << 26), Path::new("/data/spool"));
        let spooler = |pair: &Pair| {
            pair.know(0, "t");
            let (log, _) = Log::open(Arc::new(disk.clone()), dir, spool::Options::default(), now_ms()).expect("a log");
            let (when_full, budget) = (WhenFull::Block, Budget::new(1 << 20));
            Spooler::new(
                Arc::clone(&pair.delivers[0]),
                Spool { log, bytes_max: 1 << 30, when_full, budget, place: |_, _| 0 },
            )
        };
        let before = Pair::new();
        let mut writing = spooler(&before);
        writing.tell();
        assert!(before.offers(0, 1, 100, true));
        assert_eq!(before.delivers[0].spill_urgent(), 1);
        while writing.jobs.is_empty() {
            writing.take();
        }
        writing.write();
        drop(writing);

        let pair = Pair::new();
        let mut reading = spooler(&pair);
        let told = |spooler: &mut Spooler| {
            spooler.read();
            spooler.tell();
            pair.delivers[0].status().spool.and_then(|spool| spool.unreadable)
        };
        disk.fail_after(0, io::ErrorKind::Other);
        let error = told(&mut reading).expect("it can't be read");
        assert!(error.contains("/data/spool") && error.contains("can't be read"), "{error}");
        disk.heal();
        assert_eq!(told(&mut reading), None);
        assert_eq!(pair.desks[0].produced.lock().expect("unpoisoned").len(), 1);
    }
}
