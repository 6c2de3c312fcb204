//! Processors (P): what is done to an event between decoding and encoding. One file a processor.
//!
//! A processor is made once, from checked options, and is then shared by all workers. What it needs beside its options comes with
//! the [`Work`]. It has no state that an event changes: what it counts or takes is noted in the [`Tally`], and takes effect when
//! deliver has taken the batch (a cache of what it would find again is no such state). One that can't do its work says [`Failed`]
//! and leaves the event as it was, as far as that makes sense for it; the [`Step`] around it knows what the user wants then. Each
//! step may have a condition ([`condition`]).

pub mod condition;

mod add_fields;
mod add_tags;
mod capitalize;
mod cloud;
mod convert;
mod copy;
mod csv;
mod date;
mod dissect;
mod drop_event;
mod drop_fields;
mod fingerprint;
mod geoip;
pub mod grok;
mod gsub;
mod host;
mod join;
mod json;
mod keep;
mod keyed;
mod kv;
mod logfmt;
mod lowercase;
mod merge;
#[cfg(test)]
pub(crate) mod mmdb;
mod parsed;
mod rate_limit;
mod redact;
mod regex;
mod remove_tags;
mod rename;
mod route;
mod sample;
mod set;
mod split;
mod strip;
mod texts;
mod truncate;
mod uppercase;
mod user_agent;
mod when;

pub use add_fields::AddFields;
pub use add_tags::AddTags;
pub use capitalize::Capitalize;
pub use cloud::{Cloud, CloudFacts, CloudQuery, Provider};
pub use convert::{Convert, Type};
pub use copy::Copy;
pub use csv::{ColumnType, Csv};
pub use date::{Date, DateFormat, LastRead, Locale, Zone};
pub use dissect::{Dissect, Tokenizer, Trim};
pub use drop_event::DropEvent;
pub use drop_fields::DropFields;
pub use fingerprint::{Encoding, Fingerprint, Method};
pub use geoip::{Database, GeoField, GeoIp, Stamp};
pub use gsub::{Gsub, Substitution};
pub use host::{Host, HostFacts};
pub use join::Join;
pub use json::Json;
pub use keep::Keep;
pub use keyed::Keyed;
pub use kv::{Chars, Kv, Separator, Transform};
pub use logfmt::Logfmt;
pub use lowercase::Lowercase;
pub use merge::Merge;
pub use parsed::Place;
pub use rate_limit::{Key, Rate, RateLimit};
pub use redact::{Action, Finder, Redact};
pub use regex::{Pattern, Regex};
pub use remove_tags::RemoveTags;
pub use rename::Rename;
pub use route::Route;
pub use sample::Sample;
pub use set::Set;
pub use split::Split;
pub use strip::Strip;
pub use truncate::{Limit, Truncate};
pub use uppercase::Uppercase;
pub use user_agent::{AgentFacts, Agents, AskAgents, UserAgent};
pub use when::When;

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use crate::event::{Common, Event, EventView, FieldPath, RouteTo, SetError, Timestamp, Value, ValueRef};

/// What a processor works on.
pub struct Work<'a> {
    pub event: &'a mut Event,
    /// The bytes that the event's line is a slice of.
    pub buf: &'a [u8],
    pub common: &'a Common,
    /// When the record was read: what stands in for a time that its text leaves open.
    pub read_at: Timestamp,
    pub tally: &'a mut Tally,
}

/// A processor, ready to run.
pub trait Process: Debug + Send + Sync {
    /// Its key in the config.
    fn name(&self) -> &'static str;

    /// Does it to one event.
    ///
    /// # Errors
    /// If it can't be done. It is counted, and the step's `on_failure` says what becomes of the event.
    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed>;

    /// Where it may send events.
    fn routes(&self) -> Vec<Arc<RouteTo>> {
        Vec::new()
    }

