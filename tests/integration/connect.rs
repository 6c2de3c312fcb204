//! `check --connect` against real brokers, each with one fault: the fault is named, with its object and what to do.

use std::process::Output;
use std::time::{Duration, Instant};

use crate::kit::broker::free_port;
use crate::kit::cluster::{self, SASL_PASSWORD, SASL_USER, Secure};
use crate::kit::{agent::Agent, agent::logferry, cluster::Cluster};

/// What a check said.
struct Said {
    exit: Option<i32>,
    text: String,
}

impl Said {
    /// Checks an agent's config; it takes no more than ten seconds, and shows no password.
    fn of(agent: &Agent) -> Self {
        let begun = Instant::now();
        let output = logferry(&["check", "--connect", "-c", &agent.config().display().to_string()], b"");
        let took = begun.elapsed();
        let Output { status, stdout, stderr } = output;
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        println!("{text}");
        // The bound, and what a loaded machine needs to start a process and end it.
        assert!(took < Duration::from_secs(13), "it took {took:?}: {text}");
        assert!(!text.contains(SASL_PASSWORD), "a password is shown");
        Self { exit: status.code(), text }
    }

    /// It failed, and one line of what is wrong holds all of `parts`.
    #[track_caller]
    fn is_wrong(&self, parts: &[&str]) -> &Self {
        assert_eq!(self.exit, Some(1), "{}", self.text);
        let is_it = |line: &str| line.starts_with("wrong: ") && parts.iter().all(|part| line.contains(part));
        assert!(self.text.lines().any(is_it), "no line says {parts:?}:\n{}", self.text);
        self
    }

    /// Nothing is wrong, and one line holds all of `parts`.
    #[track_caller]
    fn is_fine(&self, parts: &[&str]) -> &Self {
        assert_eq!(self.exit, Some(0), "{}", self.text);
        self.says(parts)
    }

    #[track_caller]
    fn says(&self, parts: &[&str]) -> &Self {
        let is_it = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(self.text.lines().any(is_it), "no line says {parts:?}:\n{}", self.text);
        self
    }
}

fn check(brokers: &str, output: &str) -> Said {
    let agent = Agent::new("connect");
    agent.ship("", brokers, output);
    Said::of(&agent)
}

fn check_one(port: u16, output: &str) -> Said {
    check(&format!("127.0.0.1:{port}"), output)
}

fn ca(secure: &Secure) -> String {
    format!("tls: {{ ca_file: {} }}", secure.pki.ca.display())
}

fn sasl(secure: &Secure, mechanism: &str, password: &str) -> String {
    format!("{}\nsasl: {{ mechanism: {mechanism}, username: {SASL_USER}, password: '{password}' }}", ca(secure))
}

/// Scenario: a cluster and a topic as they should be; an input whose topic depends on its events, beside it.
/// Guarantee: exit 0; brokers and topics are named as fine; what can't be known is named as not looked at.
#[test]
fn what_is_fine_is_said_to_be_fine() {
    let Some(cluster) = cluster::shared() else { return };
    let (topic, fallback) = (cluster.topic("connect.fine", 3), cluster.topic("connect.fallback", 1));
    let agent = Agent::new("connect-fine");
    agent.configure(&format!(
        "fallback_topic: {fallback}\ninputs:\n  \
         a: {{ type: file, paths: [/var/log/a.log], topic: {topic} }}\n  \
         b: {{ type: file, paths: [/var/log/b.log], topic: 'logs.%{{[log.level]}}' }}\n\
         outputs:\n  main: {{ type: kafka, brokers: [\"{}\"] }}\n",
        cluster.bootstrap()
    ));
    let said = Said::of(&agent);
    said.is_fine(&[&format!("broker {}: fine (plaintext)", cluster.bootstrap())])
        .says(&[&format!("topic {topic} (input a): fine (3 partitions)")])
        .says(&[&format!("topic {fallback} (fallback_topic): fine (1 partition)")])
        .says(&["note: input b: its topics depend on the events (%{[log.level]})"]);
}

/// Scenario: a config with a mistake.
/// Guarantee: 78, and nobody is connected to.
#[test]
fn a_bad_config_connects_to_nobody() {
    let said = check_one(free_port(), "lingr: 5s");
    assert_eq!(said.exit, Some(78), "{}", said.text);
    assert!(!said.text.contains("broker 127"), "{}", said.text);
}

