//! YAML with the place of every key and value.
//!
//! A tree of [`Node`]s, built from the parser's events so that duplicate keys keep both places, scalars keep how they were
//! written, and a broken file still yields the top-level sections that can be read. Anchors, aliases and `<<` are
//! resolved here; tags other than YAML's own are refused. What a scalar means (a number, a word) is decided by who knows
//! what is expected there, not here.

use std::collections::HashMap;

use saphyr::{Scalar as Core, ScalarStyle};
use saphyr_parser::{Event, Parser, Span, Tag};

use super::mistake::{Mistakes, Pos};

/// Values nested deeper than this are refused: no config needs it, and what walks the tree recurses.
const DEPTH_MAX: usize = 32;
/// Aliases may not blow the tree up beyond this many nodes.
const NODES_MAX: usize = 200_000;

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Pos,
    pub(crate) data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: Pos,
    pub(crate) name: String,
}

/// A text, number, word or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// The value.
    pub(crate) text: String,
    /// The value before substitution: this may be shown where `text` may not.
    pub(crate) written: String,
    /// Quoted, a block or tagged `!!str`: always a text.
    pub(crate) quoted: bool,
    /// How to find a byte of the value in the file.
    source: Source,
    /// What was put in for `${…}`, in order. Empty: `text` is as written.
    pub(crate) pieces: Vec<Piece>,
    /// A substitution failed: the value is not known, and its mistake is said.
    pub(crate) unknown: bool,
}

/// One `${…}` (or the escape `$${`): where it stood in the value as written, and where its value is in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) written: std::ops::Range<usize>,
    pub(crate) text: std::ops::Range<usize>,
}

/// How the value of a scalar relates to the characters of the file.
#[derive(Clone, Debug)]
enum Source {
    /// On one line, character by character.
    Plain,
    /// On one line between single quotes, as written without them.
    Single(String),
    /// On one line between double quotes, as written without them.
    Double(String),
    /// Over several lines, or an alias: only the start is known.
    Start,
}

impl Scalar {
    /// What YAML's core schema makes of it.
    pub(crate) fn core(&self) -> Core<'_> {
        if self.quoted || self.unknown || !self.pieces.is_empty() {
            return Core::String(self.text.as_str().into());
        }
        if self.text.is_empty() { Core::Null } else { Core::parse_from_cow(self.text.as_str().into()) }
    }

    /// Whether the text, or a part of it, came from outside the file.
    pub(crate) fn is_substituted(&self) -> bool {
        !self.pieces.is_empty()
    }
}

impl Node {
    pub(crate) fn as_map(&self) -> Option<&[(Key, Node)]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        match &self.data {
            Data::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar(scalar) if scalar.core() == Core::Null)
    }

    /// The value below `path`: keys, and indexes of lists in decimal.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.data {
            Data::Map(entries) => entries.iter().find(|(key, _)| key.name == *step).map(|(_, value)| value),
            Data::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            // A single text is a list of one.
            Data::Scalar(_) => (*step == "0").then_some(node),
        })
    }

    /// Where the value below `path` is, or else the nearest one above it that is written.
    pub(crate) fn pos_of(&self, path: &[&str]) -> Pos {
        (0..=path.len()).rev().find_map(|len| self.find(&path[..len])).map_or(self.at, |node| node.at)
    }

    /// Where the last key of `path` is, or else what [`Node::pos_of`] says.
    pub(crate) fn key_pos(&self, path: &[&str]) -> Pos {
        let Some((last, above)) = path.split_last() else { return self.at };
        let key = self.find(above).and_then(Node::as_map).and_then(|map| map.iter().find(|(key, _)| key.name == *last));
        match key {
            Some((key, _)) => key.at,
            None if above.is_empty() => self.at,
            None => self.key_pos(above),
        }
    }

    /// The place of byte `at` of a scalar's value: exact if it is written on one line, else its start.
    pub(crate) fn pos_in(&self, at: usize) -> Pos {
        let Data::Scalar(scalar) = &self.data else { return self.at };
        self.pos_in_written(written_offset(scalar, at))
    }

    /// The place of byte `at` of a scalar's value as written, before substitution.
    pub(crate) fn pos_in_written(&self, at: usize) -> Pos {
        let Data::Scalar(scalar) = &self.data else { return self.at };
        let columns = match &scalar.source {
            Source::Plain => scalar.written.bytes().take(at).filter(|byte| byte & 0xC0 != 0x80).count(),
            Source::Single(raw) => 1 + quoted_columns(raw, at, single_quoted),
            Source::Double(raw) => 1 + quoted_columns(raw, at, double_quoted),
            Source::Start => 0,
        };
        Pos { column: self.at.column + columns, ..self.at }
    }
}

