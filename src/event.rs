//! Event, Value, Timestamp: one record on its way from a line to its bytes (P).
//!
//! An event is a slice of its batch's buffer plus numbers; what all events of a source share is in its [`Common`], rendered
//! once. Only what a processor sets is owned by the event: an overlay over the shared fields. A processor that removes a
//! shared field, or puts an object in the place of one, detaches the event: it then owns a full tree. So the plain path
//! allocates nothing per event.
//!
//! Whichever way an event holds its fields, [`EventView`] shows one tree:
//!
//! ```text
//! @timestamp                       the event's time; always there
//! message                          the line, or what a processor made of it
//! log.file.{path,id}               shared
//! log.{offset,length,flags}        of the line; flags: multiline, truncated, invalid_utf8, invalid_encoding
//! stream                           of a container's line: stdout or stderr
//! event.id                         of the line (see the module `common`)
//! host, agent, input, fields       shared
//! tags                             the shared ones, then the event's own
//! …                                what processors set
//! @metadata                        for templates and conditions, never sent
//! ```
//!
//! [`Template`] makes texts of an event: topics, keys and headers, and values that processors set.
//!
//! Not here: parsing of lines (decode), rules (process), the form of records (encode).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

pub mod common;
pub(crate) mod joda;
pub mod json;
mod path;
mod route_to;
mod template;
mod timestamp;
mod value;

pub use common::{Common, RESERVED_ROOTS, Shared, SharedOptions};
pub use path::{FieldPath, SyntaxError};
pub use route_to::RouteTo;
pub(crate) use template::write_text;
pub use template::{Missing, Template};
pub use timestamp::{Civil, Timestamp};
pub use value::{Object, RootName, SetError, Value};

use common::object_of;
use value::{Probe, is_special, name_bit, not_an_object};

/// What is special about a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    pub const NONE: Self = Self(0);
    /// The message is not the whole line: it was cut at `max_line_bytes` or at the record's limit.
    pub const TRUNCATED: Self = Self(1);
    /// The message is not UTF-8: codecs that write text replace what is malformed by U+FFFD.
    pub const INVALID_UTF8: Self = Self(2);
    /// The line was malformed in its own encoding: the message has U+FFFD in the place of what is lost.
    pub const INVALID_ENCODING: Self = Self(4);
    /// The message is several lines, joined by `multiline`.
    pub const MULTILINE: Self = Self(8);

    /// All flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The flags without those of `other`.
    #[must_use]
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names in `log.flags`.
    pub fn names(self) -> &'static [&'static str] {
        match self.0 {
            0 => &[],
            1 => &["truncated"],
            2 => &["invalid_utf8"],
            3 => &["truncated", "invalid_utf8"],
            4 => &["invalid_encoding"],
            8 => &["multiline"],
            9 => &["multiline", "truncated"],
            10 => &["multiline", "invalid_utf8"],
            11 => &["multiline", "truncated", "invalid_utf8"],
            12 => &["multiline", "invalid_encoding"],
            other if other & 8 == 0 => &["truncated", "invalid_encoding"],
            _ => &["multiline", "truncated", "invalid_encoding"],
        }
    }
}

/// Where a container wrote a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// The line is of no container.
    #[default]
    None,
    Stdout,
    Stderr,
}

impl Stream {
    /// The value of the field `stream`.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Stdout => Some("stdout"),
            Self::Stderr => Some("stderr"),
        }
    }
}

/// One event: a line and what processors made of it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Byte offset of the line's first byte in its source.
    pub offset: u64,
    /// Raw bytes consumed for it, terminator included.
    pub length: u64,
    /// xxh3_64 of the raw line without its terminator.
    pub line_hash: u64,
    /// `@timestamp`.
    pub timestamp: Timestamp,
    /// The line's message in the batch's buffer.
    start: u32,
    end: u32,
    flags: Flags,
    stream: Stream,
    /// Bytes of others between its lines.
    between: u32,
    own: Option<Box<Own>>,
}

/// What an event has for itself.
#[derive(Clone, Debug, Default)]
struct Own {
    message: Message,
    /// Over the shared fields; or, if detached, all fields but `@timestamp`, `message` and `@metadata`.
    fields: Object,
    /// At least the bits of the roots in `fields`; not kept up when detached.
    roots: u64,
    is_detached: bool,
    /// Behind the shared tags; empty if detached.
    tags: Vec<String>,
    metadata: Object,
    /// Where processors send it, the latest last.
    routes: Vec<Arc<RouteTo>>,
    /// The processor for whose failure it goes to the dead letter.
    failed: Option<&'static str>,
}

/// Room for what processors set, handed from one event to the next: most set as much as the one before.
#[derive(Debug, Default)]
pub struct Room(Option<Box<Own>>);

impl Own {
    /// As new, but with its room, within bounds.
    fn clear(&mut self) {
        let Self { message, fields, roots, is_detached, tags, metadata, routes, failed } = self;
        (*message, *roots, *is_detached, *failed) = (Message::Line, 0, false, None);
        fields.clear();
        metadata.clear();
        (*tags, *routes) = (Vec::new(), Vec::new());
    }

    /// Not if detached.
    fn overlay(&self) -> Overlay<'_> {
        Overlay { fields: &self.fields, tags: &self.tags, roots: self.roots }
    }
}

