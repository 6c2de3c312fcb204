//! `csv`: the values of a line with separators become columns. One line is one record: a quoted value may have line breaks in
//! it if the text does.
//!
//! A quote that is not closed, or text behind a closing one, fails and changes nothing; a value that is none of its column's type
//! stays a text, and fails too. Not here: finding out the columns from a first line; a line says nothing of the one before it,
//! and after a restart nobody knows which was the first.

use std::collections::BTreeMap;

use compact_str::CompactString;

use super::parsed::{MEMBERS_MAX, Place};
use super::{DateFormat, Failed, Locale, Outcome, Process, Work};
use crate::event::{FieldPath, Timestamp, Value};

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
    /// A line without any value is tagged [`Csv::EMPTY_TAG`] and sets nothing.
    pub skip_empty_rows: bool,
    /// The types of values, by their places in the line; those without one are texts.
    pub types: BTreeMap<usize, ColumnType>,
    /// A line of exactly these values is dropped: the names of the columns. Empty: none is.
    pub header: Vec<String>,
}

/// What a column's values are.
#[derive(Clone, Debug)]
pub enum ColumnType {
    Integer,
    Float,
    Boolean,
    /// A time of one of these formats, in UTC if the text names no zone.
    Time(Vec<DateFormat>),
}

impl ColumnType {
    /// A day, as Ruby's `csv` takes it.
    const DATES: [&str; 7] = [
        "yyyy-MM-dd",
        "yyyy/MM/dd",
        "MMM d yyyy",
        "MMM d, yyyy",
        "EEE MMM d yyyy",
        "EEE, MMM d yyyy",
        "EEE, MMM d, yyyy",
    ];
    /// A day with a time, as Ruby's `csv` takes it.
    const DATE_TIMES: [&str; 7] = [
        "yyyy-MM-dd HH:mm",
        "yyyy-MM-dd'T'HH:mm",
        "MMM d HH:mm:ss yyyy",
        "MMM d HH:mm:ss, yyyy",
        "EEE MMM d HH:mm:ss yyyy",
        "EEE, MMM d HH:mm:ss yyyy",
        "EEE, MMM d HH:mm:ss, yyyy",
    ];

    /// A day: `2026-01-31`, `Jan 31, 2026`.
    pub fn date() -> Self {
        Self::Time(Self::formats(&Self::DATES))
    }

    /// A day with a time: `2026-01-31 10:00:00`, `2026-01-31T10:00:00.123+01:00`, `Sat Jan 31 10:00:00 2026`.
    pub fn date_time() -> Self {
        let days = ["yyyy-MM-dd'T'", "yyyy-MM-dd "];
        let times = ["HH:mm:ss", "HH:mm:ss.SSSSSSSSS"];
        let zones = ["", "Z", " Z"];
        let mut formats = Self::formats(&Self::DATE_TIMES);
        for (day, time) in days.iter().flat_map(|day| times.iter().map(move |time| (day, time))) {
            let all: Vec<String> = zones.iter().map(|zone| [*day, *time, *zone].concat()).collect();
            formats.extend(Self::formats(&all));
        }
        Self::Time(formats)
    }

    fn formats(texts: &[impl AsRef<str>]) -> Vec<DateFormat> {
        let read = |text: &str| DateFormat::parse(text, Locale::default()).expect("the tests read every format");
        texts.iter().map(|text| read(text.as_ref())).collect()
    }

    /// The whole text as a value of the type. Blanks around it do not count.
    fn read(&self, text: &str, read_at: Timestamp) -> Option<Value> {
        let text = text.trim();
        match self {
            Self::Time(formats) => {
                let time = formats.iter().find_map(|format| format.of_text_in_utc(text, read_at))?;
                Some(time.to_string().into())
            }
            Self::Integer => text.parse().ok().map(Value::Int),
            Self::Float => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float),
            Self::Boolean if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
            Self::Boolean => None,
        }
    }
}

impl Csv {
    /// Why headers are dropped, as it is counted.
    pub const HEADER: &'static str = "csv_header";
    /// The tag of lines without any value, as in Logstash.
    pub const EMPTY_TAG: &'static str = "_csvskippedemptyfield";
}

