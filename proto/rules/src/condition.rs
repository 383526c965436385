//! The condition grammar: which searches must match for the rule to match.
//!
//! ```text
//! or      = and ("or" and)*
//! and     = not ("and" not)*
//! not     = "not" not | primary
//! primary = "(" or ")" | ("1" | "any" | "all") "of" ("them" | PATTERN) | NAME
//! ```
//!
//! A pattern is a name with `*` in it. A search whose name begins with `_` is chosen by a pattern that begins so too, and never by
//! `them`.
//! The result refers to searches by their index, so a condition that was parsed has no loose ends.

use crate::refusal::Reason;

/// Longest condition in words, so that the tree of it stays small.
const MAX_TOKENS: usize = 1_000;
/// Deepest nesting of parentheses and `not`.
const MAX_DEPTH: usize = 32;

/// A parsed condition over searches given by index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Condition {
    Search(usize),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

/// Parses `text`; `names` are the searches there are.
pub(crate) fn parse(text: &str, names: &[String]) -> Result<Condition, Reason> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        names,
        depth: 0,
    };
    let condition = parser.or()?;
    match parser.peek() {
        None => Ok(condition),
        Some(token) => Err(wrong(format!("`{}` is not expected", token.text()))),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Not,
    Word(&'a str),
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Open => "(",
            Self::Close => ")",
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Word(word) => word,
        }
    }

    fn of_word(word: &'a str) -> Self {
        match word {
            "and" | "AND" | "And" => Self::And,
            "or" | "OR" | "Or" => Self::Or,
            "not" | "NOT" | "Not" => Self::Not,
            _ => Self::Word(word),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Reason> {
    if text.contains('|') {
        return Err(Reason::Pipe);
    }
    let mut tokens = Vec::new();
    for part in text.split_whitespace() {
        split_parentheses(part, &mut tokens);
        if tokens.len() > MAX_TOKENS {
            return Err(wrong(format!("longer than {MAX_TOKENS} words")));
        }
    }
    Ok(tokens)
}

fn split_parentheses<'a>(part: &'a str, tokens: &mut Vec<Token<'a>>) {
    for piece in part.split_inclusive(['(', ')']) {
        let word = piece.trim_end_matches(['(', ')']);
        if !word.is_empty() {
            tokens.push(Token::of_word(word));
        }
        match piece.as_bytes().last() {
            Some(b'(') => tokens.push(Token::Open),
            Some(b')') => tokens.push(Token::Close),
            _ => {}
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    names: &'a [String],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn eat(&mut self, token: Token<'_>) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<Condition, Reason> {
        let mut parts = vec![self.and()?];
        while self.eat(Token::Or) {
            parts.push(self.and()?);
        }
        Ok(one_or(parts, Condition::Any))
    }

    fn and(&mut self) -> Result<Condition, Reason> {
        let mut parts = vec![self.not()?];
        while self.eat(Token::And) {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, Condition::All))
    }

    fn not(&mut self) -> Result<Condition, Reason> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Reason::TooDeep { limit: MAX_DEPTH });
        }
        let condition = if self.eat(Token::Not) {
            Condition::Not(Box::new(self.not()?))
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn primary(&mut self) -> Result<Condition, Reason> {
        match self.next() {
            Some(Token::Open) => {
                let inner = self.or()?;
                if !self.eat(Token::Close) {
                    return Err(wrong("a parenthesis is not closed"));
                }
                Ok(inner)
            }
            Some(Token::Word(word)) => self.word(word),
            Some(token) => Err(wrong(format!("`{}` is not expected", token.text()))),
            None => Err(wrong("it ends too early")),
        }
    }

    /// A name, or a quantifier if `of` follows.
    fn word(&mut self, word: &str) -> Result<Condition, Reason> {
        if !matches!(self.peek(), Some(Token::Word("of" | "OF" | "Of"))) {
            let index = self.names.iter().position(|name| name == word);
            return index
                .map(Condition::Search)
                .ok_or_else(|| Reason::UnknownSearch {
                    name: word.to_owned(),
                });
        }
        self.at += 1;
        let join: fn(Vec<Condition>) -> Condition = match word {
            "1" | "any" | "ANY" => Condition::Any,
            "all" | "ALL" => Condition::All,
            _ => return Err(wrong(format!("`{word} of` is neither `1 of` nor `all of`"))),
        };
        Ok(one_or(self.chosen()?, join))
    }

    /// The searches that the pattern after `of` chooses: at least one.
    fn chosen(&mut self) -> Result<Vec<Condition>, Reason> {
        let Some(Token::Word(pattern)) = self.next() else {
            return Err(wrong("nothing follows `of`"));
        };
        let them = pattern.eq_ignore_ascii_case("them");
        let hidden = |name: &str| name.starts_with('_') && !pattern.starts_with('_');
        let fits =
            |name: &str| !hidden(name) && (them || fits(pattern.as_bytes(), name.as_bytes()));
        let chosen: Vec<Condition> = self
            .names
            .iter()
            .enumerate()
            .filter(|(_, name)| fits(name))
            .map(|(index, _)| Condition::Search(index))
            .collect();
        if chosen.is_empty() {
            return Err(Reason::UnknownSearch {
                name: pattern.to_owned(),
            });
        }
        Ok(chosen)
    }
}