    /// The databases that it looks things up in, to be replaced when their files are.
    fn databases(&self) -> Vec<Arc<Database>> {
        Vec::new()
    }
}

/// A processor could not do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Keep,
    /// It becomes no record. Why, as it is counted.
    Drop(&'static str),
    /// It goes to the dead letter as it is now, since the processor of this name failed.
    DeadLetter(&'static str),
}

/// What becomes of an event for which a processor failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is tagged and goes on.
    #[default]
    Tag,
    /// It is dropped, and counted as [`Tally::FAILED`].
    Drop,
    /// It is tagged and goes to the dead letter of each output that it is for.
    DeadLetter,
}

/// One processor of a chain, with what the config says around it.
#[derive(Clone, Debug)]
pub struct Step {
    pub condition: Option<condition::Condition>,
    pub processor: Arc<dyn Process>,
    pub on_failure: OnFailure,
    /// The tags of a failure.
    pub tags: Vec<String>,
}

/// What is counted while the events of a batch are processed; it counts once deliver has taken the batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Failures, by the processor's name.
    pub failed: Vec<(&'static str, u64)>,
    /// What is taken of limits.
    spending: rate_limit::Spending,
}

/// The processors of an input, in order, ready to run.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    steps: Vec<Step>,
}

impl Step {
    /// Does `processor` to every event; a failure is tagged with these.
    pub fn new(processor: impl Process + 'static, tags: Vec<String>) -> Self {
        Self { condition: None, processor: Arc::new(processor), on_failure: OnFailure::Tag, tags }
    }
}

impl Tally {
    /// The reason of [`OnFailure::Drop`].
    pub const FAILED: &'static str = "processor_failed";

    /// Counts one more under `name`.
    pub fn count(counts: &mut Vec<(&'static str, u64)>, name: &'static str) {
        add_to(counts, name, 1);
    }

    /// Adds what `other` counted, whose batch deliver has taken: what it took of limits is spent.
    pub fn add(&mut self, other: &Tally) {
        for (mine, theirs) in [(&mut self.dropped, &other.dropped), (&mut self.failed, &other.failed)] {
            theirs.iter().for_each(|(name, count)| add_to(mine, name, *count));
        }
        other.spending.take_effect();
    }
}

fn add_to(counts: &mut Vec<(&'static str, u64)>, name: &'static str, more: u64) {
    match counts.iter_mut().find(|(known, _)| *known == name) {
        Some((_, count)) => *count += more,
        None => counts.push((name, more)),
    }
}

impl Work<'_> {
    /// The event as conditions, templates and codecs see it.
    pub fn view(&self) -> EventView<'_> {
        EventView { event: self.event, buf: self.buf, common: self.common }
    }

    /// The value at `path`.
    pub fn get(&self, path: &FieldPath) -> Option<ValueRef<'_>> {
        self.view().get(path)
    }

    /// The event has the field, and not just as the agent itself added it (`host`, `agent`, `input`, `log.offset`, …, the time of
    /// reading as `@timestamp`): what a line says of that name takes its place.
    pub fn has(&self, path: &FieldPath) -> bool {
        let view = self.view();
        match view.get(path) {
            None => false,
            Some(ValueRef::Timestamp(time)) => time != self.read_at,
            Some(there) => !is_agents(&view, path, &there),
        }
    }

    /// Sets the field at `path`; objects on the way are made.
    ///
    /// # Errors
    /// As [`Event::set`].
    pub fn set(&mut self, path: &FieldPath, value: impl Into<Value>) -> Result<(), SetError> {
        self.event.set(path, value.into(), self.buf, self.common)
    }

    /// Takes the field at `path` out.
    pub fn take(&mut self, path: &FieldPath) -> Option<Value> {
        self.event.take(path, self.buf, self.common)
    }

    /// Removes the field at `path`. `@timestamp` stays.
    pub fn remove(&mut self, path: &FieldPath) -> bool {
        self.event.remove(path, self.buf, self.common)
    }

    /// Adds a tag, once.
    pub fn tag(&mut self, tag: &str) {
        self.event.add_tag(tag, self.common);
    }
}

