//! The files an input knows: one [`Known`] for each generation of each file, found by number, inode or path.
//!
//! Only bookkeeping: nothing is opened or decided here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::content::Content;
use super::identity::Stat;
use super::link::Link;
use crate::batch::{Position, SourceKey};
use crate::checkpoint::Entry;
use crate::input::source::Token;

/// One generation of a file.
pub struct Known {
    pub entry: Entry,
    /// The name it has now, as far as we know: in the glob, or where it was renamed to.
    pub path: Option<PathBuf>,
    /// Where `path` leads, if that is a symbolic link.
    pub real: Option<PathBuf>,
    pub size: u64,
    pub modified_ns: i64,
    /// It was looked at since the start: `size` is true, and its content is what its entry says.
    pub verified: bool,
    /// Truncated away: what is left of it is in a copy or nowhere.
    pub retired: bool,
    /// Where reading resumes, while it is not open. `None`: not loaded from the store yet.
    pub position: Option<Position>,
    pub open: Option<Open>,
    /// When it is next looked at where nothing tells of changes, and how long after that.
    pub due: Instant,
    pub pause: Duration,
}

/// What belongs to a file whose source is with the pipeline.
pub struct Open {
    pub link: Arc<Link>,
    pub token: Token,
    pub file: Arc<Content>,
}

impl Known {
    /// Whether this is the file of `stat`, by what the system says. The device is not asked: it is a hint.
    pub fn is(&self, stat: &Stat) -> bool {
        self.entry.identity.inode == stat.inode && self.entry.identity.born_ns == stat.born_ns
    }

    /// Orders the files of one name: by birth, then by generation; without births by their numbers.
    fn age(&self, key: SourceKey) -> (i64, u32, u64) {
        let identity = &self.entry.identity;
        (identity.born_ns.unwrap_or(0), identity.generation, key.0)
    }

    /// Where the bytes really are: the directory to look in for rotated names.
    pub fn real_path(&self) -> Option<&Path> {
        self.real.as_deref().or(self.path.as_deref())
    }
}

/// All of them.
#[derive(Default)]
pub struct KnownFiles {
    /// Boxed: a table with a third of its room free is better small.
    files: HashMap<SourceKey, Box<Known>>,
    by_inode: HashMap<u64, Vec<SourceKey>>,
    by_path: HashMap<PathBuf, SourceKey>,
    /// By the path they were first found under: files of one name are one log.
    by_name: HashMap<PathBuf, Vec<SourceKey>>,
    /// Links, by where they led when they were last followed: what happens there happens to them.
    links: HashMap<PathBuf, PathBuf>,
}

impl KnownFiles {
    pub fn get(&self, key: SourceKey) -> Option<&Known> {
        self.files.get(&key).map(|known| &**known)
    }

    pub fn get_mut(&mut self, key: SourceKey) -> Option<&mut Known> {
        self.files.get_mut(&key).map(|known| &mut **known)
    }

    pub fn iter(&self) -> impl Iterator<Item = (SourceKey, &Known)> {
        self.files.iter().map(|(key, known)| (*key, &**known))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SourceKey, &mut Known)> {
        self.files.iter_mut().map(|(key, known)| (*key, &mut **known))
    }

    /// The current generation of the file of `stat`. Several files of one inode number and birth time (on two devices, or
    /// without birth times) are told apart by the device, if it is one of theirs.
    pub fn find(&self, stat: &Stat) -> Option<SourceKey> {
        let candidates = self.by_inode.get(&stat.inode)?;
        let matching = candidates.iter().filter_map(|key| Some((*key, self.files.get(key)?)));
        matching
            .filter(|(_, known)| known.is(stat))
            .max_by_key(|(key, known)| {
                (known.entry.identity.device == stat.device, known.entry.identity.generation, key.0)
            })
            .map(|(key, _)| key)
    }

    /// Whether no younger generation of its file is known.
    pub fn is_latest(&self, key: SourceKey) -> bool {
        let Some(known) = self.files.get(&key) else { return false };
        let identity = &known.entry.identity;
        let others = self.by_inode.get(&identity.inode).into_iter().flatten();
        others.filter_map(|other| self.files.get(other)).all(|other| {
            other.entry.identity.born_ns != identity.born_ns || other.entry.identity.generation <= identity.generation
        })
    }

