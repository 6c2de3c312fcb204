//! Criterion benches of `multiline`: `cargo bench --bench multiline`. One iteration is one chunk of a Java service's log, as a
//! source takes it: split into lines, which are joined; the throughput is in bytes of log. `lines alone` is what to subtract.
//!
//! Not here: reading files, and formats of container runtimes.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use logferry::decode::multiline::{Kind, Match, Multiline};
use logferry::decode::presets::Machine;
use logferry::decode::{Charset, Format, JoinOptions, Joiner, LineFilter, LineOptions, split_lines};
use logferry::event::{Event, Timestamp};
use regex::bytes::Regex;

const CHUNK_BYTES: usize = 256 << 10;
const NOW: Timestamp = Timestamp(1_795_000_000_123_000_000);

/// Of ten records nine are one line; the tenth is an exception with its frames and its cause: 27 lines. Also: how many records.
fn service_log() -> (Vec<u8>, usize) {
    let (mut log, mut records) = (String::new(), 0);
    while log.len() < CHUNK_BYTES {
        let second = records % 60;
        let time = format!("2026-11-25 15:35:{second:02},123");
        records += 1;
        if records % 10 != 0 {
            log.push_str(&format!(
                "{time} INFO  [http-nio-8080-exec-{second}] com.shop.cart.CartService: 3 items for user 4711\n"
            ));
            continue;
        }
        log.push_str(&format!(
            "{time} ERROR [http-nio-8080-exec-{second}] com.shop.cart.CartService: the cart is lost\n\
             java.lang.IllegalStateException: no answer from the database\n"
        ));
        for frame in 0..12 {
            log.push_str(&format!("\tat com.shop.cart.Layer{frame}.handle(Layer{frame}.java:{})\n", 100 + frame));
        }
        log.push_str("Caused by: java.net.SocketTimeoutException: Read timed out\n");
        for frame in 0..11 {
            log.push_str(&format!(
                "\tat java.base/sun.nio.ch.NioSocket{frame}.read(NioSocket{frame}.java:{})\n",
                300 + frame
            ));
        }
        log.push_str("\t... 12 more\n");
    }
    (log.into_bytes(), records)
}

fn options(kind: Option<Kind>) -> Arc<JoinOptions> {
    let multiline = kind.map(|kind| Multiline {
        kind,
        lines_max: 500,
        bytes_max: 1 << 20,
        timeout: Some(Duration::from_secs(5)),
        skip_newline: false,
    });
    Arc::new(JoinOptions {
        format: Format::Lines,
        multiline,
        line_bytes_max: 1 << 20,
        raw_bytes_max: 4 << 20,
        filter: LineFilter::default(),
    })
}

/// The buffers of a source, used again for each chunk.
#[derive(Default)]
struct Source {
    buf: Vec<u8>,
    events: Vec<Event>,
}

impl Source {
    fn split(&mut self, log: &[u8]) -> usize {
        self.buf.clear();
        self.buf.extend_from_slice(log);
        self.events.clear();
        let filter = LineFilter::default();
        let options = LineOptions {
            max_line_bytes: CHUNK_BYTES,
            events_max: usize::MAX,
            filter: &filter,
            charset: Charset::Utf8,
        };
        black_box(split_lines(&self.buf, 0, &options, NOW, &mut self.events));
        self.events.len()
    }

    /// The records of the chunk.
    fn join(&mut self, log: &[u8], options: &Arc<JoinOptions>) -> usize {
        self.split(log);
        let mut joiner = Joiner::new(Arc::clone(options));
        joiner.take(&mut self.buf, &mut self.events, log.len() as u64, NOW);
        joiner.end_all(&mut self.buf, &mut self.events, false);
        black_box(&self.events).len()
    }
}

fn multiline(criterion: &mut Criterion) {
    let (log, records) = service_log();
    let mut source = Source::default();
    let pattern = |text: &str| Regex::new(text).expect("a good pattern");
    let begins =
        Kind::Pattern { pattern: pattern(r"^\d{4}-\d{2}-\d{2} "), negate: true, place: Match::After, flush: None };
    let goes_on = Kind::Pattern {
        pattern: pattern(r"^(java|Caused by|\s+(at |\.\.\.))"),
        negate: false,
        place: Match::After,
        flush: None,
    };
    let java = Kind::Presets(vec![Arc::new(Machine::new("java").expect("a preset"))]);
    let mut group = criterion.benchmark_group("multiline");
    group.throughput(Throughput::Bytes(log.len() as u64));
    group.bench_function("lines alone", |bench| bench.iter(|| source.split(&log)));
    for (name, kind, want) in [
        ("pattern, negated: a date begins a record", begins, Some(records)),
        ("pattern: a frame goes on", goes_on, Some(records)),
        // The preset joins an exception with the line before it only where that line is one of its own.
        ("preset java", java, None),
        ("count 10", Kind::Count(10), None),
    ] {
        let options = options(Some(kind));
        let (joined, lines) = (source.join(&log, &options), source.split(&log));
        assert!(joined < lines && want.is_none_or(|want| joined == want), "{name}: {joined} records of {lines} lines");
        group.bench_function(name, |bench| bench.iter(|| source.join(&log, &options)));
    }
    group.finish();
}

criterion_group!(benches, multiline);
criterion_main!(benches);
