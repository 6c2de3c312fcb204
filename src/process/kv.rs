//! `kv`: reads `key=value` pairs between separators into fields, with the options of Logstash's filter of that name.
//!
//! A value may stand in quotes (`"…"`, `'…'`) or brackets (`(…)`, `[…]`, `<…>`), which are cut off; a key that comes again makes
//! a list. What is no pair is passed over, so a text without any is no failure.
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
use super::{Failed, Outcome, Process, Work};
use crate::event::{Object, SyntaxError, Value};

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
    pub trim_key: String,
    pub trim_value: String,
    /// Taken out wherever they stand.
    pub remove_char_key: String,
    pub remove_char_value: String,
    pub transform_key: Option<Transform>,
    pub transform_value: Option<Transform>,
    /// Before each key, once it is chosen.
    pub prefix: String,
    /// Empty: all.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
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

/// What stands between fields, or between key and value.
#[derive(Clone, Debug)]
pub enum Separator {
    /// Any of these characters.
    Chars(String),
    /// What the expression matches; never nothing.
    Pattern(Regex),
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

    /// Where the first one at or behind byte `from` is.
    fn find(&self, text: &str, mut from: usize) -> Option<Range<usize>> {
        match self {
            Self::Chars(chars) => {
                let found = text.get(from..)?.char_indices().find(|(_, c)| chars.contains(*c));
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
                    Some(found) if found.start() < next || end == text.len() => return Some(found.range()),
                    None if end == text.len() => return None,
                    _ => from = next,
                }
            },
        }
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
    /// The first one behind what was asked for last.
    next: Option<Range<usize>>,
}

impl<'a> Finder<'a> {
    fn new(separator: &'a Separator, text: &'a str) -> Self {
        Self { separator, text, next: separator.find(text, 0) }
    }

    /// The first one that begins at `from` or behind it. `from` never goes back.
    fn next(&mut self, from: usize) -> Option<Range<usize>> {
        if self.next.as_ref().is_some_and(|next| next.start < from) {
            self.next = self.separator.find(self.text, from);
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
        let mut fields = match self.place.text(work)? {
            Some(text) => self.pairs(&text, LEVELS_MAX)?,
            None => Object::new(),
        };
        for (key, value) in self.defaults.iter() {
            if fields.get(key).is_none() {
                fields.insert(key, value.clone());
            }
        }
        if !fields.is_empty() {
            self.place.put(if self.expand { fields.expanded() } else { fields }, work)?;
        }
        Ok(Outcome::Keep)
    }
}

impl Kv {
    /// The pairs of a text, and those in their values if so many levels are left.
    fn pairs(&self, text: &str, levels: usize) -> Result<Object, Failed> {
        let (mut field, mut split) = (Finder::new(&self.field_split, text), Finder::new(&self.value_split, text));
        let mut closings = Closings::default();
        let mut fields = Object::new();
        let mut at = 0;
        loop {
            while let Some(end) = field.end_at(at) {
                at = end;
            }
            if at >= text.len() {
                return Ok(fields);
            }
            let key_end = field.start(at).min(split.start(at));
            let key = text.get(at..key_end).unwrap_or_default();
            // Blanks may be separators themselves: then the one that is no blank counts.
            let direct = split.end_at(key_end);
            let value = match key {
                "" => None,
                _ => split.end_at(self.behind_blanks(text, key_end)).or(direct),
            };
            let Some(value) = value else {
                // A word, or a separator without a key: passed over.
                at = direct.unwrap_or(key_end);
                continue;
            };
            let (value, behind) = self.value(text, self.behind_blanks(text, value), &mut field, &mut closings);
            at = behind;
            self.take(key, value, levels, &mut fields)?;
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
            let end = closings.find(text, at + 1, close)?;
            let is_whole = end + 1 == text.len() || field.separator.is_at(text, end + 1);
            is_whole.then_some((text.get(at + 1..end)?, end + 1))
        });
        enclosed.unwrap_or_else(|| {
            let end = field.start(at);
            (text.get(at..end).unwrap_or_default(), end)
        })
    }

