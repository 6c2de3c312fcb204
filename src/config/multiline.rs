//! `format` and `multiline` of an input: which of its forms `multiline` is, and what goes with that.

use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use crate::decode::multiline::{Kind, Match, Multiline};
use crate::decode::presets::Machine;
use crate::decode::{Format, JoinOptions, LineFilter};
use crate::input::stdin::RECORD_BYTES_MAX;

use super::check::{Checker, line_max};
use super::marked::Node;
use super::shape::or_words;
use super::written::{self, CommonInput, Config, Count, FormatName, LinePattern, MatchName, MultilineType};

/// What a record may be of a file, in raw bytes: what a crash reads again.
const FILE_RECORD_BYTES_MAX: u64 = 64 << 20;
const LINES_MAX: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(5);
const COUNT_MAX: u32 = 100_000;
const LINES_LIMIT: u32 = 1_000_000;

/// What says which lines belong together, in the order in which it is asked for.
const FORMS: [&str; 4] = ["preset", "pattern", "while", "count"];

/// The other keys.
const BESIDE: [&str; 8] =
    ["negate", "match", "flush_pattern", "type", "max_lines", "max_bytes", "timeout", "skip_newline"];

impl Checker<'_> {
    /// How the lines of an input become records; `Some(None)`: each is one. `format`: of a file.
    pub(super) fn joining(
        &mut self,
        name: &str,
        common: &dyn CommonInput,
        format: Option<FormatName>,
        multiline: Option<&written::Multiline>,
        filter: &LineFilter,
        config: &Config,
    ) -> Option<Option<Arc<JoinOptions>>> {
        let is_container = format.is_some_and(|format| format != FormatName::Lines);
        if is_container && common.fields_under_root() {
            for key in common.fields().keys().filter(|key| key.split('.').next() == Some("stream")) {
                let at = self.root.key_pos(&["inputs", name, "fields", key]);
                self.say(
                    at,
                    "`stream` is where the container wrote a line: with `fields_under_root`, it needs another name",
                );
            }
        }
        let multiline = match multiline {
            Some(multiline) => Some(self.multiline(name, multiline, config)?),
            None if is_container => None,
            None => return Some(None),
        };
        Some(Some(Arc::new(JoinOptions {
            format: match format {
                None | Some(FormatName::Lines) => Format::Lines,
                Some(FormatName::Cri) => Format::Cri,
                Some(FormatName::Docker) => Format::Docker,
                Some(FormatName::Auto) => Format::Auto,
            },
            multiline,
            line_bytes_max: usize::try_from(common.max_line_bytes().0).ok()?,
            raw_bytes_max: if format.is_some() { FILE_RECORD_BYTES_MAX } else { RECORD_BYTES_MAX },
            filter: filter.clone(),
        })))
    }

    fn multiline(&mut self, name: &str, multiline: &written::Multiline, config: &Config) -> Option<Multiline> {
        let path = ["inputs", name, "multiline"];
        let kind = self.kind(&path, multiline);
        let below = |key| [path.as_slice(), &[key]].concat();
        self.size_within(&below("max_bytes"), multiline.max_bytes, 128, line_max(config));
        if let Some(Count(lines)) = multiline.max_lines
            && !(1..=LINES_LIMIT).contains(&lines)
        {
            self.say_at(&below("max_lines"), format!("`max_lines` must be 1 to {LINES_LIMIT}"));
        }
        if let Some(timeout) = multiline.timeout.filter(|timeout| !timeout.0.is_zero()) {
            self.span_within(&below("timeout"), timeout, Duration::from_millis(10), Duration::from_secs(3600));
        }
        let kind = kind?;
        let counted = if let Kind::Count(lines) = kind { Some(lines) } else { None };
        let lines_max = match multiline.max_lines {
            Some(Count(lines)) => usize::try_from(lines).ok()?,
            None => counted.unwrap_or(LINES_MAX),
        };
        let timeout = match multiline.timeout {
            Some(timeout) => (!timeout.0.is_zero()).then_some(timeout.0),
            None => counted.is_none().then_some(TIMEOUT),
        };
        Some(Multiline {
            kind,
            lines_max,
            bytes_max: usize::try_from(multiline.max_bytes.0).ok()?,
            timeout,
            skip_newline: multiline.skip_newline,
        })
    }

    /// Which lines belong together.
    fn kind(&mut self, path: &[&str], multiline: &written::Multiline) -> Option<Kind> {
        let form = self.form(path, multiline)?;
        let foreign: &[&str] = match form {
            "pattern" => &[],
            "while" => &["match", "flush_pattern"],
            _ => &["negate", "match", "flush_pattern"],
        };
        for key in foreign {
            if !self.is_written(&[path, &[key]].concat()) {
                continue;
            }
            let at = self.root.key_pos(&[path, &[key]].concat());
            let goes_with = match *key {
                "negate" => "it goes with `pattern` or `while`",
                _ => "it goes with `pattern`",
            };
            self.say(at, format!("`{key}` means nothing with `{form}`: {goes_with}"));
        }
        let negate = multiline.negate;
        match form {
            "preset" => {
                let mut words: Vec<&str> = Vec::new();
                for word in multiline.preset.iter().map(|preset| preset.word()) {
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                // The words are those of the presets.
                let machines = words.into_iter().map(|word| Machine::new(word).map(Arc::new));
                Some(Kind::Presets(machines.collect::<Option<_>>()?))
            }
            "count" => {
                let count = multiline.count?.0;
                if !(1..=COUNT_MAX).contains(&count) {
                    self.say_at(&[path, &["count"]].concat(), format!("`count` must be 1 to {COUNT_MAX}"));
                    return None;
                }
                Some(Kind::Count(usize::try_from(count).ok()?))
            }
            "while" => {
                let pattern = multiline.while_pattern.as_ref().or(multiline.pattern.as_ref())?;
                Some(Kind::While { pattern: compiled(pattern)?, negate })
            }
            _ => Some(Kind::Pattern {
                pattern: compiled(multiline.pattern.as_ref()?)?,
                negate,
                place: match multiline.place {
                    Some(MatchName::Before) => Match::Before,
                    Some(MatchName::After) | None => Match::After,
                },
                flush: match &multiline.flush_pattern {
                    Some(flush) => Some(compiled(flush)?),
                    None => None,
                },
            }),
        }
    }

    /// A key there is none of ours, which was said: it may be the form, misspelt.
    fn has_unknown(&self, path: &[&str]) -> bool {
        let entries = self.root.find(path).and_then(Node::as_map).unwrap_or_default();
        entries.iter().any(|(key, _)| !FORMS.contains(&key.name.as_str()) && !BESIDE.contains(&key.name.as_str()))
    }

    /// The key that says it. What is written and wrong was said already, and is nothing here.
    fn form(&mut self, path: &[&str], multiline: &written::Multiline) -> Option<&'static str> {
        let below = |key| [path, &[key]].concat();
        let written: Vec<&'static str> = FORMS.into_iter().filter(|key| self.is_written(&below(key))).collect();
        let asked = match multiline.kind {
            None if self.is_written(&below("type")) => return None,
            None => None,
            Some(MultilineType::Pattern) => Some("pattern"),
            Some(MultilineType::Count) => Some("count"),
            Some(MultilineType::While | MultilineType::WhilePattern) => Some("while"),
        };
        match (written.as_slice(), asked) {
            ([], None) if self.has_unknown(path) => None,
            ([], None) => {
                self.say_at(path, format!("`multiline` says nothing: expected {}", or_words(FORMS.into_iter())));
                None
            }
            ([], Some(asked)) => {
                self.say_at(path, format!("`{asked}` is missing: expected what `type` asks for"));
                None
            }
            (["pattern"], Some("while")) => Some("while"),
            ([only], asked) if asked.is_none_or(|asked| asked == *only) => Some(only),
            ([only], _) => {
                let at = self.root.pos_of(&below("type"));
                self.say(
                    at,
                    format!("`type` asks for another form than `{only}`: leave it out, or write what it asks for"),
                );
                None
            }
            ([first, second, ..], _) => {
                let (first_at, second_at) = (self.root.key_pos(&below(first)), self.root.key_pos(&below(second)));
                self.say(first_at.max(second_at), format!("`{first}` and `{second}`: keep one"));
                None
            }
        }
    }
}

/// What was well-formed with the shape.
fn compiled(pattern: &LinePattern) -> Option<Regex> {
    Regex::new(&pattern.0).ok()
}
