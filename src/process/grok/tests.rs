//! The engine against Logstash's answers (`../shared/conformance/grok`), against fancy-regex, and against itself: the ways to
//! match (see `search`) must agree.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::search::Way;
use super::*;

/// The conformance data beside the repository; without it these tests say nothing, which `REQUIRE_KAFKA=1` does not allow.
fn conformance() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/grok");
    let is_there = path.is_dir();
    let is_required = std::env::var("REQUIRE_KAFKA").is_ok_and(|value| value == "1");
    assert!(is_there || !is_required, "{} is missing", path.display());
    is_there.then_some(path)
}

fn cases(path: &std::path::Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).expect("a file of cases");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn set(mode: &Json) -> Set {
    if mode == "ecs-v1" { Set::V8 } else { Set::Legacy }
}

fn value(field: &Field, text: &str) -> Json {
    match field.cast {
        None => text.into(),
        Some(Cast::Int) => match int(text) {
            Int::Small(number) => number.into(),
            Int::Big(digits) => serde_json::from_str(&digits).expect("digits are a number"),
        },
        Some(Cast::Float) => match float(text) {
            number if number.is_finite() => number.into(),
            _ => "Infinity".into(),
        },
    }
}

const WAYS: [Way; 3] = [Way::Best, Way::FastOnly, Way::NotesOnly];

/// What `way` makes of a text: span and captures.
fn answer(grok: &Grok, text: &str, keeps_empty: bool, way: Way) -> (Json, Json) {
    let mut scratch = Scratch::default();
    let found = grok.find_by(&mut scratch, text.as_bytes(), way).expect("short texts are never given up");
    let Some(found) = found else { return (Json::Null, Json::Array(Vec::new())) };
    let captures = found.captures().filter_map(|(field, range)| {
        let text = range.and_then(|range| text.get(range));
        let is_empty = text.is_none_or(|text| text.is_empty() && field.cast.is_none());
        let value = text.map_or(Json::Null, |text| value(field, text));
        (keeps_empty || !is_empty).then(|| Json::Array(vec![field.name.clone().into(), value]))
    });
    (Json::Array(vec![found.start.into(), found.end.into()]), captures.collect())
}

/// Scenario: every case of the conformance data with one pattern and one text, matched in every way there is.
/// Guarantee: the span and the captures that Logstash has; what its engine refuses is refused; what is refused beyond that is
/// marked as rare there.
#[test]
fn captures_and_spans_are_logstash_s() {
    let Some(folder) = conformance() else { return };
    let mut count = 0;
    for file in ["core", "grok_filter", "haproxy", "httpd", "java", "rails3", "squid", "syslog", "semantics"] {
        for case in cases(&folder.join(format!("{file}.jsonl"))) {
            let (Some(pattern), Some(text)) = (case["pattern"].as_str(), case["input"].as_str()) else { continue };
            let mut definitions = Definitions::new(set(&case["mode"]));
            for (name, definition) in case["pattern_definitions"].as_object().into_iter().flatten() {
                definitions.define(name, definition.as_str().expect("a text"));
            }
            let names_only = case["named_captures_only"] != false;
            let error = case["error"].as_str().unwrap_or_default();
            let must_refuse = error.starts_with("RegexpError") || error.starts_with("Grok::PatternError");
            count += 1;
            match Grok::compile(pattern, &definitions, names_only, Engine::Linear) {
                Err(error) => assert!(must_refuse || case["area"] == "engine-rare", "{}: {error}", case["id"]),
                Ok(_) if must_refuse => panic!("{} is not refused", case["id"]),
                // What fails when a field is set is tested with the processor.
                Ok(_) if !error.is_empty() => {}
                Ok(grok) => {
                    for way in WAYS {
                        let (span, captures) = answer(&grok, text, case["keep_empty_captures"] == true, way);
                        let want = (&case["span"], &case["captures"]);
                        assert_eq!((&span, &captures), want, "{} {way:?}: {pattern} on {text:?}", case["id"]);
                    }
                }
            }
        }
    }
    assert!(count > 500, "only {count} cases");
}

