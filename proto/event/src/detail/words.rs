//! What processes do to themselves, to each other and to the kernel, in a few words each.
//!
//! What stays true: host text moves no cursor.

use crate::{
    AccountChange, Bpf, CredChange, Credentials, Detail, Device, Dns, ExecFailed, IoUring, MemExec,
    Module, Mount, Ptrace, ScheduledJob, Script, Signal, Text,
};

impl Detail {
    /// What a process did to itself, to another or to the kernel, in a few words that are safe on
    /// a terminal. Empty for the details that every program shows in its own way.
    pub fn kernel_words(&self) -> String {
        let words = match self {
            Self::Cred(it) => cred(it),
            Self::Ptrace(it) => ptrace(it),
            Self::Signal(it) => signal(it),
            Self::MemExec(it) => mem_exec(it),
            Self::Module(it) => module(it),
            Self::Bpf(it) => bpf(it),
            Self::Mount(it) => mount(it),
            Self::IoUring(it) => io_uring(it),
            Self::Device(it) => device(it),
            Self::Script(it) => script(it),
            Self::ScheduledJob(it) => scheduled_job(it),
            Self::AccountChange(it) => account_change(it),
            Self::Dns(it) => dns(it),
            Self::ExecFailed(it) => exec_failed(it),
            Self::Log(it) => vec![it.text.for_terminal()],
            _ => Vec::new(),
        };
        let known: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        known.join(" ")
    }
}

fn cred(change: &CredChange) -> Vec<String> {
    let (old, new) = (&change.old, &change.new);
    let ids = [
        ("uid", old.uid, new.uid),
        ("euid", old.effective_uid, new.effective_uid),
        ("suid", old.saved_uid, new.saved_uid),
        ("gid", old.gid, new.gid),
        ("egid", old.effective_gid, new.effective_gid),
        ("sgid", old.saved_gid, new.saved_gid),
    ];
    let changed = ids.into_iter().filter(|(_, old, new)| old != new);
    let mut words: Vec<String> = changed
        .map(|(name, old, new)| format!("{name} {old} -> {new}"))
        .collect();
    let login = |held: &Credentials| {
        held.login_uid
            .map_or_else(|| "none".to_owned(), |uid| uid.to_string())
    };
    if old.login_uid != new.login_uid {
        words.push(format!("login uid {} -> {}", login(old), login(new)));
    }
    words.push(caps("caps", old.caps_effective, new.caps_effective));
    words.push(caps("permitted", old.caps_permitted, new.caps_permitted));
    words.push(caps(
        "inheritable",
        old.caps_inheritable,
        new.caps_inheritable,
    ));
    words
}

fn caps(name: &str, old: u64, new: u64) -> String {
    if old == new {
        return String::new();
    }
    format!("{name} {old:016x} -> {new:016x}")
}

fn ptrace(it: &Ptrace) -> Vec<String> {
    vec![
        word(&it.request),
        format!("pid {}", it.target_pid),
        failed(it.result),
    ]
}

fn signal(it: &Signal) -> Vec<String> {
    let to = match it.target_pid {
        pid if pid < 0 => format!("to group {}", pid.unsigned_abs()),
        pid => format!("to pid {pid}"),
    };
    vec![format!("signal {}", it.number), to, failed(it.result)]
}

fn mem_exec(it: &MemExec) -> Vec<String> {
    let bits = ["r", "w", "x"].iter().enumerate();
    let protection: String = bits
        .map(|(bit, letter)| {
            if it.protection & (1 << bit) != 0 {
                *letter
            } else {
                "-"
            }
        })
        .collect();
    vec![
        word(&it.call),
        protection,
        word(&it.backing),
        it.path.for_terminal(),
        format!("{} bytes at {:#x}", it.length, it.address),
    ]
}

fn module(it: &Module) -> Vec<String> {
    vec![
        word(&it.action),
        it.name.for_terminal(),
        named("from", &it.path),
        named("with", &it.parameters),
        failed(it.result),
    ]
}

