//! The status as metrics: OpenMetrics text, or Prometheus' older text format for who asks for it; and the [`Histogram`] that
//! the pipeline observes durations with.
//!
//! Every series is made from a [`Status`] at the time of the scrape, so nothing is counted twice and nothing can disagree
//! with `/status`. Labels are `input`, `output`, `topic`, `broker`, `state`, `reason`, `version`: all bounded by the config,
//! the cluster, a vocabulary of ours, or [`super::status::TOPICS_LISTED_MAX`]. Deliberately absent: labels for files,
//! partitions and keys, whose number has no bound.

use std::borrow::Cow;
use std::fmt::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::status::{ByReason, HistogramStatus, InputStatus, OutputStatus, Status, TopicStatus, Word};

/// The `Content-Type` of [`openmetrics`].
pub const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The `Content-Type` of [`prometheus`].
pub const PROMETHEUS_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Upper bounds of the buckets of a [`Histogram`], in seconds. What is beyond the last one counts in a bucket of its own.
pub const BOUNDS_SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3_600.0];

/// Durations counted in fixed buckets by any thread, without a lock.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS_SECONDS.len() + 1],
    /// The bits of an `f64`: lines that lay for years before they were read are no reason to wrap.
    sum_seconds: AtomicU64,
}

impl Histogram {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a duration. Negative ones and NaN count as 0.
    pub fn observe(&self, seconds: f64) {
        self.observe_many(seconds, 1);
    }

    /// Counts `records` that took the same time, as those of one batch do.
    pub fn observe_many(&self, seconds: f64, records: u64) {
        let seconds = if seconds > 0.0 { seconds } else { 0.0 };
        let bucket = BOUNDS_SECONDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(records, Ordering::Relaxed);
        let more = |sum| Some((f64::from_bits(sum) + seconds * records as f64).to_bits());
        // It never refuses, so this is no error.
        self.sum_seconds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
    }

    /// The counts so far. Observations made meanwhile are in it or not, each as a whole but for its share of the sum.
    pub fn status(&self) -> HistogramStatus {
        HistogramStatus {
            bounds_seconds: BOUNDS_SECONDS.to_vec(),
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_seconds: f64::from_bits(self.sum_seconds.load(Ordering::Relaxed)),
        }
    }
}

/// The status as OpenMetrics text.
pub fn openmetrics(status: Status) -> String {
    let mut out = String::new();
    text::encode(&mut out, &registry(status)).expect("writing to a string does not fail");
    out
}

/// The status in Prometheus' text format 0.0.4.
pub fn prometheus(status: Status) -> String {
    let mut out = String::new();
    prometheus_text::encode(&mut out, &registry(status)).expect("writing to a string does not fail");
    out
}

fn registry(status: Status) -> Registry {
    let mut registry = Registry::with_prefix("logferry");
    registry.register_collector(Box::new(StatusCollector(status)));
    registry
}

#[derive(Debug)]
struct StatusCollector(Status);

impl Collector for StatusCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut families = Families { encoder };
        families.agent(&self.0)?;
        families.inputs(&self.0.inputs)?;
        families.outputs(&self.0.outputs)?;
        families.topics(&self.0.outputs)
    }
}

type Label<'a> = (&'static str, Cow<'a, str>);

/// A series without labels.
fn alone<V>(value: V) -> Series<'static, V> {
    vec![(Vec::new(), value)]
}

/// Writes one family after the other.
struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

/// The series of a family: labels and value.
type Series<'a, V> = Vec<(Vec<Label<'a>>, V)>;

