//! Places where a match can start, by its first four bytes (P).
//!
//! For each of the four a table says which of the ways to begin can have a byte there: a bit each. A place is looked at more
//! closely if one way has all four. Nothing has to be waited for on the way: an automaton must know the state behind one byte
//! before it can look up the next.
//!
//! ```text
//!   (?:Jan|Feb|\d\d) ..    table 1          table 2          table 3
//!                          J 001  F 010     a 001  e 010     n 001  b 010  any 100
//!                          0-9 100          0-9 100
//! ```
//! Not here: where a match can start by its first byte (see `search`).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;

use regex_automata::nfa::thompson::{Compiler, Config, NFA, State, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_syntax::hir::Hir;

/// Bytes of a match that are looked at.
const BYTES: usize = 4;
/// More ways to begin than this are not told apart, and twice as many not even in part.
const WAYS_MAX: usize = 32;
/// In a table, behind the bytes: the end of the text.
const END: usize = 256;

/// The tables of a pattern.
pub(super) struct Fronts {
    tables: Box<[[u32; END + 1]; BYTES]>,
}

impl fmt::Debug for Fronts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fronts")
    }
}

impl Fronts {
    /// Of what is matched one after the other. `None`: nothing can be told by the first bytes.
    pub(super) fn of(parts: impl Iterator<Item = Hir>) -> Option<Self> {
        let mut length = 0;
        let mut beginning = Vec::new();
        for part in parts {
            if length >= BYTES {
                break;
            }
            length += part.properties().minimum_len().unwrap_or(0);
            beginning.push(part);
        }
        let config = Config::new().nfa_size_limit(Some(1 << 20)).which_captures(WhichCaptures::None);
        let nfa = Compiler::new().configure(config).build_from_hir(&Hir::concat(beginning)).ok()?;
        let mut tables = Box::new([[0; END + 1]; BYTES]);
        let mut ways = HashMap::new();
        for (first, last, next) in steps(&nfa, [nfa.start_anchored()].into())? {
            let count = ways.len();
            let way = *ways.entry(next).or_insert(count);
            mark(&mut tables[0], first..=last, 1 << (way % WAYS_MAX));
        }
        if ways.len() > 2 * WAYS_MAX {
            return None;
        }
        for (next, way) in ways {
            let bit = 1 << (way % WAYS_MAX);
            let mut at = HashSet::from([next]);
            for level in 1..BYTES {
                let Some(found) = steps(&nfa, at) else {
                    tables[level..].iter_mut().flatten().for_each(|bits| *bits |= bit);
                    break;
                };
                for (first, last, _) in &found {
                    mark(&mut tables[level], *first..=*last, bit);
                }
                at = found.into_iter().map(|(_, _, next)| next).collect();
            }
        }
        Some(Self { tables })
    }

    /// The next place, in UTF-8. `None`: no match starts from here on.
    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        let [one, two, three, four] = &*self.tables;
        let is_one = |bytes: [usize; BYTES]| one[bytes[0]] & two[bytes[1]] & three[bytes[2]] & four[bytes[3]] != 0;
        let rest = text.get(from..)?;
        let found = rest.windows(BYTES).position(|bytes| is_one([0, 1, 2, 3].map(|at| usize::from(bytes[at]))));
        if let Some(at) = found {
            return Some(from + at);
        }
        let byte = |at: usize| text.get(at).map_or(END, |byte| usize::from(*byte));
        let mut short = from.max((text.len() + 1).saturating_sub(BYTES))..text.len();
        short.find(|at| is_one([byte(*at), byte(at + 1), byte(at + 2), byte(at + 3)]))
    }
}

/// Adds a way to these bytes of a table.
fn mark(table: &mut [u32], bytes: RangeInclusive<u8>, bit: u32) {
    table[usize::from(*bytes.start())..=usize::from(*bytes.end())].iter_mut().for_each(|bits| *bits |= bit);
}

/// The bytes that can come next, as ranges, and what is behind them. `None`: nothing more need come.
fn steps(nfa: &NFA, from: HashSet<StateID>) -> Option<Vec<(u8, u8, StateID)>> {
    let mut found = Vec::new();
    let mut open: Vec<StateID> = from.iter().copied().collect();
    let mut seen = from;
    while let Some(id) = open.pop() {
        let before = open.len();
        match nfa.state(id) {
            State::ByteRange { trans } => found.push((trans.start, trans.end, trans.next)),
            State::Sparse(all) => {
                found.extend(all.transitions.iter().map(|trans| (trans.start, trans.end, trans.next)))
            }
            State::Dense(all) => {
                found.extend((0..=255).filter_map(|byte| Some((byte, byte, all.matches_byte(byte)?))));
            }
            State::Look { next, .. } | State::Capture { next, .. } => open.push(*next),
            State::Union { alternates } => open.extend(alternates.iter()),
            State::BinaryUnion { alt1, alt2 } => open.extend([alt1, alt2]),
            State::Fail => {}
            State::Match { .. } => return None,
        }
        let new = open.split_off(before);
        open.extend(new.into_iter().filter(|next| seen.insert(*next)));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_syntax::Parser;

    use super::*;

    fn fronts(pattern: &str) -> Option<Fronts> {
        Fronts::of(std::iter::once(Parser::new().parse(pattern).expect("a pattern")))
    }

    fn places(pattern: &str, text: &str) -> Vec<usize> {
        let fronts = fronts(pattern).expect("a match has a byte at least");
        let mut from = 0;
        let next = || {
            let at = fronts.find(text.as_bytes(), from)?;
            from = at + 1;
            Some(at)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_place_is_one_where_one_way_has_all_its_bytes() {
        assert_eq!(places("(?:Jan|Feb|[0-9]{2}) ", "Jan Fen Jeb Feb 1a 123 12"), [0, 12, 20]);
        assert_eq!(places("a|bc", "xa b bc b"), [1, 5]);
        assert_eq!(places("ab*", "a xab"), [0, 3]);
        assert_eq!(places("é.", "eé1é"), [1]);
        assert!(fronts("a*").is_none() && fronts("").is_none());
        let many: Vec<String> = ('!'..='~').map(|c| regex_syntax::escape(&format!("{c}{c}"))).collect();
        assert!(fronts(&many.join("|")).is_none(), "too many ways to begin");
    }

    proptest! {
        /// Guarantee: wherever a match starts, there is a place.
        #[test]
        fn no_match_is_passed_over(
            pattern in "(?:[abé]|\\[a-cé\\]|\\.|[ab][?*+]|\\(a\\|bc?\\|\\[b-d\\]{1,3}\\)|b\\{2\\}){1,6}",
            text in "[abcdé]{0,12}",
        ) {
            let Some(fronts) = fronts(&pattern) else { return Ok(()) };
            let expected = regex_automata::meta::Regex::new(&format!("^(?:{pattern})")).expect("a pattern");
            for at in (0..text.len()).filter(|at| text.is_char_boundary(*at) && expected.is_match(&text[*at..])) {
                prop_assert_eq!(fronts.find(text.as_bytes(), at), Some(at), "{} in {}", pattern, text);
            }
        }
    }
}
