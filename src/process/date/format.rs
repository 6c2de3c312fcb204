//! Formats of dates, Joda's letters and strftime's, made ready once and matched from left to right (P).
//!
//! A match never goes back, takes the whole text, and allocates nothing. As Joda does it: `d` and `dd` both take one or two
//! digits, names stand in their long or short form and in any case, an offset may have a colon or not. Not here: a day of
//! the week that contradicts the date, which Joda moves the date to; the date is what counts here.

use super::names::{Locale, prefix};
use super::parse::{Cursor, Half, Parts, month, weekday};
use super::zone::Place;
use crate::event::joda::quoted;
use crate::event::{SyntaxError, Timestamp};

/// A format, ready to match.
#[derive(Clone, Debug)]
pub(super) struct Format {
    items: Vec<Item>,
    locale: Locale,
}

/// A number of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Month,
    Day,
    DayOfYear,
    WeekYear,
    Week,
    /// 1 = Monday.
    Weekday,
    /// 0 to 23.
    Hour,
    /// 1 to 24.
    HourFrom1,
    /// 0 to 11.
    HourOfHalf,
    /// 1 to 12.
    HourOfHalfFrom1,
    Minute,
    Second,
    /// Read, and of no use: the year says it, or the date.
    Nothing,
}

#[derive(Clone, Debug, PartialEq)]
enum Item {
    /// This text, whatever its case.
    Text(Box<str>),
    /// Any blanks, or none.
    Blanks,
    Number {
        part: Part,
        digits_max: usize,
    },
    /// A year with a sign, if it has one.
    Year {
        digits_max: usize,
    },
    /// The last two digits of a year within 50 of the one 30 years ago, as Joda guesses; if not `is_two`, other numbers of
    /// digits are the year itself.
    YearOfCentury {
        is_two: bool,
    },
    /// The last two digits of a year from 1969 on, as POSIX has it.
    PosixYear,
    Fraction {
        digits_max: usize,
    },
    MonthName,
    WeekdayName,
    Half,
    Era,
    Offset,
    Abbreviation,
    ZoneName,
    /// An abbreviation or a name.
    AnyZone,
    EpochSeconds,
}

impl Format {
    /// Reads a format: strftime's if there is a `%` in it, else Joda's.
    ///
    /// # Errors
    /// A letter that means nothing or can't be read back, an open quote, or nothing of a date.
    pub(super) fn parse(text: &str, locale: Locale) -> Result<Self, SyntaxError> {
        let items = if text.contains('%') { strftime(text)? } else { joda(text)? };
        if items.iter().all(|item| matches!(item, Item::Text(_) | Item::Blanks)) {
            return Err(SyntaxError::new(0, "expected the format of a date as `yyyy-MM-dd HH:mm:ss` or `%Y-%m-%d`"));
        }
        Ok(Self { items, locale })
    }

    /// The time that `text` says; `None` if it is not of this format.
    pub(super) fn time(&self, text: &str, place: &Place, read_at: Timestamp) -> Option<Timestamp> {
        let mut cursor = Cursor::new(text);
        let mut parts = Parts::default();
        for item in &self.items {
            item.read(&mut cursor, &mut parts, self.locale, read_at)?;
        }
        if cursor.is_at_end() { parts.time(place, read_at) } else { None }
    }
}

impl Item {
    fn read(&self, cursor: &mut Cursor<'_>, parts: &mut Parts, locale: Locale, read_at: Timestamp) -> Option<()> {
        let named = |cursor: &mut Cursor<'_>, found: Option<(Place, usize)>| {
            let (place, length) = found?;
            cursor.skip(length);
            Some(Some(place))
        };
        match self {
            Self::Text(text) => cursor.skip(prefix(text, cursor.rest())?),
            Self::Blanks => cursor.blanks(),
            Self::Number { part, digits_max } => part.set(cursor.number(*digits_max)?, parts),
            Self::Year { digits_max } => parts.year = Some(cursor.signed(*digits_max)?),
            Self::YearOfCentury { is_two } => parts.year = Some(year_of_century(cursor, *is_two, read_at)?),
            Self::PosixYear => {
                let year = cursor.number(2)?;
                parts.year = Some(if year < 69 { 2_000 + year } else { 1_900 + year });
            }
            Self::Fraction { digits_max } => parts.nanosecond = cursor.fraction(*digits_max)?,
            Self::MonthName => parts.month = Some(month(locale, cursor)?),
            Self::WeekdayName => parts.weekday = Some(weekday(locale, cursor)?),
            Self::Half => {
                let is_half = |name| prefix(name, cursor.rest()).is_some();
                parts.half = Some(if is_half("am") { Half::Am } else { is_half("pm").then_some(Half::Pm)? });
                cursor.skip(2);
            }
            Self::Era => {
                // The longest first.
                let eras = [("BCE", true), ("BC", true), ("AD", false), ("CE", false)];
                let found = eras.iter().find(|(name, _)| prefix(name, cursor.rest()).is_some());
                let (name, is_before_christ) = found?;
                parts.is_before_christ = *is_before_christ;
                cursor.skip(name.len());
            }
            Self::Offset => parts.place = Some(Place::Offset(cursor.offset()?)),
            Self::Abbreviation => parts.place = named(cursor, Place::of_abbreviation(cursor.rest()))?,
            Self::ZoneName => parts.place = named(cursor, Place::of_name(cursor.rest()))?,
            Self::AnyZone => {
                let (short, name) = (Place::of_abbreviation(cursor.rest()), Place::of_name(cursor.rest()));
                let is_longer = |(_, length): &(Place, usize)| short.as_ref().is_none_or(|(_, short)| length > short);
                parts.place = named(cursor, name.filter(is_longer).or(short))?;
            }
            Self::EpochSeconds => {
                let is_negative = cursor.take(b'-');
                let (high, low) = (cursor.number(9)?, cursor.digits_ahead(9));
                let seconds = match cursor.exactly(low) {
                    None => i64::from(high),
                    Some(number) => i64::from(high) * 10i64.pow(low as u32) + i64::from(number),
                };
                parts.epoch_seconds = Some(if is_negative { -seconds } else { seconds });
            }
        }
        Some(())
    }

    /// Takes a number as its first character.
    fn is_number(&self) -> bool {
        matches!(
            self,
            Self::Number { .. }
                | Self::Year { .. }
                | Self::YearOfCentury { .. }
                | Self::PosixYear
                | Self::Fraction { .. }
        )
    }
}

