//! One lane: the parcels of a topic's partition that are not settled, and the state that decides what may be sent (P).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::machine::Pieces;
use super::portions::Groups;
use super::ranges::Ranges;
use super::tally::Row;
use crate::batch::{LaneKey, Share, SourceKey};
use crate::output::{Fault, Parcel, RecordFault, TopicFault};
use crate::spool::FrameId;

/// What may be sent on a lane.
#[derive(Debug)]
pub enum State {
    /// Everything is produced on arrival.
    Direct,
    /// Something was refused: nothing is sent until nothing is in flight.
    Draining,
    /// The topic can't take records: one record is sent at `at`, then the rest or a longer wait.
    Probing { at: Duration, sent: bool },
    /// A batch was refused, or would be: these groups are sent one at a time, in order.
    Split(Groups),
}

/// A refused run of records.
#[derive(Debug)]
pub struct Failure {
    pub parcel: Parcel,
    pub records: Range<u32>,
    pub kind: Kind,
}

/// Who is to blame for a failure.
#[derive(Debug)]
pub enum Kind {
    Record(RecordFault, Arc<str>),
    Neighbour,
    Topic,
    Producer,
}

/// Whether a parcel is in the spool too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    No,
    /// It was asked for.
    Coming,
    /// Durably: its receipt is settled. While the parcel is in memory, the frame is not read.
    In(FrameId),
}

/// A parcel in memory, of which records are to be acknowledged.
#[derive(Debug)]
pub struct Flight {
    pub parcel: Parcel,
    pub source: SourceKey,
    /// Its source can't read it again, or should not have to: it is spooled where its lane does not flow.
    pub urgent: bool,
    pub copied: Copied,
    /// The numbers of its records in the encoded batch.
    pub records: Range<u32>,
    /// What it counts for in the window.
    pub bytes: u64,
    pub payload_bytes: u64,
    /// Acknowledged, or durable in the dead letter.
    done: Ranges,
    /// On their way to the dead letter.
    burying: Vec<Burial>,
    pub buried_any: bool,
}

#[derive(Debug)]
struct Burial {
    record: u32,
    /// When to try again; `None`: being tried.
    at: Option<Duration>,
    reason: RecordFault,
    message: Arc<str>,
}

impl Flight {
    /// A parcel of which nothing is acknowledged.
    pub fn new(parcel: Parcel, share: &Share, source: SourceKey, urgent: bool, copied: Copied) -> Self {
        Self {
            parcel,
            source,
            urgent,
            copied,
            records: share.records.clone(),
            bytes: share.bytes,
            payload_bytes: share.payload_bytes,
            done: Ranges::default(),
            burying: Vec::new(),
            buried_any: false,
        }
    }

    /// What is acknowledged, or durable in the dead letter.
    pub fn done(&self) -> Vec<Range<u32>> {
        self.done.iter().collect()
    }

    /// Whether nothing has become of any of its records.
    pub fn is_untouched(&self) -> bool {
        self.done.is_empty() && self.burying.is_empty()
    }

    /// Whether some of it is on its way to the dead letter.
    pub fn is_burying(&self) -> bool {
        !self.burying.is_empty()
    }

    fn is_done(&self) -> bool {
        self.done.count() == self.records.end - self.records.start
    }

    /// Records neither done nor on their way to the dead letter.
    fn pending(&self) -> Vec<Range<u32>> {
        let mut settled = self.done.clone();
        for burial in &self.burying {
            settled.insert(burial.record..burial.record + 1);
        }
        settled.missing_of(self.records.clone())
    }
}

/// A lane with records.
#[derive(Debug)]
pub struct Lane {
    /// In the order of their numbers.
    pub flights: VecDeque<Flight>,
    pub bytes: u64,
    pub in_flight_records: u64,
    pub state: State,
    /// Frames of it in the spool, or on the way there, that are not in memory.
    pub unread_frames: u64,
    /// The first frame that the spool's reader met and was told to come back to.
    pub skipped_at: Option<FrameId>,
    /// That frame, once the reader is told to come back to it, until it has been there: others of the topic may not go before it.
    pub going_back_to: Option<FrameId>,
    /// The producer that has what is in flight; another one only once nothing is.
    pub epoch: u64,
    /// The counters of its topic.
    pub row: Row,
    last_report: Duration,
    /// Records are in flight and nobody has said anything of any for long; as of the last tick.
    is_stalled: bool,
    pub backoff: Backoff,
    failures: Vec<Failure>,
    /// The last fault, for status: kept while the lane is not `Direct`.
    cause: Option<(Option<TopicFault>, Arc<str>)>,
}

