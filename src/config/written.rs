//! The options as they are written in a config file: the one source of the schema, the check and docs/configuration.md.
//!
//! Doc comments here are what the user reads: plain English, units and defaults named. Nothing here knows what the options
//! mean together; that is `check`. Keys with a wrong value are left out before a file is read into these types, so
//! reading them never fails.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::processors::Processor;
use super::units;

/// A text with a meaning: its `format` in the schema is what the check goes by.
macro_rules! text {
    ($(#[doc = $doc:literal])+ $name:ident, $format:literal $(, $pattern:expr)?) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format $(, "pattern": $pattern)? })
            }
        }
    };
}

text!(
    /// A directory or file, from the root.
    AbsolutePath, "absolute-path", "^/"
);
text!(
    /// A glob pattern over whole paths.
    Glob, "glob", "^/"
);
text!(
    /// A glob pattern over whole paths that may start with `**/`.
    AnyGlob, "glob-anywhere", r"^(/|\*\*/)"
);
text!(
    /// A regular expression.
    LinePattern, "line-regex"
);
text!(
    /// A text with `%{…}` in it.
    TemplateText, "template"
);
text!(
    /// The name of a topic, with `%{…}` in it.
    TopicTemplate, "topic-template"
);
text!(
    /// The name of a topic.
    Topic, "topic", "^[a-zA-Z0-9._-]{1,249}$"
);
text!(
    /// The label of a character encoding.
    EncodingLabel, "encoding"
);
text!(
    /// The text of an `if`.
    ConditionText, "condition"
);
text!(
    /// The name of a field: `a.b`, `[a][b]`.
    Field, "field"
);
text!(
    /// The tokenizer of `dissect`: `%{a} %{b}`.
    TokenizerText, "tokenizer"
);
text!(
    /// The format of a date.
    DateFormatText, "date-format"
);
text!(
    /// A time zone: a name of the tz database, an offset, or `%{[field]}`.
    TimeZoneText, "time-zone"
);
text!(
    /// A language, or a language and a country: `fr`, `fr_FR`.
    LocaleText, "locale"
);
text!(
    /// So many events per time: `10000/m`.
    EventRateText, "event-rate", "^[0-9]+/[smhd]$"
);
text!(
    /// `HOST:PORT` of a broker.
    Broker, "broker", "^[^/,\\s]+:[0-9]{1,5}$"
);
text!(
    /// `ADDRESS:PORT`, or `off`.
    Listen, "listen", r"^(off|.+:[0-9]{1,5})$"
);
text!(
    /// A tag.
    Tag, "tag", "^.+$"
);
text!(
    /// The name of an output.
    OutputName, "output-name", NAME_PATTERN
);
text!(
    /// The path of the file of a `file` output.
    OutputPath, "output-path", "^/"
);
text!(
    /// Who may read and write a file, in octal digits.
    Permissions, "permissions", "^0?[0-7]{3}$"
);
text!(
    /// The name that an application gives itself.
    ClientId, "client-id", "^.+$"
);

/// A text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Not the text, but what tells it from another: what is serialised is compared when a config is read again.
        serializer.serialize_str(&format!("***{:016x}", xxhash_rust::xxh3::xxh3_64(self.0.as_bytes())))
    }
}

impl JsonSchema for SecretText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "secret" })
    }
}

/// A part of all, 0 to 1, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(pub String);

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"], "format": "rate", "pattern": r"^(0?[.][0-9]+|[01]([.][0-9]*)?)$", "minimum": 0, "maximum": 1,
        })
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::render_size(self.0))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::parse_size(&text).map(Size).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": "size", "pattern": units::SIZE_PATTERN, "minimum": 0 })
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::render_span(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::parse_span(&text).map(Span).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "span", "pattern": units::SPAN_PATTERN })
    }
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u32);

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Count).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "format": "count", "pattern": "^[0-9]{1,9}$", "minimum": 0 })
    }
}

/// The value of a librdkafka property: a text, number or boolean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Property(pub String);

impl JsonSchema for Property {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Property".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"], "format": "property" })
    }
}

/// What inputs, outputs and the like may be called.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$";

