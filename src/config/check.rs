//! What the options mean together: bounds, combinations, files that must be there; and from them the checked options.
//!
//! Comes after `shape`: every text here is well-formed by itself. Still nothing is opened but the files that the config
//! names (certificates, keys), and nothing is bound.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::decode::{Charset, JoinOptions, LineFilter};
use crate::deliver::machine::WhenFull;
use crate::encode::Codec;
use crate::event::Template;
use crate::event::{Object, RESERVED_ROOTS, SyntaxError};
use crate::input::file::options::{FileOptions, StartAt, Watch};
use crate::input::stdin::StdinOptions;
use crate::output::dead_letter::DeadLetterOptions;
use crate::output::file::options::FileOptions as FileOutputOptions;
use crate::output::kafka::options as kafka;
use crate::process::CloudFacts;
use crate::process::condition::Condition;

use super::checked::{
    Checked, CheckedInput, CheckedOutput, InputKind, Logging, Meaning, OutputKind, Route, SpoolOptions,
};
use super::leaf;
use super::marked::{Data, Node, Scalar};
use super::mistake::{Mistakes, Pos, did_you_mean};
use super::properties;
use super::units::{render_size, render_span};
use super::world::World;
use super::written::{self, CodecName, CommonInput, CommonOutput, Config, Input, KafkaOutput, Output, Size, Span};

/// The window of records in flight is a third of the memory, at most this.
const WINDOW_BYTES_MAX: u64 = 12 << 20;
/// Less memory than this leaves no room for a window, what workers read, and what they encode.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
/// The key of a file's records, if nobody says otherwise: one file, one partition.
const FILE_KEY: &str = "%{[host.name]}%{[log.file.path]}";
/// The checked options of `config`, which was written as `root`; `None` if something is wrong with them.
pub(crate) fn check(
    config: &Config,
    root: &Node,
    world: &dyn World,
    mistakes: &mut Mistakes,
    warnings: &mut Mistakes,
) -> Option<Checked> {
    let mut checker = Checker { root, world, mistakes, warnings, clouds: Vec::new() };
    checker.top(config);
    checker.inputs(config);
    let outputs: Vec<CheckedOutput> =
        config.outputs.iter().filter_map(|(name, output)| checker.output(name, output, config)).collect();
    checker.outputs(config);
    let processors = checker.steps(&config.processors, &["processors"]);
    let inputs: Vec<CheckedInput> =
        config.inputs.iter().filter_map(|(name, input)| checker.input(name, input, config)).collect();
    let clouds = checker.clouds;
    let admin = leaf::listen(&config.admin.listen.0).ok()?;
    Some(Checked {
        data_dir: PathBuf::from(&config.data_dir.0),
        memory_bytes_max: usize::try_from(config.memory.max_bytes.0).ok()?,
        inputs,
        processors,
        window_bytes: usize::try_from(window_bytes(config)).ok()?,
        outputs: if outputs.len() == config.outputs.len() { outputs } else { return None },
        fallback_topic: config.fallback_topic.0.clone(),
        shutdown_after: config.shutdown_after.0,
        admin,
        logging: Logging { level: config.logging.level, format: config.logging.format },
        clouds,
        warnings: Vec::new(),
        files: Vec::new(),
        files_named: Vec::new(),
    })
}

fn spool_options(spool: &written::Spool) -> SpoolOptions {
    SpoolOptions {
        bytes_max: spool.max_bytes.0,
        after: spool.after.0,
        when_full: match spool.when_full {
            written::WhenFull::Block => WhenFull::Block,
            written::WhenFull::DropOldest => WhenFull::DropOldest,
            written::WhenFull::DropNewest => WhenFull::DropNewest,
        },
        always: spool.files == written::SpoolFiles::Always,
    }
}

