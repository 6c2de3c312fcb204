//! Lines that belong together: stack traces, and what container runtimes write, end to end.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::kafka_or_skip;
use crate::kit::agent::logferry;
use crate::kit::check::prove_gapless;
use crate::kit::consumer::Record;
use crate::kit::skip::conformance_or_skip;
use crate::kit::{agent::Agent, cluster::Cluster, scratch, wait};

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("the scratch folder is writable");
    file.write_all(text.as_bytes()).expect("the scratch folder is writable");
}

fn started(kafka: &Cluster, name: &str, input: &str) -> (Agent, String) {
    let topic = kafka.topic(name, 1);
    let mut agent = Agent::new(name);
    agent.ship(input, &kafka.bootstrap(), &format!("topic: {topic}"));
    agent.start();
    (agent, topic)
}

fn messages(records: &[Record]) -> Vec<String> {
    records.iter().map(Record::message).collect()
}

/// Waits until so many bytes of the only file were read.
fn wait_read(agent: &Agent, bytes: usize) {
    agent.wait_status("the file to be read", |status| {
        let file = &status["inputs"][0]["files"][0];
        (file["read_bytes"].as_u64() == Some(bytes as u64)).then_some(())
    });
}

const TRACE: [&str; 4] = [
    "2026-11-26 12:00:00 ERROR java.lang.IllegalStateException: no\n",
    "\tat com.example.Author.getBookIds(Author.java:38)\n",
    "Caused by: java.lang.NullPointerException: null\n",
    "\tat com.example.Book.getId(Book.java:22)\n",
];

/// Scenario: a log is renamed in the middle of a stack trace; its writer ends the trace in the file that it has open, then goes on in
/// a new one, which ends with a trace that no line follows.
/// Guarantee: each trace is one record, the lines are in order, and the records' offsets and lengths leave no gap.
#[test]
fn a_trace_goes_on_over_a_rotation() {
    let kafka = kafka_or_skip!();
    let (mut agent, topic) = started(kafka, "trace-rotation", "multiline: { preset: [python, java], timeout: 1s }");
    let (log, rotated) = (agent.log("app.log"), agent.log("app.log.1"));
    append(&log, "one\n");
    append(&log, &TRACE[..2].concat());
    wait_read(&agent, 4 + TRACE[0].len() + TRACE[1].len());
    std::fs::rename(&log, &rotated).expect("the scratch folder is writable");
    append(&rotated, &TRACE[2..].concat());
    append(&log, "two\n");
    append(&log, &TRACE.concat());
    kafka.wait_count(&topic, 4);
    agent.stop();
    let records = kafka.records(&topic);
    let trace = TRACE.concat().trim_end().to_owned();
    assert_eq!(messages(&records), ["one".to_owned(), trace.clone(), "two".to_owned(), trace]);
    assert_eq!(records[1].json()["log"]["flags"], serde_json::json!(["multiline"]));
    assert_eq!(records[1].text("log.length"), Some(TRACE.concat().len().to_string()));
    prove_gapless(&records).expect("no gap in any file");
}

/// Scenario: the agent is killed with signal 9 when it has read and committed all of a file, whose last record is a trace of which
/// half is written; the other half is written while it is away. Then the same again, ten times.
/// Guarantee: every trace arrives whole, as one record, and none in parts; what comes twice has one `event.id`.
#[test]
fn a_kill_in_the_middle_of_a_trace_breaks_none() {
    let kafka = kafka_or_skip!();
    let (mut agent, topic) = started(kafka, "trace-kill", "multiline: { preset: java, timeout: 0s }");
    let log = agent.log("app.log");
    let mut size = 0;
    for number in 0..10 {
        let begin = format!("line {number}\n{number} {}{}", TRACE[0], TRACE[1]);
        append(&log, &begin);
        size += begin.len();
        wait_read(&agent, size);
        // Each round's line comes after the trace of the round before.
        kafka.wait_count(&topic, 1 + 2 * number);
        agent.kill9();
        append(&log, &TRACE[2..].concat());
        size += TRACE[2..].concat().len();
        agent.start();
    }
    append(&log, "end\n");
    wait::until("the last line to arrive", || {
        messages(&kafka.records(&topic)).contains(&"end".to_owned()).then_some(())
    });
    agent.stop();
    let records = kafka.records(&topic);
    let mut ids = std::collections::BTreeMap::new();
    let mut first = Vec::new();
    for record in &records {
        let (id, message) = (record.text("event.id").expect("an id"), record.message());
        match ids.insert(id, message.clone()) {
            None => first.push(message),
            Some(before) => assert_eq!(before, message, "one id, one record"),
        }
    }
    let expect: Vec<String> = (0..10)
        .flat_map(|number| [format!("line {number}"), format!("{number} {}", TRACE.concat().trim_end())])
        .chain(["end".to_owned()])
        .collect();
    assert_eq!(first, expect);
}