/// The byte of the value as written that byte `at` of the text stands at.
fn written_offset(scalar: &Scalar, at: usize) -> usize {
    let mut shift = 0isize;
    for piece in &scalar.pieces {
        if at < piece.text.start {
            break;
        }
        if at < piece.text.end {
            return piece.written.start;
        }
        shift = piece.written.end as isize - piece.text.end as isize;
    }
    at.saturating_add_signed(shift)
}

/// Characters of `raw` before byte `at` of its value. `unit` says how many characters the next value character takes in
/// `raw`, and how many bytes it has in the value.
fn quoted_columns(raw: &str, at: usize, unit: fn(&[char]) -> (usize, usize)) -> usize {
    let raw: Vec<char> = raw.chars().collect();
    let (mut columns, mut bytes) = (0, 0);
    while bytes < at && columns < raw.len() {
        let (taken, made) = unit(&raw[columns..]);
        columns += taken;
        bytes += made;
    }
    columns
}

fn single_quoted(raw: &[char]) -> (usize, usize) {
    match raw {
        ['\'', '\'', ..] => (2, 1),
        [first, ..] => (1, first.len_utf8()),
        [] => (1, 1),
    }
}

fn double_quoted(raw: &[char]) -> (usize, usize) {
    let hex = |digits: usize| {
        let code: String = raw.iter().skip(2).take(digits).collect();
        let made = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).map_or(1, char::len_utf8);
        (2 + digits, made)
    };
    match raw {
        ['\\', 'x', ..] => hex(2),
        ['\\', 'u', ..] => hex(4),
        ['\\', 'U', ..] => hex(8),
        ['\\', 'N' | '_', ..] => (2, 2),
        ['\\', 'L' | 'P', ..] => (2, 3),
        ['\\', _, ..] => (2, 1),
        [first, ..] => (1, first.len_utf8()),
        [] => (1, 1),
    }
}

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// A map, always; empty if the file is.
    pub(crate) root: Node,
    /// Top-level sections that could not be read: they are neither missing nor checked.
    pub(crate) broken: Vec<String>,
}

impl Parsed {
    /// A file that has no text: whatever is missing may be in it.
    pub(crate) fn unreadable() -> Parsed {
        Parsed { root: empty(), broken: vec![String::new()] }
    }
}

/// Reads a whole file, the config's `file`-th. What can't be read goes to `mistakes`; the sections beside it are still
/// returned.
pub(crate) fn parse(file: usize, text: &str, mistakes: &mut Mistakes) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Mistakes::default();
    match document(file, text, 0, &mut found) {
        Ok(node) => {
            mistakes.append(found);
            let root = root_map(node, mistakes);
            Parsed {
                broken: if root.is_some() { vec![] } else { vec![String::new()] },
                root: root.unwrap_or_else(empty),
            }
        }
        Err(whole) => sections(file, text, &whole, mistakes),
    }
}

fn empty() -> Node {
    Node { at: Pos::START, data: Data::Map(Vec::new()) }
}

fn root_map(node: Option<Node>, mistakes: &mut Mistakes) -> Option<Node> {
    let Some(node) = node else { return Some(empty()) };
    if node.is_null() {
        return Some(empty());
    }
    if node.as_map().is_none() {
        mistakes.push(node.at, "expected a map of sections: `inputs:`, `outputs:` and so on");
        return None;
    }
    Some(Node { at: Pos::START, ..node })
}

/// A mistake that ends the reading of a text.
struct Broken {
    at: Pos,
    message: String,
}

