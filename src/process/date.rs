//! `date`: makes a field's text the event's time, as Logstash's filter of that name does.
//!
//! The formats are tried in their order, the first that takes the whole text counts. A text without a year is of the year
//! around the record's reading, so that reading old files again gives the same; a field that is missing or null is no
//! failure. What fails keeps its time. Not here: guessing formats, and formats for writing (templates).

mod format;
mod names;
mod parse;
mod zone;

pub use names::Locale;
pub use zone::Zone;

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use compact_str::CompactString;

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, SyntaxError, Timestamp, ValueRef};
use format::Format;
use zone::Place;

/// `date: {field, formats, timezone, locale, target, precision}`.
#[derive(Clone, Debug)]
pub struct Date {
    pub field: FieldPath,
    pub formats: Vec<DateFormat>,
    /// Of texts that name none.
    pub zone: Zone,
    pub target: FieldPath,
    /// The time's digits below it are cut: 1,000,000 for milliseconds.
    pub unit_nanos: i64,
    pub last: LastRead,
}

/// Texts up to this length are remembered: dates are not longer.
const REMEMBERED_BYTES: usize = 64;

/// Texts that a thread remembers, of different processors.
const REMEMBERED: usize = 8;

/// Remembers, in each thread, what a processor has read last. Lines come many a second, and most say the same as the one before.
#[derive(Debug)]
pub struct LastRead(usize);

thread_local! {
    static LAST: RefCell<[Last; REMEMBERED]> = RefCell::default();
}

#[derive(Debug, Default)]
struct Last {
    /// Which processor has read it.
    by: usize,
    text: CompactString,
    /// What a text without a year goes by.
    read_at: Option<Timestamp>,
    time: Option<Timestamp>,
}

impl Clone for LastRead {
    /// Has read nothing: what has it may have another zone, or other formats.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Default for LastRead {
    fn default() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        // From 1: a thread that has read nothing remembers nothing of any.
        Self(MADE.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// One format of a date.
#[derive(Clone, Debug)]
pub struct DateFormat(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Iso8601,
    Unix,
    UnixMs,
    Tai64n,
    Format(Format),
}

impl DateFormat {
    /// Reads `ISO8601`, `UNIX`, `UNIX_MS`, `TAI64N`, a Joda format or one of strftime; names in it are the locale's.
    ///
    /// # Errors
    /// A letter that means nothing, or an open quote.
    pub fn parse(text: &str, locale: Locale) -> Result<Self, SyntaxError> {
        Ok(Self(match text {
            "ISO8601" => Kind::Iso8601,
            "UNIX" => Kind::Unix,
            "UNIX_MS" => Kind::UnixMs,
            "TAI64N" => Kind::Tai64n,
            text => Kind::Format(Format::parse(text, locale)?),
        }))
    }

    fn of_text(&self, text: &str, place: &Place, read_at: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Iso8601 => parse::iso8601(text)?.time(place, read_at),
            Kind::Unix => parse::unix(text),
            Kind::UnixMs => of_millis(text.parse().ok()?),
            Kind::Tai64n => parse::tai64n(text),
            Kind::Format(format) => format.time(text, place, read_at),
        }
    }

    /// The time that the text says, in UTC if it names no zone.
    pub(super) fn of_text_in_utc(&self, text: &str, read_at: Timestamp) -> Option<Timestamp> {
        self.of_text(text, &Place::UTC, read_at)
    }

    /// Numbers are for those formats that are numbers.
    fn of_int(&self, number: i64) -> Option<Timestamp> {
        match &self.0 {
            Kind::Unix => parse::nanoseconds(parse::unix_seconds(number)?, 0),
            Kind::UnixMs => of_millis(number),
            Kind::Iso8601 | Kind::Tai64n | Kind::Format(_) => None,
        }
    }

    fn of_float(&self, number: f64) -> Option<Timestamp> {
        match &self.0 {
            Kind::Unix => parse::unix_float(number),
            // Within the bounds no double is cut to another number than the one below it.
            Kind::UnixMs if number.abs() < 1e15 => of_millis(number as i64),
            _ => None,
        }
    }
}

fn of_millis(millis: i64) -> Option<Timestamp> {
    millis.checked_mul(1_000_000).map(Timestamp)
}

impl Date {
    /// The time that the field says; `None` within if there is no field.
    fn time(&self, work: &Work<'_>) -> Result<Option<Timestamp>, Failed> {
        let view = work.view();
        let found = match view.get(&self.field) {
            None | Some(ValueRef::Null) => return Ok(None),
            Some(ValueRef::Timestamp(time)) => Some(time),
            Some(ValueRef::Int(number)) => self.formats.iter().find_map(|format| format.of_int(number)),
            Some(ValueRef::Float(number)) => self.formats.iter().find_map(|format| format.of_float(number)),
            Some(ValueRef::Str(text)) => match &self.zone {
                Zone::Fixed(place) if text.len() <= REMEMBERED_BYTES => self.of_text_again(&text, place, work.read_at),
                zone => self.of_text(&text, &zone.of(&view).ok_or(Failed)?, work.read_at),
            },
            Some(ValueRef::Bool(_) | ValueRef::BigInt(_) | ValueRef::Array(_) | ValueRef::Object(_)) => None,
        };
        let time = found.ok_or(Failed)?;
        let cut = time.0.checked_sub(time.0.rem_euclid(self.unit_nanos.max(1))).ok_or(Failed)?;
        Ok(Some(Timestamp(cut)))
    }

