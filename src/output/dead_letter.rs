//! The dead letter: where a record goes that the broker refuses for good, so that its neighbours go on (I5).
//!
//! Here is the local file of JSON lines ([`entry`]), one a record, fsynced (and at its creation its directory entry too) before
//! the record counts as settled; records that wait together share one fsync. It is bounded: full means that the lane of the next refused record holds until somebody
//! makes room: `logferry spool dead`, or by moving the file away. The dead letter that is a topic is deliver's: what that refuses comes here too.

pub mod entry;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use entry::{Entry, EntryError};

/// What a dead letter file holds at most, if nobody says otherwise.
pub const BYTES_MAX_DEFAULT: u64 = 256 << 20;

/// `dead_letter` of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterOptions {
    /// Refused records go to this topic of the same output.
    pub topic: Option<String>,
    /// The local file; `None`: [`file_in`] the data_dir.
    pub file: Option<PathBuf>,
    /// What the file holds at most.
    pub bytes_max: u64,
}

impl Default for DeadLetterOptions {
    fn default() -> Self {
        Self { topic: None, file: None, bytes_max: BYTES_MAX_DEFAULT }
    }
}

impl DeadLetterOptions {
    /// The local file of the output `output`.
    pub fn path(&self, data_dir: &Path, output: &str) -> PathBuf {
        self.file.clone().unwrap_or_else(|| file_in(data_dir, output))
    }
}

/// The directory of a data_dir where dead letters are.
pub fn folder_in(data_dir: &Path) -> PathBuf {
    data_dir.join("dead_letter")
}

/// The dead letter of an output, if its config names no other file.
pub fn file_in(data_dir: &Path, output: &str) -> PathBuf {
    folder_in(data_dir).join(format!("{output}.jsonl"))
}

/// Where refused records are kept.
pub trait DeadLetter: Send {
    /// Makes the records durable, in this order and with one fsync, and answers for each. They are in memory once more
    /// meanwhile: the caller bounds their bytes.
    ///
    /// # Errors
    /// Of those for which it is full, or of all if it can't be written; nothing is kept of these then, and the caller tries
    /// again later.
    fn bury(&mut self, entries: &[Entry]) -> Vec<io::Result<()>>;

    /// How it is.
    fn status(&mut self) -> FileStatus;
}

/// A dead letter file, for status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStatus {
    /// Lines in it, those damaged included.
    pub records: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    /// It has no room for one of the records that it was asked to take last.
    pub is_full: bool,
    /// Why it took nothing when it was last asked.
    pub trouble: Option<String>,
}

/// The bounded local file.
pub struct FileDeadLetter {
    path: PathBuf,
    bytes_max: u64,
    file: Option<File>,
    /// As of [`FileDeadLetter::count`]; what somebody else does to the file is seen by its size.
    records: u64,
    bytes: u64,
    /// The last of those that were not taken at the last call of bury.
    refused: Option<Refused>,
}

/// What a record was not taken for.
#[derive(Clone)]
struct Refused {
    /// The bytes that had no room; `None`: it can't be written.
    no_room_bytes: Option<u64>,
    message: String,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let kind = if refused.no_room_bytes.is_some() { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        Self::new(kind, refused.message)
    }
}

