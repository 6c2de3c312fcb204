//! Several outputs: each gets every record that is for it, whatever happens to the others; and the output `file`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::kafka_or_skip;
use crate::kit::agent::{Agent, indent, logferry};
use crate::kit::broker::free_port;
use crate::kit::consumer::Record;
use crate::kit::jars::Release;
use crate::kit::writer::{Rotation, during};
use crate::kit::{check::Check, cluster::Cluster, wait, writer::Writer};

/// A config with the file input `files` and these outputs, each a name and its keys.
fn configure(agent: &Agent, input: &str, outputs: &[(&str, String)], top: &str) {
    let files = format!("type: file\npaths: [\"{}/*.log\"]\n{input}", agent.logs().display());
    let outputs: String = outputs.iter().map(|(name, keys)| format!("  {name}:\n{}", indent(&indent(keys)))).collect();
    agent.configure(&format!("inputs:\n  files:\n{}outputs:\n{outputs}{top}", indent(&indent(&files))));
}

fn to_kafka(kafka: &Cluster, topic: &str, more: &str) -> String {
    format!("type: kafka\nbrokers: [{}]\ntopic: {topic}\n{more}", kafka.bootstrap())
}

fn to_file(path: &Path, more: &str) -> String {
    format!("type: file\npath: {}\n{more}", path.display())
}

/// The lines of a file and of those that were rotated away from it, oldest first, as if they were records.
fn lines(path: &Path) -> Vec<Record> {
    let numbered = |number: usize| PathBuf::from(format!("{}.{number}", path.display()));
    let rotated = (1..).take_while(|number| numbered(*number).exists()).count();
    let names = (1..=rotated).rev().map(numbered).chain([path.to_owned()]);
    let texts: Vec<String> = names.map(|name| std::fs::read_to_string(name).unwrap_or_default()).collect();
    let record = |(offset, line): (i64, &str)| Record {
        partition: 0,
        offset,
        timestamp: 0,
        key: None,
        headers: String::new(),
        value: line.as_bytes().to_vec(),
    };
    let all = texts.concat();
    (0..).zip(all.lines()).map(record).collect()
}

fn output(status: &serde_json::Value, name: &str) -> serde_json::Value {
    let mut outputs = status["outputs"].as_array().into_iter().flatten();
    outputs.find(|output| output["name"] == name).unwrap_or_else(|| panic!("no output {name} in {status}")).clone()
}

fn small(count: u64) -> i64 {
    i64::try_from(count).expect("small")
}

/// Scenario: two outputs of one cluster, with topics, keys and codecs of their own, and a file; the agent is killed with -9 and
/// started again under load.
/// Guarantee: each has every line, in order; and what was checkpointed is sent to none of them again.
#[test]
fn every_output_gets_every_line_in_its_own_form() {
    let kafka = kafka_or_skip!();
    let (plain, raw) = (kafka.topic("dual-plain", 3), kafka.topic("dual-raw", 2));
    let mut agent = Agent::new("dual");
    let copy = agent.folder().join("copy/%{topic}.jsonl");
    let outputs = [
        ("plain", to_kafka(kafka, &plain, "")),
        ("raw", to_kafka(kafka, &raw, "codec: raw\nheaders: { side: second }")),
        ("copy", to_file(&copy, "rotate: { max_bytes: 1MiB, keep: 100 }")),
    ];
    configure(&agent, "", &outputs, "");
    let copy = agent.folder().join("copy/logs.raw.jsonl");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(5_000);
    agent.start();
    for topic in [&plain, &raw] {
        kafka.wait_count(topic, 5_000);
    }
    agent.wait_status("everything to be checkpointed", |status| {
        let input = &status["inputs"][0];
        (input["acked_records_total"] == 5_000 && status["duplicates_bound_bytes"] == 0).then_some(())
    });
    during(&mut writer, 5_000, Rotation::Rename(4_000), || {
        kafka.wait_count(&raw, 8_000);
        agent.kill9();
        agent.start();
        kafka.wait_count(&raw, 12_000);
    });
    let all = writer.written;
    agent.wait_status("everything to be acknowledged", |status| {
        (status["inputs"][0]["lag_bytes"] == 0 && status["duplicates_bound_bytes"] == 0).then_some(())
    });
    let status = agent.status();
    for name in ["plain", "raw", "copy"] {
        let output = output(&status, name);
        assert_eq!((&output["required"], &status["drops"]), (&true.into(), &serde_json::json!({})), "{output}");
        assert!(output["delivery_seconds"]["sum_seconds"].as_f64().is_some_and(|sum| sum > 0.0), "{output}");
    }
    agent.stop();
    let (in_plain, in_raw, in_copy) = (kafka.records(&plain), kafka.records(&raw), lines(&copy));
    assert!(in_raw.iter().all(|record| record.headers.contains("side")), "its own headers");
    let checks = [Check::of(&in_plain, &[&writer]), Check::raw(&in_raw, &[&writer]), Check::of(&in_copy, &[&writer])];
    for check in checks {
        check.complete();
        assert!(check.repeated as u64 <= all - 5_000, "what was checkpointed came again: {}", check.repeated);
    }
}

