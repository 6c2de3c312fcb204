//! `regex`: the named groups of a regular expression become fields. The crate `regex` is linear in the line for every
//! pattern; so there is no look-around and no backreference.
//!
//! The first pattern that matches counts; a group that took no part sets nothing. If none matches, it fails and changes
//! nothing. Not here: Logstash's pattern names and casts (`grok`).

use super::parsed::Place;
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, SyntaxError, Value};

/// `regex: {field, patterns, …}`.
#[derive(Clone, Debug)]
pub struct Regex {
    pub place: Place,
    pub patterns: Vec<Pattern>,
}

/// A regular expression whose groups have names of fields.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: regex::Regex,
    /// The group's number, and its field.
    groups: Vec<(usize, FieldPath)>,
}

impl Pattern {
    /// The pattern with its fields below `target`.
    ///
    /// # Errors
    /// If it is no regular expression, none of its groups has a name, or one has a name that is no field's.
    pub fn parse(text: &str, target: Option<&FieldPath>) -> Result<Self, SyntaxError> {
        let regex = regex::Regex::new(text).map_err(|error| SyntaxError::new(0, error.to_string()))?;
        let mut groups = Vec::new();
        for (number, name) in regex.capture_names().enumerate() {
            let Some(name) = name else { continue };
            let at = text.find(&format!("<{name}>")).map_or(0, |found| found + 1);
            let path = FieldPath::parse(name).map_err(|error| SyntaxError::new(at + error.at, error.message))?;
            groups.push((number, target.map_or_else(|| path.clone(), |target| path.below(target))));
        }
        if groups.is_empty() {
            return Err(SyntaxError::new(0, "expected a group with a name, `(?<name>…)`: without one no field is set"));
        }
        Ok(Self { regex, groups })
    }
}

impl Process for Regex {
    fn name(&self) -> &'static str {
        "regex"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(text) = self.place.text(work)? else { return Ok(Outcome::Keep) };
        let matched = self.patterns.iter().find_map(|pattern| {
            let mut spans = pattern.regex.capture_locations();
            pattern.regex.captures_read(&mut spans, &text).map(|_| (pattern, spans))
        });
        let (pattern, spans) = matched.ok_or(Failed)?;
        let found = |(number, path): &'_ (usize, FieldPath)| {
            let (start, end) = spans.get(*number)?;
            Some((path.clone(), Value::from(text.get(start..end)?)))
        };
        let fields: Vec<(FieldPath, Value)> = pattern.groups.iter().filter_map(found).collect();
        let mut all = Ok(Outcome::Keep);
        for (path, value) in fields {
            if self.place.put_at(&path, value, work).is_err() {
                all = Err(Failed);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::Place;
    use super::super::tests::{fields_of, path, plain};
    use super::{Pattern, Regex};
    use proptest::prelude::*;
    use serde_json::json;

    fn regex(patterns: &[&str], target: Option<&str>) -> Regex {
        let place = Place { field: path("message"), target: target.map(path), overwrite: false };
        let pattern = |text: &&str| Pattern::parse(text, place.target.as_ref()).expect("a good pattern");
        Regex { patterns: patterns.iter().map(pattern).collect(), place }
    }

    fn check(patterns: &[&str], input: &str, expect: serde_json::Value) {
        assert_eq!(fields_of(regex(patterns, None), json!(input)), plain(input, expect), "{input}");
    }

    #[test]
    fn groups_become_fields() {
        check(
            &[r"^(?P<level>\w+): (?<rest.text>.*)(?<none>x)?$"],
            "warn: é",
            json!({"level": "warn", "rest": {"text": "é"}}),
        );
        check(&[r"a=(?<a>\d+)", r"b=(?<b>\d+)"], "b=2", json!({"b": "2"}));
        check(&[r"(?<message>\d+)"], "n 12", json!({"message": "12"}));
        check(&[r"(?<host>\d+)(?<x>.)"], "12 ", json!({"host": "12", "x": " "}));
        let seen = fields_of(regex(&["(?<service>.)(?<b>.)"], Some("fields")), json!("xy"));
        assert_eq!(seen, plain("xy", json!({"fields": {"service": "shop", "team": {"name": "ops"}, "b": "y"}})));
    }

    #[test]
    fn what_does_not_match_fails_and_changes_nothing() {
        check(&[r"a=(?<a>\d+)", r"b=(?<b>\d+)"], "c=2", json!({"tags": ["_regex_failed"]}));
        for value in [json!(7), json!(["a=1"]), json!({"a": 1})] {
            let seen = fields_of(regex(&["(?<a>.)"], None), value.clone());
            assert_eq!(seen, plain(value, json!({"tags": ["_regex_failed"]})));
        }
    }

    #[test]
    fn mistakes_say_where() {
        let at = |text: &str| Pattern::parse(text, None).expect_err(text).at;
        assert_eq!(at("no group (.)"), 0);
        assert_eq!(at("x(?<a..b>.)"), 6);
        assert_eq!(at("x("), 0);
    }

    proptest! {
        /// Guarantee: no pattern and no text makes it panic.
        #[test]
        fn any_pattern_and_any_text(pattern in "(\\(\\?<[a.]{1,3}>|\\)|[ab.*+?|^$]|\\\\d){0,12}", text in "([ab]|\\PC){0,12}") {
            if let Ok(pattern) = Pattern::parse(&pattern, None) {
                fields_of(Regex { patterns: vec![pattern], ..regex(&["(?<a>.)"], None) }, json!(text));
            }
        }
    }
}
