//! What was judged, from JSON.

use super::object::{Object, Result, needed};
use crate::json::JsonError;
use crate::{BackoffLevel, Reason, RuleVerdict, ScorerVerdict, Severity, Verdict};

pub(super) fn verdict(object: Object<'_>) -> Result<Verdict> {
    match object.string("by")? {
        Some("rule") => rule(object).map(Verdict::Rule),
        Some("scorer") => score(object).map(Verdict::Scorer),
        _ => Err(JsonError::Field {
            field: "verdicts.by",
            expected: "rule or scorer",
        }),
    }
}

fn rule(object: Object<'_>) -> Result<RuleVerdict> {
    let severity = object.parsed("severity", "a known severity", Severity::from_name)?;
    Ok(RuleVerdict {
        id: object.word("id")?,
        title: object.word("title")?,
        severity: needed("verdicts.severity", severity)?,
        attack: object.words("attack")?,
        author: object.word("author")?,
        license: object.word("license")?,
    })
}

fn score(object: Object<'_>) -> Result<ScorerVerdict> {
    Ok(ScorerVerdict {
        bits: object.real("bits")?,
        p: object.real("p")?,
        reasons: object.objects("reasons", reason)?,
        alert: object.flag("alert")?,
    })
}

fn reason(object: Object<'_>) -> Result<Reason> {
    Ok(Reason {
        factor: object.word("factor")?.into(),
        context: object.text("context")?,
        value: object.text("value")?,
        bits: object.real("bits")?,
        usual: object.real("usual")?,
        seen: object.number("seen")?.unwrap_or(0),
        context_seen: object.number("context_seen")?.unwrap_or(0),
        days: object.small("days")?.unwrap_or(0),
        distinct: object.small("distinct")?.unwrap_or(0),
        backoff: object.objects("backoff", |level| {
            Ok(BackoffLevel {
                context: level.word("context")?.into(),
                seen: level.number("seen")?.unwrap_or(0),
                context_seen: level.number("context_seen")?.unwrap_or(0),
                distinct: level.small("distinct")?.unwrap_or(0),
            })
        })?,
    })
}
