//! The table of live sources and their ready queue.
//!
//! A source is in one place at a time: with a worker, in the queue, or at rest for a reason. A wake that comes while a worker
//! has it is remembered, so none is lost between "nothing to read" and going to rest.
//!
//! ```text
//!              take                      put_back
//!   Ready ────────────► Running ──┬─► Ready    there is more to read
//!     ▲                           ├─► Idle     nothing to read: wake (data), settled
//!     │   wake / unpark / time    ├─► Parked   held by deliver: unpark, urge
//!     └───────────────────────────┴─► Delayed  a read failed or was abandoned: time only
//! ```
//! An input that is stopped while the agent runs has its sources *retired* ([`Sources::retire`]): they are dropped, now or
//! when the worker that has them puts them back, and only their watermark stays until what is in flight is settled.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::acks::{Ledger, SourceAck};
use super::plan::{Plan, RouteCache};
use crate::batch::{OutputId, Position, SourceKey};
use crate::checkpoint::Store;
use crate::deliver::waiting::Wants;
use crate::input::source::{Host, Source, Token};

/// A source, and what the pipeline keeps for it between turns.
pub struct Work {
    pub token: Token,
    pub source: Box<dyn Source>,
    pub plan: Arc<Plan>,
    pub ack: Arc<SourceAck>,
    /// One a target of the plan.
    pub routes: Vec<RouteCache>,
    /// How far it is read and handed over: where a held batch is read from again.
    pub position_read: Position,
    /// What it handed over last, to each target: looked at before it is read again.
    pub wants: Vec<Wants>,
    /// What each watched output has already of what is read; empty where there is only one.
    pub haves: Vec<u64>,
    /// Deliver was told that it is urgent.
    pub is_urgent: bool,
    /// How long to wait after the next failed read.
    pub retry_after: Duration,
    /// When it is woken though nothing comes, if that was asked for.
    pub alarm: Option<Instant>,
}

/// What a source does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Ready,
    Idle,
    Parked,
    Delayed(Duration),
    Finished,
}

/// What one source is doing, for status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Ready,
    Running,
    Idle,
    Parked,
    Delayed,
    /// Not read any more; what is in flight is waited for.
    Retired,
}

/// All live sources.
pub struct Sources {
    inner: Mutex<Inner>,
    ready: Condvar,
    ledger: Arc<Ledger>,
    store: Arc<Store>,
    myself: Weak<Sources>,
}

#[derive(Default)]
struct Inner {
    /// By the name of the input.
    plans: HashMap<String, Arc<Plan>>,
    slots: HashMap<Token, Slot>,
    queue: VecDeque<Token>,
    delayed: BinaryHeap<Reverse<(Instant, Token)>>,
    last_token: u64,
    stopped: bool,
}

struct Slot {
    doing: Doing,
    /// Data came while it was running.
    woken: bool,
    /// Deliver woke it while it was running.
    unparked: bool,
    /// It is not to be read again.
    retired: bool,
    work: Option<Box<Work>>,
    ack: Arc<SourceAck>,
    plan: Arc<Plan>,
}

/// First wait after a failed read; doubled up to [`RETRY_LONGEST`].
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait after a failed read.
pub const RETRY_LONGEST: Duration = Duration::from_secs(10);

