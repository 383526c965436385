//! Logins to JSON.

use super::object::{Json, Object};
use crate::{AccountChange, LogLine, Login};

pub(super) fn login(login: &Login) -> Json {
    Object::new()
        .text("user", &login.user)
        .word("outcome", &login.outcome)
        .word("service", &login.service)
        .word("method", &login.method)
        .word("source_ip", &login.source_ip)
        .maybe("source_port", login.source_port)
        .text("source_host", &login.source_host)
        .text("tty", &login.tty)
        .word("key_fingerprint", &login.key_fingerprint)
        .maybe("session", login.session)
        .text("target_user", &login.target_user)
        .text("command", &login.command)
        .put("seen_by", &login.seen_by)
        .done()
}

pub(super) fn account_change(change: &AccountChange) -> Json {
    Object::new()
        .word("action", &change.action)
        .word("object", &change.object)
        .text("account", &change.account)
        .text("path", &change.path)
        .text("before", &change.before)
        .text("after", &change.after)
        .done()
}

pub(super) fn log_line(line: &LogLine) -> Json {
    Object::new()
        .text("program", &line.program)
        .maybe("pid", line.pid)
        .text("text", &line.text)
        .done()
}
