//! The topics of a producer: their handles, and their partition counts, asked for on a thread of its own.
//!
//! A topic asked for is asked for again with back-off until it is known, and then refreshed with all others every
//! [`REFRESH_EVERY`]; deliver hears of it when it asked, and when something changed. A known topic that nobody has used for
//! [`FORGET_AFTER`] is forgotten (its next use brings it back), so that high-cardinality topic names cost nothing at rest. A
//! topic that is missing is asked for until deliver says that nobody needs it ([`Topics::forget`]): records may wait for it.
//!
//! When no broker answers, nothing is said: that is an outage of the cluster, not of a topic.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Client, TopicHandle, TopicMetadata, lock};
use super::fault::{self, At};
use crate::output::{OutputEvent, Replicas};

/// Partitions added are used within a minute; librdkafka itself looks as often.
const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// What is due so soon is refreshed with the others.
const REFRESH_TOGETHER: Duration = Duration::from_secs(15);
const FORGET_AFTER: Duration = Duration::from_secs(600);
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// For one request. Ending a producer may have to wait for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// From so many on, one request asks for all topics.
const ASK_ALL_FROM: usize = 8;

/// All topics in use, and when to ask for which.
pub(super) struct Topics {
    state: Mutex<State>,
    changed: Condvar,
    /// A topic asked for may be created by that, so it is said to be missing later.
    created_by_asking: bool,
}

#[derive(Default)]
struct State {
    entries: HashMap<Arc<str>, Entry>,
    /// All brokers of the cluster, as of the last answer: id and `HOST:PORT`.
    brokers: Vec<(i32, String)>,
    stopping: bool,
}

struct Entry {
    handle: Arc<TopicHandle>,
    used: Instant,
    asking: Asking,
}

/// When to ask for a topic, and what deliver knows of it.
#[derive(Debug)]
struct Asking {
    due: Instant,
    backoff: Duration,
    /// What was said last.
    said: Option<Said>,
    /// Where its partitions were said to be.
    replicas: Option<Replicas>,
    /// Answers in a row that it is missing.
    misses: u32,
    /// Deliver asked and has not been answered.
    answer_owed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Partitions(u32),
    Code(c_int),
}

/// What a broker answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Partitions(u32),
    /// A fault of the topic.
    Fault(c_int),
    /// No leader yet, and the like: ask again.
    Unclear,
}

/// What a broker answered of one topic.
struct Found {
    topic: Arc<str>,
    answer: Answer,
    replicas: Option<Replicas>,
}

impl Answer {
    fn of(code: c_int, partitions: u32) -> Self {
        match code {
            0 if partitions > 0 => Self::Partitions(partitions),
            code if code != 0 && fault::topic_fault(code).is_some() => Self::Fault(code),
            _ => Self::Unclear,
        }
    }
}

impl Asking {
    fn new(due: Instant) -> Self {
        Self { due, backoff: BACKOFF_MIN, said: None, replicas: None, misses: 0, answer_owed: false }
    }

    fn is_known(&self) -> bool {
        matches!(self.said, Some(Said::Partitions(_)))
    }

    /// Takes an answer; what is to be said, if anything.
    fn answered(&mut self, answer: Answer, now: Instant, created_by_asking: bool) -> Option<Said> {
        let said = match answer {
            Answer::Partitions(partitions) => {
                self.misses = 0;
                self.backoff = BACKOFF_MIN;
                self.due = now + REFRESH_EVERY;
                Said::Partitions(partitions)
            }
            Answer::Fault(code) => {
                self.misses += 1;
                self.retry(now);
                // A broker that is behind with its metadata misses a topic that exists, or was just created by asking.
                let misses_needed = if created_by_asking { 3 } else { 1 + u32::from(self.is_known()) };
                if self.misses < misses_needed {
                    return None;
                }
                Said::Code(code)
            }
            Answer::Unclear => {
                self.retry(now);
                return None;
            }
        };
        let news = self.answer_owed || self.said != Some(said);
        self.said = Some(said);
        self.answer_owed = false;
        news.then_some(said)
    }

    fn retry(&mut self, now: Instant) {
        self.due = now + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }
}

