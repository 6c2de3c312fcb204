//! Reads Ruby's regular expressions (Oniguruma's syntax), as grok hands them over after expansion (P).
//!
//! As in Logstash: `.` matches newlines, `^` and `$` are of lines, `\w \d \s \h` are ASCII, `[[:alpha:]]` and `\p{…}` and `\b`
//! are Unicode, `(?i)` reaches to the end of its group, `{,n}` is a repetition and a lone `{` is not.
//!
//! Refused, with the construct and its place: recursion, conditionals, the absent operator, `\X`, `\G`; backreferences too,
//! unless they are asked for.

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

use super::ast::{Assert, Choice, Node, class_of, set_of};

/// Groups within groups.
const DEPTH_MAX: usize = 200;
/// The largest number in `{n,m}`, as in Oniguruma.
const REPEAT_MAX: u32 = 100_000;

/// Where and why an expression can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Byte offset in the expanded expression.
    pub at: usize,
    pub message: String,
}

/// An expression and its named groups.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub root: Node,
    /// The full name of each captured group, in the order of their opening; empty for a numbered group.
    pub groups: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    ignores_case: bool,
    /// `(?x)`: blanks and comments are left out.
    is_extended: bool,
    /// `.` matches a newline.
    dot_all: bool,
    /// `(?u)`: `\w` and the like are Unicode.
    unicode: bool,
    /// `(?a)`: `[[:alpha:]]` and the like are ASCII.
    ascii: bool,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    groups: Vec<String>,
    allows_backreferences: bool,
    keeps_numbered: bool,
}

/// Reads `text`. `allows_backreferences`: for `engine: backtracking`.
pub(super) fn parse(text: &str, allows_backreferences: bool) -> Result<Parsed, Problem> {
    let has_named = has_named_group(text);
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        groups: Vec::new(),
        allows_backreferences,
        keeps_numbered: allows_backreferences && !has_named,
    };
    let options = Options { ignores_case: false, is_extended: false, dot_all: true, unicode: false, ascii: false };
    let root = parser.alternatives(options)?;
    if parser.at < text.len() {
        return Err(parser.problem(parser.at, "a `)` without its `(`"));
    }
    Ok(Parsed { root, groups: parser.groups })
}

/// There is a `(?<name>`; then plain groups capture nothing.
fn has_named_group(text: &str) -> bool {
    text.match_indices("(?<").any(|(at, _)| !matches!(text.as_bytes().get(at + 3), None | Some(b'=' | b'!')))
        || text.contains("(?'")
}

/// One thing of a sequence, and the letter it is where case does not matter.
struct Item {
    node: Node,
    folded: Option<char>,
}

