//! What sshd's own lines say.
//!
//! The name of a user who does not exist is chosen by the peer and may look like the rest of the
//! line. So a line about such a user is read from its end, and one about an accepted user, whose
//! name is a real account's, from its beginning.

use picket_event::{Kind, Login, Text};

use super::bytes::{cut, cut_last, cuts_from_the_end, number, token, word};
use super::fact::{Fact, Witness, set_source};

/// Reads one message of sshd.
pub(super) fn parse(message: &[u8]) -> Option<Fact> {
    if let Some(during) = message.strip_suffix(b" [preauth]") {
        return before_login(during).or_else(|| about_login(during));
    }
    about_login(message)
        .or_else(|| refused_by_pam(message))
        .or_else(|| after_login(message))
}

fn about_login(message: &[u8]) -> Option<Fact> {
    accepted(message)
        .or_else(|| failed(message))
        .or_else(|| invalid_user(message))
        .or_else(|| not_allowed(message))
        .or_else(|| root_refused(message))
        .or_else(|| too_many(message))
        .or_else(|| connection_ended(message))
}

/// `Accepted METHOD for USER from IP port N ssh2[: TYPE FINGERPRINT]`
fn accepted(message: &[u8]) -> Option<Fact> {
    let (method, rest) = cut(message.strip_prefix(b"Accepted ")?, b" for ")?;
    let (user, rest) = cut(rest, b" from ")?;
    let login = attempt(method, user, rest)?;
    Some(Fact::success(Witness::Accepted, Kind::Login, login))
}

/// `Failed METHOD for [invalid user ]USER from IP port N ssh2[: TYPE FINGERPRINT]`
fn failed(message: &[u8]) -> Option<Fact> {
    let (method, rest) = cut(message.strip_prefix(b"Failed ")?, b" for ")?;
    let rest = without_invalid(rest);
    let login =
        cuts_from_the_end(rest, b" from ").find_map(|(user, rest)| attempt(method, user, rest))?;
    Some(Fact::failure(Witness::Refused, Kind::LoginFailed, login))
}

fn attempt(method: &[u8], user: &[u8], rest: &[u8]) -> Option<Login> {
    let mut login = Login {
        method: token(method)?,
        ..of_user(user)
    };
    let rest = endpoint(&mut login, rest)?;
    let rest = rest
        .strip_prefix(b"ssh2")
        .or_else(|| rest.strip_prefix(b"ssh1"))?;
    login.key_fingerprint = fingerprint(rest)?;
    Some(login)
}

/// `: TYPE FINGERPRINT[ ...]`, or nothing.
fn fingerprint(rest: &[u8]) -> Option<String> {
    if rest.is_empty() {
        return Some(String::new());
    }
    let (_key_type, key) = word(rest.strip_prefix(b": ")?);
    Some(token(word(key).0).unwrap_or_default())
}

/// `Invalid user USER from IP[ port N]`
fn invalid_user(message: &[u8]) -> Option<Fact> {
    let rest = message
        .strip_prefix(b"Invalid user ")
        .or_else(|| message.strip_prefix(b"Illegal user "))?;
    let login = cuts_from_the_end(rest, b" from ").find_map(|(user, rest)| at_end(user, rest))?;
    Some(Fact::failure(Witness::Announced, Kind::LoginFailed, login))
}

/// `User USER from HOST not allowed because ...`, `User USER not allowed because ...`
fn not_allowed(message: &[u8]) -> Option<Fact> {
    let (who, _why) = cut_last(message.strip_prefix(b"User ")?, b" not allowed because ")?;
    let login = match cut_last(who, b" from ") {
        Some((user, rest)) => at_end(user, rest)?,
        None => of_user(who),
    };
    Some(Fact::failure(Witness::Announced, Kind::LoginFailed, login))
}

/// `ROOT LOGIN REFUSED FROM IP[ port N]`
fn root_refused(message: &[u8]) -> Option<Fact> {
    let login = at_end(b"root", message.strip_prefix(b"ROOT LOGIN REFUSED FROM ")?)?;
    Some(Fact::failure(Witness::Announced, Kind::LoginFailed, login))
}

