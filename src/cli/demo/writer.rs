//! The demo's writer: a web server whose logs rotate while they are read, or the copying of a user's files.
//!
//! It is held back by the reader ([`Flow`]): the embedded broker keeps the last 5 MB of a partition, so no more than
//! [`AHEAD_BYTES_MAX`] may be under way. A rotated file is removed only after all its lines have arrived.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::access_log::{AccessLog, SITES};

/// What may be written and not yet arrived, each line counted with [`LINE_EXTRA_BYTES`].
const AHEAD_BYTES_MAX: u64 = 3 << 20;
/// What a record of the broker takes beside the line, at most, once it is compressed: offset, id, time.
const LINE_EXTRA_BYTES: u64 = 96;
/// Lines written at once, at full speed.
const CHUNK_LINES: u64 = 256;
/// Bytes copied at once. So many line ends would still be far from the bound.
const CHUNK_BYTES: usize = 16 << 10;
/// How often each log is rotated in the course of a demo, if its files do not get too long for that.
const ROTATIONS: u64 = 8;
const LINES_PER_FILE_MIN: u64 = 100;
const LINES_PER_FILE_MAX: u64 = 50_000;
/// Rotated files that are kept.
const KEPT: usize = 3;
/// How often the writer looks whether it may go on.
const PAUSE: Duration = Duration::from_millis(1);

/// What writer and reader tell each other.
#[derive(Default)]
pub struct Flow {
    /// The writer is to end early.
    stop: Arc<AtomicBool>,
    written: Counts,
    arrived: Counts,
    arrived_below: AtomicU64,
    rotations: AtomicU64,
    /// When lines up to a number were written; only with a rate.
    stamps: Mutex<VecDeque<Stamp>>,
}

#[derive(Default)]
struct Counts {
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    fn add(&self, lines: u64, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.lines.fetch_add(lines, Ordering::AcqRel);
    }

    fn weight(&self) -> u64 {
        self.bytes.load(Ordering::Acquire) + self.lines.load(Ordering::Acquire) * LINE_EXTRA_BYTES
    }
}

struct Stamp {
    /// The first number that was written later.
    end: u64,
    at: Instant,
}

