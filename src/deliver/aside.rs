//! Lanes that need a broker which does not answer are set aside: the others get a producer of their own (P).
//!
//! A broker answers the requests of a connection one after the other (Kafka's SocketServer mutes the channel meanwhile), and one for
//! a partition that waits for a silent replica is answered only when that replica has left the in-sync set (`replica.lag.time.max.ms`,
//! 30 s) or the request has timed out. Until then it holds up everything behind it, healthy partitions of the same leader too. So:
//!
//! ```text
//!   lanes silent for 300 ms, of which    Knock: who answers, on       SetAside: a new producer; the old one keeps the lanes
//!   one has a broker that another  ────► connections of their ──────► that have a replica on a silent broker
//!   one does without                     own, within a second               │
//!                                                                           ▼
//!                                        all answer again: those lanes go to the new producer too, the old one ends
//! ```
//!
//! Lanes go to the newest producer at once, and to the one beside it only when nothing of them is in flight: a report says no more than
//! from which producer it is.
//!
//! What a healthy lane had in flight behind the others is sent again at once, so it may arrive twice, first occurrences in order.
//! Refused here: to take one silent broker for an outage, or an outage for one: where nobody answers, nothing is done.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::lane::Lane;
use super::machine::{Action, Machine};
use crate::batch::LaneKey;
use crate::output::Replicas;

/// A lane with records in flight and without a word of them for so long may be held up: ten times what a broker takes, and short
/// enough for the 99th percentile of a few minutes.
const SILENT_AFTER: Duration = Duration::from_millis(300);
/// Between two questions, as long as nothing comes of them.
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(1);
const ASK_AGAIN_LONGEST: Duration = Duration::from_secs(30);
/// How often the silent brokers are asked whether they answer again.
const ASK_SILENT_EVERY: Duration = Duration::from_secs(5);
/// Between the end of one time and the begin of the next: what is in flight may be sent twice each time.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_LONGEST: Duration = Duration::from_secs(60);

/// What is set aside, and when to ask.
#[derive(Debug)]
pub(super) struct Aside {
    beside: Option<Beside>,
    is_asked: bool,
    ask_not_before: Duration,
    ask_again: Backoff,
    not_before: Duration,
    again: Backoff,
}

/// The producer beside the newest one.
#[derive(Debug)]
struct Beside {
    epoch: u64,
    /// A lane with one of these is with it.
    brokers: BTreeSet<i32>,
    /// Lanes that left it with records in flight there, which were sent again: they don't come back, else its late reports would be
    /// taken for those of what is sent then.
    left: HashSet<LaneKey>,
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            beside: None,
            is_asked: false,
            ask_not_before: Duration::ZERO,
            ask_again: Backoff::new(ASK_AGAIN_FIRST, ASK_AGAIN_LONGEST),
            not_before: Duration::ZERO,
            again: Backoff::new(AGAIN_FIRST, AGAIN_LONGEST),
        }
    }
}

impl Aside {
    /// The epoch of the producer that has what is set aside.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.beside.as_ref().map(|beside| beside.epoch)
    }

    /// The brokers that do not answer, for which something is set aside.
    pub(super) fn silent(&self) -> impl Iterator<Item = i32> {
        self.beside.iter().flat_map(|beside| &beside.brokers).copied()
    }

    /// A lane leaves the producer of `epoch` for the newest one, without waiting for its reports.
    pub(super) fn left(&mut self, epoch: u64, key: &LaneKey) {
        if let Some(beside) = self.beside.as_mut().filter(|beside| beside.epoch == epoch) {
            beside.left.insert(key.clone());
        }
    }

    /// Nothing is set aside any more.
    pub(super) fn end(&mut self) {
        self.beside = None;
    }
}

impl<W: Copy + Eq + Hash + std::fmt::Debug> Machine<W> {
    /// The epoch of the producer that a lane's records go to.
    pub(super) fn home(&self, key: &LaneKey) -> u64 {
        match &self.aside.beside {
            Some(beside)
                if self.has_replica_on(key, |broker| beside.brokers.contains(&broker))
                    && !beside.left.contains(key) =>
            {
                beside.epoch
            }
            _ => self.epoch,
        }
    }

    /// Which brokers have the partitions of a topic.
    pub fn replicas(&mut self, name: &Arc<str>, replicas: Replicas) {
        self.topics.entry(Arc::clone(name)).or_default().replicas = Some(replicas);
        if self.aside.beside.is_some() {
            self.settle_in();
        }
    }

