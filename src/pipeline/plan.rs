//! What the config makes of one input, ready to run: its processors, where its records go, and what it counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::{OutputId, Place};
use crate::config::checked::Route;
use crate::deliver::driver::Deliver;
use crate::encode::Codec;
use crate::event::Common;
use crate::event::Template;
use crate::process::condition::Condition;
use crate::process::{Chain, Tally};
use crate::telemetry::Histogram;

/// One input, ready to run.
pub struct Plan {
    /// The input's name in the config.
    pub name: String,
    /// Its processors, then those of the top level.
    pub chain: Chain,
    /// One an output that it feeds, at least one, in the order of their names.
    pub targets: Vec<Target>,
    /// Where records go whose topic can't be rendered, is no legal name, or is one too many.
    pub fallback_topic: Arc<str>,
    /// Its positions are kept over a restart.
    pub is_durable: bool,
    /// Those of the input of this name, whatever its plan was before.
    pub counters: Arc<Counters>,
}

/// What goes to one output, and as what.
pub struct Target {
    /// The output's name.
    pub output: String,
    /// Its number in the checkpoint store.
    pub id: OutputId,
    /// `None` where nothing is delivered (`logferry try`).
    pub deliver: Option<Arc<Deliver>>,
    /// It may hold sources back.
    pub required: bool,
    /// Which events go to it; `None`: all.
    pub when: Option<Condition>,
    pub topic: Template,
    pub key: Option<Template>,
    pub headers: Vec<(Arc<str>, Template)>,
    pub codec: Codec,
    /// Value, key and headers of one record.
    pub record_bytes_max: usize,
    /// From reading to the acknowledgement; one histogram for all inputs of an output.
    pub delivery_seconds: Arc<Histogram>,
}

/// What an input counts; moved only when deliver has taken a batch, so a batch that is read again counts once.
#[derive(Default)]
pub struct Counters {
    /// From the append of a record's line to the acknowledgement by all in-sync replicas.
    pub append_to_ack: Histogram,
    pub read_bytes: AtomicU64,
    pub read_records: AtomicU64,
    pub acked_bytes: AtomicU64,
    pub acked_records: AtomicU64,
    /// What processors dropped and could not do.
    pub processing: Mutex<Tally>,
    /// For which the `when` of no output holds.
    pub unrouted_events: AtomicU64,
    /// Records cut to fit `max_record_bytes`.
    pub cut_records: AtomicU64,
    pub fallback_records: AtomicU64,
    /// Keys and values handed over.
    pub encoded_bytes: AtomicU64,
    /// Left out by `include_lines` or `exclude_lines`.
    pub filtered_lines: AtomicU64,
    /// Cut at `max_line_bytes`.
    pub truncated_lines: AtomicU64,
    /// Not of the input's `format`.
    pub malformed_lines: AtomicU64,
}

/// What one batch adds to the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub read_bytes: u64,
    pub read_records: u64,
    pub processing: Tally,
    pub unrouted_events: u64,
    pub cut_records: u64,
    pub fallback_records: u64,
    pub encoded_bytes: u64,
    pub filtered_lines: u64,
    pub truncated_lines: u64,
    pub malformed_lines: u64,
}

impl Counters {
    /// Adds what a batch brought that deliver has taken.
    pub fn add(&self, counts: &Counts) {
        self.read_bytes.fetch_add(counts.read_bytes, Ordering::Relaxed);
        self.read_records.fetch_add(counts.read_records, Ordering::Relaxed);
        if counts.processing != Tally::default() {
            self.processing.lock().unwrap_or_else(PoisonError::into_inner).add(&counts.processing);
        }
        self.unrouted_events.fetch_add(counts.unrouted_events, Ordering::Relaxed);
        self.cut_records.fetch_add(counts.cut_records, Ordering::Relaxed);
        self.fallback_records.fetch_add(counts.fallback_records, Ordering::Relaxed);
        self.encoded_bytes.fetch_add(counts.encoded_bytes, Ordering::Relaxed);
        self.filtered_lines.fetch_add(counts.filtered_lines, Ordering::Relaxed);
        self.truncated_lines.fetch_add(counts.truncated_lines, Ordering::Relaxed);
        self.malformed_lines.fetch_add(counts.malformed_lines, Ordering::Relaxed);
    }
}

/// What routing found out for a source, valid while its shared fields and the partition counts stay.
#[derive(Default)]
pub struct RouteCache {
    /// The shared fields that topic and key were rendered from.
    pub common: Option<Arc<Common>>,
    /// The topic, where it depends on shared fields only and is legal.
    pub topic: Option<Arc<str>>,
    /// The key, where it depends on shared fields only; `None` in it: a field is missing, so the record has no key.
    pub key: Option<Option<Vec<u8>>>,
    /// Where that key goes in that topic, at this version of the partition counts.
    pub place: Option<(u64, Place)>,
}

impl Plan {
    /// The plan of an input that feeds these, at least one, in the order of their outputs' names.
    pub fn new(name: &str, chain: Chain, targets: Vec<Target>, fallback_topic: &str) -> Self {
        Self {
            name: name.to_owned(),
            chain,
            targets,
            fallback_topic: Arc::from(fallback_topic),
            is_durable: true,
            counters: Arc::default(),
        }
    }

    /// The targets whose progress the source's positions follow: the required ones. If none is, the first: it is told that all
    /// is settled as soon as it is offered.
    pub fn watched(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().enumerate().filter(|(at, _)| self.is_watched(*at)).map(|(_, one)| one)
    }

    /// Whether the target of this number, among all, is one of [`Plan::watched`].
    pub fn is_watched(&self, at: usize) -> bool {
        self.targets[at].required || (at == 0 && self.targets.iter().all(|target| !target.required))
    }

    /// The watched target of this number.
    pub fn watched_at(&self, at: usize) -> &Target {
        self.watched().nth(at).expect("a source has a watermark for each, and no other")
    }

    /// Whether the one target gets everything, and the source waits for it.
    pub fn is_plain(&self) -> bool {
        matches!(&self.targets[..], [only] if only.required && only.when.is_none())
    }
}

impl Target {
    /// Where `route` leads. It delivers to nobody yet.
    pub fn new(route: Route) -> Self {
        Self {
            output: route.output,
            id: OutputId(0),
            deliver: None,
            required: route.required,
            when: route.when,
            topic: route.topic,
            key: route.key,
            headers: route.headers.into_iter().map(|(name, value)| (Arc::from(name), value)).collect(),
            codec: route.codec,
            record_bytes_max: route.record_bytes_max,
            delivery_seconds: Arc::new(Histogram::new()),
        }
    }

    /// Who delivers.
    pub fn deliver(&self) -> &Arc<Deliver> {
        self.deliver.as_ref().expect("a plan that is run has an output for each of its targets")
    }
}
