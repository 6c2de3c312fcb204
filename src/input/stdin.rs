//! The `stdin` input: lines from a pipe, which can be read only once.
//!
//! A thread reads into a bounded buffer; the source makes lines of it. What is not settled stays in the buffer, so that
//! a held or abandoned batch can be read again; at [`BUFFER_BYTES`] the thread stops reading, and so does who writes into the
//! pipe. Positions are byte offsets since the start; they are not kept: after a restart there is nothing to go back to, so
//! each run is a source of its own.
//!
//! ```text
//!   settled (dropped) │ read, not settled │ not read yet    │ free
//!   ──────────────────┼───────────────────┼─────────────────┼────── BUFFER_BYTES
//!                     base                position          end
//! ```
//! A line that does not fit the buffer is cut there and the rest of it, up to its newline, swallowed and counted: nothing else
//! could keep the pipe flowing. Lines that are being joined stay in the buffer until their record is settled; one that takes more than
//! half of it ([`RECORD_BYTES_MAX`]) is cut. At the end of the input the last line needs no newline.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::{Position, SourceKey};
use crate::decode::{self, Charset, JoinOptions, LineFilter, LineOptions};
use crate::event::{Common, Flags, Shared, Timestamp};
use crate::input::joining::Joining;
use crate::input::source::{Fill, Host, Quantum, Read, Source, Token};

/// Bytes kept at most: those not read yet and those not settled.
pub const BUFFER_BYTES: usize = 4 << 20;
/// Raw bytes of a record at most: it must fit the buffer with what follows.
pub const RECORD_BYTES_MAX: u64 = BUFFER_BYTES as u64 / 2;
/// Bytes asked of the pipe at a time: what a pipe holds by default.
const READ_BYTES: usize = 64 * 1024;
/// A descriptor that does not wait is asked this often.
const NONBLOCKING_PAUSE: Duration = Duration::from_millis(10);

/// The checked options of a `stdin` input.
#[derive(Clone, Debug)]
pub struct StdinOptions {
    /// The input's name in the config.
    pub name: String,
    /// Longer lines are cut here, marked and counted. In bytes, terminator excluded.
    pub max_line_bytes: usize,
    /// What the lines are encoded in.
    pub charset: Charset,
    pub lines: LineFilter,
    /// How lines become records. `None`: each is one.
    pub joining: Option<Arc<JoinOptions>>,
}

/// Counters of a stdin input.
#[derive(Debug, Default)]
pub struct StdinStats {
    pub bytes_read: AtomicU64,
    /// Events made.
    pub lines: AtomicU64,
    /// Bytes of lines that did not fit the buffer, swallowed.
    pub bytes_given_up: AtomicU64,
    pub errors: AtomicU64,
}

/// A running stdin input.
pub struct StdinInput {
    pipe: Arc<Pipe>,
    stats: Arc<StdinStats>,
}

/// Between the thread and the source.
struct Pipe {
    state: Mutex<State>,
    /// Space came free, or the input was stopped.
    freed: Condvar,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Offset of the first byte in `bytes`.
    base: u64,
    /// Nothing comes any more.
    ended: bool,
    /// Where the source stands.
    position: u64,
    /// It has lines that are not records yet.
    is_joining: bool,
}

struct StdinSource {
    options: StdinOptions,
    key: SourceKey,
    pipe: Arc<Pipe>,
    stats: Arc<StdinStats>,
    common: Arc<Common>,
    position: u64,
    joining: Option<Joining>,
    /// What becomes a line; where lines are joined, every one.
    filter: LineFilter,
    /// What the lines are encoded in, once the first bytes were seen.
    charset: Option<Charset>,
    /// Offsets at which the rest of a line begins that is to be swallowed; all in what is not settled.
    swallow: BTreeSet<u64>,
}

