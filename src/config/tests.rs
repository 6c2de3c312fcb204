//! The whole config layer on whole files: every mistake with its place, recovery, substitution, secrets, and that the
//! examples, the docs, the schema and the check agree.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::decode::multiline::Kind;
use crate::process::{Database, mmdb};

use super::checked::{CheckedOutput, InputKind, OutputKind};
use super::*;

/// A world of the test's own: these variables and files, and the real client's properties.
#[derive(Default)]
struct Desk {
    variables: HashMap<&'static str, &'static str>,
    files: HashMap<&'static str, &'static str>,
    /// Every other file is a certificate and its key, and every other variable has this value.
    otherwise: Option<&'static str>,
}

/// The options of a config's only output.
fn kafka(checked: &Checked) -> &crate::output::kafka::options::KafkaOptions {
    match &checked.outputs[..] {
        [CheckedOutput { kind: OutputKind::Kafka(kafka), .. }] => kafka,
        other => panic!("{other:?}"),
    }
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n";

impl World for Desk {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).copied().or(self.otherwise).map(str::to_owned)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, std::io::Error> {
        let known = path.to_str().and_then(|path| self.files.get(path)).copied();
        let found = known.or(self.otherwise.map(|_| PEM));
        found.map(|text| text.as_bytes().to_vec()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<PathBuf>>, std::io::Error> {
        let below = |file: &&str| Path::new(file).parent() == Some(path);
        let files: Vec<PathBuf> = self.files.keys().copied().filter(below).map(PathBuf::from).collect();
        Ok((!files.is_empty()).then_some(files))
    }

    fn check_property(&self, name: &str, value: &str) -> Result<(), String> {
        System.check_property(name, value)
    }

    fn property_names(&self) -> Vec<String> {
        System.property_names()
    }

    fn host(&self) -> crate::process::HostFacts {
        crate::process::HostFacts { hostname: "desk".to_owned(), ..Default::default() }
    }

    fn database(&self, path: &Path) -> Result<std::sync::Arc<Database>, std::io::Error> {
        let content = self.read(path)?;
        let bytes = if self.otherwise.is_some() { mmdb::write("GeoLite2-City", &[]) } else { content };
        Database::new(path, bytes, [1; 5]).map(Into::into).map_err(std::io::Error::other)
    }
}

/// All that is said of `text`, a line each, without the file's name.
fn said(text: &str, desk: &Desk) -> Vec<String> {
    match check_text("f", text, desk) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(|mistake| mistake.to_string()[2..].to_owned()).collect(),
    }
}

/// The config `text` has exactly these mistakes: each line of `expect` is the place and a part of the message.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    check_at(text, &Desk::default(), expect);
}

#[track_caller]
fn check_at(text: &str, desk: &Desk, expect: &[&str]) {
    let said = said(text, desk);
    let fits = said.len() == expect.len()
        && said.iter().zip(expect).all(|(said, expect)| {
            let (place, part) = expect.split_once(": ").expect("a place and a part");
            said.strip_prefix(place).and_then(|rest| rest.strip_prefix(": ")).is_some_and(|rest| rest.contains(part))
        });
    assert!(fits, "said:\n{}\nexpected:\n{}", said.join("\n"), expect.join("\n"));
}

fn fine(text: &str, desk: &Desk) -> Checked {
    check_text("f", text, desk).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes:#?}"))
}

const OUTPUT: &str = "outputs:\n  main: {type: kafka, brokers: ['k:9092']}\n";

/// A file input with these lines, each indented to be its keys, and an output. The first of them is on line 5.
fn with_input(lines: &str) -> String {
    let body: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("inputs:\n  a:\n    type: file\n    paths: [/v/a.log]\n{body}{OUTPUT}")
}

/// An output with these lines, each indented to be its keys. The first of them is on line 6.
fn with_output(lines: &str) -> String {
    let body: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("inputs:\n  a: {{type: stdin}}\noutputs:\n  main:\n    type: kafka\n{body}")
}

