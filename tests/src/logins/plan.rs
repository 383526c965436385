//! Which sessions there are, and what each source can know of each.

use picket_event::Kind;

/// A way to come in, to be refused, or to become another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Way {
    /// ssh with a key runs one command, without a terminal.
    Key,
    /// ssh with a password, on a terminal.
    Password,
    /// ssh with a wrong password.
    WrongPassword,
    /// ssh as somebody who does not exist.
    InvalidUser,
    /// ssh as somebody whom sshd lets in never.
    Denied,
    /// ssh as somebody whose account has expired.
    Expired,
    /// sudo, allowed without a password.
    Sudo,
    /// sudo, three wrong passwords.
    SudoWrong,
    /// sudo by somebody who may not, with the right password.
    SudoNotAllowed,
    /// su by root.
    Su,
    /// su to root with a wrong password, on a terminal.
    SuWrong,
    /// login on a terminal.
    Console,
    /// login on a terminal with a wrong password.
    ConsoleWrong,
    /// A job of cron.
    Cron,
}

/// What the programs write of logins beside the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Records {
    /// wtmp, btmp and lastlog: until Debian 12.
    Files,
    /// wtmpdb and lastlog2, by PAM: from Debian 13 on.
    Databases,
}

impl Records {
    /// What this root's PAM is set up for.
    pub(super) fn here() -> Self {
        let session = std::fs::read_to_string("/etc/pam.d/common-session");
        if session.is_ok_and(|text| text.contains("pam_wtmpdb.so")) {
            Self::Databases
        } else {
            Self::Files
        }
    }
}

/// Each way with its share of a hundred sessions.
const SHARES: [(Way, usize); 14] = [
    (Way::Key, 15),
    (Way::Password, 15),
    (Way::WrongPassword, 10),
    (Way::InvalidUser, 8),
    (Way::Denied, 5),
    (Way::Expired, 5),
    (Way::Sudo, 10),
    (Way::SudoWrong, 4),
    (Way::SudoNotAllowed, 4),
    (Way::Su, 8),
    (Way::SuWrong, 4),
    (Way::Console, 6),
    (Way::ConsoleWrong, 3),
    (Way::Cron, 3),
];

/// One session: somebody does something once.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) number: usize,
    pub(super) way: Way,
    /// The user, who has no other session.
    pub(super) user: String,
}

/// So many sessions, the ways mixed.
pub(super) fn sessions(count: usize) -> Vec<Session> {
    let hundred: Vec<Way> = SHARES
        .iter()
        .flat_map(|(way, share)| std::iter::repeat_n(*way, *share))
        .collect();
    // 37 and 100 have no common divisor, so a hundred steps meet each place once.
    let way = |number: usize| hundred[number * 37 % hundred.len()];
    let session = |number| Session {
        number,
        way: way(number),
        user: format!("p{number:04}"),
    };
    (0..count).map(session).collect()
}

impl Session {
    /// What the session's program has among its arguments.
    pub(super) fn mark(&self) -> String {
        format!("picket-mark-{}", self.user)
    }

    /// Where an ssh session comes from; no other comes from there.
    pub(super) fn address(&self) -> String {
        format!("127.1.{}.{}", self.number / 250, self.number % 250 + 1)
    }
}

impl Way {
    /// The events of such a session, each with its outcome.
    pub(super) fn events(self) -> &'static [(Kind, &'static str)] {
        match self {
            Self::Key | Self::Password | Self::Console => {
                &[(Kind::Login, "success"), (Kind::Logoff, "success")]
            }
            Self::WrongPassword
            | Self::InvalidUser
            | Self::Denied
            | Self::Expired
            | Self::ConsoleWrong => &[(Kind::LoginFailed, "failure")],
            Self::Sudo | Self::Su => &[(Kind::AccountSwitch, "success"), (Kind::Logoff, "success")],
            Self::SudoWrong | Self::SudoNotAllowed | Self::SuWrong => {
                &[(Kind::AccountSwitch, "failure")]
            }
            Self::Cron => &[(Kind::Session, "success"), (Kind::Logoff, "success")],
        }
    }

    /// Whether a program with the session's mark runs in it.
    pub(super) fn runs_a_program(self) -> bool {
        self.events().iter().any(|(kind, _)| *kind == Kind::Logoff)
    }

    /// Whether it begins an audit session.
    pub(super) fn has_its_own_session(self) -> bool {
        matches!(
            self,
            Self::Key | Self::Password | Self::Console | Self::Cron
        )
    }

    /// Whether this source, alone, can know of such an event; the table of `docs/logins.md`.
    pub(super) fn is_told_by(self, source: &str, kind: Kind, records: Records) -> bool {
        let on_terminal = matches!(self, Self::Password | Self::Console);
        if records == Records::Databases {
            match source {
                // sshd alone still writes them, and nobody btmp.
                "wtmp" | "lastlog" if self != Self::Password => return false,
                "btmp" => return false,
                "wtmpdb" => return on_terminal || self == Self::Su,
                "lastlog2" => {
                    let by_pam = on_terminal || matches!(self, Self::Key | Self::Su);
                    return by_pam && kind != Kind::Logoff;
                }
                _ => {}
            }
        }
        match source {
            "all" | "auth_log" | "journal" => true,
            // The password was right and sudo itself refused.
            "pam" | "audit" => self != Self::SudoNotAllowed,
            "kernel" => self.has_its_own_session() && kind != Kind::Logoff,
            // Who started login writes the end of its session: here nobody does.
            "wtmp" => on_terminal && (kind == Kind::Login || self == Self::Password),
            "lastlog" => on_terminal && kind == Kind::Login,
            "btmp" => kind == Kind::LoginFailed,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_sessions_have_each_way_as_often_as_its_share_says() {
        let played = sessions(100);
        for (way, share) in SHARES {
            let found = played.iter().filter(|session| session.way == way).count();
            assert_eq!(found, share, "{way:?}");
        }
    }
}
