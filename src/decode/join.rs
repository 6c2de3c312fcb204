//! From raw lines to records (P): the `format` of a container runtime is taken off, the parts of a line are put together, and
//! `multiline` joins lines. Whoever reads a source in one of these ways has a [`Joiner`]; plain lines never come here.
//!
//! ```text
//!   events of raw lines ─► format ─► parts, per group ─► multiline, per group ─► filter ─► events of records
//!                             │
//!                             └ not of the format: whatever is open ends, and the line is a record as it is, tagged
//!                               (with `auto`: a line of no container, which `multiline` joins with others of that kind)
//! ```
//! Lines of stdout and stderr do not break each other up: each stream of each format is a *group* of its own, with at most one
//! record open. A record has the offset, time and stream of its first line; its length is that of all its raw lines, its
//! hash of all of them. What is not joined stays where it stands in the buffer: text is copied only when a second line comes, or
//! when a record is still open at the end of the buffer.
//!
//! # Where a source resumes
//!
//! Before the oldest line that is still being joined ([`Joiner::resume`]), and never within a record that ended: what is read
//! from there is joined as it was. [`Marks`] are what of the lines behind that offset came out already; with them
//! ([`Joiner::restore`]) a source that is read again from there repeats nothing. A crash forgets them, and repeats whole records.
//!
//! Not here: time (a parameter), the memory that is charged for what is open (the source asks [`Joiner::bytes_held`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::docker::Time;
use super::lines::cut_at_char;
use super::multiline::{Multiline, State};
use super::{LineFilter, cri, docker};
use crate::event::{Event, Flags, Stream, Timestamp};

/// Of lines that are not of the input's format, or whose time is none.
pub const FORMAT_TAG: &str = "_formatparsefailure";
const TIME_TAG: &str = "_timestampparsefailure";

/// What each line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The line itself.
    Lines,
    Cri,
    Docker,
    /// CRI's or Docker's, whichever it is.
    Auto,
}

/// How raw lines become records.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    pub format: Format,
    pub multiline: Option<Multiline>,
    /// The most of a line that was put together from its parts.
    pub line_bytes_max: usize,
    /// What is open and does not end by itself ends after so many raw bytes, cut: a crash must not repeat more.
    pub raw_bytes_max: u64,
    pub filter: LineFilter,
}

/// The parts of a line are waited for so long, where `multiline` does not say otherwise.
pub const PARTS_TIMEOUT: Duration = Duration::from_secs(5);

impl JoinOptions {
    fn timeout(&self) -> Option<Duration> {
        self.multiline.as_ref().map_or(Some(PARTS_TIMEOUT), |multiline| multiline.timeout)
    }

    /// Whether what is open ends when nothing comes.
    pub fn has_timeout(&self) -> bool {
        self.timeout().is_some()
    }
}

/// What became of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Records cut at a limit, or of which a line was.
    pub truncated: u64,
    /// Records that the filter did not keep.
    pub filtered: u64,
    /// Lines that were not of the format.
    pub malformed: u64,
}

/// Groups: lines that are of no container, then each stream of each format.
const GROUPS: usize = 6;

/// How much of what was read came out, when a batch was read: for each group, everything before this offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks([u64; GROUPS]);

/// Where to resume, and what the source has noted of that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub offset: u64,
    pub check: Option<u64>,
}

/// Extents of ended records that are remembered at most. They are those in which lines of another group stand.
const EXTENTS_MAX: usize = 256;

/// Joins the lines of one source.
pub struct Joiner {
    options: Arc<JoinOptions>,
    groups: [Group; GROUPS],
    /// Records that ended and have lines of others between theirs.
    extents: VecDeque<Extent>,
    /// Behind the last line that was taken.
    end: u64,
    /// Texts that are no longer needed while lines are taken: their memory is used again.
    spare: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Group {
    /// Parts of a line.
    part: Option<Joint>,
    /// Lines of a record.
    record: Option<Joint>,
    /// Lines behind it that join it only if one follows that does: a few, and empty (see `presets`).
    doubtful: Vec<Joint>,
    state: State,
    /// When something was last added.
    touched: Timestamp,
    /// What begins before this came out before the source was rewound.
    done: u64,
}

/// Something that is put together. Its event has the range of its text in the buffer, until `text` has it.
struct Joint {
    event: Event,
    /// `None`: it stands in the buffer.
    text: Option<Vec<u8>>,
    /// Lines (or parts) that are in it.
    lines: usize,
    /// Behind its last raw line.
    end: u64,
    check: Option<u64>,
}

struct Extent {
    start: u64,
    end: u64,
    check: Option<u64>,
}

/// What is between two things that are joined, and how much they may be together.
#[derive(Clone, Copy)]
struct Limits<'a> {
    separator: &'a [u8],
    lines_max: usize,
    bytes_max: usize,
}

