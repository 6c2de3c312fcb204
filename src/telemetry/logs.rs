//! The agent's own log: lines on stderr, as text or as JSON with ECS names, rate-limited per cause.
//!
//! A cause is a place in the code together with the object that it names (`input`, `output`, `file`, `topic`, …): a
//! broker that is away logs [`BURST`] lines and then one per [`REFILL`], with `suppressed=N` for what was left out, while the
//! first word about another topic still comes through at once. Only `debug` and `trace`, which somebody asked for, are not
//! limited. What stays unwritten is counted ([`suppressed_total`]), so it shows in the status.
//!
//! Deliberately absent: spans (an agent has no requests), files and rotation of its own log (stderr belongs to whoever
//! supervises it), colours outside a terminal.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

/// Lines of one cause that are written at once.
pub const BURST: u32 = 5;

/// After the burst, one line of a cause in this time; a cause that is quiet for it gets one line of its burst back.
pub const REFILL: Duration = Duration::from_secs(30);

/// Causes remembered. Beyond, the one that was quiet for longest is forgotten.
pub const CAUSES_MAX: usize = 1_024;

/// Overrides the level: `debug`, or by module as `info,logferry::input=debug`.
pub const ENVIRONMENT: &str = "LOGFERRY_LOG";

/// The fields that name an object, and so tell causes apart.
const NAMING: [&str; 12] = [
    "input",
    "output",
    "file",
    "path",
    "topic",
    "partition",
    "broker",
    "source",
    "reason",
    "address",
    "mistake",
    "reload",
];

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Changes the level of this process's log, if the config says it.
static LEVEL: OnceLock<Box<dyn Fn(Level) + Send + Sync>> = OnceLock::new();

/// Lines left out since the start, over all causes.
pub fn suppressed_total() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `2026-01-31T12:00:00.123Z WARN  topic does not exist output=main topic=logs.gone`
    Text,
    /// One object a line: `@timestamp`, `log.level`, `message`, `log.logger`, and the fields.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{ENVIRONMENT}={value}: {message}; expected a level (error, warn, info, debug, trace) or MODULE=LEVEL,…")]
    Filter { value: String, message: String },
    #[error("the log is set up already")]
    Twice,
}

/// Sends the log of this process to stderr, from `level` on (unless `LOGFERRY_LOG` says otherwise).
///
/// # Errors
/// If `LOGFERRY_LOG` is not a filter, or the log is set up already.
pub fn init(level: Level, format: Format) -> Result<(), LogError> {
    let given = std::env::var(ENVIRONMENT).ok().filter(|value| !value.is_empty());
    let (filter, changes) = reload::Layer::new(filter(level, given.as_deref())?);
    let colour = format == Format::Text && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = LogLayer::new(io::stderr(), format, colour);
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init().map_err(|_| LogError::Twice)?;
    if given.is_none() {
        let change = move |level| {
            if let Ok(filter) = self::filter(level, None) {
                // It is gone only if the log is.
                changes.reload(filter).ok();
            }
        };
        LEVEL.set(Box::new(change)).map_err(|_| LogError::Twice)?;
    }
    Ok(())
}

/// Sends the log from another level on. `LOGFERRY_LOG` still overrides it.
pub fn set_level(level: Level) {
    if let Some(change) = LEVEL.get() {
        change(level);
    }
}

/// The libraries' own chatter starts at `warn`; ours at `level`.
fn filter(level: Level, given: Option<&str>) -> Result<EnvFilter, LogError> {
    let (value, text) = match given {
        Some(value) => (value, value.to_owned()),
        None => ("", format!("warn,logferry={level}")),
    };
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| LogError::Filter { value: value.to_owned(), message: error.to_string() })
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Write it, and say how many of its cause were left out before it.
    Write {
        suppressed: u64,
    },
    LeaveOut,
}

/// Decides per cause; time is a parameter.
///
/// A token bucket for each cause: [`BURST`] tokens, one more per [`REFILL`].
struct Limiter {
    causes: HashMap<u64, Cause>,
}

struct Cause {
    /// At most [`BURST`].
    tokens: u32,
    /// When the last token was gained, or the bucket was last full.
    refilled: Instant,
    seen: Instant,
    suppressed: u64,
}

impl Limiter {
    fn new() -> Self {
        Self { causes: HashMap::new() }
    }

    fn admit(&mut self, cause: u64, now: Instant) -> Verdict {
        if self.causes.len() >= CAUSES_MAX && !self.causes.contains_key(&cause) {
            self.forget_some();
        }
        let entry =
            self.causes.entry(cause).or_insert(Cause { tokens: BURST, refilled: now, seen: now, suppressed: 0 });
        entry.seen = now;
        while entry.tokens < BURST && now.saturating_duration_since(entry.refilled) >= REFILL {
            entry.tokens += 1;
            entry.refilled += REFILL;
        }
        if entry.tokens == 0 {
            entry.suppressed += 1;
            return Verdict::LeaveOut;
        }
        if entry.tokens == BURST {
            entry.refilled = now;
        }
        entry.tokens -= 1;
        Verdict::Write { suppressed: std::mem::take(&mut entry.suppressed) }
    }

