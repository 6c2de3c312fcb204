//! The stack traces of languages as rules (P): which line begins one, and which goes on in it.
//!
//! A preset is a small state machine, as in Fluent Bit's built-in parsers and in the detector of Google's agent before them: a rule
//! says in which states it is asked, what the line must look like, and the state after it. A trace begins with a rule of
//! [`START`]; a rule that leads back there ends it at once. A line that leads to one of [`DOUBTFUL`] is of the trace only if what
//! follows it is. `java`, `go`, `python` and `ruby` are Fluent Bit's, with what newer versions of these languages print beside;
//! `dotnet` and `javascript` are made of `java`'s, `php` of the detector's, with Monolog's traces.
//!
//! Lines come without their terminator, so that `$` also stands for a line break that a rule wants to see.

use regex::bytes::{Regex, RegexBuilder};

/// The state before a trace.
const START: &str = "start_state";

/// States behind an empty line of which only the next lines tell whether it stands within the trace or behind it. No trace begins with
/// an empty line.
const DOUBTFUL: &[&str] = &["python_between", "python_between_2", "php_between", "javascript_end"];

/// States, pattern, next state.
type Rule = (&'static [&'static str], &'static str, &'static str);

/// The name of a preset and its rules, in their order.
const PRESETS: &[(&str, &[&[Rule]])] = &[
    ("java", &[JAVA_START, JAVA]),
    ("javascript", &[JAVASCRIPT, JAVA]),
    ("dotnet", &[DOTNET, JAVA_START, JAVA]),
    ("python", &[PYTHON]),
    ("go", &[GO]),
    ("ruby", &[RUBY]),
    ("php", &[PHP]),
];

const JAVA_START: &[Rule] = &[(
    &[START, "java_start_exception"],
    r".(?:Exception|Error|Throwable|V8 errors stack trace)(?:[:\r\n]|$)",
    "java_after_exception",
)];

const JAVA: &[Rule] = &[
    (&["java_after_exception"], r"^[\t ]*nested exception is:[\t ]*", "java_start_exception"),
    (&["java_after_exception"], r"^[\r\n]*$", "java_after_exception"),
    (&["java_after_exception", "java"], r"^[\t ]+(?:eval )?at ", "java"),
    (&["java_after_exception", "java"], r"^[\t ]+--- End of inner exception stack trace ---$", "java"),
    (
        &["java_after_exception", "java"],
        r"^--- End of stack trace from previous location where exception was thrown ---$",
        "java",
    ),
    // `Wrapped by`: where Logback begins with the innermost.
    (&["java_after_exception", "java"], r"^[\t ]*(?:Caused by|Suppressed|Wrapped by):", "java_after_exception"),
    (
        &["java_after_exception", "java"],
        r"^[\t ]*(?:... \d+ (?:more|common frames omitted|frames? (?:truncated|excluded))|\[CIRCULAR REFERENCE)",
        "java",
    ),
];

/// Before [`JAVA`]: an error may stand at the very beginning of a line, with its code (`Error [ERR_X]:`), and the last frame may open the
/// error's own fields. Of what nobody catches, Node prints more: where it was thrown (place, line, caret), an empty line, the error,
/// and its own version at last. Behind place and caret the error may be anything, and have lines of its own before its frames.
const JAVASCRIPT: &[Rule] = &[
    (
        &[START, "java_start_exception"],
        r"(?:Exception|Error|Throwable|V8 errors stack trace)(?: \[\w+\]|\])?(?:[:\r\n]|$)",
        "java_after_exception",
    ),
    (
        &[START],
        r"^(?:/|file:///|node:|internal/|webpack(?:-internal)?:///|[A-Za-z]:\\|<anonymous_script>|undefined|evalmachine\.|\[\w+\])\S*:\d+$",
        "javascript_place",
    ),
    (&["javascript_place"], r"^[\w.$]*(?:Exception|Error)(?: \[\w+\]|\])?(?::|$)", "java_after_exception"),
    (&["javascript_place"], r".", "javascript_line"),
    (&["javascript_line"], r"^[\t ]*\^+$", "javascript_caret"),
    (&["javascript_caret"], r"^$", "javascript_error"),
    // What is no error has no frames.
    (&["javascript_caret", "javascript_thrown"], r"^[^\t ]", "javascript_thrown"),
    (&["javascript_thrown"], r"^[\t ]", "javascript_thrown"),
    (&["javascript_thrown", "java"], r"^$", "javascript_end"),
    (&["javascript_error", "javascript_end"], r"^Node\.js v\d", START),
    (
        &["java_after_exception", "java", "javascript_error", "javascript_modules"],
        r"^[\t ]+at .*\{$",
        "javascript_fields",
    ),
    (&["javascript_fields"], r"^[\t ]", "javascript_fields"),
    (&["javascript_fields"], r"^\}", "java"),
    (&["javascript_error", "javascript_modules"], r"^[\t ]+at ", "java"),
    (&["javascript_error"], r"", "javascript_error"),
    (&["java_after_exception"], r"^Require stack:$", "javascript_modules"),
    (&["javascript_modules"], r"^- ", "javascript_modules"),
    (&["java"], r"^(?:Emitted 'error' event .*at:$|[\t ]+\[?\.\.\. (?:\d+ )?lines matching )", "java"),
];

