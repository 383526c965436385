//! Gathers rules from sources, and numbers what is asked.
//!
//! ```text
//! numbers:  rules over one event | questions of rules over several | what those rules find
//! ```
//!
//! Only the first are known to [`RuleSet::rule`]; hits of the second go to [`Correlations::step`], which makes the third.

use std::collections::{BTreeSet, HashMap};

use super::{Group, Loaded, Member, Note, Remark, RuleSet, Source, Subject};
use crate::collection;
use crate::correlation::{Correlations, Several};
use crate::filter::{self, Filter};
use crate::index::Index;
use crate::record::Fields;
use crate::refusal::{Fault, Reason, Refusal};
use crate::rule::{self, Over, Rule, RuleInfo};
use crate::view::Columns;
use crate::yaml::{self, Node};

/// Most rules in one set.
const MAX_RULES: usize = 50_000;

/// What was taken so far.
#[derive(Default)]
pub(super) struct Builder {
    loaded: Loaded,
    rules: Vec<Rule>,
    fields: Fields,
    by_id: HashMap<String, String>,
    /// How many rules of a file have a number for an id.
    numbered: HashMap<String, usize>,
    /// Ids, and names that documents give themselves, with the place of the rule.
    names: HashMap<String, usize>,
    correlations: Vec<(String, Node)>,
    filters: Vec<(String, Option<String>, Filter)>,
}

impl Builder {
    /// Beside rules that are elsewhere.
    pub(super) fn beside(elsewhere: &BTreeSet<String>) -> Self {
        let names = elsewhere.iter().map(|name| (name.clone(), usize::MAX));
        Self {
            names: names.collect(),
            ..Self::default()
        }
    }

    /// Takes or refuses every document of `source`.
    pub(super) fn take(&mut self, source: &Source) {
        let documents = match yaml::parse(&source.text) {
            Ok(documents) if documents.is_empty() => {
                return self.refuse(&source.name, None, Reason::Empty.nowhere());
            }
            Ok(documents) => documents,
            Err(fault) => return self.refuse(&source.name, None, fault),
        };
        for document in collection::apart(documents) {
            let document = match document {
                Ok(document) => document,
                Err(fault) => {
                    self.refuse(&source.name, None, fault);
                    continue;
                }
            };
            if document.get("correlation").is_some() {
                self.correlations.push((source.name.clone(), document));
                continue;
            }
            let taken = if document.get("filter").is_some() {
                self.filter(source, &document)
            } else {
                self.document(source, &document)
            };
            if let Err(fault) = taken {
                self.refuse(&source.name, rule::id(&document), fault);
            }
        }
    }

    fn filter(&mut self, source: &Source, document: &Node) -> Result<(), Fault> {
        let filter = filter::parse(document, &source.name, &mut self.fields)?;
        let id = rule::id(document);
        self.filters.push((source.name.clone(), id, filter));
        Ok(())
    }

    fn document(&mut self, source: &Source, document: &Node) -> Result<(), Fault> {
        let mut rule = rule::parse(document, &source.name, &mut self.fields)?;
        if rule::id(document).is_none() {
            rule.info.id = self.free_id(rule.info.id);
        }
        if self.rules.len() >= MAX_RULES {
            return Err(document.fault(Reason::TooManyRules { limit: MAX_RULES }));
        }
        let id = rule.info.id.clone();
        if let Some(title) = self.by_id.get(&id) {
            return Err(document.fault(Reason::DuplicateId {
                title: title.clone(),
            }));
        }
        self.names.insert(id.clone(), self.rules.len());
        if let Some(name) = document.get("name").and_then(Node::text) {
            let place = self.names.entry(name.to_owned()).or_insert(usize::MAX);
            *place = self.rules.len().min(*place);
        }
        self.by_id.insert(id, rule.info.title.clone());
        self.remark(&rule);
        self.rules.push(rule);
        Ok(())
    }

    /// The first rule of a file that names no id has the file's name, further ones have a number behind it.
    fn free_id(&mut self, file: String) -> String {
        let mut id = file.clone();
        while self.by_id.contains_key(&id) {
            let number = self.numbered.entry(file.clone()).or_insert(1);
            *number += 1;
            id = format!("{file}#{number}");
        }
        id
    }

    fn remark(&mut self, rule: &Rule) {
        let fields = rule.never.clone();
        if !rule.alive {
            self.note(&rule.info, Remark::Dead { fields });
        } else if !fields.is_empty() {
            self.note(&rule.info, Remark::NeverFilled { fields });
        }
        if !rule.unused.is_empty() {
            let searches = rule.unused.clone();
            self.note(&rule.info, Remark::Unused { searches });
        }
    }

    fn note(&mut self, info: &RuleInfo, remark: Remark) {
        let (file, id) = (info.file.clone(), info.id.clone());
        self.loaded.notes.push(Note { file, id, remark });
    }

    fn refuse(&mut self, file: &str, id: Option<String>, fault: Fault) {
        let Fault { line, reason } = fault;
        self.loaded.refused.push(Refusal {
            file: file.to_owned(),
            id,
            line,
            reason,
        });
    }

