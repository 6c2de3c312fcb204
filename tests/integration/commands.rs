//! The commands beside `run`: check, schema, try, demo.

use std::process::{Command, Output, Stdio};

use crate::kafka_or_skip;
use crate::kit::agent::{binary, logferry};
use crate::kit::{agent::Agent, process, scratch, wait, writer::Writer};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Scenario: a config with a mistake of every kind, a dozen in all.
/// Guarantee: `check` and `run` report each one, as file:line:column, in one go, and end with 78; `run` opens nothing.
#[test]
fn check_reports_every_mistake_at_once() {
    let folder = scratch::folder("mistakes");
    let path = folder.join("bad.yaml");
    // Each line that holds a mistake says so; the others are right.
    let config = format!(
        "data_dir: {}/data\n\
         memory: {{ max_bytes: 64 MegaByte }} # mistake\n\
         inputs:\n  \
           web:\n    \
             type: file\n    \
             pahts: [/var/log/*.log] # mistake\n    \
             paths: [\"/var/log/[unclosed\"] # mistake\n    \
             start_at: middle # mistake\n    \
             tags: 7 # mistake\n    \
             topic: \"logs.%{{[unclosed\" # mistake\n    \
             processors:\n    \
             - add_field: {{ fields: {{ a: 1 }} }} # mistake\n    \
             - drop_event: {{ if: 'message ==' }} # mistake\n\
         outputs:\n  \
           main:\n    \
             type: kafka\n    \
             brokers: [] # mistake\n    \
             acks: 1 # mistake\n    \
             linger: 20 minuts # mistake\n    \
             sasl: {{ mechanism: PLAIN, username: u, password: \"${{NO_SUCH_VARIABLE_HERE}}\" }} # mistake\n    \
             rdkafka:\n      \
               enable.idempotence: false # mistake\n",
        folder.display()
    );
    std::fs::write(&path, &config).expect("the scratch folder is writable");
    let wanted: Vec<usize> =
        (1..).zip(config.lines()).filter(|(_, line)| line.contains("# mistake")).map(|(n, _)| n).collect();
    assert_eq!(wanted.len(), 13);
    let name = path.display().to_string();
    for command in ["check", "run"] {
        let output = logferry(&[command, "-c", &name], b"");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        for line in &wanted {
            assert!(said.contains(&format!("{name}:{line}:")), "{command} does not report line {line}:\n{said}");
        }
        for right in (1..=config.lines().count()).filter(|line| !wanted.contains(line)) {
            assert!(
                !said.contains(&format!("{name}:{right}:")),
                "{command} reports line {right}, which is right:\n{said}"
            );
        }
        assert!(said.contains("paths"), "the nearest valid word is named:\n{said}");
        assert!(!folder.join("data").exists(), "{command} opened something");
    }
}

/// Scenario: a right config; one that is no YAML at all; a file that is not there; a flag that does not exist.
/// Guarantee: 0, 78 with the position, 78 with the name, 2.
#[test]
fn exit_codes_are_conventional() {
    let agent = Agent::new("codes");
    agent.ship("", "127.0.0.1:9092", "topic: logs");
    let config = agent.config().display().to_string();
    let output = logferry(&["check", "-c", &config], b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    std::fs::write(agent.config(), "inputs:\n  a: [\noutputs: {}\n").expect("the scratch folder is writable");
    let output = logferry(&["check", "-c", &config], b"");
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains(&format!("{config}:")), "{}", text(&output));
    let output = logferry(&["check", "-c", "/no/such/file.yaml"], b"");
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("/no/such/file.yaml"), "{}", text(&output));
    assert_eq!(logferry(&["check", "--no-such-flag"], b"").status.code(), Some(2));
    let output = logferry(&["--version"], b"");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains(env!("CARGO_PKG_VERSION")), "{}", text(&output));
}

