//! The checked config: each stage's options, ready to use.
//!
//! Whoever holds a [`Checked`] has a config without mistakes: every template parsed, every bound kept, every precedence
//! (input, then output, then default) decided. What only the running process knows (the machine's id, the shared
//! fields of its events) is put in by the pipeline.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::encode::Codec;
use crate::event::Object;
use crate::event::Template;
use crate::input::file::options::FileOptions;
use crate::input::stdin::StdinOptions;
use crate::output::file::options::FileOptions as FileOutputOptions;
use crate::output::kafka::options::KafkaOptions;
use crate::process::condition::Condition;
use crate::process::{CloudFacts, Step};

use super::ConfigFile;
use super::mistake::Mistake;
use super::written::{LevelName, LogFormatName};
use crate::deliver::machine::WhenFull;

/// A config without mistakes.
pub struct Checked {
    pub data_dir: PathBuf,
    /// The bound of all payload, in bytes (I4).
    pub memory_bytes_max: usize,
    /// At least one, in the order of their names.
    pub inputs: Vec<CheckedInput>,
    /// For every input, after its own.
    pub processors: Vec<Step>,
    /// At least one, in the order of their names.
    pub outputs: Vec<CheckedOutput>,
    /// What all outputs together may have in flight, in bytes: each has an equal part.
    pub window_bytes: usize,
    /// A topic with a legal name.
    pub fallback_topic: String,
    pub shutdown_after: Duration,
    /// `None`: `listen: off`.
    pub admin: Option<SocketAddr>,
    pub logging: Logging,
    /// What its processors want to know of the cloud, not asked yet; one a question.
    pub clouds: Vec<Arc<CloudFacts>>,
    /// Odd but possible things: to be shown, not to be refused.
    pub warnings: Vec<Mistake>,
    /// What it was made of: to be checked again when one of `files_named` has changed.
    pub files: Vec<ConfigFile>,
    /// Files that the config names and whose content it takes in: certificates, keys, `${file:…}`, `${credential:…}`.
    pub files_named: Vec<PathBuf>,
}

/// One output.
#[derive(Clone, Debug)]
pub struct CheckedOutput {
    pub name: String,
    pub kind: OutputKind,
    /// Whether it may hold sources back.
    pub required: bool,
    pub spool: SpoolOptions,
}

/// What kind of output it is, with the options of that kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKind {
    Kafka(Box<KafkaOptions>),
    File(FileOutputOptions),
}

impl OutputKind {
    /// The `type` of the config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::File(_) => "file",
        }
    }
}

impl Checked {
    /// The part of the window that each output has.
    pub fn window_share_bytes(&self) -> usize {
        self.window_bytes / self.outputs.len().max(1)
    }

    /// The output of this name.
    pub fn output(&self, name: &str) -> Option<&CheckedOutput> {
        self.outputs.iter().find(|output| output.name == name)
    }
}

/// One input.
pub struct CheckedInput {
    pub name: String,
    pub kind: InputKind,
    /// What every event of it gets, below `fields` or at the root.
    pub fields: Object,
    pub fields_under_root: bool,
    pub tags: Vec<String>,
    /// Its own, before those of the top level.
    pub processors: Vec<Step>,
    /// One for each of its outputs, at least one, in the order of their names.
    pub routes: Vec<Route>,
    pub meaning: Meaning,
}

/// Everything that the config says of an input, wherever it says it: its own section, what it inherits from its outputs, the
/// processors of the top level. Two inputs of one name with the same meaning are the same input.
#[derive(Clone, PartialEq)]
pub struct Meaning(pub(super) serde_json::Value);

impl std::fmt::Debug for Meaning {
    /// Not the values: a substitution may have brought a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meaning")
    }
}

/// What kind of input it is, with the options of that kind.
pub enum InputKind {
    File(FileOptions),
    Stdin(StdinOptions),
}

/// Which records of an input go to one output, where to, and as what.
#[derive(Clone)]
pub struct Route {
    /// The output's name.
    pub output: String,
    /// Whether it may hold the input's sources back.
    pub required: bool,
    /// `None`: all.
    pub when: Option<Condition>,
    /// Value, key and headers of one record.
    pub record_bytes_max: usize,
    pub topic: Template,
    /// `None`: no key.
    pub key: Option<Template>,
    /// Name and value; each name once.
    pub headers: Vec<(String, Template)>,
    pub codec: Codec,
}

/// The `spool` of an output: its own, over that of the top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// The most that it takes on the disk.
    pub bytes_max: u64,
    /// How long a lane may be silent before what waits for it is spooled.
    pub after: Duration,
    pub when_full: WhenFull,
    /// Also what its source could read again.
    pub always: bool,
}

/// `logging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    pub level: LevelName,
    pub format: LogFormatName,
}

impl Logging {
    /// The level by tracing's name.
    pub fn level(&self) -> tracing::Level {
        match self.level {
            LevelName::Error => tracing::Level::ERROR,
            LevelName::Warn => tracing::Level::WARN,
            LevelName::Info => tracing::Level::INFO,
            LevelName::Debug => tracing::Level::DEBUG,
            LevelName::Trace => tracing::Level::TRACE,
        }
    }
}
