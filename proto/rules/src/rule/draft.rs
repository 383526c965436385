//! The searches of a rule, and the programs that conditions make of them.
//!
//! A rule over several events has a condition for each of them: all are counted against one bound.

use crate::condition::{self, Condition};
use crate::program::Program;
use crate::record::Fields;
use crate::refusal::{Fault, Reason};
use crate::search::Compiler;
use crate::yaml::Node;

/// Most tests in one rule.
const MAX_TESTS: usize = 10_000;

/// The searches of one rule, and which of them were used so far.
#[derive(Debug)]
pub(crate) struct Draft {
    names: Vec<String>,
    programs: Vec<Program>,
    used: Vec<bool>,
    tests: usize,
}

impl Draft {
    /// Compiles every search below `detection`; keys in `others` are none.
    pub(crate) fn new(
        detection: &Node,
        others: &[&str],
        fields: &mut Fields,
    ) -> Result<Self, Fault> {
        let (mut names, mut programs) = (Vec::new(), Vec::new());
        for (name, search) in detection.map().unwrap_or_default() {
            if others.contains(&name.text.as_str()) {
                continue;
            }
            let fields = &mut *fields;
            programs.push(Compiler { fields }.search(search)?);
            names.push(name.text.clone());
        }
        let used = vec![false; names.len()];
        Ok(Self {
            names,
            programs,
            used,
            tests: 0,
        })
    }

    /// The program of a condition that stands on `line`.
    pub(crate) fn program(&mut self, line: u64, text: &str) -> Result<Program, Fault> {
        let condition = condition::parse(text, &self.names).map_err(|reason| reason.at(line))?;
        self.tests = self.tests.saturating_add(self.tests_of(&condition));
        if self.tests > MAX_TESTS {
            return Err(Reason::TooManyTests { limit: MAX_TESTS }.at(line));
        }
        self.mark_used(&condition);
        Ok(self.built(&condition))
    }

    /// The searches that no condition used.
    pub(crate) fn unused(self) -> Vec<String> {
        let named = self.names.into_iter().zip(self.used);
        named
            .filter(|(_, used)| !used)
            .map(|(name, _)| name)
            .collect()
    }

    fn built(&self, condition: &Condition) -> Program {
        let parts = |parts: &[Condition]| parts.iter().map(|part| self.built(part)).collect();
        match condition {
            Condition::Search(index) => self
                .programs
                .get(*index)
                .map_or_else(|| Program::Any(Vec::new()), Clone::clone),
            Condition::All(conditions) => Program::All(parts(conditions)),
            Condition::Any(conditions) => Program::Any(parts(conditions)),
            Condition::Not(part) => Program::Not(Box::new(self.built(part))),
        }
    }

    /// How many tests the program will have: known before it is built, because a condition may name a
    /// large search many times.
    fn tests_of(&self, condition: &Condition) -> usize {
        match condition {
            Condition::Search(index) => self.programs.get(*index).map_or(0, Program::tests),
            Condition::All(parts) | Condition::Any(parts) => parts
                .iter()
                .fold(0_usize, |sum, part| sum.saturating_add(self.tests_of(part))),
            Condition::Not(part) => self.tests_of(part),
        }
    }

    fn mark_used(&mut self, condition: &Condition) {
        match condition {
            Condition::Search(index) => self
                .used
                .get_mut(*index)
                .into_iter()
                .for_each(|used| *used = true),
            Condition::All(parts) | Condition::Any(parts) => {
                for part in parts {
                    self.mark_used(part);
                }
            }
            Condition::Not(part) => self.mark_used(part),
        }
    }
}
