//! The driver of one output's machine: holds the bytes, the receipts and the producer, and does what the machine says.
//!
//! Workers hand over under the machine's lock, so that what they hand over for a lane reaches the producer in the order in
//! which the machine took it. One thread polls the producer, feeds its reports and the time, buries refused records and
//! makes new producers. While one producer takes over from another that works, or is beside it, it polls all. Receipts are settled and
//! sources woken after the lock is let go: both take locks of the pipeline.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::burial::{Burials, Grave, LetterStatus, Letters, UNDERTAKER, Undertaker};
use super::lane::LaneStatus;
use super::machine::{Action, Limits, Machine, Offered, WhenFull};
use super::offer_all::{Dropped, Patience};
use super::spooler::{Job, Mark, Spool, SpoolStatus, Spooler, ToSpool};
use super::tally::Counts;
use super::waiting::Wants;
use crate::batch::{Encoded, LaneKey, Receipt, Settled, SourceKey};
use crate::output::{BrokerStatus, Fault, OutputEvent, Parcel, Producer};
use crate::spool::{FrameId, Recovered};

/// Who waits: the pipeline's number of a source.
pub type Waiter = u64;

/// How long one poll of the producer may wait: the grain of ticks.
const POLL_MAX: Duration = Duration::from_millis(50);
/// The same for each of several producers, while one takes over from another or is beside it.
const POLL_EACH_MAX: Duration = Duration::from_millis(2);
/// How long the old producer's reports are waited for; what is unreported by then is sent again.
const REPLACE_WITHIN: Duration = Duration::from_secs(2);
/// How long a producer with new settings may take to show that it reaches the cluster.
const PROOF_WITHIN: Duration = Duration::from_secs(8);
/// So many of the topics in use are asked for as the proof.
const PROOF_TOPICS: usize = 3;

/// Makes producers.
pub type Produce = Box<dyn Fn() -> Result<Arc<dyn Producer>, String> + Send + Sync>;

/// What the driver needs from outside.
pub struct Hooks {
    /// The last number that a waiter got, at any of the outputs.
    pub last_seq: Arc<AtomicU64>,
    /// Makes a producer: at the start, and for a rebuild.
    pub produce: Produce,
    /// A held source may go on.
    pub wake: Box<dyn Fn(Waiter) + Send + Sync>,
    /// Takes back the buffers of records that are done.
    pub recycle: Box<dyn Fn(Vec<u8>) + Send + Sync>,
}

/// What [`Deliver::offer`] answers.
pub enum Offer {
    /// Deliver has the batch; its receipt will settle.
    Taken,
    /// Nothing was taken, the waiter is parked; batch and receipt come back.
    Held { encoded: Encoded, receipt: Receipt },
}

/// One output's delivery.
pub struct Deliver {
    /// The output's name, for messages.
    pub(super) name: String,
    core: Mutex<Core>,
    /// The spool's thread has something to do.
    spool_due: Condvar,
    /// The partition counts that encoding goes by; [`Deliver::topics_version`] moves with every change.
    topics: RwLock<HashMap<Arc<str>, u32>>,
    topics_version: AtomicU64,
    /// Makes producers; locked by whoever makes one and puts it in its place.
    produce: Mutex<Produce>,
    wake: Box<dyn Fn(Waiter) + Send + Sync>,
    recycle: Box<dyn Fn(Vec<u8>) + Send + Sync>,
    started: Instant,
    stopping: AtomicBool,
    aborting: AtomicBool,
    /// Threads that have taken receipts out of the machine and not settled all of them yet.
    finishing: AtomicUsize,
    pub(super) patience: Mutex<Patience>,
    pub(super) burials: Burials,
}

pub(super) struct Core {
    pub(super) machine: Machine<Waiter>,
    /// By epoch, the newest last. Older ones stay while lanes are with them.
    producers: Vec<(u64, Arc<dyn Producer>)>,
    /// When what the older ones have not reported, of lanes that are to move, is sent again.
    moving_until: Option<Duration>,
    holdings: HashMap<Parcel, Holding>,
    graves: Vec<Grave>,
    rebuild: Option<Arc<str>>,
    /// Why another producer is to take over from this one, which works.
    replace: Option<Arc<str>>,
    /// Brokers to be asked whether they answer.
    knock: Option<Vec<i32>>,
    /// Brokers that don't, and why their lanes are to be set aside.
    set_aside: Option<(Vec<i32>, Arc<str>)>,
    pub(super) to_spool: ToSpool,
    /// How the spool is, if there is one.
    pub(super) spool: Option<SpoolStatus>,
    /// What an output that is not required did not take.
    pub(super) dropped: Dropped,
    /// How the dead letter is.
    pub(super) letter: LetterStatus,
}

