//! The source of one file generation: reads lines at its offset, and nothing else.
//!
//! A position is always the start of a line, so nothing is carried from read to read: an unterminated rest is read again
//! next time. Only where lines are joined ([`Joining`]) the text of what is open is kept; the source then resumes before that.
//! Each read is one `pread` that begins up to 256 bytes before the position, so that the bytes before it are
//! checked with every read (I8), and after it the fingerprint of the file's beginning. Both are looked at *after* the data
//! was read: data from before a truncation may be used, data from after it never is. No size from a `stat` is trusted.
//!
//! What is refused here: deciding what a changed file is. The tail says [`Signal::Changed`], waits, and is told by its
//! [`Link`] where the rest of its bytes is ([`Fate`]).
//!
//! ```text
//!                    lead ≤ 256   lines               rest
//!              ────┬────────────┬───────────────────┬────────┐
//!   file           │  check     │ a\n bb\n … zzz\n  │ yyy    │ end (or the end of the quantum)
//!              ────┴────────────┴───────────────────┴────────┘
//!                               ▲ position          ▲ position after the read
//! ```

use std::cell::OnceCell;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::appends::Appended;
use super::content::Content;
use super::descriptors::Descriptors;
use super::identity::{CHECK_BYTES, FINGERPRINT_BYTES, Prefix, check_of, fingerprint_of, holds, read_at};
use super::link::{Fate, Link, Signal};
use super::options::FileOptions;
use super::stats::FileStats;
use super::watcher::Message;
use crate::batch::{Position, SourceKey};
use crate::decode::{self, Charset, JoinOptions, LineFilter, LineOptions, LongLine};
use crate::event::{Common, Event, Flags, Shared, Timestamp};
use crate::input::joining::Joining;
use crate::input::source::{Fill, Quantum, Read, Source};

/// Bytes of an unterminated line from which on it is scanned instead of read again and again.
const LONG_BYTES: usize = 64 * 1024;

/// How long before it was read a line may have been appended that no look has seen, before the system is asked.
const SINCE_MAX: Duration = Duration::from_secs(1);

/// How long an open record of a file that has left its name is waited for at most: the file that has the name now comes after.
const LEFT_OPEN_MAX: Duration = Duration::from_secs(1);

/// How long things are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A file that left its name may still be written to by who had it open: it is finished once it has not grown for so long.
    pub grace: Duration,
    /// A file that has been read and settled is closed after so long without growing; it is opened again when it grows.
    pub close_idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { grace: Duration::from_secs(5), close_idle: Duration::from_secs(300) }
    }
}

/// What the tails of one input have in common.
pub struct TailContext {
    /// What becomes a line; where lines are joined every one, and the filter is for what they become.
    pub filter: LineFilter,
    pub joining: Option<Arc<JoinOptions>>,
    pub max_line_bytes: usize,
    pub charset: Charset,
    pub timing: Timing,
    pub stats: Arc<FileStats>,
    /// What the events of its files have in common.
    pub shared: Shared,
    pub descriptors: Arc<Descriptors>,
}

impl TailContext {
    /// How long a file that was read and settled stays open without growing.
    pub fn close_idle(&self) -> Duration {
        let Timing { grace, close_idle } = self.timing;
        if self.descriptors.are_many() { grace.min(close_idle) } else { close_idle }
    }

    /// What the options say, with what the pipeline puts in.
    pub fn new(
        options: &FileOptions,
        timing: Timing,
        stats: Arc<FileStats>,
        shared: Shared,
        descriptors: Arc<Descriptors>,
    ) -> Self {
        let (joining, max_line_bytes) = (options.joining.clone(), options.max_line_bytes);
        let filter = if joining.is_some() { LineFilter::default() } else { options.lines.clone() };
        let charset = options.charset;
        Self { filter, joining, max_line_bytes, charset, timing, stats, shared, descriptors }
    }
}

