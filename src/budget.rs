//! Byte permits: what bounds the memory that payload may take (I4).
//!
//! One [`Budget`] of `memory.max_bytes` serves the whole process. Who holds payload (a batch that is read, its encoded
//! records, the records in flight) holds a [`BytePermit`] for it; dropping the permit gives the bytes back, so a permit
//! travels inside the value whose bytes it stands for and can't outlive or leak them.
//!
//! Beside it, two words to the allocator about the memory that is not counted. Not here: fixed costs (regex caches, metadata,
//! librdkafka's own), which are capped where they arise.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The bytes that payload may take, shared by everything that holds some.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    bytes_max: usize,
    bytes_used: Mutex<usize>,
    freed: Condvar,
}

/// The right to hold `bytes()` bytes of payload; given back on drop.
#[must_use = "a dropped permit is given back at once"]
pub struct BytePermit {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Budget {
    /// A budget of `bytes_max` bytes, nothing taken.
    pub fn new(bytes_max: usize) -> Self {
        Self { shared: Arc::new(Shared { bytes_max, bytes_used: Mutex::new(0), freed: Condvar::new() }) }
    }

    /// A permit for `bytes`, or `None` while they are not free. A permit larger than the whole budget is given when
    /// nothing else is taken: one oversized value must not wait for ever.
    pub fn try_take(&self, bytes: usize) -> Option<BytePermit> {
        let mut used = self.shared.bytes_used.lock().unwrap_or_else(PoisonError::into_inner);
        if *used > 0 && *used + bytes > self.shared.bytes_max {
            return None;
        }
        *used += bytes;
        Some(BytePermit { shared: Arc::clone(&self.shared), bytes })
    }

    /// As [`Budget::try_take`], but waits up to `timeout` for bytes to be freed.
    pub fn take_within(&self, bytes: usize, timeout: Duration) -> Option<BytePermit> {
        let used = self.shared.bytes_used.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes_max = self.shared.bytes_max;
        let (mut used, _) = self
            .shared
            .freed
            .wait_timeout_while(used, timeout, |used| *used > 0 && *used + bytes > bytes_max)
            .unwrap_or_else(PoisonError::into_inner);
        if *used > 0 && *used + bytes > bytes_max {
            return None;
        }
        *used += bytes;
        Some(BytePermit { shared: Arc::clone(&self.shared), bytes })
    }

    /// Bytes taken now.
    pub fn bytes_used(&self) -> usize {
        *self.shared.bytes_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bound, `memory.max_bytes`.
    pub fn bytes_max(&self) -> usize {
        self.shared.bytes_max
    }
}

/// A part of a budget: for what may take only so much of it, so that the rest stays for others.
#[derive(Clone)]
pub struct BudgetPart {
    whole: Budget,
    part: Budget,
}

/// The right to hold bytes of a [`BudgetPart`].
#[must_use = "a dropped permit is given back at once"]
pub struct PartPermit {
    of_whole: BytePermit,
    of_part: BytePermit,
}

impl BudgetPart {
    /// At most `bytes_max` of `whole`.
    pub fn new(whole: &Budget, bytes_max: usize) -> Self {
        Self { whole: whole.clone(), part: Budget::new(bytes_max) }
    }

    /// Makes `permit` stand for `bytes`. `false`: they are not free, and it stays as it was.
    pub fn resize(&self, permit: &mut Option<PartPermit>, bytes: usize) -> bool {
        let now = permit.as_ref().map_or(0, |permit| permit.of_part.bytes());
        if bytes == 0 {
            *permit = None;
            return true;
        }
        if bytes > now {
            let (Some(of_part), Some(of_whole)) = (self.part.try_take(bytes - now), self.whole.try_take(bytes - now))
            else {
                return false;
            };
            match permit {
                None => *permit = Some(PartPermit { of_whole, of_part }),
                Some(permit) => {
                    // What was taken is given back and taken with the rest.
                    drop((of_part, of_whole));
                    permit.of_part.resize(bytes);
                    permit.of_whole.resize(bytes);
                }
            }
        } else if let Some(permit) = permit {
            permit.of_part.resize(bytes);
            permit.of_whole.resize(bytes);
        }
        true
    }
}

impl BytePermit {
    /// Bytes this permit stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A permit for `bytes` of what this one stands for, at most all of it.
    pub fn split_off(&mut self, bytes: usize) -> BytePermit {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        BytePermit { shared: Arc::clone(&self.shared), bytes }
    }