/// Where records go.
struct Out<'a> {
    buf: &'a mut Vec<u8>,
    events: &'a mut Vec<Event>,
    joined: Joined,
}

impl Joint {
    fn of(event: Event) -> Self {
        let end = event.offset + event.length;
        Self { event, text: None, lines: 1, end, check: None }
    }

    /// The text so far; what it is not the owner of stands in `buf`.
    fn text<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        match &self.text {
            Some(text) => text,
            None => buf.get(self.event.line_range()).unwrap_or_default(),
        }
    }

    /// Makes the text its own.
    fn own(&mut self, buf: &[u8], spare: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
        let range = self.event.line_range();
        self.text.get_or_insert_with(|| {
            let mut text = spare.pop().unwrap_or_default();
            text.extend_from_slice(buf.get(range).unwrap_or_default());
            text
        })
    }

    fn mark(&mut self, flags: Flags) {
        let range = self.event.line_range();
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.event.set_line(at(range.start)..at(range.end), self.event.flags().with(flags));
    }

    /// Cuts the text of the first line.
    fn cut(&mut self, buf: &[u8], bytes_max: usize) {
        if self.text(buf).len() <= bytes_max {
            return;
        }
        let keep = cut_at_char(self.text(buf), bytes_max);
        match &mut self.text {
            Some(text) => text.truncate(keep),
            None => {
                let range = self.event.line_range();
                let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                self.event.set_line(at(range.start)..at(range.start + keep), self.event.flags());
            }
        }
        self.mark(Flags::TRUNCATED);
    }

    /// Adds what comes behind it. What is over a limit is counted in its length and hash, not in its text.
    fn add(&mut self, next: Joint, buf: &[u8], limits: Limits<'_>, spare: &mut Vec<Vec<u8>>) {
        let is_room = self.lines < limits.lines_max;
        let text = self.own(buf, spare);
        let separator = if text.is_empty() { b"".as_slice() } else { limits.separator };
        let room = limits.bytes_max.saturating_sub(text.len() + separator.len());
        let more = next.text(buf);
        let is_cut = if is_room && (room > 0 || more.is_empty() && separator.is_empty()) {
            text.extend_from_slice(separator);
            let keep = cut_at_char(more, room);
            text.extend_from_slice(&more[..keep]);
            self.lines += 1;
            keep < more.len()
        } else {
            true
        };
        let of_next = next.event.flags().without(Flags::MULTILINE);
        self.mark(if is_cut { of_next.with(Flags::TRUNCATED) } else { of_next });
        self.event.length += next.event.length;
        let mut both = [0; 16];
        both[..8].copy_from_slice(&self.event.line_hash.to_le_bytes());
        both[8..].copy_from_slice(&next.event.line_hash.to_le_bytes());
        self.event.line_hash = xxh3_64(&both);
        self.end = next.end;
        if let Some(text) = next.text {
            keep_spare(text, spare);
        }
    }
}

fn keep_spare(mut text: Vec<u8>, spare: &mut Vec<Vec<u8>>) {
    // One for each stream of a container.
    if spare.len() < 2 && text.capacity() <= SPARE_BYTES_MAX {
        text.clear();
        spare.push(text);
    }
}

/// A text that is longer gives its memory back.
const SPARE_BYTES_MAX: usize = 4 << 10;

/// What the format makes of a line.
enum Unpacked {
    /// It is a record, or a part of one.
    Line { group: usize, is_partial: bool },
    /// It is not of the format.
    Other,
}

impl Joiner {
    /// Nothing is open.
    pub fn new(options: Arc<JoinOptions>) -> Self {
        Self { options, groups: Default::default(), extents: VecDeque::new(), end: 0, spare: Vec::new() }
    }

