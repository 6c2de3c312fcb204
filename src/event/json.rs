//! Writes JSON text (P): strings escaped 16 bytes at a time, numbers, values.
//!
//! It lives beside the event because both the shared fields (rendered once a source) and the codecs write JSON. Not here:
//! reading JSON, and pretty printing.

use super::value::{Object, Value};

/// What follows a backslash for each byte: 0 = the byte stands for itself, `u` = `\u00XX`.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes looked at in one step.
const STEP: usize = 16;

/// Appends `text` as a JSON string, quotes included. What is not UTF-8 becomes U+FFFD.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    if std::str::from_utf8(text).is_ok() {
        write_escaped(out, text);
    } else {
        write_lossy(out, text);
    }
    out.push(b'"');
}

/// Appends the inside of a JSON string: `text` must be UTF-8 (else the result isn't).
pub fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + text.len() / 8 + STEP);
    let mut rest = text;
    // A whole step is copied and what is behind the first special byte taken back: one store instead of a copy of unknown
    // length.
    while let Some(step) = rest.first_chunk::<STEP>() {
        out.extend_from_slice(step);
        let plain = plain_prefix(step);
        if plain == STEP {
            rest = &rest[STEP..];
        } else {
            out.truncate(out.len() - (STEP - plain));
            write_escape(out, step[plain]);
            rest = &rest[plain + 1..];
        }
    }
    let mut last = [b' '; STEP];
    while !rest.is_empty() {
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()..].fill(b' ');
        let plain = plain_prefix(&last).min(rest.len());
        out.extend_from_slice(&last);
        out.truncate(out.len() - (STEP - plain));
        if plain == rest.len() {
            break;
        }
        write_escape(out, rest[plain]);
        rest = &rest[plain + 1..];
    }
}

/// As [`write_escaped`], for bytes that may not be UTF-8: each malformed sequence becomes one U+FFFD.
pub fn write_lossy(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        write_escaped(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// The bytes that [`write_lossy`] adds for one character of valid text.
pub fn escaped_len(byte: u8) -> usize {
    match ESCAPES[byte as usize] {
        0 => 1,
        b'u' => 6,
        _ => 2,
    }
}

/// Appends a number.
pub fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 100 {
        let pair = (number % 100) as u8;
        number /= 100;
        at -= 2;
        digits[at] = b'0' + pair / 10;
        digits[at + 1] = b'0' + pair % 10;
    }
    if number >= 10 {
        at -= 2;
        digits[at] = b'0' + (number / 10) as u8;
        digits[at + 1] = b'0' + (number % 10) as u8;
    } else {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a number.
pub fn write_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    write_u64(out, number.unsigned_abs());
}

/// 32 lower-case hex digits.
pub fn hex(number: u128) -> [u8; 32] {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    text
}

/// Appends a value. A float that JSON can't write (NaN, infinity) is null.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => write_i64(out, *number),
        Value::Float(number) if number.is_finite() => out.extend_from_slice(format!("{number:?}").as_bytes()),
        Value::Float(_) => out.extend_from_slice(b"null"),
        Value::String(text) => write_str(out, text),
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, value);
            }
            out.push(b']');
        }
        Value::Object(object) => write_object(out, object),
    }
}

/// Appends an object.
pub fn write_object(out: &mut Vec<u8>, object: &Object) {
    out.push(b'{');
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_str(out, key);
        out.push(b':');
        write_value(out, value);
    }
    out.push(b'}');
}

/// Appends `,"key":value`.
pub fn write_member(out: &mut Vec<u8>, key: &str, value: &Value) {
    out.push(b',');
    write_str(out, key);
    out.push(b':');
    write_value(out, value);
}

fn write_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text.as_bytes());
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    match ESCAPES[byte as usize] {
        b'u' => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digits[0], digits[1]]);
        }
        letter => out.extend_from_slice(&[b'\\', letter]),
    }
}

/// The bytes before the first that needs an escape; [`STEP`] if none does.
#[cfg(target_arch = "x86_64")]
#[inline]
fn plain_prefix(step: &[u8; STEP]) -> usize {
    // SAFETY: every x86-64 processor has SSE2, the only feature that the function needs.
    unsafe { plain_prefix_sse2(step) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn plain_prefix_sse2(step: &[u8; STEP]) -> usize {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let number = i128::from_le_bytes(*step);
    let bytes = _mm_set_epi64x((number >> 64) as i64, number as i64);
    let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
    let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
    let controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    let special = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), controls));
    // The bit above the mask stops the count at 16.
    (special | 1 << STEP).trailing_zeros() as usize
}

/// The bytes before the first that needs an escape; [`STEP`] if none does.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn plain_prefix(step: &[u8; STEP]) -> usize {
    plain_prefix_portable(step)
}

/// The same, 8 bytes at a time in a plain register.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn plain_prefix_portable(step: &[u8; STEP]) -> usize {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The high bit of each byte says "special"; no carry crosses a byte, so each bit is exact.
    let special = |word: u64| {
        let is_above = |word: u64, least: u64| ((word & LOW) + (0x80 - least) * ONES) | word;
        let quote = is_above(word ^ (b'"' as u64 * ONES), 1);
        let backslash = is_above(word ^ (b'\\' as u64 * ONES), 1);
        !(quote & backslash & is_above(word, 0x20)) & !LOW
    };
    for (index, half) in step.as_chunks::<8>().0.iter().enumerate() {
        let found = special(u64::from_le_bytes(*half));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    STEP
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn escapes_every_byte_as_serde_json_does() {
        for byte in 0..=0x7f_u8 {
            for before in [0, 1, 15, 16, 17, 40] {
                let mut text = "x".repeat(before);
                text.push(char::from(byte));
                text.push_str("yz");
                assert_eq!(written(text.as_bytes()), serde_json::to_string(&text).expect("a string"));
            }
        }
    }

    #[test]
    fn what_is_not_utf8_becomes_the_replacement_character() {
        assert_eq!(written(b"a\xffb\xe2\x82\"\xf0\x9f\x98\x80"), "\"a\u{fffd}b\u{fffd}\\\"\u{1f600}\"");
    }

    #[test]
    fn numbers_and_hex() {
        for number in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            write_u64(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
        for number in [i64::MIN, -1, 0, i64::MAX] {
            let mut out = Vec::new();
            write_i64(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
        assert_eq!(hex(0xab), *b"000000000000000000000000000000ab");
    }

    proptest! {
        /// Guarantee: any bytes are written as serde_json writes their lossy text.
        #[test]
        fn any_bytes_are_a_json_string(text in proptest::collection::vec(any::<u8>(), 0..100)) {
            let lossy = String::from_utf8_lossy(&text).into_owned();
            prop_assert_eq!(written(&text), serde_json::to_string(&lossy).expect("a string"));
        }

        /// Guarantee: the two ways to find a special byte agree, whatever the processor.
        #[test]
        fn both_scans_agree(step in any::<[u8; STEP]>()) {
            let slow = step.iter().position(|byte| ESCAPES[*byte as usize] != 0).unwrap_or(STEP);
            prop_assert_eq!(plain_prefix(&step), slow);
            prop_assert_eq!(plain_prefix_portable(&step), slow);
        }
    }
}
