//! A Kafka cluster of the tests: one shared node, three nodes, or one with TLS, SASL and ACLs; and its administration.
//!
//! Topics are made, grown, deleted and measured through librdkafka in this process, which costs nothing; what *arrived* is
//! never judged by it, but by a consumer that is not ours ([`super::consumer`]).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use super::broker::{Broker, Plan, free_port};
use super::jars::{self, Release};
use super::pki::Pki;
use super::skip::{self, Need};
use super::{consumer, consumer::Record, process, scratch, wait};

const ASK: Duration = Duration::from_secs(5);

/// A running cluster.
pub struct Cluster {
    nodes: Mutex<Vec<Broker>>,
    ports: Vec<u16>,
    pub jars: PathBuf,
    replicas: i32,
    named_port: u16,
    /// Asks for metadata and offsets; it never consumes.
    client: BaseConsumer,
}

/// The one node that most tests share, each with topics of its own. `None`: skipped, and noted so.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: LazyLock<Result<Cluster, Need>> =
        LazyLock::new(|| Ok(Cluster::with_nodes(&jars::jars(Release::Current)?, 1, "")));
    skip::or_skip(SHARED.as_ref().map_err(|&need| need))
}

/// Three nodes with `min.insync.replicas=2`, for one test at a time, all of them up.
pub fn three() -> Option<Three> {
    static THREE: Mutex<Option<Cluster>> = Mutex::new(None);
    let mut three = THREE.lock().unwrap_or_else(PoisonError::into_inner);
    match three.as_ref() {
        Some(cluster) => cluster.all_up(),
        None => *three = Some(Cluster::with_nodes(&skip::or_skip(jars::jars(Release::Current))?, 3, "")),
    }
    Some(Three(three))
}

/// The cluster of three, while a test has it.
pub struct Three(MutexGuard<'static, Option<Cluster>>);

impl std::ops::Deref for Three {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.0.as_ref().expect("it was started before it was handed out")
    }
}

impl Cluster {
    /// A node of the test's own, to be crashed at will.
    pub fn single(release: Release) -> Option<Self> {
        Some(Self::with_nodes(&skip::or_skip(jars::jars(release))?, 1, ""))
    }

    /// As [`Cluster::single`], with further lines of its properties; they come last, so they win.
    pub fn single_with(release: Release, properties: &str) -> Option<Self> {
        Some(Self::with_nodes(&skip::or_skip(jars::jars(release))?, 1, properties))
    }

    fn with_nodes(jars: &std::path::Path, count: u32, more: &str) -> Self {
        let controllers: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let voters: Vec<String> =
            (1..).zip(&controllers).map(|(node, port)| format!("{node}@127.0.0.1:{port}")).collect();
        let replicas = if count == 1 { 1 } else { 3 };
        let in_sync = if count == 1 { 1 } else { 2 };
        let properties = format!(
            "default.replication.factor={replicas}\n\
             min.insync.replicas={in_sync}\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor={replicas}\n\
             transaction.state.log.num.partitions=1\n\
             transaction.state.log.replication.factor={replicas}\n\
             transaction.state.log.min.isr={in_sync}\n\
             broker.session.timeout.ms=6000\n\
             broker.heartbeat.interval.ms=1000\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,NAMED:PLAINTEXT\n\
             {more}"
        );
        let named_port = free_port();
        // One listener is advertised by a name that only the tests of names can resolve.
        let named = [(format!("NAMED://127.0.0.1:{named_port}"), format!("NAMED://kafka.ferry.test:{named_port}"))];
        let nodes: Vec<Broker> = (1..)
            .zip(&controllers)
            .map(|(node, &controller_port)| {
                Broker::start(&Plan {
                    jars,
                    node,
                    port: free_port(),
                    voters: &voters.join(","),
                    controller_port,
                    heap: if count == 1 { "-Xmx512m" } else { "-Xmx320m" },
                    listeners: if count == 1 { &named } else { &[] },
                    properties: &properties,
                    format: &[],
                })
            })
            .collect();
        Self { named_port, ..Self::of(nodes, jars.to_owned(), replicas) }
    }