/// What a parcel stands for.
pub(super) struct Holding {
    encoded: Arc<Encoded>,
    /// `None`: settled, for the parcel is in the spool.
    receipt: Option<Receipt>,
}

/// What is to be done once the lock is let go.
#[derive(Default)]
pub(super) struct After {
    settled: Vec<(Receipt, Settled)>,
    woken: Vec<Waiter>,
    done: Vec<Arc<Encoded>>,
    forgotten: Vec<Arc<str>>,
}

/// One output's delivery, for status.
pub struct DeliverStatus {
    pub lanes: Vec<LaneStatus>,
    /// By topic, in the order of their first record; `None`: all those beyond [`super::tally::TOPICS_MAX`].
    pub topics: Vec<(Option<Arc<str>>, Counts)>,
    pub rebuilds: u64,
    /// Given up because the spool was full (`when_full: drop_newest`).
    pub records_dropped: u64,
    pub window_bytes_used: u64,
    pub window_bytes_max: u64,
    pub waiting_sources: usize,
    pub brokers: Vec<BrokerStatus>,
    /// `None`: there is none, or it has not said anything yet.
    pub spool: Option<SpoolStatus>,
    /// The spool has no room for what should go there.
    pub is_spool_full: bool,
    /// Sources that wait for it to take more.
    pub waiting_for_spool: usize,
    /// Records that it did not take and did not have to, by reason.
    pub dropped: Dropped,
    pub letter: LetterStatus,
}

impl Deliver {
    /// Makes the first producer and starts the thread that drives it.
    ///
    /// # Errors
    /// If the producer can't be made, or the thread can't be started.
    pub fn start(
        name: &str,
        limits: Limits,
        hooks: Hooks,
        letters: Letters,
        spool: Option<(Spool, Recovered)>,
    ) -> Result<(Arc<Self>, Vec<JoinHandle<()>>), String> {
        let producer = (hooks.produce)()?;
        let mut machine = Machine::new(limits);
        let mut topics = HashMap::new();
        if let Some((_, found)) = &spool {
            let lanes: Vec<(LaneKey, u64)> = found.lanes.iter().map(|one| (one.lane.clone(), one.frames)).collect();
            machine.recovered(&lanes, &found.partitions);
            topics.extend(found.partitions.iter().cloned());
        }
        machine.number_with(&hooks.last_seq);
        let core = Core {
            producers: vec![(machine.epoch(), producer)],
            moving_until: None,
            machine,
            holdings: HashMap::new(),
            graves: Vec::new(),
            rebuild: None,
            replace: None,
            knock: None,
            set_aside: None,
            to_spool: ToSpool::default(),
            spool: None,
            dropped: Dropped::new(),
            letter: LetterStatus::default(),
        };
        let deliver = Arc::new(Self {
            name: name.to_owned(),
            core: Mutex::new(core),
            spool_due: Condvar::new(),
            topics: RwLock::new(topics),
            topics_version: AtomicU64::new(0),
            produce: Mutex::new(hooks.produce),
            wake: hooks.wake,
            recycle: hooks.recycle,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
            finishing: AtomicUsize::new(0),
            patience: Mutex::default(),
            burials: Burials::new(letters),
        });
        let failed = |error| format!("the thread of output {name} can't be started: {error}");
        let driving = Arc::clone(&deliver);
        let builder = std::thread::Builder::new().name(format!("out-{name}"));
        let mut threads = vec![builder.spawn(move || driving.drive()).map_err(failed)?];
        if let Some((spool, _)) = spool {
            let spooler = Spooler::new(Arc::clone(&deliver), spool);
            let builder = std::thread::Builder::new().name(format!("spool-{name}"));
            threads.push(builder.spawn(move || spooler.run()).map_err(failed)?);
        }
        Ok((deliver, threads))
    }

    /// Takes all shares of a batch, or none. Never waits for Kafka.
    pub fn offer(&self, who: Waiter, encoded: Encoded, receipt: Receipt, urgent: bool) -> Offer {
        let mut core = self.lock();
        let left = self.take(&mut core, who, encoded, receipt, urgent);
        let after = self.act(&mut core);
        drop(core);
        self.finish(after);
        left.map_or(Offer::Taken, |(encoded, receipt)| Offer::Held { encoded, receipt })
    }

