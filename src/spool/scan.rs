//! Walking through a segment: buffered reads, one frame after the other, and over what is damaged to the next frame.
//!
//! An I/O error is handed on as such and never taken for damage. What damage means is the caller's to say.

use std::io;
use std::path::Path;

use super::frame::{self, Fault, HEAD_BYTES, HEAD_BYTES_MAX, Head, MAGIC, Prologue, Seat};
use crate::disk::{Disk, DiskFile};

/// A read while frames follow each other.
const READ_BYTES: usize = 256 << 10;
/// A read after a jump over a body that nobody wants: the next head, likely to be followed by another jump.
const PEEK_BYTES: usize = 4 << 10;

/// A segment opened for reading, and the part of it that is in memory.
pub(super) struct Segment {
    pub number: u64,
    file: Box<dyn DiskFile>,
    buf: Vec<u8>,
    /// Where in the file `buf` begins.
    start: u64,
}

/// What is at a place of a segment.
pub(super) enum Found<'a> {
    Frame(Head<'a>),
    /// No frame: so many bytes on is the next one, or the end.
    Damage {
        bytes: u64,
    },
}

impl Segment {
    pub fn open(disk: &dyn Disk, path: &Path, number: u64) -> io::Result<Self> {
        Ok(Self { number, file: disk.open(path)?, buf: Vec::new(), start: 0 })
    }

    /// The length now, in bytes.
    pub fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    /// The bytes from `offset` on, `len` or as many as there are.
    pub fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let buf_end = self.start + self.buf.len() as u64;
        if offset < self.start || offset + len as u64 > buf_end {
            let jumped = offset > buf_end;
            self.fill(offset, len.max(if jumped { PEEK_BYTES } else { READ_BYTES }))?;
        }
        let from = usize::try_from(offset - self.start).expect("within the buffer").min(self.buf.len());
        let until = (from + len).min(self.buf.len());
        Ok(&self.buf[from..until])
    }

    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        // Not to be zeroed again each time: it is as long as the longest read so far.
        let mut buf = std::mem::take(&mut self.buf);
        self.start = offset;
        buf.resize(len, 0);
        let count = self.file.read(offset, &mut buf)?;
        buf.truncate(count);
        self.buf = buf;
        Ok(())
    }

    /// What is at `offset`. `end`: where the part of the segment that counts ends.
    pub fn at(&mut self, offset: u64, end: u64) -> io::Result<Found<'_>> {
        let bytes_left = end.saturating_sub(offset);
        if self.head_len(offset, bytes_left)?.is_none() {
            return Ok(Found::Damage { bytes: self.damage(offset, end)? });
        }
        let seat = Seat { segment: self.number, offset };
        let bytes = self.bytes(offset, clamp(bytes_left, HEAD_BYTES_MAX))?;
        let head = frame::parse_head(bytes, seat).expect("it was read a moment ago");
        Ok(Found::Frame(head))
    }

    /// The head of the frame at `offset`, if there is one and it ends before the end. Only its length: what borrows from the
    /// buffer can't be kept while more is read.
    fn head_len(&mut self, offset: u64, bytes_left: u64) -> io::Result<Option<u64>> {
        let seat = Seat { segment: self.number, offset };
        // Most heads are short, and most of a window is in memory.
        let mut len = HEAD_BYTES + 256;
        loop {
            let wanted = clamp(bytes_left, len);
            match frame::parse_head(self.bytes(offset, wanted)?, seat) {
                Ok(head) if head.frame_bytes() <= bytes_left => return Ok(Some(head.frame_bytes())),
                Err(Fault::Short { needed }) if needed > len && needed as u64 <= bytes_left => len = needed,
                _ => return Ok(None),
            }
        }
    }

    /// How far it is from `offset`, where no frame is, to the next one or the end.
    fn damage(&mut self, offset: u64, end: u64) -> io::Result<u64> {
        let mut at = offset + 1;
        while at < end {
            let wanted = clamp(end - at, READ_BYTES);
            let bytes = self.bytes(at, wanted)?;
            let len = bytes.len();
            if len < MAGIC.len() {
                break;
            }
            match memchr::memmem::find(bytes, &MAGIC) {
                None => at += (len - MAGIC.len() + 1) as u64,
                Some(found) => {
                    at += found as u64;
                    if self.head_len(at, end - at)?.is_some() {
                        return Ok(at - offset);
                    }
                    at += 1;
                }
            }
        }
        Ok(end - offset)
    }

    /// The body of the frame whose head stands at `offset`. It may be shorter than the head says, if the file is.
    pub fn body(&mut self, offset: u64, head_bytes: u32, body_bytes: u32) -> io::Result<Vec<u8>> {
        let (from, len) = (offset + u64::from(head_bytes), body_bytes as usize);
        if len <= READ_BYTES {
            return Ok(self.bytes(from, len)?.to_vec());
        }
        // A long one is read where it is to stay; what of it is in the buffer already is copied.
        let mut body = vec![0; len];
        let buf_end = self.start + self.buf.len() as u64;
        let buffered = if (self.start..buf_end).contains(&from) {
            let part = &self.buf[usize::try_from(from - self.start).expect("within the buffer")..];
            let count = part.len().min(len);
            body[..count].copy_from_slice(&part[..count]);
            count
        } else {
            0
        };
        let count = self.file.read(from + buffered as u64, &mut body[buffered..])?;
        body.truncate(buffered + count);
        // Long frames follow each other, and are read where they stay: of the next one, too, only the head is wanted.
        self.start = 0;
        self.buf.clear();
        Ok(body)
    }
}

/// Where the first frame stands, or would if the beginning were not damaged.
pub(super) fn first_frame(segment: &mut Segment) -> io::Result<u64> {
    match frame::parse_prologue(segment.bytes(0, frame::PROLOGUE_BYTES)?) {
        Prologue::Version(_) => Ok(frame::PROLOGUE_BYTES as u64),
        Prologue::Damaged => Ok(0),
    }
}

fn clamp(bytes: u64, max: usize) -> usize {
    usize::try_from(bytes).unwrap_or(max).min(max)
}