#[derive(Clone, Debug, Default)]
enum Message {
    /// The range of the batch's buffer.
    #[default]
    Line,
    Value(Value),
    Removed,
}

/// A value of a field, borrowed where it can be.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueRef<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Beyond 64 bits: its digits.
    BigInt(Cow<'a, str>),
    Float(f64),
    Timestamp(Timestamp),
    Str(Cow<'a, str>),
    Array(Cow<'a, [Value]>),
    Object(Cow<'a, Object>),
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::BigInt(digits) => Self::BigInt(Cow::Borrowed(digits)),
            Value::Float(value) => Self::Float(*value),
            Value::String(value) => Self::Str(Cow::Borrowed(value)),
            Value::Array(values) => Self::Array(Cow::Borrowed(values)),
            Value::Object(object) => Self::Object(Cow::Borrowed(object)),
        }
    }
}

impl From<Value> for ValueRef<'_> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::BigInt(digits) => Self::BigInt(Cow::Owned(digits)),
            Value::Float(value) => Self::Float(value),
            Value::String(value) => Self::Str(Cow::Owned(value.into())),
            Value::Array(values) => Self::Array(Cow::Owned(values)),
            Value::Object(object) => Self::Object(Cow::Owned(object)),
        }
    }
}

impl ValueRef<'_> {
    /// The value for itself; a timestamp as its text.
    pub fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::BigInt(digits) => Value::BigInt(digits.into_owned()),
            Self::Float(value) => Value::Float(value),
            Self::Timestamp(time) => time.to_string().into(),
            Self::Str(value) => Value::String(value.into()),
            Self::Array(values) => Value::Array(values.into_owned()),
            Self::Object(object) => Value::Object(object.into_owned()),
        }
    }
}

/// An event with what it refers to: how conditions, templates and codecs see it.
#[derive(Clone, Copy)]
pub struct EventView<'a> {
    pub event: &'a Event,
    pub buf: &'a [u8],
    pub common: &'a Common,
}

/// How a codec finds the fields of an event.
pub(crate) enum Layout<'a> {
    /// The shared fields and the line's numbers, as they are.
    Plain,
    /// These, with fields over them and tags behind the shared ones.
    Overlay(Overlay<'a>),
    /// The shared fields are not to be looked at.
    Detached(&'a Object),
}

/// What an event that is not detached has beside the shared fields.
#[derive(Clone, Copy)]
pub(crate) struct Overlay<'a> {
    pub fields: &'a Object,
    pub tags: &'a [String],
    /// At least the bits of the roots in `fields`.
    roots: u64,
}

impl<'a> Overlay<'a> {
    /// What lies over the shared field of this name.
    pub fn get(&self, root: &str) -> Option<&'a Value> {
        if self.roots & name_bit(root) == 0 { None } else { self.fields.get(root) }
    }
}

/// The last place, at most byte `most`, where a character of `text` begins or the text ends (`str`'s own comes with Rust 1.91).
pub(crate) fn floor_char_boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// How a codec finds the message of an event.
pub(crate) enum MessageRef<'a> {
    /// The bytes of the line. `is_utf8` is exact.
    Line {
        bytes: &'a [u8],
        is_utf8: bool,
    },
    Value(&'a Value),
    Removed,
}

impl Event {
    /// The event of a line. `message` is its range in the batch's buffer; `offset`, `length` (terminator included) and
    /// `line_hash` are of the raw line; `flags` must have [`Flags::INVALID_UTF8`] exactly if the message is not UTF-8.
    pub fn line(message: Range<u32>, offset: u64, length: u64, line_hash: u64, now: Timestamp, flags: Flags) -> Self {
        Self {
            offset,
            length,
            line_hash,
            timestamp: now,
            start: message.start,
            end: message.end,
            flags,
            stream: Stream::None,
            between: 0,
            own: None,
        }
    }

    /// The event whose fields are given: `message`, `@timestamp`, `@metadata` and `tags` are taken out of `object`, the rest
    /// lies over the shared fields. A time that can't be read is tagged and kept in `_@timestamp`, as in Logstash.
    /// `offset`, `length` and `line_hash` are 0; the caller sets those of the line that the object came from.
    pub fn from_object(mut object: Object, now: Timestamp) -> Self {
        let mut own = Own { message: Message::Removed, ..Own::default() };
        if let Some(message) = object.remove("message") {
            own.message = Message::Value(message);
        }
        match object.remove("@metadata") {
            Some(Value::Object(metadata)) => own.metadata = metadata,
            Some(other) => drop(object.insert("_@metadata", other)),
            None => {}
        }
        match object.remove("tags") {
            Some(Value::String(tag)) => own.tags.push(tag.into()),
            Some(Value::Array(tags)) if tags.iter().all(|tag| tag.as_str().is_some()) => {
                own.tags = tags.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect();
            }
            Some(other) => drop(object.insert("_tags", other)),
            None => {}
        }
        let mut timestamp = now;
        if let Some(value) = object.remove("@timestamp") {
            match value.as_str().and_then(Timestamp::parse) {
                Some(time) => timestamp = time,
                None => {
                    own.tags.push("_timestampparsefailure".to_owned());
                    object.insert("_@timestamp", value);
                }
            }
        }
        own.roots = object.name_bits();
        own.fields = object;
        let mut event = Self::line(0..0, 0, 0, 0, timestamp, Flags::NONE);
        event.own = Some(Box::new(own));
        event
    }

