//! One batch for several outputs: all of the required ones take it, or none does and its source waits at the one that can't.
//!
//! The machines are locked in one order, that of the outputs' names, so two sources never wait for each other's lock. A waiter
//! has its number at all outputs: who was woken by one and is held by another comes before whoever came later there, so a batch
//! for many outputs does not starve behind narrow ones. What was granted to it elsewhere is free meanwhile: an output that is
//! away binds nothing of the others.
//!
//! An output that is not required takes what it can at once; the rest is dropped for it and counted. There is one exception:
//! a topic whose partitions it has just begun to ask for is waited for, [`PATIENCE`] at most, and not while it owes another
//! answer for longer. Else the first records of every start would be dropped.
//!
//! Not here: one output alone ([`Deliver::offer`], the plain path).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use super::driver::{Core, Deliver, Waiter};
use super::machine::{Machine, Offered};
use super::waiting::{Blocker, Wants};
use crate::batch::{Encoded, Place, Receipt, Settled, Share};

/// How long an output that is not required may hold a source until it knows the partitions of a topic that is new to it.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// When a source that is held so is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Topics whose partitions may be waited for at once.
const AWAITED_MAX: usize = 1_000;

/// What one output is to take of a batch.
pub struct Portion<'a> {
    pub deliver: &'a Deliver,
    /// What is offered, once more.
    pub wants: &'a Wants,
    pub encoded: Encoded,
    pub receipt: Receipt,
    /// It holds the source back while it can't take its portion.
    pub required: bool,
}

