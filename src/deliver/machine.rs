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
//! - what is produced goes to the lane's own producer: the newest, or the one beside it (aside.rs). A lane with records in flight on
//!   another takes nothing until they are reported ([`Machine::replaced`]), or forgotten ([`Machine::hurried`]). So nothing
//!   overtakes.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::admission::Way;
use super::aside::Aside;
use super::lane::{Copied, Failure, Flight, Kind, Lane, LaneStatus, State};
use super::portions::Groups;
use super::relief::Relief;
use super::spill::Spooled;
use super::tally::Tally;
use super::waiting::{Blocker, Waiting, Wants};
use crate::batch::{LaneKey, Place, Settled, Share, SourceKey};
use crate::output::{Fault, Parcel, RecordFault, Replicas, TopicFault};
use crate::spool::FrameId;

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
    /// Bytes on the way to the spool that are nowhere else in memory.
    pub append_bytes_max: u64,
    /// What can't be handed over at once is spooled, also where its source could read it again.
    pub spool_always: bool,
    pub when_full: WhenFull,
}

/// What becomes of what should be spooled, and the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Its source is held.
    #[default]
    Block,
    /// The oldest segment of the spool goes.
    DropOldest,
    /// It goes itself.
    DropNewest,
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
        /// On the producer of this epoch.
        epoch: u64,
    },
    /// The parcel leaves memory: settle its receipt if that is not done, let its bytes go.
    Settle {
        parcel: Parcel,
        how: Settled,
    },
    /// Write these records of the parcel to the spool, in the order of these actions, then say [`Machine::committed`].
    Append {
        parcel: Parcel,
        lane: LaneKey,
        records: Range<u32>,
        /// Those of them that need not be written.
        done: Vec<Range<u32>>,
    },
    /// The parcel has another number from now on. What was said of appending it still goes by the one it had.
    Renumber {
        parcel: Parcel,
        to: Parcel,
    },
    /// The parcel is in the spool, and stays in memory: settle its receipt.
    Spooled {
        parcel: Parcel,
    },
    /// Every record of the frame is acknowledged.
    Done {
        lane: LaneKey,
        frame: FrameId,
    },
    /// The frame is no longer in memory, and is to be read again.
    Unread {
        lane: LaneKey,
        frame: FrameId,
    },
    /// The lane's frames can be read again, from the first that was skipped.
    Again {
        lane: LaneKey,
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
    /// The producer works, but for some lanes: make a new one, then say [`Machine::replaced`].
    Replace {
        message: Arc<str>,
    },
    /// Ask these brokers whether they answer, each on a connection of its own, then say [`Machine::knocked`].
    Knock {
        brokers: Vec<i32>,
    },
    /// Make a new producer for all lanes but those that need one of these brokers, which do not answer; then say
    /// [`Machine::set_aside`].
    SetAside {
        brokers: Vec<i32>,
        message: Arc<str>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) partitions: Option<u32>,
    /// The brokers of each partition, if they are known.
    pub(super) replicas: Option<Replicas>,
    pub(super) fault: Option<(TopicFault, Arc<str>)>,
    /// Where keyless records go now, and how many bytes went there.
    pub(super) sticky: i32,
    pub(super) sticky_bytes: u64,
    /// It refused larger batches: its lanes are handed so much at a time.
    pub(super) portion_bytes: Option<u64>,
    last_used: Duration,
    /// Since when its partition count is asked for, and whether that takes too long.
    wanted_since: Option<Duration>,
    pub(super) is_overdue: bool,
}