    fn take(&self, key: &str, value: &str, levels: usize, fields: &mut Object) -> Result<(), Failed> {
        let key = if self.lenient { key.trim_matches(' ') } else { key };
        let key = key.trim_matches(|c| self.trim_key.contains(c));
        let key = changed(key, &self.remove_char_key, self.transform_key);
        let is_chosen = (self.include.is_empty() || self.include.iter().any(|one| *one == key))
            && !self.exclude.iter().any(|one| *one == key);
        let value = value.trim_matches(|c| self.trim_value.contains(c));
        let value = changed(value, &self.remove_char_value, self.transform_value);
        if key.is_empty() || !is_chosen || (value.is_empty() && !self.empty) {
            return Ok(());
        }
        let inner = match levels.checked_sub(1) {
            Some(levels) if self.recursive => self.pairs(&value, levels)?,
            _ => Object::new(),
        };
        let value = if inner.is_empty() { Value::from(&*value) } else { Value::Object(inner) };
        let name = if self.prefix.is_empty() { key } else { [&self.prefix, &*key].concat().into() };
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
    /// For `"`, `'`, `)`, `]` and `>`: from where it was looked for last, and where it is.
    known: [Option<(usize, Option<usize>)>; 5],
}

impl Closings {
    /// The first `close` at or behind byte `from`, which is behind what it closes; one behind a backslash does not close.
    fn find(&mut self, text: &str, from: usize, close: u8) -> Option<usize> {
        let known = &mut self.known[b"\"')]>".iter().position(|one| *one == close)?];
        match *known {
            // The last search has come by here, not with a backslash: what stands before `from` opens a value.
            Some((start, end)) if start <= from && end.is_none_or(|end| from <= end) => end,
            _ => {
                let end = closing(text.as_bytes(), from, close);
                looked_at(from..end.unwrap_or(text.len()));
                *known = Some((from, end));
                end
            }
        }
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
fn changed<'a>(text: &'a str, remove: &str, transform: Option<Transform>) -> Cow<'a, str> {
    let text: Cow<'_, str> = if remove.is_empty() || !text.contains(|c| remove.contains(c)) {
        text.into()
    } else {
        text.chars().filter(|c| !remove.contains(*c)).collect::<String>().into()
    };
    match transform {
        None => text,
        Some(Transform::Lowercase) => text.to_lowercase().into(),
        Some(Transform::Uppercase) => text.to_uppercase().into(),
        Some(Transform::Capitalize) => {
            let mut rest = text.chars();
            let first = rest.next().into_iter().flat_map(char::to_uppercase);
            first.chain(rest.as_str().to_lowercase().chars()).collect::<String>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::Place;
    use super::super::tests::{fields_of, path, plain};
    use super::{Kv, LEVELS_MAX, SEPARATOR_BYTES_MAX, Separator, Transform};
    use crate::event::Object;
    use proptest::prelude::*;
    use serde_json::json;
    use std::cell::Cell;

    fn chars(chars: &str) -> Separator {
        Separator::Chars(chars.to_owned())
    }

    fn pattern(text: &str) -> Separator {
        Separator::pattern(text).expect("an expression")
    }

    fn kv() -> Kv {
        Kv {
            place: Place { field: path("message"), target: None, overwrite: false },
            expand: false,
            field_split: chars(" "),
            value_split: chars("="),
            trim_key: String::new(),
            trim_value: String::new(),
            remove_char_key: String::new(),
            remove_char_value: String::new(),
            transform_key: None,
            transform_value: None,
            prefix: String::new(),
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
            json!({"a": "x y", "b": "'it''s'", "c": "1 2", "d": "3 4", "e": "5 6", "f": "\"open", "g": "\\\"q\\\""}),
        );
        check(kv(), r#"a="x \" y" b=1"#, json!({"a": "x \\\" y", "b": "1"}));
        check(kv(), "a=1 a=2 a=2", json!({"a": ["1", "2", "2"]}));
        check(Kv { duplicates: false, ..kv() }, "a=1 a=1 a=2 a=2", json!({"a": ["1", "2"]}));
        check(kv(), "no pairs at all", json!({}));
        check(kv(), "", json!({}));
        check(kv(), "host=x b=1", json!({"b": "1"}));
    }

    #[test]
    fn options() {
        let query = Kv { field_split: chars("&?"), ..kv() };
        check(query, "?q=a b&n=é&x=", json!({"q": "a b", "n": "é"}));
        check(Kv { value_split: chars(":="), ..kv() }, "a:1 b=2", json!({"a": "1", "b": "2"}));
        let trimmed = Kv { trim_key: "<>".to_owned(), trim_value: ",;".to_owned(), ..kv() };
        check(trimmed, "<a>=1, b=;2;", json!({"a": "1", "b": "2"}));
        check(Kv { prefix: "p_".to_owned(), include: vec!["a".to_owned()], ..kv() }, "a=1 b=2", json!({"p_a": "1"}));
        check(Kv { exclude: vec!["a".to_owned()], ..kv() }, "a=1 b=2", json!({"b": "2"}));
        check(Kv { brackets: false, ..kv() }, "a=[1] b=(2", json!({"a": "[1]", "b": "(2"}));
        check(Kv { empty: true, field_split: chars(","), ..kv() }, "a=,b=\"\"", json!({"a": "", "b": ""}));
        check(Kv { lenient: false, field_split: chars(","), ..kv() }, "a = 1", json!({"a ": " 1"}));
        check(Kv { expand: true, ..kv() }, "a.b=1 a.c=2", json!({"a": {"b": "1", "c": "2"}}));
        let below = Kv { place: Place { target: Some(path("kv")), ..kv().place }, ..kv() };
        check(below, "host=1", json!({"kv": {"host": "1"}}));
    }

    /// Scenario: openings whose closing is far behind, or escaped, or for another one. Guarantee: each gets its own.
    #[test]
    fn a_closing_is_found_for_each_opening() {
        check(kv(), "a=(x b=(y) c=(z", json!({"a": "x b=(y", "c": "(z"}));
        check(kv(), "a=(x b=(y c=z)d", json!({"a": "(x", "b": "(y", "c": "z)d"}));
        check(kv(), r"a=[x b=[y\] c=[z\]", json!({"a": "[x", "b": r"[y\]", "c": r"[z\]"}));
        check(kv(), r"a=(x\) b=(y\) c=(z) d=1", json!({"a": r"x\) b=(y\) c=(z", "d": "1"}));
        let odd = Kv { value_split: chars("=\\"), ..kv() };
        check(odd, r"a=(x b\(y\) c=1)z", json!({"a": "(x", "b": "(y\\)", "c": "1)z"}));
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
        for value in [json!(7), json!(["a=1"]), json!({"a": 1})] {
            assert_eq!(fields_of(kv(), value.clone()), plain(value, json!({"tags": ["_kv_failed"]})));
        }
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
        let removed = Kv { remove_char_key: "<>".to_owned(), remove_char_value: ",é".to_owned(), ..kv() };
        check(removed, "a<b>=1,0é00", json!({"ab": "1000"}));
        let upper =
            Kv { transform_key: Some(Transform::Uppercase), transform_value: Some(Transform::Capitalize), ..kv() };
        check(upper.clone(), "a=éTÉ b=x", json!({"A": "Été", "B": "X"}));
        check(Kv { include: vec!["A".to_owned()], ..upper }, "a=1 b=2", json!({"A": "1"}));
        check(Kv { transform_value: Some(Transform::Lowercase), ..kv() }, "a=XY", json!({"a": "xy"}));
        let nothing_left = Kv { remove_char_key: "a".to_owned(), ..kv() };
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
                    processor.pairs(&text, LEVELS_MAX).expect("few keys");
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
