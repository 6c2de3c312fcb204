//! `logferry test`: what a config makes of lines, against what is expected of it. Connects to nothing.
//!
//! The records are those of `logferry try`: its [`Trial`] makes them. Every test file and every config is checked before the
//! first test runs.

use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Map, Value};

use super::r#try::{Made, Trial};
use crate::batch::Record;
use crate::cli::check::mistakes_text;
use crate::cli::{Exit, TestArgs};
use crate::config::test_file::{Ends, Expected, Given, Leaf, Outcome, Spot, Test, TestFile, Whole, load as load_tests};
use crate::config::{Checked, Mistake, Pos, System, load};
use crate::event::Timestamp;
use crate::pipeline::Outgoing;

/// What the agent adds to a record by itself, different on each host and in each place of a line: it is compared only where it is named.
const OF_THE_AGENT: &[&[&str]] = &[
    &["@timestamp"],
    &["host"],
    &["agent"],
    &["event", "id"],
    &["input"],
    &["log", "file"],
    &["log", "offset"],
    &["log", "length"],
];

/// Runs the tests of each file, and says which of them failed and why.
///
/// # Errors
/// If the output can't be written.
pub fn run(args: &TestArgs) -> anyhow::Result<Exit> {
    let mut suites = Vec::new();
    let mut mistakes = Vec::new();
    for path in &args.files {
        match Suite::load(path) {
            Ok(suite) => suites.push(suite),
            Err(found) => mistakes.extend(found),
        }
    }
    if !mistakes.is_empty() {
        // Several test files may be of one config.
        let mut seen: Vec<Mistake> = Vec::new();
        mistakes.retain(|one| {
            !seen.contains(one) && {
                seen.push(one.clone());
                true
            }
        });
        io::stderr().write_all(mistakes_text(&mistakes).as_bytes())?;
        return Ok(Exit::BadConfig);
    }
    let (mut passed, mut failed) = (0, 0);
    let mut out = io::BufWriter::new(io::stdout());
    for suite in &suites {
        for test in &suite.file.tests {
            let report = suite.run(test, args.now)?;
            let (file, line, name) = (&suite.file.name, test.at.line, &test.name);
            if report.is_empty() {
                passed += 1;
                writeln!(out, "ok      {file}:{line}: {name}")?;
            } else {
                failed += 1;
                writeln!(out, "FAILED  {file}:{line}: {name}\n{report}")?;
            }
        }
    }
    let files = if suites.len() == 1 { "1 file".to_owned() } else { format!("{} files", suites.len()) };
    writeln!(out, "{passed} passed, {failed} failed in {files}")?;
    out.flush()?;
    Ok(if failed == 0 { Exit::Fine } else { Exit::Failed })
}

/// A file of tests and the config that they are of.
struct Suite {
    file: TestFile,
    checked: Checked,
}

/// What became of one event.
enum Got {
    Dropped(&'static str),
    Record(GotRecord),
}

struct GotRecord {
    /// It is for the dead letter, since this processor failed.
    failed: Option<&'static str>,
    topic: String,
    key: Option<String>,
    headers: Vec<(String, String)>,
    value: Vec<u8>,
}

impl Suite {
    fn load(path: &Path) -> Result<Self, Vec<Mistake>> {
        let file = load_tests(path, &System)?;
        let checked = load(&file.config, &System)?;
        let wrong: Vec<Mistake> = file.tests.iter().filter_map(|test| file.ends(test, &checked).err()).collect();
        if wrong.is_empty() { Ok(Self { file, checked }) } else { Err(wrong) }
    }

