//! `logferry demo`: the main job in one command. A log that rotates, the real pipeline, Kafka's protocol, a consumer; and the
//! count of what arrived.
//!
//! ```text
//!  writer ─► files ─► Pipeline ─► Place: embedded broker, or a cluster ─► Reader ─► Arrivals ─► Sum
//!     ▲                                                                      │
//!     └───────────────────── Flow: no more than 3 MB ahead ──────────────────┘
//! ```
//!
//! A user's own files are not shipped where they are but from copies, so that they can be shipped as they were when the demo
//! began, no faster than the embedded broker's few megabytes allow, and whatever becomes of them meanwhile.
//!
//! Everything lies in one directory for temporary files and is removed at the end, also after an error, and after SIGINT,
//! SIGTERM or SIGHUP, which end the demo in order with exit code 1: not every line had arrived. Refused here: proof of
//! durability, which an embedded broker can't give.

mod access_log;
mod arrivals;
mod place;
mod show;
mod writer;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::access_log::{AccessLog, LINES_MAX, SITES};
use self::arrivals::{Arrivals, Expect, ExpectFiles, ExpectLog, Took};
use self::place::Place;
use self::show::{Latency, Progress, Progressed, Samples, Sum};
use self::writer::{Flow, LogPlan, UserFile, about, copy_files, log_path, write_log};
use super::check::mistakes_text;
use super::status::count;
use super::{DemoArgs, Exit};
use crate::config::checked::OutputKind;
use crate::config::{Checked, System, check_text};
use crate::output::kafka::reader::Reader;
use crate::output::kafka::wait_closed;
use crate::pipeline::Pipeline;
use crate::telemetry::status::HistogramStatus;
use crate::telemetry::{Status, logs, process};

/// So many lines take about five seconds on two cores.
const LINES_DEFAULT: u64 = 2_000_000;
/// With a rate, lines for so long.
const SECONDS_DEFAULT: u64 = 5;
/// Lines for each second of the log's own clock, without a rate.
const LINES_PER_SECOND: u64 = 200_000;
/// What is under way must not take longer.
const STALL: Duration = Duration::from_secs(30);
/// How long the reader waits for records at once: longer where only speed counts.
const POLL: Duration = Duration::from_millis(5);
const POLL_AT_RATE: Duration = Duration::from_millis(1);
/// How long the pipeline may take to stop, and Kafka's clients to end.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long records that should not be there are looked for at the end.
const REST_WITHIN: Duration = Duration::from_secs(5);
/// Records between two looks at the clock.
const RECORDS_PER_LOOK: u32 = 256;

/// Runs the demo.
///
/// # Errors
/// What can't be started, written, read or removed.
pub fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    logs::init(tracing::Level::WARN, logs::Format::Text)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals can't be caught")?;
    }
    let mut out = io::stdout();
    let is_terminal = out.is_terminal();
    let exit = demo(args, &stop, &mut out, is_terminal);
    // Also after an error: no thread of librdkafka may outlive the process's exit handlers.
    wait_closed(STOP_WITHIN);
    exit
}