    /// Takes a batch into the machine, or parks `who` and gives it back.
    pub(super) fn take(
        &self,
        core: &mut Core,
        who: Waiter,
        encoded: Encoded,
        receipt: Receipt,
        urgent: bool,
    ) -> Option<(Encoded, Receipt)> {
        let offered = core.machine.offer(who, encoded.source, &encoded.shares, urgent, self.now());
        let Offered::Taken(parcels) = offered else {
            return Some((encoded, receipt));
        };
        let encoded = Arc::new(encoded);
        for (parcel, receipt) in parcels.iter().zip(receipt.split(parcels.len())) {
            let holding = Holding { encoded: Arc::clone(&encoded), receipt: Some(receipt) };
            core.holdings.insert(*parcel, holding);
        }
        None
    }

    /// Takes back the buffer of records that are done.
    pub(super) fn recycle(&self, buf: Vec<u8>) {
        (self.recycle)(buf);
    }

    /// The output's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether an offer like `wants` would be held; then `who` is parked as if it had offered.
    pub fn would_hold(&self, who: Waiter, wants: &Wants, urgent: bool) -> bool {
        let now = self.now();
        let mut core = self.lock();
        let held = core.machine.would_hold(who, wants, urgent, now).is_some();
        let after = self.act(&mut core);
        drop(core);
        self.finish(after);
        held
    }

    /// `who` has nothing to hand over: what it waits for or was granted is free.
    pub fn forget(&self, who: Waiter) {
        let mut core = self.lock();
        core.machine.forget(who);
        let after = self.act(&mut core);
        drop(core);
        self.finish(after);
    }

    /// A source became urgent: what it has where Kafka does not take it is spooled at once.
    pub fn urgent(&self, source: SourceKey) {
        let mut core = self.lock();
        core.machine.urgent(source);
        let after = self.act(&mut core);
        drop(core);
        self.finish(after);
    }

