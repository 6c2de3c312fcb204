//! The worker: one quantum of one source, run to completion: read, process, route, encode, offer.
//!
//! A worker never waits for Kafka. What deliver does not take is dropped and read again once there is room: the source is
//! rewound and parked, and whatever it would have counted is not counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::acks::Flight;
use super::acks::Unwatched;
use super::outgoing::{Encoder, Outgoing, Part, Topics};
use super::plan::{Counts, Plan, RouteCache, Target};
use super::sources::{Next, RETRY_FIRST, RETRY_LONGEST, Sources, Work};
use crate::batch::{Batch, Encoded, Position, RECORD_BYTES, Receipt, Record, Settled, SourceKey};
use crate::budget::{Budget, BudgetPart, BytePermit};
use crate::deliver::driver::{Deliver, Offer};
use crate::deliver::offer_all::{OfferedAll, Portion, offer_all, would_hold_any};
use crate::deliver::waiting::Wants;
use crate::event::{Event, Timestamp};
use crate::input::source::{Fill, Quantum, Read};

/// Raw bytes read in one turn.
pub const QUANTUM_BYTES: usize = 256 << 10;
/// Events made in one turn.
pub const QUANTUM_EVENTS: usize = 4_096;
/// The capacity of the buffers that records are encoded into.
pub const BUFFER_BYTES: usize = 1 << 20;
/// Topics in use at once; over it the fallback topic takes the records.
const TOPICS_MAX: usize = 2_000;
/// How long a turn may wait for memory before another source has its chance.
const MEMORY_WAIT: Duration = Duration::from_millis(50);

/// A source at rest is not woken sooner.
const ALARM_MIN: Duration = Duration::from_millis(20);

/// Buffers for encoded records, used again and again so that their pages stay.
pub struct Pool {
    buffers: Mutex<Vec<Vec<u8>>>,
    kept_max: usize,
}

impl Pool {
    /// Keeps at most `kept_max` buffers of about [`BUFFER_BYTES`].
    pub fn new(kept_max: usize) -> Self {
        Self { buffers: Mutex::default(), kept_max }
    }

    fn take(&self) -> Vec<u8> {
        let kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back; one that is much smaller or larger than the others is let go.
    pub fn give(&self, mut buf: Vec<u8>) {
        if !(BUFFER_BYTES / 2..=BUFFER_BYTES * 4).contains(&buf.capacity()) {
            return;
        }
        buf.clear();
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < self.kept_max {
            buffers.push(buf);
        }
    }
}

/// What all workers share.
pub struct Shop {
    pub sources: Arc<Sources>,
    pub budget: Budget,
    /// What all sources together may keep of it from read to read.
    pub kept: BudgetPart,
    pub pool: Arc<Pool>,
}

/// One worker's own: its tables and buffers between turns.
pub struct Worker {
    shop: Arc<Shop>,
    encoder: Encoder,
    raw: Vec<u8>,
    events: Vec<Event>,
    /// The buffer that the next batch is encoded into.
    out: Vec<u8>,
    /// Which events of a batch go to some output, where there are several.
    routed: Vec<bool>,
}

/// What became of a batch that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handed {
    Taken,
    /// The source is rewound, and parked.
    Held,
    /// The source is rewound, and looked at again after a while.
    Later(Duration),
}

impl Topics for Deliver {
    fn partitions(&self, topic: &str) -> Option<u32> {
        Deliver::partitions(self, topic)
    }

    fn version(&self) -> u64 {
        self.topics_version()
    }

    fn has_room(&self) -> bool {
        self.topics_count() < TOPICS_MAX
    }
}

impl Worker {
    /// A worker that has not worked yet.
    pub fn new(shop: Arc<Shop>) -> Self {
        Self {
            shop,
            encoder: Encoder::default(),
            raw: Vec::new(),
            events: Vec::new(),
            out: Vec::new(),
            routed: Vec::new(),
        }
    }

    /// Works until the sources are stopped.
    pub fn run(mut self) {
        while let Some(mut work) = self.shop.sources.take() {
            let next = self.turn(&mut work);
            let (token, plan) = (work.token, Arc::clone(&work.plan));
            if !self.shop.sources.put_back(work, next) {
                forget(&plan, token.0);
            }
        }
    }

