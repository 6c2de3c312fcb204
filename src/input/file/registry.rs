//! What is which file: every decision about identity, made by one thread (I8).
//!
//! The registry is told that something may have happened at a path ([`Registry::examine`]), that a path was renamed, that
//! all paths are to be looked at ([`Registry::scan`]), or what a tail met ([`Registry::heard`]). It looks at the filesystem
//! itself and never trusts the order or completeness of what it was told: inotify only makes it faster.
//!
//! # The rules
//!
//! - A path that leads to an inode with the birth time of a known file *is* that file, wherever it was before. If its content
//!   is not what was known (shorter than before, other first bytes, other bytes before the offset), it was truncated: the
//!   known generation retires and the next one begins at 0 under a new number and `log.file.id`.
//! - A file that lost its path **left**: it is read on until it has not grown for [`super::tail::Timing::grace`], and
//!   its unterminated last line is then taken as it is. If it was closed, it is looked for in its directory by inode.
//! - Files of one name are one log, and are read one after the other: see [`super::order`].
//! - **Copies.** A new file with a rotated name of a known one (`NAME.1` beside `NAME`), not born before it, whose content is a prefix of
//!   it, is its copy: it is registered so and not read. While it is empty it could be either, so it waits; if it diverges later, it
//!   is read after all. When a file is truncated, its copy is looked for among the rotated names: same
//!   fingerprint, not shorter than our offset, the same bytes before it. The retiring generation reads the rest from there.
//! - Names never change what a source is called: `log.file.path` is the path it was first found under, for life.
//! - Several names of one file (hard links, symbolic links) are one source, under the first name found.
//!
//! What is kept of a file is forgotten when it was seen unlinked and read to its end, or when it has not been found for a week
//! (an unmounted filesystem must not be read again from its beginning).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::content::{Content, is_packed};
use super::copies::Relation;
use super::glob::{Patterns, Walk};
use super::identity::{
    FINGERPRINT_BYTES, Prefix, ReadAt, Stat, birth_clock_ns, file_id, holds, now_ns, open, position_at, read_at,
};
use super::known::{Known, KnownFiles, Open};
use super::link::{Fate, Gate, Link, Signal};
use super::names::{self, shown};
use super::options::{FileOptions, StartAt};
use super::siblings::find_inode;
use super::stats::{FileState, FileStats, FileStatus};
use super::tail::{FileTail, TailContext};
use super::watcher::Message;
use crate::batch::{OutputId, Position, SourceKey};
use crate::budget::give_back_memory;
use crate::checkpoint::{Entry, Identity, Store, StoreError};
use crate::decode::Charset;
use crate::input::source::{Host, Token};

/// A file that can't be found is forgotten after this long.
const FORGET_AFTER_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;
/// Files looked for and paths looked at again in one go.
const CATCH_UP_MAX: usize = 10_000;
/// How long after a rename the next one of the same file is expected to be told of at most.
const CARRIED_FOR: Duration = Duration::from_secs(60);
/// Files opened after which memory is given back, once none waits to be opened.
const MANY_STARTED: usize = 1000;
/// New files that are made durable together: what waits for a commit stands in memory between what stays there.
const UNSAVED_MAX: usize = 1024;
/// Files beyond what is comfortable that are opened in one go.
const MORE_AT_ONCE: usize = 256;
/// How soon a file that grows is looked at again where nothing tells of changes.
pub const POLL_PAUSE: Duration = Duration::from_millis(250);

/// Open files by their number.
pub type Handles = HashMap<SourceKey, Arc<Content>>;

/// Everything known of the files of one input.
pub struct Registry {
    /// Its name, as its files' entries have it.
    input: Arc<str>,
    pub(super) options: FileOptions,
    pub(super) patterns: Patterns,
    pub(super) store: Arc<Store>,
    pub(super) host: Arc<dyn Host>,
    pub(super) outputs: Vec<OutputId>,
    pub(super) context: Arc<TailContext>,
    pub(super) signals: Sender<Message>,
    pub(super) files: KnownFiles,
    /// Sources that wait until this one has caught up.
    pub(super) waiters: HashMap<SourceKey, Vec<Token>>,
    /// Open files that left their name.
    pub(super) leaving: BTreeSet<SourceKey>,
    /// Files that lost their path (which is with them), to be looked for; a queue, since finding one may displace the next.
    pub(super) lost: VecDeque<(SourceKey, Option<PathBuf>)>,
    /// Paths that changed while they were looked at.
    pub(super) again: VecDeque<PathBuf>,
    /// Files to be read that wait for a descriptor, in the order in which they were found.
    pub(super) postponed: VecDeque<SourceKey>,
    started_since_trim: usize,
    /// Places beyond what is comfortable may be taken.
    opening_more: bool,
    /// That all descriptors are in use has been said.
    has_warned: bool,
    /// Names that a file of theirs has left (and where that really was): others may have had them since.
    pub(super) vacated: BTreeMap<PathBuf, PathBuf>,
    /// The three are being worked off.
    pub(super) catching_up: bool,
    /// Where files are that had a name of ours, by what events say; that name, and when it was said.
    pub(super) carried: HashMap<PathBuf, (PathBuf, Instant)>,
    /// A link was found: the directory it leads to may not be watched yet.
    pub(super) found_link: bool,
    /// Something was registered that must not be forgotten, since the last [`Registry::flush`].
    pub(super) unsaved: bool,
    /// What was complained about, so that it is said once.
    pub(super) complained: HashSet<PathBuf>,
    /// The input has never started with this store.
    pub(super) first_start: bool,
    /// A look at some paths goes on, and what it has started: that may read once the look is over.
    pub(super) looking: bool,
    pub(super) begun: Vec<SourceKey>,
    /// What the look has learned the first bytes of: that may begin once they are in the store.
    pub(super) told_apart: Vec<SourceKey>,
    /// When the directories of the globs were first listed, by the clock that stamps births.
    pub(super) listed: HashMap<PathBuf, i64>,
    /// What the input of this name had open before; until the first scan has found what has a name.
    pub(super) inherited: Handles,
    /// Older files of a name are being looked for.
    pub(super) probing: bool,
}

impl Drop for Registry {
    /// An input that ends waits for nothing: the others need not close their files for it.
    fn drop(&mut self) {
        self.context.descriptors.set_waiting(self.postponed.len(), 0);
    }
}

