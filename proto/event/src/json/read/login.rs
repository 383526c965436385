//! Logins from JSON.

use super::object::{Object, Result};
use crate::Login;

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
