//! What of a topic is in the way of our records (P).
//!
//! Only what would refuse, hold or lose records is wrong; what could not be looked at, or may surprise, is a note.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ask::{Facts, TopicFacts};
use super::{Finding, Keys, Wanted, Weight};
use crate::output::TopicFault;
use crate::output::kafka::admin::PartitionDescription;
use crate::output::kafka::{fault, ffi};

/// A record alone in a batch: the batch's header (61 bytes) and its own fields at their longest (21).
const BATCH_OVERHEAD_BYTES: u64 = 82;

/// What this output will send.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub record_bytes_max: usize,
    pub batch_bytes: usize,
    /// How far CreateTime may be before and after the time of reading.
    pub time_before: Duration,
    pub time_after: Duration,
    /// `create_topics: broker`.
    pub creates_topics: bool,
    /// "User:ferry".
    pub principal: String,
}

/// Everything that is to be said of one topic: at least one finding.
pub(super) fn judge(wanted: &Wanted, facts: Option<&TopicFacts>, all: &Facts, limits: &Limits) -> Vec<Finding> {
    let object = format!("topic {} ({})", wanted.topic, wanted.by);
    let Some(facts) = facts else {
        return vec![Finding::wrong(object, "the broker said nothing of it", "try again; see the broker's log")];
    };
    if facts.description.code != 0 {
        return vec![not_there(object, wanted, facts, all, limits)];
    }
    let mut findings = Vec::new();
    let mut say = |weight, what: String, fix: String| findings.push(Finding::new(weight, object.clone(), what, fix));
    rights(wanted, facts, limits, &mut say);
    let empty = BTreeMap::new();
    let config = match &facts.config {
        Ok(config) => config,
        Err(reason) => {
            let what = format!(
                "its settings are not told ({reason}), so min.insync.replicas, sizes, times and compaction are not looked at"
            );
            let fix = format!("allow {} DESCRIBE_CONFIGS on the topic to have them checked", limits.principal);
            say(Weight::Note, what, fix);
            &empty
        }
    };
    let in_sync_min = number(config, "min.insync.replicas");
    replicas(&facts.description.partitions, in_sync_min, &mut say);
    sizes(config, limits, &mut say);
    times(config, limits, &mut say);
    keys(config, wanted.keys, &mut say);
    if findings.iter().all(|finding| finding.weight < Weight::Wrong) {
        let count = facts.description.partitions.len();
        let partitions = if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") };
        findings.insert(0, Finding::new(Weight::Fine, object, format!("fine ({partitions})"), ""));
    }
    findings
}

type Say<'a> = dyn FnMut(Weight, String, String) + 'a;

fn not_there(object: String, wanted: &Wanted, facts: &TopicFacts, all: &Facts, limits: &Limits) -> Finding {
    let topic = &wanted.topic;
    let code = facts.description.code;
    let allow = format!("kafka-acls --add --allow-principal {} --producer --topic {topic}", limits.principal);
    match fault::topic_fault(code) {
        Some(TopicFault::NotAuthorized) => {
            let what = format!("not authorised for {}: ACL DESCRIBE and WRITE on it are missing", limits.principal);
            Finding::wrong(object, what, allow)
        }
        Some(TopicFault::Missing) if limits.creates_topics => match all.broker_creates_topics {
            Some(false) => Finding::wrong(
                object,
                "it does not exist, and the broker will not create it: auto.create.topics.enable is false there",
                "create it, or enable that at the brokers",
            ),
            _ if facts.may_create == Some(false) => Finding::wrong(
                object,
                format!("it does not exist, and {} may not create it: ACL CREATE on it is missing", limits.principal),
                format!(
                    "create it, or kafka-acls --add --allow-principal {} --operation Create --topic {topic}",
                    limits.principal
                ),
            ),
            Some(true) => {
                let what = "it does not exist; the broker will create it (create_topics: broker)";
                Finding::new(Weight::Note, object, what, "")
            }
            None => {
                let what = "it does not exist; the broker will create it (create_topics: broker) if its \
                            auto.create.topics.enable is on, which it does not tell";
                Finding::new(Weight::Note, object, what, "")
            }
        },
        Some(TopicFault::Missing) => Finding::wrong(
            object,
            "it does not exist",
            format!("kafka-topics --create --topic {topic}, or let the broker do it (create_topics: broker)"),
        ),
        _ => {
            let what = format!("the broker refuses it: {} ({})", ffi::describe(code), ffi::name(code));
            Finding::wrong(object, what, "see the broker's log")
        }
    }
}

fn rights(wanted: &Wanted, facts: &TopicFacts, limits: &Limits, say: &mut Say<'_>) {
    let topic = &wanted.topic;
    match facts.description.rights {
        Some(rights) if !rights.write => say(
            Weight::Wrong,
            format!("not authorised for {}: ACL WRITE on it is missing", limits.principal),
            format!("kafka-acls --add --allow-principal {} --producer --topic {topic}", limits.principal),
        ),
        Some(_) => {}
        None => say(
            Weight::Note,
            format!("whether {} may write to it is not known: brokers tell that from Kafka 2.3 on", limits.principal),
            String::new(),
        ),
    }
}

