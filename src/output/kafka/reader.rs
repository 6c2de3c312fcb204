//! Reads a topic from its beginning, all partitions, as it is now: what `demo` and the tests check arrivals with.
//!
//! No group, nothing committed, no new partitions. Uses librdkafka's queue of all partitions, taken in batches.

use std::collections::VecDeque;
use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::client::{self, Client, Kind, OpenError, TopicHandle, What};
use super::conf::{self, NativeConf};
use super::ffi;
use super::options::Connection;

/// Records taken from librdkafka at once.
const RECORDS_PER_TAKE: usize = 1_000;
/// How long the cluster may take to say which partitions the topic has, and where they end.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// A record as a consumer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since the epoch; −1: none.
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Vec<u8>,
}

/// A reader of one topic.
pub struct Reader {
    /// `None` only while being dropped.
    inner: Option<Inner>,
    taken: VecDeque<ReadRecord>,
}

/// Dropped in order: queue and topic before the instance; see [`Inner::drop`].
struct Inner {
    topic: Arc<str>,
    partitions: Vec<i32>,
    queue: NonNull<ffi::rd_kafka_queue_t>,
    handle: TopicHandle,
    client: Client,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Inner {}

impl Reader {
    /// Opens `topic`: all partitions it has now, from their beginnings.
    ///
    /// # Errors
    /// [`OpenError`]: a property that librdkafka refuses; no broker within 10 s; no such topic.
    pub fn open(connection: &Connection, topic: &str) -> Result<Self, OpenError> {
        conf::check_files(connection)?;
        let mut properties = conf::connection_properties(connection);
        properties.push(("allow.auto.create.topics", "false".to_owned()));
        properties.push(("auto.offset.reset", "earliest".to_owned()));
        properties.push(("fetch.wait.max.ms", "50".to_owned()));
        properties.push(("fetch.error.backoff.ms", "50".to_owned()));
        properties.push(("queued.max.messages.kbytes", "16384".to_owned()));
        let conf = NativeConf::with(&properties, &connection.rdkafka)?;
        let client = Client::open("reader", Kind::Consumer, conf, connection)?;
        let failed = |code: c_int| OpenError::Topic { topic: topic.to_owned(), reason: ffi::describe(code) };
        let handle = client.topic(topic).map_err(failed)?;
        let partitions = partition_count(&client, &handle, topic)?;
        let partitions: Vec<i32> = (0..i32::try_from(partitions).unwrap_or(i32::MAX)).collect();
        // SAFETY: the instance is alive; a new queue is ours.
        let queue = unsafe { NonNull::new_unchecked(ffi::rd_kafka_queue_new(client.as_ptr())) };
        let inner = Inner { topic: topic.into(), partitions, queue, handle, client };
        for &partition in &inner.partitions {
            // SAFETY: topic and queue are alive until the partition is stopped on drop.
            let failure = unsafe {
                ffi::rd_kafka_consume_start_queue(
                    inner.handle.as_ptr(),
                    partition,
                    i64::from(ffi::RD_KAFKA_OFFSET_BEGINNING),
                    queue.as_ptr(),
                )
            };
            if failure != 0 {
                // SAFETY: a thread-local read.
                return Err(failed(unsafe { ffi::rd_kafka_last_error() }));
            }
        }
        Ok(Self { inner: Some(inner), taken: VecDeque::new() })
    }

    /// The next record; waits up to `timeout` for one. Within a partition in order. What goes wrong meanwhile (a broker
    /// that is away) is logged, and librdkafka tries again.
    pub fn poll(&mut self, timeout: Duration) -> Option<ReadRecord> {
        if self.taken.is_empty()
            && let Some(inner) = &self.inner
        {
            inner.log_events();
            inner.take(timeout, &mut self.taken);
        }
        self.taken.pop_front()
    }

    /// The offset after the last record of each partition, now.
    ///
    /// # Errors
    /// [`OpenError::Topic`]: the leader of a partition does not answer within 10 s.
    pub fn end_offsets(&self) -> Result<Vec<(i32, i64)>, OpenError> {
        let Some(inner) = &self.inner else { return Ok(Vec::new()) };
        inner.partitions.iter().map(|&partition| Ok((partition, inner.end_offset(partition)?))).collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            client::close_apart(move || drop(inner));
        }
    }
}

