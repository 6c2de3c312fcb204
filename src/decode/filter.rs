//! `include_lines` and `exclude_lines`: which lines become events (P). Expressions are matched on the raw bytes, so lines
//! that are not UTF-8 can be told apart too.

use regex::bytes::{Regex, RegexSet};

/// `include_lines` and `exclude_lines`.
#[derive(Clone, Debug, Default)]
pub struct LineFilter {
    /// `None`: every line.
    include: Option<RegexSet>,
    exclude: Option<RegexSet>,
}

impl LineFilter {
    /// A filter that keeps the lines that match one of `include` (all, if there is none) and none of `exclude`.
    ///
    /// # Errors
    /// Which of the two lists an expression that does not compile is in, its index there, and why.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, (&'static str, usize, String)> {
        Ok(Self { include: compile("include_lines", include)?, exclude: compile("exclude_lines", exclude)? })
    }

    /// Every line is kept.
    pub fn keeps_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// The line becomes an event.
    pub fn keeps(&self, line: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(line))
            && !self.exclude.as_ref().is_some_and(|set| set.is_match(line))
    }
}

fn compile(list: &'static str, patterns: &[String]) -> Result<Option<RegexSet>, (&'static str, usize, String)> {
    if patterns.is_empty() {
        return Ok(None);
    }
    // The set does not say which expression is wrong, and alone each is small enough for a clear message.
    for (index, pattern) in patterns.iter().enumerate() {
        Regex::new(pattern).map_err(|error| (list, index, error.to_string()))?;
    }
    match RegexSet::new(patterns) {
        Ok(set) => Ok(Some(set)),
        Err(error) => Err((list, patterns.len() - 1, format!("the expressions together: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(include: &[&str], exclude: &[&str], line: &[u8], expect: bool) {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let filter = LineFilter::new(&owned(include), &owned(exclude)).expect("good expressions");
        assert_eq!(filter.keeps(line), expect, "{include:?} {exclude:?} {:?}", String::from_utf8_lossy(line));
    }

    #[test]
    fn includes_then_excludes() {
        check(&[], &[], b"", true);
        check(&["^ERR", "WARN"], &[], b"a WARN", true);
        check(&["^ERR", "WARN"], &[], b"an ERR", false);
        check(&[], &["DEBUG"], b"DEBUG x", false);
        check(&["x"], &["DEBUG"], b"DEBUG x", false);
        check(&["x"], &["DEBUG"], b"INFO x", true);
        check(&["^$"], &[], b"", true);
        check(&[r"(?-u)\xff"], &[], b"a\xffb", true);
    }

    #[test]
    fn names_the_expression_that_is_wrong() {
        let error = LineFilter::new(&["ok".to_owned()], &["ok".to_owned(), "(".to_owned()]).expect_err("unclosed");
        assert_eq!((error.0, error.1), ("exclude_lines", 1));
        assert!(error.2.contains("unclosed group"), "{}", error.2);
    }
}
