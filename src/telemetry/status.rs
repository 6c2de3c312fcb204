//! The state of a running agent as plain data: what `/status` answers and `logferry status` prints (P).
//!
//! The names are a contract: fields are added, never renamed or removed. Units are last in names; what ends in `_total` only
//! grows within one run of the agent, the rest goes up and down. Every field has a default, so a status of another version
//! can be read: what is missing is zero, what is new is ignored.
//!
//! Lists are bounded ([`FILES_LISTED_MAX`], [`LANES_LISTED_MAX`], [`TOPICS_LISTED_MAX`]) while totals and counts run over
//! everything. Not here: payload, the config, secrets.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Files listed per input: those with most lag.
pub const FILES_LISTED_MAX: usize = 1_000;

/// Lanes listed per output: those in trouble first, then those with most waiting and in flight.
pub const LANES_LISTED_MAX: usize = 1_000;

/// Topics counted by name per output: the first ones produced to. The rest is counted together under [`TOPICS_OTHER`].
pub const TOPICS_LISTED_MAX: usize = 1_000;

/// The name of all topics beyond [`TOPICS_LISTED_MAX`]. Not a legal topic name, so it meets none.
pub const TOPICS_OTHER: &str = "(other)";

/// A word of a fixed vocabulary, a state or a reason. Not an enum, so that an older `logferry status` shows a newer word.
pub type Word = Cow<'static, str>;

/// Counts by reason.
pub type ByReason = BTreeMap<Word, u64>;

/// Who knows the state of the agent: the pipeline. Asked from the admin thread, at any time, also while stopping.
pub trait StatusSource: Send + Sync {
    /// The state now. May take locks of the pipeline for as long as copying counters needs.
    fn status(&self) -> Status;

    /// Whether the process works.
    ///
    /// # Errors
    /// What is broken beyond repair, in one sentence: whoever supervises the agent may restart it. A Kafka that is away is
    /// not an error here.
    fn healthy(&self) -> Result<(), String>;

    /// Whether the agent does its job: all inputs are open.
    ///
    /// # Errors
    /// The reasons why not, one a line.
    fn ready(&self) -> Result<(), String>;
}

/// The state of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Logferry's version.
    pub version: String,
    pub pid: u32,
    /// The name of the host, as in `host.name` of the records.
    pub host: String,
    pub uptime_seconds: f64,
    /// `starting`, `running`, `stopping`.
    pub state: Word,
    /// By name of the config, in its order.
    pub inputs: Vec<InputStatus>,
    /// By name of the config, in its order.
    pub outputs: Vec<OutputStatus>,
    pub memory: MemoryStatus,
    pub config: ConfigStatus,
    pub cpu_seconds_total: f64,
    /// A `kill -9` now would repeat at most so many bytes of payload: what is read and not yet in a saved checkpoint.
    pub duplicates_bound_bytes: u64,
    /// Why checkpoints can't be saved, while they can't: that is why the bound grows.
    pub checkpoints_trouble: Option<String>,
    /// Records given up by all inputs and outputs, by reason: the sum of their `dropped` and `failed_total`.
    pub drops: ByReason,
    /// Lines of the agent's own log that were not written because their cause had been logged often enough.
    pub log_lines_suppressed_total: u64,
}

impl Status {
    /// Sums up [`Status::drops`] from the inputs and outputs. To be called last by whoever fills a status.
    pub fn sum_drops(&mut self) {
        let mut drops = ByReason::new();
        let dropped = self.inputs.iter().map(|input| &input.dropped);
        let failed = self.outputs.iter().flat_map(|output| [&output.failed_total, &output.dropped]);
        for (reason, count) in dropped.chain(failed).flatten() {
            *drops.entry(reason.clone()).or_default() += count;
        }
        drops.retain(|_, count| *count > 0);
        self.drops = drops;
    }
}

