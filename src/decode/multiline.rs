//! `multiline`: which lines are one record (P). It sees one line after the other and says of each whether it goes on in the record
//! that is open or begins one, and whether the record ends with it.
//!
//! `pattern`, `count` and `while` are Filebeat's, with these words:
//!
//! | form | a line goes on in the record before it if |
//! |---|---|
//! | `pattern`, `match: after` | it matches (`negate`: does not) |
//! | `pattern`, `match: before` | the line before it matches (does not) |
//! | `while` | it matches (does not); a line that does not is a record by itself |
//! | `count` | the record has fewer lines than that |
//! | `preset` | the rules of a language say so (see `presets`) |
//!
//! A line that `flush_pattern` matches is the last of its record. Where nothing that may follow could go on in a record, it ends at
//! once: Filebeat waits for the next line, and makes the same records.
//!
//! Of several presets, all that take the first line of a trace follow it; those that can't take one of its lines are out, as long as
//! another can. So their order says nothing: a line such as `panic: x.Error: y` may be of more than one language, and what
//! comes behind it tells of which. Where one knows that the trace ends with a line, it does.
//!
//! Not here: bytes, limits, time-outs (`join`).

use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;

use super::presets::{self, Machine};

/// How lines are joined.
#[derive(Clone, Debug)]
pub struct Multiline {
    pub kind: Kind,
    /// The most lines of a record that become its message.
    pub lines_max: usize,
    /// The most bytes of a record's message.
    pub bytes_max: usize,
    /// A record to which nothing was added for so long ends. `None`: it waits for ever.
    pub timeout: Option<Duration>,
    /// Nothing stands between the lines of a message, instead of a line break.
    pub skip_newline: bool,
}

/// What says which lines belong together.
#[derive(Clone, Debug)]
pub enum Kind {
    Pattern {
        pattern: Regex,
        negate: bool,
        place: Match,
        flush: Option<Regex>,
    },
    While {
        pattern: Regex,
        negate: bool,
    },
    /// So many lines, at least one.
    Count(usize),
    /// At least one, each once.
    Presets(Vec<Arc<Machine>>),
}

/// Which line `pattern` is matched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The line itself.
    After,
    /// The line before it.
    Before,
}

/// What is known of the record that is open.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    /// Lines of it; 0: none is open.
    lines: usize,
    /// Its last line says that the next one belongs to it.
    goes_on: bool,
    /// Where each preset is in the trace, in their order; 0: it does not follow it.
    traces: [presets::State; presets::COUNT],
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// It goes on in the record that is open; if not, that one ends before it.
    pub joins: bool,
    /// The record ends with it.
    pub ends: bool,
    /// It joins only if a line that joins without doubt follows; if none does, it is a record by itself.
    pub is_doubtful: bool,
}

impl Multiline {
    /// Takes the next line, its terminator excluded.
    pub fn step(&self, state: &mut State, line: &[u8]) -> Step {
        let step = match &self.kind {
            Kind::Pattern { pattern, negate, place, flush } => {
                let matches = pattern.is_match(line) != *negate;
                let is_open = state.lines > 0;
                let is_flush = is_open && flush.as_ref().is_some_and(|flush| flush.is_match(line));
                let goes_on = if *place == Match::After { matches } else { state.goes_on };
                state.goes_on = matches;
                let is_over = *place == Match::Before && !matches && flush.is_none();
                Step { joins: is_open && (is_flush || goes_on), ends: is_flush || is_over, is_doubtful: false }
            }
            Kind::While { pattern, negate } => {
                let matches = pattern.is_match(line) != *negate;
                Step { joins: matches && state.lines > 0, ends: !matches, is_doubtful: false }
            }
            Kind::Count(lines) => Step { joins: state.lines > 0, ends: state.lines + 1 >= *lines, is_doubtful: false },
            Kind::Presets(machines) => step_of_presets(machines, state, line),
        };
        state.lines = if step.joins { state.lines + 1 } else { 1 };
        if step.ends {
            *state = State::default();
        }
        step
    }
}