fn meaning(input: &Input, config: &Config) -> Meaning {
    let common = input.common();
    let route = |(name, output): (&String, &Output)| {
        let output = output.common();
        let mut headers = output.headers().clone();
        headers.extend(common.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        json!({
            "output": name,
            "topic": common.topic().unwrap_or(output.topic()),
            "key": common.key().or(output.key()),
            "headers": headers,
            "codec": common.codec().unwrap_or(output.codec()),
            "max_record_bytes": output.max_record_bytes(),
            "when": output.when(),
            "required": output.required(),
        })
    };
    Meaning(json!({
        "input": input,
        "routes": outputs_of(input, config).map(route).collect::<Vec<_>>(),
        "processors": config.processors,
        "fallback_topic": config.fallback_topic,
    }))
}

/// The outputs that an input feeds, in the order of their names.
fn outputs_of<'a>(input: &'a Input, config: &'a Config) -> impl Iterator<Item = (&'a String, &'a Output)> {
    let chosen = input.common().outputs();
    let is_chosen = |name: &String| chosen.is_empty() || chosen.iter().any(|one| one.0 == *name);
    config.outputs.iter().filter(move |(name, _)| is_chosen(name))
}

fn window_bytes(config: &Config) -> u64 {
    (config.memory.max_bytes.0 / 8 * 3).min(WINDOW_BYTES_MAX)
}

/// The most of a line or record. It is held whole, and may grow sixfold when it is encoded: it must leave room for others.
pub(super) fn line_max(config: &Config) -> u64 {
    (config.memory.max_bytes.0.max(MEMORY_BYTES_MIN) / 8).min(64 << 20)
}

/// Whether a secret may be sent there: encrypted, or not over any network.
fn is_safe_url(url: &str) -> bool {
    let ends = |rest: &str| rest.is_empty() || rest.starts_with(['/', ':', '?']);
    let is_here =
        |rest: &str| ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| rest.strip_prefix(host).is_some_and(ends));
    url.strip_prefix("https://").is_some_and(|rest| !ends(rest)) || url.strip_prefix("http://").is_some_and(is_here)
}

pub(super) struct Checker<'a> {
    pub(super) root: &'a Node,
    pub(super) world: &'a dyn World,
    mistakes: &'a mut Mistakes,
    warnings: &'a mut Mistakes,
    /// What the processors so far want to know of the cloud, one a question.
    pub(super) clouds: Vec<Arc<CloudFacts>>,
}