fn demo(args: &DemoArgs, stop: &Arc<AtomicBool>, out: &mut dyn Write, is_terminal: bool) -> anyhow::Result<Exit> {
    if args.lines.is_some_and(|lines| lines > LINES_MAX) {
        writeln!(io::stderr(), "error: --lines: at most {}", count(LINES_MAX))?;
        return Ok(Exit::Usage);
    }
    // Dropped in the opposite order: the directory goes when nobody writes to it any more.
    let folder = tempfile::Builder::new().prefix("logferry-demo-").tempdir();
    let folder = folder.context("no directory for temporary files (TMPDIR says where)")?;
    let mut place = Place::new(args.brokers.as_deref())?;
    let job = Job::prepare(args, folder.path())?;
    let config = config_text(folder.path(), &job.paths, &place);
    let checked = match check_text("demo.yaml", &config, &System) {
        Ok(checked) => checked,
        Err(mistakes) => {
            write!(io::stderr(), "{}", mistakes_text(&mistakes))?;
            return Ok(Exit::Usage);
        }
    };
    writeln!(out, "Logferry {}, {}.", env!("CARGO_PKG_VERSION"), place.describe())?;
    writeln!(out, "{}, shipped with this config:\n", job.title())?;
    for line in config.lines() {
        writeln!(out, "    {line}")?;
    }
    writeln!(out)?;
    out.flush()?;
    let connection = checked.outputs.iter().find_map(|output| match &output.kind {
        OutputKind::Kafka(kafka) => Some(&kafka.connection),
        OutputKind::File(_) => None,
    });
    let reader = place.open(connection.expect("the config above has a Kafka output"))?;
    let pipeline = Running::start(checked)?;
    let ship = Ship { job: &job, folder: folder.path(), stop, is_terminal };
    let shown = ship.run(reader, pipeline, out);
    place.close()?;
    let exit = shown?;
    let path = folder.path().to_owned();
    folder.close().with_context(|| format!("{} is left behind", path.display()))?;
    Ok(exit)
}

/// What is to be shipped.
struct Job {
    work: Work,
    /// For the config: glob patterns.
    paths: Vec<String>,
}

enum Work {
    Log { plan: LogPlan, from_seconds: i64 },
    Files(Vec<UserFile>),
}

impl Job {
    /// Makes the directories.
    fn prepare(args: &DemoArgs, folder: &Path) -> anyhow::Result<Self> {
        let make = |path: &Path| fs::create_dir_all(path).map_err(|error| about("create", path, &error));
        let root = glob_literal(folder);
        if args.files.is_empty() {
            for site in SITES {
                make(log_path(folder, site).parent().unwrap_or(folder))?;
            }
            let at_rate = args.rate.map(|rate| rate.saturating_mul(SECONDS_DEFAULT));
            let lines = args.lines.or(at_rate).unwrap_or(LINES_DEFAULT).min(LINES_MAX);
            let from_seconds = jiff::Timestamp::now().as_second();
            let work = Work::Log { plan: LogPlan { lines, rate: args.rate }, from_seconds };
            return Ok(Self { work, paths: vec![format!("{root}/*/access.log")] });
        }
        let mut files = Vec::new();
        for (number, path) in args.files.iter().enumerate() {
            let stat = fs::metadata(path).map_err(|error| about("read", path, &error))?;
            anyhow::ensure!(stat.is_file(), "{} is no regular file", path.display());
            let directory = folder.join("files").join(number.to_string());
            make(&directory)?;
            let copy = directory.join(plain_name(path));
            File::create(&copy).map_err(|error| about("create", &copy, &error))?;
            files.push(UserFile { path: path.clone(), bytes: stat.len(), copy });
        }
        Ok(Self { work: Work::Files(files), paths: vec![format!("{root}/files/*/*")] })
    }

    fn title(&self) -> String {
        match &self.work {
            Work::Log { plan, .. } => {
                let rate = plan.rate.map(|rate| format!(", {} a second", count(rate))).unwrap_or_default();
                format!("A web server's access logs, {} lines{rate}", count(plan.lines))
            }
            Work::Files(files) => {
                let bytes: u64 = files.iter().map(|file| file.bytes).sum();
                format!("{}, {:.1} MB, as they are now (from copies)", files_text(files), bytes as f64 / 1e6)
            }
        }
    }

    fn what(&self, flow: &Flow) -> String {
        match &self.work {
            Work::Log { .. } => format!("{} access logs, rotated {} times", SITES.len(), count(flow.rotations())),
            Work::Files(files) => files_text(files),
        }
    }

    fn log(plan: &LogPlan, from_seconds: i64) -> AccessLog {
        AccessLog::new(from_seconds, plan.rate.unwrap_or(LINES_PER_SECOND))
    }