impl Inner {
    fn take(&self, timeout: Duration, taken: &mut VecDeque<ReadRecord>) {
        let mut messages = [std::ptr::null_mut(); RECORDS_PER_TAKE];
        // SAFETY: the queue is alive; the array has the size given. What is returned is ours to destroy.
        let count = unsafe {
            ffi::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                ffi::timeout_ms(timeout),
                messages.as_mut_ptr(),
                messages.len(),
            )
        };
        for &message in &messages[..usize::try_from(count).unwrap_or(0)] {
            // SAFETY: one of the messages returned, used and destroyed once.
            unsafe {
                match ffi::message_code(message) {
                    0 => taken.push_back(read_record(message)),
                    code => {
                        let (topic, reason) = (&self.topic, ffi::describe(code));
                        let partition = (*message).partition;
                        tracing::warn!(target: "logferry::kafka", %topic, partition, "reading: {reason}");
                    }
                }
                ffi::rd_kafka_message_destroy(message);
            }
        }
    }

    fn log_events(&self) {
        while let Some(event) = self.client.poll(Duration::ZERO) {
            if let What::Log { level, facility, text } = event.what() {
                client::log(self.client.name(), level, &facility, &text);
            }
        }
    }

    fn end_offset(&self, partition: i32) -> Result<i64, OpenError> {
        let failed = |reason: String| OpenError::Topic { topic: self.topic.to_string(), reason };
        let topic = CString::new(&*self.topic).map_err(|error| failed(error.to_string()))?;
        let (mut low, mut high) = (0, 0);
        // SAFETY: instance and name are alive; both results are written on success.
        let code = unsafe {
            ffi::rd_kafka_query_watermark_offsets(
                self.client.as_ptr(),
                topic.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
                ffi::timeout_ms(METADATA_TIMEOUT),
            )
        };
        if code == 0 { Ok(high) } else { Err(failed(ffi::describe(code))) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for &partition in &self.partitions {
            // SAFETY: the topic is alive; stopping what was not started does nothing.
            unsafe { ffi::rd_kafka_consume_stop(self.handle.as_ptr(), partition) };
        }
        // SAFETY: the last use; the instance is alive until the fields after it are dropped.
        unsafe { ffi::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

fn partition_count(client: &Client, handle: &TopicHandle, topic: &str) -> Result<u32, OpenError> {
    let failed = |reason: String| OpenError::Topic { topic: topic.to_owned(), reason };
    let answers = client.metadata(Some(handle), METADATA_TIMEOUT).map_err(|code| failed(ffi::describe(code)))?;
    let found = answers.topics.iter().find(|found| found.topic == topic);
    match found {
        Some(found) if found.code == 0 => Ok(found.partitions),
        Some(found) => Err(failed(ffi::describe(found.code))),
        None => Err(failed("the cluster does not know it".to_owned())),
    }
}

/// # Safety
/// `message` is a fetched message that lives through the call.
unsafe fn read_record(message: *const ffi::rd_kafka_message_t) -> ReadRecord {
    // SAFETY: the message is alive by this function's contract, and so are the bytes it points to.
    unsafe {
        let bytes = |start: *mut std::ffi::c_void, len: usize| {
            (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast::<u8>(), len).to_vec())
        };
        ReadRecord {
            partition: (*message).partition,
            offset: (*message).offset,
            timestamp_ms: ffi::rd_kafka_message_timestamp(message, std::ptr::null_mut()),
            key: bytes((*message).key, (*message).key_len),
            headers: read_headers(message),
            value: bytes((*message).payload, (*message).len).unwrap_or_default(),
        }
    }
}

/// # Safety
/// As for [`read_record`].
unsafe fn read_headers(message: *const ffi::rd_kafka_message_t) -> Vec<(String, Vec<u8>)> {
    let mut list = std::ptr::null_mut();
    let mut headers = Vec::new();
    // SAFETY: the list belongs to the message; names are C strings and values have the size given while it lives.
    unsafe {
        if ffi::rd_kafka_message_headers(message, &raw mut list) != 0 {
            return headers;
        }
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        while ffi::rd_kafka_header_get_all(list, headers.len(), &raw mut name, &raw mut value, &raw mut size) == 0 {
            let bytes = if value.is_null() {
                Vec::new()
            } else {
                std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec()
            };
            headers.push((ffi::string(name), bytes));
        }
    }
    headers
}
