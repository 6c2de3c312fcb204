//! `logfmt`: reads `level=info msg="it works" slow` into fields. Values are texts; a key without `=` is `true`.
//!
//! In quotes, `\"`, `\\`, `\/`, `\n`, `\r`, `\t` and `\u00e9` are escapes; before anything else a backslash is one. A text without any `key=value`, or with a quote that is not
//! closed, fails and changes nothing. Not here: other separators (`kv`).

use compact_str::CompactString;

use super::parsed::{MEMBERS_MAX, Place};
use super::{Failed, Outcome, Process, Work};
use crate::event::{Object, Value};

/// `logfmt: {field, target, …}`.
#[derive(Clone, Debug)]
pub struct Logfmt {
    pub place: Place,
    /// Keys with dots become levels.
    pub expand: bool,
}

impl Process for Logfmt {
    fn name(&self) -> &'static str {
        "logfmt"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(text) = self.place.text(work)? else { return Ok(Outcome::Keep) };
        let fields = pairs(&text)?;
        let put = if self.expand { Place::put_expanded } else { Place::put };
        put(&self.place, fields, work)?;
        Ok(Outcome::Keep)
    }
}

fn pairs(text: &str) -> Result<Object, Failed> {
    let mut members = Vec::new();
    let mut has_value = false;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, behind) = rest.split_at(end);
        if key.is_empty() || key.contains('"') || members.len() == MEMBERS_MAX {
            return Err(Failed);
        }
        let value = match behind.strip_prefix('=') {
            None => {
                rest = behind;
                Value::Bool(true)
            }
            Some(behind) => {
                has_value = true;
                let (value, behind) = match behind.strip_prefix('"') {
                    Some(quoted) => unquoted(quoted)?,
                    None => {
                        let (value, behind) = behind.split_at(behind.find(char::is_whitespace).unwrap_or(behind.len()));
                        (value.into(), behind)
                    }
                };
                rest = behind;
                Value::String(value)
            }
        };
        members.push((key.into(), value));
        rest = rest.trim_start();
    }
    if has_value { Ok(Object::from_members(members)) } else { Err(Failed) }
}

/// What stands before the closing quote, and what is behind it.
fn unquoted(text: &str) -> Result<(CompactString, &str), Failed> {
    let mut value = CompactString::default();
    let mut rest = text;
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest.as_bytes()).ok_or(Failed)?;
        let (before, behind) = rest.split_at(at);
        value.push_str(before);
        let mut behind = behind.chars();
        if behind.next() == Some('"') {
            let behind = behind.as_str();
            let is_end = behind.is_empty() || behind.starts_with(char::is_whitespace);
            return if is_end { Ok((value, behind)) } else { Err(Failed) };
        }
        match behind.next().ok_or(Failed)? {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            'u' => {
                let digits = behind.as_str().get(..4).ok_or(Failed)?;
                let code = u32::from_str_radix(digits, 16).map_err(|_| Failed)?;
                // Half of a surrogate pair is no character.
                value.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                behind = behind.as_str().get(4..).unwrap_or_default().chars();
            }
            other @ ('"' | '\\' | '/') => value.push(other),
            // `C:\Windows`: no escape.
            other => {
                value.push('\\');
                value.push(other);
            }
        }
        rest = behind.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::Place;
    use super::super::tests::{fields_of, path, plain};
    use super::Logfmt;
    use proptest::prelude::*;
    use serde_json::json;

    fn logfmt(target: Option<&str>, expand: bool) -> Logfmt {
        Logfmt { place: Place { field: path("message"), target: target.map(path), overwrite: false }, expand }
    }

    fn check(input: &str, expect: serde_json::Value) {
        assert_eq!(fields_of(logfmt(None, true), json!(input)), plain(input, expect), "{input}");
    }

    #[test]
    fn pairs_become_fields() {
        check(
            "level=info  n=5 slow\tempty= e2=\"\"",
            json!({"level": "info", "n": "5", "slow": true, "empty": "", "e2": ""}),
        );
        check(
            r#"msg="a \"b\"\n\\c \u00e9" x=a=b url="k=v w""#,
            json!({"msg": "a \"b\"\n\\c é", "x": "a=b", "url": "k=v w"}),
        );
        check(r#"path="C:\Windows\app" x="\x41\a""#, json!({"path": r"C:\Windows\app", "x": r"\x41\a"}));
        check("a.b=1 a.c=2 a.b=3", json!({"a": {"b": "3", "c": "2"}}));
        check("größe=ü", json!({"größe": "ü"}));
        let seen = fields_of(logfmt(Some("kv"), false), json!("a.b=1 host=x"));
        assert_eq!(seen, plain("a.b=1 host=x", json!({"kv": {"a.b": "1", "host": "x"}})));
        check("host=x fields=y b=1", json!({"host": "x", "b": "1"}));
    }

    #[test]
    fn what_is_none_fails_and_changes_nothing() {
        for line in ["", "plain words", "a=\"open", "=x", "a=\"x\"y b=1", "a=\"\\", "a=\"\\u12", "\"a b\"=1"] {
            check(line, json!({"tags": ["_logfmt_failed"]}));
        }
        for value in [json!(7), json!(["a=1"]), json!({"a": 1})] {
            assert_eq!(
                fields_of(logfmt(None, false), value.clone()),
                plain(value, json!({"tags": ["_logfmt_failed"]}))
            );
        }
    }

    proptest! {
        /// Guarantee: no text makes it panic.
        #[test]
        fn any_text(text in "([a.]{1,3}|=|\"|\\\\|u[0-9a-f]{4}| |\\PC){0,24}") {
            fields_of(logfmt(None, true), json!(text));
        }
    }
}
