//! Time zones (P): by their names in the tz database that is built in, or as an offset.
//!
//! Not here: the zone of the host, which the database does not know, and rules of zones that are not in it.

use std::sync::LazyLock;

use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use super::parse::Cursor;
use crate::event::{EventView, FieldPath, SyntaxError, Template, Timestamp, ValueRef};

/// The database is built in: what zones mean does not depend on the host.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Its names, sorted, so that the longest that a text begins with is found without an allocation.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names: Vec<String> = DATABASE.available().map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable();
    names
});

/// The abbreviations that Joda takes for `z`; each is a zone, summer time included.
const ABBREVIATIONS: [(&str, &str); 11] = [
    ("UTC", "UTC"),
    ("GMT", "UTC"),
    ("UT", "UTC"),
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
];

/// The time zone of texts that name none.
#[derive(Clone, Debug)]
pub enum Zone {
    Fixed(Place),
    /// Each event says it, in this field.
    Field(FieldPath),
    /// Each event says it, in more than one field or with a text around it.
    Template(Template),
}

/// Where a time is local.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Seconds east of UTC.
    Offset(i32),
    Zone(TimeZone),
}

impl Zone {
    /// Reads `Europe/Berlin`, `+01:00` or `%{[field]}`.
    ///
    /// # Errors
    /// A name that is not in the tz database, or a bad template.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text.contains("%{") {
            let template = Template::parse(text)?;
            return Ok(template.field().cloned().map_or(Self::Template(template), Self::Field));
        }
        Place::parse(text).map(Self::Fixed).ok_or_else(|| {
            SyntaxError::new(0, format!("`{text}` is no time zone: write a name of the tz database as `Europe/Berlin`, `UTC`, or an offset as `+01:00`"))
        })
    }

    /// The place for an event; `None` if it names none.
    pub(super) fn of(&self, view: &EventView<'_>) -> Option<Place> {
        match self {
            Self::Fixed(place) => Some(place.clone()),
            Self::Field(path) => match view.get(path)? {
                ValueRef::Str(text) => Place::parse(&text),
                _ => None,
            },
            Self::Template(template) => {
                let mut text = Vec::new();
                template.render(view, &mut text).ok()?;
                Place::parse(std::str::from_utf8(&text).ok()?)
            }
        }
    }
}

impl Place {
    pub(super) const UTC: Self = Self::Offset(0);

    /// The place of a name or an offset.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.starts_with(['+', '-']) {
            let mut cursor = Cursor::new(text);
            let offset = cursor.offset()?;
            return cursor.is_at_end().then_some(Self::Offset(offset));
        }
        if text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("z") {
            return Some(Self::UTC);
        }
        DATABASE.get(text).ok().map(Self::Zone)
    }

    /// The place whose name `text` begins with, and the name's length: the longest of the database.
    pub(super) fn of_name(text: &str) -> Option<(Self, usize)> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(byte);
        let mut length = text.bytes().take_while(|byte| is_part(byte)).count();
        while length > 0 {
            let name = text.get(..length)?;
            if NAMES.binary_search_by(|known| known.as_str().cmp(name)).is_ok() {
                return Some((Self::parse(name)?, length));
            }
            length -= 1;
        }
        None
    }

    /// The place whose abbreviation `text` begins with, and its length.
    pub(super) fn of_abbreviation(text: &str) -> Option<(Self, usize)> {
        let (short, name) = ABBREVIATIONS.iter().find(|(short, _)| text.starts_with(short))?;
        Some((Self::parse(name)?, short.len()))
    }

    /// Seconds east of UTC at `time`.
    pub(super) fn offset_at(&self, time: Timestamp) -> i32 {
        match self {
            Self::Offset(offset) => *offset,
            Self::Zone(zone) => match jiff::Timestamp::from_nanosecond(i128::from(time.0)) {
                Ok(time) => zone.to_offset(time).seconds(),
                Err(_) => 0,
            },
        }
    }

    /// Seconds east of UTC when a clock there shows `local`. Of two answers (clocks were set back) the earlier time is meant.
    /// There is none where clocks are set forward over it: then `skipped` says whether the time as far behind is meant.
    pub(super) fn offset_for(&self, local: jiff::civil::DateTime, skipped: Skipped) -> Option<i32> {
        let zone = match self {
            Self::Offset(offset) => return Some(*offset),
            Self::Zone(zone) => zone,
        };
        let offset: Offset = match (zone.to_ambiguous_timestamp(local).offset(), skipped) {
            (AmbiguousOffset::Unambiguous { offset }, _) => offset,
            (AmbiguousOffset::Fold { before, .. }, _) | (AmbiguousOffset::Gap { before, .. }, Skipped::Later) => before,
            (AmbiguousOffset::Gap { .. }, Skipped::Refused) => return None,
        };
        Some(offset.seconds())
    }
}

/// What a local time means that clocks skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    Refused,
    /// The time as far behind the change as it seems to be.
    Later,
}
