//! Waiting for a condition. No test waits for time: what it needs is asked for until it is so.

use std::time::{Duration, Instant};

/// The last resort: a test that waits longer has failed. Far above what anything takes on a slow machine.
pub const LAST_RESORT: Duration = Duration::from_secs(120);

/// Asks `ready` until it answers; `what` completes the sentence "waited for …".
#[track_caller]
pub fn until<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    until_or(what, LAST_RESORT, ready, String::new)
}

/// As [`until`], with its own bound and with what to show when it is missed.
#[track_caller]
pub fn until_or<T>(
    what: &str,
    bound: Duration,
    mut ready: impl FnMut() -> Option<T>,
    show: impl FnOnce() -> String,
) -> T {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begun.elapsed() < bound, "waited {} s for {what}\n{}", bound.as_secs(), show());
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
