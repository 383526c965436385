//! What sudo, su, pkexec and login write themselves.

use picket_event::{Kind, Login, Text};

use super::bytes::{between, cut, cut_last};
use super::fact::{Fact, Witness, set_source, terminal};

/// `USER : [REASON ; ]TTY=T ; PWD=P ; USER=TARGET ; ... ; COMMAND=C`. A reason means a refusal.
pub(super) fn sudo(message: &[u8]) -> Option<Fact> {
    let (user, rest) = cut(message.trim_ascii_start(), b" : ")?;
    let mut login = Login {
        user: Text::from(user),
        service: "sudo".to_owned(),
        ..Login::default()
    };
    let refused = sudo_fields(&mut login, rest)?;
    Some(if refused {
        Fact::failure(Witness::SwitchRefused, Kind::AccountSwitch, login)
    } else {
        Fact::success(Witness::Switched, Kind::AccountSwitch, login)
    })
}

/// Reads the fields, and says whether there was a reason before them. `None`: this is no such line.
fn sudo_fields(login: &mut Login, mut rest: &[u8]) -> Option<bool> {
    let mut refused = false;
    let mut fields = 0_u32;
    loop {
        if let Some(command) = rest.strip_prefix(b"COMMAND=") {
            login.command = Text::from(command);
            return (fields > 0).then_some(refused);
        }
        let (part, next) = cut(rest, b" ; ").unwrap_or((rest, b""));
        match sudo_field(login, part) {
            true => fields = fields.saturating_add(1),
            false if fields == 0 && !refused => refused = true,
            false => {}
        }
        if next.is_empty() {
            return (refused && fields > 0).then_some(true);
        }
        rest = next;
    }
}

fn sudo_field(login: &mut Login, part: &[u8]) -> bool {
    let Some((name, value)) = cut(part, b"=") else {
        return false;
    };
    match name {
        b"TTY" if login.tty.is_empty() => login.tty = terminal(value),
        b"USER" => login.target_user = Text::from(value),
        b"TTY" | b"PWD" | b"GROUP" | b"CHROOT" | b"HOST" | b"TSID" | b"ENV" => {}
        _ => return false,
    }
    true
}

/// `(to TARGET) USER on TTY`, `FAILED SU (to TARGET) USER on TTY` (util-linux);
/// `Successful su for TARGET by USER`, `FAILED su for TARGET by USER` (shadow).
pub(super) fn su(message: &[u8]) -> Option<Fact> {
    let (refused, rest) = match message.strip_prefix(b"FAILED ") {
        Some(rest) => (true, rest.strip_prefix(b"SU ").unwrap_or(rest)),
        None => (
            false,
            message.strip_prefix(b"Successful ").unwrap_or(message),
        ),
    };
    let (target, user, tty) = su_of_util_linux(rest).or_else(|| su_of_shadow(rest))?;
    let login = Login {
        user: Text::from(user),
        target_user: Text::from(target),
        tty: terminal(tty),
        service: "su".to_owned(),
        ..Login::default()
    };
    Some(if refused {
        Fact::failure(Witness::SwitchRefused, Kind::AccountSwitch, login)
    } else {
        Fact::success(Witness::Switched, Kind::AccountSwitch, login)
    })
}

type Switch<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn su_of_util_linux(text: &[u8]) -> Option<Switch<'_>> {
    let (target, rest) = cut(text.strip_prefix(b"(to ")?, b") ")?;
    let (user, tty) = cut_last(rest, b" on ")?;
    Some((target, user, tty))
}

fn su_of_shadow(text: &[u8]) -> Option<Switch<'_>> {
    let (target, user) = cut(text.strip_prefix(b"su for ")?, b" by ")?;
    Some((target, user, b""))
}

/// `USER: Executing command [USER=T] [TTY=T] [CWD=D] [COMMAND=C]`, `USER: Error executing ...`
pub(super) fn pkexec(message: &[u8]) -> Option<Fact> {
    let (user, rest) = cut(message, b": ")?;
    let login = Login {
        user: Text::from(user),
        target_user: Text::from(between(rest, b"[USER=", b"] ")?),
        tty: terminal(between(rest, b"[TTY=", b"] ").unwrap_or_default()),
        command: Text::from(cut(rest, b"[COMMAND=")?.1.strip_suffix(b"]")?),
        service: "pkexec".to_owned(),
        ..Login::default()
    };
    if rest.starts_with(b"Executing command [") {
        return Some(Fact::success(Witness::Switched, Kind::AccountSwitch, login));
    }
    rest.starts_with(b"Error executing command as another user")
        .then(|| Fact::failure(Witness::SwitchRefused, Kind::AccountSwitch, login))
}

/// `[ROOT ]LOGIN ON TTY[ BY USER][ FROM HOST]` (util-linux), `ROOT LOGIN  on 'TTY'[ from 'HOST']`
/// (shadow), `FAILED LOGIN ...` (both).
pub(super) fn login(message: &[u8]) -> Option<Fact> {
    console_refused(message).or_else(|| console_login(message))
}

