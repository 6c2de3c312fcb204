//! What is wrong in the config files, and where. Collected, never thrown: one run reports them all (I9).
//!
//! A message says what was expected and, where one is near, the word that was probably meant. It never shows a value that
//! came out of a substitution or a secret's key.

use std::fmt;

/// A place in one of the config's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// Which of the files, in the order in which they are read; from 0.
    pub file: usize,
    /// From 1; 0: the file as a whole.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Pos {
    /// The first character of the first file.
    pub const START: Pos = Pos { file: 0, line: 1, column: 1 };

    /// A file as a whole.
    pub const fn whole(file: usize) -> Pos {
        Pos { file, line: 0, column: 0 }
    }
}

/// One mistake, or one warning, in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named on the command line.
    pub file: String,
    pub at: Pos,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.line == 0 {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(f, "{}:{}:{}: {}", self.file, self.at.line, self.at.column, self.message)
        }
    }
}

/// Mistakes of a config, in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    found: Vec<(Pos, String)>,
}

impl Mistakes {
    pub(crate) fn push(&mut self, at: Pos, message: impl Into<String>) {
        self.found.push((at, message.into()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn append(&mut self, mut more: Mistakes) {
        self.found.append(&mut more.found);
    }

    /// All of them in the order of the files, each once. `names`: those of the files.
    pub(crate) fn into_sorted(mut self, names: &[String]) -> Vec<Mistake> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.dedup();
        let name = |at: Pos| names.get(at.file).cloned().unwrap_or_default();
        self.found.into_iter().map(|(at, message)| Mistake { file: name(at), at, message }).collect()
    }
}

/// ` (did you mean …?)` if one of `words` is near enough to `got` to be what was meant, else nothing.
pub(crate) fn did_you_mean<'a>(got: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    nearest(got, words).map_or_else(String::new, |word| format!(" (did you mean `{word}`?)"))
}

/// The nearest word, if at most a third of it would have to change.
fn nearest<'a>(got: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let got = got.to_lowercase().replace('-', "_");
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&got, &word.to_lowercase().replace('-', "_")), word))
        .filter(|(distance, word)| *distance <= (word.chars().count().max(got.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["brokers", "topic", "max_bytes", "SCRAM-SHA-512"];
        let check = |got: &str, expect: Option<&str>| assert_eq!(nearest(got, words), expect, "{got}");
        check("broker", Some("brokers"));
        check("Topci", Some("topic"));
        check("max-byte", Some("max_bytes"));
        check("scram-sha512", Some("SCRAM-SHA-512"));
        check("compression", None);
        check("x", None);
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_files_each_once() {
        let mut mistakes = Mistakes::default();
        mistakes.push(Pos { file: 1, line: 1, column: 1 }, "d");
        mistakes.push(Pos { file: 0, line: 3, column: 1 }, "c");
        mistakes.push(Pos::whole(0), "a");
        mistakes.push(Pos { file: 0, line: 2, column: 9 }, "b");
        mistakes.push(Pos { file: 0, line: 3, column: 1 }, "c");
        let names = ["f.yaml".to_owned(), "g.yaml".to_owned()];
        let text: Vec<String> = mistakes.into_sorted(&names).iter().map(ToString::to_string).collect();
        assert_eq!(text, ["f.yaml: a", "f.yaml:2:9: b", "f.yaml:3:1: c", "g.yaml:1:1: d"]);
    }
}
