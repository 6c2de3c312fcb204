//! Who waits for what, and who may come first (P).
//!
//! A source whose batch was held waits under one blocker. Waiters have one global sequence: who came first is served
//! first, under its blocker and, over all blockers, in the use of freed credit. A waiter that is woken holds a *grant* of
//! the credit it was woken for until it comes back; only waiters older than it may use that credit (else a batch over many
//! lanes would starve behind narrow ones). A waiter that is held again keeps its number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::{LaneKey, Place};

/// What a held source waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blocker {
    /// A lane that takes nothing, or has its share of the window in flight.
    Lane(LaneKey),
    /// A topic: its partition count is not known, or none of its lanes flows.
    Topic(Arc<str>),
    /// The window as a whole.
    Window,
    /// The spool: full, broken, or busy.
    Spool,
}

/// What a waiter would hand over: per share the topic, the place and the bytes.
pub type Wants = Vec<(Arc<str>, Place, u64)>;

/// The waiters of one output.
#[derive(Debug, Default)]
pub struct Waiting<W> {
    /// The last number given; of all outputs together, so that numbers can be compared.
    last_seq: Arc<AtomicU64>,
    parked: HashMap<Blocker, BTreeMap<u64, Waiter<W>>>,
    /// Where each parked waiter is.
    places: HashMap<W, (Blocker, u64)>,
    /// By number: what was promised to waiters that were woken and have not come back.
    grants: BTreeMap<u64, Waiter<W>>,
    granted: HashMap<W, u64>,
    /// Numbers that waiters bring from another output, while they are looked at here.
    brought: HashMap<W, u64>,
}

/// A waiter and what it wants.
#[derive(Clone, Debug)]
pub struct Waiter<W> {
    pub who: W,
    pub wants: Wants,
    /// See [`super::lane::Flight::urgent`].
    pub urgent: bool,
}

impl<W: Copy + Eq + std::hash::Hash + std::fmt::Debug> Waiting<W> {
    /// Nobody waits.
    pub fn new() -> Self {
        Self {
            last_seq: Arc::default(),
            parked: HashMap::new(),
            places: HashMap::new(),
            grants: BTreeMap::new(),
            granted: HashMap::new(),
            brought: HashMap::new(),
        }
    }

    /// Takes its numbers from now on from where others take theirs.
    pub fn number_with(&mut self, last_seq: &Arc<AtomicU64>) {
        self.last_seq = Arc::clone(last_seq);
    }

    /// `who` comes with a number that it has at another output, until it is parked or forgotten here.
    pub fn bring(&mut self, who: W, seq: u64) {
        if !self.granted.contains_key(&who) {
            self.brought.insert(who, seq);
        }
    }

    /// The number of a waiter that was woken and comes back; `None` for a newcomer.
    pub fn number_of(&self, who: W) -> Option<u64> {
        self.granted.get(&who).or_else(|| self.brought.get(&who)).copied()
    }

    /// Parks `who` under `blocker`, with the number it has or a new one. A waiter waits in one place only.
    pub fn park(&mut self, who: W, blocker: Blocker, wants: Wants, urgent: bool) {
        let seq = match self.release(who).or_else(|| self.unpark(who)) {
            Some(seq) => seq,
            None => self.last_seq.fetch_add(1, Ordering::Relaxed) + 1,
        };
        self.places.insert(who, (blocker.clone(), seq));
        self.parked.entry(blocker).or_default().insert(seq, Waiter { who, wants, urgent });
    }

    /// Forgets `who`: it handed its batch over, or has nothing to hand over.
    pub fn forget(&mut self, who: W) {
        self.release(who);
        self.unpark(who);
    }

