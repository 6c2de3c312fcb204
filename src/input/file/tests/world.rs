//! The stage of the tests: a directory, a store, an input, and a host that reads only when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ack::{OUTSTANDING_MAX, Watermark};
use crate::batch::{OutputId, Position, SourceKey};
use crate::checkpoint::{DataDir, Store};
use crate::decode::{Charset, JoinOptions, LineFilter};
use crate::event::{EventView, FieldPath, Shared, SharedOptions, Timestamp, ValueRef};
use crate::input::file::glob::Patterns;
use crate::input::file::options::{FileOptions, StartAt, Watch};
use crate::input::file::registry::Registry;
use crate::input::file::tail::TailContext;
use crate::input::file::{Descriptors, FileInput, Timing, adopt_renamed};
use crate::input::source::{Fill, Host, Quantum, Read, Source, Token};

pub const OUTPUT: OutputId = OutputId(1);
/// Far more than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One line as it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub key: SourceKey,
    pub path: String,
    pub id: String,
    pub offset: u64,
    pub length: u64,
    pub text: String,
    pub cut: bool,
}

struct Slot {
    source: Box<dyn Source>,
    mark: Watermark,
    ready: bool,
    /// Batches that were read and not settled.
    unsettled: Vec<(u64, Vec<Line>)>,
    /// Where the last batch that was taken ends.
    taken: Position,
    /// When it wants to be read though nobody wakes it.
    due: Option<Instant>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    slots: BTreeMap<Token, Slot>,
    /// In the order in which they were read.
    lines: Vec<Line>,
    /// In the order in which they were settled.
    settled_lines: Vec<Line>,
    positions: BTreeMap<SourceKey, Position>,
    added: usize,
    lines_filtered: u64,
    lines_truncated: u64,
    /// Of each batch that was read: its first line, and when it is said to have been appended.
    appended: Vec<(String, Option<Timestamp>)>,
}

/// The pipeline's part, by hand.
#[derive(Default)]
pub struct TestHost {
    inner: Mutex<Inner>,
}

impl Host for TestHost {
    fn urge(&self, _: Token) {}

    fn add(&self, _input: &str, source: Box<dyn Source>, position: Position) -> Token {
        let mut inner = self.inner();
        inner.next += 1;
        inner.added += 1;
        let token = Token(inner.next);
        let slot = Slot {
            source,
            mark: Watermark::new(position),
            ready: true,
            unsettled: Vec::new(),
            taken: position,
            due: None,
        };
        inner.slots.insert(token, slot);
        token
    }

    fn wake(&self, token: Token) {
        if let Some(slot) = self.inner().slots.get_mut(&token) {
            slot.ready = true;
        }
    }
}

impl TestHost {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one quantum of a source that is ready. `false`: none is. `settle`: at once, if nothing before it is unsettled.
    pub fn step(&self, bytes_max: usize, settle: bool) -> bool {
        self.step_or_hold(bytes_max, settle, false)
    }

    /// The same, but what it brings is not taken.
    pub fn hold(&self, bytes_max: usize) -> bool {
        self.step_or_hold(bytes_max, false, true)
    }

    fn step_or_hold(&self, bytes_max: usize, settle: bool, hold: bool) -> bool {
        let mut inner = self.inner();
        let is_ready = |slot: &Slot| slot.ready || slot.due.is_some_and(|due| due <= Instant::now());
        let Some(token) = inner.slots.iter().find(|(_, slot)| is_ready(slot)).map(|(token, _)| *token) else {
            return false;
        };
        let slot = inner.slots.get_mut(&token).expect("found just now");
        slot.ready = false;
        if slot.mark.outstanding() == OUTSTANDING_MAX {
            // As in the pipeline: not before something settles.
            return true;
        }
        let mut fill = Fill {
            buf: Vec::new(),
            events: Vec::new(),
            lines_filtered: 0,
            lines_truncated: 0,
            lines_malformed: 0,
            kept: None,
            appended: None,
        };
        let quantum = Quantum { bytes_max, events_max: 50, now: now(), all_settled: slot.mark.outstanding() == 0 };
        let read = slot.source.read(&mut fill, &quantum).expect("readable");
        slot.due = slot.source.due_in(now()).map(|wait| Instant::now() + wait + Duration::from_millis(1));
        match read {
            Read::Batch { .. } if hold => {
                slot.source.hold(slot.taken);
                slot.ready = true;
            }
            Read::Batch { resume, more } => {
                slot.taken = resume;
                let seq = slot.mark.issue(resume).expect("looked at before");
                slot.ready = more;
                let key = slot.source.key();
                let lines = lines_of(key, &*slot.source, &fill);
                if settle && slot.unsettled.is_empty() {
                    settle_one(slot, seq);
                    let position = slot.mark.position();
                    inner.positions.insert(key, position);
                    inner.settled_lines.extend(lines.iter().cloned());
                } else {
                    slot.unsettled.push((seq, lines.clone()));
                }
                let first = lines.first().map(|line| (line.text.clone(), fill.appended));
                inner.appended.extend(first);
                inner.lines.extend(lines);
                inner.lines_filtered += fill.lines_filtered;
                inner.lines_truncated += fill.lines_truncated;
            }
            Read::Idle | Read::Drained => {}
            Read::Finished => {
                assert_eq!(slot.mark.outstanding(), 0, "finished means all is settled");
                let slot = inner.slots.remove(&token);
                drop(inner);
                drop(slot);
            }
        }
        true
    }

