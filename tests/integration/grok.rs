//! `grok` as a processor, by `logferry try --json`, against Logstash's answers; and the command `logferry grok`. No Kafka.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::kit::agent::logferry;
use crate::kit::scratch;
use crate::kit::skip::conformance_or_skip;

/// The fields by their references: `name`, `[a][b]`.
fn flat(object: &Map<String, Value>) -> BTreeMap<String, Value> {
    fn collect(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(object) if !object.is_empty() => {
                object.iter().for_each(|(key, value)| collect(&format!("{path}[{key}]"), value, into));
            }
            value => drop(into.insert(path.to_owned(), value.clone())),
        }
    }
    let mut fields = BTreeMap::new();
    for (key, value) in object {
        match value {
            Value::Object(inner) if !inner.is_empty() => collect(&format!("[{key}]"), value, &mut fields),
            value => drop(fields.insert(key.clone(), value.clone())),
        }
    }
    fields
}

fn config(case: &Value) -> Value {
    let mut grok = Map::new();
    match case.get("match") {
        Some(fields) => drop(grok.insert("match".to_owned(), fields.clone())),
        None => {
            let pattern = &case["pattern"];
            let patterns = if pattern.is_array() { pattern.clone() } else { json!([pattern]) };
            grok.insert("patterns".to_owned(), patterns);
        }
    }
    for key in [
        "field",
        "overwrite",
        "target",
        "break_on_match",
        "keep_empty_captures",
        "named_captures_only",
        "pattern_definitions",
    ] {
        if let Some(value) = case.get(key) {
            grok.insert(key.to_owned(), value.clone());
        }
    }
    let set = if case["mode"] == "ecs-v1" { "v8" } else { "disabled" };
    grok.insert("ecs_compatibility".to_owned(), set.into());
    json!({
        "data_dir": "/nowhere",
        "inputs": { "lines": { "type": "stdin", "processors": [{ "grok": grok }] } },
        "outputs": { "main": { "type": "kafka", "brokers": ["nowhere:9092"], "codec": "json" } },
    })
}

fn check(case: &Value, folder: &std::path::Path) {
    let id = case["id"].as_str().expect("a case has a name");
    let path = folder.join(format!("{id}.yaml"));
    std::fs::write(&path, config(case).to_string()).expect("the scratch folder is writable");
    let mut event = case["event"].as_object().cloned().unwrap_or_default();
    if let Some(input) = case.get("input") {
        event.insert(case["field"].as_str().unwrap_or("message").to_owned(), input.clone());
    }
    let line = Value::Object(event.clone()).to_string() + "\n";
    let output = logferry(&["try", "-c", &path.display().to_string(), "--json"], line.as_bytes());
    let said = String::from_utf8_lossy(&output.stderr);
    let error = case["error"].as_str().unwrap_or_default();
    if output.status.code() == Some(78) {
        let may_refuse = error.starts_with("RegexpError") || error.starts_with("Grok::PatternError");
        assert!(may_refuse || case["area"] == "engine-rare", "{id} is refused: {said}");
        return;
    }
    let Ok(Value::Object(record)) = serde_json::from_slice(&output.stdout) else {
        panic!("{id} makes no record: {said}")
    };
    let has_failed = record.get("tags").is_some_and(|tags| *tags == json!(["_grokparsefailure"]));
    assert_eq!(has_failed, case["expected"].is_null(), "{id} makes {record:?}");
    let Some(expected) = case["expected"].as_object() else { return };
    let before = flat(&event);
    let mut changed = flat(&record);
    changed.retain(|name, value| name != "@timestamp" && before.get(name) != Some(value));
    // What is below @metadata is never sent.
    let mut expected: BTreeMap<String, Value> = expected.clone().into_iter().collect();
    expected.retain(|name, _| !name.starts_with("[@metadata]"));
    assert_eq!(changed, expected, "{id}");
}