/// One input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputStatus {
    pub name: String,
    /// The `type` of the config: `file`, `stdin`.
    #[serde(rename = "type")]
    pub kind: Word,
    /// The [`FILES_LISTED_MAX`] files with most lag. Empty for an input without files.
    pub files: Vec<FileStatus>,
    /// Sources open now, those not listed included.
    pub files_count: u64,
    /// Sources that wait for a lane, or for memory.
    pub waiting_count: u64,
    /// Raw bytes read, those read again after a hold not counted twice.
    pub read_bytes_total: u64,
    pub read_records_total: u64,
    /// Raw bytes settled: acknowledged by all in-sync replicas, or given up and counted.
    pub acked_bytes_total: u64,
    pub acked_records_total: u64,
    /// From the append of a record's line (where there is no file: from its reading) to its acknowledgement by all in-sync
    /// replicas.
    pub append_to_ack_seconds: HistogramStatus,
    /// Bytes that are in the files and not acknowledged, all files together.
    pub lag_bytes: u64,
    /// The part of it that is in deleted files only: it dies with the process.
    pub unlinked_bytes: u64,
    /// The age of the oldest record read and not acknowledged.
    pub oldest_unacked_seconds: Option<f64>,
    /// Records that did not become a Kafka record, by reason (`line_filter`, `drop_event`, `processor_failed`: by
    /// `on_failure: drop`, `no_output`: the `when` of no output holds).
    pub dropped: ByReason,
    /// Events for which a processor failed, by the processor's name.
    pub processor_failures: ByReason,
    /// Bytes that are gone before they could be read (a file truncated or deleted while unread).
    pub lost_bytes_total: u64,
    /// Lines longer than `max_line_bytes`: cut, marked and shipped.
    pub truncated_lines_total: u64,
    /// Lines that are not of the input's `format`: shipped as they are, tagged.
    pub malformed_lines_total: u64,
    /// Failed reads and opens; each is tried again.
    pub read_errors_total: u64,
    /// The last error of it, naming the file.
    pub last_error: Option<String>,
}

impl InputStatus {
    /// Sets the list of files, bounded to those with most lag, and the counts and sums over all of them.
    pub fn set_files(&mut self, mut files: Vec<FileStatus>) {
        self.files_count = files.len() as u64;
        self.lag_bytes = files.iter().map(|file| file.lag_bytes).sum();
        self.unlinked_bytes = files.iter().filter(|file| file.unlinked).map(|file| file.lag_bytes).sum();
        self.oldest_unacked_seconds = files.iter().filter_map(|file| file.oldest_unacked_seconds).reduce(f64::max);
        keep_first(&mut files, FILES_LISTED_MAX, |file| Reverse(file.lag_bytes));
        self.files = files;
    }
}

/// One file (or the standard input) that is being read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileStatus {
    pub path: String,
    /// `log.file.id`: stays when the file is renamed.
    pub id: String,
    /// How far it is read, as an offset.
    pub read_bytes: u64,
    /// How far it is acknowledged without a gap: where a restart resumes.
    pub acked_bytes: u64,
    pub size_bytes: u64,
    /// `size_bytes - acked_bytes`.
    pub lag_bytes: u64,
    /// It was deleted, and is held open until all of it is acknowledged.
    pub unlinked: bool,
    pub oldest_unacked_seconds: Option<f64>,
    /// `reading`, `idle` (all is read), `waiting` (for [`FileStatus::waiting_for`]), `draining` (renamed away or unlinked,
    /// kept open until all is acknowledged), `failing` (read errors, tried again).
    pub state: Word,
    /// The lane that it waits for, as `OUTPUT/TOPIC/PARTITION`, or `memory`.
    pub waiting_for: Option<String>,
}

