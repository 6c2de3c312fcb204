//! `strip`: texts without the blanks at their ends: spaces, tabs, line breaks and NULs, as Ruby's `strip` has it.

use super::texts::change_each;
use super::{Failed, Outcome, Process, Work};
use crate::event::FieldPath;

/// `strip: {fields: […]}`.
#[derive(Clone, Debug)]
pub struct Strip {
    pub fields: Vec<FieldPath>,
}

impl Process for Strip {
    fn name(&self) -> &'static str {
        "strip"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        change_each(&self.fields, work, |text| {
            let stripped = text.trim_matches(['\0', '\t', '\n', '\u{b}', '\u{c}', '\r', ' ']);
            (stripped.len() < text.len()).then(|| stripped.into())
        })?;
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::Strip;
    use serde_json::json;

    #[test]
    fn strips_both_ends() {
        let fields = ["a", "b", "c", "none"].map(path).to_vec();
        check_fields(
            Strip { fields },
            json!({"a": " \t x y\r\n", "b": [" x", "", "  "], "c": "\u{a0}x"}),
            json!({"a": "x y", "b": ["x", "", ""], "c": "\u{a0}x"}),
        );
    }

    #[test]
    fn another_type_is_tagged_and_stays() {
        check_fields(
            Strip { fields: vec![path("b")] },
            json!({"b": true}),
            json!({"b": true, "tags": ["a", "_strip_failed"]}),
        );
    }
}