    /// Takes raw lines: `events` refer to `buf` and are in the order of the source, up to `end`. The records that end with them are
    /// left in `events`; they refer to `buf`, to which texts may be appended.
    pub fn take(&mut self, buf: &mut Vec<u8>, events: &mut Vec<Event>, end: u64, now: Timestamp) -> Joined {
        let records = Vec::with_capacity(events.len());
        let lines = std::mem::replace(events, records);
        let mut out = Out { buf, events, joined: Joined::default() };
        for line in lines {
            self.end = line.offset + line.length;
            self.take_line(line, &mut out, now);
        }
        self.end = end;
        for joint in self.groups.iter_mut().flat_map(Group::joints_mut) {
            joint.own(out.buf, &mut self.spare);
        }
        // Most files are idle most of the time.
        self.spare = Vec::new();
        out.joined
    }

    fn take_line(&mut self, mut line: Event, out: &mut Out<'_>, now: Timestamp) {
        let Unpacked::Line { group, is_partial } = self.unpack(&mut line, out.buf) else {
            return self.take_other(line, out, now);
        };
        if group > 0 && self.options.format == Format::Auto && self.groups[0].start().is_some() {
            // What is of no container ends where a container goes on.
            self.end_group(0, out);
        }
        if line.offset < self.groups[group].done {
            return;
        }
        self.groups[group].touched = now;
        let mut part = Joint::of(line);
        part.cut(out.buf, self.options.line_bytes_max);
        let whole = match self.groups[group].part.take() {
            None => part,
            Some(mut before) => {
                let limits = Limits { separator: b"", lines_max: usize::MAX, bytes_max: self.options.line_bytes_max };
                before.add(part, out.buf, limits, &mut self.spare);
                before
            }
        };
        if is_partial && whole.event.length < self.options.raw_bytes_max {
            self.groups[group].part = Some(whole);
            return;
        }
        self.take_whole(group, whole, is_partial, out);
    }

    /// Takes a line that is whole, or `is_cut` because it never would be.
    fn take_whole(&mut self, group: usize, mut line: Joint, is_cut: bool, out: &mut Out<'_>) {
        line.lines = 1;
        if is_cut {
            line.mark(Flags::TRUNCATED);
        }
        let options = Arc::clone(&self.options);
        let Some(multiline) = &options.multiline else { return self.emit(line, out) };
        let step = multiline.step(&mut self.groups[group].state, line.text(out.buf));
        if step.joins && step.is_doubtful {
            return self.groups[group].doubtful.push(line);
        }
        let doubtful = std::mem::take(&mut self.groups[group].doubtful);
        let open = self.groups[group].record.take();
        let record = match open {
            Some(mut record) if step.joins => {
                let separator: &[u8] = if multiline.skip_newline { b"" } else { b"\n" };
                let limits = Limits { separator, lines_max: multiline.lines_max, bytes_max: multiline.bytes_max };
                for line in doubtful.into_iter().chain([line]) {
                    record.add(line, out.buf, limits, &mut self.spare);
                }
                if record.lines > 1 {
                    record.mark(Flags::MULTILINE);
                }
                record
            }
            open => {
                for before in open.into_iter().chain(doubtful) {
                    self.emit(before, out);
                }
                line.cut(out.buf, multiline.bytes_max);
                line
            }
        };
        let is_endless = record.event.length >= options.raw_bytes_max;
        if step.ends || is_endless {
            let mut record = record;
            if !step.ends {
                record.mark(Flags::TRUNCATED);
            }
            self.groups[group].state = State::default();
            self.emit(record, out);
        } else {
            self.groups[group].record = Some(record);
        }
    }

    /// A line that is not of the format is a record, and nothing goes on behind it. Only where any format will do, a file may
    /// as well be of none: then `multiline` joins such lines with each other.
    fn take_other(&mut self, mut line: Event, out: &mut Out<'_>, now: Timestamp) {
        if line.offset < self.groups[0].done {
            return;
        }
        let joins = self.options.format == Format::Auto && self.options.multiline.is_some();
        self.end_groups(|at, _| at > 0 || !joins, out);
        line.tag_line(FORMAT_TAG);
        out.joined.malformed += 1;
        if joins {
            self.groups[0].touched = now;
            return self.take_whole(0, Joint::of(line), false, out);
        }
        self.emit(Joint::of(line), out);
    }

    /// Takes the format off a line.
    fn unpack(&self, line: &mut Event, buf: &mut Vec<u8>) -> Unpacked {
        match self.options.format {
            Format::Lines => Unpacked::Line { group: 0, is_partial: false },
            Format::Cri => unpack_cri(line, buf),
            Format::Docker => unpack_docker(line, buf),
            Format::Auto if buf.get(line.line_range()).is_some_and(|line| line.first() == Some(&b'{')) => {
                unpack_docker(line, buf)
            }
            Format::Auto => unpack_cri(line, buf),
        }
    }

