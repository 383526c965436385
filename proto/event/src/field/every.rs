//! Fields that every event has, or may have: what, when, who, and what was judged.

use super::read::{hash, list, number, text, word};
use super::{Row, Value};
use crate::{Event, Process, Verdict};

pub(super) const FIELDS: &[Row] = &[
    ("kind", |e| word(e.kind.name())),
    ("seq", |e| number(e.seq)),
    ("time", |e| Some(Value::Word(e.time.to_string()))),
    ("source", |e| word(e.source.name())),
    ("severity", |e| word(e.severity()?.name())),
    ("class", |e| word(e.class().name())),
    ("process.uid", |e| {
        Some(Value::Word(process(e)?.uid.to_string()))
    }),
    ("process.pid", |e| number(process(e)?.pid)),
    ("process.ppid", |e| number(process(e)?.ppid)),
    ("process.parent_uid", |e| {
        Some(Value::Word(process(e)?.parent_uid?.to_string()))
    }),
    ("process.exe", |e| text(&process(e)?.exe)),
    ("process.script", |e| text(&process(e)?.script)),
    ("process.comm", |e| text(&process(e)?.comm)),
    ("process.argv", |e| list(process(e)?.argv.iter())),
    ("process.argc", |e| number(process(e)?.argc)),
    ("process.argv_bytes", |e| number(process(e)?.argv_bytes)),
    ("process.argv_truncated", |e| {
        Some(Value::Flag(process(e)?.argv_truncated))
    }),
    ("process.cwd", |e| text(&process(e)?.cwd)),
    ("process.user.uid", |e| {
        number(process(e)?.user.as_ref()?.uid)
    }),
    ("process.user.name", |e| {
        text(&process(e)?.user.as_ref()?.name)
    }),
    ("process.effective_uid", |e| {
        number(process(e)?.effective_uid?)
    }),
    ("process.gid", |e| number(process(e)?.gid?)),
    ("process.effective_gid", |e| {
        number(process(e)?.effective_gid?)
    }),
    ("process.login_uid", |e| number(process(e)?.login_uid?)),
    ("process.session", |e| number(process(e)?.session?)),
    ("process.tty", |e| text(&process(e)?.tty)),
    ("process.start_time", |e| {
        Some(Value::Word(process(e)?.start_time?.to_string()))
    }),
    ("process.sha256", |e| hash(process(e)?.sha256)),
    ("process.hash_status", |e| {
        word(process(e)?.hash_status?.name())
    }),
    ("process.container", |e| {
        word(process(e)?.container.as_deref()?)
    }),
    ("process.cgroup", |e| text(&process(e)?.cgroup)),
    ("process.ns.pid", |e| number(process(e)?.ns?.pid)),
    ("process.ns.mnt", |e| number(process(e)?.ns?.mnt)),
    ("process.ns.net", |e| number(process(e)?.ns?.net)),
    ("process.ns.user", |e| number(process(e)?.ns?.user)),
    ("process.caps", |e| {
        Some(Value::Word(format!("{:016x}", process(e)?.caps?)))
    }),
    ("process.memfd", |e| Some(Value::Flag(process(e)?.memfd))),
    ("process.fidelity", |e| word(process(e)?.fidelity?.name())),
    ("process.ancestry.exe", |e| {
        list(process(e)?.ancestry.iter().map(|a| &a.exe))
    }),
    ("process.ancestry.uid", |e| {
        let uids = process(e)?
            .ancestry
            .iter()
            .map(|ancestor| ancestor.uid.to_string());
        Some(Value::Words(uids.collect()))
    }),
    ("process.env", |e| {
        list(process(e)?.env.iter().map(|var| &var.name))
    }),
    ("verdicts.by", |e| {
        verdict_words(e, |verdict| match verdict {
            Verdict::Rule(_) => vec!["rule".to_owned()],
            Verdict::Scorer(_) => vec!["scorer".to_owned()],
        })
    }),
    ("verdicts.id", |e| {
        verdict_words(e, |verdict| match verdict {
            Verdict::Rule(rule) => vec![rule.id.clone()],
            Verdict::Scorer(_) => Vec::new(),
        })
    }),
    ("verdicts.title", |e| {
        verdict_words(e, |verdict| match verdict {
            Verdict::Rule(rule) => vec![rule.title.clone()],
            Verdict::Scorer(_) => Vec::new(),
        })
    }),
    ("verdicts.attack", |e| {
        verdict_words(e, |verdict| match verdict {
            Verdict::Rule(rule) => rule.attack.clone(),
            Verdict::Scorer(_) => Vec::new(),
        })
    }),
    ("verdicts.bits", |e| {
        let bits = e.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Scorer(score) => Some(score.bits),
            Verdict::Rule(_) => None,
        });
        bits.reduce(f64::max).map(Value::Real)
    }),
];

fn process(event: &Event) -> Option<&Process> {
    event.process.as_ref()
}

fn verdict_words<'a>(event: &Event, words: impl Fn(&Verdict) -> Vec<String>) -> Option<Value<'a>> {
    let words: Vec<String> = event.verdicts.iter().flat_map(words).collect();
    (!words.is_empty()).then_some(Value::Words(words))
}