/// One output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputStatus {
    pub name: String,
    /// The `type` of the config: `kafka`, `file`.
    #[serde(rename = "type")]
    pub kind: Word,
    /// It may hold inputs back; `required` of the config.
    pub required: bool,
    /// At most [`LANES_LISTED_MAX`] of the lanes that have records.
    pub lanes: Vec<LaneStatus>,
    /// All lanes that have records, by state.
    pub lanes_count: BTreeMap<Word, u64>,
    /// In the order of their first record, at most [`TOPICS_LISTED_MAX`] and [`TOPICS_OTHER`].
    pub topics: Vec<TopicStatus>,
    /// Records acknowledged by all in-sync replicas.
    pub produced_records_total: u64,
    /// Their keys and values, uncompressed.
    pub produced_bytes_total: u64,
    /// Records that Kafka refused for good, by reason (`too_large`, `invalid`, `invalid_timestamp`); the dead letter has them.
    pub failed_total: ByReason,
    /// Records handed to the producer again.
    pub retried_total: u64,
    /// Records handed to the producer and not reported.
    pub in_flight_records: u64,
    pub window: WindowStatus,
    /// What is on the disk behind it.
    pub spool: SpoolStatus,
    /// Where the records are that were refused for good.
    pub dead_letter: DeadLetterStatus,
    /// Records given up because the config wants that, by reason: the spool was full (`drop_oldest`, `drop_newest`), or the output
    /// is not required and could not take them (`lane_blocked`, `topic_blocked`, `window_full`, `spool_full`).
    pub dropped: ByReason,
    pub brokers: Vec<BrokerStatus>,
    /// How often the producer was replaced by a new one.
    pub rebuilds_total: u64,
    /// From reading a record to its acknowledgement by all in-sync replicas.
    pub delivery_seconds: HistogramStatus,
    /// The last fault, naming its topic.
    pub last_error: Option<String>,
}

impl OutputStatus {
    /// Sets the list of lanes, bounded to those that matter most, and the counts over all of them.
    pub fn set_lanes(&mut self, mut lanes: Vec<LaneStatus>) {
        self.lanes_count.clear();
        for lane in &lanes {
            *self.lanes_count.entry(lane.state.clone()).or_default() += 1;
        }
        self.in_flight_records = lanes.iter().map(|lane| lane.in_flight_records).sum();
        keep_first(&mut lanes, LANES_LISTED_MAX, |lane| {
            (lane.cause.is_none(), Reverse(lane.waiting_sources), Reverse(lane.in_flight_bytes))
        });
        self.lanes = lanes;
    }

    /// Sets the topics, in the order of their first record, and the output's totals over all of them. What is beyond
    /// [`TOPICS_LISTED_MAX`] is summed up, so that no counter ever goes back.
    pub fn set_topics(&mut self, topics: impl IntoIterator<Item = TopicStatus>) {
        let (mut listed, mut other) = (Vec::new(), TopicStatus { topic: TOPICS_OTHER.into(), ..Default::default() });
        let mut total = TopicStatus::default();
        for topic in topics {
            total.add(&topic);
            if listed.len() < TOPICS_LISTED_MAX { listed.push(topic) } else { other.add(&topic) }
        }
        if other != (TopicStatus { topic: TOPICS_OTHER.into(), ..Default::default() }) {
            listed.push(other);
        }
        self.topics = listed;
        self.produced_records_total = total.produced_records_total;
        self.produced_bytes_total = total.produced_bytes_total;
        self.retried_total = total.retried_total;
        self.failed_total = total.failed_total;
    }
}

/// One lane: a partition of a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneStatus {
    pub topic: String,
    /// `None`: the topic's partition count is not known yet.
    pub partition: Option<i32>,
    /// `direct` (flows), `stalled` (no report for a while), `logged` (what is in the spool goes first), `draining` (nothing is sent until nothing is in flight),
    /// `probing` (a fault of the topic: one record in flight), `split` (a refused batch is resent in halves), `unknown` (the
    /// partition count is asked for).
    pub state: Word,
    pub in_flight_records: u64,
    pub in_flight_bytes: u64,
    /// Batches of it that are in the spool and not in flight.
    pub spooled_frames: u64,
    /// Sources parked until it has room.
    pub waiting_sources: u64,
    /// Why it is not `direct`.
    pub cause: Option<String>,
    /// What somebody can do about it.
    pub fix: Option<String>,
}

