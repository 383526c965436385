//! Rules over several events: correlations, which judge hits of other rules, and the rules of `x-sequence` and
//! `x-first-seen`, whose questions are hits without a name.
//!
//! Of Sigma: so many hits (`event_count`), so many different values of a field (`value_count`), a number that the numbers in a
//! field give (`value_sum`, `value_avg`, `value_median`, `value_percentile`), rules together (`temporal`) or in their order
//! (`temporal_ordered`); each within a time span, for events that agree in the fields of `group-by`. The condition is asked at each
//! event, of the span that ends with it.
//!
//! # Invariants
//!
//! - Time is that of the events; the clock is never asked.
//! - At most [`MOST_GROUPS`] groups with [`MOST_SEEN`] hits and values are remembered; the one that was touched least
//!   recently goes first.
//! - A correlation that matched begins anew for that group: a storm is one hit in each round.
//! - An event that lacks a field of `group-by` belongs to no group and counts for none. An event counts once in a group, however
//!   many of the rules found it, and is one step of an order.
//! - A correlation stands behind those that it waits for: one pass over an event judges all.

mod condition;
mod document;
mod groups;
mod several;

use std::collections::{BTreeMap, HashMap, HashSet};

use picket_event::{Event, Evidence, Verdict};

use crate::first_seen::Firsts;
use crate::program;
use crate::record::{FieldId, Fields, Record, Span, Values};
use crate::refusal::{Fault, Refusal};
use crate::rule::RuleInfo;
use crate::ruleset::RuleHit;
use crate::sequence::Sequences;
use crate::view::Columns;
use crate::view::event::EventRecord;
use crate::yaml::Node;

use condition::Wanted;
use groups::{Asked, Groups, Seen};
pub use several::Forgotten;
pub(crate) use several::Several;

/// Most groups that are remembered, of all correlations together.
pub const MOST_GROUPS: usize = 4_096;

/// Most hits and values that are remembered, of all groups together.
pub const MOST_SEEN: usize = 1 << 18;

/// Most numbers of a group that sums and percentiles are made of; the oldest goes first.
const MOST_NUMBERS: usize = 4_096;

/// Rules over several events with what they remember.
#[derive(Debug, Default)]
pub struct Correlations {
    rules: Vec<Correlation>,
    /// For each number that a hit may have: which correlations wait for it, and as which of their rules.
    waiting: Vec<Vec<(usize, usize)>>,
    /// The number of the first correlation.
    correlated: usize,
    /// Numbers of what correlations count, and of what they let be told.
    counted: HashSet<usize>,
    told: HashSet<usize>,
    columns: Columns,
    groups: Groups,
    several: Vec<several::Member>,
    /// What hits from [`Self::first`] on are: the rule over several events, and which of its questions.
    asked: Vec<(usize, usize)>,
    first: usize,
    sequences: Sequences,
    firsts: Firsts,
    arrivals: u64,
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// One correlation, ready to be asked.
#[derive(Debug)]
pub(crate) struct Correlation {
    info: RuleInfo,
    kind: CorrelationKind,
    wanted: Wanted,
    /// For each of its rules, in their order.
    places: Vec<Place>,
    /// In nanoseconds.
    span: i64,
}

/// What is looked at in the events of one of the rules.
#[derive(Debug)]
struct Place {
    group_by: Vec<FieldId>,
    values: Vec<FieldId>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CorrelationKind {
    /// Events.
    Events,
    /// Different values.
    Values,
    /// The numbers in a field, together.
    Metric(Metric),
    /// Rules.
    Together,
    /// Rules, one after the other.
    InOrder,
}

/// What many numbers give.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Metric {
    Sum,
    Average,
    /// 0 to 100; between two numbers, as far from both as it lies between them.
    Percentile(u8),
}

impl Correlations {
    /// Compiles documents, each with the name of its source, over the rules that have these names: `rules` rules over one
    /// event, and `several` over more.
    pub(crate) fn compile(
        documents: &[(String, Node)],
        names: &HashMap<String, usize>,
        rules: usize,
        several: Vec<Several>,
    ) -> (Self, Vec<Refusal>) {
        let (mut fields, mut taken, mut refused) = (Fields::default(), Self::default(), Vec::new());
        taken.first = rules;
        for rule in several {
            taken.add_several(rule, &mut fields);
        }
        let several = taken.asked.len() + taken.several.len();
        taken.correlated = rules + several;
        taken.waiting = vec![Vec::new(); taken.correlated];
        let mut names = names.clone();
        let mut drafts = Vec::new();
        for (file, document) in documents {
            match document::parse(document, file) {
                Ok(draft) => drafts.push(draft),
                Err(fault) => refused.push(refusal(file, document, fault)),
            }
        }
        // What is elsewhere and here is meant here.
        for name in drafts.iter().flat_map(document::Draft::names) {
            if names.get(&name) == Some(&usize::MAX) {
                names.remove(&name);
            }
        }
        // Each is taken after all that it waits for; what is left waits for nobody, or for each other.
        while let Some(at) = drafts.iter().position(|draft| draft.is_ready(&names)) {
            let draft = drafts.remove(at);
            match draft.bound(&names, &mut fields) {
                Ok((numbers, correlation)) => {
                    let number = taken.add(numbers, correlation);
                    draft.names().for_each(|name| {
                        names.entry(name).or_insert(number);
                    });
                    taken.quieten(&draft, number, &names);
                }
                Err(fault) => refused.push(refusal(draft.file, draft.document, fault)),
            }
        }
        let left = drafts.iter();
        refused
            .extend(left.map(|draft| refusal(draft.file, draft.document, draft.missing(&names))));
        taken.columns = Columns::new(&fields);
        (taken, refused)
    }