/// What [`offer_all`] answers.
pub enum OfferedAll<'a> {
    /// The required outputs have their portions, and the others what they could take.
    Taken,
    /// Nothing was taken, the waiter is parked; everything comes back.
    Held(Vec<Portion<'a>>),
    /// Nothing was taken and nobody is parked: to be tried again after a while.
    Later(Vec<Portion<'a>>, Duration),
}

/// Topics whose partitions an output that is not required was asked for.
#[derive(Default)]
pub(super) struct Patience {
    since: HashMap<Arc<str>, Duration>,
    /// Of the partition counts: an output that has learned something is there.
    version: u64,
}

/// Records that an output did not take, by reason.
pub type Dropped = BTreeMap<&'static str, u64>;

/// Gives each output its portion, or none. `portions`: at least one, in the order of the outputs' names. `urgent`: the source
/// can't read it again, or should not have to.
pub fn offer_all(who: Waiter, portions: Vec<Portion<'_>>, urgent: bool) -> OfferedAll<'_> {
    let mut cores = lock_all(who, portions.iter().map(|portion| portion.deliver));
    let asked: Vec<Asked<'_>> = portions
        .iter()
        .map(|portion| Asked { deliver: portion.deliver, wants: portion.wants, required: portion.required })
        .collect();
    let answers = ask_all(who, &asked, &mut cores, urgent);
    let blocked_at = answers.iter().zip(&asked).position(|(answer, asked)| asked.required && answer.blocker.is_some());
    let is_later = blocked_at.is_none()
        && answers.iter().zip(&portions).zip(&cores).any(|((answer, portion), core)| {
            answer.blocker.is_some() && portion.deliver.is_patient(&core.machine, &portion.encoded.shares)
        });
    if blocked_at.is_some() || is_later {
        for (at, (portion, core)) in portions.iter().zip(&mut cores).enumerate() {
            if blocked_at == Some(at) {
                let (source, shares) = (portion.encoded.source, &portion.encoded.shares);
                let offered = core.machine.offer(who, source, shares, answers[at].urgent, portion.deliver.now());
                debug_assert!(matches!(offered, Offered::Held(_)), "it was looked at just now, and is locked");
            } else {
                core.machine.forget(who);
            }
        }
        finish_all(portions.iter().map(|portion| portion.deliver), cores);
        return match blocked_at {
            Some(_) => OfferedAll::Held(portions),
            None => OfferedAll::Later(portions, LOOK_AGAIN),
        };
    }
    let delivers: Vec<&Deliver> = portions.iter().map(|portion| portion.deliver).collect();
    let mut dropped: Vec<(&Deliver, Encoded, Receipt, &'static str)> = Vec::new();
    for ((portion, core), answer) in portions.into_iter().zip(&mut cores).zip(answers) {
        let deliver = portion.deliver;
        match answer.blocker {
            None => {
                let left = deliver.take(core, who, portion.encoded, portion.receipt, answer.urgent);
                debug_assert!(left.is_none(), "it was looked at just now, and is locked");
                // What is not taken against all expectation is abandoned with its receipt: read again, not lost.
                drop(left);
            }
            Some(blocker) => {
                core.machine.forget(who);
                let count = portion.encoded.records.len() as u64;
                let reason = reason(&blocker);
                *core.dropped.entry(reason).or_default() += count;
                dropped.push((deliver, portion.encoded, portion.receipt, reason));
            }
        }
    }
    finish_all(delivers.into_iter(), cores);
    for (deliver, encoded, receipt, reason) in dropped {
        let (output, records) = (&deliver.name, encoded.records.len());
        tracing::warn!(%output, reason, records, "records are dropped: the output can't take them now, and is `required: false`");
        deliver.recycle(encoded.buf);
        receipt.settle(Settled::Dropped);
    }
    OfferedAll::Taken
}

/// Whether an offer like these wants would be held by one of the outputs; then `who` is parked there, as if it had offered.
/// Only required outputs are to be asked, in the order of their names.
pub fn would_hold_any(who: Waiter, outputs: &[(&Deliver, &Wants)], urgent: bool) -> bool {
    let mut cores = lock_all(who, outputs.iter().map(|(deliver, _)| *deliver));
    let asked: Vec<Asked<'_>> =
        outputs.iter().map(|(deliver, wants)| Asked { deliver, wants, required: true }).collect();
    let answers = ask_all(who, &asked, &mut cores, urgent);
    let blocked_at = answers.iter().position(|answer| answer.blocker.is_some());
    let mut held = false;
    if let Some(blocked_at) = blocked_at {
        let Asked { deliver, wants, .. } = asked[blocked_at];
        held = cores[blocked_at].machine.would_hold(who, wants, answers[blocked_at].urgent, deliver.now()).is_some();
        let others = cores.iter_mut().enumerate().filter(|(at, _)| *at != blocked_at);
        others.for_each(|(_, core)| core.machine.forget(who));
    }
    finish_all(outputs.iter().map(|(deliver, _)| *deliver), cores);
    held
}

/// What one output is asked.
#[derive(Clone, Copy)]
struct Asked<'a> {
    deliver: &'a Deliver,
    wants: &'a Wants,
    required: bool,
}

/// What one output says.
struct Answer {
    /// `None`: it takes it.
    blocker: Option<Blocker>,
    /// It is to be offered as urgent.
    urgent: bool,
}

/// Asks the outputs. What a healthy one can take is urgent for a required one that can't: it goes to the spool there, so that
/// the healthy one goes on.
fn ask_all(who: Waiter, asked: &[Asked<'_>], cores: &mut [MutexGuard<'_, Core>], urgent: bool) -> Vec<Answer> {
    let ask = |one: &Asked<'_>, core: &mut Core, urgent| Answer {
        blocker: core.machine.look(who, one.wants, urgent, one.deliver.now()).err(),
        urgent,
    };
    let mut answers: Vec<Answer> =
        asked.iter().zip(cores.iter_mut()).map(|(one, core)| ask(one, core, urgent && one.required)).collect();
    if answers.iter().any(|answer| answer.blocker.is_none()) {
        for ((answer, one), core) in answers.iter_mut().zip(asked).zip(cores.iter_mut()) {
            if answer.blocker.is_some() && one.required && !answer.urgent {
                *answer = ask(one, core, true);
            }
        }
    }
    answers
}

/// Locks the machines, and lets `who` have its number at all of them.
fn lock_all<'a>(who: Waiter, delivers: impl Iterator<Item = &'a Deliver>) -> Vec<MutexGuard<'a, Core>> {
    let mut cores: Vec<_> = delivers.map(Deliver::lock).collect();
    if let Some(seq) = cores.iter().filter_map(|core| core.machine.number_of(who)).min() {
        cores.iter_mut().for_each(|core| core.machine.bring(who, seq));
    }
    cores
}

/// Does what the machines say, lets go of them, and then what takes other locks.
fn finish_all<'a>(delivers: impl Iterator<Item = &'a Deliver>, cores: Vec<MutexGuard<'a, Core>>) {
    let acted: Vec<_> = delivers
        .zip(cores)
        .map(|(deliver, mut core)| {
            let after = deliver.act(&mut core);
            (deliver, core, after)
        })
        .collect();
    let (afters, cores): (Vec<_>, Vec<_>) =
        acted.into_iter().map(|(deliver, core, after)| ((deliver, after), core)).unzip();
    drop(cores);
    afters.into_iter().for_each(|(deliver, after)| deliver.finish(after));
}

fn reason(blocker: &Blocker) -> &'static str {
    match blocker {
        Blocker::Lane(_) => "lane_blocked",
        Blocker::Topic(_) => "topic_blocked",
        Blocker::Window => "window_full",
        Blocker::Spool => "spool_full",
    }
}

