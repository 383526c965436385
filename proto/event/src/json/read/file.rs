//! Files, scripts and scheduled jobs from JSON.

use super::object::{Object, Result};
use crate::{File, ScheduledJob, Script};

pub(super) fn file(object: Object<'_>) -> Result<File> {
    Ok(File {
        path: object.text("path")?,
        new_path: object.text("new_path")?,
        inode: object.number("inode")?,
        dev: object.number("dev")?,
        mode: object.small("mode")?,
        size: object.number("size")?,
        sha256_before: object.hash("sha256_before")?,
        sha256_after: object.hash("sha256_after")?,
        hash_status: object.hash_status()?,
        sensitive: object.flag("sensitive")?,
        flags: object.small("flags")?,
        change: object.word("change")?,
        mode_before: object.small("mode_before")?,
        owner_uid: object.small("owner_uid")?,
        owner_gid: object.small("owner_gid")?,
        attribute: object.text("attribute")?,
        path_given: object.flag("path_given")?,
        result: object.signed("result")?,
    })
}

pub(super) fn script(object: Object<'_>) -> Result<Script> {
    Ok(Script {
        path: object.text("path")?,
        interpreter: object.text("interpreter")?,
        sha256: object.hash("sha256")?,
        hash_status: object.hash_status()?,
        size: object.number("size")?,
    })
}

pub(super) fn scheduled_job(object: Object<'_>) -> Result<ScheduledJob> {
    Ok(ScheduledJob {
        action: object.word("action")?,
        scheduler: object.word("scheduler")?,
        path: object.text("path")?,
        user: object.text("user")?,
        schedule: object.text("schedule")?,
        command: object.text("command")?,
    })
}
