//! `convert`: gives fields another type, with Logstash's answers: texts are read as Ruby's `to_i` and `to_f` read them, and as
//! numbers in hexadecimal (`0x1f`) and with an exponent (`1e3`), as Logstash does since 8.14.
//!
//! A text that begins with no number becomes 0 as in Logstash, but that is a failure too, so that it is seen. What has no
//! value of the type (an object, a number too large, a word that is neither true nor false) fails and stays as it was.

use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Value, ValueRef, json};

/// `convert: {fields: {field: type}}`.
#[derive(Clone, Debug)]
pub struct Convert {
    pub fields: Vec<(FieldPath, Type)>,
}

/// A type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Integer,
    /// Of a text with `.` between thousands and `,` before the fraction.
    IntegerEu,
    Float,
    FloatEu,
    String,
    Boolean,
}

/// What a value became.
enum Made {
    Value(Value),
    /// A value that says nothing of what was there.
    Guess(Value),
}

impl Process for Convert {
    fn name(&self) -> &'static str {
        "convert"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let mut all = Ok(Outcome::Keep);
        for (field, to) in &self.fields {
            let Some(found) = work.get(field).filter(|found| *found != ValueRef::Null) else { continue };
            let made = match found {
                // The elements of a list are converted one by one, and all or none.
                ValueRef::Array(values) => list(&values, *to),
                found => to.of(&found.into_value()),
            };
            let value = match made {
                Some(Made::Value(value)) => value,
                Some(Made::Guess(value)) => {
                    all = Err(Failed);
                    value
                }
                None => {
                    all = Err(Failed);
                    continue;
                }
            };
            // `@timestamp` takes its own text and nothing else.
            if work.set(field, value).is_err() {
                all = Err(Failed);
            }
        }
        all
    }
}

fn list(values: &[Value], to: Type) -> Option<Made> {
    let mut is_guess = false;
    let mut made = Vec::with_capacity(values.len());
    for value in values {
        made.push(match (value, to.of(value)) {
            (Value::Null, _) => Value::Null,
            (_, Some(Made::Value(value))) => value,
            (_, Some(Made::Guess(value))) => {
                is_guess = true;
                value
            }
            (_, None) => return None,
        });
    }
    let made = Value::Array(made);
    Some(if is_guess { Made::Guess(made) } else { Made::Value(made) })
}

impl Type {
    fn of(self, value: &Value) -> Option<Made> {
        match self {
            Self::Integer | Self::IntegerEu => integer(value, self == Self::IntegerEu),
            Self::Float | Self::FloatEu => float(value, self == Self::FloatEu),
            Self::String => text(value).map(Made::Value),
            Self::Boolean => boolean(value).map(|value| Made::Value(Value::Bool(value))),
        }
    }
}

fn integer(value: &Value, is_eu: bool) -> Option<Made> {
    Some(match value {
        Value::Bool(value) => Made::Value(Value::Int((*value).into())),
        Value::Int(value) => Made::Value(Value::Int(*value)),
        // Beyond 2^63 there is no integer; the comparison is false for NaN.
        Value::Float(value) if value.abs() < 9.2e18 => Made::Value(Value::Int(*value as i64)),
        Value::String(text) => {
            let text = plain(text, is_eu);
            if let Some(number) = hexadecimal(&text) {
                return Some(Made::Value(Value::Int(number)));
            }
            if let Some(number) = exponent(&text) {
                return (number.abs() < 9.2e18).then_some(Made::Value(Value::Int(number as i64)));
            }
            match digits(&text)? {
                Some(number) => Made::Value(Value::Int(number)),
                None => Made::Guess(Value::Int(0)),
            }
        }
        _ => return None,
    })
}

fn float(value: &Value, is_eu: bool) -> Option<Made> {
    Some(match value {
        Value::Bool(value) => Made::Value(Value::Float(if *value { 1.0 } else { 0.0 })),
        Value::Int(value) => Made::Value(Value::Float(*value as f64)),
        Value::Float(value) => Made::Value(Value::Float(*value)),
        Value::String(text) => match hexadecimal(text).map_or_else(|| decimal(&plain(text, is_eu)), |n| Some(n as f64))
        {
            Some(number) if number.is_finite() => Made::Value(Value::Float(number)),
            Some(_) => return None,
            None => Made::Guess(Value::Float(0.0)),
        },
        _ => return None,
    })
}

