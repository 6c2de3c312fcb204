//! Sources, the machine, and what the driver does between them and a simulated cluster, in virtual time, one step at a
//! time. Every step checks the promises that can be checked then.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logferry::ack::Watermark;
use logferry::batch::{LaneKey, Place, Position, Receipt, SettleSink, Settled, Share, SourceKey};
use logferry::deliver::machine::{Action, Limits, Machine, Offered, WhenFull};
use logferry::deliver::spill::Trouble;
use logferry::deliver::waiting::Wants;
use logferry::output::{Fault, Parcel, RecordFault};
use logferry::spool::{Dropped, FrameId, Turn};

use crate::broker::{Broker, Line, Producer, Sent, Topic};
use crate::log::{Frame, Job, Log, Mark};
use crate::random::Random;

/// What a line is.
#[derive(Clone, Debug)]
pub struct LineSpec {
    pub topic: Arc<str>,
    /// `None`: keyless.
    pub key: Option<u32>,
    pub bytes: u64,
    pub guilt: Option<RecordFault>,
}

/// The settles of all sources since they were last looked at: source, life of the process, batch, how.
type Heard = Arc<Mutex<Vec<(usize, u64, u64, Settled)>>>;

struct Sink {
    source: usize,
    life: u64,
    heard: Heard,
}

impl SettleSink for Sink {
    fn settled(&self, seq: u64, how: Settled) {
        self.heard.lock().expect("no panic while locked").push((self.source, self.life, seq, how));
    }
}

/// A file that is read.
pub struct Source {
    pub lines: Vec<LineSpec>,
    /// The next line to read.
    position: u32,
    watermark: Watermark,
    /// Where a restart begins.
    committed: u32,
    pub parked: bool,
    /// It was rotated away, say: what can't be handed over is spooled.
    pub urgent: bool,
    /// Lines per batch, at most.
    pub quantum: u64,
    last_wants: Wants,
    /// Batches that are issued and not settled: each settles once.
    unsettled: BTreeMap<u64, (u32, u32)>,
}

impl Source {
    fn new(lines: Vec<LineSpec>, quantum: u64) -> Self {
        Self {
            lines,
            position: 0,
            watermark: Watermark::new(at(0)),
            committed: 0,
            parked: false,
            urgent: false,
            quantum,
            last_wants: Wants::new(),
            unsettled: BTreeMap::new(),
        }
    }

    /// Every line is settled.
    pub fn is_finished(&self) -> bool {
        self.watermark.position().offset == self.lines.len() as u64
    }

    fn len(&self) -> u32 {
        u32::try_from(self.lines.len()).expect("few lines")
    }
}

struct Holding {
    lines: Arc<Vec<Line>>,
    records: Range<u32>,
    bytes: u64,
    /// `None`: settled, for it is spooled.
    receipt: Option<Receipt>,
    acked: HashSet<u32>,
    /// Else it goes to the spool only, and does not count in the window.
    in_window: bool,
}

impl Holding {
    fn of(lines: &Arc<Vec<Line>>, share: Share, receipt: Option<Receipt>) -> Self {
        let (records, bytes) = (share.records, share.bytes);
        Self { lines: Arc::clone(lines), records, bytes, receipt, acked: HashSet::new(), in_window: true }
    }
}

/// Burials that are being tried.
struct Grave {
    parcel: Parcel,
    record: u32,
}

/// How long the driver waits for the reports of a producer that is replaced.
const REPLACE_WITHIN: Duration = Duration::from_secs(2);

/// A producer that is not the newest, while lanes are with it.
struct Older {
    epoch: u64,
    producer: Producer,
    out: Out,
}

/// What a producer has not reported.
#[derive(Default)]
struct Out {
    waited_for: HashSet<(Parcel, u32)>,
    /// Sent again elsewhere: what it says of them goes unheard.
    forgotten: HashSet<(Parcel, u32)>,
}

/// Everything.
pub struct World {
    pub random: Random,
    pub now: Duration,
    pub limits: Limits,
    pub machine: Machine<usize>,
    pub broker: Broker,
    pub log: Option<Log>,
    pub producer: Producer,
    older: Vec<Older>,
    /// When what the older ones have not reported, of lanes that are to move, is sent again.
    moving_until: Option<Duration>,
    /// Brokers that don't answer when they are asked.
    pub silent_brokers: BTreeSet<i32>,
    knock_due: Option<Vec<i32>>,
    set_aside_due: Option<Vec<i32>>,
    /// Producers that were replaced, with their epochs: they go on for a while.
    zombies: Vec<(u64, Producer)>,
    pub sources: Vec<Source>,
    holdings: HashMap<Parcel, Holding>,
    known: HashMap<Arc<str>, u32>,
    heard: Heard,
    life: u64,
    handed_over: u64,
    /// Of the current producer.
    out: Out,
    /// Records of all producers whose reports are waited for.
    in_flight: HashSet<(Parcel, u32)>,
    graves: Vec<Grave>,
    pub buried: HashSet<Line>,
    pub dead_letter_full: bool,
    /// Lines that were dropped on arrival, and how many the machine of this life has dropped.
    dropped_newest: HashSet<Line>,
    dropped_records: u64,
    rebuild_due: bool,
    replace_due: bool,
    /// Where keyed lines were placed first.
    placed: HashMap<Line, LaneKey>,
    batch_bytes_max: u64,
    /// Actions after which the process dies, now and then.
    pub crash_percent: u64,
    /// What was said of batches.
    pub settles: Vec<(usize, Settled)>,
    /// In which order waiters were woken.
    pub woken: Vec<usize>,
}

