//! Tests of a config as they are written in YAML, for `logferry test`: read with the place of everything, all mistakes at once.
//!
//! ```yaml
//! config: web.yaml                  # a file, a directory or a list of them, from here
//! now: 2026-03-01T12:00:00Z         # the time of reading
//! tests:
//! - name: a request is parsed
//!   input: access
//!   lines: ['127.0.0.1 - - [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 12']
//!   expect: [{ fields: { verb: GET }, topic: logs.parsed }]
//! ```
//!
//! Not here: running them, and what of a record is compared ([`crate::cli::test`]).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::checked::{Checked, CheckedInput};
use super::marked::{self, Data, Key, Node};
use super::mistake::{Mistake, Mistakes, Pos, did_you_mean};
use super::{ConfigFile, World, shape};
use crate::event::{FieldPath, Timestamp};

const FILE_KEYS: &[&str] = &["config", "now", "tests"];
const TEST_KEYS: &[&str] = &["name", "input", "output", "path", "now", "lines", "events", "expect"];
const EXPECT_KEYS: &[&str] = &["fields", "record", "topic", "key", "headers", "dead_letter"];

/// A file of tests.
#[derive(Debug)]
pub struct TestFile {
    /// As it was named.
    pub name: String,
    /// The files and directories of the config that is tested.
    pub config: Vec<PathBuf>,
    pub tests: Vec<Test>,
}

/// What goes in, and what is to come out.
#[derive(Debug)]
pub struct Test {
    pub at: Pos,
    pub name: String,
    input: Option<Spot<String>>,
    output: Option<Spot<String>>,
    /// The file that the lines are said to come from.
    pub path: Option<String>,
    /// The time of reading; `None`: the machine's.
    pub now: Option<Timestamp>,
    pub given: Given,
    /// One for each event that goes in, in order.
    pub expect: Vec<Expect>,
}

/// What goes in.
#[derive(Debug)]
pub enum Given {
    Lines(Vec<String>),
    /// The fields of each.
    Events(Vec<Map<String, Value>>),
}

/// What is to become of one event.
#[derive(Debug)]
pub struct Expect {
    pub at: Pos,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    Dropped,
    Record(Box<Expected>),
}

/// What a record is to be, as far as it is said.
#[derive(Debug, Default)]
pub struct Expected {
    /// These fields of its value, and others beside.
    pub fields: Vec<Leaf>,
    /// It is for the dead letter, since the processor of this name failed.
    pub dead_letter: Option<Spot<String>>,
    /// Its value.
    pub record: Option<Spot<Whole>>,
    pub topic: Option<Spot<String>>,
    /// `None` in it: no key.
    pub key: Option<Spot<Option<String>>>,
    /// By name; `None`: there is no such header.
    pub headers: Vec<(String, Spot<Option<String>>)>,
}

/// A whole value.
#[derive(Debug)]
pub enum Whole {
    Fields(Vec<Leaf>),
    /// Of a codec that does not write JSON.
    Text(String),
}

/// A field that holds no further ones.
#[derive(Debug)]
pub struct Leaf {
    pub at: Pos,
    /// The keys on the way, as they are written.
    pub keys: Vec<String>,
    /// The same, where a key such as `a.b` or `[a][b]` leads over several fields.
    pub path: Vec<String>,
    /// `null`: there is no such field, or it is null.
    pub value: Value,
}

/// Something that is written, and where.
#[derive(Debug)]
pub struct Spot<T> {
    pub at: Pos,
    pub is: T,
}

/// Where the lines of a test go.
pub struct Ends<'a> {
    pub input: &'a CheckedInput,
    /// The number of the output among those of the input.
    pub target: usize,
}

/// Reads a file of tests.
///
/// # Errors
/// All mistakes in it, in order. At least one.
pub fn load(path: &Path, world: &dyn World) -> Result<TestFile, Vec<Mistake>> {
    let name = path.display().to_string();
    let text = match world.read(path) {
        Ok(bytes) => super::text_of(&bytes),
        Err(error) => {
            let message = format!("cannot read the test file: {error}");
            return Err(vec![Mistake { file: name, at: Pos::whole(0), message }]);
        }
    };
    let mut mistakes = Mistakes::default();
    let parsed = super::parsed(0, &ConfigFile { name: name.clone(), text }, &mut mistakes);
    let file = Reader { mistakes: &mut mistakes }.file(&name, path, &parsed);
    if mistakes.is_empty() { Ok(file) } else { Err(mistakes.into_sorted(&[name])) }
}

impl TestFile {
    /// Where the lines of a test go in this config.
    ///
    /// # Errors
    /// The input or the output is not named and there are several, or there is none of this name.
    pub fn ends<'a>(&self, test: &Test, checked: &'a Checked) -> Result<Ends<'a>, Mistake> {
        let inputs = || checked.inputs.iter().map(|input| input.name.as_str());
        let wrong = |at, message| Mistake { file: self.name.clone(), at, message };
        let place =
            chosen("input", test.input.as_ref(), test.at, inputs).map_err(|(at, message)| wrong(at, message))?;
        let input = &checked.inputs[place];
        let outputs = || input.routes.iter().map(|route| route.output.as_str());
        let target = chosen("output", test.output.as_ref(), test.at, outputs);
        Ok(Ends { input, target: target.map_err(|(at, message)| wrong(at, message))? })
    }
}