impl<'a> Parser<'a> {
    fn problem(&self, at: usize, message: impl Into<String>) -> Problem {
        Problem { at, message: message.into() }
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let is_there = self.rest().starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    /// Up to the `)` of the group, or the end.
    fn alternatives(&mut self, mut options: Options) -> Result<Node, Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.problem(self.at, format!("groups are nested more than {DEPTH_MAX} deep")));
        }
        let mut branches = Vec::new();
        let mut items: Vec<Item> = Vec::new();
        loop {
            match self.peek() {
                None | Some(')') => break,
                Some('|') => {
                    self.at += 1;
                    branches.push(sequence(std::mem::take(&mut items)));
                }
                Some(_) => {
                    if let Some(isolated) = self.isolated_options(options)? {
                        // They reach to the end of the group, over its alternatives.
                        options = isolated;
                        let rest = self.alternatives(options)?;
                        items.push(Item { node: rest, folded: None });
                        break;
                    }
                    if let Some(item) = self.item(options)? {
                        let item = self.quantified(item, options)?;
                        items.push(item);
                    }
                }
            }
        }
        branches.push(sequence(items));
        self.depth -= 1;
        Ok(Node::alt(branches))
    }

    /// `(?im-x)`: the options from here on.
    fn isolated_options(&mut self, options: Options) -> Result<Option<Options>, Problem> {
        let rest = self.rest();
        let Some(inner) = rest.strip_prefix("(?") else { return Ok(None) };
        let length = inner.find(|c: char| !matches!(c, 'a'..='z' | 'A'..='Z' | '-')).unwrap_or(inner.len());
        if length == 0 || inner.as_bytes().get(length) != Some(&b')') {
            return Ok(None);
        }
        let options = self.changed(options, self.at + 2, inner.get(..length).unwrap_or_default())?;
        self.at += 2 + length + 1;
        Ok(Some(options))
    }

    fn changed(&self, mut options: Options, at: usize, letters: &str) -> Result<Options, Problem> {
        let mut on = true;
        for (offset, letter) in letters.char_indices() {
            match letter {
                '-' => on = false,
                'i' => options.ignores_case = on,
                'm' => options.dot_all = on,
                'x' => options.is_extended = on,
                'a' | 'u' | 'd' if on => {
                    options.unicode = letter == 'u';
                    options.ascii = letter == 'a';
                }
                _ => {
                    let message =
                        format!("undefined group option `{letter}`; Ruby has i, m (`.` matches a newline) and x");
                    return Err(self.problem(at + offset, message));
                }
            }
        }
        Ok(options)
    }

    /// One thing without its quantifier; `None` for a comment or a blank.
    fn item(&mut self, options: Options) -> Result<Option<Item>, Problem> {
        let start = self.at;
        let c = self.bump().expect("the caller looked");
        let node = match c {
            '(' => return self.group(start, options),
            '[' => {
                let set = self.class(start, options)?;
                Node::Set(std::sync::Arc::new(set))
            }
            '.' => dot(options),
            '^' => Node::Assert(Assert::LineStart),
            '$' => Node::Assert(Assert::LineEnd),
            '\\' => return self.escape(start, options).map(Some),
            '*' | '+' | '?' => {
                return Err(self.problem(start, format!("`{c}` repeats nothing; write `\\{c}` for the character")));
            }
            '{' if self.interval_at(start).is_some() => {
                return Err(self.problem(start, "`{…}` repeats nothing; write `\\{` for the character"));
            }
            '#' if options.is_extended => {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.bump();
                }
                return Ok(None);
            }
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' if options.is_extended => return Ok(None),
            c => return Ok(Some(literal(c, options))),
        };
        Ok(Some(Item { node, folded: None }))
    }

    fn quantified(&mut self, mut item: Item, options: Options) -> Result<Item, Problem> {
        loop {
            if options.is_extended {
                // Blanks may stand before a quantifier.
                let rest = self.rest();
                let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
                if trimmed.starts_with(['*', '+', '?']) {
                    self.at += rest.len() - trimmed.len();
                }
            }
            let (min, max, is_interval) = match self.peek() {
                Some('*') => (0, None, false),
                Some('+') => (1, None, false),
                Some('?') => (0, Some(1), false),
                Some('{') => match self.interval_at(self.at) {
                    Some(interval) => {
                        let (min, max, end) = interval?;
                        self.at = end - 1;
                        (min, max, true)
                    }
                    None => return Ok(item),
                },
                _ => return Ok(item),
            };
            self.at += 1;
            let (choice, is_possessive) = match self.peek() {
                // `{n}?` is an optional `{n}`, not a lazy one.
                Some('?') if !(is_interval && max == Some(min)) => (Choice::Lazy, false),
                Some('+') if !is_interval => (Choice::Greedy, true),
                _ => (Choice::Greedy, false),
            };
            if choice == Choice::Lazy || is_possessive {
                self.at += 1;
            }
            let node = Node::Repeat { node: Box::new(item.node), min, max, choice };
            let node = if is_possessive { Node::Atomic(Box::new(node)) } else { node };
            item = Item { node, folded: None };
        }
    }

    /// `{n}`, `{n,}`, `{,m}`, `{n,m}` at `at`, with the end; `None` if it is text.
    fn interval_at(&self, at: usize) -> Option<Result<Interval, Problem>> {
        let inner = self.text.get(at..)?.strip_prefix('{')?;
        let length = inner.find('}')?;
        let text = inner.get(..length)?;
        let (low, high) = match text.split_once(',') {
            Some((low, high)) => (low, Some(high)),
            None => (text, None),
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(low) || !high.is_none_or(is_number) || (low.is_empty() && high.is_none_or(str::is_empty)) {
            return None;
        }
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= REPEAT_MAX);
        let end = at + 1 + length + 1;
        let low_number = if low.is_empty() { Some(0) } else { number(low) };
        let parsed = match (low_number, high) {
            (Some(low), None) => Some((low, Some(low))),
            (Some(low), Some("")) => Some((low, None)),
            (Some(low), Some(high)) => number(high).map(|high| (low, Some(high))),
            (None, _) => None,
        };
        if let Some((low, Some(high))) = parsed
            && high < low
        {
            return Some(Err(self.problem(at, format!("at least {low} repetitions, but at most {high}"))));
        }
        let too_big = || self.problem(at, format!("more than {REPEAT_MAX} repetitions"));
        Some(parsed.map(|(low, high)| (low, high, end)).ok_or_else(too_big))
    }

    fn group(&mut self, start: usize, options: Options) -> Result<Option<Item>, Problem> {
        if self.eat("?#") {
            while let Some(c) = self.bump() {
                match c {
                    '\\' => drop(self.bump()),
                    ')' => return Ok(None),
                    _ => {}
                }
            }
            return Err(self.problem(start, "a comment group `(?#` without its `)`"));
        }
        let mut inner = options;
        let wrap: Box<dyn FnOnce(Node) -> Node> = if !self.eat("?") {
            let index = self.keeps_numbered.then(|| {
                self.groups.push(String::new());
                self.groups.len() - 1
            });
            Box::new(move |node| match index {
                Some(index) => Node::Capture(index, Box::new(node)),
                None => node,
            })
        } else if self.eat(":") {
            Box::new(|node| node)
        } else if self.eat("=") {
            look(false, false)
        } else if self.eat("!") {
            look(false, true)
        } else if self.eat("<=") {
            look(true, false)
        } else if self.eat("<!") {
            look(true, true)
        } else if self.eat(">") {
            Box::new(|node| Node::Atomic(Box::new(node)))
        } else if self.eat("<") || self.eat("'") {
            let close = if self.text.as_bytes().get(self.at - 1) == Some(&b'\'') { '\'' } else { '>' };
            let index = self.named_group(start, close)?;
            Box::new(move |node| Node::Capture(index, Box::new(node)))
        } else if self.eat("~") {
            return Err(
                self.problem(start, "the absent operator `(?~…)` is not supported; write a look-ahead, `(?!…)`")
            );
        } else if self.eat("(") {
            return Err(self.problem(start, "a conditional `(?(…)…)` is not supported; write alternatives, `(?:a|b)`"));
        } else {
            let rest = self.rest();
            let length = rest.find(|c: char| !matches!(c, 'a'..='z' | 'A'..='Z' | '-')).unwrap_or(rest.len());
            inner = self.changed(options, self.at, rest.get(..length).unwrap_or_default())?;
            self.at += length;
            if length == 0 || !self.eat(":") {
                return Err(self.problem(start, "an undefined kind of group `(?`"));
            }
            Box::new(|node| node)
        };
        let node = self.alternatives(inner)?;
        if !self.eat(")") {
            return Err(self.problem(start, "a `(` without its `)`"));
        }
        let node = wrap(node);
        self.check_look_behind(start, &node)?;
        Ok(Some(Item { node, folded: None }))
    }

    fn named_group(&mut self, start: usize, close: char) -> Result<usize, Problem> {
        let rest = self.rest();
        let length =
            rest.find([close, ')', '(', '\n']).filter(|at| rest.get(*at..).is_some_and(|r| r.starts_with(close)));
        let Some(length) = length else {
            return Err(self.problem(start, format!("a group name `(?<` without its `{close}`")));
        };
        let name = rest.get(..length).unwrap_or_default();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return Err(self.problem(start, format!("invalid group name `{name}`")));
        }
        self.at += length + 1;
        self.groups.push(name.to_owned());
        Ok(self.groups.len() - 1)
    }

    /// Each alternative of a look-behind has one length, as in Oniguruma.
    fn check_look_behind(&self, start: usize, node: &Node) -> Result<(), Problem> {
        let Node::Look { is_behind: true, is_negative, node } = node else { return Ok(()) };
        let branches = match &**node {
            Node::Alt(branches) => branches.as_slice(),
            node => std::slice::from_ref(node),
        };
        if branches.iter().any(|branch| branch.fixed_len().is_none()) {
            return Err(self.problem(start, "a look-behind of no fixed length"));
        }
        if *is_negative && node.captures() {
            return Err(self.problem(start, "a group is captured in a negative look-behind"));
        }
        Ok(())
    }

    fn escape(&mut self, start: usize, options: Options) -> Result<Item, Problem> {
        let Some(c) = self.bump() else { return Err(self.problem(start, "a `\\` at the end")) };
        let node = match c {
            'A' => Node::Assert(Assert::TextStart),
            'z' => Node::Assert(Assert::TextEnd),
            'Z' => Node::Assert(Assert::TextEndNewline),
            'b' => Node::Assert(Assert::WordEdge),
            'B' => Node::Assert(Assert::NoWordEdge),
            'K' => Node::Keep,
            'R' => {
                let pair = Node::Concat(vec![Node::char('\r'), Node::char('\n')]);
                let one = set_of(&[('\n', '\r'), ('\u{85}', '\u{85}'), ('\u{2028}', '\u{2029}')]);
                Node::Atomic(Box::new(Node::Alt(vec![pair, Node::Set(one)])))
            }
            'X' => return Err(self.problem(start, "a grapheme `\\X` is not supported; write `.`")),
            'G' => return Err(self.problem(start, "`\\G` is not supported; write `\\A`")),
            'g' => {
                return Err(
                    self.problem(start, "recursion `\\g<…>` is not supported; write out the levels that you need")
                );
            }
            'k' => return self.named_backreference(start).map(|node| Item { node, folded: None }),
            '1'..='9' => {
                self.at = start + 1;
                let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
                let number =
                    self.rest().get(..digits).and_then(|text| text.parse::<usize>().ok()).unwrap_or(usize::MAX);
                if digits > 1 && number > self.groups.len() && number > 9 {
                    let Some(c) = self.octal(3) else {
                        return Err(self.problem(start, format!("invalid backreference `\\{number}`")));
                    };
                    return Ok(literal(c, options));
                }
                self.at += digits;
                return self.backreference(start, number).map(|node| Item { node, folded: None });
            }
            'p' | 'P' => {
                let NamedClass { set, .. } = self.property(start, c == 'P', options.ignores_case)?;
                Node::Set(std::sync::Arc::new(set))
            }
            _ => {
                self.at = start;
                return match self.class_escape(options)? {
                    Escaped::Char(c) => Ok(literal(c, options)),
                    Escaped::Set(NamedClass { set, .. }) => {
                        Ok(Item { node: Node::Set(std::sync::Arc::new(set)), folded: None })
                    }
                };
            }
        };
        Ok(Item { node, folded: None })
    }

    fn refuse_backreference(&self, start: usize) -> Result<(), Problem> {
        if self.allows_backreferences {
            return Ok(());
        }
        let construct = self.text.get(start..self.at).unwrap_or_default();
        let message = format!(
            "the backreference `{construct}` can't be matched in linear time; leave it out, or choose `engine: backtracking`"
        );
        Err(self.problem(start, message))
    }

    fn backreference(&mut self, start: usize, number: usize) -> Result<Node, Problem> {
        self.refuse_backreference(start)?;
        if !self.keeps_numbered {
            return Err(self.problem(start, "a numbered backreference beside named groups; name it: `\\k<name>`"));
        }
        if number > self.groups.len() {
            return Err(self.problem(start, format!("there is no group {number} before `\\{number}`")));
        }
        Ok(Node::Backreference(vec![number - 1]))
    }

    fn named_backreference(&mut self, start: usize) -> Result<Node, Problem> {
        let close = match self.bump() {
            Some('<') => '>',
            Some('\'') => '\'',
            _ => return Err(self.problem(start, "`\\k` without a name: `\\k<name>`")),
        };
        let rest = self.rest();
        let Some(length) = rest.find(close) else {
            return Err(self.problem(start, "`\\k<` without its `>`"));
        };
        let name = rest.get(..length).unwrap_or_default();
        self.at += length + 1;
        self.refuse_backreference(start)?;
        let groups: Vec<usize> = (0..self.groups.len()).filter(|index| self.groups[*index] == name).collect();
        match name.parse::<usize>() {
            Ok(number) if groups.is_empty() && number > 0 => self.backreference(start, number),
            _ if groups.is_empty() => {
                Err(self.problem(start, format!("there is no group `{name}` before `\\k<{name}>`")))
            }
            _ => Ok(Node::Backreference(groups)),
        }
    }

    fn octal(&mut self, digits_max: usize) -> Option<char> {
        let rest = self.rest();
        let length = rest.bytes().take(digits_max).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        let value = u32::from_str_radix(rest.get(..length)?, 8).ok()?;
        self.at += length;
        char::from_u32(value)
    }

    /// An escape that means the same in a class and outside.
    fn class_escape(&mut self, options: Options) -> Result<Escaped, Problem> {
        let start = self.at;
        self.bump();
        let Some(c) = self.bump() else { return Err(self.problem(start, "a `\\` at the end")) };
        let char = match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\x0c',
            'v' => '\x0b',
            'a' => '\x07',
            'e' => '\x1b',
            '0'..='7' => {
                self.at -= 1;
                self.octal(3).ok_or_else(|| self.problem(start, "expected the octal number of a character"))?
            }
            'x' => self.hexadecimal(start, 2)?,
            'u' => self.hexadecimal(start, 4)?,
            'c' => self.control(start)?,
            'C' | 'M' => return Err(self.problem(start, format!("`\\{c}-` is not supported; write `\\x…`"))),
            'w' | 'W' | 'd' | 'D' | 's' | 'S' | 'h' | 'H' => {
                let crosses = !matches!(c, 'w' | 'W');
                return Ok(Escaped::Set(NamedClass { set: shorthand(c, options), crosses }));
            }
            'p' | 'P' => return self.property(start, c == 'P', false).map(Escaped::Set),
            c => c,
        };
        Ok(Escaped::Char(char))
    }

    fn hexadecimal(&mut self, start: usize, digits: usize) -> Result<char, Problem> {
        let rest = self.rest();
        let (text, length) = if let Some(inner) = rest.strip_prefix('{') {
            let length = inner.find('}').ok_or_else(|| self.problem(start, "`{` without its `}`"))?;
            (inner.get(..length).unwrap_or_default(), length + 2)
        } else {
            let length = rest.bytes().take(digits).take_while(u8::is_ascii_hexdigit).count();
            (rest.get(..length).unwrap_or_default(), length)
        };
        let value = u32::from_str_radix(text.trim(), 16).ok().and_then(char::from_u32);
        let value = value.ok_or_else(|| self.problem(start, "expected the hexadecimal number of a character"))?;
        self.at += length;
        Ok(value)
    }

    fn control(&mut self, start: usize) -> Result<char, Problem> {
        match self.bump() {
            Some(c) if c.is_ascii() => Ok(char::from(c as u8 & 0x1f)),
            _ => Err(self.problem(start, "expected a control character, as `\\cA`")),
        }
    }

    /// `folds`: where case does not matter, outside of classes; inside, the class folds.
    fn property(&mut self, start: usize, is_negated: bool, folds: bool) -> Result<NamedClass, Problem> {
        let unclosed = || Problem { at: start, message: "expected `\\p{name}`".to_owned() };
        let inner = self.rest().strip_prefix('{').ok_or_else(unclosed)?;
        let length = inner.find('}').ok_or_else(unclosed)?;
        let name = inner.get(..length).unwrap_or_default();
        self.at += length + 2;
        let (name, is_negated) = match name.strip_prefix('^') {
            Some(name) => (name, !is_negated),
            None => (name, is_negated),
        };
        let plain: String =
            name.chars().filter(|c| !matches!(c, ' ' | '_' | '-')).collect::<String>().to_ascii_lowercase();
        let set = posix(&plain, false).or_else(|| unicode_class(&format!("\\p{{{name}}}")));
        let mut set = set.ok_or_else(|| self.problem(start, format!("unknown character property `{name}`")))?;
        let crosses = plain != "ascii";
        if folds && crosses {
            set.case_fold_simple();
        }
        if is_negated {
            set.negate();
        }
        Ok(NamedClass { set, crosses })
    }

    /// The class after its `[`.
    fn class(&mut self, start: usize, options: Options) -> Result<ClassUnicode, Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.problem(start, format!("classes are nested more than {DEPTH_MAX} deep")));
        }
        let is_negated = self.eat("^");
        let unclosed = Problem { at: start, message: "a character class `[` without its `]`".to_owned() };
        let mut set = Members::default();
        let mut whole: Option<ClassUnicode> = None;
        let first = self.at;
        loop {
            let at = self.at;
            let Some(c) = self.peek() else { return Err(unclosed) };
            match c {
                ']' if at == first => {
                    // As in Oniguruma: it is a character if another one closes the class.
                    if !self.rest().get(1..).is_some_and(|rest| rest.contains(']')) {
                        return Err(self.problem(start, "an empty character class"));
                    }
                    self.at += 1;
                    self.class_range(at, ']', &mut set, options)?;
                }
                ']' => {
                    self.at += 1;
                    break;
                }
                '&' if self.eat("&&") => {
                    whole = Some(intersected(whole, &std::mem::take(&mut set).folded(options)));
                }
                '[' => {
                    if let Some(posix) = self.posix_bracket(options)? {
                        set.add_class(&posix);
                    } else {
                        self.at += 1;
                        let nested = self.class(at, options)?;
                        set.all.union(&nested);
                    }
                }
                '\\' if self.rest().starts_with("\\R") || self.rest().starts_with("\\X") => {
                    self.at += 1;
                }
                '\\' if self.rest().starts_with("\\b") => {
                    self.at += 2;
                    self.class_range(at, '\x08', &mut set, options)?;
                }
                '\\' => match self.class_escape(options)? {
                    Escaped::Char(c) => self.class_range(at, c, &mut set, options)?,
                    Escaped::Set(escaped) => set.add_class(&escaped),
                },
                c => {
                    self.bump();
                    self.class_range(at, c, &mut set, options)?;
                }
            }
        }
        let mut set = intersected(whole, &set.folded(options));
        if is_negated {
            set.negate();
        }
        self.depth -= 1;
        Ok(set)
    }

    /// `c`, or the range that starts with it.
    fn class_range(&mut self, at: usize, c: char, set: &mut Members, options: Options) -> Result<(), Problem> {
        let rest = self.rest();
        let mut to = c;
        if let Some(behind) = rest.strip_prefix('-')
            && !behind.starts_with(']')
            && !behind.starts_with("&&")
            && !behind.is_empty()
        {
            let before = self.at;
            self.at += 1;
            let end = match self.peek() {
                Some('[') => None,
                Some('\\') if self.rest().starts_with("\\b") => {
                    self.at += 2;
                    Some('\x08')
                }
                Some('\\') => match self.class_escape(options)? {
                    Escaped::Char(c) => Some(c),
                    Escaped::Set(_) => None,
                },
                Some(_) => self.bump(),
                None => None,
            };
            match end {
                Some(end) if end < c => return Err(self.problem(at, format!("an empty range `{c}-{end}`"))),
                Some(end) => to = end,
                // `[a-\d]`, `[a-[b]]`: the `-` is a character.
                None => {
                    self.at = before + 1;
                    set.add('-', '-');
                }
            }
        }
        set.add(c, to);
        Ok(())
    }

    /// `[:alpha:]`, `[:^alpha:]` at a `[` within a class.
    fn posix_bracket(&mut self, options: Options) -> Result<Option<NamedClass>, Problem> {
        let Some(inner) = self.rest().strip_prefix("[:") else { return Ok(None) };
        let Some(length) = inner.find(":]").filter(|length| *length <= 20) else { return Ok(None) };
        let name = inner.get(..length).unwrap_or_default();
        let (plain, is_negated) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        if !plain.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Ok(None);
        }
        let Some(mut set) = posix(plain, options.ascii) else {
            return Err(self.problem(self.at, format!("unknown class `[:{name}:]`")));
        };
        if is_negated {
            set.negate();
        }
        self.at += 2 + length + 2;
        Ok(Some(NamedClass { set, crosses: !options.ascii && !matches!(plain, "word" | "ascii") }))
    }
}

