//! `json`: reads a text that is JSON into fields. Numbers stay what they are: integers of 64 bits, else floats; of a key that
//! stands twice the last counts, as everywhere.
//!
//! Depth, bytes and members of an object are bounded: a line can't make an event that is costly to carry on. What is no
//! JSON, or beyond the bounds, fails and changes nothing. Where two keys want the same place (`{"a": 1, "a.b": 2}`, expanded) all
//! fields are set, the one with the dots by its own name; that is a failure too, as in Filebeat.

use std::fmt;

use compact_str::CompactString;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::parsed::{MEMBERS_MAX, Place};
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Object, Value};

/// `json: {field, target, …}`.
#[derive(Clone, Debug)]
pub struct Json {
    pub place: Place,
    /// Keys with dots become levels.
    pub expand: bool,
    /// Levels of objects and lists; a plain value has none.
    pub depth_max: usize,
    /// Bytes of the text.
    pub bytes_max: usize,
    /// Where the reason of a failure goes.
    pub error_key: Option<FieldPath>,
}

impl Json {
    /// The value, and why not all of it is as the options want it.
    fn parse(&self, text: &str) -> Result<(Value, Option<String>), String> {
        if text.len() > self.bytes_max {
            return Err(format!("{} bytes are more than max_bytes ({})", text.len(), self.bytes_max));
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = Seed { depth: self.depth_max }.deserialize(&mut reader).map_err(|error| error.to_string())?;
        reader.end().map_err(|error| error.to_string())?;
        match value {
            Value::Object(object) if self.expand => {
                let (expanded, kept) = object.expanded_but();
                let expanded = Value::Object(expanded);
                if depth(&expanded) > self.depth_max {
                    return Err(too_deep(self.depth_max));
                }
                Ok((expanded, kept.map(|key| format!("`{key}` is not expanded: another key has its place"))))
            }
            value => Ok((value, None)),
        }
    }

    fn put(&self, value: Value, work: &mut Work<'_>) -> Result<(), String> {
        let put = match (value, &self.place.target) {
            (Value::Object(object), _) => self.place.put(object, work),
            (value, Some(target)) => self.place.put_at(target, value, work),
            (_, None) => return Err("it is no object, and there is no target for it".to_owned()),
        };
        put.map_err(|Failed| "a field can't be set".to_owned())
    }
}

impl Process for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let parsed = match self.place.text(work)? {
            None => return Ok(Outcome::Keep),
            Some(text) => self.parse(&text),
        };
        let done = parsed.and_then(|(value, kept)| {
            self.put(value, work)?;
            kept.map_or(Ok(()), Err)
        });
        match done {
            Ok(()) => Ok(Outcome::Keep),
            Err(reason) => {
                if let Some(key) = &self.error_key {
                    work.set(key, reason)?;
                }
                Err(Failed)
            }
        }
    }
}

fn too_deep(depth_max: usize) -> String {
    format!("it is nested deeper than max_depth ({depth_max})")
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(object) => 1 + object.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Reads a value with so many levels in it, at most.
#[derive(Clone, Copy)]
struct Seed {
    depth: usize,
}

impl Seed {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom("it is nested deeper than max_depth")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // What 64 bits with a sign can't hold stays exact, too.
        Ok(i64::try_from(value).map_or_else(|_| Value::BigInt(value.to_string()), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(below)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut members: Vec<(CompactString, Value)> = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom(format_args!("an object has more than {MEMBERS_MAX} members")));
            }
            members.push((key, map.next_value_seed(below)?));
        }
        Ok(Value::Object(Object::from_members(members)))
    }
}

