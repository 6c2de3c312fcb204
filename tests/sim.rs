//! The whole pipeline against a simulated broker: real files, real checkpoints, real threads; what fails is chosen by a seed.
//!
//! A run lives through some sixty steps: lines are appended, files rotated (within the glob and out of it), copied and
//! truncated, deleted once their lines have arrived; partitions hang, refuse, slow down, take without saying so and grow in
//! number; producers die with the fate of what is in flight unknown; the config is reloaded with another input, another
//! output or both, and a broker that may not answer meanwhile; the agent is killed or stopped, files change while it is
//! down, and it starts again on the same data_dir. Then every fault ends and all of it must come to rest. Half of the runs have
//! two outputs, each with a broker of its own that fails by itself: every line must arrive at both.
//!
//! `SIM_SEED=n` replays one run; `SIM_SEEDS=n` sets how many there are. Threads interleave as the system pleases: a seed
//! replays the choices of the world, not those of the scheduler; `SIM_TIMES=n` runs each so often.
//!
//! The spools are on a simulated disk, which outlives agents: calls fail, one or many in a row, it is full at any byte, and half
//! of the kills cut the power: what was not synced is lost or torn, names too. Outages are long enough for the spool to be
//! used, and a file that the agent calls acknowledged may be deleted then, though no broker has it.
//!
//! In half of the runs some lines are continued on others, which the agent joins (`multiline`): the record is whole, whenever it was
//! killed, held or sent back while it was being joined.
//!
//! In half of the runs processors fail for some lines: these are tagged and arrive, or are dropped, or must be in the dead letter of
//! each output, and at no broker. That file is on the real disk; now and then it is moved away and something stands in its place
//! that can't be written, so that lanes hold.
//!
//! Not allowed, because the promise has an exception for it: a refusal that ends before the producer's owner was told of it
//! (I3: what was handed over behind a refused record); files that came and left the glob while nobody looked; bytes that are
//! truncated away before they arrived, or deleted before they arrived or were spooled. Records that are refused for their own sake are the machine's own model's
//! (`src/deliver/tests.rs`).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use logferry::batch::Encoded;
use logferry::config::{Checked, System, check_text};
use logferry::disk::Disk as _;
use logferry::disk::sim::SimDisk;
use logferry::output::{BrokerStatus, Fault, OutputEvent, Parcel, Producer, RecordFault, TopicFault};
use logferry::pipeline::{Maker, Pipeline, ProducerFactory, ReloadError};
use logferry::route;
use logferry::spool::inspect;
use logferry::telemetry::status::{LaneStatus, Status};

const TOPIC: &str = "sim";
const STEPS: u64 = 60;
/// Runs side by side: they wait more than they work.
const RUNS_AT_ONCE: usize = 12;
/// Whatever is waited for takes milliseconds; a run that waits so long has failed.
const LAST_RESORT: Duration = Duration::from_secs(60);
/// Two looks at a condition that nothing tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(4);
/// What the disk of the spools holds while it is well: more than both may take.
const DISK_BYTES: u64 = 256 << 20;
/// Calls that fail once the power is cut: more than an agent makes in its last moment.
const CUT_CALLS: u64 = 3_000;
/// How long the spool may take for what is rotated in an outage: a few times `spool.after`.
const OUTAGE: Duration = Duration::from_millis(400);

/// Records that a partition takes at once while it is narrow.
const NARROW: usize = 60;

/// Make other seeds of a run's, for what its dice must not be asked.
const JOINS: u64 = 0x6a6f_696e_7300;
const FATES: u64 = 0x6661_7465_7300;

