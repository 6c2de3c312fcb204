//! Decoding (P): from raw bytes to events. [`lines`] splits at newlines; [`Charset`] is the `encoding` they are in;
//! [`LineFilter`] is `include_lines` and `exclude_lines`.
//!
//! Nothing here refuses input: what is too long is cut and marked, what is malformed in its encoding is marked (DESIGN I7).

pub mod charset;
pub mod filter;
pub mod lines;

pub use charset::Charset;
pub use filter::LineFilter;
pub use lines::{
    LineHasher, LineOptions, LongLine, Split, cut_at_char, last_line, split_encoded, split_lines, split_lines_from,
};
