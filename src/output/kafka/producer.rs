//! Produces to Kafka without copying payloads, and reports in runs.
//!
//! ```text
//!  produce ─► slot (Arc<Encoded>) ─► rd_kafka_produceva(payload pointer, opaque = slot, record)
//!     │                                          │ librdkafka batches, compresses, sends, retries
//!     └ refused on the spot ─┐                   ▼
//!  poll ◄────────────────────┴── runs of records of one slot with one result ◄── delivery report events
//! ```
//!
//! **Why the unsafe is sound.** librdkafka keeps a pointer to each payload until it reports the record. The pointer leads
//! into `Encoded::buf`, which can't move or change while an `Arc<Encoded>` exists, and the record's slot holds one until
//! the last record of the hand-over was reported *and* its report event destroyed ([`Reports`] first, slots after). Keys
//! and headers are copied by librdkafka. When a producer is dropped with records in flight, the slots are dropped after
//! `rd_kafka_destroy` has returned (field order of [`Shared`]), which ends librdkafka's threads; that happens on a thread
//! of its own, so dropping never waits.
//!
//! Not here: windows, retries, placement, back-off of records. Deliver owns them.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Deserialize;

use super::client::{self, Client, Event, Kind, OpenError, TopicHandle, What, lock};
use super::conf::{self, NativeConf};
use super::fault::{self, At};
use super::ffi::{self, Named};
use super::knock;
use super::options::{Connection, KafkaOptions};
use super::slots::{InFlight, Slots, opaque, parse_opaque};
use super::topics::{self, Topics};
use crate::batch::{Encoded, NONE, Record};
use crate::output::{BrokerStatus, Fault, OutputEvent, Parcel, Producer};

/// Events of librdkafka's queue taken by one poll: a poll ends also when more keep coming.
const EVENTS_PER_POLL: usize = 256;

/// An idempotent producer with acks=all.
pub struct KafkaProducer {
    shared: Arc<Shared>,
    asking: Option<JoinHandle<()>>,
}

/// Fields are dropped in order: topic handles, then the instance, then what its records point into.
struct Shared {
    topics: Topics,
    client: Client,
    slots: Mutex<Slots>,
    /// What the next poll says beside librdkafka's own events.
    pending: Mutex<Pending>,
    /// Held while polling: one poller at a time, so that runs come in order.
    runs: Mutex<Vec<Run>>,
    brokers: Mutex<Brokers>,
    /// Keys, values and headers of one record.
    record_bytes_max: usize,
    /// How to reach the cluster.
    connection: Connection,
}

#[derive(Default)]
struct Pending {
    refused: Vec<Run>,
    events: Vec<OutputEvent>,
    fatal_said: bool,
}

/// Consecutive records of a slot with one result.
struct Run {
    slot: u32,
    records: Range<u32>,
    /// 0: acknowledged.
    code: c_int,
}

#[derive(Default)]
struct Brokers {
    states: Vec<(String, String)>,
    /// By the name of the broker; as many as the cluster has.
    last_errors: HashMap<String, String>,
}

impl KafkaProducer {
    /// A producer for `options`. Connects in the background: brokers may be away.
    ///
    /// # Errors
    /// [`OpenError`]: a property that librdkafka refuses, a certificate file that can't be read, no thread.
    pub fn open(options: &KafkaOptions) -> Result<Self, OpenError> {
        conf::check_files(&options.connection)?;
        let mut properties = conf::connection_properties(&options.connection);
        properties.extend(conf::producer_properties(options));
        let conf = NativeConf::with(&properties, &options.connection.rdkafka)?;
        let client = Client::open(&options.name, Kind::Producer, conf, &options.connection)?;
        let shared = Arc::new(Shared {
            topics: Topics::new(options.create_topics),
            client,
            slots: Mutex::default(),
            pending: Mutex::default(),
            runs: Mutex::default(),
            brokers: Mutex::default(),
            record_bytes_max: options.max_record_bytes,
            connection: options.connection.clone(),
        });
        let asking = std::thread::Builder::new()
            .name("kafka-topics".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || topics::ask_for_ever(&shared.client, &shared.topics, |events| shared.say(events))
            })
            .map_err(|error| OpenError::Thread { client: options.name.clone(), error })?;
        Ok(Self { shared, asking: Some(asking) })
    }

    /// Hand-overs whose records are not all reported yet.
    pub fn in_flight(&self) -> usize {
        lock(&self.shared.slots).len()
    }
}

#[cfg(test)]
impl KafkaProducer {
    /// How many topics it asks brokers for.
    pub(super) fn topics_asked(&self) -> usize {
        self.shared.topics.count()
    }
}

