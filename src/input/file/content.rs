//! The bytes of a file at any offset: as they are, or decompressed (`.gz`, `.zst`), with offsets of what was compressed.
//!
//! Rotation may compress a file before it was read to its end. Its rest is then read from the compressed file, as if nothing
//! had happened: same offsets, same checks. A decoder only goes forward, so what was decoded last is kept ([`KEPT_BYTES`]),
//! and going back further starts over. No read decodes without end: after [`STEP_BYTES`] it says "not yet" (`WouldBlock`),
//! and goes on from there the next time.
//!
//! Refused: zstd windows over 8 MiB (`--long`, `--ultra`), since a stranger's file must not take what memory it likes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::identity::{FINGERPRINT_BYTES, ReadAt, Stat, open, read_at};

/// Decoded bytes that are kept to go back to.
const KEPT_BYTES: usize = 1 << 20;
/// Bytes that one read decodes at most before it says "not yet".
const STEP_BYTES: u64 = 16 << 20;
const CHUNK_BYTES: usize = 64 << 10;
/// log2 of the largest zstd window.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The bytes of a file.
#[derive(Debug)]
pub enum Content {
    Plain(File),
    Packed(Packed),
}

/// A compressed file.
pub struct Packed {
    /// A handle of its own, since decoders move its position.
    file: File,
    state: Mutex<State>,
}

struct State {
    kind: Kind,
    decoder: Box<dyn Read + Send>,
    /// The first bytes, for fingerprints.
    head: Vec<u8>,
    /// The last bytes before `at`.
    kept: Vec<u8>,
    /// Bytes decoded.
    at: u64,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gzip,
    Zstd,
}

impl Kind {
    /// By the first bytes.
    fn of(file: &File) -> io::Result<Option<Kind>> {
        let mut magic = [0; 4];
        let read = read_at(file, &mut magic, 0)?;
        Ok(match magic[..read] {
            [0x1f, 0x8b, ..] => Some(Kind::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Kind::Zstd),
            _ => None,
        })
    }

    fn decoder(self, mut file: File) -> io::Result<Box<dyn Read + Send>> {
        file.seek(SeekFrom::Start(0))?;
        Ok(match self {
            Kind::Gzip => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(CHUNK_BYTES, file))),
            Kind::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// Whether a file's bytes are compressed, whatever its name is.
pub fn is_packed(file: &File) -> bool {
    Kind::of(file).is_ok_and(|kind| kind.is_some())
}

impl Content {
    /// The decompressed bytes of the file at `path`; `None` if they are not compressed.
    pub fn unpacked(path: &Path) -> io::Result<Option<Content>> {
        let file = open(path)?;
        let Some(kind) = Kind::of(&file)? else { return Ok(None) };
        let state = State {
            kind,
            decoder: kind.decoder(file.try_clone()?)?,
            head: Vec::new(),
            kept: Vec::new(),
            at: 0,
            has_ended: false,
        };
        Ok(Some(Content::Packed(Packed { file, state: Mutex::new(state) })))
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        match self {
            Content::Plain(file) => file,
            Content::Packed(packed) => &packed.file,
        }
    }

    /// What the system says of it. The size of a compressed one is what was decoded, and all that can be once it ends.
    pub fn stat(&self) -> io::Result<Stat> {
        let stat = Stat::of_file(self.file())?;
        Ok(match self {
            Content::Plain(_) => stat,
            Content::Packed(packed) => Stat { size: packed.lock().at, ..stat },
        })
    }

    /// Decodes up to `offset`, however long that takes.
    pub fn decode_to(&self, offset: u64) -> io::Result<()> {
        if let Content::Packed(packed) = self {
            let mut state = packed.lock();
            while state.at < offset && !state.has_ended {
                state.decode()?;
            }
        }
        Ok(())
    }
}

impl ReadAt for Content {
    /// As `pread`, but that a compressed file may say `WouldBlock`.
    fn read_some_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Content::Plain(file) => file.read_some_at(buf, offset),
            Content::Packed(packed) => packed.lock().read_at(&packed.file, buf, offset),
        }
    }
}

