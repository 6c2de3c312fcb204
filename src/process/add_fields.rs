//! `add_fields`: sets fields, below a target or at the root. Objects are merged into what is there, so that a field beside
//! those named stays.

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Object, Value};

/// `add_fields: {target: fields, fields: {…}}`.
#[derive(Clone, Debug)]
pub struct AddFields {
    /// Fields that are no objects, by their full path.
    leaves: Vec<(FieldPath, Value)>,
}

impl AddFields {
    /// Sets `fields` below `target`; `None`: at the root. Dots in keys are levels. An empty object is a field too.
    pub fn new(target: Option<FieldPath>, fields: Object) -> Self {
        let mut leaves = Vec::new();
        let parents: Vec<String> =
            target.iter().flat_map(|target| target.segments()).map(|segment| segment.to_string()).collect();
        collect(&parents, fields.expanded(), &mut leaves);
        Self { leaves }
    }
}

impl Process for AddFields {
    fn name(&self) -> &'static str {
        "add_fields"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for (path, value) in &self.leaves {
            if work.set(path, value.clone()).is_err() {
                all = Err(Failed);
            }
        }
        all
    }
}

fn collect(parents: &[String], fields: Object, leaves: &mut Vec<(FieldPath, Value)>) {
    for (key, value) in fields {
        let mut path = parents.to_vec();
        path.push(key.into());
        match value {
            Value::Object(object) if !object.is_empty() => collect(&path, object, leaves),
            // A field without a name can't be set, nor be looked at.
            value => leaves.extend(FieldPath::from_segments(path.iter().map(String::as_str)).map(|path| (path, value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, object, path};
    use super::AddFields;
    use serde_json::json;

    fn add(target: &str, fields: serde_json::Value) -> AddFields {
        AddFields::new((!target.is_empty()).then(|| path(target)), object(fields))
    }

    #[test]
    fn sets_fields_beside_those_that_are_there() {
        check(
            add("fields", json!({"service": "cart", "team.lead": "x", "n": 1})),
            json!({
                "message": "hello", "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
                "host": {"name": "web-1"}, "tags": ["a"],
                "fields": {"service": "cart", "team": {"name": "ops", "lead": "x"}, "n": 1},
            }),
        );
        check(
            add("", json!({"message": "new", "log": {"level": "info"}, "own": {"a": [1]}})),
            json!({
                "message": "new", "host": {"name": "web-1"}, "tags": ["a"], "own": {"a": [1]},
                "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6, "level": "info"},
                "fields": {"service": "shop", "team": {"name": "ops"}},
            }),
        );
    }

    #[test]
    fn what_can_not_be_set_is_tagged_and_the_rest_is_set() {
        check(
            add("", json!({"message": {"x": 1}, "fields": {"service": {"x": 1}}, "@timestamp": "soon", "own": 1})),
            json!({
                "message": "hello", "log": {"file": {"path": "/var/log/x.log", "id": "f00d"}, "offset": 3, "length": 6},
                "host": {"name": "web-1"}, "tags": ["a", "_add_fields_failed"], "own": 1,
                "fields": {"service": "shop", "team": {"name": "ops"}},
            }),
        );
    }
}
