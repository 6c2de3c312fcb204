//! What the fuzz targets do with bytes that anybody may have written: each decoder of the spool and of the dead letter takes
//! them without a panic, in memory of their own size, and what it understands says the same once it is written again.
//!
//! Plain functions, for libFuzzer (`fuzz_targets/`) and for the replay of the corpora in `cargo test` (`replay.rs`). No judgement
//! of speed, no files of the system: a segment is on a simulated disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use logferry::config::checked::InputKind;
use logferry::config::{System, World, check_text};
use logferry::decode::{Charset, JoinOptions, Joiner, LineFilter, LineOptions, split_lines};
use logferry::disk::Disk as _;
use logferry::disk::sim::SimDisk;
use logferry::encode::{Codec, encode};
use logferry::event::{Event, EventView, FieldPath, Flags, Shared, SharedOptions, Timestamp, Value};
use logferry::output::dead_letter::entry::Entry;
use logferry::process::grok::{Definitions, Engine, Grok, Scratch, Set};
use logferry::process::{Chain, Database, HostFacts, Outcome, Step, Tally, Work};
use logferry::spool::frame::{self, HEAD_BYTES, MAGIC, Parsed, Seat};
use logferry::spool::{Log, Options, Turn, inspect};

#[path = "../../src/process/mmdb.rs"]
mod mmdb;

const DIR: &str = "/spool";
const SEAT: Seat = Seat { segment: 1, offset: frame::PROLOGUE_BYTES as u64 };

/// The bytes as the frame that they may have been before somebody changed them: magic, lengths and checksums fit, where they
/// can. Without that no fuzzer comes past the checksums.
fn mended(bytes: &[u8], seat: Seat) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() < HEAD_BYTES {
        return bytes;
    }
    bytes[..4].copy_from_slice(&MAGIC);
    let head_bytes = usize::from(u16::from_le_bytes([bytes[10], bytes[11]])).clamp(HEAD_BYTES, bytes.len());
    let head_len = u16::try_from(head_bytes.min(frame::HEAD_BYTES_MAX)).expect("a head is short");
    bytes[10..12].copy_from_slice(&head_len.to_le_bytes());
    let (head, body) = bytes.split_at_mut(head_len.into());
    let body_bytes = u32::try_from(body.len()).expect("inputs are short");
    head[12..16].copy_from_slice(&body_bytes.to_le_bytes());
    head[16..20].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    frame::reseat(head, seat);
    bytes
}

/// A frame of any kind, as it is and mended.
pub fn spool_frame(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), mended(bytes, SEAT)] {
        let Ok((parsed, taken)) = frame::parse(&bytes, SEAT) else { continue };
        assert!(taken <= bytes.len(), "a frame is within its bytes");
        let elsewhere = Seat { offset: SEAT.offset + 1, ..SEAT };
        assert!(frame::parse(&bytes, elsewhere).is_err(), "a copy of a frame is none");
        let mut again = Vec::new();
        match &parsed {
            Parsed::Records { content, .. } => {
                for record in &content.records {
                    let value = record.value_in(&content.buf);
                    assert_eq!(value.len(), record.value_len as usize, "its value is within the frame");
                }
                let headers = content.headers.iter().flatten();
                headers
                    .for_each(|header| assert!(header.value.end as usize <= content.buf.len(), "and so is a header"));
                continue;
            }
            Parsed::Cursors(cursors) => frame::put_cursors(&mut again, SEAT, 0, cursors),
            Parsed::Partitions(partitions) => {
                let all = partitions.iter().map(|(topic, count)| (&**topic, *count));
                frame::put_partitions(&mut again, SEAT, 0, all);
            }
        }
        let (second, _) = frame::parse(&again, SEAT).expect("what was written can be read");
        assert_eq!(format!("{parsed:?}"), format!("{second:?}"), "and says the same");
    }
}

