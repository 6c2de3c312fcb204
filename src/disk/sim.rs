//! A simulated disk for tests: every byte and every name is volatile until it is synced, and [`SimDisk::crash`] decides by
//! its seed what of the rest survives. It is as nasty as POSIX allows:
//!
//! - of the unsynced changes to a directory any subset survives, in any combination (`rename` stays atomic);
//! - of the unsynced tail of a file a prefix survives, and a part of that may read as zeros (its length was written, its
//!   bytes were not); a truncation that was not synced may be undone;
//! - a failed sync marks its bytes as clean without having written them: a later sync returns Ok, and a crash loses them;
//! - a failed append leaves a part of its bytes; a full disk does so by itself.
//!
//! The same seed and the same calls give the same disk. Not simulated: bytes that change after they were synced (who wants
//! that writes them with [`SimDisk::corrupt`]), the order of calls between threads.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskEntry, DiskFile, beyond_the_end, parent, same_directory};

/// A disk in memory; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    random: Random,
    nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    /// Handles opened before a crash are dead.
    epoch: u64,
    /// Calls so far, failed ones included.
    calls: u64,
    /// Calls that are to fail.
    failures: BTreeMap<u64, io::ErrorKind>,
    /// Bytes that files may hold together; reserved ones count.
    capacity_bytes: u64,
}

type NodeId = u64;

const ROOT: NodeId = 0;

#[derive(Clone)]
enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Clone, Default)]
struct FileNode {
    /// What a reader sees.
    bytes: Vec<u8>,
    /// What was there at the last successful sync.
    durable: Vec<u8>,
    /// `bytes[..stable] == durable[..stable]`, and was so at every moment since the last sync.
    stable: usize,
    /// Parts that a failed sync claimed to have written.
    lied: Vec<Range<usize>>,
    reserved: u64,
}

