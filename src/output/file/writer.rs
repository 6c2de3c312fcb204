//! The files of a `file` output: lines are appended, synced and rotated; what is not durable in the end is taken back.
//!
//! ```text
//!   PATH      being written:  ░░░░░░░░░░░░▒▒▒▒    ░ durable   ▒ of this group: cut off again if it can't be made durable
//!   PATH.1    full, the youngest; PATH.2 the one before, … PATH.keep the oldest
//! ```
//! A record is acknowledged when its whole line and the file's directory entry are durable. Of a crash between two fsyncs a
//! part of a line may be left at the end: whoever opens the file next ends it with a line feed, so that no record is glued to
//! it. Nothing that was in a file before is ever cut off.
//!
//! The file is looked up by its name before each group: one that was renamed or removed by somebody else is let go, and a new
//! one begun.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::options::{FileOptions, TOPIC_IN_PATH};
use super::place::{Identity, Place};
use crate::batch::{Encoded, Record};
use crate::disk::DiskFile;
use crate::output::Parcel;
use crate::output::envelope::envelope;

/// Files that are open at once.
const OPEN_MAX: usize = 64;
/// A file that nobody writes to is closed after this long.
const OPEN_KEPT: Duration = Duration::from_secs(60);
/// So much is rendered before it is written.
const CHUNK_BYTES: usize = 1 << 20;

/// Records to be written.
pub(super) struct Job {
    pub parcel: Parcel,
    pub encoded: Arc<Encoded>,
    pub topic: Arc<str>,
    pub records: Range<u32>,
}

/// What became of records.
pub(super) struct Written {
    pub parcel: Parcel,
    pub topic: Arc<str>,
    pub records: Range<u32>,
    /// Why they are not on the disk.
    pub result: Result<(), Arc<str>>,
}

/// Writes the files of an output.
pub(super) struct Writer {
    options: FileOptions,
    place: Box<dyn Place>,
    open: HashMap<PathBuf, Open>,
    /// Files that end with something that is to be cut off first: how long they are to be.
    spoilt: HashMap<PathBuf, (Identity, u64)>,
    tidied_at: Option<Instant>,
}

struct Open {
    file: Box<dyn DiskFile>,
    identity: Identity,
    used_at: Instant,
    len: u64,
    /// What of it is durable; with `fsync: false`, written.
    len_safe: u64,
}

/// How far a group is safe: all before this record of this job.
#[derive(Clone, Copy, Default)]
struct Reached {
    job: usize,
    record: u32,
}

impl Job {
    /// Keys and values, as they were encoded.
    pub(super) fn bytes(&self) -> u64 {
        let records = &self.encoded.records[self.records.start as usize..self.records.end as usize];
        records.iter().map(|record| u64::from(record.value_len) + u64::from(record.key_len)).sum()
    }
}

impl Writer {
    pub(super) fn new(options: FileOptions, place: Box<dyn Place>) -> Self {
        Self { options, place, open: HashMap::new(), spoilt: HashMap::new(), tidied_at: None }
    }

    /// Writes a group, file by file, and says of all of it what became of it, in order.
    pub(super) fn write(&mut self, jobs: Vec<Job>) -> Vec<Written> {
        let mut groups: Vec<(PathBuf, Vec<Job>)> = Vec::new();
        for job in jobs {
            let path = self.path_of(&job.topic);
            match groups.iter_mut().find(|(other, _)| *other == path) {
                Some((_, group)) => group.push(job),
                None => groups.push((path, vec![job])),
            }
        }
        let mut written = Vec::new();
        for (path, group) in groups {
            let mut reached = Reached::default();
            let done = self.write_group(&path, &group, &mut reached);
            let refusal = done.err().map(|error| {
                self.take_back(&path);
                let message = format!("{}: {error}; make it writable, or make room", path.display());
                Arc::from(message)
            });
            for (at, Job { parcel, topic, records, .. }) in group.into_iter().enumerate() {
                let safe_to = match (&refusal, at.cmp(&reached.job)) {
                    (None, _) | (_, std::cmp::Ordering::Less) => records.end,
                    (_, std::cmp::Ordering::Equal) => reached.record.max(records.start),
                    (_, std::cmp::Ordering::Greater) => records.start,
                };
                let (safe, refused) = (records.start..safe_to, safe_to..records.end);
                if !safe.is_empty() {
                    written.push(Written { parcel, topic: Arc::clone(&topic), records: safe, result: Ok(()) });
                }
                if let Some(message) = refusal.clone().filter(|_| !refused.is_empty()) {
                    written.push(Written { parcel, topic, records: refused, result: Err(message) });
                }
            }
        }
        written
    }

