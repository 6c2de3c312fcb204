//! `kv`: reads `key=value` pairs between separators into fields, with the options of Logstash's filter of that name.
//!
//! A value may stand in quotes (`"…"`, `'…'`) or brackets (`(…)`, `[…]`, `<…>`), which are cut off; a character behind a backslash
//! separates and closes nothing, unless nothing else does; a key that comes again makes a list. What is no pair is passed over, so a text without any is
//! no failure. Of a list of texts each is read.
//!
//! Whatever the text and the separators, it is read in time that is linear in its length, once a level of pairs in values:
//! everything that is looked for (separators, what closes a value) is looked for from where the last search ended, never again
//! from where it began, and a separator that a pattern describes is no longer than [`SEPARATOR_BYTES_MAX`]. Not here:
//! look-around in these patterns.

use std::borrow::Cow;
use std::ops::Range;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

use super::parsed::{MEMBERS_MAX, Place};
use super::texts::capitalized;
use super::{Failed, Outcome, Process, Work};
use crate::event::{EventView, Object, SyntaxError, Template, Value, ValueRef};

/// Levels of pairs in values.
const LEVELS_MAX: usize = 8;
/// What a pattern finds is cut there: an expression may look at all that follows to find out how much of it is a separator, and
/// would at each of them.
const SEPARATOR_BYTES_MAX: usize = 256;

/// `kv: {field, target, field_split, …}`. What is trimmed and removed are sets of characters.
#[derive(Clone, Debug)]
pub struct Kv {
    pub place: Place,
    /// Keys with dots become levels.
    pub expand: bool,
    pub field_split: Separator,
    pub value_split: Separator,
    pub trim_key: Chars,
    pub trim_value: Chars,
    /// Taken out wherever they stand.
    pub remove_char_key: Chars,
    pub remove_char_value: Chars,
    pub transform_key: Option<Transform>,
    pub transform_value: Option<Transform>,
    /// Before each key, once it is chosen.
    pub prefix: Template,
    /// Empty: all.
    pub include: Vec<Template>,
    pub exclude: Vec<Template>,
    /// Set where the text does not say them, or is missing.
    pub defaults: Object,
    /// Brackets are cut off values.
    pub brackets: bool,
    /// An equal value of one key counts again.
    pub duplicates: bool,
    /// Keys whose value is empty are set.
    pub empty: bool,
    /// Blanks around `value_split` are no part of key and value.
    pub lenient: bool,
    /// Values that have pairs in them become objects.
    pub recursive: bool,
}

/// What the templates say for one event.
struct Names<'a> {
    prefix: Cow<'a, str>,
    /// `None`: all.
    include: Option<Vec<Cow<'a, str>>>,
    exclude: Vec<Cow<'a, str>>,
}

/// What stands between fields, or between key and value.
#[derive(Clone, Debug)]
pub enum Separator {
    /// Any of these characters.
    Chars(Chars),
    /// What the expression matches; never nothing.
    Pattern(Regex),
}

/// A set of characters, written as within the `[…]` of a regular expression, for that is where Logstash puts it: `\s`, `\d`, `\w`,
/// `\t`, `\[`, and ranges of letters or digits. Any other character stands for itself; so does `^`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chars {
    /// A bit for each character below 128.
    ascii: u128,
    others: Vec<char>,
}

impl Chars {
    /// Reads a set.
    pub fn parse(text: &str) -> Self {
        let mut set = Self::default();
        let mut rest = text.chars();
        while let Some(char) = rest.next() {
            match (char, rest.clone().next()) {
                ('\\', Some(escaped)) => {
                    rest.next();
                    match escaped {
                        's' => " \t\n\u{b}\u{c}\r".chars().for_each(|char| set.add(char)),
                        'd' => ('0'..='9').for_each(|char| set.add(char)),
                        'w' => {
                            ('0'..='9').chain('a'..='z').chain('A'..='Z').chain(['_']).for_each(|char| set.add(char))
                        }
                        't' => set.add('\t'),
                        'n' => set.add('\n'),
                        'r' => set.add('\r'),
                        'f' => set.add('\u{c}'),
                        'v' => set.add('\u{b}'),
                        other => set.add(other),
                    }
                }
                (first, Some('-')) if first.is_ascii_alphanumeric() => {
                    let last = rest.clone().nth(1).filter(|last| last.is_ascii_alphanumeric() && first < *last);
                    match last {
                        Some(last) => {
                            rest.nth(1);
                            (first..=last).for_each(|char| set.add(char));
                        }
                        None => set.add(first),
                    }
                }
                (char, _) => set.add(char),
            }
        }
        set
    }

    fn add(&mut self, char: char) {
        if char.is_ascii() {
            self.ascii |= 1 << u32::from(char);
        } else {
            self.others.push(char);
        }
    }

