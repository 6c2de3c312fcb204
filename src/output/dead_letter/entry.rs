//! A record in the dead letter, with all that is needed to send it again (P): as a line of the local file, and as a record of
//! the dead letter's topic.
//!
//! ```text
//! {"time":"…","output":"main","reason":"too_large","message":"…","topic":"logs.web","partition":3,"source":12,"offset":4096,
//!  "path":"/var/log/web.log","file_id":"…","host":"…","timestamp_ms":1764112756000,"headers":[{"name":"…","value":"…"}],
//!  "key":"…","value":"…"}
//! ```
//! Key, value and the values of headers are text where they are UTF-8, else base64 under `key_base64` and `value_base64`. In the
//! topic, key, value, headers and timestamp are those of the record, and the rest is in more headers, [`PREFIX`] before their
//! names. Nothing here panics on what somebody has written into the file.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::batch::{Encoded, Header, NONE, Place, Position, RECORD_BYTES, Record, Share, SourceKey};
use crate::budget::Budget;

/// What the names of the headers begin with that say why a record is in the dead letter's topic.
pub const PREFIX: &str = "logferry.dead_letter.";

/// A record that was refused for good, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When it was refused, RFC 3339.
    pub time: String,
    pub output: String,
    /// `too_large`, `invalid`, `invalid_timestamp`, `processor_failed`.
    pub reason: String,
    /// What was said of it.
    pub message: String,
    /// What it was for. -1: no partition was chosen.
    pub topic: String,
    pub partition: i32,
    /// The number of its source in the checkpoint store, and the byte offset of its line there.
    pub source: u64,
    pub offset: u64,
    /// `log.file.path` and `log.file.id`, where the record says them.
    pub path: Option<String>,
    pub file_id: Option<String>,
    pub host: String,
    /// Kafka's CreateTime, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    pub headers: Vec<(String, Vec<u8>)>,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
}

/// Why a line of a dead letter can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("not a JSON object: {0}")]
    Json(String),
    #[error("`{0}` is missing or is not what a dead letter has there")]
    Field(&'static str),
}