    /// Closes files that nobody writes to.
    pub(super) fn tidy(&mut self, now: Instant) {
        let is_due = self.tidied_at.is_none_or(|at| now.saturating_duration_since(at) > OPEN_KEPT / 6);
        if !is_due && self.open.len() <= OPEN_MAX {
            return;
        }
        self.tidied_at = Some(now);
        self.open.retain(|_, open| now.saturating_duration_since(open.used_at) < OPEN_KEPT);
        while self.open.len() > OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used_at).map(|(path, _)| path.clone());
            oldest.map(|path| self.open.remove(&path));
        }
    }

    /// The file of a topic.
    fn path_of(&self, topic: &str) -> PathBuf {
        PathBuf::from(self.options.path.replace(TOPIC_IN_PATH, topic))
    }

    fn write_group(&mut self, path: &Path, jobs: &[Job], reached: &mut Reached) -> io::Result<()> {
        self.look(path)?;
        let mut chunk = Vec::new();
        let mut line = Vec::new();
        for (at, job) in jobs.iter().enumerate() {
            for number in job.records.clone() {
                line.clear();
                self.render(job, &job.encoded.records[number as usize], &mut line);
                let len = self.opened(path)?.len + chunk.len() as u64;
                if len > 0 && len + line.len() as u64 > self.options.rotate_bytes_max {
                    self.append(path, &mut chunk)?;
                    self.make_safe(path)?;
                    *reached = Reached { job: at, record: number };
                    self.rotate(path)?;
                }
                chunk.extend_from_slice(&line);
                if chunk.len() >= CHUNK_BYTES {
                    self.append(path, &mut chunk)?;
                }
            }
        }
        self.append(path, &mut chunk)?;
        self.make_safe(path)
    }

    /// Lets go of a file that has lost its name, and of what is known of one that somebody else has cut.
    fn look(&mut self, path: &Path) -> io::Result<()> {
        let now = self.place.identity(path)?;
        if let Some(open) = self.open.get_mut(path) {
            if now == Some(open.identity) {
                open.len = open.file.len()?;
                open.len_safe = open.len;
                return Ok(());
            }
            self.open.remove(path);
        }
        Ok(())
    }

    /// The file, open, at the end of a line.
    fn opened(&mut self, path: &Path) -> io::Result<&mut Open> {
        if !self.open.contains_key(path) {
            let open = self.open(path)?;
            self.open.insert(path.to_owned(), open);
        }
        Ok(self.open.get_mut(path).expect("it was just put there"))
    }

    fn open(&mut self, path: &Path) -> io::Result<Open> {
        let dir = path.parent().ok_or_else(|| io::Error::other("the path names no file"))?;
        let dir_mode = self.options.mode | (self.options.mode & 0o444) >> 2 | 0o700;
        self.place.make_dir(dir, dir_mode)?;
        let is_new = self.place.identity(path)?.is_none();
        if is_new {
            // The file that had the name has another, for certain, before this one takes it: a rotation may have failed half-way.
            self.place.disk().sync_dir(dir)?;
        }
        let mut file = self.place.disk().append(path)?;
        if is_new {
            self.place.set_mode(path, self.options.mode)?;
        }
        self.place.disk().sync_dir(dir)?;
        let identity = self.place.identity(path)?.ok_or_else(|| io::Error::other("it vanished while it was opened"))?;
        if let Some((spoilt, len)) = self.spoilt.get(path).copied() {
            // Of another file that has the name now, nothing is known.
            if spoilt == identity && file.len()? > len {
                file.truncate(len)?;
            }
            self.spoilt.remove(path);
        }
        let len_safe = file.len()?;
        let mut len = len_safe;
        let mut last = [0];
        if len > 0 && file.read(len - 1, &mut last)? == 1 && last != *b"\n" {
            // It is no safer than what comes behind it: after a failed sync it would be seen here and not be on the disk.
            file.append(b"\n")?;
            len += 1;
        }
        Ok(Open { file, identity, used_at: Instant::now(), len, len_safe })
    }

    fn render(&self, job: &Job, record: &Record, line: &mut Vec<u8>) {
        let Encoded { buf, headers, .. } = &*job.encoded;
        if self.options.envelope {
            let whole = envelope(&job.topic, record, buf, headers);
            serde_json::to_writer(&mut *line, &whole).expect("a vector takes everything");
        } else {
            let mut lines = record.value_in(buf).split(|byte| *byte == b'\n');
            line.extend_from_slice(lines.next().unwrap_or_default());
            for rest in lines {
                line.extend_from_slice(b"\\n");
                line.extend_from_slice(rest);
            }
        }
        line.push(b'\n');
    }

    fn append(&mut self, path: &Path, chunk: &mut Vec<u8>) -> io::Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        let open = self.opened(path)?;
        open.file.append(chunk)?;
        open.len += chunk.len() as u64;
        open.used_at = Instant::now();
        chunk.clear();
        Ok(())
    }

    fn make_safe(&mut self, path: &Path) -> io::Result<()> {
        let fsync = self.options.fsync;
        let open = self.opened(path)?;
        if fsync {
            open.file.sync()?;
        }
        open.len_safe = open.len;
        Ok(())
    }

    /// What was written and is not safe is cut off; what can't be cut off now is before the file is written again. After a failed
    /// sync the pages of the file are not to be trusted: it is opened anew.
    fn take_back(&mut self, path: &Path) {
        let Some(mut open) = self.open.remove(path) else { return };
        let cut = open
            .file
            .len()
            .and_then(|len| if len > open.len_safe { open.file.truncate(open.len_safe) } else { Ok(()) });
        if cut.is_err() && (self.spoilt.len() < OPEN_MAX || self.spoilt.contains_key(path)) {
            self.spoilt.insert(path.to_owned(), (open.identity, open.len_safe));
        }
    }

    /// Gives the full file, which is safe, the name with `.1`. Done again after half of it failed, it moves nothing twice.
    fn rotate(&mut self, path: &Path) -> io::Result<()> {
        self.open.remove(path);
        let numbered = |number: u32| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        let mut free = 1;
        while free < self.options.keep && self.place.identity(&numbered(free))?.is_some() {
            free += 1;
        }
        let deleted = free == self.options.keep && self.place.identity(&numbered(free))?.is_some();
        let dir = path.parent().ok_or_else(|| io::Error::other("the path names no file"))?;
        // One by one, and not before those of an earlier try: a crash that kept a later rename and not an earlier one would replace a
        // file.
        self.place.disk().sync_dir(dir)?;
        for number in (1..free).rev() {
            self.place.disk().rename(&numbered(number), &numbered(number + 1))?;
            self.place.disk().sync_dir(dir)?;
        }
        self.place.disk().rename(path, &numbered(1))?;
        self.place.disk().sync_dir(dir)?;
        let (output, file, keep) = (&self.options.name, path.display(), self.options.keep);
        if deleted {
            tracing::info!(output, %file, keep, "file rotated; the oldest was deleted");
        } else {
            tracing::info!(output, %file, "file rotated");
        }
        Ok(())
    }
}
