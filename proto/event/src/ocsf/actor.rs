//! Who acted, on which device.

use serde_json::{Value, json};

use super::part::{Part, UNKNOWN, file_at, millis, name_of, sha256};
use crate::{Ancestor, Event, Origin, Process, ProcessUid, Text, User};

/// The acting process of an event; for classes that cannot be without one.
pub(super) fn process_or_unknown(event: &Event) -> Part {
    let known = event.process.as_ref().map(process);
    known.unwrap_or_else(|| Part::new().put("uid", UNKNOWN))
}

/// A process with its parent and ancestors.
pub(super) fn process(process: &Process) -> Part {
    let name = if process.exe.is_empty() {
        process.comm.lossy().into_owned()
    } else {
        name_of(&process.exe)
    };
    let part = Part::new()
        .put("pid", process.pid)
        .put("uid", process.uid.to_string())
        .word("name", &name)
        .part("file", executable(process))
        .word("cmd_line", &command_line(&process.argv))
        .text("working_directory", &process.cwd)
        .maybe("created_time", process.start_time.map(millis));
    identity(part, process)
        .part("container", process.container.as_deref().map(container))
        .list("environment_variables", environment(process))
        .part("parent_process", parent(process))
        .list("ancestry", process.ancestry.iter().map(ancestor).collect())
}

fn executable(process: &Process) -> Option<Part> {
    let path = (!process.exe.is_empty()).then(|| file_at(&process.exe, 1));
    let hashes = process.sha256.map(|digest| vec![sha256(digest)]);
    path.map(|file| file.maybe("hashes", hashes))
}

fn identity(part: Part, process: &Process) -> Part {
    let group = process.gid.map(|gid| json!({"uid": gid.to_string()}));
    let session = Part::new()
        .maybe("uid", process.session.map(|session| session.to_string()))
        .text("terminal", &process.tty);
    part.part("user", process.user.as_ref().map(user))
        .maybe("group", group)
        .maybe("auid", process.login_uid)
        .maybe("euid", process.effective_uid)
        .maybe("egid", process.effective_gid)
        .part("session", (!session.is_empty()).then_some(session))
}

pub(super) fn user(user: &User) -> Part {
    Part::new()
        .put("uid", user.uid.to_string())
        .text("name", &user.name)
}

/// A user of whom only the name is known, if that.
pub(super) fn user_named(name: &Text) -> Part {
    let name = name.lossy();
    Part::new().put("name", if name.is_empty() { UNKNOWN } else { &*name })
}

fn container(id: &str) -> Part {
    Part::new().put("uid", id)
}

fn environment(process: &Process) -> Vec<Value> {
    let pair = |var: &crate::EnvVar| json!({"name": var.name.lossy(), "value": var.value.lossy()});
    process.env.iter().map(pair).collect()
}

fn parent(process: &Process) -> Option<Part> {
    let known = process.ppid != 0 || process.parent_uid.is_some();
    let exe = process
        .ancestry
        .iter()
        .find(|ancestor| Some(ancestor.uid) == process.parent_uid)
        .map(|ancestor| &ancestor.exe)
        .filter(|exe| !exe.is_empty());
    known.then(|| {
        let pid = (process.ppid != 0).then_some(process.ppid);
        by_number(pid, process.parent_uid)
            .maybe("name", exe.map(name_of))
            .part("file", exe.map(|exe| file_at(exe, 1)))
    })
}

fn ancestor(ancestor: &Ancestor) -> Value {
    let name = (!ancestor.exe.is_empty()).then(|| name_of(&ancestor.exe));
    by_number(Some(ancestor.pid), Some(ancestor.uid))
        .maybe("name", name)
        .text("path", &ancestor.exe)
        .done()
}

/// A process of which nothing but this is known.
pub(super) fn by_number(pid: Option<u32>, uid: Option<ProcessUid>) -> Part {
    Part::new()
        .maybe("pid", pid)
        .maybe("uid", uid.map(|uid| uid.to_string()))
}

/// Arguments as one would type them. The exact list is in `unmapped`.
pub(super) fn command_line(argv: &[Text]) -> String {
    let parts: Vec<String> = argv.iter().map(|one| one.lossy().into_owned()).collect();
    parts.join(" ")
}

/// The host. Its id and its name are required in part: at least one of them is said.
pub(super) fn device(origin: &Origin, hostname: Option<&str>) -> Part {
    let name = hostname.filter(|name| !name.is_empty());
    let unknown = (origin.host.is_none() && name.is_none()).then_some(UNKNOWN);
    Part::new()
        .put("type_id", 0)
        .maybe("uid", origin.host.map(|host| host.to_string()))
        .maybe("hostname", name)
        .maybe("name", unknown)
        .put("boot_uid", origin.boot.to_string())
        .put("os", json!({"name": "Linux", "type_id": 200}))
}

/// What of a process's JSON OCSF holds in full.
pub(super) const TAKEN: &[&str] = &[
    "process.uid",
    "process.pid",
    "process.ppid",
    "process.parent_uid",
    "process.exe",
    "process.cwd",
    "process.user.uid",
    "process.user.name",
    "process.effective_uid",
    "process.gid",
    "process.effective_gid",
    "process.login_uid",
    "process.session",
    "process.tty",
    "process.start_time",
    "process.container",
    "process.env",
];

/// What OCSF holds in full of this one: a hash has a place beside a path only, and a list of
/// ancestors no place for bytes that are no text.
pub(super) fn taken_too(process: &Process) -> &'static [&'static str] {
    let is_text = |ancestor: &Ancestor| ancestor.exe.as_str().is_some();
    match (process.exe.is_empty(), process.ancestry.iter().all(is_text)) {
        (false, true) => &["process.sha256", "process.ancestry"],
        (false, false) => &["process.sha256"],
        (true, true) => &["process.ancestry"],
        (true, false) => &[],
    }
}