/// The configuration of Logferry.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["inputs", "outputs"], "x-later" = ["parsers"]))]
pub struct Config {
    /// Where the agent keeps its checkpoints and its spools. The directory is made at the first start, and belongs to
    /// one agent alone. Losing it means that files are read again from the beginning.
    pub data_dir: AbsolutePath,
    /// What the agent may take of the machine's memory.
    pub memory: Memory,
    /// Where lines come from. Each input has a name of your choice, which labels it everywhere: in metrics, in status, in
    /// messages.
    #[schemars(extend("x-name" = "NAME", "minProperties" = 1, "propertyNames" = {"pattern": NAME_PATTERN}))]
    pub inputs: BTreeMap<String, Input>,
    /// What is done to every event, after the processors of its input, in this order.
    pub processors: Vec<Processor>,
    /// Where records go: 1 to 8 outputs, each with a name of your choice. Every record goes to all of them, unless the `outputs`
    /// of its input or the `when` of an output say otherwise. See [Several outputs](#several-outputs).
    #[schemars(extend("x-name" = "NAME", "minProperties" = 1, "maxProperties" = 8, "propertyNames" = {"pattern": NAME_PATTERN}))]
    pub outputs: BTreeMap<String, Output>,
    /// The disk spool behind an output, in `data_dir`: for what Kafka does not take now, and its source can't wait with.
    pub spool: Spool,
    /// The topic for records whose topic can't be rendered from its template, or would not be a legal name. They are tagged.
    pub fallback_topic: Topic,
    /// How long the agent waits for Kafka's acknowledgements when it is told to stop. What is not acknowledged by then is
    /// read again at the next start.
    pub shutdown_after: Span,
    /// The HTTP endpoint for metrics, health and status.
    pub admin: Admin,
    /// The agent's own log, on stderr.
    pub logging: Logging,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: AbsolutePath("/var/lib/logferry".to_owned()),
            memory: Memory::default(),
            inputs: BTreeMap::new(),
            processors: Vec::new(),
            outputs: BTreeMap::new(),
            spool: Spool::default(),
            fallback_topic: Topic("logs.fallback".to_owned()),
            shutdown_after: Span(Duration::from_secs(10)),
            admin: Admin::default(),
            logging: Logging::default(),
        }
    }
}

/// What the agent may take of the machine's memory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// The most that log data takes at any time: what is being read, encoded, and in flight to Kafka. When it is full,
    /// reading stops. Fixed costs (the program itself, the Kafka client) come on top. At least 16MiB. Three eighths
    /// of it, at most 12MiB, are the window of records in flight, where each counts 200 bytes beside its key and value. Several
    /// outputs have equal parts of it.
    pub max_bytes: Size,
}

impl Default for Memory {
    fn default() -> Self {
        Self { max_bytes: Size(32 << 20) }
    }
}

/// Where lines come from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(extend("x-later" = ["kubernetes", "otlp", "journald"]))]
pub enum Input {
    File(FileInput),
    Stdin(StdinInput),
}

impl Input {
    /// What all inputs have.
    pub fn common(&self) -> &dyn CommonInput {
        match self {
            Input::File(input) => input,
            Input::Stdin(input) => input,
        }
    }
}

/// What all inputs have.
pub trait CommonInput {
    fn fields(&self) -> &Map<String, Value>;
    fn fields_under_root(&self) -> bool;
    fn tags(&self) -> &[Tag];
    fn include_lines(&self) -> &[LinePattern];
    fn exclude_lines(&self) -> &[LinePattern];
    fn max_line_bytes(&self) -> Size;
    fn encoding(&self) -> &EncodingLabel;
    fn processors(&self) -> &[Processor];
    fn topic(&self) -> Option<&TopicTemplate>;
    fn key(&self) -> Option<&TemplateText>;
    fn headers(&self) -> &BTreeMap<String, TemplateText>;
    fn codec(&self) -> Option<CodecName>;
    fn outputs(&self) -> &[OutputName];
}

