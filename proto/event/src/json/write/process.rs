//! What processes do to themselves and to each other, to JSON.

use super::object::{Hex, Json, Object};
use crate::{CredChange, Credentials, ExecFailed, Exit, Fork, MemExec, Memfd, Ptrace, Signal};

pub(super) fn exit(exit: &Exit) -> Json {
    Object::new()
        .maybe("code", exit.code)
        .maybe("signal", exit.signal)
        .maybe("duration_ns", exit.duration_ns)
        .done()
}

pub(super) fn fork(fork: &Fork) -> Json {
    Object::new()
        .put("child_uid", Hex(fork.child_uid.as_bytes()))
        .put("child_pid", fork.child_pid)
        .done()
}

pub(super) fn exec_failed(failed: &ExecFailed) -> Json {
    Object::new()
        .text("path", &failed.path)
        .texts("argv", &failed.argv)
        .put("argc", failed.argc)
        .put("argv_truncated", failed.argv_truncated)
        .put("result", failed.result)
        .done()
}

pub(super) fn cred(change: &CredChange) -> Json {
    Object::new()
        .put("old", credentials(&change.old))
        .put("new", credentials(&change.new))
        .done()
}

fn credentials(held: &Credentials) -> Json {
    Object::new()
        .put("uid", held.uid)
        .put("gid", held.gid)
        .put("effective_uid", held.effective_uid)
        .put("effective_gid", held.effective_gid)
        .put("saved_uid", held.saved_uid)
        .put("saved_gid", held.saved_gid)
        .caps("caps_effective", Some(held.caps_effective))
        .caps("caps_permitted", Some(held.caps_permitted))
        .caps("caps_inheritable", Some(held.caps_inheritable))
        .maybe("login_uid", held.login_uid)
        .maybe("session", held.session)
        .done()
}

pub(super) fn ptrace(ptrace: &Ptrace) -> Json {
    Object::new()
        .word("request", &ptrace.request)
        .uid("target_uid", ptrace.target_uid)
        .put("target_pid", ptrace.target_pid)
        .maybe("result", ptrace.result)
        .done()
}

pub(super) fn signal(signal: &Signal) -> Json {
    Object::new()
        .put("number", signal.number)
        .uid("target_uid", signal.target_uid)
        .put("target_pid", signal.target_pid)
        .maybe("result", signal.result)
        .done()
}

pub(super) fn mem_exec(memory: &MemExec) -> Json {
    Object::new()
        .put("address", memory.address)
        .put("length", memory.length)
        .put("protection", memory.protection)
        .word("call", &memory.call)
        .word("backing", &memory.backing)
        .text("path", &memory.path)
        .done()
}

pub(super) fn memfd(memfd: &Memfd) -> Json {
    Object::new()
        .text("name", &memfd.name)
        .maybe("flags", memfd.flags)
        .done()
}
