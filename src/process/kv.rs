//! `kv`: reads `key=value` pairs between separators into fields, with the options of Logstash's filter of that name.
//!
//! A value may stand in quotes (`"…"`, `'…'`) or brackets (`(…)`, `[…]`, `<…>`), which are cut off; a key that comes again makes
//! a list. What is no pair is passed over, so a text without any is no failure. Not here: pairs within values, and patterns as
//! separators.

use super::parsed::{MEMBERS_MAX, Place};
use super::{Failed, Outcome, Process, Work};
use crate::event::{Object, Value};

/// `kv: {field, target, field_split, …}`. The separators and what is trimmed are sets of characters.
#[derive(Clone, Debug)]
pub struct Kv {
    pub place: Place,
    /// Keys with dots become levels.
    pub expand: bool,
    pub field_split: String,
    pub value_split: String,
    pub trim_key: String,
    pub trim_value: String,
    /// Before each key, once it is chosen.
    pub prefix: String,
    /// Empty: all.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    /// Brackets are cut off values.
    pub brackets: bool,
    /// An equal value of one key counts again.
    pub duplicates: bool,
    /// Keys whose value is empty are set.
    pub empty: bool,
    /// Blanks around `value_split` are no part of key and value.
    pub lenient: bool,
}

impl Process for Kv {
    fn name(&self) -> &'static str {
        "kv"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(text) = self.place.text(work)? else { return Ok(Outcome::Keep) };
        let fields = self.pairs(&text)?;
        if !fields.is_empty() {
            self.place.put(if self.expand { fields.expanded() } else { fields }, work)?;
        }
        Ok(Outcome::Keep)
    }
}

impl Kv {
    fn pairs(&self, text: &str) -> Result<Object, Failed> {
        let is_field = |c: char| self.field_split.contains(c);
        let is_value = |c: char| self.value_split.contains(c);
        let blanks = |text| if self.lenient { trim_blanks(text) } else { text };
        let mut fields = Object::new();
        let mut closings = Closings::default();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches(is_field);
            if rest.is_empty() {
                return Ok(fields);
            }
            let (key, behind) = rest.split_at(rest.find(|c| is_field(c) || is_value(c)).unwrap_or(rest.len()));
            let value = blanks(behind).strip_prefix(is_value);
            let Some(value) = value.filter(|_| !key.is_empty()) else {
                // A word, or a separator without a key: passed over up to the next field.
                rest = behind.strip_prefix(is_value).unwrap_or(behind);
                continue;
            };
            let value = blanks(value);
            let at = text.len() - value.len();
            let (value, behind) = self.value(text, at, &is_field, &mut closings);
            rest = behind;
            self.take(key, value, &mut fields)?;
        }
    }

    /// The value that starts at byte `at` of `text`, and what is behind it.
    fn value<'a>(
        &self,
        text: &'a str,
        at: usize,
        is_field: &impl Fn(char) -> bool,
        closings: &mut Closings,
    ) -> (&'a str, &'a str) {
        let value = text.get(at..).unwrap_or_default();
        let close = match value.as_bytes().first() {
            Some(quote @ (b'"' | b'\'')) => Some(*quote),
            Some(b'(') if self.brackets => Some(b')'),
            Some(b'[') if self.brackets => Some(b']'),
            Some(b'<') if self.brackets => Some(b'>'),
            _ => None,
        };
        let enclosed = close.and_then(|close| {
            let end = closings.find(text, at + 1, close)?;
            let behind = text.get(end + 1..)?;
            (behind.is_empty() || behind.starts_with(is_field)).then_some((text.get(at + 1..end)?, behind))
        });
        enclosed.unwrap_or_else(|| value.split_at(value.find(is_field).unwrap_or(value.len())))
    }

    fn take(&self, key: &str, value: &str, fields: &mut Object) -> Result<(), Failed> {
        let key = if self.lenient { key.trim_matches(' ') } else { key };
        let key = key.trim_matches(|c| self.trim_key.contains(c));
        let value = value.trim_matches(|c| self.trim_value.contains(c));
        let is_chosen = (self.include.is_empty() || self.include.iter().any(|one| one == key))
            && !self.exclude.iter().any(|one| one == key);
        if key.is_empty() || !is_chosen || (value.is_empty() && !self.empty) {
            return Ok(());
        }
        let name = if self.prefix.is_empty() { key.into() } else { [&self.prefix, key].concat() };
        let is_full = fields.len() == MEMBERS_MAX;
        match fields.get_mut(&name) {
            Some(Value::Array(values)) => {
                let is_new = self.duplicates || !values.iter().any(|known| known.as_str() == Some(value));
                if is_new && values.len() < MEMBERS_MAX {
                    values.push(value.into());
                }
            }
            Some(known) if !self.duplicates && known.as_str() == Some(value) => {}
            Some(known) => {
                let first = std::mem::replace(known, Value::Null);
                *known = Value::Array(vec![first, value.into()]);
            }
            None if is_full => return Err(Failed),
            None => drop(fields.insert(name, value)),
        }
        Ok(())
    }
}

