//! How long a line takes from its append to a consumer, measured line by line under a steady load.
//!
//! It measures and does not judge what arrived: [`super::check`] does that, with a consumer that is not ours.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::{cluster::Cluster, wait, writer::Writer};

/// A line each so often, and so the grain of what is measured.
const PACE: Duration = Duration::from_millis(4);

/// Latencies of lines, from append to consumer.
#[derive(Debug, Default)]
pub struct Latency {
    /// In increasing order.
    sorted: Vec<Duration>,
}

impl Latency {
    /// The latency that 99 of 100 lines did not exceed.
    pub fn p99(&self) -> Duration {
        self.at(0.99)
    }

    /// The latency that this share of the lines did not exceed.
    pub fn at(&self, share: f64) -> Duration {
        let last = self.sorted.len().checked_sub(1).expect("at least one line was measured");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last one")]
        #[expect(clippy::cast_precision_loss, reason = "a test measures thousands, not 2^52")]
        let index = (last as f64 * share).ceil() as usize;
        self.sorted[index.min(last)]
    }

    pub fn count(&self) -> usize {
        self.sorted.len()
    }
}

/// Appends a line every few milliseconds to `writer`, whose lines go to partition 0 of `topic`, while `happening` runs; it is told
/// how many lines the consumer has seen so far. Returns when the consumer has seen them all.
pub fn measured(
    cluster: &Cluster,
    topic: &str,
    writer: &mut Writer,
    happening: impl FnOnce(&dyn Fn() -> u64),
) -> Latency {
    let consumer = cluster.consumer();
    let mut list = TopicPartitionList::new();
    let (_, end) =
        wait::until("the end of the topic", || consumer.fetch_watermarks(topic, 0, Duration::from_secs(5)).ok());
    list.add_partition_offset(topic, 0, Offset::Offset(end)).expect("an offset is valid");
    consumer.assign(&list).expect("the partition is there");
    let (stop, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let (first, appended) = (writer.written, Mutex::new(Vec::<Instant>::new()));
    let arrived = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&consumer, &stop, &seen));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                appended.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                writer.write(1);
                std::thread::park_timeout(PACE);
            }
        });
        // Also when it panics: else the writer would write on for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            happening(&|| seen.load(Ordering::Relaxed));
        }));
        stop.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        reader.join().expect("the consumer does not panic")
    });
    let appended = appended.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut arrived = arrived;
    wait::until("the last lines to be seen", || {
        poll(&consumer, &mut arrived);
        (first..writer.written).all(|number| arrived.contains_key(&number)).then_some(())
    });
    let latency = |(number, appended): (u64, &Instant)| arrived[&number].duration_since(*appended);
    let mut sorted: Vec<Duration> = (first..).zip(&appended).map(latency).collect();
    sorted.sort_unstable();
    Latency { sorted }
}

/// Line number → when it was seen first.
type Arrived = HashMap<u64, Instant>;

fn read(consumer: &BaseConsumer, stop: &AtomicBool, seen: &AtomicU64) -> Arrived {
    let mut arrived = Arrived::new();
    while !stop.load(Ordering::Relaxed) {
        poll(consumer, &mut arrived);
        seen.store(arrived.len() as u64, Ordering::Relaxed);
    }
    arrived
}

/// Takes one record, if one comes soon. Errors are of brokers that are down: the consumer reconnects by itself.
fn poll(consumer: &BaseConsumer, arrived: &mut Arrived) {
    let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else { return };
    let now = Instant::now();
    let value: serde_json::Value = serde_json::from_slice(message.payload().unwrap_or_default()).expect("JSON");
    let line = value["message"].as_str().expect("the line");
    let number = line.split(' ').nth(1).and_then(|number| number.parse().ok()).expect("the line's number");
    arrived.entry(number).or_insert(now);
}