impl StdinInput {
    /// Begins to read `reader` (the process's stdin, or a test's pipe). `key`: a number of its own, from
    /// [`crate::checkpoint::Store::number`]; `run_id`: what tells this run from others, for `log.file.id`.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub fn start(
        options: StdinOptions,
        shared: &Shared,
        reader: impl io::Read + Send + 'static,
        key: SourceKey,
        run_id: &str,
        host: Arc<dyn Host>,
    ) -> io::Result<StdinInput> {
        let pipe = Arc::new(Pipe { state: Mutex::default(), freed: Condvar::new(), stopped: AtomicBool::new(false) });
        let stats = Arc::new(StdinStats::default());
        let name = options.name.clone();
        let joining = options.joining.as_ref().map(|options| Joining::new(options, at(0)));
        let filter = if joining.is_some() { LineFilter::default() } else { options.lines.clone() };
        let source = StdinSource {
            common: Arc::new(shared.stream(run_id)),
            joining,
            filter,
            options,
            key,
            pipe: Arc::clone(&pipe),
            stats: Arc::clone(&stats),
            position: 0,
            charset: None,
            swallow: BTreeSet::new(),
        };
        let token = host.add(&name, Box::new(source), Position::default());
        let feeder = Feeder { pipe: Arc::clone(&pipe), stats: Arc::clone(&stats), host, token, name: name.clone() };
        std::thread::Builder::new().name(format!("stdin {name}")).spawn(move || feeder.run(reader))?;
        Ok(StdinInput { pipe, stats })
    }

    /// Takes no more from the pipe. The thread may be left waiting in a read that nobody answers; it ends with the process, or
    /// with the next bytes, which it drops.
    pub fn stop(self) {
        self.pipe.stopped.store(true, Ordering::Release);
        self.pipe.freed.notify_all();
    }

    /// The pipe has ended and all of it was read.
    pub fn idle(&self) -> bool {
        let state = self.pipe.state();
        state.ended && state.position == state.end() && !state.is_joining
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<StdinStats> {
        &self.stats
    }
}

impl Pipe {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The length of the line that begins at byte `from` of the buffer, its newline included.
    fn line_bytes(&self, from: usize, charset: Charset) -> Option<usize> {
        let (front, back) = self.bytes.as_slices();
        let split = front.len();
        let base = self.base;
        let in_front = front.get(from..).and_then(|front| charset.first_line(front, base + from as u64));
        in_front.or_else(|| {
            // A newline may lie across the two.
            let across = split > from && charset.unit_bytes() == 2;
            if let (true, Some(last), Some(first)) = (across, front.last(), back.first())
                && charset.first_line(&[*last, *first], base + split as u64 - 1).is_some()
            {
                return Some(split + 1 - from);
            }
            let skip = from.saturating_sub(split);
            Some(charset.first_line(back.get(skip..)?, base + (split + skip) as u64)? + skip + split - from)
        })
    }

    /// What the stream is encoded in, by its first bytes.
    fn charset(&self, said: Charset) -> Option<Charset> {
        if !said.depends_on_mark() {
            return Some(said);
        }
        let first: Vec<u8> = self.bytes.iter().take(2).copied().collect();
        (self.base == 0 && (first.len() == 2 || self.ended)).then(|| said.resolved(&first))
    }

    /// Appends up to `want` bytes from `offset` on.
    fn copy_to(&self, buf: &mut Vec<u8>, offset: u64, want: usize) {
        let from = usize::try_from(offset - self.base).expect("within the buffer");
        let to = self.bytes.len().min(from.saturating_add(want));
        let (front, back) = self.bytes.as_slices();
        let split = front.len();
        buf.extend_from_slice(&front[from.min(split)..to.min(split)]);
        buf.extend_from_slice(&back[from.saturating_sub(split)..to.saturating_sub(split)]);
    }
}

/// The thread's side.
struct Feeder {
    pipe: Arc<Pipe>,
    stats: Arc<StdinStats>,
    host: Arc<dyn Host>,
    token: Token,
    name: String,
}