/// A lane as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    pub topic: Arc<str>,
    /// -1: the topic's partition count is not known.
    pub partition: i32,
    /// `direct`, `stalled`, `logged`, `draining`, `probing`, `split`, `unknown`.
    pub state: &'static str,
    pub in_flight_records: u64,
    pub in_flight_bytes: u64,
    /// Frames in the spool that are not in flight.
    pub spooled_frames: u64,
    pub waiting_sources: usize,
    pub fault: Option<TopicFault>,
    pub cause: Option<Arc<str>>,
    /// The dead letter does not take a record of it.
    pub is_refused_burial: bool,
}

impl LaneStatus {
    /// A topic whose partition count is not known, with sources waiting for it.
    pub fn unknown_topic(topic: &Arc<str>, fault: Option<(TopicFault, Arc<str>)>, waiting_sources: usize) -> Self {
        let (fault, cause) = fault.unzip();
        Self {
            topic: Arc::clone(topic),
            partition: -1,
            state: "unknown",
            in_flight_records: 0,
            in_flight_bytes: 0,
            spooled_frames: 0,
            waiting_sources,
            fault,
            cause,
            is_refused_burial: false,
        }
    }
}

impl Lane {
    /// An empty lane in `Direct`, for the producer of `epoch`.
    pub fn new(probe_first: Duration, probe_longest: Duration, row: Row, epoch: u64) -> Self {
        Self {
            flights: VecDeque::new(),
            bytes: 0,
            in_flight_records: 0,
            state: State::Direct,
            unread_frames: 0,
            skipped_at: None,
            going_back_to: None,
            epoch,
            row,
            last_report: Duration::ZERO,
            is_stalled: false,
            backoff: Backoff::new(probe_first, probe_longest),
            failures: Vec::new(),
            cause: None,
        }
    }

    /// Adds a parcel behind all others.
    pub fn push(&mut self, flight: Flight) {
        self.bytes += flight.bytes;
        self.flights.push_back(flight);
    }

    /// Notes that something was said of the lane, or that there was nothing to be said before.
    pub fn heard(&mut self, now: Duration) {
        self.last_report = now;
        self.is_stalled = false;
    }

    /// Notes that records were handed over.
    pub fn sent(&mut self, records: &Range<u32>) {
        self.in_flight_records += u64::from(records.end - records.start);
    }

    /// Notes an acknowledgement.
    pub fn acknowledge(&mut self, parcel: Parcel, records: Range<u32>) {
        self.in_flight_records -= u64::from(records.end - records.start);
        if let Some(flight) = self.flight(parcel) {
            flight.done.insert(records);
        }
    }

    /// Notes a refusal.
    pub fn refuse(&mut self, parcel: Parcel, records: Range<u32>, fault: &Fault) {
        self.in_flight_records -= u64::from(records.end - records.start);
        let kind = match fault {
            Fault::Record { reason, message } => {
                self.cause = Some((None, Arc::clone(message)));
                Kind::Record(*reason, Arc::clone(message))
            }
            Fault::Neighbour => Kind::Neighbour,
            Fault::Topic { reason, message } => {
                self.cause = Some((Some(*reason), Arc::clone(message)));
                Kind::Topic
            }
            Fault::Producer { .. } => Kind::Producer,
        };
        self.failures.push(Failure { parcel, records, kind });
    }