/// The source of one file generation.
pub struct FileTail {
    context: Arc<TailContext>,
    link: Arc<Link>,
    signals: Sender<Message>,
    file: Arc<Content>,
    /// Made when there is something to read: most files of a host are idle.
    common: OnceCell<Arc<Common>>,
    file_id: u64,
    name: String,
    /// What it is encoded in, once its first bytes are known where they say so.
    charset: Option<Charset>,
    /// Behind what was read.
    position: Position,
    /// `None`: each line is a record.
    joining: Option<Box<Joining>>,
    /// The line at `position` is long, and this much of it was scanned.
    long: Option<LongLine>,
    /// The end of the file when it was last met.
    end: u64,
    /// When `end` last moved, ns since the epoch; 0: it was not met yet.
    grown_ns: i64,
    /// The read that goes on has met the end.
    met_end: bool,
    /// When it left its name, as known before the read that goes on; 0: it had it.
    left_ns: i64,
    /// How the file ends.
    ending: Ending,
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It grows.
    Open,
    /// It is the copy of a truncated file: it ends where it ends.
    Copy,
    /// There are no bytes any more.
    Gone,
}

/// How lines are made, in this quantum.
struct Lines<'a> {
    options: LineOptions<'a>,
    now: Timestamp,
}

impl FileTail {
    /// A tail that stands at `position` of `file`.
    pub fn new(
        context: Arc<TailContext>,
        link: Arc<Link>,
        signals: Sender<Message>,
        file: Arc<Content>,
        file_id: u64,
        name: String,
        position: Position,
    ) -> FileTail {
        FileStats::add(&context.stats.files_open, 1);
        let joining = context.joining.as_ref().map(|options| Box::new(Joining::new(options, position)));
        FileTail {
            context,
            link,
            signals,
            file,
            common: OnceCell::new(),
            file_id,
            name,
            charset: None,
            position,
            joining,
            long: None,
            end: 0,
            grown_ns: 0,
            met_end: false,
            left_ns: 0,
            ending: Ending::Open,
        }
    }

    /// What it is now known to be the copy of ends where it ends.
    pub fn of_copy(mut self) -> FileTail {
        self.ending = Ending::Copy;
        self
    }

    /// What it is encoded in. While its first bytes are not there, no line is.
    fn charset(&mut self) -> io::Result<Charset> {
        if !self.context.charset.depends_on_mark() {
            return Ok(self.context.charset);
        }
        if let Some(known) = self.charset {
            return Ok(known);
        }
        let mut first = [0; 2];
        let got = read_at(&*self.file, &mut first, 0)?;
        let charset = self.context.charset.resolved(&first[..got]);
        self.charset = (got == first.len()).then_some(charset);
        Ok(charset)
    }

    fn tell(&self, signal: Signal) {
        // The watcher is gone only when the whole input is being stopped.
        if self.signals.send(Message::Tail(signal)).is_err() {
            tracing::debug!(file = %self.name, "the watcher has stopped");
        }
    }

    /// Looks at what the watcher has decided. `true`: it has not yet.
    fn undecided(&mut self) -> bool {
        let fate = self.link.fate().clone();
        match fate {
            Fate::Live => {}
            Fate::Changed => return true,
            Fate::Copied(copy) => {
                if self.ending == Ending::Open {
                    self.file = copy;
                    self.long = None;
                    self.ending = Ending::Copy;
                }
            }
            Fate::Gone => self.ending = Ending::Gone,
        }
        false
    }

    /// The file is not what it was.
    fn changed(&mut self, fill: &mut Fill) -> Read {
        fill.buf.clear();
        fill.events.clear();
        self.long = None;
        if self.ending == Ending::Copy {
            // The copy changed too: there is nowhere left to look.
            let lost = self.link.size_bytes.load(Ordering::Acquire).saturating_sub(self.position.offset);
            FileStats::add(&self.context.stats.bytes_given_up, lost);
            tracing::warn!(file = %self.name, offset = self.position.offset, "the copy of a truncated file changed before it was read");
            self.ending = Ending::Gone;
            return Read::Batch { resume: self.resume(), more: true };
        }
        let mut fate = self.link.fate();
        if matches!(*fate, Fate::Live) {
            *fate = Fate::Changed;
            drop(fate);
            self.tell(Signal::Changed(self.link.key));
            return Read::Idle;
        }
        drop(fate);
        // The watcher was faster: its answer is there.
        Read::Batch { resume: self.resume(), more: true }
    }