    /// Lets go of the source that came first, as when its input ends, and has the others looked at.
    pub fn let_go_of_the_first(&self) {
        let first = self.inner().slots.pop_first();
        drop(first.expect("there is one"));
        self.inner().slots.values_mut().for_each(|slot| slot.ready = true);
    }

    /// Settles everything that was read.
    pub fn settle_all(&self) {
        let mut inner = self.inner();
        let Inner { slots, positions, settled_lines, .. } = &mut *inner;
        for slot in slots.values_mut() {
            for (seq, lines) in std::mem::take(&mut slot.unsettled) {
                settle_one(slot, seq);
                settled_lines.extend(lines);
            }
            positions.insert(slot.source.key(), slot.mark.position());
            slot.ready = true;
        }
    }

    /// Every batch that is out is abandoned: the sources go back to what is settled.
    pub fn abandon_all(&self) {
        for slot in self.inner().slots.values_mut() {
            slot.unsettled.clear();
            let position = slot.mark.rewind();
            slot.source.rewind(position);
            slot.taken = position;
            slot.ready = true;
        }
    }

    pub fn positions(&self) -> Vec<(SourceKey, OutputId, Position)> {
        self.inner().positions.iter().map(|(key, at)| (*key, OUTPUT, *at)).collect()
    }

    pub fn take_lines(&self) -> Vec<Line> {
        std::mem::take(&mut self.inner().lines)
    }

    pub fn take_appended(&self) -> Vec<(String, Option<Timestamp>)> {
        std::mem::take(&mut self.inner().appended)
    }

    pub fn take_settled_lines(&self) -> Vec<Line> {
        std::mem::take(&mut self.inner().settled_lines)
    }

    /// Whether a line with this text came out.
    pub fn has(&self, text: &str) -> bool {
        self.inner().lines.iter().any(|line| line.text == text)
    }

    fn is_ready(&self) -> bool {
        self.inner().slots.values().any(|slot| slot.ready)
    }

    /// Lines that a filter left out, counted again when they are read again.
    pub fn lines_filtered(&self) -> u64 {
        self.inner().lines_filtered
    }

    /// Lines that were cut, counted again when they are read again.
    pub fn lines_truncated(&self) -> u64 {
        self.inner().lines_truncated
    }

    /// Sources it has now.
    pub fn sources(&self) -> usize {
        self.inner().slots.len()
    }

    /// Sources it was ever given.
    pub fn added(&self) -> usize {
        self.inner().added
    }
}

fn settle_one(slot: &mut Slot, seq: u64) {
    if let Some(position) = slot.mark.settle(seq) {
        slot.source.settled(position);
    }
}

fn lines_of(key: SourceKey, source: &dyn Source, fill: &Fill) -> Vec<Line> {
    let common = source.common();
    let mut lines = Vec::new();
    for event in &fill.events {
        let view = EventView { event, buf: &fill.buf, common: &common };
        let text = |path: &str| match view.get(&FieldPath::parse(path).expect("a path")) {
            Some(ValueRef::Str(text)) => text.into_owned(),
            // stdin has no path.
            None => String::new(),
            other => panic!("{path} is a text, not {other:?}"),
        };
        lines.push(Line {
            key,
            path: text("log.file.path"),
            id: text("log.file.id"),
            offset: event.offset,
            length: event.length,
            text: text("message"),
            cut: event.flags().names().contains(&"truncated"),
        });
    }
    lines
}

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp(i64::try_from(since.as_nanos()).expect("before 2262"))
}

