//! `dissect`: takes a text apart at the delimiters between keys, as Filebeat and Logstash do. No regular expression: one
//! search for each delimiter, so a line costs no more than its length.
//!
//! ```text
//! %{ts} %{+ts} [%{level->}] %{?name}=%{&name} %{size|integer} %{}
//! ```
//!
//! What does not fit fails, and leaves the event as it was. Not here: alternatives and optional parts (`grok`).

use memchr::memmem::Finder;

use super::parsed::Place;
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, SyntaxError, Value};

/// Keys a tokenizer may have: their positions are kept on the stack.
const KEYS_MAX: usize = 128;

/// `dissect: {tokenizer, field, target_prefix, …}`.
#[derive(Clone, Debug)]
pub struct Dissect {
    pub place: Place,
    pub tokenizer: Tokenizer,
    /// The sides of values from which `trim_chars` are cut.
    pub trim: Trim,
    pub trim_chars: String,
}

/// From which sides of a value characters are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trim {
    #[default]
    None,
    Left,
    Right,
    All,
}

/// A compiled tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// The text begins with it.
    before: Box<str>,
    /// In the order of the text.
    keys: Vec<Key>,
    /// The keys in the order in which their values are put together: by `/N`, then as in the text.
    order: Vec<usize>,
    /// The names, each once.
    slots: Vec<Slot>,
    /// Setting a field may fail when others are set already: the names of some come from the text, or one is below another.
    may_clash: bool,
}

#[derive(Clone, Debug)]
struct Key {
    kind: Kind,
    /// The number of its name among the slots; of no meaning for [`Kind::Skip`].
    slot: usize,
    /// Its value has exactly so many bytes; 0: up to the delimiter.
    length: usize,
    /// Repetitions of the delimiter behind it are passed over.
    padded: bool,
    data_type: Option<DataType>,
    /// What an appended value is joined with: the delimiter before it.
    joint: Box<str>,
    /// What ends it; `None`: it goes to the end of the text.
    after: Option<Delimiter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    /// `+name`
    Append,
    /// `?name`, `*name`: a name for [`Kind::Indirect`] that becomes no field.
    Reference,
    /// `&name`: the value of that key is the name.
    Indirect,
    Skip,
}

#[derive(Clone, Debug)]
struct Slot {
    name: Box<str>,
    path: FieldPath,
    is_saved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataType {
    Integer,
    Long,
    Float,
    Boolean,
    Ip,
    String,
}

#[derive(Clone, Debug)]
enum Delimiter {
    Empty,
    Byte(u8),
    Text(Box<Finder<'static>>),
}

impl Delimiter {
    fn new(text: &str) -> Self {
        match text.as_bytes() {
            [] => Self::Empty,
            [byte] => Self::Byte(*byte),
            bytes => Self::Text(Box::new(Finder::new(bytes).into_owned())),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Byte(_) => 1,
            Self::Text(finder) => finder.needle().len(),
        }
    }

    /// How far behind the start of `text` it stands.
    fn find(&self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Empty => Some(0),
            Self::Byte(byte) => memchr::memchr(*byte, text),
            Self::Text(finder) => finder.find(text),
        }
    }

    fn is_at(&self, text: &[u8], at: usize) -> bool {
        let rest = text.get(at..).unwrap_or_default();
        match self {
            Self::Empty => true,
            Self::Byte(byte) => rest.first() == Some(byte),
            Self::Text(finder) => rest.starts_with(finder.needle()),
        }
    }

