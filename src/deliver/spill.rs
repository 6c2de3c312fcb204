//! What goes to the spool, and how it comes back (P).
//!
//! ```text
//!   a lane stalls ────────► its urgent parcels are copied; they stay in flight
//!   a topic is at fault ──► all its parcels are copied, and leave memory but for the first
//!   urgent arrivals where a lane is blocked ──► to the spool only; if it can't be written and the lane flows, they are sent
//!
//!   the reader asks for each frame, in the order of the log (may_read) ──► Take: it is a parcel again (read)
//!                                                                     └──► Skip: until the lane flows again (read_again)
//! ```
//!
//! Three rules keep order (I3):
//! - before a record is appended for a lane, everything that was handed over for that lane before is ([`Machine::spill_all`]): else,
//!   after a crash, the log would overtake the file that is read again, or the one that had its name before;
//! - what arrives for a lane with frames that are not handed over goes behind them, into the log;
//! - frames whose partition is not known (or gone) go after every older frame of their topic, and before every newer one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::admission::Room;
use super::lane::{Copied, Flight, Lane, State};
use super::machine::{Action, Machine};
use super::waiting::Blocker;
use crate::batch::{LaneKey, Place, Settled, Share, SourceKey};
use crate::output::Parcel;
use crate::spool::{FrameId, Turn};

/// A group of this many bytes is written at once: longer ones are hardly cheaper (a sync takes 2 ms, the copying of so much
/// 1 ms), and a pipe, whose buffer holds not much more, can go on meanwhile.
const PRESSING_BYTES: u64 = 3 << 20;

/// What a source brings at once, mostly no more: where there is no room for that, the spool is called full.
const BATCH_BYTES: u64 = 1 << 20;

/// What the machine knows of the spool.
#[derive(Debug, Default)]
pub(super) struct Spooled {
    /// Frames in memory: the lane they are logged under, and their parcels that are not done.
    frames: HashMap<FrameId, InMemory>,
    /// Those of them of which a part was given up while another is in memory: newer ones wait until it is read again.
    torn: BTreeMap<FrameId, LaneKey>,
    /// Parcels on their way to the spool that are nowhere else in memory.
    appends: HashMap<Parcel, Append>,
    append_bytes: u64,
    /// Those that were taken back: what they are called by whoever writes them, and what they, or their parts, are called now.
    taken_back: HashMap<Parcel, Vec<Parcel>>,
    /// Parcels in flight whose copies are on their way: their bytes.
    copies: HashMap<Parcel, u64>,
    copies_bytes: u64,
    /// Lanes with frames that are not in memory.
    unread: BTreeSet<LaneKey>,
    /// Bytes that the spool takes before it is full, what is on its way included.
    room_bytes: u64,
    /// Whether there is a spool at all.
    is_enabled: bool,
    /// Why nothing can be written now.
    trouble: Option<Trouble>,
    /// Lanes that may use the last quarter of the spool no more.
    greedy: HashSet<LaneKey>,
    /// The agent ends: nothing more is read.
    is_closing: bool,
    /// What the reader was told to take and has not brought yet; whether something of its topic that is older was given up
    /// meanwhile.
    on_its_way: Option<(LaneKey, FrameId, bool)>,
}

/// Why the spool can't be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The disk is full: what the policy for a full spool says holds. Otherwise what arrives is held.
    pub is_full: bool,
    pub message: Arc<str>,
}

/// Whether the spool takes a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpoolRoom {
    Takes,
    /// Not now.
    Busy,
    Full,
}

#[derive(Debug)]
struct InMemory {
    lane: LaneKey,
    parcels: u32,
    /// A parcel of it was given up: all of it is to be read again.
    is_incomplete: bool,
}

#[derive(Debug)]
struct Append {
    lane: LaneKey,
    source: SourceKey,
    share: Share,
}

impl Spooled {
    /// Nothing is on its way to the spool, nothing in it waits.
    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.copies.is_empty() && self.unread.is_empty()
    }
}

impl<W: Copy + Eq + Hash + std::fmt::Debug> Machine<W> {
    /// What the spool holds at the start: frames per lane that are not acknowledged, and the partition counts it remembers.
    pub fn recovered(&mut self, lanes: &[(LaneKey, u64)], partitions: &[(Arc<str>, u32)]) {
        for (topic, count) in partitions {
            self.look_up_once(topic);
            if let Some(topic) = self.topics.get_mut(topic) {
                topic.partitions = Some(*count);
            }
        }
        for (key, frames) in lanes.iter().filter(|(_, frames)| *frames > 0) {
            self.look_up_once(&key.topic);
            self.lane(key).unread_frames = *frames;
            self.spooled.unread.insert(key.clone());
        }
    }

