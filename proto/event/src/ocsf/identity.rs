//! Logins, and users who become others.

use super::activity::{ACCOUNT_CHANGE, AUTHENTICATION, Mapped, status};
use super::actor::user_named;
use super::part::{Part, UNKNOWN};
use crate::{AccountChange, Kind, Login};

pub(super) fn login(kind: Kind, login: &Login) -> Mapped {
    let mapped = match kind {
        Kind::Login | Kind::LoginFailed => Mapped::new(AUTHENTICATION, (1, "Logon")),
        Kind::Logoff => Mapped::new(AUTHENTICATION, (2, "Logoff")),
        Kind::AccountSwitch => return switch(login),
        Kind::AccountChange => return change(login),
        other => Mapped::other(AUTHENTICATION, other.name()),
    };
    mapped
        .with(Part::new().part("user", Some(user_named(&login.user))))
        .with(authentication(kind, login))
        .taking(TAKEN)
}

const TAKEN: &[&str] = &[
    "login.user",
    "login.outcome",
    "login.service",
    "login.source_ip",
    "login.source_port",
    "login.source_host",
    "login.session",
    "login.tty",
];

/// The user who is become is authenticated, the other one acts.
fn switch(login: &Login) -> Mapped {
    let actor = Part::new().part("user", Some(user_named(&login.user)));
    Mapped::new(AUTHENTICATION, (7, "Account Switch"))
        .with(Part::new().part("user", Some(user_named(&login.target_user))))
        .with(authentication(Kind::AccountSwitch, login))
        .by(actor)
        .taking(SWITCH)
}

const SWITCH: &[&str] = &[
    "login.user",
    "login.target_user",
    "login.outcome",
    "login.service",
    "login.source_ip",
    "login.source_port",
    "login.source_host",
    "login.session",
    "login.tty",
];

/// Rules, groups and keys have no activity of their own: they are told in the event's own words.
pub(super) fn account_change(change: &AccountChange) -> Mapped {
    let mapped = match (change.object.as_str(), change.action.as_str()) {
        ("user", "created") => Mapped::new(ACCOUNT_CHANGE, (1, "Create")),
        ("user", "removed") => Mapped::new(ACCOUNT_CHANGE, (6, "Delete")),
        ("password", "changed") => Mapped::new(ACCOUNT_CHANGE, (3, "Password Change")),
        (object, action) => Mapped::other(ACCOUNT_CHANGE, &format!("{object} {action}")),
    };
    mapped.with(Part::new().part("user", Some(user_named(&change.account))))
}

/// Which change it was is not known here.
fn change(login: &Login) -> Mapped {
    let changed = if login.target_user.is_empty() {
        &login.user
    } else {
        &login.target_user
    };
    Mapped::new(ACCOUNT_CHANGE, (0, "Unknown"))
        .with(Part::new().part("user", Some(user_named(changed))))
        .with(outcome(Kind::AccountChange, login))
}

fn authentication(kind: Kind, login: &Login) -> Part {
    let service = match login.service.as_str() {
        "" => UNKNOWN,
        service => service,
    };
    let remote = !login.source_ip.is_empty() || !login.source_host.is_empty();
    let (logon, logon_name) = if remote {
        (10, "Remote Interactive")
    } else {
        (0, "Unknown")
    };
    let session = Part::new()
        .maybe("uid", login.session.map(|session| session.to_string()))
        .text("terminal", &login.tty);
    let method = login.method.as_str();
    outcome(kind, login)
        .part("service", Some(Part::new().put("name", service)))
        .part("src_endpoint", source(login))
        .part("session", (!session.is_empty()).then_some(session))
        .maybe("is_remote", remote.then_some(true))
        .put("logon_type_id", logon)
        .put("logon_type", logon_name)
        .word("auth_protocol", method)
        .put("auth_protocol_id", if method.is_empty() { 0 } else { 99 })
}

fn outcome(kind: Kind, login: &Login) -> Part {
    match (kind, login.outcome.as_str()) {
        (_, "success") => status(true),
        (_, "failure") | (Kind::LoginFailed, "") => status(false),
        (_, "") => Part::new(),
        (_, other) => Part::new().put("status_id", 99).put("status", other),
    }
}

/// An address that is none is a name.
fn source(login: &Login) -> Option<Part> {
    let said = login.source_ip.as_str();
    let named = !said.is_empty() || !login.source_host.is_empty();
    let is_address = said.parse::<std::net::IpAddr>().is_ok();
    let name = match (named, is_address) {
        (false, _) => UNKNOWN,
        (true, true) => "",
        (true, false) => said,
    };
    (named || login.source_port.is_some()).then(|| {
        Part::new()
            .maybe("ip", is_address.then_some(said))
            .word("name", name)
            .text("hostname", &login.source_host)
            .maybe("port", login.source_port)
    })
}