impl Families<'_> {
    fn agent(&mut self, status: &Status) -> Result<(), Error> {
        let version = [("version", Cow::from(&status.version))];
        let mut build = self.encoder.encode_descriptor("build", "What is running", None, MetricType::Info)?;
        build.encode_info(&version.as_slice())?;
        let memory = &status.memory;
        self.gauge("uptime_seconds", "Time since the start", alone(status.uptime_seconds))?;
        self.counter("cpu_seconds", "CPU time of the process, user and system", alone(status.cpu_seconds_total))?;
        self.gauge("memory_used_bytes", "Payload held: batches, encoded records, in flight", alone(memory.used_bytes))?;
        self.gauge("memory_max_bytes", "The bound of the payload held, memory.max_bytes", alone(memory.max_bytes))?;
        self.gauge("resident_memory_bytes", "Resident memory of the process, all in", alone(memory.rss_bytes))?;
        self.gauge(
            "duplicates_bound_bytes",
            "What a kill -9 now would repeat at most",
            alone(status.duplicates_bound_bytes),
        )?;
        self.gauge(
            "checkpoints_broken",
            "1 while checkpoints can't be saved",
            alone(u64::from(status.checkpoints_trouble.is_some())),
        )?;
        let config = &status.config;
        self.counter(
            "config_reloads",
            "Reloads of the config, by result",
            by_word([], "result", &config.reloads_total),
        )?;
        self.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the config in use was taken in, at the start or by a reload",
            alone(config.last_reload_success_timestamp_seconds),
        )?;
        self.counter(
            "log_lines_suppressed",
            "Lines of the own log that were not written because their cause had been logged often enough",
            alone(status.log_lines_suppressed_total),
        )
    }

    fn inputs(&mut self, inputs: &[InputStatus]) -> Result<(), Error> {
        let each = |value: fn(&InputStatus) -> u64| -> Series<'_, u64> {
            inputs.iter().map(|input| (vec![("input", Cow::from(&input.name))], value(input))).collect()
        };
        self.counter("input_read_bytes", "Raw bytes read", each(|input| input.read_bytes_total))?;
        self.counter("input_read_records", "Records read", each(|input| input.read_records_total))?;
        self.counter("input_acked_bytes", "Raw bytes acknowledged", each(|input| input.acked_bytes_total))?;
        self.counter("input_acked_records", "Records acknowledged", each(|input| input.acked_records_total))?;
        self.gauge("input_lag_bytes", "Bytes there and not acknowledged", each(|input| input.lag_bytes))?;
        self.gauge(
            "input_unlinked_bytes",
            "Those of them that are in deleted files only, and die with the process",
            each(|input| input.unlinked_bytes),
        )?;
        self.gauge(
            "input_oldest_unacked_seconds",
            "Age of the oldest record read and not acknowledged, 0 if there is none",
            inputs
                .iter()
                .map(|input| (vec![("input", Cow::from(&input.name))], input.oldest_unacked_seconds.unwrap_or(0.0)))
                .collect(),
        )?;
        self.gauge("input_files", "Files open", each(|input| input.files_count))?;
        self.gauge("input_waiting", "Sources that wait for a lane or memory", each(|input| input.waiting_count))?;
        self.counter("input_lost_bytes", "Bytes gone before they could be read", each(|input| input.lost_bytes_total))?;
        self.counter(
            "input_truncated_lines",
            "Lines longer than max_line_bytes, cut and shipped",
            each(|input| input.truncated_lines_total),
        )?;
        self.counter(
            "input_malformed_lines",
            "Lines that are not of the input's format, shipped as they are",
            each(|input| input.malformed_lines_total),
        )?;
        self.counter("input_read_errors", "Failed reads and opens", each(|input| input.read_errors_total))?;
        self.counter(
            "input_dropped_records",
            "Records that did not become a Kafka record, by reason",
            inputs.iter().flat_map(|input| by_word([("input", &*input.name)], "reason", &input.dropped)).collect(),
        )?;
        self.counter(
            "input_processor_failures",
            "Events for which a processor failed",
            inputs
                .iter()
                .flat_map(|input| by_word([("input", &*input.name)], "processor", &input.processor_failures))
                .collect(),
        )?;
        self.histograms(
            "input_append_to_ack_seconds",
            "From the append of a record's line (by its file's mtime when it was seen to grow; each batch as its oldest line) to its \
             acknowledgement by all in-sync replicas",
            inputs.iter().map(|input| ("input", &*input.name, &input.append_to_ack_seconds)),
        )
    }

    fn outputs(&mut self, outputs: &[OutputStatus]) -> Result<(), Error> {
        let each = |value: fn(&OutputStatus) -> u64| -> Series<'_, u64> {
            outputs.iter().map(|output| (vec![("output", Cow::from(&output.name))], value(output))).collect()
        };
        self.counter(
            "output_produced_records",
            "Records acknowledged by all in-sync replicas",
            each(|output| output.produced_records_total),
        )?;
        self.counter(
            "output_produced_bytes",
            "Their keys and values, uncompressed",
            each(|output| output.produced_bytes_total),
        )?;
        self.counter("output_retried_records", "Records sent again", each(|output| output.retried_total))?;
        self.counter(
            "output_failed_records",
            "Records that Kafka refused for good, by reason",
            outputs
                .iter()
                .flat_map(|output| by_word([("output", &*output.name)], "reason", &output.failed_total))
                .collect(),
        )?;
        self.gauge("output_in_flight_records", "Records in flight", each(|output| output.in_flight_records))?;
        self.gauge("output_window_used_bytes", "Bytes in flight", each(|output| output.window.used_bytes))?;
        self.gauge(
            "output_window_max_bytes",
            "The bound of the bytes in flight",
            each(|output| output.window.max_bytes),
        )?;
        self.gauge(
            "output_spool_used_bytes",
            "What the spool takes on the disk",
            each(|output| output.spool.used_bytes),
        )?;
        self.gauge("output_spool_max_bytes", "The bound of that", each(|output| output.spool.max_bytes))?;
        self.gauge(
            "output_spool_records",
            "Records in the spool that are not acknowledged",
            each(|output| output.spool.records),
        )?;
        self.gauge("output_spool_frames", "The batches that they are in", each(|output| output.spool.frames))?;
        self.gauge(
            "output_spool_oldest_seconds",
            "The age of the oldest record in the spool, 0 if it is empty",
            outputs
                .iter()
                .map(|output| (vec![("output", Cow::from(&output.name))], output.spool.oldest_seconds.unwrap_or(0.0)))
                .collect(),
        )?;
        self.gauge(
            "output_spool_full",
            "1 while the spool has no room for what should be spooled, so that spool.when_full says what becomes of it, else 0",
            each(|output| u64::from(output.spool.full)),
        )?;
        self.gauge(
            "output_spool_broken",
            "1 while the spool can't be written, or not be read, else 0",
            each(|output| u64::from(output.spool.trouble.is_some())),
        )?;
        self.counter(
            "output_spool_appended_bytes",
            "Bytes written to the spool",
            each(|output| output.spool.appended_bytes_total),
        )?;
        self.counter(
            "output_spool_appended_records",
            "Records written to the spool",
            each(|output| output.spool.appended_records_total),
        )?;
        self.counter(
            "output_spool_damaged_frames",
            "Batches that could not be read back from the spool",
            each(|output| output.spool.damaged_frames_total),
        )?;
        self.counter(
            "output_spool_lost_records",
            "Records that went with files of the spool that somebody removed",
            each(|output| output.spool.lost_records_total),
        )?;
        self.histograms(
            "output_spool_fsync_seconds",
            "How long it took to make groups of records durable in the spool",
            outputs.iter().map(|output| ("output", &*output.name, &output.spool.fsync_seconds)),
        )?;
        self.counter(
            "output_dropped_records",
            "Records given up by a policy of the config, by reason",
            outputs.iter().flat_map(|output| by_word([("output", &*output.name)], "reason", &output.dropped)).collect(),
        )?;
        self.gauge(
            "output_dead_letter_records",
            "Records in the local dead letter",
            each(|output| output.dead_letter.records),
        )?;
        self.gauge(
            "output_dead_letter_used_bytes",
            "What the local dead letter takes on the disk",
            each(|output| output.dead_letter.used_bytes),
        )?;
        self.gauge("output_dead_letter_max_bytes", "The bound of that", each(|output| output.dead_letter.max_bytes))?;
        self.gauge(
            "output_dead_letter_full",
            "1 while a refused record has no room in the local dead letter, so that its partition waits, else 0",
            each(|output| u64::from(output.dead_letter.full)),
        )?;
        self.gauge(
            "output_dead_letter_broken",
            "1 while the local dead letter takes nothing, whatever the reason, else 0",
            each(|output| u64::from(output.dead_letter.trouble.is_some())),
        )?;
        self.counter(
            "output_dead_letter_topic_records",
            "Records that went to the dead letter's topic",
            each(|output| output.dead_letter.topic_records_total),
        )?;
        self.counter("output_rebuilds", "How often the producer was replaced", each(|output| output.rebuilds_total))?;
        self.gauge(
            "output_lanes",
            "Partitions with records, by state of their lane",
            outputs
                .iter()
                .flat_map(|output| by_word([("output", &*output.name)], "state", &output.lanes_count))
                .collect(),
        )?;
        self.gauge(
            "output_broker_up",
            "1 while connected to the broker and authenticated, else 0",
            outputs.iter().flat_map(brokers).collect(),
        )?;
        self.histograms(
            "output_delivery_seconds",
            "From reading a record to its acknowledgement by all in-sync replicas",
            outputs.iter().map(|output| ("output", &*output.name, &output.delivery_seconds)),
        )
    }

    fn topics(&mut self, outputs: &[OutputStatus]) -> Result<(), Error> {
        let each = |value: fn(&TopicStatus) -> u64| -> Series<'_, u64> {
            let topics = outputs.iter().flat_map(|output| output.topics.iter().map(move |topic| (output, topic)));
            topics
                .map(|(output, topic)| {
                    (vec![("output", Cow::from(&output.name)), ("topic", Cow::from(&topic.topic))], value(topic))
                })
                .collect()
        };
        self.counter(
            "topic_produced_records",
            "Records of the topic acknowledged by all in-sync replicas",
            each(|topic| topic.produced_records_total),
        )?;
        self.counter("topic_produced_bytes", "Their keys and values", each(|topic| topic.produced_bytes_total))?;
        self.counter("topic_retried_records", "Records of the topic sent again", each(|topic| topic.retried_total))?;
        let topics = outputs.iter().flat_map(|output| output.topics.iter().map(move |topic| (output, topic)));
        self.counter(
            "topic_failed_records",
            "Records of the topic refused for good, by reason",
            topics
                .flat_map(|(output, topic)| {
                    by_word([("output", &*output.name), ("topic", &*topic.topic)], "reason", &topic.failed_total)
                })
                .collect(),
        )
    }

    /// `name` without `_total`, which the text formats add themselves.
    fn counter<V: Number>(&mut self, name: &str, help: &str, series: Series<'_, V>) -> Result<(), Error> {
        self.family(name, help, MetricType::Counter, &series, |encoder, value| value.encode_counter(encoder))
    }

    fn gauge<V: Number>(&mut self, name: &str, help: &str, series: Series<'_, V>) -> Result<(), Error> {
        self.family(name, help, MetricType::Gauge, &series, |encoder, value| value.encode_gauge(encoder))
    }

    fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        each: impl Iterator<Item = (&'static str, &'a str, &'a HistogramStatus)>,
    ) -> Result<(), Error> {
        let series: Vec<_> = each
            .filter(|(_, _, histogram)| !histogram.counts.is_empty())
            .map(|(label, of, histogram)| (vec![(label, Cow::from(of))], histogram))
            .collect();
        self.family(name, help, MetricType::Histogram, &series, |encoder, histogram| {
            let bounds = histogram.bounds_seconds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(histogram.sum_seconds, histogram.count(), &buckets, None)
        })
    }

    /// A family with its series; nothing at all while it has none.
    fn family<V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: &[(Vec<Label<'_>>, V)],
        encode: impl Fn(&mut MetricEncoder<'_>, &V) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if series.is_empty() {
            return Ok(());
        }
        let (stem, unit) = unit_of(name);
        let mut family = self.encoder.encode_descriptor(stem, help, unit.as_ref(), kind)?;
        for (labels, value) in series {
            if labels.is_empty() {
                encode(&mut family, value)?;
            } else {
                encode(&mut family.encode_family(&labels.as_slice())?, value)?;
            }
        }
        Ok(())
    }
}

