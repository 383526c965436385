//! What was judged, to JSON.

use super::object::{Json, Object};
use crate::{Reason, RuleVerdict, ScorerVerdict, Verdict};

pub(super) fn verdict(verdict: &Verdict) -> Json {
    match verdict {
        Verdict::Rule(verdict) => rule(verdict),
        Verdict::Scorer(verdict) => score(verdict),
    }
}

fn rule(rule: &RuleVerdict) -> Json {
    Object::new()
        .put("by", "rule")
        .put("id", rule.id.as_str())
        .put("title", rule.title.as_str())
        .put("severity", rule.severity.name())
        .put("attack", &rule.attack)
        .word("author", &rule.author)
        .word("license", &rule.license)
        .list("rests_on", &rule.rests_on, |evidence| {
            Object::new()
                .put("kind", evidence.kind.name())
                .put("time", evidence.time.to_string())
                .uid("process_uid", evidence.process_uid)
                .done()
        })
        .done()
}

fn score(score: &ScorerVerdict) -> Json {
    Object::new()
        .put("by", "scorer")
        .put("bits", score.bits)
        .put("p", score.p)
        .put("alert", score.alert)
        .put(
            "reasons",
            score.reasons.iter().map(reason).collect::<Vec<_>>(),
        )
        .done()
}

fn reason(reason: &Reason) -> Json {
    Object::new()
        .put("factor", &*reason.factor)
        .text("context", &reason.context)
        .text("value", &reason.value)
        .put("bits", reason.bits)
        .put("usual", reason.usual)
        .put("seen", reason.seen)
        .put("context_seen", reason.context_seen)
        .put("days", reason.days)
        .put("distinct", reason.distinct)
        .list("backoff", &reason.backoff, |level| {
            Object::new()
                .put("context", &*level.context)
                .put("seen", level.seen)
                .put("context_seen", level.context_seen)
                .put("distinct", level.distinct)
                .done()
        })
        .done()
}
