//! `rename`: moves fields. A field that is missing is not moved, which is no failure. What would overwrite a field fails, as
//! in Filebeat, so that nothing is lost unseen, unless that is wanted, as in Logstash. What fails is tagged and stays where it
//! was.

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, ValueRef};

/// `rename: {fields: [{from, to}], overwrite: false}`.
#[derive(Clone, Debug)]
pub struct Rename {
    pub fields: Vec<(FieldPath, FieldPath)>,
    /// A field that is there is replaced.
    pub overwrite: bool,
}

impl Process for Rename {
    fn name(&self) -> &'static str {
        "rename"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for (from, to) in self.fields.iter().filter(|(from, to)| from != to) {
            if !self.moved(from, to, work) {
                all = Err(Failed);
            }
        }
        all
    }
}

impl Rename {
    fn moved(&self, from: &FieldPath, to: &FieldPath, work: &mut Work<'_>) -> bool {
        let Some(value) = work.get(from) else { return true };
        let is_time = to.root() == "@timestamp";
        if from.root() == "@timestamp" || is_element(from, work) || !is_time && !self.overwrite && work.has(to) {
            return false;
        }
        let value = value.into_value();
        // `host` to `host.name`: it makes room for the object that it will be in.
        if is_below(to, from) {
            let before = work.event.clone();
            work.remove(from);
            let is_set = work.set(to, value).is_ok();
            if !is_set {
                *work.event = before;
            }
            return is_set;
        }
        // First set, then removed: where it can't be set, it stays.
        if work.set(to, value).is_err() {
            return false;
        }
        work.remove(from);
        true
    }
}

/// `path` is an element of a list: that can be read, and does not move.
fn is_element(path: &FieldPath, work: &Work<'_>) -> bool {
    let parents = path.segments().split_last().map(|(_, parents)| parents.iter().map(|segment| &**segment));
    let parent = parents.and_then(FieldPath::from_segments);
    parent.is_some_and(|parent| matches!(work.get(&parent), Some(ValueRef::Array(_))))
}

/// `path` is in the object at `parent`.
fn is_below(path: &FieldPath, parent: &FieldPath) -> bool {
    path.segments().starts_with(parent.segments())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_fields, path, taken};
    use super::Rename;
    use serde_json::json;

    fn rename(pairs: &[(&str, &str)]) -> Rename {
        Rename { fields: pairs.iter().map(|(from, to)| (path(from), path(to))).collect(), overwrite: false }
    }

    #[test]
    fn moves_fields() {
        check(
            rename(&[("message", "log.original"), ("fields.service", "service.name"), ("none", "x")]),
            json!({
                "log": {
                    "file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6, "original": "hello",
                },
                "host": {"name": "web-1"}, "tags": ["a"], "service": {"name": "shop"},
                "fields": {"team": {"name": "ops"}},
            }),
        );
        check(
            rename(&[("fields.team.name", "message2"), ("message", "@metadata.line")]),
            json!({
                "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
                "host": {"name": "web-1"}, "tags": ["a"], "fields": {"service": "shop", "team": {}}, "message2": "ops",
            }),
        );
    }

    /// Guarantee: what is there stays, but for what the agent added by itself, and is replaced where that is wanted.
    #[test]
    fn what_is_there_is_replaced_where_that_is_wanted() {
        let event = || json!({"a": 1, "b": 2, "h": "x"});
        check_fields(
            rename(&[("a", "b")]),
            event(),
            json!({"a": 1, "b": 2, "h": "x", "tags": ["a", "_rename_failed"]}),
        );
        let replacing = Rename { overwrite: true, ..rename(&[("a", "b")]) };
        check_fields(replacing, event(), json!({"b": 1, "h": "x"}));
        check_fields(rename(&[("h", "host.name")]), event(), json!({"a": 1, "b": 2}));
        let list = || json!({"l": ["x", "y"], "tags": ["a", "_rename_failed"]});
        check_fields(rename(&[("l.0", "first")]), json!({"l": ["x", "y"]}), list());
    }

    /// Scenario: fields that go below their own names, as in many configs of Logstash (`host` to `host.name`).
    #[test]
    fn a_field_goes_below_itself() {
        check_fields(rename(&[("a", "a.b")]), json!({"a": 1}), json!({"a": {"b": 1}}));
        check_fields(rename(&[("a", "a.b.c")]), json!({"a": {"b": 1}}), json!({"a": {"b": {"c": {"b": 1}}}}));
        check(
            rename(&[("message", "message.text"), ("fields", "fields.old")]),
            json!({
                "message": {"text": "hello"}, "host": {"name": "web-1"}, "tags": ["a"],
                "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
                "fields": {"old": {"service": "shop", "team": {"name": "ops"}}},
            }),
        );
        let event = json!({"host": "db-7"});
        assert_eq!(taken(rename(&[("host", "host.name")]), event, &path("host")), Some(json!({"name": "db-7"})));
    }

    #[test]
    fn what_can_not_be_moved_is_tagged_and_stays() {
        for pair in [
            ("message", "fields.service"),
            ("message", "fields.service.x"),
            ("message", "@timestamp"),
            ("@timestamp", "time"),
            ("message", "@metadata"),
        ] {
            check(
                rename(&[pair]),
                json!({
                    "message": "hello", "host": {"name": "web-1"}, "tags": ["a", "_rename_failed"],
                    "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
                    "fields": {"service": "shop", "team": {"name": "ops"}},
                }),
            );
        }
    }
}
