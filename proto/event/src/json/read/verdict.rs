//! What was judged, from JSON.

use super::object::{Object, Result, needed};
use crate::json::JsonError;
use crate::{
    BackoffLevel, Evidence, Kind, Reason, RuleVerdict, ScorerVerdict, Severity, UnixNanos, Verdict,
};

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
        rests_on: object.objects("rests_on", evidence)?,
    })
}

fn evidence(object: Object<'_>) -> Result<Evidence> {
    let kind = object.parsed("kind", "a known kind", Kind::from_name)?;
    let time = object.parsed("time", "an RFC 3339 time", UnixNanos::parse)?;
    Ok(Evidence {
        kind: needed("verdicts.rests_on.kind", kind)?,
        time: needed("verdicts.rests_on.time", time)?,
        process_uid: object.uid("process_uid")?,
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
