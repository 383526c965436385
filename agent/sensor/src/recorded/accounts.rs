//! Changes of accounts, as the tools of shadow and as audit tell them.

use picket_event::{AccountChange, Text};

use super::record::AuditRecord;
use crate::login::LogHead;
use crate::login::bytes::{between, cut};

/// What a line of `useradd`, `usermod`, `userdel`, `groupadd`, `groupdel`, `passwd` or `chpasswd` says.
pub(super) fn of_line(head: &LogHead<'_>) -> Option<AccountChange> {
    let message = head.message;
    let tool = head.program.rsplit(|byte| *byte == b'/').next()?;
    if !TOOLS.contains(&tool) {
        return password_by_pam(message);
    }
    if let Some(rest) = message.strip_prefix(b"new user: name=") {
        return Some(made("user", name(rest), details(rest)));
    }
    if let Some(rest) = message.strip_prefix(b"new group: name=") {
        return Some(made("group", name(rest), details(rest)));
    }
    if let Some(rest) = message.strip_prefix(b"delete user '") {
        return Some(change("removed", "user", cut(rest, b"'")?.0));
    }
    if let Some(rest) = message.strip_prefix(b"removed group '") {
        return Some(change("removed", "group", cut(rest, b"'")?.0));
    }
    if let Some(rest) = message.strip_prefix(b"group '") {
        let (group, rest) = cut(rest, b"'")?;
        let removed = rest.starts_with(b" removed");
        return removed.then(|| change("removed", "group", group));
    }
    if let Some(rest) = message.strip_prefix(b"add '") {
        let (user, rest) = cut(rest, b"'")?;
        let group = between(rest, b"group '", b"'")?;
        return Some(member(group, user));
    }
    if let Some(rest) = message.strip_prefix(b"change user '") {
        let (user, rest) = cut(rest, b"'")?;
        let object = if rest.starts_with(b" password") {
            "password"
        } else {
            "user"
        };
        return Some(AccountChange {
            after: Text::from(rest.trim_ascii()),
            ..change("changed", object, user)
        });
    }
    if let Some(rest) = message.strip_prefix(b"members of group ") {
        let (group, rest) = cut(rest, b" set by ")?;
        let to = cut(rest, b" to ").map_or(&[][..], |(_, to)| to);
        return Some(member(group, to));
    }
    if let Some(rest) = message.strip_prefix(b"user ") {
        let (user, rest) = cut(rest, b" added by ")?;
        let group = cut(rest, b" to group ")?.1;
        return Some(member(group, user));
    }
    password_by_pam(message)
}

/// `pam_unix(passwd:chauthtok): password changed for ada`
fn password_by_pam(message: &[u8]) -> Option<AccountChange> {
    let (module, user) = cut(message, b"): password changed for ")?;
    let of_pam = module.starts_with(b"pam_") && module.ends_with(b":chauthtok");
    of_pam.then(|| change("changed", "password", user))
}

/// What a record of audit says.
pub(super) fn of_record(record: &AuditRecord) -> Option<AccountChange> {
    if record.success() == Some(false) {
        return None;
    }
    let (action, object) = match record.kind.as_str() {
        "ADD_USER" => ("created", "user"),
        "DEL_USER" => ("removed", "user"),
        "ADD_GROUP" => ("created", "group"),
        "DEL_GROUP" => ("removed", "group"),
        "USER_MGMT" | "ACCT_LOCK" | "ACCT_UNLOCK" => ("changed", "user"),
        "GRP_MGMT" => ("changed", "group"),
        "USER_CHAUTHTOK" | "GRP_CHAUTHTOK" => ("changed", "password"),
        _ => return None,
    };
    let name = ["acct", "ID", "grp", "id"]
        .into_iter()
        .find_map(|name| record.get(name));
    let mut account = name.cloned().unwrap_or(Text::NONE);
    if let Some(number) = between(account.as_bytes(), b"unknown(", b")") {
        account = Text::from(number);
    }
    Some(AccountChange {
        after: record.text("op"),
        ..change(action, object, account.as_bytes())
    })
}

fn change(action: &str, object: &str, account: &[u8]) -> AccountChange {
    AccountChange {
        action: action.to_owned(),
        object: object.to_owned(),
        account: Text::from(account.trim_ascii()),
        ..AccountChange::default()
    }
}

fn made(object: &str, account: &[u8], after: Text) -> AccountChange {
    AccountChange {
        after,
        ..change("created", object, account)
    }
}

fn member(group: &[u8], user: &[u8]) -> AccountChange {
    let words = [b"members=", user.trim_ascii()].concat();
    AccountChange {
        after: Text::from(words),
        ..change("changed", "group", group)
    }
}

fn name(rest: &[u8]) -> &[u8] {
    cut(rest, b",").map_or(rest, |(name, _)| name)
}

/// `UID=1001, GID=1001, home=/home/x` as `uid=1001 gid=1001 home=/home/x`.
fn details(rest: &[u8]) -> Text {
    let parts = rest.split(|byte| *byte == b',').skip(1);
    let parts: Vec<Vec<u8>> = parts.map(|part| lowered(part.trim_ascii())).collect();
    Text::from(parts.join(&b' '))
}

fn lowered(part: &[u8]) -> Vec<u8> {
    match cut(part, b"=") {
        Some((name, value)) => [name.to_ascii_lowercase().as_slice(), b"=", value].concat(),
        None => part.to_vec(),
    }
}

const TOOLS: [&[u8]; 12] = [
    b"useradd",
    b"usermod",
    b"userdel",
    b"groupadd",
    b"groupmod",
    b"groupdel",
    b"adduser",
    b"addgroup",
    b"gpasswd",
    b"passwd",
    b"chpasswd",
    b"newusers",
];

#[cfg(test)]
mod tests {
    use picket_event::UnixNanos;

    use super::*;
    use crate::login::LineClock;

    fn told(message: &str) -> Option<(String, String, String, String)> {
        let line = format!("Dec 10 06:55:46 h {message}");
        let clock = LineClock::utc(UnixNanos(1_800_000_000_000_000_000));
        let change = of_line(&LogHead::parse(line.as_bytes(), &clock).unwrap())?;
        let text = |text: &Text| text.lossy().into_owned();
        Some((
            change.action,
            change.object,
            text(&change.account),
            text(&change.after),
        ))
    }

    #[test]
    fn each_tool_is_understood() {
        let expect = |message: &str, parts: [&str; 4]| {
            let (action, object, account, after) = told(message).unwrap();
            assert_eq!([&*action, &*object, &*account, &*after], parts, "{message}");
        };
        expect(
            "useradd[7]: new user: name=eve, UID=0, GID=0, home=/root, shell=/bin/sh, from=none",
            [
                "created",
                "user",
                "eve",
                "uid=0 gid=0 home=/root shell=/bin/sh from=none",
            ],
        );
        expect(
            "userdel[7]: delete user 'eve'",
            ["removed", "user", "eve", ""],
        );
        expect(
            "usermod[7]: add 'eve' to group 'sudo'",
            ["changed", "group", "sudo", "members=eve"],
        );
        expect(
            "usermod[7]: change user 'eve' password",
            ["changed", "password", "eve", "password"],
        );
        expect(
            "passwd[7]: pam_unix(passwd:chauthtok): password changed for eve",
            ["changed", "password", "eve", ""],
        );
        expect(
            "gpasswd[7]: user eve added by root to group wheel",
            ["changed", "group", "wheel", "members=eve"],
        );
        assert_eq!(told("sshd[7]: new user: name=eve, UID=0"), None);
    }
}
