//! What was judged, to JSON.

use serde_json::{Value, json};

use super::object::Object;
use crate::{Reason, RuleVerdict, ScorerVerdict, Verdict};

pub(super) fn verdict(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Rule(verdict) => rule(verdict),
        Verdict::Scorer(verdict) => score(verdict),
    }
}

fn rule(rule: &RuleVerdict) -> Value {
    Object::new()
        .put("by", "rule")
        .put("id", rule.id.as_str())
        .put("title", rule.title.as_str())
        .put("severity", rule.severity.name())
        .put("attack", rule.attack.clone())
        .word("author", &rule.author)
        .word("license", &rule.license)
        .done()
}

fn score(score: &ScorerVerdict) -> Value {
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

fn reason(reason: &Reason) -> Value {
    Object::new()
        .put("factor", reason.factor.as_str())
        .text("context", &reason.context)
        .text("value", &reason.value)
        .put("bits", reason.bits)
        .put("usual", reason.usual)
        .put("seen", reason.seen)
        .put("context_seen", reason.context_seen)
        .put("days", reason.days)
        .put("distinct", reason.distinct)
        .list("backoff", &reason.backoff, |level| {
            json!({
                "context": level.context,
                "seen": level.seen,
                "context_seen": level.context_seen,
                "distinct": level.distinct,
            })
        })
        .done()
}
