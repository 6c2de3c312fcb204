//! What tells files apart: statx, the fingerprint of the first bytes, the hash before an offset (I8).
//!
//! Names are never looked at here. Reads are positional (`pread`): several may look at one descriptor. What is compared
//! is always taken from the descriptor that will be read, not from a name that may lead elsewhere a moment later.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::batch::Position;
use crate::checkpoint::{Fingerprint, Identity};

/// Bytes before an offset that [`Position::check`] covers.
pub const CHECK_BYTES: usize = 256;
/// Bytes that a fingerprint covers at most.
pub const FINGERPRINT_BYTES: usize = 1024;

/// What the system says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub device: u64,
    pub inode: u64,
    pub born_ns: Option<i64>,
    pub size: u64,
    pub modified_ns: i64,
    /// Names it has; 0: unlinked.
    pub links: u32,
    pub is_file: bool,
}

impl Stat {
    /// Of what a path leads to, links followed.
    pub fn of_path(path: &Path) -> io::Result<Stat> {
        Ok(Stat::from(&rustix::fs::statx(CWD, path, AtFlags::empty(), WANTED)?))
    }

    /// Of an open file.
    pub fn of_file(file: &File) -> io::Result<Stat> {
        Ok(Stat::from(&rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, WANTED)?))
    }

    /// Whether both are the same file, as far as the system says. Without birth times the content must decide.
    pub fn is_same_file(&self, other: &Stat) -> bool {
        (self.device, self.inode, self.born_ns) == (other.device, other.inode, other.born_ns)
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

impl From<&Statx> for Stat {
    fn from(raw: &Statx) -> Stat {
        let nanoseconds = |at: &rustix::fs::StatxTimestamp| {
            at.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(at.tv_nsec))
        };
        let born = raw.stx_mask & StatxFlags::BTIME.bits() != 0 && raw.stx_btime.tv_sec != 0;
        Stat {
            device: rustix::fs::makedev(raw.stx_dev_major, raw.stx_dev_minor),
            inode: raw.stx_ino,
            born_ns: born.then(|| nanoseconds(&raw.stx_btime)),
            size: raw.stx_size,
            modified_ns: nanoseconds(&raw.stx_mtime),
            links: raw.stx_nlink,
            is_file: FileType::from_raw_mode(raw.stx_mode.into()) == FileType::RegularFile,
        }
    }
}

/// Nanoseconds since the epoch.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The same by the clock that stamps births: it stands still for up to 10 ms, and a file born from now on is never stamped
/// before it.
pub fn birth_clock_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// Opens a file for reading, never waiting (a FIFO that took the name meanwhile would block).
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY).open(path)
}

/// Bytes that can be read at any offset.
pub trait ReadAt {
    /// Reads at `offset` into `buf`, as `pread`: how much; 0 at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_some_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_some_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buf, offset)
    }
}

