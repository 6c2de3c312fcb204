//! The joiner against Fluent Bit's answers (`../shared/conformance/multiline`), at its limits, and against itself: however lines
//! are cut into reads, and whatever is read again, the records are the same.

use std::path::PathBuf;

use proptest::prelude::*;
use regex::bytes::Regex;

use super::*;
use crate::decode::multiline::{Kind, Match};
use crate::decode::presets::Machine;
use crate::decode::{Charset, LineOptions, split_lines};
use crate::event::{Common, EventView, FieldPath, Shared, SharedOptions, ValueRef};

const NOW: Timestamp = Timestamp(1_000_000_000_000);

fn multiline(kind: Kind) -> Multiline {
    Multiline { kind, lines_max: 500, bytes_max: 1 << 20, timeout: Some(PARTS_TIMEOUT), skip_newline: false }
}

fn after(pattern: &str) -> Multiline {
    let pattern = Regex::new(pattern).expect("a good expression");
    multiline(Kind::Pattern { pattern, negate: false, place: Match::After, flush: None })
}

fn presets(names: &[&str]) -> Multiline {
    let machines = names.iter().map(|name| Arc::new(Machine::new(name).expect("a preset")));
    multiline(Kind::Presets(machines.collect()))
}

fn options(format: Format, multiline: Option<Multiline>) -> JoinOptions {
    let filter = LineFilter::new(&[], &["^#".to_owned()]).expect("good expressions");
    JoinOptions { format, multiline, line_bytes_max: 1000, raw_bytes_max: 1 << 20, filter }
}

/// A record as it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    offset: u64,
    length: u64,
    end: u64,
    hash: u64,
    text: String,
    stream: Option<String>,
    time: Timestamp,
    flags: Vec<&'static str>,
    tags: Option<String>,
}

fn common() -> Common {
    Shared::new(SharedOptions::default()).file("/a", "id")
}

fn records(buf: &[u8], events: &[Event]) -> Vec<Record> {
    let common = common();
    let of = |event: &Event| {
        let view = EventView { event, buf, common: &common };
        let get = |path: &str| view.get(&FieldPath::parse(path).expect("a path")).map(ValueRef::into_value);
        let text = |path: &str| get(path).and_then(|value| value.as_str().map(str::to_owned));
        Record {
            offset: event.offset,
            length: event.length,
            end: event.end(),
            hash: event.line_hash,
            text: text("message").expect("a record has a message"),
            stream: text("stream"),
            time: event.timestamp,
            flags: event.flags().names().to_vec(),
            tags: get("tags").map(|tags| tags.to_json().to_string()),
        }
    };
    events.iter().map(of).collect()
}

/// A source of these bytes with its joiner.
struct Source {
    bytes: Vec<u8>,
    at: usize,
    joiner: Joiner,
    joined: Joined,
}

impl Source {
    fn new(options: JoinOptions, bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0, joiner: Joiner::new(Arc::new(options)), joined: Joined::default() }
    }

    /// Takes the whole lines of up to `bytes` more, or one line.
    fn read(&mut self, bytes: usize) -> Vec<Record> {
        let rest = &self.bytes[self.at..];
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut buf = rest[..bytes.max(line).min(rest.len())].to_vec();
        let filter = LineFilter::default();
        let lines = LineOptions { max_line_bytes: 10_000, events_max: 1000, filter: &filter, charset: Charset::Utf8 };
        let mut events = Vec::new();
        self.at += split_lines(&buf, self.at as u64, &lines, NOW, &mut events).consumed;
        let joined = self.joiner.take(&mut buf, &mut events, self.at as u64, NOW);
        self.joiner.note_checks(Some);
        self.count(joined);
        records(&buf, &events)
    }

    fn count(&mut self, joined: Joined) {
        self.joined.truncated += joined.truncated;
        self.joined.filtered += joined.filtered;
        self.joined.malformed += joined.malformed;
    }

    fn end(&mut self) -> Vec<Record> {
        let (mut buf, mut events) = (Vec::new(), Vec::new());
        let joined = self.joiner.end_all(&mut buf, &mut events, false);
        self.count(joined);
        records(&buf, &events)
    }

    fn run(&mut self, bytes: usize) -> Vec<Record> {
        let mut all = Vec::new();
        while self.at < self.bytes.len() {
            all.extend(self.read(bytes));
        }
        all.extend(self.end());
        all
    }
}

