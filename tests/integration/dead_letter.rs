//! What Kafka refuses for good goes to the dead letter, alone, and can be sent again (I5). And the spool without an agent: drain.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::kafka_or_skip;
use crate::kit::agent::{Agent, logferry};
use crate::kit::check::Check;
use crate::kit::cluster::Cluster;
use crate::kit::consumer::Record;
use crate::kit::jars::Release;
use crate::kit::wait::until;
use crate::kit::writer::Writer;

/// Every so many lines one is too long.
const APART: u64 = 1_000;
/// How long that one is.
const LONG_BYTES: usize = 1_500_000;
/// Lines that a topic of 1 MB takes none of, and an agent that reads them whole.
const WIDE_INPUT: &str = "max_line_bytes: 2MiB";
/// Such an output: it sends what it reads, as large as it is.
const WIDE_OUTPUT: &str = "max_record_bytes: 2MB\nbatch_bytes: 500kB\ncompression: none";

/// Writes `times` times [`APART`] lines, of which one is too long: it is no line of `writer`'s.
fn write_with_long_ones(writer: &mut Writer, times: u64) {
    for number in 0..times {
        writer.write(APART / 2);
        writer.append(long_line(number).as_bytes());
        writer.write(APART / 2 - 1);
    }
}

fn long_line(number: u64) -> String {
    format!("{}-{number}\n", "x".repeat(LONG_BYTES))
}

/// Whether a record or a line of the dead letter is one of those that are too long.
fn is_long(value: &Value) -> bool {
    let text = value["message"].as_str().or(value["body"].as_str()).unwrap_or_default();
    text.len() > LONG_BYTES && text.starts_with("xxx")
}