    /// What is special about the line.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// Where its container wrote it. Where this is said, the shared fields must have no `stream`.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Where in the batch's buffer its line is.
    pub(crate) fn line_range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Its line is there in the batch's buffer; `flags` as for [`Event::line`].
    pub(crate) fn set_line(&mut self, message: Range<u32>, flags: Flags) {
        (self.start, self.end, self.flags) = (message.start, message.end, flags);
    }

    /// Behind the last of its raw lines.
    pub fn end(&self) -> u64 {
        self.offset + self.length + u64::from(self.between)
    }

    /// Its last raw line ends there.
    pub(crate) fn set_end(&mut self, end: u64) {
        self.between = u32::try_from(end.saturating_sub(self.offset + self.length)).unwrap_or(u32::MAX);
    }

    /// Its container wrote it there.
    pub(crate) fn set_stream(&mut self, stream: Stream) {
        self.stream = stream;
    }

    /// Takes what is known of the line from another event, its range excepted.
    pub(crate) fn take_over(&mut self, line: &Event) {
        (self.offset, self.length, self.line_hash) = (line.offset, line.length, line.line_hash);
        (self.timestamp, self.flags, self.stream) = (line.timestamp, line.flags, line.stream);
        self.between = line.between;
        if let Some(own) = &line.own {
            self.own_mut().tags.extend_from_slice(&own.tags);
        }
    }

    /// Adds a tag whatever the shared ones are: a tag is shown once.
    pub(crate) fn tag_line(&mut self, tag: &str) {
        self.own_mut().tags.push(tag.to_owned());
    }

    /// The range of the batch's buffer that is the event's message, if it is still its line and UTF-8.
    pub(crate) fn utf8_line(&self) -> Option<Range<usize>> {
        let is_line = self.own.as_ref().is_none_or(|own| matches!(own.message, Message::Line));
        (is_line && !self.flags.contains(Flags::INVALID_UTF8)).then_some(self.start as usize..self.end as usize)
    }

    /// Nothing but its time was ever set: the event is its line and the shared fields.
    pub fn is_plain(&self) -> bool {
        self.own.is_none()
    }

    /// Takes the room for what will be set.
    pub fn take_room(&mut self, room: &mut Room) {
        if self.own.is_none() {
            self.own = room.0.take();
        }
    }

    /// Lets go of all that was set, and leaves the room that it took for another event.
    pub fn make_plain(&mut self, room: &mut Room) {
        if let Some(mut own) = self.own.take() {
            own.clear();
            room.0 = Some(own);
        }
    }