fn console_login(message: &[u8]) -> Option<Fact> {
    let mut login = Login {
        service: "login".to_owned(),
        ..Login::default()
    };
    let (is_root, rest) = match message.strip_prefix(b"ROOT ") {
        Some(rest) => (true, rest),
        None => (false, message),
    };
    let rest = rest.strip_prefix(b"LOGIN ")?.trim_ascii_start();
    if let Some(place) = rest.strip_prefix(b"on ") {
        place_of_shadow(&mut login, place);
    } else {
        let rest = rest.strip_prefix(b"ON ")?;
        let (rest, host) = cut(rest, b" FROM ").unwrap_or((rest, b""));
        let (tty, user) = cut(rest, b" BY ").unwrap_or((rest, b""));
        login.user = Text::from(user);
        login.tty = terminal(tty);
        set_host(&mut login, host);
    }
    if is_root {
        login.user = Text::from("root");
    }
    (!login.user.is_empty()).then(|| Fact::success(Witness::ConsoleLogin, Kind::Login, login))
}

/// `FAILED LOGIN (N) on 'TTY'[ from 'HOST'] FOR 'USER', WHY`, `FAILED LOGIN N FROM HOST FOR USER, WHY`
fn console_refused(message: &[u8]) -> Option<Fact> {
    let rest = message.strip_prefix(b"FAILED LOGIN ")?;
    let (place, who) = cut(rest, b" FOR ")?;
    let (user, _why) = cut_last(who, b", ")?;
    let mut login = Login {
        user: Text::from(unquoted(user)),
        service: "login".to_owned(),
        ..Login::default()
    };
    if let Some((_, place)) = cut(place, b" on ") {
        place_of_shadow(&mut login, place);
    } else if let Some((_, host)) = cut(place, b"FROM ") {
        set_host(&mut login, host);
    }
    Some(Fact::failure(
        Witness::ConsoleRefused,
        Kind::LoginFailed,
        login,
    ))
}

/// `'TTY'[ from 'HOST']`
fn place_of_shadow(login: &mut Login, place: &[u8]) {
    let (tty, host) = cut(place, b" from ").unwrap_or((place, b""));
    login.tty = terminal(unquoted(tty));
    set_host(login, unquoted(host));
}

fn set_host(login: &mut Login, host: &[u8]) {
    if !host.is_empty() && host != b"(null)" {
        set_source(login, host);
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'")
        .and_then(|rest| rest.strip_suffix(b"'"))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_says_who_became_whom_for_which_command() {
        let fact =
            sudo(b"  al : TTY=pts/0 ; PWD=/home/al ; USER=root ; COMMAND=/bin/sh -c a ; b=c");
        let Fact { kind, login, .. } = fact.unwrap();
        assert_eq!(
            (kind, login.outcome.as_str()),
            (Some(Kind::AccountSwitch), "success")
        );
        assert_eq!(
            (login.user, login.target_user),
            ("al".into(), "root".into())
        );
        assert_eq!(
            (login.tty, login.command),
            ("pts/0".into(), "/bin/sh -c a ; b=c".into())
        );
    }

    #[test]
    fn a_reason_in_front_is_a_refusal() {
        for line in [
            "al : user NOT in sudoers ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
            "al : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
        ] {
            let fact = sudo(line.as_bytes()).unwrap();
            assert_eq!(
                (fact.witness, fact.login.outcome.as_str()),
                (Witness::SwitchRefused, "failure")
            );
        }
    }

    #[test]
    fn what_sudo_continues_or_explains_is_no_switch() {
        assert_eq!(sudo(b"al : (command continued) --x"), None);
        assert_eq!(
            sudo(b"unable to resolve host h: Name or service not known"),
            None
        );
        assert_eq!(sudo(b"al : problem with defaults entries"), None);
    }

    #[test]
    fn both_forms_of_su_are_read() {
        for (line, outcome) in [
            ("(to root) al on pts/0", "success"),
            ("FAILED SU (to root) al on pts/0", "failure"),
            ("Successful su for root by al", "success"),
            ("FAILED su for root by al", "failure"),
        ] {
            let login = su(line.as_bytes()).expect(line).login;
            assert_eq!(
                (login.user, login.target_user),
                ("al".into(), "root".into()),
                "{line}"
            );
            assert_eq!(login.outcome, outcome, "{line}");
        }
        assert_eq!(su(b"+ /dev/pts/0 al:root"), None);
    }

    #[test]
    fn both_forms_of_login_are_read() {
        for (line, user, tty) in [
            ("LOGIN ON tty1 BY al", "al", "tty1"),
            ("ROOT LOGIN  on '/dev/tty1'", "root", "tty1"),
            (
                "FAILED LOGIN (1) on '/dev/tty1' FOR 'al', Authentication failure",
                "al",
                "tty1",
            ),
        ] {
            let fact = login(line.as_bytes()).expect(line);
            assert_eq!(
                (fact.login.user, fact.login.tty),
                (user.into(), tty.into()),
                "{line}"
            );
        }
    }

    #[test]
    fn pkexec_is_a_switch() {
        let line =
            b"al: Executing command [USER=root] [TTY=unknown] [CWD=/home/al] [COMMAND=/bin/id]";
        let login = pkexec(line).unwrap().login;
        assert_eq!((login.command, login.tty), ("/bin/id".into(), Text::NONE));
    }
}
