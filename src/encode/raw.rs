//! The `raw` codec: the message's bytes as they were read, be they UTF-8 or not; what an input's `encoding` has decoded is UTF-8. A message that a processor made an object
//! or a number is written as JSON.

use crate::event::{EventView, MessageRef, Value, json};

pub(super) fn encode(view: &EventView<'_>, out: &mut Vec<u8>) {
    match view.message() {
        MessageRef::Line { bytes, .. } => out.extend_from_slice(bytes),
        MessageRef::Value(Value::String(text)) => out.extend_from_slice(text.as_bytes()),
        MessageRef::Value(value) => json::write_value(out, value),
        MessageRef::Removed => {}
    }
}
