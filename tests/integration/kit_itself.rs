//! The kit on trial: its broker, its consumers and its clusters, before anything of ours is judged by them.

use std::process::Command;

use crate::kafka_or_skip;
use crate::kit::cluster::{self, Cluster, SASL_PASSWORD, SASL_USER};
use crate::kit::jars::Release;
use crate::kit::{consumer, process, skip};

/// Produces `lines` with kcat.
fn produce(bootstrap: &str, topic: &str, more: &[&str], lines: &str) {
    let mut command = Command::new("kcat");
    command.args(["-b", bootstrap, "-P", "-t", topic, "-K", ":", "-H", "h=1"]).args(more);
    let output = process::run(&mut command, lines.as_bytes());
    assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
}

/// Scenario: records with keys and headers in a topic of the shared broker.
/// Guarantee: kcat and the Java client see the same, and what was sent.
#[test]
fn two_foreign_consumers_see_the_same() {
    let kafka = kafka_or_skip!();
    if !skip::kcat_or_skip() {
        return;
    }
    let topic = kafka.topic("kit.consumers", 3);
    produce(&kafka.bootstrap(), &topic, &[], "a:one\nb:zwei \u{fc}\nc:\n:nothing\n");
    kafka.wait_count(&topic, 4);
    let seen = consumer::kcat(&kafka.bootstrap(), &topic);
    assert_eq!(seen, consumer::java(&kafka.jars, &kafka.bootstrap(), &topic));
    let mut pairs: Vec<_> =
        seen.iter().map(|record| (record.key_text(), String::from_utf8_lossy(&record.value).into_owned())).collect();
    pairs.sort();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(pairs, [pair("", "nothing"), pair("a", "one"), pair("b", "zwei \u{fc}"), pair("c", "")]);
    assert!(seen.iter().all(|record| record.headers == "h=1"), "{seen:?}");
}

/// Scenario: three brokers, the leader of a partition is killed, and started again.
/// Guarantee: the leader moves, and all replicas come back in sync.
#[test]
fn a_cluster_of_three_survives_the_kill_of_a_leader() {
    let Some(kafka) = cluster::three() else { return };
    let topic = kafka.topic("kit.three", 3);
    let leader = kafka.leaders(&topic).expect("it answers")[0];
    kafka.kill9(leader);
    crate::kit::wait::until("another leader", || {
        kafka.leaders(&topic).filter(|leaders| leaders.iter().all(|&now| now > 0 && now != leader))
    });
    kafka.all_up();
    crate::kit::wait::until("all replicas in sync", || kafka.in_sync(&topic).filter(|&all| all));
}

/// Scenario: a broker with TLS, client certificates, SASL and ACLs.
/// Guarantee: TLS is spoken, PLAIN is accepted, a wrong password is not, and a topic without a right is refused.
#[test]
fn the_secure_broker_is_secure() {
    let Some(secure) = cluster::secure() else { return };
    if !skip::kcat_or_skip() {
        return;
    }
    let topic = secure.cluster.topic("kit.secure", 1);
    let ca = format!("ssl.ca.location={}", secure.pki.ca.display());
    produce(
        &format!("127.0.0.1:{}", secure.tls_port),
        &topic,
        &["-X", "security.protocol=ssl", "-X", &ca],
        "k:over tls\n",
    );
    let sasl = |password: &str| {
        let mut command = Command::new("kcat");
        command.args(["-b", &format!("127.0.0.1:{}", secure.sasl_port), "-P", "-t", &topic, "-K", ":"]);
        for property in ["security.protocol=sasl_ssl", &ca, "sasl.mechanism=PLAIN", "message.timeout.ms=5000"] {
            command.args(["-X", property]);
        }
        command.args(["-X", &format!("sasl.username={SASL_USER}"), "-X", &format!("sasl.password={password}")]);
        process::run(&mut command, b"k:over sasl\n").status.success()
    };
    assert!(!sasl(SASL_PASSWORD), "no right was given yet");
    secure.allow(&format!("User:{SASL_USER}"), &topic);
    assert!(!sasl("another password"));
    assert!(sasl(SASL_PASSWORD));
    assert_eq!(secure.cluster.count(&topic), Some(2));
}

/// Scenario: a Kafka 3.9 from its own jars.
/// Guarantee: it starts, so that what must work with older brokers can be tried on one.
#[test]
fn an_older_kafka_starts() {
    let Some(kafka) = Cluster::single(Release::Old) else { return };
    let topic = kafka.topic("kit.old", 2);
    assert_eq!(kafka.count(&topic), Some(0));
}

/// Scenario: keys given to the Java client's own partitioner.
/// Guarantee: it answers for each, with the placements that Kafka's documentation of murmur2 leads to.
#[test]
fn the_java_partitioner_answers() {
    let kafka = kafka_or_skip!();
    let keys = [b"21".to_vec(), b"foobar".to_vec(), Vec::new(), vec![0xff, 0x00, 0x0a]];
    let placed = cluster::java_placement(&kafka.jars, 1_000_000, &keys);
    // Known values of Kafka's own UtilsTest: murmur2("21") = -973932308, murmur2("foobar") = -790332482.
    assert_eq!(placed[0], (-973_932_308 & 0x7fff_ffff) % 1_000_000);
    assert_eq!(placed[1], (-790_332_482 & 0x7fff_ffff) % 1_000_000);
    assert_eq!(placed.len(), keys.len());
}