impl Registry {
    /// Loads what the store knows of the input's files. Nothing is looked at before the first [`Registry::scan`].
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn load(
        options: FileOptions,
        patterns: Patterns,
        store: Arc<Store>,
        host: Arc<dyn Host>,
        outputs: Vec<OutputId>,
        context: Arc<TailContext>,
        signals: Sender<Message>,
    ) -> Result<Registry, StoreError> {
        let mut files = KnownFiles::default();
        let input: Arc<str> = options.name.as_str().into();
        store.entries(|key, entry| {
            if *entry.input == *options.name {
                let entry = Entry { input: Arc::clone(&input), ..entry };
                let path = Some(Arc::clone(&entry.at));
                // The younger one has the path now.
                if let Some(older) = files.at(&entry.at) {
                    files.unname(older);
                }
                files.insert(key, Known::of(entry, path));
            }
        })?;
        let older: Vec<SourceKey> = files.iter().map(|(key, _)| key).filter(|key| !files.is_latest(*key)).collect();
        for key in older {
            files.unname(key);
            if let Some(known) = files.get_mut(key) {
                known.retired = true;
            }
        }
        let first_start = !store.input_started(&options.name)?;
        Ok(Registry {
            input,
            options,
            patterns,
            store,
            host,
            outputs,
            context,
            signals,
            files,
            waiters: HashMap::new(),
            leaving: BTreeSet::new(),
            lost: VecDeque::new(),
            again: VecDeque::new(),
            postponed: VecDeque::new(),
            started_since_trim: 0,
            opening_more: false,
            has_warned: false,
            vacated: BTreeMap::new(),
            catching_up: false,
            carried: HashMap::new(),
            found_link: false,
            unsaved: false,
            complained: HashSet::new(),
            first_start,
            looking: false,
            begun: Vec::new(),
            told_apart: Vec::new(),
            listed: HashMap::new(),
            inherited: Handles::new(),
            probing: false,
        })
    }

    pub fn walk(&self) -> Walk {
        self.patterns.walk()
    }

    /// Whether a link was found since it was last asked: then a scan must see to it that its target is watched.
    pub fn take_found_link(&mut self) -> bool {
        std::mem::take(&mut self.found_link)
    }

    /// Directories in which known files really are: where links lead.
    pub fn real_directories(&self) -> BTreeSet<PathBuf> {
        self.files.link_targets().filter_map(|real| real.parent().map(Path::to_owned)).collect()
    }

    /// Looks at every path of a walk, and at every file that has none of them.
    pub fn scan(&mut self, walk: &Walk) {
        for (path, error) in &walk.failed {
            self.complain(path, "list", error);
        }
        for path in &walk.matching_directories {
            self.complain_once(path, "it is a directory: a pattern for what is in it ends with `/*`");
        }
        for directory in &walk.directories {
            self.listed.entry(directory.clone()).or_insert(walk.began_ns);
        }
        self.in_one_look(|registry| registry.look_at_all(walk));
        self.inherited.clear();
        if self.first_start {
            self.store.mark_started(&self.options.name, now_ns());
            self.first_start = false;
        }
        self.carried.retain(|_, (_, since)| since.elapsed() < CARRIED_FOR);
        self.follow_unnamed();
        self.close_idle();
    }

    fn look_at_all(&mut self, walk: &Walk) {
        // First those that are known: a new file may be the copy or the successor of one of them.
        let named = self.files.iter().filter_map(|(_, known)| known.path.as_ref());
        let elsewhere: Vec<Arc<Path>> = named.filter(|path| !walk.files.contains(&***path)).cloned().collect();
        for path in elsewhere {
            self.look_at(&path);
        }
        let mut fresh = Vec::new();
        for path in &walk.files {
            let here = self.files.at(path);
            if let Some(key) = here {
                match Stat::of_path(path) {
                    // Nearly all, nearly always.
                    Ok(stat) if self.files.find(&stat) == here => {
                        self.look(key, &stat);
                        continue;
                    }
                    _ => self.look_at(path),
                }
            }
            match Stat::of_path(path) {
                Ok(stat) if self.files.find(&stat).is_none() => fresh.push((stat.born_ns, stat.modified_ns, path)),
                Ok(_) | Err(_) => self.look_at(path),
            }
        }
        fresh.sort_unstable();
        for (_, _, path) in &fresh {
            self.look_at(path);
        }
        // Those found under a rotated name before the file they are named after.
        for (_, _, path) in fresh {
            if let Some(key) = self.files.at(path)
                && self.has_left(key)
            {
                self.leave(key);
            }
        }
        self.recover();
    }

    /// Makes durable what is new: a file that is rotated out of the glob before the next commit would be unknown after
    /// a crash, and nothing would lead to it.
    pub fn flush(&mut self) {
        if !std::mem::take(&mut self.unsaved) {
            return;
        }
        if let Err(error) = self.store.commit(&[]) {
            // It stays queued, for the next commit.
            tracing::warn!(input = %self.options.name, %error, "new files can't be remembered now");
        }
    }

    /// Looks at paths that may have changed in any way.
    pub fn examine<P: AsRef<Path>>(&mut self, paths: impl IntoIterator<Item = P>) {
        self.in_one_look(|registry| {
            for path in paths {
                registry.look_at(path.as_ref());
            }
        });
    }

    pub(super) fn look_at(&mut self, path: &Path) {
        self.examine_one(path);
        self.catch_up();
    }

    /// Works off what looking at one path has led to.
    pub(super) fn catch_up(&mut self) {
        if std::mem::replace(&mut self.catching_up, true) {
            return;
        }
        // Names may change as fast as they are looked at; what is left over then is for the next scan.
        for _ in 0..CATCH_UP_MAX {
            if let Some((key, was)) = self.lost.pop_front() {
                self.look_for(key, was.as_deref());
            } else if let Some(path) = self.again.pop_front() {
                self.examine_one(&path);
            } else if let Some((name, was)) = self.vacated.pop_first() {
                self.missed(&name, &was);
            } else {
                break;
            }
        }
        self.catching_up = false;
    }

