//! Topics made, removed and looked at, and whether a cluster can be reached: for `demo --brokers`, `check --connect` and the
//! tests. Blocks; speed does not matter here, so it uses the safe crate.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{self, MainQueue, OpenError, What};
use super::conf;
use super::describe::{self, Resource};
pub use super::describe::{PartitionDescription, Rights, Settings, TopicDescription};
use super::oauth;
use super::options::{Connection, Sasl};

/// Why an administrative request failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("no broker of {brokers} answers within {within:.1?}: {reason}")]
    Unreachable { brokers: String, within: Duration, reason: String },
    #[error("topic {topic} exists already")]
    Exists { topic: String },
    #[error("topic {topic} does not exist")]
    Missing { topic: String },
    #[error("can't {action} topic {topic}: {reason}")]
    Refused { action: &'static str, topic: String, reason: String },
}

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: i32,
    /// At most the number of brokers.
    pub replication: i32,
    /// Topic properties: `("min.insync.replicas", "2")`.
    pub config: Vec<(String, String)>,
}

/// What a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    pub brokers: Vec<BrokerInfo>,
    /// The topics asked for, or all that this user may see.
    pub topics: Vec<TopicInfo>,
}

/// A broker that the cluster names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    pub id: i32,
    pub host: String,
    pub port: i32,
}

/// A topic as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: String,
    pub partitions: usize,
    /// Missing, not authorised, …: the broker's words.
    pub error: Option<String>,
}

/// A client for administration.
pub struct Admin {
    /// Before the instance: fields are dropped in order.
    queue: MainQueue,
    client: AdminClient<DefaultClientContext>,
    brokers: String,
}

