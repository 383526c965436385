//! What to look for, and what was found.

use std::collections::HashSet;
use std::sync::Arc;

use picket_event::{BootId, Class, Event, HostId, Severity, StreamId, UnixNanos};

use crate::index::SegmentInfo;
use crate::record::Record;
use crate::{KindSet, Marks, Sessions, Summary};
use picket_event::filter::Filter;

/// Which events are wanted. Everything left at its default lets all pass.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of these hosts; `None`: of all.
    pub hosts: Option<HashSet<HostId>>,
    /// Of these kinds; none named: all.
    pub kinds: KindSet,
    /// Not before.
    pub since: Option<UnixNanos>,
    /// Not after.
    pub until: Option<UnixNanos>,
    /// With a verdict at least this bad.
    pub min_severity: Option<Severity>,
    /// Satisfying this expression.
    pub filter: Option<Filter>,
    /// Who began which session, for expressions on the `login` of what was done in it.
    pub sessions: Option<Arc<Sessions>>,
    /// By who signed them; `None`: all.
    pub marks: Option<Marks>,
}

/// In which order to walk over what arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// What arrived first comes first.
    OldestFirst,
    /// What arrived last comes first.
    NewestFirst,
}

/// An event and what its batch knows about it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Of which host.
    pub host: HostId,
    /// Of which boot.
    pub boot: BootId,
    /// Of which run of the agent.
    pub stream: StreamId,
    /// In which class.
    pub class: Class,
    /// When it arrived.
    pub received: UnixNanos,
    /// The event.
    pub event: Event,
}

/// What a walk met.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ScanReport {
    /// Events looked at.
    pub events: u64,
    /// Stored bytes that could not be read; they are damaged.
    pub unreadable: u64,
}

impl Query {
    /// Whether the event is wanted.
    pub fn wants(&self, host: &HostId, boot: &BootId, event: &Event) -> bool {
        self.wants_host(host)
            && (self.kinds.is_empty() || self.kinds.holds(event.kind))
            && self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time <= until)
            && self
                .min_severity
                .is_none_or(|least| event.severity() >= Some(least))
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches_within(event, self.login_of(host, boot, event)))
    }

    /// Whether an event that is wanted otherwise is wanted by who signed it.
    pub(crate) fn wants_mark(&self, stored: &StoredEvent) -> bool {
        self.marks.as_ref().is_none_or(|marks| marks.want(stored))
    }

    /// Whether the expression speaks of logins, so that [`Query::sessions`] matters.
    pub fn needs_sessions(&self) -> bool {
        let filter = self.filter.as_ref();
        filter.is_some_and(|filter| filter.mentions("login."))
    }

    fn login_of(&self, host: &HostId, boot: &BootId, event: &Event) -> Option<&Event> {
        let session = self.sessions.as_ref()?.of(host, boot, event)?;
        Some(&session.event)
    }

    pub(crate) fn may_want_segment(&self, info: &SegmentInfo) -> bool {
        let hosts = self.hosts.as_ref();
        hosts.is_none_or(|hosts| !hosts.is_disjoint(&info.hosts))
            && self.may_want(&info.segment.summary)
    }

    pub(crate) fn may_want_record(&self, record: &Record) -> bool {
        record.host().is_some_and(|host| self.wants_host(&host)) && self.may_want(&record.summary())
    }

    fn wants_host(&self, host: &HostId) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.contains(host))
    }

    pub(crate) fn may_want(&self, summary: &Summary) -> bool {
        (self.kinds.is_empty() || self.kinds.meets(summary.kinds))
            && self.since.is_none_or(|since| summary.last >= since)
            && self.until.is_none_or(|until| summary.first <= until)
            && self
                .min_severity
                .is_none_or(|least| summary.worst >= Some(least))
    }
}