impl Producer for KafkaProducer {
    /// # Panics
    /// If `records` is not a range of `encoded.records`, before anything is handed over.
    fn produce(&self, parcel: Parcel, encoded: &Arc<Encoded>, topic: &Arc<str>, partition: i32, records: Range<u32>) {
        let batch = &encoded.records[records.start as usize..records.end as usize];
        let Ok(remaining) = u32::try_from(batch.len()) else { return };
        if remaining == 0 {
            return;
        }
        let shared = &*self.shared;
        let in_flight =
            InFlight { encoded: Arc::clone(encoded), parcel, topic: Arc::clone(topic), partition, remaining };
        let slot = lock(&shared.slots).insert(in_flight);
        let mut refused = Vec::new();
        match shared.topics.handle(&shared.client, topic) {
            Ok(handle) => shared.hand_over(&handle, encoded, partition, slot, records, &mut refused),
            Err(code) => refused.push(Run { slot, records, code }),
        }
        if !refused.is_empty() {
            lock(&shared.pending).refused.append(&mut refused);
            shared.client.queue().wake();
        }
    }

    fn lookup(&self, topic: &Arc<str>) {
        let shared = &*self.shared;
        if let Err(code) = shared.topics.ask(&shared.client, topic) {
            let result = Err(fault::fault(code, &At { topic, partition: None }));
            shared.say(vec![OutputEvent::Topic { topic: Arc::clone(topic), result }]);
        }
    }

    fn forget(&self, topic: &Arc<str>) {
        self.shared.topics.forget(topic);
    }

    fn poll(&self, timeout: Duration, events: &mut Vec<OutputEvent>) {
        let shared = &*self.shared;
        let mut runs = lock(&shared.runs);
        let before = events.len();
        shared.take_pending(&mut runs, events);
        let mut wait = if events.len() > before { Duration::ZERO } else { timeout };
        for _ in 0..EVENTS_PER_POLL {
            let Some(event) = shared.client.poll(wait) else { break };
            shared.take(event, &mut runs, events);
            wait = Duration::ZERO;
        }
        shared.take_pending(&mut runs, events);
    }

    fn brokers(&self) -> Vec<BrokerStatus> {
        let brokers = lock(&self.shared.brokers);
        let status = |(name, state): &(String, String)| BrokerStatus {
            name: name.clone(),
            state: state.clone(),
            last_error: brokers.last_errors.get(name).cloned(),
        };
        brokers.states.iter().map(status).collect()
    }

    fn knock(&self, brokers: &[i32]) -> Option<Vec<i32>> {
        let mut known = self.shared.topics.brokers();
        known.retain(|(id, _)| brokers.contains(id));
        knock::knock(&self.shared.connection, known)
    }
}

impl Drop for KafkaProducer {
    fn drop(&mut self) {
        self.shared.topics.stop();
        let (shared, asking) = (Arc::clone(&self.shared), self.asking.take());
        client::close_apart(move || {
            // A panic there was printed there; the instance is ended all the same.
            let _ended = asking.map(JoinHandle::join);
            // Nothing is to be sent any more, whatever it is; the reports go unheard with the queue.
            // SAFETY: the instance is alive.
            unsafe {
                let flags = ffi::RD_KAFKA_PURGE_F_QUEUE | ffi::RD_KAFKA_PURGE_F_INFLIGHT;
                ffi::rd_kafka_purge(shared.client.as_ptr(), flags);
            }
            drop(shared);
        });
    }
}

impl Shared {
    /// Hands the records over one by one. A refused record is a run of its own; a refusal that is not for the record's own
    /// sake refuses the rest too, else what follows would overtake it.
    fn hand_over(
        &self,
        handle: &TopicHandle,
        encoded: &Arc<Encoded>,
        partition: i32,
        slot: u32,
        records: Range<u32>,
        refused: &mut Vec<Run>,
    ) {
        let mut message = Message::new(handle, partition);
        for (index, record) in records.clone().zip(&encoded.records[records.start as usize..]) {
            let code = if self.is_too_large(encoded, record) {
                Named::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as c_int
            } else {
                // SAFETY: `encoded` is in the slot, which keeps it until this record's report, or this refusal, is
                // processed.
                unsafe { message.produce(&self.client, encoded, record, opaque(slot, index)) }
            };
            if code == 0 {
                continue;
            }
            let own_fault = fault::record_fault(code).is_some();
            let end = if own_fault { index + 1 } else { records.end };
            refused.push(Run { slot, records: index..end, code });
            if !own_fault {
                return;
            }
        }
    }

    fn is_too_large(&self, encoded: &Encoded, record: &Record) -> bool {
        encoded.payload_bytes(record) > self.record_bytes_max
    }