impl Flow {
    /// Nothing is written yet. The writer ends when `stop` is set.
    pub fn new(stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..Self::default() }
    }

    /// Lines and bytes written so far.
    pub fn written(&self) -> (u64, u64) {
        (self.written.lines.load(Ordering::Acquire), self.written.bytes.load(Ordering::Acquire))
    }

    /// How often a log was rotated so far.
    pub fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Acquire)
    }

    /// A line of so many bytes has arrived.
    pub fn arrived(&self, bytes: u64) {
        self.arrived.add(1, bytes);
    }

    /// All lines with lower numbers have arrived.
    pub fn arrived_below(&self, number: u64) {
        self.arrived_below.store(number, Ordering::Release);
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        while stamps.front().is_some_and(|stamp| stamp.end <= number) {
            stamps.pop_front();
        }
    }

    /// When the line was written: just before, to be exact. `None`: without a rate.
    pub fn written_at(&self, number: u64) -> Option<Instant> {
        let stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.get(stamps.partition_point(|stamp| stamp.end <= number)).map(|stamp| stamp.at)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits until the reader is near enough. `false`: it is time to end.
    fn wait_for_reader(&self) -> bool {
        while self.written.weight().saturating_sub(self.arrived.weight()) > AHEAD_BYTES_MAX {
            if self.is_stopped() {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        !self.is_stopped()
    }
}

/// How the log is to be written.
pub struct LogPlan {
    pub lines: u64,
    /// Lines a second; `None`: as fast as they arrive.
    pub rate: Option<u64>,
}

/// Where a site's log is below the demo's directory.
pub fn log_path(directory: &Path, site: &str) -> PathBuf {
    directory.join(site).join("access.log")
}

/// Writes the whole log, or as much as there is time for.
///
/// # Errors
/// If a file can't be written, renamed or removed, naming it.
pub fn write_log(flow: &Flow, directory: &Path, mut log: AccessLog, plan: &LogPlan) -> io::Result<()> {
    let lines_per_file = (plan.lines / (SITES.len() as u64 * ROTATIONS)).clamp(LINES_PER_FILE_MIN, LINES_PER_FILE_MAX);
    let mut sites = Vec::new();
    for site in SITES {
        sites.push(Site::create(log_path(directory, site))?);
    }
    let started = Instant::now();
    let mut next = 0;
    while next < plan.lines && flow.wait_for_reader() {
        let due = plan.rate.map_or(u64::MAX, |rate| due(started.elapsed(), rate));
        let end = due.min(next + CHUNK_LINES).min(plan.lines);
        if end <= next {
            std::thread::sleep(PAUSE);
            continue;
        }
        for number in next..end {
            let site = &mut sites[AccessLog::site_of(number)];
            log.write(number, &mut site.buffer);
            if site.lines == 0 {
                site.first = number;
            }
            site.lines += 1;
            site.last = number;
        }
        // Before they are in the file: what has arrived is never more than what was written.
        flow.written.add(end - next, sites.iter().map(|site| site.buffer.len() as u64).sum());
        if plan.rate.is_some() {
            let stamp = Stamp { end, at: Instant::now() };
            flow.stamps.lock().unwrap_or_else(PoisonError::into_inner).push_back(stamp);
        }
        for site in &mut sites {
            site.append()?;
            let arrived_below = flow.arrived_below.load(Ordering::Acquire);
            if site.lines >= lines_per_file && site.is_read(arrived_below) {
                site.rotate()?;
                flow.rotations.fetch_add(1, Ordering::AcqRel);
            }
            site.remove_old(arrived_below)?;
        }
        next = end;
    }
    Ok(())
}

/// How many lines are to be there after this time.
fn due(elapsed: Duration, rate: u64) -> u64 {
    u64::try_from(elapsed.as_micros().saturating_mul(u128::from(rate)) / 1_000_000).unwrap_or(u64::MAX)
}

/// The log of one site.
struct Site {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Lines in the file.
    lines: u64,
    /// The numbers of its first and last line.
    first: u64,
    last: u64,
    rotations: u64,
    /// Rotated files, the oldest first, and the last line in each.
    rotated: VecDeque<(PathBuf, u64)>,
}

impl Site {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = append_to(&path)?;
        Ok(Self { path, file, buffer: Vec::new(), lines: 0, first: 0, last: 0, rotations: 0, rotated: VecDeque::new() })
    }

    fn append(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer).map_err(|error| about("write", &self.path, &error))?;
        self.buffer.clear();
        Ok(())
    }

    /// Whether somebody reads the file: its first line has arrived. At full speed a file would be rotated a hundred times a
    /// second otherwise, which nobody's logs are.
    fn is_read(&self, arrived_below: u64) -> bool {
        self.lines > 0 && self.first < arrived_below
    }

    /// Renames the file, as logrotate does, and goes on in a new one of the old name.
    fn rotate(&mut self) -> io::Result<()> {
        self.rotations += 1;
        let rotated = self.path.with_extension(format!("log.{}", self.rotations));
        fs::rename(&self.path, &rotated).map_err(|error| about("rename", &self.path, &error))?;
        self.file = append_to(&self.path)?;
        self.rotated.push_back((rotated, self.last));
        self.lines = 0;
        Ok(())
    }

    fn remove_old(&mut self, arrived_below: u64) -> io::Result<()> {
        while self.rotated.len() > KEPT
            && let Some((path, last)) = self.rotated.front()
            && *last < arrived_below
        {
            fs::remove_file(path).map_err(|error| about("remove", path, &error))?;
            self.rotated.pop_front();
        }
        Ok(())
    }
}