    /// The partition count of `topic`, if it is known.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    /// How many topics have a known partition count.
    pub fn topics_count(&self) -> usize {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Moves with every change of a partition count.
    pub fn topics_version(&self) -> u64 {
        self.topics_version.load(Ordering::Acquire)
    }

    /// Whether nothing is in flight and every receipt is settled.
    pub fn is_idle(&self) -> bool {
        self.lock().machine.is_idle() && self.finishing.load(Ordering::Acquire) == 0
    }

    /// Whether every receipt is settled: what is not acknowledged is in the spool.
    pub fn is_settled(&self) -> bool {
        self.lock().machine.is_settled() && self.finishing.load(Ordering::Acquire) == 0
    }

    /// The agent ends: what is in the spool stays there from now on.
    pub fn close_spool(&self) {
        self.lock().machine.close_spool();
    }

    /// Whether every receipt is settled, and nothing more is to be heard of what was handed over.
    pub fn is_at_rest(&self) -> bool {
        self.is_settled() && self.lock().machine.is_quiet()
    }

    /// Whether a restart would repeat nothing: every receipt is settled, and everything that was handed over is reported.
    pub fn is_clean(&self) -> bool {
        self.is_settled() && !self.lock().machine.has_in_flight()
    }

    /// For status and metrics.
    pub fn status(&self) -> DeliverStatus {
        let now = self.now();
        let core = self.lock();
        let (machine, producer) = (&core.machine, Arc::clone(core.newest()));
        let silent: Vec<i32> = machine.silent_brokers().collect();
        let (is_spool_full, waiting_for_spool) = machine.held_by_spool();
        let mut status = DeliverStatus {
            lanes: machine.lanes(now),
            topics: machine.tally().rows().to_vec(),
            rebuilds: machine.rebuilds(),
            records_dropped: machine.tally().rows().iter().map(|(_, counts)| counts.records_dropped).sum(),
            window_bytes_used: machine.bytes_used(),
            window_bytes_max: machine.bytes_max(),
            waiting_sources: machine.waiting_count(),
            brokers: Vec::new(),
            spool: core.spool.clone(),
            is_spool_full,
            waiting_for_spool,
            dropped: core.dropped.clone(),
            letter: core.letter.clone(),
        };
        drop(core);
        status.brokers = producer.brokers();
        // The newest producer has nothing to do with those: it has not tried them.
        for broker in status.brokers.iter_mut().filter(|broker| broker.id().is_some_and(|id| silent.contains(&id))) {
            broker.last_error = Some("it does not answer; what needs it waits until it does".to_owned());
        }
        status
    }

    /// Other limits.
    pub fn set_limits(&self, limits: Limits) {
        let mut core = self.lock();
        core.machine.set_limits(limits);
        let after = self.act(&mut core);
        drop(core);
        self.finish(after);
    }

    /// From now on the spool takes at most so much on the disk, and does this when it is full. Where it holds more now, nothing
    /// is added until that is less (or dropped, if `when_full` says so).
    pub fn set_spool(&self, bytes_max: u64, when_full: WhenFull) {
        self.lock().to_spool.bounds = Some((bytes_max, when_full));
        self.spool_due.notify_one();
    }

    /// From now on refused records go there.
    pub fn set_letters(&self, letters: Letters) {
        self.burials.set_letters(letters);
    }

    /// Gives up what waits for a topic that can't take it and is of these sources: they are gone, or read again.
    pub fn give_up(&self, sources: &HashSet<SourceKey>) {
        let mut core = self.lock();
        let of_theirs =
            |(parcel, holding): (&Parcel, &Holding)| sources.contains(&holding.encoded.source).then_some(*parcel);
        let parcels: HashSet<Parcel> = core.holdings.iter().filter_map(of_theirs).collect();
        core.machine.give_up(&parcels);
        let after = self.act(&mut core);
        drop(core);
        self.finish(after);
    }

    /// Producers are made with `produce` from now on, and the first takes over at once, make before break: it has to reach
    /// the cluster first (8 s at most, or until `is_interrupted`); each lane moves when nothing of it is in flight on the old one, the others flow on.
    ///
    /// # Errors
    /// If the new producer can't be made or does not reach the cluster, saying why: then nothing has changed.
    pub fn replace(&self, produce: Produce, is_interrupted: &dyn Fn() -> bool) -> Result<(), String> {
        let producer = produce()?;
        self.prove(&*producer, is_interrupted)?;
        // From here on nobody else puts a producer in place.
        let mut making = self.produce.lock().unwrap_or_else(PoisonError::into_inner);
        *making = produce;
        self.take_over(producer, Machine::replaced);
        Ok(())
    }

    /// A producer takes over from one that works, as `say` tells the machine with its epoch: each lane moves when nothing of it is
    /// in flight there.
    fn take_over(&self, producer: Arc<dyn Producer>, say: impl FnOnce(&mut Machine<Waiter>, u64, Duration)) {
        let mut core = self.lock();
        let now = self.now();
        // What the machine has said so far is meant for the producers that are there.
        let mut after = vec![self.act(&mut core)];
        if core.machine.is_moving() {
            core.machine.hurried(now);
            after.push(self.act(&mut core));
        }
        core.moving_until = None;
        core.rebuild = None;
        let epoch = core.machine.epoch() + 1;
        core.producers.push((epoch, producer));
        say(&mut core.machine, epoch, now);
        after.push(self.act(&mut core));
        let gone = core.take_unused();
        drop(core);
        after.into_iter().for_each(|after| self.finish(after));
        drop(gone);
    }

    /// Whether `producer` reaches the cluster: it is told of a topic that is in use. If none is, there is nothing to lose.
    fn prove(&self, producer: &dyn Producer, is_interrupted: &dyn Fn() -> bool) -> Result<(), String> {
        let mut asked: Vec<Arc<str>> =
            self.topics.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        asked.sort_unstable();
        asked.truncate(PROOF_TOPICS);
        asked.iter().for_each(|topic| producer.lookup(topic));
        let mut refused = HashMap::new();
        let mut events = Vec::new();
        let deadline = Instant::now() + PROOF_WITHIN;
        while refused.len() < asked.len() {
            producer.poll(POLL_MAX, &mut events);
            for event in events.drain(..) {
                match event {
                    OutputEvent::Topic { result: Ok(_), .. } => return Ok(()),
                    OutputEvent::Topic { topic, result: Err(fault) } => _ = refused.insert(topic, fault),
                    OutputEvent::Fatal { message } => return Err(message.to_string()),
                    OutputEvent::Report { .. } | OutputEvent::Replicas { .. } => {}
                }
            }
            if is_interrupted() {
                return Err("the agent is being stopped".to_owned());
            }
            if Instant::now() >= deadline {
                let seen = producer.brokers().into_iter().find_map(|broker| broker.last_error);
                let why = seen.map(|error| format!(": {error}")).unwrap_or_default();
                return Err(format!("no broker answers within {PROOF_WITHIN:?} with the new settings{why}"));
            }
        }
        match refused.into_iter().next() {
            Some((topic, fault)) => {
                let why = match fault {
                    Fault::Topic { message, .. } | Fault::Record { message, .. } | Fault::Producer { message } => {
                        message
                    }
                    Fault::Neighbour => Arc::from("refused"),
                };
                Err(format!("with the new settings, topic {topic} can't take records: {why}"))
            }
            None => Ok(()),
        }
    }

    /// Spools what only memory has, and whose source can't bring it again: the agent ends. How many parcels are on their
    /// way there.
    pub fn spill_urgent(&self) -> usize {
        let mut core = self.lock();
        let left = core.machine.spill_urgent();
        self.act_and_finish(core);
        left
    }

    /// Lets the threads end; what is in flight is given up (its sources keep their checkpoints).
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let _core = self.lock();
        self.spool_due.notify_all();
    }

