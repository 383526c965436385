//! Words, strings and signs of an expression, with their places.

use super::FilterError;

/// A piece of an expression.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    /// A field, a keyword, a number or a value without quotes.
    Word(String),
    /// A value in quotes.
    Quoted(Vec<u8>),
    /// An operator, parenthesis or comma.
    Sign(&'static str),
    /// Behind the last character.
    End,
}

/// A token and the character at which it begins, from 1.
pub(super) type Placed = (usize, Token);

/// Longest first, so that `<=` is not read as `<`.
const SIGNS: [&str; 12] = [
    "!=", "^=", "$=", "<=", ">=", "=", "~", "<", ">", "(", ")", ",",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, FilterError> {
    let characters: Vec<char> = text.chars().collect();
    let mut scanner = Scanner {
        rest: &characters,
        position: 1,
    };
    let mut tokens = Vec::new();
    while let Some(token) = scanner.next()? {
        tokens.push(token);
    }
    tokens.push((scanner.position, Token::End));
    Ok(tokens)
}

struct Scanner<'a> {
    rest: &'a [char],
    position: usize,
}

impl Scanner<'_> {
    fn next(&mut self) -> Result<Option<Placed>, FilterError> {
        self.take_while(char::is_whitespace);
        let position = self.position;
        let token = match self.rest.first() {
            None => return Ok(None),
            Some(quote @ ('\'' | '"')) => Token::Quoted(self.quoted(*quote)?),
            Some(c) if is_word(*c) => Token::Word(self.take_while(is_word)),
            Some(c) => self.sign().ok_or_else(|| FilterError {
                position,
                problem: format!("unexpected `{}`", c.escape_default()),
            })?,
        };
        Ok(Some((position, token)))
    }

    fn sign(&mut self) -> Option<Token> {
        let begins = |sign: &&&str| {
            sign.chars().zip(self.rest).filter(|(a, b)| a == *b).count() == sign.len()
        };
        let sign = SIGNS.iter().find(begins)?;
        self.skip(sign.len());
        Some(Token::Sign(sign))
    }

    fn quoted(&mut self, quote: char) -> Result<Vec<u8>, FilterError> {
        let open = self.position;
        self.skip(1);
        let mut value = Vec::new();
        loop {
            match self.pop() {
                None => return Err(error(open, "the text in quotes does not end")),
                Some(c) if c == quote => return Ok(value),
                Some('\\') => value.push(self.escape()?),
                Some(c) => value.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
    }

    fn escape(&mut self) -> Result<u8, FilterError> {
        let position = self.position.saturating_sub(1);
        let wrong = || error(position, r#"use \\, \', \", \n, \t or \xHH"#);
        match self.pop().ok_or_else(wrong)? {
            '\\' => Ok(b'\\'),
            '\'' => Ok(b'\''),
            '"' => Ok(b'"'),
            'n' => Ok(b'\n'),
            't' => Ok(b'\t'),
            'x' => {
                let digits: String = [self.pop(), self.pop()].into_iter().flatten().collect();
                u8::from_str_radix(&digits, 16).map_err(|_not_hex| wrong())
            }
            _ => Err(wrong()),
        }
    }

    fn pop(&mut self) -> Option<char> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.position = self.position.saturating_add(1);
        Some(*first)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.pop();
        }
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.rest.first().copied().filter(|c| belongs(*c)) {
            taken.push(c);
            self.skip(1);
        }
        taken
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "._-/:+@".contains(c)
}

pub(super) fn error(position: usize, problem: impl Into<String>) -> FilterError {
    FilterError {
        position,
        problem: problem.into(),
    }
}