/// The processors of the runs in which some fail: no line is JSON. What stands behind one that fails for good must not see the event.
const PROCESSORS: &str = "    processors:
      - {if: \"message contains ' !tag'\", json: {}}
      - {if: \"message contains ' !drop'\", json: {on_failure: drop}}
      - {if: \"message contains ' !dead'\", json: {on_failure: dead_letter}}
      - add_tags: {tags: [behind]}
";

/// SplitMix64: the same numbers for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("smaller than n")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

// ---- the broker ----

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Up,
    /// Takes one record at a time.
    Slow,
    Hangs,
    /// Takes everything and says nothing, until its condition changes.
    Silent,
    /// Refuses batches of more than [`NARROW`] records.
    Narrow,
    Refuses(TopicFault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    Answers,
    Missing,
    Silent,
}

/// A record in the log of a partition.
struct Written {
    partition: i32,
    /// The life of the agent that sent it.
    life: u32,
    /// Written after its producer was given up.
    is_late: bool,
    value: Vec<u8>,
}

/// A record on its way.
struct Item {
    parcel: Parcel,
    record: u32,
    encoded: Arc<Encoded>,
}

type Items = VecDeque<Item>;

/// What the broker and the network have of one producer.
#[derive(Default)]
struct Client {
    life: u32,
    dead: bool,
    queues: BTreeMap<i32, Items>,
    events: VecDeque<OutputEvent>,
    /// Reports that a silent partition owes.
    withheld: BTreeMap<i32, Vec<OutputEvent>>,
    /// Partitions whose refusal goes on until the producer's owner was told all of it, and how many reports are not taken.
    refusing: BTreeMap<i32, usize>,
    asked: BTreeSet<Arc<str>>,
}

struct State {
    dice: Dice,
    conditions: Vec<Condition>,
    lookup: Lookup,
    /// How often no producer can be made.
    makes_fail: usize,
    life: u32,
    clients: BTreeMap<u64, Client>,
    clients_made: u64,
    /// Of all partitions, in the order of arrival.
    log: Vec<Written>,
    violations: Vec<String>,
}

/// A broker with one topic; outlives producers and agents.
struct Broker {
    state: Mutex<State>,
    changed: Condvar,
}

impl Broker {
    fn new(seed: u64, partitions: usize) -> Arc<Self> {
        let state = State {
            dice: Dice(!seed),
            conditions: vec![Condition::Up; partitions],
            lookup: Lookup::Answers,
            makes_fail: 0,
            life: 0,
            clients: BTreeMap::new(),
            clients_made: 0,
            log: Vec::new(),
            violations: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something that producers may wait for.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.lock());
        self.changed.notify_all();
        done
    }

    /// Waits until the log has `more` records more, or a little while.
    fn let_flow(&self, more: usize, at_most: Duration) {
        let state = self.lock();
        let until = state.log.len() + more;
        let waited = self.changed.wait_timeout_while(state, at_most, |state| state.log.len() < until);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn factory(self: &Arc<Self>) -> ProducerFactory {
        let broker = Arc::clone(self);
        Box::new(move || {
            let mut state = broker.lock();
            if state.makes_fail > 0 {
                state.makes_fail -= 1;
                return Err("no producer can be made now".to_owned());
            }
            state.clients_made += 1;
            let (id, life) = (state.clients_made, state.life);
            state.clients.insert(id, Client { life, ..Client::default() });
            Ok(Arc::new(SimProducer { broker: Arc::clone(&broker), id }) as Arc<dyn Producer>)
        })
    }
}

impl State {
    fn condition(&self, partition: i32) -> Condition {
        usize::try_from(partition).ok().and_then(|at| self.conditions.get(at)).copied().unwrap_or(Condition::Hangs)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.conditions.len()).expect("a few")
    }

    /// Puts records into the log of a partition.
    fn write(&mut self, partition: i32, life: u32, is_late: bool, items: &Items) {
        for item in items {
            let value = item.encoded.value(&item.encoded.records[item.record as usize]).to_vec();
            self.log.push(Written { partition, life, is_late, value });
        }
    }

    /// Does for a living client what its partitions do now.
    fn work(&mut self, id: u64) {
        let mut client = self.clients.remove(&id).expect("it lives as long as its producer");
        let mut partitions: Vec<i32> = client.queues.keys().copied().filter(|_| !client.dead).collect();
        if !partitions.is_empty() {
            let turn = self.dice.below(partitions.len());
            partitions.rotate_left(turn);
        }
        for partition in partitions {
            self.work_lane(&mut client, partition);
        }
        self.clients.insert(id, client);
    }

    fn work_lane(&mut self, client: &mut Client, partition: i32) {
        let condition = match self.condition(partition) {
            Condition::Refuses(reason) => Condition::Refuses(reason),
            _ if client.refusing.contains_key(&partition) => Condition::Refuses(TopicFault::Refused),
            other => other,
        };
        if condition != Condition::Silent && condition != Condition::Hangs {
            client.events.extend(client.withheld.remove(&partition).unwrap_or_default());
        }
        let queue = client.queues.get_mut(&partition).expect("it is one of its keys");
        let take = match condition {
            _ if queue.is_empty() => 0,
            Condition::Up => 1 + self.dice.below(queue.len()),
            Condition::Slow => 1,
            Condition::Hangs => 0,
            Condition::Silent | Condition::Narrow | Condition::Refuses(_) => queue.len(),
        };
        let taken: Items = queue.drain(..take).collect();
        let result = match condition {
            Condition::Refuses(reason) => Err(Fault::Topic { reason, message: Arc::from("refused") }),
            Condition::Narrow if taken.len() > NARROW => {
                Err(Fault::Record { reason: RecordFault::TooLarge, message: Arc::from("a large batch") })
            }
            _ => {
                self.write(partition, client.life, false, &taken);
                Ok(())
            }
        };
        let reports = self.reports(&taken, &result);
        match condition {
            Condition::Silent => client.withheld.entry(partition).or_default().extend(reports),
            Condition::Refuses(_) | Condition::Narrow if result.is_err() => {
                *client.refusing.entry(partition).or_default() += reports.len();
                client.events.extend(reports);
            }
            _ => client.events.extend(reports),
        }
    }

    /// One report for neighbours of one parcel, or several.
    fn reports(&mut self, taken: &Items, result: &Result<(), Fault>) -> Vec<OutputEvent> {
        let mut runs: Vec<(Parcel, Range<u32>)> = Vec::new();
        for item in taken {
            match runs.last_mut() {
                Some((parcel, run)) if *parcel == item.parcel && run.end == item.record && !self.dice.one_in(8) => {
                    run.end += 1;
                }
                _ => runs.push((item.parcel, item.record..item.record + 1)),
            }
        }
        let report = |(parcel, records)| OutputEvent::Report { parcel, records, result: result.clone() };
        runs.into_iter().map(report).collect()
    }

    /// Some of what is queued arrives, and nobody says so.
    fn write_unreported(&mut self, client: &mut Client, is_late: bool) {
        for (partition, queue) in &mut client.queues {
            let flows = matches!(self.condition(*partition), Condition::Up | Condition::Slow | Condition::Silent);
            if flows && !client.refusing.contains_key(partition) {
                let take = self.dice.below(queue.len() + 1);
                let taken: Items = queue.drain(..take).collect();
                self.write(*partition, client.life, is_late, &taken);
            }
        }
    }

    /// The producers that live meet a fatal error.
    fn kill_producers(&mut self) {
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            let mut client = self.clients.remove(&id).expect("just listed");
            if !client.dead {
                self.write_unreported(&mut client, false);
                client.dead = true;
                client.withheld.clear();
                if self.dice.one_in(2) {
                    client.events.clear();
                }
                client.events.push_back(OutputEvent::Fatal { message: Arc::from("the producer is fenced") });
            }
            self.clients.insert(id, client);
        }
    }

    /// What a lookup of `topic` answers now.
    fn answer(&self, topic: &Arc<str>) -> Option<OutputEvent> {
        let missing = || Fault::Topic { reason: TopicFault::Missing, message: Arc::from("unknown topic") };
        let result = match self.lookup {
            Lookup::Silent => return None,
            Lookup::Answers if &**topic == TOPIC => Ok(self.count()),
            Lookup::Answers | Lookup::Missing => Err(missing()),
        };
        Some(OutputEvent::Topic { topic: Arc::clone(topic), result })
    }

    /// Tells the producers of the topic anew, as their refresh would.
    fn refresh(&mut self) {
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            let asked = self.clients[&id].asked.clone();
            let answers: Vec<OutputEvent> = asked.iter().filter_map(|topic| self.answer(topic)).collect();
            let client = self.clients.get_mut(&id).expect("just listed");
            if !client.dead {
                client.events.extend(answers);
            }
        }
    }
}

/// A producer of the simulated broker.
struct SimProducer {
    broker: Arc<Broker>,
    id: u64,
}

impl Producer for SimProducer {
    fn produce(&self, parcel: Parcel, encoded: &Arc<Encoded>, topic: &Arc<str>, partition: i32, records: Range<u32>) {
        self.broker.change(|state| {
            let count = state.count();
            for record in records {
                let key = encoded.key(&encoded.records[record as usize]).unwrap_or_default();
                let placed = (1..=count).any(|count| i32::try_from(route::partition(key, count)) == Ok(partition));
                if &**topic != TOPIC || !placed {
                    state.violations.push(format!("a record goes to {topic}/{partition} of {count} partitions"));
                }
                let client = state.clients.get_mut(&self.id).expect("it lives as long as its producer");
                let item = Item { parcel, record, encoded: Arc::clone(encoded) };
                client.queues.entry(partition).or_default().push_back(item);
            }
        });
    }

    fn lookup(&self, topic: &Arc<str>) {
        self.broker.change(|state| {
            let answer = state.answer(topic);
            let client = state.clients.get_mut(&self.id).expect("it lives as long as its producer");
            client.asked.insert(Arc::clone(topic));
            client.events.extend(answer);
        });
    }

    fn poll(&self, timeout: Duration, events: &mut Vec<OutputEvent>) {
        let deadline = Instant::now() + timeout;
        let mut state = self.broker.lock();
        // What was handed out by the last poll has been heard by now.
        let refused: Vec<i32> = (0..)
            .zip(&state.conditions)
            .filter_map(|(at, is)| matches!(is, Condition::Refuses(_)).then_some(at))
            .collect();
        let Client { refusing, queues, dead, .. } =
            state.clients.get_mut(&self.id).expect("it lives as long as its producer");
        refusing.retain(|partition, untold| {
            // What was handed over before the refusal was heard of shares its fate.
            let behind = queues.get_mut(partition).filter(|queue| !queue.is_empty());
            let is_over = *untold == 0 && !refused.contains(partition);
            match behind {
                Some(behind) if is_over && *dead => behind.clear(),
                Some(_) if is_over => return true,
                _ => {}
            }
            !is_over
        });
        loop {
            state.work(self.id);
            let client = state.clients.get_mut(&self.id).expect("it lives as long as its producer");
            if !client.events.is_empty() {
                // All refusals are in `events`: they are told with this.
                client.refusing.values_mut().for_each(|untold| *untold = 0);
                events.extend(client.events.drain(..));
                drop(state);
                self.broker.changed.notify_all();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.broker.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn brokers(&self) -> Vec<BrokerStatus> {
        vec![BrokerStatus { name: "sim:9092/1".to_owned(), state: "UP".to_owned(), last_error: None }]
    }
}

impl Drop for SimProducer {
    fn drop(&mut self) {
        self.broker.change(|state| {
            let mut client = state.clients.remove(&self.id).expect("it lives as long as its producer");
            state.write_unreported(&mut client, true);
        });
    }
}

// ---- the files ----

/// What is to become of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It arrives.
    Sent,
    /// A processor fails for it: it is tagged, and arrives.
    Tagged,
    /// It goes to the dead letter.
    Dead,
    Dropped,
}

impl Fate {
    /// By which processors know it.
    fn mark(self) -> &'static str {
        match self {
            Self::Sent => "",
            Self::Tagged => " !tag",
            Self::Dead => " !dead",
            Self::Dropped => " !drop",
        }
    }
}

/// A line as it was written.
struct Line {
    log: usize,
    number: usize,
    generation: usize,
    offset: u64,
    length: u64,
    fate: Fate,
}

/// What was written between two truncations of one file.
#[derive(Clone)]
struct Generation {
    number: usize,
    lines: Vec<usize>,
    size: u64,
    /// It was there while the agent looked.
    seen: bool,
}

/// A log and its rotated files.
struct Log {
    name: String,
    in_glob: bool,
    current: Option<Generation>,
    /// `NAME.1`, `NAME.2`, …: their lines.
    rotated: Vec<Generation>,
}

// ---- a run ----

/// What stands in the broker's log before `end`, sent by a life of `lives`, is acknowledged and committed.
struct Mark {
    end: usize,
    lives: Range<u32>,
}

/// No end yet.
const OPEN: usize = usize::MAX;

/// A file that is or was an output's dead letter, and how much of it was read.
struct LetterFile {
    path: PathBuf,
    read_bytes: usize,
}

/// An output and its broker.
struct Side {
    output: &'static str,
    broker: Arc<Broker>,
    /// Lines among the first `read_to` records of the broker's log, and those in the dead letter.
    arrived: HashSet<usize>,
    read_to: usize,
    marks: Vec<Mark>,
    /// What is in the dead letter, as it was found there.
    letters: Vec<Seen>,
    letter_files: Vec<LetterFile>,
    /// As `marks`, of the dead letter.
    letter_marks: Vec<Mark>,
    /// A directory is where the dead letter should be.
    is_letter_blocked: bool,
    /// The topic has grown since everything was committed.
    grown: bool,
    /// By life: which lives are judged together for order.
    eras: Vec<usize>,
    /// Parts of the broker's log in which order is not judged; the last one has [`OPEN`] as its end while that is not known.
    unjudged: Vec<Range<usize>>,
}

impl Side {
    fn new(output: &'static str, seed: u64, partitions: usize, home: &Path) -> Self {
        let path = home.join(format!("data/dead_letter/{output}.jsonl"));
        Self {
            output,
            broker: Broker::new(seed, partitions),
            arrived: HashSet::new(),
            read_to: 0,
            marks: Vec::new(),
            letters: Vec::new(),
            letter_files: vec![LetterFile { path, read_bytes: 0 }],
            letter_marks: Vec::new(),
            is_letter_blocked: false,
            grown: false,
            eras: Vec::new(),
            unjudged: Vec::new(),
        }
    }

    /// Nothing that has arrived by now, from life `since` on, may arrive again.
    fn mark(&mut self, since: Option<u32>) {
        let state = self.broker.lock();
        let (end, lives) = (state.log.len(), since.unwrap_or(state.life)..state.life + 1);
        drop(state);
        self.letter_marks.push(Mark { end: self.letters.len(), lives: lives.clone() });
        self.marks.push(Mark { end, lives });
    }

    /// The dead letter is moved away, and what stands in its place can't be written.
    fn block_letter(&mut self) {
        self.is_letter_blocked = true;
        loop {
            let moved = self.letter_files.len();
            let at = self.letter_files.last_mut().expect("there is always one");
            let path = at.path.clone();
            std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it can be made");
            if path.exists() {
                at.path.set_extension(format!("jsonl.{moved}"));
                std::fs::rename(&path, &at.path).expect("it is there");
                self.letter_files.push(LetterFile { path: path.clone(), read_bytes: 0 });
            }
            // The agent may have begun a new one since.
            if std::fs::create_dir(&path).is_ok() {
                return;
            }
        }
    }

    fn unblock_letter(&mut self) {
        if std::mem::take(&mut self.is_letter_blocked) {
            let at = self.letter_files.last().expect("there is always one");
            std::fs::remove_dir(&at.path).expect("nothing is in it");
        }
    }

    /// The lines that the dead letter has beyond those that were read.
    fn new_letters(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for file in &mut self.letter_files {
            let Ok(text) = std::fs::read(&file.path) else { continue };
            let new = &text[file.read_bytes..];
            // The last one may be being written.
            let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            file.read_bytes += whole;
            lines.extend(String::from_utf8_lossy(&new[..whole]).lines().map(str::to_owned));
        }
        lines
    }
}

struct Run {
    seed: u64,
    dice: Dice,
    home: tempfile::TempDir,
    sides: Vec<Side>,
    /// Where the spools are; it outlives agents.
    disk: SimDisk,
    /// It fails, is full, or is about to.
    is_disk_sick: bool,
    agent: Option<Pipeline>,
    logs: Vec<Log>,
    lines: Vec<Line>,
    by_text: HashMap<String, usize>,
    generations: usize,
    /// Some lines are continued on others.
    joins: bool,
    /// What is thrown where processors fail for some lines.
    fates: Option<Dice>,
    /// What reloads change: of the input, and of the output.
    round: u32,
    linger_ms: u32,
    /// An input was changed in this life, or it began with a spool: what was sent and its source was not told of in time is
    /// read again, perhaps later.
    is_reading_again: bool,
    /// Files deleted of which the spool alone had a part.
    deleted_early: u64,
    told: String,
}

impl Drop for Run {
    fn drop(&mut self) {
        // A run that has failed leaves its agent.
        if let Some(agent) = self.agent.take() {
            agent.kill();
        }
    }
}

/// A record as the consumer sees it.
struct Seen {
    line: usize,
    partition: i32,
    life: u32,
    is_late: bool,
    path: String,
    file: String,
    event: String,
    offset: u64,
    length: u64,
    tags: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let home = tempfile::tempdir().expect("a temporary directory");
        let mut sides = vec![Side::new("main", seed, 1 + dice.below(3), home.path())];
        if dice.one_in(2) {
            sides.push(Side::new("second", seed.rotate_left(32), 1 + dice.below(3), home.path()));
        }
        let mut fates = Dice(seed ^ FATES);
        let log = |name: &str, in_glob| Log { name: name.to_owned(), in_glob, current: None, rotated: Vec::new() };
        Self {
            seed,
            dice,
            home,
            sides,
            disk: SimDisk::new(seed, DISK_BYTES),
            is_disk_sick: false,
            agent: None,
            logs: vec![log("in0.log", true), log("in1.log", true), log("out0.log", false), log("out1.log", false)],
            lines: Vec::new(),
            by_text: HashMap::new(),
            generations: 0,
            joins: Dice(seed ^ JOINS).one_in(2),
            fates: fates.one_in(2).then_some(fates),
            round: 0,
            linger_ms: 0,
            is_reading_again: false,
            deleted_early: 0,
            told: String::new(),
        }
    }

    /// Notes a step, to be shown if the run fails.
    fn tell(&mut self, step: &str) {
        write!(self.told, " {step}").expect("a string takes it");
    }

    #[track_caller]
    fn fail(&self, message: &str) -> ! {
        let status = self.agent.as_ref().map(|agent| serde_json::to_string(&agent.status()).unwrap_or_default());
        let brokers: Vec<String> = self
            .sides
            .iter()
            .map(|side| {
                // Others go on with it while this unwinds.
                let state = side.broker.lock();
                let (conditions, lookup, log) = (&state.conditions, state.lookup, state.log.len());
                format!("{}: {conditions:?}, lookup: {lookup:?}, in the log: {log}", side.output)
            })
            .collect();
        let (seed, steps, status) = (self.seed, &self.told, status.unwrap_or_default());
        panic!("seed {seed}: {message}\nsteps:{steps}\nlines: {}, partitions: {brokers:?}\n{status}", self.lines.len())
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("logs")
    }

    fn config(&self) -> Checked {
        let Self { round, linger_ms, .. } = self;
        let home = self.home.path().display();
        let output = |side: &Side| {
            let name = side.output;
            format!("  {name}: {{type: kafka, brokers: ['sim:9092'], topic: {TOPIC}, linger: {linger_ms}ms}}\n")
        };
        let outputs: String = self.sides.iter().map(output).collect();
        let processors = if self.fates.is_some() { PROCESSORS } else { "" };
        let multiline = if self.joins { "    multiline: {pattern: '^> ', timeout: 50ms}\n" } else { "" };
        let text = format!(
            "data_dir: {home}/data\nadmin: {{listen: off}}\nmemory: {{max_bytes: 16MiB}}\nspool: {{after: 100ms, max_bytes: 64MiB}}\nshutdown_after: 50ms\ninputs:\n  logs:\n    \
             type: file\n    paths: ['{home}/logs/in*.log', '{home}/logs/in*.log.*', '{home}/logs/out*.log']\n    \
             fields: {{round: {round}}}\n{multiline}{processors}\
             outputs:\n{outputs}"
        );
        check_text("sim.yaml", &text, &System).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    }

    fn start(&mut self) {
        let checked = self.config();
        // What is in the dead letters by now was put there by earlier lives.
        self.read_letters();
        // What a spool has, its sources may not have been told of before a kill.
        self.is_reading_again = self.spool_holds();
        for side in &mut self.sides {
            // What the spool has goes where the topic of its time had it, beside what is read again and goes elsewhere.
            if side.grown && self.is_reading_again && side.unjudged.last().is_none_or(|part| part.end != OPEN) {
                let begin = side.broker.lock().log.len();
                side.unjudged.push(begin..OPEN);
            }
            let era = side.eras.last().map_or(0, |last| last + usize::from(std::mem::take(&mut side.grown)));
            side.eras.push(era);
            side.broker.change(|state| {
                state.life += 1;
                state.makes_fail = 0;
            });
        }
        let brokers: Vec<(&str, Arc<Broker>)> =
            self.sides.iter().map(|side| (side.output, Arc::clone(&side.broker))).collect();
        let make: Maker = Box::new(move |output| {
            let (_, broker) = brokers.iter().find(|(name, _)| *name == output.name).expect("the config has no other");
            broker.factory()
        });
        match Pipeline::start_on(checked, make, Arc::new(self.disk.clone())) {
            Ok(agent) => self.agent = Some(agent),
            Err(_) if self.is_disk_sick => {
                self.tell("(disk)");
                self.heal_disk();
                self.start();
            }
            Err(error) => panic!("seed {}: it does not start: {error:#}", self.seed),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The agent looks at the files, if it runs.
    fn look(&mut self) {
        let Some(agent) = &self.agent else { return };
        agent.rescan();
        for log in &mut self.logs {
            if let Some(current) = &mut log.current {
                current.seen = true;
            }
        }
    }

    fn append(&mut self, at: usize, count: usize) {
        let log = &mut self.logs[at];
        let generation = log.current.get_or_insert_with(|| {
            self.generations += 1;
            Generation { number: self.generations, lines: Vec::new(), size: 0, seen: false }
        });
        let mut bytes = String::new();
        for _ in 0..count {
            let number = self.lines.len();
            let pad = ["", " plain", " \"quoted\\\"", " t\tb", " é漢"][self.dice.below(5)].repeat(self.dice.below(12));
            let more = if self.joins { "\n> more".repeat(self.dice.below(4)) } else { String::new() };
            let fate = self.fates.as_mut().map_or(Fate::Sent, |fates| match fates.below(8) {
                0 => Fate::Tagged,
                1 => Fate::Dead,
                2 => Fate::Dropped,
                _ => Fate::Sent,
            });
            let text = format!("{} {number:06}{}{pad}{more}", log.name, fate.mark());
            let length = text.len() as u64 + 1;
            let line = Line { log: at, number, generation: generation.number, offset: generation.size, length, fate };
            self.lines.push(line);
            generation.lines.push(number);
            generation.size += length;
            bytes.push_str(&text);
            bytes.push('\n');
            self.by_text.insert(text, number);
        }
        let path = self.home.path().join("logs").join(&log.name);
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the folder is writable");
        file.write_all(bytes.as_bytes()).expect("the disk has room");
    }

    /// `NAME.1` becomes `NAME.2`, and so on.
    fn shift(&mut self, at: usize) {
        let log = &self.logs[at];
        for number in (1..=log.rotated.len()).rev() {
            let from = self.path(&format!("{}.{number}", log.name));
            let to = self.path(&format!("{}.{}", log.name, number + 1));
            std::fs::rename(from, to).expect("it is there");
        }
    }

    fn rotate(&mut self, at: usize) {
        if !self.logs[at].in_glob {
            self.look();
        }
        let log = &self.logs[at];
        let Some(current) = log.current.clone() else { return };
        if !log.in_glob && !current.seen {
            return;
        }
        self.shift(at);
        let log = &self.logs[at];
        std::fs::rename(self.path(&log.name), self.path(&format!("{}.1", log.name))).expect("it is there");
        let log = &mut self.logs[at];
        log.rotated.insert(0, current);
        log.current = None;
    }

    fn copytruncate(&mut self, at: usize) {
        let Some(current) = self.logs[at].current.clone() else { return };
        if !self.has_arrived(&current) {
            return;
        }
        self.shift(at);
        let path = self.path(&self.logs[at].name);
        std::fs::copy(&path, self.path(&format!("{}.1", self.logs[at].name))).expect("the disk has room");
        OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(0)).expect("it is there");
        self.generations += 1;
        let rest = Generation { number: self.generations, lines: Vec::new(), size: 0, seen: current.seen };
        let log = &mut self.logs[at];
        log.rotated.insert(0, current);
        log.current = Some(rest);
    }

    fn delete(&mut self, at: usize) {
        let log = &self.logs[at];
        let oldest = log.rotated.last().map(|oldest| (format!("{}.{}", log.name, log.rotated.len()), oldest.clone()));
        let current = log.current.clone().map(|current| (log.name.clone(), current));
        let takes_oldest = oldest.is_some();
        let Some((name, generation)) = oldest.or(current) else { return };
        if !self.has_arrived(&generation) {
            if !self.is_settled(at, &generation) {
                return;
            }
            // Some of it is in a spool alone.
            self.tell("(spooled)");
            self.deleted_early += 1;
        }
        std::fs::remove_file(self.path(&name)).expect("it is there");
        let log = &mut self.logs[at];
        if takes_oldest {
            log.rotated.pop();
        } else {
            log.current = None;
        }
    }

    /// Whether all of a generation is in the log of each broker or in its dead letter. Of a line that is dropped only one behind it
    /// can tell that it was read.
    fn has_arrived(&mut self, generation: &Generation) -> bool {
        self.read_logs();
        if generation.lines.last().is_some_and(|last| self.lines[*last].fate == Fate::Dropped) {
            return false;
        }
        generation.lines.iter().all(|line| self.sides.iter().all(|side| self.is_done(&self.lines[*line], side)))
    }

    /// Whether a line is where it is to be. One that is to be dropped is there always.
    fn is_done(&self, line: &Line, side: &Side) -> bool {
        line.fate == Fate::Dropped || side.arrived.contains(&line.number)
    }

    /// Whether the agent says that all of a file of this log is safe: wherever it is by now, it must arrive. A file is known
    /// by its size here (the agent keeps the path that its records say), so no other may have that.
    fn is_settled(&mut self, at: usize, generation: &Generation) -> bool {
        self.look();
        let Some(agent) = &self.agent else { return false };
        let is_like_it = |other: &Generation| other.size == generation.size && other.number != generation.number;
        let mut all = self.logs.iter().flat_map(|log| log.rotated.iter().chain(&log.current));
        if generation.size == 0 || all.any(is_like_it) {
            return false;
        }
        let (status, name) = (agent.status(), &self.logs[at].name);
        let mut files = status.inputs.iter().flat_map(|input| &input.files).filter(|file| {
            let file_name = Path::new(&file.path).file_name().map(|name| name.to_string_lossy());
            file.size_bytes == generation.size && file_name.is_some_and(|of| of.starts_with(name.as_str()))
        });
        let is_acked = files.next().is_some_and(|file| file.acked_bytes == generation.size);
        is_acked && files.next().is_none()
    }

    /// Reads on in the dead letters: what is new there is of this life.
    fn read_letters(&mut self) {
        for at in 0..self.sides.len() {
            let side = &mut self.sides[at];
            let (output, lines, life) = (side.output, side.new_letters(), side.broker.lock().life);
            let letters: Vec<Seen> = lines.iter().map(|line| self.see_letter(output, life, line)).collect();
            let side = &mut self.sides[at];
            side.arrived.extend(letters.iter().map(|letter| letter.line));
            side.letters.extend(letters);
        }
    }

    /// Reads on in the brokers' logs and the dead letters.
    fn read_logs(&mut self) {
        self.read_letters();
        for at in 0..self.sides.len() {
            let side = &self.sides[at];
            let state = side.broker.lock();
            let arrived: Vec<usize> = state.log[side.read_to..].iter().map(|written| self.see(written).line).collect();
            drop(state);
            let side = &mut self.sides[at];
            side.read_to += arrived.len();
            side.arrived.extend(arrived);
        }
    }

    /// One of the brokers.
    fn any_side(&mut self) -> usize {
        if self.sides.len() == 1 { 0 } else { self.dice.below(self.sides.len()) }
    }

    fn change_broker(&mut self) {
        let at = self.any_side();
        let dice = &mut self.dice;
        let (what, which, how) = (dice.below(12), dice.below(64), dice.below(12));
        let Side { broker, grown, output, .. } = &mut self.sides[at];
        let told = broker.change(|state| match what {
            0..7 => {
                let partition = which % state.conditions.len();
                let condition = match how {
                    0..3 => Condition::Up,
                    3 => Condition::Narrow,
                    4..6 => Condition::Slow,
                    6..8 => Condition::Hangs,
                    8..10 => Condition::Silent,
                    10 => Condition::Refuses(TopicFault::NotAuthorized),
                    _ => Condition::Refuses(TopicFault::Missing),
                };
                state.conditions[partition] = condition;
                format!("{partition}:{condition:?}")
            }
            7..9 => {
                state.kill_producers();
                state.makes_fail = how % 2;
                "fatal".to_owned()
            }
            9 if state.conditions.len() < 5 => {
                state.conditions.push(Condition::Up);
                state.refresh();
                *grown = true;
                "grow".to_owned()
            }
            _ => {
                state.lookup = [Lookup::Answers, Lookup::Missing, Lookup::Silent][which % 3];
                state.refresh();
                format!("lookup:{:?}", state.lookup)
            }
        });
        let told = format!("{output}:{told}");
        self.tell(&told);
    }

    /// The disk of the spools fails, or fills up.
    fn change_disk(&mut self) {
        let (what, after, count) = (self.dice.below(8), self.dice.below(30) as u64, self.dice.below(40) as u64);
        let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied];
        let kind = kinds[self.dice.below(kinds.len())];
        let told = match what {
            0..3 => {
                self.is_disk_sick = true;
                self.disk.fail_after(after, kind);
                format!("disk:{kind:?}+{after}")
            }
            3..5 => {
                self.is_disk_sick = true;
                (after..after + count).for_each(|call| self.disk.fail_after(call, kind));
                format!("disk:{kind:?}+{after}*{count}")
            }
            5 | 6 => {
                self.is_disk_sick = true;
                let free = self.dice.below(40_000) as u64;
                self.disk.set_capacity_bytes(self.disk.used_bytes() + free);
                format!("disk:{free}free")
            }
            _ => {
                self.heal_disk();
                "disk:well".to_owned()
            }
        };
        self.tell(&told);
    }

    fn heal_disk(&mut self) {
        self.disk.heal();
        self.disk.set_capacity_bytes(DISK_BYTES);
        self.is_disk_sick = false;
    }

    fn end_faults(&mut self) {
        self.heal_disk();
        for side in &mut self.sides {
            side.unblock_letter();
            side.broker.change(|state| {
                state.conditions.fill(Condition::Up);
                state.lookup = Lookup::Answers;
                state.makes_fail = 0;
                state.refresh();
            });
        }
    }

    /// Faults end; everything that is written must arrive, and the agent must know it.
    fn settle(&mut self) {
        self.end_faults();
        let begun = Instant::now();
        loop {
            self.look();
            let agent = self.agent.as_ref().expect("who settles has started");
            if agent.is_idle() {
                break;
            }
            if begun.elapsed() > LAST_RESORT {
                self.fail("it does not come to rest");
            }
            self.sides[0].broker.let_flow(1, LOOK_AGAIN);
        }
        self.is_reading_again = false;
        self.read_logs();
        for side in &mut self.sides {
            // All that was written has arrived: what comes from here on is newer, or comes again.
            if let Some(part) = side.unjudged.last_mut().filter(|part| part.end == OPEN) {
                part.end = side.read_to;
            }
        }
        for side in &self.sides {
            if let Some(line) = self.lines.iter().find(|line| !self.is_done(line, side)) {
                let (log, output, fate) = (&self.logs[line.log].name, side.output, line.fate);
                self.fail(&format!("idle, and line {} ({fate:?}) of {log} has not arrived at {output}", line.number));
            }
        }
    }

    /// As [`Run::settle`], and until all positions are committed.
    fn settle_and_commit(&mut self) {
        self.settle();
        let begun = Instant::now();
        while self.agent.as_ref().is_some_and(|agent| agent.status().duplicates_bound_bytes > 0) || self.spool_holds() {
            if begun.elapsed() > LAST_RESORT {
                self.fail("what is acknowledged is not committed");
            }
            self.sides[0].broker.let_flow(1, LOOK_AGAIN);
        }
        for side in &mut self.sides {
            side.mark(Some(0));
            side.grown = false;
        }
    }

    /// Whether a start would find something in a spool that counts as not acknowledged, be it after a power cut or not.
    fn spool_holds(&self) -> bool {
        let folder = self.home.path().join("data/spool");
        [self.disk.durable(), self.disk.as_seen()].iter().any(|disk| {
            let Ok(outputs) = disk.list(&folder) else { return false };
            outputs.iter().any(|output| {
                // What is half written means nothing yet.
                let listing = inspect::list(disk, &folder.join(&output.name), 0);
                listing.map_or(true, |listing| !listing.lanes.is_empty())
            })
        })
    }

    fn kill(&mut self) {
        let Some(agent) = self.agent.take() else { return };
        // Of the process alone, or of the machine: then the disk has what was synced, and of the rest what chance left.
        let is_power_cut = self.dice.one_in(2);
        if is_power_cut {
            // From here on nothing reaches the disk, while the agent goes on for a moment.
            (0..CUT_CALLS).for_each(|call| self.disk.fail_after(call, io::ErrorKind::Other));
            if self.dice.one_in(2) {
                self.sides[0].broker.let_flow(2, Duration::from_millis(5));
            }
        }
        agent.kill();
        self.check_gone();
        if is_power_cut {
            self.tell("(power)");
            self.disk.crash();
        }
    }

    fn stop(&mut self) {
        let Some(agent) = self.agent.take() else { return };
        let flows = |is: &Condition| matches!(is, Condition::Up | Condition::Slow);
        let flows = self.sides.iter().all(|side| side.broker.lock().conditions.iter().all(flows));
        let healthy = flows && !self.is_disk_sick && !self.sides.iter().any(|side| side.is_letter_blocked);
        let within = if healthy { LAST_RESORT } else { Duration::from_millis(20) };
        let clean = agent.stop(within);
        self.check_gone();
        self.tell(if clean { "(clean)" } else { "(unclean)" });
        // Where nobody has answered for a while (a producer that is dead does not), the spool has it.
        if !clean && healthy && !self.spool_holds() {
            self.fail("the broker is healthy, and what is in flight is not acknowledged");
        }
        // What earlier lives sent, or this one before an input was changed, and were not told of is not read again yet,
        // perhaps.
        if clean && !self.is_reading_again && !self.spool_holds() {
            self.read_letters();
            self.sides.iter_mut().for_each(|side| side.mark(None));
        }
    }

    /// An agent that has ended holds no producer.
    fn check_gone(&self) {
        if self.sides.iter().any(|side| !side.broker.lock().clients.is_empty()) {
            self.fail("a producer outlives its agent");
        }
    }

    /// The config changes while the agent runs.
    fn reload(&mut self) {
        let what = self.dice.below(3);
        // A topic that has grown moves what is read again behind what had gone there already.
        if what != 1 && !self.sides.iter().any(|side| side.grown) {
            self.round += 1;
            self.is_reading_again = true;
        }
        let answers = |side: &Side| matches!(side.broker.lock().lookup, Lookup::Answers);
        if what != 0 && self.sides.iter().all(answers) {
            self.linger_ms += 1;
        }
        let checked = self.config();
        let Some(agent) = &mut self.agent else { return };
        let told = match agent.reload(checked, &|| false) {
            Ok(changes) => format!("reload({changes})"),
            Err(ReloadError::Output { message, .. }) => format!("reload({message})"),
            Err(error) => self.fail(&format!("reload: {error}")),
        };
        self.tell(&told);
    }

    /// Something happens to a file.
    fn touch_files(&mut self) {
        let at = self.dice.below(self.logs.len());
        match self.dice.below(20) {
            0..12 => {
                let most = if self.dice.one_in(6) { 400 } else { 8 };
                let count = 1 + self.dice.below(most);
                self.tell(&format!("+{count}@{at}"));
                self.append(at, count);
            }
            12..15 => {
                self.tell(&format!("rotate@{at}"));
                self.rotate(at);
            }
            15..18 => {
                self.tell(&format!("copytruncate@{at}"));
                self.copytruncate(at);
            }
            _ => {
                self.tell(&format!("delete@{at}"));
                self.delete(at);
            }
        }
    }

    /// Nothing is taken for so long that what can't wait goes to the spool, while files are rotated and deleted.
    fn outage(&mut self) {
        let at = self.any_side();
        self.sides[at].broker.change(|state| state.conditions.fill(Condition::Hangs));
        let told = format!("{}:outage", self.sides[at].output);
        self.tell(&told);
        let log = self.dice.below(self.logs.len());
        let count = 1 + self.dice.below(40);
        self.append(log, count);
        self.look();
        self.rotate(log);
        let begun = Instant::now();
        // A rotated file can't wait: the spool takes it, if it can.
        while begun.elapsed() < OUTAGE {
            match self.logs[log].rotated.first().cloned() {
                Some(rotated) if !self.is_settled(log, &rotated) => self.sides[0].broker.let_flow(1, LOOK_AGAIN),
                _ => break,
            }
        }
        for _ in 0..2 {
            self.delete(log);
        }
    }

    /// Now and then a dead letter can't be written, or can be again.
    fn change_letter(&mut self) {
        let Some(fates) = &mut self.fates else { return };
        if !fates.one_in(8) {
            return;
        }
        let which = fates.below(self.sides.len());
        let side = &mut self.sides[which];
        if side.is_letter_blocked {
            side.unblock_letter();
        } else {
            side.block_letter();
        }
        let told = format!("{}:letter:{}", side.output, if side.is_letter_blocked { "blocked" } else { "well" });
        self.tell(&told);
    }

    fn down_and_up(&mut self) {
        for _ in 0..self.dice.below(4) {
            self.touch_files();
        }
        self.tell("start");
        self.start();
    }

    fn step(&mut self) {
        match self.dice.below(92) {
            0..42 => self.touch_files(),
            42..58 => self.change_broker(),
            58..70 => {
                let (more, ms) = (1 + self.dice.below(20), 1 + self.dice.below(12) as u64);
                let at = self.any_side();
                self.sides[at].broker.let_flow(more, Duration::from_millis(ms));
            }
            70..74 => {
                self.tell("kill");
                self.kill();
                self.down_and_up();
            }
            74..77 => {
                self.tell("stop");
                self.stop();
                self.down_and_up();
            }
            80..84 => self.reload(),
            84..88 => self.change_disk(),
            88..92 => self.outage(),
            77 | 78 => {
                self.tell("settle");
                self.settle();
            }
            _ => {
                self.tell("commit");
                self.settle_and_commit();
            }
        }
    }

    fn live(&mut self) {
        std::fs::create_dir(self.folder()).expect("the temporary directory is writable");
        self.start();
        for _ in 0..STEPS {
            self.change_letter();
            self.step();
        }
        self.tell("end");
        self.settle();
        self.stop();
        // What was settled is not read again, whatever came before.
        self.start();
        self.settle();
        self.stop();
    }

    // ---- the oracle ----

    /// Reads a record back, and checks it against the line that it says it is.
    fn see(&self, written: &Written) -> Seen {
        let seen = self.see_value(&written.value, written.partition, written.life, written.is_late);
        let fate = self.lines[seen.line].fate;
        if !matches!(fate, Fate::Sent | Fate::Tagged) {
            panic!("seed {}: line {} arrives, and is {fate:?}", self.seed, seen.line);
        }
        seen
    }

    /// Reads a line of a dead letter back, and checks that a processor's failure has brought it there.
    fn see_letter(&self, output: &str, life: u32, text: &str) -> Seen {
        let letter: serde_json::Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("seed {}: {error} in {text}", self.seed));
        let string = |name: &str| letter[name].as_str().unwrap_or_default();
        let partition = i32::try_from(letter["partition"].as_i64().unwrap_or(i64::MIN)).unwrap_or(i32::MIN);
        let seen = self.see_value(string("value").as_bytes(), partition, life, false);
        let line = &self.lines[seen.line];
        let is = (string("output"), string("reason"), string("topic"), letter["offset"].as_u64(), string("file_id"));
        let is_well = is == (output, "processor_failed", TOPIC, Some(line.offset), seen.file.as_str());
        if line.fate != Fate::Dead || !is_well || letter.get("headers").is_some() {
            panic!(
                "seed {}: line {}, {:?}, is in the dead letter of {output} as {text}",
                self.seed, line.number, line.fate
            );
        }
        seen
    }

    fn see_value(&self, value: &[u8], partition: i32, life: u32, is_late: bool) -> Seen {
        let text = String::from_utf8_lossy(value);
        let value: serde_json::Value =
            serde_json::from_slice(value).unwrap_or_else(|error| panic!("seed {}: {error} in {text}", self.seed));
        let string =
            |pointer: &str| value.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let number = |pointer: &str| value.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX);
        let Some(line) = self.by_text.get(&string("/message")).copied() else {
            panic!("seed {}: nobody wrote {text}", self.seed)
        };
        let tags =
            value["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().unwrap_or_default().to_owned());
        Seen {
            line,
            partition,
            life,
            is_late,
            path: string("/log/file/path"),
            file: string("/log/file/id"),
            event: string("/event/id"),
            offset: number("/log/offset"),
            length: number("/log/length"),
            tags: tags.collect(),
        }
    }

    fn check(&self) {
        for side in &self.sides {
            let state = side.broker.lock();
            assert!(state.violations.is_empty(), "seed {}: {:?}", self.seed, state.violations);
            let seen: Vec<Seen> = state.log.iter().map(|written| self.see(written)).collect();
            drop(state);
            let all: Vec<&Seen> = seen.iter().chain(&side.letters).collect();
            self.check_names(&all);
            self.check_tags(&all);
            self.check_order(side, &seen);
            self.check_repeats(&side.marks, &seen);
            self.check_repeats(&side.letter_marks, &side.letters);
            self.check_gapless(&all);
        }
    }

    /// Each line has its place, one id for ever, and a file that is one generation of what was written.
    fn check_names(&self, seen: &[&Seen]) {
        let mut file_of = HashMap::new();
        let mut generation_of = HashMap::new();
        let mut event_of = HashMap::new();
        let mut line_of = HashMap::new();
        for record in seen {
            let line = &self.lines[record.line];
            let is = (record.offset, record.length);
            if is != (line.offset, line.length) {
                self.fail(&format!("line {} is at {:?} and says {is:?}", line.number, (line.offset, line.length)));
            }
            let name = Path::new(&record.path).file_name().map(|name| name.to_string_lossy().into_owned());
            if !name.is_some_and(|name| name.starts_with(&self.logs[line.log].name)) {
                self.fail(&format!("line {} says that it is of {}", line.number, record.path));
            }
            let generation = line.generation;
            let is_one = file_of.entry(generation).or_insert(&record.file) == &&record.file
                && generation_of.entry(&record.file).or_insert(generation) == &generation;
            if !is_one {
                let (file, other) = (&record.file, file_of[&generation]);
                self.fail(&format!("line {}: generation {generation} is file {file} and {other}", line.number));
            }
            let is_one = event_of.entry(line.number).or_insert(&record.event) == &&record.event
                && line_of.entry(&record.event).or_insert(line.number) == &line.number;
            if !is_one {
                self.fail(&format!("line {}: its event.id is not its own: {}", line.number, record.event));
            }
        }
    }

    /// What processors failed for is tagged, and who stands behind one that failed for good has not seen it.
    fn check_tags(&self, seen: &[&Seen]) {
        for record in seen {
            let tags: &[&str] = match self.lines[record.line].fate {
                _ if self.fates.is_none() => &[],
                Fate::Tagged => &["_jsonparsefailure", "behind"],
                Fate::Dead => &["_jsonparsefailure"],
                Fate::Sent | Fate::Dropped => &["behind"],
            };
            if record.tags != tags {
                self.fail(&format!("line {} has the tags {:?} in the place of {tags:?}", record.line, record.tags));
            }
        }
    }

    /// First arrivals of the lines of one log in one partition are in the order in which they were written (I3): files of one
    /// name come one after the other.
    fn check_order(&self, side: &Side, seen: &[Seen]) {
        let mut last: HashMap<(usize, i32, &str), usize> = HashMap::new();
        let mut first: HashMap<usize, usize> = HashMap::new();
        for (at, record) in seen.iter().enumerate() {
            // A topic that has grown moves what was not committed to other partitions after a restart, behind what had
            // gone there already: from then on order is judged anew.
            let era = side.eras[record.life as usize - 1];
            let is_unjudged = side.unjudged.iter().any(|part| part.contains(&at));
            // What comes again is no first arrival, in whichever partition.
            if let Entry::Vacant(entry) = first.entry(record.line) {
                entry.insert(era);
                if is_unjudged {
                    continue;
                }
                let before = last.insert((era, record.partition, &record.path), record.line);
                if before.is_some_and(|before| before > record.line) {
                    let (partition, line) = (record.partition, record.line);
                    self.fail(&format!(
                        "partition {partition}: line {line} of {} comes after {before:?} (record {at})",
                        record.path
                    ));
                }
            }
        }
    }

    /// What had arrived when everything was acknowledged and committed never arrives again.
    fn check_repeats(&self, marks: &[Mark], seen: &[Seen]) {
        let mut marks = marks.iter().peekable();
        // By line: the record that was committed, and the mark that says so.
        let mut done: HashMap<usize, (usize, &Mark)> = HashMap::new();
        for (at, record) in seen.iter().enumerate() {
            while let Some(mark) = marks.next_if(|mark| mark.end <= at) {
                let sent = seen[..mark.end].iter().enumerate().filter(|(_, record)| mark.lives.contains(&record.life));
                done.extend(sent.map(|(first, record)| (record.line, (first, mark))));
            }
            if let Some((first, mark)) = done.get(&record.line).filter(|_| !record.is_late) {
                self.fail(&format!(
                    "line {} of {} was committed and arrives again: record {first} of life {} before {} of lives {:?}, then \
                     record {at} of life {}",
                    record.line, record.path, seen[*first].life, mark.end, mark.lives, record.life
                ));
            }
        }
    }

    /// Every line has arrived, and by the records alone: the bytes of each file follow one on the other.
    fn check_gapless(&self, seen: &[&Seen]) {
        let arrived: HashSet<usize> = seen.iter().map(|record| record.line).collect();
        let is_lost = |line: &&Line| line.fate != Fate::Dropped && !arrived.contains(&line.number);
        if let Some(line) = self.lines.iter().find(is_lost) {
            self.fail(&format!("line {} ({:?}) of {} is lost", line.number, line.fate, self.logs[line.log].name));
        }
        let mut files: BTreeMap<&str, BTreeSet<(u64, u64)>> = BTreeMap::new();
        let mut file_of: HashMap<usize, &str> = HashMap::new();
        for record in seen {
            files.entry(&record.file).or_default().insert((record.offset, record.length));
            file_of.insert(self.lines[record.line].generation, &record.file);
        }
        // Of what is dropped no record tells.
        for line in self.lines.iter().filter(|line| line.fate == Fate::Dropped) {
            if let Some(intervals) = file_of.get(&line.generation).and_then(|file| files.get_mut(file)) {
                intervals.insert((line.offset, line.length));
            }
        }
        for (file, intervals) in files {
            let mut end = 0;
            for (offset, length) in intervals {
                if offset != end {
                    self.fail(&format!("file {file}: after {end} comes {offset}"));
                }
                end = offset + length;
            }
        }
    }
}

