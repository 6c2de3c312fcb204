//! Truncation and copies: where the bytes of a file are once they are not in it (I8).
//!
//! The part of the [`Registry`] that follows content instead of names; the rules are in its header. What is decided here:
//! when a generation retires, which file is its copy, which file is only a copy, and which had our name unseen.

use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::content::Content;
use super::identity::{Prefix, Stat, birth_clock_ns, holds, looks_like_prefix, open};
use super::known::KnownFiles;
use super::link::Fate;
use super::names::{self, shown};
use super::registry::{Registry, grow_fingerprint};
use super::siblings::{Sibling, packed_siblings, rotated_siblings};
use super::stats::FileStats;
use crate::batch::{Position, SourceKey};
use crate::checkpoint::{Entry, Fingerprint, Identity};

/// How often a directory is listed before a copy is taken to be missing.
const LISTINGS_MAX: usize = 3;

/// What a new file with a rotated name is to the file it is named after.
pub(super) enum Relation {
    None,
    Copy(SourceKey),
    /// It is empty, or the other one is to be looked for: it can't be said yet.
    Unclear,
}

impl Registry {
    /// A known file does not hold what it held: its generation retires, and the next one begins.
    pub(super) fn truncated(&mut self, key: SourceKey) {
        // Whoever takes the name of the next generation from here on is born later; who had it since the last is looked for below.
        let seen_ns = birth_clock_ns();
        let Some(position) = self.position_of(key) else { return };
        let Some(known) = self.files.get(key).filter(|known| !known.retired) else { return };
        let fingerprint = known.open.as_ref().map_or(known.entry.fingerprint, |open| *open.link.fingerprint());
        let was = known.real_path().unwrap_or(&known.entry.at).to_owned();
        let path = known.path.clone();
        // Nothing is decided before the file is in our hands: another may have its path by now, and what was forgotten of it
        // would be a file of its own, with the `log.file.id` that it had.
        let Some(file) = known.content() else { return self.look_again(path.as_deref()) };
        let (size, has_left) = (known.size, self.has_left(key));
        let mut next = Entry {
            identity: Identity { generation: known.entry.identity.generation + 1, ..known.entry.identity },
            fingerprint: Fingerprint::default(),
            start: Position::default(),
            urgent: true,
            finished: false,
            copy_of: None,
            gone_ns: 0,
            registered_ns: seen_ns,
            ..known.entry.clone()
        };
        FileStats::add(&self.context.stats.truncations, 1);
        tracing::info!(input = %self.options.name, file = %shown(&next.path), offset = position.offset, "file was truncated");

        // A directory that is rotated while it is listed may show a file under neither of its names.
        let copy = (0..LISTINGS_MAX).find_map(|_| self.find_copy(key, &was, position, fingerprint));
        self.retire(key, fingerprint);
        if let Some(copy) = &copy {
            self.mark_copy(key, copy);
        }
        // Before the next generation is known, whose name it is from now on.
        self.missed(&next.path, &was);
        match Prefix::read(&*file) {
            Ok(prefix) => next.fingerprint = prefix.fingerprint(),
            Err(error) => self.complain(&next.path, "read", &error),
        }
        // The old one is known until the new one is: there is no moment at which its inode is a stranger's.
        let Some(next) = self.register(next, path.as_deref(), file.file()) else {
            return self.bring_back(key, path.as_deref());
        };
        match copy {
            Some(copy) => self.read_copy(key, copy, position),
            None => {
                let read = self.position_of(key).unwrap_or(position);
                self.lose(key, size.saturating_sub(read.offset));
            }
        }
        self.start(next, file, Position::default(), false);
        if has_left {
            self.leave_quietly(next);
        }
    }

    /// What is at the path of a file is not that file, or nothing is, or it can't be opened.
    fn look_again(&mut self, path: Option<&Path>) {
        let Some(path) = path else { return };
        match open(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => self.complain(path, "open", &error),
            Ok(_) | Err(_) => self.again_at(path),
        }
    }

    /// A generation whose successor can't be registered now is what it was until the next scan.
    fn bring_back(&mut self, key: SourceKey, path: Option<&Path>) {
        if let Some(known) = self.files.get_mut(key) {
            known.retired = false;
        }
        if let Some(path) = path {
            self.moved(key, path);
        }
    }

    /// A generation is not in its file any more.
    fn retire(&mut self, key: SourceKey, fingerprint: Fingerprint) {
        self.files.unname(key);
        self.leaving.remove(&key);
        if let Some(known) = self.files.get_mut(key) {
            known.retired = true;
            known.entry.urgent = true;
            // What its copy is known by, after a restart too.
            known.entry.fingerprint = fingerprint;
            self.store.update(key, &known.entry);
        }
    }