    fn of_text(&self, text: &str, place: &Place, read_at: Timestamp) -> Option<Timestamp> {
        self.formats.iter().find_map(|format| format.of_text(text, place, read_at))
    }

    /// The same, remembered: for one zone, and what was read at one time.
    fn of_text_again(&self, text: &str, place: &Place, read_at: Timestamp) -> Option<Timestamp> {
        LAST.with_borrow_mut(|lasts| {
            let last = &mut lasts[self.last.0 % REMEMBERED];
            if last.by != self.last.0 || last.read_at != Some(read_at) || last.text != text {
                last.time = self.of_text(text, place, read_at);
                last.by = self.last.0;
                last.read_at = Some(read_at);
                last.text.clear();
                last.text.push_str(text);
            }
            last.time
        })
    }
}

impl Process for Date {
    fn name(&self) -> &'static str {
        "date"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(time) = self.time(work)? else { return Ok(Outcome::Keep) };
        if self.target.segments().len() == 1 && self.target.root() == "@timestamp" {
            work.event.timestamp = time;
            return Ok(Outcome::Keep);
        }
        work.set(&self.target, time.to_string())?;
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BUF, common, event, path, run, step};
    use super::*;
    use crate::event::EventView;
    use proptest::prelude::*;
    use serde_json::json;

    /// The options of most tests: UTC, English, from `field` into `@timestamp`.
    fn date(formats: &[&str], locale: &str) -> Date {
        let locale = Locale::parse(locale).expect("a language");
        let read = |text: &&str| DateFormat::parse(text, locale).unwrap_or_else(|error| panic!("{text}: {error}"));
        Date {
            field: path("field"),
            formats: formats.iter().map(read).collect(),
            zone: Zone::parse("UTC").expect("a zone"),
            target: path("@timestamp"),
            unit_nanos: 1_000_000,
            last: LastRead::default(),
        }
    }

    fn in_zone(zone: &str, date: Date) -> Date {
        Date { zone: Zone::parse(zone).unwrap_or_else(|error| panic!("{zone}: {error}")), ..date }
    }

    /// What the processor makes of a field that is `input`, read at `read_at`: the time, or `None` if it failed.
    fn time(date: Date, input: serde_json::Value, read_at: &str) -> Option<String> {
        let common = common();
        let mut event = event();
        event.set(&path("field"), input.into(), BUF, &common).expect("sets");
        event.set(&path("zone"), "Asia/Tokyo".into(), BUF, &common).expect("sets");
        let mut tally = super::super::Tally::default();
        let read_at = Timestamp::parse(read_at).expect("a time");
        let mut work = Work { event: &mut event, buf: BUF, common: &common, read_at, tally: &mut tally };
        match date.run(&mut work) {
            Ok(_) => Some(event.timestamp.to_string()),
            Err(Failed) => {
                assert_eq!(event.timestamp, Timestamp(0), "what fails keeps its time");
                None
            }
        }
    }

    fn check(format: &str, input: &str, expect: Option<&str>) {
        check_at("2026-06-15T12:00:00Z", format, input, expect);
    }