    fn expect(&self) -> io::Result<Expect> {
        match &self.work {
            Work::Log { plan, from_seconds } => {
                Ok(Expect::Log(ExpectLog::new(Self::log(plan, *from_seconds), plan.lines)))
            }
            Work::Files(files) => {
                let open = |file: &UserFile| File::open(&file.copy).map_err(|error| about("read", &file.copy, &error));
                Ok(Expect::Files(ExpectFiles::new(files.iter().map(open).collect::<io::Result<_>>()?)))
            }
        }
    }

    fn write(&self, flow: &Flow, folder: &Path) -> io::Result<()> {
        match &self.work {
            Work::Log { plan, from_seconds } => write_log(flow, folder, Self::log(plan, *from_seconds), plan),
            Work::Files(files) => copy_files(flow, files),
        }
    }

    /// How much of it has arrived, 0 to 1.
    fn share(&self, arrivals: &Arrivals) -> f64 {
        let (have, all) = match &self.work {
            Work::Log { plan, .. } => (arrivals.lines, plan.lines),
            Work::Files(files) => (arrivals.bytes, files.iter().map(|file| file.bytes).sum()),
        };
        have as f64 / all.max(1) as f64
    }

    fn rate(&self) -> Option<u64> {
        match &self.work {
            Work::Log { plan, .. } => plan.rate,
            Work::Files(_) => None,
        }
    }
}

fn files_text(files: &[UserFile]) -> String {
    match files {
        [file] => file.path.display().to_string(),
        files => format!("{} files", files.len()),
    }
}

/// The name of a file, without what a pattern or a config could take for something else.
fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain = |char: char| if char.is_ascii_alphanumeric() || ".-_".contains(char) { char } else { '_' };
    name.chars().map(plain).collect()
}