/// Scenario: two clusters; the second is killed with -9 under load. The agent, which waits for it, is stopped, started, killed with
/// -9 and started; then the cluster comes back.
/// Guarantee: nothing is lost on either. The stop and the start repeat nothing to the cluster that was there all the time, a kill
/// only what a kill may.
#[test]
fn a_cluster_that_was_away_gets_what_it_missed_and_the_other_nothing_twice() {
    let kafka = kafka_or_skip!();
    let Some(second) = Cluster::single(Release::Current) else { return };
    let (here, there) = (kafka.topic("here", 2), second.topic("there", 2));
    let mut agent = Agent::new("away");
    let outputs = [("here", to_kafka(kafka, &here, "")), ("there", to_kafka(&second, &there, "codec: raw"))];
    configure(&agent, "", &outputs, "shutdown_after: 1s\n");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(1_000);
    agent.start();
    kafka.wait_count(&here, 1_000);
    second.wait_count(&there, 1_000);
    agent.wait_status("the first lines to be acknowledged by both", |status| {
        (status["inputs"][0]["acked_records_total"] == 1_000).then_some(())
    });
    second.kill9(1);
    writer.write(30_000);
    let ahead = wait::until("the healthy one to go ahead, as far as it may", || {
        let status = agent.status();
        let waits = status["inputs"][0]["waiting_count"] == 1;
        let is_idle = output(&status, "here")["in_flight_records"] == 0;
        let count = kafka.count(&here)?;
        (waits && is_idle && count > 1_000).then_some(count)
    });
    assert!(agent.input("files")["acked_records_total"].as_u64().expect("a number") < 2_000, "one of two is not all");
    agent.stop();
    agent.start();
    // It reads from where the second cluster is, and gives the first nothing of what that has.
    writer.write(10);
    agent.wait_status("it to read again and wait", |status| (status["inputs"][0]["waiting_count"] == 1).then_some(()));
    let check = Check::of(&kafka.records(&here), &[&writer]);
    assert_eq!((check.repeated, check.out_of_order.len()), (0, 0), "{ahead} were there before");
    agent.kill9();
    agent.start();
    second.restart(1);
    second.all_up();
    kafka.wait_count(&here, small(writer.written));
    second.wait_count(&there, small(writer.written));
    agent.wait_status("everything to be acknowledged", |status| (status["inputs"][0]["lag_bytes"] == 0).then_some(()));
    agent.stop();
    let (in_here, in_there) = (kafka.records(&here), second.records(&there));
    Check::raw(&in_there, &[&writer]).complete();
    let check = Check::of(&in_here, &[&writer]);
    check.complete();
    assert!(check.repeated < 2_000, "{} repeated to the cluster that was never away", check.repeated);
}

