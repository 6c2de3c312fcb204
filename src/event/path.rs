//! The path of a field as configs write it: `a.b`, `[a][b]`, `[a.b]` all mean the field `b` of the object `a` (P).
//!
//! Not here: literal dots in a field's name. A key `"a.b"` that comes from outside keeps its name, and no path reaches it.

use std::fmt;

/// Segments a path may have: what bounds the depth of the objects that paths create.
const SEGMENTS_MAX: usize = 32;

/// Where and why a text of the config (condition, template, field path) can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {message}")]
pub struct SyntaxError {
    /// Byte offset in the text.
    pub at: usize,
    /// What was expected.
    pub message: String,
}

impl SyntaxError {
    /// An error at byte `at` of the text.
    pub fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// The path of a field: `a.b`, `[a][b]`, `[a.b]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath {
    /// At least one; none is empty.
    segments: Box<[Box<str>]>,
}

impl FieldPath {
    /// Reads a path.
    ///
    /// # Errors
    /// An empty segment, an unclosed or stray bracket, or more than 32 segments.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut segments = Vec::new();
        if text.starts_with('[') {
            let mut at = 0;
            while at < text.len() {
                if text.as_bytes()[at] != b'[' {
                    return Err(SyntaxError::new(at, "expected `[` or the end of the field"));
                }
                let inner = text.get(at + 1..).unwrap_or_default();
                let Some(length) = inner.find([']', '[']) else {
                    return Err(SyntaxError::new(text.len(), "expected `]`"));
                };
                if inner.as_bytes()[length] == b'[' {
                    return Err(SyntaxError::new(at + 1 + length, "expected `]` before the next `[`"));
                }
                dotted(inner.get(..length).unwrap_or_default(), at + 1, &mut segments)?;
                at += length + 2;
            }
        } else {
            dotted(text, 0, &mut segments)?;
        }
        if segments.len() > SEGMENTS_MAX {
            return Err(SyntaxError::new(0, format!("expected at most {SEGMENTS_MAX} levels in a field")));
        }
        Ok(Self { segments: segments.into() })
    }

    /// The field `segments[0]` → `segments[1]` → …; `None` if there is no segment or an empty one.
    pub fn from_segments<'a>(segments: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let segments: Box<[Box<str>]> = segments.into_iter().map(Box::from).collect();
        (!segments.is_empty() && segments.iter().all(|segment| !segment.is_empty())).then_some(Self { segments })
    }

    /// The names from the root down; at least one.
    pub fn segments(&self) -> &[Box<str>] {
        &self.segments
    }

    /// The name at the root.
    pub fn root(&self) -> &str {
        &self.segments[0]
    }

    /// This path below `parent`.
    #[must_use]
    pub fn below(&self, parent: &FieldPath) -> Self {
        Self { segments: parent.segments.iter().chain(&self.segments).cloned().collect() }
    }
}

/// Adds the segments of `a.b`, which stands at byte `at` of the whole text.
fn dotted(text: &str, mut at: usize, segments: &mut Vec<Box<str>>) -> Result<(), SyntaxError> {
    for segment in text.split('.') {
        if segment.is_empty() {
            return Err(SyntaxError::new(at, "expected a field name"));
        }
        if let Some(stray) = segment.find(['[', ']']) {
            return Err(SyntaxError::new(at + stray, "a bracket inside a field name; write `[a][b]` or `a.b`"));
        }
        segments.push(segment.into());
        at += segment.len() + 1;
    }
    Ok(())
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            f.write_str(segment)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expect: &[&str]) {
        let path = FieldPath::parse(input).unwrap_or_else(|error| panic!("{input}: {error}"));
        let segments: Vec<&str> = path.segments().iter().map(|segment| &**segment).collect();
        assert_eq!(segments, expect, "{input}");
    }

    fn check_error(input: &str, at: usize) {
        let error = FieldPath::parse(input).expect_err(input);
        assert_eq!(error.at, at, "{input}: {error}");
    }

    #[test]
    fn the_three_ways_to_write_a_path_mean_the_same() {
        check("a", &["a"]);
        check("a.b", &["a", "b"]);
        check("[a][b]", &["a", "b"]);
        check("[a.b]", &["a", "b"]);
        check("[a.b][c]", &["a", "b", "c"]);
        check("@timestamp", &["@timestamp"]);
        check("[@metadata][topic]", &["@metadata", "topic"]);
        check("[user name]", &["user name"]);
        check("größe.ü", &["größe", "ü"]);
    }

    #[test]
    fn errors_say_where() {
        check_error("", 0);
        check_error("[]", 1);
        check_error("a..b", 2);
        check_error("a.", 2);
        check_error("[a", 2);
        check_error("[a]b", 3);
        check_error("[a[b]]", 2);
        check_error("a[b]", 1);
        check_error("a]", 1);
        check_error("a.".repeat(40).trim_end_matches('.'), 0);
    }
}
