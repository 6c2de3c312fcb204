//! Kafka away, and what can't wait: what is spooled survives everything but the disk, and arrives in order (I1, I3).

use std::process::Stdio;

use crate::kafka_or_skip;
use crate::kit::cluster::{SASL_PASSWORD, SASL_USER, secure};
use crate::kit::jars::Release;
use crate::kit::skip::{self, Need};
use crate::kit::wait::until;
use crate::kit::writer::{Rotation, during};
use crate::kit::{agent::Agent, check::Check, cluster::Cluster, writer::Writer};

/// How often something is repeated within a test that waits for a condition over time.
const TIMES: usize = 4;

/// The number at a JSON path of the one output's spool.
fn spool(status: &serde_json::Value, field: &str) -> Option<u64> {
    status["outputs"][0]["spool"][field].as_u64()
}

/// Scenario: Kafka is down; a log is written, rotated and what was rotated is deleted, three times; the agent is killed with -9
/// and started again while Kafka is still away, and the log goes on; then Kafka is back.
/// Guarantee: before the kill, `status` shows no bytes that only unlinked files have; not one line is missing, per key in
/// order.
#[test]
fn rotated_and_deleted_while_kafka_is_away() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("deleted", 3);
    let output = format!("topic: {topic}\nkey: \"%{{[message]}}\"");
    let mut agent = Agent::shipping("deleted", &kafka, &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(1_000);
    agent.start();
    kafka.wait_count(&topic, 1_000);
    kafka.kill9(1);
    let mut bytes = std::fs::metadata(agent.log("a.log")).expect("it is there").len();
    let mut followed = Vec::new();
    for generation in 0..3 {
        writer.write(5_000);
        let size = std::fs::metadata(agent.log("a.log")).expect("it is there").len();
        bytes = if generation == 0 { size } else { bytes + size };
        let rotated = agent.folder().join("old.log");
        // A file that nobody has seen before it was gone can't be read. The one before may have the same size.
        let id = agent.wait_status("the file to be followed", |status| {
            let mut files = status["inputs"][0]["files"].as_array()?.iter();
            let is_it = |file: &&serde_json::Value| file["size_bytes"] == size && file["state"] != "waiting";
            files.find(|file| is_it(file) && !followed.contains(&file["id"])).map(|file| file["id"].clone())
        });
        followed.push(id);
        writer.rotate_to(&rotated);
        if generation % 2 == 0 {
            agent.wait_status("the rotated file to be spooled", |status| {
                (status["inputs"][0]["acked_bytes_total"].as_u64()? == bytes).then_some(())
            });
        }
        std::fs::remove_file(&rotated).expect("it was made by us");
    }
    writer.write(1_000);
    agent.wait_status("everything unlinked to be spooled", |status| {
        let input = &status["inputs"][0];
        (input["unlinked_bytes"] == 0 && spool(status, "records")? >= 15_000).then_some(())
    });
    agent.kill9();
    agent.start();
    agent.wait_status("the spool to be there again", |status| (spool(status, "records")? >= 15_000).then_some(()));
    writer.write(1_000);
    kafka.restart(1);
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    agent.wait_status("the spool to be empty", |status| {
        (spool(status, "records")? == 0 && status["inputs"][0]["lag_bytes"] == 0).then_some(())
    });
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).complete();
}

/// Scenario: the agent starts while Kafka is away, so that it knows no partition; lines come by a pipe, which nobody can read
/// again; it is killed with -9 once they are spooled. Kafka comes, and it starts again.
/// Guarantee: every line arrives, in order.
#[test]
fn a_pipe_into_an_agent_that_never_saw_kafka() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("pipe", 3);
    kafka.kill9(1);
    let mut agent = Agent::new("pipe");
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin }}\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    topic: {topic}\n    key: \"%{{[message]}}\"\n",
        kafka.bootstrap()
    ));
    let path = agent.folder().join("lines");
    let mut writer = Writer::new(&path, "p");
    writer.write(3_000);
    agent.spawn(&[], Stdio::piped());
    let mut pipe = agent.stdin();
    agent.wait_ready();
    std::io::Write::write_all(&mut pipe, &std::fs::read(&path).expect("just written")).expect("it reads");
    agent.wait_status("all of it to be spooled", |status| (spool(status, "records")? == 3_000).then_some(()));
    agent.kill9();
    kafka.restart(1);
    agent.spawn(&[], Stdio::piped());
    kafka.wait_count(&topic, 3_000);
    agent.wait_ready();
    agent.wait_status("the spool to be empty", |status| (spool(status, "records")? == 0).then_some(()));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).complete();
}

