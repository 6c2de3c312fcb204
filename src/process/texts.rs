//! What processors that change texts share: a field that is a text, or the texts of a list, are changed; one that is missing or
//! null is passed over; any other one is a failure and stays as it is.

use compact_str::CompactString;

use super::{Failed, Work};
use crate::event::{FieldPath, Value, ValueRef};

/// Bytes by which a text may grow: what bounds an event's memory, whatever a replacement makes of a line.
pub(super) const GROWTH_BYTES_MAX: usize = 1 << 20;

/// What `set`, `copy`, `merge` and `join` may make of one field, for the same reason.
pub(super) const MADE_BYTES_MAX: usize = 8 << 20;

/// Sets the field to a value that was made of others.
///
/// # Errors
/// If the value is too large, or can't be set there.
pub(super) fn set_made(field: &FieldPath, work: &mut Work<'_>, value: impl Into<Value>) -> Result<(), Failed> {
    let value = value.into();
    if value.is_within(MADE_BYTES_MAX) { Ok(work.set(field, value)?) } else { Err(Failed) }
}

/// The text with its first character in upper case and the others in lower case.
pub(super) fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().into_iter().flat_map(char::to_uppercase);
    first.chain(rest.as_str().to_lowercase().chars()).collect()
}

/// Changes the texts of each field. `change` makes the new text; `None`: it is right as it is.
///
/// # Errors
/// If it could not be done to one of the fields; it is done to the others.
pub(super) fn change_each(
    fields: &[FieldPath],
    work: &mut Work<'_>,
    change: impl Fn(&str) -> Option<CompactString>,
) -> Result<(), Failed> {
    let mut all = Ok(());
    for field in fields {
        if let Err(failed) = change_field(field, work, |text| Ok(change(text))) {
            all = Err(failed);
        }
    }
    all
}

/// Changes the texts of one field.
///
/// # Errors
/// If the field is neither a text nor a list with one, or `change` fails for one: then it stays as it was.
pub(super) fn change_field(
    field: &FieldPath,
    work: &mut Work<'_>,
    change: impl Fn(&str) -> Result<Option<CompactString>, Failed>,
) -> Result<(), Failed> {
    let changed = match work.get(field) {
        None | Some(ValueRef::Null) => return Ok(()),
        Some(ValueRef::Str(text)) => change(&text)?.map(Value::String),
        Some(ValueRef::Array(values)) => {
            let mut made = values.into_owned();
            for value in &mut made {
                // What is no text stays as it is, as in Logstash.
                let Value::String(text) = value else { continue };
                if let Some(changed) = change(text)? {
                    *text = changed;
                }
            }
            if !made.is_empty() && made.iter().all(|value| value.as_str().is_none()) {
                return Err(Failed);
            }
            Some(Value::Array(made))
        }
        Some(_) => return Err(Failed),
    };
    match changed {
        Some(value) => Ok(work.set(field, value)?),
        None => Ok(()),
    }
}