/// An input type: its own keys, and those that all inputs have.
macro_rules! input {
    (
        $(#[doc = $doc:literal])*
        #[schemars($($extend:tt)*)]
        pub struct $name:ident {
            $($(#[$inner:meta])* pub $key:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        #[schemars($($extend)*)]
        pub struct $name {
            $($(#[$inner])* pub $key: $type,)*
            /// Fields that every event of this input gets, below `fields` (or at the top, see `fields_under_root`).
            pub fields: Map<String, Value>,
            /// Put `fields` at the top of the event instead of below `fields`. Names that are the agent's own (`@timestamp`,
            /// `@metadata`, `message`, `log`, `event`) are refused then.
            pub fields_under_root: bool,
            /// Tags that every event of this input gets.
            pub tags: Vec<Tag>,
            /// Only lines in which one of these regular expressions matches are shipped. Empty: all lines.
            pub include_lines: Vec<LinePattern>,
            /// Lines in which one of these regular expressions matches are not shipped. Applied after `include_lines`.
            pub exclude_lines: Vec<LinePattern>,
            /// A longer line is cut here, at a character; `log.flags` of the record says `truncated`, and it is counted. 128 bytes
            /// to an eighth of `memory.max_bytes`. Bytes as they are read, whatever `encoding` makes of them.
            pub max_line_bytes: Size,
            /// What the lines are encoded in; they are sent in UTF-8. A label of the WHATWG Encoding Standard (`latin1`,
            /// `windows-1251`, `shift_jis`, `gb18030`, …), or `utf-16le`, `utf-16be`, or `utf-16`: the byte order mark at the
            /// beginning says which, without one it is `utf-16le`. `plain` is `utf-8`. What is malformed becomes U+FFFD, and
            /// `log.flags` of the record says `invalid_encoding` (of UTF-8: `invalid_utf8`). A byte order mark at the beginning
            /// is no part of the first line. `log.offset`, `log.length` and `event.id` are of the raw bytes. The codec `raw` sends
            /// the line in UTF-8 too.
            pub encoding: EncodingLabel,
            /// What is done to each event of this input, in this order, before the top-level `processors`.
            pub processors: Vec<Processor>,
            /// The topic of this input's records: a template. Default: what the output says.
            pub topic: Option<TopicTemplate>,
            /// The key of this input's records: a template; `""` means no key. Default: what the output says.
            pub key: Option<TemplateText>,
            /// Headers of this input's records: name → template. They come beside those of the output; of the same name, this one
            /// is taken.
            #[schemars(extend("x-name" = "NAME"))]
            pub headers: BTreeMap<String, TemplateText>,
            /// How this input's records are written. Default: what the output says.
            pub codec: Option<CodecName>,
            /// The outputs that get this input's records, by their names. Default: all of them.
            #[schemars(extend("minItems" = 1))]
            pub outputs: Option<Vec<OutputName>>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($key: $default,)*
                    fields: Map::new(),
                    fields_under_root: false,
                    tags: Vec::new(),
                    include_lines: Vec::new(),
                    exclude_lines: Vec::new(),
                    max_line_bytes: Size(256 << 10),
                    encoding: EncodingLabel("utf-8".to_owned()),
                    processors: Vec::new(),
                    topic: None,
                    key: None,
                    headers: BTreeMap::new(),
                    codec: None,
                    outputs: None,
                }
            }
        }

        impl CommonInput for $name {
            fn fields(&self) -> &Map<String, Value> {
                &self.fields
            }
            fn fields_under_root(&self) -> bool {
                self.fields_under_root
            }
            fn tags(&self) -> &[Tag] {
                &self.tags
            }
            fn include_lines(&self) -> &[LinePattern] {
                &self.include_lines
            }
            fn exclude_lines(&self) -> &[LinePattern] {
                &self.exclude_lines
            }
            fn max_line_bytes(&self) -> Size {
                self.max_line_bytes
            }
            fn encoding(&self) -> &EncodingLabel {
                &self.encoding
            }
            fn processors(&self) -> &[Processor] {
                &self.processors
            }
            fn topic(&self) -> Option<&TopicTemplate> {
                self.topic.as_ref()
            }
            fn key(&self) -> Option<&TemplateText> {
                self.key.as_ref()
            }
            fn headers(&self) -> &BTreeMap<String, TemplateText> {
                &self.headers
            }
            fn codec(&self) -> Option<CodecName> {
                self.codec
            }
            fn outputs(&self) -> &[OutputName] {
                self.outputs.as_deref().unwrap_or_default()
            }
        }
    };
}

input! {
    /// An input that tails files.
    #[schemars(extend("required" = ["paths"]))]
    pub struct FileInput {
        /// The files to read: glob patterns over absolute paths, with `*`, `?`, `[…]`, `{a,b}` and `**` (any number of
        /// directories). `*` and `?` do not match a `/`.
        #[schemars(extend("minItems" = 1))]
        pub paths: Vec<Glob> = Vec::new(),
        /// Files that are not read although `paths` match: glob patterns over absolute paths. `**/*.gz` means every file of
        /// that name, wherever it is.
        pub exclude: Vec<AnyGlob> = Vec::new(),
        /// Where to start in files that are there at the agent's very first start. Files that come later are always read from
        /// the beginning, and a file that was read before goes on where it stopped.
        pub start_at: StartAtName = StartAtName::Beginning,
        /// What a line is. See [Lines that belong together](#lines-that-belong-together).
        pub format: FormatName = FormatName::Lines,
        /// Which lines are one record. Default: each is. See [Lines that belong together](#lines-that-belong-together).
        pub multiline: Option<Multiline> = None,
        /// Files that were not written to for this long are left closed until they are. Default: none is too old.
        pub ignore_older: Option<Span> = None,
        /// How new lines are noticed.
        pub watch: WatchName = WatchName::Auto,
        /// How often the directories are listed and the files looked at, for what the notifications missed. 100ms to 1h.
        pub scan_every: Span = Span(Duration::from_secs(10)),
        /// Bounds for files that were deleted and are held open, because not all of them has been read and acknowledged.
        pub deleted_files: DeletedFiles = DeletedFiles::default(),
    }
}

input! {
    /// An input that reads the agent's standard input to its end. At most one input may.
    #[schemars()]
    pub struct StdinInput {
        /// Which lines are one record. Default: each is. See [Lines that belong together](#lines-that-belong-together).
        pub multiline: Option<Multiline> = None,
    }
}

/// Which lines are one record. One of `preset`, `pattern`, `while` and `count` says it. In Filebeat's words, but for `while`, which is
/// its `type: while_pattern` with `pattern`, and `count`, which is its `count_lines`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Multiline {
    /// Stack traces of these languages are one record each; every other line is one by itself. One, or a list, whose order
    /// says nothing.
    #[schemars(extend("x-one" = true, "minItems" = 1))]
    pub preset: Vec<PresetName>,
    /// A regular expression that tells which lines go on in the record before them (`match: after`), or which lines the next one
    /// belongs to (`match: before`).
    pub pattern: Option<LinePattern>,
    /// The lines that `pattern` or `while` does not match are meant.
    pub negate: bool,
    /// Which line `pattern` is about. Default: `after`.
    #[serde(rename = "match")]
    pub place: Option<MatchName>,
    /// With `pattern`: a line that matches this regular expression is the last of its record.
    pub flush_pattern: Option<LinePattern>,
    /// Consecutive lines that match this regular expression are one record; every other line is one by itself.
    #[serde(rename = "while")]
    pub while_pattern: Option<LinePattern>,
    /// So many lines are one record, 1 to 100000.
    pub count: Option<Count>,
    /// Which of the forms it is. It need not be said.
    #[serde(rename = "type")]
    pub kind: Option<MultilineType>,
    /// The most lines of a record that are shipped, 1 to 1000000; the rest of it is cut off. Default: 500; with `count`:
    /// its number.
    pub max_lines: Option<Count>,
    /// The most bytes of a record that are shipped; the rest of it is cut off, `log.flags` says `truncated`, and it is counted. 128
    /// bytes to an eighth of `memory.max_bytes`.
    pub max_bytes: Size,
    /// A record to which no line was added for so long ends, at most 1h; `0s`: never. Default: 5s; with `count`: never, so that
    /// a writer that pauses does not shift the count.
    pub timeout: Option<Span>,
    /// The lines of a record are joined with nothing between them, instead of a line break.
    pub skip_newline: bool,
}

impl Default for Multiline {
    fn default() -> Self {
        Self {
            preset: Vec::new(),
            pattern: None,
            negate: false,
            place: None,
            flush_pattern: None,
            while_pattern: None,
            count: None,
            kind: None,
            max_lines: None,
            max_bytes: Size(1 << 20),
            timeout: None,
            skip_newline: false,
        }
    }
}

/// A language whose stack traces are one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresetName {
    Java,
    Javascript,
    Dotnet,
    Python,
    Go,
    Ruby,
    Php,
}

impl PresetName {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::Javascript => "javascript",
            Self::Dotnet => "dotnet",
            Self::Python => "python",
            Self::Go => "go",
            Self::Ruby => "ruby",
            Self::Php => "php",
        }
    }
}