/// Scenario: a steady load with fast rotation; Kafka goes away and comes back, again and again; files are rotated meanwhile.
/// Guarantee: everything arrives once and in order, through spool, resending, and back to the direct way.
#[test]
fn away_and_back_under_rotation() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("back", 3);
    let output = format!("topic: {topic}\nkey: \"%{{[message]}}\"");
    let mut agent = Agent::shipping("back", &kafka, &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    agent.start();
    during(&mut writer, 2_000, Rotation::Rename(3_000), || {
        for _ in 0..2 {
            let before = kafka.count(&topic).unwrap_or(0);
            until("records to flow", || (kafka.count(&topic)? > before + 1_000).then_some(()));
            kafka.kill9(1);
            let had = agent.status()["outputs"][0]["spool"]["appended_records_total"].as_u64().expect("a number");
            agent.wait_status("rotated files to be spooled", |status| {
                (spool(status, "appended_records_total")? > had + 3_000).then_some(())
            });
            kafka.restart(1);
        }
    });
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    agent.wait_status("the spool to be empty", |status| (spool(status, "records")? == 0).then_some(()));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).complete();
}

/// Scenario: Kafka hangs for a second, goes on for a moment, and hangs again, under load and fast rotation.
/// Guarantee: it is slow and alive: nothing is written to the spool.
#[test]
fn slow_and_alive_does_not_touch_the_disk() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("slow", 1);
    let mut agent = Agent::new("slow");
    agent.ship("", &kafka.bootstrap(), &format!("topic: {topic}"));
    let config = std::fs::read_to_string(agent.config()).expect("just written");
    std::fs::write(agent.config(), config + "spool: { after: 30s }\n").expect("it is ours");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    agent.start();
    during(&mut writer, 1_000, Rotation::Rename(1_000), || {
        until("records to flow", || (kafka.count(&topic)? > 100).then_some(()));
        for _ in 0..TIMES {
            kafka.freeze(1, true);
            // Not for so long that the cluster takes it for dead (6 s): then it is not slow, but away.
            agent.wait_status("records to wait for an answer", |status| {
                (status["outputs"][0]["in_flight_records"].as_u64()? > 100).then_some(())
            });
            kafka.freeze(1, false);
            let before = kafka.count(&topic).unwrap_or(0);
            until("records to flow", || (kafka.count(&topic)? > before).then_some(()));
        }
    });
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    let status = agent.status();
    assert_eq!(spool(&status, "appended_records_total"), Some(0));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: two topics fed by one file, by a field of the line; one of them is deleted while the agent runs, and made again later.
/// Guarantee: the lines for the other one go on arriving meanwhile; those for the deleted one are spooled, survive a kill -9,
/// and arrive when it is there again.
#[test]
fn a_deleted_topic_holds_up_only_itself() {
    let kafka = kafka_or_skip!();
    let (kept, gone) = (kafka.topic("kept", 2), kafka.topic("gone", 2));
    let mut agent = Agent::new("one-gone");
    let log = |name: &str| agent.log(name).display().to_string();
    agent.configure(&format!(
        "inputs:\n  a:\n    type: file\n    paths: [{}]\n    topic: \"%{{[fields.to]}}\"\n    fields: {{ to: {kept} }}\n  b:\n    type: file\n    paths: [{}]\n    topic: \"{gone}\"\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\nspool: {{ files: always }}\n",
        log("a.log"),
        log("b.log"),
        kafka.bootstrap()
    ));
    let mut writers = [Writer::new(&agent.log("a.log"), "a"), Writer::new(&agent.log("b.log"), "b")];
    agent.start();
    writers.iter_mut().for_each(|writer| _ = writer.write(1_000));
    kafka.wait_count(&kept, 1_000);
    kafka.wait_count(&gone, 1_000);
    let before = kafka.records(&gone);
    kafka.delete(&gone);
    writers.iter_mut().for_each(|writer| _ = writer.write(5_000));
    kafka.wait_count(&kept, 6_000);
    agent.wait_status("what has no topic to be spooled", |status| (spool(status, "records")? >= 5_000).then_some(()));
    agent.kill9();
    agent.start();
    writers[0].write(1_000);
    kafka.wait_count(&kept, 7_000);
    kafka.create(&gone, 2);
    kafka.wait_count(&gone, 5_000);
    agent.wait_status("the spool to be empty", |status| (spool(status, "records")? == 0).then_some(()));
    agent.stop();
    Check::of(&kafka.records(&kept), &[&writers[0]]).complete();
    let all: Vec<_> = before.into_iter().chain(kafka.records(&gone)).collect();
    let check = Check::of(&all, &[&writers[1]]);
    assert!(check.lost.is_empty() && check.invented.is_empty(), "lost {:?}", check.lost.len());
}