fn lines(agent: &Agent) -> Vec<Value> {
    let text = std::fs::read_to_string(agent.data().join("dead_letter/main.jsonl")).expect("it was written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The value of a header, as kcat prints it.
fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let rest = record.headers.split_once(&format!("{name}="))?.1;
    rest.split_once(",logferry.").map_or(Some(rest), |(value, _)| Some(value))
}

fn command(agent: &Agent, args: &[&str]) -> (Option<i32>, String, String) {
    let config = agent.config();
    let mut all = vec!["spool"];
    all.extend(args);
    all.extend(["-c", config.to_str().expect("UTF-8")]);
    let output = logferry(&all, b"");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn wait_all_read(agent: &Agent, records: u64) {
    agent.wait_status("everything to be settled", |status| {
        (status["inputs"][0]["acked_records_total"] == records).then_some(())
    });
}

/// Scenario: one record in 1,000 has 1.5 MB, and the topic takes batches of 1 MB. The agent is stopped, the dead letter looked at;
/// it is sent again while the topic still refuses; then the topic's limit is raised, and it is sent again.
/// Guarantee: the other 999 arrive, once, in order, and the guilty are in the dead letter, with all that is needed to send them
/// again; what is refused again stays, what is acknowledged goes; a running agent is named.
#[test]
fn one_in_a_thousand_is_too_large_for_its_topic_and_is_sent_again() {
    let kafka = kafka_or_skip!();
    let topic = Cluster::name("wide");
    kafka.create_with(&topic, 1, &[("max.message.bytes", "1000000")]);
    let mut agent = Agent::new("wide");
    agent.ship(
        WIDE_INPUT,
        &kafka.bootstrap(),
        &format!("topic: {topic}\nkey: k\nheaders: {{env: test}}\n{WIDE_OUTPUT}"),
    );
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    write_with_long_ones(&mut writer, 3);
    agent.start();
    wait_all_read(&agent, 3 * APART);
    let letter = agent.status()["outputs"][0]["dead_letter"].clone();
    assert_eq!((&letter["records"], &letter["full"]), (&3.into(), &false.into()), "{letter}");
    assert_eq!(agent.metric("logferry_output_dead_letter_records", &["output=\"main\""]), Some(3.0));
    let (code, _, stderr) = command(&agent, &["dead", "--resend"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&format!("used by another agent (pid {})", agent.status()["pid"])), "{stderr}");
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();

    let (path, kept) = (agent.log("a.log"), lines(&agent));
    assert_eq!(kept.len(), 3);
    for entry in &kept {
        let value: Value = serde_json::from_str(entry["value"].as_str().expect("text")).expect("a record is JSON");
        assert!(is_long(&value));
        let told = ["reason", "topic", "output", "key", "path"].map(|name| entry[name].as_str().unwrap_or_default());
        assert_eq!(told, ["too_large", &topic, "main", "k", path.to_str().expect("UTF-8")]);
        assert_eq!(
            (&entry["partition"], &entry["headers"][0]["name"]),
            (&0.into(), &"env".into()),
            "{}",
            entry["headers"]
        );
        assert_eq!(entry["offset"], value["log"]["offset"]);
    }
    let (code, table, stderr) = command(&agent, &["dead"]);
    assert_eq!((code, table.matches(" too_large ").count()), (Some(0), 3), "{table}{stderr}");

    let file = agent.data().join("dead_letter/main.jsonl");
    let before = std::fs::read(&file).expect("it is there");
    let (code, stdout, stderr) = command(&agent, &["dead", "--resend"]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("0 of 3 records sent again"), "{stdout}");
    assert_eq!(std::fs::read(&file).expect("it is there"), before, "what is refused again stays");

    kafka.set_property(&topic, "max.message.bytes", "4000000");
    std::fs::write(&file, [&before[..], b"{\"torn\":"].concat()).expect("it is ours");
    let (code, stdout, stderr) = command(&agent, &["dead", "--resend"]);
    assert_eq!(code, Some(1), "a line can't be read: {stdout}{stderr}");
    assert!(
        stdout.contains("3 of 4 records sent again") && stderr.contains("main.jsonl:4: not a JSON object"),
        "{stdout}{stderr}"
    );
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "{\"torn\":\n");
    let arrived = kafka.records(&topic);
    let (long, others): (Vec<_>, Vec<_>) = arrived.into_iter().partition(|record| is_long(&record.json()));
    assert_eq!((long.len(), others.len()), (3, 3 * 999));
    for (record, entry) in long.iter().zip(&kept) {
        assert_eq!(Some(std::str::from_utf8(&record.value).expect("text")), entry["value"].as_str());
        assert_eq!(
            (record.key_text().as_str(), record.timestamp),
            ("k", entry["timestamp_ms"].as_i64().expect("a number"))
        );
        assert_eq!(record.headers, "env=test");
    }
    std::fs::remove_file(&file).expect("it is there");
    let (code, stdout, _) = command(&agent, &["dead", "--resend"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "output main: no record was refused\n"));
}

/// Scenario: a compacted topic gets batches in which one line of 100 has no key; another topic of the same output flows.
/// Guarantee: those without a key are in the dead letter, each once, with a reason that says what is wrong; all others arrive, once,
/// though what was on its way behind a refused one may come before what stood beside it; the other topic is exact.
#[test]
fn records_without_a_key_are_set_aside_from_a_compacted_topic() {
    let kafka = kafka_or_skip!();
    let (compacted, other) = (Cluster::name("compacted"), kafka.topic("plain", 1));
    kafka.create_with(&compacted, 1, &[("cleanup.policy", "compact")]);
    let mut agent = Agent::new("keyless");
    agent.configure(&format!(
        "inputs:\n  \
           a:\n    type: file\n    paths: [\"{a}\"]\n    topic: {compacted}\n    key: \"%{{[fields.k]}}\"\n    \
             processors:\n      - add_fields: {{ if: \"[message] =~ '^a '\", fields: {{ k: key }} }}\n  \
           b: {{ type: file, paths: [\"{b}\"], topic: {other}, key: \"\" }}\n\
         outputs:\n  main: {{ type: kafka, brokers: [{brokers}] }}\n",
        a = agent.log("a.log").display(),
        b = agent.log("b.log").display(),
        brokers = kafka.bootstrap(),
    ));
    let (mut a, mut b) = (Writer::new(&agent.log("a.log"), "a"), Writer::new(&agent.log("b.log"), "b"));
    for number in 0..20 {
        a.write(99).append(format!("keyless {number}\n").as_bytes());
    }
    b.write(2_000);
    agent.start();
    kafka.wait_count(&other, 2_000);
    agent.wait_status("everything to be settled", |status| {
        let settled = |at: usize| status["inputs"][at]["acked_records_total"].as_u64();
        (settled(0)? == 2_000 && settled(1)? == 2_000).then_some(())
    });
    let kept = lines(&agent);
    let messages: Vec<String> = kept
        .iter()
        .map(|entry| {
            assert_eq!((entry["reason"].as_str(), entry["topic"].as_str()), (Some("invalid"), Some(&*compacted)));
            let why = entry["message"].as_str().unwrap_or_default();
            assert!(
                why.contains(&compacted) && why.contains("is the topic compacted, and the record without a key?"),
                "{why}"
            );
            assert!(entry.get("key").is_none(), "{entry}");
            let value: Value = serde_json::from_str(entry["value"].as_str().expect("text")).expect("a record is JSON");
            value["message"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    let mut sorted = messages.clone();
    sorted.sort_by_key(|message| message.rsplit(' ').next().and_then(|number| number.parse::<u32>().ok()));
    assert_eq!(sorted, (0..20).map(|number| format!("keyless {number}")).collect::<Vec<_>>());
    agent.stop();
    Check::of(&kafka.records(&other), &[&b]).exact();
    let check = Check::of(&kafka.records(&compacted), &[&a]);
    assert_eq!((check.lost.len(), check.repeated, check.invented.len()), (0, 0, 0), "{check:?}");
}

/// Scenario: lines come by a pipe for a topic that does not exist, and are spooled; then it is made, and takes no record that is
/// older than six seconds. More lines come.
/// Guarantee: the spooled ones, too old by then, are in the dead letter, with a reason that names the setting, and are not lost; those
/// that came later arrive, once and in order.
#[test]
fn records_too_old_for_their_topic_are_set_aside() {
    let kafka = kafka_or_skip!();
    let topic = Cluster::name("young");
    let mut agent = Agent::new("too-old");
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin }}\noutputs:\n  main: {{ type: kafka, brokers: [{}], topic: {topic}, codec: raw }}\n",
        kafka.bootstrap()
    ));
    let (old, new) = (agent.folder().join("old"), agent.folder().join("new"));
    let (mut first, mut later) = (Writer::new(&old, "old"), Writer::new(&new, "new"));
    first.write(300);
    agent.spawn(&[], std::process::Stdio::piped());
    let mut pipe = agent.stdin();
    let mut feed = |path: &std::path::Path| {
        std::io::Write::write_all(&mut pipe, &std::fs::read(path).expect("just written")).expect("it reads");
    };
    agent.wait_ready();
    feed(&old);
    agent.wait_status("the lines to be spooled, and too old", |status| {
        let spool = &status["outputs"][0]["spool"];
        (spool["records"] == 300 && spool["oldest_seconds"].as_f64()? > 7.0).then_some(())
    });
    kafka.create_with(&topic, 1, &[("message.timestamp.before.max.ms", "6000")]);
    agent.wait_status("the old ones to be set aside", |status| {
        let output = &status["outputs"][0];
        (output["dead_letter"]["records"] == 300 && output["spool"]["records"] == 0).then_some(())
    });
    later.write(300);
    feed(&new);
    kafka.wait_count(&topic, 300);
    agent.stop();
    Check::raw(&kafka.records(&topic), &[&later]).exact();
    let kept = lines(&agent);
    assert_eq!(kept.len(), 300);
    for (number, entry) in (0..).zip(&kept) {
        let why = entry["message"].as_str().unwrap_or_default();
        assert_eq!(entry["reason"], "invalid_timestamp", "{why}");
        assert!(why.contains(&topic) && why.contains("message.timestamp.before.max.ms"), "{why}");
        assert_eq!(entry["value"].as_str(), Some(&*first.line(number)));
    }
}

