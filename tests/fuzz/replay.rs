//! The corpora of the fuzz targets, and what is near to them, as a normal test: each seed as it is, cut short, and with bytes
//! changed. It looks for nothing new, as fuzzing does; what fuzzing has found belongs into the corpus, and is kept from
//! coming back here. `UPDATE_CORPUS=1` writes the seeds that are made by the encoders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use logferry::batch::{Encoded, Header, LaneKey, Position, Record, SourceKey};
use logferry::budget::Budget;
use logferry::output::dead_letter::entry::Entry;
use logferry::process::Step;
use logferry::spool::NewFrame;
use logferry::spool::frame::{self, Cursor, Cursors, Seat};

mod targets;

/// Changed copies of each seed.
const CHANGED: u64 = 100;
/// Cut copies of each seed, at most.
const CUT: usize = 50;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

fn replay(target: &str, run: fn(&[u8])) {
    let files = std::fs::read_dir(corpus(target)).expect("each target has a corpus");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("it can be listed").path()).collect();
    paths.sort_unstable();
    assert!(!paths.is_empty(), "the corpus of {target} is empty");
    for path in paths {
        let seed = std::fs::read(&path).expect("it can be read");
        run(&seed);
        (0..seed.len()).step_by(seed.len().div_ceil(CUT).max(1)).for_each(|end| run(&seed[..end]));
        let mut state = 1u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).expect("31 bits") % below.max(1)
        };
        for _ in 0..CHANGED {
            let mut bytes = seed.clone();
            for _ in 0..1 + next(4) {
                let at = next(bytes.len());
                let value = [0, 1, 0x7f, 0x80, 0xff, u8::try_from(next(256)).expect("a byte")][next(6)];
                bytes.splice(at..bytes.len().min(at + 1), std::iter::repeat_n(value, next(3)));
            }
            run(&bytes);
        }
    }
}

/// Scenario: frames of every kind, whole, cut short, changed, with checksums that fit and that don't.
/// Guarantee: no panic; what is understood is within its bytes and is written as it was read.
#[test]
fn spool_frames() {
    replay("spool_frame", targets::spool_frame);
}

/// Scenario: cursors of any content. Guarantee: as above, and each frame is acknowledged or not as they say.
#[test]
fn spool_cursors() {
    replay("spool_cursors", targets::spool_cursors);
}

/// Scenario: a spool whose newest segment is anything. Guarantee: it opens, is read to its end, and goes on.
#[test]
fn spool_segments() {
    replay("spool_segment", targets::spool_segment);
}

/// Scenario: lines of a dead letter that somebody has edited. Guarantee: no panic; a record is one line, unchanged.
#[test]
fn dead_letter_lines() {
    replay("dead_letter", targets::dead_letter);
}

/// Scenario: lines of containers and of none, with parts and traces between each other, whole, cut and changed.
/// Guarantee: no panic; each byte is in one record; the records do not depend on how the lines are read.
#[test]
fn lines_that_are_joined() {
    replay("joined_lines", targets::joined_lines);
}

/// Scenario: patterns of the supported language, with lines. Guarantee: the same match as fancy-regex, in bounded steps.
#[test]
fn groks() {
    replay("grok", targets::grok);
}

/// Scenario: lines of every form that is read, deep ones and odd ones among them, through each processor alone and through chains.
/// Guarantee: no panic, no event dropped that is not to be; what came of it can be written by every codec, in proportion to the line.
#[test]
fn lines_through_processors() {
    replay("processors", targets::processors);
    let deep = |open: &str, close: &str| [open.repeat(2_000), close.repeat(2_000)].concat();
    let texts = [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("(", ")"),
        "a=".repeat(3_000),
        "\"".repeat(3_001),
        "a.".repeat(3_000) + "b=1",
        format!("{{\"{}x\":1}}", "k.".repeat(3_000)),
        "[a]".repeat(500) + "=1",
    ];
    for text in texts {
        for first in 0..2 * u8::try_from(targets::STEPS.len()).expect("they are few") {
            targets::processors(&[&[first], text.as_bytes()].concat());
        }
    }
}

