//! From a line or record to words about logins.

use picket_event::{BootId, Kind, Login, Text, UnixNanos};

use super::accounts;
use super::fact::{Fact, Witness, set_source, terminal};
use super::fusion::{Origin, SeenBy, Word};
use super::join::Joiner;
use super::line::{AuthLine, LineClock, parse_auth_line};
use super::opened::Piece;
use super::utmp::{UtmpError, UtmpKind, UtmpRecord, parse_utmp};

/// Reads pieces, and joins them to the processes they speak of.
#[derive(Debug)]
pub(super) struct Reader {
    joiner: Joiner,
}

impl Reader {
    pub(super) fn new(boot: BootId) -> Self {
        Self {
            joiner: Joiner::new(boot),
        }
    }

    /// What looks processes up.
    pub(super) fn joiner(&self) -> &Joiner {
        &self.joiner
    }

    /// The words of one piece: none if it says nothing about a login, several if it is folded.
    pub(super) fn read(
        &self,
        seen_by: SeenBy,
        piece: &Piece,
        now: UnixNanos,
    ) -> Result<Vec<Word>, UtmpError> {
        match seen_by {
            SeenBy::Wtmp | SeenBy::Btmp => self.record(seen_by, piece, now),
            _ => {
                let line = parse_auth_line(&piece.bytes, &LineClock::local(now));
                let origin = (seen_by, piece.origin);
                Ok(line.map_or_else(Vec::new, |line| self.line(line, origin, piece.old, now)))
            }
        }
    }

    /// The words of a line that others have read.
    pub(super) fn line(
        &self,
        line: AuthLine,
        (seen_by, origin): (SeenBy, Origin),
        old: bool,
        now: UnixNanos,
    ) -> Vec<Word> {
        let is_recent = !old && now.since(line.time) <= RECENT;
        let process = line
            .pid
            .filter(|_| is_recent && line.fact.kind.is_some())
            .and_then(|pid| self.joiner.writer(pid, &line));
        let AuthLine {
            time,
            pid,
            fact,
            times,
            ..
        } = line;
        let word = Word {
            origin,
            seen_by,
            time,
            pid,
            ppid: process.as_ref().map(|process| process.ppid),
            fact,
            process,
            old,
        };
        (0..times).map(|_| word.clone()).collect()
    }

    fn record(
        &self,
        seen_by: SeenBy,
        piece: &Piece,
        now: UnixNanos,
    ) -> Result<Vec<Word>, UtmpError> {
        let record = parse_utmp(&piece.bytes)?;
        let is_recent = !piece.old && now.since(record.time) <= RECENT;
        let fact = match seen_by {
            SeenBy::Btmp => refused(&record, is_recent),
            _ => began_or_ended(&record),
        };
        let Some(fact) = fact else {
            return Ok(Vec::new());
        };
        let begins = fact.witness == Witness::RecordLogin;
        let process = (is_recent && begins)
            .then(|| self.joiner.session(record.pid, record.time))
            .flatten();
        let pid = Some(record.pid).filter(|pid| *pid != 0);
        let (time, old) = (record.time, piece.old);
        Ok(vec![Word {
            origin: piece.origin,
            seen_by,
            time,
            pid,
            ppid: None,
            fact,
            process,
            old,
        }])
    }
}

fn began_or_ended(record: &UtmpRecord) -> Option<Fact> {
    match record.kind {
        UtmpKind::User if !record.user.is_empty() => Some(Fact::success(
            Witness::RecordLogin,
            Kind::Login,
            account(record),
        )),
        UtmpKind::Dead if !record.line.is_empty() => {
            let login = Login {
                tty: terminal(record.line.as_bytes()),
                ..Login::default()
            };
            Some(Fact::success(Witness::RecordLogoff, Kind::Logoff, login))
        }
        _ => None,
    }
}

fn refused(record: &UtmpRecord, is_recent: bool) -> Option<Fact> {
    let is_attempt = matches!(
        record.kind,
        UtmpKind::Prompt | UtmpKind::User | UtmpKind::Init
    );
    // sshd records a user it does not know before it asks for a password, and each attempt after that. Who is known now need not
    // have been when an old record was written.
    let is_sshd = record.line.as_bytes().starts_with(b"ssh");
    let announces = is_sshd && is_recent && !accounts::exists(&record.user);
    let witness = if announces {
        Witness::Announced
    } else {
        Witness::RecordFailure
    };
    is_attempt.then(|| Fact::failure(witness, Kind::LoginFailed, account(record)))
}

fn account(record: &UtmpRecord) -> Login {
    let known = record.user.as_bytes() != b"UNKNOWN";
    let mut login = Login {
        user: if known {
            record.user.clone()
        } else {
            Text::NONE
        },
        tty: terminal(record.line.as_bytes()),
        ..Login::default()
    };
    if !record.host.is_empty() {
        set_source(&mut login, record.host.as_bytes());
    }
    if let Some(address) = record.address {
        login.source_ip = address.to_string();
    }
    login
}

/// Older lines are not joined: the number may be another's by now.
const RECENT: std::time::Duration = std::time::Duration::from_mins(1);