    fn check_at(read_at: &str, format: &str, input: &str, expect: Option<&str>) {
        let found = time(date(&[format], "en"), json!(input), read_at);
        assert_eq!(found.as_deref(), expect, "{format} of {input}");
    }

    fn check_zone(zone: &str, format: &str, input: &str, expect: Option<&str>) {
        let found = time(in_zone(zone, date(&[format], "en")), json!(input), "2016-03-29T23:59:50Z");
        assert_eq!(found.as_deref(), expect, "{format} of {input} in {zone}");
    }

    /// Scenario: the 29th of February, read in a year that has none. Guarantee: it is that of the last year that had one.
    #[test]
    fn a_leap_day_is_of_the_last_year_that_had_one() {
        for (read_at, expect) in
            [("2024-03-01T00:00:00Z", 2024), ("2025-01-02T00:00:00Z", 2024), ("2023-02-28T00:00:00Z", 2020)]
        {
            check_at(read_at, "MMM dd HH:mm:ss", "Feb 29 10:00:00", Some(&format!("{expect}-02-29T10:00:00.000Z")));
        }
        check_at("2025-01-02T00:00:00Z", "MMM dd", "Feb 30", None);
    }

    #[test]
    fn joda_formats() {
        check("dd/MMM/yyyy:HH:mm:ss Z", "25/Mar/2013:20:33:56 +0100", Some("2013-03-25T19:33:56.000Z"));
        check("dd/MMM/yyyy:HH:mm:ss Z", "5/MARCH/2013:20:33:56 -01:30", Some("2013-03-05T22:03:56.000Z"));
        check("yyyy-MM-dd HH:mm:ss,SSS", "2013-03-25 20:33:56,789", Some("2013-03-25T20:33:56.789Z"));
        check("yyyy-MM-dd HH:mm:ss,SSS", "2013-03-25 20:33:56,7", Some("2013-03-25T20:33:56.700Z"));
        check("yyyy-MM-dd HH:mm:ss,SSS", "2013-03-25 20:33:56,7891", None);
        check("yyyyMMddHHmmssSSS", "20130325203356789", Some("2013-03-25T20:33:56.789Z"));
        check("yyMMdd", "130325", Some("2013-03-25T00:00:00.000Z"));
        check("yy-MM-dd", "1999-03-25", Some("1999-03-25T00:00:00.000Z"));
        check("yy/M/d", "47/1/2", Some("1947-01-02T00:00:00.000Z"));
        check("yy/M/d", "45/1/2", Some("2045-01-02T00:00:00.000Z"));
        check("yyyy-MM-dd'T'HH:mm:ss''Z", "2013-03-25T20:33:56'Z", Some("2013-03-25T20:33:56.000Z"));
        check("MMM d, yyyy h:mm:ss a", "Mar 5, 2013 12:33:56 pm", Some("2013-03-05T12:33:56.000Z"));
        check("MMM d, yyyy h:mm:ss a", "Mar 5, 2013 12:33:56 AM", Some("2013-03-05T00:33:56.000Z"));
        check("MMM d, yyyy h:mm:ss a", "Mar 5, 2013 0:33:56 AM", None);
        check("yyyy-MM-dd KK a", "2013-03-05 11 PM", Some("2013-03-05T23:00:00.000Z"));
        check("yyyy-MM-dd kk", "2013-03-05 24", Some("2013-03-05T00:00:00.000Z"));
        check("yyyy-MM-dd kk", "2013-03-05 00", None);
        check("yyyy-DDD", "2024-366", Some("2024-12-31T00:00:00.000Z"));
        check("yyyy-DDD", "2023-366", None);
        check("xxxx-'W'ww-e", "2026-W53-7", Some("2027-01-03T00:00:00.000Z"));
        check("xxxx-'W'ww-e", "2025-W53-7", None);
        check("EEEE, dd MMMM yyyy", "Mon, 25 mar 2013", Some("2013-03-25T00:00:00.000Z"));
        check("yyyy-MM-dd HH:mm:ss z", "2013-07-25 20:33:56 EST", Some("2013-07-26T00:33:56.000Z"));
        check("yyyy-MM-dd HH:mm:ss z", "2013-07-25 20:33:56 CEST", None);
        check("yyyy-MM-dd HH:mm ZZZ", "2013-07-25 20:33 Europe/Berlin", Some("2013-07-25T18:33:00.000Z"));
        check("yyyy-MM-dd ZZZ HH", "2013-07-25 America/Argentina/Ushuaia 20", Some("2013-07-25T23:00:00.000Z"));
        check("yyyy-MM-dd HH:mm ZZZ", "2013-07-25 20:33 Europe/Nowhere", None);
        check("yyyy G", "2013 AD", Some("2013-01-01T00:00:00.000Z"));
        check("yyyy G", "2013 BC", None);
        check("yyyy/MM/dd", "2013/Apr/21", None);
        check("yyyy/MM/dd", "2013/02/29", None);
        check("yyyy/MM/dd", "2013/02/28 ", None);
        check("yyyy/MM/dd", " 2013/02/28", None);
        check("yyyy/MM/dd", "2013/13/28", None);
        check("yyyy/MM/dd HH:mm:ss", "2013/12/28 24:00:00", None);
        check("yyyy/MM/dd HH:mm:ss", "2013/12/28 23:59:60", None);
        check("yyyy", "2300", None);
        check("yyyy", "1600", None);
    }