/// Scenario: the cases of the conformance data that are about events (fields that are there, lists, numbers, targets, casts,
/// several fields), and one in nine of the others, each by `logferry try --json`.
/// Guarantee: the event has what Logstash would add or change, and a failure is tagged.
#[test]
fn events_become_what_logstash_makes_of_them() {
    let Some(conformance) = conformance_or_skip("grok") else { return };
    let folder = scratch::folder("grok-conformance");
    let mut count = 0;
    for file in ["grok_filter", "semantics", "core", "haproxy", "httpd", "java", "rails3", "squid", "syslog"] {
        let text = std::fs::read_to_string(conformance.join(format!("{file}.jsonl"))).expect("a file of cases");
        for (index, line) in text.lines().enumerate() {
            let case: Value = serde_json::from_str(line).expect("JSON");
            let is_about_events = matches!(case["area"].as_str(), Some("event" | "cast" | "syntax"))
                || ["event", "overwrite", "target", "field"].iter().any(|key| case.get(key).is_some())
                || !case["input"].is_string();
            if is_about_events || index % 9 == 0 {
                check(&case, &folder);
                count += 1;
            }
        }
    }
    assert!(count > 100, "only {count} cases");
}

/// Scenario: a config with patterns that are wrong each in its own way. Guarantee: each is reported at its line and column, with
/// the column in the pattern.
#[test]
fn wrong_patterns_are_reported_where_they_are() {
    let folder = scratch::folder("grok-mistakes");
    let path = folder.join("bad.yaml");
    let config = "data_dir: /nowhere\ninputs:\n  a:\n    type: stdin\n    processors:\n      - grok:\n          patterns:\n            \
                  - '%{IP:ip} %{NOPE:x}'\n            - '(?<q>.)\\k<q>'\n      - grok: {}\noutputs:\n  m: { type: kafka, brokers: \
                  [\"h:9092\"] }\n";
    std::fs::write(&path, config).expect("the scratch folder is writable");
    let output = logferry(&["check", "-c", &path.display().to_string()], b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for part in [
        ":8:25: ",
        "column 10: the pattern %{NOPE} is not defined",
        ":9:23: ",
        "column 8: the backreference",
        "expected `patterns`",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

/// Scenario: `logferry grok` on a line that matches and one that does not, as a table and as JSON; `--list`; a bad pattern.
/// Guarantee: fields and their values; what matched is underlined and the next part named; the exit code tells.
#[test]
fn the_command_shows_fields_and_where_a_pattern_stops() {
    let lines = b"10.0.0.1 GET 7\n10.0.0.1 GET x\n";
    let pattern = "%{IP:client} %{WORD:verb} %{INT:count:int}";
    let output = logferry(&["grok", pattern], lines);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "one line did not match");
    assert!(shown.contains("  client  10.0.0.1\n  verb    GET\n  count   7 (number)\n"), "{shown}");
    assert!(shown.contains("10.0.0.1 GET x\n~~~~~~~~~~~~~\n"), "{shown}");
    assert!(shown.contains("  next: %{INT:count:int}\n"), "{shown}");

    let output = logferry(&["grok", pattern, "--json", "--timing", "-"], lines);
    let shown = String::from_utf8_lossy(&output.stdout);
    let mut records = shown.lines();
    let first: Value = serde_json::from_str(records.next().unwrap_or_default()).expect("JSON");
    assert_eq!(first, json!({ "match": [0, 14], "fields": { "client": "10.0.0.1", "verb": "GET", "count": 7 } }));
    let second: Value = serde_json::from_str(records.next().unwrap_or_default()).expect("JSON");
    assert_eq!((&second["match"], &second["matched"]), (&Value::Null, &json!([0, 13])));
    assert!(records.next().is_some_and(|line| line.starts_with("2 lines, 1 matched: ")), "{shown}");

    let output = logferry(&["grok", "--list", "postgres"], b"");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.starts_with("POSTGRESQL\n  %{DATESTAMP:timestamp}"), "{shown}");

    let output = logferry(&["grok", "a(b"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("column 2: a `(` without its `)`"));
}
