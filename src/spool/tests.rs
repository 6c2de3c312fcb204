//! Tests of the log as a whole and of its bytes. Against a model and with failures: `tests/model/spool.rs`.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::frame::{Fault, Parsed, Seat};
use super::*;
use crate::batch::FAILED_HEADER;
use crate::budget::Budget;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;

const DIR: &str = "/data/spool/main";
const SMALL: Options = Options { segment_bytes: 4096, max_bytes: 64 << 10, clock: None };

/// Records with these values; every other one has a key and headers.
fn encoded(values: &[Vec<u8>]) -> Encoded {
    let permit = Budget::new(usize::MAX).try_take(0).expect("nothing is taken");
    let (mut buf, mut records, mut headers) = (Vec::new(), Vec::new(), Vec::new());
    let mut put = |bytes: &[u8]| {
        buf.extend_from_slice(bytes);
        (buf.len() - bytes.len()) as u32
    };
    for (index, value) in (0u32..).zip(values) {
        let odd = index % 2 == 1;
        let key_start = if odd { put(b"key") } else { crate::batch::NONE };
        if odd {
            let start = put(b"v1");
            headers.push(vec![
                Header { name: "h1".into(), value: start..start + 2 },
                Header { name: "empty".into(), value: start..start },
            ]);
        }
        records.push(Record {
            value_start: put(value),
            value_len: value.len() as u32,
            key_start,
            key_len: if odd { 3 } else { 0 },
            timestamp_ms: 1_000 - i64::from(index) * 700,
            headers: if odd { headers.len() as u32 - 1 } else { crate::batch::NONE },
            offset: 10 * u64::from(index),
        });
    }
    Encoded { buf, records, headers, shares: Vec::new(), source: SourceKey(1), resume: Position::default(), permit }
}

fn lane(name: &str, partition: i32) -> LaneKey {
    LaneKey { topic: name.into(), partition }
}

fn values(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count).map(|index| format!("{index:0len$}").into_bytes()).collect()
}

fn open(disk: &SimDisk) -> (Log, Recovered) {
    Log::open(std::sync::Arc::new(disk.clone()), Path::new(DIR), SMALL, 1_000).expect("the log opens")
}

/// Appends one frame for each lane, with one record that says which.
fn append(log: &mut Log, lanes: &[&LaneKey], len: usize) -> Vec<FrameId> {
    let encoded = encoded(&values(1, len));
    let frames: Vec<NewFrame<'_>> = lanes.iter().map(|lane| new_frame(&encoded, lane)).collect();
    log.append(&frames, 5).expect("appended")
}

fn new_frame<'a>(encoded: &'a Encoded, lane: &'a LaneKey) -> NewFrame<'a> {
    let resume = Position { offset: 7, check: 8 };
    NewFrame { lane, source: SourceKey(3), resume, encoded, records: 0..encoded.records.len() as u32, skip: &[] }
}

fn read_all(log: &mut Log) -> Vec<u64> {
    let mut ids = Vec::new();
    while let Some(frame) = log.next(&mut |_| Turn::Take).expect("healthy") {
        ids.push(frame.meta.id.0);
    }
    ids
}

fn tick(log: &mut Log, second: u64) {
    log.tick(Duration::from_secs(second)).expect("healthy");
}

