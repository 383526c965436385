//! Files, file systems, scripts and scheduled jobs.

use serde_json::json;

use super::activity::{FILE, Mapped, SCHEDULED_JOB, SCRIPT};
use super::part::{Part, UNKNOWN, file_at, name_of, sha256};
use crate::{File, Kind, Memfd, Mount, ScheduledJob, Script, Text};

pub(super) fn file(kind: Kind, file: &File) -> Mapped {
    let renamed = matches!(kind, Kind::FileRename);
    let linked = matches!(kind, Kind::FileLink);
    let named = if linked { &file.new_path } else { &file.path };
    let object = file_at(named, type_id(kind, file))
        .maybe("size", file.size)
        .maybe("uid", file.inode.map(|inode| inode.to_string()))
        .list(
            "hashes",
            file.sha256_after.map(sha256).into_iter().collect(),
        )
        .part("owner", file.owner_uid.map(owner));
    let result = renamed.then(|| file_at(&file.new_path, type_id(kind, file)));
    let attributes = Part::new()
        .part("file", Some(object))
        .part("file_result", result);
    Mapped::new(FILE, activity(kind, file))
        .with(attributes)
        .result(file.result)
        .taking(match kind {
            Kind::FileLink => LINK,
            Kind::FileRename => RENAME,
            _ => TAKEN,
        })
}

const TAKEN: &[&str] = &[
    "file.path",
    "file.size",
    "file.inode",
    "file.sha256_after",
    "file.owner_uid",
    "file.result",
];

const RENAME: &[&str] = &[
    "file.path",
    "file.new_path",
    "file.size",
    "file.inode",
    "file.sha256_after",
    "file.owner_uid",
    "file.result",
];

/// Of a link, `path` is where it leads.
const LINK: &[&str] = &[
    "file.new_path",
    "file.size",
    "file.inode",
    "file.sha256_after",
    "file.owner_uid",
    "file.result",
];

fn owner(uid: u32) -> Part {
    Part::new().put("uid", uid.to_string())
}

fn activity(kind: Kind, file: &File) -> (u32, &'static str) {
    match kind {
        Kind::FileCreate | Kind::FileLink => (1, "Create"),
        Kind::FileModify => (3, "Update"),
        Kind::FileDelete => (4, "Delete"),
        Kind::FileRename => (5, "Rename"),
        Kind::FileAttr if is_security(file) => (7, "Set Security"),
        Kind::FileAttr => (6, "Set Attributes"),
        Kind::FileOpen if !is_opened_to_write(file) => (2, "Read"),
        Kind::FileOpen => (14, "Open"),
        _ => (0, "Unknown"),
    }
}

/// Owner, permissions, and attributes that the kernel decides by.
fn is_security(file: &File) -> bool {
    matches!(file.change.as_str(), "mode" | "owner")
        || file.attribute.as_bytes().starts_with(b"security.")
}

const fn is_opened_to_write(file: &File) -> bool {
    matches!(file.flags, Some(flags) if flags & ACCESS_MODE != 0)
}

/// The bits of `open(2)` that say for what; 0 is to read.
const ACCESS_MODE: u32 = 3;

/// By the type in the mode, as OCSF numbers them.
fn type_id(kind: Kind, file: &File) -> u32 {
    if matches!(kind, Kind::FileLink) && file.change == "symbolic" {
        return 7;
    }
    match file.mode.map(|mode| mode & 0o170_000) {
        Some(0o100_000) => 1,
        Some(0o040_000) => 2,
        Some(0o020_000) => 3,
        Some(0o060_000) => 4,
        Some(0o140_000) => 5,
        Some(0o010_000) => 6,
        Some(0o120_000) => 7,
        _ => 0,
    }
}

/// A file in memory is made; it has a name but is in no folder.
pub(super) fn memfd(memfd: &Memfd) -> Mapped {
    let name = memfd.name.lossy();
    let file = Part::new()
        .put("name", if name.is_empty() { UNKNOWN } else { &*name })
        .put("type_id", 99)
        .put("type", "memfd");
    Mapped::new(FILE, (1, "Create"))
        .with(Part::new().part("file", Some(file)))
        .taking(&["memfd.name"])
}

pub(super) fn mount(mount: &Mount) -> Mapped {
    let mapped = match mount.action.as_str() {
        "mount" | "bind" | "remount" | "move" | "fsmount" => Mapped::new(FILE, (12, "Mount")),
        "unmount" => Mapped::new(FILE, (13, "Unmount")),
        other => Mapped::other(FILE, other),
    };
    let file = file_at(&mount.target, 2);
    mapped
        .with(Part::new().part("file", Some(file)))
        .result(mount.result)
        .taking(&["mount.target", "mount.result"])
}

/// Only the file is known: its text is said to be left out.
pub(super) fn script(script: &Script) -> Mapped {
    let content = Part::new()
        .put("value", "")
        .put("is_truncated", true)
        .maybe("untruncated_size", script.size);
    let (type_id, r#type) = language(&script.interpreter);
    let part = Part::new()
        .put("name", name_of(&script.path))
        .put("type_id", type_id)
        .word("type", &r#type)
        .part("file", Some(file_at(&script.path, 1)))
        .list("hashes", script.sha256.map(sha256).into_iter().collect())
        .part("script_content", Some(content));
    Mapped::new(SCRIPT, (1, "Execute"))
        .with(Part::new().part("script", Some(part)))
        .taking(&["script.path", "script.sha256", "script.size"])
}

fn language(interpreter: &Text) -> (u32, String) {
    if interpreter.is_empty() {
        return (0, String::new());
    }
    let name = name_of(interpreter);
    let known = LANGUAGES.iter().find(|(start, ..)| name.starts_with(start));
    match known {
        Some((_, id, language)) => (*id, (*language).to_owned()),
        None => (99, name),
    }
}

const LANGUAGES: &[(&str, u32, &str)] = &[
    ("python", 3, "Python"),
    ("pypy", 3, "Python"),
    ("node", 4, "JavaScript"),
    ("pwsh", 2, "PowerShell"),
    ("sh", 6, "Unix Shell"),
    ("bash", 6, "Unix Shell"),
    ("dash", 6, "Unix Shell"),
    ("zsh", 6, "Unix Shell"),
    ("ksh", 6, "Unix Shell"),
    ("fish", 6, "Unix Shell"),
    ("busybox", 6, "Unix Shell"),
];

pub(super) fn scheduled_job(job: &ScheduledJob) -> Mapped {
    let mapped = match job.action.as_str() {
        "created" => Mapped::new(SCHEDULED_JOB, (1, "Create")),
        "changed" => Mapped::new(SCHEDULED_JOB, (2, "Update")),
        "removed" => Mapped::new(SCHEDULED_JOB, (3, "Delete")),
        other => Mapped::other(SCHEDULED_JOB, other),
    };
    let known = |text: &Text| !text.is_empty();
    let user = known(&job.user).then(|| json!({"name": job.user.lossy()}));
    let part = Part::new()
        .put("name", name_of(&job.path))
        .text("cmd_line", &job.command)
        .maybe("user", user)
        .part("file", known(&job.path).then(|| file_at(&job.path, 1)));
    mapped.with(Part::new().part("job", Some(part))).taking(&[
        "scheduled_job.path",
        "scheduled_job.user",
        "scheduled_job.command",
    ])
}