impl Feeder {
    fn run(self, mut reader: impl io::Read) {
        let mut chunk = vec![0; READ_BYTES];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(got) => {
                    if !self.put(&chunk[..got]) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.pipe.stopped.load(Ordering::Acquire) {
                        break;
                    }
                    std::thread::sleep(NONBLOCKING_PAUSE);
                }
                Err(error) => {
                    self.stats.errors.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(input = %self.name, %error, "stdin can't be read; it is taken for ended");
                    break;
                }
            }
        }
        self.pipe.state().ended = true;
        self.host.wake(self.token);
    }

    /// `false`: the input was stopped.
    fn put(&self, bytes: &[u8]) -> bool {
        let mut state = self.pipe.state();
        while !self.pipe.stopped.load(Ordering::Acquire) && state.bytes.len() + bytes.len() > BUFFER_BYTES {
            state = self.pipe.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            // What came free may be too little for us, but enough for the source to see that a line must be cut.
            drop(state);
            self.host.wake(self.token);
            state = self.pipe.state();
        }
        if self.pipe.stopped.load(Ordering::Acquire) {
            return false;
        }
        state.bytes.extend(bytes);
        drop(state);
        self.host.wake(self.token);
        true
    }
}

impl StdinSource {
    /// Swallows the rest of a line that was cut.
    fn swallow(&mut self, state: &State, charset: Charset, fill: &mut Fill, now: Timestamp) -> Option<Read> {
        if !self.swallow.contains(&self.position) || self.position == state.end() {
            return None;
        }
        let from = usize::try_from(self.position - state.base).expect("within the buffer");
        let line = state.line_bytes(from, charset);
        let available = state.bytes.len() - from;
        // Half a newline may stand at the end.
        let rest = if state.ended { available } else { available / charset.unit_bytes() * charset.unit_bytes() };
        let skipped = line.unwrap_or(rest) as u64;
        if skipped == 0 {
            return Some(Read::Idle);
        }
        self.stats.bytes_given_up.fetch_add(skipped, Ordering::Relaxed);
        self.position += skipped;
        if line.is_none() {
            self.swallow.insert(self.position);
        }
        if let Some(joining) = &mut self.joining {
            joining.take(fill, at(self.position), now, |_, _| Some(0));
        }
        Some(Read::Batch { resume: self.resume(), more: true })
    }

    /// How many bytes to look at: a quantum, or as many as its first line needs.
    fn want(&self, state: &State, quantum: &Quantum, charset: Charset) -> Option<usize> {
        let from = usize::try_from(self.position - state.base).expect("within the buffer");
        let available = state.bytes.len() - from;
        let want = quantum.bytes_max.max(1);
        match state.line_bytes(from, charset) {
            Some(line) => Some(want.max(line)),
            // All of it is one line. It is over when the pipe is, or when there is no room for more of it.
            None if available > 0 && (state.ended || from == 0 && available + READ_BYTES > BUFFER_BYTES) => {
                Some(available)
            }
            None => None,
        }
    }

    /// Counts and passes on a line that has no newline.
    fn take_rest(&mut self, fill: &mut Fill, quantum: &Quantum, was_cut: bool, charset: Charset) -> Read {
        let options = self.line_options(quantum, charset);
        if was_cut {
            // The half of a character belongs to what follows.
            fill.buf.truncate(fill.buf.len() / charset.unit_bytes() * charset.unit_bytes());
        }
        let taken = fill.buf.len() as u64;
        let mut text = Vec::new();
        let event = decode::last_line(&fill.buf, 0..fill.buf.len(), self.position, &options, quantum.now, &mut text);
        if !charset.is_utf8() {
            fill.buf = text;
        }
        self.stats.bytes_read.fetch_add(taken, Ordering::Relaxed);
        self.position += taken;
        let is_cut = event.as_ref().is_some_and(|event| was_cut || event.flags().contains(Flags::TRUNCATED));
        let is_filtered = event.is_none();
        fill.events.extend(event);
        self.join(fill, quantum.now, u64::from(is_cut), u64::from(is_filtered));
        if was_cut {
            self.swallow.insert(self.position);
        }
        Read::Batch { resume: self.resume(), more: true }
    }

