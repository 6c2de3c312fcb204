//! The character encoding of a source's lines (P): where its lines end, and what they are in UTF-8.
//!
//! Lines are found in the raw bytes, so that offsets, lengths and hashes are of the file as it is. In every encoding here
//! but UTF-16 the byte 0x0A is a line feed and nothing else (trail bytes of the East Asian encodings begin at 0x21 or
//! above), so lines are found as in UTF-8. In UTF-16 a line ends with the unit 0x000A at an even offset of the file.
//! Each line is decoded for itself: an encoding with state (ISO-2022-JP) is at its beginning after each line feed, as
//! RFC 1468 demands. What is malformed becomes U+FFFD.
//!
//! ```text
//!             FF FE  61 00  0D 00  0A 00  0A 0A  3D D8 00 DE  0A 00
//!   UTF-16LE  mark   a      CR     LF     U+0A0A U+1F600      LF
//! ```
//!
//! Not here: guessing an encoding. Only the byte order of UTF-16 is found, by the mark it is made for.

use encoding_rs::{Encoding, REPLACEMENT, UTF_16BE, UTF_16LE};

/// Which byte of a UTF-16 unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    LittleEndian,
    BigEndian,
}

/// A character encoding. Two are equal if they decode alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// Taken as it is; what is malformed is marked and replaced when it is written.
    #[default]
    Utf8,
    Utf16(ByteOrder),
    /// UTF-16 in the order that the mark at the source's start says, or in this one: see [`Charset::resolved`].
    Utf16Marked(ByteOrder),
    /// One in which 0x0A is a line feed and nothing else.
    Other(&'static Encoding),
}

/// Names that are no labels of the WHATWG, or are given more than the WHATWG gives them. Filebeat's among them.
const OWN_LABELS: [(&str, Charset); 8] = [
    ("plain", Charset::Utf8),
    ("utf-16", Charset::Utf16Marked(ByteOrder::LittleEndian)),
    ("utf-16-bom", Charset::Utf16Marked(ByteOrder::LittleEndian)),
    ("utf-16le-bom", Charset::Utf16Marked(ByteOrder::LittleEndian)),
    ("utf-16be-bom", Charset::Utf16Marked(ByteOrder::BigEndian)),
    ("utf-16le", Charset::Utf16(ByteOrder::LittleEndian)),
    ("utf-16be", Charset::Utf16(ByteOrder::BigEndian)),
    ("utf-8", Charset::Utf8),
];

/// The names that are suggested for a label that is none. All are labels; these have more.
pub const LABELS: [&str; 51] = [
    "plain",
    "utf-8",
    "utf-16",
    "utf-16le",
    "utf-16be",
    "ascii",
    "latin1",
    "big5",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "gbk",
    "gb2312",
    "ibm866",
    "iso-2022-jp",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-3",
    "iso-8859-4",
    "iso-8859-5",
    "iso-8859-6",
    "iso-8859-7",
    "iso-8859-8",
    "iso-8859-8-i",
    "iso-8859-9",
    "iso-8859-10",
    "iso-8859-11",
    "iso-8859-13",
    "iso-8859-14",
    "iso-8859-15",
    "iso-8859-16",
    "koi8-r",
    "koi8-u",
    "macintosh",
    "shift_jis",
    "windows-31j",
    "tis-620",
    "windows-874",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "windows-1253",
    "windows-1254",
    "windows-1255",
    "windows-1256",
    "windows-1257",
    "windows-1258",
    "x-mac-cyrillic",
    "x-user-defined",
    "cp1252",
    "cp1251",
];

impl Charset {
    /// The encoding of a label: those of the WHATWG Encoding Standard (letter case and blanks around do not matter), and
    /// some of Filebeat's. `None`: it is none, or one that nobody decodes safely (ISO-2022-KR and its like).
    pub fn of_label(label: &str) -> Option<Charset> {
        let label = label.trim_matches(|c: char| c.is_ascii_whitespace());
        if let Some((_, own)) = OWN_LABELS.iter().find(|(own, _)| own.eq_ignore_ascii_case(label)) {
            return Some(*own);
        }
        match Encoding::for_label(label.as_bytes())? {
            found if found == encoding_rs::UTF_8 => Some(Charset::Utf8),
            found if found == UTF_16LE => Some(Charset::Utf16(ByteOrder::LittleEndian)),
            found if found == UTF_16BE => Some(Charset::Utf16(ByteOrder::BigEndian)),
            found if found == REPLACEMENT => None,
            found => Some(Charset::Other(found)),
        }
    }

    /// Whether the first two bytes of the source must be known before it can be read: then [`Charset::resolved`].
    pub fn depends_on_mark(self) -> bool {
        matches!(self, Charset::Utf16Marked(_))
    }

    /// This encoding with what the source's first bytes say of it. Fewer than two say nothing.
    #[must_use]
    pub fn resolved(self, first: &[u8]) -> Charset {
        match self {
            Charset::Utf16Marked(order) => Charset::Utf16(match first {
                [0xff, 0xfe, ..] => ByteOrder::LittleEndian,
                [0xfe, 0xff, ..] => ByteOrder::BigEndian,
                _ => order,
            }),
            other => other,
        }
    }

