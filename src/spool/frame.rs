//! The bytes of a segment: its prologue, its frames and what is in them. Drawn in [`super`].
//!
//! Decoding is total: any bytes give a value or a [`Fault`], and take memory in proportion to their own length. No files
//! here, and no judgement: whether a fault is a torn tail or damage is recovery's to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Content, NewFrame};
use crate::batch::{FAILED_HEADER, Header, LaneKey, NONE, Position, Record, SourceKey};

/// No log comes to an id as high as this, nor to one that overflows when others are counted from it.
pub const ID_MAX: u64 = u64::MAX >> 1;

/// The format that this agent writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Length of a segment's prologue.
pub const PROLOGUE_BYTES: usize = 16;
/// What a frame begins with. The outer bytes are in no UTF-8 text, so a search for it is not led astray by log lines.
pub const MAGIC: [u8; 4] = [0xF5, b'L', b'F', 0xFA];
/// The longest body, in bytes.
pub const BODY_BYTES_MAX: u64 = 1 << 30;

const FILE_MAGIC: [u8; 8] = *b"LFSPOOL\n";
/// The part of the head that all kinds have.
pub const HEAD_BYTES: usize = 24;
/// The head of a records frame, without its topic.
const RECORDS_HEAD_BYTES: usize = 76;
/// What a record costs beside its key, value and headers.
const RECORD_HEAD_BYTES: usize = 28;
const HEADER_HEAD_BYTES: usize = 6;
/// The longest head.
pub const HEAD_BYTES_MAX: usize = RECORDS_HEAD_BYTES + TOPIC_BYTES_MAX;
/// Kafka allows 249 bytes.
const TOPIC_BYTES_MAX: usize = 1024;

const RECORDS: u8 = 1;
const CURSORS: u8 = 2;
const PARTITIONS: u8 = 3;

/// Where a frame stands. It is part of the checksum: a copy of a frame elsewhere (in a log line, in a block that was used
/// before) is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub segment: u64,
    pub offset: u64,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They end too early; so many are needed, at least.
    #[error("the bytes end within the frame, which needs {needed}")]
    Short { needed: usize },
    /// They are not what was written.
    #[error("{0}")]
    Damaged(&'static str),
}

/// What a segment's prologue says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prologue {
    /// The version of the format.
    Version(u32),
    /// It can't be read.
    Damaged,
}

/// The prologue of a segment.
pub fn prologue() -> [u8; PROLOGUE_BYTES] {
    let mut bytes = [0; PROLOGUE_BYTES];
    bytes[..8].copy_from_slice(&FILE_MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads the prologue of a segment.
pub fn parse_prologue(bytes: &[u8]) -> Prologue {
    let mut fields = Fields(bytes);
    let (magic, version, crc) = (fields.take(8), fields.u32(), fields.u32());
    match (magic, version, crc) {
        (Ok(magic), Ok(version), Ok(crc)) if magic == FILE_MAGIC && crc32c::crc32c(&bytes[..12]) == crc => {
            Prologue::Version(version)
        }
        _ => Prologue::Damaged,
    }
}

/// What kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Records,
    Cursors,
    Partitions,
}

/// The checked head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub kind: Kind,
    pub head_bytes: u32,
    pub body_bytes: u32,
    pub body_crc: u32,
    /// All of the segment below this offset had been fsynced when the frame was written.
    pub proven: u32,
    /// Of a records frame.
    pub records: Option<RecordsHead<'a>>,
}

/// What the head of a records frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsHead<'a> {
    pub id: u64,
    pub source: SourceKey,
    pub resume: Position,
    pub written_ms: u64,
    pub partition: i32,
    pub records: u32,
    pub payload_bytes: u32,
    pub topic: &'a str,
}

impl Head<'_> {
    /// Of head and body.
    pub fn frame_bytes(&self) -> u64 {
        u64::from(self.head_bytes) + u64::from(self.body_bytes)
    }
}

/// What a frame holds.
#[derive(Clone, Debug)]
pub enum Parsed {
    Records { id: u64, lane: LaneKey, source: SourceKey, resume: Position, written_ms: u64, content: Content },
    Cursors(Cursors),
    Partitions(Vec<(Arc<str>, u32)>),
}

