//! What arrived: which lines, unchanged, how often, and in which order. The demo's judge (P but for reading the copies).
//!
//! A generated line is known by its number: one bit each. A line of a user's file is known by its offset and length, which
//! every record carries: the ranges that arrived are merged, so that what came in order costs nothing. Either way the line
//! is compared byte for byte with what was written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use serde::Deserialize;

use super::access_log::{AccessLog, SITES};

/// What the judge reads of a record.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    log: Log<'a>,
}

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(borrow)]
    file: LogFile<'a>,
    offset: u64,
    length: u64,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Deserialize)]
struct LogFile<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
}

/// What a record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// A line that had not arrived before, so many bytes with its end. Its number, if it has one.
    New { bytes: u64, number: Option<u64> },
    /// A line that had.
    Repeated,
    /// Nothing that was written: a line that was changed, or not ours.
    Foreign,
}

/// The counts, and what is needed to count.
pub struct Arrivals {
    /// Distinct lines.
    pub lines: u64,
    /// Their bytes, with their ends.
    pub bytes: u64,
    pub repeated: u64,
    /// Lines that arrived after a later one of the same log.
    pub disordered: u64,
    pub foreign: u64,
    expect: Expect,
}

/// What is expected.
pub enum Expect {
    Log(ExpectLog),
    Files(ExpectFiles),
}

/// The lines of an [`AccessLog`].
pub struct ExpectLog {
    log: AccessLog,
    lines: u64,
    seen: Bits,
    /// The highest number of each site, and one: the next that would be in order.
    next: [u64; SITES.len()],
    line: Vec<u8>,
}

/// Lines of files, whose copies lie in numbered directories: `…/NUMBER/NAME`.
pub struct ExpectFiles {
    copies: Vec<Copy>,
    line: Vec<u8>,
}

struct Copy {
    file: File,
    seen: Spans,
    /// The end of the line that is furthest behind.
    next: u64,
}

impl ExpectLog {
    /// `log` is one like the writer's.
    pub fn new(log: AccessLog, lines: u64) -> Self {
        Self { log, lines, seen: Bits::default(), next: [0; SITES.len()], line: Vec::new() }
    }
}

impl ExpectFiles {
    /// `copies` in the order of their directories, the first of which is called 0.
    pub fn new(copies: Vec<File>) -> Self {
        let copies = copies.into_iter().map(|file| Copy { file, seen: Spans::default(), next: 0 }).collect();
        Self { copies, line: Vec::new() }
    }
}

impl Arrivals {
    /// Nothing has arrived yet.
    pub fn new(expect: Expect) -> Self {
        Self { lines: 0, bytes: 0, repeated: 0, disordered: 0, foreign: 0, expect }
    }

    /// Looks at the value of a record.
    ///
    /// # Errors
    /// If a copy of a user's file can't be read to compare with.
    pub fn take(&mut self, value: &[u8]) -> io::Result<Took> {
        let judged = match (serde_json::from_slice::<Record<'_>>(value), &mut self.expect) {
            (Err(_), _) => Judged::FOREIGN,
            (Ok(record), Expect::Log(log)) => log.judge(&record),
            (Ok(record), Expect::Files(files)) => files.judge(&record)?,
        };
        match judged.took {
            Took::New { bytes, .. } => {
                self.lines += 1;
                self.bytes += bytes;
                self.disordered += u64::from(judged.late);
            }
            Took::Repeated => self.repeated += 1,
            Took::Foreign => self.foreign += 1,
        }
        Ok(judged.took)
    }

    /// Which line is the first that has not arrived, for people.
    pub fn first_missing(&self) -> String {
        match &self.expect {
            Expect::Log(log) => {
                let number = log.seen.all_below;
                format!("line {number} (of {})", SITES[AccessLog::site_of(number)])
            }
            Expect::Files(files) => {
                let end = |copy: &Copy| copy.seen.0.get(&0).copied().unwrap_or(0);
                let is_short = |copy: &Copy| copy.file.metadata().is_ok_and(|stat| end(copy) < stat.len());
                let found = files.copies.iter().enumerate().find(|(_, copy)| is_short(copy));
                found.map_or_else(
                    || "none".to_owned(),
                    |(number, copy)| format!("offset {} of file {}", end(copy), number + 1),
                )
            }
        }
    }

    /// All lines with a number below this have arrived.
    pub fn all_below(&self) -> u64 {
        match &self.expect {
            Expect::Log(log) => log.seen.all_below,
            Expect::Files(_) => 0,
        }
    }
}

struct Judged {
    took: Took,
    /// A later line of the same log was there before.
    late: bool,
}

impl Judged {
    const FOREIGN: Judged = Judged { took: Took::Foreign, late: false };
}

