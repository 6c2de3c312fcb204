//! Processors as written, to processors ready to run.

use std::sync::Arc;

use super::check::Checker;
use super::processors::{self as written, Chosen, OnFailure, Processor, TrimValues};
use super::written::Field;
use crate::event::{FieldPath, Object};
use crate::process::condition::Condition;
use crate::process::{self, Place, Process, Step, Tokenizer, Trim};

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
}
