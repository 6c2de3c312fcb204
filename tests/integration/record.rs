//! What a record looks like: the names that users' Logstash and index templates already expect, and identity for ever.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::kafka_or_skip;
use crate::kit::check::prove_gapless;
use crate::kit::{agent::Agent, consumer, writer::Writer};

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("it is before the year 292 million")
}

/// Scenario: lines with fields and tags of the input, LF and CRLF, empty, with quotes, control characters and bytes that
/// are no UTF-8, in the default codec.
/// Guarantee: every record is a JSON object with the ECS names; the record's time is the time of reading; offset and length
/// lie end to end over every raw byte.
#[test]
fn the_default_record_is_ecs() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("ecs", 1);
    let mut agent = Agent::new("ecs");
    agent.ship("fields: { service: web, shard: 7 }\ntags: [edge, eu]", &kafka.bootstrap(), &format!("topic: {topic}"));
    let raw: &[u8] = b"plain\ncrlf\r\n\nquote \" backslash \\ tab \t bell \x07\nb\xfcrger\nlast\n";
    std::fs::write(agent.log("a.log"), raw).expect("the scratch folder is writable");
    let before = now_ms();
    agent.until_idle(1);
    let records = kafka.records(&topic);
    let messages: Vec<String> = records.iter().map(crate::kit::consumer::Record::message).collect();
    let expected = ["plain", "crlf", "", "quote \" backslash \\ tab \t bell \u{7}", "b\u{fffd}rger", "last"];
    // An empty line may be shipped or not, but its byte must be accounted for; both are seen in the proof below.
    let without_empty: Vec<&str> = expected.into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(messages.iter().filter(|line| !line.is_empty()).collect::<Vec<_>>(), without_empty);
    let path = agent.log("a.log").display().to_string();
    for record in &records {
        let value = record.json();
        let get = |field: &str| consumer::lookup(&value, field).unwrap_or_else(|| panic!("no {field} in {value}"));
        assert_eq!(get("log.file.path"), &json!(path));
        assert_eq!(get("fields"), &json!({ "service": "web", "shard": 7 }));
        let tags = get("tags").as_array().expect("tags are a list");
        assert!(tags.contains(&json!("edge")) && tags.contains(&json!("eu")), "{tags:?}");
        for field in ["host.name", "log.file.id", "event.id", "agent.version", "agent.type"] {
            assert!(get(field).as_str().is_some_and(|text| !text.is_empty()), "{field} in {value}");
        }
        let time: jiff::Timestamp = record.text("@timestamp").expect("it has a time").parse().expect("ISO 8601");
        assert!((before..=now_ms()).contains(&time.as_millisecond()), "{time}");
        assert_eq!(record.timestamp, time.as_millisecond(), "the record's own time is the event's");
    }
    if messages.iter().any(String::is_empty) {
        let proved = prove_gapless(&records).expect("no gap");
        assert_eq!(proved.into_values().collect::<Vec<_>>(), [raw.len() as u64]);
    }
    let ids: std::collections::BTreeSet<_> = records.iter().map(|record| record.text("event.id")).collect();
    assert_eq!(ids.len(), records.len(), "no two lines share an event.id");
}

/// Scenario: the data_dir is lost, and all is read again; and equal lines stand in one file and in two.
/// Guarantee: the same line has the same `event.id` again, and another line never has it.
#[test]
fn event_ids_are_the_same_after_a_lost_data_dir() {
    let kafka = kafka_or_skip!();
    let topics = [kafka.topic("ids", 1), kafka.topic("ids", 1)];
    let mut agent = Agent::new("ids");
    std::fs::write(agent.log("a.log"), "same\nsame\nother\n").expect("the scratch folder is writable");
    std::fs::write(agent.log("b.log"), "same\nsame\nother\n").expect("the scratch folder is writable");
    let mut writer = Writer::new(&agent.log("c.log"), "c");
    writer.write(500);
    let ids = topics.map(|topic| {
        agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}"));
        agent.until_idle(1);
        std::fs::remove_dir_all(agent.data()).expect("it is there");
        std::fs::create_dir(agent.data()).expect("the scratch folder is writable");
        let id = |record: &crate::kit::consumer::Record| {
            let place = (record.text("log.file.path"), record.text("log.offset"));
            (record.text("event.id").expect("it has one"), place)
        };
        kafka.records(&topic).iter().map(id).collect::<BTreeMap<_, _>>()
    });
    assert_eq!(ids[0].len(), 506);
    assert_eq!(ids[0], ids[1]);
}

/// Scenario: lines around the limit of `max_line_bytes`, among them one of 3 MB and one whose limit falls into a character.
/// Guarantee: a longer line is cut at a character, marked, counted, and blocks nothing; its bytes are accounted for.
#[test]
fn an_over_long_line_is_cut_and_marked() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("long", 1);
    let mut agent = Agent::new("long");
    agent.ship("max_line_bytes: 1000B", &kafka.bootstrap(), &format!("topic: {topic}"));
    let lines = ["a".repeat(1_000), "b".repeat(1_001), "\u{e4}".repeat(501), "c".repeat(3_000_000), "after".into()];
    let text = lines.join("\n") + "\n";
    std::fs::write(agent.log("a.log"), &text).expect("the scratch folder is writable");
    agent.start();
    kafka.wait_count(&topic, 5);
    agent.wait_status("three cut lines to be counted", |status| {
        (status["inputs"][0]["truncated_lines_total"] == 3).then_some(())
    });
    agent.stop();
    let records = kafka.records(&topic);
    let messages: Vec<String> = records.iter().map(crate::kit::consumer::Record::message).collect();
    let expected = ["a".repeat(1_000), "b".repeat(1_000), "\u{e4}".repeat(500), "c".repeat(1_000), "after".into()];
    assert_eq!(messages, expected);
    let marked: Vec<bool> =
        records.iter().map(|record| String::from_utf8_lossy(&record.value).contains("truncated")).collect();
    assert_eq!(marked, [false, true, true, true, false], "log.flags tells which are cut");
    let proved = prove_gapless(&records).expect("the bytes that were cut are accounted for");
    assert_eq!(proved.into_values().collect::<Vec<_>>(), [text.len() as u64]);
}