    /// Makes the permit stand for `bytes`: what is known only after reading or encoding. Growing may pass the bound by
    /// the difference (a worker that has read can't un-read); the next taker then waits for it.
    pub fn resize(&mut self, bytes: usize) {
        let mut used = self.shared.bytes_used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = *used + bytes - self.bytes;
        if bytes < self.bytes {
            self.shared.freed.notify_all();
        }
        self.bytes = bytes;
    }
}

impl Drop for BytePermit {
    fn drop(&mut self) {
        let mut used = self.shared.bytes_used.lock().unwrap_or_else(PoisonError::into_inner);
        *used -= self.bytes;
        self.shared.freed.notify_all();
    }
}

/// Tells the C library's allocator what this process is like: few threads that allocate, buffers that are used again, and a
/// burst now and then when thousands of files are found. To be called once, before threads are started.
pub fn tune_allocator() {
    const ARENAS_MAX: libc::c_int = 2;
    /// Larger blocks are the system's again once they are free. Batches and their buffers are smaller.
    const MAPPED_FROM_BYTES: libc::c_int = 2 << 20;
    /// So much may be free at the end of a heap. To name the threshold above ends glibc's own adjusting of this one, and it
    /// stays at 128 KiB: then most buffers go back to the system when they are freed, and each of their pages is a fault when
    /// it is used again (measured: 40,000 to 160,000 faults for 300 MB, a quarter of all CPU time; with this, 4,000).
    const KEPT_BYTES: libc::c_int = 4 << 20;
    // SAFETY: mallopt has no preconditions; what an allocator does not know it ignores.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS_MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}

/// Gives memory that is free back to the system. Takes milliseconds: for after a burst.
pub fn give_back_memory() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_never_pass_the_bound_and_come_back() {
        let budget = Budget::new(100);
        let mut first = budget.try_take(60).expect("60 of 100 are free");
        assert!(budget.try_take(41).is_none(), "41 more would pass the bound");
        first.resize(30);
        let second = budget.try_take(70).expect("70 are free after the shrink");
        assert_eq!(budget.bytes_used(), 100);
        drop(first);
        drop(second);
        assert_eq!(budget.bytes_used(), 0);
    }

    #[test]
    fn an_oversized_value_passes_alone() {
        let budget = Budget::new(10);
        let big = budget.try_take(25).expect("nothing else is taken");
        assert!(budget.try_take(1).is_none());
        drop(big);
        assert!(budget.try_take(1).is_some());
    }

    #[test]
    fn a_waiter_gets_what_another_thread_frees() {
        let budget = Budget::new(10);
        let held = budget.try_take(10).expect("free");
        let waiter = std::thread::spawn({
            let budget = budget.clone();
            move || budget.take_within(5, Duration::from_secs(60)).map(|permit| permit.bytes())
        });
        drop(held);
        assert_eq!(waiter.join().expect("the waiter does not panic"), Some(5));
    }

    #[test]
    fn a_part_is_bounded_by_itself_and_by_the_whole() {
        let whole = Budget::new(100);
        let part = BudgetPart::new(&whole, 50);
        let (mut one, mut other) = (None, None);
        assert!(part.resize(&mut one, 30) && !part.resize(&mut other, 30) && part.resize(&mut other, 20));
        assert_eq!(whole.bytes_used(), 50);
        assert!(!part.resize(&mut one, 31) && part.resize(&mut one, 10));
        let rest = whole.try_take(60).expect("60 are free");
        assert!(!part.resize(&mut other, 40), "the whole has only 10 more");
        assert!(part.resize(&mut other, 30));
        drop((one, rest));
        assert!(part.resize(&mut other, 0));
        assert_eq!(whole.bytes_used(), 0);
    }
}
