//! `capitalize`: the first character of texts in upper case and the others in lower case, by Unicode's rules. Not here: each
//! word of a text, and rules of one language.

use super::texts::{capitalized, change_each};
use super::{Failed, Outcome, Process, Work};
use crate::event::FieldPath;

/// `capitalize: {fields: […]}`.
#[derive(Clone, Debug)]
pub struct Capitalize {
    pub fields: Vec<FieldPath>,
}

impl Process for Capitalize {
    fn name(&self) -> &'static str {
        "capitalize"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        change_each(&self.fields, work, |text| Some(capitalized(text).into()))?;
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::Capitalize;
    use serde_json::json;

    #[test]
    fn capitalizes_texts_and_lists_of_texts() {
        let fields = ["a", "b", "e", "null", "none"].map(path).to_vec();
        check_fields(
            Capitalize { fields },
            json!({"a": "éTÉ x", "b": ["INFO", "ßa"], "e": "", "null": null}),
            json!({"a": "Été x", "b": ["Info", "SSa"], "e": "", "null": null}),
        );
    }

    #[test]
    fn another_type_is_tagged_and_stays() {
        check_fields(
            Capitalize { fields: vec![path("o")] },
            json!({"o": {"x": "y"}}),
            json!({"o": {"x": "y"}, "tags": ["a", "_capitalize_failed"]}),
        );
    }
}
