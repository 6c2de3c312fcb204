//! Which file of a name comes after which (I3).
//!
//! Files of one name are one log: the next one begins when the one before it has been read to its end. So a lane that holds
//! a rotated file holds its successor too, which feeds the same lane. The part of the [`Registry`] that knows a log's files:
//! whose name a file that was found elsewhere had, which older ones are still to be found, and who waits for whom.
//!
//! A writer may rotate faster than we look. What we then find at `NAME.1` and `NAME.2` was never seen under `NAME`. It had
//! that name if its own is one that only rotation makes of it ([`names::is_made_of`]) and it was born after we saw the file
//! of the name before it: nothing else can have come between. Before any was seen, it must be born after the directory was
//! first listed; what is older is the past, and read only if the globs name it. Such a file belongs to the log `NAME`,
//! outside of the globs too, and is read before what is younger. Therefore no file is read before the look that found it
//! is over, and each look seeks what is older.
//!
//! A writer goes on in the old file until it opens the new one. So the end of the old one is met again before the first bytes
//! of the new one are read: nothing may tell of what was appended to a file without a name that is watched. A file that still
//! grows when its time to leave is up ([`super::tail::Timing::grace`]) has another writer, and is not waited for.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::Content;
use super::identity::{Stat, holds, looks_like_prefix, now_ns};
use super::link::{Fate, Gate, Link};
use super::names::{self, shown};
use super::registry::Registry;
use super::siblings::Sibling;
use crate::batch::SourceKey;

/// Numbered names that are looked at in one go: `NAME.1` to `NAME.1000`.
const NUMBERS_MAX: usize = 1000;

impl Registry {
    /// Everything that `look` starts may read once the look is over, with all it leads to, and what it has learned is in the
    /// store.
    pub(super) fn in_one_look(&mut self, look: impl FnOnce(&mut Self)) {
        if self.looking {
            return look(self);
        }
        self.looking = true;
        look(self);
        self.catch_up();
        self.looking = false;
        if !self.told_apart.is_empty() || !self.begun.is_empty() {
            // What was read of a file that is not known after a crash could not be told from what is then in it. If the store
            // can't be written, it is read all the same: that is said, and delivery is worth more.
            self.flush();
        }
        for key in std::mem::take(&mut self.told_apart) {
            if let Some(open) = self.files.get(key).and_then(|known| known.open.as_ref()) {
                open.link.may_begin.store(true, Ordering::Release);
                self.host.wake(open.token);
            }
        }
        for key in std::mem::take(&mut self.begun) {
            self.open_gate(key);
        }
    }

    /// Lets a source begin: at once, or when the file that had its name before has caught up.
    fn open_gate(&mut self, key: SourceKey) {
        self.let_elders_first(key);
        let waits_for = self.files.before(key).into_iter().find_map(|older| {
            let known = self.files.get(older).filter(|known| known.retired || self.has_left(older))?;
            let link = &known.open.as_ref()?.link;
            (!link.caught_up.load(Ordering::Acquire)).then(|| Arc::clone(link))
        });
        let Some(open) = self.files.get(key).and_then(|known| known.open.as_ref()) else { return };
        if let Some(before) = waits_for {
            self.waiters.entry(before.key).or_default().push(open.token);
            open.link.set_gate(Gate::After(before));
        } else {
            open.link.set_gate(Gate::Open);
        }
        // It may have caught up, and said so, before anybody listened.
        self.host.wake(open.token);
    }

    /// Lets a file of which nothing was read yet wait for what was appended late to one that had its name before.
    pub(super) fn let_elders_first(&mut self, key: SourceKey) {
        let open = self.files.get(key).and_then(|known| known.open.as_ref());
        let Some((mine, token)) = open.map(|open| (Arc::clone(&open.link), open.token)) else { return };
        if mine.read().offset > 0 {
            return;
        }
        let Some(older) = self.files.before(key).into_iter().find(|older| self.has_late_lines(*older)) else { return };
        if let Some(before) = self.read_on(older) {
            self.waiters.entry(older).or_default().push(token);
            mine.set_gate(Gate::After(before));
        }
    }