    /// Whether the file still begins as it did; on the way the fingerprint grows by what was just read.
    fn begins_as_before(&self, data: &[u8]) -> io::Result<bool> {
        let mut fingerprint = self.link.fingerprint();
        if self.position.offset == 0 {
            let known = usize::from(fingerprint.len);
            if data.len() >= known {
                if fingerprint_of(&data[..known]) != *fingerprint {
                    return Ok(false);
                }
                if known < FINGERPRINT_BYTES {
                    *fingerprint = fingerprint_of(data);
                }
                return Ok(true);
            }
        }
        Ok(Prefix::read(&*self.file)?.matches(*fingerprint))
    }

    fn advance(&mut self, position: Position) {
        self.position = position;
        self.link.set_read(position);
    }

    /// Where it resumes after a crash: behind what was read, but before what is open.
    fn resume(&self) -> Position {
        self.joining.as_ref().map_or(self.position, |joining| joining.resume())
    }

    /// Lines are being joined to a record.
    fn is_open(&self) -> bool {
        self.joining.as_ref().is_some_and(|joining| joining.is_open())
    }

    /// Passes the lines in `fill` on to be joined. `check`: that of the bytes before an offset.
    fn join(&mut self, fill: &mut Fill, now: Timestamp, is_end: bool, check: impl Fn(&[u8], u64) -> Option<u64>) {
        let Some(joining) = &mut self.joining else { return };
        joining.take(fill, self.position, now, check);
        if is_end && joining.is_due(now) {
            joining.end_due(fill, self.position, now);
        }
    }

    /// Ends what is open: all of it, or what is due.
    fn end_open(&mut self, fill: &mut Fill, now: Timestamp, all: bool) -> Read {
        fill.buf.clear();
        fill.events.clear();
        if let Some(joining) = &mut self.joining {
            if all {
                joining.end_all(fill, self.position, false);
            } else {
                joining.end_due(fill, self.position, now);
            }
        }
        FileStats::add(&self.context.stats.lines, fill.events.len() as u64);
        Read::Batch { resume: self.resume(), more: true }
    }

    /// The end was met; `rest` bytes of an unterminated line stand before it.
    fn at_end(&mut self, rest: u64, fill: &mut Fill, quantum: &Quantum) -> Option<Read> {
        let end = self.position.offset + rest;
        if end != self.end || self.grown_ns == 0 {
            self.end = end;
            self.grown_ns = quantum.now.0;
        }
        self.link.rest_bytes.store(rest, Ordering::Release);
        self.link.size_bytes.fetch_max(end, Ordering::AcqRel);
        self.link.at_end.store(true, Ordering::Release);
        self.met_end = true;
        let left = self.left_ns;
        let is_open = self.is_open();
        if self.ending == Ending::Open && left == 0 {
            if self.joining.as_ref().is_some_and(|joining| joining.is_due(quantum.now)) {
                return Some(self.end_open(fill, quantum.now, false));
            }
            let idle = quantum.now.0.saturating_sub(self.grown_ns) >= nanoseconds(self.context.close_idle());
            let is_wanted = self.context.descriptors.are_short();
            if quantum.all_settled && !is_open && (is_wanted || idle && rest == 0) {
                self.tell(Signal::Finished(self.link.key));
                return Some(Read::Finished);
            }
            return Some(Read::Idle);
        }
        let waited = quantum.now.0.saturating_sub(left.max(self.grown_ns));
        let grace = self.context.timing.grace;
        if is_open && rest == 0 {
            // Its end may still come, in the file that its writer has open; but whoever has its name now waits for it.
            let is_due = self.joining.as_ref().is_some_and(|joining| joining.is_due(quantum.now));
            if self.ending == Ending::Open && !is_due && waited < nanoseconds(LEFT_OPEN_MAX.min(grace)) {
                return Some(Read::Idle);
            }
            return Some(self.end_open(fill, quantum.now, true));
        }
        self.catch_up();
        if self.ending == Ending::Open && waited < nanoseconds(grace) {
            return Some(Read::Idle);
        }
        if rest > 0 {
            return None;
        }
        if !quantum.all_settled {
            self.link.drained.store(true, Ordering::Release);
            return Some(Read::Drained);
        }
        self.tell(Signal::Finished(self.link.key));
        Some(Read::Finished)
    }

