//! The files an input knows: one [`Known`] for each generation of each file, found by number, inode or path.
//!
//! Only bookkeeping: nothing is decided here. There may be tens of thousands, nearly all of them idle, so what is
//! kept of one is counted in bytes: a path stands in memory once, whoever knows the file by it.

use std::collections::{HashMap, hash_map};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::content::Content;
use super::identity::{Stat, open};
use super::link::Link;
use crate::batch::{Position, SourceKey};
use crate::checkpoint::Entry;
use crate::input::source::Token;

/// One generation of a file.
pub struct Known {
    pub entry: Entry,
    /// The name it has now, as far as we know: in the glob, or where it was renamed to.
    pub path: Option<Arc<Path>>,
    /// Where `path` leads, if that is a symbolic link.
    pub real: Option<Arc<Path>>,
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

    /// Its bytes: by the handle that is open, or by its path. `None` if the path does not lead to it now (somebody else has it,
    /// nobody has it, or it can't be opened): what is there must not be taken for it.
    pub fn content(&self) -> Option<Arc<Content>> {
        if let Some(open) = &self.open {
            return Some(Arc::clone(&open.file));
        }
        let file = open(self.path.as_deref()?).ok()?;
        let is_it = Stat::of_file(&file).is_ok_and(|stat| self.is(&stat));
        is_it.then(|| Arc::new(Content::Plain(file)))
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
    by_inode: HashMap<u64, Keys>,
    by_path: HashMap<Arc<Path>, SourceKey>,
    /// By the path they were first found under: files of one name are one log.
    by_name: HashMap<Arc<Path>, Keys>,
    /// Links, by where they led when they were last followed: what happens there happens to them.
    links: HashMap<Arc<Path>, Arc<Path>>,
}

/// The files of one inode number or of one name: nearly always one.
enum Keys {
    One(SourceKey),
    /// In the order in which they came.
    Several(Vec<SourceKey>),
}

impl Keys {
    fn as_slice(&self) -> &[SourceKey] {
        match self {
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Several(keys) => keys,
        }
    }

    fn add(&mut self, key: SourceKey) {
        match self {
            Keys::One(first) => *self = Keys::Several(vec![*first, key]),
            Keys::Several(keys) => keys.push(key),
        }
    }
}

/// Adds `key` to those of `group`.
fn join<K: Eq + std::hash::Hash>(groups: &mut HashMap<K, Keys>, group: K, key: SourceKey) {
    match groups.entry(group) {
        hash_map::Entry::Occupied(mut keys) => keys.get_mut().add(key),
        hash_map::Entry::Vacant(none) => {
            none.insert(Keys::One(key));
        }
    }
}

/// Takes `key` from those of `group`.
fn part<K, Q>(groups: &mut HashMap<K, Keys>, group: &Q, key: SourceKey)
where
    K: Eq + std::hash::Hash + std::borrow::Borrow<Q>,
    Q: Eq + std::hash::Hash + ?Sized,
{
    let Some(keys) = groups.get_mut(group) else { return };
    let rest: Vec<SourceKey> = keys.as_slice().iter().copied().filter(|other| *other != key).collect();
    match rest.as_slice() {
        [] => {
            groups.remove(group);
        }
        [one] => *keys = Keys::One(*one),
        _ => *keys = Keys::Several(rest),
    }
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
        let matching = candidates.as_slice().iter().filter_map(|key| Some((*key, self.files.get(key)?)));
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
        let others = self.by_inode.get(&identity.inode).map_or(&[][..], Keys::as_slice).iter();
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
        let named = self.named(name).iter().copied();
        let mut older: Vec<SourceKey> = named.filter(|other| age(*other).is_some_and(|other| other < mine)).collect();
        older.sort_unstable_by_key(|other| std::cmp::Reverse(age(*other)));
        older
    }

    /// The files that were first found under this path.
    pub fn named(&self, name: &Path) -> &[SourceKey] {
        self.by_name.get(name).map_or(&[], Keys::as_slice)
    }

    /// Whether any is.
    pub fn is_named(&self, name: &Path) -> bool {
        self.by_name.contains_key(name)
    }

    /// The last moment at which a file of this name, born by `born_ns`, is known to have been the youngest.
    pub fn named_before(&self, name: &Path, born_ns: i64) -> Option<i64> {
        let named = self.named(name).iter().filter_map(|key| self.files.get(key));
        let older = named.filter(|known| known.entry.identity.born_ns.is_none_or(|born| born <= born_ns));
        older.map(|known| known.entry.registered_ns).max()
    }

    /// The link that leads, or led, to this path.
    pub fn link_to(&self, real: &Path) -> Option<&Arc<Path>> {
        self.links.get(real)
    }

    /// The paths that links lead to.
    pub fn link_targets(&self) -> impl Iterator<Item = &Path> {
        self.links.keys().map(|real| &**real)
    }

    /// The link is gone.
    pub fn drop_link(&mut self, link: &Path) {
        self.links.retain(|_, other| &**other != link);
    }