impl Admin {
    /// A client for `connection`. Connects when used.
    ///
    /// # Errors
    /// [`OpenError`]: a property that librdkafka refuses, a certificate that can't be read.
    pub fn open(connection: &Connection) -> Result<Self, OpenError> {
        conf::check_files(connection)?;
        let mut config = ClientConfig::new();
        for (name, value) in conf::connection_properties(connection) {
            config.set(name, value);
        }
        config.set("allow.auto.create.topics", "false");
        for (name, value) in &connection.rdkafka {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        let client = AdminClient::from_config(&config).map_err(|error| match error {
            KafkaError::ClientConfig(_, reason, property, _) => OpenError::Property { property, reason },
            error => OpenError::Client { client: "admin".to_owned(), reason: error.to_string() },
        })?;
        if let Some(Sasl::OauthBearer(options)) = &connection.sasl {
            // SAFETY: the instance is alive.
            unsafe { oauth::log_in(client.inner().native_ptr(), options) }
                .map_err(|reason| OpenError::Client { client: "admin".to_owned(), reason })?;
        }
        // SAFETY: the instance outlives the queue (field order).
        let queue = unsafe { MainQueue::of(client.inner().native_ptr()) };
        Ok(Self { queue, client, brokers: connection.brokers.join(",") })
    }

    /// Creates a topic; returns when the controller has. Brokers may learn of it a little later.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn create_topic(&self, spec: &TopicSpec, timeout: Duration) -> Result<(), AdminError> {
        let mut topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication));
        for (name, value) in &spec.config {
            topic = topic.set(name, value);
        }
        let answer = block_on(self.client.create_topics([&topic], &options(timeout)));
        self.one_answer("create", &spec.name, timeout, answer)
    }

    /// Whether this user may create `topic`, which does not exist; `None`: nobody says. The broker only looks whether it could: nothing
    /// is created.
    pub fn may_create(&self, topic: &str, timeout: Duration) -> Option<bool> {
        let spec = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let answer = block_on(self.client.create_topics([&spec], &options(timeout).validate_only(true)));
        let result = answer.ok()?.into_iter().next()?;
        let is_forbidden = matches!(
            result,
            Err((_, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed))
        );
        Some(!is_forbidden)
    }

    /// Removes a topic and its records.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn delete_topic(&self, topic: &str, timeout: Duration) -> Result<(), AdminError> {
        let answer = block_on(self.client.delete_topics(&[topic], &options(timeout)));
        self.one_answer("delete", topic, timeout, answer)
    }

    /// What a broker says of the cluster, and of `topic` or of all topics. Creates nothing.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], with the last trouble librdkafka met: a refused connection, a certificate, a password.
    pub fn metadata(&self, topic: Option<&str>, timeout: Duration) -> Result<ClusterInfo, AdminError> {
        let answer =
            self.client.inner().fetch_metadata(topic, timeout).map_err(|error| self.unreachable(timeout, &error))?;
        let brokers = answer
            .brokers()
            .iter()
            .map(|broker| BrokerInfo { id: broker.id(), host: broker.host().to_owned(), port: broker.port() })
            .collect();
        let topics = answer
            .topics()
            .iter()
            .map(|topic| TopicInfo {
                name: topic.name().to_owned(),
                partitions: topic.partitions().len(),
                error: topic.error().map(|code| super::ffi::describe(code as i32)),
            })
            .collect();
        Ok(ClusterInfo { brokers, topics })
    }

    /// What broker `broker` says of `topics`, the missing ones too; `None`: the one that librdkafka chooses. Creates nothing.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], as for [`Admin::metadata`].
    pub fn describe_topics(
        &self,
        topics: &[&str],
        broker: Option<i32>,
        timeout: Duration,
    ) -> Result<Vec<TopicDescription>, AdminError> {
        // SAFETY: the instance is alive.
        let answer = unsafe { describe::describe_topics(self.client.inner().native_ptr(), topics, broker, timeout) };
        answer.map_err(|reason| self.unanswered(timeout, reason))
    }

    /// The settings of a topic, as broker `broker` tells them, or why it does not.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], as for [`Admin::metadata`].
    pub fn topic_settings(&self, topic: &str, broker: Option<i32>, timeout: Duration) -> Result<Settings, AdminError> {
        let rk = self.client.inner().native_ptr();
        // SAFETY: the instance is alive.
        let answer = unsafe { describe::describe_config(rk, Resource::Topic(topic), broker, timeout) };
        answer.map_err(|reason| self.unanswered(timeout, reason))
    }

    /// The settings of a broker, or why it does not tell them.
    ///
    /// # Errors
    /// [`AdminError::Unreachable`], as for [`Admin::metadata`].
    pub fn broker_settings(&self, broker: i32, timeout: Duration) -> Result<Settings, AdminError> {
        let rk = self.client.inner().native_ptr();
        // SAFETY: the instance is alive.
        let answer = unsafe { describe::describe_config(rk, Resource::Broker(broker), None, timeout) };
        answer.map_err(|reason| self.unanswered(timeout, reason))
    }

    fn one_answer(
        &self,
        action: &'static str,
        topic: &str,
        within: Duration,
        answer: Result<Vec<rdkafka::admin::TopicResult>, KafkaError>,
    ) -> Result<(), AdminError> {
        let topic = topic.to_owned();
        match answer {
            Err(error) => Err(self.unreachable(within, &error)),
            Ok(results) => match results.into_iter().next() {
                Some(Ok(_)) => Ok(()),
                Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Err(AdminError::Exists { topic }),
                Some(Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic))) => {
                    Err(AdminError::Missing { topic })
                }
                Some(Err((_, code))) => Err(AdminError::Refused { action, topic, reason: code.to_string() }),
                None => Err(AdminError::Refused { action, topic, reason: "the broker said nothing of it".to_owned() }),
            },
        }
    }

    /// What librdkafka said meanwhile; the last trouble explains a timeout.
    fn last_trouble(&self) -> Option<String> {
        let mut trouble = None;
        while let Some(event) = self.queue.poll(Duration::ZERO) {
            match event.what() {
                What::Log { level, facility, text } => {
                    client::log("admin", level, &facility, &text);
                    if level <= RDKafkaLogLevel::Warning as i32 {
                        trouble = Some(text);
                    }
                }
                What::Error { text, .. } => trouble = Some(text),
                What::Reports | What::Statistics(_) | What::TokenWanted | What::Other => {}
            }
        }
        trouble
    }

    fn unreachable(&self, within: Duration, error: &KafkaError) -> AdminError {
        self.unanswered(within, error.to_string())
    }

    fn unanswered(&self, within: Duration, reason: String) -> AdminError {
        let reason = self.last_trouble().unwrap_or(reason);
        AdminError::Unreachable { brokers: self.brokers.clone(), within, reason }
    }
}

fn options(timeout: Duration) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
}

/// Wakes the thread that waits in [`block_on`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for one future on this thread. The admin client's own thread drives it, and its timeouts bound it.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
