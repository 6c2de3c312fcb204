//! The rules of the house as tests: who may import whom, what is pure, what every file opens with, what never appears, and
//! that users can look up what they are told.
//!
//! It reads the sources as text, with comments, strings and test modules blanked out where a rule is about code. It is no
//! parser, and refuses to guess: what it can't see (macros that build paths) is up to review.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may import whom (`src/lib.rs` has the picture). A stage that is not listed may import only [`EVERYBODY`].
const EDGES: &[(&str, &[&str])] = &[
    ("input", &["decode", "k8s", "checkpoint"]),
    ("deliver", &["spool", "output"]),
    ("config", &["decode", "deliver", "encode", "input", "output", "process", "route", "spool", "telemetry"]),
    ("cli", &["*"]),
    ("pipeline", &["*"]),
    ("lib", &["*"]),
    ("main", &["*"]),
];

/// What every module may import.
const EVERYBODY: &[&str] = &["ack", "batch", "budget", "disk", "event"];

/// The modules without files, sockets, clock, randomness, threads: prefixes of paths below `src`.
const PURE: &[&str] = &[
    "ack.rs",
    "decode/",
    "deliver/backoff",
    "deliver/lane",
    "deliver/machine",
    "deliver/waiting",
    "encode/",
    "event.rs",
    "event/",
    "k8s/cache",
    "k8s/path",
    "process/",
    "route.rs",
    "route/",
    "spool/frame",
];

/// What a pure module names nowhere.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "RandomState",
    "libc::",
    "notify::",
    "rdkafka",
    "rustix::",
    "tokio",
    "ureq::",
];

/// What stands for work that is not done.
const UNDONE: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];

struct Source {
    /// Below the root of the checkout, with `/`.
    path: String,
    text: String,
    /// The text with comments, strings and test modules blanked out; the same length, the same lines.
    code: String,
}

impl Source {
    /// `ack`, `input`, …: the first module below the root of the library; `None` outside of `src`.
    fn stage(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let first = below.split('/').next().unwrap_or(below);
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// Where `word` stands in `code` as a whole word, as `path:line`.
    fn places(&self, word: &str) -> Vec<String> {
        let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let bytes = self.code.as_bytes();
        let whole = |at: &usize| {
            let (first, last) = (bytes[*at], bytes[at + word.len() - 1]);
            let goes_on_before =
                is_word(Some(&first)) && at.checked_sub(1).is_some_and(|before| is_word(bytes.get(before)));
            let goes_on_behind = is_word(Some(&last)) && is_word(bytes.get(at + word.len()));
            !goes_on_before && !goes_on_behind
        };
        let found = self.code.match_indices(word).map(|(at, _)| at).filter(whole);
        found.map(|at| format!("{}:{}", self.path, self.line(at))).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the checkout but those that tools make.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the checkout can be read").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if !["target", "dist", ".git"].iter().any(|tool| name == *tool) {
                    folders.push(path);
                }
            } else if name != ".git" {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let sources: Vec<Source> = rust
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            let below = path.strip_prefix(root()).expect("it was found there");
            let path = below.to_string_lossy().replace('\\', "/");
            // A file of tests beside the code: all of it is under the `#[cfg(test)]` of its `mod`.
            let is_tests = path.starts_with("src/") && path.ends_with("/tests.rs");
            let code = if is_tests { " ".repeat(text.len()) } else { code_of(&text) };
            Source { path, code, text }
        })
        .collect();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the sources were not found");
    sources
}

