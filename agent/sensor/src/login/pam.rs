//! What PAM modules say: `pam_unix(SERVICE:TYPE): ...`, and the older `(pam_unix)` behind a program.

use picket_event::{Kind, Login, Text};

use super::bytes::{between, cut, token};
use super::fact::{Fact, Witness, set_source, terminal};

/// Reads a message if a PAM module wrote it.
///
/// `program` is the name in front of the message, where old systems say which module spoke.
pub(super) fn parse(program: &[u8], message: &[u8]) -> Option<Fact> {
    if let Some(service) = program.strip_suffix(b"(pam_unix)") {
        return told(
            &Module {
                is_unix: true,
                service: service_name(service)?,
            },
            message,
        );
    }
    let (module, rest) = cut(message.strip_prefix(b"pam_")?, b"(")?;
    let (place, message) = cut(rest, b"): ")?;
    let (service, _type) = cut(place, b":")?;
    told(
        &Module {
            is_unix: module == b"unix",
            service: service_name(service)?,
        },
        message,
    )
}

struct Module {
    is_unix: bool,
    service: String,
}

fn told(module: &Module, message: &[u8]) -> Option<Fact> {
    if message.starts_with(b"authentication success") {
        return Some(Fact::remark(Witness::PamPassed));
    }
    if let Some(rest) = message.strip_prefix(b"authentication failure; ") {
        return failed(module, rest);
    }
    if let Some(rest) = message.strip_prefix(b"session opened for user ") {
        return opened(module, rest);
    }
    closed(module, message.strip_prefix(b"session closed for user ")?)
}

/// `logname=L uid=U euid=E tty=T ruser=R rhost=H[  user=USER]`: always in this order, so what a peer
/// may choose (host, user) comes last and cannot stand for what comes first.
fn failed(module: &Module, rest: &[u8]) -> Option<Fact> {
    let (logname, rest) = cut(rest.strip_prefix(b"logname=")?, b" uid=")?;
    let (_, rest) = cut(rest, b" tty=")?;
    let (tty, rest) = cut(rest, b" ruser=")?;
    let (ruser, rest) = cut(rest, b" rhost=")?;
    let (rhost, user) = cut(rest, b" user=").unwrap_or((rest, b""));
    let witness = if module.is_unix {
        Witness::PamFailed
    } else {
        Witness::PamAlso
    };
    let mut login = Login {
        service: module.service.clone(),
        tty: terminal(tty.trim_ascii()),
        ..Login::default()
    };
    if !rhost.trim_ascii().is_empty() {
        set_source(&mut login, rhost.trim_ascii());
    }
    if is_switch(&module.service) {
        let who = if ruser.is_empty() { logname } else { ruser };
        login.user = Text::from(who);
        // All but su ask for the password of whoever asks, and name him here.
        if module.service == "su" {
            login.target_user = Text::from(user);
        }
        return Some(Fact::failure(witness, Kind::AccountSwitch, login));
    }
    login.user = Text::from(user);
    Some(Fact::failure(witness, Kind::LoginFailed, login))
}

/// `USER[(uid=N)] by [USER](uid=N)`
fn opened(module: &Module, rest: &[u8]) -> Option<Fact> {
    let (who, by) = cut(rest, b" by ")?;
    let user = Text::from(without_number(who));
    let login = Login {
        service: module.service.clone(),
        ..Login::default()
    };
    let (kind, login) = match kind_of_session(&module.service) {
        Kind::AccountSwitch => {
            let by = Text::from(without_number(by));
            (
                Kind::AccountSwitch,
                Login {
                    user: by,
                    target_user: user,
                    ..login
                },
            )
        }
        kind => (kind, Login { user, ..login }),
    };
    module
        .is_unix
        .then(|| Fact::success(Witness::SessionOpened, kind, login))
}

fn closed(module: &Module, user: &[u8]) -> Option<Fact> {
    let user = Text::from(without_number(user));
    let login = Login {
        service: module.service.clone(),
        ..Login::default()
    };
    let login = if is_switch(&module.service) {
        Login {
            target_user: user,
            ..login
        }
    } else {
        Login { user, ..login }
    };
    module
        .is_unix
        .then(|| Fact::success(Witness::SessionClosed, Kind::Logoff, login))
}

/// What the beginning of a session of this service means: a login only where somebody came in.
pub(super) fn kind_of_session(service: &str) -> Kind {
    match service {
        "cron" | "atd" | "anacron" | "systemd-user" => Kind::Session,
        _ if is_switch(service) => Kind::AccountSwitch,
        _ => Kind::Login,
    }
}

pub(super) fn is_switch(service: &str) -> bool {
    matches!(
        service,
        "su" | "sudo" | "runuser" | "polkit-1" | "pkexec" | "doas"
    )
}

/// One name per service: the variants for login shells and other distributions are the same one.
pub(super) fn service_name(service: &[u8]) -> Option<String> {
    let name: &[u8] = match service {
        b"su-l" => b"su",
        b"sudo-i" => b"sudo",
        b"runuser-l" => b"runuser",
        b"crond" | b"CRON" | b"CROND" => b"cron",
        b"remote" => b"login",
        _ => service,
    };
    token(name)
}

fn without_number(user: &[u8]) -> &[u8] {
    match between(user, b"(uid=", b")") {
        Some(_) => cut(user, b"(uid=").map_or(user, |(name, _)| name),
        None => user,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_cron_is_a_session_and_no_login() {
        for line in [
            &b"pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)"[..],
            b"pam_unix(crond:session): session opened for user root by (uid=0)",
        ] {
            let fact = parse(b"CRON", line).unwrap();
            assert_eq!(fact.kind, Some(Kind::Session));
            assert_eq!(
                (fact.login.service.as_str(), fact.login.user),
                ("cron", Text::from("root"))
            );
        }
    }

    #[test]
    fn a_session_of_sudo_names_both_users() {
        let line = b"pam_unix(sudo-i:session): session opened for user root(uid=0) by al(uid=1000)";
        let fact = parse(b"sudo", line).unwrap();
        assert_eq!(fact.kind, Some(Kind::AccountSwitch));
        assert_eq!(
            (fact.login.user, fact.login.target_user),
            ("al".into(), "root".into())
        );
        assert_eq!(fact.login.service, "sudo");
    }

    #[test]
    fn a_failure_says_from_where_and_who() {
        let line = b"pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh \
                     ruser= rhost=192.0.2.7  user=root";
        let fact = parse(b"sshd", line).unwrap();
        assert_eq!(
            (fact.login.source_ip.as_str(), fact.login.user),
            ("192.0.2.7", "root".into())
        );
        assert_eq!(
            (fact.kind, fact.login.tty),
            (Some(Kind::LoginFailed), Text::NONE)
        );
    }

    #[test]
    fn the_old_form_behind_the_program_is_read() {
        let line =
            b"authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost=h.example ";
        let fact = parse(b"sshd(pam_unix)", line).unwrap();
        assert_eq!(
            (fact.login.source_host, fact.login.service.as_str()),
            ("h.example".into(), "sshd")
        );
    }

    #[test]
    fn other_modules_open_no_second_session() {
        let line = b"pam_mount(sshd:session): session opened for user root by (uid=0)";
        assert_eq!(parse(b"sshd", line), None);
    }
}
