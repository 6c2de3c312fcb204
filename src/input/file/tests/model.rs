//! Random lives of a log against a simple model.
//!
//! The model knows which lines were written into which file and what may be lost by rights: bytes truncated away without a copy,
//! bytes of unlinked files after a crash, files that came and left the glob while nobody looked. Everything else must come
//! out; nothing that was not written may; nothing twice but what was settled and not committed before a crash; and each file
//! in its order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::world::{Line, Setup, World};
use crate::decode::multiline::{Kind, Match, Multiline};
use crate::decode::{Format, JoinOptions, LineFilter};

const NAME: &str = "a.log";

#[derive(Clone, Debug)]
enum Action {
    Append(usize),
    /// A line without its newline; the next append to the same file ends it.
    AppendPart,
    /// The writer still has the rotated file open.
    AppendLate,
    Rename,
    CopyTruncate,
    Truncate,
    Delete,
    DeleteOldest,
    Look,
    Read(usize),
    ReadUnsettled(usize),
    /// What is read is not taken.
    Hold(usize),
    Settle,
    Abandon,
    Commit,
    /// What comes next, until somebody looks, happens while the agent is not there.
    Restart,
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (1usize..6).prop_map(Action::Append),
        2 => Just(Action::AppendPart),
        1 => Just(Action::AppendLate),
        3 => Just(Action::Rename),
        3 => Just(Action::CopyTruncate),
        1 => Just(Action::Truncate),
        1 => Just(Action::Delete),
        1 => Just(Action::DeleteOldest),
        8 => Just(Action::Look),
        6 => (1usize..8).prop_map(Action::Read),
        2 => (1usize..4).prop_map(Action::ReadUnsettled),
        2 => (1usize..200).prop_map(Action::Hold),
        2 => Just(Action::Settle),
        1 => Just(Action::Abandon),
        2 => Just(Action::Commit),
        1 => Just(Action::Restart),
        1 => Just(Action::Crash),
    ]
}

/// One file of the model.
#[derive(Clone, Default)]
struct Content {
    lines: Vec<usize>,
    /// The last line has no newline.
    is_open: bool,
    /// Somebody looked while it had its name.
    seen: bool,
    /// And while there was something in it.
    seen_content: bool,
    /// It is open: deleting it loses nothing.
    held: bool,
    is_copy: bool,
}

struct Model {
    world: World,
    in_glob: bool,
    files: BTreeMap<String, Content>,
    written: usize,
    settled: BTreeSet<usize>,
    /// Settled, but a crash would forget it.
    uncommitted: BTreeSet<usize>,
    may_be_lost: BTreeSet<usize>,
    /// Lost if there is a crash before they are settled.
    fragile: BTreeSet<usize>,
    may_repeat: BTreeSet<usize>,
    /// What was written, each with its own line breaks.
    texts: Vec<String>,
    /// Records of several lines are written.
    is_joined: bool,
    ends: HashMap<crate::batch::SourceKey, u64>,
}

fn text(line: usize, is_joined: bool) -> String {
    let more = if is_joined { line % 4 } else { 0 };
    format!("line {line:04} {}{}", "x".repeat(line % 7 * 13), "\n\tat more".repeat(more))
}

fn joining() -> Arc<JoinOptions> {
    let pattern = regex::bytes::Regex::new(r"^\s").expect("a good expression");
    let kind = Kind::Pattern { pattern, negate: false, place: Match::After, flush: None };
    let timeout = Some(Duration::from_millis(20));
    Arc::new(JoinOptions {
        format: Format::Lines,
        multiline: Some(Multiline { kind, lines_max: 500, bytes_max: 1000, timeout, skip_newline: false }),
        line_bytes_max: 1000,
        raw_bytes_max: 1 << 20,
        filter: LineFilter::default(),
    })
}

impl Model {
    fn new(in_glob: bool, is_joined: bool) -> Model {
        let setup =
            Setup { joining: is_joined.then(joining), ..Setup::of(if in_glob { &["a.log*"] } else { &[NAME] }) };
        Model {
            world: World::started(setup),
            in_glob,
            files: BTreeMap::new(),
            written: 0,
            settled: BTreeSet::new(),
            uncommitted: BTreeSet::new(),
            may_be_lost: BTreeSet::new(),
            fragile: BTreeSet::new(),
            may_repeat: BTreeSet::new(),
            texts: Vec::new(),
            is_joined,
            ends: HashMap::new(),
        }
    }

