//! The checkpoint store: one redb file, `data_dir/checkpoints.redb`.
//!
//! ```text
//! table      key               value
//! meta       "layout"          1
//!            "next"            every source number ever given is below this
//! inputs     input name        ns since the epoch at which it first started
//! sources    source number     entry (entry.rs)
//! positions  source number,    offset, check
//!            output number
//! outputs    output name       output number, for ever
//! feeds      input name        the numbers of the outputs it feeds, little endian
//! ```
//! Sources get small numbers, not hashes: neighbours in time are neighbours in the tree, so a commit touches few pages.
//! Numbers are reserved on disk in blocks of 4096 before they are given, so that a crash never gives one twice (frames in
//! the spool name sources by number). What is registered, updated or forgotten is kept in memory until the next
//! [`Store::commit`]: a crash before it only repeats. After an I/O error the file is reopened at the next use, since redb
//! refuses everything from then on; what was not committed stays queued.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use super::{DataDir, Entry};
use crate::batch::{OutputId, Position, SourceKey};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const INPUTS: TableDefinition<&str, i64> = TableDefinition::new("inputs");
const SOURCES: TableDefinition<u64, &[u8]> = TableDefinition::new("sources");
const POSITIONS: TableDefinition<(u64, u16), (u64, u64)> = TableDefinition::new("positions");
const OUTPUTS: TableDefinition<&str, u16> = TableDefinition::new("outputs");
const FEEDS: TableDefinition<&str, &[u8]> = TableDefinition::new("feeds");

const LAYOUT: u64 = 1;
/// redb's own default is 1 GiB.
const CACHE_BYTES: usize = 1 << 20;
/// Source numbers reserved on disk at a time.
const RESERVE: u64 = 4096;

/// The checkpoints of an agent. Shared by the inputs (entries) and the pipeline (positions).
pub struct Store {
    path: PathBuf,
    /// `None` after an I/O error, until it is reopened.
    db: Mutex<Option<Database>>,
    /// Never locked while an fsync is waited for.
    queue: Mutex<Queue>,
    /// Held by a commit from taking what is queued until it is written: who commits after it finds it in the file.
    committing: Mutex<()>,
}

/// What the next commit writes beside positions.
#[derive(Default)]
struct Queue {
    /// The number the next source gets.
    next: u64,
    /// Numbers below this are reserved on disk.
    reserved: u64,
    /// By source number; `None`: forget it.
    entries: BTreeMap<u64, Option<Vec<u8>>>,
    inputs: HashMap<String, i64>,
}

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the system refused; worth another try.
    #[error("checkpoint store {}: {message}; nothing moves on until it can be written", path.display())]
    Io { path: PathBuf, message: String },
    /// The file is not what this agent wrote.
    #[error(
        "checkpoint store {}: {message}; restore it from a backup, or move it away to start over (every file is then read \
         from its beginning, so lines are repeated)",
        path.display()
    )]
    Corrupt { path: PathBuf, message: String },
}

impl Store {
    /// Opens the store of a data directory, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the file can't be understood: it is left as it is.
    pub fn open(dir: &DataDir) -> Result<Store, StoreError> {
        let path = dir.path().join("checkpoints.redb");
        let store = Store { path, db: Mutex::new(None), queue: Mutex::default(), committing: Mutex::default() };
        let mut db = store.db();
        let created = !store.path.exists();
        let opened = store.opened(&mut db)?;
        store.shielded(|| store.prepare(opened))?;
        if created {
            File::open(dir.path()).and_then(|dir| dir.sync_all()).map_err(|error| store.io(&error))?;
        }
        drop(db);
        Ok(store)
    }

    /// Calls `visit` with each source, in the order of their numbers. What is queued is not seen: call it at start.
    ///
    /// # Errors
    /// If the store can't be read, or an entry can't be understood.
    pub fn entries(&self, mut visit: impl FnMut(SourceKey, Entry)) -> Result<(), StoreError> {
        self.with_db(|db| {
            let read = db.begin_read().map_err(wide)?;
            let sources = read.open_table(SOURCES).map_err(wide)?;
            for row in sources.iter().map_err(wide)? {
                let (key, bytes) = row.map_err(wide)?;
                let entry = Entry::decode(bytes.value())
                    .map_err(|why| wide(StorageError::Corrupted(format!("source {}: {why}", key.value()))))?;
                visit(SourceKey(key.value()), entry);
            }
            Ok(())
        })
    }