/// Reads the frame that `bytes` begin with, and how many of them it takes.
///
/// # Errors
/// [`Fault::Short`] if they end within it; [`Fault::Damaged`] if they are no frame, or its checksums do not fit.
pub fn parse(bytes: &[u8], seat: Seat) -> Result<(Parsed, usize), Fault> {
    let head = parse_head(bytes, seat)?;
    let needed = head.head_bytes as usize + head.body_bytes as usize;
    let body = bytes.get(head.head_bytes as usize..needed).ok_or(Fault::Short { needed })?;
    check_body(&head, body)?;
    let parsed = match (head.kind, head.records) {
        (Kind::Records, Some(records)) => Parsed::Records {
            id: records.id,
            lane: LaneKey { topic: records.topic.into(), partition: records.partition },
            source: records.source,
            resume: records.resume,
            written_ms: records.written_ms,
            content: decode_records(body.to_vec(), records.records, &mut Names::default())?,
        },
        (Kind::Partitions, _) => Parsed::Partitions(decode_partitions(body)?),
        _ => Parsed::Cursors(decode_cursors(body)?),
    };
    Ok((parsed, needed))
}

/// Reads the head of a frame; its body may be elsewhere.
///
/// # Errors
/// As [`parse`].
pub fn parse_head(bytes: &[u8], seat: Seat) -> Result<Head<'_>, Fault> {
    let mut fields = Fields(bytes);
    let short = Fault::Short { needed: HEAD_BYTES };
    let magic = bytes.get(..MAGIC.len().min(bytes.len())).unwrap_or_default();
    if !MAGIC.starts_with(magic) {
        return Err(Fault::Damaged("no frame begins here"));
    }
    if bytes.len() < HEAD_BYTES {
        return Err(short);
    }
    fields.take(MAGIC.len())?;
    let crc = fields.u32()?;
    let (kind, _flags, head_bytes) = (fields.u8()?, fields.u8()?, fields.u16()?);
    let (body_bytes, body_crc, proven) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let head_len = usize::from(head_bytes);
    if !(HEAD_BYTES..=HEAD_BYTES_MAX).contains(&head_len) || u64::from(body_bytes) > BODY_BYTES_MAX {
        return Err(Fault::Damaged("the lengths of the frame are impossible"));
    }
    let head = bytes.get(..head_len).ok_or(Fault::Short { needed: head_len })?;
    if head_crc(head, seat) != crc {
        return Err(Fault::Damaged("the checksum of the frame's head does not fit"));
    }
    let (kind, records) = match kind {
        RECORDS => (Kind::Records, Some(parse_records_head(head)?)),
        CURSORS => (Kind::Cursors, None),
        PARTITIONS => (Kind::Partitions, None),
        _ => return Err(Fault::Damaged("the kind of the frame is unknown")),
    };
    Ok(Head { kind, head_bytes: u32::from(head_bytes), body_bytes, body_crc, proven, records })
}

fn parse_records_head(head: &[u8]) -> Result<RecordsHead<'_>, Fault> {
    let wrong = Fault::Damaged("the head of the records frame is too short");
    let mut fields = Fields(head.get(HEAD_BYTES..).ok_or(wrong)?);
    let parse = |fields: &mut Fields<'_>| {
        Ok((fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?, fields.u32()?, fields.u32()?))
    };
    let (id, source, offset, check, written_ms, partition, records) = parse(&mut fields).map_err(|_: Fault| wrong)?;
    let payload_bytes = fields.u32().map_err(|_| wrong)?;
    let topic = std::str::from_utf8(fields.0).map_err(|_| Fault::Damaged("the topic's name is no UTF-8"))?;
    if id > ID_MAX {
        return Err(Fault::Damaged("no log has given so many ids"));
    }
    Ok(RecordsHead {
        id,
        source: SourceKey(source),
        resume: Position { offset, check },
        written_ms,
        partition: partition.cast_signed(),
        records,
        payload_bytes,
        topic,
    })
}

/// Whether the body is the one that was written.
///
/// # Errors
/// [`Fault::Damaged`] if not.
pub fn check_body(head: &Head<'_>, body: &[u8]) -> Result<(), Fault> {
    if crc32c::crc32c(body) == head.body_crc {
        return Ok(());
    }
    Err(Fault::Damaged("the checksum of the frame's body does not fit"))
}

fn head_crc(head: &[u8], seat: Seat) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&seat.segment.to_le_bytes());
    place[8..].copy_from_slice(&seat.offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), &head[8..])
}

/// Header names that came already: they are the same few, over and over.
#[derive(Debug, Default)]
pub struct Names(Vec<Arc<str>>);

impl Names {
    const MAX: usize = 64;

