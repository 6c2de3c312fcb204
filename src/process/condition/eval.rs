//! What holds of which values (see the table in [`super`]).

use std::cmp::Ordering;

use super::{Comparison, Expression, List, Operand, Part};
use crate::event::{EventView, Timestamp, Value, ValueRef};

pub(super) fn holds(expression: &Expression, view: &EventView<'_>) -> bool {
    match expression {
        Expression::Or(any) => any.iter().any(|expression| holds(expression, view)),
        Expression::Xor(all) => all.iter().filter(|expression| holds(expression, view)).count() % 2 == 1,
        Expression::And(all) => all.iter().all(|expression| holds(expression, view)),
        Expression::Not(expression) => !holds(expression, view),
        Expression::Exists(field) => view.get(field).is_some(),
        Expression::Says(field) => {
            view.get(field).is_some_and(|value| !matches!(value, ValueRef::Null | ValueRef::Bool(false)))
        }
        Expression::Compare { left, comparison, right } => {
            let (Some(left), Some(right)) = (value(left, view), value(right, view)) else { return false };
            compares(&left, *comparison, &right)
        }
        Expression::In { value: left, list } => {
            let Some(left) = value(left, view) else { return false };
            match list {
                List::Literals(literals) => any_of(&left, |left| is_among(left, literals)),
                List::Field(field) => match view.get(field) {
                    Some(ValueRef::Array(values)) => any_of(&left, |left| is_among(left, &values)),
                    Some(ValueRef::Str(text)) => {
                        any_of(&left, |left| with_text(left, |part| text.contains(part)).unwrap_or(false))
                    }
                    Some(ValueRef::Object(object)) => {
                        any_of(&left, |left| with_text(left, |key| object.get(key).is_some()).unwrap_or(false))
                    }
                    _ => false,
                },
            }
        }
        Expression::Matches { field, regex } => {
            let Some(left) = view.get(field) else { return false };
            any_of(&left, |left| with_text(left, |text| regex.is_match(text)).unwrap_or(false))
        }
        Expression::Contains { field, part } => {
            let Some(whole) = view.get(field) else { return false };
            match part {
                Part::Literal(part, finder) => {
                    let has_text =
                        |text: &str| finder.as_ref().is_some_and(|find| find.find(text.as_bytes()).is_some());
                    contains(&whole, &part.into(), has_text)
                }
                Part::Field(part) => {
                    let Some(part) = view.get(part) else { return false };
                    contains(&whole, &part, |text| with_text(&part, |part| text.contains(part)).unwrap_or(false))
                }
            }
        }
    }
}

/// A list has an element that is equal to `part`, or a text has it in it.
fn contains(whole: &ValueRef<'_>, part: &ValueRef<'_>, has_text: impl Fn(&str) -> bool) -> bool {
    match whole {
        ValueRef::Array(values) => is_among(part, values),
        ValueRef::Str(text) => has_text(text),
        _ => false,
    }
}

fn value<'a>(operand: &'a Operand, view: &EventView<'a>) -> Option<ValueRef<'a>> {
    match operand {
        Operand::Field(field) => view.get(field),
        Operand::Literal(literal) => Some(literal.into()),
    }
}

/// `check` holds of the value, or of an element if it is a list.
fn any_of(value: &ValueRef<'_>, check: impl Fn(&ValueRef<'_>) -> bool) -> bool {
    match value {
        ValueRef::Array(values) => values.iter().any(|value| check(&value.into())),
        value => check(value),
    }
}

fn is_among(value: &ValueRef<'_>, values: &[Value]) -> bool {
    values.iter().any(|other| compares(value, Comparison::Equal, &other.into()))
}

fn compares(left: &ValueRef<'_>, comparison: Comparison, right: &ValueRef<'_>) -> bool {
    use ValueRef::{BigInt, Bool, Float, Int, Null, Str, Timestamp as Time};
    let order = match (left, right) {
        (Null, Null) => return comparison == Comparison::Equal,
        (Bool(left), Bool(right)) => return comparison == Comparison::Equal && left == right,
        (Int(left), Int(right)) => Some(left.cmp(right)),
        (Str(left), Str(right)) => Some(left.cmp(right)),
        (Time(left), Time(right)) => Some(left.cmp(right)),
        (Time(left), Str(text)) => Timestamp::parse(text).map(|right| left.cmp(&right)),
        (Str(text), Time(right)) => Timestamp::parse(text).map(|left| left.cmp(right)),
        (Int(_) | BigInt(_) | Float(_) | Str(_), Int(_) | BigInt(_) | Float(_) | Str(_)) => {
            let order = |left: Number, right: Number| match (left, right) {
                (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
                (left, right) => left.as_f64().partial_cmp(&right.as_f64()),
            };
            number(left).zip(number(right)).and_then(|(left, right)| order(left, right))
        }
        _ => None,
    };
    match (order, comparison) {
        (None, _) => false,
        (Some(order), Comparison::Equal) => order == Ordering::Equal,
        (Some(order), Comparison::Less) => order == Ordering::Less,
        (Some(order), Comparison::LessOrEqual) => order != Ordering::Greater,
        (Some(order), Comparison::Greater) => order == Ordering::Greater,
        (Some(order), Comparison::GreaterOrEqual) => order != Ordering::Less,
    }
}

enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn as_f64(&self) -> f64 {
        match self {
            Self::Int(number) => *number as f64,
            Self::Float(number) => *number,
        }
    }
}

/// The number, or what the text stands for if it is a decimal number.
fn number(value: &ValueRef<'_>) -> Option<Number> {
    match value {
        ValueRef::Int(number) => Some(Number::Int(*number)),
        ValueRef::BigInt(digits) => digits.parse().ok().map(Number::Float),
        ValueRef::Float(number) => Some(Number::Float(*number)),
        ValueRef::Str(text) => {
            if let Ok(number) = text.parse() {
                return Some(Number::Int(number));
            }
            let is_decimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
            let number: f64 = if is_decimal { text.parse().ok()? } else { return None };
            number.is_finite().then_some(Number::Float(number))
        }
        _ => None,
    }
}

/// What `read` makes of the value's text; lists, objects and null have none.
pub(super) fn with_text<T>(value: &ValueRef<'_>, read: impl Fn(&str) -> T) -> Option<T> {
    match value {
        ValueRef::Str(text) => Some(read(text)),
        ValueRef::Int(number) => Some(read(&number.to_string())),
        ValueRef::BigInt(digits) => Some(read(digits)),
        ValueRef::Float(number) => Some(read(&number.to_string())),
        ValueRef::Bool(value) => Some(read(if *value { "true" } else { "false" })),
        ValueRef::Timestamp(time) => Some(read(&time.to_string())),
        ValueRef::Null | ValueRef::Array(_) | ValueRef::Object(_) => None,
    }
}
