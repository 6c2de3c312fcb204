//! `redact`: hides what must not leave the host: what patterns of the user's match, and card numbers, e-mail addresses, bearer
//! tokens and IP addresses. Each finding becomes a mask, or a keyed hash by which equal values can still be told.
//!
//! Everything is found in the text as it was, so that what one finding leaves is not looked at by another; findings that overlap
//! are one. Texts are looked at wherever they are below a field, and numbers as their digits. It takes a time linear in the
//! text, and what it makes of one is bounded. Not here: names of fields, which are not looked at.

use core::net::Ipv6Addr;
use std::fmt;
use std::ops::Range;

use compact_str::CompactString;
use regex::Regex;

use super::keyed::{Keyed, push_hex};
use super::texts::GROWTH_BYTES_MAX;
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, SyntaxError, Value, ValueRef};

/// The group of a pattern that alone is hidden.
const SECRET_GROUP: &str = "secret";
/// Bytes of a hash that stand for a value: among a million values two are the same once in 10^17.
const HASH_BYTES: usize = 12;
/// Levels of lists and objects below a field; what JSON and a config can make has less.
const DEPTH_MAX: usize = 128;

const EMAIL: &str = r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}";
/// RFC 6750's header and parameter, the parameter also as JSON (the answer of RFC 6749); and what a JWT looks like anywhere.
const BEARER: &str = r#"(?i:\bbearer[ \t]+(?<secret>[A-Za-z0-9._~+/-]{8,}=*))|\baccess_token(?:=|\\?"[ \t]*:[ \t]*\\?")(?<b>[A-Za-z0-9._~+/%-]+=*)|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"#;

/// `redact: {fields, patterns, builtin, action, mask, key}`.
#[derive(Clone, Debug)]
pub struct Redact {
    pub fields: Vec<FieldPath>,
    pub finders: Vec<Finder>,
    pub action: Action,
}

/// What a finding becomes.
#[derive(Clone, Debug)]
pub enum Action {
    /// This text.
    Mask(CompactString),
    /// The hash of the value, as [`HASH_BYTES`] in hexadecimal digits.
    Hash(Keyed),
}

/// What is to be hidden.
#[derive(Clone)]
pub enum Finder {
    /// All that it matches, or of it what its groups of these numbers do.
    Pattern(Regex, Vec<usize>),
    /// 13 to 19 digits with a right check digit (Luhn's).
    Card,
    Email(Regex),
    Ipv4,
    Ipv6,
}

/// A part of a text that is to be hidden, and the value that it writes, where that can be written differently.
struct Finding {
    range: Range<usize>,
    value: Option<String>,
}

impl Finder {
    /// What this expression matches; of one with a group `(?<secret>…)` only that.
    ///
    /// # Errors
    /// An expression that is none.
    pub fn pattern(text: &str) -> Result<Self, SyntaxError> {
        let regex = Regex::new(text).map_err(|error| SyntaxError::new(0, error.to_string()))?;
        let secret = regex.capture_names().position(|name| name == Some(SECRET_GROUP));
        Ok(Self::Pattern(regex, secret.into_iter().collect()))
    }

    /// E-mail addresses.
    pub fn email() -> Self {
        Self::Email(Regex::new(EMAIL).expect("the expression is a constant"))
    }

    /// Bearer tokens: behind `Bearer`, in `access_token=…` and `"access_token": "…"`, and JSON web tokens.
    pub fn bearer() -> Self {
        Self::Pattern(Regex::new(BEARER).expect("the expression is a constant"), vec![1, 2])
    }

