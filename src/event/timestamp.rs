//! Event time: nanoseconds since the epoch, read and written as RFC 3339 (P).
//!
//! Written by hand: a record has its time rendered once, and this is a few divisions without a branch. Not here: formats
//! and time zones; an event's time is UTC.

use std::fmt;

/// Nanoseconds since the Unix epoch, UTC: the years 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

const NANOS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// The parts of a time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub nanosecond: u32,
}

impl Timestamp {
    /// The bytes of the longest rendering.
    pub const RENDERED_MAX: usize = 30;

    /// Reads RFC 3339; `None` if it is none, or out of range.
    pub fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Self)
    }

    /// Milliseconds since the epoch, rounded down: Kafka's unit.
    pub fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since the epoch, rounded down.
    pub fn as_seconds(self) -> i64 {
        self.0.div_euclid(NANOS)
    }

    /// The parts in UTC.
    pub fn civil(self) -> Civil {
        let (seconds, nanosecond) = (self.0.div_euclid(NANOS), self.0.rem_euclid(NANOS));
        let (days, second_of_day) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
        // Days since 0000-03-01, so that the leap day ends a year; eras of 400 years. An i64 of nanoseconds is within
        // 1677..=2262, so all that follows is positive and fits 32 bits.
        let days = (days + 719_468) as u32;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u32::from(month <= 2);
        let second_of_day = second_of_day as u32;
        Civil {
            year,
            month,
            day,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            nanosecond: nanosecond as u32,
        }
    }

    /// Appends `2026-11-25T15:35:43.123Z`: milliseconds, or 6 or 9 digits where the time has them, as Filebeat does.
    pub fn render(self, out: &mut Vec<u8>) {
        let (text, length) = self.rendered();
        out.extend_from_slice(&text[..length]);
    }

    /// The text of [`Timestamp::render`] and its length.
    fn rendered(self) -> ([u8; Self::RENDERED_MAX], usize) {
        let civil = self.civil();
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        put2(&mut text, 0, civil.year / 100);
        put2(&mut text, 2, civil.year % 100);
        put2(&mut text, 5, civil.month);
        put2(&mut text, 8, civil.day);
        put2(&mut text, 11, civil.hour);
        put2(&mut text, 14, civil.minute);
        put2(&mut text, 17, civil.second);
        put3(&mut text, 20, civil.nanosecond / 1_000_000);
        let below = civil.nanosecond % 1_000_000;
        if below == 0 {
            text[23] = b'Z';
            return (text, 24);
        }
        put3(&mut text, 23, below / 1_000);
        if below % 1_000 == 0 {
            text[26] = b'Z';
            return (text, 27);
        }
        put3(&mut text, 26, below % 1_000);
        (text, 30)
    }
}

#[inline]
fn put2(text: &mut [u8; 30], at: usize, number: u32) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

#[inline]
fn put3(text: &mut [u8; 30], at: usize, number: u32) {
    text[at] = b'0' + (number / 100) as u8;
    put2(text, at + 1, number % 100);
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, length) = self.rendered();
        f.write_str(std::str::from_utf8(&text[..length]).expect("digits are ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expect: &str) {
        let time = Timestamp::parse(input).unwrap_or_else(|| panic!("{input} is RFC 3339"));
        assert_eq!(time.to_string(), expect);
    }

    #[test]
    fn has_the_digits_it_needs() {
        check("2026-11-25T15:35:43Z", "2026-11-25T15:35:43.000Z");
        check("2026-11-25T15:35:43.12Z", "2026-11-25T15:35:43.120Z");
        check("2026-11-25T15:35:43.123400Z", "2026-11-25T15:35:43.123400Z");
        check("2026-11-25T15:35:43.000000001Z", "2026-11-25T15:35:43.000000001Z");
        check("2024-02-29T23:59:59.999+02:00", "2024-02-29T21:59:59.999Z");
        check("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn refuses_what_is_no_time_or_out_of_range() {
        for text in ["", "yesterday", "2026-11-25", "2026-13-25T15:35:43Z", "9999-01-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    proptest! {
        /// Guarantee: any time is written as jiff writes it, and read back as itself.
        #[test]
        fn agrees_with_jiff(nanos in any::<i64>()) {
            let text = Timestamp(nanos).to_string();
            let jiff = jiff::Timestamp::from_nanosecond(i128::from(nanos)).expect("in range");
            let digits = if nanos % 1_000_000 == 0 { 3 } else if nanos % 1_000 == 0 { 6 } else { 9 };
            prop_assert_eq!(&text, &format!("{jiff:.digits$}"));
            prop_assert_eq!(Timestamp::parse(&text), Some(Timestamp(nanos)));
        }
    }
}