impl World {
    pub fn new(seed: u64, limits: Limits) -> Self {
        Self {
            random: Random::new(seed),
            now: Duration::ZERO,
            machine: Machine::new(limits.clone()),
            limits,
            broker: Broker::default(),
            log: None,
            producer: Producer::default(),
            older: Vec::new(),
            moving_until: None,
            silent_brokers: BTreeSet::new(),
            knock_due: None,
            set_aside_due: None,
            zombies: Vec::new(),
            sources: Vec::new(),
            holdings: HashMap::new(),
            known: HashMap::new(),
            heard: Heard::default(),
            life: 0,
            handed_over: 0,
            out: Out::default(),
            in_flight: HashSet::new(),
            graves: Vec::new(),
            buried: HashSet::new(),
            dead_letter_full: false,
            dropped_newest: HashSet::new(),
            dropped_records: 0,
            rebuild_due: false,
            replace_due: false,
            placed: HashMap::new(),
            batch_bytes_max: 0,
            crash_percent: 0,
            settles: Vec::new(),
            woken: Vec::new(),
        }
    }

    pub fn add_topic(&mut self, name: &str, partitions: u32) -> Arc<str> {
        let name: Arc<str> = name.into();
        let topic = Topic { partitions, exists: true, refuses: None, hides: None, silent: Default::default() };
        self.broker.topics.insert(Arc::clone(&name), topic);
        name
    }

    /// The source's number.
    pub fn add_source(&mut self, lines: Vec<LineSpec>, quantum: u64) -> usize {
        self.sources.push(Source::new(lines, quantum));
        self.sources.len() - 1
    }

    pub fn topic_mut(&mut self, name: &str) -> &mut Topic {
        self.broker.topics.get_mut(name).expect("a topic of this world")
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        if let Some(log) = self.log.as_mut().filter(|log| log.on_its_way.is_none()) {
            let lost = log.tick(self.now);
            self.gone(lost);
        }
        self.machine.tick(self.now);
        self.leave();
        self.act();
    }

    /// The source reads a batch and offers it.
    pub fn read(&mut self, who: usize) {
        if self.sources[who].parked || self.sources[who].watermark.outstanding() == 64 {
            return;
        }
        let look_first = !self.sources[who].last_wants.is_empty() && self.random.chance(50);
        let source = &mut self.sources[who];
        let count = (1 + self.random.below(source.quantum)) as u32;
        let (from, to) = (source.position, (source.position + count).min(source.len()));
        if from == to {
            self.machine.forget(who);
            self.act();
            return;
        }
        if look_first && self.machine.would_hold(who, &source.last_wants, source.urgent, self.now).is_some() {
            source.parked = true;
            self.act();
            return;
        }
        let (lines, shares) = self.encode(who, from..to);
        self.offer(who, to, lines, &shares);
    }

    /// Lines to records, grouped by where they go; within a share in source order.
    fn encode(&mut self, who: usize, range: Range<u32>) -> (Vec<Line>, Vec<Share>) {
        let mut groups: Vec<(Arc<str>, Place, Vec<u32>)> = Vec::new();
        for number in range {
            let spec = &self.sources[who].lines[number as usize];
            let place = match (spec.key, self.known.get(&spec.topic)) {
                (None, _) => Place::Any,
                (Some(_), None) => Place::Unknown,
                (Some(key), Some(count)) => Place::At((key % count) as i32),
            };
            match groups.iter_mut().find(|(topic, to, _)| *topic == spec.topic && *to == place) {
                Some((_, _, numbers)) => numbers.push(number),
                None => groups.push((Arc::clone(&spec.topic), place, vec![number])),
            }
        }
        let (mut lines, mut shares) = (Vec::new(), Vec::new());
        for (topic, place, numbers) in groups {
            let start = lines.len() as u32;
            let bytes = numbers.iter().map(|number| self.sources[who].lines[*number as usize].bytes).sum();
            lines.extend(numbers.into_iter().map(|number| (who, number)));
            shares.push(Share { topic, place, records: start..lines.len() as u32, payload_bytes: bytes, bytes });
        }
        (lines, shares)
    }

    fn offer(&mut self, who: usize, to: u32, lines: Vec<Line>, shares: &[Share]) {
        let source = &mut self.sources[who];
        let from = source.position;
        let seq = source.watermark.issue(at(to)).expect("fewer than 64 are outstanding");
        let sink = Sink { source: who, life: self.life, heard: Arc::clone(&self.heard) };
        let receipt = Receipt::new(Arc::new(sink), seq);
        source.last_wants = shares.iter().map(|share| (Arc::clone(&share.topic), share.place, share.bytes)).collect();
        match self.machine.offer(who, SourceKey(who as u64), shares, source.urgent, self.now) {
            Offered::Held(_) => {
                source.watermark.retract(receipt.retract());
                source.parked = true;
            }
            Offered::Taken(parcels) => {
                assert_eq!(parcels.len(), shares.len(), "each share has its parcel");
                source.position = to;
                source.unsettled.insert(seq, (from, to));
                let total: u64 = shares.iter().map(|share| share.bytes).sum();
                self.batch_bytes_max = self.batch_bytes_max.max(total);
                for share in shares {
                    let Place::At(partition) = share.place else { continue };
                    let lane = LaneKey { topic: Arc::clone(&share.topic), partition };
                    for record in share.records.clone() {
                        let line = lines[record as usize];
                        if *self.placed.entry(line).or_insert_with(|| lane.clone()) != lane {
                            self.broker.excused.insert(line);
                        }
                    }
                }
                let lines = Arc::new(lines);
                for ((parcel, share), receipt) in parcels.iter().zip(shares).zip(receipt.split(shares.len())) {
                    let holding = Holding {
                        lines: Arc::clone(&lines),
                        records: share.records.clone(),
                        bytes: share.bytes,
                        receipt: Some(receipt),
                        acked: HashSet::new(),
                        in_window: false,
                    };
                    assert!(self.holdings.insert(*parcel, holding).is_none(), "a parcel number is never used twice");
                }
            }
        }
        self.act();
    }