/// Scenario: a batch with keys, headers, left-out records and a negative timestamp. Guarantee: what is read is what was
/// appended, byte for byte, and what was left out is not there.
#[test]
fn frames_come_back_as_they_were() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    let encoded = encoded(&values(6, 20));
    let key = lane("logs", 4);
    let skip = [1..3, 5..6];
    let new = NewFrame { records: 0..6, skip: &skip, ..new_frame(&encoded, &key) };
    let bytes = new.frame_bytes();
    assert_eq!(log.append(&[new], 77).expect("appended"), [FrameId(1)]);
    let frame = log.next(&mut |_| Turn::Take).expect("healthy").expect("a frame");
    let resume = Position { offset: 7, check: 8 };
    let (records, payload_bytes) = (3, 3 * 20 + 3 + 2 + 2 + 5);
    assert_eq!(
        frame.meta,
        Meta {
            id: FrameId(1),
            lane: key,
            source: SourceKey(3),
            resume,
            records,
            payload_bytes,
            frame_bytes: bytes,
            written_ms: 77
        }
    );
    let content = &frame.content;
    for (read, index) in content.records.iter().zip([0usize, 3, 4]) {
        let written = &encoded.records[index];
        assert_eq!(read.value_in(&content.buf), encoded.value(written));
        assert_eq!(read.key_in(&content.buf), encoded.key(written));
        assert_eq!((read.timestamp_ms, read.offset), (written.timestamp_ms, written.offset));
        let headers = |headers: &[Header], buf: &[u8]| -> Vec<(String, Vec<u8>)> {
            headers.iter().map(|header| (header.name.to_string(), header.value_in(buf).to_vec())).collect()
        };
        assert_eq!(
            headers(read.headers_in(&content.headers), &content.buf),
            headers(encoded.headers_of(written), &encoded.buf)
        );
    }
    assert_eq!(log.next(&mut |_| Turn::Take).expect("healthy").map(|frame| frame.meta.id), None);
}

/// Scenario: frames over several segments, some acknowledged out of order, the log closed and opened.
/// Guarantee: exactly the others come again, in order.
#[test]
fn what_was_not_acknowledged_comes_again() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered, Recovered::default());
    let (a, b) = (lane("a", 0), lane("b", 1));
    log.set_partitions(&"a".into(), 3);
    for _ in 0..20 {
        append(&mut log, &[&a, &b], 300);
    }
    assert_eq!(read_all(&mut log), (1..=40).collect::<Vec<u64>>());
    for id in [1, 3, 9, 5] {
        log.done(&a, FrameId(id));
    }
    log.done(&b, FrameId(40));
    log.done(&b, FrameId(40));
    log.close().expect("healthy");
    disk.crash();
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.partitions, [("a".into(), 3)]);
    let lanes: Vec<(i32, u64)> = recovered.lanes.iter().map(|lane| (lane.lane.partition, lane.frames)).collect();
    assert_eq!(lanes, [(0, 16), (1, 19)]);
    let left: Vec<u64> = (2..40).filter(|id| ![3, 5, 9].contains(id)).collect();
    assert_eq!(read_all(&mut log), left);
    let [FrameId(next)] = append(&mut log, &[&a], 10)[..] else { panic!("one frame, one id") };
    assert!(next > 40, "ids grow over restarts too");
}

/// Scenario: an append fails and is cut off, the process dies, the next one can't make the cut durable and appends; then a power
/// cut undoes what nobody made durable. Guarantee: what counts as durable comes again.
#[test]
fn what_was_cut_off_and_is_there_again_is_not_taken_for_what_came_later() {
    for seed in 0..240 {
        let disk = SimDisk::new(seed, 1 << 20);
        let (mut log, _) = open(&disk);
        let (first, later) = (lane("a", 0), lane("b", 0));
        append(&mut log, &[&first, &first], 100);
        let encoded = encoded(&values(3, 100));
        // Written, not synced, and cut off; or not written.
        disk.fail_after(seed % 4, std::io::ErrorKind::Other);
        let frames: Vec<NewFrame<'_>> =
            (0..3).map(|at| NewFrame { records: at..at + 1, ..new_frame(&encoded, &first) }).collect();
        drop(log.append(&frames, 1));
        drop(log);
        disk.heal();
        // This start may fail to make the cut durable; it goes on all the same.
        disk.fail_after(seed / 4 % 24, std::io::ErrorKind::Other);
        let opened = Log::open(std::sync::Arc::new(disk.clone()), Path::new(DIR), SMALL, 1_000);
        disk.heal();
        let mut log = opened.map_or_else(|_| open(&disk).0, |(log, _)| log);
        append(&mut log, &[&later, &later], 100);
        drop(log);
        disk.crash();
        let (mut log, _) = open(&disk);
        let mut lanes = Vec::new();
        while let Some(frame) = log.next(&mut |_| Turn::Take).expect("healthy") {
            lanes.push(frame.meta.lane.topic.to_string());
        }
        assert_eq!(lanes.iter().filter(|topic| **topic == "b").count(), 2, "seed {seed}: {lanes:?}");
    }
}

