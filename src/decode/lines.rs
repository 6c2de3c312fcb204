//! Splits a buffer at newlines into events (P).
//!
//! A line ends with LF or CRLF; the terminator is not part of the message but of the event's length, so that offsets and
//! lengths of a file's events add up without a gap. Empty lines are lines. What is longer than `max_line_bytes` is cut at a
//! character and marked; its hash is of the whole line, its filter sees the message. However a line's bytes are spread over reads, its event is the same:
//! [`split_lines`] has it whole in the buffer, [`LongLine`] sees it in pieces.
//!
//! Lines in UTF-8 stay where they are, and events refer to the buffer they were read into. Those in another [`Charset`] are
//! decoded into a second buffer ([`split_encoded`]), to which their events refer; all that is counted (offset, length,
//! hash, `max_line_bytes`) is of the raw bytes. The mark (BOM) that a source may begin with belongs to its first line's raw
//! bytes, not to its message.
//!
//! Not here: reading, and what happens to an unterminated rest (the source keeps it, or asks for [`last_line`]).

use std::ops::Range;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::{Charset, LineFilter};
use crate::event::{Event, Flags, Timestamp};

/// How lines are taken.
#[derive(Clone, Copy)]
pub struct LineOptions<'a> {
    /// The most of a line that becomes its message, terminator excluded.
    pub max_line_bytes: usize,
    /// Stop when `events` holds so many; at least one more line is taken than it held before.
    pub events_max: usize,
    pub filter: &'a LineFilter,
    /// What the source is encoded in.
    pub charset: Charset,
}

/// What became of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Bytes up to and including the last newline taken.
    pub consumed: usize,
    /// Lines cut at `max_line_bytes`.
    pub truncated: u64,
    /// Lines that the filter did not keep; they are consumed, not cut.
    pub filtered: u64,
}

/// Takes the complete lines of `buf`, whose first byte is at `base_offset` of the source, as UTF-8.
pub fn split_lines(
    buf: &[u8],
    base_offset: u64,
    options: &LineOptions<'_>,
    now: Timestamp,
    events: &mut Vec<Event>,
) -> Split {
    split_lines_from(buf, 0, base_offset, options, now, events)
}

/// Takes the complete lines of `buf[from..]`, whose first byte is at `base_offset` of the source, as UTF-8. Events refer to `buf`;
/// `consumed` counts from `from`.
pub fn split_lines_from(
    buf: &[u8],
    from: usize,
    base_offset: u64,
    options: &LineOptions<'_>,
    now: Timestamp,
    events: &mut Vec<Event>,
) -> Split {
    // Events refer to the buffer by 32 bits.
    let buf = &buf[..buf.len().min(u32::MAX as usize)];
    let bytes = buf.get(from..).unwrap_or_default();
    let mut split = Split::default();
    let Some(last) = memchr::memrchr(b'\n', bytes) else { return split };
    let bytes = &bytes[..=last];
    let all_utf8 = simdutf8::basic::from_utf8(bytes).is_ok();
    let keeps_all = options.filter.keeps_all();

    let mut mark = Charset::Utf8.mark_bytes(bytes, base_offset);
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        let raw = &bytes[start..newline];
        let line = raw.strip_suffix(b"\r").unwrap_or(raw);
        let (message, mut flags) = if line.len() > options.max_line_bytes {
            (&line[..cut_at_char(line, options.max_line_bytes)], Flags::TRUNCATED)
        } else {
            (line, Flags::NONE)
        };
        let skipped = std::mem::take(&mut mark);
        let message = &message[skipped.min(message.len())..];
        let consumed = newline + 1;
        if keeps_all || options.filter.keeps(message) {
            if !all_utf8 && std::str::from_utf8(message).is_err() {
                flags = flags.with(Flags::INVALID_UTF8);
            }
            let at = (from + start + skipped) as u32;
            events.push(Event::line(
                at..at + message.len() as u32,
                base_offset + start as u64,
                (consumed - start) as u64,
                xxh3_64(line),
                now,
                flags,
            ));
            split.truncated += u64::from(flags.contains(Flags::TRUNCATED));
        } else {
            split.filtered += 1;
        }
        start = consumed;
        if events.len() >= options.events_max {
            break;
        }
    }
    split.consumed = start;
    split
}

