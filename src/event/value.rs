//! Values of fields, and objects of them in the order in which they were set (P).
//!
//! Lookups are linear: an event has tens of fields, and a scan over so few is faster than a hash.

use compact_str::CompactString;

use super::path::FieldPath;

/// A value of a field. Texts and names of up to 24 bytes, most of what a line is parsed into, need no allocation.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number beyond 64 bits: its digits, with a `-` before them where it is negative.
    BigInt(String),
    Float(f64),
    String(CompactString),
    Array(Vec<Value>),
    Object(Object),
}

/// Fields in the order in which they were set.
#[derive(Clone, Debug, Default)]
pub struct Object {
    entries: Vec<(CompactString, Value)>,
}

/// Why a field can't be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("field `{0}` is not an object, so nothing can be set below it")]
    NotAnObject(String),
    #[error("`@timestamp` takes an RFC 3339 time as `2026-11-25T15:35:43.123Z`")]
    NotATimestamp,
}

/// What a walk down a path met.
pub(super) enum Probe<'a> {
    Found(&'a Value),
    /// Something on the way is not an object.
    Blocked,
    Missing,
}

impl Value {
    /// The value as serde_json has it; a float that JSON can't write (NaN, infinity) is null, a number beyond 64 bits a float.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::BigInt(digits) => digits.parse::<f64>().unwrap_or(f64::NAN).into(),
            Self::Float(value) => (*value).into(),
            Self::String(value) => value.as_str().into(),
            Self::Array(values) => values.iter().map(Value::to_json).collect(),
            Self::Object(object) => serde_json::Value::Object(object.to_json()),
        }
    }

    /// Whether its texts and names are at most so many bytes, a few for each value included.
    pub(crate) fn is_within(&self, bytes: usize) -> bool {
        self.rest_of(bytes).is_some()
    }

    /// What is left of `bytes`; `None`: it is more.
    fn rest_of(&self, bytes: usize) -> Option<usize> {
        let bytes = bytes.checked_sub(size_of::<Value>())?;
        match self {
            Self::String(text) => bytes.checked_sub(text.len()),
            Self::BigInt(digits) => bytes.checked_sub(digits.len()),
            Self::Array(values) => values.iter().try_fold(bytes, |bytes, value| value.rest_of(bytes)),
            Self::Object(object) => {
                object.iter().try_fold(bytes, |bytes, (name, value)| value.rest_of(bytes.checked_sub(name.len())?))
            }
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => Some(bytes),
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(value) = self { Some(value) } else { None }
    }

    /// Follows `segments` down from here.
    pub(super) fn probe(&self, segments: &[Box<str>]) -> Probe<'_> {
        let Some((first, rest)) = segments.split_first() else { return Probe::Found(self) };
        match self {
            Self::Object(object) => match object.get(first) {
                Some(value) => value.probe(rest),
                None => Probe::Missing,
            },
            _ => Probe::Blocked,
        }
    }

    /// The value below this one, for reading: in a list, a number is the element of that place, from 0, and below zero one from its
    /// end.
    pub(super) fn read(&self, segments: &[Box<str>]) -> Option<&Value> {
        let Some((first, rest)) = segments.split_first() else { return Some(self) };
        match self {
            Self::Object(object) => object.get(first)?.read(rest),
            Self::Array(values) => {
                let place: isize = first.parse().ok()?;
                let place = if place < 0 { values.len().checked_add_signed(place)? } else { place.unsigned_abs() };
                values.get(place)?.read(rest)
            }
            _ => None,
        }
    }
}

impl From<serde_json::Value> for Value {
    /// An integer above `i64::MAX` becomes a float.
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => number.as_f64().map_or(Self::Null, Self::Float),
            },
            serde_json::Value::String(value) => Self::String(value.into()),
            serde_json::Value::Array(values) => Self::Array(values.into_iter().map(Value::from).collect()),
            serde_json::Value::Object(map) => Self::Object(Object::from_json(map)),
        }
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