/// Scenario: an old segment ends in damage, as after an append that failed and could not be cut off; most of it is acknowledged, so
/// that it is rewritten; then a power cut. Guarantee: what was alive in it comes again.
#[test]
fn a_segment_that_ends_in_damage_is_rewritten_with_all_that_lives() {
    let disk = SimDisk::new(4, 1 << 20);
    let (mut log, _) = open(&disk);
    let a = lane("a", 0);
    append(&mut log, &[&a], 400);
    let one = log.stats().bytes_on_disk;
    append(&mut log, &[&a], 400);
    let frame_bytes = log.stats().bytes_on_disk - one;
    for _ in 2..20 {
        append(&mut log, &[&a], 400);
    }
    let path = Path::new(DIR).join("00000000000000000001.seg");
    let len = disk.open(&path).and_then(|file| file.len()).expect("it is there");
    let last_head = usize::try_from(len - frame_bytes).expect("small");
    disk.corrupt(&path, last_head + 10, &[0xFF; 10]).expect("within");
    let whole = read_all(&mut log);
    assert_eq!(log.stats().damaged_frames, 1);
    whole.iter().filter(|id| **id != 2).for_each(|id| log.done(&a, FrameId(*id)));
    for second in 1..20 {
        tick(&mut log, second);
    }
    assert_eq!(log.stats().rewritten_segments, 1);
    drop(log);
    disk.crash();
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.damaged_frames, 0);
    assert_eq!(read_all(&mut log), [2]);
}

/// Scenario: a lane waits while another flows, then flows again; another fails with frames in memory.
/// Guarantee: each frame is met once, in its lane's order, and what was given back is met again.
#[test]
fn lanes_that_wait_are_gone_back_for() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    let (a, b) = (lane("a", 0), lane("b", 0));
    for _ in 0..30 {
        append(&mut log, &[&a, &b], 300);
    }
    let mut asked = 0;
    let mut flowing = Vec::new();
    let mut judge = |meta: &Meta| {
        asked += 1;
        if &*meta.lane.topic == "a" { Turn::Skip } else { Turn::Take }
    };
    while let Some(frame) = log.next(&mut judge).expect("healthy") {
        flowing.push(frame.meta.id.0);
    }
    assert_eq!(flowing, (1..=30).map(|n| 2 * n).collect::<Vec<u64>>());
    assert_eq!(asked, 31, "a lane that waits is asked for once");
    assert!(log.has_unread(&a) && !log.has_unread(&b));
    log.done(&b, FrameId(2));
    log.done(&b, FrameId(6));
    for id in [4, 8, 10] {
        log.unread(&b, FrameId(id));
    }
    log.again(&a);
    let mut expected: Vec<u64> = (1..=30).map(|n| 2 * n - 1).chain([4, 8, 10]).collect();
    expected.sort_unstable();
    assert_eq!(read_all(&mut log), expected);
    assert_eq!(read_all(&mut log), [0; 0]);
    assert!(!log.has_unread(&a));
}

/// Scenario: all frames of a lane in memory are given back while a part was acknowledged.
/// Guarantee: `Wait` asks for the same frame again, `Have` steps over it without acknowledging it.
#[test]
fn waiting_and_having() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    let a = lane("a", 0);
    append(&mut log, &[&a, &a, &a], 10);
    for _ in 0..2 {
        let waited = log.next(&mut |meta| {
            assert_eq!(meta.id, FrameId(1));
            Turn::Wait
        });
        assert!(waited.expect("healthy").is_none());
    }
    let have = |meta: &Meta| if meta.id == FrameId(1) { Turn::Have } else { Turn::Take };
    assert_eq!(log.next(&mut { have }).expect("healthy").expect("the second").meta.id, FrameId(2));
    assert_eq!(log.stats().live_frames, 3);
    log.unread(&a, FrameId(1));
    log.unread(&a, FrameId(2));
    assert_eq!(read_all(&mut log), [1, 2, 3]);
    for id in 1..=3 {
        log.done(&a, FrameId(id));
    }
    assert_eq!((log.stats().live_frames, log.stats().live_bytes), (0, 0));
}

