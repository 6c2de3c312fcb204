//! Three brokers, `min.insync.replicas=2`: any one of them may die at any time.

use crate::kit::cluster;
use crate::kit::writer::{Rotation, during};
use crate::kit::{agent::Agent, check::Check, wait, writer::Writer};

/// Scenario: under a steady load, each broker in turn is killed with -9, so that every partition loses its leader at least
/// once; the next one is killed when the one before is back in sync.
/// Guarantee: the leaders move, records go on arriving while a broker is away, and at the end nothing is lost, nothing out
/// of order, nothing repeated.
#[test]
fn each_leader_is_killed_in_turn() {
    let Some(kafka) = cluster::three() else { return };
    let topic = kafka.topic("leaders", 3);
    let mut agent = Agent::shipping("leaders", &kafka, &format!("topic: {topic}\nkey: \"%{{[message]}}\""));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    agent.start();
    during(&mut writer, 500, Rotation::Rename(5_000), || {
        for node in 1..=3 {
            kafka.kill9(node);
            wait::until("every partition to have another leader", || {
                kafka.leaders(&topic).filter(|leaders| leaders.iter().all(|&now| now > 0 && now != node))
            });
            let before = wait::until("the brokers that are left to answer", || kafka.ends(&topic));
            wait::until("every partition to take records with a broker away", || {
                let now = kafka.ends(&topic)?;
                now.iter().zip(&before).all(|(now, before)| now > &(before + 20)).then_some(())
            });
            kafka.all_up();
            wait::until("all replicas to be in sync", || kafka.in_sync(&topic).filter(|&all| all));
        }
    });
    kafka.wait_count(&topic, i64::try_from(writer.written).expect("small"));
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: two of three brokers die, so that acks=all can't be had; they come back.
/// Guarantee: nothing counts as acknowledged meanwhile, and then everything arrives once.
#[test]
fn two_brokers_down_is_a_wait_and_not_a_loss() {
    let Some(kafka) = cluster::three() else { return };
    let topic = kafka.topic("two-down", 3);
    let mut agent = Agent::shipping("two-down", &kafka, &format!("topic: {topic}\nkey: \"%{{[message]}}\""));
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(500);
    agent.start();
    kafka.wait_count(&topic, 500);
    agent.wait_status("the first lines to be acknowledged", |status| {
        (status["inputs"][0]["acked_records_total"] == 500).then_some(())
    });
    kafka.kill9(2);
    kafka.kill9(3);
    writer.write(500);
    agent.wait_status("the rest to be read", |status| {
        (status["inputs"][0]["read_records_total"].as_u64()? >= 1_000).then_some(())
    });
    assert_eq!(agent.input("files")["acked_records_total"], 500, "with one replica nothing is acknowledged");
    kafka.all_up();
    kafka.wait_count(&topic, 1_000);
    agent.stop();
    Check::of(&kafka.records(&topic), &[&writer]).exact();
}

/// Scenario: a topic wants all three replicas in sync, another wants two; one broker dies, and comes back.
/// Guarantee: nothing more of the first counts as acknowledged or is given up, and its lane says that it is stalled; the other goes on
/// meanwhile; then the first goes on by itself, in order, and has nothing twice.
#[test]
fn too_few_replicas_in_sync_hold_only_their_topic() {
    let Some(kafka) = cluster::three() else { return };
    let (wants, other) = (cluster::Cluster::name("wants-three"), kafka.topic("wants-two", 1));
    kafka.create_with(&wants, 1, &[("min.insync.replicas", "3")]);
    let mut agent = Agent::new("too-few");
    agent.configure(&format!(
        "inputs:\n  \
           flows: {{ type: file, paths: [\"{flows}\"], topic: {other} }}\n  \
           waits: {{ type: file, paths: [\"{waits}\"], topic: {wants} }}\n\
         outputs:\n  main: {{ type: kafka, brokers: [{brokers}] }}\n",
        waits = agent.log("waits.log").display(),
        flows = agent.log("flows.log").display(),
        brokers = kafka.bootstrap(),
    ));
    let mut waits = Writer::new(&agent.log("waits.log"), "waits");
    let mut flows = Writer::new(&agent.log("flows.log"), "flows");
    waits.write(1_000);
    flows.write(1_000);
    agent.start();
    for input in [0, 1] {
        agent.wait_status("the first lines to be acknowledged", |status| {
            (status["inputs"][input]["acked_records_total"] == 1_000).then_some(())
        });
    }
    kafka.kill9(3);
    // More than the window holds.
    waits.write(100_000);
    flows.write(50_000);
    kafka.wait_count(&other, 51_000);
    agent.wait_status("the lane to be stalled", |status| {
        let mut lanes = status["outputs"][0]["lanes"].as_array()?.iter();
        lanes.find(|lane| lane["topic"] == wants.as_str() && lane["state"] == "stalled").map(|_| ())
    });
    assert_eq!(agent.input("waits")["acked_records_total"], 1_000, "two replicas are too few");
    assert_eq!(agent.status()["drops"], serde_json::json!({}), "nothing is given up");
    kafka.all_up();
    kafka.wait_count(&wants, 101_000);
    agent.stop();
    Check::of(&kafka.records(&wants), &[&waits]).exact();
    Check::of(&kafka.records(&other), &[&flows]).exact();
}

/// Scenario: three topics, each on a broker of its own, fed by a file each; one broker hangs (its sockets stay open).
/// Guarantee: the other two files flow on at full speed; the third waits, and goes on when its broker does.
#[test]
fn a_hanging_broker_holds_only_the_files_that_feed_it() {
    let Some(kafka) = cluster::three() else { return };
    let mut agent = Agent::new("hang");
    let topics: Vec<String> = (1..=3).map(|node| cluster::Cluster::name(&format!("hang-{node}"))).collect();
    for (node, topic) in (1..).zip(&topics) {
        kafka.create_on(topic, &[node]);
    }
    let input = |index: usize| {
        format!(
            "  in{index}:\n    type: file\n    paths: [{}]\n    topic: {}\n",
            agent.log(&format!("{index}.log")).display(),
            topics[index]
        )
    };
    let inputs: String = (0..3).map(input).collect();
    agent.configure(&format!(
        "inputs:\n{inputs}outputs:\n  main:\n    type: kafka\n    brokers: [{}]\n",
        kafka.bootstrap()
    ));
    let mut writers: Vec<Writer> =
        (0..3).map(|index| Writer::new(&agent.log(&format!("{index}.log")), &format!("s{index}"))).collect();
    agent.start();
    writers.iter_mut().for_each(|writer| _ = writer.write(1_000));
    topics.iter().for_each(|topic| kafka.wait_count(topic, 1_000));
    kafka.freeze(3, true);
    writers.iter_mut().for_each(|writer| _ = writer.write(1_000));
    kafka.wait_count(&topics[0], 2_000);
    kafka.wait_count(&topics[1], 2_000);
    // More than the windows hold, so that it is a matter of parking, not of room.
    writers.iter_mut().for_each(|writer| _ = writer.write(100_000));
    kafka.wait_count(&topics[0], 102_000);
    kafka.wait_count(&topics[1], 102_000);
    kafka.freeze(3, false);
    kafka.wait_count(&topics[2], 102_000);
    agent.stop();
    for (topic, writer) in topics.iter().zip(&writers) {
        Check::of(&kafka.records(topic), &[writer]).exact();
    }
}
