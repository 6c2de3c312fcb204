//! What becomes of records that Kafka refuses for good: they go to the dead letter, and their lane goes on (I5).
//!
//! ```text
//!   Bury ─► a topic is configured? ─ yes ─► offered like any urgent record, on that topic's own lane ─┐
//!             │ no, or the record is one of that topic's own, refused again                           │ its receipt
//!             ▼                                                                                       ▼
//!           the local file, fsynced ───────────────────────────────► buried ◄── delivered, or in the spool
//! ```
//! A record is settled only once the dead letter is durable itself. What neither takes is tried again; its lane holds meanwhile,
//! and that is said at once and then every minute. Nothing goes in circles: what the dead letter's topic refuses goes to the
//! file, as the record that it was.
//!
//! Runs on the output's thread, outside the machine's lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::driver::{Deliver, Offer, Waiter};
use crate::batch::{Encoded, FAILED_HEADER, LaneKey, Place, Receipt, SettleSink, Settled, SourceKey};
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
        for (grave, how) in returned {
            match how {
                Settled::Delivered | Settled::Spooled => {
                    undertaker.topic_records += 1;
                    self.is_buried(undertaker, &grave);
                }
                // The topic refused it, and the file has it.
                Settled::DeadLettered => self.is_buried(undertaker, &grave),
                // The spool was full, and the user wants what arrives then to be dropped: not what the dead letter is for.
                Settled::Dropped => self.bury_in_file(undertaker, &mut letters, &grave),
                Settled::Abandoned => self.is_not_buried(&grave),
            }
        }
        for grave in graves {
            let is_own = self.source_of(grave.parcel) == Some(SourceKey::DEAD_LETTER);
            if letters.topic.is_some() && !is_own {
                undertaker.waiting.push_back(grave);
            } else {
                self.bury_in_file(undertaker, &mut letters, &grave);
            }
        }
        self.bury_in_topic(undertaker, &mut letters, has_news);
        if has_news || undertaker.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            undertaker.looked_at = Some(Instant::now());
            let topic = letters.topic.as_ref().map(|topic| Arc::clone(&topic.name));
            let status = LetterStatus { topic, topic_records: undertaker.topic_records, file: letters.file.status() };
            self.lock().letter = status;
        }
    }

    fn bury_in_topic(&self, undertaker: &mut Undertaker, letters: &mut Letters, has_news: bool) {
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
            let Some(topic) = &letters.topic else {
                // The config has changed meanwhile.
                let grave = grave.clone();
                self.bury_in_file(undertaker, letters, &grave);
                undertaker.waiting.pop_front();
                continue;
            };
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

    fn bury_in_file(&self, undertaker: &mut Undertaker, letters: &mut Letters, grave: &Grave) {
        let Some(entry) = self.entry_of(grave, &letters.host) else { return };
        match letters.file.bury(&entry) {
            Ok(()) => self.is_buried(undertaker, grave),
            Err(error) => {
                if undertaker.alarmed_at.is_none_or(|at| at.elapsed() >= ALARM_EVERY) {
                    undertaker.alarmed_at = Some(Instant::now());
                    tracing::error!(output = %self.name, topic = %entry.topic, %error, "a refused record can't be kept; its lane holds");
                }
                self.is_not_buried(grave);
            }
        }
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
        let headers = encoded.headers_of(record).iter().filter(|one| &*one.name != FAILED_HEADER);
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