/// Reads the top-level sections one by one, after reading the whole failed with `whole`.
fn sections(file: usize, text: &str, whole: &Broken, mistakes: &mut Mistakes) -> Parsed {
    let mut entries: Vec<(Key, Node)> = Vec::new();
    let mut broken = Vec::new();
    let mut said = false;
    for (first_line, section) in split_sections(text) {
        let mut found = Mistakes::default();
        let name = section.split(':').next().unwrap_or_default().trim_matches(['"', '\'', ' ']).to_owned();
        match document(file, section, first_line, &mut found) {
            Ok(Some(Node { data: Data::Map(map), .. })) => {
                mistakes.append(found);
                for (key, value) in map {
                    insert(&mut entries, key, value, mistakes);
                }
            }
            Ok(_) => broken.push(name),
            Err(error) => {
                broken.push(name);
                // An anchor of another section is no mistake of this one.
                if !error.message.contains("unknown anchor") {
                    said = true;
                    mistakes.push(error.at, error.message);
                }
            }
        }
    }
    if !said {
        mistakes.push(whole.at, whole.message.clone());
        broken.push(String::new());
    }
    Parsed { root: Node { at: Pos::START, data: Data::Map(entries) }, broken }
}

/// The text cut before each line that starts with a key, and the number of lines before each cut.
fn split_sections(text: &str) -> Vec<(usize, &str)> {
    let mut cuts = Vec::new();
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let key = line.split(':').next().unwrap_or_default();
        let named = !key.is_empty()
            && key.len() < line.trim_end().len()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-\"'".contains(&byte))
            && !key.starts_with('-');
        if named {
            cuts.push((number, offset));
        }
        offset += line.len();
    }
    let ends = cuts.iter().skip(1).map(|(_, offset)| *offset).chain([text.len()]);
    cuts.iter().zip(ends).filter_map(|((number, start), end)| Some((*number, text.get(*start..end)?))).collect()
}

/// Reads one text as one document that starts after `lines_before` lines of the file.
fn document(file: usize, text: &str, lines_before: usize, mistakes: &mut Mistakes) -> Result<Option<Node>, Broken> {
    let mut builder =
        Builder { file, text, chars: None, lines_before, mistakes, stack: vec![], anchors: HashMap::new(), nodes: 0 };
    let mut root = None;
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| builder.broken(&error))?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(Broken {
                    at: builder.pos(span),
                    message: "a second YAML document (`---`): a config is one document".to_owned(),
                });
            }
        }
        if let Some(node) = builder.event(event, span)? {
            root = Some(node);
        }
    }
    Ok(root)
}

/// Builds the tree of one document.
struct Builder<'a> {
    /// Which of the config's files the text is of.
    file: usize,
    text: &'a str,
    /// Byte offsets of the text's characters, made when first needed.
    chars: Option<Vec<usize>>,
    lines_before: usize,
    mistakes: &'a mut Mistakes,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

/// A list or map that is being read.
struct Open {
    at: Pos,
    anchor: usize,
    data: Data,
    /// The key whose value comes next.
    key: Option<Key>,
    /// Values of `<<`: applied at the end, where a key of the map itself is not set.
    merges: Vec<Node>,
    /// The next node is a value (of a map).
    expects_value: bool,
}