/// Which line `pattern` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatchName {
    /// A line that matches goes on in the record before it.
    After,
    /// The line after one that matches goes on in its record.
    Before,
}

/// The form of `multiline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MultilineType {
    /// As `pattern` says.
    Pattern,
    /// As `count` says.
    Count,
    /// As `while` says, or `pattern`.
    While,
    /// The same.
    WhilePattern,
}

/// How long deleted files are held open. They take disk space until they are closed. What is given up is counted and logged.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeletedFiles {
    /// The most that the deleted files of the input may have unread, together; over it, the one that was deleted first is given
    /// up. Default: as much as there is.
    pub max_bytes: Option<Size>,
    /// A deleted file is given up after this long, at least 1s. Default: never.
    pub max_age: Option<Span>,
}

/// Where to start in files that are there at the first start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartAtName {
    /// With their first line.
    Beginning,
    /// With what is written from now on.
    End,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormatName {
    /// The message, up to LF or CRLF.
    Lines,
    /// What a container runtime (containerd, CRI-O) writes: time, stream, `F` or `P`, message.
    Cri,
    /// What Docker's `json-file` driver writes: an object with `log`, `stream` and `time`.
    Docker,
    /// `cri` or `docker`, line by line.
    Auto,
}

/// How new lines are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchName {
    /// By the system's notifications (inotify), and by looking every `scan_every`.
    Auto,
    /// Only by looking every `scan_every`: for filesystems that notify nobody, such as NFS.
    Poll,
}