impl From<CompactString> for Value {
    fn from(value: CompactString) -> Self {
        Self::String(value)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl Object {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fields of a JSON object, as they stand there (dots in keys are kept; see [`Object::expanded`]).
    pub fn from_json(map: serde_json::Map<String, serde_json::Value>) -> Self {
        Self { entries: map.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }

    /// The object of these fields; of a name that stands twice, the last one counts. Costs no more than sorting them.
    pub fn from_members(mut entries: Vec<(CompactString, Value)>) -> Self {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|left, right| entries[*left].0.cmp(&entries[*right].0));
        let mut is_over = vec![false; entries.len()];
        let mut has_twice = false;
        for pair in order.windows(2) {
            // The sort is stable: the later one is behind.
            if entries[pair[0]].0 == entries[pair[1]].0 {
                is_over[pair[0]] = true;
                has_twice = true;
            }
        }
        if has_twice {
            let mut is_over = is_over.into_iter();
            entries.retain(|_| !is_over.next().unwrap_or(false));
        }
        Self { entries }
    }

    /// The same as a JSON object.
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        self.entries.iter().map(|(key, value)| (key.as_str().to_owned(), value.to_json())).collect()
    }

    /// The value named `key`, at this level.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value named `key`, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.entries.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Sets `key` at this level; what it was before.
    pub fn insert(&mut self, key: impl Into<CompactString>, value: impl Into<Value>) -> Option<Value> {
        let key = key.into();
        match self.get_mut(&key) {
            Some(slot) => Some(std::mem::replace(slot, value.into())),
            None => {
                self.entries.push((key, value.into()));
                None
            }
        }
    }

    /// The bits of the names at this level.
    pub(super) fn name_bits(&self) -> u64 {
        self.entries.iter().fold(0, |bits, (name, _)| bits | name_bit(name))
    }

    /// Removes all fields, and keeps the room of a few.
    pub(super) fn clear(&mut self) {
        const KEPT: usize = 64;
        self.entries.clear();
        self.entries.shrink_to(KEPT);
    }

    /// Makes room for so many more fields.
    pub fn reserve(&mut self, count: usize) {
        self.entries.reserve(count);
    }

    /// Removes `key` at this level; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let index = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.remove(index).1)
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value at `path`.
    pub fn lookup(&self, path: &FieldPath) -> Option<&Value> {
        self.lookup_segments(path.segments())
    }

    /// Sets the value at `path`; objects on the way are made.
    ///
    /// # Errors
    /// [`SetError::NotAnObject`] if something on the way is there and no object.
    pub fn set(&mut self, path: &FieldPath, value: impl Into<Value>) -> Result<(), SetError> {
        self.set_segments(path.segments(), value.into()).map_err(|depth| not_an_object(path, depth))
    }

    /// Takes the value at `path` out; the objects above it stay, be they empty.
    pub fn take(&mut self, path: &FieldPath) -> Option<Value> {
        self.take_segments(path.segments())
    }

    /// Lays `over` over this object: objects are merged, anything else is replaced.
    pub fn merge(&mut self, over: Object) {
        for (key, value) in over.entries {
            match (self.get_mut(&key), value) {
                (Some(Value::Object(mine)), Value::Object(theirs)) => mine.merge(theirs),
                (Some(slot), value) => *slot = value,
                (None, value) => self.entries.push((key, value)),
            }
        }
    }

    /// Keys with dots as nested objects (`a.b: 1` → `a: {b: 1}`), as a config means them. A key that can't be a path
    /// (`.a`, `a..b`), or whose place another one has, stays as it is: nothing is lost, in whatever order they stand.
    #[must_use]
    pub fn expanded(self) -> Self {
        self.expanded_but().0
    }

    /// The same, and the first key that stays as it is because another one has its place.
    pub fn expanded_but(self) -> (Self, Option<CompactString>) {
        let mut first = None;
        let mut expanded = Object::new();
        let mut dotted = Vec::new();
        for (key, value) in self.entries {
            let value = match value {
                Value::Object(object) => {
                    let (object, kept) = object.expanded_but();
                    first = first.or(kept);
                    Value::Object(object)
                }
                value => value,
            };
            match FieldPath::parse(&key) {
                Ok(path) if path.segments().len() > 1 && !key.starts_with('[') => dotted.push((path, key, value)),
                _ => expanded.entries.push((key, value)),
            }
        }
        for (path, key, value) in dotted {
            if expanded.has_room(path.segments(), &value) {
                expanded.merge(nested(path.segments(), value));
            } else {
                first.get_or_insert_with(|| key.clone());
                expanded.entries.push((key, value));
            }
        }
        (expanded, first)
    }

    /// `value` can be laid over what is here at `segments` without replacing anything.
    fn has_room(&self, segments: &[Box<str>], value: &Value) -> bool {
        let has_room_at = |key: &str, rest: &[Box<str>], value: &Value| match self.get(key) {
            None => true,
            Some(Value::Object(inner)) => inner.has_room(rest, value),
            Some(_) => false,
        };
        match (segments.split_first(), value) {
            (Some((first, rest)), value) => has_room_at(first, rest, value),
            (None, Value::Object(new)) => new.iter().all(|(key, value)| has_room_at(key, &[], value)),
            (None, _) => false,
        }
    }

    /// Removes what is neither at or below a path of `kept` nor of `agent`, and the objects that this empties.
    pub(super) fn keep_only(&mut self, agent: &Object, kept: &[&[Box<str>]]) {
        self.entries.retain_mut(|(key, value)| {
            let here = kept.iter().filter_map(|path| path.split_first()).filter(|(first, _)| ***first == **key);
            let below: Vec<&[Box<str>]> = here.map(|(_, rest)| rest).collect();
            if below.iter().any(|rest| rest.is_empty()) {
                return true;
            }
            match (value, agent.get(key)) {
                (Value::Object(inner), Some(Value::Object(agent))) => {
                    inner.keep_only(agent, &below);
                    !inner.is_empty()
                }
                (Value::Object(inner), None) => {
                    inner.keep_only(&Object::new(), &below);
                    !inner.is_empty()
                }
                (_, of_agent) => of_agent.is_some(),
            }
        });
    }

    pub(super) fn lookup_segments(&self, segments: &[Box<str>]) -> Option<&Value> {
        let (first, rest) = segments.split_first()?;
        self.get(first)?.read(rest)
    }

    /// The error is the depth at which a value is no object.
    pub(super) fn set_segments(&mut self, segments: &[Box<str>], value: Value) -> Result<(), usize> {
        let (last, parents) = segments.split_last().expect("a path has a segment");
        let mut object = self;
        for (depth, segment) in parents.iter().enumerate() {
            let index = match object.entries.iter().position(|(name, _)| **name == **segment) {
                Some(index) => index,
                None => {
                    object.entries.push((CompactString::from(&**segment), Value::Object(Object::new())));
                    object.entries.len() - 1
                }
            };
            let Value::Object(inner) = &mut object.entries[index].1 else { return Err(depth + 1) };
            object = inner;
        }
        object.insert(&**last, value);
        Ok(())
    }

    /// The same where nothing is there yet; else the value is given back, and nothing has changed.
    pub(super) fn set_new(&mut self, segments: &[Box<str>], value: Value) -> Result<(), Value> {
        let Some((first, rest)) = segments.split_first() else { return Err(value) };
        match (self.get_mut(first), rest) {
            (None, _) => self.push(segments, value),
            (Some(Value::Object(inner)), rest) if !rest.is_empty() => return inner.set_new(rest, value),
            (Some(_), _) => return Err(value),
        }
        Ok(())
    }

    /// The same where the caller knows that there is nothing at the root of the path.
    pub(super) fn push(&mut self, segments: &[Box<str>], value: Value) {
        let (first, rest) = segments.split_first().expect("a path has a segment");
        let value = if rest.is_empty() { value } else { Value::Object(nested(rest, value)) };
        self.entries.push((CompactString::from(&**first), value));
    }

    /// The same for a text at this level. It is made where it stays: a value that was written a moment ago is slow to move.
    #[inline]
    pub(super) fn push_text(&mut self, name: &RootName, text: &str) {
        self.entries.reserve(1);
        let room = self.entries.spare_capacity_mut().first_mut().expect("reserved above").as_mut_ptr();
        // SAFETY: `room` is a place of the vector's own behind its last entry, valid for writes; both halves of it are written
        // before it counts as an entry. Should making the text panic, a name is leaked.
        unsafe {
            (&raw mut (*room).0).write(name.name.clone());
            (&raw mut (*room).1).write(Value::String(text.into()));
            self.entries.set_len(self.entries.len() + 1);
        }
    }

    pub(super) fn take_segments(&mut self, segments: &[Box<str>]) -> Option<Value> {
        let (last, parents) = segments.split_last()?;
        let mut object = self;
        for segment in parents {
            let Some(Value::Object(inner)) = object.get_mut(segment) else { return None };
            object = inner;
        }
        object.remove(last)
    }
}

impl PartialEq for Object {
    /// The order of the fields does not matter, as in JSON.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Into<CompactString>> FromIterator<(K, Value)> for Object {
    fn from_iter<T: IntoIterator<Item = (K, Value)>>(entries: T) -> Self {
        let mut object = Object::new();
        for (key, value) in entries {
            object.insert(key, value);
        }
        object
    }
}

impl IntoIterator for Object {
    type Item = (CompactString, Value);
    type IntoIter = std::vec::IntoIter<(CompactString, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// The error for `path` where its first `depth` segments name something that is no object.
pub(super) fn not_an_object(path: &FieldPath, depth: usize) -> SetError {
    SetError::NotAnObject(path.segments().get(..depth).unwrap_or_default().join("."))
}

/// The name of a field at the root, ready to be set on many events.
#[derive(Clone, Debug)]
pub struct RootName {
    name: CompactString,
    bit: u64,
}

impl RootName {
    /// The name of `path`, if that is a field at the root, and of no special meaning.
    pub fn of(path: &FieldPath) -> Option<Self> {
        let is_plain = path.segments().len() == 1 && !is_special(path.root());
        is_plain.then(|| Self { name: path.root().into(), bit: name_bit(path.root()) })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Names that share no bit are not the same.
    pub fn bit(&self) -> u64 {
        self.bit
    }
}

/// The root is no field like others.
pub(super) fn is_special(root: &str) -> bool {
    matches!(root, "@timestamp" | "@metadata" | "message")
}

/// A bit for a name: what of many names is none of some others is mostly told by these, without looking at any.
pub(super) fn name_bit(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let at = |index: usize| bytes.get(index).copied().map_or(0, u32::from);
    // Names of a line are much like those of the agent: `ident`, `input`.
    let word = at(0) | at(1) << 8 | at(bytes.len().wrapping_sub(1)) << 16 | (bytes.len() as u32) << 24;
    1 << (word.wrapping_mul(0x9e37_79b1) >> 26)
}

/// `{a: {b: value}}` for `a.b`.
fn nested(segments: &[Box<str>], value: Value) -> Object {
    let mut object = Object::new();
    object.push(segments, value);
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: serde_json::Value) -> Object {
        let serde_json::Value::Object(map) = value else { panic!("{value} is no object") };
        Object::from_json(map)
    }

    fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).expect("a good path")
    }

