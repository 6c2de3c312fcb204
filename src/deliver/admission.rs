//! Who may hand over now, and on which way: to the producer, to the spool, or not yet (P).
//!
//! The window's rule: a lane may have in flight half of what the others leave free, and at least one batch while the window
//! has room at all. So n lanes that hang leave the 2^n-th part of the window to the others, down to one batch.
//!
//! ```text
//!   each share:   Flows               Busy (for a moment)       Blocked (stalled, at fault, frames in the spool)
//!   all shares:   any Busy ─────────► held
//!                 any Blocked ──────► urgent, or others flow: those go to the spool, the others to the producer
//!                                     else held: safe in its file
//!                 all Flow ─────────► to the producer, if the window has room
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hash;
use std::sync::Arc;

use super::lane::State;
use super::machine::{Action, Machine, WhenFull};
use super::spill::SpoolRoom;
use super::waiting::{Blocker, Waiting, Wants};
use crate::batch::{LaneKey, Place};

/// Where a share goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the producer, for this partition.
    Produce(i32),
    /// To the spool, for this partition (-1: whichever it will be).
    Append(i32),
    /// Nowhere: the spool is full, and the user wants what arrives then to be dropped.
    Drop,
}

/// Whether a lane takes so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// `fresh`: nothing of it is in flight.
    Flows { fresh: bool },
    /// It will, soon.
    Busy,
    /// Not before something outside changes.
    Blocked,
}

impl<W: Copy + Eq + Hash + std::fmt::Debug> Machine<W> {
    /// Whether a batch with these shares may go now, for a waiter with the number `seq` (`None`: a newcomer, behind
    /// everybody). The way of each share, or what blocks it.
    ///
    /// Who feeds a lane that is stalled waits for that lane, not for the window, where others wait behind it.
    pub(super) fn admit(&self, seq: Option<u64>, wants: &Wants, urgent: bool) -> Result<Vec<Way>, Blocker> {
        let urgent = urgent || self.limits.spool_always;
        let mut ways = Vec::with_capacity(wants.len());
        let (mut flowing, mut all_fresh) = (0, true);
        let mut first_blocked = None;
        for (topic, place, bytes) in wants {
            let (room, partition, blocker) = self.room_for(topic, *place, *bytes, seq);
            match room {
                Room::Busy => return Err(blocker),
                Room::Flows { fresh } => {
                    if self.waiting.is_behind(&blocker, seq) {
                        return Err(blocker);
                    }
                    flowing += bytes;
                    all_fresh &= fresh;
                    ways.push(Way::Produce(partition));
                }
                Room::Blocked => {
                    first_blocked.get_or_insert(blocker);
                    ways.push(Way::Append(partition));
                }
            }
        }
        let is_mixed = ways.iter().any(|way| matches!(way, Way::Produce(_)));
        if let Some(blocker) = &first_blocked
            && !urgent
            && !(is_mixed && self.has_spool())
        {
            return Err(blocker.clone());
        }
        if is_mixed && !self.window_has_room(seq, flowing, all_fresh) {
            if !(urgent && self.is_silent) {
                return Err(self.stalled_lane(wants).map_or(Blocker::Window, Blocker::Lane));
            }
            // Nobody gives anything back: it goes to the spool, all of it.
            for (way, (_, place, _)) in ways.iter_mut().zip(wants) {
                if let Way::Produce(partition) = *way {
                    *way = Way::Append(if *place == Place::Any { -1 } else { partition });
                }
            }
        } else if is_mixed && self.waiting.is_behind(&Blocker::Window, seq) {
            return Err(Blocker::Window);
        }
        let appended = wants.iter().zip(&ways).filter_map(|((topic, _, bytes), way)| match way {
            Way::Append(partition) => Some((LaneKey { topic: Arc::clone(topic), partition: *partition }, *bytes)),
            _ => None,
        });
        let mut appended = appended.peekable();
        if appended.peek().is_none() {
            return Ok(ways);
        }
        let held = first_blocked.filter(|_| !self.has_spool()).unwrap_or(Blocker::Spool);
        match self.spool_room(appended) {
            SpoolRoom::Takes => {}
            SpoolRoom::Full if self.limits.when_full == WhenFull::DropNewest => {
                ways.iter_mut().filter(|way| matches!(way, Way::Append(_))).for_each(|way| *way = Way::Drop);
            }
            SpoolRoom::Full | SpoolRoom::Busy => return Err(held),
        }
        Ok(ways)
    }

    fn window_has_room(&self, seq: Option<u64>, bytes: u64, all_fresh: bool) -> bool {
        let promised: u64 = self.waiting.grants_before(seq).map(|(_, _, bytes)| bytes).sum();
        let used = self.bytes_used + promised;
        let max = self.limits.window_bytes_max;
        used + bytes <= max || (all_fresh && used < max)
    }

    /// The first lane of `wants` that is stalled.
    fn stalled_lane(&self, wants: &Wants) -> Option<LaneKey> {
        wants.iter().find_map(|(topic, place, _)| {
            let Place::At(partition) = *place else { return None };
            let key = LaneKey { topic: Arc::clone(topic), partition };
            self.lanes.get(&key).is_some_and(|lane| lane.is_stalled()).then_some(key)
        })
    }

