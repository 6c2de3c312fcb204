//! Grok against the crate `grok` with Oniguruma: the same lines, the same definitions, every field asked for; in one run:
//! `cargo bench --bench grok`. Each case has a line that matches, one that does not, and the first with each of its bytes
//! replaced in turn, as far as it does not match then.
//!
//! Not here: what becomes of the fields (the processor), which `hot` has for other processors.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use logferry::process::grok::{Definitions, Engine, Grok, Scratch, Set};

/// Twelve fields, as a user would write them for a service of their own.
const OWN: &str = r"^%{TIMESTAMP_ISO8601:time} \[%{LOGLEVEL:level}\] %{NOTSPACE:logger} user=%{USER:user} ip=%{IP:ip} method=%{WORD:method} path=%{URIPATH:path} status=%{INT:status:int} bytes=%{INT:bytes:int} took=%{NUMBER:took:float}ms id=%{UUID:id} - %{GREEDYDATA:text}$";

/// Name, pattern, a line that matches, one that does not.
const CASES: [(&str, &str, &str, &str); 5] = [
    (
        "combinedapachelog",
        "%{COMBINEDAPACHELOG}",
        r#"83.149.9.216 - frank [17/May/2015:10:05:03 +0000] "GET /presentations/logstash/images/kibana-search.png HTTP/1.1" 200 203023 "http://semicomplete.com/presentations/" "Mozilla/5.0 (X11)""#,
        r#"83.149.9.216 - frank [17/May/2015:10:05:03] "GET /presentations/logstash/images/kibana-search.png HTTP/1.1" 200 203023 "http://semicomplete.com/presentations/" "Mozilla/5.0 (X11)""#,
    ),
    (
        "syslogline",
        "%{SYSLOGLINE}",
        "Mar 16 00:01:25 evita postfix/smtpd[1713]: connect from camomile.cloud9.net[168.100.1.3]",
        "Mar 16 00:01 evita postfix/smtpd[1713]: connect from camomile.cloud9.net[168.100.1.3]",
    ),
    (
        "haproxyhttp",
        "%{HAPROXYHTTP}",
        r#"Dec  9 13:01:26 localhost haproxy[28029]: 127.0.0.1:39759 [09/Dec/2013:12:59:46.633] loadbalancer default/instance8 0/51536/1/48082/99627 200 83285 - - ---- 87/87/87/1/0 0/67 {77.24.148.74} "GET /path/to/image HTTP/1.1""#,
        r#"Dec  9 13:01:26 localhost haproxy[28029]: 127.0.0.1:39759 [09/Dec/2013:12:59:46.633] loadbalancer default/instance8 0/51536/1/48082/99627 200 83285 - - ---- 87/87/87/1/0 0/67 {77.24.148.74} GET /path/to/image HTTP/1.1"#,
    ),
    (
        "javastacktracepart",
        "%{JAVASTACKTRACEPART}",
        "\tat org.apache.catalina.core.ApplicationFilterChain.internalDoFilter(ApplicationFilterChain.java:241)",
        "Caused by: java.lang.IllegalStateException: the connection to the database at db-1 was closed too early",
    ),
    (
        "own12",
        OWN,
        "2024-05-01T12:34:56.789Z [INFO] com.shop.cart user=alice ip=10.12.13.14 method=GET path=/cart/items/42 status=200 bytes=5120 took=12.5ms id=1b4e28ba-2fa1-11d2-883f-0016d3cca427 - added 3 items to the cart",
        "2024-05-01T12:34:56.789Z [INFO] com.shop.cart user=alice ip=10.12.13.14 method=GET path=/cart/items/42 status=200 bytes=5120 id=1b4e28ba-2fa1-11d2-883f-0016d3cca427 - added 3 items to the cart",
    ),
];

fn groks(criterion: &mut Criterion) {
    let definitions = Definitions::new(Set::Legacy);
    let mut theirs = grok::Grok::with_default_patterns();
    for name in definitions.names() {
        theirs.add_pattern(name.to_owned(), definitions.get(name).expect("it is listed").to_string());
    }
    for (name, pattern, line, other) in CASES {
        let ours = Grok::compile(pattern, &definitions, true, Engine::Linear).expect("a good pattern");
        let theirs = theirs.compile(pattern, true).expect("a good pattern");
        let mut scratch = Scratch::default();
        let mut find = |line: &str| {
            let found = ours.find(&mut scratch, line.as_bytes()).expect("short lines are never given up");
            found.map_or(0, |found| found.captures().filter(|(_, range)| black_box(range).is_some()).count())
        };
        assert!(find(line) > 0 && find(other) == 0, "{name}: one line matches, the other does not");
        let mut group = criterion.benchmark_group(name);
        group.bench_function("logferry", |bencher| bencher.iter(|| find(black_box(line))));
        group.bench_function("logferry, no match", |bencher| bencher.iter(|| find(black_box(other))));
        let broken = broken(line, |line| find(line) == 0);
        let mut next = broken.iter().cycle();
        group.bench_function("logferry, broken", |bencher| {
            bencher.iter(|| find(black_box(next.next().expect("a line can be broken"))));
        });
        let find = |line| theirs.match_against(line).map_or(0, |found| found.iter().map(black_box).count());
        group.bench_function("oniguruma", |bencher| bencher.iter(|| find(black_box(line))));
        group.bench_function("oniguruma, no match", |bencher| bencher.iter(|| find(black_box(other))));
        group.finish();
    }
}

/// The line with each of its bytes replaced in turn, where it does not match then.
fn broken(line: &str, mut fails: impl FnMut(&str) -> bool) -> Vec<String> {
    let replaced = (0..line.len()).map(|at| format!("{}#{}", &line[..at], &line[at + 1..]));
    replaced.filter(|line| fails(line)).collect()
}

criterion_group!(benches, groks);
criterion_main!(benches);
