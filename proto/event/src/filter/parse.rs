//! From tokens to an expression: `or` binds weakest, then `and`, then `not`.

use crate::field::Field;

use super::compare::{Literal, Operator};
use super::token::{Placed, Token, error, tokens};
use super::{Expression, FilterError};

const MAX_TEXT: usize = 4096;
const MAX_DEPTH: usize = 64;

pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.len() > MAX_TEXT {
        return Err(error(
            MAX_TEXT,
            format!("the expression is longer than {MAX_TEXT} bytes"),
        ));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser {
        rest: &tokens,
        depth: 0,
    };
    let expression = parser.any()?;
    match parser.peek() {
        (_, Token::End) => Ok(expression),
        (position, _) => Err(error(position, "expected `and`, `or` or the end")),
    }
}

struct Parser<'a> {
    rest: &'a [Placed],
    depth: usize,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Expression, FilterError> {
        let mut parts = vec![self.all()?];
        while self.took_word("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Result<Expression, FilterError> {
        let mut parts = vec![self.one()?];
        while self.took_word("and") {
            parts.push(self.one()?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn one(&mut self) -> Result<Expression, FilterError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(error(
                self.peek().0,
                format!("more than {MAX_DEPTH} levels"),
            ));
        }
        let expression = self.term();
        self.depth = self.depth.saturating_sub(1);
        expression
    }

    fn term(&mut self) -> Result<Expression, FilterError> {
        if self.took_word("not") {
            return self.one().map(|inner| Expression::Not(Box::new(inner)));
        }
        if self.took_sign("(") {
            let inner = self.any()?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expression, FilterError> {
        let field = self.field()?;
        if self.took_word("in") {
            let literals = self.list(&field)?;
            return Ok(Expression::Compare {
                field,
                operator: Operator::Equal,
                literals,
            });
        }
        let (position, token) = self.pop();
        let operator = match token {
            Token::Sign(sign) => Operator::of_sign(sign),
            _ => None,
        };
        let operator = operator.ok_or_else(|| error(position, EXPECTED_OPERATOR))?;
        let literals = vec![self.literal(&field)?];
        Ok(Expression::Compare {
            field,
            operator,
            literals,
        })
    }

    fn field(&mut self) -> Result<Field, FilterError> {
        match self.pop() {
            (position, Token::Word(path)) => {
                Field::named(&path).ok_or_else(|| error(position, unknown_field(&path)))
            }
            (position, _) => Err(error(position, "expected a field, as `process.exe`")),
        }
    }

    fn list(&mut self, field: &Field) -> Result<Vec<Literal>, FilterError> {
        self.expect_sign("(")?;
        let mut literals = vec![self.literal(field)?];
        while self.took_sign(",") {
            literals.push(self.literal(field)?);
        }
        self.expect_sign(")")?;
        Ok(literals)
    }

    fn literal(&mut self, field: &Field) -> Result<Literal, FilterError> {
        let (position, token) = self.pop();
        let text = match token {
            Token::Quoted(text) => text,
            Token::Word(word) => word.into_bytes(),
            Token::Sign(_) | Token::End => return Err(error(position, "expected a value")),
        };
        Literal::new(text, field).map_err(|problem| error(position, problem))
    }

    fn took_word(&mut self, keyword: &str) -> bool {
        let found =
            matches!(self.peek(), (_, Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.pop_if(found)
    }

    fn took_sign(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(), (_, Token::Sign(sign)) if sign == wanted);
        self.pop_if(found)
    }

    fn expect_sign(&mut self, wanted: &str) -> Result<(), FilterError> {
        let position = self.peek().0;
        let found = self.took_sign(wanted);
        found
            .then_some(())
            .ok_or_else(|| error(position, format!("expected `{wanted}`")))
    }

    fn peek(&self) -> Placed {
        self.rest.first().cloned().unwrap_or((0, Token::End))
    }

    fn pop(&mut self) -> Placed {
        let first = self.peek();
        self.pop_if(true);
        first
    }

    /// Goes on by one token; the last, which is the end, stays.
    fn pop_if(&mut self, found: bool) -> bool {
        if let (true, [_, rest @ ..]) = (found, self.rest)
            && !rest.is_empty()
        {
            self.rest = rest;
        }
        found
    }
}

fn one_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => many(parts),
    }
}

const EXPECTED_OPERATOR: &str = "expected one of = != ~ ^= $= < <= > >= in";

fn unknown_field(path: &str) -> String {
    let mut near: Vec<(usize, &str)> = Field::paths()
        .map(|known| (distance(path, known), known))
        .filter(|(distance, known)| *distance <= 2 || known.ends_with(&format!(".{path}")))
        .collect();
    near.sort_unstable();
    let names: Vec<_> = near
        .iter()
        .take(3)
        .map(|(_, known)| format!("`{known}`"))
        .collect();
    let path: String = path.chars().take(64).collect();
    if names.is_empty() {
        return format!("there is no field `{path}`");
    }
    format!("there is no field `{path}` (near: {})", names.join(", "))
}

/// How many characters must change to make one of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut previous = row.first().copied().unwrap_or_default();
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let change = previous.saturating_add(usize::from(from != to));
            previous = *cell;
            left = change
                .min(cell.saturating_add(1))
                .min(left.saturating_add(1));
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