    pub(super) fn examine_one(&mut self, path: &Path) {
        // Events name the file; what the input knows may be the link to it.
        if let Some(link) = self.files.link_to(path).filter(|link| &***link != path).cloned() {
            if std::fs::symlink_metadata(&link).is_err() {
                self.files.drop_link(&link);
            }
            self.examine_one(&link);
            if !self.patterns.matches(path) {
                return;
            }
        }
        let here = self.files.at(path);
        let stat = match Stat::of_path(path) {
            Ok(stat) => stat,
            Err(error) => {
                if let Some(key) = here {
                    self.left(key);
                }
                let is_link = || std::fs::symlink_metadata(path).is_ok_and(|stat| stat.is_symlink());
                if error.kind() != std::io::ErrorKind::NotFound {
                    if self.patterns.matches(path) {
                        self.complain(path, "look at", &error);
                    }
                } else if !is_link() {
                    self.complained.remove(path);
                } else if self.patterns.matches(path) {
                    self.complain_once(path, "it is a symbolic link that leads to nothing");
                }
                return;
            }
        };
        if let Some(key) = self.files.find(&stat) {
            if here != Some(key) {
                self.found_at(key, path, &stat);
            }
            self.look(key, &stat);
            return;
        }
        if let Some(key) = here {
            self.left(key);
        }
        if stat.is_file && self.patterns.matches(path) {
            let name = self.name_of(path, &stat);
            self.discover(&name, path, &stat);
        } else if !stat.is_file && self.patterns.matches(path) && !path.is_dir() {
            self.complain_once(path, odd_kind(path));
        }
    }

    /// `from` was renamed to `to`, a moment ago. Both may have been renamed on since; then more such events follow.
    pub fn renamed(&mut self, from: &Path, to: &Path) {
        self.in_one_look(|registry| registry.follow(from, to));
    }

    fn follow(&mut self, from: &Path, to: &Path) {
        let carried = self.carried.remove(from).map(|(name, _)| name);
        let link = || self.files.link_to(from).map_or_else(|| from.to_owned(), |link| link.to_path_buf());
        let name = carried.unwrap_or_else(link);
        // A rotated form of its name may be in the glob too: it is of the same log, so its name stays.
        let is_rotated = match (name.file_name(), to.file_name()) {
            (Some(base), Some(name)) => names::rotated(base.as_bytes(), name.as_bytes()).is_some(),
            _ => false,
        };
        let had_our_name = self.patterns.matches(&name) && (is_rotated || !self.patterns.matches(to));
        if let Ok(stat) = Stat::of_path(to) {
            match self.files.find(&stat) {
                Some(key) if self.files.at(from) == Some(key) => self.moved(key, to),
                // It had our name for so short a time that nobody saw it there.
                None if had_our_name && stat.is_file => self.discover(&name, to, &stat),
                Some(_) | None => {}
            }
        }
        if had_our_name {
            self.carried.insert(to.to_owned(), (name, Instant::now()));
        }
        self.look_at(from);
        if self.files.at(to).is_some() || self.patterns.matches(to) {
            self.look_at(to);
        }
    }

    /// A known file was met at a path that is not the one we knew.
    pub(super) fn found_at(&mut self, key: SourceKey, path: &Path, stat: &Stat) {
        let Some(known) = self.files.get(key) else { return };
        if let Some(old) = &known.path {
            let is_there = Stat::of_path(old).is_ok_and(|there| there.is_same_file(stat));
            let is_better = !self.patterns.matches(old) && self.patterns.matches(path);
            if is_there && !is_better {
                // Another name of it. If the path was somebody else's, that one has left.
                if let Some(other) = self.files.at(path) {
                    self.left(other);
                }
                return;
            }
        }
        self.moved(key, path);
    }

    /// A known file is at `path` now.
    pub(super) fn moved(&mut self, key: SourceKey, path: &Path) {
        self.files.unname(key);
        let is_link = std::fs::symlink_metadata(path).is_ok_and(|stat| stat.is_symlink());
        let real = if is_link { std::fs::canonicalize(path).ok() } else { None }.map(Arc::from);
        self.found_link |= real.is_some();
        let displaced = self.files.name(key, path, real);
        let Some(known) = self.files.get_mut(key) else { return };
        let at = known.real.as_ref().or(known.path.as_ref());
        let at = at.map_or_else(|| known.entry.share(path), Arc::clone);
        if known.entry.at != at || known.entry.gone_ns != 0 {
            known.entry.at = at;
            known.entry.gone_ns = 0;
            self.store.update(key, &known.entry);
        }
        if self.has_left(key) {
            self.leave(key);
        } else if let Some(known) = self.files.get(key) {
            if let Some(open) = &known.open {
                open.link.left_ns.store(0, Ordering::Release);
                // It goes on under another name: nobody can wait for its end.
                open.link.caught_up.store(true, Ordering::Release);
            }
            self.leaving.remove(&key);
            self.release(key);
        }
        if let Some(other) = displaced {
            self.left(other);
        }
    }

    /// Whether a file is not under a name that it may grow under: outside the glob, or under a rotated form of its name or
    /// of another's.
    pub(super) fn has_left(&self, key: SourceKey) -> bool {
        let Some(known) = self.files.get(key) else { return false };
        let Some(path) = &known.path else { return true };
        if !self.patterns.matches(path) {
            return true;
        }
        let (Some(base), Some(name)) = (known.entry.path.file_name(), path.file_name()) else { return false };
        if base != name {
            return names::rotated(base.as_bytes(), name.as_bytes()).is_some()
                || names::are_of_one(base.as_bytes(), name.as_bytes());
        }
        // It was rotated before it was found, if there is a file that it is named after.
        path.parent().is_some_and(|directory| {
            let mut bases = names::bases(name.as_bytes()).into_iter().map(std::ffi::OsString::from_vec);
            bases.any(|base| self.files.at(&directory.join(base)).is_some())
        })
    }

    /// The path of a known file does not lead to it any more.
    pub(super) fn left(&mut self, key: SourceKey) {
        let Some(known) = self.files.get(key) else { return };
        let was = known.real_path().map(Path::to_owned);
        self.files.unname(key);
        self.lost.push_back((key, was));
    }

    /// Looks for a file that has lost its path.
    pub(super) fn look_for(&mut self, key: SourceKey, real: Option<&Path>) {
        // It may have been truncated before: then it is its copies that matter.
        let held = self.files.get(key).and_then(|known| known.open.as_ref()).map(|open| Arc::clone(&open.file));
        if let Some(stat) = held.and_then(|file| file.stat().ok()) {
            self.look(key, &stat);
        }
        let Some(known) = self.files.get(key) else { return };
        if known.retired || known.path.is_some() {
            return;
        }
        let unlinked = known.open.as_ref().is_some_and(|open| open.file.stat().is_ok_and(|stat| stat.links == 0));
        if let Some(real) = real.filter(|_| !unlinked)
            && let Some(path) = self.whereabouts(key, real)
        {
            self.moved(key, &path);
            if self.files.get(key).is_some_and(|known| !known.verified) {
                self.confirm(key);
            }
            self.vacated_by(key, real);
            return;
        }
        if let Some(real) = real {
            self.vacated_by(key, real);
        }
        let Some(known) = self.files.get(key) else { return };
        if known.open.is_some() {
            self.leave(key);
            self.note_unlinked(key);
        } else if known.entry.copy_of.is_some() || known.entry.finished {
            self.gone(key, 0);
        } else {
            self.resume_elsewhere(key, real);
        }
    }

