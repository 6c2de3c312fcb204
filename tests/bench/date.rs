//! Criterion benches of the processor `date`: `cargo bench --bench date`. One iteration is one event whose text is a time, which
//! becomes its timestamp: what a parsed line pays besides its parsing.
//!
//! Not here: what cuts the time out of a line (`grok`).

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use logferry::decode::{Charset, LineFilter, LineOptions, split_lines};
use logferry::event::{Common, Event, FieldPath, Object, Shared, SharedOptions, Timestamp};
use logferry::process::{Date, DateFormat, LastRead, Locale, Process, Tally, Work, Zone};

const NOW: Timestamp = Timestamp(1_795_000_000_123_000_000);

/// Name, formats, a text that the last of them reads, and the milliseconds it stands for.
const CASES: [(&str, &[&str], &str, i64); 6] = [
    ("ISO8601, Z", &["ISO8601"], "2026-11-18T10:26:40.123Z", 1_794_997_600_123),
    ("ISO8601, offset", &["ISO8601"], "2026-11-18T11:26:40,123+01:00", 1_794_997_600_123),
    ("apache", &["dd/MMM/yyyy:HH:mm:ss Z"], "18/Nov/2026:10:26:40 +0000", 1_794_997_600_000),
    ("syslog, no year", &["MMM  d HH:mm:ss", "MMM dd HH:mm:ss"], "Nov 18 10:26:40", 1_794_997_600_000),
    ("UNIX_MS", &["UNIX_MS"], "1794997600123", 1_794_997_600_123),
    (
        "the third of three",
        &["UNIX_MS", "dd/MMM/yyyy:HH:mm:ss Z", "ISO8601"],
        "2026-11-18T10:26:40Z",
        1_794_997_600_000,
    ),
];

fn common() -> Common {
    Shared::new(SharedOptions {
        host_name: "web-1.example.com".to_owned(),
        agent_version: "0.1.0".to_owned(),
        input_name: "nginx".to_owned(),
        fields: Object::new(),
        fields_under_root: false,
        tags: Vec::new(),
        host_id: "0123456789abcdef0123456789abcdef".to_owned(),
    })
    .file("/var/log/nginx/access.log", "5f0c1e2d3b4a59687786958493a2b1c0")
}

fn date(formats: &[&str], zone: &str) -> Date {
    let locale = Locale::parse("en").expect("a language");
    Date {
        field: FieldPath::parse("message").expect("a path"),
        formats: formats.iter().map(|text| DateFormat::parse(text, locale).expect("a good format")).collect(),
        zone: Zone::parse(zone).expect("a zone"),
        target: FieldPath::parse("@timestamp").expect("a path"),
        unit_nanos: 1_000_000,
        last: LastRead::default(),
    }
}

/// An event whose message is `text`.
fn event(text: &str) -> Event {
    let filter = LineFilter::default();
    let options = LineOptions { max_line_bytes: 1 << 10, events_max: 1, filter: &filter, charset: Charset::Utf8 };
    let mut events = Vec::new();
    split_lines(format!("{text}\n").as_bytes(), 0, &options, NOW, &mut events);
    events.remove(0)
}

fn dates(criterion: &mut Criterion) {
    let common = common();
    let mut group = criterion.benchmark_group("date");
    for (name, formats, text, millis) in CASES {
        let (date, mut event, tally) = (date(formats, "UTC"), event(text), &mut Tally::default());
        let mut read_at = NOW;
        let mut run = |text: &str| {
            // What was read at another time is not remembered.
            read_at.0 += 1;
            let mut work = Work { event: &mut event, buf: text.as_bytes(), common: &common, read_at, tally };
            date.run(&mut work).map(|_| event.timestamp)
        };
        assert_eq!(run(text).ok(), Some(Timestamp(millis * 1_000_000)), "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| run(black_box(text))));
    }
    // A text that names no offset is of a zone, whose rules say which.
    let (zoned, text) = (date(&["ISO8601"], "Europe/Berlin"), "2026-11-18T11:26:40.123");
    let (mut event, tally) = (event(text), &mut Tally::default());
    let mut run = |text: &str, read_at: Timestamp| {
        let mut work = Work { event: &mut event, buf: text.as_bytes(), common: &common, read_at, tally };
        zoned.run(&mut work).map(|_| event.timestamp)
    };
    assert_eq!(run(text, NOW).ok(), Some(Timestamp(1_794_997_600_123_000_000)), "zoned");
    let mut read_at = NOW;
    group.bench_function("ISO8601, Europe/Berlin", |bencher| {
        bencher.iter(|| {
            read_at.0 += 1;
            run(black_box(text), read_at)
        })
    });
    group.bench_function("the same as the last line's", |bencher| bencher.iter(|| run(black_box(text), NOW)));
    group.finish();
}

criterion_group!(benches, dates);
criterion_main!(benches);
