//! `logferry test`: a config against tests of it. No Kafka.

use std::path::PathBuf;

use crate::kit::agent::logferry;
use crate::kit::scratch;

const CONFIG: &str = r#"
data_dir: /nowhere
inputs:
  web:
    type: file
    paths: [/nowhere/*.log]
    encoding: utf-16
    exclude_lines: [healthz]
    processors:
    - grok: { field: message, patterns: ["%{SYSLOGTIMESTAMP:time} %{WORD:verb} %{INT:took:int}"] }
    - date: { field: time, formats: ["MMM dd HH:mm:ss"], timezone: UTC }
    - drop_event: { if: "[verb] == 'PURGE'" }
    - route:
        if: "[verb] == 'GET'"
        topic: "parsed.%{+yyyy.MM.dd}"
        key: "%{[log.file.path]}"
        headers: { took: "%{[took]} ms" }
outputs:
  main: { type: kafka, brokers: ["nowhere:9092"], topic: logs.raw, when: "[verb] != 'HEAD'" }
"#;

/// A folder with the config, and these test files.
fn folder(hint: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = scratch::folder(hint);
    for (name, text) in [("web.yaml", CONFIG)].iter().chain(files) {
        std::fs::write(folder.join(name), text).expect("the scratch folder is writable");
    }
    folder
}

/// The exit code, and all that was said.
fn test(args: &[&str]) -> (Option<i32>, String) {
    let output = logferry(&[&["test"], args].concat(), b"");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

const PASSING: &str = r#"
config: web.yaml
now: 2026-01-01T00:00:10Z
tests:
- name: a request is parsed and routed, others are not
  path: /var/log/web.log
  lines:
  - Dec 31 23:59:59 GET 7
  - GET /healthz
  - Dec 31 23:59:59 PURGE 1
  - Dec 31 23:59:59 HEAD 1
  - what is this
  expect:
  - fields: { verb: GET, "[took]": 7, "log.file.path": /var/log/web.log, log: { offset: 0 }, nothing: null }
    topic: parsed.2025.12.31
    key: /var/log/web.log
    headers: { took: 7 ms, other: null }
  - dropped
  - dropped
  - dropped
  - record: { message: what is this, tags: [_grokparsefailure] }
    topic: logs.raw
    headers: { took: null }
- name: the year is that of the time of reading
  now: 2020-07-01T00:00:00Z
  events: [{ message: "Jun 30 12:00:00 GET 1", trace: { id: x } }]
  expect:
  - record: { message: "Jun 30 12:00:00 GET 1", time: "Jun 30 12:00:00", verb: GET, took: 1, trace.id: x,
              "@timestamp": "2020-06-30T12:00:00.000Z" }
"#;

/// Scenario: tests that hold, of lines and of events, with the clock in the file; the file twice.
/// Guarantee: 0; each test is named as passed, and the summary counts all files.
#[test]
fn what_is_as_expected_passes() {
    let folder = folder("tests-pass", &[("a.test.yaml", PASSING), ("b.test.yaml", PASSING)]);
    let [a, b] = ["a.test.yaml", "b.test.yaml"].map(|name| folder.join(name).display().to_string());
    let (code, said) = test(&[&a, &b]);
    assert_eq!(code, Some(0), "{said}");
    for line in
        [format!("ok      {a}:5: a request is parsed"), format!("ok      {b}:"), "4 passed, 0 failed in 2 files".into()]
    {
        assert!(said.contains(&line), "{line}\n{said}");
    }
}

/// Scenario: a test that holds with one clock only, and says none.
/// Guarantee: `--now` decides the year, and the exit code.
#[test]
fn the_clock_is_an_option() {
    let tests = "config: web.yaml\ntests:\n- name: new year\n  lines: ['Dec 31 23:59:59 GET 7']\n  \
                 expect: [{ topic: parsed.2018.12.31 }]\n";
    let folder = folder("tests-clock", &[("c.test.yaml", tests)]);
    let path = folder.join("c.test.yaml").display().to_string();
    assert_eq!(test(&[&path, "--now", "2019-01-02T00:00:00Z"]).0, Some(0));
    let (code, said) = test(&[&path, "--now", "2021-01-02T00:00:00Z"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("expected  parsed.2018.12.31") && said.contains("actual    parsed.2020.12.31"), "{said}");
}

/// Scenario: expectations that are wrong in every way there is, one each.
/// Guarantee: 1; each is named with its line, the field, what was expected and what there is.
#[test]
fn what_differs_is_shown_where_it_is_written() {
    let tests = r#"
config: [web.yaml]
now: 2026-01-01T00:00:10Z
tests:
- name: all wrong
  lines: [Dec 31 23:59:59 GET 7, healthz, Dec 31 23:59:59 GET 8, x]
  expect:
  - fields:
      verb: POST
      took: "7"
      user: { name: bob }
      time: null
    topic: parsed
    key: null
    headers:
      took: 8 ms
  - fields: { message: healthz }
  - record: { message: Dec 31 23:59:59 GET 8, verb: GET, took: 8 }
"#;
    let folder = folder("tests-fail", &[("d.test.yaml", tests), ("a.test.yaml", PASSING)]);
    let [path, passing] = ["d.test.yaml", "a.test.yaml"].map(|name| folder.join(name).display().to_string());
    let (code, said) = test(&[&path, &passing]);
    assert_eq!(code, Some(1), "{said}");
    for (line, what, expected, actual) in [
        (9, "event 1: verb", r#""POST""#, r#""GET""#),
        (10, "event 1: took", r#""7""#, "7"),
        (11, "event 1: user.name", r#""bob""#, "no such field"),
        (12, "event 1: time", "no such field", r#""Dec 31 23:59:59""#),
        (13, "event 1: topic", "parsed", "parsed.2025.12.31"),
        (14, "event 1: key", "none", r#""-""#),
        (16, "event 1: header took", r#""8 ms""#, r#""7 ms""#),
        (17, "event 2: the event", "a record", "dropped (the input leaves this line out)"),
        (18, "event 3: time", "no such field", r#""Dec 31 23:59:59""#),
        (5, "event 4: events", "3 of them", "4"),
    ] {
        let shown = format!("{path}:{line}: {what}\n          expected  {expected}\n          actual    {actual}\n");
        assert!(said.contains(&shown), "{shown}\n{said}");
    }
    assert!(said.contains(&format!("FAILED  {path}:5: all wrong")), "{said}");
    assert!(said.contains("2 passed, 1 failed in 2 files"), "{said}");
    assert_eq!(said.matches("  expected  ").count(), 10, "nothing else differs:\n{said}");
}

/// Scenario: a processor with `on_failure: dead_letter` fails, and one does not; through `test` and through `try`.
/// Guarantee: `dead_letter` expects the processor's name, and where it is not said the record is expected in its topic; `try` shows
/// the record, and says where it goes.
#[test]
fn the_dead_letter_is_shown() {
    let config = r#"
data_dir: /nowhere
inputs:
  web: { type: stdin, processors: [{ when: { if: "[message] =~ '^[{]'", then: [{ json: { on_failure: dead_letter } }] } }] }
outputs:
  main: { type: kafka, brokers: ["nowhere:9092"], topic: logs, codec: json }
"#;
    let tests = |more: &str| {
        format!(
            "config: dead.yaml\ntests:\n- name: a\n  lines: ['{{a', b]\n  expect:\n  - {{ topic: logs, record: {{ message: '{{a', \
             tags: [_jsonparsefailure] }}, headers: {{ logferry.processor_failed: null }}{more} }}\n  - topic: logs\n"
        )
    };
    let (good, other, none) = (tests(", dead_letter: json"), tests(", dead_letter: grok"), tests(""));
    let files = [("dead.yaml", config), ("good.yaml", &good), ("other.yaml", &other), ("none.yaml", &none)];
    let folder = folder("tests-dead", &files);
    let path = |name: &str| folder.join(name).display().to_string();
    let (code, said) = test(&[&path("good.yaml")]);
    assert_eq!(code, Some(0), "{said}");
    for (name, expected) in [("other.yaml", "in the dead letter, for a failure of `grok`"), ("none.yaml", "a record")] {
        let (code, said) = test(&[&path(name)]);
        assert_eq!(code, Some(1), "{said}");
        let shown =
            format!("  expected  {expected}\n          actual    in the dead letter, for a failure of `json`\n");
        assert!(said.contains(&shown), "{shown}\n{said}");
    }
    let output = logferry(&["try", "-c", &path("dead.yaml")], b"{a\nb\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "event 1 goes to the dead letter: the processor `json` failed\n");
}

/// Scenario: test files with mistakes of every kind, one of a config with mistakes, one that is not there; no file at all.
/// Guarantee: 78 with each mistake at file:line:column and no test run; 2.
#[test]
fn mistakes_are_reported_all_at_once() {
    let bad = r#"config: web.yaml
now: noon
test: []
tests:
- name: a
  lines: [a, [b]]
  expect: [drop, {}, { field: 1 }, { fields: 3 }]
- name: b
  input: web
  lines: []
  events: []
- lines: x
  expect: [{ fields: { "a..b": 1 } }]
"#;
    let input = "config: web.yaml\ntests:\n- name: a\n  input: wbe\n  lines: [a]\n  expect: [dropped]\n";
    let config = "config: broken.yaml\ntests:\n- name: a\n  lines: [a]\n  expect: [dropped]\n";
    let empty = "config: web.yaml\ntests: []\n";
    let broken = "inputs: { a: { type: stdin } }\noutputs: { b: { type: kafka, brokers: [a], topc: x } }\n";
    let files = [
        ("bad.yaml", bad),
        ("input.yaml", input),
        ("config.yaml", config),
        ("broken.yaml", broken),
        ("empty.yaml", empty),
    ];
    let folder = folder("tests-mistakes", &[&files[..], &[("a.test.yaml", PASSING)]].concat());
    let paths: Vec<String> = ["a.test.yaml", "bad.yaml", "input.yaml", "config.yaml", "empty.yaml", "none.yaml"]
        .map(|name| folder.join(name).display().to_string())
        .to_vec();
    let (code, said) = test(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(78), "{said}");
    for place in [
        "bad.yaml:2:6: expected a time",
        "bad.yaml:3:1: unknown key `test` in the file (did you mean `tests`?)",
        "bad.yaml:6:14: expected a text",
        "bad.yaml:7:12: expected `dropped`",
        "bad.yaml:7:18: this item expects nothing",
        "bad.yaml:7:24: unknown key `field` in an item of `expect` (did you mean `fields`?)",
        "bad.yaml:7:38: `fields` takes a map",
        "bad.yaml:8:3: `expect` is missing",
        "bad.yaml:11:3: `lines` is already written",
        "bad.yaml:12:3: `name` is missing",
        "bad.yaml:12:3: `lines` takes a list",
        "bad.yaml:13:26: expected the name of a field",
        "input.yaml:4:10: there is no input `wbe` (did you mean `web`?)",
        "broken.yaml:2:",
        "empty.yaml:2:8: `tests` is empty",
        "none.yaml: cannot read the test file",
    ] {
        assert!(said.contains(&format!("{}/{place}", folder.display())), "{place}\n{said}");
    }
    assert!(!said.contains("ok "), "{said}");
    assert_eq!(test(&[]).0, Some(2));
}