    /// The event owns a full tree; the shared fields are not looked at any more.
    pub fn is_detached(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.is_detached)
    }

    /// Nothing that the event has for itself can be seen at `path`: it is as the source's shared fields have it, or missing.
    pub fn is_shared_at(&self, path: &FieldPath) -> bool {
        match &self.own {
            None => true,
            Some(own) => !own.is_detached && own.overlay().get(path.root()).is_none(),
        }
    }

    /// Sets the field at `path`; objects on the way are made.
    ///
    /// # Errors
    /// Something on the way is there and no object; `@timestamp` with what is no time; `@metadata` with no object.
    pub fn set(&mut self, path: &FieldPath, value: Value, buf: &[u8], common: &Common) -> Result<(), SetError> {
        let (root, rest) = path.segments().split_first().expect("a path has a segment");
        match &**root {
            "@timestamp" => {
                let time = if rest.is_empty() { value.as_str().and_then(Timestamp::parse) } else { None };
                self.timestamp = time.ok_or(SetError::NotATimestamp)?;
                Ok(())
            }
            "@metadata" => {
                let metadata = &mut self.own_mut().metadata;
                if !rest.is_empty() {
                    return metadata.set_segments(rest, value).map_err(|depth| not_an_object(path, depth + 1));
                }
                let Value::Object(object) = value else { return Err(not_an_object(path, 1)) };
                *metadata = object;
                Ok(())
            }
            "message" => self.set_message(path, rest, value),
            _ => self.set_field(path, value, buf, common),
        }
    }

    /// Sets the field at `path` if there is nothing at it, nor anything that is shared or a line's own at its root. Else the
    /// value is given back: then [`Event::set`] says what can be done.
    ///
    /// # Errors
    /// The value, and nothing has changed.
    pub fn set_new(&mut self, path: &FieldPath, value: Value, common: &Common) -> Result<(), Value> {
        let root = path.root();
        if is_special(root) || self.is_detached() || self.has_shared_root(root, common) {
            return Err(value);
        }
        let own = self.own_mut();
        let bit = name_bit(root);
        if own.roots & bit == 0 {
            own.roots |= bit;
            own.fields.push(path.segments(), value);
            return Ok(());
        }
        own.fields.set_new(path.segments(), value)
    }

    /// Whether none of the names whose bits these are stands at the root of what was set.
    pub fn has_none_of(&self, bits: u64) -> bool {
        self.own.as_ref().is_none_or(|own| !own.is_detached && own.roots & bits == 0)
    }

    /// Sets a text at the root where the caller knows that nothing of this name was set ([`Event::has_none_of`], before others
    /// were set that have other names). `false`: the source may share something of that name that the agent has not made (what it
    /// has made gives way: Apache's `agent`, in each line), and nothing has changed.
    #[inline]
    pub fn set_root_text(&mut self, name: &RootName, text: &str, common: &Common) -> bool {
        let is_new = !common.may_have_bit(name.bit()) || !self.is_detached() && common.is_agents_own(name.as_str());
        if is_new {
            let own = self.own_mut();
            own.roots |= name.bit();
            own.fields.push_text(name, text);
        }
        is_new
    }

    fn set_message(&mut self, path: &FieldPath, rest: &[Box<str>], value: Value) -> Result<(), SetError> {
        let message = &mut self.own_mut().message;
        if rest.is_empty() {
            *message = Message::Value(value);
            return Ok(());
        }
        if matches!(message, Message::Removed) {
            *message = Message::Value(Value::Object(Object::new()));
        }
        match message {
            Message::Value(Value::Object(object)) => {
                object.set_segments(rest, value).map_err(|depth| not_an_object(path, depth + 1))
            }
            _ => Err(not_an_object(path, 1)),
        }
    }

    fn set_field(&mut self, path: &FieldPath, value: Value, buf: &[u8], common: &Common) -> Result<(), SetError> {
        let segments = path.segments();
        if !self.is_detached() && self.has_shared_root(path.root(), common) {
            let view = EventView { event: self, buf, common };
            if let Some(depth) = (1..segments.len()).find(|depth| view.is_leaf(&segments[..*depth])) {
                return Err(not_an_object(path, depth));
            }
            // The overlay is merged, so it can't say "this object instead of that", nor hold a list of tags beside `tags`.
            let replaces = matches!(value, Value::Object(_)) && view.is_shared_object(segments);
            if replaces || path.root() == "tags" {
                self.detach(buf, common);
            }
        }
        let own = self.own_mut();
        own.roots |= name_bit(path.root());
        own.fields.set_segments(segments, value).map_err(|depth| not_an_object(path, depth))
    }

    /// So many fields are going to be set: room for them is made at once.
    pub fn expect_fields(&mut self, count: usize) {
        self.own_mut().fields.reserve(count);
    }

    /// Removes the field at `path`. `@timestamp` stays: a record has a time.
    pub fn remove(&mut self, path: &FieldPath, buf: &[u8], common: &Common) -> bool {
        self.take(path, buf, common).is_some()
    }

    /// Takes the field at `path` out; the objects above it stay, be they empty. `@timestamp` can't be taken.
    pub fn take(&mut self, path: &FieldPath, buf: &[u8], common: &Common) -> Option<Value> {
        let view = EventView { event: self, buf, common };
        let (root, rest) = path.segments().split_first()?;
        match &**root {
            "@timestamp" => None,
            "@metadata" => {
                let metadata = &mut self.own.as_mut()?.metadata;
                if rest.is_empty() {
                    return (!metadata.is_empty()).then(|| Value::Object(std::mem::take(metadata)));
                }
                metadata.take_segments(rest)
            }
            "message" if rest.is_empty() => {
                let value = view.get(path)?.into_value();
                self.own_mut().message = Message::Removed;
                Some(value)
            }
            "message" => match &mut self.own.as_mut()?.message {
                Message::Value(Value::Object(object)) => object.take_segments(rest),
                _ => None,
            },
            _ => {
                if !self.is_detached() && self.has_shared_root(path.root(), common) {
                    view.get(path)?;
                    self.detach(buf, common);
                }
                self.own.as_mut()?.fields.take_segments(path.segments())
            }
        }
    }

    /// Removes all fields but those at or below these paths, `@timestamp`, `@metadata`, `tags`, and what the agent adds:
    /// `log.file`, `log.offset`, `log.length`, `log.flags`, `event.id`, and the shared fields that are not the user's.
    pub fn keep_only(&mut self, fields: &[FieldPath], buf: &[u8], common: &Common) {
        let kept: Vec<&[Box<str>]> = fields.iter().map(FieldPath::segments).collect();
        let mut agent = common.agent.clone();
        agent.merge(EventView { event: self, buf, common }.intrinsic());
        agent.insert("tags", Value::Null);
        self.detach(buf, common);
        let own = self.own_mut();
        own.fields.keep_only(&agent, &kept);
        let of_message = kept.iter().filter(|path| *path[0] == *"message");
        match &mut own.message {
            _ if of_message.clone().any(|path| path.len() == 1) => {}
            Message::Value(Value::Object(object)) if of_message.clone().next().is_some() => {
                let below: Vec<&[Box<str>]> = of_message.map(|path| &path[1..]).collect();
                object.keep_only(&Object::new(), &below);
            }
            message => *message = Message::Removed,
        }
    }

    /// Notes where it goes. What was noted before counts where this says nothing.
    pub fn send_to(&mut self, to: &Arc<RouteTo>) {
        self.own_mut().routes.push(Arc::clone(to));
    }

    /// Where processors send it, the latest last.
    pub fn routes(&self) -> &[Arc<RouteTo>] {
        self.own.as_ref().map_or(&[], |own| &own.routes)
    }

    /// It goes to the dead letter, since this processor failed.
    pub fn set_failed(&mut self, processor: &'static str) {
        self.own_mut().failed = Some(processor);
    }

    /// The processor for whose failure it goes to the dead letter.
    pub fn failed(&self) -> Option<&'static str> {
        self.own.as_ref().and_then(|own| own.failed)
    }

    /// Adds a tag, once.
    pub fn add_tag(&mut self, tag: &str, common: &Common) {
        let is_shared = |tags: Option<&Value>| match tags {
            Some(Value::Array(tags)) => tags.iter().any(|known| known.as_str() == Some(tag)),
            Some(Value::String(known)) => known == tag,
            _ => false,
        };
        if !self.is_detached() {
            let is_known = is_shared(common.object.get("tags"));
            let tags = &mut self.own_mut().tags;
            if !is_known && !tags.iter().any(|known| known == tag) {
                tags.push(tag.to_owned());
            }
            return;
        }
        let fields = &mut self.own_mut().fields;
        if is_shared(fields.get("tags")) {
            return;
        }
        match fields.get_mut("tags") {
            Some(Value::Array(tags)) => tags.push(tag.into()),
            Some(other) => *other = Value::Array(vec![std::mem::replace(other, Value::Null), tag.into()]),
            None => drop(fields.insert("tags", Value::Array(vec![tag.into()]))),
        }
    }

    /// Sets the message to its first `length` bytes and marks it cut. Nothing happens if it is no string.
    pub(crate) fn cut_message(&mut self, length: usize) {
        match self.own.as_mut().map(|own| &mut own.message) {
            None | Some(Message::Line) => {
                self.end = self.end.min(self.start.saturating_add(u32::try_from(length).unwrap_or(u32::MAX)));
            }
            Some(Message::Value(Value::String(text))) => {
                text.truncate(floor_char_boundary(text, length));
            }
            Some(_) => return,
        }
        self.flags = self.flags.with(Flags::TRUNCATED);
        let names = flag_values(self.flags);
        if let Some(own) = self.own.as_mut().filter(|own| own.is_detached) {
            match own.fields.get_mut("log") {
                Some(Value::Object(log)) => drop(log.insert("flags", names)),
                Some(_) => {}
                None => drop(own.fields.insert("log", object_of("flags", names))),
            }
        }
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.get_or_insert_default()
    }

    /// The shared fields have something at this root (or the event's tags are kept beside the overlay).
    fn has_shared_root(&self, root: &str, common: &Common) -> bool {
        common.may_have_root(root)
            && (matches!(root, "log" | "event" | "tags")
                || (root == "stream" && self.stream != Stream::None)
                || common.has_root(root))
    }

    fn detach(&mut self, buf: &[u8], common: &Common) {
        let fields = EventView { event: self, buf, common }.tree();
        let own = self.own_mut();
        own.fields = fields;
        own.tags = Vec::new();
        own.is_detached = true;
    }
}

