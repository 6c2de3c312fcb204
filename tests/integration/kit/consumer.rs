//! What arrived, seen by consumers that did not come from this project: kcat, and the Java client.
//!
//! Both print records in one shape whose lengths come first, so that any bytes in keys and values survive.

use std::path::Path;
use std::process::Command;

use super::{jars, process};

/// A record as a consumer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    /// `name=value,…`, as kcat prints them.
    pub headers: String,
    pub value: Vec<u8>,
}

impl Record {
    /// The value as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.value)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.value)))
    }

    /// The value of `field` (dotted path into nested objects) as text; numbers are written out.
    pub fn text(&self, field: &str) -> Option<String> {
        let json = self.json();
        match lookup(&json, field)? {
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// The line: `message` of a JSON record.
    #[track_caller]
    pub fn message(&self) -> String {
        self.text("message").unwrap_or_else(|| panic!("no message in {:?}", String::from_utf8_lossy(&self.value)))
    }

    pub fn key_text(&self) -> String {
        self.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()).unwrap_or_default()
    }
}

/// Finds `a.b.c` whether it is written nested, dotted or mixed.
pub fn lookup<'a>(value: &'a serde_json::Value, path: &str) -> Option<&'a serde_json::Value> {
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    path.match_indices('.').find_map(|(at, _)| lookup(value.get(&path[..at])?, &path[at + 1..]))
}

/// Reads a topic to its end with kcat.
pub fn kcat(bootstrap: &str, topic: &str) -> Vec<Record> {
    let output = process::run(
        Command::new("kcat").args(["-b", bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q"]).args([
            "-X",
            "isolation.level=read_committed",
            "-f",
            r"%p %o %T %K %S\n%k\n%h\n%s\n",
        ]),
        b"",
    );
    assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
    parse(&output.stdout)
}

/// Reads a topic to its end with the Java client.
pub fn java(jars: &Path, bootstrap: &str, topic: &str) -> Vec<Record> {
    let mut command = jars::java(jars);
    command.arg(jars::source("Check.java")).args([bootstrap, topic]);
    let output = process::run(&mut command, b"");
    assert!(output.status.success(), "Check.java: {}", String::from_utf8_lossy(&output.stderr));
    parse(&output.stdout)
}

/// `partition offset timestamp key-length value-length LF key LF headers LF value LF`, by partition and offset.
fn parse(mut bytes: &[u8]) -> Vec<Record> {
    fn line<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
        let end = memchr::memchr(b'\n', bytes).expect("each line is terminated");
        let (line, rest) = bytes.split_at(end);
        *bytes = &rest[1..];
        line
    }
    /// `length` bytes and the line feed after them; a length of -1 means null.
    fn exact(bytes: &mut &[u8], length: i64) -> Option<Vec<u8>> {
        let count = usize::try_from(length.max(0)).expect("not negative");
        let (value, rest) = bytes.split_at(count);
        *bytes = rest.strip_prefix(b"\n").expect("a line feed ends it");
        (length >= 0).then(|| value.to_vec())
    }
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let head = std::str::from_utf8(line(&mut bytes)).expect("numbers").to_owned();
        let numbers: Vec<i64> = head.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [partition, offset, timestamp, key_length, value_length] = numbers[..] else {
            panic!("not five numbers: {head}")
        };
        let key = exact(&mut bytes, key_length);
        let headers = String::from_utf8_lossy(line(&mut bytes)).into_owned();
        let value = exact(&mut bytes, value_length).unwrap_or_default();
        let partition = i32::try_from(partition).expect("small");
        records.push(Record { partition, offset, timestamp, key, headers, value });
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}