/// The text as Ruby reads numbers: what groups thousands is left out, and the fraction stands behind a point.
fn plain(text: &str, is_eu: bool) -> String {
    let (thousands, point) = if is_eu { ('.', ',') } else { (',', '.') };
    let kept = text.trim_start().chars().filter(|char| *char != thousands);
    kept.map(|char| if char == point { '.' } else { char }).collect()
}

/// The whole text as a hexadecimal number, `0x1f`, with a sign or not.
fn hexadecimal(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number { i64::from_str_radix(&[sign, digits].concat(), 16).ok() } else { None }
}

/// The whole text as a number with an exponent, `1.5e3`.
fn exponent(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if is_number && text.contains(['e', 'E']) { text.parse().ok() } else { None }
}

/// The integer that `text` begins with; within `None`: it begins with none. `None`: it is too large.
fn digits(text: &str) -> Option<Option<i64>> {
    let (is_negative, text) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..)?),
        Some(b'+') => (false, text.get(1..)?),
        _ => (false, text),
    };
    let mut number: Option<i64> = None;
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                let more = number.unwrap_or(0).checked_mul(10)?;
                // Down from 0, for there is one more below it than above.
                number = Some(if is_negative { more.checked_sub(digit)? } else { more.checked_add(digit)? });
            }
            // One underscore may stand between two digits.
            b'_' if number.is_some() && bytes.peek().is_some_and(u8::is_ascii_digit) => {}
            _ => break,
        }
    }
    Some(number)
}

/// The number that `text` begins with.
fn decimal(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    if let Some(sign @ (b'-' | b'+')) = bytes.first() {
        kept.push(char::from(*sign));
        at = 1;
    }
    let has_whole = digits_into(bytes, &mut at, &mut kept);
    if bytes.get(at) == Some(&b'.') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        kept.push('.');
        at += 1;
        digits_into(bytes, &mut at, &mut kept);
    } else if !has_whole {
        return None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(bytes.get(at + 1), Some(b'-' | b'+')));
        if bytes.get(at + 1 + signed).is_some_and(u8::is_ascii_digit) {
            kept.extend(bytes[at..=at + signed].iter().map(|byte| char::from(*byte)));
            at += 1 + signed;
            digits_into(bytes, &mut at, &mut kept);
        }
    }
    kept.parse().ok()
}

/// Appends the digits at `at`, without underscores between them; whether there was one.
fn digits_into(bytes: &[u8], at: &mut usize, kept: &mut String) -> bool {
    let start = kept.len();
    loop {
        match bytes.get(*at) {
            Some(digit @ b'0'..=b'9') => kept.push(char::from(*digit)),
            Some(b'_') if kept.len() > start && bytes.get(*at + 1).is_some_and(u8::is_ascii_digit) => {}
            _ => return kept.len() > start,
        }
        *at += 1;
    }
}

