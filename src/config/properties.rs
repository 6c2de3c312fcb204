//! Which properties of librdkafka a user may set with `rdkafka:`, and which are refused by name.
//!
//! Refused: what owns a promise (order, no loss, the window), what has a key of ours, and what can't work in this program.
//! Everything else is the client's to judge.

/// Why a property is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It would break this promise.
    Promise(&'static str),
    /// It has this key of ours.
    Ours(&'static str),
    /// It can't be used here, because of this.
    Unfit(&'static str),
}

use Refusal::{Ours, Promise, Unfit};

/// Names; one that ends with `*` means all that start so. The first that fits is taken.
const REFUSED: [(&str, Refusal); 67] = [
    ("acks", Promise("a record is delivered when all in-sync replicas have it")),
    ("request.required.acks", Promise("a record is delivered when all in-sync replicas have it")),
    ("enable.idempotence", Promise("nothing is repeated or out of order after a retry")),
    ("max.in.flight*", Promise("records stay in order after a retry")),
    ("message.timeout.ms", Promise("a record is retried until Kafka has it")),
    ("delivery.timeout.ms", Promise("a record is retried until Kafka has it")),
    ("retries", Promise("a record is retried until Kafka has it")),
    ("message.send.max.retries", Promise("a record is retried until Kafka has it")),
    ("partitioner*", Promise("a key goes to the same partition as with the Java client, chosen by the agent")),
    ("msg_order_cmp", Promise("records stay in order")),
    ("queuing.strategy", Promise("records stay in order")),
    ("queue.buffering.max.ms", Ours("linger")),
    ("queue.buffering.*", Promise("memory is bounded by `memory.max_bytes`")),
    ("transactional.id", Promise("records are visible as soon as they are acknowledged")),
    ("transaction.timeout.ms", Promise("records are visible as soon as they are acknowledged")),
    ("enable.gapless.guarantee", Promise("one refused record does not stop the others")),
    ("delivery.report.only.error", Promise("a file's position moves when its records are acknowledged")),
    ("dr_cb", Unfit("it is set by program code")),
    ("dr_msg_cb", Unfit("it is set by program code")),
    ("test.mock*", Promise("records go to the brokers that are named in `brokers`")),
    ("bootstrap.servers", Ours("brokers")),
    ("metadata.broker.list", Ours("brokers")),
    ("client.id", Ours("client_id")),
    ("linger.ms", Ours("linger")),
    ("batch.size", Ours("batch_bytes")),
    ("message.max.bytes", Ours("max_record_bytes")),
    ("allow.auto.create.topics", Ours("create_topics")),
    ("compression.codec", Ours("compression")),
    ("compression.type", Ours("compression")),
    ("security.protocol", Ours("tls` and `sasl")),
    ("sasl.mechanism", Ours("sasl.mechanism")),
    ("sasl.mechanisms", Ours("sasl.mechanism")),
    ("sasl.username", Ours("sasl.username")),
    ("sasl.password", Ours("sasl.password")),
    ("sasl.kerberos.*", Unfit("Kerberos needs plugins that are loaded at run time, which a static binary can't")),
    ("sasl.oauthbearer.*", Unfit("OAUTHBEARER comes in a later release")),
    ("oauthbearer*", Unfit("OAUTHBEARER comes in a later release")),
    ("enable.sasl.oauthbearer.unsecure.jwt", Unfit("OAUTHBEARER comes in a later release")),
    ("sasl.*", Ours("sasl")),
    ("ssl.ca.location", Ours("tls.ca_file")),
    ("ssl.ca.pem", Ours("tls.ca_file")),
    ("ssl_ca", Ours("tls.ca_file")),
    ("ssl.ca.certificate.stores", Ours("tls.ca_file")),
    ("ssl.certificate.location", Ours("tls.cert_file")),
    ("ssl.certificate.pem", Ours("tls.cert_file")),
    ("ssl_certificate", Ours("tls.cert_file")),
    ("ssl.key.location", Ours("tls.key_file")),
    ("ssl.key.pem", Ours("tls.key_file")),
    ("ssl_key", Ours("tls.key_file")),
    ("ssl.key.password", Ours("tls.key_password")),
    ("ssl.keystore.*", Ours("tls.cert_file` and `tls.key_file")),
    ("enable.ssl.certificate.verification", Ours("tls.verify")),
    ("ssl.endpoint.identification.algorithm", Ours("tls.verify")),
    ("ssl.certificate.verify_cb", Unfit("it is set by program code")),
    ("ssl.engine.*", Unfit("it loads code at run time, which a static binary can't")),
    ("ssl_engine_callback_data", Unfit("it is set by program code")),
    ("ssl.providers", Unfit("it loads code at run time, which a static binary can't")),
    ("plugin.library.paths", Unfit("it loads code at run time, which a static binary can't")),
    ("interceptors", Unfit("it is set by program code")),
    ("opaque", Unfit("it is set by program code")),
    ("default_topic_conf", Unfit("it is set by program code")),
    ("statistics.interval.ms", Unfit("the agent reads the brokers' states from the client's statistics itself")),
    ("log.queue", Unfit("the agent reads the client's log itself")),
    ("log_level", Ours("logging.level")),
    ("enabled_events", Unfit("it is set by program code")),
    ("internal.termination.signal", Unfit("the agent handles signals itself")),
    ("group.id", Unfit("it is for consumers, and this agent is none")),
];

/// Why the property `name` may not be set, if so.
pub(crate) fn refused(name: &str) -> Option<String> {
    if name.ends_with("_cb") {
        return Some(format!("`{name}` can't be set here: it is set by program code"));
    }
    let (_, refusal) = REFUSED.iter().find(|(refused, _)| match refused.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *refused,
    })?;
    Some(match refusal {
        Promise(promise) => format!("`{name}` can't be changed: it keeps a promise of the agent ({promise})"),
        Ours(key) => format!("`{name}` has a key of its own: use `{key}`"),
        Unfit(why) => format!("`{name}` can't be set here: {why}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_promise_or_has_a_key_is_refused_and_the_rest_is_not() {
        let check = |name: &str, expect: Option<&str>| {
            let said = refused(name);
            assert_eq!(said.is_some(), expect.is_some(), "{name}: {said:?}");
            assert!(said.unwrap_or_default().contains(expect.unwrap_or_default()), "{name}");
        };
        for name in ["acks", "request.required.acks", "enable.idempotence", "max.in.flight", "retries", "partitioner"] {
            check(name, Some("promise"));
        }
        for name in ["max.in.flight.requests.per.connection", "queue.buffering.max.kbytes", "transactional.id"] {
            check(name, Some("promise"));
        }
        check("queue.buffering.max.ms", Some("`linger`"));
        check("bootstrap.servers", Some("`brokers`"));
        check("security.protocol", Some("`tls` and `sasl`"));
        check("sasl.kerberos.keytab", Some("static binary"));
        check("sasl.oauthbearer.config", Some("later release"));
        check("sasl.mechanisms", Some("`sasl.mechanism`"));
        check("ssl.key.location", Some("`tls.key_file`"));
        check("resolve_cb", Some("program code"));
        check("statistics.interval.ms", Some("itself"));
        for name in ["socket.timeout.ms", "compression.level", "ssl.cipher.suites", "request.timeout.ms", "acks.x"] {
            check(name, None);
        }
    }
}
