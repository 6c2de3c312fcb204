//! Event, Value, Timestamp: one record on its way from a line to its bytes (P).
//!
//! An event is a slice of its batch's buffer plus numbers; what all events of a source share is in its [`Common`], rendered
//! once. Only what a processor sets is owned by the event: an overlay over the shared fields. A processor that changes or
//! removes a shared field detaches the event: it then owns a full tree. So the plain path allocates nothing per event.

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Array(Vec<Value>),
    Object(Object),
}

/// Fields in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    entries: Vec<(String, Value)>,
}

/// What all events of a source share: `log.file.path`, `log.file.id`, `host`, `agent`, `fields`, `tags`.
pub struct Common {
    pub object: Object,
}

/// One event: a line and what processors made of it.
pub struct Event {
    /// Byte offset of the line's first byte in its source.
    pub offset: u64,
}

/// What the shared fields of an input's sources are made from.
#[derive(Clone, Debug)]
pub struct Shared {}

/// The path of a field: `a.b`, `[a][b]`, `[a.b]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {}

impl FieldPath {
    pub fn parse(_text: &str) -> Result<Self, SyntaxError> {
        Ok(Self {})
    }
}

/// Where and why a text of the config (condition, template, field path) can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset in the text.
    pub at: usize,
    /// What was expected.
    pub message: String,
}
