//! Reading the parts of a date from a text, and making a time of them (P). Nothing here allocates.

use super::names::Locale;
use super::zone::{Place, Skipped};
use crate::event::Timestamp;

const NANOS: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// A place in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// The byte that is next.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes on by `length` bytes, which must end at a character's end.
    pub(super) fn skip(&mut self, length: usize) {
        self.at += length;
    }

    /// Takes `byte`, an ASCII one, if it is next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Digits that are next, at most `most` of them are looked at.
    pub(super) fn digits_ahead(&self, most: usize) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// A number of 1 to `most` digits; `most` is at most 9.
    pub(super) fn number(&mut self, most: usize) -> Option<i32> {
        self.exactly(self.digits_ahead(most))
    }

    /// A number of `count` digits, 1 to 9.
    pub(super) fn exactly(&mut self, count: usize) -> Option<i32> {
        if count == 0 || self.digits_ahead(count) < count {
            return None;
        }
        let digits = self.text.as_bytes().get(self.at..self.at + count)?;
        self.at += count;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0')))
    }

    /// A number that may have a sign.
    pub(super) fn signed(&mut self, most: usize) -> Option<i32> {
        let is_negative = self.peek() == Some(b'-');
        if is_negative || self.peek() == Some(b'+') {
            self.at += 1;
        }
        let number = self.number(most)?;
        Some(if is_negative { -number } else { number })
    }

    /// 1 to `most` digits of a second's fraction, as nanoseconds; what is beyond nanoseconds is read and left out.
    pub(super) fn fraction(&mut self, most: usize) -> Option<i32> {
        let count = self.digits_ahead(most);
        let number = self.exactly(count.min(9))?;
        self.at += count.saturating_sub(9);
        Some(number * 10i32.pow(9 - count.min(9) as u32))
    }

    /// An offset as Joda takes it: `Z`, `+hh`, `+hhmm`, `+hh:mm`, with seconds behind if there are any. Seconds east of UTC.
    pub(super) fn offset(&mut self) -> Option<i32> {
        if self.take(b'Z') || self.take(b'z') {
            return Some(0);
        }
        let sign = match self.peek()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.at += 1;
        let mut seconds = in_range(self.exactly(2)?, 0, 23)? * 3_600;
        let has_colons = self.take(b':');
        for unit in [60, 1] {
            if unit == 1 && has_colons && !self.take(b':') {
                break;
            }
            if self.digits_ahead(1) == 0 && !has_colons {
                break;
            }
            seconds += in_range(self.exactly(2)?, 0, 59)? * unit;
        }
        Some(sign * seconds)
    }
}

/// `number`, if it is in `from..=to`.
pub(super) fn in_range(number: i32, from: i32, to: i32) -> Option<i32> {
    (from..=to).contains(&number).then_some(number)
}

/// A time of day with half a day's hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Am,
    Pm,
}

/// What a text said. Numbers are as written; [`Parts::time`] looks at their bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) year: Option<i32>,
    pub(super) month: Option<i32>,
    pub(super) day: Option<i32>,
    pub(super) day_of_year: Option<i32>,
    /// The year that ISO weeks count in.
    pub(super) week_year: Option<i32>,
    pub(super) week: Option<i32>,
    /// 1 = Monday.
    pub(super) weekday: Option<i32>,
    pub(super) hour: Option<i32>,
    /// 0 to 11.
    pub(super) hour_of_half: Option<i32>,
    pub(super) half: Option<Half>,
    pub(super) minute: i32,
    pub(super) second: i32,
    pub(super) nanosecond: i32,
    /// Before Christ: no time that we have.
    pub(super) is_before_christ: bool,
    pub(super) epoch_seconds: Option<i64>,
    pub(super) place: Option<Place>,
}

/// A day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    year: i32,
    month: i32,
    day: i32,
    /// The text did not say the year.
    is_guessed: bool,
}