    fn find(&self, text: &str, found: &mut Vec<Finding>) {
        match self {
            Self::Pattern(regex, groups) if groups.is_empty() => {
                found.extend(regex.find_iter(text).map(|found| Finding { range: found.range(), value: None }));
            }
            Self::Pattern(regex, groups) => found.extend(regex.captures_iter(text).map(|captures| {
                let group = groups.iter().find_map(|group| captures.get(*group));
                Finding { range: group.unwrap_or_else(|| captures.get_match()).range(), value: None }
            })),
            Self::Card => cards(text, found),
            Self::Email(_) if !text.contains('@') => {}
            Self::Email(regex) => found.extend(
                regex
                    .find_iter(text)
                    .map(|found| Finding { range: found.range(), value: Some(found.as_str().to_ascii_lowercase()) }),
            ),
            Self::Ipv4 => tokens(text, |byte| byte.is_ascii_digit() || byte == b'.', ipv4, found),
            Self::Ipv6 => {
                tokens(text, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'), ipv6, found);
            }
        }
    }
}

impl fmt::Debug for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(regex, _) | Self::Email(regex) => write!(f, "{regex}"),
            Self::Card => f.write_str("card"),
            Self::Ipv4 => f.write_str("ipv4"),
            Self::Ipv6 => f.write_str("ipv6"),
        }
    }
}

/// Finds, among the longest runs of such bytes that stand alone, those that `read` takes.
fn tokens(
    text: &str,
    is_part: impl Fn(u8) -> bool,
    read: impl Fn(&str) -> Option<(Range<usize>, String)>,
    found: &mut Vec<Finding>,
) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(start) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| is_part(*byte))) {
        let start = at + start;
        let end = bytes[start..].iter().position(|byte| !is_part(*byte)).map_or(bytes.len(), |length| start + length);
        at = end;
        let Some((range, value)) = text.get(start..end).and_then(&read) else { continue };
        let range = start + range.start..start + range.end;
        if is_word(bytes, range.start.checked_sub(1)) || is_word(bytes, Some(range.end)) {
            continue;
        }
        found.push(Finding { range, value: Some(value) });
    }
}

fn is_word(bytes: &[u8], at: Option<usize>) -> bool {
    at.and_then(|at| bytes.get(at)).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// An address of four numbers, also with zeros before them; a full stop behind it is none of it.
fn ipv4(token: &str) -> Option<(Range<usize>, String)> {
    let address = token.trim_matches('.');
    if !(7..=15).contains(&address.len()) {
        return None;
    }
    let start = token.find(address)?;
    let mut parts = [0; 4];
    let mut texts = address.split('.');
    for part in &mut parts {
        let text = texts.next().filter(|text| (1..=3).contains(&text.len()))?;
        *part = text.parse::<u8>().ok()?;
    }
    let value = core::net::Ipv4Addr::from(parts).to_string();
    texts.next().is_none().then_some((start..start + address.len(), value))
}

/// An address with a digit in it: `a::b` is more often a name in a program.
fn ipv6(token: &str) -> Option<(Range<usize>, String)> {
    // A single colon at either end, or a full stop, is of the text around it.
    let inner = token.trim_end_matches('.');
    let inner = if inner.ends_with(':') && !inner.ends_with("::") { inner.get(..inner.len() - 1)? } else { inner };
    let start = usize::from(inner.starts_with(':') && !inner.starts_with("::"));
    let inner = inner.get(start..)?;
    if !(3..=45).contains(&inner.len()) || !inner.contains(':') || !inner.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let address: Ipv6Addr = inner.parse().ok()?;
    Some((start..start + inner.len(), address.to_string()))
}

/// Finds the numbers of cards: digits alone, or in the groups in which they are printed, all with the same character between.
fn cards(text: &str, found: &mut Vec<Finding>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(start) = bytes.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        let start = at + start;
        let end = digits_end(bytes, start);
        let stands_alone = |end| !is_word(bytes, start.checked_sub(1)) && !is_word(bytes, Some(end));
        let ends = grouped_ends(bytes, start).into_iter().rev().flatten().chain([end]);
        let card = ends.into_iter().find_map(|end| {
            let digits: String = text.get(start..end)?.chars().filter(char::is_ascii_digit).collect();
            (is_card(digits.as_bytes()) && stands_alone(end)).then_some((end, digits))
        });
        at = match card {
            Some((end, digits)) => {
                found.push(Finding { range: start..end, value: Some(digits) });
                end
            }
            None => end,
        };
    }
}

