//! Criterion benches of the functions that run for each line: `cargo bench --bench hot`. One iteration is one chunk of access
//! log lines, as a worker takes it; the throughput in elements is lines, in the others bytes of input.
//!
//! Not here: the whole process against a peer (files, Kafka, compression), where CPU per line is measured in earnest.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use logferry::decode::{Charset, Format, JoinOptions, Joiner, LineFilter, LineOptions, split_lines};
use logferry::encode::{Codec, encode};
use logferry::event::Template;
use logferry::event::{Common, Event, EventView, FieldPath, Object, Room, Shared, SharedOptions, Timestamp, json};
use logferry::process::condition::Condition;
use logferry::process::grok::{self, Definitions, Engine, Grok, Set};
use logferry::process::{AddFields, Chain, Date, DateFormat, DropFields, LastRead, Locale, Step, Tally, Work, Zone};
use logferry::route::partition;

const CHUNK_BYTES: usize = 256 << 10;
const NOW: Timestamp = Timestamp(1_795_000_000_123_000_000);

/// Lines of about 170 bytes with 6 quotes to escape, as web servers write them.
fn access_log() -> Vec<u8> {
    let mut log = String::new();
    for n in 0_u64.. {
        if log.len() >= CHUNK_BYTES {
            break;
        }
        let (a, b, c) = (n % 256, n / 3 % 256, n / 7 % 256);
        let (second, item, bytes) = (n % 60, 100_000 + n * 7_919 % 900_000, 1_000 + n * 31 % 9_000);
        log.push_str(&format!(
            "10.{a}.{b}.{c} - - [25/Nov/2026:15:35:{second:02} +0000] \"GET /shop/item/{item} HTTP/1.1\" 200 {bytes} \
             \"https://shop.example.com/list\" \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0\"\n"
        ));
    }
    log.into_bytes()
}

fn common() -> Common {
    let mut fields = Object::new();
    fields.insert("service", "web");
    Shared::new(SharedOptions {
        host_name: "web-1.example.com".to_owned(),
        agent_version: "0.1.0".to_owned(),
        input_name: "nginx".to_owned(),
        fields,
        fields_under_root: false,
        tags: vec!["edge".to_owned()],
        host_id: "0123456789abcdef0123456789abcdef".to_owned(),
    })
    .file("/var/log/nginx/access.log", "5f0c1e2d3b4a59687786958493a2b1c0")
}

fn split(log: &[u8], events: &mut Vec<Event>) {
    let filter = LineFilter::default();
    let options =
        LineOptions { max_line_bytes: CHUNK_BYTES, events_max: usize::MAX, filter: &filter, charset: Charset::Utf8 };
    events.clear();
    black_box(split_lines(log, 0, &options, NOW, events));
}

fn encode_all(codec: Codec, events: &[Event], buf: &[u8], common: &Common, out: &mut Vec<u8>) {
    out.clear();
    for event in events {
        encode(codec, &EventView { event, buf, common }, out);
    }
    black_box(&out);
}

fn whole_path(c: &mut Criterion) {
    let (log, common) = (access_log(), common());
    let (mut events, mut out) = (Vec::new(), Vec::new());
    split(&log, &mut events);
    let mut group = c.benchmark_group("lines");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("decode, hash and encode as ecs", |bench| {
        bench.iter(|| {
            split(&log, &mut events);
            encode_all(Codec::Ecs, &events, &log, &common, &mut out);
        });
    });
    let mut fields = Object::new();
    fields.insert("environment", "production");
    let target = Some(FieldPath::parse("fields").expect("a path"));
    let step = Step::new(AddFields::new(target, fields), Vec::new());
    let chain = Chain::new(vec![step]);
    group.bench_function("the same with add_fields", |bench| {
        bench.iter(|| {
            split(&log, &mut events);
            for event in &mut events {
                let (read_at, tally) = (Timestamp(0), &mut Tally::default());
                chain.run(&mut Work { event, buf: &log, common: &common, read_at, tally });
            }
            encode_all(Codec::Ecs, &events, &log, &common, &mut out);
        });
    });
    split(&log, &mut events);
    group.bench_function("encode as json", |bench| {
        bench.iter(|| encode_all(Codec::Json, &events, &log, &common, &mut out));
    });
    let key = Template::parse("%{[host.name]}%{[log.file.path]}").expect("a template");
    group.bench_function("render a key and place it", |bench| {
        bench.iter(|| {
            for event in &events {
                out.clear();
                key.render(&EventView { event, buf: &log, common: &common }, &mut out)
                    .expect("shared fields are there");
                black_box(partition(&out, 12));
            }
        });
    });
    let condition = Condition::parse("message contains ' 500 ' or fields.service == 'shop'").expect("a condition");
    group.bench_function("a condition", |bench| {
        bench.iter(|| {
            events.iter().filter(|event| condition.holds(&EventView { event, buf: &log, common: &common })).count()
        });
    });
    group.finish();
}

