//! Grok: fields out of lines by named patterns, with Logstash's answers in linear time (P).
//!
//! ```text
//! pattern ─ expand ─► expression ─ syntax ─► tree ─ simplify, program, table ─► instructions ─ search, vm ─► captures ─ cast ─► values
//! ```
//!
//! An engine of our own, for the crates that are there either answer otherwise (regex: no look-around, no atomic groups) or
//! take exponential time on some line (Oniguruma, fancy-regex). What can't be linear is refused when the pattern is compiled.
//!
//! Not here: files (`patterns_dir` is read by the pipeline), events (see `processor`).

mod ast;
mod backtrack;
mod bytes;
mod cast;
mod expand;
mod explain;
mod fronts;
mod literals;
mod patterns;
pub mod processor;
mod program;
mod search;
mod simplify;
mod syntax;
mod table;
mod vm;

pub use cast::{Int, float, int};
pub use explain::{Explainer, Stop};
pub use patterns::{Definitions, Set};

use backtrack::Backtracker;
use search::{Matcher, Way};

/// What is wrong with a pattern. Columns count characters of the pattern as it was written, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("column {column}: {}{message}", within.as_ref().map(|(name, at)| format!("in the pattern {name}, column {at}: ")).unwrap_or_default())]
    Syntax {
        column: usize,
        /// The pattern in whose definition it stands, and the column there.
        within: Option<(String, usize)>,
        message: String,
    },
    #[error("column {column}: the pattern %{{{name}}}{} is not defined{}", within.as_ref().map(|name| format!(", named in {name},")).unwrap_or_default(), near.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    NotDefined { column: usize, name: String, within: Option<String>, near: Option<String> },
    #[error("column {column}: a pattern names itself: {chain}")]
    NamesItself { column: usize, chain: String },
    #[error(
        "column {column}: the pattern is too large when its names are written out (1 MiB, or 30,000 characters to match)"
    )]
    TooLarge { column: usize },
}

impl Error {
    /// Where it is in the pattern: characters, from 1.
    pub fn column(&self) -> usize {
        match self {
            Self::Syntax { column, .. }
            | Self::NotDefined { column, .. }
            | Self::NamesItself { column, .. }
            | Self::TooLarge { column } => *column,
        }
    }
}

/// What a captured text becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    Int,
    Float,
}

/// A field that a pattern captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As it is written: `name`, or `[a][b]`.
    pub name: String,
    pub cast: Option<Cast>,
    group: usize,
}

/// A compiled pattern.
#[derive(Debug)]
pub struct Grok {
    fields: Vec<Field>,
    matcher: AnyMatcher,
}

#[derive(Debug)]
enum AnyMatcher {
    Linear(Box<Matcher>),
    Backtracking(Backtracker),
}

/// What matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// In linear time, whatever the line; no backreferences.
    #[default]
    Linear,
    /// The crate fancy-regex, up to a million steps a line.
    Backtracking,
}

/// What a worker keeps from match to match, so that none allocates.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    space: vm::Space,
    slots: Vec<u32>,
}

/// The text would need more than 64 MiB of notes to be matched in linear time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line is too long for this pattern")]
pub struct GaveUp;

/// A match: its captures are in the scratch it was made with.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    grok: &'a Grok,
    slots: &'a [u32],
    /// First byte of the whole match.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
}

impl Grok {
    /// Compiles `pattern`. `names_only` is `named_captures_only`: a `%{SYNTAX}` without SEMANTIC is no field.
    ///
    /// # Errors
    /// What Ruby would refuse, what can't be linear (backreferences, recursion), a name that is not defined, and what is too
    /// large.
    pub fn compile(pattern: &str, definitions: &Definitions, names_only: bool, engine: Engine) -> Result<Self, Error> {
        let expanded = expand::expand(pattern, definitions, names_only)?;
        let parsed = syntax::parse(&expanded.text, engine == Engine::Backtracking)
            .map_err(|problem| located(pattern, &expanded, definitions, problem))?;
        let groups = parsed.groups.len();
        let matcher = match engine {
            Engine::Linear => {
                let matcher = Matcher::new(&parsed.root, groups).map_err(|_| Error::TooLarge { column: 1 })?;
                AnyMatcher::Linear(Box::new(matcher))
            }
            Engine::Backtracking => {
                let refused = |message| Error::Syntax { column: 1, within: None, message };
                AnyMatcher::Backtracking(Backtracker::new(&parsed.root, groups).map_err(refused)?)
            }
        };
        Ok(Self { fields: fields(&parsed.groups), matcher })
    }