/// Reads a key.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = CompactString;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<CompactString, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = CompactString;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, value: &str) -> Result<CompactString, E> {
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::Place;
    use super::super::tests::{fields_of, fields_of_event, path, plain, taken};
    use super::Json;
    use proptest::prelude::*;
    use serde_json::json;

    fn decode() -> Json {
        Json {
            place: Place { field: path("message"), target: None, overwrite: false },
            expand: false,
            depth_max: 4,
            bytes_max: 1000,
            error_key: None,
        }
    }

    fn below(target: &str) -> Json {
        Json { place: Place { target: Some(path(target)), ..decode().place }, ..decode() }
    }

    fn check(processor: Json, input: &str, expect: serde_json::Value) {
        assert_eq!(fields_of(processor, json!(input)), plain(input, expect), "{input}");
    }

    #[test]
    fn values_are_kept_as_they_are() {
        check(
            decode(),
            " {\"i\":-9007199254740993,\"f\":1.0,\"e\":1e3,\"s\":\"\\u00e9\\n\",\"n\":null,\"b\":true,\"l\":[1,[2],{}],\"i\":7} ",
            json!({"i": 7, "f": 1.0, "e": 1000.0, "s": "é\n", "n": null, "b": true, "l": [1, [2], {}]}),
        );
        check(decode(), r#"{"i":9223372036854775807,"a.b":1}"#, json!({"i": i64::MAX, "a.b": 1}));
        check(decode(), r#"{"message":"inner","x":1}"#, json!({"message": "inner", "x": 1}));
        check(Json { expand: true, ..decode() }, r#"{"a.b":1,"a":{"c.d":2}}"#, json!({"a": {"b": 1, "c": {"d": 2}}}));
    }

    #[test]
    fn keys_that_want_one_place_lose_nothing_and_fail() {
        let expanding = || Json { expand: true, error_key: Some(path("error.message")), ..decode() };
        let error = json!({"message": "`a.b` is not expanded: another key has its place"});
        for line in [r#"{"a.b":2,"a":1,"x":3}"#, r#"{"a":1,"a.b":2,"x":3}"#] {
            let tags = ["_json_failed"];
            check(expanding(), line, json!({"a": 1, "a.b": 2, "x": 3, "error": error, "tags": tags}));
        }
    }

    #[test]
    fn what_is_there_stays_unless_it_is_to_be_replaced() {
        let line = r#"{"host":{"name":"other","ip":"::1"},"fields":7}"#;
        check(decode(), line, json!({"host": {"name": "other", "ip": "::1"}}));
        check(decode(), r#"{"host":"x","log":{"level":"warn"}}"#, json!({"host": "x"}));
        let take = |line: &str, field: &str| taken(decode(), json!({ "message": line }), &path(field));
        for (line, field, value) in [
            (r#"{"log":"x"}"#, "log", json!("x")),
            (r#"{"event":"login"}"#, "event", json!("login")),
            (r#"{"log":{"level":"warn","offset":"x"}}"#, "log.level", json!("warn")),
            (r#"{"log":{"level":"warn","offset":"x"}}"#, "log.offset", json!("x")),
            (r#"{"log":{"level":"warn"}}"#, "log.length", json!(0)),
        ] {
            assert_eq!(take(line, field), Some(value), "{line}");
        }
        let replacing = Json { place: Place { overwrite: true, ..decode().place }, ..decode() };
        check(replacing, line, json!({"host": {"name": "other", "ip": "::1"}, "fields": 7}));
        check(
            below("fields"),
            r#"{"service":"x","n":1}"#,
            json!({"fields": {"service": "shop", "team": {"name": "ops"}, "n": 1}}),
        );
        check(below("a.b"), "[1]", json!({"a": {"b": [1]}}));
        check(below("message"), r#"{"":1}"#, json!({"message": {"": 1}}));
    }

    #[test]
    fn a_time_is_taken_or_kept_aside() {
        let replacing = || Json { place: Place { overwrite: true, ..decode().place }, ..decode() };
        check(replacing(), r#"{"@timestamp":"2026-01-02T03:04:05Z"}"#, json!({}));
        let line = r#"{"@timestamp":"2026-01-02T03:04:05Z","a":1}"#;
        let event = json!({"message": line, "@timestamp": "2025-01-01T00:00:00Z"});
        assert_eq!(fields_of_event(decode(), event), plain(line, json!({"a": 1})));
        check(decode(), r#"{"@timestamp":[]}"#, json!({"_@timestamp": [], "tags": ["_timestampparsefailure"]}));
        check(replacing(), r#"{"@timestamp":5}"#, json!({"_@timestamp": 5, "tags": ["_timestampparsefailure"]}));
    }

    #[test]
    fn what_is_no_json_or_out_of_bounds_fails_and_changes_nothing() {
        let failed = || json!({"tags": ["_json_failed"]});
        let many: Vec<String> = (0..5000).map(|n| format!("\"{n}\":1")).collect();
        for line in [
            "",
            "{",
            "{\"a\":1}x",
            "{'a':1}",
            "[1]",
            "7",
            "{\"a\":[[[[1]]]]}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
            "{\"\":1}",
        ] {
            check(decode(), line, failed());
        }
        check(Json { bytes_max: 6, ..decode() }, "{\"a\":1}", failed());
        check(Json { bytes_max: 1 << 20, ..decode() }, &format!("{{{}}}", many.join(",")), failed());
        check(Json { expand: true, ..decode() }, "{\"a.b.c.d.e\":1}", failed());
        check(below("message.x"), "{\"a\":1}", failed());
        for value in [json!(7), json!(["{}"]), json!({"a": 1})] {
            assert_eq!(fields_of(decode(), value.clone()), plain(value, failed()));
        }
        assert_eq!(fields_of(decode(), json!(null)), plain(json!(null), json!({})));
        let seen = fields_of(Json { error_key: Some(path("error.message")), ..decode() }, json!("{"));
        assert_eq!(seen["error"]["message"], json!("EOF while parsing an object at line 1 column 1"));
        let bounds = Json { error_key: Some(path("error.message")), ..decode() };
        let seen = fields_of(bounds, json!("{\"a\":[[[[1]]]]}"));
        assert!(seen["error"]["message"].to_string().contains("max_depth"), "{seen}");
    }

    #[test]
    fn a_line_of_brackets_is_no_danger() {
        let processor = Json { bytes_max: 1 << 20, depth_max: 64, ..decode() };
        check(processor, &"[".repeat(1 << 20), json!({"tags": ["_json_failed"]}));
    }

    proptest! {
        /// Guarantee: no text makes it panic; what serde_json reads, it reads alike.
        #[test]
        fn any_text(text in "(\\{|\\}|\\[|\\]|\"[a.]{0,3}\"|:|,|-?[0-9]{1,20}|null|\\\\u[0-9a-f]{4}|\\PC){0,24}", expand: bool) {
            fields_of(Json { expand, ..decode() }, json!(text));
        }
    }
}