impl ExpectLog {
    fn judge(&mut self, record: &Record<'_>) -> Judged {
        let message = record.message.as_bytes();
        let Some(number) = AccessLog::number_of(message).filter(|number| *number < self.lines) else {
            return Judged::FOREIGN;
        };
        self.line.clear();
        self.log.write(number, &mut self.line);
        if self.line.strip_suffix(b"\n") != Some(message) {
            return Judged::FOREIGN;
        }
        if !self.seen.set(number) {
            return Judged { took: Took::Repeated, late: false };
        }
        let next = &mut self.next[AccessLog::site_of(number)];
        let late = number < *next;
        *next = (*next).max(number + 1);
        Judged { took: Took::New { bytes: self.line.len() as u64, number: Some(number) }, late }
    }
}

impl ExpectFiles {
    fn judge(&mut self, record: &Record<'_>) -> io::Result<Judged> {
        let directory = record.log.file.path.rsplit('/').nth(1);
        let copy = directory.and_then(|name| name.parse().ok()).and_then(|number: usize| self.copies.get_mut(number));
        let Some(copy) = copy else { return Ok(Judged::FOREIGN) };
        let (offset, length) = (record.log.offset, record.log.length);
        let (Some(end), true) = (offset.checked_add(length), length > 0) else { return Ok(Judged::FOREIGN) };
        if end > copy.file.metadata()?.len() {
            return Ok(Judged::FOREIGN);
        }
        self.line.resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        copy.file.read_exact_at(&mut self.line, offset)?;
        if !is_line(&self.line, record) {
            return Ok(Judged::FOREIGN);
        }
        if !copy.seen.insert(offset, end) {
            return Ok(Judged { took: Took::Repeated, late: false });
        }
        let late = offset < copy.next;
        copy.next = copy.next.max(end);
        Ok(Judged { took: Took::New { bytes: length, number: None }, late })
    }
}

/// Whether `raw` is one line, and the record holds it: as text, and as far as it was not cut.
fn is_line(raw: &[u8], record: &Record<'_>) -> bool {
    let Some(line) = raw.strip_suffix(b"\n") else { return false };
    if line.contains(&b'\n') {
        return false;
    }
    let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    match record.log.flags.iter().any(|flag| flag == "truncated") {
        // What a cut leaves of a character that was malformed already is not looked at.
        true => text.starts_with(record.message.trim_end_matches(char::REPLACEMENT_CHARACTER)),
        false => text == record.message,
    }
}

/// A set of numbers from 0 on, a bit each; grows as it must.
#[derive(Default)]
struct Bits {
    words: Vec<u64>,
    all_below: u64,
}

impl Bits {
    /// Puts a number in. Whether it is new.
    fn set(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        while let Some(word) = self.words.get((self.all_below / 64) as usize) {
            let run = (word >> (self.all_below % 64)).trailing_ones();
            if run == 0 {
                break;
            }
            self.all_below += u64::from(run);
        }
        is_new
    }
}