/// The machine; `W` names a waiter (a source).
#[derive(Debug)]
pub struct Machine<W> {
    pub(super) limits: Limits,
    pub(super) bytes_used: u64,
    next_parcel: u64,
    pub(super) lanes: HashMap<LaneKey, Lane>,
    pub(super) parcels: HashMap<Parcel, LaneKey>,
    pub(super) topics: HashMap<Arc<str>, Topic>,
    pub(super) waiting: Waiting<W>,
    /// Blockers whose first waiter may be able to go on: looked at by [`Machine::wake`].
    pub(super) touched: HashSet<Blocker>,
    /// Lanes whose time may have come: those in `Probing` or with a burial to try again.
    pub(super) timed: BTreeSet<LaneKey>,
    pub(super) actions: VecDeque<Action<W>>,
    pub(super) epoch: u64,
    pub(super) rebuilding: bool,
    pub(super) aside: Aside,
    /// Records are in flight, and all lanes that have some are stalled; as of the last tick.
    pub(super) is_silent: bool,
    pub(super) spooled: Spooled,
    pub(super) tally: Tally,
    pub(super) rebuilds: u64,
    pub(super) relief: Relief,
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
            aside: Aside::default(),
            is_silent: false,
            spooled: Spooled::default(),
            tally: Tally::default(),
            rebuilds: 0,
            relief: Relief::default(),
        }
    }

    /// Takes all shares, or none and parks `who`. `urgent`: the source can't read it again, or should not have to.
    pub fn offer(&mut self, who: W, source: SourceKey, shares: &[Share], urgent: bool, now: Duration) -> Offered {
        let wants: Wants = shares.iter().map(|share| (Arc::clone(&share.topic), share.place, share.bytes)).collect();
        self.know_topics(&wants, now);
        match self.admit(self.waiting.number_of(who), &wants, urgent) {
            Ok(ways) => {
                self.waiting.forget(who);
                let take = |(share, way): (&Share, Way)| self.take(source, share, way, urgent, now);
                Offered::Taken(shares.iter().zip(ways).map(take).collect())
            }
            Err(blocker) => {
                if shares.iter().any(|share| share.place == Place::Unknown) {
                    // What it did not know may be known by now.
                    self.touched.insert(blocker.clone());
                }
                self.waiting.park(who, blocker.clone(), wants, urgent);
                self.wake();
                Offered::Held(blocker)
            }
        }
    }

    /// Whether an offer like `wants` would be taken now. Parks nobody.
    ///
    /// # Errors
    /// What blocks them.
    pub fn look(&mut self, who: W, wants: &Wants, urgent: bool, now: Duration) -> Result<(), Blocker> {
        self.know_topics(wants, now);
        self.admit(self.waiting.number_of(who), wants, urgent).map(drop)
    }

    /// The number of a waiter that was woken and comes back.
    pub fn number_of(&self, who: W) -> Option<u64> {
        self.waiting.number_of(who)
    }

    /// `who` comes with the number that it has at another output.
    pub fn bring(&mut self, who: W, seq: u64) {
        self.waiting.bring(who, seq);
    }

    /// Numbers waiters from now on as others do that have the same counter.
    pub fn number_with(&mut self, last_seq: &Arc<AtomicU64>) {
        self.waiting.number_with(last_seq);
    }

    /// Whether the partition count of a topic is known; `None` if it is known that there is none.
    pub fn awaits_count(&self, name: &str) -> Option<bool> {
        match self.topics.get(name) {
            Some(topic) if topic.partitions.is_some() => Some(true),
            Some(topic) if topic.fault.is_some() => None,
            _ => Some(false),
        }
    }

    /// Whether an offer like `wants` would be held; then `who` is parked, and woken as if it had offered. Saves reading
    /// and encoding for nothing.
    pub fn would_hold(&mut self, who: W, wants: &Wants, urgent: bool, now: Duration) -> Option<Blocker> {
        self.know_topics(wants, now);
        if self.knows_by_now(wants) {
            return None;
        }
        let blocker = self.admit(self.waiting.number_of(who), wants, urgent).err()?;
        self.waiting.park(who, blocker.clone(), wants.clone(), urgent);
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
                self.relief.acknowledged(now);
            }
            Err(fault) => {
                // One that is being replaced anyway need not be replaced.
                if let (Fault::Producer { message }, true) = (&fault, epoch == self.epoch) {
                    self.need_rebuild(Arc::clone(message));
                } else if matches!(fault, Fault::Producer { .. }) {
                    self.lost_aside(epoch);
                }
                if matches!(fault, Fault::Topic { .. } | Fault::Record { .. }) {
                    self.relieve_of_refusal(&key, now);
                }
                let lane = self.lanes.get_mut(&key).expect("just looked up");
                lane.refuse(parcel, records, &fault);
            }
        }
        self.advance(&key, now);
        self.wake();
    }

    /// Records that were handed over are not for their topic, whatever the broker thinks of them: they go to the dead letter, and
    /// the others of their batch go on.
    pub fn not_for_its_topic(&mut self, parcel: Parcel, records: Range<u32>, message: &Arc<str>) {
        let Some(key) = self.parcels.get(&parcel) else { return };
        let lane = self.lanes.get_mut(key).expect("a parcel's lane exists while the parcel does");
        lane.in_flight_records -= u64::from(records.end - records.start);
        for record in records {
            let (reason, message) = (RecordFault::Processor, Arc::clone(message));
            lane.bury(parcel, record, reason, Arc::clone(&message));
            self.actions.push_back(Action::Bury { parcel, record, reason, message });
        }
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
            if matches!(lane.state, State::Direct) {
                // Nobody refused it, so the lane still flows: a dead letter that takes nothing holds it.
                lane.state = State::Split(Groups::default());
            }
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
                topic.is_overdue = false;
                topic.wanted_since = None;
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
        self.aside.end();
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
        self.settle_in();
        self.look_all_up();
    }

    /// Lanes of which nothing is in flight are with their producer from now on, whichever it was before.
    pub(super) fn settle_in(&mut self) {
        let idle =
            |(key, lane): (&LaneKey, &Lane)| (lane.in_flight_records == 0).then(|| (key.clone(), self.home(key)));
        let homes: Vec<(LaneKey, u64)> = self.lanes.iter().filter_map(idle).collect();
        for (key, home) in homes {
            self.lanes.get_mut(&key).expect("just listed").epoch = home;
        }
        self.touched.extend(self.waiting.blockers());
    }

    /// The brokers that do not answer while others do.
    pub fn silent_brokers(&self) -> impl Iterator<Item = i32> {
        self.aside.silent()
    }

    /// Whether lanes that go to the newest producer have records in flight on another.
    pub fn is_moving(&self) -> bool {
        self.lanes.iter().any(|(key, lane)| lane.epoch != self.epoch && self.home(key) == self.epoch)
    }

    /// Whether what of a parcel is in flight is so with the producer of `epoch`.
    pub fn is_with(&self, parcel: Parcel, epoch: u64) -> bool {
        self.lane_of(parcel).and_then(|key| self.lanes.get(key)).is_some_and(|lane| lane.epoch == epoch)
    }

    /// Whether the producer of `epoch` is to be kept.
    pub fn uses(&self, epoch: u64) -> bool {
        epoch == self.epoch || self.aside.epoch() == Some(epoch) || self.lanes.values().any(|lane| lane.epoch == epoch)
    }

    /// Waits no longer for the reports of older producers: what they did not report is sent again. How many records that are.
    pub fn hurried(&mut self, now: Duration) -> u64 {
        self.hurry(now, |_| true)
    }

    /// The same for those lanes that `is_late` says.
    pub(super) fn hurry(&mut self, now: Duration, is_late: impl Fn(&Lane) -> bool) -> u64 {
        let late = |(key, lane): (&LaneKey, &Lane)| {
            (lane.epoch != self.epoch && self.home(key) == self.epoch && is_late(lane)).then(|| key.clone())
        };
        let mut late: Vec<LaneKey> = self.lanes.iter().filter_map(late).collect();
        late.sort_unstable();
        let mut records = 0;
        for key in late {
            let lane = self.lanes.get_mut(&key).expect("just listed");
            records += lane.in_flight_records;
            self.aside.left(lane.epoch, &key);
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

    pub(super) fn look_all_up(&mut self) {
        let mut topics: Vec<Arc<str>> = self.topics.keys().cloned().collect();
        topics.sort_unstable();
        self.actions.extend(topics.into_iter().map(|topic| Action::Lookup { topic }));
    }

    /// Gives up those of `parcels` that wait in a lane whose topic can't take records, so that nothing of them is in flight:
    /// their source is gone, or reads them again for another topic. What stands before one that can't be given up stays with it: read
    /// again, it would come behind.
    pub fn give_up(&mut self, parcels: &HashSet<Parcel>) {
        let waiting = |lane: &Lane| lane.in_flight_records == 0 && matches!(lane.state, State::Probing { .. });
        let concerned: BTreeSet<LaneKey> =
            parcels.iter().filter_map(|parcel| self.parcels.get(parcel)).cloned().collect();
        for key in concerned {
            let Some(lane) = self.lanes.get_mut(&key).filter(|lane| waiting(lane)) else { continue };
            // What is in the spool is nobody's but the spool's, and what is on its way to the dead letter the dead letter's.
            let is_free = |one: &Flight| one.copied == Copied::No && !one.is_burying();
            let mut theirs = lane.flights.iter().rev().filter(|one| parcels.contains(&one.parcel));
            let staying = theirs.find(|one| !is_free(one)).map(|one| one.parcel);
            let given_up =
                lane.give_up(|one| parcels.contains(&one.parcel) && staying.is_none_or(|last| one.parcel > last));
            if lane.is_empty() {
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
            match flight.copied {
                Copied::In(frame) => {
                    self.actions.push_back(Action::Settle { parcel: flight.parcel, how: Settled::Spooled });
                    self.frame_part_over(frame, false);
                }
                Copied::No | Copied::Coming => {
                    self.actions.push_back(Action::Settle { parcel: flight.parcel, how: Settled::Abandoned });
                }
            }
        }
        self.touched.insert(Blocker::Window);
    }

    /// Other bounds. Of a window that is smaller now, what is in flight beyond it comes back first. What is done when the spool is
    /// full stays, until the spool says what it does and has room for ([`Machine::set_when_full`]).
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = Limits { when_full: self.limits.when_full, ..limits };
        self.touched.extend(self.waiting.blockers());
        self.wake();
    }

    /// What is done from now on when the spool is full. To be said with the room that it has: more room than before must not come
    /// too late for what would be dropped.
    pub fn set_when_full(&mut self, when_full: WhenFull) {
        self.limits.when_full = when_full;
    }

    /// What is due by `now`: probes, burials, forgotten topics. Call it at least every 100 ms.
    pub fn tick(&mut self, now: Duration) {
        let timed: Vec<LaneKey> = self.timed.iter().cloned().collect();
        for key in timed {
            self.tick_lane(&key, now);
        }
        let stalled_after = self.limits.stalled_after;
        self.lanes.values_mut().for_each(|lane| lane.tick(now, stalled_after));
        for topic in self.topics.values_mut().filter(|topic| topic.partitions.is_none()) {
            topic.is_overdue = topic.wanted_since.is_some_and(|since| now.saturating_sub(since) > stalled_after);
        }
        self.spill_stalled();
        self.take_back(now);
        self.read_again(now);
        self.relieve_of_the_stuck(now);
        self.look_for_silent_brokers(now);
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

    /// The lane that a parcel is in.
    pub fn lane_of(&self, parcel: Parcel) -> Option<&LaneKey> {
        self.parcels.get(&parcel)
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
        self.parcels.is_empty() && self.spooled.is_empty() && self.actions.is_empty()
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
                let mut status = lane.status(key, waiting, now, self.limits.stalled_after);
                if status.state == "unknown" && self.partitions(&key.topic).is_some() {
                    // Records without a key: their partition is chosen when they leave the spool.
                    status.state = "logged";
                }
                let portion_bytes = self.topics.get(&key.topic).and_then(|topic| topic.portion_bytes);
                if let (Some(bytes), "split", None) = (portion_bytes, status.state, &status.cause) {
                    let cause = format!(
                        "the topic refused larger batches: about {bytes} bytes are sent at a time; lower batch_bytes, or raise its max.message.bytes"
                    );
                    status.cause = Some(Arc::from(cause));
                }
                status
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

    fn take(&mut self, source: SourceKey, share: &Share, way: Way, urgent: bool, now: Duration) -> Parcel {
        match way {
            Way::Append(partition) => self.append(source, share, partition),
            Way::Drop => self.drop_newest(share),
            Way::Produce(partition) => {
                if let (Place::Any, Some(topic)) = (share.place, self.topics.get_mut(&share.topic)) {
                    if topic.sticky != partition || topic.sticky_bytes >= self.limits.sticky_bytes {
                        topic.sticky_bytes = 0;
                    }
                    topic.sticky = partition;
                    topic.sticky_bytes += share.bytes;
                }
                let key = LaneKey { topic: Arc::clone(&share.topic), partition };
                let parcel = self.new_parcel();
                self.push(&key, Flight::new(parcel, share, source, urgent, Copied::No), now);
                self.hand_over(&key, vec![(parcel, share.records.clone())]);
                parcel
            }
        }
    }

    pub(super) fn new_parcel(&mut self) -> Parcel {
        let parcel = Parcel(self.next_parcel);
        self.next_parcel += 1;
        parcel
    }

    /// Adds a parcel to a lane, behind all others.
    pub(super) fn push(&mut self, key: &LaneKey, flight: Flight, now: Duration) {
        self.bytes_used += flight.bytes;
        self.parcels.insert(flight.parcel, key.clone());
        let lane = self.lane(key);
        if lane.in_flight_records == 0 {
            lane.heard(now);
        }
        lane.push(flight);
    }

    /// The lane, made if there is none.
    pub(super) fn lane(&mut self, key: &LaneKey) -> &mut Lane {
        let home = self.home(key);
        let limits = &self.limits;
        self.lanes
            .entry(key.clone())
            .or_insert_with(|| Lane::new(limits.probe_first, limits.probe_longest, self.tally.row(&key.topic), home))
    }

    fn know_topics(&mut self, wants: &Wants, now: Duration) {
        for (name, _, _) in wants {
            self.look_up_once(name);
            if let Some(topic) = self.topics.get_mut(name) {
                topic.last_used = now;
                topic.wanted_since.get_or_insert(now);
            }
        }
    }

    /// Asks for the topic's partition count, if nobody did.
    pub(super) fn look_up_once(&mut self, name: &Arc<str>) {
        if !self.topics.contains_key(name) {
            self.topics.insert(Arc::clone(name), Topic::default());
            self.actions.push_back(Action::Lookup { topic: Arc::clone(name) });
        }
    }

    fn need_rebuild(&mut self, message: Arc<str>) {
        if !self.rebuilding {
            self.rebuilding = true;
            self.actions.push_back(Action::Rebuild { message });
        }
    }

    /// Hands records of a lane over, in the order given.
    pub(super) fn produce(&mut self, key: &LaneKey, pieces: Pieces) {
        let home = self.home(key);
        let lane = self.lanes.get_mut(key).expect("who produces has the lane");
        debug_assert_eq!(lane.epoch, home, "everything goes to the lane's own producer");
        for (parcel, records) in pieces {
            lane.sent(&records);
            let (topic, partition, epoch) = (Arc::clone(&key.topic), key.partition, lane.epoch);
            self.actions.push_back(Action::Produce { parcel, topic, partition, records, epoch });
        }
    }

    /// Hands over everything of a lane that is not acknowledged; from then on it flows.
    pub(super) fn resend(&mut self, key: &LaneKey, now: Duration) {
        let lane = self.lanes.get_mut(key).expect("who resends has the lane");
        let pending = lane.pending();
        lane.state = State::Direct;
        lane.heard(now);
        self.tally.of(lane.row).records_resent += count_of(&pending);
        self.hand_over(key, pending);
        self.touched.insert(Blocker::Lane(key.clone()));
        self.touched.insert(Blocker::Topic(Arc::clone(&key.topic)));
    }

    /// After a report: settles what is done and takes the lane to its next state.
    pub(super) fn advance(&mut self, key: &LaneKey, now: Duration) {
        self.settle_done(key);
        let home = self.home(key);
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if matches!(lane.state, State::Direct) && lane.has_failures() {
            lane.state = State::Draining;
        }
        if lane.is_empty() {
            let state = self.lanes.remove(key).map(|lane| lane.state);
            self.timed.remove(key);
            if let Some(State::Split(groups)) = state {
                self.learn(&key.topic, groups);
            }
            return;
        }
        if lane.in_flight_records > 0 || self.rebuilding {
            return;
        }
        if lane.epoch != home {
            lane.epoch = home;
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
            State::Split(mut groups) => {
                if lane.has_failures() {
                    lane.state = State::Split(groups);
                    self.judge(key, now);
                } else if let Some(group) = groups.next() {
                    lane.state = State::Split(groups);
                    self.send_group(key, group);
                } else if lane.is_burying() {
                    lane.state = State::Split(groups);
                } else {
                    self.learn(&key.topic, groups);
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
            // Nothing of it goes on before the topic is well: it need not hold the window meanwhile.
            self.spill_all(key);
            self.unload(key);
            return;
        }
        if !refused {
            self.resend(key, now);
            return self.advance(key, now);
        }
        let mut groups = match std::mem::replace(&mut lane.state, State::Direct) {
            State::Split(groups) => groups,
            _ => Groups::default(),
        };
        let is_alone = failures.len() == 1 && failures[0].records.len() == 1;
        let is_by_size = |one: &Failure| matches!(one.kind, Kind::Record(RecordFault::TooLarge, _));
        groups.refused(is_alone, failures.iter().any(is_by_size));
        if !is_alone {
            let count: usize = failures.iter().map(|failure| failure.records.len()).sum();
            self.tally.of(lane.row).records_resent += count as u64;
        }
        match &failures[..] {
            [Failure { parcel, records, kind: Kind::Record(reason, message) }] if records.len() == 1 => {
                let (parcel, record, reason, message) = (*parcel, records.start, *reason, Arc::clone(message));
                lane.bury(parcel, record, reason, Arc::clone(&message));
                self.actions.push_back(Action::Bury { parcel, record, reason, message });
            }
            _ if named => groups.waiting = accused_apart(failures).into_iter().chain(groups.waiting).collect(),
            _ => {
                let (first, second) = halves(failures.into_iter().map(|one| (one.parcel, one.records)).collect());
                groups.waiting.push_front(second);
                groups.waiting.push_front(first);
            }
        }
        groups.waiting.retain(|group| !group.is_empty());
        lane.state = State::Split(groups);
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
            if let Copied::In(frame) = flight.copied {
                self.frame_part_over(frame, true);
            }
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
        // A lane whose records are all in the spool is probed with the first that is read from there.
        let is_all_in_spool = lane.flights.is_empty() && lane.unread_frames > 0;
        if at <= now && !self.rebuilding && !is_all_in_spool {
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
                    && lane.flights.iter().all(|flight| flight.copied != Copied::Coming)
            })
            .map(|(key, _)| key.clone())
            .collect();
        gone.sort_unstable();
        for key in gone {
            let lane = self.lanes.get_mut(&key).expect("just listed");
            lane.state = State::Direct;
            lane.bytes = 0;
            lane.forget_flights(lane.epoch);
            let flights = std::mem::take(&mut lane.flights);
            self.abandon(flights);
            if self.lanes.get(&key).is_some_and(Lane::is_empty) {
                self.lanes.remove(&key);
            }
            self.timed.remove(&key);
            self.touched.insert(Blocker::Lane(key));
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

/// How many records that are.
fn count_of(pieces: &Pieces) -> u64 {
    pieces.iter().map(|(_, records)| u64::from(records.end - records.start)).sum()
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
