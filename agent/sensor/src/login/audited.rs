//! What PAM and login programs report to audit, read beside whoever owns the log.
//!
//! ```text
//! type=1105  audit(1604994496.155:92733): pid=7 uid=0 auid=1000 ses=5 msg='op=PAM:session_open acct="ada"
//!            exe="/usr/sbin/sshd" hostname=192.0.2.7 addr=192.0.2.7 terminal=ssh res=success'
//! ```
//!
//! # Invariants
//!
//! - It only reads: the socket of a log daemon is not taken, and audit's state is left as it is.
//! - Head and body are told apart: what stands before `msg=` is the kernel's, the rest the reporting program's, which
//!   the kernel lets speak because it has `CAP_AUDIT_WRITE`.
//! - Any bytes give a record or nothing, never a panic. While audit is disabled nothing comes, and the hook says so.

use std::io;
use std::time::{Duration, Instant};

use picket_event::{Hook, HookState, Kind, Login, Text, UnixNanos};
use rustix::net::netlink;

use super::accounts;
use super::fact::{Fact, Witness, set_source, terminal};
use super::fusion::{Origin, SeenBy, Word};
use super::join::Joiner;
use super::pam::{is_switch, kind_of_session, service_name};
use crate::audit::multicast::{READERS, is_enabled};
use crate::audit::netlink::{Netlink, Received, u16_at};
use crate::audit::record::{Stamp, fields, number, stamp_and_rest, text_of};

/// Reads the records that the kernel copies to every reader.
#[derive(Debug)]
pub(super) struct Audited {
    socket: io::Result<Netlink>,
    enabled: Option<bool>,
    asked: Instant,
    proved: bool,
    overflows: u64,
    reported: u64,
}

impl Audited {
    /// Joins the group of readers.
    pub(super) fn open() -> Self {
        Self {
            socket: Netlink::open(netlink::AUDIT, READERS, BUFFER),
            enabled: is_enabled(),
            asked: Instant::now(),
            proved: false,
            overflows: 0,
            reported: 0,
        }
    }

    /// Takes what has come, a bounded number of records.
    pub(super) fn read(&mut self, joiner: &Joiner, words: &mut Vec<Word>) {
        if self.asked.elapsed() >= ASK_EVERY {
            self.asked = Instant::now();
            self.enabled = is_enabled();
        }
        let Ok(socket) = &mut self.socket else {
            return;
        };
        for _ in 0..MOST_RECORDS {
            match socket.receive() {
                Ok(Received::Datagram(datagram)) => {
                    let word = record_in(datagram).and_then(|record| record.word(joiner));
                    self.proved |= word.is_some();
                    words.extend(word);
                }
                Ok(Received::Foreign) => {}
                Ok(Received::Overflow) => self.overflows = self.overflows.saturating_add(1),
                Ok(Received::Nothing) => break,
                Err(error) => {
                    self.socket = Err(error);
                    break;
                }
            }
        }
    }

    /// How often the buffer was full since the last time.
    pub(super) fn take_lost(&mut self) -> u64 {
        let since = self.overflows.saturating_sub(self.reported);
        self.reported = self.overflows;
        since
    }

    /// Whether it works.
    pub(super) fn hook(&self) -> Hook {
        let (state, detail) = match (&self.socket, self.enabled) {
            (Err(error), _) => (
                HookState::Unavailable,
                format!("audit cannot be read: {error}"),
            ),
            (Ok(_), _) if self.proved => (HookState::Proved, "gave an event".to_owned()),
            (Ok(_), Some(false)) => {
                let why = "audit is disabled, so the kernel drops what login programs report";
                (HookState::Unavailable, why.to_owned())
            }
            (Ok(_), _) => (
                HookState::Attached,
                "read only, nothing came yet".to_owned(),
            ),
        };
        Hook {
            name: "login audit".to_owned(),
            state,
            detail,
            instead: String::new(),
        }
    }
}

/// One record about a login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuditLogin {
    kind: u16,
    stamp: Stamp,
    pid: u32,
    uid: Option<u32>,
    session: Option<u32>,
    operation: Vec<u8>,
    account: Text,
    program: Text,
    host: Text,
    address: Text,
    tty: Text,
    success: bool,
}

// linux/audit.h
const USER_AUTH: u16 = 1100;
const USER_ACCT: u16 = 1101;
const USER_START: u16 = 1105;
const USER_END: u16 = 1106;
const USER_LOGIN: u16 = 1112;

/// The record in a datagram, if it is about a login.
fn record_in(datagram: &[u8]) -> Option<AuditLogin> {
    AuditLogin::parse(u16_at(datagram, 4)?, datagram.get(HEADER..)?)
}