/// Scenario: a processor is added. Guarantee: it is among those that are fuzzed.
#[test]
fn every_processor_is_fuzzed() {
    fn names(list: &serde_json::Value, all: &mut BTreeSet<String>) {
        for processor in list.as_array().expect("a list") {
            for (name, options) in processor.as_object().expect("a map") {
                all.insert(name.clone());
                ["then", "else"].iter().filter_map(|key| options.get(key)).for_each(|below| names(below, all));
            }
        }
    }
    let written: serde_json::Value = serde_yaml::from_str(targets::PROCESSORS).expect("it is YAML");
    let mut fuzzed = BTreeSet::new();
    names(&written["processors"], &mut fuzzed);
    let schema = logferry::config::schema::published();
    let properties = schema.pointer("/$defs/Processor/properties").and_then(serde_json::Value::as_object);
    let known = properties.expect("the schema says what a processor is").keys();
    let known: BTreeSet<String> = known.filter(|name| *name != "if").cloned().collect();
    assert!(known.len() > 30, "{known:?}");
    assert_eq!(fuzzed, known, "PROCESSORS of targets.rs has them all");
}

/// CPU time of this thread, so that what else runs on the machine does not count.
fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).expect("it began at 0"), u32::try_from(now.tv_nsec).expect("below 10^9"))
}