    /// Where the last of its repetitions from `at` on begins.
    fn last_of_row(&self, text: &[u8], mut at: usize) -> usize {
        if self.len() == 0 {
            return at;
        }
        loop {
            match [1, self.len()].into_iter().find(|step| self.is_at(text, at + step)) {
                Some(step) => at += step,
                None => return at,
            }
        }
    }
}

impl Tokenizer {
    /// Reads a tokenizer.
    ///
    /// # Errors
    /// No key, an unclosed one, a name that is none, prefixes or types that do not exist, a `&name` without its name, or more
    /// than 128 keys.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let mut made =
            Self { before: "".into(), keys: Vec::new(), order: Vec::new(), slots: Vec::new(), may_clash: false };
        let mut ordinals = Vec::new();
        let mut indirect = Vec::new();
        let mut at = 0;
        loop {
            let rest = text.get(at..).unwrap_or_default();
            let open = rest.find("%{");
            let delimiter = rest.get(..open.unwrap_or(rest.len())).unwrap_or_default();
            match made.keys.last_mut() {
                None => made.before = delimiter.into(),
                Some(_) if open.is_none() && delimiter.is_empty() => {}
                Some(last) => last.after = Some(Delimiter::new(delimiter)),
            }
            let Some(open) = open else { break };
            let inner = at + open + 2;
            let Some(length) = text.get(inner..).and_then(|rest| rest.find('}')) else {
                return Err(SyntaxError::new(text.len(), "expected `}`"));
            };
            if made.keys.len() == KEYS_MAX {
                return Err(SyntaxError::new(at + open, format!("expected at most {KEYS_MAX} keys")));
            }
            let written = text.get(inner..inner + length).unwrap_or_default();
            let (key, ordinal) = made.key(written, inner, delimiter)?;
            if key.kind == Kind::Indirect {
                indirect.push((key.slot, inner));
            }
            made.keys.push(key);
            ordinals.push(ordinal);
            at = inner + length + 1;
        }
        if made.keys.is_empty() {
            return Err(SyntaxError::new(0, "expected at least one key: `%{name}`"));
        }
        for (slot, at) in indirect {
            if !made.keys.iter().any(|key| key.slot == slot && !matches!(key.kind, Kind::Indirect | Kind::Skip)) {
                let name = &made.slots[slot].name;
                return Err(SyntaxError::new(at, format!("`&{name}` needs a key that holds the name: `%{{?{name}}}`")));
            }
        }
        for key in made.keys.iter().filter(|key| key.kind == Kind::Reference) {
            made.slots[key.slot].is_saved = false;
        }
        made.may_clash = made.keys.iter().any(|key| key.kind == Kind::Indirect) || made.has_clash();
        made.order = (0..made.keys.len()).collect();
        made.order.sort_by_key(|index| (made.keys[*index].kind == Kind::Indirect, ordinals[*index]));
        Ok(made)
    }

    /// A field takes no text, or has another one below it.
    fn has_clash(&self) -> bool {
        let saved = || self.slots.iter().filter(|slot| slot.is_saved).map(|slot| &slot.path);
        saved()
            .any(|path| matches!(path.root(), "@timestamp" | "@metadata") || saved().any(|other| is_above(path, other)))
    }

    /// The same with all fields below `target`.
    #[must_use]
    pub fn below(mut self, target: &FieldPath) -> Self {
        self.slots.iter_mut().for_each(|slot| slot.path = slot.path.below(target));
        self.may_clash |= self.has_clash();
        self
    }

    /// The key in `%{…}`, which stands at byte `at`, and its `/N`.
    fn key(&mut self, written: &str, at: usize, before: &str) -> Result<(Key, u32), SyntaxError> {
        let mut rest = written;
        let mut data_type = None;
        if let Some((name, word)) = rest.rsplit_once('|') {
            data_type = Some(DataType::parse(word).ok_or_else(|| {
                let known = "expected one of the types `integer`, `long`, `float`, `double`, `boolean`, `ip`, `string`";
                SyntaxError::new(at + name.len() + 1, known)
            })?);
            rest = name;
        }
        let padded = rest.ends_with("->");
        rest = rest.strip_suffix("->").unwrap_or(rest);
        let length = number_behind(&mut rest, '#').unwrap_or(0);
        let ordinal = number_behind(&mut rest, '/').unwrap_or(0);
        let (kind, name) = match rest.as_bytes().first() {
            _ if ["+&", "&+"].iter().any(|both| rest.starts_with(both)) => {
                return Err(SyntaxError::new(at, "expected either `+` or `&` before a name"));
            }
            None => (Kind::Skip, ""),
            Some(b'+') => (Kind::Append, rest.get(1..).unwrap_or_default()),
            Some(b'&') => (Kind::Indirect, rest.get(1..).unwrap_or_default()),
            Some(b'?' | b'*') if rest.len() == 1 => (Kind::Skip, ""),
            Some(b'?' | b'*') => (Kind::Reference, rest.get(1..).unwrap_or_default()),
            Some(_) => (Kind::Normal, rest),
        };
        let slot = if kind == Kind::Skip { 0 } else { self.slot(name, at + rest.len() - name.len())? };
        let has_type = |key: &Key| key.slot == slot && key.data_type.is_some();
        if kind == Kind::Append && (data_type.is_some() || self.keys.iter().any(has_type)) {
            return Err(SyntaxError::new(at, "what is put together with `+` is a text: expected no type"));
        }
        let joint = if before.is_empty() { " " } else { before };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok((Key { kind, slot, length, padded, data_type, joint: joint.into(), after: None }, ordinal))
    }