    /// Lets the successor begin.
    fn catch_up(&self) {
        if !self.link.caught_up.swap(true, Ordering::AcqRel) {
            self.tell(Signal::CaughtUp(self.link.key));
        }
    }

    /// Reads whole lines at the position.
    fn read_lines(&mut self, fill: &mut Fill, quantum: &Quantum, lines: &Lines<'_>) -> io::Result<Read> {
        let mut want = quantum.bytes_max.max(1);
        loop {
            let lead = lead_of(self.position.offset);
            fill.buf.clear();
            let got = append_at(&self.file, &mut fill.buf, self.position.offset - lead as u64, lead + want)?;
            if got < lead || check_of(&fill.buf[..lead]) != self.position.check {
                return Ok(self.changed(fill));
            }
            let data = &fill.buf[lead..];
            if !data.is_empty() && !self.begins_as_before(data)? {
                return Ok(self.changed(fill));
            }
            if self.position.offset == 0 && !data.is_empty() && !self.link.may_begin.load(Ordering::Acquire) {
                fill.buf.clear();
                self.link.at_end.store(false, Ordering::Release);
                self.tell(Signal::Begins(self.link.key));
                return Ok(Read::Idle);
            }
            let full = data.len() >= want;
            let mut text = Vec::new();
            let offset = self.position.offset;
            let split = if lines.options.charset.is_utf8() {
                decode::split_lines_from(&fill.buf, lead, offset, &lines.options, lines.now, &mut fill.events)
            } else {
                decode::split_encoded(data, offset, &lines.options, lines.now, &mut text, &mut fill.events)
            };
            if split.consumed > 0 {
                return Ok(self.took(fill, lead, &split, full, lines, text));
            }
            let rest = lead..fill.buf.len();
            let whole = self.whole_bytes(lines.options.charset);
            if full && want < whole {
                // One line longer than the quantum may pass it.
                want = whole;
                continue;
            }
            if full || rest.len() >= LONG_BYTES {
                let mut long = LongLine::new(self.position.offset, lines.options.charset);
                long.feed(&fill.buf[rest.clone()]);
                self.long = Some(long);
                if full {
                    fill.buf.clear();
                    return Ok(Read::Batch { resume: self.resume(), more: true });
                }
            }
            if let Some(read) = self.at_end(rest.len() as u64, fill, quantum) {
                if !matches!(read, Read::Batch { .. }) {
                    fill.buf.clear();
                }
                return Ok(read);
            }
            self.long = None;
            return Ok(self.took_rest(fill, rest, lines));
        }
    }

    /// The most bytes of a line that is not cut.
    fn whole_bytes(&self, charset: Charset) -> usize {
        self.context.max_line_bytes.saturating_add(2 * charset.unit_bytes())
    }