impl<'a> EventView<'a> {
    /// The value at `path`; `None` if there is none.
    pub fn get(&self, path: &FieldPath) -> Option<ValueRef<'a>> {
        self.get_segments(path.segments())
    }

    /// Whether nothing above `path` is there and no object: it can be set.
    pub fn is_open(&self, path: &FieldPath) -> bool {
        let segments = path.segments();
        (1..segments.len())
            .all(|depth| matches!(self.get_segments(&segments[..depth]), None | Some(ValueRef::Object(_))))
    }

    fn get_segments(&self, segments: &[Box<str>]) -> Option<ValueRef<'a>> {
        let (root, rest) = segments.split_first()?;
        match &**root {
            "@timestamp" => rest.is_empty().then_some(ValueRef::Timestamp(self.event.timestamp)),
            "@metadata" => {
                let metadata = &self.event.own.as_ref()?.metadata;
                if rest.is_empty() {
                    return (!metadata.is_empty()).then_some(ValueRef::Object(Cow::Borrowed(metadata)));
                }
                metadata.lookup_segments(rest).map(ValueRef::from)
            }
            "message" => match self.message() {
                MessageRef::Line { bytes, .. } => rest.is_empty().then(|| ValueRef::Str(lossy(bytes))),
                MessageRef::Value(value) => value.read(rest).map(ValueRef::from),
                MessageRef::Removed => None,
            },
            _ => self.field(segments),
        }
    }

    /// `event.id`, as a number; 32 hex digits in records.
    pub fn id(&self) -> u128 {
        self.common.event_id(self.event.offset, self.event.line_hash)
    }

    /// The whole event as one object, `@metadata` left out: the slow way that codecs avoid.
    pub fn to_object(&self) -> Object {
        let mut object = object_of("@timestamp", self.event.timestamp.to_string());
        match self.message() {
            MessageRef::Line { bytes, .. } => drop(object.insert("message", String::from_utf8_lossy(bytes).as_ref())),
            MessageRef::Value(value) => drop(object.insert("message", value.clone())),
            MessageRef::Removed => {}
        }
        object.merge(self.tree());
        object
    }

    pub(crate) fn message(&self) -> MessageRef<'a> {
        match self.event.own.as_ref().map(|own| &own.message) {
            None | Some(Message::Line) => MessageRef::Line {
                bytes: self.buf.get(self.event.start as usize..self.event.end as usize).unwrap_or_default(),
                is_utf8: !self.event.flags.contains(Flags::INVALID_UTF8),
            },
            Some(Message::Value(value)) => MessageRef::Value(value),
            Some(Message::Removed) => MessageRef::Removed,
        }
    }

    pub(crate) fn layout(&self) -> Layout<'a> {
        match self.event.own.as_deref() {
            None => Layout::Plain,
            Some(own) if own.is_detached => Layout::Detached(&own.fields),
            Some(own) if own.fields.is_empty() && own.tags.is_empty() => Layout::Plain,
            Some(own) => Layout::Overlay(own.overlay()),
        }
    }

    /// All fields but `@timestamp`, `message` and `@metadata`.
    pub(crate) fn tree(&self) -> Object {
        let overlay = match self.layout() {
            Layout::Detached(fields) => return fields.clone(),
            Layout::Plain => None,
            Layout::Overlay(overlay) => Some(overlay.fields),
        };
        let shared = self.common.object.iter().map(|(key, _)| key).filter(|key| *key != "log");
        let mut tree = Object::new();
        for root in ["log", "event", "stream"].into_iter().chain(shared).chain(["tags"]) {
            if tree.get(root).is_none()
                && let Some(value) = self.shared_root(root)
            {
                tree.insert(root, value);
            }
        }
        if let Some(overlay) = overlay {
            tree.merge(overlay.clone());
        }
        tree
    }

    /// What the event has at `root` as a whole, shared and own merged. Not for detached events.
    pub(crate) fn merged_root(&self, root: &str) -> Option<Value> {
        let mut object = Object::new();
        if let Some(value) = self.shared_root(root) {
            object.insert(root, value);
        }
        if let Layout::Overlay(overlay) = self.layout()
            && let Some(value) = overlay.get(root)
        {
            object.merge(object_of(root, value.clone()));
        }
        object.remove(root)
    }

    fn shared_root(&self, root: &str) -> Option<Value> {
        match root {
            "log" | "event" => {
                let mut object = match self.common.object.get(root) {
                    Some(value) => object_of(root, value.clone()),
                    None => Object::new(),
                };
                object.merge(self.intrinsic());
                object.remove(root)
            }
            "tags" => self.tags(),
            "stream" if self.event.stream != Stream::None => self.event.stream.name().map(Value::from),
            _ => self.common.object.get(root).cloned(),
        }
    }

    /// `log.{offset,length,flags}` and `event.id`: what the agent adds that differs from line to line.
    pub(crate) fn intrinsic(&self) -> Object {
        let mut log = object_of("offset", int(self.event.offset));
        log.insert("length", int(self.event.length));
        if self.event.flags != Flags::NONE {
            log.insert("flags", flag_values(self.event.flags));
        }
        let mut object = object_of("log", log);
        object.insert("event", object_of("id", self.id_text()));
        object
    }

    /// The shared tags and the event's own behind them.
    fn tags(&self) -> Option<Value> {
        let shared = self.common.object.get("tags");
        let own = self.event.own.as_ref().map(|own| own.tags.as_slice()).unwrap_or_default();
        if own.is_empty() {
            return shared.cloned();
        }
        let mut tags = match shared {
            None => Vec::new(),
            Some(Value::Array(tags)) => tags.clone(),
            Some(other) => vec![other.clone()],
        };
        for tag in own {
            if !tags.iter().any(|known| known.as_str() == Some(tag)) {
                tags.push(tag.as_str().into());
            }
        }
        Some(Value::Array(tags))
    }

    fn id_text(&self) -> String {
        json::hex(self.id()).iter().map(|digit| char::from(*digit)).collect()
    }

    /// A field that is neither `@timestamp` nor `message` nor `@metadata`.
    fn field(&self, segments: &[Box<str>]) -> Option<ValueRef<'a>> {
        let (root, rest) = segments.split_first()?;
        let overlay = match self.layout() {
            Layout::Detached(fields) => return fields.lookup_segments(segments).map(ValueRef::from),
            Layout::Plain => None,
            Layout::Overlay(overlay) => overlay.get(root),
        };
        match overlay.map(|value| value.probe(rest)) {
            None | Some(Probe::Missing) => self.shared_field(segments),
            Some(Probe::Blocked) => overlay?.read(rest).map(ValueRef::from),
            Some(Probe::Found(value)) => {
                if matches!(value, Value::Object(_)) && self.is_shared_object(segments) {
                    let merged = self.merged_root(root)?;
                    return found(merged.probe(rest)).map(|value| ValueRef::from(value.clone()));
                }
                Some(value.into())
            }
        }
    }

    /// The same without the overlay.
    fn shared_field(&self, segments: &[Box<str>]) -> Option<ValueRef<'a>> {
        let (root, rest) = segments.split_first()?;
        match (&**root, rest) {
            ("log", []) | ("event", []) => self.shared_root(root).map(ValueRef::from),
            ("log", [leaf]) if **leaf == *"offset" => Some(int(self.event.offset).into()),
            ("log", [leaf]) if **leaf == *"length" => Some(int(self.event.length).into()),
            ("log", [leaf]) if **leaf == *"flags" => {
                (self.event.flags != Flags::NONE).then(|| flag_values(self.event.flags).into())
            }
            ("event", [leaf]) if **leaf == *"id" => Some(ValueRef::Str(Cow::Owned(self.id_text()))),
            ("stream", _) if self.event.stream != Stream::None => {
                let name = self.event.stream.name().filter(|_| rest.is_empty());
                name.map(|name| ValueRef::Str(Cow::Borrowed(name)))
            }
            ("tags", rest) if self.event.own.as_ref().is_some_and(|own| !own.tags.is_empty()) => {
                self.tags()?.read(rest).map(|value| ValueRef::from(value.clone()))
            }
            _ => self.common.object.lookup_segments(segments).map(ValueRef::from),
        }
    }

    /// The shared fields have an object there.
    fn is_shared_object(&self, segments: &[Box<str>]) -> bool {
        matches!(segments, [root] if matches!(&**root, "log" | "event"))
            || matches!(self.common.object.lookup_segments(segments), Some(Value::Object(_)))
    }

    /// There is a value that is no object.
    fn is_leaf(&self, segments: &[Box<str>]) -> bool {
        let Some((root, rest)) = segments.split_first() else { return false };
        let overlay = match self.layout() {
            Layout::Overlay(overlay) => overlay.get(root),
            _ => None,
        };
        match overlay.map(|value| value.probe(rest)) {
            Some(Probe::Found(value)) => !matches!(value, Value::Object(_)),
            Some(Probe::Blocked) => true,
            None | Some(Probe::Missing) => !self.is_shared_object(segments) && self.shared_field(segments).is_some(),
        }
    }
}

