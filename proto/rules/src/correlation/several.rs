//! Sequences and rules about new values: what the answers to their questions mean, and what they remember.

use picket_event::{Event, Evidence, Verdict};

use super::{Correlations, first, resting};
use crate::record::{FieldId, Fields};
use crate::rule::{Over, RuleInfo};
use crate::ruleset::RuleHit;
use crate::sequence::{Part, Taken};
use crate::view::event::EventRecord;

/// A rule over several events, ready to be put beside correlations.
#[derive(Debug)]
pub(crate) struct Several {
    pub(crate) info: RuleInfo,
    /// How many questions it asks of single events.
    pub(crate) asks: usize,
    pub(crate) over: Over,
}

/// A rule over several events.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) info: RuleInfo,
    what: What,
}

#[derive(Debug)]
enum What {
    /// By its number among the sequences; the field of each step whose value must be the same.
    Sequence(usize, Vec<FieldId>),
    /// By its number among the rules about new values; the fields of the value.
    FirstSeen(usize, Vec<FieldId>),
}

impl Correlations {
    pub(super) fn add_several(&mut self, rule: Several, fields: &mut Fields) {
        let number = self.several.len();
        self.asked.extend((0..rule.asks).map(|ask| (number, ask)));
        let mut ids = |names: &[&str]| {
            names
                .iter()
                .filter_map(|name| fields.intern(name))
                .collect()
        };
        let what = match rule.over {
            Over::Sequence(sequence) => {
                let steps = 0..sequence.steps();
                let same: Vec<&str> = steps.filter_map(|step| sequence.same(step)).collect();
                let same = ids(&same);
                What::Sequence(self.sequences.add(sequence), same)
            }
            Over::FirstSeen(first) => {
                let names: Vec<&str> = first.fields.iter().map(String::as_str).collect();
                let names = ids(&names);
                What::FirstSeen(self.firsts.add(rule.info.id.clone(), first), names)
            }
            Over::One => return,
        };
        self.several.push(Member {
            info: rule.info,
            what,
        });
    }

    /// How many sequences are open.
    pub fn open_sequences(&self) -> usize {
        self.sequences.open()
    }

    /// How many rules about new values tell nothing yet, because they have not learned for as long as they say.
    pub fn learning(&self) -> usize {
        self.firsts.learning()
    }

    /// What was forgotten before its time for want of room, since the rules were first loaded: open sequences, and values that
    /// were seen.
    pub const fn forgotten(&self) -> Forgotten {
        Forgotten {
            sequences: self.sequences.forgotten(),
            values: self.firsts.forgotten(),
        }
    }

    /// Forgets what happened so far. If `learned`, rules about new values need not learn: so examples are judged.
    pub fn forget(&mut self, learned: bool) {
        self.groups = super::Groups::default();
        self.sequences.forget();
        self.firsts.forget(learned);
    }

    /// Goes on with what the rules before these knew of values, where a rule asks the same. Counts and sequences begin anew.
    pub fn go_on(&mut self, before: Self) {
        self.firsts.go_on(before.firsts);
        self.sequences.count_from(before.sequences.forgotten());
    }

    /// What rules about new values have seen, to be kept.
    pub fn snapshot(&self) -> Vec<u8> {
        self.firsts.snapshot()
    }

    /// Goes on from what was kept, and whether those bytes could be used; if not, nothing changed.
    pub fn restore(&mut self, kept: &[u8]) -> bool {
        self.firsts.restore(kept).is_some()
    }

    /// The verdicts of sequences and rules about new values, and each as a hit for correlations.
    pub(super) fn judge_several(
        &mut self,
        event: &Event,
        hits: &[RuleHit],
    ) -> (Vec<Verdict>, Vec<RuleHit>) {
        self.arrivals += 1;
        let (mut verdicts, mut found) = (Vec::new(), Vec::new());
        for (number, ask) in self.answered(hits) {
            let Some(rests_on) = self.answer(event, number, ask) else {
                continue;
            };
            let rule = self.first + self.asked.len() + number;
            if !found.contains(&RuleHit { rule })
                && let Some(member) = self.several.get(number)
            {
                if !self.silences(rule) {
                    verdicts.push(resting(&member.info, rests_on));
                }
                found.push(RuleHit { rule });
            }
        }
        (verdicts, found)
    }

    /// The questions that the hits answer: of each rule the last step first, so that one event is not two steps, and `until`
    /// before all of them.
    fn answered(&self, hits: &[RuleHit]) -> Vec<(usize, usize)> {
        let asked = |hit: &RuleHit| self.asked.get(hit.rule.checked_sub(self.first)?).copied();
        let mut answered: Vec<(usize, usize)> = hits.iter().filter_map(asked).collect();
        answered.sort_unstable_by_key(|(number, ask)| (*number, std::cmp::Reverse(*ask)));
        answered.dedup();
        answered
    }

    /// The events that the rule rests on, if it is complete with this one.
    fn answer(&mut self, event: &Event, number: usize, ask: usize) -> Option<Vec<Evidence>> {
        let record = EventRecord::new(event, &self.columns.event);
        let (bytes, spans) = (&mut self.bytes, &mut self.spans);
        match &self.several.get(number)?.what {
            What::Sequence(number, same) => {
                let part = self.sequences.plan(*number)?.part(ask);
                let same = match part {
                    Part::Step(step) => same.get(step),
                    Part::Until => None,
                };
                let same = match same {
                    Some(field) => Some(first(&record, *field, bytes, spans)?.to_vec()),
                    None => None,
                };
                self.sequences.step(&Taken {
                    number: *number,
                    part,
                    event,
                    same,
                    arrival: self.arrivals,
                })
            }
            What::FirstSeen(number, fields) => {
                let mut values = Vec::new();
                for field in fields {
                    values.push(first(&record, *field, bytes, spans)?.to_vec());
                }
                let new = self.firsts.step(*number, event, &values);
                new.then(Vec::new)
            }
        }
    }
}

/// What was forgotten before its time for want of room.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Forgotten {
    /// Open sequences whose span was not over.
    pub sequences: u64,
    /// Values that still counted as seen.
    pub values: u64,
}