    /// The name, shared with earlier ones.
    pub fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| &***known == name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        self.0.push(Arc::clone(&new));
        new
    }
}

/// Reads the records of a body; it becomes the buffer that they are ranges of.
///
/// # Errors
/// [`Fault::Damaged`] if it is not what [`put_records`] writes.
pub fn decode_records(body: Vec<u8>, count: u32, names: &mut Names) -> Result<Content, Fault> {
    const WRONG: Fault = Fault::Damaged("the records of the frame do not fit into it");
    if (body.len() as u64) < u64::from(count) * RECORD_HEAD_BYTES as u64 || body.len() as u64 > BODY_BYTES_MAX {
        return Err(WRONG);
    }
    let (mut records, mut headers) = (Vec::with_capacity(count as usize), Vec::new());
    let mut fields = Fields(&body);
    let at = |fields: &Fields<'_>| u32::try_from(body.len() - fields.0.len()).map_err(|_| WRONG);
    for _ in 0..count {
        let mut head = Fields(fields.take(RECORD_HEAD_BYTES).map_err(|_| WRONG)?);
        let (timestamp_ms, offset) = (head.u64()?.cast_signed(), head.u64()?);
        let (key_len, value_len, headers_len) = (head.u32()?, head.u32()?, head.u32()?);
        let (key_start, key_len) = if key_len == NONE {
            (NONE, 0)
        } else {
            let start = at(&fields)?;
            fields.take(key_len as usize).map_err(|_| WRONG)?;
            (start, key_len)
        };
        let value_start = at(&fields)?;
        fields.take(value_len as usize).map_err(|_| WRONG)?;
        let headers_start = at(&fields)?;
        let block = fields.take(headers_len as usize).map_err(|_| WRONG)?;
        let index = if block.is_empty() {
            NONE
        } else {
            headers.push(decode_headers(block, headers_start, names)?);
            u32::try_from(headers.len() - 1).map_err(|_| WRONG)?
        };
        records.push(Record { value_start, value_len, key_start, key_len, timestamp_ms, headers: index, offset });
    }
    if !fields.0.is_empty() {
        return Err(WRONG);
    }
    Ok(Content { buf: body, records, headers })
}

fn decode_headers(block: &[u8], block_start: u32, names: &mut Names) -> Result<Vec<Header>, Fault> {
    const WRONG: Fault = Fault::Damaged("the headers of a record do not fit into it");
    let mut headers = Vec::new();
    let mut fields = Fields(block);
    while !fields.0.is_empty() {
        let (name_len, value_len) = (fields.u16().map_err(|_| WRONG)?, fields.u32().map_err(|_| WRONG)?);
        let name = std::str::from_utf8(fields.take(name_len.into()).map_err(|_| WRONG)?).map_err(|_| WRONG)?;
        // The one that is never sent is the one with a NUL.
        if name.contains('\0') && name != FAILED_HEADER {
            return Err(WRONG);
        }
        let start = block_start + u32::try_from(block.len() - fields.0.len()).map_err(|_| WRONG)?;
        fields.take(value_len as usize).map_err(|_| WRONG)?;
        headers.push(Header { name: names.get(name), value: start..start + value_len });
    }
    Ok(headers)
}

/// How long the frame of these records will be, in bytes: head and body.
pub fn records_bytes(new: &NewFrame<'_>) -> u64 {
    let record_bytes = |record: &Record| {
        let heads = RECORD_HEAD_BYTES + HEADER_HEAD_BYTES * new.encoded.headers_of(record).len();
        (heads + new.encoded.payload_bytes(record)) as u64
    };
    (RECORDS_HEAD_BYTES + new.lane.topic.len()) as u64 + new.kept().map(record_bytes).sum::<u64>()
}

/// What was written of a records frame.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub records: u32,
    pub frame_bytes: u64,
}