impl Parts {
    /// The time that this is, in `place` if the text named none. What it leaves open comes from `read_at`.
    pub(super) fn time(&self, place: &Place, read_at: Timestamp) -> Option<Timestamp> {
        if let Some(seconds) = self.epoch_seconds {
            return nanoseconds(seconds, self.nanosecond);
        }
        if self.is_before_christ {
            return None;
        }
        let place = self.place.as_ref().unwrap_or(place);
        let day = self.day(place, read_at)?;
        let hour = match (self.hour, self.hour_of_half) {
            (Some(hour), _) => in_range(hour, 0, 23)?,
            (None, Some(hour)) => in_range(hour, 0, 11)? + if self.half == Some(Half::Pm) { 12 } else { 0 },
            (None, None) if self.half == Some(Half::Pm) => 12,
            (None, None) => 0,
        };
        let (minute, second) = (in_range(self.minute, 0, 59)?, in_range(self.second, 0, 59)?);
        let local = days_from_civil(day.year, day.month, day.day) * DAY_SECONDS
            + i64::from(hour * 3_600 + minute * 60 + second);
        let offset = match place {
            Place::Offset(offset) => *offset,
            Place::Zone(_) => {
                let small = |number: i32| i8::try_from(number).ok();
                let year = i16::try_from(day.year).ok()?;
                let (month, day_of_month) = (small(day.month)?, small(day.day)?);
                let clock = jiff::civil::DateTime::new(
                    year,
                    month,
                    day_of_month,
                    small(hour)?,
                    small(minute)?,
                    small(second)?,
                    self.nanosecond,
                );
                // As in Logstash: a time that is no time is refused, but not for a year that only we put there.
                let skipped = if day.is_guessed { Skipped::Later } else { Skipped::Refused };
                place.offset_for(clock.ok()?, skipped)?
            }
        };
        nanoseconds(local - i64::from(offset), self.nanosecond)
    }

    fn day(&self, place: &Place, read_at: Timestamp) -> Option<Day> {
        // A text without a date, such as a time of the day, needs the day of the reading; one with a year needs nothing.
        let is_complete = self.year.is_some() || self.week_year.is_some();
        let read = if is_complete {
            None
        } else {
            let local = read_at.0.saturating_add(i64::from(place.offset_at(read_at)) * NANOS);
            let civil = Timestamp(local).civil();
            Some(Day { year: civil.year as i32, month: civil.month as i32, day: civil.day as i32, is_guessed: true })
        };
        let is_guessed = read.is_some();
        if let (Some(week), None) = (self.week, self.month) {
            let year = self.week_year.or(self.year).or(read.map(|read| read.year))?;
            return from_week(year, week, self.weekday.unwrap_or(1)).map(|day| Day { is_guessed, ..day });
        }
        if let (Some(day_of_year), None) = (self.day_of_year, self.month) {
            let year = self.year.or(self.week_year).or(read.map(|read| read.year))?;
            let in_year = in_range(day_of_year, 1, if is_leap(year) { 366 } else { 365 })?;
            let day = civil_from_days(days_from_civil(year_in_range(year)?, 1, 1) + i64::from(in_year) - 1);
            return Some(Day { is_guessed, ..day });
        }
        let day = match (read, self.month, self.day) {
            (Some(read), None, None) => read,
            (Some(read), None, Some(day)) => Day { day, ..read },
            (Some(read), Some(month), day) => {
                let month = in_range(month, 1, 12)?;
                // Lines of December that are read in January are of last year, and the other way round.
                let year = match (month, read.month) {
                    (12, 1) => read.year - 1,
                    (1, 12) => read.year + 1,
                    _ => read.year,
                };
                // The 29th of February is of the last year that had one.
                let has_day = |year: &i32| (month, day) != (2, Some(29)) || is_leap(*year);
                let year = (0..8).map(|back| year - back).find(has_day).unwrap_or(year);
                Day { year, month, day: day.unwrap_or(1), is_guessed }
            }
            (None, month, day) => {
                let year = self.year.or(self.week_year)?;
                Day { year, month: month.unwrap_or(1), day: day.unwrap_or(1), is_guessed }
            }
        };
        let month = in_range(day.month, 1, 12)?;
        let year = year_in_range(day.year)?;
        in_range(day.day, 1, days_in_month(year, month))?;
        Some(day)
    }
}