/// Scenario: everything is acknowledged; then only every fourth frame is left. Guarantee: segments without live frames are
/// removed, those mostly dead are rewritten, and what is left is still read in order and after a crash.
#[test]
fn space_comes_back() {
    let disk = SimDisk::new(3, 1 << 20);
    let (mut log, _) = open(&disk);
    let a = lane("a", 0);
    for _ in 0..60 {
        append(&mut log, &[&a], 400);
    }
    let full = log.stats();
    assert!(full.segments >= 7, "{full:?}");
    read_all(&mut log);
    for id in 1..=60 {
        if id < 20 || id % 4 != 0 {
            log.done(&a, FrameId(id));
        }
    }
    for second in 1..20 {
        tick(&mut log, second);
    }
    let now = log.stats();
    assert!(now.rewritten_segments >= 3 && now.bytes_on_disk < full.bytes_on_disk / 2, "{now:?}");
    drop(log);
    disk.crash();
    let (mut log, recovered) = open(&disk);
    assert_eq!(recovered.damaged_frames, 0);
    let left: Vec<u64> = (20..=60).filter(|id| id % 4 == 0).collect();
    assert_eq!(read_all(&mut log), left);
    for id in left {
        log.done(&a, FrameId(id));
    }
    tick(&mut log, 100);
    tick(&mut log, 102);
    assert_eq!((log.stats().segments, log.stats().live_bytes), (1, 0));
}

/// Scenario: the directory is removed while the log is open. Guarantee: the append that follows fails, its repetition
/// works and is durable; what was lost is counted and named.
#[test]
fn a_removed_directory_is_noticed_and_made_again() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    let a = lane("a", 0);
    append(&mut log, &[&a, &a], 100);
    for entry in disk.list(Path::new(DIR)).expect("there") {
        disk.remove(&Path::new(DIR).join(entry.name)).expect("there");
    }
    let encoded = encoded(&values(1, 10));
    let error = log.append(&[new_frame(&encoded, &a)], 5).expect_err("its segment is gone");
    assert!(!error.is_full(), "{error}");
    assert!(read_all(&mut log).is_empty() && log.has_unread(&a), "the owner does not know yet that they are gone");
    let lost = log.take_lost();
    assert!(!log.has_unread(&a));
    let id = log.append(&[new_frame(&encoded, &a)], 5).expect("a new segment");
    tick(&mut log, 1);
    assert_eq!(log.take_lost(), []);
    assert_eq!((lost.len(), lost[0].frames, log.stats().lost_frames), (1, 2, 2));
    disk.crash();
    let (mut log, _) = open(&disk);
    assert_eq!(read_all(&mut log), [id[0].0]);
}

/// Scenario: `max_bytes` is reached, then the oldest is dropped. Guarantee: full is told as full; a segment's worth is given
/// up, counted by lane, and there is room again.
#[test]
fn full_is_told_and_the_oldest_can_go() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    let a = lane("a", 0);
    let encoded = encoded(&values(1, 1000));
    let mut count = 0;
    let error = loop {
        match log.append(&[new_frame(&encoded, &a)], 5) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_full() && error.to_string().contains("spool.max_bytes"), "{error}");
    assert!(log.holds_too_much(&a) && !log.holds_too_much(&lane("b", 0)));
    let dropped = log.drop_oldest().expect("healthy");
    assert_eq!((dropped.len(), dropped[0].first_id, &dropped[0].lane), (1, FrameId(1), &a));
    assert!(dropped[0].frames >= 2 && dropped[0].records == dropped[0].frames);
    log.append(&[new_frame(&encoded, &a)], 5).expect("there is room");
    let first = read_all(&mut log);
    assert_eq!(first[0], dropped[0].last_id.0 + 1);
    assert_eq!(first.len() as u64, count - dropped[0].frames + 1);
}

