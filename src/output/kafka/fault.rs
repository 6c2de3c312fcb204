//! Error codes of librdkafka and of brokers → whom they accuse: a record, a topic, or the producer (P but for the texts,
//! which are librdkafka's).
//!
//! Only permanent errors get here; librdkafka retries the transient ones for ever (`message.timeout.ms=0`).

use std::ffi::c_int;
use std::sync::Arc;

use super::ffi::{self, Named};
use crate::output::{Fault, RecordFault, TopicFault};

/// Where it happened, for the message.
pub(super) struct At<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
}

const fn code(named: Named) -> c_int {
    named as c_int
}

/// The fault that `error` stands for.
pub(super) fn fault(error: c_int, at: &At<'_>) -> Fault {
    const INVALID_DIFFERENT_RECORD: c_int = code(Named::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD);
    const QUEUE_FULL: c_int = code(Named::RD_KAFKA_RESP_ERR__QUEUE_FULL);

    if let INVALID_DIFFERENT_RECORD | QUEUE_FULL = error {
        return Fault::Neighbour;
    }
    if let Some(reason) = record_fault(error) {
        return Fault::Record { reason, message: message(error, at, record_advice(reason)) };
    }
    if let Some(reason) = topic_fault(error) {
        return Fault::Topic { reason, message: message(error, at, topic_advice(reason)) };
    }
    if is_of_the_producer(error) {
        return Fault::Producer { message: message(error, at, "a new producer takes over") };
    }
    let reason = TopicFault::Refused;
    Fault::Topic { reason, message: message(error, at, "see the broker's log; the topic is tried again") }
}

/// The whole instance is to blame: whatever librdkafka says of itself (its own codes are below −1), and what a broker says of
/// a producer's id, epoch or sequence. Any other code that a broker comes up with holds up its lane, not the rest.
fn is_of_the_producer(error: c_int) -> bool {
    use Named::*;
    const OF_THE_PRODUCER: [c_int; 7] = [
        code(RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER),
        code(RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER),
        code(RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH),
        code(RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING),
        code(RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID),
        code(RD_KAFKA_RESP_ERR_PRODUCER_FENCED),
        code(RD_KAFKA_RESP_ERR_INVALID_TXN_STATE),
    ];

    error < code(RD_KAFKA_RESP_ERR_UNKNOWN) || OF_THE_PRODUCER.contains(&error)
}

/// A record is to blame.
pub(super) fn record_fault(error: c_int) -> Option<RecordFault> {
    use Named::*;
    const TOO_LARGE: [c_int; 3] = [
        code(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE),
        code(RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE),
        code(RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE),
    ];
    const INVALID: [c_int; 2] = [code(RD_KAFKA_RESP_ERR_INVALID_RECORD), code(RD_KAFKA_RESP_ERR_INVALID_MSG)];
    const INVALID_TIMESTAMP: c_int = code(RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP);

    match error {
        error if TOO_LARGE.contains(&error) => Some(RecordFault::TooLarge),
        error if INVALID.contains(&error) => Some(RecordFault::Invalid),
        INVALID_TIMESTAMP => Some(RecordFault::InvalidTimestamp),
        _ => None,
    }
}

/// The topic, or one of its partitions, is to blame.
pub(super) fn topic_fault(error: c_int) -> Option<TopicFault> {
    use Named::*;
    const MISSING: [c_int; 3] = [
        code(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART),
        code(RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC),
        code(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID),
    ];
    // What the queue of a partition still has when librdkafka destroys it, since the topic has it no more. (It says the same when
    // a producer ends, and then nobody listens.)
    const GONE: [c_int; 2] = [code(RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION), code(RD_KAFKA_RESP_ERR__DESTROY)];
    const NOT_AUTHORIZED: [c_int; 2] =
        [code(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED), code(RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)];
    const REFUSED: [c_int; 9] = [
        code(RD_KAFKA_RESP_ERR_POLICY_VIOLATION),
        code(RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION),
        code(RD_KAFKA_RESP_ERR_INVALID_CONFIG),
        code(RD_KAFKA_RESP_ERR_INVALID_PARTITIONS),
        code(RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR),
        code(RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS),
        code(RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT),
        code(RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE),
        code(RD_KAFKA_RESP_ERR__INVALID_ARG),
    ];

    match error {
        error if MISSING.contains(&error) => Some(TopicFault::Missing),
        error if GONE.contains(&error) => Some(TopicFault::PartitionGone),
        error if NOT_AUTHORIZED.contains(&error) => Some(TopicFault::NotAuthorized),
        error if REFUSED.contains(&error) => Some(TopicFault::Refused),
        _ => None,
    }
}