/// Seconds and nanoseconds since the epoch as a time, if it has one: years 1677 to 2262.
pub(super) fn nanoseconds(seconds: i64, nanosecond: i32) -> Option<Timestamp> {
    seconds.checked_mul(NANOS)?.checked_add(i64::from(nanosecond)).map(Timestamp)
}

/// What the arithmetic below is right for; times end long before.
fn year_in_range(year: i32) -> Option<i32> {
    in_range(year, 1, 9_999)
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        2 => 28 + i32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the epoch (Howard Hinnant's algorithm).
fn days_from_civil(year: i32, month: i32, day: i32) -> i64 {
    let year = i64::from(if month <= 2 { year - 1 } else { year });
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The day that is `days` after the epoch.
fn civil_from_days(days: i64) -> Day {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as i32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as i32;
    let year = (year_of_era + era * 400) as i32 + i32::from(month <= 2);
    Day { year, month, day, is_guessed: false }
}

/// The Monday of the first ISO week of a year: the one with January 4th in it.
fn first_week(year: i32) -> i64 {
    let fourth = days_from_civil(year, 1, 4);
    // Day 0 of the epoch was a Thursday.
    fourth - (fourth + 3).rem_euclid(7)
}

fn from_week(year: i32, week: i32, weekday: i32) -> Option<Day> {
    let year = year_in_range(year)?;
    let weeks = (first_week(year + 1) - first_week(year)) / 7;
    let week = i64::from(in_range(week, 1, weeks as i32)?);
    let weekday = i64::from(in_range(weekday, 1, 7)?);
    Some(civil_from_days(first_week(year) + (week - 1) * 7 + weekday - 1))
}

/// What ISO 8601 means in Logstash, which is Joda's `dateTimeParser`: a date (of a month, a week or a year), maybe a time behind `T`,
/// the last part of which may have a fraction behind `.` or `,`, maybe an offset. A blank for the `T`, and before the offset, goes
/// beyond it. Not here: a time without its date, of which Joda makes one of 1970.
pub(super) fn iso8601(text: &str) -> Option<Parts> {
    let mut cursor = Cursor::new(text);
    let mut parts = Parts::default();
    let year = cursor.signed(9)?;
    parts.year = Some(year);
    if cursor.take(b'-') {
        if cursor.take(b'W') {
            (parts.year, parts.week_year) = (None, Some(year));
            parts.week = Some(cursor.exactly(2)?);
            if cursor.take(b'-') {
                parts.weekday = Some(cursor.exactly(1)?);
            }
        } else if cursor.digits_ahead(4) == 3 {
            parts.day_of_year = cursor.exactly(3);
        } else {
            parts.month = Some(cursor.number(2)?);
            if cursor.take(b'-') {
                parts.day = Some(cursor.number(2)?);
            }
        }
    }
    let has_t = cursor.take(b'T') || cursor.take(b't');
    if has_t || cursor.take(b' ') {
        if cursor.digits_ahead(1) > 0 {
            iso8601_clock(&mut cursor, &mut parts)?;
        } else if !has_t {
            return None;
        }
        if cursor.peek() == Some(b' ') && matches!(cursor.rest().as_bytes().get(1), Some(b'+' | b'-')) {
            cursor.skip(1);
        }
        if !cursor.is_at_end() {
            parts.place = Some(Place::Offset(cursor.offset()?));
        }
    }
    cursor.is_at_end().then_some(parts)
}

/// `10`, `10:11`, `10:11:12`, with a fraction of what stands last.
fn iso8601_clock(cursor: &mut Cursor<'_>, parts: &mut Parts) -> Option<()> {
    parts.hour = Some(cursor.number(2)?);
    let mut unit_seconds = 3_600;
    if cursor.take(b':') {
        parts.minute = cursor.number(2)?;
        unit_seconds = 60;
        if cursor.take(b':') {
            parts.second = cursor.number(2)?;
            unit_seconds = 1;
        }
    }
    if cursor.take(b'.') || cursor.take(b',') {
        let nanoseconds = i64::from(cursor.fraction(usize::MAX)?) * unit_seconds;
        let seconds = (nanoseconds / NANOS) as i32;
        parts.nanosecond = (nanoseconds % NANOS) as i32;
        parts.minute += seconds / 60;
        parts.second += seconds % 60;
    }
    Some(())
}

/// Seconds since the epoch, maybe with a fraction. Those beyond 2038 are refused, as in Logstash: they are milliseconds.
pub(super) fn unix(text: &str) -> Option<Timestamp> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (seconds, nanosecond) = match digits.split_once('.') {
        None => (digits, 0),
        Some((seconds, fraction)) => {
            let mut cursor = Cursor::new(fraction);
            let nanosecond = cursor.fraction(usize::MAX)?;
            if !cursor.is_at_end() {
                return None;
            }
            (seconds, nanosecond)
        }
    };
    let seconds =
        Some(seconds).filter(|seconds| seconds.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<i64>().ok()?;
    if is_negative { nanoseconds(-seconds, -nanosecond) } else { nanoseconds(unix_seconds(seconds)?, nanosecond) }
}

/// `seconds`, if they are no milliseconds by mistake.
pub(super) fn unix_seconds(seconds: i64) -> Option<i64> {
    (seconds <= i64::from(i32::MAX)).then_some(seconds)
}

/// As [`unix`], from a number.
pub(super) fn unix_float(seconds: f64) -> Option<Timestamp> {
    if !seconds.is_finite() || seconds.abs() > 1e11 {
        return None;
    }
    let whole = seconds.floor();
    // A double has no more than microseconds left beside so many seconds, and the nearest ones are meant.
    let microseconds = ((seconds - whole) * 1e6).round();
    let time = nanoseconds(unix_seconds(whole as i64)?, 0)?;
    time.0.checked_add(microseconds as i64 * 1_000).map(Timestamp)
}

/// A label of `tai64n`, with or without its `@`.
pub(super) fn tai64n(text: &str) -> Option<Timestamp> {
    let digits = text.strip_prefix('@').unwrap_or(text);
    if digits.len() != 24 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let seconds = i64::from_str_radix(digits.get(..16)?, 16).ok()? & ((1 << 62) - 1);
    let nanosecond = i32::try_from(i64::from_str_radix(digits.get(16..)?, 16).ok()?).ok()?;
    // TAI was ahead of UTC by 10 seconds when the epoch is counted from; what leap seconds made of it since is left out, as
    // in daemontools and Logstash.
    nanoseconds(seconds.checked_sub(10)?, in_range(nanosecond, 0, 999_999_999)?)
}

/// What a name at the cursor says; the cursor goes behind it.
pub(super) fn month(locale: Locale, cursor: &mut Cursor<'_>) -> Option<i32> {
    let (month, length) = locale.month(cursor.rest())?;
    cursor.skip(length);
    Some(month)
}

/// As [`month`]: 1 = Monday.
pub(super) fn weekday(locale: Locale, cursor: &mut Cursor<'_>) -> Option<i32> {
    let (weekday, length) = locale.weekday(cursor.rest())?;
    cursor.skip(length);
    Some(weekday)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Guarantee: days are jiff's, there and back, and so are ISO weeks.
        #[test]
        fn the_calendar_is_jiffs(days in -700_000i64..2_900_000) {
            let civil = civil_from_days(days);
            let epoch = jiff::civil::date(1970, 1, 1);
            let date = epoch.checked_add(jiff::Span::new().days(days)).expect("in range");
            let seen = (i32::from(date.year()), i32::from(date.month()), i32::from(date.day()));
            prop_assert_eq!((civil.year, civil.month, civil.day), seen);
            prop_assert_eq!(days_from_civil(civil.year, civil.month, civil.day), days);
            let week = date.iso_week_date();
            let (year, number) = (i32::from(week.year()), i32::from(week.week()));
            prop_assert_eq!(from_week(year, number, i32::from(week.weekday().to_monday_one_offset())), Some(civil));
        }
    }
}
