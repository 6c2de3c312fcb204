//! How far a pattern gets on a line that it does not match: for `logferry grok` (P).
//!
//! A pattern is cut into the parts it has at its top: `%{…}`, groups, characters. The longest row of them that matches
//! somewhere is what matched; the part behind it is the one that does not. If that is a `%{…}` with parts of its own, it is
//! looked into. Alternatives are one part: nothing in them is ahead of anything.
//!
//! Each row is compiled once, for all lines.

use std::collections::HashMap;

use super::expand::{Construct, construct};
use super::{Definitions, Engine, Grok, Scratch};

/// Parts that are looked at; a pattern with more is explained less finely.
const PARTS_MAX: usize = 400;
/// Patterns within patterns that are looked into.
const ROUNDS_MAX: usize = 40;
/// Rows that are kept compiled.
const ROWS_MAX: usize = 1_000;

/// Where a pattern stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The bytes of the line that the longest row of parts matched; `None`: not even the first part is anywhere.
    pub matched: Option<std::ops::Range<usize>>,
    /// The parts that matched, as they are written.
    pub before: String,
    /// The next part, which did not.
    pub next: String,
}

/// Explains why lines do not match a pattern.
pub struct Explainer<'a> {
    pattern: &'a str,
    definitions: &'a Definitions,
    engine: Engine,
    /// `None`: the row is no pattern.
    rows: HashMap<String, Option<Grok>>,
    scratch: Scratch,
}

impl<'a> Explainer<'a> {
    /// Of a pattern.
    pub fn new(pattern: &'a str, definitions: &'a Definitions, engine: Engine) -> Self {
        Self { pattern, definitions, engine, rows: HashMap::new(), scratch: Scratch::default() }
    }

    /// Where the pattern, which does not match the line, stops on it.
    pub fn explain(&mut self, line: &[u8]) -> Stop {
        let mut reached = self.advance(Reached { row: parts(self.pattern), count: 0, matched: None }, line);
        let length = |reached: &Reached| reached.matched.as_ref().map_or(0, ExactSizeIterator::len);
        let mut finer = reached.clone();
        for _ in 0..ROUNDS_MAX {
            let Some(next) = finer.row.get(finer.count) else { break };
            let inner = inner_parts(next, self.definitions);
            if inner.is_empty() || finer.row.len() + inner.len() > PARTS_MAX {
                break;
            }
            finer.row.splice(finer.count..=finer.count, inner);
            finer = self.advance(finer, line);
            // What is looked into in vain is named as a whole.
            if length(&finer) > length(&reached) {
                reached = finer.clone();
            }
        }
        let Reached { row, count, matched } = reached;
        let next = row.get(count).cloned().unwrap_or_default();
        Stop { matched, before: row.get(..count).unwrap_or_default().concat(), next }
    }

    /// A row matches only if each shorter one does.
    fn advance(&mut self, mut reached: Reached, line: &[u8]) -> Reached {
        while reached.count < reached.row.len() {
            match self.find(reached.row[..=reached.count].concat(), line) {
                Found::At(span) => reached.matched = Some(span),
                Found::Nowhere => break,
                Found::NoPattern => {}
            }
            reached.count += 1;
        }
        reached
    }

    fn find(&mut self, row: String, line: &[u8]) -> Found {
        if self.rows.len() >= ROWS_MAX {
            self.rows.clear();
        }
        let compile = |row: &String| Grok::compile(row, self.definitions, true, self.engine).ok();
        let grok = self.rows.entry(row).or_insert_with_key(compile);
        let Some(grok) = grok else { return Found::NoPattern };
        match grok.find(&mut self.scratch, line).ok().flatten() {
            Some(found) => Found::At(found.start..found.end),
            None => Found::Nowhere,
        }
    }
}

/// Where a row of parts matches.
enum Found {
    At(std::ops::Range<usize>),
    Nowhere,
    /// A part may need what is behind it: a group that it names.
    NoPattern,
}

/// A pattern in parts, and how many of them match together.
#[derive(Clone)]
struct Reached {
    row: Vec<String>,
    count: usize,
    matched: Option<std::ops::Range<usize>>,
}

/// The parts of what a `%{…}` stands for, if it is nothing but that.
fn inner_parts(part: &str, definitions: &Definitions) -> Vec<String> {
    match construct(part, 0).filter(|_| part.starts_with("%{")) {
        Some(Construct { syntax, definition: None, end, .. }) if end == part.len() => {
            definitions.get(syntax).map_or_else(Vec::new, |definition| {
                let inner = parts(&definition);
                // A definition that is one group is looked into once more.
                let inner = match inner.as_slice() {
                    [only] if only.starts_with("(?:") && bracket_length(only) == only.len() => {
                        parts(only.get(3..only.len() - 1).unwrap_or_default())
                    }
                    _ => inner,
                };
                // Alternatives are nothing to go on with: written beside other parts, they would be those of the whole row.
                // Nor are options, which would be those of what is behind.
                let is_whole = |part: &str| part_length(part) == part.len();
                let is_one = matches!(inner.as_slice(), [only] if !is_whole(only));
                if is_one || inner.iter().any(|part| sets_options(part)) { Vec::new() } else { inner }
            })
        }
        _ => Vec::new(),
    }
}

