//! The processors that change fields, through `try --json`: events in, records out, as a user would look at a config.

use serde_json::{Value, json};

use crate::kit::agent::{Agent, logferry};
use crate::kit::broker::free_port;

/// What a config with these processors makes of these events, by the codec that writes only what is the event's own.
fn records(hint: &str, processors: &str, events: &[Value]) -> Vec<Value> {
    let agent = Agent::new(hint);
    agent.ship(&format!("processors:\n{processors}"), &format!("127.0.0.1:{}", free_port()), "topic: t\ncodec: json");
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let config = agent.config().display().to_string();
    let output = logferry(&["try", "-c", &config, "--json"], (lines.join("\n") + "\n").as_bytes());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Scenario: times in several forms, zones and languages; one that is no time; a field that is missing.
/// Guarantee: `@timestamp` is the time; what is none keeps its time and is tagged; what is missing is neither.
#[test]
fn dates_become_the_time_of_the_event() {
    let formats =
        "[\"dd/MMM/yyyy:HH:mm:ss Z\", ISO8601, UNIX, UNIX_MS, TAI64N, \"%b %e %Y %H:%M:%S\", \"yyyy MMM dd HH:mm:ss\"]";
    let processors = format!("- date: {{ field: t, formats: {formats}, timezone: \"%{{[zone]:UTC}}\" }}\n");
    let cases = [
        (json!({"t": "25/Mar/2013:20:33:56 +0100"}), "2013-03-25T19:33:56.000Z"),
        (json!({"t": "2007-12-09T01:00:00", "zone": "America/Caracas"}), "2007-12-09T05:00:00.000Z"),
        (json!({"t": "2013 Nov 24 01:29:01", "zone": "America/Los_Angeles"}), "2013-11-24T09:29:01.000Z"),
        (json!({"t": "Nov  4 2013 01:29:01"}), "2013-11-04T01:29:01.000Z"),
        (json!({"t": 1_350_414_944.123_456}), "2012-10-16T19:15:44.123Z"),
        (json!({"t": "1000000000123"}), "2001-09-09T01:46:40.123Z"),
        (json!({"t": "4000000050d506482dbdf024"}), "2012-12-22T01:00:46.767Z"),
        (json!({"t": "soon", "@timestamp": "2001-01-01T00:00:00.000Z"}), "2001-01-01T00:00:00.000Z"),
        (json!({"@timestamp": "2001-01-01T00:00:00.000Z"}), "2001-01-01T00:00:00.000Z"),
    ];
    let events = cases.each_ref().map(|(event, _)| event.clone());
    let records = records("dates", &processors, &events);
    assert_eq!(records.len(), cases.len());
    for (record, (event, expect)) in records.iter().zip(&cases) {
        assert_eq!(record["@timestamp"], *expect, "{event}");
        let is_failed = event["t"] == "soon";
        assert_eq!(record.get("tags"), is_failed.then(|| json!(["_dateparsefailure"])).as_ref(), "{event}");
    }
}

/// Scenario: what Logstash's `mutate` does to an access log's fields, as processors; then to fields of other types.
/// Guarantee: the fields are as Logstash makes them; a wrong type is tagged, by processor, and stays as it was.
#[test]
fn fields_are_changed_as_mutate_does() {
    let processors = "\
- convert: { fields: { response: integer, took: float } }
- gsub: { fields: [{ field: path, pattern: '[?#].*', replacement: '' }] }
- split: { fields: { via: ',' } }
- strip: { fields: [via] }
- lowercase: { fields: [verb] }
- copy: { fields: [{ from: verb, to: http.request.method }] }
- set: { fields: { url.full: 'https://%{[vhost]}%{[path]}', kind: event } }
- truncate: { fields: [agent_text], max_bytes: 3 }
- add_tags: { tags: ['s-%{[response]}'] }
- remove: { fields: [vhost, verb] }
";
    let events = [
        json!({
            "response": "404", "took": "0.25s", "path": "/a?b=c", "via": "x, y,", "verb": "GET", "vhost": "example.org", "agent_text": "aöü",
        }),
        json!({"response": {}, "path": 1, "via": ["x"], "verb": true, "agent_text": 5}),
    ];
    let mut records = records("mutate", processors, &events);
    records.iter_mut().for_each(|record| drop(record.as_object_mut().expect("an object").remove("@timestamp")));
    assert_eq!(
        records[0],
        json!({
            "response": 404, "took": 0.25, "path": "/a", "via": ["x", "y"], "http": {"request": {"method": "get"}},
            "url": {"full": "https://example.org/a"}, "kind": "event", "agent_text": "aö", "tags": ["s-404"],
        })
    );
    let failed = ["convert", "gsub", "split", "lowercase", "set", "truncate"].map(|name| format!("_{name}_failed"));
    assert_eq!(
        records[1],
        json!({
            "response": {}, "path": 1, "via": ["x"], "http": {"request": {"method": true}}, "kind": "event", "agent_text": 5,
            "tags": failed.iter().map(String::as_str).chain(["s-{}"]).collect::<Vec<_>>(),
        })
    );
}

/// Scenario: an event with more fields than wanted, on a host.
/// Guarantee: `keep` leaves what is named, `remove_tags` takes tags away, `host` adds what `uname` says of this machine.
#[test]
fn fields_are_kept_and_the_host_is_named() {
    let processors = "- keep: { fields: [message, a.b] }\n- remove_tags: { tags: [x] }\n- host: {}\n";
    let records =
        records("host", processors, &[json!({"message": "m", "a": {"b": 1, "c": 2}, "d": 3, "tags": ["x", "y"]})]);
    let record = records[0].as_object().expect("an object");
    assert_eq!((&record["message"], &record["a"], &record["tags"]), (&json!("m"), &json!({"b": 1}), &json!(["y"])));
    assert_eq!(record.get("d"), None);
    let uname = std::process::Command::new("uname").arg("-r").output().expect("uname runs");
    assert_eq!(record["host"]["os"]["kernel"], String::from_utf8_lossy(&uname.stdout).trim());
    assert_eq!(record["host"]["os"]["type"], "linux");
}