impl Part {
    fn set(self, number: i32, parts: &mut Parts) {
        match self {
            Self::Month => parts.month = Some(number),
            Self::Day => parts.day = Some(number),
            Self::DayOfYear => parts.day_of_year = Some(number),
            Self::WeekYear => parts.week_year = Some(number),
            Self::Week => parts.week = Some(number),
            Self::Weekday => parts.weekday = Some(number),
            Self::Hour => parts.hour = Some(number),
            Self::HourFrom1 => parts.hour = Some(from_1(number, 24)),
            Self::HourOfHalf => parts.hour_of_half = Some(number),
            Self::HourOfHalfFrom1 => parts.hour_of_half = Some(from_1(number, 12)),
            Self::Minute => parts.minute = number,
            Self::Second => parts.second = number,
            Self::Nothing => {}
        }
    }
}

/// An hour that is counted from 1 to `last`, the last being the first of the day; 0 is no hour, and stays out of bounds.
fn from_1(hour: i32, last: i32) -> i32 {
    match hour {
        0 => -1,
        hour if hour == last => 0,
        hour => hour,
    }
}

fn year_of_century(cursor: &mut Cursor<'_>, is_two: bool, read_at: Timestamp) -> Option<i32> {
    let digits = cursor.digits_ahead(10);
    if !is_two && digits != 2 {
        return cursor.signed(9);
    }
    let year = cursor.exactly(2)?;
    let low = read_at.civil().year as i32 - 80;
    Some(low + (year - low).rem_euclid(100))
}

/// The items of a Joda format.
fn joda(text: &str) -> Result<Vec<Item>, SyntaxError> {
    let mut fields: Vec<Result<(char, usize, usize), String>> = Vec::new();
    let mut characters = text.char_indices().peekable();
    let literal = |fields: &mut Vec<Result<_, String>>, text: &str| match fields.last_mut() {
        Some(Err(last)) => last.push_str(text),
        _ => fields.push(Err(text.to_owned())),
    };
    while let Some((at, character)) = characters.next() {
        if character == '\'' {
            literal(&mut fields, &quoted(&mut characters, at)?);
        } else if character.is_ascii_alphabetic() {
            let mut count = 1;
            while characters.next_if(|(_, next)| *next == character).is_some() {
                count += 1;
            }
            fields.push(Ok((character, count, at)));
        } else {
            literal(&mut fields, character.encode_utf8(&mut [0; 4]));
        }
    }
    // The first mistake is named.
    let has_month = fields.iter().flatten().any(|(letter, _, _)| *letter == 'M');
    for (letter, count, at) in fields.iter().flatten() {
        joda_item(*letter, *count, false, *at)?;
        if *letter == 'D' && has_month {
            return Err(SyntaxError::new(*at, "`D` is the day of the year; the day of the month is `d`"));
        }
    }
    let mut items = Vec::with_capacity(fields.len());
    // From the right, as what a year takes depends on what follows it.
    for field in fields.iter().rev() {
        items.push(match field {
            Err(text) => Item::Text(text.as_str().into()),
            Ok((letter, count, at)) => joda_item(*letter, *count, items.last().is_some_and(Item::is_number), *at)?,
        });
    }
    items.reverse();
    Ok(items)
}

