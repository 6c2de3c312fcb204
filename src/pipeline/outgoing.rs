//! Route and encode: a batch of events becomes records, grouped by where they go.
//!
//! Topic and key that depend on the source's shared fields only are rendered once a source; the partition of that key is
//! looked up once per change of the partition counts. So the plain path per event is one call of the codec.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::plan::{Counts, Plan, RouteCache, Target};
use crate::batch::{
    Batch, Encoded, FAILED_HEADER, Header, NONE, Place, Position, RECORD_BYTES, Record, Share, SourceKey,
};
use crate::budget::BytePermit;
use crate::encode::{self, Codec, Fit};
use crate::event::{Common, Event, EventView, Room, RouteTo, Template, Timestamp};
use crate::process::{Outcome, Tally, Work};
use crate::route;

/// The tag of a record that went to the fallback topic.
pub const FALLBACK_TAG: &str = "_topic_fallback";

/// Kafka's CreateTime may be this much before the time of reading, and this much after; outside, it is the time of reading.
pub const CREATE_TIME_BEFORE: Duration = Duration::from_secs(24 * 3600);
pub const CREATE_TIME_AFTER: Duration = Duration::from_secs(5 * 60);

/// What is known of topics.
pub trait Topics {
    /// The partition count, if it is known.
    fn partitions(&self, topic: &str) -> Option<u32>;
    /// Moves with every change of a count.
    fn version(&self) -> u64;
    /// Whether one more topic may be used.
    fn has_room(&self) -> bool;
}

/// Encodes batches; keeps its tables between them.
#[derive(Default)]
pub struct Encoder {
    shares: Vec<Share>,
    counts: Vec<u32>,
    /// The share of each record, kept once there is a second share.
    share_of: Vec<u32>,
    found: HashMap<(Arc<str>, Place), u32>,
    text: Vec<u8>,
    names: HashMap<&'static str, Arc<str>>,
    room: Room,
}

/// Where a record goes.
struct Routed {
    topic: Arc<str>,
    fell_back: bool,
    place: Place,
    /// Range of the key in the buffer.
    key: Option<Range<u32>>,
}

/// What of a processed batch is for a target: what is not all before `from`, and fulfils the target's `when`. What does is
/// noted.
pub struct Part<'a> {
    pub from: u64,
    pub routed: &'a mut [bool],
}

impl Part<'_> {
    fn has(&mut self, at: usize, target: &Target, view: &EventView<'_>) -> bool {
        if !target.when.as_ref().is_none_or(|when| when.holds(view)) {
            return false;
        }
        self.routed[at] = true;
        // A record whose lines were two when this output had the first of them: it does not have the others.
        view.event.end() > self.from
    }
}

/// One way over a batch, for a target.
struct Pass<'a> {
    plan: &'a Plan,
    target: &'a Target,
    cache: &'a mut RouteCache,
    topics: &'a dyn Topics,
    /// Of the partition counts.
    version: u64,
    buf: &'a [u8],
    common: &'a Common,
    now: Timestamp,
    /// The key that all records of the source have, once it is written.
    shared_key: Option<Option<Range<u32>>>,
    out: Outgoing,
}

/// What is left of a batch once it is encoded.
pub struct Outgoing {
    pub buf: Vec<u8>,
    pub records: Vec<Record>,
    pub headers: Vec<Vec<Header>>,
    pub shares: Vec<Share>,
    pub counts: Counts,
}

impl Outgoing {
    /// With the permit for its bytes: ready to be offered.
    pub fn into_encoded(self, source: SourceKey, resume: Position, permit: BytePermit) -> Encoded {
        let Self { buf, records, headers, shares, counts: _ } = self;
        Encoded { buf, records, headers, shares, source, resume, permit }
    }
}