    /// Whole lines were taken; their messages are in `text`, if they had to be decoded.
    fn took(
        &mut self,
        fill: &mut Fill,
        lead: usize,
        split: &decode::Split,
        full: bool,
        lines: &Lines<'_>,
        text: Vec<u8>,
    ) -> Read {
        let charset = lines.options.charset;
        let end = lead + split.consumed;
        let rest = fill.buf.len() - end;
        let offset = self.position.offset + split.consumed as u64;
        let is_end = !full && charset.first_line(&fill.buf[end..], offset).is_none();
        fill.buf.truncate(end);
        let from = self.position.offset;
        self.advance(Position { offset, check: check_of(&fill.buf[end.saturating_sub(CHECK_BYTES)..]) });
        let raw = if charset.is_utf8() { None } else { Some(std::mem::replace(&mut fill.buf, text)) };
        if self.joining.is_some() {
            self.join(fill, lines.now, is_end, |buf, offset| {
                let at = lead + usize::try_from(offset.checked_sub(from)?).ok()?;
                let before = raw.as_deref().unwrap_or(buf).get(at.saturating_sub(CHECK_BYTES)..at)?;
                Some(check_of(before))
            });
        } else {
            fill.lines_truncated += split.truncated;
            fill.lines_filtered += split.filtered;
        }
        let stats = &self.context.stats;
        FileStats::add(&stats.bytes_read, split.consumed as u64);
        FileStats::add(&stats.lines, fill.events.len() as u64);
        self.link.rest_bytes.store(rest as u64, Ordering::Release);
        self.link.size_bytes.fetch_max(self.position.offset + rest as u64, Ordering::AcqRel);
        self.link.at_end.store(is_end, Ordering::Release);
        self.met_end = is_end;
        Read::Batch { resume: self.resume(), more: !is_end || self.is_hurried() }
    }

    /// Says when what was read from `offset` on was appended, and remembers the end.
    fn tell_appended(&self, read: Read, offset: u64, fill: &mut Fill, quantum: &Quantum) {
        let now = quantum.now.0;
        let appended = self.link.appends().appended(offset);
        if matches!(read, Read::Batch { .. }) && !fill.events.is_empty() {
            let at = match appended {
                Appended::At(at) => Some(at),
                Appended::Since(at) if now.saturating_sub(at) <= nanoseconds(SINCE_MAX) => Some(at),
                // It was read before it was looked at, and after a long rest: what the system says of it now is closer.
                Appended::Since(at) => self.file.stat().ok().map(|stat| stat.modified_ns.max(at)),
                Appended::Unknown => None,
            };
            fill.appended = at.map(|at| Timestamp(at.min(now)));
        }
        if self.met_end {
            let rest = self.link.rest_bytes.load(Ordering::Acquire);
            let line = self.position.offset;
            self.link.appends().met_end(line, line + rest, now);
        }
    }

    /// Somebody waits for the end to be met, not only reached.
    fn is_hurried(&self) -> bool {
        self.ending != Ending::Open || self.link.has_left()
    }

    /// A last line that will never get its newline was taken.
    fn took_rest(&mut self, fill: &mut Fill, rest: Range<usize>, lines: &Lines<'_>) -> Read {
        let consumed = rest.len() as u64;
        let check = check_of(&fill.buf[rest.end.saturating_sub(CHECK_BYTES)..rest.end]);
        let (offset, mut text) = (self.position.offset, Vec::new());
        let event = decode::last_line(&fill.buf, rest, offset, &lines.options, lines.now, &mut text);
        if !lines.options.charset.is_utf8() {
            fill.buf = text;
        }
        self.took_one(fill, event, consumed, check, lines.now)
    }

    fn took_one(&mut self, fill: &mut Fill, event: Option<Event>, consumed: u64, check: u64, now: Timestamp) -> Read {
        FileStats::add(&self.context.stats.bytes_read, consumed);
        let from = self.position;
        self.advance(Position { offset: from.offset + consumed, check });
        let is_cut = event.as_ref().is_some_and(|event| event.flags().contains(Flags::TRUNCATED));
        let is_filtered = event.is_none();
        fill.events.extend(event);
        if self.joining.is_some() {
            self.join(fill, now, false, |_, offset| (offset == from.offset).then_some(from.check));
        } else {
            fill.lines_truncated += u64::from(is_cut);
            fill.lines_filtered += u64::from(is_filtered);
        }
        FileStats::add(&self.context.stats.lines, fill.events.len() as u64);
        self.link.rest_bytes.store(0, Ordering::Release);
        self.link.at_end.store(false, Ordering::Release);
        Read::Batch { resume: self.resume(), more: true }
    }

