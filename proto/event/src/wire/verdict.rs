//! Verdicts on the wire.

use picket_proto::v1;

use super::{EventError, id_or_none, known};
use crate::{
    BackoffLevel, Evidence, Kind, ProcessUid, Reason, RuleVerdict, ScorerVerdict, Severity,
    UnixNanos, Verdict,
};

impl From<Verdict> for v1::Verdict {
    fn from(verdict: Verdict) -> Self {
        let by = match verdict {
            Verdict::Rule(rule) => v1::verdict::By::Rule(v1::RuleVerdict {
                id: rule.id,
                title: rule.title,
                severity: rule.severity.to_wire(),
                attack: rule.attack,
                author: rule.author,
                license: rule.license,
                rests_on: rule.rests_on.into_iter().map(Into::into).collect(),
            }),
            Verdict::Scorer(score) => v1::verdict::By::Scorer(v1::ScorerVerdict {
                bits: score.bits,
                p: score.p,
                reasons: score.reasons.into_iter().map(Into::into).collect(),
                alert: score.alert,
            }),
        };
        Self { by: Some(by) }
    }
}

impl TryFrom<v1::Verdict> for Verdict {
    type Error = EventError;

    fn try_from(wire: v1::Verdict) -> Result<Self, EventError> {
        match wire.by.ok_or(EventError::Missing {
            field: "verdict.by",
        })? {
            v1::verdict::By::Rule(rule) => Ok(Self::Rule(RuleVerdict {
                severity: known("verdict.rule.severity", rule.severity, Severity::from_wire)?,
                id: rule.id,
                title: rule.title,
                attack: rule.attack,
                author: rule.author,
                license: rule.license,
                rests_on: rule
                    .rests_on
                    .into_iter()
                    .map(TryInto::try_into)
                    .collect::<Result<_, _>>()?,
            })),
            v1::verdict::By::Scorer(score) => Ok(Self::Scorer(ScorerVerdict {
                bits: score.bits,
                p: score.p,
                reasons: score.reasons.into_iter().map(Into::into).collect(),
                alert: score.alert,
            })),
        }
    }
}

impl From<Evidence> for v1::Evidence {
    fn from(evidence: Evidence) -> Self {
        let uid = evidence.process_uid;
        Self {
            kind: evidence.kind.to_wire(),
            time_unix_ns: evidence.time.0,
            process_uid: uid.map_or_else(Vec::new, |uid| uid.as_bytes().to_vec()),
        }
    }
}

impl TryFrom<v1::Evidence> for Evidence {
    type Error = EventError;

    fn try_from(wire: v1::Evidence) -> Result<Self, EventError> {
        Ok(Self {
            kind: known("verdict.rests_on.kind", wire.kind, Kind::from_wire)?,
            time: UnixNanos(wire.time_unix_ns),
            process_uid: id_or_none(
                "verdict.rests_on.process_uid",
                &wire.process_uid,
                ProcessUid::from_slice,
            )?,
        })
    }
}

impl From<Reason> for v1::Reason {
    fn from(reason: Reason) -> Self {
        Self {
            factor: reason.factor.into_owned(),
            context: reason.context.into_bytes(),
            value: reason.value.into_bytes(),
            bits: reason.bits,
            usual: reason.usual,
            seen: reason.seen,
            context_seen: reason.context_seen,
            days: reason.days,
            distinct: reason.distinct,
            backoff: reason.backoff.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::Reason> for Reason {
    fn from(wire: v1::Reason) -> Self {
        Self {
            factor: wire.factor.into(),
            context: wire.context.into(),
            value: wire.value.into(),
            bits: wire.bits,
            usual: wire.usual,
            seen: wire.seen,
            context_seen: wire.context_seen,
            days: wire.days,
            distinct: wire.distinct,
            backoff: wire.backoff.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<BackoffLevel> for v1::BackoffLevel {
    fn from(level: BackoffLevel) -> Self {
        Self {
            context: level.context.into_owned(),
            seen: level.seen,
            context_seen: level.context_seen,
            distinct: level.distinct,
        }
    }
}

impl From<v1::BackoffLevel> for BackoffLevel {
    fn from(wire: v1::BackoffLevel) -> Self {
        Self {
            context: wire.context.into(),
            seen: wire.seen,
            context_seen: wire.context_seen,
            distinct: wire.distinct,
        }
    }
}