/// Reads at `offset` until `buf` is full or the file ends. How much was read.
pub fn read_at(file: &impl ReadAt, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_some_at(&mut buf[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The hash in [`Position::check`]: of the up to [`CHECK_BYTES`] bytes before an offset; 0 at offset 0.
pub fn check_of(before: &[u8]) -> u64 {
    if before.is_empty() { 0 } else { xxh3_64(&before[before.len().saturating_sub(CHECK_BYTES)..]) }
}

/// The position at `offset`. `None` if the file is shorter.
pub fn position_at(file: &impl ReadAt, offset: u64) -> io::Result<Option<Position>> {
    let mut before = [0; CHECK_BYTES];
    let before = &mut before[..usize::try_from(offset).map_or(CHECK_BYTES, |offset| offset.min(CHECK_BYTES))];
    let read = read_at(file, before, offset - before.len() as u64)?;
    Ok((read == before.len()).then(|| Position { offset, check: check_of(before) }))
}

/// Whether the bytes before `position` are in this file where they should be.
pub fn holds(file: &impl ReadAt, position: Position) -> io::Result<bool> {
    Ok(position_at(file, position.offset)? == Some(position))
}

/// The first bytes of a file, as many as a fingerprint covers.
pub struct Prefix {
    bytes: [u8; FINGERPRINT_BYTES],
    len: usize,
}

impl Prefix {
    pub fn read(file: &impl ReadAt) -> io::Result<Prefix> {
        let mut bytes = [0; FINGERPRINT_BYTES];
        let len = read_at(file, &mut bytes, 0)?;
        Ok(Prefix { bytes, len })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether these bytes begin with those the fingerprint was taken of.
    pub fn matches(&self, fingerprint: Fingerprint) -> bool {
        let bytes = self.bytes().get(..usize::from(fingerprint.len));
        bytes.is_some_and(|bytes| bytes.is_empty() || xxh3_64(bytes) == fingerprint.hash)
    }

    /// The fingerprint of all of them.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(self.bytes())
    }

    /// The hash of the first line: what identifies a file without a birth time. `None` until it is complete (or longer than a
    /// fingerprint covers).
    pub fn first_line(&self) -> Option<u64> {
        match memchr::memchr(b'\n', self.bytes()) {
            Some(end) => Some(xxh3_64(&self.bytes[..=end])),
            None => (self.len == FINGERPRINT_BYTES).then(|| xxh3_64(self.bytes())),
        }
    }
}

/// The fingerprint of a file that begins with `bytes`.
pub fn fingerprint_of(bytes: &[u8]) -> Fingerprint {
    let bytes = &bytes[..bytes.len().min(FINGERPRINT_BYTES)];
    let len = u16::try_from(bytes.len()).expect("at most 1024");
    Fingerprint { len, hash: if bytes.is_empty() { 0 } else { xxh3_64(bytes) } }
}

/// Whether the first `len` bytes of two files are equal, judged by up to 16 samples spread over them and their ends: a copy
/// of gigabytes is not read for it.
pub fn looks_like_prefix(one: &impl ReadAt, other: &impl ReadAt, len: u64) -> io::Result<bool> {
    const SAMPLES: u64 = 16;
    let (mut left, mut right) = ([0; FINGERPRINT_BYTES], [0; FINGERPRINT_BYTES]);
    let span = len.saturating_sub(FINGERPRINT_BYTES as u64);
    for sample in 0..SAMPLES {
        let offset = span / (SAMPLES - 1) * sample + span % (SAMPLES - 1) * sample / (SAMPLES - 1);
        let want = usize::try_from(len - offset).map_or(FINGERPRINT_BYTES, |left| left.min(FINGERPRINT_BYTES));
        let read = read_at(one, &mut left[..want], offset)?;
        if read < want || read_at(other, &mut right[..want], offset)? < want || left[..want] != right[..want] {
            return Ok(false);
        }
        if span == 0 {
            break;
        }
    }
    Ok(true)
}

/// `log.file.id` as a number: identity and generation, without the device (a hint).
pub fn file_id(identity: &Identity) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&identity.inode.to_le_bytes());
    match (identity.born_ns, identity.first_line) {
        (Some(born), _) => {
            hash.update(b"born");
            hash.update(&born.to_le_bytes());
        }
        (None, first_line) => {
            hash.update(b"line");
            hash.update(&first_line.unwrap_or(0).to_le_bytes());
        }
    }
    hash.update(&identity.generation.to_le_bytes());
    hash.digest()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(content).expect("writable");
        file
    }

    #[test]
    fn a_fingerprint_holds_while_the_file_grows() {
        let mut grown = file(b"one\n");
        let small = Prefix::read(&grown).expect("readable").fingerprint();
        assert_eq!(small.len, 4);
        grown.write_all(&[b'x'; 5000]).expect("writable");
        let prefix = Prefix::read(&grown).expect("readable");
        assert!(prefix.matches(small) && prefix.matches(Fingerprint::default()));
        assert_eq!(prefix.fingerprint().len, 1024);
        assert!(!Prefix::read(&file(b"two\nxxxx")).expect("readable").matches(small));
        assert!(!Prefix::read(&file(b"on")).expect("readable").matches(small), "shorter is not the same");
    }

    #[test]
    fn the_bytes_before_an_offset_are_checked() {
        let content: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
        let good = file(&content);
        for offset in [0, 1, 255, 256, 257, 1000] {
            let position = position_at(&good, offset).expect("readable").expect("long enough");
            let end = usize::try_from(offset).expect("small");
            assert_eq!(position.check, check_of(&content[..end]), "{offset}");
            assert!(holds(&good, position).expect("readable"));
            if offset > 0 {
                let mut other = content.clone();
                other[end - 1] ^= 1;
                assert!(!holds(&file(&other), position).expect("readable"), "{offset}");
                assert!(!holds(&file(&content[..end - 1]), position).expect("readable"), "{offset}");
            }
        }
        assert_eq!(position_at(&good, 1001).expect("readable"), None);
    }

    #[test]
    fn a_copy_looks_like_its_original() {
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let original = file(&content);
        for len in [0usize, 1, 1023, 1024, 1025, 4096, 399_999] {
            let copy = file(&content[..len]);
            assert!(looks_like_prefix(&original, &copy, len as u64).expect("readable"), "{len}");
            if len > 0 {
                let mut bad = content[..len].to_vec();
                bad[len - 1] ^= 1;
                assert!(!looks_like_prefix(&original, &file(&bad), len as u64).expect("readable"), "{len}");
            }
        }
    }

    #[test]
    fn a_file_is_itself_by_stat() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        std::fs::write(&a, "x").expect("writable");
        let before = Stat::of_path(&a).expect("it is there");
        std::fs::rename(&a, &b).expect("writable");
        std::fs::write(&a, "x").expect("writable");
        assert!(before.is_same_file(&Stat::of_path(&b).expect("it is there")));
        assert!(!before.is_same_file(&Stat::of_path(&a).expect("it is there")));
        let held = open(&b).expect("readable");
        std::fs::remove_file(&b).expect("writable");
        let after = Stat::of_file(&held).expect("held");
        assert!(before.is_same_file(&after) && after.links == 0 && after.is_file);
    }

    #[test]
    fn ids_differ_by_generation_and_birth_and_not_by_device() {
        let one = Identity { device: 1, inode: 2, born_ns: Some(3), first_line: None, generation: 0 };
        assert_eq!(file_id(&one), file_id(&Identity { device: 9, ..one }));
        for other in [
            Identity { generation: 1, ..one },
            Identity { inode: 3, ..one },
            Identity { born_ns: Some(4), ..one },
            Identity { born_ns: None, first_line: Some(3), ..one },
        ] {
            assert_ne!(file_id(&one), file_id(&other), "{other:?}");
        }
    }
}
