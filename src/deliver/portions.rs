//! Topics that take smaller batches than the producer makes (P).
//!
//! Records that all pass alone can make a batch that is larger than their topic's `max.message.bytes`. Such a batch is sent again
//! in halves, and what was on its way behind it may have arrived before. So what the topic took is remembered: from then on its
//! lanes are handed a portion at a time, about as large as the largest group that it took, and nothing is on its way behind one
//! that is refused. It is forgotten with the topic, or when the agent ends: the limit may have been raised by then.
//!
//! How large records are is known by the average of their parcel. A portion that is refused all the same is sent in halves.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use super::lane::{Lane, State};
use super::machine::{Machine, Pieces};
use crate::batch::LaneKey;

/// No topic is taken to need smaller portions: Kafka's brokers take a megabyte if nobody tells them otherwise.
const PORTION_BYTES_MIN: u64 = 16 << 10;

/// What a lane sends one group at a time, in order.
#[derive(Debug, Default)]
pub struct Groups {
    pub waiting: VecDeque<Pieces>,
    /// They are portions for a topic that takes small batches, and none was refused.
    is_portioned: bool,
    /// Of the group in flight, and of the largest that was acknowledged.
    sent_bytes: u64,
    acknowledged_bytes_max: u64,
    /// A batch of several records was too large, and none of its records alone.
    is_batch_too_large: bool,
    is_any_guilty: bool,
}

impl Groups {
    /// Whether more may be handed over behind them.
    pub fn is_portioned(&self) -> bool {
        self.is_portioned
    }

    /// The next one, when nothing is in flight and nothing was refused.
    pub fn next(&mut self) -> Option<Pieces> {
        self.acknowledged_bytes_max = self.acknowledged_bytes_max.max(std::mem::take(&mut self.sent_bytes));
        self.waiting.pop_front()
    }

    /// What was in flight is refused; `by_size`: for it is too large.
    pub fn refused(&mut self, is_alone: bool, by_size: bool) {
        (self.is_portioned, self.sent_bytes) = (false, 0);
        self.is_any_guilty |= is_alone;
        self.is_batch_too_large |= by_size && !is_alone;
    }
}

impl<W: Copy + Eq + Hash + std::fmt::Debug> Machine<W> {
    /// Hands over what a lane that flows got, in the order given: at once, or a portion after the other.
    pub(super) fn hand_over(&mut self, key: &LaneKey, pieces: Pieces) {
        let portion_bytes = self.topics.get(&key.topic).and_then(|topic| topic.portion_bytes);
        let Some(portion_bytes) = portion_bytes.filter(|_| !pieces.is_empty()) else {
            return self.produce(key, pieces);
        };
        let lane = self.lanes.get_mut(key).expect("who hands over has the lane");
        let portions = portions(lane, pieces, portion_bytes);
        let mut groups = match std::mem::replace(&mut lane.state, State::Direct) {
            State::Split(groups) => groups,
            _ => Groups { is_portioned: true, ..Groups::default() },
        };
        groups.waiting.extend(portions);
        let next = if lane.in_flight_records == 0 { groups.next() } else { None };
        lane.state = State::Split(groups);
        if let Some(next) = next {
            self.send_group(key, next);
        }
    }

    /// Hands over a group of a lane that sends them one at a time.
    pub(super) fn send_group(&mut self, key: &LaneKey, group: Pieces) {
        let lane = self.lanes.get_mut(key).expect("who sends has the lane");
        let bytes = group.iter().map(|(parcel, records)| lane.payload_of(*parcel, records.len() as u64)).sum();
        if let State::Split(groups) = &mut lane.state {
            groups.sent_bytes = bytes;
        }
        self.produce(key, group);
    }

    /// All groups of a lane are acknowledged: what that says of its topic.
    pub(super) fn learn(&mut self, topic: &Arc<str>, mut groups: Groups) {
        // The last one is acknowledged, too.
        groups.next();
        if !groups.is_batch_too_large || groups.is_any_guilty {
            return;
        }
        let took = groups.acknowledged_bytes_max.max(PORTION_BYTES_MIN);
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.portion_bytes = Some(topic.portion_bytes.map_or(took, |known| known.min(took)));
        }
    }
}

/// Groups of about so many bytes at most, each of a record at least.
fn portions(lane: &Lane, pieces: Pieces, bytes_max: u64) -> Vec<Pieces> {
    let (mut portions, mut portion, mut room) = (Vec::new(), Vec::new(), bytes_max);
    for (parcel, records) in pieces {
        let each = lane.payload_of(parcel, 1).max(1);
        let mut start = records.start;
        while start < records.end {
            let fits = u32::try_from(room / each).unwrap_or(u32::MAX).max(u32::from(portion.is_empty()));
            if fits == 0 {
                portions.push(std::mem::take(&mut portion));
                room = bytes_max;
                continue;
            }
            let end = records.end.min(start.saturating_add(fits));
            room = room.saturating_sub(u64::from(end - start) * each);
            portion.push((parcel, start..end));
            start = end;
        }
    }
    portions.extend(Some(portion).filter(|portion| !portion.is_empty()));
    portions
}
