//! inotify, by the notify crate: which paths may have changed. It makes discovery fast; nothing relies on it.
//!
//! Directories are watched, not files: a watch for each directory of the globs, so that new names are seen too. The handler runs
//! on notify's thread; it forwards what matters and, while files are written to again and again, sleeps a moment now and then:
//! the kernel merges what is equal, and hands over the rest in one go. What cannot be watched (limits, filesystems) makes [`Notices::is_complete`] false, and the
//! watcher polls instead.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::identity::Stat;
use super::names::shown;
use super::watcher::Message;

/// Events that may wait for the watcher; more are dropped, and a scan makes up for them.
const WAITING_MAX: usize = 8192;
/// While files are written to all the time, their events are taken this often, many at once.
const MERGE_PAUSE: Duration = Duration::from_millis(5);

/// The watches of one input.
pub struct Notices {
    input: String,
    /// `None`: `watch: poll`, or inotify is not to be had.
    watcher: Option<RecommendedWatcher>,
    /// With the inode that was watched under the path: a directory may be replaced.
    watched: HashMap<PathBuf, u64>,
    /// Directories that could not be watched.
    refused: BTreeSet<PathBuf>,
    warned: bool,
    waiting: Arc<AtomicUsize>,
}

impl Notices {
    /// Watches nothing yet. `with_inotify: false`: for good.
    pub fn new(input: &str, with_inotify: bool, messages: Sender<Message>) -> Notices {
        let waiting = Arc::new(AtomicUsize::new(0));
        let watcher = if with_inotify {
            let handler = handler(messages, Arc::clone(&waiting));
            match RecommendedWatcher::new(handler, Config::default()) {
                Ok(watcher) => Some(watcher),
                Err(error) => {
                    tracing::warn!(input, %error, "inotify can't be used, files are polled; raise fs.inotify.max_user_instances");
                    None
                }
            }
        } else {
            None
        };
        let (watched, refused) = (HashMap::new(), BTreeSet::new());
        Notices { input: input.to_owned(), watcher, watched, refused, warned: false, waiting }
    }

    /// An event was taken from the channel.
    pub fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether every directory asked for is watched.
    pub fn is_complete(&self) -> bool {
        self.watcher.is_some() && self.refused.is_empty()
    }

    /// Watches these directories and no others. `true`: some were not watched before, so what happened in them meanwhile
    /// must be looked for.
    pub fn watch(&mut self, directories: &BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let dropped: Vec<PathBuf> = self.watched.keys().filter(|path| !directories.contains(*path)).cloned().collect();
        for path in dropped {
            unwatch(watcher, &path);
            self.watched.remove(&path);
        }
        self.refused.clear();
        let mut added = false;
        for path in directories {
            let Ok(stat) = Stat::of_path(path) else { continue };
            match self.watched.get(path) {
                Some(inode) if *inode == stat.inode => continue,
                Some(_) => unwatch(watcher, path),
                None => {}
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), stat.inode);
                    added = true;
                }
                Err(error) => {
                    self.watched.remove(path);
                    self.refused.insert(path.clone());
                    if !self.warned {
                        self.warned = true;
                        tracing::warn!(
                            input = %self.input,
                            path = %shown(path),
                            %error,
                            "directory can't be watched, files are polled; raise fs.inotify.max_user_watches"
                        );
                    }
                }
            }
        }
        added
    }
}

fn unwatch(watcher: &mut RecommendedWatcher, path: &Path) {
    // It may be gone already: then so is its watch.
    if let Err(error) = watcher.unwatch(path) {
        tracing::trace!(path = %shown(path), %error, "was not watched any more");
    }
}

/// What runs on notify's thread for each event.
fn handler(messages: Sender<Message>, waiting: Arc<AtomicUsize>) -> impl FnMut(notify::Result<notify::Event>) {
    let (mut written, mut slept) = (None::<Instant>, None::<Instant>);
    move |event| {
        let message = match event {
            Ok(event) if event.need_rescan() => Message::Overflow,
            Ok(event) => {
                match event.kind {
                    EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
                    EventKind::Access(_) => return,
                    EventKind::Modify(ModifyKind::Data(_)) => {
                        let is_recent = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < MERGE_PAUSE);
                        if is_recent(written) && !is_recent(slept) {
                            std::thread::sleep(MERGE_PAUSE);
                            slept = Some(Instant::now());
                        }
                        written = Some(Instant::now());
                    }
                    _ => {}
                }
                if waiting.load(Ordering::Acquire) >= WAITING_MAX { Message::Overflow } else { Message::Event(event) }
            }
            Err(error) => {
                tracing::debug!(%error, "inotify reports an error");
                Message::Overflow
            }
        };
        if matches!(message, Message::Overflow) && waiting.load(Ordering::Acquire) > WAITING_MAX {
            // One overflow is on its way already.
            return;
        }
        waiting.fetch_add(1, Ordering::AcqRel);
        // The watcher is gone only when the input is being stopped.
        if messages.send(message).is_err() {
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