    #[test]
    fn strftime_formats() {
        check("%d/%b/%Y:%H:%M:%S %z", "25/Mar/2013:20:33:56 +0100", Some("2013-03-25T19:33:56.000Z"));
        check("%b %e %H:%M:%S %Y", "Mar  5 20:33:56 2013", Some("2013-03-05T20:33:56.000Z"));
        check("%F %T.%f", "2013-03-25 20:33:56.789123", Some("2013-03-25T20:33:56.789Z"));
        check("%Y-%m-%dT%H:%M:%S.%3N%:z", "2013-03-25T20:33:56.789+01:00", Some("2013-03-25T19:33:56.789Z"));
        check("%m/%d/%y %I:%M %p", "03/25/13 08:33 PM", Some("2013-03-25T20:33:00.000Z"));
        check("%A, %d-%b-%y %T %Z", "Monday, 25-Mar-13 20:33:56 GMT", Some("2013-03-25T20:33:56.000Z"));
        check("%c", "Mon Mar 25 20:33:56 2013", Some("2013-03-25T20:33:56.000Z"));
        check("%s.%L", "1364243636.25", Some("2013-03-25T20:33:56.250Z"));
        check("%G-W%V-%u", "2013-W13-1", Some("2013-03-25T00:00:00.000Z"));
        check("%j %Y 100%%", "084 2013 100%", Some("2013-03-25T00:00:00.000Z"));
        check("%Y-%m-%d", "2013-03-25x", None);
        check("%D %R", "03/25/69 08:33", Some("1969-03-25T08:33:00.000Z"));
    }

    #[test]
    fn iso8601() {
        for (input, expect) in [
            ("2001-12-07T23:54:54,123Z", Some("2001-12-07T23:54:54.123Z")),
            ("2001-12-07 23:54:54.123456789+01:00", Some("2001-12-07T22:54:54.123Z")),
            ("2001-12-07 23:54:54 -0130", Some("2001-12-08T01:24:54.000Z")),
            ("2001-12-07T23:54", Some("2001-12-07T23:54:00.000Z")),
            ("2001-12", Some("2001-12-01T00:00:00.000Z")),
            ("2001-341", Some("2001-12-07T00:00:00.000Z")),
            ("2001-W49-5T23", Some("2001-12-07T23:00:00.000Z")),
            // What of it the fraction is of stands last.
            ("2001-12-07T23:54,5", Some("2001-12-07T23:54:30.000Z")),
            ("2001-12-07T23:54.123456Z", Some("2001-12-07T23:54:07.407Z")),
            ("2001-12-07T23.55555555", Some("2001-12-07T23:33:19.999Z")),
            ("2001-12-07T22,25+01:00", Some("2001-12-07T21:15:00.000Z")),
            ("2001-12-07T", Some("2001-12-07T00:00:00.000Z")),
            ("2001-12-07TZ", Some("2001-12-07T00:00:00.000Z")),
            ("2001-12-07T-01:00", Some("2001-12-07T01:00:00.000Z")),
            ("2001-5-7T1:2:3", Some("2001-05-07T01:02:03.000Z")),
            ("+2001-12-07", Some("2001-12-07T00:00:00.000Z")),
            ("2001-12-07 ", None),
            ("2001-12-07Z", None),
            ("2001-12-07 +01:00", None),
            ("2001-12-07T24,5", None),
            ("20011207", None),
            ("T10:11:12", None),
            ("10:11:12", None),
            ("2001-12-07T23:54:54.123Zulu", None),
            ("2001-12-07T23:54:54.", None),
            ("2001-12-32", None),
            ("01-12-07", None),
            ("now", None),
            ("", None),
        ] {
            check("ISO8601", input, expect);
        }
    }

