//! Why a rule was not taken: one type for every way to refuse, so that nothing is dropped in silence.

use std::fmt;

/// A rule that was not taken, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The source it came from.
    pub file: String,
    /// Its id, if it could be read.
    pub id: Option<String>,
    /// The line in the source, counted from 1, if one is to blame.
    pub line: Option<u64>,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

/// Why a rule was not taken. Displays as one line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The text is too long.
    #[error("the text is longer than {limit} bytes")]
    TooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The text is not YAML.
    #[error("not YAML: {}", one_line(detail))]
    NotYaml {
        /// What the parser says.
        detail: String,
    },
    /// An alias of nothing that stood before it.
    #[error("the YAML alias names nothing that stands before it")]
    YamlAlias,
    /// Tags other than those of YAML's own types mean nothing in a rule.
    #[error("the YAML tag is not one of YAML's own types")]
    YamlTag,
    /// Lists and maps are nested too deep.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The bound in levels.
        limit: usize,
    },
    /// Too many nodes.
    #[error("more than {limit} values in one text")]
    TooManyNodes {
        /// The bound in nodes.
        limit: usize,
    },
    /// A key stands twice in one map.
    #[error("key `{}` stands twice", one_line(key))]
    DuplicateKey {
        /// Which.
        key: String,
    },
    /// The text holds no rule at all.
    #[error("holds no rule")]
    Empty,
    /// A key that a rule must have is missing.
    #[error("`{key}` is missing")]
    Missing {
        /// Which.
        key: &'static str,
    },
    /// A value has another shape than its key asks for.
    #[error("`{}` is not {wanted}", one_line(key))]
    Shape {
        /// Whose value.
        key: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A level that Sigma does not have.
    #[error(
        "level `{}` is not one of informational, low, medium, high, critical",
        one_line(level)
    )]
    Level {
        /// What stands there.
        level: String,
    },
    /// Another rule of this set has the same id.
    #[error("the id is taken by `{}`", one_line(title))]
    DuplicateId {
        /// The title of the rule that came first.
        title: String,
    },
    /// No sensor of ours feeds this log source.
    #[error("log source {} is not one of ours", one_line(source_name))]
    LogSource {
        /// The log source as the rule names it.
        source_name: String,
    },
    /// A field of our own taxonomy that does not exist.
    #[error("field `{}` does not exist", one_line(field))]
    Field {
        /// Which.
        field: String,
    },
    /// The abolished pipe in a condition.
    #[error("the condition uses an aggregation after a pipe, which Sigma abolished")]
    Pipe,
    /// `timeframe` belongs to the abolished pipe.
    #[error("`timeframe` counts over time, which only correlations may")]
    Timeframe,
    /// A document of a rule collection that does what nobody knows.
    #[error("action `{}` is not one of global, repeat, reset", one_line(action))]
    Collection {
        /// What.
        action: String,
    },
    /// Two extensions that have no meaning together.
    #[error("`x-sequence` and `x-first-seen` have no meaning together")]
    Together,
    /// A filter for rules of another log source.
    #[error("the filter has another log source than rule `{}`", one_line(rule))]
    FilterElsewhere {
        /// What the filter calls the rule.
        rule: String,
    },
    /// An extension that nobody knows.
    #[error("extension `{}` is not known", one_line(name))]
    ExtensionUnknown {
        /// Which.
        name: String,
    },
    /// The condition does not follow the grammar.
    #[error("condition: {}", one_line(detail))]
    Condition {
        /// Where it leaves it.
        detail: String,
    },
    /// The condition names a search that is not there.
    #[error(
        "the condition names `{}`, which is not under `detection`",
        one_line(name)
    )]
    UnknownSearch {
        /// Which.
        name: String,
    },
    /// A modifier that Sigma does not have.
    #[error("modifier `{}` is not known", one_line(modifier))]
    UnknownModifier {
        /// Which.
        modifier: String,
    },
    /// A chain of modifiers that makes no sense.
    #[error("modifiers of `{}`: {detail}", one_line(key))]
    Modifiers {
        /// The key with its modifiers.
        key: String,
        /// What is wrong.
        detail: &'static str,
    },
    /// A value that its modifier cannot use.
    #[error("value `{}` of `{}`: {detail}", one_line(value), one_line(key))]
    Value {
        /// The key with its modifiers.
        key: String,
        /// The value.
        value: String,
        /// What is wrong.
        detail: &'static str,
    },
    /// A regular expression outside the linear-time subset, or a broken one.
    #[error("regular expression: {}", one_line(detail))]
    Regex {
        /// What the compiler says.
        detail: String,
    },
    /// A regular expression that would take too much memory.
    #[error("regular expression needs more than {limit} bytes")]
    RegexTooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The rule as a whole is too large.
    #[error("the rule needs more than {limit} tests")]
    TooManyTests {
        /// The bound in tests.
        limit: usize,
    },
    /// More rules than one set may have.
    #[error("the set already has {limit} rules")]
    TooManyRules {
        /// The bound in rules.
        limit: usize,
    },
}

impl Reason {
    pub(crate) fn at(self, line: u64) -> Fault {
        Fault {
            line: Some(line),
            reason: self,
        }
    }

    pub(crate) fn nowhere(self) -> Fault {
        Fault {
            line: None,
            reason: self,
        }
    }
}

/// A reason and its line, before it is known which rule and file it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) line: Option<u64>,
    pub(crate) reason: Reason,
}

/// Text of a rule as part of a one-line message: short, without control characters.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST + 1)
        .collect();
    if line.chars().count() > LONGEST {
        line.pop();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_always_one_line() {
        let reason = Reason::Regex {
            detail: "regex parse error:\n    a(\n     ^\n".into(),
        };
        assert_eq!(reason.to_string().lines().count(), 1);
        let long = Reason::UnknownSearch {
            name: "x".repeat(10_000),
        };
        assert!(long.to_string().len() < 300);
    }
}