impl Encoder {
    /// Runs the processors and encodes what they keep for the plan's only target, into `buf` (empty, with capacity). Event by
    /// event, so that what one is made of is at hand when it is written, and free for the next: the events are plain after it.
    pub fn encode(
        &mut self,
        plan: &Plan,
        cache: &mut RouteCache,
        topics: &dyn Topics,
        batch: &mut Batch,
        now: Timestamp,
        buf: Vec<u8>,
    ) -> Outgoing {
        let Batch { events, buf: lines, common, .. } = batch;
        let mut tally = Tally::default();
        let mut pass = self.begin(plan, &plan.targets[0], cache, topics, (lines, common), events.len(), now, buf);
        for event in events.iter_mut() {
            if !plan.chain.is_empty() {
                event.take_room(&mut self.room);
            }
            if keeps(plan, event, lines, common, now, &mut tally) {
                self.add(&mut pass, event);
            }
            event.make_plain(&mut self.room);
        }
        let mut out = self.finish(pass);
        out.counts.read_records = batch.events.len() as u64;
        out.counts.processing = tally;
        out
    }

    /// Runs the processors; what they keep stays in the batch, to be encoded for each target.
    pub fn process(plan: &Plan, batch: &mut Batch, read_at: Timestamp) -> Counts {
        let read_records = batch.events.len() as u64;
        let mut tally = Tally::default();
        let Batch { events, buf, common, .. } = batch;
        events.retain_mut(|event| keeps(plan, event, buf, common, read_at, &mut tally));
        Counts { read_records, processing: tally, ..Counts::default() }
    }

    /// Encodes for one target what of the processed batch is for it.
    #[expect(clippy::too_many_arguments, reason = "what a pass begins with")]
    pub fn encode_for(
        &mut self,
        plan: &Plan,
        target: &Target,
        mut part: Part<'_>,
        cache: &mut RouteCache,
        topics: &dyn Topics,
        batch: &Batch,
        now: Timestamp,
        buf: Vec<u8>,
    ) -> Outgoing {
        let Batch { events, buf: lines, common, .. } = batch;
        let mut pass = self.begin(plan, target, cache, topics, (lines, common), events.len(), now, buf);
        for (at, event) in events.iter().enumerate() {
            if part.has(at, target, &EventView { event, buf: lines, common }) {
                self.add(&mut pass, event);
            }
        }
        self.finish(pass)
    }