/// A container's line becomes the fields of an access log: all that a worker does with it.
fn parsed(c: &mut Criterion) {
    let lines = String::from_utf8(access_log()).expect("it is ASCII");
    let container = |line: &str| format!("2026-11-25T15:35:01.123456789Z stdout F {line}");
    let log: Vec<u8> = lines.split_inclusive('\n').map(container).collect::<String>().into_bytes();
    let common = common();
    let path = |text: &str| FieldPath::parse(text).expect("a path");
    let pattern = Grok::compile("%{COMBINEDAPACHELOG}", &Definitions::new(Set::Legacy), true, Engine::Linear);
    let grok = grok::processor::Options {
        matches: vec![(path("message"), vec![Arc::new(pattern.expect("a good pattern"))])],
        break_on_match: true,
        overwrite: Vec::new(),
        keep_empty_captures: false,
        target: None,
    };
    let english = Locale::parse("en").expect("a language");
    let date = Date {
        field: path("timestamp"),
        formats: vec![DateFormat::parse("dd/MMM/yyyy:HH:mm:ss Z", english).expect("a good format")],
        zone: Zone::parse("UTC").expect("a zone"),
        target: path("@timestamp"),
        unit_nanos: 1_000_000,
        last: LastRead::default(),
    };
    let drop_fields = DropFields { name: "drop_fields", fields: vec![path("timestamp")] };
    let steps = [Step::new(grok::processor::Processor::new(grok), Vec::new()), Step::new(date, Vec::new())];
    let chain = Chain::new(steps.into_iter().chain([Step::new(drop_fields, Vec::new())]).collect());
    let options = JoinOptions {
        format: Format::Cri,
        multiline: None,
        line_bytes_max: CHUNK_BYTES,
        raw_bytes_max: u64::MAX,
        filter: LineFilter::default(),
    };
    let options = Arc::new(options);
    let (mut buf, mut events, mut out, mut room) = (Vec::new(), Vec::new(), Vec::new(), Room::default());
    split(&log, &mut events);
    let mut group = c.benchmark_group("a container's lines");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("joined, parsed and encoded as ecs", |bench| {
        bench.iter(|| {
            out.clear();
            buf.clone_from(&log);
            split(&buf, &mut events);
            let _joined = Joiner::new(Arc::clone(&options)).take(&mut buf, &mut events, log.len() as u64, NOW);
            for event in &mut events {
                event.take_room(&mut room);
                let tally = &mut Tally::default();
                chain.run(&mut Work { event, buf: &buf, common: &common, read_at: NOW, tally });
                encode(Codec::Ecs, &EventView { event, buf: &buf, common: &common }, &mut out);
                event.make_plain(&mut room);
            }
            black_box(&out);
        });
    });
    group.finish();
}

fn parts(c: &mut Criterion) {
    let (log, common) = (access_log(), common());
    let (mut events, mut out) = (Vec::new(), Vec::new());
    let mut group = c.benchmark_group("bytes");
    group.throughput(Throughput::Bytes(log.len() as u64));
    group.bench_function("split lines", |bench| bench.iter(|| split(&log, &mut events)));
    split(&log, &mut events);
    group.bench_function("escape messages", |bench| {
        bench.iter(|| {
            out.clear();
            for line in log.split_inclusive(|byte| *byte == b'\n') {
                json::write_escaped(&mut out, line);
            }
            black_box(&out);
        });
    });
    group.finish();
    c.bench_function("write a time", |bench| {
        bench.iter(|| {
            out.clear();
            black_box(NOW).render(&mut out);
        });
    });
    c.bench_function("make an event.id", |bench| bench.iter(|| json::hex(common.event_id(black_box(1), 2))));
}

criterion_group!(hot, whole_path, parsed, parts);
criterion_main!(hot);