    /// The driver's part: does what the machine says, in order; the process may die between any two actions.
    pub fn act(&mut self) {
        while let Some(action) = self.machine.action() {
            match action {
                Action::Produce { parcel, topic, partition, records, epoch } => {
                    let lane = LaneKey { topic, partition };
                    self.produce(parcel, &lane, records, epoch);
                }
                Action::Settle { parcel, how } => self.settle(parcel, how),
                Action::Bury { parcel, record, .. } => {
                    let twice = self.graves.iter().any(|grave| grave.parcel == parcel && grave.record == record);
                    assert!(!twice, "a burial is tried once at a time");
                    self.graves.push(Grave { parcel, record });
                }
                Action::Wake(who) => {
                    let parked = self.sources[who].parked || self.sources[who].urgent;
                    assert!(parked, "source {who} is woken without being parked");
                    self.sources[who].parked = false;
                    self.woken.push(who);
                }
                Action::Lookup { topic } => self.producer.lookup(&topic),
                Action::Forget { topic } => {
                    self.known.remove(&topic);
                }
                Action::Rebuild { .. } => {
                    assert!(!self.rebuild_due, "one rebuild at a time");
                    self.rebuild_due = true;
                }
                Action::Replace { .. } => self.replace_due = true,
                Action::Knock { brokers } => {
                    assert!(self.knock_due.replace(brokers).is_none(), "one question at a time");
                }
                Action::SetAside { brokers, .. } => self.set_aside_due = Some(brokers),
                Action::Append { parcel, lane, records, done } => self.append(parcel, lane, records, &done),
                Action::Renumber { parcel, to } => {
                    let holding = self.holdings.remove(&parcel).expect("it is held");
                    assert!(!holding.in_window, "it was to be written, and nothing else");
                    let holding = Holding { in_window: true, ..holding };
                    assert!(self.holdings.insert(to, holding).is_none(), "a parcel number is never used twice");
                }
                Action::Spooled { parcel } => {
                    let holding = self.holdings.get_mut(&parcel).expect("it stays in memory");
                    match holding.receipt.take() {
                        Some(receipt) => receipt.settle(Settled::Spooled),
                        None => {
                            // The frame that had it is gone: what is in memory is written again.
                            let given_up = &self.log.as_ref().expect("there is a log").given_up;
                            let mut lines = holding.records.clone().map(|record| holding.lines[record as usize]);
                            assert!(lines.any(|line| given_up.contains(&line)), "it is spooled once");
                        }
                    }
                }
                Action::Done { lane, frame: id } => {
                    let log = self.log.as_mut().expect("there is a log");
                    let frame = log.frames.remove(&id);
                    assert!(
                        frame.as_ref().map_or(log.untold.contains(&id), |frame| frame.lane == lane),
                        "a frame is done once, and not after the machine has heard that it is gone"
                    );
                    log.marks.push(Mark::Done(lane, id));
                    frame.into_iter().flat_map(|frame| frame.lines).for_each(|(line, _)| self.assert_kept(line));
                }
                Action::Unread { lane, frame } => {
                    let log = self.log.as_mut().expect("there is a log");
                    let known = log.frames.get(&frame);
                    assert!(known.map_or(log.untold.contains(&frame), |known| known.lane == lane));
                    // A part of it may have been delivered to another partition.
                    let lines = known.iter().flat_map(|known| &known.lines).map(|(line, _)| *line);
                    let again: Vec<Line> = lines.filter(|line| self.broker.has(*line)).collect();
                    self.broker.may_repeat(again);
                    log.marks.push(Mark::Unread(lane, frame));
                }
                Action::Again { lane } => self.log.as_mut().expect("there is a log").marks.push(Mark::Again(lane)),
            }
            if self.random.chance(self.crash_percent) && self.random.chance(5) {
                self.crash();
            }
        }
        let used: u64 = self.holdings.values().filter(|holding| holding.in_window).map(|holding| holding.bytes).sum();
        assert_eq!(self.machine.bytes_used(), used, "what is used is what is held");
        let bound = self.machine.bytes_max() + self.batch_bytes_max;
        assert!(used <= bound, "{used} bytes are in flight, the window and a batch are {bound}");
        let counted: u64 = self.machine.tally().rows().iter().map(|(_, counts)| counts.records_dropped).sum();
        assert_eq!(counted, self.dropped_records, "what is dropped on arrival is counted");
        self.hear();
    }

