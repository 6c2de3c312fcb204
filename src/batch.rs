//! What moves through the pipeline by value: a [`Batch`] of events, then the [`Encoded`] records made of it, and the
//! [`Receipt`] that says at the end what became of them.
//!
//! One owner at a time; nothing here is shared but the encoded bytes while an output has them in flight.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::budget::BytePermit;
use crate::event::{Common, Event};

/// The durable number of a source, given by the checkpoint store at first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(pub u64);

impl SourceKey {
    /// Records on their way to the dead letter's topic: they come from no source that is read. The store never gets this far.
    pub const DEAD_LETTER: Self = Self(u64::MAX);
}

/// The number of an output in the checkpoint store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutputId(pub u16);

/// Where a source resumes; opaque to all but the source.
///
/// A file: `offset` is the byte after the last one consumed (the start of the next line), `check` a hash of the up to 256
/// bytes before it, so that a file which changed under its name is recognised (I8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub offset: u64,
    pub check: u64,
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    pub source: SourceKey,
    /// Gap-free per source (see [`crate::ack::Watermark`]).
    pub seq: u64,
    /// Where the source resumes once this batch and all before it are settled.
    pub resume: Position,
}

/// What became of a batch, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Acknowledged by all in-sync replicas.
    Delivered,
    /// Fsynced in the spool, directory entry included.
    Spooled,
    /// Durable in the dead letter.
    DeadLettered,
    /// Given up by a policy that the user turned on; counted where it was decided.
    Dropped,
    /// Nobody has it: the source reads it again from its watermark.
    Abandoned,
}

/// Who wants to know what became of a source's batches.
pub trait SettleSink: Send + Sync {
    /// Batch `seq` is settled, with all its parts. `Abandoned` if any part was.
    fn settled(&self, seq: u64, how: Settled);
}

/// The promise to say what became of one batch: settles when its last part does. Dropped = [`Settled::Abandoned`].
#[must_use = "a dropped receipt abandons its batch"]
pub struct Receipt {
    shared: Option<Arc<ReceiptShared>>,
}

struct ReceiptShared {
    sink: Arc<dyn SettleSink>,
    seq: u64,
    parts: AtomicU32,
    /// The number of abandoned parts.
    abandoned: AtomicU32,
}

impl Receipt {
    /// The receipt of batch `seq` of the source behind `sink`.
    pub fn new(sink: Arc<dyn SettleSink>, seq: u64) -> Self {
        Self {
            shared: Some(Arc::new(ReceiptShared { sink, seq, parts: AtomicU32::new(1), abandoned: AtomicU32::new(0) })),
        }
    }

    /// `parts` receipts instead of one; the batch settles with the last of them.
    ///
    /// # Panics
    /// If `parts` is 0: a batch without parts is settled, not split.
    pub fn split(mut self, parts: usize) -> Vec<Receipt> {
        assert!(parts > 0, "a batch without parts is settled, not split");
        let shared = self.shared.take().expect("a receipt is used once");
        let more = u32::try_from(parts - 1).expect("a batch has fewer than 2^32 parts");
        shared.parts.fetch_add(more, Ordering::AcqRel);
        (0..parts).map(|_| Receipt { shared: Some(Arc::clone(&shared)) }).collect()
    }

    /// Says what became of this part.
    pub fn settle(mut self, how: Settled) {
        self.finish(how);
    }

    /// Ends the receipt without a word: the batch was not taken, and its number goes back to the watermark.
    ///
    /// # Panics
    /// If the receipt has been split: parts of it may be settled already.
    pub fn retract(mut self) -> u64 {
        let shared = self.shared.take().expect("a receipt is used once");
        assert_eq!(shared.parts.load(Ordering::Acquire), 1, "a split receipt can't be taken back");
        shared.seq
    }

    fn finish(&mut self, how: Settled) {
        let Some(shared) = self.shared.take() else { return };
        if how == Settled::Abandoned {
            shared.abandoned.fetch_add(1, Ordering::AcqRel);
        }
        if shared.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            let abandoned = shared.abandoned.load(Ordering::Acquire) > 0;
            shared.sink.settled(shared.seq, if abandoned { Settled::Abandoned } else { how });
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.finish(Settled::Abandoned);
    }
}

/// Events of one source, and the bytes that they are slices of.
pub struct Batch {
    /// The raw bytes read; events refer to them by range.
    pub buf: Vec<u8>,
    pub events: Vec<Event>,
    /// What all events of the source have in common.
    pub common: Arc<Common>,
    /// Where the source resumes after this batch.
    pub resume: Position,
    pub permit: BytePermit,
}

/// No key, no headers.
pub const NONE: u32 = u32::MAX;

/// One encoded record; ranges are into [`Encoded::buf`].
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub value_start: u32,
    pub value_len: u32,
    /// [`NONE`]: no key.
    pub key_start: u32,
    pub key_len: u32,
    /// Milliseconds since the epoch; Kafka's CreateTime.
    pub timestamp_ms: i64,
    /// Index into [`Encoded::headers`]; [`NONE`]: no headers.
    pub headers: u32,
    /// Byte offset of the line in its source: so that whoever refuses the record can name it.
    pub offset: u64,
}

