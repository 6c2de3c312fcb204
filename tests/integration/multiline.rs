//! `format` and `multiline`, end to end: container lines and stack traces, through rotation, kills and silence.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::kafka_or_skip;
use crate::kit::agent::{Agent, logferry};
use crate::kit::check::prove_gapless;
use crate::kit::{cluster::Cluster, consumer::Record, scratch};

/// The conformance data beside the repository; without it the test says nothing, which `REQUIRE_KAFKA=1` does not allow.
fn conformance() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/multiline");
    let is_required = std::env::var("REQUIRE_KAFKA").is_ok_and(|value| value == "1");
    assert!(path.is_dir() || !is_required, "{} is missing", path.display());
    if !path.is_dir() {
        eprintln!("skipped: {} is missing", path.display());
    }
    path.is_dir().then_some(path)
}

/// The records that `logferry try` makes of lines, for a file input with these keys.
#[track_caller]
fn tried(input: Value, lines: &[u8]) -> Vec<Value> {
    let folder = scratch::folder("multiline-try");
    let mut files = json!({ "type": "file", "paths": [folder.join("*.log")] });
    files.as_object_mut().expect("an object").extend(input.as_object().expect("an object").clone());
    let config = json!({
        "data_dir": folder,
        "inputs": { "files": files },
        "outputs": { "main": { "type": "kafka", "brokers": ["nowhere:9092"], "topic": "t" } },
    });
    let path = folder.join("config.yaml");
    std::fs::write(&path, config.to_string()).expect("the scratch folder is writable");
    let output = logferry(&["try", "-c", &path.display().to_string()], lines);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn messages(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["message"].as_str().expect("a text")).collect()
}

/// Scenario: each case of the conformance data, through `logferry try`.
/// Guarantee: the records are those expected; their lengths add up to all that was read.
#[test]
fn the_conformance_cases_are_joined_as_expected() {
    let Some(folder) = conformance() else { return };
    let mut cases = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a case");
        let case: Value = serde_json::from_str(&text).expect("JSON");
        let texts = |key: &str| -> Vec<&str> {
            case[key].as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
        };
        let (containers, languages): (Vec<&str>, Vec<&str>) =
            texts("parsers").into_iter().partition(|parser| ["cri", "docker"].contains(parser));
        let mut input = json!({ "format": if containers.is_empty() { "lines" } else { "auto" } });
        if !languages.is_empty() {
            input["multiline"] = json!({ "preset": languages });
        }
        let lines: String = texts("input").iter().map(|line| format!("{line}\n")).collect();
        let records = tried(input, lines.as_bytes());
        assert_eq!(messages(&records), texts("expected"), "{}", case["name"]);
        let read: u64 = records.iter().map(|record| record["log"]["length"].as_u64().expect("a number")).sum();
        assert_eq!(read, lines.len() as u64, "{}", case["name"]);
        cases += 1;
    }
    assert!(cases >= 5, "only {cases} cases");
}