/// The least, the most, and where it ends.
type Interval = (u32, Option<u32>, usize);

enum Escaped {
    Char(char),
    Set(NamedClass),
}

/// A class of characters with a name.
struct NamedClass {
    set: ClassUnicode,
    /// Where case does not matter, it brings in characters from the other side of ASCII's border.
    crosses: bool,
}

fn look(is_behind: bool, is_negative: bool) -> Box<dyn FnOnce(Node) -> Node> {
    Box::new(move |node| Node::Look { is_behind, is_negative, node: Box::new(node) })
}

fn dot(options: Options) -> Node {
    let mut set = if options.dot_all { class_of(&[]) } else { class_of(&[('\n', '\n')]) };
    set.negate();
    Node::Set(std::sync::Arc::new(set))
}

fn intersected(whole: Option<ClassUnicode>, set: &ClassUnicode) -> ClassUnicode {
    match whole {
        Some(mut whole) => {
            whole.intersect(set);
            whole
        }
        None => set.clone(),
    }
}

/// What stands in a class.
struct Members {
    all: ClassUnicode,
    /// Those of them for which one from the other side of ASCII's border comes in, where case does not matter.
    crossing: ClassUnicode,
}

impl Default for Members {
    fn default() -> Self {
        Self { all: class_of(&[]), crossing: class_of(&[]) }
    }
}