impl Deliver {
    /// Whether the shares can't go only because the partitions of a topic are asked for, and not for long.
    fn is_patient(&self, machine: &Machine<Waiter>, shares: &[Share]) -> bool {
        let Some(unknown) = shares.iter().find(|share| share.place == Place::Unknown) else { return false };
        let Some(is_known) = machine.awaits_count(&unknown.topic) else { return false };
        if is_known {
            // Learned since it was encoded.
            return true;
        }
        let (now, version) = (self.now(), self.topics_version());
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        if patience.version != version {
            patience.version = version;
            patience.since.clear();
        }
        if patience.since.values().any(|since| now.saturating_sub(*since) > PATIENCE) {
            return false;
        }
        if patience.since.len() < AWAITED_MAX || patience.since.contains_key(&unknown.topic) {
            patience.since.entry(Arc::clone(&unknown.topic)).or_insert(now);
            return true;
        }
        false
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::ops::Range;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU64;
    use std::thread::JoinHandle;
    use std::time::Instant;

    use super::super::burial::Letters;
    use super::super::driver::{Hooks, Offer};
    use super::super::machine::{Limits, WhenFull};
    use super::*;
    use crate::batch::{NONE, Position, Record, SettleSink, SourceKey};
    use crate::budget::Budget;
    use crate::output::dead_letter::entry::Entry;
    use crate::output::dead_letter::{DeadLetter, FileStatus};
    use crate::output::{BrokerStatus, OutputEvent, Parcel, Producer};

    /// Answers and acknowledges when it is told to.
    #[derive(Default)]
    pub(in crate::deliver) struct Desk {
        events: Mutex<Vec<OutputEvent>>,
        pub produced: Mutex<Vec<(Parcel, Range<u32>)>>,
    }

    impl Producer for Desk {
        fn produce(&self, parcel: Parcel, _: &Arc<Encoded>, _: &Arc<str>, _: i32, records: Range<u32>) {
            self.produced.lock().expect("no panic while locked").push((parcel, records));
        }

        fn lookup(&self, _: &Arc<str>) {}

        fn poll(&self, timeout: Duration, events: &mut Vec<OutputEvent>) {
            let mut told = self.events.lock().expect("no panic while locked");
            events.append(&mut told);
            drop(told);
            if events.is_empty() {
                std::thread::park_timeout(timeout.min(Duration::from_millis(1)));
            }
        }

        fn brokers(&self) -> Vec<BrokerStatus> {
            let broker = |id| BrokerStatus { name: format!("host:9092/{id}"), state: "UP".into(), last_error: None };
            (1..=2).map(broker).collect()
        }
    }

    impl Desk {
        pub fn tell(&self, event: OutputEvent) {
            self.events.lock().expect("no panic while locked").push(event);
        }

        fn know(&self, topic: &str) {
            self.tell(OutputEvent::Topic { topic: topic.into(), result: Ok(1) });
        }

        pub fn acknowledge_all(&self) {
            let produced = std::mem::take(&mut *self.produced.lock().expect("no panic while locked"));
            produced
                .into_iter()
                .for_each(|(parcel, records)| self.tell(OutputEvent::Report { parcel, records, result: Ok(()) }));
        }
    }

    struct NoLetter;

    impl DeadLetter for NoLetter {
        fn bury(&mut self, entries: &[Entry]) -> Vec<io::Result<()>> {
            entries.iter().map(|_| Err(io::ErrorKind::StorageFull.into())).collect()
        }

        fn status(&mut self) -> FileStatus {
            FileStatus::default()
        }
    }

    struct Ignored;

    impl SettleSink for Ignored {
        fn settled(&self, _: u64, _: Settled) {}
    }

    /// Two outputs with a window of 1,000 bytes each, and who was woken.
    pub(in crate::deliver) struct Pair {
        pub desks: [Arc<Desk>; 2],
        pub delivers: [Arc<Deliver>; 2],
        threads: Vec<JoinHandle<()>>,
        woken: Arc<Mutex<Vec<Waiter>>>,
    }

    impl Drop for Pair {
        fn drop(&mut self) {
            self.delivers.iter().for_each(|deliver| deliver.stop());
            self.threads.drain(..).for_each(|thread| thread.join().expect("it does not panic"));
        }
    }

    impl Pair {
        pub fn new() -> Self {
            let last_seq = Arc::new(AtomicU64::new(0));
            let woken = Arc::new(Mutex::new(Vec::new()));
            let desks = [Arc::new(Desk::default()), Arc::new(Desk::default())];
            let mut threads = Vec::new();
            let delivers = desks.each_ref().map(|desk| {
                let limits = Limits {
                    window_bytes_max: 1_000,
                    sticky_bytes: u64::MAX,
                    stalled_after: Duration::from_secs(3_600),
                    probe_first: Duration::from_secs(1),
                    probe_longest: Duration::from_secs(60),
                    topic_kept: Duration::from_secs(3_600),
                    append_bytes_max: 1_000,
                    spool_always: false,
                    when_full: WhenFull::Block,
                };
                let (desk, woken) = (Arc::clone(desk), Arc::clone(&woken));
                let hooks = Hooks {
                    last_seq: Arc::clone(&last_seq),
                    produce: Box::new(move || Ok(Arc::clone(&desk) as Arc<dyn Producer>)),
                    wake: Box::new(move |who| woken.lock().expect("no panic while locked").push(who)),
                    recycle: Box::new(drop),
                };
                let letters = Letters { file: Box::new(NoLetter), topic: None, host: "h".into() };
                let started = Deliver::start("o", limits, hooks, letters, None);
                let (deliver, started) = started.expect("a thread");
                threads.extend(started);
                deliver
            });
            Self { desks, delivers, threads, woken }
        }

        /// Waits until the output knows the topic.
        pub fn know(&self, at: usize, topic: &str) {
            self.desks[at].know(topic);
            self.wait("the topic to be known", || self.delivers[at].partitions(topic).is_some());
        }

        pub fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
            let deadline = Instant::now() + Duration::from_secs(60);
            while !is_so() {
                assert!(Instant::now() < deadline, "waited for {what}; woken: {:?}", self.woken);
                std::thread::yield_now();
            }
        }

        fn wait_woken(&self, who: Waiter) {
            self.wait("a waiter to be woken", || self.woken.lock().expect("unpoisoned").contains(&who));
            self.woken.lock().expect("unpoisoned").retain(|one| *one != who);
        }

        fn portion(&self, at: usize, topic: &str, bytes: u64, required: bool) -> Portion<'_> {
            Portion {
                deliver: &self.delivers[at],
                wants: Box::leak(Box::new(vec![(topic.into(), self.place(at, topic), bytes)])),
                encoded: encoded(&self.delivers[at], topic, bytes),
                receipt: Receipt::new(Arc::new(Ignored), 0),
                required,
            }
        }