impl Process for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn run(&self, work: &mut Work<'_>) -> Result<Outcome, Failed> {
        let Some(text) = self.place.text(work)? else { return Ok(Outcome::Keep) };
        let is_empty = |value: &Value| value.as_str().is_none_or(str::is_empty);
        let is_skipped = self.skip_empty_rows && text.trim_end_matches(['\r', '\n']).is_empty();
        let values = if is_skipped { Vec::new() } else { self.values(&text)? };
        if self.skip_empty_rows && values.iter().all(is_empty) {
            work.tag(Self::EMPTY_TAG);
            return Ok(Outcome::Keep);
        }
        let texts = || values.iter().map(|value| value.as_str().unwrap_or_default());
        if !self.header.is_empty() && texts().eq(&self.header) {
            return Ok(Outcome::Drop(Self::HEADER));
        }
        let mut all = Ok(Outcome::Keep);
        for (index, value) in values.into_iter().enumerate() {
            if self.skip_empty && is_empty(&value) {
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
            let value = match (self.types.get(&index), value) {
                (Some(column_type), Value::String(text)) if !text.is_empty() => {
                    column_type.read(&text, work.read_at).unwrap_or_else(|| {
                        all = Err(Failed);
                        Value::String(text)
                    })
                }
                (_, value) => value,
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
    use super::super::Outcome;
    use super::super::parsed::Place;
    use super::super::tests::{common, fields_of, path, plain, run, step};
    use super::{ColumnType, Csv};
    use crate::event::{Event, Object, Timestamp};
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn csv(separator: &str) -> Csv {
        Csv {
            place: Place { field: path("message"), target: None, overwrite: false },
            columns: ["a", "b.c"].map(path).to_vec(),
            separator: separator.to_owned(),
            quote: Some('"'),
            name_the_rest: true,
            skip_empty: false,
            skip_empty_rows: false,
            types: BTreeMap::new(),
            header: Vec::new(),
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
        check(Csv { columns: vec![path("host"), path("x")], ..csv(",") }, "1,2", json!({"host": "1", "x": "2"}));
    }

    #[test]
    fn columns_have_types() {
        let types = [(0, ColumnType::Integer), (1, ColumnType::Float), (2, ColumnType::Boolean)];
        let typed = Csv { types: BTreeMap::from(types), ..csv(",") };
        check(
            typed.clone(),
            " -12 ,1.5e3,TRUE,4",
            json!({"a": -12, "b": {"c": 1500.0}, "column3": true, "column4": "4"}),
        );
        check(typed.clone(), ",\"\",false", json!({"a": null, "b": {"c": ""}, "column3": false}));
        for (line, expect) in [
            ("1x,2", json!({"a": "1x", "b": {"c": 2.0}, "tags": ["_csv_failed"]})),
            ("99999999999999999999", json!({"a": "99999999999999999999", "tags": ["_csv_failed"]})),
            ("1,inf,yes", json!({"a": 1, "b": {"c": "inf"}, "column3": "yes", "tags": ["_csv_failed"]})),
        ] {
            check(typed.clone(), line, expect);
        }
    }

    /// Guarantee: what Ruby's `csv` takes for a time is one; it becomes a text of ISO 8601, in UTC.
    #[test]
    fn columns_are_times() {
        let types = BTreeMap::from([(0, ColumnType::date()), (1, ColumnType::date_time())]);
        let typed = Csv { columns: ["a", "b"].map(path).to_vec(), types, ..csv(";") };
        let failed = json!(["_csv_failed"]);
        for (text, expect) in
            [("2002-02-01", "2002-02-01"), ("Feb 1, 2002", "2002-02-01"), ("Fri Feb 1 2002", "2002-02-01")]
        {
            check(typed.clone(), text, json!({"a": format!("{expect}T00:00:00.000Z")}));
        }
        for (text, expect) in [
            ("2003-10-20 16:00:01", "2003-10-20T16:00:01.000Z"),
            ("2003-10-20T16:00", "2003-10-20T16:00:00.000Z"),
            ("2003-10-20T16:00:01.5+02:00", "2003-10-20T14:00:01.500Z"),
            ("2003-10-20 16:00:01 -0100", "2003-10-20T17:00:01.000Z"),
            ("2003-10-20T16:00:01Z", "2003-10-20T16:00:01.000Z"),
            ("Mon Oct 20 16:00:01 2003", "2003-10-20T16:00:01.000Z"),
        ] {
            check(typed.clone(), &format!(";{text}"), json!({"a": null, "b": expect}));
        }
        for text in ["2002-02-30", "1", "2003-10-20T16:00:01", "soon"] {
            check(typed.clone(), text, json!({"a": text, "tags": failed}));
        }
        check(typed, ";2003-10-20", json!({"a": null, "b": "2003-10-20", "tags": failed}));
    }

    #[test]
    fn empty_rows_are_tagged() {
        let skipping = Csv { skip_empty_rows: true, ..csv(",") };
        for line in ["", "\r\n", ",", "\"\",,"] {
            check(skipping.clone(), line, json!({"tags": ["_csvskippedemptyfield"]}));
        }
        check(skipping, "1,", json!({"a": "1", "b": {"c": null}}));
    }

    #[test]
    fn a_header_is_dropped() {
        let headed = Csv { header: vec!["a".to_owned(), "b.c".to_owned()], ..csv(",") };
        let outcome = |line: &str| {
            let mut event = Event::from_object(Object::from_iter([("message", line.into())]), Timestamp(0));
            run(vec![step(headed.clone())], &mut event, &common()).0
        };
        assert_eq!(outcome("a,b.c"), Outcome::Drop("csv_header"));
        assert_eq!(outcome("a,\"b.c\"\r\n"), Outcome::Drop("csv_header"));
        for line in ["a", "a,b.c,", "a,b.c,d", "b.c,a", "a,x", ","] {
            assert_eq!(outcome(line), Outcome::Keep, "{line}");
        }
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
