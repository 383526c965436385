//! What every event that satisfies an expression must have, so that a store can pass the others by without decoding them.

use super::compare::Operator;
use super::{Expression, Filter};

/// A field and what its value must be. No event without it satisfies the expression; one that has it may still not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Need {
    /// The path of the field.
    pub path: &'static str,
    /// What it must be.
    pub test: Test,
}

/// What a value must be. The bytes are those of the expression.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Test {
    /// Equal to one of these; of a list, a member must be.
    OneOf(Vec<Vec<u8>>),
    /// It, or a member of it, contains this.
    Contains(Vec<u8>),
    /// It, or a member of it, begins with this.
    Begins(Vec<u8>),
    /// It, or a member of it, ends with this.
    Ends(Vec<u8>),
}

impl Filter {
    /// What must hold for each event that satisfies it. Empty: nothing can be said beforehand.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        collect(&self.0, &mut needs);
        needs
    }
}

fn collect(expression: &Expression, needs: &mut Vec<Need>) {
    match expression {
        Expression::All(parts) => {
            for part in parts {
                collect(part, needs);
            }
        }
        Expression::Any(_) | Expression::Not(_) => {}
        Expression::Compare {
            field,
            operator,
            literals,
        } => {
            let texts: Vec<Vec<u8>> = literals.iter().map(|one| one.text().to_vec()).collect();
            if let Some(test) = test(*operator, texts) {
                let path = field.path();
                needs.push(Need { path, test });
            }
        }
    }
}

fn test(operator: Operator, mut texts: Vec<Vec<u8>>) -> Option<Test> {
    match operator {
        Operator::Equal => Some(Test::OneOf(texts)),
        Operator::Contains => texts.pop().map(Test::Contains),
        Operator::Begins => texts.pop().map(Test::Begins),
        Operator::Ends => texts.pop().map(Test::Ends),
        Operator::Differs
        | Operator::Less
        | Operator::AtMost
        | Operator::More
        | Operator::AtLeast => None,
    }
}