/// Scenario: one output has a broker that is not there and is not required; the other is healthy.
/// Guarantee: nothing waits for it, not even at the end; each record that it did not take is counted, by reason, in status and
/// metrics.
#[test]
fn an_output_that_is_not_required_holds_nothing_back() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("alone", 2);
    let mut agent = Agent::new("optional");
    let nobody = format!("type: kafka\nbrokers: [\"127.0.0.1:{}\"]\nrequired: false", free_port());
    configure(&agent, "", &[("main", to_kafka(kafka, &topic, "")), ("nobody", nobody)], "");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(100_000);
    agent.start();
    kafka.wait_count(&topic, 100_000);
    agent.wait_status("all to be counted", |status| {
        let nobody = output(status, "nobody");
        let dropped: u64 = nobody["dropped"].as_object()?.values().filter_map(serde_json::Value::as_u64).sum();
        (status["inputs"][0]["acked_records_total"] == 100_000 && dropped == 100_000).then_some(())
    });
    let labels = ["output=\"nobody\"", "reason=\"topic_blocked\""];
    assert_eq!(agent.metric("logferry_output_dropped_records_total", &labels), Some(100_000.0));
    assert_eq!(agent.status()["drops"]["topic_blocked"], 100_000);
    let told =
        String::from_utf8_lossy(&logferry(&["status", "-c", agent.config().to_str().expect("UTF-8")], b"").stdout)
            .into_owned();
    assert!(told.contains("nobody: 100,000 records dropped (topic_blocked 100,000)"), "{told}");
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: an output that is not required and is healthy, from the first record on.
/// Guarantee: it gets everything, the start included.
#[test]
fn an_output_that_is_not_required_gets_everything_while_it_is_there() {
    let kafka = kafka_or_skip!();
    let (topic, extra) = (kafka.topic("main", 2), kafka.topic("extra", 2));
    let mut agent = Agent::new("extra");
    let outputs = [("main", to_kafka(kafka, &topic, "")), ("extra", to_kafka(kafka, &extra, "required: false"))];
    configure(&agent, "", &outputs, "");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(2_000);
    agent.until_idle(1);
    for topic in [&topic, &extra] {
        Check::of(&kafka.records(topic), &[&writer]).exact();
    }
}

/// Scenario: `when` sends some lines to a topic, some to a file with envelopes, and some nowhere; a second input feeds the file only.
/// Guarantee: each line is where its condition says and nowhere else; what goes nowhere is counted.
#[test]
fn conditions_and_inputs_choose_the_outputs() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("errors", 1);
    let mut agent = Agent::new("when");
    let file = agent.folder().join("out.jsonl");
    let errors = to_kafka(kafka, &topic, "codec: raw\nwhen: \"[message] contains 'ERROR'\"");
    let warnings = to_file(&file, "codec: json\nenvelope: true\nkey: k\nwhen: \"[message] contains 'WARN'\"");
    configure(&agent, "", &[("errors", errors), ("warnings", warnings)], "");
    let config = std::fs::read_to_string(agent.config()).expect("just written");
    let lone = agent.folder().join("lone.txt");
    let input = format!("inputs:\n  lone: {{ type: file, paths: [{}], outputs: [warnings] }}\n", lone.display());
    std::fs::write(agent.config(), config.replacen("inputs:\n", &input, 1)).expect("writable");
    let text: String = (0..300).map(|n| format!("{n} {}\n", ["ERROR", "WARN", "INFO"][n % 3])).collect();
    std::fs::write(agent.log("a.log"), text).expect("writable");
    std::fs::write(&lone, "x ERROR\nx WARN\n").expect("writable");
    agent.spawn(&[], Stdio::null());
    agent.wait_ready();
    agent.wait_status("all to be settled", |status| {
        let all_read = status["inputs"].as_array()?.iter().all(|input| input["lag_bytes"] == 0);
        (all_read && output(status, "warnings")["produced_records_total"] == 101).then_some(())
    });
    kafka.wait_count(&topic, 100);
    assert_eq!(agent.input("files")["dropped"]["no_output"], 100);
    assert_eq!(agent.input("lone")["dropped"]["no_output"], 1);
    agent.stop();
    let errors = kafka.records(&topic);
    assert!(errors.len() == 100 && errors.iter().all(|record| record.value.ends_with(b" ERROR")));
    let seen: Vec<serde_json::Value> = lines(&file).iter().map(Record::json).collect();
    assert_eq!(seen.len(), 101);
    for envelope in &seen {
        let payload = envelope["payload"].as_str().expect("text");
        assert!(payload.contains("WARN\"") && envelope["key"] == "k" && envelope["topic"] == "logs.raw", "{envelope}");
    }
}

