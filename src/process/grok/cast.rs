//! `:int` and `:float`: numbers of texts as Ruby's `to_i` and `to_f` read them (P).
//!
//! What is no number is 0; what follows a number does not matter. Nothing here fails.

/// A whole number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Int {
    Small(i64),
    /// Beyond 64 bits: its digits, with a `-` before them where it is negative.
    Big(String),
}

/// `to_i`.
pub fn int(text: &str) -> Int {
    let (is_negative, rest) = sign(text);
    let digits = digits(rest);
    let small = digits.bytes().try_fold(0_i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        let value = value.checked_mul(10)?;
        if is_negative { value.checked_sub(digit) } else { value.checked_add(digit) }
    });
    match small {
        Some(value) => Int::Small(value),
        None => {
            let digits = digits.trim_start_matches('0');
            Int::Big(if is_negative { format!("-{digits}") } else { digits.to_owned() })
        }
    }
}

/// `to_f`. Beyond the range it is infinite.
pub fn float(text: &str) -> f64 {
    let (is_negative, rest) = sign(text);
    let whole = digits(rest);
    let mut number = whole.clone().into_owned();
    let mut rest = rest.get(length_of_digits(rest)..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix('.')
        && fraction.starts_with(|c: char| c.is_ascii_digit())
    {
        number.push('.');
        number.push_str(&digits(fraction));
        rest = fraction.get(length_of_digits(fraction)..).unwrap_or_default();
    }
    if number.is_empty() {
        return 0.0;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let (is_down, exponent) = match exponent.strip_prefix(['+', '-']) {
            Some(unsigned) => (exponent.starts_with('-'), unsigned),
            None => (false, exponent),
        };
        let exponent = digits(exponent);
        if !exponent.is_empty() {
            number.push_str(if is_down { "e-" } else { "e" });
            number.push_str(&exponent);
        }
    }
    let value = number.parse().unwrap_or(0.0);
    if is_negative { -value } else { value }
}

/// Whether it is negative, and what follows the sign and the blanks before it.
fn sign(text: &str) -> (bool, &str) {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    }
}

/// The digits that `text` begins with; one `_` may stand between two.
fn length_of_digits(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut length = 0;
    while let Some(byte) = bytes.get(length) {
        let joins = *byte == b'_'
            && length > 0
            && bytes[length - 1] != b'_'
            && bytes.get(length + 1).is_some_and(u8::is_ascii_digit);
        if !byte.is_ascii_digit() && !joins {
            break;
        }
        length += 1;
    }
    length
}

fn digits(text: &str) -> std::borrow::Cow<'_, str> {
    let digits = text.get(..length_of_digits(text)).unwrap_or_default();
    if digits.contains('_') { digits.replace('_', "").into() } else { digits.into() }
}