impl Record {
    /// The value, in the buffer that it was encoded into.
    pub fn value_in<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.value_start as usize..][..self.value_len as usize]
    }

    /// The key, in the same buffer.
    pub fn key_in<'a>(&self, buf: &'a [u8]) -> Option<&'a [u8]> {
        (self.key_start != NONE).then(|| &buf[self.key_start as usize..][..self.key_len as usize])
    }

    /// The headers, among those of its batch.
    pub fn headers_in<'a>(&self, headers: &'a [Vec<Header>]) -> &'a [Header] {
        if self.headers == NONE { &[] } else { &headers[self.headers as usize] }
    }
}

impl Header {
    /// It is [`FAILED_HEADER`]: none of the record's own.
    pub fn is_failed_mark(&self) -> bool {
        &*self.name == FAILED_HEADER
    }

    /// Bytes of its name and value.
    pub fn bytes(&self) -> usize {
        self.name.len() + self.value.len()
    }

    /// The value, in the buffer that it was encoded into.
    pub fn value_in<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.value.start as usize..self.value.end as usize]
    }
}

/// One header; ranges are into [`Encoded::buf`].
#[derive(Clone, Debug)]
pub struct Header {
    /// UTF-8, no NUL but in [`FAILED_HEADER`].
    pub name: Arc<str>,
    pub value: Range<u32>,
}

/// The name of the header by which a record is known that is not for its topic but for the dead letter: a processor failed, and the
/// value is its name. A header, so that it is still known when it comes back from the spool; it is never sent. Its name begins with a
/// NUL, which no header that is sent has: nobody's own header can be taken for it.
pub const FAILED_HEADER: &str = "\0processor_failed";

/// What a record in flight costs beside its payload: the client's own message (about 200 bytes, measured with librdkafka 2.12)
/// and ours. Short lines are more of this than of themselves.
pub const RECORD_BYTES: u64 = 200;

/// Records of one batch for one lane: a range of [`Encoded::records`].
#[derive(Clone, Debug)]
pub struct Share {
    pub topic: Arc<str>,
    pub place: Place,
    pub records: Range<u32>,
    /// Keys, values and headers of the range.
    pub payload_bytes: u64,
    /// What it counts for in the window: the payload, and [`RECORD_BYTES`] for each record.
    pub bytes: u64,
}

/// Where in its topic a share goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// This partition, chosen by the key's hash.
    At(i32),
    /// Keyless: any partition that flows.
    Any,
    /// The topic's partition count is not known yet.
    Unknown,
}

/// A lane: a topic's partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey {
    pub topic: Arc<str>,
    pub partition: i32,
}

/// The encoded records of one batch, in the order of its shares; within a share in source order.
pub struct Encoded {
    pub buf: Vec<u8>,
    pub records: Vec<Record>,
    pub headers: Vec<Vec<Header>>,
    pub shares: Vec<Share>,
    pub source: SourceKey,
    /// Where the source resumes after the batch.
    pub resume: Position,
    pub permit: BytePermit,
}

impl Encoded {
    /// The value of a record.
    pub fn value(&self, record: &Record) -> &[u8] {
        record.value_in(&self.buf)
    }

    /// The key of a record.
    pub fn key(&self, record: &Record) -> Option<&[u8]> {
        record.key_in(&self.buf)
    }

    /// The headers of a record.
    pub fn headers_of(&self, record: &Record) -> &[Header] {
        record.headers_in(&self.headers)
    }

    /// Bytes of a record's key, value and headers.
    pub fn payload_bytes(&self, record: &Record) -> usize {
        let headers: usize = self.headers_of(record).iter().map(Header::bytes).sum();
        record.value_len as usize + self.key(record).map_or(0, <[u8]>::len) + headers
    }

    /// The value of a header.
    pub fn header_value(&self, header: &Header) -> &[u8] {
        header.value_in(&self.buf)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, Settled)>>);

    impl SettleSink for Heard {
        fn settled(&self, seq: u64, how: Settled) {
            self.0.lock().expect("no panic while locked").push((seq, how));
        }
    }

    #[test]
    fn settles_once_with_its_last_part() {
        let heard = Arc::new(Heard::default());
        let mut parts = Receipt::new(heard.clone(), 7).split(3);
        parts.pop().expect("three parts").settle(Settled::Delivered);
        parts.pop().expect("two parts").settle(Settled::Spooled);
        assert!(heard.0.lock().expect("unpoisoned").is_empty(), "one part is still out");
        parts.pop().expect("one part").settle(Settled::Delivered);
        assert_eq!(*heard.0.lock().expect("unpoisoned"), [(7, Settled::Delivered)]);
    }

    #[test]
    fn a_dropped_part_abandons_the_batch() {
        let heard = Arc::new(Heard::default());
        let mut parts = Receipt::new(heard.clone(), 1).split(2);
        drop(parts.pop());
        parts.pop().expect("one part").settle(Settled::Delivered);
        assert_eq!(*heard.0.lock().expect("unpoisoned"), [(1, Settled::Abandoned)]);
    }

    #[test]
    fn a_retracted_receipt_says_nothing() {
        let heard = Arc::new(Heard::default());
        assert_eq!(Receipt::new(heard.clone(), 3).retract(), 3);
        assert!(heard.0.lock().expect("unpoisoned").is_empty());
    }
}
