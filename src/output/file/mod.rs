//! The `file` output: records as lines of local files, acknowledged once they are on the disk.
//!
//! To deliver it is a producer like any other: topics with one partition each. A thread of its own takes what was handed
//! over, all of it at once, so that one fsync serves many records ([`writer`]); workers never wait for the disk. What the disk
//! refuses is a fault of the topics that are written there: deliver holds their lanes and probes, so a disk that is full,
//! read-only or away costs no record, and it goes on by itself.
//!
//! ```text
//!   produce ─► queue ─► thread: write, fsync ─► events ─► poll
//!                 └──── a topic that was just refused: refused too ──┘   until deliver has heard of it
//! ```
//! Invariants: what is handed over for a topic behind something that is refused is refused as well (else it would overtake
//! what is sent again); the files of one `path` have one writer in this process, also while one producer takes over from
//! another.
//!
//! Not here: compression, deleting files by their age, names with dates (`topic` may have one: then the path has).

pub mod options;
pub mod probe;

mod place;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::options::FileOptions;
use self::place::{Local, Place};
use self::writer::{Job, Writer, Written};
use super::{BrokerStatus, Fault, OutputEvent, Parcel, Producer, TopicFault};
use crate::batch::Encoded;

/// Fsyncs are at least so far apart, unless [`GROUP_BYTES`] wait.
const GROUP_EVERY: Duration = Duration::from_millis(20);
/// So much is written at once.
const GROUP_BYTES: u64 = 1 << 20;
/// How often the thread looks after files that nobody writes to.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// The paths that have a writer.
static CLAIMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static UNCLAIMED: Condvar = Condvar::new();

/// A producer that writes files. Dropping it ends its thread, after what it is writing.
pub struct FileProducer {
    desk: Arc<Desk>,
}

/// What the thread and its callers share.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    /// Something was handed over, or it is to end.
    handed: Condvar,
    /// There are events.
    told: Condvar,
}

#[derive(Default)]
struct State {
    queue: Vec<Job>,
    queued_bytes: u64,
    events: Vec<OutputEvent>,
    refusing: HashMap<Arc<str>, Refusal>,
    stopping: bool,
}

/// A topic of which nothing is taken until its owner has heard that.
struct Refusal {
    fault: Fault,
    /// All refusals so far were taken out by a poll.
    is_told: bool,
}

impl FileProducer {
    /// Starts the thread. Nothing is opened before there is a record.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(options: &FileOptions) -> io::Result<Self> {
        Self::start_at(options, Box::new(Local))
    }

    fn start_at(options: &FileOptions, place: Box<dyn Place>) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let (at, options) = (Arc::clone(&desk), options.clone());
        let work = move || {
            let Some(_claim) = Claim::take(&options.path, &at) else { return };
            at.work(Writer::new(options, place));
        };
        std::thread::Builder::new().name("file-writer".into()).spawn(work)?;
        Ok(Self { desk })
    }
}

impl Producer for FileProducer {
    fn produce(&self, parcel: Parcel, encoded: &Arc<Encoded>, topic: &Arc<str>, _partition: i32, records: Range<u32>) {
        let mut state = self.desk.lock();
        if let Some(refusal) = state.refusing.get_mut(topic) {
            refusal.is_told = false;
            let result = Err(refusal.fault.clone());
            state.events.push(OutputEvent::Report { parcel, records, result });
            self.desk.told.notify_all();
            return;
        }
        let job = Job { parcel, encoded: Arc::clone(encoded), topic: Arc::clone(topic), records };
        state.queued_bytes += job.bytes();
        state.queue.push(job);
        self.desk.handed.notify_all();
    }

    fn lookup(&self, topic: &Arc<str>) {
        let mut state = self.desk.lock();
        state.events.push(OutputEvent::Topic { topic: Arc::clone(topic), result: Ok(1) });
        self.desk.told.notify_all();
    }

    fn poll(&self, timeout: Duration, events: &mut Vec<OutputEvent>) {
        let deadline = Instant::now() + timeout;
        let mut state = self.desk.lock();
        // What the last poll took out has been heard by now.
        state.refusing.retain(|_, refusal| !refusal.is_told);
        loop {
            if !state.events.is_empty() {
                events.append(&mut state.events);
                state.refusing.values_mut().for_each(|refusal| refusal.is_told = true);
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.desk.told.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn brokers(&self) -> Vec<BrokerStatus> {
        Vec::new()
    }
}

impl Drop for FileProducer {
    fn drop(&mut self) {
        self.desk.lock().stopping = true;
        self.desk.handed.notify_all();
        // It may wait for its path.
        UNCLAIMED.notify_all();
    }
}

impl Desk {
    /// Writes until it is to end.
    fn work(&self, mut writer: Writer) {
        let mut last = Instant::now().checked_sub(GROUP_EVERY);
        while let Some(jobs) = self.take(last) {
            let written = if jobs.is_empty() { Vec::new() } else { writer.write(jobs) };
            writer.tidy(Instant::now());
            last = Some(Instant::now());
            self.tell(written);
        }
    }

    /// What is to be written next, all of it; nothing if only the files are to be looked after. `None`: the end.
    fn take(&self, last: Option<Instant>) -> Option<Vec<Job>> {
        let mut state = self.lock();
        let tidy_at = Instant::now() + TIDY_EVERY;
        loop {
            if state.stopping {
                return None;
            }
            let now = Instant::now();
            let rest = last.map_or(Duration::ZERO, |last| (last + GROUP_EVERY).saturating_duration_since(now));
            let wait = match (state.queue.is_empty(), state.queued_bytes < GROUP_BYTES) {
                (true, _) => tidy_at.saturating_duration_since(now),
                (false, true) => rest,
                (false, false) => Duration::ZERO,
            };
            if wait.is_zero() {
                state.queued_bytes = 0;
                return Some(std::mem::take(&mut state.queue));
            }
            state = self.handed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says what became of records. Behind a refusal, nothing of its topic is taken.
    fn tell(&self, written: Vec<Written>) {
        if written.is_empty() {
            return;
        }
        let mut state = self.lock();
        for Written { parcel, topic, records, result } in written {
            let result = result.map_err(|message| Fault::Topic { reason: TopicFault::NotWritable, message });
            if let Err(fault) = &result {
                state.refusing.insert(topic, Refusal { fault: fault.clone(), is_told: false });
            }
            state.events.push(OutputEvent::Report { parcel, records, result });
        }
        let State { queue, queued_bytes, events, refusing, .. } = &mut *state;
        queue.retain(|job| {
            let Some(refusal) = refusing.get(&job.topic) else { return true };
            let result = Err(refusal.fault.clone());
            events.push(OutputEvent::Report { parcel: job.parcel, records: job.records.clone(), result });
            *queued_bytes = queued_bytes.saturating_sub(job.bytes());
            false
        });
        self.told.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write the files of a path.
struct Claim(String);

impl Claim {
    /// Waits until nobody else has it; `None`: until it is to end.
    fn take(path: &str, desk: &Desk) -> Option<Self> {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if desk.lock().stopping {
                return None;
            }
            if claimed.insert(path.to_owned()) {
                return Some(Self(path.to_owned()));
            }
            // With a bound, since who stops it does not lock this.
            let waited = UNCLAIMED.wait_timeout(claimed, GROUP_EVERY);
            claimed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        UNCLAIMED.notify_all();
    }
}
