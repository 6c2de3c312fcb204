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
    /// How long after `earlier` this is; nothing if it is before.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339; `None` if it is none, or out of range.
    pub fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Self)
    }

    /// Reads RFC 3339 as container runtimes write it, `2016-10-06T00:17:09.669794202Z` or with an offset, without an allocation
    /// and in a few nanoseconds. Digits below a nanosecond are cut off. `None`: it is another time, or none.
    pub fn parse_line(text: &[u8]) -> Option<Self> {
        let (fixed, rest) = text.split_at_checked(19)?;
        let number = |at: usize, digits: usize| {
            let digits = &fixed[at..at + digits];
            let are_digits = digits.iter().all(u8::is_ascii_digit);
            are_digits.then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(*digit - b'0')))
        };
        let is_dashed = fixed[4] == b'-' && fixed[7] == b'-' && matches!(fixed[10], b'T' | b't');
        if !is_dashed || fixed[13] != b':' || fixed[16] != b':' {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
        let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let (nanosecond, zone) = fraction(rest)?;
        let days = days_since_epoch(year, month, day)?;
        let seconds = days * DAY_SECONDS + hour * 3_600 + minute * 60 + second - offset_seconds(zone)?;
        seconds.checked_mul(NANOS)?.checked_add(nanosecond).map(Self)
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
        // Neri and Schneider 2022, "Euclidean affine functions and their application to calendar algorithms". Days count from
        // 0000-03-01, so that the leap day ends a year. An i64 of nanoseconds is within 1677..=2262, so all that follows is
        // positive and fits 32 bits.
        let days = (days + 719_468) as u32;
        let century_days = 4 * days + 3;
        let century = century_days / 146_097;
        let year_days = u64::from((century_days % 146_097) | 3) * 2_939_745;
        let year_of_century = (year_days >> 32) as u32;
        let day_of_year = year_days as u32 / 2_939_745 / 4;
        let month_days = 2_141 * day_of_year + 197_913;
        let month = month_days >> 16;
        let is_january_or_february = day_of_year >= 306;
        let second_of_day = second_of_day as u32;
        Civil {
            year: 100 * century + year_of_century + u32::from(is_january_or_february),
            month: if is_january_or_february { month - 12 } else { month },
            day: (month_days & 0xffff) / 2_141 + 1,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            nanosecond: nanosecond as u32,
        }
    }

    /// Appends `2026-11-25T15:35:43.123Z`: milliseconds, or 6 or 9 digits where the time has them, as Filebeat does.
    pub fn render(self, out: &mut Vec<u8>) {
        let civil = self.civil();
        let (milliseconds, below) = (civil.nanosecond / 1_000_000, civil.nanosecond % 1_000_000);
        // Put together in three registers, the first character lowest: bytes written one by one and read at once make the
        // processor wait.
        let date = pair(civil.year / 100) | (pair(civil.year % 100) << 16) | (pair(civil.month) << 40);
        let time = pair(civil.day) | (pair(civil.hour) << 24) | (pair(civil.minute) << 48);
        let end = (pair(civil.second) << 8) | (triple(milliseconds) << 32);
        let date = date | at('-', 4) | at('-', 7);
        let time = time | at('T', 2) | at(':', 5);
        let end = end | at(':', 0) | at('.', 3) | at('Z', 7);
        out.extend_from_slice([date, time, end].map(u64::to_le_bytes).as_flattened());
        if below != 0 {
            out.pop();
            out.extend_from_slice(&triple(below / 1_000).to_le_bytes()[..3]);
            if !below.is_multiple_of(1_000) {
                out.extend_from_slice(&triple(below % 1_000).to_le_bytes()[..3]);
            }
            out.push(b'Z');
        }
    }
}

/// Nanoseconds of `.669794202`, and what follows; no fraction is 0.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kept = digits[..count.min(9)].iter().fold(0, |nanosecond, digit| nanosecond * 10 + i64::from(*digit - b'0'));
    let nanosecond = kept * 10_i64.pow(9 - count.min(9) as u32);
    (count > 0).then_some((nanosecond, &digits[count..]))
}

/// Seconds east of UTC: `Z`, `+02:00`, `-0330`.
fn offset_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, rest) = match zone {
        b"Z" | b"z" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (a, b, c, d) = match rest {
        [a, b, b':', c, d] | [a, b, c, d] => (*a, *b, *c, *d),
        _ => return None,
    };
    let digits = [a, b, c, d];
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let [a, b, c, d] = digits.map(|digit| i64::from(digit - b'0'));
    let (hours, minutes) = (a * 10 + b, c * 10 + d);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Days from 1970-01-01 to a day of the years 0 to 9999; `None` if there is no such day.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let of_month = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=of_month).contains(&day) {
        return None;
    }
    // The year begins in March, so that the leap day ends it.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year;
    Some(days - 719_468)
}

/// The character as the byte at `index` of a little-endian register.
const fn at(character: char, index: u32) -> u64 {
    (character as u64) << (8 * index)
}

/// Two digits, the first lowest.
#[inline]
fn pair(number: u32) -> u64 {
    u64::from((number / 10) | ((number % 10) << 8)) + 0x3030
}

/// Three digits, the first lowest.
#[inline]
fn triple(number: u32) -> u64 {
    (u64::from(number / 100) + 0x30) | (pair(number % 100) << 8)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(30);
        self.render(&mut text);
        f.write_str(std::str::from_utf8(&text).expect("digits are ASCII"))
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
    fn a_line_s_time_is_read_as_any_other() {
        let same = [
            "2016-10-06T00:17:09.669794202Z",
            "2019-05-07T18:57:50.904275087+00:00",
            "2024-02-29T23:59:59-03:30",
            "2021-02-01T16:45:03.01231z",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59.5+02:00",
            "2000-02-29t00:00:00.000000001Z",
        ];
        for text in same {
            assert_eq!(Timestamp::parse_line(text.as_bytes()), Timestamp::parse(text), "{text}");
            assert!(Timestamp::parse(text).is_some(), "{text}");
        }
        let none = [
            "",
            "2016-10-06",
            "2016-10-06T00:17:09",
            "2016-13-06T00:17:09Z",
            "2023-02-29T00:17:09Z",
            "2016-10-06T24:17:09Z",
            "2016-10-06T00:17:09.Z",
            "2016-10-06T00:17:09+1:00",
            "2016-10-06T00:17:09ZZ",
            "9999-10-06T00:17:09Z",
        ];
        for text in none {
            assert_eq!(Timestamp::parse_line(text.as_bytes()), None, "{text}");
        }
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
        #[test]
        fn what_is_rendered_is_read_back(nanos: i64) {
            prop_assert_eq!(Timestamp::parse_line(Timestamp(nanos).to_string().as_bytes()), Some(Timestamp(nanos)));
        }

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
