//! `gsub`: replaces what regular expressions match, all of it, in time linear in the text.
//!
//! Replacements are written as Ruby's: `\1` and `\k<name>` are groups, `\0` is the whole match, `\\` a backslash; `%{…}` is filled
//! in, as in Logstash, and what a field says is taken as it is. As in Ruby, `^` and `$` are the ends of lines. Not here:
//! back-references and templates in the expression.

use std::fmt;

use compact_str::CompactString;
use regex::{Captures, Regex, RegexBuilder};

use super::texts::{GROWTH_BYTES_MAX, change_field};
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, SyntaxError, Template};

/// `gsub: {fields: [{field, pattern, replacement}]}`.
#[derive(Clone, Debug)]
pub struct Gsub {
    pub fields: Vec<Substitution>,
}

/// One expression, and what is put in the place of what it matches.
#[derive(Clone)]
pub struct Substitution {
    field: FieldPath,
    regex: Regex,
    replacement: Vec<Piece>,
    templates: Vec<Template>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Group(usize),
    /// One of the templates.
    Filled(usize),
}

impl Substitution {
    /// Makes an expression and its replacement ready.
    ///
    /// # Errors
    /// An expression that is none, or a group in the replacement that it does not have, or a `%{` that is no template.
    pub fn new(field: FieldPath, pattern: &str, replacement: &str) -> Result<Self, SyntaxError> {
        let regex = RegexBuilder::new(pattern).multi_line(true).build();
        let regex = regex.map_err(|error| SyntaxError::new(0, error.to_string()))?;
        let (mut parts, mut templates) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some((start, end)) = braces(replacement, at) {
            parts.extend(pieces(replacement, at..start, &regex)?);
            let template = Template::parse(replacement.get(start..end).unwrap_or_default());
            templates.push(template.map_err(|error| SyntaxError { at: error.at + start, ..error })?);
            parts.push(Piece::Filled(templates.len() - 1));
            at = end;
        }
        parts.extend(pieces(replacement, at..replacement.len(), &regex)?);
        Ok(Self { field, regex, replacement: parts, templates })
    }

    /// The templates of this event.
    fn filled(&self, work: &Work<'_>) -> Result<Vec<String>, Failed> {
        let fill = |template: &Template| {
            let mut text = Vec::new();
            template.render(&work.view(), &mut text).map_err(|_| Failed)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        self.templates.iter().map(fill).collect()
    }

    fn apply(&self, text: &str, filled: &[String]) -> Result<Option<CompactString>, Failed> {
        let mut made = String::new();
        let mut end = 0;
        let mut is_match = false;
        if let [] | [Piece::Text(_)] = self.replacement[..] {
            // Matches alone are found faster than their groups.
            for found in self.regex.find_iter(text) {
                self.put(&mut made, text, end..found.start(), None, filled)?;
                end = found.end();
                is_match = true;
            }
        } else {
            for groups in self.regex.captures_iter(text) {
                let whole = groups.get_match();
                self.put(&mut made, text, end..whole.start(), Some(&groups), filled)?;
                end = whole.end();
                is_match = true;
            }
        }
        if !is_match {
            return Ok(None);
        }
        made.push_str(text.get(end..).unwrap_or_default());
        Ok(Some(made.into()))
    }

    /// Appends what stands before a match, and the replacement.
    fn put(
        &self,
        made: &mut String,
        text: &str,
        before: std::ops::Range<usize>,
        groups: Option<&Captures<'_>>,
        filled: &[String],
    ) -> Result<(), Failed> {
        made.push_str(text.get(before).unwrap_or_default());
        for piece in &self.replacement {
            match piece {
                Piece::Text(text) => made.push_str(text),
                Piece::Filled(index) => made.push_str(filled.get(*index).map_or("", String::as_str)),
                Piece::Group(index) => {
                    let group = groups.and_then(|groups| groups.get(*index));
                    made.push_str(group.map_or("", |group| group.as_str()));
                }
            }
        }
        if made.len() > text.len() + GROWTH_BYTES_MAX { Err(Failed) } else { Ok(()) }
    }
}

/// Where the next `%{…}` at or behind byte `from` is. One that is not closed reaches to the end.
fn braces(text: &str, from: usize) -> Option<(usize, usize)> {
    let rest = text.get(from..)?;
    let start = from + rest.find("%{")?;
    let length = text.get(start..)?.find('}').map_or(text.len() - start, |end| end + 1);
    Some((start, start + length))
}

/// The texts and groups of a part of the replacement.
fn pieces(text: &str, part: std::ops::Range<usize>, regex: &Regex) -> Result<Vec<Piece>, SyntaxError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let text = text.get(..part.end).unwrap_or_default();
    let mut rest = text.get(part.start..).unwrap_or_default();
    while let Some(backslash) = rest.find('\\') {
        let (before, behind) = rest.split_at(backslash);
        literal.push_str(before);
        let at = text.len() - behind.len();
        let behind = behind.get(1..).unwrap_or_default();
        let (group, length) = match behind.chars().next() {
            Some(digit @ '0'..='9') => (digit as usize - '0' as usize, 1),
            Some('k') if behind.starts_with("k<") => {
                let name = behind.get(2..).and_then(|name| name.split_once('>')).map(|(name, _)| name);
                let name = name.ok_or_else(|| SyntaxError::new(at, "expected `>` behind `\\k<`"))?;
                let index = regex.capture_names().position(|known| known == Some(name));
                let missing = || SyntaxError::new(at, format!("the expression has no group `{name}`"));
                (index.ok_or_else(missing)?, name.len() + 3)
            }
            Some('\\') => {
                literal.push('\\');
                rest = behind.get(1..).unwrap_or_default();
                continue;
            }
            // As in Ruby, a backslash before anything else is a backslash.
            _ => {
                literal.push('\\');
                rest = behind;
                continue;
            }
        };
        if group >= regex.captures_len() {
            return Err(SyntaxError::new(at, format!("the expression has no group {group}; a backslash is `\\\\`")));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Group(group));
        rest = behind.get(length..).unwrap_or_default();
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

impl fmt::Debug for Substitution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {:?}", self.field, self.regex, self.replacement)
    }
}

