//! `join`: a list becomes the text of its elements with a separator between them. Lists in it are joined as if their
//! elements were its own; one with an object in it is a failure.

use super::texts::{MADE_BYTES_MAX, set_made};
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Value, ValueRef, json};

/// `join: {fields: {field: separator}}`.
#[derive(Clone, Debug)]
pub struct Join {
    pub fields: Vec<(FieldPath, String)>,
}

impl Process for Join {
    fn name(&self) -> &'static str {
        "join"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for (field, separator) in &self.fields {
            let text = match work.get(field) {
                None | Some(ValueRef::Null) => continue,
                Some(ValueRef::Array(values)) => joined(&values, separator),
                Some(_) => None,
            };
            if text.is_none_or(|text| set_made(field, work, text).is_err()) {
                all = Err(Failed);
            }
        }
        all
    }
}

fn joined(values: &[Value], separator: &str) -> Option<String> {
    let mut parts = Parts { text: Vec::new(), separator, is_first: true };
    parts.add(values)?;
    // Texts, numbers and the separator are UTF-8.
    String::from_utf8(parts.text).ok()
}

struct Parts<'a> {
    text: Vec<u8>,
    separator: &'a str,
    is_first: bool,
}

impl Parts<'_> {
    fn add(&mut self, values: &[Value]) -> Option<()> {
        for value in values {
            if let Value::Array(values) = value {
                self.add(values)?;
                continue;
            }
            if !std::mem::take(&mut self.is_first) {
                self.text.extend_from_slice(self.separator.as_bytes());
            }
            match value {
                Value::String(text) => self.text.extend_from_slice(text.as_bytes()),
                Value::Null => {}
                Value::Object(_) => return None,
                value => json::write_value(&mut self.text, value),
            }
            if self.text.len() > MADE_BYTES_MAX {
                return None;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::Join;
    use serde_json::json;

    fn join(pairs: &[(&str, &str)]) -> Join {
        Join { fields: pairs.iter().map(|(field, separator)| (path(field), (*separator).to_owned())).collect() }
    }

    #[test]
    fn joins_elements_of_any_plain_type() {
        check_fields(
            join(&[("a", ", "), ("b", "-"), ("c", ","), ("none", ",")]),
            json!({"a": ["x", 1, true, 2.5], "b": [], "c": [["", null], "y"]}),
            json!({"a": "x, 1, true, 2.5", "b": "", "c": ",,y"}),
        );
    }

    #[test]
    fn what_is_no_list_is_tagged_and_stays() {
        check_fields(
            join(&[("t", ","), ("o", ","), ("a", ",")]),
            json!({"t": "x", "o": [{"x": 1}], "a": ["x", "y"]}),
            json!({"t": "x", "o": [{"x": 1}], "a": "x,y", "tags": ["a", "_join_failed"]}),
        );
    }
}
