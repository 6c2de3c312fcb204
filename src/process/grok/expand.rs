//! `%{SYNTAX:SEMANTIC:type}` and inline definitions, written out to one regular expression (P).
//!
//! As in Logstash (jls-grok) the text is replaced, leftmost first, so what is said inside a definition counts where it is put:
//! `\%{` is expanded all the same, what follows SEMANTIC up to the `}` is thrown away, a `%{` without its `}` is text. Each
//! byte of the result knows which pattern it comes from, so that errors name that place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Error;
use super::patterns::Definitions;

/// What an expression may grow to, in bytes.
const EXPANDED_BYTES_MAX: usize = 1 << 20;
/// Names that may be replaced, as in jls-grok.
const REPLACED_MAX: usize = 10_000;
/// Definitions within definitions.
const DEPTH_MAX: usize = 100;

/// An expression with its patterns written out.
#[derive(Clone, Debug, Default)]
pub(super) struct Expanded {
    pub text: String,
    pieces: Vec<Piece>,
}

/// A part of the text that comes from one place.
#[derive(Clone, Debug)]
struct Piece {
    start: usize,
    /// Offset in the pattern that the user wrote: of the text itself, or of the `%{` it came from.
    user_at: usize,
    /// The pattern whose definition it is from, and the offset there.
    from: Option<(Arc<str>, usize)>,
}

/// Where a byte of the expanded text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub user_at: usize,
    pub from: Option<(Arc<str>, usize)>,
}

impl Expanded {
    pub(super) fn place(&self, at: usize) -> Place {
        let index = self.pieces.partition_point(|piece| piece.start <= at);
        let Some(piece) = index.checked_sub(1).and_then(|index| self.pieces.get(index)) else {
            return Place { user_at: 0, from: None };
        };
        let inside = at - piece.start;
        match &piece.from {
            None => Place { user_at: piece.user_at + inside, from: None },
            Some((name, offset)) => Place { user_at: piece.user_at, from: Some((Arc::clone(name), offset + inside)) },
        }
    }
}

/// `%{…}` as it stands in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Construct<'a> {
    /// The name of a pattern.
    pub syntax: &'a str,
    /// SYNTAX:SEMANTIC:type
    pub full: &'a str,
    pub definition: Option<&'a str>,
    /// Behind the `}`.
    pub end: usize,
}

struct Expander<'a> {
    definitions: &'a Definitions,
    inline: HashMap<String, Arc<str>>,
    names_only: bool,
    expanded: Expanded,
    replaced: usize,
    pattern: &'a str,
}

/// Writes out `pattern`. `names_only`: a `%{SYNTAX}` without SEMANTIC captures nothing.
pub(super) fn expand(pattern: &str, definitions: &Definitions, names_only: bool) -> Result<Expanded, Error> {
    let mut expander = Expander {
        definitions,
        inline: HashMap::new(),
        names_only,
        expanded: Expanded::default(),
        replaced: 0,
        pattern,
    };
    let mut chain = Vec::new();
    expander.text(pattern, None, 0, &mut chain)?;
    Ok(expander.expanded)
}