        fn place(&self, at: usize, topic: &str) -> Place {
            if self.delivers[at].partitions(topic).is_some() { Place::At(0) } else { Place::Unknown }
        }

        fn offer_both(&self, who: Waiter, topic: &str, bytes: u64) -> &'static str {
            said(&offer_all(who, vec![self.portion(0, topic, bytes, true), self.portion(1, topic, bytes, true)], false))
        }

        fn offer_one(&self, at: usize, who: Waiter, bytes: u64) -> &'static str {
            if self.offers(at, who, bytes, false) { "taken" } else { "held" }
        }

        /// Offers to one of them alone; whether it takes it.
        pub fn offers(&self, at: usize, who: Waiter, bytes: u64, urgent: bool) -> bool {
            self.offers_for(at, "t", who, bytes, urgent)
        }

        /// The same for another topic.
        pub fn offers_for(&self, at: usize, topic: &str, who: Waiter, bytes: u64, urgent: bool) -> bool {
            let Portion { deliver, encoded, receipt, .. } = self.portion(at, topic, bytes, true);
            matches!(deliver.offer(who, encoded, receipt, urgent), Offer::Taken)
        }

        fn used(&self) -> [u64; 2] {
            self.delivers.each_ref().map(|deliver| deliver.status().window_bytes_used)
        }
    }

    fn said(offered: &OfferedAll<'_>) -> &'static str {
        match offered {
            OfferedAll::Taken => "taken",
            OfferedAll::Held(_) => "held",
            OfferedAll::Later(..) => "later",
        }
    }

    fn encoded(deliver: &Deliver, topic: &str, bytes: u64) -> Encoded {
        let place = if deliver.partitions(topic).is_some() { Place::At(0) } else { Place::Unknown };
        let record = Record {
            value_start: 0,
            value_len: 0,
            key_start: NONE,
            key_len: 0,
            timestamp_ms: 0,
            headers: NONE,
            offset: 0,
        };
        Encoded {
            buf: Vec::new(),
            records: vec![record],
            headers: Vec::new(),
            shares: vec![Share { topic: topic.into(), place, records: 0..1, payload_bytes: bytes, bytes }],
            source: SourceKey(1),
            resume: Position::default(),
            permit: Budget::new(1).try_take(0).expect("nothing is asked for"),
        }
    }

    /// Scenario: one of two outputs knows the topic, the other does not yet. Guarantee: none of them takes the batch, and the one
    /// that could is free for others; the source is woken by the one that could not.
    #[test]
    fn all_take_it_or_none_does() {
        let pair = Pair::new();
        pair.know(0, "t");
        assert_eq!(pair.offer_both(7, "t", 400), "held");
        assert_eq!((pair.used(), pair.offer_one(0, 8, 500)), ([0, 0], "taken"));
        pair.know(1, "t");
        pair.wait_woken(7);
        pair.desks[0].acknowledge_all();
        pair.wait("the window to be free", || pair.used() == [0, 0]);
        assert_eq!((pair.offer_both(7, "t", 400), pair.used()), ("taken", [400, 400]));
    }

    /// Scenario: a source waits for one output, is woken, and has to wait for the other; meanwhile somebody else came to wait for
    /// the first. Guarantee: it is still before who came later, at both, so it can't starve.
    #[test]
    fn who_came_first_is_first_at_all_outputs() {
        let pair = Pair::new();
        pair.know(0, "t");
        pair.know(1, "t");
        assert_eq!(pair.offer_one(0, 1, 900), "taken");
        assert_eq!(pair.offer_both(7, "t", 400), "held");
        // 7 goes on when the first output is free; by then the second is not, and 8 waits at the first.
        assert_eq!(pair.offer_one(1, 2, 900), "taken");
        assert_eq!(pair.offer_one(0, 8, 900), "held");
        pair.desks[0].acknowledge_all();
        pair.wait_woken(7);
        assert_eq!(pair.offer_both(7, "t", 400), "held");
        // What 7 had been granted at the first is free.
        pair.wait_woken(8);
        assert_eq!(pair.offer_one(0, 8, 900), "taken");
        assert_eq!(pair.offer_one(0, 9, 900), "held");
        pair.desks[1].acknowledge_all();
        pair.wait_woken(7);
        pair.desks[0].acknowledge_all();
        pair.wait_woken(9);
        // 9 has its turn at the first, and has not come; 7 is older.
        assert_eq!((pair.offer_both(7, "t", 400), pair.used()), ("taken", [400, 400]));
    }

    /// Scenario: an output that is not required is full, or does not know the topic, for long. Guarantee: the other takes the batch;
    /// what is dropped is counted by its reason; a topic that is new is waited for, and only for so long.
    #[test]
    fn who_is_not_required_holds_nothing() {
        let pair = Pair::new();
        pair.know(0, "t");
        pair.know(0, "u");
        pair.know(1, "t");
        assert_eq!(pair.offer_one(1, 1, 1_000), "taken");
        let offer = |topic: &str| {
            said(&offer_all(7, vec![pair.portion(0, topic, 10, true), pair.portion(1, topic, 10, false)], false))
        };
        assert_eq!(offer("t"), "taken");
        let began = Instant::now();
        assert_eq!(offer("u"), "later", "it has just asked for the partitions");
        pair.wait("its patience to end", || offer("u") == "taken");
        assert!(began.elapsed() >= PATIENCE);
        assert_eq!(offer("v"), "held", "the required one does not know it");
        pair.know(0, "v");
        assert_eq!(offer("v"), "taken", "it owes an answer already");
        let dropped = pair.delivers[1].status().dropped;
        assert_eq!(dropped, [("lane_blocked", 1), ("topic_blocked", 2)].into());
        assert_eq!(pair.delivers[1].status().waiting_sources, 0);
    }

    /// Scenario: a producer is replaced twice, while the first has not reported.
    /// Guarantee: what is sent again for that goes to one producer only, and is reported once.
    #[test]
    fn a_producer_that_is_replaced_at_once_has_what_was_sent_to_it() {
        let pair = Pair::new();
        pair.know(0, "t");
        assert_eq!(pair.offer_one(0, 1, 100), "taken");
        let next = || {
            let desk = Arc::new(Desk::default());
            desk.know("t");
            let given = Arc::clone(&desk);
            let produce = Box::new(move || Ok(Arc::clone(&given) as Arc<dyn Producer>));
            pair.delivers[0].replace(produce, &|| false).expect("it knows the topic");
            desk
        };
        let (second, third) = (next(), next());
        let produced = |desk: &Desk| desk.produced.lock().expect("unpoisoned").len();
        assert_eq!((produced(&pair.desks[0]), produced(&second), produced(&third)), (1, 1, 0));
        second.acknowledge_all();
        pair.wait("the report of the second", || pair.delivers[0].is_idle());
        assert_eq!(produced(&third), 0, "it was acknowledged");
    }
}