    /// What the spool takes: bytes before it is full, lanes that hold too much of it, and why it can't be written, if so.
    pub fn spool(&mut self, room_bytes: u64, greedy: HashSet<LaneKey>, trouble: Option<Trouble>) {
        let was_open = self.spooled.is_open();
        let had_bytes = std::mem::replace(&mut self.spooled.room_bytes, room_bytes);
        self.spooled.is_enabled = true;
        self.spooled.greedy = greedy;
        self.spooled.trouble = trouble;
        if self.spooled.is_open() && (!was_open || room_bytes > had_bytes) {
            self.touched.insert(Blocker::Spool);
            self.wake();
        }
    }

    /// Whether there is a spool.
    pub(super) fn has_spool(&self) -> bool {
        self.spooled.is_enabled
    }

    /// Whether a lane of the topic has frames that belong to no partition: everything newer waits behind them.
    pub(super) fn has_unplaced(&self, topic: &Arc<str>) -> bool {
        !self.spooled.unread.is_empty() && self.unread_of(topic).any(|key| !self.is_placed(key))
    }

    /// Whether these can go to the spool. Room for everything in memory is kept: an arrival may need what its source has in
    /// flight copied first.
    pub(super) fn spool_room(&self, appended: impl Iterator<Item = (LaneKey, u64)>) -> SpoolRoom {
        let (mut bytes, mut any_greedy) = (0, false);
        for (lane, share) in appended {
            bytes += share;
            any_greedy |= self.spooled.greedy.contains(&lane);
        }
        let on_the_way = self.spooled.append_bytes + self.spooled.copies_bytes;
        let reserve = self.limits.window_bytes_max;
        match &self.spooled.trouble {
            _ if !self.spooled.is_enabled => SpoolRoom::Busy,
            Some(trouble) if trouble.is_full => SpoolRoom::Full,
            Some(_) => SpoolRoom::Busy,
            None if any_greedy || self.spooled.room_bytes < on_the_way + bytes + reserve => SpoolRoom::Full,
            None if self.spooled.append_bytes == 0 => SpoolRoom::Takes,
            None if self.spooled.append_bytes + bytes <= self.limits.append_bytes_max => SpoolRoom::Takes,
            None => SpoolRoom::Busy,
        }
    }

    /// Whether the spool keeps out what should be spooled for want of room, and how many sources wait for it.
    pub fn held_by_spool(&self) -> (bool, usize) {
        let waiting = self.waiting.count(&Blocker::Spool);
        let on_the_way = self.spooled.append_bytes + self.spooled.copies_bytes;
        let is_tight = self.spooled.room_bytes < on_the_way + BATCH_BYTES + self.limits.window_bytes_max;
        let is_full = match &self.spooled.trouble {
            Some(trouble) => trouble.is_full,
            None => self.spooled.is_enabled && (is_tight || waiting > 0 && !self.spooled.greedy.is_empty()),
        };
        (is_full, waiting)
    }

    /// Whether so much is on its way to the spool that it should not wait for more: half of what may be, at most
    /// [`PRESSING_BYTES`].
    pub fn presses(&self) -> bool {
        let on_the_way = self.spooled.append_bytes + self.spooled.copies_bytes;
        on_the_way > 0 && on_the_way >= PRESSING_BYTES.min(self.limits.append_bytes_max / 2)
    }

    /// Drops a share: the spool is full, and that is what the user wants then.
    pub(super) fn drop_newest(&mut self, share: &Share) -> Parcel {
        let parcel = self.new_parcel();
        let row = self.tally.row(&share.topic);
        self.tally.of(row).records_dropped += u64::from(share.records.end - share.records.start);
        self.actions.push_back(Action::Settle { parcel, how: Settled::Dropped });
        parcel
    }

    /// Takes a share for the spool.
    pub(super) fn append(&mut self, source: SourceKey, share: &Share, partition: i32) -> Parcel {
        let key = LaneKey { topic: Arc::clone(&share.topic), partition };
        self.spill_all(&key);
        let parcel = self.new_parcel();
        self.lane(&key).unread_frames += 1;
        self.spooled.unread.insert(key.clone());
        self.spooled.append_bytes += share.bytes;
        self.spooled.appends.insert(parcel, Append { lane: key.clone(), source, share: share.clone() });
        self.actions.push_back(Action::Append { parcel, lane: key, records: share.records.clone(), done: Vec::new() });
        parcel
    }

