//! What a tail and the watcher know of each other.
//!
//! A [`super::tail::FileTail`] belongs to a worker, everything else of the input to the watcher's thread. This is the little
//! they share for one file generation. The tail says how far it is and what it met; the watcher says what became of the
//! file's name and, after a truncation, where the rest of the bytes is. Nobody waits for the other: a tail that needs an
//! answer says "nothing to read now" and is woken with it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::appends::Appends;
use super::content::Content;
use super::descriptors::Place;
use crate::batch::{Position, SourceKey};
use crate::checkpoint::Fingerprint;

/// What the bytes of a generation have come to.
#[derive(Clone, Debug)]
pub enum Fate {
    /// They are in the file.
    Live,
    /// The tail found the file changed under it and waits for the watcher to say more.
    Changed,
    /// The file was truncated, and this copy has them.
    Copied(Arc<Content>),
    /// The file was truncated, and nothing has them.
    Gone,
}

/// What a tail tells the watcher.
#[derive(Debug)]
pub enum Signal {
    /// Its first bytes are there, and nothing in the store tells it from what may be written over them.
    Begins(SourceKey),
    /// The bytes before its position are not what they were: truncated or rewritten.
    Changed(SourceKey),
    /// It left its name, and its end was reached: whoever waits for it may begin.
    CaughtUp(SourceKey),
    /// It has returned [`crate::input::source::Read::Finished`]; the host drops it.
    Finished(SourceKey),
}

/// What a tail waits for before it reads: files of one name are one log, and come one after the other (I3).
#[derive(Clone, Debug)]
pub enum Gate {
    Open,
    /// The look that found it may find more, older ones.
    Look,
    /// The file that had its name before.
    After(Arc<Link>),
}

/// Shared by one tail and the watcher.
#[derive(Debug)]
pub struct Link {
    pub key: SourceKey,
    /// Its file is open as long as one of both has this.
    _place: Place,
    fate: Mutex<Fate>,
    /// Covers only bytes that were verified to follow on those covered before.
    fingerprint: Mutex<Fingerprint>,
    read: Mutex<Position>,
    settled: Mutex<Position>,
    appends: Mutex<Appends>,
    /// Bytes of an unterminated last line behind `read`, when the end was met.
    pub rest_bytes: AtomicU64,
    /// As last seen by either side.
    pub size_bytes: AtomicU64,
    /// The last read found nothing more (but an unterminated rest).
    pub at_end: AtomicBool,
    /// A record is open that ends when nothing comes.
    pub is_joining: AtomicBool,
    /// It has left its name (or its file was truncated) and its end was met since; or it can't be waited for.
    pub caught_up: AtomicBool,
    /// It was read to its end for ever, and waits for what is not settled.
    pub drained: AtomicBool,
    gate: Mutex<Gate>,
    /// Its bytes may vanish: its file was truncated once, or these are the bytes of a copy.
    pub urgent: bool,
    /// What tells it from what may be written over it is in the store. Before that nothing of it is read: after a crash, the
    /// lines of two generations would have one `log.file.id`.
    pub may_begin: AtomicBool,
    /// When it left its name, ns since the epoch; 0: it has it.
    pub left_ns: AtomicI64,
}

impl Link {
    /// Of a source that stands at `position`.
    pub fn new(
        key: SourceKey,
        position: Position,
        fingerprint: Fingerprint,
        size_bytes: u64,
        place: Place,
        urgent: bool,
    ) -> Arc<Link> {
        Arc::new(Link {
            key,
            _place: place,
            fate: Mutex::new(Fate::Live),
            fingerprint: Mutex::new(fingerprint),
            read: Mutex::new(position),
            settled: Mutex::new(position),
            appends: Mutex::default(),
            rest_bytes: AtomicU64::new(0),
            size_bytes: AtomicU64::new(size_bytes),
            at_end: AtomicBool::new(false),
            is_joining: AtomicBool::new(false),
            caught_up: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            gate: Mutex::new(Gate::Open),
            urgent,
            may_begin: AtomicBool::new(position.offset > 0),
            left_ns: AtomicI64::new(0),
        })
    }

    pub fn fate(&self) -> MutexGuard<'_, Fate> {
        lock(&self.fate)
    }

    pub fn fingerprint(&self) -> MutexGuard<'_, Fingerprint> {
        lock(&self.fingerprint)
    }

    /// When its bytes were appended.
    pub fn appends(&self) -> MutexGuard<'_, Appends> {
        lock(&self.appends)
    }

    /// Says what it must wait for.
    pub fn set_gate(&self, gate: Gate) {
        *lock(&self.gate) = gate;
    }

    /// Whether it has to wait, for its predecessor or the end of the look that found it.
    pub fn is_waiting(&self) -> bool {
        let mut gate = lock(&self.gate);
        if matches!(&*gate, Gate::After(before) if before.caught_up.load(Ordering::Acquire)) {
            *gate = Gate::Open;
        }
        !matches!(*gate, Gate::Open)
    }

    /// Whether it waits for this one, or did.
    pub fn waits_for(&self, before: &Link) -> bool {
        matches!(&*lock(&self.gate), Gate::After(link) if std::ptr::eq(&raw const **link, before))
    }

    pub fn read(&self) -> Position {
        *lock(&self.read)
    }

    pub fn set_read(&self, position: Position) {
        *lock(&self.read) = position;
    }

    pub fn settled(&self) -> Position {
        *lock(&self.settled)
    }

    pub fn set_settled(&self, position: Position) {
        *lock(&self.settled) = position;
        self.appends().settled(position.offset);
    }

    pub fn has_left(&self) -> bool {
        self.left_ns.load(Ordering::Acquire) != 0
    }

    /// Everything there is to read was read: what `--until-idle` waits for. A rest without a newline counts as read
    /// while its file has its name, and as unread once it has left.
    pub fn is_idle(&self) -> bool {
        self.at_end.load(Ordering::Acquire)
            && !self.is_joining.load(Ordering::Acquire)
            && !self.is_waiting()
            && !matches!(*self.fate(), Fate::Changed)
            && (!self.has_left() || self.rest_bytes.load(Ordering::Acquire) == 0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