/// How a record's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-later" = ["otlp_proto", "otlp_json"]))]
pub enum CodecName {
    /// A JSON object with Elastic Common Schema names: `@timestamp`, `message`, `log.*`, `host.name`, `agent.*`, `event.id`,
    /// `fields`, `tags`.
    Ecs,
    /// A JSON object of the event's own fields with `@timestamp` and `tags`, without what the agent adds.
    Json,
    /// The bytes of the line; with an `encoding` other than UTF-8, the line in UTF-8. Where it comes from is in the record's headers.
    Raw,
}

/// Where records go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(extend("x-later" = ["logstash"]))]
pub enum Output {
    Kafka(Box<KafkaOutput>),
    File(Box<FileOutput>),
}

impl Output {
    /// What all outputs have.
    pub fn common(&self) -> &dyn CommonOutput {
        match self {
            Output::Kafka(output) => &**output,
            Output::File(output) => &**output,
        }
    }
}

/// What all outputs have.
pub trait CommonOutput {
    fn topic(&self) -> &TopicTemplate;
    fn key(&self) -> Option<&TemplateText>;
    fn headers(&self) -> &BTreeMap<String, TemplateText>;
    fn codec(&self) -> CodecName;
    fn when(&self) -> Option<&ConditionText>;
    fn required(&self) -> bool;
    /// `None`: there is no limit.
    fn max_record_bytes(&self) -> Option<Size>;
    fn spool(&self) -> &OutputSpool;
}

macro_rules! common_output {
    ($name:ident, $max:expr) => {
        impl CommonOutput for $name {
            fn topic(&self) -> &TopicTemplate {
                &self.topic
            }
            fn key(&self) -> Option<&TemplateText> {
                self.key.as_ref()
            }
            fn headers(&self) -> &BTreeMap<String, TemplateText> {
                &self.headers
            }
            fn codec(&self) -> CodecName {
                self.codec
            }
            fn when(&self) -> Option<&ConditionText> {
                self.when.as_ref()
            }
            fn required(&self) -> bool {
                self.required
            }
            fn max_record_bytes(&self) -> Option<Size> {
                let max: fn(&Self) -> Option<Size> = $max;
                max(self)
            }
            fn spool(&self) -> &OutputSpool {
                &self.spool
            }
        }
    };
}

common_output!(KafkaOutput, |output| Some(output.max_record_bytes));
common_output!(FileOutput, |_| None);

