//! A running agent takes in another config, certificate or password: what changed changes, what did not is not even touched,
//! and no line is lost or repeated on the way.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use crate::kafka_or_skip;
use crate::kit::agent::{Agent, indent};
use crate::kit::cluster::{self, Cluster, SASL_PASSWORD, SASL_USER};
use crate::kit::pki::CLIENT_PRINCIPAL;
use crate::kit::writer::{Rotation, Writer, during};
use crate::kit::{check::Check, consumer::Record, wait};

const NEVER: Rotation = Rotation::Rename(u64::MAX);

/// Waits until so many reloads had this result, `ok` or `failed`.
#[track_caller]
fn wait_reloads(agent: &Agent, result: &str, count: u64) {
    agent.wait_status(&format!("{count} reloads to be {result}"), |status| {
        (status["config"]["reloads_total"][result] == count).then_some(())
    });
}

/// SIGHUP, and its end.
#[track_caller]
fn reload(agent: &Agent, result: &str, count: u64) {
    agent.signal(libc::SIGHUP);
    wait_reloads(agent, result, count);
}

fn produced(agent: &Agent, input: &str) -> u64 {
    agent.input(input)["acked_records_total"].as_u64().unwrap_or_default()
}

/// Waits until `more` lines of the input are acknowledged.
#[track_caller]
fn wait_more(agent: &Agent, input: &str, more: u64) {
    let before = produced(agent, input);
    wait::until(&format!("{more} more lines of {input}"), || (produced(agent, input) >= before + more).then_some(()));
}

/// Which descriptors of the agent are open on a file.
fn descriptors(agent: &Agent, file: &Path) -> BTreeSet<String> {
    let open = format!("/proc/{}/fd", agent.status()["pid"]);
    let entries = std::fs::read_dir(open).expect("the agent runs").flatten();
    let on_file = entries.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == file));
    on_file.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn file_ids(records: &[Record]) -> BTreeSet<String> {
    records.iter().filter_map(|record| record.text("log.file.id")).collect()
}

/// Inputs `steady` and `other`, a file and a topic each.
struct Pair<'a> {
    agent: Agent,
    kafka: &'a Cluster,
    topics: [String; 2],
    steady: Writer,
    other: Writer,
}

impl<'a> Pair<'a> {
    fn new(kafka: &'a Cluster, hint: &str) -> Self {
        let agent = Agent::new(hint);
        let steady = Writer::new(&agent.log("steady.log"), "steady");
        let other = Writer::new(&agent.log("other.log"), "other");
        let topics = [kafka.topic(&format!("{hint}-steady"), 3), kafka.topic(&format!("{hint}-other"), 3)];
        Self { agent, kafka, topics, steady, other }
    }

    /// `other`: keys of that input; `output`: of the output; `top`: sections.
    fn configure(&self, other: &str, output: &str, top: &str) {
        let [steady_topic, other_topic] = &self.topics;
        let input = |name: &str, topic: &str, more: &str| {
            let path = self.agent.log(&format!("{name}.log"));
            let keys = format!("type: file\npaths: [\"{}\"]\ntopic: {topic}\n{more}", path.display());
            format!("{name}:\n{}", indent(&keys))
        };
        let inputs = input("steady", steady_topic, "") + &input("other", other_topic, other);
        let output =
            format!("main:\n{}", indent(&format!("type: kafka\nbrokers: [{}]\n{output}", self.kafka.bootstrap())));
        self.agent.configure(&format!("inputs:\n{}outputs:\n{}{top}", indent(&inputs), indent(&output)));
    }

    /// Runs `happening` under load on both files, then waits until all has arrived; the records of both topics.
    fn under_load(mut self, happening: impl FnOnce(&Pair, &Agent)) -> [Vec<Record>; 2] {
        self.agent.start();
        let (mut steady, mut other) = (self.steady, self.other);
        let nothing = |name: &str| Writer::new(&self.agent.folder().join(name), name);
        self.steady = nothing("none-1");
        self.other = nothing("none-2");
        let this = &self;
        during(&mut steady, 3_000, NEVER, || {
            during(&mut other, 3_000, NEVER, || {
                for input in ["steady", "other"] {
                    wait_more(&this.agent, input, 2_000);
                }
                happening(this, &this.agent);
                for input in ["steady", "other"] {
                    wait_more(&this.agent, input, 2_000);
                }
            });
        });
        for (topic, writer) in self.topics.iter().zip([&steady, &other]) {
            self.kafka.wait_count(topic, i64::try_from(writer.written).expect("small"));
        }
        self.agent.stop();
        let records = [0, 1].map(|at| self.kafka.records(&self.topics[at]));
        Check::of(&records[0], &[&steady]).exact();
        Check::of(&records[1], &[&other]).exact();
        records
    }
}

