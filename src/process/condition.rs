//! Conditions (P): the language of `if`.
//!
//! ```text
//! expression = "(" expression ")" | "not" expression | expression ("and" | "nand" | "xor" | "or") expression
//!            | value ("==" | "!=" | "<" | "<=" | ">" | ">=") value
//!            | value ["not"] "in" ("[" literal, … "]" | field)
//!            | field ("=~" | "!~") ("regular expression" | /regular expression/)
//!            | field "contains" value
//!            | "exists" "(" field ")" | field "exists" | "[" field "]"
//! value      = field | 'text' | "text" | number | true | false | null
//! field      = a.b | [a.b] | [a][b] | @timestamp
//! ```
//!
//! `not` binds tightest, then `and` and `nand` (not both), then `xor` (one of them), then `or`; from the left. What holds of which values:
//!
//! - A missing field fulfils no comparison; so its negations (`!=`, `not in`, `!~`, `not …`) hold.
//! - A number and a text compare as numbers if the text is one (`"200" == 200`, `"9" < 10`), else they differ. Two texts
//!   compare byte by byte. `@timestamp` compares with a text as times, if the text is RFC 3339.
//! - A field in brackets by itself holds if it is there, and neither null nor false, as in Logstash.
//! - What is `in` a field is an element of it if it is a list, a part of it if it is a text, a key of it if it is an object.
//! - `==` never holds of lists and objects. `in` and `=~` hold of a list if they hold of an element; `contains` holds of a
//!   list with an element that is equal, and of a text with that part.
//! - In a regular expression, `^` and `$` are the ends of lines, as in Ruby.
//!
//! Not here: arithmetic and functions; a condition can't fail once it is read.

mod eval;
mod lexer;
mod parser;

use regex::Regex;

use crate::event::{EventView, FieldPath, SyntaxError, Value};

/// A checked condition.
#[derive(Clone, Debug)]
pub struct Condition {
    expression: Expression,
}

#[derive(Clone, Debug)]
enum Expression {
    Or(Vec<Expression>),
    /// An odd number of them, as it is if they are joined from the left.
    Xor(Vec<Expression>),
    And(Vec<Expression>),
    Not(Box<Expression>),
    Compare {
        left: Operand,
        comparison: Comparison,
        right: Operand,
    },
    In {
        value: Operand,
        list: List,
    },
    Matches {
        field: FieldPath,
        regex: Regex,
    },
    Contains {
        field: FieldPath,
        part: Part,
    },
    Exists(FieldPath),
    /// The field is there, and neither null nor false.
    Says(FieldPath),
}

#[derive(Clone, Debug)]
enum Operand {
    Field(FieldPath),
    Literal(Value),
}