impl Sources {
    /// No source yet, and no input.
    pub fn new(ledger: Arc<Ledger>, store: Arc<Store>) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            inner: Mutex::default(),
            ready: Condvar::new(),
            ledger,
            store,
            myself: myself.clone(),
        })
    }

    /// The next source that is ready; waits for one. `None` once stopped.
    pub fn take(&self) -> Option<Box<Work>> {
        let mut inner = self.lock();
        loop {
            if inner.stopped {
                return None;
            }
            let due = inner.queue_due(Instant::now());
            if let Some(token) = inner.queue.pop_front() {
                let Some(slot) = inner.slots.get_mut(&token).filter(|slot| !slot.retired) else { continue };
                slot.doing = Doing::Running;
                (slot.woken, slot.unparked) = (false, false);
                let work = slot.work.take().expect("a source in the queue is at home");
                return Some(work);
            }
            inner = match due {
                None => self.ready.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => self.ready.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Puts a source back after its turn. `false`: nobody reads it any more.
    pub fn put_back(&self, work: Box<Work>, next: Next) -> bool {
        let token = work.token;
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get_mut(&token) else { return false };
        if slot.retired {
            slot.doing = Doing::Retired;
            // Closing a file takes its time.
            drop(inner);
            drop(work);
            return false;
        }
        if next == Next::Finished {
            inner.slots.remove(&token);
            return false;
        }
        slot.work = Some(work);
        let again = match next {
            Next::Ready => true,
            Next::Idle => slot.woken || slot.unparked,
            Next::Parked => slot.unparked,
            Next::Delayed(_) | Next::Finished => false,
        };
        slot.doing = match next {
            _ if again => Doing::Ready,
            Next::Parked => Doing::Parked,
            Next::Delayed(_) => Doing::Delayed,
            _ => Doing::Idle,
        };
        if again {
            inner.queue.push_back(token);
            self.ready.notify_one();
        } else if let Next::Delayed(wait) = next {
            inner.delayed.push(Reverse((Instant::now() + wait, token)));
            self.ready.notify_one();
        }
        true
    }

    /// The plan of sources that are added for its input from now on.
    pub fn set_plan(&self, plan: Arc<Plan>) {
        self.lock().plans.insert(plan.name.clone(), plan);
    }

    /// Lets go of the sources of `plan`: none is read again. Their tokens, so that nobody waits for them.
    pub fn retire(&self, plan: &Arc<Plan>) -> Vec<Token> {
        let (mut tokens, mut dropped) = (Vec::new(), Vec::new());
        let mut inner = self.lock();
        for (token, slot) in inner.slots.iter_mut().filter(|(_, slot)| Arc::ptr_eq(&slot.plan, plan)) {
            slot.retired = true;
            tokens.push(*token);
            if let Some(work) = slot.work.take() {
                slot.doing = Doing::Retired;
                dropped.push(work);
            }
        }
        drop(inner);
        drop(dropped);
        tokens
    }

    /// Forgets the retired sources of `plan`. How many raw bytes of theirs are outstanding, and so will be read again.
    pub fn forget_retired(&self, plan: &Arc<Plan>) -> u64 {
        let mut inner = self.lock();
        let gone = inner.slots.extract_if(|_, slot| slot.retired && Arc::ptr_eq(&slot.plan, plan));
        gone.map(|(_, slot)| slot.ack.retire()).sum()
    }

    /// Deliver has room for what the source was held with.
    pub fn unpark(&self, token: Token) {
        self.rouse(token, |slot| {
            slot.unparked = true;
            matches!(slot.doing, Doing::Parked | Doing::Idle)
        });
    }

    /// Lets a source that is at rest go on after a while, whatever it rests for.
    pub fn wake_later(&self, token: Token, wait: Duration) {
        self.lock().delayed.push(Reverse((Instant::now() + wait, token)));
        self.ready.notify_one();
    }

    /// Ends all waiting; workers get no source any more.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.ready.notify_all();
    }

    /// Whether nothing is to be read, being read, held or outstanding.
    pub fn is_quiet(&self) -> bool {
        let inner = self.lock();
        inner.slots.values().all(|slot| match slot.doing {
            Doing::Idle => slot.ack.outstanding() == 0,
            Doing::Retired => slot.ack.receipts() == 0,
            _ => false,
        })
    }

    /// What each source of `plan` is doing, with its ledger.
    pub fn each(&self, plan: &Arc<Plan>, mut visit: impl FnMut(Doing, &SourceAck)) {
        for slot in self.lock().slots.values().filter(|slot| Arc::ptr_eq(&slot.plan, plan)) {
            visit(slot.doing, &slot.ack);
        }
    }

    /// How far each output of a plan with several has a source that stands at `position`. Where an output begins is noted, before
    /// anything is read.
    fn haves(&self, plan: &Plan, key: SourceKey, position: Position) -> Vec<(OutputId, Position)> {
        if !plan.is_durable || plan.watched().nth(1).is_none() {
            return Vec::new();
        }
        let known = self.store.positions(key).unwrap_or_else(|error| {
            tracing::error!(input = %plan.name, %error, "how far each output has a file is not known; some of it may be repeated");
            Vec::new()
        });
        for target in plan.watched().filter(|target| known.iter().all(|(id, _)| *id != target.id)) {
            self.ledger.begin(key, target.id, position);
        }
        known
    }

    fn rouse(&self, token: Token, is_ready: impl Fn(&mut Slot) -> bool) {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get_mut(&token) else { return };
        if is_ready(slot) {
            slot.doing = Doing::Ready;
            inner.queue.push_back(token);
            self.ready.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Moves what is due to the queue. How long until the next is.
    fn queue_due(&mut self, now: Instant) -> Option<Duration> {
        while let Some(Reverse((at, token))) = self.delayed.peek().copied() {
            if at > now {
                return Some(at - now);
            }
            self.delayed.pop();
            let Some(slot) = self.slots.get_mut(&token) else { continue };
            match slot.doing {
                Doing::Running => slot.woken = true,
                Doing::Ready | Doing::Retired => {}
                Doing::Idle | Doing::Parked | Doing::Delayed => {
                    slot.doing = Doing::Ready;
                    self.queue.push_back(token);
                }
            }
        }
        None
    }
}

impl Host for Sources {
    fn add(&self, input: &str, source: Box<dyn Source>, position: Position) -> Token {
        let plan = Arc::clone(self.lock().plans.get(input).expect("inputs are started with a plan each"));
        let known = self.haves(&plan, source.key(), position);
        let mut inner = self.lock();
        inner.last_token += 1;
        let token = Token(inner.last_token);
        let ledger = Arc::clone(&self.ledger);
        let (myself, its_plan) = (self.myself.clone(), Arc::clone(&plan));
        let ack = Arc::new(SourceAck::new(token, source.key(), position, &known, myself, ledger, its_plan));
        let mut haves = Vec::new();
        if !plan.is_plain() {
            ack.haves(&mut haves);
        }
        let work = Box::new(Work {
            token,
            source,
            plan: Arc::clone(&plan),
            ack: Arc::clone(&ack),
            routes: plan.targets.iter().map(|_| RouteCache::default()).collect(),
            position_read: position,
            wants: plan.targets.iter().map(|_| Wants::new()).collect(),
            haves,
            is_urgent: false,
            retry_after: RETRY_FIRST,
            alarm: None,
        });
        let slot =
            Slot { doing: Doing::Ready, woken: false, unparked: false, retired: false, work: Some(work), ack, plan };
        inner.slots.insert(token, slot);
        inner.queue.push_back(token);
        self.ready.notify_one();
        token
    }

    fn wake(&self, token: Token) {
        self.rouse(token, |slot| {
            slot.woken = true;
            slot.doing == Doing::Idle
        });
    }

    fn urge(&self, token: Token) {
        self.unpark(token);
    }
}