/// An output that produces to Kafka, idempotently and with `acks=all`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["brokers"]))]
pub struct KafkaOutput {
    /// Brokers to ask for the others: `HOST:PORT`. Name at least two, so that one may be away at the start.
    #[schemars(extend("minItems" = 1))]
    pub brokers: Vec<Broker>,
    /// The topic: a template.
    pub topic: TopicTemplate,
    /// The key: a template; `""` means no key. Records with the same key go to the same partition and stay in order. Default:
    /// `%{[host.name]}%{[log.file.path]}` for files, none for stdin.
    pub key: Option<TemplateText>,
    /// Headers of every record: name → template.
    #[schemars(extend("x-name" = "NAME"))]
    pub headers: BTreeMap<String, TemplateText>,
    /// How records are written.
    pub codec: CodecName,
    /// Only records of events for which this condition holds, after all processors, go here. Default: all.
    pub when: Option<ConditionText>,
    /// Whether this output may hold reading back. `false`: what it can't take at once is dropped for this output alone, and
    /// counted.
    pub required: bool,
    /// How batches are compressed.
    pub compression: CompressionName,
    /// Who has to have a record before it counts as delivered. Only `all`: all in-sync replicas.
    pub acks: Acks,
    /// How long a batch may wait to be filled. At most 1m. When there is much to send, batches are full before.
    pub linger: Span,
    /// The most that one batch holds, before compression. 1kB to 12MiB, and no more than the window of records in flight.
    pub batch_bytes: Size,
    /// The largest record: key, value and headers. Not more than the topic's `max.message.bytes` (and the brokers'
    /// `message.max.bytes`) allow. Of one that would be larger the message is cut until it fits; it is marked (`truncated` in
    /// `log.flags`) and counted. One that is too large without its message goes to the dead letter.
    pub max_record_bytes: Size,
    /// Who creates topics that do not exist.
    pub create_topics: CreateTopics,
    /// Where records go that Kafka refuses for good (too large, invalid), with the reason. Their neighbours are delivered.
    pub dead_letter: DeadLetter,
    /// What is different about the spool of this output. What is not said here is as in the top level's `spool`.
    pub spool: OutputSpool,
    /// How to log in. Without it, the agent does not.
    pub sasl: Option<Sasl>,
    /// How to encrypt. Without it, the connection is not encrypted; `tls: {}` encrypts with the system's certificate
    /// authorities.
    pub tls: Option<Tls>,
    /// What the agent calls itself towards the brokers: it is in their logs, metrics and quotas.
    pub client_id: ClientId,
    /// Any other property of librdkafka, the Kafka client: name → value. Properties that keep a promise of the agent (`acks`,
    /// `enable.idempotence`, `message.timeout.ms`, `partitioner`, …) and those that have a key here are refused by name.
    #[schemars(extend("x-name" = "PROPERTY"))]
    pub rdkafka: BTreeMap<String, Property>,
}

impl Default for KafkaOutput {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            topic: TopicTemplate("logs.raw".to_owned()),
            key: None,
            headers: BTreeMap::new(),
            codec: CodecName::Ecs,
            when: None,
            required: true,
            compression: CompressionName::Lz4,
            acks: Acks::All,
            linger: Span(Duration::from_millis(20)),
            batch_bytes: Size(1_000_000),
            max_record_bytes: Size(1_000_000),
            create_topics: CreateTopics::Never,
            dead_letter: DeadLetter::default(),
            spool: OutputSpool::default(),
            sasl: None,
            tls: None,
            client_id: ClientId("logferry".to_owned()),
            rdkafka: BTreeMap::new(),
        }
    }
}

