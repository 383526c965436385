//! Files, scripts and scheduled jobs to JSON.

use super::object::{Json, Object};
use crate::{File, HashStatus, ScheduledJob, Script};

pub(super) fn file(file: &File) -> Json {
    Object::new()
        .text("path", &file.path)
        .text("new_path", &file.new_path)
        .maybe("inode", file.inode)
        .maybe("dev", file.dev)
        .maybe("mode", file.mode)
        .maybe("size", file.size)
        .hash("sha256_before", file.sha256_before)
        .hash("sha256_after", file.sha256_after)
        .maybe("hash_status", file.hash_status.map(HashStatus::name))
        .flag("sensitive", file.sensitive)
        .maybe("flags", file.flags)
        .word("change", &file.change)
        .maybe("mode_before", file.mode_before)
        .maybe("owner_uid", file.owner_uid)
        .maybe("owner_gid", file.owner_gid)
        .text("attribute", &file.attribute)
        .flag("path_given", file.path_given)
        .maybe("result", file.result)
        .done()
}

pub(super) fn script(script: &Script) -> Json {
    Object::new()
        .text("path", &script.path)
        .text("interpreter", &script.interpreter)
        .hash("sha256", script.sha256)
        .maybe("hash_status", script.hash_status.map(HashStatus::name))
        .maybe("size", script.size)
        .done()
}

pub(super) fn scheduled_job(job: &ScheduledJob) -> Json {
    Object::new()
        .word("action", &job.action)
        .word("scheduler", &job.scheduler)
        .text("path", &job.path)
        .text("user", &job.user)
        .text("schedule", &job.schedule)
        .text("command", &job.command)
        .done()
}
