//! Sizes (`64MiB`) and durations (`5s`), as written and back.
//!
//! Whole numbers only: a limit that is rounded is a limit that surprises.

use std::time::Duration;

/// What a size may look like, for messages and the schema.
pub(crate) const SIZE_EXPECTED: &str = "a size such as `64MiB`, `1MB` or a plain number of bytes";
/// The same as a regular expression.
pub(crate) const SIZE_PATTERN: &str = "^[0-9]+([kKMGT]i?)?B?$";
/// What a duration may look like, for messages and the schema.
pub(crate) const SPAN_EXPECTED: &str = "a duration such as `250ms`, `5s`, `10m`, `1h` or `7d`";
/// The same as a regular expression.
pub(crate) const SPAN_PATTERN: &str = "^([0-9]+(ms|s|m|h|d))+$";

const SIZE_UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const SPAN_UNITS_MS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The bytes of a size, or what is wrong with it.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("expected {SIZE_EXPECTED}"));
    }
    let Some((_, factor)) = SIZE_UNITS.iter().find(|(word, _)| word.eq_ignore_ascii_case(unit)) else {
        let meant = match unit.trim().chars().next().map(|c| c.to_ascii_lowercase()) {
            _ if unit.starts_with(' ') => ": no space before the unit",
            Some('k') => ": the unit is `KiB` (1024) or `kB` (1000)",
            Some('m') => ": the unit is `MiB` (1024 × 1024) or `MB` (1,000,000)",
            Some('g') => ": the unit is `GiB` or `GB`",
            Some('.') => ": whole numbers only",
            _ => "",
        };
        return Err(format!("expected {SIZE_EXPECTED}{meant}"));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or_else(|| "the size is too large: at most 8388607TiB".to_owned())
}

/// A duration, or what is wrong with it.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut total_ms = 0u64;
    if rest.is_empty() {
        return Err(format!("expected {SPAN_EXPECTED}"));
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() {
            return Err(format!("expected {SPAN_EXPECTED}"));
        }
        if unit.is_empty() && tail.is_empty() {
            return Err(format!("expected {SPAN_EXPECTED}: a number needs its unit"));
        }
        let Some((_, factor)) = SPAN_UNITS_MS.iter().find(|(word, _)| *word == unit) else {
            return Err(format!("expected {SPAN_EXPECTED}: the units are `ms`, `s`, `m`, `h` and `d`"));
        };
        total_ms = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*factor))
            .and_then(|ms| ms.checked_add(total_ms))
            .filter(|ms| *ms <= 100 * 365 * 86_400_000)
            .ok_or_else(|| "the duration is too long: at most 36500d".to_owned())?;
        rest = tail;
    }
    Ok(Duration::from_millis(total_ms))
}

/// A size as one would write it: the largest unit that leaves no rest, binary before decimal.
pub(crate) fn render_size(bytes: u64) -> String {
    let mut best = (bytes, "");
    for (unit, factor) in SIZE_UNITS {
        if factor > 1 && bytes > 0 && bytes.is_multiple_of(factor) && bytes / factor < best.0 {
            best = (bytes / factor, unit);
        }
    }
    format!("{}{}", best.0, best.1)
}

/// A duration as one would write it: the largest unit that leaves no rest.
pub(crate) fn render_span(span: Duration) -> String {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = SPAN_UNITS_MS
        .iter()
        .rev()
        .find(|(unit, factor)| *unit != "d" && ms >= *factor && ms % factor == 0)
        .copied()
        .unwrap_or(("s", 1000));
    format!("{}{unit}", ms / factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, expect: u64| assert_eq!(parse_size(text), Ok(expect), "{text}");
        check("0", 0);
        check("4096", 4096);
        check("1MB", 1_000_000);
        check("64MiB", 64 << 20);
        check("1KiB", 1024);
        check("1kB", 1000);
        check("1KB", 1000);
        check("3gib", 3 << 30);
        check("2TiB", 2 << 40);
        for (text, hint) in [
            ("", "expected a size"),
            ("MiB", "expected a size"),
            ("-1", "expected a size"),
            ("64M", "MiB"),
            ("64 MiB", "no space"),
            ("1.5GiB", "whole numbers"),
            ("10bananas", "expected a size"),
            ("99999999999999999999", "too large"),
            ("9999999999TiB", "too large"),
        ] {
            let message = parse_size(text).expect_err(text);
            assert!(message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn durations() {
        let check = |text: &str, ms: u64| assert_eq!(parse_span(text), Ok(Duration::from_millis(ms)), "{text}");
        check("250ms", 250);
        check("5s", 5000);
        check("0s", 0);
        check("10m", 600_000);
        check("1h30m", 5_400_000);
        check("7d", 604_800_000);
        for (text, hint) in [
            ("", "expected a duration"),
            ("5", "needs its unit"),
            ("s", "expected a duration"),
            ("5sec", "the units are"),
            ("5 s", "the units are"),
            ("-5s", "expected a duration"),
            ("99999999999999999999s", "too long"),
            ("40000d", "too long"),
        ] {
            let message = parse_span(text).expect_err(text);
            assert!(message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn rendered_as_one_would_write_them() {
        for text in ["32MiB", "1MB", "256KiB", "1GiB", "16384B", "0"] {
            let bytes = parse_size(text).expect("a size");
            let expect = if text == "16384B" { "16KiB" } else { text };
            assert_eq!(render_size(bytes), expect);
        }
        for text in ["20ms", "2s", "10s", "1m", "0s", "1500ms"] {
            assert_eq!(render_span(parse_span(text).expect("a duration")), text);
        }
    }

    proptest! {
        /// Guarantee: what is rendered reads as the same value, and nothing panics on any text.
        #[test]
        fn round_trips(bytes in 0u64..1 << 50, ms in 0u64..1 << 40, text in "\\PC{0,12}") {
            prop_assert_eq!(parse_size(&render_size(bytes)), Ok(bytes));
            prop_assert_eq!(parse_span(&render_span(Duration::from_millis(ms))), Ok(Duration::from_millis(ms)));
            let patterns = [(SIZE_PATTERN, parse_size(&text).is_ok()), (SPAN_PATTERN, parse_span(&text).is_ok())];
            for (pattern, ok) in patterns {
                let pattern = regex::Regex::new(pattern).expect("a valid pattern");
                prop_assert!(!ok || text.chars().any(|c| c.is_alphabetic()) || pattern.is_match(&text));
            }
        }
    }
}