/// An output that appends records to local files, one a line. A record counts as delivered once it is on the disk.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"], "x-later" = ["dead_letter", "compression"]))]
pub struct FileOutput {
    /// The file: a path from the root, in which `%{topic}` is the record's topic. With it each topic has a file (or a
    /// directory) of its own; without it all are in one. Directories that are missing are made. No input may read it.
    pub path: OutputPath,
    /// The topic: a template. It is the `%{topic}` of `path`, and is in the envelope.
    pub topic: TopicTemplate,
    /// The key: a template; `""` means no key. Only the envelope shows it.
    pub key: Option<TemplateText>,
    /// Headers of every record: name → template. Only the envelope shows them.
    #[schemars(extend("x-name" = "NAME"))]
    pub headers: BTreeMap<String, TemplateText>,
    /// How records are written. A line feed within one (only `raw` can have it) is written as `\n`, so that a line is a record.
    pub codec: CodecName,
    /// Write each record as an object with `topic`, `ts` (milliseconds since the epoch), `headers`, `key` and `payload`, as
    /// `logferry try --envelope` and `kcat -J` do.
    pub envelope: bool,
    /// Only records of events for which this condition holds, after all processors, go here. Default: all.
    pub when: Option<ConditionText>,
    /// Whether this output may hold reading back. `false`: what it can't take at once is dropped for this output alone, and
    /// counted.
    pub required: bool,
    /// When a new file is begun, and how many old ones are kept.
    pub rotate: Rotate,
    /// Wait until what is written is on the disk (fsync) before it counts as delivered. Many records share one fsync. With
    /// `false`, a crash of the machine loses what the system had not written yet.
    pub fsync: bool,
    /// The permissions of new files: octal digits, in quotes.
    pub permissions: Permissions,
    /// What is different about the spool of this output. What is not said here is as in the top level's `spool`.
    pub spool: OutputSpool,
}

impl Default for FileOutput {
    fn default() -> Self {
        Self {
            path: OutputPath(String::new()),
            topic: TopicTemplate("logs.raw".to_owned()),
            key: None,
            headers: BTreeMap::new(),
            codec: CodecName::Ecs,
            envelope: false,
            when: None,
            required: true,
            rotate: Rotate::default(),
            fsync: true,
            permissions: Permissions("0600".to_owned()),
            spool: OutputSpool::default(),
        }
    }
}

/// When a new file is begun. The file that was full gets the name with `.1`, the one before `.2`, and so on, as logrotate
/// and Filebeat do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// A file is full when the next record would make it larger than this. 64KiB to 1TiB.
    pub max_bytes: Size,
    /// So many full files are kept beside the one being written, 1 to 10000; then **the oldest is deleted**. Give it room for as
    /// long as you need the records.
    pub keep: Count,
}

impl Default for Rotate {
    fn default() -> Self {
        Self { max_bytes: Size(100 << 20), keep: Count(7) }
    }
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompressionName {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Who has to have a record before it counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(extend("x-why" = "with less, records that Kafka has acknowledged can be lost when a broker fails, and that is the one thing this agent promises not to let happen"))]
pub enum Acks {
    All,
}

/// Who creates topics that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreateTopics {
    /// The broker, when it is asked for one (if its `auto.create.topics.enable` is on).
    Broker,
    /// Nobody: a topic that is missing is an outage of that topic alone, reported until somebody makes it.
    Never,
}

/// Where records go that Kafka refuses for good: a topic or a file. By default the file `dead_letter/OUTPUT.jsonl` in `data_dir`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadLetter {
    /// A topic of the same cluster. Key, value, headers and timestamp are those of the record; headers that begin with
    /// `logferry.dead_letter.` say why it is there. What that topic refuses too goes to the file in `data_dir`.
    pub topic: Option<Topic>,
    /// A local file of JSON lines, one a record. `logferry spool dead` shows it and sends it again.
    pub file: Option<AbsolutePath>,
    /// The most that the file holds, at least 1MiB. When it is full, the partition of the next refused record waits.
    pub max_bytes: Size,
}

impl Default for DeadLetter {
    fn default() -> Self {
        Self { topic: None, file: None, max_bytes: Size(256 << 20) }
    }
}

/// How to log in.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend(
    "required" = ["mechanism"],
    "if" = { "properties": { "mechanism": { "const": "OAUTHBEARER" } } },
    "then" = { "required": ["token_url", "client_id", "client_secret"] },
    "else" = { "required": ["username", "password"] }
))]
pub struct Sasl {
    /// The mechanism that the brokers offer.
    pub mechanism: Option<MechanismName>,
    /// The user; not for `OAUTHBEARER`.
    pub username: Option<String>,
    /// The password; not for `OAUTHBEARER`. Write `${file:/path}`, `${credential:name}` or `${ENV}` rather than the password itself.
    pub password: Option<SecretText>,
    /// `OAUTHBEARER`: where the identity provider gives tokens, by client credentials (RFC 6749). An `https://` address; `http://`
    /// only on this machine. The system's certificate authorities are trusted, and those of `tls.ca_file`.
    pub token_url: Option<String>,
    /// `OAUTHBEARER`: who the agent is to the identity provider.
    pub client_id: Option<String>,
    /// `OAUTHBEARER`: its secret. Write `${file:/path}`, `${credential:name}` or `${ENV}` rather than the secret itself.
    pub client_secret: Option<SecretText>,
    /// `OAUTHBEARER`: what the token is asked for. Default: what the identity provider makes of none.
    pub scope: Option<String>,
}