    /// A record has ended.
    fn emit(&mut self, joint: Joint, out: &mut Out<'_>) {
        let Joint { mut event, text, end, check, .. } = joint;
        event.set_end(end);
        if end - event.offset > event.length {
            if self.extents.len() == EXTENTS_MAX {
                self.extents.pop_front();
            }
            self.extents.push_back(Extent { start: event.offset, end, check });
        }
        if let Some(text) = text {
            let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
            let start = out.buf.len();
            out.buf.extend_from_slice(&text);
            let mut flags = event.flags().without(Flags::INVALID_UTF8);
            if std::str::from_utf8(&text).is_err() {
                flags = flags.with(Flags::INVALID_UTF8);
            }
            event.set_line(at(start)..at(out.buf.len()), flags);
            keep_spare(text, &mut self.spare);
        }
        if !self.options.filter.keeps(out.buf.get(event.line_range()).unwrap_or_default()) {
            out.joined.filtered += 1;
            return;
        }
        out.joined.truncated += u64::from(event.flags().contains(Flags::TRUNCATED));
        out.events.push(event);
    }

    /// Ends what is open in these groups, the oldest first.
    fn end_groups(&mut self, which: impl Fn(usize, &Group) -> bool, out: &mut Out<'_>) {
        let mut groups: Vec<(u64, usize)> = Vec::new();
        for (at, group) in self.groups.iter().enumerate() {
            if let Some(start) = group.start().filter(|_| which(at, group)) {
                groups.push((start, at));
            }
        }
        groups.sort_unstable();
        for (_, at) in groups {
            self.end_group(at, out);
        }
    }

    fn end_group(&mut self, at: usize, out: &mut Out<'_>) {
        if let Some(part) = self.groups[at].part.take() {
            self.take_whole(at, part, false, out);
        }
        self.groups[at].state = State::default();
        let doubtful = std::mem::take(&mut self.groups[at].doubtful);
        for record in self.groups[at].record.take().into_iter().chain(doubtful) {
            self.emit(record, out);
        }
    }

    /// Ends what had nothing added for the time that it may be open.
    pub fn end_due(&mut self, buf: &mut Vec<u8>, events: &mut Vec<Event>, now: Timestamp) -> Joined {
        let mut out = Out { buf, events, joined: Joined::default() };
        if let Some(timeout) = self.options.timeout() {
            self.end_groups(|_, group| group.wait(timeout, now).is_zero(), &mut out);
        }
        out.joined
    }

    /// Ends everything that is open. `is_cut`: not because there is no more of it.
    pub fn end_all(&mut self, buf: &mut Vec<u8>, events: &mut Vec<Event>, is_cut: bool) -> Joined {
        let mut out = Out { buf, events, joined: Joined::default() };
        if is_cut {
            let open = self.groups.iter_mut().flat_map(|group| group.part.iter_mut().chain(group.record.iter_mut()));
            open.for_each(|joint| joint.mark(Flags::TRUNCATED));
        }
        self.end_groups(|_, _| true, &mut out);
        out.joined
    }

    /// How long until something that is open ends though nothing comes.
    pub fn due_in(&self, now: Timestamp) -> Option<Duration> {
        let timeout = self.options.timeout()?;
        self.groups.iter().filter(|group| group.start().is_some()).map(|group| group.wait(timeout, now)).min()
    }

    /// Something is open.
    pub fn is_open(&self) -> bool {
        self.groups.iter().any(|group| group.start().is_some())
    }

    /// What is open ends when nothing comes.
    pub fn has_timeout(&self) -> bool {
        self.options.has_timeout()
    }

    /// Bytes of text that are kept from one buffer to the next.
    pub fn bytes_held(&self) -> usize {
        let joints = self.groups.iter().flat_map(Group::joints);
        joints.filter_map(|joint| joint.text.as_ref()).map(Vec::capacity).sum()
    }

    /// Lets the source note something of each place at which it might resume, which it could not before.
    pub fn note_checks(&mut self, check: impl Fn(u64) -> Option<u64>) {
        let joints = self.groups.iter_mut().flat_map(Group::joints_mut);
        for joint in joints.filter(|joint| joint.check.is_none()) {
            joint.check = check(joint.event.offset);
        }
        for extent in self.extents.iter_mut().filter(|extent| extent.check.is_none()) {
            extent.check = check(extent.start);
        }
    }

