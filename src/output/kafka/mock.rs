//! librdkafka's own broker, in this process and reached over TCP: for `demo`, and for faults that a real broker can't be
//! told to make. It keeps the last 5 MB or so of a partition; it proves nothing of durability.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// Why the embedded broker refuses.
#[derive(Debug, thiserror::Error)]
#[error("embedded broker: can't {action}: {reason}")]
pub struct MockError {
    action: String,
    reason: String,
}

/// A cluster of embedded brokers; ends when dropped.
pub struct MockBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

// SAFETY: librdkafka's mock API may be called from any thread: each call becomes a message to the mock's own thread, or
// takes its lock.
unsafe impl Send for MockBroker {}
// SAFETY: as above.
unsafe impl Sync for MockBroker {}

/// What a broker answers instead of producing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MockFault {
    /// Transient: the leader moved.
    NotLeader,
    /// Transient: a broker that is busy.
    TimedOut,
    /// Transient: too few replicas in sync.
    NotEnoughReplicas,
    /// Transient: the connection breaks, and nobody knows whether the batch was written.
    Disconnect,
    /// Permanent: the batch is too large for the topic.
    TooLarge,
    /// Permanent: a record of the batch is invalid.
    InvalidRecord,
    InvalidTimestamp,
    NotAuthorized,
    UnknownTopic,
    Policy,
    /// Fatal for an idempotent producer.
    OutOfOrderSequence,
    UnknownProducer,
    Fenced,
}

impl MockFault {
    fn code(self) -> RDKafkaRespErr {
        use RDKafkaRespErr::*;
        match self {
            Self::NotLeader => RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Self::TimedOut => RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            Self::NotEnoughReplicas => RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Self::Disconnect => RD_KAFKA_RESP_ERR__TRANSPORT,
            Self::TooLarge => RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            Self::InvalidRecord => RD_KAFKA_RESP_ERR_INVALID_RECORD,
            Self::InvalidTimestamp => RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
            Self::NotAuthorized => RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            Self::UnknownTopic => RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
            Self::Policy => RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
            Self::OutOfOrderSequence => RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
            Self::UnknownProducer => RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
            Self::Fenced => RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
        }
    }
}

impl MockBroker {
    /// Starts `brokers` of them, numbered from 1, on ports of the loopback.
    ///
    /// # Errors
    /// [`MockError`]: no port, no thread.
    pub fn start(brokers: i32) -> Result<Self, MockError> {
        let cluster = MockCluster::new(brokers).map_err(|error| failed("start", &error))?;
        Ok(Self { cluster })
    }

    /// `HOST:PORT` of each broker, separated by commas.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Creates a topic, one replica on each of up to three brokers.
    ///
    /// # Errors
    /// [`MockError`]: it exists.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), MockError> {
        let brokers = i32::try_from(self.bootstrap().split(',').count()).unwrap_or(1);
        self.cluster
            .create_topic(topic, partitions, brokers.min(3))
            .map_err(|error| failed(&format!("create topic {topic}"), &error))
    }

    /// The next produce requests, whoever they are for, are answered with these, one each, and not written.
    pub fn fail_produce(&self, faults: &[MockFault]) {
        let codes: Vec<RDKafkaRespErr> = faults.iter().map(|fault| fault.code()).collect();
        self.cluster.request_errors(RDKafkaApiKey::Produce, &codes);
    }

    /// The next metadata requests are answered with these for each topic.
    pub fn fail_metadata(&self, faults: &[MockFault]) {
        let codes: Vec<RDKafkaRespErr> = faults.iter().map(|fault| fault.code()).collect();
        self.cluster.request_errors(RDKafkaApiKey::Metadata, &codes);
    }

    /// Metadata says this of a topic from now on; `None`: it is fine again.
    ///
    /// # Errors
    /// [`MockError`]: a name with a NUL byte.
    pub fn set_topic_fault(&self, topic: &str, fault: Option<MockFault>) -> Result<(), MockError> {
        let code = fault.map_or(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, MockFault::code);
        self.cluster.topic_error(topic, code).map_err(|error| failed(&format!("fault topic {topic}"), &error))
    }

    /// The brokers speak no newer version of Produce than this.
    ///
    /// # Errors
    /// [`MockError`]: librdkafka's mock does not take it.
    #[cfg(test)]
    pub fn speak_produce_up_to(&self, version: i16) -> Result<(), MockError> {
        self.cluster
            .apiversion(RDKafkaApiKey::Produce, Some(0), Some(version))
            .map_err(|error| failed("set the version of Produce", &error))
    }

    /// A broker (−1: all) breaks its connections and takes no new ones. Its partitions keep it as their leader.
    ///
    /// # Errors
    /// [`MockError`]: no such broker.
    pub fn down(&self, broker: i32) -> Result<(), MockError> {
        self.cluster.broker_down(broker).map_err(|error| failed(&format!("stop broker {broker}"), &error))
    }

    /// The broker (−1: all) takes connections again.
    ///
    /// # Errors
    /// [`MockError`]: no such broker.
    pub fn up(&self, broker: i32) -> Result<(), MockError> {
        self.cluster.broker_up(broker).map_err(|error| failed(&format!("start broker {broker}"), &error))
    }

    /// A broker (−1: all) answers this much later.
    ///
    /// # Errors
    /// [`MockError`]: no such broker.
    pub fn set_delay(&self, broker: i32, delay: Duration) -> Result<(), MockError> {
        self.cluster
            .broker_round_trip_time(broker, delay)
            .map_err(|error| failed(&format!("delay broker {broker}"), &error))
    }

    /// Moves the leader of a partition; `None`: it has none.
    ///
    /// # Errors
    /// [`MockError`]: no such topic, partition or broker.
    pub fn set_leader(&self, topic: &str, partition: i32, broker: Option<i32>) -> Result<(), MockError> {
        self.cluster
            .partition_leader(topic, partition, broker)
            .map_err(|error| failed(&format!("move the leader of {topic} partition {partition}"), &error))
    }
}

fn failed(action: &str, error: &rdkafka::error::KafkaError) -> MockError {
    MockError { action: action.to_owned(), reason: error.to_string() }
}