    fn produce(&mut self, parcel: Parcel, lane: &LaneKey, records: Range<u32>, epoch: u64) {
        let (producer, out) = match self.older.iter_mut().find(|old| old.epoch == epoch) {
            Some(old) => (&mut old.producer, &mut old.out),
            None => {
                assert_eq!(epoch, self.machine.epoch(), "a producer stays while it is used");
                (&mut self.producer, &mut self.out)
            }
        };
        let holding = self.holdings.get_mut(&parcel).expect("what is produced is held");
        holding.in_window = true;
        assert!(!records.is_empty() && holding.records.start <= records.start && records.end <= holding.records.end);
        let guilt_of = |lines: &[Line], record: u32| {
            let (source, number) = lines[record as usize];
            self.sources[source].lines[number as usize].guilt
        };
        for record in records {
            let line = holding.lines[record as usize];
            if guilt_of(&holding.lines, record) == Some(RecordFault::Processor) {
                self.machine.not_for_its_topic(parcel, record..record + 1, &"a processor failed".into());
                continue;
            }
            assert!(
                out.waited_for.insert((parcel, record)),
                "{line:?} is sent again before the report of the last time"
            );
            assert!(self.in_flight.insert((parcel, record)), "{line:?} is in flight on another producer");
            assert!(!holding.acked.contains(&record), "{line:?} is sent again after its acknowledgement");
            let spec = &self.sources[line.0].lines[line.1 as usize];
            self.handed_over += 1;
            let (keyed, guilt) = (spec.key.is_some(), spec.guilt);
            let sent = Sent { parcel, record, line, keyed, guilt, number: self.handed_over };
            producer.produce(lane, sent, &mut self.random, &mut self.broker);
        }
    }

    fn settle(&mut self, parcel: Parcel, how: Settled) {
        let holding = self.holdings.remove(&parcel).expect("a parcel settles once");
        for record in holding.records.clone() {
            let line = holding.lines[record as usize];
            match how {
                Settled::Delivered => assert!(self.broker.has(line), "{line:?} settled, not arrived"),
                Settled::DeadLettered => self.assert_kept(line),
                Settled::Abandoned => {
                    self.broker.excused.insert(line);
                }
                Settled::Spooled if holding.receipt.is_some() => self.assert_kept(line),
                // It was read from there, or its copy was promised before: memory lets go of it.
                Settled::Spooled => {
                    let is_there = self.log.as_ref().is_some_and(|log| log.lines().any(|other| other == line));
                    if !is_there {
                        self.assert_kept(line);
                    }
                }
                Settled::Dropped => {
                    assert_eq!(self.limits.when_full, WhenFull::DropNewest);
                    self.dropped_newest.insert(line);
                    self.dropped_records += 1;
                    self.broker.excused.insert(line);
                }
            }
        }
        if let Some(receipt) = holding.receipt {
            receipt.settle(how);
        }
    }

    fn append(&mut self, parcel: Parcel, lane: LaneKey, records: Range<u32>, done: &[Range<u32>]) {
        let holding = &self.holdings[&parcel];
        let left = records.filter(|record| !done.iter().any(|done| done.contains(record)));
        let lines = left.map(|record| holding.lines[record as usize]);
        let lines: Vec<(Line, u64)> = lines.map(|line| (line, self.spec(line).bytes)).collect();
        let frame = Frame { lane, source: lines[0].0.0, lines };
        self.log.as_mut().expect("there is a log").queue.push_back(Job { parcel, frame });
    }

    fn spec(&self, (who, number): Line) -> &LineSpec {
        &self.sources[who].lines[number as usize]
    }

    /// The clock on the wall, which somebody moves about.
    fn wall_ms(&mut self) -> u64 {
        self.random.below(1 << 40)
    }

    /// The spool writes what is due, or fails. Whether it was written.
    pub fn write_log(&mut self) -> bool {
        let wall_ms = self.wall_ms();
        let Some(log) = self.log.as_mut().filter(|log| log.on_its_way.is_none() && !log.queue.is_empty()) else {
            return false;
        };
        let machine = &mut self.machine;
        log.queue.retain(|job| machine.wants_copy(job.parcel));
        let count = if log.queue.is_empty() { 0 } else { 1 + self.random.index(log.queue.len()) };
        let written = match log.write(count, &self.known, self.now, wall_ms) {
            Ok(written) => written,
            Err(error) => {
                if error.is_full() && self.limits.when_full == WhenFull::DropOldest {
                    let dropped = log.drop_oldest();
                    let any = !dropped.is_empty();
                    self.gone(dropped);
                    if any {
                        return true;
                    }
                }
                let Some(log) = self.log.as_mut().filter(|log| !log.queue.is_empty()) else { return true };
                log.trouble = Some(Trouble { is_full: error.is_full(), message: error.to_string().into() });
                self.tell_room();
                return false;
            }
        };
        if self.random.chance(5) && self.crash_percent > 0 {
            // Durable, and nobody knows.
            self.crash();
            return true;
        }
        let life = self.life;
        for (job, frame) in written {
            self.machine.committed(job.parcel, &job.frame.lane, frame);
            self.act();
            if self.life != life {
                return true;
            }
        }
        self.tell_room();
        true
    }

    /// Frames are gone from the log: nobody waits for them, nor for what comes after them in their order.
    fn gone(&mut self, mut frames: Vec<Dropped>) {
        let Some(log) = &self.log else { return };
        self.broker.excused.extend(&log.given_up);
        if frames.is_empty() {
            return;
        }
        let life = self.life;
        // Others go on before the machine hears of it.
        while self.random.chance(50) && self.report() {}
        let Some(log) = self.log.as_mut().filter(|_| self.life == life) else { return };
        log.tell_gone(&mut frames);
        for one in &frames {
            if self.life == life {
                self.machine.frames_gone(&one.lane, one.first_id..=one.last_id, one.frames, self.now);
                self.act();
            }
        }
    }