/// Scenario: a name that is none; a port where nobody listens; a broker that names itself by a name that does not resolve.
/// Guarantee: each is told apart, by broker; those that can be used are looked at all the same.
#[test]
fn names_and_ports() {
    let Some(cluster) = cluster::shared() else { return };
    let topic = cluster.topic("connect.names", 1);
    let free = free_port();
    let brokers = format!("{}, 127.0.0.1:{free}, no-such-broker.invalid:9092", cluster.bootstrap());
    check(&brokers, &format!("topic: {topic}"))
        .is_wrong(&["broker no-such-broker.invalid:9092: ", "the name no-such-broker.invalid", "; "])
        .is_wrong(&[&format!(
            "broker 127.0.0.1:{free}: TCP: 127.0.0.1:{free} refuses the connection; start the broker"
        )])
        .says(&[&format!("broker {}: fine", cluster.bootstrap())])
        .says(&[&format!("topic {topic} (input files): fine")]);
    check_one(cluster.named_port(), &format!("topic: {topic}"))
        .is_wrong(&[&format!("broker kafka.ferry.test:{} (the cluster names it so", cluster.named_port())])
        .is_wrong(&["the name kafka.ferry.test"])
        .says(&["note: topics: not looked at", "under its own name", &topic]);
    check_one(free, "topic: x").is_wrong(&["refuses"]).says(&["note: topics: not looked at", "x"]);
}

/// Scenario: TLS with an unknown authority, an expired certificate, a name the certificate does not hold, on a plaintext
/// port; plaintext on a TLS port; no client certificate, or a stranger's, where one is wanted.
/// Guarantee: each is told apart, with the certificate and the reason.
#[test]
fn tls() {
    let Some(secure) = cluster::secure() else { return };
    let pki = &secure.pki;
    let topic = secure.cluster.topic("connect.tls", 1);
    let topic = &format!("topic: {topic}\n");
    check_one(secure.tls_port, &format!("{topic}{}", ca(secure))).is_fine(&["fine (TLS)"]);
    let other = pki.other_ca.display();
    check_one(secure.tls_port, &format!("{topic}tls: {{ ca_file: {other} }}")).is_wrong(&[
        "TLS: ",
        "CN=test authority",
        &format!("an authority that is not in tls.ca_file {other}"),
        "; set tls.ca_file",
    ]);
    check_one(secure.expired_port, &format!("{topic}{}", ca(secure)))
        .is_wrong(&["the broker's certificate (CN=expired broker) has expired on 2001-01-01 00:00:00 UTC"]);
    // Another way to write 127.0.0.1, which is not in the certificate.
    check(&format!("127.1:{}", secure.tls_port), &format!("{topic}{}", ca(secure)))
        .is_wrong(&["the broker's certificate (CN=broker) is for 127.0.0.1, localhost, not for 127.1"]);
    check(&secure.cluster.bootstrap(), &format!("{topic}{}", ca(secure))).is_wrong(&["this port does not speak TLS"]);
    check_one(secure.tls_port, topic).is_wrong(&["does not answer as plaintext Kafka does", "add tls"]);
    check_one(secure.mtls_port, &format!("{topic}{}", ca(secure)))
        .is_wrong(&["TLS: the broker wants a client certificate", "set tls.cert_file"]);
    let stranger = format!(
        "{topic}tls: {{ ca_file: {}, cert_file: {}, key_file: {} }}",
        pki.ca.display(),
        pki.stranger_cert.display(),
        pki.stranger_key.display()
    );
    check_one(secure.mtls_port, &stranger).is_wrong(&[
        "the broker refuses the client certificate of tls.cert_file",
        &pki.stranger_cert.display().to_string(),
    ]);
}

/// Scenario: a wrong password with each mechanism, a mechanism the broker does not take, a login where none is wanted, and
/// none where one is.
/// Guarantee: each is told apart, with mechanism and user and without the password.
#[test]
fn logins() {
    let Some(secure) = cluster::secure() else { return };
    let wrong = "wr0ng-Qq7-password";
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let said = check_one(secure.sasl_port, &format!("topic: x\n{}", sasl(secure, mechanism, wrong)));
        said.is_wrong(&[&format!("login: {mechanism} as user {SASL_USER} is refused"), "; correct sasl.username"]);
        assert!(!said.text.contains(wrong), "a password is shown");
    }
    check_one(secure.plain_port, &format!("topic: x\n{}", sasl(secure, "SCRAM-SHA-512", SASL_PASSWORD))).is_wrong(&[
        "the broker does not take the mechanism SCRAM-SHA-512",
        "PLAIN",
        "; set sasl.mechanism",
    ]);
    check_one(secure.sasl_port, &format!("topic: x\n{}", ca(secure)))
        .is_wrong(&["login: the broker wants one, and the output has no sasl"]);
    check_one(secure.tls_port, &format!("topic: x\n{}", sasl(secure, "PLAIN", SASL_PASSWORD)))
        .is_wrong(&["login: this listener takes none", "; leave sasl out"]);
}

