//! What became of the records of each topic, counted since the start (P).
//!
//! Bounded: topic names may come from records. The first [`TOPICS_MAX`] topics have counters of their own, all others share
//! one; none ever goes back.

use std::collections::HashMap;
use std::sync::Arc;

use crate::output::RecordFault;

/// Topics with counters of their own.
pub const TOPICS_MAX: usize = 1_000;

/// The counters of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged by all in-sync replicas.
    pub records_acked: u64,
    /// Keys, values and headers of everything settled.
    pub payload_bytes_settled: u64,
    /// Handed to a producer again.
    pub records_resent: u64,
    /// Given up because the spool was full, as the user wants it.
    pub records_dropped: u64,
    /// Refused for good and durable in the dead letter, by reason.
    pub records_buried: Vec<(RecordFault, u64)>,
}

/// Names the counters of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row(usize);

/// All counters.
#[derive(Debug, Default)]
pub struct Tally {
    /// In the order of their first record; the last may be that of all others, without a name.
    rows: Vec<(Option<Arc<str>>, Counts)>,
    found: HashMap<Arc<str>, Row>,
}

impl Tally {
    /// The counters of `topic`.
    pub fn row(&mut self, topic: &Arc<str>) -> Row {
        if let Some(row) = self.found.get(topic) {
            return *row;
        }
        if self.rows.len() < TOPICS_MAX {
            let row = Row(self.rows.len());
            self.rows.push((Some(Arc::clone(topic)), Counts::default()));
            self.found.insert(Arc::clone(topic), row);
            return row;
        }
        if self.rows.len() == TOPICS_MAX {
            self.rows.push((None, Counts::default()));
        }
        Row(TOPICS_MAX)
    }

    /// To count in.
    pub fn of(&mut self, row: Row) -> &mut Counts {
        &mut self.rows[row.0].1
    }

    /// By topic, in the order of their first record; `None`: those beyond [`TOPICS_MAX`].
    pub fn rows(&self) -> &[(Option<Arc<str>>, Counts)] {
        &self.rows
    }
}

impl Counts {
    /// A record is durable in the dead letter.
    pub fn buried(&mut self, reason: RecordFault) {
        match self.records_buried.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, count)) => *count += 1,
            None => self.records_buried.push((reason, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_beyond_the_bound_share_one_row() {
        let mut tally = Tally::default();
        for n in 0..TOPICS_MAX + 5 {
            let row = tally.row(&Arc::from(format!("t{n}")));
            tally.of(row).records_acked += 1;
        }
        let again = tally.row(&Arc::from("t3"));
        tally.of(again).buried(RecordFault::Invalid);
        tally.of(again).buried(RecordFault::Invalid);
        let rows = tally.rows();
        assert_eq!((rows.len(), &rows[TOPICS_MAX].0, rows[TOPICS_MAX].1.records_acked), (TOPICS_MAX + 1, &None, 5));
        assert_eq!(
            rows[3].1,
            Counts { records_acked: 1, records_buried: vec![(RecordFault::Invalid, 2)], ..Counts::default() }
        );
    }
}