/// Scenario: of frames of different lengths one was acknowledged that the reader has not met; then the oldest segment is
/// dropped. Guarantee: exactly the records of the others are counted.
#[test]
fn what_is_dropped_is_counted_to_the_record() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    let a = lane("a", 0);
    let (long, short) = (encoded(&values(9, 10)), encoded(&values(1, 10)));
    let ids = log.append(&[new_frame(&long, &a), new_frame(&short, &a)], 5).expect("appended");
    log.done(&a, ids[0]);
    let dropped = log.drop_oldest().expect("healthy");
    assert_eq!((dropped.len(), dropped[0].frames, dropped[0].records), (1, 1, 1));
    assert_eq!(log.stats().dropped_records, 1);
}

/// Scenario: a start cuts the torn end of the spool off, and fails or is killed before that is durable; the next start finds
/// nothing torn, goes on, and the power is cut. Guarantee: the torn end is not there again, between what is whole.
#[test]
fn what_an_earlier_start_has_cut_stays_cut() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed, 1 << 20);
        let (mut log, _) = open(&disk);
        let a = lane("a", 0);
        append(&mut log, &[&a], 100);
        let path = Path::new(DIR).join("00000000000000000001.seg");
        let mut file = disk.append(&path).expect("there");
        file.append(b"torn").and_then(|()| file.sync()).expect("healthy");
        disk.fail_after(seed % 20, std::io::ErrorKind::Other);
        drop(Log::open(std::sync::Arc::new(disk.clone()), Path::new(DIR), SMALL, 1_000));
        disk.heal();
        let (mut log, _) = open(&disk);
        append(&mut log, &[&a], 100);
        disk.crash();
        let (mut log, recovered) = open(&disk);
        assert_eq!((recovered.damaged_frames, read_all(&mut log).len()), (0, 2), "seed {seed}");
    }
}

/// Scenario: somebody removes one segment of three, and only then a frame of it is acknowledged that was in memory, and one that
/// was in flight when it was written. Guarantee: what is in the other segments stays until it is acknowledged itself, and what
/// is told to be gone is what nobody has acknowledged.
#[test]
fn an_acknowledgement_of_what_was_removed_empties_no_other_segment() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    let a = lane("a", 0);
    let mut ids = Vec::new();
    while log.stats().segments < 3 {
        ids.extend(append(&mut log, &[&a], 1_000));
    }
    let [first, read] = [0, 1].map(|_| log.next(&mut |_| Turn::Take).expect("healthy").expect("a frame").meta.id);
    log.done(&a, first);
    let of_second: Vec<FrameId> =
        ids.iter().copied().filter(|id| (log.segments[1].first_id..=log.segments[1].last_id).contains(&id.0)).collect();
    let live = log.segments[0].live.frames;
    disk.remove(&segments::path_of(Path::new(DIR), 2)).expect("it is there");
    log.notice_what_is_gone().expect("healthy");
    for id in &of_second[..2] {
        log.done(&a, *id);
    }
    assert_eq!(log.segments[0].live.frames, live, "nothing of it was acknowledged");
    let lost = log.take_lost();
    assert_eq!((lost.len(), lost[0].frames), (1, of_second.len() as u64 - 2));
    assert!(log.stats().live_frames >= 2 && !of_second.contains(&read));
    // The rest is read, and no segment goes before that.
    tick(&mut log, 1);
    let left: Vec<u64> = ids.iter().filter(|id| **id > read && !of_second.contains(id)).map(|id| id.0).collect();
    assert_eq!(read_all(&mut log), left);
}