fn joda_item(letter: char, count: usize, is_before_number: bool, at: usize) -> Result<Item, SyntaxError> {
    let number = |part, digits_max: usize| Item::Number { part, digits_max };
    // A year may be long, but not where its digits could be the next number's.
    let year_digits_max = if is_before_number { count.min(9) } else { 9 };
    Ok(match letter {
        'G' => Item::Era,
        'C' => number(Part::Nothing, 2),
        'y' | 'Y' if count == 2 => Item::YearOfCentury { is_two: is_before_number },
        'y' | 'Y' => Item::Year { digits_max: year_digits_max },
        'x' => number(Part::WeekYear, year_digits_max),
        'M' if count >= 3 => Item::MonthName,
        'M' => number(Part::Month, 2),
        'd' => number(Part::Day, 2),
        'D' => number(Part::DayOfYear, 3),
        'w' => number(Part::Week, 2),
        'e' => number(Part::Weekday, 1),
        'E' => Item::WeekdayName,
        'a' => Item::Half,
        'H' => number(Part::Hour, 2),
        'k' => number(Part::HourFrom1, 2),
        'K' => number(Part::HourOfHalf, 2),
        'h' => number(Part::HourOfHalfFrom1, 2),
        'm' => number(Part::Minute, 2),
        's' => number(Part::Second, 2),
        'S' => Item::Fraction { digits_max: count },
        'z' => Item::Abbreviation,
        'Z' if count <= 2 => Item::Offset,
        'Z' => Item::ZoneName,
        other => {
            let message = format!("`{other}` is no letter of a date format; quote text as `'{other}'`");
            return Err(SyntaxError::new(at, message));
        }
    })
}

/// The items of a strftime format.
fn strftime(text: &str) -> Result<Vec<Item>, SyntaxError> {
    let mut items = Vec::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character == '%' {
            // Flags and widths matter for writing only.
            let flags =
                |(_, next): &(usize, char)| matches!(next, '-' | '_' | '^' | '#' | ':' | '.') || next.is_ascii_digit();
            while characters.next_if(flags).is_some() {}
            let Some((letter_at, letter)) = characters.next() else {
                return Err(SyntaxError::new(at, "expected a letter after `%`; a percent sign is `%%`"));
            };
            directive(letter, letter_at, &mut items)?;
        } else if character.is_ascii_whitespace() {
            items.push(Item::Blanks);
        } else {
            push_text(&mut items, character.encode_utf8(&mut [0; 4]));
        }
    }
    Ok(items)
}

fn push_text(items: &mut Vec<Item>, text: &str) {
    match items.last_mut() {
        Some(Item::Text(last)) => *last = format!("{last}{text}").into(),
        _ => items.push(Item::Text(text.into())),
    }
}

fn directive(letter: char, at: usize, items: &mut Vec<Item>) -> Result<(), SyntaxError> {
    // strptime takes blanks where a number would begin.
    let number = |items: &mut Vec<Item>, item: Item| items.extend([Item::Blanks, item]);
    let part = |items: &mut Vec<Item>, part: Part, digits_max: usize| number(items, Item::Number { part, digits_max });
    let several = |items: &mut Vec<Item>, format: &str| -> Result<(), SyntaxError> {
        items.extend(strftime(format)?);
        Ok(())
    };
    match letter {
        'Y' => number(items, Item::Year { digits_max: 4 }),
        'y' => number(items, Item::PosixYear),
        'C' | 'U' | 'W' => part(items, Part::Nothing, 2),
        'w' => part(items, Part::Nothing, 1),
        'g' => part(items, Part::Nothing, 2),
        'G' => part(items, Part::WeekYear, 4),
        'V' => part(items, Part::Week, 2),
        'u' => part(items, Part::Weekday, 1),
        'm' => part(items, Part::Month, 2),
        'd' | 'e' => part(items, Part::Day, 2),
        'j' => part(items, Part::DayOfYear, 3),
        'H' | 'k' => part(items, Part::Hour, 2),
        'I' | 'l' => part(items, Part::HourOfHalfFrom1, 2),
        'M' => part(items, Part::Minute, 2),
        'S' => part(items, Part::Second, 2),
        'L' | 'f' | 'N' => items.push(Item::Fraction { digits_max: usize::MAX }),
        's' => items.push(Item::EpochSeconds),
        'b' | 'B' | 'h' => items.push(Item::MonthName),
        'a' | 'A' => items.push(Item::WeekdayName),
        'p' | 'P' => items.push(Item::Half),
        'z' => items.push(Item::Offset),
        'Z' => items.push(Item::AnyZone),
        'n' | 't' => items.push(Item::Blanks),
        '%' => push_text(items, "%"),
        'T' | 'X' => several(items, "%H:%M:%S")?,
        'R' => several(items, "%H:%M")?,
        'r' => several(items, "%I:%M:%S %p")?,
        'D' | 'x' => several(items, "%m/%d/%y")?,
        'F' => several(items, "%Y-%m-%d")?,
        'c' => several(items, "%a %b %e %H:%M:%S %Y")?,
        other => {
            let message = format!("`%{other}` is nothing that strftime knows; a percent sign is `%%`");
            return Err(SyntaxError::new(at, message));
        }
    }
    Ok(())
}