    /// Sees to it that a source at rest is read when it wants to be, though nothing comes. One alarm at a time: one that goes off
    /// too early is set again by the turn that it brings.
    fn arm(&self, work: &mut Work) {
        let Some(wait) = work.source.due_in(now()) else { return };
        let now = Instant::now();
        // Times are kept in whole milliseconds, and what can't be done yet must not keep a worker busy.
        let at = now + wait.max(ALARM_MIN) + Duration::from_millis(1);
        if work.alarm.is_none_or(|set| set <= now || set > at) {
            work.alarm = Some(at);
            self.shop.sources.wake_later(work.token, at - now);
        }
    }

    fn turn(&mut self, work: &mut Work) -> Next {
        if let Some(position) = work.ack.take_rewind() {
            work.source.rewind(position);
            work.position_read = position;
            if !work.plan.is_plain() {
                work.ack.haves(&mut work.haves);
            }
        }
        work.source.settled(work.ack.position());
        if !work.is_urgent && work.source.is_urgent() {
            work.is_urgent = true;
            work.plan.targets.iter().for_each(|target| target.deliver().urgent(work.source.key()));
        }
        if !work.ack.has_room() {
            return Next::Idle;
        }
        if would_hold(work) {
            return Next::Parked;
        }
        let Some(permit) = self.shop.budget.take_within(BUFFER_BYTES * work.plan.targets.len(), MEMORY_WAIT) else {
            return Next::Ready;
        };
        let now = now();
        let quantum = Quantum {
            bytes_max: QUANTUM_BYTES,
            events_max: QUANTUM_EVENTS,
            now,
            all_settled: work.ack.outstanding() == 0,
        };
        let mut fill = Fill {
            buf: std::mem::take(&mut self.raw),
            events: std::mem::take(&mut self.events),
            lines_filtered: 0,
            lines_truncated: 0,
            lines_malformed: 0,
            kept: Some(self.shop.kept.clone()),
            appended: None,
        };
        fill.buf.clear();
        fill.events.clear();
        let started = Instant::now();
        let read = work.source.read(&mut fill, &quantum);
        match read {
            Ok(Read::Batch { resume, more }) => {
                work.retry_after = RETRY_FIRST;
                let common = work.source.common();
                let batch = Batch { buf: fill.buf, events: fill.events, common, resume, permit };
                let before = work.position_read;
                let found = Counts {
                    read_bytes: resume.offset.saturating_sub(before.offset),
                    filtered_lines: fill.lines_filtered,
                    truncated_lines: fill.lines_truncated,
                    malformed_lines: fill.lines_malformed,
                    ..Counts::default()
                };
                let age_when_read = fill.appended.map_or(Duration::ZERO, |appended| now.since(appended));
                let read = (started, age_when_read);
                let handed = if work.plan.is_plain() {
                    self.hand_over(work, batch, now, read, before, found)
                } else {
                    self.hand_over_all(work, batch, now, read, before, found)
                };
                match handed {
                    Handed::Taken => {}
                    Handed::Held => return Next::Parked,
                    Handed::Later(wait) => return Next::Delayed(wait),
                }
                work.position_read = resume;
                // What was settled on the spot (dropped, say) the source has not heard of: it may be finished now.
                if more || !work.ack.wake_when_settled() {
                    return Next::Ready;
                }
                self.arm(work);
                Next::Idle
            }
            other => {
                (self.raw, self.events) = (fill.buf, fill.events);
                forget(&work.plan, work.token.0);
                self.rest(work, other)
            }
        }
    }

    /// What to do when a read brought no batch.
    fn rest(&self, work: &mut Work, read: std::io::Result<Read>) -> Next {
        match read {
            Ok(Read::Finished) => Next::Finished,
            Ok(Read::Drained | Read::Idle | Read::Batch { .. }) => {
                work.wants.iter_mut().for_each(Wants::clear);
                let _wakes = work.ack.wake_when_settled();
                self.arm(work);
                Next::Idle
            }
            Err(error) => {
                let (input, file, wait) = (&work.plan.name, work.source.name(), work.retry_after);
                tracing::warn!(input, file, %error, retry_in = ?wait, "can't read");
                work.retry_after = (wait * 2).min(RETRY_LONGEST);
                Next::Delayed(wait)
            }
        }
    }

