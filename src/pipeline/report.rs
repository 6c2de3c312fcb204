//! The state of it all, collected when somebody asks: for `/status`, metrics and `logferry status`.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::acks::Ledger;
use super::build::{Running, now_seconds};
use super::plan::Plan;
use super::sources::{Doing, Sources};
use super::threads::Threads;
use crate::batch::OutputId;
use crate::budget::Budget;
use crate::config::Checked;
use crate::config::checked::{CheckedOutput, OutputKind};
use crate::deliver::burial::LetterStatus;
use crate::deliver::driver::Deliver;
use crate::deliver::tally::Counts;
use crate::deliver::{lane, spooler};
use crate::input::file::{FileState, FileStatus as File, shown};
use crate::output::{RecordFault, TopicFault};
use crate::spool::FSYNC_BUCKETS_MS;
use crate::telemetry::status::{
    BrokerStatus, ConfigStatus, DeadLetterStatus, FileStatus, HistogramStatus, InputStatus, LaneStatus, MemoryStatus,
    OutputStatus, SpoolStatus, TOPICS_OTHER, TopicStatus, WindowStatus, Word,
};
use crate::telemetry::{Histogram, Status, StatusSource, logs, process};

/// What the threads of a pipeline share, and what is known of them.
pub struct Inner {
    pub host: String,
    pub started: Instant,
    /// 0 starting, 1 running, 2 stopping.
    pub state: AtomicU8,
    /// All inputs are open.
    pub ready: AtomicBool,
    pub sources: Arc<Sources>,
    pub ledger: Arc<Ledger>,
    pub budget: Budget,
    /// By name.
    pub inputs: Mutex<Vec<Live>>,
    pub config: Mutex<ConfigStatus>,
    /// By name.
    pub outputs: Mutex<Vec<Arc<LiveOutput>>>,
    pub workers: Threads,
    pub committer: Threads,
}

/// An output that runs.
pub struct LiveOutput {
    pub name: String,
    /// In the checkpoint store.
    pub id: OutputId,
    /// What its settings may change while it runs.
    pub traits: Mutex<OutputTraits>,
    pub deliver: Arc<Deliver>,
    pub delivery_seconds: Arc<Histogram>,
    pub threads: Threads,
}

/// What an output is, as its settings say.
#[derive(Clone)]
pub struct OutputTraits {
    /// The `type` of the config.
    pub kind: &'static str,
    /// It may hold sources back.
    pub required: bool,
    /// Whom its brokers take the agent for.
    pub principal: String,
}

impl OutputTraits {
    /// Those of an output of the config.
    pub fn of(output: &CheckedOutput) -> Self {
        let principal = match &output.kind {
            OutputKind::Kafka(kafka) => kafka.connection.principal(),
            OutputKind::File(_) => String::new(),
        };
        Self { kind: output.kind.name(), required: output.required, principal }
    }
}

impl LiveOutput {
    /// It is something else from now on.
    pub fn set_traits(&self, traits: OutputTraits) {
        *self.traits.lock().unwrap_or_else(PoisonError::into_inner) = traits;
    }

    /// Nobody feeds it any more: it ends. What it has not acknowledged is given up, and waits in its files if it is required.
    pub fn end(&self) {
        if !self.traits().required {
            self.say_what_is_lost();
        }
        self.deliver.stop();
        self.join();
    }

    /// Waits for the end of its threads, once it is told to stop.
    pub fn join(&self) {
        self.threads.join();
        // What it holds names its sources, and they name this output.
        self.deliver.let_go();
    }