/// Scenario: the schema, and two configs: a right one and a wrong one.
/// Guarantee: it is a JSON schema that accepts the first and refuses the second.
#[test]
fn the_schema_tells_right_from_wrong() {
    let output = logferry(&["schema"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let schema = serde_json::from_slice(&output.stdout).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let agent = Agent::new("schema");
    agent.ship("tags: [a]", "127.0.0.1:9092", "topic: logs");
    let read = || -> serde_json::Value {
        let yaml = std::fs::read_to_string(agent.config()).expect("it was written");
        serde_yaml::from_str(&yaml).expect("YAML")
    };
    let errors: Vec<String> = validator.iter_errors(&read()).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    agent.ship("tagz: [a]", "127.0.0.1:9092", "topic: logs");
    assert!(!validator.is_valid(&read()));
}

/// Scenario: lines, and events as JSON, through `try`.
/// Guarantee: one record a line, in order, as the codec writes it; `--envelope` wraps it as kcat does; no Kafka is asked.
#[test]
fn try_shows_what_a_config_makes_of_lines() {
    let agent = Agent::new("try");
    let nobody = format!("127.0.0.1:{}", crate::kit::broker::free_port());
    agent.ship(
        "fields: { service: web }\nprocessors:\n- add_fields: { target: '', fields: { level: high }, if: 'message contains \"b\"' }",
        &nobody,
        "topic: \"t.%{[fields.service]}\"\nkey: \"%{[message]}\"",
    );
    let config = agent.config().display().to_string();
    let json = |output: &Output| -> Vec<serde_json::Value> {
        assert_eq!(output.status.code(), Some(0), "{}", text(output));
        let lines = std::str::from_utf8(&output.stdout).expect("UTF-8").lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    };
    let records = json(&logferry(&["try", "-c", &config], b"a\nb\n"));
    assert_eq!(records.len(), 2);
    assert_eq!((&records[0]["message"], records[0].get("level")), (&"a".into(), None));
    assert_eq!((&records[1]["message"], &records[1]["level"]), (&"b".into(), &"high".into()));
    let records =
        json(&logferry(&["try", "-c", &config, "--json"], b"{\"message\":\"ab\",\"n\":1}\n{\"message\":\"c\"}\n"));
    assert_eq!((&records[0]["n"], &records[0]["level"]), (&1.into(), &"high".into()));
    assert_eq!(records[1]["message"], "c");
    let records = json(&logferry(&["try", "-c", &config, "--envelope"], b"a\n"));
    assert_eq!((&records[0]["topic"], &records[0]["key"]), (&"t.web".into(), &"a".into()));
    assert!(records[0]["payload"].as_str().is_some_and(|payload| payload.contains("\"message\":\"a\"")), "{records:?}");
}

/// What `demo` leaves in its folder for temporary files.
fn left_in(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("it is there");
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Scenario: `demo` on its embedded broker.
/// Guarantee: it ends with 0, says that all lines arrived, none repeated, none out of order, and leaves no file behind.
#[test]
fn demo_shows_it_and_leaves_nothing() {
    let temporary = scratch::folder("demo");
    let mut command = Command::new(binary());
    command.args(["demo", "--lines", "20000"]).env("TMPDIR", &temporary).env("NO_COLOR", "1");
    let output = process::run(&mut command, b"");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("20,000") || said.contains("20000"), "{said}");
    assert!(said.contains("repeated") && said.contains("out of order"), "{said}");
    assert_eq!(left_in(&temporary), Vec::<String>::new());
}

/// Scenario: Ctrl-C in the middle of a long `demo`.
/// Guarantee: it ends soon, not by a crash, and leaves no file behind.
#[test]
fn demo_is_clean_after_ctrl_c() {
    let temporary = scratch::folder("demo-interrupted");
    let mut command = Command::new(binary());
    command.args(["demo", "--lines", "100000000", "--rate", "5000"]).env("TMPDIR", &temporary);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = process::spawn("demo", command);
    wait::until("demo to be at work", || (!left_in(&temporary).is_empty()).then_some(()));
    demo.signal(libc::SIGINT);
    let status = demo.wait().status;
    assert!(status.code().is_some_and(|code| code != 0 && code != 101), "interrupted is not success: {status}");
    assert_eq!(left_in(&temporary), Vec::<String>::new());
}

/// Scenario: `demo` with a user's own files and a real cluster.
/// Guarantee: every line of the files is shipped to a topic of its own, which is removed afterwards.
#[test]
fn demo_ships_own_files_to_a_real_cluster() {
    let kafka = kafka_or_skip!();
    let folder = scratch::folder("demo-files");
    Writer::new(&folder.join("mine.log"), "mine").write(3_000);
    let before = kafka.topics();
    let file = folder.join("mine.log").display().to_string();
    let output = logferry(&["demo", "--brokers", &kafka.bootstrap(), &file], b"");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("3,000") || said.contains("3000"), "{said}");
    let gone = || {
        let left: Vec<String> = kafka.topics().into_iter().filter(|topic| topic.contains("demo")).collect();
        left.iter().all(|topic| before.contains(topic)).then_some(())
    };
    wait::until("the demo's topic to be removed", gone);
}

/// Scenario: JSON lines, lines of key=value, and lines that are neither, through one config: `when` looks at what they begin with,
/// `route` says where they go. Guarantee: parsed and raw ones get topics of their own, in one pass; what can't be parsed is
/// tagged, goes on as it was, and goes to the raw topic.
#[test]
fn parsed_and_raw_lines_part() {
    let agent = Agent::new("part");
    agent.ship(
        "processors:\n\
         - when:\n    \
             if: \"[message] =~ '^[{]'\"\n    \
             then: [{ json: { overwrite_keys: true } }]\n    \
             else: [{ dissect: { tokenizer: '%{level} %{id|long} %{?k}=%{&k}', target_prefix: '' } }]\n\
         - route: { topic: logs.parsed, key: '%{[level]}', headers: { kind: parsed } }\n\
         - if: \"'_jsonparsefailure' in [tags] or '_dissectfailure' in [tags]\"\n  \
           route: { topic: logs.raw, headers: { kind: raw } }",
        "127.0.0.1:9092",
        "topic: logs.none\nkey: k\ncodec: json",
    );
    let config = agent.config().display().to_string();
    let lines = b"{\"level\":\"warn\",\"n\":{\"x\":9007199254740993}}\n{\"level\":\ninfo 7 user=ann\nfree text\n";
    let output = logferry(&["try", "-c", &config, "--envelope"], lines);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let records: Vec<serde_json::Value> =
        text(&output).lines().map(|line| serde_json::from_str(line).expect("an envelope")).collect();
    let payload = |at: usize| -> serde_json::Value {
        serde_json::from_str(records[at]["payload"].as_str().expect("a text")).expect("JSON")
    };
    let seen: Vec<String> =
        records.iter().map(|one| format!("{} {} {}", one["topic"], one["key"], one["headers"])).collect();
    assert_eq!(records.len(), 4, "{seen:#?}");
    for (at, topic) in ["logs.parsed", "logs.raw", "logs.parsed", "logs.raw"].into_iter().enumerate() {
        assert_eq!(records[at]["topic"], topic, "{seen:#?}");
        let kind = topic.trim_start_matches("logs.");
        assert!(records[at]["headers"].to_string().contains(kind), "{seen:#?}");
    }
    assert_eq!((&records[0]["key"], &records[2]["key"]), (&"warn".into(), &"info".into()), "{seen:#?}");
    assert_eq!(payload(0)["n"]["x"], 9_007_199_254_740_993_i64);
    assert_eq!((&payload(2)["id"], &payload(2)["user"]), (&7.into(), &"ann".into()));
    assert_eq!((&payload(1)["tags"][0], &payload(1)["message"]), (&"_jsonparsefailure".into(), &"{\"level\":".into()));
    assert_eq!((&payload(3)["tags"][0], &payload(3)["message"]), (&"_dissectfailure".into(), &"free text".into()));
}