fn bpf(it: &Bpf) -> Vec<String> {
    let instructions = it.instructions.map(|count| format!("{count} instructions"));
    vec![
        word(&it.action),
        word(&it.prog_type),
        it.name.for_terminal(),
        word(&it.attach_type),
        instructions.unwrap_or_default(),
        failed(it.result),
    ]
}

fn mount(it: &Mount) -> Vec<String> {
    vec![
        word(&it.action),
        it.fs_type.for_terminal(),
        it.source.for_terminal(),
        named("at", &it.target),
        failed(it.result),
    ]
}

fn io_uring(it: &IoUring) -> Vec<String> {
    let entries = it.entries.map(|count| format!("{count} entries"));
    vec![
        word(&it.action),
        word(&it.opcode),
        entries.unwrap_or_default(),
    ]
}

fn device(it: &Device) -> Vec<String> {
    let id = [&it.vendor_id, &it.product_id].map(|id| word(id));
    let id = if id.iter().all(String::is_empty) {
        String::new()
    } else {
        id.join(":")
    };
    vec![
        word(&it.action),
        word(&it.subsystem),
        word(&it.device_type),
        it.name.for_terminal(),
        it.path.for_terminal(),
        id,
        word(&it.driver),
    ]
}

fn script(it: &Script) -> Vec<String> {
    vec![it.path.for_terminal(), named("by", &it.interpreter)]
}

fn scheduled_job(it: &ScheduledJob) -> Vec<String> {
    vec![
        word(&it.action),
        word(&it.scheduler),
        it.path.for_terminal(),
        named("as", &it.user),
        named("at", &it.schedule),
        named("runs", &it.command),
    ]
}

fn account_change(it: &AccountChange) -> Vec<String> {
    vec![
        word(&it.object),
        it.account.for_terminal(),
        word(&it.action),
        named("from", &it.before),
        named("to", &it.after),
        named("in", &it.path),
    ]
}

fn dns(it: &Dns) -> Vec<String> {
    let answers = if it.answers.is_empty() {
        String::new()
    } else {
        format!("-> {}", word(&it.answers.join(", ")))
    };
    let server = it.server_ip.map(|ip| format!("at {ip}"));
    let code = match it.rcode {
        Some(code) if code != 0 => format!("code {code}"),
        _ => String::new(),
    };
    vec![
        if it.response { "answer" } else { "query" }.to_owned(),
        it.query.for_terminal(),
        word(&it.record_type),
        answers,
        code,
        server.unwrap_or_default(),
    ]
}

fn exec_failed(it: &ExecFailed) -> Vec<String> {
    let arguments: Vec<String> = it.argv.iter().map(Text::for_terminal).collect();
    vec![
        it.path.for_terminal(),
        format!("[{}]", arguments.join(" ")),
        failed(Some(it.result)),
    ]
}

/// Words of ours that may have come from elsewhere.
fn word(text: &str) -> String {
    Text::from(text).for_terminal()
}

fn named(name: &str, text: &Text) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("{name} {text}")
}

fn failed(result: Option<i32>) -> String {
    match result {
        Some(errno) if errno < 0 => format!("(error {})", errno.unsigned_abs()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_credentials_names_what_changed() {
        let old = Credentials {
            uid: 1000,
            effective_uid: 1000,
            ..Credentials::default()
        };
        let new = Credentials {
            effective_uid: 0,
            caps_effective: 1,
            ..old
        };
        assert_eq!(
            Detail::Cred(CredChange { old, new }).kernel_words(),
            "euid 1000 -> 0 caps 0000000000000000 -> 0000000000000001"
        );
    }

    #[test]
    fn a_failure_is_said() {
        let failed = ExecFailed {
            path: Text::from("/bin/\u{1b}[2J"),
            argv: vec![Text::from("x"), Text::from("y")],
            argc: 2,
            argv_truncated: false,
            result: -13,
        };
        assert_eq!(
            Detail::ExecFailed(failed).kernel_words(),
            "/bin/\\u{1b}[2J [x y] (error 13)"
        );
    }
}