fn run(options: JoinOptions, lines: &[&str]) -> Vec<Record> {
    Source::new(options, format!("{}\n", lines.join("\n")).as_bytes()).run(usize::MAX)
}

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.text.as_str()).collect()
}

/// The conformance data beside the repository; without it the test says nothing, which `REQUIRE_KAFKA=1` does not allow.
fn conformance() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/multiline");
    let is_required = std::env::var("REQUIRE_KAFKA").is_ok_and(|value| value == "1");
    if !path.is_dir() {
        assert!(!is_required, "{} is missing", path.display());
        eprintln!("skipped: {} is missing", path.display());
        return None;
    }
    Some(path)
}

/// Scenario: every case of the conformance data, read at once and line by line. Guarantee: Fluent Bit's records.
#[test]
fn records_are_fluent_bit_s() {
    let Some(folder) = conformance() else { return };
    let mut cases = 0;
    for file in std::fs::read_dir(folder).expect("a folder").flatten() {
        let case = std::fs::read_to_string(file.path()).expect("a case");
        let case: serde_json::Value = serde_json::from_str(&case).expect("JSON");
        let list = |key: &str| -> Vec<String> {
            let items = case[key].as_array().expect("a list").iter();
            items.map(|item| item.as_str().expect("a text").to_owned()).collect()
        };
        let (names, input, expected) = (list("parsers"), list("input"), list("expected"));
        let is = |name: &str| names.iter().any(|known| known == name);
        let format = match (is("cri"), is("docker")) {
            (true, true) => Format::Auto,
            (true, false) => Format::Cri,
            (false, true) => Format::Docker,
            (false, false) => Format::Lines,
        };
        let languages: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !["cri", "docker"].contains(name)).collect();
        let multiline = (!languages.is_empty()).then(|| presets(&languages));
        for bytes in [usize::MAX, 1] {
            let text = format!("{}\n", input.join("\n"));
            let records = Source::new(options(format, multiline.clone()), text.as_bytes()).run(bytes);
            assert_eq!(texts(&records), expected, "{names:?}");
        }
        cases += 1;
    }
    assert!(cases >= 5, "only {cases} cases");
}

#[test]
fn streams_and_formats_do_not_break_each_other_up() {
    let lines = [
        r#"{"log":"bb","stream":"stdout","time":"2021-02-01T16:45:03.01232Z"}"#,
        r#"{"log":"dd","stream":"stderr","time":"2021-02-01T16:45:03.01232Z"}"#,
        r#"{"log":"ee\n","stream":"stderr","time":"2021-02-01T16:45:03.01233Z"}"#,
        "2019-05-07T18:57:50.904275087+00:00 stdout P 1a. some ",
        "2019-05-07T18:57:52.904275089+00:00 stderr F other",
        "2019-05-07T18:57:51.904275089+00:00 stdout F text",
        r#"{"log":"-out\n","stream":"stdout","time":"2021-02-01T16:45:03.01234Z"}"#,
    ];
    let records = run(options(Format::Auto, None), &lines);
    assert_eq!(texts(&records), ["ddee", "other", "1a. some text", "bb-out"]);
    let streams: Vec<_> = records.iter().map(|record| record.stream.as_deref().unwrap_or_default()).collect();
    assert_eq!(streams, ["stderr", "stderr", "stdout", "stdout"]);
    assert_eq!(records[2].time.to_string(), "2019-05-07T18:57:50.904275087Z", "of its first part");
    let at = |line: usize| lines[..line].iter().map(|line| line.len() as u64 + 1).sum::<u64>();
    let own = |line: usize| lines[line].len() as u64 + 1;
    assert_eq!((records[3].offset, records[3].length), (0, own(0) + own(6)), "only its own lines");
    assert_eq!((records[2].offset, records[2].length, records[2].end), (at(3), own(3) + own(5), at(6)));
    assert_eq!(records[1].hash, xxh3_64(lines[4].as_bytes()), "one line's hash is that of the raw line");
    assert!(records.iter().all(|record| record.flags.is_empty() && record.tags.is_none()));
}