    /// The parcel is durable in the spool, as this frame.
    pub fn committed(&mut self, parcel: Parcel, lane: &LaneKey, frame: FrameId) {
        if let Some(append) = self.spooled.appends.remove(&parcel) {
            self.spooled.append_bytes -= append.share.bytes;
            self.actions.push_back(Action::Settle { parcel, how: Settled::Spooled });
            self.touched.insert(Blocker::Spool);
            return self.wake();
        }
        let mut parcels = 0;
        for parcel in self.written_as(parcel) {
            let flight = self.parcels.get(&parcel).cloned().and_then(|key| self.lanes.get_mut(&key)?.flight(parcel));
            if let Some(flight) = flight {
                flight.copied = Copied::In(frame);
                self.actions.push_back(Action::Spooled { parcel });
                parcels += 1;
            }
        }
        if parcels == 0 {
            // All of it was acknowledged, or given up, while it was written.
            self.actions.push_back(Action::Done { lane: lane.clone(), frame });
            return;
        }
        self.spooled.frames.insert(frame, InMemory { lane: lane.clone(), parcels, is_incomplete: false });
        self.unload(lane);
        self.wake();
    }

    /// Frames of a lane are gone from the spool: dropped to make room, or lost with its files. Those in memory are sent all
    /// the same.
    pub fn frames_gone(&mut self, lane: &LaneKey, ids: RangeInclusive<FrameId>, count: u64, now: Duration) {
        let in_memory: Vec<FrameId> = self
            .spooled
            .frames
            .iter()
            .filter(|(frame, held)| held.lane == *lane && ids.contains(frame))
            .map(|(frame, _)| *frame)
            .collect();
        let mut counted = 0;
        for frame in &in_memory {
            self.spooled.frames.remove(frame);
            // One that is torn counts among those to be read.
            counted += u64::from(self.spooled.torn.remove(frame).is_none());
        }
        if !in_memory.is_empty() {
            for flight in self.lanes.values_mut().flat_map(|lane| lane.flights.iter_mut()) {
                if matches!(flight.copied, Copied::In(frame) if in_memory.contains(&frame)) {
                    flight.copied = Copied::No;
                }
            }
        }
        self.fewer_unread(lane, count.saturating_sub(counted));
        self.advance(lane, now);
        self.wake();
    }

    /// The reader has met all there is of a lane: what it did not meet is damaged, and gone.
    pub fn nothing_unread(&mut self, lane: &LaneKey, now: Duration) {
        let coming = self.spooled.appends.values().filter(|append| append.lane == *lane).count() as u64;
        let torn = self.spooled.torn.values().filter(|torn| *torn == lane).count() as u64;
        let unread = self.lanes.get(lane).map_or(0, |lane| lane.unread_frames);
        self.fewer_unread(lane, unread.saturating_sub(coming + torn));
        self.advance(lane, now);
        self.wake();
    }

    /// While nothing can be written, what is on its way to the spool need not wait for the disk where its lane flows: once it is the
    /// next of its lane, it is sent, as what is read from the spool is. It is copied too as soon as that works, if it is not
    /// acknowledged by then. What has keys and no partition yet has to be taken apart first ([`Machine::next_to_place`]).
    pub(super) fn take_back(&mut self, now: Duration) {
        if self.spooled.trouble.is_none() || self.spooled.is_closing || self.spooled.appends.is_empty() {
            return;
        }
        let mut coming: BTreeMap<Arc<str>, Vec<Parcel>> = BTreeMap::new();
        for (parcel, append) in &self.spooled.appends {
            coming.entry(Arc::clone(&append.lane.topic)).or_default().push(*parcel);
        }
        for (topic, mut parcels) in coming {
            parcels.sort_unstable();
            self.take_back_of(&topic, &parcels, now);
        }
        self.wake();
    }