/// Scenario: each processor alone, on texts of one small piece again and again, and on four times as much.
/// Guarantee: it takes about four times as long; a quadratic one would take sixteen times. The shortest of several tries counts.
#[test]
fn processors_take_linear_time() {
    const BYTES: usize = 16 << 10;
    const TRIES: usize = 5;
    /// Shorter ones are within what a page fault or an interrupt takes.
    const NOTICED: Duration = Duration::from_millis(8);
    let pieces = [
        "a", " ", "\"", "'", "\\", "[", "(", "<", "{", "{\"a\":", "[1,", "a=", "=", "a=\"b\" ", "a=[", "a=<b ", "a,",
        ",\"", ";", ".", "a.", "1", "1.", "1:", "4111 ", "a@", "@a", "Bearer ", "eyJ", "é", "kv", "%{a}", "\n",
        "x/1 (",
    ];
    let piled = |bytes: usize, piece: &str| piece.repeat(bytes / piece.len());
    let numbered = |bytes: usize| (0..bytes / 10).map(|number| format!("k{number:05}=1 ")).collect::<String>();
    let object = |bytes: usize| {
        let fields = (0..bytes / 11).map(|number| format!("\"k{number:05}\":1")).collect::<Vec<_>>();
        format!("{{{}}}", fields.join(","))
    };
    let took = |step: &Step, text: &str| {
        let start = cpu_time();
        targets::process(step, text);
        cpu_time() - start
    };
    let mut faults = Vec::new();
    for (at, step) in targets::STEPS.iter().enumerate() {
        let mut check = |what: &str, short: &str, long: &str| {
            let (mut shortest, mut longest) = (Duration::MAX, Duration::MAX);
            for _ in 0..TRIES {
                longest = longest.min(took(step, long));
                if longest < NOTICED {
                    return;
                }
                shortest = shortest.min(took(step, short));
                if longest < shortest * 8 {
                    return;
                }
            }
            faults.push(format!("{at}: {} on {what:?}: {shortest:?}, then {longest:?}", step.processor.name()));
        };
        for piece in pieces {
            check(piece, &piled(BYTES, piece), &piled(4 * BYTES, piece));
        }
        check("k1=1 k2=1 …", &numbered(BYTES), &numbered(4 * BYTES));
        check("{\"k1\":1,…}", &object(BYTES), &object(4 * BYTES));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

// ---- the seeds ----

fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let seat = Seat { segment: 1, offset: frame::PROLOGUE_BYTES as u64 };
    let lane = |topic: &str, partition| LaneKey { topic: topic.into(), partition };
    let cursor = Cursor { below: 9, unacked: vec![2, 7], acked: vec![9, 300] };
    let lanes = [(lane("web", 0), cursor), (lane("web", -1), Cursor { below: 1 << 40, ..Cursor::default() })];
    let cursors = Cursors { full: true, next_id: 301, lanes: lanes.into_iter().collect() };
    let (mut cursors_frame, mut partitions_frame, mut records_frame) = (Vec::new(), Vec::new(), Vec::new());
    frame::put_cursors(&mut cursors_frame, seat, 0, &cursors);
    frame::put_partitions(&mut partitions_frame, seat, 0, [("web", 3), ("db.audit", 12)].into_iter());
    let encoded = encoded();
    let to = lane("web", 2);
    let new = NewFrame {
        lane: &to,
        source: SourceKey(4),
        resume: Position { offset: 99, check: 5 },
        encoded: &encoded,
        records: 0..2,
        skip: &[],
    };
    frame::put_records(&mut records_frame, seat, 0, 7, 1_764_112_756_000, &new);
    let body = cursors_frame[frame::HEAD_BYTES..].to_vec();
    let segment: Vec<u8> = [&frame::prologue()[..], &records_frame].concat();
    let entry = Entry {
        time: "2025-11-25T23:19:16Z".into(),
        output: "main".into(),
        reason: "too_large".into(),
        message: "the broker says so".into(),
        topic: "web".into(),
        partition: 3,
        source: 12,
        offset: 4096,
        path: Some("/var/log/web.log".into()),
        host: "node-1".into(),
        timestamp_ms: 1_764_112_756_000,
        headers: vec![("trace".into(), b"a\nb".to_vec()), ("raw".into(), vec![0xff, 0])],
        key: Some(b"ns/pod".to_vec()),
        value: vec![0xc3, 0x28, b'\n'],
        ..Entry::default()
    };
    vec![
        ("spool_frame", "cursors", cursors_frame.clone()),
        ("spool_frame", "partitions", partitions_frame),
        ("spool_frame", "records", records_frame.clone()),
        ("spool_cursors", "two-lanes", body),
        ("spool_segment", "records", segment),
        ("spool_segment", "frame-without-prologue", records_frame),
        ("spool_segment", "cursors-without-prologue", cursors_frame),
        ("spool_segment", "empty", Vec::new()),
        ("dead_letter", "binary", entry.to_line()),
        ("dead_letter", "text", Entry { value: b"{}".to_vec(), key: None, headers: Vec::new(), ..entry }.to_line()),
    ]
}

fn encoded() -> Encoded {
    let permit = Budget::new(usize::MAX).try_take(0).expect("nothing is taken");
    let record = |key_start, value_start, headers| Record {
        value_start,
        value_len: 5,
        key_start,
        key_len: 3,
        timestamp_ms: 1_764_112_756_000,
        headers,
        offset: u64::from(value_start),
    };
    Encoded {
        buf: b"keyfirstkeyothertrace".to_vec(),
        records: vec![record(0, 3, 0), record(8, 11, logferry::batch::NONE)],
        headers: vec![vec![Header { name: Arc::from("trace"), value: 16..21 }]],
        shares: Vec::new(),
        source: SourceKey(4),
        resume: Position::default(),
        permit,
    }
}

/// Scenario: the format of the spool or of the dead letter changes. Guarantee: the seeds are of the one that is written now.
#[test]
fn seeds_are_what_is_written_now() {
    for (target, name, bytes) in seeds() {
        let path = corpus(target).join(name);
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            std::fs::create_dir_all(corpus(target)).expect("the tree is writable");
            std::fs::write(&path, &bytes).expect("the tree is writable");
        }
        let there = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; UPDATE_CORPUS=1", path.display()));
        assert_eq!(
            there,
            bytes,
            "{} is old: UPDATE_CORPUS=1 writes it; keep the old one under another name",
            path.display()
        );
    }
}