    fn append(&mut self, name: &str, lines: usize, part: bool) {
        let file = self.files.entry(name.to_owned()).or_default();
        let mut bytes = String::new();
        for n in 0..lines {
            if std::mem::take(&mut file.is_open) {
                bytes.push('\n');
            }
            // The rest of a record must not come later than it may be open.
            let is_part = part && n + 1 == lines;
            let text = text(self.written, self.is_joined && !is_part);
            bytes += &text;
            self.texts.push(text);
            file.lines.push(self.written);
            self.written += 1;
            if is_part {
                file.is_open = true;
            } else {
                bytes.push('\n');
            }
        }
        self.world.append(name, &bytes);
    }

    fn unsettled(&self, content: &Content) -> Vec<usize> {
        content.lines.iter().copied().filter(|line| !self.settled.contains(line)).collect()
    }

    fn lose(&mut self, content: &Content) {
        self.may_be_lost.extend(self.unsettled(content));
    }

    /// A file that is first seen under a rotated name, when nothing has the name it was rotated from, may still grow: its
    /// unterminated line waits.
    fn lose_part(&mut self, seen: bool, content: &Content) {
        if !seen && content.is_open {
            self.may_be_lost.extend(content.lines.last());
        }
    }

    /// Makes room at `.1`.
    fn shift(&mut self) {
        let mut names: Vec<usize> =
            self.files.keys().filter_map(|name| name.strip_prefix("a.log.")?.parse().ok()).collect();
        names.sort_unstable();
        for n in names.into_iter().rev() {
            let (from, to) = (format!("a.log.{n}"), format!("a.log.{}", n + 1));
            self.world.rename(&from, &to);
            let content = self.files.remove(&from).expect("listed");
            self.files.insert(to, content);
        }
    }

    fn rename(&mut self) {
        if !self.files.contains_key(NAME) {
            return;
        }
        self.shift();
        self.world.rename(NAME, "a.log.1");
        let content = self.files.remove(NAME).expect("looked");
        if !self.in_glob && !content.seen {
            self.lose(&content);
        }
        self.lose_part(content.seen, &content);
        self.files.insert("a.log.1".to_owned(), content);
    }

    fn copytruncate(&mut self) {
        if !self.files.contains_key(NAME) {
            return;
        }
        self.shift();
        self.world.copytruncate(NAME, "a.log.1");
        let content = self.files.remove(NAME).expect("looked");
        if !self.in_glob && !content.seen_content {
            self.lose(&content);
        }
        self.lose_part(content.seen_content, &content);
        let rest = Content { seen: content.seen, held: content.held, ..Content::default() };
        self.files.insert(NAME.to_owned(), rest);
        // The copy has been seen by nobody, until somebody looks.
        let copy = Content { seen: false, held: false, is_copy: true, ..content };
        self.files.insert("a.log.1".to_owned(), copy);
    }

    fn delete(&mut self, name: &str) {
        let Some(content) = self.files.remove(name) else { return };
        self.world.remove(name);
        if content.held {
            self.fragile.extend(self.unsettled(&content));
        } else {
            self.lose(&content);
        }
    }

    /// Starts the agent if it is not there; it looks at everything first.
    fn start(&mut self) {
        if self.world.input.is_none() {
            self.world.reopen();
            self.look();
        }
    }

    fn look(&mut self) {
        if self.world.input.is_none() {
            self.world.reopen();
        }
        self.world.look();
        for content in self.files.values_mut() {
            // After a restart, what was read and settled is opened only when it grows.
            let is_news = content.lines.iter().any(|line| !self.settled.contains(line));
            content.held |= is_news || !content.seen && !content.is_copy;
            content.seen = true;
            content.seen_content |= !content.lines.is_empty();
        }
    }

    /// What has been settled by now.
    fn account(&mut self) -> Result<(), TestCaseError> {
        for Line { key, offset, length, text: found, .. } in self.world.host.take_settled_lines() {
            let number = found.strip_prefix("line ").and_then(|rest| rest.get(..4)?.parse().ok());
            // What is lost may be the end of a record.
            let is_written = |line: usize| {
                let written = self.texts.get(line).is_some_and(|text| *text == found);
                let begun = || self.texts.get(line).is_some_and(|text| text.starts_with(&format!("{found}\n")));
                written || self.may_be_lost.contains(&line) && begun()
            };
            let Some(line) = number.filter(|line| is_written(*line)) else {
                return Err(TestCaseError::fail(format!("{found:?} was never written")));
            };
            let end = self.ends.entry(key).or_default();
            prop_assert!(
                offset >= *end || self.may_repeat.contains(&line),
                "line {line} at {offset} comes after {end} of the same file"
            );
            *end = offset + length;
            prop_assert!(
                self.settled.insert(line) || self.may_repeat.contains(&line),
                "line {line} comes twice and nothing had crashed"
            );
            self.uncommitted.insert(line);
        }
        Ok(())
    }