    /// Where in its directory a file is now.
    pub(super) fn whereabouts(&mut self, key: SourceKey, was: &Path) -> Option<PathBuf> {
        let known = self.files.get(key)?;
        let directory = was.parent()?;
        match find_inode(directory, known.entry.identity.inode, |stat| known.is(stat)) {
            Ok(found) => found.map(|(path, _)| path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.complain(directory, "list", &error);
                None
            }
        }
    }

    /// A file that left its name is followed until it does not grow any more.
    pub(super) fn leave(&mut self, key: SourceKey) {
        let Some(known) = self.files.get(key) else { return };
        if known.retired || known.entry.copy_of.is_some() {
            return;
        }
        if let Some(open) = &known.open {
            if open.link.left_ns.load(Ordering::Acquire) == 0 {
                open.link.left_ns.store(now_ns(), Ordering::Release);
                FileStats::add(&self.context.stats.rotations, 1);
            }
            self.leaving.insert(key);
            self.host.wake(open.token);
            self.host.urge(open.token);
            return;
        }
        if known.entry.finished || !known.verified {
            return;
        }
        let Some(path) = known.path.clone() else { return };
        FileStats::add(&self.context.stats.rotations, 1);
        self.reopen(key, &path);
    }

    /// A file can't be found; `unread` bytes of it are known to be lost.
    pub(super) fn gone(&mut self, key: SourceKey, unread: u64) {
        let Some(known) = self.files.get_mut(key) else { return };
        if known.entry.gone_ns != 0 {
            return;
        }
        known.entry.gone_ns = now_ns();
        let path = shown(&known.entry.path);
        if unread > 0 {
            tracing::warn!(input = %self.options.name, file = %path, bytes = unread, "file is gone with bytes that were not read");
            FileStats::add(&self.context.stats.bytes_given_up, unread);
        } else {
            tracing::debug!(input = %self.options.name, file = %path, "file is gone");
        }
        self.store.update(key, &known.entry);
    }

    /// Looks at a known file, which a path leads to.
    pub(super) fn look(&mut self, key: SourceKey, stat: &Stat) {
        let Some(known) = self.files.get_mut(key) else { return };
        if !known.verified {
            return self.confirm(key);
        }
        if known.entry.copy_of.is_some() {
            return self.look_at_copy(key, stat);
        }
        if stat.size < known.size {
            return self.truncated(key);
        }
        if let Some(open) = &known.open {
            open.link.appends().saw(stat.size, stat.modified_ns, now_ns());
        }
        if stat.size == known.size && stat.modified_ns == known.modified_ns {
            return;
        }
        (known.size, known.modified_ns) = (stat.size, stat.modified_ns);
        (known.pause, known.due) = (POLL_PAUSE, Instant::now() + POLL_PAUSE);
        match &known.open {
            Some(open) => {
                let (link, token, file) = (Arc::clone(&open.link), open.token, Arc::clone(&open.file));
                // One that can't grow any more is compared by the tail, with what it reads.
                let is_full = usize::from(link.fingerprint().len) == FINGERPRINT_BYTES;
                match if is_full { Ok(true) } else { grow_fingerprint(&link, &*file) } {
                    Ok(true) => {}
                    Ok(false) => return self.truncated(key),
                    Err(error) => self.complain_of(key, "read", &error),
                }
                link.size_bytes.store(stat.size, Ordering::Release);
                link.at_end.store(false, Ordering::Release);
                self.remember_fingerprint(key);
                self.let_elders_first(key);
                self.host.wake(token);
            }
            None => {
                if let Some(path) = self.files.get(key).and_then(|known| known.path.clone()) {
                    self.reopen(key, &path);
                }
            }
        }
    }