    pub(super) fn finish(mut self) -> Loaded {
        self.narrow();
        let rules = std::mem::take(&mut self.rules);
        let numbers = Numbers::of(&rules);
        let groups = self.groups(&rules, &numbers);
        self.remark_on_slow(&rules, &numbers, &groups);
        let columns = Columns::new(&self.fields);
        let names = self.names.iter().map(|(name, place)| {
            let number = numbers.by_place.get(*place).copied();
            (name.clone(), number.unwrap_or(usize::MAX))
        });
        let (infos, several) = Numbers::apart(rules);
        let (correlations, refused) =
            Correlations::compile(&self.correlations, &names.collect(), infos.len(), several);
        let silent: Vec<bool> = (0..infos.len())
            .map(|number| correlations.silences(number))
            .collect();
        self.remark_on_counted(&infos, &silent);
        self.loaded.correlations = correlations;
        self.loaded.refused.extend(refused);
        self.loaded.rules = RuleSet {
            infos,
            silent,
            fields: self.fields,
            columns,
            groups,
        };
        self.loaded
    }

    /// Puts the filters on their rules.
    fn narrow(&mut self) {
        let mut rules = std::mem::take(&mut self.rules);
        for (file, id, filter) in std::mem::take(&mut self.filters) {
            if let Err(fault) = filter.narrow(&mut rules, &self.names) {
                self.refuse(&file, id, fault);
            }
        }
        self.rules = rules;
    }

    fn groups(&self, rules: &[Rule], numbers: &Numbers) -> [Group; Subject::COUNT] {
        let mut groups: [Group; Subject::COUNT] = Default::default();
        let asked = numbers.asked.iter().map(|(place, ask)| (*place, *ask));
        for (number, (place, ask)) in numbers
            .plain
            .iter()
            .map(|place| (*place, 0))
            .chain(asked)
            .enumerate()
        {
            let Some(ask) = rules.get(place).and_then(|rule| rule.asks.get(ask)) else {
                continue;
            };
            for subject in Subject::of_scope(ask.scope) {
                if let Some(group) = groups.get_mut(subject as usize) {
                    group.rules.push(Member {
                        rule: number,
                        kinds: ask.scope.kinds,
                        program: ask.program.clone(),
                    });
                }
            }
        }
        for group in &mut groups {
            let programs = group.rules.iter().map(|member| &member.program);
            group.index = Index::new(programs, |field| is_dear(self.fields.name(field)));
        }
        groups
    }

    fn remark_on_counted(&mut self, infos: &[RuleInfo], silent: &[bool]) {
        for (info, _) in infos.iter().zip(silent).filter(|(_, silent)| **silent) {
            self.note(info, Remark::CountedAlone);
        }
    }

    fn remark_on_slow(&mut self, rules: &[Rule], numbers: &Numbers, groups: &[Group]) {
        let mut slow: Vec<usize> = groups
            .iter()
            .flat_map(|group| {
                let always = group.index.always().iter();
                always.filter_map(|place| group.rules.get(*place as usize))
            })
            .filter_map(|member| numbers.place(member.rule))
            .collect();
        slow.sort_unstable();
        slow.dedup();
        for rule in slow.into_iter().filter_map(|place| rules.get(place)) {
            self.note(&rule.info, Remark::AskedAlways);
        }
    }
}

/// Which number stands for what.
struct Numbers {
    /// The places of rules over one event.
    plain: Vec<usize>,
    /// The questions of the others: place, and which of its questions.
    asked: Vec<(usize, usize)>,
    /// For each place the number of what its rule finds.
    by_place: Vec<usize>,
}

impl Numbers {
    fn of(rules: &[Rule]) -> Self {
        let is_plain = |rule: &Rule| matches!(rule.over, Over::One);
        let places = |wanted: bool| {
            let rules = rules.iter().enumerate();
            rules.filter(move |(_, rule)| is_plain(rule) == wanted)
        };
        let plain: Vec<usize> = places(true).map(|(place, _)| place).collect();
        let asked: Vec<(usize, usize)> = places(false)
            .flat_map(|(place, rule)| (0..rule.asks.len()).map(move |ask| (place, ask)))
            .collect();
        let mut by_place = vec![usize::MAX; rules.len()];
        let found = places(false).zip(plain.len() + asked.len()..);
        let numbered = plain.iter().copied().zip(0..);
        for (place, number) in numbered.chain(found.map(|((place, _), number)| (place, number))) {
            if let Some(slot) = by_place.get_mut(place) {
                *slot = number;
            }
        }
        Self {
            plain,
            asked,
            by_place,
        }
    }

    /// The place of the rule that asks the question of this number.
    fn place(&self, number: usize) -> Option<usize> {
        let asked = || self.asked.get(number.checked_sub(self.plain.len())?);
        let plain = self.plain.get(number).copied();
        plain.or_else(|| asked().map(|(place, _)| *place))
    }

    /// What rules over one event say about themselves, and those over several.
    fn apart(rules: Vec<Rule>) -> (Vec<RuleInfo>, Vec<Several>) {
        let (mut infos, mut several) = (Vec::new(), Vec::new());
        for rule in rules {
            match rule.over {
                Over::One => infos.push(rule.info),
                over => several.push(Several {
                    info: rule.info,
                    asks: rule.asks.len(),
                    over,
                }),
            }
        }
        (infos, several)
    }
}

/// Fields that cost every event much when they are looked up: the arguments, which the command line
/// repeats, and the environment, of which each variable is a field of its own.
fn is_dear(field: &str) -> bool {
    field == "process.argv" || field.starts_with("process.env.")
}
