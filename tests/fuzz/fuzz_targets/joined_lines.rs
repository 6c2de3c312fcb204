//! Fuzzing `targets::joined_lines`; what it checks and what it refuses to check stands there.

#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "the other targets are other programs")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::joined_lines(bytes));
