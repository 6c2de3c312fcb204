//! When bytes were appended, as far as looks at a file tell (P).
//!
//! A look says how long the file is and when it was last appended to (its mtime). What it has seen and the look before has
//! not was appended between that one and this mtime. The mtime is taken for it:
//!
//! ```text
//!   bytes   ────────┬───────────┬────────┬──────
//!   looks           A           B        C        each: size, mtime
//!   appended     at A's      at B's   at C's   after C: no look has seen these
//! ```
//! It errs to the young by no more than the time between two looks: 10 ms while inotify tells of a busy file. What was appended
//! while nobody looked counts from the last append. Behind the last look a byte counts from that look on, or from when its end
//! was last met: it errs to the old, by as much. What is not settled is remembered in [`MARKS_MAX`] looks; if there were more,
//! they are thinned out evenly: what lags by an hour may be some minutes older than is said.
//!
//! Refused: clocks. Whoever touches the mtime of a file is believed, but for times to come.

/// Looks that are remembered of one file.
const MARKS_MAX: usize = 32;

/// Before `size` there is nothing that was appended after `at_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    size: u64,
    at_ns: i64,
}

/// When a byte was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// At this time, or a little before.
    At(i64),
    /// Not before this time; no look has seen it yet.
    Since(i64),
    /// Nobody has looked.
    Unknown,
}

/// What looks at one file have told of its growth.
#[derive(Debug, Default)]
pub struct Appends {
    /// Of what is not settled; sizes and times ascend.
    marks: Vec<Mark>,
    /// Marks are at least this far apart, but for the last.
    apart_ns: i64,
    /// There was nothing behind `end` at `end_ns`, by whoever looked last.
    end: u64,
    end_ns: i64,
    /// The line that begins at the first had no newline before the second when the end was met last.
    open_line: Option<(u64, u64)>,
}

impl Appends {
    /// The file was `size` bytes long at `now_ns`, and last appended to at `modified_ns`.
    pub fn saw(&mut self, size: u64, modified_ns: i64, now_ns: i64) {
        let known = self.marks.last().map_or(0, |last| last.size);
        if size > known {
            let newest = self.marks.last().map_or(i64::MIN, |last| last.at_ns);
            self.mark(Mark { size, at_ns: modified_ns.min(now_ns).max(newest) });
        }
        if size >= self.end {
            (self.end, self.end_ns) = (size, now_ns);
        }
    }

    fn mark(&mut self, mark: Mark) {
        if let [.., before, last] = self.marks.as_mut_slice()
            && last.at_ns - before.at_ns < self.apart_ns
        {
            *last = mark;
            return;
        }
        self.marks.push(mark);
        if self.marks.len() > MARKS_MAX {
            let newest = self.marks.len() - 1;
            let mut at = 0..;
            // The later one of two is kept: it says of the bytes of both that they were there.
            self.marks.retain(|_| at.next().is_some_and(|at: usize| at == newest || at % 2 == 1));
            let span = mark.at_ns.saturating_sub(self.marks[0].at_ns);
            self.apart_ns = span / MARKS_MAX as i64 * 2;
        }
    }

    /// The end was met at `now_ns`: at `end`, behind a line without a newline that begins at `line` (or at the end itself).
    pub fn met_end(&mut self, line: u64, end: u64, now_ns: i64) {
        if end >= self.end {
            (self.end, self.end_ns) = (end, now_ns);
            self.open_line = (line < end).then_some((line, end));
        }
    }

    /// What is before `offset` is settled: nobody asks for it again.
    pub fn settled(&mut self, offset: u64) {
        let done = self.marks.partition_point(|mark| mark.size <= offset);
        self.marks.drain(..done);
        if self.marks.is_empty() {
            self.apart_ns = 0;
        }
    }