impl Topics {
    pub fn new(created_by_asking: bool) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), created_by_asking }
    }

    /// The handle of a topic that records go to.
    ///
    /// # Errors
    /// librdkafka's code: a name that it can't hold.
    pub fn handle(&self, client: &Client, topic: &Arc<str>) -> Result<Arc<TopicHandle>, c_int> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        // Not asked for, but in use: refreshed like the others from the next round on.
        let entry = state.entry(client, topic, now, now + REFRESH_EVERY)?;
        Ok(Arc::clone(&entry.handle))
    }

    /// Asks for a topic; the answer comes through the thread that runs [`ask_for_ever`].
    ///
    /// # Errors
    /// librdkafka's code: a name that it can't hold.
    pub fn ask(&self, client: &Client, topic: &Arc<str>) -> Result<(), c_int> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let entry = state.entry(client, topic, now, now)?;
        entry.asking.answer_owed = true;
        entry.asking.due = now;
        self.changed.notify_all();
        Ok(())
    }

    /// Nobody waits for the topic: no more questions. Its next use brings it back.
    pub fn forget(&self, topic: &str) {
        lock(&self.state).entries.remove(topic);
    }

    /// The brokers of the cluster, as of the last answer: id and `HOST:PORT`.
    pub fn brokers(&self) -> Vec<(i32, String)> {
        lock(&self.state).brokers.clone()
    }

    /// How many topics are asked for.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        lock(&self.state).entries.len()
    }

    /// A record was refused for its topic's sake: asks for the topic soon. librdkafka remembers a refused topic (not
    /// authorised, unknown partition) until the next answer, and refuses everything on the spot until then.
    pub fn suspect(&self, topic: &str) {
        let mut state = lock(&self.state);
        if let Some(entry) = state.entries.get_mut(topic) {
            entry.asking.due = entry.asking.due.min(Instant::now() + entry.asking.backoff);
            self.changed.notify_all();
        }
    }

    /// Ends [`ask_for_ever`], after the request it may be waiting for.
    pub fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_all();
    }

    /// Waits for topics to be due; `None` when there is nothing more to ask.
    fn wait_due(&self) -> Option<Vec<(Arc<str>, Arc<TopicHandle>)>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return None;
            }
            let now = Instant::now();
            let next = state.entries.values().map(|entry| entry.asking.due).min();
            if next.is_some_and(|next| next <= now) {
                return Some(state.due(now));
            }
            let wait = next.map_or(REFRESH_EVERY, |next| next - now);
            (state, _) = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits before the next attempt to reach a broker.
    fn pause(&self, pause: Duration) {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, pause, |state| !state.stopping);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes what brokers answered; what is to be said.
    fn answered(&self, answers: Vec<Found>) -> Vec<OutputEvent> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let mut events = Vec::new();
        for Found { topic, answer, replicas } in answers {
            let Some(entry) = state.entries.get_mut(&topic) else { continue };
            let replicas = replicas.filter(|_| matches!(answer, Answer::Partitions(_)));
            if let Some(replicas) = replicas.filter(|found| entry.asking.replicas.as_ref() != Some(found)) {
                entry.asking.replicas = Some(Arc::clone(&replicas));
                events.push(OutputEvent::Replicas { topic: Arc::clone(&topic), replicas });
            }
            let said = entry.asking.answered(answer, now, self.created_by_asking);
            events.extend(said.map(|said| event(topic, said)));
        }
        events
    }
}

fn event(topic: Arc<str>, said: Said) -> OutputEvent {
    let result = match said {
        Said::Partitions(partitions) => Ok(partitions),
        Said::Code(code) => Err(fault::fault(code, &At { topic: &topic, partition: None })),
    };
    OutputEvent::Topic { topic, result }
}

impl State {
    fn entry(&mut self, client: &Client, topic: &Arc<str>, now: Instant, due: Instant) -> Result<&mut Entry, c_int> {
        if !self.entries.contains_key(topic) {
            let handle = Arc::new(client.topic(topic)?);
            self.entries.insert(Arc::clone(topic), Entry { handle, used: now, asking: Asking::new(due) });
        }
        let entry = self.entries.get_mut(topic).expect("inserted above if it was missing");
        entry.used = now;
        Ok(entry)
    }

    /// The topics to ask for now. Known ones are refreshed together; those out of use are forgotten.
    fn due(&mut self, now: Instant) -> Vec<(Arc<str>, Arc<TopicHandle>)> {
        self.entries.retain(|_, entry| !entry.asking.is_known() || now.duration_since(entry.used) < FORGET_AFTER);
        let refresh = self.entries.values().any(|entry| entry.asking.is_known() && entry.asking.due <= now);
        let horizon = |entry: &Entry| if refresh && entry.asking.is_known() { now + REFRESH_TOGETHER } else { now };
        self.entries
            .iter()
            .filter(|(_, entry)| entry.asking.due <= horizon(entry))
            .map(|(topic, entry)| (Arc::clone(topic), Arc::clone(&entry.handle)))
            .collect()
    }
}

