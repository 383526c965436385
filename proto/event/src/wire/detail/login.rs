//! Logins on the wire.

use picket_proto::v1;

use crate::{AccountChange, LogLine, Login};

impl From<Login> for v1::Login {
    fn from(login: Login) -> Self {
        Self {
            user: login.user.into_bytes(),
            outcome: login.outcome,
            service: login.service,
            method: login.method,
            source_ip: login.source_ip,
            source_port: login.source_port,
            tty: login.tty.into_bytes(),
            key_fingerprint: login.key_fingerprint,
            session: login.session,
            seen_by: login.seen_by,
            target_user: login.target_user.into_bytes(),
            command: login.command.into_bytes(),
            source_host: login.source_host.into_bytes(),
        }
    }
}

impl From<v1::Login> for Login {
    fn from(wire: v1::Login) -> Self {
        Self {
            user: wire.user.into(),
            outcome: wire.outcome,
            service: wire.service,
            method: wire.method,
            source_ip: wire.source_ip,
            source_port: wire.source_port,
            tty: wire.tty.into(),
            key_fingerprint: wire.key_fingerprint,
            session: wire.session,
            seen_by: wire.seen_by,
            target_user: wire.target_user.into(),
            command: wire.command.into(),
            source_host: wire.source_host.into(),
        }
    }
}

impl From<AccountChange> for v1::AccountChange {
    fn from(change: AccountChange) -> Self {
        Self {
            action: change.action,
            object: change.object,
            account: change.account.into_bytes(),
            path: change.path.into_bytes(),
            before: change.before.into_bytes(),
            after: change.after.into_bytes(),
        }
    }
}

impl From<v1::AccountChange> for AccountChange {
    fn from(wire: v1::AccountChange) -> Self {
        Self {
            action: wire.action,
            object: wire.object,
            account: wire.account.into(),
            path: wire.path.into(),
            before: wire.before.into(),
            after: wire.after.into(),
        }
    }
}

impl From<LogLine> for v1::LogLine {
    fn from(line: LogLine) -> Self {
        Self {
            program: line.program.into_bytes(),
            pid: line.pid,
            text: line.text.into_bytes(),
        }
    }
}

impl From<v1::LogLine> for LogLine {
    fn from(wire: v1::LogLine) -> Self {
        Self {
            program: wire.program.into(),
            pid: wire.pid,
            text: wire.text.into(),
        }
    }
}