    /// Lanes of a topic with frames that are in the spool itself: those go before `coming`, all that is on its way there.
    fn first_read(&self, topic: &Arc<str>, coming: &[Parcel]) -> BTreeSet<LaneKey> {
        let is_read_first = |key: &&LaneKey| {
            let coming = coming.iter().filter(|parcel| self.spooled.appends[*parcel].lane == **key).count() as u64;
            self.lanes.get(key).is_some_and(|lane| lane.unread_frames > coming)
        };
        self.unread_of(topic).filter(is_read_first).cloned().collect()
    }

    /// What is to be taken apart by the partitions of its keys, and how many partitions there are: while nothing can be written, it
    /// was taken before anybody knew them, they are known by now, and it is the next of its topic.
    pub fn next_to_place(&self, now: Duration) -> Option<(Parcel, u32)> {
        if self.spooled.trouble.is_none() || self.spooled.is_closing {
            return None;
        }
        let mut of_topics: BTreeMap<&Arc<str>, Vec<Parcel>> = BTreeMap::new();
        for (parcel, append) in &self.spooled.appends {
            of_topics.entry(&append.lane.topic).or_default().push(*parcel);
        }
        of_topics.into_iter().find_map(|(topic, coming)| {
            let parcel = *coming.iter().min()?;
            let Append { lane, share, .. } = &self.spooled.appends[&parcel];
            let has_to_be = !self.is_placed(lane) && share.place != Place::Any;
            let is_next = has_to_be
                && self.turn_of(lane, FrameId(u64::MAX), share.bytes, now) == Turn::Take
                && self.first_read(topic, &coming).is_empty();
            is_next.then_some((parcel, self.partitions(topic)?))
        })
    }

    /// The parcel that was to be taken apart: its records by place, in its order. The parcel of each share, which are sent now; none if
    /// it is not its turn any more. What is written, if the disk takes it before all are acknowledged, is what it was.
    pub fn placed(&mut self, parcel: Parcel, shares: &[Share], now: Duration) -> Vec<Parcel> {
        if self.next_to_place(now).is_none_or(|(next, _)| next != parcel) {
            return Vec::new();
        }
        let append = self.spooled.appends.remove(&parcel).expect("it is the next");
        self.spooled.append_bytes -= append.share.bytes;
        let mut parts = Vec::with_capacity(shares.len());
        for share in shares {
            let key = self.lane_for(share);
            let part = self.new_parcel();
            parts.push(part);
            self.spooled.copies.insert(part, share.bytes);
            self.spooled.copies_bytes += share.bytes;
            self.join(&key, Flight::new(part, share, append.source, true, Copied::Coming), now);
        }
        self.spooled.taken_back.insert(parcel, parts.clone());
        self.fewer_unread(&append.lane, 1);
        self.take_back(now);
        self.wake();
        parts
    }

    /// The lane of a share that comes from the spool, or was on its way there.
    fn lane_for(&self, share: &Share) -> LaneKey {
        let partition = match share.place {
            Place::At(partition) => partition,
            Place::Any | Place::Unknown => self.keyless_lane(&share.topic),
        };
        LaneKey { topic: Arc::clone(&share.topic), partition }
    }

    /// The same of one topic, in the order of arrival.
    fn take_back_of(&mut self, topic: &Arc<str>, parcels: &[Parcel], now: Duration) {
        let mut held = self.first_read(topic, parcels);
        for parcel in parcels {
            let Append { lane: key, source, share } = &self.spooled.appends[parcel];
            let (key, source, share, is_placed) = (key.clone(), *source, share.clone(), self.is_placed(key));
            let is_behind = match is_placed {
                true => held.contains(&key) || held.iter().any(|other| !self.is_placed(other)),
                false => share.place != Place::Any || !held.is_empty(),
            };
            if is_behind || self.turn_of(&key, FrameId(u64::MAX), share.bytes, now) != Turn::Take {
                held.insert(key);
                continue;
            }
            self.spooled.appends.remove(parcel);
            self.spooled.append_bytes -= share.bytes;
            // It comes behind what was read since from the spool, and numbers say the order.
            let to = self.new_parcel();
            self.actions.push_back(Action::Renumber { parcel: *parcel, to });
            self.spooled.taken_back.insert(*parcel, vec![to]);
            self.spooled.copies.insert(to, share.bytes);
            self.spooled.copies_bytes += share.bytes;
            let partition = if is_placed { key.partition } else { self.keyless_lane(topic) };
            let to_lane = LaneKey { topic: Arc::clone(topic), partition };
            self.join(&to_lane, Flight::new(to, &share, source, true, Copied::Coming), now);
            self.fewer_unread(&key, 1);
        }
    }

