//! The C functions of librdkafka that the producing and reading paths call, with the types of rdkafka's bindings.
//!
//! Error codes cross as `c_int`: the bindings' enum ends at the codes librdkafka 2.12 names, but librdkafka passes on
//! whatever code a broker sends, and an enum with a value it does not have is undefined behaviour. So the functions that
//! return or take a code are declared here again.

use std::ffi::{CStr, c_char, c_int, c_void};

pub use rdkafka::bindings::{
    RD_KAFKA_EVENT_DR, RD_KAFKA_EVENT_ERROR, RD_KAFKA_EVENT_LOG, RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH,
    RD_KAFKA_EVENT_STATS, RD_KAFKA_OFFSET_BEGINNING, RD_KAFKA_PURGE_F_INFLIGHT, RD_KAFKA_PURGE_F_QUEUE,
    rd_kafka_AclOperation_t, rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
    rd_kafka_AdminOptions_set_include_authorized_operations, rd_kafka_AdminOptions_t, rd_kafka_ConfigEntry_name,
    rd_kafka_ConfigEntry_value, rd_kafka_ConfigResource_configs, rd_kafka_ConfigResource_destroy,
    rd_kafka_ConfigResource_new, rd_kafka_ConfigResource_t, rd_kafka_DescribeConfigs,
    rd_kafka_DescribeConfigs_result_resources, rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics,
    rd_kafka_Node_id, rd_kafka_ResourceType_t, rd_kafka_TopicCollection_destroy,
    rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_authorized_operations,
    rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_name, rd_kafka_TopicDescription_partitions,
    rd_kafka_TopicDescription_t, rd_kafka_TopicPartitionInfo_isr, rd_kafka_TopicPartitionInfo_leader,
    rd_kafka_TopicPartitionInfo_partition, rd_kafka_TopicPartitionInfo_replicas, rd_kafka_admin_op_t,
    rd_kafka_conf_destroy, rd_kafka_conf_dump, rd_kafka_conf_dump_free, rd_kafka_conf_new, rd_kafka_conf_set_events,
    rd_kafka_conf_set_opaque, rd_kafka_conf_set_ssl_cert_verify_cb, rd_kafka_conf_t, rd_kafka_consume_batch_queue,
    rd_kafka_consume_start_queue, rd_kafka_consume_stop, rd_kafka_destroy, rd_kafka_error_destroy, rd_kafka_error_t,
    rd_kafka_event_DescribeConfigs_result, rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy,
    rd_kafka_event_error_string, rd_kafka_event_log, rd_kafka_event_message_next, rd_kafka_event_stats,
    rd_kafka_event_t, rd_kafka_event_type, rd_kafka_headers_destroy, rd_kafka_headers_new, rd_kafka_headers_t,
    rd_kafka_message_destroy, rd_kafka_message_produce_errstr, rd_kafka_message_t, rd_kafka_message_timestamp,
    rd_kafka_metadata_broker, rd_kafka_metadata_destroy, rd_kafka_metadata_t, rd_kafka_metadata_topic,
    rd_kafka_produceva, rd_kafka_queue_destroy, rd_kafka_queue_get_main, rd_kafka_queue_new, rd_kafka_queue_poll,
    rd_kafka_queue_t, rd_kafka_queue_yield, rd_kafka_t, rd_kafka_topic_conf_destroy, rd_kafka_topic_conf_dump,
    rd_kafka_topic_conf_new, rd_kafka_topic_destroy, rd_kafka_topic_new, rd_kafka_topic_t, rd_kafka_type_t,
    rd_kafka_vtype_t, rd_kafka_vu_s__bindgen_ty_1, rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1, rd_kafka_vu_t,
};
pub use rdkafka::types::RDKafkaRespErr as Named;

/// Asked about each certificate of a broker's chain: librdkafka's `ssl_cert_verify_cb`.
pub type Verify = unsafe extern "C" fn(
    rk: *mut rd_kafka_t,
    broker: *const c_char,
    broker_id: i32,
    error: *mut c_int,
    depth: c_int,
    certificate: *const c_char,
    size: usize,
    errstr: *mut c_char,
    errstr_size: usize,
    opaque: *mut c_void,
) -> c_int;