/// The value is what the agent itself added at `path`.
fn is_agents(view: &EventView<'_>, path: &FieldPath, value: &ValueRef<'_>) -> bool {
    // Apache's `agent`, in each line.
    if path.segments().len() == 1 && view.event.is_shared_at(path) && view.common.is_agents_own(path.root()) {
        return true;
    }
    agents(view, path).is_some_and(|added| ValueRef::from(&*added) == *value)
}

/// What the agent itself added at `path`.
fn agents<'a>(view: &EventView<'a>, path: &FieldPath) -> Option<Cow<'a, Value>> {
    if !matches!(path.root(), "log" | "event") {
        return view.common.agent.lookup(path).map(Cow::Borrowed);
    }
    let mut agent = view.common.agent.clone();
    agent.merge(view.intrinsic());
    agent.lookup(path).cloned().map(Cow::Owned)
}

impl From<SetError> for Failed {
    fn from(_: SetError) -> Self {
        Self
    }
}

impl Chain {
    /// A chain of these steps.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// Nothing is done to events.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// This chain, then `next` (an input's own processors, then those for every input).
    #[must_use]
    pub fn then(mut self, next: &Chain) -> Self {
        self.steps.extend(next.steps.iter().cloned());
        self
    }

    /// Where its processors may send events.
    pub fn routes(&self) -> Vec<Arc<RouteTo>> {
        self.steps.iter().flat_map(|step| step.processor.routes()).collect()
    }

    /// The databases that its processors look things up in.
    pub fn databases(&self) -> Vec<Arc<Database>> {
        self.steps.iter().flat_map(|step| step.processor.databases()).collect()
    }

    /// Runs the event through the steps, up to the one that drops it or for which it goes to the dead letter.
    pub fn run(&self, work: &mut Work<'_>) -> Outcome {
        for step in &self.steps {
            if step.condition.as_ref().is_some_and(|condition| !condition.holds(&work.view())) {
                continue;
            }
            match step.processor.run(work) {
                Ok(Outcome::Keep) => {}
                Ok(ended) => return ended,
                Err(Failed) => {
                    Tally::count(&mut work.tally.failed, step.processor.name());
                    match step.on_failure {
                        OnFailure::Tag => step.tags.iter().for_each(|tag| work.tag(tag)),
                        OnFailure::Drop => return Outcome::Drop(Tally::FAILED),
                        OnFailure::DeadLetter => {
                            step.tags.iter().for_each(|tag| work.tag(tag));
                            return Outcome::DeadLetter(step.processor.name());
                        }
                    }
                }
            }
        }
        Outcome::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Flags, Object, Shared, SharedOptions, Template};
    use proptest::prelude::*;
    use serde_json::json;

    pub(super) const BUF: &[u8] = b"hello";

    pub(super) fn object(value: serde_json::Value) -> Object {
        let serde_json::Value::Object(map) = value else { panic!("{value} is no object") };
        Object::from_json(map)
    }

