//! Logins, and changes of who may log in.

use crate::Text;

/// Somebody came, went, failed, or became another.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Login {
    /// Who.
    pub user: Text,
    /// `success` or `failure`.
    pub outcome: String,
    /// `sshd`, `sudo`, `su`, `login`...
    pub service: String,
    /// `publickey`, `password`...
    pub method: String,
    /// From which address; empty: local or not known.
    pub source_ip: String,
    /// From which port.
    pub source_port: Option<u32>,
    /// On which terminal.
    pub tty: Text,
    /// By which key, as `SHA256:...`.
    pub key_fingerprint: String,
    /// Audit session.
    pub session: Option<u32>,
    /// The sources that agree.
    pub seen_by: Vec<String>,
    /// Who was become.
    pub target_user: Text,
    /// The command that was run.
    pub command: Text,
    /// The source's name as the record has it.
    pub source_host: Text,
}

/// A line of a log that a rule found, where it makes no other event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogLine {
    /// Who wrote it; of a record of audit its type.
    pub program: Text,
    /// Its process, where the line says so.
    pub pid: Option<u32>,
    /// The line as it stands in the log.
    pub text: Text,
}

/// Who may come in or become somebody was changed: one account, group, rule or key, in one file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccountChange {
    /// `created`, `changed` or `removed`.
    pub action: String,
    /// `user`, `password`, `group`, `group_password`, `sudo_rule` or `ssh_key`.
    pub object: String,
    /// Whose; the name of a group; whom a rule of sudo is about.
    pub account: Text,
    /// The file that says so.
    pub path: Text,
    /// What it was, as far as it differs: `uid=1000 shell=/bin/sh`. Never a hash of a password.
    pub before: Text,
    /// What it is.
    pub after: Text,
}