/// The name without its unit, and the unit, which the encoder appends and declares.
fn unit_of(name: &str) -> (&str, Option<Unit>) {
    [("_bytes", Unit::Bytes), ("_seconds", Unit::Seconds)]
        .into_iter()
        .find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, Some(unit))))
        .unwrap_or((name, None))
}

/// One series for each word, with the word as the last label.
fn by_word<'a, const N: usize>(
    labels: [(&'static str, &'a str); N],
    word_label: &'static str,
    counts: &'a ByReason,
) -> Series<'a, u64> {
    let series = |(word, count): (&'a Word, &u64)| {
        let labels = labels.iter().map(|(label, value)| (*label, Cow::from(*value)));
        (labels.chain([(word_label, Cow::from(&**word))]).collect(), *count)
    };
    counts.iter().map(series).collect()
}

/// One series for each broker of an output. A client may know a broker by two names; the same name twice would make the
/// scrape invalid, so the first wins.
fn brokers(output: &OutputStatus) -> Series<'_, u64> {
    let mut series: Series<'_, u64> = Vec::with_capacity(output.brokers.len());
    for broker in &output.brokers {
        if !series.iter().any(|(labels, _)| labels[1].1 == broker.name.as_str()) {
            let labels = vec![("output", Cow::from(&output.name)), ("broker", Cow::from(&broker.name))];
            series.push((labels, u64::from(broker.is_up())));
        }
    }
    series
}