/// A path as the pattern that matches it alone.
fn glob_literal(path: &Path) -> String {
    let mut pattern = String::new();
    for char in path.to_string_lossy().chars() {
        if "*?[]{}\\!".contains(char) {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}

/// A text as a YAML scalar that means itself.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}

/// What a newcomer would write.
fn config_text(folder: &Path, paths: &[String], place: &Place) -> String {
    let list = |texts: &[String]| texts.iter().map(|text| yaml(text)).collect::<Vec<_>>().join(", ");
    format!(
        "data_dir: {}\n\
         inputs:\n  \
           web:\n    \
             type: file\n    \
             paths: [{}]\n    \
             fields: {{ service: web }}\n\
         outputs:\n  \
           main:\n    \
             type: kafka\n    \
             brokers: [{}]\n    \
             topic: {}\n\
         admin: {{ listen: \"off\" }}\n",
        yaml(&folder.join("data").to_string_lossy()),
        list(paths),
        list(&place.brokers()),
        place.topic(),
    )
}

/// A pipeline that ends with its owner, whatever ends that.
struct Running(Option<Pipeline>);

impl Running {
    fn start(checked: Checked) -> anyhow::Result<Self> {
        let pipeline = Pipeline::start(checked)?;
        // From here on nothing is written before somebody watches.
        pipeline.rescan();
        Ok(Self(Some(pipeline)))
    }

    fn status(&self) -> Status {
        self.0.as_ref().map(Pipeline::status).unwrap_or_default()
    }

    fn stop(mut self) {
        if let Some(pipeline) = self.0.take() {
            pipeline.stop(STOP_WITHIN);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pipeline) = self.0.take() {
            pipeline.kill();
        }
    }
}

/// How the shipping ended.
enum End {
    /// All that was to be written is there.
    All,
    /// Somebody wants it to end.
    Interrupted,
    /// Nothing came for too long.
    Stalled,
}

/// The shipping itself.
struct Ship<'a> {
    job: &'a Job,
    folder: &'a Path,
    stop: &'a Arc<AtomicBool>,
    is_terminal: bool,
}

impl Ship<'_> {
    fn run(&self, reader: Reader, pipeline: Running, out: &mut dyn Write) -> anyhow::Result<Exit> {
        let flow = Flow::new(Arc::clone(self.stop));
        let mut consumer = Consumer::new(reader, Arrivals::new(self.job.expect()?), self.job.rate().is_some());
        let (begun, cpu_before) = (Instant::now(), process::cpu_seconds());
        let (end, written) = std::thread::scope(|scope| {
            let writer = std::thread::Builder::new()
                .name("writer".to_owned())
                .spawn_scoped(scope, || self.job.write(&flow, self.folder))?;
            let mut progress = Progress::new(self.is_terminal);
            let end = self.consume(&mut consumer, &flow, &|| writer.is_finished(), &mut progress, out);
            progress.end();
            // Whatever it was that ended the reading: nobody would read on.
            self.stop.store(true, Ordering::Release);
            let written = writer.join().map_err(|_| anyhow!("the writer has panicked"))?;
            anyhow::Ok((end?, written))
        })?;
        written?;
        let cpu_seconds = process::cpu_seconds() - cpu_before;
        let status = pipeline.status();
        if matches!(end, End::All) {
            pipeline.stop();
            consumer.read_rest(&flow)?;
        } else {
            drop(pipeline);
        }
        let (written_lines, written_bytes) = flow.written();
        let sum = Sum {
            what: self.job.what(&flow),
            written_lines,
            written_bytes,
            arrived_lines: consumer.arrivals.lines,
            arrived_bytes: consumer.arrivals.bytes,
            repeated: consumer.arrivals.repeated,
            disordered: consumer.arrivals.disordered,
            foreign: consumer.arrivals.foreign,
            took: consumer.last.saturating_duration_since(begun),
            cpu_seconds,
            delivery: delivery(&status),
            latency: consumer.latency.take(),
        };
        let samples = consumer.samples.text();
        if !samples.is_empty() {
            writeln!(out, "\nSome of the records, as a consumer gets them:\n\n{samples}")?;
        }
        writeln!(out, "{}", sum.text())?;
        let (verdict, exit) = match end {
            End::All if sum.is_good() => (sum.verdict(), Exit::Fine),
            End::All => (sum.verdict(), Exit::Failed),
            End::Interrupted => ("interrupted before every line had arrived".to_owned(), Exit::Failed),
            End::Stalled => {
                let (why, first) = (trouble(&status), consumer.arrivals.first_missing());
                let seconds = STALL.as_secs();
                (format!("{}, the first is {first}; nothing came for {seconds} s{why}", sum.verdict()), Exit::Failed)
            }
        };
        writeln!(out, "{verdict}")?;
        out.flush()?;
        Ok(exit)
    }

    /// Reads what arrives until all has, or nothing does.
    fn consume(
        &self,
        consumer: &mut Consumer,
        flow: &Flow,
        writer_is_done: &dyn Fn() -> bool,
        progress: &mut Progress,
        out: &mut dyn Write,
    ) -> anyhow::Result<End> {
        // When there was last nothing to wait for.
        let mut complete = Instant::now();
        loop {
            consumer.read_some(flow)?;
            if self.stop.load(Ordering::Acquire) {
                return Ok(End::Interrupted);
            }
            // Before the writer's count is looked at: it is the last one then.
            let is_done = writer_is_done();
            let (written_lines, _) = flow.written();
            let arrivals = &consumer.arrivals;
            if arrivals.lines >= written_lines {
                if is_done {
                    return Ok(End::All);
                }
                complete = Instant::now();
            } else if complete.max(consumer.last).elapsed() > STALL {
                return Ok(End::Stalled);
            }
            let now = Progressed {
                written_lines,
                arrived_lines: arrivals.lines,
                arrived_bytes: arrivals.bytes,
                share: self.job.share(arrivals),
            };
            progress.show(out, now)?;
        }
    }
}

/// Who reads the records back.
struct Consumer {
    reader: Reader,
    arrivals: Arrivals,
    samples: Samples,
    latency: Option<Latency>,
    poll: Duration,
    /// Where each partition is to be read on.
    next: BTreeMap<i32, i64>,
    /// When the last new line arrived.
    last: Instant,
}

impl Consumer {
    fn new(reader: Reader, arrivals: Arrivals, at_rate: bool) -> Self {
        Self {
            reader,
            arrivals,
            samples: Samples::default(),
            latency: at_rate.then(Latency::new),
            poll: if at_rate { POLL_AT_RATE } else { POLL },
            next: BTreeMap::new(),
            last: Instant::now(),
        }
    }