    /// Scans on in a line that does not fit, and makes its event when its newline is found.
    fn read_long(
        &mut self,
        mut long: LongLine,
        fill: &mut Fill,
        quantum: &Quantum,
        lines: &Lines<'_>,
    ) -> io::Result<Read> {
        if !holds(&*self.file, self.position)? || !self.begins_as_before(&[])? {
            return Ok(self.changed(fill));
        }
        fill.buf.clear();
        let want = quantum.bytes_max.max(1);
        let got = append_at(&self.file, &mut fill.buf, self.position.offset + long.length(), want)?;
        long.feed(&fill.buf);
        if !long.is_complete() {
            let rest = long.length();
            self.long = Some(long);
            fill.buf.clear();
            if got >= want {
                return Ok(Read::Batch { resume: self.resume(), more: true });
            }
            if let Some(read) = self.at_end(rest, fill, quantum) {
                return Ok(read);
            }
            long = self.long.take().expect("set above");
        }
        if long.length() <= self.context.max_line_bytes as u64 {
            // It fits after all, now that it is complete.
            return self.read_lines(
                &mut *fill,
                &Quantum { bytes_max: want.max(self.whole_bytes(lines.options.charset)), ..*quantum },
                lines,
            );
        }
        let consumed = long.length();
        let Some(after) = super::identity::position_at(&*self.file, self.position.offset + consumed)? else {
            return Ok(self.changed(fill));
        };
        fill.buf.clear();
        let head = self.context.max_line_bytes.saturating_add(4);
        let head = append_at(&self.file, &mut fill.buf, self.position.offset, head)?.min(head);
        let mut text = Vec::new();
        let event = long.into_event(&fill.buf, 0..head, &lines.options, lines.now, &mut text);
        if !lines.options.charset.is_utf8() {
            fill.buf = text;
        }
        Ok(self.took_one(fill, event, consumed, after.check, lines.now))
    }
}

impl Source for FileTail {
    fn is_urgent(&self) -> bool {
        self.link.urgent || self.link.has_left()
    }

    fn key(&self) -> SourceKey {
        self.link.key
    }

    fn common(&self) -> Arc<Common> {
        let make = || Arc::new(self.context.shared.file(&self.name, &format!("{:016x}", self.file_id)));
        Arc::clone(self.common.get_or_init(make))
    }

    fn read(&mut self, fill: &mut Fill, quantum: &Quantum) -> Result<Read, io::Error> {
        if let Some(joining) = &mut self.joining {
            joining.begin();
        }
        let read = self.read_on(fill, quantum);
        let is_joining = self.joining.as_ref().is_some_and(|joining| joining.is_waiting());
        self.link.is_joining.store(is_joining, Ordering::Release);
        read
    }

    fn rewind(&mut self, position: Position) {
        self.go_back(position);
        if let Some(joining) = &mut self.joining {
            joining.rewind(position);
        }
    }

    fn hold(&mut self, position: Position) {
        self.go_back(position);
        if let Some(joining) = &mut self.joining {
            joining.hold(position);
        }
    }

    fn settled(&mut self, position: Position) {
        self.link.set_settled(position);
        if let Some(joining) = &mut self.joining {
            joining.settled(position);
        }
    }

    fn due_in(&self, now: Timestamp) -> Option<Duration> {
        let joining = self.joining.as_ref().filter(|joining| joining.is_open())?;
        if self.left_ns == 0 {
            return joining.due_in(now);
        }
        let waited = now.since(Timestamp(self.left_ns.max(self.grown_ns)));
        let grace = self.context.timing.grace;
        if self.link.rest_bytes.load(Ordering::Acquire) > 0 {
            return Some(grace.saturating_sub(waited));
        }
        let left = LEFT_OPEN_MAX.min(grace).saturating_sub(waited);
        Some(joining.due_in(now).map_or(left, |due| due.min(left)))
    }

