//! Rules over several events: correlations, which judge hits of other rules, and the rules of `x-sequence` and
//! `x-first-seen`, whose questions are hits without a name.
//!
//! Four kinds of Sigma: so many hits (`event_count`), so many different values of a field
//! (`value_count`), every rule at least once (`temporal`), every rule in its order
//! (`temporal_ordered`) are correlations; each within a time span, for events that agree in the fields of `group-by`.
//!
//! # Invariants
//!
//! - Time is that of the events; the clock is never asked.
//! - At most [`MOST_GROUPS`] groups with [`MOST_SEEN`] hits and values are remembered; the one that was touched least
//!   recently goes first. A group never holds more than the number that its rule waits for.
//! - A correlation that matched begins anew for that group: a storm is one hit in each round.
//! - An event that lacks a field of `group-by` belongs to no group and counts for none.

mod document;
mod groups;
mod several;

use std::collections::HashMap;

use picket_event::{Event, Evidence, Verdict};

use crate::first_seen::Firsts;
use crate::record::{FieldId, Fields, Record, Span, Values};
use crate::refusal::Refusal;
use crate::rule::RuleInfo;
use crate::ruleset::RuleHit;
use crate::sequence::Sequences;
use crate::view::Columns;
use crate::view::event::EventRecord;
use crate::yaml::Node;

use groups::{Groups, Seen, Wanted};
pub use several::Forgotten;
pub(crate) use several::Several;

/// Most groups that are remembered, of all correlations together.
pub const MOST_GROUPS: usize = 4_096;

/// Most hits and values that are remembered, of all groups together.
pub const MOST_SEEN: usize = 1 << 18;

/// Rules over several events with what they remember.
#[derive(Debug, Default)]
pub struct Correlations {
    rules: Vec<Correlation>,
    /// For each number that a hit may have: which correlations wait for it, and as which of their rules.
    waiting: Vec<Vec<(usize, usize)>>,
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
    /// In their order, each by what the document calls it: an id or a name.
    rules: Vec<String>,
    group_by: Vec<FieldId>,
    /// In nanoseconds.
    span: i64,
}

/// What must come together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CorrelationKind {
    /// This many hits.
    Events(usize),
    /// This many different values of the field.
    Values(FieldId, usize),
    /// Every rule.
    Together,
    /// Every rule, one after the other.
    InOrder,
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
        let numbers = rules + taken.asked.len() + taken.several.len();
        taken.waiting = vec![Vec::new(); numbers];
        for (file, document) in documents {
            let node = document.get("correlation").unwrap_or(document);
            let parsed = document::parse(document, node, file, &mut fields)
                .and_then(|rule| Ok((document::places(node, &rule.rules, names)?, rule)));
            match parsed {
                Ok((places, rule)) => taken.add(places, rule),
                Err(fault) => refused.push(Refusal {
                    file: file.clone(),
                    id: crate::rule::id(document),
                    line: fault.line,
                    reason: fault.reason,
                }),
            }
        }
        taken.columns = Columns::new(&fields);
        (taken, refused)
    }

    fn add(&mut self, places: Vec<usize>, rule: Correlation) {
        let number = self.rules.len();
        for (position, place) in places.into_iter().enumerate() {
            if let Some(waiting) = self.waiting.get_mut(place) {
                waiting.push((number, position));
            }
        }
        self.rules.push(rule);
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
        let mut complete: Vec<(usize, Vec<Evidence>)> = Vec::new();
        for hit in hits {
            let waiting = self.waiting.get(hit.rule).cloned().unwrap_or_default();
            for (number, position) in waiting {
                let known = complete.iter().any(|(known, _)| *known == number);
                if let Some(evidence) = self.one(event, number, position)
                    && !known
                {
                    complete.push((number, evidence));
                }
            }
        }
        let complete = complete.into_iter();
        complete
            .filter_map(|(number, rests_on)| Some(resting(&self.rules.get(number)?.info, rests_on)))
            .collect()
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

    /// The events that the correlation rests on, if it is complete with this one.
    fn one(&mut self, event: &Event, number: usize, position: usize) -> Option<Vec<Evidence>> {
        let rule = self.rules.get(number)?;
        let record = EventRecord::new(event, &self.columns.event);
        let mut key = number.to_le_bytes().to_vec();
        for field in &rule.group_by {
            let value = first(&record, *field, &mut self.bytes, &mut self.spans)?;
            key.extend_from_slice(&value.len().to_le_bytes());
            key.extend_from_slice(value);
        }
        let seen = match rule.kind {
            CorrelationKind::Events(_) => Seen::Hit,
            CorrelationKind::Values(field, _) => {
                Seen::Value(first(&record, field, &mut self.bytes, &mut self.spans)?.to_vec())
            }
            CorrelationKind::Together | CorrelationKind::InOrder => Seen::Rule(position),
        };
        let wanted = Wanted {
            kind: rule.kind,
            rules: rule.rules.len(),
            span: rule.span,
        };
        self.groups.step(key, wanted, Evidence::of(event), seen)
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
