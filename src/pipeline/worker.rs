//! The worker: one quantum of one source, run to completion: read, process, route, encode, offer.
//!
//! A worker never waits for Kafka. What deliver does not take is dropped and read again once there is room: the source is
//! rewound and parked, and whatever it would have counted is not counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::acks::Flight;
use super::outgoing::{Encoder, Topics};
use super::plan::Counts;
use super::sources::{Next, RETRY_FIRST, RETRY_LONGEST, Sources, Work};
use crate::batch::{Batch, Position, RECORD_BYTES, Record, Settled};
use crate::budget::Budget;
use crate::deliver::driver::{Deliver, Offer};
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
    pub deliver: Arc<Deliver>,
    pub budget: Budget,
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
        Self { shop, encoder: Encoder::default(), raw: Vec::new(), events: Vec::new(), out: Vec::new() }
    }

    /// Works until the sources are stopped.
    pub fn run(mut self) {
        while let Some(mut work) = self.shop.sources.take() {
            let next = self.turn(&mut work);
            let token = work.token;
            if !self.shop.sources.put_back(work, next) {
                self.shop.deliver.forget(token.0);
            }
        }
    }

    fn turn(&mut self, work: &mut Work) -> Next {
        if let Some(position) = work.ack.take_rewind() {
            work.source.rewind(position);
            work.position_read = position;
        }
        work.source.settled(work.ack.position());
        if !work.is_urgent && work.source.is_urgent() {
            work.is_urgent = true;
            self.shop.deliver.urgent(work.source.key());
        }
        if !work.ack.has_room() {
            return Next::Idle;
        }
        if !work.wants.is_empty() && self.shop.deliver.would_hold(work.token.0, &work.wants, work.is_urgent) {
            return Next::Parked;
        }
        let Some(permit) = self.shop.budget.take_within(BUFFER_BYTES, MEMORY_WAIT) else {
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
                    ..Counts::default()
                };
                let age_when_read = fill.appended.map_or(Duration::ZERO, |appended| now.since(appended));
                let taken = self.hand_over(work, batch, now, (started, age_when_read), before, found);
                if !taken {
                    return Next::Parked;
                }
                work.position_read = resume;
                if more {
                    return Next::Ready;
                }
                work.ack.wake_when_settled();
                Next::Idle
            }
            other => {
                (self.raw, self.events) = (fill.buf, fill.events);
                self.shop.deliver.forget(work.token.0);
                self.rest(work, other)
            }
        }
    }

    /// What to do when a read brought no batch.
    fn rest(&self, work: &mut Work, read: std::io::Result<Read>) -> Next {
        match read {
            Ok(Read::Finished) => Next::Finished,
            Ok(Read::Drained | Read::Idle | Read::Batch { .. }) => {
                work.wants.clear();
                work.ack.wake_when_settled();
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

    /// Encodes and offers a batch. `false`: it was held, and the source is rewound.
    fn hand_over(
        &mut self,
        work: &mut Work,
        mut batch: Batch,
        now: Timestamp,
        (read_at, age_when_read): (Instant, Duration),
        from: Position,
        found: Counts,
    ) -> bool {
        let buf = if self.out.capacity() == 0 { self.shop.pool.take() } else { std::mem::take(&mut self.out) };
        let topics: &dyn Topics = &*self.shop.deliver;
        let mut outgoing = self.encoder.encode(&work.plan, &mut work.route, topics, &mut batch, now, buf);
        let Batch { buf: raw, events, resume, mut permit, .. } = batch;
        (self.raw, self.events) = (raw, events);
        let counts = Counts {
            read_bytes: found.read_bytes,
            filtered_lines: found.filtered_lines,
            truncated_lines: found.truncated_lines,
            ..outgoing.counts
        };
        let flight =
            Flight { read_at, age_when_read, bytes: counts.read_bytes, records: outgoing.records.len() as u64 };
        let receipt = work.ack.issue(resume, flight);
        if outgoing.records.is_empty() {
            self.keep(outgoing.buf);
            self.shop.deliver.forget(work.token.0);
            work.plan.counters.add(&counts);
            receipt.settle(Settled::Dropped);
            return true;
        }
        work.wants.clear();
        work.wants.extend(outgoing.shares.iter().map(|share| (Arc::clone(&share.topic), share.place, share.bytes)));
        if outgoing.buf.len() < outgoing.buf.capacity() / 2 {
            // A small batch must not pin a large buffer while it is in flight.
            let small = outgoing.buf.as_slice().to_vec();
            let large = std::mem::replace(&mut outgoing.buf, small);
            self.keep(large);
        }
        let in_flight = outgoing.records.len() * (size_of::<Record>() + RECORD_BYTES as usize);
        permit.resize(outgoing.buf.capacity() + in_flight);
        let encoded = outgoing.into_encoded(work.source.key(), resume, permit);
        match self.shop.deliver.offer(work.token.0, encoded, receipt, work.is_urgent) {
            Offer::Taken => {
                work.plan.counters.add(&counts);
                true
            }
            Offer::Held { encoded, receipt } => {
                work.ack.retract(receipt);
                work.source.rewind(from);
                self.shop.pool.give(encoded.buf);
                false
            }
        }
    }

    fn keep(&mut self, mut buf: Vec<u8>) {
        buf.clear();
        self.out = buf;
    }
}

/// The time of reading, in whole milliseconds: what Kafka's CreateTime can hold, so that both times of a record agree.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_mul(1_000_000))
}
