//! Files, scripts and scheduled jobs on the wire.

use picket_proto::v1;

use crate::wire::{EventError, digest_bytes, digest_or_none, known_or_none};
use crate::{File, HashStatus, ScheduledJob, Script};

impl From<File> for v1::File {
    fn from(file: File) -> Self {
        Self {
            path: file.path.into_bytes(),
            new_path: file.new_path.into_bytes(),
            inode: file.inode,
            dev: file.dev,
            mode: file.mode,
            size: file.size,
            sha256_before: digest_bytes(file.sha256_before),
            sha256_after: digest_bytes(file.sha256_after),
            hash_status: file.hash_status.map_or(0, HashStatus::to_wire),
            sensitive: file.sensitive,
            flags: file.flags,
            change: file.change,
            mode_before: file.mode_before,
            owner_uid: file.owner_uid,
            owner_gid: file.owner_gid,
            attribute: file.attribute.into_bytes(),
            path_given: file.path_given,
            result: file.result,
        }
    }
}

impl TryFrom<v1::File> for File {
    type Error = EventError;

    fn try_from(wire: v1::File) -> Result<Self, EventError> {
        Ok(Self {
            path: wire.path.into(),
            new_path: wire.new_path.into(),
            inode: wire.inode,
            dev: wire.dev,
            mode: wire.mode,
            size: wire.size,
            sha256_before: digest_or_none("file.sha256_before", &wire.sha256_before)?,
            sha256_after: digest_or_none("file.sha256_after", &wire.sha256_after)?,
            hash_status: known_or_none(
                "file.hash_status",
                wire.hash_status,
                HashStatus::from_wire,
            )?,
            sensitive: wire.sensitive,
            flags: wire.flags,
            change: wire.change,
            mode_before: wire.mode_before,
            owner_uid: wire.owner_uid,
            owner_gid: wire.owner_gid,
            attribute: wire.attribute.into(),
            path_given: wire.path_given,
            result: wire.result,
        })
    }
}

impl From<Script> for v1::Script {
    fn from(script: Script) -> Self {
        Self {
            path: script.path.into_bytes(),
            interpreter: script.interpreter.into_bytes(),
            sha256: digest_bytes(script.sha256),
            hash_status: script.hash_status.map_or(0, HashStatus::to_wire),
            size: script.size,
        }
    }
}

impl TryFrom<v1::Script> for Script {
    type Error = EventError;

    fn try_from(wire: v1::Script) -> Result<Self, EventError> {
        Ok(Self {
            path: wire.path.into(),
            interpreter: wire.interpreter.into(),
            sha256: digest_or_none("script.sha256", &wire.sha256)?,
            hash_status: known_or_none(
                "script.hash_status",
                wire.hash_status,
                HashStatus::from_wire,
            )?,
            size: wire.size,
        })
    }
}

impl From<ScheduledJob> for v1::ScheduledJob {
    fn from(job: ScheduledJob) -> Self {
        Self {
            action: job.action,
            scheduler: job.scheduler,
            path: job.path.into_bytes(),
            user: job.user.into_bytes(),
            schedule: job.schedule.into_bytes(),
            command: job.command.into_bytes(),
        }
    }
}

impl From<v1::ScheduledJob> for ScheduledJob {
    fn from(wire: v1::ScheduledJob) -> Self {
        Self {
            action: wire.action,
            scheduler: wire.scheduler,
            path: wire.path.into(),
            user: wire.user.into(),
            schedule: wire.schedule.into(),
            command: wire.command.into(),
        }
    }
}