    /// What is left of a generation is read from a copy, which is marked as one.
    fn read_copy(&mut self, key: SourceKey, copy: Sibling, position: Position) {
        let (size, has_more) = match &copy.content {
            Content::Plain(_) => (copy.stat.size, copy.stat.size > position.offset),
            // Its size is not known.
            Content::Packed(_) => {
                tracing::info!(input = %self.options.name, file = %shown(&copy.path), offset = position.offset, "the rest of a rotated file is read from its compressed form");
                (position.offset, true)
            }
        };
        let file = Arc::new(copy.content);
        if let Some(known) = self.files.get_mut(key) {
            known.retired = true;
            if let Some(open) = &mut known.open {
                open.link.size_bytes.store(size, Ordering::Release);
                open.link.at_end.store(false, Ordering::Release);
                *open.link.fate() = Fate::Copied(Arc::clone(&file));
                open.file = file;
                self.host.wake(open.token);
                return;
            }
            known.size = size;
        }
        if has_more {
            self.start(key, file, position, true);
        } else {
            self.forget(key);
        }
    }

    /// What is left of a generation is nowhere.
    fn lose(&mut self, key: SourceKey, unread: u64) {
        if unread > 0 {
            FileStats::add(&self.context.stats.bytes_given_up, unread);
            let path = self.files.get(key).map(|known| shown(&known.entry.path).into_owned()).unwrap_or_default();
            tracing::warn!(input = %self.options.name, file = %path, bytes = unread, "bytes that were not read are truncated away, and no copy was found");
        }
        self.no_more(key);
    }

    /// A deleted file passes the bounds that the config sets: nothing more of it is read.
    pub(super) fn give_up(&mut self, key: SourceKey, unread: u64) {
        FileStats::add(&self.context.stats.bytes_given_up, unread);
        self.leaving.remove(&key);
        if let Some(known) = self.files.get_mut(key) {
            known.retired = true;
            tracing::warn!(input = %self.options.name, file = %shown(&known.entry.path), bytes = unread, "a deleted file is given up with bytes that were not read: it passes `deleted_files`");
        }
        self.no_more(key);
    }

    /// Nothing more of a generation can be read.
    fn no_more(&mut self, key: SourceKey) {
        let open = self.files.get(key).and_then(|known| known.open.as_ref());
        match open {
            Some(open) => {
                *open.link.fate() = Fate::Gone;
                self.host.wake(open.token);
            }
            None => self.forget(key),
        }
    }

    /// The copy of a generation among the rotated names: same fingerprint, not shorter than what was read, the same bytes
    /// before it. Shorter ones that begin the same are copies too: they are marked, so that they are not read again.
    fn find_copy(
        &mut self,
        key: SourceKey,
        was: &Path,
        position: Position,
        fingerprint: Fingerprint,
    ) -> Option<Sibling> {
        let entry = &self.files.get(key)?.entry;
        let (name, registered_ns, is_gone) = (Arc::clone(&entry.path), entry.registered_ns, entry.gone_ns != 0);
        let mut found: Option<Sibling> = None;
        for sibling in self.siblings(key, was) {
            let is_held = sibling.stat.size >= position.offset && holds(&sibling.content, position).unwrap_or(false);
            // A crash may forget the fingerprint, not the position: then the bytes before that must do.
            let fits =
                if fingerprint.len > 0 { sibling.prefix.matches(fingerprint) } else { position.offset > 0 && is_held };
            // Where nothing is known of the content, who was born since and has nobody else's bytes can only be it.
            let may_be = fingerprint.len == 0
                && position.offset == 0
                && !is_gone
                && sibling.stat.size > 0
                && !self.patterns.matches(&sibling.path)
                && sibling.stat.born_ns.is_some_and(|born| born >= registered_ns)
                && !self.is_copy_of_another(key, &name, &sibling);
            if fits || may_be {
                if is_held {
                    if let Some(older) = found.replace(sibling).filter(|_| fits) {
                        self.mark_copy(key, &older);
                    }
                } else if fits {
                    self.mark_copy(key, &sibling);
                }
            }
        }
        found.or_else(|| self.find_packed(key, was, position, fingerprint))
    }

    /// Whether a sibling has the bytes of another file of this name than `key`.
    fn is_copy_of_another(&mut self, key: SourceKey, name: &Path, sibling: &Sibling) -> bool {
        let named = self.files.named(name).to_vec();
        named.into_iter().any(|other| other != key && self.is_copy_of(other, sibling))
    }