/// The parts of a pattern, one after the other.
fn parts(pattern: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        let rest = pattern.get(at..).unwrap_or_default();
        let length = part_length(rest);
        let part = rest.get(..length).unwrap_or(rest);
        if part == "|" {
            return vec![pattern.to_owned()];
        }
        let is_quantifier = part.starts_with(['*', '+', '?']) || part.starts_with('{') && part.len() > 1;
        match parts.last_mut() {
            Some(last) if is_quantifier => last.push_str(part),
            _ => parts.push(part.to_owned()),
        }
        at += part.len().max(1);
    }
    parts
}

/// `(?i)`: options for all that follows.
fn sets_options(part: &str) -> bool {
    let inner = part.strip_prefix("(?").and_then(|part| part.strip_suffix(')'));
    inner.is_some_and(|inner| inner.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()))
}

/// The length of the first part: `%{…}`, a group, a class, an escape, a quantifier, a character.
fn part_length(rest: &str) -> usize {
    let first = rest.chars().next().map_or(0, char::len_utf8);
    if rest.starts_with("%{") {
        return construct(rest, 0).map_or(first, |construct| construct.end);
    }
    match rest.as_bytes().first() {
        Some(b'\\') => 1 + rest.get(1..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8),
        Some(b'{') => {
            let length = rest.find('}').map_or(1, |at| at + 1);
            let is_interval = rest.get(1..length - 1).is_some_and(|inner| {
                !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit() || byte == b',')
            });
            if is_interval { length } else { 1 }
        }
        Some(b'(' | b'[') => bracket_length(rest),
        _ => first,
    }
}

fn bracket_length(rest: &str) -> usize {
    let (mut depth, mut class) = (0_usize, 0_usize);
    let mut bytes = rest.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'[' => class += 1,
            b']' if class > 0 => class -= 1,
            b'(' if class == 0 => depth += 1,
            b')' if class == 0 => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && class == 0 {
            return at + 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::grok::Set;

    fn check(pattern: &str, line: &str, matched: &str, next: &str) {
        let definitions = Definitions::new(Set::Legacy);
        Grok::compile(pattern, &definitions, true, Engine::Linear).expect("a good pattern");
        let stop = Explainer::new(pattern, &definitions, Engine::Linear).explain(line.as_bytes());
        assert_eq!(stop.matched.and_then(|span| line.get(span)).unwrap_or_default(), matched, "{pattern} on {line}");
        assert_eq!(stop.next, next, "{pattern} on {line}");
    }

    #[test]
    fn names_the_part_that_does_not_match() {
        check("%{IP:ip} %{WORD:verb} %{INT:n}", "10.0.0.1 GET x", "10.0.0.1 GET ", "%{INT:n}");
        check("%{IP:ip} (?:a|b) c", "10.0.0.1 a d", "10.0.0.1 a ", "c");
        check(r"x{2}[\]a]+\d", "xx]a.", "xx]a", r"\d");
        check("%{IP:ip}", "none", "", "%{IP:ip}");
        let line = "2024-01-02 10.0.0.1 GET /x 200";
        check("%{INT:y}-%{INT:m}-%{INT:d} (?=PUT)", line, "2024-01-02 ", "(?=PUT)");
        check("10.0.0.1 (?!G)", line, "10.0.0.1 ", "(?!G)");
        check("%{NUMBER:n}(?=PUT)", line, "2024", "(?=PUT)");
        check("(?i)get z", line, "GET ", "z");
        check("%{IP:ip} (?<k>y)", line, "10.0.0.1 ", "(?<k>y)");
        // Alternatives of a definition are not those of the whole pattern.
        check("%{WORD:w} %{IP:ip}", "é 1.2.3.4 x", "4 ", "%{IP:ip}");
        check("a %{CISCO_ACTION:action}", "b Denied", "", "a");
        // It is looked into what is made of parts, as deep as it goes.
        check(
            "%{COMBINEDAPACHELOG}",
            r#"127.0.0.1 - - [10/Okt/2000:13:55 -0700] "GET / HTTP/1.0" 200 1 "-" "-""#,
            "127.0.0.1 - - [10/Okt/2000:13:55",
            "(?::%{SECOND})",
        );
    }
}