fn replicas(partitions: &[PartitionDescription], in_sync_min: Option<u64>, say: &mut Say<'_>) {
    let list = |which: &dyn Fn(&&PartitionDescription) -> bool| -> Option<String> {
        const SHOWN_MAX: usize = 8;
        let found: Vec<String> = partitions.iter().filter(which).map(|partition| partition.id.to_string()).collect();
        let more = if found.len() > SHOWN_MAX { ", …" } else { "" };
        (!found.is_empty()).then(|| found[..found.len().min(SHOWN_MAX)].join(", ") + more)
    };
    if let Some(leaderless) = list(&|partition| partition.leader.is_none()) {
        let what = format!("no leader for partition {leaderless}");
        say(Weight::Wrong, what, "start the brokers that have its replicas".to_owned());
    }
    let Some(min) = in_sync_min else { return };
    let too_few = |count: usize| u64::try_from(count).is_ok_and(|count| count < min);
    if let Some(few) = list(&|partition| too_few(partition.replicas)) {
        let what = format!("min.insync.replicas is {min}, but partition {few} has fewer replicas at all");
        say(Weight::Wrong, what, "add replicas (kafka-reassign-partitions), or lower min.insync.replicas".to_owned());
    } else if let Some(few) = list(&|partition| partition.leader.is_some() && too_few(partition.in_sync)) {
        let what = format!("fewer in-sync replicas than min.insync.replicas ({min}) for partition {few}");
        say(Weight::Wrong, what, "start the brokers that are down; records wait until then".to_owned());
    }
}

fn sizes(config: &BTreeMap<String, String>, limits: &Limits, say: &mut Say<'_>) {
    let Some(most) = number(config, "max.message.bytes") else { return };
    let needs = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(BATCH_OVERHEAD_BYTES);
    if needs(limits.record_bytes_max) > most {
        let what = format!(
            "max.message.bytes is {most}, less than max_record_bytes {} of the output: larger records would be refused",
            limits.record_bytes_max
        );
        let fix = format!(
            "raise max.message.bytes to {}, or set max_record_bytes: {}",
            needs(limits.record_bytes_max),
            most.saturating_sub(BATCH_OVERHEAD_BYTES)
        );
        say(Weight::Wrong, what, fix);
    } else if needs(limits.batch_bytes) > most {
        let what = format!(
            "max.message.bytes is {most}, less than batch_bytes {} of the output: batches that compress badly are refused and \
             sent again in halves",
            limits.batch_bytes
        );
        say(Weight::Wrong, what, format!("set batch_bytes: {}", most.saturating_sub(BATCH_OVERHEAD_BYTES)));
    }
}

fn times(config: &BTreeMap<String, String>, limits: &Limits, say: &mut Say<'_>) {
    if config.get("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime") {
        let what = "message.timestamp.type is LogAppendTime: consumers see the broker's time as the record's timestamp";
        say(Weight::Note, what.to_owned(), "the event's own time stays in @timestamp".to_owned());
        return;
    }
    // Brokers before 3.6 know only the last one, those from 4.0 on only the first two.
    let both = limits.time_before.max(limits.time_after);
    let bounds = [
        ("message.timestamp.before.max.ms", limits.time_before, "behind"),
        ("message.timestamp.after.max.ms", limits.time_after, "ahead of"),
        ("message.timestamp.difference.max.ms", both, "behind"),
    ];
    for (name, needed, which) in bounds {
        let needed = u64::try_from(needed.as_millis()).unwrap_or(u64::MAX);
        let Some(allowed) = number(config, name).filter(|allowed| *allowed < needed) else { continue };
        let what = format!(
            "{name} is {allowed}: records whose time is further {which} the clock are refused, and theirs may be {needed} ms {which} it"
        );
        say(Weight::Wrong, what, format!("set {name} to {needed} or more, or message.timestamp.type to LogAppendTime"));
    }
}

fn keys(config: &BTreeMap<String, String>, keys: Keys, say: &mut Say<'_>) {
    let is_compacted =
        config.get("cleanup.policy").is_some_and(|policy| policy.split(',').any(|word| word.trim() == "compact"));
    if !is_compacted {
        return;
    }
    let fix = "give the records a key (`key` of the input or output), or set cleanup.policy to delete";
    match keys {
        Keys::All => {}
        Keys::Most => {
            let what = "cleanup.policy is compact: records whose key can't be rendered have none, and are refused";
            say(Weight::Note, what.to_owned(), "give the key's template defaults".to_owned());
        }
        Keys::None => {
            let what = "cleanup.policy is compact, and the records have no key: every one would be refused";
            say(Weight::Wrong, what.to_owned(), fix.to_owned());
        }
    }
}

/// A setting as a number; `None` if it is not told. Kafka's "no bound" is its largest number.
fn number(config: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    config.get(name)?.parse().ok()
}