    /// Where to read from again after a crash: before everything that is open. `None`: behind all that was taken.
    pub fn resume(&mut self) -> Option<Resume> {
        let joints = self.groups.iter().flat_map(Group::joints);
        let open = joints.map(|joint| Resume { offset: joint.event.offset, check: joint.check });
        let behind_all = Resume { offset: self.end, check: None };
        let mut resume = open.min_by_key(|resume| resume.offset).unwrap_or(behind_all);
        // Not within a record that came out: its last lines would come out again, as another. (While lines are read again, their end
        // may be within one too.)
        while let Some(extent) =
            self.extents.iter().find(|extent| extent.start < resume.offset && resume.offset < extent.end)
        {
            resume = Resume { offset: extent.start, check: extent.check };
        }
        self.extents.retain(|extent| extent.end > resume.offset);
        (resume != behind_all).then_some(resume)
    }

    /// How much came out.
    pub fn marks(&self) -> Marks {
        Marks(std::array::from_fn(|at| self.groups[at].start().unwrap_or(self.end).max(self.groups[at].done)))
    }

    /// The source is read again from `offset`. `marks`: what came out of what is behind it; `None`: whatever did comes again.
    pub fn restore(&mut self, offset: u64, marks: Option<Marks>) {
        for (at, group) in self.groups.iter_mut().enumerate() {
            *group = Group { done: marks.map_or(0, |marks| marks.0[at]), ..Group::default() };
        }
        // What came out does so no more, and what did not will have the same extent again.
        if marks.is_none() {
            self.extents.clear();
        }
        self.end = offset;
    }
}

impl Group {
    /// All that is open.
    fn joints(&self) -> impl Iterator<Item = &Joint> {
        self.part.iter().chain(&self.record).chain(&self.doubtful)
    }

    fn joints_mut(&mut self) -> impl Iterator<Item = &mut Joint> {
        self.part.iter_mut().chain(&mut self.record).chain(&mut self.doubtful)
    }

    /// Where what is open begins.
    fn start(&self) -> Option<u64> {
        self.record.as_ref().or(self.part.as_ref()).map(|joint| joint.event.offset)
    }

    /// How long it is still open if nothing comes.
    fn wait(&self, timeout: Duration, now: Timestamp) -> Duration {
        // A clock that was set back must not hold it up.
        if now < self.touched { Duration::ZERO } else { timeout.saturating_sub(now.since(self.touched)) }
    }
}

fn stream_of(group: usize, stream: Stream) -> usize {
    match stream {
        Stream::None => group,
        Stream::Stdout => group + 1,
        Stream::Stderr => group + 2,
    }
}

fn unpack_cri(line: &mut Event, buf: &[u8]) -> Unpacked {
    let range = line.line_range();
    let Some(parsed) = cri::parse(buf.get(range.clone()).unwrap_or_default()) else { return Unpacked::Other };
    line.timestamp = parsed.time;
    line.set_stream(parsed.stream);
    let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    // What comes before the message is ASCII, so it is malformed if the line is.
    line.set_line(at(range.start + parsed.message_start)..at(range.end), line.flags());
    Unpacked::Line { group: stream_of(0, parsed.stream), is_partial: parsed.is_partial }
}

fn unpack_docker(line: &mut Event, buf: &mut Vec<u8>) -> Unpacked {
    let range = line.line_range();
    let Some(parsed) = docker::parse(buf.get(range.clone()).unwrap_or_default()) else { return Unpacked::Other };
    match parsed.time {
        Time::At(time) => line.timestamp = time,
        Time::Missing => {}
        Time::Malformed => line.tag_line(TIME_TAG),
    }
    line.set_stream(parsed.stream);
    let mut message = range.start + parsed.message.start..range.start + parsed.message.end;
    if parsed.has_escapes {
        let start = buf.len();
        docker::unescape(buf, message);
        message = start..buf.len();
    }
    let mut flags = line.flags();
    if flags.contains(Flags::INVALID_UTF8) && std::str::from_utf8(&buf[message.clone()]).is_ok() {
        flags = flags.without(Flags::INVALID_UTF8);
    }
    let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    line.set_line(at(message.start)..at(message.end), flags);
    Unpacked::Line { group: stream_of(3, parsed.stream), is_partial: parsed.is_partial }
}

#[cfg(test)]
mod tests;
