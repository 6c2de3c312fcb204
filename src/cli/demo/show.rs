//! What the demo shows: the config it runs, progress, some records, and the sum of it all.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::Formatter;

use crate::cli::status::{clean, count};
use crate::output::kafka::reader::ReadRecord;
use crate::telemetry::status::HistogramStatus;

/// How often a terminal, and whoever is no terminal, is told.
const TERMINAL_EVERY: Duration = Duration::from_millis(100);
const LINES_EVERY: Duration = Duration::from_secs(1);
/// Records shown.
const SAMPLES_MAX: usize = 3;
const STEPS: u64 = 1_000;

/// How far it is.
#[derive(Clone, Copy, Default)]
pub struct Progressed {
    pub written_lines: u64,
    pub arrived_lines: u64,
    pub arrived_bytes: u64,
    /// Of all there is to arrive, 0 to 1.
    pub share: f64,
}

/// Shows progress as it is: a bar on a terminal, else a line a second.
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    shown: Instant,
}

impl Progress {
    /// `is_terminal`: the standard output is one.
    pub fn new(is_terminal: bool) -> Self {
        let bar = is_terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("{bar:20} {percent:>3} %  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Self { bar, started: now, shown: now }
    }

    /// Shows it, if it is time again.
    ///
    /// # Errors
    /// If the output can't be written.
    pub fn show(&mut self, out: &mut dyn Write, now: Progressed) -> io::Result<()> {
        let every = if self.bar.is_some() { TERMINAL_EVERY } else { LINES_EVERY };
        if self.shown.elapsed() < every {
            return Ok(());
        }
        self.shown = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let text = format!(
            "{} lines written, {} arrived, {:.1} MB/s",
            count(now.written_lines),
            count(now.arrived_lines),
            now.arrived_bytes as f64 / 1e6 / seconds
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.set_position((now.share * STEPS as f64) as u64);
                Ok(())
            }
            None => {
                writeln!(out, "{seconds:>4.0} s  {text}")?;
                out.flush()
            }
        }
    }

    /// Takes the bar away: the sum follows.
    pub fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The first records, of different keys if there are such.
#[derive(Default)]
pub struct Samples(Vec<ReadRecord>);

impl Samples {
    /// Keeps the record if it is one to be shown.
    pub fn offer(&mut self, record: &ReadRecord) {
        if self.0.len() < SAMPLES_MAX {
            self.0.push(record.clone());
        } else if let Some(twin) = self.twin()
            && self.0.iter().all(|kept| kept.key != record.key)
        {
            self.0[twin] = record.clone();
        }
    }

    /// One whose key an earlier one has.
    fn twin(&self) -> Option<usize> {
        (1..self.0.len()).find(|at| self.0[..*at].iter().any(|kept| kept.key == self.0[*at].key))
    }

    /// All of them, for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for record in &self.0 {
            let key = record.key.as_deref().map_or_else(|| "none".into(), String::from_utf8_lossy);
            line(&mut text, format_args!("partition {}, offset {}, key {key}", record.partition, record.offset));
            text.push_str(&pretty(&record.value));
            text.push('\n');
        }
        text
    }
}

/// Appends a line that says nothing to the terminal itself.
fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.push_str(&clean(&what.to_string()));
    text.push('\n');
}

/// A JSON object with a line for each member; what is within a member stays on its line.
fn pretty(value: &[u8]) -> String {
    let Ok(Value::Object(members)) = serde_json::from_slice(value) else {
        return clean(&String::from_utf8_lossy(value)) + "\n";
    };
    let mut text = "{\n".to_owned();
    for (at, (name, value)) in members.iter().enumerate() {
        let comma = if at + 1 < members.len() { "," } else { "" };
        line(&mut text, format_args!("  {}: {}{comma}", Value::from(name.as_str()), airy(value)));
    }
    text + "}\n"
}

/// JSON on one line, with blanks where people put them.
fn airy(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Airy);
    value.serialize(&mut serializer).expect("a value is written to memory");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

struct Airy;

impl Formatter for Airy {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b" " } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" }")
    }
}

