//! `engine: backtracking`: a tree written for the crate fancy-regex, which has backreferences, and a limit on its steps (P).
//!
//! The user's explicit choice only: a line can make it take the whole limit.

use std::fmt::Write as _;

use fancy_regex::{Regex, RegexBuilder};

use super::ast::{Assert, Choice, Node};
use super::search::{GaveUp, Span};

/// Steps for one line; what needs more is given up.
const STEPS_MAX: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct Backtracker {
    regex: Regex,
    groups: usize,
}

impl Backtracker {
    pub(super) fn new(root: &Node, groups: usize) -> Result<Self, String> {
        let mut builder = RegexBuilder::new(&text_of(root));
        let regex = builder.backtrack_limit(STEPS_MAX).build().map_err(|error| error.to_string())?;
        Ok(Self { regex, groups })
    }

    /// As `Matcher::find`; a text that is no UTF-8 has no match.
    pub(super) fn find(&self, text: &[u8], slots: &mut Vec<u32>) -> Result<Option<Span>, GaveUp> {
        let Ok(text) = std::str::from_utf8(text) else { return Ok(None) };
        let Some(captures) = self.regex.captures(text).map_err(|_| GaveUp)? else { return Ok(None) };
        slots.clear();
        slots.resize(self.groups * 2, u32::MAX);
        for (index, pair) in slots.chunks_exact_mut(2).enumerate() {
            if let Some(group) = captures.name(&format!("g{index}")) {
                pair.copy_from_slice(&[group.start() as u32, group.end() as u32]);
            }
        }
        Ok(captures.get(0).map(|whole| Span { start: whole.start(), end: whole.end() }))
    }
}

/// The tree in the syntax of fancy-regex; groups are named by their index.
pub(super) fn text_of(node: &Node) -> String {
    let mut text = String::new();
    write(node, &mut text);
    text
}

fn write(node: &Node, out: &mut String) {
    match node {
        Node::Empty | Node::Passed(_) => out.push_str("(?:)"),
        Node::Set(set) if set.ranges().is_empty() => out.push_str("(?!)"),
        Node::Set(set) => {
            out.push('[');
            for range in set.ranges() {
                let written = write!(out, "\\x{{{:X}}}-\\x{{{:X}}}", u32::from(range.start()), u32::from(range.end()));
                written.expect("a String takes everything");
            }
            out.push(']');
        }
        Node::Concat(nodes) => nodes.iter().for_each(|node| write(node, out)),
        Node::Alt(nodes) => {
            out.push_str("(?:");
            for (index, node) in nodes.iter().enumerate() {
                if index > 0 {
                    out.push('|');
                }
                write(node, out);
            }
            out.push(')');
        }
        Node::Repeat { node, min, max, choice } => {
            let is_atomic = *choice == Choice::Possessive;
            out.push_str(if is_atomic { "(?>(?:" } else { "(?:" });
            write(node, out);
            match max {
                Some(max) => out.push_str(&format!("){{{min},{max}}}")),
                None => out.push_str(&format!("){{{min},}}")),
            }
            out.push_str(match choice {
                Choice::Lazy => "?",
                Choice::Greedy => "",
                Choice::Possessive => ")",
            });
        }
        Node::Capture(index, node) => {
            out.push_str(&format!("(?<g{index}>"));
            write(node, out);
            out.push(')');
        }
        Node::Atomic(node) => {
            out.push_str("(?>");
            write(node, out);
            out.push(')');
        }
        Node::Look { is_behind, is_negative, node } => {
            out.push_str(match (is_behind, is_negative) {
                (false, false) => "(?=",
                (false, true) => "(?!",
                (true, false) => "(?<=",
                (true, true) => "(?<!",
            });
            write(node, out);
            out.push(')');
        }
        Node::Assert(assert) => out.push_str(match assert {
            Assert::LineStart => r"(?:\A|(?<=\n)(?!\z))",
            Assert::LineEnd => r"(?=\n|\z)",
            Assert::TextStart => r"\A",
            Assert::TextEnd => r"\z",
            Assert::TextEndNewline => r"(?=\n?\z)",
            Assert::WordEdge => r"\b",
            Assert::NoWordEdge => r"\B",
        }),
        Node::Keep => out.push_str(r"\K"),
        Node::Backreference(groups) => {
            // The last that is set counts.
            out.push_str("(?:");
            for (index, group) in groups.iter().rev().enumerate() {
                out.push_str(&format!("{}\\k<g{group}>", if index > 0 { "|" } else { "" }));
            }
            out.push(')');
        }
    }
}