/// Before [`JAVA`]: inner exceptions stand on lines of their own.
const DOTNET: &[Rule] = &[
    (&["java_after_exception", "java"], r"^[\t ]*---> ", "java_after_exception"),
    (&["java_after_exception", "java"], r"^--- End of stack trace from previous location ---$", "java"),
];

const PYTHON: &[Rule] = &[
    (&[START], r"^Traceback \(most recent call last\):$", "python"),
    // What can't be parsed of the script itself has no head.
    (&[START], r#"^  File ".+", line \d+$"#, "python_code"),
    // Code that is in no file, or in one that can't be read, has no source.
    (&["python", "python_code", "python_source"], r"^[\t ]+File ", "python_code"),
    (&["python", "python_code", "python_source"], r"^(?:[^\s.():]+\.)*[^\s.():]+:", "python_end"),
    (
        &["python", "python_code", "python_source"],
        r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Iteration|Warning)$",
        "python_end",
    ),
    // An exception of one's own may be called anything, but its module is told.
    (&["python_code", "python_source"], r"^[A-Za-z_]\w*(?:\.(?:\w+|<locals>))+$", "python_end"),
    (&["python_code"], r"^(?:[\t ]|$)", "python_source"),
    // A source of several lines, with a line of marks below each.
    (
        &["python_source"],
        r"^(?: {4}|[\t ]+(?:[~^]+[\t ]*|\[Previous line repeated \d+ more times?\])$)",
        "python_source",
    ),
    // One exception for another: the next trace follows, with a sentence and empty lines between them.
    (&["python_end"], r"^$", "python_between"),
    (&["python_between"], r"^$", "python_between_2"),
    (
        &["python_between", "python_between_2"],
        r"^(?:During handling of the above exception, another exception occurred|The above exception was the direct cause of the following exception):$",
        "python_chained",
    ),
    (&["python_chained"], r"^$", "python_chained"),
    (&["python_chained"], r"^Traceback \(most recent call last\):$", "python"),
    // A group of exceptions stands behind a rule of its own.
    (&[START, "python_chained"], r"^ +\+ Exception Group Traceback \(most recent call last\):$", "python_group"),
    (&["python_group"], r"^ +[|+]", "python_group"),
];

const GO: &[Rule] = &[
    (&[START], r"\bpanic: ", "go_after_panic"),
    (&[START], r"http: panic serving", "go_goroutine"),
    (
        &[START],
        r"^(?:fatal error: |runtime: goroutine stack exceeds |SIG(?:QUIT: quit|ABRT: abort|SEGV: segmentation violation)$)",
        "go_after_panic",
    ),
    (&["go_after_panic"], r"^(?:runtime: sp=|fatal error: stack overflow$)", "go_after_panic"),
    (&["go_after_panic"], r"^PC=0x", "go_after_signal"),
    (&["go_after_signal"], r"^signal arrived during ", "go_after_signal"),
    // A panic that was recovered from, and the next one.
    (&["go_after_panic"], r"^\tpanic: ", "go_after_panic"),
    (&["go_after_panic", "go_after_signal", "go_frame_1"], r"^$", "go_goroutine"),
    (&["go_after_panic"], r"^\[signal ", "go_after_signal"),
    (&["go_goroutine"], r"^(?:goroutine \d+ (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[[^\]]+\]|runtime stack):$", "go_frame_1"),
    // What a signal found in the registers stands behind the goroutines.
    (&["go_goroutine", "go_registers"], r"^[a-z]\w* +0x[0-9a-f]+$", "go_registers"),
    (
        &["go_frame_1"],
        r"^(?:\tgoroutine running on other thread; stack unavailable|\.\.\..*frames elided\.\.\.)$",
        "go_frame_1",
    ),
    // `[...]`: of what a generic function is made.
    (&["go_frame_1"], r"^(?:(?:[^\s.:]|\[\.\.\.\])+\.)*(?:[^\s.():]|\[\.\.\.\])+\(|^created by ", "go_frame_2"),
    (&["go_frame_2"], r"^\s", "go_frame_1"),
];

