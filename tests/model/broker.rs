//! A simulated cluster and the producers that send to it: logs that survive crashes, faults that are turned on and off,
//! reports that come late and in runs. What a real client promises, it keeps: order within a lane, one report a record.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use logferry::batch::LaneKey;
use logferry::output::{Fault, Parcel, RecordFault, TopicFault};

use crate::random::Random;

/// A line: its source and its number there.
pub type Line = (usize, u32);

/// A record on its way to a lane.
#[derive(Clone, Debug)]
pub struct Sent {
    pub parcel: Parcel,
    pub record: u32,
    pub line: Line,
    pub keyed: bool,
    pub guilt: Option<RecordFault>,
    /// Counts all records ever handed over: what was handed over before what.
    pub number: u64,
}

/// What became of a run of records of a parcel.
#[derive(Debug)]
pub struct Report {
    pub parcel: Parcel,
    pub records: Range<u32>,
    pub lines: Vec<Line>,
    pub result: Result<(), Fault>,
}

/// What the cluster says of one topic.
#[derive(Debug)]
pub struct Topic {
    pub partitions: u32,
    pub exists: bool,
    /// Why it takes nothing, though it exists.
    pub refuses: Option<TopicFault>,
    /// What is said to who asks for its partitions.
    pub hides: Option<TopicFault>,
    /// Partitions that take requests and don't answer.
    pub silent: BTreeSet<i32>,
}

/// The cluster.
#[derive(Default)]
pub struct Broker {
    pub topics: BTreeMap<Arc<str>, Topic>,
    /// Lines that are in some log, and how often.
    pub arrived: HashMap<Line, u32>,
    /// How often a line may arrive, if that is not once.
    pub may_arrive: HashMap<Line, u32>,
    /// Per source and lane, the keyed lines that arrived there, and when they had been handed over.
    arrived_in: HashMap<(LaneKey, usize), BTreeMap<u32, u64>>,
    /// Lines that were refused: records with up to this number were handed over before that was told, and may overtake them. `u64::MAX`: not reported yet.
    refused: HashMap<Line, u64>,
    /// Lines that are excused from the order: placed anew, or given back to their source for that.
    pub excused: HashSet<Line>,
}

impl Broker {
    /// Why the lane takes nothing, if so.
    fn topic_fault(&self, lane: &LaneKey) -> Option<TopicFault> {
        let topic = &self.topics[&lane.topic];
        match u32::try_from(lane.partition) {
            _ if !topic.exists => Some(TopicFault::Missing),
            Ok(partition) if partition < topic.partitions => topic.refuses,
            _ => Some(TopicFault::PartitionGone),
        }
    }

    pub fn is_silent(&self, lane: &LaneKey) -> bool {
        self.topics[&lane.topic].silent.contains(&lane.partition)
    }

    /// The answer to a lookup.
    pub fn partitions(&self, topic: &str) -> Result<u32, TopicFault> {
        let topic = &self.topics[topic];
        match topic.hides {
            _ if !topic.exists => Err(TopicFault::Missing),
            Some(reason) => Err(reason),
            None => Ok(topic.partitions),
        }
    }

    /// Something has happened over which lines may come once more.
    pub fn may_repeat(&mut self, lines: impl IntoIterator<Item = Line>) {
        for line in lines {
            *self.may_arrive.entry(line).or_insert(1) += 1;
        }
    }

    pub fn has(&self, line: Line) -> bool {
        self.arrived.contains_key(&line)
    }

    /// Takes a record into its log; counts it, and holds its first arrival to the order of its source (I3).
    fn append(&mut self, lane: &LaneKey, sent: &Sent) {
        let (source, number) = sent.line;
        let copies = self.arrived.entry(sent.line).or_default();
        *copies += 1;
        let (first, bound) = (*copies == 1, self.may_arrive.get(&sent.line).copied().unwrap_or(1));
        assert!(
            *copies <= bound,
            "{:?} arrives for the {copies}. time, in {lane:?}; {bound} are accounted for",
            sent.line
        );
        if !sent.keyed {
            return;
        }
        let here = self.arrived_in.entry((lane.clone(), source)).or_default();
        if self.excused.contains(&sent.line) {
            // What was placed anew has left the order of its source, and nobody is measured by it.
            return;
        }
        if first {
            let refused = self.refused.get(&sent.line).copied().unwrap_or(0);
            for (later, handed) in here.range(number + 1..) {
                assert!(
                    *handed <= refused,
                    "line {later} of source {source} arrived in {lane:?} before line {number}, which was not refused then"
                );
            }
        }
        here.entry(number).or_insert(sent.number);
    }

    /// The refusals that nobody will report any more, or just did: from `number` on, overtaking is a fault.
    pub fn refusals_known(&mut self, lines: &[Line], number: u64) {
        for line in lines {
            if let Some(refused) = self.refused.get_mut(line).filter(|refused| **refused == u64::MAX) {
                *refused = number;
            }
        }
    }

    pub fn all_refusals_known(&mut self, number: u64) {
        self.refused.values_mut().filter(|refused| **refused == u64::MAX).for_each(|refused| *refused = number);
    }
}

/// What was answered of a topic last, and whether it is to be answered again.
type Asked = (Option<Result<u32, TopicFault>>, bool);