impl Packed {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read_at(&mut self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let copy = |from: &[u8], start: u64, buf: &mut [u8]| {
            let from = &from[usize::try_from(offset - start).expect("within what is kept")..];
            let count = from.len().min(buf.len());
            buf[..count].copy_from_slice(&from[..count]);
            count
        };
        if offset < self.head.len() as u64 && buf.len() as u64 + offset <= self.head.len() as u64 {
            return Ok(copy(&self.head, 0, buf));
        }
        if offset + (self.kept.len() as u64) < self.at {
            self.decoder = self.kind.decoder(file.try_clone()?)?;
            (self.at, self.has_ended) = (0, false);
            self.kept.clear();
        }
        let mut decoded = 0;
        while self.at <= offset && !self.has_ended {
            if decoded >= STEP_BYTES {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            decoded += self.decode()?;
        }
        if offset >= self.at {
            return Ok(0);
        }
        Ok(copy(&self.kept, self.at - self.kept.len() as u64, buf))
    }

    /// Decodes a chunk more.
    fn decode(&mut self) -> io::Result<u64> {
        let old = self.kept.len();
        if old + CHUNK_BYTES > 2 * KEPT_BYTES {
            self.kept.drain(..old - KEPT_BYTES);
        }
        let old = self.kept.len();
        self.kept.resize(old + CHUNK_BYTES, 0);
        let got = loop {
            match self.decoder.read(&mut self.kept[old..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.kept.truncate(old + got.as_ref().map_or(0, |got| *got));
        let got = got?;
        self.has_ended = got == 0;
        if self.head.len() < FINGERPRINT_BYTES && self.at == self.head.len() as u64 {
            let more = &self.kept[old..];
            self.head.extend_from_slice(&more[..more.len().min(FINGERPRINT_BYTES - self.head.len())]);
        }
        self.at += got as u64;
        Ok(got as u64)
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("file", &self.file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn text() -> Vec<u8> {
        (0..400_000u32).flat_map(|n| format!("line {n} {}\n", n.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn packed(bytes: &[u8]) -> Content {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("writable");
        Content::unpacked(file.path()).expect("readable").expect("compressed")
    }

    fn read(content: &Content, offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match content.read_some_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        buf.truncate(filled);
        buf
    }

    #[test]
    fn any_offset_can_be_read_and_read_again() {
        let text = text();
        let (first, second) = text.split_at(1_000_000);
        // As `cat a.gz b.gz` and pigz make them: several members, one file.
        let members = [gzip(first), gzip(second)].concat();
        let frames = [first, second].map(|part| zstd::encode_all(part, 1).expect("memory")).concat();
        for bytes in [members, frames] {
            let content = packed(&bytes);
            for offset in [0, 999_990, 7, 3_000_000, 2_999_000, 1_500_000, text.len() - 5, 100, text.len() - 100] {
                let expect = &text[offset..(offset + 5_000).min(text.len())];
                assert_eq!(read(&content, offset as u64, 5_000), expect, "{offset}");
            }
            assert!(read(&content, text.len() as u64, 10).is_empty());
            assert_eq!(content.stat().expect("open").size, text.len() as u64);
        }
    }

    #[test]
    fn what_is_not_whole_is_an_error_and_no_end() {
        let whole = gzip(&text());
        let cut = packed(&whole[..whole.len() / 2]);
        assert!(cut.decode_to(u64::MAX).is_err());
        let mut wide = zstd::stream::Encoder::new(Vec::new(), 1).expect("memory");
        wide.window_log(27).expect("allowed");
        wide.write_all(&text()).expect("memory");
        let wide = packed(&wide.finish().expect("memory"));
        assert!(wide.decode_to(1).is_err(), "a window of 128 MiB");
    }

    #[test]
    fn plain_bytes_are_not_taken_for_compressed_ones() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"\x1f plain").expect("writable");
        assert!(Content::unpacked(file.path()).expect("readable").is_none());
        assert!(!is_packed(file.as_file()));
    }
}