    pub fn insert(&mut self, key: SourceKey, known: Known) {
        join(&mut self.by_inode, known.entry.identity.inode, key);
        join(&mut self.by_name, Arc::clone(&known.entry.path), key);
        for path in [&known.path, &known.real].into_iter().flatten() {
            self.by_path.insert(path.clone(), key);
        }
        if let (Some(link), Some(real)) = (&known.path, &known.real) {
            self.links.insert(real.clone(), link.clone());
        }
        self.files.insert(key, Box::new(known));
    }

    /// Takes the path from a file. The path it had.
    pub fn unname(&mut self, key: SourceKey) -> Option<Arc<Path>> {
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
    pub fn name(&mut self, key: SourceKey, path: &Path, real: Option<Arc<Path>>) -> Option<SourceKey> {
        let known = self.files.get_mut(&key)?;
        let path = known.entry.share(path);
        known.path = Some(Arc::clone(&path));
        known.real.clone_from(&real);
        if let Some(real) = real {
            self.links.insert(Arc::clone(&real), Arc::clone(&path));
            self.by_path.insert(real, key);
        }
        self.by_path.insert(path, key).filter(|other| *other != key)
    }

    pub fn remove(&mut self, key: SourceKey) -> Option<Box<Known>> {
        self.unname(key);
        let known = self.files.remove(&key)?;
        part(&mut self.by_inode, &known.entry.identity.inode, key);
        part(&mut self.by_name, &*known.entry.path, key);
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Fingerprint, Identity};
    use crate::input::file::Descriptors;

    fn known(path: &str, inode: u64) -> Known {
        let path: Arc<Path> = Path::new(path).into();
        let identity = Identity { inode, born_ns: Some(1), ..Identity::default() };
        let entry = Entry { at: Arc::clone(&path), path, identity, ..Entry::default() };
        let path = entry.share(Path::new(&*entry.at));
        Known::of(entry, Some(path))
    }

    /// Guarantee: however many know a file by its path, the path stands in memory once.
    #[test]
    fn a_path_is_kept_once() {
        let mut files = KnownFiles::default();
        files.insert(SourceKey(1), known("/log/a", 1));
        files.unname(SourceKey(1));
        files.name(SourceKey(1), Path::new("/log/a"), None);
        let path = files.get(SourceKey(1)).and_then(|known| known.path.clone()).expect("it has one");
        // Here, in `path`, `entry.path` and `entry.at`, and as the keys of two tables.
        assert_eq!(Arc::strong_count(&path), 6);
    }

    /// Scenario: another file takes the path of a known one, which is closed, then open. Guarantee: its bytes are never those
    /// of the other.
    #[test]
    fn what_is_at_the_path_is_not_taken_for_the_file() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("a"), "mine").expect("writable");
        let stat = Stat::of_path(&at("a")).expect("it is there");
        let mut known = known(&at("a").display().to_string(), stat.inode);
        known.entry.identity.born_ns = stat.born_ns;
        let size = |known: &Known| known.content().map(|content| content.stat().expect("open").size);
        assert_eq!(size(&known), Some(4));
        std::fs::rename(at("a"), at("a.1")).expect("writable");
        assert_eq!(size(&known), None);
        std::fs::write(at("a"), "another's").expect("writable");
        assert_eq!(size(&known), None);
        let place = Descriptors::new(1).take().expect("one is free");
        let link = Link::new(SourceKey(1), Position::default(), Fingerprint::default(), 4, place, false);
        let file = Arc::new(Content::Plain(open(&at("a.1")).expect("readable")));
        known.open = Some(Open { link, token: Token(1), file });
        assert_eq!(size(&known), Some(4));
    }

    /// Scenario: files of one name and of one inode number come and go. Guarantee: each table knows those that are there, in
    /// the order in which they came, and nothing of those that are not.
    #[test]
    fn files_of_one_name_come_and_go() {
        let mut files = KnownFiles::default();
        let name = Path::new("/log/a");
        for key in 1..=3 {
            files.insert(SourceKey(key), known("/log/a", 7));
        }
        let check = |files: &KnownFiles, expect: &[u64]| {
            let expect: Vec<SourceKey> = expect.iter().copied().map(SourceKey).collect();
            let of_inode = files.by_inode.get(&7).map_or(&[][..], Keys::as_slice);
            assert_eq!((files.named(name), of_inode), (&*expect, &*expect));
        };
        check(&files, &[1, 2, 3]);
        files.remove(SourceKey(2));
        check(&files, &[1, 3]);
        files.remove(SourceKey(1));
        check(&files, &[3]);
        files.insert(SourceKey(4), known("/log/a", 7));
        check(&files, &[3, 4]);
        files.remove(SourceKey(3));
        files.remove(SourceKey(4));
        check(&files, &[]);
        assert!(!files.is_named(name) && files.by_inode.is_empty() && files.by_path.is_empty());
    }
}
