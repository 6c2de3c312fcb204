//! Where the demo's records go: an embedded broker that lives as long as the demo, or a topic of its own on a real cluster.
//!
//! The topic is removed whatever happens to the demo, short of a kill -9. Nothing else of a cluster is touched.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::output::kafka::admin::{Admin, AdminError, TopicSpec};
use crate::output::kafka::mock::MockBroker;
use crate::output::kafka::options::Connection;
use crate::output::kafka::reader::Reader;

const PARTITIONS: i32 = 6;
const REPLICATION_MAX: usize = 3;
/// How long a cluster may take for one thing.
const PATIENCE: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_millis(100);

/// A broker with a topic for the demo.
pub struct Place {
    kind: Kind,
    topic: String,
}

enum Kind {
    Embedded(MockBroker),
    /// No client before there is a checked connection; no topic before it is made.
    Cluster {
        brokers: String,
        made: Option<Admin>,
    },
}

impl Place {
    /// The embedded broker, or the cluster at `brokers` (`HOST:PORT,…`). Connects to nothing.
    ///
    /// # Errors
    /// If the embedded broker can't be started.
    pub fn new(brokers: Option<&str>) -> anyhow::Result<Self> {
        let kind = match brokers {
            None => Kind::Embedded(MockBroker::start(1)?),
            Some(brokers) => Kind::Cluster { brokers: brokers.to_owned(), made: None },
        };
        let now = jiff::Timestamp::now().as_millisecond();
        let topic = match kind {
            Kind::Embedded(_) => "logferry-demo".to_owned(),
            Kind::Cluster { .. } => format!("logferry-demo-{now}-{}", std::process::id()),
        };
        Ok(Self { kind, topic })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// `HOST:PORT` of each broker.
    pub fn brokers(&self) -> Vec<String> {
        let all = match &self.kind {
            Kind::Embedded(broker) => broker.bootstrap(),
            Kind::Cluster { brokers, .. } => brokers.clone(),
        };
        all.split(',').map(|broker| broker.trim().to_owned()).collect()
    }

    /// What it is, for people.
    pub fn describe(&self) -> String {
        let brokers = self.brokers().join(", ");
        match self.kind {
            Kind::Embedded(_) => {
                format!("an embedded broker on {brokers}, topic {}, {PARTITIONS} partitions", self.topic)
            }
            Kind::Cluster { .. } => {
                format!("the cluster at {brokers}, topic {} of its own, {PARTITIONS} partitions", self.topic)
            }
        }
    }

    /// Makes the topic, and opens it for reading.
    ///
    /// # Errors
    /// If the brokers can't be reached, or refuse.
    pub fn open(&mut self, connection: &Connection) -> anyhow::Result<Reader> {
        match &mut self.kind {
            Kind::Embedded(broker) => broker.create_topic(&self.topic, PARTITIONS)?,
            Kind::Cluster { made, .. } => {
                let admin = Admin::open(connection)?;
                let replicas = admin.metadata(None, PATIENCE)?.brokers.len().clamp(1, REPLICATION_MAX);
                let spec = TopicSpec {
                    name: self.topic.clone(),
                    partitions: PARTITIONS,
                    replication: i32::try_from(replicas).unwrap_or(1),
                    config: Vec::new(),
                };
                // Known before it is made: a topic whose making timed out may be there all the same.
                made.insert(admin).create_topic(&spec, PATIENCE)?;
            }
        }
        let mut connection = connection.clone();
        // What arrives is to be seen at once, also by a broker that answers a waiting reader only when the wait is over.
        connection.rdkafka.push(("fetch.wait.max.ms".to_owned(), "5".to_owned()));
        let begun = Instant::now();
        loop {
            // The broker that is asked may learn of the topic a little later than the one that made it.
            match Reader::open(&connection, &self.topic) {
                Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(RETRY),
                answer => return Ok(answer?),
            }
        }
    }

    /// Removes the topic from the cluster.
    ///
    /// # Errors
    /// If it is still there, naming it.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> anyhow::Result<()> {
        let Kind::Cluster { made, .. } = &mut self.kind else { return Ok(()) };
        let Some(admin) = made.take() else { return Ok(()) };
        match admin.delete_topic(&self.topic, PATIENCE) {
            Ok(()) | Err(AdminError::Missing { .. }) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("topic {} is left on the cluster: remove it", self.topic)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::error!(topic = self.topic, "{error:#}");
        }
    }
}
