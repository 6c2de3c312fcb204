//! The checked options of a `file` input.

use std::time::Duration;

/// Where to start in files that are there at the very first start; later ones are always read from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Beginning,
    End,
}

/// How new data is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// inotify, and a rescan for what it missed.
    Auto,
    /// The rescan alone: for filesystems that tell nothing (NFS, some overlays).
    Poll,
}

/// The checked options of a `file` input.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The input's name in the config.
    pub name: String,
    /// Absolute glob patterns.
    pub paths: Vec<String>,
    pub exclude: Vec<String>,
    pub start_at: StartAt,
    /// Files not modified for this long are not opened (until they are).
    pub ignore_older: Option<Duration>,
    /// Longer lines are cut here, marked and counted. In bytes, terminator excluded.
    pub max_line_bytes: usize,
    /// What the files are encoded in.
    pub charset: crate::decode::Charset,
    pub watch: Watch,
    pub scan_every: Duration,
    /// Deleted files with more unread than this, together, are given up, the first deleted first. `None`: never.
    pub deleted_bytes_max: Option<u64>,
    /// A deleted file is given up after this long. `None`: never.
    pub deleted_age_max: Option<Duration>,
    pub lines: crate::decode::LineFilter,
    /// How lines become records. `None`: each is one.
    pub joining: Option<std::sync::Arc<crate::decode::JoinOptions>>,
}