fn digits_end(bytes: &[u8], start: usize) -> usize {
    bytes[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |length| start + length)
}

/// Where digits in groups of four, or of 4-6-5 and 4-6-4, may end, all with the same character between.
fn grouped_ends(bytes: &[u8], start: usize) -> [Option<usize>; 2] {
    let (mut ends, mut lengths) = ([None; 2], [0; 5]);
    let (mut at, mut between) = (start, None);
    for group in 0..lengths.len() {
        let end = digits_end(bytes, at);
        lengths[group] = end - at;
        match lengths[..=group] {
            [4, 6, 4 | 5] | [4, 4, 4, 1..=4] => ends[0] = Some(end),
            [4, 4, 4, 4, 1..=3] => ends[1] = Some(end),
            _ => {}
        }
        let Some(separator) = bytes.get(end).filter(|byte| matches!(byte, b' ' | b'-')) else { break };
        if between.get_or_insert(separator) != &separator || !bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            break;
        }
        at = end + 1;
    }
    ends
}

/// Whether the digits are those of a card: how many, the first of them, and the last, which checks the others.
fn is_card(digits: &[u8]) -> bool {
    if !(13..=19).contains(&digits.len()) || !(b'2'..=b'6').contains(&digits[0]) {
        return false;
    }
    let sum: u32 = digits.iter().rev().enumerate().fold(0, |sum, (place, digit)| {
        let digit = u32::from(digit - b'0');
        let doubled = digit * 2;
        sum + if place % 2 == 0 { digit } else { doubled / 10 + doubled % 10 }
    });
    sum.is_multiple_of(10)
}

impl Redact {
    /// The text without what is to be hidden; `None` if there is nothing.
    fn text(&self, text: &str) -> Option<CompactString> {
        let mut found = Vec::new();
        self.finders.iter().for_each(|finder| finder.find(text, &mut found));
        found.retain(|finding| !finding.range.is_empty());
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|finding| finding.range.start);
        let mut merged: Vec<Finding> = Vec::with_capacity(found.len());
        for finding in found {
            match merged.last_mut() {
                Some(last) if finding.range.start < last.range.end => {
                    if finding.range.end > last.range.end || finding.range == last.range {
                        last.range.end = finding.range.end;
                        // As one value they are what is written.
                        last.value = None;
                    }
                }
                _ => merged.push(finding),
            }
        }
        let mut made = String::with_capacity(text.len());
        let mut end = 0;
        for finding in &merged {
            made.push_str(text.get(end..finding.range.start).unwrap_or_default());
            let value = text.get(finding.range.clone()).unwrap_or_default();
            self.hide(finding.value.as_deref().unwrap_or(value), &mut made);
            end = finding.range.end;
            if made.len() > text.len() + GROWTH_BYTES_MAX {
                // What is hidden must not come out because there is too much of it.
                made.clear();
                self.hide(text, &mut made);
                return Some(made.into());
            }
        }
        made.push_str(text.get(end..).unwrap_or_default());
        Some(made.into())
    }

    fn hide(&self, value: &str, out: &mut String) {
        match &self.action {
            Action::Mask(mask) => out.push_str(mask),
            Action::Hash(key) => push_hex(&key.hash(value.as_bytes())[..HASH_BYTES], out),
        }
    }

    /// The value without what is to be hidden; `None` if there is nothing.
    fn value(&self, value: &ValueRef<'_>, depth: usize) -> Result<Option<Value>, Failed> {
        let depth = depth.checked_sub(1).ok_or(Failed)?;
        Ok(match value {
            ValueRef::Str(text) => self.text(text).map(Value::String),
            ValueRef::BigInt(digits) => self.text(digits).map(Value::String),
            ValueRef::Int(number) => self.text(&number.to_string()).map(Value::String),
            ValueRef::Array(values) => {
                let mut changed: Option<Vec<Value>> = None;
                for (index, value) in values.iter().enumerate() {
                    if let Some(new) = self.value(&value.into(), depth)? {
                        changed.get_or_insert_with(|| values.to_vec())[index] = new;
                    }
                }
                changed.map(Value::Array)
            }
            ValueRef::Object(object) => {
                let mut changed = None;
                for (key, value) in object.iter() {
                    if let Some(new) = self.value(&value.into(), depth)? {
                        changed.get_or_insert_with(|| object.clone().into_owned()).insert(key, new);
                    }
                }
                changed.map(Value::Object)
            }
            ValueRef::Null | ValueRef::Bool(_) | ValueRef::Float(_) | ValueRef::Timestamp(_) => None,
        })
    }
}