    /// Passes the lines in `fill` on to be joined; where they are not, counts what became of them.
    fn join(&mut self, fill: &mut Fill, now: Timestamp, truncated: u64, filtered: u64) {
        match &mut self.joining {
            Some(joining) => joining.take(fill, at(self.position), now, |_, _| Some(0)),
            None => {
                fill.lines_truncated += truncated;
                fill.lines_filtered += filtered;
            }
        }
        self.stats.lines.fetch_add(fill.events.len() as u64, Ordering::Relaxed);
    }

    fn resume(&self) -> Position {
        self.joining.as_ref().map_or(at(self.position), Joining::resume)
    }

    /// There is nothing to read: what is open ends if its time is over, if the pipe's is, or if there is no room for more of it.
    fn end_open(&mut self, state: &State, fill: &mut Fill, now: Timestamp) -> Option<Read> {
        let joining = self.joining.as_mut().filter(|joining| joining.is_open())?;
        let is_full = state.bytes.len() + READ_BYTES > BUFFER_BYTES;
        if state.ended || is_full {
            joining.end_all(fill, at(self.position), !state.ended);
        } else if joining.is_due(now) {
            joining.end_due(fill, at(self.position), now);
        } else {
            return None;
        }
        self.stats.lines.fetch_add(fill.events.len() as u64, Ordering::Relaxed);
        Some(Read::Batch { resume: self.resume(), more: true })
    }

    fn line_options(&self, quantum: &Quantum, charset: Charset) -> LineOptions<'_> {
        LineOptions {
            max_line_bytes: self.options.max_line_bytes,
            events_max: quantum.events_max,
            filter: &self.filter,
            charset,
        }
    }

    fn read_from(&mut self, state: &State, fill: &mut Fill, quantum: &Quantum) -> Read {
        self.charset = self.charset.or_else(|| state.charset(self.options.charset));
        let Some(charset) = self.charset else { return Read::Idle };
        if let Some(read) = self.swallow(state, charset, fill, quantum.now) {
            return read;
        }
        let Some(want) = self.want(state, quantum, charset) else {
            if let Some(read) = self.end_open(state, fill, quantum.now) {
                return read;
            }
            return match (state.ended, quantum.all_settled) {
                (true, true) => Read::Finished,
                (true, false) => Read::Drained,
                (false, _) => Read::Idle,
            };
        };
        state.copy_to(&mut fill.buf, self.position, want);
        let options = self.line_options(quantum, charset);
        let mut text = Vec::new();
        let split = if charset.is_utf8() {
            decode::split_lines(&fill.buf, self.position, &options, quantum.now, &mut fill.events)
        } else {
            decode::split_encoded(&fill.buf, self.position, &options, quantum.now, &mut text, &mut fill.events)
        };
        if split.consumed == 0 {
            return self.take_rest(fill, quantum, !state.ended, charset);
        }
        if charset.is_utf8() {
            fill.buf.truncate(split.consumed);
        } else {
            fill.buf = text;
        }
        self.position += split.consumed as u64;
        self.stats.bytes_read.fetch_add(split.consumed as u64, Ordering::Relaxed);
        self.join(fill, quantum.now, split.truncated, split.filtered);
        Read::Batch { resume: self.resume(), more: true }
    }
}

impl Source for StdinSource {
    fn is_urgent(&self) -> bool {
        true
    }

    fn key(&self) -> SourceKey {
        self.key
    }

    fn common(&self) -> Arc<Common> {
        Arc::clone(&self.common)
    }

    fn read(&mut self, fill: &mut Fill, quantum: &Quantum) -> Result<Read, io::Error> {
        fill.buf.clear();
        fill.events.clear();
        if let Some(joining) = &mut self.joining {
            joining.begin();
        }
        let pipe = Arc::clone(&self.pipe);
        let mut state = pipe.state();
        let read = self.read_from(&state, fill, quantum);
        state.position = self.position;
        state.is_joining = self.joining.as_ref().is_some_and(Joining::is_open);
        Ok(read)
    }

