//! Sends refused records again with the output's own producer, and says of each whether it is acknowledged.
//!
//! Records are sent together; whoever fails beside others, and may be innocent, is sent once more alone. Nothing else is tried:
//! who is refused alone stays in its file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::batch::{Place, SourceKey};
use crate::budget::Budget;
use crate::output::dead_letter::entry::Entry;
use crate::output::kafka::KafkaProducer;
use crate::output::kafka::options::KafkaOptions;
use crate::output::{Fault, OutputEvent, Parcel, Producer};
use crate::route;

/// How long one poll waits.
const POLL_MAX: Duration = Duration::from_millis(100);

/// Whether a record is acknowledged, or why not.
pub type Outcome = Result<(), String>;

/// The producer of one output, and what it has said of topics.
pub struct Sender<'a> {
    options: &'a KafkaOptions,
    producer: KafkaProducer,
    /// The partition count, or why there is none.
    topics: HashMap<Arc<str>, Result<u32, String>>,
    /// How long Kafka may be silent.
    timeout: Duration,
    next_parcel: u64,
    /// It was silent for too long: nothing more is tried.
    silent: Option<String>,
    is_dead: bool,
}

impl<'a> Sender<'a> {
    /// Connects in the background.
    ///
    /// # Errors
    /// If the producer can't be made.
    pub fn new(options: &'a KafkaOptions, timeout: Duration) -> anyhow::Result<Self> {
        let producer = open(options)?;
        let topics = HashMap::new();
        Ok(Self { options, producer, topics, timeout, next_parcel: 0, silent: None, is_dead: false })
    }

    /// What became of each, in their order.
    ///
    /// # Errors
    /// If a producer that died can't be replaced.
    pub fn send(&mut self, entries: &[&Entry]) -> anyhow::Result<Vec<Outcome>> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(entries.len());
        let results = self.round(entries)?;
        for (entry, result) in entries.iter().zip(results) {
            let outcome = match result {
                Ok(()) => Ok(()),
                Err(failure) if failure.is_final || (entries.len() == 1 && !failure.is_innocent) => {
                    Err(failure.message)
                }
                Err(_) => {
                    let alone = self.round(&[entry])?.pop();
                    alone.map_or_else(|| Err("nothing was said of it".to_owned()), |one| one.map_err(|one| one.message))
                }
            };
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Sends them once.
    fn round(&mut self, entries: &[&Entry]) -> anyhow::Result<Vec<Result<(), Failure>>> {
        if std::mem::take(&mut self.is_dead) {
            self.producer = open(self.options)?;
            self.topics.clear();
        }
        self.look_up(entries);
        // Bounded by how many are sent together.
        let budget = Budget::new(usize::MAX / 2);
        let first = self.next_parcel;
        let mut results: Vec<Option<Result<(), Failure>>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let parcel = Parcel(self.next_parcel);
            self.next_parcel += 1;
            let topic: Arc<str> = Arc::from(entry.topic.as_str());
            let partition = match (&self.silent, self.topics.get(&topic)) {
                (Some(silent), _) => Err(silent.clone()),
                (None, Some(Ok(count))) => Ok(partition_of(entry, *count)),
                (None, Some(Err(why))) => Err(why.clone()),
                (None, None) => Err(format!("no broker says which partitions topic {topic} has")),
            };
            let encoded = partition.and_then(|partition| {
                let source = SourceKey(entry.source);
                let encoded = entry.encode(&entry.headers, &topic, Place::At(partition), source, &budget);
                Ok((partition, encoded.ok_or("there is no memory for it")?))
            });
            results.push(match encoded {
                Ok((partition, encoded)) => {
                    self.producer.produce(parcel, &Arc::new(encoded), &topic, partition, 0..1);
                    None
                }
                Err(message) => Some(Err(Failure { message, is_final: true, is_innocent: false })),
            });
        }
        self.await_reports(first, &mut results);
        let silent = self.silent.clone().unwrap_or_else(|| "nothing was said of it".to_owned());
        let open = || Err(Failure { message: silent.clone(), is_final: true, is_innocent: false });
        Ok(results.into_iter().map(|result| result.unwrap_or_else(open)).collect())
    }

