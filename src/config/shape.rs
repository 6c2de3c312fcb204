//! Checks a parsed config against the schema: unknown keys, missing keys, wrong types, wrong words, malformed texts.
//!
//! What is wrong is said and left out, so that the rest can be read into the types of `written` and checked further: one
//! run finds all mistakes. What keys mean together is not looked at here.

use std::sync::LazyLock;

use regex::Regex;
use saphyr::Scalar as Core;
use serde_json::{Map, Value};

use super::leaf;
use super::marked::{Data, Node, Parsed, Scalar};
use super::mistake::{Mistakes, Pos, did_you_mean};
use super::schema::{marks, resolve, tagged, words};
use super::written::NAME_PATTERN;

static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(NAME_PATTERN).expect("the pattern is a constant"));

/// What other agents have and this one says in other words: the word, a key that stands beside it here, and what to write.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "mutate",
        "set",
        "its verbs are processors of their own: `set`, `rename`, `copy`, `remove`, `convert`, `gsub`, `lowercase`, `uppercase`, \
         `capitalize`, `strip`, `split`, `join`, `merge`",
    ),
    ("ruby", "set", "no code runs here; see `set`, `convert`, `gsub` and `when`"),
    ("add_field", "tag_on_failure", "that is a processor of its own, `set`, in the item behind this one"),
    ("add_tag", "tag_on_failure", "that is a processor of its own, `add_tags`, in the item behind this one"),
    ("remove_field", "tag_on_failure", "that is a processor of its own, `remove`, in the item behind this one"),
    ("remove_tag", "tag_on_failure", "that is a processor of its own, `remove_tags`, in the item behind this one"),
    ("convert_datatype", "tokenizer", "write `%{name|integer}` or `%{name|float}` in `tokenizer`"),
    (
        "autodetect_column_names",
        "columns",
        "write the `columns`: after a restart in the middle of a file there is no first line to take them from",
    ),
    ("skip_on_invalid_json", "max_depth", "write `tag_on_failure: []`"),
    ("timeout_millis", "pattern_definitions", "no line takes longer than its length allows"),
];

/// Words of other shippers for keys of ours.
const FOREIGN: &[(&str, &str)] = &[
    ("hosts", "brokers"),
    ("source", "field"),
    ("quote_char", "quote"),
    ("mapping", "tokenizer"),
    ("length_bytes", "max_bytes"),
    ("bootstrap_servers", "brokers"),
    ("required_acks", "acks"),
    ("include", "paths"),
    ("path", "paths"),
    ("exclude_files", "exclude"),
    ("prospectors", "inputs"),
    ("sources", "inputs"),
    ("sinks", "outputs"),
    ("output", "outputs"),
    ("input", "inputs"),
    ("ssl", "tls"),
    ("add_host_metadata", "host"),
    ("match", "formats"),
    ("layouts", "formats"),
    ("add_field", "set"),
    ("replace", "set"),
    ("update", "set"),
    ("add_tag", "add_tags"),
    ("remove_tag", "remove_tags"),
    ("remove_field", "remove"),
    ("copy_fields", "copy"),
    ("truncate_fields", "truncate"),
    ("include_fields", "keep"),
    ("prune", "keep"),
    ("drop", "drop_event"),
    ("timestamp", "date"),
    ("throttle", "rate_limit"),
    ("useragent", "user_agent"),
    ("count_lines", "count"),
    ("while_pattern", "while"),
    ("presets", "preset"),
    ("parser", "preset"),
    ("parsers", "preset"),
];

/// The parts of `parsed` that are as the schema says, as JSON.
pub(crate) fn check(parsed: &Parsed, schema: &Value, mistakes: &mut Mistakes) -> Value {
    let mut shape = Shape { root: schema, broken: &parsed.broken, mistakes };
    shape.value(&parsed.root, schema, Owner { key: "", at: Pos::START }).unwrap_or_else(|| Map::new().into())
}

struct Shape<'a> {
    root: &'a Value,
    /// Top-level sections that can't be read: not missing.
    broken: &'a [String],
    mistakes: &'a mut Mistakes,
}

/// The key that a value belongs to (of a list's item: the list's).
#[derive(Clone, Copy)]
struct Owner<'a> {
    key: &'a str,
    at: Pos,
}