    /// Encodes and offers a batch to the one output that there is.
    fn hand_over(
        &mut self,
        work: &mut Work,
        mut batch: Batch,
        now: Timestamp,
        (read_at, age_when_read): (Instant, Duration),
        from: Position,
        found: Counts,
    ) -> Handed {
        let plan = Arc::clone(&work.plan);
        let deliver = plan.targets[0].deliver();
        let buf = self.buffer();
        let topics: &dyn Topics = &**deliver;
        let outgoing = self.encoder.encode(&plan, &mut work.routes[0], topics, &mut batch, now, buf);
        let Batch { buf: raw, events, resume, permit, .. } = batch;
        (self.raw, self.events) = (raw, events);
        let counts = found.and(&outgoing.counts);
        let records = outgoing.records.len();
        let flight = Flight { read_at, age_when_read, bytes: counts.read_bytes, records: records as u64 };
        let seq = work.ack.issue(resume, flight, std::iter::once(count(records)));
        let receipt = work.ack.receipt(seq, 0);
        if outgoing.records.is_empty() {
            self.keep(outgoing.buf);
            deliver.forget(work.token.0);
            plan.counters.add(&counts);
            receipt.settle(Settled::Dropped);
            return Handed::Taken;
        }
        note_wants(&mut work.wants[0], &outgoing);
        let encoded = self.pack(outgoing, work.source.key(), resume, permit);
        match deliver.offer(work.token.0, encoded, receipt, work.is_urgent) {
            Offer::Taken => {
                plan.counters.add(&counts);
                Handed::Taken
            }
            Offer::Held { encoded, receipt } => {
                work.ack.retract(std::iter::once(receipt));
                work.source.hold(from);
                self.shop.pool.give(encoded.buf);
                Handed::Held
            }
        }
    }

    /// Encodes and offers a batch to several outputs, or to one that takes a part of it.
    fn hand_over_all(
        &mut self,
        work: &mut Work,
        mut batch: Batch,
        now: Timestamp,
        (read_at, age_when_read): (Instant, Duration),
        from: Position,
        found: Counts,
    ) -> Handed {
        let plan = Arc::clone(&work.plan);
        let mut counts = found.and(&Encoder::process(&plan, &mut batch, now));
        self.routed.clear();
        self.routed.resize(batch.events.len(), false);
        let outgoings = self.encode_all(work, &plan, &batch, now, &mut counts);
        let Batch { buf: raw, events, resume, mut permit, .. } = batch;
        (self.raw, self.events) = (raw, events);
        counts.unrouted_events = self.routed.iter().filter(|routed| !**routed).count() as u64;
        let routed = self.routed.len() as u64 - counts.unrouted_events;
        let flight = Flight { read_at, age_when_read, bytes: counts.read_bytes, records: routed };
        let watched = outgoings.iter().enumerate().filter(|(at, _)| plan.is_watched(*at));
        let seq = work.ack.issue(resume, flight, watched.map(|(_, outgoing)| count(outgoing.records.len())));
        work.wants.iter_mut().zip(&outgoings).for_each(|(wants, outgoing)| note_wants(wants, outgoing));
        let wants = std::mem::take(&mut work.wants);
        let (mut portions, mut settled) = (Vec::new(), Vec::new());
        let mut mark = 0;
        for (at, (target, outgoing)) in plan.targets.iter().zip(outgoings).enumerate() {
            let records = outgoing.records.len() as u64;
            let watched = plan.is_watched(at).then(|| work.ack.receipt(seq, mark));
            mark += usize::from(watched.is_some());
            let receipt = match (watched, target.required) {
                (Some(receipt), true) if records > 0 => receipt,
                (Some(receipt), _) => {
                    settled.push(receipt);
                    unwatched(target, read_at, records)
                }
                (None, _) => unwatched(target, read_at, records),
            };
            if records == 0 {
                self.keep(outgoing.buf);
                target.deliver().forget(work.token.0);
                // Nobody waits for it, or its own receipt is among those that are settled below.
                receipt.settle(Settled::Dropped);
                continue;
            }
            let part = permit.split_off(permit.bytes() / (plan.targets.len() - at));
            let encoded = self.pack(outgoing, work.source.key(), resume, part);
            let (deliver, required) = (target.deliver(), target.required);
            portions.push(Portion { deliver, wants: &wants[at], encoded, receipt, required });
        }
        drop(permit);
        let offered =
            if portions.is_empty() { OfferedAll::Taken } else { offer_all(work.token.0, portions, work.is_urgent) };
        let (portions, handed) = match offered {
            OfferedAll::Taken => {
                work.wants = wants;
                plan.counters.add(&counts);
                settled.into_iter().for_each(|receipt| receipt.settle(Settled::Dropped));
                return Handed::Taken;
            }
            OfferedAll::Held(portions) => (portions, Handed::Held),
            OfferedAll::Later(portions, wait) => (portions, Handed::Later(wait)),
        };
        let mut receipts = settled;
        for portion in portions {
            self.shop.pool.give(portion.encoded.buf);
            if portion.required {
                receipts.push(portion.receipt);
            } else {
                portion.receipt.settle(Settled::Dropped);
            }
        }
        work.wants = wants;
        work.ack.retract(receipts.into_iter());
        work.source.hold(from);
        handed
    }

