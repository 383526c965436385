//! Who acted, from JSON.

use serde_json::Value;

use super::object::{Object, Result, needed, unbase64};
use crate::json::JsonError;
use crate::{Ancestor, EnvVar, Fidelity, Namespaces, Process, Text, UnixNanos, User};

pub(super) fn process(object: Object<'_>) -> Result<Process> {
    let uid = needed("process.uid", object.uid("uid")?)?;
    let mut process = Process::new(uid, needed("process.pid", object.small("pid")?)?);
    process.ppid = object.small("ppid")?.unwrap_or(0);
    process.parent_uid = object.uid("parent_uid")?;
    process.exe = object.text("exe")?;
    process.script = object.text("script")?;
    process.comm = object.text("comm")?;
    process.argv = object.texts("argv")?;
    process.argc = object.small("argc")?.unwrap_or(0);
    process.argv_bytes = object.number("argv_bytes")?.unwrap_or(0);
    process.argv_truncated = object.flag("argv_truncated")?;
    process.argv_omitted_at = object.small("argv_omitted_at")?.unwrap_or(0);
    process.cwd = object.text("cwd")?;
    read_credentials(object, &mut process)?;
    read_surroundings(object, &mut process)?;
    Ok(process)
}

fn read_credentials(object: Object<'_>, process: &mut Process) -> Result<()> {
    let user = object.object("user")?;
    process.user = user
        .map(|user| {
            Ok::<_, JsonError>(User {
                uid: needed("user.uid", user.small("uid")?)?,
                name: user.text("name")?,
            })
        })
        .transpose()?;
    process.effective_uid = object.small("effective_uid")?;
    process.gid = object.small("gid")?;
    process.effective_gid = object.small("effective_gid")?;
    process.login_uid = object.small("login_uid")?;
    process.session = object.small("session")?;
    process.tty = object.text("tty")?;
    process.caps = object.caps("caps")?;
    Ok(())
}

fn read_surroundings(object: Object<'_>, process: &mut Process) -> Result<()> {
    process.start_time = object.parsed("start_time", "an RFC 3339 time", UnixNanos::parse)?;
    process.sha256 = object.hash("sha256")?;
    process.hash_status = object.hash_status()?;
    process.container = object.string("container")?.map(str::to_owned);
    process.cgroup = object.text("cgroup")?;
    process.ns = object.object("ns")?.map(namespaces).transpose()?;
    process.memfd = object.flag("memfd")?;
    process.env = env(object)?;
    process.ancestry = object.objects("ancestry", ancestor)?.into();
    process.fidelity = object.parsed("fidelity", "a known fidelity", Fidelity::from_name)?;
    Ok(())
}

fn namespaces(object: Object<'_>) -> Result<Namespaces> {
    Ok(Namespaces {
        pid: object.small("pid")?.unwrap_or(0),
        mnt: object.small("mnt")?.unwrap_or(0),
        net: object.small("net")?.unwrap_or(0),
        user: object.small("user")?.unwrap_or(0),
    })
}

fn env(object: Object<'_>) -> Result<Vec<EnvVar>> {
    if let Some(raw) = object.value("env_raw").and_then(Value::as_array) {
        return raw.iter().map(raw_env_var).collect();
    }
    let Some(Object(map)) = object.object("env")? else {
        return Ok(Vec::new());
    };
    let text = |value: &Value| Text::from(value.as_str().unwrap_or_default());
    Ok(map
        .iter()
        .map(|(name, value)| EnvVar {
            name: Text::from(name.as_str()),
            value: text(value),
        })
        .collect())
}

fn raw_env_var(pair: &Value) -> Result<EnvVar> {
    let part = |index: usize| {
        let expected = JsonError::Field {
            field: "env_raw",
            expected: "a list of pairs",
        };
        let text = pair.get(index).and_then(Value::as_str).ok_or(expected)?;
        unbase64(text, "env_raw")
    };
    Ok(EnvVar {
        name: part(0)?,
        value: part(1)?,
    })
}

fn ancestor(object: Object<'_>) -> Result<Ancestor> {
    Ok(Ancestor {
        uid: needed("ancestry.uid", object.uid("uid")?)?,
        pid: object.small("pid")?.unwrap_or(0),
        exe: object.text("exe")?,
    })
}