    /// The lanes that need one of `brokers` stay with the producer that has them; the producer of `epoch` is for the others. What these
    /// have in flight and have not heard of for long is sent again.
    pub fn set_aside(&mut self, epoch: u64, brokers: &[i32], now: Duration) {
        if self.rebuilding {
            // The one before is broken: there is nothing to be kept with it.
            return self.rebuilt(epoch, now);
        }
        let as_it_was = Beside { epoch: self.epoch, brokers: BTreeSet::new(), left: HashSet::new() };
        self.aside.beside.get_or_insert(as_it_was).brokers.extend(brokers);
        self.epoch = epoch;
        self.rebuilds += 1;
        self.aside.ask_not_before = now + ASK_SILENT_EVERY;
        self.settle_in();
        self.hurry(now, |lane| lane.silent_for(now) > SILENT_AFTER);
        self.look_all_up();
    }

    /// The producer of `epoch` is beyond repair: what was set aside with it goes to the newest one.
    pub fn lost_aside(&mut self, epoch: u64) {
        if self.aside.epoch() == Some(epoch) {
            self.aside.end();
            self.settle_in();
        }
    }

    /// Which of the brokers that were asked do not answer; `None`: none does, or nobody knows.
    pub fn knocked(&mut self, silent: Option<Vec<i32>>, now: Duration) {
        self.aside.is_asked = false;
        let Some(silent) = silent else {
            self.aside.ask_not_before = now + self.aside.ask_again.fail();
            return;
        };
        if self.aside.beside.as_ref().is_some_and(|beside| beside.brokers.iter().all(|one| !silent.contains(one))) {
            self.aside.end();
            self.aside.not_before = now + self.aside.again.fail();
            self.settle_in();
            self.wake();
        }
        let has_beside = self.aside.beside.is_some();
        let held_up = |(key, lane): (&LaneKey, &Lane)| {
            let is_off = self.replicas_of(key).is_some_and(|replicas| !replicas.iter().any(|one| silent.contains(one)));
            lane.silent_for(now) > SILENT_AFTER && is_off && self.home(key) == self.epoch
        };
        let holds_up = |(key, lane): (&LaneKey, &Lane)| {
            let is_on = self.has_replica_on(key, |broker| silent.contains(&broker));
            lane.silent_for(now) > SILENT_AFTER && is_on && lane.epoch == self.epoch
        };
        let would_help = self.lanes.iter().any(held_up) && self.lanes.iter().any(holds_up);
        if would_help && !self.rebuilding && !self.is_moving() && now >= self.aside.not_before {
            self.aside.ask_again.reset();
            let numbers: Vec<String> = silent.iter().map(i32::to_string).collect();
            let message = format!(
                "broker {} does not answer, and holds up partitions that it has no replica of",
                numbers.join(", ")
            );
            self.actions.push_back(Action::SetAside { brokers: silent, message: message.into() });
        }
        self.aside.ask_not_before = now + if has_beside { ASK_SILENT_EVERY } else { self.aside.ask_again.fail() };
    }

    /// Asks brokers whether they answer, where it may be that a silent one holds up who does not need it.
    pub(super) fn look_for_silent_brokers(&mut self, now: Duration) {
        if self.aside.is_asked || self.rebuilding || now < self.aside.ask_not_before {
            return;
        }
        let silent = self.lanes.iter().filter(|(_, lane)| lane.silent_for(now) > SILENT_AFTER);
        let sets: BTreeSet<&[i32]> = silent.filter_map(|(key, _)| self.replicas_of(key)).collect();
        let is_suspect = |set: &[i32]| sets.iter().any(|other| set.iter().any(|broker| !other.contains(broker)));
        let mut brokers = self.aside.beside.as_ref().map(|beside| beside.brokers.clone()).unwrap_or_default();
        if sets.iter().any(|set| is_suspect(set)) {
            brokers.extend(sets.iter().copied().flatten());
        }
        if brokers.is_empty() {
            if now >= self.aside.not_before {
                self.aside.again.reset();
            }
            self.aside.ask_again.reset();
            return;
        }
        self.aside.is_asked = true;
        self.actions.push_back(Action::Knock { brokers: brokers.into_iter().collect() });
    }

    fn replicas_of(&self, key: &LaneKey) -> Option<&[i32]> {
        let replicas = self.topics.get(&key.topic)?.replicas.as_ref()?;
        let brokers = replicas.get(usize::try_from(key.partition).ok()?)?;
        (!brokers.is_empty()).then_some(brokers)
    }

    /// Whether the lane is known to have a replica on such a broker.
    fn has_replica_on(&self, key: &LaneKey, is_such: impl Fn(i32) -> bool) -> bool {
        self.replicas_of(key).is_some_and(|replicas| replicas.iter().any(|broker| is_such(*broker)))
    }
}
