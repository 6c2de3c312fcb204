//! What the processors share that make fields of a text: the field they read, where the fields go, and what becomes of fields
//! that are there already.
//!
//! The text itself is always replaced: what a key of its own name says was in it. And so is what the agent added by itself
//! (`host`, `agent`, …): what a line says goes before it.

use std::borrow::Cow;

use super::{Failed, Work, agents};
use crate::event::{FieldPath, Object, Value, ValueRef};

/// The tag of an event whose new `@timestamp` is none, as in Logstash.
const NO_TIME_TAG: &str = "_timestampparsefailure";

/// Fields that one text may make in one object. More is no log line, and would cost more than its length.
pub(super) const MEMBERS_MAX: usize = 4096;

/// From which field, to which.
#[derive(Clone, Debug)]
pub struct Place {
    /// The field that has the text.
    pub field: FieldPath,
    /// The field below which the new fields are set; `None`: at the root.
    pub target: Option<FieldPath>,
    /// Fields that are there already are replaced.
    pub overwrite: bool,
}

impl Place {
    /// The text to take apart; `None` if there is none (it is missing, or null).
    ///
    /// # Errors
    /// If the field is something else than a text.
    pub(super) fn text<'a>(&self, work: &'a Work<'_>) -> Result<Option<Cow<'a, str>>, Failed> {
        match work.get(&self.field) {
            None | Some(ValueRef::Null) => Ok(None),
            Some(ValueRef::Str(text)) => Ok(Some(text)),
            Some(_) => Err(Failed),
        }
    }

    /// Sets the fields. Objects are laid into those that are there; of the rest, what is there stays unless it is to be replaced,
    /// or the agent's.
    ///
    /// # Errors
    /// If one of them can't be set; the others are.
    pub(super) fn put(&self, fields: Object, work: &mut Work<'_>) -> Result<(), Failed> {
        let Some(target) = &self.target else { return self.put_at_root(fields, work) };
        let merged = match work.get(target) {
            Some(ValueRef::Object(there)) => {
                let mut there = there.into_owned();
                lay(&mut there, fields, self.overwrite, agents(&work.view(), target).as_deref());
                there
            }
            Some(_) if !self.may_replace(target, work) => return Err(Failed),
            _ => fields,
        };
        Ok(work.set(target, merged)?)
    }

    /// The same with keys with dots as levels. A key whose place another one has is set by its own name.
    ///
    /// # Errors
    /// As for [`Place::put`], and if there is such a key; the others are set.
    pub(super) fn put_expanded(&self, fields: Object, work: &mut Work<'_>) -> Result<(), Failed> {
        let (fields, kept) = fields.expanded_but();
        self.put(fields, work)?;
        if kept.is_some() { Err(Failed) } else { Ok(()) }
    }

    /// Sets one field, which is below the target already. What is there stays unless it is to be replaced.
    ///
    /// # Errors
    /// If it can't be set.
    pub(super) fn put_at(&self, path: &FieldPath, value: Value, work: &mut Work<'_>) -> Result<(), Failed> {
        if !self.may_replace(path, work) {
            return Ok(());
        }
        Ok(work.set(path, value)?)
    }

    /// What is at `path`, if there is something, may be replaced.
    pub(super) fn may_replace(&self, path: &FieldPath, work: &Work<'_>) -> bool {
        self.overwrite || *path == self.field || !work.has(path)
    }

    fn put_at_root(&self, fields: Object, work: &mut Work<'_>) -> Result<(), Failed> {
        let mut all = Ok(());
        for (key, value) in fields {
            let Some(path) = FieldPath::from_segments([key.as_str()]) else {
                all = Err(Failed);
                continue;
            };
            let value = match (work.get(&path), value) {
                (Some(ValueRef::Object(there)), Value::Object(new)) => {
                    let mut there = there.into_owned();
                    lay(&mut there, new, self.overwrite, agents(&work.view(), &path).as_deref());
                    Value::Object(there)
                }
                (Some(_), _) if !self.may_replace(&path, work) => continue,
                (_, value) => value,
            };
            if key == "@timestamp" && !is_time(&value) {
                work.set(&FieldPath::from_segments(["_@timestamp"]).ok_or(Failed)?, value)?;
                work.tag(NO_TIME_TAG);
            } else if work.set(&path, value).is_err() {
                all = Err(Failed);
            }
        }
        all
    }
}

fn is_time(value: &Value) -> bool {
    value.as_str().and_then(crate::event::Timestamp::parse).is_some()
}

/// Lays `new` over `there` (`overwrite`) or under it, but over what of it is the agent's.
fn lay(there: &mut Object, new: Object, overwrite: bool, agents: Option<&Value>) {
    if overwrite {
        return there.merge(new);
    }
    for (key, value) in new {
        let agents = match agents {
            Some(Value::Object(agents)) => agents.get(&key),
            _ => None,
        };
        match (there.get_mut(&key), value) {
            (None, value) => drop(there.insert(key, value)),
            (Some(Value::Object(mine)), Value::Object(theirs)) => lay(mine, theirs, false, agents),
            (Some(mine), value) if agents == Some(&*mine) => *mine = value,
            (Some(_), _) => {}
        }
    }
}