impl Process for Gsub {
    fn name(&self) -> &'static str {
        "gsub"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for one in &self.fields {
            // An event without the field needs nothing to be filled in.
            if work.get(&one.field).is_none() {
                continue;
            }
            let filled = one.filled(work);
            let changed = filled.and_then(|filled| change_field(&one.field, work, |text| one.apply(text, &filled)));
            if let Err(failed) = changed {
                all = Err(failed);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::*;
    use serde_json::json;

    fn gsub(all: &[(&str, &str, &str)]) -> Gsub {
        let new =
            |(field, pattern, replacement): &(&str, &str, &str)| Substitution::new(path(field), pattern, replacement);
        Gsub { fields: all.iter().map(|one| new(one).unwrap_or_else(|error| panic!("{one:?}: {error}"))).collect() }
    }

    fn check(pattern: &str, replacement: &str, input: &str, expect: &str) {
        check_fields(gsub(&[("a", pattern, replacement)]), json!({"a": input}), json!({"a": expect}));
    }

    #[test]
    fn replaces_all_matches() {
        check("/", "_", "/a/b", "_a_b");
        check("[?#-]", "", "a?b#c-d", "abcd");
        check("x", "y", "abc", "abc");
        check(r"(\w+)@(\w+)", r"\2 at \1 (\0)", "me@here", "here at me (me@here)");
        check(r"(?<user>\w+)@", r"\k<user>!", "me@here", "me!here");
        check("b", r"\\1\n$1", "abc", r"a\1\n$1c");
        check("^", "> ", "a\nb", "> a\n> b");
        check("x*", "-", "abc", "-a-b-c-");
        check("(x)|(y)", r"<\1\2>", "xyz", "<x><y>z");
        check("ä", "ae", "größe ä", "größe ae");
    }

    /// Guarantee: fields are filled in as they are; where one is missing the text stays, which is a failure.
    #[test]
    fn templates_are_filled_in() {
        check_fields(
            gsub(&[
                ("a", "(x)", r"<\1%{[b]}|%{[n]:-}%{+yyyy}\\>"),
                ("a", "q", "%{[none]}"),
                ("none", "x", "%{[none]}"),
            ]),
            json!({"a": "xq", "b": r"\1$1"}),
            json!({"a": r"<x\1$1|-1970\>q", "b": r"\1$1", "tags": ["a", "_gsub_failed"]}),
        );
    }

    #[test]
    fn several_run_in_order_and_lists_are_changed() {
        check_fields(
            gsub(&[("a", "a", "b"), ("a", "b", "c"), ("l", "x", "y"), ("none", "x", "y")]),
            json!({"a": "ab", "l": ["x", "z"]}),
            json!({"a": "cc", "l": ["y", "z"]}),
        );
    }

    #[test]
    fn what_can_not_be_changed_is_tagged_and_stays() {
        check_fields(
            gsub(&[("n", "1", "2"), ("l", "x", "y"), ("a", "a", "b")]),
            json!({"n": 1, "l": ["x", 1], "a": "a"}),
            json!({"n": 1, "l": ["y", 1], "a": "b", "tags": ["a", "_gsub_failed"]}),
        );
        let long = "x".repeat(1000);
        check_fields(
            gsub(&[("a", "x", &"y".repeat(2000))]),
            json!({"a": long}),
            json!({"a": long, "tags": ["a", "_gsub_failed"]}),
        );
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (pattern, replacement, word) in [
            ("a", "%{b}", "%{[a.b]}"),
            ("a", "x%{[b", "`}`"),
            ("(", "", "unclosed group"),
            ("a", r"\1", "no group 1"),
            ("a", r"\k<x>", "`x`"),
            ("a", r"\k<x", "`>`"),
        ] {
            let error = Substitution::new(path("a"), pattern, replacement).expect_err(pattern);
            assert!(error.message.contains(word), "{error}");
        }
    }
}
