//! Decoding (P): from raw bytes to events. [`lines`] splits at newlines; [`Charset`] is the `encoding` they are in;
//! [`LineFilter`] is `include_lines` and `exclude_lines`. Where lines are not records yet, a [`Joiner`] follows: [`cri`] and
//! [`docker`] are the `format`s of container runtimes, [`multiline`] says which lines belong together, by the rules of
//! [`presets`] for the stack traces of languages.
//!
//! Nothing here refuses input: what is too long is cut and marked, what is malformed in its encoding is marked, what is not of
//! its format is a record as it is, and tagged (DESIGN I7).

pub mod charset;
pub mod cri;
pub mod docker;
pub mod filter;
pub mod join;
pub mod lines;
pub mod multiline;
pub mod presets;

pub use charset::Charset;
pub use filter::LineFilter;
pub use join::{Format, JoinOptions, Joined, Joiner};
pub use lines::{
    LineHasher, LineOptions, LongLine, Split, cut_at_char, last_line, split_encoded, split_lines, split_lines_from,
};