/// Scenario: `date` takes the time of each event from its line; one in a hundred is three minutes ahead, and the topic takes a minute
/// (`message.timestamp.after.max.ms`; Kafka 4 refuses the whole batch for one of them).
/// Guarantee: the other 99 arrive, once and in order; those ahead are set aside, with the time that they had.
#[test]
fn records_ahead_of_their_topics_time_are_found_among_their_neighbours() {
    const LINES: i64 = 1_000;
    let kafka = kafka_or_skip!();
    let topic = Cluster::name("punctual");
    kafka.create_with(&topic, 1, &[("message.timestamp.after.max.ms", "60000")]);
    let mut agent = Agent::new("ahead");
    let log = agent.log("a.log");
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let ahead_ms = i64::try_from(now_ms).expect("small") + 180_000;
    let is_ahead = |number: i64| number % 100 == 7;
    let line = |number| {
        let time_ms = if is_ahead(number) { ahead_ms } else { ahead_ms - 180_000 };
        format!("{{\"number\":{number},\"time\":{time_ms}}}\n")
    };
    std::fs::write(&log, (0..LINES).map(line).collect::<String>()).expect("the scratch folder is writable");
    agent.configure(&format!(
        "inputs:\n  in:\n    type: file\n    paths: [\"{}\"]\n    processors:\n      - json: {{ field: message }}\n      \
         - date: {{ field: time, formats: [UNIX_MS] }}\n\
         outputs:\n  main: {{ type: kafka, brokers: [{}], topic: {topic}, codec: json }}\n",
        log.display(),
        kafka.bootstrap()
    ));
    agent.start();
    kafka.wait_count(&topic, LINES / 100 * 99);
    agent.wait_status("those ahead to be set aside, and nothing to be in flight", |status| {
        let output = &status["outputs"][0];
        (output["dead_letter"]["records"] == LINES / 100 && output["in_flight_records"] == 0).then_some(())
    });
    agent.stop();
    let number = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON")["number"].as_i64();
    let arrived: Vec<_> = kafka.records(&topic).iter().map(|record| record.json()["number"].as_i64()).collect();
    assert_eq!(arrived, (0..LINES).filter(|number| !is_ahead(*number)).map(Some).collect::<Vec<_>>());
    let kept = lines(&agent);
    let set_aside: Vec<_> = kept.iter().map(|entry| number(entry["value"].as_str().expect("a text"))).collect();
    assert_eq!(set_aside, (0..LINES).filter(|number| is_ahead(*number)).map(Some).collect::<Vec<_>>());
    for entry in &kept {
        assert_eq!((&entry["reason"], &entry["timestamp_ms"]), (&"invalid_timestamp".into(), &ahead_ms.into()));
        let why = entry["message"].as_str().unwrap_or_default();
        assert!(why.contains(".after.max.ms"), "{why}");
    }
}