    #[test]
    fn epochs() {
        check("UNIX", "1478207457.456", Some("2016-11-03T21:10:57.456Z"));
        check("UNIX", "-1.5", Some("1969-12-31T23:59:58.500Z"));
        for bad in ["", "-", "1.", ".5", "1.5.5", "1e5", "2147483648", "99999999999999999999", " 1"] {
            check("UNIX", bad, None);
        }
        check("UNIX_MS", "456", Some("1970-01-01T00:00:00.456Z"));
        check("UNIX_MS", "4.5", None);
        check("UNIX_MS", "9999999999999999", None);
        check("TAI64N", "@4000000050d506482dbdf024", Some("2012-12-22T01:00:46.767Z"));
        for bad in [
            "",
            "4000000050d506482dbdf02",
            "4000000050d50648ffffffff",
            "fffffffffffffffff0000000",
            "+00000005d506482dbdf024a",
        ] {
            check("TAI64N", bad, None);
        }
        let number =
            |format: &str, input: serde_json::Value| time(date(&[format], "en"), input, "2026-06-15T12:00:00Z");
        assert_eq!(number("UNIX", json!(1_000_000_000)).as_deref(), Some("2001-09-09T01:46:40.000Z"));
        assert_eq!(number("UNIX", json!(1_478_207_457.456)).as_deref(), Some("2016-11-03T21:10:57.456Z"));
        assert_eq!(number("UNIX", json!(1_000_000_000_123i64)), None);
        assert_eq!(number("UNIX_MS", json!(1_000_000_000_123i64)).as_deref(), Some("2001-09-09T01:46:40.123Z"));
        assert_eq!(number("UNIX_MS", json!(1e300)), None);
        assert_eq!(number("yyyy", json!(2013)), None, "as in Logstash, a number is no text");
        for other in [json!(true), json!(["2013"]), json!({"a": 1})] {
            assert_eq!(number("ISO8601", other), None);
        }
    }

    #[test]
    fn zones() {
        let format = "yyyy MMM dd HH:mm:ss";
        check_zone("America/Los_Angeles", format, "2013 Nov 24 01:29:01", Some("2013-11-24T09:29:01.000Z"));
        check_zone("america/los_angeles", format, "2013 Nov 24 01:29:01", Some("2013-11-24T09:29:01.000Z"));
        check_zone("CET", format, "2016 Mar 26 02:00:37", Some("2016-03-26T01:00:37.000Z"));
        check_zone("+02:30", format, "2013 Nov 24 01:29:01", Some("2013-11-23T22:59:01.000Z"));
        check_zone("%{[zone]}", format, "2013 Nov 24 01:29:01", Some("2013-11-23T16:29:01.000Z"));
        check_zone("%{[zone]:UTC}", format, "2013 Nov 24 01:29:01", Some("2013-11-23T16:29:01.000Z"));
        check_zone("%{[none]:UTC}", format, "2013 Nov 24 01:29:01", Some("2013-11-24T01:29:01.000Z"));
        check_zone("%{[none]}", format, "2013 Nov 24 01:29:01", None);
        check_zone("%{[message]}", format, "2013 Nov 24 01:29:01", None);
        check_zone("Europe/Berlin", "ISO8601", "2013-11-24T01:29:01-08:00", Some("2013-11-24T09:29:01.000Z"));
        // Clocks were set back: the first of the two. Clocks were set forward: no such time, as Joda says.
        check_zone("Europe/Berlin", format, "2016 Oct 30 02:30:00", Some("2016-10-30T00:30:00.000Z"));
        check_zone("Europe/Berlin", format, "2016 Mar 27 02:30:00", None);
        check_zone("Europe/Berlin", "MMM dd HH:mm:ss", "Mar 27 02:30:00", Some("2016-03-27T01:30:00.000Z"));
        assert!(Zone::parse("Mars/Olympus").is_err());
        assert!(Zone::parse("%{zone}").is_err());
        assert!(Zone::parse("+25:00").is_err());
    }

