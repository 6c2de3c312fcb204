//! `csv`: the values of a line with separators become columns. One line is one record: a quoted value may have line breaks in
//! it if the text does.
//!
//! A quote that is not closed, or text behind a closing one, fails and changes nothing. Not here: finding out the columns from
//! a first line; a line says nothing of the one before it.

use compact_str::CompactString;

use super::parsed::{MEMBERS_MAX, Place};
use super::{Failed, Outcome, Process, Work};
use crate::event::{FieldPath, Value};

/// `csv: {field, columns, …}`.
#[derive(Clone, Debug)]
pub struct Csv {
    pub place: Place,
    /// Where the values go, in order; below the place's target already.
    pub columns: Vec<FieldPath>,
    /// Not empty.
    pub separator: String,
    pub quote: Option<char>,
    /// Values behind the last column become `column4`, …; else they are left out.
    pub name_the_rest: bool,
    /// An empty value sets nothing; else null.
    pub skip_empty: bool,
}

impl Process for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(text) = self.place.text(work)? else { return Ok(Outcome::Keep) };
        let values = self.values(&text)?;
        let mut all = Ok(Outcome::Keep);
        for (index, value) in values.into_iter().enumerate() {
            if self.skip_empty && value.as_str().is_none_or(str::is_empty) {
                continue;
            }
            let named;
            let path = match self.columns.get(index) {
                Some(column) => column,
                None if self.name_the_rest => {
                    let name = format!("column{}", index + 1);
                    let path = FieldPath::from_segments([name.as_str()]).ok_or(Failed)?;
                    named = self.place.target.as_ref().map_or_else(|| path.clone(), |target| path.below(target));
                    &named
                }
                None => break,
            };
            if self.place.put_at(path, value, work).is_err() {
                all = Err(Failed);
            }
        }
        all
    }
}

impl Csv {
    /// An empty value without quotes is null.
    fn values(&self, text: &str) -> Result<Vec<Value>, Failed> {
        let mut values = Vec::with_capacity(self.columns.len());
        let mut rest = text.trim_end_matches(['\r', '\n']);
        if rest.is_empty() {
            return Err(Failed);
        }
        loop {
            if values.len() == MEMBERS_MAX {
                return Err(Failed);
            }
            let quoted = self.quote.and_then(|quote| Some((quote, rest.strip_prefix(quote)?)));
            if let Some((quote, inner)) = quoted {
                let (value, behind) = unquoted(inner, quote)?;
                values.push(Value::String(value));
                rest = behind;
                if rest.is_empty() {
                    return Ok(values);
                }
                rest = rest.strip_prefix(&*self.separator).ok_or(Failed)?;
                continue;
            }
            let end = rest.find(&*self.separator);
            let (value, behind) = rest.split_at(end.unwrap_or(rest.len()));
            if self.quote.is_some_and(|quote| value.contains(quote)) {
                return Err(Failed);
            }
            values.push(if value.is_empty() { Value::Null } else { value.into() });
            match behind.strip_prefix(&*self.separator) {
                Some(behind) => rest = behind,
                None => return Ok(values),
            }
        }
    }
}

/// What stands before the closing quote (two of them are one), and what is behind it.
fn unquoted(text: &str, quote: char) -> Result<(CompactString, &str), Failed> {
    let mut value = CompactString::default();
    let mut rest = text;
    loop {
        let (before, behind) = rest.split_once(quote).ok_or(Failed)?;
        value.push_str(before);
        match behind.strip_prefix(quote) {
            Some(behind) => {
                value.push(quote);
                rest = behind;
            }
            None => return Ok((value, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::Place;
    use super::super::tests::{fields_of, path, plain};
    use super::Csv;
    use proptest::prelude::*;
    use serde_json::json;

    fn csv(separator: &str) -> Csv {
        Csv {
            place: Place { field: path("message"), target: None, overwrite: false },
            columns: ["a", "b.c"].map(path).to_vec(),
            separator: separator.to_owned(),
            quote: Some('"'),
            name_the_rest: true,
            skip_empty: false,
        }
    }

    fn check(processor: Csv, input: &str, expect: serde_json::Value) {
        assert_eq!(fields_of(processor, json!(input)), plain(input, expect), "{input}");
    }

    #[test]
    fn values_become_columns() {
        check(csv(","), "1,2,3,4", json!({"a": "1", "b": {"c": "2"}, "column3": "3", "column4": "4"}));
        check(csv(","), "1", json!({"a": "1"}));
        check(csv(","), ",\"\",", json!({"a": null, "b": {"c": ""}, "column3": null}));
        check(csv(","), "\"x, \"\"y\"\"\",\" z\"\r\n", json!({"a": "x, \"y\"", "b": {"c": " z"}}));
        check(csv("||"), "1||é", json!({"a": "1", "b": {"c": "é"}}));
        check(csv("\t"), "1,5\t2", json!({"a": "1,5", "b": {"c": "2"}}));
        check(Csv { skip_empty: true, ..csv(",") }, ",\"\",3", json!({"column3": "3"}));
        check(Csv { name_the_rest: false, ..csv(",") }, "1,2,3", json!({"a": "1", "b": {"c": "2"}}));
        check(Csv { quote: None, ..csv(",") }, "\"1,2", json!({"a": "\"1", "b": {"c": "2"}}));
        check(Csv { quote: Some('\''), ..csv(",") }, "'1,2',x", json!({"a": "1,2", "b": {"c": "x"}}));
        check(Csv { columns: vec![path("host"), path("x")], ..csv(",") }, "1,2", json!({"x": "2"}));
    }

    #[test]
    fn what_is_malformed_fails() {
        for line in ["", "\"open,1", "\"a\"b,1", "a\"b,1"] {
            check(csv(","), line, json!({"tags": ["_csv_failed"]}));
        }
        check(
            Csv { columns: vec![path("host.name.x"), path("x")], ..csv(",") },
            "1,2",
            json!({"x": "2", "tags": ["_csv_failed"]}),
        );
        for value in [json!(7), json!(["1,2"]), json!({"a": 1})] {
            assert_eq!(fields_of(csv(","), value.clone()), plain(value, json!({"tags": ["_csv_failed"]})));
        }
    }

    proptest! {
        /// Guarantee: no text makes it panic.
        #[test]
        fn any_text(text in "([ab]|\"|,|\r|\n|é|\\PC){0,24}", skip_empty: bool) {
            fields_of(Csv { skip_empty, ..csv(",") }, json!(text));
        }
    }
}