unsafe extern "C" {
    pub fn rd_kafka_AdminOptions_set_request_timeout(
        options: *mut rd_kafka_AdminOptions_t,
        timeout_ms: c_int,
        errstr: *mut c_char,
        errstr_size: usize,
    ) -> c_int;
    pub fn rd_kafka_AdminOptions_set_broker(
        options: *mut rd_kafka_AdminOptions_t,
        broker_id: i32,
        errstr: *mut c_char,
        errstr_size: usize,
    ) -> c_int;
    pub fn rd_kafka_ConfigResource_error(config: *const rd_kafka_ConfigResource_t) -> c_int;
    pub fn rd_kafka_conf_set(
        conf: *mut rd_kafka_conf_t,
        name: *const c_char,
        value: *const c_char,
        errstr: *mut c_char,
        errstr_size: usize,
    ) -> c_int;
    pub fn rd_kafka_new(
        kind: rd_kafka_type_t,
        conf: *mut rd_kafka_conf_t,
        errstr: *mut c_char,
        errstr_size: usize,
    ) -> *mut rd_kafka_t;
    pub fn rd_kafka_set_log_queue(rk: *mut rd_kafka_t, queue: *mut rd_kafka_queue_t) -> c_int;
    pub fn rd_kafka_purge(rk: *mut rd_kafka_t, flags: c_int) -> c_int;
    pub fn rd_kafka_fatal_error(rk: *mut rd_kafka_t, errstr: *mut c_char, errstr_size: usize) -> c_int;
    pub fn rd_kafka_error_code(error: *const rd_kafka_error_t) -> c_int;
    pub fn rd_kafka_event_error(event: *mut rd_kafka_event_t) -> c_int;
    pub fn rd_kafka_event_error_is_fatal(event: *mut rd_kafka_event_t) -> c_int;
    pub fn rd_kafka_last_error() -> c_int;
    pub fn rd_kafka_err2str(code: c_int) -> *const c_char;
    pub fn rd_kafka_err2name(code: c_int) -> *const c_char;
    pub fn rd_kafka_metadata(
        rk: *mut rd_kafka_t,
        all_topics: c_int,
        only: *mut rd_kafka_topic_t,
        metadata: *mut *const rd_kafka_metadata_t,
        timeout_ms: c_int,
    ) -> c_int;
    pub fn rd_kafka_oauthbearer_set_token(
        rk: *mut rd_kafka_t,
        token: *const c_char,
        expires_ms: i64,
        principal: *const c_char,
        extensions: *mut *const c_char,
        extensions_size: usize,
        errstr: *mut c_char,
        errstr_size: usize,
    ) -> c_int;
    pub fn rd_kafka_oauthbearer_set_token_failure(rk: *mut rd_kafka_t, reason: *const c_char) -> c_int;
    pub fn rd_kafka_header_add(
        headers: *mut rd_kafka_headers_t,
        name: *const c_char,
        name_size: isize,
        value: *const c_void,
        value_size: isize,
    ) -> c_int;
    pub fn rd_kafka_header_get_all(
        headers: *const rd_kafka_headers_t,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_void,
        size: *mut usize,
    ) -> c_int;
    pub fn rd_kafka_message_headers(message: *const rd_kafka_message_t, headers: *mut *mut rd_kafka_headers_t)
    -> c_int;
    pub fn rd_kafka_query_watermark_offsets(
        rk: *mut rd_kafka_t,
        topic: *const c_char,
        partition: i32,
        low: *mut i64,
        high: *mut i64,
        timeout_ms: c_int,
    ) -> c_int;
}

/// `rd_kafka_conf_set`'s success.
pub const CONF_OK: c_int = 0;
/// `rd_kafka_conf_set`'s "no such property".
pub const CONF_UNKNOWN: c_int = -2;

/// A copy of a C string; empty for a null pointer.
///
/// # Safety
/// `text` is null or a NUL-terminated string that lives through the call.
pub unsafe fn string(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-terminated by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The code of a message. Not read as the bindings' enum: see the head of this file.
///
/// # Safety
/// `message` is a message of librdkafka that lives through the call.
pub unsafe fn message_code(message: *const rd_kafka_message_t) -> c_int {
    // SAFETY: the field is a C enum, an `int`; the message lives by this function's contract.
    unsafe { (&raw const (*message).err).cast::<c_int>().read() }
}

/// The code of a topic in a metadata answer, likewise.
///
/// # Safety
/// `topic` is part of a metadata answer that lives through the call.
pub unsafe fn topic_code(topic: *const rd_kafka_metadata_topic) -> c_int {
    // SAFETY: as for `message_code`.
    unsafe { (&raw const (*topic).err).cast::<c_int>().read() }
}

/// What a code means, in librdkafka's words: "Broker: Message size too large".
pub fn describe(code: c_int) -> String {
    // SAFETY: returns a static string, or a thread-local one for codes without a text; both outlive the copy.
    unsafe { string(rd_kafka_err2str(code)) }
}

/// The name of a code: `MSG_SIZE_TOO_LARGE`.
pub fn name(code: c_int) -> String {
    // SAFETY: as for `describe`.
    unsafe { string(rd_kafka_err2name(code)) }
}

/// The timeout as librdkafka wants it: whole milliseconds, not rounded to "at once" unless it is.
pub fn timeout_ms(timeout: std::time::Duration) -> c_int {
    let ms = timeout.as_nanos().div_ceil(1_000_000);
    c_int::try_from(ms).unwrap_or(c_int::MAX)
}