impl AuditLogin {
    /// Reads a record as the kernel sends it; `kind` is its number in linux/audit.h.
    pub fn parse(kind: u16, text: &[u8]) -> Option<Self> {
        if !matches!(
            kind,
            USER_AUTH | USER_ACCT | USER_START | USER_END | USER_LOGIN
        ) {
            return None;
        }
        let (stamp, rest) = stamp_and_rest(text)?;
        let (head, body) = super::bytes::cut(rest, b" msg='")?;
        let body = super::bytes::cut_last(body, b"'").map_or(body, |(body, _)| body);
        let of = |part, name: &[u8]| find(part, name);
        let session = of(head, b"ses").and_then(number);
        Some(Self {
            kind,
            stamp,
            pid: of(head, b"pid").and_then(number)?,
            uid: of(head, b"uid").and_then(number),
            session: session.filter(|number| *number != u32::MAX),
            operation: of(body, b"op").unwrap_or_default().to_vec(),
            account: of(body, b"acct").map_or(Text::NONE, text_of),
            program: of(body, b"exe").map_or(Text::NONE, text_of),
            host: of(body, b"hostname").map_or(Text::NONE, Text::from),
            address: of(body, b"addr").map_or(Text::NONE, Text::from),
            tty: of(body, b"terminal").map_or(Text::NONE, Text::from),
            success: of(body, b"res")? == b"success",
        })
    }

    /// What it says; `None`: nothing about a login.
    pub fn fact(&self) -> Option<Fact> {
        let service = self.service()?;
        let from_pam = self.operation.starts_with(b"PAM:");
        match (self.kind, self.success) {
            (USER_AUTH, true) if from_pam => Some(Fact::remark(Witness::PamPassed)),
            (USER_AUTH, false) if from_pam => self.refused(service, Witness::AuthRefused),
            (USER_ACCT, false) if from_pam => self.refused(service, Witness::AccountDenied),
            (USER_START, true) if from_pam => {
                Some(self.session_of(service, Witness::SessionOpened))
            }
            (USER_END, true) if from_pam => Some(self.session_of(service, Witness::SessionClosed)),
            // sshd reports each method that does not suffice as a failed login, asking for the list of methods too.
            (USER_LOGIN, success) => Some(self.confirmed(service, success)),
            _ => None,
        }
    }

    /// The audit session.
    pub(super) const fn session(&self) -> Option<u32> {
        self.session
    }

    /// When it was made.
    pub(super) fn time(&self) -> UnixNanos {
        let millis = i64::try_from(self.stamp.millis).unwrap_or(i64::MAX);
        UnixNanos(millis.saturating_mul(1_000_000))
    }

    fn word(&self, joiner: &Joiner) -> Option<Word> {
        let mut fact = self.fact()?;
        fact.login.session = self.session;
        if tells_only_the_target(&fact.login) {
            // The kernel's word: sudo and su keep the real user id of whoever called them until the switch is allowed.
            fact.login.user = self.uid.map_or(Text::NONE, accounts::name_of);
        }
        let process = joiner.reporter(self.pid);
        Some(Word {
            origin: Origin::LIVE,
            seen_by: SeenBy::Audit,
            time: self.time(),
            pid: Some(self.pid),
            ppid: process.as_ref().map(|process| process.ppid),
            process: process.filter(|_| fact.kind.is_some()),
            fact,
            old: false,
        })
    }

    /// PAM does not say which service it served; the program does.
    fn service(&self) -> Option<String> {
        let name = self.program.basename();
        match name {
            b"" => None,
            b"sshd-session" | b"sshd-auth" => Some("sshd".to_owned()),
            b"systemd" | b"systemd-executor" => Some("systemd-user".to_owned()),
            b"pkexec" | b"polkit-agent-helper-1" => Some("polkit-1".to_owned()),
            _ => service_name(name),
        }
    }

    fn login(&self, service: String) -> Login {
        let mut login = Login {
            service,
            tty: terminal(self.tty.as_bytes()),
            ..Login::default()
        };
        let source = [&self.address, &self.host].into_iter().find(|source| {
            let source = source.as_bytes();
            !source.is_empty() && source != b"?"
        });
        if let Some(source) = source {
            set_source(&mut login, source.as_bytes());
        }
        login
    }

    /// Fills who became whom, as far as one name tells.
    fn named(&self, service: String, before_asking: bool) -> Login {
        let mut login = self.login(service);
        let account = self.account.clone();
        let known = !matches!(account.as_bytes(), b"?" | b"(unknown)" | b"(invalid user)");
        let account = if known { account } else { Text::NONE };
        // All but su ask for the password of whoever asks.
        let is_target = is_switch(&login.service) && !(before_asking && login.service != "su");
        if is_target {
            login.target_user = account;
        } else {
            login.user = account;
        }
        login
    }

    fn refused(&self, service: String, witness: Witness) -> Option<Fact> {
        let kind = match kind_of_session(&service) {
            Kind::AccountSwitch => Kind::AccountSwitch,
            Kind::Session => return None,
            _ => Kind::LoginFailed,
        };
        Some(Fact::failure(witness, kind, self.named(service, true)))
    }

    fn session_of(&self, service: String, witness: Witness) -> Fact {
        let kind = match witness {
            Witness::SessionClosed => Kind::Logoff,
            _ => kind_of_session(&service),
        };
        Fact::success(witness, kind, self.named(service, false))
    }

    fn confirmed(&self, service: String, success: bool) -> Fact {
        let login = self.named(service, true);
        if success {
            Fact::success(Witness::Confirmed, Kind::Login, login)
        } else {
            Fact::failure(Witness::Confirmed, Kind::LoginFailed, login)
        }
    }
}