/// `error: maximum authentication attempts exceeded for [invalid user ]USER from IP port N ssh2`,
/// `Disconnecting: Too many authentication failures[ for USER]`,
/// `Disconnecting authenticating user USER IP port N: Too many authentication failures`
fn too_many(message: &[u8]) -> Option<Fact> {
    let login = exceeded(message).or_else(|| disconnecting(message))?;
    Some(Fact::failure(Witness::GaveUp, Kind::LoginFailed, login))
}

fn exceeded(message: &[u8]) -> Option<Login> {
    let message = message.strip_prefix(b"error: ").unwrap_or(message);
    let rest = message.strip_prefix(b"maximum authentication attempts exceeded for ")?;
    cuts_from_the_end(without_invalid(rest), b" from ").find_map(|(user, rest)| {
        let mut login = of_user(user);
        endpoint(&mut login, rest).map(|_| login)
    })
}

fn disconnecting(message: &[u8]) -> Option<Login> {
    let rest = message.strip_prefix(b"Disconnecting")?;
    if let Some(rest) = rest.strip_prefix(b": Too many authentication failures") {
        return Some(of_user(rest.strip_prefix(b" for ").unwrap_or_default()));
    }
    let (who, _) = cut_last(
        rest.strip_prefix(b" ")?,
        b": Too many authentication failures",
    )?;
    let who = who
        .strip_prefix(b"authenticating user ")
        .or_else(|| who.strip_prefix(b"invalid user "))?;
    user_and_endpoint(who)
}

/// `error: PAM: Authentication failure for [illegal user ]USER from HOST`
fn refused_by_pam(message: &[u8]) -> Option<Fact> {
    let rest = message.strip_prefix(b"error: PAM: ")?;
    let (why, rest) = cut(rest, b" for ")?;
    let rest = rest.strip_prefix(b"illegal user ").unwrap_or(rest);
    let (user, rest) = cut_last(rest, b" from ")?;
    let known = matches!(
        why,
        b"Authentication failure"
            | b"User not known to the underlying authentication module"
            | b"User account has expired"
            | b"Permission denied"
    );
    let mut login = Login {
        method: KEYBOARD.to_owned(),
        ..at_end(user, rest)?
    };
    login.source_port = None;
    known.then(|| Fact::failure(Witness::PamError, Kind::LoginFailed, login))
}

/// `Disconnected from user USER IP port N`
fn after_login(message: &[u8]) -> Option<Fact> {
    let login = user_and_endpoint(message.strip_prefix(b"Disconnected from user ")?)?;
    Some(Fact::success(Witness::Disconnected, Kind::Logoff, login))
}

/// `Connection closed by ... [preauth]` and the like.
fn before_login(message: &[u8]) -> Option<Fact> {
    ENDINGS
        .iter()
        .any(|ending| message.starts_with(ending))
        .then(|| too_many(message).unwrap_or_else(|| Fact::remark(Witness::ConnectionEnded)))
}

/// Lines that end a connection before login and carry no mark of it.
fn connection_ended(message: &[u8]) -> Option<Fact> {
    let ended = message.starts_with(b"fatal: Timeout before authentication")
        || message.starts_with(b"Timeout before authentication")
        || message.starts_with(b"Connection closed by authenticating user ")
        || message.starts_with(b"Connection closed by invalid user ");
    ended.then(|| Fact::remark(Witness::ConnectionEnded))
}

/// `USER IP port N`; a user's name may hold spaces.
fn user_and_endpoint(text: &[u8]) -> Option<Login> {
    let (who, port) = cut_last(text, b" port ")?;
    let (user, source) = cut_last(who, b" ")?;
    let mut login = of_user(user);
    set_source(&mut login, source);
    login.source_port = Some(number(port)?);
    Some(login)
}

/// `HOST[ port N]` and nothing more.
fn at_end(user: &[u8], text: &[u8]) -> Option<Login> {
    let mut login = of_user(user);
    endpoint(&mut login, text)?.is_empty().then_some(login)
}

/// Reads `HOST[ port N][ REST]` into `login` and gives the rest.
fn endpoint<'a>(login: &mut Login, text: &'a [u8]) -> Option<&'a [u8]> {
    let (source, rest) = word(text);
    if source.is_empty() {
        return None;
    }
    set_source(login, source);
    let Some(rest) = rest.strip_prefix(b"port ") else {
        return Some(rest);
    };
    let (port, rest) = word(rest);
    login.source_port = Some(number(port)?);
    Some(rest)
}

