//! What is in flight: one slot for each hand-over, which keeps its batch alive until the last of its records is reported (P).
//!
//! A record travels through librdkafka with nothing but [`opaque`]: the number of its slot and its index in the batch. A
//! slot is used again only after every record of it was reported, and every record is reported once, so a number always
//! means the hand-over it was given out for.

use std::sync::Arc;

use crate::batch::Encoded;
use crate::output::Parcel;

/// A hand-over in flight.
pub(super) struct InFlight {
    /// What librdkafka's payload pointers point into.
    #[expect(dead_code, reason = "held, not read: it keeps the payloads alive")]
    pub encoded: Arc<Encoded>,
    pub parcel: Parcel,
    pub topic: Arc<str>,
    pub partition: i32,
    /// Records not reported yet; at least one.
    pub remaining: u32,
}

/// The slots of one producer: as many as hand-overs were in flight at once.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Option<InFlight>>,
    free: Vec<u32>,
}

/// The word that travels with a record.
pub(super) fn opaque(slot: u32, record: u32) -> usize {
    const { assert!(usize::BITS == 64, "slot and record share one pointer-sized word") };
    (slot as usize) << 32 | record as usize
}

/// Slot and record of [`opaque`].
pub(super) fn parse_opaque(opaque: usize) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    ((opaque >> 32) as u32, opaque as u32)
}

impl Slots {
    /// Keeps a hand-over; the number of its slot.
    ///
    /// # Panics
    /// If the hand-over has no records: nothing would ever free the slot.
    pub fn insert(&mut self, in_flight: InFlight) -> u32 {
        assert!(in_flight.remaining > 0, "a hand-over has records");
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(in_flight);
            return slot;
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 hand-overs are in flight");
        self.slots.push(Some(in_flight));
        slot
    }

    /// The hand-over in a slot.
    ///
    /// # Panics
    /// If the slot is free: a record was reported twice.
    pub fn get(&self, slot: u32) -> &InFlight {
        self.slots[slot as usize].as_ref().expect("records are reported once, so their slot is in use")
    }

    /// `records` more of a slot are reported. The hand-over, if these were its last: the caller drops it outside its lock.
    ///
    /// # Panics
    /// If that is more than are in flight: a record was reported twice.
    pub fn reported(&mut self, slot: u32, records: u32) -> Option<InFlight> {
        let entry = &mut self.slots[slot as usize];
        let in_flight = entry.as_mut().expect("records are reported once, so their slot is in use");
        in_flight.remaining = in_flight.remaining.checked_sub(records).expect("records are reported once");
        if in_flight.remaining > 0 {
            return None;
        }
        self.free.push(slot);
        entry.take()
    }

    /// Hand-overs in flight.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::SourceKey;
    use crate::budget::Budget;

    fn in_flight(parcel: u64, remaining: u32) -> InFlight {
        let encoded = Encoded {
            buf: Vec::new(),
            records: Vec::new(),
            headers: Vec::new(),
            shares: Vec::new(),
            source: SourceKey(1),
            resume: crate::batch::Position::default(),
            permit: Budget::new(1).try_take(0).expect("an empty budget has room for nothing"),
        };
        InFlight { encoded: Arc::new(encoded), parcel: Parcel(parcel), topic: "t".into(), partition: 0, remaining }
    }

    proptest! {
        #[test]
        fn the_word_holds_both_numbers(slot: u32, record: u32) {
            prop_assert_eq!(parse_opaque(opaque(slot, record)), (slot, record));
        }

        /// Scenario: hand-overs come and are reported piece by piece, in any order. Guarantee: a slot means its hand-over
        /// until its last record, is free after it, and no more slots are made than were ever in use at once.
        #[test]
        fn agree_with_a_list(actions in proptest::collection::vec((any::<bool>(), 1u32..5, 0usize..8), 1..200)) {
            let mut slots = Slots::default();
            let mut list: Vec<(u32, u64, u32)> = Vec::new();
            let mut most = 0;
            for (number, (insert, records, pick)) in actions.into_iter().enumerate() {
                if insert || list.is_empty() {
                    let slot = slots.insert(in_flight(number as u64, records));
                    list.push((slot, number as u64, records));
                } else {
                    let pick = pick % list.len();
                    let (slot, parcel, remaining) = list[pick];
                    prop_assert_eq!(slots.get(slot).parcel, Parcel(parcel));
                    let now = records.min(remaining);
                    let last = slots.reported(slot, now);
                    prop_assert_eq!(last.map(|last| last.parcel), (now == remaining).then_some(Parcel(parcel)));
                    list[pick].2 -= now;
                    list.retain(|entry| entry.2 > 0);
                }
                most = most.max(list.len());
                prop_assert_eq!(slots.len(), list.len());
                prop_assert_eq!(slots.slots.len(), most);
            }
        }
    }
}