fn trim_blanks(text: &str) -> &str {
    text.trim_start_matches(' ')
}

/// Where the closing characters of one text stand. What was looked for in vain, or found far behind, is known for the openings
/// that come before it: without that, a text of openings alone would be searched to its end for each of them.
#[derive(Default)]
struct Closings {
    /// For `"`, `'`, `)`, `]` and `>`: from where it was looked for last, and where it is.
    known: [Option<(usize, Option<usize>)>; 5],
}

impl Closings {
    /// The first `close` at or behind byte `from`; one behind a backslash does not close.
    fn find(&mut self, text: &str, from: usize, close: u8) -> Option<usize> {
        let known = &mut self.known[b"\"')]>".iter().position(|one| *one == close)?];
        // The last search has gone over `from` as this one would, unless it took what opens here for escaped.
        let is_escaped = from >= 2 && text.as_bytes().get(from - 2) == Some(&b'\\');
        match *known {
            Some((start, end)) if start <= from && end.is_none_or(|end| from <= end) && !is_escaped => end,
            _ => {
                let end = closing(text.as_bytes(), from, close);
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

#[cfg(test)]
mod tests {
    use super::super::parsed::Place;
    use super::super::tests::{fields_of, path, plain};
    use super::Kv;
    use proptest::prelude::*;
    use serde_json::json;

    fn kv() -> Kv {
        Kv {
            place: Place { field: path("message"), target: None, overwrite: false },
            expand: false,
            field_split: " ".to_owned(),
            value_split: "=".to_owned(),
            trim_key: String::new(),
            trim_value: String::new(),
            prefix: String::new(),
            include: Vec::new(),
            exclude: Vec::new(),
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
        let query = Kv { field_split: "&?".to_owned(), ..kv() };
        check(query, "?q=a b&n=é&x=", json!({"q": "a b", "n": "é"}));
        check(Kv { value_split: ":=".to_owned(), ..kv() }, "a:1 b=2", json!({"a": "1", "b": "2"}));
        let trimmed = Kv { trim_key: "<>".to_owned(), trim_value: ",;".to_owned(), ..kv() };
        check(trimmed, "<a>=1, b=;2;", json!({"a": "1", "b": "2"}));
        check(Kv { prefix: "p_".to_owned(), include: vec!["a".to_owned()], ..kv() }, "a=1 b=2", json!({"p_a": "1"}));
        check(Kv { exclude: vec!["a".to_owned()], ..kv() }, "a=1 b=2", json!({"b": "2"}));
        check(Kv { brackets: false, ..kv() }, "a=[1] b=(2", json!({"a": "[1]", "b": "(2"}));
        check(Kv { empty: true, field_split: ",".to_owned(), ..kv() }, "a=,b=\"\"", json!({"a": "", "b": ""}));
        check(Kv { lenient: false, field_split: ",".to_owned(), ..kv() }, "a = 1", json!({"a ": " 1"}));
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
        let odd = Kv { value_split: "=\\".to_owned(), ..kv() };
        check(odd, r"a=(x b\(y\) c=1)z", json!({"a": "(x", "b": "(y\\)", "c": "1)z"}));
    }

    #[test]
    fn what_is_no_text_fails() {
        for value in [json!(7), json!(["a=1"]), json!({"a": 1})] {
            assert_eq!(fields_of(kv(), value.clone()), plain(value, json!({"tags": ["_kv_failed"]})));
        }
    }

    proptest! {
        /// Guarantee: what is known of the last search is what another search would find.
        #[test]
        fn closings_are_where_a_search_finds_them(text in "[=( )\\\\a\"]{0,24}", froms in proptest::collection::vec(0usize..25, 1..6)) {
            let mut froms: Vec<usize> = froms.into_iter().filter(|from| *from >= 1 && *from <= text.len()).collect();
            froms.sort_unstable();
            let mut closings = super::Closings::default();
            for from in froms {
                // A value starts behind a separator, and that with what opens it.
                let is_opening = text.as_bytes()[from - 1] == b'(' && (from == 1 || text.as_bytes()[from - 2] != b'a');
                if is_opening {
                    let alone = super::closing(text.as_bytes(), from, b')');
                    prop_assert_eq!(closings.find(&text, from, b')'), alone, "{} from {}", text, from);
                }
            }
        }

        /// Guarantee: no text and no separators make it panic.
        #[test]
        fn any_text(text in "([a.]{1,3}|[= ,é]|\"|\\\\|[(\\[<>\\])]|\\PC){0,24}", field in "[ ,é=]{1,2}", value in "[=é:]{1,2}") {
            fields_of(Kv { field_split: field, value_split: value, ..kv() }, json!(text));
        }
    }
}