/// Scenario: two files grow by 3,000 lines a second each; one input is changed three times, each time with a SIGHUP.
/// Guarantee: nothing is lost, repeated or out of order; both files keep their ids; the changes take effect; the file of the
/// other input stays open under the same descriptor, and the producer is not replaced.
#[test]
fn one_changed_input_does_not_touch_the_other() {
    let kafka = kafka_or_skip!();
    let pair = Pair::new(kafka, "changed");
    pair.configure("fields: { round: r0 }", "", "");
    let [steady, other] = pair.under_load(|pair, agent| {
        let steady = pair.agent.log("steady.log");
        let open = descriptors(agent, &steady);
        assert_eq!(open.len(), 1, "{open:?}");
        for round in 1..=3 {
            pair.configure(&format!("fields: {{ round: r{round} }}"), "", "");
            reload(agent, "ok", round);
            wait_more(agent, "other", 1_000);
        }
        assert_eq!(descriptors(agent, &steady), open);
        let status = agent.status();
        assert_eq!(status["outputs"][0]["rebuilds_total"], 0, "{status}");
        assert_eq!(status["outputs"][0]["retried_total"], 0, "{status}");
        assert_eq!(agent.metric("logferry_config_reloads_total", &["result=\"ok\""]), Some(3.0));
        assert!(agent.stderr().contains("config reloaded; inputs changed: other"), "{}", agent.stderr());
    });
    assert_eq!((file_ids(&steady).len(), file_ids(&other).len()), (1, 1));
    let rounds: BTreeSet<String> = other.iter().filter_map(|record| record.text("fields.round")).collect();
    assert_eq!(rounds, ["r0", "r1", "r2", "r3"].map(str::to_owned).into());
    assert!(steady.iter().all(|record| record.text("fields.round").is_none()));
}

/// Scenario: under the same load, a config with two mistakes; then a good one that changes an input, but also `data_dir`; then
/// one whose output does not reach its brokers.
/// Guarantee: each changes nothing, not the input either; the log has every mistake with its place, what only a restart can
/// change, and why the output stays; nothing is lost or repeated.
#[test]
fn a_config_that_can_not_be_run_with_changes_nothing() {
    let kafka = kafka_or_skip!();
    let pair = Pair::new(kafka, "refused");
    pair.configure("", "", "");
    let [_, other] = pair.under_load(|pair, agent| {
        pair.configure("fields: { new: one }\ntgas: []", "lingr: 5ms", "");
        reload(agent, "failed", 1);
        let config = pair.agent.config();
        let text = std::fs::read_to_string(&config).expect("it was written");
        for (word, message) in [("tgas", "unknown key `tgas`"), ("lingr", "unknown key `lingr`")] {
            let line = text.lines().position(|line| line.contains(word)).expect("it is there") + 1;
            let place = format!("{}:{line}:5: {message}", config.display());
            assert!(agent.stderr().contains(&place), "no {place} in\n{}", agent.stderr());
        }
        pair.configure("fields: { new: one }", "", "");
        let moved = std::fs::read_to_string(&config).expect("it was written").replace("/data\"", "/elsewhere\"");
        std::fs::write(&config, moved).expect("the scratch folder is writable");
        reload(agent, "failed", 2);
        assert!(agent.stderr().contains("nothing was changed: restart to change data_dir"), "{}", agent.stderr());
        assert!(!pair.agent.folder().join("elsewhere").exists());
        pair.configure("fields: { new: one }", "", "");
        let closed =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("any port");
        let gone = std::fs::read_to_string(&config).expect("it was written");
        let gone = gone.replace(&pair.kafka.bootstrap(), &closed.to_string());
        std::fs::write(&config, gone).expect("the scratch folder is writable");
        reload(agent, "failed", 3);
        assert!(agent.stderr().contains("no broker answers"), "{}", agent.stderr());
        let status = agent.status();
        assert_eq!(status["outputs"][0]["rebuilds_total"], 0, "{status}");
        assert!(status["config"]["last_error"].as_str().is_some_and(|error| error.contains("no broker answers")));
    });
    assert!(other.iter().all(|record| record.text("fields.new").is_none()), "the input was changed");
}

