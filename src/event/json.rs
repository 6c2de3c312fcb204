//! Writes JSON text (P): strings escaped 64 bytes at a time, numbers, values.
//!
//! It lives beside the event because both the shared fields (rendered once a source) and the codecs write JSON. Not here:
//! reading JSON, and pretty printing.

use std::mem::MaybeUninit;

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

/// Bytes whose special ones are found at once: a bit each in a `u64`.
const BLOCK: usize = 64;

/// Bytes that one byte may take: `\u0000`.
const ESCAPED_MAX: usize = 6;

/// Texts up to this length, most names and values, are looked at before they are copied.
const SHORT: usize = 128;

/// Texts up to this length are copied without a call.
const TINY: usize = 32;

/// What a block may take, and the copy of a block that reaches behind it.
const ROOM: usize = (ESCAPED_MAX + 1) * BLOCK;

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
    if is_short_and_plain(text) {
        out.extend_from_slice(text);
    } else {
        write_blocks(out, text);
    }
}

fn write_blocks(out: &mut Vec<u8>, text: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") {
        // SAFETY: the processor has what the function needs.
        return unsafe { write_blocks_avx2(out, text) };
    }
    write_blocks_by(special_bytes, out, text);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1")]
fn write_blocks_avx2(out: &mut Vec<u8>, text: &[u8]) {
    write_blocks_by(|source| special_bytes_avx2(source), out, text);
}

