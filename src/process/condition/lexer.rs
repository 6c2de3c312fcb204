//! Cuts the text of a condition into tokens with their positions.

use crate::event::{FieldPath, SyntaxError};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A word that is no literal: a keyword, or a field without brackets.
    Word(&'a str),
    /// `[`, which opens a list or a field.
    Open,
    /// Between the quotes, as it is written. Between `/` it is a regular expression.
    Text {
        inner: &'a str,
        quote: char,
    },
    Int(i64),
    Float(f64),
    /// `==`, `(`, `,`, …
    Sign(&'static str),
    End,
}

/// Two-byte signs first, so that `<=` is not `<`.
const SIGNS: [&str; 13] = ["==", "!=", "=~", "!~", "<=", ">=", "<", ">", "(", ")", "]", ",", "["];

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), SyntaxError> {
        let blank = self.rest().len() - self.rest().trim_start().len();
        self.at += blank;
        let (start, rest) = (self.at, self.rest());
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start)) };
        if matches!(first, '\'' | '"' | '/') {
            return Ok((self.text(first)?, start));
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            self.at += sign.len();
            return Ok((if sign == "[" { Token::Open } else { Token::Sign(sign) }, start));
        }
        for (wrong, right) in [("&&", "and"), ("||", "or"), ("=", "=="), ("!", "not")] {
            if rest.starts_with(wrong) {
                return Err(SyntaxError::new(start, format!("expected `{right}` instead of `{wrong}`")));
            }
        }
        let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        if length == 0 {
            return Err(SyntaxError::new(start, format!("`{first}` has no meaning here; quote text as '{first}'")));
        }
        let word = rest.get(..length).unwrap_or_default();
        self.at += length;
        Ok((word_token(word, start)?, start))
    }

    /// A bracketed field whose `[` was just read at `start`: through its last `]`.
    pub(super) fn field(&mut self, start: usize) -> Result<FieldPath, SyntaxError> {
        let mut end = start;
        while self.text.get(end..).is_some_and(|rest| rest.starts_with('[')) {
            let Some(length) = self.text.get(end..).and_then(|rest| rest.find(']')) else {
                return Err(SyntaxError::new(self.text.len(), "expected `]`"));
            };
            end += length + 1;
        }
        let path = self.text.get(start..end).unwrap_or_default();
        self.at = end;
        FieldPath::parse(path).map_err(|error| SyntaxError { at: error.at + start, ..error })
    }

    /// A copy that reads on from here: to look further ahead.
    pub(super) fn ahead(&self) -> Self {
        Self { text: self.text, at: self.at }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn text(&mut self, quote: char) -> Result<Token<'a>, SyntaxError> {
        let start = self.at;
        let mut escaped = false;
        for (index, character) in self.rest().char_indices().skip(1) {
            if character == quote && !escaped {
                let inner = self.text.get(start + 1..start + index).unwrap_or_default();
                self.at += index + 1;
                return Ok(Token::Text { inner, quote });
            }
            escaped = character == '\\' && !escaped;
        }
        Err(SyntaxError::new(start, format!("expected a closing `{quote}`")))
    }
}

/// What a text stands for: `\\`, `\'`, `\"`, `\n`, `\r` and `\t` are escapes. `at` is where `inner` starts.
pub(super) fn unescape(inner: &str, at: usize) -> Result<String, SyntaxError> {
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.char_indices();
    while let Some((index, character)) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        text.push(match characters.next() {
            Some((_, same @ ('\\' | '\'' | '"'))) => same,
            Some((_, 'n')) => '\n',
            Some((_, 'r')) => '\r',
            Some((_, 't')) => '\t',
            _ => {
                let message = "expected an escape: one of `\\\\`, `\\'`, `\\\"`, `\\n`, `\\r`, `\\t`";
                return Err(SyntaxError::new(at + index, message));
            }
        });
    }
    Ok(text)
}

/// A regular expression: only its quote is an escape, the rest is for the expression.
pub(super) fn unescape_regex(inner: &str, quote: char) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some(same) if same == quote => text.push(same),
            other => {
                text.push('\\');
                text.extend(other);
            }
        }
    }
    text
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '@' | '-' | '+')
}

fn word_token(word: &str, at: usize) -> Result<Token<'_>, SyntaxError> {
    if !word.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
        return Ok(Token::Word(word));
    }
    if let Ok(number) = word.parse() {
        return Ok(Token::Int(number));
    }
    // Rust's own parser also takes words as `infinity`.
    let is_decimal = word.chars().all(|character| matches!(character, '0'..='9' | '.' | '-' | '+' | 'e' | 'E'));
    match word.parse::<f64>() {
        Ok(number) if is_decimal && number.is_finite() => Ok(Token::Float(number)),
        _ => Err(SyntaxError::new(at, format!("`{word}` is not a number; quote text, or write a field as `[{word}]`"))),
    }
}