/// Takes the complete lines of `bytes`, the first of which is at `base_offset` of the source, in its charset. Their messages
/// are appended to `text`, to which the events refer.
pub fn split_encoded(
    bytes: &[u8],
    base_offset: u64,
    options: &LineOptions<'_>,
    now: Timestamp,
    text: &mut Vec<u8>,
    events: &mut Vec<Event>,
) -> Split {
    let charset = options.charset;
    let mut split = Split::default();
    while let Some(rest) = bytes.get(split.consumed..).filter(|_| text.len() < TEXT_BYTES_MAX) {
        let offset = base_offset + split.consumed as u64;
        let Some(length) = charset.first_line(rest, offset) else { break };
        let line = &rest[..length - charset.unit_bytes()];
        let line = line.strip_suffix(charset.carriage_return()).unwrap_or(line);
        let raw = RawLine { offset, length: length as u64, bytes_whole: line.len() as u64, hash: xxh3_64(line) };
        match raw.decoded(line, options, now, text) {
            Some(event) => {
                split.truncated += u64::from(event.flags().contains(Flags::TRUNCATED));
                events.push(event);
            }
            None => split.filtered += 1,
        }
        split.consumed += length;
        if events.len() >= options.events_max {
            break;
        }
    }
    split
}

/// Decoded text is not begun behind this: events refer to it by 32 bits, and a line is shorter than a quarter of that.
const TEXT_BYTES_MAX: usize = 1 << 30;

/// What is known of a line by its raw bytes.
struct RawLine {
    offset: u64,
    /// Terminator included.
    length: u64,
    /// Terminator excluded.
    bytes_whole: u64,
    hash: u64,
}

impl RawLine {
    /// Its event, the message of which is appended to `text`. `head`: all of it, or more than `max_line_bytes`.
    fn decoded(self, head: &[u8], options: &LineOptions<'_>, now: Timestamp, text: &mut Vec<u8>) -> Option<Event> {
        let charset = options.charset;
        let taken = head.len().min(options.max_line_bytes);
        let is_cut = self.bytes_whole > taken as u64;
        let mark = charset.mark_bytes(head, self.offset).min(taken);
        let start = text.len();
        let is_good = charset.decode(&head[mark..taken], self.offset + mark as u64, !is_cut, text);
        if !options.filter.keeps(&text[start..]) {
            text.truncate(start);
            return None;
        }
        let mut flags = if is_cut { Flags::TRUNCATED } else { Flags::NONE };
        if !is_good {
            flags = flags.with(Flags::INVALID_ENCODING);
        }
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Some(Event::line(at(start)..at(text.len()), self.offset, self.length, self.hash, now, flags))
    }
}

/// The event of a last line that will never get its newline: all of `buf[range]`, at `offset` of the source. `None`: the
/// filter did not keep it. See [`LongLine::into_event`] for `text`.
pub fn last_line(
    buf: &[u8],
    range: Range<usize>,
    offset: u64,
    options: &LineOptions<'_>,
    now: Timestamp,
    text: &mut Vec<u8>,
) -> Option<Event> {
    let mut line = LongLine::new(offset, options.charset);
    line.feed(buf.get(range.clone()).unwrap_or_default());
    line.into_event(buf, range, options, now, text)
}

/// The bytes before `max` that end with a whole character: `max` or up to three less. What is not UTF-8 is cut at `max`.
pub fn cut_at_char(bytes: &[u8], max: usize) -> usize {
    if bytes.len() <= max {
        return bytes.len();
    }
    let is_continuation = |at: usize| bytes[at] & 0xc0 == 0x80;
    let mut cut = max;
    while cut > 0 && max - cut < 3 && is_continuation(cut) {
        cut -= 1;
    }
    if is_continuation(cut) { max } else { cut }
}

/// xxh3_64 of a line that comes in pieces, its LF or CRLF left out.
pub struct LineHasher {
    state: Xxh3Default,
    /// A carriage return in the line's charset.
    cr: &'static [u8],
    /// A CR came last: part of the terminator if LF follows.
    holds_cr: bool,
}

impl Default for LineHasher {
    fn default() -> Self {
        Self::new(Charset::Utf8)
    }
}

impl LineHasher {
    /// For lines of a charset.
    pub fn new(charset: Charset) -> Self {
        Self { state: Xxh3Default::new(), cr: charset.carriage_return(), holds_cr: false }
    }

    /// Adds bytes of the line, without its LF; in UTF-16 whole units, but for what ends a broken source.
    pub fn update(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.holds_cr {
            self.state.update(self.cr);
        }
        let before = bytes.strip_suffix(self.cr);
        self.holds_cr = before.is_some();
        self.state.update(before.unwrap_or(bytes));
    }