impl Shape<'_> {
    fn value(&mut self, node: &Node, schema: &Value, owner: Owner) -> Option<Value> {
        let root = self.root;
        let schema = resolve(root, schema);
        if schema == &Value::Bool(true) {
            return any(node);
        }
        if let Some(alternatives) = tagged(schema) {
            return self.alternative(node, schema, &alternatives, owner);
        }
        if let Some(words) = words(schema) {
            return self.word(node, schema, &words, owner);
        }
        match schema.get("type") {
            Some(Value::String(name)) if name == "object" => self.map(node, schema, owner),
            Some(Value::String(name)) if name == "array" => self.list(node, schema, owner),
            Some(Value::String(name)) if name == "boolean" => self.boolean(node, owner),
            _ => self.text(node, schema, owner),
        }
    }

    fn say(&mut self, at: Pos, message: impl Into<String>) {
        self.mistakes.push(at, message);
    }

    /// Says that the value is of another kind than expected.
    fn wrong_kind(&mut self, node: &Node, expected: &str, owner: Owner) {
        if node.is_null() {
            let name = if owner.key.is_empty() { "this item" } else { owner.key };
            let at = if owner.key.is_empty() { node.at } else { owner.at };
            let or = if expected == "a map" { " (`{}` for an empty one)" } else { "" };
            self.say(at, format!("`{name}` has no value: expected {expected}{or}, or leave it out"));
        } else {
            self.say(node.at, format!("`{}` takes {expected}, found {}", owner.key, kind(node)));
        }
    }

    fn map(&mut self, node: &Node, schema: &Value, owner: Owner) -> Option<Value> {
        let Some(entries) = node.as_map() else {
            self.wrong_kind(node, &expected(self.root, schema), owner);
            return None;
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|schema| **schema != Value::Bool(false));
        let mut made = Map::new();
        for (key, value) in entries {
            let below = Owner { key: &key.name, at: key.at };
            let Some(schema_below) = properties.and_then(|map| map.get(&key.name)).or(others) else {
                self.unknown_key(&key.name, key.at, schema, owner);
                continue;
            };
            if schema.get("propertyNames").is_some() && !NAME.is_match(&key.name) {
                self.say(
                    key.at,
                    "expected a name of 1 to 64 letters, digits, `_`, `.` and `-` that starts with a letter or digit",
                );
            }
            if key.name.is_empty() {
                self.say(key.at, "expected a name, found an empty key");
            }
            if let Some(value) = self.value(value, schema_below, below) {
                made.insert(key.name.clone(), value);
            }
        }
        self.counts(node, schema, owner);
        Some(made.into())
    }

    /// Keys that must be there, and how many may be.
    fn counts(&mut self, node: &Node, schema: &Value, owner: Owner) {
        let entries = node.as_map().unwrap_or_default();
        let has = |name: &str| entries.iter().any(|(key, _)| key.name == name);
        let at = if owner.key.is_empty() { node.at } else { owner.at };
        for name in marks(schema, "required").filter(|name| !has(name)) {
            if node.at == Pos::START && self.broken.iter().any(|broken| broken == name || broken.is_empty()) {
                continue;
            }
            let about = schema.pointer(&format!("/properties/{name}")).map(|below| expected(self.root, below));
            self.say(at, format!("`{name}` is missing: expected {}", about.unwrap_or_default()));
        }
        let number = |mark: &str| schema.get(mark).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        if number("minProperties").is_some_and(|min| entries.len() < min) {
            self.say(at, format!("`{}` is empty: expected at least one", owner.key));
        }
        if let Some(max) = number("maxProperties") {
            for (key, _) in entries.iter().skip(max) {
                let many = if max == 1 { "exactly one".to_owned() } else { format!("at most {max}") };
                self.say(
                    key.at,
                    format!("this release takes {many} of `{}`: remove `{}` or the others", owner.key, key.name),
                );
            }
        }
        let choices: Vec<&str> = marks(schema, "x-one-of").collect();
        if !choices.is_empty() {
            let chosen: Vec<_> = entries.iter().filter(|(key, _)| choices.contains(&key.name.as_str())).collect();
            let unknown = entries.iter().any(|(key, _)| schema.pointer(&format!("/properties/{}", key.name)).is_none());
            if chosen.is_empty() && !unknown {
                self.say(node.at, format!("expected a processor: {}", list_words(choices.iter().copied())));
            }
            for (key, _) in chosen.iter().skip(1) {
                self.say(
                    key.at,
                    format!("`{}` is a second processor in one item: start a new item with `- `", key.name),
                );
            }
            let conditions = chosen.first().and_then(|(_, body)| body.as_map()).into_iter().flatten();
            if let Some((key, _)) = conditions.into_iter().find(|(key, _)| key.name == "if" && has("if")) {
                self.say(key.at, "`if` is already written beside the processor: keep one");
            }
        }
    }

    fn unknown_key(&mut self, name: &str, at: Pos, schema: &Value, owner: Owner) {
        let place = if owner.key.is_empty() { "here".to_owned() } else { format!("in `{}`", owner.key) };
        if marks(schema, "x-later").any(|later| later == name) {
            return self.say(at, format!("`{name}` comes in a later release"));
        }
        let known: Vec<&str> = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        let elsewhere = ELSEWHERE.iter().find(|(word, beside, _)| *word == name && known.contains(beside));
        if let Some((_, _, instead)) = elsewhere {
            return self.say(at, format!("unknown key `{name}` {place}: {instead}"));
        }
        let foreign = FOREIGN.iter().find(|(word, ours)| *word == name && known.contains(ours));
        let hint = match foreign {
            Some((_, ours)) => format!(" (did you mean `{ours}`?)"),
            None => did_you_mean(name, known.iter().copied()),
        };
        let all = if hint.is_empty() { format!(": expected {}", list_words(known.into_iter())) } else { hint };
        self.say(at, format!("unknown key `{name}` {place}{all}"));
    }

    /// A map whose keys depend on its `type`.
    fn alternative(
        &mut self,
        node: &Node,
        schema: &Value,
        alternatives: &[(&str, &Value)],
        owner: Owner,
    ) -> Option<Value> {
        let Some(entries) = node.as_map() else {
            self.wrong_kind(node, "a map", owner);
            return None;
        };
        let names: Vec<&str> = alternatives.iter().map(|(name, _)| *name).collect();
        let kind = entries.iter().find(|(key, _)| key.name == "type");
        let Some((key, kind)) = kind else {
            self.say(
                owner.at,
                format!("`type` is missing in `{}`: expected {}", owner.key, or_words(names.iter().copied())),
            );
            // Without `type`, the one that knows most of the keys is meant.
            let known = |schema: &Value| {
                entries.iter().filter(|(key, _)| schema["properties"].get(&key.name).is_some()).count()
            };
            let (_, meant) = alternatives.iter().rev().max_by_key(|(_, schema)| known(schema))?;
            let mut meant = (*meant).clone();
            if let Some(Value::Array(required)) = meant.get_mut("required") {
                required.retain(|name| name != "type");
            }
            self.map(node, &meant, owner);
            return None;
        };
        let below = Owner { key: "type", at: key.at };
        let Some(scalar) = kind.as_scalar().filter(|_| !kind.is_null()) else {
            self.wrong_kind(kind, &or_words(names.iter().copied()), below);
            return None;
        };
        if scalar.is_substituted() {
            self.say(kind.at, "`type` takes no substitution: write the word");
            return None;
        }
        if let Some((_, meant)) = alternatives.iter().find(|(name, _)| *name == scalar.text) {
            return self.map(node, meant, owner);
        }
        self.bad_word(kind, scalar, schema, &names, below);
        None
    }

    fn list(&mut self, node: &Node, schema: &Value, owner: Owner) -> Option<Value> {
        if schema.get("x-one").is_some()
            && let Some(scalar) = node.as_scalar().filter(|_| !node.is_null())
        {
            let items = resolve(self.root, schema.get("items").unwrap_or(&Value::Bool(true)));
            // Names have no commas: this is a list without its brackets.
            if scalar.text.contains(',') && matches!(marks_text(items, "format"), Some("field" | "tag" | "template")) {
                let expected = expected(self.root, schema);
                self.say(node.at, format!("`{}` takes {expected}: write `[a, b]`, or one without commas", owner.key));
                return None;
            }
            let one = self.value(node, schema.get("items").unwrap_or(&Value::Bool(true)), owner)?;
            return Some(Value::Array(vec![one]));
        }
        let Data::List(items) = &node.data else {
            self.wrong_kind(node, &expected(self.root, schema), owner);
            return None;
        };
        if schema.get("minItems").is_some() && items.is_empty() {
            self.say(node.at, format!("`{}` is empty: expected at least one", owner.key));
        }
        let below = schema.get("items").unwrap_or(&Value::Bool(true));
        let made = items.iter().filter_map(|item| self.value(item, below, Owner { at: item.at, ..owner }));
        Some(Value::Array(made.collect()))
    }

    fn boolean(&mut self, node: &Node, owner: Owner) -> Option<Value> {
        let scalar = node.as_scalar().filter(|_| !node.is_null());
        if scalar.is_some_and(|scalar| scalar.unknown) {
            return None;
        }
        let made = scalar.filter(|scalar| !scalar.quoted).and_then(|scalar| match scalar.text.as_str() {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        });
        if made.is_none() {
            let hint = match scalar.map(|scalar| scalar.written.to_ascii_lowercase()).as_deref() {
                Some("yes" | "on" | "y" | "t") => " (did you mean `true`?)",
                Some("no" | "off" | "n" | "f") => " (did you mean `false`?)",
                _ => "",
            };
            self.wrong_kind(node, &format!("`true` or `false`{hint}"), owner);
        }
        made.map(Value::Bool)
    }

    fn word(&mut self, node: &Node, schema: &Value, words: &[(&str, &str)], owner: Owner) -> Option<Value> {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let Some(scalar) = node.as_scalar().filter(|_| !node.is_null()) else {
            self.wrong_kind(node, &or_words(words.iter().copied()), owner);
            return None;
        };
        if scalar.unknown {
            return None;
        }
        if words.contains(&scalar.text.as_str()) {
            return Some(scalar.text.clone().into());
        }
        self.bad_word(node, scalar, schema, &words, owner);
        None
    }

    fn bad_word(&mut self, node: &Node, scalar: &Scalar, schema: &Value, words: &[&str], owner: Owner) {
        let found = &scalar.written;
        if marks(schema, "x-later").any(|later| later == found) {
            return self.say(node.at, format!("`{}: {found}` comes in a later release", owner.key));
        }
        let refused = schema.get("x-refused").and_then(Value::as_object).into_iter().flatten();
        if let Some((word, why)) = refused.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(found)) {
            let why = why.as_str().unwrap_or_default();
            return self.say(
                node.at,
                format!("`{word}` is not supported: {why}; expected {}", or_words(words.iter().copied())),
            );
        }
        let why = marks_text(schema, "x-why").map(|why| format!(": {why}")).unwrap_or_default();
        let hint = did_you_mean(found, words.iter().copied());
        self.say(
            node.at,
            format!("`{}` takes {}, found `{found}`{hint}{why}", owner.key, or_words(words.iter().copied())),
        );
    }

    fn text(&mut self, node: &Node, schema: &Value, owner: Owner) -> Option<Value> {
        let format = marks_text(schema, "format").unwrap_or_default();
        let Some(scalar) = node.as_scalar().filter(|_| !node.is_null()) else {
            self.wrong_kind(node, &expected(self.root, schema), owner);
            return None;
        };
        if scalar.unknown {
            return None;
        }
        let loose = matches!(format, "size" | "span" | "property" | "count" | "rate" | "event-rate");
        if !loose && !matches!(scalar.core(), Core::String(_)) {
            let shown = if format == "secret" { "put it" } else { "write it" };
            self.say(node.at, format!("`{}` takes a text, found {}: {shown} in quotes", owner.key, kind(node)));
            return None;
        }
        if scalar.text.is_empty() && schema.get("x-empty").is_some() {
            return Some(Value::String(String::new()));
        }
        match leaf::check(format, &scalar.text) {
            Ok(()) => Some(scalar.text.clone().into()),
            Err(fault) => {
                let detail = match (scalar.is_substituted(), fault.detail.as_str()) {
                    (true, _) => ", and what `${…}` brought makes something else of it".to_owned(),
                    (false, "") => String::new(),
                    (false, detail) => format!(": {detail}"),
                };
                self.say(node.pos_in(fault.at), format!("`{}`: {}{detail}", owner.key, fault.expected));
                None
            }
        }
    }
}

