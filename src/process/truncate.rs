//! `truncate`: cuts texts that are too long, at the end of a character. A message that is cut is marked in `log.flags`.

use std::borrow::Cow;

use super::texts::change_field;
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, ValueRef, floor_char_boundary};

/// `truncate: {fields: […], max_bytes | max_characters}`.
#[derive(Clone, Debug)]
pub struct Truncate {
    pub fields: Vec<FieldPath>,
    pub limit: Limit,
}

/// How long a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// In UTF-8.
    Bytes(usize),
    Characters(usize),
}

impl Limit {
    /// The length in bytes to which a text is to be cut; `None` if it is not too long.
    fn cut(self, text: &str) -> Option<usize> {
        let length = match self {
            Self::Bytes(most) => floor_char_boundary(text, most),
            Self::Characters(most) => text.char_indices().nth(most).map_or(text.len(), |(at, _)| at),
        };
        (length < text.len()).then_some(length)
    }
}

impl Truncate {
    fn field(&self, field: &FieldPath, work: &mut Work<'_>) -> Result<(), Failed> {
        if field.segments().len() == 1
            && field.root() == "message"
            && let Some(ValueRef::Str(text)) = work.get(field)
        {
            let Some(length) = self.limit.cut(&text) else { return Ok(()) };
            // Of a line that is not UTF-8 a text was made, with other lengths.
            if let Cow::Owned(text) = text {
                work.set(field, text)?;
            }
            work.event.cut_message(length);
            return Ok(());
        }
        change_field(field, work, |text| Ok(self.limit.cut(text).and_then(|length| text.get(..length)).map(Into::into)))
    }
}

impl Process for Truncate {
    fn name(&self) -> &'static str {
        "truncate"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for field in &self.fields {
            if let Err(failed) = self.field(field, work) {
                all = Err(failed);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BUF, check, check_fields, common, event, path, run, step};
    use super::*;
    use crate::event::EventView;
    use serde_json::json;

    fn truncate(limit: Limit, fields: &[&str]) -> Truncate {
        Truncate { fields: fields.iter().map(|field| path(field)).collect(), limit }
    }

    #[test]
    fn cuts_at_the_end_of_a_character() {
        for (limit, expect) in [
            (Limit::Bytes(6), "aöüz"),
            (Limit::Bytes(5), "aöü"),
            (Limit::Bytes(4), "aö"),
            (Limit::Bytes(2), "a"),
            (Limit::Bytes(0), ""),
            (Limit::Characters(4), "aöüz"),
            (Limit::Characters(3), "aöü"),
            (Limit::Characters(0), ""),
        ] {
            check_fields(
                truncate(limit, &["a", "l"]),
                json!({"a": "aöüz", "l": ["aöüz"]}),
                json!({"a": expect, "l": [expect]}),
            );
        }
    }

    #[test]
    fn a_message_that_is_cut_is_marked() {
        check(
            truncate(Limit::Bytes(2), &["message"]),
            json!({
                "message": "he", "host": {"name": "web-1"}, "tags": ["a"], "fields": {"service": "shop", "team": {"name": "ops"}},
                "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6, "flags": ["truncated"]},
            }),
        );
    }

    /// Scenario: a line of three bytes, the second of them no UTF-8.
    /// Guarantee: what is cut is its text, in which the odd byte is three.
    #[test]
    fn a_line_that_is_not_utf8_is_cut_as_text() {
        let common = common();
        let mut event =
            crate::event::Event::line(0..3, 0, 4, 1, crate::event::Timestamp(0), crate::event::Flags::INVALID_UTF8);
        let mut tally = super::super::Tally::default();
        let mut work = Work {
            event: &mut event,
            buf: b"a\xffb",
            common: &common,
            read_at: crate::event::Timestamp(0),
            tally: &mut tally,
        };
        assert_eq!(truncate(Limit::Bytes(4), &["message"]).run(&mut work), Ok(Outcome::Keep));
        assert_eq!(work.get(&path("message")), Some(ValueRef::Str("a\u{fffd}".into())));
    }

    #[test]
    fn another_type_is_tagged_and_stays() {
        let common = common();
        let mut event = event();
        event.set(&path("n"), crate::event::Value::Int(12_345), BUF, &common).expect("sets");
        let (_, tally) = run(vec![step(truncate(Limit::Bytes(2), &["n", "none"]))], &mut event, &common);
        assert_eq!(tally.failed, [("truncate", 1)]);
        let view = EventView { event: &event, buf: BUF, common: &common };
        assert_eq!(view.get(&path("n")), Some(ValueRef::Int(12_345)));
    }
}