/// Scenario: a user without rights on a topic; with DESCRIBE alone; with WRITE; with WRITE and DESCRIBE_CONFIGS.
/// Guarantee: what is missing is named with the principal; what may not be looked at is a note.
#[test]
fn rights() {
    let Some(secure) = cluster::secure() else { return };
    let topic = secure.cluster.topic("connect.rights", 2);
    let user = format!("User:{SASL_USER}");
    let output = format!("topic: {topic}\n{}", sasl(secure, "SCRAM-SHA-512", SASL_PASSWORD));
    let check = || check_one(secure.sasl_port, &output);
    let object = format!("topic {topic} (input files): ");
    check()
        .is_wrong(&[&object, &format!("not authorised for {user}: ACL DESCRIBE and WRITE on it are missing")])
        .says(&[&format!("fine (TLS, logged in as {SASL_USER} with SCRAM-SHA-512)")]);
    secure.allow_operations(&user, &topic, &["Describe"]);
    check().is_wrong(&[
        &object,
        &format!("not authorised for {user}: ACL WRITE on it is missing"),
        &format!("; kafka-acls --add --allow-principal {user} --producer --topic {topic}"),
    ]);
    secure.allow(&user, &topic);
    check().is_fine(&[&object, "fine (2 partitions)"]).says(&["note: ", "DESCRIBE_CONFIGS"]);
    secure.allow_operations(&user, &topic, &["DescribeConfigs"]);
    let said = check();
    said.is_fine(&[&object, "fine (2 partitions)"]);
    assert!(!said.text.contains("note: "), "{}", said.text);
    assert_eq!(secure.cluster.count(&topic), Some(0), "nothing was sent");
}

/// Scenario: a topic that is missing, which the broker is to create; a user who may write to it, without and with CREATE.
/// Guarantee: that CREATE is missing is said, with the fix; with it the topic is no trouble; and asking has made none.
#[test]
fn the_right_to_create_a_topic() {
    let Some(secure) = cluster::secure() else { return };
    let topic = Cluster::name("connect.create");
    let user = format!("User:{SASL_USER}");
    secure.allow(&user, &topic);
    let output = format!("topic: {topic}\ncreate_topics: broker\n{}", sasl(secure, "PLAIN", SASL_PASSWORD));
    check_one(secure.sasl_port, &output).is_wrong(&[
        &format!("it does not exist, and {user} may not create it: ACL CREATE on it is missing"),
        &format!("; create it, or kafka-acls --add --allow-principal {user} --operation Create --topic {topic}"),
    ]);
    secure.allow_operations(&user, &topic, &["Create"]);
    check_one(secure.sasl_port, &output).is_fine(&[&topic, "it does not exist; the broker will create it"]);
    assert!(!secure.cluster.topics().contains(&topic), "asking made it");
}