    #[test]
    fn sets_looks_up_and_takes_by_path() {
        let mut fields = object(json!({"a": {"b": 1}, "s": "x"}));
        assert_eq!(fields.lookup(&path("a.b")), Some(&Value::Int(1)));
        assert_eq!(fields.lookup(&path("s.t")), None);
        fields.set(&path("a.c.d"), "new").expect("objects are made on the way");
        assert_eq!(fields.set(&path("s.t.u"), "no"), Err(SetError::NotAnObject("s".to_owned())));
        assert_eq!(fields.set(&path("a.b.c"), "no"), Err(SetError::NotAnObject("a.b".to_owned())));
        assert_eq!(fields.take(&path("a.b")), Some(Value::Int(1)));
        assert_eq!(fields.take(&path("a.b")), None);
        assert_eq!(fields, object(json!({"s": "x", "a": {"c": {"d": "new"}}})));
    }

    #[test]
    fn sets_what_is_new_and_changes_nothing_else() {
        let mut fields = object(json!({"a": {"b": 1}, "s": "x"}));
        let before = fields.clone();
        for taken in ["a", "a.b", "a.b.c", "s", "s.t"] {
            assert_eq!(fields.set_new(path(taken).segments(), Value::Int(7)), Err(Value::Int(7)), "{taken}");
            assert_eq!(fields, before, "{taken}");
        }
        for new in ["a.c.d", "n", "o.p.q"] {
            assert_eq!(fields.set_new(path(new).segments(), Value::Int(7)), Ok(()), "{new}");
            assert_eq!(fields.lookup(&path(new)), Some(&Value::Int(7)), "{new}");
        }
        assert_eq!(fields.get("s"), Some(&Value::from("x")));
    }