    /// Whether a share may go, to which partition, and what it waits for otherwise.
    fn room_for(&self, topic: &Arc<str>, place: Place, bytes: u64, seq: Option<u64>) -> (Room, i32, Blocker) {
        match place {
            Place::At(partition) => {
                let key = LaneKey { topic: Arc::clone(topic), partition };
                (self.lane_room(&key, bytes, seq), partition, Blocker::Lane(key))
            }
            Place::Any => {
                let (room, partition) = self.any_lane(topic, bytes, seq);
                (room, partition, Blocker::Topic(Arc::clone(topic)))
            }
            Place::Unknown => {
                let is_blocked = self
                    .topics
                    .get(topic)
                    .is_some_and(|topic| topic.partitions.is_none() && (topic.fault.is_some() || topic.is_overdue));
                // Known by now: whoever encoded it did not know, and is woken to do it again.
                let room = if is_blocked { Room::Blocked } else { Room::Busy };
                (room, -1, Blocker::Topic(Arc::clone(topic)))
            }
        }
    }

    pub(super) fn lane_room(&self, key: &LaneKey, bytes: u64, seq: Option<u64>) -> Room {
        if self.has_unplaced(&key.topic) {
            return Room::Blocked;
        }
        if let Some(lane) = self.lanes.get(key) {
            let is_blocked = lane.unread_frames > 0
                || lane.is_stalled()
                || matches!(lane.state, State::Probing { .. })
                || lane.is_refused_burial();
            if is_blocked {
                return Room::Blocked;
            }
            if !lane.flows() || lane.epoch != self.home(key) {
                return Room::Busy;
            }
        }
        self.share_of_window(key, bytes, seq)
    }

    /// Whether the lane's share of the window takes `bytes` more.
    pub(super) fn share_of_window(&self, key: &LaneKey, bytes: u64, seq: Option<u64>) -> Room {
        let promised: u64 = self
            .waiting
            .grants_before(seq)
            .filter(|(topic, place, _)| *topic == key.topic && *place == Place::At(key.partition))
            .map(|(_, _, bytes)| bytes)
            .sum();
        let in_flight = self.lanes.get(key).map_or(0, |lane| lane.bytes);
        let fresh = in_flight + promised == 0;
        let free_of_others = self.limits.window_bytes_max.saturating_sub(self.bytes_used - in_flight);
        if fresh || in_flight + promised + bytes <= free_of_others / 2 { Room::Flows { fresh } } else { Room::Busy }
    }

    /// A partition of `topic` that takes `bytes` now: the one that keyless records go to, or the next that flows. -1: none.
    pub(super) fn any_lane(&self, name: &Arc<str>, bytes: u64, seq: Option<u64>) -> (Room, i32) {
        let Some(topic) = self.topics.get(name) else { return (Room::Busy, -1) };
        let Some(count) = topic.partitions.and_then(|count| i32::try_from(count).ok()).filter(|count| *count > 0)
        else {
            let is_blocked = topic.fault.is_some() || topic.is_overdue;
            return (if is_blocked { Room::Blocked } else { Room::Busy }, -1);
        };
        let turn = i32::from(topic.sticky_bytes >= self.limits.sticky_bytes);
        let mut all = Room::Blocked;
        for step in 0..count {
            let partition = (topic.sticky + turn + step).rem_euclid(count);
            match self.lane_room(&LaneKey { topic: Arc::clone(name), partition }, bytes, seq) {
                Room::Flows { fresh } => return (Room::Flows { fresh }, partition),
                Room::Busy => all = Room::Busy,
                Room::Blocked => {}
            }
        }
        (all, -1)
    }

    /// Wakes those who may go on now, oldest first over all blockers that changed.
    pub(super) fn wake(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let first = |waiting: &Waiting<W>, blocker: &Blocker| waiting.front(blocker).map(|(seq, _)| seq);
        let mut next: BinaryHeap<Reverse<(u64, Blocker)>> = touched
            .into_iter()
            .filter_map(|blocker| Some(Reverse((first(&self.waiting, &blocker)?, blocker))))
            .collect();
        while let Some(Reverse((_, blocker))) = next.pop() {
            let Some((seq, waiter)) = self.waiting.front(&blocker) else { continue };
            let is_known_by_now = self.knows_by_now(&waiter.wants);
            match self.admit(Some(seq), &waiter.wants, waiter.urgent) {
                Err(_) if is_known_by_now => self.grant(&blocker),
                Ok(_) => self.grant(&blocker),
                Err(other) if other == blocker => continue,
                Err(other) => {
                    // It may have been forgotten while the waiter waited for something else.
                    if let Blocker::Topic(name) = &other {
                        let name = Arc::clone(name);
                        self.look_up_once(&name);
                    }
                    self.waiting.move_front(&blocker, other);
                }
            }
            if let Some(seq) = first(&self.waiting, &blocker) {
                next.push(Reverse((seq, blocker)));
            }
        }
    }

    fn grant(&mut self, blocker: &Blocker) {
        let who = self.waiting.grant_front(blocker).expect("there is a first waiter");
        self.actions.push_back(Action::Wake(who));
    }

    /// Whether a partition count that the waiter did not know is known: it is to encode its batch again.
    pub(super) fn knows_by_now(&self, wants: &Wants) -> bool {
        wants.iter().any(|(topic, place, _)| {
            *place == Place::Unknown && self.topics.get(topic).is_some_and(|topic| topic.partitions.is_some())
        })
    }
}
