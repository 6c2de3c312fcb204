//! What a single text must look like, by the `format` that its type has in the schema.
//!
//! A fault has two parts: what was expected, which may always be said, and a detail that may quote the text, which is
//! left out where the text came from a substitution.

use crate::decode::charset::{Charset, LABELS};
use crate::event::FieldPath;
use crate::event::Template;
use crate::process::condition::Condition;
use crate::process::{DateFormat, Locale, Rate, Tokenizer, Zone};

use super::mistake::did_you_mean;
use super::units;

pub(crate) use crate::output::file::options::TOPIC_IN_PATH;

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Byte offset in the text.
    pub(crate) at: usize,
    /// What was expected; quotes nothing.
    pub(crate) expected: String,
    /// What was found there; may quote the text.
    pub(crate) detail: String,
}

impl Fault {
    fn expected(expected: impl Into<String>) -> Self {
        Self { at: 0, expected: expected.into(), detail: String::new() }
    }
}

/// Checks `text` against a format of the schema.
pub(crate) fn check(format: &str, text: &str) -> Result<(), Fault> {
    match format {
        "size" => units::parse_size(text).map(drop).map_err(Fault::expected),
        "span" => units::parse_span(text).map(drop).map_err(Fault::expected),
        "absolute-path" => absolute_path(text),
        "glob" => glob(text, false),
        "glob-anywhere" => glob(text, true),
        "line-regex" => line_regex(text),
        "encoding" => encoding(text),
        "template" => template(text),
        "topic-template" => topic_template(text),
        "topic" => topic(text),
        "condition" => Condition::parse(text).map(drop).map_err(|error| syntax("a condition", error)),
        "field" => FieldPath::parse(text).map(drop).map_err(|error| syntax("the name of a field", error)),
        "tokenizer" => Tokenizer::parse(text).map(drop).map_err(|error| syntax("a tokenizer", error)),
        "date-format" => {
            let format = DateFormat::parse(text, Locale::default());
            format.map(drop).map_err(|error| Fault {
                detail: error.message,
                at: error.at,
                expected: DATE_FORMAT.to_owned(),
            })
        }
        "time-zone" => Zone::parse(text).map(drop).map_err(|error| syntax("a time zone", error)),
        "locale" => locale(text),
        "broker" => broker(text),
        "listen" => listen(text).map(drop),
        "output-path" => output_path(text),
        "output-name" if !is_name(text) => Err(Fault::expected("expected the name of an output")),
        "rate" => rate(text).map(drop),
        "event-rate" => Rate::parse(text).map(drop).map_err(|error| syntax("a rate such as `10000/m`", error)),
        "permissions" => permissions(text).map(drop),
        "count" if text.parse::<u32>().is_err() => Err(Fault::expected("expected a whole number")),
        "tag" | "client-id" if text.is_empty() => Err(Fault::expected("expected a text that is not empty")),
        _ => Ok(()),
    }
}

fn syntax(what: &str, error: crate::event::SyntaxError) -> Fault {
    Fault { at: error.at, expected: format!("expected {what}"), detail: error.message }
}

fn absolute_path(text: &str) -> Result<(), Fault> {
    if text.contains('\0') {
        return Err(Fault::expected("expected a path without NUL"));
    }
    if text.starts_with('/') {
        Ok(())
    } else {
        Err(Fault::expected("expected an absolute path, one that starts with `/`"))
    }
}

/// The path of an output's file: its one placeholder is the topic.
fn output_path(text: &str) -> Result<(), Fault> {
    absolute_path(text)?;
    if text.ends_with('/') {
        return Err(Fault {
            at: text.len() - 1,
            ..Fault::expected("expected the path of a file: this one names a directory")
        });
    }
    if let Some(at) = ["/../", "/./", "//"].iter().filter_map(|odd| text.find(odd)).min() {
        return Err(Fault { at, ..Fault::expected("expected a path without `//`, `/./` and `/../`") });
    }
    let other = text.match_indices("%{").find(|(at, _)| !text[*at..].starts_with(TOPIC_IN_PATH));
    match other {
        None => Ok(()),
        Some((at, _)) => {
            let expected = "expected no `%{…}` but `%{topic}`: put fields into the `topic`, and its name into the path";
            Err(Fault { at, ..Fault::expected(expected) })
        }
    }
}

