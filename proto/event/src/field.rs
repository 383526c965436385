//! Fields of an event by the path that the contract gives them, for rules and searches.
//!
//! # Invariants
//!
//! - A path means here what it means in the JSON of the contract.
//! - What is not known is `None`, never an empty text.

use std::net::IpAddr;

use picket_seal::Digest;

use crate::{Event, Process, Text, Verdict};

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Host text.
    Text(&'a [u8]),
    /// A word of our own: a name, an identifier, a time.
    Word(String),
    /// A whole number.
    Number(i64),
    /// A real number.
    Real(f64),
    /// Yes or no.
    Flag(bool),
    /// Several texts, as `process.argv`.
    List(Vec<&'a [u8]>),
    /// Several words, as `verdicts.id`.
    Words(Vec<String>),
}

type Reader = for<'a> fn(&'a Event) -> Option<Value<'a>>;

/// A field that exists: its path, looked up once.
#[derive(Clone, Copy, Debug)]
pub struct Field(&'static str, Reader);

impl Field {
    /// The field of this path.
    pub fn named(path: &str) -> Option<Self> {
        FIELDS
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(name, reader)| Self(name, *reader))
    }

    /// All paths, for help and for naming near ones.
    pub fn paths() -> impl Iterator<Item = &'static str> {
        FIELDS.iter().map(|(name, _)| *name)
    }

    /// Its path.
    pub fn path(&self) -> &'static str {
        self.0
    }

    /// What it holds in this event.
    pub fn of<'a>(&self, event: &'a Event) -> Option<Value<'a>> {
        (self.1)(event)
    }
}

/// What the field of this path holds; `None` too if there is no such field.
pub fn lookup<'a>(event: &'a Event, path: &str) -> Option<Value<'a>> {
    Field::named(path)?.of(event)
}

const FIELDS: &[(&str, Reader)] = &[
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
    ("file.path", |e| text(&e.file()?.path)),
    ("file.new_path", |e| text(&e.file()?.new_path)),
    ("file.inode", |e| number(e.file()?.inode?)),
    ("file.dev", |e| number(e.file()?.dev?)),
    ("file.mode", |e| number(e.file()?.mode?)),
    ("file.size", |e| number(e.file()?.size?)),
    ("file.sha256_before", |e| hash(e.file()?.sha256_before)),
    ("file.sha256_after", |e| hash(e.file()?.sha256_after)),
    ("file.hash_status", |e| word(e.file()?.hash_status?.name())),
    ("file.sensitive", |e| Some(Value::Flag(e.file()?.sensitive))),
    ("file.flags", |e| number(e.file()?.flags?)),
    ("exit.code", |e| number(exit(e)?.code?)),
    ("exit.signal", |e| number(exit(e)?.signal?)),
    ("exit.duration_ns", |e| number(exit(e)?.duration_ns?)),
    ("network.proto", |e| word(&e.network()?.proto)),
    ("network.direction", |e| word(&e.network()?.direction)),
    ("network.local_ip", |e| address(e.network()?.local_ip)),
    ("network.local_port", |e| number(e.network()?.local_port)),
    ("network.remote_ip", |e| address(e.network()?.remote_ip)),
    ("network.remote_port", |e| number(e.network()?.remote_port)),
    ("network.bytes_in", |e| number(e.network()?.bytes_in?)),
    ("network.bytes_out", |e| number(e.network()?.bytes_out?)),
    ("network.result", |e| number(e.network()?.result?)),
    ("login.user", |e| text(&e.login()?.user)),
    ("login.outcome", |e| word(&e.login()?.outcome)),
    ("login.service", |e| word(&e.login()?.service)),
    ("login.method", |e| word(&e.login()?.method)),
    ("login.source_ip", |e| word(&e.login()?.source_ip)),
    ("login.source_port", |e| number(e.login()?.source_port?)),
    ("login.source_host", |e| text(&e.login()?.source_host)),
    ("login.tty", |e| text(&e.login()?.tty)),
    ("login.key_fingerprint", |e| {
        word(&e.login()?.key_fingerprint)
    }),
    ("login.session", |e| number(e.login()?.session?)),
    ("login.target_user", |e| text(&e.login()?.target_user)),
    ("login.command", |e| text(&e.login()?.command)),
    ("login.seen_by", |e| {
        Some(Value::Words(e.login()?.seen_by.clone()))
    }),
    ("memfd.name", |e| match &e.detail {
        Some(crate::Detail::Memfd(memfd)) => text(&memfd.name),
        _ => None,
    }),
    ("fork.child_pid", |e| number(fork(e)?.child_pid)),
    ("fork.child_uid", |e| {
        Some(Value::Word(fork(e)?.child_uid.to_string()))
    }),
    ("containment.command_id", |e| {
        Some(Value::Word(containment(e)?.command_id.to_string()))
    }),
    ("containment.action", |e| word(&containment(e)?.action)),
    ("containment.state", |e| word(containment(e)?.state.name())),
    ("containment.reason", |e| word(&containment(e)?.reason)),
    ("containment.verified", |e| {
        Some(Value::Flag(containment(e)?.verified))
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

fn exit(event: &Event) -> Option<crate::Exit> {
    match event.detail {
        Some(crate::Detail::Exit(exit)) => Some(exit),
        _ => None,
    }
}

fn fork(event: &Event) -> Option<crate::Fork> {
    match event.detail {
        Some(crate::Detail::Fork(fork)) => Some(fork),
        _ => None,
    }
}

fn containment(event: &Event) -> Option<&crate::Containment> {
    match &event.detail {
        Some(crate::Detail::Containment(done)) => Some(done),
        _ => None,
    }
}

fn text(text: &Text) -> Option<Value<'_>> {
    (!text.is_empty()).then(|| Value::Text(text.as_bytes()))
}

fn word<'a>(word: &str) -> Option<Value<'a>> {
    (!word.is_empty()).then(|| Value::Word(word.to_owned()))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the table's readers all answer with an option"
)]
fn number<'a>(number: impl TryInto<i64>) -> Option<Value<'a>> {
    Some(Value::Number(number.try_into().unwrap_or(i64::MAX)))
}

fn hash<'a>(digest: Option<Digest>) -> Option<Value<'a>> {
    Some(Value::Word(hex::encode(digest?.as_bytes())))
}

fn address<'a>(address: Option<IpAddr>) -> Option<Value<'a>> {
    Some(Value::Word(address?.to_string()))
}

fn list<'a>(texts: impl Iterator<Item = &'a Text>) -> Option<Value<'a>> {
    let texts: Vec<&[u8]> = texts.map(Text::as_bytes).collect();
    (!texts.is_empty()).then_some(Value::List(texts))
}

fn verdict_words<'a>(event: &Event, words: impl Fn(&Verdict) -> Vec<String>) -> Option<Value<'a>> {
    let words: Vec<String> = event.verdicts.iter().flat_map(words).collect();
    (!words.is_empty()).then_some(Value::Words(words))
}
