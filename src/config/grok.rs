//! The options of `grok`: patterns are compiled here, with the files of `patterns_dir`, so that what is wrong with one is said
//! with its place.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::event::FieldPath;
use crate::process::grok::{Definitions, Engine, Grok, Set, processor};

use super::check::Checker;
use super::marked::{Node, Scalar};
use super::processors::{self as written, EcsCompatibility, EngineName};

impl Checker<'_> {
    /// `path` leads to the options of the processor.
    pub(super) fn grok(&mut self, grok: &written::Grok, path: &[&str]) -> Option<processor::Processor> {
        let definitions = self.definitions(grok, path)?;
        let below = |key: &'static str| [path, &[key]].concat();
        if grok.patterns.is_empty() == grok.matches.is_empty() {
            let either = "expected `patterns`, or `match` with fields and their patterns";
            self.say_at(path, if grok.patterns.is_empty() { either } else { "`patterns` and `match`: keep one" });
            return None;
        }
        let mut matches = Vec::new();
        if !grok.patterns.is_empty() {
            let field = self.parsed(FieldPath::parse(&grok.field.0), path)?;
            let patterns = &below("patterns");
            let compiled = grok.patterns.iter().enumerate().map(|(index, pattern)| {
                let index = index.to_string();
                self.pattern(pattern, &definitions, grok, &[patterns.as_slice(), &[&index]].concat())
            });
            matches.push((field, compiled.collect::<Vec<_>>()));
        }
        for (name, patterns) in &grok.matches {
            let place = &[below("match").as_slice(), &[name.as_str()]].concat();
            let field = match FieldPath::parse(name) {
                Ok(field) => field,
                Err(error) => {
                    self.say_at(place, format!("expected the name of a field: {}", error.message));
                    continue;
                }
            };
            let compiled = match patterns {
                Value::String(pattern) => vec![self.pattern(pattern, &definitions, grok, place)],
                Value::Array(patterns) if patterns.iter().all(Value::is_string) => {
                    let texts = patterns.iter().filter_map(Value::as_str).enumerate();
                    let compiled = texts.map(|(index, pattern)| {
                        let index = index.to_string();
                        self.pattern(pattern, &definitions, grok, &[place.as_slice(), &[&index]].concat())
                    });
                    compiled.collect()
                }
                _ => {
                    self.say_at(place, "expected a pattern, or a list of patterns");
                    continue;
                }
            };
            matches.push((field, compiled));
        }
        let whole =
            matches.into_iter().map(|(field, patterns)| Some((field, patterns.into_iter().collect::<Option<_>>()?)));
        let target = match grok.target.as_ref() {
            Some(target) => Some(self.parsed(FieldPath::parse(&target.0), path)?),
            None => None,
        };
        Some(processor::Processor::new(processor::Options {
            matches: whole.collect::<Option<_>>()?,
            break_on_match: grok.break_on_match,
            overwrite: grok.overwrite.clone(),
            keep_empty_captures: grok.keep_empty_captures,
            target,
        }))
    }

    /// The built-in set, over it the files of `patterns_dir` in the order of their names, over these `pattern_definitions`.
    fn definitions(&mut self, grok: &written::Grok, path: &[&str]) -> Option<Definitions> {
        let mut definitions = Definitions::new(match grok.ecs_compatibility {
            EcsCompatibility::Disabled => Set::Legacy,
            EcsCompatibility::V8 => Set::V8,
        });
        let mut is_whole = true;
        for (index, folder) in grok.patterns_dir.iter().enumerate() {
            let index = index.to_string();
            let place = &[path, &["patterns_dir", &index]].concat();
            let shown = self.written(place);
            let folder = Path::new(&folder.0);
            let files = match self.world.list(folder) {
                Ok(Some(mut files)) => {
                    files.sort();
                    files
                }
                Ok(None) => vec![folder.to_owned()],
                Err(error) => {
                    self.say_at(place, format!("cannot list `{shown}`: {error}"));
                    is_whole = false;
                    continue;
                }
            };
            for file in files {
                match self.world.read(&file) {
                    Ok(bytes) => definitions.define_all(&String::from_utf8_lossy(&bytes)),
                    Err(error) => {
                        self.say_at(place, format!("cannot read {}: {error}", file.display()));
                        is_whole = false;
                    }
                }
            }
        }
        for (name, definition) in &grok.pattern_definitions {
            let Some(definition) = definition.as_str() else {
                self.say_at(&[path, &["pattern_definitions", name]].concat(), "expected a regular expression, a text");
                is_whole = false;
                continue;
            };
            definitions.define(name, definition);
        }
        is_whole.then_some(definitions)
    }

    fn pattern(
        &mut self,
        pattern: &str,
        definitions: &Definitions,
        grok: &written::Grok,
        place: &[&str],
    ) -> Option<Arc<Grok>> {
        let engine = match grok.engine {
            EngineName::Linear => Engine::Linear,
            EngineName::Backtracking => Engine::Backtracking,
        };
        match Grok::compile(pattern, definitions, grok.named_captures_only, engine) {
            Ok(compiled) => Some(Arc::new(compiled)),
            Err(error) => {
                let before: usize = pattern.chars().take(error.column() - 1).map(char::len_utf8).sum();
                let node: Option<&Node> = self.root.find(place);
                let at = node.map_or_else(|| self.root.pos_of(place), |node| node.pos_in(before));
                let is_substituted = node.and_then(Node::as_scalar).is_some_and(Scalar::is_substituted);
                let message = match is_substituted {
                    true => format!("this pattern can't be used: something is wrong at its column {}", error.column()),
                    false => format!("this pattern can't be used: {error}"),
                };
                self.say(at, message);
                None
            }
        }
    }
}