/// How a world is set up.
#[derive(Clone)]
pub struct Setup {
    /// The input's name in the config.
    pub name: &'static str,
    pub paths: Vec<&'static str>,
    pub exclude: Vec<&'static str>,
    pub start_at: StartAt,
    pub ignore_older: Option<Duration>,
    pub max_line_bytes: usize,
    pub charset: Charset,
    pub watch: Watch,
    pub scan_every: Duration,
    pub exclude_lines: Vec<&'static str>,
    pub timing: Timing,
    pub bytes_max: usize,
    pub open_files_max: usize,
    pub deleted_bytes_max: Option<u64>,
    pub joining: Option<Arc<JoinOptions>>,
}

impl Default for Setup {
    /// Deterministic: nothing happens but by `rescan_now`, and files that left their name are finished at once.
    fn default() -> Self {
        Setup {
            name: "in",
            paths: vec!["*.log"],
            exclude: vec![],
            start_at: StartAt::Beginning,
            ignore_older: None,
            max_line_bytes: 1000,
            charset: Charset::Utf8,
            watch: Watch::Poll,
            scan_every: Duration::from_secs(3600),
            exclude_lines: vec![],
            timing: Timing { grace: Duration::ZERO, close_idle: Duration::from_secs(3600) },
            bytes_max: 64,
            open_files_max: 1000,
            deleted_bytes_max: None,
            joining: None,
        }
    }
}

impl Setup {
    pub fn of(paths: &[&'static str]) -> Setup {
        Setup { paths: paths.to_vec(), ..Setup::default() }
    }
}

pub struct World {
    home: tempfile::TempDir,
    dir: DataDir,
    _data: tempfile::TempDir,
    pub setup: Setup,
    pub store: Arc<Store>,
    pub host: Arc<TestHost>,
    pub input: Option<FileInput>,
}

impl World {
    pub fn new(setup: Setup) -> World {
        let home = tempfile::tempdir().expect("a temporary directory");
        let data = tempfile::tempdir().expect("a temporary directory");
        let dir = DataDir::open(data.path()).expect("writable");
        let store = Arc::new(Store::open(&dir).expect("new"));
        let host = Arc::new(TestHost::default());
        World { home, dir, _data: data, setup, store, host, input: None }
    }

