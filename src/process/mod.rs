//! Processors (P): what is done to an event between decoding and encoding. One file a processor.
//!
//! A processor that can't do its work tags the event (`_add_fields_failed`, `_rename_failed`) and leaves it as it was; only
//! `drop_event` drops. Each step may have a condition ([`condition`]).

pub mod condition;

mod add_fields;
mod drop_event;
mod drop_fields;
mod rename;

use crate::event::{Common, Event, EventView, FieldPath, Object, Value};

/// One processor of a chain, with its condition.
#[derive(Clone, Debug)]
pub struct Step {
    pub condition: Option<condition::Condition>,
    pub processor: Processor,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Processor {
    /// `add_fields: {target: fields, fields: {…}}`: sets fields below `target` (empty: at the root).
    AddFields { target: Option<FieldPath>, fields: Object },
    /// `drop_fields: {fields: […]}`; a field that is missing is no failure.
    DropFields { fields: Vec<FieldPath> },
    /// `rename: {fields: [{from, to}]}`; a target that is there is a failure.
    Rename { fields: Vec<(FieldPath, FieldPath)> },
    /// `drop_event: {}`.
    DropEvent,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Keep,
    /// By `drop_event`: the caller counts it.
    Drop,
}

/// The processors of an input, in order, ready to run.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    steps: Vec<ReadyStep>,
}

#[derive(Clone, Debug)]
struct ReadyStep {
    condition: Option<condition::Condition>,
    action: Action,
}

/// A processor as it runs.
#[derive(Clone, Debug)]
enum Action {
    /// Fields that are no objects, by their full path.
    AddFields(Vec<(FieldPath, Value)>),
    DropFields(Vec<FieldPath>),
    Rename(Vec<(FieldPath, FieldPath)>),
    DropEvent,
}

impl Chain {
    /// A chain of these steps.
    pub fn new(steps: Vec<Step>) -> Self {
        let ready = |step: Step| ReadyStep {
            condition: step.condition,
            action: match step.processor {
                Processor::AddFields { target, fields } => Action::AddFields(add_fields::leaves(target, fields)),
                Processor::DropFields { fields } => Action::DropFields(fields),
                Processor::Rename { fields } => Action::Rename(fields),
                Processor::DropEvent => Action::DropEvent,
            },
        };
        Self { steps: steps.into_iter().map(ready).collect() }
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

    /// Runs the event through the steps, up to the one that drops it.
    pub fn run(&self, event: &mut Event, buf: &[u8], common: &Common) -> Outcome {
        for step in &self.steps {
            if let Some(condition) = &step.condition
                && !condition.holds(&EventView { event, buf, common })
            {
                continue;
            }
            match &step.action {
                Action::AddFields(fields) => add_fields::run(fields, event, buf, common),
                Action::DropFields(fields) => drop_fields::run(fields, event, buf, common),
                Action::Rename(fields) => rename::run(fields, event, buf, common),
                Action::DropEvent => return drop_event::run(),
            }
        }
        Outcome::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Flags, Shared, SharedOptions, Timestamp};
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

    /// What a processor makes of the line `hello`, without what every event has alike.
    pub(super) fn check(processor: Processor, expect: serde_json::Value) {
        let common = common();
        let mut event = event();
        let chain = Chain::new(vec![Step { condition: None, processor }]);
        assert_eq!(chain.run(&mut event, BUF, &common), Outcome::Keep);
        let mut seen = EventView { event: &event, buf: BUF, common: &common }.to_object();
        for root in ["@timestamp", "agent", "input", "event"] {
            seen.remove(root);
        }
        assert_eq!(serde_json::Value::Object(seen.to_json()), expect);
    }

    #[test]
    fn conditions_guard_steps_and_a_dropped_event_stops() {
        let condition = |text: &str| Some(condition::Condition::parse(text).expect("a good condition"));
        let add = |value: i64| Processor::AddFields {
            target: None,
            fields: Object::from_iter([("n".to_owned(), Value::Int(value))]),
        };
        let chain = Chain::new(vec![
            Step { condition: condition("message == 'other'"), processor: add(1) },
            Step { condition: condition("message == 'hello'"), processor: add(2) },
        ]);
        let common = common();
        let mut event = event();
        assert_eq!(chain.run(&mut event, BUF, &common), Outcome::Keep);
        let n = |event: &Event| {
            let value = EventView { event, buf: BUF, common: &common }.get(&path("n"));
            value.map(crate::event::ValueRef::into_value)
        };
        assert_eq!(n(&event), Some(Value::Int(2)));

        let drop = Step { condition: condition("n == 2"), processor: Processor::DropEvent };
        let chain = Chain::new(vec![drop]).then(&Chain::new(vec![Step { condition: None, processor: add(3) }]));
        assert_eq!(chain.run(&mut event, BUF, &common), Outcome::Drop);
        assert_eq!(n(&event), Some(Value::Int(2)), "what follows a drop does not run");
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

    fn any_processor() -> impl Strategy<Value = Processor> {
        let value = prop_oneof![
            Just(json!(1)),
            Just(json!("text")),
            Just(json!({"x": 1})),
            Just(json!({"name": {"y": 2}, "x": {"y": [1, null]}})),
            Just(json!("2026-03-05T07:08:09Z")),
        ];
        prop_oneof![
            3 => (any_path(), value).prop_map(|(target, value)| Processor::AddFields {
                target: Some(target), fields: object(json!({"name": value})),
            }),
            3 => any_path().prop_map(|field| Processor::DropFields { fields: vec![field] }),
            3 => (any_path(), any_path()).prop_map(|pair| Processor::Rename { fields: vec![pair] }),
        ]
    }

    proptest! {
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
                let chain = Chain::new(vec![Step { condition: None, processor }]);
                prop_assert_eq!(chain.run(&mut overlaid, BUF, &common), Outcome::Keep);
                prop_assert_eq!(chain.run(&mut tree, BUF, &common), Outcome::Keep);
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
