//! What is kept of a source, and its bytes in the store (P).
//!
//! ```text
//! offset  size  what (numbers are little endian)
//!      0     1  layout version, 2 (1 has no size when unlinked)
//!      1     1  flags: 1 urgent · 2 finished · 4 copy · 8 birth time known · 16 first line known
//!      2     2  fingerprint: bytes covered, at most 1024
//!      4     4  truncation generation
//!      8     8  device number (a hint)
//!     16     8  inode number
//!     24     8  birth time, ns since the epoch
//!     32     8  xxh3 of the first line
//!     40     8  fingerprint: xxh3 of the bytes covered
//!     48     8  log.file.id
//!     56    16  where reading began: offset, check
//!     72     8  registered at, ns since the epoch
//!     80     8  gone since, ns since the epoch; 0: it is there
//!     88     8  the source it is a copy of, if it is a copy
//!     96     8  its size when it was last seen without a name; 0: it had one
//!    104     .  three times (length u32, bytes): input name, first path, path last seen at
//! ```
//! Fields are only ever added at the end, under a new version; a version from the future is refused by name.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{Position, SourceKey};

const VERSION: u8 = 2;
const FIXED_BYTES: usize = 104;
const FIXED_BYTES_1: usize = 96;
const URGENT: u8 = 1;
const FINISHED: u8 = 2;
const COPY: u8 = 4;
const BORN: u8 = 8;
const FIRST_LINE: u8 = 16;

/// What makes a file itself, whatever it is called (I8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// A hint: it may change at a reboot.
    pub device: u64,
    pub inode: u64,
    /// Birth time in nanoseconds since the epoch, where the filesystem keeps one.
    pub born_ns: Option<i64>,
    /// xxh3 of the first line; only without a birth time.
    pub first_line: Option<u64>,
    /// How often the file was truncated under our eyes.
    pub generation: u32,
}

/// The first bytes of a file, hashed: grows with the file up to 1 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Bytes covered, at most 1024. 0: nothing is known of the content.
    pub len: u16,
    /// xxh3 of them.
    pub hash: u64,
}

/// What is kept of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The input's name. Shared by all of its files, as paths are by who knows the file: there are tens of thousands.
    pub input: Arc<str>,
    /// The path it was first found under; stays for life, so that its key and partition do.
    pub path: Arc<Path>,
    /// The path it was last seen at.
    pub at: Arc<Path>,
    pub identity: Identity,
    pub fingerprint: Fingerprint,
    /// `log.file.id`.
    pub file_id: u64,
    /// Where reading began: an output without a position of its own begins here.
    pub start: Position,
    /// Truncated once: its bytes may vanish any time.
    pub urgent: bool,
    /// Read to its end for ever, and settled.
    pub finished: bool,
    /// A copy of that source's bytes (copytruncate): never read for itself.
    pub copy_of: Option<SourceKey>,
    /// When it was registered, nanoseconds since the epoch, by the filesystem's clock.
    pub registered_ns: i64,
    /// Since when it can't be found; 0: it is there.
    pub gone_ns: i64,
    /// Its size when it was last seen open and without a name: what dies with the process. 0: it had one.
    pub unlinked_bytes: u64,
}

impl Default for Entry {
    fn default() -> Entry {
        let nowhere: Arc<Path> = Arc::from(Path::new(""));
        Entry {
            input: Arc::default(),
            path: Arc::clone(&nowhere),
            at: nowhere,
            identity: Identity::default(),
            fingerprint: Fingerprint::default(),
            file_id: 0,
            start: Position::default(),
            urgent: false,
            finished: false,
            copy_of: None,
            registered_ns: 0,
            gone_ns: 0,
            unlinked_bytes: 0,
        }
    }
}

impl Entry {
    /// A path to be kept beside this entry: its own, if it is one of them.
    pub fn share(&self, path: &Path) -> Arc<Path> {
        let own = [&self.at, &self.path].into_iter().find(|own| own.as_os_str() == path.as_os_str());
        own.map_or_else(|| Arc::from(path), Arc::clone)
    }

    /// The bytes kept in the store.
    pub fn encode(&self) -> Vec<u8> {
        let identity = &self.identity;
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let mut out = Vec::with_capacity(FIXED_BYTES + 12 + self.input.len() + 2 * self.path.as_os_str().len());
        out.push(VERSION);
        out.push(
            flag(self.urgent, URGENT)
                | flag(self.finished, FINISHED)
                | flag(self.copy_of.is_some(), COPY)
                | flag(identity.born_ns.is_some(), BORN)
                | flag(identity.first_line.is_some(), FIRST_LINE),
        );
        out.extend(self.fingerprint.len.to_le_bytes());
        out.extend(identity.generation.to_le_bytes());
        out.extend(identity.device.to_le_bytes());
        out.extend(identity.inode.to_le_bytes());
        out.extend(identity.born_ns.unwrap_or(0).to_le_bytes());
        out.extend(identity.first_line.unwrap_or(0).to_le_bytes());
        out.extend(self.fingerprint.hash.to_le_bytes());
        out.extend(self.file_id.to_le_bytes());
        out.extend(self.start.offset.to_le_bytes());
        out.extend(self.start.check.to_le_bytes());
        out.extend(self.registered_ns.to_le_bytes());
        out.extend(self.gone_ns.to_le_bytes());
        out.extend(self.copy_of.map_or(0, |key| key.0).to_le_bytes());
        out.extend(self.unlinked_bytes.to_le_bytes());
        for text in [OsStr::new(&*self.input), self.path.as_os_str(), self.at.as_os_str()] {
            let len = u32::try_from(text.len()).expect("a name is shorter than 4 GiB");
            out.extend(len.to_le_bytes());
            out.extend(text.as_bytes());
        }
        out
    }