/// Scenario: one file feeds two topics, by a field of the lines' input; while it runs, the right to write to one is taken away;
/// that file is rotated and deleted; the right is given again.
/// Guarantee: the other topic goes on; the lane says who is not authorised for what; what was deleted arrives, in order.
#[test]
fn a_right_taken_away_while_it_runs() {
    let Some(kafka) = secure() else { return };
    let (kept, lost) = (kafka.cluster.topic("right-kept", 2), kafka.cluster.topic("right-lost", 2));
    let principal = format!("User:{SASL_USER}");
    kafka.allow(&principal, &kept);
    kafka.allow(&principal, &lost);
    let mut agent = Agent::new("right");
    agent.configure(&format!(
        "inputs:\n  a: {{ type: file, paths: [\"{a}\"], topic: {kept} }}\n  b: {{ type: file, paths: [\"{b}\"], topic: {lost} }}\n\
         outputs:\n  main:\n    type: kafka\n    brokers: [\"127.0.0.1:{port}\"]\n    \
         tls: {{ ca_file: \"{ca}\" }}\n    sasl: {{ mechanism: PLAIN, username: {SASL_USER}, password: \"{SASL_PASSWORD}\" }}\n",
        a = agent.log("a.log").display(),
        b = agent.log("b.log").display(),
        port = kafka.sasl_port,
        ca = kafka.pki.ca.display(),
    ));
    let mut writers = [Writer::new(&agent.log("a.log"), "a"), Writer::new(&agent.log("b.log"), "b")];
    agent.start();
    writers.iter_mut().for_each(|writer| _ = writer.write(1_000));
    kafka.cluster.wait_count(&kept, 1_000);
    kafka.cluster.wait_count(&lost, 1_000);
    kafka.forbid(&principal, &lost);
    // The broker goes by its new rules when it has heard of them: lines are written until it refuses one.
    agent.wait_status("the lane to say what is missing", |status| {
        writers[1].write(10);
        let lanes = status["outputs"][0]["lanes"].as_array()?;
        let lane = lanes.iter().find(|lane| lane["topic"] == lost.as_str() && lane["state"] == "probing")?;
        let says = lane["cause"].as_str()?.contains(SASL_USER) && lane["fix"].as_str()?.contains("ACL WRITE");
        says.then_some(())
    });
    writers.iter_mut().for_each(|writer| _ = writer.write(2_000));
    kafka.cluster.wait_count(&kept, 3_000);
    let rotated = agent.folder().join("old.log");
    let bytes = std::fs::metadata(agent.log("b.log")).expect("it is there").len();
    writers[1].rotate_to(&rotated);
    agent.wait_status("the rotated file to be spooled", |status| {
        (status["inputs"][1]["acked_bytes_total"].as_u64()? == bytes).then_some(())
    });
    std::fs::remove_file(&rotated).expect("it was made by us");
    writers[1].write(500);
    kafka.allow(&principal, &lost);
    kafka.cluster.wait_count(&lost, i64::try_from(writers[1].written).expect("small"));
    agent.stop();
    Check::of(&kafka.cluster.records(&kept), &[&writers[0]]).exact();
    Check::of(&kafka.cluster.records(&lost), &[&writers[1]]).complete();
}