impl FileDeadLetter {
    /// A dead letter at `path` of at most `bytes_max` bytes; nothing is created before the first record.
    pub fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, file: None, records: 0, bytes: 0, refused: None }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let folder = self.path.parent().ok_or_else(|| io::Error::other("the dead letter has no directory"))?;
            if !folder.is_dir() {
                // Log lines are in it: as the spool, it is nobody else's to read.
                fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                if let Some(above) = folder.parent() {
                    File::open(above)?.sync_all()?;
                }
            }
            let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
            File::open(folder)?.sync_all()?;
            if !ends_in_line(&mut file)? {
                // The machine stopped in the middle of a record, which counts for nothing: it must not spoil the next. The end of its
                // line is durable before anything is behind it: what a failed sync has left would be seen and not be on the disk.
                let torn = file.metadata()?.len();
                file.write_all(b"\n").and_then(|()| file.sync_data()).inspect_err(|_| {
                    let _ = file.set_len(torn);
                })?;
                self.records += 1;
            }
            self.file = Some(file);
        }
        Ok(self.file.as_mut().expect("just opened"))
    }

    /// Appends those that there is room for, and makes them durable. Answers for each what had no room: its bytes, and what is
    /// to be said of it.
    fn append(&mut self, entries: &[Entry]) -> io::Result<Vec<Option<Refused>>> {
        let (path, bytes_max) = (self.path.clone(), self.bytes_max);
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("dead letter {} can't be written: {error}", path.display()))
        };
        let file = self.open().map_err(named)?;
        let before = file.metadata().map_err(named)?.len();
        let mut lines = Vec::new();
        let refused = entries.iter().map(|entry| {
            let (line, taken) = (entry.to_line(), before + lines.len() as u64);
            let wanted = line.len() as u64;
            if taken + wanted <= bytes_max {
                lines.extend_from_slice(&line);
                return None;
            }
            let message = format!(
                "dead letter {} is full: {taken} of {bytes_max} bytes, and the record takes {wanted}; look at its records \
                 (logferry spool dead), then send them again, move the file away, or raise dead_letter.max_bytes",
                path.display()
            );
            Some(Refused { no_room_bytes: Some(wanted), message })
        });
        let refused = refused.collect();
        if lines.is_empty() {
            return Ok(refused);
        }
        let written = file.write_all(&lines).and_then(|()| file.sync_data()).and_then(|()| {
            // Removed or replaced since it was looked at: then nobody has what is in it. One that was moved has a name.
            match file.metadata()?.nlink() {
                0 => Err(io::Error::new(io::ErrorKind::NotFound, "it was removed or replaced meanwhile")),
                _ => Ok(()),
            }
        });
        written.map_err(|error| {
            // Half a line would spoil the next one; what can't be cut back is ended when the file is opened again.
            let cut = file.set_len(before);
            let why = cut.err().map(|cut| format!(" (and it can't be cut back: {cut})")).unwrap_or_default();
            io::Error::new(error.kind(), format!("dead letter {} can't be written: {error}{why}", path.display()))
        })?;
        Ok(refused)
    }

    /// Counts what is in the file, if somebody else has changed it.
    fn count(&mut self) {
        let bytes = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if bytes == self.bytes {
            return;
        }
        self.bytes = bytes;
        // A count is for people: what can't be read counts as nothing, and is named when it can't be written.
        self.records = File::open(&self.path).and_then(count_lines).unwrap_or(0);
    }
}

impl DeadLetter for FileDeadLetter {
    fn bury(&mut self, entries: &[Entry]) -> Vec<io::Result<()>> {
        if entries.is_empty() {
            return Vec::new();
        }
        self.file.take_if(|file| !is_at(file, &self.path));
        self.count();
        let answers = self.append(entries).unwrap_or_else(|error| {
            let refused = Refused { no_room_bytes: None, message: error.to_string() };
            vec![Some(refused); entries.len()]
        });
        self.records += answers.iter().filter(|refused| refused.is_none()).count() as u64;
        self.bytes = fs::metadata(&self.path).map_or(self.bytes, |metadata| metadata.len());
        self.refused = answers.iter().flatten().next_back().cloned();
        if self.refused.is_some() {
            self.file = None;
        }
        answers.into_iter().map(|refused| refused.map_or(Ok(()), |refused| Err(refused.into()))).collect()
    }

    fn status(&mut self) -> FileStatus {
        self.count();
        let (bytes, bytes_max) = (self.bytes, self.bytes_max);
        // Somebody may have made room since.
        self.refused.take_if(|refused| refused.no_room_bytes.is_some_and(|wanted| bytes + wanted <= bytes_max));
        FileStatus {
            records: self.records,
            bytes,
            bytes_max,
            is_full: self.refused.as_ref().is_some_and(|refused| refused.no_room_bytes.is_some()),
            trouble: self.refused.as_ref().map(|refused| refused.message.clone()),
        }
    }
}

/// Whether a file is the one at `path`: somebody may have moved it away, or put another one in its place.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(file), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (file.dev(), file.ino()) == (there.dev(), there.ino())
}

/// Whether a file is empty or its last byte ends a line.
fn ends_in_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

fn count_lines(file: File) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut lines = 0;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', chunk).count() as u64;
        let read = chunk.len();
        reader.consume(read);
    }
}

/// One line of a dead letter file.
#[derive(Debug)]
pub struct Line {
    /// From 1.
    pub number: u64,
    /// As it stands there, with its end.
    pub bytes: Vec<u8>,
    pub entry: Result<Entry, EntryError>,
}

