//! Encoding (P): from an event to the value of its record. One file a codec; what events of a source share is not rendered
//! again for each.
//!
//! Not here: topic, key and Kafka headers (route), except the headers by which a raw line is known.

use std::ops::Range;

use crate::event::{EventView, Flags, MessageRef, json};

mod ecs;
mod json_codec;
mod raw;

/// How a record's value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// The Elastic Common Schema as Filebeat writes it: what Logstash configs and index templates expect.
    #[default]
    Ecs,
    /// The fields of the event with `@timestamp` and `tags`, without what the agent adds.
    Json,
    /// The message's bytes; identity in headers.
    Raw,
}

/// Whether a record fits its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    Whole,
    /// The message was cut at a character, and the record marked as truncated.
    Cut,
    /// Not even without its message, or it has none to cut; nothing was written.
    TooLarge,
}

/// The names of the headers that [`identity_headers`] writes, in their order.
pub const IDENTITY_HEADERS: [&str; 6] =
    ["event.id", "log.file.id", "log.file.path", "log.offset", "log.flags", "host.name"];

/// Appends the value of an event's record.
pub fn encode(codec: Codec, view: &EventView<'_>, out: &mut Vec<u8>) {
    match codec {
        Codec::Ecs => ecs::encode(view, out),
        Codec::Json => json_codec::encode(view, out),
        Codec::Raw => raw::encode(view, out),
    }
}

/// Appends the value of an event's record, of at most `max_bytes`: where it would be longer, its message is cut.
pub fn encode_within(codec: Codec, view: &EventView<'_>, max_bytes: usize, out: &mut Vec<u8>) -> Fit {
    let start = out.len();
    encode(codec, view, out);
    if out.len() - start <= max_bytes {
        return Fit::Whole;
    }
    out.truncate(start);
    let message = match view.message() {
        MessageRef::Line { bytes, .. } => bytes,
        MessageRef::Value(value) => match value.as_str() {
            Some(text) => text.as_bytes(),
            None => return Fit::TooLarge,
        },
        MessageRef::Removed => return Fit::TooLarge,
    };
    // What the record takes without its message, the mark included, is what is left for it.
    let mut event = view.event.clone();
    event.cut_message(0);
    encode(codec, &EventView { event: &event, ..*view }, out);
    let fixed = out.len() - start;
    out.truncate(start);
    if fixed > max_bytes {
        return Fit::TooLarge;
    }
    let keep = prefix_within(codec, message, max_bytes - fixed);
    let mut event = view.event.clone();
    event.cut_message(keep);
    encode(codec, &EventView { event: &event, ..*view }, out);
    Fit::Cut
}

/// The headers that say which line a raw record is: `out` gets the bytes appended, and each header's name and range are
/// given to `header`. A header without a value (`log.flags` of a whole line) is left out.
pub fn identity_headers(view: &EventView<'_>, out: &mut Vec<u8>, mut header: impl FnMut(&'static str, Range<usize>)) {
    let [id, file_id, path, offset, flags, host] = IDENTITY_HEADERS;
    let mut write = |name: &'static str, write: &dyn Fn(&mut Vec<u8>)| {
        let start = out.len();
        write(out);
        if out.len() > start {
            header(name, start..out.len());
        }
    };
    let text = |path: [&str; 3]| view.common.text(path).unwrap_or_default().as_bytes();
    write(id, &|out| out.extend_from_slice(&json::hex(view.id())));
    write(file_id, &|out| out.extend_from_slice(text(["log", "file", "id"])));
    write(path, &|out| out.extend_from_slice(text(["log", "file", "path"])));
    write(offset, &|out| json::write_u64(out, view.event.offset));
    write(flags, &|out| out.extend_from_slice(view.event.flags().names().join(",").as_bytes()));
    write(host, &|out| out.extend_from_slice(text(["host", "name", ""])));
}

/// The longest prefix of whole characters that is written in at most `room` bytes.
fn prefix_within(codec: Codec, message: &[u8], room: usize) -> usize {
    let mut used = 0;
    let mut keep = 0;
    for chunk in message.utf8_chunks() {
        for character in chunk.valid().chars() {
            used += match codec {
                Codec::Ecs | Codec::Json if character.is_ascii() => json::escaped_len(character as u8),
                _ => character.len_utf8(),
            };
            if used > room {
                return keep;
            }
            keep += character.len_utf8();
        }
        let malformed = chunk.invalid();
        if !malformed.is_empty() {
            used += if codec == Codec::Raw { malformed.len() } else { char::REPLACEMENT_CHARACTER.len_utf8() };
            if used > room {
                return keep;
            }
            keep += malformed.len();
        }
    }
    keep
}

/// Appends `"message":…` after a comma, if there is a message.
fn write_message(view: &EventView<'_>, out: &mut Vec<u8>) {
    match view.message() {
        MessageRef::Line { bytes, is_utf8 } => {
            out.extend_from_slice(b",\"message\":\"");
            if is_utf8 {
                json::write_escaped(out, bytes);
            } else {
                json::write_lossy(out, bytes);
            }
            out.push(b'"');
        }
        MessageRef::Value(value) => json::write_member(out, "message", value),
        MessageRef::Removed => {}
    }
}

/// Appends `{"@timestamp":"…"`.
fn open(view: &EventView<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"@timestamp\":\"");
    view.event.timestamp.render(out);
    out.push(b'"');
}

/// `,"flags":[…]` of `log`.
fn flags_member(flags: Flags) -> &'static [u8] {
    match flags.names() {
        [] => b"",
        ["truncated"] => b",\"flags\":[\"truncated\"]",
        ["invalid_utf8"] => b",\"flags\":[\"invalid_utf8\"]",
        _ => b",\"flags\":[\"truncated\",\"invalid_utf8\"]",
    }
}
