//! Questions to brokers that the safe crate does not ask, or whose errors it drops: topics with this user's rights
//! (DescribeTopics), and settings with the reason why they are not told (DescribeConfigs). Asking changes nothing.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::time::Duration;

use super::client::{Event, MainQueue};
use super::ffi;

/// A topic with its partitions and this user's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    /// 0: it is there. Else librdkafka's code, and the rest is empty.
    pub code: i32,
    pub partitions: Vec<PartitionDescription>,
    /// `None`: the broker does not tell (before Kafka 2.3).
    pub rights: Option<Rights>,
}

/// What this user may do to a topic, of what a producer needs. Who may not DESCRIBE it does not see it at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    pub write: bool,
}

/// A partition, in numbers of brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    pub id: i32,
    /// The leader's id.
    pub leader: Option<i32>,
    pub in_sync: usize,
    pub replicas: usize,
}

/// The settings of something, or why the broker does not tell them.
pub type Settings = Result<BTreeMap<String, String>, String>;

/// What has settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    Topic(&'a str),
    Broker(i32),
}

/// Asks broker `broker` (or the one that librdkafka chooses) for `topics`, the missing ones too.
///
/// # Safety
/// `rk` is an instance that lives through the call.
///
/// # Errors
/// Librdkafka's words: nobody answered within `timeout`.
pub(super) unsafe fn describe_topics(
    rk: *mut ffi::rd_kafka_t,
    topics: &[&str],
    broker: Option<i32>,
    timeout: Duration,
) -> Result<Vec<TopicDescription>, String> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let kind = ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the instance is alive; collection, options and queue are made here, the request copies what it keeps, and all
    // are given back (the queue by its owner, which is dropped before the instance).
    unsafe {
        let options = Options::new(rk, kind, broker, timeout);
        let error = ffi::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1);
        if !error.is_null() {
            ffi::rd_kafka_error_destroy(error);
        }
        let queue = MainQueue::own(ffi::rd_kafka_queue_new(rk));
        let collection = ffi::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        ffi::rd_kafka_DescribeTopics(rk, collection, options.0, queue.as_ptr());
        ffi::rd_kafka_TopicCollection_destroy(collection);
        let event = answer(&queue, timeout)?;
        let result = ffi::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if result.is_null() {
            return Err("the answer is none to DescribeTopics".to_owned());
        }
        let mut count = 0;
        let topics = ffi::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        Ok((0..count).map(|index| topic_description(*topics.add(index))).collect())
    }
}

/// The settings of `resource`, as broker `broker` (or the one that librdkafka chooses) tells them.
///
/// # Safety
/// `rk` is an instance that lives through the call.
///
/// # Errors
/// Librdkafka's words: nobody answered within `timeout`.
pub(super) unsafe fn describe_config(
    rk: *mut ffi::rd_kafka_t,
    resource: Resource<'_>,
    broker: Option<i32>,
    timeout: Duration,
) -> Result<Settings, String> {
    let (kind, name) = match resource {
        Resource::Topic(topic) => (ffi::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topic.to_owned()),
        Resource::Broker(id) => (ffi::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER, id.to_string()),
    };
    let name = CString::new(name).map_err(|_| "a name holds a NUL byte".to_owned())?;
    // SAFETY: as in `describe_topics`; the array of resources has one, which lives as long as the event.
    unsafe {
        let options = Options::new(rk, ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, broker, timeout);
        let queue = MainQueue::own(ffi::rd_kafka_queue_new(rk));
        let mut asked = ffi::rd_kafka_ConfigResource_new(kind, name.as_ptr());
        ffi::rd_kafka_DescribeConfigs(rk, &raw mut asked, 1, options.0, queue.as_ptr());
        ffi::rd_kafka_ConfigResource_destroy(asked);
        let event = answer(&queue, timeout)?;
        let result = ffi::rd_kafka_event_DescribeConfigs_result(event.as_ptr());
        let mut count = 0;
        if !result.is_null() {
            let told = ffi::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            if count > 0 {
                return Ok(settings(*told));
            }
        }
        Err("the answer is none to DescribeConfigs".to_owned())
    }
}