/// Scenario: each name of `grok-patterns` on each line of the sweep, in both sets and in every way. Guarantee: Logstash's span.
#[test]
fn every_basic_pattern_spans_what_it_does_in_logstash() {
    let Some(folder) = conformance() else { return };
    let lines = cases(&folder.join("core_sweep.jsonl"));
    for (set, patterns) in [(Set::Legacy, "legacy"), (Set::V8, "ecs-v1")] {
        let text =
            std::fs::read_to_string(folder.join("patterns").join(patterns).join("grok-patterns")).expect("it is there");
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split(' ').next().expect("a name");
            let pattern = format!("%{{{name}}}");
            let grok = Grok::compile(&pattern, &Definitions::new(set), true, Engine::Linear).expect("it compiles");
            for case in &lines {
                let other = case["ecs_v1_differs"].get(name).filter(|_| set == Set::V8);
                let want = other.or_else(|| case["spans"].get(name)).unwrap_or(&Json::Null);
                let text = case["input"].as_str().expect("a text");
                for way in WAYS {
                    assert_eq!(answer(&grok, text, false, way).0, *want, "{set:?} {name} {way:?} on {text:?}");
                }
            }
        }
    }
}

/// Scenario: the pattern files of Logstash, both sets. Guarantee: the built-in sets have the same names with the same
/// definitions, and all of them compile.
#[test]
fn the_sets_are_logstash_s() {
    let Some(folder) = conformance() else { return };
    for (set, patterns) in [(Set::Legacy, "legacy"), (Set::V8, "ecs-v1")] {
        let files = std::fs::read_dir(folder.join("patterns").join(patterns)).expect("it is there");
        let mut files: Vec<PathBuf> = files.map(|file| file.expect("it can be listed").path()).collect();
        files.sort();
        let mut theirs = Definitions::new(set);
        files.iter().for_each(|file| theirs.define_all(&std::fs::read_to_string(file).expect("it can be read")));
        let ours = Definitions::new(set);
        assert_eq!(theirs.names(), ours.names());
        for name in ours.names() {
            assert_eq!(ours.get(name), theirs.get(name), "{name}");
            let compiled = Grok::compile(&format!("%{{{name}}}"), &ours, true, Engine::Linear);
            assert!(compiled.is_ok(), "{name}: {compiled:?}");
        }
    }
}

/// Scenario: `aaaa…` of 64 KiB, twice that, and of 1 MiB, against every built-in pattern. Guarantee: steps grow no faster than
/// the text, and nothing is given up.
#[test]
fn every_pattern_is_linear() {
    for set in [Set::Legacy, Set::V8] {
        let definitions = Definitions::new(set);
        for name in definitions.names() {
            if set == Set::V8 && definitions.get(name) == Definitions::new(Set::Legacy).get(name) {
                continue;
            }
            let grok = Grok::compile(&format!("%{{{name}}}"), &definitions, true, Engine::Linear).expect("it compiles");
            let steps = |length: usize| {
                let mut scratch = Scratch::default();
                let text = vec![b'a'; length];
                grok.find(&mut scratch, &text).unwrap_or_else(|_| panic!("{name} gives up at {length}"));
                scratch.steps()
            };
            let (once, twice, whole) = (steps(1 << 16), steps(1 << 17), steps(1 << 20));
            assert!(twice <= once * 5 / 2 + 10_000, "{name}: {once}, then {twice}");
            assert!(whole <= once * 20 + 10_000, "{name}: {once}, then {whole}");
        }
    }
}

/// Scenario: patterns that take a backtracker quadratic or exponential time. Guarantee: steps grow with the text.
#[test]
fn nothing_is_more_than_linear() {
    let definitions = Definitions::new(Set::Legacy);
    for (pattern, text) in [
        (r"(?:a+)+b", "a"),
        (r"(?:a|a)*b", "a"),
        (r"(?:a|aa)+$b", "a"),
        (r"a*a*a*a*a*b", "a"),
        (r"(?=(?<x>.*b))a", "a"),
        (r"(?:(?=a*b)a|a)*c", "a"),
        (r"(?>a+|b)*c", "ab"),
        (r"(?<!x)\w+\.\w+@", "a."),
        (r"%{DATA:a} %{DATA:b} %{DATA:c};", "a "),
        (r"(?:.*?,){3}x", ","),
    ] {
        let grok = Grok::compile(pattern, &definitions, true, Engine::Linear).expect("it compiles");
        let steps = |length: usize| {
            let mut scratch = Scratch::default();
            assert!(grok.find(&mut scratch, text.repeat(length).as_bytes()).expect("not given up").is_none());
            let best = scratch.steps();
            let found = grok.find_by(&mut scratch, text.repeat(length).as_bytes(), Way::NotesOnly);
            assert!(found.expect("not given up").is_none());
            best + scratch.steps()
        };
        let (half, whole) = (steps(4_000), steps(8_000));
        assert!(whole <= half * 5 / 2, "{pattern}: {half}, then {whole}");
    }
}