/// Durations of which the quantiles are wanted: counted in steps of 0.1 ms, up to 10 s.
pub struct Latency {
    counts: Vec<u64>,
    all: u64,
}

impl Latency {
    const STEP: Duration = Duration::from_micros(100);
    const STEPS: usize = 100_000;

    pub fn new() -> Self {
        Self { counts: vec![0; Self::STEPS], all: 0 }
    }

    /// Counts a duration; a longer one as 10 s.
    pub fn observe(&mut self, time: Duration) {
        let step = usize::try_from(time.as_micros() / Self::STEP.as_micros()).unwrap_or(usize::MAX);
        self.counts[step.min(Self::STEPS - 1)] += 1;
        self.all += 1;
    }

    /// The duration, rounded up to a step, that a share of `quantile` (0 to 1) does not exceed. `None` if there are none.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = ((self.all as f64 * quantile).ceil() as u64).max(1);
        let mut sum = 0;
        let step = self.counts.iter().position(|count| {
            sum += count;
            sum >= rank
        })?;
        Some(Self::STEP * u32::try_from(step + 1).unwrap_or(u32::MAX))
    }
}

/// The sum of it all.
pub struct Sum {
    /// What was written: `4 access logs, rotated 32 times`.
    pub what: String,
    pub written_lines: u64,
    pub written_bytes: u64,
    pub arrived_lines: u64,
    pub arrived_bytes: u64,
    pub repeated: u64,
    pub disordered: u64,
    pub foreign: u64,
    /// From the first line written to the last one that arrived.
    pub took: Duration,
    /// Of the whole process, in that time.
    pub cpu_seconds: f64,
    pub latency: Option<Latency>,
    /// From read to acknowledged.
    pub delivery: HistogramStatus,
}

impl Sum {
    /// Whether every line arrived, and nothing else did.
    pub fn is_good(&self) -> bool {
        self.arrived_lines == self.written_lines && self.foreign == 0
    }