/// A set of disjoint ranges, adjacent ones merged: start → end.
#[derive(Default)]
struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Puts a non-empty range in, unless some of it is there already. Whether it was put in.
    fn insert(&mut self, start: u64, end: u64) -> bool {
        let before = self.0.range(..end).next_back().map(|(start, end)| (*start, *end));
        let mut merged = (start, end);
        if let Some((first, last)) = before {
            if last > start {
                return false;
            }
            if last == start {
                merged.0 = first;
            }
        }
        if let Some(last) = self.0.remove(&end) {
            merged.1 = last;
        }
        self.0.insert(merged.0, merged.1);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn record(message: &str, path: &str, offset: u64, length: u64) -> Vec<u8> {
        let log = serde_json::json!({ "file": { "path": path }, "offset": offset, "length": length });
        serde_json::to_vec(&serde_json::json!({ "message": message, "log": log, "more": [1] })).expect("JSON")
    }

    fn log_line(number: u64) -> Vec<u8> {
        let mut line = Vec::new();
        AccessLog::new(0, 1).write(number, &mut line);
        let text = String::from_utf8(line).expect("ASCII");
        record(text.trim_end(), "/x/www/access.log", 0, 1)
    }

    fn counts(arrivals: &Arrivals) -> [u64; 4] {
        [arrivals.lines, arrivals.repeated, arrivals.disordered, arrivals.foreign]
    }

    /// Scenario: generated lines arrive in order, again, late, changed, and some that were never written.
    /// Guarantee: each fault is counted as what it is.
    #[test]
    fn judges_a_generated_log() {
        let mut arrivals = Arrivals::new(Expect::Log(ExpectLog::new(AccessLog::new(0, 1), 1_000)));
        let mut take = |value: &[u8]| arrivals.take(value).expect("nothing is read");
        let same_site: Vec<u64> = (0..).filter(|number| AccessLog::site_of(*number) == 0).take(3).collect();
        let [first, second, third] = same_site[..] else { panic!("three") };
        assert!(matches!(take(&log_line(first)), Took::New { number, .. } if number == Some(first)));
        assert_eq!(take(&log_line(first)), Took::Repeated);
        take(&log_line(third));
        take(&log_line(second));
        assert_eq!(take(&log_line(1_000)), Took::Foreign, "it was not written");
        let mut changed = log_line(900);
        let at = changed.windows(4).position(|window| window == b"HTTP").expect("a request");
        changed[at] = b'h';
        assert_eq!(take(&changed), Took::Foreign);
        assert_eq!(take(b"no json"), Took::Foreign);
        assert_eq!(counts(&arrivals), [3, 1, 1, 3]);
        let missing = (0..).find(|number| !same_site.contains(number)).expect("there are other sites");
        assert!(arrivals.first_missing().starts_with(&format!("line {missing} (of ")), "{}", arrivals.first_missing());
    }

    /// Scenario: lines of a file with every kind of end and content arrive in order, again, late, changed, overlapping.
    /// Guarantee: each fault is counted as what it is.
    #[test]
    fn judges_lines_of_files() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"one\n\r\nthr\xffe\nlonger than the rest\n").expect("a file");
        let mut arrivals = Arrivals::new(Expect::Files(ExpectFiles::new(vec![file])));
        let mut take = |message: &str, path: &str, offset, length| {
            arrivals.take(&record(message, path, offset, length)).expect("the copy is there")
        };
        assert_eq!(take("one", "/tmp/0/a.log", 0, 4), Took::New { bytes: 4, number: None });
        assert_eq!(take("thr\u{fffd}e", "/tmp/0/a.log", 6, 6), Took::New { bytes: 6, number: None });
        assert_eq!(take("", "/tmp/0/a.log", 4, 2), Took::New { bytes: 2, number: None }, "late");
        assert_eq!(take("", "/tmp/0/a.log", 4, 2), Took::Repeated);
        assert_eq!(take("one", "/tmp/1/a.log", 0, 4), Took::Foreign, "there is no such file");
        assert_eq!(take("longer", "/tmp/0/a.log", 12, 21), Took::Foreign, "it was cut, and does not say so");
        assert_eq!(take("one\n", "/tmp/0/a.log", 0, 6), Took::Foreign, "two lines are no line");
        assert_eq!(take("x", "/tmp/0/a.log", 30, 10), Took::Foreign, "behind the end");
        assert_eq!(take("x", "/tmp/0/a.log", u64::MAX, 10), Took::Foreign);
        assert_eq!(take("", "/tmp/0/a.log", 4, 0), Took::Foreign);
        assert_eq!(counts(&arrivals), [3, 1, 1, 6]);
        assert_eq!(arrivals.first_missing(), "offset 12 of file 1");
        let cut =
            br#"{"message":"longer","log":{"file":{"path":"/0/a"},"offset":12,"length":21,"flags":["truncated"]}}"#;
        assert_eq!(arrivals.take(cut).expect("read"), Took::New { bytes: 21, number: None });
        assert_eq!(arrivals.first_missing(), "none");
    }

    proptest::proptest! {
        /// Guarantee: the bits are a set, and know how far it is without a gap.
        #[test]
        fn bits_are_a_set(numbers in proptest::collection::vec(0u64..300, 0..400)) {
            let (mut bits, mut model) = (Bits::default(), std::collections::BTreeSet::new());
            for number in numbers {
                proptest::prop_assert_eq!(bits.set(number), model.insert(number));
                let gap = (0..).find(|number| !model.contains(number)).expect("it is finite");
                proptest::prop_assert_eq!(bits.all_below, gap);
            }
        }

        /// Guarantee: a range goes in exactly if none of it is in.
        #[test]
        fn spans_are_a_set(ranges in proptest::collection::vec((0u64..60, 1u64..9), 0..60)) {
            let (mut spans, mut model) = (Spans::default(), std::collections::BTreeSet::new());
            for (start, length) in ranges {
                let range = start..start + length;
                let is_new = range.clone().all(|number| !model.contains(&number));
                proptest::prop_assert_eq!(spans.insert(range.start, range.end), is_new);
                if is_new {
                    model.extend(range);
                }
                let merged = spans.0.iter().map(|(start, end)| end - start).sum::<u64>();
                proptest::prop_assert_eq!(merged, model.len() as u64);
                let starts = model.iter().filter(|number| **number == 0 || !model.contains(&(**number - 1))).count();
                proptest::prop_assert_eq!(spans.0.len(), starts, "adjacent ranges are merged");
            }
        }
    }
}