impl Members {
    fn add(&mut self, from: char, to: char) {
        self.add_class(&NamedClass { set: class_of(&[(from, to)]), crosses: true });
    }

    fn add_class(&mut self, class: &NamedClass) {
        self.all.union(&class.set);
        if class.crosses {
            self.crossing.union(&class.set);
        }
    }

    /// With the other cases of all, if case does not matter. As in Oniguruma, those of a class of characters for which ASCII counts
    /// stay on their side of its border: `\W` has the Kelvin sign, but no `k` for that.
    fn folded(self, options: Options) -> ClassUnicode {
        let Self { mut all, mut crossing } = self;
        if options.ignores_case {
            let ascii = class_of(&[('\0', '\x7f')]);
            let mut wide = ascii.clone();
            wide.negate();
            crossing.case_fold_simple();
            let sides = [ascii, wide].map(|side| {
                let mut of_side = all.clone();
                of_side.intersect(&side);
                of_side.case_fold_simple();
                of_side.intersect(&side);
                of_side
            });
            sides.iter().chain([&crossing]).for_each(|more| all.union(more));
        }
        all
    }
}

fn literal(c: char, options: Options) -> Item {
    if !options.ignores_case {
        return Item { node: Node::char(c), folded: None };
    }
    let mut set = class_of(&[(c, c)]);
    set.case_fold_simple();
    let set = Node::Set(std::sync::Arc::new(set));
    let node = match FULL_FOLDS.iter().find(|(from, _)| *from == c) {
        Some((_, to)) => Node::Alt(vec![set, folded_text(to)]),
        None => set,
    };
    Item { node, folded: Some(c) }
}

