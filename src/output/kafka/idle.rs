//! Lets a broker thread of librdkafka sleep where it would spin.
//!
//! An idempotent producer of librdkafka 2.12 sends a partition's next batch only when the one before was acknowledged (what is
//! in flight is compared with 5, but records are counted, not requests: `rd_kafka_toppar_producer_serve`). Once the records
//! that wait are older than `linger`, the thread is to wake at a time that has passed: it looks at its socket without waiting,
//! finds nothing to do, and begins anew, 100,000 times a second and more, until the acknowledgement comes. That is a whole
//! core while brokers take longer to answer than `linger`, as they do under load.
//!
//! ```text
//!  broker thread ─► rd_kafka_broker_ops_io_serve ─► [here] ─► rd_kafka_transport_io_serve ─► poll(socket, wake-up pipe)
//! ```
//!
//! So the second look in vain in a row may take a millisecond. An answer, room to write and a wake-up end it at once; what a
//! time of its own was set for (another partition's `linger`) comes up to a millisecond later.
//!
//! The linker does it (`--wrap`, see `build.rs`), for librdkafka has no setting for it and no callback there. Should the
//! function go in a later version, linking fails; should it change, a test asks for this to be read again. Not here: anything
//! that librdkafka can be told to do (see `conf`).

use std::cell::Cell;
use std::ffi::{c_int, c_void};

thread_local! {
    /// This thread's last look was to take no time, and there was nothing.
    static IN_VAIN: Cell<bool> = const { Cell::new(false) };
}

unsafe extern "C" {
    /// Waits for the socket and the wake-up pipe of a connection, at most `timeout_ms`, and serves what has come: 1. Else 0.
    fn __real_rd_kafka_transport_io_serve(transport: *mut c_void, queue: *mut c_void, timeout_ms: c_int) -> c_int;
}

/// Stands in for librdkafka's function of that name.
///
/// # Safety
/// As that one: called by a broker thread with its own connection and queue.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_rd_kafka_transport_io_serve(
    transport: *mut c_void,
    queue: *mut c_void,
    timeout_ms: c_int,
) -> c_int {
    let patience_ms = if timeout_ms == 0 && IN_VAIN.get() { 1 } else { timeout_ms };
    // SAFETY: the arguments are the caller's; a longer time is one it could have asked for.
    let served = unsafe { __real_rd_kafka_transport_io_serve(transport, queue, patience_ms) };
    IN_VAIN.set(timeout_ms == 0 && served == 0);
    served
}
