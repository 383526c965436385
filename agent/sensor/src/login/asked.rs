//! What a program asked of PAM and was answered: the other half of `agent/ebpf/pam.bpf.c`.
//!
//! # Invariants
//!
//! - Any bytes give a call or nothing, never a panic.
//! - Only programs of root are believed: whoever runs as somebody else can call libpam with anything in hand.

use picket_event::{Kind, Login, Text};

use super::fact::{Fact, Witness, set_source, terminal};
use super::pam::{is_switch, kind_of_session, service_name};

/// One call that returned.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PamCall {
    /// When it returned, in nanoseconds since boot.
    pub boot_ns: u64,
    /// When the process and its parent began, in nanoseconds since boot.
    pub start_ns: [u64; 2],
    /// The process and its parent.
    pub pids: [u32; 2],
    /// Real and effective user.
    pub users: [u32; 2],
    /// User who logged in, as the kernel has it after the call.
    pub login_uid: Option<u32>,
    /// Audit session, the same.
    pub session: Option<u32>,
    /// The function.
    pub operation: u32,
    /// What it answered; 0 is success.
    pub answer: i32,
    /// Mount namespace of the process.
    pub mounts: u32,
    /// Short names of the process and its parent.
    pub names: [Text; 2],
    /// The service as it was asked for; only where a transaction began.
    pub asked_service: Text,
    /// The rest as the handle has it.
    pub service: Text,
    /// Terminal.
    pub tty: Text,
    /// For whom.
    pub user: Text,
    /// Who asks.
    pub remote_user: Text,
    /// From where.
    pub remote_host: Text,
}

/// A transaction began.
pub(super) const START: u32 = 0;
/// No call: the first program of an audit session.
pub(super) const SESSION: u32 = 6;
const AUTHENTICATE: u32 = 1;
const ACCT_MGMT: u32 = 2;
const OPEN_SESSION: u32 = 4;
const CLOSE_SESSION: u32 = 5;

impl PamCall {
    /// Reads a record of the ring.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        let call = Self {
            boot_ns: rest.long()?,
            start_ns: [rest.long()?, rest.long()?],
            pids: [rest.word()?, rest.word()?],
            users: [rest.word()?, rest.word()?],
            login_uid: rest.word().map(known)?,
            session: rest.word().map(known)?,
            operation: rest.word()?,
            answer: {
                let _flags = rest.word()?;
                i32::from_ne_bytes(rest.word()?.to_ne_bytes())
            },
            mounts: rest.word()?,
            names: [rest.text(COMM)?, rest.text(COMM)?],
            asked_service: rest.text(SERVICE)?,
            service: rest.text(SERVICE)?,
            tty: rest.text(SERVICE)?,
            user: rest.text(NAME)?,
            remote_user: rest.text(NAME)?,
            remote_host: rest.text(NAME)?,
        };
        rest.0.is_empty().then_some(call)
    }

    /// Whether the handle's members are where they are looked for; `None`: this call does not tell. A program of somebody
    /// else may change its memory while it is read, and so make a good layout look bad.
    pub fn is_understood(&self) -> Option<bool> {
        let tells = self.users[1] == ROOT
            && self.operation == START
            && self.answer == SUCCESS
            && !self.asked_service.is_empty();
        let service = self.service.as_bytes();
        // libpam keeps a service's name in lower case and may leave its folder out.
        let is_same = |asked: &[u8]| service.eq_ignore_ascii_case(asked);
        tells.then(|| {
            is_same(self.asked_service.as_bytes()) || is_same(self.asked_service.basename())
        })
    }

    /// What it says of a login; `None`: nothing, or not to be believed.
    pub fn fact(&self) -> Option<Fact> {
        if self.users[1] != ROOT {
            return None;
        }
        let service = service_name(self.service.as_bytes())?;
        match (self.operation, self.answer) {
            (AUTHENTICATE, SUCCESS) => Some(Fact::passed(Login {
                user: self.remote_user.clone(),
                ..self.login(service)
            })),
            (AUTHENTICATE, answer) if is_refusal(answer) => {
                self.refused(service, Witness::AuthRefused)
            }
            (ACCT_MGMT, answer) if is_refusal(answer) => {
                self.refused(service, Witness::AccountDenied)
            }
            (OPEN_SESSION, SUCCESS) => Some(self.opened(service)),
            (CLOSE_SESSION, SUCCESS) => Some(self.closed(service)),
            _ => None,
        }
    }

    fn login(&self, service: String) -> Login {
        let mut login = Login {
            tty: terminal(self.tty.as_bytes()),
            service,
            ..Login::default()
        };
        if !self.remote_host.is_empty() {
            set_source(&mut login, self.remote_host.as_bytes());
        }
        login
    }

    fn refused(&self, service: String, witness: Witness) -> Option<Fact> {
        let kind = match kind_of_session(&service) {
            Kind::AccountSwitch => Kind::AccountSwitch,
            Kind::Session => return None,
            _ => Kind::LoginFailed,
        };
        let mut login = self.login(service);
        if kind == Kind::AccountSwitch {
            login.user = self.remote_user.clone();
            // All but su ask for the password of whoever asks, and name him here.
            if login.service == "su" {
                login.target_user = self.user.clone();
            }
        } else {
            login.user = self.user.clone();
        }
        Some(Fact::failure(witness, kind, login))
    }

    fn opened(&self, service: String) -> Fact {
        let kind = kind_of_session(&service);
        let mut login = self.login(service);
        login.session = self.session;
        if kind == Kind::AccountSwitch {
            login.user = self.remote_user.clone();
            login.target_user = self.user.clone();
        } else {
            login.user = self.user.clone();
        }
        Fact::success(Witness::SessionOpened, kind, login)
    }

    fn closed(&self, service: String) -> Fact {
        let is_switch = is_switch(&service);
        let mut login = self.login(service);
        login.session = self.session;
        if is_switch {
            login.user = self.remote_user.clone();
            login.target_user = self.user.clone();
        } else {
            login.user = self.user.clone();
        }
        Fact::success(Witness::SessionClosed, Kind::Logoff, login)
    }
}