    /// The machine hears how the spool is.
    pub fn tell_room(&mut self) {
        let Some(log) = &self.log else { return };
        let drops_oldest = self.limits.when_full == WhenFull::DropOldest;
        let holds_too_much = |lane: &&LaneKey| !drops_oldest && log.holds_too_much(lane);
        let greedy = self.machine.spooled_lanes().filter(holds_too_much).cloned().collect();
        let room = if drops_oldest { u64::MAX / 2 } else { log.room() };
        self.machine.spool(room, greedy, log.trouble.clone());
        self.act();
    }

    /// The spool's reader goes on for up to `frames` of them; anything may happen before the last is handed over.
    pub fn read_log(&mut self, frames: usize) -> bool {
        let (life, mut any) = (self.life, false);
        for _ in 0..frames {
            let Some(log) = self.log.as_mut() else { return any };
            if log.on_its_way.is_none() {
                // The spool's thread takes what was said now and then, and reads on meanwhile.
                if self.random.chance(50) {
                    log.mark(self.now);
                }
                let (machine, now, marked) = (&mut self.machine, self.now, log.marked());
                match log.next(&mut |meta| match marked.contains(&meta.id) {
                    true => Turn::Have,
                    false => machine.may_read(&meta.lane, meta.id, meta.payload_bytes, now),
                }) {
                    Ok(Some(frame)) => log.on_its_way = Some(frame),
                    Ok(None) => {
                        self.settle_count();
                        return any;
                    }
                    Err(_) => return any,
                }
                if self.random.chance(20) {
                    return true;
                }
            }
            let (id, frame) = self.log.as_mut().and_then(|log| log.on_its_way.take()).expect("just put there");
            any = true;
            self.read_frame(id, frame);
            if self.life != life {
                return true;
            }
        }
        any
    }

    /// Frames that turn out to be damaged are never met.
    fn settle_count(&mut self) {
        let Some(log) = self.log.as_ref().filter(|log| log.marks.is_empty()) else { return };
        let none: Vec<LaneKey> = self.machine.spooled_lanes().filter(|lane| !log.has_unread(lane)).cloned().collect();
        none.iter().for_each(|lane| self.machine.nothing_unread(lane, self.now));
        self.act();
    }

    fn read_frame(&mut self, id: FrameId, frame: Frame) {
        let count = self.machine.partitions(&frame.lane.topic).expect("else it is skipped");
        let (lines, shares) = self.by_place(&frame, count);
        let source = SourceKey(frame.source as u64);
        let parcels = self.machine.read(&frame.lane, id, source, &shares, self.now);
        let lines = Arc::new(lines);
        for (parcel, share) in parcels.into_iter().zip(shares) {
            self.holdings.insert(parcel, Holding::of(&lines, share, None));
        }
        self.act();
    }

    /// What is on its way to a disk that takes nothing is taken apart by the partitions of its keys. Whether there was something.
    pub fn place_waiting(&mut self) -> bool {
        let Some((parcel, count)) = self.machine.next_to_place(self.now) else { return false };
        let log = self.log.as_ref().expect("something is on its way there");
        let Some(job) = log.queue.iter().find(|job| job.parcel == parcel) else { return false };
        let (lines, shares) = self.by_place(&job.frame.clone(), count);
        let parts = self.machine.placed(parcel, &shares, self.now);
        assert!(!parts.is_empty(), "it is the next");
        let holding = self.holdings.remove(&parcel).expect("a parcel is held until it settles");
        let receipts = holding.receipt.expect("nothing has become of it").split(parts.len());
        let lines = Arc::new(lines);
        for ((part, share), receipt) in parts.into_iter().zip(shares).zip(receipts) {
            self.holdings.insert(part, Holding::of(&lines, share, Some(receipt)));
        }
        self.act();
        true
    }

    /// The lines of a frame by their places: the frame's own partition, if its topic has it; else each key's.
    fn by_place(&mut self, frame: &Frame, count: u32) -> (Vec<Line>, Vec<Share>) {
        let mut groups: Vec<(Place, Vec<Line>)> = Vec::new();
        for (line, _) in &frame.lines {
            let key = self.spec(*line).key;
            let place = match (u32::try_from(frame.lane.partition), key) {
                (Ok(partition), _) if partition < count => Place::At(frame.lane.partition),
                (_, Some(key)) => Place::At((key % count) as i32),
                (_, None) => Place::Any,
            };
            match groups.iter_mut().find(|(to, _)| *to == place) {
                Some((_, lines)) => lines.push(*line),
                None => groups.push((place, vec![*line])),
            }
        }
        let (mut lines, mut shares) = (Vec::new(), Vec::new());
        for (place, group) in groups {
            let start = lines.len() as u32;
            let bytes = group.iter().map(|line| self.sources[line.0].lines[line.1 as usize].bytes).sum();
            if let Place::At(partition) = place {
                let lane = LaneKey { topic: Arc::clone(&frame.lane.topic), partition };
                for line in &group {
                    if *self.placed.entry(*line).or_insert_with(|| lane.clone()) != lane {
                        self.broker.excused.insert(*line);
                    }
                }
            }
            lines.extend(group);
            let topic = Arc::clone(&frame.lane.topic);
            shares.push(Share { topic, place, records: start..lines.len() as u32, payload_bytes: bytes, bytes });
        }
        self.batch_bytes_max = self.batch_bytes_max.max(shares.iter().map(|share| share.bytes).sum());
        (lines, shares)
    }