    /// Guarantee: what a text leaves open comes from the time of the reading, in the text's zone.
    #[test]
    fn a_missing_year_is_that_of_the_reading() {
        let syslog = "MMM dd HH:mm:ss";
        check_at("2013-12-31T23:59:50Z", syslog, "Jan 01 01:00:00", Some("2014-01-01T01:00:00.000Z"));
        check_at("2014-01-01T00:30:50Z", syslog, "Dec 31 23:59:00", Some("2013-12-31T23:59:00.000Z"));
        check_at("2014-06-01T00:30:50Z", syslog, "Nov 30 23:59:00", Some("2014-11-30T23:59:00.000Z"));
        check_at("2024-03-01T00:30:50Z", syslog, "Feb 29 23:59:00", Some("2024-02-29T23:59:00.000Z"));
        check_at(
            "2013-06-15T12:00:00Z",
            "EEE MMM dd HH:mm:ss",
            "Sun Jun 02 20:38:03",
            Some("2013-06-02T20:38:03.000Z"),
        );
        check_at("2013-06-15T12:00:00Z", "HH:mm:ss", "20:38:03", Some("2013-06-15T20:38:03.000Z"));
        let tokyo = in_zone("Asia/Tokyo", date(&[syslog], "en"));
        let found = time(tokyo, json!("Jan 01 00:10:00"), "2013-12-31T15:12:00Z");
        assert_eq!(found.as_deref(), Some("2013-12-31T15:10:00.000Z"), "it is January there");
    }

    /// Scenario: one processor reads the same text again, then another, then the first at another time, and what fails twice.
    /// Guarantee: what is remembered of the last text is never taken for another's, or for another time of reading.
    #[test]
    fn what_was_read_last_is_no_others() {
        let syslog = date(&["MMM dd HH:mm:ss"], "en");
        let (common, mut tally) = (common(), super::super::Tally::default());
        let mut read = |text: &str, read_at: &str| {
            let mut event = event();
            event.set(&path("field"), text.into(), BUF, &common).expect("sets");
            let read_at = Timestamp::parse(read_at).expect("a time");
            let mut work = Work { event: &mut event, buf: BUF, common: &common, read_at, tally: &mut tally };
            syslog.run(&mut work).ok().map(|_| event.timestamp.to_string())
        };
        let (then, now) = ("2013-06-15T12:00:00Z", "2014-06-15T12:00:00Z");
        for _ in 0..2 {
            assert_eq!(read("Jun 01 01:00:00", then).as_deref(), Some("2013-06-01T01:00:00.000Z"));
        }
        assert_eq!(read("Jun 01 01:00:01", then).as_deref(), Some("2013-06-01T01:00:01.000Z"));
        assert_eq!(read("Jun 01 01:00:01", now).as_deref(), Some("2014-06-01T01:00:01.000Z"));
        for _ in 0..2 {
            assert_eq!(read("Jun 31 01:00:01", now), None);
        }
        assert_eq!(read("Jun 01 01:00:01", now).as_deref(), Some("2014-06-01T01:00:01.000Z"));
    }

