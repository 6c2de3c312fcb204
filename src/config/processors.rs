//! The processors as they are written in a config file, one block each: see `written`, of which this is a part.
//!
//! A block makes the type of a processor's options, with what all have (`if`, `on_failure`, `tag_on_failure`), their
//! defaults, its place in [`Processor`], and its case in [`Chosen`], which `steps` must know.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::written::{
    AbsolutePath, ConditionText, Count, DateFormatText, EventRateText, Field, LinePattern, LocaleText, Rate,
    SecretText, Size, Span, Tag, TemplateText, TimeZoneText, TokenizerText, TopicTemplate,
};
use crate::process::GeoField;

/// What becomes of an event for which a processor fails. The failure is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It gets the tags of `tag_on_failure` and goes on.
    #[default]
    Tag,
    /// It is dropped, and counted with the reason `processor_failed`.
    Drop,
    /// It gets the tags of `tag_on_failure` and goes to the dead letter of its output as it is then, with the reason `processor_failed`.
    DeadLetter,
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
        #[schemars(extend("x-one-of" = [$(stringify!($key)),+], "x-later" = ["parser", "script"]))]
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
    /// Adds tags. Templates are filled in; one that names a missing field is a failure.
    add_tags: AddTags, required ["tags"], tags ["_add_tags_failed"], {
        /// The tags to add, each once.
        #[schemars(extend("minItems" = 1))]
        tags: Vec<TemplateText> = Vec::new(),
    }
    /// Adds where this host runs below `cloud`, in ECS's fields, as its provider says it: `provider`, `instance.id`, `instance.name`,
    /// `machine.type`, `region`, `availability_zone`, `account.id`, `project.id`, `image.id`, `service.name`. It is asked once, before
    /// the inputs start, as by Filebeat, within `timeout`: so all records have it, or, where nobody answers, none, until the
    /// agent starts again. `check` and `try` do not ask.
    cloud: Cloud, required [], tags ["_cloud_failed"], {
        /// Whom to ask.
        provider: CloudProvider = CloudProvider::Auto,
        /// How long the start waits for an answer, 100ms to 30s.
        timeout: Span = Span(std::time::Duration::from_secs(3)),
        /// Where to ask, `http://HOST:PORT`.
        endpoint: String = "http://169.254.169.254".to_owned(),
        /// What an event has below `cloud` already is replaced; otherwise it stays.
        overwrite: bool = false,
    }
    /// Makes the first character of texts, and of lists of texts, upper case, and the others lower case.
    capitalize: Capitalize, required ["fields"], tags ["_capitalize_failed"], {
        /// The fields. One that is not there is passed over; one of another type is a failure.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
    }
    /// Gives fields another type, as Logstash's `mutate` does: texts are read up to where they stop being a number, also `0x1f` and
    /// `1.5e3`. A text that begins with no number becomes 0, and that is a failure too. What has no value of the type stays as
    /// it is, a failure.
    convert: Convert, required ["fields"], tags ["_convert_failed"], {
        /// The type of each field; of a list, that of its elements. One that is not there, or null, is passed over.
        #[schemars(extend("minProperties" = 1, "x-name" = "field"))]
        fields: BTreeMap<String, ConvertType> = BTreeMap::new(),
    }
    /// Copies fields, each with all that is below it.
    copy: Copy, required ["fields"], tags ["_copy_failed"], {
        /// The fields to copy, in this order. One that is not there is passed over.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<CopyField> = Vec::new(),
        /// A field that has the new name already is replaced; else that is a failure, unless it is one that the agent adds by
        /// itself (`host.name`).
        overwrite: bool = false,
    }
    /// Makes a field's text the time of the event, as Logstash's filter of that name does.
    date: Date, required ["field", "formats"], tags ["_dateparsefailure"], {
        /// The field. One that is not there, or null, is no failure.
        field: Field = Field::default(),
        /// The formats to try, in this order; the first that takes the whole text counts.
        #[schemars(extend("minItems" = 1))]
        formats: Vec<DateFormatText> = Vec::new(),
        /// The time zone of texts that name none: a name of the tz database (it is built in) such as `Europe/Berlin`, an
        /// offset such as `+01:00`, or a field of the event, `%{[field]}`.
        timezone: TimeZoneText = TimeZoneText("UTC".to_owned()),
        /// The language of the names of months and days: `en`, `bg`, `cs`, `da`, `de`, `el`, `es`, `fi`, `fr`, `hr`, `hu`,
        /// `it`, `ja`, `ko`, `nb` (or `no`), `nl`, `pl`, `pt`, `ro`, `ru`, `sk`, `sv`, `tr`, `uk`, `zh`. A country behind it (`fr_FR`)
        /// does not matter.
        locale: LocaleText = LocaleText("en".to_owned()),
        /// The field that gets the time. In another one than `@timestamp` it is a text as `2026-11-25T15:35:43.123Z`.
        target: Field = Field("@timestamp".to_owned()),
        /// How many digits of the second are kept; the others are cut.
        precision: Precision = Precision::Milliseconds,
    }
    /// Values between separators become columns. One text is one record; a quoted value may have line breaks in it.
    csv: Csv, required [], tags ["_csvparsefailure"], {
        /// The field that has the text. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field::default(),
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself and for what the agent adds by
        /// itself (`host`, `agent`, `input`, `log.offset`, …, the time of reading as `@timestamp`): a line goes before that.
        overwrite_keys: bool = false,
        /// The fields of the values, in order. Without them all are `column1`, `column2` and so on.
        columns: Vec<Field> = Vec::new(),
        /// The types of columns, by their names. A value that is none of its type stays a text, which is a failure; one that is
        /// empty is passed over. Times in other formats are for the processor [`date`](#date).
        #[schemars(extend("x-name" = "column"))]
        convert: BTreeMap<String, CsvType> = BTreeMap::new(),
        /// A line that has the names of the columns as its values is dropped, counted with the reason `csv_header`. The names are
        /// not taken from it: after a restart in the middle of a file there is no first line.
        skip_header: bool = false,
        /// What stands between two values; `\t` is a tab.
        separator: String = ",".to_owned(),
        /// What a value stands in that has the separator in it; two of them in it are one. `""` means that nothing does.
        #[schemars(extend("x-empty" = true))]
        quote: String = "\"".to_owned(),
        /// Values behind the last column become `column4` and so on; otherwise they are left out.
        autogenerate_column_names: bool = true,
        /// An empty value sets nothing. Otherwise it is null, or `""` if it stands in quotes.
        skip_empty_columns: bool = false,
        /// A line without any value is tagged `_csvskippedemptyfield` and sets nothing. Otherwise an empty one is a failure.
        skip_empty_rows: bool = false,
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
        /// Fields that are there already are replaced. Otherwise it is a failure, but for `field` itself and for what the agent adds
        /// by itself (`host`, `agent`, `input`, `log.offset`, …): a line goes before that.
        overwrite_keys: bool = false,
        /// From which side of values `trim_chars` are cut.
        trim_values: TrimValues = TrimValues::None,
        /// The characters that are cut.
        trim_chars: String = " ".to_owned(),
    }
    /// Reads a text that is JSON into fields. Integers of 64 bits stay integers; of a key that stands twice the last counts. What is
    /// no JSON is a failure, and so is what is no object if there is no `target`.
    json: Json, required [], tags ["_jsonparsefailure"], {
        /// The field that has the text. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field::default(),
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself and for what the agent adds by
        /// itself (`host`, `agent`, `input`, `log.offset`, …, the time of reading as `@timestamp`): a line goes before that.
        overwrite_keys: bool = false,
        /// Keys with dots become levels: `a.b` is the field `b` below `a`. One whose place another key has (`a`) keeps its name, and
        /// that is a failure.
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
        /// The field that has the text, or a list of texts. One that is not there, or null, is no failure.
        field: Field = Field("message".to_owned()),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field::default(),
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself and for what the agent adds by
        /// itself (`host`, `agent`, `input`, `log.offset`, …, the time of reading as `@timestamp`): a line goes before that.
        overwrite_keys: bool = false,
        /// Keys with dots become levels: `a.b` is the field `b` below `a`. One whose place another key has (`a`) keeps its name, and
        /// that is a failure.
        expand_keys: bool = false,
        /// The characters that end a pair, written as within the `[…]` of a regular expression: `\s`, `\t`, `\[`, `a-z`. Behind a
        /// backslash they end nothing, and neither do `value_split` and what closes a value, where others do it.
        field_split: String = " ".to_owned(),
        /// Instead of `field_split`: a regular expression. What it matches is at most 256 bytes of a text.
        field_split_pattern: Option<LinePattern> = None,
        /// The characters between key and value, written as `field_split`.
        value_split: String = "=".to_owned(),
        /// Instead of `value_split`: a regular expression, as `field_split_pattern`.
        value_split_pattern: Option<LinePattern> = None,
        /// Characters to cut off both ends of keys, written as `field_split`.
        trim_key: String = String::new(),
        /// Characters to cut off both ends of values, written as `field_split`.
        trim_value: String = String::new(),
        /// Characters to remove from keys, wherever they stand, written as `field_split`.
        remove_char_key: String = String::new(),
        /// Characters to remove from values, wherever they stand, written as `field_split`.
        remove_char_value: String = String::new(),
        /// What is made of keys.
        transform_key: Option<KvTransform> = None,
        /// What is made of values.
        transform_value: Option<KvTransform> = None,
        /// Stands before the name of every field. A missing field in its template is a failure.
        #[schemars(extend("x-empty" = true))]
        prefix: TemplateText = TemplateText::default(),
        /// Fields that are set if the text does not have their key, or is not there: names and values.
        default_keys: Map<String, Value> = Map::new(),
        /// Only these keys, without the prefix. Default: all. A template that names a missing field stands for no key.
        include_keys: Vec<TemplateText> = Vec::new(),
        /// All but these keys.
        exclude_keys: Vec<TemplateText> = Vec::new(),
        /// `(…)`, `[…]` and `<…>` around values are cut off, as quotes are.
        include_brackets: bool = true,
        /// A key that comes again with the same value counts again.
        allow_duplicate_values: bool = true,
        /// Keys with an empty value are set.
        allow_empty_values: bool = false,
        /// Values that have pairs in them become objects, at most eight levels deep.
        recursive: bool = false,
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
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself and for what the agent adds by
        /// itself (`host`, `agent`, `input`, `log.offset`, …, the time of reading as `@timestamp`): a line goes before that.
        overwrite_keys: bool = false,
        /// Keys with dots become levels: `a.b` is the field `b` below `a`. One whose place another key has (`a`) keeps its name, and
        /// that is a failure.
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
        /// Fields that are there already are replaced. Otherwise they stay, but for `field` itself and for what the agent adds by
        /// itself (`host`, `agent`, `input`, `log.offset`, …, the time of reading as `@timestamp`): a line goes before that.
        overwrite_keys: bool = false,
        /// The expressions to try, in this order; the first that matches counts. If none does, that is a failure.
        #[schemars(extend("minItems" = 1))]
        patterns: Vec<LinePattern> = Vec::new(),
    }
    /// Sends events elsewhere: topic, key and headers go before those of the input and of the outputs, for every output. Their templates
    /// are filled in after all processors. Of two for one event, the later one counts, for what it says.
    route: Route, required [], tags [], {
        /// The topic.
        topic: Option<TopicTemplate> = None,
        /// The key.
        key: Option<TemplateText> = None,
        /// Headers: name → template. They are added to those of input and output.
        #[schemars(extend("x-name" = "NAME"))]
        headers: BTreeMap<String, TemplateText> = BTreeMap::new(),
    }
    /// Processors for the events for which a condition holds, and others for the rest. They can be nested, at most six deep.
    when: When, required ["then"], tags [], {
        /// What is done where the condition holds.
        then: Vec<Processor> = Vec::new(),
        /// What is done where it does not.
        #[serde(rename = "else")]
        otherwise: Vec<Processor> = Vec::new(),
    }
    /// Removes fields.
    drop_fields: DropFields, required ["fields"], tags [], {
        /// The fields to remove, with all that is below them.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
        /// Accepted so that a Filebeat config can be carried over: a field that is not there is never an error here.
        ignore_missing: bool = true,
    }
    /// Makes one hash of several fields, as Beats and Logstash do: of `|name|value|name|value|`, with the fields in the order of their
    /// names. Equal events have equal fingerprints: as the key of a record, or the id of a document.
    fingerprint: Fingerprint, required ["fields"], tags ["_fingerprint_failed"], {
        /// The fields: texts, numbers, booleans, `@timestamp`. One that is a list or an object is a failure.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
        /// The function.
        method: FingerprintMethod = FingerprintMethod::Sha256,
        /// The field that gets the fingerprint.
        target: Field = Field("fingerprint".to_owned()),
        /// How it is written.
        encoding: FingerprintEncoding = FingerprintEncoding::Hex,
        /// Makes it an HMAC (`sha256` only): without the key nobody can find the values by trying. Write `${file:/path}`,
        /// `${credential:name}` or `${ENV}` rather than the key itself.
        key: Option<SecretText> = None,
        /// A field that is not there is passed over; otherwise it is a failure.
        ignore_missing: bool = false,
    }
    /// Says where an address is, and whose, from a database in MaxMind's format (GeoLite2, GeoIP2: City, Country, ASN, ISP,
    /// Enterprise), as Logstash's filter of that name does. The file is looked at every few seconds: a new one is used as soon as it
    /// is there; one that is damaged is named in the log, and the one before it stays. It is held in memory as it is, beside
    /// `memory.max_bytes`. No address in the field, or none that the database knows, is a failure.
    geoip: Geoip, required ["field", "database"], tags ["_geoip_lookup_failure"], {
        /// The field that has the address; of a list the first one counts.
        field: Field = Field::default(),
        /// The field below which all is set. Default: `geoip`; with `ecs_compatibility: v8` what stands before `ip` in the name of
        /// the field (`client` for `client.ip`).
        target: Option<Field> = None,
        /// The file, `.mmdb`.
        database: AbsolutePath = AbsolutePath::default(),
        /// Which names: Logstash's old ones (`country_name`, `location`), or those of the Elastic Common Schema
        /// (`geo.country_name`, `as.number`).
        ecs_compatibility: EcsCompatibility = EcsCompatibility::Disabled,
        /// What is set. Default: what Logstash sets for a database of this type.
        fields: Vec<GeoField> = Vec::new(),
    }
    /// Takes fields out of a text by named patterns, as Logstash's filter of that name does: see [grok](grok.md). An event that no
    /// pattern matches is a failure.
    grok: Grok, required [], tags ["_grokparsefailure"], {
        /// The field whose text is looked at; of a list, each element. A number is looked at as its text.
        field: Field = Field("message".to_owned()),
        /// The patterns, tried in this order: `%{SYNTAX}`, `%{SYNTAX:name}`, `%{SYNTAX:[a][b]:int}`, and regular expressions
        /// as Ruby writes them.
        patterns: Vec<String> = Vec::new(),
        /// Instead of `field` and `patterns`: several fields, each with a pattern or a list of patterns.
        #[serde(rename = "match")]
        matches: Map<String, Value> = Map::new(),
        /// Patterns of your own: `NAME: regular expression`. They go over those that are built in, wherever these use the
        /// name.
        pattern_definitions: Map<String, Value> = Map::new(),
        /// Directories (or files) with patterns of your own, a line `NAME REGEX` each; read when the config is.
        patterns_dir: Vec<AbsolutePath> = Vec::new(),
        /// Stop at the first pattern that matches. With `false` all are tried, and the last one decides whether it matched.
        break_on_match: bool = true,
        /// Names of captures that replace what the field holds; others are put into a list with it.
        overwrite: Vec<String> = Vec::new(),
        /// Set a field also where its part of the line is empty, or was not there (null).
        keep_empty_captures: bool = false,
        /// With `false`, `%{SYNTAX}` without a name sets a field named `SYNTAX`.
        named_captures_only: bool = true,
        /// The field below which all captures are set. Default: at the top.
        target: Option<Field> = None,
        /// Which built-in patterns: with Logstash's old names of fields, or with those of the Elastic Common Schema.
        ecs_compatibility: EcsCompatibility = EcsCompatibility::Disabled,
        /// What matches.
        engine: EngineName = EngineName::Linear,
    }
    /// Replaces in texts, and in lists of texts, all that regular expressions match.
    gsub: Gsub, required ["fields"], tags ["_gsub_failed"], {
        /// What is done, in this order.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<GsubField> = Vec::new(),
    }
    /// Adds what is known of this host below `host`, in ECS's fields: `hostname`, `id` (the machine-id), `architecture`,
    /// `os.{type,platform,family,name,version,codename,kernel}`, `ip` and `mac`. It is looked up once, when the config is read:
    /// a host whose addresses changed needs a reload. What can't be found is left out; `host.name` stays. In a container it is
    /// what the container sees. An event whose `host` is a text is a failure.
    host: Host, required [], tags ["_host_failed"], {
        /// With the addresses, `ip` and `mac`; not those of the loopback.
        netinfo: bool = true,
    }
    /// Joins lists: each becomes the text of its elements.
    join: Join, required ["fields"], tags ["_join_failed"], {
        /// What stands between the elements of each field. One that is not there is passed over; one that is no list, or has
        /// an object in it, is a failure.
        #[schemars(extend("minProperties" = 1, "x-name" = "field"))]
        fields: BTreeMap<String, String> = BTreeMap::new(),
    }
    /// Removes all fields but those that are named and those that the agent adds: `log.*`, `event.id`, `host`, `agent`, `input`.
    /// `@timestamp`, `tags` and `@metadata` stay too. What processors added below these (`log.level`) stays only if it is named;
    /// the input's `fields` and `message` likewise.
    keep: Keep, required ["fields"], tags [], {
        /// The fields that stay, each with all that is below it.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
    }
    /// Makes texts, and lists of texts, lower case.
    lowercase: Lowercase, required ["fields"], tags ["_lowercase_failed"], {
        /// The fields. One that is not there is passed over; one of another type is a failure.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
    }
    /// Lets so many events per time pass, for each value of `fields` or of `key`; what is beyond is dropped and counted with the
    /// reason `rate_limit`, or tagged. Written at the top level it counts the events of all inputs together. At most 10,000 values
    /// are known at once; of more, those that come next to having their whole burst again are forgotten. Tokens are spent when a
    /// batch is handed over, so what is read again costs nothing twice; a start and a reload that changes the input begin with a
    /// whole burst.
    rate_limit: RateLimit, required ["limit"], tags [], {
        /// So many events per `s`, `m`, `h` or `d`, as Filebeat writes it: `10000/m`.
        limit: EventRateText = EventRateText::default(),
        /// The fields whose values, together, have a limit each; a missing one is a value too.
        fields: Vec<Field> = Vec::new(),
        /// Instead of `fields`: a text that has a limit for each of its values; events that lack a field of it share one. With
        /// neither there is one limit for all events.
        key: Option<TemplateText> = None,
        /// How many may pass at once. Default: what the limit lets pass in a second, at least one.
        burst: Option<Count> = None,
        /// What becomes of an event beyond the limit.
        on_exceed: OnExceed = OnExceed::Drop,
        /// The tag of `on_exceed: tag`.
        tag: Tag = Tag("_rate_limited".to_owned()),
    }
    /// Hides what must not leave the host. Everything is looked for in the text as it was read; what overlaps is hidden as one.
    redact: Redact, required [], tags ["_redact_failed"], {
        /// The fields. Texts and whole numbers are looked at, wherever they are below a field; names of fields are not.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = vec![Field("message".to_owned())],
        /// Regular expressions: what they match is hidden; of one with a group `(?<secret>…)` only what that matches.
        patterns: Vec<LinePattern> = Vec::new(),
        /// What is found without a pattern of yours.
        builtin: Vec<RedactBuiltin> = Vec::new(),
        /// What becomes of it.
        action: RedactAction = RedactAction::Mask,
        /// The text that stands for it, at most 256 bytes.
        #[schemars(extend("x-empty" = true))]
        mask: String = "***".to_owned(),
        /// The key of `action: hash`. Write `${file:/path}`, `${credential:name}` or `${ENV}` rather than the key itself.
        key: Option<SecretText> = None,
    }
    /// Removes fields: another name of `drop_fields`, for users of Logstash.
    remove: Remove, required ["fields"], tags [], {
        /// The fields to remove, with all that is below them. One that is not there is as good as removed.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
    }
    /// Removes tags, those of the input too.
    remove_tags: RemoveTags, required ["tags"], tags [], {
        /// The tags to remove. One that is not there is as good as removed.
        #[schemars(extend("minItems" = 1))]
        tags: Vec<Tag> = Vec::new(),
    }
    /// Adds fields to others: lists and single values become one list, objects become one. The field that is added stays.
    merge: Merge, required ["fields"], tags ["_merge_failed"], {
        /// What is added to what, in this order. A field that is not there adds nothing.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<MergeField> = Vec::new(),
    }
    /// Gives fields other names.
    rename: Rename, required ["fields"], tags ["_rename_failed"], {
        /// The fields to rename, in this order. One that is not there is passed over.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<RenameField> = Vec::new(),
        /// A field that has the new name already is replaced, as in Logstash; else that is a failure, unless it is one that the
        /// agent adds by itself (`host.name`).
        overwrite: bool = false,
    }
    /// Keeps a part of the events and drops the others, counted with the reason `sampled`. A hash decides: the same event is
    /// kept or dropped however often it is read.
    sample: Sample, required ["rate"], tags ["_sample_failed"], {
        /// The part that is kept.
        rate: Rate = Rate("1".to_owned()),
        /// Decides by the value of this field: events with the same value stay or go together. One without the field stays,
        /// which is a failure. Default: by `event.id`.
        key: Option<Field> = None,
        /// Events for which this condition holds always stay.
        exclude: Option<ConditionText> = None,
    }
    /// Sets fields, with templates filled in.
    set: Set, required ["fields"], tags ["_set_failed"], {
        /// The fields: names and values of any type, in this order. Texts in them are [templates](#templates); a field whose
        /// template names a missing field is not set, which is a failure.
        #[schemars(extend("minProperties" = 1))]
        fields: Map<String, Value> = Map::new(),
        /// Fields that are there already are set too; else only those that are missing or null.
        overwrite: bool = true,
    }
    /// Splits texts: each becomes the list of its parts. Empty parts at the end are left out.
    split: Split, required ["fields"], tags ["_split_failed"], {
        /// What stands between the parts of each field: one blank means any blanks, `""` splits into characters. A field that is
        /// not there is passed over; one that is no text is a failure.
        #[schemars(extend("minProperties" = 1, "x-name" = "field"))]
        fields: BTreeMap<String, String> = BTreeMap::new(),
    }
    /// Removes blanks, tabs and line breaks from both ends of texts, and of the texts of lists.
    strip: Strip, required ["fields"], tags ["_strip_failed"], {
        /// The fields. One that is not there is passed over; one of another type is a failure.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
    }
    /// Cuts texts, and the texts of lists, that are too long; never within a character. A message that is cut has `truncated` in
    /// `log.flags`. One of `max_bytes` and `max_characters` is needed.
    truncate: Truncate, required ["fields"], tags ["_truncate_failed"], {
        /// The fields. One that is not there is passed over; one of another type is a failure.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
        /// Bytes that a text may have, in UTF-8.
        max_bytes: Option<Size> = None,
        /// Characters that a text may have.
        max_characters: Option<Count> = None,
    }
    /// Makes texts, and lists of texts, upper case.
    uppercase: Uppercase, required ["fields"], tags ["_uppercase_failed"], {
        /// The fields. One that is not there is passed over; one of another type is a failure.
        #[schemars(extend("minItems" = 1))]
        fields: Vec<Field> = Vec::new(),
    }
    /// Which browser, system and device a user agent names. The names are those of uap-core 0.18, as in Logstash and Elasticsearch;
    /// what it does not know is `Other`. Looked at are the first 1024 bytes, in linear time. Beside `memory.max_bytes` it takes
    /// memory, however many of these there are: see [operating](operating.md#memory).
    user_agent: UserAgent, required ["field"], tags ["_useragentparsefailure"], {
        /// The field that has the text; of a list the first one counts. One that is not there, null, or empty is no failure.
        field: Field = Field::default(),
        /// The field below which the fields are set; `""` means at the top.
        #[schemars(extend("x-empty" = true))]
        target: Field = Field("user_agent".to_owned()),
        /// Which names: with `v8` those of the Elastic Common Schema (`name`, `version`, `os.name`, `os.version`, `os.full`,
        /// `device.name`, and `original`, the text), or Logstash's old ones (`name`, `version`, `major`, `minor`, `patch`, `build`,
        /// `os`, `os_name`, `os_version`, `os_full`, `os_major`, `os_minor`, `os_patch`, `device`).
        ecs_compatibility: EcsCompatibility = EcsCompatibility::V8,
        /// How many different user agents are remembered, 2 to 100000; each takes about 300 bytes, at most 1KiB.
        lru_cache_size: Count = Count(1000),
    }
    /// Drops the event. It is counted, and its bytes are done with.
    drop_event: DropEvent, required [], tags [], {}
}