    pub fn started(setup: Setup) -> World {
        let mut world = World::new(setup);
        world.start();
        world
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn options(&self) -> FileOptions {
        let below =
            |names: &[&str]| -> Vec<String> { names.iter().map(|name| self.at(name).display().to_string()).collect() };
        let exclude_lines: Vec<String> = self.setup.exclude_lines.iter().map(|one| (*one).to_owned()).collect();
        FileOptions {
            name: self.setup.name.into(),
            paths: below(&self.setup.paths),
            exclude: below(&self.setup.exclude),
            start_at: self.setup.start_at,
            ignore_older: self.setup.ignore_older,
            max_line_bytes: self.setup.max_line_bytes,
            charset: self.setup.charset,
            watch: self.setup.watch,
            scan_every: self.setup.scan_every,
            deleted_bytes_max: self.setup.deleted_bytes_max,
            deleted_age_max: None,
            lines: LineFilter::new(&[], &exclude_lines).expect("good expressions"),
            joining: self.setup.joining.clone(),
        }
    }

    pub fn start(&mut self) {
        let options = self.options();
        adopt_renamed(&self.store, &[&options], &[self.setup.name].into()).expect("readable");
        let input = FileInput::start_with(
            options,
            Shared::new(SharedOptions::default()),
            Arc::clone(&self.store),
            Arc::clone(&self.host) as Arc<dyn Host>,
            &[OUTPUT],
            Descriptors::new(self.setup.open_files_max),
            self.setup.timing,
        );
        self.input = Some(input.expect("starts"));
    }

    /// What decides in an input, without the thread that asks it; what tails say goes to nobody. The input is stopped.
    pub fn registry(&self) -> Registry {
        assert!(self.input.is_none(), "two would read the same files");
        let options = self.options();
        let patterns = Patterns::new(&options.paths, &options.exclude).expect("good patterns");
        let (shared, descriptors) =
            (Shared::new(SharedOptions::default()), Descriptors::new(self.setup.open_files_max));
        let context = Arc::new(TailContext::new(&options, self.setup.timing, Arc::default(), shared, descriptors));
        let (store, host) = (Arc::clone(&self.store), Arc::clone(&self.host) as Arc<dyn Host>);
        Registry::load(options, patterns, store, host, vec![OUTPUT], context, std::sync::mpsc::channel().0)
            .expect("readable")
    }

    pub fn input(&self) -> &FileInput {
        self.input.as_ref().expect("started")
    }

    /// Looks for changes without reading.
    pub fn look(&self) {
        self.input().rescan_now();
    }

    /// Reads and settles until there is nothing more.
    pub fn run(&self) {
        self.run_until_idle(true);
    }

    /// Reads until there is nothing more, and settles nothing.
    pub fn run_until_idle_unsettled(&self) {
        self.run_until_idle(false);
    }

    fn run_until_idle(&self, settle: bool) {
        let start = Instant::now();
        loop {
            self.look();
            while self.host.step(self.setup.bytes_max, settle) {}
            self.look();
            if self.input().idle() && !self.host.is_ready() {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "never idle: {:#?}", self.input().snapshot());
        }
    }

    /// Reads what is ready, until `done`.
    pub fn read_until(&self, done: impl Fn(&World) -> bool) {
        let start = Instant::now();
        while !done(self) {
            if !self.host.step(self.setup.bytes_max, true) {
                std::thread::yield_now();
            }
            assert!(start.elapsed() < PATIENCE, "not in time: {:#?}", self.input().snapshot());
        }
    }

    pub fn commit(&self) {
        self.store.commit(&self.host.positions()).expect("writable");
    }

    /// Stops and starts again; what was settled is committed.
    pub fn restart(&mut self) {
        self.stop();
        self.reopen();
    }

    pub fn stop(&mut self) {
        self.commit();
        self.input.take().expect("started").stop();
    }

    /// Everything not committed is lost.
    pub fn crash(&mut self) {
        self.kill();
        self.reopen();
    }

    /// Ends without a commit.
    pub fn kill(&mut self) {
        drop(self.input.take());
    }

    pub fn reopen(&mut self) {
        let lines = self.host.take_lines();
        self.host = Arc::new(TestHost::default());
        self.host.inner().lines = lines;
        // The old one must let go of its file first.
        let empty = tempfile::tempdir().expect("a temporary directory");
        let other = DataDir::open(empty.path()).expect("writable");
        self.store = Arc::new(Store::open(&other).expect("new"));
        self.store = Arc::new(Store::open(&self.dir).expect("written before"));
        self.start();
    }

    /// What came out since the last call, per file in order.
    pub fn texts(&self) -> Vec<String> {
        self.host.take_lines().into_iter().map(|line| line.text).collect()
    }

    /// Runs until idle, and compares what came out since the last time.
    #[track_caller]
    pub fn expect(&self, lines: &[&str]) {
        self.run();
        assert_eq!(self.texts(), lines, "{:#?}", self.input().snapshot());
    }

    /// The same where the order between files does not matter.
    #[track_caller]
    pub fn expect_any_order(&self, lines: &[&str]) {
        self.run();
        let mut found = self.texts();
        found.sort();
        let mut lines = lines.to_vec();
        lines.sort_unstable();
        assert_eq!(found, lines, "{:#?}", self.input().snapshot());
    }

    pub fn append(&self, name: &str, text: &str) {
        append(&self.at(name), text);
    }

    pub fn append_bytes(&self, name: &str, bytes: &[u8]) {
        append_bytes(&self.at(name), bytes);
    }

    pub fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.at(from), self.at(to)).expect("writable");
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.at(name)).expect("writable");
    }

    pub fn truncate(&self, name: &str) {
        File::options().write(true).truncate(true).open(self.at(name)).expect("writable");
    }

    /// As logrotate does it.
    pub fn copytruncate(&self, name: &str, copy: &str) {
        std::fs::copy(self.at(name), self.at(copy)).expect("writable");
        self.truncate(name);
    }

    /// Waits until what is born now is born later than everything before, by the filesystem's clock.
    pub fn tick(&self) {
        use crate::input::file::identity::{Stat, birth_clock_ns};
        let born = |name: &str| {
            std::fs::write(self.at(name), "").expect("writable");
            let stat = Stat::of_path(&self.at(name)).expect("just written");
            self.remove(name);
            stat.born_ns
        };
        let before = born("tick");
        while before.is_some_and(|before| birth_clock_ns() <= before) || before.is_some() && born("tick") == before {
            std::thread::yield_now();
        }
    }

    pub fn paths(&self) -> BTreeSet<String> {
        let names = self.input().snapshot().into_iter();
        names.map(|file| file.path.file_name().expect("a name").to_string_lossy().into_owned()).collect()
    }
}

pub fn append(path: &Path, text: &str) {
    append_bytes(path, text.as_bytes());
}

pub fn append_bytes(path: &Path, bytes: &[u8]) {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).expect("writable");
    }
    let mut file = OpenOptions::new().append(true).create(true).open(path).expect("writable");
    file.write_all(bytes).expect("writable");
}