    /// There is none in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The character is in it.
    pub fn contains(&self, char: char) -> bool {
        if char.is_ascii() { self.ascii >> u32::from(char) & 1 == 1 } else { self.others.contains(&char) }
    }

    /// A character that is in both.
    pub fn common(&self, other: &Self) -> Option<char> {
        let ascii = (0..128u8).map(char::from).find(|char| self.contains(*char) && other.contains(*char));
        ascii.or_else(|| self.others.iter().copied().find(|char| other.contains(*char)))
    }
}

/// What is made of a key or a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    Lowercase,
    Uppercase,
    /// The first character upper case, the others lower.
    Capitalize,
}

impl Separator {
    /// Reads an expression.
    ///
    /// # Errors
    /// If it is none, or may match nothing.
    pub fn pattern(text: &str) -> Result<Self, SyntaxError> {
        let hir = regex_syntax::parse(text).map_err(|error| SyntaxError::new(0, error.to_string()))?;
        if hir.properties().minimum_len() == Some(0) {
            return Err(SyntaxError::new(0, "it may match nothing: a separator has at least one character"));
        }
        let regex = Regex::builder().build_from_hir(&hir).map_err(|error| SyntaxError::new(0, error.to_string()))?;
        Ok(Self::Pattern(regex))
    }

    /// Where the first one at or behind byte `from` is. With `escapes`, none begins behind a backslash.
    fn find(&self, text: &str, mut from: usize, escapes: bool) -> Option<Range<usize>> {
        match self {
            Self::Chars(chars) => {
                let mut is_escaped = false;
                let found = text.get(from..)?.char_indices().find(|(_, c)| {
                    let was_escaped = is_escaped;
                    is_escaped = escapes && !was_escaped && *c == '\\';
                    chars.contains(*c) && (!was_escaped || *c == '\n')
                });
                let found = found.map(|(at, found)| from + at..from + at + found.len_utf8());
                looked_at(from..found.as_ref().map_or(text.len(), |found| found.end));
                found
            }
            // What begins in the first half of a window has all of its length in it.
            Self::Pattern(regex) => loop {
                let end = boundary(text, from + 2 * SEPARATOR_BYTES_MAX);
                let next = boundary(text, from + SEPARATOR_BYTES_MAX);
                looked_at(from..end);
                let found = regex.find(Input::new(text).range(from..end));
                match found {
                    Some(found) if found.start() < next || end == text.len() => {
                        if !escapes || !is_escaped(text, from, found.start()) {
                            return Some(found.range());
                        }
                        // What stands behind a backslash is no separator; one may begin at the next character.
                        from = boundary(text, found.start() + 1);
                    }
                    None if end == text.len() => return None,
                    // Not between a backslash and what is behind it.
                    _ => from = if escapes && is_escaped(text, from, next) { boundary(text, next + 1) } else { next },
                }
            },
        }
    }

    /// The last one of a key, behind its first character; of those that a pattern describes none is looked for.
    fn last_in(&self, key: &str) -> Option<Range<usize>> {
        let Self::Chars(chars) = self else { return None };
        looked_at(0..key.len());
        let (at, found) = key.char_indices().rfind(|(at, c)| *at > 0 && chars.contains(*c))?;
        Some(at..at + found.len_utf8())
    }

    /// One begins exactly there.
    fn is_at(&self, text: &str, at: usize) -> bool {
        match self {
            Self::Chars(chars) => {
                text.get(at..).and_then(|rest| rest.chars().next()).is_some_and(|c| chars.contains(c))
            }
            Self::Pattern(regex) => {
                let end = boundary(text, at + SEPARATOR_BYTES_MAX);
                looked_at(at..end);
                regex.is_match(Input::new(text).range(at..end).anchored(Anchored::Yes).earliest(true))
            }
        }
    }
}

/// Where a separator stands next: looked for once, and again only behind what was found.
struct Finder<'a> {
    separator: &'a Separator,
    text: &'a str,
    /// A backslash takes the character behind it its meaning.
    escapes: bool,
    /// The first one behind what was asked for last.
    next: Option<Range<usize>>,
}

impl<'a> Finder<'a> {
    fn new(separator: &'a Separator, text: &'a str, escapes: bool) -> Self {
        Self { separator, text, escapes, next: separator.find(text, 0, escapes) }
    }

    /// The first one that begins at `from` or behind it. `from` never goes back.
    fn next(&mut self, from: usize) -> Option<Range<usize>> {
        if self.next.as_ref().is_some_and(|next| next.start < from) {
            self.next = self.separator.find(self.text, from, self.escapes);
        }
        self.next.clone()
    }

    /// Where the next one begins, or the text ends.
    fn start(&mut self, from: usize) -> usize {
        self.next(from).map_or(self.text.len(), |next| next.start)
    }