/// Blanks out comments, strings, characters and test modules, byte for byte.
fn code_of(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < out.len() {
        let end = non_code_end(text, at);
        match end {
            Some(end) => {
                blank(&mut out[at..end]);
                at = end;
            }
            None => at += 1,
        }
    }
    blank_tests(&mut out);
    String::from_utf8(out).expect("only whole spans were blanked")
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// If a comment, string or character begins at `at`: where it ends.
fn non_code_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    let find = |from: usize, needle: &[u8]| {
        bytes[from..].windows(needle.len()).position(|window| window == needle).map(|found| from + found)
    };
    if rest.starts_with(b"//") {
        return Some(find(at, b"\n").unwrap_or(bytes.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(find(at, b"*/").map_or(bytes.len(), |end| end + 2));
    }
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let after_word = at > 0 && is_word(bytes[at - 1]);
    if !after_word && (rest[0] == b'r' || rest.starts_with(b"br")) {
        let hashes_from = at + if rest[0] == b'b' { 2 } else { 1 };
        let hashes = bytes[hashes_from..].iter().take_while(|byte| **byte == b'#').count();
        if bytes.get(hashes_from + hashes) == Some(&b'"') {
            let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
            return Some(find(hashes_from + hashes + 1, &close).map_or(bytes.len(), |end| end + close.len()));
        }
    }
    if rest[0] == b'"' {
        return Some(quoted_end(bytes, at, b'"'));
    }
    // A lifetime has no closing quote one character (or one escape) later.
    if rest[0] == b'\'' {
        let body = if rest.get(1) == Some(&b'\\') {
            return Some(quoted_end(bytes, at, b'\''));
        } else {
            text[at + 1..].chars().next().map_or(1, char::len_utf8)
        };
        return (bytes.get(at + 1 + body) == Some(&b'\'')).then_some(at + body + 2);
    }
    None
}

fn quoted_end(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Blanks out what follows each `#[cfg(test)]`: up to the end of its braces, or of its statement.
fn blank_tests(code: &mut [u8]) {
    const ATTRIBUTE: &[u8] = b"#[cfg(test)]";
    let mut from = 0;
    while let Some(found) = code[from..].windows(ATTRIBUTE.len()).position(|window| window == ATTRIBUTE) {
        let begin = from + found;
        let mut at = begin + ATTRIBUTE.len();
        let mut depth = 0_usize;
        while at < code.len() {
            match code[at] {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if depth == 0 && matches!(code[at - 1], b'}' | b';') {
                break;
            }
        }
        blank(&mut code[begin..at]);
        from = at;
    }
}

/// The modules of the library that `code` names by `crate::…`, `use crate::{…}` included, and where.
fn imports(source: &Source) -> Vec<(String, usize)> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').collect()
    };
    let mut found = Vec::new();
    for prefix in ["crate::", "logferry::"] {
        for (at, _) in source.code.match_indices(prefix) {
            let rest = &source.code[at + prefix.len()..];
            if !rest.starts_with('{') {
                found.push((word(rest), at));
                continue;
            }
            let mut depth = 0;
            let mut expects_name = true;
            for (step, char) in rest.char_indices() {
                match char {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => expects_name = true,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                if depth == 1 && expects_name && char.is_ascii_alphabetic() {
                    found.push((word(&rest[step..]), at));
                    expects_name = false;
                }
            }
        }
    }
    found
}

fn assert_none(faults: Vec<String>, rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

/// Scenario: every `crate::` path outside of tests.
/// Guarantee: imports go one way: main, cli, pipeline, stages, then event, batch, ack, budget, disk. Only cli and pipeline
/// see config.
#[test]
fn imports_go_one_way() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/")) {
        let stage = source.stage().expect("it is in src");
        let allowed = EDGES.iter().find(|(from, _)| *from == stage).map_or(&[][..], |(_, to)| to);
        for (to, at) in imports(source) {
            if to != stage
                && !EVERYBODY.contains(&to.as_str())
                && !allowed.contains(&"*")
                && !allowed.contains(&to.as_str())
            {
                faults.push(format!("{}:{}: {stage} imports {to}", source.path, source.line(at)));
            }
        }
        // A path that climbs to the root would pass unseen.
        let depth = source.path.matches('/').count();
        let climb = vec!["super::"; depth + usize::from(!source.path.ends_with("mod.rs"))].concat();
        faults.extend(source.code.match_indices(&climb).map(|(at, _)| {
            format!("{}:{}: write crate:: for what is outside of {stage}", source.path, source.line(at))
        }));
    }
    assert_none(faults, "stages do not import each other (EDGES in tests/tidy.rs says who may)");
}

/// Scenario: the modules that are pure.
/// Guarantee: they name no files, sockets, clock, randomness, threads, executors or outside systems.
#[test]
fn pure_modules_are_pure() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some(below) = source.path.strip_prefix("src/") else { continue };
        if PURE.iter().any(|pure| below.starts_with(pure)) {
            for word in IMPURE {
                faults.extend(source.places(word).into_iter().map(|place| format!("{place}: {word}")));
            }
        }
    }
    assert_none(faults, "a pure module gets time and tables as parameters");
}

