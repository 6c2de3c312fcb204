//! `lowercase`: texts in lower case, by Unicode's rules. Not here: rules of one language (Turkish `I`).

use super::texts::change_each;
use super::{Failed, Outcome, Process, Work};
use crate::event::FieldPath;

/// `lowercase: {fields: […]}`.
#[derive(Clone, Debug)]
pub struct Lowercase {
    pub fields: Vec<FieldPath>,
}

impl Process for Lowercase {
    fn name(&self) -> &'static str {
        "lowercase"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        // What is lower case already is not made anew.
        let is_lower = |text: &str| text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        change_each(&self.fields, work, |text| (!is_lower(text)).then(|| text.to_lowercase().into()))?;
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::Lowercase;
    use serde_json::json;

    #[test]
    fn lowers_texts_and_lists_of_texts() {
        let fields = ["a", "b", "none"].map(path).to_vec();
        check_fields(
            Lowercase { fields },
            json!({"a": "GET Ä", "b": ["X", "y"]}),
            json!({"a": "get ä", "b": ["x", "y"]}),
        );
    }

    #[test]
    fn another_type_is_tagged_and_stays() {
        let fields = ["n", "l", "o", "@timestamp", "a"].map(path).to_vec();
        check_fields(
            Lowercase { fields },
            json!({"n": 1, "l": ["X", 2], "o": [3], "a": "X"}),
            json!({"n": 1, "l": ["x", 2], "o": [3], "a": "x", "tags": ["a", "_lowercase_failed"]}),
        );
    }
}