/// Scenario: a container's log with partial lines of stdout and stderr between each other, written while the agent runs, and killed
/// with a part of each open; a line that is not the runtime's; and a line of Docker's.
/// Guarantee: the parts of each stream are one record with the time of its first part and its stream; the others are themselves, the
/// odd one tagged and counted.
#[test]
fn parts_of_two_streams_are_put_together() {
    let kafka = kafka_or_skip!();
    let (mut agent, topic) = started(kafka, "cri-parts", "format: auto\nmultiline: { pattern: '^\\s' }");
    let log = agent.log("app.log");
    let line = |second: u32, stream: &str, tag: &str, text: &str| {
        format!("2026-11-26T12:00:{second:02}.123456789Z {stream} {tag} {text}\n")
    };
    let begin = [
        line(1, "stdout", "F", "whole"),
        line(2, "stdout", "P", "out 1, "),
        line(3, "stderr", "P", "err 1, "),
        line(4, "stdout", "P", "out 2, "),
    ]
    .concat();
    append(&log, &begin);
    wait_read(&agent, begin.len());
    agent.kill9();
    agent.start();
    append(
        &log,
        &[
            line(5, "stderr", "F", "err 2"),
            line(6, "stdout", "F", "out 3"),
            line(7, "stderr", "F", "\tmore"),
            "no container wrote this\n".to_owned(),
            "{\"log\":\"dock\\\"er\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-26T12:00:08.5Z\"}\n".to_owned(),
        ]
        .concat(),
    );
    kafka.wait_count(&topic, 5);
    let malformed = agent.input("files")["malformed_lines_total"].clone();
    assert_eq!(malformed, 1);
    agent.stop();
    let records = kafka.records(&topic);
    let field = |message: &str, field: &str| {
        let record = records.iter().find(|record| record.message() == message);
        record.unwrap_or_else(|| panic!("{message} in {:?}", messages(&records))).text(field)
    };
    for (message, stream, time) in [
        ("whole", "stdout", "2026-11-26T12:00:01.123456789Z"),
        ("out 1, out 2, out 3", "stdout", "2026-11-26T12:00:02.123456789Z"),
        ("err 1, err 2\n\tmore", "stderr", "2026-11-26T12:00:03.123456789Z"),
        ("dock\"er", "stderr", "2026-11-26T12:00:08.500Z"),
    ] {
        assert_eq!(field(message, "stream").as_deref(), Some(stream), "{message}");
        assert_eq!(field(message, "@timestamp").as_deref(), Some(time), "{message}");
        assert_eq!(field(message, "tags"), None, "{message}");
    }
    let odd = "no container wrote this";
    assert_eq!(field(odd, "tags").as_deref(), Some("[\"_formatparsefailure\"]"));
    assert_eq!(field(odd, "stream"), None);
}

/// Scenario: a file that ends with a trace, whose writer is silent; then with a line without its newline behind a trace; one run of
/// `--until-idle` each.
/// Guarantee: the trace arrives after its time although nothing follows; the agent says before that not all is read; while it waits it
/// uses next to no CPU.
#[test]
fn the_last_trace_does_not_wait_for_the_next_line() {
    let kafka = kafka_or_skip!();
    let (mut agent, topic) = started(kafka, "trace-timeout", "multiline: { pattern: '^[\\sC]', timeout: 3s }");
    let log = agent.log("app.log");
    append(&log, &TRACE.concat());
    wait_read(&agent, TRACE.concat().len());
    let (before, _) = agent.usage_now();
    kafka.wait_count(&topic, 1);
    let (after, _) = agent.usage_now();
    assert!(after - before < 1.0, "{} s of CPU for waiting", after - before);
    agent.stop();
    append(&log, "next\n\tat a\nrest");
    agent.until_idle(1);
    append(&log, " and end\n");
    agent.until_idle(1);
    let trace = TRACE.concat().trim_end().to_owned();
    assert_eq!(messages(&kafka.records(&topic)), [trace, "next\n\tat a".to_owned(), "rest and end".to_owned()]);
}

/// Scenario: standard input with a trace in its middle and one at its end.
/// Guarantee: each is one record.
#[test]
fn traces_from_a_pipe_are_records() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("trace-pipe", 1);
    let mut agent = Agent::new("trace-pipe");
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin, multiline: {{ preset: java }} }}\noutputs:\n  main: {{ type: kafka, brokers: [{}], topic: {topic} }}\n",
        kafka.bootstrap()
    ));
    agent.spawn(&["--until-idle=1s"], std::process::Stdio::piped());
    let mut stdin = agent.stdin();
    stdin.write_all(format!("one\n{}two\n{}", TRACE.concat(), TRACE.concat()).as_bytes()).expect("somebody reads");
    drop(stdin);
    agent.wait_success();
    let trace = TRACE.concat().trim_end().to_owned();
    assert_eq!(messages(&kafka.records(&topic)), ["one".to_owned(), trace.clone(), "two".to_owned(), trace]);
}