const RUBY: &[Rule] = &[
    (&[START, "ruby_start_exception"], r"^.+:\d+:in\s+.*", "ruby_after_exception"),
    (&["ruby_after_exception", "ruby"], r"^\s+from\s+.*:\d+:in\s+.*", "ruby"),
    (&["ruby_after_exception", "ruby"], r"^\s+\.\.\. \d+ levels\.\.\.$", "ruby"),
    // Only an `…Error` needs no module to tell that it is one.
    (&[START], r"(?:Error|(?:^|\s)(?:[A-Z]\w*::)+[A-Z]\w*) \(.*\):$", "ruby_before_rails_trace"),
    (&["ruby_before_rails_trace"], r"^  $", "ruby_rails"),
    // With a gem and its version before the path, or without. At the beginning of a line, a quote behind the method tells a frame
    // from an exception, whose message follows there.
    (
        &["ruby_before_rails_trace", "ruby_rails"],
        r"^(?:[\t ]+.*?\.rb:\d+:in [`']|(?:\S+ \(\S+\) )?\S+\.rb:\d+:in [`'][^`']*'$)",
        "ruby_rails",
    ),
];

const PHP: &[Rule] = &[
    (
        &[START],
        r"PHP (?:Notice|Parse error|Fatal error|Warning):|exception '[^']+' with message '|^Fatal error: +Uncaught ",
        "php_stack_begin",
    ),
    (&["php_stack_begin"], r"^Stack trace:", "php_stack_frames"),
    (&["php_stack_frames"], r"^#\d", "php_stack_frames"),
    // An exception for another.
    (&["php_stack_frames"], r"^$", "php_between"),
    (&["php_between"], r"^Next ", "php_stack_begin"),
    (&["php_stack_frames"], r"^\s+thrown in ", START),
    // Monolog's, as Laravel and Symfony write it: the context of a record, with the exceptions in it.
    (&[START], r#""exception":"\[object\] \(.*"\}\s*$"#, START),
    (&[START], r#""exception":"\[object\] \("#, "php_object"),
    (&["php_object"], r"^\[stacktrace\]$", "php_object_frames"),
    (&["php_object"], r"^(?:[^\[]|$)", "php_object"),
    (&["php_object_frames"], r"^(?:#\d|$)", "php_object_frames"),
    (&["php_object_frames"], r"^\[previous exception\]", "php_object"),
    (&["php_object_frames"], r#"^"[,}]"#, START),
];

/// The compiled rules of one preset.
#[derive(Debug)]
pub struct Machine {
    name: &'static str,
    rules: Vec<Compiled>,
    /// The bits of [`DOUBTFUL`].
    doubtful: u32,
}

#[derive(Debug)]
struct Compiled {
    /// A bit for each state in which it is asked.
    states: u32,
    pattern: Regex,
    next: u32,
}

/// A state within a trace, as a bit; 0: in none.
pub type State = u32;

/// That in which a trace may begin, in every preset.
pub const BEFORE: State = 1;

/// How many presets there are.
pub const COUNT: usize = PRESETS.len();

/// What a rule has made of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The state after it; `None`: the trace ends with the line.
    pub state: Option<State>,
    /// It is of the trace only if what follows is.
    pub is_doubtful: bool,
}

impl Machine {
    /// The names of all presets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// The preset of this name.
    pub fn new(name: &str) -> Option<Machine> {
        let (name, parts) = PRESETS.iter().find(|(known, _)| *known == name)?;
        let rules: Vec<&Rule> = parts.iter().copied().flatten().collect();
        let mut states = vec![START];
        for (from, _, next) in &rules {
            for state in from.iter().chain([next]) {
                if !states.contains(state) {
                    states.push(state);
                }
            }
        }
        let bit = |state: &str| 1 << states.iter().position(|known| *known == state).expect("listed just now");
        let compiled = rules.iter().map(|(from, pattern, next)| Compiled {
            states: from.iter().map(|state| bit(state)).sum(),
            // Lines are bytes: classes need no Unicode to tell their separators.
            pattern: RegexBuilder::new(pattern).unicode(false).build().expect("the tests compile every rule"),
            next: bit(next),
        });
        let doubtful = DOUBTFUL.iter().filter(|state| states.contains(state)).map(|state| bit(state)).sum();
        Some(Machine { name, rules: compiled.collect(), doubtful })
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the trace that is in `state` goes on with the line.
    pub fn go_on(&self, state: State, line: &[u8]) -> Option<Taken> {
        let rule = self.rules.iter().find(|rule| rule.states & state != 0 && rule.pattern.is_match(line))?;
        Some(Taken { state: (rule.next != BEFORE).then_some(rule.next), is_doubtful: rule.next & self.doubtful != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_compiles_and_begins_somewhere() {
        for name in Machine::names() {
            let machine = Machine::new(name).expect("named just now");
            assert_eq!(machine.name(), name);
            assert!(machine.rules.iter().any(|rule| rule.states & BEFORE != 0), "{name}");
            assert_eq!(machine.go_on(BEFORE, b""), None, "{name}: a line that was doubtful begins nothing");
            // No state is a dead end.
            for rule in &machine.rules {
                assert!(machine.rules.iter().any(|other| other.states & rule.next != 0), "{name}: {rule:?}");
                assert!(rule.next & machine.doubtful == 0 || rule.pattern.as_str() == "^$", "{name}: {rule:?}");
            }
        }
        assert!(Machine::new("cobol").is_none());
    }
}