/// Whether `name` fits `pattern`, where `*` stands for any text.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(byte) if name.get(n) == Some(byte) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star, from)) = retry else {
                    return false;
                };
                retry = Some((star, from + 1));
                p = star + 1;
                n = from + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// A list of one is the one.
fn one_or(mut parts: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

fn wrong(detail: impl Into<String>) -> Reason {
    Reason::Condition {
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Condition::{All, Any, Not, Search};

    fn parsed(text: &str) -> Result<Condition, Reason> {
        let names = ["sel_a", "sel_b", "filter_x", "_hidden"].map(str::to_owned);
        parse(text, &names)
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        let expected = Any(vec![
            Search(0),
            All(vec![Search(1), Not(Box::new(Search(2)))]),
        ]);
        assert_eq!(parsed("sel_a or sel_b and not filter_x"), Ok(expected));
    }

    #[test]
    fn quantifiers_choose_by_pattern_and_them_leaves_out_the_hidden() {
        assert_eq!(parsed("1 of sel_*"), Ok(Any(vec![Search(0), Search(1)])));
        assert_eq!(
            parsed("all of them"),
            Ok(All(vec![Search(0), Search(1), Search(2)]))
        );
        assert_eq!(parsed("all of _*"), Ok(Search(3)));
        assert_eq!(
            parsed("1 of *"),
            Ok(Any(vec![Search(0), Search(1), Search(2)]))
        );
        assert!(parsed("all of *_hidden").is_err());
    }

    #[test]
    fn parentheses_need_no_spaces() {
        let expected = All(vec![Search(2), Any(vec![Search(0), Search(1)])]);
        assert_eq!(parsed("filter_x and(sel_a or sel_b)"), Ok(expected));
    }

    #[test]
    fn what_leaves_the_grammar_is_refused_by_name() {
        assert_eq!(parsed("sel_a | count() > 5"), Err(Reason::Pipe));
        assert!(matches!(
            parsed("nothing"),
            Err(Reason::UnknownSearch { .. })
        ));
        assert!(matches!(
            parsed("1 of other_*"),
            Err(Reason::UnknownSearch { .. })
        ));
        for text in [
            "",
            "sel_a and",
            "(sel_a",
            "sel_a sel_b",
            "2 of sel_*",
            "and",
            ")(",
        ] {
            assert!(
                matches!(parsed(text), Err(Reason::Condition { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_recurse() {
        let text = format!("{}sel_a{}", "(".repeat(900), ")".repeat(900));
        assert!(parsed(&text).is_err());
        assert!(parsed(&"not ".repeat(900)).is_err());
    }
}
