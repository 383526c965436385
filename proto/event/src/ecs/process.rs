//! Who acted: `process`, `user`, `container`.

use serde_json::{Value, json};

use super::tree::Tree;
use crate::{Process, Text};

pub(super) fn process(tree: &mut Tree, process: &Process) {
    tree.put("process.entity_id", process.uid.to_string());
    tree.put("process.pid", process.pid);
    tree.text("process.executable", &process.exe);
    tree.maybe("process.name", name_of(&process.exe));
    tree.text("process.working_directory", &process.cwd);
    if !process.argv.is_empty() {
        let line = process.command_line();
        tree.put("process.command_line", String::from_utf8_lossy(&line));
        tree.put("process.args_count", process.argc.max(count(process)));
    }
    let args = process.argv.iter().map(|one| json!(one.lossy()));
    tree.list("process.args", args.collect());
    tree.maybe(
        "process.start",
        process.start_time.map(|time| time.to_string()),
    );
    let hash = process.sha256.map(|hash| hex::encode(hash.as_bytes()));
    tree.maybe("process.hash.sha256", hash);
    if process.ppid != 0 {
        tree.put("process.parent.pid", process.ppid);
    }
    let parent = process.parent_uid.map(|uid| uid.to_string());
    tree.maybe("process.parent.entity_id", parent);
    if let Some(parent) = process.ancestry.first() {
        tree.text("process.parent.executable", &parent.exe);
        tree.maybe("process.parent.name", name_of(&parent.exe));
    }
    let variables = process.env.iter();
    let variables = variables.map(|one| format!("{}={}", one.name.lossy(), one.value.lossy()));
    tree.list("process.env_vars", variables.map(Value::from).collect());
    users(tree, process);
    tree.maybe("container.id", process.container.clone());
}

fn users(tree: &mut Tree, process: &Process) {
    if let Some(user) = &process.user {
        tree.put("user.id", user.uid.to_string());
        tree.text("user.name", &user.name);
        tree.put("process.real_user.id", user.uid.to_string());
        tree.text("process.real_user.name", &user.name);
    }
    let id = |id: Option<u32>| id.map(|id| id.to_string());
    tree.maybe("user.effective.id", id(process.effective_uid));
    tree.maybe("process.user.id", id(process.effective_uid));
    tree.maybe("process.real_group.id", id(process.gid));
    tree.maybe("process.group.id", id(process.effective_gid));
    tree.maybe("process.login_user.id", id(process.login_uid));
}

fn count(process: &Process) -> u32 {
    u32::try_from(process.argv.len()).unwrap_or(u32::MAX)
}

/// What follows the last slash.
pub(super) fn name_of(path: &Text) -> Option<String> {
    let whole = path.lossy();
    let name = whole.rsplit('/').find(|part| !part.is_empty())?;
    Some(name.to_owned())
}
