//! `date` and `dissect` as processors, by `logferry try --json`, against the answers of Logstash and Filebeat. No Kafka.
//! (`grok` has a file of its own.)

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::kit::agent::logferry;
use crate::kit::scratch;
use crate::kit::skip::conformance_or_skip;

/// The text of a file of the conformance data.
fn conformance(file: &str) -> Option<String> {
    conformance_or_skip(file).map(|path| std::fs::read_to_string(path).expect("it can be read"))
}

/// What a config with this processor makes of this event, read at `now`.
fn record(folder: &Path, processor: &Value, event: &Value, now: Option<&str>) -> Map<String, Value> {
    let config = json!({
        "data_dir": "/nowhere",
        "inputs": { "lines": { "type": "stdin", "processors": [processor] } },
        "outputs": { "main": { "type": "kafka", "brokers": ["nowhere:9092"], "codec": "json" } },
    });
    let path = folder.join("config.yaml");
    std::fs::write(&path, config.to_string()).expect("the scratch folder is writable");
    let config = path.display().to_string();
    let mut args = vec!["try", "-c", &config, "--json"];
    args.extend(now.iter().flat_map(|now| ["--now", *now]));
    let output = logferry(&args, (event.to_string() + "\n").as_bytes());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{processor} of {event}: {said}");
    match serde_json::from_slice(&output.stdout) {
        Ok(Value::Object(record)) => record,
        other => panic!("{processor} of {event} is {other:?}: {said}"),
    }
}

/// Scenario: every case of Logstash's own tests of `date`: formats, zones (also of the event), languages, years that are missing.
/// Guarantee: `@timestamp` is Logstash's; where Logstash fails it stays, and the event is tagged.
#[test]
fn dates_are_those_of_logstash() {
    const BEFORE: &str = "1999-09-09T09:09:09.000Z";
    let Some(cases) = conformance("date/date.jsonl") else { return };
    let folder = scratch::folder("date-conformance");
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| case.get(key).and_then(Value::as_str);
        let mut date =
            json!({ "field": "t", "formats": case["pattern"], "timezone": text("timezone").unwrap_or("UTC") });
        let mut event = json!({ "t": case["input"], "@timestamp": BEFORE });
        if case["timezone_from_event"] == true {
            event["zone"] = case["timezone"].clone();
            date["timezone"] = "%{[zone]}".into();
        }
        if let Some(locale) = text("locale") {
            date["locale"] = locale.into();
        }
        let record = record(&folder, &json!({ "date": date }), &event, text("now"));
        let (time, tags) = (record["@timestamp"].as_str(), record.get("tags"));
        match text("expected_utc") {
            Some(expected) => assert_eq!((time, tags), (Some(expected), None), "{case}"),
            None => assert_eq!((time, tags), (Some(BEFORE), Some(&json!(["_dateparsefailure"]))), "{case}"),
        }
    }
}

/// Scenario: every case of Filebeat's own tests of `dissect`.
/// Guarantee: the event has the fields that Filebeat finds and no other; where it fails there is none, and the event is tagged.
#[test]
fn texts_are_dissected_as_by_filebeat() {
    let Some(cases) = conformance("dissect/dissect_tests.json") else { return };
    let folder = scratch::folder("dissect-conformance");
    let cases: Vec<Value> = serde_json::from_str(&cases).expect("JSON");
    assert!(!cases.is_empty());
    for case in &cases {
        let dissect = json!({ "dissect": { "tokenizer": case["tok"], "target_prefix": "found" } });
        let record = record(&folder, &dissect, &json!({ "message": case["msg"] }), None);
        assert_eq!(record["message"], case["msg"], "{case}");
        if case["fail"] == true {
            assert_eq!((record.get("found"), &record["tags"]), (None, &json!(["_dissectfailure"])), "{case}");
        } else {
            assert_eq!((record.get("found"), record.get("tags")), (Some(&case["expected"]), None), "{case}");
        }
    }
}