    fn lag_bytes(&self) -> u64 {
        self.link.size_bytes.load(Ordering::Acquire).saturating_sub(self.position.offset)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl FileTail {
    fn read_on(&mut self, fill: &mut Fill, quantum: &Quantum) -> Result<Read, io::Error> {
        fill.buf.clear();
        fill.events.clear();
        self.link.drained.store(false, Ordering::Release);
        // Before the read: an end that was met before the name was lost may not be the end.
        self.left_ns = self.link.left_ns.load(Ordering::Acquire);
        if self.link.is_waiting() || self.undecided() {
            return Ok(Read::Idle);
        }
        if self.ending == Ending::Gone {
            return Ok(self.at_end(0, fill, quantum).unwrap_or(Read::Drained));
        }
        let (context, offset) = (Arc::clone(&self.context), self.position.offset);
        self.met_end = false;
        let done = self.charset().and_then(|charset| {
            let options = LineOptions {
                max_line_bytes: context.max_line_bytes,
                events_max: quantum.events_max,
                filter: &context.filter,
                charset,
            };
            let lines = Lines { options, now: quantum.now };
            match self.long.take() {
                Some(long) => self.read_long(long, fill, quantum, &lines),
                None => self.read_lines(fill, quantum, &lines),
            }
        });
        if let (Err(error), Content::Packed(_)) = (&done, &*self.file) {
            fill.buf.clear();
            fill.events.clear();
            if error.kind() == io::ErrorKind::WouldBlock {
                return Ok(Read::Batch { resume: self.resume(), more: true });
            }
            // What the system did not say, the decoder did: no second try will change it.
            if error.raw_os_error().is_none() {
                FileStats::add(&self.context.stats.errors, 1);
                tracing::warn!(file = %self.name, offset = self.position.offset, %error, "the compressed file is damaged; what follows in it is lost");
                self.ending = Ending::Gone;
                return Ok(Read::Batch { resume: self.resume(), more: true });
            }
        }
        if let Ok(read) = &done {
            self.tell_appended(*read, offset, fill, quantum);
        }
        if done.is_err() {
            FileStats::add(&self.context.stats.errors, 1);
            fill.buf.clear();
            fill.events.clear();
            // A disk that can't be read must not hold up the files that come after.
            if self.is_hurried() {
                self.catch_up();
            }
        }
        done
    }

    fn go_back(&mut self, position: Position) {
        if self.ending == Ending::Gone {
            let lost = self.position.offset.saturating_sub(position.offset);
            FileStats::add(&self.context.stats.bytes_given_up, lost);
            if lost > 0 {
                tracing::warn!(file = %self.name, offset = position.offset, bytes = lost, "bytes that were not delivered are truncated away");
            }
        }
        self.long = None;
        self.link.at_end.store(false, Ordering::Release);
        self.advance(position);
    }
}

impl Drop for FileTail {
    fn drop(&mut self) {
        // That says nothing to who waits for it: one may be dropped before its end was met, when its input ends, while a worker is
        // about to read the next one.
        self.context.stats.files_open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Bytes before an offset that are read with it.
fn lead_of(offset: u64) -> usize {
    usize::try_from(offset).map_or(CHECK_BYTES, |offset| offset.min(CHECK_BYTES))
}

/// Appends what is at `offset` to `buf`: `want` bytes (up to 256 more if it has the room), or less where the file ends.
fn append_at(content: &Content, buf: &mut Vec<u8>, offset: u64, want: usize) -> io::Result<usize> {
    let start = buf.len();
    if buf.capacity() > start + want + CHECK_BYTES {
        buf.shrink_to(start + want);
    }
    buf.reserve_exact(want);
    let Content::Plain(file) = content else {
        buf.resize(start + want, 0);
        let read = read_at(content, &mut buf[start..], offset);
        buf.truncate(start + read.as_ref().map_or(0, |read| *read));
        return read;
    };
    loop {
        let got = buf.len() - start;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(buf), offset + got as u64) {
            Ok(0) => return Ok(got),
            Ok(_) if buf.len() - start >= want => return Ok(buf.len() - start),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