/// Scenario: a byte of a frame's body, then of a head, is damaged on the medium. Guarantee: that frame is lost and counted,
/// its neighbours are read; damage is not an error.
#[test]
fn damage_is_passed_over_and_counted() {
    for (place, reopened) in [(100usize, false), (10, false), (100, true), (10, true)] {
        let disk = SimDisk::new(1, 1 << 20);
        let (mut log, _) = open(&disk);
        let a = lane("a", 0);
        append(&mut log, &[&a], 100);
        let before = log.stats().bytes_on_disk;
        append(&mut log, &[&a], 100);
        append(&mut log, &[&a], 100);
        let path = Path::new(DIR).join("00000000000000000001.seg");
        disk.corrupt(&path, before as usize + place, b"\xFF").expect("within");
        if reopened {
            drop(log);
            log = open(&disk).0;
        }
        assert_eq!(read_all(&mut log), [1, 3], "damage at {place}");
        let stats = log.stats();
        assert_eq!((stats.damaged_frames, stats.live_frames), (1, 2), "damage at {place}");
        assert!(stats.damaged_bytes > 100);
    }
}

/// Scenario: a segment of a later version. Guarantee: it is refused with its name, both versions and what to do, and nothing
/// is changed.
#[test]
fn a_newer_version_is_refused() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    append(&mut log, &[&lane("a", 0)], 10);
    let mut prologue = frame::prologue();
    prologue[8] = 9;
    let crc = crc32c::crc32c(&prologue[..12]).to_le_bytes();
    prologue[12..].copy_from_slice(&crc);
    disk.corrupt(&Path::new(DIR).join("00000000000000000001.seg"), 0, &prologue).expect("within");
    let before = disk.list(Path::new(DIR)).expect("there");
    let error = Log::open(std::sync::Arc::new(disk.clone()), Path::new(DIR), SMALL, 0).err().expect("refused");
    let text = error.to_string();
    assert!(text.contains("0001.seg has format version 9") && text.contains("up to 1;"), "{text}");
    assert_eq!(disk.list(Path::new(DIR)).expect("there"), before);
}

/// Scenario: things lie in the directory that have names of segments: of the highest number there is, of one that no log comes to;
/// a directory, a pipe, a link to nothing. Guarantee: it is looked at and opened without them, and frames are appended beside them;
/// a spool that is a link to a directory elsewhere is like any other.
#[test]
fn what_has_a_segments_name_and_is_none_is_in_nobodys_way() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let (dir, elsewhere) = (home.path().join("main"), home.path().join("elsewhere"));
    std::fs::create_dir(&elsewhere).expect("made");
    std::os::unix::fs::symlink(&elsewhere, &dir).expect("linked");
    let named = |number: u64| dir.join(format!("{number:020}.seg"));
    for number in [u64::MAX, u64::MAX / 2 + 1] {
        std::fs::write(named(number), frame::prologue()).expect("written");
    }
    std::fs::create_dir(named(1)).expect("made");
    rustix::fs::mkfifoat(rustix::fs::CWD, named(2), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("made");
    std::os::unix::fs::symlink(home.path().join("nothing"), named(3)).expect("linked");
    let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(crate::disk::RealDisk);
    let open = || Log::open(std::sync::Arc::clone(&disk), &dir, Options::default(), 1_000).expect("the log opens").0;
    let mut log = open();
    // Made while it is open.
    std::fs::create_dir(named(4)).expect("made");
    let (batch, key) = (encoded(&values(1, 10)), lane("a", 0));
    log.append(&[new_frame(&batch, &key)], 1).expect_err("a directory is in the way");
    log.append(&[new_frame(&batch, &key)], 1).expect("appended");
    drop(log);
    assert_eq!(read_all(&mut open()).len(), 1);
    let listing = inspect::list(&crate::disk::RealDisk, &dir, 1).expect("listed");
    assert_eq!((listing.segments.len(), listing.flaws), (1, inspect::Flaws::default()));
    let spools = disk.list(home.path()).expect("there");
    assert!(spools.iter().any(|entry| entry.name == "main" && entry.is_dir), "{spools:?}");
}

