//! Who acted, to JSON.

use std::collections::BTreeSet;

use serde_json::Value;

use super::USUAL_BYTES;
use super::object::{Hex, Json, Lossy, Object, Plain, base64};
use crate::{Ancestor, EnvVar, Fidelity, HashStatus, Namespaces, Process, Text};

pub(super) fn process(process: &Process) -> Json {
    let object = Object::with_room(USUAL_BYTES)
        .put("uid", Hex(process.uid.as_bytes()))
        .put("pid", process.pid)
        .maybe("ppid", (process.ppid != 0).then_some(process.ppid))
        .uid("parent_uid", process.parent_uid)
        .text("exe", &process.exe);
    let object = credentials(arguments(object, process), process)
        .maybe("start_time", process.start_time.map(Plain))
        .hash("sha256", process.sha256)
        .maybe("hash_status", process.hash_status.map(HashStatus::name))
        .put("container", process.container.as_deref())
        .text("cgroup", &process.cgroup)
        .maybe("ns", process.ns.map(namespaces))
        .caps("caps", process.caps)
        .put("memfd", process.memfd);
    environment(object, &process.env)
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

fn namespaces(ns: Namespaces) -> Json {
    Object::new()
        .put("pid", ns.pid)
        .put("mnt", ns.mnt)
        .put("net", ns.net)
        .put("user", ns.user)
        .done()
}

fn environment(object: Object, vars: &[EnvVar]) -> Object {
    if vars.is_empty() {
        return object;
    }
    if fit_an_object(vars) {
        let pairs = vars.iter().fold(Object::new(), |pairs, var| {
            pairs.put_under(Lossy(&var.name), Lossy(&var.value))
        });
        return object.put("env", pairs.done());
    }
    let lossy = |text: &Text| text.lossy().into_owned();
    let last_of_each = vars
        .iter()
        .map(|var| (lossy(&var.name), lossy(&var.value).into()));
    let exact: Vec<[String; 2]> = vars
        .iter()
        .map(|var| [base64(&var.name), base64(&var.value)])
        .collect();
    object
        .put("env", Value::Object(last_of_each.collect()))
        .put("env_raw", exact)
}

/// What does not: bytes that are no text, and a name that comes twice.
fn fit_an_object(vars: &[EnvVar]) -> bool {
    let mut names = BTreeSet::new();
    let is_text = |var: &EnvVar| var.name.as_str().is_some() && var.value.as_str().is_some();
    vars.iter()
        .all(|var| is_text(var) && names.insert(&var.name))
}

fn ancestor(ancestor: &Ancestor) -> Json {
    Object::new()
        .put("uid", Hex(ancestor.uid.as_bytes()))
        .put("pid", ancestor.pid)
        .text("exe", &ancestor.exe)
        .done()
}