    fn of(nodes: Vec<Broker>, jars: PathBuf, replicas: i32) -> Self {
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        let client = client_config(&ports).set("group.id", "kit").create().expect("the configuration is valid");
        let cluster = Self { nodes: Mutex::new(nodes), ports, jars, replicas, named_port: 0, client };
        cluster.wait_up();
        cluster
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Broker>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_up(&self) {
        let up = || {
            let metadata = self.client.fetch_metadata(None, ASK).ok()?;
            (metadata.brokers().len() == self.ports.len()).then_some(())
        };
        let logs = || self.nodes().iter().map(Broker::log_tail).collect::<Vec<_>>().join("\n---\n");
        wait::until_or("the cluster to answer metadata", wait::LAST_RESORT, up, logs);
    }

    /// Starts what is down, and waits for it.
    pub fn all_up(&self) {
        for node in self.nodes().iter_mut() {
            node.freeze(false);
            if !node.running() {
                node.restart();
            }
        }
        self.wait_up();
    }

    /// `HOST:PORT,…`, for clients.
    pub fn bootstrap(&self) -> String {
        bootstrap(&self.ports)
    }

    /// The port of the listener that is advertised as `kafka.ferry.test`: who uses it must find the name.
    pub fn named_port(&self) -> u16 {
        self.named_port
    }

    /// `kill -9` of the node with this id (from 1).
    pub fn kill9(&self, node: i32) {
        self.nodes()[Self::index(node)].kill9();
    }

    /// Starts the node again on its old storage.
    pub fn restart(&self, node: i32) {
        self.nodes()[Self::index(node)].restart();
    }

    /// The node hangs: its sockets stay open, nothing is answered.
    pub fn freeze(&self, node: i32, frozen: bool) {
        self.nodes()[Self::index(node)].freeze(frozen);
    }

    fn index(node: i32) -> usize {
        usize::try_from(node - 1).expect("nodes count from 1")
    }

    fn admin<T>(&self, ask: impl AsyncFn(&AdminClient<DefaultClientContext>, &AdminOptions) -> T) -> T {
        let client = client_config(&self.ports)
            .create::<AdminClient<DefaultClientContext>>()
            .expect("the configuration is valid");
        let options = AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
        runtime.block_on(ask(&client, &options))
    }

    /// A name that no other test uses.
    pub fn name(hint: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("{hint}.{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// A fresh topic.
    pub fn topic(&self, hint: &str, partitions: i32) -> String {
        let name = Self::name(hint);
        self.create(&name, partitions);
        name
    }

    /// Creates `name`, and waits until every partition has a leader.
    pub fn create(&self, name: &str, partitions: i32) {
        self.create_with(name, partitions, &[]);
    }

    /// As [`Cluster::create`], with properties of the topic.
    pub fn create_with(&self, name: &str, partitions: i32, properties: &[(&str, &str)]) {
        wait::until(&format!("topic {name} to be created"), || {
            self.admin(async |admin, options| {
                let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(self.replicas));
                for (key, value) in properties {
                    topic = topic.set(key, value);
                }
                let results = admin.create_topics(&[topic], options).await.ok()?;
                match results.into_iter().next()? {
                    Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Some(()),
                    Err(_) => None,
                }
            })
        });
        self.wait_partitions(name, partitions);
    }

    /// Creates a topic of one partition that lives on these nodes, the first its leader.
    pub fn create_on(&self, name: &str, nodes: &[i32]) {
        // A cluster that has just started may lose a request.
        wait::until(&format!("topic {name} to be created"), || {
            self.admin(async |admin, options| {
                let assignment: &[&[i32]] = &[nodes];
                let topic = NewTopic::new(name, 1, TopicReplication::Variable(assignment));
                let results = admin.create_topics(&[topic], options).await.ok()?;
                match results.into_iter().next()? {
                    Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Some(()),
                    Err(_) => None,
                }
            })
        });
        self.wait_partitions(name, 1);
    }

    /// The compression codecs of the batches that a node has on disk for the topic, as the broker stores them: the low
    /// three bits of a batch's attributes (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd).
    pub fn codecs(&self, name: &str) -> BTreeSet<u8> {
        let mut codecs = BTreeSet::new();
        for partition in 0..self.leaders(name).expect("the broker answers").len() {
            let folder = self.nodes()[0].data().join(format!("{name}-{partition}"));
            let log = std::fs::read(folder.join("00000000000000000000.log")).expect("one segment is enough for a test");
            // baseOffset 8, batchLength 4, leaderEpoch 4, magic 1, crc 4, attributes 2 …; the rest of the file is zeros.
            let mut rest = &log[..];
            while rest.len() > 23 && rest[16] == 2 {
                codecs.insert(rest[22] & 0b111);
                let length = u32::from_be_bytes(rest[8..12].try_into().expect("four bytes"));
                rest = &rest[12 + length as usize..];
            }
        }
        codecs
    }

    /// Sets a property of the topic; its others go back to their defaults.
    pub fn set_property(&self, name: &str, key: &str, value: &str) {
        let result = self.admin(async |admin, options| {
            admin.alter_configs([&AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value)], options).await
        });
        for topic in result.expect("the broker answers") {
            topic.expect("the topic can be changed");
        }
    }

    /// Grows the topic to `partitions`.
    pub fn grow(&self, name: &str, partitions: usize) {
        let result = self.admin(async |admin, options| {
            admin.create_partitions(&[NewPartitions::new(name, partitions)], options).await
        });
        for topic in result.expect("the broker answers") {
            topic.expect("the topic can grow");
        }
        self.wait_partitions(name, i32::try_from(partitions).expect("few"));
    }

    /// Deletes the topic, and waits until it is gone.
    pub fn delete(&self, name: &str) {
        let result = self.admin(async |admin, options| admin.delete_topics(&[name], options).await);
        for topic in result.expect("the broker answers") {
            topic.expect("the topic is there");
        }
        wait::until(&format!("topic {name} to be gone"), || {
            let metadata = self.client.fetch_metadata(None, ASK).ok()?;
            metadata.topics().iter().all(|topic| topic.name() != name).then_some(())
        });
    }

    fn wait_partitions(&self, name: &str, partitions: i32) {
        let count = usize::try_from(partitions).expect("not negative");
        wait::until(&format!("{count} partitions of {name} to have a leader"), || {
            (self.leaders(name)?.iter().filter(|&&leader| leader > 0).count() == count).then_some(())
        });
    }

    /// A consumer of no group, for what is measured, not judged.
    pub fn consumer(&self) -> BaseConsumer {
        client_config(&self.ports).set("group.id", "kit").create().expect("the configuration is valid")
    }

    /// The names of all topics.
    pub fn topics(&self) -> Vec<String> {
        let metadata = wait::until("the brokers to answer", || self.client.fetch_metadata(None, ASK).ok());
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    }

    /// The leader of each partition, in order of partitions; -1: none.
    pub fn leaders(&self, name: &str) -> Option<Vec<i32>> {
        let metadata = self.client.fetch_metadata(Some(name), ASK).ok()?;
        let topic = metadata.topics().first()?;
        let mut partitions: Vec<_> = topic.partitions().iter().map(|part| (part.id(), part.leader())).collect();
        partitions.sort_unstable();
        Some(partitions.into_iter().map(|(_, leader)| leader).collect())
    }

    /// Whether every partition has all its replicas in sync.
    pub fn in_sync(&self, name: &str) -> Option<bool> {
        let metadata = self.client.fetch_metadata(Some(name), ASK).ok()?;
        let topic = metadata.topics().first()?;
        Some(topic.partitions().iter().all(|part| part.isr().len() == part.replicas().len()))
    }

    /// How many records each partition got so far.
    pub fn ends(&self, name: &str) -> Option<Vec<i64>> {
        let metadata = self.client.fetch_metadata(Some(name), ASK).ok()?;
        let partitions = metadata.topics().first()?.partitions().len();
        (0..i32::try_from(partitions).ok()?)
            .map(|partition| self.client.fetch_watermarks(name, partition, ASK).ok().map(|(_, end)| end))
            .collect()
    }

    /// How many records the topic got so far.
    pub fn count(&self, name: &str) -> Option<i64> {
        Some(self.ends(name)?.iter().sum())
    }

    /// Waits until the topic holds at least `records`.
    #[track_caller]
    pub fn wait_count(&self, name: &str, records: i64) {
        self.wait_count_within(name, records, wait::LAST_RESORT);
    }

    /// As [`Cluster::wait_count`], for what takes longer than anything should.
    #[track_caller]
    pub fn wait_count_within(&self, name: &str, records: i64, bound: Duration) {
        let what = format!("{records} records in {name}");
        let show = || format!("it holds {:?}", self.ends(name));
        wait::until_or(&what, bound, || (self.count(name)? >= records).then_some(()), show);
    }

    /// All records of a topic, as kcat sees them (the Java client where there is no kcat), by partition and offset.
    pub fn records(&self, name: &str) -> Vec<Record> {
        if skip::has("kcat") {
            consumer::kcat(&self.bootstrap(), name)
        } else {
            consumer::java(&self.jars, &self.bootstrap(), name)
        }
    }

    /// Runs one of Kafka's own tools.
    pub fn tool(&self, class: &str, args: &[&str]) -> String {
        let output = process::run(jars::java(&self.jars).arg(class).args(args), b"");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{class} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }
}

/// A node with TLS, mTLS, SASL over TLS, and ACLs. What arrived is read through its plain listener, as super user.
pub struct Secure {
    pub cluster: Cluster,
    pub pki: Pki,
    /// TLS without a client certificate: an anonymous super user.
    pub tls_port: u16,
    /// TLS that wants a client certificate; its principal has no rights but those given.
    pub mtls_port: u16,
    /// SASL PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 over TLS; [`SASL_USER`] has no rights but those given.
    pub sasl_port: u16,
    /// OAUTHBEARER over TLS; any unsigned token is believed, its subject has no rights but those given.
    pub oauth_port: u16,
    /// As that one, with PLAIN alone.
    pub plain_port: u16,
    /// TLS with a certificate that has expired.
    pub expired_port: u16,
}

pub const SASL_USER: &str = "ferry";
/// Looks like nothing else, so that a leak of it is found. Quotes and signs are what real passwords are made of.
pub const SASL_PASSWORD: &str = "s3cr3t-Zx7$q%t#Wp";

/// The secure node that the tests of security share.
pub fn secure() -> Option<&'static Secure> {
    static SECURE: LazyLock<Result<Secure, Need>> = LazyLock::new(|| Ok(Secure::start(&jars::jars(Release::Current)?)));
    skip::or_skip(SECURE.as_ref().map_err(|&need| need))
}

