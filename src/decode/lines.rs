//! Splits a buffer at newlines into events (P).
//!
//! A line ends with LF or CRLF; the terminator is not part of the message but of the event's length, so that offsets and
//! lengths of a file's events add up without a gap. Empty lines are lines. What is longer than `max_line_bytes` is cut at a
//! character and marked; its hash is of the whole line, its filter sees the message. However a line's bytes are spread over reads, its event is the same:
//! [`split_lines`] has it whole in the buffer, [`LongLine`] sees it in pieces.
//!
//! Not here: reading, and what happens to an unterminated rest (the source keeps it, or asks for [`last_line`]).

use std::ops::Range;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::LineFilter;
use crate::event::{Event, Flags, Timestamp};

/// How lines are taken.
#[derive(Clone, Copy)]
pub struct LineOptions<'a> {
    /// The most of a line that becomes its message, terminator excluded.
    pub max_line_bytes: usize,
    /// Stop when `events` holds so many; at least one more line is taken than it held before.
    pub events_max: usize,
    pub filter: &'a LineFilter,
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

/// Takes the complete lines of `buf`, whose first byte is at `base_offset` of the source.
pub fn split_lines(
    buf: &[u8],
    base_offset: u64,
    options: &LineOptions<'_>,
    now: Timestamp,
    events: &mut Vec<Event>,
) -> Split {
    split_lines_from(buf, 0, base_offset, options, now, events)
}