    fn rewind(&mut self, position: Position) {
        let position = self.go_back(position);
        if let Some(joining) = &mut self.joining {
            joining.rewind(position);
        }
    }

    fn hold(&mut self, position: Position) {
        let position = self.go_back(position);
        if let Some(joining) = &mut self.joining {
            joining.hold(position);
        }
    }

    fn due_in(&self, now: Timestamp) -> Option<Duration> {
        self.joining.as_ref().and_then(|joining| joining.due_in(now))
    }

    fn settled(&mut self, position: Position) {
        let mut state = self.pipe.state();
        let settled = usize::try_from(position.offset.saturating_sub(state.base)).unwrap_or(usize::MAX);
        let settled = settled.min(state.bytes.len());
        state.bytes.drain(..settled);
        state.base += settled as u64;
        self.swallow = self.swallow.split_off(&state.base);
        drop(state);
        if let Some(joining) = &mut self.joining {
            joining.settled(position);
        }
        self.pipe.freed.notify_all();
    }

    fn lag_bytes(&self) -> u64 {
        self.pipe.state().end() - self.position
    }

    fn name(&self) -> &str {
        "stdin"
    }
}

impl StdinSource {
    fn go_back(&mut self, position: Position) -> Position {
        let mut state = self.pipe.state();
        self.position = position.offset.max(state.base);
        state.position = self.position;
        at(self.position)
    }
}