/// Which built-in patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EcsCompatibility {
    /// `clientip`, `logsource`.
    Disabled,
    /// `[source][address]`, `[host][hostname]`.
    V8,
}

/// What matches patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineName {
    /// In linear time, whatever the line; backreferences are refused.
    Linear,
    /// With backreferences; a line that takes more than a million steps is tagged `_groktimeout`.
    Backtracking,
}

/// Who runs this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloudProvider {
    /// Who answers first of all.
    Auto,
    /// AWS EC2, by IMDSv2. In a container its `HttpPutResponseHopLimit` must be 2. `instance.name` is there if tags are allowed in the
    /// metadata.
    Aws,
    /// Google Compute Engine.
    Gcp,
    /// Azure's virtual machines.
    Azure,
}

/// A type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConvertType {
    /// Commas between thousands are left out, a fraction is cut.
    Integer,
    /// The same with dots between thousands and a comma before the fraction.
    IntegerEu,
    /// Commas between thousands are left out.
    Float,
    /// With dots between thousands and a comma before the fraction.
    FloatEu,
    /// As JSON writes it.
    String,
    /// `true`, `t`, `yes`, `y`, `1` and `1.0`, or `false`, `f`, `no`, `n`, `0`, `0.0` and the empty text, in any case.
    Boolean,
}

