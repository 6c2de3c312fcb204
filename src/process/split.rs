//! `split`: a text becomes the list of its parts between separators, as Ruby's `split` has it: empty parts at the end are
//! left out, one blank as the separator means any blanks, and an empty separator splits into characters.

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Value, ValueRef};

/// `split: {fields: {field: separator}}`.
#[derive(Clone, Debug)]
pub struct Split {
    pub fields: Vec<(FieldPath, String)>,
}

impl Process for Split {
    fn name(&self) -> &'static str {
        "split"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for (field, separator) in &self.fields {
            let parts = match work.get(field) {
                None | Some(ValueRef::Null) => continue,
                Some(ValueRef::Str(text)) => parts(&text, separator),
                Some(_) => {
                    all = Err(Failed);
                    continue;
                }
            };
            if work.set(field, parts).is_err() {
                all = Err(Failed);
            }
        }
        all
    }
}

fn parts(text: &str, separator: &str) -> Value {
    let mut parts: Vec<Value> = match separator {
        " " => text.split_ascii_whitespace().map(Value::from).collect(),
        "" => text.chars().map(|char| Value::from(&*char.encode_utf8(&mut [0; 4]))).collect(),
        _ => text.split(separator).map(Value::from).collect(),
    };
    while parts.last().and_then(Value::as_str) == Some("") {
        parts.pop();
    }
    Value::Array(parts)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::Split;
    use serde_json::json;

    fn split(pairs: &[(&str, &str)]) -> Split {
        Split { fields: pairs.iter().map(|(field, separator)| (path(field), (*separator).to_owned())).collect() }
    }

    #[test]
    fn splits_as_ruby_does() {
        for (separator, input, expect) in [
            (",", "a,b,,c", json!(["a", "b", "", "c"])),
            (",", ",a,,", json!(["", "a"])),
            (",", "", json!([])),
            (",", "a", json!(["a"])),
            (", ", "a, b,c", json!(["a", "b,c"])),
            (" ", "  a \t b ", json!(["a", "b"])),
            ("", "aü", json!(["a", "ü"])),
        ] {
            check_fields(split(&[("a", separator)]), json!({"a": input}), json!({"a": expect}));
        }
    }

    #[test]
    fn what_is_no_text_is_tagged_and_stays() {
        check_fields(
            split(&[("l", ","), ("n", ","), ("none", ","), ("@timestamp", "-"), ("a", ",")]),
            json!({"l": ["a,b"], "n": 1, "a": "x,y"}),
            json!({"l": ["a,b"], "n": 1, "a": ["x", "y"], "tags": ["a", "_split_failed"]}),
        );
    }
}