    #[expect(clippy::too_many_arguments, reason = "what a pass begins with")]
    fn begin<'a>(
        &mut self,
        plan: &'a Plan,
        target: &'a Target,
        cache: &'a mut RouteCache,
        topics: &'a dyn Topics,
        (lines, common): (&'a [u8], &'a Arc<Common>),
        records: usize,
        now: Timestamp,
        buf: Vec<u8>,
    ) -> Pass<'a> {
        self.clear();
        if cache.common.as_ref().is_none_or(|known| !Arc::ptr_eq(known, common)) {
            *cache = RouteCache { common: Some(Arc::clone(common)), ..RouteCache::default() };
        }
        let version = topics.version();
        if cache.place.is_some_and(|(at, _)| at != version) {
            cache.place = None;
        }
        let out = Outgoing {
            buf,
            records: Vec::with_capacity(records),
            headers: Vec::new(),
            shares: Vec::new(),
            counts: Counts::default(),
        };
        Pass { plan, target, cache, topics, version, buf: lines, common, now, shared_key: None, out }
    }

    /// Makes the event's record.
    fn add(&mut self, pass: &mut Pass<'_>, event: &Event) {
        let view = EventView { event, buf: pass.buf, common: pass.common };
        let routed = self.route(pass, &view);
        if routed.fell_back {
            pass.out.counts.fallback_records += 1;
            // Another target may know a topic for it.
            let mut event = event.clone();
            event.add_tag(FALLBACK_TAG, pass.common);
            self.record(pass.target, &EventView { event: &event, ..view }, routed, pass.now, &mut pass.out);
        } else {
            self.record(pass.target, &view, routed, pass.now, &mut pass.out);
        }
    }

    fn finish(&mut self, pass: Pass<'_>) -> Outgoing {
        let mut out = pass.out;
        out.counts.encoded_bytes = self.shares.iter().map(|share| share.payload_bytes).sum();
        self.group(&mut out);
        out
    }

    fn clear(&mut self) {
        self.shares.clear();
        self.counts.clear();
        self.share_of.clear();
        self.found.clear();
    }

    fn route(&mut self, pass: &mut Pass<'_>, view: &EventView<'_>) -> Routed {
        let Pass { plan, target, cache, topics, version, shared_key, out, .. } = pass;
        let (event, topics, version) = (view.event, *topics, *version);
        // What a processor says goes first; it differs from event to event, so nothing of it is kept for the source.
        let routes = event.routes();
        let routed_topic = routes.iter().rev().find_map(|route| route.topic.as_ref());
        let routed_key = routes.iter().rev().find_map(|route| route.key.as_ref());
        let topic_is_shared =
            routed_topic.is_none() && target.topic.depends_only_on_common() && target.topic.is_shared(event);
        let legal = match cache.topic.as_ref().filter(|_| topic_is_shared) {
            Some(topic) => Some(Arc::clone(topic)),
            None => self.topic(routed_topic.unwrap_or(&target.topic), topics, view),
        };
        if topic_is_shared && cache.topic.is_none() {
            cache.topic.clone_from(&legal);
        }
        let fell_back = legal.is_none();
        let topic = legal.unwrap_or_else(|| Arc::clone(&plan.fallback_topic));
        let key_is_shared = routed_key.is_none()
            && target.key.as_ref().is_none_or(|key| key.depends_only_on_common() && key.is_shared(event));
        let key = if key_is_shared {
            shared_key
                .get_or_insert_with(|| {
                    let key = cache.key.get_or_insert_with(|| self.key(target.key.as_ref(), view));
                    key.as_ref().map(|key| append(&mut out.buf, key))
                })
                .clone()
        } else {
            self.key(routed_key.or(target.key.as_ref()), view).map(|key| append(&mut out.buf, &key))
        };
        let find = |key: &Option<Range<u32>>| match (topics.partitions(&topic), key) {
            (None, _) => Place::Unknown,
            (Some(_), None) => Place::Any,
            (Some(count), Some(key)) => {
                let key = &out.buf[key.start as usize..key.end as usize];
                Place::At(i32::try_from(route::partition(key, count)).unwrap_or(i32::MAX))
            }
        };
        let place = if topic_is_shared && key_is_shared && !fell_back {
            cache.place.get_or_insert_with(|| (version, find(&key))).1
        } else {
            find(&key)
        };
        Routed { topic, fell_back, place, key }
    }

    /// The topic, if it can be rendered, is legal, and is known or one for which there is room.
    fn topic(&mut self, template: &Template, topics: &dyn Topics, view: &EventView<'_>) -> Option<Arc<str>> {
        self.text.clear();
        template.render(view, &mut self.text).ok()?;
        if !route::legal_topic(&self.text) {
            return None;
        }
        let name = std::str::from_utf8(&self.text).ok()?;
        if let Some(share) = self.shares.iter().find(|share| &*share.topic == name) {
            return Some(Arc::clone(&share.topic));
        }
        (topics.partitions(name).is_some() || topics.has_room()).then(|| Arc::from(name))
    }

    fn key(&mut self, template: Option<&Template>, view: &EventView<'_>) -> Option<Vec<u8>> {
        self.text.clear();
        template?.render(view, &mut self.text).ok()?;
        Some(self.text.clone())
    }

    fn record(&mut self, target: &Target, view: &EventView<'_>, routed: Routed, now: Timestamp, out: &mut Outgoing) {
        let key_len = routed.key.as_ref().map_or(0, |key| key.end - key.start);
        let mut headers = Vec::new();
        let mut headers_len = 0;
        let routes = view.event.routes();
        let has = |routes: &[Arc<RouteTo>], name: &Arc<str>| {
            routes.iter().any(|route| route.headers.iter().any(|(one, _)| one == name))
        };
        let own = target.headers.iter().filter(|(name, _)| !has(routes, name));
        let theirs = routes
            .iter()
            .enumerate()
            .flat_map(|(at, route)| route.headers.iter().filter(move |(name, _)| !has(&routes[at + 1..], name)));
        for (name, template) in own.chain(theirs) {
            self.text.clear();
            if template.render(view, &mut self.text).is_ok() {
                let value = append(&mut out.buf, &self.text);
                headers_len += name.len() + self.text.len();
                headers.push(Header { name: Arc::clone(name), value });
            }
        }
        if let Some(processor) = view.event.failed() {
            let name = Arc::clone(self.names.entry(FAILED_HEADER).or_insert_with(|| Arc::from(FAILED_HEADER)));
            headers.push(Header { name, value: append(&mut out.buf, processor.as_bytes()) });
        }
        let value_start = position(&out.buf);
        let room = target.record_bytes_max.saturating_sub(key_len as usize + headers_len);
        let fit = encode::encode_within(target.codec, view, room, &mut out.buf);
        match fit {
            Fit::Whole => {}
            Fit::Cut => out.counts.cut_records += 1,
            // The producer refuses it by its size, and the dead letter gets it.
            Fit::TooLarge => encode::encode(target.codec, view, &mut out.buf),
        }
        let value_len = position(&out.buf) - value_start;
        if target.codec == Codec::Raw {
            let names = &mut self.names;
            encode::identity_headers(view, fit, &mut out.buf, |name, range| {
                let name = Arc::clone(names.entry(name).or_insert_with(|| Arc::from(name)));
                headers.push(Header { name, value: narrow(range) });
            });
        }
        let record = Record {
            value_start,
            value_len,
            key_start: routed.key.as_ref().map_or(NONE, |key| key.start),
            key_len,
            timestamp_ms: create_time(view.event.timestamp, now).as_millis(),
            headers: if headers.is_empty() { NONE } else { u32::try_from(out.headers.len()).unwrap_or(NONE) },
            offset: view.event.offset,
        };
        let bytes = u64::from(value_len) + u64::from(key_len) + headers.iter().map(Header::bytes).sum::<usize>() as u64;
        if !headers.is_empty() {
            out.headers.push(headers);
        }
        let share = self.share(&routed.topic, routed.place, out.records.len());
        self.shares[share as usize].payload_bytes += bytes;
        self.shares[share as usize].bytes += bytes + RECORD_BYTES;
        self.counts[share as usize] += 1;
        if self.shares.len() > 1 {
            self.share_of.push(share);
        }
        out.records.push(record);
    }

    /// The number of the share for a topic and place; `before`: the records so far.
    fn share(&mut self, topic: &Arc<str>, place: Place, before: usize) -> u32 {
        if let [only] = &self.shares[..]
            && only.place == place
            && (Arc::ptr_eq(&only.topic, topic) || only.topic == *topic)
        {
            return 0;
        }
        let next = u32::try_from(self.shares.len()).expect("a batch has fewer than 2^32 records");
        let share = *self.found.entry((Arc::clone(topic), place)).or_insert(next);
        if share == next {
            if next == 1 {
                self.share_of.clear();
                self.share_of.resize(before, 0);
            }
            self.shares.push(Share { topic: Arc::clone(topic), place, records: 0..0, payload_bytes: 0, bytes: 0 });
            self.counts.push(0);
        }
        share
    }

    /// Puts the records into the order of their shares, source order within each.
    fn group(&mut self, out: &mut Outgoing) {
        let mut start = 0;
        for (share, count) in self.shares.iter_mut().zip(&self.counts) {
            share.records = start..start + count;
            start += count;
        }
        if self.shares.len() > 1 {
            let mut next: Vec<u32> = self.shares.iter().map(|share| share.records.start).collect();
            let mut sorted = out.records.clone();
            for (record, share) in out.records.iter().zip(&self.share_of) {
                let at = &mut next[*share as usize];
                sorted[*at as usize] = *record;
                *at += 1;
            }
            out.records = sorted;
        }
        out.shares = std::mem::take(&mut self.shares);
    }
}