    /// Where the one ends that begins exactly there.
    fn end_at(&mut self, at: usize) -> Option<usize> {
        self.next(at).filter(|next| next.start == at).map(|next| next.end)
    }
}

impl Process for Kv {
    fn name(&self) -> &'static str {
        "kv"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let names = self.names(&work.view())?;
        let mut fields = Object::new();
        match work.get(&self.place.field) {
            Some(ValueRef::Array(texts)) => {
                for text in texts.iter() {
                    self.pairs(text.as_str().ok_or(Failed)?, LEVELS_MAX, &names, &mut fields)?;
                }
            }
            _ => {
                if let Some(text) = self.place.text(work)? {
                    self.pairs(&text, LEVELS_MAX, &names, &mut fields)?;
                }
            }
        }
        for (key, value) in self.defaults.iter() {
            if fields.get(key).is_none() {
                fields.insert(key, value.clone());
            }
        }
        if !fields.is_empty() {
            let put = if self.expand { Place::put_expanded } else { Place::put };
            put(&self.place, fields, work)?;
        }
        Ok(Outcome::Keep)
    }
}

impl Kv {
    /// The prefix and the keys that are meant. A template that names a missing field means no key; a prefix of that kind fails.
    fn names(&self, view: &EventView<'_>) -> Result<Names<'_>, Failed> {
        Ok(Names {
            prefix: filled_in(&self.prefix, view).ok_or(Failed)?,
            include: (!self.include.is_empty()).then(|| all_filled_in(&self.include, view)),
            exclude: all_filled_in(&self.exclude, view),
        })
    }

    /// The pairs of a text, and those in their values if so many levels are left.
    fn pairs(&self, text: &str, levels: usize, names: &Names<'_>, fields: &mut Object) -> Result<(), Failed> {
        let is_plain = |separator: &Separator| !matches!(separator, Separator::Chars(chars) if chars.contains('\\'));
        let escapes = is_plain(&self.field_split) && is_plain(&self.value_split);
        let mut field = Finder::new(&self.field_split, text, escapes);
        let mut split = Finder::new(&self.value_split, text, escapes);
        let mut closings = Closings::default();
        let mut at = 0;
        loop {
            while let Some(end) = field.end_at(at) {
                at = end;
            }
            if at >= text.len() {
                return Ok(());
            }
            let mut key_end = field.start(at).min(split.start(at));
            let mut key = text.get(at..key_end).unwrap_or_default();
            // Blanks may be separators themselves: then the one that is no blank counts.
            let direct = split.end_at(key_end);
            let mut value = match key {
                "" => None,
                _ => split.end_at(self.behind_blanks(text, key_end)).or(direct),
            };
            // Where nothing else splits, what stands behind a backslash does.
            if let (None, true, Some(escaped)) = (value, escapes, self.value_split.last_in(key)) {
                key_end = at + escaped.start;
                value = Some(at + escaped.end);
                key = text.get(at..key_end).unwrap_or_default();
            }
            let Some(value) = value else {
                // A word, or a separator without a key: passed over.
                at = direct.unwrap_or(key_end);
                continue;
            };
            let (value, behind) = self.value(text, self.behind_blanks(text, value), &mut field, &mut closings);
            at = behind;
            self.take((key, value), levels, names, fields)?;
        }
    }

    /// Where the text goes on behind blanks, if they do not count.
    fn behind_blanks(&self, text: &str, at: usize) -> usize {
        let rest = text.get(at..).unwrap_or_default();
        if !self.lenient {
            return at;
        }
        let end = text.len() - rest.trim_start_matches(' ').len();
        looked_at(at..end);
        end
    }

    /// The value that begins at byte `at`, and where it ends with its quotes.
    fn value<'a>(&self, text: &'a str, at: usize, field: &mut Finder<'a>, closings: &mut Closings) -> (&'a str, usize) {
        let close = match text.as_bytes().get(at) {
            Some(quote @ (b'"' | b'\'')) => Some(*quote),
            Some(b'(') if self.brackets => Some(b')'),
            Some(b'[') if self.brackets => Some(b']'),
            Some(b'<') if self.brackets => Some(b'>'),
            _ => None,
        };
        let enclosed = close.and_then(|close| {
            let is_whole = |end: usize| end + 1 == text.len() || field.separator.is_at(text, end + 1);
            let end = closings.find(text, at + 1, close).filter(|end| is_whole(*end));
            // As in Logstash: where none fits that is meant to close, one behind a backslash does (`path="C:\dir\" next=1`).
            let end = end.or_else(|| closings.last_escaped(text, at + 1, close, is_whole))?;
            Some((text.get(at + 1..end)?, end + 1))
        });
        enclosed.unwrap_or_else(|| {
            let end = field.start(at);
            (text.get(at..end).unwrap_or_default(), end)
        })
    }