    /// The expression that `pattern` stands for, with all names written out.
    ///
    /// # Errors
    /// A name that is not defined, and what is too large.
    pub fn expanded(pattern: &str, definitions: &Definitions, names_only: bool) -> Result<String, Error> {
        Ok(expand::expand(pattern, definitions, names_only)?.text)
    }

    /// The fields in the order in which they are handed over.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The leftmost match in `text`, which should be UTF-8; malformed bytes count as one character each.
    ///
    /// # Errors
    /// [`GaveUp`]: only for texts of many megabytes or very large patterns.
    pub fn find<'a>(&'a self, scratch: &'a mut Scratch, text: &[u8]) -> Result<Option<Match<'a>>, GaveUp> {
        self.find_by(scratch, text, Way::Best)
    }

    fn find_by<'a>(&'a self, scratch: &'a mut Scratch, text: &[u8], way: Way) -> Result<Option<Match<'a>>, GaveUp> {
        let Scratch { space, slots } = scratch;
        let span = match &self.matcher {
            AnyMatcher::Linear(matcher) => matcher.find(text, space, slots, way),
            AnyMatcher::Backtracking(matcher) => matcher.find(text, slots),
        };
        let span = span.map_err(|_| GaveUp)?;
        Ok(span.map(|span| Match { grok: self, slots, start: span.start, end: span.end }))
    }
}

impl Scratch {
    /// What the last search took: instructions, and characters that runs went over, by eights.
    pub fn steps(&self) -> u64 {
        self.space.steps
    }
}

impl<'a> Match<'a> {
    /// Each field and the bytes of the text it captured, in the order in which grok hands them over.
    pub fn captures(&self) -> impl Iterator<Item = (&'a Field, Option<std::ops::Range<usize>>)> + use<'a> {
        let slots = self.slots;
        self.grok.fields.iter().map(move |field| {
            let (start, end) = (slots[field.group * 2], slots[field.group * 2 + 1]);
            (field, (start != u32::MAX && end != u32::MAX).then_some(start as usize..end as usize))
        })
    }
}

fn located(pattern: &str, expanded: &expand::Expanded, definitions: &Definitions, problem: syntax::Problem) -> Error {
    let place = expanded.place(problem.at);
    let within = place.from.map(|(name, at)| {
        let at = definitions.get(&name).map_or(at + 1, |definition| expand::column(&definition, at));
        (name.to_string(), at)
    });
    // The group around a definition is ours: what it lacks, the definition has too much of.
    let construct = expand::construct(pattern, place.user_at)
        .filter(|_| {
            within.is_none()
                && ["a `(` without", "a `)` without"].iter().any(|start| problem.message.starts_with(start))
        })
        .filter(|_| pattern.get(place.user_at..).is_some_and(|rest| rest.starts_with("%{")));
    let message = match construct {
        Some(construct) => format!("the definition of %{{{}}} has {}", construct.syntax, problem.message),
        None => problem.message,
    };
    Error::Syntax { column: expand::column(pattern, place.user_at), within, message }
}

/// The fields of the groups: by the first appearance of a full name, as Ruby lists them.
fn fields(groups: &[String]) -> Vec<Field> {
    let mut fields = Vec::new();
    for (first, full) in groups.iter().enumerate() {
        if groups.iter().position(|name| name == full) != Some(first) {
            continue;
        }
        let mut parts = full.split(':');
        let syntax = parts.next().unwrap_or_default();
        let (name, cast) = (parts.next(), parts.next());
        let name = name.unwrap_or(syntax).to_owned();
        let cast = match cast {
            Some("int") => Some(Cast::Int),
            Some("float") => Some(Cast::Float),
            _ => None,
        };
        let same = groups.iter().enumerate().filter(|(_, name)| *name == full);
        // Of several groups with one full name, jls-grok casts the first only.
        fields.extend(same.enumerate().map(|(index, (group, _))| Field {
            name: name.clone(),
            cast: cast.filter(|_| index == 0),
            group,
        }));
    }
    fields
}

#[cfg(test)]
mod tests;