/// Letters that fold to several (status F of Unicode's CaseFolding), those of scripts in use.
const FULL_FOLDS: &[(char, &str)] = &[
    ('\u{df}', "ss"),
    ('\u{1e9e}', "ss"),
    ('\u{fb03}', "ffi"),
    ('\u{fb04}', "ffl"),
    ('\u{fb00}', "ff"),
    ('\u{fb01}', "fi"),
    ('\u{fb02}', "fl"),
    ('\u{fb05}', "st"),
    ('\u{fb06}', "st"),
    ('\u{149}', "\u{2bc}n"),
    ('\u{130}', "i\u{307}"),
    ('\u{1f0}', "j\u{30c}"),
    ('\u{390}', "\u{3b9}\u{308}\u{301}"),
    ('\u{3b0}', "\u{3c5}\u{308}\u{301}"),
    ('\u{587}', "\u{565}\u{582}"),
];

fn folded_text(text: &str) -> Node {
    let letters = text.chars().map(|c| {
        let mut set = class_of(&[(c, c)]);
        set.case_fold_simple();
        Node::Set(std::sync::Arc::new(set))
    });
    Node::concat(letters.collect())
}

/// The items one after the other; where case does not matter, letters that one letter folds to match that one too.
fn sequence(items: Vec<Item>) -> Node {
    let mut nodes = Vec::with_capacity(items.len());
    let mut items = items.into_iter().peekable();
    let mut run: Vec<Item> = Vec::new();
    loop {
        let next = items.next();
        match next {
            Some(item) if item.folded.is_some() => run.push(item),
            next => {
                flush(&mut run, &mut nodes);
                match next {
                    Some(item) => nodes.push(item.node),
                    None => return Node::concat(nodes),
                }
            }
        }
    }
}

