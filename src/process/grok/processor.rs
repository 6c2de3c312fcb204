//! The processor `grok`: what captures do to an event, as Logstash's filter does it (P).
//!
//! A capture of a field that is there makes a list of both, unless the field is in `overwrite`; one that is a number, an object
//! or a boolean stays as it is. Empty captures are no fields. What can't be set (the way to a nested field is blocked, the name
//! is no reference, `@timestamp`) makes it no match, though what was set before stays.
//!
//! Not here: patterns (see the modules beside this one).

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use crate::event::{Common, Event, EventView, FieldPath, RootName, Value, ValueRef};

use super::super::{Failed, Outcome, Process, Tally, Work, is_agents};
use super::{Cast, Field, Grok, Int, Scratch, float, int};

/// What is added when a line needs more than its share of time or memory.
pub const TIMEOUT_TAG: &str = "_groktimeout";

/// The checked options of a `grok`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Fields, and the patterns that are tried on each, in order.
    pub matches: Vec<(FieldPath, Vec<Arc<Grok>>)>,
    /// Stop at the first pattern that matches; else the last one tried decides whether a field matched.
    pub break_on_match: bool,
    /// Names of captures that replace what is there.
    pub overwrite: Vec<String>,
    pub keep_empty_captures: bool,
    /// Below which field captures are set; at the root if there is none.
    pub target: Option<FieldPath>,
}

/// The processor, ready to run.
#[derive(Clone, Debug)]
pub struct Processor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    subjects: Vec<Subject>,
    break_on_match: bool,
    keep_empty_captures: bool,
}

thread_local! {
    /// One does for all patterns.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Debug)]
struct Subject {
    field: FieldPath,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    grok: Arc<Grok>,
    /// Of its fields, in their order.
    goals: Vec<Goal>,
    /// Those of the names of [`Goal::alone`].
    bits: u64,
}

/// Where the capture of a field goes.
#[derive(Debug)]
struct Goal {
    /// `None`: the name is no reference.
    path: Option<FieldPath>,
    overwrites: bool,
    /// Its name, if it is at the root and no other capture of the pattern is there or below.
    alone: Option<RootName>,
}

/// A capture can't be set.
struct Refused;

/// What became of one text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    Matched,
    NoMatch,
    TimedOut,
}

impl Processor {
    /// A processor with these options.
    pub fn new(options: Options) -> Self {
        let Options { matches, break_on_match, overwrite, keep_empty_captures, target } = options;
        let goal = |field: &Field| Goal {
            path: reference(&field.name)
                .map(|path| target.as_ref().map_or_else(|| path.clone(), |target| path.below(target))),
            overwrites: overwrite.contains(&field.name),
            alone: None,
        };
        let with_goals = |grok: Arc<Grok>| {
            let goals = grok.fields().iter().map(goal).collect();
            Pattern::new(grok, goals)
        };
        let subjects = matches
            .into_iter()
            .map(|(field, patterns)| Subject { field, patterns: patterns.into_iter().map(with_goals).collect() });
        let subjects = subjects.collect();
        Self { shared: Arc::new(Shared { subjects, break_on_match, keep_empty_captures }) }
    }
}

impl Pattern {
    fn new(grok: Arc<Grok>, mut goals: Vec<Goal>) -> Self {
        let roots: Vec<Option<String>> =
            goals.iter().map(|goal| goal.path.as_ref().map(|path| path.root().to_owned())).collect();
        for (goal, root) in goals.iter_mut().zip(&roots) {
            let is_alone = roots.iter().filter(|other| *other == root).count() == 1;
            goal.alone = goal.path.as_ref().filter(|_| is_alone).and_then(RootName::of);
        }
        let bits = goals.iter().filter_map(|goal| goal.alone.as_ref()).fold(0, |bits, name| bits | name.bit());
        Self { grok, goals, bits }
    }
}

impl Process for Processor {
    fn name(&self) -> &'static str {
        "grok"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        SCRATCH.with_borrow_mut(|scratch| self.run_with(scratch, work))
    }
}

impl Processor {
    fn run_with(&self, scratch: &mut Scratch, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let shared = &*self.shared;
        let mut matched = false;
        for subject in &shared.subjects {
            match shared.subject(subject, scratch, work.event, work.buf, work.common) {
                Ok(Tried::Matched) => matched = true,
                Ok(Tried::NoMatch) | Err(Refused) => continue,
                Ok(Tried::TimedOut) => {
                    work.tag(TIMEOUT_TAG);
                    Tally::count(&mut work.tally.failed, self.name());
                    return Ok(Outcome::Keep);
                }
            }
            if shared.break_on_match {
                break;
            }
        }
        if matched { Ok(Outcome::Keep) } else { Err(Failed) }
    }
}