impl Builder<'_> {
    fn pos(&self, span: Span) -> Pos {
        Pos { file: self.file, line: span.start.line() + self.lines_before, column: span.start.col() + 1 }
    }

    fn broken(&self, error: &saphyr::ScanError) -> Broken {
        let mark = error.marker();
        let line = self.text.lines().nth(mark.line().saturating_sub(1)).unwrap_or_default();
        let hint = if line.contains("${") || line.contains("%{") || line.contains(": *") {
            " (a value with `${…}` or `%{…}`, or one that starts with `*`, `%`, `@` or `{`, needs quotes)"
        } else if line.contains('\t') {
            " (indent with spaces, not tabs)"
        } else {
            ""
        };
        Broken {
            at: Pos { file: self.file, line: mark.line() + self.lines_before, column: mark.col() + 1 },
            message: format!("YAML: {}{hint}", error.info()),
        }
    }

    /// Takes one event; the document's root once it is complete.
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<Option<Node>, Broken> {
        let at = self.pos(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain || self.is_str(at, tag.as_deref());
                let source = self.source(style, span);
                let text = text.into_owned();
                let scalar = Scalar { written: text.clone(), text, quoted, source, pieces: Vec::new(), unknown: false };
                self.complete(Node { at, data: Data::Scalar(scalar) }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Broken { at, message: "an alias of a value that is not complete yet".to_owned() });
                };
                node.at = if matches!(node.data, Data::Scalar(_)) { at } else { node.at };
                if let Data::Scalar(scalar) = &mut node.data {
                    scalar.source = Source::Start;
                }
                self.nodes += count(&node);
                self.complete(node, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.is_str(at, tag.as_deref());
                self.open(at, anchor, Data::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.is_str(at, tag.as_deref());
                self.open(at, anchor, Data::Map(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut open) = self.stack.pop() else { return Ok(None) };
                if let Data::Map(entries) = &mut open.data {
                    merge(entries, std::mem::take(&mut open.merges), self.mistakes);
                }
                self.complete(Node { at: open.at, data: open.data }, open.anchor)
            }
            _ => Ok(None),
        }
    }

    /// Whether a tag makes a text of its scalar. Tags that are not YAML's own are a mistake.
    fn is_str(&mut self, at: Pos, tag: Option<&Tag>) -> bool {
        let Some(tag) = tag else { return false };
        if !tag.is_yaml_core_schema() {
            self.mistakes.push(at, format!("the tag `{tag}` means nothing here: remove it"));
        }
        tag.suffix == "str"
    }

    fn open(&mut self, at: Pos, anchor: usize, data: Data) -> Result<Option<Node>, Broken> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(Broken { at, message: format!("nested deeper than {DEPTH_MAX} levels") });
        }
        if let Some(Open { data: Data::Map(_), expects_value: false, .. }) = self.stack.last() {
            return Err(Broken { at, message: "a key must be a plain text, not a list or map".to_owned() });
        }
        self.stack.push(Open { at, anchor, data, key: None, merges: Vec::new(), expects_value: false });
        Ok(None)
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<Option<Node>, Broken> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Broken { at: node.at, message: format!("more than {NODES_MAX} values, aliases resolved") });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else { return Ok(Some(node)) };
        match &mut open.data {
            Data::List(items) => items.push(node),
            Data::Map(_) if !open.expects_value => {
                let Data::Scalar(scalar) = node.data else {
                    return Err(Broken {
                        at: node.at,
                        message: "a key must be a plain text, not a list or map".to_owned(),
                    });
                };
                open.key = Some(Key { at: node.at, name: scalar.text });
                open.expects_value = true;
            }
            Data::Map(entries) => {
                open.expects_value = false;
                let Some(key) = open.key.take() else { return Ok(None) };
                if key.name == "<<" {
                    open.merges.push(node);
                } else {
                    insert(entries, key, node, self.mistakes);
                }
            }
            Data::Scalar(_) => {}
        }
        Ok(None)
    }

    /// How the scalar is written, if on one line.
    fn source(&mut self, style: ScalarStyle, span: Span) -> Source {
        if span.start.line() != span.end.line() || matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
            return Source::Start;
        }
        if style == ScalarStyle::Plain {
            return Source::Plain;
        }
        let chars = self.chars.get_or_insert_with(|| self.text.char_indices().map(|(byte, _)| byte).collect());
        let byte = |index: usize| chars.get(index).copied().unwrap_or(self.text.len());
        let raw = self.text.get(byte(span.start.index())..byte(span.end.index())).unwrap_or_default();
        let raw = raw.trim_end();
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default().to_owned();
        if style == ScalarStyle::SingleQuoted { Source::Single(inner) } else { Source::Double(inner) }
    }
}

fn count(node: &Node) -> usize {
    match &node.data {
        Data::Scalar(_) => 1,
        Data::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Data::Map(entries) => 1 + entries.iter().map(|(_, value)| count(value)).sum::<usize>(),
    }
}

fn insert(entries: &mut Vec<(Key, Node)>, key: Key, value: Node, mistakes: &mut Mistakes) {
    if let Some((first, _)) = entries.iter().find(|(other, _)| other.name == key.name) {
        let Pos { line, column, .. } = first.at;
        mistakes.push(key.at, format!("`{}` is already written at line {line}, column {column}: keep one", key.name));
    } else {
        entries.push((key, value));
    }
}

/// Adds what `<<` brings where the map itself says nothing.
fn merge(entries: &mut Vec<(Key, Node)>, merges: Vec<Node>, mistakes: &mut Mistakes) {
    for node in merges {
        let at = node.at;
        let maps = match node.data {
            Data::List(items) => items,
            data => vec![Node { at, data }],
        };
        for map in maps {
            let Data::Map(more) = map.data else {
                mistakes.push(map.at, "`<<` takes a map, or a list of maps");
                continue;
            };
            for (key, value) in more {
                if !entries.iter().any(|(other, _)| other.name == key.name) {
                    entries.push((key, value));
                }
            }
        }
    }
}
