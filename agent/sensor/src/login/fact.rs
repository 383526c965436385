//! What one line or record says: who came, went or was refused, and how it is known.

use std::net::IpAddr;

use picket_event::{Kind, Login, Text};

use super::bytes;
use super::pam::{kind_of_session, service_name};

/// What kind of line or record says it. One login is told by several, each at most once.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Witness {
    /// sshd: `Accepted publickey for ...`.
    Accepted,
    /// sshd: `Failed password for ...`.
    Refused,
    /// sshd says before any attempt that it will fail: `Invalid user ...`, `... not allowed because`.
    Announced,
    /// sshd sums up: `Too many authentication failures`.
    GaveUp,
    /// sshd repeats what PAM told it: `error: PAM: Authentication failure for ...`.
    PamError,
    /// `pam_unix(...:auth): authentication failure; ...`.
    PamFailed,
    /// The same by another PAM module, so perhaps the second word about one attempt.
    PamAlso,
    /// PAM let somebody in, whichever source tells: takes back the failure of a module before.
    PamPassed,
    /// `pam_unix(...:session): session opened ...`.
    SessionOpened,
    /// `pam_unix(...:session): session closed ...`.
    SessionClosed,
    /// sshd: `Disconnected from user ...`, logged by another process than the login.
    Disconnected,
    /// sshd: a connection that never logged in has ended. No event by itself.
    ConnectionEnded,
    /// sudo, su, pkexec: done.
    Switched,
    /// sudo, su, pkexec: refused.
    SwitchRefused,
    /// login: `LOGIN ON tty1 BY ...`.
    ConsoleLogin,
    /// login: `FAILED LOGIN ...`.
    ConsoleRefused,
    /// wtmp: a user's process began on a terminal.
    RecordLogin,
    /// wtmp: it ended.
    RecordLogoff,
    /// btmp: a refused login.
    RecordFailure,
    /// PAM as a whole refused: who asked is not who he says.
    AuthRefused,
    /// PAM as a whole refused: he is, and may not come in all the same.
    AccountDenied,
    /// Another word about something that only other words can tell. Makes no event.
    Confirmed,
    /// The kernel has a new audit session.
    SessionBegan,
}

impl Witness {
    /// Its place in a set of witnesses.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Whether the process number with it is the one that the other lines of this login carry.
    pub(super) const fn names_the_process(self) -> bool {
        !matches!(
            self,
            Self::Disconnected | Self::RecordLogin | Self::RecordLogoff
        )
    }

    /// Whether it only repeats what another line of the same process has told, if there is one.
    pub(super) const fn repeats(self) -> bool {
        matches!(self, Self::GaveUp | Self::PamAlso)
    }

    /// Whether it sums up several attempts and says more than they did: too much to be passed over
    /// once their events were given.
    pub(super) const fn is_a_sum(self) -> bool {
        matches!(self, Self::SwitchRefused)
    }

    /// Whether a better line about the same attempt is to be expected, after PAM's delay of two
    /// seconds for a wrong password.
    pub(super) const fn is_preliminary(self) -> bool {
        matches!(
            self,
            Self::PamFailed | Self::PamAlso | Self::Announced | Self::PamError
        )
    }
}

/// What one line or record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// How it is known.
    pub witness: Witness,
    /// Which event it makes; `None`: none by itself.
    pub kind: Option<Kind>,
    /// Who, from where, by what. `seen_by` is empty.
    pub login: Login,
}

impl Fact {
    pub(super) fn success(witness: Witness, kind: Kind, login: Login) -> Self {
        Self::with_outcome(witness, kind, login, "success")
    }

    pub(super) fn failure(witness: Witness, kind: Kind, login: Login) -> Self {
        Self::with_outcome(witness, kind, login, "failure")
    }

    /// The kernel has a new audit session. Which service began it only its program's name tells.
    pub(super) fn session_began(program: &[u8], user: Text, session: u32) -> Option<Self> {
        let service = match program {
            b"sshd-session" | b"sshd-auth" => "sshd".to_owned(),
            b"systemd" | b"(systemd)" | b"(sd-pam)" => "systemd-user".to_owned(),
            _ => service_name(program)?,
        };
        let login = Login {
            user,
            session: Some(session),
            ..Login::default()
        };
        let kind = kind_of_session(&service);
        // A new session that sudo or su began is one in which nobody came in from outside.
        let kind = if kind == Kind::AccountSwitch {
            Kind::Session
        } else {
            kind
        };
        Some(Self::success(
            Witness::SessionBegan,
            kind,
            Login { service, ..login },
        ))
    }

    /// PAM let this one through.
    pub(super) fn passed(login: Login) -> Self {
        Self {
            login,
            ..Self::remark(Witness::PamPassed)
        }
    }

    /// A line that makes no event and says something about those around it.
    pub(super) fn remark(witness: Witness) -> Self {
        Self {
            witness,
            kind: None,
            login: Login::default(),
        }
    }

    fn with_outcome(witness: Witness, kind: Kind, login: Login, outcome: &str) -> Self {
        Self {
            witness,
            kind: Some(kind),
            login: Login {
                outcome: outcome.to_owned(),
                ..login
            },
        }
    }
}

/// Sets where somebody came from: an address where it is one, else the name as it stands there.
pub(super) fn set_source(login: &mut Login, source: &[u8]) {
    match address(source) {
        Some(ip) => login.source_ip = ip.to_string(),
        None => login.source_host = Text::from(source),
    }
}

/// A terminal's name without its folder; what is no terminal (`ssh`, `cron`) is none.
pub(super) fn terminal(name: &[u8]) -> Text {
    let name = name.strip_prefix(b"/dev/").unwrap_or(name);
    match name {
        b"ssh" | b"ssh:notty" | b"NODEVssh" | b"cron" | b"unknown" | b"none" | b"?" => Text::NONE,
        _ => Text::from(name),
    }
}

/// The address, in its one written form: IPv4 within IPv6 is IPv4, and a zone is left out.
pub(super) fn address(text: &[u8]) -> Option<IpAddr> {
    let text = bytes::cut(text, b"%").map_or(text, |(address, _zone)| address);
    let address: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(address.to_canonical())
}
