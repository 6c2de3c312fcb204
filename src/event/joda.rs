//! Dates in templates: Joda's letters as Logstash uses them, of `@timestamp`, in UTC.
//!
//! Not here: text that depends on a language other than English, and years before the epoch of `@timestamp`.

use crate::event::{Civil, SyntaxError, Timestamp, json};

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// A letter, and how often it stands there.
    Field(char, usize),
    /// `%s`: seconds since the epoch.
    EpochSeconds,
}

const LETTERS: &str = "GCyYxMdDwEeaHKhkmsSzZ";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// From Monday, as ISO counts.
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Pattern {
    /// Reads a pattern that stands at byte `at` of the template.
    pub(super) fn parse(text: &str, at: usize) -> Result<Self, SyntaxError> {
        if text == "%s" {
            return Ok(Self { parts: vec![Part::EpochSeconds] });
        }
        if text.is_empty() {
            return Err(SyntaxError::new(at, "expected a date format as `yyyy.MM.dd`"));
        }
        let mut parts = Vec::new();
        let mut characters = text.char_indices().peekable();
        while let Some((index, character)) = characters.next() {
            match character {
                '\'' => literal(&mut parts, &quoted(&mut characters, at + index)?),
                letter if letter.is_ascii_alphabetic() => {
                    if !LETTERS.contains(letter) {
                        let message = format!("`{letter}` is no letter of a date format; quote text as `'{letter}'`");
                        return Err(SyntaxError::new(at + index, message));
                    }
                    let mut count = 1;
                    while characters.next_if(|(_, next)| *next == letter).is_some() {
                        count += 1;
                    }
                    if count > 9 {
                        return Err(SyntaxError::new(at + index, format!("expected at most 9 of `{letter}`")));
                    }
                    parts.push(Part::Field(letter, count));
                }
                other => literal(&mut parts, other.encode_utf8(&mut [0; 4])),
            }
        }
        Ok(Self { parts })
    }

    /// Appends the date.
    pub(super) fn render(&self, time: Timestamp, out: &mut Vec<u8>) {
        let civil = time.civil();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field(letter, count) => field(*letter, *count, civil, time, out),
                Part::EpochSeconds => json::write_i64(out, time.as_seconds()),
            }
        }
    }
}

/// The text behind an opening quote, through the closing one; `''` is a quote.
///
/// # Errors
/// If there is no closing one, at `at`.
pub(crate) fn quoted(
    characters: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
    at: usize,
) -> Result<String, SyntaxError> {
    let mut text = String::new();
    loop {
        match characters.next() {
            None => return Err(SyntaxError::new(at, "expected a closing `'`")),
            Some((_, '\'')) if characters.next_if(|(_, next)| *next == '\'').is_some() => text.push('\''),
            Some((_, '\'')) => break,
            Some((_, other)) => text.push(other),
        }
    }
    // `''` outside of quotes is a quote too.
    Ok(if text.is_empty() { "'".to_owned() } else { text })
}

fn literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Literal(last)) => last.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

fn field(letter: char, count: usize, civil: Civil, time: Timestamp, out: &mut Vec<u8>) {
    let text = |name: &str, out: &mut Vec<u8>| {
        let shown = if count >= 4 { name } else { name.get(..3).unwrap_or(name) };
        out.extend_from_slice(shown.as_bytes());
    };
    let year = |year: u32, out: &mut Vec<u8>| {
        // Two letters are the year's last two digits.
        if count == 2 { number(year % 100, 2, out) } else { number(year, count, out) }
    };
    match letter {
        'G' => out.extend_from_slice(b"AD"),
        'C' => number(civil.year / 100, count, out),
        'y' | 'Y' => year(civil.year, out),
        'x' => year(iso_week(civil, time).0, out),
        'w' => number(iso_week(civil, time).1, count, out),
        'e' => number(weekday(time), count, out),
        'E' => text(WEEKDAYS[weekday(time) as usize - 1], out),
        'M' if count >= 3 => text(MONTHS[civil.month as usize - 1], out),
        'M' => number(civil.month, count, out),
        'd' => number(civil.day, count, out),
        'D' => number(day_of_year(civil), count, out),
        'a' => out.extend_from_slice(if civil.hour < 12 { b"AM" } else { b"PM" }),
        'H' => number(civil.hour, count, out),
        'k' => number(if civil.hour == 0 { 24 } else { civil.hour }, count, out),
        'K' => number(civil.hour % 12, count, out),
        'h' => number((civil.hour + 11) % 12 + 1, count, out),
        'm' => number(civil.minute, count, out),
        's' => number(civil.second, count, out),
        'S' => {
            let digits = format!("{:09}", civil.nanosecond);
            out.extend_from_slice(&digits.as_bytes()[..count.min(9)]);
        }
        'Z' => out.extend_from_slice(match count {
            1 => b"+0000",
            2 => b"+00:00",
            _ => b"UTC",
        }),
        _ => out.extend_from_slice(b"UTC"),
    }
}