/// Runs the processors on an event: whether it is kept.
fn keeps(plan: &Plan, event: &mut Event, buf: &[u8], common: &Common, read_at: Timestamp, tally: &mut Tally) -> bool {
    if plan.chain.is_empty() {
        return true;
    }
    match plan.chain.run(&mut Work { event, buf, common, read_at, tally }) {
        Outcome::Keep => true,
        Outcome::DeadLetter(processor) => {
            event.set_failed(processor);
            true
        }
        Outcome::Drop(reason) => {
            Tally::count(&mut tally.dropped, reason);
            false
        }
    }
}

/// The record's CreateTime: the event's time, unless Kafka would refuse or expire it.
fn create_time(event: Timestamp, read: Timestamp) -> Timestamp {
    let before = read.0.saturating_sub(i64::try_from(CREATE_TIME_BEFORE.as_nanos()).unwrap_or(i64::MAX));
    let after = read.0.saturating_add(i64::try_from(CREATE_TIME_AFTER.as_nanos()).unwrap_or(i64::MAX));
    if (before..=after).contains(&event.0) { event } else { read }
}

fn append(buf: &mut Vec<u8>, bytes: &[u8]) -> Range<u32> {
    let start = position(buf);
    buf.extend_from_slice(bytes);
    start..position(buf)
}