    /// Whether something was refused that has not been judged.
    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }

    /// What was refused, in the order of parcels and records, runs joined.
    pub fn take_failures(&mut self) -> Vec<Failure> {
        let mut failures = std::mem::take(&mut self.failures);
        failures.sort_by_key(|failure| (failure.parcel, failure.records.start));
        failures
    }

    /// Everything that is to be sent again, in order.
    pub fn pending(&self) -> Pieces {
        self.flights
            .iter()
            .flat_map(|flight| flight.pending().into_iter().map(move |records| (flight.parcel, records)))
            .collect()
    }

    /// Takes out the parcels of which every record is done.
    pub fn take_done(&mut self) -> Vec<Flight> {
        let mut done = Vec::new();
        while self.flights.front().is_some_and(Flight::is_done) {
            done.extend(self.flights.pop_front());
        }
        if self.flights.iter().any(Flight::is_done) {
            let (finished, left) = std::mem::take(&mut self.flights).into_iter().partition(Flight::is_done);
            self.flights = left;
            done.extend::<VecDeque<Flight>>(finished);
        }
        self.bytes -= done.iter().map(|flight| flight.bytes).sum::<u64>();
        done
    }

    /// Forgets what is in flight and what was refused: the producer of `epoch` starts over.
    pub fn forget_flights(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.in_flight_records = 0;
        self.failures.clear();
    }

    /// Takes out the parcels that `is_given_up` says: nothing of them may be in flight or on its way to the dead letter.
    pub fn give_up(&mut self, is_given_up: impl Fn(&Flight) -> bool) -> Vec<Flight> {
        let flights = std::mem::take(&mut self.flights);
        let (out, left) = flights.into_iter().partition(is_given_up);
        self.flights = left;
        let out: VecDeque<Flight> = out;
        self.bytes -= out.iter().map(|flight| flight.bytes).sum::<u64>();
        out.into()
    }

    /// Notes that a record is on its way to the dead letter.
    pub fn bury(&mut self, parcel: Parcel, record: u32, reason: RecordFault, message: Arc<str>) {
        if let Some(flight) = self.flight(parcel) {
            flight.burying.push(Burial { record, at: None, reason, message });
        }
    }

    /// The record is durable in the dead letter. Why it went there; `None` if it was not on its way.
    pub fn bury_done(&mut self, parcel: Parcel, record: u32) -> Option<RecordFault> {
        let flight = self.flight(parcel)?;
        let at = flight.burying.iter().position(|burial| burial.record == record)?;
        let burial = flight.burying.remove(at);
        flight.done.insert(record..record + 1);
        flight.buried_any = true;
        Some(burial.reason)
    }

    /// The dead letter did not take the record: try again at `at`.
    pub fn bury_again(&mut self, parcel: Parcel, record: u32, at: Duration) {
        let burial = self.flight(parcel).and_then(|flight| flight.burying.iter_mut().find(|one| one.record == record));
        if let Some(burial) = burial {
            burial.at = Some(at);
        }
    }

    /// Whether what comes is handed over, at once or behind what is being sent.
    pub fn flows(&self) -> bool {
        match &self.state {
            State::Direct => true,
            State::Split(groups) => groups.is_portioned(),
            State::Draining | State::Probing { .. } => false,
        }
    }

    /// Payload of so many records of a parcel, by the average of all of them: bytes.
    pub fn payload_of(&self, parcel: Parcel, records: u64) -> u64 {
        let at = self.flights.binary_search_by_key(&parcel, |flight| flight.parcel);
        let flight = at.ok().map(|at| &self.flights[at]);
        flight.map_or(0, |flight| flight.payload_bytes * records / (flight.records.len() as u64).max(1))
    }

    /// Whether a record is on its way to the dead letter.
    pub fn is_burying(&self) -> bool {
        self.flights.iter().any(|flight| !flight.burying.is_empty())
    }

    /// Whether the dead letter did not take a record.
    pub fn is_refused_burial(&self) -> bool {
        self.flights.iter().any(|flight| flight.burying.iter().any(|burial| burial.at.is_some()))
    }

    /// Whether it is empty: nothing in memory, nothing in the spool.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty() && self.in_flight_records == 0 && self.failures.is_empty() && self.unread_frames == 0
    }

    /// Burials whose time has come again; they are being tried from now on.
    pub fn burials_due(&mut self, now: Duration) -> Vec<(Parcel, u32, RecordFault, Arc<str>)> {
        let mut due = Vec::new();
        for flight in &mut self.flights {
            for burial in flight.burying.iter_mut().filter(|burial| burial.at.is_some_and(|at| at <= now)) {
                burial.at = None;
                due.push((flight.parcel, burial.record, burial.reason, Arc::clone(&burial.message)));
            }
        }
        due
    }

    /// Whether records are in flight and nothing was said of any for longer than `after`.
    fn stalls(&self, now: Duration, after: Duration) -> bool {
        self.in_flight_records > 0 && now.saturating_sub(self.last_report) > after
    }

    /// For how long records are in flight without a word of any.
    pub fn silent_for(&self, now: Duration) -> Duration {
        if self.in_flight_records == 0 { Duration::ZERO } else { now.saturating_sub(self.last_report) }
    }

    /// Looks at the time.
    pub fn tick(&mut self, now: Duration, stalled_after: Duration) {
        self.is_stalled = self.stalls(now, stalled_after);
    }

    /// Whether the lane was stalled at the last tick, and nothing was said since.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// How the lane is, for status.
    pub fn status(&self, key: &LaneKey, waiting: usize, now: Duration, stalled_after: Duration) -> LaneStatus {
        let state = match self.state {
            _ if self.flows() && self.stalls(now, stalled_after) => "stalled",
            State::Direct if key.partition < 0 => "unknown",
            State::Direct if self.unread_frames > 0 => "logged",
            State::Direct => "direct",
            State::Draining => "draining",
            State::Probing { .. } => "probing",
            State::Split(_) => "split",
        };
        let told = self.cause.as_ref().filter(|_| state != "direct");
        LaneStatus {
            topic: Arc::clone(&key.topic),
            partition: key.partition,
            state,
            in_flight_records: self.in_flight_records,
            in_flight_bytes: self.bytes,
            spooled_frames: self.unread_frames,
            waiting_sources: waiting,
            fault: told.and_then(|(fault, _)| *fault),
            cause: told.map(|(_, message)| Arc::clone(message)),
            is_refused_burial: self.is_refused_burial(),
        }
    }

    /// One of its parcels.
    pub fn flight(&mut self, parcel: Parcel) -> Option<&mut Flight> {
        let at = self.flights.binary_search_by_key(&parcel, |flight| flight.parcel).ok()?;
        self.flights.get_mut(at)
    }
}