fn is_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inner)
}

/// The mode of a file, from octal digits.
pub(crate) fn permissions(text: &str) -> Result<u32, Fault> {
    let digits = if text.len() == 4 { text.strip_prefix('0') } else { Some(text) };
    let mode = digits.filter(|digits| digits.len() == 3).and_then(|digits| u32::from_str_radix(digits, 8).ok());
    mode.filter(|mode| mode & 0o200 != 0).ok_or_else(|| {
        Fault::expected("expected three octal digits with which the owner may write, such as `0600` or `0640`")
    })
}

/// A part of all.
pub(crate) fn rate(text: &str) -> Result<f64, Fault> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !text.starts_with('.');
    let rate = text.parse().ok().filter(|rate| is_plain && (0.0..=1.0).contains(rate));
    rate.ok_or_else(|| Fault::expected("expected a part, from 0 to 1, such as `0.1`"))
}

fn glob(text: &str, anywhere: bool) -> Result<(), Fault> {
    let hint = if text.starts_with('~') { " (`~` is not expanded)" } else { "" };
    let rooted = text.starts_with('/') || (anywhere && text.starts_with("**/"));
    if !rooted {
        let or = if anywhere { "`/` or `**/`" } else { "`/`" };
        return Err(Fault::expected(format!("expected an absolute pattern, one that starts with {or}{hint}")));
    }
    if text.ends_with('/') {
        let expected = "expected a pattern for files: this one names a directory (add `*`)";
        return Err(Fault { at: text.len() - 1, ..Fault::expected(expected) });
    }
    if let Some(at) = ["/../", "/./", "//"].iter().filter_map(|odd| text.find(odd)).min() {
        return Err(Fault {
            at,
            ..Fault::expected("expected a pattern without `//`, `/./` and `/../`: they match no file")
        });
    }
    let pattern = globset::GlobBuilder::new(text).literal_separator(true).build();
    pattern.map(drop).map_err(|error| Fault {
        at: 0,
        expected: "expected a glob pattern".to_owned(),
        detail: error.kind().to_string(),
    })
}

fn line_regex(text: &str) -> Result<(), Fault> {
    let error = match regex::bytes::Regex::new(text) {
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    // The message of a syntax error: the expression, indented, then `^` below the place, then `error: …`.
    let mut detail = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    if detail.contains("repetition") && text.contains('{') && escaped_braces_compile(text) {
        detail.push_str("; the character `{` is written `\\{`");
    }
    let caret = error.lines().rev().nth(1).filter(|line| line.trim_start().starts_with('^') && !text.contains('\n'));
    let column = caret.and_then(|line| line.find('^')).and_then(|column| column.checked_sub(4)).unwrap_or(0);
    let at = text.char_indices().nth(column).map_or(0, |(byte, _)| byte);
    Err(Fault { at, expected: "expected a regular expression".to_owned(), detail })
}

/// Other engines take a `{` that begins no `{2,5}` for the character.
fn escaped_braces_compile(text: &str) -> bool {
    let (mut escaped, mut is_quoted) = (String::new(), false);
    for character in text.chars() {
        if character == '{' && !is_quoted {
            escaped.push('\\');
        }
        is_quoted = character == '\\' && !is_quoted;
        escaped.push(character);
    }
    regex::bytes::Regex::new(&escaped).is_ok()
}

fn encoding(text: &str) -> Result<(), Fault> {
    if Charset::of_label(text).is_some() {
        return Ok(());
    }
    let expected = "expected an encoding, such as `utf-8`, `utf-16`, `latin1` or `shift_jis`";
    let detail = format!("`{text}` is none{}", did_you_mean(text, LABELS));
    Err(Fault { at: 0, expected: expected.to_owned(), detail })
}

const DATE_FORMAT: &str = "expected `ISO8601`, `UNIX`, `UNIX_MS`, `TAI64N`, a format of Joda or one of strftime";

fn locale(text: &str) -> Result<(), Fault> {
    if Locale::parse(text).is_some() {
        return Ok(());
    }
    let known: Vec<String> = Locale::languages().map(|language| format!("`{language}`")).collect();
    Err(Fault::expected(format!(
        "expected a language, maybe with its country as `fr_FR`; known are {}",
        known.join(", ")
    )))
}

fn template(text: &str) -> Result<(), Fault> {
    Template::parse(text).map(drop).map_err(|error| syntax("a template", error))
}

fn topic_template(text: &str) -> Result<(), Fault> {
    if !text.contains("%{") {
        return topic(text);
    }
    template(text)?;
    let mut rest = 0;
    while rest < text.len() {
        let end = text[rest..].find("%{").map_or(text.len(), |found| rest + found);
        legal(&text[rest..end]).map_err(|fault| Fault { at: rest + fault.at, ..fault })?;
        rest = text[end..].find('}').map_or(text.len(), |close| end + close + 1);
    }
    Ok(())
}

/// A topic's whole name, without templates.
fn topic(text: &str) -> Result<(), Fault> {
    legal(text)?;
    if text.is_empty() || text.len() > 249 || text == "." || text == ".." {
        return Err(Fault::expected("expected the name of a topic: 1 to 249 characters, not `.` or `..`"));
    }
    Ok(())
}

/// The characters that Kafka allows in the name of a topic.
fn legal(text: &str) -> Result<(), Fault> {
    match text.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
        None => Ok(()),
        Some((at, c)) => Err(Fault {
            at,
            expected: "expected the name of a topic: letters, digits, `.`, `_` and `-`".to_owned(),
            detail: format!("{c:?} is not allowed"),
        }),
    }
}