    fn slot(&mut self, name: &str, at: usize) -> Result<usize, SyntaxError> {
        if let Some(known) = self.slots.iter().position(|slot| &*slot.name == name) {
            return Ok(known);
        }
        let path = FieldPath::parse(name).map_err(|error| SyntaxError::new(at + error.at, error.message))?;
        self.slots.push(Slot { name: name.into(), path, is_saved: true });
        Ok(self.slots.len() - 1)
    }

    /// The range of each key's value.
    fn ranges(&self, text: &str, ranges: &mut [(usize, usize)]) -> Option<()> {
        let bytes = text.as_bytes();
        if text.is_empty() || !text.starts_with(&*self.before) {
            return None;
        }
        let mut at = self.before.len();
        for (key, range) in self.keys.iter().zip(ranges) {
            let end = match &key.after {
                _ if key.length > 0 => at.checked_add(key.length).filter(|end| text.is_char_boundary(*end))?,
                None => text.len(),
                Some(delimiter) => at + delimiter.find(bytes.get(at..)?)?,
            };
            *range = (at, end);
            at = match &key.after {
                None if end == text.len() => end,
                None => return None,
                Some(delimiter) if !delimiter.is_at(bytes, end) => return None,
                Some(delimiter) if key.padded => delimiter.last_of_row(bytes, end) + delimiter.len(),
                Some(delimiter) => end + delimiter.len(),
            };
        }
        Some(())
    }
}

/// `below` is a field below `above`.
fn is_above(above: &FieldPath, below: &FieldPath) -> bool {
    below.segments().len() > above.segments().len() && below.segments().starts_with(above.segments())
}

/// Cuts `#12` off the end; the number, which has one or two digits.
fn number_behind(text: &mut &str, mark: char) -> Option<u32> {
    let (before, digits) = text.rsplit_once(mark)?;
    let is_number = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| is_number && !before.is_empty())?;
    *text = before;
    Some(number)
}

impl DataType {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "integer" | "int" => Self::Integer,
            "long" => Self::Long,
            "float" | "double" => Self::Float,
            "boolean" => Self::Boolean,
            "ip" => Self::Ip,
            "string" => Self::String,
            _ => return None,
        })
    }

    /// The text as such a value; what is none stays a text, as in Filebeat.
    fn convert(self, text: &str) -> Value {
        let cut = text.trim_end_matches(' ');
        let integer = || match cut.strip_prefix("0x").or_else(|| cut.strip_prefix("0X")) {
            Some(digits) if !digits.starts_with(['+', '-']) => i64::from_str_radix(digits, 16).ok(),
            _ => cut.parse::<i64>().ok(),
        };
        let made = match self {
            Self::Integer => integer().filter(|number| i32::try_from(*number).is_ok()).map(Value::Int),
            Self::Long => integer().map(Value::Int),
            Self::Float => cut.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Float),
            Self::Boolean => match cut {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Ip => cut.parse::<core::net::IpAddr>().ok().map(|_| Value::from(cut)),
            Self::String => Some(Value::from(cut)),
        };
        made.unwrap_or_else(|| Value::from(text))
    }
}