    /// As [`Deliver::stop`], but as a crash would: the spool is left as it is.
    pub fn abort(&self) {
        self.aborting.store(true, Ordering::Release);
        self.stop();
    }

    /// Lets go of what it holds, once its threads have ended.
    pub fn let_go(&self) {
        let held = std::mem::take(&mut self.lock().holdings);
        drop(held);
    }

    pub(super) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::Acquire)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until the spool's thread has something to do, or `wait` is over.
    pub(super) fn wait_for_spool<'a>(&self, core: MutexGuard<'a, Core>, wait: Duration) -> MutexGuard<'a, Core> {
        self.spool_due.wait_timeout(core, wait).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Lets `change` tell the machine something, and does what it says then.
    pub(super) fn with_machine(&self, change: impl FnOnce(&mut Machine<Waiter>)) {
        let mut core = self.lock();
        change(&mut core.machine);
        self.act_and_finish(core);
    }

    /// Does what the machine says, and lets the lock go.
    pub(super) fn act_and_finish(&self, mut core: MutexGuard<'_, Core>) {
        let after = self.act(&mut core);
        drop(core);
        self.finish(after);
    }

    /// A frame of the spool becomes parcels: a share each.
    pub(super) fn hand_over(&self, lane: &LaneKey, frame: FrameId, encoded: &Arc<Encoded>) {
        let now = self.now();
        let mut core = self.lock();
        let parcels = core.machine.read(lane, frame, encoded.source, &encoded.shares, now);
        for parcel in parcels {
            let holding = Holding { encoded: Arc::clone(encoded), receipt: None };
            core.holdings.insert(parcel, holding);
        }
        self.act_and_finish(core);
    }

    /// A parcel on its way to the spool was taken apart by the partitions of its keys. Whether it was its turn.
    pub(super) fn hand_back(&self, parcel: Parcel, encoded: &Arc<Encoded>) -> bool {
        let now = self.now();
        let mut core = self.lock();
        let parts = core.machine.placed(parcel, &encoded.shares, now);
        if !parts.is_empty() {
            let holding = core.holdings.remove(&parcel).expect("a parcel is held until it settles");
            let receipts = holding.receipt.expect("nothing has become of it").split(parts.len());
            for (part, receipt) in parts.iter().zip(receipts) {
                core.holdings.insert(*part, Holding { encoded: Arc::clone(encoded), receipt: Some(receipt) });
            }
        }
        self.act_and_finish(core);
        !parts.is_empty()
    }

    fn drive(self: &Arc<Self>) {
        let mut events = Vec::new();
        let mut undertaker = Undertaker::default();
        let mut knocking = None;
        while !self.stopping.load(Ordering::Acquire) {
            let producers = self.lock().producers.clone();
            let wait = if producers.len() > 1 { POLL_EACH_MAX } else { POLL_MAX };
            for (epoch, producer) in producers {
                producer.poll(wait, &mut events);
                drop(producer);
                let now = self.now();
                let mut core = self.lock();
                events.drain(..).for_each(|event| self.feed(&mut core, epoch, event, now));
                self.act_and_finish(core);
            }
            let now = self.now();
            let mut core = self.lock();
            let left = self.leave(&mut core, now);
            core.machine.tick(now);
            let after = self.act(&mut core);
            let graves = std::mem::take(&mut core.graves);
            let rebuild = core.rebuild.take();
            let replace = core.replace.take();
            let knock = core.knock.take();
            let set_aside = core.set_aside.take();
            drop(core);
            drop(left);
            self.finish(after);
            self.bury(&mut undertaker, graves);
            if let Some(message) = rebuild {
                self.rebuild(&message);
            }
            if let Some(message) = replace {
                self.relieve(&message, Machine::replaced);
            }
            if let Some(brokers) = knock {
                knocking = self.knock(brokers);
            }
            if let Some((brokers, message)) = set_aside {
                self.relieve(&message, |machine, epoch, now| machine.set_aside(epoch, &brokers, now));
            }
        }
        if let Some(asking) = knocking {
            // It has a hold on the producers, which are to end before the process does. A panic there was printed there.
            let _ended = asking.join();
        }
    }

    /// Asks brokers whether they answer, on a thread of its own.
    fn knock(self: &Arc<Self>, brokers: Vec<i32>) -> Option<JoinHandle<()>> {
        let (producer, deliver) = (Arc::clone(self.lock().newest()), Arc::clone(self));
        let ask = move || {
            let silent = producer.knock(&brokers);
            drop(producer);
            let now = deliver.now();
            deliver.with_machine(|machine| machine.knocked(silent, now));
        };
        match std::thread::Builder::new().name(format!("knock-{}", self.name)).spawn(ask) {
            Ok(asking) => Some(asking),
            Err(error) => {
                tracing::warn!(output = %self.name, %error, "no thread to ask brokers on");
                let now = self.now();
                self.with_machine(|machine| machine.knocked(None, now));
                None
            }
        }
    }

    /// Replaces a producer that works, for the sake of the lanes that don't.
    fn relieve(&self, message: &str, say: impl FnOnce(&mut Machine<Waiter>, u64, Duration)) {
        let produce = self.produce.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lock().machine.is_rebuilding() {
            return;
        }
        match produce() {
            Ok(producer) => {
                tracing::warn!(output = %self.name, why = %message, "producer replaced; what is stuck is sent again");
                self.take_over(producer, say);
            }
            Err(error) => tracing::error!(output = %self.name, %error, "no new producer; the old one stays"),
        }
    }

    /// The producers that are replaced, once nobody waits for them.
    fn leave(&self, core: &mut Core, now: Duration) -> Vec<(u64, Arc<dyn Producer>)> {
        if core.producers.len() == 1 {
            return Vec::new();
        }
        if !core.machine.is_moving() {
            core.moving_until = None;
        } else if *core.moving_until.get_or_insert(now + REPLACE_WITHIN) <= now {
            core.moving_until = None;
            let records = core.machine.hurried(now);
            tracing::warn!(
                output = %self.name, records, within = ?REPLACE_WITHIN,
                "the replaced producer did not report everything in time; that is sent again"
            );
        }
        core.take_unused()
    }

    fn feed(&self, core: &mut Core, epoch: u64, event: OutputEvent, now: Duration) {
        let is_newest = epoch == core.machine.epoch();
        match event {
            OutputEvent::Report { parcel, records, result } => {
                core.machine.report(epoch, parcel, records, result, now);
            }
            // The newest one has been asked too.
            OutputEvent::Topic { .. } | OutputEvent::Replicas { .. } if !is_newest => {}
            OutputEvent::Fatal { .. } if !is_newest => core.machine.lost_aside(epoch),
            OutputEvent::Replicas { topic, replicas } => core.machine.replicas(&topic, replicas),
            OutputEvent::Topic { topic, result } => {
                match &result {
                    Ok(partitions) => self.learn(&topic, *partitions),
                    Err(fault) => {
                        let why = fault.message();
                        tracing::warn!(output = %self.name, topic = %topic, %why, "the topic can't take records now");
                    }
                }
                core.machine.topic(&topic, result, now);
            }
            OutputEvent::Fatal { message } => core.machine.lost(message),
        }
    }

    fn learn(&self, topic: &Arc<str>, partitions: u32) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.insert(Arc::clone(topic), partitions) != Some(partitions) {
            tracing::info!(output = %self.name, topic = %topic, partitions, "topic found");
            self.topics_version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Makes the new producer first; while that fails, the old one stays and it is tried again at the next turn.
    fn rebuild(&self, message: &Arc<str>) {
        let produce = self.produce.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.lock().machine.is_rebuilding() {
            // It was replaced meanwhile.
            return;
        }
        match produce() {
            Ok(producer) => {
                tracing::warn!(output = %self.name, why = %message, "producer rebuilt; what is unacknowledged is sent again");
                let mut core = self.lock();
                // What the machine has said so far is meant for the old one: it is said again for the new one.
                let before = self.act(&mut core);
                let epoch = core.machine.epoch() + 1;
                let old = std::mem::replace(&mut core.producers, vec![(epoch, producer)]);
                core.moving_until = None;
                core.machine.rebuilt(epoch, self.now());
                let after = self.act(&mut core);
                drop(core);
                self.finish(before);
                self.finish(after);
                drop(old);
            }
            Err(error) => {
                tracing::error!(output = %self.name, %error, "no new producer; trying again");
                self.lock().rebuild = Some(Arc::clone(message));
                drop(produce);
                std::thread::sleep(POLL_MAX);
            }
        }
    }

    /// Does what the machine says. What takes other locks comes back, and must be finished once this lock is let go.
    pub(super) fn act(&self, core: &mut Core) -> After {
        let after = core.act();
        if !after.settled.is_empty() {
            self.finishing.fetch_add(1, Ordering::AcqRel);
        }
        if core.to_spool.is_due(core.machine.presses()) {
            self.spool_due.notify_one();
        }
        after
    }

    pub(super) fn finish(&self, after: After) {
        let settles = !after.settled.is_empty();
        for (receipt, how) in after.settled {
            if how == Settled::Dropped {
                tracing::warn!(output = %self.name, "the spool is full: what arrives is dropped, as when_full: drop_newest says");
            }
            receipt.settle(how);
        }
        for who in after.woken {
            if who == UNDERTAKER {
                self.burials.woken.store(true, Ordering::Release);
            } else {
                (self.wake)(who);
            }
        }
        if !after.forgotten.is_empty() {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            for topic in &after.forgotten {
                topics.remove(topic);
            }
            self.topics_version.fetch_add(1, Ordering::AcqRel);
        }
        for encoded in after.done {
            if let Ok(encoded) = Arc::try_unwrap(encoded) {
                (self.recycle)(encoded.buf);
            }
        }
        if settles {
            self.finishing.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records in runs: those for their topic, and those that go to the dead letter since the processor of this name failed.
fn by_failure(encoded: &Encoded, records: Range<u32>) -> Vec<(Range<u32>, Option<String>)> {
    if encoded.headers.is_empty() {
        return vec![(records, None)];
    }
    let failed = |record: u32| {
        let headers = encoded.headers_of(&encoded.records[record as usize]).iter();
        let header = headers.rev().find(|header| header.is_failed_mark())?;
        Some(String::from_utf8_lossy(encoded.header_value(header)).into_owned())
    };
    let mut runs: Vec<(Range<u32>, Option<String>)> = Vec::new();
    for record in records {
        let failed = failed(record);
        match runs.last_mut() {
            Some((run, before)) if *before == failed => run.end = record + 1,
            _ => runs.push((record..record + 1, failed)),
        }
    }
    runs
}

impl Core {
    /// The batch that a parcel is of.
    pub(super) fn encoded_of(&self, parcel: Parcel) -> Option<Arc<Encoded>> {
        self.holdings.get(&parcel).map(|holding| Arc::clone(&holding.encoded))
    }

    /// The producer of new lanes.
    fn newest(&self) -> &Arc<dyn Producer> {
        let (_, producer) = self.producers.last().expect("there is always one");
        producer
    }

    /// The producers that no lane is with; they are to be dropped without the lock.
    fn take_unused(&mut self) -> Vec<(u64, Arc<dyn Producer>)> {
        let machine = &self.machine;
        self.producers.extract_if(.., |(epoch, _)| !machine.uses(*epoch)).collect()
    }

    fn act(&mut self) -> After {
        let mut after = After::default();
        while let Some(action) = self.machine.action() {
            match action {
                Action::Produce { parcel, topic, partition, records, epoch } => {
                    let holding = self.holdings.get(&parcel).expect("a parcel is held until it settles");
                    let producer = self.producers.iter().find(|(of, _)| *of == epoch);
                    let (_, producer) = producer.expect("a producer stays while it is used");
                    let encoded = &holding.encoded;
                    for (records, failed) in by_failure(encoded, records) {
                        match failed {
                            None => producer.produce(parcel, encoded, &topic, partition, records),
                            Some(processor) => {
                                let message =
                                    format!("the processor `{processor}` failed: its on_failure is dead_letter");
                                self.machine.not_for_its_topic(parcel, records, &Arc::from(message));
                            }
                        }
                    }
                }
                Action::Settle { parcel, how } => {
                    let holding = self.holdings.remove(&parcel).expect("a parcel settles once");
                    after.settled.extend(holding.receipt.map(|receipt| (receipt, how)));
                    after.done.push(holding.encoded);
                    self.to_spool.has_room |= self.to_spool.waits;
                }
                Action::Bury { parcel, record, reason, message } => {
                    self.graves.push(Grave { parcel, record, reason, message });
                }
                Action::Wake(who) => after.woken.push(who),
                Action::Lookup { topic } => self.newest().lookup(&topic),
                Action::Forget { topic } => {
                    self.producers.iter().for_each(|(_, producer)| producer.forget(&topic));
                    after.forgotten.push(topic);
                }
                Action::Rebuild { message } => self.rebuild = Some(message),
                Action::Replace { message } => self.replace = Some(message),
                Action::Knock { brokers } => self.knock = Some(brokers),
                Action::SetAside { brokers, message } => self.set_aside = Some((brokers, message)),
                Action::Spooled { parcel } => {
                    let holding = self.holdings.get_mut(&parcel).expect("it stays in memory");
                    after.settled.extend(holding.receipt.take().map(|receipt| (receipt, Settled::Spooled)));
                }
                Action::Renumber { parcel, to } => {
                    let holding = self.holdings.remove(&parcel).expect("a parcel is held until it settles");
                    self.holdings.insert(to, holding);
                }
                Action::Append { parcel, lane, records, done } => {
                    let holding = self.holdings.get(&parcel).expect("a parcel is held until it settles");
                    let encoded = Arc::clone(&holding.encoded);
                    self.to_spool.appends.push_back(Job { parcel, lane, encoded, records, done });
                }
                Action::Done { lane, frame } => self.to_spool.marks.push(Mark::Done { lane, frame }),
                Action::Unread { lane, frame } => self.to_spool.marks.push(Mark::Unread { lane, frame }),
                Action::Again { lane } => self.to_spool.marks.push(Mark::Again { lane }),
            }
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::super::offer_all::tests::{Desk, Pair};
    use super::*;
    use crate::output::Replicas;

    /// Scenario: everything is acknowledged, and its threads go on with their chores. Guarantee: it is clean whenever that is asked: a
    /// stop asks once, at its end.
    #[test]
    fn what_has_come_to_rest_stays_clean() {
        let pair = Pair::new();
        let deliver = &pair.delivers[0];
        pair.know(0, "t");
        assert!(pair.offers(0, 1, 100, false));
        pair.desks[0].acknowledge_all();
        pair.wait("the acknowledgement", || deliver.is_at_rest());
        let asked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !asked.load(Ordering::Acquire) {
                    deliver.forget(2);
                }
            });
            let unclean = (0..20_000).filter(|_| !deliver.is_clean()).count();
            asked.store(true, Ordering::Release);
            assert_eq!(unclean, 0);
        });
    }

    /// Scenario: a broker is silent; the partitions that need it are set aside with the producer that they have, and another one is
    /// made for the others. Guarantee: what arrives goes to the producer of its partition: it can't overtake what is in flight
    /// there, nor wait behind the silent broker; of that one, and of no other, the status says that it does not answer.
    #[test]
    fn records_go_to_the_producer_of_their_partition() {
        let pair = Pair::new();
        let (deliver, first, second) = (&pair.delivers[0], &pair.desks[0], Arc::new(Desk::default()));
        for (topic, broker) in [("t", 1), ("other", 2)] {
            let replicas: Replicas = vec![Box::<[i32]>::from([broker])].into();
            first.tell(OutputEvent::Replicas { topic: topic.into(), replicas });
            pair.know(0, topic);
        }
        let handed_over = |desk: &Desk| desk.produced.lock().expect("unpoisoned").len();
        assert!(pair.offers_for(0, "t", 1, 100, false));
        let producer = Arc::clone(&second) as Arc<dyn Producer>;
        deliver.take_over(producer, |machine, epoch, now| machine.set_aside(epoch, &[1], now));
        assert!(pair.offers_for(0, "t", 1, 100, false) && pair.offers_for(0, "other", 2, 100, false));
        assert_eq!((handed_over(first), handed_over(&second)), (2, 1));
        let told: Vec<_> = deliver.status().brokers.into_iter().map(|broker| broker.last_error).collect();
        assert!(
            matches!(&told[..], [Some(error), None] if error.starts_with("it does not answer")),
            "the first is silent: {told:?}"
        );
    }
}
