//! The `file` input: follows files by name, and reads each to its end whatever becomes of its name (I1, I7, I8).
//!
//! | file | job |
//! |---|---|
//! | `options` | what the config says |
//! | `appends` (P) | when bytes were appended |
//! | `adopt` | a renamed input goes on in its files |
//! | `glob` | `paths` and `exclude`: which files there are |
//! | `names` (P) | what rotation makes of a name |
//! | `identity` | statx, fingerprint, the hash before an offset |
//! | `content` | bytes at any offset, decompressed where they are compressed |
//! | `descriptors` | how many files may be open at once |
//! | `siblings` | a file's bytes under another name in its directory |
//! | `known` | the files known, by number, inode and path |
//! | `registry` | every decision about which file is which; the rules are in its header |
//! | `copies` | truncation: where a file's bytes are when they are not in it |
//! | `order` | which file of a name comes after which |
//! | `notices` | inotify |
//! | `watcher` | the thread: events and timers → registry |
//! | `link` | what a tail and the watcher know of each other |
//! | `tail` | the source of one file generation: reads lines |
//! | `stats` | counters and status |
//!
//! ```text
//!            ┌───────────── one thread an input ────────────┐        workers of the pipeline
//!  inotify ─►│ notices ─► watcher ─► registry ─► Host::add ─┼─────► tail ─► lines
//!  timers  ─►│                          ▲                   │        │
//!            └──────────────────────────┼───────────────────┘        │
//!                                 signals └────────── link ──────────┘
//! ```
//! Not here: positions of outputs (the pipeline commits them), formats of lines (decode).

mod adopt;
mod appends;
mod content;
mod copies;
mod descriptors;
mod glob;
mod identity;
mod known;
mod link;
mod names;
mod notices;
pub mod options;
mod order;
mod registry;
mod siblings;
mod stats;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod watcher;

use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

pub use self::adopt::adopt_renamed;
pub use self::descriptors::Descriptors;
pub use self::glob::{PatternError, Patterns};
pub use self::names::shown;
pub use self::stats::{FileState, FileStats, FileStatus};
pub use self::tail::Timing;

use self::notices::Notices;
use self::options::{FileOptions, Watch};
use self::registry::{Handles, Registry};
use self::tail::TailContext;
use self::watcher::{Message, Watcher};
use crate::batch::OutputId;
use crate::checkpoint::{Store, StoreError};
use crate::event::Shared;
use crate::input::source::Host;

/// A running file input.
pub struct FileInput {
    messages: Sender<Message>,
    thread: Option<JoinHandle<Handles>>,
    stats: Arc<FileStats>,
}

/// What an input leaves to the one that takes its place.
#[derive(Default)]
pub struct Legacy {
    stats: Arc<FileStats>,
    handles: Handles,
}

/// Why a file input can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("input {input}: {source}")]
    Pattern {
        input: String,
        #[source]
        source: PatternError,
    },
    #[error("input {input}: {source}")]
    Store {
        input: String,
        #[source]
        source: StoreError,
    },
    #[error("input {input}: can't start its thread: {source}")]
    Thread {
        input: String,
        #[source]
        source: std::io::Error,
    },
}

impl FileInput {
    /// Loads what is known of the input's files and begins to look for them. `outputs`: those it feeds; a file is read from
    /// the least of their positions.
    ///
    /// # Errors
    /// A pattern that is none, or a store that can't be read.
    pub fn start(
        options: FileOptions,
        shared: Shared,
        store: Arc<Store>,
        host: Arc<dyn Host>,
        outputs: &[OutputId],
        descriptors: Arc<Descriptors>,
    ) -> Result<FileInput, StartError> {
        Self::start_with(options, shared, store, host, outputs, descriptors, Timing::default())
    }

    /// The same, in the place of the input that had the name before: it counts on, and reads on in files that were deleted.
    ///
    /// # Errors
    /// As [`FileInput::start`].
    pub fn start_again(
        options: FileOptions,
        shared: Shared,
        store: Arc<Store>,
        host: Arc<dyn Host>,
        outputs: &[OutputId],
        descriptors: Arc<Descriptors>,
        legacy: Legacy,
    ) -> Result<FileInput, StartError> {
        let context = TailContext::new(&options, Timing::default(), legacy.stats, shared, descriptors);
        Self::start_in(options, store, host, outputs, context, legacy.handles)
    }

    /// The same with other waiting times.
    ///
    /// # Errors
    /// As [`FileInput::start`].
    pub fn start_with(
        options: FileOptions,
        shared: Shared,
        store: Arc<Store>,
        host: Arc<dyn Host>,
        outputs: &[OutputId],
        descriptors: Arc<Descriptors>,
        timing: Timing,
    ) -> Result<FileInput, StartError> {
        let context = TailContext::new(&options, timing, Arc::default(), shared, descriptors);
        Self::start_in(options, store, host, outputs, context, Handles::default())
    }

    fn start_in(
        options: FileOptions,
        store: Arc<Store>,
        host: Arc<dyn Host>,
        outputs: &[OutputId],
        context: TailContext,
        handles: Handles,
    ) -> Result<FileInput, StartError> {
        let input = options.name.clone();
        let patterns = Patterns::new(&options.paths, &options.exclude)
            .map_err(|source| StartError::Pattern { input: input.clone(), source })?;
        let (timing, stats, context) = (context.timing, Arc::clone(&context.stats), Arc::new(context));
        let (messages, received) = channel();
        let notices = Notices::new(&input, options.watch == Watch::Auto, messages.clone());
        let scan_every = options.scan_every;
        let mut registry = Registry::load(options, patterns, store, host, outputs.to_vec(), context, messages.clone())
            .map_err(|source| StartError::Store { input: input.clone(), source })?;
        registry.inherit(handles);
        let watcher = Watcher::new(registry, notices, received, scan_every, timing.grace, Arc::clone(&stats));
        let thread = std::thread::Builder::new()
            .name(format!("file {input}"))
            .spawn(move || watcher.run())
            .map_err(|source| StartError::Thread { input, source })?;
        Ok(FileInput { messages, thread: Some(thread), stats })
    }

    /// Ends the watching, and waits for its thread. Sources that the host has stay readable.
    pub fn stop(self) {
        self.leave();
    }

    /// The same, for another input that takes its place.
    pub fn leave(mut self) -> Legacy {
        let handles = self.end();
        Legacy { stats: Arc::clone(&self.stats), handles }
    }

    fn end(&mut self) -> Handles {
        // A thread that is gone needs no message.
        self.messages.send(Message::Stop).ok();
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(_)) = &ended {
            tracing::error!("the thread of a file input has panicked");
        }
        ended.and_then(Result::ok).unwrap_or_default()
    }

    /// Whether its thread watches.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Looks at everything now; returns when every file that is there is known and its source has been added or woken.
    pub fn rescan_now(&self) {
        self.ask(Message::Rescan);
    }

    /// Whether everything known was read to its end. With [`FileInput::rescan_now`] before it: everything there is.
    pub fn idle(&self) -> bool {
        self.ask(Message::Idle).unwrap_or(true)
    }

    /// Its files, for `/status`.
    pub fn snapshot(&self) -> Vec<FileStatus> {
        self.ask(Message::Snapshot).unwrap_or_default()
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<FileStats> {
        &self.stats
    }

    /// `None` if the thread is gone.
    fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Message) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        self.messages.send(question(reply)).ok()?;
        answer.recv().ok()
    }
}

impl Drop for FileInput {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}