impl Dissect {
    fn trimmed<'a>(&self, text: &'a str) -> &'a str {
        let is_cut = |c: char| self.trim_chars.contains(c);
        match self.trim {
            Trim::None => text,
            Trim::Left => text.trim_start_matches(is_cut),
            Trim::Right => text.trim_end_matches(is_cut),
            Trim::All => text.trim_matches(is_cut),
        }
    }

    fn path<'a>(&'a self, of: &'a FieldOf) -> &'a FieldPath {
        match of {
            FieldOf::Slot(slot) => &self.tokenizer.slots[*slot].path,
            FieldOf::Named(path) => path,
        }
    }

    /// Where a field goes whose name stood in the text: dots are levels, if all levels have names.
    fn named(&self, name: &str) -> Result<FieldPath, Failed> {
        let path = FieldPath::parse(name).ok().or_else(|| FieldPath::from_segments([name])).ok_or(Failed)?;
        Ok(match &self.place.target {
            Some(target) => path.below(target),
            None => path,
        })
    }

    /// The fields that the text has.
    fn fields(&self, text: &str) -> Result<Vec<(FieldOf, Value)>, Failed> {
        let Tokenizer { keys, order, slots, .. } = &self.tokenizer;
        let mut ranges = [(0, 0); KEYS_MAX];
        self.tokenizer.ranges(text, &mut ranges).ok_or(Failed)?;
        let value = |index: usize| {
            let (start, end) = ranges[index];
            self.trimmed(text.get(start..end).unwrap_or_default())
        };
        let mut fields: Vec<(FieldOf, Value)> = Vec::with_capacity(keys.len());
        for index in order {
            let key = &keys[*index];
            let text = value(*index);
            let there = fields.iter_mut().find(|(of, _)| matches!(of, FieldOf::Slot(slot) if *slot == key.slot));
            match (key.kind, there) {
                (Kind::Skip, _) => {}
                (Kind::Indirect, named) => {
                    let Some((_, Value::String(name))) = named else { continue };
                    let name = name.clone();
                    let made = key.data_type.map_or_else(|| Value::from(text), |as_| as_.convert(text));
                    match slots.iter().position(|slot| *slot.name == *name && slot.is_saved) {
                        Some(known) => {
                            fields.retain(|(of, _)| !matches!(of, FieldOf::Slot(slot) if *slot == known));
                            fields.push((FieldOf::Slot(known), made));
                        }
                        None => fields.push((FieldOf::Named(self.named(&name)?), made)),
                    }
                }
                (Kind::Append, Some((_, Value::String(there)))) => {
                    there.push_str(&key.joint);
                    there.push_str(text);
                }
                (_, there) => {
                    let made = key.data_type.map_or_else(|| Value::from(text), |as_| as_.convert(text));
                    match there {
                        Some((_, there)) => *there = made,
                        None => fields.push((FieldOf::Slot(key.slot), made)),
                    }
                }
            }
        }
        fields.retain(|(of, _)| !matches!(of, FieldOf::Slot(slot) if !slots[*slot].is_saved));
        Ok(fields)
    }
}

/// Whose value it is.
enum FieldOf {
    Slot(usize),
    /// Of a name that stood in the text.
    Named(FieldPath),
}

impl Process for Dissect {
    fn name(&self) -> &'static str {
        "dissect"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(text) = self.place.text(work)? else { return Ok(Outcome::Keep) };
        let fields = self.fields(&text)?;
        for (of, _) in &fields {
            let path = self.path(of);
            if !self.place.may_replace(path, work) || !work.view().is_open(path) {
                return Err(Failed);
            }
        }
        let paths = || fields.iter().map(|(of, _)| self.path(of));
        if self.tokenizer.may_clash && paths().any(|path| paths().any(|other| is_above(path, other))) {
            return Err(Failed);
        }
        let before = self.tokenizer.may_clash.then(|| work.event.clone());
        for (of, value) in fields {
            if let Err(error) = work.set(self.path(&of), value) {
                if let Some(before) = before {
                    *work.event = before;
                }
                return Err(error.into());
            }
        }
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::Place;
    use super::super::tests::{fields_of, path, plain};
    use super::{Dissect, Tokenizer, Trim};
    use proptest::prelude::*;
    use serde_json::json;

