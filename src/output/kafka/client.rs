//! One librdkafka instance: made, polled for events, and ended on a thread of its own.
//!
//! Everything librdkafka has to say comes through [`MainQueue::poll`] as an [`Event`]; there are no callbacks. Its own log
//! lines go to `tracing` with the name of the client; librdkafka redacts passwords in them.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::conf::NativeConf;
use super::ffi;
use super::oauth::Tokens;
use super::options::{Connection, Sasl};
use crate::output::Replicas;

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("librdkafka refuses {property}: {reason}")]
    Property { property: String, reason: String },
    #[error("tls.{key} {}: {reason}", path.display())]
    File { key: &'static str, path: std::path::PathBuf, reason: String },
    #[error("can't create the Kafka client of {client}: {reason}")]
    Client { client: String, reason: String },
    #[error("can't start a thread for the Kafka client of {client}: {error}; raise the limit of processes (ulimit -u)")]
    Thread { client: String, error: std::io::Error },
    #[error("can't open topic {topic} for reading: {reason}")]
    Topic { topic: String, reason: String },
}

/// Locks, also after a panic elsewhere: what our locks guard is consistent at every point.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an instance is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Producer,
    Consumer,
}

/// An instance and its main queue.
pub(super) struct Client {
    /// Given back first when dropped.
    queue: MainQueue,
    rk: Instance,
    /// Names it in messages.
    name: Arc<str>,
    /// With OAUTHBEARER.
    tokens: Option<Tokens>,
}

/// Ends the instance when dropped.
struct Instance(NonNull<ffi::rd_kafka_t>);

// SAFETY: librdkafka's instances may be used from any thread, by several at once.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the last use. Every queue, topic handle, event and message of the instance is gone: whoever owns a client
        // drops those first (fields in order). When destroy returns, librdkafka's threads have ended, so that nothing
        // refers to a payload of ours any more.
        unsafe { ffi::rd_kafka_destroy(self.0.as_ptr()) };
    }
}

/// A reference to a queue of an instance, mostly to its main queue: everything that it has to say. Dropped before the instance.
pub(super) struct MainQueue(NonNull<ffi::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used from any thread, by several at once.
unsafe impl Send for MainQueue {}
// SAFETY: as above.
unsafe impl Sync for MainQueue {}

impl MainQueue {
    /// # Safety
    /// `rk` is an instance that outlives what is returned.
    pub unsafe fn of(rk: *mut ffi::rd_kafka_t) -> Self {
        // SAFETY: the instance is alive by this function's contract, and always has a main queue.
        Self(unsafe { NonNull::new_unchecked(ffi::rd_kafka_queue_get_main(rk)) })
    }

    /// A queue that was made for an answer.
    ///
    /// # Safety
    /// `queue` is alive and given up to what is returned; its instance outlives that.
    pub unsafe fn own(queue: *mut ffi::rd_kafka_queue_t) -> Self {
        // SAFETY: not null by this function's contract.
        Self(unsafe { NonNull::new_unchecked(queue) })
    }

    /// The queue; alive as long as `self`.
    pub fn as_ptr(&self) -> *mut ffi::rd_kafka_queue_t {
        self.0.as_ptr()
    }

    /// The next event; waits up to `timeout` for one, or for [`MainQueue::wake`].
    pub fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is alive (we hold a reference); the event is ours to destroy.
        let raw = unsafe { ffi::rd_kafka_queue_poll(self.0.as_ptr(), ffi::timeout_ms(timeout)) };
        NonNull::new(raw).map(|raw| Event { raw })
    }

    /// Ends a [`MainQueue::poll`] that waits, or else the next one, early.
    pub fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { ffi::rd_kafka_queue_yield(self.0.as_ptr()) };
    }
}

