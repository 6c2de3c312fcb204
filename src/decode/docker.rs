//! Lines of Docker's `json-file` driver (P): `{"log":"message\n","stream":"stdout","time":"2021-02-01T16:45:03.01231Z"}`.
//!
//! A `log` without a line break at its end is a part of a line, of which more follows. Other members (`attrs`) are passed over.
//! The object is read once, byte by byte, and nothing is built of it: a message without escapes but the line break at its end
//! stays where it is, another one is decoded by [`unescape`].
//!
//! Not here: joining the parts (`join`). What is not such an object is none: the caller ships it as it is.

use std::ops::Range;

use crate::event::{Stream, Timestamp};

/// Members within members that are passed over, at most.
const DEPTH_MAX: usize = 64;

/// What a line of the driver says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerLine {
    pub time: Time,
    /// [`Stream::None`] where it says none.
    pub stream: Stream,
    /// More of the same line follows.
    pub is_partial: bool,
    /// Where in the line the message stands, the line break at its end excluded.
    pub message: Range<usize>,
    /// The message is to be decoded by [`unescape`].
    pub has_escapes: bool,
}

/// What the member `time` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    Missing,
    Malformed,
    At(Timestamp),
}

/// Reads a line, its terminator excluded.
pub fn parse(line: &[u8]) -> Option<DockerLine> {
    let mut reader = Reader { bytes: line, at: 0 };
    let (mut log, mut stream, mut time) = (None, Stream::None, Time::Missing);
    reader.expect(b'{')?;
    if reader.peek()? != b'}' {
        loop {
            let key = reader.string()?;
            reader.expect(b':')?;
            if reader.peek()? == b'"' {
                let value = reader.string()?;
                match &line[key.text] {
                    b"log" => log = Some(value),
                    b"stream" => {
                        stream = match &line[value.text] {
                            b"stdout" => Stream::Stdout,
                            b"stderr" => Stream::Stderr,
                            _ => Stream::None,
                        };
                    }
                    b"time" => time = Timestamp::parse_line(&line[value.text]).map_or(Time::Malformed, Time::At),
                    _ => {}
                }
            } else {
                reader.skip_value()?;
            }
            match reader.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
    } else {
        reader.at += 1;
    }
    reader.blanks();
    let log = log.filter(|_| reader.at == line.len())?;
    let mut message = log.text;
    let mut escapes = log.escapes;
    let is_partial = !drop_end(line, &mut message, &mut escapes, b'\n');
    if !is_partial {
        drop_end(line, &mut message, &mut escapes, b'\r');
    }
    Some(DockerLine { time, stream, is_partial, message, has_escapes: escapes > 0 })
}

/// Takes the character `end` (a line feed or a carriage return) off the end of the text, if it is its last one. Encoders write it
/// as `\n` or `\u000a`; raw, which JSON does not allow, it comes from those that build the object by hand.
fn drop_end(line: &[u8], text: &mut Range<usize>, escapes: &mut usize, end: u8) -> bool {
    let inside = &line[text.clone()];
    if inside.last() == Some(&end) {
        text.end -= 1;
        return true;
    }
    let forms: [&[u8]; 3] =
        if end == b'\n' { [b"\\n", b"\\u000a", b"\\u000A"] } else { [b"\\r", b"\\u000d", b"\\u000D"] };
    let before = forms.iter().find_map(|form| inside.strip_suffix(*form));
    // After an odd number of backslashes, that of the form is the second half of an escaped one.
    let Some(before) = before.filter(|before| before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0)
    else {
        return false;
    };
    text.end = text.start + before.len();
    *escapes -= 1;
    true
}

/// Appends what `buf[from]`, the inside of a JSON string that [`parse`] has seen, stands for to `buf`. Half of a surrogate pair
/// becomes U+FFFD.
pub fn unescape(buf: &mut Vec<u8>, from: Range<usize>) {
    let mut at = from.start;
    while at < from.end {
        let run = memchr::memchr(b'\\', &buf[at..from.end]).map_or(from.end, |escape| at + escape);
        buf.extend_from_within(at..run);
        at = run + 2;
        if run + 1 >= from.end {
            return;
        }
        match buf[run + 1] {
            b'n' => buf.push(b'\n'),
            b't' => buf.push(b'\t'),
            b'r' => buf.push(b'\r'),
            b'b' => buf.push(8),
            b'f' => buf.push(12),
            b'u' => {
                let first = hex(&buf[..from.end], at);
                at += 4;
                let follows = buf[..from.end].get(at..at + 2) == Some(b"\\u".as_slice());
                let second = hex(&buf[..from.end], at + 2);
                let character = match first {
                    0xd800..=0xdbff if follows && (0xdc00..=0xdfff).contains(&second) => {
                        at += 6;
                        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
                    }
                    first => char::from_u32(first),
                };
                let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                buf.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => buf.push(other),
        }
    }
}

/// The four hexadecimal digits at `at`; 0 where there are none.
fn hex(bytes: &[u8], at: usize) -> u32 {
    let digits = bytes.get(at..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The inside of a string.
struct Text {
    text: Range<usize>,
    escapes: usize,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The next byte that is no blank; it stays the next one.
    fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn string(&mut self) -> Option<Text> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escapes = 0;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
            if self.bytes[self.at] == b'"' {
                break;
            }
            escapes += 1;
            match self.bytes.get(self.at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                b'u' => {
                    let digits = self.bytes.get(self.at + 2..self.at + 6)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    self.at += 6;
                }
                _ => return None,
            }
        }
        self.at += 1;
        Some(Text { text: start..self.at - 1, escapes })
    }

    /// Passes over a value that is no string.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' if depth < DEPTH_MAX => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' | b':' if depth == 0 => return None,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                    let word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                    self.at += self.bytes[self.at..].iter().take_while(word).count();
                }
                _ => return None,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(line: &[u8]) -> Option<(String, bool, Stream, Time)> {
        let parsed = parse(line)?;
        let mut buf = line.to_vec();
        let range = if parsed.has_escapes {
            unescape(&mut buf, parsed.message.clone());
            line.len()..buf.len()
        } else {
            parsed.message.clone()
        };
        let text = String::from_utf8_lossy(&buf[range]).into_owned();
        Some((text, parsed.is_partial, parsed.stream, parsed.time))
    }

    fn check(line: &str, text: &str, is_partial: bool) {
        let seen = message(line.as_bytes()).map(|(text, is_partial, ..)| (text, is_partial));
        assert_eq!(seen, Some((text.to_owned(), is_partial)), "{line}");
    }

    #[test]
    fn reads_what_the_driver_writes() {
        check(r#"{"log":"hello\n","stream":"stdout","time":"2021-02-01T16:45:03.01231Z"}"#, "hello", false);
        check(r#"{"log": "aa", "stream": "stdout", "time": "2021-02-01T16:45:03.01231z"}"#, "aa", true);
        check(r#"{"log":"a\r\n"}"#, "a", false);
        check(r#"{"log":"\n"}"#, "", false);
        check(r#"{"log":""}"#, "", true);
        check(r#"{"log":"C:\\n"}"#, r"C:\n", true);
        check(r#"{"log":"C:\\u000a"}"#, r"C:\u000a", true);
        for end in ["\n", r"\u000a", r"\u000A", "\r\n", "\\r\n", r"\r\u000a", r"\u000d\n", "\\u000D\n"] {
            check(&format!(r#"{{"log":"a{end}"}}"#), "a", false);
            check(&format!(r#"{{"log":"\\{end}"}}"#), "\\", false);
            check(&format!(r#"{{"log":"\tb{end}","stream":"stdout"}}"#), "\tb", false);
        }
        check(r#"{"log":"C:\\\n"}"#, r"C:\", false);
        check(
            r#"{"log":"\ttab \u003ca\u003e \"q\" \/ \ud83d\ude00 \ud83d\n"}"#,
            "\ttab <a> \"q\" / \u{1f600} \u{fffd}",
            false,
        );
        check(r#" {"attrs":{"a":["x,}",1.5e3,{"b":null}]},"n":-1,"log":"x\n","t":true} "#, "x", false);
        let line = br#"{"log":"x\n","stream":"stderr","time":"2021-02-01T16:45:03.01231Z"}"#;
        let time = Timestamp::parse("2021-02-01T16:45:03.01231Z").expect("a time");
        assert_eq!(message(line), Some(("x".to_owned(), false, Stream::Stderr, Time::At(time))));
        assert_eq!(message(br#"{"log":"x\n","time":"now"}"#).map(|line| line.3), Some(Time::Malformed));
    }

    #[test]
    fn what_is_not_of_the_form_is_none() {
        for line in [
            "",
            "{}",
            "[]",
            "text",
            r#"{"log":"x\n""#,
            r#"{"log":1}"#,
            r#"{"message":"x\n"}"#,
            r#"{"log":"x\n"} more"#,
            r#"{"log":"\q"}"#,
            r#"{"log":"\u00g0"}"#,
            r#"{"log":"x\n",}"#,
            r#"{"log":"x","a":]}"#,
            r#"{"log":"x" "a":1}"#,
            r#"{"log":"x\"#,
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        assert_eq!(parse(format!(r#"{{"log":"x","a":{}"#, "[".repeat(1000)).as_bytes()), None);
    }

    proptest! {
        /// Guarantee: what a JSON encoder makes of any text comes back, and any bytes are no panic.
        #[test]
        fn any_text_comes_back(text: String, ended: bool, junk in proptest::collection::vec(any::<u8>(), 0..40)) {
            let whole = if ended { format!("{text}\n") } else { format!("{text}|") };
            let line = serde_json::json!({ "log": whole, "stream": "stdout" }).to_string();
            let (seen, is_partial, stream, time) = message(line.as_bytes()).expect("of the form");
            prop_assert_eq!((is_partial, stream, time), (!ended, Stream::Stdout, Time::Missing));
            let expect = if ended { text.strip_suffix('\r').unwrap_or(&text) } else { &whole };
            prop_assert_eq!(seen, expect);
            let mut broken = br#"{"log":""#.to_vec();
            broken.extend_from_slice(&junk);
            message(&broken);
            message(&junk);
        }
    }
}