    /// The source's file is rotated away.
    pub fn make_urgent(&mut self, who: usize) {
        self.sources[who].urgent = true;
        self.sources[who].parked = false;
        self.machine.urgent(SourceKey(who as u64));
        self.act();
    }

    /// The source's input was reloaded: what waits of it is given up, and read again.
    pub fn give_up(&mut self, who: usize) {
        let is_theirs = |holding: &Holding| holding.lines[holding.records.start as usize].0 == who;
        let theirs = self.holdings.iter().filter(|(_, holding)| is_theirs(holding));
        let parcels: HashSet<Parcel> = theirs.map(|(parcel, _)| *parcel).collect();
        self.machine.give_up(&parcels);
        self.act();
    }

    /// What sources hear: the watermark moves over what is kept only (I1, I2).
    fn hear(&mut self) {
        let heard = std::mem::take(&mut *self.heard.lock().expect("no panic while locked"));
        for (who, life, seq, how) in heard {
            if life != self.life {
                continue;
            }
            self.settles.push((who, how));
            let source = &mut self.sources[who];
            if source.unsettled.remove(&seq).is_none() {
                continue;
            }
            if how == Settled::Abandoned {
                let from = source.watermark.rewind().offset as u32;
                let to = std::mem::replace(&mut source.position, from);
                source.unsettled.clear();
                self.broker.may_repeat((from..to).map(|number| (who, number)));
                continue;
            }
            let before = source.watermark.position().offset as u32;
            if let Some(position) = source.watermark.settle(seq) {
                (before..position.offset as u32).for_each(|number| self.assert_kept((who, number)));
            }
        }
    }

    fn assert_kept(&self, line: Line) {
        let is_logged = || self.log.as_ref().is_some_and(|log| log.has(line));
        let kept =
            self.broker.has(line) || self.buried.contains(&line) || self.dropped_newest.contains(&line) || is_logged();
        assert!(kept, "{line:?} counts as settled and is neither in a log nor in the dead letter");
    }

    /// A report reaches the machine; those of replaced producers too.
    pub fn report(&mut self) -> bool {
        if !self.zombies.is_empty() && self.random.chance(30) {
            let zombie = self.random.index(self.zombies.len());
            let (epoch, producer) = &mut self.zombies[zombie];
            if let Some(report) = producer.take_report(&mut self.random) {
                self.machine.report(*epoch, report.parcel, report.records, report.result, self.now);
                self.act();
                return true;
            }
        }
        let of = self.random.index(self.older.len() + 1);
        let (epoch, producer, out) = match self.older.get_mut(of) {
            Some(old) => (old.epoch, &mut old.producer, &mut old.out),
            None => (self.machine.epoch(), &mut self.producer, &mut self.out),
        };
        let Some(report) = producer.take_report(&mut self.random) else { return false };
        self.broker.refusals_known(&report.lines, self.handed_over);
        for record in report.records.clone() {
            if out.forgotten.remove(&(report.parcel, record)) {
                continue;
            }
            assert!(out.waited_for.remove(&(report.parcel, record)), "a producer reports once");
            self.in_flight.remove(&(report.parcel, record));
            if let (Ok(()), Some(holding)) = (&report.result, self.holdings.get_mut(&report.parcel)) {
                holding.acked.insert(record);
            }
        }
        self.machine.report(epoch, report.parcel, report.records, report.result, self.now);
        self.leave();
        self.act();
        true
    }

    /// A broker takes a batch of up to `records_max` records.
    pub fn send(&mut self, records_max: usize) {
        let of = self.random.index(self.older.len() + 1);
        let producer = self.older.get_mut(of).map_or(&mut self.producer, |old| &mut old.producer);
        let lanes = producer.lanes();
        if let Some(lane) = lanes.get(self.random.index(lanes.len())) {
            producer.send(lane, records_max, &mut self.random, &mut self.broker);
        }
    }

    /// A replaced or lost producer's requests still reach a broker.
    pub fn send_late(&mut self, records_max: usize) {
        if self.zombies.is_empty() {
            return;
        }
        let zombie = self.random.index(self.zombies.len());
        let producer = &mut self.zombies[zombie].1;
        let lanes = producer.lanes();
        if let Some(lane) = lanes.get(self.random.index(lanes.len())) {
            producer.send(lane, records_max, &mut self.random, &mut self.broker);
        }
    }

    /// Answers to lookups, and news of topics.
    pub fn topic_news(&mut self) {
        let life = self.life;
        for (topic, result) in self.producer.topic_news(&self.broker) {
            if life != self.life {
                return;
            }
            if let Ok(partitions) = result {
                self.known.insert(Arc::clone(&topic), partitions);
                // Each partition is on one of three brokers or on two; now and then they are moved.
                let layout = i32::try_from(self.random.below(3)).expect("small");
                let count = i32::try_from(partitions).expect("small");
                let on = |partition: i32| match partition % 2 {
                    0 => [layout].into(),
                    _ => [layout, (layout + 1) % 3].into(),
                };
                self.machine.replicas(&topic, (0..count).map(on).collect());
            }
            let result = result.map_err(|reason| Fault::Topic { reason, message: "said so".into() });
            self.machine.topic(&topic, result, self.now);
            self.act();
        }
    }