impl Shared {
    fn subject(
        &self,
        subject: &Subject,
        scratch: &mut Scratch,
        event: &mut Event,
        buf: &[u8],
        common: &Common,
    ) -> Result<Tried, Refused> {
        if let Some(line) = event.utf8_line().filter(|_| is_message(&subject.field))
            && let Ok(text) = simdutf8::basic::from_utf8(buf.get(line).unwrap_or_default())
        {
            return self.text(&subject.patterns, text, scratch, event, buf, common);
        }
        let value = EventView { event, buf, common }.get(&subject.field).map(ValueRef::into_value);
        let Some(Value::Array(values)) = value else {
            let value = value.unwrap_or(Value::Null);
            let text = text_of(&value);
            return self.text(&subject.patterns, &text, scratch, event, buf, common);
        };
        let mut matched = Tried::NoMatch;
        for value in &values {
            match self.text(&subject.patterns, &text_of(value), scratch, event, buf, common)? {
                Tried::NoMatch => {}
                tried => matched = tried,
            }
        }
        Ok(matched)
    }

    fn text(
        &self,
        patterns: &[Pattern],
        text: &str,
        scratch: &mut Scratch,
        event: &mut Event,
        buf: &[u8],
        common: &Common,
    ) -> Result<Tried, Refused> {
        let mut tried = Tried::NoMatch;
        for Pattern { grok, goals, bits } in patterns {
            let Ok(found) = grok.find(scratch, text.as_bytes()) else { return Ok(Tried::TimedOut) };
            let Some(found) = found else {
                tried = Tried::NoMatch;
                continue;
            };
            tried = Tried::Matched;
            event.expect_fields(goals.len());
            let is_new = event.has_none_of(*bits);
            for ((field, range), goal) in found.captures().zip(goals) {
                let captured = range.and_then(|range| text.get(range));
                let is_empty = captured.is_none_or(|text| text.is_empty() && field.cast.is_none());
                if is_empty && !self.keep_empty_captures {
                    continue;
                }
                // Nearly all.
                if let (Some(text), None, Some(name), true) = (captured, field.cast, &goal.alone, is_new)
                    && event.set_root_text(name, text, common)
                {
                    continue;
                }
                let value = captured.map_or(Value::Null, |text| value_of(text, field.cast));
                set(value, goal, event, buf, common)?;
            }
            if self.break_on_match {
                break;
            }
        }
        Ok(tried)
    }
}

/// Sets the value of a capture, whatever is there.
fn set(value: Value, goal: &Goal, event: &mut Event, buf: &[u8], common: &Common) -> Result<(), Refused> {
    let path = goal.path.as_ref().ok_or(Refused)?;
    let value = if goal.overwrites {
        value
    } else {
        let value = match event.set_new(path, value, common) {
            Ok(()) => return Ok(()),
            Err(value) => value,
        };
        let view = EventView { event, buf, common };
        match view.get(path).filter(|there| !is_agents(&view, path, there)) {
            None | Some(ValueRef::Null) => value,
            Some(ValueRef::Array(values)) => {
                let mut values = values.into_owned();
                values.push(value);
                Value::Array(values)
            }
            Some(ValueRef::Str(there)) => Value::Array(vec![Value::from(&*there), value]),
            Some(ValueRef::Timestamp(_)) => return Err(Refused),
            Some(_) => return Ok(()),
        }
    };
    event.set(path, value, buf, common).map_err(|_| Refused)
}

fn is_message(path: &FieldPath) -> bool {
    path.root() == "message" && path.segments().len() == 1
}

fn value_of(text: &str, cast: Option<Cast>) -> Value {
    match cast {
        None => Value::from(text),
        Some(Cast::Int) => match int(text) {
            Int::Small(number) => Value::Int(number),
            Int::Big(digits) => Value::BigInt(digits),
        },
        Some(Cast::Float) => match float(text) {
            number if number.is_finite() => Value::Float(number),
            // JSON has no such number.
            number => Value::from(if number > 0.0 { "Infinity" } else { "-Infinity" }),
        },
    }
}

/// The text of a value, as Ruby's `to_s` has it.
fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::String(text) => text.into(),
        Value::Float(number) => format!("{number:?}").into(),
        other => other.to_json().to_string().into(),
    }
}

/// The field that a name means to Logstash: `name` (dots and all), or `[a][b]`.
pub fn reference(name: &str) -> Option<FieldPath> {
    let Some(inner) = name.strip_prefix('[') else {
        return if name.contains(['[', ']']) { None } else { FieldPath::from_segments([name]) };
    };
    let inner = inner.strip_suffix(']')?;
    let segments: Vec<&str> = inner.split("][").collect();
    if segments.iter().any(|segment| segment.contains(['[', ']'])) {
        return None;
    }
    FieldPath::from_segments(segments)
}