    /// Opens a known file that is closed, if it has grown or has left its name.
    pub(super) fn reopen(&mut self, key: SourceKey, path: &Path) {
        let Some(position) = self.position_of(key) else { return };
        let Some(known) = self.files.get(key) else { return };
        let fingerprint = known.entry.fingerprint;
        let opened = open(path)
            .and_then(|file| Ok((Stat::of_file(&file)?, Prefix::read(&file)?, holds(&file, position)?, file)));
        let (stat, prefix, is_held, file) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.complain(path, "open", &error),
        };
        if !known.is(&stat) {
            // The path has moved on since.
            return self.again_at(path);
        }
        if !is_held || !prefix.matches(fingerprint) {
            return self.truncated(key);
        }
        let has_left = self.has_left(key);
        let Some(known) = self.files.get_mut(key) else { return };
        (known.size, known.modified_ns) = (stat.size, stat.modified_ns);
        if prefix.fingerprint().len > fingerprint.len {
            self.unsaved |= fingerprint.len == 0;
            known.entry.fingerprint = prefix.fingerprint();
            self.store.update(key, &known.entry);
        }
        if stat.size == position.offset && (!has_left || known.entry.finished) {
            return;
        }
        if known.entry.finished {
            known.entry.finished = false;
            self.store.update(key, &known.entry);
        }
        self.start(key, Arc::new(Content::Plain(file)), position, false);
        if has_left {
            self.leave_quietly(key);
        }
    }

    /// A path has changed while it was looked at: it is looked at again.
    pub(super) fn again_at(&mut self, path: &Path) {
        if !self.again.iter().any(|other| other == path) {
            self.again.push_back(path.to_owned());
        }
    }

    /// Marks a file that was just opened as having left its name.
    pub(super) fn leave_quietly(&mut self, key: SourceKey) {
        if let Some(open) = self.files.get(key).and_then(|known| known.open.as_ref()) {
            open.link.left_ns.store(now_ns(), Ordering::Release);
            self.leaving.insert(key);
            self.host.wake(open.token);
        }
    }

    /// The first look at a file that the store knows.
    pub(super) fn confirm(&mut self, key: SourceKey) {
        let Some(position) = self.position_of(key) else { return };
        let Some(known) = self.files.get_mut(key) else { return };
        let Some(path) = known.path.clone() else { return };
        let opened =
            open(&path).and_then(|file| Ok((Stat::of_file(&file)?, Prefix::read(&file)?, holds(&file, position)?)));
        let (stat, prefix, is_held) = match opened {
            Ok(opened) => opened,
            // It stays unverified, and is looked at again with the next scan.
            Err(error) => return self.complain(&path, "open", &error),
        };
        if !known.is(&stat) {
            return;
        }
        known.verified = true;
        (known.size, known.modified_ns) = (stat.size, stat.modified_ns);
        if known.entry.gone_ns != 0 || known.entry.identity.device != stat.device {
            known.entry.gone_ns = 0;
            known.entry.identity.device = stat.device;
            self.store.update(key, &known.entry);
        }
        if known.entry.copy_of.is_some() {
            return;
        }
        if !is_held || !prefix.matches(known.entry.fingerprint) {
            return self.truncated(key);
        }
        self.reopen(key, &path);
    }

    /// A file nobody has seen before is at `path`; its name is `name`.
    pub(super) fn discover(&mut self, name: &Path, path: &Path, stat: &Stat) {
        // Whoever takes its name from here on is born later.
        let seen_ns = birth_clock_ns();
        let at_end = self.first_start && self.options.start_at == StartAt::End;
        let age_ns = now_ns().saturating_sub(stat.modified_ns);
        let is_old = self.options.ignore_older.is_some_and(|limit| i128::from(age_ns) > limit.as_nanos().cast_signed());
        if is_old && !at_end {
            return;
        }
        let opened = open(path).and_then(|file| Ok((Stat::of_file(&file)?, Prefix::read(&file)?, file)));
        let (stat, prefix, file) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.complain(path, "open", &error),
        };
        // Without a birth time the first line says who it is, so it must be there.
        let is_nameless = stat.born_ns.is_none() && prefix.first_line().is_none();
        // What is compressed is no text; its lines were read before, or are looked for in it by who was being read.
        let is_packed = names::is_compressed(path) && is_packed(&file);
        if !stat.is_file || is_packed || is_nameless || self.files.find(&stat).is_some() {
            return;
        }
        // Under another name than its own, nothing is known of who has that now.
        let registered_ns = if name == path { seen_ns } else { i64::MIN };
        let mut entry = self.entry(name, path, &stat, &prefix, registered_ns);
        match self.relation(path, &stat, &file) {
            Relation::Unclear => return,
            Relation::Copy(of) => {
                entry.copy_of = Some(of);
                self.register(entry, Some(path), &file);
                return;
            }
            Relation::None if self.files.find(&stat).is_some() => return,
            Relation::None => {}
        }
        self.find_older(name, &stat);
        // While older ones were looked for it may have been met itself.
        if self.files.find(&stat).is_some() {
            return;
        }
        if at_end {
            match last_line_start(&file, stat.size, self.options.max_line_bytes, self.options.charset) {
                Ok(start) => entry.start = start,
                Err(error) => return self.complain(path, "read", &error),
            }
        }
        let start = entry.start;
        FileStats::add(&self.context.stats.files_discovered, 1);
        tracing::debug!(input = %self.options.name, file = %shown(path), offset = start.offset, "found file");
        let Some(key) = self.register(entry, Some(path), &file) else { return };
        if at_end && start.offset == stat.size {
            return;
        }
        self.start(key, Arc::new(Content::Plain(file)), start, false);
        if self.has_left(key) {
            self.leave_quietly(key);
        }
    }

    pub(super) fn entry(&self, name: &Path, path: &Path, stat: &Stat, prefix: &Prefix, registered_ns: i64) -> Entry {
        let first_line = if stat.born_ns.is_none() { prefix.first_line() } else { None };
        let own: Arc<Path> = Arc::from(name);
        Entry {
            input: Arc::clone(&self.input),
            at: if name == path { Arc::clone(&own) } else { Arc::from(path) },
            path: own,
            identity: Identity {
                device: stat.device,
                inode: stat.inode,
                born_ns: stat.born_ns,
                first_line,
                generation: 0,
            },
            fingerprint: prefix.fingerprint(),
            registered_ns: registered_ns.max(stat.born_ns.unwrap_or(i64::MIN)),
            ..Entry::default()
        }
    }

    /// Gives a file its number.
    pub(super) fn register(&mut self, mut entry: Entry, path: Option<&Path>, file: &File) -> Option<SourceKey> {
        entry.file_id = file_id(&entry.identity);
        let stat = match Stat::of_file(file) {
            Ok(stat) => stat,
            Err(error) => {
                self.complain(&entry.path, "look at", &error);
                return None;
            }
        };
        let is_link = path.is_some_and(|path| std::fs::symlink_metadata(path).is_ok_and(|stat| stat.is_symlink()));
        let real = if is_link { path.and_then(|path| std::fs::canonicalize(path).ok()) } else { None }.map(Arc::from);
        if let Some(real) = &real {
            self.found_link = true;
            entry.at = Arc::clone(real);
        }
        let key = match self.store.register(&entry) {
            Ok(key) => key,
            Err(error) => {
                // It stays unknown, and the next scan tries again.
                self.complain(&entry.path, "register", &std::io::Error::other(error.to_string()));
                return None;
            }
        };
        self.unsaved = true;
        if self.store.entries_queued() >= UNSAVED_MAX {
            self.flush();
        }
        let position = Some(entry.start);
        let displaced = path.and_then(|path| self.files.at(path));
        let path = path.map(|path| entry.share(path));
        let mut known = Known::of(entry, path);
        known.real = real;
        known.verified = true;
        known.position = position;
        // What was appended since its first bytes were taken is to be noticed with the next look.
        let prefix_bytes = usize::from(known.entry.fingerprint.len);
        let seen_bytes = if prefix_bytes < FINGERPRINT_BYTES { prefix_bytes as u64 } else { stat.size };
        (known.size, known.modified_ns) = (stat.size.min(seen_bytes), stat.modified_ns);
        self.files.insert(key, known);
        if let Some(other) = displaced {
            self.left(other);
        }
        Some(key)
    }

    /// Hands the source of a file to the pipeline.
    pub(super) fn start(&mut self, key: SourceKey, file: Arc<Content>, position: Position, is_copy: bool) {
        let descriptors = &self.context.descriptors;
        // What has no name can't be opened later.
        let is_nameless = self.files.get(key).is_some_and(|known| known.path.is_none());
        let place = if self.opening_more { descriptors.take_more() } else { descriptors.take() };
        let place = match place {
            // The bytes of a copy are not found by a name of ours.
            None if is_copy || is_nameless => descriptors.take_anyway(),
            Some(place) if is_nameless => place,
            Some(place) if !self.is_after_postponed(key) => place,
            _ => return self.postpone(key, position),
        };
        let Some(known) = self.files.get_mut(key) else { return };
        let urgent = known.entry.urgent || is_copy || is_nameless;
        let link = Link::new(key, position, known.entry.fingerprint, known.size, place, urgent);
        link.set_gate(Gate::Look);
        // A copy is told by what it is a copy of.
        link.may_begin.fetch_or(is_copy, Ordering::AcqRel);
        if known.entry.fingerprint.len > 0 {
            self.told_apart.push(key);
        }
        link.appends().saw(known.size, known.modified_ns, now_ns());
        let name = shown(&known.entry.path).into_owned();
        let tail = FileTail::new(
            Arc::clone(&self.context),
            Arc::clone(&link),
            self.signals.clone(),
            Arc::clone(&file),
            known.entry.file_id,
            name,
            position,
        );
        let tail = if is_copy { tail.of_copy() } else { tail };
        let token = self.host.add(&self.options.name, Box::new(tail), position);
        known.open = Some(Open { link, token, file });
        if let Some(path) = &known.path {
            self.complained.remove(&**path);
        }
        self.begun.push(key);
        self.started_since_trim += 1;
    }

    /// Leaves a file to be opened once there is a descriptor for it.
    fn postpone(&mut self, key: SourceKey, position: Position) {
        let Some(known) = self.files.get_mut(key) else { return };
        known.position = Some(position);
        if self.context.descriptors.are_all_taken() && !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(input = %self.options.name, "all file descriptors are in use; files wait for others to be read to their end; raise the limit (LimitNOFILE, ulimit -n)");
        }
        if !self.postponed.contains(&key) {
            self.context.descriptors.set_waiting(self.postponed.len(), self.postponed.len() + 1);
            self.postponed.push_back(key);
        }
    }

    /// Whether an older file of its name waits for a descriptor.
    fn is_after_postponed(&self, key: SourceKey) -> bool {
        !self.postponed.is_empty() && self.files.before(key).iter().any(|older| self.postponed.contains(older))
    }

    /// Opens files that waited for a descriptor, as far as there are some; if not, lets the others look whether they can close.
    fn open_postponed(&mut self) {
        if self.postponed.is_empty() {
            self.has_warned = false;
            // A moment ago the last of them was opened: by now nearly all have been read and closed.
            if self.started_since_trim > MANY_STARTED {
                self.started_since_trim = 0;
                give_back_memory();
            }
            return;
        }
        let waiting = std::mem::take(&mut self.postponed);
        self.context.descriptors.set_waiting(waiting.len(), 0);
        let mut waiting = waiting.into_iter();
        for (count, key) in waiting.by_ref().enumerate() {
            self.opening_more = count < MORE_AT_ONCE;
            let known = self.files.get(key).filter(|known| known.open.is_none());
            let Some(path) = known.and_then(|known| known.path.clone()) else { continue };
            self.reopen(key, &path);
            if self.postponed.contains(&key) {
                break;
            }
        }
        self.opening_more = false;
        let rest: Vec<SourceKey> = waiting.collect();
        let before = self.postponed.len();
        self.postponed.extend(rest);
        self.context.descriptors.set_waiting(before, self.postponed.len());
        if self.context.descriptors.are_short() {
            for (_, known) in self.files.iter() {
                if let Some(open) = known.open.as_ref().filter(|open| open.link.at_end.load(Ordering::Acquire)) {
                    self.host.wake(open.token);
                }
            }
        }
    }

    /// Takes over what the input of this name had open: files that were deleted meanwhile are read on.
    pub fn inherit(&mut self, files: Handles) {
        self.inherited = files;
    }

    /// What is open: without these, files that were deleted before they were read to their end would be gone.
    pub fn handles(&self) -> Handles {
        let open = self.files.iter().filter_map(|(key, known)| {
            let open = known.open.as_ref().filter(|_| !known.retired && known.entry.copy_of.is_none())?;
            Some((key, Arc::clone(&open.file)))
        });
        open.collect()
    }

    /// Reads on in an inherited file. `false`: it is none.
    pub(super) fn read_inherited(&mut self, key: SourceKey) -> bool {
        let Some(file) = self.inherited.remove(&key) else { return false };
        let Some(position) = self.position_of(key) else { return false };
        let Some(known) = self.files.get(key).filter(|known| !known.retired) else { return false };
        // It may have been truncated meanwhile: then these are the bytes of another generation.
        let looked = file.stat().and_then(|stat| Ok((stat, Prefix::read(&*file)?, holds(&*file, position)?)));
        let Ok((stat, prefix, true)) = looked else { return false };
        if !prefix.matches(known.entry.fingerprint)
            || stat.size < position.offset
            || self.files.find(&stat) != Some(key)
        {
            return false;
        }
        let Some(known) = self.files.get_mut(key) else { return false };
        known.verified = true;
        (known.size, known.modified_ns) = (stat.size, stat.modified_ns);
        self.start(key, file, position, false);
        self.leave_quietly(key);
        true
    }

    /// What a tail says.
    pub fn heard(&mut self, signal: &Signal) {
        self.in_one_look(|registry| match *signal {
            Signal::Begins(key) => registry.heard_begins(key),
            Signal::Changed(key) => registry.heard_changed(key),
            Signal::CaughtUp(key) => registry.heard_caught_up(key),
            Signal::Finished(key) => registry.heard_finished(key),
        });
    }

    /// There is something to read in a file that was empty when it was registered.
    fn heard_begins(&mut self, key: SourceKey) {
        self.verify(key);
        if self.files.get(key).is_some_and(|known| known.entry.fingerprint.len > 0) {
            self.told_apart.push(key);
        }
    }

    pub(super) fn heard_finished(&mut self, key: SourceKey) {
        let Some(known) = self.files.get_mut(key) else { return };
        let Some(open) = known.open.take() else { return };
        let position = open.link.read();
        known.position = Some(position);
        known.entry.fingerprint = *open.link.fingerprint();
        let was_leaving = self.leaving.remove(&key);
        let stat = open.file.stat();
        if known.retired || stat.as_ref().is_ok_and(|stat| stat.links == 0 && stat.size <= position.offset) {
            open.link.caught_up.store(true, Ordering::Release);
            return self.forget(key);
        }
        known.entry.finished = was_leaving;
        self.store.update(key, &known.entry);
        if let Ok(stat) = stat
            && stat.size > position.offset
        {
            (known.size, known.modified_ns) = (stat.size, stat.modified_ns);
            known.entry.finished = false;
            self.start(key, open.file, position, false);
            if was_leaving {
                self.leave_quietly(key);
            }
        }
        self.gates_after(key, &open.link);
    }

    pub(super) fn forget(&mut self, key: SourceKey) {
        self.store.forget(key);
        self.files.remove(key);
        self.leaving.remove(&key);
        self.release(key);
    }

    /// Files the store knows and no path led to: their bytes are looked for, or they are gone.
    pub(super) fn recover(&mut self) {
        let lost: Vec<SourceKey> = self
            .files
            .iter()
            .filter(|(_, known)| !known.verified && known.path.is_none())
            .map(|(key, _)| key)
            .collect();
        for key in lost {
            let Some(known) = self.files.get(key) else { continue };
            let (at, done) = (known.entry.at.clone(), known.entry.finished || known.entry.copy_of.is_some());
            // A younger generation of the same file has its inode.
            if !known.retired
                && let Some(path) = self.whereabouts(key, &at)
            {
                self.moved(key, &path);
                self.confirm(key);
            } else if done {
                self.gone(key, 0);
            } else {
                self.resume_elsewhere(key, Some(&at));
            }
        }
        let now = now_ns();
        let expired: Vec<SourceKey> = self
            .files
            .iter()
            .filter(|(_, known)| known.open.is_none() && known.entry.gone_ns != 0)
            .filter(|(_, known)| now.saturating_sub(known.entry.gone_ns) > FORGET_AFTER_NS)
            .map(|(key, _)| key)
            .collect();
        for key in expired {
            self.forget(key);
        }
    }

    /// Looks at the files that left their name: no event tells of them.
    pub fn follow_unnamed(&mut self) {
        self.in_one_look(|registry| {
            registry.open_postponed();
            registry.look_at_leaving();
        });
    }

    fn look_at_leaving(&mut self) {
        self.bound_deleted();
        let grace = i64::try_from(self.context.timing.grace.as_nanos()).unwrap_or(i64::MAX);
        for key in self.leaving.clone() {
            let Some(open) = self.files.get(key).and_then(|known| known.open.as_ref()) else {
                self.leaving.remove(&key);
                continue;
            };
            if let Ok(stat) = open.file.stat() {
                let (link, token) = (Arc::clone(&open.link), open.token);
                self.look(key, &stat);
                self.note_unlinked(key);
                self.catch_up();
                // Whether its time is really up is the tail's to say.
                let is_due = now_ns() - link.left_ns.load(Ordering::Acquire) >= grace;
                if is_due && link.at_end.load(Ordering::Acquire) && !link.drained.load(Ordering::Acquire) {
                    self.host.wake(token);
                }
            }
        }
    }

    /// Remembers the size of a file without a name: after a crash, nothing else tells what was lost with it.
    fn note_unlinked(&mut self, key: SourceKey) {
        let Some(known) = self.files.get_mut(key) else { return };
        let Some(open) = known.open.as_ref().filter(|_| !known.retired) else { return };
        if let Ok(stat) = open.file.stat()
            && stat.links == 0
            && stat.size != known.entry.unlinked_bytes
        {
            known.entry.unlinked_bytes = stat.size;
            self.store.update(key, &known.entry);
        }
    }

    /// Gives deleted files up that pass the bounds of `deleted_files`, the first deleted first.
    fn bound_deleted(&mut self) {
        let (bytes_max, age_max) = (self.options.deleted_bytes_max, self.options.deleted_age_max);
        if bytes_max.is_none() && age_max.is_none() {
            return;
        }
        let unread = |key: &SourceKey| {
            let open = self.files.get(*key)?.open.as_ref()?;
            let stat = open.file.stat().ok().filter(|stat| stat.links == 0)?;
            let left_ns = open.link.left_ns.load(Ordering::Acquire);
            Some((left_ns, *key, stat.size.saturating_sub(open.link.read().offset)))
        };
        let mut deleted: Vec<(i64, SourceKey, u64)> = self.leaving.iter().filter_map(unread).collect();
        deleted.sort_unstable();
        let mut total: u64 = deleted.iter().map(|(_, _, unread)| unread).sum();
        let now = now_ns();
        for (left_ns, key, unread) in deleted {
            let is_old = age_max.is_some_and(|age| i128::from(now - left_ns) > age.as_nanos().cast_signed());
            if unread > 0 && (is_old || bytes_max.is_some_and(|max| total > max)) {
                total -= unread;
                self.give_up(key, unread);
            }
        }
    }

    /// Looks at the named files whose time it is, where nothing tells of changes.
    pub fn poll(&mut self, now: Instant) {
        let scan_every = self.options.scan_every;
        let due: Vec<Arc<Path>> = self
            .files
            .iter_mut()
            .filter(|(_, known)| known.due <= now && known.entry.copy_of.is_none())
            .filter_map(|(_, known)| {
                known.pause = (known.pause * 2).min(scan_every);
                known.due = now + known.pause;
                known.path.clone()
            })
            .collect();
        self.examine(due);
    }

    /// Lets the tails of files that have not grown for long look whether they may close.
    pub(super) fn close_idle(&mut self) {
        let limit = i64::try_from(self.context.close_idle().as_nanos()).unwrap_or(i64::MAX);
        let now = now_ns();
        for (_, known) in self.files.iter() {
            if let Some(open) = &known.open
                && open.link.at_end.load(Ordering::Acquire)
                && now.saturating_sub(known.modified_ns) >= limit
            {
                self.host.wake(open.token);
            }
        }
    }

    /// Whether everything that is known to be there was read. Files that grew unnoticed are woken.
    pub fn is_idle(&mut self) -> bool {
        let mut idle = self.postponed.is_empty();
        for (_, known) in self.files.iter() {
            let Some(open) = &known.open else { continue };
            let link = &open.link;
            let read = link.read().offset + link.rest_bytes.load(Ordering::Acquire);
            let has_more = open.file.stat().is_ok_and(|stat| stat.size != read) && !matches!(*link.fate(), Fate::Gone);
            if !link.is_idle() || has_more {
                idle = false;
                self.host.wake(open.token);
            }
        }
        idle
    }

    /// Every file that is known and there.
    pub fn snapshot(&self) -> Vec<FileStatus> {
        let postponed: HashSet<SourceKey> = self.postponed.iter().copied().collect();
        let there = self.files.iter().filter(|(_, known)| known.entry.gone_ns == 0);
        let mut files: Vec<FileStatus> = there.map(|(key, known)| status(known, postponed.contains(&key))).collect();
        files.sort_by(|one, other| one.path.cmp(&other.path).then_with(|| one.id.cmp(&other.id)));
        files
    }

    /// Where reading of a file that is not open resumes (of an open one: where it is). `None` if the store can't say now.
    pub(super) fn position_of(&mut self, key: SourceKey) -> Option<Position> {
        let known = self.files.get(key)?;
        if let Some(open) = &known.open {
            return Some(open.link.read());
        }
        if let Some(position) = known.position {
            return Some(position);
        }
        let start = known.entry.start;
        match self.store.positions(key) {
            Ok(found) => {
                let of = |output: &OutputId| found.iter().find(|(id, _)| id == output).map_or(start, |(_, at)| *at);
                let position = self.outputs.iter().map(of).min_by_key(|at| at.offset).unwrap_or(start);
                self.files.get_mut(key)?.position = Some(position);
                Some(position)
            }
            Err(error) => {
                let path = known.entry.path.clone();
                self.complain(&path, "find the checkpoint of", &std::io::Error::other(error.to_string()));
                None
            }
        }
    }

    pub(super) fn remember_fingerprint(&mut self, key: SourceKey) {
        let Some(known) = self.files.get_mut(key) else { return };
        let Some(open) = &known.open else { return };
        let fingerprint = *open.link.fingerprint();
        if fingerprint != known.entry.fingerprint {
            // From its first bytes on, a file can be told from what was copied over it.
            if known.entry.fingerprint.len == 0 {
                self.unsaved = true;
                self.told_apart.push(key);
            }
            known.entry.fingerprint = fingerprint;
            self.store.update(key, &known.entry);
        }
    }

    pub(super) fn complain_of(&mut self, key: SourceKey, action: &str, error: &std::io::Error) {
        if let Some(path) = self.files.get(key).map(|known| known.entry.path.clone()) {
            self.complain(&path, action, error);
        }
    }

    /// Counts and says once that there is nothing to read at a path that matches. It is looked at with each scan, and read if
    /// it becomes a file.
    pub(super) fn complain_once(&mut self, path: &Path, reason: &str) {
        if self.complained.len() < 10_000 && self.complained.insert(path.to_owned()) {
            FileStats::add(&self.context.stats.errors, 1);
            tracing::warn!(input = %self.options.name, path = %shown(path), reason, "there is nothing to read at a path that matches");
        }
    }

    /// Counts what the system refused, and says it once for each path.
    pub(super) fn complain(&mut self, path: &Path, action: &str, error: &std::io::Error) {
        FileStats::add(&self.context.stats.errors, 1);
        if self.complained.len() < 10_000 && self.complained.insert(path.to_owned()) {
            tracing::warn!(input = %self.options.name, path = %shown(path), %error, "can't {action} it; it is tried again with each scan");
        }
    }
}

