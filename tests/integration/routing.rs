//! Where records go and how they are written: topics, keys, headers, codecs, placement, processors.

use serde_json::json;

use crate::kafka_or_skip;
use crate::kit::{agent::Agent, check::Check, cluster, consumer::Record, writer::Writer};

/// Scenario: topic, key and headers by template, with defaults; one input's field makes a name that is not legal, another
/// has no such field and the template no default.
/// Guarantee: each record is where its template says, with that key and those headers; what can't be rendered or is illegal
/// goes to `fallback_topic`, tagged, and blocks nothing.
#[test]
fn templates_decide_topic_key_and_headers() {
    let kafka = kafka_or_skip!();
    let prefix = cluster::Cluster::name("templ");
    let (web, raw, fallback) = (format!("{prefix}.web"), format!("{prefix}.raw"), format!("{prefix}.fallback"));
    for topic in [&web, &raw, &fallback] {
        kafka.create(topic, 2);
    }
    let mut agent = Agent::new("templates");
    let input = |name: &str, more: &str| {
        format!("  {name}: {{ type: file, paths: [{}]{more} }}\n", agent.log(&format!("{name}.log")).display())
    };
    agent.configure(&format!(
        "fallback_topic: {fallback}\ninputs:\n{}{}{}{}outputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    \
         topic: \"{prefix}.%{{[fields.service]:raw}}\"\n    key: \"%{{[host.name]}}/%{{[fields][shard]:none}}\"\n    \
         headers: {{ source: \"%{{[log.file.path]}}\", fixed: text }}\n",
        input("web", ", fields: { service: web, shard: 7 }"),
        input("plain", ""),
        input("bad", ", fields: { service: \"no/such name\" }"),
        input("gone", ", topic: \"%{[fields.nowhere]}\""),
        kafka.bootstrap(),
    ));
    for name in ["web", "plain", "bad", "gone"] {
        Writer::new(&agent.log(&format!("{name}.log")), name).write(50);
    }
    agent.until_idle(1);
    let (web, raw, fallback) = (kafka.records(&web), kafka.records(&raw), kafka.records(&fallback));
    let all = |records: &[Record], names: &[&str]| {
        assert_eq!(records.len(), 50 * names.len());
        for record in records {
            let message = record.message();
            assert!(names.iter().any(|name| message.starts_with(&format!("{name} "))), "{message}");
        }
    };
    all(&web, &["web"]);
    all(&raw, &["plain"]);
    all(&fallback, &["bad", "gone"]);
    let host = web[0].text("host.name").expect("it has one");
    assert_eq!(web[0].key_text(), format!("{host}/7"));
    assert_eq!(raw[0].key_text(), format!("{host}/none"));
    let path = agent.log("web.log").display().to_string();
    assert!(web[0].headers.contains(&format!("source={path}")), "{}", web[0].headers);
    assert!(web[0].headers.contains("fixed=text"), "{}", web[0].headers);
    for record in &fallback {
        let tags = record.json()["tags"].as_array().cloned().unwrap_or_default();
        assert!(!tags.is_empty(), "what fell back is tagged: {}", record.json());
    }
    assert!(web.iter().chain(&raw).all(|record| record.json().get("tags").is_none_or(|tags| tags == &json!([]))));
}

/// Scenario: 1,500 keys of many lengths and scripts, into a topic with 7 partitions.
/// Guarantee: every record is in the partition that the Java client's own partitioner chooses for its key.
#[test]
fn placement_is_the_java_clients() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("murmur", 7);
    let mut agent = Agent::shipping("murmur", kafka, &format!("topic: {topic}\nkey: \"%{{[message]}}\"\ncodec: raw"));
    let piece = ["a", "namespace/pod-", "0123456789", "\u{e4}\u{20ac}", "\u{1f600}", "-", "/var/log/x.log"];
    let key = |number: usize| {
        (0..=number % 9).map(|step| piece[(number * 31 + step * 7) % piece.len()]).collect::<String>()
            + &number.to_string()
    };
    let keys: Vec<String> = (0..1_500).map(key).collect();
    std::fs::write(agent.log("a.log"), keys.join("\n") + "\n").expect("the scratch folder is writable");
    agent.until_idle(1);
    let records = kafka.records(&topic);
    assert_eq!(records.len(), keys.len());
    let bytes: Vec<Vec<u8>> = records.iter().map(|record| record.key.clone().expect("it has a key")).collect();
    let placed = cluster::java_placement(&kafka.jars, 7, &bytes);
    for (record, java) in records.iter().zip(placed) {
        assert_eq!(record.partition, java, "key {:?}", record.key_text());
        assert_eq!(record.key.as_deref(), Some(&record.value[..]), "the key is the line");
    }
}

