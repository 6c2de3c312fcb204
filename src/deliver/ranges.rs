//! A set of record numbers as sorted ranges (P).
//!
//! Reports come nearly in order, so the set of acknowledged records of a parcel is almost always one range.

use std::ops::Range;

/// Sorted, disjoint, non-adjacent, non-empty ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u32>>);

impl Ranges {
    /// Adds `range`. How many numbers of it are new.
    pub fn insert(&mut self, range: Range<u32>) -> u32 {
        if range.is_empty() {
            return 0;
        }
        let first = self.0.partition_point(|have| have.end < range.start);
        let last = first + self.0[first..].partition_point(|have| have.start <= range.end);
        let merged = match self.0.get(first..last) {
            Some([one, .., other]) => one.start.min(range.start)..other.end.max(range.end),
            Some([one]) => one.start.min(range.start)..one.end.max(range.end),
            _ => range,
        };
        let had: u32 = self.0[first..last].iter().map(|have| have.end - have.start).sum();
        let new = (merged.end - merged.start) - had;
        self.0.splice(first..last, [merged]);
        new
    }

    /// The parts of `whole` that are not in the set, in order.
    pub fn missing_of(&self, whole: Range<u32>) -> Vec<Range<u32>> {
        let mut missing = Vec::new();
        let mut from = whole.start;
        for have in &self.0 {
            if have.start > from {
                missing.push(from..have.start.min(whole.end));
            }
            from = from.max(have.end);
        }
        if from < whole.end {
            missing.push(from..whole.end);
        }
        missing.retain(|range| !range.is_empty());
        missing
    }

    /// How many numbers are in the set.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|have| have.end - have.start).sum()
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Empties the set.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.0.iter().cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Scenario: any ranges, overlapping and adjacent, in any order. Guarantee: the same numbers as a plain set, and
        /// the complement too.
        #[test]
        fn agrees_with_a_plain_set(inserts in proptest::collection::vec((0u32..60, 0u32..12), 0..40)) {
            let mut ranges = Ranges::default();
            let mut set = BTreeSet::new();
            for (start, len) in inserts {
                let before = set.len();
                set.extend(start..start + len);
                prop_assert_eq!(ranges.insert(start..start + len) as usize, set.len() - before);
                prop_assert_eq!(ranges.count() as usize, set.len());
            }
            let have: Vec<u32> = ranges.iter().flatten().collect();
            prop_assert_eq!(&have, &set.iter().copied().collect::<Vec<_>>());
            let missing: Vec<u32> = ranges.missing_of(5..50).into_iter().flatten().collect();
            prop_assert_eq!(missing, (5..50).filter(|n| !set.contains(n)).collect::<Vec<_>>());
        }
    }
}