    /// Whether the input has ever started with this store: `start_at` is for the very first start only.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn input_started(&self, input: &str) -> Result<bool, StoreError> {
        if self.queue().inputs.contains_key(input) {
            return Ok(true);
        }
        self.with_db(|db| {
            let read = db.begin_read().map_err(wide)?;
            let inputs = read.open_table(INPUTS).map_err(wide)?;
            Ok(inputs.get(input).map_err(wide)?.is_some())
        })
    }

    /// Remembers that the input has started, from the next commit on.
    pub fn mark_started(&self, input: &str, now_ns: i64) {
        self.queue().inputs.insert(input.to_owned(), now_ns);
    }

    /// Gives a new source its number. Durable with the next commit.
    ///
    /// # Errors
    /// If a block of numbers must be reserved and the store can't be written.
    pub fn register(&self, entry: &Entry) -> Result<SourceKey, StoreError> {
        let key = self.number()?;
        self.queue().entries.insert(key.0, Some(entry.encode()));
        Ok(key)
    }

    /// A number for a source that has no checkpoint (stdin): positions committed for it are left out.
    ///
    /// # Errors
    /// As [`Store::register`].
    pub fn number(&self) -> Result<SourceKey, StoreError> {
        loop {
            let mut queue = self.queue();
            if queue.next < queue.reserved {
                queue.next += 1;
                return Ok(SourceKey(queue.next - 1));
            }
            let reserved = queue.next + RESERVE;
            drop(queue);
            self.with_db(|db| {
                let write = db.begin_write().map_err(wide)?;
                write.open_table(META).map_err(wide)?.insert("next", reserved).map_err(wide)?;
                write.commit().map_err(wide)
            })?;
            let mut queue = self.queue();
            queue.reserved = queue.reserved.max(reserved);
        }
    }

    /// Replaces what is kept of a source. Durable with the next commit.
    pub fn update(&self, key: SourceKey, entry: &Entry) {
        self.queue().entries.insert(key.0, Some(entry.encode()));
    }

    /// Forgets a source and its positions, with the next commit.
    pub fn forget(&self, key: SourceKey) {
        self.queue().entries.insert(key.0, None);
    }

    /// Entries that wait for the next commit.
    pub fn entries_queued(&self) -> usize {
        self.queue().entries.len()
    }

    /// How far each output has settled a source; an output that is missing begins at [`Entry::start`].
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn positions(&self, key: SourceKey) -> Result<Vec<(OutputId, Position)>, StoreError> {
        self.with_db(|db| {
            let read = db.begin_read().map_err(wide)?;
            let positions = read.open_table(POSITIONS).map_err(wide)?;
            let mut found = Vec::new();
            for row in positions.range((key.0, 0)..=(key.0, u16::MAX)).map_err(wide)? {
                let (place, at) = row.map_err(wide)?;
                let (offset, check) = at.value();
                found.push((OutputId(place.value().1), Position { offset, check }));
            }
            Ok(found)
        })
    }

    /// The numbers of outputs, by their names. A name keeps its number; a new one gets the next. (A store from before there were
    /// several outputs has the positions of its only one under 0: the first to be named goes on with them.)
    ///
    /// # Errors
    /// If a new name can't be written.
    pub fn outputs(&self, names: &[&str]) -> Result<Vec<OutputId>, StoreError> {
        self.with_db(|db| {
            let write = db.begin_write().map_err(wide)?;
            let mut ids = Vec::new();
            {
                let mut table = write.open_table(OUTPUTS).map_err(wide)?;
                let mut next = 0;
                for row in table.iter().map_err(wide)? {
                    next = next.max(row.map_err(wide)?.1.value() + 1);
                }
                for name in names {
                    let known = table.get(name).map_err(wide)?.map(|id| id.value());
                    let id = known.unwrap_or(next);
                    if known.is_none() {
                        table.insert(*name, id).map_err(wide)?;
                        next += 1;
                    }
                    ids.push(OutputId(id));
                }
            }
            write.commit().map_err(wide)?;
            Ok(ids)
        })
    }

    /// Says which outputs inputs feed from now on. Where that has changed, each of their sources forgets the positions of
    /// outputs that it does not feed any more, and an output that is new to it begins where the others are: at the least of the
    /// positions it has. To be called while the inputs do not run, with everything committed.
    ///
    /// # Errors
    /// If the store can't be read or written; nothing is changed then.
    pub fn feed(&self, feeds: &[(&str, Vec<OutputId>)]) -> Result<(), StoreError> {
        self.with_db(|db| {
            let write = db.begin_write().map_err(wide)?;
            let mut changed: HashMap<&str, &[OutputId]> = HashMap::new();
            {
                let mut table = write.open_table(FEEDS).map_err(wide)?;
                for (input, outputs) in feeds {
                    let bytes: Vec<u8> = outputs.iter().flat_map(|OutputId(id)| id.to_le_bytes()).collect();
                    let is_same = table.get(input).map_err(wide)?.is_some_and(|before| before.value() == bytes);
                    if !is_same {
                        table.insert(*input, bytes.as_slice()).map_err(wide)?;
                        changed.insert(input, outputs);
                    }
                }
                if changed.is_empty() {
                    drop(table);
                    return write.abort().map_err(wide);
                }
                let sources = write.open_table(SOURCES).map_err(wide)?;
                let mut places = write.open_table(POSITIONS).map_err(wide)?;
                for row in sources.iter().map_err(wide)? {
                    let (key, bytes) = row.map_err(wide)?;
                    let key = key.value();
                    let entry = Entry::decode(bytes.value())
                        .map_err(|why| wide(StorageError::Corrupted(format!("source {key}: {why}"))))?;
                    if let Some(outputs) = changed.get(&*entry.input) {
                        realign(&mut places, key, outputs)?;
                    }
                }
            }
            write.commit().map_err(wide)
        })
    }

    /// Writes positions and everything queued, in one transaction, fsynced. Positions of a source that is not known
    /// (forgotten meanwhile) are left out.
    ///
    /// # Errors
    /// Nothing is written then; what was queued stays queued, the positions are the caller's to give again.
    pub fn commit(&self, positions: &[(SourceKey, OutputId, Position)]) -> Result<(), StoreError> {
        let _others_wait = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let (entries, inputs) = {
            let mut queue = self.queue();
            (std::mem::take(&mut queue.entries), std::mem::take(&mut queue.inputs))
        };
        if positions.is_empty() && entries.is_empty() && inputs.is_empty() {
            return Ok(());
        }
        let done = self.with_db(|db| write(db, positions, &entries, &inputs));
        if done.is_err() {
            let mut queue = self.queue();
            for (key, entry) in entries {
                // What was queued meanwhile is newer.
                queue.entries.entry(key).or_insert(entry);
            }
            for (input, at) in inputs {
                queue.inputs.entry(input).or_insert(at);
            }
        }
        done
    }

    /// Reads the layout and the next number of a store, or makes its tables.
    fn prepare(&self, db: &Database) -> Result<(), StoreError> {
        let write = db.begin_write().map_err(|error| self.fault(wide(error)))?;
        let made = (|| {
            let mut meta = write.open_table(META).map_err(wide)?;
            let layout = meta.get("layout").map_err(wide)?.map(|value| value.value());
            let next = meta.get("next").map_err(wide)?.map_or(1, |value| value.value());
            if layout.is_none() {
                meta.insert("layout", LAYOUT).map_err(wide)?;
            }
            meta.insert("next", next + RESERVE).map_err(wide)?;
            write.open_table(INPUTS).map_err(wide)?;
            write.open_table(SOURCES).map_err(wide)?;
            write.open_table(POSITIONS).map_err(wide)?;
            write.open_table(OUTPUTS).map_err(wide)?;
            write.open_table(FEEDS).map_err(wide)?;
            Ok((layout.unwrap_or(LAYOUT), next))
        })();
        let (layout, next) = made.map_err(|error| self.fault(error))?;
        if layout != LAYOUT {
            let message = format!("its layout is {layout}, this agent knows {LAYOUT}");
            return Err(StoreError::Corrupt { path: self.path.clone(), message });
        }
        write.commit().map_err(|error| self.fault(wide(error)))?;
        let mut queue = self.queue();
        (queue.next, queue.reserved) = (next, next + RESERVE);
        Ok(())
    }

    /// Runs `work` on the open database; an error closes it, so that the next call opens it anew.
    fn with_db<T>(&self, work: impl FnOnce(&Database) -> Result<T, Box<redb::Error>>) -> Result<T, StoreError> {
        let mut guard = self.db();
        let db = self.opened(&mut guard)?;
        let done = self.shielded(|| work(db).map_err(|error| self.fault(error)));
        if done.is_err() {
            *guard = None;
        }
        done
    }

    /// redb panics on some damaged pages where it could return an error: for us they are the same.
    fn shielded<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("damaged");
            Err(StoreError::Corrupt { path: self.path.clone(), message: text.to_owned() })
        })
    }

    fn opened<'a>(&self, db: &'a mut Option<Database>) -> Result<&'a Database, StoreError> {
        if db.is_none() {
            *db = Some(self.shielded(|| {
                let opened = Database::builder().set_cache_size(CACHE_BYTES).create(&self.path);
                opened.map_err(|error| self.open_fault(error))
            })?);
        }
        Ok(db.as_ref().expect("opened just now"))
    }

    fn open_fault(&self, error: DatabaseError) -> StoreError {
        match error {
            // A file that is not a database, or one that is cut short: bad bytes, not a bad disk.
            DatabaseError::Storage(StorageError::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
            {
                StoreError::Corrupt { path: self.path.clone(), message: error.to_string() }
            }
            other => self.fault(wide(other)),
        }
    }

    fn fault(&self, error: Box<redb::Error>) -> StoreError {
        use redb::Error as E;
        let (path, message) = (self.path.clone(), error.to_string());
        match *error {
            E::Corrupted(_)
            | E::UpgradeRequired(_)
            | E::RepairAborted
            | E::TableTypeMismatch { .. }
            | E::TypeDefinitionChanged { .. }
            | E::TableIsMultimap(_)
            | E::TableDoesNotExist(_) => StoreError::Corrupt { path, message },
            _ => StoreError::Io { path, message },
        }
    }

    fn io(&self, error: &std::io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), message: error.to_string() }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn db(&self) -> MutexGuard<'_, Option<Database>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// redb has an error type for each step; here they are one.