/// The place of the one that is named; of the only one, if none is.
fn chosen<'a, I: Iterator<Item = &'a str>>(
    what: &str,
    named: Option<&Spot<String>>,
    test: Pos,
    all: impl Fn() -> I,
) -> Result<usize, (Pos, String)> {
    let list = || all().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match named {
        None if all().count() == 1 => Ok(0),
        None => Err((test, format!("`{what}` is missing: expected one of {}", list()))),
        Some(named) => all().position(|name| name == named.is).ok_or_else(|| {
            let hint = did_you_mean(&named.is, all());
            let rest = if hint.is_empty() { format!(": expected one of {}", list()) } else { hint };
            (named.at, format!("there is no {what} `{}`{rest}", named.is))
        }),
    }
}

struct Reader<'a> {
    mistakes: &'a mut Mistakes,
}

impl Reader<'_> {
    fn file(&mut self, name: &str, path: &Path, parsed: &marked::Parsed) -> TestFile {
        let root = &parsed.root;
        let entries = self.map(root, "the file", FILE_KEYS);
        let folder = path.parent().unwrap_or(Path::new(""));
        let find = |name: &str| find(entries, name);
        // What is in a broken section is not missing.
        let is_broken = |name: &str| parsed.broken.iter().any(|broken| broken == name || broken.is_empty());
        let config = match find("config") {
            Some((_, Node { data: Data::List(items), .. })) => {
                items.iter().filter_map(|item| self.text(item)).collect()
            }
            Some((_, node)) => self.text(node).into_iter().collect(),
            None => Vec::new(),
        };
        if config.is_empty() && self.mistakes.is_empty() && !is_broken("config") {
            self.mistakes.push(Pos::START, "`config` is missing: expected the file of the config that is tested");
        }
        let now = find("now").and_then(|(_, node)| self.time(node));
        let tests = match find("tests") {
            Some((_, node)) if matches!(&node.data, Data::List(tests) if tests.is_empty()) => {
                self.say::<()>(node.at, "`tests` is empty: expected at least one");
                Vec::new()
            }
            Some((key, node)) => self.list(key, node).iter().filter_map(|node| self.test(node, now)).collect(),
            None => Vec::new(),
        };
        if find("tests").is_none() && !is_broken("tests") {
            self.mistakes.push(Pos::START, "`tests` is missing: expected a list of tests");
        }
        TestFile { name: name.to_owned(), config: config.into_iter().map(|one| folder.join(one.is)).collect(), tests }
    }

    fn test(&mut self, node: &Node, now: Option<Timestamp>) -> Option<Test> {
        node.as_map().or_else(|| self.say(node.at, "expected a test: a map with `name`, `lines` and `expect`"))?;
        let entries = self.map(node, "a test", TEST_KEYS);
        let find = |name: &str| find(entries, name);
        let mut text = |name: &str| find(name).and_then(|(_, node)| self.text(node));
        let (name, input, output, path) = (text("name"), text("input"), text("output"), text("path"));
        if find("name").is_none() {
            self.say::<()>(node.at, "`name` is missing: expected what is tested, in words");
        }
        let now = find("now").map_or(now, |(_, node)| self.time(node));
        let given = match (find("lines"), find("events")) {
            (Some((key, lines)), None) => Some(Given::Lines(self.lines(key, lines))),
            (None, Some((key, events))) => Some(Given::Events(self.events(key, events))),
            (Some(_), Some((key, _))) => {
                self.say(key.at, "`lines` is already written: keep one of `lines` and `events`")
            }
            (None, None) => {
                self.say(node.at, "`lines` is missing: expected a list of texts, or `events`, a list of maps")
            }
        };
        let expect = match find("expect") {
            Some((key, expect)) => {
                Some(self.list(key, expect).iter().filter_map(|item| self.expect(item)).collect::<Vec<_>>())
            }
            None => self.say(node.at, "`expect` is missing: expected a list, one item for each event that goes in"),
        };
        let path = path.map(|path| path.is);
        Some(Test { at: node.at, name: name?.is, input, output, path, now, given: given?, expect: expect? })
    }

    fn lines(&mut self, key: &Key, node: &Node) -> Vec<String> {
        self.list(key, node).iter().filter_map(|item| self.text(item)).map(|line| line.is).collect()
    }

    fn events(&mut self, key: &Key, node: &Node) -> Vec<Map<String, Value>> {
        let mut events = Vec::new();
        for item in self.list(key, node) {
            match shape::any(item) {
                Some(Value::Object(fields)) => events.push(fields),
                _ => drop(self.say::<()>(item.at, "expected an event: a map of its fields")),
            }
        }
        events
    }

    fn expect(&mut self, node: &Node) -> Option<Expect> {
        let at = node.at;
        if let Some(word) = node.as_scalar() {
            return match word.text.as_str() {
                "dropped" => Some(Expect { at, outcome: Outcome::Dropped }),
                _ => self.say(
                    at,
                    "expected `dropped`, or a map with `fields`, `record`, `topic`, `key`, `headers` or `dead_letter`",
                ),
            };
        }
        let entries = self.map(node, "an item of `expect`", EXPECT_KEYS);
        let find = |name: &str| find(entries, name);
        if entries.is_empty() {
            return self.say(
                at,
                "this item expects nothing: write `fields`, `record`, `topic`, `key`, `headers` or `dead_letter`",
            );
        }
        let mut expected = Expected::default();
        if let Some((key, node)) = find("fields") {
            match node.as_map() {
                Some(_) => self.leaves(node, &mut (Vec::new(), Vec::new()), &mut expected.fields),
                None => drop(self.say::<()>(key.at, "`fields` takes a map of fields")),
            }
        }
        if let Some((_, node)) = find("record") {
            let is = if node.as_map().is_some() {
                let mut leaves = Vec::new();
                self.leaves(node, &mut (Vec::new(), Vec::new()), &mut leaves);
                Whole::Fields(leaves)
            } else {
                Whole::Text(self.text(node)?.is)
            };
            expected.record = Some(Spot { at: node.at, is });
        }
        expected.dead_letter = find("dead_letter").and_then(|(_, node)| self.text(node));
        expected.topic = find("topic").and_then(|(_, node)| self.text(node));
        expected.key = find("key").and_then(|(_, node)| self.text_or_none(node));
        if let Some((key, node)) = find("headers") {
            let Some(headers) = node.as_map() else {
                return self.say(key.at, "`headers` takes a map of names and texts");
            };
            for (key, node) in headers {
                expected.headers.extend(self.text_or_none(node).map(|text| (key.name.clone(), text)));
            }
        }
        Some(Expect { at, outcome: Outcome::Record(Box::new(expected)) })
    }

    /// The fields below `node`; `above`: the keys on the way to it, as written and as what they lead over.
    fn leaves(&mut self, node: &Node, above: &mut (Vec<String>, Vec<String>), leaves: &mut Vec<Leaf>) {
        for (key, value) in node.as_map().unwrap_or_default() {
            let path = match FieldPath::parse(&key.name) {
                Ok(path) => path,
                Err(error) => {
                    let message = format!("expected the name of a field: {}", error.message);
                    self.mistakes.push(Pos { column: key.at.column + error.at, ..key.at }, message);
                    continue;
                }
            };
            let (keys_above, path_above) = (above.0.len(), above.1.len());
            above.0.push(key.name.clone());
            above.1.extend(path.segments().iter().map(|segment| segment.to_string()));
            if value.as_map().is_some_and(|below| !below.is_empty()) {
                self.leaves(value, above, leaves);
            } else if let Some(value) = shape::any(value) {
                leaves.push(Leaf { at: key.at, keys: above.0.clone(), path: above.1.clone(), value });
            }
            above.0.truncate(keys_above);
            above.1.truncate(path_above);
        }
    }

    fn map<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> &'n [(Key, Node)] {
        let entries = node.as_map().unwrap_or_default();
        if node.as_map().is_none() {
            self.mistakes.push(node.at, format!("{what} is a map: expected {}", words(known)));
        }
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let hint = did_you_mean(&key.name, known.iter().copied());
            let rest = if hint.is_empty() { format!(": expected {}", words(known)) } else { hint };
            self.mistakes.push(key.at, format!("unknown key `{}` in {what}{rest}", key.name));
        }
        entries
    }

    fn list<'n>(&mut self, key: &Key, node: &'n Node) -> &'n [Node] {
        match &node.data {
            Data::List(items) => items,
            _ => {
                self.mistakes.push(key.at, format!("`{}` takes a list", key.name));
                &[]
            }
        }
    }

    /// A scalar as it is written: a number, too.
    fn text(&mut self, node: &Node) -> Option<Spot<String>> {
        match node.as_scalar() {
            Some(scalar) if scalar.quoted || !node.is_null() => Some(Spot { at: node.at, is: scalar.text.clone() }),
            _ => self.say(node.at, "expected a text"),
        }
    }

    fn text_or_none(&mut self, node: &Node) -> Option<Spot<Option<String>>> {
        if node.is_null() {
            return Some(Spot { at: node.at, is: None });
        }
        self.text(node).map(|text| Spot { at: text.at, is: Some(text.is) })
    }

    fn time(&mut self, node: &Node) -> Option<Timestamp> {
        let time = node.as_scalar().and_then(|scalar| Timestamp::parse(&scalar.text));
        time.or_else(|| self.say(node.at, "expected a time such as `2026-03-01T12:00:00Z`"))
    }

    fn say<T>(&mut self, at: Pos, message: &str) -> Option<T> {
        self.mistakes.push(at, message);
        None
    }
}

fn find<'n>(entries: &'n [(Key, Node)], name: &str) -> Option<&'n (Key, Node)> {
    entries.iter().find(|(key, _)| key.name == name)
}

fn words(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