    /// Reads what is there, up to a bound. Whether there was something.
    fn read_some(&mut self, flow: &Flow) -> io::Result<bool> {
        let mut is_new = false;
        let mut read = 0;
        while read < RECORDS_PER_LOOK
            && let Some(record) = self.reader.poll(self.poll)
        {
            read += 1;
            self.next.insert(record.partition, record.offset + 1);
            if let Took::New { bytes, number } = self.arrivals.take(&record.value)? {
                is_new = true;
                flow.arrived(bytes);
                if let (Some(latency), Some(number)) = (&mut self.latency, number)
                    && let Some(then) = flow.written_at(number)
                {
                    latency.observe(then.elapsed());
                }
            }
            self.samples.offer(&record);
        }
        if is_new {
            self.last = Instant::now();
            flow.arrived_below(self.arrivals.all_below());
        }
        Ok(read > 0)
    }

    /// Reads to the end of every partition: what arrived twice may be behind the last line.
    fn read_rest(&mut self, flow: &Flow) -> anyhow::Result<()> {
        let ends = self.reader.end_offsets()?;
        let begun = Instant::now();
        let (last, is_behind) = (self.last, |next: &BTreeMap<i32, i64>| {
            ends.iter().any(|(partition, end)| next.get(partition).copied().unwrap_or(0) < *end)
        });
        while is_behind(&self.next) {
            anyhow::ensure!(begun.elapsed() < REST_WITHIN, "the end of the topic can't be read");
            self.read_some(flow)?;
        }
        self.last = last;
        Ok(())
    }
}

/// How long each record took from its reading to its acknowledgement.
fn delivery(status: &Status) -> HistogramStatus {
    status.outputs.first().map(|output| output.delivery_seconds.clone()).unwrap_or_default()
}