    /// Whether somebody with a number below `seq` (anybody, for a newcomer) is parked under `blocker`.
    pub fn is_behind(&self, blocker: &Blocker, seq: Option<u64>) -> bool {
        let first = self.parked.get(blocker).and_then(|group| group.keys().next());
        match (first, seq) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(first), Some(seq)) => *first < seq,
        }
    }

    /// The first parked under `blocker`.
    pub fn front(&self, blocker: &Blocker) -> Option<(u64, &Waiter<W>)> {
        self.parked.get(blocker).and_then(|group| group.iter().next()).map(|(seq, waiter)| (*seq, waiter))
    }

    /// Takes the first parked under `blocker` out and gives it its grant.
    pub fn grant_front(&mut self, blocker: &Blocker) -> Option<W> {
        let (seq, waiter) = self.pop_front(blocker)?;
        let who = waiter.who;
        self.granted.insert(who, seq);
        self.grants.insert(seq, waiter);
        Some(who)
    }

    /// Moves the first parked under `blocker` to another one: what it waits for has changed.
    pub fn move_front(&mut self, blocker: &Blocker, to: Blocker) {
        if let Some((seq, waiter)) = self.pop_front(blocker) {
            self.places.insert(waiter.who, (to.clone(), seq));
            self.parked.entry(to).or_default().insert(seq, waiter);
        }
    }

    /// What is promised to woken waiters that go before `seq` (all of them, for a newcomer).
    pub fn grants_before(&self, seq: Option<u64>) -> impl Iterator<Item = &(Arc<str>, Place, u64)> {
        self.grants.range(..seq.unwrap_or(u64::MAX)).flat_map(|(_, waiter)| waiter.wants.iter())
    }

    /// What somebody waits for.
    pub fn blockers(&self) -> Vec<Blocker> {
        self.parked.keys().cloned().collect()
    }

    /// How many wait under `blocker`.
    pub fn count(&self, blocker: &Blocker) -> usize {
        self.parked.get(blocker).map_or(0, BTreeMap::len)
    }

    /// How many are parked.
    pub fn parked_count(&self) -> usize {
        self.places.len()
    }

    /// How many were woken and have not come back.
    pub fn granted_count(&self) -> usize {
        self.granted.len()
    }

    fn pop_front(&mut self, blocker: &Blocker) -> Option<(u64, Waiter<W>)> {
        let group = self.parked.get_mut(blocker)?;
        let (seq, waiter) = group.pop_first()?;
        if group.is_empty() {
            self.parked.remove(blocker);
        }
        self.places.remove(&waiter.who);
        Some((seq, waiter))
    }

    fn release(&mut self, who: W) -> Option<u64> {
        let brought = self.brought.remove(&who);
        let Some(seq) = self.granted.remove(&who) else { return brought };
        self.grants.remove(&seq);
        Some(seq)
    }

    fn unpark(&mut self, who: W) -> Option<u64> {
        let (blocker, seq) = self.places.remove(&who)?;
        if let Some(group) = self.parked.get_mut(&blocker) {
            group.remove(&seq);
            if group.is_empty() {
                self.parked.remove(&blocker);
            }
        }
        Some(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(bytes: u64) -> Wants {
        vec![(Arc::from("t"), Place::At(0), bytes)]
    }

    #[test]
    fn first_come_first_served_and_a_number_is_kept() {
        let mut waiting = Waiting::new();
        waiting.park(1, Blocker::Window, wants(10), false);
        waiting.park(2, Blocker::Window, wants(20), false);
        assert_eq!(waiting.grant_front(&Blocker::Window), Some(1));
        assert_eq!(waiting.number_of(1), Some(1));
        waiting.park(1, Blocker::Window, wants(10), false);
        assert_eq!(waiting.grant_front(&Blocker::Window), Some(1), "held again, 1 is still before 2");
    }

    #[test]
    fn a_grant_binds_those_behind_it_only() {
        let mut waiting = Waiting::new();
        waiting.park(1, Blocker::Window, wants(10), false);
        waiting.park(2, Blocker::Window, wants(20), false);
        waiting.grant_front(&Blocker::Window);
        waiting.grant_front(&Blocker::Window);
        let sum = |seq| waiting.grants_before(seq).map(|(_, _, bytes)| bytes).sum::<u64>();
        assert_eq!((sum(Some(1)), sum(Some(2)), sum(None)), (0, 10, 30));
    }

    #[test]
    fn the_forgotten_leave_no_trace() {
        let mut waiting = Waiting::new();
        waiting.park(1, Blocker::Window, wants(10), false);
        waiting.park(2, Blocker::Topic(Arc::from("t")), wants(10), false);
        waiting.grant_front(&Blocker::Window);
        waiting.forget(1);
        waiting.forget(2);
        assert_eq!((waiting.parked_count(), waiting.granted_count()), (0, 0));
        assert!(waiting.blockers().is_empty());
    }
}
