//! docs/configuration.md, from the schema: the tables are made of the option types' own descriptions and defaults.
//!
//! What is no option (substitution, templates, conditions) is written here as prose. A test fails when the file in
//! docs/ is stale and says how to make it again.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::schema::{internal, properties, resolve, tagged, words};

/// The whole page.
pub fn render() -> String {
    let schema = internal();
    let mut page = Page { root: &schema, text: String::new() };
    page.text.push_str(HEAD);
    page.top();
    for (name, below) in sections(&schema) {
        page.section(name, below);
    }
    page.text.push_str(PROSE);
    page.text
}

/// The top-level keys that are maps or lists of maps, in their order.
fn sections(root: &Value) -> Vec<(&str, &Value)> {
    properties(root).filter(|(_, schema)| leads_to_map(root, schema)).collect()
}

fn leads_to_map(root: &Value, schema: &Value) -> bool {
    let schema = resolve(root, schema);
    let kind = schema.get("type").and_then(Value::as_str);
    kind == Some("object")
        || tagged(schema).is_some()
        || (kind == Some("array") && leads_to_map(root, &schema["items"]))
}

struct Page<'a> {
    root: &'a Value,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn top(&mut self) {
        self.line("## Top level\n");
        self.table(self.root, |_| true);
    }

    /// A top-level section, with those below it.
    fn section(&mut self, name: &str, schema: &Value) {
        let below = resolve(self.root, schema);
        self.line(&format!("## `{name}`\n"));
        let text = description(schema).or_else(|| description(below));
        self.line(&format!("{}\n", text.unwrap_or_default()));
        match below.get("type").and_then(Value::as_str) {
            Some("array") => self.processors(resolve(self.root, &below["items"])),
            _ if below.get("additionalProperties").is_some_and(Value::is_object) => {
                let items = resolve(self.root, &below["additionalProperties"]);
                for (kind, alternative) in tagged(items).unwrap_or_default() {
                    self.line(&format!("### `type: {kind}`\n"));
                    self.line(&format!("{}\n", description(alternative).unwrap_or_default()));
                    self.table(alternative, |key| key != "type");
                    self.inner(&format!("{name}.NAME"), alternative);
                }
            }
            _ => {
                self.table(below, |_| true);
                self.inner(name, below);
            }
        }
    }

    /// Maps below a section that have keys of their own (`sasl`, `tls`).
    fn inner(&mut self, path: &str, schema: &Value) {
        for (key, below) in properties(schema) {
            let inner = resolve(self.root, below);
            if inner.get("properties").is_some() {
                self.line(&format!("#### `{path}.{key}`\n"));
                self.line(&format!("{}\n", description(below).or_else(|| description(inner)).unwrap_or_default()));
                self.table(inner, |_| true);
            }
        }
    }

    fn processors(&mut self, schema: &Value) {
        self.text.push_str(PROCESSORS);
        for (key, below) in properties(schema).filter(|(key, _)| *key != "if") {
            let inner = resolve(self.root, below);
            self.line(&format!("### `{key}`\n"));
            self.line(&format!("{}\n", description(below).unwrap_or_default()));
            if let Some((_, example)) = EXAMPLES.iter().find(|(name, _)| *name == key) {
                self.line(&format!("```yaml\nprocessors:\n{example}```\n"));
            }
            self.table(inner, |_| true);
        }
    }

    fn table(&mut self, schema: &Value, keep: impl Fn(&str) -> bool) {
        self.line("| key | type | default | meaning |");
        self.line("|---|---|---|---|");
        let required: Vec<&str> = super::schema::marks(schema, "required").collect();
        for (key, below) in properties(schema).filter(|(key, _)| keep(key)) {
            let default = if required.contains(&key) { "**required**".to_owned() } else { self.default(below) };
            let mut meaning =
                description(below).or_else(|| description(resolve(self.root, below))).unwrap_or_default().to_owned();
            for (word, what) in words(resolve(self.root, below)).unwrap_or_default() {
                if !what.is_empty() {
                    // Writing to a String cannot fail.
                    write!(meaning, "<br>`{word}`: {}", flat(what)).ok();
                }
            }
            let kind = self.kind(below);
            self.line(&format!("| `{key}` | {kind} | {default} | {} |", flat(&meaning)));
        }
        self.line("");
    }

    fn default(&self, schema: &Value) -> String {
        match schema.get("default") {
            None => String::new(),
            Some(_) if leads_to_map(self.root, schema) => String::new(),
            Some(Value::Array(items)) if items.is_empty() => "`[]`".to_owned(),
            Some(Value::Object(map)) if map.is_empty() => "`{}`".to_owned(),
            Some(Value::String(text)) if text.is_empty() => "`\"\"`".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
        }
    }

    /// The type of a value, in a word or two.
    fn kind(&self, schema: &Value) -> String {
        let schema = resolve(self.root, schema);
        if let Some(words) = words(schema) {
            return words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(" \\| ");
        }
        match (schema.get("type").and_then(Value::as_str), schema.get("format").and_then(Value::as_str)) {
            (Some("array"), _) => format!("list: {}", self.kind(&schema["items"])),
            (Some("object"), _) => match schema.get("additionalProperties").filter(|below| below.is_object()) {
                Some(below) => {
                    let name = schema.get("x-name").and_then(Value::as_str).unwrap_or("name");
                    format!("map: {name} → {}", self.kind(below))
                }
                None => "map".to_owned(),
            },
            (Some("boolean"), _) => "boolean".to_owned(),
            _ if tagged(schema).is_some() => "map".to_owned(),
            (_, Some("size")) => "[size](#sizes-and-durations)".to_owned(),
            (_, Some("span")) => "[duration](#sizes-and-durations)".to_owned(),
            (_, Some("absolute-path" | "output-path")) => "path".to_owned(),
            (_, Some("output-name")) => "name of an output".to_owned(),
            (_, Some("rate")) => "number from 0 to 1".to_owned(),
            (_, Some("event-rate")) => "`NUMBER/UNIT`".to_owned(),
            (_, Some("permissions")) => "octal digits".to_owned(),
            (_, Some("count")) => "number".to_owned(),
            (_, Some("glob" | "glob-anywhere")) => "glob".to_owned(),
            (_, Some("line-regex")) => "regex".to_owned(),
            (_, Some("encoding")) => "encoding".to_owned(),
            (_, Some("template" | "topic-template")) => "[template](#templates)".to_owned(),
            (_, Some("topic")) => "topic".to_owned(),
            (_, Some("condition")) => "[condition](#conditions)".to_owned(),
            (_, Some("field")) => "[field](#fields)".to_owned(),
            (_, Some("date-format")) => "[date format](#date-formats)".to_owned(),
            (_, Some("time-zone")) => "time zone".to_owned(),
            (_, Some("locale")) => "language".to_owned(),
            (_, Some("tokenizer")) => "tokenizer".to_owned(),
            (_, Some("broker")) => "`HOST:PORT`".to_owned(),
            (_, Some("listen")) => "`ADDRESS:PORT` \\| `off`".to_owned(),
            (_, Some("property")) => "text, number or boolean".to_owned(),
            (_, Some("secret")) => "text (secret)".to_owned(),
            _ => "text".to_owned(),
        }
    }
}