fn flush(run: &mut Vec<Item>, nodes: &mut Vec<Node>) {
    let letters: String = run.iter().filter_map(|item| item.folded).flat_map(char::to_lowercase).collect();
    let letters: Vec<char> = letters.chars().collect();
    let is_one_to_one = letters.len() == run.len();
    let mut at = 0;
    let mut items = std::mem::take(run).into_iter();
    while let Some(item) = items.next() {
        let rest = letters.get(at..).unwrap_or_default();
        let found: Vec<&(char, &str)> = if is_one_to_one {
            let longest = FULL_FOLDS.iter().filter(|(_, to)| starts_with(rest, to)).map(|(_, to)| to.len()).max();
            FULL_FOLDS.iter().filter(|(_, to)| Some(to.len()) == longest && starts_with(rest, to)).collect()
        } else {
            Vec::new()
        };
        let Some((_, to)) = found.first() else {
            nodes.push(item.node);
            at += 1;
            continue;
        };
        let count = to.chars().count();
        let mut parts = vec![item.node];
        parts.extend(items.by_ref().take(count - 1).map(|item| item.node));
        let ranges: Vec<(char, char)> = found.iter().map(|(from, _)| (*from, *from)).collect();
        nodes.push(Node::Alt(vec![Node::concat(parts), Node::Set(set_of(&ranges))]));
        at += count;
    }
}