/// Asks for topics as they become due, until [`Topics::stop`]; `say` takes what is to be said.
pub(super) fn ask_for_ever(client: &Client, topics: &Topics, say: impl Fn(Vec<OutputEvent>)) {
    let mut backoff = BACKOFF_MIN;
    while let Some(due) = topics.wait_due() {
        match ask(client, topics, &due) {
            Ok(answers) => {
                backoff = BACKOFF_MIN;
                let events = topics.answered(answers);
                if !events.is_empty() {
                    say(events);
                }
            }
            Err(code) => {
                let (output, reason) = (client.name(), super::ffi::describe(code));
                let topics_due = due.len();
                tracing::debug!(target: "logferry::kafka", %output, topics_due, "no broker says which partitions topics have: {reason}");
                topics.pause(backoff);
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// # Errors
/// librdkafka's code: no broker answered.
fn ask(client: &Client, topics: &Topics, due: &[(Arc<str>, Arc<TopicHandle>)]) -> Result<Vec<Found>, c_int> {
    let ask = |only: Option<&TopicHandle>| {
        let answer = client.metadata(only, REQUEST_TIMEOUT)?;
        lock(&topics.state).brokers = answer.brokers;
        Ok::<_, c_int>(answer.topics)
    };
    let found = |topic: &Arc<str>, found: Option<&TopicMetadata>| Found {
        topic: Arc::clone(topic),
        answer: found.map_or(Answer::Unclear, |found| Answer::of(found.code, found.partitions)),
        replicas: found.map(|found| Arc::clone(&found.replicas)),
    };
    if due.len() >= ASK_ALL_FROM {
        let answers = ask(None)?;
        let answers: HashMap<&str, &TopicMetadata> = answers.iter().map(|one| (one.topic.as_str(), one)).collect();
        return Ok(due.iter().map(|(topic, _)| found(topic, answers.get(&**topic).copied())).collect());
    }
    due.iter()
        .map(|(topic, handle)| {
            let answers = ask(Some(handle))?;
            Ok(found(topic, answers.iter().find(|one| *one.topic == **topic)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::kafka::ffi::Named;

    const MISSING: c_int = Named::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as c_int;
    const NO_LEADER: c_int = Named::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as c_int;

    /// Feeds answers one after the other; what is said to each, and the milliseconds until the next question.
    fn check(created_by_asking: bool, steps: &[(c_int, u32, Option<Said>, u64)]) {
        let now = Instant::now();
        let mut asking = Asking::new(now);
        for (step, (code, partitions, said, wait_ms)) in steps.iter().enumerate() {
            let heard = asking.answered(Answer::of(*code, *partitions), now, created_by_asking);
            assert_eq!(heard, *said, "step {step}");
            assert_eq!(asking.due - now, Duration::from_millis(*wait_ms), "step {step}");
        }
    }

    #[test]
    fn a_count_is_said_when_it_changes() {
        check(
            false,
            &[
                (0, 3, Some(Said::Partitions(3)), 30_000),
                (0, 3, None, 30_000),
                (0, 6, Some(Said::Partitions(6)), 30_000),
                (NO_LEADER, 0, None, 500),
                (0, 6, None, 30_000),
            ],
        );
    }

    #[test]
    fn a_missing_topic_is_said_once_and_asked_for_with_back_off() {
        check(
            false,
            &[
                (MISSING, 0, Some(Said::Code(MISSING)), 500),
                (MISSING, 0, None, 1_000),
                (MISSING, 0, None, 2_000),
                (MISSING, 0, None, 4_000),
                (MISSING, 0, None, 5_000),
                (MISSING, 0, None, 5_000),
                (0, 1, Some(Said::Partitions(1)), 30_000),
                (MISSING, 0, None, 500),
                (MISSING, 0, Some(Said::Code(MISSING)), 1_000),
            ],
        );
    }

    #[test]
    fn a_topic_that_asking_creates_may_be_missing_at_first() {
        check(
            true,
            &[
                (MISSING, 0, None, 500),
                (NO_LEADER, 0, None, 1_000),
                (MISSING, 0, None, 2_000),
                (0, 4, Some(Said::Partitions(4)), 30_000),
            ],
        );
    }

    #[test]
    fn who_asks_again_is_answered_again() {
        let now = Instant::now();
        let mut asking = Asking::new(now);
        assert!(asking.answered(Answer::Partitions(3), now, false).is_some());
        asking.answer_owed = true;
        assert_eq!(asking.answered(Answer::Partitions(3), now, false), Some(Said::Partitions(3)));
        assert_eq!(asking.answered(Answer::Partitions(3), now, false), None);
    }
}