    /// Makes room by forgetting the eighth that was quiet for longest: in one pass for many, so that a flood of new causes
    /// does not pay for a search each.
    fn forget_some(&mut self) {
        let mut seen: Vec<Instant> = self.causes.values().map(|cause| cause.seen).collect();
        let (_, oldest_kept, _) = seen.select_nth_unstable(CAUSES_MAX / 8);
        let oldest_kept = *oldest_kept;
        self.causes.retain(|_, cause| cause.seen > oldest_kept);
    }
}

/// Formats events and writes them, one `write` a line.
struct LogLayer<W> {
    out: Mutex<W>,
    limiter: Mutex<Limiter>,
    hash: std::hash::RandomState,
    format: Format,
    colour: bool,
}

impl<W: Write> LogLayer<W> {
    fn new(out: W, format: Format, colour: bool) -> Self {
        let hash = std::hash::RandomState::new();
        Self { out: Mutex::new(out), limiter: Mutex::new(Limiter::new()), hash, format, colour }
    }

    fn log(&self, event: &Event<'_>, now: Instant, time: jiff::Timestamp) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut suppressed = 0;
        if *metadata.level() <= Level::INFO {
            let cause = self.cause(metadata, &fields);
            match self.limiter.lock().unwrap_or_else(PoisonError::into_inner).admit(cause, now) {
                Verdict::Write { suppressed: before } => suppressed = before,
                Verdict::LeaveOut => {
                    SUPPRESSED.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
        if suppressed > 0 {
            fields.rest.push(("suppressed", Value::from(suppressed)));
        }
        let line = match self.format {
            Format::Text => text(metadata.level(), fields, time, self.colour),
            Format::Json => json(metadata, fields, time),
        };
        // Nobody can be told that stderr is gone.
        drop(self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes()));
    }

    /// The place in the code and the objects named.
    fn cause(&self, metadata: &tracing::Metadata<'_>, fields: &Fields) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write(metadata.target().as_bytes());
        hasher.write(metadata.name().as_bytes());
        hasher.write_u32(metadata.line().unwrap_or(0));
        for (name, value) in fields.rest.iter().filter(|(name, _)| NAMING.contains(name)) {
            hasher.write(name.as_bytes());
            match value {
                Value::String(text) => hasher.write(text.as_bytes()),
                other => hasher.write(other.to_string().as_bytes()),
            }
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }
}

impl<S: Subscriber, W: Write + 'static> Layer<S> for LogLayer<W> {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.log(event, Instant::now(), jiff::Timestamp::now());
    }
}

/// The fields of an event, as JSON values.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.rest.push((field.name(), Value::from(value)));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            // An error that already tells its source is not told twice.
            let inner = error.to_string();
            if !text.contains(&inner) {
                text = format!("{text}: {inner}");
            }
            source = error.source();
        }
        self.record_str(field, &text);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.rest.push((field.name(), Value::from(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.push((field.name(), Value::from(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.rest.push((field.name(), Value::from(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.push((field.name(), Value::from(value)));
    }
}

fn text(level: &Level, fields: Fields, time: jiff::Timestamp, colour: bool) -> String {
    let (start, dim, end) = match (colour, *level) {
        (false, _) => ("", "", ""),
        (true, Level::ERROR) => ("\x1b[31m", "\x1b[2m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[33m", "\x1b[2m", "\x1b[0m"),
        (true, Level::INFO) => ("\x1b[32m", "\x1b[2m", "\x1b[0m"),
        (true, _) => ("\x1b[34m", "\x1b[2m", "\x1b[0m"),
    };
    let mut line = format!("{dim}{time:.3}{end} {start}{level:<5}{end} ");
    push_clean(&mut line, &fields.message);
    for (name, value) in fields.rest {
        line.push(' ');
        line.push_str(dim);
        line.push_str(name);
        line.push('=');
        line.push_str(end);
        push_value(&mut line, &value);
    }
    line.push('\n');
    line
}

/// A value as it is if it reads as one word, else quoted and escaped.
fn push_value(line: &mut String, value: &Value) {
    match value {
        Value::String(text)
            if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "\"=\\".contains(c)) =>
        {
            push_clean(line, text);
        }
        // JSON's quoting leaves DEL and the C1 controls as they are.
        other => push_clean(line, &other.to_string()),
    }
}

/// Control characters escaped: a file's name must not forge a line or speak to the terminal.
fn push_clean(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            write!(line, "{}", character.escape_default()).expect("writing to a string does not fail");
        } else {
            line.push(character);
        }
    }
}

fn json(metadata: &tracing::Metadata<'_>, fields: Fields, time: jiff::Timestamp) -> String {
    let mut object = Map::new();
    object.insert("@timestamp".into(), Value::from(format!("{time:.3}")));
    object.insert("log.level".into(), Value::from(metadata.level().as_str().to_ascii_lowercase()));
    object.insert("message".into(), Value::from(fields.message));
    object.insert("log.logger".into(), Value::from(metadata.target()));
    for (name, value) in fields.rest {
        object.insert(name.into(), value);
    }
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn written(limiter: &mut Limiter, cause: u64, now: Instant) -> Option<u64> {
        match limiter.admit(cause, now) {
            Verdict::Write { suppressed } => Some(suppressed),
            Verdict::LeaveOut => None,
        }
    }

    #[test]
    fn a_burst_then_one_per_interval_with_the_count_left_out() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(written(&mut limiter, 1, start), Some(0));
        }
        for millisecond in 0..1_000 {
            assert_eq!(written(&mut limiter, 1, start + Duration::from_millis(millisecond)), None);
        }
        assert_eq!(written(&mut limiter, 2, start), Some(0), "another cause is not meant");
        assert_eq!(written(&mut limiter, 1, start + REFILL), Some(1_000));
        assert_eq!(written(&mut limiter, 1, start + REFILL), None);
        assert_eq!(written(&mut limiter, 1, start + REFILL * 2), Some(1));
    }

    #[test]
    fn a_quiet_cause_gets_its_burst_back_and_no_more() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        while written(&mut limiter, 1, start).is_some() {}
        let later = start + REFILL * 1_000;
        let count = std::iter::from_fn(|| written(&mut limiter, 1, later)).count();
        assert_eq!(count, BURST as usize);
    }

    #[test]
    fn time_that_goes_back_does_no_harm() {
        let (mut limiter, start) = (Limiter::new(), Instant::now() + REFILL);
        while written(&mut limiter, 1, start).is_some() {}
        assert_eq!(written(&mut limiter, 1, start - REFILL), None);
        assert!(written(&mut limiter, 1, start + REFILL).is_some());
    }

    #[test]
    fn the_number_of_causes_is_bounded_and_the_quiet_ones_go() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        let chatty = u64::MAX;
        for cause in 0..20_000u64 {
            let now = start + Duration::from_micros(cause);
            limiter.admit(cause, now);
            limiter.admit(chatty, now);
            assert!(limiter.causes.len() <= CAUSES_MAX);
        }
        assert_eq!(written(&mut limiter, chatty, start + Duration::from_millis(20)), None, "it is still known");
    }

    /// What the layer writes for the events of `log`.
    fn lines(format: Format, log: impl FnOnce()) -> String {
        let out = Shared::default();
        let layer = LogLayer::new(out.clone(), format, false);
        let layer = layer.with_filter(filter(Level::INFO, None).expect("our own filter"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = out.0.lock().expect("no panic while locked").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while locked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_lines_name_the_object_and_cannot_be_forged() {
        let out = lines(Format::Text, || {
            let error = io::Error::other("no such file");
            tracing::warn!(file = "/a b\n2026 ERROR gone\x1b[2J", bytes = 5, %error, "cannot read file");
            tracing::debug!("not asked for");
        });
        let (time, rest) = out.split_once(' ').expect("a time first");
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == "2026-01-01T00:00:00.000Z".len(), "{time}");
        assert_eq!(
            rest,
            "WARN  cannot read file file=\"/a b\\n2026 ERROR gone\\u001b[2J\" bytes=5 error=\"no such file\"\n"
        );
    }

    #[test]
    fn json_lines_are_one_object_with_ecs_names() {
        let out = lines(Format::Json, || {
            tracing::error!(topic = "logs.\"x\"", partition = -1, ok = false, "topic is gone");
        });
        let value: Value = serde_json::from_str(out.strip_suffix('\n').expect("a line")).expect("JSON");
        assert_eq!(value["log.level"], "error");
        assert_eq!(value["message"], "topic is gone");
        assert_eq!(value["topic"], "logs.\"x\"");
        assert_eq!((&value["partition"], &value["ok"]), (&Value::from(-1), &Value::from(false)));
        assert!(value["@timestamp"].as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()));
        assert_eq!(value["log.logger"], module_path!());
    }

    #[test]
    fn a_storm_about_one_topic_leaves_room_for_another() {
        let before = suppressed_total();
        let out = lines(Format::Text, || {
            for n in 0..100 {
                let topic = if n == 99 { "quiet" } else { "loud" };
                tracing::warn!(topic, attempt = n, "produce failed");
            }
        });
        assert_eq!(out.matches("topic=loud").count(), BURST as usize);
        assert_eq!(out.matches("topic=quiet").count(), 1);
        assert!(suppressed_total() - before >= 94);
    }

    #[test]
    fn the_environment_overrides_and_its_mistakes_are_named() {
        assert!(filter(Level::INFO, Some("info,logferry::input=debug")).is_ok());
        let error = filter(Level::INFO, Some("logferry=shout")).expect_err("no such level").to_string();
        assert!(error.contains("LOGFERRY_LOG=logferry=shout"), "{error}");
    }
}