/// The options of one request; given back when dropped.
struct Options(*mut ffi::rd_kafka_AdminOptions_t);

impl Options {
    /// # Safety
    /// `rk` is alive.
    unsafe fn new(
        rk: *mut ffi::rd_kafka_t,
        kind: ffi::rd_kafka_admin_op_t,
        broker: Option<i32>,
        timeout: Duration,
    ) -> Self {
        let mut reason = [0 as c_char; 512];
        // SAFETY: by this function's contract; the buffer has the size given. What can't be set keeps its default.
        unsafe {
            let options = ffi::rd_kafka_AdminOptions_new(rk, kind);
            let timeout_ms = ffi::timeout_ms(timeout);
            ffi::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, reason.as_mut_ptr(), reason.len());
            if let Some(id) = broker {
                ffi::rd_kafka_AdminOptions_set_broker(options, id, reason.as_mut_ptr(), reason.len());
            }
            Self(options)
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made in `new`, given back once; requests copy their options.
        unsafe { ffi::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

/// The answer to the request that was sent with `queue`.
fn answer(queue: &MainQueue, timeout: Duration) -> Result<Event, String> {
    // A request ends by its own timeout; a little more is waited only in case it should not.
    let event = queue.poll(timeout + Duration::from_millis(500)).ok_or("nothing was answered")?;
    // SAFETY: the event is alive.
    unsafe {
        match ffi::rd_kafka_event_error(event.as_ptr()) {
            0 => Ok(event),
            _ => Err(ffi::string(ffi::rd_kafka_event_error_string(event.as_ptr()))),
        }
    }
}

/// # Safety
/// `resource` is part of an answer that lives through the call.
unsafe fn settings(resource: *const ffi::rd_kafka_ConfigResource_t) -> Settings {
    // SAFETY: by this function's contract; the array has as many entries as it says; a value may be null.
    unsafe {
        let code = ffi::rd_kafka_ConfigResource_error(resource);
        if code != 0 {
            return Err(ffi::name(code));
        }
        let mut count = 0;
        let entries = ffi::rd_kafka_ConfigResource_configs(resource, &raw mut count);
        let entry = |index| {
            let entry = *entries.add(index);
            let value = ffi::rd_kafka_ConfigEntry_value(entry);
            (!value.is_null()).then(|| (ffi::string(ffi::rd_kafka_ConfigEntry_name(entry)), ffi::string(value)))
        };
        Ok((0..count).filter_map(entry).collect())
    }
}

/// # Safety
/// `topic` is part of an answer that lives through the call.
unsafe fn topic_description(topic: *const ffi::rd_kafka_TopicDescription_t) -> TopicDescription {
    // SAFETY (all of the function): by its contract; arrays have as many elements as they say; nodes may be null.
    unsafe {
        let error = ffi::rd_kafka_TopicDescription_error(topic);
        let mut count = 0;
        let raw = ffi::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let partition = |index| {
            let partition = *raw.add(index);
            let leader = ffi::rd_kafka_TopicPartitionInfo_leader(partition);
            let leader = (!leader.is_null()).then(|| ffi::rd_kafka_Node_id(leader)).filter(|id| *id >= 0);
            let (mut in_sync, mut replicas) = (0, 0);
            ffi::rd_kafka_TopicPartitionInfo_isr(partition, &raw mut in_sync);
            ffi::rd_kafka_TopicPartitionInfo_replicas(partition, &raw mut replicas);
            PartitionDescription {
                id: ffi::rd_kafka_TopicPartitionInfo_partition(partition),
                leader,
                in_sync,
                replicas,
            }
        };
        let partitions = (0..count).map(partition).collect();
        let operations = ffi::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count).cast::<c_int>();
        let rights = (!operations.is_null() && count > 0).then(|| {
            // Read as integers: a newer broker may know operations that the enum does not.
            let may = |wanted| (0..count).any(|index| *operations.add(index) == wanted);
            Rights { write: may(ffi::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE as c_int) }
        });
        TopicDescription {
            name: ffi::string(ffi::rd_kafka_TopicDescription_name(topic)),
            code: if error.is_null() { 0 } else { ffi::rd_kafka_error_code(error) },
            partitions,
            rights,
        }
    }
}