    /// Puts events in front of the next poll, and wakes it.
    fn say(&self, mut events: Vec<OutputEvent>) {
        lock(&self.pending).events.append(&mut events);
        self.client.queue().wake();
    }

    fn take_pending(&self, runs: &mut Vec<Run>, events: &mut Vec<OutputEvent>) {
        let mut pending = lock(&self.pending);
        events.append(&mut pending.events);
        runs.append(&mut pending.refused);
        drop(pending);
        self.report(runs, events);
    }

    fn take(&self, mut event: Event, runs: &mut Vec<Run>, events: &mut Vec<OutputEvent>) {
        match event.what() {
            What::Reports => {
                collect_runs(&mut event, runs);
                // The messages are gone before their payloads may be.
                drop(event);
                self.report(runs, events);
            }
            What::Error { fatal: true, text, .. } => self.fatal(&text, events),
            What::Error { fatal: false, text, .. } => self.broker_error(&text),
            What::Log { level, facility, text } => client::log(self.client.name(), level, &facility, &text),
            What::Statistics(json) => lock(&self.brokers).update(&json),
            What::TokenWanted | What::Other => {}
        }
    }

    /// Says what became of the runs, and frees the slots that they end.
    fn report(&self, runs: &mut Vec<Run>, events: &mut Vec<OutputEvent>) {
        if runs.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        let mut slots = lock(&self.slots);
        for run in runs.drain(..) {
            let in_flight = slots.get(run.slot);
            let result = if run.code == 0 { Ok(()) } else { Err(run_fault(&run, in_flight)) };
            if let Err(Fault::Topic { .. }) = &result {
                self.topics.suspect(&in_flight.topic);
            }
            events.push(OutputEvent::Report { parcel: in_flight.parcel, records: run.records.clone(), result });
            ended.extend(slots.reported(run.slot, run.records.end - run.records.start));
        }
        // Freeing a batch returns its permit, which others wait for: not under the lock.
        drop(slots);
        drop(ended);
    }

    fn fatal(&self, text: &str, events: &mut Vec<OutputEvent>) {
        if std::mem::replace(&mut lock(&self.pending).fatal_said, true) {
            return;
        }
        let text = self.client.fatal_error().unwrap_or_else(|| text.to_owned());
        let message = format!("the producer of {} is dead: {text}; a new one takes over", self.client.name());
        events.push(OutputEvent::Fatal { message: message.into() });
    }

    /// An error that librdkafka deals with itself. Those of one broker are in its log lines too ("FAIL").
    fn broker_error(&self, text: &str) {
        let output = self.client.name();
        match text.split_once(": ") {
            Some((name, error)) if name.contains('/') => {
                tracing::debug!(target: "logferry::kafka", %output, broker = name, "{error}");
                lock(&self.brokers).last_errors.insert(plain_name(name).to_owned(), error.to_owned());
            }
            _ => tracing::warn!(target: "logferry::kafka", %output, "{text}"),
        }
    }
}

fn run_fault(run: &Run, in_flight: &InFlight) -> Fault {
    fault::fault(run.code, &At { topic: &in_flight.topic, partition: Some(in_flight.partition) })
}

/// Collects a report event into runs. Records of one batch come in order, so a run is as long as the batch, but where
/// results differ.
fn collect_runs(event: &mut Event, runs: &mut Vec<Run>) {
    while let Some(report) = event.next_report() {
        let (slot, record) = parse_opaque(report.opaque);
        if let Some(last) = runs.last_mut()
            && last.slot == slot
            && last.records.end == record
            && last.code == report.code
        {
            last.records.end += 1;
            continue;
        }
        runs.push(Run { slot, records: record..record + 1, code: report.code });
    }
}

/// The arguments of `rd_kafka_produceva` for the records of one hand-over: topic and partition stay, the rest is set for
/// each record.
struct Message {
    arguments: [ffi::rd_kafka_vu_t; 7],
}

const OPAQUE: usize = 2;
const TIMESTAMP: usize = 3;
const VALUE: usize = 4;
const KEY: usize = 5;
const HEADERS: usize = 6;