    /// The same among the compressed files. Only what was being read is looked for there: something of it must be known.
    fn find_packed(
        &mut self,
        key: SourceKey,
        was: &Path,
        position: Position,
        fingerprint: Fingerprint,
    ) -> Option<Sibling> {
        if fingerprint.len == 0 && position.offset == 0 {
            return None;
        }
        let name = self.files.get(key)?.entry.path.clone();
        let (siblings, failed) = beside(&name, was, packed_siblings);
        self.complain_of_listing(failed);
        siblings.into_iter().find(|sibling| {
            // Other logs may begin with the same heading: the bytes before the offset decide, which must be decoded for that.
            sibling.prefix.matches(fingerprint)
                && sibling.content.decode_to(position.offset).is_ok()
                && holds(&sibling.content, position).unwrap_or(false)
        })
    }

    /// Files with rotated names of a known one that may have its bytes: not known, or known as its copies.
    fn siblings(&mut self, key: SourceKey, was: &Path) -> Vec<Sibling> {
        let Some(known) = self.files.get(key) else { return Vec::new() };
        let name = known.entry.path.clone();
        self.rotated(&name, was, |files, stat| {
            files.find(stat).is_none_or(|other| {
                other != key && files.get(other).is_some_and(|other| other.entry.copy_of == Some(key))
            })
        })
    }

    /// Files with rotated names of a name, and of the path it was really at.
    pub(super) fn rotated(
        &mut self,
        name: &Path,
        was: &Path,
        wanted: impl Fn(&KnownFiles, &Stat) -> bool,
    ) -> Vec<Sibling> {
        let (found, failed) = beside(name, was, |base| rotated_siblings(base, |stat| wanted(&self.files, stat)));
        self.complain_of_listing(failed);
        found
    }

    fn complain_of_listing(&mut self, failed: Option<(PathBuf, std::io::Error)>) {
        if let Some((base, error)) = failed.filter(|(_, error)| error.kind() != std::io::ErrorKind::NotFound) {
            self.complain(&base, "list the directory of", &error);
        }
    }

    /// Remembers that a file is a copy of a source's bytes. A compressed one is never read for itself, so nothing has to be remembered.
    pub(super) fn mark_copy(&mut self, of: SourceKey, copy: &Sibling) {
        if matches!(copy.content, Content::Packed(_)) {
            return;
        }
        match self.files.find(&copy.stat) {
            Some(known) => {
                if let Some(known) = self.files.get_mut(known) {
                    known.size = copy.stat.size;
                }
            }
            None => {
                let mut entry = self.entry(&copy.path, &copy.path, &copy.stat, &copy.prefix, i64::MIN);
                entry.copy_of = Some(of);
                self.register(entry, Some(&copy.path), copy.content.file());
            }
        }
    }

    /// A copy that goes on in another way than what it was taken for a copy of is a file of its own.
    pub(super) fn look_at_copy(&mut self, key: SourceKey, stat: &Stat) {
        let Some(known) = self.files.get(key) else { return };
        if (stat.size, stat.modified_ns) == (known.size, known.modified_ns) {
            return;
        }
        let has_grown = stat.size > known.size;
        let (Some(of), Some(path)) = (known.entry.copy_of, known.path.clone()) else { return };
        let Ok(file) = open(&path) else { return };
        let is_copy = match self.files.get(of) {
            // What it is a copy of can't be compared any more; it is being read, or was, from this very file.
            Some(original) if original.retired => true,
            Some(original) => match original.content() {
                Some(held) => {
                    let longer = held.stat().is_ok_and(|original| original.size >= stat.size);
                    longer && looks_like_prefix(&*held, &file, stat.size).unwrap_or(true)
                }
                None if original.entry.gone_ns != 0 => !has_grown,
                // It has lost its path, and that is not known yet: it is compared with the next scan.
                None => return,
            },
            None => !has_grown,
        };
        if let Some(known) = self.files.get_mut(key) {
            (known.size, known.modified_ns) = (stat.size, stat.modified_ns);
        }
        if is_copy {
            return;
        }
        if self.files.get(of).is_some_and(|original| original.open.is_some()) {
            // Its original may have been truncated a moment ago.
            self.verify(of);
            if self.files.get(of).is_none_or(|original| original.retired) {
                return;
            }
        }
        tracing::info!(input = %self.options.name, file = %shown(&path), "what looked like a copy is a file of its own");
        if let Some(known) = self.files.get_mut(key) {
            known.entry.copy_of = None;
            known.position = Some(Position::default());
            self.store.update(key, &known.entry);
            self.start(key, Arc::new(Content::Plain(file)), Position::default(), false);
        }
    }