/// A pattern and a line: the fast matcher and fancy-regex agree on what of the line matches, and the steps are bounded. The
/// first byte says how many bytes of pattern there are; they choose among parts of the supported language.
pub fn grok(bytes: &[u8]) {
    const PARTS: [&str; 32] = [
        "a",
        "b",
        "c",
        " ",
        ".",
        "é",
        r"\w",
        r"\s",
        "[ab]",
        "[^a]",
        r"\d",
        "0",
        "^",
        "$",
        r"\b",
        r"(?<!a)",
        "(?=b)",
        "(?!c)",
        "|",
        "|",
        "*",
        "+",
        "?",
        "{2}",
        "(?:",
        "(?>",
        "(?<x>",
        ")",
        ")",
        ")",
        "%{INT:n}",
        "%{WORD:w}",
    ];
    let Some((count, rest)) = bytes.split_first() else { return };
    let (chosen, line) = rest.split_at(rest.len().min(usize::from(*count) % 24));
    let pattern: String = chosen.iter().map(|byte| PARTS[usize::from(*byte) % PARTS.len()]).collect();
    let definitions = Definitions::new(Set::Legacy);
    let Ok(grok) = Grok::compile(&pattern, &definitions, true, Engine::Linear) else { return };
    let mut scratch = Scratch::default();
    let found = grok.find(&mut scratch, line).expect("short lines are never given up").map(|found| {
        for (_, range) in found.captures() {
            assert!(range.is_none_or(|range| range.start <= range.end && range.end <= line.len()), "{pattern}");
        }
        found.start..found.end
    });
    assert!(scratch.steps() <= 1_000 * (line.len() as u64 + 64), "{pattern} takes {} steps", scratch.steps());
    let Ok(other) = Grok::compile(&pattern, &definitions, true, Engine::Backtracking) else { return };
    // Where a turn of a loop is empty, Ruby leaves the loop and fancy-regex does not; and it takes UTF-8 only.
    let has_empty_turns = [
        "*)", "?)", "$)", "^)", "b)", "|)", "(|", "|*", "(?:)", "(?>)", "(?<x>)", ")*", ")+", ")?", "||", "*+", "**",
        "+*", "+?",
    ]
    .iter()
    .any(|part| pattern.contains(part));
    if std::str::from_utf8(line).is_ok()
        && !has_empty_turns
        && let Ok(same) = other.find(&mut scratch, line)
    {
        assert_eq!(found, same.map(|same| same.start..same.end), "{pattern} on {line:?}");
    }
}

/// The body of cursors.
pub fn spool_cursors(bytes: &[u8]) {
    let Ok(cursors) = frame::decode_cursors(bytes) else { return };
    for cursor in cursors.lanes.values() {
        let listed = cursor.unacked.iter().chain(&cursor.acked).copied();
        for id in listed.chain([0, cursor.below, cursor.below.saturating_sub(1), u64::MAX]) {
            let is_listed = cursor.unacked.contains(&id) || cursor.acked.contains(&id);
            assert_eq!(cursor.is_acked(id), (id < cursor.below) != is_listed, "frame {id} of {cursor:?}");
        }
    }
    let mut again = Vec::new();
    frame::put_cursors(&mut again, SEAT, 0, &cursors);
    match frame::parse(&again, SEAT) {
        Ok((Parsed::Cursors(second), _)) => assert_eq!(cursors, second, "what was written says the same"),
        other => panic!("cursors are written as {other:?}"),
    }
}

