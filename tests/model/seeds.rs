//! Which cases a random test runs: a fixed set, or as many as are asked for, on several threads.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Runs `case` for each seed, until one fails; its seed is printed.
pub fn for_seeds(cases: u64, case: fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let (first, cases) = match number("SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (number("MODEL_FIRST").unwrap_or(0), number("MODEL_CASES").unwrap_or(cases)),
    };
    let end = first + cases;
    let (next, has_failed) = (AtomicU64::new(first), AtomicBool::new(false));
    let work = || {
        while !has_failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(seed))) {
                has_failed.store(true, Ordering::Relaxed);
                eprintln!("failed with SIM_SEED={seed}");
                resume_unwind(panic);
            }
        }
    };
    let threads = if cases > 1 { thread::available_parallelism().map_or(1, NonZero::get) } else { 1 };
    let panics: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().err()).collect()
    });
    if let Some(panic) = panics.into_iter().next() {
        resume_unwind(panic);
    }
}