/// Scenario: topics whose settings do not suit the records, and one that is missing.
/// Guarantee: each setting is named with its value, what it would do, and the value that suits; no topic is made by asking.
#[test]
fn settings_of_topics() {
    let Some(cluster) = cluster::shared() else { return };
    let with = |hint: &str, properties: &[(&str, &str)], more: &str| {
        let topic = Cluster::name(&format!("connect.{hint}"));
        cluster.create_with(&topic, 1, properties);
        check(&cluster.bootstrap(), &format!("topic: {topic}\n{more}"))
    };
    with("small", &[("max.message.bytes", "100000")], "").is_wrong(&[
        "max.message.bytes is 100000, less than max_record_bytes 1000000",
        "; raise max.message.bytes to 1000082, or set max_record_bytes: 99918",
    ]);
    with("batch", &[("max.message.bytes", "100000")], "max_record_bytes: 50kB")
        .is_wrong(&["less than batch_bytes 1000000", "; set batch_bytes: 99918"]);
    with("fits", &[("max.message.bytes", "100000")], "max_record_bytes: 50kB\nbatch_bytes: 99kB").is_fine(&["fine"]);
    with("old", &[("message.timestamp.before.max.ms", "3600000")], "")
        .is_wrong(&["message.timestamp.before.max.ms is 3600000", "; set message.timestamp.before.max.ms to 86400000"]);
    with("new", &[("message.timestamp.after.max.ms", "1000")], "")
        .is_wrong(&["message.timestamp.after.max.ms is 1000", "; set message.timestamp.after.max.ms to 300000"]);
    let append = [("message.timestamp.type", "LogAppendTime"), ("message.timestamp.before.max.ms", "1000")];
    with("append", &append, "").is_fine(&["note: ", "LogAppendTime"]);
    let compact = [("cleanup.policy", "compact,delete")];
    with("compact", &compact, "key: ''").is_wrong(&["cleanup.policy is compact, and the records have no key"]);
    with("compact", &compact, "key: '%{[nowhere]}'").is_fine(&["note: ", "cleanup.policy is compact"]);
    with("compact", &compact, "key: always").is_fine(&["fine (1 partition)"]);
    let missing = Cluster::name("connect.missing");
    let output = format!("topic: {missing}");
    check(&cluster.bootstrap(), &output).is_wrong(&[&missing, "it does not exist", "kafka-topics --create"]);
    check(&cluster.bootstrap(), &format!("{output}\ncreate_topics: broker"))
        .is_wrong(&[&missing, "auto.create.topics.enable is false"]);
    assert!(!cluster.topics().contains(&missing), "asking made it");
}

/// Scenario: three brokers; a topic with fewer replicas than `min.insync.replicas`; then one broker is frozen, then killed,
/// beside a topic that wants all three in sync.
/// Guarantee: the partitions are named; the frozen broker is told from the dead one; the others are fine; in time.
#[test]
fn replicas_and_brokers_that_are_away() {
    let Some(cluster) = cluster::three() else { return };
    let lonely = Cluster::name("connect.lonely");
    cluster.create_on(&lonely, &[1]);
    check(&cluster.bootstrap(), &format!("topic: {lonely}"))
        .is_wrong(&[&lonely, "min.insync.replicas is 2, but partition 0 has fewer replicas at all"]);
    let strict = Cluster::name("connect.strict");
    cluster.create_with(&strict, 1, &[("min.insync.replicas", "3")]);
    let output = format!("topic: {strict}");
    check(&cluster.bootstrap(), &output).is_fine(&[&strict, "fine"]);
    let bootstrap = cluster.bootstrap();
    let brokers: Vec<&str> = bootstrap.split(',').collect();
    // Broker 3 hangs. It may be the controller's leader, but metadata need none.
    cluster.freeze(3, true);
    check(brokers[0], &output)
        .is_wrong(&[&format!("broker {} (the cluster names it so", brokers[2]), "does not answer"])
        .says(&[&format!("broker {}: fine", brokers[1])]);
    cluster.freeze(3, false);
    cluster.kill9(3);
    crate::kit::wait::until("the dead broker to be out of sync", || {
        (cluster.in_sync(&strict) == Some(false)).then_some(())
    });
    check(&cluster.bootstrap(), &output)
        .is_wrong(&["fewer in-sync replicas than min.insync.replicas (3) for partition 0"])
        .is_wrong(&[&format!("broker {}: TCP", brokers[2]), "refuses the connection"]);
    cluster.all_up();
}

/// Scenario: Kafka's last 3.x, which creates topics that are asked for.
/// Guarantee: it is fine too, and its own bound of timestamps is known; that it would create a missing topic is a note, and the
/// check does not make it do so.
#[test]
fn kafka_3() {
    let Some(cluster) = Cluster::single_with(crate::kit::jars::Release::Old, "auto.create.topics.enable=true\n") else {
        return;
    };
    let topic = Cluster::name("connect.three");
    cluster.create_with(&topic, 1, &[]);
    check(&cluster.bootstrap(), &format!("topic: {topic}")).is_fine(&[&topic, "fine (1 partition)"]);
    cluster.create_with(&(topic.clone() + ".x"), 1, &[("message.timestamp.difference.max.ms", "1000")]);
    check(&cluster.bootstrap(), &format!("topic: {topic}.x")).is_wrong(&["message.timestamp.", "is 1000"]);
    let missing = Cluster::name("connect.missing");
    check(&cluster.bootstrap(), &format!("topic: {missing}\ncreate_topics: broker")).is_fine(&[
        "note: ",
        &missing,
        "it does not exist; the broker will create it (create_topics: broker)",
    ]);
    assert!(!cluster.topics().contains(&missing), "asking made it");
}