/// Scenario: a directory is in the way of the file of one output; the agent is stopped and started meanwhile; the way becomes free.
/// Guarantee: the input that also feeds Kafka waits and says why, one that does not feed the file flows; Kafka gets nothing twice;
/// then the file has everything, in order and once.
#[test]
fn a_file_that_can_not_be_written_holds_what_feeds_it_and_heals() {
    let kafka = kafka_or_skip!();
    let (topic, free) = (kafka.topic("beside", 1), kafka.topic("free", 1));
    let mut agent = Agent::new("blocked");
    let file = agent.folder().join("out.jsonl");
    std::fs::create_dir(&file).expect("writable");
    let outputs =
        [("main", to_kafka(kafka, &topic, "")), ("copy", to_file(&file, "rotate: { max_bytes: 64KiB, keep: 1000 }"))];
    configure(&agent, "", &outputs, "shutdown_after: 1s\n");
    let config = std::fs::read_to_string(agent.config()).expect("just written");
    let lone = agent.folder().join("lone.txt");
    let input =
        format!("inputs:\n  lone: {{ type: file, paths: [{}], outputs: [main], topic: {free} }}\n", lone.display());
    std::fs::write(agent.config(), config.replacen("inputs:\n", &input, 1)).expect("writable");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(60_000);
    agent.start();
    let fix = agent.wait_status("the status to say why the file waits", |status| {
        let lane = output(status, "copy")["lanes"][0].clone();
        let is_known = lane["cause"].as_str()?.contains("out.jsonl: this is no plain file");
        (is_known && status["inputs"][0]["name"] == "files")
            .then(|| lane["fix"].as_str().unwrap_or_default().to_owned())
    });
    assert!(fix.contains("it goes on by itself"), "{fix}");
    let mut other = Writer::new(&lone, "lone");
    other.write(2_000);
    kafka.wait_count(&free, 2_000);
    wait::until("what Kafka may have of it to be there", || {
        let status = agent.status();
        let is_quiet = output(&status, "main")["in_flight_records"] == 0 && status["inputs"][0]["waiting_count"] == 1;
        is_quiet.then_some(())
    });
    agent.stop();
    // A third output comes in the meantime. The second must not be taken for one that is new, too.
    let late = agent.folder().join("late.jsonl");
    let config = std::fs::read_to_string(agent.config()).expect("just written");
    let third = format!("outputs:\n  late: {{ type: file, path: {} }}\n", late.display());
    std::fs::write(agent.config(), config.replacen("outputs:\n", &third, 1)).expect("writable");
    agent.start();
    std::fs::remove_dir(&file).expect("empty");
    kafka.wait_count(&topic, 60_000);
    agent.wait_status("everything to be acknowledged", |status| {
        let inputs = status["inputs"].as_array()?;
        inputs.iter().all(|input| input["lag_bytes"] == 0).then_some(())
    });
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
    Check::of(&kafka.records(&free), &[&other]).exact();
    Check::of(&lines(&file), &[&writer]).exact();
    let late = Check::of(&lines(&late), &[&writer]);
    assert_eq!((late.repeated, late.out_of_order.len(), late.invented.len()), (0, 0, 0));
    let missed = late.lost.len() as u64;
    assert_eq!(late.lost, (0..missed).map(|number| writer.line(number)).collect::<Vec<_>>(), "it has a gap-free end");
}