fn marks_text<'a>(schema: &'a Value, mark: &str) -> Option<&'a str> {
    schema.get(mark).and_then(Value::as_str)
}

/// Any value, as it is.
pub(crate) fn any(node: &Node) -> Option<Value> {
    Some(match &node.data {
        Data::Map(entries) => entries
            .iter()
            .filter_map(|(key, value)| Some((key.name.clone(), any(value)?)))
            .collect::<Map<_, _>>()
            .into(),
        Data::List(items) => items.iter().filter_map(any).collect::<Vec<_>>().into(),
        Data::Scalar(scalar) if scalar.unknown => return None,
        Data::Scalar(scalar) => match scalar.core() {
            Core::Null => Value::Null,
            Core::Boolean(value) => value.into(),
            Core::Integer(value) => value.into(),
            // JSON has no infinity: such a word stays the text that it is.
            Core::FloatingPoint(value) => serde_json::Number::from_f64(value.into_inner())
                .map_or_else(|| scalar.text.clone().into(), Value::Number),
            Core::String(text) => text.into_owned().into(),
        },
    })
}

/// What kind of value it is; never the value.
fn kind(node: &Node) -> &'static str {
    match &node.data {
        Data::Map(_) => "a map",
        Data::List(_) => "a list",
        Data::Scalar(scalar) => match scalar.core() {
            Core::Null => "nothing",
            Core::Boolean(_) => "a boolean",
            Core::Integer(_) | Core::FloatingPoint(_) => "a number",
            Core::String(_) => "a text",
        },
    }
}