/// The mechanism that the brokers offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-refused" = {
    "GSSAPI": "Kerberos needs plugins that are loaded at run time, which a static binary can't"
}))]
pub enum MechanismName {
    /// The password as it is: only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A challenge, with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A challenge, with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A token from an identity provider, by client credentials.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
}

/// How to encrypt. All files are PEM.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates of the authorities that may sign the brokers' certificates. Default: the system's.
    pub ca_file: Option<AbsolutePath>,
    /// The agent's own certificate (with intermediate ones), for brokers that ask for one. Needs `key_file`.
    pub cert_file: Option<AbsolutePath>,
    /// The private key of `cert_file`.
    pub key_file: Option<AbsolutePath>,
    /// The password of an encrypted `key_file`.
    pub key_password: Option<SecretText>,
    /// Check the brokers' certificates: who signed them, and that they are for the host's name. `false` makes the encryption
    /// worthless against anyone between the agent and the brokers.
    pub verify: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca_file: None, cert_file: None, key_file: None, key_password: None, verify: true }
    }
}

/// The disk spool behind an output.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// The most that the spool of an output takes on the disk. At least 64MiB.
    pub max_bytes: Size,
    /// What of files is spooled.
    pub files: SpoolFiles,
    /// How long a partition may be silent before what waits for it is spooled. 100ms to 1h.
    pub after: Span,
    /// What happens when the spool is full.
    pub when_full: WhenFull,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            max_bytes: Size(1 << 30),
            files: SpoolFiles::Auto,
            after: Span(Duration::from_secs(2)),
            when_full: WhenFull::Block,
        }
    }
}

/// What is different about the spool of one output.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSpool {
    /// The most that the spool of this output takes on the disk. At least 64MiB. Default: `spool.max_bytes`.
    pub max_bytes: Option<Size>,
    /// What of files is spooled. Default: `spool.files`.
    pub files: Option<SpoolFiles>,
    /// How long a partition may be silent before what waits for it is spooled. 100ms to 1h. Default: `spool.after`.
    pub after: Option<Span>,
    /// What happens when the spool is full. Default: `spool.when_full`.
    pub when_full: Option<WhenFull>,
}

impl OutputSpool {
    /// With what it leaves to the top level.
    pub fn over(&self, top: &Spool) -> Spool {
        Spool {
            max_bytes: self.max_bytes.unwrap_or(top.max_bytes),
            files: self.files.unwrap_or(top.files),
            after: self.after.unwrap_or(top.after),
            when_full: self.when_full.unwrap_or(top.when_full),
        }
    }
}

/// What of files is spooled while Kafka does not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpoolFiles {
    /// What may vanish: files that were renamed, unlinked or truncated, and batches that also feed partitions that flow. All
    /// others wait in their files, which costs no disk.
    Auto,
    /// Everything that is read: for files that others may delete at any time.
    Always,
}

/// What happens when the spool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Reading stops. Nothing is lost that is still in its file.
    Block,
    /// The oldest spooled records are dropped, and counted.
    DropOldest,
    /// What arrives is dropped, and counted.
    DropNewest,
}

/// The HTTP endpoint for metrics, health and status.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The address and port of `/metrics`, `/healthz`, `/readyz` and `/status`; `off` for none. There is no password: give
    /// it to the machine itself or to a network you trust. Port 0 means any free one (`logferry status` finds it).
    pub listen: Listen,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Listen("127.0.0.1:9660".to_owned()) }
    }
}

/// The agent's own log, on stderr.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Logging {
    /// The least important messages that are still written.
    pub level: LevelName,
    /// How they are written.
    pub format: LogFormatName,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: LevelName::Info, format: LogFormatName::Text }
    }
}

/// The least important messages that are still written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LevelName {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How log messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormatName {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}
