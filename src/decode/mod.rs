//! Decoding (P): from raw bytes to events. [`lines`] splits at newlines; [`LineFilter`] is `include_lines` and `exclude_lines`.
//!
//! Nothing here refuses input: what is too long is cut and marked, what is not UTF-8 is marked (DESIGN I7).

pub mod filter;
pub mod lines;

pub use filter::LineFilter;
pub use lines::{LineHasher, LineOptions, LongLine, Split, cut_at_char, last_line, split_lines, split_lines_from};
