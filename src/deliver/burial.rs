//! What becomes of records that Kafka refuses for good: they go to the dead letter, and their lane goes on (I5).
//!
//! ```text
//!   Bury ─► a topic is configured? ─ yes ─► offered like any urgent record, on that topic's own lane ─┐
//!             │ no, or the record is one of that topic's own, refused again                           │ its receipt
//!             ▼                                                                                       ▼
//!           the local file, fsynced ───────────────────────────────► buried ◄── delivered, or in the spool
//! ```
//! A record is settled only once the dead letter is durable itself; those that wait for the file share an fsync, up to a MiB of
//! them. What neither takes is tried again; its lane holds meanwhile,
//! and that is said at once and then every minute. Nothing goes in circles: what the dead letter's topic refuses goes to the
//! file, as the record that it was.
//!
//! Runs on the output's thread, outside the machine's lock.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::driver::{Deliver, Offer, Waiter};
use crate::batch::{Encoded, LaneKey, Place, Receipt, SettleSink, Settled, SourceKey};
use crate::budget::Budget;
use crate::output::dead_letter::entry::Entry;
use crate::output::dead_letter::{DeadLetter, FileStatus};
use crate::output::{Parcel, RecordFault};

/// Who waits for the dead letter's topic: no source has this number.
pub(super) const UNDERTAKER: Waiter = Waiter::MAX;
/// A dead letter that takes nothing is complained of so often.
const ALARM_EVERY: Duration = Duration::from_secs(60);
/// What the topic's lane did not take is offered again after this long, if nobody says before that there is room.
const OFFER_EVERY: Duration = Duration::from_secs(1);
/// The file takes so many payload bytes with one fsync, and the record that reaches that.
const COMMIT_BYTES_MAX: usize = 1 << 20;
/// How often the file is looked at for status.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where one output's refused records go.
pub struct Letters {
    /// By default, and for what the topic refuses.
    pub file: Box<dyn DeadLetter>,
    pub topic: Option<LetterTopic>,
    /// The name of this host.
    pub host: String,
}

/// A dead letter that is a topic of the same output.
pub struct LetterTopic {
    pub name: Arc<str>,
    /// The partition of a key, among so many.
    pub place: fn(&[u8], u32) -> u32,
    /// Copies of refused records count here.
    pub budget: Budget,
}

/// An output's dead letter, for status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterStatus {
    pub topic: Option<Arc<str>>,
    /// Records that the topic, or the spool on the way there, took since the start.
    pub topic_records: u64,
    pub file: FileStatus,
}

/// A refused record that is to be buried: its parcel, its number there, and why.
#[derive(Clone)]
pub(super) struct Grave {
    pub parcel: Parcel,
    pub record: u32,
    pub reason: RecordFault,
    pub message: Arc<str>,
}

/// What `Deliver` keeps for burials.
pub(super) struct Burials {
    /// Locked while records are buried.
    letters: Mutex<Letters>,
    /// What became of records on their way to the topic.
    returned: Arc<Returned>,
    /// The topic's lane may have room.
    pub woken: AtomicBool,
}

#[derive(Default)]
struct Returned(Mutex<Vec<(Grave, Settled)>>);

/// Hears what became of one record on its way to the topic.
struct Mourner {
    grave: Grave,
    returned: Arc<Returned>,
}

impl SettleSink for Mourner {
    fn settled(&self, _seq: u64, how: Settled) {
        self.returned.0.lock().unwrap_or_else(PoisonError::into_inner).push((self.grave.clone(), how));
    }
}

impl Burials {
    pub fn new(letters: Letters) -> Self {
        Self { letters: Mutex::new(letters), returned: Arc::default(), woken: AtomicBool::new(false) }
    }

    /// From now on refused records go there.
    pub fn set_letters(&self, letters: Letters) {
        *self.letters.lock().unwrap_or_else(PoisonError::into_inner) = letters;
    }
}

/// The state of burying, of the output's thread alone.
#[derive(Default)]
pub(super) struct Undertaker {
    /// Waiting for the topic's lane, in the order in which they were refused.
    waiting: VecDeque<Grave>,
    offered_at: Option<Instant>,
    /// When it was last said that nothing is taken; `None`: all is well.
    alarmed_at: Option<Instant>,
    looked_at: Option<Instant>,
    topic_records: u64,
}