/// One topic of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicStatus {
    pub topic: String,
    pub produced_records_total: u64,
    pub produced_bytes_total: u64,
    pub failed_total: ByReason,
    pub retried_total: u64,
}

impl TopicStatus {
    fn add(&mut self, more: &TopicStatus) {
        self.produced_records_total += more.produced_records_total;
        self.produced_bytes_total += more.produced_bytes_total;
        self.retried_total += more.retried_total;
        for (reason, count) in &more.failed_total {
            *self.failed_total.entry(reason.clone()).or_default() += count;
        }
    }
}

/// The bytes in flight of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowStatus {
    pub used_bytes: u64,
    pub max_bytes: u64,
}

/// The spool of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpoolStatus {
    /// What its files take.
    pub used_bytes: u64,
    /// `spool.max_bytes`.
    pub max_bytes: u64,
    /// Records that are not acknowledged, the batches that they are in, and their bytes on the disk.
    pub records: u64,
    pub frames: u64,
    pub live_bytes: u64,
    /// The age of the oldest of them.
    pub oldest_seconds: Option<f64>,
    /// Written since the start.
    pub appended_bytes_total: u64,
    pub appended_records_total: u64,
    /// How long it took to make groups of records durable (fsync).
    pub fsync_seconds: HistogramStatus,
    /// Batches that could not be read back because the disk gave other bytes than were written.
    pub damaged_frames_total: u64,
    /// Records that went with files that somebody removed while the agent ran.
    pub lost_records_total: u64,
    /// It has no room for what should be spooled: `when_full` says what becomes of that.
    pub full: bool,
    /// Sources that wait for it to take more.
    pub waiting_sources: u64,
    /// Why nothing can be written to it now, or nothing be read from it.
    pub trouble: Option<String>,
}

/// The dead letter of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadLetterStatus {
    /// Records in the local file, what they take, and `dead_letter.max_bytes`.
    pub records: u64,
    pub used_bytes: u64,
    pub max_bytes: u64,
    /// It has no room for a record: the partition that the record is of waits.
    pub full: bool,
    /// Why it took nothing when it was last asked, whatever the reason.
    pub trouble: Option<String>,
    /// The topic, if it is one.
    pub topic: Option<String>,
    /// Records that went to the topic since the start.
    pub topic_records_total: u64,
}

/// A broker, as the client sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatus {
    /// `HOST:PORT/ID`.
    pub name: String,
    /// `UP`, `DOWN`, `CONNECT`, `AUTH_REQ`, … (librdkafka's words).
    pub state: String,
    pub last_error: Option<String>,
}

impl BrokerStatus {
    /// Connected and authenticated.
    pub fn is_up(&self) -> bool {
        self.state == "UP"
    }
}

/// The config that it runs with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigStatus {
    /// Reloads since the start by their result, `ok` or `failed`: at SIGHUP, or because a file that the config names has
    /// changed.
    pub reloads_total: ByReason,
    /// When the config that it runs with was taken in (at the start, or by a reload); seconds since the epoch.
    pub last_reload_success_timestamp_seconds: f64,
    /// When the last reload failed, if one did.
    pub last_reload_failure_timestamp_seconds: Option<f64>,
    /// Why the last reload failed; nothing once one succeeds.
    pub last_error: Option<String>,
}

impl ConfigStatus {
    /// That of an agent that starts at `now_seconds` since the epoch.
    pub fn loaded_at(now_seconds: f64) -> Self {
        Self {
            reloads_total: [("ok".into(), 0), ("failed".into(), 0)].into(),
            last_reload_success_timestamp_seconds: now_seconds,
            ..Self::default()
        }
    }

