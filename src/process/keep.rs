//! `keep`: only the fields that are named stay, and what the agent adds.
//!
//! The agent's own are where a line comes from and how it is found again (`log.file`, `log.offset`, `event.id`, …), which
//! topics and keys are made of too; they go with `remove`. `tags` stay, for they say what failed, and so does `@metadata`.

use super::{Failed, Outcome, Process, Work};
use crate::event::FieldPath;

/// `keep: {fields: […]}`.
#[derive(Clone, Debug)]
pub struct Keep {
    pub fields: Vec<FieldPath>,
}

impl Process for Keep {
    fn name(&self) -> &'static str {
        "keep"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        work.event.keep_only(&self.fields, work.buf, work.common);
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BUF, check, common, event, object, path, run, step};
    use super::Keep;
    use crate::event::{EventView, Value};
    use serde_json::json;

    fn keep(fields: &[&str]) -> Keep {
        Keep { fields: fields.iter().map(|field| path(field)).collect() }
    }

    #[test]
    fn the_agents_own_stays() {
        let log = json!({"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6});
        check(keep(&["message"]), json!({"message": "hello", "log": log, "host": {"name": "web-1"}, "tags": ["a"]}));
        check(
            keep(&["fields.team", "none"]),
            json!({"log": log, "host": {"name": "web-1"}, "tags": ["a"], "fields": {"team": {"name": "ops"}}}),
        );
    }

    #[test]
    fn what_processors_set_goes_unless_it_is_named() {
        let common = common();
        let mut event = event();
        let fields = object(json!({
            "a": {"b": 1, "c": 2}, "d": [1], "e": {"f": {"g": 1}}, "log": {"level": "x"}, "host": {"ip": "::1"}, "message": {"x": 1, "y": 2},
            "@metadata": {"m": 1}
        }));
        for (name, value) in fields {
            match (value, name.as_str()) {
                (Value::Object(inner), "log" | "host") => {
                    for (key, value) in inner {
                        event.set(&path(&format!("{name}.{key}")), value, BUF, &common).expect("sets");
                    }
                }
                (value, name) => event.set(&path(name), value, BUF, &common).expect("sets"),
            }
        }
        let (_, tally) = run(vec![step(keep(&["a.b", "e", "host.ip", "message.x", "d.x"]))], &mut event, &common);
        assert_eq!(tally.failed, []);
        let view = EventView { event: &event, buf: BUF, common: &common };
        let mut seen = view.to_object();
        for root in ["@timestamp", "agent", "input", "event", "tags"] {
            assert!(seen.remove(root).is_some(), "{root}");
        }
        assert_eq!(
            serde_json::Value::Object(seen.to_json()),
            json!({
                "a": {"b": 1}, "e": {"f": {"g": 1}}, "host": {"name": "web-1", "ip": "::1"}, "message": {"x": 1},
                "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
            })
        );
        assert!(view.get(&path("@metadata.m")).is_some());
    }
}