/// Takes the complete lines of `buf[from..]`, whose first byte is at `base_offset` of the source. Events refer to `buf`;
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
    let all_utf8 = std::str::from_utf8(bytes).is_ok();
    let keeps_all = options.filter.keeps_all();

    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        let raw = &bytes[start..newline];
        let line = raw.strip_suffix(b"\r").unwrap_or(raw);
        let (message, mut flags) = if line.len() > options.max_line_bytes {
            (&line[..cut_at_char(line, options.max_line_bytes)], Flags::TRUNCATED)
        } else {
            (line, Flags::NONE)
        };
        let consumed = newline + 1;
        if keeps_all || options.filter.keeps(message) {
            if !all_utf8 && std::str::from_utf8(message).is_err() {
                flags = flags.with(Flags::INVALID_UTF8);
            }
            let at = (from + start) as u32;
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

/// The event of a last line that will never get its newline: all of `buf[range]`, at `offset` of the source. `None`: the
/// filter did not keep it.
pub fn last_line(
    buf: &[u8],
    range: Range<usize>,
    offset: u64,
    options: &LineOptions<'_>,
    now: Timestamp,
) -> Option<Event> {
    let mut line = LongLine::new(offset);
    line.feed(buf.get(range.clone()).unwrap_or_default());
    line.into_event(buf, range, options, now)
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
    /// The last byte was a CR: part of the terminator if LF follows.
    holds_cr: bool,
}

impl Default for LineHasher {
    fn default() -> Self {
        Self { state: Xxh3Default::new(), holds_cr: false }
    }
}

impl LineHasher {
    /// Adds bytes of the line, without its LF.
    pub fn update(&mut self, bytes: &[u8]) {
        let Some((last, before)) = bytes.split_last() else { return };
        if self.holds_cr {
            self.state.update(b"\r");
        }
        self.holds_cr = *last == b'\r';
        self.state.update(if self.holds_cr { before } else { bytes });
    }

    /// The hash of the line. `terminated`: LF followed.
    pub fn finish(mut self, terminated: bool) -> u64 {
        if self.holds_cr && !terminated {
            self.state.update(b"\r");
        }
        self.state.digest()
    }
}

/// A line that does not fit the buffer: the source keeps its head (more than `max_line_bytes` bytes of it, if it has them)
/// and feeds what follows until the newline.
pub struct LongLine {
    offset: u64,
    length: u64,
    hasher: LineHasher,
    is_complete: bool,
}

impl LongLine {
    /// A line that starts at `offset` of its source; nothing of it was fed.
    pub fn new(offset: u64) -> Self {
        Self { offset, length: 0, hasher: LineHasher::default(), is_complete: false }
    }

    /// Takes the bytes of the line that stand at the front of `bytes`, through its newline; how many they were. Takes
    /// nothing more once the line is complete.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        if self.is_complete {
            return 0;
        }
        let newline = memchr::memchr(b'\n', bytes);
        self.hasher.update(&bytes[..newline.unwrap_or(bytes.len())]);
        self.is_complete = newline.is_some();
        let taken = newline.map_or(bytes.len(), |at| at + 1);
        self.length += taken as u64;
        taken
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
    /// `max_line_bytes` of them, or the whole line. `None`: the filter did not keep it.
    pub fn into_event(
        self,
        buf: &[u8],
        head: Range<usize>,
        options: &LineOptions<'_>,
        now: Timestamp,
    ) -> Option<Event> {
        let terminator = if self.is_complete { 1 + u64::from(self.hasher.holds_cr) } else { 0 };
        let content = self.length - terminator;
        let head_bytes = buf.get(head.clone()).unwrap_or_default();
        let head_bytes = &head_bytes[..head_bytes.len().min(usize::try_from(content).unwrap_or(usize::MAX))];
        let message = &head_bytes[..cut_at_char(head_bytes, options.max_line_bytes)];
        if !options.filter.keeps(message) {
            return None;
        }
        let mut flags = if (message.len() as u64) < content { Flags::TRUNCATED } else { Flags::NONE };
        if std::str::from_utf8(message).is_err() {
            flags = flags.with(Flags::INVALID_UTF8);
        }
        let start = u32::try_from(head.start).unwrap_or(u32::MAX);
        let end = start.saturating_add(u32::try_from(message.len()).unwrap_or(u32::MAX));
        let line_hash = self.hasher.finish(self.is_complete);
        Some(Event::line(start..end, self.offset, self.length, line_hash, now, flags))
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
        let options = LineOptions { max_line_bytes, events_max: 100, filter: &filter };
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
        let options = LineOptions { max_line_bytes: 3, events_max: 100, filter: &filter };
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
        let options = LineOptions { max_line_bytes: 9, events_max: 2, filter: &filter };
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
        let mut long = LongLine::new(7);
        for bytes in line.chunks(piece) {
            assert_eq!(long.feed(bytes), bytes.len());
        }
        let head = line.len().min(options.max_line_bytes + 1);
        long.into_event(line, 0..head, options, NOW)
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
            let options = LineOptions { max_line_bytes, events_max: 10, filter: &filter };
            let mut events = Vec::new();
            let split = split_lines(&line, 7, &options, NOW, &mut events);
            prop_assert_eq!(split.consumed, line.len());
            let pieces = in_pieces(&line, piece, &options);
            prop_assert_eq!(format!("{:?}", pieces.as_ref()), format!("{:?}", events.first()));
        }

        /// Guarantee: offsets and lengths of any bytes' events add up without a gap to what was consumed.
        #[test]
        fn no_byte_is_skipped(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200)) {
            let filter = LineFilter::default();
            let options = LineOptions { max_line_bytes: 5, events_max: 1000, filter: &filter };
            let mut events = Vec::new();
            let split = split_lines(&bytes, 50, &options, NOW, &mut events);
            let mut at = 50;
            for event in &events {
                prop_assert_eq!(event.offset, at);
                at += event.length;
            }
            prop_assert_eq!(at, 50 + split.consumed as u64);
            prop_assert!(!bytes[split.consumed..].contains(&b'\n'));
            let rest = last_line(&bytes, split.consumed..bytes.len(), at, &options, NOW).expect("nothing is filtered");
            prop_assert_eq!(rest.length, (bytes.len() - split.consumed) as u64);
            prop_assert_eq!(rest.line_hash, xxh3_64(&bytes[split.consumed..]));
        }
    }
}