/// What a series may have as its value.
trait Number {
    fn encode_counter(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), Error>;
    fn encode_gauge(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), Error>;
}

impl Number for u64 {
    fn encode_counter(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_counter::<NoLabelSet, _, f64>(self, None)
    }

    fn encode_gauge(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_gauge(self)
    }
}

impl Number for f64 {
    fn encode_counter(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_counter::<NoLabelSet, _, f64>(self, None)
    }

    fn encode_gauge(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_gauge(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use super::super::status::{
        BrokerStatus, ConfigStatus, DeadLetterStatus, FileStatus, LaneStatus, MemoryStatus, SpoolStatus, WindowStatus,
    };
    use super::*;

    /// A status in which every field says something, hostile names included.
    pub(crate) fn full_status() -> Status {
        let mut input = InputStatus {
            name: "nginx".into(),
            kind: "file".into(),
            read_bytes_total: 1_000,
            read_records_total: 10,
            acked_bytes_total: 900,
            acked_records_total: 9,
            append_to_ack_seconds: {
                let histogram = Histogram::new();
                histogram.observe_many(2.0, 9);
                histogram.status()
            },
            dropped: [("exclude_lines".into(), 4)].into(),
            processor_failures: [("grok".into(), 7)].into(),
            truncated_lines_total: 1,
            read_errors_total: 2,
            last_error: Some("cannot read /var/log/a.log: permission denied".into()),
            ..Default::default()
        };
        input.set_files(vec![FileStatus {
            path: "/var/log/<b>\"\n.log".into(),
            id: "0f".into(),
            read_bytes: 1_000,
            acked_bytes: 900,
            size_bytes: 1_100,
            lag_bytes: 200,
            unlinked: true,
            oldest_unacked_seconds: Some(1.5),
            state: "waiting".into(),
            waiting_for: Some("main/logs.gone/3".into()),
        }]);
        let histogram = Histogram::new();
        histogram.observe_many(0.02, 9);
        let mut output = OutputStatus {
            name: "main".into(),
            kind: "kafka".into(),
            window: WindowStatus { used_bytes: 10, max_bytes: 100 },
            dropped: [("drop_oldest".into(), 5)].into(),
            dead_letter: DeadLetterStatus {
                records: 2,
                used_bytes: 300,
                max_bytes: 400,
                full: true,
                trouble: Some("dead letter /d/main.jsonl is full".into()),
                topic: Some("logs.dead".into()),
                topic_records_total: 3,
            },
            spool: SpoolStatus {
                used_bytes: 300,
                max_bytes: 1_000,
                records: 7,
                oldest_seconds: Some(2.5),
                full: true,
                waiting_sources: 2,
                fsync_seconds: HistogramStatus { bounds_seconds: vec![0.01], counts: vec![1, 0], sum_seconds: 0.005 },
                trouble: Some("the spool s can't be written: the disk is full; it is tried again".into()),
                ..SpoolStatus::default()
            },
            brokers: vec![
                BrokerStatus { name: "k-0:9092/0".into(), state: "UP".into(), last_error: None },
                BrokerStatus { name: "k-0:9092/0".into(), state: "DOWN".into(), last_error: None },
                BrokerStatus { name: "k-1:9092/1".into(), state: "DOWN".into(), last_error: Some("refused".into()) },
            ],
            rebuilds_total: 1,
            delivery_seconds: histogram.status(),
            ..Default::default()
        };
        output.set_lanes(vec![LaneStatus {
            spooled_frames: 0,
            topic: "logs.gone".into(),
            partition: Some(3),
            state: "probing".into(),
            in_flight_records: 1,
            in_flight_bytes: 10,
            waiting_sources: 1,
            cause: Some("the topic does not exist".into()),
            fix: Some("create logs.gone".into()),
        }]);
        output.set_topics([TopicStatus {
            topic: "logs.\\raw\"\n".into(),
            produced_records_total: 9,
            produced_bytes_total: 2_000,
            failed_total: [("too_large".into(), 2)].into(),
            retried_total: 3,
        }]);
        let mut status = Status {
            version: "0.1.0".into(),
            pid: 7,
            host: "node-1".into(),
            uptime_seconds: 12.5,
            state: "running".into(),
            inputs: vec![input],
            outputs: vec![output],
            memory: MemoryStatus { used_bytes: 5, max_bytes: 50, rss_bytes: 500 },
            cpu_seconds_total: 0.25,
            duplicates_bound_bytes: 77,
            checkpoints_trouble: Some("checkpoint store x: no space".into()),
            config: ConfigStatus {
                reloads_total: [("failed".into(), 1), ("ok".into(), 2)].into(),
                last_reload_success_timestamp_seconds: 1.5e9,
                last_reload_failure_timestamp_seconds: Some(1.5e9),
                last_error: Some("restart to change data_dir".into()),
            },
            ..Default::default()
        };
        status.sum_drops();
        status
    }

    #[test]
    fn durations_count_in_the_bucket_whose_bound_they_do_not_pass() {
        let histogram = Histogram::new();
        for seconds in [0.001, 0.0011, 1e9, -1.0, f64::NAN] {
            histogram.observe(seconds);
        }
        let status = histogram.status();
        assert_eq!(status.counts[0], 3, "0.001 itself, and what is no duration");
        assert_eq!(status.counts[1], 1);
        assert_eq!(*status.counts.last().expect("buckets"), 1);
        assert_eq!(status.count(), 5);
    }

    #[test]
    fn every_number_of_the_status_is_a_series() {
        let text = openmetrics(full_status());
        for line in [
            "logferry_build_info{version=\"0.1.0\"} 1",
            "# TYPE logferry_input_read_bytes counter",
            "# UNIT logferry_input_read_bytes bytes",
            "logferry_input_read_bytes_total{input=\"nginx\"} 1000",
            "logferry_input_lag_bytes{input=\"nginx\"} 200",
            "logferry_input_unlinked_bytes{input=\"nginx\"} 200",
            "logferry_input_oldest_unacked_seconds{input=\"nginx\"} 1.5",
            "logferry_input_dropped_records_total{input=\"nginx\",reason=\"exclude_lines\"} 4",
            "logferry_input_processor_failures_total{input=\"nginx\",processor=\"grok\"} 7",
            "logferry_input_append_to_ack_seconds_bucket{le=\"1.0\",input=\"nginx\"} 0",
            "logferry_input_append_to_ack_seconds_bucket{le=\"2.5\",input=\"nginx\"} 9",
            "logferry_output_produced_records_total{output=\"main\"} 9",
            "logferry_output_failed_records_total{output=\"main\",reason=\"too_large\"} 2",
            "logferry_topic_produced_records_total{output=\"main\",topic=\"logs.\\\\raw\\\"\\n\"} 9",
            "logferry_topic_failed_records_total{output=\"main\",topic=\"logs.\\\\raw\\\"\\n\",reason=\"too_large\"} 2",
            "logferry_output_broker_up{output=\"main\",broker=\"k-0:9092/0\"} 1",
            "logferry_output_broker_up{output=\"main\",broker=\"k-1:9092/1\"} 0",
            "logferry_output_lanes{output=\"main\",state=\"probing\"} 1",
            "logferry_output_delivery_seconds_bucket{le=\"0.01\",output=\"main\"} 0",
            "logferry_output_delivery_seconds_bucket{le=\"0.025\",output=\"main\"} 9",
            "logferry_output_delivery_seconds_bucket{le=\"+Inf\",output=\"main\"} 9",
            "logferry_output_delivery_seconds_count{output=\"main\"} 9",
            "logferry_output_spool_oldest_seconds{output=\"main\"} 2.5",
            "logferry_output_spool_full{output=\"main\"} 1",
            "logferry_output_spool_broken{output=\"main\"} 1",
            "logferry_output_dropped_records_total{output=\"main\",reason=\"drop_oldest\"} 5",
            "logferry_duplicates_bound_bytes 77",
            "logferry_checkpoints_broken 1",
            "logferry_cpu_seconds_total 0.25",
            "logferry_config_reloads_total{result=\"failed\"} 1",
            "logferry_config_last_reload_success_timestamp_seconds 1500000000.0",
        ] {
            let found = text.lines().any(|text_line| text_line == line);
            assert!(found, "{line} is not in\n{text}");
        }
    }

    #[test]
    fn both_texts_are_well_formed() {
        for status in [full_status(), Status::default()] {
            let text = openmetrics(status.clone());
            assert!(text.ends_with("# EOF\n"));
            check_exposition(&text, true);
            let text = prometheus(status);
            assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
            check_exposition(&text, false);
        }
    }

    #[test]
    fn the_docs_list_every_metric_and_no_other() {
        let text = prometheus(full_status());
        let known: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let docs = include_str!("../../docs/operating.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `logferry_"));
        let listed: BTreeSet<String> =
            rows.filter_map(|row| Some(format!("logferry_{}", row.split_once('`')?.0))).collect();
        assert_eq!(listed.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
    }

    /// The rules of both formats that a scraper rejects a whole scrape for: each family declared once and in one piece, each
    /// sample of the family declared before it and with a suffix that its type has, no series twice.
    fn check_exposition(text: &str, open: bool) {
        let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
        let (mut family, mut kind) = (String::new(), String::new());
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, declared_kind) = declared.split_once(' ').expect("a type has a name and a kind");
                assert!(families.insert(name.to_owned()), "{name} is declared twice");
                (family, kind) = (name.to_owned(), declared_kind.to_owned());
            } else if let Some(unit) = line.strip_prefix("# UNIT ") {
                let (name, unit) = unit.split_once(' ').expect("a unit has a name");
                assert!(open && name == family && name.ends_with(unit), "{line}");
            } else if !line.starts_with("# HELP ") {
                let name = line.split(['{', ' ']).next().expect("split gives one");
                let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{name} is not of family {family}"));
                let legal: &[&str] = match kind.as_str() {
                    "counter" if open => &["_total"],
                    "info" => &["_info"],
                    "histogram" => &["_bucket", "_count", "_sum"],
                    _ => &[""],
                };
                assert!(legal.contains(&suffix), "{line} has no suffix of a {kind}");
                let (labelled, value) = line.rsplit_once(' ').expect("a sample has a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(series.insert(labelled.to_owned()), "{labelled} is there twice");
            }
        }
        assert!(families.len() > 5);
    }
}