/// A producing client.
#[derive(Default)]
pub struct Producer {
    pub dead: bool,
    /// It was replaced, or its process died, when so many records had been handed over: nobody hears what it refuses.
    pub gone_at: Option<u64>,
    queues: BTreeMap<LaneKey, VecDeque<Sent>>,
    reports: BTreeMap<LaneKey, VecDeque<Report>>,
    /// Refusals on the spot: they overtake the reports of what was sent before.
    spot: VecDeque<Report>,
    /// Topics asked for: what was said last, and whether an answer is owed.
    asked: BTreeMap<Arc<str>, Asked>,
}

impl Producer {
    /// Hands a record over. A dead producer refuses some and never says a word of others.
    pub fn produce(&mut self, lane: &LaneKey, sent: Sent, random: &mut Random, broker: &mut Broker) {
        if self.dead {
            if random.chance(50) {
                let fault = Fault::Producer { message: "dead".into() };
                self.spot.push_back(report(&sent, Err(fault)));
            }
            return;
        }
        if sent.guilt == Some(RecordFault::TooLarge) && sent.line.1.is_multiple_of(2) {
            broker.refused.insert(sent.line, u64::MAX);
            self.spot.push_back(report(&sent, Err(record_fault(RecordFault::TooLarge))));
            return;
        }
        self.queues.entry(lane.clone()).or_default().push_back(sent);
    }

    pub fn lookup(&mut self, topic: &Arc<str>) {
        self.asked.entry(Arc::clone(topic)).or_default().1 = true;
    }

    /// News of topics: answers that are owed, and what changed since it was said.
    pub fn topic_news(&mut self, broker: &Broker) -> Vec<(Arc<str>, Result<u32, TopicFault>)> {
        let mut news = Vec::new();
        for (topic, (said, owed)) in &mut self.asked {
            let now = broker.partitions(topic);
            if *owed || *said != Some(now) {
                (*said, *owed) = (Some(now), false);
                news.push((Arc::clone(topic), now));
            }
        }
        news
    }

    /// What it may still send.
    pub fn queued(&self) -> impl Iterator<Item = Line> {
        self.queues.values().flatten().map(|sent| sent.line)
    }

    pub fn lanes(&self) -> Vec<LaneKey> {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(lane, _)| lane.clone()).collect()
    }

    /// The broker of a lane takes a batch of up to `records_max`, whole or not at all.
    pub fn send(&mut self, lane: &LaneKey, records_max: usize, random: &mut Random, broker: &mut Broker) {
        let Some(queue) = self.queues.get_mut(lane).filter(|_| !broker.is_silent(lane)) else { return };
        let batch: Vec<Sent> = queue.drain(..records_max.min(queue.len())).collect();
        let message: Arc<str> = "refused".into();
        let results: Vec<Result<(), Fault>> = if let Some(reason) = broker.topic_fault(lane) {
            batch.iter().map(|_| Err(Fault::Topic { reason, message: Arc::clone(&message) })).collect()
        } else if let Some(reason) = batch.iter().find_map(|sent| sent.guilt) {
            let named = reason != RecordFault::TooLarge && random.chance(70);
            let result = |sent: &Sent| match sent.guilt {
                None if named => Fault::Neighbour,
                guilt if named => record_fault(guilt.unwrap_or(reason)),
                _ => record_fault(reason),
            };
            batch.iter().map(|sent| Err(result(sent))).collect()
        } else {
            batch.iter().map(|_| Ok(())).collect()
        };
        let reports = self.reports.entry(lane.clone()).or_default();
        for (sent, result) in batch.iter().zip(results) {
            if result.is_ok() {
                broker.append(lane, sent);
            } else {
                let refused = broker.refused.entry(sent.line).or_default();
                *refused = (*refused).max(self.gone_at.unwrap_or(u64::MAX));
            }
            match reports.back_mut() {
                Some(last)
                    if last.parcel == sent.parcel
                        && last.records.end == sent.record
                        && last.result == result
                        && !random.chance(5) =>
                {
                    last.records.end += 1;
                    last.lines.push(sent.line);
                }
                _ => reports.push_back(report(sent, result)),
            }
        }
    }

    /// The next report: of a random lane, or a refusal on the spot.
    pub fn take_report(&mut self, random: &mut Random) -> Option<Report> {
        if !self.spot.is_empty() && random.chance(60) {
            return self.spot.pop_front();
        }
        let ready: Vec<LaneKey> =
            self.reports.iter().filter(|(_, reports)| !reports.is_empty()).map(|(lane, _)| lane.clone()).collect();
        match ready.get(random.index(ready.len())) {
            Some(lane) => self.reports.get_mut(lane).and_then(VecDeque::pop_front),
            None => self.spot.pop_front(),
        }
    }

    /// Some of what is queued is reported as refused for the producer's sake.
    pub fn die(&mut self, random: &mut Random) {
        self.dead = true;
        for lane in self.lanes() {
            let queue = self.queues.get_mut(&lane).expect("just listed");
            let from = random.index(queue.len() + 1);
            let fault = || Err(Fault::Producer { message: "fenced".into() });
            let purged: Vec<Report> = queue.drain(from..).map(|sent| report(&sent, fault())).collect();
            self.reports.entry(lane).or_default().extend(purged);
        }
    }
}

fn report(sent: &Sent, result: Result<(), Fault>) -> Report {
    Report { parcel: sent.parcel, records: sent.record..sent.record + 1, lines: vec![sent.line], result }
}

fn record_fault(reason: RecordFault) -> Fault {
    Fault::Record { reason, message: "refused".into() }
}