    /// Whether something was appended to a file since its end was met, that left its name a moment ago.
    fn has_late_lines(&self, key: SourceKey) -> bool {
        let Some(known) = self.files.get(key).filter(|known| !known.retired) else { return false };
        let Some(open) = &known.open else { return false };
        let (link, left) = (&open.link, open.link.left_ns.load(Ordering::Acquire));
        let grace = i64::try_from(self.context.timing.grace.as_nanos()).unwrap_or(i64::MAX);
        left != 0
            && now_ns().saturating_sub(left) < grace
            && matches!(*link.fate(), Fate::Live)
            && matches!(&*open.file, Content::Plain(_))
            && open.file.stat().is_ok_and(|stat| {
                stat.size > link.read().offset.saturating_add(link.rest_bytes.load(Ordering::Acquire))
            })
    }

    /// Has a file read to its end again; it says so when it is there.
    fn read_on(&self, key: SourceKey) -> Option<Arc<Link>> {
        let open = self.files.get(key)?.open.as_ref()?;
        open.link.at_end.store(false, Ordering::Release);
        open.link.caught_up.store(false, Ordering::Release);
        self.host.wake(open.token);
        Some(Arc::clone(&open.link))
    }

    /// The end of a file that left its name was met.
    pub(super) fn heard_caught_up(&mut self, key: SourceKey) {
        if self.has_late_lines(key) {
            self.read_on(key);
        } else {
            self.release(key);
        }
    }

    /// The source of a file has ended, and may have another by now: who waits for the old one waits for that, or no more.
    pub(super) fn gates_after(&mut self, key: SourceKey, ended: &Link) {
        let Some(known) = self.files.get(key) else { return };
        let now = known.open.as_ref().map(|open| Arc::clone(&open.link));
        if let Some(now) = &now {
            let named = self.files.named(&known.entry.path).iter();
            let open = named.filter_map(|other| self.files.get(*other)?.open.as_ref());
            for waiter in open.filter(|open| open.link.waits_for(ended)) {
                waiter.link.set_gate(Gate::After(Arc::clone(now)));
            }
        }
        ended.caught_up.store(true, Ordering::Release);
        if now.is_none() {
            self.release(key);
        }
    }

    /// Wakes those that wait for this one.
    pub(super) fn release(&mut self, key: SourceKey) {
        for token in self.waiters.remove(&key).unwrap_or_default() {
            self.host.wake(token);
        }
    }

    /// The name of the log that an unknown file at `path`, which matches, belongs to: its own, or the one it had before
    /// anybody looked.
    pub(super) fn name_of(&self, path: &Path, stat: &Stat) -> PathBuf {
        let had = path.parent().zip(path.file_name()).and_then(|(directory, name)| {
            let bases = names::bases(name.as_bytes()).into_iter();
            bases.filter(|base| names::is_made_of(base, name.as_bytes())).find_map(|base| {
                let base = directory.join(std::ffi::OsString::from_vec(base));
                let is_a_log = self.patterns.matches(&base) && (self.files.is_named(&base) || base.exists());
                (is_a_log && self.came_after(&base, stat)).then_some(base)
            })
        });
        had.unwrap_or_else(|| path.to_owned())
    }

    /// Whether a file was born after we last saw another, older one under this name, so that it can have had it since.
    fn came_after(&self, name: &Path, stat: &Stat) -> bool {
        // Without a birth time nothing can be said.
        let Some(born) = stat.born_ns else { return false };
        let listed = || self.listed.get(name.parent()?).copied();
        // Within one tick of the clock nobody knows who was first: then it is read rather than lost.
        self.files.named_before(name, born).or_else(listed).is_some_and(|since| born >= since)
    }

