//! Where a key goes, and what a topic may be called: Kafka's own rules.

/// The longest name of a topic.
pub const TOPIC_BYTES_MAX: usize = 249;

/// Kafka takes this as the name of a topic.
pub fn legal_topic(name: &[u8]) -> bool {
    (1..=TOPIC_BYTES_MAX).contains(&name.len())
        && name != b"."
        && name != b".."
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The hash of the Java client's `Utils.murmur2`, bit for bit.
pub fn murmur2(bytes: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let (words, tail) = bytes.as_chunks::<4>();
    let mut hash = SEED ^ bytes.len() as u32;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash.cast_signed()
}

/// The partition of `key` in a topic of `count` partitions, as the Java client and `murmur2_random` choose it. 0 for a
/// topic without partitions.
pub fn partition(key: &[u8], count: u32) -> u32 {
    let positive = murmur2(key).cast_unsigned() & 0x7fff_ffff;
    positive.checked_rem(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_java_client() {
        // The vectors of the client's own test, UtilsTest.testMurmur2.
        let check = |key: &str, expect: i32| assert_eq!(murmur2(key.as_bytes()), expect, "{key}");
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
        check("abc", 479_470_107);
    }

    #[test]
    fn places_keys_within_the_topic() {
        assert_eq!(partition(b"abc", 12), 479_470_107 % 12);
        let unsigned = (-973_932_308_i32).cast_unsigned() & 0x7fff_ffff;
        assert_eq!(partition(b"21", 7), unsigned % 7);
        assert_eq!(partition(b"21", 0), 0);
    }

    #[test]
    fn knows_what_a_topic_may_be_called() {
        let check = |name: &str, expect: bool| assert_eq!(legal_topic(name.as_bytes()), expect, "{name:?}");
        check("logs.raw", true);
        check("_a-B.9", true);
        check("...", true);
        check(&"x".repeat(249), true);
        for name in ["", ".", "..", "a b", "a/b", "é", "a:b", &"x".repeat(250)] {
            check(name, false);
        }
    }
}