impl Entry {
    /// A line of the local file, with its end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut map = Map::new();
        map.insert("time".into(), self.time.as_str().into());
        map.insert("output".into(), self.output.as_str().into());
        map.insert("reason".into(), self.reason.as_str().into());
        map.insert("message".into(), self.message.as_str().into());
        map.insert("topic".into(), self.topic.as_str().into());
        map.insert("partition".into(), self.partition.into());
        map.insert("source".into(), self.source.into());
        map.insert("offset".into(), self.offset.into());
        for (name, text) in [("path", &self.path), ("file_id", &self.file_id)] {
            if let Some(text) = text {
                map.insert(name.into(), text.as_str().into());
            }
        }
        map.insert("host".into(), self.host.as_str().into());
        map.insert("timestamp_ms".into(), self.timestamp_ms.into());
        if !self.headers.is_empty() {
            let header = |(name, value): &(String, Vec<u8>)| {
                let mut map = Map::new();
                map.insert("name".into(), name.as_str().into());
                insert_bytes(&mut map, "value", value);
                Value::Object(map)
            };
            map.insert("headers".into(), self.headers.iter().map(header).collect());
        }
        if let Some(key) = &self.key {
            insert_bytes(&mut map, "key", key);
        }
        insert_bytes(&mut map, "value", &self.value);
        let mut line = Value::Object(map).to_string().into_bytes();
        line.push(b'\n');
        line
    }

    /// A line of the local file, with or without its end.
    ///
    /// # Errors
    /// [`EntryError`]: what is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, EntryError> {
        let map: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| EntryError::Json(error.to_string()))?;
        let text = |name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| map.get(name).and_then(Value::as_u64);
        let partition = match map.get("partition") {
            None => -1,
            Some(partition) => partition
                .as_i64()
                .and_then(|partition| i32::try_from(partition).ok())
                .ok_or(EntryError::Field("partition"))?,
        };
        let mut headers = Vec::new();
        if let Some(list) = map.get("headers") {
            for header in list.as_array().ok_or(EntryError::Field("headers"))? {
                let header = header.as_object().ok_or(EntryError::Field("headers"))?;
                let name = header.get("name").and_then(Value::as_str).ok_or(EntryError::Field("headers"))?;
                let value = bytes(header, "value", "value_base64")?.ok_or(EntryError::Field("headers"))?;
                headers.push((name.to_owned(), value));
            }
        }
        Ok(Self {
            time: text("time").unwrap_or_default(),
            output: text("output").unwrap_or_default(),
            reason: text("reason").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            topic: text("topic").filter(|topic| !topic.is_empty()).ok_or(EntryError::Field("topic"))?,
            partition,
            source: number("source").unwrap_or_default(),
            offset: number("offset").unwrap_or_default(),
            path: text("path"),
            file_id: text("file_id"),
            host: text("host").unwrap_or_default(),
            timestamp_ms: map
                .get("timestamp_ms")
                .and_then(Value::as_i64)
                .filter(|at| *at >= 0)
                .ok_or(EntryError::Field("timestamp_ms"))?,
            headers,
            key: bytes(&map, "key", "key_base64")?,
            value: bytes(&map, "value", "value_base64")?.ok_or(EntryError::Field("value"))?,
        })
    }

    /// The headers that the record has in the dead letter's topic: its own, then those that say why it is there.
    pub fn topic_headers(&self) -> Vec<(String, Vec<u8>)> {
        let (partition, source, offset) =
            (self.partition.to_string(), self.source.to_string(), self.offset.to_string());
        let mut all = self.headers.clone();
        let more = [
            ("reason", Some(&self.reason)),
            ("message", Some(&self.message)),
            ("topic", Some(&self.topic)),
            ("partition", Some(&partition)),
            ("source", Some(&source)),
            ("offset", Some(&offset)),
            ("path", self.path.as_ref()),
            ("file_id", self.file_id.as_ref()),
            ("output", Some(&self.output)),
            ("host", Some(&self.host)),
            ("time", Some(&self.time)),
        ];
        all.extend(
            more.into_iter().filter_map(|(name, text)| Some((format!("{PREFIX}{name}"), text?.clone().into_bytes()))),
        );
        all
    }

    /// The record, with these headers, for `place` in `topic`; `None`: `budget` has no memory for it now.
    ///
    /// # Panics
    /// If it is 4 GiB or more: no record is that was one before.
    pub fn encode(
        &self,
        headers: &[(String, Vec<u8>)],
        topic: &Arc<str>,
        place: Place,
        source: SourceKey,
        budget: &Budget,
    ) -> Option<Encoded> {
        let key_bytes = self.key.as_ref().map_or(0, Vec::len);
        let bytes = self.value.len() + key_bytes + headers.iter().map(|(_, value)| value.len()).sum::<usize>();
        let permit = budget.try_take(bytes)?;
        let mut buf = Vec::with_capacity(bytes);
        let narrow = |at: usize| u32::try_from(at).expect("a record is far below 4 GiB: it was one before");
        let mut append = |bytes: &[u8]| {
            let start = narrow(buf.len());
            buf.extend_from_slice(bytes);
            start..narrow(buf.len())
        };
        let value = append(&self.value);
        let key = self.key.as_ref().map(|key| append(key));
        let headers: Vec<Header> = headers
            .iter()
            .map(|(name, value)| Header { name: Arc::from(name.as_str()), value: append(value) })
            .collect();
        let names_bytes: usize = headers.iter().map(|header| header.name.len()).sum();
        let payload_bytes = (bytes + names_bytes) as u64;
        let record = Record {
            value_start: value.start,
            value_len: value.end - value.start,
            key_start: key.map_or(NONE, |key| key.start),
            key_len: narrow(key_bytes),
            timestamp_ms: self.timestamp_ms,
            headers: if headers.is_empty() { NONE } else { 0 },
            offset: self.offset,
        };
        let (topic, bytes) = (Arc::clone(topic), payload_bytes + RECORD_BYTES);
        Some(Encoded {
            buf,
            records: vec![record],
            headers: vec![headers],
            shares: vec![Share { topic, place, records: 0..1, payload_bytes, bytes }],
            source,
            resume: Position::default(),
            permit,
        })
    }

    /// The record that was refused first, made of the one that the dead letter's topic refused: what [`Entry::topic_headers`]
    /// added goes back to where it came from.
    #[must_use]
    pub fn unwrapped(mut self) -> Self {
        let (said, own): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.headers).into_iter().partition(|(name, _)| name.starts_with(PREFIX));
        self.headers = own;
        let refused_by = std::mem::take(&mut self.topic);
        let message = std::mem::take(&mut self.message);
        for (name, value) in said {
            let text = String::from_utf8_lossy(&value).into_owned();
            match &name[PREFIX.len()..] {
                "reason" => self.reason = text,
                "message" => self.message = text,
                "topic" => self.topic = text,
                "partition" => self.partition = text.parse().unwrap_or(-1),
                "source" => self.source = text.parse().unwrap_or_default(),
                "offset" => self.offset = text.parse().unwrap_or_default(),
                "path" => self.path = Some(text),
                "file_id" => self.file_id = Some(text),
                "output" => self.output = text,
                "host" => self.host = text,
                "time" => self.time = text,
                _ => {}
            }
        }
        self.message = format!("{}; and the dead letter's topic {refused_by} refused it: {message}", self.message);
        self
    }

    /// Takes [`Entry::path`] and [`Entry::file_id`] from the record itself, whatever codec wrote it.
    pub fn find_file(&mut self) {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Seen {
            log: Log,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Log {
            file: File,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct File {
            path: Option<String>,
            id: Option<String>,
        }
        // Only the codecs `json` and `ecs` write JSON; other bytes say nothing here.
        let seen: Seen = serde_json::from_slice(&self.value).unwrap_or_default();
        let header = |wanted: &str| {
            let found = self.headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        };
        self.path = header("log.file.path").or(seen.log.file.path);
        self.file_id = header("log.file.id").or(seen.log.file.id);
    }
}

fn insert_bytes(map: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => map.insert(name.into(), text.into()),
        Err(_) => map.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

fn bytes(map: &Map<String, Value>, name: &'static str, coded: &'static str) -> Result<Option<Vec<u8>>, EntryError> {
    if let Some(text) = map.get(name) {
        return Ok(Some(text.as_str().ok_or(EntryError::Field(name))?.as_bytes().to_vec()));
    }
    let Some(text) = map.get(coded) else { return Ok(None) };
    let decoded = text.as_str().and_then(|text| STANDARD.decode(text).ok());
    Ok(Some(decoded.ok_or(EntryError::Field(coded))?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let bytes = || {
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                "[\"\\\\a-zé\u{0}\u{1f600}]{0,40}".prop_map(String::into_bytes)
            ]
        };
        let headers = proptest::collection::vec(("[a-z.]{1,9}", bytes()), 0..3);
        let places = (any::<u64>(), any::<u64>(), -1..9i32, 0..i64::MAX);
        let texts = ("[ -~é]{0,20}", proptest::option::of("/[a-z/]{1,9}"));
        (places, texts, headers, proptest::option::of(bytes()), bytes()).prop_map(
            |((source, offset, partition, timestamp_ms), (message, path), headers, key, value)| Entry {
                time: "2026-11-25T23:19:16Z".into(),
                output: "main".into(),
                reason: "too_large".into(),
                file_id: path.as_ref().map(|_| "f1".to_owned()),
                topic: "logs.web".into(),
                host: "h".into(),
                message,
                partition,
                source,
                offset,
                path,
                timestamp_ms,
                headers,
                key,
                value,
            },
        )
    }

    proptest! {
        /// Guarantee: whatever a record holds, it comes back from the file as it was.
        #[test]
        fn a_line_says_all_of_the_record(entry in any_entry()) {
            let line = entry.to_line();
            prop_assert!(line.ends_with(b"\n"));
            prop_assert_eq!(memchr::memchr(b'\n', &line), Some(line.len() - 1), "one line");
            prop_assert_eq!(Entry::parse(&line), Ok(entry));
        }

        /// Scenario: the topic of the dead letter refuses a record too. Guarantee: what goes to the file is the first one.
        #[test]
        fn what_its_topic_refuses_is_unwrapped(entry in any_entry()) {
            let mut wrapped = entry.clone();
            wrapped.headers = entry.topic_headers();
            (wrapped.topic, wrapped.message, wrapped.partition) = ("dead".into(), "no".into(), 0);
            (wrapped.source, wrapped.offset) = (u64::MAX, 0);
            (wrapped.path, wrapped.file_id) = (None, None);
            let mut expected = entry;
            expected.message.push_str("; and the dead letter's topic dead refused it: no");
            prop_assert_eq!(wrapped.unwrapped(), expected);
        }

        /// Guarantee: no bytes make reading panic, and what reads is written again as it was read.
        #[test]
        fn any_bytes_are_an_entry_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..60), entry in any_entry(), cut in any::<proptest::sample::Index>(),
        ) {
            let line = entry.to_line();
            let (head, tail) = line.split_at(cut.index(line.len()));
            for input in [&bytes[..], head, tail, &[head, &bytes, tail].concat()] {
                if let Ok(read) = Entry::parse(input) {
                    prop_assert_eq!(Entry::parse(&read.to_line()), Ok(read));
                }
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |line: &str, expect: &str| {
            assert_eq!(Entry::parse(line.as_bytes()).expect_err(line).to_string(), expect);
        };
        let field = |name: &str| format!("`{name}` is missing or is not what a dead letter has there");
        check(r#"{"value":"v","timestamp_ms":1}"#, &field("topic"));
        check(r#"{"topic":"t","timestamp_ms":1}"#, &field("value"));
        check(r#"{"topic":"t","value":"v"}"#, &field("timestamp_ms"));
        check(r#"{"topic":"t","value_base64":"*","timestamp_ms":1}"#, &field("value_base64"));
        check(r#"{"topic":"t","value":"v","timestamp_ms":1,"partition":3000000000}"#, &field("partition"));
        check(r#"{"topic":"t","value":"v","timestamp_ms":1,"headers":[{"name":"a"}]}"#, &field("headers"));
        assert!(Entry::parse(b"{\"topic\":").expect_err("cut").to_string().starts_with("not a JSON object: "));
    }

    #[test]
    fn the_file_is_found_in_the_record_or_its_headers() {
        let check = |value: &str, headers: &[(&str, &str)], expect: (Option<&str>, Option<&str>)| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
            let mut entry = Entry { value: value.into(), headers, ..Entry::default() };
            entry.find_file();
            assert_eq!((entry.path.as_deref(), entry.file_id.as_deref()), expect, "{value}");
        };
        check(r#"{"log":{"file":{"path":"/a","id":"x"},"offset":3}}"#, &[], (Some("/a"), Some("x")));
        check(r#"{"log":"own"}"#, &[], (None, None));
        check("raw", &[("log.file.path", "/b"), ("log.file.id", "y")], (Some("/b"), Some("y")));
        check("raw", &[], (None, None));
    }
}
