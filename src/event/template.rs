//! Templates in the form of Beats and Logstash: `logs.%{[fields.service]:raw}-%{+yyyy.MM.dd}`.
//!
//! ```text
//! %{[a.b]}  %{[a][b]}     the field, or no rendering
//! %{[a.b]:default}        the field, or this text
//! %{+yyyy.MM.dd}          @timestamp in UTC, by Joda's letters; %{+%s}: seconds since the epoch
//! anything else           itself; so a `%` without a brace is a percent sign
//! ```
//!
//! A null is as good as a missing field. A list is its elements with commas between, an object is JSON.

use super::joda::Pattern;
use crate::event::{EventView, FieldPath, SyntaxError, Value, ValueRef, json};

/// A checked template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// No two literals in a row, none empty.
    parts: Vec<Part>,
    depends_only_on_common: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field { path: FieldPath, default: Option<String> },
    Date(Pattern),
}

/// A template can't be rendered: the event does not have this field, and the template no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` is missing; give it a default as `%{{[{field}]:default}}`")]
pub struct Missing<'a> {
    pub field: &'a FieldPath,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// An unclosed `%{`, something else than a field or a date in it, or a letter that no date has.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut parts = Vec::new();
        let mut at = 0;
        let rest = |at: usize| text.get(at..).unwrap_or_default();
        while let Some(open) = rest(at).find("%{") {
            push_literal(&mut parts, rest(at).get(..open).unwrap_or_default());
            let start = at + open + 2;
            let Some(length) = rest(start).find('}') else {
                return Err(SyntaxError::new(at + open, "expected `}` after `%{`"));
            };
            let inner = rest(start).get(..length).unwrap_or_default();
            parts.push(match inner.strip_prefix('+') {
                Some(pattern) => Part::Date(Pattern::parse(pattern, start + 1)?),
                None => field(inner, start)?,
            });
            at = start + length + 1;
        }
        push_literal(&mut parts, rest(at));
        let depends_only_on_common = parts.iter().all(|part| match part {
            Part::Literal(_) => true,
            Part::Date(_) => false,
            Part::Field { path, .. } => is_same_for_a_source(path),
        });
        Ok(Self { parts, depends_only_on_common })
    }

    /// Appends the text for this event; nothing if a field is missing.
    ///
    /// # Errors
    /// A field without a default is missing.
    pub fn render(&self, view: &EventView<'_>, out: &mut Vec<u8>) -> Result<(), Missing<'_>> {
        let start = out.len();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Date(pattern) => pattern.render(view.event.timestamp, out),
                Part::Field { path, default } => match (view.get(path), default) {
                    (None | Some(ValueRef::Null), None) => {
                        out.truncate(start);
                        return Err(Missing { field: path });
                    }
                    (None | Some(ValueRef::Null), Some(default)) => out.extend_from_slice(default.as_bytes()),
                    (Some(value), _) => write_text(&value, out),
                },
            }
        }
        Ok(())
    }

    /// The text, if it is the same for every event.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The field, if the template is just one, without a default.
    pub fn field(&self) -> Option<&FieldPath> {
        match self.parts.as_slice() {
            [Part::Field { path, default: None }] => Some(path),
            _ => None,
        }
    }

    /// The same text for all events of a source that no processor changed ([`crate::event::Event::is_plain`]): nothing in
    /// it differs from line to line. For other events see [`Template::is_shared`].
    pub fn depends_only_on_common(&self) -> bool {
        self.depends_only_on_common
    }

    /// This event renders to the same text as the source's plain events. Only where [`Template::depends_only_on_common`].
    pub fn is_shared(&self, event: &crate::event::Event) -> bool {
        event.is_plain() || self.fields().all(|path| event.is_shared_at(path))
    }

    /// The fields it names.
    pub fn fields(&self) -> impl Iterator<Item = &FieldPath> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field { path, .. } => Some(path),
            _ => None,
        })
    }
}

/// Nothing that a line brings stands at `path`.
fn is_same_for_a_source(path: &FieldPath) -> bool {
    match path.root() {
        "@timestamp" | "@metadata" | "message" | "event" | "tags" | "stream" => false,
        "log" => path.segments().get(1).is_some_and(|below| **below == *"file"),
        _ => true,
    }
}

/// `[a.b]`, `[a][b]` or `[a.b]:default`, at byte `at` of the template.
fn field(text: &str, at: usize) -> Result<Part, SyntaxError> {
    if !text.starts_with('[') {
        return Err(SyntaxError::new(at, "expected `[field]` or `+date`: a field is written `%{[a.b]}`"));
    }
    let end = text.find("]:").map_or(text.len(), |bracket| bracket + 1);
    let (path, rest) = text.split_at(end);
    let path = FieldPath::parse(path).map_err(|error| SyntaxError { at: error.at + at, ..error })?;
    Ok(Part::Field { path, default: rest.strip_prefix(':').map(str::to_owned) })
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
}