/// Scenario: lines of both container formats, of none, and traces within each, in one file with `format: auto`.
/// Guarantee: each line is recognised by itself; what is of no format is shipped, tagged, and its traces are joined too.
#[test]
fn auto_recognises_each_line() {
    let lines = concat!(
        "2024-01-02T03:04:05.678901234Z stderr F x.YException: no\n",
        "2024-01-02T03:04:06Z stdout P half \n",
        "2024-01-02T03:04:07Z stderr F \tat x.Y.z(Y.java:1)\n",
        "2024-01-02T03:04:08Z stdout F whole\n",
        "Traceback (most recent call last):\n",
        "  File \"a.py\", line 1, in f\n",
        "    1 / 0\n",
        "ZeroDivisionError: division by zero\n",
        "{\"log\":\"a.BError: \\u00fc\\n\",\"stream\":\"stdout\",\"time\":\"2024-01-02T03:04:09.5Z\"}\n",
        "{\"log\":\"\\tat a.B\",\"stream\":\"stdout\",\"time\":\"2024-01-02T03:04:10Z\"}\n",
        "{\"log\":\".c(B.java:2)\\n\",\"stream\":\"stdout\",\"time\":\"2024-01-02T03:04:10Z\"}\n",
        "no container\n",
    );
    let records = tried(json!({ "format": "auto", "multiline": { "preset": ["java", "python"] } }), lines.as_bytes());
    let expect = [
        "half whole",
        "x.YException: no\n\tat x.Y.z(Y.java:1)",
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    1 / 0\nZeroDivisionError: division by zero",
        "a.BError: ü\n\tat a.B.c(B.java:2)",
        "no container",
    ];
    assert_eq!(messages(&records), expect);
    let field = |name: &str| records.iter().map(|record| record[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("stream"), [json!("stdout"), json!("stderr"), Value::Null, json!("stdout"), Value::Null]);
    let tag = json!(["_formatparsefailure"]);
    assert_eq!(field("tags"), [Value::Null, Value::Null, tag.clone(), Value::Null, tag]);
    assert_eq!(records[1]["@timestamp"], "2024-01-02T03:04:05.678901234Z");
    assert_eq!(records[1]["log"]["flags"], json!(["multiline"]));
}

/// Scenario: a trace of more lines than `max_lines`, and one of more bytes than `max_bytes`.
/// Guarantee: each is cut and says so; what is cut off is in its length, and the line behind it is whole.
#[test]
fn what_is_cut_is_marked() {
    let trace = format!("x.YException: no\n{}", "\tat x.Y.z(Y.java:1)\n".repeat(20));
    let lines = format!("{trace}next\n");
    for limits in [json!({ "preset": "java", "max_lines": 3 }), json!({ "preset": "java", "max_bytes": 128 })] {
        let records = tried(json!({ "multiline": limits }), lines.as_bytes());
        assert_eq!(records.len(), 2, "{records:?}");
        assert_eq!(records[0]["log"]["flags"], json!(["multiline", "truncated"]));
        assert_eq!(records[0]["log"]["length"], trace.len());
        let message = records[0]["message"].as_str().expect("a text");
        assert!(trace.starts_with(message) && message.len() <= 128, "{message:?}");
        assert_eq!(records[1]["message"], "next");
        assert_eq!(records[1]["log"].get("flags"), None);
    }
}

const HEAD: &str = "2024-01-02 ERROR x.YException: no\n\tat x.Y.z(Y.java:1)\n";
const REST: &str = "\tat x.Y.w(Y.java:2)\nCaused by: x.VException: why\n\tat x.V.u(V.java:3)\n";

fn trace() -> String {
    format!("{HEAD}{REST}").trim_end().to_owned()
}

fn append(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("the scratch folder is writable")
}

fn write(mut file: &File, text: &str) {
    file.write_all(text.as_bytes()).expect("the scratch folder is writable");
}

fn shipped(kafka: &Cluster, name: &str, input: &str) -> (Agent, String) {
    let topic = kafka.topic(name, 1);
    let agent = Agent::new(name);
    agent.ship(input, &kafka.bootstrap(), &format!("topic: {topic}"));
    (agent, topic)
}

/// Waits until everything that is there was read, joined or not.
fn wait_read(agent: &Agent, bytes: u64) {
    agent.wait_status("all to be read", |status| {
        let files = status["inputs"][0]["files"].as_array()?;
        let read: u64 = files.iter().filter_map(|file| file["read_bytes"].as_u64()).sum();
        (read >= bytes).then_some(())
    });
}

/// By `event.id`: what came twice is once.
fn by_id(records: &[Record]) -> BTreeMap<String, String> {
    let id = |record: &Record| record.text("event.id").expect("every record has one");
    records.iter().map(|record| (id(record), record.message())).collect()
}

/// Scenario: a file is renamed away in the middle of a trace; its writer goes on in it before it opens the next.
/// Guarantee: the trace arrives as one record, before what is in the new file, and no byte is missing.
#[test]
fn a_trace_goes_on_over_a_rename() {
    let kafka = kafka_or_skip!();
    let (mut agent, topic) = shipped(kafka, "ml-rename", "multiline: { preset: java, timeout: 60s }");
    let path = agent.log("app.log");
    let old = append(&path);
    write(&old, "before\n");
    write(&old, HEAD);
    agent.start();
    kafka.wait_count(&topic, 1);
    wait_read(&agent, ("before\n".len() + HEAD.len()) as u64);
    std::fs::rename(&path, agent.log("app.log.1")).expect("it can be renamed");
    write(&old, REST);
    write(&old, "last of the old\n");
    write(&append(&path), "first of the new\n");
    kafka.wait_count(&topic, 4);
    agent.stop();
    let records = kafka.records(&topic);
    let seen: Vec<String> = records.iter().map(Record::message).collect();
    assert_eq!(seen, ["before", &trace(), "last of the old", "first of the new"]);
    prove_gapless(&records).expect("no gap in any file");
}

/// Scenario: the agent is killed with -9 while it joins a trace of which only the head was written; the rest comes while it is
/// down.
/// Guarantee: the checkpoint was before the trace: it arrives whole, as one record, with the `event.id` that an agent gives it
/// which never was killed.
#[test]
fn a_kill_in_the_middle_of_a_trace_loses_nothing_of_it() {
    let kafka = kafka_or_skip!();
    let (mut agent, topic) = shipped(kafka, "ml-kill", "multiline: { preset: java, timeout: 60s }");
    let path = agent.log("app.log");
    let file = append(&path);
    write(&file, "before\n");
    write(&file, HEAD);
    agent.start();
    kafka.wait_count(&topic, 1);
    wait_read(&agent, ("before\n".len() + HEAD.len()) as u64);
    agent.kill9();
    write(&file, REST);
    write(&file, "after\n");
    agent.start();
    let expect = ["before".to_owned(), trace(), "after".to_owned()];
    crate::kit::wait::until("the three records", || (by_id(&kafka.records(&topic)).len() == 3).then_some(()));
    agent.stop();
    let records = kafka.records(&topic);
    let seen = by_id(&records);
    assert!(expect.iter().all(|message| seen.values().any(|seen| seen == message)), "{seen:?}");
    prove_gapless(&records).expect("no gap");

    let other_topic = kafka.topic("ml-kill-other", 1);
    let mut other = Agent::new("ml-kill-other");
    let input = format!("files:\n  type: file\n  paths: [\"{}\"]\n  multiline: {{ preset: java }}\n", path.display());
    let output = format!("main:\n  type: kafka\n  brokers: [{}]\n  topic: {other_topic}\n", kafka.bootstrap());
    let indent = crate::kit::agent::indent;
    other.configure(&format!("inputs:\n{}outputs:\n{}", indent(&input), indent(&output)));
    other.until_idle(1);
    assert_eq!(by_id(&kafka.records(&other_topic)), seen);
}

/// Scenario: lines of a container runtime in parts, those of the two streams between each other, a trace on one of them.
/// Guarantee: each stream is put together for itself, time and stream of its first line are the record's, and the lengths of the records add
/// up to the file.
#[test]
fn streams_of_a_container_do_not_break_each_other_up() {
    let kafka = kafka_or_skip!();
    let (mut agent, topic) = shipped(kafka, "ml-cri", "format: cri\nmultiline: { preset: java, timeout: 60s }");
    let lines = concat!(
        "2016-10-06T00:17:09.669794202Z stdout P one \n",
        "2016-10-06T00:17:10.000000000Z stderr F x.YException: no\n",
        "2016-10-06T00:17:11.000000000Z stdout P two \n",
        "2016-10-06T00:17:12.000000000Z stderr P \tat x.Y\n",
        "2016-10-06T00:17:13.000000000Z stdout F three\n",
        "2016-10-06T00:17:14.000000000Z stderr F .z(Y.java:1)\n",
        "2016-10-06T00:17:15.000000000Z stdout F four\n",
        "not of a container\n",
    );
    write(&append(&agent.log("0.log")), lines);
    agent.start();
    kafka.wait_count(&topic, 4);
    agent.stop();
    let records = kafka.records(&topic);
    let seen: BTreeMap<String, Option<String>> =
        records.iter().map(|record| (record.message(), record.text("stream"))).collect();
    let expect = [
        ("one two three", Some("stdout")),
        ("x.YException: no\n\tat x.Y.z(Y.java:1)", Some("stderr")),
        ("four", Some("stdout")),
        ("not of a container", None),
    ];
    assert_eq!(seen, expect.map(|(message, stream)| (message.to_owned(), stream.map(str::to_owned))).into());
    let number = |record: &Record| record.text("log.length").and_then(|text| text.parse::<usize>().ok());
    assert_eq!(records.iter().filter_map(number).sum::<usize>(), lines.len());
    let first = records.iter().find(|record| record.message() == "one two three").expect("seen above");
    assert_eq!(first.text("@timestamp").as_deref(), Some("2016-10-06T00:17:09.669794202Z"));
    let other = records.iter().find(|record| record.message() == "not of a container").expect("seen above");
    assert_eq!(other.json()["tags"], json!(["_formatparsefailure"]));
}

/// Scenario: the last lines of a file are a trace, and nothing comes behind it.
/// Guarantee: it arrives after `timeout`, and while it is waited for the agent does not spin.
#[test]
fn a_trace_without_a_line_behind_it_arrives_in_time() {
    let kafka = kafka_or_skip!();
    let (mut agent, topic) = shipped(kafka, "ml-timeout", "multiline: { preset: java, timeout: 1s }");
    let file = append(&agent.log("app.log"));
    write(&file, HEAD);
    write(&file, REST);
    agent.start();
    kafka.wait_count(&topic, 1);
    let (cpu_seconds, _) = agent.usage_now();
    assert!(cpu_seconds < 1.0, "{cpu_seconds} CPU-seconds");
    agent.wait_status("the trace to be settled", |status| (status["inputs"][0]["lag_bytes"] == 0).then_some(()));
    agent.stop();
    let seen: Vec<String> = kafka.records(&topic).iter().map(Record::message).collect();
    assert_eq!(seen, [trace()]);
}

/// Scenario: a trace on standard input, which ends behind it.
/// Guarantee: it is one record, and the agent ends.
#[test]
fn standard_input_is_joined_to_its_end() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("ml-stdin", 1);
    let mut agent = Agent::new("ml-stdin");
    let output = format!("main: {{ type: kafka, brokers: [{}], topic: {topic} }}", kafka.bootstrap());
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin, multiline: {{ pattern: '^\\s|^Caused', timeout: 60s }} }}\noutputs:\n  {output}\n"
    ));
    agent.spawn(&["--until-idle=1s"], Stdio::piped());
    let mut stdin = agent.stdin();
    stdin.write_all(format!("before\n{HEAD}{REST}").as_bytes()).expect("it reads");
    drop(stdin);
    agent.wait_success();
    let seen: Vec<String> = kafka.records(&topic).iter().map(Record::message).collect();
    assert_eq!(seen, ["before".to_owned(), trace()]);
}
