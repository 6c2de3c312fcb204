//! Lines of a container runtime (P): `2016-10-06T00:17:09.669794202Z stdout F message`.
//!
//! ```text
//! 2016-10-06T00:17:09.669794202Z stderr P:tag Hello, I am a par
//! └─ RFC 3339 ─────────────────┘ └stream┘ │   └─ message, may be empty; a part of a line if the first tag is P
//!                                         └─ tags, `:` between: F (full) or P (partial) comes first
//! ```
//! Not here: joining the parts (`join`). What is not of this form is none: the caller ships it as it is.

use crate::event::{Stream, Timestamp};

/// What a line of the runtime says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CriLine {
    /// When the container wrote it.
    pub time: Timestamp,
    pub stream: Stream,
    /// More of the same line follows.
    pub is_partial: bool,
    /// Where in the line the message begins; it ends with it.
    pub message_start: usize,
}

/// Reads a line, its terminator excluded.
pub fn parse(line: &[u8]) -> Option<CriLine> {
    // The longest time has nine digits of a fraction and an offset.
    let blank = memchr::memchr(b' ', &line[..line.len().min(64)])?;
    let time = Timestamp::parse_line(&line[..blank])?;
    let rest = &line[blank + 1..];
    let stream = match rest.get(..7)? {
        b"stdout " => Stream::Stdout,
        b"stderr " => Stream::Stderr,
        _ => return None,
    };
    let tags = &rest[7..];
    let is_partial = match tags.first()? {
        b'F' => false,
        b'P' => true,
        _ => return None,
    };
    let tags_bytes = match tags.get(1) {
        None => 1,
        Some(b' ') => 1,
        Some(b':') => memchr::memchr(b' ', tags).unwrap_or(tags.len()),
        Some(_) => return None,
    };
    let message_start = (blank + 1 + 7 + tags_bytes + 1).min(line.len());
    Some(CriLine { time, stream, is_partial, message_start })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<(Stream, bool, &str)>) {
        let parsed = parse(line.as_bytes());
        let seen = parsed.map(|parsed| (parsed.stream, parsed.is_partial, &line[parsed.message_start..]));
        assert_eq!(seen, expect, "{line}");
    }

    #[test]
    fn reads_what_runtimes_write() {
        check("2016-10-06T00:17:09.669794202Z stdout F hello world", Some((Stream::Stdout, false, "hello world")));
        check("2019-05-07T18:57:50.904275087+00:00 stderr P  1a. some ", Some((Stream::Stderr, true, " 1a. some ")));
        check("2016-10-06T00:17:09Z stdout F ", Some((Stream::Stdout, false, "")));
        check("2016-10-06T00:17:09Z stdout F", Some((Stream::Stdout, false, "")));
        check("2016-10-06T00:17:09Z stdout P:a:b x y", Some((Stream::Stdout, true, "x y")));
        check("2016-10-06T00:17:09Z stdout F:a", Some((Stream::Stdout, false, "")));
        let time = parse(b"2016-10-06T00:17:09.669794202Z stdout F x").map(|line| line.time.to_string());
        assert_eq!(time.as_deref(), Some("2016-10-06T00:17:09.669794202Z"));
    }

    #[test]
    fn what_is_not_of_the_form_is_none() {
        for line in [
            "",
            " ",
            "hello stdout F x",
            "2016-10-06T00:17:09Z",
            "2016-10-06T00:17:09Z stdout",
            "2016-10-06T00:17:09Z stdout ",
            "2016-10-06T00:17:09Z stdin F x",
            "2016-10-06T00:17:09Z stdout X x",
            "2016-10-06T00:17:09Z stdout FULL x",
            "2016-10-06T00:17:09Z  stdout F x",
        ] {
            check(line, None);
        }
    }
}