fn starts_with(letters: &[char], text: &str) -> bool {
    let mut letters = letters.iter();
    text.chars().all(|c| letters.next() == Some(&c))
}

fn shorthand(c: char, options: Options) -> ClassUnicode {
    let is_ascii = !options.unicode;
    let mut set = match c.to_ascii_lowercase() {
        'w' => posix("word", is_ascii),
        'd' => posix("digit", is_ascii),
        's' => posix("space", is_ascii),
        _ => posix("xdigit", true),
    }
    .unwrap_or_else(|| class_of(&[]));
    if c.is_ascii_uppercase() {
        set.negate();
    }
    set
}

/// The class of that POSIX name, in small letters.
fn posix(name: &str, is_ascii: bool) -> Option<ClassUnicode> {
    let ranges: &[(char, char)] = match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[(' ', ' '), ('\t', '\t')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        "any" => &[('\0', char::MAX)],
        _ => return None,
    };
    let ascii = class_of(ranges);
    let text = match name {
        _ if is_ascii => return Some(ascii),
        "alnum" => r"[\p{Alphabetic}\p{M}\p{Nd}]",
        "alpha" => r"[\p{Alphabetic}\p{M}]",
        "blank" => r"[\p{Zs}\t]",
        "cntrl" => r"[\p{Cc}\p{Cf}\p{Co}]",
        "digit" => r"\p{Nd}",
        "graph" => r"[^\p{White_Space}\p{Cc}\p{Cn}]",
        "lower" => r"\p{Lowercase}",
        "print" => r"[[^\p{White_Space}\p{Cc}\p{Cn}]\p{Zs}]",
        "punct" => r"[\p{P}$+<=>^`|~]",
        "space" => r"\p{White_Space}",
        "upper" => r"\p{Uppercase}",
        "word" => r"[\p{L}\p{M}\p{Nd}\p{Pc}]",
        _ => return Some(ascii),
    };
    unicode_class(text)
}

/// A class as the crate regex-syntax writes it.
fn unicode_class(text: &str) -> Option<ClassUnicode> {
    match regex_syntax::parse(text).ok()?.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            text.chars().next().map(|c| class_of(&[(c, c)]))
        }
        _ => None,
    }
}