/// Scenario: Kafka is away, lines come by a pipe, and the disk of `data_dir` has hardly any room (a tmpfs), then it has.
/// Guarantee: the agent says that its spool can't be written and holds the pipe; with room it goes on by itself; when Kafka
/// is back, every line arrives, in order.
#[test]
fn a_full_disk_holds_and_heals() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("full-disk", 1);
    let mut agent = Agent::new("full-disk");
    let Some(disk) = SmallDisk::mount(&agent.data(), "24M") else { return };
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin }}\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    topic: {topic}\n    codec: raw\n",
        kafka.bootstrap()
    ));
    let path = agent.folder().join("lines");
    let mut writer = Writer::new(&path, "p");
    // Twice what the disk takes.
    writer.write(400_000);
    agent.spawn(&[], Stdio::piped());
    let mut pipe = agent.stdin();
    agent.wait_ready();
    kafka.kill9(1);
    let lines = std::fs::read(&path).expect("just written");
    let feeding = std::thread::spawn(move || std::io::Write::write_all(&mut pipe, &lines));
    agent.wait_status("the spool to have no room", |status| {
        status["outputs"][0]["spool"]["trouble"].as_str().filter(|trouble| trouble.contains("full")).map(|_| ())
    });
    assert!(!feeding.is_finished(), "the pipe is held");
    disk.resize("200M");
    agent.wait_status("it to be written again", |status| {
        let spool = &status["outputs"][0]["spool"];
        (spool["trouble"].is_null() && spool["live_bytes"].as_u64()? > 24 << 20).then_some(())
    });
    kafka.restart(1);
    kafka.wait_count(&topic, 400_000);
    feeding.join().expect("no panic").expect("all of it was read");
    agent.stop();
    Check::raw(&kafka.records(&topic), &[&writer]).complete();
}

/// Scenario: Kafka is away, lines come by a pipe until the disk of `data_dir` is full; Kafka comes back, and the disk stays full.
/// Guarantee: what is in the spool, what was to be written there, and what comes after it all arrives, in order: a partition that
/// flows does not wait for the disk.
#[test]
fn a_disk_that_stays_full_holds_up_no_kafka_that_is_back() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("full-for-good", 1);
    let mut agent = Agent::new("full-for-good");
    let Some(disk) = SmallDisk::mount(&agent.data(), "40M") else { return };
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin }}\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    topic: {topic}\n    codec: raw\n",
        kafka.bootstrap()
    ));
    let path = agent.folder().join("lines");
    let mut writer = Writer::new(&path, "p");
    writer.write(10);
    agent.spawn(&[], Stdio::piped());
    let mut pipe = agent.stdin();
    std::io::Write::write_all(&mut pipe, &std::fs::read(&path).expect("just written")).expect("it reads");
    kafka.wait_count(&topic, 10);
    kafka.kill9(1);
    let first = std::fs::metadata(&path).expect("just written").len();
    writer.write(199_990);
    let lines = std::fs::read(&path).expect("just written").split_off(usize::try_from(first).expect("short"));
    let feeding = std::thread::spawn(move || std::io::Write::write_all(&mut pipe, &lines));
    let ballast = agent.data().join("ballast");
    agent.wait_status("the spool to have no room", |status| {
        let spool = &status["outputs"][0]["spool"];
        if spool["records"].as_u64()? == 0 {
            return None;
        }
        // From now on there is what its first segment has allocated, and no more.
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&ballast).expect("it can be made");
        let _no_room = std::io::Write::write_all(&mut &file, &[0; 8 << 20]);
        spool["trouble"].as_str().filter(|trouble| trouble.contains("No space left")).map(|_| ())
    });
    assert!(!feeding.is_finished(), "the pipe is held");
    kafka.restart(1);
    kafka.wait_count(&topic, 200_000);
    feeding.join().expect("no panic").expect("all of it was read");
    agent.wait_status("nothing to wait", |status| status["outputs"][0]["lanes"].as_array()?.is_empty().then_some(()));
    drop(disk);
    let alarms = agent.stderr().matches("checkpoints can't be saved").count();
    assert!(alarms <= 1, "said at once, and then once a minute: {alarms} times");
    Check::raw(&kafka.records(&topic), &[&writer]).complete();
}

