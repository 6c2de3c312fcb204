//! The JSON schema: the one that the check goes by, and the one that is published for editors.
//!
//! The check's own has marks of ours (`x-later`, `x-why`, …) and exact types; the published one is plain draft 2020-12,
//! and allows `${…}` wherever a substitution is legal.

use schemars::JsonSchema as _;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::written::Config;

/// The schema that the check and the docs go by: with our marks, without `null`.
pub(crate) fn internal() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Config>().to_value();
    debug_assert_eq!(Config::schema_name(), "Config");
    without_null(&mut schema);
    one_for_a_list(&mut schema);
    schema
}

/// Where a processor takes a list of texts or words, a single one will do, as users of Logstash write it.
fn one_for_a_list(schema: &mut Value) {
    let root = schema.clone();
    let of =
        |schema: &Value| properties(schema).map(|(key, below)| (key.to_owned(), below.clone())).collect::<Vec<_>>();
    let is_text = |items: &Value| {
        let items = resolve(&root, items);
        items.get("type").is_some_and(|name| name == "string") || words(items).is_some()
    };
    for (_, processor) in root.pointer("/$defs/Processor").map(of).unwrap_or_default() {
        let Some(pointer) = processor.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'))
        else {
            continue;
        };
        for (key, option) in of(resolve(&root, &processor)) {
            let place = schema.pointer_mut(&format!("{pointer}/properties/{key}"));
            if let (Some(Value::Object(place)), true) = (place, option.get("items").is_some_and(is_text)) {
                place.insert("x-one".to_owned(), true.into());
            }
        }
    }
}

/// The schema for editors and other programs.
pub fn published() -> Value {
    let mut schema = internal();
    publish(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("Logferry configuration"));
    }
    schema
}

/// An optional key is left out, not `null`: so `null` goes from types and defaults.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            if map.get("default") == Some(&Value::Null) {
                map.remove("default");
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(any)) = map.get_mut("anyOf") {
                any.retain(|one| one.get("type") != Some(&json!("null")));
                if let [Value::Object(only)] = any.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            map.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

/// Takes our marks out, and lets `${…}` in.
fn publish(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::Array(names)) = map.remove("x-one-of") {
        let one_of: Vec<Value> = names.iter().map(|name| json!({ "required": [name] })).collect();
        map.insert("oneOf".to_owned(), one_of.into());
    }
    let empty = map.remove("x-empty").is_some();
    let one = map.remove("x-one").and_then(|_| map.get("items").cloned());
    map.retain(|key, _| !key.starts_with("x-"));
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(named)) => named.values_mut().for_each(publish),
            ("items" | "additionalProperties", value) => publish(value),
            ("oneOf" | "anyOf", Value::Array(items)) if items.iter().any(|item| item.get("properties").is_some()) => {
                items.iter_mut().for_each(publish);
            }
            _ => {}
        }
    }
    allow_substitution(map, empty);
    if let Some(mut one) = one {
        publish(&mut one);
        let mut list = Map::new();
        for key in ["type", "items", "minItems"] {
            list.extend(map.remove(key).map(|value| (key.to_owned(), value)));
        }
        map.insert("anyOf".to_owned(), json!([one, list]));
    }
}

fn allow_substitution(map: &mut Map<String, Value>, empty: bool) {
    if map.contains_key("const") {
        return;
    }
    if let Some(Value::String(pattern)) = map.get_mut("pattern") {
        let empty = if empty { "|^$" } else { "" };
        *pattern = format!(r"({pattern})|\$\{{{empty}");
        return;
    }
    let words = map.get("enum").cloned().or_else(|| {
        let one_of = map.get("oneOf")?.as_array()?;
        one_of.iter().all(|one| one.get("const").is_some()).then(|| one_of.clone().into())
    });
    let substituted = json!({ "type": "string", "pattern": r"\$\{" });
    let exact = match map.get("type").and_then(Value::as_str) {
        _ if words.is_some() => {
            let mut exact = Map::new();
            for key in ["type", "enum", "oneOf"] {
                if let Some(value) = map.remove(key) {
                    exact.insert(key.to_owned(), value);
                }
            }
            Value::Object(exact)
        }
        Some("boolean" | "integer") => json!({ "type": map.remove("type") }),
        _ => return,
    };
    map.insert("anyOf".to_owned(), json!([exact, substituted]));
}

/// The schema that `$ref` points to, or `schema` itself.
pub(crate) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// The keys of a map, each with its schema.
pub(crate) fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

/// The words of an enumeration: the word, and what it means.
pub(crate) fn words(schema: &Value) -> Option<Vec<(&str, &str)>> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(Value::as_str).map(|word| (word, "")).collect());
    }
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![(word, "")]);
    }
    let described = schema.get("oneOf")?.as_array()?.iter();
    let described: Vec<_> = described
        .filter_map(|one| {
            Some((one.get("const")?.as_str()?, one.get("description").and_then(Value::as_str).unwrap_or_default()))
        })
        .collect();
    (!described.is_empty()).then_some(described)
}

/// The alternatives of a map with a `type`: its word, and the schema of the map then.
pub(crate) fn tagged(schema: &Value) -> Option<Vec<(&str, &Value)>> {
    let alternatives = schema.get("oneOf")?.as_array()?.iter();
    let alternatives: Vec<_> =
        alternatives.filter_map(|one| Some((one.pointer("/properties/type/const")?.as_str()?, one))).collect();
    (!alternatives.is_empty()).then_some(alternatives)
}

/// The texts of a mark that is a list of them.
pub(crate) fn marks<'a>(schema: &'a Value, mark: &str) -> impl Iterator<Item = &'a str> {
    schema.get(mark).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