impl Message {
    fn new(handle: &TopicHandle, partition: i32) -> Self {
        use ffi::{rd_kafka_vtype_t as Tag, rd_kafka_vu_s__bindgen_ty_1 as Content, rd_kafka_vu_t as Argument};

        let empty = Content { mem: ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr::null_mut(), size: 0 } };
        Self {
            arguments: [
                Argument { vtype: Tag::RD_KAFKA_VTYPE_RKT, u: Content { rkt: handle.as_ptr() } },
                Argument { vtype: Tag::RD_KAFKA_VTYPE_PARTITION, u: Content { i32_: partition } },
                Argument { vtype: Tag::RD_KAFKA_VTYPE_OPAQUE, u: Content { ptr: ptr::null_mut() } },
                Argument { vtype: Tag::RD_KAFKA_VTYPE_TIMESTAMP, u: Content { i64_: 0 } },
                Argument { vtype: Tag::RD_KAFKA_VTYPE_VALUE, u: empty },
                Argument { vtype: Tag::RD_KAFKA_VTYPE_KEY, u: empty },
                Argument { vtype: Tag::RD_KAFKA_VTYPE_HEADERS, u: Content { headers: ptr::null_mut() } },
            ],
        }
    }

    /// Hands one record over; librdkafka's code if it is refused on the spot.
    ///
    /// # Safety
    /// `encoded.buf` must neither move, change nor be freed until the record is reported, if 0 is returned. The topic
    /// handle that `self` was made of is alive.
    unsafe fn produce(&mut self, client: &Client, encoded: &Encoded, record: &Record, opaque: usize) -> c_int {
        self.arguments[OPAQUE].u.ptr = ptr::without_provenance_mut::<c_void>(opaque);
        self.arguments[TIMESTAMP].u.i64_ = record.timestamp_ms;
        self.arguments[VALUE].u.mem = memory(encoded.value(record));
        let mut count = KEY;
        if record.key_start != NONE || record.headers != NONE {
            // A null pointer is "no key"; it only stands in front of headers.
            self.arguments[KEY].u.mem = encoded
                .key(record)
                .map_or(ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr::null_mut(), size: 0 }, memory);
            count = KEY + 1;
        }
        let mut headers = ptr::null_mut();
        if !encoded.headers_of(record).is_empty() {
            headers = headers_of(encoded, record);
            self.arguments[HEADERS].u.headers = headers;
            count = HEADERS + 1;
        }
        // SAFETY: instance and topic are alive; the first `count` arguments are set, each with the field that its tag
        // names; the payload stays by this function's contract (no F_COPY, no F_FREE), the key is copied.
        let error = unsafe { ffi::rd_kafka_produceva(client.as_ptr(), self.arguments.as_ptr(), count) };
        if error.is_null() {
            return 0;
        }
        // SAFETY: the error is ours; a refused message leaves its headers with us.
        unsafe {
            let code = ffi::rd_kafka_error_code(error);
            ffi::rd_kafka_error_destroy(error);
            if !headers.is_null() {
                ffi::rd_kafka_headers_destroy(headers);
            }
            code
        }
    }
}

fn memory(bytes: &[u8]) -> ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    // librdkafka only reads what the pointer leads to (no F_FREE), also behind its `void *`.
    ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: bytes.as_ptr().cast_mut().cast(), size: bytes.len() }
}

/// The headers of a record, copied.
fn headers_of(encoded: &Encoded, record: &Record) -> *mut ffi::rd_kafka_headers_t {
    let headers = encoded.headers_of(record);
    // SAFETY: names and values are copied, with the lengths given; adding fails for read-only lists only.
    unsafe {
        let list = ffi::rd_kafka_headers_new(headers.len());
        for header in headers {
            let value = encoded.header_value(header);
            ffi::rd_kafka_header_add(
                list,
                header.name.as_ptr().cast(),
                header.name.len().cast_signed(),
                value.as_ptr().cast(),
                value.len().cast_signed(),
            );
        }
        list
    }
}

/// What we read of librdkafka's statistics; the rest is skipped.
#[derive(Deserialize)]
struct Statistics {
    brokers: HashMap<String, BrokerStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    name: String,
    nodeid: i32,
    state: String,
    source: String,
}

impl Brokers {
    fn update(&mut self, json: &str) {
        let Ok(statistics) = serde_json::from_str::<Statistics>(json) else {
            tracing::debug!(target: "logferry::kafka", "librdkafka's statistics can't be read");
            return;
        };
        // "internal" and "logical" ones are no brokers; a bootstrap one is of interest until the cluster told its own.
        let real = |broker: &&BrokerStatistics| matches!(broker.source.as_str(), "learned" | "configured");
        let any_learned = statistics.brokers.values().filter(real).any(|broker| broker.nodeid >= 0);
        self.states = statistics
            .brokers
            .values()
            .filter(real)
            .filter(|broker| broker.nodeid >= 0 || !any_learned)
            .map(|broker| (plain_name(&broker.name).to_owned(), broker.state.clone()))
            .collect();
        self.states.sort_unstable();
        let known = &self.states;
        self.last_errors.retain(|name, _| known.iter().any(|(known, _)| known == name));
    }
}

/// `ssl://host:9093/1` → `host:9093/1`.
fn plain_name(name: &str) -> &str {
    name.split_once("://").map_or(name, |(_, name)| name)
}
