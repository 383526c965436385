//! What processes do to themselves and to each other, from JSON.

use super::object::{Object, Result, needed};
use crate::{CredChange, Credentials, ExecFailed, Exit, Fork, MemExec, Memfd, Ptrace, Signal};

pub(super) fn exit(object: Object<'_>) -> Result<Exit> {
    Ok(Exit {
        code: object.signed("code")?,
        signal: object.signed("signal")?,
        duration_ns: object.number("duration_ns")?,
    })
}

pub(super) fn fork(object: Object<'_>) -> Result<Fork> {
    Ok(Fork {
        child_uid: needed("fork.child_uid", object.uid("child_uid")?)?,
        child_pid: object.small("child_pid")?.unwrap_or(0),
    })
}

pub(super) fn exec_failed(object: Object<'_>) -> Result<ExecFailed> {
    Ok(ExecFailed {
        path: object.text("path")?,
        argv: object.texts("argv")?,
        argc: object.small("argc")?.unwrap_or(0),
        argv_truncated: object.flag("argv_truncated")?,
        result: needed("exec_failed.result", object.signed("result")?)?,
    })
}

pub(super) fn cred(object: Object<'_>) -> Result<CredChange> {
    let old = needed("cred.old", object.object("old")?)?;
    let new = needed("cred.new", object.object("new")?)?;
    Ok(CredChange {
        old: credentials(old)?,
        new: credentials(new)?,
    })
}

fn credentials(object: Object<'_>) -> Result<Credentials> {
    Ok(Credentials {
        uid: needed("cred.uid", object.small("uid")?)?,
        gid: needed("cred.gid", object.small("gid")?)?,
        effective_uid: needed("cred.effective_uid", object.small("effective_uid")?)?,
        effective_gid: needed("cred.effective_gid", object.small("effective_gid")?)?,
        saved_uid: needed("cred.saved_uid", object.small("saved_uid")?)?,
        saved_gid: needed("cred.saved_gid", object.small("saved_gid")?)?,
        caps_effective: needed("cred.caps_effective", object.caps("caps_effective")?)?,
        caps_permitted: needed("cred.caps_permitted", object.caps("caps_permitted")?)?,
        caps_inheritable: needed("cred.caps_inheritable", object.caps("caps_inheritable")?)?,
        login_uid: object.small("login_uid")?,
        session: object.small("session")?,
    })
}

pub(super) fn ptrace(object: Object<'_>) -> Result<Ptrace> {
    Ok(Ptrace {
        request: object.word("request")?,
        target_uid: object.uid("target_uid")?,
        target_pid: object.small("target_pid")?.unwrap_or(0),
        result: object.signed("result")?,
    })
}

pub(super) fn signal(object: Object<'_>) -> Result<Signal> {
    Ok(Signal {
        number: object.small("number")?.unwrap_or(0),
        target_uid: object.uid("target_uid")?,
        target_pid: object.signed("target_pid")?.unwrap_or(0),
        result: object.signed("result")?,
    })
}

pub(super) fn mem_exec(object: Object<'_>) -> Result<MemExec> {
    Ok(MemExec {
        address: object.number("address")?.unwrap_or(0),
        length: object.number("length")?.unwrap_or(0),
        protection: object.small("protection")?.unwrap_or(0),
        call: object.word("call")?,
        backing: object.word("backing")?,
        path: object.text("path")?,
    })
}

pub(super) fn memfd(object: Object<'_>) -> Result<Memfd> {
    Ok(Memfd {
        name: object.text("name")?,
        flags: object.small("flags")?,
    })
}