/// The seeds to run, all of them so often.
fn seeds(default: u64) -> (Range<u64>, u64) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(default),
    };
    (seeds, number("SIM_TIMES").unwrap_or(1))
}

/// Scenario: the life of an agent among rotated files, with partitions and producers that fail, kills and restarts.
/// Guarantee: everything written arrives, or is in the dead letter if a processor failed for it, nothing else does; first arrivals are in order; each file's bytes are without a
/// gap; what was committed, by a clean stop or in time, never comes again; once faults end it comes to rest.
#[test]
fn everything_written_arrives_whatever_fails() {
    let (seeds, times) = seeds(40);
    let width = seeds.end - seeds.start;
    let runs = width * times;
    let (next, deleted_early, set_aside) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..RUNS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= runs {
                        return;
                    }
                    let mut run = Run::new(seeds.start + at % width);
                    run.live();
                    run.check();
                    deleted_early.fetch_add(run.deleted_early, Ordering::Relaxed);
                    let letters: usize = run.sides.iter().map(|side| side.letters.len()).sum();
                    set_aside.fetch_add(letters as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let (deleted_early, set_aside) = (deleted_early.into_inner(), set_aside.into_inner());
    eprintln!(
        "{runs} runs; files deleted while the spool alone had a part of them: {deleted_early}; records in dead letters: {set_aside}"
    );
    assert!(runs < 20 || set_aside > 0, "no processor has failed: the runs prove less than they say");
    assert!(runs < 20 || deleted_early > 0, "no spool was ever needed: the runs prove less than they say");
}

/// Scenario: one of two outputs can't be started.
/// Guarantee: the start says so, and nothing of the other goes on.
#[test]
fn what_does_not_start_leaves_nothing_behind() {
    let mut run = Run::new((0..).find(|seed| Run::new(*seed).sides.len() == 2).expect("half of them have two"));
    std::fs::create_dir(run.folder()).expect("the temporary directory is writable");
    let brokers: Vec<_> = run.sides.iter().map(|side| (side.output, Arc::clone(&side.broker))).collect();
    brokers[1].1.change(|state| state.makes_fail = 1);
    let of = brokers.clone();
    let make: Maker = Box::new(move |output| {
        of.iter().find(|(name, _)| *name == output.name).expect("the config has no other").1.factory()
    });
    let error = Pipeline::start_on(run.config(), make, Arc::new(run.disk.clone())).err().expect("one can't be made");
    assert!(format!("{error:#}").contains("no producer can be made now"), "{error:#}");
    for (name, broker) in brokers {
        assert_eq!(broker.lock().clients.len(), 0, "a producer of {name} goes on");
    }
    // And the next start works: the directory and its lock are free.
    run.start();
    run.settle();
    run.stop();
}

/// Scenario: the spool can't be written; the last line of a file that was rotated away waits for a topic that refuses it; all workers
/// are busy with what was written since when the input is changed. Guarantee: what they hand over late does not arrive before that
/// line, which is read again.
#[test]
fn what_is_handed_over_after_a_reload_has_begun_stays_behind_what_waits() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let folder = home.path().join("logs");
    std::fs::create_dir(&folder).expect("the temporary directory is writable");
    let work = "      - fingerprint: {fields: [message], target: hash}\n".repeat(40);
    let config = |round: u32| {
        let home = home.path().display();
        let text = format!(
            "data_dir: {home}/data\nadmin: {{listen: off}}\nmemory: {{max_bytes: 64MiB}}\nshutdown_after: 50ms\ninputs:\n  \
             other: {{type: file, paths: ['{home}/logs/other.log'], key: other}}\n  logs:\n    type: file\n    paths: \
             ['{home}/logs/?.log']\n    key: logs\n    fields: {{round: {round}}}\n    processors:\n{work}\
             outputs:\n  main: {{type: kafka, brokers: ['sim:9092'], topic: {TOPIC}}}\n"
        );
        check_text("sim.yaml", &text, &System).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    };
    assert_eq!((route::partition(b"other", 2), route::partition(b"logs", 2)), (0, 1));
    let refuses = Condition::Refuses(TopicFault::NotAuthorized);
    let broker = Broker::new(1, 2);
    broker.change(|state| state.conditions = vec![refuses, Condition::Hangs]);
    let (of, disk) = (Arc::clone(&broker), SimDisk::new(1, DISK_BYTES));
    let (make, on): (Maker, _) = (Box::new(move |_| of.factory()), Arc::new(disk.clone()));
    let mut agent = Pipeline::start_on(config(0), make, on).expect("nothing is in the way");
    disk.set_capacity_bytes(disk.used_bytes());
    let until = |what: &str, agent: &Pipeline, is_so: &dyn Fn(&Status) -> bool| {
        let begun = Instant::now();
        while !is_so(&agent.status()) {
            assert!(begun.elapsed() < LAST_RESORT, "{what} in vain: {:#?}", agent.status());
            broker.let_flow(1, LOOK_AGAIN);
        }
    };
    let any_lane = |status: &Status, is_so: &dyn Fn(&LaneStatus) -> bool| {
        status.outputs.iter().flat_map(|output| &output.lanes).any(is_so)
    };
    let path = |log: &str| folder.join(log);
    let rotate = |agent: &Pipeline, log: &str, line: &str, is_sent: &dyn Fn(&LaneStatus) -> bool| {
        std::fs::write(path(&format!("{log}.log")), line).expect("the disk has room");
        agent.rescan();
        until("its lane is waited for", agent, &|status| any_lane(status, is_sent));
        std::fs::rename(path(&format!("{log}.log")), path(log)).expect("it is there");
        agent.rescan();
        until("its leaving is waited for", agent, &|status| {
            let mut files = status.inputs.iter().flat_map(|input| &input.files);
            files.any(|file| file.state == "draining" && file.path.ends_with(&format!("{log}.log")))
        });
    };
    let is_refused = |lane: &LaneStatus| lane.state == "probing";
    rotate(&agent, "other", "a line for the spool\n", &is_refused);
    until("the spool is waited for", &agent, &|status| {
        status.outputs.iter().any(|output| output.spool.trouble.is_some())
    });
    rotate(&agent, "0", "the first line of 0\n", &|lane| lane.partition == Some(1) && lane.in_flight_records == 1);
    broker.change(|state| state.conditions.fill(refuses));
    until("a refusal is waited for", &agent, &|status| {
        status.outputs.iter().all(|output| output.lanes.len() == 2 && output.lanes.iter().all(is_refused))
    });
    // As many as there are workers, and the first has least to do: when it hands over, nobody else has read the line again.
    let logs = std::thread::available_parallelism().map_or(1, usize::from);
    for log in 0..logs {
        let lines = format!("a later line of {log}\n").repeat(if log == 0 { 1_000 } else { 4_000 });
        std::fs::write(path(&format!("{log}.log")), lines).expect("the disk has room");
    }
    agent.rescan();
    // Where they are faster than a look, one is held by now.
    until("workers are waited for", &agent, &|status| {
        let read = status.inputs.iter().flat_map(|input| &input.files).filter(|file| file.read_bytes > 1_000);
        read.count() == logs || any_lane(status, &|lane| lane.waiting_sources > 0)
    });
    agent.reload(config(1), &|| false).expect("nothing is in the way");
    broker.change(|state| state.conditions.fill(Condition::Up));
    until("acknowledgements are waited for", &agent, &|status| {
        let mut files = status.inputs.iter().flat_map(|input| &input.files);
        files.all(|file| file.lag_bytes == 0) && status.inputs.iter().all(|input| input.lag_bytes == 0)
    });
    let values = broker.change(|state| std::mem::take(&mut state.log)).into_iter();
    let mut values = values.map(|written| String::from_utf8_lossy(&written.value).into_owned());
    let first = values.find(|value| value.contains("line of 0")).expect("all of it has arrived");
    assert!(first.contains("the first line"), "{first} arrived first");
    assert!(agent.stop(LAST_RESORT), "nothing is in the way");
}