/// A switch of which the program told only whom somebody becomes.
fn tells_only_the_target(login: &Login) -> bool {
    is_switch(&login.service) && login.user == Text::NONE && login.target_user != Text::NONE
}

fn find<'a>(part: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    fields(part)
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

const HEADER: usize = 16;
const BUFFER: usize = 1 << 20;
const MOST_RECORDS: usize = 4_096;
const ASK_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str =
        "audit(1604994496.155:92733): pid=7 uid=0 auid=1000 ses=5 subj=unconfined msg='";

    fn said(kind: u16, body: &str) -> Option<Fact> {
        AuditLogin::parse(kind, format!("{HEAD}{body}'").as_bytes())?.fact()
    }

    fn pam(operation: &str, program: &str, result: &str) -> String {
        format!(
            "op=PAM:{operation} grantors=pam_unix acct=\"ada\" exe=\"{program}\" hostname=192.0.2.7 addr=192.0.2.7 \
             terminal=ssh res={result}"
        )
    }

    #[test]
    fn a_session_that_pam_opened_is_a_login_of_the_program_that_asked() {
        let fact = said(
            USER_START,
            &pam("session_open", "/usr/sbin/sshd", "success"),
        )
        .unwrap();
        assert_eq!(
            (fact.kind, fact.login.service.as_str()),
            (Some(Kind::Login), "sshd")
        );
        assert_eq!(
            (fact.login.user, fact.login.source_ip.as_str()),
            ("ada".into(), "192.0.2.7")
        );
        assert_eq!(fact.login.tty, Text::NONE);
        let fact = said(
            USER_START,
            &pam("session_open", "/usr/sbin/cron", "success"),
        )
        .unwrap();
        assert_eq!(fact.kind, Some(Kind::Session));
    }

    #[test]
    fn whom_one_name_means_depends_on_who_is_asked_for_a_password() {
        let sudo = said(USER_AUTH, &pam("authentication", "/usr/bin/sudo", "failed")).unwrap();
        assert_eq!(
            (sudo.login.user, sudo.login.target_user),
            ("ada".into(), Text::NONE)
        );
        let su = said(USER_AUTH, &pam("authentication", "/usr/bin/su", "failed")).unwrap();
        assert_eq!(
            (su.login.user, su.login.target_user),
            (Text::NONE, "ada".into())
        );
        let opened = said(USER_START, &pam("session_open", "/usr/bin/sudo", "success")).unwrap();
        assert_eq!(opened.login.target_user, "ada".into());
    }

    #[test]
    fn what_sshd_reports_of_a_method_that_did_not_suffice_makes_no_event_by_itself() {
        let body = "op=login acct=\"ada\" exe=\"/usr/sbin/sshd\" hostname=? addr=192.0.2.7 terminal=sshd res=failed";
        let fact = said(USER_LOGIN, body).unwrap();
        assert_eq!(fact.witness, Witness::Confirmed);
    }

    #[test]
    fn who_asked_for_a_switch_is_the_kernels_word() {
        let head = HEAD.replacen("uid=0", "uid=20007", 1);
        let switch = pam("session_open", "/usr/bin/sudo", "success");
        let record = AuditLogin::parse(USER_START, format!("{head}{switch}'").as_bytes()).unwrap();
        let fact = record.fact().unwrap();
        assert_eq!(record.uid, Some(20_007));
        assert!(tells_only_the_target(&fact.login));
        let login = pam("session_open", "/usr/sbin/sshd", "success");
        let record = AuditLogin::parse(USER_START, format!("{head}{login}'").as_bytes()).unwrap();
        assert!(!tells_only_the_target(&record.fact().unwrap().login));
    }

    #[test]
    fn a_name_in_hexadecimal_is_read_and_an_unknown_one_is_none() {
        let body = "op=PAM:authentication acct=6120220A62 exe=\"/usr/sbin/sshd\" hostname=? addr=? terminal=ssh res=failed";
        assert_eq!(
            said(USER_AUTH, body).unwrap().login.user.as_bytes(),
            b"a \"\nb"
        );
        let body = body.replace("6120220A62", "\"?\"");
        assert_eq!(said(USER_AUTH, &body).unwrap().login.user, Text::NONE);
    }

    #[test]
    fn what_the_reporting_program_says_cannot_stand_for_the_kernels_word() {
        let text = format!(
            "{HEAD}op=PAM:session_open pid=1 acct=\"a\" exe=\"/usr/sbin/sshd\" res=success'"
        );
        assert_eq!(
            AuditLogin::parse(USER_START, text.as_bytes()).unwrap().pid,
            7
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut text = HEAD.as_bytes().to_vec();
            text.extend_from_slice(&bytes);
            for kind in [USER_AUTH, USER_ACCT, USER_START, USER_END, USER_LOGIN] {
                let _any = AuditLogin::parse(kind, &bytes).and_then(|record| record.fact());
                let _any = AuditLogin::parse(kind, &text).and_then(|record| record.fact());
            }
        }
    }
}