    /// Reads what had this name before the file of `stat` and was not seen: under the numbered names, which fast rotation makes.
    pub(super) fn find_older(&mut self, name: &Path, stat: &Stat) {
        if std::mem::replace(&mut self.probing, true) {
            return;
        }
        let mut found = Vec::new();
        for number in 1..=NUMBERS_MAX {
            let mut path = name.as_os_str().to_owned();
            path.push(format!(".{number}"));
            let path = PathBuf::from(path);
            let Ok(there) = Stat::of_path(&path) else { break };
            if !self.came_after(name, &there) {
                break;
            }
            let is_older = there.born_ns <= stat.born_ns && !there.is_same_file(stat);
            if there.is_file && is_older && self.files.find(&there).is_none() {
                found.push((path, there));
            }
        }
        for (path, _) in found.into_iter().rev() {
            // The names may have moved on since: who is there now is looked at anew.
            let sibling = Sibling::at(path).filter(|sibling| !sibling.stat.is_same_file(stat));
            if let Some(sibling) = sibling.filter(|sibling| self.files.find(&sibling.stat).is_none()) {
                self.read_unseen(name, &sibling);
            }
        }
        self.probing = false;
    }

    /// A file is not at `was` any more, which may have been its name.
    pub(super) fn vacated_by(&mut self, key: SourceKey, was: &Path) {
        let Some(known) = self.files.get(key) else { return };
        if known.entry.copy_of.is_none() && !known.entry.finished && known.entry.gone_ns == 0 {
            self.vacated.insert(known.entry.path.to_path_buf(), was.to_owned());
        }
    }

    /// Reads what had a name while we did not look, after a file has left it or was truncated.
    pub(super) fn missed(&mut self, name: &Path, was: &Path) {
        for sibling in self.rotated(name, was, |files, stat| files.find(stat).is_none()) {
            let is_rotated = match (was.file_name(), sibling.path.file_name()) {
                (Some(base), Some(name)) => names::is_made_of(base.as_bytes(), name.as_bytes()),
                _ => false,
            };
            if is_rotated && self.came_after(name, &sibling.stat) {
                self.read_unseen(name, &sibling);
            }
        }
    }

    /// Reads a file that has a rotated name now and had `name`, unless it is known or a copy of one that is.
    fn read_unseen(&mut self, name: &Path, sibling: &Sibling) {
        if sibling.stat.size == 0 || self.is_accounted_for(name, sibling) {
            return;
        }
        tracing::info!(input = %self.options.name, file = %shown(&sibling.path), "a rotated file was not seen under its name; it is read now");
        self.discover(name, &sibling.path, &sibling.stat);
    }

    /// Whether a sibling is known, or is the copy of a file of this name, which may have been truncated a moment ago.
    fn is_accounted_for(&mut self, name: &Path, sibling: &Sibling) -> bool {
        for key in self.files.named(name).to_vec() {
            self.verify(key);
            if self.files.find(&sibling.stat).is_some() {
                return true;
            }
            if self.is_copy_of(key, sibling) {
                self.mark_copy(key, sibling);
                return true;
            }
        }
        self.files.find(&sibling.stat).is_some()
    }

    /// Whether a sibling has the bytes of a known file, as far as they go.
    pub(super) fn is_copy_of(&mut self, key: SourceKey, sibling: &Sibling) -> bool {
        let Some(known) = self.files.get(key).filter(|known| !known.retired) else { return false };
        let has_them = known.content().is_some_and(|file| {
            file.stat().is_ok_and(|stat| stat.size >= sibling.stat.size)
                && looks_like_prefix(&*file, &sibling.content, sibling.stat.size).unwrap_or(false)
        });
        if has_them {
            return true;
        }
        // It is lost, or about to be looked for, or was truncated and that is not known yet. All files of a log may begin with
        // the same heading, so what was read last must be there too.
        let (fingerprint, is_finished) = (known.entry.fingerprint, known.entry.finished);
        let Some(position) = self.position_of(key) else { return false };
        let has_what_was_read = fingerprint.len > 0
            && sibling.prefix.matches(fingerprint)
            && position.offset > 0
            && holds(&sibling.content, position).unwrap_or(false);
        has_what_was_read && (!is_finished || sibling.stat.size == position.offset)
    }
}