/// Scenario: look-aheads that succeed at each place, having gone over all that follows. Guarantee: the steps grow with the text
/// though nothing fails on the way.
#[test]
fn a_look_ahead_that_succeeds_everywhere_is_linear() {
    for (pattern, end, matches) in [
        (r"(?:(?=a*b)a)*c", "bdc", true),
        (r"^(?:(?=a*b)a)*c", "bdc", false),
        (r"(?:(?=\S*=)\w)+:", "=b :", false),
        (r"(?:(?=(?<k>a*))a)*bc", "bd c", false),
        (r"(?:(?=a*b)(?=a*bd)a)*bd", "bdc", true),
    ] {
        let grok = Grok::compile(pattern, &Definitions::new(Set::Legacy), true, Engine::Linear).expect("it compiles");
        let steps = |length: usize| {
            let mut scratch = Scratch::default();
            let text = "a".repeat(length) + end;
            assert_eq!(grok.find(&mut scratch, text.as_bytes()).expect("not given up").is_some(), matches, "{pattern}");
            scratch.steps()
        };
        let (once, twice) = (steps(1 << 15), steps(1 << 16));
        assert!(twice <= once * 5 / 2, "{pattern}: {once}, then {twice}");
    }
}

/// What Ruby says of classes where case does not matter.
#[test]
fn classes_fold_as_in_ruby() {
    for (pattern, text, span) in [
        (r"(?i)[^\W_]+", "kiss", Some((0, 4))),
        (r"(?i)[^\W\-]+", "task", Some((0, 4))),
        (r"(?i)[\W]", "ks", None),
        (r"(?i)[\d\W]", "s", None),
        (r"(?i)[^[:^ascii:]]", "k", Some((0, 1))),
        (r"(?i)[\w]", "\u{212a}", None),
        (r"(?i)[k\d]", "\u{212a}", Some((0, 3))),
        (r"(?i)[a-z]", "\u{17f}", Some((0, 2))),
        (r"(?i)[\x{17f}]", "s", Some((0, 1))),
        (r"(?i)[[:^lower:]]", "\u{17f}", Some((0, 2))),
        (r"(?i)[\p{Lu}]", "\u{17f}", Some((0, 2))),
        (r"(?i)[[:word:]]", "\u{17f}", Some((0, 2))),
        (r"(?i)[[:ascii:]]", "\u{17f}", None),
        (r"(?i)[\p{Lu}]", "a", Some((0, 1))),
        (r"(?i)[^\p{Lu}]", "a", None),
        (r"(?i)[\P{Lu}]", "a", Some((0, 1))),
        (r"(?i)\p{Lu}", "a", Some((0, 1))),
        (r"(?i)\P{Lu}", "a", None),
        (r"(?i)\p{^Lu}", "a", None),
        (r"(?i)\p{ASCII}", "\u{212a}", None),
        (r"(?i:\p{Upper})", "a", Some((0, 1))),
        (r"\p{Lu}", "a", None),
        (r"[\101]", "A", Some((0, 1))),
        (r"[\101]", "1", None),
        (r"[\60-\62]+", "0123", Some((0, 3))),
    ] {
        let grok = Grok::compile(pattern, &Definitions::new(Set::Legacy), true, Engine::Linear).expect("it compiles");
        for way in WAYS {
            let mut scratch = Scratch::default();
            let found = grok.find_by(&mut scratch, text.as_bytes(), way).expect("short");
            assert_eq!(found.map(|found| (found.start, found.end)), span, "{pattern} on {text}");
        }
    }
}