    /// Adds a parcel that is, or was to be, in the spool alone to a lane, behind all others there, and sends it if the lane flows.
    fn join(&mut self, key: &LaneKey, flight: Flight, now: Duration) {
        let (parcel, records) = (flight.parcel, flight.records.clone());
        let is_first = self.lanes.get(key).is_none_or(|lane| lane.flights.is_empty());
        self.push(key, flight, now);
        let to_lane = self.lanes.get_mut(key).expect("just pushed to");
        match to_lane.state {
            _ if to_lane.flows() => self.hand_over(key, vec![(parcel, records)]),
            State::Probing { at, sent: false } if is_first && at <= now => {
                to_lane.state = State::Probing { at, sent: true };
                self.produce(key, vec![(parcel, records.start..records.start + 1)]);
            }
            // It goes with what is in the lane already, behind it.
            State::Direct | State::Probing { .. } | State::Draining | State::Split(_) => {}
        }
    }

    /// Whether a parcel that was to be copied still is: it may be acknowledged, or given up.
    pub fn wants_copy(&mut self, parcel: Parcel) -> bool {
        let are_now = self.spooled.taken_back.get(&parcel).map_or(std::slice::from_ref(&parcel), Vec::as_slice);
        if self.spooled.appends.contains_key(&parcel) || are_now.iter().any(|part| self.parcels.contains_key(part)) {
            return true;
        }
        self.written_as(parcel);
        false
    }

    /// Nobody writes a parcel any more: what it, or its parts, are called now.
    fn written_as(&mut self, parcel: Parcel) -> Vec<Parcel> {
        let parcels = self.spooled.taken_back.remove(&parcel).unwrap_or_else(|| vec![parcel]);
        for parcel in &parcels {
            self.spooled.copies_bytes -= self.spooled.copies.remove(parcel).unwrap_or(0);
        }
        parcels
    }

    /// Lanes with frames that are not in memory.
    pub fn spooled_lanes(&self) -> impl Iterator<Item = &LaneKey> {
        self.spooled.unread.iter()
    }

    /// A source became urgent: what it has where a lane is blocked is copied at once, and elsewhere once a lane stalls.
    pub fn urgent(&mut self, source: SourceKey) {
        let mut blocked = Vec::new();
        for (key, lane) in &mut self.lanes {
            let mut any = false;
            for flight in lane.flights.iter_mut().filter(|flight| flight.source == source) {
                flight.urgent = true;
                any = true;
            }
            if any && (lane.is_stalled() || lane.unread_frames > 0 || matches!(lane.state, State::Probing { .. })) {
                blocked.push(key.clone());
            }
        }
        blocked.sort_unstable();
        for key in blocked {
            self.copy_of_source(&key, source);
        }
    }

    /// Whether every receipt is settled: what is not acknowledged is in the spool.
    pub fn is_settled(&self) -> bool {
        self.actions.is_empty()
            && self.spooled.appends.is_empty()
            && self.lanes.values().flat_map(|lane| &lane.flights).all(|flight| matches!(flight.copied, Copied::In(_)))
    }

    /// The agent ends: what is in the spool stays there from now on.
    pub fn close_spool(&mut self) {
        self.spooled.is_closing = true;
    }

    /// Whether nothing more is to be heard of what was handed over: all is reported, or nobody answers.
    pub fn is_quiet(&self) -> bool {
        self.is_silent || !self.has_in_flight()
    }

    /// Whether something that was handed over is not reported.
    pub fn has_in_flight(&self) -> bool {
        self.lanes.values().any(|lane| lane.in_flight_records > 0)
    }

    /// Copies everything in memory that only memory has: the agent ends, and its sources can't read it again. How many
    /// parcels are on their way.
    pub fn spill_urgent(&mut self) -> usize {
        self.copy_where(|_, flight| flight.urgent);
        self.spooled.appends.len() + self.spooled.copies.len()
    }

    /// At each tick: lanes that are stalled, and what is urgent in them.
    pub(super) fn spill_stalled(&mut self) {
        let in_flight = || self.lanes.values().filter(|lane| lane.in_flight_records > 0);
        self.is_silent = in_flight().next().is_some() && in_flight().all(|lane| lane.is_stalled());
        if !self.spooled.is_open() {
            return;
        }
        let always = self.limits.spool_always;
        self.copy_where(|lane, flight| lane.is_stalled() && (flight.urgent || always));
    }

