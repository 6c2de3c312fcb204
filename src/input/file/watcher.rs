//! The thread of a file input: hears of events, keeps the timers, and calls the [`Registry`].
//!
//! ```text
//!   inotify ─┐                      ┌─ at once: the paths that events name
//!   tails ───┼─► one channel ─► loop ┼─ every 250 ms: files that left their name; all files where inotify is not to be had
//!   pipeline ┘                      └─ every `scan_every`, after an overflow, after a directory came: everything
//! ```
//! It never reads lines and never waits for the pipeline; that a source can't be read on does not hold up discovery.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use notify::event::{CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};

use super::link::Signal;
use super::notices::Notices;
use super::registry::{Handles, POLL_PAUSE, Registry};
use super::stats::FileStatus;

/// What the thread is told.
#[derive(Debug)]
pub enum Message {
    /// Something happened at a path.
    Event(notify::Event),
    /// Events were lost.
    Overflow,
    Tail(Signal),
    /// Look at everything now, and say when it is done.
    Rescan(SyncSender<()>),
    Idle(SyncSender<bool>),
    Snapshot(SyncSender<Vec<FileStatus>>),
    Stop,
}

/// Messages taken before the timers are looked at again.
const BURST: usize = 1024;
/// Where inotify tells of everything, scans take at most this part of the time: one 200th.
const SCAN_SHARE: u32 = 200;
/// Events are taken this often at most: half of what a producer lingers.
const PASS_PAUSE: Duration = Duration::from_millis(10);
/// A scan is tried again at once when it led to new watches, but not for ever.
const PASSES_MAX: usize = 4;

/// The thread's state.
pub struct Watcher {
    pub registry: Registry,
    pub notices: Notices,
    pub messages: Receiver<Message>,
    pub scan_every: Duration,
    /// How often files that left their name are looked at.
    pub pause: Duration,
    pub overflows: std::sync::Arc<super::stats::FileStats>,
    schedule: Schedule,
    /// When paths were last looked at.
    passed: Instant,
}

/// When what is due.
struct Schedule {
    scan: Instant,
    poll: Instant,
    /// Somebody asked for a scan before its time.
    soon: bool,
    /// Not before this: a scan of a large tree must not be all we do.
    not_before: Instant,
}

impl Watcher {
    pub fn new(
        registry: Registry,
        notices: Notices,
        messages: Receiver<Message>,
        scan_every: Duration,
        grace: Duration,
        stats: std::sync::Arc<super::stats::FileStats>,
    ) -> Watcher {
        let now = Instant::now();
        let schedule = Schedule { scan: now, poll: now, soon: true, not_before: now };
        let pause = POLL_PAUSE.min(grace / 2).max(Duration::from_millis(5));
        Watcher { registry, notices, messages, scan_every, pause, overflows: stats, schedule, passed: now }
    }

    /// Runs until it is told to stop. What is open then.
    pub fn run(mut self) -> Handles {
        self.watch();
        self.registry.handles()
    }

    fn watch(&mut self) {
        let mut paths = BTreeSet::new();
        loop {
            let now = Instant::now();
            if self.schedule.scan <= now || self.schedule.soon && self.schedule.not_before <= now {
                paths.clear();
                self.scan();
            }
            if self.schedule.poll <= now {
                self.schedule.poll = now + self.pause;
                self.registry.follow_unnamed();
                if !self.notices.is_complete() {
                    self.registry.poll(now);
                }
            }
            let mut until = self.schedule.scan.min(self.schedule.poll);
            if self.schedule.soon {
                until = until.min(self.schedule.not_before);
            }
            let mut next = match self.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // While files are written to all the time, what comes within a moment is looked at once.
            let pause = PASS_PAUSE.saturating_sub(self.passed.elapsed());
            if matches!(next, Some(Message::Event(_))) && !pause.is_zero() {
                std::thread::sleep(pause);
            }
            for _ in 0..BURST {
                let Some(message) = next else { break };
                if matches!(message, Message::Stop) {
                    return;
                }
                self.take(message, &mut paths);
                next = self.messages.try_recv().ok();
            }
            if let Some(message) = next {
                if matches!(message, Message::Stop) {
                    return;
                }
                self.take(message, &mut paths);
            }
            self.registry.examine(std::mem::take(&mut paths));
            self.passed = Instant::now();
            self.schedule.soon |= self.registry.take_found_link();
            self.registry.flush();
        }
    }

    fn take(&mut self, message: Message, paths: &mut BTreeSet<PathBuf>) {
        match message {
            Message::Event(event) => {
                self.notices.taken();
                self.event(event, paths);
            }
            Message::Overflow => {
                self.notices.taken();
                super::stats::FileStats::add(&self.overflows.overflows, 1);
                self.schedule.soon = true;
            }
            Message::Tail(signal) => self.registry.heard(&signal),
            // Who asked may have gone away meanwhile; that is no error.
            Message::Rescan(reply) => {
                self.scan();
                reply.send(()).ok();
            }
            Message::Idle(reply) => {
                reply.send(self.registry.is_idle() && !self.schedule.soon && paths.is_empty()).ok();
            }
            Message::Snapshot(reply) => {
                reply.send(self.registry.snapshot()).ok();
            }
            Message::Stop => {}
        }
    }

    fn event(&mut self, event: notify::Event, paths: &mut BTreeSet<PathBuf>) {
        match event.kind {
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
                if let [from, to] = event.paths.as_slice() {
                    self.registry.renamed(from, to);
                    self.schedule.soon |= to.is_dir();
                }
                return;
            }
            EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => self.schedule.soon = true,
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                self.schedule.soon |= event.paths.iter().any(|path| path.is_dir());
            }
            // A link to a directory may have come.
            EventKind::Create(_) => self.schedule.soon |= event.paths.iter().any(|path| path.is_dir()),
            _ => {}
        }
        paths.extend(event.paths);
    }

    /// Looks at everything.
    fn scan(&mut self) {
        let start = Instant::now();
        self.schedule.soon = false;
        for _ in 0..PASSES_MAX {
            let walk = self.registry.walk();
            let mut directories = walk.directories.clone();
            directories.extend(self.registry.real_directories());
            let added = self.notices.watch(&directories);
            self.registry.scan(&walk);
            let more = self.registry.real_directories();
            if !added && more.is_subset(&directories) {
                break;
            }
        }
        // The passes above have seen to the links they found.
        self.registry.take_found_link();
        self.registry.flush();
        let now = Instant::now();
        // What inotify misses is rare: looking for it in a huge tree must not cost more than it.
        let rest = if self.notices.is_complete() { (now - start) * SCAN_SHARE } else { Duration::ZERO };
        self.schedule.scan = now + self.scan_every.max(rest);
        self.schedule.not_before = now + (now - start) * 5;
    }
}
