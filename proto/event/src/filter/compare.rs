//! Comparing what a field holds with what the expression says.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::Severity;
use crate::UnixNanos;
use crate::field::{Field, Value};

/// How to compare.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    Equal,
    Differs,
    Contains,
    Begins,
    Ends,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Operator {
    pub(super) fn of_sign(sign: &str) -> Option<Self> {
        Some(match sign {
            "=" => Self::Equal,
            "!=" => Self::Differs,
            "~" => Self::Contains,
            "^=" => Self::Begins,
            "$=" => Self::Ends,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Equal | Self::Differs | Self::Contains | Self::Begins | Self::Ends => false,
        }
    }
}

/// A value of the expression.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    text: Vec<u8>,
    number: Option<f64>,
    severity: Option<Severity>,
    time: Option<UnixNanos>,
}

impl Literal {
    /// For this field: severities compare by weight and times by the instant.
    pub(super) fn new(text: Vec<u8>, field: &Field) -> Result<Self, String> {
        let readable = std::str::from_utf8(&text).unwrap_or_default();
        let number = readable.parse().ok();
        let (mut severity, mut time) = (None, None);
        if field.path() == "severity" {
            severity = Some(Severity::from_name(readable).ok_or_else(unknown_severity)?);
        }
        if TIMES.contains(&field.path()) {
            let parsed = UnixNanos::parse(readable);
            time = Some(parsed.ok_or("this field is a time as `2026-01-05T10:00:00Z`")?);
        }
        Ok(Self {
            text,
            number,
            severity,
            time,
        })
    }

    /// Its bytes.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}

fn unknown_severity() -> String {
    let names: Vec<_> = Severity::ALL
        .iter()
        .map(|severity| severity.name())
        .collect();
    format!("this field is one of {}", names.join(", "))
}

const TIMES: [&str; 2] = ["time", "process.start_time"];

/// Whether any of the literals fits. `!=` and ordering have exactly one.
pub(super) fn holds(value: &Value<'_>, operator: Operator, literals: &[Literal]) -> bool {
    if operator == Operator::Differs {
        return !literals
            .iter()
            .any(|literal| fits(value, Operator::Equal, literal));
    }
    literals
        .iter()
        .any(|literal| fits(value, operator, literal))
}

/// A list fits if one of its members does.
fn fits(value: &Value<'_>, operator: Operator, literal: &Literal) -> bool {
    match value {
        Value::List(texts) => texts.iter().any(|text| text_fits(text, operator, literal)),
        Value::Words(words) => words
            .iter()
            .any(|word| text_fits(word.as_bytes(), operator, literal)),
        Value::Text(text) => text_fits(text, operator, literal),
        Value::Word(word) => word_fits(word, operator, literal),
        Value::Number(number) => number_fits(Number::Whole(*number), operator, literal),
        Value::Real(number) => number_fits(Number::Real(*number), operator, literal),
        Value::Flag(flag) => text_fits(flag.to_string().as_bytes(), operator, literal),
    }
}

fn text_fits(text: &[u8], operator: Operator, literal: &Literal) -> bool {
    let wanted = literal.text.as_slice();
    match operator {
        Operator::Equal => text == wanted,
        Operator::Differs => text != wanted,
        Operator::Contains => contains(text, wanted),
        Operator::Begins => text.starts_with(wanted),
        Operator::Ends => text.ends_with(wanted),
        ordering => ordering.accepts(text.cmp(wanted)),
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}

fn word_fits(word: &str, operator: Operator, literal: &Literal) -> bool {
    let order = match literal {
        Literal {
            severity: Some(wanted),
            ..
        } => Severity::from_name(word).map(|severity| severity.cmp(wanted)),
        Literal {
            time: Some(wanted), ..
        } => UnixNanos::parse(word).map(|time| time.cmp(wanted)),
        _ => None,
    };
    match (order, operator) {
        (Some(order), Operator::Equal) => order.is_eq(),
        (Some(order), Operator::Less | Operator::AtMost | Operator::More | Operator::AtLeast) => {
            operator.accepts(order)
        }
        _ => text_fits(word.as_bytes(), operator, literal),
    }
}

#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Real(f64),
}

/// Numbers compare as numbers where the literal is one; whole ones exactly, digit by digit.
fn number_fits(number: Number, operator: Operator, literal: &Literal) -> bool {
    let text: Cow<'_, str> = match number {
        Number::Whole(number) => number.to_string().into(),
        Number::Real(number) => number.to_string().into(),
    };
    let order = literal
        .number
        .and_then(|wanted| order(number, wanted, literal));
    match (order, operator) {
        (Some(order), Operator::Equal) => order.is_eq(),
        (Some(order), Operator::Less | Operator::AtMost | Operator::More | Operator::AtLeast) => {
            operator.accepts(order)
        }
        _ => text_fits(text.as_bytes(), operator, literal),
    }
}

fn order(number: Number, wanted: f64, literal: &Literal) -> Option<Ordering> {
    match number {
        Number::Real(number) => number.partial_cmp(&wanted),
        Number::Whole(number) => {
            let whole = std::str::from_utf8(&literal.text).ok()?.parse::<i64>();
            whole.map_or_else(
                |_real| as_real(number).partial_cmp(&wanted),
                |w| Some(number.cmp(&w)),
            )
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "only where the other side is a fraction"
)]
fn as_real(number: i64) -> f64 {
    number as f64
}