    #[test]
    fn languages_several_formats_targets_and_precision() {
        let read_at = "2026-06-15T12:00:00Z";
        let found = time(date(&["dd MMMM yyyy"], "fr_FR"), json!("14 juillet 1789"), read_at);
        assert_eq!(found.as_deref(), Some("1789-07-14T00:00:00.000Z"));
        let several = date(&["UNIX", "UNIX_MS", "ISO8601"], "en");
        for (input, expect) in [
            ("0", "1970-01-01T00:00:00.000Z"),
            ("1000000000123", "2001-09-09T01:46:40.123Z"),
            ("2001-01-01", "2001-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(several.clone(), json!(input), read_at).as_deref(), Some(expect));
        }
        let exact = Date { unit_nanos: 1, ..date(&["ISO8601"], "en") };
        let found = time(exact, json!("2001-12-07T23:54:54.123456789Z"), read_at);
        assert_eq!(found.as_deref(), Some("2001-12-07T23:54:54.123456789Z"));

        let common = common();
        let mut event = event();
        event.set(&path("field"), "2001-01-01".into(), BUF, &common).expect("sets");
        let into = |target: &str| step(Date { target: path(target), ..date(&["ISO8601"], "en") });
        let missing = step(Date { field: path("none"), ..date(&["ISO8601"], "en") });
        let (_, tally) = run(vec![into("event.created"), into("field.x"), missing], &mut event, &common);
        assert_eq!(tally.failed, [("date", 1)], "nothing can be set below a text; a missing field is no failure");
        let created = EventView { event: &event, buf: BUF, common: &common }.get(&path("event.created"));
        assert_eq!(created.map(ValueRef::into_value), Some("2001-01-01T00:00:00.000Z".into()));
        assert_eq!(event.timestamp, Timestamp(0));
    }

    #[test]
    fn errors_name_the_letter_and_where_it_stands() {
        for (format, at, word) in [
            ("yyyy-MM-DD", 8, "`d`"),
            ("yyyy-MM-ddTHH", 10, "`T`"),
            ("yyyy 'at", 5, "closing"),
            ("ISO 8601", 0, "`I`"),
            ("%Y-%q", 4, "`%q`"),
            ("%Y-%", 3, "after `%`"),
            ("", 0, "expected"),
            ("'x'", 0, "expected"),
        ] {
            let error = DateFormat::parse(format, Locale::default()).expect_err(format);
            assert_eq!(error.at, at, "{format}: {error}");
            assert!(error.message.contains(word), "{format}: {error}");
        }
    }

    #[test]
    fn conformance() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance/date/date.jsonl");
        let cases = match std::fs::read_to_string(file) {
            Ok(cases) => cases,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => panic!("{file}: {error}"),
        };
        for case in cases.lines() {
            let case: serde_json::Value = serde_json::from_str(case).expect("JSON");
            let text = |key: &str| case.get(key).and_then(serde_json::Value::as_str);
            let formats: Vec<&str> =
                case["pattern"].as_array().expect("a list").iter().filter_map(|one| one.as_str()).collect();
            let date = in_zone(text("timezone").unwrap_or("UTC"), date(&formats, text("locale").unwrap_or("en")));
            let found = time(date, case["input"].clone(), text("now").unwrap_or("2026-06-15T12:00:00Z"));
            assert_eq!(found.as_deref(), text("expected_utc"), "{case}");
        }
    }

    proptest! {
        /// Guarantee: no format and no text makes it panic, at any time of the reading.
        #[test]
        fn any_format_and_any_text(
            format in "([yYMdHhkKmsSaEeDwxGCzZ]{1,4}|[-/:. ']|%[A-Za-z%]|\\PC){0,8}", text in "([0-9]{1,10}|[-+:/. ZTW]|[A-Z]{3}|\\PC){0,8}", read_at: i64,
        ) {
            let place = Place::parse("Europe/Berlin").expect("a zone");
            for format in [format.as_str(), "ISO8601", "UNIX", "UNIX_MS", "TAI64N"] {
                if let Ok(format) = DateFormat::parse(format, Locale::default()) {
                    format.of_text(&text, &place, Timestamp(read_at));
                }
            }
        }

        /// Guarantee: any time that is written in a format is read back.
        #[test]
        fn reads_what_is_written(nanos in -2_000_000_000_000_000_000i64..2_000_000_000_000_000_000, format in 0usize..4) {
            let (joda, strftime) = [
                ("yyyy-MM-dd HH:mm:ss.SSSSSSSSSZ", "%Y-%m-%d %H:%M:%S.%9f%z"), ("ISO8601", "%Y-%m-%dT%H:%M:%S.%9f%:z"),
                ("EEE, d MMM yyyy hh:mm:ss.SSSSSSSSS a ZZ", "%a, %-d %b %Y %I:%M:%S.%9f %p %:z"),
                ("%j %Y %T.%N %z", "%j %Y %H:%M:%S.%9f %z"),
            ][format];
            let time = jiff::Timestamp::from_nanosecond(i128::from(nanos)).expect("in range");
            let written = time.to_zoned_datetime(jiff::tz::TimeZone::get("Asia/Kolkata").expect("a zone")).strftime(strftime).to_string();
            let read = DateFormat::parse(joda, Locale::default()).expect("good").of_text(&written, &Place::UTC, Timestamp(0));
            prop_assert_eq!(read, Some(Timestamp(nanos)), "{}", written);
        }
    }
}