/// Scenario: the agent starts while Kafka is away, and the disk of `data_dir` gets full; lines with keys come by a pipe, for a topic
/// that nobody has told of yet. Kafka comes, and the disk stays full.
/// Guarantee: all of them arrive, in order, where the keys belong: nothing that was to be written waits for the disk.
#[test]
fn keys_of_a_topic_not_known_yet_do_not_wait_for_a_full_disk() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("full-unknown", 3);
    kafka.kill9(1);
    let mut agent = Agent::new("full-unknown");
    let Some(disk) = SmallDisk::mount(&agent.data(), "8M") else { return };
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin }}\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    topic: {topic}\n    codec: raw\n    key: \"%{{[message]}}\"\n",
        kafka.bootstrap()
    ));
    agent.spawn(&[], Stdio::piped());
    let mut pipe = agent.stdin();
    agent.wait_ready();
    let ballast = std::fs::File::create(agent.data().join("ballast")).expect("it can be made");
    let _no_room = std::io::Write::write_all(&mut &ballast, &[0; 8 << 20]);
    let path = agent.folder().join("lines");
    let mut writer = Writer::new(&path, "p");
    writer.write(50_000);
    let lines = std::fs::read(&path).expect("just written");
    let feeding = std::thread::spawn(move || std::io::Write::write_all(&mut pipe, &lines));
    agent.wait_status("lines to be taken that the disk does not take", |status| {
        let spool = &status["outputs"][0]["spool"];
        let unknown = status["outputs"][0]["lanes"].as_array()?.iter().any(|lane| lane["state"] == "unknown");
        (spool["full"] == true && unknown && status["inputs"][0]["read_records_total"].as_u64()? > 0).then_some(())
    });
    kafka.restart(1);
    kafka.wait_count(&topic, 50_000);
    feeding.join().expect("no panic").expect("all of it was read");
    agent.wait_status("nothing to wait", |status| status["outputs"][0]["lanes"].as_array()?.is_empty().then_some(()));
    assert_eq!(spool(&agent.status(), "appended_records_total"), Some(0), "the disk took nothing");
    drop(disk);
    Check::raw(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: Kafka is away and lines are spooled; somebody deletes the spool's directory while the agent runs, and lines go on.
/// Guarantee: what went with the directory is counted and said; the agent goes on, and everything after it arrives.
#[test]
fn the_spool_directory_is_deleted_while_it_runs() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("no-dir", 1);
    let mut agent = Agent::new("no-dir");
    agent.configure(&format!(
        "inputs:\n  in: {{ type: stdin }}\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    topic: {topic}\n    codec: raw\n",
        kafka.bootstrap()
    ));
    let path = agent.folder().join("lines");
    let mut writer = Writer::new(&path, "p");
    agent.spawn(&[], Stdio::piped());
    let mut pipe = agent.stdin();
    agent.wait_ready();
    kafka.kill9(1);
    let mut feed = |writer: &mut Writer, count: u64| {
        let had = std::fs::metadata(&path).expect("it is there").len();
        writer.write(count);
        let all = std::fs::read(&path).expect("just written");
        let new = &all[usize::try_from(had).expect("small")..];
        std::io::Write::write_all(&mut pipe, new).expect("it reads");
    };
    feed(&mut writer, 1_000);
    agent.wait_status("the lines to be spooled", |status| (spool(status, "records")? == 1_000).then_some(()));
    std::fs::remove_dir_all(agent.data().join("spool")).expect("it is there");
    agent.wait_status("the loss to be counted", |status| (spool(status, "lost_records_total")? == 1_000).then_some(()));
    feed(&mut writer, 1_000);
    agent.wait_status("more to be spooled", |status| (spool(status, "records")? >= 1_000).then_some(()));
    kafka.restart(1);
    agent.wait_status("the spool to be empty", |status| (spool(status, "records")? == 0).then_some(()));
    kafka.wait_count(&topic, 1_000);
    agent.stop();
    let records = kafka.records(&topic);
    let check = Check::raw(&records, &[&writer]);
    let after: Vec<String> = (1_000..2_000).map(|number| writer.line(number)).collect();
    assert!(check.invented.is_empty() && check.out_of_order.is_empty(), "{check:?}");
    assert!(after.iter().all(|line| !check.lost.contains(line)), "{check:?}");
}