#[derive(Clone, Default)]
struct DirNode {
    names: BTreeMap<String, NodeId>,
    /// The names at the last sync.
    durable: BTreeMap<String, NodeId>,
    /// The changes since, in order.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Link { name: String, node: NodeId },
    Unlink { name: String },
    Rename { from: String, to: String, node: NodeId },
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, NodeId>) {
        match self {
            Change::Link { name, node } => {
                names.insert(name.clone(), *node);
            }
            Change::Unlink { name } => {
                names.remove(name);
            }
            Change::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl SimDisk {
    /// An empty disk that holds at most `capacity_bytes`. `seed` decides what survives crashes and half-done writes.
    pub fn new(seed: u64, capacity_bytes: u64) -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]);
        let state = State {
            random: Random(seed),
            nodes,
            next_node: ROOT + 1,
            epoch: 0,
            calls: 0,
            failures: BTreeMap::new(),
            capacity_bytes,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Calls so far: those of [`Disk`] and [`DiskFile`], failed ones included.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Lets one call fail: the next one for 0, the one after it for 1, and so on.
    pub fn fail_after(&self, calls: u64, kind: io::ErrorKind) {
        let mut state = self.lock();
        let nth = state.calls + calls;
        state.failures.insert(nth, kind);
    }

    /// Forgets the failures that have not come yet.
    pub fn heal(&self) {
        self.lock().failures.clear();
    }

    /// Changes how much fits. What is there stays, also if it is more.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.lock().capacity_bytes = capacity_bytes;
    }

    /// Bytes in files, reserved ones included.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// The machine loses power. What survives is durable from then on; every open handle is dead.
    pub fn crash(&self) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.epoch += 1;
        state.failures.clear();
        for node in state.nodes.values_mut() {
            match node {
                Node::File(file) => file.crash(&mut state.random),
                Node::Dir(dir) => dir.crash(&mut state.random),
            }
        }
        state.forget_unreachable();
    }

    /// Another disk, with what programs see now: what a process that starts without a crash of the machine would.
    pub fn as_seen(&self) -> SimDisk {
        self.copied(Node::clone)
    }

    /// Another disk, with what is certain to survive a crash now, and nothing else.
    pub fn durable(&self) -> SimDisk {
        let certain = |node: &Node| match node {
            Node::File(file) => {
                // A truncation that was not synced may be undone, and what a failed sync claimed is not there.
                let mut bytes = file.durable.clone();
                for lied in &file.lied {
                    let end = lied.end.min(bytes.len());
                    bytes[lied.start.min(end)..end].fill(0);
                }
                let (stable, durable) = (bytes.len(), bytes.clone());
                Node::File(FileNode { bytes, durable, stable, lied: Vec::new(), reserved: file.reserved })
            }
            Node::Dir(dir) => {
                let names = dir.durable.clone();
                Node::Dir(DirNode { durable: names.clone(), names, unsynced: Vec::new() })
            }
        };
        self.copied(certain)
    }

    /// Another disk, healthy, with `copy` of each node.
    fn copied(&self, copy: impl Fn(&Node) -> Node) -> SimDisk {
        let state = self.lock();
        let nodes = state.nodes.iter().map(|(id, node)| (*id, copy(node))).collect();
        let (random, failures) = (Random(state.random.0), BTreeMap::new());
        let mut copy =
            State { random, nodes, next_node: state.next_node, epoch: 0, calls: 0, failures, capacity_bytes: u64::MAX };
        drop(state);
        copy.forget_unreachable();
        SimDisk { state: Arc::new(Mutex::new(copy)) }
    }

    /// Overwrites synced bytes behind everybody's back, as a bad medium does.
    ///
    /// # Errors
    /// If there is no such file, or it is too short.
    pub fn corrupt(&self, path: &Path, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(path)?;
        let file = state.file(node)?;
        let range = offset..offset + bytes.len();
        file.bytes.get_mut(range.clone()).ok_or_else(beyond_the_end)?.copy_from_slice(bytes);
        if let Some(durable) = file.durable.get_mut(range) {
            durable.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Somebody removes a directory and the files in it, behind everybody's back. None of that is synced.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(path)?;
        let dir = state.dir(node)?;
        for name in dir.names.keys().cloned().collect::<Vec<_>>() {
            dir.change(Change::Unlink { name });
        }
        let (above, name) = state.place(path)?;
        state.dir(above)?.change(Change::Unlink { name });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileNode {
    fn crash(&mut self, random: &mut Random) {
        // Either the length of the last sync is back, or a part of what came since made it.
        let mut survived = if random.one_in(2) {
            self.durable.clone()
        } else {
            let kept = self.stable + random.below(self.bytes.len() - self.stable + 1);
            let mut survived = self.bytes[..kept].to_vec();
            if kept > self.stable && random.one_in(3) {
                let hole = self.stable + random.below(kept - self.stable);
                let end = hole + 1 + random.below(kept - hole);
                survived[hole..end].fill(0);
            }
            survived
        };
        for lied in &self.lied {
            if random.one_in(2) {
                let end = lied.end.min(survived.len());
                survived[lied.start.min(end)..end].fill(0);
            }
        }
        *self = FileNode {
            stable: survived.len(),
            durable: survived.clone(),
            bytes: survived,
            lied: Vec::new(),
            reserved: self.reserved,
        };
    }
}

impl DirNode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    fn crash(&mut self, random: &mut Random) {
        let mut names = std::mem::take(&mut self.durable);
        for change in self.unsynced.drain(..).filter(|_| random.one_in(2)) {
            change.apply(&mut names);
        }
        self.durable.clone_from(&names);
        self.names = names;
    }
}

impl State {
    /// Counts a call, and says whether it is to fail.
    fn call(&mut self) -> io::Result<()> {
        let nth = self.calls;
        self.calls += 1;
        match self.failures.remove(&nth) {
            Some(kind) => Err(io::Error::new(kind, "a simulated failure")),
            None => Ok(()),
        }
    }

    fn used_bytes(&self) -> u64 {
        let file_bytes = |node: &Node| match node {
            Node::File(file) => (file.bytes.len() as u64).max(file.reserved),
            Node::Dir(_) => 0,
        };
        self.nodes.values().map(file_bytes).sum()
    }

    fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in names_of(path)? {
            match self.nodes.get(&node) {
                Some(Node::Dir(dir)) => node = *dir.names.get(&name).ok_or(io::ErrorKind::NotFound)?,
                _ => return Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        Ok(node)
    }

    /// The directory that holds the name, and the name.
    fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = names_of(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(parent(path)?)?, name))
    }

    fn file(&mut self, node: NodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn dir(&mut self, node: NodeId) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (dir, name) = self.place(path)?;
        let id = self.next_node;
        self.dir(dir)?.change(Change::Link { name, node: id });
        self.next_node += 1;
        self.nodes.insert(id, node);
        Ok(id)
    }

    /// After a crash nobody holds a handle, so a file without a name gives its bytes back. Before it, unlinked files stay:
    /// the handles are not counted, and a crash may bring the name back.
    fn forget_unreachable(&mut self) {
        let (mut reached, mut ahead) = (BTreeMap::new(), vec![ROOT]);
        while let Some(id) = ahead.pop() {
            if let Some(node) = self.nodes.remove(&id) {
                if let Node::Dir(dir) = &node {
                    ahead.extend(dir.names.values());
                }
                reached.insert(id, node);
            }
        }
        self.nodes = reached;
    }
}

