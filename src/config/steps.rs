//! Processors as written, to processors ready to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Checker;
use super::processors::{Chosen, ConvertType, Date, OnFailure, Precision, Processor, When};
use super::written::{ConditionText, Count, DateFormatText, Field, Size, TemplateText};
use crate::event::{FieldPath, Object, Template};
use crate::process::condition::Condition;
use crate::process::{self, Chain, DateFormat, LastRead, Limit, Locale, Process, Step, Type, Zone};

/// How deep `when` may be nested: what bounds the stack at run time.
const WHEN_DEPTH_MAX: usize = 6;

impl Checker<'_> {
    /// The steps of the list at `path`.
    pub(super) fn steps(&mut self, written: &[Processor], path: &[&str]) -> Vec<Step> {
        let mut steps = Vec::with_capacity(written.len());
        for (index, processor) in written.iter().enumerate() {
            let Some((key, chosen, around)) = processor.chosen() else { continue };
            let index = index.to_string();
            let path = [path, &[index.as_str(), key]].concat();
            let Some(processor) = self.processor(chosen, around.condition, &path) else { continue };
            let condition = match around.condition.filter(|_| key != "when") {
                Some(text) => match self.parsed(Condition::parse(&text.0), &path) {
                    Some(condition) => Some(condition),
                    None => continue,
                },
                None => None,
            };
            let on_failure = match around.on_failure {
                OnFailure::Tag => process::OnFailure::Tag,
                OnFailure::Drop => process::OnFailure::Drop,
                OnFailure::DeadLetter => process::OnFailure::DeadLetter,
            };
            steps.push(Step { condition, processor, on_failure, tags: around.tags.to_vec() });
        }
        steps
    }

    /// The processor written at `path`.
    fn processor(
        &mut self,
        chosen: Chosen<'_>,
        condition: Option<&ConditionText>,
        path: &[&str],
    ) -> Option<Arc<dyn Process>> {
        Some(match chosen {
            Chosen::AddFields(add) => {
                let target = match add.target.0.as_str() {
                    "" => None,
                    target => Some(self.parsed(FieldPath::parse(target), path)?),
                };
                Arc::new(process::AddFields::new(target, Object::from_json(add.fields.clone())))
            }
            Chosen::Cloud(cloud) => self.cloud(cloud, path)?,
            Chosen::Csv(csv) => self.csv(csv, path)?,
            Chosen::Dissect(dissect) => self.dissect(dissect, path)?,
            Chosen::Json(json) => self.json(json, path)?,
            Chosen::Kv(kv) => self.kv(kv, path)?,
            Chosen::Logfmt(logfmt) => self.logfmt(logfmt, path)?,
            Chosen::Regex(regex) => self.regex(regex, path)?,
            Chosen::Route(route) => self.route_to(route, path)?,
            Chosen::When(when) => self.when(when, condition, path)?,
            Chosen::Date(date) => Arc::new(self.date(date, path)?),
            Chosen::DropFields(drop) => {
                if !drop.ignore_missing {
                    self.warn_at(
                        &[path, &["ignore_missing"]].concat(),
                        "`ignore_missing: false` has no effect: a field that is not there is never an error",
                    );
                }
                Arc::new(process::DropFields { name: "drop_fields", fields: self.fields(&drop.fields, path)? })
            }
            Chosen::Remove(remove) => {
                Arc::new(process::DropFields { name: "remove", fields: self.fields(&remove.fields, path)? })
            }
            Chosen::Keep(keep) => Arc::new(process::Keep { fields: self.fields(&keep.fields, path)? }),
            Chosen::Lowercase(lower) => Arc::new(process::Lowercase { fields: self.fields(&lower.fields, path)? }),
            Chosen::Uppercase(upper) => Arc::new(process::Uppercase { fields: self.fields(&upper.fields, path)? }),
            Chosen::Strip(strip) => Arc::new(process::Strip { fields: self.fields(&strip.fields, path)? }),
            Chosen::Split(split) => Arc::new(process::Split { fields: self.by_field(&split.fields, path)? }),
            Chosen::Join(join) => Arc::new(process::Join { fields: self.by_field(&join.fields, path)? }),
            Chosen::Convert(convert) => {
                let types = self.by_field(&convert.fields, path)?;
                let fields = types.into_iter().map(|(field, to)| (field, type_of(to)));
                Arc::new(process::Convert { fields: fields.collect() })
            }
            Chosen::Set(set) => {
                let made = process::Set::new(Object::from_json(set.fields.clone()), set.overwrite);
                let (name, made) = match made {
                    Ok(set) => (String::new(), Ok(set)),
                    Err((name, error)) => (name, Err(error)),
                };
                Arc::new(self.parsed(made, &[path, &["fields", &name]].concat())?)
            }
            Chosen::Host(host) => {
                let mut facts = self.world.host();
                if !host.netinfo {
                    facts.addresses.clear();
                    facts.macs.clear();
                }
                Arc::new(process::Host::new(&facts))
            }
            Chosen::Copy(copy) => {
                let pairs = copy.fields.iter().map(|pair| (&pair.from, &pair.to));
                Arc::new(process::Copy { fields: self.pairs(pairs, path)?, overwrite: copy.overwrite })
            }
            Chosen::Capitalize(capital) => {
                Arc::new(process::Capitalize { fields: self.fields(&capital.fields, path)? })
            }
            Chosen::Merge(merge) => {
                let pairs = merge.fields.iter().map(|pair| (&pair.from, &pair.to));
                Arc::new(process::Merge { fields: self.pairs(pairs, path)? })
            }
            Chosen::Grok(grok) => Arc::new(self.grok(grok, path)?),
            Chosen::Gsub(gsub) => {
                let mut fields = Vec::with_capacity(gsub.fields.len());
                for (index, one) in gsub.fields.iter().enumerate() {
                    let field = self.parsed(FieldPath::parse(&one.field.0), path)?;
                    let made = process::Substitution::new(field, &one.pattern.0, &one.replacement);
                    let index = index.to_string();
                    fields.push(self.parsed(made, &[path, &["fields", &index, "replacement"]].concat())?);
                }
                Arc::new(process::Gsub { fields })
            }
            Chosen::Fingerprint(fingerprint) => self.fingerprint(fingerprint, path)?,
            Chosen::Geoip(geoip) => self.geoip(geoip, path)?,
            Chosen::Sample(sample) => self.sample(sample, path)?,
            Chosen::RateLimit(limit) => self.rate_limit(limit, path)?,
            Chosen::Redact(redact) => self.redact(redact, path)?,
            Chosen::UserAgent(agent) => self.user_agent(agent, path)?,
            Chosen::Truncate(truncate) => {
                let limit = match (truncate.max_bytes, truncate.max_characters) {
                    (Some(Size(bytes)), None) => Limit::Bytes(usize::try_from(bytes).unwrap_or(usize::MAX)),
                    (None, Some(Count(characters))) => Limit::Characters(characters as usize),
                    _ => {
                        self.say_at(path, "expected one of `max_bytes` and `max_characters`");
                        return None;
                    }
                };
                Arc::new(process::Truncate { fields: self.fields(&truncate.fields, path)?, limit })
            }
            Chosen::AddTags(add) => Arc::new(process::AddTags { tags: self.templates(&add.tags, path)? }),
            Chosen::RemoveTags(remove) => {
                Arc::new(process::RemoveTags::new(remove.tags.iter().map(|tag| tag.0.clone()).collect()))
            }
            Chosen::Rename(rename) => {
                let pairs = rename.fields.iter().map(|pair| (&pair.from, &pair.to));
                Arc::new(process::Rename { fields: self.pairs(pairs, path)?, overwrite: rename.overwrite })
            }
            Chosen::DropEvent(_) => Arc::new(process::DropEvent),
        })
    }

    fn date(&mut self, date: &Date, path: &[&str]) -> Option<process::Date> {
        let locale = Locale::parse(&date.locale.0)?;
        let format = |format: &DateFormatText| self.parsed(DateFormat::parse(&format.0, locale), path);
        let formats = date.formats.iter().map(format).collect::<Option<_>>()?;
        Some(process::Date {
            field: self.parsed(FieldPath::parse(&date.field.0), path)?,
            formats,
            zone: self.parsed(Zone::parse(&date.timezone.0), path)?,
            target: self.parsed(FieldPath::parse(&date.target.0), path)?,
            unit_nanos: match date.precision {
                Precision::Milliseconds => 1_000_000,
                Precision::Microseconds => 1_000,
                Precision::Nanoseconds => 1,
            },
            last: LastRead::default(),
        })
    }

    fn when(&mut self, when: &When, condition: Option<&ConditionText>, path: &[&str]) -> Option<Arc<dyn Process>> {
        let Some(text) = condition else {
            let beside = path.split_last().map_or(path, |(_, item)| item);
            if ![path, beside].iter().any(|path| self.is_written(&[*path, &["if"]].concat())) {
                self.say_at(path, "`if` is missing: expected a condition such as `[status] >= 500`");
            }
            return None;
        };
        if path.iter().filter(|part| **part == "when").count() > WHEN_DEPTH_MAX {
            self.say_at(path, format!("`when` can be nested {WHEN_DEPTH_MAX} deep"));
            return None;
        }
        let condition = self.parsed(Condition::parse(&text.0), path);
        let then = self.steps(&when.then, &[path, &["then"]].concat());
        let otherwise = self.steps(&when.otherwise, &[path, &["else"]].concat());
        Some(Arc::new(process::When {
            condition: condition?,
            then: Chain::new(then),
            otherwise: Chain::new(otherwise),
        }))
    }

    pub(super) fn templates(&mut self, texts: &[TemplateText], path: &[&str]) -> Option<Vec<Template>> {
        texts.iter().map(|text| self.parsed(Template::parse(&text.0), path)).collect()
    }

    pub(super) fn fields(&mut self, written: &[Field], path: &[&str]) -> Option<Vec<FieldPath>> {
        written.iter().map(|field| self.parsed(FieldPath::parse(&field.0), path)).collect()
    }

    fn pairs<'a>(
        &mut self,
        written: impl Iterator<Item = (&'a Field, &'a Field)>,
        path: &[&str],
    ) -> Option<Vec<(FieldPath, FieldPath)>> {
        let mut pairs = Vec::new();
        for (from, to) in written {
            let from = self.parsed(FieldPath::parse(&from.0), path)?;
            pairs.push((from, self.parsed(FieldPath::parse(&to.0), path)?));
        }
        Some(pairs)
    }

    /// What is written for each field of a map `fields`.
    fn by_field<T: Clone>(&mut self, written: &BTreeMap<String, T>, path: &[&str]) -> Option<Vec<(FieldPath, T)>> {
        let mut made = Vec::with_capacity(written.len());
        for (name, value) in written {
            let field = self.parsed(FieldPath::parse(name), &[path, &["fields", name]].concat())?;
            made.push((field, value.clone()));
        }
        Some(made)
    }
}

fn type_of(written: ConvertType) -> Type {
    match written {
        ConvertType::Integer => Type::Integer,
        ConvertType::IntegerEu => Type::IntegerEu,
        ConvertType::Float => Type::Float,
        ConvertType::FloatEu => Type::FloatEu,
        ConvertType::String => Type::String,
        ConvertType::Boolean => Type::Boolean,
    }
}