/// Patterns of the kinds that are used most, and a line that matches.
const LINES: [(&str, &str); 5] = [
    (
        "%{COMBINEDAPACHELOG}",
        r#"83.149.9.216 - frank [17/May/2015:10:05:03 +0000] "GET /images/search.png HTTP/1.1" 200 203023 "http://semicomplete.com/presentations/" "Mozilla/5.0 (X11)""#,
    ),
    ("%{SYSLOGLINE}", "Mar 16 00:01:25 evita postfix/smtpd[1713]: connect from camomile.cloud9.net[168.100.1.3]"),
    (
        "%{HAPROXYHTTP}",
        r#"Dec  9 13:01:26 localhost haproxy[28029]: 127.0.0.1:39759 [09/Dec/2013:12:59:46.633] loadbalancer default/instance8 0/51536/1/48082/99627 200 83285 - - ---- 87/87/87/1/0 0/67 {77.24.148.74} "GET /path/to/image HTTP/1.1""#,
    ),
    (
        "%{JAVASTACKTRACEPART}",
        "\tat org.apache.catalina.core.ApplicationFilterChain.internalDoFilter(ApplicationFilterChain.java:241)",
    ),
    (
        r"^%{TIMESTAMP_ISO8601:time} \[%{LOGLEVEL:level}\] %{NOTSPACE:logger} user=%{USER:user} ip=%{IP:ip} took=%{NUMBER:took}ms id=%{UUID:id} - %{GREEDYDATA:text}$",
        "2024-05-01T12:34:56.789Z [INFO] com.shop.cart user=alice ip=10.12.13.14 took=12.5ms id=1b4e28ba-2fa1-11d2-883f-0016d3cca427 - added 3 items",
    ),
];

/// Scenario: a line that matches, cut at each of its places, or with a byte there replaced, or with another line before it.
/// Guarantee: what does not match any more takes no more steps than the whole line if it was cut, and half as many more if it was
/// broken; and what is found out without trying all ways is what trying them says.
#[test]
fn a_line_that_was_cut_or_broken_takes_no_more_steps() {
    for (pattern, line) in LINES {
        let grok = Grok::compile(pattern, &Definitions::new(Set::Legacy), true, Engine::Linear).expect("it compiles");
        let mut scratch = Scratch::default();
        assert!(grok.find(&mut scratch, line.as_bytes()).expect("short").is_some(), "{pattern} matches {line}");
        let whole = scratch.steps();
        let mut tell = |text: &str, steps_max: u64| {
            let matches = grok.find(&mut scratch, text.as_bytes()).expect("short").is_some();
            let steps = scratch.steps();
            assert!(matches || steps <= steps_max, "{pattern}, {text}: {steps} steps, not {steps_max}");
            let [best, by_notes] = [Way::Best, Way::NotesOnly].map(|way| answer(&grok, text, true, way));
            assert_eq!(best, by_notes, "{pattern}, {text}");
        };
        for at in 0..line.len() {
            let (before, behind) = (&line[..at], &line[at + 1..]);
            tell(before, whole);
            for other in ["#", " ", "x", "\"", "1"] {
                tell(&format!("{before}{other}{behind}"), whole + whole / 2);
            }
            tell(&format!("{before} {line}"), u64::MAX);
        }
    }
}

/// Scenario: atomic groups whose first way is not the longest, before what only a longer one could stand before.
/// Guarantee: the first way counts, as in Ruby; no table goes on for the sake of what follows.
#[test]
fn an_atomic_group_takes_its_first_way() {
    for (pattern, text, span) in [
        ("(?>foo|foobar)x", "foobarx", None),
        ("(?>foobar|foo)x", "foobarx", Some((0, 7))),
        ("(?>a|ab|abc)d", "abcd", None),
        (r"(?>(?:\B|-=))ab", "-=ab", None),
        (r"(?>(?:a|ab)(?:c|bcd)?)e", "abcde", Some((0, 5))),
        (r"(?>(?:a|ab)(?:c|bcd)?)e", "abcdce", None),
        (r"(?>[0-9]+(?:\.[0-9]+)?) ", "12.5 ", Some((0, 5))),
        (r"(?>[0-9]+?(?:\.[0-9]+)?) ", "12.5 ", Some((1, 5))),
    ] {
        let grok = Grok::compile(pattern, &Definitions::new(Set::Legacy), true, Engine::Linear).expect("it compiles");
        for way in WAYS {
            let mut scratch = Scratch::default();
            let found = grok.find_by(&mut scratch, text.as_bytes(), way).expect("short");
            assert_eq!(found.map(|found| (found.start, found.end)), span, "{pattern} on {text}, {way:?}");
        }
    }
}

