//! What was written against what arrived: lost, repeated, out of order, invented; and the proof that no byte is missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{consumer::Record, writer::Writer};

/// The verdict over the records of a topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Records that arrived.
    pub arrived: usize,
    /// Lines that were written and did not arrive.
    pub lost: Vec<String>,
    /// How often a line arrived again, all lines together.
    pub repeated: usize,
    /// Lines whose first arrival in a partition came after that of a later line of the same stream.
    pub out_of_order: Vec<String>,
    /// What arrived and was not written so.
    pub invented: Vec<String>,
}

impl Check {
    /// Judges JSON records by their `message`.
    pub fn of(records: &[Record], writers: &[&Writer]) -> Self {
        Self::lines(records.iter().map(|record| (record.partition, record.message())), writers)
    }

    /// Judges records whose value is the line.
    pub fn raw(records: &[Record], writers: &[&Writer]) -> Self {
        let line = |record: &Record| String::from_utf8_lossy(&record.value).into_owned();
        Self::lines(records.iter().map(|record| (record.partition, line(record))), writers)
    }

    fn lines(arrived: impl Iterator<Item = (i32, String)>, writers: &[&Writer]) -> Self {
        let mut expected: HashMap<String, (usize, u64)> = HashMap::new();
        for (index, writer) in writers.iter().enumerate() {
            expected.extend((0..writer.written).map(|number| (writer.line(number), (index, number))));
        }
        let mut check = Self::default();
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(usize, i32), u64> = BTreeMap::new();
        for (partition, line) in arrived {
            check.arrived += 1;
            let Some(&(stream, number)) = expected.get(&line) else {
                check.invented.push(line);
                continue;
            };
            if !seen.insert((stream, number)) {
                check.repeated += 1;
                continue;
            }
            let latest = last.entry((stream, partition)).or_insert(number);
            if number < *latest {
                check.out_of_order.push(line);
            }
            *latest = number.max(*latest);
        }
        check.lost = expected.into_iter().filter(|(_, at)| !seen.contains(at)).map(|(line, _)| line).collect();
        check.lost.sort_unstable();
        check
    }

    /// Nothing lost, nothing out of order, nothing invented.
    #[track_caller]
    pub fn complete(&self) -> &Self {
        assert!(
            self.lost.is_empty() && self.out_of_order.is_empty() && self.invented.is_empty(),
            "arrived {}, repeated {}, lost {} {:?}, out of order {} {:?}, invented {} {:?}",
            self.arrived,
            self.repeated,
            self.lost.len(),
            ends(&self.lost),
            self.out_of_order.len(),
            ends(&self.out_of_order),
            self.invented.len(),
            ends(&self.invented),
        );
        self
    }

    /// Complete, and nothing twice.
    #[track_caller]
    pub fn exact(&self) {
        self.complete();
        assert_eq!(self.repeated, 0, "of {} records", self.arrived);
    }
}

/// The first and the last few, which tell most.
fn ends(lines: &[String]) -> Vec<&str> {
    let shown = |line: &'_ String| -> usize { line.len().min(60) };
    let mut few: Vec<&str> = lines.iter().take(3).map(|line| &line[..shown(line)]).collect();
    few.extend(lines.iter().skip(3).rev().take(2).rev().map(|line| &line[..shown(line)]));
    few
}

/// Proves from the records alone that every byte of a file was read: for each `log.file.id`, `log.offset` + `log.length`
/// is the next `log.offset`. Answers how many bytes each file gave.
///
/// # Errors
/// The first gap or overlap, naming it.
pub fn prove_gapless(records: &[Record]) -> Result<BTreeMap<String, u64>, String> {
    let mut ranges: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    for record in records {
        let number = |field: &str| -> u64 {
            let text = record.text(field).unwrap_or_else(|| panic!("no {field} in {}", record.json()));
            text.parse().unwrap_or_else(|_| panic!("{field} is {text}"))
        };
        let file = record.text("log.file.id").unwrap_or_else(|| panic!("no log.file.id in {}", record.json()));
        let (offset, length) = (number("log.offset"), number("log.length"));
        let earlier = ranges.entry(file.clone()).or_default().insert(offset, length);
        if earlier.is_some_and(|earlier| earlier != length) {
            return Err(format!("file {file}: two lengths at {offset}"));
        }
    }
    let prove = |(file, ranges): (String, BTreeMap<u64, u64>)| {
        let mut end = 0;
        for (offset, length) in ranges {
            if offset != end {
                return Err(format!("file {file}: one record ends at {end}, the next begins at {offset}"));
            }
            end = offset + length;
        }
        Ok((file, end))
    };
    ranges.into_iter().map(prove).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, offset: i64, message: &str) -> Record {
        let value = serde_json::json!({ "message": message }).to_string().into_bytes();
        Record { partition, offset, timestamp: 0, key: None, headers: String::new(), value }
    }

    /// Scenario: a topic where one line is missing, one came twice, two changed places and one was never written.
    /// Guarantee: the oracle sees each of the four; an oracle that can't fail proves nothing.
    #[test]
    fn the_oracle_sees_every_kind_of_fault() {
        let folder = crate::kit::scratch::folder("oracle");
        let mut writer = Writer::new(&folder.join("a.log"), "a");
        writer.write(6);
        let lines: Vec<String> = (0..6).map(|number| writer.line(number)).collect();
        let order = [&lines[0], &lines[2], &lines[1], &lines[3], &lines[3], &lines[5]];
        let mut records: Vec<Record> = (0..).zip(order).map(|(offset, line)| record(0, offset, line)).collect();
        records.push(record(0, 6, "a 00000009 never written"));
        let check = Check::of(&records, &[&writer]);
        assert_eq!(check.lost, [lines[4].clone()]);
        assert_eq!(check.repeated, 1);
        assert_eq!(check.out_of_order, [lines[1].clone()]);
        assert_eq!(check.invented, ["a 00000009 never written"]);
    }

    /// Scenario: offsets and lengths with a gap.
    /// Guarantee: the proof refuses.
    #[test]
    fn the_gap_proof_sees_a_gap() {
        let at = |offset: u64, length: u64| {
            let mut record = record(0, 0, "");
            record.value = serde_json::json!({"log": {"file": {"id": "f"}, "offset": offset, "length": length}})
                .to_string()
                .into_bytes();
            record
        };
        assert_eq!(prove_gapless(&[at(10, 5), at(0, 10)]), Ok([("f".to_owned(), 15)].into()));
        assert!(prove_gapless(&[at(0, 10), at(10, 5), at(16, 5)]).is_err());
        assert!(prove_gapless(&[at(0, 10), at(9, 5)]).is_err());
    }
}