/// Appends a records frame. The caller has checked that it is not over [`BODY_BYTES_MAX`].
pub fn put_records(
    buf: &mut Vec<u8>,
    seat: Seat,
    proven: u32,
    id: u64,
    written_ms: u64,
    new: &NewFrame<'_>,
) -> Written {
    let start = put_head(buf, RECORDS, proven);
    for number in [id, new.source.0, new.resume.offset, new.resume.check, written_ms] {
        buf.extend_from_slice(&number.to_le_bytes());
    }
    buf.extend_from_slice(&new.lane.partition.to_le_bytes());
    let counts_at = buf.len();
    buf.extend_from_slice(&[0; 8]);
    buf.extend_from_slice(new.lane.topic.as_bytes());
    let body_at = buf.len();
    let (mut records, mut payload_bytes) = (0u32, 0usize);
    for record in new.kept() {
        records += 1;
        payload_bytes += put_record(buf, new, record);
    }
    buf[counts_at..counts_at + 4].copy_from_slice(&records.to_le_bytes());
    let payload_bytes = u32::try_from(payload_bytes).expect("a body is at most 1 GiB");
    buf[counts_at + 4..counts_at + 8].copy_from_slice(&payload_bytes.to_le_bytes());
    seal(buf, start, body_at, seat);
    Written { records, frame_bytes: (buf.len() - start) as u64 }
}

/// How much payload it has.
fn put_record(buf: &mut Vec<u8>, new: &NewFrame<'_>, record: &Record) -> usize {
    let encoded = new.encoded;
    let (key, value, headers) = (encoded.key(record), encoded.value(record), encoded.headers_of(record));
    let headers_len: usize = headers.iter().map(|header| HEADER_HEAD_BYTES + header.bytes()).sum();
    buf.extend_from_slice(&record.timestamp_ms.to_le_bytes());
    buf.extend_from_slice(&record.offset.to_le_bytes());
    let key_len = key.map_or(NONE, |key| len_u32(key.len()));
    for len in [key_len, record.value_len, len_u32(headers_len)] {
        buf.extend_from_slice(&len.to_le_bytes());
    }
    buf.extend_from_slice(key.unwrap_or_default());
    buf.extend_from_slice(value);
    for header in headers {
        let name_len = u16::try_from(header.name.len()).expect("a header's name is at most 64 KiB, the config checks");
        buf.extend_from_slice(&name_len.to_le_bytes());
        buf.extend_from_slice(&len_u32(header.value.len()).to_le_bytes());
        buf.extend_from_slice(header.name.as_bytes());
        buf.extend_from_slice(encoded.header_value(header));
    }
    encoded.payload_bytes(record)
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("a body is at most 1 GiB")
}

/// The part of a head that all kinds have, with places for lengths and checksums. Where it starts.
fn put_head(buf: &mut Vec<u8>, kind: u8, proven: u32) -> usize {
    let start = buf.len();
    buf.extend_from_slice(&MAGIC);
    buf.extend_from_slice(&[0; 4]);
    buf.extend_from_slice(&[kind, 0]);
    buf.extend_from_slice(&[0; 10]);
    buf.extend_from_slice(&proven.to_le_bytes());
    start
}

/// Fills in lengths and checksums.
fn seal(buf: &mut [u8], start: usize, body_at: usize, seat: Seat) {
    let head_bytes = u16::try_from(body_at - start).expect("a topic's name is at most 249 bytes");
    let (body_bytes, body_crc) = (len_u32(buf.len() - body_at), crc32c::crc32c(&buf[body_at..]));
    buf[start + 10..start + 12].copy_from_slice(&head_bytes.to_le_bytes());
    buf[start + 12..start + 16].copy_from_slice(&body_bytes.to_le_bytes());
    buf[start + 16..start + 20].copy_from_slice(&body_crc.to_le_bytes());
    reseat(&mut buf[start..body_at], seat);
}

/// Makes the head of a frame right for another place.
pub fn reseat(head: &mut [u8], seat: Seat) {
    let crc = head_crc(head, seat);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Which frames are acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// All lanes that have frames left, or only those that changed since the cursors before.
    pub full: bool,
    /// All frames so far have smaller ids. In full cursors: those of lanes that are not listed are acknowledged.
    pub next_id: u64,
    pub lanes: BTreeMap<LaneKey, Cursor>,
}

/// Which frames of a lane are acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Below this id all are, but for `unacked`; from it on none, but for `acked`.
    pub below: u64,
    /// Ascending, all less than `below`.
    pub unacked: Vec<u64>,
    /// Ascending, none less than `below`.
    pub acked: Vec<u64>,
}

impl Cursor {
    /// Whether the frame is acknowledged.
    pub fn is_acked(&self, id: u64) -> bool {
        if id < self.below { self.unacked.binary_search(&id).is_err() } else { self.acked.binary_search(&id).is_ok() }
    }
}

