//! Logins from JSON.

use super::object::{Object, Result};
use crate::{AccountChange, LogLine, Login};

pub(super) fn login(object: Object<'_>) -> Result<Login> {
    Ok(Login {
        user: object.text("user")?,
        outcome: object.word("outcome")?,
        service: object.word("service")?,
        method: object.word("method")?,
        source_ip: object.word("source_ip")?,
        source_port: object.small("source_port")?,
        tty: object.text("tty")?,
        key_fingerprint: object.word("key_fingerprint")?,
        session: object.small("session")?,
        seen_by: object.words("seen_by")?,
        target_user: object.text("target_user")?,
        command: object.text("command")?,
        source_host: object.text("source_host")?,
    })
}

pub(super) fn account_change(object: Object<'_>) -> Result<AccountChange> {
    Ok(AccountChange {
        action: object.word("action")?,
        object: object.word("object")?,
        account: object.text("account")?,
        path: object.text("path")?,
        before: object.text("before")?,
        after: object.text("after")?,
    })
}

pub(super) fn log_line(object: Object<'_>) -> Result<LogLine> {
    Ok(LogLine {
        program: object.text("program")?,
        pid: object.small("pid")?,
        text: object.text("text")?,
    })
}
