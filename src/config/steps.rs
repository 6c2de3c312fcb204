//! Processors as written, to processors ready to run.

use std::sync::Arc;

use super::check::Checker;
use super::processors::{Chosen, OnFailure, Precision, Processor};
use super::written::DateFormatText;
use crate::event::{FieldPath, Object};
use crate::process::condition::Condition;
use crate::process::{self, DateFormat, Locale, Process, Step, Zone};

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
            Chosen::Date(date) => {
                let locale = Locale::parse(&date.locale.0)?;
                let format = |format: &DateFormatText| self.parsed(DateFormat::parse(&format.0, locale), path);
                let formats = date.formats.iter().map(format).collect::<Option<_>>()?;
                Arc::new(process::Date {
                    field: self.parsed(FieldPath::parse(&date.field.0), path)?,
                    formats,
                    zone: self.parsed(Zone::parse(&date.timezone.0), path)?,
                    target: self.parsed(FieldPath::parse(&date.target.0), path)?,
                    unit_nanos: match date.precision {
                        Precision::Milliseconds => 1_000_000,
                        Precision::Microseconds => 1_000,
                        Precision::Nanoseconds => 1,
                    },
                })
            }
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
}