/// Scenario: one file with mistakes of every kind. Guarantee (I9): all are said in one run, in the order of the file, each at
/// its line and column, with what was expected and the nearest word.
#[test]
fn all_mistakes_of_a_file_are_said_in_one_run() {
    let text = r#"data_dir: var/lib/logferry
memory: { max_bytes: 4MiB }
inputs:
  nginx:
    type: file
    pahts: [/var/log/nginx/*.log]
    paths: ["/var/log/[nginx", var/log/x.log]
    start_at: begining
    ignore_older: 5
    max_line_bytes: 64M
    fields_under_root: yes
    include_lines: ['abc(d']
    multiline: {}
    format: crio
    processors:
      - drop_evnt: {}
      - add_fields: {}
        rename: { fields: [{ from: a }] }
      - drop_event:
      - drop_event: { if: "[status] >> 500" }
  other:
    type: files
    paths: /var/log/x
  third:
    type: file
    paths: [/a/b]
    tags: [a, 5]
    fields_under_root: true
    fields: { log: { level: x }, team: y }
  bad name:
    type: file
    paths: [/a/b]
    topic: "logs.%{[a.b"
    topic: c
    key: "%{[x]}/%{[y}"
outputs:
  main:
    type: kafka
    acks: 1
    compression: lz5
    brokers: [kafka-0, "${BROKER}"]
    linger: 20
    headers: []
    topic: "my topic"
    sasl: { mechanism: GSSAPI, username: "", password: 12345 }
    tls: { cert_file: /nowhere/cert.pem, key_password: x }
    rdkafka:
      acks: 0
      linger.ms: 5
      socket.timeoutms: 5
      socket.timeout.ms: soon
  second: { type: kafka, brokers: [] }
admin: { listen: "node:9660" }
fallback_topic: "äö/x"
spool: { after: 1ms, when_full: drop }
parsers: {}
loging: {}
"#;
    check(
        text,
        &[
            "1:11: `data_dir`: expected an absolute path, one that starts with `/`",
            "2:22: `max_bytes` must be 16MiB to 1TiB",
            "6:5: unknown key `pahts` in `nginx` (did you mean `paths`?)",
            "7:14: `paths`: expected a glob pattern: unclosed character class",
            "7:32: `paths`: expected an absolute pattern",
            "8:15: `start_at` takes `beginning` or `end`, found `begining` (did you mean `beginning`?)",
            "9:19: `ignore_older`: expected a duration such as `250ms`, `5s`, `10m`, `1h` or `7d`: a number needs its unit",
            "10:21: the unit is `MiB` (1024 × 1024) or `MB` (1,000,000)",
            "11:24: takes `true` or `false` (did you mean `true`?), found a text",
            "12:25: `include_lines`: expected a regular expression: unclosed group",
            "13:16: `multiline` says nothing",
            "14:13: `format` takes `lines`, `cri`, `docker` or `auto`, found `crio` (did you mean `cri`?)",
            "16:9: unknown key `drop_evnt` in `processors` (did you mean `drop_event`?)",
            "17:9: `fields` is missing: expected a map",
            "18:9: `rename` is a second processor in one item",
            "18:28: `to` is missing: expected the name of a field",
            "19:9: `drop_event` has no value: expected a map (`{}` for an empty one), or leave it out",
            "20:38: `if`: expected a condition",
            "22:11: `type` takes `file` or `stdin`, found `files` (did you mean `file`?)",
            "27:15: `tags` takes a text, found a number: write it in quotes",
            "29:15: `log` is the agent's own",
            "30:3: expected a name of 1 to 64 letters",
            "32:13: the inputs `bad name` and `third` read the same files",
            "33:18: `topic`: expected a template: expected `}` after `%{`",
            "34:5: `topic` is already written at line 33, column 5: keep one",
            "35:22: `key`: expected a template: expected `]`",
            "39:11: `acks` takes only `all`, found `1`: with less, records that Kafka has acknowledged can be lost",
            "40:18: found `lz5` (did you mean `lz4`?)",
            "41:15: `brokers`: expected `HOST:PORT`, such as `kafka-0:9092`: the port is missing",
            "41:25: the environment variable `BROKER` is not set",
            "42:13: a number needs its unit",
            "43:14: `headers` takes a map of names",
            "44:15: `topic`: expected the name of a topic: letters, digits, `.`, `_` and `-`: ' ' is not allowed",
            "45:24: `GSSAPI` is not supported: Kerberos needs plugins",
            "45:42: `username` is empty",
            "45:56: `password` takes a text, found a number: put it in quotes",
            "46:12: `cert_file` needs `key_file`",
            "46:23: cannot read `/nowhere/cert.pem`",
            "46:42: `key_password` needs `key_file`",
            "48:7: `acks` can't be changed: it keeps a promise of the agent",
            "49:7: `linger.ms` has a key of its own: use `linger`",
            "50:7: librdkafka does not take `socket.timeoutms`: librdkafka has no property socket.timeoutms (did you mean `socket.timeout.ms`?)",
            "51:26: librdkafka does not take this value for `socket.timeout.ms`: Invalid value",
            "52:35: `brokers` is empty: expected at least one",
            "53:19: `listen`: expected `ADDRESS:PORT` with a numeric address",
            "54:18: `fallback_topic`: expected the name of a topic: letters, digits, `.`, `_` and `-`: 'ä' is not allowed",
            "55:17: `after` must be 100ms to 1h",
            "55:33: found `drop`",
            "56:1: `parsers` comes in a later release",
            "57:1: unknown key `loging` here (did you mean `logging`?)",
        ],
    );
}

#[test]
fn nothing_is_there() {
    check("", &["1:1: `inputs` is missing", "1:1: `outputs` is missing"]);
    check("# nothing\n", &["1:1: `inputs` is missing", "1:1: `outputs` is missing"]);
    check("inputs:\noutputs: {}\n", &["1:1: `inputs` has no value", "2:1: `outputs` is empty"]);
    check("[]", &["1:1: expected a map of sections"]);
    check("just a text", &["1:1: expected a map of sections"]);
    check(
        "inputs: {a: {}}\noutputs: {m: {brokers: [a:1], topic: x}}\n",
        &[
            "1:10: `type` is missing in `a`",
            "1:10: `paths` is missing",
            "2:11: `type` is missing in `m`: expected `kafka` or `file`",
        ],
    );
}

/// Scenario: YAML that can't be read. Guarantee: its place is said, and the other top-level sections are checked all the same.
#[test]
fn a_syntax_error_does_not_hide_the_other_sections() {
    check(
        "data_dir: x\ninputs:\n  a: {type: stdin\noutputs:\n  main:\n    type: kafka\n    brokers: [k]\n",
        &["1:11: absolute path", "4:1: YAML: ", "7:15: the port is missing"],
    );
    check(
        "inputs:\n  a:\n    type: stdin\n\ttags: []\noutputs:\n  main: {type: kafka, brokers: [], acsk: 1}\n",
        &["3:11: YAML: ", "6:32: `brokers` is empty", "6:36: unknown key `acsk` in `main` (did you mean `acks`?)"],
    );
    check(
        "inputs: {a: {type: stdin}}\nadmin: {listen: 'off}\noutputs:\n  main: {type: kafka}\n",
        &["2:17: YAML: ", "4:3: `brokers` is missing"],
    );
    check("inputs: {a: {type: stdin, topic: ${T}}}\n", &["1:1: `outputs` is missing", "1:35: YAML: "]);
    check(
        "inputs: {a: {type: stdin}}\n---\noutputs: {}\n",
        &["2:1: a second YAML document", "3:1: `outputs` is empty"],
    );
}

#[test]
fn not_text_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.yaml");
    std::fs::write(&path, b"inputs:\n  a: \xff\n").expect("a file");
    let mistakes = load(std::slice::from_ref(&path), &System).err().expect("a mistake");
    assert_eq!(mistakes.iter().map(|mistake| mistake.at).collect::<Vec<_>>(), [Pos { file: 0, line: 2, column: 6 }]);
}

/// All that is said of the config in `paths` of the desk, a line each.
fn said_of(paths: &[&str], desk: &Desk) -> Vec<String> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    match load(&paths, desk) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

/// Scenario: a config in a file and a directory, whose files are read in the order of their names. Guarantee: inputs unite,
/// processors follow each other, `${…}` works in each, and the files that do not count are left alone.
#[test]
fn several_files_are_one_config() {
    let files = HashMap::from([
        ("/base.yaml", "data_dir: /d\nprocessors:\n  - add_fields: {fields: {from: base}}\n"),
        (
            "/conf.d/20-b.yml",
            "inputs:\n  b: {type: file, paths: [/b]}\nprocessors:\n  - add_fields: {fields: {from: b}}\n",
        ),
        ("/conf.d/10-a.yaml", "inputs:\n  a: {type: file, paths: ['${WHERE}']}\n"),
        ("/conf.d/30-out.yaml", OUTPUT),
        ("/conf.d/.hidden.yaml", "garbage"),
        ("/conf.d/40.yaml.bak", "garbage"),
        ("/conf.d/README", "garbage"),
    ]);
    let desk = Desk { variables: HashMap::from([("WHERE", "/a")]), files, otherwise: None };
    let paths = [PathBuf::from("/base.yaml"), PathBuf::from("/conf.d")];
    let checked = load(&paths, &desk).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let inputs: Vec<&str> = checked.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(inputs, ["a", "b"]);
    assert_eq!(checked.data_dir, Path::new("/d"));
    let steps = format!("{:?}", checked.processors);
    assert!(steps.find("base").expect("it is there") < steps.find("\"b\"").expect("it is there"), "{steps}");
    let names: Vec<&str> = checked.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["/base.yaml", "/conf.d/10-a.yaml", "/conf.d/20-b.yml", "/conf.d/30-out.yaml"]);
}

/// Scenario: two files say something of the same name and section, and each has a mistake of its own. Guarantee (I9): all is
/// said in one run, each at its own file, line and column, and the clashes name both places.
#[test]
fn what_two_files_say_of_one_thing_names_both() {
    let files = HashMap::from([
        ("/a.yaml", "data_dir: /d\ninputs:\n  web: {type: file, paths: [/a], tgas: []}\n"),
        (
            "/b.yaml",
            "inputs:\n  web: {type: file, paths: [/b]}\n  app: {type: file, paths: [/a]}\ndata_dir: /e\nlogging: {level: loud}\noutputs:\n  main: {type: kafka, brokers: ['k:1']}\n",
        ),
        (
            "/c.yaml",
            "inputs:\nprocessors: {}\nlogging: {level: info}\noutputs:\n  main: {type: kafka, brokers: ['k:1']}\n",
        ),
        ("/d.yaml", "processors:\n  - drop_evnt: {}\n"),
    ]);
    let desk = Desk { files, ..Desk::default() };
    let said = said_of(&["/a.yaml", "/b.yaml", "/c.yaml", "/d.yaml", "/gone.yaml"], &desk);
    let expect = [
        "/a.yaml:3:34: unknown key `tgas` in `web` (did you mean `tags`?)",
        "/b.yaml:2:3: `web` of `inputs` is already written at /a.yaml:3:3: keep one",
        "/b.yaml:3:29: the inputs `app` and `web` read the same files",
        "/b.yaml:4:1: `data_dir` is already written at /a.yaml:1:1: it may stand in one file only",
        "/b.yaml:5:18: `level` takes",
        "/c.yaml:1:1: `inputs` has no value",
        "/c.yaml:2:13: `processors` takes a list",
        "/c.yaml:3:1: `logging` is already written at /b.yaml:5:1: it may stand in one file only",
        "/c.yaml:5:3: `main` of `outputs` is already written at /b.yaml:7:3: keep one",
        "/d.yaml:2:5: unknown key `drop_evnt`",
        "/gone.yaml: cannot read the config file",
    ];
    let fits = said.len() == expect.len() && said.iter().zip(expect).all(|(said, expect)| said.starts_with(expect));
    assert!(fits, "said:\n{}\nexpected:\n{}", said.join("\n"), expect.join("\n"));
}

#[test]
fn a_number_is_no_rate_of_events() {
    let limit = "inputs:\n  a: {type: stdin}\noutputs:\n  m: {type: kafka, topic: t, brokers: ['k:1']}\nprocessors:\n  - rate_limit: {limit: 5}\n";
    check(limit, &["6:26: expected a rate such as `10000/m`: the unit is missing"]);
}

/// Scenario: a single text where a processor takes a list of them, as users of Logstash write it.
/// Guarantee: it is a list of one, and what is wrong in it is named with its place; names with commas are no single text.
#[test]
fn a_single_text_is_a_list_of_one() {
    let with = |processors: &str| {
        format!(
            "inputs:\n  a: {{type: stdin}}\noutputs:\n  m: {{type: kafka, topic: t, brokers: ['k:1']}}\nprocessors:\n{processors}"
        )
    };
    let good = with(
        "  - date: {field: t, formats: ISO8601}\n  - regex: {patterns: '(?<x>a)'}\n  - lowercase: {fields: '[a]'}\n  - grok: {patterns: '%{WORD:x}', \
         overwrite: x, tag_on_failure: none}\n  - redact: {builtin: card}\n  - add_tags: {tags: '%{[a]}'}\n  - csv: {columns: one}\n",
    );
    fine(&good, &Desk::default());
    let bad = with(
        "  - date: {field: t, formats: yyyy-qq}\n  - regex: {patterns: '(a'}\n  - lowercase: {fields: 'a, b'}\n  - redact: {builtin: cart}\n  - \
         add_tags: {tags: 'a, b'}\n  - grok: {patterns: 'a %{NOPE}'}\n  - lowercase: {fields: 5}\n  - lowercase: {fields: {a: b}}\n  - lowercase: \
         {fields: }\n  - rename: {fields: a}\n",
    );
    check(
        &bad,
        &[
            "6:36: `q` is no letter",
            "7:24: expected a regular expression",
            "8:25: `fields` takes a list, each item the name of a field, such as `a.b`: write `[a, b]`, or one",
            "9:23: `card`",
            "10:22: write `[a, b]`",
            "11:25: NOPE",
            "12:25: takes a text, found a number",
            "13:25: takes a list, each item the name of a field, such as `a.b`, found a map",
            "14:17: `fields` has no value",
            "15:22: takes a list",
        ],
    );
}

/// Scenario: one of the files is no YAML, another no text. Guarantee: nothing is called missing that may be in them.
#[test]
fn what_can_not_be_read_is_not_missing() {
    let files = HashMap::from([("/a.yaml", "inputs: {a: {type: stdin}}\n"), ("/b.yaml", "outputs: {main: [}\n")]);
    let desk = Desk { files, ..Desk::default() };
    let said = said_of(&["/a.yaml", "/b.yaml"], &desk);
    assert!(said.len() == 1 && said[0].starts_with("/b.yaml:1:18: YAML: "), "{said:#?}");
}

#[test]
fn anchors_aliases_and_merges() {
    let text = "inputs:\n  a: &base {type: file, paths: [/a], tags: [x]}\n  b:\n    <<: *base\n    paths: [/b]\noutputs:\n  m: {type: kafka, brokers: [k:1]}\n";
    let checked = fine(text, &Desk::default());
    assert_eq!(checked.inputs[1].tags, ["x"]);
    check(&text.replace("    paths: [/b]\n", ""), &["2:33: the inputs `a` and `b` read the same files"]);
    check(
        &text.replace("tags: [x]", "tgas: [x]"),
        &["2:38: unknown key `tgas` in `a`", "2:38: unknown key `tgas` in `b`"],
    );
}

#[test]
fn aliases_do_not_blow_up() {
    let mut text = "data_dir: &a0 [x, x]\n".to_owned();
    for level in 1..30 {
        text.push_str(&format!("k{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}]\n", level - 1));
    }
    let said = said(&text, &Desk::default());
    assert!(said.iter().any(|line| line.contains("more than 200000 values")), "{said:#?}");
    check(
        &format!("inputs: {}\n", "[".repeat(100)),
        &["1:1: `outputs` is missing", "1:40: nested deeper than 32 levels"],
    );
}

#[test]
fn places_inside_scalars() {
    let place = |written: &str, line: usize, column: usize| {
        let said = said(&with_input(&format!("topic: {written}")), &Desk::default());
        assert_eq!(said.len(), 1, "{written}: {said:#?}");
        assert!(said[0].starts_with(&format!("{line}:{column}: ")), "{written}: {said:#?}");
    };
    place("logs/x", 5, 16);
    place("'logs/x'", 5, 17);
    place("\"logs/x\"", 5, 17);
    place("\"lo\\x67s/x\"", 5, 20);
    place("\"\\u006Cogs/x\"", 5, 22);
    place("${X:logs}/x", 5, 21);
    place("'$${X}'", 5, 13);
    place(">\n      logs/\n      x", 6, 11);
}

#[test]
fn substitution() {
    let desk = Desk {
        variables: HashMap::from([
            ("TOPIC", "t1"),
            ("SIZE", "2MiB"),
            ("ON", "true"),
            ("CREDENTIALS_DIRECTORY", "/run/c"),
            ("NEST", "${TOPIC}"),
        ]),
        files: HashMap::from([("/etc/pw", "s3cret\n"), ("/run/c/user", "me\r\n")]),
        otherwise: None,
    };
    let text = r#"
inputs:
  a:
    type: file
    paths: [/a]
    topic: ${TOPIC}-${NONE:x}
    max_line_bytes: ${SIZE}
    fields_under_root: ${ON}
    fields: { a: "${NUMBER:5}", b: "$${TOPIC} ${NEST}", c: 5 }
outputs:
  main:
    type: kafka
    brokers: ["${BROKER:k:9092}"]
    sasl: { mechanism: PLAIN, username: "${credential:user}", password: "${file:/etc/pw}" }
"#;
    let checked = fine(text, &desk);
    let Some(crate::output::kafka::options::Sasl::Plain { username, password }) = &kafka(&checked).connection.sasl
    else {
        panic!("{:?}", kafka(&checked));
    };
    assert_eq!((username.as_str(), password.0.as_str()), ("me", "s3cret"));
    assert_eq!(kafka(&checked).connection.brokers, ["k:9092"]);
    let InputKind::File(file) = &checked.inputs[0].kind else { panic!("a file input") };
    assert_eq!(file.max_line_bytes, 2 << 20);
    assert!(checked.inputs[0].fields_under_root);
    assert_eq!(checked.inputs[0].routes[0].topic, crate::event::Template::parse("t1-x").expect("a template"));
    let fields = &checked.inputs[0].fields;
    assert_eq!(fields.get("a"), Some(&"5".into()));
    assert_eq!(fields.get("b"), Some(&"${TOPIC} ${TOPIC}".into()));
    assert_eq!(fields.get("c"), Some(&crate::event::Value::Int(5)));
    let faults = [
        ("${NONE}", "5:12: the environment variable `NONE` is not set"),
        ("x-${NONE}", "5:14: the environment variable `NONE` is not set"),
        ("${file:/none}", "5:12: cannot read the file `/none`"),
        ("${file:none}", "5:12: expected an absolute path"),
        ("${credential:../x}", "5:12: expected the name of a systemd credential"),
        ("${credential:x}", "5:12: cannot read the credential `x` at `/run/c/x`"),
        ("${a-b}", "5:12: expected `${NAME}`"),
        ("${TOPIC", "5:12: `${` without its `}`"),
        ("'${A:${B}}'", "5:13: substitutions are not nested"),
    ];
    for (written, expect) in faults {
        check_at(&with_input(&format!("topic: {written}")), &desk, &[expect]);
    }
    check_at("inputs: {a: {type: '${TOPIC}'}}\n", &desk, &["1:1: `outputs` is missing", "1:20: takes no substitution"]);
}

/// Scenario: secrets, written or put in, in places where they are mistakes. Guarantee: no message shows them, and neither
/// does the checked config's `Debug`.
#[test]
fn secrets_are_never_shown() {
    let secret = "hush9hush9hush";
    let desk = Desk {
        variables: HashMap::from([("SECRET", secret)]),
        files: HashMap::from([("/secret", secret), ("/odd", "%{[hush9hush9hush"), ("/n", "hush9hush9hush\0")]),
        otherwise: None,
    };
    for written in ["${SECRET}", "${file:/secret}", "${file:/odd}", "x${SECRET}%{[", "${file:/n}"] {
        let keys = [
            "topic",
            "key",
            "codec",
            "max_line_bytes",
            "scan_every",
            "fields_under_root",
            "start_at",
            "watch",
            "format",
            "paths",
            "exclude",
            "include_lines",
            "tags",
            "processors",
            "headers",
        ];
        for key in keys.iter().filter(|key| **key != "paths") {
            let value = if matches!(*key, "exclude" | "include_lines") {
                format!("['({written}']")
            } else {
                format!("'{written}'")
            };
            let said = said(&with_input(&format!("{key}: {value}")), &desk);
            assert!(said.iter().all(|line| !line.contains("hush9")), "{key}: {said:#?}");
        }
        let conditions = [
            format!("processors: [{{drop_event: {{if: '[a] == {written}'}}}}]"),
            format!("processors: [{{drop_fields: {{fields: ['[{written}']}}}}]"),
        ];
        for lines in conditions {
            let said = said(&with_input(&lines), &desk);
            assert!(said.iter().all(|line| !line.contains("hush9")), "{said:#?}");
        }
        let keys = [
            "brokers: ['V']",
            "acks: V",
            "compression: V",
            "linger: V",
            "batch_bytes: V",
            "create_topics: V",
            "rdkafka: {socket.timeout.ms: V}",
            "rdkafka: {debug: V}",
            "tls: {ca_file: V}",
            "tls: {ca_file: /V}",
            "tls: {verify: V}",
            "tls: V",
            "sasl: V",
            "sasl: {mechanism: V}",
            "sasl: {mechanism: PLAIN, username: u, password: [V]}",
            "sasl: {mechanism: PLAIN, username: u, passwort: V}",
        ];
        for lines in keys {
            let lines = lines.replace('V', &format!("'{written}'")).replace("''", "'").replace("/'", "'/");
            let said = said(&with_output(&format!("brokers: [k:1]\n{lines}")), &desk);
            assert!(!said.is_empty(), "{lines}");
            assert!(said.iter().all(|line| !line.contains("hush9")), "{lines}: {said:#?}");
        }
    }
    for wrong in ["[hush9hush9hush]", "{hush9: hush9}"] {
        let said = said(
            &with_output(&format!("brokers: [k:1]\nsasl: {{mechanism: PLAIN, username: u, password: {wrong}}}")),
            &desk,
        );
        assert!(!said.is_empty() && said.iter().all(|line| !line.contains("hush9")), "{said:#?}");
    }
    let text = with_output(
        "brokers: [k:1]\nsasl: {mechanism: PLAIN, username: u, password: '${SECRET}'}\ntls: {cert_file: /c, key_file: /k, key_password: hush9}",
    );
    let checked = fine(&text, &Desk { files: HashMap::from([("/c", PEM), ("/k", PEM)]), ..desk });
    assert!(!format!("{:?}", kafka(&checked)).contains("hush9"));
}

#[test]
fn inputs_together() {
    let two = |a: &str, b: &str| format!("inputs:\n  b: {a}\n  a: {b}\n{OUTPUT}");
    check(&two("{type: stdin}", "{type: stdin}"), &["3:3: the inputs `a` and `b` both read stdin"]);
    check(
        &two("{type: file, paths: [/x, /y]}", "{type: file, paths: [/z, /y]}"),
        &["3:31: the inputs `a` and `b` read the same files"],
    );
    check(&with_input("max_line_bytes: 5MiB"), &["5:21: 128 to 4MiB"]);
    check(&with_input("scan_every: 5ms"), &["5:17: `scan_every` must be 100ms to 1h"]);
    check(&with_input("ignore_older: 0s"), &["5:19: `ignore_older` must be 1s to"]);
    check(&with_input("fields: {'@timestamp': 1, event.id: 2}"), &[]);
    check(
        &with_input("fields_under_root: true\nfields: {'@timestamp': 1, event.id: 2, events: 3}"),
        &["6:14: `@timestamp` is the agent's own", "6:31: `event` is the agent's own"],
    );
    check(
        &with_input("processors:\n- if: '[a] exists'\n  drop_event: {if: '[b] exists'}\n- {if: '[a] exists'}"),
        &["7:20: `if` is already written beside", "8:7: expected a processor: `add_fields`"],
    );
    check(&with_input("processors: [drop_event]"), &["5:18: `processors` takes a map, found a text"]);
    check(&with_input("processors: [{script: {}}]"), &["5:19: `script` comes in a later release"]);
}

/// Guarantee: a format, zone or language that is none is named with its place, and so is what a replacement lacks.
#[test]
fn mistakes_in_processors_of_fields_point_at_the_place() {
    let date = |options: &str| with_input(&format!("processors:\n- date: {{field: t, {options}}}"));
    check(&date("formats: [yyyy-MM-DD]"), &["6:42: `D` is the day of the year"]);
    check(&date("formats: ['%Y-%q']"), &["6:39: `%q` is nothing"]);
    check(&date("formats: []"), &["6:33: `formats` is empty"]);
    check(&date("formats: [UNIX], timezone: Mars/Olympus"), &["6:51: `Mars/Olympus` is no time zone"]);
    check(&date("formats: [UNIX], locale: xx"), &["6:49: known are `en`, `cs`"]);
    check(&date("formats: [UNIX], precision: hours"), &["6:52: `precision` takes `milliseconds`, `microseconds` or"]);
    let input = |processor: &str| with_input(&format!("processors:\n- {processor}"));
    check(&input("redact: {}"), &["6:15: `redact` looks for nothing"]);
    check(&input("redact: {builtin: [cards]}"), &["6:26: `builtin` takes `card`"]);
    check(&input("redact: {builtin: [card], action: hash}"), &["6:41: `action: hash` needs a `key`"]);
    check(&input("redact: {builtin: [card], key: x}"), &["6:38: `key` belongs to `action: hash`"]);
    check(&input("fingerprint: {fields: [a], method: xxh3, key: x}"), &["6:53: `key` belongs to `method: sha256`"]);
    check(&input("rate_limit: {}"), &["6:7: `limit` is missing"]);
    check(&input("rate_limit: {limit: 10/w}"), &["6:30: the units are"]);
    check(&input("rate_limit: {limit: 10/s, burst: 0}"), &["6:40: `burst` must be at least 1"]);
    check(&input("rate_limit: {limit: 10/s, fields: [a], key: b}"), &["6:51: expected one of `fields` and `key`"]);
    check(&input("throttle: {limit: 10/s}"), &["6:7: unknown key `throttle`"]);
    check(&input("user_agent: {}"), &["6:7: `field` is missing"]);
    check(&input("user_agent: {field: a, lru_cache_size: 1}"), &["6:46: `lru_cache_size` must be 2 to 100000"]);
    check(&input("useragent: {field: a}"), &["6:7: unknown key `useragent`"]);
    check(&input("cloud: {provider: asw}"), &["6:25: `provider` takes `auto`"]);
    check(&input("cloud: {timeout: 31s}"), &["6:24: `timeout` must be 100ms to 30s"]);
    check(&input("cloud: {endpoint: 'https://x'}"), &["6:25: expected `http://HOST:PORT`"]);
    check(&input("cloud: {endpoint: 'http://x/y'}"), &["6:25: expected `http://HOST:PORT`"]);
    let twice = input("cloud: {}\n- cloud: {overwrite: true}\n- cloud: {timeout: 1s}");
    assert_eq!(fine(&twice, &Desk::default()).clouds.len(), 2, "one a question");
    check(&input("csv: {autogenerate_column_names: false}"), &["6:12: `columns` is empty"]);
    fine(&input("csv: {separator: '\\t'}"), &Desk::default());
    check(&input("csv: {skip_header: true}"), &["6:26: `skip_header` needs `columns`"]);
    let columns = |convert: &str| input(&format!("csv: {{columns: [a, a.b], convert: {{{convert}}}}}"));
    check(&columns("b: integer"), &["6:45: `b` is none of the `columns`"]);
    check(&columns("column2: integer"), &["6:51: `column2` is none of the `columns`"]);
    check(&columns("a: time"), &["6:45: `a` takes `integer`"]);
    fine(&columns("a: date, a.b: float, column3: date_time"), &Desk::default());
    // What other agents write, and what to write instead.
    check(&input("mutate: {rename: {a: b}}"), &["6:7: unknown key `mutate` in `processors`: its verbs are processors"]);
    check(&input("json: {source: a}"), &["6:14: unknown key `source` in `json` (did you mean `field`?)"]);
    check(
        &input("json: {add_field: {a: b}}"),
        &["6:14: unknown key `add_field` in `json`: that is a processor of its own, `set`"],
    );
    check(
        &input("csv: {autodetect_column_names: true}"),
        &["6:13: unknown key `autodetect_column_names` in `csv`: write the `columns`"],
    );
    check(
        &input("dissect: {tokenizer: '%{a}', convert_datatype: {a: int}}"),
        &["6:36: unknown key `convert_datatype` in `dissect`: write `%{name|integer}`"],
    );
    check(&input("sample: {rate: 1, exclude: 'a =='}"), &["6:39: `exclude`: expected a condition"]);
    check(&input("sample: {rate: 1.5}"), &["6:22: expected a part, from 0 to 1"]);
    check(&input("geoip: {field: a, database: /none.mmdb}"), &["6:35: cannot use `/none.mmdb`"]);
    let damaged = Desk { files: HashMap::from([("/db", "odd")]), ..Desk::default() };
    check_at(&input("geoip: {field: a, database: /db}"), &damaged, &["6:35: cannot use `/db`"]);
    check(
        &input("geoip: {field: a, database: /none.mmdb, ecs_compatibility: v8}"),
        &["6:14: `target` is missing", "6:35: cannot use"],
    );
    check(&input("set: {fields: {a: '%{b}'}}"), &["6:25: expected `[field]` or `+date`"]);
    check(&input("convert: {fields: {a: int}}"), &["6:29: `a` takes `integer`"]);
    check(&input("convert: {fields: {'a..b': integer}}"), &["6:34: expected a field name"]);
    check(&input("gsub: {fields: [{field: a, pattern: '(', replacement: x}]}"), &["6:44: unclosed group"]);
    let gsub = r"gsub: {fields: [{field: a, pattern: b, replacement: '\1'}]}";
    check(&input(gsub), &["6:59: no group 1"]);
    check(&input("truncate: {fields: [a]}"), &["6:17: one of `max_bytes` and `max_characters`"]);
    check(&input("mutate: {}"), &["6:7: unknown key `mutate` in `processors`: its verbs are processors of their own"]);
}

#[test]
fn the_output_and_what_it_can_not_combine() {
    let output = |lines: &str, expect: &[&str]| check(&with_output(&format!("brokers: [k:1]\n{lines}")), expect);
    output("linger: 2m", &["7:13: `linger` must be 0s to 1m"]);
    output("batch_bytes: 100MB", &["7:18: `batch_bytes` must be 1kB to 12MiB"]);
    output("max_record_bytes: 10", &["7:23: `max_record_bytes` must be 1kB to 12MiB"]);
    output(
        "sasl: {mechanism: OAUTHBEARER, username: a, token_url: 'https://id/t', client_id: c}",
        &["7:5: `client_secret` is missing", "7:36: `username` belongs to PLAIN and SCRAM"],
    );
    for (url, is_safe) in [
        ("https://id.example/token", true),
        ("http://127.0.0.1:80/token", true),
        ("http://[::1]/token", true),
        ("http://id.example/token", false),
        ("http://localhost.example/token", false),
        ("id.example/token", false),
    ] {
        let lines = format!("sasl: {{mechanism: OAUTHBEARER, client_id: c, client_secret: s, token_url: '{url}'}}");
        output(&lines, if is_safe { &[] } else { &["7:79: `token_url` must begin with `https://`"] });
    }
    output("sasl: {mechanism: PLAIN}", &["7:5: `username` is missing", "7:5: `password` is missing"]);
    output("tls: {key_file: /k}", &["7:11: `key_file` needs `cert_file`", "7:21: cannot read `/k`"]);
    output("dead_letter: x\nspool: {}", &["7:18: `dead_letter` takes a map"]);
    output(
        "spool: { max_bytes: 1MiB, after: 2h }",
        &["7:25: `max_bytes` must be 64MiB to ", "7:38: `after` must be 100ms to 1h"],
    );
    output("spool: { segment: 1 }", &["7:14: unknown key `segment`"]);
    output("when: '[a] ='", &["7:16: `when`: expected a condition"]);
    output("hosts: [a]", &["7:5: unknown key `hosts` in `main` (did you mean `brokers`?)"]);
    output("rdkafka: {compression.level: 99}", &["7:34: librdkafka does not take this value for `compression.level`"]);
    output("rdkafka: {compression.level: 3, socket.keepalive.enable: true, ssl.cipher.suites: DEFAULT}", &[]);
    let desk = Desk {
        files: HashMap::from([("/c", PEM), ("/e", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), ("/x", "hello")]),
        ..Desk::default()
    };
    let tls =
        |lines: &str, expect: &[&str]| check_at(&with_output(&format!("brokers: [k:1]\ntls: {lines}")), &desk, expect);
    tls("{cert_file: /c, key_file: /c}", &[]);
    tls("{cert_file: /c, key_file: /e}", &["7:36: this key is encrypted: `key_password` is missing"]);
    tls("{cert_file: /c, key_file: /e, key_password: x}", &[]);
    tls("{ca_file: /x}", &["7:20: `/x` holds no PEM with a certificate"]);
}

#[test]
fn a_dead_letter_is_a_topic_or_a_file_of_its_own() {
    let text = |letter: &str| {
        format!(
            "inputs: {{a: {{type: stdin}}}}\noutputs:\n  main: {{type: kafka, brokers: ['k:1'], topic: logs.a, dead_letter: {{{letter}}}}}\n"
        )
    };
    let both =
        "3:88: a dead letter is a `topic` or a `file`, not both (what the topic refuses goes to a file in `data_dir`)";
    check(&text("topic: logs.dead, file: /d"), &[both]);
    check(&text("topic: logs.a"), &["3:77: this is the output's own topic: what it refuses needs another one"]);
    check(&text("max_bytes: 1kB"), &["3:81: `max_bytes` must be 1MiB to 1TiB"]);
    check(&text("tpic: a"), &["3:70: unknown key `tpic` in `dead_letter` (did you mean `topic`?)"]);
    let two = "inputs: {a: {type: stdin}}\noutputs:\n  one: {type: kafka, brokers: ['k:1'], dead_letter: {file: /d}}\n  \
               two: {type: kafka, brokers: ['k:1'], dead_letter: {file: /d}}\n";
    check(two, &["4:60: the dead letter of `one` is the same file: each output needs its own"]);
    let checked = fine(&text("topic: logs.dead, max_bytes: 2MiB"), &Desk::default());
    let letter = &kafka(&checked).dead_letter;
    assert_eq!((letter.topic.as_deref(), &letter.file, letter.bytes_max), (Some("logs.dead"), &None, 2 << 20));
}

#[test]
fn several_outputs_and_what_they_can_not_combine() {
    let file = |keys: &str| format!("inputs: {{a: {{type: stdin}}}}\noutputs:\n  main: {{type: file, {keys}}}\n");
    check(&file("path: /var/log/out.jsonl"), &[]);
    check(&file("path: '/var/log/%{topic}/out-%{topic}.jsonl', rotate: {max_bytes: 1MiB, keep: 3}"), &[]);
    check(&file("topic: t"), &["3:3: `path` is missing: expected an absolute path"]);
    check(&file("path: out.jsonl"), &["3:28: `path`: expected an absolute path"]);
    check(&file("path: /out/"), &["3:32: `path`: expected the path of a file: this one names a directory"]);
    check(&file("path: '/out/%{[host.name]}'"), &["3:34: `path`: expected no `%{…}` but `%{topic}`"]);
    check(&file("path: /o, permissions: 600"), &["3:45: `permissions` takes a text, found a number"]);
    check(&file("path: /o, permissions: '0444'"), &["3:46: `permissions`: expected three octal digits"]);
    check(&file("path: /o, rotate: {keep: 0}"), &["3:47: `keep` must be 1 to 10000"]);
    check(&file("path: /o, rotate: {keep: many}"), &["3:47: `keep`: expected a whole number"]);
    check(&file("path: /o, rotate: {max_bytes: 1kB}"), &["3:52: `max_bytes` must be 64KiB to 1TiB"]);
    check(&file("path: /o, brokers: ['k:1']"), &["3:32: unknown key `brokers` in `main`"]);
    let two = |first: &str, second: &str, input: &str| {
        format!(
            "inputs:\n  a: {{type: stdin, {input}}}\noutputs:\n  one: {{type: file, path: /o, {first}}}\n  two: {{type: file, {second}}}\n"
        )
    };
    check(&two("", "path: /o", ""), &["5:27: the outputs `one` and `two` write the same file"]);
    check(&two("", "path: /p", "outputs: [two, tow]"), &["2:35: there is no output `tow` (did you mean `two`?)"]);
    check(&two("", "path: /p", "outputs: []"), &["2:29: `outputs` is empty"]);
    let many: String = (0..9).map(|n| format!("  o{n}: {{type: file, path: /o{n}}}\n")).collect();
    check(
        &format!("inputs: {{a: {{type: stdin}}}}\noutputs:\n{many}"),
        &["11:3: this release takes at most 8 of `outputs`"],
    );
    let warned =
        |text: &str| -> Vec<String> { fine(text, &Desk::default()).warnings.iter().map(ToString::to_string).collect() };
    let all_optional = warned(&two("required: false", "path: /p", "outputs: [one]"));
    assert!(all_optional[0].starts_with("f:2:3: every output of `a` is `required: false`"), "{all_optional:?}");
    assert_eq!(warned(&two("required: false", "path: /p", "")), [""; 0]);
    assert!(warned(&two("fsync: false", "path: /p", ""))[0].contains("4:38: `fsync: false`"));
}

/// Guarantee: an input takes what it says itself, then what each output says; the outputs that it does not name get nothing of it.
#[test]
fn each_output_has_its_own_route() {
    let text = r#"
inputs:
  a: { type: file, paths: [/a], codec: raw }
  b: { type: stdin, outputs: [new] }
outputs:
  old: { type: kafka, brokers: ["k:1"], topic: old, codec: json, max_record_bytes: 500kB, headers: { x: "1" } }
  new: { type: kafka, brokers: ["l:1"], topic: new, when: "[a] exists", required: false }
  copy: { type: file, path: "/out/%{topic}", permissions: "0640" }
"#;
    let checked = fine(text, &Desk::default());
    let names: Vec<&str> = checked.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["copy", "new", "old"]);
    assert_eq!(checked.window_share_bytes(), (12 << 20) / 3);
    let OutputKind::File(copy) = &checked.outputs[0].kind else { panic!("a file output") };
    assert_eq!((copy.mode, copy.keep, copy.rotate_bytes_max, copy.fsync), (0o640, 7, 100 << 20, true));
    let [a, b] = checked.inputs.as_slice() else { panic!("two inputs") };
    let seen: Vec<_> = a
        .routes
        .iter()
        .map(|route| (route.output.as_str(), route.topic.literal(), route.required, route.when.is_some(), route.codec))
        .collect();
    let raw = crate::encode::Codec::Raw;
    assert_eq!(
        seen,
        [
            ("copy", Some("logs.raw"), true, false, raw),
            ("new", Some("new"), false, true, raw),
            ("old", Some("old"), true, false, raw)
        ]
    );
    assert_eq!((a.routes[2].record_bytes_max, a.routes[2].headers.len()), (500_000, 1));
    let fed: Vec<&str> = b.routes.iter().map(|route| route.output.as_str()).collect();
    assert_eq!(fed, ["new"]);
}

#[test]
fn a_config_becomes_options() {
    let text = r#"
data_dir: /d
memory: { max_bytes: 24MiB }
inputs:
  a: { type: file, paths: [/a], processors: [{ drop_event: {} }], headers: { x: "1", y: "2" }, ignore_older: 1d }
  b: { type: stdin, topic: own, codec: raw }
  c: { type: file, paths: [/c], key: "" }
processors: [{ rename: { fields: [{ from: a, to: b }] } }, { if: "[a] exists", drop_fields: { fields: [x] } }]
outputs:
  main: { type: kafka, brokers: [k:1, l:2], topic: all, headers: { x: "0", z: "3" }, codec: json, linger: 5ms, create_topics: broker }
spool: { max_bytes: 2GiB, files: always }
admin: { listen: off }
shutdown_after: 1m30s
"#;
    let checked = fine(text, &Desk::default());
    assert_eq!(checked.data_dir, Path::new("/d"));
    assert_eq!((checked.memory_bytes_max, checked.window_bytes), (24 << 20, 9 << 20));
    assert_eq!(checked.admin, None);
    assert_eq!(checked.shutdown_after, Duration::from_secs(90));
    assert_eq!((kafka(&checked).linger, kafka(&checked).create_topics), (Duration::from_millis(5), true));
    let [a, b, c] = checked.inputs.as_slice() else { panic!("three inputs") };
    let template = |text: &str| crate::event::Template::parse(text).expect("a template");
    assert_eq!(a.routes[0].topic, template("all"));
    assert_eq!(a.routes[0].key, Some(template("%{[host.name]}%{[log.file.path]}")));
    let headers: Vec<_> =
        [("x", "1"), ("y", "2"), ("z", "3")].map(|(name, value)| (name.to_owned(), template(value))).into();
    assert_eq!(a.routes[0].headers, headers);
    assert_eq!(
        (b.routes[0].topic.clone(), b.routes[0].key.clone(), b.routes[0].codec),
        (template("own"), None, crate::encode::Codec::Raw)
    );
    assert_eq!((c.routes[0].key.clone(), c.routes[0].codec), (None, crate::encode::Codec::Json));
    assert_eq!((a.processors.len(), checked.processors.len()), (1, 2));
    assert!(checked.processors[1].condition.is_some());
    let InputKind::File(file) = &a.kind else { panic!("a file input") };
    assert_eq!((file.ignore_older, file.max_line_bytes), (Some(Duration::from_secs(86_400)), 256 << 10));
    assert_eq!((checked.outputs[0].spool.bytes_max, checked.outputs[0].spool.always), (2 << 30, true));
    assert_eq!(checked.warnings.len(), 0);
}

/// Scenario: each form of `multiline`, and what can be wrong with one.
/// Guarantee: every mistake is said at its place, with what was expected.
#[test]
fn multiline_has_one_form() {
    for good in [
        "multiline: { preset: java }",
        "multiline: { preset: [go, python], timeout: 0s }",
        "multiline: { pattern: '^\\s', match: before, negate: true, flush_pattern: end, max_lines: 3, max_bytes: 1kB }",
        "multiline: { type: pattern, pattern: '^\\s' }",
        "multiline: { type: count, count: 3 }",
        "multiline: { count: 3, max_lines: 2 }",
        "multiline: { while: '^[{]', negate: true, skip_newline: true }",
        "multiline: { type: while, pattern: '^[{]' }",
        "multiline: { type: while_pattern, pattern: '^[{]' }",
        "format: auto\nmultiline: { preset: dotnet }",
    ] {
        fine(&with_input(good), &Desk::default());
    }
    let twice =
        fine(&with_input("multiline: { preset: [java, go, java, java, java, java, java, php] }"), &Desk::default());
    let InputKind::File(file) = &twice.inputs[0].kind else { panic!("a file input") };
    let multiline = file.joining.as_ref().and_then(|joining| joining.multiline.as_ref()).expect("it is written");
    let Kind::Presets(machines) = &multiline.kind else { panic!("presets: {multiline:?}") };
    assert_eq!(machines.iter().map(|machine| machine.name()).collect::<Vec<_>>(), ["java", "go", "php"]);
    let wrong = |line: &str, expect: &str| check(&with_input(line), &[expect]);
    wrong("multiline: {}", "5:16: expected `preset`, `pattern`, `while` or `count`");
    wrong("multiline: { negate: true }", "5:16: expected `preset`, `pattern`, `while` or `count`");
    wrong("multiline: { type: count }", "5:16: `count` is missing");
    wrong("multiline: { preset: java, pattern: x }", "5:32: `preset` and `pattern`: keep one");
    wrong("multiline: { pattern: x, count: 3 }", "5:30: `pattern` and `count`: keep one");
    wrong("multiline: { pattern: x, type: count }", "5:36: another form than `pattern`");
    wrong("multiline: { preset: jave }", "5:26: did you mean `java`");
    wrong("multiline: { preset: [go, rubi] }", "5:31: did you mean `ruby`");
    wrong("multiline: { preset: [] }", "5:26: `preset` is empty");
    wrong("multiline: { pattern: '(' }", "5:28: `pattern`: expected a regular expression");
    wrong("multiline: { while: '^{' }", "5:27: unclosed counted repetition; the character `{` is written `\\{`");
    wrong("multiline: { pattern: x, match: behind }", "5:37: `match` takes `after` or `before`");
    wrong("multiline: { preset: go, negate: true }", "5:30: `negate` means nothing with `preset`");
    wrong("multiline: { while: x, flush_pattern: y }", "5:28: `flush_pattern` means nothing with `while`");
    wrong("multiline: { count: 2, max_lines: 0 }", "5:39: `max_lines` must be 1 to 1000000");
    wrong("multiline: { count: 0 }", "5:25: `count` must be 1 to 100000");
    wrong("multiline: { count_lines: 2 }", "5:18: did you mean `count`");
    wrong("multiline: { preset: go, max_lines: 0 }", "5:41: `max_lines` must be 1 to 1000000");
    wrong("multiline: { preset: go, max_bytes: 10MiB }", "5:41: 128 to 4MiB");
    wrong("multiline: { preset: go, timeout: 2h }", "5:39: `timeout` must be");
    wrong("multiline: java", "5:16: `multiline` takes a map");
    wrong("format: csv", "5:13: `format` takes `lines`, `cri`, `docker` or `auto`");
    wrong("format: cri\nfields_under_root: true\nfields: { stream: x }", "7:15: `stream` is where the container wrote");
}

/// The configs in config/ and in the docs, by where they are. A block that has only some of the sections is completed.
fn examples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let files = |dir: &str| std::fs::read_dir(root.join(dir)).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files("config").filter(|path| path.extension().is_some_and(|end| end == "yaml")) {
        found.push((path.display().to_string(), std::fs::read_to_string(&path).expect("an example can be read")));
    }
    assert!(found.iter().any(|(path, _)| path.ends_with("config/logferry.yaml")), "the default config is there");
    let schema = schema::internal();
    let sections: Vec<&String> = schema["properties"].as_object().expect("sections").keys().collect();
    for path in
        files("docs").chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|end| end == "md"))
    {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for (number, block) in text.split("```yaml\n").enumerate().skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let has = |key: &str| block.lines().any(|line| line.starts_with(&format!("{key}:")));
            // What has no section of ours is another program's YAML.
            if !sections.iter().any(|key| has(key)) {
                continue;
            }
            let mut whole = block.to_owned();
            for (key, default) in [("inputs", "inputs: {a: {type: stdin}}\n"), ("outputs", OUTPUT)] {
                if !has(key) {
                    whole.push_str(default);
                }
            }
            found.push((format!("{}, block {number}", path.display()), whole));
        }
    }
    found
}

/// Guarantee: what we show people is right, by the check and by the published schema, read by a second YAML parser.
#[test]
fn every_example_is_fine_and_fits_the_schema() {
    let desk = Desk { otherwise: Some("example:9092"), ..Desk::default() };
    let validator = jsonschema::validator_for(&schema::published()).expect("a valid schema");
    let examples = examples();
    assert!(examples.len() >= 8, "{}", examples.len());
    for (place, text) in examples {
        let mistakes = check_text(&place, &text, &desk).err().unwrap_or_default();
        assert!(mistakes.is_empty(), "{text}\n{mistakes:#?}");
        let json: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
        let errors: Vec<String> =
            validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{place}: {errors:#?}");
    }
}

/// Guarantee: the published schema refuses what the check refuses of a single value, and allows `${…}` where it is legal.
#[test]
fn the_published_schema_agrees_with_the_check() {
    let schema = schema::published();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(!schema.to_string().contains("\"x-"), "our marks are taken out");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let desk =
        Desk { variables: HashMap::from([("V", "1"), ("T", "true"), ("S", "5s"), ("C", "lz4")]), ..Desk::default() };
    let agree = |text: &str, expect: bool| {
        let json: serde_json::Value = serde_yaml::from_str(text).expect("YAML");
        assert_eq!(validator.is_valid(&json), expect, "the schema, of {text}");
        let said = said(text, &desk);
        assert_eq!(said.is_empty(), expect, "the check, of {text}: {said:#?}");
    };
    let input = |lines: &str, expect: bool| agree(&with_input(lines), expect);
    input("max_line_bytes: 4096", true);
    input("max_line_bytes: 4kB", true);
    input("max_line_bytes: 4 kB", false);
    input("max_line_bytes: ${V}kB", true);
    input("max_line_bytes: -1", false);
    input("scan_every: 5s", true);
    input("scan_every: 5", false);
    input("scan_every: ${S}", true);
    input("fields_under_root: true", true);
    input("fields_under_root: ${T}", true);
    input("fields_under_root: 'true'", false);
    input("start_at: end", true);
    input("start_at: middle", false);
    input("pahts: []", false);
    input("tags: x", false);
    input("tags: ['']", false);
    input("fields: {a: {b: [1, null, 2.5]}}", true);
    input("processors: [{drop_event: {}}]", true);
    input("processors: [{drop_event: {}, rename: {fields: [{from: a, to: b}]}}]", false);
    input("processors: [{add_fields: {target: '', fields: {a: 1}}}]", true);
    input("processors: [{add_fields: {fields: {}}}]", false);
    input("processors: [{drop_fields: {fields: []}}]", false);
    input("exclude: ['**/*.gz', '/x/*']", true);
    input("exclude: ['*.gz']", false);
    let output = |lines: &str, expect: bool| agree(&with_output(lines), expect);
    output("brokers: [k:1]\ncompression: ${C}", true);
    output("brokers: [k:1]\ncompression: lz5", false);
    output("brokers: ['${B:k:1}']", true);
    output("brokers: [k]", false);
    output("brokers: []", false);
    output("topic: x", false);
    output("brokers: [k:1]\nacks: all", true);
    output("brokers: [k:1]\nacks: 1", false);
    output("brokers: [k:1]\nrdkafka: {socket.timeout.ms: 5000, debug: broker, socket.keepalive.enable: true}", true);
    output("brokers: [k:1]\nsasl: {mechanism: PLAIN, username: a}", false);
    agree(&format!("inputs: {{}}\n{OUTPUT}"), false);
    agree(&format!("inputs: {{a b: {{type: stdin}}}}\n{OUTPUT}"), false);
    agree(&format!("{}  second: {{type: kafka, brokers: ['k:1']}}\n", with_input("")), true);
    agree(
        &format!("{}  second: {{type: file, path: /o, rotate: {{keep: 3}}, permissions: '0640'}}\n", with_input("")),
        true,
    );
    agree(&format!("{}  second: {{type: file, path: o}}\n", with_input("")), false);
    input("outputs: [main]", true);
    agree(&format!("{}admin: {{listen: 'off'}}\n", with_input("")), true);
}

/// Guarantee: docs/configuration.md says what the option types say.
#[test]
fn the_docs_are_not_stale() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let fresh = docs::render();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &fresh).expect("docs/configuration.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == fresh,
        "docs/configuration.md is stale: run `UPDATE_DOCS=1 cargo test --lib the_docs_are_not_stale`"
    );
}

/// Guarantee: the conditions and templates that the docs show in their tables can be written so.
#[test]
fn what_the_docs_show_of_the_small_languages_is_right() {
    let page = docs::render();
    let shown = |section: &str| -> Vec<String> {
        let text = page
            .split(&format!("## {section}\n"))
            .nth(1)
            .expect("the section")
            .split("\n## ")
            .next()
            .unwrap_or_default();
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        rows.flat_map(|row| {
            let cell = row.replace("\\|", "\u{0}");
            let cell = cell.split('|').nth(1).unwrap_or_default().replace('\u{0}', "|");
            let spans: Vec<String> = cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            spans
        })
        .collect()
    };
    let operators = [">", "<", "<=", "not in", "!~"];
    let conditions: Vec<String> =
        shown("Conditions").into_iter().filter(|shown| !operators.contains(&shown.as_str())).collect();
    assert_eq!(conditions.len(), 11, "{conditions:?}");
    for shown in conditions {
        assert_eq!(leaf::check("condition", &shown), Ok(()), "{shown}");
    }
    let templates = shown("Templates");
    assert_eq!(templates.len(), 4, "{templates:?}");
    for shown in templates {
        assert_eq!(leaf::check("template", &shown), Ok(()), "{shown}");
    }
}

/// Guarantee: every option has a description, since that is its documentation.
#[test]
fn every_option_is_described() {
    fn walk(path: &str, schema: &serde_json::Value, bare: &mut Vec<String>) {
        match schema {
            serde_json::Value::Object(map) => {
                for (key, below) in map.get("properties").and_then(|below| below.as_object()).into_iter().flatten() {
                    if key != "type" && below.get("description").is_none() {
                        bare.push(format!("{path}/{key}"));
                    }
                }
                // A condition describes nothing.
                let parts = map.iter().filter(|(key, _)| *key != "if");
                parts.for_each(|(key, below)| walk(&format!("{path}/{key}"), below, bare));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|below| walk(path, below, bare)),
            _ => {}
        }
    }
    let mut bare = Vec::new();
    walk("", &schema::internal(), &mut bare);
    assert!(bare.is_empty(), "{bare:#?}");
}

proptest::proptest! {
    /// Scenario: any bytes of a config, and the default one with a piece torn out or put in. Guarantee: mistakes or options,
    /// never a panic; and what is refused has at least one mistake, with a place within the file.
    #[test]
    fn no_text_panics(noise in "[ -~\n\t{}\\[\\]:&*'\"$%|>äß\u{85}\u{feff}-]{0,40}", from in 0usize..1500, cut in 0usize..60) {
        let base = include_str!("../../config/logferry.yaml");
        let mut text = base.to_owned();
        let floor = |at: usize| (0..=at.min(base.len())).rev().find(|at| base.is_char_boundary(*at)).unwrap_or(0);
        text.replace_range(floor(from)..floor(from + cut), &noise);
        for text in [noise.as_str(), text.as_str()] {
            if let Err(mistakes) = check_text("f", text, &Desk::default()) {
                proptest::prop_assert!(!mistakes.is_empty());
                let lines = text.lines().count().max(1) + 1;
                for mistake in mistakes {
                    proptest::prop_assert!((1..=lines).contains(&mistake.at.line), "{}", mistake);
                }
            }
        }
    }
}

/// Scenario: mistakes in processors, also in those below `when`. Guarantee: each is said, at its place.
#[test]
fn processors_that_parse_and_route() {
    let processors = |lines: &str| with_input(&format!("processors:\n{lines}"));
    let desk = Desk::default();
    let mut others = Vec::new();
    let mut wrong = |lines: &str, word: &str| {
        let said = said(&processors(lines), &desk);
        if said.len() != 1 || !said[0].contains(word) {
            others.push(format!("{lines}: {said:#?}"));
        }
    };
    for (lines, word) in [
        ("- dissect: { tokenizer: '%{a} %{b' }\n", "expected `}`"),
        ("- dissect: { tokenizer: '%{a|int8}' }\n", "`integer`"),
        ("- json: { max_depth: 65 }\n", "`max_depth` must be 1 to 64"),
        ("- json: { max_bytes: 17MiB }\n", "`max_bytes` must be"),
        ("- kv: { field_split: '=&' }\n", "`value_split`"),
        ("- kv: { field_split: '&', field_split_pattern: '&+' }\n", "keep one"),
        ("- kv: { value_split_pattern: '=*' }\n", "may match nothing"),
        ("- kv: { value_split_pattern: '(' }\n", "unclosed group"),
        ("- kv: { transform_key: upper }\n", "`uppercase`"),
        ("- kv: { field_split: '' }\n", "`field_split` is empty"),
        ("- csv: { columns: [a], quote: '<>' }\n", "one character"),
        ("- csv: { columns: [a], separator: '' }\n", "`separator` is empty"),
        ("- regex: { patterns: ['(.)'] }\n", "a group with a name"),
        ("- regex: { patterns: ['(?<a>.'] }\n", "unclosed group"),
        ("- route: {}\n", "`route` says nothing"),
        ("- route: { topic: 'no topic' }\n", "is not allowed"),
        ("- when: { if: 'a ==', then: [] }\n", "expected a condition"),
        ("- when: { then: [] }\n", "`if` is missing"),
        ("- when: { if: a exists, then: [{ drop_evnt: {} }] }\n", "did you mean `drop_event`"),
        ("- when: { if: a exists, then: [], else: [{ csv: { columns: [a], separator: '' } }] }\n", "`separator`"),
    ] {
        wrong(lines, word);
    }
    let nested = |depth: usize| {
        let mut inner = "drop_event: {}".to_owned();
        for _ in 0..depth {
            inner = format!("when: {{ if: a exists, then: [{{ {inner} }}] }}");
        }
        format!("- {{ {inner} }}\n")
    };
    assert_eq!(said(&processors(&nested(6)), &desk), Vec::<String>::new());
    wrong(&nested(7), "6 deep");
    assert!(others.is_empty(), "{others:#?}");
    let beside = "- if: a exists\n  when: { then: [{ drop_event: {} }], else: [{ route: { key: k } }] }\n";
    assert_eq!(said(&processors(beside), &desk), Vec::<String>::new());
}
