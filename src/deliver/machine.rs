//! The delivery machine of one output (P): who may hand over, what is in flight, what a report means.
//!
//! Time comes in as a parameter, everything to do goes out as [`Action`]s; no clock, no I/O, no lock. The driver
//! (`driver.rs`) holds the bytes, the receipts and the producer, and carries the actions out in order.
//!
//! ```text
//!   offer ──► Taken: Produce …            or  Held(blocker): the source waits (waiting.rs)
//!   report ─► Settle, or a lane leaves Direct:
//!
//!        a record or a topic is refused                nothing of it in flight any more
//!   Direct ───────────────────────────► Draining ─┬─ topic fault ───────► Probing: one record, 1 to 60 s apart
//!     ▲                                           ├─ a record is refused ► Split: the failures again, in halves
//!     └──────────── all of it sent again ─────────┴─ only neighbours of one: sent again at once
//! ```
//!
//! A lane that is not `Direct` takes nothing: what is offered for it is held, safe in its file (the spool, which takes
//! what can't wait, is a state of its own between them). Only that lane: the window keeps room for the others
//! ([`Machine::admit`]).
//!
//! Invariants:
//! - a parcel's records go to the producer in order, and a lane's parcels in the order of their numbers;
//! - a parcel settles once, when every record of it is acknowledged or durable in the dead letter;
//! - after a failure nothing of the lane is sent until nothing of it is in flight (the exception that keeps I3: what was
//!   already handed over behind a refused record may arrive before that record is sent again);
//! - `bytes_used` is the sum over all parcels that are not settled;
//! - what is produced goes to the newest producer: a lane with records in flight on an older one takes nothing until they are
//!   reported ([`Machine::replaced`]), or forgotten ([`Machine::hurried`]). So nothing overtakes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::lane::{Failure, Flight, Kind, Lane, LaneStatus, State};
use super::tally::Tally;
use super::waiting::{Blocker, Waiting, Wants};
use crate::batch::{LaneKey, Place, Settled, Share};
use crate::output::{Fault, Parcel, RecordFault, TopicFault};

/// Runs of records, in the order in which they are sent.
pub type Pieces = Vec<(Parcel, Range<u32>)>;

/// What bounds the machine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of keys, values and headers in flight, over all lanes.
    pub window_bytes_max: u64,
    /// A keyless topic's records go to one partition for this many bytes, then to the next.
    pub sticky_bytes: u64,
    /// A lane with records in flight and no report for this long is *stalled*.
    pub stalled_after: Duration,
    /// The first and the longest wait between two probes of a lane.
    pub probe_first: Duration,
    pub probe_longest: Duration,
    /// Topics without records are forgotten after this long.
    pub topic_kept: Duration,
}

/// What [`Machine::offer`] answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Offered {
    /// Each share has a parcel number, in the order of the shares.
    Taken(Vec<Parcel>),
    /// Nothing was taken; the waiter is parked and will be woken.
    Held(Blocker),
}

/// What the driver must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<W> {
    Produce {
        parcel: Parcel,
        topic: Arc<str>,
        partition: i32,
        records: Range<u32>,
    },
    /// The parcel is done: settle its receipt, let its bytes go.
    Settle {
        parcel: Parcel,
        how: Settled,
    },
    /// Make this record durable in the dead letter, then say [`Machine::buried`].
    Bury {
        parcel: Parcel,
        record: u32,
        reason: RecordFault,
        message: Arc<str>,
    },
    Wake(W),
    /// Ask for the topic's partition count, then say [`Machine::topic`].
    Lookup {
        topic: Arc<str>,
    },
    /// The topic is out of use: forget its partition count. Whoever feeds it again has it looked up again.
    Forget {
        topic: Arc<str>,
    },
    /// Make a new producer, then say [`Machine::rebuilt`].
    Rebuild {
        message: Arc<str>,
    },
}

#[derive(Debug, Default)]
struct Topic {
    partitions: Option<u32>,
    fault: Option<(TopicFault, Arc<str>)>,
    /// Where keyless records go now, and how many bytes went there.
    sticky: i32,
    sticky_bytes: u64,
    last_used: Duration,
}