/// A user's file, and where its copy is to be.
pub struct UserFile {
    pub path: PathBuf,
    /// How much of it there was when the demo began.
    pub bytes: u64,
    pub copy: PathBuf,
}

/// Copies the files as they were when the demo began, line end for line end. A last line without one gets it: nobody is
/// there to finish it.
///
/// # Errors
/// If a file can't be read, or its copy written, naming it.
pub fn copy_files(flow: &Flow, files: &[UserFile]) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    for file in files {
        let mut from = File::open(&file.path).map_err(|error| about("read", &file.path, &error))?.take(file.bytes);
        let mut to = append_to(&file.copy)?;
        let mut last = b'\n';
        loop {
            if !flow.wait_for_reader() {
                return Ok(());
            }
            let mut got = from.read(&mut chunk).map_err(|error| about("read", &file.path, &error))?;
            let is_end = got == 0;
            if is_end && last == b'\n' {
                break;
            }
            if is_end {
                chunk[0] = b'\n';
                got = 1;
            }
            let piece = &chunk[..got];
            last = piece[got - 1];
            flow.written.add(memchr::memchr_iter(b'\n', piece).count() as u64, got as u64);
            to.write_all(piece).map_err(|error| about("write", &file.copy, &error))?;
        }
    }
    Ok(())
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| about("open", path, &error))
}