    /// The dead letter keeps a record, or is full.
    pub fn bury(&mut self) -> bool {
        if self.graves.is_empty() {
            return false;
        }
        let index = self.random.index(self.graves.len());
        let Grave { parcel, record } = self.graves.swap_remove(index);
        let Some(holding) = self.holdings.get(&parcel) else { return true };
        let line = holding.lines[record as usize];
        let guilt = self.sources[line.0].lines[line.1 as usize].guilt;
        assert!(guilt.is_some(), "{line:?} is buried without guilt");
        if !self.dead_letter_full {
            self.buried.insert(line);
        }
        self.machine.buried(parcel, record, !self.dead_letter_full, self.now);
        self.act();
        true
    }

    /// The producer dies: it says so at once, or with what it refuses.
    pub fn kill_producer(&mut self) {
        let of = self.random.index(self.older.len() + 1);
        if let Some(old) = self.older.get_mut(of) {
            if !old.producer.dead {
                old.producer.die(&mut self.random);
                if self.random.chance(50) {
                    self.machine.lost_aside(old.epoch);
                    self.act();
                }
            }
            return;
        }
        if !self.producer.dead {
            self.producer.die(&mut self.random);
            if self.random.chance(50) {
                self.lose_producer();
            }
        }
    }

    /// The dead producer says so.
    pub fn lose_producer(&mut self) {
        if self.producer.dead {
            self.machine.lost("fatal".into());
            self.act();
        }
    }

    /// A producer with other settings takes over from one that works (or is broken, and nobody has said so).
    pub fn replace(&mut self) {
        self.take_over(Machine::replaced);
    }

    /// The driver's part of a new producer that takes over from one that works.
    fn take_over(&mut self, say: impl FnOnce(&mut Machine<usize>, u64, Duration)) {
        if self.machine.is_moving() {
            self.hurry();
        }
        self.moving_until = None;
        self.rebuild_due = false;
        let epoch = self.machine.epoch();
        let producer = std::mem::take(&mut self.producer);
        let out = std::mem::take(&mut self.out);
        self.older.push(Older { epoch, producer, out });
        say(&mut self.machine, epoch + 1, self.now);
        self.forget_unheard();
        self.act();
        self.leave();
    }

    /// Lets older producers go, once nobody waits for them.
    fn leave(&mut self) {
        if !self.machine.is_moving() {
            self.moving_until = None;
        } else if *self.moving_until.get_or_insert(self.now + REPLACE_WITHIN) <= self.now {
            self.moving_until = None;
            self.hurry();
        }
        for old in self.older.extract_if(.., |old| !self.machine.uses(old.epoch)) {
            assert!(old.out.waited_for.is_empty(), "its reports are waited for");
            let mut producer = old.producer;
            producer.gone_at = Some(self.handed_over);
            self.zombies.push((old.epoch, producer));
        }
    }

    fn hurry(&mut self) {
        let late = self.machine.hurried(self.now);
        assert_eq!(self.forget_unheard(), late, "what is late is sent again");
        self.act();
    }

    /// What producers have in flight of lanes that are with another one by now goes unheard. How many records that are.
    fn forget_unheard(&mut self) -> u64 {
        let machine = &self.machine;
        let newest = (machine.epoch(), &mut self.out);
        let mut all = HashSet::new();
        for (epoch, out) in self.older.iter_mut().map(|old| (old.epoch, &mut old.out)).chain([newest]) {
            let unheard = out.waited_for.extract_if(|(parcel, _)| !machine.is_with(*parcel, epoch));
            let unheard: HashSet<(Parcel, u32)> = unheard.collect();
            out.forgotten.extend(&unheard);
            all.extend(unheard);
        }
        all.iter().for_each(|one| assert!(self.in_flight.remove(one)));
        self.may_repeat(&all);
        all.len() as u64
    }

    /// Nobody hears any more what becomes of these.
    fn may_repeat(&mut self, unheard: &HashSet<(Parcel, u32)>) {
        let unheard = self.lines_of(unheard);
        self.broker.refusals_known(&unheard, self.handed_over);
        self.broker.may_repeat(unheard);
    }

    /// All producers are given up, whatever they have in flight.
    fn forget_all(&mut self) {
        self.older.push(Older {
            epoch: self.machine.epoch(),
            producer: std::mem::take(&mut self.producer),
            out: std::mem::take(&mut self.out),
        });
        for old in std::mem::take(&mut self.older) {
            self.may_repeat(&old.out.waited_for);
            let mut producer = old.producer;
            producer.gone_at = Some(self.handed_over);
            self.zombies.push((old.epoch, producer));
        }
        self.in_flight.clear();
        self.moving_until = None;
    }

    fn lines_of(&self, records: &HashSet<(Parcel, u32)>) -> Vec<Line> {
        let line = |(parcel, record): &(Parcel, u32)| Some(self.holdings.get(parcel)?.lines[*record as usize]);
        records.iter().filter_map(line).collect()
    }

    /// Makes the new producer, if one is due.
    pub fn rebuild(&mut self) -> bool {
        if std::mem::take(&mut self.replace_due) && !self.rebuild_due {
            self.replace();
            return true;
        }
        if let Some(brokers) = self.set_aside_due.take().filter(|_| !self.rebuild_due) {
            self.take_over(|machine, epoch, now| machine.set_aside(epoch, &brokers, now));
            return true;
        }
        if let Some(asked) = self.knock_due.take() {
            let silent: Vec<i32> = asked.iter().copied().filter(|id| self.silent_brokers.contains(id)).collect();
            self.machine.knocked((silent.len() < asked.len()).then_some(silent), self.now);
            self.act();
            return true;
        }
        if !std::mem::take(&mut self.rebuild_due) {
            return false;
        }
        let epoch = self.machine.epoch();
        self.forget_all();
        self.broker.all_refusals_known(self.handed_over);
        self.machine.rebuilt(epoch + 1, self.now);
        self.act();
        true
    }

