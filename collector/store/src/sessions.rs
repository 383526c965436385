//! Who began which session: what joins a login to everything that was done in it.
//!
//! An event names its session by a number that counts since boot; only the login itself says who came, from where and by which key.
//!
//! # Invariants
//!
//! - At most [`MAX_SESSIONS`] are known; of more, those that were told last.
//! - A session that somebody from outside began is that login, whatever else was said of its number.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;

use picket_event::{BootId, Detail, Event, HostId, Kind, ProcessUid};

use crate::{KindSet, Order, Query, Reader, StoreError, StoredEvent};

/// The most sessions that are known at once, some 400 bytes each.
const MAX_SESSIONS: usize = 32_768;

/// How a session began.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The `login` or `session` event, without its process.
    pub event: Event,
    /// The process that let somebody in, if it is known.
    pub process: Option<ProcessUid>,
}

/// Sessions by host, boot and number.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    known: HashMap<Key, Session>,
    order: VecDeque<Key>,
}

type Key = (HostId, BootId, u32);

impl Sessions {
    /// The kinds of event that begin a session.
    pub fn kinds() -> KindSet {
        KindSet::from_iter([Kind::Login, Kind::Session])
    }

    /// Takes in an event that may begin a session.
    pub fn learn(&mut self, stored: &StoredEvent) {
        let event = &stored.event;
        let number = event.login().and_then(|login| login.session);
        let Some(number) = number.filter(|_| Self::kinds().holds(event.kind)) else {
            return;
        };
        let key = (stored.host, stored.boot, number);
        let known = self.known.get(&key);
        if known.is_some_and(|known| known.event.kind == Kind::Login || event.kind != Kind::Login) {
            return;
        }
        let mut begun = Event::new(event.kind, event.time, event.source);
        begun.detail.clone_from(&event.detail);
        let process = event.process.as_ref().map(|process| process.uid);
        let session = Session {
            event: begun,
            process,
        };
        if self.known.insert(key, session).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_SESSIONS
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
    }

    /// The session in which this was done. None for what begins a session itself, or was refused one.
    pub fn of(&self, host: &HostId, boot: &BootId, event: &Event) -> Option<&Session> {
        self.known.get(&(*host, *boot, number_of(event)?))
    }
}

/// The number of the session that an event belongs to.
fn number_of(event: &Event) -> Option<u32> {
    if matches!(event.kind, Kind::Login | Kind::LoginFailed | Kind::Session) {
        return None;
    }
    let of_process = event.process.as_ref().and_then(|process| process.session);
    let of_login = || match &event.detail {
        Some(Detail::Login(login)) => login.session,
        _ => None,
    };
    of_process.or_else(of_login)
}

impl Reader {
    /// The sessions of these hosts; of all, if none are named.
    pub fn sessions(&self, hosts: Option<HashSet<HostId>>) -> Result<Sessions, StoreError> {
        let query = Query {
            hosts,
            kinds: Sessions::kinds(),
            ..Query::default()
        };
        let mut sessions = Sessions::default();
        self.scan(&query, Order::OldestFirst, &mut |stored| {
            sessions.learn(&stored);
            ControlFlow::Continue(())
        })?;
        Ok(sessions)
    }

    /// The sessions in which these things were done.
    pub fn sessions_of(&self, events: &[StoredEvent]) -> Result<Sessions, StoreError> {
        let in_a_session = events.iter().filter(|one| number_of(&one.event).is_some());
        let hosts: HashSet<HostId> = in_a_session.map(|one| one.host).collect();
        if hosts.is_empty() {
            return Ok(Sessions::default());
        }
        self.sessions(Some(hosts))
    }

    /// The latest session of this number on a host, and the process in which it began: the one that let somebody in, or else the
    /// first that is known to be in it.
    pub fn session(
        &self,
        host: HostId,
        number: u32,
    ) -> Result<(Option<Session>, Option<ProcessUid>), StoreError> {
        let login = self.latest(host, number)?;
        let process = match login.as_ref().and_then(|login| login.process) {
            Some(process) => Some(process),
            None => self.first_program(host, number)?,
        };
        Ok((login, process))
    }

    fn latest(&self, host: HostId, number: u32) -> Result<Option<Session>, StoreError> {
        let mut latest: Option<(BootId, Session)> = None;
        let query = of_host(host, Sessions::kinds());
        self.scan(&query, Order::OldestFirst, &mut |stored| {
            let mut one = Sessions::default();
            one.learn(&stored);
            let found = one.known.remove(&(host, stored.boot, number));
            let is_as_good = |(boot, known): &(BootId, Session), found: &Session| {
                let is_login = known.event.kind == Kind::Login;
                *boot == stored.boot && (is_login || found.event.kind != Kind::Login)
            };
            if let Some(found) = found
                && !latest
                    .as_ref()
                    .is_some_and(|known| is_as_good(known, &found))
            {
                latest = Some((stored.boot, found));
            }
            ControlFlow::Continue(())
        })?;
        Ok(latest.map(|(_, session)| session))
    }

    /// The first program of the session in the latest boot that has one.
    fn first_program(&self, host: HostId, number: u32) -> Result<Option<ProcessUid>, StoreError> {
        let mut first: Option<StoredEvent> = None;
        let births = KindSet::from_iter([Kind::Exec, Kind::Fork]);
        self.scan(&of_host(host, births), Order::OldestFirst, &mut |stored| {
            let is_in = number_of(&stored.event) == Some(number);
            let is_earlier = first.as_ref().is_none_or(|first| {
                first.boot != stored.boot || stored.event.time < first.event.time
            });
            if is_in && is_earlier {
                first = Some(stored);
            }
            ControlFlow::Continue(())
        })?;
        Ok(first.and_then(|first| Some(first.event.process?.uid)))
    }
}

fn of_host(host: HostId, kinds: KindSet) -> Query {
    Query {
        hosts: Some(HashSet::from([host])),
        kinds,
        ..Query::default()
    }
}