    /// The hash of the line. `terminated`: LF followed.
    pub fn finish(mut self, terminated: bool) -> u64 {
        if self.holds_cr && !terminated {
            self.state.update(self.cr);
        }
        self.state.digest()
    }
}

/// A line that does not fit the buffer: the source keeps its head (more than `max_line_bytes` bytes of it, if it has them)
/// and feeds what follows until the newline.
pub struct LongLine {
    charset: Charset,
    offset: u64,
    length: u64,
    hasher: LineHasher,
    /// The first byte of a unit whose second did not come yet. Counted in `length`, not hashed.
    half: Option<u8>,
    is_complete: bool,
}

impl LongLine {
    /// A line that starts at `offset` of its source; nothing of it was fed.
    pub fn new(offset: u64, charset: Charset) -> Self {
        Self { charset, offset, length: 0, hasher: LineHasher::new(charset), half: None, is_complete: false }
    }

    /// Takes the bytes of the line that stand at the front of `bytes`, through its newline; how many they were. Takes
    /// nothing more once the line is complete.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let before = self.length;
        let mut rest = bytes;
        if self.length == 0 {
            let stray = self.charset.stray_bytes(self.offset).min(rest.len());
            self.take(&rest[..stray]);
            rest = &rest[stray..];
        }
        if let Some((first, (second, others))) = self.half.zip(rest.split_first()) {
            self.half = None;
            self.length -= 1;
            self.feed_units(&[first, *second]);
            rest = others;
        }
        self.feed_units(rest);
        usize::try_from(self.length - before).expect("not more than the bytes that were given")
    }

    /// Takes `bytes`, which begin with a unit.
    fn feed_units(&mut self, bytes: &[u8]) {
        if self.is_complete || bytes.is_empty() {
            return;
        }
        let unit = self.charset.unit_bytes();
        if let Some(length) = self.charset.first_line(bytes, 0) {
            self.take(&bytes[..length - unit]);
            self.length += unit as u64;
            self.is_complete = true;
            return;
        }
        let (units, half) = bytes.split_at(bytes.len() / unit * unit);
        self.take(units);
        self.half = half.first().copied();
        self.length += half.len() as u64;
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Its newline was seen.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Bytes fed, terminator included.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its event; a line without a newline is taken as it is. `head` is where its first bytes stand in `buf`: more than
    /// `max_line_bytes` of them, or the whole line. In UTF-8 the event refers to `buf`; else its message is appended to
    /// `text`, to which it refers. `None`: the filter did not keep it.
    pub fn into_event(
        mut self,
        buf: &[u8],
        head: Range<usize>,
        options: &LineOptions<'_>,
        now: Timestamp,
        text: &mut Vec<u8>,
    ) -> Option<Event> {
        if let Some(half) = self.half.take() {
            self.hasher.update(&[half]);
        }
        let unit = self.charset.unit_bytes() as u64;
        let terminator = if self.is_complete { unit * (1 + u64::from(self.hasher.holds_cr)) } else { 0 };
        let content = self.length - terminator;
        let head_bytes = buf.get(head.clone()).unwrap_or_default();
        let head_bytes = &head_bytes[..head_bytes.len().min(usize::try_from(content).unwrap_or(usize::MAX))];
        let line_hash = self.hasher.finish(self.is_complete);
        if !self.charset.is_utf8() {
            let raw = RawLine { offset: self.offset, length: self.length, bytes_whole: content, hash: line_hash };
            return raw.decoded(head_bytes, options, now, text);
        }
        let cut = cut_at_char(head_bytes, options.max_line_bytes);
        let mark = Charset::Utf8.mark_bytes(head_bytes, self.offset).min(cut);
        let message = &head_bytes[mark..cut];
        if !options.filter.keeps(message) {
            return None;
        }
        let mut flags = if (cut as u64) < content { Flags::TRUNCATED } else { Flags::NONE };
        if std::str::from_utf8(message).is_err() {
            flags = flags.with(Flags::INVALID_UTF8);
        }
        let at = |at: usize| u32::try_from(head.start + at).unwrap_or(u32::MAX);
        Some(Event::line(at(mark)..at(cut), self.offset, self.length, line_hash, now, flags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Common, EventView, FieldPath, Shared, SharedOptions, Value, ValueRef};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(5);

    fn common() -> Common {
        Shared::new(SharedOptions::default()).file("/a", "id")
    }

    fn messages(buf: &[u8], events: &[Event]) -> Vec<String> {
        let common = common();
        let message = FieldPath::parse("message").expect("a path");
        let text = |event| match (EventView { event, buf, common: &common }).get(&message) {
            Some(ValueRef::Str(text)) => text.into_owned(),
            other => panic!("a line has a message, not {other:?}"),
        };
        events.iter().map(text).collect()
    }

    fn check(input: &[u8], max_line_bytes: usize, expect: &[&str], split: Split) {
        let filter = LineFilter::new(&[], &["^skip".to_owned()]).expect("good expressions");
        let options = LineOptions { max_line_bytes, events_max: 100, filter: &filter, charset: Charset::Utf8 };
        let mut events = Vec::new();
        assert_eq!(split_lines(input, 100, &options, NOW, &mut events), split);
        assert_eq!(messages(input, &events), expect);
    }

    #[test]
    fn takes_complete_lines() {
        check(b"", 10, &[], Split::default());
        check(b"no newline", 10, &[], Split::default());
        check(b"a\n\nb\r\n\r\nc", 10, &["a", "", "b", ""], Split { consumed: 8, truncated: 0, filtered: 0 });
        check(b"a\rb\n\r\r\n", 10, &["a\rb", "\r"], Split { consumed: 7, truncated: 0, filtered: 0 });
        check(b"skip\nkeep\nskip\n", 10, &["keep"], Split { consumed: 15, truncated: 0, filtered: 2 });
        check(b"12345\r\n123456\n", 5, &["12345", "12345"], Split { consumed: 14, truncated: 1, filtered: 0 });
        check("1234é\n".as_bytes(), 5, &["1234"], Split { consumed: 7, truncated: 1, filtered: 0 });
        check(b"ok\n\xff\n", 5, &["ok", "\u{fffd}"], Split { consumed: 5, truncated: 0, filtered: 0 });
    }

    #[test]
    fn events_know_where_they_stand() {
        let filter = LineFilter::default();
        let options = LineOptions { max_line_bytes: 3, events_max: 100, filter: &filter, charset: Charset::Utf8 };
        let mut events = Vec::new();
        split_lines_from(b"..ab\r\nc\xffdef\n", 2, 40, &options, NOW, &mut events);
        let seen: Vec<_> = events.iter().map(|event| (event.offset, event.length, event.flags().names())).collect();
        assert_eq!(seen, [(40, 4, &[][..]), (44, 6, &["truncated", "invalid_utf8"][..])]);
        assert_eq!(events[1].line_hash, xxh3_64(b"c\xffdef"), "the hash is of the whole line");
        let common = common();
        let view = EventView { event: &events[0], buf: b"..ab\r\nc\xffdef\n", common: &common };
        let get = |path: &str| view.get(&FieldPath::parse(path).expect("a path")).map(ValueRef::into_value);
        assert_eq!(get("message"), Some("ab".into()));
        assert_eq!(get("log.offset"), Some(Value::Int(40)));
        assert_eq!(get("log.flags"), None);
    }

    #[test]
    fn stops_at_the_bound_of_events() {
        let filter = LineFilter::default();
        let options = LineOptions { max_line_bytes: 9, events_max: 2, filter: &filter, charset: Charset::Utf8 };
        let mut events = Vec::new();
        assert_eq!(split_lines(b"\n\n\n\n", 0, &options, NOW, &mut events).consumed, 2);
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn cuts_at_characters() {
        let check = |text: &[u8], max: usize, expect: usize| assert_eq!(cut_at_char(text, max), expect, "{text:?}");
        check(b"abc", 5, 3);
        check(b"abc", 2, 2);
        check("aé".as_bytes(), 2, 1);
        check("a\u{1f600}b".as_bytes(), 4, 1);
        check("a\u{1f600}b".as_bytes(), 5, 5);
        check("\u{1f600}".as_bytes(), 1, 0);
        check(b"\x80\x80\x80\x80\x80\x80", 5, 5);
        check(b"abc", 0, 0);
    }

    /// A line as the pieces of it are seen, each piece shorter than `piece`.
    fn in_pieces(line: &[u8], piece: usize, options: &LineOptions<'_>) -> Option<Event> {
        let mut long = LongLine::new(7, options.charset);
        for bytes in line.chunks(piece) {
            assert_eq!(long.feed(bytes), bytes.len());
        }
        let head = line.len().min(options.max_line_bytes + 1);
        long.into_event(line, 0..head, options, NOW, &mut Vec::new())
    }

    fn encoded(charset: Charset, bytes: &[u8], base: u64, max_line_bytes: usize) -> (Vec<String>, Vec<Event>, Split) {
        let filter = LineFilter::new(&[], &["^#".to_owned()]).expect("good expressions");
        let options = LineOptions { max_line_bytes, events_max: 100, filter: &filter, charset };
        let (mut events, mut text) = (Vec::new(), Vec::new());
        let split = split_encoded(bytes, base, &options, NOW, &mut text, &mut events);
        (messages(&text, &events), events, split)
    }

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn lines_in_utf_16_are_decoded_and_counted_raw() {
        for (label, big) in [("utf-16le", false), ("utf-16be", true)] {
            let charset = Charset::of_label(label).expect("a label");
            let bytes = utf16("\u{feff}eins\r\n\u{a0a}\u{1f600}\n\n#no\nrest", big);
            let (lines, events, split) = encoded(charset, &bytes, 0, 100);
            assert_eq!(lines, ["eins", "\u{a0a}\u{1f600}", ""], "{label}");
            assert_eq!(split, Split { consumed: bytes.len() - 8, truncated: 0, filtered: 1 });
            let seen: Vec<_> = events.iter().map(|event| (event.offset, event.length)).collect();
            assert_eq!(seen, [(0, 14), (14, 8), (22, 2)]);
            assert_eq!(
                events[0].line_hash,
                xxh3_64(&bytes[..10]),
                "the hash is of the raw line, without its terminator"
            );
            assert!(events.iter().all(|event| event.flags() == Flags::NONE));
            // Not at the beginning, U+FEFF is a character.
            let (lines, _, _) = encoded(charset, &bytes, 8, 100);
            assert_eq!(lines[0], "\u{feff}eins");
            let (lines, events, _) = encoded(charset, &utf16("ab\u{1f600}c\n", big), 0, 6);
            assert_eq!((lines[0].as_str(), events[0].flags()), ("ab", Flags::TRUNCATED), "cut at a character");
        }
    }

    #[test]
    fn what_is_malformed_is_replaced_and_marked() {
        let utf16le = Charset::of_label("utf-16le").expect("a label");
        let (lines, events, _) = encoded(utf16le, b"a\0\0\xdc\n\0b\0\n\0", 0, 100);
        assert_eq!(lines, ["a\u{fffd}", "b"]);
        let flags: Vec<_> = events.iter().map(|event| event.flags().names()).collect();
        assert_eq!(flags, [&["invalid_encoding"][..], &[]]);
        // The source ended within a unit, and went on.
        let (lines, events, split) = encoded(utf16le, b"\0a\0\n\0b\0\n\0", 7, 100);
        assert_eq!(lines, ["\u{fffd}a", "b"]);
        assert_eq!((events[1].offset, split.consumed), (12, 9));
        let sjis = Charset::of_label("shift_jis").expect("a label");
        let (lines, events, _) = encoded(sjis, b"\x93\xfa\x96{\x93\n\x93\xfa\x96{\n", 0, 4);
        assert_eq!(lines, ["\u{65e5}\u{672c}", "\u{65e5}\u{672c}"]);
        assert_eq!((events[0].flags(), events[1].flags()), (Flags::TRUNCATED, Flags::NONE));
    }

    #[test]
    fn a_mark_is_no_part_of_the_first_line() {
        check(b"\xef\xbb\xbfone\n", 10, &["\u{feff}one"], Split { consumed: 7, truncated: 0, filtered: 0 });
        let filter = LineFilter::new(&["^one$".to_owned()], &[]).expect("good expressions");
        let options = LineOptions { max_line_bytes: 10, events_max: 100, filter: &filter, charset: Charset::Utf8 };
        let (bytes, mut events) = (b"\xef\xbb\xbfone\none\n", Vec::new());
        split_lines(bytes, 0, &options, NOW, &mut events);
        assert_eq!(messages(bytes, &events), ["one", "one"]);
        assert_eq!((events[0].offset, events[0].length), (0, 7));
        assert_eq!(events[0].line_hash, xxh3_64(&bytes[..6]), "the hash is of the raw line");
        let rest = last_line(b"\xef\xbb\xbfone", 0..6, 0, &options, NOW, &mut Vec::new()).expect("kept");
        assert_eq!(messages(bytes, &[rest]), ["one"]);
    }

    proptest! {
        /// Scenario: a line whole in a buffer, and the same in pieces, its head alone kept. Guarantee: the same event.
        #[test]
        fn pieces_make_the_same_event(
            content in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(0xc3), Just(0xa9), any::<u8>()], 0..40),
            piece in 1usize..8, max_line_bytes in 0usize..20, crlf: bool,
        ) {
            let mut line: Vec<u8> = content.into_iter().filter(|byte| *byte != b'\n').collect();
            line.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
            let filter = LineFilter::new(&[], &["^a".to_owned()]).expect("good");
            let options = LineOptions { max_line_bytes, events_max: 10, filter: &filter, charset: Charset::Utf8 };
            let mut events = Vec::new();
            let split = split_lines(&line, 7, &options, NOW, &mut events);
            prop_assert_eq!(split.consumed, line.len());
            let pieces = in_pieces(&line, piece, &options);
            prop_assert_eq!(format!("{:?}", pieces.as_ref()), format!("{:?}", events.first()));
        }

        /// Scenario: the same in other encodings, in pieces of any size, complete or not.
        /// Guarantee: the same event; and what is consumed has no gap.
        #[test]
        fn pieces_make_the_same_event_in_any_encoding(
            bytes in proptest::collection::vec(prop_oneof![Just(0), Just(b'\r'), Just(b'\n'), Just(0xd8), Just(0xdc), any::<u8>()], 0..60),
            base in 0u64..4, piece in 1usize..8, max_line_bytes in 0usize..20,
            label in prop_oneof![Just("utf-16le"), Just("utf-16be"), Just("latin1"), Just("shift_jis"), Just("gb18030"), Just("utf-8")],
        ) {
            let charset = Charset::of_label(label).expect("a label");
            let filter = LineFilter::new(&[], &["^a".to_owned()]).expect("good");
            let options = LineOptions { max_line_bytes, events_max: 1000, filter: &filter, charset };
            let mut at = 0;
            while at < bytes.len() {
                let rest = &bytes[at..];
                let offset = base + at as u64;
                let length = charset.first_line(rest, offset).unwrap_or(rest.len());
                let mut long = LongLine::new(offset, charset);
                let mut fed = 0;
                while fed < length {
                    let end = rest.len().min(fed + piece);
                    fed += long.feed(&rest[fed..end]);
                    prop_assert!(fed == end || fed == length && long.is_complete());
                }
                prop_assert_eq!(long.length(), length as u64);
                let head = length.min(max_line_bytes + 1);
                let (mut pieces_text, mut text) = (Vec::new(), Vec::new());
                let is_complete = long.is_complete();
                let pieces = long.into_event(rest, 0..head, &options, NOW, &mut pieces_text);
                let whole = if is_complete {
                    let mut events = Vec::new();
                    let line = &rest[..length];
                    let split = if charset.is_utf8() {
                        split_lines(line, offset, &options, NOW, &mut events)
                    } else {
                        split_encoded(line, offset, &options, NOW, &mut text, &mut events)
                    };
                    prop_assert_eq!(split.consumed, length);
                    events.pop()
                } else {
                    last_line(rest, 0..length, offset, &options, NOW, &mut text)
                };
                prop_assert_eq!(format!("{pieces:?}"), format!("{whole:?}"));
                prop_assert_eq!(&pieces_text, &text);
                prop_assert!(std::str::from_utf8(&text).is_ok());
                at += length;
            }
        }

        /// Guarantee: offsets and lengths of any bytes' events add up without a gap to what was consumed.
        #[test]
        fn no_byte_is_skipped(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200)) {
            let filter = LineFilter::default();
            let options = LineOptions { max_line_bytes: 5, events_max: 1000, filter: &filter, charset: Charset::Utf8 };
            let mut events = Vec::new();
            let split = split_lines(&bytes, 50, &options, NOW, &mut events);
            let mut at = 50;
            for event in &events {
                prop_assert_eq!(event.offset, at);
                at += event.length;
            }
            prop_assert_eq!(at, 50 + split.consumed as u64);
            prop_assert!(!bytes[split.consumed..].contains(&b'\n'));
            let rest = last_line(&bytes, split.consumed..bytes.len(), at, &options, NOW, &mut Vec::new()).expect("nothing is filtered");
            prop_assert_eq!(rest.length, (bytes.len() - split.consumed) as u64);
            prop_assert_eq!(rest.line_hash, xxh3_64(&bytes[split.consumed..]));
        }
    }
}
