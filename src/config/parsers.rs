//! The processors that take texts apart, and those that send events elsewhere, as written, to ready to run: see `steps`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Checker;
use super::processors::{self as written, CsvType, KvTransform, TrimValues, Whitespace};
use super::written::{Field, LinePattern};
use crate::event::{FieldPath, Object, RouteTo, Template};
use crate::process::{self, Chars, ColumnType, Pattern, Place, Process, Separator, Tokenizer, Transform, Trim};

/// What the reader of JSON takes without a danger for the stack.
const JSON_DEPTH_MAX: u32 = 64;

impl Checker<'_> {
    fn place(&mut self, field: &Field, target: &Field, overwrite: bool, path: &[&str]) -> Option<Place> {
        Some(Place {
            field: self.parsed(FieldPath::parse(&field.0), path)?,
            target: match target.0.as_str() {
                "" => None,
                target => Some(self.parsed(FieldPath::parse(target), path)?),
            },
            overwrite,
        })
    }

    pub(super) fn dissect(&mut self, dissect: &written::Dissect, path: &[&str]) -> Option<Arc<dyn Process>> {
        let place = self.place(&dissect.field, &dissect.target_prefix, dissect.overwrite_keys, path)?;
        if dissect.tokenizer.0.is_empty() {
            // What was written was none, which was said.
            return None;
        }
        let tokenizer = self.parsed(Tokenizer::parse(&dissect.tokenizer.0), path)?;
        Some(Arc::new(process::Dissect {
            tokenizer: match &place.target {
                Some(target) => tokenizer.below(target),
                None => tokenizer,
            },
            place,
            trim: match dissect.trim_values {
                TrimValues::None => Trim::None,
                TrimValues::Left => Trim::Left,
                TrimValues::Right => Trim::Right,
                TrimValues::All => Trim::All,
            },
            trim_chars: dissect.trim_chars.clone(),
        }))
    }

    pub(super) fn csv(&mut self, csv: &written::Csv, path: &[&str]) -> Option<Arc<dyn Process>> {
        let place = self.place(&csv.field, &csv.target, csv.overwrite_keys, path)?;
        if csv.columns.is_empty() && !csv.autogenerate_column_names {
            let message = "`columns` is empty: without it and without `autogenerate_column_names` nothing is set";
            self.say_at(path, message);
        }
        let mut columns = Vec::with_capacity(csv.columns.len());
        for column in &csv.columns {
            let column = self.parsed(FieldPath::parse(&column.0), path)?;
            columns.push(place.target.as_ref().map_or_else(|| column.clone(), |target| column.below(target)));
        }
        if csv.separator.is_empty() {
            self.say_at(&[path, &["separator"]].concat(), "`separator` is empty: expected a text between two values");
        }
        let mut quote = csv.quote.chars();
        let (first, second) = (quote.next(), quote.next());
        if second.is_some() {
            self.say_at(&[path, &["quote"]].concat(), "`quote` must be one character, or empty for none");
        }
        Some(Arc::new(process::Csv {
            place,
            columns,
            separator: csv.separator.replace("\\t", "\t"),
            quote: first,
            name_the_rest: csv.autogenerate_column_names,
            skip_empty: csv.skip_empty_columns,
            skip_empty_rows: csv.skip_empty_rows,
            types: self.column_types(csv, path),
            header: self.header(csv, path),
        }))
    }

    /// The types of `convert`, by the places of their columns.
    fn column_types(&mut self, csv: &written::Csv, path: &[&str]) -> BTreeMap<usize, ColumnType> {
        let mut types = BTreeMap::new();
        for (name, written) in &csv.convert {
            let column_type = match written {
                CsvType::Integer => ColumnType::Integer,
                CsvType::Float => ColumnType::Float,
                CsvType::Boolean => ColumnType::Boolean,
                CsvType::Date => ColumnType::date(),
                CsvType::DateTime => ColumnType::date_time(),
            };
            let of_name = |(index, column): (usize, &Field)| (column.0 == *name).then_some(index);
            let mut places: Vec<usize> = csv.columns.iter().enumerate().filter_map(of_name).collect();
            let generated = name.strip_prefix("column").and_then(|number| number.parse::<usize>().ok());
            let is_generated = |number: &usize| csv.autogenerate_column_names && *number > csv.columns.len();
            places.extend(generated.filter(is_generated).map(|number| number - 1));
            if places.is_empty() {
                self.say_at(&[path, &["convert", name]].concat(), format!("`{name}` is none of the `columns`"));
            }
            types.extend(places.into_iter().map(|place| (place, column_type.clone())));
        }
        types
    }

    /// The values of the line that `skip_header` drops.
    fn header(&mut self, csv: &written::Csv, path: &[&str]) -> Vec<String> {
        if !csv.skip_header {
            return Vec::new();
        }
        if csv.columns.is_empty() {
            let message = "`skip_header` needs `columns`: their names are the header";
            self.say_at(&[path, &["skip_header"]].concat(), message);
        }
        csv.columns.iter().map(|column| column.0.clone()).collect()
    }

    pub(super) fn json(&mut self, json: &written::Json, path: &[&str]) -> Option<Arc<dyn Process>> {
        self.size_within(&[path, &["max_bytes"]].concat(), json.max_bytes, 2, 16 << 20);
        if !(1..=JSON_DEPTH_MAX).contains(&json.max_depth.0) {
            let message = format!("`max_depth` must be 1 to {JSON_DEPTH_MAX}");
            self.say_at(&[path, &["max_depth"]].concat(), message);
        }
        Some(Arc::new(process::Json {
            place: self.place(&json.field, &json.target, json.overwrite_keys, path)?,
            expand: json.expand_keys,
            depth_max: usize::try_from(json.max_depth.0).ok()?,
            bytes_max: usize::try_from(json.max_bytes.0).ok()?,
            error_key: if json.add_error_key { FieldPath::from_segments(["error", "message"]) } else { None },
        }))
    }

    pub(super) fn kv(&mut self, kv: &written::Kv, path: &[&str]) -> Option<Arc<dyn Process>> {
        let field_split = self.separator("field_split", &kv.field_split, kv.field_split_pattern.as_ref(), path)?;
        let value_split = self.separator("value_split", &kv.value_split, kv.value_split_pattern.as_ref(), path)?;
        if let (Separator::Chars(field), Separator::Chars(value)) = (&field_split, &value_split)
            && let Some(both) = value.common(field)
        {
            let message = format!("{both:?} can't be in `field_split` and in `value_split`");
            self.say_at(&[path, &["value_split"]].concat(), message);
        }
        Some(Arc::new(process::Kv {
            place: self.place(&kv.field, &kv.target, kv.overwrite_keys, path)?,
            expand: kv.expand_keys,
            field_split,
            value_split,
            trim_key: Chars::parse(&kv.trim_key),
            trim_value: Chars::parse(&kv.trim_value),
            remove_char_key: Chars::parse(&kv.remove_char_key),
            remove_char_value: Chars::parse(&kv.remove_char_value),
            transform_key: kv.transform_key.map(transform),
            transform_value: kv.transform_value.map(transform),
            defaults: Object::from_json(kv.default_keys.clone()),
            recursive: kv.recursive,
            prefix: self.parsed(Template::parse(&kv.prefix.0), path)?,
            include: self.templates(&kv.include_keys, path)?,
            exclude: self.templates(&kv.exclude_keys, path)?,
            brackets: kv.include_brackets,
            duplicates: kv.allow_duplicate_values,
            empty: kv.allow_empty_values,
            lenient: kv.whitespace == Whitespace::Lenient,
        }))
    }

    /// What is written as `KEY`, or as `KEY_pattern` instead.
    fn separator(&mut self, key: &str, chars: &str, pattern: Option<&LinePattern>, path: &[&str]) -> Option<Separator> {
        let Some(pattern) = pattern else {
            if chars.is_empty() {
                self.say_at(&[path, &[key]].concat(), format!("`{key}` is empty: expected at least one character"));
            }
            return Some(Separator::Chars(Chars::parse(chars)));
        };
        let pattern_key = format!("{key}_pattern");
        if self.is_written(&[path, &[key]].concat()) {
            self.say_at(&[path, &[key]].concat(), format!("`{key}` and `{pattern_key}`: keep one"));
        }
        self.parsed(Separator::pattern(&pattern.0), &[path, &[&*pattern_key]].concat())
    }

    pub(super) fn logfmt(&mut self, logfmt: &written::Logfmt, path: &[&str]) -> Option<Arc<dyn Process>> {
        Some(Arc::new(process::Logfmt {
            place: self.place(&logfmt.field, &logfmt.target, logfmt.overwrite_keys, path)?,
            expand: logfmt.expand_keys,
        }))
    }

    pub(super) fn regex(&mut self, regex: &written::Regex, path: &[&str]) -> Option<Arc<dyn Process>> {
        let place = self.place(&regex.field, &regex.target, regex.overwrite_keys, path)?;
        let mut patterns = Vec::with_capacity(regex.patterns.len());
        for (index, pattern) in regex.patterns.iter().enumerate() {
            let index = index.to_string();
            let path = [path, &["patterns", index.as_str()]].concat();
            patterns.push(self.parsed(Pattern::parse(&pattern.0, place.target.as_ref()), &path)?);
        }
        Some(Arc::new(process::Regex { place, patterns }))
    }

    pub(super) fn route_to(&mut self, route: &written::Route, path: &[&str]) -> Option<Arc<dyn Process>> {
        if !["topic", "key", "headers"].iter().any(|key| self.is_written(&[path, &[*key]].concat())) {
            self.say_at(path, "`route` says nothing: expected `topic`, `key` or `headers`");
        }
        let mut template = |text: Option<&String>| match text {
            Some(text) => self.parsed(Template::parse(text), path).map(Some),
            None => Some(None),
        };
        let topic = template(route.topic.as_ref().map(|topic| &topic.0))?;
        let key = template(route.key.as_ref().map(|key| &key.0))?;
        let mut headers = Vec::with_capacity(route.headers.len());
        for (name, value) in &route.headers {
            headers.push((Arc::from(name.as_str()), template(Some(&value.0))??));
        }
        Some(Arc::new(process::Route { to: Arc::new(RouteTo { topic, key, headers }) }))
    }
}

fn transform(written: KvTransform) -> Transform {
    match written {
        KvTransform::Lowercase => Transform::Lowercase,
        KvTransform::Uppercase => Transform::Uppercase,
        KvTransform::Capitalize => Transform::Capitalize,
    }
}