    /// What it is.
    pub fn traits(&self) -> OutputTraits {
        self.traits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// At the end: what it has not acknowledged, and nothing waits for.
    pub fn say_what_is_lost(&self) {
        let records: u64 = self.deliver.status().lanes.iter().map(|lane| lane.in_flight_records).sum();
        if records > 0 {
            tracing::warn!(output = %self.name, records, "not acknowledged in time and given up: the output is `required: false`");
        }
    }
}

/// An input of the config.
pub struct Live {
    pub plan: Arc<Plan>,
    /// `None`: it is being started, or started anew.
    pub running: Option<Running>,
}

impl Inner {
    /// The inputs. Not to be held while anything is waited for.
    pub fn inputs(&self) -> MutexGuard<'_, Vec<Live>> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outputs. Not to be held while anything is waited for.
    pub fn outputs(&self) -> MutexGuard<'_, Vec<Arc<LiveOutput>>> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds outputs.
    pub fn add_outputs(&self, added: Vec<Arc<LiveOutput>>) {
        let mut outputs = self.outputs();
        outputs.extend(added);
        outputs.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Takes out the outputs of these names.
    pub fn take_outputs(&self, names: &[String]) -> Vec<Arc<LiveOutput>> {
        self.outputs().extract_if(.., |output| names.contains(&output.name)).collect()
    }

    /// The outputs that a config has and that run.
    pub fn outputs_of<'a>(&self, checked: &'a Checked) -> Vec<(Arc<LiveOutput>, &'a CheckedOutput)> {
        let outputs = self.outputs();
        let run = |live: &Arc<LiveOutput>| Some((Arc::clone(live), checked.output(&live.name)?));
        outputs.iter().filter_map(run).collect()
    }

    /// Everything is open.
    pub fn set_running(&self) {
        self.state.store(1, Ordering::Release);
        self.ready.store(true, Ordering::Release);
    }

    /// Nothing more is read.
    pub fn set_stopping(&self) {
        self.state.store(2, Ordering::Release);
        self.ready.store(false, Ordering::Release);
    }

    fn input(&self, live: &Live) -> InputStatus {
        let Live { plan, running } = live;
        let counters = &plan.counters;
        let mut status = InputStatus {
            name: plan.name.clone(),
            kind: if plan.is_durable { "file" } else { "stdin" }.into(),
            read_bytes_total: get(&counters.read_bytes),
            read_records_total: get(&counters.read_records),
            acked_bytes_total: get(&counters.acked_bytes),
            acked_records_total: get(&counters.acked_records),
            truncated_lines_total: get(&counters.truncated_lines) + get(&counters.cut_records),
            malformed_lines_total: get(&counters.malformed_lines),
            append_to_ack_seconds: counters.append_to_ack.status(),
            ..InputStatus::default()
        };
        let files = match running {
            Some(Running::File(file)) => {
                let stats = file.stats();
                status.read_errors_total = get(&stats.errors);
                status.lost_bytes_total = get(&stats.bytes_given_up);
                file.snapshot()
            }
            Some(Running::Stdin(stdin)) => {
                let stats = stdin.stats();
                status.read_errors_total = get(&stats.errors);
                status.lost_bytes_total = get(&stats.bytes_given_up);
                Vec::new()
            }
            None => Vec::new(),
        };
        status.set_files(files.into_iter().map(file_status).collect());
        status.dropped = [
            ("drop_event".into(), 0),
            ("line_filter".into(), get(&counters.filtered_lines)),
            ("no_output".into(), get(&counters.unrouted_events)),
        ]
        .into();
        let processing = counters.processing.lock().unwrap_or_else(PoisonError::into_inner);
        status.dropped.extend(processing.dropped.iter().map(|(reason, count)| ((*reason).into(), *count)));
        status.processor_failures = processing.failed.iter().map(|(name, count)| ((*name).into(), *count)).collect();
        drop(processing);
        let now = Instant::now();
        let mut open = 0;
        self.sources.each(plan, |doing, ack| {
            open += 1;
            status.waiting_count += u64::from(doing == Doing::Parked);
            let age = ack.oldest().map(|oldest| now.saturating_duration_since(oldest).as_secs_f64());
            status.oldest_unacked_seconds = match (status.oldest_unacked_seconds, age) {
                (Some(one), Some(other)) => Some(f64::max(one, other)),
                (one, other) => one.or(other),
            };
        });
        status.files_count = open;
        status
    }
}

impl LiveOutput {
    fn status(&self) -> OutputStatus {
        let deliver = self.deliver.status();
        let OutputTraits { kind, required, principal } = self.traits();
        let mut status = OutputStatus {
            name: self.name.clone(),
            kind: kind.into(),
            required,
            dropped: deliver.dropped.into_iter().map(|(reason, count)| (reason.into(), count)).collect(),
            rebuilds_total: deliver.rebuilds,
            window: WindowStatus { used_bytes: deliver.window_bytes_used, max_bytes: deliver.window_bytes_max },
            delivery_seconds: self.delivery_seconds.status(),
            ..OutputStatus::default()
        };
        status.set_topics(deliver.topics.into_iter().map(|(topic, counts)| topic_status(topic.as_deref(), counts)));
        if let Some(spool) = &deliver.spool {
            status.spool = spool_status(spool);
            (status.spool.full, status.spool.waiting_sources) =
                (deliver.is_spool_full, deliver.waiting_for_spool as u64);
            status.dropped.insert("drop_oldest".into(), spool.stats.dropped_records);
        }
        let unreadable = deliver.spool.as_ref().and_then(|spool| spool.unreadable.clone());
        let trouble = deliver.letter.file.trouble.clone();
        status.dead_letter = dead_letter_status(deliver.letter);
        status.dropped.insert("drop_newest".into(), deliver.records_dropped);
        // Who counts from zero on misses no first time.
        for reason in RecordFault::ALL {
            status.failed_total.entry(reason.name().into()).or_default();
        }
        status.brokers = deliver
            .brokers
            .into_iter()
            .map(|broker| BrokerStatus { name: broker.name, state: broker.state, last_error: broker.last_error })
            .collect();
        status.last_error = deliver.lanes.iter().find_map(|lane| lane.cause.as_ref().map(ToString::to_string));
        status.set_lanes(
            deliver
                .lanes
                .into_iter()
                .map(|lane| lane_status(lane, &principal, trouble.as_deref(), unreadable.as_deref()))
                .collect(),
        );
        status
    }
}

impl StatusSource for Inner {
    fn status(&self) -> Status {
        let outputs = self.outputs().clone();
        let inputs = self.inputs();
        let state: Word = match self.state.load(Ordering::Acquire) {
            0 => "starting".into(),
            1 => "running".into(),
            _ => "stopping".into(),
        };
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            host: self.host.clone(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            state,
            inputs: inputs.iter().map(|live| self.input(live)).collect(),
            outputs: outputs.iter().map(|output| output.status()).collect(),
            memory: MemoryStatus {
                used_bytes: self.budget.bytes_used() as u64,
                max_bytes: self.budget.bytes_max() as u64,
                rss_bytes: process::rss_bytes(),
            },
            cpu_seconds_total: process::cpu_seconds(),
            duplicates_bound_bytes: self.ledger.duplicates_bound_bytes(),
            checkpoints_trouble: self.ledger.trouble(),
            config: self.config.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            log_lines_suppressed_total: logs::suppressed_total(),
            ..Status::default()
        };
        status.sum_drops();
        status
    }