    /// The process is gone: descriptors are closed, what was not committed is forgotten.
    fn restarted(&mut self) {
        let unsettled: Vec<usize> = self.fragile.iter().copied().filter(|line| !self.settled.contains(line)).collect();
        self.may_be_lost.extend(unsettled);
        self.fragile.clear();
        self.ends.clear();
        self.may_repeat.append(&mut self.uncommitted);
        for content in self.files.values_mut() {
            content.seen &= !content.is_copy;
            content.held = false;
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match *action {
            Action::Append(lines) => self.append(NAME, lines, false),
            Action::AppendPart => self.append(NAME, 1, true),
            Action::AppendLate => {
                let late = self.files.get("a.log.1").filter(|late| !late.is_copy && !late.is_open).cloned();
                if let Some(late) = late {
                    // What is settled to its end is closed, until somebody sees that it has grown.
                    if self.unsettled(&late).is_empty() {
                        self.files.insert("a.log.1".to_owned(), Content { held: false, ..late });
                    }
                    self.append("a.log.1", 1, false);
                    // It may have been let go after the time it was given.
                    if !self.in_glob {
                        self.may_be_lost.insert(self.written - 1);
                    }
                }
            }
            Action::Rename => self.rename(),
            Action::CopyTruncate => self.copytruncate(),
            Action::Truncate => {
                if let Some(content) = self.files.get(NAME).cloned() {
                    self.lose(&content);
                    self.world.truncate(NAME);
                    let rest = Content { seen: content.seen, held: content.held, ..Content::default() };
                    self.files.insert(NAME.to_owned(), rest);
                }
            }
            Action::Delete => self.delete(NAME),
            Action::DeleteOldest => {
                let rotated = self.files.keys().filter_map(|name| name.strip_prefix("a.log.")?.parse::<usize>().ok());
                if let Some(oldest) = rotated.max() {
                    self.delete(&format!("a.log.{oldest}"));
                }
            }
            Action::Look => self.look(),
            Action::Read(steps) | Action::ReadUnsettled(steps) => {
                self.start();
                for _ in 0..steps {
                    self.world.host.step(64, matches!(action, Action::Read(_)));
                }
            }
            Action::Hold(bytes) => {
                self.start();
                self.world.host.hold(bytes);
            }
            Action::Settle => {
                self.start();
                self.world.host.settle_all();
            }
            Action::Abandon => {
                self.start();
                self.world.host.abandon_all();
            }
            Action::Commit => {
                self.start();
                self.account()?;
                self.world.commit();
                self.uncommitted.clear();
            }
            Action::Restart => {
                self.account()?;
                self.start();
                self.world.stop();
                self.uncommitted.clear();
                self.restarted();
            }
            Action::Crash => {
                self.account()?;
                self.start();
                self.world.kill();
                self.restarted();
            }
        }
        self.account()
    }

    fn finish(mut self) -> Result<(), TestCaseError> {
        if self.files.get(NAME).is_some_and(|file| file.is_open) {
            self.world.append(NAME, "\n");
        }
        self.start();
        self.world.host.settle_all();
        self.world.run();
        self.account()?;
        let missing: Vec<usize> =
            (0..self.written).filter(|line| !self.settled.contains(line) && !self.may_be_lost.contains(line)).collect();
        prop_assert!(missing.is_empty(), "lines {missing:?} are missing: {:#?}", self.world.input().snapshot());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4000, max_shrink_time: 30_000, ..ProptestConfig::with_cases(48) })]

    /// Scenario: a log, of lines or of records of up to four lines that are joined, is written, rotated by rename and by copy, truncated and deleted, while its reader looks now and
    /// then, is held back, abandons, commits, restarts and crashes.
    /// Guarantee: what the header says.
    #[test]
    fn a_log_has_any_life(
        in_glob in any::<bool>(), is_joined in any::<bool>(), actions in proptest::collection::vec(action(), 1..60),
    ) {
        let mut model = Model::new(in_glob, is_joined);
        for action in &actions {
            model.act(action)?;
        }
        model.finish()?;
    }
}