fn description(schema: &Value) -> Option<&str> {
    schema.as_object().and_then(|map: &Map<String, Value>| map.get("description")).and_then(Value::as_str)
}

/// A description as a table's cell: one line.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("| ", "\\| ")
}

const HEAD: &str = r#"# Configuration

<!-- Made from the option types by `logferry schema --markdown`. Do not edit: change src/config/written.rs. -->

One YAML file, by default `/etc/logferry/logferry.yaml`, or [several](#several-files). `logferry check -c FILE` says everything
that is wrong with it at once, as `file:line:column`; `logferry run` does the same before it opens anything. `logferry schema`
prints a JSON schema that editors can complete and check with:

```yaml
# yaml-language-server: $schema=logferry.schema.json
data_dir: /var/lib/logferry
inputs:
  nginx:
    type: file
    paths: [/var/log/nginx/*.log]
    fields: { service: web }
outputs:
  main:
    type: kafka
    brokers: [kafka-0:9092, kafka-1:9092]
    topic: "logs.%{[fields.service]:raw}"
```

Unknown keys are mistakes, not ignored. A key without a value (`tags:`) is one too: leave it out.

A running agent takes a changed config in at SIGHUP: see [operating.md](operating.md#reload).

## Several files

`-c base.yaml -c conf.d/` makes one config of several files. They are read in the order of the command line; a directory stands
for the `*.yaml` and `*.yml` in it (not below it, and none that begins with a dot) in the order of their names. Nothing
overrides anything, so it does not matter which file comes first, but for the order of `processors`:

| section | over all files |
|---|---|
| `inputs`, `outputs` | united by name; the same name in two files is a mistake |
| `processors` | one list, file after file |
| every other one (`data_dir`, `memory`, `spool`, `admin`, `logging`, …) | stands in one file only; in a second one it is a mistake |

Such a mistake is said at the second place and names the first; every mistake has its own `file:line:column`. A file by itself
need not be complete: only all together must be. Anchors are for their own file.

"#;

const PROCESSORS: &str = r#"The same list can be written below an input. Each item is one processor, with a [condition](#conditions) if you like: `if`
stands in the processor or beside it. Where a list of texts is wanted, a single one will do: `fields: status`.

```yaml
processors:
  - drop_event:
      if: "[message] contains 'healthcheck'"
  - if: "[fields.service] == 'web'"
    add_fields: { fields: { team: frontend } }
```

"#;

const EXAMPLES: &[(&str, &str)] = &[
    ("add_fields", "  - add_fields:\n      target: labels\n      fields: { environment: production, region: eu-1 }\n"),
    ("add_tags", "  - add_tags:\n      tags: [access_log, \"from-%{[host.name]}\"]\n"),
    ("cloud", "  - cloud: {}\n"),
    ("convert", "  - convert:\n      fields: { http.response.status_code: integer, took: float }\n"),
    ("copy", "  - copy:\n      fields:\n        - { from: message, to: event.original }\n"),
    (
        "date",
        "  - date:\n      field: timestamp\n      formats: [\"dd/MMM/yyyy:HH:mm:ss Z\", ISO8601]\n      timezone: Europe/Berlin\n",
    ),
    (
        "csv",
        "  - csv:\n      columns: [time, user.name, status]\n      separator: \";\"\n      convert: { status: integer }\n",
    ),
    ("json", "  - json:\n      if: \"[message] =~ '^[{]'\"\n      overwrite_keys: true\n"),
    (
        "kv",
        "  - kv:\n      field: url.query\n      target: url.params\n      field_split: \"&\"\n      exclude_keys: [token]\n",
    ),
    ("logfmt", "  - logfmt:\n      target: app\n"),
    ("regex", "  - regex:\n      patterns: ['^(?<log.level>[A-Z]+) +(?<thread>\\S+): ']\n"),
    (
        "dissect",
        "  - dissect:\n      tokenizer: \"%{client.ip} - %{user.name} [%{time}] %{duration_ms|long} %{?key}=%{&key}\"\n      target_prefix: \"\"\n",
    ),
    (
        "route",
        "  - route:\n      if: \"'_grokparsefailure' in [tags]\"\n      topic: logs.raw\n      headers: { reason: unparsed }\n",
    ),
    (
        "when",
        "  - when:\n      if: \"[message] =~ '^[{]'\"\n      then:\n        - json: { overwrite_keys: true }\n        - route: { topic: logs.parsed }\n      else:\n        - route: { topic: logs.raw }\n",
    ),
    ("drop_fields", "  - drop_fields:\n      fields: [agent, log.offset]\n"),
    ("rename", "  - rename:\n      fields:\n        - { from: fields.service, to: service.name }\n"),
    (
        "grok",
        "  - grok:\n      field: message\n      patterns: [\"%{COMBINEDAPACHELOG}\", \"%{IPORHOST:clientip} %{GREEDYDATA:rest}\"]\n      overwrite: [message]\n",
    ),
    (
        "fingerprint",
        "  - fingerprint:\n      fields: [client.ip, user.name]\n      target: event.hash\n      encoding: base64\n",
    ),
    (
        "geoip",
        "  - geoip:\n      field: clientip\n      database: /usr/share/GeoIP/GeoLite2-City.mmdb\n  - geoip:\n      field: source.ip\n      \
         database: /usr/share/GeoIP/GeoLite2-ASN.mmdb\n      ecs_compatibility: v8\n",
    ),
    (
        "gsub",
        "  - gsub:\n      fields:\n        - { field: url.path, pattern: '[?#].*', replacement: \"\" }\n        \
         - { field: user.email, pattern: '^(.).*@', replacement: '\\1***@' }\n",
    ),
    ("host", "  - host: {}\n"),
    ("join", "  - join:\n      fields: { labels: \", \" }\n"),
    ("keep", "  - keep:\n      fields: [message, http, url.path]\n"),
    ("lowercase", "  - lowercase:\n      fields: [log.level]\n"),
    (
        "rate_limit",
        "  - rate_limit:\n      limit: 10000/m\n      fields: [kubernetes.namespace]\n      burst: 2000\n  - rate_limit:\n      \
         if: \"[log.level] == 'debug'\"\n      limit: 10/s\n      key: \"%{[service.name]}/%{[logger]:none}\"\n",
    ),
    (
        "redact",
        "  - redact:\n      fields: [message, user]\n      builtin: [card, email, bearer]\n      \
         patterns: ['password=(?<secret>\\S+)']\n  - redact:\n      fields: [client.ip]\n      builtin: [ipv4, ipv6]\n      \
         action: hash\n      key: \"${file:/etc/logferry/redact.key}\"\n",
    ),
    ("remove", "  - remove:\n      fields: [timestamp, event.original]\n"),
    ("remove_tags", "  - remove_tags:\n      tags: [_dateparsefailure]\n"),
    (
        "sample",
        "  - sample:\n      if: \"[log.level] == 'debug'\"\n      rate: 0.1\n      key: trace.id\n      exclude: \"[user.name] == 'root'\"\n",
    ),
    ("set", "  - set:\n      fields: { service.name: \"%{[fields.service]:unknown}\", event.kind: event }\n"),
    ("split", "  - split:\n      fields: { x_forwarded_for: \", \" }\n"),
    ("strip", "  - strip:\n      fields: [message]\n"),
    ("truncate", "  - truncate:\n      fields: [error.stack_trace]\n      max_bytes: 32KiB\n"),
    (
        "user_agent",
        "  - user_agent:\n      field: user_agent.original\n  - user_agent:\n      field: agent\n      target: ua\n      \
         ecs_compatibility: disabled\n",
    ),
    ("capitalize", "  - capitalize:\n      fields: [log.level]\n"),
    ("merge", "  - merge:\n      fields:\n        - { from: app.labels, to: labels }\n"),
    ("uppercase", "  - uppercase:\n      fields: [http.request.method]\n"),
    ("drop_event", "  - drop_event:\n      if: \"[log.level] in ['debug', 'trace']\"\n"),
];

const PROSE: &str = r#"## Lines that belong together

Three things make a record of raw lines, in this order: `format` takes off what a container runtime has written around a line and puts
its parts together, `multiline` joins lines, `include_lines` and `exclude_lines` see what came of it.

```yaml
inputs:
  containers:
    type: file
    paths: [/var/log/containers/*.log]
    format: auto
    multiline: { preset: [java, python, go] }
  app:
    type: file
    paths: [/var/log/app/*.log]
    multiline: { pattern: '^\d{4}-\d{2}-\d{2}', negate: true, match: after }
```

| `format` | a line is | a part of a line is |
|---|---|---|
| `cri` | `2016-10-06T00:17:09.669794202Z stdout F message` | one with `P` for the `F` |
| `docker` | `{"log":"message\n","stream":"stdout","time":"2021-02-01T16:45:03.01231Z"}` | one whose `log` has no line break at its end |
| `auto` | one or the other, line by line | |

The event's `@timestamp` is that of the line, and it has the field `stream`. A line that is not of the format is shipped as it is, with the
tag `_formatparsefailure`, and counted (`malformed_lines_total`); whatever was open before it ends. With
`auto`, such lines are joined by `multiline` too, with each other: a file may as well be of no container. A line of more than `max_line_bytes` in its
parts is cut there and marked.

| `multiline` | a line goes on in the record before it if |
|---|---|
| `pattern`, `match: after` | it matches (with `negate: true`: does not match) |
| `pattern`, `match: before` | the line before it matches (does not match) |
| `while` | it matches (does not match); a line that does not is a record by itself |
| `count` | the record has fewer lines than that |
| `preset` | it goes on in a stack trace of the language; what is in no trace is a record by itself |

- These are Filebeat's rules, and the presets `java`, `go`, `python` and `ruby` are Fluent Bit's: the same lines make the same records. Beyond
  those, exceptions that are printed behind others are in one record with them (`python`, `php`), groups of exceptions are (`python`), and so are
  `fatal error:`, `SIGQUIT: quit` and what newer runtimes print (`go`, `python`, `ruby`). A record
  that no line can follow ends at once, not with the next line. An empty line behind a trace is in its record only if
  more of it follows (`python`, `php`, `javascript`).
  Stack traces of `java`, `dotnet` and `javascript` begin at a line with
  `Exception`, `Error` or `Throwable` before a colon or at its end; of what nobody catches in Node, `javascript` has the place, the line and
  the caret before it, and the version behind it. `php` also knows the `[stacktrace]` of Monolog (Laravel, Symfony).
- **Several presets**: their order says nothing. All that take the first line of a trace follow it, and those that can't take one of its lines
  are out: `panic: x.Error: y` may begin a trace of `go` and of `java`, and the next lines tell.
- **Limits**: of a record at most `max_lines` lines and `max_bytes` bytes are shipped, cut at a character. The lines behind that still belong
  to it, and are counted in its `log.length`. `log.flags` is `multiline` where lines were joined, and `truncated` where something was cut.
- **Time**: a record to which nothing was added for `timeout` ends, so that the last trace of a file does not wait for the next line. Parts of
  a line that wait for their end have the same time (5s without `multiline`).
- **Streams**: lines of stdout and of stderr do not break each other's records up. Records of different streams come in the order in
  which they end, and where their lines lie between each other, so do the records: their lengths add up to the file, but the next one need
  not begin where the one before ends.
- **Restart**: a checkpoint stays before the oldest line of a record that is open, so that a trace of which the agent had half when it was killed
  arrives whole. `log.offset` is that of its first line, `log.length` the raw bytes of all of its lines, and `event.id` is of them all: a record
  that is sent again has the same one.
- **Rotation**: a record ends with its file. Its writer may have gone on in the file after that was renamed (that is waited for, at most
  1s and `timeout`, and the next file of the name after it), or the file was copied and truncated (its rest is in the copy); but a record
  that begins in one file and goes on in the next is two, as in Filebeat.
- **Memory**: what is open counts for `memory.max_bytes`, all sources together up to an eighth of it. Where there is none, the record
  that asks for it ends, cut and marked. So does one that takes more than 64MiB of a file (2MiB of standard input): a restart has to read it
  again from its beginning.

`logferry try -c FILE` shows the records that a config makes of lines.

## Several outputs

Every record goes to every output, unless the `outputs` of its input or the `when` of an output say otherwise: two clusters during
a migration, an archive beside Kafka, errors to a topic of their own.

```yaml
inputs:
  web: { type: file, paths: [/var/log/web/*.log] }
  audit: { type: file, paths: [/var/log/audit.log], outputs: [new, archive] }
outputs:
  old: { type: kafka, brokers: ["kafka-old:9092"], codec: raw }
  new: { type: kafka, brokers: ["kafka-new:9092"], topic: "logs.%{[input.name]}" }
  archive: { type: file, path: "/var/log/archive/%{topic}.jsonl", rotate: { max_bytes: 1GiB, keep: 30 } }
  alerts: { type: kafka, brokers: ["kafka-ops:9092"], when: "[message] contains 'FATAL'", required: false }
```

- `topic`, `key`, `headers` and `codec` are each output's own. What an input says of them goes for all of its outputs.
- **All or nothing**: a batch of lines is handed to all of its required outputs or to none. While one of them can't take it (the
  cluster is away, the disk is full) and another can, it is spooled for the one that can't, so that the others go on: with the default
  `spool.max_bytes` of 1GiB and 1 MB of records a second for about 16 minutes ([other sizes and
  rates](guarantees.md#how-long-a-spool-lasts); `spool` of the output gives it another size). Once its spool is full, the files that feed it wait, and so
  do its other outputs for what is in those files. Files that feed only other outputs do not notice.
- `required: false` never makes anything wait: what such an output can't take at once is dropped for it alone and counted, by
  reason (`lane_blocked`, `topic_blocked`, `window_full`), in `status` and in `logferry_output_dropped_records_total`. What it has in
  flight when the agent ends is lost to it. Only a topic that is new to it is waited for, at most 2s, so that a start drops
  nothing.
- Each output has its own **checkpoints**. At a start a file is read from the least of them, and each output gets only what it does
  not have: after one was away, nothing of what the others have acknowledged is repeated to them but what `duplicates_bound_bytes`
  says.
- An output that is **new to an input** begins where the input's files are now, not at their beginning. One that is removed loses its
  checkpoints: if it comes back later, it is new. One that takes the place of another in the same reload or restart goes on where that
  one was.
- Events for which the `when` of no output holds are counted as dropped, with the reason `no_output`.
- All outputs together have the window that `memory.max_bytes` gives, in equal parts. Eight outputs are the most.

## Substitution

In every value (not in keys, and not in `type`):

| written | becomes |
|---|---|
| `${NAME}` | the environment variable; a mistake if it is not set |
| `${NAME:default}` | the variable, or `default` (which may be empty) if it is not set |
| `${file:/path}` | the text of a file, without its last line break; at most 1 MiB |
| `${credential:name}` | a systemd credential: the file `name` in `$CREDENTIALS_DIRECTORY` (`LoadCredential=`) |
| `$${` | a plain `${` |

Values are put in after the YAML is read: what a variable holds can't change the structure, needs no quotes, and is
not looked at for further substitutions. It is a text; where a number, size or boolean is expected, it is read as one.
Inside `{…}` and `[…]`, write quotes around it: `["${BROKER}"]`. What was put in never appears in a message.

## Sizes and durations

Sizes are whole numbers with `B`, `kB`, `MB`, `GB`, `TB` (thousands) or `KiB`, `MiB`, `GiB`, `TiB` (1024s); a plain number
means bytes. Durations are whole numbers with `ms`, `s`, `m`, `h` or `d`, also joined: `1h30m`.

## Fields

A field's name is its path: `log.file.path`, or in Logstash's form `[log][file][path]`; `[log.file.path]` is the same. Of a
list, `[x][0]` is the first element and `[x][-1]` the last; they can be read, not set. Every
event has `@timestamp`, `message`, `log.file.path` (of files), `log.file.id`, `log.offset`, `log.length`, `event.id`,
`host.name`, `agent.type`, `agent.version` and `input.name`, and what its input's `fields` and `tags` say. Fields below
`@metadata` are for templates and conditions; they are never sent.

`log.file.path` is the path under which a file was first found, for life. In a name that is not UTF-8, each byte that is none is
written `\xHH` (`caf\xe9.log`); a backslash that would be taken for that is written `\x5c`. So two paths never look alike.

A processor that can't do its work (the target of `add_fields` is a text, the new name of `rename` is taken) leaves the event as it
was and tags it (`_add_fields_failed`, `_rename_failed`; other tags with `tag_on_failure`), or drops it with `on_failure: drop`.
Either way it is counted, by processor: `processor_failures` in the status, `logferry_input_processor_failures_total`.

## Templates

A topic, key or header is a text in which `%{…}` stands for something of the event:

| written | becomes |
|---|---|
| `%{[a.b]}` or `%{[a][b]}` | the value of the field; a list is its elements with commas between, a map is JSON |
| `%{[a.b]:default}` | the value, or `default` if the event has no such field (or it is null) |
| `%{+yyyy.MM.dd}` | the event's time, UTC, with Joda's letters; `%{+%s}`: seconds since the epoch |

A value that starts with `%` needs quotes in YAML. A topic may hold letters, digits, `.`, `_` and `-`, at most 249. When an
event's fields make another topic, or one of them is missing and has no default, the record goes to `fallback_topic` and is
tagged.

## Date formats

What `formats` of the processor [`date`](#date) takes. A format must take the whole text; names are taken in their long and short
form and in any case.

| format | reads |
|---|---|
| `ISO8601` | `2026-11-25T15:35:43.123+01:00`, with a blank for the `T`, a comma for the dot, fewer parts, a fraction of whichever part of the time stands last (`10:11,5`), no offset. A time without a date is refused: Logstash takes `T10:11` for one of 1970 |
| `UNIX` | seconds since the epoch, with a fraction or not, up to 2038: what is more is milliseconds (list both: `[UNIX, UNIX_MS]`) |
| `UNIX_MS` | milliseconds since the epoch |
| `TAI64N` | `@4000000050d506482dbdf024` |
| with a `%` in it | strftime's: `%d/%b/%Y:%H:%M:%S %z`; `%f`, `%L` and `%N` are any digits of a fraction, `%Z` a zone's name |
| anything else | Joda's letters, as in Logstash: `dd/MMM/yyyy:HH:mm:ss Z` |

| Joda's letter | reads |
|---|---|
| `yyyy`, `yy` | a year; `yy` one of two digits, from 80 years ago to 19 ahead |
| `MM`, `M`; `MMM`, `MMMM` | a month's number; its name |
| `dd`, `d`; `DDD` | the day of the month; of the year |
| `HH`, `H`; `hh` or `KK` with `a`; `kk` | hours from 0 to 23; half a day's (1 to 12, 0 to 11) with AM or PM; 1 to 24 |
| `mm`, `ss`, `SSS` | minutes, seconds, up to so many digits of a fraction |
| `EEE`, `EEEE` | a day of the week, which is not held against the date |
| `xxxx`, `ww`, `e` | year, week and day (1 = Monday) of ISO 8601 |
| `Z`, `ZZ`; `ZZZ`; `z` | an offset, with or without colon; a name of the tz database; `UTC`, `GMT`, `EST`, `EDT`, `CST`, … of North America |
| `'text'`, `''` | the text; a quote |

What a text leaves out comes from the time at which its line was read. Without a year it is that year, but lines of December read in
January are of last year, and the other way round, and the 29th of February is of the last year that had one; without a date it is that day. A local time that clocks skip is none; of one that
they show twice the first is meant. Times outside of 1678 to 2261 can't be held, and fail.

## Conditions

An `if` is a text. It compares fields (`a.b`, `[a.b]`, `[a][b]`) with values (texts in single or double quotes, numbers,
`true`, `false`, `null`) and with each other:

| written | holds if |
|---|---|
| `[status] == 404`, `[status] != 404` | the field is (not) that value |
| `[status] >= 500`, also `>`, `<`, `<=` | it compares so |
| `[log.level] in ['error', 'fatal']`, `not in` | it is (not) one of these |
| `'health' in [message]` | the text has this part, the list this element, or the object this key |
| `[message] =~ 'timeout\|refused'`, `!~`, also `[message] =~ /refused/` | the regular expression matches somewhere in it (or nowhere); `^` and `$` are the ends of lines |
| `[message] contains 'health'` | the text has this part, or the list this element |
| `exists([trace.id])` or `[trace.id] exists` | the event has the field |
| `[trace.id]` alone | the event has the field, and it is neither null nor `false` |

They are joined with `not`, `and` and `nand`, `xor`, `or` (the first binds tightest) and parentheses. A number and a text compare as numbers if the
text is one (`'200' == 200`). A missing field fulfils no comparison, so `!=`, `not in`, `!~` and `not …` hold of it.
"#;
