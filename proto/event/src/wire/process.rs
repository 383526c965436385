//! Processes on the wire.

use picket_proto::v1;

use super::{EventError, digest_bytes, digest_or_none, id, id_or_none, known_or_none};
use crate::{
    Ancestor, EnvVar, Fidelity, HashStatus, Namespaces, Process, ProcessUid, Text, UnixNanos, User,
};

impl From<Process> for v1::Process {
    fn from(process: Process) -> Self {
        Self {
            uid: process.uid.as_bytes().to_vec(),
            pid: process.pid,
            ppid: process.ppid,
            parent_uid: process
                .parent_uid
                .map(|uid| uid.as_bytes().to_vec())
                .unwrap_or_default(),
            exe: process.exe.into_bytes(),
            argv: process.argv.into_iter().map(Text::into_bytes).collect(),
            argc: process.argc,
            argv_bytes: process.argv_bytes,
            argv_truncated: process.argv_truncated,
            argv_omitted_at: process.argv_omitted_at,
            cwd: process.cwd.into_bytes(),
            user: process.user.map(|user| v1::User {
                uid: user.uid,
                name: user.name.into_bytes(),
            }),
            login_uid: process.login_uid,
            session: process.session,
            tty: process.tty.into_bytes(),
            start_unix_ns: process.start_time.map_or(0, |time| time.0),
            sha256: digest_bytes(process.sha256),
            hash_status: process.hash_status.map_or(0, HashStatus::to_wire),
            container: process.container.unwrap_or_default(),
            cgroup: process.cgroup.into_bytes(),
            ns: process.ns.map(namespaces_to_wire),
            caps: process.caps,
            memfd: process.memfd,
            env: process.env.into_iter().map(env_to_wire).collect(),
            ancestry: process.ancestry.iter().map(ancestor_to_wire).collect(),
            fidelity: process.fidelity.map_or(0, Fidelity::to_wire),
            comm: process.comm.into_bytes(),
            script: process.script.into_bytes(),
            effective_uid: process.effective_uid,
            gid: process.gid,
            effective_gid: process.effective_gid,
        }
    }
}

fn namespaces_to_wire(ns: Namespaces) -> v1::Namespaces {
    v1::Namespaces {
        pid: ns.pid,
        mnt: ns.mnt,
        net: ns.net,
        user: ns.user,
    }
}

fn env_to_wire(var: EnvVar) -> v1::EnvVar {
    v1::EnvVar {
        name: var.name.into_bytes(),
        value: var.value.into_bytes(),
    }
}

fn ancestor_to_wire(ancestor: &Ancestor) -> v1::Ancestor {
    v1::Ancestor {
        uid: ancestor.uid.as_bytes().to_vec(),
        pid: ancestor.pid,
        exe: ancestor.exe.as_bytes().to_vec(),
    }
}

impl TryFrom<v1::Process> for Process {
    type Error = EventError;

    fn try_from(wire: v1::Process) -> Result<Self, EventError> {
        let ancestry = wire
            .ancestry
            .into_iter()
            .map(ancestor)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            uid: id("process.uid", &wire.uid, ProcessUid::from_slice)?,
            pid: wire.pid,
            ppid: wire.ppid,
            parent_uid: id_or_none(
                "process.parent_uid",
                &wire.parent_uid,
                ProcessUid::from_slice,
            )?,
            exe: wire.exe.into(),
            argv: wire.argv.into_iter().map(Text::from).collect(),
            argc: wire.argc,
            argv_bytes: wire.argv_bytes,
            argv_truncated: wire.argv_truncated,
            argv_omitted_at: wire.argv_omitted_at,
            cwd: wire.cwd.into(),
            user: wire.user.map(|user| User {
                uid: user.uid,
                name: user.name.into(),
            }),
            login_uid: wire.login_uid,
            session: wire.session,
            tty: wire.tty.into(),
            start_time: (wire.start_unix_ns != 0).then_some(UnixNanos(wire.start_unix_ns)),
            sha256: digest_or_none("process.sha256", &wire.sha256)?,
            hash_status: known_or_none(
                "process.hash_status",
                wire.hash_status,
                HashStatus::from_wire,
            )?,
            container: (!wire.container.is_empty()).then_some(wire.container),
            cgroup: wire.cgroup.into(),
            ns: wire.ns.map(namespaces),
            caps: wire.caps,
            memfd: wire.memfd,
            env: wire.env.into_iter().map(env).collect(),
            ancestry,
            fidelity: known_or_none("process.fidelity", wire.fidelity, Fidelity::from_wire)?,
            comm: wire.comm.into(),
            script: wire.script.into(),
            effective_uid: wire.effective_uid,
            gid: wire.gid,
            effective_gid: wire.effective_gid,
        })
    }
}

fn namespaces(wire: v1::Namespaces) -> Namespaces {
    Namespaces {
        pid: wire.pid,
        mnt: wire.mnt,
        net: wire.net,
        user: wire.user,
    }
}

fn env(wire: v1::EnvVar) -> EnvVar {
    EnvVar {
        name: wire.name.into(),
        value: wire.value.into(),
    }
}

fn ancestor(wire: v1::Ancestor) -> Result<Ancestor, EventError> {
    Ok(Ancestor {
        uid: id("process.ancestry.uid", &wire.uid, ProcessUid::from_slice)?,
        pid: wire.pid,
        exe: wire.exe.into(),
    })
}
