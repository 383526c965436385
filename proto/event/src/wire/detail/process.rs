//! What processes do to themselves and to each other, on the wire.

use picket_proto::v1;

use crate::wire::{EventError, id, id_or_none};
use crate::{
    CredChange, Credentials, ExecFailed, Exit, Fork, MemExec, Memfd, ProcessUid, Ptrace, Signal,
    Text,
};

impl From<Exit> for v1::Exit {
    fn from(exit: Exit) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal,
            duration_ns: exit.duration_ns,
        }
    }
}

impl From<v1::Exit> for Exit {
    fn from(wire: v1::Exit) -> Self {
        Self {
            code: wire.code,
            signal: wire.signal,
            duration_ns: wire.duration_ns,
        }
    }
}

impl From<Fork> for v1::Fork {
    fn from(fork: Fork) -> Self {
        Self {
            child_uid: fork.child_uid.as_bytes().to_vec(),
            child_pid: fork.child_pid,
        }
    }
}

impl TryFrom<v1::Fork> for Fork {
    type Error = EventError;

    fn try_from(wire: v1::Fork) -> Result<Self, EventError> {
        Ok(Self {
            child_uid: id("fork.child_uid", &wire.child_uid, ProcessUid::from_slice)?,
            child_pid: wire.child_pid,
        })
    }
}

impl From<ExecFailed> for v1::ExecFailed {
    fn from(failed: ExecFailed) -> Self {
        Self {
            path: failed.path.into_bytes(),
            argv: failed.argv.into_iter().map(Text::into_bytes).collect(),
            argc: failed.argc,
            argv_truncated: failed.argv_truncated,
            result: failed.result,
        }
    }
}

impl From<v1::ExecFailed> for ExecFailed {
    fn from(wire: v1::ExecFailed) -> Self {
        Self {
            path: wire.path.into(),
            argv: wire.argv.into_iter().map(Text::from).collect(),
            argc: wire.argc,
            argv_truncated: wire.argv_truncated,
            result: wire.result,
        }
    }
}

impl From<CredChange> for v1::CredChange {
    fn from(change: CredChange) -> Self {
        Self {
            old: Some(change.old.into()),
            new: Some(change.new.into()),
        }
    }
}

impl TryFrom<v1::CredChange> for CredChange {
    type Error = EventError;

    fn try_from(wire: v1::CredChange) -> Result<Self, EventError> {
        let there = |field, held: Option<v1::Credentials>| {
            held.map(Credentials::from)
                .ok_or(EventError::Missing { field })
        };
        Ok(Self {
            old: there("cred.old", wire.old)?,
            new: there("cred.new", wire.new)?,
        })
    }
}

impl From<Credentials> for v1::Credentials {
    fn from(held: Credentials) -> Self {
        Self {
            uid: held.uid,
            gid: held.gid,
            effective_uid: held.effective_uid,
            effective_gid: held.effective_gid,
            saved_uid: held.saved_uid,
            saved_gid: held.saved_gid,
            caps_effective: held.caps_effective,
            caps_permitted: held.caps_permitted,
            caps_inheritable: held.caps_inheritable,
            login_uid: held.login_uid,
            session: held.session,
        }
    }
}

impl From<v1::Credentials> for Credentials {
    fn from(wire: v1::Credentials) -> Self {
        Self {
            uid: wire.uid,
            gid: wire.gid,
            effective_uid: wire.effective_uid,
            effective_gid: wire.effective_gid,
            saved_uid: wire.saved_uid,
            saved_gid: wire.saved_gid,
            caps_effective: wire.caps_effective,
            caps_permitted: wire.caps_permitted,
            caps_inheritable: wire.caps_inheritable,
            login_uid: wire.login_uid,
            session: wire.session,
        }
    }
}

impl From<Ptrace> for v1::Ptrace {
    fn from(ptrace: Ptrace) -> Self {
        Self {
            request: ptrace.request,
            target_uid: uid_bytes(ptrace.target_uid),
            target_pid: ptrace.target_pid,
            result: ptrace.result,
        }
    }
}

impl TryFrom<v1::Ptrace> for Ptrace {
    type Error = EventError;

    fn try_from(wire: v1::Ptrace) -> Result<Self, EventError> {
        Ok(Self {
            request: wire.request,
            target_uid: id_or_none(
                "ptrace.target_uid",
                &wire.target_uid,
                ProcessUid::from_slice,
            )?,
            target_pid: wire.target_pid,
            result: wire.result,
        })
    }
}

impl From<Signal> for v1::Signal {
    fn from(signal: Signal) -> Self {
        Self {
            number: signal.number,
            target_uid: uid_bytes(signal.target_uid),
            target_pid: signal.target_pid,
            result: signal.result,
        }
    }
}

impl TryFrom<v1::Signal> for Signal {
    type Error = EventError;

    fn try_from(wire: v1::Signal) -> Result<Self, EventError> {
        Ok(Self {
            number: wire.number,
            target_uid: id_or_none(
                "signal.target_uid",
                &wire.target_uid,
                ProcessUid::from_slice,
            )?,
            target_pid: wire.target_pid,
            result: wire.result,
        })
    }
}

fn uid_bytes(uid: Option<ProcessUid>) -> Vec<u8> {
    uid.map(|uid| uid.as_bytes().to_vec()).unwrap_or_default()
}

impl From<MemExec> for v1::MemExec {
    fn from(memory: MemExec) -> Self {
        Self {
            address: memory.address,
            length: memory.length,
            protection: memory.protection,
            call: memory.call,
            backing: memory.backing,
            path: memory.path.into_bytes(),
        }
    }
}

impl From<v1::MemExec> for MemExec {
    fn from(wire: v1::MemExec) -> Self {
        Self {
            address: wire.address,
            length: wire.length,
            protection: wire.protection,
            call: wire.call,
            backing: wire.backing,
            path: wire.path.into(),
        }
    }
}

impl From<Memfd> for v1::Memfd {
    fn from(memfd: Memfd) -> Self {
        Self {
            name: memfd.name.into_bytes(),
            flags: memfd.flags,
        }
    }
}

impl From<v1::Memfd> for Memfd {
    fn from(wire: v1::Memfd) -> Self {
        Self {
            name: wire.name.into(),
            flags: wire.flags,
        }
    }
}
