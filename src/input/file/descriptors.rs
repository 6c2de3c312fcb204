//! How many files may be open at once, over all file inputs of the process.
//!
//! A descriptor limit must never lose a line: when all places are taken, a file that is found waits, by name, until another
//! has been read to its end and settled. While any waits, the tails close what they could keep open ([`Descriptors::are_short`]).
//!
//! An open file costs memory too. So a scan that finds thousands of them has [`COMFORTABLE`] open at a time; more only by and
//! by ([`Descriptors::take_more`]), for those that are really written to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Descriptors that are not for tailed files: the output's connections, checkpoints, the admin endpoint, a look at a file.
const RESERVED: u64 = 256;

/// Open files up to which nobody waits.
const COMFORTABLE: usize = 1024;

/// The places for open files.
pub struct Descriptors {
    max: usize,
    taken: AtomicUsize,
    waiting: AtomicUsize,
}

/// One open file's place; given back on drop.
#[derive(Debug)]
pub struct Place(Arc<Descriptors>);

impl Descriptors {
    /// With so many places, at least one.
    pub fn new(max: usize) -> Arc<Descriptors> {
        Arc::new(Descriptors { max: max.max(1), taken: AtomicUsize::new(0), waiting: AtomicUsize::new(0) })
    }

    /// What the process's soft limit leaves for tailed files: all but 256, and at least a quarter.
    pub fn of_process() -> Arc<Descriptors> {
        let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::new(usize::try_from(soft.saturating_sub(RESERVED).max(soft / 4)).unwrap_or(usize::MAX))
    }

    /// A place, if one is free and no more are open than is comfortable.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        self.take_below(self.max.min(COMFORTABLE))
    }

    /// A place, if one is free.
    pub fn take_more(self: &Arc<Self>) -> Option<Place> {
        self.take_below(self.max)
    }

    fn take_below(self: &Arc<Self>, max: usize) -> Option<Place> {
        let more = |taken| (taken < max).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// A place beyond the bound, for what can't wait: it has no name to be found by later.
    pub fn take_anyway(self: &Arc<Self>) -> Place {
        self.taken.fetch_add(1, Ordering::AcqRel);
        Place(Arc::clone(self))
    }

    /// The number of files of one input that wait for a place was `before` and is `now`.
    pub fn set_waiting(&self, before: usize, now: usize) {
        self.waiting.fetch_add(now, Ordering::AcqRel);
        self.waiting.fetch_sub(before, Ordering::AcqRel);
    }

    /// Whether all places are taken.
    pub fn are_all_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire) >= self.max
    }

    /// Whether so many are open that idle ones should be closed soon.
    pub fn are_many(&self) -> bool {
        self.taken.load(Ordering::Acquire) > COMFORTABLE
    }

    /// Whether files wait for a place.
    pub fn are_short(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

impl std::fmt::Debug for Descriptors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Descriptors").field("max", &self.max).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}