impl Drop for MainQueue {
    fn drop(&mut self) {
        // SAFETY: one reference, given back once; the instance is alive.
        unsafe { ffi::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

impl Client {
    /// An instance made of `conf`, which logs in as `connection` says.
    ///
    /// # Errors
    /// [`OpenError::Client`]: what librdkafka says.
    pub fn open(name: &str, kind: Kind, mut conf: NativeConf, connection: &Connection) -> Result<Self, OpenError> {
        let failed = |reason: String| OpenError::Client { client: name.to_owned(), reason };
        conf.set("log.queue", "true").map_err(|error| failed(error.reason))?;
        conf.enable_events();
        let kind = match kind {
            Kind::Producer => ffi::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            Kind::Consumer => ffi::rd_kafka_type_t::RD_KAFKA_CONSUMER,
        };
        let mut reason = [0 as c_char; 512];
        let conf = conf.into_raw();
        // SAFETY: the configuration is ours and goes over to the instance if one is made; the buffer has the size given.
        let rk = unsafe { ffi::rd_kafka_new(kind, conf, reason.as_mut_ptr(), reason.len()) };
        let Some(rk) = NonNull::new(rk) else {
            // SAFETY: on failure the configuration stays ours; librdkafka has written a NUL-terminated text.
            let reason = unsafe {
                rdkafka::bindings::rd_kafka_conf_destroy(conf);
                ffi::string(reason.as_ptr())
            };
            return Err(failed(reason));
        };
        let rk = Instance(rk);
        // SAFETY: the instance outlives the queue (field order).
        let queue = unsafe { MainQueue::of(rk.0.as_ptr()) };
        // SAFETY: both are alive. It fails only without `log.queue`, which is set.
        unsafe { ffi::rd_kafka_set_log_queue(rk.0.as_ptr(), queue.0.as_ptr()) };
        let tokens = match &connection.sasl {
            Some(Sasl::OauthBearer(options)) => Some(Tokens::new(options.clone())),
            _ => None,
        };
        Ok(Self { queue, rk, name: name.into(), tokens })
    }

    /// The instance; alive as long as `self`.
    pub fn as_ptr(&self) -> *mut ffi::rd_kafka_t {
        self.rk.0.as_ptr()
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The next thing that the instance has to say; waits up to `timeout` for it. Whoever polls also hands over the tokens
    /// that it logs in with, so it must be polled all the time.
    pub fn poll(&self, timeout: Duration) -> Option<Event> {
        let event = self.queue.poll(timeout);
        if let Some(tokens) = &self.tokens {
            if event.as_ref().is_some_and(|event| matches!(event.what(), What::TokenWanted)) {
                tokens.fetch();
            }
            tokens.hand_over(self);
        }
        event
    }

    /// Everything that the instance has to say.
    pub fn queue(&self) -> &MainQueue {
        &self.queue
    }

    /// A handle of a topic; the same librdkafka object for the same name.
    ///
    /// # Errors
    /// librdkafka's code: a name that it can't hold.
    pub fn topic(&self, topic: &str) -> Result<TopicHandle, c_int> {
        const INVALID: c_int = ffi::Named::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION as c_int;
        if topic.is_empty() {
            return Err(INVALID);
        }
        let name = std::ffi::CString::new(topic).map_err(|_| INVALID)?;
        // SAFETY: instance and name are alive; without a configuration the instance's default applies.
        let raw = unsafe { ffi::rd_kafka_topic_new(self.as_ptr(), name.as_ptr(), ptr::null_mut()) };
        // SAFETY: a thread-local read.
        NonNull::new(raw).map(|raw| TopicHandle { raw }).ok_or_else(|| unsafe { ffi::rd_kafka_last_error() })
    }

    /// Asks a broker for `only`, or for all topics that have a handle. Blocks up to `timeout`.
    ///
    /// # Errors
    /// librdkafka's code: no broker answered.
    pub fn metadata(&self, only: Option<&TopicHandle>, timeout: Duration) -> Result<Metadata, c_int> {
        let only = only.map_or(ptr::null_mut(), TopicHandle::as_ptr);
        let mut answer = ptr::null();
        // SAFETY: instance and handle are alive; `answer` is written on success only.
        let code = unsafe { ffi::rd_kafka_metadata(self.as_ptr(), 0, only, &raw mut answer, ffi::timeout_ms(timeout)) };
        if code != 0 {
            return Err(code);
        }
        // SAFETY: on success `answer` is a valid answer with `topic_cnt` topics, ours to destroy; nothing refers to it
        // afterwards.
        unsafe {
            let count = usize::try_from((*answer).topic_cnt).unwrap_or(0);
            let topics = (0..count)
                .map(|index| {
                    let topic = (*answer).topics.add(index);
                    TopicMetadata {
                        topic: ffi::string((*topic).topic),
                        code: ffi::topic_code(topic),
                        partitions: u32::try_from((*topic).partition_cnt).unwrap_or(0),
                        replicas: replicas(topic),
                    }
                })
                .collect();
            let brokers = (0..usize::try_from((*answer).broker_cnt).unwrap_or(0))
                .map(|index| broker_address((*answer).brokers.add(index)))
                .collect();
            ffi::rd_kafka_metadata_destroy(answer);
            Ok(Metadata { brokers, topics })
        }
    }

    /// Why the whole instance is dead, if it is.
    pub fn fatal_error(&self) -> Option<String> {
        let mut text = [0 as c_char; 512];
        // SAFETY: the instance is alive; the buffer has the size given and gets a NUL-terminated text if there is an error.
        unsafe {
            let code = ffi::rd_kafka_fatal_error(self.as_ptr(), text.as_mut_ptr(), text.len());
            (code != 0).then(|| format!("{} ({})", ffi::string(text.as_ptr()), ffi::name(code)))
        }
    }
}

/// What a broker says of its cluster.
#[derive(Debug)]
pub(super) struct Metadata {
    /// All brokers: id and `HOST:PORT`.
    pub brokers: Vec<(i32, String)>,
    pub topics: Vec<TopicMetadata>,
}

/// # Safety
/// `broker` is one of a metadata answer that is alive.
unsafe fn broker_address(broker: *const ffi::rd_kafka_metadata_broker) -> (i32, String) {
    // SAFETY: by this function's contract; the host is a NUL-terminated text.
    let (id, host, port) = unsafe { ((*broker).id, ffi::string((*broker).host), (*broker).port) };
    // An IPv6 address, whose colons are no separators.
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    (id, format!("{host}:{port}"))
}

/// A topic in a metadata answer.
#[derive(Debug)]
pub(super) struct TopicMetadata {
    pub topic: String,
    /// 0: fine.
    pub code: c_int,
    pub partitions: u32,
    /// The brokers of each partition, in increasing order.
    pub replicas: Replicas,
}

/// # Safety
/// `topic` is one of a metadata answer that is alive.
unsafe fn replicas(topic: *const ffi::rd_kafka_metadata_topic) -> Replicas {
    // SAFETY: the answer has `partition_cnt` partitions, each with an id and `replica_cnt` replicas; only these fields are read.
    unsafe {
        let count = usize::try_from((*topic).partition_cnt).unwrap_or(0);
        let mut all = vec![Box::default(); count];
        for partition in (0..count).map(|index| (*topic).partitions.add(index)) {
            let replicas = 0..usize::try_from((*partition).replica_cnt).unwrap_or(0);
            let mut brokers: Box<[i32]> = replicas.map(|index| *(*partition).replicas.add(index)).collect();
            brokers.sort_unstable();
            if let Some(place) = usize::try_from((*partition).id).ok().and_then(|id| all.get_mut(id)) {
                *place = brokers;
            }
        }
        all.into()
    }
}

/// A reference to a topic of an instance; dropped before the instance.
pub(super) struct TopicHandle {
    raw: NonNull<ffi::rd_kafka_topic_t>,
}

// SAFETY: a reference-counted object that librdkafka lets any thread use.
unsafe impl Send for TopicHandle {}
// SAFETY: as above.
unsafe impl Sync for TopicHandle {}

impl TopicHandle {
    pub fn as_ptr(&self) -> *mut ffi::rd_kafka_topic_t {
        self.raw.as_ptr()
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        // SAFETY: one reference, given back once; the instance is alive.
        unsafe { ffi::rd_kafka_topic_destroy(self.raw.as_ptr()) };
    }
}

/// Something that happened.
pub(super) struct Event {
    raw: NonNull<ffi::rd_kafka_event_t>,
}

/// What kind of thing, with its content.
pub(super) enum What {
    /// See [`Event::next_report`].
    Reports,
    Error {
        /// librdkafka's; below 0.
        code: c_int,
        text: String,
        fatal: bool,
    },
    Log {
        level: i32,
        facility: String,
        text: String,
    },
    Statistics(String),
    /// The instance wants a token to log in with.
    TokenWanted,
    Other,
}

/// What became of one record.
pub(super) struct Reported {
    pub opaque: usize,
    /// 0: acknowledged.
    pub code: c_int,
}

impl Event {
    /// The event; alive as long as `self`.
    pub fn as_ptr(&self) -> *mut ffi::rd_kafka_event_t {
        self.raw.as_ptr()
    }

    pub fn what(&self) -> What {
        let raw = self.raw.as_ptr();
        // SAFETY (all of the function): the event is alive, each function is called for the kind it is for, and what it
        // returns is copied while the event lives.
        match unsafe { ffi::rd_kafka_event_type(raw) } {
            ffi::RD_KAFKA_EVENT_DR => What::Reports,
            ffi::RD_KAFKA_EVENT_ERROR => unsafe {
                let code = ffi::rd_kafka_event_error(raw);
                let fatal = code == ffi::Named::RD_KAFKA_RESP_ERR__FATAL as c_int
                    || ffi::rd_kafka_event_error_is_fatal(raw) != 0;
                What::Error { code, text: ffi::string(ffi::rd_kafka_event_error_string(raw)), fatal }
            },
            ffi::RD_KAFKA_EVENT_LOG => unsafe {
                let (mut facility, mut text, mut level) = (ptr::null(), ptr::null(), 7);
                ffi::rd_kafka_event_log(raw, &raw mut facility, &raw mut text, &raw mut level);
                What::Log { level, facility: ffi::string(facility), text: ffi::string(text) }
            },
            ffi::RD_KAFKA_EVENT_STATS => What::Statistics(unsafe { ffi::string(ffi::rd_kafka_event_stats(raw)) }),
            ffi::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH => What::TokenWanted,
            _ => What::Other,
        }
    }

    /// The next record of a [`What::Reports`].
    pub fn next_report(&mut self) -> Option<Reported> {
        // SAFETY: the event is alive; a message it returns lives as long as the event.
        unsafe {
            let message = ffi::rd_kafka_event_message_next(self.raw.as_ptr());
            if message.is_null() {
                return None;
            }
            let mut code = ffi::message_code(message);
            if code != 0 && is_neighbour(ffi::rd_kafka_message_produce_errstr(message)) {
                code = ffi::Named::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD as c_int;
            }
            Some(Reported { opaque: (*message)._private as usize, code })
        }
    }
}

/// Whether the text of a refused record is the one of librdkafka's that says: it was another one.
///
/// When a broker names one record of a batch as the guilty one, librdkafka 2.12 gives its neighbours this text, but then
/// overwrites their code with the guilty one's (`rd_kafka_dr_msgq0` forces the batch's code unless several are guilty). The
/// guilty one's own text is the broker's, and is freed before the report is read: it must not be touched, so the detail
/// is lost. The neighbours' is a constant of the program, and the only one there is; so the address alone tells them apart.
fn is_neighbour(text: *const c_char) -> bool {
    !text.is_null() && is_constant(text.addr())
}

/// Whether an address is in a read-only segment of the program or of a library of it.
fn is_constant(address: usize) -> bool {
    struct Search {
        address: usize,
        found: bool,
    }

    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _size: usize, search: *mut c_void) -> c_int {
        // SAFETY: the arguments are those of `dl_iterate_phdr`: a description of a loaded object, with as many headers as
        // it says (a null pointer with none), and our own `Search`.
        unsafe {
            let search = &mut *search.cast::<Search>();
            for index in 0..usize::from((*info).dlpi_phnum) {
                let header = &*(*info).dlpi_phdr.add(index);
                let start = ((*info).dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
                let is_read_only = header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
                search.found |= is_read_only && search.address.wrapping_sub(start) < header.p_memsz as usize;
            }
            c_int::from(search.found)
        }
    }

    let mut search = Search { address, found: false };
    // SAFETY: the callback gets what it expects, and `search` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once.
        unsafe { ffi::rd_kafka_event_destroy(self.raw.as_ptr()) };
    }
}

/// Passes a log line of librdkafka on; `level` is syslog's.
pub(super) fn log(name: &str, level: i32, facility: &str, text: &str) {
    match level {
        // A connection that failed is tried again: no error yet.
        3 if facility == "FAIL" => tracing::warn!(target: "logferry::kafka", output = name, facility, "{text}"),
        ..=3 => tracing::error!(target: "logferry::kafka", output = name, facility, "{text}"),
        4 => tracing::warn!(target: "logferry::kafka", output = name, facility, "{text}"),
        5 | 6 => tracing::info!(target: "logferry::kafka", output = name, facility, "{text}"),
        _ => tracing::debug!(target: "logferry::kafka", output = name, facility, "{text}"),
    }
}

/// Clients that are being ended on threads of their own.
static CLOSING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

struct Closing;

impl Closing {
    fn begin() -> Self {
        *lock(&CLOSING.0) += 1;
        Self
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        *lock(&CLOSING.0) -= 1;
        CLOSING.1.notify_all();
    }
}

/// Ends something on a thread of its own: the caller never waits for brokers. If no thread can be had, here and now.
pub(super) fn close_apart(end: impl FnOnce() + Send + 'static) {
    let closing = Closing::begin();
    let spawned = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || {
        end();
        drop(closing);
    });
    if let Err(error) = spawned {
        // What `end` owned was dropped with it, on this thread.
        tracing::warn!(target: "logferry::kafka", %error, "no thread to close a kafka client on");
    }
}

/// Waits until every dropped producer and reader has ended, up to `timeout`; whether they have. To be called before the
/// process exits: librdkafka's threads must not outlive OpenSSL's exit handlers.
pub fn wait_closed(timeout: Duration) -> bool {
    let (count, ended) = &CLOSING;
    let (count, _) =
        ended.wait_timeout_while(lock(count), timeout, |count| *count > 0).unwrap_or_else(PoisonError::into_inner);
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_told_from_the_heap_and_the_stack() {
        static mut WRITABLE: u64 = 1;
        let on_stack = 0u8;
        let on_heap = Box::new(0u8);
        // A constant of librdkafka, and one of ours.
        // SAFETY: returns a static string.
        let theirs = unsafe { ffi::rd_kafka_err2str(10) };
        assert!(is_neighbour(theirs));
        assert!(is_neighbour(c"ours".as_ptr()));
        assert!(!is_neighbour(ptr::null()));
        assert!(!is_constant((&raw const on_stack).addr()));
        assert!(!is_constant((&raw const *on_heap).addr()));
        assert!(!is_constant((&raw const WRITABLE).addr()));
    }
}