fn record_advice(reason: RecordFault) -> &'static str {
    match reason {
        RecordFault::TooLarge => {
            "raise the topic's max.message.bytes and the output's max_record_bytes, or lower max_line_bytes of the input"
        }
        RecordFault::Invalid => {
            "the broker's validation refuses it: is the topic compacted, and the record without a key?"
        }
        RecordFault::InvalidTimestamp => {
            "its time is outside the topic's message.timestamp.before.max.ms and .after.max.ms"
        }
        RecordFault::Processor => "correct the processor's options, then `logferry spool dead --resend`",
    }
}

fn topic_advice(reason: TopicFault) -> &'static str {
    match reason {
        TopicFault::Missing => "create the topic, or let the broker do it (create_topics: broker)",
        TopicFault::PartitionGone => "the topic has fewer partitions than before; its records are placed again",
        TopicFault::NotAuthorized => "allow this user to Describe and Write the topic (kafka-acls --producer --topic)",
        TopicFault::NotWritable => "make room, or let the agent write there",
        TopicFault::Refused => "correct the topic's name, or its configuration at the broker",
    }
}

fn message(error: c_int, at: &At<'_>, advice: &str) -> Arc<str> {
    use std::fmt::Write as _;

    let mut text = format!("topic {}", at.topic);
    if let Some(partition) = at.partition {
        let _ = write!(text, " partition {partition}");
    }
    let _ = write!(text, ": {} ({})", ffi::describe(error), ffi::name(error));
    let _ = write!(text, "; {advice}");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_accuse_the_guilty() {
        use Named::*;
        let check = |named: Named, expect: &str| {
            let at = At { topic: "logs", partition: Some(3) };
            let (kind, text) = match fault(named as c_int, &at) {
                Fault::Record { reason, message } => (format!("record {reason:?}"), message),
                Fault::Topic { reason, message } => (format!("topic {reason:?}"), message),
                Fault::Producer { message } => ("producer".to_owned(), message),
                Fault::Neighbour => ("neighbour".to_owned(), "topic logs partition 3: ; ".into()),
            };
            assert_eq!(kind, expect, "{named:?}");
            assert!(text.starts_with("topic logs partition 3: ") && text.contains("; "), "{text}");
        };
        check(RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "record TooLarge");
        check(RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, "record TooLarge");
        check(RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, "record TooLarge");
        check(RD_KAFKA_RESP_ERR_INVALID_RECORD, "record Invalid");
        check(RD_KAFKA_RESP_ERR_INVALID_MSG, "record Invalid");
        check(RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, "record InvalidTimestamp");
        check(RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD, "neighbour");
        check(RD_KAFKA_RESP_ERR__QUEUE_FULL, "neighbour");
        check(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "topic Missing");
        check(RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, "topic Missing");
        check(RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, "topic PartitionGone");
        check(RD_KAFKA_RESP_ERR__DESTROY, "topic PartitionGone");
        check(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "topic NotAuthorized");
        check(RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, "topic NotAuthorized");
        check(RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "topic Refused");
        check(RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, "topic Refused");
        check(RD_KAFKA_RESP_ERR__PURGE_QUEUE, "producer");
        check(RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, "producer");
        check(RD_KAFKA_RESP_ERR__FATAL, "producer");
        check(RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "producer");
        check(RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, "producer");
        check(RD_KAFKA_RESP_ERR_UNKNOWN, "topic Refused");
        check(RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, "topic Refused");
    }

    #[test]
    fn a_code_that_librdkafka_does_not_name_is_no_undefined_behaviour() {
        let at = At { topic: "logs", partition: None };
        let Fault::Topic { message, .. } = fault(12_345, &at) else { panic!("a broker's code holds up its lane") };
        assert!(message.contains("12345"), "{message}");
    }
}