    fn dissect(tokenizer: &str) -> Dissect {
        Dissect {
            place: Place { field: path("message"), target: None, overwrite: false },
            tokenizer: Tokenizer::parse(tokenizer).unwrap_or_else(|error| panic!("{tokenizer}: {error}")),
            trim: Trim::None,
            trim_chars: " ".to_owned(),
        }
    }

    /// `None`: it does not fit.
    fn check(tokenizer: &str, input: &str, expect: Option<serde_json::Value>) {
        let expect = match expect {
            Some(fields) => plain(input, fields),
            None => plain(input, json!({"tags": ["_dissect_failed"]})),
        };
        assert_eq!(fields_of(dissect(tokenizer), json!(input)), expect, "{tokenizer} on {input:?}");
    }

    #[test]
    fn keys_of_every_kind() {
        check("%{a} %{b}", "1 2 3", Some(json!({"a": "1", "b": "2 3"})));
        check("%{a},%{b}", "x,", Some(json!({"a": "x", "b": ""})));
        check("[%{a}] %{[b][c]} %{b.d}", "[x] y z", Some(json!({"a": "x", "b": {"c": "y", "d": "z"}})));
        check("%{+a/2} %{+a/1} %{b}", "1 2 3", Some(json!({"a": "2 1", "b": "3"})));
        check("%{a} %{+a}:%{+a}", "1 2:3", Some(json!({"a": "1 2:3"})));
        check("%{?k}=%{&k}", "user=ann", Some(json!({"user": "ann"})));
        check("%{*k}=%{&k|integer}", "size.max=12", Some(json!({"size": {"max": 12}})));
        check("%{&k}=%{?k}", "ann=user", Some(json!({"user": "ann"})));
        check("%{}:%{?x}:%{->} %{a}", "1:2:3    4", Some(json!({"a": "4"})));
        check("%{a->} %{b->}--%{c}", "1    2-----3", Some(json!({"a": "1", "b": "2", "c": "3"})));
        check("%{a->}ab%{b}", "1ababab2", Some(json!({"a": "1", "b": "2"})));
        check("%{a#3}%{b#2}-%{c}", "xyz12-é", Some(json!({"a": "xyz", "b": "12", "c": "é"})));
        check("%{a}é%{b}", "xéy", Some(json!({"a": "x", "b": "y"})));
        check("%{message} %{b}", "new 2", Some(json!({"message": "new", "b": "2"})));
    }

    #[test]
    fn values_get_types_and_stay_texts_where_they_are_none() {
        check(
            "%{i|integer} %{l|long} %{f|float} %{d|double} %{b|boolean} %{ip|ip} %{s|string} %{h|long}",
            "12 -9000000000 1.5 -2e3 true ::1 x 0x1F",
            Some(json!({
                "i": 12, "l": -9_000_000_000_i64, "f": 1.5, "d": -2000.0, "b": true, "ip": "::1", "s": "x", "h": 31,
            })),
        );
        check(
            "%{i|integer} %{f|double} %{b|boolean} %{ip|ip} %{h|long}",
            "9000000000 NaN yes 1.2.3 0x-1",
            Some(json!({"i": "9000000000", "f": "NaN", "b": "yes", "ip": "1.2.3", "h": "0x-1"})),
        );
    }

    #[test]
    fn what_does_not_fit_fails_and_changes_nothing() {
        for (tokenizer, input) in [
            ("%{a} %{b}", ""),
            ("%{a} %{b}", "1"),
            ("<%{a}", "x<1"),
            ("%{a}>", "1"),
            ("%{a#3}%{b}", "12"),
            ("%{a#1}%{b}", "é"),
            ("%{a#2}-%{b}", "12x3"),
            ("%{a#2}", "123"),
            ("%{?k}=%{&k}", "=x"),
            ("%{a} %{fields.service}", "1 2"),
            ("%{a} %{message.x}", "1 2"),
            ("%{host.name.x} %{a}", "1 2"),
            ("%{a} %{a.b}", "1 2"),
            ("%{a.b} %{a}", "1 2"),
            ("%{a} %{?k}=%{&k}", "1 a.b=2"),
            ("%{a} %{?k}=%{&k} %{?l}=%{&l}", "1 b=2 b.c=3"),
            ("%{a} %{@timestamp}", "1 today"),
            ("%{a} %{host.ip} %{@metadata}", "1 2 3"),
        ] {
            check(tokenizer, input, None);
        }
        let failed = |value: serde_json::Value| plain(value, json!({"tags": ["_dissect_failed"]}));
        for value in [json!(7), json!(["a b"]), json!({"a": "b"}), json!(true)] {
            assert_eq!(fields_of(dissect("%{a} %{b}"), value.clone()), failed(value));
        }
        assert_eq!(
            fields_of(dissect("%{a} %{b}"), json!(null)),
            plain(json!(null), json!({})),
            "nothing is no failure"
        );
    }