/// Scenario: under load an output is added by SIGHUP, another one changed, and the first removed.
/// Guarantee: what is there all the time gets every line once; the new one begins with what comes after its reload, not at the
/// beginning of the file; nothing is out of order.
#[test]
fn outputs_come_change_and_go_at_a_reload() {
    let kafka = kafka_or_skip!();
    let (stays, goes) = (kafka.topic("stays", 2), kafka.topic("goes", 2));
    let mut agent = Agent::new("reload-outputs");
    let file = agent.folder().join("new.jsonl");
    let (keeps, leaves) = (("keeps", to_kafka(kafka, &stays, "")), ("leaves", to_kafka(kafka, &goes, "")));
    configure(&agent, "", &[keeps.clone(), leaves.clone()], "");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(3_000);
    agent.start();
    kafka.wait_count(&stays, 3_000);
    kafka.wait_count(&goes, 3_000);
    let reload = |count: u64, said: &str| {
        agent.signal(libc::SIGHUP);
        agent.wait_status("the reload", |status| (status["config"]["reloads_total"]["ok"] == count).then_some(()));
        assert!(agent.stderr().contains(said), "{said}\n{}", agent.stderr());
    };
    let (before, after) = {
        let mut marks = (0, 0);
        during(&mut writer, 3_000, Rotation::Rename(u64::MAX), || {
            let count = || kafka.count(&stays).expect("the broker answers");
            kafka.wait_count(&stays, 4_000);
            configure(&agent, "", &[keeps.clone(), leaves.clone(), ("new", to_file(&file, ""))], "");
            reload(1, "outputs added: new");
            marks.0 = count();
            kafka.wait_count(&stays, marks.0 + 3_000);
            configure(&agent, "", &[keeps.clone(), ("new", to_file(&file, "permissions: \"0640\""))], "");
            reload(2, "outputs changed: new; outputs removed: leaves");
            marks.1 = count();
            kafka.wait_count(&stays, marks.1 + 3_000);
        });
        marks
    };
    kafka.wait_count(&stays, small(writer.written));
    let names = agent.wait_status("everything to be acknowledged", |status| {
        let names: Vec<String> =
            status["outputs"].as_array()?.iter().map(|output| output["name"].to_string()).collect();
        (status["inputs"][0]["lag_bytes"] == 0).then_some(names)
    });
    assert_eq!(names, ["\"keeps\"", "\"new\""]);
    agent.stop();
    Check::of(&kafka.records(&stays), &[&writer]).exact();
    let gone = Check::of(&kafka.records(&goes), &[&writer]);
    assert!(gone.repeated == 0 && gone.out_of_order.is_empty() && small(gone.arrived as u64) <= after, "{gone:?}");
    let new = Check::of(&lines(&file), &[&writer]);
    assert_eq!((new.repeated, new.out_of_order.len(), new.invented.len()), (0, 0, 0));
    let missed = new.lost.len();
    assert!(missed >= 3_000 && small(missed as u64) <= before, "{missed} of the {before} before it came");
    assert_eq!(new.lost, (0..missed as u64).map(|number| writer.line(number)).collect::<Vec<_>>(), "a gap-free end");
}

/// Scenario: `try` and `check --connect` with a config of two outputs.
/// Guarantee: each output's records can be seen, and which one is meant has to be said; a directory that can't be written is named.
#[test]
fn commands_know_outputs_by_their_names() {
    let agent = Agent::new("names");
    let (one, two) = (agent.folder().join("one.jsonl"), agent.folder().join("a/b/two.jsonl"));
    let outputs =
        [("one", to_file(&one, "codec: raw")), ("two", to_file(&two, "codec: json\nwhen: \"[message] == 'yes'\""))];
    configure(&agent, "", &outputs, "");
    let config = agent.config().to_str().expect("UTF-8").to_owned();
    let run = |args: &[&str]| {
        let out = logferry(args, b"yes\nno\n");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    assert_eq!(run(&["try", "-c", &config, "--output", "one"]).1, "yes\nno\n");
    let (code, stdout, _) = run(&["try", "-c", &config, "--output", "two"]);
    assert!(code == Some(0) && stdout.lines().count() == 1 && stdout.contains("\"message\":\"yes\""), "{stdout}");
    let (code, _, stderr) = run(&["try", "-c", &config]);
    assert_eq!((code, stderr.contains("Say --output with one of: one, two")), (Some(2), true), "{stderr}");
    let (code, stdout, stderr) = run(&["check", "--connect", "-c", &config]);
    assert_eq!(code, Some(0), "{stderr}");
    let directory = agent.folder().display();
    assert!(stdout.contains(&format!("output two: directory {directory}: can be written")), "{stdout}");
    assert!(stdout.contains(&format!("output `one` to {}, output `two` to", one.display())), "{stdout}");
    std::fs::create_dir(&one).expect("writable");
    let (code, _, stderr) = run(&["check", "--connect", "-c", &config]);
    assert!(code == Some(1) && stderr.contains("wrong: output one: path: "), "{stderr}");
}