/// Scenario: a frame whose checksums fit has an id that no log comes to. Guarantee: it is damage, as anything that was not written here.
#[test]
fn an_id_that_no_log_comes_to_is_damage() {
    let seat = Seat { segment: 1, offset: 0 };
    for (id, is_one) in [(frame::ID_MAX, true), (frame::ID_MAX + 1, false), (u64::MAX, false)] {
        let (mut records, mut cursors) = (Vec::new(), Vec::new());
        let (batch, key) = (encoded(&values(1, 10)), lane("a", 0));
        frame::put_records(&mut records, seat, 0, id, 1, &new_frame(&batch, &key));
        frame::put_cursors(&mut cursors, seat, 0, &frame::Cursors { next_id: id, ..Default::default() });
        assert_eq!([records, cursors].map(|bytes| frame::parse(&bytes, seat).is_ok()), [is_one; 2], "{id}");
    }
}

/// Scenario: of the newest segment nothing is whole any more. Guarantee: whoever looks is told where, before it is removed at the start.
#[test]
fn a_segment_of_which_nothing_is_whole_is_told_of() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    append(&mut log, &[&lane("a", 0)], 10);
    drop(log);
    let path = Path::new(DIR).join("00000000000000000001.seg");
    let len = disk.list(Path::new(DIR)).expect("there").iter().map(|entry| entry.len).max().expect("one file");
    disk.corrupt(&path, 0, &vec![7; usize::try_from(len).expect("short")]).expect("within");
    let torn = inspect::Damage { path, offset: 0, bytes: len };
    let flaws = inspect::Flaws { damage: Vec::new(), torn: vec![torn] };
    assert_eq!(inspect::list(&disk, Path::new(DIR), 1).expect("listed").flaws, flaws);
    assert_eq!(inspect::frames(&disk, Path::new(DIR), &mut |_, _| true, &mut |_| Ok(())).expect("read"), flaws);
    drop(open(&disk));
    assert_eq!(disk.list(Path::new(DIR)).expect("there"), []);
}

/// Scenario: the disk changes one byte of a value, behind the agent's back, while the agent runs. Guarantee: the frame is counted as
/// damaged and not sent with what stands there; the next one comes.
#[test]
fn a_value_that_has_changed_is_not_sent() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    let ids = append(&mut log, &[&lane("a", 0), &lane("a", 0)], 100);
    let path = Path::new(DIR).join("00000000000000000001.seg");
    let file = disk.open(&path).expect("there");
    let mut bytes = vec![0; 4096];
    let len = file.read(0, &mut bytes).expect("healthy");
    let value = bytes[..len].windows(100).position(|at| at.iter().all(|byte| *byte == b'0')).expect("written");
    disk.corrupt(&path, value + 50, b"1").expect("there");
    assert_eq!((read_all(&mut log), log.stats().damaged_frames), (vec![ids[1].0], 1));
}

/// Scenario: a record that a processor failed for is spooled beside others; and one with a header that no Kafka record can have.
/// Guarantee: the frame comes back whole after a restart, and the record is known by its mark; any other NUL is damage.
#[test]
fn a_record_that_a_processor_failed_for_is_known_after_a_restart() {
    let after_restart = |name: &str| {
        let disk = SimDisk::new(1, 1 << 20);
        let (mut log, _) = open(&disk);
        let mut batch = encoded(&values(3, 20));
        batch.headers = vec![vec![Header { name: name.into(), value: 0..4 }]];
        let key = lane("logs", 0);
        log.append(&[new_frame(&batch, &key)], 1).expect("appended");
        drop(log);
        let (mut log, _) = open(&disk);
        let frame = log.next(&mut |_| Turn::Take).expect("healthy");
        let names = frame.map(|frame| {
            let names = frame.content.headers.iter().flatten().map(|header| header.name.to_string());
            (frame.meta.records, names.collect::<Vec<_>>())
        });
        (names, log.stats().damaged_frames)
    };
    let known = Some((3, vec![FAILED_HEADER.to_owned()]));
    assert_eq!(after_restart(FAILED_HEADER), (known, 0));
    assert_eq!(after_restart("\0other"), (None, 1));
}