    fn take(
        &self,
        (key, value): (&str, &str),
        levels: usize,
        names: &Names<'_>,
        fields: &mut Object,
    ) -> Result<(), Failed> {
        let key = if self.lenient { without_blanks(key) } else { key };
        let key = key.trim_matches(|c| self.trim_key.contains(c));
        let key = changed(key, &self.remove_char_key, self.transform_key);
        let is_chosen =
            names.include.as_ref().is_none_or(|include| include.contains(&key)) && !names.exclude.contains(&key);
        if key.is_empty() || !is_chosen || (value.is_empty() && !self.empty) {
            return Ok(());
        }
        // What is trimmed to nothing was not empty: it is set, as in Logstash.
        let value = value.trim_matches(|c| self.trim_value.contains(c));
        let value = changed(value, &self.remove_char_value, self.transform_value);
        let mut inner = Object::new();
        if let (true, Some(levels)) = (self.recursive, levels.checked_sub(1)) {
            self.pairs(&value, levels, names, &mut inner)?;
        }
        let value = if inner.is_empty() { Value::from(&*value) } else { Value::Object(inner) };
        let name = if names.prefix.is_empty() { key } else { [&*names.prefix, &*key].concat().into() };
        let is_full = fields.len() == MEMBERS_MAX;
        match fields.get_mut(&name) {
            Some(Value::Array(values)) => {
                let is_new = self.duplicates || !values.contains(&value);
                if is_new && values.len() < MEMBERS_MAX {
                    values.push(value);
                }
            }
            Some(known) if !self.duplicates && *known == value => {}
            Some(known) => {
                let first = std::mem::replace(known, Value::Null);
                *known = Value::Array(vec![first, value]);
            }
            None if is_full => return Err(Failed),
            None => drop(fields.insert(name.into_owned(), value)),
        }
        Ok(())
    }
}

/// Where the closing characters of one text stand. What was looked for in vain, or found far behind, is known for the openings
/// that come before it: without that, a text of openings alone would be searched to its end for each of them.
#[derive(Default)]
struct Closings {
    /// For `"`, `'`, `)`, `]` and `>`.
    known: [Option<Known>; 5],
}

#[derive(Clone, Copy)]
struct Known {
    /// From where it was looked for last.
    start: usize,
    /// The first one that is behind no backslash.
    end: Option<usize>,
    /// The last one before that which could close a value, once it was looked for.
    escaped: Option<Option<usize>>,
}

impl Closings {
    /// The first `close` at or behind byte `from`, which is behind what it closes; one behind a backslash does not close.
    fn find(&mut self, text: &str, from: usize, close: u8) -> Option<usize> {
        let known = self.of(close)?;
        match *known {
            // The last search has come by here, not with a backslash: what stands before `from` opens a value.
            Some(Known { start, end, .. }) if start <= from && end.is_none_or(|end| from <= end) => end,
            _ => {
                let end = closing(text.as_bytes(), from, close);
                looked_at(from..end.unwrap_or(text.len()));
                *known = Some(Known { start: from, end, escaped: None });
                end
            }
        }
    }

    /// Where none does that [`Closings::find`] has just found: the last one before it that fits.
    fn last_escaped(&mut self, text: &str, from: usize, close: u8, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let known = self.of(close)?.as_mut()?;
        let end = known.end.unwrap_or(text.len());
        let escaped = known.escaped.get_or_insert_with(|| {
            looked_at(from..end);
            memchr::memrchr_iter(close, text.as_bytes().get(from..end)?).map(|at| from + at).find(|at| fits(*at))
        });
        escaped.filter(|at| *at >= from)
    }

    fn of(&mut self, close: u8) -> Option<&mut Option<Known>> {
        self.known.get_mut(b"\"')]>".iter().position(|one| *one == close)?)
    }
}

fn closing(text: &[u8], from: usize, close: u8) -> Option<usize> {
    let mut at = from;
    loop {
        let found = at + memchr::memchr2(close, b'\\', text.get(at..)?)?;
        if text.get(found) == Some(&close) {
            return Some(found);
        }
        at = found + 2;
    }
}

/// The character at byte `at` stands behind a backslash, of those from byte `from` on, which is itself behind none.
fn is_escaped(text: &str, from: usize, at: usize) -> bool {
    let before = text.as_bytes().get(from..at).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    looked_at(at - backslashes..at);
    backslashes % 2 == 1 && text.as_bytes().get(at) != Some(&b'\n')
}

/// The text of a template for this event, if it names no missing field.
fn filled_in<'a>(template: &'a Template, view: &EventView<'_>) -> Option<Cow<'a, str>> {
    if let Some(text) = template.literal() {
        return Some(text.into());
    }
    let mut text = Vec::new();
    template.render(view, &mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned().into())
}