fn wide(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

/// Leaves a source with the positions of these outputs only; see [`Store::feed`].
fn realign(
    places: &mut redb::Table<'_, (u64, u16), (u64, u64)>,
    key: u64,
    outputs: &[OutputId],
) -> Result<(), Box<redb::Error>> {
    let mut found = Vec::new();
    for row in places.range((key, 0)..=(key, u16::MAX)).map_err(wide)? {
        let (place, at) = row.map_err(wide)?;
        found.push((place.value().1, at.value()));
    }
    // A source without any has settled nothing: it begins at its beginning for all of them.
    let Some(least) = found.iter().map(|(_, at)| *at).min_by_key(|(offset, _)| *offset) else { return Ok(()) };
    for (id, _) in found.iter().filter(|(id, _)| !outputs.contains(&OutputId(*id))) {
        places.remove((key, *id)).map_err(wide)?;
    }
    for OutputId(id) in outputs.iter().filter(|OutputId(id)| found.iter().all(|(other, _)| other != id)) {
        places.insert((key, *id), least).map_err(wide)?;
    }
    Ok(())
}

fn write(
    db: &Database,
    positions: &[(SourceKey, OutputId, Position)],
    entries: &BTreeMap<u64, Option<Vec<u8>>>,
    inputs: &HashMap<String, i64>,
) -> Result<(), Box<redb::Error>> {
    let write = db.begin_write().map_err(wide)?;
    {
        let mut table = write.open_table(INPUTS).map_err(wide)?;
        for (input, at) in inputs {
            table.insert(input.as_str(), *at).map_err(wide)?;
        }
        let mut sources = write.open_table(SOURCES).map_err(wide)?;
        let mut places = write.open_table(POSITIONS).map_err(wide)?;
        for (key, entry) in entries {
            match entry {
                Some(bytes) => {
                    sources.insert(key, bytes.as_slice()).map_err(wide)?;
                }
                None => {
                    sources.remove(key).map_err(wide)?;
                    places.retain_in((*key, 0)..=(*key, u16::MAX), |_, _| false).map_err(wide)?;
                }
            }
        }
        for (key, output, at) in positions {
            if sources.get(key.0).map_err(wide)?.is_some() {
                places.insert((key.0, output.0), (at.offset, at.check)).map_err(wide)?;
            }
        }
    }
    write.commit().map_err(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: OutputId = OutputId(1);
    const B: OutputId = OutputId(2);

    fn entry(path: &str) -> Entry {
        Entry { input: "in".into(), path: Path::new(path).into(), ..Entry::default() }
    }

    fn at(offset: u64) -> Position {
        Position { offset, check: offset * 3 }
    }

    fn paths(store: &Store) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        store.entries(|key, entry| found.push((key.0, entry.path.display().to_string()))).expect("readable");
        found
    }

    struct Home {
        _home: tempfile::TempDir,
        dir: DataDir,
    }

    fn home() -> Home {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = DataDir::open(home.path()).expect("writable");
        Home { _home: home, dir }
    }

    #[test]
    fn what_is_committed_is_there_after_a_restart() {
        let home = home();
        let store = Store::open(&home.dir).expect("new");
        let one = store.register(&entry("/one")).expect("room");
        let two = store.register(&entry("/two")).expect("room");
        store.mark_started("in", 5);
        store.commit(&[(one, A, at(7)), (one, B, at(3)), (two, A, at(1))]).expect("writable");
        store.forget(two);
        store.update(one, &entry("/uno"));
        // The position of a source that goes with the same commit goes too.
        store.commit(&[(two, A, at(9))]).expect("writable");
        let lost = store.register(&entry("/lost")).expect("room");
        drop(store);

        let store = Store::open(&home.dir).expect("written before");
        assert_eq!(paths(&store), [(one.0, "/uno".to_owned())]);
        assert_eq!(store.positions(one).expect("readable"), [(A, at(7)), (B, at(3))]);
        assert_eq!(store.positions(two).expect("readable"), []);
        assert!(store.input_started("in").expect("readable"));
        assert!(!store.input_started("other").expect("readable"));
        let next = store.register(&entry("/next")).expect("room");
        assert!(next > lost, "a number is never given twice, {next:?} after {lost:?}");
    }

    /// Scenario: an output is added, another removed and added again, an input is given fewer of them.
    /// Guarantee: who is new begins where the others are, not at the beginning; who was away long ago does not come back with its
    /// old position; and what has settled nothing begins at its beginning for all.
    #[test]
    fn an_output_that_is_new_to_a_source_begins_where_the_others_are() {
        let home = home();
        let store = Store::open(&home.dir).expect("new");
        let one = store.register(&entry("/one")).expect("room");
        let fresh = store.register(&entry("/fresh")).expect("room");
        store.commit(&[(one, OutputId(0), at(7))]).expect("writable");
        // From before there were several: its only output has the number 0, and no name.
        let ids = store.outputs(&["a", "b"]).expect("writable");
        assert_eq!(ids, [OutputId(0), OutputId(1)]);
        let (a, b) = (ids[0], ids[1]);
        store.feed(&[("in", vec![a, b])]).expect("writable");
        assert_eq!(store.positions(one).expect("readable"), [(a, at(7)), (b, at(7))]);
        assert_eq!(store.positions(fresh).expect("readable"), []);
        store.commit(&[(one, a, at(20)), (one, b, at(9))]).expect("writable");
        store.feed(&[("in", vec![a]), ("other", vec![b])]).expect("writable");
        assert_eq!(store.positions(one).expect("readable"), [(a, at(20))]);
        let c = store.outputs(&["b", "c"]).expect("writable")[1];
        assert_eq!(c, OutputId(2), "a name keeps its number");
        store.feed(&[("in", vec![a, b, c])]).expect("writable");
        assert_eq!(store.positions(one).expect("readable"), [(a, at(20)), (b, at(20)), (c, at(20))]);
        // One that takes the place of another goes on where that was.
        store.commit(&[(one, b, at(30)), (one, c, at(25))]).expect("writable");
        let d = store.outputs(&["d"]).expect("writable")[0];
        store.feed(&[("in", vec![d])]).expect("writable");
        assert_eq!(store.positions(one).expect("readable"), [(d, at(20))]);
    }

    #[test]
    fn numbers_are_reserved_block_by_block() {
        let home = home();
        let store = Store::open(&home.dir).expect("new");
        let mut last = SourceKey(0);
        for _ in 0..2 * RESERVE + 5 {
            let key = store.register(&entry("/x")).expect("writable");
            assert!(key > last);
            last = key;
        }
        drop(store);
        let store = Store::open(&home.dir).expect("written before");
        assert!(store.register(&entry("/y")).expect("room") > last);
    }

    #[test]
    fn a_file_that_is_no_store_is_refused_and_left() {
        let check = |content: &[u8]| {
            let home = home();
            let path = home.dir.path().join("checkpoints.redb");
            std::fs::write(&path, content).expect("writable");
            let error = Store::open(&home.dir).err().expect("refused");
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(path.to_str().expect("UTF-8")) && text.contains("move it away"), "{text}");
            assert_eq!(std::fs::read(&path).expect("readable"), content, "left as it is");
        };
        check(b"this is no database, but some text that somebody put here");
        check(&[0; 8192]);
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_is_not_read() {
        let home = home();
        let store = Store::open(&home.dir).expect("new");
        for n in 0..100 {
            store.register(&entry(&format!("/{n}"))).expect("room");
        }
        store.commit(&[]).expect("writable");
        let good = paths(&store);
        drop(store);
        let path = home.dir.path().join("checkpoints.redb");
        let bytes = std::fs::read(&path).expect("readable");
        for at in (0..bytes.len()).step_by(bytes.len() / 37) {
            let mut bad = bytes.clone();
            bad[at] ^= 0xff;
            std::fs::write(&path, &bad).expect("writable");
            if let Ok(store) = Store::open(&home.dir) {
                let mut seen = 0;
                if store.entries(|_, _| seen += 1).is_ok() {
                    assert_eq!(seen, good.len(), "byte {at}: it starts over silently");
                }
            }
        }
    }
}