fn names_of(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned()),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

impl Disk for SimDisk {
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.call()?;
        let node = match state.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.create(path, Node::File(FileNode::default()))?
            }
            found => found?,
        };
        state.file(node)?;
        Ok(Box::new(SimFile { disk: self.clone(), node, epoch: state.epoch, writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.call()?;
        let node = state.find(path)?;
        state.file(node)?;
        Ok(Box::new(SimFile { disk: self.clone(), node, epoch: state.epoch, writable: false }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let mut ahead = PathBuf::from("/");
        let mut created_in = None;
        for name in names_of(path)? {
            ahead.push(name);
            created_in = match state.find(&ahead) {
                Ok(node) => {
                    state.dir(node)?;
                    None
                }
                Err(_) => {
                    if let Some(above) = created_in {
                        sync_dir(state.dir(above)?);
                    }
                    state.create(&ahead, Node::Dir(DirNode::default()))?;
                    Some(state.place(&ahead)?.0)
                }
            };
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        let mut state = self.lock();
        state.call()?;
        let node = state.find(dir)?;
        let names = state.dir(node)?.names.clone();
        let entry = |(name, node): (String, NodeId)| match state.nodes.get(&node) {
            Some(Node::File(file)) => DiskEntry { name, len: file.bytes.len() as u64, is_dir: false, is_file: true },
            _ => DiskEntry { name, len: 0, is_dir: true, is_file: false },
        };
        Ok(names.into_iter().map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        same_directory(from, to)?;
        let node = state.find(from)?;
        state.file(node)?;
        let (dir, from) = state.place(from)?;
        let to = state.place(to)?.1;
        state.dir(dir)?.change(Change::Rename { from, to, node });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.call()?;
        let node = state.find(path)?;
        state.file(node)?;
        let (dir, name) = state.place(path)?;
        state.dir(dir)?.change(Change::Unlink { name });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let failed = state.call();
        let node = state.find(dir)?;
        let dir = state.dir(node)?;
        failed?;
        sync_dir(dir);
        Ok(())
    }
}

fn sync_dir(dir: &mut DirNode) {
    dir.durable.clone_from(&dir.names);
    dir.unsynced.clear();
}

struct SimFile {
    disk: SimDisk,
    node: NodeId,
    epoch: u64,
    writable: bool,
}

impl SimFile {
    /// The disk, and whether this call is to fail (then it may do a part of its work first).
    fn call(&self) -> io::Result<(MutexGuard<'_, State>, io::Result<()>)> {
        let mut state = self.disk.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("this handle is from before the crash"));
        }
        let outcome = state.call();
        Ok((state, outcome))
    }

    fn must_be_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading only"))
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.must_be_writable()?;
        let (mut state, mut outcome) = self.call()?;
        let mut fits = bytes.len();
        if outcome.is_err() {
            fits = state.random.below(bytes.len() + 1);
        }
        let free = state.capacity_bytes.saturating_sub(state.used_bytes());
        let file = state.file(self.node)?;
        // What was reserved is there for this file alone.
        let own = file.reserved.saturating_sub(file.bytes.len() as u64);
        let room = usize::try_from(own.max(free.saturating_add(own))).unwrap_or(usize::MAX);
        if room < fits {
            fits = room;
            outcome = Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        file.bytes.extend_from_slice(&bytes[..fits]);
        outcome
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let (mut state, outcome) = self.call()?;
        outcome?;
        let bytes = &state.file(self.node)?.bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buf.len().min(bytes.len() - start);
        buf[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        let (mut state, outcome) = self.call()?;
        outcome?;
        Ok(state.file(self.node)?.bytes.len() as u64)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.must_be_writable()?;
        let (mut state, outcome) = self.call()?;
        outcome?;
        let file = state.file(self.node)?;
        let len = usize::try_from(len).ok().filter(|len| *len <= file.bytes.len()).ok_or_else(beyond_the_end)?;
        file.bytes.truncate(len);
        file.stable = file.stable.min(len);
        // As on a real filesystem, the space beyond the new end is free again.
        file.reserved = file.reserved.min(len as u64);
        // What is gone needs no writing.
        file.lied.retain_mut(|lied| {
            lied.end = lied.end.min(len);
            lied.start < lied.end
        });
        Ok(())
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        self.must_be_writable()?;
        let (mut state, outcome) = self.call()?;
        outcome?;
        let free = state.capacity_bytes.saturating_sub(state.used_bytes());
        let file = state.file(self.node)?;
        let more = len.saturating_sub(file.reserved.max(file.bytes.len() as u64));
        if more > free {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        file.reserved = file.reserved.max(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, outcome) = self.call()?;
        let file = state.file(self.node)?;
        if outcome.is_err() {
            let unsynced = file.stable..file.bytes.len();
            if !unsynced.is_empty() {
                file.lied.push(unsynced);
            }
            return outcome;
        }
        file.durable.clone_from(&file.bytes);
        file.stable = file.bytes.len();
        Ok(())
    }
}

/// splitmix64: small, and the same for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `end` - 1; `end` must not be 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const ROOM: u64 = 1 << 20;

    fn content(disk: &SimDisk, path: &Path) -> Option<Vec<u8>> {
        let file = disk.open(path).ok()?;
        let mut buf = vec![0; ROOM as usize];
        let count = file.read(0, &mut buf).expect("a fresh handle");
        buf.truncate(count);
        Some(buf)
    }

    /// What a crash leaves of `path`, over many seeds, after `before`.
    fn outcomes(path: &str, before: impl Fn(&SimDisk)) -> BTreeSet<Option<Vec<u8>>> {
        let after = |seed| {
            let disk = SimDisk::new(seed, ROOM);
            before(&disk);
            disk.crash();
            content(&disk, Path::new(path))
        };
        (0..300).map(after).collect()
    }

    fn some(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }

    #[test]
    fn the_simulated_disk_keeps_the_contract() {
        super::super::tests::check_contract(&SimDisk::new(1, ROOM), Path::new("/"));
        super::super::tests::check_contract(&SimDisk::new(1, ROOM), Path::new("relative"));
    }

    #[test]
    fn synced_bytes_under_a_synced_name_survive_and_nothing_else_must() {
        let synced = |disk: &SimDisk, sync: bool, sync_dir: bool| {
            let mut file = disk.append(Path::new("/f")).expect("created");
            file.append(b"ab").expect("room");
            if sync {
                file.sync().expect("healthy");
            }
            if sync_dir {
                disk.sync_dir(Path::new("/")).expect("healthy");
            }
        };
        assert_eq!(outcomes("/f", |disk| synced(disk, true, true)), [some(b"ab")].into());
        assert_eq!(outcomes("/f", |disk| synced(disk, true, false)), [None, some(b"ab")].into());
        let torn = [some(b""), some(b"a"), some(b"ab"), some(b"\0"), some(b"\0b"), some(b"a\0"), some(b"\0\0")];
        assert_eq!(outcomes("/f", |disk| synced(disk, false, true)), torn.into());
    }

    #[test]
    fn a_synced_prefix_is_never_torn() {
        let kept = outcomes("/f", |disk| {
            let mut file = disk.append(Path::new("/f")).expect("created");
            disk.sync_dir(Path::new("/")).expect("healthy");
            file.append(b"safe").expect("room");
            file.sync().expect("healthy");
            file.append(b"tail").expect("room");
        });
        assert!(kept.iter().all(|bytes| bytes.as_ref().is_some_and(|bytes| bytes.starts_with(b"safe"))));
        assert!(kept.contains(&some(b"safe")) && kept.contains(&some(b"safetail")) && kept.contains(&some(b"safet")));
    }

    #[test]
    fn an_unsynced_rename_is_atomic_but_may_be_lost() {
        let replace = |disk: &SimDisk, synced: bool| {
            for (name, bytes) in [("/old", b"old"), ("/new", b"new")] {
                let mut file = disk.append(Path::new(name)).expect("created");
                file.append(bytes).expect("room");
                file.sync().expect("healthy");
            }
            disk.sync_dir(Path::new("/")).expect("healthy");
            disk.rename(Path::new("/new"), Path::new("/old")).expect("there");
            if synced {
                disk.sync_dir(Path::new("/")).expect("healthy");
            }
        };
        assert_eq!(outcomes("/old", |disk| replace(disk, false)), [some(b"old"), some(b"new")].into());
        assert_eq!(outcomes("/old", |disk| replace(disk, true)), [some(b"new")].into());
        assert_eq!(outcomes("/new", |disk| replace(disk, true)), [None].into());
    }

    #[test]
    fn unsynced_names_survive_in_any_combination() {
        let after = |seed| {
            let disk = SimDisk::new(seed, ROOM);
            for name in ["/a", "/b"] {
                disk.append(Path::new(name)).expect("created");
            }
            disk.crash();
            disk.list(Path::new("/")).expect("the root").into_iter().map(|entry| entry.name).collect::<String>()
        };
        let seen: BTreeSet<String> = (0..100).map(after).collect();
        assert_eq!(
            seen,
            ["".into(), "a".into(), "b".into(), "ab".into()].into(),
            "the later one without the earlier, too"
        );
    }

    #[test]
    fn an_unsynced_truncation_may_be_undone() {
        let kept = outcomes("/f", |disk| {
            let mut file = disk.append(Path::new("/f")).expect("created");
            disk.sync_dir(Path::new("/")).expect("healthy");
            file.append(b"abc").expect("room");
            file.sync().expect("healthy");
            file.truncate(1).expect("within");
        });
        assert_eq!(kept, [some(b"abc"), some(b"a")].into());
    }

    #[test]
    fn a_sync_after_a_failed_one_proves_nothing() {
        let kept = outcomes("/f", |disk| {
            let mut file = disk.append(Path::new("/f")).expect("created");
            disk.sync_dir(Path::new("/")).expect("healthy");
            file.append(b"lost").expect("room");
            disk.fail_after(0, io::ErrorKind::Other);
            file.sync().expect_err("it was told to fail");
            file.append(b"kept").expect("room");
            file.sync().expect("healthy again");
        });
        assert_eq!(kept, [some(b"lostkept"), some(b"\0\0\0\0kept")].into());
    }

    #[test]
    fn every_call_can_fail_and_changes_nothing_but_appends() {
        let run = |disk: &SimDisk| -> io::Result<()> {
            disk.create_dir(Path::new("/d"))?;
            let mut file = disk.append(Path::new("/d/f"))?;
            file.append(b"bytes")?;
            file.reserve(10)?;
            file.sync()?;
            file.truncate(2)?;
            disk.open(Path::new("/d/f"))?.read(0, &mut [0; 2])?;
            file.len()?;
            disk.rename(Path::new("/d/f"), Path::new("/d/g"))?;
            disk.sync_dir(Path::new("/d"))?;
            disk.list(Path::new("/d"))?;
            disk.remove(Path::new("/d/g"))
        };
        let healthy = SimDisk::new(0, ROOM);
        run(&healthy).expect("nothing is to fail");
        let calls = healthy.calls();
        assert_eq!(calls, 13);
        for nth in 0..calls {
            let disk = SimDisk::new(nth, ROOM);
            disk.fail_after(nth, io::ErrorKind::PermissionDenied);
            assert_eq!(run(&disk).expect_err("one call fails").kind(), io::ErrorKind::PermissionDenied, "call {nth}");
            assert_eq!(disk.calls(), nth + 1);
        }
    }

    #[test]
    fn a_full_disk_takes_a_part_and_heals() {
        let disk = SimDisk::new(0, 10);
        let mut file = disk.append(Path::new("/f")).expect("created");
        assert_eq!(file.append(&[1; 12]).expect_err("12 of 10").kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().expect("open"), 10);
        file.truncate(4).expect("within");
        let mut reserved = disk.append(Path::new("/r")).expect("created");
        reserved.reserve(6).expect("6 are free");
        assert_eq!(file.append(b"x").expect_err("all is reserved").kind(), io::ErrorKind::StorageFull);
        reserved.append(&[2; 6]).expect("its own");
        assert_eq!(reserved.append(b"x").expect_err("used up").kind(), io::ErrorKind::StorageFull);
        disk.set_capacity_bytes(20);
        file.append(b"x").expect("there is room again");
        assert_eq!(disk.used_bytes(), 11);
    }

    #[test]
    fn handles_die_in_a_crash() {
        let disk = SimDisk::new(0, ROOM);
        let mut file = disk.append(Path::new("/f")).expect("created");
        disk.crash();
        assert!(file.append(b"x").is_err() && file.sync().is_err() && file.len().is_err());
    }

    #[test]
    fn corruption_hits_synced_bytes() {
        let disk = SimDisk::new(0, ROOM);
        let mut file = disk.append(Path::new("/f")).expect("created");
        file.append(b"abc").expect("room");
        file.sync().expect("healthy");
        disk.sync_dir(Path::new("/")).expect("healthy");
        disk.corrupt(Path::new("/f"), 1, b"X").expect("within");
        disk.corrupt(Path::new("/f"), 3, b"X").expect_err("beyond the end");
        disk.crash();
        assert_eq!(content(&disk, Path::new("/f")), some(b"aXc"));
    }

    proptest! {
        /// Scenario: appends, truncations, syncs and crashes of one file under a synced name. Guarantee: what was there at
        /// the last sync and not truncated since survives every crash; nothing longer than what was written appears.
        #[test]
        fn what_was_synced_survives(seed: u64, actions in proptest::collection::vec((0u8..5, 1usize..20), 1..60)) {
            let (disk, path) = (SimDisk::new(seed, ROOM), Path::new("/f"));
            let mut file = disk.append(path).expect("created");
            disk.sync_dir(Path::new("/")).expect("healthy");
            let (mut written, mut durable_len, mut next) = (Vec::new(), 0, 1u8);
            for (action, size) in actions {
                match action {
                    0 | 1 => {
                        let bytes = vec![next; size];
                        next = next.wrapping_add(1).max(1);
                        file.append(&bytes).expect("room");
                        written.extend_from_slice(&bytes);
                    }
                    2 => {
                        let len = written.len() - size.min(written.len());
                        file.truncate(len as u64).expect("within");
                        written.truncate(len);
                        durable_len = durable_len.min(len);
                    }
                    3 => {
                        file.sync().expect("healthy");
                        durable_len = written.len();
                    }
                    _ => {
                        disk.crash();
                        file = disk.append(path).expect("its name is durable");
                        let found = content(&disk, path).expect("its name is durable");
                        prop_assert_eq!(&found[..durable_len], &written[..durable_len]);
                        durable_len = found.len();
                        written = found;
                    }
                }
                prop_assert_eq!(content(&disk, path).expect("there"), written.clone());
            }
        }
    }

    #[test]
    fn what_is_durable_is_what_every_crash_leaves() {
        let (dir, one, two) = (Path::new("/d"), Path::new("/d/one"), Path::new("/d/two"));
        let disk = SimDisk::new(1, 1 << 20);
        disk.create_dir(dir).expect("healthy");
        disk.sync_dir(Path::new("/")).expect("healthy");
        let mut file = disk.append(one).expect("healthy");
        file.append(b"synced").expect("room");
        file.sync().expect("healthy");
        disk.sync_dir(dir).expect("healthy");
        file.append(b", not").expect("room");
        disk.append(two).expect("healthy");
        let durable = disk.durable();
        let names: Vec<(String, u64)> =
            durable.list(dir).expect("there").into_iter().map(|entry| (entry.name, entry.len)).collect();
        assert_eq!(names, [("one".to_owned(), 6)]);
        assert_eq!(file.len().expect("the disk itself goes on"), 11);
    }
}