/// Scenario: rdkafka's name in the library.
/// Guarantee: it stands only in the folder of the Kafka output.
#[test]
fn only_the_kafka_output_names_rdkafka() {
    let sources = sources();
    let others = sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && !source.path.starts_with("src/output/kafka/"));
    assert_none(others.flat_map(|source| source.places("rdkafka::")).collect(), "only src/output/kafka names rdkafka");
}

/// Scenario: every Rust file.
/// Guarantee: it opens with what it is for, in a sentence; and it belongs to the program: its module is declared.
#[test]
fn every_file_says_what_it_is_for() {
    let sources = sources();
    let mut faults = Vec::new();
    for source in &sources {
        let first = source.text.lines().next().unwrap_or_default();
        // One word is no purpose.
        if !first.starts_with("//! ") || first.split_whitespace().count() < 4 {
            faults.push(format!("{}: opens with {first:?}", source.path));
        }
    }
    assert_none(faults, "each file opens with `//! what it is for and what it refuses to do`");
    let declared: BTreeSet<String> = sources.iter().flat_map(declarations).collect();
    let dead = sources.iter().filter(|source| source.path.starts_with("src/") && !declared.contains(&source.path));
    let dead = dead.filter(|source| !["src/lib.rs", "src/main.rs"].contains(&source.path.as_str()));
    assert_none(dead.map(|source| source.path.clone()).collect(), "a file that no `mod` declares is dead");
}

/// The files that the `mod name;` of a file may mean.
fn declarations(source: &Source) -> Vec<String> {
    let (folder, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let folder = match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        other => format!("{folder}/{}", other.trim_end_matches(".rs")),
    };
    // Test modules are blanked in `code`, but a declared test file is no dead file: `text` is looked at.
    let names = source.text.lines().filter_map(|line| {
        let line = line.trim();
        let (_, name) = line.strip_suffix(';')?.split_once("mod ")?;
        // A keyword as a name is written raw.
        let name = name.trim_start_matches("r#");
        (!line.starts_with("//")).then_some(name)
    });
    names.flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]).collect()
}

/// Scenario: every Rust file outside of tests; and the whole of every file for marks of unfinished work.
/// Guarantee: nothing is left undone, and nothing panics by a careless `unwrap`.
#[test]
fn nothing_is_left_undone() {
    let mut faults = Vec::new();
    for source in sources() {
        for mark in UNDONE {
            let places = source.text.match_indices(mark).map(|(at, _)| source.line(at));
            faults.extend(places.map(|line| format!("{}:{line}: {mark}", source.path)));
        }
        if source.path.starts_with("src/") {
            for word in [".unwrap()", "dbg!", ".unwrap_unchecked()", "#[allow("] {
                faults.extend(source.places(word).into_iter().map(|place| format!("{place}: {word}")));
            }
        }
        let ignored = concat!("#[ign", "ore");
        faults.extend(
            source
                .text
                .match_indices(ignored)
                .map(|(at, _)| format!("{}:{}: an ignored test proves nothing", source.path, source.line(at))),
        );
    }
    assert_none(
        faults,
        "outside of tests: expect(\"why it cannot fail\"), #[expect(…, reason)], and no marks of undone work",
    );
}

