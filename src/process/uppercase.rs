//! `uppercase`: texts in upper case, by Unicode's rules. Not here: rules of one language (Turkish `i`).

use super::texts::change_each;
use super::{Failed, Outcome, Process, Work};
use crate::event::FieldPath;

/// `uppercase: {fields: […]}`.
#[derive(Clone, Debug)]
pub struct Uppercase {
    pub fields: Vec<FieldPath>,
}

impl Process for Uppercase {
    fn name(&self) -> &'static str {
        "uppercase"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        // What is upper case already is not made anew.
        let is_upper = |text: &str| text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_lowercase());
        change_each(&self.fields, work, |text| (!is_upper(text)).then(|| text.to_uppercase().into()))?;
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::Uppercase;
    use serde_json::json;

    #[test]
    fn raises_texts_and_lists_of_texts() {
        let fields = ["a", "b", "null", "none"].map(path).to_vec();
        check_fields(
            Uppercase { fields },
            json!({"a": "get straße", "b": ["X", "y"], "null": null}),
            json!({"a": "GET STRASSE", "b": ["X", "Y"], "null": null}),
        );
    }

    #[test]
    fn another_type_is_tagged_and_stays() {
        check_fields(
            Uppercase { fields: vec![path("o")] },
            json!({"o": {"x": "y"}}),
            json!({"o": {"x": "y"}, "tags": ["a", "_uppercase_failed"]}),
        );
    }
}