fn all_filled_in<'a>(templates: &'a [Template], view: &EventView<'_>) -> Vec<Cow<'a, str>> {
    templates.iter().filter_map(|template| filled_in(template, view)).collect()
}

/// Without the blanks at its ends; one behind a backslash stays.
fn without_blanks(key: &str) -> &str {
    let key = key.trim_start_matches(' ');
    let bare = key.trim_end_matches(' ');
    let backslashes = bare.bytes().rev().take_while(|byte| *byte == b'\\').count();
    let kept = bare.len() + usize::from(backslashes % 2 == 1 && bare.len() < key.len());
    key.get(..kept).unwrap_or(bare)
}

/// The first place at or behind byte `at` where a character begins, or the text ends.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// Counts, for the tests, the bytes that something was looked for in: at most these.
fn looked_at(_bytes: Range<usize>) {
    #[cfg(test)]
    tests::LOOKED_AT.with(|count| count.set(count.get() + _bytes.len() + 1));
}

/// Without these characters, and transformed.
fn changed<'a>(text: &'a str, remove: &Chars, transform: Option<Transform>) -> Cow<'a, str> {
    let text: Cow<'_, str> = if remove.is_empty() || !text.contains(|c| remove.contains(c)) {
        text.into()
    } else {
        text.chars().filter(|c| !remove.contains(*c)).collect::<String>().into()
    };
    match transform {
        None => text,
        Some(Transform::Lowercase) => text.to_lowercase().into(),
        Some(Transform::Uppercase) => text.to_uppercase().into(),
        Some(Transform::Capitalize) => capitalized(&text).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::Place;
    use super::super::tests::{fields_of, fields_of_event, path, plain};
    use super::{Chars, Kv, LEVELS_MAX, Names, SEPARATOR_BYTES_MAX, Separator, Transform};
    use crate::event::{Object, Template};
    use proptest::prelude::*;
    use serde_json::json;
    use std::cell::Cell;

    fn chars(chars: &str) -> Separator {
        Separator::Chars(Chars::parse(chars))
    }

    fn pattern(text: &str) -> Separator {
        Separator::pattern(text).expect("an expression")
    }

    fn template(text: &str) -> Template {
        Template::parse(text).expect("a template")
    }

    fn kv() -> Kv {
        Kv {
            place: Place { field: path("message"), target: None, overwrite: false },
            expand: false,
            field_split: chars(" "),
            value_split: chars("="),
            trim_key: Chars::default(),
            trim_value: Chars::default(),
            remove_char_key: Chars::default(),
            remove_char_value: Chars::default(),
            transform_key: None,
            transform_value: None,
            prefix: template(""),
            include: Vec::new(),
            exclude: Vec::new(),
            defaults: Object::new(),
            recursive: false,
            brackets: true,
            duplicates: true,
            empty: false,
            lenient: true,
        }
    }

    fn check(processor: Kv, input: &str, expect: serde_json::Value) {
        assert_eq!(fields_of(processor, json!(input)), plain(input, expect), "{input}");
    }

    #[test]
    fn pairs_become_fields() {
        check(kv(), "a=1  b=x=y word c= d", json!({"a": "1", "b": "x=y", "c": "d"}));
        check(kv(), "a = 1 b= 2 =3", json!({"a": "1", "b": "2"}));
        check(
            kv(),
            r#"a="x y" b='it''s' c=(1 2) d=[3 4] e=<5 6> f="open g=\"q\""#,
            json!({"a": "x y", "b": "'it''s'", "c": "1 2", "d": "3 4", "e": "5 6", "f": r#"open g=\"q\"#}),
        );
        check(kv(), r#"a="x \" y" b=1"#, json!({"a": "x \\\" y", "b": "1"}));
        check(kv(), "a=1 a=2 a=2", json!({"a": ["1", "2", "2"]}));
        check(Kv { duplicates: false, ..kv() }, "a=1 a=1 a=2 a=2", json!({"a": ["1", "2"]}));
        check(kv(), "no pairs at all", json!({}));
        check(kv(), "", json!({}));
        // What the agent added by itself is not in the way of what the line says.
        check(kv(), "host=x b=1", json!({"host": "x", "b": "1"}));
    }

    #[test]
    fn options() {
        let query = Kv { field_split: chars("&?"), ..kv() };
        check(query, "?q=a b&n=é&x=", json!({"q": "a b", "n": "é"}));
        check(Kv { value_split: chars(":="), ..kv() }, "a:1 b=2", json!({"a": "1", "b": "2"}));
        let trimmed = Kv { trim_key: Chars::parse("<>"), trim_value: Chars::parse(",;"), ..kv() };
        check(trimmed, "<a>=1, b=;2;", json!({"a": "1", "b": "2"}));
        check(Kv { prefix: template("p_"), include: vec![template("a")], ..kv() }, "a=1 b=2", json!({"p_a": "1"}));
        check(Kv { exclude: vec![template("a")], ..kv() }, "a=1 b=2", json!({"b": "2"}));
        check(Kv { brackets: false, ..kv() }, "a=[1] b=(2", json!({"a": "[1]", "b": "(2"}));
        check(Kv { empty: true, field_split: chars(","), ..kv() }, "a=,b=\"\"", json!({"a": "", "b": ""}));
        check(Kv { lenient: false, field_split: chars(","), ..kv() }, "a = 1", json!({"a ": " 1"}));
        check(Kv { expand: true, ..kv() }, "a.b=1 a.c=2", json!({"a": {"b": "1", "c": "2"}}));
        let kept = json!({"a": "2", "a.b": "1", "tags": ["_kv_failed"]});
        check(Kv { expand: true, ..kv() }, "a.b=1 a=2", kept);
        let below = Kv { place: Place { target: Some(path("kv")), ..kv().place }, ..kv() };
        check(below, "host=1", json!({"kv": {"host": "1"}}));
    }

    /// Scenario: openings whose closing is far behind, or escaped, or for another one. Guarantee: each gets its own.
    #[test]
    fn a_closing_is_found_for_each_opening() {
        check(kv(), "a=(x b=(y) c=(z", json!({"a": "x b=(y", "c": "(z"}));
        check(kv(), "a=(x b=(y c=z)d", json!({"a": "(x", "b": "(y", "c": "z)d"}));
        check(kv(), r"a=[x b=[y\] c=[z\]", json!({"a": r"x b=[y\] c=[z\"}));
        check(kv(), r"a=(x\) b=(y\) c=(z) d=1", json!({"a": r"x\) b=(y\) c=(z", "d": "1"}));
        let odd = Kv { value_split: chars("=\\"), ..kv() };
        check(odd, r"a=(x b\(y\) c=1)z", json!({"a": r"x b\(y\", "c": "1)z"}));
    }

    /// Scenario: blanks do not count, and are between key and value, alone or beside another separator.
    /// Guarantee: they separate where nothing else does, as in Logstash.
    #[test]
    fn blanks_that_are_separators() {
        let processor = Kv { field_split: chars(","), value_split: chars("= "), ..kv() };
        check(processor, "a 1,b  2,c = 3,d=4, ,e", json!({"a": "1", "b": "2", "c": "3", "d": "4"}));
    }

    #[test]
    fn what_is_no_text_fails() {
        for value in [json!(7), json!(["a=1", 7]), json!({"a": 1})] {
            assert_eq!(fields_of(kv(), value.clone()), plain(value, json!({"tags": ["_kv_failed"]})));
        }
    }

    #[test]
    fn lists_of_texts_are_read_one_by_one() {
        let texts = json!(["a=1 b=2", "c=3", "a=4"]);
        assert_eq!(fields_of(kv(), texts.clone()), plain(texts, json!({"a": ["1", "4"], "b": "2", "c": "3"})));
    }

    /// Scenario: separators behind backslashes, as in Logstash's own tests (LOGSTASH-624).
    /// Guarantee: they separate nothing, and the backslash stays.
    #[test]
    fn what_stands_behind_a_backslash_does_not_separate() {
        let line = r"IKE:=Quick\ Mode\ completion IKE\ IDs:=subnet:\ x.x.x.x\ (mask=\ 255)\ and\ host:\ y";
        let expect = json!({
            "IKE": r"=Quick\ Mode\ completion", r"IKE\ IDs": r"=subnet:\ x.x.x.x\ (mask=\ 255)\ and\ host:\ y",
        });
        check(Kv { value_split: chars(":"), ..kv() }, line, expect.clone());
        check(Kv { value_split: pattern(":"), field_split: pattern(" +"), ..kv() }, line, expect);
        check(kv(), r"a=1\\ b\=c=2\", json!({"a": r"1\\", r"b\=c": r"2\"}));
        let far = Kv { field_split: pattern(" "), ..kv() };
        check(far, &["a=", &r"\ ".repeat(1_000), "b c=1"].concat(), json!({"a": r"\ ".repeat(1_000) + "b", "c": "1"}));
    }

    /// Guarantee: as in Logstash, where nothing else splits or closes, what stands behind a backslash does.
    #[test]
    fn a_backslash_gives_way_where_nothing_else_fits() {
        check(kv(), r"a\=1", json!({r"a\": "1"}));
        check(kv(), r"a\=b\=c d", json!({r"a\=b\": "c"}));
        check(kv(), r"a\=1=2", json!({r"a\=1": "2"}));
        check(kv(), r"\=1 \= 2", json!({r"\": ["1", "2"]}));
        check(kv(), r"a\ =1 b\ c =2", json!({r"a\ ": "1", r"b\ c": "2"}));
        check(kv(), r#"path="C:\dir\" next=1"#, json!({"path": r"C:\dir\", "next": "1"}));
        check(kv(), r#"a="x\" b="y\"z" c=1"#, json!({"a": r"x\", "b": r#"y\"z"#, "c": "1"}));
        check(kv(), r"a=(x\) b", json!({"a": r"x\"}));
        check(kv(), r#"a="x\"y b=1"#, json!({"a": r#""x\"y"#, "b": "1"}));
    }

    /// Guarantee: keys and prefix are templates; a key whose template names a missing field is no key, a prefix of that kind fails.
    #[test]
    fn names_from_the_event() {
        let run = |processor: Kv| fields_of_event(processor, json!({"message": "a=1 b=2", "key": "a"}));
        let with = |fields: serde_json::Value| {
            let mut all = plain("a=1 b=2", json!({"key": "a"}));
            fields.as_object().expect("fields").iter().for_each(|(key, value)| all[key] = value.clone());
            all
        };
        let keys = |text: &str| vec![template(text)];
        assert_eq!(run(Kv { include: keys("%{[key]}"), ..kv() }), with(json!({"a": "1"})));
        assert_eq!(run(Kv { include: keys("%{[none]}"), ..kv() }), with(json!({})));
        assert_eq!(run(Kv { exclude: keys("%{[key]}"), ..kv() }), with(json!({"b": "2"})));
        assert_eq!(run(Kv { exclude: keys("%{[none]}"), ..kv() }), with(json!({"a": "1", "b": "2"})));
        assert_eq!(run(Kv { prefix: template("%{[key]}_"), ..kv() }), with(json!({"a_a": "1", "a_b": "2"})));
        assert_eq!(run(Kv { prefix: template("%{[none]}_"), ..kv() }), with(json!({"tags": ["_kv_failed"]})));
    }

    /// Guarantee: sets are read as within the brackets of Ruby's regular expressions.
    #[test]
    fn sets_of_characters() {
        check(Kv { field_split: chars(r"\s|"), ..kv() }, "a=1\tb=s|c=\\3", json!({"a": "1", "b": "s", "c": "\\3"}));
        check(Kv { trim_value: Chars::parse(r"\[\]<-"), ..kv() }, r"a=-<\b-]", json!({"a": r"\b"}));
        check(Kv { remove_char_value: Chars::parse(r"a-c\d-é"), ..kv() }, "a=xaéb-1y", json!({"a": "xy"}));
        check(Kv { trim_value: Chars::parse(","), ..kv() }, "a=,", json!({"a": ""}));
        assert!(Chars::parse("").is_empty() && Chars::parse(r"\").contains('\\'));
        assert_eq!(Chars::parse("=:é").common(&Chars::parse("x-é")), Some('é'));
    }

    #[test]
    fn patterns_as_separators() {
        let semicolons = Kv { field_split: pattern(";+ *"), value_split: pattern("[:=]>?"), ..kv() };
        check(
            semicolons.clone(),
            "a:>1;;b=2 3; c = 4 ;d:\"5;6\";e",
            json!({"a": "1", "b": "2 3", "c": "4 ", "d": "5;6"}),
        );
        check(semicolons, "a=\"1\"x;b=(2);", json!({"a": "\"1\"x", "b": "2"}));
        let words = Kv { field_split: pattern(r"\band\b"), value_split: pattern("is"), lenient: false, ..kv() };
        check(words, "a is 1 and b is 2", json!({"a ": " 1 ", " b ": " 2"}));
        let both = Kv { field_split: pattern(r"\r\n"), ..kv() };
        check(both, "a=x y\r\nb=2\n\r\nc=3", json!({"a": "x y", "b": "2\n", "c": "3"}));
        for odd in ["(", "a*", "", "x|", r"\b", "(?:^|;)"] {
            assert!(Separator::pattern(odd).is_err(), "{odd}");
        }
        // What is longer than a separator can be is several of them; what is far behind is found, and cuts no character.
        let far = Kv { field_split: pattern("é+"), ..kv() };
        let (long, gap) = ("x".repeat(1_001), "é".repeat(1_001));
        check(far, &format!("{gap}a={long}{gap}b=2{gap}"), json!({"a": long, "b": "2"}));
    }

    #[test]
    fn keys_and_values_are_changed() {
        let removed = Kv { remove_char_key: Chars::parse("<>"), remove_char_value: Chars::parse(",é"), ..kv() };
        check(removed, "a<b>=1,0é00", json!({"ab": "1000"}));
        let upper =
            Kv { transform_key: Some(Transform::Uppercase), transform_value: Some(Transform::Capitalize), ..kv() };
        check(upper.clone(), "a=éTÉ b=x", json!({"A": "Été", "B": "X"}));
        check(Kv { include: vec![template("A")], ..upper }, "a=1 b=2", json!({"A": "1"}));
        check(Kv { transform_value: Some(Transform::Lowercase), ..kv() }, "a=XY", json!({"a": "xy"}));
        let nothing_left = Kv { remove_char_key: Chars::parse("a"), ..kv() };
        check(nothing_left, "a=1 b=2", json!({"b": "2"}));
    }

    #[test]
    fn defaults_stand_where_the_text_says_nothing() {
        let defaults = Object::from_iter([("a", "none".into()), ("z", "last".into())]);
        let processor = Kv { defaults, ..kv() };
        check(processor.clone(), "a=1", json!({"a": "1", "z": "last"}));
        check(processor.clone(), "words", json!({"a": "none", "z": "last"}));
        let missing = Kv { place: Place { field: path("none"), ..kv().place }, ..processor };
        check(missing, "a=1", json!({"a": "none", "z": "last"}));
    }

    #[test]
    fn pairs_in_values() {
        let processor = Kv { recursive: true, ..kv() };
        check(
            processor.clone(),
            "a=(b=1 c=[d=2 e=3]) f=x",
            json!({"a": {"b": "1", "c": {"d": "2", "e": "3"}}, "f": "x"}),
        );
        check(processor.clone(), "a=(b=1) a=2", json!({"a": [{"b": "1"}, "2"]}));
        // The deepest levels stay texts.
        let deep = format!("{}x=1{}", "a=(".repeat(20), ")".repeat(20));
        let seen = fields_of(processor, json!(deep));
        assert!(seen["a"].is_string() || seen["a"].is_object(), "{seen}");
    }

    thread_local! {
        pub(super) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

    /// Scenario: openings that nothing closes, or something that is no end of a value; words, blanks and separators alone; patterns
    /// that look at all that follows; each text eight times as long, too.
    /// Guarantee: about eight times as many bytes are looked at; few for each byte, or a window where there is a pattern.
    #[test]
    fn reading_is_linear() {
        let ahead = Kv { field_split: pattern(" (?:[^#]*#)?"), value_split: pattern("=(?:[^#]*#)?"), ..kv() };
        let blanks = Kv { field_split: chars(","), value_split: chars(" "), ..kv() };
        let backslashes = Kv { value_split: chars("=\\"), ..kv() };
        let nested = Kv { recursive: true, ..kv() };
        let window = 4 * SEPARATOR_BYTES_MAX;
        for (processor, most) in
            [(kv(), 8), (ahead, 2 * window), (blanks, 8), (backslashes, 8), (nested, 8 * LEVELS_MAX)]
        {
            for part in [
                "a=( ",
                "a=\" b=' c=[ ",
                "a\\\" ",
                "a\\( ",
                "word ",
                "= ",
                "a=\"x\"y ",
                "a=<x)y ",
                "a ",
                " ",
                "=",
                "\\",
            ] {
                let looked_at = |times: usize| {
                    let text = part.repeat(times) + ")x>x]x\"x'x";
                    LOOKED_AT.set(0);
                    let names = Names { prefix: "".into(), include: None, exclude: Vec::new() };
                    processor.pairs(&text, LEVELS_MAX, &names, &mut Object::new()).expect("few keys");
                    (LOOKED_AT.get(), text.len())
                };
                let times = if most > window { 1_000 } else { 100 };
                let ((once, _), (eight, length)) = (looked_at(times), looked_at(8 * times));
                assert!(eight <= 12 * once, "{part:?}: {once}, {eight}");
                assert!(eight <= most * length, "{part:?}: {eight} of {length}");
            }
        }
    }

    proptest! {
        /// Guarantee: what is known of the last search is what another search would find.
        #[test]
        fn closings_are_where_a_search_finds_them(text in "[=( )\\\\a\"]{0,24}") {
            let mut closings = super::Closings::default();
            for from in 1..=text.len() {
                let close = match text.as_bytes()[from - 1] {
                    b'(' => b')',
                    b'"' => b'"',
                    _ => continue,
                };
                let alone = super::closing(text.as_bytes(), from, close);
                prop_assert_eq!(closings.find(&text, from, close), alone, "{} from {}", text, from);
            }
        }

        /// Guarantee: no text and no separators make it panic or go on for ever.
        #[test]
        fn any_text(
            text in "([a.]{1,3}|[= ,é]|\"|\\\\|[(\\[<>\\])]|\\PC){0,24}", field in "[ ,é=]{1,2}", value in "[=é: ]{1,2}", lenient: bool,
        ) {
            fields_of(Kv { field_split: chars(&field), value_split: chars(&value), lenient, ..kv() }, json!(text));
            let patterns = Kv {
                field_split: pattern(&format!("[{field}]+|a\\b")),
                value_split: pattern(&format!("[{value}]a?")),
                lenient,
                recursive: true,
                ..kv()
            };
            fields_of(patterns, json!(text));
        }
    }
}