    fn await_reports(&mut self, first: u64, results: &mut [Option<Result<(), Failure>>]) {
        let mut heard_at = Instant::now();
        let mut events = Vec::new();
        while results.iter().any(Option::is_none) && self.silent.is_none() {
            self.producer.poll(POLL_MAX, &mut events);
            for event in events.drain(..) {
                match event {
                    OutputEvent::Report { parcel, result, .. } => {
                        heard_at = Instant::now();
                        let at = parcel.0.checked_sub(first).and_then(|at| usize::try_from(at).ok());
                        if let Some(slot) = at.and_then(|at| results.get_mut(at)) {
                            *slot = Some(result.map_err(Failure::of));
                        }
                    }
                    OutputEvent::Topic { topic, result } => self.learn(topic, result),
                    OutputEvent::Replicas { .. } => {}
                    OutputEvent::Fatal { message } => {
                        self.is_dead = true;
                        for slot in results.iter_mut().filter(|slot| slot.is_none()) {
                            let message = message.to_string();
                            *slot = Some(Err(Failure { message, is_final: false, is_innocent: true }));
                        }
                    }
                }
            }
            if heard_at.elapsed() >= self.timeout {
                self.silent = Some(self.silence());
            }
        }
    }

    /// Asks for the partition counts of their topics.
    fn look_up(&mut self, entries: &[&Entry]) {
        let mut asked: Vec<Arc<str>> = entries.iter().map(|entry| Arc::from(entry.topic.as_str())).collect();
        asked.sort_unstable();
        asked.dedup();
        asked.retain(|topic| !self.topics.contains_key(topic));
        asked.iter().for_each(|topic| self.producer.lookup(topic));
        let deadline = Instant::now() + self.timeout;
        let mut events = Vec::new();
        while self.silent.is_none() && asked.iter().any(|topic| !self.topics.contains_key(topic)) {
            self.producer.poll(POLL_MAX, &mut events);
            for event in events.drain(..) {
                if let OutputEvent::Topic { topic, result } = event {
                    self.learn(topic, result);
                }
            }
            if Instant::now() >= deadline {
                self.silent = Some(self.silence());
            }
        }
    }

    fn learn(&mut self, topic: Arc<str>, result: Result<u32, Fault>) {
        self.topics.insert(topic, result.map_err(|fault| fault.message().to_owned()));
    }

    fn silence(&self) -> String {
        let error = self.producer.brokers().into_iter().find_map(|broker| broker.last_error);
        let why = error.map(|error| format!(" ({error})")).unwrap_or_default();
        format!("Kafka was silent for {:?}{why}", self.timeout)
    }
}

/// Why a record is not acknowledged.
struct Failure {
    message: String,
    /// There is no use in trying it once more.
    is_final: bool,
    /// It is not the record that is to blame.
    is_innocent: bool,
}

impl Failure {
    fn of(fault: Fault) -> Self {
        Self {
            is_final: matches!(fault, Fault::Topic { .. }),
            is_innocent: matches!(fault, Fault::Neighbour | Fault::Producer { .. }),
            message: fault.message().to_owned(),
        }
    }
}

fn open(options: &KafkaOptions) -> anyhow::Result<KafkaProducer> {
    KafkaProducer::open(options).with_context(|| format!("output {}", options.name))
}

/// By its key as every record; without one, the partition that it was for, if there is one.
fn partition_of(entry: &Entry, count: u32) -> i32 {
    let partition = match &entry.key {
        Some(key) => route::partition(key, count),
        None => u32::try_from(entry.partition).ok().filter(|partition| *partition < count).unwrap_or(0),
    };
    i32::try_from(partition).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_goes_where_its_key_says_or_where_it_was_for() {
        let entry = |key: Option<&str>, partition| Entry {
            key: key.map(|key| key.as_bytes().to_vec()),
            partition,
            ..Entry::default()
        };
        let of_key = i32::try_from(route::partition(b"k", 7)).expect("small");
        assert_eq!(partition_of(&entry(Some("k"), 99), 7), of_key);
        assert_eq!(partition_of(&entry(None, 3), 7), 3);
        assert_eq!(partition_of(&entry(None, 7), 7), 0, "the topic has fewer by now");
        assert_eq!(partition_of(&entry(None, -1), 7), 0);
    }
}