    /// When the line at `offset` was appended. A line is there once its newline is.
    pub fn appended(&self, offset: u64) -> Appended {
        let offset = self.open_line.filter(|(line, _)| *line == offset).map_or(offset, |(_, end)| end);
        match self.marks.iter().find(|mark| mark.size > offset) {
            Some(mark) => Appended::At(mark.at_ns),
            None if self.end_ns != 0 && self.end <= offset => Appended::Since(self.end_ns),
            None => Appended::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_byte_was_appended_when_the_first_look_that_saw_it_says() {
        let mut appends = Appends::default();
        assert_eq!(appends.appended(0), Appended::Unknown);
        appends.saw(100, 10 * SECOND, 11 * SECOND);
        appends.saw(150, 20 * SECOND, 21 * SECOND);
        assert_eq!(appends.appended(0), Appended::At(10 * SECOND));
        assert_eq!(appends.appended(99), Appended::At(10 * SECOND));
        assert_eq!(appends.appended(100), Appended::At(20 * SECOND));
        assert_eq!(appends.appended(150), Appended::Since(21 * SECOND), "no look has seen it");
        appends.saw(150, 20 * SECOND, 30 * SECOND);
        assert_eq!(appends.appended(150), Appended::Since(30 * SECOND));
        appends.settled(120);
        assert_eq!(appends.appended(120), Appended::At(20 * SECOND));
        appends.settled(150);
        appends.met_end(150, 150, 40 * SECOND);
        assert_eq!(appends.appended(150), Appended::Since(40 * SECOND));
    }

    /// Scenario: a line is written in two halves, an hour apart. Guarantee: it counts from when it was complete; what is read
    /// again from before it counts from its own time.
    #[test]
    fn a_line_is_appended_with_its_newline() {
        let mut appends = Appends::default();
        appends.saw(70, 10 * SECOND, 10 * SECOND);
        appends.met_end(50, 70, 11 * SECOND);
        appends.saw(90, 3_600 * SECOND, 3_600 * SECOND);
        assert_eq!(appends.appended(50), Appended::At(3_600 * SECOND));
        assert_eq!(appends.appended(0), Appended::At(10 * SECOND));
        let mut appends = Appends::default();
        appends.saw(70, 10 * SECOND, 10 * SECOND);
        appends.met_end(50, 70, 11 * SECOND);
        assert_eq!(appends.appended(50), Appended::Since(11 * SECOND));
        appends.saw(70, 10 * SECOND, 12 * SECOND);
        assert_eq!(appends.appended(50), Appended::Since(12 * SECOND), "another look at the same half");
    }

    #[test]
    fn a_time_to_come_is_none() {
        let mut appends = Appends::default();
        appends.saw(10, 99 * SECOND, 5 * SECOND);
        assert_eq!(appends.appended(0), Appended::At(5 * SECOND));
    }

    proptest! {
        /// Scenario: a file grows at any pace, is looked at after each append, and is settled now and then. Guarantee: little
        /// is remembered of it, and what is said of a byte that is not settled is no older than it is, and younger by no
        /// more than a quarter of how long the file has lagged.
        #[test]
        fn what_lags_is_known_well_enough(steps in proptest::collection::vec((1u64..1_000, 1i64..1_000_000, 0u8..40), 1..600)) {
            let mut appends = Appends::default();
            let (mut size, mut now, mut settled, mut lag_max) = (0, SECOND, 0, 0);
            let mut written: Vec<(u64, i64)> = Vec::new();
            for (bytes, pause, action) in steps {
                now += pause;
                written.push((size, now));
                size += bytes;
                appends.saw(size, now, now);
                if action < 2 {
                    settled = if action == 0 { size } else { settled.max(written[written.len() / 2].0) };
                    appends.settled(settled);
                }
                prop_assert!(appends.marks.len() <= MARKS_MAX);
                let unsettled = written.iter().filter(|(offset, _)| *offset >= settled);
                let lag = unsettled.clone().map(|(_, at)| now - *at).next();
                lag_max = lag.map_or(0, |lag| lag_max.max(lag));
                let slack = lag_max / 4;
                for (offset, at) in unsettled {
                    let Appended::At(said) = appends.appended(*offset) else { panic!("it was looked at") };
                    prop_assert!(said >= *at && said - *at <= slack, "{offset}: {at}, {said}, {slack}");
                }
            }
        }
    }
}