/// What a schema expects, in words.
pub(crate) fn expected(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    if let Some(words) = words(schema) {
        return or_words(words.iter().map(|(word, _)| *word));
    }
    match (marks_text(schema, "type"), marks_text(schema, "format")) {
        (Some("object"), _) => match schema.get("additionalProperties").filter(|below| below.is_object()) {
            Some(below) => format!("a map of names, each with {}", expected(root, below)),
            None => "a map".to_owned(),
        },
        (Some("array"), _) => {
            let items = schema.get("items").map(|items| expected(root, items)).unwrap_or_default();
            format!("a list, each item {items}")
        }
        (Some("boolean"), _) => "`true` or `false`".to_owned(),
        (_, Some("size")) => super::units::SIZE_EXPECTED.to_owned(),
        (_, Some("span")) => super::units::SPAN_EXPECTED.to_owned(),
        (_, Some("absolute-path" | "output-path")) => "an absolute path".to_owned(),
        (_, Some("output-name")) => "the name of an output".to_owned(),
        (_, Some("permissions")) => "octal digits such as `\"0600\"`".to_owned(),
        (_, Some("count")) => "a whole number".to_owned(),
        (_, Some("rate")) => "a number from 0 to 1".to_owned(),
        (_, Some("event-rate")) => "a rate such as `10000/m`".to_owned(),
        (_, Some("glob" | "glob-anywhere")) => "a glob pattern such as `/var/log/*.log`".to_owned(),
        (_, Some("line-regex")) => "a regular expression".to_owned(),
        (_, Some("encoding")) => "an encoding such as `utf-8` or `latin1`".to_owned(),
        (_, Some("template" | "topic-template")) => "a text, with `%{[field]}` for the value of a field".to_owned(),
        (_, Some("topic")) => "the name of a topic".to_owned(),
        (_, Some("condition")) => "a condition such as `[status] >= 500`".to_owned(),
        (_, Some("field")) => "the name of a field, such as `a.b`".to_owned(),
        (_, Some("date-format")) => "the format of a date such as `ISO8601` or `dd/MMM/yyyy:HH:mm:ss Z`".to_owned(),
        (_, Some("time-zone")) => "a time zone such as `Europe/Berlin`".to_owned(),
        (_, Some("locale")) => "a language such as `en` or `fr_FR`".to_owned(),
        (_, Some("tokenizer")) => "a tokenizer such as `%{ip} - %{user} [%{time}]`".to_owned(),
        (_, Some("broker")) => "`HOST:PORT`".to_owned(),
        (_, Some("listen")) => "`ADDRESS:PORT` or `off`".to_owned(),
        (_, Some("property")) => "a text, number or boolean".to_owned(),
        _ if tagged(schema).is_some() => "a map".to_owned(),
        _ => "a text".to_owned(),
    }
}

fn list_words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// `a`, `b` or `c`
pub(crate) fn or_words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => format!("only {last}"),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}