/// How a fingerprint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FingerprintEncoding {
    /// Hexadecimal digits.
    Hex,
    /// With padding.
    Base64,
}

/// The function that makes a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FingerprintMethod {
    /// SHA-256: 32 bytes.
    Sha256,
    /// XXH3: 8 bytes, fast, not safe against somebody who wants two events to look alike.
    Xxh3,
}

/// What becomes of an event beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExceed {
    /// It is dropped.
    Drop,
    /// It is tagged with `tag` and goes on.
    Tag,
}

/// What `redact` makes of what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedactAction {
    /// The text `mask`.
    Mask,
    /// 24 hexadecimal digits: the HMAC-SHA-256 of the value with `key`. Equal values have equal ones, also a card with and without
    /// blanks, or an address in upper case.
    Hash,
}

/// What `redact` finds by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedactBuiltin {
    /// Card numbers: 13 to 19 digits with a right check digit, alone or in the groups in which they are printed.
    Card,
    /// E-mail addresses.
    Email,
    /// Tokens behind `Bearer` and `access_token=`, in JSON behind `"access_token":`, and JSON web tokens.
    Bearer,
    /// Addresses of IPv4.
    Ipv4,
    /// Addresses of IPv6, with a digit in them.
    Ipv6,
}

/// One field to copy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["from", "to"]))]
pub struct CopyField {
    /// The field.
    pub from: Field,
    /// The name of the copy.
    pub to: Field,
}