fn step_of_presets(machines: &[Arc<Machine>], state: &mut State, line: &[u8]) -> Step {
    if let Some(step) = follow(machines, &mut state.traces, line) {
        return Step { joins: true, ..step };
    }
    state.traces = [presets::BEFORE; presets::COUNT];
    let begins = follow(machines, &mut state.traces, line);
    begins.unwrap_or(Step { joins: false, ends: true, is_doubtful: false })
}

/// Takes the line in each preset that follows a trace. `None`: none can, and none follows it any more.
fn follow(machines: &[Arc<Machine>], traces: &mut [presets::State], line: &[u8]) -> Option<Step> {
    let mut step = None;
    for (machine, trace) in machines.iter().zip(traces).filter(|(_, trace)| **trace != 0) {
        let taken = machine.go_on(*trace, line);
        *trace = taken.and_then(|taken| taken.state).unwrap_or(0);
        let Some(taken) = taken else { continue };
        let step = step.get_or_insert(Step { joins: false, ends: false, is_doubtful: true });
        step.ends |= taken.state.is_none();
        step.is_doubtful &= taken.is_doubtful;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multiline(kind: Kind) -> Multiline {
        Multiline { kind, lines_max: 500, bytes_max: 1000, timeout: None, skip_newline: false }
    }

    fn pattern(pattern: &str, negate: bool, place: Match, flush: Option<&str>) -> Multiline {
        let regex = |text: &str| Regex::new(text).expect("a good expression");
        multiline(Kind::Pattern { pattern: regex(pattern), negate, place, flush: flush.map(regex) })
    }

    /// The records of `lines`, each line by its own; `ended` says of each whether it waited for the line after it.
    #[track_caller]
    fn check(multiline: &Multiline, lines: &[&str], expect: &[&[&str]]) {
        let mut state = State::default();
        let mut records: Vec<Vec<&str>> = Vec::new();
        let mut doubtful = Vec::new();
        let mut is_open = false;
        for line in lines {
            let step = multiline.step(&mut state, line.as_bytes());
            assert!(is_open || !step.joins, "{line:?} joins nothing");
            if step.joins && step.is_doubtful {
                doubtful.push(*line);
            } else if step.joins {
                let record = records.last_mut().expect("one is open");
                record.append(&mut doubtful);
                record.push(line);
            } else {
                records.extend(doubtful.drain(..).map(|line| vec![line]));
                records.push(vec![line]);
            }
            is_open = !step.ends;
        }
        records.extend(doubtful.drain(..).map(|line| vec![line]));
        assert_eq!(records, expect);
    }

    #[test]
    fn patterns_are_filebeat_s() {
        // The four rows of the table in Filebeat's docs.
        let check = |negate, place, expect: &[&[&str]]| {
            check(&pattern("^b", negate, place, None), &["a", "b1", "b2", "c", "b3", "d"], expect);
        };
        check(false, Match::After, &[&["a", "b1", "b2"], &["c", "b3"], &["d"]]);
        check(false, Match::Before, &[&["a"], &["b1", "b2", "c"], &["b3", "d"]]);
        check(true, Match::After, &[&["a"], &["b1"], &["b2", "c"], &["b3", "d"]]);
        check(true, Match::Before, &[&["a", "b1"], &["b2"], &["c", "b3"], &["d"]]);
    }

    #[test]
    fn a_flush_pattern_ends_the_record_with_its_line() {
        let start_to_end = pattern("start", true, Match::After, Some("end"));
        check(
            &start_to_end,
            &["start 1", "x", "end 1", "between", "start 2", "end 2"],
            &[&["start 1", "x", "end 1"], &["between"], &["start 2", "end 2"]],
        );
        // As in Filebeat: the line belongs to the record before it, whatever the pattern says; and a first line ends nothing.
        check(
            &pattern("^ ", false, Match::After, Some("end")),
            &["a", "end", "end", " b"],
            &[&["a", "end"], &["end", " b"]],
        );
        let before = pattern(r"\\$", false, Match::Before, Some("end"));
        check(&before, &["a", "end", "b\\", "c"], &[&["a", "end"], &["b\\", "c"]]);
    }

    #[test]
    fn lines_that_match_are_one_while_they_do() {
        let regex = |text: &str| Regex::new(text).expect("a good expression");
        let braces = multiline(Kind::While { pattern: regex(r"^\{"), negate: false });
        check(&braces, &["{a", "{b", "c", "d", "{e"], &[&["{a", "{b"], &["c"], &["d"], &["{e"]]);
        let others = multiline(Kind::While { pattern: regex(r"^\{"), negate: true });
        check(&others, &["{a", "{b", "c", "d", "{e"], &[&["{a"], &["{b"], &["c", "d"], &["{e"]]);
    }

    #[test]
    fn counts_lines() {
        check(&multiline(Kind::Count(2)), &["a", "b", "c", "d", "e"], &[&["a", "b"], &["c", "d"], &["e"]]);
        check(&multiline(Kind::Count(1)), &["a", "b"], &[&["a"], &["b"]]);
    }

    fn presets(names: &[&str]) -> Multiline {
        let machines = names.iter().map(|name| Arc::new(Machine::new(name).expect("a preset")));
        multiline(Kind::Presets(machines.collect()))
    }

    #[test]
    fn traces_of_several_languages_are_told_apart() {
        let lines = [
            "2026 INFO started",
            "Traceback (most recent call last):",
            "  File \"a.py\", line 1, in f",
            "    1 / 0",
            "    ~~^~~",
            "ZeroDivisionError: division by zero",
            "2026 INFO next",
            "2026 ERROR java.lang.IllegalStateException: no",
            "\tat a.B.c(B.java:1)",
            "Caused by: java.lang.NullPointerException",
            "\t... 1 more",
            "panic: no",
            "",
            "goroutine 1 [running]:",
            "main.main()",
            "\t/a.go:1 +0x1",
            "exit status 2",
        ];
        let expect: [&[&str]; 6] =
            [&lines[..1], &lines[1..6], &lines[6..7], &lines[7..11], &lines[11..16], &lines[16..]];
        check(&presets(&["java", "python", "go"]), &lines, &expect);
        check(&presets(&["go", "python", "java"]), &lines, &expect);
    }

    #[test]
    fn traces_of_each_language() {
        let whole = |name: &str, trace: &[&str]| {
            let mut lines = vec!["before"];
            lines.extend(trace);
            lines.push("behind");
            check(&presets(&[name]), &lines, &[&["before"], trace, &["behind"]]);
        };
        whole(
            "javascript",
            &[
                "Error: no",
                "    at f (/a.js:1:2)",
                "    at async g (/a.js:3:4) {",
                "  code: 'E',",
                "  [cause]: Error: why",
                "      at h (/a.js:5:6)",
                "}",
            ],
        );
        whole(
            "dotnet",
            &[
                "Unhandled exception. System.InvalidOperationException: no",
                " ---> System.ArgumentNullException: why",
                "   at A.B()",
                "   --- End of inner exception stack trace ---",
                "   at A.C() in /a.cs:line 7",
                "--- End of stack trace from previous location ---",
                "   at A.D()",
            ],
        );
        whole(
            "java",
            &[
                "x.YException: a",
                "\tnested exception is: ",
                "\tjava.io.IOException: b",
                "",
                "\tat x.Y.z(Y.java:1)",
                "\tSuppressed: c",
            ],
        );
        whole(
            "ruby",
            &[
                "/a.rb:6:in `/': divided by 0 (ZeroDivisionError)",
                "\tfrom /a.rb:6:in `block in <main>'",
                "\tfrom /a.rb:1:in `<main>'",
            ],
        );
        whole(
            "php",
            &[
                "PHP Fatal error:  Uncaught Exception: no in /a.php:3",
                "Stack trace:",
                "#0 {main}",
                "  thrown in /a.php on line 3",
            ],
        );
        whole(
            "go",
            &[
                "2026/01/01 00:00:00 http: panic serving 1.2.3.4:5: no",
                "goroutine 7 [running]:",
                "net/http.(*conn).serve.func1(0xc0)",
                "\t/a.go:1 +0x1",
            ],
        );
        whole(
            "python",
            &["Traceback (most recent call last):", "  File \"a\", line 1, in f", "    g()", "KeyboardInterrupt"],
        );
        whole("python", &["  File \"/a.py\", line 2", "    2 2]", "    ^^^", "SyntaxError: invalid syntax"]);
    }

    /// Scenario: exceptions that have others behind them, as each runtime prints them.
    /// Guarantee: all of it is one record.
    #[test]
    fn chains_of_traces() {
        let whole = |name: &str, trace: &str| {
            let trace: Vec<&str> = trace.lines().collect();
            let mut lines = vec!["before"];
            lines.extend(&trace);
            lines.push("behind");
            check(&presets(&[name]), &lines, &[&["before"], &trace, &["behind"]]);
        };
        let python = "Traceback (most recent call last):\n  File \"a\", line 1, in f\n    int('x')\nValueError: x";
        let during = "\n\nDuring handling of the above exception, another exception occurred:\n\n";
        let cause = "\n\nThe above exception was the direct cause of the following exception:\n\n";
        whole("python", &[python, during, python, cause, python].concat());
        let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"a\", line 1, in f\n  | ExceptionGroup: two\n  \
                     +-+---------------- 1 ----------------\n    | ValueError: 1\n    +------------------------------------";
        whole("python", group);
        whole("python", &[python, during, group].concat());
        let goroutine = "goroutine 1 gp=0xc1 m=0 mp=0x5 [running]:\nmain.main()\n\t/a.go:1 +0x1";
        let other = "goroutine 7 [running]:\n\tgoroutine running on other thread; stack unavailable\ncreated by main.main\n\t/a.go:2 +0x1";
        whole("go", &["fatal error: all goroutines are asleep - deadlock!\n\n", goroutine, "\n\n", other].concat());
        whole("go", &["panic: a [recovered]\n\tpanic: b\n\n", goroutine].concat());
        whole(
            "php",
            "PHP Fatal error:  Uncaught Exception: a in /a.php:3\nStack trace:\n#0 {main}\n\nNext RuntimeException: b in \
             /a.php:5\nStack trace:\n#0 {main}\n  thrown in /a.php on line 5",
        );
        whole(
            "java",
            "x.YException: a\n\tat x.Y.z(Y.java:1)\n\t... 3 frames truncated\n\tSuppressed: x.ZException: b\n\t\tat \
             x.Y.z(Y.java:1)\n\t\t... 1 more\nCaused by: x.ZException\n\tat x.Y.z(Y.java:2)\n\t[CIRCULAR REFERENCE: x.YException]",
        );
    }

    /// Scenario: what Node 20 prints of an exception that nobody catches.
    /// Guarantee: the lines before the error, its frames, and the version behind them are one record.
    #[test]
    fn what_node_prints_of_an_uncaught_exception() {
        let frames = "    at f (/a.js:2:11)\n    at node:internal/main/run_main_module:28:49";
        let version = "\n\nNode.js v20.20.2";
        let fields = " {\n  code: 'X',\n  list: [ '/a.js' ]\n}";
        for trace in [
            format!("/a.js:2\n    throw new Error(\"boom\");\n    ^\n\nError: boom\n{frames}{version}"),
            format!("/a.js:1\nthrow new Error\n^\n\nError\n{frames}{version}"),
            format!("C:\\app\\a.js:1\nlet a = ;\n        ^\n\nSyntaxError: Unexpected token ';'\n{frames}"),
            format!(
                "node:internal/modules/cjs/loader:1210\n  throw err;\n  ^\n\nError: Cannot find module './nope'\nRequire stack:\n- \
                 /a.js\n{frames}{fields}{version}"
            ),
            format!(
                "node:internal/modules/esm/resolve:283\n    throw new ERR_MODULE_NOT_FOUND(\n          ^\n\nError \
                 [ERR_MODULE_NOT_FOUND]: Cannot find module '/no.mjs'\n{frames}{fields}{version}"
            ),
            format!(
                "node:events:502\n      throw er;\n      ^\n\nError: ev\n{frames}\nEmitted 'error' event at:\n{frames}\n    [... lines matching original stack trace ...]{version}"
            ),
            format!(
                "node:assert:90\n  throw new AssertionError(obj);\n  ^\n\nAssertionError [ERR_ASSERTION]: not equal:\n\n1 !== 2\n\n{frames}{fields}{version}"
            ),
            format!("<anonymous_script>:1\n{{x\n ^\n\nSyntaxError: Expected property name\n{frames}{version}"),
            format!(
                "/a.js:1\nclass A extends Error {{}}; throw new A(\"a\\nb\")\n    ^\n\nA [Error]: a\nb\n{frames}{version}"
            ),
            format!(
                "/a.js:1\nthrow \"text\"\n^\ntext\n(Use `node --trace-uncaught ...` to show where the exception was thrown){version}"
            ),
            format!("TypeError [ERR_INVALID_ARG_TYPE]: The \"path\" argument must be of type string\n{frames}{fields}"),
            format!("/a.js:1\nError: told without its line\n{frames}"),
            format!(
                "Error: outer\n    at f (/a.js:1:11)\n    ... 4 lines matching cause stack trace ...\n{frames} {{\n  [cause]: RangeError: inner\n      at g (/a.js:1:2)\n}}"
            ),
        ] {
            let trace: Vec<&str> = trace.lines().collect();
            let lines = [&["before"], &*trace, &["behind"]].concat();
            check(&presets(&["javascript"]), &lines, &[&["before"], &trace, &["behind"]]);
        }
        // A place alone draws in one line.
        check(&presets(&["javascript"]), &["/a.js:1", "GET /", "POST /"], &[&["/a.js:1", "GET /"], &["POST /"]]);
    }

    /// Scenario: records of Laravel, with the exceptions of their context. Guarantee: each is one record, whatever stands behind it.
    #[test]
    fn what_laravel_writes_of_an_exception() {
        let first = "[2024-05-01 10:00:00] local.ERROR: no {\"userId\":1,\"exception\":\"[object] (RuntimeException(code: 0): no at /app/a.php:10)\n\
                     [stacktrace]\n#0 /app/b.php(5): f()\n#1 {main}";
        let previous = "\n\n[previous exception] [object] (PDOException(code: 2002): two\nlines at /app/c.php:1)\n[stacktrace]\n#0 {main}";
        let next = "[2024-05-01 10:00:01] local.INFO: next";
        for trace in [
            format!("{first}\n\"}} "),
            format!("{first}\n\",\"url\":\"/\"}} "),
            format!("{first}{previous}\n\"}} "),
            "[2024-05-01 10:00:00] local.ERROR: no {\"exception\":\"[object] (E(code: 0): no at /a.php:1)\"} "
                .to_owned(),
        ] {
            let trace: Vec<&str> = trace.lines().collect();
            let lines = [&[next], &*trace, &[next, "behind"]].concat();
            check(&presets(&["php"]), &lines, &[&[next], &trace, &[next], &["behind"]]);
        }
    }

    /// Scenario: empty lines behind a trace that others of its kind might have gone on behind.
    /// Guarantee: they are in the record only if it does.
    #[test]
    fn an_empty_line_behind_a_trace_is_a_record() {
        let python = "Traceback (most recent call last):\n  File \"a\", line 1\n    f()\nOSError: no";
        let php = "PHP Fatal error:  Uncaught Exception: a in /a.php:3\nStack trace:\n#0 {main}";
        let javascript = "Error: no\n    at f (/a.js:1:2)";
        for (name, trace) in [("python", python), ("php", php), ("javascript", javascript)] {
            let trace: Vec<&str> = trace.lines().collect();
            for behind in [&["", "next"][..], &["", "", "next"], &["", "", "", "next"], &[""], &["", ""]] {
                let lines = [&trace, behind].concat();
                let mut expect = vec![&trace[..]];
                expect.extend(behind.chunks(1));
                check(&presets(&[name]), &lines, &expect);
                check(&presets(&["java", "go", name]), &lines, &expect);
                // The same trace again is another.
                let lines = [&trace, behind, &trace].concat();
                expect.push(&trace);
                check(&presets(&[name]), &lines, &expect);
            }
        }
        let during = "During handling of the above exception, another exception occurred:";
        for between in [&["", during, ""][..], &["", "", during, ""]] {
            let trace: Vec<&str> = python.lines().collect();
            let lines = [&trace, between, &trace, &["", "next"]].concat();
            let whole = lines.len() - 2;
            check(&presets(&["python"]), &lines, &[&lines[..whole], &[""], &["next"]]);
            check(&presets(&["java", "python"]), &lines, &[&lines[..whole], &[""], &["next"]]);
        }
    }

    /// Scenario: traces that begin with a line of more than one language, with the presets in any order.
    /// Guarantee: each is one record, whichever is named first.
    #[test]
    fn the_order_of_presets_says_nothing() {
        let all: Vec<&str> = Machine::names().collect();
        let backwards: Vec<&str> = all.iter().rev().copied().collect();
        for (names, trace) in [
            (
                ["java", "php"],
                "PHP Fatal error:  Uncaught RuntimeException: no in /a.php:3\nStack trace:\n#0 {main}\n  thrown in /a.php on line 3",
            ),
            (["java", "dotnet"], "Unhandled exception. X.YException: no\n ---> X.ZException: why\n   at A.B()"),
            (["java", "javascript"], "x TypeError: no\n    at f (/a.js:1:2) {\n  code: 1\n}"),
            (["java", "go"], "panic: some.Error: x\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1"),
            (["javascript", "java"], "x.YException: a\n\tat x.Y.z(Y.java:1)\n\t... 3 frames truncated"),
            (["ruby", "java"], "/a.rb:1:in 'f': x Error: y\n\tfrom /a.rb:1:in 'g'"),
        ] {
            let trace: Vec<&str> = trace.lines().collect();
            let lines = [&["before"], &*trace, &*trace, &["behind"]].concat();
            for names in [&names[..], &[names[1], names[0]], &all, &backwards] {
                check(&presets(names), &lines, &[&["before"], &trace, &trace, &["behind"]]);
            }
        }
        // Where one knows the end, what another could take is no more of it.
        let monolog = "x.YException: no {\"exception\":\"[object] (YException(code: 0): no at /a.php:1)\"} ";
        for names in [["php", "java"], ["java", "php"]] {
            check(&presets(&names), &[monolog, "\tat a.b(A.java:1)"], &[&[monolog], &["\tat a.b(A.java:1)"]]);
        }
    }

    /// Scenario: what runtimes print beside the frames that Fluent Bit's rules know. Guarantee: a trace is one record, with its own
    /// preset and with all.
    #[test]
    fn what_newer_runtimes_and_frameworks_print() {
        let all: Vec<&str> = Machine::names().collect();
        let python = "Traceback (most recent call last):\n  File \"a\", line 1, in f\n    g()\n";
        let frozen = "  File \"<frozen runpy>\", line 88, in _run_code\n";
        let go = "goroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1";
        for (name, trace) in [
            ("go", format!("panic: x\n\ngoroutine 1 [running]:\nmain.Map[...](...)\n\t/a.go:9\nmain.Get[...]({{0xc0?, 0x3}}, 0x5)\n\t/a.go:1 +0x1\n\n{go}")),
            ("go", "panic: x\n\ngoroutine 1 [running]:\nsync/atomic.(*Pointer[...]).Load(...)\n\t/a.go:9\nk8s.io/a-b/queue.(*Typed[...]).Get.func1(0xc0)\n\t/a.go:1 +0x1".to_owned()),
            ("go", format!("runtime: goroutine stack exceeds 1000000000-byte limit\nruntime: sp=0xc0 stack=[0xc0, 0xc1]\nfatal error: stack overflow\n\nruntime stack:\nruntime.throw({{0x4?, 0x0?}})\n\t/a.go:1 +0x1\n\n{go}")),
            ("go", format!("SIGQUIT: quit\nPC=0x46a2a1 m=0 sigcode=0\n\ngoroutine 0 gp=0x5 m=0 mp=0x5 [idle]:\nruntime.futex()\n\t/a.s:5 +0x2\n\n{go}\n\nrax    0xca\nrflags 0x286\ngs     0x0")),
            ("python", format!("{python}{frozen}ModuleNotFoundError: x")),
            ("python", format!("{python}{frozen}{frozen}  File \"b\", line 1, in g\n    h()\nModuleNotFoundError: x")),
            ("python", format!("Traceback (most recent call last):\n{frozen}{frozen}{frozen}ModuleNotFoundError: x")),
            ("python", format!("{python}  File \"b\", line 1, in g\n\n  File \"c\", line 1, in h\n    i()\nx.YError: z")),
            ("python", "Traceback (most recent call last):\n  File \"a\", line 1, in f\n    foo(\n    ~~~^\n        1,\n        ^^\n    ...<3 lines>...\n        g(5),\n        ^^^^^\n    )\n    ^\nValueError: x".to_owned()),
            ("python", format!("{python}requests.exceptions.Timeout")),
            ("python", format!("{python}__main__.f.<locals>.Stop")),
            ("python", format!("Traceback (most recent call last):\n{frozen}myapp.models.User.DoesNotExist")),
            ("python", format!("{python}DeprecationWarning")),
            ("ruby", "/a.rb:1:in `f': too deep (SystemStackError)\n\tfrom /a.rb:1:in `f'\n\t ... 10067 levels...\n\tfrom /a.rb:3:in `<main>'".to_owned()),
            ("ruby", "NoMethodError (undefined method `x' for nil):\n  \napp/x.rb:5:in 'show'\nactionpack (7.0.4) lib/a/b.rb:63:in `block in call'".to_owned()),
            ("ruby", "F ActiveRecord::RecordNotFound (Couldn't find User with 'id'=1):\n  \napp/x.rb:5:in `show'".to_owned()),
            ("java", "x.YException: root\n\tat A.b(A.java:1)\n\t... 2 common frames omitted\nWrapped by: x.ZFailure: outer\n\tat A.c(A.java:2)".to_owned()),
            ("php", "Fatal error: Uncaught Exception: no in /a.php:3\nStack trace:\n#0 {main}\n  thrown in /a.php on line 3".to_owned()),
        ] {
            let trace: Vec<&str> = trace.lines().collect();
            let lines = [&["before"], &*trace, &["behind it", "key: value"]].concat();
            for names in [&[name][..], &all] {
                check(&presets(names), &lines, &[&["before"], &trace, &["behind it"], &["key: value"]]);
            }
        }
        // What is behind a trace that was cut is none of it.
        let head = "Traceback (most recent call last):";
        check(&presets(&["python"]), &[head, "    x = 1", "a.b"], &[&[head], &["    x = 1"], &["a.b"]]);
        let frame = "  File \"<string>\", line 1, in f";
        check(&presets(&["python"]), &[head, frame, frame, "behind"], &[&[head, frame, frame], &["behind"]]);
        // An exception behind that of Rails is no frame of it.
        let next = "/a.rb:6:in `/': divided by 0 (ZeroDivisionError)";
        check(&presets(&["ruby"]), &["AError (x):", "  ", next], &[&["AError (x):", "  "], &[next]]);
    }
}