    /// What a new file is to the known one that it is named after.
    pub(super) fn relation(&mut self, path: &Path, stat: &Stat, file: &File) -> Relation {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Relation::None };
        for base in names::bases(name.as_bytes()) {
            let base = directory.join(std::ffi::OsString::from_vec(base));
            let Some(known) = self.files.at(&base) else { continue };
            if let Some(relation) = self.found_out(known, &base, path, stat) {
                return relation;
            }
            match self.compared(&base, stat, file) {
                // What it was compared with may have been truncated, or renamed, since it was looked at.
                Relation::None => {
                    if let Some(relation) = self.found_out(known, &base, path, stat) {
                        return relation;
                    }
                }
                relation => return relation,
            }
        }
        Relation::None
    }

    /// Looks at the file at `base`. It may have been truncated a moment ago: then the new file at `path` is found as its copy there.
    fn found_out(&mut self, known: SourceKey, base: &Path, path: &Path, stat: &Stat) -> Option<Relation> {
        self.look_at(base);
        if let Some(key) = self.files.at(base) {
            self.verify(key);
        }
        if self.files.find(stat).is_some() {
            return Some(Relation::None);
        }
        // Where it is now, and what became of its bytes, is known once it has been looked for.
        self.lost.iter().any(|(key, _)| *key == known).then(|| {
            self.again_at(path);
            Relation::Unclear
        })
    }

    /// What the bytes of a new file say of the known one at `base`.
    fn compared(&self, base: &Path, stat: &Stat, file: &File) -> Relation {
        let Some((key, known)) = self.files.at(base).and_then(|key| Some((key, self.files.get(key)?))) else {
            return Relation::None;
        };
        if stat.born_ns.zip(known.entry.identity.born_ns).is_some_and(|(copy, original)| copy < original) {
            return Relation::None;
        }
        let Some(original) = known.content() else { return Relation::None };
        let Ok(original_stat) = original.stat() else { return Relation::None };
        if stat.size == 0 {
            return if original_stat.size > 0 { Relation::Unclear } else { Relation::None };
        }
        if original_stat.size >= stat.size && looks_like_prefix(&*original, file, stat.size).unwrap_or(false) {
            return Relation::Copy(key);
        }
        Relation::None
    }

    /// Compares an open file with what was read of it.
    pub(super) fn verify(&mut self, key: SourceKey) {
        let known = self.files.get(key).filter(|known| !known.retired);
        let Some(open) = known.and_then(|known| known.open.as_ref()) else { return };
        let is_same = grow_fingerprint(&open.link, &*open.file)
            .and_then(|same| Ok(same && holds(&*open.file, open.link.read())?));
        match is_same {
            Ok(true) => self.remember_fingerprint(key),
            Ok(false) => self.truncated(key),
            Err(error) => self.complain_of(key, "read", &error),
        }
    }

    pub(super) fn heard_changed(&mut self, key: SourceKey) {
        let Some(open) = self.files.get(key).filter(|known| !known.retired).and_then(|known| known.open.as_ref())
        else {
            return;
        };
        let (link, file, token) = (Arc::clone(&open.link), Arc::clone(&open.file), open.token);
        let is_same = Prefix::read(&*file)
            .and_then(|prefix| Ok(prefix.matches(*link.fingerprint()) && holds(&*file, link.read())?));
        if is_same.unwrap_or(false) {
            // Somebody wrote it back; nothing was lost of it.
            *link.fate() = Fate::Live;
            self.host.wake(token);
            return;
        }
        self.truncated(key);
    }

    /// A file that is not open and not to be found: whether a copy has what was not read of it.
    pub(super) fn resume_elsewhere(&mut self, key: SourceKey, was: Option<&Path>) {
        if self.read_inherited(key) {
            return;
        }
        let Some(position) = self.position_of(key) else { return };
        let Some(known) = self.files.get_mut(key) else { return };
        known.verified = true;
        let (fingerprint, size) = (known.entry.fingerprint, known.size.max(known.entry.unlinked_bytes));
        if let Some(was) = was
            && let Some(copy) = self.find_copy(key, was, position, fingerprint)
        {
            self.mark_copy(key, &copy);
            self.read_copy(key, copy, position);
            return;
        }
        self.gone(key, size.saturating_sub(position.offset));
    }
}

/// What `list` finds beside a name and beside the path it was really at; and which of them could not be listed.
fn beside(
    name: &Path,
    was: &Path,
    list: impl Fn(&Path) -> std::io::Result<Vec<Sibling>>,
) -> (Vec<Sibling>, Option<(PathBuf, std::io::Error)>) {
    let bases = if name == was { &[was][..] } else { &[was, name] };
    let (mut found, mut failed) = (Vec::new(), None);
    for base in bases {
        match list(base) {
            Ok(siblings) => found.extend(siblings),
            Err(error) => failed = Some(((*base).to_owned(), error)),
        }
    }
    (found, failed)
}