    /// Copies what the sources have in a lane of whom something there is due ([`Machine::copy_of_source`]).
    fn copy_where(&mut self, is_due: impl Fn(&Lane, &Flight) -> bool) {
        let mut due: Vec<(LaneKey, SourceKey)> = self
            .lanes
            .iter()
            .flat_map(|(key, lane)| lane.flights.iter().map(move |flight| (key, lane, flight)))
            .filter(|(_, lane, flight)| flight.copied == Copied::No && is_due(lane, flight))
            .map(|(key, _, flight)| (key.clone(), flight.source))
            .collect();
        due.sort_unstable();
        due.dedup();
        for (key, source) in due {
            self.copy_of_source(&key, source);
        }
    }

    /// Copies what a source has in a lane, and everything that was handed over for the lane before; where the spool is full,
    /// only the beginning.
    pub(super) fn copy_of_source(&mut self, key: &LaneKey, source: SourceKey) {
        let Some(lane) = self.lanes.get(key) else { return };
        let is_its = |flight: &Flight| flight.source == source && flight.copied == Copied::No;
        if let Some(last) = lane.flights.iter().rev().find(|flight| is_its(flight)) {
            self.copy_up_to(key, last.parcel);
        }
    }

    /// Copies all that a lane has in memory.
    pub(super) fn spill_all(&mut self, key: &LaneKey) {
        if let Some(last) = self.lanes.get(key).and_then(|lane| lane.flights.back()) {
            self.copy_up_to(key, last.parcel);
        }
    }

    fn copy_up_to(&mut self, key: &LaneKey, last: Parcel) {
        if !self.spooled.is_open() {
            return;
        }
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let flights = lane.flights.iter_mut().take_while(|flight| flight.parcel <= last);
        for flight in flights.filter(|flight| flight.copied == Copied::No) {
            let on_the_way = self.spooled.append_bytes + self.spooled.copies_bytes;
            if self.spooled.room_bytes < on_the_way + flight.bytes {
                return;
            }
            self.spooled.copies.insert(flight.parcel, flight.bytes);
            self.spooled.copies_bytes += flight.bytes;
            flight.copied = Copied::Coming;
            self.actions.push_back(Action::Append {
                parcel: flight.parcel,
                lane: key.clone(),
                records: flight.records.clone(),
                done: flight.done(),
            });
        }
    }

    /// Lets go of what is in the spool too, in a lane whose topic is at fault: all but the first, which it is probed with.
    /// From the end only: what stays goes first, whenever the lane goes on.
    pub(super) fn unload(&mut self, key: &LaneKey) {
        let is_at_rest = |lane: &&mut Lane| matches!(lane.state, State::Probing { .. }) && lane.in_flight_records == 0;
        let Some(lane) = self.lanes.get_mut(key).filter(is_at_rest) else {
            return;
        };
        let frames = &self.spooled.frames;
        let is_alone = |frame: FrameId| frames.get(&frame).is_some_and(|held| held.parcels == 1 && !held.is_incomplete);
        let can_go =
            |flight: &Flight| flight.is_untouched() && matches!(flight.copied, Copied::In(frame) if is_alone(frame));
        let staying = lane.flights.iter().rposition(|flight| !can_go(flight)).unwrap_or(0);
        let Some(last) = lane.flights.get(staying).map(|flight| flight.parcel) else { return };
        let gone = lane.give_up(|flight| flight.parcel > last);
        if gone.is_empty() {
            return;
        }
        for flight in gone {
            self.bytes_used -= flight.bytes;
            self.parcels.remove(&flight.parcel);
            self.actions.push_back(Action::Settle { parcel: flight.parcel, how: Settled::Spooled });
            if let Copied::In(frame) = flight.copied {
                self.frame_part_over(frame, false);
            }
        }
        self.touched.insert(Blocker::Window);
    }