    /// For people.
    pub fn text(&self) -> String {
        let megabytes = self.arrived_bytes as f64 / 1e6;
        let (seconds, cpu_seconds) = (self.took.as_secs_f64(), self.cpu_seconds);
        let mut rows = vec![
            (
                "lines written",
                count(self.written_lines),
                format!("{:.1} MB: {}", self.written_bytes as f64 / 1e6, self.what),
            ),
            ("lines arrived", count(self.arrived_lines), "as a consumer read them back, compared byte for byte".into()),
            ("repeated", count(self.repeated), String::new()),
            ("out of order", count(self.disordered), "among the lines of one log".into()),
        ];
        if self.foreign > 0 {
            rows.push(("not as written", count(self.foreign), "changed, or not written by the demo".into()));
        }
        rows.push((
            "MB/s",
            format!("{:.1}", megabytes / seconds.max(1e-9)),
            format!("{seconds:.2} s from the first line written to the last one read back"),
        ));
        rows.push((
            "MB per CPU-second",
            format!("{:.1}", megabytes / cpu_seconds.max(1e-9)),
            format!(
                "{cpu_seconds:.2} s of CPU: writer, pipeline, broker if embedded, and consumer, all in this process"
            ),
        ));
        let milliseconds = |time: Option<f64>| time.map_or_else(|| "-".into(), |time| format!("{:.1}", time * 1e3));
        if let Some(latency) = &self.latency {
            let measured = |quantile| milliseconds(latency.quantile(quantile).map(|time| time.as_secs_f64()));
            let within = |quantile| milliseconds(self.delivery.quantile_seconds(quantile));
            rows.push(("append to acknowledged", String::new(), String::new()));
            let bound = "at most: measured until the consumer had the line, which is after the acknowledgement";
            rows.push(("  p50 in ms", measured(0.5), bound.into()));
            rows.push(("  p99 in ms", measured(0.99), String::new()));
            let share =
                format!("read to acknowledged: p50 {}, p99 {} (the pipeline's histogram)", within(0.5), within(0.99));
            rows.push(("  of which", String::new(), share));
        }
        let mut text = String::new();
        for (name, number, note) in rows {
            let row = format!("{name:<22} {number:>12}  {note}");
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }

    /// The last line: what it comes to.
    pub fn verdict(&self) -> String {
        let mut verdict = String::new();
        let missing = self.written_lines.saturating_sub(self.arrived_lines);
        let written = match missing {
            0 if self.foreign > 0 => {
                write!(verdict, "every line arrived, and {} that nobody wrote", count(self.foreign))
            }
            0 => write!(verdict, "every line arrived"),
            _ => write!(verdict, "{} lines did not arrive", count(missing)),
        };
        written.expect("writing to a string does not fail");
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, offset: i64) -> ReadRecord {
        ReadRecord {
            partition: 1,
            offset,
            timestamp_ms: 0,
            key: Some(key.into()),
            headers: Vec::new(),
            value: br#"{"message":"a \u001b[1m\u009b b","log":{"file":{"path":"/x"},"offset":0},"tags":["a","b"]}"#
                .to_vec(),
        }
    }

    #[test]
    fn samples_are_of_different_keys_if_there_are_such() {
        let kept = |keys: &[&str]| {
            let mut samples = Samples::default();
            keys.iter().zip(0..).for_each(|(key, offset)| samples.offer(&record(key, offset)));
            samples.0.iter().map(|record| record.offset).collect::<Vec<_>>()
        };
        assert_eq!(kept(&["a", "a", "a", "a"]), [0, 1, 2]);
        assert_eq!(kept(&["a", "a", "a", "b", "b", "c", "d"]), [0, 3, 5]);
        assert_eq!(kept(&["a"]), [0]);
    }

    #[test]
    fn a_record_has_a_line_for_each_member_and_does_not_speak_to_the_terminal() {
        let mut samples = Samples::default();
        samples.offer(&record("host/x\u{7}", 7));
        let expect = "partition 1, offset 7, key host/x\\u{7}\n{\n  \"message\": \"a \\u001b[1m\\u{9b} b\",\n  \
                      \"log\": { \"file\": { \"path\": \"/x\" }, \"offset\": 0 },\n  \"tags\": [\"a\", \"b\"]\n}\n\n";
        assert_eq!(samples.text(), expect);
    }

    #[test]
    fn quantiles_are_exact_to_a_step() {
        let mut latency = Latency::new();
        assert_eq!(latency.quantile(0.5), None);
        (1..=100).for_each(|ms| latency.observe(Duration::from_millis(ms) - Duration::from_micros(1)));
        assert_eq!(latency.quantile(0.5), Some(Duration::from_millis(50)));
        assert_eq!(latency.quantile(0.99), Some(Duration::from_millis(99)));
        latency.observe(Duration::from_secs(3_600));
        assert_eq!(latency.quantile(1.0), Some(Duration::from_secs(10)));
    }

    fn sum(written_lines: u64, arrived_lines: u64, foreign: u64) -> Sum {
        Sum {
            what: "4 access logs".into(),
            written_lines,
            written_bytes: 2_000_000,
            arrived_lines,
            arrived_bytes: 2_000_000,
            repeated: 7,
            disordered: 0,
            foreign,
            took: Duration::from_millis(500),
            cpu_seconds: 0.25,
            latency: None,
            delivery: HistogramStatus::default(),
        }
    }

    #[test]
    fn the_sum_says_what_is_missing() {
        let good = sum(12_345, 12_345, 0);
        assert!(good.is_good());
        assert_eq!(good.verdict(), "every line arrived");
        for part in [
            "12,345  2.0 MB: 4 access logs",
            "MB/s                            4.0",
            "MB per CPU-second               8.0",
        ] {
            assert!(good.text().contains(part), "{part} is not in\n{}", good.text());
        }
        assert!(!good.text().contains("not as written"));
        let lost = sum(12_345, 12_000, 0);
        assert!(!lost.is_good());
        assert_eq!(lost.verdict(), "345 lines did not arrive");
        let foreign = sum(5, 5, 1);
        assert!(!foreign.is_good());
        assert!(foreign.text().contains("not as written"), "{}", foreign.text());
        let at_rate = Sum { latency: Some(Latency::new()), ..sum(5, 5, 0) };
        assert!(at_rate.text().contains("p99"), "{}", at_rate.text());
    }
}
