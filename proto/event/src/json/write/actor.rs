//! Who acted, to JSON.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::object::{Object, base64};
use crate::{Ancestor, EnvVar, Fidelity, HashStatus, Process};

pub(super) fn process(process: &Process) -> Value {
    let object = Object::new()
        .put("uid", process.uid.to_string())
        .put("pid", process.pid)
        .maybe("ppid", (process.ppid != 0).then_some(process.ppid))
        .uid("parent_uid", process.parent_uid)
        .text("exe", &process.exe);
    credentials(arguments(object, process), process)
        .maybe(
            "start_time",
            process.start_time.map(|time| time.to_string()),
        )
        .hash("sha256", process.sha256)
        .maybe("hash_status", process.hash_status.map(HashStatus::name))
        .put("container", process.container.as_deref())
        .text("cgroup", &process.cgroup)
        .maybe(
            "ns",
            process
                .ns
                .map(|ns| json!({"pid": ns.pid, "mnt": ns.mnt, "net": ns.net, "user": ns.user})),
        )
        .caps("caps", process.caps)
        .put("memfd", process.memfd)
        .maybe("env", (!process.env.is_empty()).then(|| env(&process.env)))
        .maybe("env_raw", env_raw(&process.env))
        .list("ancestry", &process.ancestry, ancestor)
        .maybe("fidelity", process.fidelity.map(Fidelity::name))
        .done()
}

fn arguments(object: Object, process: &Process) -> Object {
    let object = object
        .text("script", &process.script)
        .text("comm", &process.comm);
    if process.argc == 0 && process.argv.is_empty() {
        return object.text("cwd", &process.cwd);
    }
    object
        .texts("argv", &process.argv)
        .put("argc", process.argc)
        .put("argv_bytes", process.argv_bytes)
        .put("argv_truncated", process.argv_truncated)
        .maybe(
            "argv_omitted_at",
            process.argv_truncated.then_some(process.argv_omitted_at),
        )
        .text("cwd", &process.cwd)
}

fn credentials(object: Object, process: &Process) -> Object {
    let user = process.user.as_ref().map(|user| {
        Object::new()
            .put("uid", user.uid)
            .text("name", &user.name)
            .done()
    });
    object
        .maybe("user", user)
        .maybe("effective_uid", process.effective_uid)
        .maybe("gid", process.gid)
        .maybe("effective_gid", process.effective_gid)
        .maybe("login_uid", process.login_uid)
        .maybe("session", process.session)
        .text("tty", &process.tty)
}

fn env(vars: &[EnvVar]) -> Value {
    let pairs = vars
        .iter()
        .map(|var| (var.name.lossy().into_owned(), var.value.lossy().into()));
    Value::Object(pairs.collect())
}

/// What an object cannot hold: bytes that are no text, and a name that comes twice.
fn env_raw(vars: &[EnvVar]) -> Option<Value> {
    let mut names = BTreeSet::new();
    let fits = |var: &EnvVar| var.name.as_str().is_some() && var.value.as_str().is_some();
    if vars.iter().all(|var| fits(var) && names.insert(&var.name)) {
        return None;
    }
    let pairs = vars
        .iter()
        .map(|var| json!([base64(&var.name), base64(&var.value)]));
    Some(pairs.collect())
}

fn ancestor(ancestor: &Ancestor) -> Value {
    Object::new()
        .put("uid", ancestor.uid.to_string())
        .put("pid", ancestor.pid)
        .text("exe", &ancestor.exe)
        .done()
}