    /// What of a processed batch goes to each target.
    fn encode_all(
        &mut self,
        work: &mut Work,
        plan: &Plan,
        batch: &Batch,
        now: Timestamp,
        counts: &mut Counts,
    ) -> Vec<Outgoing> {
        let mut outgoings = Vec::with_capacity(plan.targets.len());
        let mut haves = work.haves.iter().copied();
        for (at, target) in plan.targets.iter().enumerate() {
            let from = if plan.is_watched(at) { haves.next().unwrap_or(0) } else { 0 };
            let buf = self.buffer();
            let part = Part { from, routed: &mut self.routed };
            let topics: &dyn Topics = &**target.deliver();
            let route: &mut RouteCache = &mut work.routes[at];
            let outgoing = self.encoder.encode_for(plan, target, part, route, topics, batch, now, buf);
            counts.cut_records += outgoing.counts.cut_records;
            counts.fallback_records += outgoing.counts.fallback_records;
            counts.encoded_bytes += outgoing.counts.encoded_bytes;
            outgoings.push(outgoing);
        }
        outgoings
    }

    /// A batch that is ready to be offered.
    fn pack(&mut self, mut outgoing: Outgoing, source: SourceKey, resume: Position, mut permit: BytePermit) -> Encoded {
        if outgoing.buf.len() < outgoing.buf.capacity() / 2 {
            // A small batch must not pin a large buffer while it is in flight.
            let small = outgoing.buf.as_slice().to_vec();
            let large = std::mem::replace(&mut outgoing.buf, small);
            self.keep(large);
        }
        let in_flight = outgoing.records.len() * (size_of::<Record>() + RECORD_BYTES as usize);
        permit.resize(outgoing.buf.capacity() + in_flight);
        outgoing.into_encoded(source, resume, permit)
    }

    fn buffer(&mut self) -> Vec<u8> {
        if self.out.capacity() == 0 { self.shop.pool.take() } else { std::mem::take(&mut self.out) }
    }

    fn keep(&mut self, mut buf: Vec<u8>) {
        buf.clear();
        let before = std::mem::replace(&mut self.out, buf);
        if before.capacity() > 0 {
            self.shop.pool.give(before);
        }
    }
}

/// The source has nothing to hand over: what it waits for or was granted is free.
fn forget(plan: &Plan, who: u64) {
    plan.targets.iter().for_each(|target| target.deliver().forget(who));
}

/// Whether what the source handed over last would be held; then it is parked.
fn would_hold(work: &Work) -> bool {
    if work.plan.is_plain() {
        let (deliver, wants) = (work.plan.targets[0].deliver(), &work.wants[0]);
        return !wants.is_empty() && deliver.would_hold(work.token.0, wants, work.is_urgent);
    }
    let wanted =
        work.plan.targets.iter().zip(&work.wants).filter(|(target, wants)| target.required && !wants.is_empty());
    let outputs: Vec<(&Deliver, &Wants)> = wanted.map(|(target, wants)| (&**target.deliver(), wants)).collect();
    !outputs.is_empty() && would_hold_any(work.token.0, &outputs, work.is_urgent)
}

fn note_wants(wants: &mut Wants, outgoing: &Outgoing) {
    wants.clear();
    wants.extend(outgoing.shares.iter().map(|share| (Arc::clone(&share.topic), share.place, share.bytes)));
}

/// A receipt that nothing waits for.
fn unwatched(target: &Target, read_at: Instant, records: u64) -> Receipt {
    let delivery_seconds = Arc::clone(&target.delivery_seconds);
    Receipt::new(Arc::new(Unwatched { read_at, records, delivery_seconds }), 0)
}

fn count(records: usize) -> u32 {
    u32::try_from(records).unwrap_or(u32::MAX)
}

impl Counts {
    /// What reading found, and what was made of it.
    fn and(&self, made: &Counts) -> Counts {
        Counts {
            read_bytes: self.read_bytes,
            filtered_lines: self.filtered_lines,
            truncated_lines: self.truncated_lines,
            malformed_lines: self.malformed_lines,
            ..made.clone()
        }
    }
}

/// The time of reading, in whole milliseconds: what Kafka's CreateTime can hold, so that both times of a record agree.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000_000))
}