/// Answers by which somebody is turned away, rather than by which PAM has trouble of its own (`security/_pam_types.h`).
fn is_refusal(answer: i32) -> bool {
    const PERM_DENIED: i32 = 6;
    const AUTH_ERR: i32 = 7;
    const CRED_INSUFFICIENT: i32 = 8;
    const AUTHINFO_UNAVAIL: i32 = 9;
    const USER_UNKNOWN: i32 = 10;
    const MAXTRIES: i32 = 11;
    const ACCT_EXPIRED: i32 = 13;
    matches!(
        answer,
        PERM_DENIED
            | AUTH_ERR
            | CRED_INSUFFICIENT
            | AUTHINFO_UNAVAIL
            | USER_UNKNOWN
            | MAXTRIES
            | ACCT_EXPIRED
    )
}

fn known(number: u32) -> Option<u32> {
    (number != u32::MAX).then_some(number)
}

/// What is left of a record.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn word(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.take(4)?.first_chunk()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_ne_bytes(*self.take(8)?.first_chunk()?))
    }

    /// Up to the first NUL.
    fn text(&mut self, length: usize) -> Option<Text> {
        let field = self.take(length)?;
        let end = memchr::memchr(0, field).unwrap_or(field.len());
        Some(Text::from(field.get(..end)?))
    }
}

const COMM: usize = 16;
const SERVICE: usize = 64;
const NAME: usize = 256;
const SUCCESS: i32 = 0;
const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(service: &str, operation: u32, answer: i32) -> PamCall {
        PamCall {
            operation,
            answer,
            service: service.into(),
            user: "root".into(),
            remote_user: "ada".into(),
            remote_host: "192.0.2.7".into(),
            tty: "ssh".into(),
            session: Some(4),
            ..PamCall::default()
        }
    }

    #[test]
    fn a_session_of_sshd_is_a_login_and_its_end_a_logoff() {
        let fact = call("sshd", OPEN_SESSION, 0).fact().unwrap();
        assert_eq!(fact.kind, Some(Kind::Login));
        assert_eq!(
            (fact.login.source_ip.as_str(), fact.login.session),
            ("192.0.2.7", Some(4))
        );
        assert_eq!(fact.login.tty, Text::NONE);
        let fact = call("sshd", CLOSE_SESSION, 0).fact().unwrap();
        assert_eq!(fact.kind, Some(Kind::Logoff));
    }

    #[test]
    fn a_switch_names_who_asks_and_who_is_become() {
        for service in ["sudo", "su-l", "doas"] {
            let fact = call(service, OPEN_SESSION, 0).fact().unwrap();
            assert_eq!(fact.kind, Some(Kind::AccountSwitch));
            assert_eq!(
                (fact.login.user, fact.login.target_user),
                ("ada".into(), "root".into())
            );
        }
        let fact = call("sudo", AUTHENTICATE, 7).fact().unwrap();
        assert_eq!(
            (fact.login.target_user, fact.login.outcome.as_str()),
            (Text::NONE, "failure")
        );
    }

    #[test]
    fn trouble_of_pams_own_is_no_refusal() {
        for (answer, kind) in [
            (7, Some(Kind::LoginFailed)),
            (10, Some(Kind::LoginFailed)),
            (19, None),
            (26, None),
            (3, None),
        ] {
            let fact = call("sshd", AUTHENTICATE, answer).fact();
            assert_eq!(fact.and_then(|fact| fact.kind), kind, "{answer}");
        }
    }

    #[test]
    fn a_program_of_somebody_else_is_not_believed() {
        let mut call = call("sshd", OPEN_SESSION, 0);
        call.users = [0, 1000];
        assert_eq!(call.fact(), None);
    }

    #[test]
    fn a_handle_of_another_layout_is_noticed() {
        let mut call = call("sshd", START, 0);
        assert_eq!(call.is_understood(), None);
        call.asked_service = "SSHD".into();
        assert_eq!(call.is_understood(), Some(true));
        call.asked_service = "/etc/pam.d/sshd".into();
        assert_eq!(call.is_understood(), Some(true));
        call.service = "x".into();
        assert_eq!(call.is_understood(), Some(false));
        call.users = [1000, 1000];
        assert_eq!(call.is_understood(), None, "no word of somebody else");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_call_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..1_200)) {
            let read = PamCall::parse(&bytes);
            prop_assert_eq!(read.is_some(), bytes.len() == 1_056);
            let _any = read.and_then(|call| call.fact());
        }
    }
}