fn position(buf: &[u8]) -> u32 {
    u32::try_from(buf.len()).expect("a batch is far below 4 GiB: a quantum is 256 KiB, or one line")
}

fn narrow(range: Range<usize>) -> Range<u32> {
    let narrow = |at| u32::try_from(at).expect("a batch is far below 4 GiB");
    narrow(range.start)..narrow(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Position;
    use crate::budget::Budget;
    use crate::decode::{Charset, LineFilter, LineOptions, split_lines};
    use crate::event::{Flags, Object, Shared, SharedOptions};
    use crate::process::condition::Condition;
    use crate::process::{Chain, Route, Step};

    /// Topics with these partition counts; `room`: whether others may be used.
    struct Known {
        counts: Vec<(&'static str, u32)>,
        room: bool,
    }

    impl Topics for Known {
        fn partitions(&self, topic: &str) -> Option<u32> {
            self.counts.iter().find(|(name, _)| *name == topic).map(|(_, count)| *count)
        }

        fn version(&self) -> u64 {
            self.counts.len() as u64
        }

        fn has_room(&self) -> bool {
            self.room
        }
    }

    fn plan(topic: &str, key: Option<&str>) -> Plan {
        let template = |text: &str| Template::parse(text).expect("a template");
        let route = crate::config::checked::Route {
            output: "main".to_owned(),
            required: true,
            when: None,
            record_bytes_max: 1_000_000,
            topic: template(topic),
            key: key.map(template),
            headers: vec![("env".to_owned(), template("test"))],
            codec: Codec::Json,
        };
        Plan::new("in", Chain::new(Vec::new()), vec![Target::new(route)], "logs.fallback")
    }

    fn encode(plan: &Plan, topics: &Known, text: &str) -> Outgoing {
        let filter = LineFilter::default();
        let options = LineOptions { max_line_bytes: 1_000, events_max: 1_000, filter: &filter, charset: Charset::Utf8 };
        let now = Timestamp(1_800_000_000_000_000_000);
        let shared = Shared::new(SharedOptions {
            host_name: "h".into(),
            agent_version: "0".into(),
            input_name: "in".into(),
            fields: Object::default(),
            fields_under_root: false,
            tags: Vec::new(),
            host_id: "id".into(),
        });
        let mut events = Vec::new();
        split_lines(text.as_bytes(), 0, &options, now, &mut events);
        let mut batch = Batch {
            buf: text.as_bytes().to_vec(),
            events,
            common: Arc::new(shared.file("/a.log", "f")),
            resume: Position::default(),
            permit: Budget::new(1).try_take(0).expect("nothing is asked for"),
        };
        Encoder::default().encode(plan, &mut RouteCache::default(), topics, &mut batch, now, Vec::new())
    }

    fn share(outgoing: &Outgoing, at: usize) -> (String, Place, Vec<String>) {
        let share = &outgoing.shares[at];
        let lines = share.records.clone().map(|record| {
            let value: serde_json::Value =
                serde_json::from_slice(outgoing.records[record as usize].value_in(&outgoing.buf)).expect("JSON");
            value["message"].as_str().expect("text").to_owned()
        });
        (share.topic.to_string(), share.place, lines.collect())
    }

    #[test]
    fn records_are_grouped_by_topic_and_place_in_source_order() {
        let topics = Known { counts: vec![("t-a", 1), ("t-b", 1)], room: true };
        let outgoing = encode(&plan("t-%{[message]}", None), &topics, "a\nb\na\nc\nb\na\n");
        assert_eq!(outgoing.shares.len(), 3);
        assert_eq!(share(&outgoing, 0), ("t-a".into(), Place::Any, vec!["a".into(); 3]));
        assert_eq!(share(&outgoing, 1), ("t-b".into(), Place::Any, vec!["b".into(); 2]));
        assert_eq!(share(&outgoing, 2), ("t-c".into(), Place::Unknown, vec!["c".into()]));
        assert_eq!(outgoing.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 4, 10, 2, 8, 6]);
        assert_eq!(outgoing.counts.read_records, 6);
    }

    /// Scenario: an output had a record that ended when nothing came; then a line came that goes on in it, and all is read again for
    /// another output. Guarantee: what it has it does not get again, but the record with the line that it does not have.
    #[test]
    fn an_output_gets_what_it_does_not_have_all_of() {
        let plan = plan("t", None);
        let common = Shared::new(SharedOptions::default()).file("/a.log", "f");
        let has = |offset: u64, length: u64, end: u64| {
            let mut event = Event::line(0..0, offset, length, 0, Timestamp(0), Flags::NONE);
            event.set_end(end);
            let mut routed = vec![false];
            let view = EventView { event: &event, buf: b"", common: &common };
            Part { from: 20, routed: &mut routed }.has(0, &plan.targets[0], &view)
        };
        assert_eq!([has(0, 10, 10), has(10, 10, 20), has(20, 5, 25)], [false, false, true]);
        assert_eq!([has(10, 15, 25), has(0, 15, 30), has(0, 5, 20)], [true, true, false]);
    }

    #[test]
    fn a_key_decides_the_partition() {
        let topics = Known { counts: vec![("t", 5)], room: true };
        let outgoing = encode(&plan("t", Some("%{[message]}")), &topics, "x\ny\nx\n");
        for share in &outgoing.shares {
            for record in share.records.clone() {
                let key = outgoing.records[record as usize].key_in(&outgoing.buf).expect("it has one");
                let expected = i32::try_from(route::partition(key, 5)).expect("small");
                assert_eq!(share.place, Place::At(expected));
            }
        }
        let header = &outgoing.records[0].headers_in(&outgoing.headers)[0];
        assert_eq!((&*header.name, header.value_in(&outgoing.buf)), ("env", &b"test"[..]));
    }

    fn to(condition: &str, topic: Option<&str>, key: Option<&str>, headers: &[(&str, &str)]) -> Step {
        let template = |text: &str| Template::parse(text).expect("a template");
        let headers = headers.iter().map(|(name, value)| (Arc::from(*name), template(value))).collect();
        let route = Route { to: Arc::new(RouteTo { topic: topic.map(template), key: key.map(template), headers }) };
        Step { condition: Some(Condition::parse(condition).expect("a condition")), ..Step::new(route, Vec::new()) }
    }

    /// Scenario: processors send some of the lines elsewhere, some of them twice, others not at all.
    /// Guarantee: what a processor says goes before what the target says, the later one before the earlier, each for itself; lines of
    /// which nothing is said go where they went, with the key that was kept for their source.
    #[test]
    fn a_processor_decides_before_the_target() {
        let topics = Known { counts: vec![("t", 7), ("parsed", 7)], room: true };
        let mut plan = plan("t", Some("%{[host.name]}"));
        plan.chain = Chain::new(vec![
            to("message =~ 'p'", Some("parsed"), Some("%{[message]}"), &[("env", "x"), ("n", "1")]),
            to("message == 'p2'", None, Some("two"), &[("n", "2")]),
            to("message == 'bad'", Some("no/topic"), None, &[]),
        ]);
        let outgoing = encode(&plan, &topics, "a\np1\nb\np2\nbad\nc\n");
        let mut seen = Vec::new();
        for share in &outgoing.shares {
            for record in share.records.clone() {
                let record = &outgoing.records[record as usize];
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let key = record.key_in(&outgoing.buf).expect("all have one");
                let partition = i32::try_from(route::partition(key, 7)).expect("small");
                if &*share.topic != "logs.fallback" {
                    assert_eq!(share.place, Place::At(partition), "{}", text(key));
                }
                let headers = record.headers_in(&outgoing.headers).iter();
                let headers: Vec<String> =
                    headers.map(|header| format!("{}={}", header.name, text(header.value_in(&outgoing.buf)))).collect();
                seen.push((record.offset, share.topic.to_string(), text(key), headers.join(" ")));
            }
        }
        seen.sort();
        let expect =
            |offset: u64, topic: &str, key: &str, headers: &str| (offset, topic.into(), key.into(), headers.into());
        assert_eq!(
            seen,
            [
                expect(0, "t", "h", "env=test"),
                expect(2, "parsed", "p1", "env=x n=1"),
                expect(5, "t", "h", "env=test"),
                expect(7, "parsed", "two", "env=x n=2"),
                expect(10, "logs.fallback", "h", "env=test"),
                expect(14, "t", "h", "env=test"),
            ]
        );
        assert_eq!(outgoing.counts.fallback_records, 1);
    }

    #[test]
    fn what_has_no_legal_topic_goes_to_the_fallback_topic_tagged() {
        let topics = Known { counts: vec![("logs.fallback", 1)], room: false };
        for topic in ["%{[no.such.field]}", "not/legal", "one-too-many"] {
            let outgoing = encode(&plan(topic, None), &topics, "line\n");
            assert_eq!(share(&outgoing, 0), ("logs.fallback".into(), Place::Any, vec!["line".into()]), "{topic}");
            let value = String::from_utf8_lossy(outgoing.records[0].value_in(&outgoing.buf)).into_owned();
            assert!(value.contains(FALLBACK_TAG), "{value}");
            assert_eq!(outgoing.counts.fallback_records, 1);
        }
    }

    #[test]
    fn create_time_is_what_kafka_takes() {
        let hour = 3_600_000_000_000;
        let read = Timestamp(1_800_000_000_000_000_000);
        let at = |offset| create_time(Timestamp(read.0 + offset), read).0 - read.0;
        assert_eq!(at(-24 * hour), -24 * hour);
        assert_eq!(at(-24 * hour - 1), 0, "it would expire on arrival");
        assert_eq!(at(hour / 12), hour / 12);
        assert_eq!(at(hour / 12 + 1), 0, "Kafka refuses what is too far ahead, and its whole batch");
    }
}