fn broker(text: &str) -> Result<(), Fault> {
    const EXPECTED: &str = "expected `HOST:PORT`, such as `kafka-0:9092`";
    if text.contains("://") {
        return Err(Fault::expected(format!("{EXPECTED}, without a protocol before it (`tls:` turns encryption on)")));
    }
    if text.contains([',', ' ']) {
        return Err(Fault::expected(format!("{EXPECTED}: one broker an item of the list")));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()) else {
        return Err(Fault::expected(format!("{EXPECTED}: the port is missing")));
    };
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(Fault::expected(format!("{EXPECTED}; an IPv6 address goes into brackets: `[::1]:9092`")));
    }
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(Fault { at: host.len() + 1, ..Fault::expected(format!("{EXPECTED}: a port is 1 to 65535")) });
    }
    Ok(())
}

/// The address to listen on; `None` for `off`.
pub(crate) fn listen(text: &str) -> Result<Option<std::net::SocketAddr>, Fault> {
    if text == "off" {
        return Ok(None);
    }
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric.as_deref().unwrap_or(text).parse().map(Some).map_err(|_| {
        let hint =
            if text.starts_with(':') || text.parse::<u16>().is_ok() { " (all addresses: `0.0.0.0:9660`)" } else { "" };
        Fault::expected(format!(
            "expected `ADDRESS:PORT` with a numeric address, such as `127.0.0.1:9660`, or `off`{hint}"
        ))
    })
}