/// What `contains` looks for; a literal's text is prepared for the search.
#[derive(Clone, Debug)]
enum Part {
    Literal(Value, Option<Box<memchr::memmem::Finder<'static>>>),
    Field(FieldPath),
}

#[derive(Clone, Debug)]
enum List {
    Literals(Vec<Value>),
    Field(FieldPath),
}

/// `!=` is the negation of `Equal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Condition {
    /// Parses the text of an `if`.
    ///
    /// # Errors
    /// Where it can't be read, and what was expected there; more than 64 levels; a regular expression that is wrong or would
    /// take more than 1 MiB.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parser::parse(text).map(|expression| Self { expression })
    }

    /// The condition holds of this event.
    pub fn holds(&self, view: &EventView<'_>) -> bool {
        eval::holds(&self.expression, view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Common, Event, Object, Shared, SharedOptions, Timestamp};
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: serde_json::Value) -> Object {
        let serde_json::Value::Object(map) = value else { panic!("{value} is no object") };
        Object::from_json(map)
    }

    fn common() -> Common {
        Shared::new(SharedOptions {
            fields: object(json!({"service": "shop"})),
            tags: vec!["edge".to_owned()],
            ..SharedOptions::default()
        })
        .file("/var/log/x.log", "f00d")
    }

    fn event() -> Event {
        let object = object(json!({
            "message": "GET /health 200", "status": 200, "text": "200", "ratio": 0.5, "ok": true, "none": null,
            "list": ["a", 7], "lines": "boom\nCaused by: x", "http": {"user-agent": "curl"}, "@timestamp": "2026-03-05T07:08:09.5Z",
            "@metadata": {"topic": "x"}, "in": 1, "tags": ["own"], "time": "2026-03-05T07:08:09.500Z",
        }));
        Event::from_object(object, Timestamp(0))
    }

    fn check(text: &str, expect: bool) {
        let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let holds = condition.holds(&EventView { event: &event(), buf: b"", common: &common() });
        assert_eq!(holds, expect, "{text}");
    }

    #[test]
    fn compares() {
        check("status == 200", true);
        check("status != 200", false);
        check("status >= 200 and status < 300", true);
        check("status > 200 or status <= 199", false);
        check("text == 200", true);
        check("status == '200'", true);
        check("text < 1000", true);
        check("text < '1000'", false);
        check("ratio == 0.5", true);
        check("ratio < 1", true);
        check("status == 2e2", true);
        check("status > -1", true);
        check("ok == true", true);
        check("ok == 'true'", false);
        check("none == null", true);
        check("none == 0", false);
        check("message == \"GET /health 200\"", true);
        check("message > 'GET'", true);
        check("message < 5", false);
        check("list == 'a'", false);
        check("status == text", true);
        check("200 == status", true);
        check("log.file.path == '/var/log/x.log'", true);
        check("http.user-agent == 'curl'", true);
        check("[http][user-agent] == 'curl' and [http.user-agent] == 'curl'", true);
        check("[in] == 1", true);
        check("@metadata.topic == 'x'", true);
        check("@timestamp > '2026-03-05T07:08:09Z'", true);
        check("@timestamp == '2026-03-05T08:08:09.500+01:00'", true);
        check("@timestamp < 'soon'", false);
        check("@timestamp == time", true);
    }

    #[test]
    fn a_missing_field_fulfils_no_comparison() {
        for text in ["x == 1", "x < 1", "x >= 1", "x in [1]", "x =~ '.*'", "x contains 'a'", "exists(x)", "x == null"] {
            check(text, false);
            check(&format!("not {text}"), true);
        }
        check("x == y", false);
        check("x != 1", true);
        check("x not in [1]", true);
        check("x !~ 'a'", true);
        check("1 in x", false);
        check("status.x == 200", false);
    }

    #[test]
    fn looks_into_lists_and_texts() {
        check("status in [100, 200]", true);
        check("status in ['200']", true);
        check("status in []", false);
        check("status not in [100, 201]", true);
        check("list in ['x', 'a']", true);
        check("'a' in list", true);
        check("'b' in [list]", false);
        check("'/health' in [message]", true);
        check("'POST' in [message] or text in x", false);
        check("text in [message]", true);
        check("20 in text and 'user-agent' in http and 'curl' not in http", true);
        check("'x' in status", false);
        check("[message] =~ /^GET \\/health/ and [message] !~ /POST/", true);
        check("'edge' in tags and 'own' in tags", true);
        check("tags contains 'edge'", true);
        check("tags contains 'edg'", false);
        check("list contains 7", true);
        check("message contains 'health'", true);
        check("message contains 200", true);
        check("message contains text", true);
        check("message =~ \"^GET /\\w+ \\d+$\"", true);
        check("message !~ '^POST'", true);
        check("message =~ 'a\\'b'", false);
        check("list =~ '^a$'", true);
        check("lines =~ '^Caused by'", true);
        check("lines =~ /boom$/ and lines !~ /\\ACaused/", true);
        check("status =~ '^2'", true);
        check("http =~ '.'", false);
    }

    #[test]
    fn combines() {
        check("exists(status) and fields.service exists", true);
        check("exists(http) and exists([http][user-agent])", true);
        check("not exists(x) and not (ok == false)", true);
        check("ok == true or x == 1 and x == 2", true);
        check("(ok == true or x == 1) and x == 2", false);
        check("not not ok == true", true);
        check("[ok] and [status] and [list] and ([http][user-agent])", true);
        check("[none] or [x] or not [ok]", false);
        check("not ok == true or status == 200", true);
        check("ok == true xor status == 200", false);
        check("ok == true xor x == 1 xor x == 2", true);
        check("ok == true xor ok == true xor ok == true", true);
        check("[ok] nand [status]", false);
        check("[ok] nand [x]", true);
        check("[ok] and [status] nand [list]", false);
        check("[x] nand [ok] and [status]", true);
        check("[ok] nand [ok] nand [x]", true);
        // `xor` between `or` and `and`.
        check("[ok] or [ok] xor [ok]", true);
        check("[ok] xor [x] and [x]", true);
    }

    fn check_error(text: &str, at: usize, expect: &str) {
        let error = Condition::parse(text).expect_err(text);
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.message.contains(expect), "{text}: {error}");
    }

    #[test]
    fn errors_say_where_and_what() {
        check_error("", 0, "expected a condition");
        check_error("status", 6, "expected an operator");
        check_error("status = 200", 7, "`==`");
        check_error("status == ", 10, "expected a value");
        check_error("status == 200 status", 14, "expected `and`, `or`");
        check_error(&format!("a == 1{}", " nand a == 1".repeat(65)), 775, "at most 64 `nand`");
        check_error("(status == 200", 14, "expected `)`");
        check_error("status == 200)", 13, "expected `and`, `or`");
        check_error("a == 1 && b == 2", 7, "`and`");
        check_error("a == 1 || b == 2", 7, "`or`");
        check_error("!a", 0, "`not`");
        check_error("a == 'x", 5, "closing `'`");
        check_error("a == 'x\\q'", 7, "escape");
        check_error("a =~ '('", 5, "the regular expression can't be used: unclosed group");
        check_error("a =~ b", 5, "regular expression");
        check_error("a =~ /b", 5, "closing `/`");
        check_error("a == /b/", 5, "=~");
        check_error("'a'", 3, "expected an operator");
        check_error("a in 5", 5, "list");
        check_error("a in [1, b]", 9, "expected a literal");
        check_error("a in [1 2]", 8, "`,`");
        check_error("a not 5", 6, "`in`");
        check_error("exists a", 7, "`(`");
        check_error("exists('a')", 7, "field");
        check_error("a..b == 1", 2, "field name");
        check_error("[a == 1", 7, "`]`");
        check_error("1x == 1", 0, "number");
        check_error("'a' exists", 4, "field");
        check_error("a == 1 and", 10, "expected a condition");
        check_error("a == ~", 5, "no meaning");
        check_error(&"(".repeat(100), 64, "levels");
        check_error(&"not ".repeat(100), 256, "levels");
        check_error("a =~ '(\\w{1000}){1000}'", 5, "size limit");
    }

    proptest! {
        /// Guarantee: no text makes the parser panic; what it takes can be evaluated.
        #[test]
        fn any_text_is_a_condition_or_an_error(text in "\\PC{0,30}") {
            if let Ok(condition) = Condition::parse(&text) {
                condition.holds(&EventView { event: &event(), buf: b"", common: &common() });
            }
        }

        /// The same with texts that are nearly conditions.
        #[test]
        fn any_tokens_are_a_condition_or_an_error(
            tokens in proptest::collection::vec(proptest::sample::select(vec![
                "a", "[a]", "@timestamp", "and", "nand", "or", "xor", "not", "in", "exists", "contains", "==", "!=", "=~", "!~", "<",
                "(", ")", "[", "]", ",", "1", "-1.5", "'x'", "\"y\"", "true", "null", "é", "\\",
            ]), 0..20),
        ) {
            if let Ok(condition) = Condition::parse(&tokens.join(" ")) {
                condition.holds(&EventView { event: &event(), buf: b"", common: &common() });
            }
        }
    }
}