fn check_error(pattern: &str, column: usize, part: &str) {
    let mut definitions = Definitions::new(Set::Legacy);
    definitions.define("BAD", r"x(?<q>.)\k<q>");
    definitions.define("LOOP", "a%{LOOP}");
    definitions.define("OPEN", "a(b");
    definitions.define("CLOSED", "a)b");
    let error = Grok::compile(pattern, &definitions, true, Engine::Linear).map(drop).expect_err(pattern);
    assert_eq!(error.column(), column, "{pattern}: {error}");
    assert!(error.to_string().contains(part), "{pattern}: {error}");
}

#[test]
fn errors_name_the_construct_and_its_column() {
    check_error(r"(?<q>.)\k<q>", 8, r"the backreference `\k<q>`");
    check_error(r"ä(?<q>.)\1", 9, r"`\1`");
    check_error(r"%{INT:n} (?<x>\g<x>)", 15, "recursion");
    check_error("%{INT} %{BAD:x}", 8, r"in the pattern BAD, column 9: the backreference `\k<q>`");
    check_error("%{INT} %{IPV5:x}", 8, "%{IPV5} is not defined; did you mean IPV");
    check_error("a %{LOOP:x}", 3, "LOOP → LOOP");
    check_error("x %{OPEN:o}", 3, "the definition of %{OPEN} has a `(` without its `)`");
    check_error("x %{CLOSED}", 3, "the definition of %{CLOSED} has a `)` without its `(`");
    check_error("a(b", 2, "a `(` without its `)`");
    check_error("ab)", 3, "a `)` without its `(`");
    check_error("[a", 1, "without its `]`");
    check_error("*a", 1, "repeats nothing");
    check_error("ba{2,1}", 3, "at least 2 repetitions, but at most 1");
    check_error("(?<=a+)b", 1, "no fixed length");
    check_error("a(?(1)b)", 2, "conditional");
    check_error(r"\p{Nope}", 1, "unknown character property `Nope`");
    check_error("(?:(?:(?:a{1000}){1000}){1000})", 1, "too large");
}

#[test]
fn the_backtracking_engine_has_backreferences() {
    let definitions = Definitions::new(Set::Legacy);
    let pattern = r#"(?<q>['"])(?<x>.*?)\k<q>"#;
    let grok = Grok::compile(pattern, &definitions, true, Engine::Backtracking).expect("it compiles");
    let mut scratch = Scratch::default();
    let text = "say 'it\"s' now";
    let found = grok.find(&mut scratch, text.as_bytes()).expect("few steps").expect("it matches");
    let texts: Vec<&str> = found.captures().filter_map(|(_, range)| text.get(range?)).collect();
    assert_eq!(((found.start, found.end), texts), ((4, 10), vec!["'", "it\"s"]));

    let hostile = Grok::compile(r"(?<x>a*)*\k<x>b", &definitions, true, Engine::Backtracking).expect("it compiles");
    assert!(hostile.find(&mut scratch, "a".repeat(5_000).as_bytes()).is_err(), "its steps are bounded");
}

#[test]
fn malformed_bytes_are_characters() {
    let grok = Grok::compile(r"^(?<a>.)(?<b>\S+) \b(?<c>\w)$", &Definitions::new(Set::Legacy), true, Engine::Linear);
    let grok = grok.expect("it compiles");
    let mut scratch = Scratch::default();
    for way in WAYS {
        let found = grok.find_by(&mut scratch, b"\xff\xe2\x82\xf0\x9f x", way).expect("short").expect("it matches");
        let spans: Vec<_> = found.captures().filter_map(|(_, range)| range).collect();
        assert_eq!(spans, [0..1, 1..5, 6..7], "{way:?}");
    }
}

#[test]
fn numbers_are_read_as_ruby_reads_them() {
    let check = |text: &str, want_int: i64, want_float: f64| {
        assert_eq!(int(text), Int::Small(want_int), "{text}");
        assert_eq!(float(text), want_float, "{text}");
    };
    check("42", 42, 42.0);
    check(" -7.25x", -7, -7.25);
    check("+1_000", 1000, 1000.0);
    check("1__0", 1, 1.0);
    check("_1", 0, 0.0);
    check("", 0, 0.0);
    check(".5", 0, 0.5);
    check("1.e3", 1, 1.0);
    check("1e-2", 1, 0.01);
    check("1e", 1, 1.0);
    check("0x1f", 0, 0.0);
    assert_eq!(int("-9223372036854775808"), Int::Small(i64::MIN));
    assert_eq!(int("-9223372036854775809"), Int::Big("-9223372036854775809".to_owned()));
    assert_eq!(float("1e999"), f64::INFINITY);
}