    pub(super) fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).expect("a good path")
    }

    pub(super) fn common() -> Common {
        Shared::new(SharedOptions {
            host_name: "web-1".to_owned(),
            fields: object(json!({"service": "shop", "team": {"name": "ops"}})),
            tags: vec!["a".to_owned()],
            ..SharedOptions::default()
        })
        .file("/var/log/x.log", "f00d")
    }

    pub(super) fn event() -> Event {
        Event::line(0..5, 3, 6, 1, Timestamp(0), Flags::NONE)
    }

    pub(super) fn step(processor: impl Process + 'static) -> Step {
        let tags = vec![format!("_{}_failed", processor.name())];
        Step::new(processor, tags)
    }

    /// What becomes of an event that is a line of [`BUF`], and what was counted.
    pub(super) fn run(steps: Vec<Step>, event: &mut Event, common: &Common) -> (Outcome, Tally) {
        let mut tally = Tally::default();
        let mut work = Work { event, buf: BUF, common, read_at: Timestamp(0), tally: &mut tally };
        let outcome = Chain::new(steps).run(&mut work);
        (outcome, tally)
    }

    /// The fields of [`common`] but those that every event has alike, and `message`; `fields` in the place of those named so.
    pub(super) fn plain(message: impl Into<serde_json::Value>, fields: serde_json::Value) -> serde_json::Value {
        let mut all = json!({
            "message": message.into(), "host": {"name": "web-1"},
            "fields": {"service": "shop", "team": {"name": "ops"}},
        });
        let serde_json::Value::Object(fields) = fields else { panic!("{fields} is no object") };
        fields.into_iter().for_each(|(key, value)| all[key] = value);
        all
    }

    /// What a processor makes of an event with this message: as [`plain`] has it, with the tags that it got.
    pub(super) fn fields_of(processor: impl Process + 'static, message: serde_json::Value) -> serde_json::Value {
        fields_of_event(processor, json!({ "message": message }))
    }

    pub(super) fn fields_of_event(processor: impl Process + 'static, event: serde_json::Value) -> serde_json::Value {
        let common = Shared::new(SharedOptions {
            host_name: "web-1".to_owned(),
            fields: object(json!({"service": "shop", "team": {"name": "ops"}})),
            ..SharedOptions::default()
        })
        .stream("x");
        let mut event = Event::from_object(object(event), Timestamp(0));
        assert_eq!(run(vec![step(processor)], &mut event, &common).0, Outcome::Keep);
        let mut seen = EventView { event: &event, buf: BUF, common: &common }.to_object();
        for root in ["@timestamp", "agent", "input", "event", "log"] {
            seen.remove(root);
        }
        serde_json::Value::Object(seen.to_json())
    }

    /// The field at `path` of an event with these fields, once it is processed.
    pub(super) fn taken(
        processor: impl Process + 'static,
        event: serde_json::Value,
        path: &FieldPath,
    ) -> Option<serde_json::Value> {
        let common = common();
        let mut event = Event::from_object(object(event), Timestamp(0));
        run(vec![step(processor)], &mut event, &common);
        let view = EventView { event: &event, buf: BUF, common: &common };
        view.get(path).map(|found| found.into_value().to_json())
    }

    /// What a processor makes of the line `hello`, without what every event has alike.
    pub(super) fn check(processor: impl Process + 'static, expect: serde_json::Value) {
        let common = common();
        let mut event = event();
        assert_eq!(run(vec![step(processor)], &mut event, &common).0, Outcome::Keep);
        let mut seen = EventView { event: &event, buf: BUF, common: &common }.to_object();
        for root in ["@timestamp", "agent", "input", "event"] {
            seen.remove(root);
        }
        assert_eq!(serde_json::Value::Object(seen.to_json()), expect);
    }

    /// What a processor makes of an event with these fields; of what every event has alike only tags are looked at, if
    /// there are others than those of the input.
    pub(super) fn check_fields(
        processor: impl Process + 'static,
        fields: serde_json::Value,
        expect: serde_json::Value,
    ) {
        let common = common();
        let mut event = event();
        for (name, value) in object(fields) {
            event.set(&path(&name), value, BUF, &common).expect("sets");
        }
        assert_eq!(run(vec![step(processor)], &mut event, &common).0, Outcome::Keep);
        let mut seen = EventView { event: &event, buf: BUF, common: &common }.to_object();
        for root in ["@timestamp", "agent", "input", "event", "log", "host", "fields", "message"] {
            seen.remove(root);
        }
        if seen.get("tags") == Some(&Value::Array(vec!["a".into()])) {
            seen.remove("tags");
        }
        assert_eq!(serde_json::Value::Object(seen.to_json()), expect);
    }

    /// Scenario: processors that make a field of itself several times, each one 20 times over. Guarantee: a field does not grow
    /// beyond its bound; what would fails, and stays as it was.
    #[test]
    fn no_field_grows_without_bound() {
        let doubled = object(json!({"t": "%{[t]}%{[t]}"}));
        let set = || step(Set::new(doubled.clone(), true).expect("good templates"));
        let copy = |to: &str| step(Copy { fields: vec![(path("o"), path(to))], overwrite: true });
        let merge = || step(Merge { fields: vec![(path("l"), path("l"))] });
        let common = common();
        let fields = object(json!({"t": "x".repeat(1 << 14), "l": vec!["y"; 1000], "o": {"z": "z"}}));
        let mut event = Event::from_object(fields, Timestamp(0));
        for _ in 0..20 {
            run(vec![set(), copy("o.a"), copy("o.b"), merge()], &mut event, &common);
            let view = EventView { event: &event, buf: BUF, common: &common };
            for field in ["t", "l", "o"] {
                let value = view.get(&path(field)).expect("it stays").into_value();
                // An object's own field is bounded, not what it is put beside.
                assert!(value.is_within(4 * texts::MADE_BYTES_MAX), "{field}");
            }
        }
        let view = EventView { event: &event, buf: BUF, common: &common };
        let Some(ValueRef::Array(tags)) = view.get(&path("tags")) else { panic!("no tags") };
        for tag in ["_set_failed", "_copy_failed", "_merge_failed"] {
            assert!(tags.contains(&tag.into()), "{tag}");
        }
        let separators = step(Join { fields: vec![(path("l"), "s".repeat(1000))] });
        let (_, tally) = run(vec![separators], &mut event, &common);
        assert_eq!(tally.failed, [("join", 1)]);
    }

    #[test]
    fn conditions_guard_steps_and_a_dropped_event_stops() {
        let when = |text: &str, step: Step| {
            let condition = condition::Condition::parse(text).expect("a good condition");
            Step { condition: Some(condition), ..step }
        };
        let add = |value: i64| step(AddFields::new(None, Object::from_iter([("n", Value::Int(value))])));
        let common = common();
        let mut event = event();
        let steps = vec![when("message == 'other'", add(1)), when("message == 'hello'", add(2))];
        assert_eq!(run(steps, &mut event, &common).0, Outcome::Keep);
        let n = |event: &Event| {
            let value = EventView { event, buf: BUF, common: &common }.get(&path("n"));
            value.map(crate::event::ValueRef::into_value)
        };
        assert_eq!(n(&event), Some(Value::Int(2)));
        let steps = vec![when("n == 2", step(DropEvent)), add(3)];
        assert_eq!(run(steps, &mut event, &common).0, Outcome::Drop("drop_event"));
        assert_eq!(n(&event), Some(Value::Int(2)), "what follows a drop does not run");
    }

    #[test]
    fn a_failure_is_counted_and_the_user_says_what_becomes_of_the_event() {
        let fails = || step(Rename { fields: vec![(path("message"), path("fields.service"))], overwrite: false });
        let common = common();
        let mut tagged = event();
        let (outcome, tally) = run(vec![fails(), fails()], &mut tagged, &common);
        assert_eq!((outcome, tally.failed), (Outcome::Keep, vec![("rename", 2)]));
        let tags = EventView { event: &tagged, buf: BUF, common: &common }.get(&path("tags"));
        assert_eq!(tags.map(|tags| tags.into_value().to_json()), Some(json!(["a", "_rename_failed"])));
        let dropping = Step { on_failure: OnFailure::Drop, ..fails() };
        let (outcome, tally) = run(vec![dropping], &mut event(), &common);
        assert_eq!((outcome, tally.failed), (Outcome::Drop("processor_failed"), vec![("rename", 1)]));
    }

    /// A few roots of every kind, so that random actions meet.
    fn any_path() -> impl Strategy<Value = FieldPath> {
        let roots = ["fields", "host", "log", "event", "tags", "message", "own", "@metadata", "@timestamp", "agent"];
        let below = ["", "name", "service", "file", "offset", "id", "team", "team.name", "x", "x.y"];
        (0..roots.len(), 0..below.len()).prop_map(move |(root, below_index)| {
            let text = format!("{}.{}", roots[root], below[below_index]);
            path(text.trim_end_matches('.'))
        })
    }

    fn any_processor() -> impl Strategy<Value = Step> {
        let value = prop_oneof![
            Just(json!(1)),
            Just(json!("text")),
            Just(json!({"x": 1})),
            Just(json!({"name": {"y": 2}, "x": {"y": [1, null]}})),
            Just(json!("2026-03-05T07:08:09Z")),
        ];
        prop_oneof![
            3 => (any_path(), value)
                .prop_map(|(target, value)| step(AddFields::new(Some(target), object(json!({"name": value}))))),
            3 => any_path().prop_map(|field| step(DropFields { name: "drop_fields", fields: vec![field] })),
            3 => (any_path(), any_path()).prop_map(|pair| step(Rename { fields: vec![pair], overwrite: false })),
            2 => (any_path(), any_path(), any::<bool>())
                .prop_map(|(from, to, overwrite)| step(Copy { fields: vec![(from, to)], overwrite })),
            1 => proptest::collection::vec(any_path(), 1..3).prop_map(|fields| step(Keep { fields })),
            1 => (any_path(), 0usize..8)
                .prop_map(|(field, most)| step(Truncate { fields: vec![field], limit: Limit::Bytes(most) })),
            1 => Just(step(RemoveTags::new(vec!["a".to_owned()]))),
        ]
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let plain = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            any::<i64>().prop_map(|value| json!(value)),
            any::<f64>().prop_map(|value| json!(value)),
            "\\PC{0,12}".prop_map(|value| json!(value)),
            "[-+]?[0-9_,.]{0,20}[eE]?[0-9]{0,3}".prop_map(|value| json!(value)),
        ];
        plain.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|values| json!(values)),
                proptest::collection::btree_map("[a-z.]{0,3}", inner, 0..4).prop_map(|fields| json!(fields)),
            ]
        })
    }

    /// Every processor that works on fields, on these two.
    fn all_of(field: &FieldPath, other: &FieldPath) -> Vec<Step> {
        let fields = || vec![field.clone()];
        let pairs = || vec![(field.clone(), other.clone())];
        let separated = |separator: &str| vec![(field.clone(), separator.to_owned())];
        let format = |text| DateFormat::parse(text, Locale::default()).expect("a format");
        let substitution = |pattern, to| Substitution::new(field.clone(), pattern, to).expect("an expression");
        let set = |template: String| Set::new(object(json!({other.to_string(): [template, {"x": "y"}]})), true);
        let types = [Type::Integer, Type::IntegerEu, Type::Float, Type::FloatEu, Type::String, Type::Boolean];
        let mut steps: Vec<Step> =
            types.map(|to| step(Convert { fields: vec![(field.clone(), to)] })).into_iter().collect();
        steps.extend([
            step(Date {
                field: field.clone(),
                formats: ["ISO8601", "UNIX", "UNIX_MS", "TAI64N", "yy-M-d H:m:s.SSS Z", "%c"].map(format).to_vec(),
                zone: Zone::parse(&format!("%{{[{other}]:Europe/Berlin}}")).expect("a zone"),
                target: other.clone(),
                unit_nanos: 1_000_000,
                last: LastRead::default(),
            }),
            step(Gsub { fields: vec![substitution("(.)[a-z]*", r"\1\0"), substitution("", "x")] }),
            step(Lowercase { fields: fields() }),
            step(Uppercase { fields: fields() }),
            step(Strip { fields: fields() }),
            step(Truncate { fields: fields(), limit: Limit::Bytes(3) }),
            step(Truncate { fields: fields(), limit: Limit::Characters(2) }),
            step(Split { fields: separated(",") }),
            step(Join { fields: separated("-") }),
            step(set(format!("%{{[{field}]:none}}")).expect("a template")),
            step(AddTags { tags: vec![Template::parse(&format!("%{{[{field}]}}")).expect("a template")] }),
            step(RemoveTags::new(vec!["a".to_owned()])),
            step(Copy { fields: pairs(), overwrite: true }),
            step(Rename { fields: pairs(), overwrite: false }),
            step(Keep { fields: fields() }),
            step(DropFields { name: "remove", fields: fields() }),
            step(UserAgent::new(field.clone(), Some(other), true, 10, user_agent::ask_here)),
            step(UserAgent::new(field.clone(), None, false, 10, user_agent::ask_here)),
            step(RateLimit::new(
                Rate::parse("1/d").expect("a rate"),
                1,
                Key::Fields(fields()),
                Some("_rate_limited".to_owned()),
            )),
        ]);
        steps
    }

    proptest! {
        /// Scenario: every processor, in a random order, on fields with any values.
        /// Guarantee: none panics, none drops the event, and a field that it failed for is tagged.
        #[test]
        fn no_value_makes_a_processor_panic(
            values in proptest::collection::vec((any_path(), any_value()), 0..4),
            field in any_path(), other in any_path(), seed: u64, read_at: i64,
        ) {
            let common = common();
            let mut event = event();
            for (path, value) in values {
                // Not every value can be set everywhere.
                let _ = event.set(&path, value.into(), BUF, &common);
            }
            let mut steps = all_of(&field, &other);
            let length = steps.len() as u64;
            steps.rotate_left((seed % length) as usize);
            steps.swap(0, (seed / length % length) as usize);
            let mut tally = Tally::default();
            for step in steps {
                let before = tally.failed.clone();
                let name = format!("_{}_failed", step.processor.name());
                let read_at = Timestamp(read_at);
                let mut work = Work { event: &mut event, buf: BUF, common: &common, read_at, tally: &mut tally };
                prop_assert_eq!(Chain::new(vec![step]).run(&mut work), Outcome::Keep);
                let tags = work.get(&path("tags")).map(|tags| tags.into_value().to_json().to_string());
                prop_assert!(before == tally.failed || tags.is_some_and(|tags| tags.contains(&name)), "{}", name);
                EventView { event: &event, buf: BUF, common: &common }.to_object();
            }
        }

        /// Scenario: random processors on an event that starts as a line, and on one that owns its full tree from the
        /// start. Guarantee: overlay and tree show the same event at every step, field by field.
        #[test]
        fn an_overlay_shows_what_a_tree_would(
            processors in proptest::collection::vec(any_processor(), 1..8), looks in proptest::collection::vec(any_path(), 8),
        ) {
            let common = common();
            let mut overlaid = event();
            let mut tree = event();
            // Removing and setting a shared field again detaches.
            let host = path("host.name");
            let name = tree.take(&host, BUF, &common).expect("shared");
            prop_assert!(tree.is_detached());
            tree.set(&host, name, BUF, &common).expect("host is an object");
            for processor in processors {
                prop_assert_eq!(run(vec![processor.clone()], &mut overlaid, &common).0, Outcome::Keep);
                prop_assert_eq!(run(vec![processor], &mut tree, &common).0, Outcome::Keep);
                let (left, right) = (
                    EventView { event: &overlaid, buf: BUF, common: &common },
                    EventView { event: &tree, buf: BUF, common: &common },
                );
                prop_assert_eq!(left.to_object(), right.to_object());
                for look in &looks {
                    prop_assert_eq!(left.get(look), right.get(look), "{}", look);
                }
            }
        }
    }
}