    /// Counts a reload at `now_seconds` since the epoch; `error`: why it failed.
    pub fn reloaded(&mut self, error: Option<String>, now_seconds: f64) {
        let result = if error.is_none() { "ok" } else { "failed" };
        *self.reloads_total.entry(result.into()).or_default() += 1;
        match &error {
            None => self.last_reload_success_timestamp_seconds = now_seconds,
            Some(_) => self.last_reload_failure_timestamp_seconds = Some(now_seconds),
        }
        self.last_error = error;
    }
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStatus {
    /// Payload: batches, encoded records, records in flight.
    pub used_bytes: u64,
    /// `memory.max_bytes`.
    pub max_bytes: u64,
    /// What the system counts for the process, fixed costs included.
    pub rss_bytes: u64,
}

/// Durations counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistogramStatus {
    /// The upper bounds of the buckets, ascending, inclusive; the last bucket has none.
    pub bounds_seconds: Vec<f64>,
    /// Durations in each bucket, not cumulative; one more than bounds, or empty.
    pub counts: Vec<u64>,
    pub sum_seconds: f64,
}

impl HistogramStatus {
    /// How many durations were observed.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that a share of `quantile` (0 to 1) does not exceed, interpolated within its bucket as Prometheus does.
    /// `None` if there are none; the last bound for what is beyond it.
    pub fn quantile_seconds(&self, quantile: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * count as f64;
        let mut below = 0;
        for (index, in_bucket) in self.counts.iter().copied().enumerate() {
            if in_bucket > 0 && (below + in_bucket) as f64 >= rank {
                let Some(upper) = self.bounds_seconds.get(index).copied() else { break };
                let lower = index.checked_sub(1).map_or(0.0, |before| self.bounds_seconds[before]);
                return Some(lower + (upper - lower) * ((rank - below as f64) / in_bucket as f64).max(0.0));
            }
            below += in_bucket;
        }
        self.bounds_seconds.last().copied()
    }
}