/// Scenario: every case of the conformance data, by `logferry try`, as lines and as events (`--json`).
/// Guarantee: Fluent Bit's records.
#[test]
fn try_shows_the_records_of_fluent_bit() {
    let Some(folder) = conformance_or_skip("multiline") else { return };
    let scratch = scratch::folder("multiline-conformance");
    let mut cases = 0;
    for file in std::fs::read_dir(folder).expect("a folder").flatten() {
        let case = std::fs::read_to_string(file.path()).expect("a case");
        let case: Value = serde_json::from_str(&case).expect("JSON");
        let texts = |key: &str| -> Vec<String> {
            let items = case[key].as_array().expect("a list").iter();
            items.map(|item| item.as_str().expect("a text").to_owned()).collect()
        };
        let parsers = texts("parsers");
        let (formats, presets): (Vec<&String>, Vec<&String>) =
            parsers.iter().partition(|name| ["cri", "docker"].contains(&name.as_str()));
        let format = match formats.as_slice() {
            [] => "lines",
            [only] => only,
            _ => "auto",
        };
        let multiline =
            if presets.is_empty() { String::new() } else { format!("multiline: {{ preset: {presets:?} }}") };
        let path = scratch.join("case.yaml");
        let config = format!(
            "data_dir: /nowhere\ninputs:\n  a:\n    type: file\n    paths: [/nowhere/*.log]\n    format: {format}\n    {multiline}\noutputs:\n  \
             m: {{ type: kafka, brokers: [\"h:9092\"], codec: json }}\n"
        );
        std::fs::write(&path, config).expect("the scratch folder is writable");
        let path = path.display().to_string();
        let input = texts("input");
        let lines: String = input.iter().map(|line| format!("{line}\n")).collect();
        // Lines of JSON may still have their line breaks.
        let events = ["", "\n", "\r\n"].map(|end| -> String {
            input.iter().map(|line| json!({ "message": format!("{line}{end}") }).to_string() + "\n").collect()
        });
        let lines = (["try", "-c", &path].to_vec(), lines);
        let events = events.map(|text| (["try", "-c", &path, "--json"].to_vec(), text));
        for (args, input) in [lines].into_iter().chain(events) {
            let output = logferry(&args, input.as_bytes());
            let shown = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let records = shown.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            let seen: Vec<String> =
                records.map(|record| record["message"].as_str().expect("a text").to_owned()).collect();
            assert_eq!(seen, texts("expected"), "{parsers:?} {args:?}");
        }
        cases += 1;
    }
    assert!(cases >= 5, "only {cases} cases");
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

/// Scenario: messages of JSON with line breaks at their end, and a Docker line with a raw line feed in its JSON string.
/// Guarantee: one line break is no part of the line; where nothing is joined, a message stays as it is.
#[test]
fn a_message_may_end_with_its_line_break() {
    let tried = |input: &str, messages: &[&str]| -> Vec<String> {
        let path = scratch::folder("multiline-ends").join("config.yaml");
        let config = format!(
            "data_dir: /nowhere\ninputs:\n  a: {{ type: file, paths: [/nowhere/*.log]{input} }}\noutputs:\n  m: {{ type: kafka, brokers: \
             [\"h:9092\"], codec: json }}\n"
        );
        std::fs::write(&path, config).expect("the scratch folder is writable");
        let events: String = messages.iter().map(|text| json!({ "message": text }).to_string() + "\n").collect();
        let output = logferry(&["try", "-c", &path.display().to_string(), "--json"], events.as_bytes());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("JSON");
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        records.map(|record| record["message"].as_str().expect("a text").to_owned()).collect()
    };
    let before = ", multiline: { pattern: '\\\\$', match: before }";
    assert_eq!(tried(before, &["a \\\n", "b\r\n", "c\n\n", "d"]), ["a \\\nb", "c\n", "d"]);
    assert_eq!(tried("", &["a \\\n", "b\r\n"]), ["a \\\n", "b\r\n"]);
    let parts = [
        "{\"log\": \"a\", \"stream\": \"stderr\"}",
        "{\"log\": \"b\n\", \"stream\": \"stderr\"}",
        "{\"log\": \"c\\n\"}\n",
    ];
    for format in ["auto", "docker"] {
        assert_eq!(tried(&format!(", format: {format}"), &parts), ["ab", "c"]);
    }
}

fn texts(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["message"].as_str().expect("a text")).collect()
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
    assert_eq!(texts(&records), expect);
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