impl Checker<'_> {
    pub(super) fn say(&mut self, at: Pos, message: impl Into<String>) {
        self.mistakes.push(at, message);
    }

    /// A mistake in the value below `path`.
    pub(super) fn say_at(&mut self, path: &[&str], message: impl Into<String>) {
        let at = self.root.pos_of(path);
        self.say(at, message);
    }

    /// Something is written there, be it wrong: then that was said already.
    pub(super) fn is_written(&self, path: &[&str]) -> bool {
        self.root.find(path).is_some()
    }

    pub(super) fn warn_at(&mut self, path: &[&str], message: impl Into<String>) {
        self.warnings.push(self.root.pos_of(path), message);
    }

    /// How a value is written: what may be shown of it.
    pub(super) fn written(&self, path: &[&str]) -> String {
        self.root.find(path).and_then(Node::as_scalar).map(|scalar| scalar.written.clone()).unwrap_or_default()
    }

    /// The place of the item of a list that has this text.
    fn item_pos(&self, list: &[&str], text: &str) -> Pos {
        let items = self.root.find(list).map(|node| &node.data);
        let found = match items {
            Some(Data::List(items)) => {
                items.iter().rev().find(|item| item.as_scalar().is_some_and(|scalar| scalar.text == text))
            }
            _ => None,
        };
        found.map_or_else(|| self.root.pos_of(list), |item| item.at)
    }

    pub(super) fn size_within(&mut self, path: &[&str], size: Size, min: u64, max: u64) {
        if size.0 < min || size.0 > max {
            let key = path.last().copied().unwrap_or_default();
            self.say_at(path, format!("`{key}` must be {} to {}", render_size(min), render_size(max)));
        }
    }

    pub(super) fn span_within(&mut self, path: &[&str], span: Span, min: Duration, max: Duration) {
        if span.0 < min || span.0 > max {
            let key = path.last().copied().unwrap_or_default();
            self.say_at(path, format!("`{key}` must be {} to {}", render_span(min), render_span(max)));
        }
    }

    fn top(&mut self, config: &Config) {
        if Path::new(&config.data_dir.0).parent().is_none() {
            self.say_at(&["data_dir"], "`data_dir` must be a directory of its own, not the root");
        }
        if config.memory.max_bytes.0 < MEMORY_BYTES_MIN || config.memory.max_bytes.0 > 1 << 40 {
            let message = "`max_bytes` must be 16MiB to 1TiB: less has no room for what is read, encoded and in flight";
            self.say_at(&["memory", "max_bytes"], message);
        }
        self.span_within(&["shutdown_after"], config.shutdown_after, Duration::ZERO, Duration::from_secs(3600));
        self.spool(&["spool"], Some(config.spool.max_bytes), Some(config.spool.after));
    }

    /// The bounds of the `spool` that stands at `path`.
    fn spool(&mut self, path: &[&str], max_bytes: Option<Size>, after: Option<Span>) {
        if let Some(max_bytes) = max_bytes {
            self.size_within(&[path, &["max_bytes"]].concat(), max_bytes, 64 << 20, 1 << 50);
        }
        if let Some(after) = after {
            self.span_within(
                &[path, &["after"]].concat(),
                after,
                Duration::from_millis(100),
                Duration::from_secs(3600),
            );
        }
    }

    /// What inputs must not do together.
    fn inputs(&mut self, config: &Config) {
        let mut read_by: HashMap<&str, (&str, Pos)> = HashMap::new();
        let mut stdin: Option<(&str, Pos)> = None;
        for (name, input) in &config.inputs {
            match input {
                Input::File(file) => {
                    for glob in &file.paths {
                        let at = self.item_pos(&["inputs", name, "paths"], &glob.0);
                        match read_by.insert(&glob.0, (name, at)) {
                            Some((other, _)) if other == name => {
                                self.warnings.push(at, format!("`paths` of `{name}` has the same pattern twice"));
                            }
                            Some((other, before)) => {
                                let message = format!(
                                    "the inputs `{other}` and `{name}` read the same files: one pattern belongs to one input"
                                );
                                self.say(at.max(before), message);
                            }
                            None => {}
                        }
                    }
                }
                Input::Stdin(_) => {
                    let at = self.root.key_pos(&["inputs", name]);
                    if let Some((other, before)) = stdin.replace((name, at)) {
                        self.say(
                            at.max(before),
                            format!("the inputs `{other}` and `{name}` both read stdin: there is only one"),
                        );
                    }
                }
            }
        }
    }

    /// What outputs must not do together.
    fn outputs(&mut self, config: &Config) {
        let mut written_by: HashMap<&str, &str> = HashMap::new();
        let mut buried_by: HashMap<&str, &str> = HashMap::new();
        for (name, output) in &config.outputs {
            if let Output::Kafka(kafka) = output
                && let Some(file) = &kafka.dead_letter.file
                && let Some(other) = buried_by.insert(&file.0, name)
            {
                let message = format!("the dead letter of `{other}` is the same file: each output needs its own");
                self.say_at(&["outputs", name, "dead_letter", "file"], message);
            }
            let Output::File(file) = output else { continue };
            if file.path.0.is_empty() {
                continue;
            }
            if let Some(other) = written_by.insert(&file.path.0, name) {
                let message = format!("the outputs `{other}` and `{name}` write the same file");
                self.say_at(&["outputs", name, "path"], message);
            }
        }
    }

    fn output(&mut self, name: &str, output: &Output, config: &Config) -> Option<CheckedOutput> {
        let kind = match output {
            Output::Kafka(kafka) => OutputKind::Kafka(Box::new(self.kafka(name, kafka, config)?)),
            Output::File(file) => OutputKind::File(self.file_output(name, file)?),
        };
        let own = output.common().spool();
        self.spool(&["outputs", name, "spool"], own.max_bytes, own.after);
        let (required, spool) = (output.common().required(), spool_options(&own.over(&config.spool)));
        Some(CheckedOutput { name: name.to_owned(), kind, required, spool })
    }

    fn file_output(&mut self, name: &str, output: &written::FileOutput) -> Option<FileOutputOptions> {
        let rotate = &output.rotate;
        self.size_within(&["outputs", name, "rotate", "max_bytes"], rotate.max_bytes, 64 << 10, 1 << 40);
        if !(1..=10_000).contains(&rotate.keep.0) {
            self.say_at(&["outputs", name, "rotate", "keep"], "`keep` must be 1 to 10000");
        }
        if !output.fsync {
            self.warn_at(
                &["outputs", name, "fsync"],
                "`fsync: false`: records count as delivered before they are on the disk; a crash of the machine loses them",
            );
        }
        Some(FileOutputOptions {
            name: name.to_owned(),
            path: output.path.0.clone(),
            envelope: output.envelope,
            rotate_bytes_max: rotate.max_bytes.0,
            keep: rotate.keep.0,
            fsync: output.fsync,
            mode: leaf::permissions(&output.permissions.0).ok()?,
        })
    }

    /// Checks the `outputs` of an input.
    fn chosen(&mut self, name: &str, input: &Input, config: &Config) {
        let path = ["inputs", name, "outputs"];
        let chosen = input.common().outputs();
        for (index, output) in chosen.iter().enumerate() {
            let at = self.item_pos(&path, &output.0);
            if !config.outputs.contains_key(&output.0) {
                let hint = did_you_mean(&output.0, config.outputs.keys().map(String::as_str));
                self.say(at, format!("there is no output `{}`{hint}", output.0));
            } else if chosen[..index].contains(output) {
                self.warnings.push(at, "this output is named twice");
            }
        }
        let mut fed = outputs_of(input, config).peekable();
        if fed.peek().is_some() && fed.all(|(_, output)| !output.common().required()) {
            let at = self.root.key_pos(&["inputs", name]);
            let message = format!(
                "every output of `{name}` is `required: false`: what they do not take at once is lost, nothing waits for them"
            );
            self.warnings.push(at, message);
        }
    }

    fn input(&mut self, name: &str, input: &Input, config: &Config) -> Option<CheckedInput> {
        let common = input.common();
        self.chosen(name, input, config);
        let record_max = outputs_of(input, config).filter_map(|(_, output)| output.common().max_record_bytes()).min();
        let lines = self.common(name, common, record_max, config)?;
        let max_line_bytes = usize::try_from(common.max_line_bytes().0).ok()?;
        // The form of the label was checked with the shape.
        let charset = Charset::of_label(&common.encoding().0)?;
        let kind = match input {
            Input::File(file) => {
                let joining = self.joining(name, common, Some(file.format), file.multiline.as_ref(), &lines, config);
                InputKind::File(self.file(name, file, max_line_bytes, charset, lines, joining?))
            }
            Input::Stdin(stdin) => {
                let joining = self.joining(name, common, None, stdin.multiline.as_ref(), &lines, config)?;
                InputKind::Stdin(StdinOptions { name: name.to_owned(), max_line_bytes, charset, lines, joining })
            }
        };
        Some(CheckedInput {
            name: name.to_owned(),
            fields: Object::from_json(common.fields().clone()),
            fields_under_root: common.fields_under_root(),
            tags: common.tags().iter().map(|tag| tag.0.clone()).collect(),
            processors: self.steps(common.processors(), &["inputs", name, "processors"]),
            routes: outputs_of(input, config)
                .map(|(output_name, output)| self.route(name, input, output_name, output.common()))
                .collect::<Option<_>>()?,
            meaning: meaning(input, config),
            kind,
        })
    }

    /// Checks what all inputs have.
    fn common(
        &mut self,
        name: &str,
        common: &dyn CommonInput,
        record_max: Option<Size>,
        config: &Config,
    ) -> Option<LineFilter> {
        let path = |key| ["inputs", name, key];
        let line_max = line_max(config);
        if common.max_line_bytes().0 < 128 || common.max_line_bytes().0 > line_max {
            let message = format!(
                "`max_line_bytes` must be 128 to {} (an eighth of `memory.max_bytes`, at most 64MiB)",
                render_size(line_max)
            );
            self.say_at(&path("max_line_bytes"), message);
        } else if let Some(max) = record_max.filter(|max| common.max_line_bytes() > *max) {
            let message = format!(
                "`max_line_bytes` is more than `max_record_bytes` ({}) of the output: lines between the two are cut to fit",
                render_size(max.0)
            );
            self.warn_at(&path("max_line_bytes"), message);
        }
        if common.fields_under_root() {
            self.reserved(&path("fields"), common.fields());
        }
        let texts = |lines: &[written::LinePattern]| lines.iter().map(|line| line.0.clone()).collect::<Vec<_>>();
        match LineFilter::new(&texts(common.include_lines()), &texts(common.exclude_lines())) {
            Ok(lines) => Some(lines),
            Err((list, index, _)) => {
                self.say_at(
                    &["inputs", name, list, &index.to_string()],
                    format!("`{list}`: expected a regular expression"),
                );
                None
            }
        }
    }

    /// Fields at the root must not have a root that the agent writes for each line.
    fn reserved(&mut self, path: &[&str], fields: &Map<String, Value>) {
        for key in fields.keys() {
            // A dot in a key is a level.
            let root = key.split('.').next().unwrap_or_default();
            if RESERVED_ROOTS.contains(&root) {
                let whole: Vec<&str> = path.iter().copied().chain([key.as_str()]).collect();
                let at = self.root.key_pos(&whole);
                let message = format!(
                    "`{root}` is the agent's own: with `fields_under_root`, `{key}` needs another name (or set it with `add_fields: {{target: \"\", …}}`)"
                );
                self.say(at, message);
            }
        }
    }

    fn file(
        &mut self,
        name: &str,
        file: &written::FileInput,
        max_line_bytes: usize,
        charset: Charset,
        lines: LineFilter,
        joining: Option<Arc<JoinOptions>>,
    ) -> FileOptions {
        let path = |key| ["inputs", name, key];
        self.span_within(&path("scan_every"), file.scan_every, Duration::from_millis(100), Duration::from_secs(3600));
        if let Some(older) = file.ignore_older {
            self.span_within(
                &path("ignore_older"),
                older,
                Duration::from_secs(1),
                Duration::from_secs(36_500 * 86_400),
            );
            if older <= file.scan_every {
                self.warn_at(
                    &path("ignore_older"),
                    "`ignore_older` is not more than `scan_every`: files may be passed over between two looks",
                );
            }
        }
        if let Some(age) = file.deleted_files.max_age {
            let path = ["inputs", name, "deleted_files", "max_age"];
            self.span_within(&path, age, Duration::from_secs(1), Duration::from_secs(36_500 * 86_400));
        }
        FileOptions {
            name: name.to_owned(),
            paths: file.paths.iter().map(|glob| glob.0.clone()).collect(),
            exclude: file.exclude.iter().map(|glob| glob.0.clone()).collect(),
            start_at: match file.start_at {
                written::StartAtName::Beginning => StartAt::Beginning,
                written::StartAtName::End => StartAt::End,
            },
            ignore_older: file.ignore_older.map(|span| span.0),
            max_line_bytes,
            charset,
            watch: match file.watch {
                written::WatchName::Auto => Watch::Auto,
                written::WatchName::Poll => Watch::Poll,
            },
            scan_every: file.scan_every.0,
            deleted_bytes_max: file.deleted_files.max_bytes.map(|size| size.0),
            deleted_age_max: file.deleted_files.max_age.map(|span| span.0),
            lines,
            joining,
        }
    }

    /// Input, then output, then default.
    fn route(&mut self, name: &str, input: &Input, output_name: &str, output: &dyn CommonOutput) -> Option<Route> {
        let common = input.common();
        let topic = common.topic().unwrap_or(output.topic());
        let default_key = match input {
            Input::File(_) => FILE_KEY,
            Input::Stdin(_) => "",
        };
        let key = common.key().or(output.key()).map_or(default_key, |key| &key.0);
        let mut headers: BTreeMap<&str, (&str, [&str; 4])> = BTreeMap::new();
        for (header, value) in output.headers() {
            headers.insert(header, (&value.0, ["outputs", output_name, "headers", header]));
        }
        for (header, value) in common.headers() {
            headers.insert(header, (&value.0, ["inputs", name, "headers", header]));
        }
        let headers: Vec<_> = headers
            .into_iter()
            .filter_map(|(header, (value, path))| {
                Some((header.to_owned(), self.parsed(Template::parse(value), &path)?))
            })
            .collect();
        let when = match output.when() {
            Some(text) => Some(self.parsed(Condition::parse(&text.0), &["outputs", output_name, "when"])?),
            None => None,
        };
        Some(Route {
            output: output_name.to_owned(),
            required: output.required(),
            when,
            record_bytes_max: match output.max_record_bytes() {
                Some(max) => usize::try_from(max.0).ok()?,
                None => usize::MAX,
            },
            topic: self.parsed(Template::parse(&topic.0), &["inputs", name, "topic"])?,
            key: if key.is_empty() { None } else { Some(self.parsed(Template::parse(key), &["inputs", name, "key"])?) },
            headers,
            codec: match common.codec().unwrap_or(output.codec()) {
                CodecName::Ecs => Codec::Ecs,
                CodecName::Json => Codec::Json,
                CodecName::Raw => Codec::Raw,
            },
        })
    }

    /// What parsed before parses again; if it should not, that is a mistake like any other, not a panic.
    pub(super) fn parsed<T>(&mut self, result: Result<T, SyntaxError>, path: &[&str]) -> Option<T> {
        result.map_err(|error| self.say_at(path, error.message)).ok()
    }

    fn kafka(&mut self, name: &str, output: &KafkaOutput, config: &Config) -> Option<kafka::KafkaOptions> {
        let path = |key| ["outputs", name, key];
        let window = window_bytes(config).max(MEMORY_BYTES_MIN / 8 * 3) / config.outputs.len().max(1) as u64;
        self.span_within(&path("linger"), output.linger, Duration::ZERO, Duration::from_secs(60));
        self.size_within(&path("batch_bytes"), output.batch_bytes, 1000, window);
        self.size_within(&path("max_record_bytes"), output.max_record_bytes, 1000, window);
        for (index, broker) in output.brokers.iter().enumerate() {
            if output.brokers[..index].contains(broker) {
                let at = self.item_pos(&path("brokers"), &broker.0);
                self.warnings.push(at, "this broker is named twice");
            }
        }
        let dead_letter = self.dead_letter(name, output);
        let rdkafka = self.rdkafka(name, output);
        let tls = output.tls.as_ref().map(|tls| self.tls(name, tls));
        let sasl = output.sasl.as_ref().map(|sasl| self.sasl(name, sasl, output.tls.as_ref()));
        Some(kafka::KafkaOptions {
            name: name.to_owned(),
            connection: kafka::Connection {
                brokers: output.brokers.iter().map(|broker| broker.0.clone()).collect(),
                client_id: output.client_id.0.clone(),
                tls,
                sasl: match sasl {
                    Some(sasl) => Some(sasl?),
                    None => None,
                },
                rdkafka,
            },
            compression: match output.compression {
                written::CompressionName::None => kafka::Compression::None,
                written::CompressionName::Gzip => kafka::Compression::Gzip,
                written::CompressionName::Snappy => kafka::Compression::Snappy,
                written::CompressionName::Lz4 => kafka::Compression::Lz4,
                written::CompressionName::Zstd => kafka::Compression::Zstd,
            },
            linger: output.linger.0,
            batch_bytes: usize::try_from(output.batch_bytes.0).ok()?,
            max_record_bytes: usize::try_from(output.max_record_bytes.0).ok()?,
            create_topics: output.create_topics == written::CreateTopics::Broker,
            window_bytes: usize::try_from(window_bytes(config)).ok()?,
            dead_letter,
        })
    }

    fn dead_letter(&mut self, output: &str, options: &KafkaOutput) -> DeadLetterOptions {
        let path = |key| ["outputs", output, "dead_letter", key];
        let dead_letter = &options.dead_letter;
        self.size_within(&path("max_bytes"), dead_letter.max_bytes, 1 << 20, 1 << 40);
        if dead_letter.topic.is_some() && dead_letter.file.is_some() {
            let at = self.root.key_pos(&path("topic")).max(self.root.key_pos(&path("file")));
            self.say(at, "a dead letter is a `topic` or a `file`, not both (what the topic refuses goes to a file in `data_dir`)");
        }
        if dead_letter.topic.as_ref().is_some_and(|topic| topic.0 == options.topic.0) {
            let message = "this is the output's own topic: what it refuses needs another one";
            self.say_at(&path("topic"), message);
        }
        DeadLetterOptions {
            topic: dead_letter.topic.as_ref().map(|topic| topic.0.clone()),
            file: dead_letter.file.as_ref().map(|file| PathBuf::from(&file.0)),
            bytes_max: dead_letter.max_bytes.0,
        }
    }

    fn rdkafka(&mut self, output: &str, options: &KafkaOutput) -> Vec<(String, String)> {
        for (name, value) in &options.rdkafka {
            let path = ["outputs", output, "rdkafka", name];
            let at = self.root.key_pos(&path);
            if let Some(why) = properties::refused(name) {
                self.say(at, why);
                continue;
            }
            let Err(error) = self.world.check_property(name, &value.0) else { continue };
            let node = self.root.find(&path);
            // The client's message quotes the value, which may be a secret.
            let secret = name.contains("password") || name.contains("secret") || name.contains(".pem");
            let secret = secret || node.and_then(Node::as_scalar).is_none_or(Scalar::is_substituted);
            let detail = if secret { String::new() } else { format!(": {error}") };
            let names = self.world.property_names();
            if names.contains(name) {
                let at = node.map_or(at, |node| node.at);
                self.say(at, format!("librdkafka does not take this value for `{name}`{detail}"));
            } else {
                let usable = names.iter().map(String::as_str).filter(|name| properties::refused(name).is_none());
                self.say(at, format!("librdkafka does not take `{name}`{detail}{}", did_you_mean(name, usable)));
            }
        }
        options.rdkafka.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect()
    }

    fn sasl(&mut self, output: &str, sasl: &written::Sasl, tls: Option<&written::Tls>) -> Option<kafka::Sasl> {
        use written::MechanismName as Name;
        let path = |key| ["outputs", output, "sasl", key];
        let secret = |text: &Option<written::SecretText>| text.as_ref().map(|text| text.0.clone());
        let (password, client_secret) = (secret(&sasl.password), secret(&sasl.client_secret));
        let texts = [
            ("username", &sasl.username),
            ("password", &password),
            ("token_url", &sasl.token_url),
            ("client_id", &sasl.client_id),
            ("client_secret", &client_secret),
        ];
        for (key, text) in texts {
            if text.as_ref().is_some_and(String::is_empty) {
                self.say_at(&path(key), format!("`{key}` is empty"));
            }
        }
        let mechanism = sasl.mechanism?;
        let is_token = mechanism == Name::OauthBearer;
        for (at, (key, _)) in texts.into_iter().enumerate() {
            let is_asked = (at >= 2) == is_token;
            let is_there = self.root.find(&path(key)).is_some();
            if is_asked && !is_there {
                let at = self.root.key_pos(&["outputs", output, "sasl"]);
                self.say(at, format!("`{key}` is missing"));
            } else if !is_asked && is_there {
                let at = self.root.key_pos(&path(key));
                let whose = if is_token { "PLAIN and SCRAM" } else { "OAUTHBEARER" };
                self.say(at, format!("`{key}` belongs to {whose}"));
            }
        }
        if mechanism == Name::Plain && tls.is_none() {
            self.warn_at(&path("mechanism"), "`PLAIN` without `tls` sends the password unencrypted");
        }
        let (username, password) = (sasl.username.clone(), password.map(kafka::Secret));
        Some(match mechanism {
            Name::Plain => kafka::Sasl::Plain { username: username?, password: password? },
            Name::ScramSha256 => kafka::Sasl::ScramSha256 { username: username?, password: password? },
            Name::ScramSha512 => kafka::Sasl::ScramSha512 { username: username?, password: password? },
            Name::OauthBearer => {
                let token_url = sasl.token_url.clone()?;
                if !is_safe_url(&token_url) {
                    let message = "`token_url` must begin with `https://` (`http://` only on this machine): the secret goes there";
                    self.say_at(&path("token_url"), message);
                    return None;
                }
                kafka::Sasl::OauthBearer(kafka::OauthBearer {
                    token_url,
                    client_id: sasl.client_id.clone()?,
                    client_secret: kafka::Secret(client_secret?),
                    scope: sasl.scope.clone(),
                    ca_file: tls.and_then(|tls| tls.ca_file.as_ref()).map(|path| path.0.clone().into()),
                })
            }
        })
    }

    fn tls(&mut self, output: &str, tls: &written::Tls) -> kafka::Tls {
        let path = |key| ["outputs", output, "tls", key];
        let ca = self.pem(&path("ca_file"), tls.ca_file.as_ref(), "CERTIFICATE");
        let certificate = self.pem(&path("cert_file"), tls.cert_file.as_ref(), "CERTIFICATE");
        let key = self.pem(&path("key_file"), tls.key_file.as_ref(), "PRIVATE KEY");
        let contents = xxh3_64(format!("{ca:?} {certificate:?} {key:?}").as_bytes());
        // Asked of what is written: a key with a mistake in its value is not missing.
        let has = |key| self.root.find(&path(key)).is_some();
        let (cert, key_file, password) = (has("cert_file"), has("key_file"), has("key_password"));
        let lacks = [
            (cert && !key_file, "cert_file", "needs `key_file`"),
            (key_file && !cert, "key_file", "needs `cert_file`"),
            (password && !key_file, "key_password", "needs `key_file`"),
        ];
        for (lacking, key, what) in lacks {
            if lacking {
                let at = self.root.key_pos(&path(key));
                self.say(at, format!("`{key}` {what}"));
            }
        }
        let encrypted = key.is_some_and(|text| text.contains("ENCRYPTED"));
        if encrypted && !password {
            self.say_at(&path("key_file"), "this key is encrypted: `key_password` is missing");
        }
        if !tls.verify {
            self.warn_at(
                &path("verify"),
                "`verify: false`: anyone between the agent and the brokers can read and change what is sent",
            );
        }
        let file = |file: &Option<written::AbsolutePath>| file.as_ref().map(|file| PathBuf::from(&file.0));
        kafka::Tls {
            ca_file: file(&tls.ca_file),
            cert_file: file(&tls.cert_file),
            key_file: file(&tls.key_file),
            key_password: tls.key_password.as_ref().map(|password| kafka::Secret(password.0.clone())),
            verify: tls.verify,
            contents,
        }
    }

    /// The text of a PEM file that must be there, and hold one of `what`.
    fn pem(&mut self, path: &[&str], file: Option<&written::AbsolutePath>, what: &str) -> Option<String> {
        let file = file?;
        let shown = self.written(path);
        match self.world.read(Path::new(&file.0)) {
            Err(error) => {
                self.say_at(path, format!("cannot read `{shown}`: {error}"));
                None
            }
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let begins = text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(what));
                if !begins {
                    self.say_at(path, format!("`{shown}` holds no PEM with a {}", what.to_lowercase()));
                }
                begins.then_some(text)
            }
        }
    }
}