    pub fn at(&self, path: &Path) -> Option<SourceKey> {
        self.by_path.get(path).copied()
    }

    /// The files of the same name that are older than `key`, the youngest first.
    pub fn before(&self, key: SourceKey) -> Vec<SourceKey> {
        let age = |key: SourceKey| self.files.get(&key).map(|known| known.age(key));
        let Some((name, mine)) = self.files.get(&key).map(|known| (&known.entry.path, known.age(key))) else {
            return Vec::new();
        };
        let named = self.by_name.get(name).into_iter().flatten().copied();
        let mut older: Vec<SourceKey> = named.filter(|other| age(*other).is_some_and(|other| other < mine)).collect();
        older.sort_unstable_by_key(|other| std::cmp::Reverse(age(*other)));
        older
    }

    /// The files that were first found under this path.
    pub fn named(&self, name: &Path) -> Vec<SourceKey> {
        self.by_name.get(name).cloned().unwrap_or_default()
    }

    /// Whether any is.
    pub fn is_named(&self, name: &Path) -> bool {
        self.by_name.contains_key(name)
    }

    /// The last moment at which a file of this name, born by `born_ns`, is known to have been the youngest.
    pub fn named_before(&self, name: &Path, born_ns: i64) -> Option<i64> {
        let named = self.by_name.get(name)?.iter().filter_map(|key| self.files.get(key));
        let older = named.filter(|known| known.entry.identity.born_ns.is_none_or(|born| born <= born_ns));
        older.map(|known| known.entry.registered_ns).max()
    }

    /// The link that leads, or led, to this path.
    pub fn link_to(&self, real: &Path) -> Option<&PathBuf> {
        self.links.get(real)
    }

    /// The paths that links lead to.
    pub fn link_targets(&self) -> impl Iterator<Item = &PathBuf> {
        self.links.keys()
    }

    /// The link is gone.
    pub fn drop_link(&mut self, link: &Path) {
        self.links.retain(|_, other| other != link);
    }

    pub fn insert(&mut self, key: SourceKey, known: Known) {
        self.by_inode.entry(known.entry.identity.inode).or_default().push(key);
        self.by_name.entry(known.entry.path.clone()).or_default().push(key);
        for path in [&known.path, &known.real].into_iter().flatten() {
            self.by_path.insert(path.clone(), key);
        }
        if let (Some(link), Some(real)) = (&known.path, &known.real) {
            self.links.insert(real.clone(), link.clone());
        }
        self.files.insert(key, Box::new(known));
    }

    /// Takes the path from a file. The path it had.
    pub fn unname(&mut self, key: SourceKey) -> Option<PathBuf> {
        let known = self.files.get_mut(&key)?;
        let (path, real) = (known.path.take(), known.real.take());
        for path in [&path, &real].into_iter().flatten() {
            if self.by_path.get(path) == Some(&key) {
                self.by_path.remove(path);
            }
        }
        path
    }

    /// Gives a path to a file that has none. Whose it was until now.
    pub fn name(&mut self, key: SourceKey, path: &Path, real: Option<PathBuf>) -> Option<SourceKey> {
        let known = self.files.get_mut(&key)?;
        known.path = Some(path.to_owned());
        known.real.clone_from(&real);
        if let Some(real) = real {
            self.links.insert(real.clone(), path.to_owned());
            self.by_path.insert(real, key);
        }
        self.by_path.insert(path.to_owned(), key).filter(|other| *other != key)
    }

    pub fn remove(&mut self, key: SourceKey) -> Option<Box<Known>> {
        self.unname(key);
        let known = self.files.remove(&key)?;
        let inode = known.entry.identity.inode;
        if let Some(keys) = self.by_inode.get_mut(&inode) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_inode.remove(&inode);
            }
        }
        if let Some(keys) = self.by_name.get_mut(&known.entry.path) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_name.remove(&known.entry.path);
            }
        }
        Some(known)
    }
}
