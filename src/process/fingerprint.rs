//! `fingerprint`: one hash of several fields, as Beats and Logstash (`concatenate_sources`) make it: of `|name|value|name|value|`, the
//! names in their order.
//!
//! With a key it is an HMAC, from which the values can't be found by trying. Not here: hashes of lists and objects, whose text is
//! not agreed upon.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use super::keyed::{Keyed, push_hex};
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Timestamp, Value, ValueRef};

/// `fingerprint: {fields, method, target, encoding, key, ignore_missing}`.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    fields: Vec<(String, FieldPath)>,
    pub method: Method,
    pub target: FieldPath,
    pub encoding: Encoding,
    /// A field that is not there is passed over; else it is a failure.
    pub ignore_missing: bool,
}

/// How it is made.
#[derive(Clone, Debug)]
pub enum Method {
    Sha256,
    /// HMAC-SHA-256.
    Keyed(Keyed),
    /// 64 bits, big-endian.
    Xxh3,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Hex,
    Base64,
}

impl Fingerprint {
    /// Of these fields, each once, in the order of their names.
    pub fn new(
        fields: Vec<FieldPath>,
        method: Method,
        target: FieldPath,
        encoding: Encoding,
        ignore_missing: bool,
    ) -> Self {
        let mut fields: Vec<(String, FieldPath)> = fields.into_iter().map(|field| (field.to_string(), field)).collect();
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        fields.dedup_by(|(a, _), (b, _)| a == b);
        Self { fields, method, target, encoding, ignore_missing }
    }

    /// What is hashed.
    fn source(&self, work: &Work<'_>) -> Result<String, Failed> {
        let mut source = String::new();
        for (name, path) in &self.fields {
            let value = match work.get(path) {
                None if self.ignore_missing => continue,
                None | Some(ValueRef::Array(_) | ValueRef::Object(_)) => return Err(Failed),
                Some(value) => value,
            };
            source.extend(["|", name, "|"]);
            push_value(&value, &mut source);
        }
        source.push('|');
        Ok(source)
    }
}

/// Appends a value as Go prints it (`%v`).
fn push_value(value: &ValueRef<'_>, out: &mut String) {
    // Writing to a String cannot fail.
    match value {
        ValueRef::Null => out.push_str("<nil>"),
        ValueRef::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        ValueRef::Int(number) => write!(out, "{number}").unwrap_or_default(),
        ValueRef::BigInt(digits) => out.push_str(digits),
        ValueRef::Float(number) => push_float(*number, out),
        ValueRef::Timestamp(time) => push_time(*time, out),
        ValueRef::Str(text) => out.push_str(text),
        ValueRef::Array(_) | ValueRef::Object(_) => {}
    }
}

/// With an exponent of two digits or more where the number is below 10^-4 or from 10^21 on.
fn push_float(number: f64, out: &mut String) {
    let is_plain = number == 0.0 || (1e-4..1e21).contains(&number.abs());
    if is_plain {
        return write!(out, "{number}").unwrap_or_default();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
            write!(out, "{digits}e{sign}{exponent:0>2}").unwrap_or_default();
        }
        // Infinite, or no number.
        None => out.push_str(match (number.is_nan(), number > 0.0) {
            (true, _) => "NaN",
            (_, true) => "+Inf",
            (_, false) => "-Inf",
        }),
    }
}

fn push_time(time: Timestamp, out: &mut String) {
    let civil = time.civil();
    let (year, month, day) = (civil.year, civil.month, civil.day);
    write!(out, "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", civil.hour, civil.minute, civil.second)
        .unwrap_or_default();
    if civil.nanosecond > 0 {
        let digits = format!("{:09}", civil.nanosecond);
        out.extend([".", digits.trim_end_matches('0')]);
    }
    out.push_str(" +0000 UTC");
}

impl Process for Fingerprint {
    fn name(&self) -> &'static str {
        "fingerprint"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let source = self.source(work)?;
        let hash = match &self.method {
            Method::Sha256 => Sha256::digest(source.as_bytes()).to_vec(),
            Method::Keyed(key) => key.hash(source.as_bytes()).to_vec(),
            Method::Xxh3 => xxh3_64(source.as_bytes()).to_be_bytes().to_vec(),
        };
        let mut text = String::new();
        match self.encoding {
            Encoding::Hex => push_hex(&hash, &mut text),
            Encoding::Base64 => STANDARD.encode_string(&hash, &mut text),
        }
        work.set(&self.target, Value::String(text.into()))?;
        Ok(Outcome::Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check_fields, path};
    use super::*;
    use serde_json::json;

    fn made(fields: &[&str], method: Method, encoding: Encoding) -> Fingerprint {
        let fields = fields.iter().map(|field| path(field)).collect();
        Fingerprint::new(fields, method, path("fingerprint"), encoding, true)
    }

    /// Guarantee: what coreutils and OpenSSL make of the same bytes.
    #[test]
    fn is_the_hash_of_names_and_values() {
        let of = |method, encoding, expect: &str| {
            // The order in which they are named does not matter, and neither does one twice.
            let made = made(&["b", "a", "b"], method, encoding);
            check_fields(made, json!({"a": "foo", "b": "bar"}), json!({"a": "foo", "b": "bar", "fingerprint": expect}));
        };
        of(Method::Sha256, Encoding::Hex, "33104892c51b108b5e76734d053dcca3d9994063f8a1ca03bfe604a1094336ef");
        of(Method::Sha256, Encoding::Base64, "MxBIksUbEItednNNBT3Mo9mZQGP4ocoDv+YEoQlDNu8=");
        of(
            Method::Keyed(Keyed::new(b"key")),
            Encoding::Hex,
            "ca0237a6288e534ffcf71822718a1be5261df6c79c7d85f0231fb13006459c1d",
        );
        of(Method::Xxh3, Encoding::Hex, &format!("{:016x}", xxh3_64(b"|a|foo|b|bar|")));
    }

    #[test]
    fn values_are_written_as_beats_writes_them() {
        for (value, expect) in [
            (ValueRef::Str("x".into()), "x"),
            (ValueRef::Int(-7), "-7"),
            (ValueRef::Bool(true), "true"),
            (ValueRef::Null, "<nil>"),
            (ValueRef::Float(1.5), "1.5"),
            (ValueRef::Float(100_000_000.0), "100000000"),
            (ValueRef::Float(1e21), "1e+21"),
            (ValueRef::Float(-2.5e-7), "-2.5e-07"),
            (ValueRef::Timestamp(Timestamp(1_764_084_943_120_000_000)), "2025-11-25 15:35:43.12 +0000 UTC"),
            (ValueRef::Timestamp(Timestamp(0)), "1970-01-01 00:00:00 +0000 UTC"),
        ] {
            let mut text = String::new();
            push_value(&value, &mut text);
            assert_eq!(text, expect);
        }
    }

    #[test]
    fn what_is_missing_and_what_is_no_plain_value() {
        let strict = || Fingerprint { ignore_missing: false, ..made(&["a", "none"], Method::Xxh3, Encoding::Hex) };
        check_fields(strict(), json!({"a": 1}), json!({"a": 1, "tags": ["a", "_fingerprint_failed"]}));
        let list = made(&["a"], Method::Xxh3, Encoding::Hex);
        check_fields(list, json!({"a": [1]}), json!({"a": [1], "tags": ["a", "_fingerprint_failed"]}));
        let below = Fingerprint { target: path("n.x"), ..made(&["n"], Method::Xxh3, Encoding::Hex) };
        check_fields(below, json!({"n": 1}), json!({"n": 1, "tags": ["a", "_fingerprint_failed"]}));
    }
}