/// Why nothing comes, if the pipeline knows.
fn trouble(status: &Status) -> String {
    let output = status.outputs.first();
    let lane = output.and_then(|output| output.lanes.iter().find_map(|lane| lane.cause.clone()));
    let input = status.inputs.iter().find_map(|input| input.last_error.clone());
    let broker = output.and_then(|output| output.brokers.iter().find_map(|broker| broker.last_error.clone()));
    lane.or(broker).or(input).map(|why| format!(": {why}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn args(files: &[PathBuf], lines: Option<u64>, rate: Option<u64>) -> DemoArgs {
        DemoArgs { files: files.to_vec(), lines, rate, brokers: None }
    }

    fn ship(args: &DemoArgs) -> (Exit, String) {
        let mut out = Vec::new();
        let exit = demo(args, &Arc::default(), &mut out, false).expect("it runs");
        (exit, String::from_utf8(out).expect("UTF-8"))
    }

    /// The number of a row of the sum.
    fn number(said: &str, row: &str) -> u64 {
        let line = said.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row} is not in\n{said}"));
        let digits = line[row.len()..].split_whitespace().next().expect("a number");
        digits.replace(',', "").parse().expect("a number")
    }

    /// Scenario: a generated log that rotates, through the whole pipeline and the embedded broker.
    /// Guarantee: every line arrives once, in order; the sum says so, and three records are shown.
    #[test]
    fn every_generated_line_arrives() {
        let (exit, said) = ship(&args(&[], Some(30_000), None));
        assert_eq!(exit, Exit::Fine, "{said}");
        for (row, expect) in
            [("lines written", 30_000), ("lines arrived", 30_000), ("repeated", 0), ("out of order", 0)]
        {
            assert_eq!(number(&said, row), expect, "{said}");
        }
        assert_eq!(said.matches("\"@timestamp\": ").count(), 3, "{said}");
        assert!(!said.contains("rotated 0 times"), "{said}");
        assert!(said.trim_end().ends_with("every line arrived"), "{said}");
    }

    /// Scenario: a log at a rate.
    /// Guarantee: the latency is said.
    #[test]
    fn at_a_rate_the_latency_is_said() {
        let (exit, said) = ship(&args(&[], Some(500), Some(1_000)));
        assert_eq!(exit, Exit::Fine, "{said}");
        for row in ["  p50 in ms", "  p99 in ms"] {
            let line = said.lines().find(|line| line.starts_with(row)).expect("the row");
            let time: f64 = line.split_whitespace().nth(3).expect("a number").parse().expect("a number");
            assert!(time > 0.0, "{said}");
        }
    }

    /// Scenario: own files with lines of every kind, an unterminated last one, an empty file, twice the same one, and a
    /// name that looks like a pattern.
    /// Guarantee: every line arrives, and is what it was.
    #[test]
    fn own_files_arrive_as_they_are() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content).expect("a file");
            path
        };
        let mixed = file("a [b] ${c}*.log", b"one\r\n\n\xff\xfe bytes\n{\"json\": \"\x1b[31m\"}\nunfinished");
        let long = file("long.log", &[b"x".repeat(400_000), b"\nshort\n".to_vec()].concat());
        let empty = file("empty.log", b"");
        let (exit, said) = ship(&args(&[mixed.clone(), long, empty, mixed], None, None));
        assert_eq!(exit, Exit::Fine, "{said}");
        assert_eq!((number(&said, "lines written"), number(&said, "lines arrived")), (12, 12), "{said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }

    /// Scenario: what is no file.
    /// Guarantee: an error that names it.
    #[test]
    fn what_is_no_file_is_refused() {
        for path in ["/nonexistent/x.log", "/tmp"] {
            let mut out = Vec::new();
            let error = demo(&args(&[path.into()], None, None), &Arc::default(), &mut out, false).expect_err("refused");
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    /// Takes what is said until the demo is about to begin, then nothing more: `head` does that.
    struct Closing(Vec<u8>);

    impl Write for Closing {
        fn write(&mut self, said: &[u8]) -> io::Result<usize> {
            if String::from_utf8_lossy(&self.0).contains("admin: ") {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.write(said)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Scenario: the demo is told to end at once; its output is closed, before it ships and while it does.
    /// Guarantee: it ends, not as a success, and leaves no directory behind.
    #[test]
    fn ends_early_and_leaves_nothing() {
        let folder = |said: &str| {
            let (_, rest) = said.split_once("data_dir: \"").expect("the config is shown");
            PathBuf::from(rest.split_once("/data\"").expect("a path").0)
        };
        let long = args(&[], Some(LINES_MAX), None);
        let mut out = Vec::new();
        let exit = demo(&long, &Arc::new(AtomicBool::new(true)), &mut out, false).expect("it runs");
        let said = String::from_utf8(out).expect("UTF-8");
        assert_eq!(exit, Exit::Failed, "{said}");
        assert!(said.trim_end().ends_with("interrupted before every line had arrived"), "{said}");
        assert!(!folder(&said).exists(), "{said}");
        let mut closing = Closing(Vec::new());
        demo(&long, &Arc::default(), &mut closing, false).expect_err("its output is closed");
        assert!(!folder(&String::from_utf8(closing.0).expect("UTF-8")).exists());
    }

    #[test]
    fn the_config_takes_any_path() {
        let folder = Path::new("/tmp/a [b]/{c}/d\"e/$f/${g}");
        let place = Place::new(None).expect("a broker");
        let text = config_text(folder, &[format!("{}/*", glob_literal(folder))], &place);
        let checked = check_text("demo.yaml", &text, &System).map_err(|mistakes| mistakes_text(&mistakes));
        let checked = checked.unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"));
        assert_eq!(checked.data_dir, folder.join("data"));
        let crate::config::checked::InputKind::File(file) = &checked.inputs[0].kind else { panic!("a file input") };
        let patterns = crate::input::file::Patterns::new(&file.paths, &[]).expect("patterns");
        assert!(patterns.matches(&folder.join("x.log")));
        assert!(!patterns.matches(Path::new("/tmp/a b/c/d\"e/$f/${g}/x.log")));
    }
}