    fn healthy(&self) -> Result<(), String> {
        let inputs = self.inputs();
        let watcher = || {
            inputs.iter().find_map(|live| match &live.running {
                Some(Running::File(file)) if !file.is_running() => Some(format!("file {}", live.plan.name)),
                Some(_) | None => None,
            })
        };
        // Who is stopping ends them in order.
        let is_stopping = self.state.load(Ordering::Acquire) > 1;
        let output = || self.outputs().iter().find_map(|output| output.threads.ended());
        let ended = || self.workers.ended().or_else(output).or_else(|| self.committer.ended());
        match ended().or_else(watcher).filter(|_| !is_stopping) {
            Some(thread) => Err(format!("the thread {thread:?} has ended: restart the process; its log says why")),
            None => Ok(()),
        }
    }

    fn ready(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(match self.state.load(Ordering::Acquire) {
            0 => "the inputs are being opened".into(),
            _ => "the agent is stopping".into(),
        })
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn file_status(file: File) -> FileStatus {
    let lag_bytes = file.size.saturating_sub(file.offset_settled);
    let state: Word = match file.state {
        FileState::Leaving => "draining".into(),
        FileState::Waiting => "waiting".into(),
        FileState::Closed | FileState::Finished | FileState::Copy => "idle".into(),
        FileState::Following if lag_bytes == 0 => "idle".into(),
        FileState::Following => "reading".into(),
    };
    FileStatus {
        path: shown(&file.path).into_owned(),
        id: file.id,
        read_bytes: file.offset_read,
        acked_bytes: file.offset_settled,
        size_bytes: file.size,
        lag_bytes,
        unlinked: file.unlinked,
        oldest_unacked_seconds: None,
        state,
        waiting_for: None,
    }
}

fn topic_status(topic: Option<&str>, counts: Counts) -> TopicStatus {
    TopicStatus {
        topic: topic.unwrap_or(TOPICS_OTHER).into(),
        produced_records_total: counts.records_acked,
        produced_bytes_total: counts.payload_bytes_settled,
        failed_total: counts.records_buried.into_iter().map(|(reason, count)| (reason.name().into(), count)).collect(),
        retried_total: counts.records_resent,
    }
}

fn spool_status(spool: &spooler::SpoolStatus) -> SpoolStatus {
    let stats = &spool.stats;
    let now_ms = now_seconds() * 1_000.0;
    SpoolStatus {
        used_bytes: stats.bytes_on_disk,
        max_bytes: spool.bytes_max,
        records: stats.live_records,
        frames: stats.live_frames,
        live_bytes: stats.live_bytes,
        oldest_seconds: stats.oldest_ms.map(|at| ((now_ms - at as f64) / 1_000.0).max(0.0)),
        appended_bytes_total: stats.appended_bytes_total,
        appended_records_total: stats.appended_records_total,
        fsync_seconds: HistogramStatus {
            bounds_seconds: FSYNC_BUCKETS_MS.iter().map(|ms| *ms as f64 / 1_000.0).collect(),
            counts: stats.fsync_buckets.to_vec(),
            sum_seconds: stats.fsync_time_total.as_secs_f64(),
        },
        damaged_frames_total: stats.damaged_frames,
        lost_records_total: stats.lost_records,
        full: false,
        waiting_sources: 0,
        trouble: spool.trouble.as_ref().or(spool.unreadable.as_ref()).map(ToString::to_string),
    }
}

fn dead_letter_status(letter: LetterStatus) -> DeadLetterStatus {
    DeadLetterStatus {
        records: letter.file.records,
        used_bytes: letter.file.bytes,
        max_bytes: letter.file.bytes_max,
        full: letter.file.is_full,
        trouble: letter.file.trouble,
        topic: letter.topic.map(|topic| topic.to_string()),
        topic_records_total: letter.topic_records,
    }
}

fn lane_status(
    lane: lane::LaneStatus,
    principal: &str,
    letter_trouble: Option<&str>,
    spool_unreadable: Option<&str>,
) -> LaneStatus {
    let unread = spool_unreadable.filter(|_| lane.state == "logged").map(|trouble| {
        (trouble.to_owned(), "look at the disk; once it can be read, the lane goes on by itself".to_owned())
    });
    let held = letter_trouble.filter(|_| lane.is_refused_burial).map(|trouble| {
        let fix = "`logferry spool dead` shows what is in it; once it takes records again, the lane goes on by itself";
        (trouble.to_owned(), fix.to_owned())
    });
    let (cause, fix) = held.or(unread).or_else(|| cause_and_fix(&lane, principal)).unzip();
    LaneStatus {
        topic: lane.topic.to_string(),
        partition: (lane.partition >= 0).then_some(lane.partition),
        state: lane.state.into(),
        in_flight_records: lane.in_flight_records,
        in_flight_bytes: lane.in_flight_bytes,
        spooled_frames: lane.spooled_frames,
        waiting_sources: lane.waiting_sources as u64,
        cause,
        fix,
    }
}

/// Why a lane does not flow, and what somebody can do about it.
fn cause_and_fix(lane: &lane::LaneStatus, principal: &str) -> Option<(String, String)> {
    let topic = &lane.topic;
    let told = lane.cause.as_ref().map(ToString::to_string);
    let (cause, fix) = match lane.fault {
        Some(TopicFault::NotAuthorized) => {
            // Who may not DESCRIBE a topic is not told its partitions.
            let acl = if lane.partition < 0 { "DESCRIBE and WRITE" } else { "WRITE" };
            let is = if lane.partition < 0 { "are" } else { "is" };
            (format!("not authorised for {principal}"), format!("ACL {acl} on topic {topic} {is} missing"))
        }
        Some(TopicFault::Missing) => {
            (format!("topic {topic} does not exist"), "create it (or set `create_topics: broker`)".to_owned())
        }
        Some(TopicFault::PartitionGone) => (
            format!("the partition is gone from topic {topic}"),
            "nothing to do: its records are placed anew once the partitions are known".to_owned(),
        ),
        Some(TopicFault::Refused) => (
            told.unwrap_or_else(|| format!("the broker refuses topic {topic}")),
            "look at the topic's settings and at the broker's log".to_owned(),
        ),
        Some(TopicFault::NotWritable) => {
            let (cause, fix) = match told.as_deref().and_then(|told| told.rsplit_once("; ")) {
                Some((cause, fix)) => (cause.to_owned(), format!("{fix}; it goes on by itself")),
                None => ("its file can't be written".to_owned(), "make it writable, or make room".to_owned()),
            };
            (cause, fix)
        }
        None => match (told, lane.state) {
            (Some(told), _) => (told, "it goes on by itself".to_owned()),
            (None, "stalled") => (
                "the partition's leader acknowledges nothing".to_owned(),
                "look at the brokers below; it goes on by itself".to_owned(),
            ),
            (None, "unknown") => (
                "no broker has said yet which partitions the topic has".to_owned(),
                "look at the brokers below; it goes on by itself".to_owned(),
            ),
            (None, "logged") => {
                ("what is in the spool goes first".to_owned(), "nothing to do: it is being sent".to_owned())
            }
            (None, _) => return None,
        },
    };
    Some((cause, fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_that_waits_says_why_and_what_to_do() {
        let check = |fault, cause: Option<&str>, partition, state, expect: Option<(&str, &str)>| {
            let mut lane = lane::LaneStatus::unknown_topic(&"logs.web".into(), None, 1);
            (lane.fault, lane.partition, lane.state) = (fault, partition, state);
            lane.cause = cause.map(Into::into);
            let status = lane_status(lane, "User:ferry", None, None);
            assert_eq!(status.cause.as_deref().zip(status.fix.as_deref()), expect);
            assert_eq!(status.cause.is_some(), status.fix.is_some());
        };
        check(
            Some(TopicFault::NotAuthorized),
            Some("in the broker's words"),
            3,
            "probing",
            Some(("not authorised for User:ferry", "ACL WRITE on topic logs.web is missing")),
        );
        check(
            Some(TopicFault::NotAuthorized),
            None,
            -1,
            "unknown",
            Some(("not authorised for User:ferry", "ACL DESCRIBE and WRITE on topic logs.web are missing")),
        );
        let create = ("topic logs.web does not exist", "create it (or set `create_topics: broker`)");
        check(Some(TopicFault::Missing), None, -1, "unknown", Some(create));
        check(
            Some(TopicFault::Refused),
            Some("topic logs.web: Broker: Policy violation"),
            0,
            "probing",
            Some(("topic logs.web: Broker: Policy violation", "look at the topic's settings and at the broker's log")),
        );
        check(None, None, 0, "direct", None);
        check(None, None, 0, "draining", None);
        let stalled =
            ("the partition's leader acknowledges nothing", "look at the brokers below; it goes on by itself");
        check(None, None, 0, "stalled", Some(stalled));
        let sent = ("what is in the spool goes first", "nothing to do: it is being sent");
        check(None, None, 0, "logged", Some(sent));
    }

    /// Scenario: what a lane waits for is in a spool that can't be read. Guarantee: it says so, and not that it is being sent.
    #[test]
    fn a_lane_that_waits_for_an_unreadable_spool_says_so() {
        let mut lane = lane::LaneStatus::unknown_topic(&"logs.web".into(), None, 1);
        (lane.partition, lane.state) = (3, "logged");
        let status = lane_status(lane, "User:ferry", None, Some("the spool s can't be read: EIO; it is tried again"));
        assert_eq!(status.cause.as_deref(), Some("the spool s can't be read: EIO; it is tried again"));
        assert!(status.fix.is_some_and(|fix| fix.starts_with("look at the disk")));
    }
}