/// Patterns of the supported language over few letters, so that lines meet them.
fn any_pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        5 => prop::sample::select(vec!["a", "b", "c", "ab", ".", r"\w", "[ab]", "[^a]", " ", "é", "-", "-=", "[-=]"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["^", "$", r"\b", r"\B", r"\A", r"\z", "(?<!a)", "(?<=b)", "(?!c)", "(?=a)"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let quantifier =
            prop::sample::select(vec!["*", "+", "?", "*?", "+?", "??", "*+", "++", "{2}", "{1,2}", "{2,}"]);
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            3 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            3 => (inner.clone(), quantifier).prop_map(|(part, quantifier)| format!("(?:{part}){quantifier}")),
            2 => inner.clone().prop_map(|part| format!("(?>{part})")),
            1 => inner.clone().prop_map(|part| format!("(?={part})")),
            1 => inner.clone().prop_map(|part| format!("(?!{part})")),
            2 => inner.prop_map(|part| format!("(?<x>{part})")),
        ]
    })
}

fn any_line() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", " ", "é", "\n", "ab", "-", "-="]), 0..10)
        .prop_map(|parts| parts.concat())
}

/// How many patterns are generated: `GROK_CASES` for a longer look.
fn generated_cases() -> u32 {
    std::env::var("GROK_CASES").ok().map_or(300, |cases| cases.parse().expect("GROK_CASES is a number"))
}

/// There is a repetition of what can match the empty text.
fn has_empty_turns(node: &ast::Node) -> bool {
    use ast::Node;
    match node {
        Node::Repeat { node, .. } => node.is_nullable() || has_empty_turns(node),
        Node::Concat(nodes) | Node::Alt(nodes) => nodes.iter().any(has_empty_turns),
        Node::Capture(_, node) | Node::Atomic(node) | Node::Look { node, .. } => has_empty_turns(node),
        _ => false,
    }
}

/// Scenario: places that begin as a match does, and fail for a look-ahead, until it is asked whether a match can be there at all; the
/// last place matches. Guarantee: it is found, though the search was broken off at a place where no match starts.
#[test]
fn a_search_goes_on_where_it_was_broken_off() {
    let grok = Grok::compile("(?!a)[ab][0-9][0-9][0-9]", &Definitions::new(Set::Legacy), true, Engine::Linear);
    let grok = grok.expect("it is supported");
    let line = "b1 a111 a222 a333 a444 b555";
    for way in [Way::Best, Way::NotesOnly] {
        assert_eq!(answer(&grok, line, true, way).0, Json::from(vec![23, 27]), "{way:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: generated_cases(), ..ProptestConfig::default() })]

    /// Scenario: generated patterns (alternatives, repetitions, atomic groups, look-around, captures) on generated lines.
    /// Guarantee: the fast way and the way with notes have the same span and the same captures, and fancy-regex the same span.
    #[test]
    fn all_ways_agree(pattern in any_pattern(), lines in prop::collection::vec(any_line(), 6)) {
        let definitions = Definitions::new(Set::Legacy);
        let Ok(grok) = Grok::compile(&pattern, &definitions, true, Engine::Linear) else { return Ok(()) };
        // It refuses a few that Ruby takes, such as a repeated look-ahead; and where a turn of a loop is empty it tries the
        // other ways of that turn, while Ruby leaves the loop.
        let root = syntax::parse(&pattern, false).expect("it was compiled").root;
        let other = Grok::compile(&pattern, &definitions, true, Engine::Backtracking).ok();
        let other = other.filter(|_| !has_empty_turns(&root));
        for line in &lines {
            let fast = answer(&grok, line, true, Way::FastOnly);
            prop_assert_eq!(&fast, &answer(&grok, line, true, Way::NotesOnly), "{} on {:?}", pattern, line);
            prop_assert_eq!(&fast, &answer(&grok, line, true, Way::Best), "{} on {:?}", pattern, line);
            let mut scratch = Scratch::default();
            let Some(Ok(found)) = other.as_ref().map(|other| other.find(&mut scratch, line.as_bytes())) else { continue };
            let span = found.map_or(Json::Null, |found| Json::Array(vec![found.start.into(), found.end.into()]));
            prop_assert_eq!(&fast.0, &span, "{} on {:?}: fancy-regex differs", pattern, line);
        }
    }
}