/// At least `digits` digits.
fn number(number: u32, digits: usize, out: &mut Vec<u8>) {
    let mut least = 10;
    for _ in 1..digits {
        if u64::from(number) < least {
            out.push(b'0');
        }
        least *= 10;
    }
    // The zeros above are one for each power of ten that the number does not reach.
    json::write_u64(out, u64::from(number));
}

/// 1 = Monday, 7 = Sunday.
fn weekday(time: Timestamp) -> u32 {
    // Day 0 of the epoch was a Thursday.
    (time.as_seconds().div_euclid(86_400) + 3).rem_euclid(7) as u32 + 1
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// 1 = January 1st.
fn day_of_year(civil: Civil) -> u32 {
    const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    BEFORE[civil.month as usize - 1] + civil.day + u32::from(civil.month > 2 && is_leap(civil.year))
}

/// The ISO year and week.
fn iso_week(civil: Civil, time: Timestamp) -> (u32, u32) {
    // The week belongs to the year of its Thursday.
    let thursday = Timestamp(time.0.saturating_add((4 - i64::from(weekday(time))) * 86_400_000_000_000));
    let year = thursday.civil();
    let year = if year.year.abs_diff(civil.year) <= 1 { year } else { civil };
    (year.year, (day_of_year(year) - 1) / 7 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn render(pattern: &str, time: Timestamp) -> String {
        let pattern = Pattern::parse(pattern, 0).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let mut out = Vec::new();
        pattern.render(time, &mut out);
        String::from_utf8(out).expect("a date is UTF-8")
    }

    fn check(pattern: &str, time: &str, expect: &str) {
        let time = Timestamp::parse(time).expect("RFC 3339");
        assert_eq!(render(pattern, time), expect, "{pattern} of {time}");
    }

    #[test]
    fn renders_as_joda_does() {
        let time = "2026-03-05T07:08:09.123456789Z";
        check("yyyy.MM.dd", time, "2026.03.05");
        check("YYYY.MM.dd", time, "2026.03.05");
        check("yy-M-d", time, "26-3-5");
        check("xxxx.ww", time, "2026.10");
        check("HH:mm:ss.SSS", time, "07:08:09.123");
        check("H h K k a", time, "7 7 7 7 AM");
        check("D DDD e E EEEE MMM MMMM", time, "64 064 4 Thu Thursday Mar March");
        check("yyyy-MM-dd'T'HH:mm:ssZZ", time, "2026-03-05T07:08:09+00:00");
        check("''yyyy'x''y'", time, "'2026x'y");
        check("%s", time, "1772694489");
        check("h k K a", "2026-03-05T00:00:00Z", "12 24 0 AM");
        check("xxxx.ww", "2027-01-01T12:00:00Z", "2026.53");
        check("D", "2024-12-31T00:00:00Z", "366");
    }

    #[test]
    fn errors_say_where() {
        for (pattern, at) in [("", 5), ("yyyy.b", 10), ("yyyy'x", 9), ("yyyyyyyyyy", 5)] {
            assert_eq!(Pattern::parse(pattern, 5).expect_err(pattern).at, at, "{pattern}");
        }
    }

    proptest! {
        /// Guarantee: weekday, day of year and ISO week are jiff's, at any time.
        #[test]
        fn the_calendar_is_jiffs(seconds in -9_000_000_000i64..9_000_000_000) {
            let time = Timestamp(seconds * 1_000_000_000);
            let zoned = jiff::Timestamp::from_second(seconds).expect("in range").to_zoned_datetime(jiff::tz::TimeZone::UTC);
            let week = zoned.date().iso_week_date();
            let expect = format!("{} {} {} {}", zoned.day_of_year(), week.year(), week.week(), week.weekday().to_monday_one_offset());
            prop_assert_eq!(render("D x w e", time), expect);
        }

        /// Guarantee: no text makes the parser or the renderer panic.
        #[test]
        fn any_text_is_a_pattern_or_an_error(text in "\\PC{0,20}", time: i64) {
            if let Ok(pattern) = Pattern::parse(&text, 0) {
                pattern.render(Timestamp(time), &mut Vec::new());
            }
        }
    }
}