    /// Whether lines are used as they are.
    pub fn is_utf8(self) -> bool {
        self == Charset::Utf8
    }

    /// Bytes of a line feed.
    pub fn unit_bytes(self) -> usize {
        match self {
            Charset::Utf16(_) | Charset::Utf16Marked(_) => 2,
            Charset::Utf8 | Charset::Other(_) => 1,
        }
    }

    fn order(self) -> Option<ByteOrder> {
        match self {
            Charset::Utf16(order) | Charset::Utf16Marked(order) => Some(order),
            Charset::Utf8 | Charset::Other(_) => None,
        }
    }

    /// A carriage return.
    pub(super) fn carriage_return(self) -> &'static [u8] {
        match self.order() {
            None => b"\r",
            Some(ByteOrder::LittleEndian) => b"\r\0",
            Some(ByteOrder::BigEndian) => b"\0\r",
        }
    }

    /// Whether these two bytes are a line feed.
    pub(super) fn is_line_feed(self, unit: [u8; 2]) -> bool {
        unit == if self.order() == Some(ByteOrder::BigEndian) { *b"\0\n" } else { *b"\n\0" }
    }

    /// The mark that a source of this encoding may begin with.
    fn mark(self) -> &'static [u8] {
        match self {
            Charset::Utf8 => b"\xef\xbb\xbf",
            Charset::Utf16(ByteOrder::LittleEndian) | Charset::Utf16Marked(ByteOrder::LittleEndian) => b"\xff\xfe",
            Charset::Utf16(ByteOrder::BigEndian) | Charset::Utf16Marked(ByteOrder::BigEndian) => b"\xfe\xff",
            Charset::Other(encoding) if encoding == encoding_rs::GB18030 => b"\x84\x31\x95\x33",
            Charset::Other(_) => b"",
        }
    }

    /// Bytes of the mark at the front of `bytes`, which stand at `offset` of the source.
    pub(super) fn mark_bytes(self, bytes: &[u8], offset: u64) -> usize {
        let mark = self.mark();
        if offset == 0 && bytes.starts_with(mark) { mark.len() } else { 0 }
    }

    /// The length of the first line of `bytes`, its line feed included. `offset`: where they stand in the source.
    pub fn first_line(self, bytes: &[u8], offset: u64) -> Option<usize> {
        let Some(order) = self.order() else { return memchr::memchr(b'\n', bytes).map(|at| at + 1) };
        let ends_unit = |end: &usize| is_line_end(bytes, *end, offset, order);
        memchr::memchr_iter(b'\n', bytes).map(|at| behind(at, order)).find(ends_unit)
    }

    /// Behind the last line feed of `bytes`, which stand at `offset` of the source.
    pub fn behind_last_line(self, bytes: &[u8], offset: u64) -> Option<usize> {
        let Some(order) = self.order() else { return memchr::memrchr(b'\n', bytes).map(|at| at + 1) };
        let ends_unit = |end: &usize| is_line_end(bytes, *end, offset, order);
        memchr::memrchr_iter(b'\n', bytes).map(|at| behind(at, order)).find(ends_unit)
    }

    /// Appends a line, or (`is_whole` not set) the whole characters at its front, in UTF-8. `offset`: where it stands in
    /// the source. Whether it was well-formed.
    pub(super) fn decode(self, line: &[u8], offset: u64, is_whole: bool, out: &mut Vec<u8>) -> bool {
        let encoding = match self {
            Charset::Utf8 => encoding_rs::UTF_8,
            Charset::Other(encoding) => encoding,
            Charset::Utf16(ByteOrder::LittleEndian) | Charset::Utf16Marked(ByteOrder::LittleEndian) => UTF_16LE,
            Charset::Utf16(ByteOrder::BigEndian) | Charset::Utf16Marked(ByteOrder::BigEndian) => UTF_16BE,
        };
        // A file that ended within a unit went on: the other half begins the line.
        let stray = self.stray_bytes(offset).min(line.len());
        if stray > 0 {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
        let line = &line[stray..];
        let mut decoder = encoding.new_decoder_without_bom_handling();
        let start = out.len();
        let room = decoder.max_utf8_buffer_length(line.len()).unwrap_or(usize::MAX / 2);
        out.resize(start.saturating_add(room), 0);
        let (_, _, written, malformed) = decoder.decode_to_utf8(line, &mut out[start..], is_whole);
        out.truncate(start + written);
        !malformed && stray == 0
    }

    /// Bytes at `offset` that belong to a unit which began before.
    pub(super) fn stray_bytes(self, offset: u64) -> usize {
        usize::from(self.order().is_some() && !offset.is_multiple_of(2))
    }
}

/// Behind the unit that has its 0x0A at `at`.
fn behind(at: usize, order: ByteOrder) -> usize {
    match order {
        ByteOrder::LittleEndian => at + 2,
        ByteOrder::BigEndian => at + 1,
    }
}