    #[test]
    fn keeps_numbers_and_order_through_json() {
        let text = r#"{"z":1,"a":-9223372036854775808,"f":1.5,"big":18446744073709551615,"n":null,"l":[true,{}]}"#;
        let fields = object(serde_json::from_str(text).expect("JSON"));
        assert_eq!(fields.get("big"), Some(&Value::Float(18_446_744_073_709_551_615.0)));
        let keys: Vec<&str> = fields.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["z", "a", "f", "big", "n", "l"]);
        assert_eq!(Object::from_json(fields.to_json()), fields);
    }

    #[test]
    fn expands_dots_as_a_config_means_them() {
        let fields = object(json!({"a.b": 1, "a": {"c.d": 2}, "x": 1, "x.y": 3, ".z": 4}));
        assert_eq!(fields.expanded(), object(json!({"a": {"b": 1, "c": {"d": 2}}, "x": 1, "x.y": 3, ".z": 4})));
    }

    /// Guarantee: whatever the order of the keys, no value is lost, and the first that could not be expanded is named.
    #[test]
    fn a_key_whose_place_is_taken_stays_as_it_is() {
        for (fields, expect, kept) in [
            (json!({"a.b": 2, "a": 1}), json!({"a": 1, "a.b": 2}), Some("a.b")),
            (json!({"a": 1, "a.b": 2}), json!({"a": 1, "a.b": 2}), Some("a.b")),
            (json!({"a.b": 2, "a": {"b": 1}}), json!({"a": {"b": 1}, "a.b": 2}), Some("a.b")),
            (json!({"a.b.c": 2, "a.b": 1}), json!({"a": {"b": {"c": 2}}, "a.b": 1}), Some("a.b")),
            (
                json!({"a.b": {"c": 1, "d": 2}, "a": {"b": {"c": 3}}}),
                json!({"a": {"b": {"c": 3}}, "a.b": {"c": 1, "d": 2}}),
                Some("a.b"),
            ),
            (json!({"x": {"a.b": 2, "a": 1}}), json!({"x": {"a": 1, "a.b": 2}}), Some("a.b")),
            (json!({"a.b": {"c": 1}, "a": {"b": {"d": 3}}}), json!({"a": {"b": {"c": 1, "d": 3}}}), None),
            (json!({"a.b": 1, "a.c": 2, ".d": 3}), json!({"a": {"b": 1, "c": 2}, ".d": 3}), None),
        ] {
            let (expanded, first) = object(fields.clone()).expanded_but();
            assert_eq!(serde_json::Value::Object(expanded.to_json()), expect, "{fields}");
            assert_eq!(first.as_deref(), kept, "{fields}");
        }
    }

    #[test]
    fn merges_objects_and_replaces_the_rest() {
        let mut fields = object(json!({"a": {"b": 1, "c": 2}, "l": [1]}));
        fields.merge(object(json!({"a": {"b": 5}, "l": [2], "n": {}})));
        assert_eq!(fields, object(json!({"a": {"b": 5, "c": 2}, "l": [2], "n": {}})));
    }
}
