//! The watermark of a source: which bytes of it are settled without a gap (I2).
//!
//! A source numbers its batches without gaps; they settle in any order; the watermark moves over the settled prefix
//! only. At most [`OUTSTANDING_MAX`] batches are outstanding, so the state is one bitmap.
//!
//! ```text
//!   base            next
//!    │               │
//!    ▼               ▼
//!  ░░█░█████░░░░░░░░     ░ settled   █ outstanding
//!    └ the watermark: everything before it is settled
//! ```
//!
//! Pure: no clock, no I/O; who holds it locks it.

use std::collections::VecDeque;

use crate::batch::Position;

/// Batches of one source that may be outstanding at once: the bits of the bitmap.
pub const OUTSTANDING_MAX: u64 = 64;

/// The gap-free prefix of settled batches of one source.
#[derive(Debug)]
pub struct Watermark {
    /// The oldest batch that is not settled; all before it are.
    base: u64,
    /// The number the next batch gets; `next - base <= OUTSTANDING_MAX`.
    next: u64,
    /// Bit `seq % 64` is set when batch `seq` (in `base..next`) is settled.
    settled: u64,
    /// Where reading resumes after each outstanding batch, in their order.
    resume: VecDeque<Position>,
    /// Where reading resumes after everything settled.
    position: Position,
}

impl Watermark {
    /// Nothing outstanding, everything before `position` settled.
    pub fn new(position: Position) -> Self {
        Self { base: 0, next: 0, settled: 0, resume: VecDeque::new(), position }
    }

    /// Numbers a batch that ends at `resume`. `None` while [`OUTSTANDING_MAX`] are outstanding.
    pub fn issue(&mut self, resume: Position) -> Option<u64> {
        if self.next - self.base == OUTSTANDING_MAX {
            return None;
        }
        let seq = self.next;
        self.next += 1;
        self.settled &= !bit(seq);
        self.resume.push_back(resume);
        Some(seq)
    }

    /// Takes back the batch issued last: it was not taken by deliver and will be read again.
    ///
    /// # Panics
    /// If `seq` is not the last one issued or is settled: only the owner of the source issues and retracts.
    pub fn retract(&mut self, seq: u64) {
        assert!(seq + 1 == self.next && self.is_outstanding(seq), "only the batch issued last can be taken back");
        self.next = seq;
        self.resume.pop_back();
    }

    /// Marks batch `seq` settled. The new watermark, if it moved. A batch that is not outstanding (settled before, or
    /// from before a [`Watermark::rewind`]) changes nothing.
    pub fn settle(&mut self, seq: u64) -> Option<Position> {
        if !self.is_outstanding(seq) {
            return None;
        }
        self.settled |= bit(seq);
        if seq != self.base {
            return None;
        }
        while self.base < self.next && self.settled & bit(self.base) != 0 {
            self.position = self.resume.pop_front().expect("every outstanding batch has one");
            self.base += 1;
        }
        Some(self.position)
    }

    /// Forgets what is outstanding: it will be read again from the watermark, under new numbers. Late settles of the old
    /// numbers change nothing. Where to read from.
    pub fn rewind(&mut self) -> Position {
        self.base = self.next;
        self.resume.clear();
        self.position
    }

    /// Where reading resumes after everything settled.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Batches issued and not settled contiguously.
    pub fn outstanding(&self) -> u64 {
        self.next - self.base
    }

    /// The oldest batch that is not settled, or the next to be issued.
    pub fn base(&self) -> u64 {
        self.base
    }

    fn is_outstanding(&self, seq: u64) -> bool {
        (self.base..self.next).contains(&seq) && self.settled & bit(seq) == 0
    }
}

fn bit(seq: u64) -> u64 {
    1 << (seq % OUTSTANDING_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset: u64) -> Position {
        Position { offset, check: 0 }
    }

    #[test]
    fn moves_over_a_gap_free_prefix_only() {
        let mut mark = Watermark::new(at(0));
        let seqs: Vec<u64> = (1..=3).filter_map(|n| mark.issue(at(n * 10))).collect();
        assert_eq!(mark.settle(seqs[1]), None);
        assert_eq!(mark.position(), at(0));
        assert_eq!(mark.settle(seqs[0]), Some(at(20)));
        assert_eq!(mark.settle(seqs[0]), None, "settling twice moves nothing");
        assert_eq!(mark.settle(seqs[2]), Some(at(30)));
        assert_eq!(mark.outstanding(), 0);
    }

    #[test]
    fn is_bounded_and_a_retracted_number_is_given_again() {
        let mut mark = Watermark::new(at(0));
        for n in 0..OUTSTANDING_MAX {
            assert_eq!(mark.issue(at(n)), Some(n));
        }
        assert_eq!(mark.issue(at(99)), None);
        mark.retract(OUTSTANDING_MAX - 1);
        assert_eq!(mark.issue(at(100)), Some(OUTSTANDING_MAX - 1));
    }

    #[test]
    fn late_settles_after_a_rewind_change_nothing() {
        let mut mark = Watermark::new(at(5));
        let old = mark.issue(at(10)).expect("room");
        assert_eq!(mark.rewind(), at(5));
        let new = mark.issue(at(7)).expect("room");
        assert_eq!(mark.settle(old), None);
        assert_eq!(mark.settle(new), Some(at(7)));
    }

    proptest! {
        /// Scenario: batches issued, settled in any order, retracted and rewound. Guarantee: the watermark is always the
        /// end of the longest settled prefix, as a plain list of batches computes it.
        #[test]
        fn agrees_with_a_list(actions in proptest::collection::vec((0u8..10, 0usize..64), 1..400)) {
            let mut mark = Watermark::new(at(0));
            let mut list: Vec<(u64, u64, bool)> = Vec::new();
            let mut settled_end = 0;
            let mut read_to = 0;
            for (action, pick) in actions {
                match action {
                    0..=4 => {
                        let issued = mark.issue(at(read_to + 1));
                        prop_assert_eq!(issued.is_some(), list.len() < 64);
                        if let Some(seq) = issued {
                            read_to += 1;
                            list.push((seq, read_to, false));
                        }
                    }
                    5..=7 if !list.is_empty() => {
                        let pick = pick % list.len();
                        list[pick].2 = true;
                        mark.settle(list[pick].0);
                    }
                    8 if list.last().is_some_and(|last| !last.2) => {
                        let last = list.pop().expect("checked");
                        mark.retract(last.0);
                        read_to -= 1;
                    }
                    9 => {
                        read_to = mark.rewind().offset;
                        list.clear();
                    }
                    _ => {}
                }
                while list.first().is_some_and(|first| first.2) {
                    settled_end = list.remove(0).1;
                }
                prop_assert_eq!(mark.position(), at(settled_end));
                prop_assert_eq!(mark.outstanding(), list.len() as u64);
            }
        }
    }
}
