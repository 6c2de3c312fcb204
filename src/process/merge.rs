//! `merge`: adds one field to another, as Logstash's `mutate` does: lists and single values become one list, an object is laid over
//! an object. The field that is added stays where it was. What does not go together (an object and something else) fails and
//! changes nothing. Not here: sets; an element that is in both lists is in the list twice.

use super::texts::set_made;
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Value};

/// `merge: {fields: [{from, to}]}`.
#[derive(Clone, Debug)]
pub struct Merge {
    pub fields: Vec<(FieldPath, FieldPath)>,
}

impl Process for Merge {
    fn name(&self) -> &'static str {
        "merge"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for (from, to) in &self.fields {
            let value = |path| work.get(path).map_or(Value::Null, |found| found.into_value());
            let merged = match (value(to), value(from)) {
                (_, Value::Null) => continue,
                (Value::Null, Value::Object(added)) => Some(Value::Object(added)),
                (Value::Object(mut there), Value::Object(added)) => {
                    there.merge(added);
                    Some(Value::Object(there))
                }
                (Value::Object(_), _) | (_, Value::Object(_)) => None,
                (there, added) => Some(Value::Array([elements(there), elements(added)].concat())),
            };
            if merged.is_none_or(|merged| set_made(to, work, merged).is_err()) {
                all = Err(Failed);
            }
        }
        all
    }
}

/// Of a list its elements, of nothing none, of anything else itself.
fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values,
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::Merge;
    use serde_json::json;

    fn merge(pairs: &[(&str, &str)]) -> Merge {
        Merge { fields: pairs.iter().map(|(from, to)| (path(from), path(to))).collect() }
    }

    #[test]
    fn lists_texts_and_objects_are_put_together() {
        check_fields(
            merge(&[("t", "l"), ("l", "t"), ("n", "new"), ("o", "p"), ("o", "q"), ("none", "t"), ("null", "t")]),
            json!({"l": ["a", 1], "t": "b", "n": 7, "o": {"x": 1, "y": {"z": 2}}, "p": {"x": 0, "w": 3}, "null": null}),
            json!({
                "l": ["a", 1, "b"], "t": ["b", "a", 1, "b"], "n": 7, "new": [7], "o": {"x": 1, "y": {"z": 2}},
                "p": {"x": 1, "w": 3, "y": {"z": 2}}, "q": {"x": 1, "y": {"z": 2}}, "null": null
            }),
        );
        check_fields(
            merge(&[("x", "tags")]),
            json!({"x": ["c", "d"]}),
            json!({"x": ["c", "d"], "tags": ["a", "c", "d"]}),
        );
    }

    #[test]
    fn what_does_not_go_together_is_tagged_and_stays() {
        check_fields(
            merge(&[("t", "o"), ("o", "t"), ("t", "t.x"), ("t", "@timestamp"), ("t", "l")]),
            json!({"t": "b", "o": {"x": 1}, "l": []}),
            json!({"t": "b", "o": {"x": 1}, "l": ["b"], "tags": ["a", "_merge_failed"]}),
        );
    }
}