#[test]
fn parts_come_before_multiline_in_each_stream() {
    let lines = [
        "2021-05-17T17:35:01Z stdout F [DEBUG] 1 start - ",
        "2021-05-17T17:35:01Z stderr F [ERR] a",
        "2021-05-17T17:35:01Z stdout P 1 co",
        "2021-05-17T17:35:01Z stderr F 2 b",
        "2021-05-17T17:35:01Z stdout F nt A",
        "2021-05-17T17:35:01Z stdout F [DEBUG] 2 start - ",
        "2021-05-17T17:35:01Z stdout F 2 cont B",
        "another isolated line",
    ];
    let records = run(options(Format::Cri, Some(after("^[1-9]"))), &lines);
    assert_eq!(
        texts(&records),
        ["[DEBUG] 1 start - \n1 cont A", "[ERR] a\n2 b", "[DEBUG] 2 start - \n2 cont B", "another isolated line"]
    );
    assert_eq!(records[0].flags, ["multiline"]);
    assert_eq!(records[3].tags.as_deref(), Some(r#"["_formatparsefailure"]"#));
}

#[test]
fn what_is_not_of_the_format_is_shipped_and_tagged() {
    for (format, line) in [
        (Format::Cri, r#"{"log":"x\n"}"#),
        (Format::Docker, "2021-05-17T17:35:01Z stdout F x"),
        (Format::Auto, "{"),
        (Format::Auto, ""),
    ] {
        let mut source = Source::new(options(format, None), format!("{line}\n").as_bytes());
        let records = source.run(1);
        assert_eq!(texts(&records), [line]);
        assert_eq!(records[0].tags.as_deref(), Some(r#"["_formatparsefailure"]"#));
        assert_eq!(source.joined, Joined { malformed: 1, ..Joined::default() });
    }
}

#[test]
fn what_is_over_a_limit_is_cut_and_marked() {
    let cut = |multiline: Multiline| run(options(Format::Lines, Some(multiline)), &["a\u{e9}", " b", " c", "d"]);
    let seen = |records: Vec<Record>| -> Vec<(String, Vec<&str>, u64)> {
        records.into_iter().map(|record| (record.text, record.flags, record.length)).collect()
    };
    let d = ("d".to_owned(), vec![], 2);
    let lines = seen(cut(Multiline { lines_max: 2, ..after("^ ") }));
    assert_eq!(lines, [("a\u{e9}\n b".to_owned(), vec!["multiline", "truncated"], 10), d.clone()]);
    let bytes = seen(cut(Multiline { bytes_max: 5, ..after("^ ") }));
    assert_eq!(bytes, [("a\u{e9}\n ".to_owned(), vec!["multiline", "truncated"], 10), d.clone()]);
    // Not within a character, and where there is room for nothing but the separator there is none.
    let first = seen(cut(Multiline { bytes_max: 2, ..after("^ ") }));
    assert_eq!(first, [("a".to_owned(), vec!["truncated"], 10), d.clone()]);
    let counted = seen(cut(Multiline { lines_max: 2, ..multiline(Kind::Count(3)) }));
    assert_eq!(counted, [("a\u{e9}\n b".to_owned(), vec!["multiline", "truncated"], 10), d.clone()]);
    let bare = seen(cut(Multiline { skip_newline: true, ..after("^ ") }));
    assert_eq!(bare, [("a\u{e9} b c".to_owned(), vec!["multiline"], 10), d]);
    // Parts that never end.
    let part = "2021-05-17T17:35:01Z stdout P 0123456789";
    let parts = vec![part; 300];
    let limits = JoinOptions { raw_bytes_max: part.len() as u64 * 200, ..options(Format::Cri, None) };
    let mut source = Source::new(limits, format!("{}\n", parts.join("\n")).as_bytes());
    let records = source.run(100);
    assert_eq!(records.iter().map(|record| record.text.len()).collect::<Vec<_>>(), [1000, 1000]);
    assert_eq!(records[0].flags, ["truncated"]);
    assert_eq!(records.iter().map(|record| record.length).sum::<u64>(), source.bytes.len() as u64);
    assert_eq!(source.joined.truncated, 2);
}

#[test]
fn the_filter_is_for_records() {
    let mut source = Source::new(options(Format::Lines, Some(after("^[ #]"))), b"# no\n #x\n#y\n");
    assert_eq!(texts(&source.run(1)), Vec::<&str>::new());
    assert_eq!(source.joined.filtered, 1);
    assert_eq!(texts(&run(options(Format::Lines, Some(after("^[ #]"))), &["a", "# b"])), ["a\n# b"]);
}

#[test]
fn what_nothing_is_added_to_ends_after_its_time() {
    let mut source = Source::new(options(Format::Lines, Some(after("^ "))), b"a\n b\n");
    assert!(source.read(100).is_empty());
    assert_eq!(source.joiner.due_in(NOW), Some(PARTS_TIMEOUT));
    let later = Timestamp(NOW.0 + 4_999_000_000);
    assert_eq!(source.joiner.due_in(later), Some(Duration::from_millis(1)));
    let (mut buf, mut events) = (Vec::new(), Vec::new());
    source.joiner.end_due(&mut buf, &mut events, later);
    assert!(events.is_empty());
    source.joiner.end_due(&mut buf, &mut events, Timestamp(NOW.0 + 5_000_000_000));
    assert_eq!(texts(&records(&buf, &events)), ["a\n b"]);
    assert_eq!((source.joiner.due_in(NOW), source.joiner.bytes_held()), (None, 0));
    let never = Multiline { timeout: None, ..after("^ ") };
    let mut source = Source::new(options(Format::Lines, Some(never)), b"a\n");
    source.read(100);
    assert_eq!((source.joiner.due_in(Timestamp(i64::MAX)), source.joiner.is_open()), (None, true));
}

#[test]
fn what_stands_alone_stays_where_it_is() {
    let text = b"2021-05-17T17:35:01Z stdout F one\n{\"log\":\"two\\n\",\"stream\":\"stderr\"}\n";
    let mut source = Source::new(options(Format::Auto, None), text);
    let mut buf = text.to_vec();
    let (filter, mut events) = (LineFilter::default(), Vec::new());
    let lines = LineOptions { max_line_bytes: 1000, events_max: 10, filter: &filter, charset: Charset::Utf8 };
    split_lines(&buf, 0, &lines, NOW, &mut events);
    source.joiner.take(&mut buf, &mut events, text.len() as u64, NOW);
    assert_eq!(buf, text, "nothing was copied");
    assert_eq!(texts(&records(&buf, &events)), ["one", "two"]);
}

/// Scenario: a trace with empty lines behind it, of which the next lines tell whether they belong to it; between them a line of another
/// stream. Guarantee: they are records of their own, or in the trace, with their raw bytes, and so they are where time or the source ends.
#[test]
fn lines_in_doubt_go_back_to_where_they_stood() {
    let cri = |stream: &str, line: &str| format!("2021-05-17T17:35:01Z {stream} F {line}\n");
    let trace: String = ["Traceback (most recent call last):", "E: a", "", ""].map(|line| cri("stderr", line)).concat();
    let other = cri("stdout", "other");
    let whole = "Traceback (most recent call last):\nE: a";
    let options = || options(Format::Cri, Some(presets(&["java", "python"])));
    let own = |line: &str| cri("stderr", line).len() as u64;

    let next = cri("stderr", "next");
    let mut source = Source::new(options(), [&*trace, &other, &next].concat().as_bytes());
    let seen = source.run(1);
    assert_eq!(texts(&seen), ["other", whole, "", "", "next"]);
    let trace_bytes = trace.len() as u64 - 2 * own("");
    let places: Vec<(u64, u64)> = seen[1..4].iter().map(|record| (record.offset, record.length)).collect();
    assert_eq!(places, [(0, trace_bytes), (trace_bytes, own("")), (trace_bytes + own(""), own(""))]);
    assert!(seen[2..].iter().all(|record| record.flags.is_empty()), "{seen:?}");
    assert_eq!(seen[2].hash, xxh3_64(cri("stderr", "").trim_end_matches('\n').as_bytes()));

    let during = "During handling of the above exception, another exception occurred:";
    let text = [&*trace, &other, &cri("stderr", during), &next].concat();
    let seen = Source::new(options(), text.as_bytes()).run(1);
    assert_eq!(texts(&seen), ["other", &format!("{whole}\n\n\n{during}"), "next"]);
    assert_eq!((seen[1].offset, seen[1].length), (0, trace.len() as u64 + own(during)));

    let mut source = Source::new(options(), trace.as_bytes());
    assert!(source.read(1000).is_empty());
    assert_eq!(source.joiner.resume(), Some(Resume { offset: 0, check: Some(0) }), "before the trace");
    let (mut buf, mut events) = (Vec::new(), Vec::new());
    source.joiner.end_due(&mut buf, &mut events, Timestamp(NOW.0 + 5_000_000_000));
    assert_eq!(texts(&records(&buf, &events)), [whole, "", ""]);
    assert_eq!((source.joiner.bytes_held(), source.joiner.is_open(), source.joiner.resume()), (0, false, None));
    // Where the trace is ended for want of memory, it is what is cut.
    let mut source = Source::new(options(), trace.as_bytes());
    source.read(1000);
    let (mut buf, mut events) = (Vec::new(), Vec::new());
    source.joiner.end_all(&mut buf, &mut events, true);
    let flags: Vec<Vec<&str>> = records(&buf, &events).into_iter().map(|record| record.flags).collect();
    assert_eq!(flags, [vec!["multiline", "truncated"], vec![], vec![]]);
}

/// Lines of two containers' streams, with parts and traces between each other.
fn line() -> impl Strategy<Value = String> {
    let message = prop_oneof![
        Just("start"),
        Just(" goes on"),
        Just(""),
        Just("# no"),
        Just("x.YException: a"),
        Just("\tat b"),
        Just("Traceback (most recent call last):"),
        Just("ValueError: no"),
        Just("During handling of the above exception, another exception occurred:"),
        Just("\u{e9}\u{1f600}")
    ];
    let cri =
        (prop_oneof![Just("stdout"), Just("stderr")], prop_oneof![3 => Just("F"), 1 => Just("P")], message.clone())
            .prop_map(|(stream, tag, message)| format!("2021-05-17T17:35:01Z {stream} {tag} {message}"));
    let docker =
        (prop_oneof![Just("stdout"), Just("stderr")], any::<bool>(), message).prop_map(|(stream, ends, message)| {
            let log = if ends { format!("{message}\n") } else { message.to_owned() };
            serde_json::json!({ "log": log, "stream": stream }).to_string()
        });
    prop_oneof![6 => cri, 2 => docker, 1 => Just("raw line".to_owned())]
}

fn kinds() -> impl Strategy<Value = Option<Multiline>> {
    let regex = |text: &str| Regex::new(text).expect("a good expression");
    let pattern = move |negate: bool, place: Match, flush: bool| {
        let flush = flush.then(|| regex("^\u{e9}"));
        multiline(Kind::Pattern { pattern: regex(r"^\s"), negate, place, flush })
    };
    prop_oneof![
        Just(None),
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(move |(negate, after, flush)| Some(pattern(
            negate,
            if after { Match::After } else { Match::Before },
            flush
        ))),
        Just(Some(multiline(Kind::While { pattern: regex("^s"), negate: true }))),
        (1usize..4).prop_map(|count| Some(multiline(Kind::Count(count)))),
        Just(Some(presets(&["java"]))),
        Just(Some(presets(&["python", "php"]))),
        Just(Some(Multiline { lines_max: 2, bytes_max: 7, ..presets(&["java", "python"]) })),
    ]
}

proptest! {
    /// Scenario: lines of several streams in reads of any size; some batches are held, so that their source goes back by one
    /// read; at the end everything is read again by a source that resumes where one of the batches did, as after a crash.
    /// Guarantee: the records are those of one read; a hold repeats none and loses none; after the crash those that begin behind
    /// its place come again as they were, and no other; what is not filtered covers every byte once.
    #[test]
    fn reads_holds_and_crashes_change_no_record(
        lines in proptest::collection::vec(line(), 0..40), multiline in kinds(),
        sizes in proptest::collection::vec((1usize..200, proptest::bool::weighted(0.3)), 1..60), crash: prop::sample::Index,
    ) {
        let options = JoinOptions { filter: LineFilter::default(), ..options(Format::Auto, multiline) };
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let expect = Source::new(options.clone(), text.as_bytes()).run(usize::MAX);
        prop_assert_eq!(expect.iter().map(|record| record.length).sum::<u64>(), text.len() as u64);

        let mut source = Source::new(options.clone(), text.as_bytes());
        let mut seen = Vec::new();
        let mut resume = 0;
        let mut resumes = vec![0];
        for (size, held) in sizes.iter().cycle().take(1000) {
            if source.at >= text.len() {
                break;
            }
            let before = source.joiner.marks();
            let records = source.read(*size);
            if *held {
                source.joiner.restore(resume, Some(before));
                source.at = usize::try_from(resume).expect("small");
                // Once is enough: it is read again from before what is open.
                continue;
            }
            seen.extend(records);
            let next = source.joiner.resume();
            prop_assert!(next.is_none_or(|next| next.check == Some(next.offset)));
            let next = next.map_or(source.at as u64, |next| next.offset);
            prop_assert!(next >= resume, "it never goes back");
            resume = next;
            resumes.push(resume);
        }
        while source.at < text.len() {
            seen.extend(source.read(usize::MAX));
        }
        seen.extend(source.end());
        prop_assert_eq!(sorted(&seen), sorted(&expect));

        let from = *crash.get(&resumes);
        let mut again = Source::new(options, text.as_bytes());
        again.at = usize::try_from(from).expect("small");
        again.joiner.restore(from, None);
        let repeated = again.run(usize::MAX);
        let expect: Vec<Record> = expect.into_iter().filter(|record| record.offset >= from).collect();
        prop_assert_eq!(sorted(&repeated), sorted(&expect));
    }

    /// Guarantee: no bytes are a panic, and every byte is in one record.
    #[test]
    fn any_bytes_are_records(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'"'), Just(b'{'), any::<u8>()], 0..300), multiline in kinds()) {
        let mut bytes = bytes;
        bytes.push(b'\n');
        let options = JoinOptions { filter: LineFilter::default(), ..options(Format::Auto, multiline) };
        let records = Source::new(options, &bytes).run(50);
        prop_assert_eq!(records.iter().map(|record| record.length).sum::<u64>(), bytes.len() as u64);
    }
}

/// By offset: records of different streams end in the order in which their lines are read.
fn sorted(records: &[Record]) -> Vec<Record> {
    let mut records = records.to_vec();
    records.sort_by_key(|record| record.offset);
    records
}