    /// Reads what [`Entry::encode`] wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Entry, String> {
        let fixed_bytes = match bytes.first() {
            Some(&VERSION) => FIXED_BYTES,
            Some(1) => FIXED_BYTES_1,
            Some(version) => return Err(format!("layout version {version}, this agent knows {VERSION}")),
            None => return Err("no bytes".to_owned()),
        };
        let short = || format!("{} bytes are too few", bytes.len());
        let (fixed, mut rest) = bytes.split_at_checked(fixed_bytes).ok_or_else(short)?;
        let eight = |at: usize| u64::from_le_bytes(fixed[at..at + 8].try_into().expect("8 bytes of the fixed part"));
        let flags = fixed[1];
        let mut text = || {
            let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            let (text, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(short)?;
            rest = tail;
            Ok::<_, String>(text.to_vec())
        };
        let input = String::from_utf8(text()?).map_err(|_| "the input's name is not UTF-8".to_owned())?;
        let path: Arc<Path> = PathBuf::from(std::ffi::OsString::from_vec(text()?)).into();
        let at = PathBuf::from(std::ffi::OsString::from_vec(text()?));
        let at = if at.as_os_str() == path.as_os_str() { Arc::clone(&path) } else { at.into() };
        Ok(Entry {
            input: input.into(),
            path,
            at,
            identity: Identity {
                device: eight(8),
                inode: eight(16),
                born_ns: (flags & BORN != 0).then(|| eight(24).cast_signed()),
                first_line: (flags & FIRST_LINE != 0).then(|| eight(32)),
                generation: u32::from_le_bytes(fixed[4..8].try_into().expect("4 bytes of the fixed part")),
            },
            fingerprint: Fingerprint { len: u16::from_le_bytes([fixed[2], fixed[3]]), hash: eight(40) },
            file_id: eight(48),
            start: Position { offset: eight(56), check: eight(64) },
            urgent: flags & URGENT != 0,
            finished: flags & FINISHED != 0,
            copy_of: (flags & COPY != 0).then(|| SourceKey(eight(88))),
            registered_ns: eight(72).cast_signed(),
            gone_ns: eight(80).cast_signed(),
            unlinked_bytes: if fixed_bytes > FIXED_BYTES_1 { eight(96) } else { 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> Entry {
        Entry {
            input: "nginx".into(),
            path: Path::new("/var/log/a.log").into(),
            at: Path::new("/var/log/a.log.1").into(),
            identity: Identity { device: 3, inode: 77, born_ns: Some(-5), first_line: None, generation: 2 },
            fingerprint: Fingerprint { len: 1024, hash: 9 },
            file_id: 10,
            start: Position { offset: 11, check: 12 },
            urgent: true,
            finished: false,
            copy_of: Some(SourceKey(6)),
            registered_ns: 13,
            gone_ns: 14,
            unlinked_bytes: 15,
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        let one = entry();
        let other = Entry {
            identity: Identity { born_ns: None, first_line: Some(8), ..one.identity },
            path: Path::new(OsStr::from_bytes(b"/log/\xff")).into(),
            finished: true,
            ..one.clone()
        };
        for entry in [one, other, Entry::default()] {
            assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }
    }

    #[test]
    fn a_version_from_the_future_is_refused() {
        let mut bytes = entry().encode();
        bytes[0] = 3;
        assert_eq!(Entry::decode(&bytes), Err("layout version 3, this agent knows 2".to_owned()));
    }

    #[test]
    fn the_version_before_is_read() {
        let mut bytes = entry().encode();
        bytes[0] = 1;
        bytes.drain(FIXED_BYTES_1..FIXED_BYTES);
        assert_eq!(Entry::decode(&bytes), Ok(Entry { unlinked_bytes: 0, ..entry() }));
    }

    proptest! {
        /// Scenario: any bytes, any cut of good bytes. Guarantee: an error, never a panic.
        #[test]
        fn bad_bytes_are_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..120) {
            drop(Entry::decode(&bytes));
            let good = entry().encode();
            let cut = cut.min(good.len() - 1);
            prop_assert!(Entry::decode(&good[..cut]).is_err());
        }
    }
}
