//! Encoding (P): from an event to the value of its record. One file a codec; what events of a source share is not rendered
//! again for each.
//!
//! Not here: topic, key and Kafka headers (route), except the headers by which a raw line is known.

use std::ops::Range;

use crate::event::{EventView, Flags, MessageRef, Stream, json};

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
    /// The message was cut at a character, and the record marked as truncated: in `log.flags` of ecs, in the header of raw
    /// ([`identity_headers`]); json has no place for it.
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

/// The headers that say which line a raw record is, `fit` being how its value was written: `out` gets their values appended,
/// and each header's name and range there are given to `header`. A header without a value (`log.flags` of a whole line) is
/// left out.
pub fn identity_headers(
    view: &EventView<'_>,
    fit: Fit,
    out: &mut Vec<u8>,
    mut header: impl FnMut(&'static str, Range<usize>),
) {
    let flags = if fit == Fit::Cut { view.event.flags().with(Flags::TRUNCATED) } else { view.event.flags() };
    let text = |path: [&str; 3]| view.common.text(path).unwrap_or_default().as_bytes();
    for name in IDENTITY_HEADERS {
        let start = out.len();
        match name {
            "event.id" => out.extend_from_slice(&json::hex(view.id())),
            "log.file.id" => out.extend_from_slice(text(["log", "file", "id"])),
            "log.file.path" => out.extend_from_slice(text(["log", "file", "path"])),
            "log.offset" => json::write_u64(out, view.event.offset),
            "log.flags" => out.extend_from_slice(flags.names().join(",").as_bytes()),
            _ => out.extend_from_slice(text(["host", "name", ""])),
        }
        if out.len() > start {
            header(name, start..out.len());
        }
    }
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

/// `,"flags":[…]` of `log`, if there are any.
fn write_flags(flags: Flags, out: &mut Vec<u8>) {
    let mut before: &[u8] = b",\"flags\":[\"";
    for name in flags.names() {
        out.extend_from_slice(before);
        out.extend_from_slice(name.as_bytes());
        before = b"\",\"";
    }
    if flags != Flags::NONE {
        out.extend_from_slice(b"\"]");
    }
}

/// `,"stream":"…"` of a container's line.
fn write_stream(view: &EventView<'_>, out: &mut Vec<u8>) {
    match view.event.stream() {
        Stream::None => {}
        Stream::Stdout => out.extend_from_slice(b",\"stream\":\"stdout\""),
        Stream::Stderr => out.extend_from_slice(b",\"stream\":\"stderr\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::common::remove_same;
    use crate::event::{Common, Event, FieldPath, Object, Shared, SharedOptions, Timestamp, Value};
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: serde_json::Value) -> Object {
        let serde_json::Value::Object(map) = value else { panic!("{value} is no object") };
        Object::from_json(map)
    }

    fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).expect("a good path")
    }

    fn common(under_root: bool, tags: &[&str]) -> Common {
        Shared::new(SharedOptions {
            host_name: "web-1".to_owned(),
            agent_version: "0.1.0".to_owned(),
            input_name: "nginx".to_owned(),
            fields: object(json!({"service": "sh\"op", "host.ip": "::1"})),
            fields_under_root: under_root,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            host_id: "machine".to_owned(),
        })
        .file("/var/log/x.log", "f00d")
    }

    fn event(length: usize, flags: Flags) -> Event {
        let time = Timestamp::parse("2026-03-05T07:08:09.123Z").expect("a time");
        Event::line(0..length as u32, 30, length as u64 + 1, 1, time, flags)
    }

    fn encoded(codec: Codec, event: &Event, buf: &[u8], common: &Common) -> Vec<u8> {
        let mut out = b"before".to_vec();
        encode(codec, &EventView { event, buf, common }, &mut out);
        out.strip_prefix(b"before").expect("encoding only appends").to_vec()
    }

    #[test]
    fn ecs_is_what_the_design_shows() {
        let buf = b"GET \"/\"";
        let text = encoded(Codec::Ecs, &event(buf.len(), Flags::TRUNCATED), buf, &common(false, &["edge"]));
        let id = format!("{:032x}", common(false, &[]).event_id(30, 1));
        assert_eq!(
            String::from_utf8(text).expect("UTF-8"),
            [
                r#"{"@timestamp":"2026-03-05T07:08:09.123Z","message":"GET \"/\"","#,
                r#""log":{"file":{"path":"/var/log/x.log","id":"f00d"},"offset":30,"length":8,"flags":["truncated"]},"#,
                &format!(r#""event":{{"id":"{id}"}},"#),
                r#""host":{"name":"web-1"},"agent":{"type":"logferry","version":"0.1.0"},"input":{"name":"nginx"},"#,
                r#""fields":{"service":"sh\"op","host":{"ip":"::1"}},"tags":["edge"]}"#,
            ]
            .concat()
        );
    }

    #[test]
    fn json_leaves_out_what_the_agent_adds() {
        let check = |event: &Event, under_root: bool, expect: serde_json::Value| {
            let text = encoded(Codec::Json, event, b"hi", &common(under_root, &["edge"]));
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&text).expect("JSON"), expect);
        };
        let time = "2026-03-05T07:08:09.123Z";
        let mut event = event(2, Flags::NONE);
        check(
            &event,
            false,
            json!({
                "@timestamp": time, "message": "hi", "tags": ["edge"],
                "fields": {"service": "sh\"op", "host": {"ip": "::1"}},
            }),
        );
        check(
            &event,
            true,
            json!({"@timestamp": time, "message": "hi", "tags": ["edge"], "service": "sh\"op", "host": {"ip": "::1"}}),
        );
        let shared = common(true, &["edge"]);
        event.set(&path("log.level"), "info".into(), b"hi", &shared).expect("sets");
        event.set(&path("host.name"), "other".into(), b"hi", &shared).expect("sets");
        event.add_tag("own", &shared);
        check(
            &event,
            true,
            json!({
                "@timestamp": time, "message": "hi", "tags": ["edge", "own"], "service": "sh\"op",
                "host": {"name": "other", "ip": "::1"}, "log": {"level": "info"},
            }),
        );
    }

    #[test]
    fn raw_is_the_line_and_headers_name_it() {
        let buf = b"\xff\x00 line";
        let event = event(buf.len(), Flags::INVALID_UTF8);
        let common = common(false, &[]);
        assert_eq!(encoded(Codec::Raw, &event, buf, &common), buf);
        let view = EventView { event: &event, buf, common: &common };
        let (mut out, mut seen) = (b"x".to_vec(), Vec::new());
        identity_headers(&view, Fit::Whole, &mut out, |name, range| seen.push((name, range)));
        let seen: Vec<(&str, &str)> =
            seen.into_iter().map(|(name, range)| (name, std::str::from_utf8(&out[range]).expect("UTF-8"))).collect();
        let id = format!("{:032x}", common.event_id(30, 1));
        let expect = [&*id, "f00d", "/var/log/x.log", "30", "invalid_utf8", "web-1"];
        assert_eq!(seen, IDENTITY_HEADERS.into_iter().zip(expect).collect::<Vec<_>>());

        let whole = self::event(4, Flags::NONE);
        let view = EventView { event: &whole, ..view };
        let flags = |fit: Fit| {
            let (mut out, mut flags) = (Vec::new(), None);
            identity_headers(&view, fit, &mut out, |name, range| {
                flags = flags.take().or((name == "log.flags").then_some(range))
            });
            flags.map(|range| out[range].to_vec())
        };
        assert_eq!(flags(Fit::Whole), None);
        assert_eq!(flags(Fit::Cut), Some(b"truncated".to_vec()));
    }

    /// What the codecs say of an event, made the slow way.
    fn model(codec: Codec, view: &EventView<'_>) -> serde_json::Value {
        let mut tree = view.to_object();
        if codec == Codec::Json {
            let mut added = view.common.agent.clone();
            added.merge(view.intrinsic());
            remove_same(&mut tree, &added);
        }
        serde_json::Value::Object(tree.to_json())
    }

    #[derive(Clone, Debug)]
    enum Action {
        Set(&'static str, serde_json::Value),
        Remove(&'static str),
        Tag(&'static str),
    }

    fn any_action() -> impl Strategy<Value = Action> {
        let paths = [
            "own",
            "own.x",
            "fields",
            "fields.x",
            "fields.service",
            "host",
            "host.name",
            "host.ip",
            "log",
            "log.level",
            "log.offset",
            "log.file",
            "event",
            "event.id",
            "event.kind",
            "tags",
            "message",
            "message.x",
            "agent.type",
            "service",
            "@metadata.x",
            "@timestamp",
            "input",
        ];
        let values = [
            json!("text \u{1}\"\\ é"),
            json!(-1),
            json!(1.25),
            json!(null),
            json!({"x": {"y": [true, {}]}}),
            json!([]),
            json!("2026-03-05T07:08:09Z"),
            json!("web-1"),
        ];
        prop_oneof![
            4 => (proptest::sample::select(paths.to_vec()), proptest::sample::select(values.to_vec()))
                .prop_map(|(path, value)| Action::Set(path, value)),
            1 => proptest::sample::select(paths.to_vec()).prop_map(Action::Remove),
            1 => proptest::sample::select(vec!["edge", "own", "b\"c"]).prop_map(Action::Tag),
        ]
    }

    fn changed(mut event: Event, actions: Vec<Action>, buf: &[u8], common: &Common) -> Event {
        for action in actions {
            match action {
                // What can't be set is left as it is; the encoding must be right either way.
                Action::Set(field, value) => drop(event.set(&path(field), value.into(), buf, common)),
                Action::Remove(field) => drop(event.take(&path(field), buf, common)),
                Action::Tag(tag) => event.add_tag(tag, common),
            }
        }
        event
    }

    fn any_line() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            "[\"\\\\a-zé\u{1}\u{1f600} ]{0,80}".prop_map(String::into_bytes),
        ]
    }

    fn flags_of(line: &[u8]) -> Flags {
        if std::str::from_utf8(line).is_ok() { Flags::NONE } else { Flags::INVALID_UTF8 }
    }

    proptest! {
        /// Scenario: any bytes, any fields set, removed and tagged, shared fields under the root or not. Guarantee: the
        /// record is JSON, and says what the event's tree says.
        #[test]
        fn records_say_what_the_event_says(
            line in any_line(), actions in proptest::collection::vec(any_action(), 0..6), under_root: bool, tagged: bool,
        ) {
            let common = common(under_root, if tagged { &["edge"] } else { &[] });
            let event = changed(event(line.len(), flags_of(&line)), actions, &line, &common);
            let view = EventView { event: &event, buf: &line, common: &common };
            for codec in [Codec::Ecs, Codec::Json] {
                let text = encoded(codec, &event, &line, &common);
                prop_assert!(text.starts_with(br#"{"@timestamp":""#), "the time comes first");
                let parsed: serde_json::Value = serde_json::from_slice(&text).expect("a record is JSON");
                prop_assert_eq!(parsed, model(codec, &view), "{:?}", codec);
            }
        }

        /// Scenario: a record, and a limit about its size. Guarantee: what is written is within the limit; whole if the whole
        /// fits; else the longest cut at a character that fits, marked; nothing if not even that.
        #[test]
        fn records_fit_their_limit(
            line in any_line(), actions in proptest::collection::vec(any_action(), 0..3), less in 0usize..200,
            codec in proptest::sample::select(vec![Codec::Ecs, Codec::Json, Codec::Raw]),
        ) {
            let common = common(false, &["edge"]);
            let event = changed(event(line.len(), flags_of(&line)), actions, &line, &common);
            let view = EventView { event: &event, buf: &line, common: &common };
            let whole = encoded(codec, &event, &line, &common);
            let max_bytes = whole.len().saturating_sub(less);
            let mut out = b"x".to_vec();
            let fit = encode_within(codec, &view, max_bytes, &mut out);
            prop_assert!(out.len() - 1 <= max_bytes);
            let written = &out[1..];
            match fit {
                Fit::Whole => prop_assert_eq!(written, &whole),
                Fit::TooLarge => prop_assert!(written.is_empty()),
                Fit::Cut if codec == Codec::Raw => {
                    prop_assert!(whole.starts_with(written));
                    prop_assert!(max_bytes - written.len() < 4, "only a character's bytes may be left");
                }
                Fit::Cut => {
                    let parsed: serde_json::Value = serde_json::from_slice(written).expect("a cut record is JSON");
                    let cut = parsed["message"].as_str().expect("a cut message is text");
                    let full: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
                    prop_assert!(full["message"].as_str().expect("text").starts_with(cut));
                    prop_assert!(max_bytes - written.len() < 6, "only a character's bytes may be left");
                    if codec == Codec::Ecs && !event.is_detached() && parsed["log"].is_object() {
                        let flags = parsed["log"]["flags"].as_array().cloned().unwrap_or_default();
                        prop_assert!(flags.contains(&Value::from("truncated").to_json()), "{}", parsed);
                    }
                }
            }
            prop_assert_eq!(fit == Fit::Whole, whole.len() <= max_bytes);
        }
    }
}