    /// A parcel of a frame is done (`ok`), or given up.
    pub(super) fn frame_part_over(&mut self, frame: FrameId, ok: bool) {
        let Some(held) = self.spooled.frames.get_mut(&frame) else { return };
        held.parcels -= 1;
        let (lane, is_over, is_torn) = (held.lane.clone(), held.parcels == 0, held.is_incomplete || !ok);
        let tears = is_torn && !std::mem::replace(&mut held.is_incomplete, is_torn);
        if tears {
            self.lane(&lane).unread_frames += 1;
            self.spooled.unread.insert(lane.clone());
            self.spooled.torn.insert(frame, lane.clone());
        }
        if is_torn {
            if let Some((other, coming, is_overtaking)) = &mut self.spooled.on_its_way {
                *is_overtaking |= other.topic == lane.topic && frame < *coming;
            }
            let lane = self.lane(&lane);
            lane.skipped_at = Some(lane.skipped_at.map_or(frame, |at| at.min(frame)));
        }
        if is_over {
            self.spooled.frames.remove(&frame);
            self.spooled.torn.remove(&frame);
            self.actions.push_back(if is_torn { Action::Unread { lane, frame } } else { Action::Done { lane, frame } });
        }
    }

    /// What the reader does with a frame that it meets, of about `bytes`.
    pub fn may_read(&mut self, key: &LaneKey, frame: FrameId, bytes: u64, now: Duration) -> Turn {
        if self.spooled.frames.contains_key(&frame) {
            return Turn::Have;
        }
        if self.spooled.is_closing {
            return Turn::Wait;
        }
        let turn = self.turn_of(key, frame, bytes, now);
        if let Some(lane) = self.lanes.get_mut(key) {
            match turn {
                Turn::Skip => {
                    lane.skipped_at = Some(lane.skipped_at.map_or(frame, |at| at.min(frame)));
                    lane.going_back_to = None;
                }
                // The reader is before whatever else of it was skipped.
                Turn::Take => (lane.skipped_at, lane.going_back_to) = (None, None),
                Turn::Wait | Turn::Have => {}
            }
        }
        if turn == Turn::Take {
            self.spooled.on_its_way = Some((key.clone(), frame, false));
        }
        turn
    }

    fn turn_of(&self, key: &LaneKey, frame: FrameId, bytes: u64, now: Duration) -> Turn {
        let is_older = |other: &LaneKey| {
            self.lanes.get(other).and_then(|lane| lane.skipped_at).is_some_and(|skipped| skipped < frame)
        };
        let is_going_back = |other: &LaneKey| {
            self.lanes.get(other).and_then(|lane| lane.going_back_to).is_some_and(|back_to| back_to < frame)
        };
        let is_known = self.topics.get(&key.topic).is_some_and(|topic| topic.partitions.is_some());
        let is_behind_torn =
            self.spooled.torn.range(..frame).any(|(_, torn)| {
                torn == key || torn.topic == key.topic && (!self.is_placed(torn) || !self.is_placed(key))
            });
        if !is_known || is_older(key) || is_behind_torn {
            return Turn::Skip;
        }
        if !self.is_placed(key) {
            let is_first = |other: &LaneKey| is_older(other) || is_going_back(other);
            let is_behind = self.unread_of(&key.topic).any(|other| other != key && is_first(other));
            let is_moving = self.lanes.iter().any(|(other, lane)| {
                other.topic == key.topic && other.partition >= 0 && lane.epoch != self.home(other)
            });
            return match () {
                () if is_behind || is_moving => Turn::Skip,
                () if self.bytes_used == 0 || self.bytes_used + bytes <= self.limits.window_bytes_max => Turn::Take,
                () => Turn::Wait,
            };
        }
        let is_first = |other: &LaneKey| !self.is_placed(other) && (is_older(other) || is_going_back(other));
        if self.unread_of(&key.topic).any(is_first) {
            return Turn::Skip;
        }
        if let Some(lane) = self.lanes.get(key) {
            match lane.state {
                _ if lane.flows() && (lane.epoch != self.home(key) || lane.is_stalled()) => return Turn::Skip,
                _ if lane.flows() => {}
                State::Probing { at, sent: false }
                    if lane.flights.is_empty() && at <= now && lane.epoch == self.home(key) => {}
                State::Direct | State::Probing { .. } | State::Draining | State::Split(_) => return Turn::Skip,
            }
        }
        let fits = match self.share_of_window(key, bytes, None) {
            Room::Flows { fresh } => {
                let max = self.limits.window_bytes_max;
                self.bytes_used + bytes <= max || (fresh && self.bytes_used < max)
            }
            Room::Busy | Room::Blocked => false,
        };
        if fits { Turn::Take } else { Turn::Wait }
    }