/// The newest segment of a spool, as it is and with its first frame mended: it is opened, read to its end, looked into, and
/// goes on.
pub fn spool_segment(bytes: &[u8]) {
    let mut whole = frame::prologue().to_vec();
    whole.extend(mended(bytes, SEAT));
    for bytes in [bytes, &whole] {
        let disk = SimDisk::new(0, 1 << 30);
        let dir = Path::new(DIR);
        let written = disk.create_dir(dir).and_then(|()| {
            let mut file = disk.append(&dir.join("00000000000000000001.seg"))?;
            file.append(bytes)?;
            file.sync()?;
            disk.sync_dir(dir)
        });
        written.expect("the simulated disk is well");
        // A later version's is refused, and stays.
        let Ok(listing) = inspect::list(&disk, dir, 1) else { return };
        let listed: u64 = listing.lanes.iter().map(|lane| lane.frames).sum();
        drop(inspect::frames(&disk, dir, &mut |_, _| true, &mut |_| Ok(())).expect("the simulated disk is well"));
        let (mut log, found) = Log::open(Arc::new(disk.clone()), dir, Options::default(), 1).expect("it was listed");
        assert_eq!(found.lanes.iter().map(|lane| lane.frames).sum::<u64>(), listed, "who looks sees what is opened");
        let mut read = 0;
        while log.next(&mut |_| Turn::Take).expect("the simulated disk is well").is_some() {
            read += 1;
        }
        assert!(read <= listed, "{read} frames of {listed}");
        log.close().expect("the simulated disk is well");
        Log::open(Arc::new(disk), dir, Options::default(), 1).expect("what it has left can be opened");
    }
}

/// A line of the dead letter.
pub fn dead_letter(bytes: &[u8]) {
    let Ok(entry) = Entry::parse(bytes) else { return };
    let line = entry.to_line();
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line is one record");
    assert_eq!(Entry::parse(&line).as_ref(), Ok(&entry), "what was written says the same");
    let mut found = entry.clone();
    found.find_file();
    // As the dead letter's topic has it, and back.
    let sent = Entry { headers: entry.topic_headers(), ..entry.clone() };
    assert_eq!(sent.unwrapped().value, entry.value, "the record itself is untouched");
}