/// Scenario: every Rust file of the tests.
/// Guarantee: nobody sleeps but the two places whose purpose it is; everything else waits for a condition.
#[test]
fn tests_do_not_sleep() {
    const MAY: &[&str] = &["tests/integration/kit/wait.rs", "tests/integration/kit/writer.rs"];
    let word = concat!("thread::", "sleep(");
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !MAY.contains(&source.path.as_str())) {
        // In src the tests are what `code` leaves out.
        let (all, outside_tests) = (source.text.matches(word).count(), source.code.matches(word).count());
        let in_tests = if source.path.starts_with("src/") { all.saturating_sub(outside_tests) } else { all };
        if in_tests > 0 {
            faults.push(format!("{}: {in_tests} × {word}…)", source.path));
        }
    }
    assert_none(faults, "a test waits for a condition, never for time");
}

/// Scenario: every text file of the checkout.
/// Guarantee: no path of somebody's machine, no trailing blanks, a line feed at the end.
#[test]
fn no_file_knows_a_machine() {
    let machines = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/home", "/"), concat!("/Us", "ers/")];
    let mut faults = Vec::new();
    for path in files() {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(root()).expect("it was found there").display().to_string();
        for (number, line) in (1..).zip(text.lines()) {
            faults.extend(machines.iter().filter(|m| line.contains(**m)).map(|m| format!("{name}:{number}: {m}")));
            let is_source = [".rs", ".md", ".toml", ".java", ".yaml"].iter().any(|end| name.ends_with(end));
            if is_source && line.ends_with([' ', '\t', '\r']) {
                faults.push(format!("{name}:{number}: trailing blanks"));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') && name.ends_with(".rs") {
            faults.push(format!("{name}: no line feed at the end"));
        }
    }
    assert_none(faults, "files are for every machine");
}

/// Where messages to users are written: the log, and errors that a command prints.
const SPEAKS: &[&str] = &[
    "tracing::warn!(",
    "tracing::error!(",
    "tracing::info!(",
    "#[error(",
    "bail!(",
    "anyhow!(",
    ".context(",
    ".with_context(",
    "Trouble::new(",
];

/// The fixed parts of each message of a file, with the line it stands in. What is only passed on (`"{text}"`) has none.
fn messages(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for speaks in SPEAKS {
        for (at, _) in source.code.match_indices(speaks) {
            let open = at + speaks.len();
            let mut depth = 1;
            let length = source.code[open..].bytes().position(|byte| {
                depth += i32::from(matches!(byte, b'(' | b'{' | b'[')) - i32::from(matches!(byte, b')' | b'}' | b']'));
                depth == 0
            });
            let end = open + length.expect("it compiles, so its brackets close");
            // The log's message is the last literal, after its fields; of an error it is the first.
            let mut literals = literals(&source.text[open..end]);
            let literal = if speaks.starts_with("tracing") { literals.pop() } else { literals.drain(..).next() };
            let Some(literal) = literal else { continue };
            let parts = fixed_parts(&literal);
            // A wrapper (`input {name}: {source}`) has nothing to look up.
            let letters = parts.iter().flat_map(|part| part.chars()).filter(|char| char.is_alphabetic()).count();
            if letters >= 8 {
                found.push((source.line(at), parts));
            }
        }
    }
    found
}

/// The plain string literals of a piece of code, unescaped.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let Some(end) = non_code_end(text, at) else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        };
        if let Some(inner) = text[at..end].strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            let mut lines = inner.split("\\\n");
            let first = lines.next().unwrap_or_default().to_owned();
            let whole = lines.fold(first, |whole, line| whole + line.trim_start());
            found.push(whole.replace("\\\"", "\"").replace("\\n", " "));
        }
        at = end;
    }
    found
}

/// What stands between the `{placeholders}` of a message, but for scraps.
fn fixed_parts(message: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = message.chars().peekable();
    let mut depth = 0;
    while let Some(char) = chars.next() {
        match char {
            // Doubled braces stand for themselves.
            '{' | '}' if depth == 0 && chars.peek() == Some(&char) => {
                parts.last_mut().expect("one at least").extend(chars.next())
            }
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                parts.push(String::new());
            }
            char if depth == 0 => parts.last_mut().expect("one at least").push(char),
            _ => {}
        }
    }
    let is_scrap = |part: &String| part.chars().filter(|char| char.is_alphabetic()).count() < 4;
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !is_scrap(part)).collect()
}