/// The machine; `W` names a waiter (a source).
#[derive(Debug)]
pub struct Machine<W> {
    limits: Limits,
    bytes_used: u64,
    next_parcel: u64,
    lanes: HashMap<LaneKey, Lane>,
    parcels: HashMap<Parcel, LaneKey>,
    topics: HashMap<Arc<str>, Topic>,
    waiting: Waiting<W>,
    /// Blockers whose first waiter may be able to go on: looked at by [`Machine::wake`].
    touched: HashSet<Blocker>,
    /// Lanes whose time may have come: those in `Probing` or with a burial to try again.
    timed: BTreeSet<LaneKey>,
    actions: VecDeque<Action<W>>,
    epoch: u64,
    rebuilding: bool,
    tally: Tally,
    rebuilds: u64,
}

impl<W: Copy + Eq + Hash + std::fmt::Debug> Machine<W> {
    /// Nothing in flight, nobody waiting, no topic known; the first producer has epoch 0.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            bytes_used: 0,
            next_parcel: 0,
            lanes: HashMap::new(),
            parcels: HashMap::new(),
            topics: HashMap::new(),
            waiting: Waiting::new(),
            touched: HashSet::new(),
            timed: BTreeSet::new(),
            actions: VecDeque::new(),
            epoch: 0,
            rebuilding: false,
            tally: Tally::default(),
            rebuilds: 0,
        }
    }

    /// Takes all shares, or none and parks `who`.
    pub fn offer(&mut self, who: W, shares: &[Share], now: Duration) -> Offered {
        let seq = self.waiting.number_of(who);
        let wants: Wants = shares.iter().map(|share| (Arc::clone(&share.topic), share.place, share.bytes)).collect();
        self.know_topics(&wants, now);
        let unplaced = shares.iter().find(|share| share.place == Place::Unknown);
        let admitted = match unplaced {
            Some(share) => Err(Blocker::Topic(Arc::clone(&share.topic))),
            None => self.admit(seq, &wants),
        };
        match admitted {
            Ok(partitions) => {
                self.waiting.forget(who);
                Offered::Taken(shares.iter().zip(partitions).map(|(share, at)| self.take(share, at, now)).collect())
            }
            Err(blocker) => {
                self.waiting.park(who, blocker.clone(), wants);
                if unplaced.is_some() {
                    self.touched.insert(blocker.clone());
                }
                self.wake();
                Offered::Held(blocker)
            }
        }
    }

    /// Whether an offer like `wants` would be held; then `who` is parked, and woken as if it had offered. Saves reading
    /// and encoding for nothing.
    pub fn would_hold(&mut self, who: W, wants: &Wants, now: Duration) -> Option<Blocker> {
        self.know_topics(wants, now);
        let blocker = self.admit(self.waiting.number_of(who), wants).err()?;
        self.waiting.park(who, blocker.clone(), wants.clone());
        Some(blocker)
    }

    /// `who` has nothing to hand over (any more): it waits for nothing, and what was granted to it is free.
    pub fn forget(&mut self, who: W) {
        if self.waiting.number_of(who).is_some() {
            self.touched.extend(self.waiting.blockers());
        }
        self.waiting.forget(who);
        self.wake();
    }

    /// What became of records of a parcel, said by the producer of `epoch`.
    pub fn report(
        &mut self,
        epoch: u64,
        parcel: Parcel,
        records: Range<u32>,
        result: Result<(), Fault>,
        now: Duration,
    ) {
        let Some(key) = self.parcels.get(&parcel).cloned() else { return };
        let count = u64::from(records.end - records.start);
        let lane = self.lanes.get_mut(&key).expect("a parcel's lane exists while the parcel does");
        if lane.epoch != epoch {
            return;
        }
        lane.heard(now);
        match result {
            Ok(()) => {
                self.tally.of(lane.row).records_acked += count;
                lane.acknowledge(parcel, records);
            }
            Err(fault) => {
                // One that is being replaced anyway need not be replaced.
                if let (Fault::Producer { message }, true) = (&fault, epoch == self.epoch) {
                    self.need_rebuild(Arc::clone(message));
                }
                let lane = self.lanes.get_mut(&key).expect("just looked up");
                lane.refuse(parcel, records, &fault);
            }
        }
        self.advance(&key, now);
        self.wake();
    }

    /// The record is durable in the dead letter (`ok`), or the dead letter is full or broken: tried again later.
    pub fn buried(&mut self, parcel: Parcel, record: u32, ok: bool, now: Duration) {
        let Some(key) = self.parcels.get(&parcel).cloned() else { return };
        let lane = self.lanes.get_mut(&key).expect("a parcel's lane exists while the parcel does");
        if ok {
            if let Some(reason) = lane.bury_done(parcel, record) {
                self.tally.of(lane.row).buried(reason);
            }
        } else {
            lane.bury_again(parcel, record, now + self.limits.probe_first * 5);
            self.timed.insert(key.clone());
        }
        self.advance(&key, now);
        self.wake();
    }

    /// The partition count of a topic, or why it has none.
    pub fn topic(&mut self, name: &Arc<str>, result: Result<u32, Fault>, now: Duration) {
        let topic = self.topics.entry(Arc::clone(name)).or_default();
        topic.last_used = now;
        match result {
            Ok(partitions) => {
                topic.partitions = Some(partitions);
                topic.fault = None;
                self.abandon_lanes_beyond(name, partitions);
            }
            Err(Fault::Topic { reason, message }) => topic.fault = Some((reason, message)),
            Err(Fault::Producer { message } | Fault::Record { message, .. }) => {
                topic.fault = Some((TopicFault::Refused, message));
            }
            Err(Fault::Neighbour) => {}
        }
        self.touched.insert(Blocker::Topic(Arc::clone(name)));
        self.wake();
    }

    /// The whole producer is beyond repair.
    pub fn lost(&mut self, message: Arc<str>) {
        self.need_rebuild(message);
    }

    /// The producer of `epoch` replaces the old one, whose reports are ignored from now on. Everything that is not
    /// acknowledged is handed to it, in order.
    pub fn rebuilt(&mut self, epoch: u64, now: Duration) {
        self.epoch = epoch;
        self.rebuilding = false;
        self.rebuilds += 1;
        let mut keys: Vec<LaneKey> = self.lanes.keys().cloned().collect();
        keys.sort_unstable();
        for key in keys {
            let lane = self.lanes.get_mut(&key).expect("just listed");
            lane.forget_flights(epoch);
            self.start_over(&key, now);
        }
        self.look_all_up();
    }

    /// The producer of `epoch` takes over from one that works: whatever is handed over from now on goes to it. Lanes with
    /// records in flight wait for their reports first; the others go on at once.
    pub fn replaced(&mut self, epoch: u64, now: Duration) {
        if self.rebuilding {
            // The one before is broken: there is nothing to wait for.
            return self.rebuilt(epoch, now);
        }
        self.epoch = epoch;
        self.rebuilds += 1;
        for lane in self.lanes.values_mut().filter(|lane| lane.in_flight_records == 0) {
            lane.epoch = epoch;
        }
        self.look_all_up();
    }

    /// Whether lanes have records in flight on an older producer.
    pub fn is_moving(&self) -> bool {
        self.lanes.values().any(|lane| lane.epoch != self.epoch)
    }

    /// Waits no longer for the reports of older producers: what they did not report is sent again. How many records that are.
    pub fn hurried(&mut self, now: Duration) -> u64 {
        let late = |(key, lane): (&LaneKey, &Lane)| (lane.epoch != self.epoch).then(|| key.clone());
        let mut keys: Vec<LaneKey> = self.lanes.iter().filter_map(late).collect();
        keys.sort_unstable();
        let mut records = 0;
        for key in keys {
            let lane = self.lanes.get_mut(&key).expect("just listed");
            records += lane.in_flight_records;
            lane.forget_flights(self.epoch);
            self.start_over(&key, now);
        }
        self.wake();
        records
    }

    /// A lane of which nothing is in flight any more, whatever was.
    fn start_over(&mut self, key: &LaneKey, now: Duration) {
        let lane = self.lanes.get_mut(key).expect("who starts over has the lane");
        lane.heard(now);
        if let State::Probing { .. } = lane.state {
            lane.state = State::Probing { at: now, sent: false };
            self.timed.insert(key.clone());
        } else {
            self.resend(key, now);
        }
    }

    fn look_all_up(&mut self) {
        let mut topics: Vec<Arc<str>> = self.topics.keys().cloned().collect();
        topics.sort_unstable();
        self.actions.extend(topics.into_iter().map(|topic| Action::Lookup { topic }));
    }

    /// Gives up those of `parcels` that wait in a lane whose topic can't take records, so that nothing of them is in flight:
    /// their source is gone, or reads them again for another topic.
    pub fn give_up(&mut self, parcels: &HashSet<Parcel>) {
        let waiting = |lane: &Lane| lane.in_flight_records == 0 && matches!(lane.state, State::Probing { .. });
        let concerned: BTreeSet<LaneKey> =
            parcels.iter().filter_map(|parcel| self.parcels.get(parcel)).cloned().collect();
        for key in concerned {
            let Some(lane) = self.lanes.get_mut(&key).filter(|lane| waiting(lane)) else { continue };
            let given_up = lane.give_up(|parcel| parcels.contains(&parcel));
            if lane.flights.is_empty() {
                self.lanes.remove(&key);
                self.timed.remove(&key);
            }
            self.abandon(given_up);
            self.touched.insert(Blocker::Topic(Arc::clone(&key.topic)));
            self.touched.insert(Blocker::Lane(key));
        }
        self.wake();
    }

    fn abandon(&mut self, flights: impl IntoIterator<Item = Flight>) {
        for flight in flights {
            self.bytes_used -= flight.bytes;
            self.parcels.remove(&flight.parcel);
            self.actions.push_back(Action::Settle { parcel: flight.parcel, how: Settled::Abandoned });
        }
        self.touched.insert(Blocker::Window);
    }

    /// Other bounds, but for the window: that is fixed.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = Limits { window_bytes_max: self.limits.window_bytes_max, ..limits };
    }

    /// What is due by `now`: probes, burials, forgotten topics. Call it at least every 100 ms.
    pub fn tick(&mut self, now: Duration) {
        let timed: Vec<LaneKey> = self.timed.iter().cloned().collect();
        for key in timed {
            self.tick_lane(&key, now);
        }
        let stalled_after = self.limits.stalled_after;
        self.lanes.values_mut().for_each(|lane| lane.tick(now, stalled_after));
        let kept = self.limits.topic_kept;
        let in_use: HashSet<Arc<str>> = self.lanes.keys().map(|key| Arc::clone(&key.topic)).collect();
        let waiting = &self.waiting;
        let mut forgotten: Vec<Arc<str>> = self
            .topics
            .extract_if(|name, topic| {
                now.saturating_sub(topic.last_used) >= kept
                    && !in_use.contains(name)
                    && waiting.count(&Blocker::Topic(Arc::clone(name))) == 0
            })
            .map(|(name, _)| name)
            .collect();
        forgotten.sort_unstable();
        self.actions.extend(forgotten.into_iter().map(|topic| Action::Forget { topic }));
        self.touched.extend(self.waiting.blockers());
        self.wake();
    }

    /// The next thing to do.
    pub fn action(&mut self) -> Option<Action<W>> {
        self.actions.pop_front()
    }

    /// The partition count of a topic, if it is known.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.topics.get(topic).and_then(|topic| topic.partitions)
    }

    /// How many topics are known or asked for.
    pub fn topics_count(&self) -> usize {
        self.topics.len()
    }

    /// Bytes of all parcels that are not settled.
    pub fn bytes_used(&self) -> u64 {
        self.bytes_used
    }

    /// The bound of [`Machine::bytes_used`] (passed by one batch at most).
    pub fn bytes_max(&self) -> u64 {
        self.limits.window_bytes_max
    }

    /// Whether nothing is in flight or waits to be sent again, and all that came of it has been taken by
    /// [`Machine::action`]: until then, what is delivered is not settled.
    pub fn is_idle(&self) -> bool {
        self.parcels.is_empty() && self.actions.is_empty()
    }

    /// What became of records, by topic, since the start.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How often the producer was replaced.
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds
    }

    /// Whether a new producer was asked for and has not come.
    pub fn is_rebuilding(&self) -> bool {
        self.rebuilding
    }

    /// The epoch of the newest producer.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Sources that wait for credit, a lane or a topic.
    pub fn waiting_count(&self) -> usize {
        self.waiting.parked_count()
    }

    /// Every lane with records, and every topic that holds sources back, for status.
    pub fn lanes(&self, now: Duration) -> Vec<LaneStatus> {
        let mut all: Vec<LaneStatus> = self
            .lanes
            .iter()
            .map(|(key, lane)| {
                let waiting = self.waiting.count(&Blocker::Lane(key.clone()));
                lane.status(key, waiting, now, self.limits.stalled_after)
            })
            .collect();
        for (name, topic) in &self.topics {
            let waiting = self.waiting.count(&Blocker::Topic(Arc::clone(name)));
            if waiting > 0 && topic.partitions.is_none() {
                all.push(LaneStatus::unknown_topic(name, topic.fault.clone(), waiting));
            }
        }
        all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        all
    }

    /// Whether a batch with these shares may go now, for a waiter with the number `seq` (`None`: a newcomer, behind
    /// everybody). The partition of each share, or what blocks it.
    ///
    /// The window's rule: a lane may have in flight half of what the others leave free, and at least one batch while the
    /// window has room at all. So n lanes that hang leave the 2^n-th part of the window to the others, down to one batch.
    /// And who feeds a lane that is stalled waits for that lane, not for the window, where others wait behind it.
    fn admit(&self, seq: Option<u64>, wants: &Wants) -> Result<Vec<i32>, Blocker> {
        let mut partitions = Vec::with_capacity(wants.len());
        let mut total = 0;
        let mut all_fresh = true;
        for (topic, place, bytes) in wants {
            total += bytes;
            let partition = match place {
                Place::At(partition) => {
                    let key = LaneKey { topic: Arc::clone(topic), partition: *partition };
                    let blocker = Blocker::Lane(key.clone());
                    if self.waiting.is_behind(&blocker, seq) {
                        return Err(blocker);
                    }
                    all_fresh &= self.lane_has_room(&key, *bytes, seq).ok_or(blocker)?;
                    *partition
                }
                Place::Any => {
                    let blocker = Blocker::Topic(Arc::clone(topic));
                    if self.waiting.is_behind(&blocker, seq) {
                        return Err(blocker);
                    }
                    let (partition, fresh) = self.any_lane(topic, *bytes, seq).ok_or(blocker)?;
                    all_fresh &= fresh;
                    partition
                }
                Place::Unknown => {
                    let known = self.topics.get(topic).is_some_and(|topic| topic.partitions.is_some());
                    if !known {
                        return Err(Blocker::Topic(Arc::clone(topic)));
                    }
                    -1
                }
            };
            partitions.push(partition);
        }
        let promised: u64 = self.waiting.grants_before(seq).map(|(_, _, bytes)| bytes).sum();
        let used = self.bytes_used + promised;
        let max = self.limits.window_bytes_max;
        let has_room = used + total <= max || (all_fresh && used < max);
        if !has_room {
            return Err(self.stalled_lane(wants).map_or(Blocker::Window, Blocker::Lane));
        }
        if self.waiting.is_behind(&Blocker::Window, seq) {
            return Err(Blocker::Window);
        }
        Ok(partitions)
    }

    /// The first lane of `wants` that is stalled.
    fn stalled_lane(&self, wants: &Wants) -> Option<LaneKey> {
        wants.iter().find_map(|(topic, place, _)| {
            let Place::At(partition) = *place else { return None };
            let key = LaneKey { topic: Arc::clone(topic), partition };
            self.lanes.get(&key).is_some_and(|lane| lane.is_stalled()).then_some(key)
        })
    }

    /// `Some(fresh)` if the lane takes `bytes` more; `fresh` if nothing of it is in flight.
    fn lane_has_room(&self, key: &LaneKey, bytes: u64, seq: Option<u64>) -> Option<bool> {
        let promised: u64 = self
            .waiting
            .grants_before(seq)
            .filter(|(topic, place, _)| *topic == key.topic && *place == Place::At(key.partition))
            .map(|(_, _, bytes)| bytes)
            .sum();
        let in_flight = match self.lanes.get(key) {
            Some(lane) if !matches!(lane.state, State::Direct) || lane.epoch != self.epoch => return None,
            Some(lane) => lane.bytes,
            None => 0,
        };
        let fresh = in_flight + promised == 0;
        let free_of_others = self.limits.window_bytes_max.saturating_sub(self.bytes_used - in_flight);
        (fresh || in_flight + promised + bytes <= free_of_others / 2).then_some(fresh)
    }

    /// A partition of `topic` that takes `bytes` now: the one that keyless records go to, or the next that flows.
    fn any_lane(&self, name: &Arc<str>, bytes: u64, seq: Option<u64>) -> Option<(i32, bool)> {
        let topic = self.topics.get(name)?;
        let count = i32::try_from(topic.partitions?).ok().filter(|count| *count > 0)?;
        let turn = i32::from(topic.sticky_bytes >= self.limits.sticky_bytes);
        (0..count).map(|step| (topic.sticky + turn + step).rem_euclid(count)).find_map(|partition| {
            let key = LaneKey { topic: Arc::clone(name), partition };
            if self.lanes.get(&key).is_some_and(Lane::is_stalled) {
                return None;
            }
            self.lane_has_room(&key, bytes, seq).map(|fresh| (partition, fresh))
        })
    }

    fn take(&mut self, share: &Share, partition: i32, now: Duration) -> Parcel {
        let parcel = Parcel(self.next_parcel);
        self.next_parcel += 1;
        self.bytes_used += share.bytes;
        if let (Place::Any, Some(topic)) = (share.place, self.topics.get_mut(&share.topic)) {
            if topic.sticky != partition || topic.sticky_bytes >= self.limits.sticky_bytes {
                topic.sticky_bytes = 0;
            }
            topic.sticky = partition;
            topic.sticky_bytes += share.bytes;
        }
        let key = LaneKey { topic: Arc::clone(&share.topic), partition };
        let limits = &self.limits;
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| {
            Lane::new(limits.probe_first, limits.probe_longest, self.tally.row(&share.topic), self.epoch)
        });
        if lane.in_flight_records == 0 {
            lane.heard(now);
        }
        lane.push(Flight::new(parcel, share));
        self.parcels.insert(parcel, key.clone());
        self.produce(&key, vec![(parcel, share.records.clone())]);
        parcel
    }

    fn know_topics(&mut self, wants: &Wants, now: Duration) {
        for (name, _, _) in wants {
            let topic = self.topics.entry(Arc::clone(name)).or_insert_with(|| {
                self.actions.push_back(Action::Lookup { topic: Arc::clone(name) });
                Topic::default()
            });
            topic.last_used = now;
        }
    }

    fn need_rebuild(&mut self, message: Arc<str>) {
        if !self.rebuilding {
            self.rebuilding = true;
            self.actions.push_back(Action::Rebuild { message });
        }
    }

    /// Hands records of a lane over, in the order given.
    fn produce(&mut self, key: &LaneKey, pieces: Pieces) {
        let lane = self.lanes.get_mut(key).expect("who produces has the lane");
        debug_assert_eq!(lane.epoch, self.epoch, "everything goes to the newest producer");
        for (parcel, records) in pieces {
            lane.sent(&records);
            let (topic, partition) = (Arc::clone(&key.topic), key.partition);
            self.actions.push_back(Action::Produce { parcel, topic, partition, records });
        }
    }

    /// Hands over everything of a lane that is not acknowledged; from then on it is `Direct`.
    fn resend(&mut self, key: &LaneKey, now: Duration) {
        let lane = self.lanes.get_mut(key).expect("who resends has the lane");
        let pending = lane.pending();
        lane.state = State::Direct;
        lane.heard(now);
        self.tally.of(lane.row).records_resent +=
            pending.iter().map(|(_, records)| u64::from(records.end - records.start)).sum::<u64>();
        self.produce(key, pending);
        self.touched.insert(Blocker::Lane(key.clone()));
        self.touched.insert(Blocker::Topic(Arc::clone(&key.topic)));
    }

    /// After a report: settles what is done and takes the lane to its next state.
    fn advance(&mut self, key: &LaneKey, now: Duration) {
        self.settle_done(key);
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if matches!(lane.state, State::Direct) && lane.has_failures() {
            lane.state = State::Draining;
        }
        if lane.flights.is_empty() && lane.in_flight_records == 0 && !lane.has_failures() {
            self.lanes.remove(key);
            self.timed.remove(key);
            return;
        }
        if lane.in_flight_records > 0 || self.rebuilding {
            return;
        }
        if lane.epoch != self.epoch {
            lane.epoch = self.epoch;
            self.touched.insert(Blocker::Lane(key.clone()));
            self.touched.insert(Blocker::Topic(Arc::clone(&key.topic)));
        }
        match std::mem::replace(&mut lane.state, State::Direct) {
            State::Direct => {}
            State::Draining => self.judge(key, now),
            State::Probing { at, sent } => {
                if lane.has_failures() {
                    self.judge(key, now);
                } else if !sent {
                    lane.state = State::Probing { at, sent };
                } else {
                    self.resend(key, now);
                    self.advance(key, now);
                }
            }
            State::Split { mut groups } => {
                if lane.has_failures() {
                    lane.state = State::Split { groups };
                    self.judge(key, now);
                } else if let Some(group) = groups.pop_front() {
                    lane.state = State::Split { groups };
                    self.produce(key, group);
                } else if lane.is_burying() {
                    lane.state = State::Split { groups };
                } else {
                    self.resend(key, now);
                    self.advance(key, now);
                }
            }
        }
    }

    /// A lane with failures and nothing in flight: what to do about them.
    fn judge(&mut self, key: &LaneKey, now: Duration) {
        let lane = self.lanes.get_mut(key).expect("who judges has the lane");
        let failures = lane.take_failures();
        let topic_fault = failures.iter().any(|failure| matches!(failure.kind, Kind::Topic));
        let refused = failures.iter().any(|failure| matches!(failure.kind, Kind::Record(..)));
        let named = refused && failures.iter().any(|failure| matches!(failure.kind, Kind::Neighbour));
        if topic_fault {
            let at = now + lane.backoff.fail();
            lane.state = State::Probing { at, sent: false };
            self.timed.insert(key.clone());
            return;
        }
        if !refused {
            self.resend(key, now);
            return self.advance(key, now);
        }
        let mut groups = match std::mem::replace(&mut lane.state, State::Direct) {
            State::Split { groups } => groups,
            _ => VecDeque::new(),
        };
        match &failures[..] {
            [Failure { parcel, records, kind: Kind::Record(reason, message) }] if records.len() == 1 => {
                let (parcel, record, reason, message) = (*parcel, records.start, *reason, Arc::clone(message));
                lane.bury(parcel, record, reason, Arc::clone(&message));
                self.actions.push_back(Action::Bury { parcel, record, reason, message });
            }
            _ if named => groups = accused_apart(failures).into_iter().chain(groups).collect(),
            _ => {
                let (first, second) = halves(failures.into_iter().map(|one| (one.parcel, one.records)).collect());
                groups.push_front(second);
                groups.push_front(first);
            }
        }
        groups.retain(|group| !group.is_empty());
        lane.state = State::Split { groups };
        self.advance(key, now);
    }

    fn settle_done(&mut self, key: &LaneKey) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let done = lane.take_done();
        if done.is_empty() {
            return;
        }
        lane.backoff.reset();
        let row = lane.row;
        for flight in done {
            self.bytes_used -= flight.bytes;
            self.parcels.remove(&flight.parcel);
            self.tally.of(row).payload_bytes_settled += flight.payload_bytes;
            let how = if flight.buried_any { Settled::DeadLettered } else { Settled::Delivered };
            self.actions.push_back(Action::Settle { parcel: flight.parcel, how });
        }
        self.touched.insert(Blocker::Lane(key.clone()));
        self.touched.insert(Blocker::Topic(Arc::clone(&key.topic)));
        self.touched.insert(Blocker::Window);
    }

    fn tick_lane(&mut self, key: &LaneKey, now: Duration) {
        let Some(lane) = self.lanes.get_mut(key) else {
            self.timed.remove(key);
            return;
        };
        for (parcel, record, reason, message) in lane.burials_due(now) {
            self.actions.push_back(Action::Bury { parcel, record, reason, message });
        }
        let probing = matches!(lane.state, State::Probing { .. });
        let count = self.topics.get(&key.topic).and_then(|topic| topic.partitions);
        if let Some(count) = count.filter(|count| probing && i64::from(key.partition) >= i64::from(*count)) {
            self.abandon_lanes_beyond(&key.topic, count);
            return;
        }
        if !probing && !lane.is_burying() {
            self.timed.remove(key);
        }
        let State::Probing { at, sent: false } = lane.state else { return };
        if at <= now && !self.rebuilding {
            lane.state = State::Probing { at, sent: true };
            let probe = lane.pending().into_iter().next().map(|(parcel, range)| (parcel, range.start..range.start + 1));
            match probe {
                Some(probe) => self.produce(key, vec![probe]),
                // All that is left is on its way to the dead letter.
                None => self.advance(key, now),
            }
        }
    }

    /// The topic has fewer partitions than lanes of it: what waits to be probed there is read again from its source,
    /// and placed anew.
    fn abandon_lanes_beyond(&mut self, name: &Arc<str>, partitions: u32) {
        let mut gone: Vec<LaneKey> = self
            .lanes
            .iter()
            .filter(|(key, lane)| {
                key.topic == *name
                    && u32::try_from(key.partition).is_ok_and(|partition| partition >= partitions)
                    && matches!(lane.state, State::Probing { .. })
                    && lane.in_flight_records == 0
            })
            .map(|(key, _)| key.clone())
            .collect();
        gone.sort_unstable();
        for key in gone {
            let lane = self.lanes.remove(&key).expect("just listed");
            self.abandon(lane.flights);
            self.timed.remove(&key);
            self.touched.insert(Blocker::Lane(key));
        }
    }

    /// Wakes those who may go on now, oldest first over all blockers that changed.
    fn wake(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let first = |waiting: &Waiting<W>, blocker: &Blocker| waiting.front(blocker).map(|(seq, _)| seq);
        let mut next: BinaryHeap<Reverse<(u64, Blocker)>> = touched
            .into_iter()
            .filter_map(|blocker| Some(Reverse((first(&self.waiting, &blocker)?, blocker))))
            .collect();
        while let Some(Reverse((_, blocker))) = next.pop() {
            let Some((seq, waiter)) = self.waiting.front(&blocker) else { continue };
            match self.admit(Some(seq), &waiter.wants) {
                Ok(_) => {
                    let who = self.waiting.grant_front(&blocker).expect("there is a first waiter");
                    self.actions.push_back(Action::Wake(who));
                }
                Err(other) if other == blocker => continue,
                Err(other) => {
                    // It may have been forgotten while the waiter waited for something else.
                    if let Blocker::Topic(name) = &other
                        && !self.topics.contains_key(name)
                    {
                        self.topics.insert(Arc::clone(name), Topic::default());
                        self.actions.push_back(Action::Lookup { topic: Arc::clone(name) });
                    }
                    self.waiting.move_front(&blocker, other);
                }
            }
            if let Some(seq) = first(&self.waiting, &blocker) {
                next.push(Reverse((seq, blocker)));
            }
        }
    }
}

