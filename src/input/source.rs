//! What an input gives the pipeline: sources that are read in quanta, parked, rewound and finished.
//!
//! A [`Source`] is owned by one worker at a time; it never waits. Who notices that there is something to read (the watcher
//! of the file input, the reader thread of stdin) tells the [`Host`], which puts the source into the ready queue.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Position, SourceKey};
use crate::budget::BudgetPart;
use crate::event::{Common, Event, Timestamp};

/// The pipeline's number of a live source; never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What a read may use and must fill.
pub struct Fill {
    /// Raw bytes; events refer to ranges of it. Comes empty, with capacity from a pool.
    pub buf: Vec<u8>,
    pub events: Vec<Event>,
    /// Lines of this batch that the input's filter left out. Comes as 0: the host counts it when the batch was taken, since
    /// a batch that is held is read again.
    pub lines_filtered: u64,
    /// Lines of this batch that were cut at `max_line_bytes`; as above.
    pub lines_truncated: u64,
    /// Lines of this batch that were not of the input's `format`; as above.
    pub lines_malformed: u64,
    /// What a source may keep in memory from read to read. `None`: it is not counted.
    pub kept: Option<BudgetPart>,
    /// When the oldest line of this batch was appended, as far as the input knows. Comes as `None`: when it was read.
    pub appended: Option<Timestamp>,
}

/// The bounds of one quantum, and what the source may want to know.
#[derive(Clone, Copy, Debug)]
pub struct Quantum {
    /// Read no more than this (one line longer than it may pass it, up to the input's `max_line_bytes`).
    pub bytes_max: usize,
    pub events_max: usize,
    /// The time of reading: the default of `@timestamp`.
    pub now: Timestamp,
    /// Every batch of this source is settled.
    pub all_settled: bool,
}

/// What a quantum brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Events, or bytes that were consumed without an event (filtered lines): the source resumes at `resume` after them.
    /// `more`: there may be more to read at once.
    Batch { resume: Position, more: bool },
    /// Nothing to read now; somebody will call [`Host::wake`].
    Idle,
    /// Read to its end for ever (a file that is renamed away or unlinked) but not all settled: kept open, woken when all is.
    Drained,
    /// Read to its end for ever, and all is settled: the host drops the source.
    Finished,
}

/// Something that is read in order, and can be read again from its last settled position.
pub trait Source: Send {
    fn key(&self) -> SourceKey;

    /// What its events share. A source may replace it between reads (metadata came); a batch keeps the one it was read with.
    fn common(&self) -> Arc<Common>;

    /// Reads on. Never blocks on anything but the disk.
    ///
    /// # Errors
    /// What the system says of the read; the host logs it with the source's name, counts it, and tries again with back-off.
    fn read(&mut self, fill: &mut Fill, quantum: &Quantum) -> Result<Read, std::io::Error>;

    /// Goes back to `position`: a batch was abandoned.
    fn rewind(&mut self, position: Position);

    /// Goes back to `position`, where it was before the last read: what that brought was not taken, and all before it was.
    fn hold(&mut self, position: Position) {
        self.rewind(position);
    }

    /// How long until it is to be read though nobody wakes it. Asked when it is at rest.
    fn due_in(&self, now: Timestamp) -> Option<Duration> {
        let _ = now;
        None
    }

    /// Everything before `position` is settled (called from time to time, always with what [`Source::rewind`] could get).
    fn settled(&mut self, position: Position);

    /// Whether what it has read may be gone when it wants to read it again, so that it is spooled where Kafka does not take
    /// it. Once it is, the host treats it so for good.
    fn is_urgent(&self) -> bool;

    /// Bytes known to be unread, for lag and status.
    fn lag_bytes(&self) -> u64;

    /// The name for messages and status: a file's path, `stdin`.
    fn name(&self) -> &str;
}

/// The pipeline, as an input sees it.
pub trait Host: Send + Sync {
    /// Takes over a source that stands at `position`, for the input named `input`. It is ready at once.
    fn add(&self, input: &str, source: Box<dyn Source>, position: Position) -> Token;

    /// There may be something to read. Cheap; unknown tokens (finished meanwhile) are ignored.
    fn wake(&self, token: Token);

    /// The source has become urgent ([`Source::is_urgent`]): it is looked at also where it is held.
    fn urge(&self, token: Token);
}