/// Appends a cursors frame.
pub fn put_cursors(buf: &mut Vec<u8>, seat: Seat, proven: u32, cursors: &Cursors) {
    let start = put_head(buf, CURSORS, proven);
    let body_at = buf.len();
    buf.push(u8::from(cursors.full));
    buf.extend_from_slice(&cursors.next_id.to_le_bytes());
    buf.extend_from_slice(&len_u32(cursors.lanes.len()).to_le_bytes());
    for (lane, cursor) in &cursors.lanes {
        put_text(buf, &lane.topic);
        buf.extend_from_slice(&lane.partition.to_le_bytes());
        buf.extend_from_slice(&cursor.below.to_le_bytes());
        for ids in [&cursor.unacked, &cursor.acked] {
            put_varint(buf, ids.len() as u64);
            let mut last = 0;
            for id in ids {
                put_varint(buf, id - last);
                last = *id;
            }
        }
    }
    seal(buf, start, body_at, seat);
}

/// Reads the body of a cursors frame.
///
/// # Errors
/// [`Fault::Damaged`] if it is not what [`put_cursors`] writes.
pub fn decode_cursors(body: &[u8]) -> Result<Cursors, Fault> {
    const WRONG: Fault = Fault::Damaged("the cursors of the frame do not fit into it");
    let decode = || {
        let mut fields = Fields(body);
        let (full, next_id, count) = (fields.u8()? != 0, fields.u64()?, fields.u32()?);
        let mut lanes = BTreeMap::new();
        for _ in 0..count {
            let topic: Arc<str> = fields.text()?.into();
            let partition = fields.u32()?.cast_signed();
            let below = fields.u64()?;
            let (unacked, acked) = (fields.ids()?, fields.ids()?);
            if below.max(acked.last().copied().unwrap_or(0)) > ID_MAX {
                return Err(WRONG);
            }
            if unacked.last().is_some_and(|last| *last >= below) || acked.first().is_some_and(|first| *first < below) {
                return Err(WRONG);
            }
            lanes.insert(LaneKey { topic, partition }, Cursor { below, unacked, acked });
        }
        if fields.0.is_empty() && next_id <= ID_MAX { Ok(Cursors { full, next_id, lanes }) } else { Err(WRONG) }
    };
    decode().map_err(|_: Fault| WRONG)
}

/// Appends a partitions frame.
pub fn put_partitions<'a>(
    buf: &mut Vec<u8>,
    seat: Seat,
    proven: u32,
    partitions: impl Iterator<Item = (&'a str, u32)>,
) {
    let start = put_head(buf, PARTITIONS, proven);
    let body_at = buf.len();
    for (topic, count) in partitions {
        put_text(buf, topic);
        buf.extend_from_slice(&count.to_le_bytes());
    }
    seal(buf, start, body_at, seat);
}

/// Reads the body of a partitions frame.
///
/// # Errors
/// [`Fault::Damaged`] if it is not what [`put_partitions`] writes.
pub fn decode_partitions(body: &[u8]) -> Result<Vec<(Arc<str>, u32)>, Fault> {
    const WRONG: Fault = Fault::Damaged("the partition counts of the frame do not fit into it");
    let mut fields = Fields(body);
    let mut partitions = Vec::new();
    while !fields.0.is_empty() {
        let topic = fields.text().map_err(|_| WRONG)?;
        partitions.push((topic.into(), fields.u32().map_err(|_| WRONG)?));
    }
    Ok(partitions)
}

fn put_text(buf: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("a topic's name is at most 249 bytes");
    buf.extend_from_slice(&len.to_le_bytes());
    buf.extend_from_slice(text.as_bytes());
}

fn put_varint(buf: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buf.push(number as u8 | 0x80);
        number >>= 7;
    }
    buf.push(number as u8);
}

/// What is left of the bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Fault::Short { needed: len })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        Ok(self.take(N)?.try_into().expect("N bytes were taken"))
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(len.into())?).map_err(|_| Fault::Damaged("a name is no UTF-8"))
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Fault::Damaged("a number is too long"))
    }

    /// Ids, ascending.
    fn ids(&mut self) -> Result<Vec<u64>, Fault> {
        const WRONG: Fault = Fault::Damaged("ids are not ascending");
        let count = usize::try_from(self.varint()?).map_err(|_| WRONG)?;
        if count > self.0.len() {
            return Err(WRONG);
        }
        let (mut ids, mut last) = (Vec::with_capacity(count), 0u64);
        for nth in 0..count {
            let step = self.varint()?;
            if nth > 0 && step == 0 {
                return Err(WRONG);
            }
            last = last.checked_add(step).ok_or(WRONG)?;
            ids.push(last);
        }
        Ok(ids)
    }
}