/// Sorts by `rank` and keeps the first `max`, without sorting what is thrown away.
fn keep_first<T, K: Ord>(items: &mut Vec<T>, max: usize, rank: impl Fn(&T) -> K) {
    if items.len() > max {
        items.select_nth_unstable_by_key(max, &rank);
        items.truncate(max);
    }
    items.sort_by_key(&rank);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: the page about `/status` names every field that there is.
    #[test]
    fn every_field_is_in_the_docs() {
        fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(map) => map.iter().for_each(|(key, below)| {
                    found.push(key.clone());
                    keys(below, found);
                }),
                serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
                _ => {}
            }
        }
        let output = OutputStatus {
            lanes: vec![LaneStatus::default()],
            topics: vec![TopicStatus::default()],
            brokers: vec![BrokerStatus::default()],
            ..OutputStatus::default()
        };
        let input = InputStatus { files: vec![FileStatus::default()], ..InputStatus::default() };
        let status = Status { inputs: vec![input], outputs: vec![output], ..Status::default() };
        let mut found = Vec::new();
        keys(&serde_json::to_value(status).expect("JSON"), &mut found);
        let page = include_str!("../../docs/status.md");
        found.retain(|key| !page.contains(&format!("`{key}`")));
        assert!(found.is_empty(), "docs/status.md lacks {found:?}");
    }

    fn file(path: &str, lag_bytes: u64, oldest_unacked_seconds: Option<f64>) -> FileStatus {
        FileStatus { path: path.into(), lag_bytes, oldest_unacked_seconds, ..Default::default() }
    }

    #[test]
    fn lists_the_laggiest_files_and_sums_over_all() {
        let mut input = InputStatus::default();
        let many = (0..FILES_LISTED_MAX as u64 + 500).map(|n| file(&format!("/{n}"), n, Some(n as f64))).collect();
        input.set_files(many);
        assert_eq!(input.files.len(), FILES_LISTED_MAX);
        assert_eq!(input.files_count, 1_500);
        assert_eq!(input.files[0].lag_bytes, 1_499);
        assert_eq!(input.files.last().expect("full").lag_bytes, 500);
        assert_eq!(input.lag_bytes, 1_499 * 1_500 / 2);
        assert_eq!(input.oldest_unacked_seconds, Some(1_499.0));
        input.set_files(Vec::new());
        assert_eq!(input.oldest_unacked_seconds, None);
    }

    #[test]
    fn lanes_in_trouble_come_first_and_all_are_counted() {
        let lane = |topic: &str, state: &'static str, cause: Option<&str>, in_flight_bytes| LaneStatus {
            topic: topic.into(),
            state: state.into(),
            cause: cause.map(Into::into),
            in_flight_bytes,
            in_flight_records: 1,
            ..Default::default()
        };
        let mut output = OutputStatus::default();
        output.set_lanes(vec![
            lane("busy", "direct", None, 900),
            lane("quiet", "direct", None, 1),
            lane("gone", "probing", Some("unknown topic"), 0),
        ]);
        let order: Vec<&str> = output.lanes.iter().map(|lane| lane.topic.as_str()).collect();
        assert_eq!(order, ["gone", "busy", "quiet"]);
        assert_eq!(output.lanes_count["direct"], 2);
        assert_eq!(output.in_flight_records, 3);
    }

    #[test]
    fn topics_beyond_the_bound_are_summed_up() {
        let topic = |n: usize| TopicStatus {
            topic: format!("t{n}"),
            produced_records_total: 2,
            failed_total: [("too_large".into(), 1)].into(),
            ..Default::default()
        };
        let mut output = OutputStatus::default();
        output.set_topics((0..TOPICS_LISTED_MAX + 3).map(topic));
        assert_eq!(output.topics.len(), TOPICS_LISTED_MAX + 1);
        let other = output.topics.last().expect("there is one");
        assert_eq!((other.topic.as_str(), other.produced_records_total), (TOPICS_OTHER, 6));
        assert_eq!(output.produced_records_total, 2_006);
        assert_eq!(output.failed_total["too_large"], 1_003);
        output.set_topics([topic(0)]);
        assert_eq!(output.topics.len(), 1, "nothing is beyond the bound, so there is no other");
    }

    #[test]
    fn drops_are_summed_over_inputs_and_outputs() {
        let input =
            InputStatus { dropped: [("drop_event".into(), 3), ("none".into(), 0)].into(), ..Default::default() };
        let output = OutputStatus { failed_total: [("too_large".into(), 2)].into(), ..Default::default() };
        let mut status =
            Status { inputs: vec![input.clone(), input], outputs: vec![output.clone(), output], ..Default::default() };
        status.sum_drops();
        assert_eq!(status.drops, [("drop_event".into(), 6), ("too_large".into(), 4)].into());
    }

    #[test]
    fn quantiles_interpolate_within_a_bucket() {
        let histogram = HistogramStatus { bounds_seconds: vec![1.0, 2.0], counts: vec![50, 50, 0], sum_seconds: 0.0 };
        assert_eq!(histogram.quantile_seconds(0.5), Some(1.0));
        assert_eq!(histogram.quantile_seconds(0.75), Some(1.5));
        let beyond = HistogramStatus { counts: vec![0, 0, 7], ..histogram };
        assert_eq!(beyond.quantile_seconds(0.5), Some(2.0), "beyond the last bound nothing is known but the bound");
        assert_eq!(HistogramStatus::default().quantile_seconds(0.5), None);
    }

    #[test]
    fn a_status_of_another_version_can_be_read() {
        let text = r#"{"version":"9.9","inputs":[{"name":"a","type":"file","new":{"x":[1]}}],"state":"pondering"}"#;
        let status: Status = serde_json::from_str(text).expect("unknown fields are ignored, missing ones are zero");
        assert_eq!(status.inputs[0].kind, "file");
        assert_eq!(status.state, "pondering");
        let json = serde_json::to_string(&status).expect("a status has string keys only");
        assert_eq!(serde_json::from_str::<Status>(&json).expect("its own output"), status);
    }
}