    /// Gives the correlation its number.
    fn add(&mut self, waits_for: Vec<usize>, rule: Correlation) -> usize {
        let number = self.rules.len();
        for (position, place) in waits_for.into_iter().enumerate() {
            if let Some(waiting) = self.waiting.get_mut(place) {
                waiting.push((number, position));
            }
        }
        self.rules.push(rule);
        self.waiting.push(Vec::new());
        self.correlated + number
    }

    /// What a correlation counts is told by itself only where it says so with `generate`.
    fn quieten(
        &mut self,
        draft: &document::Draft<'_>,
        number: usize,
        names: &HashMap<String, usize>,
    ) {
        let counted = draft
            .waits_for()
            .filter_map(|name| names.get(name).copied());
        for counted in counted.filter(|counted| *counted != number) {
            if draft.generates() {
                self.told.insert(counted);
            } else {
                self.counted.insert(counted);
            }
        }
    }

    /// Whether what this rule finds is counted by a correlation and not told.
    pub(crate) fn silences(&self, number: usize) -> bool {
        self.counted.contains(&number) && !self.told.contains(&number)
    }

    /// What these rules say about themselves: sequences and rules about new values in the order of the sources, then
    /// correlations in theirs.
    pub fn rules(&self) -> impl Iterator<Item = &RuleInfo> {
        let several = self.several.iter().map(|rule| &rule.info);
        several.chain(self.rules.iter().map(|rule| &rule.info))
    }

    /// Takes the hits on `event`, also if there are none, and gives the verdicts of the rules that are complete with
    /// it, each once and with the last events that it rests on.
    pub fn step(&mut self, event: &Event, hits: &[RuleHit]) -> Vec<Verdict> {
        self.firsts.watch(event.time);
        if hits.is_empty() || self.is_empty() {
            return Vec::new();
        }
        let (mut verdicts, found) = self.judge_several(event, hits);
        verdicts.extend(self.correlate(event, hits.iter().chain(&found)));
        verdicts
    }

    fn correlate<'a>(
        &mut self,
        event: &Event,
        hits: impl Iterator<Item = &'a RuleHit>,
    ) -> Vec<Verdict> {
        let mut due: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for hit in hits {
            self.wake(hit.rule, &mut due);
        }
        let mut verdicts = Vec::new();
        while let Some((number, mut positions)) = due.pop_first() {
            // In order, the last rule first: one event is not two steps.
            positions.sort_unstable_by(|a, b| b.cmp(a));
            positions.dedup();
            let Some(rests_on) = self.judge(event, number, &positions) else {
                continue;
            };
            self.wake(self.correlated + number, &mut due);
            let told = !self.silences(self.correlated + number);
            let rule = self.rules.get(number).filter(|_| told);
            verdicts.extend(rule.map(|rule| resting(&rule.info, rests_on)));
        }
        verdicts
    }

