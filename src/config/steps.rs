//! Processors as written, to processors ready to run.

use std::sync::Arc;

use super::check::Checker;
use super::processors::{self as written, Chosen, OnFailure, Processor, TrimValues, Whitespace};
use super::written::Field;
use crate::event::{FieldPath, Object};
use crate::process::condition::Condition;
use crate::process::{self, Pattern, Place, Process, Step, Tokenizer, Trim};

/// What the reader of JSON takes without a danger for the stack.
const JSON_DEPTH_MAX: u32 = 64;

impl Checker<'_> {
    /// The steps of the list at `path`.
    pub(super) fn steps(&mut self, written: &[Processor], path: &[&str]) -> Vec<Step> {
        let mut steps = Vec::with_capacity(written.len());
        for (index, processor) in written.iter().enumerate() {
            let Some((key, chosen, around)) = processor.chosen() else { continue };
            let index = index.to_string();
            let path = [path, &[index.as_str(), key]].concat();
            let Some(processor) = self.processor(chosen, &path) else { continue };
            let condition = match around.condition {
                Some(text) => match self.parsed(Condition::parse(&text.0), &path) {
                    Some(condition) => Some(condition),
                    None => continue,
                },
                None => None,
            };
            let on_failure = match around.on_failure {
                OnFailure::Tag => process::OnFailure::Tag,
                OnFailure::Drop => process::OnFailure::Drop,
            };
            steps.push(Step { condition, processor, on_failure, tags: around.tags.to_vec() });
        }
        steps
    }

    /// The processor written at `path`.
    fn processor(&mut self, chosen: Chosen<'_>, path: &[&str]) -> Option<Arc<dyn Process>> {
        Some(match chosen {
            Chosen::AddFields(add) => {
                let target = match add.target.0.as_str() {
                    "" => None,
                    target => Some(self.parsed(FieldPath::parse(target), path)?),
                };
                Arc::new(process::AddFields::new(target, Object::from_json(add.fields.clone())))
            }
            Chosen::Csv(csv) => self.csv(csv, path)?,
            Chosen::Dissect(dissect) => self.dissect(dissect, path)?,
            Chosen::DropFields(drop) => {
                if !drop.ignore_missing {
                    self.warn_at(
                        &[path, &["ignore_missing"]].concat(),
                        "`ignore_missing: false` has no effect: a field that is not there is never an error",
                    );
                }
                let field = |field: &super::written::Field| self.parsed(FieldPath::parse(&field.0), path);
                Arc::new(process::DropFields { fields: drop.fields.iter().map(field).collect::<Option<_>>()? })
            }
            Chosen::Json(json) => self.json(json, path)?,
            Chosen::Kv(kv) => self.kv(kv, path)?,
            Chosen::Logfmt(logfmt) => Arc::new(process::Logfmt {
                place: self.place(&logfmt.field, &logfmt.target, logfmt.overwrite_keys, path)?,
                expand: logfmt.expand_keys,
            }),
            Chosen::Regex(regex) => {
                let place = self.place(&regex.field, &regex.target, regex.overwrite_keys, path)?;
                let mut patterns = Vec::with_capacity(regex.patterns.len());
                for (index, pattern) in regex.patterns.iter().enumerate() {
                    let index = index.to_string();
                    let path = [path, &["patterns", index.as_str()]].concat();
                    patterns.push(self.parsed(Pattern::parse(&pattern.0, place.target.as_ref()), &path)?);
                }
                Arc::new(process::Regex { place, patterns })
            }
            Chosen::Rename(rename) => {
                let mut fields = Vec::with_capacity(rename.fields.len());
                for pair in &rename.fields {
                    let from = self.parsed(FieldPath::parse(&pair.from.0), path)?;
                    fields.push((from, self.parsed(FieldPath::parse(&pair.to.0), path)?));
                }
                Arc::new(process::Rename { fields })
            }
            Chosen::DropEvent(_) => Arc::new(process::DropEvent),
        })
    }

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

    fn dissect(&mut self, dissect: &written::Dissect, path: &[&str]) -> Option<Arc<dyn Process>> {
        let place = self.place(&dissect.field, &dissect.target_prefix, dissect.overwrite_keys, path)?;
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

    fn csv(&mut self, csv: &written::Csv, path: &[&str]) -> Option<Arc<dyn Process>> {
        let place = self.place(&csv.field, &csv.target, csv.overwrite_keys, path)?;
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
            separator: csv.separator.clone(),
            quote: first,
            name_the_rest: csv.autogenerate_column_names,
            skip_empty: csv.skip_empty_columns,
        }))
    }

    fn json(&mut self, json: &written::Json, path: &[&str]) -> Option<Arc<dyn Process>> {
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

    fn kv(&mut self, kv: &written::Kv, path: &[&str]) -> Option<Arc<dyn Process>> {
        for (key, value) in [("field_split", &kv.field_split), ("value_split", &kv.value_split)] {
            if value.is_empty() {
                self.say_at(&[path, &[key]].concat(), format!("`{key}` is empty: expected at least one character"));
            }
        }
        if let Some(both) = kv.value_split.chars().find(|c| kv.field_split.contains(*c)) {
            let message = format!("{both:?} can't be in `field_split` and in `value_split`");
            self.say_at(&[path, &["value_split"]].concat(), message);
        }
        Some(Arc::new(process::Kv {
            place: self.place(&kv.field, &kv.target, kv.overwrite_keys, path)?,
            expand: kv.expand_keys,
            field_split: kv.field_split.clone(),
            value_split: kv.value_split.clone(),
            trim_key: kv.trim_key.clone(),
            trim_value: kv.trim_value.clone(),
            prefix: kv.prefix.clone(),
            include: kv.include_keys.clone(),
            exclude: kv.exclude_keys.clone(),
            brackets: kv.include_brackets,
            duplicates: kv.allow_duplicate_values,
            empty: kv.allow_empty_values,
            lenient: kv.whitespace == Whitespace::Lenient,
        }))
    }
}