/// Scenario: the same lines in the codecs `json` and `raw`.
/// Guarantee: `json` holds the event's fields, time and tags without what the agent adds; `raw` holds the line's bytes as
/// they are, also where they are no UTF-8, and tells its origin in headers.
#[test]
fn the_codecs_json_and_raw() {
    let kafka = kafka_or_skip!();
    let (as_json, as_raw) = (kafka.topic("json", 1), kafka.topic("raw", 1));
    let mut agent = Agent::new("codecs");
    let input = |name: &str, topic: &str| {
        let path = agent.log(&format!("{name}.log"));
        format!("  {name}: {{ type: file, paths: [{}], codec: {name}, topic: {topic}, tags: [t] }}\n", path.display())
    };
    agent.configure(&format!(
        "inputs:\n{}{}outputs:\n  main: {{ type: kafka, brokers: [{}] }}\n",
        input("json", &as_json),
        input("raw", &as_raw),
        kafka.bootstrap()
    ));
    let raw: &[u8] = b"first line\nb\xfcrger \x00\x01\n";
    std::fs::write(agent.log("json.log"), raw).expect("the scratch folder is writable");
    std::fs::write(agent.log("raw.log"), raw).expect("the scratch folder is writable");
    agent.until_idle(1);
    let records = kafka.records(&as_json);
    assert_eq!(records[0].message(), "first line");
    for record in &records {
        let value = record.json();
        let names: Vec<&String> = value.as_object().expect("an object").keys().collect();
        assert!(names.iter().all(|name| ["@timestamp", "message", "tags"].contains(&name.as_str())), "{names:?}");
        assert_eq!(value["tags"], json!(["t"]));
    }
    let records = kafka.records(&as_raw);
    let values: Vec<&[u8]> = records.iter().map(|record| &record.value[..]).collect();
    assert_eq!(values, [&b"first line"[..], b"b\xfcrger \x00\x01"]);
    let path = agent.log("raw.log").display().to_string();
    assert!(records.iter().all(|record| record.headers.contains(&path)), "{:?}", records[0].headers);
}

/// Scenario: `include_lines`, `exclude_lines` and the processors with conditions.
/// Guarantee: what is left out is counted by reason, what is shipped is changed as told, and the file counts as done.
#[test]
fn lines_are_filtered_and_events_processed() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("process", 1);
    let mut agent = Agent::new("process");
    agent.ship(
        "include_lines: ['^keep']\n\
         exclude_lines: ['secret']\n\
         fields: { a: { b: 1 } }\n\
         processors:\n\
         - drop_event: { if: 'message contains \"drop\"' }\n\
         - add_fields: { target: extra, fields: { level: high }, if: 'message =~ \"[0-9]{3}\"' }\n\
         - rename: { fields: [{ from: fields.a.b, to: number }] }\n\
         - drop_fields: { fields: [agent] }",
        &kafka.bootstrap(),
        &format!("topic: {topic}"),
    );
    std::fs::write(agent.log("a.log"), "keep 123\nother\nkeep secret\nkeep drop\nkeep plain\n")
        .expect("it is writable");
    agent.start();
    kafka.wait_count(&topic, 2);
    agent.wait_status("the whole file to be done", |status| {
        let input = &status["inputs"][0];
        (input["lag_bytes"] == 0 && input["acked_bytes_total"].as_u64()? > 0).then_some(())
    });
    let dropped = agent.input("files")["dropped"].clone();
    assert_eq!(
        dropped.as_object().map(|reasons| reasons.values().filter_map(|n| n.as_u64()).sum()),
        Some(3),
        "{dropped}"
    );
    agent.stop();
    let records = kafka.records(&topic);
    let messages: Vec<String> = records.iter().map(Record::message).collect();
    assert_eq!(messages, ["keep 123", "keep plain"]);
    let values: Vec<_> = records.iter().map(Record::json).collect();
    assert_eq!(values[0]["extra"], json!({ "level": "high" }));
    assert!(values[1].get("extra").is_none());
    for value in &values {
        assert_eq!(value["number"], 1);
        assert!(value.get("agent").is_none(), "{value}");
    }
}

/// Scenario: lines on the standard input, which then ends.
/// Guarantee: all arrive in order, and the agent ends by itself with 0.
#[test]
fn standard_input_is_shipped_to_its_end() {
    use std::io::Write;
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("stdin", 1);
    let mut agent = Agent::new("stdin");
    agent.configure(&format!(
        "inputs:\n  lines: {{ type: stdin }}\noutputs:\n  main: {{ type: kafka, brokers: [{}], topic: {topic} }}\n",
        kafka.bootstrap()
    ));
    let mut writer = Writer::new(&agent.folder().join("as-file"), "stdin");
    writer.write(5_000);
    agent.spawn(&["--until-idle=1s"], std::process::Stdio::piped());
    let mut stdin = agent.stdin();
    let text = std::fs::read(agent.folder().join("as-file")).expect("it was written");
    stdin.write_all(&text).expect("the agent reads");
    drop(stdin);
    agent.wait_success();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}