impl Known {
    pub(super) fn of(entry: Entry, path: Option<Arc<Path>>) -> Known {
        Known {
            entry,
            path,
            real: None,
            size: 0,
            modified_ns: 0,
            verified: false,
            retired: false,
            position: None,
            open: None,
            due: Instant::now(),
            pause: POLL_PAUSE,
        }
    }
}

/// What is at a path that is neither file nor directory.
fn odd_kind(path: &Path) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::metadata(path).map(|stat| stat.file_type()) {
        Ok(kind) if kind.is_fifo() => "it is a FIFO, whose bytes can be read only once",
        Ok(kind) if kind.is_socket() => "it is a socket",
        Ok(kind) if kind.is_block_device() || kind.is_char_device() => "it is a device",
        Ok(_) | Err(_) => "it is no regular file",
    }
}

fn status(known: &Known, is_postponed: bool) -> FileStatus {
    let position = known.position.unwrap_or(known.entry.start);
    let (read, settled, size) = match &known.open {
        // Its bytes were read elsewhere: nothing of it is late.
        _ if known.entry.copy_of.is_some() => (known.size, known.size, known.size),
        Some(open) => {
            let size = open.link.size_bytes.load(Ordering::Acquire);
            (open.link.read().offset, open.link.settled().offset, size)
        }
        None => (position.offset, position.offset, known.size),
    };
    let state = match &known.open {
        _ if known.entry.copy_of.is_some() => FileState::Copy,
        None if is_postponed => FileState::Waiting,
        Some(open) if open.link.is_waiting() => FileState::Waiting,
        Some(open) if open.link.has_left() || known.retired => FileState::Leaving,
        Some(_) => FileState::Following,
        None if known.entry.finished => FileState::Finished,
        None => FileState::Closed,
    };
    FileStatus {
        path: known.entry.path.to_path_buf(),
        id: format!("{:016x}", known.entry.file_id),
        offset_read: read,
        offset_settled: settled,
        size,
        state,
        unlinked: known.open.as_ref().is_some_and(|open| open.file.stat().is_ok_and(|stat| stat.links == 0)),
    }
}

