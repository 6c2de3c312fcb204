//! Reads a condition by recursive descent; the depth is bounded, so that no text overflows the stack.

use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};

use super::eval::with_text;
use super::lexer::{Lexer, Token, unescape, unescape_regex};
use super::{Comparison, Expression, List, Operand, Part};
use crate::event::{FieldPath, SyntaxError, Value};

/// Levels of parentheses and `not`.
const DEPTH_MAX: usize = 64;

/// Bytes that a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

const KEYWORDS: [&str; 8] = ["and", "nand", "or", "xor", "not", "in", "contains", "exists"];

pub(super) fn parse(text: &str) -> Result<Expression, SyntaxError> {
    let mut lexer = Lexer::new(text);
    let (token, at) = lexer.next()?;
    let mut parser = Parser { lexer, token, at, depth: 0, nands: 0 };
    let expression = parser.or()?;
    match parser.token {
        Token::End => Ok(expression),
        _ => Err(parser.expected("`and`, `or`, `xor`, `nand` or the end")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token not yet taken, and where it starts.
    token: Token<'a>,
    at: usize,
    depth: usize,
    /// Each is a level for what is before it.
    nands: usize,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Expression, SyntaxError> {
        let first = self.xor()?;
        self.joined("or", first, Self::xor, Expression::Or)
    }

    fn xor(&mut self) -> Result<Expression, SyntaxError> {
        let first = self.and()?;
        self.joined("xor", first, Self::and, Expression::Xor)
    }

    /// From the left: `a and b nand c` is `not ((a and b) and c)`.
    fn and(&mut self) -> Result<Expression, SyntaxError> {
        let mut left = self.unary()?;
        loop {
            left = self.joined("and", left, Self::unary, Expression::And)?;
            let at = self.at;
            if !self.takes_word("nand")? {
                return Ok(left);
            }
            self.nands += 1;
            if self.nands > DEPTH_MAX {
                return Err(SyntaxError::new(at, format!("expected at most {DEPTH_MAX} `nand`")));
            }
            left = not(Expression::And(vec![left, self.unary()?]));
        }
    }

    /// What follows `first` behind the same word each time.
    fn joined(
        &mut self,
        word: &'static str,
        first: Expression,
        next: fn(&mut Self) -> Result<Expression, SyntaxError>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, SyntaxError> {
        let mut all = vec![first];
        while self.takes_word(word)? {
            all.push(next(self)?);
        }
        Ok(match <[Expression; 1]>::try_from(all) {
            Ok([only]) => only,
            Err(all) => join(all),
        })
    }

    fn unary(&mut self) -> Result<Expression, SyntaxError> {
        if self.depth == DEPTH_MAX && matches!(self.token, Token::Word("not") | Token::Sign("(")) {
            return Err(SyntaxError::new(self.at, format!("expected at most {DEPTH_MAX} levels of `(` and `not`")));
        }
        self.depth += 1;
        let expression = if self.takes_word("not")? {
            Expression::Not(Box::new(self.unary()?))
        } else if self.takes_sign("(")? {
            let inner = self.or()?;
            self.expects_sign(")")?;
            inner
        } else if self.takes_word("exists")? {
            self.expects_sign("(")?;
            let field = self.field()?;
            self.expects_sign(")")?;
            Expression::Exists(field)
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn comparison(&mut self) -> Result<Expression, SyntaxError> {
        let is_bracketed = self.token == Token::Open;
        let Some(left) = self.operand()? else { return Err(self.expected("a condition")) };
        let at = self.at;
        let operator = self.token.clone();
        let comparison = match operator {
            Token::Sign("==" | "!=") => Comparison::Equal,
            Token::Sign("<") => Comparison::Less,
            Token::Sign("<=") => Comparison::LessOrEqual,
            Token::Sign(">") => Comparison::Greater,
            Token::Sign(">=") => Comparison::GreaterOrEqual,
            Token::Sign("=~" | "!~") => {
                let field = only_a_field(left, at)?;
                self.advance()?;
                let regex = self.regex()?;
                let matches = Expression::Matches { field, regex };
                return Ok(if operator == Token::Sign("!~") { not(matches) } else { matches });
            }
            Token::Word("contains") => {
                let field = only_a_field(left, at)?;
                self.advance()?;
                let part = match self.value()? {
                    Operand::Field(field) => Part::Field(field),
                    Operand::Literal(value) => {
                        let finder = with_text(&(&value).into(), |text| Box::new(Finder::new(text).into_owned()));
                        Part::Literal(value, finder)
                    }
                };
                return Ok(Expression::Contains { field, part });
            }
            Token::Word("exists") => {
                let field = only_a_field(left, at)?;
                self.advance()?;
                return Ok(Expression::Exists(field));
            }
            Token::Word("in") => {
                let list = self.list()?;
                return Ok(Expression::In { value: left, list });
            }
            Token::Word("not") => {
                self.advance()?;
                if self.token != Token::Word("in") {
                    return Err(self.expected("`in` after `not`"));
                }
                let list = self.list()?;
                return Ok(not(Expression::In { value: left, list }));
            }
            Token::End | Token::Word("and" | "nand" | "or" | "xor") | Token::Sign(")") if is_bracketed => {
                return Ok(Expression::Says(only_a_field(left, at)?));
            }
            _ => return Err(self.expected("an operator as `==`, `<`, `in`, `=~`, `contains` or `exists`")),
        };
        self.advance()?;
        let right = self.value()?;
        let compare = Expression::Compare { left, comparison, right };
        Ok(if operator == Token::Sign("!=") { not(compare) } else { compare })
    }

    /// A field or a literal, if one stands here.
    fn operand(&mut self) -> Result<Option<Operand>, SyntaxError> {
        if let Some(literal) = self.literal()? {
            return Ok(Some(Operand::Literal(literal)));
        }
        match self.token {
            Token::Word(word) if KEYWORDS.contains(&word) => Ok(None),
            Token::Word(_) | Token::Open => self.field().map(|field| Some(Operand::Field(field))),
            _ => Ok(None),
        }
    }

    fn value(&mut self) -> Result<Operand, SyntaxError> {
        match self.operand()? {
            Some(operand) => Ok(operand),
            None => Err(self.expected("a value")),
        }
    }

    fn literal(&mut self) -> Result<Option<Value>, SyntaxError> {
        let value = match self.token {
            Token::Text { quote: '/', .. } => {
                let message = "a regular expression stands behind `=~` or `!~`; quote text as 'x'";
                return Err(SyntaxError::new(self.at, message));
            }
            Token::Text { inner, .. } => Value::from(unescape(inner, self.at + 1)?),
            Token::Int(number) => Value::Int(number),
            Token::Float(number) => Value::Float(number),
            Token::Word("true") => Value::Bool(true),
            Token::Word("false") => Value::Bool(false),
            Token::Word("null") => Value::Null,
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(value))
    }

    fn field(&mut self) -> Result<FieldPath, SyntaxError> {
        let field = match self.token {
            Token::Word(word) if !KEYWORDS.contains(&word) => {
                FieldPath::parse(word).map_err(|error| SyntaxError { at: error.at + self.at, ..error })?
            }
            Token::Open => self.lexer.field(self.at)?,
            _ => return Err(self.expected("a field")),
        };
        self.advance()?;
        Ok(field)
    }

    /// What stands behind `in`: `[` opens a list if a literal or `]` follows, else a field.
    fn list(&mut self) -> Result<List, SyntaxError> {
        self.advance()?;
        let is_field = match self.token {
            Token::Word(_) => true,
            Token::Open => matches!(
                self.lexer.ahead().next()?.0,
                Token::Word(word) if !matches!(word, "true" | "false" | "null")
            ),
            _ => return Err(self.expected("a list as `[1, 2]`, or a field")),
        };
        if is_field {
            return self.field().map(List::Field);
        }
        self.advance()?;
        let mut literals = Vec::new();
        while !self.takes_sign("]")? {
            if !literals.is_empty() {
                self.expects_sign(",")?;
            }
            match self.literal()? {
                Some(literal) => literals.push(literal),
                None => return Err(self.expected("a literal")),
            }
        }
        Ok(List::Literals(literals))
    }

    fn regex(&mut self) -> Result<Regex, SyntaxError> {
        let Token::Text { inner, quote } = self.token else {
            return Err(self.expected("a regular expression, as '^x' or /^x/"));
        };
        let regex = RegexBuilder::new(&unescape_regex(inner, quote))
            .multi_line(true)
            .size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| {
                // A message of one line: the last one of the error's says what it is.
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                SyntaxError::new(self.at, format!("the regular expression can't be used: {why}"))
            })?;
        self.advance()?;
        Ok(regex)
    }

    fn advance(&mut self) -> Result<(), SyntaxError> {
        (self.token, self.at) = self.lexer.next()?;
        Ok(())
    }

    fn takes_word(&mut self, word: &'static str) -> Result<bool, SyntaxError> {
        let takes = self.token == Token::Word(word);
        if takes {
            self.advance()?;
        }
        Ok(takes)
    }

    fn takes_sign(&mut self, sign: &'static str) -> Result<bool, SyntaxError> {
        let takes = self.token == Token::Sign(sign);
        if takes {
            self.advance()?;
        }
        Ok(takes)
    }

    fn expects_sign(&mut self, sign: &'static str) -> Result<(), SyntaxError> {
        if self.takes_sign(sign)? { Ok(()) } else { Err(self.expected(&format!("`{sign}`"))) }
    }

    fn expected(&self, what: &str) -> SyntaxError {
        SyntaxError::new(self.at, format!("expected {what}"))
    }
}

fn not(expression: Expression) -> Expression {
    Expression::Not(Box::new(expression))
}

fn only_a_field(operand: Operand, at: usize) -> Result<FieldPath, SyntaxError> {
    match operand {
        Operand::Field(field) => Ok(field),
        Operand::Literal(_) => Err(SyntaxError::new(at, "expected a field before this operator, not a literal")),
    }
}