/// Ways to make records of lines.
const JOINING: &str = r#"
data_dir: /nowhere
inputs:
  a: { type: file, paths: [/a/*], format: auto }
  b: { type: file, paths: [/b/*], format: auto, multiline: { preset: [java, javascript, dotnet, python, go, ruby, php] } }
  c: { type: file, paths: [/c/*], format: cri, multiline: { pattern: '^\s', max_lines: 3, max_bytes: 128 } }
  d: { type: file, paths: [/d/*], format: docker, multiline: { pattern: '\\$', match: before, flush_pattern: end } }
  e: { type: file, paths: [/e/*], multiline: { while: '^[{]', negate: true, skip_newline: true } }
  f: { type: file, paths: [/f/*], format: auto, multiline: { count: 2 } }
outputs: { main: { type: kafka, brokers: ["nowhere:9092"], topic: t } }
"#;

static JOIN_OPTIONS: LazyLock<Vec<Arc<JoinOptions>>> = LazyLock::new(|| {
    let checked = check_text("fuzz.yaml", JOINING, &System).expect("a good config");
    let joining = checked.inputs.iter().map(|input| match &input.kind {
        InputKind::File(file) => file.joining.clone().expect("each of them joins"),
        InputKind::Stdin(_) => unreachable!("the config has files alone"),
    });
    joining.collect()
});

/// Offset, length, end, hash and message of each record of a text that is read in pieces of this size, by offset. Every third read
/// is held, and goes back.
fn joined(options: &Arc<JoinOptions>, text: &[u8], size: usize) -> Vec<(u64, u64, u64, u64, Vec<u8>)> {
    let common = Shared::new(SharedOptions::default()).stream("fuzz");
    let (filter, now) = (LineFilter::default(), Timestamp(0));
    let lines = LineOptions { max_line_bytes: 100, events_max: 50, filter: &filter, charset: Charset::Utf8 };
    let mut joiner = Joiner::new(Arc::clone(options));
    let (mut records, mut at, mut resume) = (Vec::new(), 0, 0);
    let mut reads = 0;
    let mut keep = |buf: &[u8], events: &[Event]| {
        for event in events {
            let mut message = Vec::new();
            encode(Codec::Raw, &EventView { event, buf, common: &common }, &mut message);
            records.push((event.offset, event.length, event.end(), event.line_hash, message));
        }
    };
    while at < text.len() {
        let line = text[at..].iter().position(|byte| *byte == b'\n').map_or(0, |line| line + 1);
        let end = text.len().min(at.saturating_add(size.max(line)));
        let (mut buf, mut events) = (text[at..end].to_vec(), Vec::new());
        let before = joiner.marks();
        at += split_lines(&buf, at as u64, &lines, now, &mut events).consumed;
        joiner.take(&mut buf, &mut events, at as u64, now);
        joiner.note_checks(Some);
        reads += 1;
        if reads % 3 == 0 && size < text.len() {
            joiner.restore(resume, Some(before));
            at = usize::try_from(resume).expect("inputs are short");
            // What is read again now is more than what it was held with, so that it comes to an end.
            let (mut buf, mut events) = (text[at..].to_vec(), Vec::new());
            at += split_lines(&buf, at as u64, &lines, now, &mut events).consumed;
            joiner.take(&mut buf, &mut events, at as u64, now);
            joiner.note_checks(Some);
            keep(&buf, &events);
        } else {
            keep(&buf, &events);
        }
        resume = joiner.resume().map_or(at as u64, |resume| resume.offset);
    }
    let (mut buf, mut events) = (Vec::new(), Vec::new());
    joiner.end_all(&mut buf, &mut events, false);
    keep(&buf, &events);
    records.sort();
    records
}

/// Lines of a file: the first byte chooses how they are joined. Each byte is in one record, however they are read.
pub fn joined_lines(bytes: &[u8]) {
    let Some((choice, lines)) = bytes.split_first() else { return };
    let options = &JOIN_OPTIONS[usize::from(*choice) % JOIN_OPTIONS.len()];
    let text = [lines, b"\n"].concat();
    let whole = joined(options, &text, usize::MAX);
    assert_eq!(whole.iter().map(|(_, length, ..)| *length).sum::<u64>(), text.len() as u64);
    for size in [1, 30, 200] {
        assert_eq!(joined(options, &text, size), whole, "in reads of {size}");
    }
}

/// Every processor, with options that make it do most; a field that one leaves is read by the next one, too. Those that may drop
/// an event come last.
pub const PROCESSORS: &str = r#"
data_dir: /nowhere
inputs: { lines: { type: stdin } }
outputs: { main: { type: kafka, brokers: ["nowhere:9092"], topic: t } }
processors:
- json: { overwrite_keys: true, expand_keys: true, max_depth: 64, add_error_key: true }
- json: { target: deep.json }
- logfmt: { target: logfmt, expand_keys: true }
- kv: { target: kv, expand_keys: true, allow_empty_values: true, field_split: " &;", trim_value: "\"'" }
- kv: { whitespace: strict, value_split: ":=", prefix: p_ }
- kv: { target: pairs, field_split_pattern: "[ ,;]+|\\Wand\\W", value_split_pattern: "[=:]>?", recursive: true, remove_char_value: "\\", transform_key: lowercase, transform_value: capitalize, default_keys: { none: 1 } }
- csv: { columns: [a, b.c, "[d][e]"], overwrite_keys: true }
- csv: { columns: [x], target: csv, separator: ";", quote: "'", skip_empty_columns: true, convert: { x: integer, column2: float, column3: boolean, column4: date, column5: date_time } }
- dissect: { tokenizer: "%{a} %{+a/2} %{?k}=%{&k} [%{n|long}] %{rest->} %{end}", overwrite_keys: true }
- dissect: { tokenizer: "%{*k}:%{&k},%{f#4}%{g}", target_prefix: "", trim_values: all }
- regex: { patterns: ['(?<r.word>\\w+)\\W+(?<r.rest>.*)', '^(?<r.all>.*)$'], overwrite_keys: true }
- grok: { field: message, patterns: ["%{COMBINEDAPACHELOG}", "%{SYSLOGLINE}", "%{TIMESTAMP_ISO8601:t} %{GREEDYDATA:g}", "%{NUMBER:n:float}"] }
- date: { field: t, formats: [ISO8601, UNIX, UNIX_MS, TAI64N, "EEE MMM dd HH:mm:ss", "yyyy-MM-dd HH:mm:ss.SSS Z", "%d/%b/%Y:%T %z"], timezone: "%{[zone]:Europe/Berlin}" }
- date: { field: message, formats: [ISO8601, UNIX, TAI64N, "MMM dd HH:mm:ss"], target: parsed_at, locale: fr }
- convert: { fields: { n: integer, a: float, x: boolean, b: string } }
- gsub: { fields: [{ field: a, pattern: "(\\w)(.*)", replacement: "\\2\\1" }, { field: message, pattern: "", replacement: "-" }] }
- split: { fields: { a: ",", g: "" } }
- join: { fields: { a: "/" } }
- strip: { fields: [a, message, g] }
- lowercase: { fields: [a, message] }
- uppercase: { fields: [g, message] }
- capitalize: { fields: [a, g] }
- merge: { fields: [{ from: a, to: g }, { from: kv, to: logfmt }, { from: g, to: tags }] }
- truncate: { fields: [message, g], max_bytes: 7 }
- rename: { fields: [{ from: a, to: moved.a }, { from: deep, to: "[x][y]" }] }
- copy: { fields: [{ from: message, to: copied }, { from: kv, to: message }] }
- set: { fields: { made: "%{[message]} %{[kv]:none} %{+yyyy.MM.dd} %{[@metadata][x]}", "[tags]": "%{[tags]}" } }
- when: { if: "[n] > 5 or [message] =~ 'a+b' or 'x' in [tags]", then: [{ add_tags: { tags: ["t-%{[n]}"] } }], else: [{ remove: { fields: [logfmt] } }] }
- route: { topic: "t-%{[message]}", key: "%{[a]}", headers: { h: "%{[kv.h]}" } }
- add_fields: { target: message, fields: { below: 1 } }
- add_tags: { tags: ["%{[message]}", "%{[a]:none}"] }
- remove_tags: { tags: [x] }
- drop_fields: { fields: [kv.h, tags] }
- host: {}
- cloud: { overwrite: true }
- redact: { fields: [message, a, kv], patterns: ['k(?<secret>.*?)v', '\d+'], builtin: [card, email, bearer, ipv4, ipv6], action: hash, key: k }
- redact: { fields: [message, g], builtin: [card, email, bearer, ipv4, ipv6] }
- fingerprint: { fields: [message, a, kv], target: print.a, ignore_missing: true }
- fingerprint: { fields: [message], target: print.b, method: xxh3, encoding: base64 }
- geoip: { field: message, database: /fuzz.mmdb }
- geoip: { field: clientip, target: client, database: /fuzz.mmdb, ecs_compatibility: v8 }
- user_agent: { field: message }
- user_agent: { field: agent, target: "", ecs_compatibility: disabled, lru_cache_size: 2 }
- keep: { fields: [message, made, x] }
- rate_limit: { limit: 1/s, key: "%{[message]}/%{[a]}", on_exceed: tag }
- rate_limit: { limit: 1/d, fields: [message, kv] }
- sample: { rate: 0.5, key: message }
- drop_event: { if: "[message] =~ 'drop|[0-9]$'" }
"#;

/// The system, with a database of addresses in every file.
struct Fuzzed;

impl World for Fuzzed {
    fn variable(&self, name: &str) -> Option<String> {
        System.variable(name)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, std::io::Error> {
        System.read(path)
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<PathBuf>>, std::io::Error> {
        System.list(path)
    }

    fn check_property(&self, name: &str, value: &str) -> Result<(), String> {
        System.check_property(name, value)
    }

    fn property_names(&self) -> Vec<String> {
        System.property_names()
    }

    fn host(&self) -> HostFacts {
        System.host()
    }

    fn database(&self, path: &Path) -> Result<Arc<Database>, std::io::Error> {
        let record = serde_json::json!({
            "city": {"names": {"en": "London"}}, "country": {"iso_code": "GB"}, "location": {"latitude": 51.5, "longitude": 0.1}
        });
        let bytes = mmdb::write("GeoLite2-City", &[("192.0.2.0", 24, record.clone()), ("2001:db8::", 32, record)]);
        Ok(Arc::new(Database::new(path, bytes, [1; 5]).expect("it was just written")))
    }
}

/// The steps of [`PROCESSORS`].
pub static STEPS: LazyLock<Vec<Step>> =
    LazyLock::new(|| check_text("fuzz", PROCESSORS, &Fuzzed).expect("these processors are sound").processors);

/// A line, and what is done to it: the first byte says where in the list of processors it begins (and is alone, if odd). None
/// panics, none drops it but those that are there for that, and every codec can write what it made, in bytes that are in proportion
/// to the line.
pub fn processors(bytes: &[u8]) {
    let Some((first, line)) = bytes.split_first() else { return };
    let steps = &STEPS[..];
    let begin = usize::from(*first / 2) % steps.len();
    let chosen = if first % 2 == 1 { &steps[begin..=begin] } else { &steps[begin..] };
    let flags = if std::str::from_utf8(line).is_ok() { Flags::NONE } else { Flags::INVALID_UTF8 };
    let end = u32::try_from(line.len()).expect("inputs are short");
    let common = Shared::new(SharedOptions::default()).stream("fuzz");
    let read_at = Timestamp(1_764_112_756_000_000_000);
    let mut event = Event::line(0..end, 0, u64::from(end) + 1, 0, read_at, flags);
    let mut tally = Tally::default();
    let mut work = Work { event: &mut event, buf: line, common: &common, read_at, tally: &mut tally };
    let outcome = Chain::new(chosen.to_vec()).run(&mut work);
    match outcome {
        Outcome::Keep => {}
        Outcome::Drop("drop_event" | "rate_limit" | "sampled") => return,
        other => panic!("none of these makes {other:?} of an event"),
    }
    let view = EventView { event: &event, buf: line, common: &common };
    for codec in [Codec::Ecs, Codec::Json, Codec::Raw] {
        let mut value = Vec::new();
        encode(codec, &view, &mut value);
        // A text may be in a dozen fields, each of its bytes as an escape of six.
        assert!(value.len() <= 4_096 + 256 * line.len(), "{} bytes of {}", value.len(), line.len());
        if codec != Codec::Raw {
            let text = std::str::from_utf8(&value).expect("it is UTF-8");
            serde_json::from_str::<serde::de::IgnoredAny>(text).expect("it is JSON");
        }
    }
}

/// One step on an event that has this text as its line and in the fields that the processors look at.
pub fn process(step: &Step, line: &str) {
    let end = u32::try_from(line.len()).expect("inputs are short");
    let common = Shared::new(SharedOptions::default()).stream("fuzz");
    let read_at = Timestamp(1_764_112_756_000_000_000);
    let mut event = Event::line(0..end, 0, u64::from(end) + 1, 0, read_at, Flags::NONE);
    for field in ["a", "b", "g", "n", "t", "kv"] {
        let field = FieldPath::parse(field).expect("a name");
        event.set(&field, Value::from(line), line.as_bytes(), &common).expect("it is free");
    }
    let mut tally = Tally::default();
    let mut work = Work { event: &mut event, buf: line.as_bytes(), common: &common, read_at, tally: &mut tally };
    // What becomes of the event is looked at elsewhere.
    let (Outcome::Keep | Outcome::Drop(_) | Outcome::DeadLetter(_)) = Chain::new(vec![step.clone()]).run(&mut work);
}