    /// What is not as the test expects it, as text; empty if all is.
    fn run(&self, test: &Test, now: Option<Timestamp>) -> anyhow::Result<String> {
        let ends = self.file.ends(test, &self.checked).map_err(|mistake| anyhow::anyhow!("{mistake}"))?;
        let got = self.outcomes(test, &ends, now)?;
        let mut diff = Diff { file: &self.file.name, text: String::new() };
        for (at, (got, expect)) in got.iter().zip(&test.expect).enumerate() {
            let before = diff.text.len();
            match (got, &expect.outcome) {
                (Got::Dropped(_), Outcome::Dropped) => {}
                (Got::Dropped(why), Outcome::Record(_)) => {
                    diff.say(expect.at, at, "the event", "a record", &format!("dropped ({why})"));
                }
                (Got::Record(record), Outcome::Dropped) => {
                    diff.say(expect.at, at, "the event", "dropped", &format!("a record for {}", record.topic));
                }
                (Got::Record(record), Outcome::Record(expected)) => diff.record(expect.at, at, record, expected),
            }
            if let (true, Got::Record(record)) = (diff.text.len() > before, got) {
                diff.note(&format!("event {} is now {}", at + 1, String::from_utf8_lossy(&record.value)));
            }
        }
        if got.len() != test.expect.len() {
            let expected = format!("{} of them", test.expect.len());
            diff.say(test.at, got.len().min(test.expect.len()), "events", &expected, &got.len().to_string());
        }
        Ok(diff.text)
    }

    fn outcomes(&self, test: &Test, ends: &Ends<'_>, now: Option<Timestamp>) -> anyhow::Result<Vec<Got>> {
        let path = test.path.as_deref().unwrap_or("-");
        let mut trial = Trial::new(&self.checked, ends.input, ends.target, path, test.now.or(now));
        let mut got = Vec::new();
        let mut sink = |made: Made<'_>| {
            got.push(match made {
                Made::Dropped(why) => Got::Dropped(why),
                Made::Record { topic, record, outgoing, failed } => {
                    Got::Record(GotRecord { failed, ..GotRecord::of(topic, record, outgoing) })
                }
            });
            Ok(())
        };
        match &test.given {
            Given::Lines(lines) => trial.texts(lines, &mut sink)?,
            Given::Events(events) => {
                for fields in events {
                    let line = Value::Object(fields.clone()).to_string();
                    trial.event(fields.clone(), &line, &mut sink)?;
                }
                trial.end_joined(&mut sink)?;
            }
        }
        Ok(got)
    }
}

impl GotRecord {
    fn of(topic: &str, record: &Record, outgoing: &Outgoing) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = record.headers_in(&outgoing.headers).iter().filter(|one| !one.is_failed_mark());
        Self {
            failed: None,
            topic: topic.to_owned(),
            key: record.key_in(&outgoing.buf).map(text),
            headers: headers.map(|one| (one.name.to_string(), text(one.value_in(&outgoing.buf)))).collect(),
            value: record.value_in(&outgoing.buf).to_vec(),
        }
    }
}

/// What differs, as it is found.
struct Diff<'a> {
    file: &'a str,
    text: String,
}