impl Process for Redact {
    fn name(&self) -> &'static str {
        "redact"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for field in &self.fields {
            let changed = work.get(field).map_or(Ok(None), |value| self.value(&value, DEPTH_MAX));
            let done = changed.and_then(|changed| changed.map_or(Ok(()), |value| Ok(work.set(field, value)?)));
            if let Err(failed) = done {
                all = Err(failed);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, fields_of, path, plain};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn redact(finders: Vec<Finder>) -> Redact {
        Redact { fields: vec![path("message")], finders, action: Action::Mask("***".into()) }
    }

    fn check(finder: Finder, input: &str, expect: &str) {
        assert_eq!(fields_of(redact(vec![finder]), json!(input)), plain(expect, json!({})), "{input}");
    }

    #[test]
    fn cards_have_a_right_check_digit() {
        for (input, expect) in [
            ("card 4111111111111111.", "card ***."),
            ("4111 1111 1111 1111, 4111-1111-1111-1111", "***, ***"),
            ("3782 822463 10005 and 378282246310005", "*** and ***"),
            ("4111 1111 1111 1112", "4111 1111 1111 1112"),
            ("4111-1111 1111-1111", "4111-1111 1111-1111"),
            ("6011000990139424 5555555555554444", "*** ***"),
            ("pan=4222222222222;", "pan=***;"),
            ("order 1764140000000 of 4111111111111111x", "order 1764140000000 of 4111111111111111x"),
            ("12345678901234567890123456789", "12345678901234567890123456789"),
            ("7 4111 1111 1111 1111 9", "7 *** 9"),
            ("a1b2c4111111111111111f", "a1b2c4111111111111111f"),
        ] {
            check(Finder::Card, input, expect);
        }
    }

    #[test]
    fn addresses_and_tokens() {
        for (input, expect) in [
            ("10.1.2.3:80 ([192.168.001.010]).", "***:80 ([***])."),
            ("v1.2.3.4 and 1.2.3.4.5 and 1.2.3.256 and 10.0.0.1.", "v1.2.3.4 and 1.2.3.4.5 and 1.2.3.256 and ***."),
        ] {
            check(Finder::Ipv4, input, expect);
        }
        for (input, expect) in [
            ("[2001:db8::1]:443 ip:2001:DB8:0:0:0:0:0:1 ::1, fe80::1%eth0", "[***]:443 ip:*** ***, ***%eth0"),
            (
                "::ffff:10.0.0.1. 12:30:45 std::string a::b 00:00:5e:00:53:23",
                "***. 12:30:45 std::string a::b 00:00:5e:00:53:23",
            ),
        ] {
            check(Finder::Ipv6, input, expect);
        }
        check(Finder::email(), "from <a.b+c@mail.example.org>, x@y to @z", "from <***>, x@y to @z");
        for (input, expect) in [
            ("Authorization: Bearer mF_9.B5f-4.1JqM==, ok", "Authorization: Bearer ***, ok"),
            ("GET /?access_token=abc%2F1&x=1", "GET /?access_token=***&x=1"),
            (r#"{"access_token": "abc.1","expires_in":5}"#, r#"{"access_token": "***","expires_in":5}"#),
            (r#"{"body":"{\"access_token\":\"abc\"}"}"#, r#"{"body":"{\"access_token\":\"***\"}"}"#),
            ("t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln;", "t=***;"),
            ("a bearer of news", "a bearer of news"),
        ] {
            check(Finder::bearer(), input, expect);
        }
    }

    #[test]
    fn patterns_hide_what_they_match_or_their_secret() {
        let pattern = |text| Finder::pattern(text).expect("an expression");
        check(pattern("pass[a-z]*=[^ ]+"), "user=a password=b x", "user=a *** x");
        check(pattern("(user|pass)=(?<secret>[^ ]+)"), "user=a pass=b x", "user=*** pass=*** x");
        check(pattern("x*"), "axxb", "a***b");
        assert!(Finder::pattern("(").is_err());
        let overlapping = redact(vec![pattern("bcd"), pattern("abc"), pattern("z")]);
        assert_eq!(fields_of(overlapping, json!("1abcd2z")), plain("1***2***", json!({})));
    }

    /// Guarantee: equal values have equal tokens however they are written, others have others, and without the key nobody can
    /// make them.
    #[test]
    fn hashes_are_keyed() {
        let hashed = |key: &str, input: &str| {
            let finders = vec![Finder::Card, Finder::email(), Finder::Ipv6, Finder::Ipv4];
            let redact = Redact { action: Action::Hash(Keyed::new(key.as_bytes())), ..redact(finders) };
            fields_of(redact, json!(input))["message"].as_str().expect("a text").to_owned()
        };
        let token = hashed("k", "4111111111111111");
        assert_eq!(token.len(), 24);
        assert_eq!(hashed("k", "a 4111 1111 1111 1111 b"), format!("a {token} b"));
        assert_ne!(hashed("other", "4111111111111111"), token);
        assert_ne!(hashed("k", "5555555555554444"), token);
        assert_eq!(hashed("k", "A@Example.org"), hashed("k", "a@example.org"));
        assert_eq!(hashed("k", "2001:DB8:0::1"), hashed("k", "2001:db8::1"));
    }

    #[test]
    fn looks_wherever_a_text_is() {
        let fields = Redact { fields: ["a", "n", "none", "f"].map(path).to_vec(), ..redact(vec![Finder::Card]) };
        check_fields(
            fields,
            json!({"a": {"b": ["4111111111111111", 1, null], "c": true}, "n": 4_111_111_111_111_111_i64, "f": 1.5}),
            json!({"a": {"b": ["***", 1, null], "c": true}, "n": "***", "f": 1.5}),
        );
    }

    /// Scenario: a text of which the masks would be many times longer. Guarantee: bounded, and nothing comes out.
    #[test]
    fn what_would_grow_too_much_is_hidden_as_a_whole() {
        let finders = vec![Finder::pattern("s").expect("an expression")];
        let redact = Redact { action: Action::Mask("m".repeat(100).into()), ..redact(finders) };
        assert_eq!(redact.text(&"s ".repeat(20_000)).as_deref(), Some("m".repeat(100).as_str()));
    }

    fn every() -> Vec<Finder> {
        vec![Finder::Card, Finder::email(), Finder::bearer(), Finder::Ipv4, Finder::Ipv6]
    }

    proptest! {
        /// Guarantee: no text makes it panic, and what is hidden is not found again.
        #[test]
        fn any_text(text in "([0-9]{1,4}[ .:-]){0,9}|(\\PC|[a-f0-9:.@ -]){0,40}|(4111-?){1,5}|([0-9a-f]{1,4}:){1,9}") {
            if let Some(made) = redact(every()).text(&text) {
                prop_assert_eq!(redact(every()).text(&made), None, "{} {}", text, made);
            }
        }
    }
}