/// Compiled for each way to find the special bytes, with all that the processor has then.
#[inline(always)]
fn write_blocks_by(find: impl Fn(&[u8; 2 * BLOCK]) -> u64, out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(source) = rest.first_chunk() {
        write_block(find(source), out, source, BLOCK);
        rest = &rest[BLOCK..];
    }
    // Copies reach up to a block behind the last byte.
    let mut last = [0; 3 * BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let mut at = 0;
    while at < rest.len() {
        let source = last[at..].first_chunk().expect("`at` is 0 or a block, so two blocks follow");
        write_block(find(source), out, source, BLOCK.min(rest.len() - at));
        at += BLOCK;
    }
}

/// Appends the first `length` bytes of `source`, a block at most; `specials` has a bit for each byte of it that needs an escape.
/// What stands behind a special byte is copied as a whole block and overwritten from the next special byte on: so nothing
/// depends on where the special bytes are but how often the loop runs, and the processor predicts the rest.
#[inline(always)]
fn write_block(specials: u64, out: &mut Vec<u8>, source: &[u8; 2 * BLOCK], length: usize) {
    out.reserve(ROOM);
    let room = out.spare_capacity_mut().first_chunk_mut().expect("reserved above");
    let mut specials = specials & (u64::MAX >> (BLOCK - length));
    let mut used = 0;
    let mut from = 0;
    put::<BLOCK>(room, used, source, from);
    while specials != 0 {
        let at = specials.trailing_zeros() as usize;
        specials &= specials - 1;
        used += at - from;
        let (escape, escape_length) = escape(source[at]);
        put::<8>(room, used, &escape, 0);
        used += escape_length;
        from = at + 1;
        put::<BLOCK>(room, used, source, from);
    }
    used += length - from;
    // SAFETY: every byte below `used` is initialised: each `put` starts at the `used` of its time, and `used` grows after it
    // by no more than the put's length.
    unsafe { out.set_len(out.len() + used) };
}

/// Initialises `N` bytes of `room` at `at` with those of `source` at `from`.
#[inline]
fn put<const N: usize>(room: &mut [MaybeUninit<u8>; ROOM], at: usize, source: &[u8], from: usize) {
    let bytes: &[u8; N] = source[from..].first_chunk().expect("a source has a block behind each of its special bytes");
    room[at..at + N].copy_from_slice(&bytes.map(MaybeUninit::new));
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
    for (digits, word) in text.as_chunks_mut::<8>().0.iter_mut().zip(number.to_be_bytes().as_chunks::<4>().0) {
        *digits = hex_word(u32::from_be_bytes(*word));
    }
    text
}

/// 8 hex digits, all at once in a register: a nibble a byte, then `0` or `a` - 10 added to each.
#[inline]
fn hex_word(number: u32) -> [u8; 8] {
    let mut x = u64::from(number);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((x + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (x + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// Appends a value. A float that JSON can't write (NaN, infinity) is null.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => write_i64(out, *number),
        Value::BigInt(digits) => out.extend_from_slice(digits.as_bytes()),
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
    write_key(out, key);
    write_value(out, value);
}

/// Appends `,"key":value` of `over` laid over `under`, as [`Object::merge`] does, without making the merged object.
pub(crate) fn write_merged_member(out: &mut Vec<u8>, key: &str, under: &Value, over: &Value) {
    let (Value::Object(under), Value::Object(over)) = (under, over) else { return write_member(out, key, over) };
    write_key(out, key);
    let start = out.len();
    for (key, under) in under.iter() {
        match over.get(key) {
            Some(over) => write_merged_member(out, key, under, over),
            None => write_member(out, key, under),
        }
    }
    for (key, value) in over.iter().filter(|(key, _)| under.get(key).is_none()) {
        write_member(out, key, value);
    }
    // The first member's comma is where the brace belongs.
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

fn write_str(out: &mut Vec<u8>, text: &str) {
    if write_short(out, b"\"", text, b"\"") {
        return;
    }
    out.push(b'"');
    write_blocks(out, text.as_bytes());
    out.push(b'"');
}

/// `,"key":`
fn write_key(out: &mut Vec<u8>, key: &str) {
    if !write_short(out, b",\"", key, b"\":") {
        out.push(b',');
        write_str(out, key);
        out.push(b':');
    }
}

/// Appends all three at once, if `text` is short and nothing in it needs an escape: most names and values.
#[inline]
fn write_short<const N: usize>(out: &mut Vec<u8>, before: &[u8; N], text: &str, behind: &[u8; N]) -> bool {
    let text = text.as_bytes();
    if !is_short_and_plain(text) {
        return false;
    }
    out.reserve(text.len() + 2 * N);
    out.extend_from_slice(before);
    if text.len() <= TINY {
        append_tiny(out, text);
    } else {
        out.extend_from_slice(text);
    }
    out.extend_from_slice(behind);
    true
}

/// Appends up to [`TINY`] bytes: by two copies that overlap, of lengths that the compiler knows.
#[inline]
fn append_tiny(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(TINY);
    let room: &mut [MaybeUninit<u8>; TINY] = out.spare_capacity_mut().first_chunk_mut().expect("reserved above");
    let is_copied = put_ends::<16>(room, text) || put_ends::<8>(room, text) || put_ends::<4>(room, text);
    if !is_copied {
        for (place, byte) in room.iter_mut().zip(text) {
            place.write(*byte);
        }
    }
    // SAFETY: the first `text.len()` bytes, at most `TINY`, are initialised: the two ends cover all, or each was written alone.
    unsafe { out.set_len(out.len() + text.len()) };
}

/// Initialises as much of `room` as `text` is long with it, if it is between `N` and twice that.
#[inline]
fn put_ends<const N: usize>(room: &mut [MaybeUninit<u8>; TINY], text: &[u8]) -> bool {
    let (Some(first), Some(last)) = (text.first_chunk::<N>(), text.last_chunk::<N>()) else { return false };
    let behind = text.len() - N;
    if behind > N {
        return false;
    }
    room[..N].copy_from_slice(&first.map(MaybeUninit::new));
    room[behind..behind + N].copy_from_slice(&last.map(MaybeUninit::new));
    true
}

/// What stands for a special byte, and its length.
#[inline]
fn escape(byte: u8) -> ([u8; 8], usize) {
    match ESCAPES[byte as usize] {
        b'u' => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            ([b'\\', b'u', b'0', b'0', digits[0], digits[1], 0, 0], 6)
        }
        letter => ([b'\\', letter, 0, 0, 0, 0, 0, 0], 2),
    }
}

/// A bit for each of the first 64 bytes that needs an escape.
#[cfg(target_arch = "x86_64")]
#[inline]
fn special_bytes(source: &[u8; 2 * BLOCK]) -> u64 {
    // SAFETY: every x86-64 processor has SSE2, the only feature that the function needs.
    unsafe { special_bytes_sse2(source) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn special_bytes_sse2(source: &[u8; 2 * BLOCK]) -> u64 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let mut specials = 0;
    for (index, step) in source[..BLOCK].as_chunks::<16>().0.iter().enumerate() {
        let number = i128::from_le_bytes(*step);
        let bytes = _mm_set_epi64x((number >> 64) as i64, number as i64);
        let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        let special = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), controls));
        specials |= u64::from(special as u32) << (16 * index);
    }
    specials
}

/// The same, 32 bytes at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn special_bytes_avx2(source: &[u8; 2 * BLOCK]) -> u64 {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    };
    let mut specials = 0;
    for (index, step) in source[..BLOCK].as_chunks::<32>().0.iter().enumerate() {
        // SAFETY: the step is 32 bytes, and the load needs no alignment.
        let bytes = unsafe { _mm256_loadu_si256(step.as_ptr().cast()) };
        let quotes = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"' as i8));
        let backslashes = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\' as i8));
        let controls = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
        let special = _mm256_movemask_epi8(_mm256_or_si256(_mm256_or_si256(quotes, backslashes), controls));
        specials |= u64::from(special as u32) << (32 * index);
    }
    specials
}

/// A bit for each of the first 64 bytes that needs an escape.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn special_bytes(source: &[u8; 2 * BLOCK]) -> u64 {
    special_bytes_portable(source)
}