fn text(value: &Value) -> Option<Value> {
    Some(match value {
        Value::String(text) => Value::String(text.clone()),
        Value::Bool(_) | Value::Int(_) | Value::BigInt(_) | Value::Float(_) => {
            let mut text = Vec::new();
            json::write_value(&mut text, value);
            Value::String(compact_str::CompactString::from_utf8_lossy(&text))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    })
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Int(1) => Some(true),
        Value::Int(0) => Some(false),
        Value::Float(value) if *value == 1.0 => Some(true),
        Value::Float(value) if *value == 0.0 => Some(false),
        Value::String(text) => {
            let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
            if is(&["true", "t", "yes", "y", "1", "1.0"]) {
                return Some(true);
            }
            is(&["false", "f", "no", "n", "0", "0.0", ""]).then_some(false)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::*;
    use serde_json::json;

    fn convert(pairs: &[(&str, Type)]) -> Convert {
        Convert { fields: pairs.iter().map(|(field, to)| (path(field), *to)).collect() }
    }

    fn check(to: Type, input: serde_json::Value, expect: serde_json::Value) {
        check_fields(convert(&[("a", to)]), json!({"a": input}), json!({"a": expect}));
    }

    fn check_failed(to: Type, input: serde_json::Value, expect: serde_json::Value) {
        check_fields(
            convert(&[("a", to)]),
            json!({"a": input}),
            json!({"a": expect, "tags": ["a", "_convert_failed"]}),
        );
    }

    #[test]
    fn integers() {
        for (input, expect) in [
            (json!("200"), 200),
            (json!(" -7"), -7),
            (json!("+7"), 7),
            (json!("12abc"), 12),
            (json!("1,234,567"), 1_234_567),
            (json!("1_000"), 1_000),
            (json!("3.9"), 3),
            (json!("0x1F"), 31),
            (json!("-0x10 "), -16),
            (json!("1.5e3"), 1_500),
            (json!("1e"), 1),
            (json!("0x1g"), 0),
            (json!("-9223372036854775808"), i64::MIN),
            (json!(3.9), 3),
            (json!(-3.9), -3),
            (json!(true), 1),
            (json!(false), 0),
            (json!(5), 5),
        ] {
            check(Type::Integer, input, json!(expect));
        }
        check(Type::IntegerEu, json!("1.234.567,89"), json!(1_234_567));
        check(Type::Integer, json!(["1", 2, null]), json!([1, 2, null]));
        check_failed(Type::Integer, json!("-"), json!(0));
        check_failed(Type::Integer, json!("1e99"), json!("1e99"));
        check_failed(Type::Integer, json!(["1", "x"]), json!([1, 0]));
        check_failed(Type::Integer, json!("9223372036854775808"), json!("9223372036854775808"));
        check_failed(Type::Integer, json!(1e300), json!(1e300));
        check_failed(Type::Integer, json!({"b": 1}), json!({"b": 1}));
        check_failed(Type::Integer, json!(["1", ["2"]]), json!(["1", ["2"]]));
    }

    #[test]
    fn floats() {
        for (input, expect) in [
            (json!("1.5"), 1.5),
            (json!(".5"), 0.5),
            (json!("0x1f"), 31.0),
            (json!("-1.5e3abc"), -1500.0),
            (json!("1."), 1.0),
            (json!("1e"), 1.0),
            (json!("1,234.5"), 1234.5),
            (json!("1_0.2_5"), 10.25),
            (json!(2), 2.0),
            (json!(true), 1.0),
        ] {
            check(Type::Float, input, json!(expect));
        }
        check(Type::FloatEu, json!("1.234,5"), json!(1234.5));
        check_failed(Type::Float, json!("x1"), json!(0.0));
        check_failed(Type::Float, json!("."), json!(0.0));
        check_failed(Type::Float, json!("1e999"), json!("1e999"));
    }

    #[test]
    fn strings() {
        check(Type::String, json!(1), json!("1"));
        check(Type::String, json!(1.5), json!("1.5"));
        check(Type::String, json!(true), json!("true"));
        check(Type::String, json!(["x", 1]), json!(["x", "1"]));
        check(Type::String, json!(null), json!(null));
        check_failed(Type::String, json!({}), json!({}));
    }

    #[test]
    fn booleans() {
        for yes in [json!("true"), json!("T"), json!("Yes"), json!("y"), json!("1"), json!("1.0"), json!(1), json!(1.0)]
        {
            check(Type::Boolean, yes, json!(true));
        }
        for no in [
            json!("False"),
            json!("f"),
            json!("no"),
            json!("N"),
            json!("0"),
            json!("0.0"),
            json!(""),
            json!(0),
            json!(0.0),
        ] {
            check(Type::Boolean, no, json!(false));
        }
        check_failed(Type::Boolean, json!("maybe"), json!("maybe"));
        check_failed(Type::Boolean, json!(2), json!(2));
        check_failed(Type::Boolean, json!(["true", "maybe"]), json!(["true", "maybe"]));
    }

    #[test]
    fn the_time_stays() {
        check_fields(convert(&[("@timestamp", Type::String)]), json!({}), json!({}));
        check_fields(convert(&[("@timestamp", Type::Integer)]), json!({}), json!({"tags": ["a", "_convert_failed"]}));
    }
}