/// What is added to what.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["from", "to"]))]
pub struct MergeField {
    /// The field that is added.
    pub from: Field,
    /// The field that it is added to.
    pub to: Field,
}

/// One replacement.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["field", "pattern", "replacement"]))]
pub struct GsubField {
    /// The field. One that is not there is passed over; one of another type is a failure.
    pub field: Field,
    /// The regular expression. `^` and `$` are the ends of lines.
    pub pattern: LinePattern,
    /// What is put in its place: `\1` and `\k<name>` are groups of the expression, `\0` all that it matched, `\\` a backslash, and
    /// `%{[field]}` is filled in.
    pub replacement: String,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CsvType {
    /// A whole number of 64 bits.
    Integer,
    /// A number, maybe with a fraction and an exponent.
    Float,
    /// `true` or `false`, in any case.
    Boolean,
    /// A day, as `2026-01-31` or `Jan 31, 2026`: it becomes the text `2026-01-31T00:00:00.000Z`.
    Date,
    /// A day with a time, as `2026-01-31 10:00:00` or `2026-01-31T10:00:00.123+01:00`, in UTC where it names no zone.
    DateTime,
}

/// What is made of keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KvTransform {
    /// All lower case.
    Lowercase,
    /// All upper case.
    Uppercase,
    /// The first character upper case, the others lower.
    Capitalize,
}

/// How fine a time is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Three digits of the second, as Logstash has it.
    #[default]
    Milliseconds,
    /// Six digits of the second.
    Microseconds,
    /// Nine digits of the second: all that a time can have.
    Nanoseconds,
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
    /// No part of key and value; those at the ends of keys neither.
    #[default]
    Lenient,
    /// Characters as any other.
    Strict,
}