/// As `String::from_utf8_lossy`, but faster where nothing is malformed.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn found(probe: Probe<'_>) -> Option<&Value> {
    if let Probe::Found(value) = probe { Some(value) } else { None }
}

/// Offsets and lengths of files are below 2^63.
fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn flag_values(flags: Flags) -> Value {
    Value::Array(flags.names().iter().map(|name| Value::from(*name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BUF: &[u8] = b"hello\xff world";

    fn object(value: serde_json::Value) -> Object {
        let serde_json::Value::Object(map) = value else { panic!("{value} is no object") };
        Object::from_json(map)
    }

    fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).expect("a good path")
    }

    fn common() -> Common {
        Shared::new(SharedOptions {
            host_name: "web-1".to_owned(),
            fields: object(json!({"service": "shop"})),
            tags: vec!["a".to_owned()],
            ..SharedOptions::default()
        })
        .file("/var/log/x.log", "f00d")
    }

    fn line() -> Event {
        Event::line(0..5, 30, 6, 1, Timestamp(0), Flags::NONE)
    }

    fn get(event: &Event, text: &str) -> Option<serde_json::Value> {
        let view = EventView { event, buf: BUF, common: &common() };
        view.get(&path(text)).map(|value| value.into_value().to_json())
    }

    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Event>() <= 64, "{} bytes: 4,096 of them are held at once", size_of::<Event>());
    }

    #[test]
    fn shows_every_field_of_a_line() {
        let mut event = line();
        event.flags = Flags::TRUNCATED;
        for (field, expect) in [
            ("@timestamp", json!("1970-01-01T00:00:00.000Z")),
            ("message", json!("hello")),
            ("log.offset", json!(30)),
            ("log.length", json!(6)),
            ("log.flags", json!(["truncated"])),
            ("log.file.path", json!("/var/log/x.log")),
            ("log.file", json!({"path": "/var/log/x.log", "id": "f00d"})),
            ("host.name", json!("web-1")),
            ("agent.type", json!("logferry")),
            ("fields.service", json!("shop")),
            ("tags", json!(["a"])),
            ("event.id", json!(format!("{:032x}", common().event_id(30, 1)))),
        ] {
            assert_eq!(get(&event, field), Some(expect), "{field}");
        }
        for missing in ["message.x", "@timestamp.x", "log.x", "log.offset.x", "event.id.x", "@metadata", "none"] {
            assert_eq!(get(&event, missing), None, "{missing}");
        }
        let broken = Event::line(0..12, 0, 13, 1, Timestamp(0), Flags::INVALID_UTF8);
        assert_eq!(get(&broken, "message"), Some(json!("hello\u{fffd} world")));
        let outside = Event::line(5..400, 0, 13, 1, Timestamp(0), Flags::NONE);
        assert_eq!(get(&outside, "message"), Some(json!("")), "a range outside of the buffer is no panic");
    }

    #[test]
    fn sets_beside_shared_fields_without_detaching() {
        let mut event = line();
        let mut set = |field: &str, value: Value| event.set(&path(field), value, BUF, &common());
        set("own.x", Value::Int(1)).expect("new");
        set("fields.more", "m".into()).expect("fields is an object");
        set("log.level", "info".into()).expect("log is an object");
        set("host.name", "other".into()).expect("a leaf for a leaf");
        set("@metadata.topic", "t".into()).expect("metadata is an object");
        set("@timestamp", "2026-03-05T07:08:09Z".into()).expect("a time");
        assert_eq!(set("fields.service.x", Value::Null), Err(SetError::NotAnObject("fields.service".to_owned())));
        assert_eq!(set("log.offset.x.y", Value::Null), Err(SetError::NotAnObject("log.offset".to_owned())));
        assert_eq!(set("own.x.y", Value::Null), Err(SetError::NotAnObject("own.x".to_owned())));
        assert_eq!(set("@metadata", Value::Null), Err(SetError::NotAnObject("@metadata".to_owned())));
        assert_eq!(set("@timestamp", Value::Int(1)), Err(SetError::NotATimestamp));
        assert!(!event.is_detached() && !event.is_plain());
        assert_eq!(get(&event, "fields"), Some(json!({"service": "shop", "more": "m"})));
        assert_eq!(get(&event, "host.name"), Some(json!("other")));
        assert_eq!(get(&event, "@metadata.topic"), Some(json!("t")));
        assert_eq!(event.timestamp.to_string(), "2026-03-05T07:08:09.000Z");
    }

    #[test]
    fn a_text_at_the_root_takes_the_place_of_what_the_agent_made_only() {
        let options = SharedOptions {
            host_name: "web-1".to_owned(),
            fields: object(json!({"host.ip": "::1", "team": "ops"})),
            fields_under_root: true,
            ..SharedOptions::default()
        };
        let common = Shared::new(options).file("/var/log/x.log", "f00d");
        let set = |name: &str| {
            let mut event = line();
            let is_set = event.set_root_text(&RootName::of(&path(name)).expect("a name at the root"), "text", &common);
            let view = EventView { event: &event, buf: BUF, common: &common };
            assert_eq!(view.get(&path(name)) == Some(ValueRef::Str("text".into())), is_set, "{name}");
            is_set
        };
        for name in ["clientip", "agent", "input"] {
            assert!(set(name), "{name}");
        }
        for name in ["host", "team", "log", "event", "tags", "stream"] {
            assert!(!set(name), "{name}");
        }
        // What is detached has the agent's own for itself.
        let mut detached = line();
        detached.set(&path("tags"), "t".into(), BUF, &common).expect("sets");
        assert!(detached.is_detached());
        assert!(!detached.set_root_text(&RootName::of(&path("agent")).expect("a name at the root"), "text", &common));
    }

    /// Scenario: events of which something was set in every way, and an event that takes the room of each. Guarantee: it has
    /// nothing of theirs.
    #[test]
    fn an_event_with_the_room_of_another_is_as_new() {
        let common = common();
        let mut set = line();
        for field in ["own.x", "fields.more", "@metadata.topic", "message"] {
            set.set(&path(field), "x".into(), BUF, &common).expect("sets");
        }
        set.add_tag("b", &common);
        set.send_to(&Arc::default());
        set.set_failed("grok");
        let mut detached = set.clone();
        detached.remove(&path("host"), BUF, &common);
        assert!(detached.is_detached());
        let mut room = Room::default();
        for mut event in [set, detached] {
            event.make_plain(&mut room);
            assert!(event.is_plain());
            let mut new = line();
            new.take_room(&mut room);
            assert_eq!(format!("{:?}", new.own), format!("{:?}", Some(Own::default())));
        }
    }

    #[test]
    fn detaches_to_remove_or_replace_what_is_shared() {
        let mut removed = line();
        assert_eq!(removed.take(&path("none"), BUF, &common()), None);
        assert!(removed.is_plain(), "nothing was there");
        assert_eq!(removed.take(&path("fields.service"), BUF, &common()), Some("shop".into()));
        assert!(removed.is_detached());
        assert_eq!(get(&removed, "fields"), Some(json!({})));
        assert_eq!(get(&removed, "log.offset"), Some(json!(30)));
        assert_eq!(get(&removed, "message"), Some(json!("hello")));

        let mut replaced = line();
        replaced.set(&path("host"), object(json!({"ip": "::1"})).into(), BUF, &common()).expect("replaces");
        assert_eq!(get(&replaced, "host"), Some(json!({"ip": "::1"})));
    }

    #[test]
    fn tags_are_added_once() {
        for detached in [false, true] {
            let mut event = line();
            if detached {
                event.remove(&path("host"), BUF, &common());
            }
            for tag in ["b", "a", "b", "c"] {
                event.add_tag(tag, &common());
            }
            assert_eq!(get(&event, "tags"), Some(json!(["a", "b", "c"])));
        }
    }

    #[test]
    fn an_object_from_outside_is_an_event() {
        let event = Event::from_object(
            object(json!({
                "message": "m", "@timestamp": "2026-03-05T07:08:09.5Z", "tags": ["x", "a"], "a": {"b": 1},
                "@metadata": {"k": "v"}, "host": {"ip": "::1"},
            })),
            Timestamp(7),
        );
        assert_eq!(event.timestamp.to_string(), "2026-03-05T07:08:09.500Z");
        assert_eq!(get(&event, "message"), Some(json!("m")));
        assert_eq!(get(&event, "tags"), Some(json!(["a", "x"])));
        assert_eq!(get(&event, "a.b"), Some(json!(1)));
        assert_eq!(get(&event, "host"), Some(json!({"name": "web-1", "ip": "::1"})));
        assert_eq!(get(&event, "@metadata.k"), Some(json!("v")));

        let odd = object(json!({"@timestamp": 12, "tags": {"x": 1}, "@metadata": 3}));
        let odd = Event::from_object(odd, Timestamp(7));
        assert_eq!(odd.timestamp, Timestamp(7));
        assert_eq!(get(&odd, "_@timestamp"), Some(json!(12)));
        assert_eq!(get(&odd, "_tags"), Some(json!({"x": 1})));
        assert_eq!(get(&odd, "_@metadata"), Some(json!(3)));
        assert_eq!(get(&odd, "tags"), Some(json!(["a", "_timestampparsefailure"])));
        assert_eq!(get(&odd, "message"), None);
    }
}