impl Deliver {
    /// Buries what was refused, and what could not be buried before. To be called all the time.
    pub(super) fn bury(&self, undertaker: &mut Undertaker, graves: Vec<Grave>) {
        let burials = &self.burials;
        let mut letters = burials.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let returned = std::mem::take(&mut *burials.returned.0.lock().unwrap_or_else(PoisonError::into_inner));
        let has_news = !graves.is_empty() || !returned.is_empty();
        let mut for_file = Vec::new();
        for (grave, how) in returned {
            match how {
                Settled::Delivered | Settled::Spooled => {
                    undertaker.topic_records += 1;
                    self.is_buried(undertaker, &grave);
                }
                // The topic refused it, and the file has it.
                Settled::DeadLettered => self.is_buried(undertaker, &grave),
                // The spool was full, and the user wants what arrives then to be dropped: not what the dead letter is for.
                Settled::Dropped => for_file.push(grave),
                Settled::Abandoned => self.is_not_buried(&grave),
            }
        }
        for grave in graves {
            let is_own = self.source_of(grave.parcel) == Some(SourceKey::DEAD_LETTER);
            if letters.topic.is_some() && !is_own {
                undertaker.waiting.push_back(grave);
            } else {
                for_file.push(grave);
            }
        }
        if letters.topic.is_none() {
            // The config has changed meanwhile.
            for_file.extend(undertaker.waiting.drain(..));
        }
        self.bury_in_topic(undertaker, &letters, has_news);
        self.bury_in_file(undertaker, &mut letters, for_file);
        if has_news || undertaker.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            undertaker.looked_at = Some(Instant::now());
            let topic = letters.topic.as_ref().map(|topic| Arc::clone(&topic.name));
            let status = LetterStatus { topic, topic_records: undertaker.topic_records, file: letters.file.status() };
            self.lock().letter = status;
        }
    }

    fn bury_in_topic(&self, undertaker: &mut Undertaker, letters: &Letters, has_news: bool) {
        let Some(topic) = &letters.topic else { return };
        if undertaker.waiting.is_empty() {
            return;
        }
        let is_woken = self.burials.woken.swap(false, Ordering::AcqRel);
        let is_due = undertaker.offered_at.is_none_or(|at| at.elapsed() >= OFFER_EVERY);
        if !has_news && !is_woken && !is_due {
            return;
        }
        undertaker.offered_at = Some(Instant::now());
        while let Some(grave) = undertaker.waiting.front() {
            if !self.offer_to(topic, grave, &letters.host) {
                return;
            }
            undertaker.waiting.pop_front();
        }
        // What the last one of them waited for, or was granted.
        self.forget(UNDERTAKER);
    }

    /// Offers a refused record to the dead letter's topic. Whether it was taken, or is nowhere any more.
    fn offer_to(&self, topic: &LetterTopic, grave: &Grave, host: &str) -> bool {
        let Some(entry) = self.entry_of(grave, host) else { return true };
        let place = match (self.partitions(&topic.name), &entry.key) {
            (None, _) => Place::Unknown,
            (Some(_), None) => Place::Any,
            (Some(count), Some(key)) => Place::At(i32::try_from((topic.place)(key, count)).unwrap_or(i32::MAX)),
        };
        let (headers, source) = (entry.topic_headers(), SourceKey::DEAD_LETTER);
        // There may be no memory for a copy now.
        let Some(encoded) = entry.encode(&headers, &topic.name, place, source, &topic.budget) else { return false };
        let mourner = Mourner { grave: grave.clone(), returned: Arc::clone(&self.burials.returned) };
        match self.offer(UNDERTAKER, encoded, Receipt::new(Arc::new(mourner), 0), true) {
            Offer::Taken => true,
            Offer::Held { receipt, .. } => {
                receipt.retract();
                false
            }
        }
    }

    /// Group commit: as many records as there are, up to [`COMMIT_BYTES_MAX`], and one fsync.
    fn bury_in_file(&self, undertaker: &mut Undertaker, letters: &mut Letters, graves: Vec<Grave>) {
        let mut graves = graves.into_iter().peekable();
        while graves.peek().is_some() {
            let (mut group, mut entries, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some(grave) = graves.next_if(|_| bytes < COMMIT_BYTES_MAX) {
                if let Some(entry) = self.entry_of(&grave, &letters.host) {
                    bytes += entry.value.len();
                    entries.push(entry);
                    group.push(grave);
                }
            }
            let answers = letters.file.bury(&entries);
            for ((grave, entry), answer) in group.iter().zip(&entries).zip(answers) {
                match answer {
                    Ok(()) => self.is_buried(undertaker, grave),
                    Err(error) => self.is_refused(undertaker, grave, &entry.topic, &error),
                }
            }
        }
    }

    /// The file does not take a record.
    fn is_refused(&self, undertaker: &mut Undertaker, grave: &Grave, topic: &str, error: &io::Error) {
        if undertaker.alarmed_at.is_none_or(|at| at.elapsed() >= ALARM_EVERY) {
            undertaker.alarmed_at = Some(Instant::now());
            tracing::error!(output = %self.name, topic, %error, "a refused record can't be kept; its lane holds");
        }
        self.is_not_buried(grave);
    }

    fn is_buried(&self, undertaker: &mut Undertaker, grave: &Grave) {
        if let Some((encoded, lane)) = self.refused(grave) {
            let SourceKey(source) = encoded.source;
            let (topic, offset) = (&lane.topic, encoded.records[grave.record as usize].offset);
            let (reason, why) = (grave.reason.name(), &grave.message);
            if grave.reason == RecordFault::Processor {
                // As many as there are lines of that kind: the counters tell, and the dead letter itself.
                tracing::debug!(output = %self.name, %topic, source, offset, reason, %why, "record kept in the dead letter");
            } else {
                tracing::warn!(output = %self.name, %topic, source, offset, reason, %why, "record refused, kept in the dead letter");
            }
        }
        if undertaker.alarmed_at.take().is_some() {
            tracing::info!(output = %self.name, "the dead letter takes records again; what was held goes on");
        }
        let now = self.now();
        self.with_machine(|machine| machine.buried(grave.parcel, grave.record, true, now));
    }

    fn is_not_buried(&self, grave: &Grave) {
        let now = self.now();
        self.with_machine(|machine| machine.buried(grave.parcel, grave.record, false, now));
    }

    fn source_of(&self, parcel: Parcel) -> Option<SourceKey> {
        self.lock().encoded_of(parcel).map(|encoded| encoded.source)
    }

    /// The batch of a refused record and the lane that refused it; `None`: it was given up meanwhile.
    fn refused(&self, grave: &Grave) -> Option<(Arc<Encoded>, LaneKey)> {
        let core = self.lock();
        Some((core.encoded_of(grave.parcel)?, core.machine.lane_of(grave.parcel)?.clone()))
    }

    /// What the dead letter keeps of a refused record.
    fn entry_of(&self, grave: &Grave, host: &str) -> Option<Entry> {
        let (encoded, lane) = self.refused(grave)?;
        let record = &encoded.records[grave.record as usize];
        // Sent again, it is for its topic.
        let headers = encoded.headers_of(record).iter().filter(|one| !one.is_failed_mark());
        let SourceKey(source) = encoded.source;
        let mut entry = Entry {
            time: jiff::Timestamp::now().to_string(),
            output: self.name.clone(),
            reason: grave.reason.name().to_owned(),
            message: grave.message.to_string(),
            topic: lane.topic.to_string(),
            partition: lane.partition,
            source,
            offset: record.offset,
            host: host.to_owned(),
            timestamp_ms: record.timestamp_ms,
            headers: headers.map(|one| (one.name.to_string(), encoded.header_value(one).to_vec())).collect(),
            key: encoded.key(record).map(<[u8]>::to_vec),
            value: encoded.value(record).to_vec(),
            ..Entry::default()
        };
        if encoded.source == SourceKey::DEAD_LETTER {
            return Some(entry.unwrapped());
        }
        entry.find_file();
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::super::offer_all::tests::Pair;
    use super::*;
    use crate::batch::{FAILED_HEADER, Header, NONE, Position, Record, Share};

    /// What a dead letter was asked to keep at once, and how many batches had settled by then.
    type Asked = Arc<Mutex<Vec<(Vec<u64>, usize)>>>;

    /// Keeps everything, and notes what it is asked.
    struct Kept {
        asked: Asked,
        settled: Arc<Told>,
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<Settled>>);

    impl Told {
        fn all(&self) -> Vec<Settled> {
            self.0.lock().expect("no panic while locked").clone()
        }
    }

    impl SettleSink for Told {
        fn settled(&self, _: u64, how: Settled) {
            self.0.lock().expect("no panic while locked").push(how);
        }
    }

    impl DeadLetter for Kept {
        fn bury(&mut self, entries: &[Entry]) -> Vec<io::Result<()>> {
            assert!(entries.iter().all(|entry| entry.headers.is_empty()), "nothing of ours is kept with a record");
            let offsets = entries.iter().map(|entry| entry.offset).collect();
            self.asked.lock().expect("no panic while locked").push((offsets, self.settled.all().len()));
            entries.iter().map(|_| Ok(())).collect()
        }

        fn status(&mut self) -> FileStatus {
            FileStatus::default()
        }
    }

    /// A batch of records whose values have `bytes` each, for the partition 0 of `t`; a processor failed for those that `failed`
    /// says. Offsets are the records' numbers.
    fn batch(count: u32, bytes: usize, failed: fn(u32) -> bool) -> Encoded {
        let (mut buf, name) = (vec![b'x'; bytes], b"json");
        buf.extend_from_slice(name);
        let value = bytes as u32..(bytes + name.len()) as u32;
        let record = |number: u32| Record {
            value_start: 0,
            value_len: bytes as u32,
            key_start: NONE,
            key_len: 0,
            timestamp_ms: 0,
            headers: if failed(number) { 0 } else { NONE },
            offset: u64::from(number),
        };
        let share = Share { topic: "t".into(), place: Place::At(0), records: 0..count, payload_bytes: 100, bytes: 100 };
        Encoded {
            buf,
            records: (0..count).map(record).collect(),
            headers: vec![vec![Header { name: FAILED_HEADER.into(), value }]],
            shares: vec![share],
            source: SourceKey(1),
            resume: Position::default(),
            permit: Budget::new(1).try_take(0).expect("nothing is asked for"),
        }
    }

    fn offer(pair: &Pair, encoded: Encoded) -> (Asked, Arc<Told>) {
        let (asked, settled) = (Asked::default(), Arc::<Told>::default());
        let file = Box::new(Kept { asked: Arc::clone(&asked), settled: Arc::clone(&settled) });
        pair.delivers[0].set_letters(Letters { file, topic: None, host: "h".into() });
        hand_over(pair, encoded, &settled);
        (asked, settled)
    }

    fn hand_over(pair: &Pair, encoded: Encoded, settled: &Arc<Told>) {
        pair.know(0, "t");
        let receipt = Receipt::new(Arc::clone(settled) as Arc<dyn SettleSink>, 0);
        assert!(matches!(pair.delivers[0].offer(1, encoded, receipt, false), Offer::Taken));
    }

    fn groups(asked: &Asked) -> Vec<Vec<u64>> {
        asked.lock().expect("no panic while locked").iter().map(|(offsets, _)| offsets.clone()).collect()
    }

    /// Scenario: a processor failed for every third record of a batch. Guarantee: the producer has the others and sees none of
    /// these, which are kept together, with one fsync; the batch settles with the last of both.
    #[test]
    fn what_a_processor_failed_for_goes_to_the_dead_letter_in_one_commit() {
        let pair = Pair::new();
        let (asked, settled) = offer(&pair, batch(9, 10, |number| number % 3 == 1));
        pair.wait("the dead letter to be asked", || !groups(&asked).is_empty());
        let runs: Vec<_> =
            pair.desks[0].produced.lock().expect("unpoisoned").iter().map(|(_, run)| run.clone()).collect();
        assert_eq!(runs, [0..1, 2..4, 5..7, 8..9]);
        assert_eq!(settled.all(), [], "the others are not acknowledged");
        pair.desks[0].acknowledge_all();
        pair.wait("the batch to settle", || !settled.all().is_empty());
        assert_eq!((settled.all(), groups(&asked)), (vec![Settled::DeadLettered], vec![vec![1, 4, 7]]));
    }

    /// Scenario: a processor failed for all of a batch, and that is more than is to be in memory twice. Guarantee: each commit has
    /// about a MiB; nothing is acknowledged before the last of them.
    #[test]
    fn a_commit_is_bounded_and_nothing_settles_before_the_last() {
        let pair = Pair::new();
        let (asked, settled) = offer(&pair, batch(5, 600 << 10, |_| true));
        pair.wait("the batch to settle", || !settled.all().is_empty());
        assert_eq!(settled.all(), [Settled::DeadLettered]);
        let asked = asked.lock().expect("no panic while locked");
        assert_eq!(*asked, [(vec![0, 1], 0), (vec![2, 3], 0), (vec![4], 0)]);
        assert!(pair.desks[0].produced.lock().expect("unpoisoned").is_empty());
    }
    /// Scenario: a processor failed for a batch, and the dead letter is full. Guarantee: the batch does not settle, and the status says
    /// which lane holds for that.
    #[test]
    fn what_the_dead_letter_refuses_does_not_settle() {
        // Its dead letters take nothing.
        let (pair, settled) = (Pair::new(), Arc::<Told>::default());
        hand_over(&pair, batch(3, 10, |_| true), &settled);
        let holds = || pair.delivers[0].status().lanes.iter().any(|lane| lane.is_refused_burial);
        pair.wait("the lane to hold", || holds() || !settled.all().is_empty());
        assert_eq!((holds(), settled.all()), (true, vec![]));
    }
}