    /// Whoever waits for this number has an event to judge.
    fn wake(&self, number: usize, due: &mut BTreeMap<usize, Vec<usize>>) {
        for (correlation, position) in self.waiting.get(number).into_iter().flatten() {
            due.entry(*correlation).or_default().push(*position);
        }
    }

    /// The events that the correlation rests on, if it is complete with this one.
    fn judge(
        &mut self,
        event: &Event,
        number: usize,
        positions: &[usize],
    ) -> Option<Vec<Evidence>> {
        let (mut complete, mut keys) = (None, Vec::new());
        for position in positions {
            let Some((key, seen)) = self.seen(event, number, *position) else {
                continue;
            };
            let counts = !matches!(seen, Seen::Rule(_));
            if counts && keys.contains(&key) {
                continue;
            }
            keys.push(key.clone());
            let rule = self.rules.get(number)?;
            let asked = Asked {
                kind: rule.kind,
                wanted: &rule.wanted,
                rules: rule.places.len(),
                span: rule.span,
            };
            let rests_on = self.groups.step(key, asked, Evidence::of(event), seen);
            complete = complete.or(rests_on);
        }
        complete
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len() + self.several.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.several.is_empty()
    }

    /// How many groups are remembered.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The group of an event, and what it adds there; `None` if it lacks a field.
    fn seen(&mut self, event: &Event, number: usize, position: usize) -> Option<(Vec<u8>, Seen)> {
        let rule = self.rules.get(number)?;
        let place = rule.places.get(position)?;
        let record = EventRecord::new(event, &self.columns.event);
        let (bytes, spans) = (&mut self.bytes, &mut self.spans);
        let mut together = |fields: &[FieldId], key: &mut Vec<u8>| {
            for field in fields {
                let value = first(&record, *field, bytes, spans)?;
                key.extend_from_slice(&value.len().to_le_bytes());
                key.extend_from_slice(value);
            }
            Some(())
        };
        let mut key = number.to_le_bytes().to_vec();
        together(&place.group_by, &mut key)?;
        let seen = match rule.kind {
            CorrelationKind::Events => Seen::Hit,
            CorrelationKind::Values => {
                let mut value = Vec::new();
                together(&place.values, &mut value)?;
                Seen::Value(value)
            }
            CorrelationKind::Metric(_) => {
                let field = *place.values.first()?;
                Seen::Number(program::number(first(&record, field, bytes, spans)?)?)
            }
            CorrelationKind::Together | CorrelationKind::InOrder => Seen::Rule(position),
        };
        Some((key, seen))
    }
}

fn refusal(file: &str, document: &Node, fault: Fault) -> Refusal {
    Refusal {
        file: file.to_owned(),
        id: crate::rule::id(document),
        line: fault.line,
        reason: fault.reason,
    }
}

/// The verdict of a rule, with the events that it rests on.
fn resting(info: &RuleInfo, rests_on: Vec<Evidence>) -> Verdict {
    let mut verdict = info.verdict();
    if let Verdict::Rule(rule) = &mut verdict {
        rule.rests_on = rests_on;
    }
    verdict
}

/// The first value of a field, as long as it may be remembered.
fn first<'a>(
    record: &EventRecord<'_>,
    field: FieldId,
    bytes: &'a mut Vec<u8>,
    spans: &mut Vec<Span>,
) -> Option<&'a [u8]> {
    /// Longer values are told apart by their beginnings.
    const LONGEST: usize = 256;
    bytes.clear();
    spans.clear();
    record.visit(field, &mut Values::new(bytes, spans));
    let span = spans.first()?;
    let value = bytes.get(span.start..span.end)?;
    value.get(..value.len().min(LONGEST))
}