/// Scenario: under the same load, the output's compression and linger are changed four times.
/// Guarantee: each time a new producer takes over, and nothing is lost, sent again or out of order.
#[test]
fn a_changed_output_takes_over_without_a_seam() {
    let kafka = kafka_or_skip!();
    let pair = Pair::new(kafka, "seam");
    pair.configure("", "compression: none", "");
    pair.under_load(|pair, agent| {
        let outputs =
            ["compression: zstd\nlinger: 100ms", "compression: gzip\nlinger: 0ms", "compression: lz4", "linger: 50ms"];
        for (round, output) in (1..).zip(outputs) {
            pair.configure("", output, "");
            reload(agent, "ok", round);
            for input in ["steady", "other"] {
                wait_more(agent, input, 1_000);
            }
            let status = agent.status();
            assert_eq!(status["outputs"][0]["rebuilds_total"], round, "{status}");
            assert_eq!(status["outputs"][0]["retried_total"], 0, "{status}\n{}", agent.stderr());
        }
        assert!(agent.stderr().contains("config reloaded; outputs changed: main"), "{}", agent.stderr());
    });
}

/// Scenario: an agent of a file and a directory; a file with an input comes into the directory, its topic is wrong (nobody made
/// it); the topic is put right, then the file is removed; the log level changes on the way.
/// Guarantee: with each SIGHUP the input comes, goes on elsewhere with its first line, and goes; its counters go on.
#[test]
fn inputs_come_and_go_with_their_files() {
    let kafka = kafka_or_skip!();
    let topic = kafka.topic("comes", 1);
    let mut agent = Agent::new("comes");
    let conf_d = agent.folder().join("conf.d");
    std::fs::create_dir(&conf_d).expect("the scratch folder is writable");
    agent.configure(&format!(
        "inputs:\n  first: {{ type: file, paths: [\"{}\"] }}\noutputs:\n  main: {{ type: kafka, brokers: [{}], topic: {topic} }}\n",
        agent.log("first.log").display(),
        kafka.bootstrap()
    ));
    let mut first = Writer::new(&agent.log("first.log"), "first");
    let mut second = Writer::new(&agent.log("second.log"), "second");
    first.write(100);
    second.write(100);
    agent.spawn(&["-c", &conf_d.display().to_string()], Stdio::null());
    agent.wait_ready();
    kafka.wait_count(&topic, 100);
    let added = conf_d.join("10-second.yaml");
    let second_to = |topic: &str| {
        let path = agent.log("second.log");
        let input = format!("inputs:\n  second: {{ type: file, paths: [\"{}\"], topic: {topic} }}\n", path.display());
        std::fs::write(&added, input + "logging: { level: debug }\n").expect("the scratch folder is writable");
    };
    let missing = Cluster::name("typo");
    second_to(&missing);
    reload(&agent, "ok", 1);
    agent.wait_status("the status to name the missing topic", |status| {
        let lanes = status["outputs"][0]["lanes"].as_array()?;
        lanes.iter().any(|lane| lane["topic"] == missing.as_str() && lane["cause"].is_string()).then_some(())
    });
    assert!(agent.stderr().contains("DEBUG"), "the level was changed:\n{}", agent.stderr());
    second_to(&topic);
    reload(&agent, "ok", 2);
    kafka.wait_count(&topic, 200);
    agent.wait_status("both to be acknowledged", |status| {
        let inputs = status["inputs"].as_array()?;
        inputs.iter().all(|input| input["acked_records_total"] == 100).then_some(())
    });
    assert_eq!(agent.input("second")["lost_bytes_total"], 0, "{}", agent.stderr());
    std::fs::remove_file(&added).expect("it was made");
    reload(&agent, "ok", 3);
    let names = |status: &serde_json::Value| -> Vec<String> {
        let inputs = status["inputs"].as_array().into_iter().flatten();
        inputs.filter_map(|input| input["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names(&agent.status()), ["first"]);
    first.write(100);
    kafka.wait_count(&topic, 300);
    agent.stop();
    Check::of(&kafka.records(&topic), &[&first, &second]).exact();
}

/// Scenario: while lines are written, the client's certificate is overwritten with garbage, then replaced, with its key, by that
/// of another principal, who alone may write to a second topic.
/// Guarantee: the garbage is reported and the producer stays; with the new certificate, and nobody telling the agent, the second
/// topic flows too; nothing is lost or repeated.
#[test]
fn a_rotated_certificate_is_used_by_itself() {
    let Some(secure) = cluster::secure() else { return };
    let (shared, own) = (secure.cluster.topic("rotated", 2), secure.cluster.topic("rotated-own", 2));
    let (rotated, principal) = (secure.pki.client("ferry-rotated"), "User:CN=ferry-rotated");
    secure.allow(CLIENT_PRINCIPAL, &shared);
    secure.allow(principal, &shared);
    secure.allow(principal, &own);
    let mut agent = Agent::new("rotated");
    let (cert, key) = (agent.folder().join("client.pem"), agent.folder().join("client.key"));
    std::fs::copy(&secure.pki.client_cert, &cert).expect("the scratch folder is writable");
    std::fs::copy(&secure.pki.client_key, &key).expect("the scratch folder is writable");
    agent.configure(&format!(
        "inputs:\n  shared: {{ type: file, paths: [\"{}\"], topic: {shared} }}\n  own: {{ type: file, paths: [\"{}\"], topic: {own} }}\n\
         outputs:\n  main:\n    type: kafka\n    brokers: [\"127.0.0.1:{}\"]\n    \
         tls: {{ ca_file: {}, cert_file: {}, key_file: {} }}\n",
        agent.log("shared.log").display(),
        agent.log("own.log").display(),
        secure.mtls_port,
        secure.pki.ca.display(),
        cert.display(),
        key.display(),
    ));
    let mut writer = Writer::new(&agent.log("shared.log"), "shared");
    let mut waiting = Writer::new(&agent.log("own.log"), "own");
    waiting.write(100);
    agent.start();
    during(&mut writer, 1_000, NEVER, || {
        wait_more(&agent, "shared", 1_000);
        std::fs::write(&cert, "no certificate\n").expect("the scratch folder is writable");
        wait_reloads(&agent, "failed", 1);
        assert!(agent.stderr().contains("client.pem` holds no PEM with a certificate"), "{}", agent.stderr());
        wait_more(&agent, "shared", 1_000);
        assert_eq!(produced(&agent, "own"), 0, "the old certificate may not write there");
        std::fs::write(&cert, &rotated.cert).expect("the scratch folder is writable");
        std::fs::write(&key, &rotated.key).expect("the scratch folder is writable");
        secure.cluster.wait_count(&own, 100);
        wait_more(&agent, "shared", 1_000);
    });
    secure.cluster.wait_count(&shared, i64::try_from(writer.written).expect("small"));
    let status = agent.status();
    assert_eq!(status["outputs"][0]["rebuilds_total"], 1, "{status}");
    agent.stop();
    Check::of(&secure.cluster.records(&shared), &[&writer]).exact();
    Check::of(&secure.cluster.records(&own), &[&waiting]).exact();
}

/// Scenario: the file of the password holds a wrong one, then the right one.
/// Guarantee: lines arrive without a word to the agent; neither password is in its log.
#[test]
fn a_password_put_right_is_used_by_itself() {
    let Some(secure) = cluster::secure() else { return };
    let topic = secure.cluster.topic("password", 1);
    secure.allow(&format!("User:{SASL_USER}"), &topic);
    let mut agent = Agent::new("password");
    let (file, wrong) = (agent.folder().join("password"), "n0t-th1s-one");
    std::fs::write(&file, wrong).expect("the scratch folder is writable");
    let output = format!(
        "topic: {topic}\ntls: {{ ca_file: {} }}\nsasl: {{ mechanism: SCRAM-SHA-512, username: {SASL_USER}, password: \"${{file:{}}}\" }}",
        secure.pki.ca.display(),
        file.display()
    );
    agent.ship("", &format!("127.0.0.1:{}", secure.sasl_port), &output);
    let mut writer = Writer::new(&agent.log("a.log"), "a");
    writer.write(100);
    agent.start();
    agent.wait_status("the login to be refused", |status| {
        let brokers = status["outputs"][0]["brokers"].as_array()?;
        brokers.iter().any(|broker| broker["last_error"].is_string()).then_some(())
    });
    std::fs::write(&file, format!("{SASL_PASSWORD}\n")).expect("the scratch folder is writable");
    secure.cluster.wait_count(&topic, 100);
    agent.stop();
    Check::of(&secure.cluster.records(&topic), &[&writer]).exact();
    let log = agent.stderr();
    assert!(!log.contains(wrong) && !log.contains(SASL_PASSWORD), "a password is shown");
}