pub(crate) fn write_text(value: &ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Str(text) => out.extend_from_slice(text.as_bytes()),
        ValueRef::Timestamp(time) => time.render(out),
        ValueRef::Null => {}
        ValueRef::Bool(value) => json::write_value(out, &Value::Bool(*value)),
        ValueRef::Int(number) => json::write_i64(out, *number),
        ValueRef::BigInt(digits) => out.extend_from_slice(digits.as_bytes()),
        ValueRef::Float(number) => json::write_value(out, &Value::Float(*number)),
        ValueRef::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(&ValueRef::from(value), out);
            }
        }
        ValueRef::Object(object) => json::write_object(out, object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Common, Event, Flags, Object, Shared, SharedOptions, Timestamp};
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: serde_json::Value) -> Object {
        let serde_json::Value::Object(map) = value else { panic!("{value} is no object") };
        Object::from_json(map)
    }

    fn common() -> Common {
        Shared::new(SharedOptions {
            host_name: "web-1".to_owned(),
            fields: object(json!({"service": "shop", "n": 7, "none": null})),
            tags: vec!["a".to_owned(), "b".to_owned()],
            ..SharedOptions::default()
        })
        .file("/var/log/x.log", "f00d")
    }

    fn render(template: &Template, event: &Event, common: &Common) -> Result<String, String> {
        let view = EventView { event, buf: b"hello", common };
        let mut out = b"before ".to_vec();
        let result = template.render(&view, &mut out).map_err(|missing| missing.field.to_string());
        let text = String::from_utf8(out).expect("UTF-8");
        let text = text.strip_prefix("before ").expect("rendering only appends").to_owned();
        if result.is_err() {
            assert_eq!(text, "", "nothing is left of a failed rendering");
        }
        result.map(|()| text)
    }

    fn check(text: &str, expect: Result<&str, &str>) {
        let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let time = Timestamp::parse("2026-03-05T07:08:09Z").expect("a time");
        let event = Event::line(0..5, 3, 6, 1, time, Flags::NONE);
        let rendered = render(&template, &event, &common());
        assert_eq!(rendered.as_deref().map_err(String::as_str), expect, "{text}");
    }

    #[test]
    fn renders_fields_defaults_and_dates() {
        check("logs.raw", Ok("logs.raw"));
        check("", Ok(""));
        check("logs.%{[fields.service]}", Ok("logs.shop"));
        check("%{[fields][service]}/%{[fields.n]}", Ok("shop/7"));
        check("%{[host.name]}%{[log.file.path]}", Ok("web-1/var/log/x.log"));
        check("%{[fields.other]:raw}", Ok("raw"));
        check("%{[fields.other]:}|", Ok("|"));
        check("%{[fields.other]:a:b]}", Ok("a:b]"));
        check("%{[fields.none]:null}", Ok("null"));
        check("a-%{[fields.other]}", Err("fields.other"));
        check("%{[fields.none]}", Err("fields.none"));
        check("%{+yyyy.MM.dd}_%{+HH}", Ok("2026.03.05_07"));
        check("100% %x %{[tags]} }", Ok("100% %x a,b }"));
        check("%{[message]}@%{[log.offset]} %{[@timestamp]}", Ok("hello@3 2026-03-05T07:08:09.000Z"));
        check("%{[agent]}", Ok(r#"{"type":"logferry","version":""}"#));
    }

    #[test]
    fn errors_say_where() {
        let check = |text: &str, at: usize| assert_eq!(Template::parse(text).expect_err(text).at, at, "{text}");
        check("a%{", 1);
        check("a%{[b", 1);
        check("a%{b}", 3);
        check("a%{}", 3);
        check("a%{[]}", 4);
        check("a%{[b]c}", 6);
        check("a%{+}", 4);
        check("a%{+yyyy b}", 9);
    }

    #[test]
    fn knows_what_is_the_same_for_a_source() {
        let check = |text: &str, expect: bool| {
            assert_eq!(Template::parse(text).expect(text).depends_only_on_common(), expect, "{text}");
        };
        check("logs", true);
        check("%{[fields.service]:raw}.%{[host.name]}%{[log.file.path]}", true);
        for text in [
            "%{+yyyy}",
            "%{[message]}",
            "%{[log.offset]}",
            "%{[log]}",
            "%{[stream]}",
            "%{[event.id]}",
            "%{[@metadata.x]:y}",
        ] {
            check(text, false);
        }
        let template = Template::parse("%{[fields.service]}").expect("good");
        let common = common();
        let mut event = Event::line(0..5, 3, 6, 1, Timestamp(0), Flags::NONE);
        assert!(template.is_shared(&event));
        event.set(&FieldPath::parse("other").expect("good"), Value::Int(1), b"hello", &common).expect("sets");
        assert!(template.is_shared(&event));
        event.set(&FieldPath::parse("fields.service").expect("good"), "x".into(), b"hello", &common).expect("sets");
        assert!(!template.is_shared(&event));
        assert_eq!(render(&template, &event, &common).as_deref(), Ok("x"));
        assert_eq!(Template::parse("logs.raw").expect("good").literal(), Some("logs.raw"));
        assert_eq!(template.literal(), None);
    }

    proptest! {
        /// Guarantee: no text makes the parser panic; what it takes can be rendered or names a missing field.
        #[test]
        fn any_text_is_a_template_or_an_error(text in "(%\\{\\+?|\\[|\\]|:|\\}|\\PC){0,20}") {
            if let Ok(template) = Template::parse(&text) {
                let event = Event::line(0..5, 3, 6, 1, Timestamp(0), Flags::NONE);
                let _ = render(&template, &event, &common());
            }
        }
    }
}