/// The lines of a dead letter file, one after the other; empty lines are passed over.
pub struct Lines {
    reader: BufReader<File>,
    number: u64,
}

impl Lines {
    /// Those of the file at `path`.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::with_capacity(1 << 16, File::open(path)?), number: 0 })
    }
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut bytes = Vec::new();
            match self.reader.read_until(b'\n', &mut bytes) {
                Err(error) => return Some(Err(error)),
                Ok(0) => return None,
                Ok(_) => self.number += 1,
            }
            if !bytes.trim_ascii().is_empty() {
                let entry = Entry::parse(&bytes);
                return Some(Ok(Line { number: self.number, bytes, entry }));
            }
        }
    }
}

/// Keeps the lines whose number `stays` says, as they are, and lets go of the others: at once or not at all. Without lines the
/// file goes. Whoever writes to it must not run meanwhile.
///
/// # Errors
/// If that can't be written; then the file is as it was.
pub fn keep(path: &Path, mut stays: impl FnMut(u64) -> bool) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("the dead letter has no directory"))?;
    let mut temporary = tempfile::Builder::new().prefix(".dead_letter").tempfile_in(folder)?;
    temporary.as_file().set_permissions(fs::metadata(path)?.permissions())?;
    let mut writer = io::BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
    let mut any = false;
    for line in Lines::open(path)? {
        let line = line?;
        if stays(line.number) {
            any = true;
            writer.write_all(&line.bytes)?;
            if !line.bytes.ends_with(b"\n") {
                writer.write_all(b"\n")?;
            }
        }
    }
    writer.flush()?;
    drop(writer);
    if any {
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
    } else {
        fs::remove_file(path)?;
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &[u8]) -> Entry {
        Entry { reason: "too_large".into(), topic: "t".into(), offset: 7, value: value.to_vec(), ..Entry::default() }
    }

    fn bury(letter: &mut FileDeadLetter, value: &[u8]) -> io::Result<()> {
        letter.bury(&[entry(value)]).pop().expect("one answer for one record")
    }

    fn lines(path: &Path) -> Vec<Line> {
        Lines::open(path).expect("it is there").map(|line| line.expect("it can be read")).collect()
    }

    #[test]
    fn keeps_each_record_as_a_line_with_its_reason() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("dead/main.jsonl");
        let mut letter = FileDeadLetter::new(path.clone(), 10_000);
        for value in [&b"text"[..], b"\xff"] {
            bury(&mut letter, value).expect("there is room");
        }
        let text = fs::read_to_string(&path).expect("the file is there");
        assert!(text.contains(r#""value":"text""#) && text.contains(r#""value_base64":"/w==""#), "{text}");
        let read: Vec<Entry> = lines(&path).into_iter().map(|line| line.entry.expect("a record")).collect();
        assert_eq!(read, [entry(b"text"), entry(b"\xff")]);
        let status = letter.status();
        assert_eq!((status.records, status.bytes), (2, text.len() as u64));
    }

    #[test]
    fn full_refuses_and_says_what_to_do_and_takes_again_once_moved_away() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("main.jsonl");
        let mut letter = FileDeadLetter::new(path.clone(), 500);
        bury(&mut letter, b"first").expect("there is room");
        let size = fs::metadata(&path).expect("the file is there").len();
        let error = bury(&mut letter, &[b'x'; 400]).expect_err("it is full");
        assert!(error.to_string().contains("move the file away"), "{error}");
        assert_eq!(fs::metadata(&path).expect("still there").len(), size, "nothing of the refused record is kept");
        let status = letter.status();
        assert!(status.is_full && status.trouble.is_some_and(|trouble| trouble.contains("500 bytes")));
        fs::rename(&path, dir.path().join("seen.jsonl")).expect("renamed");
        let status = letter.status();
        assert_eq!((status.is_full, status.records, status.bytes), (true, 0, 0), "400 bytes and more never fit");
        bury(&mut letter, b"second").expect("there is room again");
        assert_eq!((letter.status().is_full, letter.status().records), (false, 1));
    }

    /// Scenario: four records wait together; the third has no room. Guarantee: each has its own answer, those taken are there in
    /// order, and the status tells of the one that was not.
    #[test]
    fn records_that_wait_together_are_taken_together_and_answered_for_one_by_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("main.jsonl");
        let mut letter = FileDeadLetter::new(path.clone(), 1_000);
        let together = [entry(b"first"), entry(b"second"), entry(&[b'x'; 1_000]), entry(b"last")];
        let taken: Vec<bool> = letter.bury(&together).iter().map(Result::is_ok).collect();
        assert_eq!(taken, [true, true, false, true]);
        let read: Vec<Entry> = lines(&path).into_iter().map(|line| line.entry.expect("a record")).collect();
        assert_eq!(read, [entry(b"first"), entry(b"second"), entry(b"last")]);
        let status = letter.status();
        let size = fs::metadata(&path).expect("the file is there").len();
        assert_eq!((status.records, status.bytes, status.is_full), (3, size, true));
        assert!(letter.bury(&[]).is_empty() && letter.status().is_full, "nothing is asked, nothing changes");
    }

    /// Scenario: what stands where the dead letter should be takes bytes, and can't be fsynced (a pipe), or takes none (a disk
    /// that is full). Guarantee: not one of the records that came together counts as kept, and the status says why.
    #[test]
    fn what_is_not_synced_is_not_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("made");
        for path in [pipe, "/dev/full".into()] {
            let mut letter = FileDeadLetter::new(path.clone(), 10_000);
            let answers = letter.bury(&[entry(b"first"), entry(b"second")]);
            assert_eq!(answers.len(), 2);
            for answer in answers {
                let error = answer.expect_err("it is not durable");
                assert!(error.to_string().contains("can't be written"), "{}: {error}", path.display());
            }
            let status = letter.status();
            assert_eq!((status.records, status.is_full, status.trouble.is_some()), (0, false, true));
        }
    }

    /// Scenario: somebody edits the file, as editors do: another one is put in its place by renaming; or moves it away, and something
    /// stands there that can't be written. Guarantee: a record counts as kept only where it can be found.
    #[test]
    fn a_file_that_was_replaced_gets_no_more_records() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, other) = (dir.path().join("main.jsonl"), dir.path().join("other"));
        let mut letter = FileDeadLetter::new(path.clone(), 10_000);
        bury(&mut letter, b"first").expect("there is room");
        fs::write(&other, "").expect("written");
        fs::rename(&other, &path).expect("replaced");
        bury(&mut letter, b"second").expect("there is room");
        let read: Vec<Entry> = lines(&path).into_iter().map(|line| line.entry.expect("a record")).collect();
        assert_eq!(read, [entry(b"second")]);
        fs::rename(&path, &other).expect("moved away");
        fs::create_dir(&path).expect("nothing is there");
        let error = bury(&mut letter, b"third").expect_err("a directory takes no records").to_string();
        assert!(error.contains(path.to_str().expect("UTF-8")), "it names the file: {error}");
        fs::remove_dir(&path).expect("empty");
        bury(&mut letter, b"third").expect("nothing is in the way");
        assert_eq!((lines(&other).len(), lines(&path).len()), (1, 1));
    }

    /// Scenario: the first record of a dead letter whose directory is not there either. Guarantee: nobody else can read it.
    #[test]
    fn nobody_else_reads_what_was_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("dead_letter/main.jsonl");
        bury(&mut FileDeadLetter::new(path.clone(), 10_000), b"first").expect("there is room");
        let mode = |path: &Path| fs::metadata(path).expect("made").mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("it has one"))), (0o600, 0o700));
    }

    /// Scenario: the machine stopped while a record was being written. Guarantee: the next one is whole; the torn one is named
    /// by its line.
    #[test]
    fn a_torn_line_spoils_no_other() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("main.jsonl");
        let first = entry(b"first").to_line();
        fs::write(&path, [&first[..], &first[..20]].concat()).expect("written");
        let mut letter = FileDeadLetter::new(path.clone(), 10_000);
        bury(&mut letter, b"second").expect("there is room");
        let found: Vec<(u64, bool)> = lines(&path).iter().map(|line| (line.number, line.entry.is_ok())).collect();
        assert_eq!(found, [(1, true), (2, false), (3, true)]);
        assert_eq!(letter.status().records, 3);
    }

    #[test]
    fn the_lines_that_stay_stay_as_they_are_or_the_file_goes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("main.jsonl");
        fs::write(&path, "a\n\nb\nc").expect("written");
        keep(&path, |number| number != 3).expect("replaced");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "a\nc\n");
        keep(&path, |_| false).expect("removed");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing temporary is left either");
    }
}
