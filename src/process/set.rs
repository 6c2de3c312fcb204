//! `set`: sets fields to values in which templates are filled in.
//!
//! A field whose template names a missing field is not set, which is a failure; the others are. Not here: the type of the
//! field that a template names (`copy` keeps it): what a template makes is a text.

use compact_str::CompactString;

use super::texts::set_made;
use super::{Failed, Outcome, Process, Work};
use crate::event::{EventView, FieldPath, Object, SyntaxError, Template, Value, ValueRef};

/// `set: {fields: {…}, overwrite: true}`.
#[derive(Clone, Debug)]
pub struct Set {
    fields: Vec<(FieldPath, Filling)>,
    /// Fields that are there are set too.
    pub overwrite: bool,
}

/// A value in which templates are still to be filled in.
#[derive(Clone, Debug)]
enum Filling {
    Value(Value),
    Text(Template),
    List(Vec<Filling>),
    /// An object in a list.
    Object(Vec<(CompactString, Filling)>),
}

impl Set {
    /// Makes fields ready. Dots in their names are levels.
    ///
    /// # Errors
    /// The field, and what is wrong with its name or its template.
    pub fn new(fields: Object, overwrite: bool) -> Result<Self, (String, SyntaxError)> {
        let mut made = Vec::new();
        for (name, value) in fields {
            let all = FieldPath::parse(&name).and_then(|path| collect(path, value, &mut made));
            all.map_err(|error| (name.as_str().to_owned(), error))?;
        }
        Ok(Self { fields: made, overwrite })
    }
}

/// Objects are set field by field, so that what stands beside these stays.
fn collect(path: FieldPath, value: Value, made: &mut Vec<(FieldPath, Filling)>) -> Result<(), SyntaxError> {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (name, value) in object {
                collect(FieldPath::parse(&name)?.below(&path), value, made)?;
            }
        }
        value => made.push((path, Filling::new(value)?)),
    }
    Ok(())
}

impl Filling {
    fn new(value: Value) -> Result<Self, SyntaxError> {
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse(&text)?;
                match template.literal() {
                    Some(_) => Self::Value(Value::String(text)),
                    None => Self::Text(template),
                }
            }
            Value::Array(values) => Self::List(values.into_iter().map(Self::new).collect::<Result<_, _>>()?),
            Value::Object(object) => {
                let fields = object.into_iter().map(|(name, value)| Ok((name, Self::new(value)?)));
                Self::Object(fields.collect::<Result<_, SyntaxError>>()?)
            }
            value => Self::Value(value),
        })
    }

    /// The value for an event; `None` if a field that it needs is missing.
    fn fill(&self, view: &EventView<'_>, scratch: &mut Vec<u8>) -> Option<Value> {
        Some(match self {
            Self::Value(value) => value.clone(),
            Self::Text(template) => {
                scratch.clear();
                template.render(view, scratch).ok()?;
                Value::String(CompactString::from_utf8_lossy(scratch))
            }
            Self::List(fillings) => {
                Value::Array(fillings.iter().map(|filling| filling.fill(view, scratch)).collect::<Option<_>>()?)
            }
            Self::Object(fields) => {
                let mut object = Object::new();
                for (name, filling) in fields {
                    object.insert(name.clone(), filling.fill(view, scratch)?);
                }
                Value::Object(object)
            }
        })
    }
}

impl Process for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        let mut scratch = Vec::new();
        for (path, filling) in &self.fields {
            if !self.overwrite && !matches!(work.get(path), None | Some(ValueRef::Null)) {
                continue;
            }
            let value = filling.fill(&work.view(), &mut scratch);
            if value.is_none_or(|value| set_made(path, work, value).is_err()) {
                all = Err(Failed);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, object};
    use super::Set;
    use serde_json::json;

    fn set(fields: serde_json::Value, overwrite: bool) -> Set {
        Set::new(object(fields), overwrite).unwrap_or_else(|(name, error)| panic!("{name}: {error}"))
    }

    #[test]
    fn fills_templates_in() {
        check_fields(
            set(
                json!({
                    "x.y": "%{[a]}-%{[n]}", "n": 5, "s": "%{[n]}", "[l]": ["%{[a]}", 1, {"k": "%{[none]:d}"}], "e": {},
                    "x": {"z": true}, "d": "%{+yyyy}", "@metadata.m": "%{[a]}", "m": "%{[@metadata.m]}", "p": "100%"
                }),
                true,
            ),
            json!({"a": "b", "n": 1}),
            json!({
                "a": "b", "n": 5, "x": {"y": "b-1", "z": true}, "s": "5", "l": ["b", 1, {"k": "d"}], "e": {}, "d": "1970",
                "m": "b", "p": "100%"
            }),
        );
    }

    /// Guarantee: elements of lists are read by their places, as in Logstash, and set by none.
    #[test]
    fn elements_of_lists_are_read() {
        let fields = json!({
            "first": "%{[l][0]}", "last": "%{[l][-1]}", "inner": "%{[l.1.k.0]:none}", "none": "%{[l][9]:none}%{[l][-9]:none}%{[l][x]:none}",
            "tag": "%{[tags][0]}", "l.0": "z",
        });
        check_fields(
            set(fields, true),
            json!({"l": ["x", {"k": [7]}, "y"]}),
            json!({
                "l": ["x", {"k": [7]}, "y"], "first": "x", "last": "y", "inner": "7", "none": "nonenonenone", "tag": "a",
                "tags": ["a", "_set_failed"],
            }),
        );
    }

    #[test]
    fn what_is_there_may_stay() {
        check_fields(
            set(json!({"a": "x", "null": "x", "new": "x"}), false),
            json!({"a": "b", "null": null}),
            json!({"a": "b", "null": "x", "new": "x"}),
        );
    }

    #[test]
    fn what_can_not_be_set_is_tagged_and_the_rest_is_set() {
        check_fields(
            set(json!({"x": "%{[none]}", "a.b": 1, "@timestamp": "soon", "l": ["%{[none]}"], "y": 1}), true),
            json!({"a": "b"}),
            json!({"a": "b", "y": 1, "tags": ["a", "_set_failed"]}),
        );
    }

    #[test]
    fn errors_name_the_field() {
        for (fields, name) in
            [(json!({"a": "%{b}"}), "a"), (json!({"b..c": 1}), "b..c"), (json!({"d": {"e": ["%{"]}}), "d")]
        {
            assert_eq!(Set::new(object(fields), true).expect_err(name).0, name);
        }
    }
}