#[cfg(test)]
mod tests {
    fn check(format: &str, text: &str, expect: Option<(usize, &str)>) {
        let fault = super::check(format, text).err();
        match (&fault, expect) {
            (None, None) => {}
            (Some(fault), Some((at, words))) => {
                assert_eq!(fault.at, at, "{text}");
                let whole = format!("{}: {}", fault.expected, fault.detail);
                assert!(whole.contains(words), "{text}: {whole}");
            }
            _ => panic!("{format} {text:?}: {fault:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn globs() {
        check("glob", "/var/log/*.log", None);
        check("glob", "/var/log/**/{a,b}-[0-9]?.log", None);
        check("glob", "var/log/*.log", Some((0, "absolute")));
        check("glob", "~/x.log", Some((0, "not expanded")));
        check("glob", "/var/log/", Some((8, "directory")));
        check("glob", "/var//log/x", Some((4, "`//`")));
        check("glob", "/var/../x", Some((4, "`/../`")));
        check("glob", "/var/log/[a.log", Some((0, "unclosed character class")));
        check("glob", "/var/log/{a.log", Some((0, "unclosed alternate")));
        check("glob-anywhere", "**/*.gz", None);
        check("glob-anywhere", "*.gz", Some((0, "`**/`")));
    }

    #[test]
    fn regexes_point_at_the_place() {
        check("line-regex", "^ERROR|WARN", None);
        check("line-regex", "abc(d", Some((3, "unclosed group")));
        check("line-regex", "äö[z-a]", Some((5, "invalid character class range")));
        check("line-regex", "a{99999}{99999}", Some((0, "size limit")));
        for (text, at) in [("^{", 1), ("^{a", 2), ("{{x}}", 0), (r"\\{x", 3), (r"a\{b{", 4)] {
            check("line-regex", text, Some((at, r"the character `{` is written `\{`")));
        }
    }

    #[test]
    fn encodings() {
        check("encoding", "utf-16", None);
        check("encoding", "Windows-1251", None);
        check("encoding", "utf-61", Some((0, "did you mean `utf-16`?")));
        check("encoding", "lattin1", Some((0, "did you mean `latin1`?")));
        check("encoding", "shift-jis2", Some((0, "did you mean `shift_jis`?")));
        check("encoding", "hz-gb-2312", Some((0, "expected an encoding")));
        check("encoding", "", Some((0, "expected an encoding")));
    }

    #[test]
    fn topics() {
        check("topic", "logs.raw", None);
        check("topic", "", Some((0, "1 to 249")));
        check("topic", "..", Some((0, "1 to 249")));
        check("topic", "logs/raw", Some((4, "'/'")));
        check("topic", &"x".repeat(250), Some((0, "1 to 249")));
        check("topic-template", "logs raw", Some((4, "' '")));
        check("topic-template", "logs.%{[fields.service]:ra w}-x", None);
        check("topic-template", "logs.%{[a]}/x", Some((11, "'/'")));
    }

    proptest::proptest! {
        /// Guarantee: a topic that is checked here is one that routing takes, and the other way round.
        #[test]
        fn agrees_with_routing(name in "[a-z.]{0,3}|\\PC{0,5}|[a-zA-Z0-9._-]{0,5}|x{245,253}") {
            let legal = crate::route::legal_topic(name.as_bytes());
            proptest::prop_assert_eq!(super::check("topic", &name).is_ok(), legal, "{}", name);
        }
    }

    #[test]
    fn brokers() {
        check("broker", "kafka-0:9092", None);
        check("broker", "[::1]:9092", None);
        check("broker", "kafka-0", Some((0, "port is missing")));
        check("broker", ":9092", Some((0, "port is missing")));
        check("broker", "kafka-0:0", Some((8, "1 to 65535")));
        check("broker", "kafka-0:99999", Some((8, "1 to 65535")));
        check("broker", "::1:9092", Some((0, "brackets")));
        check("broker", "PLAINTEXT://k:9092", Some((0, "protocol")));
        check("broker", "a:1,b:2", Some((0, "one broker an item")));
    }

    #[test]
    fn rates() {
        check("event-rate", "10000/m", None);
        check("event-rate", "10000", Some((5, "unit is missing")));
        check("event-rate", "10/w", Some((3, "the units are")));
        check("event-rate", "0/s", Some((0, "such as `10000/m`")));
    }

    #[test]
    fn addresses() {
        check("listen", "off", None);
        check("listen", "0.0.0.0:0", None);
        check("listen", "[::]:9660", None);
        check("listen", "localhost:9660", None);
        check("listen", ":9660", Some((0, "0.0.0.0:9660")));
        check("listen", "node-1:9660", Some((0, "numeric address")));
    }

    #[test]
    fn others() {
        check("absolute-path", "/var/lib", None);
        check("absolute-path", "var/lib", Some((0, "absolute")));
        check("tag", "", Some((0, "not empty")));
        check("size", "12 parsecs", Some((0, "a size")));
        check("span", "12", Some((0, "its unit")));
        check("secret", "", None);
    }
}