    #[test]
    fn prefix_overwriting_and_trimming() {
        let prefixed = |overwrite| {
            let made = dissect("%{service} %{?k}=%{&k}");
            Dissect {
                tokenizer: made.tokenizer.below(&path("fields")),
                place: Place { target: Some(path("fields")), overwrite, ..made.place },
                ..made
            }
        };
        let seen = fields_of(prefixed(true), json!("new a.b=1"));
        let fields = json!({"service": "new", "team": {"name": "ops"}, "a": {"b": "1"}});
        assert_eq!(seen, plain("new a.b=1", json!({ "fields": fields })));
        let seen = fields_of(prefixed(false), json!("new a.b=1"));
        assert_eq!(seen, plain("new a.b=1", json!({"tags": ["_dissect_failed"]})));
        let trimmed = |trim| {
            let made = Dissect { trim, trim_chars: " -".to_owned(), ..dissect("%{a},%{b}") };
            let seen = fields_of(made, json!(" x- ,- y"));
            (seen["a"].clone(), seen["b"].clone())
        };
        assert_eq!(trimmed(Trim::All), (json!("x"), json!("y")));
        assert_eq!(trimmed(Trim::Left), (json!("x- "), json!("y")));
        assert_eq!(trimmed(Trim::Right), (json!(" x"), json!("- y")));
    }

    #[test]
    fn mistakes_say_where() {
        for (tokenizer, at, word) in [
            ("no key", 0, "at least one key"),
            ("%{a} %{b", 8, "`}`"),
            ("%{a} %{+&b}", 7, "either"),
            ("%{a} %{&b}", 7, "`%{?b}`"),
            ("%{a} %{b..c}", 9, "field name"),
            ("%{a} %{+}", 8, "field name"),
            ("%{a|numeric}", 4, "`integer`"),
            ("%{a|}", 4, "`integer`"),
            ("%{a|long} %{+a}", 12, "no type"),
            (&"%{a} ".repeat(129), 640, "128"),
        ] {
            let error = Tokenizer::parse(tokenizer).expect_err(tokenizer);
            assert_eq!(error.at, at, "{tokenizer}: {error}");
            assert!(error.message.contains(word), "{tokenizer}: {error}");
        }
    }

    /// Scenario: the cases of Filebeat's own test suite, where they are at hand (beside the checkout).
    /// Guarantee: the same fields, and the same failures.
    #[test]
    fn conformance() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance/dissect/dissect_tests.json");
        let cases = match std::fs::read_to_string(file) {
            Ok(cases) => cases,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => panic!("{file}: {error}"),
        };
        let cases: Vec<serde_json::Value> = serde_json::from_str(&cases).expect("JSON");
        assert!(!cases.is_empty());
        for case in cases {
            let text = |key: &str| case[key].as_str().expect("a text");
            let expect = (case["fail"] == json!(false)).then(|| case["expected"].clone());
            check(text("tok"), text("msg"), expect);
        }
    }

    proptest! {
        /// Guarantee: no tokenizer and no text makes it panic.
        #[test]
        fn any_tokenizer_and_any_text(
            tokenizer in "(%\\{|\\}|->|[+&?*/#|.\\[\\]]|[0-9]|[ab é-]|integer){0,24}", text in "([ab é=-]|[0-9]|\\PC){0,24}",
        ) {
            if let Ok(tokenizer) = Tokenizer::parse(&tokenizer) {
                let all = Dissect { tokenizer, trim: Trim::All, ..dissect("%{a}") };
                fields_of(all, json!(text));
            }
        }
    }
}