fn without_invalid(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"invalid user ")
        .or_else(|| text.strip_prefix(b"illegal user "))
        .unwrap_or(text)
}

fn of_user(user: &[u8]) -> Login {
    Login {
        user: Text::from(user),
        service: "sshd".to_owned(),
        ..Login::default()
    }
}

/// How sshd names what it asks PAM.
const KEYBOARD: &str = "keyboard-interactive/pam";

/// How the last line of a connection begins that ended before login.
const ENDINGS: [&[u8]; 9] = [
    b"Connection closed by ",
    b"Connection reset by ",
    b"Disconnected from ",
    b"Disconnecting",
    b"Received disconnect from ",
    b"error: Received disconnect from ",
    b"fatal: ",
    b"ssh_dispatch_run_fatal: ",
    b"Unable to negotiate with ",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn login(message: &str) -> Login {
        parse(message.as_bytes()).expect(message).login
    }

    #[test]
    fn an_accepted_key_has_its_fingerprint() {
        let line = "Accepted publickey for alice from 192.0.2.7 port 50022 ssh2: \
                    ED25519 SHA256:2HrGm0bBFQ";
        let login = login(line);
        assert_eq!(login.user, Text::from("alice"));
        assert_eq!(
            (login.method.as_str(), login.outcome.as_str()),
            ("publickey", "success")
        );
        assert_eq!(
            (login.source_ip.as_str(), login.source_port),
            ("192.0.2.7", Some(50022))
        );
        assert_eq!(login.key_fingerprint, "SHA256:2HrGm0bBFQ");
    }

    #[test]
    fn the_name_of_an_unknown_user_cannot_move_the_source() {
        let line = "Failed password for invalid user x from 9.9.9.9 port 1 ssh2 from \
                    192.0.2.7 port 50022 ssh2";
        let login = login(line);
        assert_eq!(login.source_ip, "192.0.2.7");
        assert_eq!(login.user, Text::from("x from 9.9.9.9 port 1 ssh2"));
    }

    #[test]
    fn a_line_cut_short_makes_no_login() {
        let line = b"Accepted password for root from 192.0.2.7 port 50022 ssh2";
        for end in 0..line.len() {
            assert_eq!(parse(&line[..end]), None, "{end}");
        }
    }

    #[test]
    fn an_invalid_user_may_have_any_name_or_none() {
        assert_eq!(
            login("Invalid user admin  from 192.0.2.7").user,
            Text::from("admin ")
        );
        assert_eq!(
            login("Invalid user  from 192.0.2.7 port 1").user,
            Text::NONE
        );
        assert_eq!(
            login("Invalid user a from b from ::ffff:192.0.2.7 port 1").source_ip,
            "192.0.2.7"
        );
    }

    #[test]
    fn refusals_in_other_words_are_refusals() {
        for line in [
            "User root from 192.0.2.7 not allowed because not listed in AllowUsers",
            "ROOT LOGIN REFUSED FROM 192.0.2.7 port 22",
            "error: PAM: Authentication failure for root from 192.0.2.7",
            "error: maximum authentication attempts exceeded for root from 192.0.2.7 port 1 ssh2 \
             [preauth]",
            "Disconnecting authenticating user root 192.0.2.7 port 1: Too many authentication \
             failures [preauth]",
        ] {
            let login = login(line);
            assert_eq!(
                (login.user, login.source_ip.as_str()),
                (Text::from("root"), "192.0.2.7")
            );
            assert_eq!(login.outcome, "failure");
        }
    }

    #[test]
    fn the_end_of_a_connection_is_told_apart_from_a_logoff() {
        let early =
            parse(b"Connection closed by authenticating user root 192.0.2.7 port 1 [preauth]");
        assert_eq!(early, Some(Fact::remark(Witness::ConnectionEnded)));
        let late = parse(b"Disconnected from user root 192.0.2.7 port 1").unwrap();
        assert_eq!(
            (late.kind, late.login.source_port),
            (Some(Kind::Logoff), Some(1))
        );
        assert_eq!(
            parse(b"Received disconnect from 192.0.2.7 port 1:11: disconnected by user"),
            None
        );
    }
}