/// Scenario: records are in the dead letter, the agent is stopped, and Kafka is away: `spool dead --resend`. Then Kafka is back.
/// Guarantee: it gives up after `--timeout`, says of which record and why, and that all remain: exit code 1, and the file is as it was,
/// to the byte; the next time all arrive, once, and the file is empty.
#[test]
fn sending_again_while_kafka_is_away_loses_nothing() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = Cluster::name("narrow");
    kafka.create_with(&topic, 1, &[("max.message.bytes", "20000")]);
    let mut agent =
        Agent::shipping("resend-away", &kafka, &format!("topic: {topic}\ncompression: none\nbatch_bytes: 15000"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    for _ in 0..3 {
        writer.write(100).append(format!("{}\n", "x".repeat(30_000)).as_bytes());
    }
    agent.start();
    wait_all_read(&agent, 303);
    agent.stop();
    let file = agent.data().join("dead_letter/main.jsonl");
    let before = std::fs::read(&file).expect("it was written");
    kafka.set_property(&topic, "max.message.bytes", "1000000");
    kafka.kill9(1);
    let (code, stdout, stderr) = command(&agent, &["dead", "--resend", "--timeout", "3s"]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("0 of 3 records sent again"), "{stdout}");
    assert!(stdout.contains(&format!("3 remain in {}", file.display())), "{stdout}");
    assert!(stderr.contains("main.jsonl:1: ") && stderr.contains("; it stays"), "{stderr}");
    assert!(stderr.contains("Kafka was silent for 3s"), "it says why: {stderr}");
    assert_eq!(std::fs::read(&file).expect("it is there"), before);
    kafka.restart(1);
    kafka.all_up();
    let (code, stdout, stderr) = command(&agent, &["dead", "--resend"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("3 of 3 records sent again"), "{stdout}");
    let long = kafka.records(&topic).iter().filter(|record| record.message().starts_with("xxx")).count();
    assert_eq!((long, file.exists()), (3, false));
}

/// Scenario: the same with a topic as the dead letter; and three records that even the output's own limit refuses, so that the
/// dead letter's topic can't take them either.
/// Guarantee: the others arrive, once, in order; the guilty are in the topic, as they were, with headers that say why and
/// where from; what the topic can't take is in the local file, as the record that it was.
#[test]
fn a_topic_is_the_dead_letter() {
    let kafka = kafka_or_skip!();
    let (topic, dead) = (Cluster::name("wide"), Cluster::name("dead"));
    kafka.create_with(&topic, 1, &[("max.message.bytes", "1000000")]);
    kafka.create_with(&dead, 3, &[("max.message.bytes", "4000000")]);
    let mut agent = Agent::new("wide-topic");
    // What is not in `message` can't be cut.
    let input = format!(
        "{WIDE_INPUT}\nprocessors:\n  - rename:\n      if: \"[message] =~ '^xxx'\"\n      fields: [{{from: message, to: body}}]"
    );
    let output = format!("topic: {topic}\nkey: k\n{WIDE_OUTPUT}\ndead_letter: {{ topic: {dead} }}");
    agent.ship(&input, &kafka.bootstrap(), &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    write_with_long_ones(&mut writer, 3);
    let too_long = format!("{}\n", "x".repeat(2_050_000));
    writer.append(too_long.as_bytes());
    writer.write(APART - 1);
    agent.start();
    wait_all_read(&agent, 4 * APART);
    let letter = agent.status()["outputs"][0]["dead_letter"].clone();
    assert_eq!((&letter["topic"], &letter["topic_records_total"]), (&dead.as_str().into(), &3.into()), "{letter}");
    assert_eq!(letter["records"], 1, "{letter}");
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
    let buried = kafka.records(&dead);
    assert_eq!(buried.len(), 3);
    for record in &buried {
        assert!(is_long(&record.json()));
        assert_eq!(record.key_text(), "k");
        let told = |name: &str| header(record, &format!("logferry.dead_letter.{name}")).unwrap_or_default().to_owned();
        assert_eq!((told("reason"), told("topic"), told("partition")), ("too_large".into(), topic.clone(), "0".into()));
        assert_eq!(told("path"), agent.log("a.log").to_str().expect("UTF-8"));
        assert_eq!(Some(told("offset")), record.text("log.offset"));
    }
    let kept = lines(&agent);
    assert_eq!((kept.len(), kept[0]["topic"].as_str()), (1, Some(topic.as_str())), "as the record that it was");
    assert_eq!((kept[0]["reason"].as_str(), kept[0]["partition"].as_i64()), (Some("too_large"), Some(0)));
    assert!(
        kept[0]["message"].as_str().is_some_and(|why| why.contains(&format!("topic {dead} refused it"))),
        "{}",
        kept[0]["message"]
    );
    assert!(kept[0].get("headers").is_none(), "the record had none");
}

/// Processors that can't read the lines of [`unparsable`], and what is to become of these.
const PARSING: &str =
    "processors:\n- json:\n    if: \"[message] =~ '^[{]'\"\n    on_failure: dead_letter\n- add_tags: { tags: [after] }";

/// A line that begins like JSON and is none.
fn unparsable(number: usize, bytes: usize) -> String {
    format!("{{unparsable {number} {}\n", "y".repeat(bytes))
}

/// Scenario: a processor with `on_failure: dead_letter` fails for one line of ten, 25 of 100 kB each; the dead letter holds 1 MiB.
/// When it is full it is moved away, twice. Then all that was kept is sent again.
/// Guarantee: the other lines arrive once, in order; a full dead letter holds the file, which is done with only once each of the
/// records is kept, once, with reason, position and record; sent again, they are in their topic as they were, and nothing of ours
/// is with them.
#[test]
fn what_a_processor_fails_for_is_set_aside_and_a_full_dead_letter_holds() {
    const FAILED: usize = 25;
    let kafka = kafka_or_skip!();
    let topic = Cluster::name("parsed");
    kafka.create(&topic, 1);
    let mut agent = Agent::new("parsed");
    let output = format!("topic: {topic}\nkey: k\nheaders: {{ env: test }}\ndead_letter: {{ max_bytes: 1MiB }}");
    agent.ship(PARSING, &kafka.bootstrap(), &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    for number in 0..FAILED {
        writer.write(9);
        writer.append(unparsable(number, 100_000).as_bytes());
    }
    agent.start();
    let file = agent.data().join("dead_letter/main.jsonl");
    let mut parts = Vec::new();
    for part in 0..2 {
        agent.wait_status("the dead letter to be full", |status| {
            // What the status says may be of the file that was moved away.
            let is_new_one = std::fs::metadata(&file).is_ok_and(|file| file.len() > 900_000);
            (is_new_one && status["outputs"][0]["dead_letter"]["full"] == true).then_some(())
        });
        let acked = agent.status()["inputs"][0]["acked_records_total"].as_u64().expect("a number");
        assert!(acked < 10 * FAILED as u64, "what is not kept is not done: {acked}");
        let moved = agent.data().join(format!("part-{part}"));
        std::fs::rename(&file, &moved).expect("it is there");
        parts.push(moved);
    }
    wait_all_read(&agent, 10 * FAILED as u64);
    let failed = agent.status()["outputs"][0]["failed_total"].clone();
    assert_eq!(failed["processor_failed"], FAILED, "{failed}");
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();

    let texts: Vec<String> =
        parts.iter().chain([&file]).map(|path| std::fs::read_to_string(path).expect("it was written")).collect();
    std::fs::write(&file, texts.concat()).expect("it is ours");
    let kept = lines(&agent);
    assert_eq!(kept.len(), FAILED);
    // What was refused by the full one is tried again later than what comes behind it.
    let mut in_order: Vec<&Value> = kept.iter().collect();
    in_order.sort_by_key(|entry| entry["offset"].as_u64());
    for (number, entry) in in_order.into_iter().enumerate() {
        let value: Value = serde_json::from_str(entry["value"].as_str().expect("text")).expect("a record is JSON");
        assert_eq!(value["message"].as_str().expect("text").to_owned() + "\n", unparsable(number, 100_000));
        assert_eq!(value["tags"], serde_json::json!(["_jsonparsefailure"]), "the later processors did nothing");
        let path = agent.log("a.log").display().to_string();
        let told = ["reason", "topic", "output", "key", "path"].map(|name| entry[name].as_str().unwrap_or_default());
        assert_eq!(told, ["processor_failed", &topic, "main", "k", &path]);
        assert!(entry["message"].as_str().is_some_and(|why| why.contains("`json`")), "{}", entry["message"]);
        assert_eq!(entry["offset"], value["log"]["offset"]);
        assert_eq!(entry["headers"], serde_json::json!([{ "name": "env", "value": "test" }]));
    }
    let (code, table, stderr) = command(&agent, &["dead"]);
    assert_eq!((code, table.matches(" processor_failed ").count()), (Some(0), FAILED), "{table}{stderr}");
    let (code, stdout, stderr) = command(&agent, &["dead", "--resend"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    let arrived = kafka.records(&topic);
    assert_eq!(arrived.len(), 10 * FAILED);
    for (record, entry) in arrived[9 * FAILED..].iter().zip(&kept) {
        assert_eq!(Some(std::str::from_utf8(&record.value).expect("text")), entry["value"].as_str());
        assert_eq!((record.headers.as_str(), record.key_text().as_str()), ("env=test", "k"));
    }
}

/// Scenario: the same with a topic as the dead letter; the agent is killed in the middle and starts again.
/// Guarantee: the lines that can be read are in their topic, all, in order; the others are in the dead letter's topic, all, and in no
/// other, with headers that say why.
#[test]
fn what_a_processor_fails_for_goes_to_the_dead_letter_s_topic() {
    const FAILED: usize = 500;
    let kafka = kafka_or_skip!();
    let (topic, dead) = (Cluster::name("parsed"), Cluster::name("dead"));
    kafka.create(&topic, 1);
    kafka.create(&dead, 1);
    let mut agent = Agent::new("parsed-topic");
    agent.ship(PARSING, &kafka.bootstrap(), &format!("topic: {topic}\ndead_letter: {{ topic: {dead} }}"));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    for number in 0..FAILED {
        writer.write(9);
        writer.append(unparsable(number, 100).as_bytes());
    }
    agent.start();
    until("some are in the dead letter", || (!kafka.records(&dead).is_empty()).then_some(()));
    agent.kill9();
    agent.until_idle(2);
    Check::of(&kafka.records(&topic), &[&writer]).complete();
    let buried = kafka.records(&dead);
    let seen: std::collections::BTreeSet<String> =
        buried.iter().map(|record| record.json()["message"].as_str().expect("text").to_owned()).collect();
    assert_eq!(seen.len(), FAILED);
    for record in &buried {
        let told = |name: &str| header(record, &format!("logferry.dead_letter.{name}")).unwrap_or_default().to_owned();
        assert_eq!((told("reason"), told("topic")), ("processor_failed".into(), topic.clone()));
    }
}

/// Scenario: Kafka is away, and lines come by a pipe, which nobody can read again; a processor with `on_failure: dead_letter` fails
/// for one of ten. Once all is spooled the agent is killed with -9, and started again while Kafka is still away; then Kafka is back.
/// Guarantee: what was spooled is told apart by the next life too: the lines that could be read are in their topic, once, in order;
/// the others are in the dead letter, each once, as they were, and not in the topic; then the spool is empty.
#[test]
fn what_a_processor_failed_for_is_set_aside_after_the_spool_and_a_restart() {
    const FAILED: usize = 200;
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("parsed", 1);
    kafka.kill9(1);
    let mut agent = Agent::new("parsed-spool");
    let input = "inputs:\n  in:\n    type: stdin\n    ".to_owned() + &PARSING.replace('\n', "\n    ");
    agent.configure(&format!(
        "{input}\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    topic: {topic}\n    key: k\n",
        kafka.bootstrap()
    ));
    let path = agent.folder().join("lines");
    let mut writer = Writer::new(&path, "p");
    for number in 0..FAILED {
        writer.write(9);
        writer.append(unparsable(number, 100).as_bytes());
    }
    let wait_spool = |agent: &Agent, records: usize| {
        agent.wait_status("the spool to hold it", |status| {
            (status["outputs"][0]["spool"]["records"] == records).then_some(())
        });
    };
    agent.spawn(&[], Stdio::piped());
    let mut pipe = agent.stdin();
    agent.wait_ready();
    pipe.write_all(&std::fs::read(&path).expect("just written")).expect("it reads");
    wait_spool(&agent, 10 * FAILED);
    agent.kill9();
    agent.spawn(&[], Stdio::piped());
    agent.wait_ready();
    wait_spool(&agent, 10 * FAILED);
    kafka.restart(1);
    kafka.wait_count(&topic, i64::try_from(9 * FAILED).expect("small"));
    wait_spool(&agent, 0);
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
    let kept = lines(&agent);
    assert_eq!(kept.len(), FAILED);
    for (number, entry) in kept.iter().enumerate() {
        let value: Value = serde_json::from_str(entry["value"].as_str().expect("text")).expect("a record is JSON");
        assert_eq!(value["message"].as_str().expect("text").to_owned() + "\n", unparsable(number, 100));
        assert_eq!((entry["reason"].as_str(), entry["topic"].as_str()), (Some("processor_failed"), Some(&*topic)));
        assert!(entry["message"].as_str().is_some_and(|why| why.contains("`json`")), "{}", entry["message"]);
        assert!(entry.get("headers").is_none(), "the mark of the spool is not kept: {entry}");
    }
}

/// Scenario: the topic that is the dead letter does not exist. The agent is stopped; the topic is created; it starts again.
/// Guarantee: the refused records wait in the spool, which counts as kept: the others arrive, once, in order, and the whole file is
/// done with; the refused ones are in the topic once it exists.
#[test]
fn a_dead_letter_topic_that_is_missing_is_waited_for_in_the_spool() {
    let kafka = kafka_or_skip!();
    let (topic, dead) = (Cluster::name("narrow"), Cluster::name("later"));
    kafka.create_with(&topic, 1, &[("max.message.bytes", "20000")]);
    let output = format!("topic: {topic}\ncompression: none\nbatch_bytes: 15000\ndead_letter: {{ topic: {dead} }}");
    let mut agent = Agent::shipping("later", kafka, &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    for _ in 0..3 {
        writer.write(200).append(format!("{}\n", "x".repeat(30_000)).as_bytes());
    }
    agent.start();
    wait_all_read(&agent, 3 * 200 + 3);
    let output = agent.status()["outputs"][0].clone();
    assert_eq!((&output["spool"]["records"], &output["dead_letter"]["records"]), (&3.into(), &0.into()), "{output}");
    agent.stop();
    kafka.create(&dead, 2);
    agent.start();
    agent.wait_status("the spool to be empty", |status| (status["outputs"][0]["spool"]["records"] == 0).then_some(()));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
    let buried = kafka.records(&dead);
    assert_eq!(buried.len(), 3);
    for record in &buried {
        assert_eq!(header(record, "logferry.dead_letter.reason"), Some("too_large"));
    }
}

/// Scenario: the dead letter is full; another topic flows beside. Then somebody moves the file away.
/// Guarantee: the lane holds and says why, once a minute at most, and the metric rings; the other topic flows; once there is
/// room everything arrives, once and in order, and nothing that was refused is missing.
#[test]
fn a_full_dead_letter_holds_and_goes_on() {
    let kafka = kafka_or_skip!();
    let (narrow, other) = (Cluster::name("narrow"), Cluster::name("flows"));
    kafka.create_with(&narrow, 1, &[("max.message.bytes", "20000")]);
    kafka.create(&other, 1);
    let mut agent = Agent::new("full-letter");
    let file = |name: &str, topic: &str| {
        format!(
            "  {name}: {{ type: file, paths: [\"{}\"], topic: {topic} }}\n",
            agent.log(&format!("{name}.log")).display()
        )
    };
    agent.configure(&format!(
        "inputs:\n{}{}outputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    batch_bytes: 15000\n    compression: none\n    dead_letter: {{ max_bytes: 1MiB }}\n",
        file("a", &narrow),
        file("b", &other),
        kafka.bootstrap()
    ));
    let (mut a, mut b) = (Writer::new(&agent.log("a.log"), "a"), Writer::new(&agent.log("b.log"), "b"));
    for _ in 0..8 {
        a.write(200).append(format!("{}\n", "x".repeat(200_000)).as_bytes());
    }
    a.write(200);
    agent.start();
    let lane = agent.wait_status("the dead letter to be full", |status| {
        let output = &status["outputs"][0];
        (output["dead_letter"]["full"] == true).then(|| output["lanes"][0].clone())
    });
    assert!(lane["cause"].as_str().is_some_and(|cause| cause.contains("is full")), "{lane}");
    assert_eq!(agent.metric("logferry_output_dead_letter_full", &[]), Some(1.0));
    let kept = lines(&agent).len();
    b.write(5_000);
    kafka.wait_count(&other, 5_000);
    agent.wait_status("the lane to have been tried again", |status| {
        // Five seconds apart, and the alarm once a minute.
        (status["uptime_seconds"].as_f64()? > 12.0).then_some(())
    });
    assert_eq!(agent.stderr().matches("can't be kept; its lane holds").count(), 1, "{}", agent.stderr());
    assert!(agent.status()["inputs"][0]["lag_bytes"].as_u64().is_some_and(|lag| lag > 0), "it holds");
    let (letter, seen) = (agent.data().join("dead_letter/main.jsonl"), agent.folder().join("seen.jsonl"));
    std::fs::rename(&letter, &seen).expect("it is there");
    until("the record that was held to be kept", || letter.exists().then_some(()));
    let config = std::fs::read_to_string(agent.config()).expect("just written");
    std::fs::write(agent.config(), config.replace("max_bytes: 1MiB", "max_bytes: 8MiB")).expect("it is ours");
    agent.signal(libc::SIGHUP);
    agent.wait_status("everything to be settled", |status| {
        (status["inputs"][0]["acked_records_total"] == 9 * 200 + 8).then_some(())
    });
    assert!(agent.stderr().contains("the dead letter takes records again"));
    agent.stop();
    let count = |path: &std::path::Path| std::fs::read_to_string(path).expect("it is there").lines().count();
    assert_eq!((count(&seen), count(&seen) + count(&letter)), (kept, 8));
    Check::of(&kafka.records(&narrow), &[&a]).exact();
    Check::of(&kafka.records(&other), &[&b]).exact();
}

/// Scenario: Kafka is away until the spool is full; the agent is killed with -9. `spool drain` while Kafka is still away; then
/// Kafka is back, and it is run again. Then the agent.
/// Guarantee: the first says what remains and why; the second sends all of it and reads nothing, and all of what was spooled has
/// arrived; with what the agent reads then, not one line is missing, in order.
#[test]
fn a_full_spool_is_drained_after_a_kill() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("drained", 3);
    let mut agent = Agent::new("drained");
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}\nkey: \"%{{[message]}}\""));
    let config = std::fs::read_to_string(agent.config()).expect("just written");
    std::fs::write(agent.config(), config + "spool: { files: always, max_bytes: 64MiB }\n").expect("it is ours");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(1_000);
    agent.start();
    kafka.wait_count(&topic, 1_000);
    kafka.kill9(1);
    writer.write(200_000);
    // The spool of 64 MiB keeps two segments back, and takes nothing more from then on.
    let spooled = agent.wait_status("the spool to be full", |status| {
        let spool = &status["outputs"][0]["spool"];
        let is_full = spool["used_bytes"].as_u64()? > 34 << 20 && status["inputs"][0]["waiting_count"] == 1;
        is_full.then(|| spool["records"].as_u64()).flatten()
    });
    assert!(spooled > 50_000, "{spooled}");
    let (code, _, stderr) = command(&agent, &["drain"]);
    assert!(code == Some(1) && stderr.contains(&format!("(pid {})", agent.status()["pid"])), "{stderr}");
    agent.kill9();
    let (code, stdout, stderr) = command(&agent, &["drain", "--timeout", "6s"]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    let expect = "output main: 0 records acknowledged; ";
    assert!(stdout.starts_with(expect) && stdout.contains(" records remain in the spool\n"), "{stdout}");
    assert!(stdout.contains(&format!("  {topic}/")) && stdout.contains("  broker "), "{stdout}");

    kafka.restart(1);
    let (code, stdout, stderr) = command(&agent, &["drain"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.ends_with("; the spool is empty\n"), "{stdout}");
    let count = kafka.count(&topic).expect("it answers");
    assert!(count >= i64::try_from(1_000 + spooled).expect("small") && count < 201_000, "{count} of {spooled}");
    let (code, stdout, _) = command(&agent, &["ls"]);
    assert!(code == Some(0) && !stdout.contains("LANE "), "{stdout}");
    agent.start();
    agent.wait_status("the file to be read", |status| {
        let input = &status["inputs"][0];
        (input["lag_bytes"] == 0 && input["files_count"] == 1).then_some(())
    });
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).complete();
}