/// The error with the object that it is about.
pub fn about(action: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't {action} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn sites() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        SITES.iter().for_each(|site| fs::create_dir(directory.path().join(site)).expect("a directory"));
        directory
    }

    /// Scenario: a short log is written; of all that is written only the first half ever arrives.
    /// Guarantee: every line is in one of the files, whole and in order. What has not arrived stays; of what has, only a few
    /// files do. A file that nobody reads is not rotated.
    #[test]
    fn writes_every_line_once_and_removes_nothing_unread() {
        let (directory, flow) = (sites(), Flow::default());
        flow.arrived_below(6_000);
        let plan = LogPlan { lines: 12_000, rate: None };
        write_log(&flow, directory.path(), AccessLog::new(0, 1), &plan).expect("written");
        let mut bytes = 0;
        let mut numbers = Vec::new();
        for site in SITES {
            let folder = directory.path().join(site);
            let files = names(&folder).len();
            assert_eq!(files, KEPT + 1, "{site}");
            let rotations = flow.rotations() as usize / SITES.len();
            assert!((3..8).contains(&rotations), "{site}: {rotations}");
            let last = Path::new(&log_path(directory.path(), site)).to_owned();
            let rotated = (1..=8).map(|n| folder.join(format!("access.log.{n}"))).filter(|file| file.exists());
            for file in rotated.chain([last]) {
                let text = fs::read_to_string(file).expect("a log");
                bytes += text.len() as u64;
                for line in text.lines() {
                    let number = AccessLog::number_of(line.as_bytes()).expect("a number");
                    assert!(
                        numbers.last() < Some(&(site, number)) || numbers.last().is_some_and(|last| last.0 != site)
                    );
                    numbers.push((site, number));
                }
            }
        }
        let mut numbers: Vec<u64> = numbers.into_iter().map(|(_, number)| number).collect();
        numbers.sort_unstable();
        let unread = numbers.partition_point(|number| *number < 6_000);
        assert_eq!(numbers[unread..], (6_000..12_000).collect::<Vec<_>>());
        let (written_lines, written_bytes) = flow.written();
        assert_eq!(written_lines, 12_000);
        assert!(bytes < written_bytes, "some rotated files are gone");
    }

    /// Scenario: a log of which nothing arrives.
    /// Guarantee: it is not rotated.
    #[test]
    fn rotates_no_file_that_nobody_reads() {
        let (directory, flow) = (sites(), Flow::default());
        write_log(&flow, directory.path(), AccessLog::new(0, 1), &LogPlan { lines: 5_000, rate: None })
            .expect("written");
        assert_eq!(flow.rotations(), 0);
        let lines = |site: &&str| fs::read_to_string(log_path(directory.path(), site)).expect("a log").lines().count();
        assert_eq!(SITES.iter().map(lines).sum::<usize>(), 5_000);
    }

    /// Scenario: nothing arrives of a long log; then all of it.
    /// Guarantee: the writer is held at the bound, and goes on; it ends at once when it is told to.
    #[test]
    fn is_held_back_by_the_reader() {
        let (directory, flow) = (sites(), Arc::new(Flow::default()));
        let (ended, end) = channel();
        let writer = {
            let (flow, directory) = (Arc::clone(&flow), directory.path().to_owned());
            std::thread::spawn(move || {
                let plan = LogPlan { lines: 100_000_000, rate: None };
                ended.send(write_log(&flow, &directory, AccessLog::new(0, 1), &plan)).expect("the test waits");
            })
        };
        let weight = || flow.written.weight();
        let most = AHEAD_BYTES_MAX + CHUNK_LINES * 400;
        for round in 1..=3 {
            while weight() <= round * AHEAD_BYTES_MAX {
                std::thread::yield_now();
            }
            assert!(weight() <= flow.arrived.weight() + most);
            let (lines, bytes) = flow.written();
            let (had_lines, had_bytes) =
                (flow.arrived.lines.load(Ordering::Acquire), flow.arrived.bytes.load(Ordering::Acquire));
            flow.arrived.add(lines - had_lines, bytes - had_bytes);
        }
        flow.stop.store(true, Ordering::Release);
        end.recv_timeout(Duration::from_secs(60)).expect("it ends").expect("without an error");
        writer.join().expect("no panic");
    }

    /// Scenario: a log at a rate.
    /// Guarantee: it takes its time, and of each line that has not arrived it is known when it was written.
    #[test]
    fn keeps_to_the_rate_and_remembers_when() {
        let (directory, flow) = (sites(), Flow::default());
        let plan = LogPlan { lines: 200, rate: Some(1_000) };
        let started = Instant::now();
        write_log(&flow, directory.path(), AccessLog::new(0, 1), &plan).expect("written");
        assert!(started.elapsed() >= Duration::from_millis(200));
        let (first, last) = (flow.written_at(0).expect("a time"), flow.written_at(199).expect("a time"));
        assert!(last - first >= Duration::from_millis(100), "{:?}", last - first);
        assert_eq!(flow.written_at(200), None);
        flow.arrived_below(199);
        assert_eq!(flow.written_at(199), Some(last));
        flow.arrived_below(200);
        assert!(flow.stamps.lock().expect("no panic").is_empty());
    }

    /// Scenario: files that end with and without a line end, an empty one, and one that has grown since.
    /// Guarantee: the copies are what the files were, the last line ended.
    #[test]
    fn copies_files_as_they_were() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, content: &str, bytes: u64| {
            let path = directory.path().join(name);
            fs::write(&path, content).expect("a file");
            UserFile { copy: path.with_extension("copy"), path, bytes }
        };
        let files = [file("a", "one\ntwo", 7), file("b", "", 0), file("c", "three\nlater\n", 6), file("d", "\n\n", 2)];
        let flow = Flow::default();
        copy_files(&flow, &files).expect("copied");
        let copies: Vec<String> = files.iter().map(|file| fs::read_to_string(&file.copy).expect("a copy")).collect();
        assert_eq!(copies, ["one\ntwo\n", "", "three\n", "\n\n"]);
        assert_eq!(flow.written(), (5, 16));
        let gone = [UserFile { path: directory.path().join("none"), bytes: 1, copy: directory.path().join("copy") }];
        let error = copy_files(&flow, &gone).expect_err("it is not there");
        assert!(error.to_string().contains("none"), "{error}");
    }
}
