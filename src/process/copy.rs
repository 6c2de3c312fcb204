//! `copy`: copies fields, each with all that is below it. A field that is missing is passed over. What would overwrite a
//! field fails unless that is wanted, as in `rename`.

use super::texts::set_made;
use super::{Failed, Outcome, Process, Work};
use crate::event::FieldPath;

/// `copy: {fields: [{from, to}], overwrite: false}`.
#[derive(Clone, Debug)]
pub struct Copy {
    pub fields: Vec<(FieldPath, FieldPath)>,
    /// A field that is there is replaced.
    pub overwrite: bool,
}

impl Process for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for (from, to) in self.fields.iter().filter(|(from, to)| from != to) {
            let Some(value) = work.get(from) else { continue };
            let value = value.into_value();
            let is_taken = to.root() != "@timestamp" && !self.overwrite && work.has(to);
            if is_taken || set_made(to, work, value).is_err() {
                all = Err(Failed);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::Copy;
    use serde_json::json;

    fn copy(overwrite: bool, pairs: &[(&str, &str)]) -> Copy {
        Copy { fields: pairs.iter().map(|(from, to)| (path(from), path(to))).collect(), overwrite }
    }

    #[test]
    fn copies_values_of_every_type() {
        check_fields(
            copy(
                false,
                &[("a", "x.y"), ("o", "p"), ("o.n", "n"), ("message", "raw"), ("none", "z"), ("@timestamp", "t")],
            ),
            json!({"a": "b", "o": {"n": [1, null]}}),
            json!({
                "a": "b", "o": {"n": [1, null]}, "x": {"y": "b"}, "p": {"n": [1, null]}, "n": [1, null], "raw": "hello",
                "t": "1970-01-01T00:00:00.000Z"
            }),
        );
        check_fields(
            copy(true, &[("a", "b"), ("o", "o.o")]),
            json!({"a": 1, "b": 2, "o": {"x": 1}}),
            json!({"a": 1, "b": 1, "o": {"x": 1, "o": {"x": 1}}}),
        );
    }

    #[test]
    fn what_can_not_be_copied_is_tagged_and_the_rest_is_copied() {
        check_fields(
            copy(false, &[("a", "b"), ("a", "b.c"), ("a", "@timestamp"), ("a", "c")]),
            json!({"a": 1, "b": 2}),
            json!({"a": 1, "b": 2, "c": 1, "tags": ["a", "_copy_failed"]}),
        );
    }
}
