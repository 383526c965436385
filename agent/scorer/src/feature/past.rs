//! What is asked of a login by what went before it: refused tries, users tried, absence.

use std::net::IpAddr;

use picket_event::{Event, Kind, Login};

use super::Observation;
use crate::factor::Factor;
use crate::refusals::Entry;

/// The source of a login over a network, as refused and successful ones share it; `None` for others.
pub(crate) fn source(login: &Login) -> Option<String> {
    let address = login.source_ip.parse::<IpAddr>().ok();
    let address = address.map(|ip| ip.to_canonical().to_string());
    let host = String::from_utf8_lossy(login.source_host.as_bytes());
    address.or_else(|| (!host.is_empty()).then(|| host.into_owned()))
}

/// The login of an event that one may ask about: one that was not refused, of a known user.
pub(crate) fn login(event: &Event) -> Option<&Login> {
    let login = event.login().filter(|_| event.kind == Kind::Login)?;
    (login.outcome != "failure" && !login.user.is_empty()).then_some(login)
}

/// What its source was refused before, if it came over a network.
pub(crate) fn refusals(login: &Login, before: Entry) -> [Observation<'_>; 2] {
    let refused = match before.refused {
        0 => "none",
        1 | 2 => "1 or 2",
        3..=9 => "3 to 9",
        10..=99 => "10 to 99",
        100..=999 => "100 to 999",
        _ => "1,000 or more",
    };
    let users = match before.users() {
        0 | 1 => "1 user or none",
        2 | 3 => "2 or 3 users",
        4..=15 => "4 to 15 users",
        _ => "16 users or more",
    };
    [
        observation(Factor::RefusalsBefore, login, refused),
        observation(Factor::UsersTried, login, users),
    ]
}

/// How long its user was not there. The first login of all is an absence of its own kind.
///
/// It is asked of the service, not of the user: what is known of a user who was away for long has faded.
pub(crate) fn absence(login: &Login, days: Option<u16>) -> Observation<'_> {
    let absence = match days {
        None => "no login before",
        Some(0 | 1) => "a day at most",
        Some(2..=7) => "a week at most",
        Some(8..=30) => "a month at most",
        Some(31..=90) => "three months at most",
        Some(_) => "more than three months",
    };
    let service = login.service.as_str();
    let service = if service.is_empty() { "login" } else { service };
    Observation {
        factor: Factor::AbsenceByService,
        context: service.as_bytes().into(),
        value: absence.as_bytes().into(),
        wider: None,
    }
}

/// At which hour of the day (UTC) it is.
pub(crate) fn hour(login: &Login, hour: usize) -> Observation<'_> {
    observation(Factor::HourOfUser, login, hour_name(hour))
}

/// The hour's name; those before the first and after the last are the last and the first.
pub(crate) fn hour_name(hour: usize) -> &'static str {
    HOURS[hour % HOURS.len()]
}

/// The hours, by name.
const HOURS: [&str; 24] = [
    "0:00 UTC",
    "1:00 UTC",
    "2:00 UTC",
    "3:00 UTC",
    "4:00 UTC",
    "5:00 UTC",
    "6:00 UTC",
    "7:00 UTC",
    "8:00 UTC",
    "9:00 UTC",
    "10:00 UTC",
    "11:00 UTC",
    "12:00 UTC",
    "13:00 UTC",
    "14:00 UTC",
    "15:00 UTC",
    "16:00 UTC",
    "17:00 UTC",
    "18:00 UTC",
    "19:00 UTC",
    "20:00 UTC",
    "21:00 UTC",
    "22:00 UTC",
    "23:00 UTC",
];

fn observation<'e>(factor: Factor, login: &'e Login, value: &'static str) -> Observation<'e> {
    Observation {
        factor,
        context: login.user.as_bytes().into(),
        value: value.as_bytes().into(),
        wider: None,
    }
}