    /// The reader has read a frame that it was told to take: its records by place, in the frame's order. The parcel of each
    /// share; none if the frame is to be read again, behind what was before it in its lane and was given up meanwhile.
    pub fn read(
        &mut self,
        lane: &LaneKey,
        frame: FrameId,
        source: SourceKey,
        shares: &[Share],
        now: Duration,
    ) -> Vec<Parcel> {
        let is_overtaking = self.spooled.on_its_way.take().is_some_and(|(_, _, is_overtaking)| is_overtaking);
        if is_overtaking || self.turn_of(lane, frame, 0, now) == Turn::Skip {
            let lane_of = self.lane(lane);
            lane_of.skipped_at = Some(lane_of.skipped_at.map_or(frame, |at| at.min(frame)));
            self.actions.push_back(Action::Unread { lane: lane.clone(), frame });
            return Vec::new();
        }
        let mut parcels = Vec::with_capacity(shares.len());
        let held = InMemory { lane: lane.clone(), parcels: shares.len() as u32, is_incomplete: false };
        self.spooled.frames.insert(frame, held);
        for share in shares {
            let key = self.lane_for(share);
            let parcel = self.new_parcel();
            parcels.push(parcel);
            self.join(&key, Flight::new(parcel, share, source, true, Copied::In(frame)), now);
        }
        self.fewer_unread(lane, 1);
        self.advance(lane, now);
        self.wake();
        parcels
    }

    /// Lanes whose skipped frames can be read now.
    pub(super) fn read_again(&mut self, now: Duration) {
        if self.spooled.unread.is_empty() {
            return;
        }
        let mut skipped: Vec<(FrameId, LaneKey)> = self
            .spooled
            .unread
            .iter()
            .filter_map(|key| Some((self.lanes.get(key)?.skipped_at?, key.clone())))
            .collect();
        skipped.sort_unstable();
        for (frame, key) in skipped {
            if self.turn_of(&key, frame, 0, now) == Turn::Skip {
                continue;
            }
            if let Some(lane) = self.lanes.get_mut(&key) {
                (lane.skipped_at, lane.going_back_to) = (None, lane.skipped_at);
            }
            self.actions.push_back(Action::Again { lane: key });
        }
    }

    fn fewer_unread(&mut self, key: &LaneKey, frames: u64) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.unread_frames = lane.unread_frames.saturating_sub(frames);
        if lane.unread_frames > 0 {
            return;
        }
        (lane.skipped_at, lane.going_back_to) = (None, None);
        if lane.is_empty() {
            self.lanes.remove(key);
            self.timed.remove(key);
        }
        self.spooled.unread.remove(key);
        self.touched.insert(Blocker::Lane(key.clone()));
        self.touched.insert(Blocker::Topic(Arc::clone(&key.topic)));
        if !self.is_placed(key) {
            // Everybody of the topic waited behind it.
            let lanes = self.waiting.blockers().into_iter();
            self.touched
                .extend(lanes.filter(|blocker| matches!(blocker, Blocker::Lane(lane) if lane.topic == key.topic)));
        }
    }

    /// Where keyless records from the spool go: the partition that they go to now, or the next that flows.
    fn keyless_lane(&self, name: &Arc<str>) -> i32 {
        let topic = self.topics.get(name);
        let count = topic.and_then(|topic| i32::try_from(topic.partitions?).ok()).filter(|count| *count > 0);
        let (sticky, count) = (topic.map_or(0, |topic| topic.sticky), count.unwrap_or(1));
        let flows = |partition: &i32| {
            let lane = self.lanes.get(&LaneKey { topic: Arc::clone(name), partition: *partition });
            lane.is_none_or(|lane| lane.flows() && !lane.is_stalled())
        };
        let mut all = (0..count).map(|step| (sticky + step).rem_euclid(count));
        all.find(flows).unwrap_or(sticky.rem_euclid(count))
    }

    /// Whether the lane's partition is one that its topic has.
    fn is_placed(&self, key: &LaneKey) -> bool {
        let count = self.topics.get(&key.topic).and_then(|topic| topic.partitions);
        u32::try_from(key.partition).is_ok_and(|partition| count.is_none_or(|count| partition < count))
    }

    fn unread_of<'a>(&'a self, topic: &'a Arc<str>) -> impl Iterator<Item = &'a LaneKey> {
        let first = LaneKey { topic: Arc::clone(topic), partition: i32::MIN };
        self.spooled.unread.range(first..).take_while(move |key| key.topic == *topic)
    }
}

impl Spooled {
    fn is_open(&self) -> bool {
        self.is_enabled && self.trouble.is_none()
    }
}