    /// Checkpoints become durable.
    pub fn commit(&mut self) {
        for source in &mut self.sources {
            source.committed = source.watermark.position().offset as u32;
        }
    }

    /// kill -9, and the next start: what is not in a log, the dead letter or a durable checkpoint is gone.
    pub fn crash(&mut self) {
        self.dropped_records = 0;
        self.life += 1;
        self.forget_all();
        self.machine = Machine::new(self.limits.clone());
        // Their requests may still arrive; their reports reach nobody: no machine ever has this epoch.
        self.zombies.iter_mut().for_each(|(epoch, _)| *epoch = u64::MAX);
        self.broker.all_refusals_known(self.handed_over);
        self.holdings.clear();
        self.heard.lock().expect("no panic while locked").clear();
        self.graves.clear();
        self.known.clear();
        (self.rebuild_due, self.replace_due) = (false, false);
        (self.knock_due, self.set_aside_due) = (None, None);
        let wall_ms = self.wall_ms();
        if let Some(log) = &mut self.log {
            let recovered = log.crash(&mut self.random, self.now, wall_ms);
            self.broker.excused.extend(&log.given_up);
            let lanes: Vec<_> = recovered.lanes.into_iter().map(|found| (found.lane, found.frames)).collect();
            self.known.extend(recovered.partitions.iter().cloned());
            self.machine.recovered(&lanes, &recovered.partitions);
        }
        for source in &mut self.sources {
            source.position = source.committed;
            source.watermark = Watermark::new(at(source.committed));
            source.parked = false;
            source.last_wants.clear();
            source.unsettled.clear();
        }
        self.account_for_repeats();
        self.tell_room();
    }

    /// After a crash: what may come is what has come, what the producers of before still have, what sources read again, and
    /// what the log holds.
    fn account_for_repeats(&mut self) {
        let mut may_arrive = self.broker.arrived.clone();
        let zombies = self.zombies.iter().flat_map(|(_, producer)| producer.queued());
        let sources = self.sources.iter().enumerate();
        let read = sources.flat_map(|(who, source)| (source.committed..source.len()).map(move |number| (who, number)));
        let logged = self.log.iter().flat_map(Log::lines);
        for line in zombies.chain(read).chain(logged) {
            *may_arrive.entry(line).or_default() += 1;
        }
        self.broker.may_arrive = may_arrive;
    }

    /// Faults end: topics exist, everybody answers and is authorised, the dead letter has room.
    pub fn heal(&mut self) {
        for topic in self.broker.topics.values_mut() {
            topic.exists = true;
            (topic.refuses, topic.hides) = (None, None);
            topic.silent.clear();
        }
        self.silent_brokers.clear();
        self.dead_letter_full = false;
        if let Some(log) = &mut self.log {
            log.heal();
        }
        self.tell_room();
        self.crash_percent = 0;
        self.lose_producer();
    }

    /// Everybody does what there is to do, for `turns` of 100 ms or until `done`. Whether it is done.
    pub fn run(&mut self, turns: u32, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..turns {
            if done(self) {
                return true;
            }
            self.turn();
        }
        done(self)
    }

    /// Everybody does what there is to do, and 100 ms pass.
    pub fn turn(&mut self) {
        for who in 0..self.sources.len() {
            self.read(who);
        }
        for lane in self.producer.lanes() {
            self.producer.send(&lane, 16, &mut self.random, &mut self.broker);
        }
        for old in &mut self.older {
            for lane in old.producer.lanes() {
                old.producer.send(&lane, 16, &mut self.random, &mut self.broker);
            }
        }
        while self.report()
            || self.bury()
            || self.rebuild()
            || self.write_log()
            || self.place_waiting()
            || self.read_log(100)
        {}
        self.topic_news();
        self.pass(100);
    }

    /// Everything has arrived, and nothing is left behind.
    pub fn is_drained(&self) -> bool {
        self.sources.iter().all(Source::is_finished)
            && self.machine.is_idle()
            && self.machine.waiting_count() == 0
            && self.older.is_empty()
            && !self.rebuild_due
    }

    /// After the drain: no trace of lanes or bytes; the guilty are buried, the others are not.
    pub fn assert_clean(&self) {
        assert_eq!(self.machine.lanes(self.now), [], "a lane without records is forgotten");
        assert_eq!((self.machine.bytes_used(), self.holdings.len()), (0, 0));
        let in_log = self.log.iter().flat_map(Log::lines).collect::<Vec<_>>();
        assert_eq!(in_log, [], "nothing is left in the spool");
        let is_given_up = |line| {
            self.dropped_newest.contains(&line) || self.log.as_ref().is_some_and(|log| log.given_up.contains(&line))
        };
        for (who, source) in self.sources.iter().enumerate() {
            for (number, spec) in source.lines.iter().enumerate() {
                let line = (who, number as u32);
                let (arrived, buried) = (self.broker.has(line), self.buried.contains(&line));
                let is_gone = (arrived, buried) == (false, false) && is_given_up(line);
                assert!(is_gone || (arrived, buried) == (spec.guilt.is_none(), spec.guilt.is_some()), "{line:?}");
            }
        }
    }
}

fn at(line: u32) -> Position {
    Position { offset: u64::from(line), check: 0 }
}