/// Whether the unit before `end` is whole, at an even offset of the source, and a line feed.
fn is_line_end(bytes: &[u8], end: usize, offset: u64, order: ByteOrder) -> bool {
    let Some(unit) = end.checked_sub(2).and_then(|start| bytes.get(start..end)) else { return false };
    let is_aligned = (offset + end as u64).is_multiple_of(2);
    is_aligned && Charset::Utf16(order).is_line_feed([unit[0], unit[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LE: Charset = Charset::Utf16(ByteOrder::LittleEndian);
    const BE: Charset = Charset::Utf16(ByteOrder::BigEndian);

    #[test]
    fn labels_are_found() {
        let check = |label: &str, expect: Option<Charset>| assert_eq!(Charset::of_label(label), expect, "{label}");
        check("plain", Some(Charset::Utf8));
        check(" UTF-8 ", Some(Charset::Utf8));
        check("utf8", Some(Charset::Utf8));
        check("utf-16", Some(Charset::Utf16Marked(ByteOrder::LittleEndian)));
        check("UTF-16-BOM", Some(Charset::Utf16Marked(ByteOrder::LittleEndian)));
        check("utf-16be-bom", Some(Charset::Utf16Marked(ByteOrder::BigEndian)));
        check("utf-16le", Some(LE));
        check("utf-16be", Some(BE));
        check("latin1", Some(Charset::Other(encoding_rs::WINDOWS_1252)));
        check("sjis", Some(Charset::Other(encoding_rs::SHIFT_JIS)));
        check("hz-gb-2312", None);
        check("iso-2022-kr", None);
        check("ebcdic", None);
        check("", None);
        for label in LABELS {
            assert!(Charset::of_label(label).is_some(), "{label} is suggested");
        }
    }

    #[test]
    fn the_mark_says_the_order() {
        let marked = Charset::Utf16Marked(ByteOrder::LittleEndian);
        assert_eq!(marked.resolved(b"\xfe\xff\0a"), BE);
        assert_eq!(marked.resolved(b"\xff\xfea\0"), LE);
        assert_eq!(marked.resolved(b"a\0"), LE);
        assert_eq!(Charset::Utf16Marked(ByteOrder::BigEndian).resolved(b"\0a"), BE);
        assert_eq!(LE.resolved(b"\xfe\xff"), LE, "what was said is not found out");
    }

    #[test]
    fn line_feeds_of_utf_16_stand_at_even_offsets() {
        let check = |charset: Charset, bytes: &[u8], offset: u64, first: Option<usize>, last: Option<usize>| {
            assert_eq!(charset.first_line(bytes, offset), first, "{charset:?} {bytes:?}");
            assert_eq!(charset.behind_last_line(bytes, offset), last, "{charset:?} {bytes:?}");
        };
        check(LE, b"a\0\n\0b\0\n\0c\0", 0, Some(4), Some(8));
        check(BE, b"\0a\0\n\0b\0\n\0c", 0, Some(4), Some(8));
        // U+0A0A, U+0A00 and U+000A's neighbours.
        check(LE, b"\n\n\0\n\x01\n", 0, None, None);
        check(BE, b"\n\n\n\0\n\x01", 0, None, None);
        check(LE, b"\n", 0, None, None);
        check(BE, b"\n", 0, None, None);
        check(LE, b"\0\n\0", 1, Some(3), Some(3));
        check(LE, b"\n\0", 1, None, None);
        check(Charset::Utf8, b"\n\0\n", 1, Some(1), Some(3));
    }

    #[test]
    fn decodes_and_replaces() {
        let check = |label: &str, line: &[u8], is_whole: bool, expect: &str, good: bool| {
            let mut out = b"before".to_vec();
            let charset = Charset::of_label(label).expect("a label");
            assert_eq!(charset.decode(line, 0, is_whole, &mut out), good, "{label} {line:?}");
            assert_eq!(out.strip_prefix(b"before"), Some(expect.as_bytes()), "{label} {line:?}");
        };
        check("latin1", b"caf\xe9 \x80", true, "café €", true);
        check("windows-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", true, "Привет", true);
        check("shift_jis", b"\x93\xfa\x96{", true, "日本", true);
        check("shift_jis", b"\x93\xfa\x96", true, "日\u{fffd}", false);
        check("shift_jis", b"\x93\xfa\x96", false, "日", true);
        check("gb18030", b"\x81\x30\x81\x30a\xff", true, "\u{80}a\u{fffd}", false);
        check("iso-2022-jp", b"\x1b$BF|K\\\x1b(B.", true, "日本.", true);
        check("utf-16le", b"=\xd8\0\xdea\0", true, "😀a", true);
        check("utf-16le", b"a\0=\xd8", false, "a", true);
        check("utf-16le", b"a\0=\xd8", true, "a\u{fffd}", false);
        check("utf-16be", b"\0a\0", true, "a\u{fffd}", false);
        check("utf-16be", b"\0a\0", false, "a", true);
        check("utf-16be", b"\0a\xde\0\0b", true, "a\u{fffd}b", false);
    }
}