fn some_cursors() -> impl Strategy<Value = frame::Cursors> {
    let cursor = (0u64..1000, proptest::collection::btree_set(0u64..2000, 0..20)).prop_map(|(below, ids)| {
        let (unacked, acked) = ids.into_iter().partition(|id| *id < below);
        frame::Cursor { below, unacked, acked }
    });
    let lanes = proptest::collection::btree_map(("[a-z.]{1,20}", -1i32..50), cursor, 0..10);
    (any::<bool>(), 0..=frame::ID_MAX, lanes).prop_map(|(full, next_id, lanes)| {
        let lanes = lanes.into_iter().map(|((topic, partition), cursor)| (lane(&topic, partition), cursor)).collect();
        frame::Cursors { full, next_id, lanes }
    })
}

proptest! {
    /// Scenario: any bytes, with and without a right beginning and right checksums. Guarantee: a value or a fault, no panic.
    #[test]
    fn decoding_is_total(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        kind in 0u8..5,
        head_bytes in 0u16..200,
        fix in any::<bool>(),
    ) {
        let seat = Seat { segment: 1, offset: 16 };
        if fix && bytes.len() > usize::from(head_bytes) && head_bytes >= 24 {
            let body_at = usize::from(head_bytes);
            bytes[..4].copy_from_slice(&frame::MAGIC);
            bytes[8] = kind;
            bytes[10..12].copy_from_slice(&head_bytes.to_le_bytes());
            let body_bytes = (bytes.len() - body_at) as u32;
            bytes[12..16].copy_from_slice(&body_bytes.to_le_bytes());
            let crc = crc32c::crc32c(&bytes[body_at..]);
            bytes[16..20].copy_from_slice(&crc.to_le_bytes());
            frame::reseat(&mut bytes[..body_at], seat);
        }
        if let Ok((_, used)) = frame::parse(&bytes, seat) {
            prop_assert!(used <= bytes.len());
        }
        frame::parse_prologue(&bytes);
        let _ = frame::decode_cursors(&bytes);
        let _ = frame::decode_partitions(&bytes);
        for count in [0, 1, 3, u32::MAX] {
            let _ = frame::decode_records(bytes.clone(), count, &mut frame::Names::default());
        }
    }

    /// Scenario: any cursors. Guarantee: they are read as written; a frame cut anywhere is short, one changed anywhere or
    /// moved is damaged.
    #[test]
    fn cursors_come_back(cursors in some_cursors(), cut: proptest::sample::Index, bit in 0u8..8) {
        let seat = Seat { segment: 7, offset: 99 };
        let mut bytes = Vec::new();
        frame::put_cursors(&mut bytes, seat, 5, &cursors);
        match frame::parse(&bytes, seat) {
            Ok((Parsed::Cursors(read), used)) => {
                prop_assert_eq!(read, cursors);
                prop_assert_eq!(used, bytes.len());
            }
            other => prop_assert!(false, "{other:?}"),
        }
        let at = cut.index(bytes.len());
        let is_short = matches!(frame::parse(&bytes[..at], seat), Err(Fault::Short { .. }));
        prop_assert!(is_short);
        let moved = Seat { offset: 98, ..seat };
        prop_assert!(matches!(frame::parse(&bytes, moved), Err(Fault::Damaged(_))));
        bytes[at] ^= 1 << bit;
        prop_assert!(frame::parse(&bytes, seat).is_err());
    }
}

/// Scenario: a topic's partition count is heard, or changes, after the segment was begun. Guarantee: it is there after a crash
/// once the next frame is.
#[test]
fn a_partition_count_comes_with_the_next_frame() {
    let disk = SimDisk::new(1, 1 << 20);
    let (mut log, _) = open(&disk);
    append(&mut log, &[&lane("a", -1)], 10);
    log.set_partitions(&"a".into(), 3);
    append(&mut log, &[&lane("a", 0)], 10);
    log.set_partitions(&"a".into(), 6);
    log.set_partitions(&"b".into(), 1);
    append(&mut log, &[&lane("b", 0)], 10);
    drop(log);
    disk.crash();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.partitions, [("a".into(), 6), ("b".into(), 1)]);
}