/// The same, 8 bytes at a time in a plain register.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn special_bytes_portable(source: &[u8; 2 * BLOCK]) -> u64 {
    let mut specials = 0;
    for (index, word) in source[..BLOCK].as_chunks::<8>().0.iter().enumerate() {
        let special = special_in_word(u64::from_le_bytes(*word));
        // Gathers the high bits of the bytes in the highest byte, in their order.
        let bits = (special >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        specials |= bits << (8 * index);
    }
    specials
}

/// The high bit of each byte that needs an escape.
#[inline]
fn special_in_word(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The high bit of a byte says that it is at least `least`; no carry crosses a byte, so each is exact.
    let is_above = |word: u64, least: u64| ((word & LOW) + (0x80 - least) * ONES) | word;
    let quote = is_above(word ^ (u64::from(b'"') * ONES), 1);
    let backslash = is_above(word ^ (u64::from(b'\\') * ONES), 1);
    !(quote & backslash & is_above(word, 0x20)) & !LOW
}

/// It can be copied as it is, and it pays to look.
#[inline]
fn is_short_and_plain(text: &[u8]) -> bool {
    text.len() <= SHORT && !has_special(text)
}

/// Some byte needs an escape.
#[inline]
fn has_special(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    match text.last_chunk::<8>() {
        // The last word may have bytes that were looked at already.
        Some(last) => words.iter().chain([last]).any(|word| special_in_word(u64::from_le_bytes(*word)) != 0),
        None => rest.iter().any(|byte| ESCAPES[usize::from(*byte)] != 0),
    }
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
    fn texts_about_a_block_long() {
        for length in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 192, 193, 600]
        {
            for special in ['"', '\u{1}', 'x'] {
                let text: String = std::iter::repeat_n(special, length).collect();
                assert_eq!(written(text.as_bytes()), serde_json::to_string(&text).expect("a string"));
            }
        }
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
        fn any_bytes_are_a_json_string(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let lossy = String::from_utf8_lossy(&text).into_owned();
            prop_assert_eq!(written(&text), serde_json::to_string(&lossy).expect("a string"));
        }

        #[test]
        fn hex_is_as_formatted(number: u128) {
            prop_assert_eq!(hex(number).to_vec(), format!("{number:032x}").into_bytes());
        }

        /// Guarantee: all ways to find special bytes agree, whatever the processor.
        #[test]
        fn all_scans_agree(bytes in proptest::collection::vec(any::<u8>(), 2 * BLOCK)) {
            let source = bytes.first_chunk().expect("two blocks");
            let slow = (0..BLOCK).filter(|at| ESCAPES[source[*at] as usize] != 0).fold(0, |bits, at| bits | 1 << at);
            prop_assert_eq!(special_bytes(source), slow);
            prop_assert_eq!(special_bytes_portable(source), slow);
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has what the function needs.
                prop_assert_eq!(unsafe { special_bytes_avx2(source) }, slow);
            }
        }
    }
}