impl Secure {
    fn start(jars: &std::path::Path) -> Self {
        let pki = Pki::make(&scratch::folder("pki"));
        let (tls_port, mtls_port, sasl_port, controller_port) = (free_port(), free_port(), free_port(), free_port());
        let (plain_port, expired_port, oauth_port) = (free_port(), free_port(), free_port());
        let listener = |name: &str, port: u16| {
            let both = format!("{name}://127.0.0.1:{port}");
            (both.clone(), both)
        };
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let oauth = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"broker\";";
        let plain = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_{SASL_USER}=\"{SASL_PASSWORD}\";"
        );
        let properties = format!(
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,MTLS:SSL,SASL:SASL_SSL,\
             PLAINLY:SASL_SSL,EXPIRED:SSL,OAUTH:SASL_SSL\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={server}\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={ca}\n\
             listener.name.mtls.ssl.client.auth=required\n\
             listener.name.expired.ssl.keystore.type=PEM\n\
             listener.name.expired.ssl.keystore.location={expired}\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER\n\
             listener.name.oauth.oauthbearer.sasl.jaas.config={oauth}\n\
             listener.name.plainly.sasl.enabled.mechanisms=PLAIN\n\
             listener.name.plainly.plain.sasl.jaas.config={plain}\n\
             listener.name.sasl.plain.sasl.jaas.config={plain}\n\
             listener.name.sasl.scram-sha-256.sasl.jaas.config={scram}\n\
             listener.name.sasl.scram-sha-512.sasl.jaas.config={scram}\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n",
            expired = pki.expired_server.display(),
            server = pki.server.display(),
            ca = pki.ca.display(),
        );
        let credentials = format!("[name={SASL_USER},password={SASL_PASSWORD}]");
        let node = Broker::start(&Plan {
            jars,
            node: 1,
            port: free_port(),
            voters: &format!("1@127.0.0.1:{controller_port}"),
            controller_port,
            heap: "-Xmx512m",
            listeners: &[
                listener("TLS", tls_port),
                listener("MTLS", mtls_port),
                listener("SASL", sasl_port),
                listener("OAUTH", oauth_port),
                listener("PLAINLY", plain_port),
                listener("EXPIRED", expired_port),
            ],
            properties: &properties,
            format: &[
                "--add-scram",
                &format!("SCRAM-SHA-256={credentials}"),
                "--add-scram",
                &format!("SCRAM-SHA-512={credentials}"),
            ],
        });
        let cluster = Cluster::of(vec![node], jars.to_owned(), 1);
        Self { cluster, pki, tls_port, mtls_port, sasl_port, plain_port, expired_port, oauth_port }
    }

    /// Lets `principal` (`User:NAME`) write to `topic`.
    pub fn allow(&self, principal: &str, topic: &str) {
        self.allow_operations(principal, topic, &["Write", "Describe"]);
    }

    /// Takes away what [`Secure::allow`] gave.
    pub fn forbid(&self, principal: &str, topic: &str) {
        let bootstrap = self.cluster.bootstrap();
        let args = ["--bootstrap-server", &bootstrap, "--remove", "--force", "--allow-principal", principal];
        let what = ["--topic", topic, "--operation", "Write", "--operation", "Describe"];
        self.cluster.tool("org.apache.kafka.tools.AclCommand", &[&args[..], &what].concat());
    }

    /// Lets `principal` do these things to `topic`.
    pub fn allow_operations(&self, principal: &str, topic: &str, operations: &[&str]) {
        let bootstrap = self.cluster.bootstrap();
        let mut args =
            vec!["--bootstrap-server", &bootstrap, "--add", "--allow-principal", principal, "--topic", topic];
        args.extend(operations.iter().flat_map(|operation| ["--operation", operation]));
        self.cluster.tool("org.apache.kafka.tools.AclCommand", &args);
    }
}

fn bootstrap(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

fn client_config(ports: &[u16]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap(ports));
    // Brokers go and come in these tests; the kit must see it soon.
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500").set("socket.timeout.ms", "5000");
    config
}

/// The partition that the Java client's own partitioner chooses for each key.
pub fn java_placement(jars: &std::path::Path, partitions: i32, keys: &[Vec<u8>]) -> Vec<i32> {
    let hex: String =
        keys.iter().map(|key| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect();
    let mut command: Command = jars::java(jars);
    command.arg(jars::source("Place.java")).arg(partitions.to_string());
    let output = process::run(&mut command, hex.as_bytes());
    assert!(output.status.success(), "Place.java: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it prints numbers");
    text.lines().map(|line| line.parse().expect("it prints numbers")).collect()
}