impl Expander<'_> {
    fn text(
        &mut self,
        text: &str,
        from: Option<&Arc<str>>,
        user_at: usize,
        chain: &mut Vec<Arc<str>>,
    ) -> Result<(), Error> {
        let mut at = 0;
        while at < text.len() {
            let found = text.get(at..).unwrap_or_default().find("%{").map(|offset| at + offset);
            let construct = found.and_then(|start| Some((start, construct(text, start)?)));
            let (plain_end, construct) = match (found, construct) {
                (_, Some((start, construct))) => (start, Some(construct)),
                (Some(start), None) => (start + 2, None),
                (None, None) => (text.len(), None),
            };
            let place = |offset: usize| if from.is_none() { offset } else { user_at };
            self.push(text.get(at..plain_end).unwrap_or_default(), from, at, place(at))?;
            let Some(construct) = construct else {
                at = plain_end;
                continue;
            };
            self.replace(&construct, place(plain_end), chain)?;
            at = construct.end;
        }
        Ok(())
    }

    fn push(&mut self, text: &str, from: Option<&Arc<str>>, offset: usize, user_at: usize) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let start = self.expanded.text.len();
        self.expanded.pieces.push(Piece { start, user_at, from: from.map(|name| (Arc::clone(name), offset)) });
        self.expanded.text.push_str(text);
        if self.expanded.text.len() > EXPANDED_BYTES_MAX {
            return Err(Error::TooLarge { column: column(self.pattern, user_at) });
        }
        Ok(())
    }

    fn replace(&mut self, construct: &Construct<'_>, user_at: usize, chain: &mut Vec<Arc<str>>) -> Result<(), Error> {
        let here = column(self.pattern, user_at);
        if let Some(definition) = construct.definition {
            self.inline.insert(construct.syntax.to_owned(), definition.into());
        }
        let inline = self.inline.get(construct.syntax).cloned();
        let Some(definition) = inline.or_else(|| self.definitions.get(construct.syntax)) else {
            let near = self.definitions.nearest(construct.syntax);
            let name = construct.syntax.to_owned();
            return Err(Error::NotDefined { name, column: here, within: chain.last().map(ToString::to_string), near });
        };
        self.replaced += 1;
        let name: Arc<str> = construct.syntax.into();
        if chain.contains(&name) {
            chain.push(name);
            return Err(Error::NamesItself { column: here, chain: chain.join(" → ") });
        }
        if self.replaced > REPLACED_MAX || chain.len() >= DEPTH_MAX {
            return Err(Error::TooLarge { column: here });
        }
        let from = chain.last().cloned();
        let (open, captures) = match !construct.full.contains(':') && self.names_only {
            true => ("(?:".to_owned(), false),
            false => (format!("(?<{}>", construct.full), true),
        };
        // An error in the group's name is one of the `%{…}`.
        let _ = captures;
        self.push(&open, from.as_ref(), 0, user_at)?;
        chain.push(Arc::clone(&name));
        self.text(&definition, Some(&name), user_at, chain)?;
        chain.pop();
        self.push(")", from.as_ref(), 0, user_at)
    }
}

/// The column of byte `at`, from 1, in characters.
pub(super) fn column(text: &str, at: usize) -> usize {
    text.get(..at.min(text.len())).map_or(at, |before| before.chars().count()) + 1
}

/// The `%{…}` at `start`; `None` if it is text.
pub(super) fn construct(text: &str, start: usize) -> Option<Construct<'_>> {
    // jls-grok writes `A-z`, which has more in it than letters.
    let is_name = |c: char| matches!(c, 'A'..='z' | '0'..='9');
    let is_semantic = |c: char| is_name(c) || matches!(c, '@' | ':' | '.' | '-');
    let inner = text.get(start + 2..)?;
    let syntax_length = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
    if syntax_length == 0 {
        return None;
    }
    let syntax = inner.get(..syntax_length)?;
    let mut length = syntax_length;
    if let Some(semantic) = inner.get(length..)?.strip_prefix(':') {
        let semantic_length = semantic.find(|c| !is_semantic(c)).unwrap_or(semantic.len());
        if semantic_length > 0 {
            length += 1 + semantic_length;
        }
    }
    let full = inner.get(..length)?;
    let mut definition = None;
    let rest_at = start + 2 + length;
    let mut end = rest_at;
    if text.get(rest_at..)?.starts_with('=')
        && let Some(definition_end) = definition_end(text, rest_at + 1, rest_at + 1, &mut HashSet::new())
    {
        definition = text.get(rest_at + 1..definition_end);
        end = definition_end;
    }
    let end = end + text.get(end..)?.find('}')? + 1;
    Some(Construct { syntax, full, definition, end })
}

/// Where the definition ends that began at `first` and has come to `at`. As jls-grok's own expression finds it: braces are
/// in pairs, and a `\` takes with it what follows up to the last `}` of the line.
fn definition_end(text: &str, first: usize, at: usize, failed: &mut HashSet<usize>) -> Option<usize> {
    if !failed.insert(at) {
        return None;
    }
    let rest = text.get(at..)?;
    match rest.chars().next() {
        Some('{') => {
            if let Some(length) = balanced(rest)
                && let Some(end) = definition_end(text, first, at + length, failed)
            {
                return Some(end);
            }
        }
        Some('\\') => {
            let line = rest.find('\n').unwrap_or(rest.len());
            for (offset, _) in rest.char_indices().map(|(offset, c)| (offset + c.len_utf8(), c)).rev() {
                if offset >= 2
                    && offset <= line
                    && let Some(end) = definition_end(text, first, at + offset, failed)
                {
                    return Some(end);
                }
            }
        }
        Some('}') | None => {}
        Some(_) => {
            let length = rest.find(['{', '}', '\\']).unwrap_or(rest.len());
            if let Some(end) = definition_end(text, first, at + length, failed) {
                return Some(end);
            }
        }
    }
    (at > first && rest.contains('}')).then_some(at)
}

/// The length of `{…}` with its inner pairs.
fn balanced(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}
