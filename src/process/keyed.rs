//! What hides a value and still tells it from others: HMAC-SHA-256 with a key of the user's.
//!
//! Without a key a hash of a card or an address hides nothing: all of them can be tried. Not here: where the key comes from.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The key, ready to be used; it is never shown.
#[derive(Clone)]
pub struct Keyed(Hmac<Sha256>);

impl Keyed {
    /// With this key, of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// The hash of `text`.
    pub(super) fn hash(&self, text: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed")
    }
}

/// Appends `bytes` as hexadecimal digits.
pub(super) fn push_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: it is HMAC-SHA-256, by the test case 2 of RFC 4231.
    #[test]
    fn is_the_hmac_of_the_rfc() {
        let mut hex = String::new();
        push_hex(&Keyed::new(b"Jefe").hash(b"what do ya want for nothing?"), &mut hex);
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
