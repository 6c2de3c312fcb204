//! Outputs: where encoded records go. Kafka's is in [`kafka`], the only folder that names rdkafka; [`file`] writes local files.
//!
//! [`Producer`] is the seam that deliver drives: it takes shares of encoded batches, never waits, and reports per run of
//! records. What is in flight is kept alive by the producer itself until its report.

pub mod dead_letter;
pub mod envelope;
pub mod file;
pub mod kafka;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Encoded;

/// A share of a batch on its way: deliver's number for it, never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Parcel(pub u64);

/// Why a record, or a lane, is refused. What librdkafka retries itself (transient errors) never gets here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This record is to blame, or may be (a batch refused for its size accuses nobody).
    Record { reason: RecordFault, message: Arc<str> },
    /// The record is fine; a neighbour in its batch was refused (`_INVALID_DIFFERENT_RECORD`). Send it again.
    Neighbour,
    /// The topic or partition can't take records now: missing, not authorised.
    Topic { reason: TopicFault, message: Arc<str> },
    /// This producer is dead (a fatal idempotence error, purged): everything unreported goes to a new one.
    Producer { message: Arc<str> },
}

impl Fault {
    /// What happened, and what to do, in one line.
    pub fn message(&self) -> &str {
        match self {
            Self::Record { message, .. } | Self::Topic { message, .. } | Self::Producer { message } => message,
            Self::Neighbour => "another record of its batch was refused",
        }
    }
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordFault {
    TooLarge,
    Invalid,
    InvalidTimestamp,
    /// Nobody refused it: a processor failed, and its `on_failure` is `dead_letter`.
    Processor,
}

impl RecordFault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TooLarge, Self::Invalid, Self::InvalidTimestamp, Self::Processor];

    /// The word for metrics and the dead letter.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::Processor => "processor_failed",
        }
    }
}

/// What is wrong with a topic or one of its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicFault {
    /// The topic does not exist (and is not to be created).
    Missing,
    /// The partition does not exist (any more).
    PartitionGone,
    NotAuthorized,
    /// Anything else that the broker says of the topic, policy violations among them.
    Refused,
    /// Its file can't be written.
    NotWritable,
}

/// The ids of the brokers that have a partition, in increasing order, by partition.
pub type Replicas = Arc<[Box<[i32]>]>;

/// What an output says, from [`Producer::poll`].
#[derive(Clone, Debug)]
pub enum OutputEvent {
    /// What became of a run of records of a parcel. Every record handed over is reported exactly once.
    Report { parcel: Parcel, records: Range<u32>, result: Result<(), Fault> },
    /// The partition count of a topic: asked for by [`Producer::lookup`], or found changed by the refresh.
    Topic { topic: Arc<str>, result: Result<u32, Fault> },
    /// Which brokers have the partitions of a topic: said when it is found out, and when it has changed.
    Replicas { topic: Arc<str>, replicas: Replicas },
    /// The whole instance is beyond repair: make a new one.
    Fatal { message: Arc<str> },
}

/// A producing client of one output.
pub trait Producer: Send + Sync {
    /// Hands over records of a batch, in order behind what was handed over for that partition before. Never waits; a
    /// refusal on the spot comes as a report too.
    fn produce(&self, parcel: Parcel, encoded: &Arc<Encoded>, topic: &Arc<str>, partition: i32, records: Range<u32>);

    /// Asks for the partition count of a topic; the answer comes by [`Producer::poll`]. A topic asked for once is refreshed
    /// from then on, at least every 30 s.
    fn lookup(&self, topic: &Arc<str>);

    /// Nobody needs the topic any more: it is not asked for until its next [`Producer::lookup`] or record.
    fn forget(&self, _topic: &Arc<str>) {}

    /// Adds what has happened; waits up to `timeout` for something.
    fn poll(&self, timeout: Duration, events: &mut Vec<OutputEvent>);

    /// The state of each broker known, for status.
    fn brokers(&self) -> Vec<BrokerStatus>;

    /// Which of these brokers do not answer now, each asked on a connection made for it; `None`: not one does, or it can't be
    /// said. Blocks for a second at most, or a little more.
    fn knock(&self, _brokers: &[i32]) -> Option<Vec<i32>> {
        None
    }
}

/// A broker, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BrokerStatus {
    /// `HOST:PORT/ID`.
    pub name: String,
    /// `UP`, `DOWN`, `CONNECT`, `AUTH_REQ`, … (librdkafka's words).
    pub state: String,
    /// The last error it was seen with.
    pub last_error: Option<String>,
}

impl BrokerStatus {
    /// Its number in the cluster, once that is known.
    pub fn id(&self) -> Option<i32> {
        self.name.rsplit_once('/')?.1.parse().ok()
    }
}