impl Diff<'_> {
    fn say(&mut self, place: Pos, event: usize, what: &str, expected: &str, actual: &str) {
        let (file, line, number) = (self.file, place.line, event + 1);
        self.note(&format!("{file}:{line}: event {number}: {what}"));
        self.note(&format!("  expected  {expected}"));
        self.note(&format!("  actual    {actual}"));
    }

    fn note(&mut self, line: &str) {
        self.text += &format!("        {line}\n");
    }

    fn record(&mut self, at: Pos, event: usize, got: &GotRecord, expected: &Expected) {
        let place = |failed: Option<&str>| {
            failed.map_or("a record".to_owned(), |by| format!("in the dead letter, for a failure of `{by}`"))
        };
        match (&expected.dead_letter, got.failed) {
            (Some(Spot { at, is }), failed) if Some(is.as_str()) != failed => {
                self.say(*at, event, "the event", &place(Some(is)), &place(failed));
            }
            (None, Some(failed)) => self.say(at, event, "the event", &place(None), &place(Some(failed))),
            _ => {}
        }
        if let Some(Spot { at, is }) = expected.topic.as_ref().filter(|topic| topic.is != got.topic) {
            self.say(*at, event, "topic", is, &got.topic);
        }
        if let Some(Spot { at, is }) = expected.key.as_ref().filter(|key| key.is != got.key) {
            self.say(*at, event, "key", quoted(is.as_deref()).as_str(), &quoted(got.key.as_deref()));
        }
        for (name, Spot { at, is }) in &expected.headers {
            // Of several the last counts, as in Kafka's clients.
            let found = got.headers.iter().rfind(|(one, _)| one == name).map(|(_, value)| value);
            if found != is.as_ref() {
                let (is, found) = (quoted(is.as_deref()), quoted(found.map(String::as_str)));
                self.say(*at, event, &format!("header {name}"), &is, &found);
            }
        }
        let (leaves, whole) = match &expected.record {
            Some(Spot { at, is: Whole::Text(text) }) => {
                if text.as_bytes() != got.value {
                    self.say(*at, event, "the record", text, &String::from_utf8_lossy(&got.value));
                }
                (&[][..], None)
            }
            Some(Spot { at, is: Whole::Fields(leaves) }) => (&leaves[..], Some(*at)),
            None => (&[][..], None),
        };
        let Some(first) = expected.fields.first().or(leaves.first()).map(|leaf| leaf.at).or(whole) else { return };
        let Ok(Value::Object(value)) = serde_json::from_slice::<Value>(&got.value) else {
            let actual = String::from_utf8_lossy(&got.value);
            return self.say(first, event, "the record", "a JSON object", &actual);
        };
        self.fields(event, &value, &expected.fields);
        let named = self.fields(event, &value, leaves);
        if let Some(at) = whole {
            let mut all = Vec::new();
            leaves_of(&value, &mut Vec::new(), &mut all);
            for (path, actual) in all {
                let is_named = named.iter().any(|named| path.starts_with(named));
                if !is_named && !OF_THE_AGENT.iter().any(|theirs| path.starts_with(theirs)) {
                    self.say(at, event, &reference(&path), "no such field", &actual.to_string());
                }
            }
        }
    }

    /// Compares these fields, and returns where each of them was found.
    fn fields<'v>(&mut self, event: usize, value: &'v Map<String, Value>, leaves: &'v [Leaf]) -> Vec<Vec<&'v str>> {
        let mut found = Vec::new();
        for leaf in leaves {
            let as_written: Vec<&str> = leaf.keys.iter().map(String::as_str).collect();
            let as_meant: Vec<&str> = leaf.path.iter().map(String::as_str).collect();
            let ways = [as_written, as_meant];
            let hit = ways.iter().find_map(|way| Some((way.clone(), get(value, way)?)));
            let (way, actual) = hit.map_or((ways[1].clone(), None), |(way, actual)| (way, Some(actual)));
            if *actual.unwrap_or(&Value::Null) != leaf.value {
                let is_absent = leaf.value.is_null();
                let expected = if is_absent { "no such field".to_owned() } else { leaf.value.to_string() };
                let actual = actual.map_or_else(|| "no such field".to_owned(), Value::to_string);
                self.say(leaf.at, event, &reference(&way), &expected, &actual);
            }
            found.push(way);
        }
        found
    }
}

fn get<'v>(value: &'v Map<String, Value>, way: &[&str]) -> Option<&'v Value> {
    let (first, rest) = way.split_first()?;
    rest.iter().try_fold(value.get(*first)?, |value, key| value.as_object()?.get(*key))
}

/// The fields that hold no further ones, each with the keys on the way.
fn leaves_of<'v>(object: &'v Map<String, Value>, above: &mut Vec<&'v str>, all: &mut Vec<(Vec<&'v str>, &'v Value)>) {
    for (key, value) in object {
        above.push(key);
        match value {
            Value::Object(below) if !below.is_empty() => leaves_of(below, above, all),
            _ => all.push((above.clone(), value)),
        }
        above.pop();
    }
}

/// The field as it is named in a config: `a.b`, or `[a.b][c]` where a key has a dot or a bracket in it.
fn reference(path: &[&str]) -> String {
    if path.iter().any(|key| key.contains(['.', '[', ']'])) {
        return path.iter().map(|key| format!("[{key}]")).collect();
    }
    path.join(".")
}

fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "none".to_owned(), |text| Value::from(text).to_string())
}