fn at(offset: u64) -> Position {
    Position { offset, check: 0 }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Instant;

    use super::*;
    use crate::event::SharedOptions;
    use crate::input::file::tests::world::{PATIENCE, TestHost};

    struct Stage {
        host: Arc<TestHost>,
        input: StdinInput,
    }

    fn start(max_line_bytes: usize) -> (Stage, io::PipeWriter) {
        start_in(Charset::Utf8, max_line_bytes)
    }

    fn start_in(charset: Charset, max_line_bytes: usize) -> (Stage, io::PipeWriter) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let host = Arc::new(TestHost::default());
        let options = StdinOptions {
            name: "in".into(),
            max_line_bytes,
            charset,
            lines: LineFilter::new(&[], &["^#".to_owned()]).expect("good expressions"),
            joining: None,
        };
        let shared = Shared::new(SharedOptions::default());
        let input =
            StdinInput::start(options, &shared, reader, SourceKey(1), "run-1", Arc::clone(&host) as Arc<dyn Host>);
        (Stage { host, input: input.expect("starts") }, writer)
    }

    impl Stage {
        /// Reads until the pipe's end; settles at once, or not at all.
        fn run(&self, settle: bool) -> Vec<String> {
            let start = Instant::now();
            let mut lines = Vec::new();
            while !self.input.idle() || self.host.sources() > 0 {
                if !self.host.step(100, settle) {
                    if !settle && self.input.idle() {
                        break;
                    }
                    std::thread::yield_now();
                }
                lines.extend(self.host.take_lines());
                assert!(start.elapsed() < PATIENCE, "not in time");
            }
            let mut end = 0;
            for line in &lines {
                assert!(line.offset >= end, "in order");
                assert_eq!(line.id, "run-1");
                end = line.offset + line.length;
            }
            lines.into_iter().map(|line| line.text).collect()
        }
    }

    #[test]
    fn lines_come_and_the_last_needs_no_newline() {
        let (stage, mut writer) = start(10);
        writer.write_all(b"one\n# no\ntwo\r\n\n12345678901\nlast").expect("open");
        drop(writer);
        assert_eq!(stage.run(true), ["one", "two", "", "1234567890", "last"]);
        assert_eq!((stage.host.lines_filtered(), stage.host.lines_truncated()), (1, 1));
        assert_eq!(stage.host.sources(), 0, "finished");
    }

    #[test]
    fn what_is_not_settled_can_be_read_again() {
        let (stage, mut writer) = start(10);
        writer.write_all(b"one\ntwo\nthree").expect("open");
        drop(writer);
        assert_eq!(stage.run(false), ["one", "two", "three"]);
        stage.host.abandon_all();
        assert_eq!(stage.run(true), ["one", "two", "three"]);
    }

    #[test]
    fn a_full_buffer_stops_the_pipe_and_loses_nothing() {
        let (stage, mut writer) = start(100);
        let lines = BUFFER_BYTES * 3 / 2 / 64;
        let feeding = std::thread::spawn(move || {
            for n in 0..lines {
                writeln!(writer, "{n:063}").expect("open");
            }
        });
        let start = Instant::now();
        let mut next = 0;
        while stage.host.sources() > 0 {
            if !stage.host.step(256 * 1024, next % 1000 == 0) {
                // Nothing more to read before something is settled.
                stage.host.settle_all();
            }
            for line in stage.host.take_lines() {
                // What is abandoned is read again.
                next = if line.offset < next * 64 { line.offset / 64 } else { next };
                assert_eq!(line.text, format!("{next:063}"));
                next += 1;
            }
            let kept = stage.input.pipe.state().bytes.len();
            assert!(kept <= BUFFER_BYTES, "{kept}");
            assert!(start.elapsed() < PATIENCE, "not in time");
        }
        feeding.join().expect("does not panic");
        assert_eq!(next, lines as u64);
    }

    #[test]
    fn a_line_that_does_not_fit_is_cut_and_the_next_is_whole() {
        for settle in [true, false] {
            let (stage, mut writer) = start(10);
            let feeding = std::thread::spawn(move || {
                writer.write_all(b"first\n").expect("open");
                for _ in 0..(BUFFER_BYTES / 1024 * 2 + 7) {
                    writer.write_all(&[b'x'; 1024]).expect("open");
                }
                writer.write_all(b"\nlast\n").expect("open");
            });
            let mut lines = Vec::new();
            let start = Instant::now();
            while stage.host.sources() > 0 {
                if !stage.host.step(1000, settle) {
                    stage.host.settle_all();
                }
                lines.extend(stage.host.take_lines().into_iter().map(|line| line.text));
                assert!(start.elapsed() < PATIENCE, "not in time");
            }
            feeding.join().expect("does not panic");
            assert_eq!(lines, ["first", "xxxxxxxxxx", "last"]);
            assert!(stage.input.stats().bytes_given_up.load(Ordering::Relaxed) > BUFFER_BYTES as u64 / 2);
        }
    }

    #[test]
    fn a_stopped_input_lets_go_of_the_pipe() {
        let (stage, mut writer) = start(10);
        stage.input.stop();
        let start = Instant::now();
        // The thread ends with the bytes that wake it, and closes its end.
        while writer.write_all(b"more\n").is_ok() {
            std::thread::yield_now();
            assert!(start.elapsed() < PATIENCE, "not in time");
        }
    }

    /// Scenario: UTF-16 in pieces of odd sizes, one line longer than the buffer, half a unit at the end.
    /// Guarantee: lines are found in the units; the line after the one that was cut is whole; the half is U+FFFD.
    #[test]
    fn lines_in_utf_16_come_in_any_pieces() {
        for big in [false, true] {
            let (stage, mut writer) = start_in(Charset::of_label("utf-16").expect("a label"), 1000);
            let long = BUFFER_BYTES * 2 + 3;
            let feeder = std::thread::spawn(move || {
                let unit = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
                let text = format!("\u{feff}one\r\n\u{a0a}\u{a00}\n{}\ntwo\nrest", "x".repeat(long / 2));
                let mut bytes: Vec<u8> = text.encode_utf16().flat_map(unit).collect();
                bytes.push(b'!');
                for piece in bytes.chunks(4093) {
                    writer.write_all(piece).expect("somebody reads");
                }
            });
            let lines = stage.run(true);
            feeder.join().expect("written");
            let expect = ["one", "\u{a0a}\u{a00}", &"x".repeat(500), "two", "rest\u{fffd}"];
            assert_eq!(lines, expect, "big-endian: {big}");
        }
    }
}