/// Scenario: Kafka is away, a pipe brings more than the spool may hold, and the config wants something dropped then; Kafka comes
/// back. Guarantee: the pipe is not held; what arrives and what is counted as dropped are all that was written; the oldest are
/// missing, or the newest.
#[test]
fn what_is_dropped_is_counted() {
    for policy in ["drop_oldest", "drop_newest"] {
        let Some(kafka) = Cluster::single(Release::Current) else { return };
        let topic = kafka.topic("dropped", 1);
        let mut agent = Agent::new(policy);
        agent.configure(&format!(
            "inputs:\n  in: {{ type: stdin }}\noutputs:\n  main:\n    type: kafka\n    brokers: [{}]\n    topic: {topic}\n    codec: raw\n\
             spool: {{ max_bytes: 64MiB, when_full: {policy} }}\n",
            kafka.bootstrap()
        ));
        let path = agent.folder().join("lines");
        let mut writer = Writer::new(&path, "p");
        writer.write(600_000);
        agent.spawn(&[], Stdio::piped());
        let mut pipe = agent.stdin();
        agent.wait_ready();
        kafka.kill9(1);
        std::io::Write::write_all(&mut pipe, &std::fs::read(&path).expect("just written")).expect("it reads");
        let dropped = agent.wait_status("something to be dropped, and the rest to be spooled", |status| {
            let dropped = status["outputs"][0]["dropped"][policy].as_u64().filter(|dropped| *dropped > 0)?;
            (status["inputs"][0]["acked_records_total"] == 600_000).then_some(dropped)
        });
        kafka.restart(1);
        kafka.wait_count(&topic, i64::try_from(600_000 - dropped).expect("small"));
        agent.stop();
        let check = Check::raw(&kafka.records(&topic), &[&writer]);
        assert!(check.invented.is_empty() && check.out_of_order.is_empty(), "{:?}", check.out_of_order.len());
        assert_eq!((check.lost.len() as u64, check.repeated), (dropped, 0), "{policy}");
        let first_is_lost = check.lost[0] == writer.line(0);
        assert_eq!(first_is_lost, policy == "drop_oldest", "{policy}: {}", check.lost[0]);
    }
}

/// Scenario: Kafka is away until the spool is full and the file waits; then the config gives the output's spool more room, and another
/// policy, by SIGHUP.
/// Guarantee: it takes effect at once, without Kafka and with the producer that was there: all of the file is spooled; then everything
/// arrives, in order.
#[test]
fn a_full_spool_gets_more_room_by_a_reload() {
    let Some(kafka) = Cluster::single(Release::Current) else { return };
    let topic = kafka.topic("more-room", 3);
    let mut agent = Agent::new("more-room");
    agent.ship(
        "",
        &kafka.bootstrap(),
        &format!("topic: {topic}\nkey: \"%{{[message]}}\"\nspool: {{ max_bytes: 64MiB }}"),
    );
    let config = std::fs::read_to_string(agent.config()).expect("just written") + "spool: { files: always }\n";
    std::fs::write(agent.config(), &config).expect("it is ours");
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(1_000);
    agent.start();
    kafka.wait_count(&topic, 1_000);
    kafka.kill9(1);
    writer.write(150_000);
    agent.wait_status("the spool to be full", |status| {
        assert_eq!(spool(status, "max_bytes"), Some(64 << 20));
        (spool(status, "used_bytes")? > 32 << 20 && status["inputs"][0]["waiting_count"] == 1).then_some(())
    });
    let larger = "max_bytes: 512MiB, when_full: drop_newest";
    std::fs::write(agent.config(), config.replace("max_bytes: 64MiB", larger)).expect("it is ours");
    agent.signal(libc::SIGHUP);
    let rebuilds = agent.wait_status("all of the file to be spooled", |status| {
        let is_read = status["inputs"][0]["acked_records_total"] == 151_000;
        (is_read && spool(status, "max_bytes")? == 512 << 20).then(|| status["outputs"][0]["rebuilds_total"].as_u64())
    });
    assert_eq!(rebuilds, Some(0), "the producer stays");
    assert!(agent.stderr().contains("config reloaded; outputs changed: main"), "{}", agent.stderr());
    kafka.restart(1);
    kafka.wait_count(&topic, 151_000);
    agent.wait_status("the spool to be empty", |status| (spool(status, "records")? == 0).then_some(()));
    assert_eq!(agent.status()["drops"], serde_json::json!({}), "there was room");
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).complete();
}

/// A disk of its own, in memory; gone with the value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Mounts one; where that is not allowed, says so and skips.
    fn mount(at: &std::path::Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .status()
            .is_ok_and(|status| status.success());
        if mounted {
            return Some(Self(at.to_owned()));
        }
        skip::note(Need::Mount);
        None
    }

    fn resize(&self, size: &str) {
        let status = std::process::Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0)
            .status()
            .expect("it mounted it before");
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A lazy one: the agent may still have files open.
        let _left = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
