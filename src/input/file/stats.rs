//! What a file input counts, and what `/status` shows of its files.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one file input; they only grow, but for `files_open`.
#[derive(Debug, Default)]
pub struct FileStats {
    /// Sources that are with the pipeline now.
    pub files_open: AtomicU64,
    /// Files (and generations of them) seen for the first time.
    pub files_discovered: AtomicU64,
    pub bytes_read: AtomicU64,
    /// Events made.
    pub lines: AtomicU64,
    /// Files cut back or rewritten in place.
    pub truncations: AtomicU64,
    /// Files that left their name: renamed away, replaced or unlinked.
    pub rotations: AtomicU64,
    /// Reads, listings and openings that the system refused.
    pub errors: AtomicU64,
    /// Bytes known to have been there and never read: truncated away without a copy, or unlinked while we were not there.
    pub bytes_given_up: AtomicU64,
    /// inotify queues that overflowed; the rescan found what they lost.
    pub overflows: AtomicU64,
}

impl FileStats {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// What a file is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Has a name and is read as it grows.
    Following,
    /// Read to its end and settled; not open.
    Closed,
    /// Left its name; read to its end before it is let go.
    Leaving,
    /// Read to its end for ever.
    Finished,
    /// A copy of another file's bytes; not read for itself.
    Copy,
    /// Waits for an older file of the same name to be read first.
    Waiting,
}

/// One file, for `/status`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FileStatus {
    pub path: PathBuf,
    /// `log.file.id`
    pub id: String,
    pub offset_read: u64,
    pub offset_settled: u64,
    pub size: u64,
    pub state: FileState,
    /// It has no name any more: its unread bytes die with the process.
    pub unlinked: bool,
}