/// Lets the fingerprint of a file cover more of it. `false`: the file does not begin as it did.
pub(super) fn grow_fingerprint(link: &Link, file: &impl ReadAt) -> std::io::Result<bool> {
    let mut fingerprint = link.fingerprint();
    let prefix = Prefix::read(file)?;
    if !prefix.matches(*fingerprint) {
        return Ok(false);
    }
    let grown = prefix.fingerprint();
    if grown.len > fingerprint.len {
        *fingerprint = grown;
    }
    Ok(true)
}

/// Where the last line of a file begins that may still grow: behind its last newline. If there is none within a line's
/// length, at the end.
fn last_line_start(file: &File, size: u64, max_line_bytes: usize, charset: Charset) -> std::io::Result<Position> {
    let mut first = [0; 2];
    let got = read_at(file, &mut first, 0)?;
    let charset = charset.resolved(&first[..got]);
    let want = usize::try_from(size).map_or(max_line_bytes, |size| size.min(max_line_bytes));
    let mut tail = vec![0; want];
    let from = size - want as u64;
    let read = read_at(file, &mut tail, from)?;
    let behind = charset.behind_last_line(&tail[..read], from).map(|at| from + at as u64);
    let start = behind.unwrap_or(if from == 0 { 0 } else { from + read as u64 });
    Ok(position_at(file, start)?.unwrap_or_default())
}