/// Scenario: every message of the log (warn, error, info) and every error that a command prints, outside of tests.
/// Guarantee: a line of docs/troubleshooting.md holds its fixed words, in order: who meets it can look it up.
#[test]
fn every_message_is_in_the_troubleshooting_page() {
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).expect("the page is there");
    let holds = |parts: &[String]| {
        page.lines().any(|line| {
            let mut rest = line;
            parts.iter().all(|part| match rest.split_once(part.as_str()) {
                Some((_, behind)) => {
                    rest = behind;
                    true
                }
                None => false,
            })
        })
    };
    let mut faults = Vec::new();
    let mut count = 0;
    for source in sources().iter().filter(|source| source.path.starts_with("src/")) {
        for (line, parts) in messages(source) {
            count += 1;
            if !holds(&parts) {
                faults.push(format!("{}:{line}: {}", source.path, parts.join(" … ")));
            }
        }
    }
    assert!(count > 60, "only {count} messages were found");
    assert_none(faults, "write what the user meets into docs/troubleshooting.md, with its cause and what to do");
}

/// Scenario: calls of every kind that speak to a user.
/// Guarantee: their messages are found, without placeholders, escapes and fields.
#[test]
fn messages_are_found_in_the_code() {
    let text = "fn f() { tracing::warn!(a = \"field\", %error, \"can't {action} it \\\n        in {}; again\", 5);\n\
                Err(x).with_context(|| format!(\"topic {x:?} is \\\"left\\\"\"))?; tracing::error!(\"{text}\"); }\n\
                #[cfg(test)]\nmod tests { fn t() { bail!(\"unseen words\") } }";
    let source = Source { path: "src/x.rs".into(), code: code_of(text), text: text.into() };
    let found: Vec<Vec<String>> = messages(&source).into_iter().map(|(_, parts)| parts).collect();
    assert_eq!(found, [vec!["can't", "it in", "; again"], vec!["topic", "is \"left\""]]);
    assert_eq!(fixed_parts("give `%{{[{field}]}}` words"), ["give `%{[", "]}` words"]);
}

/// Scenario: code with comments, strings of every kind, characters, lifetimes, and a test module.
/// Guarantee: the rules see what is code and nothing else.
#[test]
fn the_rules_see_code_and_nothing_else() {
    let text = "// a::b\nlet s = \"x::y \\\" z::w\"; /* c::d */ let r = r#\"e::\"f\"#; let c = '\\''; fn g<'a>(h: &'a u8) {}\n\
                #[cfg(test)]\nmod tests { fn t() { if x { i::j } } }\nlet k = 'l'; m::n;";
    let code = code_of(text);
    assert_eq!(code.len(), text.len());
    for gone in ["a::b", "x::y", "z::w", "c::d", "e::", "i::j", "mod tests", "'l'"] {
        assert!(!code.contains(gone), "{gone} is left in {code}");
    }
    for left in ["fn g<'a>(h: &'a u8) {}", "let k =", "m::n;", "let r =", "let c ="] {
        assert!(code.contains(left), "{left} is gone from {code}");
    }
    let text = "use crate::{ack::Watermark, input::{file, stdin}, config};\nlet x = crate::route::Template;";
    let source = Source { path: "src/deliver/mod.rs".into(), code: code_of(text), text: text.into() };
    let names: BTreeMap<String, usize> = imports(&source).into_iter().collect();
    assert_eq!(names.into_keys().collect::<Vec<_>>(), ["ack", "config", "input", "route"]);
    assert_eq!(source.stage(), Some("deliver"));
    assert_eq!(source.places("config").len(), 1);
    assert_eq!(source.places("conf").len(), 0);
}
