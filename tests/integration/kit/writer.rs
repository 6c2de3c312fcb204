//! A program that logs: numbered lines into a file that is rotated in every way that real ones are.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Writes `STREAM NUMBER filler` lines; each is written once, so each can be looked for.
pub struct Writer {
    path: PathBuf,
    stream: String,
    file: File,
    /// Lines so far: the next one's number.
    pub written: u64,
    since_rotation: u64,
    rotations: u32,
}

impl Writer {
    /// Opens (or makes) `path` for appending. `stream` names its lines.
    pub fn new(path: &Path, stream: &str) -> Self {
        assert!(!stream.contains(char::is_whitespace), "a stream is one word");
        Self { path: path.into(), stream: stream.into(), file: open(path), written: 0, since_rotation: 0, rotations: 0 }
    }

    /// The line with this number, without its end.
    pub fn line(&self, number: u64) -> String {
        // Between 60 and 187 bytes, so that reads end in the middle of lines everywhere.
        let filler = "GET /assets/app.js?v=41 HTTP/1.1 200 5316 https://example.org/start Mozilla/5.0 (X11; Linux x86_64) \
                      Gecko/20100101 Firefox/128.0 rt=0.004 uct=0.000";
        let length = 40 + usize::try_from(number.wrapping_mul(2_654_435_761) % 100).expect("below 100");
        format!("{} {number:08} {}", self.stream, &filler[..length])
    }

    /// Appends `lines` lines, in writes of about 8 KiB as a buffered logger does.
    pub fn write(&mut self, lines: u64) -> &mut Self {
        let mut buffer = Vec::with_capacity(10_000);
        for _ in 0..lines {
            buffer.extend_from_slice(self.line(self.written).as_bytes());
            buffer.push(b'\n');
            self.written += 1;
            self.since_rotation += 1;
            if buffer.len() > 8_000 {
                self.append(&buffer);
                buffer.clear();
            }
        }
        self.append(&buffer);
        self
    }

    /// Appends bytes as they are.
    pub fn append(&mut self, bytes: &[u8]) -> &mut Self {
        self.file.write_all(bytes).expect("the file is writable");
        self
    }

    /// logrotate's default: rename to `NAME.1` (which becomes `NAME.2`, …), and go on in a new file.
    pub fn rotate(&mut self) -> &mut Self {
        for number in (1..=self.rotations).rev() {
            std::fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)).expect("it was made by us");
        }
        self.rotations += 1;
        self.since_rotation = 0;
        std::fs::rename(&self.path, numbered(&self.path, 1)).expect("it was made by us");
        self.file = open(&self.path);
        self
    }

    /// Renames it to `to`, and goes on in a new file.
    pub fn rotate_to(&mut self, to: &Path) -> &mut Self {
        std::fs::rename(&self.path, to).expect("it was made by us");
        self.file = open(&self.path);
        self
    }

    /// logrotate's `copytruncate`: copy to `NAME.1`, then cut the file that the program keeps open.
    pub fn copytruncate(&mut self) -> &mut Self {
        for number in (1..=self.rotations).rev() {
            std::fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)).expect("it was made by us");
        }
        self.rotations += 1;
        self.since_rotation = 0;
        std::fs::copy(&self.path, numbered(&self.path, 1)).expect("it was made by us");
        self.truncate()
    }

    /// Cuts the file to nothing.
    pub fn truncate(&mut self) -> &mut Self {
        self.file.set_len(0).expect("the file is writable");
        self
    }

    /// Goes on in the file that its path leads to now, if that is another; it makes none.
    pub fn reopen_if_replaced(&mut self) {
        let id = |stat: std::fs::Metadata| (stat.dev(), stat.ino());
        let ours = self.file.metadata().map(id).expect("it is open");
        if std::fs::metadata(&self.path).map(id).is_ok_and(|there| there != ours) {
            self.file = open(&self.path);
        }
    }

    /// Unlinks the file; the program goes on writing into what has no name any more.
    pub fn unlink(&mut self) -> &mut Self {
        std::fs::remove_file(&self.path).expect("it was made by us");
        self
    }
}

/// What the writer of a [`during`] does beside writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// [`Writer::rotate`] after each so many lines.
    Rename(u64),
    /// [`Writer::copytruncate`] after each so many lines.
    CopyTruncate(u64),
    /// Somebody else rotates; see [`Writer::reopen_if_replaced`].
    External,
}

/// Keeps writing about `lines_per_second` while `happening` runs, so that it happens under load.
pub fn during<T>(writer: &mut Writer, lines_per_second: u64, rotation: Rotation, happening: impl FnOnce() -> T) -> T {
    const SLICE: Duration = Duration::from_millis(10);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                writer.write((lines_per_second / 100).max(1));
                match rotation {
                    Rotation::Rename(every) if writer.since_rotation >= every => _ = writer.rotate(),
                    Rotation::CopyTruncate(every) if writer.since_rotation >= every => _ = writer.copytruncate(),
                    Rotation::External => writer.reopen_if_replaced(),
                    Rotation::Rename(_) | Rotation::CopyTruncate(_) => {}
                }
                // The pace of the load; nobody relies on it.
                std::thread::sleep(SLICE);
            }
        });
        // Also when it panics: else the writer would write on for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(happening));
        stop.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn open(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
