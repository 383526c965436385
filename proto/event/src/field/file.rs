//! Fields of files, scripts, scheduled jobs and accounts.

use super::read::{hash, number, text, word};
use super::{Row, Value};
use crate::{AccountChange, Detail, Event, ScheduledJob, Script};

pub(super) const FIELDS: &[Row] = &[
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
    ("file.change", |e| word(&e.file()?.change)),
    ("file.mode_before", |e| number(e.file()?.mode_before?)),
    ("file.owner_uid", |e| number(e.file()?.owner_uid?)),
    ("file.owner_gid", |e| number(e.file()?.owner_gid?)),
    ("file.attribute", |e| text(&e.file()?.attribute)),
    ("file.path_given", |e| {
        Some(Value::Flag(e.file()?.path_given))
    }),
    ("file.result", |e| number(e.file()?.result?)),
    ("script.path", |e| text(&script(e)?.path)),
    ("script.interpreter", |e| text(&script(e)?.interpreter)),
    ("script.sha256", |e| hash(script(e)?.sha256)),
    ("script.hash_status", |e| {
        word(script(e)?.hash_status?.name())
    }),
    ("script.size", |e| number(script(e)?.size?)),
    ("scheduled_job.action", |e| word(&job(e)?.action)),
    ("scheduled_job.scheduler", |e| word(&job(e)?.scheduler)),
    ("scheduled_job.path", |e| text(&job(e)?.path)),
    ("scheduled_job.user", |e| text(&job(e)?.user)),
    ("scheduled_job.schedule", |e| text(&job(e)?.schedule)),
    ("scheduled_job.command", |e| text(&job(e)?.command)),
    ("account_change.action", |e| word(&account(e)?.action)),
    ("account_change.object", |e| word(&account(e)?.object)),
    ("account_change.account", |e| text(&account(e)?.account)),
    ("account_change.path", |e| text(&account(e)?.path)),
    ("account_change.before", |e| text(&account(e)?.before)),
    ("account_change.after", |e| text(&account(e)?.after)),
];

fn script(event: &Event) -> Option<&Script> {
    match &event.detail {
        Some(Detail::Script(it)) => Some(it),
        _ => None,
    }
}

fn job(event: &Event) -> Option<&ScheduledJob> {
    match &event.detail {
        Some(Detail::ScheduledJob(it)) => Some(it),
        _ => None,
    }
}

fn account(event: &Event) -> Option<&AccountChange> {
    match &event.detail {
        Some(Detail::AccountChange(it)) => Some(it),
        _ => None,
    }
}
