//! Fields of what processes do to themselves and to each other.

use super::read::{caps, list, number, text, uid, word};
use super::{Row, Value};
use crate::{CredChange, Detail, Event, ExecFailed, Exit, Fork, MemExec, Memfd, Ptrace, Signal};

pub(super) const FIELDS: &[Row] = &[
    ("exit.code", |e| number(exit(e)?.code?)),
    ("exit.signal", |e| number(exit(e)?.signal?)),
    ("exit.duration_ns", |e| number(exit(e)?.duration_ns?)),
    ("fork.child_pid", |e| number(fork(e)?.child_pid)),
    ("fork.child_uid", |e| uid(Some(fork(e)?.child_uid))),
    ("exec_failed.path", |e| text(&failed(e)?.path)),
    ("exec_failed.argv", |e| list(failed(e)?.argv.iter())),
    ("exec_failed.argc", |e| number(failed(e)?.argc)),
    ("exec_failed.argv_truncated", |e| {
        Some(Value::Flag(failed(e)?.argv_truncated))
    }),
    ("exec_failed.result", |e| number(failed(e)?.result)),
    ("cred.old.uid", |e| number(cred(e)?.old.uid)),
    ("cred.old.gid", |e| number(cred(e)?.old.gid)),
    ("cred.old.effective_uid", |e| {
        number(cred(e)?.old.effective_uid)
    }),
    ("cred.old.effective_gid", |e| {
        number(cred(e)?.old.effective_gid)
    }),
    ("cred.old.saved_uid", |e| number(cred(e)?.old.saved_uid)),
    ("cred.old.saved_gid", |e| number(cred(e)?.old.saved_gid)),
    ("cred.old.caps_effective", |e| {
        caps(cred(e)?.old.caps_effective)
    }),
    ("cred.old.caps_permitted", |e| {
        caps(cred(e)?.old.caps_permitted)
    }),
    ("cred.old.caps_inheritable", |e| {
        caps(cred(e)?.old.caps_inheritable)
    }),
    ("cred.old.login_uid", |e| number(cred(e)?.old.login_uid?)),
    ("cred.old.session", |e| number(cred(e)?.old.session?)),
    ("cred.new.uid", |e| number(cred(e)?.new.uid)),
    ("cred.new.gid", |e| number(cred(e)?.new.gid)),
    ("cred.new.effective_uid", |e| {
        number(cred(e)?.new.effective_uid)
    }),
    ("cred.new.effective_gid", |e| {
        number(cred(e)?.new.effective_gid)
    }),
    ("cred.new.saved_uid", |e| number(cred(e)?.new.saved_uid)),
    ("cred.new.saved_gid", |e| number(cred(e)?.new.saved_gid)),
    ("cred.new.caps_effective", |e| {
        caps(cred(e)?.new.caps_effective)
    }),
    ("cred.new.caps_permitted", |e| {
        caps(cred(e)?.new.caps_permitted)
    }),
    ("cred.new.caps_inheritable", |e| {
        caps(cred(e)?.new.caps_inheritable)
    }),
    ("cred.new.login_uid", |e| number(cred(e)?.new.login_uid?)),
    ("cred.new.session", |e| number(cred(e)?.new.session?)),
    ("ptrace.request", |e| word(&ptrace(e)?.request)),
    ("ptrace.target_uid", |e| uid(ptrace(e)?.target_uid)),
    ("ptrace.target_pid", |e| number(ptrace(e)?.target_pid)),
    ("ptrace.result", |e| number(ptrace(e)?.result?)),
    ("signal.number", |e| number(signal(e)?.number)),
    ("signal.target_uid", |e| uid(signal(e)?.target_uid)),
    ("signal.target_pid", |e| number(signal(e)?.target_pid)),
    ("signal.result", |e| number(signal(e)?.result?)),
    ("mem_exec.address", |e| number(memory(e)?.address)),
    ("mem_exec.length", |e| number(memory(e)?.length)),
    ("mem_exec.protection", |e| number(memory(e)?.protection)),
    ("mem_exec.call", |e| word(&memory(e)?.call)),
    ("mem_exec.backing", |e| word(&memory(e)?.backing)),
    ("mem_exec.path", |e| text(&memory(e)?.path)),
    ("memfd.name", |e| text(&memfd(e)?.name)),
    ("memfd.flags", |e| number(memfd(e)?.flags?)),
];

fn exit(event: &Event) -> Option<&Exit> {
    match &event.detail {
        Some(Detail::Exit(it)) => Some(it),
        _ => None,
    }
}

fn fork(event: &Event) -> Option<&Fork> {
    match &event.detail {
        Some(Detail::Fork(it)) => Some(it),
        _ => None,
    }
}

fn failed(event: &Event) -> Option<&ExecFailed> {
    match &event.detail {
        Some(Detail::ExecFailed(it)) => Some(it),
        _ => None,
    }
}

fn cred(event: &Event) -> Option<&CredChange> {
    match &event.detail {
        Some(Detail::Cred(it)) => Some(it),
        _ => None,
    }
}

fn ptrace(event: &Event) -> Option<&Ptrace> {
    match &event.detail {
        Some(Detail::Ptrace(it)) => Some(it),
        _ => None,
    }
}

fn signal(event: &Event) -> Option<&Signal> {
    match &event.detail {
        Some(Detail::Signal(it)) => Some(it),
        _ => None,
    }
}

fn memory(event: &Event) -> Option<&MemExec> {
    match &event.detail {
        Some(Detail::MemExec(it)) => Some(it),
        _ => None,
    }
}

fn memfd(event: &Event) -> Option<&Memfd> {
    match &event.detail {
        Some(Detail::Memfd(it)) => Some(it),
        _ => None,
    }
}