/// In the order of the records: each run that is accused as a group of its own, the neighbours between them as groups. The
/// broker named some, but these may be failures of several batches, of which only one was so clear: who is refused alone is
/// guilty.
fn accused_apart(failures: Vec<Failure>) -> Vec<Pieces> {
    let mut groups: Vec<Pieces> = Vec::new();
    let mut beside_neighbours = false;
    for failure in failures {
        let is_neighbour = matches!(failure.kind, Kind::Neighbour | Kind::Producer);
        let piece = (failure.parcel, failure.records);
        match groups.last_mut() {
            Some(group) if is_neighbour && beside_neighbours => group.push(piece),
            _ => groups.push(vec![piece]),
        }
        beside_neighbours = is_neighbour;
    }
    groups
}

/// Two groups with the same number of records (the first may have one more), in order.
fn halves(pieces: Pieces) -> (Pieces, Pieces) {
    let total: u32 = pieces.iter().map(|(_, records)| records.end - records.start).sum();
    let mut left = total.div_ceil(2);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (parcel, records) in pieces {
        let cut = records.start + left.min(records.end - records.start);
        left -= cut - records.start;
        if cut > records.start {
            first.push((parcel, records.start..cut));
        }
        if cut < records.end {
            second.push((parcel, cut..records.end));
        }
    }
    (first, second)
}
