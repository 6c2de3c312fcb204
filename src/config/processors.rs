//! The processors as they are written in a config file, one block each: see `written`, of which this is a part.
//!
//! A block makes the type of a processor's options, with what all have (`if`, `on_failure`, `tag_on_failure`), their
//! defaults, its place in [`Processor`], and its case in [`Chosen`], which `steps` must know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::written::{ConditionText, Count, Field, LinePattern, Size, TokenizerText};

/// What becomes of an event for which a processor fails. The failure is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It gets the tags of `tag_on_failure` and goes on.
    #[default]
    Tag,
    /// It is dropped, and counted with the reason `processor_failed`.
    Drop,
}

/// What every processor's options have.
pub struct Around<'a> {
    pub condition: Option<&'a ConditionText>,
    pub on_failure: OnFailure,
    pub tags: &'a [String],
}

macro_rules! processors {
    ($(
        $(#[doc = $doc:literal])+
        $key:ident: $name:ident, required $required:tt, tags $tags:expr, {
            $($(#[$of_field:meta])* $field:ident: $type:ty = $default:expr,)*
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
            #[serde(default, deny_unknown_fields)]
            #[schemars(extend("required" = $required))]
            pub struct $name {
                /// Do it only for events for which this condition holds.
                #[serde(rename = "if")]
                pub condition: Option<ConditionText>,
                $($(#[$of_field])* pub $field: $type,)*
                /// What becomes of an event for which it fails.
                pub on_failure: OnFailure,
                /// The tags of an event for which it fails.
                pub tag_on_failure: Vec<String>,
            }

            impl Default for $name {
                fn default() -> Self {
                    const TAGS: &[&str] = &$tags;
                    Self {
                        condition: None,
                        $($field: $default,)*
                        on_failure: OnFailure::Tag,
                        tag_on_failure: TAGS.iter().map(|tag| (*tag).to_owned()).collect(),
                    }
                }
            }
        )+

        /// One step of processing: exactly one of the processors below, and a condition if you like.
        #[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        #[schemars(extend("x-one-of" = [$(stringify!($key)),+], "x-later" = [
            "grok", "date", "mutate", "geoip", "user_agent", "parser", "sample",
            "throttle", "script"
        ]))]
        pub struct Processor {
            /// Do it only for events for which this condition holds.
            #[serde(rename = "if")]
            pub condition: Option<ConditionText>,
            $($(#[doc = $doc])+ pub $key: Option<$name>,)+
        }

        /// The processor of a step.
        pub enum Chosen<'a> {
            $($name(&'a $name),)+
        }

        impl Processor {
            /// The processor that is written, its key, and what is written around it; `None` where the check found none.
            pub fn chosen(&self) -> Option<(&'static str, Chosen<'_>, Around<'_>)> {
                $(if let Some(options) = &self.$key {
                    let around = Around {
                        condition: self.condition.as_ref().or(options.condition.as_ref()),
                        on_failure: options.on_failure,
                        tags: &options.tag_on_failure,
                    };
                    return Some((stringify!($key), Chosen::$name(options), around));
                })+
                None
            }
        }
    };
}

processors! {
    /// Sets fields.
    add_fields: AddFields, required ["fields"], tags ["_add_fields_failed"], {
        /// The field below which they are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field("fields".to_owned()),
        /// The fields: any names and values. What has the name already is replaced.
        #[schemars(extend("minProperties" = 1))]
        fields: Map<String, Value> = Map::new(),
    }
    /// Values between separators become columns. One text is one record; a quoted value may have line breaks in it.
    csv: Csv, required ["columns"], tags ["_csvparsefailure"], {
        /// The field that has the text. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field::default(),
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself.
        overwrite_keys: bool = false,
        /// The fields of the values, in order.
        columns: Vec<Field> = Vec::new(),
        /// What stands between two values.
        separator: String = ",".to_owned(),
        /// What a value stands in that has the separator in it; two of them in it are one. `""` means that nothing does.
        #[schemars(extend("x-empty" = true))]
        quote: String = "\"".to_owned(),
        /// Values behind the last column become `column4` and so on; otherwise they are left out.
        autogenerate_column_names: bool = true,
        /// An empty value sets nothing. Otherwise it is null, or `""` if it stands in quotes.
        skip_empty_columns: bool = false,
    }
    /// Takes a text apart at the delimiters between keys, as Filebeat and Logstash do: `%{a} [%{b}] %{c}`. Every key is a field;
    /// what is behind the last delimiter of the tokenizer is not looked at.
    ///
    /// `%{}` and `%{?name}` are passed over; `%{+name}` is appended to `name`, with the delimiter before it between them, in the
    /// order of `%{+name/2}` if there is one; `%{&key}` gets the value of `%{?key}` (or `%{*key}`, `%{key}`) as its name; behind
    /// `%{name->}` the delimiter may be repeated; `%{name#10}` has ten bytes; `%{name|long}` is a number (`integer`, `long`, `float`,
    /// `double`, `boolean`, `ip`, `string`), or stays a text if it is none.
    dissect: Dissect, required ["tokenizer"], tags ["_dissectfailure"], {
        /// The keys, and the delimiters between them.
        tokenizer: TokenizerText = TokenizerText::default(),
        /// The field that has the text. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the keys are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target_prefix: Field = Field("dissect".to_owned()),
        /// Fields that are there already are replaced. Otherwise it is a failure, but for `field` itself.
        overwrite_keys: bool = false,
        /// From which side of values `trim_chars` are cut.
        trim_values: TrimValues = TrimValues::None,
        /// The characters that are cut.
        trim_chars: String = " ".to_owned(),
    }
    /// Removes fields.
    drop_fields: DropFields, required ["fields"], tags [], {
        /// The fields to remove, with all that is below them.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
        /// Accepted so that a Filebeat config can be carried over: a field that is not there is never an error here.
        ignore_missing: bool = true,
    }
    /// Reads a text that is JSON into fields. Integers of 64 bits stay integers; of a key that stands twice the last counts. What is
    /// no JSON is a failure, and so is what is no object if there is no `target`.
    json: Json, required [], tags ["_jsonparsefailure"], {
        /// The field that has the text. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field::default(),
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself.
        overwrite_keys: bool = false,
        /// Keys with dots become levels: `a.b` is the field `b` below `a`.
        expand_keys: bool = false,
        /// Levels of objects and lists, at most 64; a text that has more is a failure.
        max_depth: Count = Count(32),
        /// Bytes of the text, at most 16MiB; a longer one is a failure.
        max_bytes: Size = Size(1 << 20),
        /// A failure also sets `error.message` to its reason.
        add_error_key: bool = false,
    }
    /// Reads `key=value` pairs between separators into fields. Quotes and brackets around a value are cut off, a key that comes
    /// again makes a list, and what is no pair is passed over.
    kv: Kv, required [], tags ["_kv_filter_error"], {
        /// The field that has the text. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field::default(),
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself.
        overwrite_keys: bool = false,
        /// Keys with dots become levels: `a.b` is the field `b` below `a`.
        expand_keys: bool = false,
        /// The characters that end a pair.
        field_split: String = " ".to_owned(),
        /// The characters between key and value.
        value_split: String = "=".to_owned(),
        /// Characters to cut off both ends of keys.
        trim_key: String = String::new(),
        /// Characters to cut off both ends of values.
        trim_value: String = String::new(),
        /// Stands before the name of every field.
        prefix: String = String::new(),
        /// Only these keys, without the prefix. Default: all.
        include_keys: Vec<String> = Vec::new(),
        /// All but these keys.
        exclude_keys: Vec<String> = Vec::new(),
        /// `(…)`, `[…]` and `<…>` around values are cut off, as quotes are.
        include_brackets: bool = true,
        /// A key that comes again with the same value counts again.
        allow_duplicate_values: bool = true,
        /// Keys with an empty value are set.
        allow_empty_values: bool = false,
        /// What blanks around `value_split` are.
        whitespace: Whitespace = Whitespace::Lenient,
    }
    /// Reads `level=info msg="it works" slow` into fields. Values are texts, a key without `=` is `true`.
    logfmt: Logfmt, required [], tags ["_logfmtparsefailure"], {
        /// The field that has the text. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field::default(),
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself.
        overwrite_keys: bool = false,
        /// Keys with dots become levels: `a.b` is the field `b` below `a`.
        expand_keys: bool = false,
    }
    /// The named groups of a regular expression, `(?<name>…)`, become fields. Any expression takes a time that is linear in the text:
    /// there is no look-around and no backreference. A name may be a path, `(?<a.b>…)`.
    regex: Regex, required ["patterns"], tags ["_regexparsefailure"], {
        /// The field that has the text. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field::default(),
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself.
        overwrite_keys: bool = false,
        /// The expressions to try, in this order; the first that matches counts. If none does, that is a failure.
        #[schemars(extend("minItems" = 1))]
        patterns: Vec<LinePattern> = Vec::new(),
    }
    /// Gives fields other names.
    rename: Rename, required ["fields"], tags ["_rename_failed"], {
        /// The fields to rename, in this order. One that is not there is passed over; one whose new name is taken is a failure.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<RenameField> = Vec::new(),
    }
    /// Drops the event. It is counted, and its bytes are done with.
    drop_event: DropEvent, required [], tags [], {}
}

/// One field to rename.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["from", "to"]))]
pub struct RenameField {
    /// Its name so far.
    pub from: Field,
    /// Its name from now on.
    pub to: Field,
}

/// From which side of a value something is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrimValues {
    #[default]
    None,
    Left,
    Right,
    All,
}

/// What blanks around a separator are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whitespace {
    /// No part of key and value.
    #[default]
    Lenient,
    /// Characters as any other.
    Strict,
}
